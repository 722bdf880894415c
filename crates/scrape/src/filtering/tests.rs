use windlass_metrics::{Catalogue, Readings};

use super::*;

/// What an exporter answers to a request by name, of the page it has.
#[derive(Clone, Copy, PartialEq)]
enum Exporter {
    /// The samples asked for.
    Right,
    /// All, whatever is asked.
    Ignorant,
    /// Nothing at all, with status 200: Python's with several processes.
    Empty,
    /// An error.
    Refusing,
    /// Something that is no metrics page.
    Babbling,
    /// All but the named metric's.
    Without(&'static str),
    /// One series of each name.
    FirstSeries,
}

use Exporter::*;

const V0: &str = "\
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{m=\"a\"} 3
vllm:num_requests_running{m=\"b\"} 4
vllm:num_requests_waiting{m=\"a\"} 0
vllm:num_requests_waiting{m=\"b\"} 0
vllm:gpu_cache_usage_perc{m=\"a\"} 0.5
vllm:prompt_tokens_total{m=\"a\"} 100
vllm:time_to_first_token_seconds_bucket{m=\"a\",le=\"1\"} 3
vllm:time_to_first_token_seconds_bucket{m=\"a\",le=\"+Inf\"} 5
vllm:time_to_first_token_seconds_sum{m=\"a\"} 9
vllm:time_to_first_token_seconds_count{m=\"a\"} 5
# HELP other What nobody wants, at some length: help texts are a good part of a page.
other{a=\"1\"} 1
other{a=\"2\"} 1
other{a=\"3\"} 1
other{a=\"4\"} 1
";

fn names_of(query: &str) -> Vec<String> {
    let decoded = query.replace("%3A", ":");
    decoded.split('&').map(|part| part.strip_prefix("name%5B%5D=").unwrap().to_owned()).collect()
}

fn by_name(exporter: Exporter, page: &str, query: &str) -> Option<String> {
    let names = names_of(query);
    let name_of = |line: &str| line.split(['{', ' ']).next().unwrap_or_default().to_owned();
    let asked = |line: &&str| !line.starts_with('#') && names.contains(&name_of(line));
    let mut seen = Vec::new();
    let lines: Vec<&str> = match exporter {
        Right => page.lines().filter(asked).collect(),
        Ignorant => page.lines().collect(),
        Empty => Vec::new(),
        Refusing => return None,
        Babbling => vec!["<html>"],
        Without(lost) => page.lines().filter(asked).filter(|line| !line.contains(lost)).collect(),
        FirstSeries => {
            let mut first = |line: &&str| {
                let new = !seen.contains(&name_of(line));
                seen.push(name_of(line));
                new
            };
            page.lines().filter(asked).filter(|line| first(line)).collect()
        }
    };
    Some(lines.join("\n") + "\n")
}

struct Pod {
    filtering: Filtering,
    wanted: Wanted,
    begin: Instant,
}

impl Pod {
    fn new() -> Self {
        let metric = |name| Catalogue::builtin().resolve(name).unwrap();
        let metrics = ["inflight", "kv_util", "prompt_tokens_rate", "ttft"].map(metric);
        Self { filtering: Filtering::new(0.5), wanted: Wanted::new(&metrics), begin: Instant::now() }
    }

    /// One poll, as pollers do it; gives what was asked for: `n` by name, `w` the whole page. Whatever happens, the readings
    /// are those of the whole page.
    fn poll(&mut self, second: u64, exporter: Exporter, page: &str) -> &'static str {
        let now = self.begin + Duration::from_secs(second);
        let mut readings = Readings::default();
        let mut whole = Readings::default();
        self.wanted.read(page.as_bytes(), Format::Text, &mut whole).unwrap();
        let mut asked = "w";
        if let Some(query) = self.filtering.query(now) {
            let answer = by_name(exporter, page, query);
            let read = answer.as_ref().map(|answer| {
                self.wanted.read(answer.as_bytes(), Format::Text, &mut readings).map(|()| answer.as_bytes())
            });
            let good = if let Some(Ok(bytes)) = read {
                let page = Page { wanted: &self.wanted, readings: &readings, bytes, format: Format::Text };
                self.filtering.take_by_name(page, now)
            } else {
                self.filtering.refused();
                false
            };
            if good {
                assert_eq!(*readings, *whole, "at {second} s");
                return "n";
            }
            asked = "nw";
        }
        let bytes = page.as_bytes();
        let page = Page { wanted: &self.wanted, readings: &whole, bytes, format: Format::Text };
        self.filtering.take_whole(page, now);
        asked
    }
}

/// What polls at these seconds ask for, of an exporter with this page.
#[track_caller]
fn check(script: &[(u64, Exporter, &str, &str)]) {
    let mut pod = Pod::new();
    for (at, (second, exporter, page, expected)) in script.iter().enumerate() {
        assert_eq!(pod.poll(*second, *exporter, page), *expected, "poll {at} at {second} s");
    }
}

fn v1() -> String {
    V0.replace("gpu_cache", "kv_cache")
}

#[test]
fn an_exporter_that_answers_rightly_is_asked_by_name_and_compared_now_and_then() {
    check(&[
        (0, Right, V0, "w"),
        (1, Right, V0, "n"),
        (2, Right, V0, "n"),
        (299, Right, V0, "n"),
        (300, Right, V0, "w"),
        (301, Right, V0, "n"),
        (601, Right, V0, "w"),
    ]);
}

#[test]
fn an_exporter_that_does_not_is_asked_for_whole_pages_and_tried_again_seldom() {
    let less = ["_bucket", "prompt_tokens", "cache", "running"].map(Without);
    for wrong in [Empty, Refusing, Babbling, FirstSeries].into_iter().chain(less) {
        check(&[
            (0, wrong, V0, "w"),
            (1, wrong, V0, "nw"),
            (2, wrong, V0, "w"),
            (600, wrong, V0, "w"),
            (601, wrong, V0, "w"),
            (602, wrong, V0, "nw"),
            (603, wrong, V0, "w"),
        ]);
    }
    // Its answer is as good, and no second one is asked for.
    check(&[
        (0, Ignorant, V0, "w"),
        (1, Ignorant, V0, "n"),
        (2, Ignorant, V0, "w"),
        (600, Ignorant, V0, "w"),
    ]);
}

#[test]
fn an_exporter_that_no_longer_answers_rightly_loses_no_reading() {
    check(&[
        (0, Right, V0, "w"),
        (1, Right, V0, "n"),
        (2, Empty, V0, "nw"),
        (3, Empty, V0, "w"),
        (602, Right, V0, "w"),
        (603, Right, V0, "n"),
    ]);
}

#[test]
fn an_engine_upgraded_in_place_is_asked_by_its_new_names() {
    let v1 = v1();
    check(&[(0, Right, V0, "w"), (1, Right, V0, "n"), (2, Right, &v1, "nw"), (3, Right, &v1, "n")]);
    // Back again: the older name is preferred to nothing, and looked for only when the other is gone.
    check(&[(0, Right, &v1, "w"), (1, Right, &v1, "n"), (2, Right, V0, "nw"), (3, Right, V0, "n")]);
}

#[test]
fn what_is_missing_is_looked_for_under_all_names() {
    let idle = V0.replace("perc{m=\"a\"} 0.5", "perc{m=\"a\"} NaN");
    let v1 = v1();
    check(&[
        (0, Right, V0, "w"),
        (1, Right, V0, "n"),
        (2, Right, &idle, "nw"),
        (3, Right, &idle, "n"),
        (4, Right, V0, "n"),
        (5, Right, &idle, "n"),
        (6, Right, &v1, "n"),
        // A while after the last whole page, it is looked at on another one.
        (40, Right, &v1, "n"),
        (41, Right, &v1, "w"),
        (42, Right, &v1, "n"),
        (43, Right, V0, "nw"),
    ]);
    // Nothing to ask for.
    check(&[
        (0, Right, "other 1\n", "w"),
        (1, Right, "other 1\n", "w"),
        (2, Right, V0, "w"),
        (3, Right, V0, "n"),
    ]);
}

#[test]
fn a_series_that_comes_or_goes_casts_no_doubt_later_on() {
    let one: String = V0.split_inclusive('\n').filter(|line| !line.contains("m=\"b\"")).collect();
    check(&[(0, Right, V0, "w"), (1, Right, V0, "n"), (2, Right, &one, "n"), (3, Right, V0, "n")]);
    // Between the two that are compared, there is doubt, and then none.
    check(&[(0, Right, V0, "w"), (1, Right, &one, "nw"), (2, Right, &one, "n")]);
}

#[test]
fn a_restart_begins_anew_at_once_and_is_not_believed_too_often() {
    let fallen = V0.replace("} 100", "} 1");
    check(&[
        (0, Empty, V0, "w"),
        (1, Empty, V0, "nw"),
        (40, Right, V0, "w"),
        (41, Right, &fallen, "w"),
        (42, Right, &fallen, "n"),
        (80, Right, V0, "n"),
        (81, Right, &fallen, "n"),
        (82, Right, &fallen, "w"),
        (83, Right, V0, "n"),
        (84, Right, &fallen, "n"),
        (85, Right, &fallen, "n"),
    ]);
}

/// An exporter that does not answer at all when it is asked by name, and one that does not for a while.
#[test]
fn a_poll_without_an_answer_is_followed_by_one_for_the_whole_page() {
    let mut pod = Pod::new();
    for second in [0, 2, 4] {
        assert_eq!(pod.poll(second, Right, V0), "w");
        pod.filtering.failed(pod.begin + Duration::from_secs(second + 1));
    }
    assert_eq!(pod.poll(6, Right, V0), "w");
    assert_eq!(pod.poll(7, Right, V0), "n");
    pod.filtering.failed(pod.begin + Duration::from_secs(8));
    for second in 9..20 {
        assert_eq!(pod.poll(second, Right, V0), "w", "often enough");
    }
    // It restarts, and may be another one.
    pod.filtering.failed(pod.begin + Duration::from_mins(1));
    assert_eq!(pod.poll(61, Right, V0), "w");
    assert_eq!(pod.poll(62, Right, V0), "n");
}

#[test]
fn two_engines_at_one_address_are_asked_for_whole_pages() {
    let v1 = v1();
    let mut pod = Pod::new();
    let asked: Vec<&str> =
        (0..12).map(|second| pod.poll(second, Right, if second % 2 == 0 { V0 } else { &v1 })).collect();
    assert_eq!(asked, ["w", "nw", "nw", "nw", "nw", "w", "w", "w", "w", "w", "w", "w"]);
}

#[test]
fn names_stand_encoded_in_the_query() {
    let mut pod = Pod::new();
    pod.poll(0, Right, V0);
    let query = pod.filtering.query(pod.begin).unwrap().to_owned();
    assert!(query.contains("name%5B%5D=vllm%3Anum_requests_running&"), "{query}");
    assert!(!query.contains([':', '[', ' ']), "{query}");
}

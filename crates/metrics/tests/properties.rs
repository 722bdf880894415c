//! Properties of the parser and of readings on pages nobody wrote by hand.

#![allow(clippy::unwrap_used, reason = "test helpers")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use proptest::collection::vec;
use proptest::prelude::*;
use windlass_metrics::exposition::{Format, Names};
use windlass_metrics::{Catalogue, Metric, PageError, Reading, Readings, Sample, Selector, Wanted};

#[path = "corpus/samples.rs"]
mod samples;

use samples::{Seen, filtered, full};

fn metrics() -> Vec<Metric> {
    let names =
        ["inflight", "kv_util", "ttft", "kv_tokens", "m", "n_total", "vllm:x", "m{a!=\"b\",le=~\"\"}"];
    names.iter().map(|name| Catalogue::builtin().resolve(name).unwrap()).collect()
}

/// Every way to read a page; none may panic, and none may give a reading from a page it refuses.
fn read_every_way(page: &[u8]) {
    let wanted = Wanted::new(&metrics());
    let mut readings = Readings::default();
    for format in [Format::Text, Format::OpenMetrics] {
        full(page, format);
        let outcome = wanted.read(page, format, &mut readings);
        assert!(outcome.is_ok() || readings.iter().all(Option::is_none));
    }
}

/// The two modes agree on what the full one accepts, on half of the page's names.
fn modes_agree(page: &[u8], format: Format) -> Result<(), TestCaseError> {
    let Some(all) = full(page, format) else {
        return Ok(());
    };
    // Blanks belong to a name before which they stand; such names cannot be asked for.
    let names: BTreeSet<_> =
        all.iter().map(|sample| sample.0.clone()).filter(|n| !n.trim().is_empty()).collect();
    let half: BTreeSet<_> = names.into_iter().filter(|n| !n.starts_with([' ', '\t'])).step_by(2).collect();
    let expected: Vec<_> = all.into_iter().filter(|sample| half.contains(&sample.0)).collect();
    let unterminated = format == Format::Text && !page.trim_ascii_end().is_empty() && {
        let end = page.iter().rposition(|b| !matches!(b, b' ' | b'\t'));
        end.is_some_and(|last| page[last] != b'\n')
    };
    match filtered(page, format, &Names::new(half.iter().map(String::as_str))) {
        Err(PageError::Cut { .. }) => prop_assert!(unterminated),
        got => prop_assert_eq!(got, Ok(expected)),
    }
    Ok(())
}

/// Pieces from which pages, and things that look like pages, are thrown together.
fn soup() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "m",
        "n_total",
        "vllm:x",
        "vllm:num_requests_running",
        " ",
        " ",
        "\t",
        "\n",
        "\n",
        "{",
        "}",
        "\"",
        "\"",
        "\\",
        "=",
        ",",
        "1",
        "2.5e3",
        "NaN",
        "-Inf",
        "#",
        "# TYPE m gauge\n",
        "# TYPE \"a\nb\" counter\n",
        "# HELP m \"x\n",
        "# EOF\n",
        "a=\"b\"",
        "a=\"",
        "a=\"\n",
        "m{a=\"x\nm 7\n\"} 1\n",
        "m 1\n",
        "n_total{a=\"\"} 2 5\n",
        "{\"m\"} 3\n",
        "é",
        "\r",
        "\0",
        "m{a=\"x=\\\"\n",
        "\"} 4\n",
        "m{a=\"b\"\"c\nd\"=\"e\"} 5\n",
        "m{a=\"1\",le=\"2\",b=\"3\"} 1\n",
        "m{a=\"1\",le=\"",
        "\",b=\"3\"} 1\n",
        "m{a=\"1\",le=\"2\" b=\"3\"} 1\n",
        "m{a=\"1\"b=\"3\"} 1\n",
        " # {t=\"y\"} 1\n",
    ]);
    vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

#[derive(Debug, Clone)]
struct Line {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
    timestamp_ms: Option<i64>,
}

fn line() -> impl Strategy<Value = Line> {
    let name =
        prop::sample::select(vec!["m", "vllm:num_requests_running", "vllm:num_requests_run", "n_total", "n"]);
    let odd_name = "[a-zA-Z_:][a-zA-Z0-9_:]{0,40}";
    let random = vec(("[a-zA-Z_][a-zA-Z0-9_]{0,8}", any::<String>()), 0..4);
    // Neighbours that differ in one label, or at the end of one: the parser makes use of what they share.
    let pair = |name: &'static str, values: &'static [&'static str]| {
        prop::sample::select(values).prop_map(move |value| (name.to_owned(), value.to_owned()))
    };
    let alike =
        (pair("engine", &["0", "1"]), pair("le", &["0", "1", "1,le=", "\"}"]), pair("model", &["m", "m2"]));
    let labels = prop_oneof![random, alike.prop_map(|(a, b, c)| vec![a, b, c])];
    let value = prop_oneof![any::<f64>(), (0u32..1000).prop_map(f64::from)];
    (
        prop_oneof![3 => name.prop_map(str::to_owned), 1 => odd_name],
        labels,
        value,
        prop::option::of(0i64..2_000_000_000),
    )
        .prop_map(|(name, labels, value, seconds)| Line {
            name,
            labels,
            value: if value.is_nan() { f64::NAN } else { value },
            timestamp_ms: seconds.map(|s| s * 1000),
        })
}

fn render(lines: &[Line], format: Format, raw_line_feeds: bool) -> String {
    let mut page = String::new();
    for line in lines {
        _ = write!(page, "# TYPE {} gauge\n{}", line.name, line.name);
        let escape = |value: &str| {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"");
            if raw_line_feeds { value } else { value.replace('\n', "\\n") }
        };
        if !line.labels.is_empty() {
            let labels: Vec<_> = line.labels.iter().map(|(n, v)| format!("{n}=\"{}\"", escape(v))).collect();
            _ = write!(page, "{{{}}}", labels.join(","));
        }
        _ = write!(page, " {}", line.value);
        match (format, line.timestamp_ms) {
            (Format::Text, Some(at)) => _ = write!(page, " {at}"),
            (Format::OpenMetrics, Some(at)) => _ = write!(page, " {}", at / 1000),
            (_, None) => {}
        }
        page.push('\n');
    }
    if format == Format::OpenMetrics {
        page.push_str("# EOF\n");
    }
    page
}

fn rendered_reads_back(lines: &[Line], format: Format, raw_line_feeds: bool) -> Result<(), TestCaseError> {
    let page = render(lines, format, raw_line_feeds);
    let expected: Vec<Seen> = lines
        .iter()
        .map(|line| (line.name.clone(), line.labels.clone(), line.value.to_bits(), line.timestamp_ms))
        .collect();
    prop_assert_eq!(full(page.as_bytes(), format), Some(expected));
    modes_agree(page.as_bytes(), format)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(page in vec(any::<u8>(), 0..400)) {
        read_every_way(&page);
    }

    #[test]
    fn rendered_pages_read_back(lines in vec(line(), 0..12), raw_line_feeds: bool) {
        rendered_reads_back(&lines, Format::Text, raw_line_feeds)?;
        rendered_reads_back(&lines, Format::OpenMetrics, false)?;
    }

    #[test]
    fn a_page_cut_inside_a_line_gives_nothing(lines in vec(line(), 1..6), at in 0.0..1.0f64) {
        let page = render(&lines, Format::Text, false);
        let mut cut = (page.len() as f64 * at) as usize;
        while !page.is_char_boundary(cut) {
            cut -= 1;
        }
        let start = &page[..cut];
        let mut readings = Readings::default();
        let outcome = Wanted::new(&metrics()).read(start.as_bytes(), Format::Text, &mut readings);
        prop_assert_eq!(outcome.is_ok(), start.is_empty() || start.ends_with('\n'));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn modes_agree_on_pages_thrown_together(page in soup()) {
        read_every_way(page.as_bytes());
        modes_agree(page.as_bytes(), Format::Text)?;
        modes_agree(format!("{page}# EOF\n").as_bytes(), Format::OpenMetrics)?;
    }
}

/// Pieces of selectors, and of what looks like them.
fn selector_soup() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "m", "vllm:x", "{", "}", "a", "le", "=", "!=", "=~", "!~", "\"", "'", "b", ".*", "(", "|", "\\", ",",
        " ", "\n", "a=\"b\"", "a=~\"[\"", "é", "[", "]", "*", "(?s:", "x{2,}",
    ]);
    vec(piece, 0..16).prop_map(|pieces| pieces.concat())
}

/// A series of the pages that are read in two ways.
type Series = (&'static str, BTreeMap<&'static str, &'static str>, f64);

fn series() -> impl Strategy<Value = Series> {
    let name = prop::sample::select(vec!["m", "n", "h_bucket", "h_sum"]);
    let label = |name: &'static str, values: &'static [&'static str]| {
        prop::sample::select(values).prop_map(move |value| (!value.is_empty()).then_some((name, value)))
    };
    let labels = (
        label("a", &["", "x", "y"]),
        label("b", &["", "x", "z\\\""]),
        label("le", &["", "1", "2.5", "+Inf"]),
    );
    let value = prop_oneof![12 => (0u32..50).prop_map(f64::from), 1 => Just(f64::NAN), 1 => Just(-1.0)];
    (name, labels, value).prop_map(|(name, (a, b, le), value)| {
        let le = le.filter(|_| name == "h_bucket");
        (name, [a, b, le].into_iter().flatten().collect(), value)
    })
}

fn asked() -> impl Strategy<Value = (Vec<(&'static str, &'static str, &'static str)>, String)> {
    let matcher = (
        prop::sample::select(vec!["a", "b"]),
        prop::sample::select(vec!["=", "!=", "=~", "!~"]),
        prop::sample::select(vec!["", "x", "y", "x|y", "x|", ".*", "z.+"]),
    );
    vec(matcher, 0..3).prop_map(|matchers| {
        let written: Vec<_> = matchers.iter().map(|(l, sign, v)| format!("{l}{sign}\"{v}\"")).collect();
        (matchers, format!("{{{}}}", written.join(",")))
    })
}

/// What a matcher says, spelled out for the values there are.
fn holds((label, sign, value): &(&str, &str, &str), labels: &BTreeMap<&str, &str>) -> bool {
    let has = labels.get(label).copied().unwrap_or_default();
    let pattern = match *value {
        ".*" => true,
        "z.+" => has.starts_with('z') && has.len() > 1,
        list => list.split('|').any(|one| one == has),
    };
    match *sign {
        "=" => has == *value,
        "!=" => has != *value,
        "=~" => pattern,
        _ => !pattern,
    }
}

/// The values of a name that match, each series once; `None` if one has two values or one that is no load.
fn naive(page: &[Series], name: &str, matchers: &[(&str, &str, &str)]) -> Option<Vec<(Option<f64>, f64)>> {
    let mut seen: Vec<(&BTreeMap<_, _>, f64)> = Vec::new();
    for (series, labels, value) in page {
        if *series != name || !matchers.iter().all(|matcher| holds(matcher, labels)) {
            continue;
        }
        match seen.iter().find(|(known, _)| *known == labels) {
            Some((_, known)) if known == value || (known.is_nan() && value.is_nan()) => {}
            Some(_) => return None,
            None => seen.push((labels, *value)),
        }
    }
    let bound = |labels: &BTreeMap<&str, &str>| labels.get("le").map(|le| le.parse::<f64>().unwrap());
    let values = seen.into_iter().map(|(labels, value)| (bound(labels), value));
    values.map(|(bound, value)| value.is_finite().then_some((bound, value))).collect()
}

fn naive_gauge(page: &[Series], matchers: &[(&str, &str, &str)]) -> Option<Sample> {
    let values = naive(page, "m", matchers)?;
    (!values.is_empty()).then(|| Sample::Gauge(values.iter().map(|(_, value)| value).sum()))
}

fn naive_histogram(page: &[Series], matchers: &[(&str, &str, &str)]) -> Option<Vec<(f64, f64)>> {
    let values = naive(page, "h_bucket", matchers)?;
    if values.iter().any(|(bound, count)| bound.is_none() || *count < 0.0) {
        return None;
    }
    let at = |end: f64| values.iter().filter(move |(bound, _)| *bound == Some(end)).map(|(_, count)| count);
    let all = at(f64::INFINITY).count();
    let bounds = [1.0, 2.5, f64::INFINITY].into_iter().filter(|bound| all > 0 && at(*bound).count() == all);
    let buckets: Vec<_> = bounds.map(|bound| (bound, at(bound).sum())).collect();
    let greatest = values.iter().filter_map(|(bound, _)| *bound).fold(0.0, f64::max);
    (buckets.len() > 1 && greatest == f64::INFINITY).then_some(buckets)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn selectors_never_panic_and_read_back(text in prop_oneof![selector_soup(), any::<String>()]) {
        if let Ok(selector) = text.parse::<Selector>() {
            prop_assert_eq!(selector.to_string().parse::<Selector>(), Ok(selector));
        }
        if let Ok(metric) = Catalogue::builtin().resolve(&text) {
            let mut readings = Readings::default();
            let wanted = Wanted::new(&[metric]);
            _ = wanted.read(b"m{a=\"b\"} 1\nvllm:x{le=\"1\"} 2\n", Format::Text, &mut readings);
        }
    }

    #[test]
    fn readings_are_what_a_naive_reader_finds(page in vec(series(), 0..24), (matchers, braces) in asked()) {
        let mut text = String::from("n 1\n");
        for (name, labels, value) in &page {
            let labels: Vec<_> = labels
                .iter()
                .map(|(label, value)| format!("{label}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")))
                .collect();
            _ = writeln!(text, "{name}{{{}}} {value}", labels.join(","));
        }
        let catalogue = Catalogue::parse(
            "[[engine]]\nname = 'e'\ntitle = 'E'\nprefixes = ['e:']\n[[metric]]\nname = 'time'\nkind = 'latency'\n\
             unit = 's'\naggregation = 'sum'\nalias = [{ engine = 'e', type = 'histogram', add = ['h'] }]",
        )
        .unwrap();
        let metrics = ["m", "time"].map(|name| catalogue.resolve(&format!("{name}{braces}")).unwrap());
        let mut readings = Readings::default();
        Wanted::new(&metrics).read(text.as_bytes(), Format::Text, &mut readings).unwrap();
        let sample = |reading: &Option<Reading>| reading.as_ref().map(|reading| reading.sample.clone());
        prop_assert_eq!(sample(&readings[0]), naive_gauge(&page, &matchers));
        let histogram = sample(&readings[1]).map(|sample| match sample {
            Sample::Histogram(histogram) => histogram.buckets().to_vec(),
            other => panic!("{other:?}"),
        });
        prop_assert_eq!(histogram, naive_histogram(&page, &matchers));
    }
}

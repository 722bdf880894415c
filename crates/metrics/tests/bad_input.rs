//! What engines do to their pages during a run, and what is made of it: a value, or none, but never a wrong one.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use windlass_metrics::{Catalogue, Format, Histogram, HistogramWindow, Meter, Readings, Sample, Wanted};

/// Reads one page after the other, at these milliseconds, as one pod's. A histogram is what it is summed up as over the
/// last minute.
fn check(name: &str, steps: &[(u64, &str, Option<f64>)]) {
    let metric = Catalogue::builtin().resolve(name).unwrap();
    let wanted = Wanted::new(std::slice::from_ref(&metric));
    let (mut meter, mut window) = (Meter::default(), HistogramWindow::new(Duration::from_mins(1)));
    let mut readings = Readings::default();
    for (at, page, expected) in steps {
        let time = Duration::from_millis(*at);
        let outcome = wanted.read(page.as_bytes(), Format::Text, &mut readings);
        assert_eq!(outcome, Ok(()), "{page}");
        let got = readings[0].as_ref().and_then(|reading| {
            let Sample::Histogram(histogram) = &reading.sample else { return meter.push(reading, time) };
            window.push(time, reading.alias, histogram);
            let mut observed = Histogram::default();
            window.add_to(&mut observed, time)?;
            observed.statistic(metric.statistic)
        });
        // A quantile is rounded.
        let same = got.zip(*expected).map_or(got == *expected, |(a, b)| (a - b).abs() <= 1e-9 * b);
        assert!(same, "{got:?} instead of {expected:?}: {name} at {at} ms on {page}");
    }
}

#[test]
fn two_models_in_one_pod() {
    let page = "vllm:num_requests_running{model_name=\"a\"} 5\nvllm:num_requests_running{model_name=\"b\"} 7\n\
                vllm:kv_cache_usage_perc{model_name=\"a\"} 0.25\nvllm:kv_cache_usage_perc{model_name=\"b\"} 0.75\n";
    check("running", &[(0, page, Some(12.0))]);
    check("running{model_name=\"b\"}", &[(0, page, Some(7.0))]);
    check("running{model_name=\"c\"}", &[(0, page, None)]);
    check("kv_util", &[(0, page, Some(0.5))]);
    let tokens = |a: u32, b: u32| {
        format!(
            "vllm:prompt_tokens_total{{model_name=\"a\"}} {a}\nvllm:prompt_tokens_total{{model_name=\"b\"}} {b}\n"
        )
    };
    let pages = [tokens(100, 7), tokens(110, 27)];
    check("prompt_tokens_rate", &[(0, &pages[0], None), (1000, &pages[1], Some(30.0))]);
    check("prompt_tokens_rate{model_name=\"a\"}", &[(0, &pages[0], None), (1000, &pages[1], Some(10.0))]);
}

#[test]
fn label_sets_that_change() {
    let plain = "vllm:prompt_tokens_total{model_name=\"a\"} 100\n";
    let labelled = "vllm:prompt_tokens_total{model_name=\"a\",engine=\"0\"} 120\n";
    check("prompt_tokens_rate", &[(0, plain, None), (1000, labelled, Some(20.0))]);
    // An adapter is loaded, and unloaded with its count: the sum falls, and the rate is unknown for one step.
    let two =
        "vllm:prompt_tokens_total{model_name=\"a\"} 120\nvllm:prompt_tokens_total{model_name=\"b\"} 30\n";
    let one = "vllm:prompt_tokens_total{model_name=\"a\"} 140\n";
    let later = "vllm:prompt_tokens_total{model_name=\"a\"} 150\n";
    check(
        "prompt_tokens_rate",
        &[(0, plain, None), (1000, two, Some(50.0)), (2000, one, None), (3000, later, Some(10.0))],
    );
    // Both spellings of the series at once, as while workers are replaced: they are added up.
    let both = "vllm:num_requests_running{model_name=\"a\"} 5\nvllm:num_requests_running{engine=\"0\",model_name=\"a\"} 5\n";
    check("running", &[(0, both, Some(10.0))]);
}

#[test]
fn nothing_of_nothing_at_idle() {
    check(
        "kv_util",
        &[(0, "vllm:kv_cache_usage_perc NaN\n", None), (1000, "vllm:kv_cache_usage_perc 0\n", Some(0.0))],
    );
    let rate = "vllm:gpu_prefix_cache_hit_rate NaN\nvllm:num_requests_running 0\n";
    check("running", &[(0, rate, Some(0.0))]);
    let idle = "vllm:time_to_first_token_seconds_bucket{le=\"1\"} 4\nvllm:time_to_first_token_seconds_bucket{le=\"+Inf\"} 4\n\
                vllm:time_to_first_token_seconds_sum 2\n";
    check("ttft", &[(0, idle, None), (1000, idle, None)]);
}

#[test]
fn series_that_come_twice() {
    let series = "vllm:num_requests_running{model_name=\"a\"} 5\n";
    check("running", &[(0, &series.repeat(2), Some(5.0))]);
    check(
        "running",
        &[(0, &format!("{series}{}", series.replace('5', "6")), None), (1000, series, Some(5.0))],
    );
}

#[test]
fn counters_that_go_backwards() {
    let tokens = |count: &str| format!("vllm:prompt_tokens_total {count}\n");
    let pages = ["1e6", "1000500", "20", "NaN", "50"].map(tokens);
    check(
        "prompt_tokens_rate",
        &[
            (0, &pages[0], None),
            (1000, &pages[1], Some(500.0)),
            (2000, &pages[2], None),
            (3000, &pages[3], None),
            (5000, &pages[4], Some(10.0)),
        ],
    );
    // A restarted engine: the histogram's counts fall as well.
    let ttft = |fast: u32, all: u32, name: &str| {
        format!("{name}_bucket{{le=\"1\"}} {fast}\n{name}_bucket{{le=\"+Inf\"}} {all}\n{name}_sum {all}\n")
    };
    let page = |fast, all| ttft(fast, all, "vllm:time_to_first_token_seconds");
    let pages = [page(90, 90), page(94, 94), page(1, 1), page(3, 3)];
    check(
        "ttft",
        &[
            (0, &pages[0], None),
            (1000, &pages[1], Some(0.95)),
            (2000, &pages[2], Some(0.95)),
            (3000, &pages[3], Some(0.95)),
        ],
    );
}

#[test]
fn histograms_whose_buckets_change_after_an_upgrade() {
    let name = "vllm:time_to_first_token_seconds";
    let page = |bounds: &[(&str, u32)]| {
        let lines = bounds.iter().map(|(bound, count)| format!("{name}_bucket{{le=\"{bound}\"}} {count}\n"));
        lines.collect::<String>()
    };
    let old = [page(&[("1", 10), ("+Inf", 10)]), page(&[("1", 30), ("+Inf", 30)])];
    let new = [page(&[("0.5", 40), ("2", 40), ("+Inf", 40)]), page(&[("0.5", 60), ("2", 60), ("+Inf", 60)])];
    check(
        "ttft",
        &[
            (0, &old[0], None),
            (1000, &old[1], Some(0.95)),
            (2000, &new[0], None),
            (3000, &new[1], Some(0.475)),
        ],
    );
    // One rank has the old bounds: those that both have count.
    let mixed = |old: u32, new: u32| {
        let with = |rank: u32, bounds: &[(&str, u32)]| {
            page(bounds).replace("{le=", &format!("{{engine=\"{rank}\",le="))
        };
        with(0, &[("1", old), ("+Inf", old)]) + &with(1, &[("0.5", new), ("1", new), ("+Inf", new)])
    };
    let pages = [mixed(10, 10), mixed(20, 20)];
    check("ttft", &[(0, &pages[0], None), (1000, &pages[1], Some(0.95))]);
}

#[test]
fn a_metric_that_is_renamed_or_vanishes_during_a_run() {
    let (old, new) = ("vllm:gpu_cache_usage_perc 0.5\n", "vllm:kv_cache_usage_perc 0.6\n");
    let other = "vllm:num_requests_running 1\n";
    check(
        "kv_util",
        &[(0, old, Some(0.5)), (1000, new, Some(0.6)), (2000, other, None), (3000, new, Some(0.6))],
    );
    let (old, new) = ("vllm:time_per_output_token_seconds", "vllm:inter_token_latency_seconds");
    let page = |name: &str, all: u32| {
        format!("{name}_bucket{{le=\"1\"}} {all}\n{name}_bucket{{le=\"+Inf\"}} {all}\n")
    };
    let pages = [page(old, 10), page(old, 20), page(new, 5), page(new, 8)];
    check(
        "itl",
        &[
            (0, &pages[0], None),
            (1000, &pages[1], Some(0.95)),
            (2000, &pages[2], None),
            (3000, &pages[3], Some(0.95)),
        ],
    );
}

#[test]
fn clocks_that_jump() {
    let tokens = |count: u32| format!("vllm:prompt_tokens_total {count}\n");
    let pages = [100, 200, 300, 400, 3_600_400].map(tokens);
    check(
        "prompt_tokens_rate",
        &[
            (60_000, &pages[0], None),
            (60_000, &pages[1], None),
            (1_000, &pages[2], None),
            (61_000, &pages[3], Some(300.0)),
            (3_661_000, &pages[4], Some(1000.0)),
        ],
    );
}

use super::*;
use crate::catalogue::{Aggregation, Catalogue};

/// Reads the page twice, with the buffers of another one.
fn read(names: &[&str], page: &str, format: Format) -> Result<Vec<Option<Reading>>, PageError> {
    let metrics: Vec<_> = names.iter().map(|name| Catalogue::builtin().resolve(name).unwrap()).collect();
    let mut out = Readings::default();
    let before = "a_bucket{le=\"1\"} 1\na_bucket{le=\"+Inf\"} 2\nb 3\nb{x=\"y\"} 4\n";
    let others = ["ttft", "vllm:a", "b"].map(|name| Catalogue::builtin().resolve(name).unwrap());
    Wanted::new(&others).read(before.as_bytes(), Format::Text, &mut out).unwrap();
    let wanted = Wanted::new(&metrics);
    let first = wanted.read(page.as_bytes(), format, &mut out).map(|()| out.to_vec());
    let outcome = wanted.read(page.as_bytes(), format, &mut out);
    assert_eq!(out.len(), names.len());
    assert!(outcome.is_ok() || out.iter().all(Option::is_none), "an error leaves no readings");
    let outcome = outcome.map(|()| out.to_vec());
    assert_eq!(outcome, first);
    outcome
}

fn check(name: &str, page: &str, expected: impl Into<Option<Sample>>) {
    let expected = expected.into();
    let sample =
        |page: &str, format| read(&[name], page, format).unwrap().remove(0).map(|reading| reading.sample);
    assert_eq!(sample(page, Format::Text), expected, "{name} on {page:?}");
    let openmetrics = format!("{page}# EOF\n");
    assert_eq!(sample(&openmetrics, Format::OpenMetrics), expected, "{name} on {openmetrics:?}");
}

use Sample::{Counter, Gauge};

#[test]
fn series_are_aggregated() {
    let page = "vllm:num_requests_running{engine=\"0\"} 5\nvllm:num_requests_running{engine=\"1\"} 8\n";
    check("running", page, Some(Gauge(13.0)));
    let page = "vllm:kv_cache_usage_perc{engine=\"0\"} 0.25\nvllm:kv_cache_usage_perc{engine=\"1\"} 0.75\n";
    check("kv_util", page, Some(Gauge(0.5)));
    for (aggregation, expected) in [(Aggregation::Max, Some(Gauge(0.75))), (Aggregation::Same, None)] {
        let mut metric = Catalogue::builtin().resolve("kv_util").unwrap();
        metric.aliases[0].terms[0].aggregation = aggregation;
        let mut out = Readings::default();
        Wanted::new(&[metric]).read(page.as_bytes(), Format::Text, &mut out).unwrap();
        assert_eq!(out[0].as_ref().map(|reading| &reading.sample), expected.as_ref());
    }
}

#[test]
fn one_unusable_series_takes_the_reading_with_it() {
    for bad in ["NaN", "+Inf", "-Inf", "-1"] {
        check(
            "running",
            &format!("vllm:num_requests_running{{e=\"0\"}} 5\nvllm:num_requests_running {bad}\n"),
            None,
        );
        check("my_count", &format!("# TYPE my_count counter\nmy_count {bad}\n"), None);
    }
    check("my_level", "my_level -1\n", Some(Gauge(-1.0)));
    check("my_level", "my_level NaN\n", None);
    check("my_level", "my_level{a=\"1\"} 1e308\nmy_level{a=\"2\"} 1e308\n", None);
}

#[test]
fn half_a_sum_is_no_reading() {
    check("inflight", "vllm:num_requests_running 5\n", None);
    check("inflight", "vllm:num_requests_running 5\nvllm:num_requests_waiting 0\n", Some(Gauge(5.0)));
}

#[test]
fn the_first_alias_on_the_page_decides() {
    let both = "vllm:gpu_cache_usage_perc 0.5\nvllm:kv_cache_usage_perc 0.25\n";
    let old = "vllm:gpu_cache_usage_perc 0.5\n";
    let alias =
        |page: &str| read(&["gpu_cache_usage_perc"], page, Format::Text).unwrap()[0].as_ref().unwrap().alias;
    assert_eq!((alias(both), alias(old)), (0, 1));
    check("kv_util", both, Some(Gauge(0.25)));
    check("kv_util", "vllm:gpu_cache_usage_perc 0.5\nvllm:kv_cache_usage_perc NaN\n", None);
    check("vllm:gpu_cache_usage_perc", both, Some(Gauge(0.5)));
    let counter = "# TYPE vllm:prompt_tokens counter\nvllm:prompt_tokens_total 40\n";
    check("avg_prompt_throughput_toks_per_s", counter, Some(Counter(40.0)));
    let gauge = format!(
        "{counter}# TYPE vllm:avg_prompt_throughput_toks_per_s gauge\nvllm:avg_prompt_throughput_toks_per_s 20\n"
    );
    check("avg_prompt_throughput_toks_per_s", &gauge, Some(Gauge(20.0)));
}

#[test]
fn counters_are_found_with_and_without_total() {
    check("vllm:prompt_tokens", "vllm:prompt_tokens_total 4\n", Some(Counter(4.0)));
    check("vllm:prompt_tokens_total", "vllm:prompt_tokens 4\n", Some(Counter(4.0)));
    check(
        "request_rate",
        "# TYPE vllm:request_success counter\nvllm:request_success_total{r=\"a\"} 4\nvllm:request_success_total{r=\"b\"} 5\nvllm:request_success_created{r=\"b\"} 1.7e9\n",
        Some(Counter(9.0)),
    );
    check("vllm:prompt_tokens_total", "# TYPE vllm:prompt_tokens gauge\nvllm:prompt_tokens 4\n", None);
    check("my", "# TYPE my counter\nmy_total 4\n", Some(Counter(4.0)));
    check("my_total", "# TYPE my counter\nmy_total 4\n", Some(Counter(4.0)));
    check("my_total", "# TYPE my_total counter\nmy_total 4\n", Some(Counter(4.0)));
    check("my_total", "# TYPE my counter\nmy 4\n", Some(Counter(4.0)));
    check("my", "# TYPE my gauge\nmy 3\n# TYPE my_total counter\nmy_total 4\n", Some(Gauge(3.0)));
    check("my", "my_total 4\n", None);
}

#[test]
fn the_page_says_what_an_unknown_name_is() {
    check("my", "my 4\n", Some(Gauge(4.0)));
    check("my", "my 4\n# TYPE my counter\n", Some(Counter(4.0)));
    check("my", "# TYPE my summary\nmy{quantile=\"0.5\"} 4\n", None);
    check("my_count", "# TYPE my histogram\nmy_bucket{le=\"+Inf\"} 4\nmy_count 4\n", Some(Counter(4.0)));
    check("my_sum", "# TYPE my summary\nmy_sum 4\n", Some(Counter(4.0)));
    check("my", "# TYPE my histogram\nmy_bucket{le=\"+Inf\"} 4\nmy_count 4\n", None);
    check(
        "my.queue",
        "# TYPE \"my.queue\" gauge\n{\"my.queue\",a=\"b\"} 4\n{\"other\"} 5\n",
        Some(Gauge(4.0)),
    );
}

#[test]
fn a_page_that_is_none_is_an_error_or_silence_but_never_a_value() {
    let names = ["running", "inflight", "my_queue"];
    let error = |page: &str, format| read(&names, page, format).unwrap_err();
    for page in
        ["<html><body>404</body></html>\n", "{\"detail\":\"Not Found\"}\n", "Not Found\n", "\u{0}\u{1}\n"]
    {
        assert!(matches!(error(page, Format::Text), PageError::Malformed(_)), "{page:?}");
        assert!(matches!(error(page, Format::OpenMetrics), PageError::Cut { .. }), "{page:?}");
    }
    assert_eq!(read(&names, "", Format::Text).unwrap(), [const { None }; 3]);
    assert_eq!(read(&names, "other 5\n", Format::Text).unwrap(), [const { None }; 3]);
    let error = error("vllm:num_requests_running 5\r\n", Format::Text).to_string();
    assert!(error.contains("line 1") && error.contains("carriage return"), "{error}");
}

#[test]
fn a_cut_page_has_no_values() {
    let page = "vllm:num_requests_running{engine=\"0\"} 12\nvllm:num_requests_running{engine=\"1\"} 345\n";
    let first_line = page.find('\n').unwrap() + 1;
    for cut in (1..page.len()).filter(|cut| *cut != first_line) {
        let outcome = read(&["running"], &page[..cut], Format::Text);
        assert!(matches!(outcome, Err(PageError::Cut { .. })), "{:?}", &page[..cut]);
    }
    let page = format!("{page}# EOF\n");
    for cut in 0..page.len() - 1 {
        let outcome = read(&["running"], &page[..cut], Format::OpenMetrics);
        assert!(matches!(outcome, Err(PageError::Cut { .. })), "{:?}", &page[..cut]);
    }
}

/// What a page says of a histogram, as `le=count`, with the labels of the series.
fn buckets(name: &str, labels: &str, buckets: &[(&str, u32)], sum: f64) -> String {
    let comma = if labels.is_empty() { "" } else { "," };
    let lines =
        buckets.iter().map(|(le, count)| format!("{name}_bucket{{{labels}{comma}le=\"{le}\"}} {count}\n"));
    lines.collect::<String>() + &format!("{name}_sum{{{labels}}} {sum}\n")
}

fn histogram(buckets: &[(f64, f64)], sum: Option<f64>) -> Sample {
    Sample::Histogram(Histogram::new(buckets.iter().copied(), sum).unwrap())
}

const INF: f64 = f64::INFINITY;

#[test]
fn histograms_of_a_pod_are_merged() {
    let ttft = "vllm:time_to_first_token_seconds";
    let one = buckets(ttft, "engine=\"0\"", &[("0.5", 2), ("1.0", 3), ("+Inf", 4)], 2.5);
    let two = buckets(ttft, "engine=\"1\"", &[("0.5", 10), ("1.0", 20), ("+Inf", 30)], 40.0);
    check("ttft", &one, histogram(&[(0.5, 2.0), (1.0, 3.0), (INF, 4.0)], Some(2.5)));
    let both = [one.clone(), two.clone()].concat();
    check("ttft", &both, histogram(&[(0.5, 12.0), (1.0, 23.0), (INF, 34.0)], Some(42.5)));
    // Line by line from each series in turn, and backwards.
    let mut lines: Vec<_> = both.lines().collect();
    lines.sort_unstable_by_key(|line| std::cmp::Reverse(line.len()));
    let shuffled = lines.join("\n") + "\n";
    check("ttft", &shuffled, histogram(&[(0.5, 12.0), (1.0, 23.0), (INF, 34.0)], Some(42.5)));
    check("ttft{engine=\"1\"}", &both, histogram(&[(0.5, 10.0), (1.0, 20.0), (INF, 30.0)], Some(40.0)));
    let three = buckets(ttft, "engine=\"2\"", &[("1.0", 1), ("2.0", 1), ("+Inf", 1)], 1.0);
    check("ttft", &[both, three].concat(), histogram(&[(1.0, 24.0), (INF, 35.0)], Some(43.5)));
    let without_sum: String = one.split_inclusive('\n').filter(|line| !line.contains("_sum")).collect();
    check("ttft", &[without_sum, two].concat(), histogram(&[(0.5, 12.0), (1.0, 23.0), (INF, 34.0)], None));
}

#[test]
fn what_is_no_histogram_is_no_reading() {
    let ttft = "vllm:time_to_first_token_seconds";
    let good: &[(&str, u32)] = &[("0.5", 2), ("1.0", 3), ("+Inf", 4)];
    check("ttft", &buckets(ttft, "", &good[..2], 1.0), None);
    check("ttft", &buckets(ttft, "", &good[2..], 1.0), None);
    check("ttft", &buckets(ttft, "", &[("x", 1), ("1.0", 3), ("+Inf", 4)], 1.0), None);
    check("ttft", &buckets(ttft, "", &[("NaN", 1), ("1.0", 3), ("+Inf", 4)], 1.0), None);
    check("ttft", &buckets(ttft, "", good, 1.0).replace("} 3", "} NaN"), None);
    check("ttft", &buckets(ttft, "", good, 1.0).replace("} 3", "} -3"), None);
    check("ttft", &format!("{}{ttft}_bucket 5\n", buckets(ttft, "", good, 1.0)), None);
    check("ttft", &format!("# TYPE {ttft} histogram\n"), None);
    check("ttft", &format!("{ttft} 5\n"), None);
    let twice = buckets(ttft, "", good, 1.0).repeat(2);
    check("ttft", &twice, histogram(&[(0.5, 2.0), (1.0, 3.0), (INF, 4.0)], Some(1.0)));
    check("ttft", &format!("{twice}{ttft}_bucket{{le=\"1.0\"}} 4\n"), None);
}

#[test]
fn units_are_normalised() {
    let first = "nv_inference_first_response_histogram_ms";
    let ensemble = buckets(first, "model=\"ensemble\"", &[("100", 2), ("500", 3), ("+Inf", 4)], 2500.0);
    let step = buckets(first, "model=\"tensorrt_llm\"", &[("100", 9), ("500", 9), ("+Inf", 9)], 90.0);
    let seconds = histogram(&[(0.1, 2.0), (0.5, 3.0), (INF, 4.0)], Some(2.5));
    check("ttft", &[step.clone(), ensemble.clone()].concat(), seconds);
    check(first, &ensemble, histogram(&[(100.0, 2.0), (500.0, 3.0), (INF, 4.0)], Some(2500.0)));
    check("ttft", &step, histogram(&[(0.1, 9.0), (0.5, 9.0), (INF, 9.0)], Some(0.09)));
    let e2e = "nv_inference_request_duration_us{model=\"ensemble\"} 4000000\n\
               nv_inference_request_success{model=\"ensemble\"} 8\n";
    check("e2e", e2e, Some(Sample::Ratio { part: 4.0, whole: 8.0 }));
    check("avg_requests_per_min_pod", "vllm:request_success_total 2\n", Some(Counter(120.0)));
}

#[test]
fn terms_are_joined() {
    let info = |blocks: &str| {
        format!(
            "vllm:cache_config_info{{block_size=\"16\",engine=\"0\",num_gpu_blocks=\"100\"}} 1\n\
             vllm:cache_config_info{{block_size=\"32\",engine=\"1\",num_gpu_blocks=\"{blocks}\"}} 1\n"
        )
    };
    check("kv_capacity_tokens", &info("10"), Some(Gauge(1920.0)));
    check("kv_capacity_tokens", &info("None"), None);
    check("kv_capacity_tokens", "vllm:cache_config_info{block_size=\"16\"} 1\n", None);
    let used = "vllm:kv_cache_usage_perc{engine=\"0\"} 0.5\nvllm:kv_cache_usage_perc{engine=\"1\"} 1\n";
    check("kv_tokens", &format!("{}{used}", info("10")), Some(Gauge(1440.0)));
    check("kv_tokens", used, None);
    check(
        "kv_capacity_tokens",
        "trtllm_kv_cache_max_blocks 10\ntrtllm_kv_cache_tokens_per_block 32\n",
        Some(Gauge(320.0)),
    );
    let blocks = |per: u32| {
        format!(
            "nv_trt_llm_kv_cache_block_metrics{{kv_cache_block_type=\"max\",model=\"a\"}} 10\n\
             nv_trt_llm_kv_cache_block_metrics{{kv_cache_block_type=\"max\",model=\"b\"}} 30\n\
             nv_trt_llm_kv_cache_block_metrics{{kv_cache_block_type=\"used\",model=\"a\"}} 4\n\
             nv_trt_llm_kv_cache_block_metrics{{kv_cache_block_type=\"used\",model=\"b\"}} 6\n\
             nv_trt_llm_kv_cache_block_metrics{{kv_cache_block_type=\"tokens_per\",model=\"a\"}} 64\n\
             nv_trt_llm_kv_cache_block_metrics{{kv_cache_block_type=\"tokens_per\",model=\"b\"}} {per}\n"
        )
    };
    check("kv_capacity_tokens", &blocks(64), Some(Gauge(2560.0)));
    check("kv_capacity_tokens", &blocks(32), None);
    check("kv_util", &blocks(64), Some(Gauge(0.25)));
    check("kv_util", &blocks(64).replace("10\n", "0\n").replace("30\n", "0\n"), None);
    check(
        "prefix_hit_rate",
        "vllm:prefix_cache_hits_total 5\nvllm:prefix_cache_queries_total{e=\"0\"} 8\nvllm:prefix_cache_queries_total 2\n",
        Some(Sample::Ratio { part: 5.0, whole: 10.0 }),
    );
    check("prefix_hit_rate", "vllm:gpu_prefix_cache_hit_rate -1\n", None);
}

#[test]
fn one_rank_of_several_counts() {
    let ranks = |labels: &[&str]| {
        let line = |labels: &&str| format!("sglang:num_running_reqs{{{labels}}} 5\n");
        labels.iter().map(line).collect::<Vec<_>>().concat()
    };
    check(
        "running",
        &ranks(&[
            "tp_rank=\"0\",pp_rank=\"0\"",
            "tp_rank=\"1\",pp_rank=\"0\"",
            "tp_rank=\"0\",pp_rank=\"1\"",
        ]),
        Some(Gauge(5.0)),
    );
    check(
        "running",
        &ranks(&["dp_rank=\"0\",tp_rank=\"0\"", "dp_rank=\"1\",tp_rank=\"0\""]),
        Some(Gauge(10.0)),
    );
    check("running", &ranks(&["", "model_name=\"a\""]), Some(Gauge(10.0)));
    check("running", &ranks(&["tp_rank=\"3\""]), None);
}

#[test]
fn selectors_choose_series() {
    let page = "q{a=\"1\",b=\"x\"} 1\nq{a=\"2\",b=\"x\"} 2\nq{a=\"3\"} 4\nq{a=\"n\"} NaN\n";
    check("q", page, None);
    check("q{a=~\"[123]\"}", page, Some(Gauge(7.0)));
    check("q{b=\"x\"}", page, Some(Gauge(3.0)));
    check("q{b=\"\",a!=\"n\"}", page, Some(Gauge(4.0)));
    check("q{a=\"5\"}", page, None);
    let models = "vllm:num_requests_running{model_name=\"a\"} 3\nvllm:num_requests_running{model_name=\"b\"} 4\n\
                  vllm:num_requests_waiting{model_name=\"a\"} 10\nvllm:num_requests_waiting{model_name=\"b\"} 20\n";
    check("inflight", models, Some(Gauge(37.0)));
    check("inflight{model_name=\"a\"}", models, Some(Gauge(13.0)));
    check("num_requests_waiting{model_name!=\"a\"}", models, Some(Gauge(20.0)));
    let counter = "# TYPE c counter\nc_total{m=\"a\"} 4\nc_total{m=\"b\"} 5\n";
    check("c{m=\"a\"}", counter, Some(Counter(4.0)));
}

#[test]
fn a_series_that_comes_twice_counts_once() {
    let check = |page: &str, expected: Option<Sample>| check("running", page, expected);
    let series = "vllm:num_requests_running{engine=\"0\",model_name=\"m\"} 5\n";
    check(&series.repeat(3), Some(Gauge(5.0)));
    let swapped = "vllm:num_requests_running{model_name=\"m\",engine=\"0\"} 5\n";
    check(&format!("{series}{swapped}"), Some(Gauge(5.0)));
    check(&format!("{series}{}", series.replace('5', "6")), None);
    let other = "vllm:num_requests_running{engine=\"m\",model_name=\"0\"} 5\n";
    check(&format!("{series}{other}"), Some(Gauge(10.0)));
}

#[test]
fn a_filtered_page_reads_the_same() {
    let names = ["kv_util", "ttft", "prompt_tokens_rate"];
    let metrics = names.map(|name| Catalogue::builtin().resolve(name).unwrap());
    let wanted = Wanted::new(&metrics);
    let page = "vllm:gpu_cache_usage_perc 0.5\nvllm:prompt_tokens_total 5\nvllm:time_to_first_token_seconds_bucket{le=\"1\"} 1\n\
                vllm:time_to_first_token_seconds_bucket{le=\"+Inf\"} 1\nvllm:time_to_first_token_seconds_sum 1\n";
    let mut readings = Readings::default();
    wanted.read(page.as_bytes(), Format::Text, &mut readings).unwrap();
    let needed = wanted.sample_names_for(&readings);
    assert_eq!(
        needed,
        [
            "vllm:avg_prompt_throughput_toks_per_s",
            "vllm:gpu_cache_usage_perc",
            "vllm:kv_cache_usage_perc",
            "vllm:prompt_tokens",
            "vllm:prompt_tokens_total",
            "vllm:time_to_first_token_seconds",
            "vllm:time_to_first_token_seconds_bucket",
            "vllm:time_to_first_token_seconds_sum",
        ]
    );
    let of_vllm = Wanted::for_engine(&metrics, "vllm");
    let mut again = Readings::default();
    of_vllm.read(page.as_bytes(), Format::Text, &mut again).unwrap();
    assert_eq!(*again, *readings);
    assert_eq!(of_vllm.sample_names_for(&readings), needed);
    assert_eq!(of_vllm.sample_names().count(), needed.len());
    let nothing = [const { None }; 3];
    assert_eq!(wanted.sample_names_for(&nothing), wanted.sample_names().collect::<Vec<_>>());
    assert!(wanted.sample_names().count() > 3 * needed.len());
}

#[test]
fn a_metric_renamed_during_a_run_is_read_on() {
    let metrics =
        ["kv_util", "prompt_tokens_rate", "running"].map(|name| Catalogue::builtin().resolve(name).unwrap());
    let wanted = Wanted::for_engine(&metrics, "vllm");
    let old = |second: u32| {
        format!(
            "vllm:gpu_cache_usage_perc 0.5\nvllm:avg_prompt_throughput_toks_per_s 90\n\
             vllm:prompt_tokens_total {}\nvllm:num_requests_running 4\n",
            100 * second
        )
    };
    let new = |second: u32| {
        let count = 100 * second;
        format!(
            "vllm:kv_cache_usage_perc 0.6\nvllm:prompt_tokens_total {count}\nvllm:num_requests_running 4\n"
        )
    };
    let mut meters = [crate::Meter::default(); 3];
    let mut readings = Readings::default();
    for (second, page, expected) in [
        (1, old(1), [Some(0.5), Some(90.0), Some(4.0)]),
        (2, old(2), [Some(0.5), Some(90.0), Some(4.0)]),
        (3, new(3), [Some(0.6), None, Some(4.0)]),
        (4, new(4), [Some(0.6), Some(100.0), Some(4.0)]),
        (5, "vllm:num_requests_running 4\n".to_owned(), [None, None, Some(4.0)]),
    ] {
        wanted.read(page.as_bytes(), Format::Text, &mut readings).unwrap();
        let at = std::time::Duration::from_secs(second);
        let values: Vec<_> = readings
            .iter()
            .zip(&mut meters)
            .map(|(reading, meter)| meter.push(reading.as_ref()?, at))
            .collect();
        assert_eq!(values, expected, "second {second}");
    }
}

#[test]
fn a_page_without_the_metric_says_what_it_has() {
    let check = |name: &str, page: &str, expected: &str| {
        let wanted = Wanted::new(&[Catalogue::builtin().resolve(name).unwrap()]);
        assert_eq!(wanted.missing(page.as_bytes(), Format::Text, 0).unwrap(), expected);
    };
    check("my_queue", "", "the page has no my_queue, and no sample at all");
    check("my_queue", "up 1\nmy_queues 2\n", "the page has no my_queue; nearest are my_queues, up");
    check("my_queue", "my_queue NaN\n", "my_queue is NaN");
    check("my_queue", "my_queue +Inf\n", "my_queue is infinite");
    check("my_queue", "my_queue 1\nmy_queue 2\n", "my_queue comes twice, with different values");
    check("my_queue{a=\"b\"}", "my_queue{a=\"c\"} 1\n", "no series of my_queue matches {a=\"b\"}");
    check(
        "my_queue",
        "# TYPE my_queue summary\nmy_queue{quantile=\"0.5\"} 1\n",
        "my_queue is there, but not as one number",
    );
    check(
        "my_queue_total",
        "my_queue -1\n",
        "the page has no my_queue_total; it has my_queue, which is not declared a counter",
    );
    check(
        "my_queue_total{a=\"b\"}",
        "my_queue{a=\"b\"} 1\n",
        "the page has no my_queue_total; it has my_queue, which is not declared a counter",
    );
    check(
        "my_queue{a=\"b\"}",
        "# TYPE my_queue summary\nmy_queue{a=\"b\"} 1\n",
        "my_queue is there, but not as one number",
    );
    check("running", "vllm:num_requests_running -1\n", "vllm:num_requests_running is below 0");
    check("prompt_tokens_rate", "vllm:prompt_tokens NaN\n", "vllm:prompt_tokens is NaN");
    check(
        "inflight",
        "vllm:num_requests_running 1\n",
        "the page has vllm:num_requests_running, but no vllm:num_requests_waiting",
    );
    check(
        "kv_tokens",
        "vllm:kv_cache_usage_perc 0.5\nvllm:cache_config_info{num_gpu_blocks=\"None\",block_size=\"16\"} 1\n",
        "vllm:cache_config_info has no number in num_gpu_blocks, block_size",
    );
    let bucket = |bounds: &str| format!("vllm:time_to_first_token_seconds_bucket{{{bounds}}} 1\n");
    let ttft = "vllm:time_to_first_token_seconds";
    check("ttft", &bucket(""), &format!("{ttft} has a bucket without a number in le"));
    check(
        "ttft",
        &bucket("le=\"1\""),
        &format!(
            "{ttft} is no whole histogram: it needs a bucket with le=\"+Inf\" and 1 to 511 with finite bounds"
        ),
    );
    check(
        "ttft",
        &format!("{ttft} 3\n"),
        &format!("{ttft} is there, but it is no histogram: it has no buckets"),
    );
}

#[test]
fn what_is_wrong_is_said_of_the_pages_engine() {
    let check = |name: &str, engine: &str, page: &str, expected: &str| {
        let wanted = Wanted::preferring(&[Catalogue::builtin().resolve(name).unwrap()], engine);
        assert_eq!(wanted.missing(page.as_bytes(), Format::Text, 0).unwrap(), expected);
    };
    check(
        "kv_tokens",
        "sglang",
        "sglang:x 1\nvllm:cache_config_info 1\n",
        "the page has no sglang:kv_used_tokens; nearest are sglang:x, vllm:cache_config_info",
    );
    let blocks = |kind: &str, count: u32| {
        let labels = format!("kv_cache_block_type=\"{kind}\",model=\"{count}\"");
        format!("nv_trt_llm_kv_cache_block_metrics{{{labels}}} {count}\n")
    };
    check(
        "kv_tokens",
        "triton",
        &[blocks("used", 1), blocks("tokens_per", 16), blocks("tokens_per", 32)].concat(),
        "nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=\"tokens_per\"} has different values, and one is \
         expected of all its series",
    );
}

#[test]
fn a_page_with_the_metric_misses_nothing() {
    let wanted = Wanted::new(&[Catalogue::builtin().resolve("running").unwrap()]);
    assert_eq!(wanted.missing(b"vllm:num_requests_running 1\n", Format::Text, 0), None);
    assert_eq!(wanted.missing(b"vllm:num_requests_running", Format::Text, 0), None);
    assert_eq!(wanted.missing(b"", Format::Text, 7), None);
}

#[test]
fn an_engine_is_preferred() {
    let metrics = [Catalogue::builtin().resolve("running").unwrap()];
    let alias = |wanted: &Wanted, page: &str| {
        let mut readings = Readings::default();
        wanted.read(page.as_bytes(), Format::Text, &mut readings).unwrap();
        let names = wanted.sample_names_for(&readings).len();
        readings[0].as_ref().map(|reading| (metrics[0].aliases[reading.alias].engine.as_str(), names))
    };
    let (vllm, tgi) = ("vllm:num_requests_running 1\n", "tgi_batch_current_size 2\n");
    let of_tgi = Wanted::preferring(&metrics, "tgi");
    assert_eq!(alias(&of_tgi, &format!("{vllm}{tgi}")), Some(("tgi", 1)));
    assert_eq!(alias(&of_tgi, vllm), Some(("vllm", 2)));
    assert_eq!(alias(&Wanted::new(&metrics), &format!("{vllm}{tgi}")), Some(("vllm", 1)));
}

use std::path::{Path, PathBuf};

use super::*;

fn ask<'a>(metrics: &'a [Metric], labels: &'a [(String, String)]) -> Question<'a> {
    Question { catalogue: Catalogue::builtin(), metrics, labels, version: Some("v1.2") }
}

fn metrics(names: &[&str]) -> Vec<Metric> {
    names.iter().map(|name| Catalogue::builtin().resolve(name).unwrap()).collect()
}

#[test]
fn a_page_in_words() {
    let page = "tgi_batch_current_size 3\ntgi_queue_size 2\ntgi_request_success 40\n\
        tgi_request_queue_duration_bucket{le=\"1\"} 4\ntgi_request_queue_duration_bucket{le=\"+Inf\"} 4\n\
        tgi_request_queue_duration_sum 2\ntgi_request_queue_duration_count 4\n";
    let metrics = metrics(&["running", "request_rate", "queue_time", "preemption_rate"]);
    let survey = survey_page(ask(&metrics, &[]), page.as_bytes(), Format::Text, "a file").unwrap();
    let text = survey.to_string();
    for expect in [
        "engine   TGI",
        "(names on its page begin with tgi_)",
        "version  v1.2 (the image's tag)",
        "a file: ",
        "running       3 requests",
        "a rate, known from two pages",
        "since it started",
        "- preemption_rate: ",
        "does not expose it",
    ] {
        assert!(text.contains(expect), "{expect:?} is not in\n{text}");
    }
}

#[test]
fn what_is_read_is_told_with_what_is_done_with_it() {
    let page = "vllm:request_success_total{finished_reason=\"stop\"} 30\nvllm:num_requests_running NaN\n\
        vllm:time_to_first_token_seconds_bucket{le=\"1\"} 1\n\
        vllm:time_to_first_token_seconds_bucket{le=\"+Inf\"} 4\n\
        vllm:time_to_first_token_seconds_sum 40\ntgi_batch_current_size 3\n";
    let metrics = metrics(&["avg_requests_per_min_pod", "ttft", "running", "waiting"]);
    let survey = survey_page(ask(&metrics, &[]), page.as_bytes(), Format::Text, "a file").unwrap();
    let text = survey.to_string();
    for expect in [
        "vllm:request_success_total × 60",
        "a rate, known from two pages; 30 counted so far ",
        "1 seconds p95 (at least: beyond the last bucket's bound) since it started",
        "- running: vllm:num_requests_running is NaN",
        "- waiting: the page has no vllm:num_requests_waiting; nearest are ",
    ] {
        assert!(text.contains(expect), "{expect:?} is not in\n{text}");
    }
}

#[test]
fn two_readings_make_rates_and_windows() {
    let [requests, queue] = ["request_rate", "queue_time"].map(|name| metrics(&[name]).remove(0));
    let histogram = |fast: f64, all: f64| {
        let buckets = [(1.0, fast), (4.0, all), (f64::INFINITY, all)];
        windlass_metrics::Histogram::new(buckets, Some(all)).unwrap()
    };
    let reading = |sample| Reading { sample, alias: 0 };
    let check = |metric: &Metric, before: Sample, after: Sample, expect: &str| {
        let value = between(metric, &reading(before), &reading(after), Duration::from_secs(2));
        let shown = match value {
            Value::Number(value, what) => format!("{} {what}", table::shown(value)),
            Value::Unknown(why) | Value::Missing(why) => why,
        };
        assert_eq!(shown.trim(), expect);
    };
    check(&requests, Sample::Counter(10.0), Sample::Counter(15.0), "2.5 rate");
    check(
        &requests,
        Sample::Counter(10.0),
        Sample::Counter(3.0),
        "nothing was counted between the two pages",
    );
    check(&requests, Sample::Gauge(10.0), Sample::Gauge(3.0), "3");
    let queue = Metric { statistic: Statistic::Mean, ..queue };
    check(&queue, Sample::Histogram(histogram(1.0, 2.0)), Sample::Histogram(histogram(2.0, 4.0)), "1 mean");
    check(
        &queue,
        Sample::Histogram(histogram(1.0, 2.0)),
        Sample::Histogram(histogram(1.0, 2.0)),
        "1 mean since it started",
    );
}

#[test]
fn numbers_are_short() {
    for (value, expect) in [
        (0.0, "0"),
        (12.0, "12"),
        (123_456.7, "123457"),
        (0.123_456, "0.1235"),
        (0.5, "0.5"),
        (1.0e-5 / 3.0, "0.000003333"),
        (99.999_99, "100"),
    ] {
        assert_eq!(table::shown(value), expect);
    }
}

/// Folder from `WINDLASS_CONFORMANCE`, by default beside the repository.
fn conformance() -> PathBuf {
    let folder = std::env::var_os("WINDLASS_CONFORMANCE").map(PathBuf::from);
    folder.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance"))
}

#[test]
fn every_engines_page_is_told() {
    let folder = conformance().join("exposition");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        eprintln!("SKIPPED: no pages in {}", folder.display());
        return;
    };
    let catalogue = Catalogue::builtin();
    let mut pages = 0;
    for path in entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "prom"))
    {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let format = if name.ends_with("openmetrics") { Format::OpenMetrics } else { Format::Text };
        let page = std::fs::read(&path).unwrap();
        let survey = survey_page(ask(catalogue.metrics(), &[]), &page, format, name).unwrap();
        let text = survey.to_string();
        let engine = &survey.detected.as_ref().expect(name).engine;
        assert!(
            name.replace('_', "").starts_with(&engine.replace(['-', '_', '.'], "")[..3]),
            "{name} is {engine}"
        );
        let found = survey.rows.iter().filter(|row| row.read_from.is_some()).count();
        assert!(found >= 5, "{name} has {found} of the metrics:\n{text}");
        assert!(!text.contains("- : ") && text.lines().all(|line| line.len() < 900), "{text}");
        pages += 1;
    }
    assert!(pages >= 8, "{pages} pages");
}

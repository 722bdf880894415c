//! Pages of the real Python `prometheus_client`, in one process and in two: read as they were set, in full and asked for
//! by name. `exporter/setup.sh` installs what is missing; where it cannot, these tests fail.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use windlass_metrics::{Catalogue, Format, Histogram, Metric, RATE_SPAN, Reading, Readings, Sample, Wanted};
use windlass_scrape::{Endpoint, Outcome, PolledPod, Value};

/// How the two formats are asked for. Without `escaping` the second one has other names: see
/// [`openmetrics_has_the_names_only_if_they_are_asked_for`].
const FORMATS: [(&str, Format); 2] = [
    ("text/plain;version=0.0.4", Format::Text),
    ("application/openmetrics-text;version=1.0.0;escaping=allow-utf-8", Format::OpenMetrics),
];
/// Gauges, counters, a ratio of counters, and histograms.
const METRICS: [&str; 9] = [
    "running",
    "waiting",
    "inflight",
    "kv_util",
    "prompt_tokens_rate",
    "cached_tokens_rate",
    "preemption_rate",
    "ttft",
    "prompt_length",
];
const SET: &str = r#"{
    "gauges": {
        "num_requests_running": {"llama2-70b": 5, "text2sql-lora-2": 7},
        "num_requests_waiting": {"llama2-70b": 3},
        "kv_cache_usage_perc": {"llama2-70b": 0.25, "text2sql-lora-2": 0.75}
    },
    "counters": {
        "prompt_tokens": {"llama2-70b": 123456789, "text2sql-lora-2": 1000},
        "prefix_cache_queries": {"llama2-70b": 400},
        "prefix_cache_hits": {"llama2-70b": 100, "text2sql-lora-2": 20}
    },
    "histograms": {
        "time_to_first_token_seconds": {"llama2-70b": [0.015, 0.015, 0.3, 100], "text2sql-lora-2": [0.3, 0.7]},
        "request_prompt_tokens": {"llama2-70b": [400, 1200]}
    }
}"#;

/// The exporter as a child process; it ends with this.
struct Exporter {
    process: Child,
    address: SocketAddr,
    /// Where the processes of one page share their values.
    shared: Option<PathBuf>,
}

impl Exporter {
    fn start(processes: usize) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/exporter");
        let setup = Command::new(folder.join("setup.sh")).output().unwrap();
        let said = String::from_utf8_lossy(&setup.stderr);
        assert!(setup.status.success(), "no Python exporter to test with: {said}");
        let python = String::from_utf8(setup.stdout).unwrap();
        let mut command = Command::new(python.trim());
        command.arg(folder.join("exporter.py")).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.env_remove("PROMETHEUS_MULTIPROC_DIR");
        let shared = (processes > 1).then(|| {
            let name = format!("exporter-{}-{processes}", std::process::id());
            let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
            std::fs::create_dir_all(&folder).unwrap();
            folder
        });
        if let Some(folder) = &shared {
            command.env("PROMETHEUS_MULTIPROC_DIR", folder);
        }
        let mut process = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port: u16 = line.trim().parse().expect("the exporter tells its port");
        Self { process, address: ([127, 0, 0, 1], port).into(), shared }
    }

    /// An answer with status 200: its type and its body.
    fn ask(&self, method: &str, path: &str, accept: &str, body: &str) -> (Format, Vec<u8>) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let length = body.len();
        write!(stream, "{method} {path} HTTP/1.1\r\nhost: x\r\naccept: {accept}\r\ncontent-length: {length}\r\n\r\n{body}")
            .unwrap();
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert!(line.starts_with("HTTP/1.1 200 "), "{path}: {line}");
        let (mut length, mut format) = (0, Format::Text);
        loop {
            line.clear();
            reader.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().unwrap(),
                "content-type" => format = Format::from_content_type(value),
                _ => {}
            }
        }
        let mut page = vec![0; length];
        reader.read_exact(&mut page).unwrap();
        (format, page)
    }

    fn set(&self, change: &str) {
        self.ask("POST", "/set", "*/*", change);
    }

    /// The page, in full or of some names.
    fn page(&self, (accept, format): (&str, Format), names: &[&str]) -> Vec<u8> {
        let query: Vec<String> = names.iter().map(|name| format!("name[]={name}")).collect();
        let (got, page) = self.ask("GET", &format!("/metrics?{}", query.join("&")), accept, "");
        assert_eq!(got, format, "asked for {accept}");
        page
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
        if let Some(folder) = &self.shared {
            _ = std::fs::remove_dir_all(folder);
        }
    }
}

fn metrics() -> Vec<Metric> {
    METRICS.iter().map(|name| Catalogue::builtin().resolve(name).unwrap()).collect()
}

fn read(wanted: &Wanted, page: &[u8], format: Format) -> Vec<Option<Reading>> {
    let mut readings = Readings::default();
    wanted.read(page, format, &mut readings).unwrap();
    readings.to_vec()
}

/// What [`SET`] says of a metric, from the metric's definition.
fn expected(name: &str) -> Sample {
    match name {
        "running" => Sample::Gauge(12.0),
        "waiting" => Sample::Gauge(3.0),
        "inflight" => Sample::Gauge(15.0),
        "kv_util" => Sample::Gauge(0.5),
        "prompt_tokens_rate" => Sample::Counter(123_457_789.0),
        "cached_tokens_rate" => Sample::Counter(120.0),
        "preemption_rate" => Sample::Counter(0.0),
        "ttft" => Sample::Histogram(histogram(&[0.015, 0.015, 0.3, 100.0, 0.3, 0.7], &SECONDS)),
        "prompt_length" => Sample::Histogram(histogram(&[400.0, 1200.0], &TOKENS)),
        other => panic!("{other} is not set"),
    }
}

/// As in `exporter.py`.
const SECONDS: [f64; 19] = [
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0,
    80.0,
];
const TOKENS: [f64; 19] =
    [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6];

fn histogram(observed: &[f64], bounds: &[f64]) -> Histogram {
    let up_to = |bound: f64| observed.iter().filter(|value| **value <= bound).count() as f64;
    let bounds = bounds.iter().copied().chain([f64::INFINITY]);
    Histogram::new(bounds.map(|bound| (bound, up_to(bound))), Some(observed.iter().sum())).unwrap()
}

/// Sums of floats depend on their order, so they may differ by rounding.
fn same(got: &Sample, expected: &Sample) -> bool {
    match (got, expected) {
        (Sample::Histogram(got), Sample::Histogram(expected)) => {
            let sums = got.sum().zip(expected.sum()).is_some_and(|(a, b)| (a - b).abs() <= 1e-9 * b);
            got.buckets() == expected.buckets() && sums
        }
        _ => got == expected,
    }
}

fn assert_as_set(readings: &[Option<Reading>], what: &str) {
    for (name, reading) in METRICS.iter().zip(readings) {
        let reading =
            reading.as_ref().unwrap_or_else(|| panic!("{what}: no reading of {name}; {readings:?}"));
        let expected = expected(name);
        assert!(same(&reading.sample, &expected), "{what}: {name} is {:?}, not {expected:?}", reading.sample);
    }
}

#[test]
fn a_page_of_one_process_reads_as_it_was_set_in_full_and_by_name() {
    let exporter = Exporter::start(1);
    exporter.set(SET);
    let wanted = Wanted::new(&metrics());
    for format in FORMATS {
        let full = exporter.page(format, &[]);
        let readings = read(&wanted, &full, format.1);
        assert_as_set(&readings, "the full page");
        for names in [wanted.sample_names().collect(), wanted.sample_names_for(&readings)] {
            let some = exporter.page(format, &names);
            assert!(some.len() * 4 < full.len(), "{} of {} bytes", some.len(), full.len());
            assert_eq!(read(&wanted, &some, format.1), readings, "{:?}", String::from_utf8_lossy(&some));
        }
    }
}

/// What the client answers today; where it does not, asking by name can be simpler.
#[test]
fn a_counter_and_a_histogram_are_asked_for_by_their_samples() {
    let exporter = Exporter::start(1);
    exporter.set(SET);
    let lines = |names: &[&str]| {
        let page = String::from_utf8(exporter.page(FORMATS[0], names)).unwrap();
        page.lines().filter(|line| !line.starts_with('#')).count()
    };
    assert_eq!(lines(&["vllm:num_requests_running"]), 2);
    assert_eq!(lines(&["vllm:prompt_tokens_total"]), 2);
    assert_eq!(lines(&["vllm:prompt_tokens"]), 0, "without `_total` it is not there, with status 200");
    assert_eq!(lines(&["vllm:time_to_first_token_seconds_bucket"]), 40);
    assert_eq!(lines(&["vllm:nothing_of_that_name"]), 0);
}

/// The client takes the first mention of `OpenMetrics` for what is wanted, whatever its weight, and writes a colon as an
/// underscore there: all of vLLM's names are other ones then.
#[test]
fn openmetrics_has_the_names_only_if_they_are_asked_for() {
    let exporter = Exporter::start(1);
    for (accept, format, name) in [
        ("*/*", Format::Text, "vllm:"),
        ("text/plain;version=0.0.4", Format::Text, "vllm:"),
        ("text/plain;version=0.0.4,*/*;q=0.1", Format::Text, "vllm:"),
        (
            "text/plain;version=0.0.4,application/openmetrics-text;version=1.0.0;q=0.1",
            Format::OpenMetrics,
            "vllm_",
        ),
        ("application/openmetrics-text;version=1.0.0", Format::OpenMetrics, "vllm_"),
        ("application/openmetrics-text;version=1.0.0;escaping=allow-utf-8", Format::OpenMetrics, "vllm:"),
    ] {
        let page = String::from_utf8(exporter.page((accept, format), &[])).unwrap();
        let line = format!("\n{name}num_requests_running{{");
        assert!(page.contains(&line), "{accept} has no {name} names");
    }
}

#[test]
fn a_page_of_two_processes_is_read_in_full_and_is_empty_by_name() {
    let exporter = Exporter::start(2);
    exporter.set(SET);
    let wanted = Wanted::new(&metrics());
    for format in FORMATS {
        let readings = read(&wanted, &exporter.page(format, &[]), format.1);
        assert_as_set(&readings, "the page of two processes");
        let names = wanted.sample_names_for(&readings);
        let some = exporter.page(format, &names);
        let end: &[u8] = if format.1 == Format::Text { b"" } else { b"# EOF\n" };
        assert_eq!(some, end, "nothing by name, with status 200");
        assert!(read(&wanted, &some, format.1).iter().all(Option::is_none), "and nothing is not 0");
    }
}

/// One process answers by name what it answers in full; several answer nothing by name, and are asked for everything.
#[tokio::test]
async fn a_polled_exporter_gives_values_and_rates_over_one_connection() {
    for processes in [1, 2] {
        let exporter = Exporter::start(processes);
        exporter.set(SET);
        let wanted = Arc::new(Wanted::new(&metrics()));
        let mut pod =
            PolledPod::new(Endpoint::http(exporter.address, "/metrics"), Duration::from_secs(10), wanted);
        let at = |name: &str| METRICS.iter().position(|metric| *metric == name).unwrap();
        let value = |outcome: &Outcome, name| {
            outcome.values.as_ref().unwrap()[at(name)].as_ref().and_then(Value::number)
        };
        let first = pod.poll().await;
        assert_eq!(value(&first, "running"), Some(12.0));
        assert_eq!(value(&first, "prompt_tokens_rate"), None, "one count is no rate");
        tokio::time::sleep(RATE_SPAN).await;
        let more = r#"{"gauges": {"num_requests_running": {"llama2-70b": 9}}, "counters": {"prompt_tokens": {"llama2-70b": 500}}}"#;
        exporter.set(more);
        let second = pod.poll().await;
        assert_eq!(second.filtered, processes == 1, "{processes} processes");
        assert_eq!(value(&second, "running"), Some(16.0));
        assert!(value(&second, "prompt_tokens_rate").unwrap() > 0.0);
        assert_eq!(value(&second, "preemption_rate"), Some(0.0));
        assert_eq!(pod.poll().await.filtered, processes == 1, "{processes} processes");
        let (_, usage) = exporter.ask("GET", "/usage", "*/*", "");
        let usage: serde_json::Value = serde_json::from_slice(&usage).unwrap();
        // Two changes and this question came on connections of their own.
        assert_eq!(usage["connections"], 4, "{processes} processes");
    }
}

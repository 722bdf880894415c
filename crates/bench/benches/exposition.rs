//! Cost of one 55 KB vLLM page on one core. Budgets: 10 µs for a few names, 40 µs for everything.
//!
//! `cargo bench -p windlass-bench --bench exposition`. The last lines compare with a naive baseline (lines, split, parse)
//! and with two parsers of crates.io in the same run, which is what to compare between machines.

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use windlass_metrics::exposition::{Entry, Format, Names, Selected, parse, select};

/// The shape of a vLLM v1 registry: two models, 13 histograms, counters and gauges; about 600 lines.
fn page() -> String {
    const HISTOGRAMS: [&str; 13] = [
        "time_to_first_token_seconds",
        "inter_token_latency_seconds",
        "request_time_per_output_token_seconds",
        "e2e_request_latency_seconds",
        "request_queue_time_seconds",
        "request_inference_time_seconds",
        "request_prefill_time_seconds",
        "request_decode_time_seconds",
        "request_prompt_tokens",
        "request_generation_tokens",
        "request_params_max_tokens",
        "request_params_n",
        "iteration_tokens_total",
    ];
    const COUNTERS: [&str; 5] = [
        "prompt_tokens",
        "generation_tokens",
        "num_preemptions",
        "prefix_cache_queries",
        "prefix_cache_hits",
    ];
    const GAUGES: [&str; 3] = ["num_requests_running", "num_requests_waiting", "kv_cache_usage_perc"];
    const MODELS: [&str; 2] = ["llama2-70b", "text2sql-lora-2"];
    let mut page = String::new();
    let head = |page: &mut String, name: &str, kind: &str| {
        _ = write!(page, "# HELP vllm:{name} What is measured.\n# TYPE vllm:{name} {kind}\n");
    };
    for (i, name) in GAUGES.iter().enumerate() {
        head(&mut page, name, "gauge");
        for model in MODELS {
            _ = writeln!(page, "vllm:{name}{{engine=\"0\",model_name=\"{model}\"}} {}.0", 17 * i);
        }
    }
    for (i, name) in COUNTERS.iter().enumerate() {
        head(&mut page, &format!("{name}_total"), "counter");
        for model in MODELS {
            _ = writeln!(
                page,
                "vllm:{name}_total{{engine=\"0\",model_name=\"{model}\"}} {}.82019256e+08",
                i + 2
            );
        }
    }
    for (i, name) in HISTOGRAMS.iter().enumerate() {
        head(&mut page, name, "histogram");
        for model in MODELS {
            let name = format!("vllm:{name}");
            let bounds = (0..18).map(|bucket| (0.001 * f64::from(1 << bucket)).to_string());
            for (bucket, le) in bounds.chain(["+Inf".to_owned()]).enumerate() {
                // The Python client sorts labels by their names.
                let labels = format!("engine=\"0\",le=\"{le}\",model_name=\"{model}\"");
                _ = writeln!(page, "{name}_bucket{{{labels}}} {}.0", i * 1000 + bucket * 91);
            }
            let labels = format!("engine=\"0\",model_name=\"{model}\"");
            _ = writeln!(page, "{name}_count{{{labels}}} 29124.0\n{name}_sum{{{labels}}} 473.352441822583");
        }
    }
    page
}

/// What one writes first: every line split at its blanks, into owned names and values. Knows no quoting, no errors.
fn naive(page: &str) -> Vec<(String, f64)> {
    let samples = page.lines().filter(|line| !line.starts_with('#'));
    let split = samples.filter_map(|line| line.rsplit_once(' '));
    split.filter_map(|(series, value)| Some((series.to_owned(), value.parse().ok()?))).collect()
}

/// The parser of crates.io with the most users (134,000 downloads a month, last release 2023). It leaves out names with a
/// colon, which are all of vLLM's, so it gets a page without them.
fn prometheus_parse(page: &str) -> usize {
    use prometheus_parse::{Scrape, Value};
    let scrape = Scrape::parse(page.lines().map(|line| Ok(line.to_owned())));
    let count = |value: &Value| if let Value::Histogram(buckets) = value { buckets.len() } else { 1 };
    scrape.map_or(0, |scrape| scrape.samples.iter().map(|sample| count(&sample.value)).sum())
}

/// Another one (winnow; release of 2023), which takes colons, and leaves numbers as text.
fn prom_text_format_parser(page: &str) -> usize {
    let scrape = prom_text_format_parser::Scrape::parse(page);
    scrape.map_or(0, |scrape| scrape.metrics.iter().map(|metric| metric.samples.len()).sum())
}

fn full(page: &str) -> f64 {
    let samples = parse(page.as_bytes(), Format::Text).map_while(Result::ok);
    samples.map(|entry| if let Entry::Sample(sample) = entry { sample.value } else { 0.0 }).sum()
}

fn filtered(page: &str, names: &Names) -> f64 {
    let mut sum = 0.0;
    let outcome = select(page.as_bytes(), Format::Text, names, |found| {
        if let Selected::Sample { sample, .. } = found {
            sum += sample.value;
        }
    });
    if outcome.is_ok() { sum } else { f64::NAN }
}

fn wanted() -> Names {
    Names::new([
        "vllm:num_requests_running",
        "vllm:num_requests_waiting",
        "vllm:kv_cache_usage_perc",
        "vllm:gpu_cache_usage_perc",
        "vllm:avg_prompt_throughput_toks_per_s",
        "vllm:prompt_tokens_total",
        "vllm:prompt_tokens",
    ])
}

/// The least and the median of many runs of `work`, in microseconds. On a shared machine the least is the better
/// estimate of what the work itself costs.
fn cost(mut work: impl FnMut()) -> (f64, f64) {
    let mut runs: Vec<Duration> = (0..4001)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed()
        })
        .collect();
    runs.sort_unstable();
    let micros = |run: Duration| run.as_secs_f64() * 1e6;
    (micros(runs[0]), micros(runs[runs.len() / 2]))
}

/// Prints what `work` costs on `bytes` of page, and how much more `others` cost; gives the least, as theirs are.
fn compare(title: &str, bytes: usize, others: &[(&str, f64)], work: impl FnMut()) -> f64 {
    let (least, median) = cost(work);
    let pace = |micros: f64| bytes as f64 / micros;
    print!(
        "{title:24} least {least:7.1} µs, median {median:7.1} µs, {:6.0} MB/s, at best {:6.0} MB/s",
        pace(median),
        pace(least)
    );
    for (other, micros) in others {
        print!(", {other} / this {:.1}", micros / least);
    }
    println!();
    least
}

fn main() {
    let page = page();
    let plain = page.replace("vllm:", "vllm_");
    let names = wanted();
    assert!(full(&page) > filtered(&page, &names) && filtered(&page, &names) > 0.0, "the page is not read");
    let samples = naive(&page).len();
    println!(
        "page: {} bytes, {} lines, {samples} samples; prometheus-parse finds {}, and {} with the colons; \
         prom_text_format_parser finds {}",
        page.len(),
        page.lines().count(),
        prometheus_parse(&plain),
        prometheus_parse(&page),
        prom_text_format_parser(&page)
    );

    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("page");
    group.throughput(Throughput::Bytes(page.len() as u64));
    group.bench_function("filtered", |b| b.iter(|| filtered(black_box(&page), &names)));
    group.bench_function("full", |b| b.iter(|| full(black_box(&page))));
    group.bench_function("naive", |b| b.iter(|| naive(black_box(&page))));
    group.bench_function("prometheus-parse", |b| b.iter(|| prometheus_parse(black_box(&plain))));
    group.finish();
    criterion.final_summary();

    let bytes = page.len();
    let naive = compare("naive", bytes, &[], || _ = black_box(naive(black_box(&page))));
    let parse =
        compare("prometheus-parse", bytes, &[], || _ = black_box(prometheus_parse(black_box(&plain))));
    let winnow = compare("prom_text_format_parser", bytes, &[], || {
        _ = black_box(prom_text_format_parser(black_box(&page)));
    });
    let others = [("naive", naive), ("prometheus-parse", parse), ("prom_text_format_parser", winnow)];
    compare("full (budget 40 µs)", bytes, &others, || _ = black_box(full(black_box(&page))));
    compare("filtered (budget 10 µs)", bytes, &others, || _ = black_box(filtered(black_box(&page), &names)));
}

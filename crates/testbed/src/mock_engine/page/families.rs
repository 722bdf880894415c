//! The families of the page, as data: those of vLLM 0.8-0.9, which exports the names of both its generations.

use super::super::gauge::Gauge;
use super::super::{ADAPTER, MODEL};
use super::{Meter, Slot, Template, write_float};

const GAUGES: [(Gauge, &str); Gauge::COUNT] = [
    (Gauge::Running, "Number of requests currently running on GPU."),
    (Gauge::Waiting, "Number of requests waiting to be processed."),
    (Gauge::Swapped, "Number of requests swapped to CPU."),
    (Gauge::GpuCache, "GPU KV-cache usage. 1 means 100 percent usage."),
    (Gauge::KvCache, "KV-cache usage. 1 means 100 percent usage."),
    (Gauge::CpuCache, "CPU KV-cache usage. 1 means 100 percent usage."),
    (Gauge::PromptThroughput, "Average prefill throughput in tokens/s."),
    (Gauge::GenerationThroughput, "Average generation throughput in tokens/s."),
];

const COUNTERS: [(&str, &str, Meter, f64); 3] = [
    (
        "vllm:num_preemptions_total",
        "Cumulative number of preemptions from the engine.",
        Meter::Requests,
        0.01,
    ),
    ("vllm:prompt_tokens_total", "Number of prefill tokens processed.", Meter::PromptTokens, 1.0),
    ("vllm:generation_tokens_total", "Number of generation tokens processed.", Meter::GenerationTokens, 1.0),
];

/// Requests end for these reasons, in these shares.
const FINISHED: [(&str, f64); 3] = [("stop", 0.8), ("length", 0.19), ("abort", 0.01)];

const LATENCY: &[f64] = &[
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0,
    960.0, 1920.0, 7680.0,
];
const FIRST_TOKEN: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0,
    80.0, 160.0, 640.0, 2560.0,
];
const OUTPUT_TOKEN: &[f64] = &[
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
];
/// 1-2-5 steps up to a context of 4,096 tokens.
const LENGTH: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0];
const ITERATION: &[f64] =
    &[1.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0];
const PARAMETER_N: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0];
/// The coarse buckets of prometheus-fastapi-instrumentator.
const HTTP: &[f64] = &[0.1, 0.5, 1.0];
/// Its fine ones.
const HTTP_FINE: &[f64] = &[
    0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 7.5, 10.0,
    30.0, 60.0,
];
const HTTP_MEDIAN: f64 = 6.0;

/// Handler, method, and the fraction of the requests that goes to it.
const HANDLERS: [(&str, &str, f64); 5] = [
    ("/v1/chat/completions", "POST", 0.75),
    ("/v1/completions", "POST", 0.25),
    ("/v1/models", "GET", 0.0),
    ("/tokenize", "POST", 0.0),
    ("/health", "GET", 0.0),
];

/// Name, help, upper bounds, median of the observed values.
const HISTOGRAMS: [(&str, &str, &[f64], f64); 13] = [
    ("vllm:iteration_tokens_total", "Histogram of number of tokens per engine_step.", ITERATION, 40.0),
    ("vllm:time_to_first_token_seconds", "Histogram of time to first token in seconds.", FIRST_TOKEN, 0.12),
    (
        "vllm:time_per_output_token_seconds",
        "Histogram of time per output token in seconds.",
        OUTPUT_TOKEN,
        0.03,
    ),
    ("vllm:e2e_request_latency_seconds", "Histogram of e2e request latency in seconds.", LATENCY, 6.0),
    (
        "vllm:request_queue_time_seconds",
        "Histogram of time spent in WAITING phase for request.",
        LATENCY,
        0.02,
    ),
    (
        "vllm:request_inference_time_seconds",
        "Histogram of time spent in RUNNING phase for request.",
        LATENCY,
        5.9,
    ),
    (
        "vllm:request_prefill_time_seconds",
        "Histogram of time spent in PREFILL phase for request.",
        LATENCY,
        0.1,
    ),
    (
        "vllm:request_decode_time_seconds",
        "Histogram of time spent in DECODE phase for request.",
        LATENCY,
        5.8,
    ),
    ("vllm:request_prompt_tokens", "Number of prefill tokens processed.", LENGTH, 250.0),
    ("vllm:request_generation_tokens", "Number of generation tokens processed.", LENGTH, 150.0),
    (
        "vllm:request_max_num_generation_tokens",
        "Histogram of maximum number of requested tokens.",
        LENGTH,
        400.0,
    ),
    ("vllm:request_params_n", "Histogram of the n request parameter.", PARAMETER_N, 0.5),
    ("vllm:request_params_max_tokens", "Histogram of the max_tokens request parameter.", LENGTH, 400.0),
];

const CACHE_CONFIG: &str = r#"block_size="16",cache_dtype="auto",cpu_offload_gb="0",enable_prefix_caching="True",gpu_memory_utilization="0.9",is_attention_free="False",num_cpu_blocks="2048",num_gpu_blocks="27000",num_gpu_blocks_override="None",prefix_caching_hash_algo="builtin",sliding_window="None",swap_space_bytes="4294967296""#;

pub(super) fn write(page: &mut Template) {
    process(page);
    page.family("vllm:cache_config_info", "gauge", "Information of the LLMEngine CacheConfig");
    page.fixed("vllm:cache_config_info", CACHE_CONFIG, 1.0);
    page.family("vllm:lora_requests_info", "gauge", "Running stats on lora requests.");
    let adapters = format!("max_lora=\"1\",running_lora_adapters=\"{ADAPTER}\",waiting_lora_adapters=\"\"");
    page.spliced("vllm:lora_requests_info", &adapters, Slot::Meter(Meter::StartTime));
    for (gauge, help) in GAUGES {
        let name = format!("vllm:{}", gauge.name());
        page.family(&name, "gauge", help);
        page.both_models(&name, "", Slot::Gauge(gauge));
    }
    for (name, help, meter, fraction) in COUNTERS {
        page.family(name, "counter", help);
        page.both_models(name, "", Slot::Count(meter, fraction));
    }
    for (name, help, bounds, median) in HISTOGRAMS {
        page.family(name, "histogram", help);
        histogram(page, name, &format!("model_name=\"{MODEL}\""), bounds, median, 1.0);
        histogram(page, name, &format!("model_name=\"{ADAPTER}\""), bounds, median, 0.0);
    }
    page.family("vllm:request_success_total", "counter", "Count of successfully processed requests.");
    for (reason, fraction) in FINISHED {
        let reason = format!("finished_reason=\"{reason}\",");
        page.both_models("vllm:request_success_total", &reason, Slot::Count(Meter::Requests, fraction));
    }
    http(page);
}

/// What the Python client says of its own process.
fn process(page: &mut Template) {
    let collector = [
        ("python_gc_objects_collected_total", "Objects collected during gc", [11_093.0, 3_174.0, 2_021.0]),
        ("python_gc_objects_uncollectable_total", "Uncollectable objects found during GC", [0.0; 3]),
        (
            "python_gc_collections_total",
            "Number of times this generation was collected",
            [1_841.0, 167.0, 13.0],
        ),
    ];
    for (name, help, values) in collector {
        page.family(name, "counter", help);
        for (generation, value) in values.into_iter().enumerate() {
            page.fixed(name, &format!("generation=\"{generation}\""), value);
        }
    }
    page.family("python_info", "gauge", "Python platform information");
    let python = r#"implementation="CPython",major="3",minor="12",patchlevel="9",version="3.12.9""#;
    page.fixed("python_info", python, 1.0);
    let fixed = [
        ("process_virtual_memory_bytes", "Virtual memory size in bytes.", 26_153_210_880.0),
        ("process_resident_memory_bytes", "Resident memory size in bytes.", 7_323_245_568.0),
        ("process_open_fds", "Number of open file descriptors.", 93.0),
        ("process_max_fds", "Maximum number of open file descriptors.", 1_048_576.0),
    ];
    for (name, help, value) in fixed {
        page.family(name, "gauge", help);
        page.fixed(name, "", value);
    }
    let start = "process_start_time_seconds";
    page.family(start, "gauge", "Start time of the process since unix epoch in seconds.");
    page.spliced(start, "", Slot::Meter(Meter::StartTime));
    let cpu = "process_cpu_seconds_total";
    page.family(cpu, "counter", "Total user and system CPU time spent in seconds.");
    page.spliced(cpu, "", Slot::Meter(Meter::CpuSeconds));
}

/// What the web framework's instrumentation adds.
fn http(page: &mut Template) {
    let name = "http_requests_total";
    page.family(name, "counter", "Total number of requests by method, status and handler.");
    for (handler, method, fraction) in HANDLERS {
        let labels = format!("handler=\"{handler}\",method=\"{method}\",status=\"2xx\"");
        page.spliced(name, &labels, Slot::Count(Meter::Requests, fraction));
    }
    for (name, help, mean) in [
        ("http_request_size_bytes", "Content length of incoming requests by handler.", 1_200.0),
        ("http_response_size_bytes", "Content length of outgoing responses by handler.", 900.0),
    ] {
        page.family(name, "summary", help);
        for (handler, _, fraction) in HANDLERS {
            count_and_sum(page, name, &format!("handler=\"{handler}\""), mean, fraction);
        }
    }
    let name = "http_request_duration_highr_seconds";
    page.family(name, "histogram", "Latency with many buckets but no API specific labels.");
    histogram(page, name, "", HTTP_FINE, HTTP_MEDIAN, 1.0);
    let name = "http_request_duration_seconds";
    page.family(name, "histogram", "Latency with only few buckets by handler.");
    for (handler, method, fraction) in HANDLERS {
        let labels = format!("handler=\"{handler}\",method=\"{method}\"");
        histogram(page, name, &labels, HTTP, HTTP_MEDIAN, fraction);
    }
}

/// Buckets, count and sum of one series over a fraction of the finished requests.
///
/// Values are taken to be log-logistic with shape 2: the share below x is `1 ÷ (1 + (median ÷ x)²)` and the mean is
/// `median × π ÷ 2`.
fn histogram(page: &mut Template, name: &str, labels: &str, bounds: &[f64], median: f64, fraction: f64) {
    let bucket = format!("{name}_bucket");
    let separator = if labels.is_empty() { "" } else { "," };
    for bound in bounds.iter().copied().chain([f64::INFINITY]) {
        let mut line = format!("{labels}{separator}le=\"");
        write_float(&mut line, bound);
        line.push('"');
        let below = 1.0 / (1.0 + (median / bound).powi(2));
        page.spliced(&bucket, &line, Slot::Count(Meter::Requests, fraction * below));
    }
    count_and_sum(page, name, labels, median * std::f64::consts::FRAC_PI_2, fraction);
}

fn count_and_sum(page: &mut Template, name: &str, labels: &str, mean: f64, fraction: f64) {
    page.spliced(&format!("{name}_count"), labels, Slot::Count(Meter::Requests, fraction));
    page.spliced(&format!("{name}_sum"), labels, Slot::Sum(Meter::Requests, mean * fraction));
}

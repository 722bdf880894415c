//! The families of the page, as data: those of vLLM 0.8-0.9, which exports the names of both its generations.

use super::super::ADAPTER;
use super::super::gauge::Gauge;
use super::super::tally::{self, Histogram};
use super::{Meter, Origin, Slot, Template, write_float};

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

const COUNTERS: [(&str, &str, Meter); 3] = [
    ("vllm:num_preemptions_total", "Cumulative number of preemptions from the engine.", Meter::Preemptions),
    ("vllm:prompt_tokens_total", "Number of prefill tokens processed.", Meter::PromptTokens),
    ("vllm:generation_tokens_total", "Number of generation tokens processed.", Meter::GenerationTokens),
];

/// Requests end for these reasons.
const FINISHED: [(&str, Meter); 3] =
    [("stop", Meter::Stopped), ("length", Meter::LengthReached), ("abort", Meter::Aborted)];

const HTTP_MEDIAN: f64 = 6.0;

/// What counts the requests to a handler, and how long they took; nothing for those that are not counted.
type Counted = Option<(Meter, Histogram)>;

/// Handler, method, and how it is counted.
const HANDLERS: [(&str, &str, Counted); 5] = [
    ("/v1/chat/completions", "POST", Some((Meter::ChatCompletions, Histogram::HttpChatCompletions))),
    ("/v1/completions", "POST", Some((Meter::Completions, Histogram::HttpCompletions))),
    ("/v1/models", "GET", None),
    ("/tokenize", "POST", None),
    ("/health", "GET", None),
];

/// Name, help, and the median that a scripted engine reports.
const HISTOGRAMS: [(Histogram, &str, &str, f64); 13] = [
    (
        Histogram::IterationTokens,
        "vllm:iteration_tokens_total",
        "Histogram of number of tokens per engine_step.",
        40.0,
    ),
    (
        Histogram::TimeToFirstToken,
        "vllm:time_to_first_token_seconds",
        "Histogram of time to first token in seconds.",
        0.12,
    ),
    (
        Histogram::TimePerOutputToken,
        "vllm:time_per_output_token_seconds",
        "Histogram of time per output token in seconds.",
        0.03,
    ),
    (
        Histogram::EndToEnd,
        "vllm:e2e_request_latency_seconds",
        "Histogram of e2e request latency in seconds.",
        6.0,
    ),
    (
        Histogram::QueueTime,
        "vllm:request_queue_time_seconds",
        "Histogram of time spent in WAITING phase for request.",
        0.02,
    ),
    (
        Histogram::InferenceTime,
        "vllm:request_inference_time_seconds",
        "Histogram of time spent in RUNNING phase for request.",
        5.9,
    ),
    (
        Histogram::PrefillTime,
        "vllm:request_prefill_time_seconds",
        "Histogram of time spent in PREFILL phase for request.",
        0.1,
    ),
    (
        Histogram::DecodeTime,
        "vllm:request_decode_time_seconds",
        "Histogram of time spent in DECODE phase for request.",
        5.8,
    ),
    (Histogram::PromptTokens, "vllm:request_prompt_tokens", "Number of prefill tokens processed.", 250.0),
    (
        Histogram::GenerationTokens,
        "vllm:request_generation_tokens",
        "Number of generation tokens processed.",
        150.0,
    ),
    (
        Histogram::MaxGenerationTokens,
        "vllm:request_max_num_generation_tokens",
        "Histogram of maximum number of requested tokens.",
        400.0,
    ),
    (Histogram::ParameterN, "vllm:request_params_n", "Histogram of the n request parameter.", 0.5),
    (
        Histogram::ParameterMaxTokens,
        "vllm:request_params_max_tokens",
        "Histogram of the max_tokens request parameter.",
        400.0,
    ),
];

const CACHE_CONFIG: &str = r#"block_size="16",cache_dtype="auto",cpu_offload_gb="0",enable_prefix_caching="True",gpu_memory_utilization="0.9",is_attention_free="False",num_cpu_blocks="2048",num_gpu_blocks="27000",num_gpu_blocks_override="None",prefix_caching_hash_algo="builtin",sliding_window="None",swap_space_bytes="4294967296""#;

pub(super) fn write(page: &mut Template, origin: Origin) {
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
    for (name, help, meter) in COUNTERS {
        page.family(name, "counter", help);
        page.both_models(name, "", Slot::Count(meter, 1.0));
    }
    let of_model = page.model.clone();
    for (histogram, name, help, median) in HISTOGRAMS {
        page.family(name, "histogram", help);
        let values = Values { histogram, origin, meter: Meter::Requests, median };
        series(page, name, &of_model, &values);
        empty(page, name, &format!("model_name=\"{ADAPTER}\""), tally::bounds(histogram, origin));
    }
    page.family("vllm:request_success_total", "counter", "Count of successfully processed requests.");
    for (reason, meter) in FINISHED {
        let reason = format!("finished_reason=\"{reason}\",");
        page.both_models("vllm:request_success_total", &reason, Slot::Count(meter, 1.0));
    }
    http(page, origin);
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
fn http(page: &mut Template, origin: Origin) {
    let name = "http_requests_total";
    page.family(name, "counter", "Total number of requests by method, status and handler.");
    for (handler, method, counted) in HANDLERS {
        let labels = format!("handler=\"{handler}\",method=\"{method}\",status=\"2xx\"");
        page.spliced(name, &labels, requests(counted));
    }
    for (name, help, mean) in [
        ("http_request_size_bytes", "Content length of incoming requests by handler.", 1_200.0),
        ("http_response_size_bytes", "Content length of outgoing responses by handler.", 900.0),
    ] {
        page.family(name, "summary", help);
        for (handler, _, counted) in HANDLERS {
            let labels = format!("handler=\"{handler}\"");
            page.spliced(&format!("{name}_count"), &labels, requests(counted));
            let sum = counted.map_or(Slot::Count(Meter::Requests, 0.0), |(meter, _)| Slot::Sum(meter, mean));
            page.spliced(&format!("{name}_sum"), &labels, sum);
        }
    }
    let name = "http_request_duration_highr_seconds";
    page.family(name, "histogram", "Latency with many buckets but no API specific labels.");
    let all = Values { histogram: Histogram::Http, origin, meter: Meter::Requests, median: HTTP_MEDIAN };
    series(page, name, "", &all);
    let name = "http_request_duration_seconds";
    page.family(name, "histogram", "Latency with only few buckets by handler.");
    for (handler, method, counted) in HANDLERS {
        let labels = format!("handler=\"{handler}\",method=\"{method}\"");
        match counted {
            Some((meter, histogram)) => {
                series(page, name, &labels, &Values { histogram, origin, meter, median: HTTP_MEDIAN });
            }
            None => empty(page, name, &labels, tally::bounds(Histogram::HttpCompletions, origin)),
        }
    }
}

fn requests(counted: Counted) -> Slot {
    counted.map_or(Slot::Count(Meter::Requests, 0.0), |(meter, _)| Slot::Count(meter, 1.0))
}

/// Where the values of one histogram series come from.
struct Values {
    histogram: Histogram,
    origin: Origin,
    /// What counts a scripted engine's observations.
    meter: Meter,
    /// The median of a scripted engine's observations.
    median: f64,
}

/// Buckets, count and sum of one series.
///
/// A scripted engine's values are taken to be log-logistic with shape 2: the share below x is `1 ÷ (1 + (median ÷ x)²)`
/// and the mean is `median × π ÷ 2`.
fn series(page: &mut Template, name: &str, labels: &str, values: &Values) {
    let Values { histogram, origin, meter, median } = *values;
    let bounds = tally::bounds(histogram, origin);
    for (index, bound) in bounds.iter().copied().chain([f64::INFINITY]).enumerate() {
        let slot = match origin {
            Origin::Scripted => Slot::Count(meter, 1.0 / (1.0 + (median / bound).powi(2))),
            Origin::Served => Slot::Bucket(histogram, index),
        };
        page.spliced(&format!("{name}_bucket"), &with_bound(labels, bound), slot);
    }
    let (count, sum) = match origin {
        Origin::Scripted => (Slot::Count(meter, 1.0), Slot::Sum(meter, median * std::f64::consts::FRAC_PI_2)),
        Origin::Served => (Slot::Observations(histogram), Slot::Observed(histogram)),
    };
    page.spliced(&format!("{name}_count"), labels, count);
    page.spliced(&format!("{name}_sum"), labels, sum);
}

/// A series of which nothing was ever observed.
fn empty(page: &mut Template, name: &str, labels: &str, bounds: &[f64]) {
    for bound in bounds.iter().copied().chain([f64::INFINITY]) {
        page.fixed(&format!("{name}_bucket"), &with_bound(labels, bound), 0.0);
    }
    page.fixed(&format!("{name}_count"), labels, 0.0);
    page.fixed(&format!("{name}_sum"), labels, 0.0);
}

fn with_bound(labels: &str, bound: f64) -> String {
    let mut line = labels.to_owned();
    if !labels.is_empty() {
        line.push(',');
    }
    line.push_str("le=\"");
    write_float(&mut line, bound);
    line.push('"');
    line
}

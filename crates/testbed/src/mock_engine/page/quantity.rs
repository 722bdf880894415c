//! What a page reports by name.

use super::Numbers;
use crate::mock_engine::gauge::Gauge;

/// Quantities that only grow over an engine's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::mock_engine) enum Meter {
    PromptTokens,
    /// Those of them that came from the prefix cache.
    CachedTokens,
    /// Those of them that did not.
    ComputedTokens,
    GenerationTokens,
    /// Requests that arrived.
    Received,
    /// Finished requests, however they ended.
    Requests,
    /// Finished at the model's own end or at `max_tokens`.
    Finished,
    /// Finished at the model's own end.
    Stopped,
    /// Finished at `max_tokens`.
    LengthReached,
    Aborted,
    Preemptions,
    /// Steps of the engine.
    Steps,
    /// First tokens: prefills that came to their end.
    Prefills,
    /// Requests to `/v1/completions`.
    Completions,
    /// Requests to `/v1/chat/completions`.
    ChatCompletions,
    CpuSeconds,
    /// Not growing: the wall-clock time at which the engine started, in Unix seconds.
    StartTime,
}

impl Meter {
    pub(in crate::mock_engine) const COUNT: usize = 17;
}

/// What is now, besides the [gauges](Gauge) that can be scripted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::mock_engine) enum Level {
    /// Share of the KV cache in use, whatever an engine calls it.
    KvUtil,
    /// Tokens in the KV cache.
    KvTokens,
    /// Tokens there is still room for.
    KvFree,
    /// The most tokens that the running requests may come to: prompts and longest answers.
    BatchTokens,
    /// Share of the prompt tokens that the prefix cache had, since the start.
    HitRate,
    /// The generation throughput, which keeps its last value while nothing is generated (`SGLang`).
    KeptThroughput,
}

impl Level {
    pub(in crate::mock_engine) const COUNT: usize = 6;
}

/// What a page reports by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::mock_engine) enum Quantity {
    Gauge(Gauge),
    Level(Level),
    /// A meter in whole numbers.
    Count(Meter),
    /// A meter as it is.
    Meter(Meter),
}

const NAMES: [(&str, Quantity); 31] = [
    ("running", Quantity::Gauge(Gauge::Running)),
    ("waiting", Quantity::Gauge(Gauge::Waiting)),
    ("swapped", Quantity::Gauge(Gauge::Swapped)),
    ("gpu_cache", Quantity::Gauge(Gauge::GpuCache)),
    ("kv_cache", Quantity::Gauge(Gauge::KvCache)),
    ("cpu_cache", Quantity::Gauge(Gauge::CpuCache)),
    ("prompt_throughput", Quantity::Gauge(Gauge::PromptThroughput)),
    ("generation_throughput", Quantity::Gauge(Gauge::GenerationThroughput)),
    ("kv_util", Quantity::Level(Level::KvUtil)),
    ("kv_tokens", Quantity::Level(Level::KvTokens)),
    ("kv_free", Quantity::Level(Level::KvFree)),
    ("batch_tokens", Quantity::Level(Level::BatchTokens)),
    ("hit_rate", Quantity::Level(Level::HitRate)),
    ("throughput_kept", Quantity::Level(Level::KeptThroughput)),
    ("prompt_tokens", Quantity::Count(Meter::PromptTokens)),
    ("cached_tokens", Quantity::Count(Meter::CachedTokens)),
    ("computed_tokens", Quantity::Count(Meter::ComputedTokens)),
    ("generation_tokens", Quantity::Count(Meter::GenerationTokens)),
    ("received", Quantity::Count(Meter::Received)),
    ("requests", Quantity::Count(Meter::Requests)),
    ("finished", Quantity::Count(Meter::Finished)),
    ("stopped", Quantity::Count(Meter::Stopped)),
    ("length_reached", Quantity::Count(Meter::LengthReached)),
    ("aborted", Quantity::Count(Meter::Aborted)),
    ("preemptions", Quantity::Count(Meter::Preemptions)),
    ("steps", Quantity::Count(Meter::Steps)),
    ("prefills", Quantity::Count(Meter::Prefills)),
    ("completions", Quantity::Count(Meter::Completions)),
    ("chat_completions", Quantity::Count(Meter::ChatCompletions)),
    ("cpu_seconds", Quantity::Meter(Meter::CpuSeconds)),
    ("start_time", Quantity::Meter(Meter::StartTime)),
];

impl Quantity {
    /// The quantity of this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, quantity)| *quantity)
    }

    pub(super) fn value(self, numbers: &Numbers<'_>) -> f64 {
        match self {
            Self::Gauge(gauge) => numbers.gauges[gauge as usize],
            Self::Level(level) => numbers.levels[level as usize],
            Self::Count(meter) => numbers.meters[meter as usize].floor(),
            Self::Meter(meter) => numbers.meters[meter as usize],
        }
    }

    /// The gauge to script for it.
    pub(super) fn gauge(self) -> Option<Gauge> {
        match self {
            Self::Gauge(gauge) => Some(gauge),
            Self::Level(Level::KvUtil) => Some(Gauge::KvCache),
            _ => None,
        }
    }
}

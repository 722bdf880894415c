//! The numbers of an engine whose load is scripted from outside.

use std::time::Instant;

use super::gauge::{Gauge, ScriptedGauges};
use super::page::{Level, Meter};

/// Tokens that a scripted engine's KV cache has room for: 27,000 blocks of 16.
pub(super) const CAPACITY: u64 = 432_000;

/// Tokens of a mean answer: how many generated tokens make a finished request.
const TOKENS_PER_REQUEST: f64 = 200.0;
/// Shares of the finished requests.
const STOPPED: f64 = 0.8;
const LENGTH_REACHED: f64 = 0.19;
const ABORTED: f64 = 0.01;
const PREEMPTED: f64 = 0.01;
const CHATS: f64 = 0.75;

/// Counters that are the integrals of the reported throughputs, so that a rate taken from them is what the gauges say.
pub(super) struct Integrals {
    at: Instant,
    prompt_tokens: f64,
    generation_tokens: f64,
}

impl Integrals {
    pub(super) fn new(now: Instant) -> Self {
        Self { at: now, prompt_tokens: 0.0, generation_tokens: 0.0 }
    }

    /// The meters at `now`, when the gauges have had these values since the last call.
    pub(super) fn advance(&mut self, gauges: &[f64; Gauge::COUNT], now: Instant) -> [f64; Meter::COUNT] {
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        let tokens = |gauge: Gauge| {
            let rate = gauges[gauge as usize];
            if rate.is_finite() { rate.max(0.0) * seconds } else { 0.0 }
        };
        self.prompt_tokens += tokens(Gauge::PromptThroughput);
        self.generation_tokens += tokens(Gauge::GenerationThroughput);
        meters(self.prompt_tokens, self.generation_tokens, self.generation_tokens / TOKENS_PER_REQUEST)
    }
}

/// What follows from the tokens and the requests; the process's own meters are 0.
pub(super) fn meters(prompt_tokens: f64, generation_tokens: f64, requests: f64) -> [f64; Meter::COUNT] {
    let mut meters = [0.0; Meter::COUNT];
    let finished = requests.floor();
    for (meter, value) in [
        (Meter::PromptTokens, prompt_tokens),
        (Meter::GenerationTokens, generation_tokens),
        (Meter::ComputedTokens, prompt_tokens),
        (Meter::Received, requests),
        (Meter::Prefills, requests),
        (Meter::Requests, requests),
        (Meter::Finished, finished * (STOPPED + LENGTH_REACHED)),
        (Meter::Stopped, finished * STOPPED),
        (Meter::LengthReached, finished * LENGTH_REACHED),
        (Meter::Aborted, finished * ABORTED),
        (Meter::Preemptions, finished * PREEMPTED),
        (Meter::ChatCompletions, finished * CHATS),
        (Meter::Completions, finished * (1.0 - CHATS)),
    ] {
        meters[meter as usize] = value;
    }
    meters
}

/// The levels of an engine with these gauges.
pub(super) fn levels(scripted: ScriptedGauges, gauges: &[f64; Gauge::COUNT]) -> [f64; Level::COUNT] {
    let kv_util = scripted.kv_util(gauges);
    let kv_tokens = kv_util * CAPACITY as f64;
    let mut levels = [0.0; Level::COUNT];
    for (level, value) in [
        (Level::KvUtil, kv_util),
        (Level::KvTokens, kv_tokens),
        (Level::KvFree, CAPACITY as f64 - kv_tokens),
        (Level::BatchTokens, kv_tokens),
        (Level::KeptThroughput, gauges[Gauge::GenerationThroughput as usize]),
    ] {
        levels[level as usize] = value;
    }
    levels
}

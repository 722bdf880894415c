//! The numbers of an engine whose load is scripted from outside.

use std::time::Instant;

use super::gauge::Gauge;
use super::page::Meter;

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
        (Meter::Requests, requests),
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

//! The mean behaviour of one replica under a constant load, in closed form.

use crate::{Limits, StepCosts};

/// What the requests of a load are like on average.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mix {
    /// Tokens of a prompt.
    pub prompt_tokens: f64,
    /// Tokens of an answer.
    pub output_tokens: f64,
    /// The share of a prompt that a prefix cache has, from 0 to 1.
    pub prefix_hit: f64,
}

impl Mix {
    /// Tokens that a running request has in the cache, on average over its life.
    fn resident(&self) -> f64 {
        self.prompt_tokens + self.output_tokens / 2.0
    }

    /// Seconds of work that one request adds to the steps, beyond the idle part of each.
    fn work(&self, costs: &StepCosts) -> f64 {
        self.prompt_tokens * (1.0 - self.prefix_hit) * costs.per_prefill_token
            + self.output_tokens * (costs.per_decode + costs.per_kv_token * self.resident())
    }
}

/// A replica in equilibrium, without queueing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Steady {
    /// Mean seconds of a step, which is the time per output token.
    pub time_per_output_token: f64,
    /// Mean requests running.
    pub running: f64,
    /// Mean tokens in the KV cache.
    pub kv_tokens: f64,
}

/// The equilibrium at `rate` requests per second; `None` where there is none: more work than time.
///
/// With `n = rate · output · T` running, a step takes `T = a + rate · T · work`, so `T = a ÷ (1 − rate · work)`.
pub fn steady_state(costs: &StepCosts, mix: &Mix, rate: f64) -> Option<Steady> {
    let idle_share = 1.0 - rate * mix.work(costs);
    if idle_share <= 0.0 {
        return None;
    }
    let time_per_output_token = costs.idle / idle_share;
    let running = rate * mix.output_tokens * time_per_output_token;
    Some(Steady { time_per_output_token, running, kv_tokens: running * mix.resident() })
}

/// The greatest rate, in requests per second, that one replica carries: its running requests fit into the KV cache and
/// the sequence limit, and a step is at most `time_per_output_token` seconds.
pub fn capacity(costs: &StepCosts, limits: &Limits, mix: &Mix, time_per_output_token: f64) -> f64 {
    let work = mix.work(costs);
    let running = (limits.kv_capacity_tokens as f64 / mix.resident()).min(f64::from(limits.max_num_seqs));
    // From running = rate · output · a ÷ (1 − rate · work), and from the step's time.
    let by_room = running / (mix.output_tokens * costs.idle + running * work);
    let by_pace = (1.0 - costs.idle / time_per_output_token) / work;
    by_room.min(by_pace).max(0.0)
}

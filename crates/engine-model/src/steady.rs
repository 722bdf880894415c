//! The model without a queue: what an engine settles at under a steady load of equal requests, in closed form.

use crate::{Limits, StepCosts};

/// Requests of one shape. Means may be given: the form is linear in both lengths but for attention within the prompt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Workload {
    /// Prompt tokens per request (ISL).
    pub prompt_tokens: f64,
    /// Output tokens per request (OSL).
    pub output_tokens: f64,
    /// Share of the prompt found in the prefix cache, 0 to 1.
    pub prefix_hit: f64,
}

impl Workload {
    /// Mean KV tokens of a running request: `I + O/2`.
    fn kv(&self) -> f64 {
        self.prompt_tokens + self.output_tokens / 2.0
    }

    /// Prompt tokens to compute: `(1 − h)·I`.
    fn computed(&self) -> f64 {
        (1.0 - self.prefix_hit) * self.prompt_tokens
    }

    /// Seconds of step time per request beyond the idle steps: prefill, and decode without `a`.
    fn seconds(&self, costs: &StepCosts) -> f64 {
        let decode = costs.decode_token_seconds + costs.kv_token_seconds * self.kv();
        costs.prefill(self.computed(), self.prompt_tokens - self.computed()) + self.output_tokens * decode
    }
}

/// What an engine settles at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Steady {
    /// Time per output token, which is the mean step, in seconds.
    pub tpot_seconds: f64,
    /// Mean KV tokens resident.
    pub kv_tokens: f64,
    /// Mean sequences decoding.
    pub running: f64,
}

/// What bounds the rate of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// The time per output token reaches its objective.
    Tpot,
    /// The KV cache is full.
    KvCache,
    /// `max_num_seqs` sequences run.
    Sequences,
    /// Every step carries `max_num_batched_tokens`.
    BatchedTokens,
}

/// The greatest rate that one replica bears.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Capacity {
    /// Requests per second.
    pub rate: f64,
    /// What bounds it.
    pub bound: Bound,
}

/// What an engine settles at under `rate` requests per second; `None` if it cannot bear them.
///
/// With `n = λ·O·T` sequences decoding, a step of `T0 = a + b·n + c·n·(I + O/2)`, and the prefill's share of time
/// `ρ = λ·(d·P + e·P·(I − P/2))` for `P = (1 − h)·I`, the mean step is `T = T0 / (1 − ρ)`. `n` is linear in `T`, so
/// `T = a / (1 − ρ − λ·O·(b + c·(I + O/2)))`.
pub fn steady_state(costs: &StepCosts, limits: &Limits, rate: f64, workload: &Workload) -> Option<Steady> {
    let greatest =
        bounds(costs, limits, workload).into_iter().fold(f64::INFINITY, |least, (rate, _)| least.min(rate));
    // Above the greatest rate nothing is steady, and a load that is no number is none.
    if !(rate >= 0.0 && rate <= greatest) {
        return None;
    }
    let tpot_seconds = costs.idle_seconds / (1.0 - rate * workload.seconds(costs));
    let running = rate * workload.output_tokens * tpot_seconds;
    Some(Steady { tpot_seconds, kv_tokens: running * workload.kv(), running })
}

/// The greatest rate within a mean time per output token of `tpot_slo_seconds`; `None` if even an idle engine's step is
/// longer. It leaves no room for chance: load arrives in bursts, so a fleet wants to stay below it.
pub fn capacity(
    costs: &StepCosts,
    limits: &Limits,
    tpot_slo_seconds: f64,
    workload: &Workload,
) -> Option<Capacity> {
    if tpot_slo_seconds.is_nan() || tpot_slo_seconds <= costs.idle_seconds {
        return None;
    }
    let tpot = (1.0 - costs.idle_seconds / tpot_slo_seconds) / workload.seconds(costs);
    let limited = bounds(costs, limits, workload).into_iter();
    let (rate, bound) =
        limited.fold((tpot, Bound::Tpot), |least, next| if next.0 < least.0 { next } else { least });
    Some(Capacity { rate, bound })
}

/// The rates at which each limit is reached. With `T = a / (1 − λ·s)`, a load of `x·λ·T` reaches `limit` at
/// `λ = limit / (a·x + limit·s)`.
fn bounds(costs: &StepCosts, limits: &Limits, workload: &Workload) -> [(f64, Bound); 3] {
    let seconds = workload.seconds(costs);
    let at = |limit: f64, each: f64| limit / (costs.idle_seconds * each + limit * seconds);
    let output = workload.output_tokens;
    [
        (at(limits.kv_capacity_tokens as f64, output * workload.kv()), Bound::KvCache),
        (at(f64::from(limits.sequences()), output), Bound::Sequences),
        (at(f64::from(limits.max_num_batched_tokens), workload.computed() + output), Bound::BatchedTokens),
    ]
}

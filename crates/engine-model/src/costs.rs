//! What one step of an engine costs.

use crate::InvalidModel;

/// The costs of one engine step, in seconds; see [`StepCosts::step`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepCosts {
    /// `a`: an idle step, which reads all weights once and pays the fixed overhead; above 0.
    pub idle_seconds: f64,
    /// `b`: per decode token.
    pub decode_token_seconds: f64,
    /// `c`: per token of KV cache that the decoding sequences read.
    pub kv_token_seconds: f64,
    /// `d`: per prefill token.
    pub prefill_token_seconds: f64,
    /// `e`: per prefill token and token of context before it (attention); felt above about 16k tokens of context.
    pub prefill_context_seconds: f64,
}

/// What one step carries.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Batch {
    /// Decode tokens: one per decoding sequence.
    pub decode_tokens: u32,
    /// KV tokens of the decoding sequences when the step begins.
    pub kv_tokens: u64,
    /// Prefill tokens, over all chunks.
    pub prefill_tokens: u32,
    /// Sum over the prefill tokens of the tokens before them: `P·(s + P/2)` for a chunk of `P` tokens after `s`.
    pub prefill_context: f64,
}

impl StepCosts {
    /// Seconds that a step takes: `a + b·decode + c·kv + d·prefill + e·context`. The additive form of the roofline: memory
    /// and arithmetic do not overlap, which errs on the slow side.
    pub fn step(&self, batch: &Batch) -> f64 {
        self.idle_seconds
            + self.decode_token_seconds * f64::from(batch.decode_tokens)
            + self.kv_token_seconds * batch.kv_tokens as f64
            + self.prefill_token_seconds * f64::from(batch.prefill_tokens)
            + self.prefill_context_seconds * batch.prefill_context
    }

    /// Seconds of step time that the prefill of one prompt adds: `d·P + e·P·(s + P/2)` for `P` tokens after `s` cached
    /// ones.
    pub fn prefill(&self, tokens: f64, cached: f64) -> f64 {
        tokens * (self.prefill_token_seconds + self.prefill_context_seconds * (cached + tokens / 2.0))
    }

    pub(crate) fn validate(&self) -> Result<(), InvalidModel> {
        let costs = [
            ("idle_seconds", self.idle_seconds),
            ("decode_token_seconds", self.decode_token_seconds),
            ("kv_token_seconds", self.kv_token_seconds),
            ("prefill_token_seconds", self.prefill_token_seconds),
            ("prefill_context_seconds", self.prefill_context_seconds),
        ];
        // A step of no length would let time stand still; a step of a day is a unit mistaken.
        if !(1e-6..86_400.0).contains(&self.idle_seconds) {
            return Err(InvalidModel::Cost { name: "idle_seconds", value: self.idle_seconds });
        }
        match costs.into_iter().find(|(_, value)| !(0.0..86_400.0).contains(value)) {
            Some((name, value)) => Err(InvalidModel::Cost { name, value }),
            None => Ok(()),
        }
    }
}

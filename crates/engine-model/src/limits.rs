//! What an engine has room for.

use crate::{InvalidModel, Request};

/// The limits of an engine's scheduler, by vLLM's names.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Tokens that the KV cache holds. Blocks are not modelled.
    pub kv_capacity_tokens: u64,
    /// Sequences that run at the same time.
    pub max_num_seqs: u32,
    /// Tokens that one step carries, decode and prefill together. vLLM refuses to start where it is below
    /// [`max_num_seqs`](Self::max_num_seqs); here the lesser of the two bounds the sequences.
    pub max_num_batched_tokens: u32,
    /// Share of the KV cache that an admission leaves free, 0 to 1. It does not bind an engine that runs nothing.
    pub watermark: f64,
}

impl Limits {
    /// vLLM V1's limits of an API server on GPUs with less than 70 GiB, and on A100: 256 sequences, 2048 tokens. Source:
    /// `EngineArgs.get_batch_defaults` in vLLM's `vllm/engine/arg_utils.py`. The watermark of 1 % is vLLM V0's.
    pub const fn vllm(kv_capacity_tokens: u64) -> Self {
        Self { kv_capacity_tokens, max_num_seqs: 256, max_num_batched_tokens: 2048, watermark: 0.01 }
    }

    /// vLLM V1's limits of an API server on GPUs with 70 GiB or more that are not A100 (H100, MI300X): 1024 sequences, 8192
    /// tokens. Source as for [`Limits::vllm`].
    pub const fn vllm_large(kv_capacity_tokens: u64) -> Self {
        Self { kv_capacity_tokens, max_num_seqs: 1024, max_num_batched_tokens: 8192, watermark: 0.01 }
    }

    /// Sequences that run at the same time, at most.
    pub fn sequences(&self) -> u32 {
        self.max_num_seqs.min(self.max_num_batched_tokens)
    }

    /// KV tokens that an admission leaves free.
    pub(crate) fn watermark_tokens(&self) -> u64 {
        (self.kv_capacity_tokens as f64 * self.watermark) as u64
    }

    /// The KV tokens that a request needs at its end: the last output token's are never computed.
    pub(crate) fn needed(request: &Request) -> u64 {
        u64::from(request.prompt_tokens) + u64::from(request.output_tokens) - 1
    }

    pub(crate) fn validate(&self) -> Result<(), InvalidModel> {
        let zero = [
            ("kv_capacity_tokens", self.kv_capacity_tokens == 0),
            ("max_num_seqs", self.max_num_seqs == 0),
            ("max_num_batched_tokens", self.max_num_batched_tokens == 0),
        ];
        if let Some((name, _)) = zero.into_iter().find(|(_, zero)| *zero) {
            return Err(InvalidModel::Zero { name });
        }
        if !(0.0..1.0).contains(&self.watermark) {
            return Err(InvalidModel::Watermark { value: self.watermark });
        }
        Ok(())
    }
}

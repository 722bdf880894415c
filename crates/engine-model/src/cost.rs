//! What a step costs, and what fits into it.

use crate::{Gpu, Model};

/// The time of one step: `a + b·decodes + c·KV + d·prefill + e·prefill·context`.
///
/// All in seconds. A step computes one token for each decoding sequence, and a chunk of prompts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepCosts {
    /// `a`: a step with nothing in it, which reads all weights once.
    pub idle: f64,
    /// `b`: per decoding sequence.
    pub per_decode: f64,
    /// `c`: per token in the KV cache of the running sequences, which is read once per step.
    pub per_kv_token: f64,
    /// `d`: per prompt token computed.
    pub per_prefill_token: f64,
    /// `e`: per prompt token computed and token before it: attention, which matters above about 16,000 tokens.
    pub per_attended_token: f64,
}

impl StepCosts {
    /// The roofline of a model on `tensor_parallel` GPUs.
    ///
    /// `a = weights ÷ (TP · bandwidth · 0.8) + 1 ms + 0.6 ms · log₂ TP`, `b = d = 2 · parameters ÷ (TP · FLOPS · MFU ·
    /// efficiency)`, `c = bytes per KV token ÷ (TP · bandwidth · 0.8)`, `e = 4 · layers · hidden ÷ (the same)`.
    pub fn roofline(model: &Model, gpu: &Gpu, tensor_parallel: u32) -> Self {
        let gpus = f64::from(tensor_parallel);
        let bandwidth = gpus * gpu.bytes_per_s * BANDWIDTH_EFFICIENCY;
        let flops = gpus * gpu.flops * gpu.model_flops_utilisation * parallel_efficiency(tensor_parallel);
        let overhead = 1e-3 + 0.6e-3 * gpus.log2();
        let per_token = 2.0 * model.parameters / flops;
        Self {
            idle: model.weight_bytes() / bandwidth + overhead,
            per_decode: per_token,
            per_kv_token: model.kv_bytes_per_token() / bandwidth,
            per_prefill_token: per_token,
            per_attended_token: 4.0 * f64::from(model.layers) * f64::from(model.hidden) / flops,
        }
    }

    /// Seconds of one step with `decodes` decoding sequences, `kv_tokens` in their caches, `prefill` prompt tokens, and
    /// `attended` the sum over these of the tokens before them.
    pub fn step(&self, decodes: u32, kv_tokens: u64, prefill: u32, attended: f64) -> f64 {
        self.idle
            + self.per_decode * f64::from(decodes)
            + self.per_kv_token * kv_tokens as f64
            + self.per_prefill_token * f64::from(prefill)
            + self.per_attended_token * attended
    }
}

/// The share of the memory's bandwidth that kernels reach.
const BANDWIDTH_EFFICIENCY: f64 = 0.8;

/// What is left of the arithmetic when it is spread over several GPUs.
fn parallel_efficiency(gpus: u32) -> f64 {
    match gpus {
        0 | 1 => 1.0,
        2 | 3 => 0.93,
        4..=7 => 0.86,
        _ => 0.78,
    }
}

/// What an engine takes in at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Tokens that fit into the KV cache.
    pub kv_capacity_tokens: u64,
    /// vLLM's `--max-num-seqs`: sequences that run at once.
    pub max_num_seqs: u32,
    /// vLLM's `--max-num-batched-tokens`: tokens of one step, decodes first, then prompt chunks. At least `max_num_seqs`,
    /// as vLLM demands.
    pub max_num_batched_tokens: u32,
}

impl Limits {
    /// vLLM V1's defaults for its API server: 1,024 sequences and 8,192 tokens a step on GPUs of at least 70 GiB other
    /// than the A100, else 256 and 2,048. The cache gets 90 % of the memory less weights and 1.5 GB per GPU.
    pub fn of(model: &Model, gpu: &Gpu, tensor_parallel: u32) -> Self {
        let gpus = f64::from(tensor_parallel);
        let free = gpu.memory_bytes * 0.9 * gpus - model.weight_bytes() - 1.5e9 * gpus;
        let large = gpu.memory_bytes >= 70e9 && gpu.name != "a100";
        let (max_num_seqs, max_num_batched_tokens) = if large { (1024, 8192) } else { (256, 2048) };
        Self {
            kv_capacity_tokens: (free / model.kv_bytes_per_token()).max(0.0) as u64,
            max_num_seqs,
            max_num_batched_tokens,
        }
    }

    /// Tokens kept free when a request is admitted beside others, so that those can grow: vLLM's watermark of 1 %.
    pub fn watermark(&self) -> u64 {
        self.kv_capacity_tokens / 100
    }
}

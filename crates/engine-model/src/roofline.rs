//! Step costs from the data sheets of a model and a GPU.
//!
//! An estimate: what a step reads from memory at 80 % of the bandwidth, plus what it computes at a model FLOPs utilisation
//! (MFU) typical of the GPU, plus a fixed overhead. Dense decoders in 16 bit only.

use crate::{Limits, StepCosts};

/// Share of the memory bandwidth that is reached.
const BANDWIDTH_EFFICIENCY: f64 = 0.8;
/// Share of the memory that the engine may use: vLLM's `gpu_memory_utilization`.
const MEMORY_UTILISATION: f64 = 0.9;
/// Bytes per GPU for activations and CUDA graphs.
const RESERVED_BYTES: f64 = 1.5e9;
/// Bytes of a 16-bit number.
const WIDTH: f64 = 2.0;

/// A dense decoder with grouped-query attention.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Model {
    /// Parameters.
    pub parameters: f64,
    /// Layers.
    pub layers: u32,
    /// Attention heads.
    pub heads: u32,
    /// Heads of keys and values.
    pub kv_heads: u32,
    /// Size of a head.
    pub head_dim: u32,
}

/// A GPU, by its data sheet (dense 16-bit figures).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gpu {
    /// Peak FLOP/s.
    pub flops: f64,
    /// Memory bandwidth, bytes per second.
    pub bandwidth: f64,
    /// Memory, bytes.
    pub memory: f64,
    /// Share of the peak FLOP/s that serving reaches.
    pub mfu: f64,
    /// Price per GPU and hour in US dollars as the Mélange paper has it; `None` where it has none.
    pub dollars_per_hour: Option<f64>,
    /// Whether vLLM takes its larger defaults here: see [`Limits::vllm_large`].
    pub large: bool,
}

/// Llama 2 7B.
pub const LLAMA_2_7B: Model =
    Model { parameters: 6.74e9, layers: 32, heads: 32, kv_heads: 32, head_dim: 128 };
/// Llama 3.1 8B.
pub const LLAMA_3_1_8B: Model =
    Model { parameters: 8.03e9, layers: 32, heads: 32, kv_heads: 8, head_dim: 128 };
/// Qwen3 32B.
pub const QWEN3_32B: Model = Model { parameters: 32.8e9, layers: 64, heads: 64, kv_heads: 8, head_dim: 128 };
/// Llama 3 70B; Llama 2 70B has the same shape.
pub const LLAMA_3_70B: Model =
    Model { parameters: 70.6e9, layers: 80, heads: 64, kv_heads: 8, head_dim: 128 };

const fn gpu(teraflops: f64, gigabytes_per_second: f64, gigabytes: f64, mfu: f64, price: Option<f64>) -> Gpu {
    Gpu {
        flops: teraflops * 1e12,
        bandwidth: gigabytes_per_second * 1e9,
        memory: gigabytes * 1e9,
        mfu,
        dollars_per_hour: price,
        large: false,
    }
}

/// NVIDIA L4, 24 GB.
pub const L4: Gpu = gpu(121.0, 300.0, 24.0, 0.45, Some(0.70));
/// NVIDIA A10G, 24 GB.
pub const A10G: Gpu = gpu(125.0, 600.0, 24.0, 0.50, Some(1.01));
/// NVIDIA L40S, 48 GB.
pub const L40S: Gpu = gpu(362.0, 864.0, 48.0, 0.40, None);
/// NVIDIA A100, 80 GB.
pub const A100: Gpu = gpu(312.0, 2039.0, 80.0, 0.42, Some(3.67));
/// NVIDIA H100 SXM, 80 GB.
pub const H100: Gpu = Gpu { large: true, ..gpu(989.0, 3350.0, 80.0, 0.50, Some(7.516)) };

/// Bytes of KV cache per token: `2·layers·kv_heads·head_dim` numbers of 16 bit.
pub const fn kv_bytes_per_token(model: &Model) -> f64 {
    2.0 * model.layers as f64 * model.kv_heads as f64 * model.head_dim as f64 * WIDTH
}

/// What tensor parallelism leaves of the FLOP/s (estimate), and the milliseconds that its collectives add to a step.
const fn parallel(tensor_parallel: u32) -> (f64, f64) {
    match tensor_parallel {
        0 | 1 => (1.0, 0.0),
        2 => (0.93, 0.6),
        3 | 4 => (0.86, 1.2),
        _ => (0.78, 1.8),
    }
}

/// The costs of a step of `model` on `tensor_parallel` GPUs (1, 2, 4 or 8):
///
/// ```text
/// a = weight bytes / (TP·BW·0.8) + 1 ms + 0.6 ms · (0, 1, 2, 3 for TP 1, 2, 4, 8)
/// b = d = 2·parameters / (TP·FLOPS·MFU·eff(TP)),  eff = 1, 0.93, 0.86, 0.78
/// c = KV bytes per token / (TP·BW·0.8)
/// e = 4·layers·heads·head_dim / (TP·FLOPS·MFU·eff(TP))
/// ```
pub const fn step_costs(model: &Model, gpu: &Gpu, tensor_parallel: u32) -> StepCosts {
    let (efficiency, collectives_ms) = parallel(tensor_parallel);
    let gpus = tensor_parallel as f64;
    let bandwidth = gpus * gpu.bandwidth * BANDWIDTH_EFFICIENCY;
    let flops = gpus * gpu.flops * gpu.mfu * efficiency;
    let token = 2.0 * model.parameters / flops;
    let attention = 4.0 * model.layers as f64 * model.heads as f64 * model.head_dim as f64;
    StepCosts {
        idle_seconds: model.parameters * WIDTH / bandwidth + (1.0 + collectives_ms) / 1e3,
        decode_token_seconds: token,
        kv_token_seconds: kv_bytes_per_token(model) / bandwidth,
        prefill_token_seconds: token,
        prefill_context_seconds: attention / flops,
    }
}

/// vLLM's limits for `model` on `tensor_parallel` GPUs. The KV cache gets
/// `(memory·0.9·TP − weight bytes − 1.5 GB·TP) / KV bytes per token`; 0 where the weights do not fit.
pub const fn limits(model: &Model, gpu: &Gpu, tensor_parallel: u32) -> Limits {
    let gpus = tensor_parallel as f64;
    let usable = (gpu.memory * MEMORY_UTILISATION - RESERVED_BYTES) * gpus - model.parameters * WIDTH;
    let tokens = (usable / kv_bytes_per_token(model)) as u64;
    if gpu.large { Limits::vllm_large(tokens) } else { Limits::vllm(tokens) }
}

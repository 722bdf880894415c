//! Published figures of GPUs and models.

/// One kind of GPU.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gpu {
    /// Lower case, as presets name it.
    pub name: &'static str,
    /// Memory in bytes.
    pub memory_bytes: f64,
    /// Memory bandwidth in bytes per second.
    pub bytes_per_s: f64,
    /// Dense 16-bit floating-point operations per second.
    pub flops: f64,
    /// The share of `flops` that a forward pass reaches: an estimate, checked against measured prefill rates.
    pub model_flops_utilisation: f64,
    /// On-demand price in dollars per hour, as the Mélange paper has it; `None` where it has none.
    pub dollars_per_hour: Option<f64>,
}

/// Bandwidths and FLOPS from the data sheets.
pub(crate) const GPUS: [Gpu; 5] = [
    gpu("l4", 24e9, 300e9, 121e12, 0.45, Some(0.70)),
    gpu("a10g", 24e9, 600e9, 125e12, 0.50, Some(1.01)),
    gpu("l40s", 48e9, 864e9, 362e12, 0.40, None),
    gpu("a100", 80e9, 2000e9, 312e12, 0.42, Some(3.67)),
    gpu("h100", 80e9, 3350e9, 989e12, 0.50, Some(7.516)),
];

const fn gpu(
    name: &'static str,
    memory_bytes: f64,
    bytes_per_s: f64,
    flops: f64,
    model_flops_utilisation: f64,
    dollars_per_hour: Option<f64>,
) -> Gpu {
    Gpu { name, memory_bytes, bytes_per_s, flops, model_flops_utilisation, dollars_per_hour }
}

/// One model, with 16-bit weights and KV cache.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Model {
    /// Lower case, as presets and requests name it.
    pub name: &'static str,
    /// How many parameters it has.
    pub parameters: f64,
    /// Layers.
    pub layers: u32,
    /// Key-value heads per layer.
    pub kv_heads: u32,
    /// Width of a head.
    pub head_dim: u32,
    /// Width of the attention: heads × head width.
    pub hidden: u32,
}

impl Model {
    /// Bytes of its weights.
    pub fn weight_bytes(&self) -> f64 {
        2.0 * self.parameters
    }

    /// Bytes that one token takes in the KV cache: a key and a value of two bytes per layer, head and dimension.
    pub fn kv_bytes_per_token(&self) -> f64 {
        4.0 * f64::from(self.layers) * f64::from(self.kv_heads) * f64::from(self.head_dim)
    }
}

/// Shapes from the models' published configurations.
pub(crate) const MODELS: [Model; 4] = [
    model("llama-2-7b", 6.74e9, 32, 32, 128, 4096),
    model("llama-3.1-8b", 8.03e9, 32, 8, 128, 4096),
    model("qwen3-32b", 32.8e9, 64, 8, 128, 8192),
    model("llama-3-70b", 70.6e9, 80, 8, 128, 8192),
];

const fn model(
    name: &'static str,
    parameters: f64,
    layers: u32,
    kv_heads: u32,
    head_dim: u32,
    hidden: u32,
) -> Model {
    Model { name, parameters, layers, kv_heads, head_dim, hidden }
}

//! Models on GPUs, by name.

use std::sync::LazyLock;

use crate::hardware::{GPUS, MODELS};
use crate::{Limits, StepCosts};

/// A model on a kind of GPU.
#[derive(Clone, Debug, PartialEq)]
pub struct Preset {
    /// `model@gpu`, with `x2` behind it for two GPUs.
    pub name: String,
    /// The model's name.
    pub model: &'static str,
    /// The GPU's name.
    pub gpu: &'static str,
    /// How many GPUs work as one.
    pub tensor_parallel: u32,
    /// How long a step takes.
    pub costs: StepCosts,
    /// What fits into it.
    pub limits: Limits,
    /// Of all its GPUs together, on demand.
    pub dollars_per_hour: Option<f64>,
}

/// Which model runs on how many of which GPU.
const COMBINATIONS: [(&str, &str, u32); 17] = [
    ("llama-2-7b", "l4", 1),
    ("llama-2-7b", "a10g", 1),
    ("llama-2-7b", "l40s", 1),
    ("llama-2-7b", "a100", 1),
    ("llama-2-7b", "h100", 1),
    ("llama-3.1-8b", "l4", 1),
    ("llama-3.1-8b", "a10g", 1),
    ("llama-3.1-8b", "l40s", 1),
    ("llama-3.1-8b", "a100", 1),
    ("llama-3.1-8b", "a100", 2),
    ("llama-3.1-8b", "h100", 1),
    ("qwen3-32b", "h100", 1),
    ("qwen3-32b", "h100", 2),
    ("llama-3-70b", "a100", 4),
    ("llama-3-70b", "h100", 4),
    ("llama-3-70b", "a100", 8),
    ("llama-3-70b", "h100", 8),
];

/// Stacks of 2022, about three times as slow as the roofline, fitted to the medians of the Splitwise profiles: idle step
/// and cost per sequence from token times, cost per prompt token from a prefill of 2,048.
const OLD_STACKS: [(&str, f64, f64, f64); 2] =
    [("a100", 43.1e-3, 0.420e-3, 0.113e-3), ("h100", 29.3e-3, 0.319e-3, 0.053e-3)];

static PRESETS: LazyLock<Vec<Preset>> = LazyLock::new(|| {
    let current = COMBINATIONS.iter().filter_map(|&(model, gpu, gpus)| preset(model, gpu, gpus));
    let old = OLD_STACKS.iter().filter_map(|&(gpu, idle, per_decode, per_prefill_token)| {
        let modern = preset("llama-3-70b", gpu, 8)?;
        let costs = StepCosts {
            idle,
            per_decode,
            per_prefill_token,
            // Contained in the medians.
            per_kv_token: 0.0,
            per_attended_token: 0.0,
        };
        Some(Preset { name: format!("llama-2-70b-2022@{gpu}x8"), model: "llama-2-70b-2022", costs, ..modern })
    });
    current.chain(old).collect()
});

fn preset(model: &str, gpu: &str, tensor_parallel: u32) -> Option<Preset> {
    let model = MODELS.iter().find(|known| known.name == model)?;
    let gpu = GPUS.iter().find(|known| known.name == gpu)?;
    let times = if tensor_parallel == 1 { String::new() } else { format!("x{tensor_parallel}") };
    Some(Preset {
        name: format!("{}@{}{times}", model.name, gpu.name),
        model: model.name,
        gpu: gpu.name,
        tensor_parallel,
        costs: StepCosts::roofline(model, gpu, tensor_parallel),
        limits: Limits::of(model, gpu, tensor_parallel),
        dollars_per_hour: gpu.dollars_per_hour.map(|price| price * f64::from(tensor_parallel)),
    })
}

/// All presets.
pub fn presets() -> &'static [Preset] {
    &PRESETS
}

/// A preset that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no preset {name:?}; use one of {}", PRESETS.iter().map(|p| p.name.as_str()).collect::<Vec<_>>().join(", "))]
pub struct UnknownPreset {
    name: String,
}

impl Preset {
    /// The preset of this name, such as `llama-3.1-8b@h100` or `qwen3-32b@h100x2`.
    ///
    /// # Errors
    /// Names those that exist.
    pub fn named(name: &str) -> Result<&'static Self, UnknownPreset> {
        let found = PRESETS.iter().find(|preset| preset.name == name);
        found.ok_or_else(|| UnknownPreset { name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_has_a_model_and_a_gpu() {
        assert_eq!(presets().len(), COMBINATIONS.len() + OLD_STACKS.len());
        for preset in presets() {
            assert_eq!(Preset::named(&preset.name), Ok(preset));
            assert!(preset.limits.kv_capacity_tokens > 1000, "{} has room for a request", preset.name);
            assert!(preset.limits.max_num_batched_tokens >= preset.limits.max_num_seqs);
        }
        let error = Preset::named("gpt-7@tpu").unwrap_err().to_string();
        assert!(error.contains("gpt-7@tpu") && error.contains("qwen3-32b@h100x2"), "{error}");
    }
}

//! Named pairs of model and GPU.

use std::str::FromStr;

use crate::roofline::{
    self, A10G, A100, Gpu, H100, L4, L40S, LLAMA_2_7B, LLAMA_3_1_8B, LLAMA_3_70B, QWEN3_32B,
};
use crate::{Engine, Limits, StepCosts};

/// A model on GPUs, with the constants that the simulation uses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Preset {
    /// `model@gpu`, with `xTP` for more than one GPU: `qwen3-32b@h100x2`.
    pub name: &'static str,
    /// Step costs.
    pub costs: StepCosts,
    /// Scheduler's limits.
    pub limits: Limits,
    /// GPUs that one replica takes.
    pub tensor_parallel: u32,
    /// Price of one replica per hour in US dollars (Mélange paper); `None` where none was published.
    pub dollars_per_hour: Option<f64>,
}

/// No preset of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no preset is called {name:?}; there are {}", names())]
pub struct UnknownPreset {
    /// What was asked for.
    pub name: String,
}

const fn preset(name: &'static str, model: &roofline::Model, gpu: &Gpu, tensor_parallel: u32) -> Preset {
    Preset {
        name,
        costs: roofline::step_costs(model, gpu, tensor_parallel),
        limits: roofline::limits(model, gpu, tensor_parallel),
        tensor_parallel,
        dollars_per_hour: match gpu.dollars_per_hour {
            Some(price) => Some(price * tensor_parallel as f64),
            None => None,
        },
    }
}

/// A preset with costs fitted to the Splitwise profiles of Llama 2 70B on a stack of 2022 (medians): token time `a + b·n` as
/// its least squares give it, `d` and `e` by relative least squares over its prefill times of 128 to 8192 tokens, within 16 %
/// of each. The contexts of the token times are not known, so `c` is part of `b`. That stack did not chunk prefill.
const fn old_stack(
    base: Preset,
    name: &'static str,
    microseconds: [f64; 3],
    context_nanoseconds: f64,
) -> Preset {
    let [idle, decode, prefill] = microseconds;
    let costs = StepCosts {
        idle_seconds: idle / 1e6,
        decode_token_seconds: decode / 1e6,
        kv_token_seconds: 0.0,
        prefill_token_seconds: prefill / 1e6,
        prefill_context_seconds: context_nanoseconds / 1e9,
    };
    let limits = Limits { max_num_seqs: 256, max_num_batched_tokens: 8192, ..base.limits };
    Preset { name, costs, limits, ..base }
}

const LLAMA_3_70B_A100X8: Preset = preset("llama-3-70b@a100x8", &LLAMA_3_70B, &A100, 8);
const LLAMA_3_70B_H100X8: Preset = preset("llama-3-70b@h100x8", &LLAMA_3_70B, &H100, 8);

static PRESETS: [Preset; 18] = [
    preset("llama-2-7b@l4", &LLAMA_2_7B, &L4, 1),
    preset("llama-2-7b@a10g", &LLAMA_2_7B, &A10G, 1),
    preset("llama-2-7b@l40s", &LLAMA_2_7B, &L40S, 1),
    preset("llama-2-7b@a100", &LLAMA_2_7B, &A100, 1),
    preset("llama-2-7b@h100", &LLAMA_2_7B, &H100, 1),
    preset("llama-3.1-8b@l4", &LLAMA_3_1_8B, &L4, 1),
    preset("llama-3.1-8b@a10g", &LLAMA_3_1_8B, &A10G, 1),
    preset("llama-3.1-8b@l40s", &LLAMA_3_1_8B, &L40S, 1),
    preset("llama-3.1-8b@a100", &LLAMA_3_1_8B, &A100, 1),
    preset("llama-3.1-8b@a100x2", &LLAMA_3_1_8B, &A100, 2),
    preset("llama-3.1-8b@h100", &LLAMA_3_1_8B, &H100, 1),
    preset("qwen3-32b@h100x2", &QWEN3_32B, &H100, 2),
    preset("llama-3-70b@a100x4", &LLAMA_3_70B, &A100, 4),
    preset("llama-3-70b@h100x4", &LLAMA_3_70B, &H100, 4),
    LLAMA_3_70B_A100X8,
    LLAMA_3_70B_H100X8,
    old_stack(LLAMA_3_70B_A100X8, "llama-2-70b-2022@a100x8", [43_100.0, 420.0, 97.96], 21.53),
    old_stack(LLAMA_3_70B_H100X8, "llama-2-70b-2022@h100x8", [29_300.0, 319.0, 40.84], 15.78),
];

/// All presets. Those of a model's name ending in `-2022` keep an old stack, about three times slower.
pub fn presets() -> &'static [Preset] {
    &PRESETS
}

fn names() -> String {
    PRESETS.iter().map(|preset| preset.name).collect::<Vec<_>>().join(", ")
}

impl Preset {
    /// The model's name: what stands before the `@`.
    pub fn model(&self) -> &'static str {
        self.name.split_once('@').map_or(self.name, |(model, _)| model)
    }

    /// The GPU's name, without their number.
    pub fn gpu(&self) -> &'static str {
        let gpu = self.name.split_once('@').map_or("", |(_, gpu)| gpu);
        gpu.split_once('x').map_or(gpu, |(gpu, _)| gpu)
    }

    /// An engine of this preset.
    pub fn engine(&self) -> Engine {
        Engine::build(self.costs, self.limits)
    }
}

impl FromStr for Preset {
    type Err = UnknownPreset;

    /// Upper and lower case are the same; `x1` may be written.
    fn from_str(name: &str) -> Result<Self, UnknownPreset> {
        let lower = name.trim().to_lowercase();
        let plain = lower.strip_suffix("x1").unwrap_or(&lower);
        let found = PRESETS.iter().find(|preset| preset.name == plain);
        found.copied().ok_or_else(|| UnknownPreset { name: name.to_owned() })
    }
}

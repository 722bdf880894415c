//! The model beside measurements: `cargo test -p windlass-engine-model --test cross_check -- --nocapture` prints the table.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use std::time::Duration;

use windlass_engine_model::{Engine, Event, Mix, Preset, Request, capacity, steady_state};

struct Row {
    quantity: &'static str,
    model: f64,
    measured: f64,
    unit: &'static str,
    /// The model ÷ the measurement must lie between these.
    within: (f64, f64),
    source: &'static str,
}

fn prefill_rate(preset: &Preset, tokens: u32) -> f64 {
    let attended = f64::from(tokens) * f64::from(tokens) / 2.0;
    f64::from(tokens) / preset.costs.step(0, 0, tokens, attended)
}

#[test]
fn the_model_beside_measurements() {
    let preset = |name| Preset::named(name).unwrap();
    let h100 = &preset("llama-3.1-8b@h100").costs;
    let qwen = preset("qwen3-32b@h100x2");
    let long = Mix { prompt_tokens: 4000.0, output_tokens: 1000.0, prefix_hit: 0.0 };
    let old = preset("llama-2-70b-2022@h100x8");
    let rows = [
        Row {
            quantity: "8B H100: idle step",
            model: h100.idle * 1e3,
            measured: 6.965,
            unit: "ms",
            within: (0.9, 1.1),
            source: "WVA, two runs (6.958, 6.973)",
        },
        Row {
            quantity: "8B H100: a further sequence at context 384",
            model: (h100.per_decode + 384.0 * h100.per_kv_token) * 1e3,
            measured: 0.042,
            unit: "ms",
            within: (1.2, 1.9),
            source: "WVA (0.042; guidellm 0.027)",
        },
        Row {
            quantity: "8B 2×A100: prefill of 2,048",
            model: prefill_rate(preset("llama-3.1-8b@a100x2"), 2048),
            measured: 2048.0 / 0.130,
            unit: "tokens/s",
            within: (0.85, 1.1),
            source: "SageServe profiles (130 ms)",
        },
        Row {
            quantity: "Qwen3-32B 2×H100: peak prefill",
            model: 1.0 / qwen.costs.per_prefill_token,
            measured: 15_500.0,
            unit: "tokens/s",
            within: (0.85, 1.1),
            source: "llm-d token-aware (15.4-15.6k)",
        },
        Row {
            quantity: "Qwen3-32B 2×H100: capacity at 4,000 + 1,000",
            model: capacity(&qwen.costs, &qwen.limits, &long, 0.1),
            measured: 1.45,
            unit: "requests/s",
            within: (0.85, 1.1),
            source: "llm-d SLO-aware (settles at 1.4-1.5)",
        },
        Row {
            quantity: "70B 8×H100: prefill of 2,048",
            model: prefill_rate(preset("llama-3-70b@h100x8"), 2048),
            measured: 2048.0 / 0.137,
            unit: "tokens/s",
            within: (1.0, 1.6),
            source: "Splitwise profiles, stack of 2022",
        },
        Row {
            quantity: "the same, preset of 2022",
            model: prefill_rate(old, 2048),
            measured: 2048.0 / 0.137,
            unit: "tokens/s",
            within: (0.9, 1.1),
            source: "Splitwise profiles, stack of 2022",
        },
    ];
    println!("{:<44} {:>10} {:>10} {:<11} {:>6}  source", "quantity", "model", "measured", "unit", "ratio");
    for Row { quantity, model, measured, unit, within, source } in rows {
        let ratio = model / measured;
        println!("{quantity:<44} {model:>10.3} {measured:>10.3} {unit:<11} {ratio:>6.2}  {source}");
        assert!((within.0..=within.1).contains(&ratio), "{quantity}: {ratio} is not within {within:?}");
    }
}

/// Constants as published beside the formulas: milliseconds, µs per token, µs per KV token, tokens of KV cache.
#[test]
fn presets_have_the_published_constants() {
    for (name, idle, per_token, per_kv, capacity) in [
        ("llama-2-7b@l4", 57.2, 248.0, 2.185, 13_000.0),
        ("llama-2-7b@a10g", 29.1, 216.0, 1.092, 13_000.0),
        ("llama-2-7b@l40s", 20.5, 93.0, 0.759, 54_000.0),
        ("llama-2-7b@a100", 9.3, 103.0, 0.321, 109_000.0),
        ("llama-2-7b@h100", 6.0, 27.0, 0.196, 109_000.0),
        ("llama-3.1-8b@l4", 67.9, 295.0, 0.546, 31_000.0),
        ("llama-3.1-8b@a10g", 34.5, 257.0, 0.273, 31_000.0),
        ("llama-3.1-8b@l40s", 24.2, 111.0, 0.190, 196_000.0),
        ("llama-3.1-8b@a100", 10.8, 123.0, 0.080, 415_000.0),
        ("llama-3.1-8b@h100", 7.0, 32.0, 0.049, 415_000.0),
        ("qwen3-32b@h100x2", 13.8, 71.0, 0.049, 288_000.0),
        ("llama-3-70b@a100x4", 23.8, 313.0, 0.050, 430_000.0),
        ("llama-3-70b@h100x4", 15.4, 83.0, 0.031, 430_000.0),
        ("llama-3-70b@a100x8", 13.6, 173.0, 0.025, 1_290_000.0),
        ("llama-3-70b@h100x8", 9.4, 46.0, 0.015, 1_290_000.0),
    ] {
        let preset = Preset::named(name).unwrap();
        let found = [
            (preset.costs.idle * 1e3, idle),
            (preset.costs.per_decode * 1e6, per_token),
            (preset.costs.per_kv_token * 1e6, per_kv),
            (preset.limits.kv_capacity_tokens as f64, capacity),
        ];
        for (index, (found, expected)) in found.into_iter().enumerate() {
            assert!(
                (found / expected - 1.0).abs() < 0.05,
                "{name}, constant {index}: {found} for {expected}"
            );
        }
    }
}

/// Requests at even distances, half the capacity: what the engine does is what the closed form says, within a tenth.
#[test]
fn the_engine_agrees_with_the_closed_form() {
    for (name, prompt_tokens, output_tokens) in
        [("llama-3.1-8b@h100", 512, 128), ("llama-2-7b@a10g", 200, 200), ("qwen3-32b@h100x2", 4000, 500)]
    {
        let preset = Preset::named(name).unwrap();
        let mix = Mix {
            prompt_tokens: f64::from(prompt_tokens),
            output_tokens: f64::from(output_tokens),
            prefix_hit: 0.0,
        };
        let rate = capacity(&preset.costs, &preset.limits, &mix, 0.1) / 2.0;
        let expected = steady_state(&preset.costs, &mix, rate).unwrap();
        let mut engine = Engine::of(preset);
        let (mut finished, mut paces) = (0, Vec::new());
        let mut note = |event: Event| {
            if let Event::Finished(record) = event {
                finished += 1;
                if finished > 200 {
                    let decode = record.decode_time().as_secs_f64();
                    paces.push(decode / f64::from(record.output_tokens - 1));
                }
            }
        };
        for id in 0..1000 {
            let at = Duration::from_secs_f64(id as f64 / rate);
            engine.advance(at, &mut note);
            engine.submit(at, Request { id, prompt_tokens, output_tokens, cached_tokens: 0 }).unwrap();
        }
        let mean = paces.iter().sum::<f64>() / paces.len() as f64;
        let ratio = mean / expected.time_per_output_token;
        println!(
            "{name} at {rate:.2}/s: {:.2} ms per token, closed form {:.2} ms",
            mean * 1e3,
            expected.time_per_output_token * 1e3
        );
        assert!((0.9..1.1).contains(&ratio), "{name}: {ratio}");
    }
}

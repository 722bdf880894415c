//! The constants against what was published. `cargo test -p windlass-engine-model --test cross_check -- --nocapture` prints the
//! table.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use windlass_engine_model::*;

fn preset(name: &str) -> Preset {
    name.parse().unwrap()
}

/// One row: by how much the model may be off, as shares of the measured value.
struct Row {
    quantity: &'static str,
    unit: &'static str,
    model: f64,
    measured: f64,
    off: std::ops::RangeInclusive<f64>,
    source: &'static str,
}

/// Tokens per second at which the engine takes one prompt alone.
fn prefill_rate(name: &str, prompt_tokens: u32) -> f64 {
    let mut engine = preset(name).engine();
    let request = Request { id: 0, prompt_tokens, output_tokens: 1, cached_tokens: 0 };
    engine.submit(Duration::ZERO, request).unwrap();
    let mut first = None;
    engine.advance(Duration::from_mins(1), &mut |event| {
        if let Event::FirstToken { at, .. } = event {
            first = Some(at);
        }
    });
    f64::from(prompt_tokens) / first.unwrap().as_secs_f64()
}

fn peak_prefill(name: &str) -> f64 {
    1.0 / preset(name).costs.prefill_token_seconds
}

/// Milliseconds that one more sequence of `context` tokens adds to a step.
fn slope_ms(name: &str, context: f64) -> f64 {
    let costs = preset(name).costs;
    (costs.decode_token_seconds + context * costs.kv_token_seconds) * 1e3
}

fn rows() -> Vec<Row> {
    let row =
        |quantity, unit, model, measured, off, source| Row { quantity, unit, model, measured, off, source };
    let qwen = preset("qwen3-32b@h100x2");
    let long = Workload { prompt_tokens: 4000.0, output_tokens: 1000.0, prefix_hit: 0.0 };
    let settles = capacity(&qwen.costs, &qwen.limits, 1.0, &long).unwrap();
    assert_eq!(settles.bound, Bound::KvCache);
    let idle = |name| preset(name).costs.idle_seconds * 1e3;
    vec![
        row("8B H100 idle step", "ms", idle("llama-3.1-8b@h100"), 6.958, -0.1..=0.1, "WVA demo"),
        row("8B H100 idle step", "ms", idle("llama-3.1-8b@h100"), 6.973, -0.1..=0.1, "WVA guidellm"),
        row("8B L40S idle step", "ms", idle("llama-3.1-8b@l40s"), 22.619, -0.1..=0.1, "WVA sample"),
        row(
            "8B H100 ms per sequence of 384",
            "ms",
            slope_ms("llama-3.1-8b@h100", 384.0),
            0.042,
            0.1..=0.9,
            "WVA demo",
        ),
        row(
            "8B H100 ms per sequence of 384",
            "ms",
            slope_ms("llama-3.1-8b@h100", 384.0),
            0.027,
            0.1..=0.95,
            "WVA guidellm",
        ),
        row(
            "8B 2xA100 peak prefill",
            "tok/s",
            peak_prefill("llama-3.1-8b@a100x2"),
            2048.0 / 0.130,
            -0.1..=0.1,
            "SageServe DB",
        ),
        row(
            "8B 2xA100 prompt of 2048 alone",
            "tok/s",
            prefill_rate("llama-3.1-8b@a100x2", 2048),
            2048.0 / 0.130,
            -0.15..=0.0,
            "SageServe DB",
        ),
        row(
            "Qwen3-32B 2xH100 peak prefill",
            "tok/s",
            peak_prefill("qwen3-32b@h100x2"),
            15_500.0,
            -0.1..=0.1,
            "llm-d token-aware",
        ),
        row(
            "Qwen3-32B 2xH100 capacity 4000/1000",
            "req/s",
            settles.rate,
            1.45,
            -0.2..=0.0,
            "llm-d SLO-aware",
        ),
        row(
            "70B 8xH100 peak prefill",
            "tok/s",
            peak_prefill("llama-3-70b@h100x8"),
            2048.0 / 0.137,
            0.4..=0.5,
            "Splitwise DB (2022)",
        ),
        row(
            "70B-2022 8xH100 prompt of 2048",
            "tok/s",
            prefill_rate("llama-2-70b-2022@h100x8", 2048),
            2048.0 / 0.137,
            -0.16..=0.16,
            "Splitwise DB (2022)",
        ),
        row(
            "70B-2022 8xH100 prompt of 8192",
            "tok/s",
            prefill_rate("llama-2-70b-2022@h100x8", 8192),
            8192.0 / 0.845,
            -0.16..=0.16,
            "Splitwise DB (2022)",
        ),
        row(
            "70B-2022 8xA100 prompt of 2048",
            "tok/s",
            prefill_rate("llama-2-70b-2022@a100x8", 2048),
            2048.0 / 0.274,
            -0.16..=0.16,
            "Splitwise DB (2022)",
        ),
    ]
}

#[test]
fn the_model_is_as_near_to_measurements_as_it_claims() {
    println!("{:<38} {:>10} {:>10} {:<6} {:>6}  source", "quantity", "model", "measured", "unit", "off");
    let mut wrong = Vec::new();
    for Row { quantity, unit, model, measured, off, source } in rows() {
        let share = model / measured - 1.0;
        println!("{quantity:<38} {model:>10.3} {measured:>10.3} {unit:<6} {:>5.0}%  {source}", share * 100.0);
        if !off.contains(&share) {
            wrong.push(format!("{quantity}: {share:.3} is not within {off:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn presets_are_the_published_table() {
    // Idle step (ms), b = d (us), c (us per KV token), KV capacity (thousand tokens), dollars per hour.
    let table = [
        ("llama-2-7b@l4", 57.2, 248.0, 2.185, 13.0, Some(0.70)),
        ("llama-2-7b@a10g", 29.1, 216.0, 1.092, 13.0, Some(1.01)),
        ("llama-2-7b@l40s", 20.5, 93.0, 0.759, 54.0, None),
        ("llama-2-7b@a100", 9.3, 103.0, 0.321, 109.0, Some(3.67)),
        ("llama-2-7b@h100", 6.0, 27.0, 0.196, 109.0, Some(7.52)),
        ("llama-3.1-8b@l4", 67.9, 295.0, 0.546, 31.0, Some(0.70)),
        ("llama-3.1-8b@a10g", 34.5, 257.0, 0.273, 31.0, Some(1.01)),
        ("llama-3.1-8b@l40s", 24.2, 111.0, 0.190, 196.0, None),
        ("llama-3.1-8b@a100", 10.8, 123.0, 0.080, 415.0, Some(3.67)),
        ("llama-3.1-8b@h100", 7.0, 32.0, 0.049, 415.0, Some(7.52)),
        ("qwen3-32b@h100x2", 13.8, 71.0, 0.049, 288.0, Some(15.03)),
        ("llama-3-70b@a100x4", 23.8, 313.0, 0.050, 430.0, Some(14.68)),
        ("llama-3-70b@h100x4", 15.4, 83.0, 0.031, 430.0, Some(30.06)),
        ("llama-3-70b@a100x8", 13.6, 173.0, 0.025, 1290.0, Some(29.36)),
        ("llama-3-70b@h100x8", 9.4, 46.0, 0.015, 1290.0, Some(60.13)),
    ];
    for (name, idle, token, kv, capacity, price) in table {
        let preset = preset(name);
        let near = |what: &str, value: f64, expected: f64, step: f64| {
            assert!((value - expected).abs() <= step * 0.51, "{name} {what}: {value} against {expected}");
        };
        near("idle", preset.costs.idle_seconds * 1e3, idle, 0.1);
        near("decode", preset.costs.decode_token_seconds * 1e6, token, 1.0);
        near("prefill", preset.costs.prefill_token_seconds * 1e6, token, 1.0);
        near("kv", preset.costs.kv_token_seconds * 1e6, kv, 0.001);
        near("capacity", preset.limits.kv_capacity_tokens as f64 / 1e3, capacity, 1.0);
        assert_eq!(preset.dollars_per_hour.map(|price| (price * 100.0).round() / 100.0), price, "{name}");
        // Attention doubles the cost of a prefill token somewhere beyond 16k tokens of context.
        let doubled = preset.costs.prefill_token_seconds / preset.costs.prefill_context_seconds;
        assert!((16e3..64e3).contains(&doubled), "{name}: {doubled}");
    }
}

#[test]
fn presets_are_found_by_name() {
    for expected in presets() {
        let found = preset(&expected.name.to_uppercase());
        assert_eq!(found, *expected);
        assert!(Engine::new(found.costs, found.limits).is_ok(), "{}", found.name);
        let gpus =
            if found.tensor_parallel == 1 { String::new() } else { format!("x{}", found.tensor_parallel) };
        assert_eq!(found.name, format!("{}@{}{gpus}", found.model(), found.gpu()));
    }
    assert_eq!(preset("llama-3.1-8b@h100x1"), preset("llama-3.1-8b@h100"));
    let unknown = "llama-3.1-8b@tpu".parse::<Preset>().unwrap_err().to_string();
    assert!(
        unknown.starts_with("no preset is called \"llama-3.1-8b@tpu\"; there are llama-2-7b@l4, "),
        "{unknown}"
    );
    assert!(unknown.ends_with(", llama-2-70b-2022@h100x8"), "{unknown}");
    // The larger limits where vLLM has them.
    assert_eq!(preset("llama-3.1-8b@h100").limits.max_num_batched_tokens, 8192);
    assert_eq!(preset("llama-3.1-8b@a100").limits.max_num_batched_tokens, 2048);
}

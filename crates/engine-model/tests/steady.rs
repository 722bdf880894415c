//! The closed form against the engine run event by event.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use windlass_engine_model::*;

const MEASURED: usize = 3_000;

/// What an engine showed between two instants.
#[derive(Debug, Default)]
struct Observed {
    tpot_seconds: f64,
    ttft_seconds: f64,
    kv_tokens: f64,
    running: f64,
    /// Requests finished per second.
    rate: f64,
    preemptions: u64,
}

/// Requests at equal distances; the first third of them warms up. Gauges are read ten times per arrival.
fn observe(preset: &Preset, rate: f64, shape: &Workload) -> Observed {
    let mut engine = preset.engine();
    let gap = 1.0 / rate;
    let (mut records, mut observed, mut samples) = (Vec::new(), Observed::default(), 0.0);
    for place in 0..MEASURED * 3 / 2 {
        let at = place as f64 * gap;
        let cached = (shape.prompt_tokens * shape.prefix_hit).round() as u32;
        let request = Request {
            id: place as u64,
            prompt_tokens: shape.prompt_tokens as u32,
            output_tokens: shape.output_tokens as u32,
            cached_tokens: cached,
        };
        engine.submit(Duration::from_secs_f64(at), request).unwrap();
        for part in 0..10 {
            let now = Duration::from_secs_f64(at + gap * f64::from(part) / 10.0);
            engine.advance(now, &mut |event| {
                if let Event::Finished(record) = event {
                    records.push(record);
                }
            });
            if place >= MEASURED / 2 {
                samples += 1.0;
                observed.kv_tokens += engine.kv_tokens() as f64;
                observed.running += f64::from(engine.running());
            }
        }
    }
    let from = records.len() / 3;
    let records = &records[from..];
    let count = records.len() as f64;
    observed.kv_tokens /= samples;
    observed.running /= samples;
    observed.tpot_seconds = records.iter().map(|one| one.tpot().unwrap().as_secs_f64()).sum::<f64>() / count;
    observed.ttft_seconds = records.iter().map(|one| one.ttft().as_secs_f64()).sum::<f64>() / count;
    let span = records[records.len() - 1].finished.saturating_sub(records[0].finished);
    observed.rate = (count - 1.0) / span.as_secs_f64();
    observed.preemptions = engine.totals().preemptions;
    observed
}

fn shape(prompt_tokens: f64, output_tokens: f64, prefix_hit: f64) -> Workload {
    Workload { prompt_tokens, output_tokens, prefix_hit }
}

fn cases() -> [(&'static str, Workload); 6] {
    [
        ("llama-3.1-8b@h100", shape(1024.0, 256.0, 0.0)),
        ("llama-3.1-8b@h100", shape(2048.0, 128.0, 0.5)),
        ("llama-3.1-8b@a100", shape(512.0, 512.0, 0.0)),
        ("llama-2-7b@l40s", shape(512.0, 256.0, 0.0)),
        ("qwen3-32b@h100x2", shape(4000.0, 1000.0, 0.0)),
        ("llama-3-70b@h100x8", shape(1024.0, 512.0, 0.25)),
    ]
}

/// Up to 80 % of capacity they agree within 4 %. What is left: the closed form has requests only while they decode, the
/// engine also while they prefill, and at equal distances few prefills share a step.
#[test]
fn the_engine_settles_at_the_closed_form() {
    println!(
        "{:<22} {:>5} {:>7} {:>15} {:>15} {:>19}",
        "preset", "load", "req/s", "TPOT ms", "running", "KV tokens"
    );
    let mut wrong = Vec::new();
    for (name, shape) in cases() {
        let preset: Preset = name.parse().unwrap();
        let greatest = capacity(&preset.costs, &preset.limits, 0.1, &shape).unwrap();
        for load in [0.1, 0.5, 0.8] {
            let rate = greatest.rate * load;
            let steady = steady_state(&preset.costs, &preset.limits, rate, &shape).unwrap();
            let observed = observe(&preset, rate, &shape);
            println!(
                "{name:<22} {load:>5} {rate:>7.2} {:>7.2} {:>7.2} {:>7.1} {:>7.1} {:>9.0} {:>9.0}",
                steady.tpot_seconds * 1e3,
                observed.tpot_seconds * 1e3,
                steady.running,
                observed.running,
                steady.kv_tokens,
                observed.kv_tokens,
            );
            let pairs = [
                ("tpot", steady.tpot_seconds, observed.tpot_seconds),
                ("running", steady.running, observed.running),
                ("kv", steady.kv_tokens, observed.kv_tokens),
                ("rate", rate, observed.rate),
            ];
            for (what, expected, value) in pairs {
                if (value / expected - 1.0).abs() > 0.04 {
                    wrong.push(format!("{name} at {load}: {what} {value:.4} against {expected:.4}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Beyond capacity the queue grows, and what is served stays near capacity: a little lower where preemptions cost prefill a
/// second time.
#[test]
fn an_overloaded_engine_serves_its_capacity() {
    for (name, shape) in cases() {
        let preset: Preset = name.parse().unwrap();
        let greatest = capacity(&preset.costs, &preset.limits, 10.0, &shape).unwrap();
        let observed = observe(&preset, greatest.rate * 1.5, &shape);
        let share = observed.rate / greatest.rate;
        println!(
            "{name:<22} capacity {:.2} req/s ({:?}), served {share:.3} of it, {} preemptions",
            greatest.rate, greatest.bound, observed.preemptions
        );
        assert!((0.9..=1.05).contains(&share), "{name}: {share}");
        assert!(observed.ttft_seconds > 10.0, "{name}: the queue grows");
    }
}

/// At capacity, exactly what bounds it is reached.
#[test]
fn capacity_is_where_a_bound_is_reached() {
    let preset: Preset = "llama-3.1-8b@h100".parse().unwrap();
    let (costs, limits) = (preset.costs, preset.limits);
    let check = |limits: Limits, slo: f64, shape: Workload, bound: Bound| {
        let greatest = capacity(&costs, &limits, slo, &shape).unwrap();
        assert_eq!(greatest.bound, bound);
        let just_below = greatest.rate * (1.0 - 1e-9);
        let steady = steady_state(&costs, &limits, just_below, &shape).unwrap();
        let computed = (1.0 - shape.prefix_hit) * shape.prompt_tokens;
        let batched = just_below * (computed + shape.output_tokens) * steady.tpot_seconds;
        let reached = match bound {
            Bound::Tpot => steady.tpot_seconds / slo,
            Bound::KvCache => steady.kv_tokens / limits.kv_capacity_tokens as f64,
            Bound::Sequences => steady.running / f64::from(limits.max_num_seqs),
            Bound::BatchedTokens => batched / f64::from(limits.max_num_batched_tokens),
        };
        assert!((reached - 1.0).abs() < 1e-6, "{bound:?}: {reached}");
        if bound != Bound::Tpot {
            assert_eq!(steady_state(&costs, &limits, greatest.rate * 1.001, &shape), None);
        }
    };
    check(limits, 0.02, shape(1024.0, 256.0, 0.0), Bound::Tpot);
    check(limits, 10.0, shape(1024.0, 256.0, 0.0), Bound::KvCache);
    check(Limits { max_num_seqs: 16, ..limits }, 10.0, shape(1024.0, 256.0, 0.0), Bound::Sequences);
    check(
        Limits { max_num_batched_tokens: 256, ..limits },
        10.0,
        shape(1024.0, 16.0, 0.0),
        Bound::BatchedTokens,
    );
}

#[test]
fn what_cannot_be_borne_is_none() {
    let preset: Preset = "llama-3.1-8b@h100".parse().unwrap();
    let (costs, limits, shape) = (preset.costs, preset.limits, shape(1024.0, 256.0, 0.0));
    for slo in [0.0, 0.006, -1.0, f64::NAN] {
        assert_eq!(capacity(&costs, &limits, slo, &shape), None, "{slo}");
    }
    for rate in [-1.0, f64::NAN, f64::INFINITY, 17.0] {
        assert_eq!(steady_state(&costs, &limits, rate, &shape), None, "{rate}");
    }
    let idle = steady_state(&costs, &limits, 0.0, &shape).unwrap();
    assert_eq!((idle.tpot_seconds, idle.kv_tokens, idle.running), (costs.idle_seconds, 0.0, 0.0));
}

//! How fast the simulated engine is: requests per second of one core. An indication, not a benchmark.
//!
//! `cargo run --release -p windlass-engine-model --example pace [preset]`

use std::time::{Duration, Instant};

use windlass_engine_model::{Event, Preset, Request, Workload, capacity};

const REQUESTS: u64 = 500_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let preset: Preset = std::env::args().nth(1).unwrap_or_else(|| "llama-3.1-8b@h100".to_owned()).parse()?;
    for load in [0.3, 0.8, 0.95, 1.5] {
        let shape = Workload { prompt_tokens: 1024.0, output_tokens: 256.0, prefix_hit: 0.0 };
        let Some(greatest) = capacity(&preset.costs, &preset.limits, 10.0, &shape) else { continue };
        let gap = Duration::from_secs_f64(1.0 / (greatest.rate * load));
        let mut engine = preset.engine();
        let (mut at, mut noise, mut finished, mut events) = (Duration::ZERO, 1_u64, 0_u64, 0_u64);
        let begun = Instant::now();
        for id in 0..REQUESTS {
            // Lengths and gaps that differ, from a linear congruential generator: 0.5 to 1.5 of the mean.
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let part = |shift: u32, mean: u32| mean / 2 + (noise >> shift) as u32 % mean;
            let request =
                Request { id, prompt_tokens: part(20, 1024), output_tokens: part(33, 256), cached_tokens: 0 };
            at += gap * part(45, 1024) / 1024;
            let mut see = |event| {
                events += 1;
                finished += u64::from(matches!(event, Event::Finished(_)));
            };
            while let Some(next) = engine.next_event().filter(|next| *next < at) {
                engine.advance(next, &mut see);
            }
            engine.submit(at, request)?;
        }
        let spent = begun.elapsed().as_secs_f64();
        println!(
            "{} at {load}: {:.0} requests/s, {:.1} events each, {:.0} running, {} waiting, {} preemptions, {:.0} s simulated",
            preset.name,
            finished as f64 / spent,
            events as f64 / finished as f64,
            engine.running(),
            engine.waiting(),
            engine.totals().preemptions,
            at.as_secs_f64(),
        );
    }
    Ok(())
}

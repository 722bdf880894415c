//! The reaction with attention, and what the engines pay for it: KPA, steps ×3 and ×10, in batches.
//!
//! What a page costs an engine is not measured here: the mock engines are no Python. The two figures are those of Python's
//! exporter with a faithful vLLM registry, by whether the pages that were read are filtered ones.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use kube::api::{DeleteParams, ListParams};

use crate::reaction::{self, REPLICAS, Trial};
use crate::stage::{Controller, Stage};

const STRATEGIES: [&str; 1] = ["KPA"];
const STEPS: [f64; 2] = [3.0, 10.0];
/// Trials of each step that are watched at a time.
const AT_ONCE: usize = 25;
/// How long scrapes are counted in calm.
const COUNTED: Duration = Duration::from_secs(10);
/// A page of fewer bytes is a filtered one.
const FILTERED_BYTES: f64 = 8_192.0;
/// Milliseconds of an engine's processor for a filtered page and a full one, of `prometheus_client` 0.26, as `windlass-trials
/// filtered` measured them: the simulated engines of this trial are no measure of that.
const FILTERED_MILLIS: f64 = 0.195;
const FULL_MILLIS: f64 = 5.78;
/// A full page every 10 s, as AIBrix reads it: milliseconds of an engine's processor per minute.
const FULL_EVERY_10_S: f64 = 6.0 * FULL_MILLIS;
/// Seconds.
const GOAL: f64 = 2.2;

/// Scrapes, their bytes and the controller's processor time so far.
struct Counted {
    at: Instant,
    scrapes: f64,
    bytes: f64,
    cpu_seconds: f64,
}

/// Runs `trials` trials of each step.
pub(crate) async fn run(stage: &Stage, controller: &Controller, trials: usize) -> anyhow::Result<()> {
    let mut changes = Vec::new();
    for begin in (0..trials).step_by(AT_ONCE) {
        let namespace = format!("reaction-{begin}");
        let batch = Trial::all(begin..trials.min(begin + AT_ONCE), &STRATEGIES, &STEPS);
        let pods = batch.len() as f64 * f64::from(REPLICAS);
        let history = reaction::prepare(stage, &namespace, &batch).await?;
        let before = count(controller).await?;
        tokio::time::sleep(COUNTED).await;
        print_cost(&before, &count(controller).await?, pods);
        changes.extend(reaction::step(stage, &namespace, batch, &history).await?);
        let everything = (DeleteParams::default(), ListParams::default());
        stage.autoscalers(&namespace).delete_collection(&everything.0, &everything.1).await?;
        stage.deployments(&namespace).delete_collection(&everything.0, &everything.1).await?;
    }
    let reactions = reaction::gather(&changes, &STRATEGIES, &STEPS);
    reaction::print(&reactions);
    let met = reactions.iter().all(|reaction| reaction.none == 0 && reaction.seconds.at(0.99) <= GOAL);
    ensure!(met, "the goal was missed: p99 under {GOAL} s");
    println!("  goal: p99 under {GOAL} s: met");
    Ok(())
}

async fn count(controller: &Controller) -> anyhow::Result<Counted> {
    let (_, page) = controller.ask("/metrics").await?;
    let value = |name: &str| {
        let line = page.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.rsplit(' ').next()).and_then(|value| value.parse::<f64>().ok());
        value.with_context(|| format!("the controller's page has no {name}"))
    };
    Ok(Counted {
        at: Instant::now(),
        scrapes: value("windlass_scrapes_total{outcome=\"ok\"}")?,
        bytes: value("windlass_scrape_bytes_total")?,
        cpu_seconds: value("process_cpu_seconds_total")?,
    })
}

fn print_cost(before: &Counted, after: &Counted, pods: f64) {
    let seconds = (after.at - before.at).as_secs_f64();
    let scrapes = after.scrapes - before.scrapes;
    let per_second = scrapes / seconds / pods;
    let bytes = (after.bytes - before.bytes) / scrapes;
    let (kind, millis) =
        if bytes < FILTERED_BYTES { ("filtered", FILTERED_MILLIS) } else { ("full", FULL_MILLIS) };
    let paid = |millis: f64| per_second * 60.0 * millis;
    println!(
        "\nCalm, {pods} engines: {per_second:.2} {kind} pages of {bytes:.0} bytes per second and engine; the controller used \
         {:.1} % of a core.",
        (after.cpu_seconds - before.cpu_seconds) / seconds * 100.0
    );
    println!(
        "  A Python engine would pay {:.1} ms of processor per minute for that ({:.1} ms if every page were filtered); {:.1} ms for one \
         full page every 10 s.",
        paid(millis),
        paid(FILTERED_MILLIS),
        FULL_EVERY_10_S
    );
}

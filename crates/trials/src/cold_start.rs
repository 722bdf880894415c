//! The controller starts and finds a thousand targets.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use k8s_openapi::jiff::Timestamp;

use crate::stage::{Controller, Fleet, Stage};

const NAMESPACE: &str = "cold-start";
/// How long the running controller is watched afterwards.
const STEADY: Duration = Duration::from_mins(1);

/// What was measured.
pub(crate) struct ColdStart {
    pub(crate) targets: usize,
    /// From the start of the process until its watches were in step.
    pub(crate) ready: Duration,
    /// Until every target was decided on a complete round of readings.
    pub(crate) decided: Duration,
    pub(crate) cpu: Duration,
    pub(crate) resident_bytes: u64,
    /// Of a core, once everything is known.
    pub(crate) steady_cores: f64,
    /// Writes of `/scale` meanwhile: nothing is to be changed.
    pub(crate) scale_writes: usize,
}

/// Makes `targets` `PodAutoscaler`s of one pod each, lets a first controller write their statuses, and starts a second one
/// in its place.
pub(crate) async fn run(stage: &Stage, targets: usize) -> anyhow::Result<ColdStart> {
    let names: Vec<String> = (0..targets).map(|number| format!("cold-{number}")).collect();
    let annotations = [("total", "15"), ("share", "ready")];
    let fleet = |name| Fleet::scripted(name, "KPA", 1, 10, &annotations);
    let fleets: Vec<Fleet<'_>> = names.iter().map(String::as_str).map(fleet).collect();
    drop(stage.engines(NAMESPACE, &fleets).await?);
    stage.autoscale(NAMESPACE, &fleets).await?;
    let mut first = stage.controller("cold-first")?;
    observed(&first, targets).await?;
    first.process.terminate().await?;

    let (from, begun) = (Timestamp::now(), Instant::now());
    let mut controller = stage.controller("cold-second")?;
    wait("ready", || async { Ok(controller.ask("/readyz").await?.0 == 200) }).await?;
    let ready = begun.elapsed();
    observed(&controller, targets).await?;
    let decided = begun.elapsed();
    let used = controller.process.usage().context("the controller has ended")?;
    tokio::time::sleep(STEADY).await;
    let later = controller.process.usage().context("the controller has ended")?;
    let scales = stage.writes(from)?;
    controller.process.terminate().await?;
    Ok(ColdStart {
        targets,
        ready,
        decided,
        cpu: used.cpu,
        resident_bytes: later.resident_bytes,
        steady_cores: later.cpu.saturating_sub(used.cpu).as_secs_f64() / STEADY.as_secs_f64(),
        scale_writes: scales.iter().filter(|write| write.object_ref.subresource == "scale").count(),
    })
}

/// Waits until every target has a total of its signal, from a complete round.
pub(crate) async fn observed(controller: &Controller, targets: usize) -> anyhow::Result<()> {
    wait("all targets observed", || async {
        let (_, page) = controller.ask("/metrics").await?;
        let value = |line: &&str| line.starts_with("windlass_signal_value{");
        Ok(page.lines().filter(value).count() >= targets)
    })
    .await
}

/// Asks until the answer is yes; a controller that does not listen yet is asked again.
async fn wait<F>(what: &str, ask: impl Fn() -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<bool>>,
{
    let begun = Instant::now();
    while !matches!(ask().await, Ok(true)) {
        ensure!(begun.elapsed() < Duration::from_mins(3), "{what}: not within 3 min");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// One line.
pub(crate) fn print(cold: &ColdStart) {
    println!(
        "\n── Cold start with {} targets: in step with the API server after {:.1} s, every target decided after {:.1} s, {:.1} s \
         of CPU, {} scale writes; then {:.1} % of a core, {} MB",
        cold.targets,
        cold.ready.as_secs_f64(),
        cold.decided.as_secs_f64(),
        cold.cpu.as_secs_f64(),
        cold.scale_writes,
        cold.steady_cores * 100.0,
        cold.resident_bytes >> 20,
    );
}

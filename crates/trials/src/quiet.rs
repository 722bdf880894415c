//! Many targets under noisy but sufficient load: nothing is written.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::ensure;
use k8s_openapi::jiff::Timestamp;
use windlass_testbed::ControllerProcess;

use crate::stage::{Fleet, Stage};

const NAMESPACE: &str = "quiet";
const REPLICAS: u32 = 2;
/// After the `PodAutoscaler`s are created: their first statuses and decisions are behind.
const WARM: Duration = Duration::from_secs(70);

/// What was counted.
pub(crate) struct Quiet {
    pub(crate) targets: usize,
    pub(crate) lasted: Duration,
    /// API writes by the controller besides Lease renewals.
    pub(crate) writes: usize,
    /// Processor time of the controller, as a share of one core.
    pub(crate) cores: f64,
    pub(crate) resident_bytes: u64,
}

/// Counts the writes of `targets` `PodAutoscaler`s over `lasts`.
pub(crate) async fn run(
    stage: &Stage,
    controller: &ControllerProcess,
    targets: usize,
    lasts: Duration,
) -> anyhow::Result<Quiet> {
    let names: Vec<String> = (0..targets).map(|number| format!("quiet-{number}")).collect();
    // 70 % of the target on average, every reading up to a fifth off: never above, never so low that fewer would do.
    let annotations = [("total", "28"), ("share", "ready"), ("noise", "0.2")];
    let strategies = ["KPA", "APA", "HPA"].into_iter().cycle();
    let fleet = |(name, strategy)| Fleet::scripted(name, strategy, REPLICAS, 10, &annotations);
    let fleets: Vec<Fleet<'_>> = names.iter().map(String::as_str).zip(strategies).map(fleet).collect();
    drop(stage.engines(NAMESPACE, &fleets).await?);
    stage.autoscale(NAMESPACE, &fleets).await?;
    tokio::time::sleep(WARM).await;

    let (from, before) = (Timestamp::now(), controller.usage().unwrap_or_default());
    tokio::time::sleep(lasts).await;
    let after = controller.usage().unwrap_or_default();
    let writes = stage.writes(from)?;
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for write in &writes {
        let what = &write.object_ref;
        *kinds.entry(format!("{} {}/{}", write.verb, what.resource, what.subresource)).or_default() += 1;
    }
    for (kind, count) in kinds {
        println!("  {count} × {kind}");
    }
    Ok(Quiet {
        targets,
        lasted: lasts,
        writes: writes.len(),
        cores: after.cpu.saturating_sub(before.cpu).as_secs_f64() / lasts.as_secs_f64(),
        resident_bytes: after.resident_bytes,
    })
}

/// One line; fails when something was written.
pub(crate) fn print(quiet: &Quiet) -> anyhow::Result<()> {
    println!(
        "\n── Nothing changes: {} PodAutoscalers, {} pods, readings up to 20 % off, {} s: {} API writes besides Leases, {:.1} % \
         of a core, {} MB",
        quiet.targets,
        quiet.targets * REPLICAS as usize,
        quiet.lasted.as_secs(),
        quiet.writes,
        quiet.cores * 100.0,
        quiet.resident_bytes >> 20,
    );
    ensure!(quiet.writes == 0, "something was written while nothing changed");
    Ok(())
}

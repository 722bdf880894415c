//! The controller is killed again and again, at random instants, while the load jumps.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use windlass_testbed::{ControllerProcess, ReplicaHistory};

use crate::stage::{Fleet, Stage, until};
use crate::trajectory;

const NAMESPACE: &str = "kills";
const STRATEGIES: [(&str, &str); 3] = [("kpa", "KPA"), ("apa", "APA"), ("hpa", "HPA")];
const BOUNDS: (u32, u32) = (2, 8);
const KILLS: usize = 50;
/// A controller lives this many milliseconds: from before its first list to well after its first decisions.
const LIFE_MS: Range<usize> = 50..8000;
/// From half a replica's worth to far beyond what the bounds allow.
const TOTALS: [&str; 5] = ["10", "60", "120", "400", "4000"];
/// The load at the beginning, which asks for 6.
const FIRST: &str = "120";
/// The load at the end, and what it asks for: a raise, because a lower count would have to be wanted for five minutes.
const LAST: (&str, i32) = ("4000", 8);

/// Bounds are never violated, an HPA is never there twice, and who starts last scales as if nothing had been.
pub(crate) async fn run(stage: &Stage) -> anyhow::Result<()> {
    println!(
        "\n── Kills: one controller, SIGKILL {KILLS} times at random instants while the load jumps, bounds {BOUNDS:?}"
    );
    let annotations = [("total", FIRST), ("share", "ready")];
    let fleets = STRATEGIES.map(|(name, strategy)| Fleet {
        bounds: BOUNDS,
        ..Fleet::scripted(name, strategy, BOUNDS.0, BOUNDS.1, &annotations)
    });
    let history = stage.engines(NAMESPACE, &fleets).await?;
    stage.autoscale(NAMESPACE, &fleets).await?;
    let hpas: Api<HorizontalPodAutoscaler> = Api::namespaced(stage.client.clone(), NAMESPACE);
    let begun = Instant::now();
    let mut seen = 0;
    for kill in 0..KILLS {
        let mut controller = start(stage, &format!("controller-{kill}"))?;
        let total = TOTALS[chance(TOTALS.len())];
        for (name, _) in STRATEGIES {
            stage.steer(NAMESPACE, name, "total", Some(total)).await?;
        }
        let life = LIFE_MS.start + chance(LIFE_MS.len());
        tokio::time::sleep(Duration::from_millis(life as u64)).await;
        controller.kill().await?;
        seen = seen.max(check_hpas(&hpas).await?);
        check_bounds(&history, begun)?;
    }
    ensure!(seen == 1, "no HPA was ever created");
    let (total, wanted) = LAST;
    let mut controller = start(stage, "controller-last")?;
    let own = || STRATEGIES.iter().filter(|(_, strategy)| *strategy != "HPA");
    for (name, _) in own() {
        stage.steer(NAMESPACE, name, "total", Some(total)).await?;
    }
    let arrived = |name| history.now(name).is_some_and(|now| now.asked == wanted && now.ready == wanted);
    until("the counts of the last load", || own().all(|(name, _)| arrived(name))).await?;
    check_bounds(&history, begun)?;
    ensure!(check_hpas(&hpas).await? == 1, "the HPA is gone");
    controller.terminate().await?;
    for (name, _) in STRATEGIES {
        let asked = history.asked_since(name, begun);
        println!(
            "  {name}: {} changes, {}",
            asked.len() - 1,
            trajectory::text(&asked[asked.len().saturating_sub(9)..], begun)
        );
    }
    println!(
        "  {KILLS} kills in {:.0} s: bounds never violated, HPAs at any time at most 1, at the end {wanted} for a load of {total}",
        begun.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Without election: the one before is surely dead, and its Lease would be waited for.
fn start(stage: &Stage, name: &str) -> anyhow::Result<ControllerProcess> {
    stage.controller_with(name, &["--leader-elect=false", "--admin-address", ""])
}

/// A number below `below`.
fn chance(below: usize) -> usize {
    (RandomState::new().build_hasher().finish() % below as u64) as usize
}

fn check_bounds(history: &ReplicaHistory, begun: Instant) -> anyhow::Result<()> {
    for (name, _) in STRATEGIES {
        for (_, asked) in history.asked_since(name, begun) {
            let inside = u32::try_from(asked).is_ok_and(|asked| (BOUNDS.0..=BOUNDS.1).contains(&asked));
            ensure!(inside, "{name} was asked for {asked} replicas, bounds {BOUNDS:?}");
        }
    }
    Ok(())
}

/// How many HPAs there are; each must be of the one `PodAutoscaler` that wants one.
async fn check_hpas(hpas: &Api<HorizontalPodAutoscaler>) -> anyhow::Result<usize> {
    let found = hpas.list(&ListParams::default()).await?.items;
    for hpa in &found {
        let owner = hpa.owner_references().first().context("an HPA without an owner")?;
        ensure!(hpa.name_any() == "hpa-hpa" && owner.name == "hpa", "a stray HPA: {}", hpa.name_any());
    }
    ensure!(found.len() <= 1, "{} HPAs", found.len());
    Ok(found.len())
}

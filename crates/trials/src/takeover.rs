//! Two controllers; the leader is killed while the load rises.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use k8s_openapi::jiff::Timestamp;
use windlass_testbed::{ControllerProcess, audit};

use crate::stage::{Fleet, Stage, USER_AGENT, until};
use crate::trajectory;

const NAMESPACE: &str = "takeover";
const NAME: &str = "engine";
/// client-go's defaults, and ours.
const LEASE: Duration = Duration::from_secs(15);
const RETRY: Duration = Duration::from_secs(2);
/// The bound of a takeover: lease duration + 1.2 × retry period + one tick.
const TICK: Duration = Duration::from_secs(1);
const ROUNDS: usize = 3;

/// Kills the leader again and again: each time the other one takes over in time, nothing is lowered, and no two
/// controllers write in one term.
pub(crate) async fn run(stage: &Stage) -> anyhow::Result<()> {
    println!("\n── Takeover: two controllers, the leader killed (SIGKILL) as the load rises, {ROUNDS} times");
    let annotations = [("total", "40"), ("share", "ready")];
    let fleet = [Fleet::scripted(NAME, "KPA", 2, 50, &annotations)];
    let history = stage.engines(NAMESPACE, &fleet).await?;
    let from = Timestamp::now();
    let start = |number: usize| -> anyhow::Result<(String, ControllerProcess)> {
        let identity = format!("controller-{number}");
        let arguments = ["--leader-elect", "--identity", &identity, "--admin-address", ""];
        Ok((identity.clone(), stage.controller_with(&identity, &arguments)?))
    };
    let mut running = vec![start(0)?, start(1)?];
    stage.autoscale(NAMESPACE, &fleet).await?;
    tokio::time::sleep(Duration::from_secs(10)).await;

    let begun = Instant::now();
    for round in 0..ROUNDS {
        let leader = holder(stage).await?;
        let at = running.iter().position(|(identity, _)| leader.contains(identity.as_str()));
        let (identity, mut process) = running.remove(at.with_context(|| format!("nobody is {leader}"))?);
        let total = 40 << (round + 1);
        let killed = Instant::now();
        process.kill().await?;
        stage.steer(NAMESPACE, NAME, "total", Some(&total.to_string())).await?;
        let next = loop {
            let next = holder(stage).await?;
            if next != leader {
                break next;
            }
            ensure!(killed.elapsed() < LEASE * 3, "{leader} is dead and still leads");
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let led = killed.elapsed();
        until("a raise", || history.asked_since(NAME, killed).len() > 1).await?;
        let raised = history.asked_since(NAME, killed).get(1).map_or(killed, |(at, _)| *at);
        let bound = LEASE + RETRY * 12 / 10 + TICK;
        println!(
            "  {identity} killed, load ×2: {next} leads after {:.1} s (bound {:.1} s) and raised after {:.1} s",
            led.as_secs_f64(),
            bound.as_secs_f64(),
            raised.saturating_duration_since(killed).as_secs_f64(),
        );
        ensure!(led <= bound, "the takeover took {led:?}");
        running.push(start(round + 2)?);
        tokio::time::sleep(Duration::from_secs(15)).await;
    }
    let asked = history.asked_since(NAME, begun);
    println!("  replicas {}", trajectory::text(&asked, begun));
    let counts: Vec<i32> = asked.iter().map(|(_, count)| *count).collect();
    ensure!(counts.is_sorted(), "replicas dropped: {counts:?}");
    for (_, mut process) in running {
        process.terminate().await?;
    }
    check_terms(&audit::read(&stage.plane.audit_log())?, from)
}

async fn holder(stage: &Stage) -> anyhow::Result<String> {
    let lease = ["get", "lease", "windlass-controller", "-o", "jsonpath={.spec.holderIdentity}"];
    stage.kubectl(&lease, b"").await
}

/// Every write must be of the one who wrote the Lease last before it.
fn check_terms(writes: &[audit::Write], from: Timestamp) -> anyhow::Result<()> {
    let mut own: Vec<&audit::Write> = writes
        .iter()
        .filter(|write| write.is_by(USER_AGENT) && write.received >= from && write.succeeded())
        .collect();
    own.sort_by_key(|write| write.answered);
    let (mut holder, mut terms, mut checked) = (None, 0, 0);
    for write in own {
        if write.object_ref.resource == "leases" {
            if holder != Some(&write.user_agent) {
                terms += 1;
            }
            holder = Some(&write.user_agent);
            continue;
        }
        checked += 1;
        ensure!(
            holder == Some(&write.user_agent),
            "{} wrote in the term of {holder:?}: {write:?}",
            write.user_agent
        );
    }
    println!("  the API server's audit: {checked} writes in {terms} terms, each by the holder of its term");
    ensure!(terms > ROUNDS, "only {terms} terms were seen");
    Ok(())
}

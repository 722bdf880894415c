//! Engines that need two minutes to start, a constant load that needs six, two to begin with.

use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::stage::{Fleet, Stage, until};
use crate::trajectory;

const NAMESPACE: &str = "slow-start";
const NAMES: [&str; 2] = ["kpa", "apa"];
/// How long the six are watched once they are ready.
const CALM: Duration = Duration::from_mins(1);

/// Asks for 6 within 10 s and two ticks of the first write, never for more, and throws no starting pod away.
pub(crate) async fn run(stage: &Stage) -> anyhow::Result<()> {
    println!("\n── Slow start: total 120 shared by the ready engines, target 20, starts of 120 s, from 2");
    let annotations = [("total", "120"), ("share", "ready")];
    let strategy = |name: &str| if name == "kpa" { "KPA" } else { "APA" };
    let fleets = NAMES.map(|name| Fleet::scripted(name, strategy(name), 2, 50, &annotations));
    let history = stage.engines(NAMESPACE, &fleets).await?;
    let six_ready = || NAMES.iter().all(|name| history.now(name).is_some_and(|now| now.ready >= 6));
    for name in NAMES {
        stage.steer(NAMESPACE, name, "start", Some("120s")).await?;
    }
    let begun = Instant::now();
    stage.autoscale(NAMESPACE, &fleets).await?;
    until("six engines ready", six_ready).await?;
    tokio::time::sleep(CALM).await;
    for name in NAMES {
        let asked = history.asked_since(name, begun);
        println!("  {name}: {}", trajectory::text(&asked, begun));
        let counts: Vec<i32> = asked.iter().map(|(_, count)| *count).collect();
        ensure!(counts.is_sorted() && counts.last() == Some(&6), "{name} went {counts:?}");
        let first = asked.get(1).map_or(begun, |(at, _)| *at);
        let six = asked.last().map_or(begun, |(at, _)| *at);
        ensure!(six - first <= Duration::from_secs(12), "{name} asked for 6 after {:?}", six - first);
    }
    println!("  peers: AIBrix current cycles 2-13, classic asks for 6 after 131 s and has them after 251 s");
    Ok(())
}

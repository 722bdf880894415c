//! All engines of a target fail for a while and come back at unchanged load.

use std::time::{Duration, Instant};

use anyhow::ensure;
use kube::ResourceExt;

use crate::stage::{Fleet, Stage};
use crate::trajectory;

const NAMESPACE: &str = "outage";
const REPLICAS: u32 = 8;
/// How the engines fail, and for how long.
const OUTAGES: [(&str, Duration); 3] = [
    ("http500", Duration::from_mins(1)),
    ("refuse", Duration::from_secs(90)),
    ("hang", Duration::from_mins(1)),
];
const STRATEGIES: [&str; 2] = ["KPA", "APA"];
/// When it is looked at what the object tells of an outage.
const BEFORE_ITS_END: Duration = Duration::from_secs(10);
const WARM: Duration = Duration::from_secs(70);
/// How long after the recovery nothing may change.
const CALM: Duration = Duration::from_mins(5);

struct Case {
    name: String,
    strategy: &'static str,
    fault: &'static str,
    lasts: Duration,
}

/// Not one change of replicas, from before the outage until five minutes after it.
pub(crate) async fn run(stage: &Stage) -> anyhow::Result<()> {
    println!(
        "\n── Outages: {REPLICAS} engines at their target; all fail, then all are healthy at unchanged load"
    );
    let mut cases = Vec::new();
    for (fault, lasts) in OUTAGES {
        for strategy in STRATEGIES {
            cases.push(Case { name: format!("{fault}-{}", strategy.to_lowercase()), strategy, fault, lasts });
        }
    }
    let annotations = [("total", "160"), ("share", "ready")];
    let fleet = |case| {
        let Case { name, strategy, .. }: &Case = case;
        Fleet::scripted(name, strategy, REPLICAS, 20, &annotations)
    };
    let fleets: Vec<Fleet<'_>> = cases.iter().map(fleet).collect();
    let history = stage.engines(NAMESPACE, &fleets).await?;
    stage.autoscale(NAMESPACE, &fleets).await?;
    tokio::time::sleep(WARM).await;

    let begun = Instant::now();
    futures::future::try_join_all(cases.iter().map(|case| fail_and_recover(stage, case))).await?;
    tokio::time::sleep(CALM).await;
    for case in &cases {
        let asked = history.asked_since(&case.name, begun);
        println!(
            "  {} {} for {} s: replicas {} until {:.0} s after the beginning",
            case.strategy,
            case.fault,
            case.lasts.as_secs(),
            trajectory::text(&asked, begun),
            begun.elapsed().as_secs_f64(),
        );
        ensure!(asked.len() == 1, "{} changed its replicas", case.name);
    }
    println!("  peers: AIBrix current 8 → 2 after 60 s of 500 and 8 → 1 after 90 s of refused connections");
    Ok(())
}

async fn fail_and_recover(stage: &Stage, case: &Case) -> anyhow::Result<()> {
    stage.steer(NAMESPACE, &case.name, "fault", Some(case.fault)).await?;
    tokio::time::sleep(case.lasts.saturating_sub(BEFORE_ITS_END)).await;
    tell(stage, case).await?;
    tokio::time::sleep(BEFORE_ITS_END).await;
    stage.steer(NAMESPACE, &case.name, "fault", None).await?;
    Ok(())
}

/// What `kubectl describe` says while the outage lasts.
async fn tell(stage: &Stage, case: &Case) -> anyhow::Result<()> {
    let object = stage.autoscalers(NAMESPACE).get(&case.name).await?;
    let conditions = object.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let metrics = conditions.iter().find(|condition| condition["type"] == "MetricsAvailable");
    let message = metrics.and_then(|condition| condition["message"].as_str()).unwrap_or_default();
    println!("  while it lasts, {}: {message}", object.name_any());
    ensure!(message.contains("holding 8"), "{} does not say that it holds", case.name);
    let describe = ["describe", "podautoscaler", &case.name, "--namespace", NAMESPACE];
    let described = stage.kubectl(&describe, b"").await?;
    if let Some(events) = described.find("\nEvents:") {
        for line in described[events..].lines().skip(4).take(3) {
            println!("    event {}", line.trim());
        }
    }
    Ok(())
}

//! From a step in the metric to the first write of `/scale`: ×1.5, ×3 and ×10, KPA and APA, a fresh target per trial.
//!
//! Every target stands at three quarters of its target value on two replicas, watched for longer than its windows, when
//! its load steps up. The clock starts when the API server has acknowledged the annotation that tells the mock engines
//! (before they know), and stops when the watch shows another `spec.replicas`.

use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use windlass_testbed::ReplicaHistory;

use crate::stage::{Fleet, Stage, TARGET};
use crate::statistics::Quantiles;

const NAMESPACE: &str = "reaction";
pub(crate) const REPLICAS: u32 = 2;
/// What the first write asks for, by the rate of 2. Those after it would be of no interest, and their pods would busy the
/// machine on which the other trials react.
const MAX_REPLICAS: u32 = 2 * REPLICAS;
/// Three quarters of what two replicas are to carry.
const LOAD: f64 = 0.75 * TARGET * REPLICAS as f64;
pub(crate) const STEPS: [f64; 3] = [1.5, 3.0, 10.0];
pub(crate) const STRATEGIES: [&str; 2] = ["KPA", "APA"];
/// Longer than the longest window: what was before the target was watched is out of it.
const WARM: Duration = Duration::from_secs(70);
/// Between two steps, so that the trials fall into all phases of the second and do not wait for each other.
const APART: Duration = Duration::from_millis(137);
/// A mean over 60 s that has to rise by half takes nearly as long.
const PATIENCE: Duration = Duration::from_secs(75);

/// What was measured of one strategy and one step.
pub(crate) struct Reaction {
    pub(crate) strategy: &'static str,
    pub(crate) step: f64,
    /// Seconds until the first change, one per trial that saw one.
    pub(crate) seconds: Quantiles,
    /// Trials without a change in time.
    pub(crate) none: usize,
}

/// One target and the step of its load.
pub(crate) struct Trial {
    name: String,
    strategy: &'static str,
    step: f64,
}

/// How long after its step each trial's count was changed, if it was.
pub(crate) type Changes = Vec<(Trial, Option<Duration>)>;

/// Runs `trials` trials of each strategy and step, side by side.
pub(crate) async fn run(stage: &Stage, trials: usize) -> anyhow::Result<Vec<Reaction>> {
    let all = Trial::all(0..trials, &STRATEGIES, &STEPS);
    let history = prepare(stage, NAMESPACE, &all).await?;
    Ok(gather(&step(stage, NAMESPACE, all, &history).await?, &STRATEGIES, &STEPS))
}

impl Trial {
    /// One of these numbers for each strategy and step.
    pub(crate) fn all(numbers: Range<usize>, strategies: &[&'static str], steps: &[f64]) -> Vec<Self> {
        let mut all = Vec::new();
        for number in numbers {
            for &step in steps {
                for &strategy in strategies {
                    let by = step.to_string().replace('.', "-");
                    let name = format!("{}-x{by}-{number}", strategy.to_lowercase());
                    all.push(Self { name, strategy, step });
                }
            }
        }
        all
    }
}

/// Creates the targets in a namespace of their own, and watches them for longer than their windows.
pub(crate) async fn prepare(stage: &Stage, namespace: &str, all: &[Trial]) -> anyhow::Result<ReplicaHistory> {
    let load = LOAD.to_string();
    let annotations = [("total", load.as_str()), ("share", "ready")];
    let fleet = |trial| {
        let Trial { name, strategy, .. }: &Trial = trial;
        Fleet::scripted(name, strategy, REPLICAS, MAX_REPLICAS, &annotations)
    };
    let fleets: Vec<Fleet<'_>> = all.iter().map(fleet).collect();
    let history = stage.engines(namespace, &fleets).await?;
    stage.autoscale(namespace, &fleets).await?;
    tokio::time::sleep(WARM).await;
    Ok(history)
}

/// Steps up their loads, one after the other.
pub(crate) async fn step(
    stage: &Stage,
    namespace: &str,
    all: Vec<Trial>,
    history: &ReplicaHistory,
) -> anyhow::Result<Changes> {
    let mut stepped = Vec::new();
    for trial in all {
        let total = (LOAD * trial.step).to_string();
        let at = stage.steer(namespace, &trial.name, "total", Some(&total)).await?;
        stepped.push((trial, at));
        tokio::time::sleep(APART).await;
    }
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end
        && !stepped.iter().all(|(trial, at)| first_change(history, trial, *at).is_some())
    {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let change = |(trial, at): (Trial, Instant)| {
        let change = first_change(history, &trial, at);
        (trial, change)
    };
    Ok(stepped.into_iter().map(change).collect())
}

/// How long after `at` the count was first changed.
fn first_change(history: &ReplicaHistory, trial: &Trial, at: Instant) -> Option<Duration> {
    let asked = history.asked_since(&trial.name, at);
    asked.get(1).map(|(changed, _)| changed.saturating_duration_since(at))
}

/// By strategy and step.
pub(crate) fn gather(changes: &Changes, strategies: &[&'static str], steps: &[f64]) -> Vec<Reaction> {
    let mut reactions = Vec::new();
    for &strategy in strategies {
        for &step in steps {
            let of = changes.iter().filter(|(trial, _)| trial.strategy == strategy && trial.step == step);
            let changes: Vec<Option<Duration>> = of.map(|(_, change)| *change).collect();
            let seconds = changes.iter().flatten().map(Duration::as_secs_f64).collect();
            let none = changes.iter().filter(|change| change.is_none()).count();
            reactions.push(Reaction { strategy, step, seconds: Quantiles::of(seconds), none });
        }
    }
    reactions
}

/// A line per strategy and step.
pub(crate) fn print(reactions: &[Reaction]) {
    println!(
        "\nStep in the metric → first write of /scale, seconds ({LOAD} → {LOAD} × step on {REPLICAS} replicas):"
    );
    println!(
        "  {:<9} {:>5} {:>7} {:>6} {:>6} {:>6} {:>5}",
        "strategy", "step", "trials", "p50", "p99", "max", "none"
    );
    for Reaction { strategy, step, seconds, none } in reactions {
        println!(
            "  {strategy:<9} {:>5} {:>7} {:>6.2} {:>6.2} {:>6.2} {none:>5}",
            format!("×{step}"),
            seconds.count(),
            seconds.at(0.5),
            seconds.at(0.99),
            seconds.at(1.0),
        );
    }
}

/// Seconds from the reading that changed a decision to the acknowledged write, by the controller's own clock, as its log
/// tells of each write.
pub(crate) fn reading_to_write(log: &Path) -> anyhow::Result<Quantiles> {
    let text = std::fs::read_to_string(log)?;
    let seconds = text.lines().filter_map(|line| {
        let (_, rest) = line.split_once("after_reading_ms=")?;
        let millis: f64 = rest.split_whitespace().next()?.parse().ok()?;
        Some(millis / 1e3)
    });
    Ok(Quantiles::of(seconds.collect()))
}

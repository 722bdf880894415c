//! Status: written when replicas, bounds, a condition, the capacity or a health class changed, and never otherwise.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use tokio_util::sync::CancellationToken;
use windlass_api::status::{CapacityStatus, DecisionStatus, SignalStatus};
use windlass_api::{PodAutoscalerStatus, Source, SpecError};
use windlass_scaling::{Health, Instant};

use crate::Shared;
use crate::autoscaler::{Active, Autoscaler, Key, Membership};
use crate::clock::Clock;
use crate::journal::{Entry, StatusNotWritten};
use crate::pulse::Loop;
use crate::write::{WriteError, Writer};

/// How often changed statuses are written, and how many at a time.
const INTERVAL: Duration = Duration::from_millis(250);
const AT_A_TIME: usize = 16;
/// After a failed write the next one waits this long, doubling up to the longest.
const BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_mins(1);

/// What makes a status worth writing; the rest of it is as of then.
#[derive(Debug, Clone, PartialEq)]
struct Essence {
    generation: Option<i64>,
    uid: Option<String>,
    replicas: Option<(i32, i32)>,
    bounds: Option<(u32, u32)>,
    capacity: Option<CapacityStatus>,
    /// Type, status, reason, and the message where it does not tell the time.
    conditions: Vec<(String, String, String, String)>,
    health: Vec<Health>,
    changes: usize,
}

/// What was written last about an object, and over which version.
struct Written {
    essence: Essence,
    status: PodAutoscalerStatus,
    /// The object's version as the watch knew it, and the version the write made of it.
    over: Option<String>,
    made: Option<String>,
}

/// A status to be written.
struct Change {
    key: Key,
    essence: Essence,
    status: PodAutoscalerStatus,
    /// As the watch knows it.
    known: Option<String>,
    over: Option<String>,
}

/// Writes the statuses that changed while we lead; once more at `stop`, and that is the end.
pub(crate) async fn write_statuses(writer: Writer, shared: Arc<Shared>, stop: CancellationToken) {
    let mut written: HashMap<Key, Written> = HashMap::new();
    let mut failing: HashMap<Key, (tokio::time::Instant, Duration)> = HashMap::new();
    let mut stopped = false;
    while !stopped {
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = stop.cancelled() => stopped = true,
        }
        shared.pulses.beat(Loop::Statuses, shared.clock.now());
        if writer.leads() {
            write_changed(&writer, &shared, &mut written, &mut failing).await;
        }
    }
}

async fn write_changed(
    writer: &Writer,
    shared: &Shared,
    written: &mut HashMap<Key, Written>,
    failing: &mut HashMap<Key, (tokio::time::Instant, Duration)>,
) {
    let now = tokio::time::Instant::now();
    let (changed, later): (Vec<_>, Vec<_>) = changed(shared, written)
        .into_iter()
        .partition(|change| failing.get(&change.key).is_none_or(|(not_before, _)| *not_before <= now));
    let mut again: Vec<Key> = later.into_iter().map(|change| change.key).collect();
    let calls = changed.into_iter().map(|change| async {
        let outcome = writer.status(&change.key, change.over.as_deref(), &change.status).await;
        (change, outcome)
    });
    let mut outcomes = futures::stream::iter(calls).buffer_unordered(AT_A_TIME);
    while let Some((Change { key, essence, status, known, .. }, outcome)) = outcomes.next().await {
        match outcome {
            Ok(made) => {
                failing.remove(&key);
                written.insert(key, Written { essence, status, over: known, made });
                continue;
            }
            Err(WriteError::NotLeading) => {}
            Err(error) => {
                // A conflict means that the watch has not brought the newest version yet.
                let first = if error.is_conflict() { INTERVAL } else { BACKOFF };
                let backoff = failing.get(&key).map_or(first, |(_, last)| (*last * 2).min(LONGEST_BACKOFF));
                if backoff >= BACKOFF {
                    StatusNotWritten { key: &key, error: &error }.record(&shared.journal);
                }
                failing.insert(key.clone(), (now + backoff, backoff));
            }
        }
        again.push(key);
    }
    shared.index.lock().status_due.extend(again);
}

fn changed(shared: &Shared, written: &mut HashMap<Key, Written>) -> Vec<Change> {
    let mut index = shared.index.lock();
    let due = std::mem::take(&mut index.status_due);
    if written.len() > index.autoscalers.len() {
        written.retain(|key, _| index.autoscalers.contains_key(key));
    }
    let mut changed = Vec::new();
    for key in due {
        let Some(autoscaler) = index.autoscalers.get(&key) else { continue };
        let metadata = &autoscaler.object.metadata;
        let own = written.get(&key).filter(|own| own.essence.uid == metadata.uid);
        let before = own.map(|own| &own.status).or(autoscaler.object.status.as_ref());
        let status = status_of(autoscaler, before, &index.clock);
        let essence = essence_of(autoscaler, &status);
        if own.is_some_and(|own| own.essence == essence) {
            continue;
        }
        let known = metadata.resource_version.clone();
        // Until the watch shows our own write, the newest version we know is the one that it made.
        let over = own.filter(|own| own.over == known).map_or(&known, |own| &own.made).clone();
        changed.push(Change { key, essence, status, known, over });
    }
    changed
}

fn essence_of(autoscaler: &Autoscaler, status: &PodAutoscalerStatus) -> Essence {
    let active = autoscaler.state.as_ref().ok();
    let class = |condition: &Condition| {
        let lasting = !["MetricsAvailable", "ScalingActive"].contains(&condition.type_.as_str());
        let message = if lasting { condition.message.clone() } else { String::new() };
        (condition.type_.clone(), condition.status.clone(), condition.reason.clone(), message)
    };
    Essence {
        generation: status.observed_generation,
        uid: autoscaler.object.metadata.uid.clone(),
        replicas: status.desired_scale.zip(status.actual_scale),
        bounds: active
            .map(|active| (active.resolved.policy.min_replicas, active.resolved.policy.max_replicas)),
        capacity: status.capacity,
        conditions: status.conditions.iter().map(class).collect(),
        health: active.and_then(|active| active.observation.as_ref()).map_or_else(Vec::new, |observation| {
            observation.signals.iter().map(|signal| signal.health).collect()
        }),
        changes: autoscaler.history.len()
            + usize::from(autoscaler.history.back().is_some_and(|last| last.success)),
    }
}

fn count(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn status_of(
    autoscaler: &Autoscaler,
    before: Option<&PodAutoscalerStatus>,
    clock: &Clock,
) -> PodAutoscalerStatus {
    let now = clock.now();
    let generation = autoscaler.object.metadata.generation;
    let mut status = PodAutoscalerStatus {
        observed_generation: generation,
        scaling_history: autoscaler.history.iter().cloned().collect(),
        last_scale_time: autoscaler
            .history
            .iter()
            .rev()
            .find(|record| record.success)
            .map(|record| record.timestamp.clone())
            .or_else(|| before.and_then(|before| before.last_scale_time.clone())),
        ..PodAutoscalerStatus::default()
    };
    let conditions = match &autoscaler.state {
        Err(errors) => invalid(errors),
        Ok(active) => {
            describe(active, clock, now, &mut status);
            conditions(active, now)
        }
    };
    status.conditions = conditions.into_iter().map(|new| new.dated(before, generation)).collect();
    status
}

/// What is known of the target, as numbers.
fn describe(active: &Active, clock: &Clock, now: Instant, status: &mut PodAutoscalerStatus) {
    status.target = Some(active.resolved.target.to_string());
    let (Ok(_), Some(observation)) = (&active.scale, &active.observation) else { return };
    let capacity = observation.capacity;
    status.desired_scale = Some(count(active.decision.replicas));
    status.actual_scale = Some(count(active.facts.spec_replicas));
    status.capacity = Some(CapacityStatus {
        ready: count(capacity.ready),
        starting: count(capacity.starting),
        stuck: count(capacity.stuck),
        leaving: count(capacity.leaving),
    });
    let signals = active.resolved.policy.signals.iter().zip(&observation.signals);
    status.signals = signals
        .map(|(signal, seen)| SignalStatus {
            metric: signal.metric.clone(),
            value: seen.total,
            coverage: (seen.ready > 0).then(|| (seen.coverage() * 1000.0).round() / 1000.0),
            age_seconds: seen.newest_reading.map(|at| ((now - at).as_secs_f64() * 10.0).round() / 10.0),
        })
        .collect();
    status.decision = Some(DecisionStatus {
        time: Time(clock.to_wall(active.decided_at)),
        replicas: count(active.decision.replicas),
        steps: active.account(now),
    });
}

/// A condition without its times.
struct NewCondition {
    type_: &'static str,
    status: bool,
    reason: &'static str,
    message: String,
}

impl NewCondition {
    fn new(type_: &'static str, status: bool, reason: &'static str, message: impl Into<String>) -> Self {
        Self { type_, status, reason, message: message.into() }
    }

    /// With the time since when the condition has this status.
    fn dated(self, before: Option<&PodAutoscalerStatus>, generation: Option<i64>) -> Condition {
        let status = if self.status { "True" } else { "False" };
        let known = before.into_iter().flat_map(|before| &before.conditions);
        let since = known
            .filter(|known| known.type_ == self.type_ && known.status == status)
            .map(|known| known.last_transition_time.clone())
            .next();
        Condition {
            type_: self.type_.to_owned(),
            status: status.to_owned(),
            reason: self.reason.to_owned(),
            message: self.message,
            observed_generation: generation,
            last_transition_time: since.unwrap_or_else(|| Time(Timestamp::now())),
        }
    }
}

fn invalid(errors: &[SpecError]) -> Vec<NewCondition> {
    let message = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let reason = errors.first().map_or("InvalidSpec", SpecError::reason);
    vec![
        NewCondition::new("ValidSpec", false, reason, message),
        NewCondition::new("AbleToScale", false, "InvalidSpec", "the spec is not valid"),
        NewCondition::new("ScalingActive", false, "Stable", "the spec is not valid"),
        NewCondition::new("Ready", false, "InvalidSpec", "the spec is not valid"),
    ]
}

fn conditions(active: &Active, now: Instant) -> Vec<NewCondition> {
    let mut conditions = vec![NewCondition::new("ValidSpec", true, "AsExpected", "")];
    let mut push = |condition| conditions.push(condition);
    push(able_to_scale(active));
    let (desired, actual) = (active.decision.replicas, active.facts.spec_replicas);
    let known = active.scale.is_ok() && active.observation.is_some();
    let (scaling, reason) =
        if desired == actual { (false, "Stable") } else { (true, "ReconcilingScaleDiff") };
    if known {
        let message = format!("desired={desired}, actual={actual}");
        push(NewCondition::new("ScalingActive", scaling, reason, message));
        push(metrics_available(active, now));
        let ready = if scaling { "ReconcilingScaleDiff" } else { "AsExpected" };
        push(NewCondition::new("Ready", !scaling, ready, ""));
    } else {
        push(NewCondition::new("Ready", false, "FailedGetScale", "the target is not known"));
    }
    if let Some(problem) = unverified(active) {
        push(NewCondition::new("PodSetUnverified", true, "ControllerUnknown", problem));
    }
    if let Some((reason, message)) = active.held() {
        push(NewCondition::new("Held", true, reason, message));
    }
    if let Some(panic) = &active.quarantine {
        let message = format!(
            "held at {actual}: a decision failed ({panic}); please report this, and change the spec to try again"
        );
        push(NewCondition::new("Quarantined", true, "DecisionPanicked", message));
    }
    let unsupported = active.resolved.sources.iter().filter_map(|source| match source {
        Source::Unsupported(why) => Some(why.clone()),
        Source::Pod(_) => None,
    });
    let warnings: Vec<String> =
        active.resolved.warnings.iter().map(ToString::to_string).chain(unsupported).collect();
    if !warnings.is_empty() {
        push(NewCondition::new("PolicyWarnings", true, "ReadWithWarnings", warnings.join("; ")));
    }
    conditions
}

fn able_to_scale(active: &Active) -> NewCondition {
    match (&active.scale, &active.write_problem) {
        (Err(problem), _) => NewCondition::new("AbleToScale", false, problem.reason, problem.message.clone()),
        (_, Some(problem)) => NewCondition::new("AbleToScale", false, "FailedUpdateScale", problem.clone()),
        _ => NewCondition::new("AbleToScale", true, "SucceededGetScale", ""),
    }
}

/// Whether every signal gives what decisions need; the worst one speaks.
fn metrics_available(active: &Active, now: Instant) -> NewCondition {
    let condition = |status, reason, message| NewCondition::new("MetricsAvailable", status, reason, message);
    let Some(observation) = &active.observation else {
        return condition(false, "NotObserved", "nothing was observed yet".to_owned());
    };
    let held = active.facts.spec_replicas;
    if let Ok(Err(error)) = active.scale.as_ref().map(|scale| &scale.selector) {
        return condition(
            false,
            "InvalidSelector",
            format!("/scale gives no usable selector: {error}; held at {held}"),
        );
    }
    if active.facts.pods().is_empty() {
        return condition(
            false,
            "NoPods",
            format!("the selector matches no pod of the target; held at {held}"),
        );
    }
    let signals = active.resolved.policy.signals.iter().zip(&observation.signals);
    for (signal, seen) in signals {
        let metric = &signal.metric;
        let why = || silence(active).map_or_else(String::new, |why| format!(" ({why})"));
        match seen.health {
            Health::NoReadyPods => {
                return condition(false, "NoReadyPods", format!("no pod is ready; held at {held}"));
            }
            Health::Blind => {
                let since = seen.newest_reading.map_or_else(
                    || "no reading yet".to_owned(),
                    |at| format!("blind for {} s", (now - at).as_secs()),
                );
                return condition(false, "Blind", format!("{metric}: {since}, holding {held}{}", why()));
            }
            Health::NoRound => {
                return condition(
                    false,
                    "NoRound",
                    format!("{metric}: the ready pods change faster than they are read"),
                );
            }
            Health::Observed if seen.silent + seen.left_out > 0 => {
                let message = format!(
                    "{metric}: {} of {} pods are silent{}",
                    seen.silent + seen.left_out,
                    seen.ready + seen.left_out,
                    why()
                );
                return condition(true, "Thin", message);
            }
            Health::Observed => {}
        }
    }
    condition(true, "Fresh", String::new())
}

/// One silent pod, with the reason.
fn silence(active: &Active) -> Option<String> {
    let mut members = active.members.values();
    members.find_map(|member| {
        let why = member.silence.as_deref()?;
        member.entry.is_ready().then(|| format!("pod {}: {why}", member.entry.name()))
    })
}

/// Which pods' controllers could not be found out, if any.
fn unverified(active: &Active) -> Option<String> {
    active.members.values().find_map(|member| match &member.membership {
        Membership::Unverified(problem) => {
            Some(format!("pods that may not be the target's are counted: {problem}"))
        }
        _ => None,
    })
}

//! What a status says: as of the change that made it worth writing.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use windlass_api::PodAutoscalerStatus;
use windlass_api::explain::written_statistic;
use windlass_api::schedule::InForce;
use windlass_api::status::{CapacityStatus, DecisionStatus, ScheduledBounds, SignalStatus};
use windlass_scaling::Instant;

use super::conditions::{conditions, invalid};
use super::hpa;
use crate::autoscaler::{Active, Autoscaler};
use crate::clock::Clock;
use crate::hpa::NotDecided;

fn count(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// The whole status. `before` is the one it follows.
pub(super) fn status_of(
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
        Err(NotDecided::Invalid(errors)) => invalid(errors),
        Err(NotDecided::Native(native)) => {
            hpa::describe(native, &mut status);
            hpa::conditions(native)
        }
        Ok(active) => {
            describe(active, clock, now, &mut status);
            conditions(active, clock)
        }
    };
    status.conditions = conditions.into_iter().map(|new| new.dated(before, generation)).collect();
    status
}

/// The bounds by the clock.
pub(super) fn scheduled_bounds(in_force: &InForce) -> ScheduledBounds {
    ScheduledBounds {
        active_schedule: in_force.schedule.clone(),
        effective_min_replicas: count(in_force.min_replicas),
        effective_max_replicas: count(in_force.max_replicas),
        next_transition: in_force.next_transition.map(Time),
    }
}

/// What is known of the target, as numbers.
fn describe(active: &Active, clock: &Clock, now: Instant, status: &mut PodAutoscalerStatus) {
    status.target = Some(active.resolved.target.to_string());
    status.scheduled_bounds = active.in_force.as_ref().map(scheduled_bounds);
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
            statistic: signal.statistic.map(written_statistic),
            value: seen.total,
            coverage: (seen.ready > 0).then(|| (seen.coverage() * 1000.0).round() / 1000.0),
            age_seconds: seen.newest_reading.map(|at| ((now - at).as_secs_f64() * 10.0).round() / 10.0),
        })
        .collect();
    status.engines = active.engines().to_vec();
    status.decision = Some(DecisionStatus {
        time: Time(clock.to_wall(active.decided_at)),
        replicas: count(active.decision.replicas),
        steps: active.account(now),
    });
}

/// Whether two statuses say the same but for what is as of the moment of writing: values, ages, the account.
pub(super) fn says_the_same(one: &PodAutoscalerStatus, other: &PodAutoscalerStatus) -> bool {
    timeless(one) == timeless(other)
}

fn timeless(status: &PodAutoscalerStatus) -> PodAutoscalerStatus {
    let named = |signal: &SignalStatus| SignalStatus {
        metric: signal.metric.clone(),
        statistic: signal.statistic.clone(),
        ..Default::default()
    };
    PodAutoscalerStatus {
        signals: status.signals.iter().map(named).collect(),
        // The count is in `desired_scale` as well.
        decision: None,
        ..status.clone()
    }
}

//! The status of an object of strategy HPA: that of its HorizontalPodAutoscaler, and what there is to say about it.

use std::hash::{Hash, Hasher};

use windlass_api::PodAutoscalerStatus;

use super::conditions::{CONFLICT, NewCondition};
use super::text::scheduled_bounds;
use crate::hpa::{Mirror, Native, WAITING_FOR_HPA};

/// What its controller last said of the target.
pub(super) fn describe(native: &Native, status: &mut PodAutoscalerStatus) {
    status.target = Some(native.resolved.target.to_string());
    status.scheduled_bounds = native.in_force.as_ref().map(scheduled_bounds);
    let Some(mirror) = native.mirror.as_ref().filter(|mirror| mirror.is_observed()) else { return };
    status.desired_scale = Some(mirror.desired);
    status.actual_scale = mirror.current;
    if let Some(time) = &mirror.last_scale_time {
        status.last_scale_time = Some(time.clone());
    }
}

/// What makes it worth writing.
pub(super) fn hash(native: &Native, hasher: &mut impl Hasher) {
    let policy = &native.resolved.policy;
    (policy.min_replicas, policy.max_replicas).hash(hasher);
    native.in_force.as_ref().map(|bounds| (&bounds.schedule, bounds.next_transition)).hash(hasher);
    let problem = native.problem.as_ref().map(|problem| (problem.reason, &problem.message));
    (problem, &native.conflict, &native.held, &native.warnings).hash(hasher);
    let shown = |mirror: &Mirror| {
        let scaled = mirror.last_scale_time.as_ref().map(|time| time.0);
        (mirror.current, mirror.desired, scaled, mirror.conditions.clone())
    };
    native.mirror.as_ref().map(shown).hash(hasher);
}

/// The conditions: those of its HorizontalPodAutoscaler with their own reasons, as AIBrix has them, and ours.
pub(super) fn conditions(native: &Native) -> Vec<NewCondition> {
    let mut conditions = vec![NewCondition::new("ValidSpec", true, "AsExpected", "")];
    let name = native.mirror.as_ref().map(|mirror| mirror.name.as_str());
    let mirrored = native.mirror.iter().flat_map(|mirror| &mirror.conditions);
    let mirrored = mirrored.filter(|known| known.type_ != "AbleToScale" || native.problem.is_none());
    conditions.extend(mirrored.map(|known| {
        NewCondition::new(known.type_, known.status, known.reason.clone(), known.message.clone())
    }));
    let mut push = |condition| conditions.push(condition);
    let observed = native.mirror.as_ref().filter(|mirror| mirror.is_observed());
    if let Some(conflict) = &native.conflict {
        push(NewCondition::new(CONFLICT, false, CONFLICT, conflict.message.clone()));
    }
    let yields = native.conflict.as_ref().filter(|conflict| conflict.yields);
    match (&native.problem, observed) {
        (Some(problem), _) => {
            push(NewCondition::new("AbleToScale", false, problem.reason, problem.message.clone()));
            push(NewCondition::new("Ready", false, problem.reason, problem.message.clone()));
        }
        (None, _) if yields.is_some() => push(NewCondition::new("Ready", false, CONFLICT, "")),
        (None, None) => {
            let message = match (name, &native.held) {
                (Some(name), _) => {
                    format!("the HorizontalPodAutoscaler {name} was not looked at by its controller yet")
                }
                (None, Some((_, held))) => held.clone(),
                (None, None) => "the HorizontalPodAutoscaler does not exist yet".to_owned(),
            };
            push(NewCondition::new("AbleToScale", false, WAITING_FOR_HPA, message.clone()));
            push(NewCondition::new("Ready", false, WAITING_FOR_HPA, message));
        }
        (None, Some(mirror)) if mirror.current == Some(mirror.desired) => {
            push(NewCondition::new("Ready", true, "AsExpected", ""));
        }
        (None, Some(_)) => push(NewCondition::new("Ready", false, "ReconcilingScaleDiff", "")),
    }
    if let Some((reason, message)) = &native.held {
        push(NewCondition::new("Held", true, *reason, message.clone()));
    }
    if let Some(warnings) = &native.warnings {
        push(NewCondition::new("PolicyWarnings", true, "ReadWithWarnings", warnings.clone()));
    }
    conditions
}

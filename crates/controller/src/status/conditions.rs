//! The conditions, with AIBrix's polarity and reasons where they are AIBrix's.

use std::borrow::Cow;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use windlass_api::explain::named;
use windlass_api::{PodAutoscalerStatus, SpecError};

use crate::announce::{quarantined, sentence, since};
use crate::autoscaler::{Active, FAILED_GET_SCALE, Membership};
use crate::clock::Clock;
use crate::hpa::WAITING_FOR_HPA;
use crate::outages::Sight;

/// Type and reason of a condition that is False while two scale one target: AIBrix's polarity.
pub(crate) const CONFLICT: &str = "MultiPodAutoscalerConflict";
/// The count is set back again and again.
pub(crate) const CONTESTED: &str = "ReplicasContested";

/// A condition without its times.
pub(super) struct NewCondition {
    type_: &'static str,
    status: bool,
    reason: Cow<'static, str>,
    message: String,
}

impl NewCondition {
    pub(super) fn new(
        type_: &'static str,
        status: bool,
        reason: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self { type_, status, reason: reason.into(), message: message.into() }
    }

    /// With the time since when the condition has this status.
    pub(super) fn dated(self, before: Option<&PodAutoscalerStatus>, generation: Option<i64>) -> Condition {
        let status = if self.status { "True" } else { "False" };
        let known = before.into_iter().flat_map(|before| &before.conditions);
        let since = known
            .filter(|known| known.type_ == self.type_ && known.status == status)
            .map(|known| known.last_transition_time.clone())
            .next();
        Condition {
            type_: self.type_.to_owned(),
            status: status.to_owned(),
            reason: self.reason.into_owned(),
            message: self.message,
            observed_generation: generation,
            last_transition_time: since.unwrap_or_else(|| Time(Timestamp::now())),
        }
    }
}

/// The conditions of an object that cannot be acted upon.
pub(super) fn invalid(errors: &[SpecError]) -> Vec<NewCondition> {
    let message = sentence(errors);
    let reason = errors.first().map_or("InvalidSpec", SpecError::reason);
    vec![
        NewCondition::new("ValidSpec", false, reason, message),
        NewCondition::new("AbleToScale", false, "InvalidSpec", "the spec is not valid"),
        NewCondition::new("ScalingActive", false, "Stable", "the spec is not valid"),
        NewCondition::new("Ready", false, "InvalidSpec", "the spec is not valid"),
    ]
}

/// The conditions of an object at work.
pub(super) fn conditions(active: &Active, clock: &Clock) -> Vec<NewCondition> {
    let mut conditions = vec![NewCondition::new("ValidSpec", true, "AsExpected", "")];
    let mut push = |condition| conditions.push(condition);
    push(able_to_scale(active));
    if let Some(conflict) = &active.conflict {
        push(NewCondition::new(CONFLICT, false, CONFLICT, conflict.message.clone()));
    }
    if let Some(truce) = active.truce() {
        push(NewCondition::new(CONTESTED, true, "FieldManager", truce));
    }
    if let Some(respected) = active.respected() {
        push(NewCondition::new("SetByHand", true, "Respected", respected));
    }
    let (desired, actual) = (active.decision.replicas, active.facts.spec_replicas);
    let known = active.scale.is_ok() && active.observation.is_some();
    let (scaling, reason) =
        if desired == actual { (false, "Stable") } else { (true, "ReconcilingScaleDiff") };
    if known {
        let message = format!("desired={desired}, actual={actual}");
        push(NewCondition::new("ScalingActive", scaling, reason, message));
        push(metrics_available(active, clock));
        let ready = match (&active.conflict, active.truce()) {
            (Some(conflict), _) if conflict.yields => CONFLICT,
            (_, Some(_)) => CONTESTED,
            _ if scaling => "ReconcilingScaleDiff",
            _ => "AsExpected",
        };
        push(NewCondition::new("Ready", ready == "AsExpected", ready, ""));
    } else {
        push(NewCondition::new("Ready", false, FAILED_GET_SCALE, "the target is not known"));
    }
    if let Some(problem) = unverified(active) {
        let problem = format!("pods that may not be the target's are counted: {problem}");
        push(NewCondition::new("PodSetUnverified", true, "ControllerUnknown", problem));
    }
    if let Some(overlap) = active.overlap() {
        push(NewCondition::new("PodSetOverlaps", true, "SharedPods", overlap));
    }
    if let Some((reason, message)) = active.held() {
        push(NewCondition::new("Held", true, reason, message));
    }
    if let Some(panic) = &active.quarantine {
        let message = quarantined(panic, actual);
        push(NewCondition::new("Quarantined", true, "DecisionPanicked", message));
    }
    if let Some(warnings) = &active.warnings {
        push(NewCondition::new("PolicyWarnings", true, "ReadWithWarnings", warnings.clone()));
    }
    conditions
}

fn able_to_scale(active: &Active) -> NewCondition {
    if let Some(waiting) = active.handover.sentence() {
        return NewCondition::new("AbleToScale", false, WAITING_FOR_HPA, waiting);
    }
    match (&active.scale, &active.write_problem) {
        (Err(problem), _) => NewCondition::new("AbleToScale", false, problem.reason, problem.message.clone()),
        (_, Some(problem)) => NewCondition::new("AbleToScale", false, "FailedUpdateScale", problem.clone()),
        _ => NewCondition::new("AbleToScale", true, "SucceededGetScale", ""),
    }
}

/// Whether every signal gives what decisions need; the worst ones speak.
///
/// What is said stays true while it stands: an instant instead of a duration.
fn metrics_available(active: &Active, clock: &Clock) -> NewCondition {
    let condition = |status, reason, message| NewCondition::new("MetricsAvailable", status, reason, message);
    let held = active.facts.spec_replicas;
    if let Ok(Err(error)) = active.scale.as_ref().map(|scale| &scale.selector) {
        let message = format!("the target gives no usable selector: {error}; held at {held}");
        return condition(false, "InvalidSelector", message);
    }
    let of_pods = |signal: &windlass_scaling::SignalPolicy| signal.scope != windlass_scaling::Scope::Fleet;
    if active.facts.pods().is_empty() && active.resolved.policy.signals.iter().all(of_pods) {
        let message = format!("the selector matches no pod of the target; held at {held}");
        return condition(false, "NoPods", message);
    }
    let severity = |sight: &Sight| std::mem::discriminant(sight);
    let Some(worst) = active.outages.sights().max() else {
        return condition(false, "NotObserved", "nothing was observed yet".to_owned());
    };
    let signals = active.resolved.policy.signals.iter().zip(active.outages.sights()).enumerate();
    let worst_ones = signals.filter(|(_, (_, sight))| severity(sight) == severity(&worst));
    let (positions, names): (Vec<_>, Vec<_>) =
        worst_ones.map(|(at, (signal, _))| (at, named(signal))).unzip();
    let metrics = names.join(", ");
    match worst {
        Sight::Fresh => condition(true, "Fresh", String::new()),
        Sight::Thin { silent, of } => {
            let message = format!("{metrics}: {silent} of {of} pods are silent{}", active.silence(positions));
            condition(true, "Thin", message)
        }
        Sight::NoReadyPods => condition(false, "NoReadyPods", format!("no pod is ready; held at {held}")),
        Sight::Waiting => {
            condition(false, "NotObserved", format!("{metrics}: the ready pods are not all heard yet"))
        }
        Sight::NoRound => {
            condition(false, "NoRound", format!("{metrics}: the ready pods change faster than they are read"))
        }
        Sight::Blind => {
            let last = positions.iter().filter_map(|at| active.outages.last_reading(*at)).min();
            let since = since(last, clock);
            let silence = active.silence(positions);
            condition(false, "Blind", format!("{metrics}: {since}, holding {held}{silence}"))
        }
    }
}

/// Why some pod's controllers could not be found out, if so.
pub(super) fn unverified(active: &Active) -> Option<&str> {
    active.members.values().find_map(|member| match &member.membership {
        Membership::Unverified(problem) => Some(problem.as_str()),
        _ => None,
    })
}

//! What holds of every decision: written once, used by `decide` itself (debug assertions), by the property tests
//! and by the simulator.

use crate::{Decision, Health, Observation, Policy, Reason};

/// The first invariant that a decision breaks, as a sentence; `None` when all hold.
pub fn violation(policy: &Policy, observation: &Observation, decision: &Decision) -> Option<&'static str> {
    let current = observation.spec_replicas;
    let off = decision.steps.iter().any(|step| step.reason == Reason::Off);
    if off {
        return (decision.replicas != current).then_some("a target that is switched off is left alone");
    }
    let greatest = decision.proposals.iter().map(|proposal| proposal.replicas).max();
    let probe_given_back = observation.starts.failed > 0 && decision.limited + 1 == current;
    let checks: [(bool, &'static str); 8] = [
        (
            (policy.min_replicas..=policy.max_replicas).contains(&decision.replicas),
            "the replicas are within the bounds",
        ),
        (
            decision.limited >= current
                || observation.signals.iter().all(|seen| seen.health == Health::Observed),
            "missing data never lowers",
        ),
        (
            decision.limited >= current
                || !observation.signals.iter().any(crate::SignalObservation::below_half),
            "less than half of the pods never lower",
        ),
        (decision.limited >= current || !observation.rollout, "a rollout never lowers"),
        (
            decision.limited <= current || greatest >= Some(decision.limited),
            "a raise was proposed by a signal",
        ),
        (
            decision.limited >= current || greatest <= Some(decision.limited) || probe_given_back,
            "nothing is lowered below what a signal proposes, but for a probe that failed",
        ),
        (
            decision.limited <= current.saturating_add(1) || observation.starts.failed == 0,
            "beyond pods that do not start at most one more is asked for",
        ),
        (
            decision.proposals.iter().all(|proposal| proposal.total.is_finite() && proposal.total >= 0.0),
            "totals are numbers",
        ),
    ];
    checks.into_iter().find(|(holds, _)| !holds).map(|(_, name)| name)
}

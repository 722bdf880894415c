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
    let checks: [(bool, &'static str); 6] = [
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
            decision.limited <= current
                || decision.proposals.iter().any(|proposal| proposal.replicas >= decision.limited),
            "a raise was proposed by a signal",
        ),
        (
            decision.proposals.iter().all(|proposal| proposal.total.is_finite() && proposal.total >= 0.0),
            "totals are numbers",
        ),
    ];
    checks.into_iter().find(|(holds, _)| !holds).map(|(_, name)| name)
}

//! What holds of every decision: written once, used by `decide` itself (debug assertions), by the property tests
//! and by the simulator.

use crate::{Decision, Health, Mode, Observation, Policy, Reason};

/// The first invariant that a decision breaks, as a sentence; `None` when all hold.
pub fn violation(policy: &Policy, observation: &Observation, decision: &Decision) -> Option<&'static str> {
    let current = observation.spec_replicas;
    let broken = violated_hold(policy, current, decision);
    if broken.is_some() {
        return broken;
    }
    let off = decision.steps.iter().any(|step| step.reason == Reason::Off);
    if off {
        let left_alone = decision.replicas == current || ordered(decision).is_some();
        return (!left_alone).then_some("a target that is switched off is left alone");
    }
    let frozen = policy.hold.mode != Mode::Auto;
    let decided = if frozen { decision.would_be } else { decision.replicas };
    let greatest = decision.proposals.iter().map(|proposal| proposal.replicas).max();
    let probe_given_back = observation.starts.failed > 0 && decision.limited + 1 == current;
    let checks: [(bool, &'static str); 8] = [
        (
            (policy.min_replicas..=policy.max_replicas).contains(&decided),
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

/// The count a person ordered, and what was made of it.
fn ordered(decision: &Decision) -> Option<(u32, u32)> {
    decision.steps.iter().find_map(|step| match step.reason {
        Reason::HeldAt { asked, .. } => Some((asked, step.to)),
        _ => None,
    })
}

fn violated_hold(policy: &Policy, current: u32, decision: &Decision) -> Option<&'static str> {
    let frozen = policy.hold.mode != Mode::Auto;
    let order = ordered(decision);
    let endless = policy.hold.order.filter(|order| order.until.is_none());
    let checks: [(bool, &'static str); 4] = [
        (!frozen || decision.replicas == current, "what is paused or only recommended is never changed"),
        (
            endless.is_none_or(|endless| order.is_some_and(|(asked, _)| asked == endless.replicas)),
            "an order without an end is in force",
        ),
        (
            order.is_none_or(|(asked, held)| held == policy.clamp(asked)),
            "an order is obeyed to the number, within the bounds",
        ),
        (
            frozen || order.is_none_or(|(_, held)| held == decision.replicas),
            "nothing but a mode stands above an order",
        ),
    ];
    checks.into_iter().find(|(holds, _)| !holds).map(|(_, name)| name)
}

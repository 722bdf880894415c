//! An observation made into a number, stage by stage.

mod hold;
mod limits;
mod manual;
mod probe;
mod propose;

use std::time::Duration;

use crate::decision::{LoweringOff, Reason, Stage};
use crate::{Decision, Health, Instant, Memory, Observation, Policy, invariants};

pub(crate) use manual::Manual;
pub use manual::RESPECT;
pub(crate) use probe::Probe;

/// Decides at `now`. The account is written into `decision`, which is cleared first.
pub fn decide(
    policy: &Policy,
    observation: &Observation,
    memory: &mut Memory,
    now: Instant,
    decision: &mut Decision,
) {
    let current = observation.spec_replicas;
    decision.reset(current, policy.min_replicas, policy.max_replicas);
    let rate = limits::note_current(policy, observation, memory, now);
    memory.probe.note(observation, now);
    memory.manual.note(policy, observation);
    if policy.scheduled.is_some() {
        decision.step(Stage::Bounds, current, current, Reason::Scheduled);
    }
    if !is_off(policy, current, memory, decision) {
        propose::propose(policy, observation, memory, &rate, now, decision);
        decision.wanted = combine(policy, observation, now, decision);
        let stabilised = limits::stabilise(policy, memory, now, decision);
        let rated = limits::limit_rate(&rate, memory, now, stabilised, decision);
        let limited = probe::limit_starts(policy, observation, memory, now, rated, decision);
        decision.limited = manual::respect(memory.manual, now, limited, decision);
        limits::clamp(policy, decision);
    }
    hold::hold(policy, now, decision);
    debug_assert_eq!(invariants::violation(policy, observation, decision), None);
}

/// `spec.replicas` 0 with min ≥ 1 was set by somebody else and means off, unless a schedule asks for its min by name or
/// min was raised since.
fn is_off(policy: &Policy, current: u32, memory: &mut Memory, decision: &mut Decision) -> bool {
    if current > 0 {
        memory.min_at_zero = None;
        return false;
    }
    let min_then = *memory.min_at_zero.get_or_insert(policy.min_replicas);
    if policy.min_replicas == 0 {
        return false;
    }
    if policy.scheduled.is_some_and(|scheduled| scheduled.min_explicit) {
        decision.step(Stage::Bounds, 0, 0, Reason::MinScheduled);
        return false;
    }
    if policy.min_replicas > min_then {
        decision.step(Stage::Bounds, 0, 0, Reason::MinRaised);
        return false;
    }
    decision.step(Stage::Bounds, 0, 0, Reason::Off);
    true
}

/// The greatest proposal; with lowering off at least the current count.
fn combine(policy: &Policy, observation: &Observation, now: Instant, decision: &mut Decision) -> u32 {
    let current = decision.current;
    // Of equal proposals the first in the order of the policy speaks.
    let Some(greatest) = decision.proposals.iter().rev().max_by_key(|proposal| proposal.replicas).copied()
    else {
        let reason = match lowering_off(policy, observation, now) {
            _ if observation.capacity.ready == 0 && nothing_to_measure(observation) => Reason::NoReadyPods,
            Some(off) => Reason::LoweringOff(off),
            None => Reason::NoProposal,
        };
        decision.step(Stage::Combine, current, current, reason);
        return current;
    };
    decision.step(Stage::Propose, current, greatest.replicas, Reason::Proposed { signal: greatest.signal });
    if greatest.replicas < current
        && let Some(off) = lowering_off(policy, observation, now)
    {
        decision.step(Stage::Combine, greatest.replicas, current, Reason::LoweringOff(off));
        return current;
    }
    greatest.replicas
}

/// Every signal is one of pods, and none is ready.
fn nothing_to_measure(observation: &Observation) -> bool {
    observation.signals.iter().all(|seen| seen.health == Health::NoReadyPods)
}

/// Why nothing may be lowered now, the gravest reason first.
fn lowering_off(policy: &Policy, observation: &Observation, now: Instant) -> Option<LoweringOff> {
    let signals = || (0..).zip(&observation.signals);
    for (signal, seen) in signals() {
        match seen.health {
            Health::Blind => return Some(LoweringOff::Blind { signal, since: seen.newest_reading }),
            Health::NoRound | Health::NoReadyPods => return Some(LoweringOff::NoRound { signal }),
            Health::Observed if seen.below_half() => {
                return Some(LoweringOff::Thin { signal, fresh: seen.fresh, ready: seen.ready });
            }
            Health::Observed => {}
        }
    }
    if observation.rollout {
        return Some(LoweringOff::Rollout);
    }
    signals().find_map(|(signal, seen)| {
        let observed = seen.unbroken_since.map_or(Duration::ZERO, |since| now - since);
        let remaining = policy.full_window().checked_sub(observed).filter(|rest| !rest.is_zero())?;
        Some(LoweringOff::WindowNotFull { signal, remaining })
    })
}

//! Stage 2: one proposal per signal, by strategy.

use super::limits::RateLimits;
use crate::decision::{Basis, Proposal};
use crate::numbers::replicas_for;
use crate::{
    ApaPolicy, Decision, Health, Instant, Kind, KpaPolicy, Memory, Observation, Policy, SignalObservation,
    SignalPolicy, Strategy, apa, kpa, significant,
};

/// A utilisation or latency this many times its target is saturated. KPA has no tolerance of its own; this is APA's
/// default band.
const SATURATED: f64 = 1.1;

/// Adds a proposal of every signal that has one to `decision`.
pub(super) fn propose(
    policy: &Policy,
    observation: &Observation,
    memory: &mut Memory,
    rate: &RateLimits,
    now: Instant,
    decision: &mut Decision,
) {
    let signals = policy.signals.iter().zip(&observation.signals).zip(&mut memory.signals);
    for (index, ((signal, seen), memory)) in (0..).zip(signals) {
        let proposed = match (seen.health, seen.total, seen.mean) {
            (Health::Observed, ..) if seen.idle && !seen.resumed => {
                let proposed = from_idle(policy, signal, seen, observation, &mut memory.kpa, rate, now);
                Some((0.0, proposed))
            }
            (Health::Observed, Some(total), Some(mean)) if !seen.resumed => {
                let proposed =
                    from_windows(policy, signal, seen, mean, observation, &mut memory.kpa, rate, now);
                Some((total, proposed))
            }
            (Health::NoRound, ..) => seen
                .at_least
                .and_then(|mean| Some((mean, from_part(policy, signal, mean, observation, rate)?))),
            _ => None,
        };
        let Some((total, (replicas, basis))) = proposed else { continue };
        let replicas = match signal.kind {
            // How much is missing, a latency does not say: at most a doubling at a time.
            Kind::Latency => {
                replicas.min(observation.capacity.ready.saturating_mul(2).max(observation.spec_replicas))
            }
            Kind::Additive | Kind::Utilisation => replicas,
        };
        let proposal = Proposal { signal: index, replicas, total, held: seen.held, basis };
        // The signals are at most as many as the room: both are MAX_SIGNALS.
        let _ = decision.proposals.try_push(proposal);
    }
}

#[expect(clippy::too_many_arguments, reason = "one call, every argument named at it")]
fn from_windows(
    policy: &Policy,
    signal: &SignalPolicy,
    seen: &SignalObservation,
    mean: f64,
    observation: &Observation,
    state: &mut kpa::State,
    rate: &RateLimits,
    now: Instant,
) -> (u32, Basis) {
    match &policy.strategy {
        Strategy::Kpa(kpa) => {
            let limit = |wanted: u32| activated(policy, wanted).min(rate.ceiling);
            let proposed = propose_kpa(kpa, signal, seen, mean, observation, state, now, limit);
            unless_saturated(proposed, signal, mean, observation)
        }
        Strategy::Apa(apa) => {
            let (replicas, basis) = propose_apa(apa, signal, mean, observation);
            (activated(policy, replicas), basis)
        }
    }
}

/// The fewest replicas, but for a panic that is not over.
fn from_idle(
    policy: &Policy,
    signal: &SignalPolicy,
    seen: &SignalObservation,
    observation: &Observation,
    state: &mut kpa::State,
    rate: &RateLimits,
    now: Instant,
) -> (u32, Basis) {
    let idle = (policy.min_replicas, Basis::Idle);
    let Strategy::Kpa(kpa) = &policy.strategy else { return idle };
    let limit = |wanted: u32| wanted.min(rate.ceiling);
    let proposed = propose_kpa(kpa, signal, seen, 0.0, observation, state, now, limit);
    if state.panic_since.is_some() && proposed.0 > policy.min_replicas { proposed } else { idle }
}

/// The proposal of a total that is at least `mean`, if that is a raise.
fn from_part(
    policy: &Policy,
    signal: &SignalPolicy,
    mean: f64,
    observation: &Observation,
    rate: &RateLimits,
) -> Option<(u32, Basis)> {
    let replicas = match &policy.strategy {
        Strategy::Kpa(_) => replicas_for(significant(mean / signal.target)).min(rate.ceiling),
        Strategy::Apa(apa) => propose_apa(apa, signal, mean, observation).0,
    };
    (replicas > observation.spec_replicas).then_some((activated(policy, replicas), Basis::AtLeast { mean }))
}

fn activated(policy: &Policy, wanted: u32) -> u32 {
    if wanted == 0 { 0 } else { wanted.max(policy.activation_scale) }
}

#[expect(clippy::too_many_arguments, reason = "one call, every argument named at it")]
fn propose_kpa(
    kpa: &KpaPolicy,
    signal: &SignalPolicy,
    seen: &SignalObservation,
    mean: f64,
    observation: &Observation,
    state: &mut kpa::State,
    now: Instant,
    limit: impl Fn(u32) -> u32,
) -> (u32, Basis) {
    let ready = observation.capacity.ready.max(1);
    let surge = seen.surge.filter(|least| *least >= kpa.panic_threshold * signal.target * f64::from(ready));
    let panic = seen.panic_mean.unwrap_or(mean).max(surge.unwrap_or(0.0));
    // A starting pod keeps panic alive for at most one start.
    let starting_in_time = |since| now - since <= kpa.stable_window + observation.starts.limit;
    let input = kpa::Input {
        // In units of the target, rounded: 1.1 ÷ 0.1 is 11 replicas, not 12.
        stable: significant(mean / signal.target),
        panic: significant(panic / signal.target),
        target: 1.0,
        ready,
        panic_threshold: kpa.panic_threshold,
        stable_window: kpa.stable_window,
        stay_in_panic: observation.capacity.starting > 0 && state.panic_since.is_some_and(starting_in_time),
    };
    let outcome = kpa::step(state, &input, now, limit);
    let basis = match state.panic_since {
        Some(since) => Basis::Panic { value: panic, since },
        None => Basis::Stable { mean },
    };
    (outcome.desired, basis)
}

/// A saturated utilisation or latency says nothing about how much is missing: then never below the count. Outside
/// `kpa::step`, whose panic must not remember a count that nothing asked for.
fn unless_saturated(
    proposed: (u32, Basis),
    signal: &SignalPolicy,
    mean: f64,
    observation: &Observation,
) -> (u32, Basis) {
    let current = observation.spec_replicas;
    let ratio = significant(mean / signal.target / f64::from(observation.capacity.ready.max(1)));
    if signal.kind == Kind::Additive || proposed.0 >= current || ratio <= SATURATED {
        return proposed;
    }
    (current, Basis::Saturated { ratio })
}

fn propose_apa(
    policy: &ApaPolicy,
    signal: &SignalPolicy,
    mean: f64,
    observation: &Observation,
) -> (u32, Basis) {
    let capacity = &observation.capacity;
    let saturating = matches!(signal.kind, Kind::Utilisation | Kind::Latency);
    let (replicas, basis) = apa::propose(&apa::Input {
        total: mean,
        target: signal.target,
        replicas: if saturating { capacity.ready } else { capacity.ready_and_starting() },
        current: observation.spec_replicas,
        saturating: saturating.then_some(capacity.ready),
        up_tolerance: policy.up_tolerance,
        down_tolerance: policy.down_tolerance,
    });
    match basis {
        // Nothing is there and nothing is coming: no band round it.
        Basis::WithinTolerance { ratio } if capacity.ready_and_starting() == 0 => {
            (replicas_for(significant(mean / signal.target)), Basis::Ratio { ratio })
        }
        // The load fits what is there and coming: pods that are stuck are not needed for it.
        Basis::WithinTolerance { .. } => (replicas.min(capacity.ready_and_starting()), basis),
        _ => (replicas, basis),
    }
}

//! Stage 2: one proposal per signal, by strategy.

use super::limits::RateLimits;
use crate::decision::{Basis, Proposal};
use crate::{
    ApaPolicy, Decision, Health, Instant, Kind, KpaPolicy, Memory, Observation, Policy, SignalObservation,
    SignalPolicy, Strategy, apa, kpa, significant,
};

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
        let (Health::Observed, Some(total), Some(mean)) = (seen.health, seen.total, seen.mean) else {
            continue;
        };
        let (replicas, basis) = match &policy.strategy {
            Strategy::Kpa(kpa) => {
                let limit = |wanted: u32| activated(policy, wanted).min(rate.ceiling);
                propose_kpa(kpa, signal, seen, mean, observation, &mut memory.kpa, now, limit)
            }
            Strategy::Apa(apa) => {
                let (replicas, basis) = propose_apa(apa, signal, mean, observation);
                (activated(policy, replicas), basis)
            }
        };
        let replicas = match signal.kind {
            // How much is missing, a latency does not say: at most a doubling at a time.
            Kind::Latency => {
                replicas.min(observation.capacity.ready.saturating_mul(2).max(observation.spec_replicas))
            }
            Kind::Additive | Kind::Utilisation => replicas,
        };
        // The signals are at most as many as the room: both are MAX_SIGNALS.
        let _ = decision.proposals.try_push(Proposal { signal: index, replicas, total, basis });
    }
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
        // The load fits what is there and coming: pods that are stuck are not needed for it.
        Basis::WithinTolerance { .. } => (replicas.min(capacity.ready_and_starting()), basis),
        _ => (replicas, basis),
    }
}

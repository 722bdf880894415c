//! An observation made into a number, stage by stage.

use std::time::Duration;

use crate::decision::{Basis, LoweringOff, Proposal, Reason, Stage};
use crate::{
    ApaPolicy, Decision, Health, Instant, Kind, KpaPolicy, Memory, Observation, Policy, SignalObservation,
    SignalPolicy, Strategy, apa, invariants, kpa, significant,
};

/// The span the rates are limits of, whatever the tick; a lowering happens at most once in it.
pub(crate) const RATE_PERIOD: Duration = Duration::from_secs(10);

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
    let rate = note_current(policy, observation, memory, now);
    if is_off(policy, current, memory, decision) {
        return;
    }
    propose(policy, observation, memory, &rate, now, decision);
    decision.wanted = combine(policy, observation, now, decision);
    let stabilised = stabilise(policy, memory, now, decision);
    decision.limited = limit_rate(&rate, memory, now, stabilised, decision);
    clamp(policy, decision);
    debug_assert_eq!(invariants::violation(policy, observation, decision), None);
}

/// What the rates allow at this instant.
struct RateLimits {
    ceiling: u32,
    ceiling_base: u32,
    ceiling_opens: Instant,
    floor: u32,
    floor_base: u32,
}

/// Notes `spec.replicas` and the base of the rates, and gives the limits that follow from the last 10 s.
fn note_current(policy: &Policy, observation: &Observation, memory: &mut Memory, now: Instant) -> RateLimits {
    let current = observation.spec_replicas;
    if memory.last_spec.is_some_and(|last| last > current) {
        memory.lowered_at = Some(now);
    }
    memory.last_spec = Some(current);
    let base = observation.capacity.ready_and_starting().max(1);
    memory.base_least.record(now, base);
    memory.base_greatest.record(now, base);
    // The period is open at its start: what was seen exactly 10 s ago no longer limits.
    let since = now.saturating_sub(RATE_PERIOD) + Duration::from_micros(1);
    let (seen, ceiling_base) = memory.base_least.over(since).unwrap_or((now, base));
    let (_, floor_base) = memory.base_greatest.over(since).unwrap_or((now, base));
    RateLimits {
        // Never against current.
        ceiling: saturating_u32((policy.max_scale_up_rate * f64::from(ceiling_base)).ceil()).max(current),
        ceiling_base,
        ceiling_opens: seen + RATE_PERIOD,
        floor: saturating_u32((f64::from(floor_base) / policy.max_scale_down_rate).floor()).min(current),
        floor_base,
    }
}

fn saturating_u32(value: f64) -> u32 {
    value as u32
}

/// `spec.replicas` 0 with min ≥ 1 was set by somebody else and means off, unless min was raised since.
fn is_off(policy: &Policy, current: u32, memory: &mut Memory, decision: &mut Decision) -> bool {
    if current > 0 {
        memory.min_at_zero = None;
        return false;
    }
    let min_then = *memory.min_at_zero.get_or_insert(policy.min_replicas);
    if policy.min_replicas == 0 {
        return false;
    }
    if policy.min_replicas > min_then {
        decision.step(Stage::Bounds, 0, 0, Reason::MinRaised);
        return false;
    }
    decision.step(Stage::Bounds, 0, 0, Reason::Off);
    true
}

fn propose(
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
    apa::propose(&apa::Input {
        total: mean,
        target: signal.target,
        replicas: if saturating { capacity.ready } else { capacity.ready_and_starting() },
        current: observation.spec_replicas,
        saturating: saturating.then_some(capacity.ready),
        up_tolerance: policy.up_tolerance,
        down_tolerance: policy.down_tolerance,
    })
}

/// The greatest proposal; with lowering off at least the current count.
fn combine(policy: &Policy, observation: &Observation, now: Instant, decision: &mut Decision) -> u32 {
    let current = decision.current;
    // Of equal proposals the first in the order of the policy speaks.
    let Some(greatest) = decision.proposals.iter().rev().max_by_key(|proposal| proposal.replicas).copied()
    else {
        let reason = match lowering_off(policy, observation, now) {
            _ if observation.capacity.ready == 0 => Reason::NoReadyPods,
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

/// The current count, moved only as far as was wanted throughout the up or the down window.
fn stabilise(policy: &Policy, memory: &mut Memory, now: Instant, decision: &mut Decision) -> u32 {
    let (current, wanted) = (decision.current, decision.wanted);
    memory.wanted_least.record(now, wanted);
    memory.wanted_greatest.record(now, wanted);
    let since_up = now.saturating_sub(policy.up_window);
    let since_down = now.saturating_sub(policy.down_window);
    let (_, least) = memory.wanted_least.over(since_up).unwrap_or((now, wanted));
    let (seen, greatest) = memory.wanted_greatest.over(since_down).unwrap_or((now, wanted));
    let stabilised = if current < least {
        least
    } else if current > greatest {
        greatest
    } else {
        current
    };
    if wanted > stabilised {
        decision.step(Stage::Stabilise, wanted, stabilised, Reason::UpWindow { window: policy.up_window });
    } else if wanted < stabilised {
        let until = seen + policy.down_window + Duration::from_micros(1);
        let reason = Reason::DownWindow { window: policy.down_window, until };
        decision.step(Stage::Stabilise, wanted, stabilised, reason);
        decision.wake_at(until);
    }
    stabilised
}

fn limit_rate(rate: &RateLimits, memory: &Memory, now: Instant, wanted: u32, decision: &mut Decision) -> u32 {
    let current = decision.current;
    // What KPA remembers as wanted was cut by the same ceiling: the wake-up is due there, too.
    if wanted >= rate.ceiling && rate.ceiling_opens > now {
        decision.wake_at(rate.ceiling_opens);
    }
    if wanted > rate.ceiling {
        let reason = Reason::UpRate { base: rate.ceiling_base, until: rate.ceiling_opens };
        decision.step(Stage::Rate, wanted, rate.ceiling, reason);
        return rate.ceiling;
    }
    if wanted >= current {
        return wanted;
    }
    if let Some(lowered) = memory.lowered_at
        && now < lowered + RATE_PERIOD
    {
        let until = lowered + RATE_PERIOD;
        decision.step(Stage::Rate, wanted, current, Reason::LoweredRecently { until });
        decision.wake_at(until);
        return current;
    }
    if wanted < rate.floor {
        decision.step(Stage::Rate, wanted, rate.floor, Reason::DownRate { base: rate.floor_base });
        return rate.floor;
    }
    wanted
}

fn clamp(policy: &Policy, decision: &mut Decision) {
    let limited = decision.limited;
    decision.replicas = limited.clamp(policy.min_replicas, policy.max_replicas.max(policy.min_replicas));
    if decision.replicas > limited {
        decision.step(Stage::Clamp, limited, decision.replicas, Reason::Min);
    } else if decision.replicas < limited {
        decision.step(Stage::Clamp, limited, decision.replicas, Reason::Max);
    }
}

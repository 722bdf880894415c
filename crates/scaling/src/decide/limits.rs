//! Stages 5, 6 and 8: windows, rates, bounds. None of them moves the count by itself, but for the bounds.

use std::time::Duration;

use crate::decision::{Reason, Stage};
use crate::{Decision, Instant, Memory, Observation, Policy};

/// The span the rates are limits of, whatever the tick; a lowering happens at most once in it.
pub(super) const RATE_PERIOD: Duration = Duration::from_secs(10);

/// What the rates allow at this instant.
pub(super) struct RateLimits {
    /// The greatest count a raise may give now.
    pub(super) ceiling: u32,
    ceiling_base: u32,
    ceiling_opens: Instant,
    floor: u32,
    floor_base: u32,
}

/// Notes `spec.replicas` and the base of the rates, and gives the limits that follow from the last 10 s.
pub(super) fn note_current(
    policy: &Policy,
    observation: &Observation,
    memory: &mut Memory,
    now: Instant,
) -> RateLimits {
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

/// The current count, moved only as far as was wanted throughout the up or the down window.
pub(super) fn stabilise(policy: &Policy, memory: &mut Memory, now: Instant, decision: &mut Decision) -> u32 {
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

pub(super) fn limit_rate(
    rate: &RateLimits,
    memory: &Memory,
    now: Instant,
    wanted: u32,
    decision: &mut Decision,
) -> u32 {
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

pub(super) fn clamp(policy: &Policy, decision: &mut Decision) {
    let limited = decision.limited;
    decision.replicas = policy.clamp(limited);
    if decision.replicas > limited {
        decision.step(Stage::Clamp, limited, decision.replicas, Reason::Min);
    } else if decision.replicas < limited {
        decision.step(Stage::Clamp, limited, decision.replicas, Reason::Max);
    }
}

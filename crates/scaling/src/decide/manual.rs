//! After stage 7: a count that somebody set by hand is respected for a while.
//!
//! Whoever scales by hand knows something that the metrics do not say. For [`RESPECT`] nothing lowers below that count,
//! and nothing raises above it because of the load that was there when it was set. More load than that, the bounds and
//! orders say otherwise. A count of 0 is not a matter of this stage: it means off.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::decision::{Reason, Stage};
use crate::{Decision, Instant, Observation, Policy, SetByHand};

/// How long a count that was set by hand is respected.
pub const RESPECT: Duration = Duration::from_mins(5);
/// So many times the load of then is more than it. Totals are never still; this is APA's default band.
const MORE: f64 = 1.1;

/// What is remembered of the last count that was set by hand.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Manual {
    set: Option<SetByHand>,
    /// The load when it was set, in replicas; the first known since, if none was then.
    demand_then: Option<f64>,
    /// The load was more since: raises are free again.
    outgrown: bool,
    /// The load as last known.
    demand: Option<f64>,
}

impl Manual {
    /// Notes the load, and what it was when somebody set a count.
    pub(super) fn note(&mut self, policy: &Policy, observation: &Observation) {
        let demand = demand(policy, observation);
        if self.set != observation.set_by_hand {
            self.set = observation.set_by_hand;
            self.demand_then = greater(self.demand, demand);
            self.outgrown = false;
        }
        self.demand_then = self.demand_then.or(demand);
        if let (Some(now), Some(then)) = (demand, self.demand_then) {
            self.outgrown |= now > then * MORE;
        }
        self.demand = demand.or(self.demand);
    }
}

/// The load in replicas: the greatest of all signals. By the means and not by what the strategies propose: their bands
/// and rates depend on the count, and the count was changed.
fn demand(policy: &Policy, observation: &Observation) -> Option<f64> {
    let signals = policy.signals.iter().zip(&observation.signals);
    let of_signal = signals.filter_map(|(signal, seen)| {
        let totals = [seen.mean, seen.panic_mean, seen.surge, seen.at_least];
        Some(totals.into_iter().flatten().reduce(f64::max)? / signal.target)
    });
    of_signal.reduce(f64::max)
}

fn greater(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    one.into_iter().chain(other).reduce(f64::max)
}

/// Holds what would go against the count that was set.
pub(super) fn respect(manual: Manual, now: Instant, limited: u32, decision: &mut Decision) -> u32 {
    let current = decision.current;
    let in_force = manual.set.filter(|set| set.replicas > 0 && now < set.at + RESPECT);
    let Some(SetByHand { replicas: set, at }) = in_force else { return limited };
    let until = at + RESPECT;
    let respected = if limited < current {
        limited.max(set.min(current))
    } else if limited > current && !manual.outgrown {
        limited.min(set.max(current))
    } else {
        limited
    };
    if respected != limited {
        decision.step(Stage::Manual, limited, respected, Reason::SetByHand { set, until });
        decision.wake_at(until);
    }
    respected
}

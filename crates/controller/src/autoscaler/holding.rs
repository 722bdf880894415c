//! What a person ordered, and what is told of it.

use std::time::Duration;

use windlass_scaling::{Instant, Mode, Stage};

use super::{Active, Key};
use crate::journal::{Entry, Held, Journal};
use crate::pace::Pace;

/// What would be follows the load while nothing is done: news of it are told so many at once, then one in this time.
const BURST: u32 = 4;
const EACH: Duration = Duration::from_mins(1);

/// The hold that was told of last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Holding {
    /// Mode, count ordered, count held.
    hold: (Mode, Option<u32>, u32),
    would_be: u32,
    pace: Pace,
}

impl Active {
    /// Notes what the decision says of a hold; logs and counts it when that is something new.
    pub(crate) fn note_hold(&mut self, key: &Key, now: Instant, journal: &Journal) {
        let decision = &self.decision;
        if decision.steps.last().is_none_or(|step| step.stage != Stage::Hold) {
            self.holding = None;
            return;
        }
        let policy = &self.resolved.policy;
        let order = policy.hold.order_at(now).map(|order| order.replicas);
        let hold = (policy.hold.mode, order, decision.replicas);
        let (from, to) = (decision.replicas, decision.would_be);
        match &mut self.holding {
            Some(told) if told.hold == hold => {
                if told.would_be == to || !told.pace.take(now) {
                    return;
                }
                told.would_be = to;
            }
            holding => *holding = Some(Holding { hold, would_be: to, pace: Pace::new(BURST, EACH) }),
        }
        Held { key, holding: from, would_be: to, reason: &self.account(now).join("; ") }.record(journal);
    }

    /// The hold in force: a reason and a sentence, for a condition.
    pub(crate) fn held(&self) -> Option<(&'static str, String)> {
        let would_be = self.holding?.would_be;
        windlass_api::held(&self.decision, &self.resolved, would_be)
    }
}

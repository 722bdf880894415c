//! What a person ordered, and what is told of it.

use std::time::Duration;

use windlass_scaling::{Instant, Mode, Stage};

use super::{Active, Key};
use crate::journal::{Entry, Held, Journal};

/// What would be follows the load while nothing is done: it is told anew at most this often.
const TELL: Duration = Duration::from_mins(1);

/// The hold that was told of last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Holding {
    /// Mode, count ordered, count held.
    hold: (Mode, Option<u32>, u32),
    would_be: u32,
    at: Instant,
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
        let known = |told: Holding| told.hold == hold && (told.would_be == to || now - told.at < TELL);
        if self.holding.is_some_and(known) {
            return;
        }
        self.holding = Some(Holding { hold, would_be: to, at: now });
        Held { key, holding: from, would_be: to, reason: &self.account(now).join("; ") }.record(journal);
    }

    /// The hold in force: a reason and a sentence, for a condition.
    pub(crate) fn held(&self) -> Option<(&'static str, String)> {
        let would_be = self.holding?.would_be;
        windlass_api::held(&self.decision, &self.resolved.policy, self.resolved.overriding, would_be)
    }
}

//! What a person ordered: when it ends by the wall clock, and what is told of it.

use std::time::Duration;

use jiff::Timestamp;
use windlass_scaling::{Instant, Mode, Stage};

use super::{Active, Key};
use crate::journal::{Entry, Held, Journal};

/// Wall clocks are set and machines sleep: the end of an override is read anew this often, and when it is reached.
const CLOCK_CHECK: Duration = Duration::from_mins(1);
/// What would be follows the load while nothing is done: it is told anew at most this often.
const TELL: Duration = Duration::from_secs(10);

/// The hold that was told of last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    /// Mode, count ordered, count held.
    hold: (Mode, Option<u32>, u32),
    would_be: u32,
    at: Instant,
}

impl Active {
    /// Tells the time to what ends by the wall clock.
    pub(super) fn tell_time(&mut self, now: Instant) {
        let end = self.resolved.policy.hold.order.and_then(|order| order.until);
        let due = self.told_time.is_none_or(|told| now - told >= CLOCK_CHECK);
        if due || end.is_some_and(|end| end <= now) {
            self.resolved.at(Timestamp::now(), now);
            self.told_time = Some(now);
        }
    }

    /// Notes what the decision says of a hold; logs and counts it when that is something new.
    pub(crate) fn note_hold(&mut self, key: &Key, now: Instant, journal: &Journal) {
        let decision = &self.decision;
        if decision.steps.last().is_none_or(|step| step.stage != Stage::Hold) {
            self.told = None;
            return;
        }
        let policy = &self.resolved.policy;
        let order = policy.hold.order_at(now).map(|order| order.replicas);
        let hold = (policy.hold.mode, order, decision.replicas);
        let (from, to) = (decision.replicas, decision.would_be);
        let known = |told: Told| told.hold == hold && (told.would_be == to || now - told.at < TELL);
        if self.told.is_some_and(known) {
            return;
        }
        self.told = Some(Told { hold, would_be: to, at: now });
        Held { key, holding: from, would_be: to, reason: &self.account(now).join("; ") }.record(journal);
    }

    /// The hold in force: a reason and a sentence, for a condition.
    pub(crate) fn held(&self) -> Option<(&'static str, String)> {
        let would_be = self.told?.would_be;
        windlass_api::held(&self.decision, &self.resolved.policy, self.resolved.overriding, would_be)
    }
}

//! Telling of what changed, in events.

use kube::Resource;
use windlass_scaling::Instant;

use super::{Index, Task};
use crate::announce::{self, Announcement, Told};
use crate::autoscaler::{Active, Autoscaler, Key};
use crate::clock::Clock;
use crate::journal::{Entry, EventHeldBack, Journal, OutageBegan, OutageEnded};

impl Index {
    /// Asks for the events that follow from a decision.
    pub(super) fn tell(&mut self, key: &Key, now: Instant) {
        let Some(autoscaler) = self.autoscalers.get_mut(key) else { return };
        let Autoscaler { object, state, told, .. } = autoscaler;
        let news = match state {
            Ok(active) => news_of(active, key, told, &self.clock, &self.journal, now),
            Err(errors) => told.invalid(errors).into_iter().collect(),
        };
        for said in news {
            if self.recommend_only {
                // What is only recommended is told in the log and to whoever asks.
                continue;
            }
            if told.may_tell(now) {
                (self.tasks)(Task::Announce(Box::new((object.object_ref(&()), said))));
            } else {
                EventHeldBack { key, reason: said.reason, note: &said.note }.record(&self.journal);
            }
        }
    }

    /// Whether what is known of an object is worth a status.
    pub(crate) fn is_settled(&self, autoscaler: &Autoscaler, now: Instant) -> bool {
        match &autoscaler.state {
            Err(_) => true,
            Ok(active) => self.synced.pods && active.is_settled(now),
        }
    }
}

/// What is new of a target: of what stands, and of outages that began or ended, which are logged and counted as well.
fn news_of(
    active: &mut Active,
    key: &Key,
    told: &mut Told,
    clock: &Clock,
    journal: &Journal,
    now: Instant,
) -> Vec<Announcement> {
    let mut news = told.news(active);
    let changes = std::mem::take(&mut active.changes);
    if let Some(change) = changes.began {
        let said = announce::unavailable(&change, active, clock);
        OutageBegan { key, signals: change.signals.len(), note: &said.note }.record(journal);
        news.push(said);
    }
    if let Some(change) = changes.ended {
        let said = announce::recovered(&change, active, clock, now);
        OutageEnded { key, signals: change.signals.len(), note: &said.note }.record(journal);
        news.push(said);
    }
    news
}

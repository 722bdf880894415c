//! Telling of what changed, in events.

use kube::Resource;
use windlass_scaling::Instant;

use super::{Index, Task};
use crate::announce::{self, Announcement};
use crate::autoscaler::{Autoscaler, Key};
use crate::hpa::NotDecided;
use crate::journal::{Entry, EventHeldBack, OutageBegan, OutageEnded};

impl Index {
    /// Asks for the events that follow from a decision.
    pub(super) fn tell(&mut self, key: &Key, now: Instant) {
        let Some(autoscaler) = self.autoscalers.get_mut(key) else { return };
        let Autoscaler { state: Ok(active), told, .. } = autoscaler else { return };
        let mut news = told.news(active);
        let changes = std::mem::take(&mut active.changes);
        if let Some(change) = changes.began {
            let said = announce::unavailable(&change, active, &self.clock);
            OutageBegan { key, signals: change.signals.len(), note: &said.note }.record(&self.journal);
            news.push(said);
        }
        if let Some(change) = changes.ended {
            let said = announce::recovered(&change, active, &self.clock, now);
            OutageEnded { key, signals: change.signals.len(), note: &said.note }.record(&self.journal);
            news.push(said);
        }
        self.announce(key, news, now);
    }

    /// The same for an object of strategy HPA.
    pub(super) fn tell_native(&mut self, key: &Key, now: Instant) {
        let Some(autoscaler) = self.autoscalers.get_mut(key) else { return };
        let Err(NotDecided::Native(native)) = &autoscaler.state else { return };
        let news = autoscaler.told.news_of_native(native);
        self.announce(key, news, now);
    }

    fn announce(&mut self, key: &Key, news: Vec<Announcement>, now: Instant) {
        let Some(Autoscaler { object, told, .. }) = self.autoscalers.get_mut(key) else { return };
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
            Err(NotDecided::Invalid(_)) => true,
            Err(NotDecided::Native(native)) => native.is_settled(now),
            Ok(active) => self.synced.pods && active.is_settled(now),
        }
    }
}

//! The index over a term of leadership: following, leading, stopped.

use std::collections::VecDeque;

use windlass_api::PodAutoscaler;
use windlass_api::status::ScalingRecord;

use super::Index;
use crate::announce::Told;
use crate::autoscaler::Key;

/// What is done with what is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The watches are followed, so that a new leader knows the facts at once. Engines are not asked: it would double
    /// the polls, and a leader may not lower by what it did not decide on anyway until a full window was observed.
    Following,
    /// Engines are asked, targets are decided.
    Leading,
    /// Nothing any more.
    Stopped,
}

impl Phase {
    pub(super) fn leads(self) -> bool {
        self == Self::Leading
    }
}

impl Index {
    pub(crate) fn leads(&self) -> bool {
        self.phase.leads()
    }

    /// Begins to listen and to decide; not after [`Index::stop`].
    pub(crate) fn lead(&mut self) {
        if self.phase != Phase::Following {
            return;
        }
        self.phase = Phase::Leading;
        let keys: Vec<Key> = self.autoscalers.keys().cloned().collect();
        for key in keys {
            if let Some(known) = self.autoscalers.get_mut(&key) {
                // What the leader before us told stands in the object by now.
                known.told = Told::of(&known.object);
            }
            if let Some(Ok(active)) = self.autoscalers.get_mut(&key).map(|known| &mut known.state) {
                active.lead(&key, &self.sink);
            }
            self.status_due.insert(key.clone());
            self.decide(&key);
        }
    }

    /// Decides nothing any more.
    pub(crate) fn stop(&mut self) {
        self.phase = Phase::Stopped;
        self.due.clear();
    }
}

/// What the object's status says was written.
pub(super) fn history_of(object: &PodAutoscaler) -> VecDeque<ScalingRecord> {
    object.status.as_ref().map(|status| status.scaling_history.clone()).unwrap_or_default().into()
}

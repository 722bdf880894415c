//! By which catalogue metrics' names are read.

use std::sync::Arc;

use windlass_metrics::Catalogue;

use super::Index;
use crate::autoscaler::{Autoscaler, Key};

impl Index {
    /// Reads all specs anew by another catalogue, as if each had been changed. What was observed of metrics that mean what
    /// they meant is kept.
    pub(crate) fn use_catalogue(&mut self, catalogue: Arc<Catalogue>) {
        self.catalogue = catalogue;
        for key in self.autoscalers.keys().cloned().collect::<Vec<Key>>() {
            let Some(known) = self.autoscalers.remove(&key) else { continue };
            let due = known.due;
            let object = (*known.object).clone();
            let anew = self.read_spec(&key, object, Some(known));
            self.autoscalers.insert(key.clone(), Autoscaler { due, ..anew });
            self.status_due.insert(key.clone());
            self.decide(&key);
        }
    }
}

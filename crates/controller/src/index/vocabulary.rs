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
        let keys: Vec<Key> = self.autoscalers.keys().cloned().collect();
        for key in &keys {
            let before = self.target_of(key);
            let Some(known) = self.autoscalers.remove(key) else { continue };
            let due = known.due;
            let object = (*known.object).clone();
            let anew = self.read_spec(key, object, Some(known));
            self.autoscalers.insert(key.clone(), Autoscaler { due, ..anew });
            self.status_due.insert(key.clone());
            self.target_left(key, before);
        }
        // Who yields to whom is settled before anybody acts: an object may have become valid, or have ceased to be.
        for key in &keys {
            if let Some(target) = self.target_of(key) {
                self.find_conflicts(&key.namespace, &target.name);
            }
        }
        for key in &keys {
            self.decide(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use windlass_api::Source;

    use super::*;
    use crate::index::tests::{World, key};

    #[test]
    fn another_catalogue_is_in_force_at_once() {
        let mut world = World::new();
        let file = "[[engine]]\nname = \"mine\"\ntitle = \"Mine\"\nprefixes = [\"mine_\"]\n[[metric]]\nname = \"inflight\"\n\
            [[metric.alias]]\nengine = \"mine\"\ntype = \"gauge\"\nadd = [\"mine_jobs\"]\n";
        world.index.use_catalogue(Arc::new(Catalogue::builtin().extended(file).unwrap()));
        let active = world.index.autoscalers[&key()].state.as_ref().ok().unwrap();
        let Source::Pod(source) = &active.resolved.sources[0] else { panic!("a pod's page") };
        assert_eq!(source.metric.aliases[0].engine, "mine");
        assert!(world.index.status_due.contains(&key()));
    }
}

//! Which kinds of targets are watched: those that some PodAutoscaler names.

use kube::core::GroupVersionKind;
use windlass_api::TargetRef;

use super::{Index, Task};
use crate::autoscaler::Key;

pub(super) fn kind_of(target: &TargetRef) -> GroupVersionKind {
    GroupVersionKind::gvk(target.group(), target.version(), &target.kind)
}

impl Index {
    pub(super) fn target_of(&self, key: &Key) -> Option<TargetRef> {
        self.autoscalers.get(key)?.target().cloned()
    }

    /// A PodAutoscaler that scaled `before` does not, or no longer, if that is what it scales now.
    pub(super) fn target_left(&mut self, key: &Key, before: Option<TargetRef>) {
        let Some(before) = before else { return };
        let now = self.target_of(key);
        if now.as_ref() == Some(&before) {
            return;
        }
        self.find_conflicts(&key.namespace, &before.name);
        self.note_all_shared(key);
        let kind = kind_of(&before);
        let names = |target: &TargetRef| kind_of(target) == kind;
        let mut active = self.autoscalers.values().filter_map(|known| known.state.as_ref().ok());
        if !active.any(|active| names(&active.resolved.target)) && self.kinds.remove(&kind).is_some() {
            (self.tasks)(Task::EndWatch(kind));
        }
    }

    /// Whether all that could write to a target is known: then whoever is to yield does so from the start.
    pub(crate) fn knows_writers(&self) -> bool {
        self.synced.autoscalers && self.hpas.are_known()
    }
}

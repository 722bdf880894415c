//! Pods that count for two targets. The chain of controllers says whose most pods are, whatever selectors match them;
//! what is left are pods without a controller, or whose controllers cannot be found out.

use windlass_scaling::PodUid;

use super::Index;
use crate::autoscaler::{Active, Key};

impl Index {
    /// Notes at each target that counts this pod who else does. Two autoscalers of one target are a conflict and no
    /// matter of this.
    pub(super) fn note_shared(&mut self, namespace: &str, uid: PodUid) {
        let counts =
            |active: &Active| active.members.get(&uid).is_some_and(crate::autoscaler::Member::counts);
        let counting: Vec<_> = self
            .active_in(namespace)
            .filter(|(_, active)| counts(active) || active.shared.contains_key(&uid))
            .map(|(key, active)| (key.clone(), counts(active).then(|| active.resolved.target.clone())))
            .collect();
        for (key, target) in &counting {
            let other = counting.iter().find(|(other, others)| {
                let both = target.as_ref().zip(others.as_ref());
                other != key && both.is_some_and(|(target, other)| !target.same_object(other))
            });
            let Some(Ok(active)) = self.autoscalers.get_mut(key).map(|known| &mut known.state) else {
                continue;
            };
            match other {
                Some((other, _)) => drop(active.shared.insert(uid, other.clone())),
                None => drop(active.shared.remove(&uid)),
            }
            self.status_due.insert(key.clone());
        }
    }

    /// A target's pods were placed anew, or it is gone: looks again at those that it may share with others.
    pub(super) fn note_all_shared(&mut self, key: &Key) {
        let with_it = self.active_in(&key.namespace).flat_map(|(other, active)| {
            let with_it = active.shared.iter().filter(move |(_, with)| *with == key || other == key);
            with_it.map(|(uid, _)| *uid)
        });
        let mut pods: Vec<PodUid> = with_it.collect();
        if let Some(Ok(active)) = self.autoscalers.get(key).map(|known| &known.state) {
            let unsure = active.members.values().filter(|member| member.is_shareable());
            pods.extend(unsure.map(|member| member.entry.uid));
        }
        pods.sort_unstable();
        pods.dedup();
        for uid in pods {
            self.note_shared(&key.namespace, uid);
        }
    }
}

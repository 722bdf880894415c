//! Which pods are whose: by the selector of `/scale`, and by the chain of controllers above a pod.
//!
//! A start with a thousand targets brings thousands of pods and controllers at once: what one of them costs must not grow
//! with the others beyond a look at each target's selector.

use std::collections::{HashMap, HashSet};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use windlass_scaling::PodUid;

use super::{Index, Task};
use crate::autoscaler::{Active, Key, Member, Membership};
use crate::pod::{ControllerRef, PodEntry};

/// Controllers remembered at most.
const MOST_OWNERS: usize = 20_000;
/// The longest chain of controllers that is walked.
const LONGEST_CHAIN: usize = 8;

/// Who controls an object, as far as it was found out.
#[derive(Debug, Clone)]
pub(super) enum Owner {
    Asked,
    Known(Option<ControllerRef>),
    Unknown(String),
}

impl Index {
    pub(crate) fn apply_pod(&mut self, pod: Pod) -> Option<(String, PodUid)> {
        let namespace = pod.namespace().unwrap_or_default();
        let uid = pod.metadata.uid.as_deref().and_then(crate::pod::parse_uid).map(PodUid)?;
        let pods = self.pods.entry(namespace.clone()).or_default();
        match PodEntry::read(pod, pods.get(&uid), &self.clock) {
            Some(entry) => {
                pods.insert(uid, entry.clone());
                self.place_pod(&namespace, &entry);
            }
            None => self.delete_pod(&namespace, uid),
        }
        Some((namespace, uid))
    }

    /// Puts a pod where its labels and controllers say it belongs.
    fn place_pod(&mut self, namespace: &str, entry: &PodEntry) {
        let concerned = self.active_in(namespace).filter_map(|(key, active)| {
            let scale = active.scale.as_ref().ok()?;
            let selected = scale.selects(entry).then(|| scale.uid.clone());
            let is_member = active.members.contains_key(&entry.uid);
            (selected.is_some() || is_member).then(|| (key.clone(), selected))
        });
        let concerned: Vec<_> = concerned.collect();
        let several = concerned.len() > 1;
        for (key, selected) in concerned {
            let membership =
                selected.map(|target| membership(&mut self.owners, &self.tasks, namespace, entry, &target));
            self.update(&key, |active| {
                let known = active.members.remove(&entry.uid);
                let (silences, engines) =
                    known.map(|member| (member.silences, member.engines)).unwrap_or_default();
                if let Some(membership) = membership {
                    let member = Member { entry: entry.clone(), membership, silences, engines };
                    active.members.insert(entry.uid, member);
                }
            });
        }
        if several {
            self.note_shared(namespace, entry.uid);
        }
    }

    /// Takes the pods that a target's selector selects, and no others.
    pub(super) fn place_all_in(&mut self, key: &Key) {
        let Some(Ok(active)) = self.autoscalers.get_mut(key).map(|autoscaler| &mut autoscaler.state) else {
            return;
        };
        let mut known = std::mem::take(&mut active.members);
        let Ok(scale) = &active.scale else { return self.note_all_shared(key) };
        let pods = self.pods.get(&key.namespace).into_iter().flat_map(HashMap::values);
        let members = pods.filter(|entry| scale.selects(entry)).map(|entry| {
            let membership = membership(&mut self.owners, &self.tasks, &key.namespace, entry, &scale.uid);
            // Who is selected still is read on.
            let known = known.remove(&entry.uid).map(|member| (member.silences, member.engines));
            let (silences, engines) = known.unwrap_or_default();
            (entry.uid, Member { entry: entry.clone(), membership, silences, engines })
        });
        active.members = members.collect();
        self.note_all_shared(key);
    }

    pub(crate) fn delete_pod(&mut self, namespace: &str, uid: PodUid) {
        let Some(pods) = self.pods.get_mut(namespace) else { return };
        if pods.remove(&uid).is_none() {
            return;
        }
        let with_it = self.active_in(namespace).filter(|(_, active)| active.members.contains_key(&uid));
        for key in with_it.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            self.update(&key, |active| {
                active.members.remove(&uid);
                active.shared.remove(&uid);
            });
        }
    }

    pub(crate) fn pod_deleted(&mut self, pod: &Pod) {
        if let Some(uid) = pod.metadata.uid.as_deref().and_then(crate::pod::parse_uid) {
            self.delete_pod(&pod.namespace().unwrap_or_default(), PodUid(uid));
        }
    }

    pub(crate) fn retain_pods(&mut self, listed: &HashSet<(String, PodUid)>) {
        self.synced.pods = true;
        let all =
            self.pods.iter().flat_map(|(namespace, pods)| pods.keys().map(|uid| (namespace.clone(), *uid)));
        let gone: Vec<_> = all.filter(|pod| !listed.contains(pod)).collect();
        for (namespace, uid) in gone {
            self.delete_pod(&namespace, uid);
        }
    }

    pub(crate) fn owner_found(
        &mut self,
        namespace: &str,
        uid: &str,
        owner: Result<Option<ControllerRef>, String>,
    ) {
        let owner = match owner {
            Ok(owner) => Owner::Known(owner),
            Err(problem) => Owner::Unknown(problem),
        };
        let full = self.owners.len() >= MOST_OWNERS;
        if full {
            // Most are of rollouts long gone; the others are asked for again.
            self.owners.clear();
        }
        self.owners.insert(uid.to_owned(), owner);
        let owners = &self.owners;
        let waits = |member: &&Member| is_unsure(member) && (full || hangs_on(owners, &member.entry, uid));
        let again: HashMap<PodUid, PodEntry> = self
            .active_in(namespace)
            .flat_map(|(_, active)| active.members.values().filter(waits))
            .map(|member| (member.entry.uid, member.entry.clone()))
            .collect();
        for entry in again.into_values() {
            self.place_pod(namespace, &entry);
        }
    }

    /// Whether a pod of some target still hangs on this owner.
    /// If none does, the owner is forgotten, to be asked for again by the next pod.
    pub(crate) fn asks_for_owner(&mut self, namespace: &str, uid: &str) -> bool {
        let on_owner = |member: &Member| {
            let direct = member.entry.controller.as_ref().is_some_and(|controller| controller.uid == uid);
            direct || matches!(member.membership, Membership::Unverified(_))
        };
        let asked = |active: &Active| active.members.values().any(on_owner);
        let asked = self.active_in(namespace).any(|(_, active)| asked(active));
        if !asked {
            self.owners.remove(uid);
        }
        asked
    }
}

/// Whether it is not known yet, or cannot be known, whose a pod is.
fn is_unsure(member: &Member) -> bool {
    matches!(member.membership, Membership::Pending | Membership::Unverified(_))
}

/// Whether this controller stands above a pod, as far as the chain is known.
fn hangs_on(owners: &HashMap<String, Owner>, entry: &PodEntry, uid: &str) -> bool {
    let mut link = entry.controller.as_ref();
    for _ in 0..LONGEST_CHAIN {
        let Some(controller) = link else { return false };
        if controller.uid == uid {
            return true;
        }
        link = match owners.get(&controller.uid) {
            Some(Owner::Known(next)) => next.as_ref(),
            Some(_) => return false,
            // Forgotten since: it may, and is asked for again.
            None => return true,
        };
    }
    false
}

/// Walks from a pod to the target, as far as the owners are known; asks for the first that is not.
fn membership(
    owners: &mut HashMap<String, Owner>,
    tasks: &dyn Fn(Task),
    namespace: &str,
    entry: &PodEntry,
    target_uid: &str,
) -> Membership {
    let Some(mut controller) = entry.controller.clone() else { return Membership::Own };
    for _ in 0..LONGEST_CHAIN {
        if controller.uid == target_uid {
            return Membership::Own;
        }
        match owners.get(&controller.uid) {
            Some(Owner::Known(Some(next))) => controller = next.clone(),
            Some(Owner::Known(None)) => return Membership::Foreign,
            Some(Owner::Asked) => return Membership::Pending,
            Some(Owner::Unknown(problem)) => return Membership::Unverified(problem.clone()),
            None => {
                owners.insert(controller.uid.clone(), Owner::Asked);
                tasks(Task::ReadOwner { namespace: namespace.to_owned(), object: controller });
                return Membership::Pending;
            }
        }
    }
    Membership::Unverified(format!("more than {LONGEST_CHAIN} controllers above pod {}", entry.name()))
}

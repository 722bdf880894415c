//! Which pods and workloads there are, and what each pod is told because of it. No I/O.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::sync::watch;

use super::annotations::{Annotations, Settings, Share};
use super::objects::{Controller, Pod, Uid, Workload, WorkloadKind};
use crate::mock_engine::Script;

/// What a pod is told. When the sender is gone, so is the pod (or the agent).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Orders {
    /// How to live and what to report; `None` until the pod's owner is known.
    pub(super) part: Option<(Settings, Script)>,
    /// The grace period, once the pod is being deleted.
    pub(super) deleting: Option<Duration>,
}

/// A pod that is to be started, and its orders.
pub(super) struct NewPod {
    pub(super) pod: Pod,
    pub(super) orders: watch::Receiver<Orders>,
}

/// Owners and pods by UID.
#[derive(Default)]
pub(super) struct Registry {
    workloads: HashMap<Uid, Workload>,
    pods: HashMap<Uid, KnownPod>,
    /// From a controller to what it controls, pods and workloads. A controller may be unknown here.
    controlled: HashMap<Uid, HashSet<Uid>>,
}

struct KnownPod {
    pod: Pod,
    orders: watch::Sender<Orders>,
    /// Which of its workload's engines it is, once that mattered: the first turn that no pod beside it has.
    turn: OnceCell<usize>,
}

/// The object whose settings and replicas count for a pod.
enum Root<'a> {
    /// A chain link that is watched but not seen yet, or deleted.
    Unknown,
    /// The topmost watched workload above the pod.
    Workload(&'a Workload),
    /// No watched workload: the pods of a foreign controller share among themselves, a bare pod is alone.
    Foreign(Option<&'a Uid>),
}

impl Registry {
    /// A workload was created or changed.
    pub(super) fn apply_workload(&mut self, workload: Workload) {
        if self.workloads.get(&workload.uid) == Some(&workload) {
            return;
        }
        let uid = workload.uid.clone();
        let before = self.workloads.get(&uid).and_then(|known| known.controller.clone());
        self.relink(&uid, before.as_ref(), workload.controller.as_ref());
        self.workloads.insert(uid.clone(), workload);
        self.refresh_below(&uid);
    }

    /// A workload was deleted. Its pods keep their last orders until they are deleted themselves.
    pub(super) fn remove_workload(&mut self, uid: &Uid) {
        if let Some(workload) = self.workloads.remove(uid) {
            self.relink(uid, workload.controller.as_ref(), None);
        }
    }

    /// All workloads of one kind, after a watch began anew.
    pub(super) fn resync_workloads(&mut self, kind: WorkloadKind, all: Vec<Workload>) {
        let alive: HashSet<&Uid> = all.iter().map(|workload| &workload.uid).collect();
        let of_kind = self.workloads.values().filter(|workload| workload.kind == kind);
        let gone = of_kind.map(|workload| &workload.uid).filter(|uid| !alive.contains(uid)).cloned();
        for uid in gone.collect::<Vec<_>>() {
            self.remove_workload(&uid);
        }
        for workload in all {
            self.apply_workload(workload);
        }
    }

    /// A pod was created or changed. Returns it when it is new and to be started.
    pub(super) fn apply_pod(&mut self, pod: &Pod) -> Option<NewPod> {
        let before =
            self.pods.get(&pod.uid).map(|known| (known.pod.controller.clone(), known.pod.is_ready()));
        let siblings_changed = before.as_ref() != Some(&(pod.controller.clone(), pod.is_ready()));
        self.relink(
            &pod.uid,
            before.and_then(|(controller, _)| controller).as_ref(),
            pod.controller.as_ref(),
        );
        let started = if let Some(known) = self.pods.get_mut(&pod.uid) {
            known.pod = pod.clone();
            None
        } else {
            let (sender, orders) = watch::channel(Orders { part: None, deleting: pod.deleting });
            self.pods.insert(
                pod.uid.clone(),
                KnownPod { pod: pod.clone(), orders: sender, turn: OnceCell::new() },
            );
            Some(NewPod { pod: pod.clone(), orders })
        };
        if let Some(known) = self.pods.get(&pod.uid) {
            self.refresh(known, &OnceCell::new());
        }
        if siblings_changed {
            self.refresh_siblings(pod);
        }
        started
    }

    /// A pod is gone from the API server. Dropping the sender of its orders ends it here.
    pub(super) fn remove_pod(&mut self, uid: &Uid) {
        if let Some(KnownPod { pod, .. }) = self.pods.remove(uid) {
            self.relink(uid, pod.controller.as_ref(), None);
            self.refresh_siblings(&pod);
        }
    }

    /// The pods that are not among `alive` are gone.
    pub(super) fn retain_pods(&mut self, alive: &HashSet<Uid>) {
        let gone: Vec<Uid> = self.pods.keys().filter(|uid| !alive.contains(*uid)).cloned().collect();
        for uid in gone {
            self.remove_pod(&uid);
        }
    }

    fn relink(&mut self, uid: &Uid, before: Option<&Controller>, after: Option<&Controller>) {
        if before == after {
            return;
        }
        if let Some(controller) = before
            && let Some(controlled) = self.controlled.get_mut(&controller.uid)
        {
            controlled.remove(uid);
            if controlled.is_empty() {
                self.controlled.remove(&controller.uid);
            }
        }
        if let Some(controller) = after {
            self.controlled.entry(controller.uid.clone()).or_default().insert(uid.clone());
        }
    }

    fn root<'a>(&'a self, pod: &'a Pod) -> Root<'a> {
        let mut link = pod.controller.as_ref();
        let mut top = None;
        while let Some(controller) = link.filter(|controller| controller.kind != WorkloadKind::Foreign) {
            let Some(workload) = self.workloads.get(&controller.uid) else {
                return Root::Unknown;
            };
            top = Some(workload);
            link = workload.controller.as_ref();
        }
        match top {
            Some(workload) => Root::Workload(workload),
            None => Root::Foreign(pod.controller.as_ref().map(|controller| &controller.uid)),
        }
    }

    /// The pods under this object, at any depth. All have the same root.
    fn pods_below(&self, uid: &Uid) -> Vec<&KnownPod> {
        let mut found = Vec::new();
        let mut open = vec![uid];
        while let Some(uid) = open.pop() {
            for child in self.controlled.get(uid).into_iter().flatten() {
                match self.pods.get(child) {
                    Some(pod) => found.push(pod),
                    None => open.push(child),
                }
            }
        }
        found
    }

    /// A pod's settings and its share of the total; `None` while its owner is not known. The `census` is taken when
    /// it is needed first, and is the same for all pods of a root.
    fn part(&self, known: &KnownPod, census: &OnceCell<Census>) -> Option<(Settings, Script)> {
        let pod = &known.pod;
        let (owner, replicas, group) = match self.root(pod) {
            Root::Unknown => return None,
            Root::Workload(workload) => (workload.annotations, Some(workload.replicas), Some(&workload.uid)),
            Root::Foreign(controller) => (Annotations::default(), None, controller),
        };
        let mut settings = pod.annotations.or(owner);
        let census = || {
            census.get_or_init(|| {
                let alone = Census { pods: 1.0, ready: 1.0 };
                group.map_or(alone, |group| Census::of(&self.pods_below(group)))
            })
        };
        let parts = match (settings.share, replicas) {
            (Share::Ready, _) => census().ready,
            (Share::Replicas, Some(replicas)) => replicas,
            (Share::Replicas, None) => census().pods,
        };
        // The last pod of an owner set to 0, and the first before it counts as ready, are one part.
        let parts = parts.max(1.0);
        let share = settings.total / parts;
        settings.cpu = settings.cpu.map(|cpu| cpu.of(parts));
        settings.memory = settings.memory.map(|memory| memory.of(parts));
        let Settings { metric: gauges, noise, fault, fault_scope, exporter, .. } = settings;
        let turn = || *known.turn.get_or_init(|| self.first_free_turn(group));
        let engine = settings.engine.of_turn(if settings.engine.are_mixed() { turn() } else { 0 });
        Some((settings, Script { share, noise, gauges, fault, fault_scope, engine, exporter }))
    }

    /// The first turn that no pod of this root has.
    fn first_free_turn(&self, root: Option<&Uid>) -> usize {
        let pods = root.map(|root| self.pods_below(root)).unwrap_or_default();
        let taken: HashSet<usize> = pods.iter().filter_map(|known| known.turn.get().copied()).collect();
        (0..=taken.len()).find(|turn| !taken.contains(turn)).unwrap_or_default()
    }

    fn refresh(&self, known: &KnownPod, census: &OnceCell<Census>) {
        let part = self.part(known, census);
        known.orders.send_if_modified(|orders| {
            let next = Orders { part: part.or(orders.part), deleting: known.pod.deleting };
            let changed = *orders != next;
            *orders = next;
            changed
        });
    }

    fn refresh_below(&self, uid: &Uid) {
        let census = OnceCell::new();
        for known in self.pods_below(uid) {
            self.refresh(known, &census);
        }
    }

    /// Refreshes the pods under this pod's root whose share depends on which pods there are.
    fn refresh_siblings(&self, pod: &Pod) {
        let (group, by_replicas) = match self.root(pod) {
            Root::Workload(workload) => (&workload.uid, true),
            Root::Foreign(Some(controller)) => (controller, false),
            Root::Foreign(None) | Root::Unknown => return,
        };
        let census = OnceCell::new();
        for known in self.pods_below(group) {
            let share = known.orders.borrow().part.map(|(settings, _)| settings.share);
            if share == Some(Share::Ready) || !by_replicas {
                self.refresh(known, &census);
            }
        }
    }
}

/// The pods of one root.
struct Census {
    pods: f64,
    ready: f64,
}

impl Census {
    fn of(pods: &[&KnownPod]) -> Self {
        let ready = pods.iter().filter(|known| known.pod.is_ready()).count();
        Self { pods: pods.len() as f64, ready: ready as f64 }
    }
}

#[cfg(test)]
mod tests;

//! The HorizontalPodAutoscalers of the cluster: ours are kept as they should be, others' are known by their targets.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::autoscaling::v2::{HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, Time};
use windlass_api::{PodAutoscaler, TargetRef, hpa};
use windlass_scaling::{Instant, Mode};

use super::{Index, Rival, RivalKind, Task};
use crate::autoscaler::{Key, ScaleProblem, TICK};
use crate::hpa::{
    Change, FAILED_GET_HPA, FAILED_UPDATE_HPA, HPA_NOT_OURS, Handover, HpaRequest, Mirror, NotDecided,
    WAITING_FOR_HPA, is_owned,
};
use crate::journal::{Entry, HpaRecommended};
use crate::pace::Pace;
use crate::write::FIELD_MANAGER;

/// How often a HorizontalPodAutoscaler's controller looks at each, unless it is told otherwise: kube-controller-manager's
/// default of `--horizontal-pod-autoscaler-sync-period`.
const SYNC_PERIOD: Duration = Duration::from_secs(15);
/// After a failed write the next attempt waits this long, doubling up to the longest.
const BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_mins(1);
/// After one that somebody came in between of, the watch is given this long.
const SHORT_PAUSE: Duration = Duration::from_millis(250);

/// One is put back so many times at once, then one time in this span: somebody else may want it otherwise.
const BURST: u32 = 10;
const PUT_BACK_EVERY: Duration = Duration::from_secs(30);

/// All that are known, and what is under way about ours.
pub(crate) struct Hpas {
    /// Without managed fields and annotations.
    known: HashMap<Key, Arc<HorizontalPodAutoscaler>>,
    /// The list is complete.
    listed: bool,
    /// Why it will not be, unless somebody grants it.
    refused: Option<String>,
    /// By PodAutoscaler: the writes of its HorizontalPodAutoscaler.
    writes: HashMap<Key, Writes>,
    /// By PodAutoscaler: when its HorizontalPodAutoscaler was seen to be gone.
    gone: HashMap<Key, Instant>,
    /// By PodAutoscaler: writes of `/scale` that were begun and have not ended.
    scale_writes: HashMap<Key, u32>,
    sync_period: Duration,
}

/// Where the writes of one HorizontalPodAutoscaler stand.
struct Writes {
    under_way: bool,
    not_before: Option<Instant>,
    backoff: Duration,
    problem: Option<String>,
    /// What was written last: the same again puts back what somebody changed.
    last: Option<HorizontalPodAutoscalerSpec>,
    pace: Pace,
    /// It is changed faster than it is put back.
    contested: bool,
    /// What was said last of what is only recommended.
    recommended: Option<&'static str>,
}

impl Default for Writes {
    fn default() -> Self {
        Self {
            under_way: false,
            not_before: None,
            backoff: BACKOFF,
            problem: None,
            last: None,
            pace: Pace::new(BURST, PUT_BACK_EVERY),
            contested: false,
            recommended: None,
        }
    }
}

impl Writes {
    /// Why it is not what it should be, or does not stay so.
    fn problem_of(&self, name: &str) -> Option<String> {
        let contested = || {
            format!(
                "somebody changes the HorizontalPodAutoscaler {name} as often as it is put back, so that is done every {} s \
                 only; `kubectl get hpa {name} -o yaml --show-managed-fields` tells who",
                PUT_BACK_EVERY.as_secs()
            )
        };
        self.problem.clone().or_else(|| self.contested.then(contested))
    }
}

impl Default for Hpas {
    fn default() -> Self {
        Self {
            known: HashMap::new(),
            listed: false,
            refused: None,
            writes: HashMap::new(),
            gone: HashMap::new(),
            scale_writes: HashMap::new(),
            sync_period: SYNC_PERIOD,
        }
    }
}

impl Hpas {
    /// Whether there is nothing more to be learnt of them by waiting.
    pub(super) fn are_known(&self) -> bool {
        self.listed || self.refused.is_some()
    }

    /// What there is under the name that the PodAutoscaler's would have.
    fn named_for(&self, key: &Key) -> Option<&Arc<HorizontalPodAutoscaler>> {
        self.known.get(&Key { namespace: key.namespace.clone(), name: hpa::name_of(&key.name) })
    }

    fn owned_by(&self, key: &Key, owner: &str) -> Option<&Arc<HorizontalPodAutoscaler>> {
        self.named_for(key).filter(|hpa| is_owned(hpa, owner))
    }

    /// Keeps it, unless a newer version of it is known. Versions are numbers, though the API only says that they differ.
    fn store(&mut self, key: &Key, mut hpa: HorizontalPodAutoscaler) {
        let version = |hpa: &HorizontalPodAutoscaler| -> Option<u64> {
            hpa.metadata.resource_version.as_ref()?.parse().ok()
        };
        let known = self.known.get(key).filter(|known| known.metadata.uid == hpa.metadata.uid);
        if known.is_some_and(|known| version(known) > version(&hpa)) {
            return;
        }
        keep_of_managed_fields(&mut hpa);
        hpa.metadata.annotations = None;
        self.known.insert(key.clone(), Arc::new(hpa));
    }

    pub(super) fn scale_write_began(&mut self, key: &Key) {
        *self.scale_writes.entry(key.clone()).or_default() += 1;
    }

    pub(super) fn scale_write_ended(&mut self, key: &Key) {
        if let Some(writes) = self.scale_writes.get_mut(key) {
            *writes = writes.saturating_sub(1);
        }
        self.scale_writes.retain(|_, writes| *writes > 0);
    }

    pub(super) fn forget_autoscaler(&mut self, key: &Key) {
        self.writes.remove(key);
        self.gone.remove(key);
    }

    /// What has to be done so that there is what is desired; or why it cannot be.
    fn change(
        &self,
        key: &Key,
        owner: &str,
        desired: Option<HorizontalPodAutoscaler>,
    ) -> Result<Option<Change>, ScaleProblem> {
        let problem = |reason, message| Err(ScaleProblem { reason, message });
        match (&self.refused, self.listed) {
            (Some(why), false) => {
                return problem(FAILED_GET_HPA, format!("horizontalpodautoscalers cannot be listed: {why}"));
            }
            (None, false) => return Ok(None),
            _ => {}
        }
        match (self.named_for(key), desired) {
            (Some(hpa), desired) if is_owned(hpa, owner) => {
                Ok(if hpa.metadata.deletion_timestamp.is_some() {
                    None
                } else if let Some(desired) = desired {
                    (!hpa::agrees(hpa, &desired)).then(|| Change::Update(Box::new(desired)))
                } else {
                    Some(Change::Remove(hpa.metadata.uid.clone().unwrap_or_default()))
                })
            }
            (Some(hpa), Some(_)) => problem(HPA_NOT_OURS, not_ours(key, hpa)),
            // A write of ours that is under way is finished first.
            (None, Some(_)) if self.scale_writes.contains_key(key) => Ok(None),
            (None, Some(desired)) => Ok(Some(Change::Create(Box::new(desired)))),
            (_, None) => Ok(None),
        }
    }
}

/// Of who wrote it, only whether we did is of use.
fn keep_of_managed_fields(hpa: &mut HorizontalPodAutoscaler) {
    let fields = hpa.metadata.managed_fields.take().unwrap_or_default();
    let own = fields.into_iter().find(|entry| entry.manager.as_deref() == Some(FIELD_MANAGER));
    hpa.metadata.managed_fields = own.map(|entry| vec![ManagedFieldsEntry { fields_v1: None, ..entry }]);
}

/// Whether it was ever written here: another controller of the same objects may have made it, and be using it.
fn was_written_here(hpa: &HorizontalPodAutoscaler) -> bool {
    hpa.metadata.managed_fields.is_some()
}

fn not_ours(key: &Key, hpa: &HorizontalPodAutoscaler) -> String {
    let name = hpa.metadata.name.as_deref().unwrap_or_default();
    let mut owners = hpa.metadata.owner_references.iter().flatten();
    if owners.any(|owner| owner.kind == "PodAutoscaler" && owner.name == key.name) {
        return format!(
            "the HorizontalPodAutoscaler {name} is of an earlier object of this name and is left alone; it is created anew \
             when it has been garbage-collected"
        );
    }
    format!(
        "the HorizontalPodAutoscaler {name} exists and is not this object's, so it is left alone; delete it, or rename \
         this PodAutoscaler"
    )
}

impl Index {
    /// Sets how long a HorizontalPodAutoscaler's controller may still write after it is gone.
    pub(crate) fn with_hpa_sync_period(mut self, sync_period: Option<Duration>) -> Self {
        self.hpas.sync_period = sync_period.unwrap_or(SYNC_PERIOD);
        self
    }

    pub(crate) fn apply_hpa(&mut self, hpa: HorizontalPodAutoscaler) {
        let key = crate::hpa::key_of(&hpa);
        self.rival_seen(RivalKind::HorizontalPodAutoscaler, &key.namespace, &key.name, &Rival::of_hpa(&hpa));
        self.hpas.store(&key, hpa);
        self.hpa_changed(&key);
    }

    pub(crate) fn hpa_deleted(&mut self, key: &Key) {
        self.rival_gone(RivalKind::HorizontalPodAutoscaler, &key.namespace, &key.name);
        self.hpa_gone(key);
        self.hpa_changed(key);
    }

    /// One that scaled this object is gone: who scales it now waits for what its controller may have begun.
    pub(super) fn settle(&mut self, namespace: &str, target: &TargetRef) {
        let now = self.clock.now();
        let concerned =
            self.active_in(namespace).filter(|(_, active)| active.resolved.target.same_object(target));
        let keys: Vec<Key> = concerned.map(|(key, _)| key.clone()).collect();
        self.hpas.gone.extend(keys.into_iter().map(|key| (key, now)));
    }

    /// Notes when one of ours went.
    fn hpa_gone(&mut self, key: &Key) {
        let (Some(hpa), Some(of)) = (self.hpas.known.remove(key), autoscaler_of(key)) else { return };
        let uid = self.autoscalers.get(&of).and_then(|known| known.object.metadata.uid.clone());
        if uid.is_some_and(|uid| is_owned(&hpa, &uid)) {
            self.hpas.gone.insert(of, self.clock.now());
        }
    }

    /// After a new list: what is not in it is gone.
    pub(crate) fn retain_hpas(&mut self, listed: &HashSet<Key>) {
        let gone: Vec<Key> = self.hpas.known.keys().filter(|key| !listed.contains(*key)).cloned().collect();
        for key in gone {
            self.hpa_deleted(&key);
        }
        if !std::mem::replace(&mut self.hpas.listed, true) {
            self.decide_all();
        }
    }

    /// They may not be listed, or the API server has none.
    pub(crate) fn hpas_refused(&mut self, why: String) {
        if self.hpas.refused.replace(why).is_none() && !self.hpas.listed {
            self.decide_all();
        }
    }

    fn decide_all(&mut self) {
        for key in self.autoscalers.keys().cloned().collect::<Vec<_>>() {
            self.decide(&key);
        }
    }

    fn hpa_changed(&mut self, key: &Key) {
        if let Some(of) = autoscaler_of(key).filter(|of| self.autoscalers.contains_key(of)) {
            self.status_due.insert(of.clone());
            self.decide(&of);
        }
    }

    /// An object that was met for the first time: a HorizontalPodAutoscaler that its last status tells of may have been
    /// removed just now, by the process before this one.
    pub(super) fn note_former_strategy(&mut self, key: &Key, object: &PodAutoscaler) {
        let mut conditions = object.status.iter().flat_map(|status| &status.conditions);
        // ScalingLimited is a HorizontalPodAutoscaler's alone; one without a generation was left by AIBrix.
        let tells = conditions.any(|condition| {
            condition.reason == WAITING_FOR_HPA
                || (condition.type_ == "ScalingLimited" && condition.observed_generation.is_some())
        });
        if tells {
            self.hpas.gone.insert(key.clone(), self.clock.now());
        }
    }

    /// Whether a strategy of our own may write. Asks for the removal of the HorizontalPodAutoscaler that is in its way.
    pub(super) fn hand_over(&mut self, key: &Key, now: Instant) -> Handover {
        let Some(autoscaler) = self.autoscalers.get(key).filter(|known| known.state.is_ok()) else {
            return Handover::Done;
        };
        if !self.hpas.listed {
            // Who may not know of any must go on all the same.
            return if self.hpas.refused.is_some() { Handover::Done } else { Handover::Unlisted };
        }
        let (owner, name) =
            (autoscaler.object.metadata.uid.clone().unwrap_or_default(), hpa::name_of(&key.name));
        let writes =
            autoscaler.state.as_ref().is_ok_and(|active| active.resolved.policy.hold.mode == Mode::Auto);
        let in_the_way = self.hpas.owned_by(key, &owner).filter(|hpa| writes || was_written_here(hpa));
        if let Some(hpa) = in_the_way {
            let uid = hpa.metadata.uid.clone().unwrap_or_default();
            if hpa.metadata.deletion_timestamp.is_none() {
                self.ask_for(key, owner, Change::Remove(uid), now);
            }
            let problem = self.hpas.writes.get(key).and_then(|writes| writes.problem.clone());
            return Handover::Removing { name, problem };
        }
        if self.hpas.writes.get(key).is_some_and(|writes| writes.under_way) {
            return Handover::Removing { name, problem: None };
        }
        match self.hpas.gone.get(key) {
            Some(gone) if now - *gone < self.hpas.sync_period => Handover::Settling,
            _ => {
                self.hpas.forget_autoscaler(key);
                Handover::Done
            }
        }
    }

    /// Looks whether the HorizontalPodAutoscaler of an object is what it should be, and asks for what is missing.
    pub(super) fn follow_hpa(&mut self, key: &Key, now: Instant) {
        let wall = self.clock.to_wall(now);
        let Some(autoscaler) = self.autoscalers.get_mut(key) else { return };
        let owner = autoscaler.object.metadata.uid.clone().unwrap_or_default();
        let Err(NotDecided::Native(native)) = &mut autoscaler.state else { return self.tell(key, now) };
        native.look_at_clock(now, wall);
        let yields = native.conflict.as_ref().is_some_and(|conflict| conflict.yields);
        let desired = hpa::desired(&autoscaler.object, &native.resolved, now);
        let mirror = self.hpas.owned_by(key, &owner).map(|hpa| Mirror::of(hpa));
        let rescale = mirror.as_ref().and_then(Mirror::rescale);
        native.mirror = mirror;
        let recommends = native.resolved.policy.hold.mode == Mode::Recommend;
        let change = match self.hpas.change(key, &owner, desired) {
            Ok(_) if yields => self.hpas.change(key, &owner, None),
            Ok(Some(Change::Remove(_)))
                if recommends
                    && !self.hpas.owned_by(key, &owner).is_some_and(|hpa| was_written_here(hpa)) =>
            {
                Ok(None)
            }
            change => change,
        };
        let name = hpa::name_of(&key.name);
        let write_problem = self.hpas.writes.get(key).and_then(|writes| writes.problem_of(&name));
        native.problem = match &change {
            Err(problem) => Some(problem.clone()),
            Ok(_) => write_problem.map(|message| ScaleProblem { reason: FAILED_UPDATE_HPA, message }),
        };
        let over = native.resolved.policy.hold.order.and_then(|order| order.until);
        let wakes = [native.transition_at, over].into_iter().flatten().filter(|at| *at > now);
        let due = wakes.fold(now + TICK, Instant::min);
        autoscaler.due = Some(due);
        // It is told to the second: the same one again is the same one.
        if let Some(record) = rescale
            && autoscaler.history.back().is_none_or(|last| last.timestamp < record.timestamp)
        {
            autoscaler.remember(record);
        }
        self.due.insert((due, key.clone()));
        self.status_due.insert(key.clone());
        match change {
            Ok(Some(change)) => self.ask_for(key, owner, change, now),
            Ok(None) => {
                if let Some(writes) = self.hpas.writes.get_mut(key) {
                    writes.recommended = None;
                    writes.contested &= !writes.pace.allows(now);
                    if !writes.under_way {
                        writes.problem = None;
                    }
                }
            }
            Err(_) => {}
        }
        self.tell(key, now);
    }

    /// Asks for a write, unless one is under way or failed a moment ago.
    fn ask_for(&mut self, key: &Key, owner: String, change: Change, now: Instant) {
        let writes = self.hpas.writes.entry(key.clone()).or_default();
        if writes.under_way || writes.not_before.is_some_and(|not_before| now < not_before) {
            return;
        }
        let what = change.name();
        let request = HpaRequest { key: key.clone(), owner, name: hpa::name_of(&key.name), change };
        if self.recommend_only {
            if writes.recommended.replace(what) != Some(what) {
                HpaRecommended { request: &request }.record(&self.journal);
            }
            return;
        }
        let puts_back = request.change.spec().is_some_and(|spec| writes.last.as_ref() == Some(spec));
        if puts_back && !writes.pace.take(now) {
            writes.contested = true;
            return;
        }
        writes.contested &= puts_back;
        writes.under_way = true;
        (self.tasks)(Task::Hpa(Box::new(request)));
    }

    /// The end of a write: what the API server has now (none if it was removed), or why not (none if that is nothing wrong).
    pub(crate) fn hpa_written(
        &mut self,
        request: &HpaRequest,
        outcome: Result<Option<HorizontalPodAutoscaler>, Option<String>>,
    ) {
        let now = self.clock.now();
        let key = &request.key;
        let name = Key { namespace: key.namespace.clone(), name: request.name.clone() };
        let writes = self.hpas.writes.entry(key.clone()).or_default();
        writes.under_way = false;
        match outcome.and_then(|hpa| agreed(&request.change, hpa)) {
            Ok(hpa) => {
                let Writes { pace, contested, .. } = *writes;
                let last = request.change.spec().cloned();
                *writes = Writes { last, pace, contested, ..Writes::default() };
                match (hpa, &request.change) {
                    (Some(hpa), _) => self.hpas.store(&name, hpa),
                    (None, Change::Remove(uid)) => self.hpa_leaves(&name, uid),
                    (None, _) => {}
                }
            }
            Err(None) => writes.not_before = Some(now + SHORT_PAUSE),
            Err(Some(problem)) => {
                writes.problem = Some(problem);
                writes.not_before = Some(now + writes.backoff);
                writes.backoff = (writes.backoff * 2).min(LONGEST_BACKOFF);
            }
        }
        if !self.autoscalers.contains_key(key) {
            return self.hpas.forget_autoscaler(key);
        }
        self.status_due.insert(key.clone());
        self.decide(key);
    }

    /// It was removed, and the watch will show when it is gone.
    fn hpa_leaves(&mut self, name: &Key, uid: &str) {
        let now = Time(self.clock.to_wall(self.clock.now()));
        let known = self.hpas.known.get_mut(name);
        if let Some(known) = known.filter(|known| known.metadata.uid.as_deref() == Some(uid)) {
            Arc::make_mut(known).metadata.deletion_timestamp = Some(now);
        }
    }
}

/// Something between us and the object, such as an admission webhook, may know better: then it is not asked for again and
/// again.
fn agreed(
    change: &Change,
    made: Option<HorizontalPodAutoscaler>,
) -> Result<Option<HorizontalPodAutoscaler>, Option<String>> {
    let (Change::Create(desired) | Change::Update(desired)) = change else { return Ok(made) };
    match made {
        Some(made) if !hpa::agrees(&made, desired) => Err(Some(
            "the API server made it another one than was asked for; an admission webhook may change it"
                .to_owned(),
        )),
        made => Ok(made),
    }
}

/// The PodAutoscaler that a HorizontalPodAutoscaler of this name is of, if it is of one.
fn autoscaler_of(key: &Key) -> Option<Key> {
    let name = hpa::autoscaler_of(&key.name)?;
    Some(Key { namespace: key.namespace.clone(), name: name.to_owned() })
}

#[cfg(test)]
mod tests;

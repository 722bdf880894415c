//! Everything known of the cluster, in one place: written by the watches, the polls and the acknowledgements of our
//! writes, each of which ends in the decisions that follow from it.

mod conflicts;
mod hpas;
mod kinds;
mod pods;
mod shared;
mod telling;
mod term;
mod vocabulary;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::ResourceExt;
use kube::core::{ApiResource, GroupVersionKind};
use windlass_api::{PodAutoscaler, Resolved, resolve_by};
use windlass_metrics::Catalogue;
use windlass_scaling::{Instant, Mode, PodUid, attention};
use windlass_scrape::Outcome;

use crate::announce::{self, Announcement, Told};
use crate::autoscaler::{
    Active, Autoscaler, FAILED_GET_SCALE, Key, Pacing, PageId, RequestId, Scale, ScaleProblem, ScaleRequest,
    Shares, Sink, SourceOutcome, SourceReader,
};
use crate::clock::Clock;
use crate::hpa::{HpaRequest, Native, NotDecided};
use crate::journal::{Entry, Journal, Polled, SourcePolled, SpecInvalid};
use crate::pod::{ControllerRef, PodEntry};
use crate::reads::ScaleSource;
pub(crate) use conflicts::{Conflict, Rival, RivalKind};
use hpas::Hpas;
use term::{Phase, history_of};

/// What others have to do after a change of the index.
#[derive(Debug)]
pub(crate) enum Task {
    /// Watch this kind.
    WatchKind(GroupVersionKind),
    /// Nobody names this kind any longer: watch it no more.
    EndWatch(GroupVersionKind),
    /// Ask `/scale` of this PodAutoscaler's target.
    ReadScale(Key),
    /// Find out who controls this object.
    ReadOwner { namespace: String, object: ControllerRef },
    /// Create, update or remove a HorizontalPodAutoscaler.
    Hpa(Box<HpaRequest>),
    /// Write a decision.
    Scale(Box<ScaleRequest>),
    /// Record an event about this object.
    Announce(Box<(ObjectReference, Announcement)>),
}

/// What the watch of a kind of targets knows.
#[derive(Default)]
struct Kind {
    resource: Option<ApiResource>,
    problem: Option<String>,
    synced: bool,
    /// Which object it is, and its generation, by namespace and name.
    objects: HashMap<(String, String), ObjectVersion>,
}

/// Which object of a name this is, and which version of its spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ObjectVersion {
    pub(crate) uid: Option<String>,
    pub(crate) generation: Option<i64>,
}

/// Which of the lists that everything rests on are complete.
#[derive(Debug, Clone, Copy, Default)]
struct Synced {
    autoscalers: bool,
    pods: bool,
}

pub(crate) struct Index {
    pub(crate) clock: Clock,
    pub(crate) autoscalers: BTreeMap<Key, Autoscaler>,
    /// Those whose status may differ from what was written.
    pub(crate) status_due: BTreeSet<Key>,
    pods: HashMap<String, HashMap<PodUid, PodEntry>>,
    kinds: HashMap<GroupVersionKind, Kind>,
    owners: HashMap<String, pods::Owner>,
    pub(crate) hpas: Hpas,
    rivals: conflicts::Rivals,
    due: BTreeSet<(Instant, Key)>,
    sink: Sink,
    tasks: Box<dyn Fn(Task) + Send>,
    journal: Journal,
    synced: Synced,
    origin: tokio::time::Instant,
    phase: Phase,
    recommend_only: bool,
    /// None: every page is read once a second, whatever happens.
    pacing: Option<Pacing>,
    reader: Option<SourceReader>,
    catalogue: Arc<Catalogue>,
}

impl Index {
    pub(crate) fn new(clock: Clock, sink: Sink, tasks: Box<dyn Fn(Task) + Send>, journal: Journal) -> Self {
        Self {
            clock,
            autoscalers: BTreeMap::new(),
            status_due: BTreeSet::new(),
            pods: HashMap::new(),
            kinds: HashMap::new(),
            owners: HashMap::new(),
            hpas: Hpas::default(),
            rivals: conflicts::Rivals::default(),
            due: BTreeSet::new(),
            sink,
            tasks,
            journal,
            synced: Synced::default(),
            origin: tokio::time::Instant::now(),
            phase: Phase::Following,
            recommend_only: false,
            pacing: None,
            reader: None,
            catalogue: Arc::clone(Catalogue::builtin()),
        }
    }

    /// Reads also what is not on the pods' own pages.
    pub(crate) fn reading_by(self, reader: SourceReader) -> Self {
        Self { reader: Some(reader), ..self }
    }

    /// Makes every decision a recommendation, whatever the objects say.
    pub(crate) fn recommending(self, recommend_only: bool) -> Self {
        Self { recommend_only, ..self }
    }

    /// Reads pods' pages as often as needed within these shares.
    pub(crate) fn attending(self, shares: Option<Shares>) -> Self {
        Self { pacing: shares.map(Pacing::new), ..self }
    }

    /// This process used so many cores.
    pub(crate) fn used_processor(&mut self, cores: f64) {
        if let Some(pacing) = &mut self.pacing {
            pacing.used(cores);
        }
    }

    /// How many times too short our own processor is; 1 as well if nothing depends on it.
    pub(crate) fn strain(&self) -> f64 {
        self.pacing.as_ref().map_or(1.0, Pacing::strain)
    }

    // PodAutoscalers

    pub(crate) fn apply_autoscaler(&mut self, object: PodAutoscaler) {
        let key = Key { namespace: object.namespace().unwrap_or_default(), name: object.name_any() };
        let before = self.target_of(&key);
        let uid_of = |known: &Autoscaler| known.object.metadata.uid.clone();
        if self.autoscalers.get(&key).is_some_and(|known| uid_of(known) != object.metadata.uid) {
            // Another object of the same name: what was remembered is not its own.
            self.forget(&key);
        }
        let known = self.autoscalers.remove(&key);
        let same_spec = |known: &Autoscaler| {
            known.object.spec == object.spec
                && known.object.metadata.annotations == object.metadata.annotations
        };
        let autoscaler = match known {
            // Our own status echoes.
            Some(known) if same_spec(&known) => {
                let history = if known.remembers { known.history } else { history_of(&object) };
                Autoscaler { object: Arc::new(object), history, ..known }
            }
            known => {
                self.status_due.insert(key.clone());
                if known.is_none() {
                    self.note_former_strategy(&key, &object);
                }
                self.read_spec(&key, object, known)
            }
        };
        self.autoscalers.insert(key.clone(), autoscaler);
        self.target_left(&key, before);
        if let Some(target) = self.target_of(&key) {
            self.find_conflicts(&key.namespace, &target.name);
        }
        self.decide(&key);
    }

    fn read_spec(&mut self, key: &Key, object: PodAutoscaler, known: Option<Autoscaler>) -> Autoscaler {
        let (history, active, told) = match known {
            Some(known) => (known.remembers.then_some(known.history), known.state.ok(), Some(known.told)),
            None => (None, None, None),
        };
        let told = told.unwrap_or_else(|| Told::of(&object));
        let remembers = history.is_some();
        let history = history.unwrap_or_else(|| history_of(&object));
        let resolved = resolve_by(&object, &self.catalogue).map(|mut resolved| {
            // Of a HorizontalPodAutoscaler it is told what would be done.
            if self.recommend_only && resolved.hpa.is_none() {
                let mode = &mut resolved.policy.hold.mode;
                *mode = (*mode).max(Mode::Recommend);
            }
            resolved
        });
        let now = self.clock.now();
        let native = |resolved| NotDecided::Native(Box::new(Native::new(resolved, now)));
        let own = |resolved: Resolved| {
            if resolved.hpa.is_some() { Err(native(resolved)) } else { Ok(resolved) }
        };
        let state = resolved.map_err(NotDecided::Invalid).and_then(own).map(|resolved| match active {
            Some(mut active) if active.resolved.target == resolved.target => {
                active.adapt(resolved);
                active.refresh_facts(key, self.phase.leads().then_some(&self.sink), self.clock.now());
                active
            }
            _ => {
                let spread = Duration::from_millis(u64::from(hash(key)) % PHASES);
                let active =
                    Active::new(resolved, &self.clock, self.origin + spread).reading_by(self.reader.clone());
                Box::new(active)
            }
        });
        match &state {
            Ok(active) => {
                let target = &active.resolved.target;
                let kind = GroupVersionKind::gvk(target.group(), target.version(), &target.kind);
                if !self.kinds.contains_key(&kind) {
                    self.kinds.insert(kind.clone(), Kind::default());
                    (self.tasks)(Task::WatchKind(kind));
                } else if self.kinds[&kind].resource.is_some() || self.kinds[&kind].problem.is_some() {
                    (self.tasks)(Task::ReadScale(key.clone()));
                }
            }
            Err(NotDecided::Native(_)) => {}
            Err(NotDecided::Invalid(errors)) => {
                SpecInvalid { key, errors: &announce::sentence(errors) }.record(&self.journal);
            }
        }
        Autoscaler { object: Arc::new(object), state, history, remembers, told, due: None }
    }

    pub(crate) fn delete_autoscaler(&mut self, key: &Key) {
        let target = self.target_of(key);
        self.forget(key);
        self.target_left(key, target);
    }

    fn forget(&mut self, key: &Key) {
        if let Some(gone) = self.autoscalers.remove(key)
            && let Some(due) = gone.due
        {
            self.due.remove(&(due, key.clone()));
        }
        self.status_due.remove(key);
        self.hpas.forget_autoscaler(key);
        self.journal.forget(&key.namespace, &key.name);
    }

    /// After a new list: what is not in it is gone.
    pub(crate) fn retain_autoscalers(&mut self, listed: &HashSet<Key>) {
        self.synced.autoscalers = true;
        let gone: Vec<Key> = self.autoscalers.keys().filter(|key| !listed.contains(*key)).cloned().collect();
        for key in gone {
            self.delete_autoscaler(&key);
        }
    }

    // Targets; which pods are whose is in `pods`

    /// The valid ones of a namespace.
    fn active_in(&self, namespace: &str) -> impl Iterator<Item = (&Key, &Active)> {
        self.known_in(namespace)
            .filter_map(|(key, autoscaler)| Some((key, autoscaler.state.as_deref().ok()?)))
    }

    /// All of a namespace.
    fn known_in(&self, namespace: &str) -> impl Iterator<Item = (&Key, &Autoscaler)> {
        let first = Key { namespace: namespace.to_owned(), name: String::new() };
        self.autoscalers.range(first..).take_while(move |(key, _)| key.namespace == namespace)
    }

    /// Changes what is known of one target, and decides.
    fn update(&mut self, key: &Key, change: impl FnOnce(&mut Active)) {
        let Some(Ok(active)) = self.autoscalers.get_mut(key).map(|autoscaler| &mut autoscaler.state) else {
            return;
        };
        change(active);
        active.refresh_facts(key, self.phase.leads().then_some(&self.sink), self.clock.now());
        self.status_due.insert(key.clone());
        self.decide(key);
    }

    /// What was not listed yet since the start, as a sentence; none when all is known.
    pub(crate) fn unsynced(&self) -> Option<String> {
        // Kinds of targets are left out: one that may not be listed is a problem of its PodAutoscalers alone.
        let missing: Vec<&str> = [("podautoscalers", self.synced.autoscalers), ("pods", self.synced.pods)]
            .into_iter()
            .filter_map(|(what, synced)| (!synced).then_some(what))
            .collect();
        (!missing.is_empty()).then(|| format!("not listed yet: {}", missing.join(", ")))
    }

    pub(crate) fn known_pods(&self) -> usize {
        self.pods.values().map(HashMap::len).sum()
    }

    // Targets

    pub(crate) fn kind_resolved(&mut self, kind: &GroupVersionKind, resource: Result<ApiResource, String>) {
        // Of a kind that nobody names any longer its watch may still bring something, until it is ended.
        let Some(known) = self.kinds.get_mut(kind) else { return };
        match resource {
            Ok(resource) => {
                known.resource = Some(resource);
                known.problem = None;
            }
            Err(problem) => known.problem = Some(problem),
        }
        self.read_scales(|target| target == kind, |_| true);
    }

    /// A target was seen by the watch of its kind. Only a new generation can have changed the scale.
    pub(crate) fn target_seen(
        &mut self,
        kind: &GroupVersionKind,
        namespace: &str,
        name: &str,
        version: ObjectVersion,
    ) {
        let Some(known) = self.kinds.get_mut(kind) else { return };
        let unversioned = version.generation.is_none();
        let before = known.objects.insert((namespace.to_owned(), name.to_owned()), version.clone());
        if before != Some(version) || unversioned {
            self.read_scales(
                |target| target == kind,
                |(in_namespace, of)| in_namespace == namespace && of == name,
            );
        }
    }

    pub(crate) fn target_gone(&mut self, kind: &GroupVersionKind, namespace: &str, name: &str) {
        let Some(known) = self.kinds.get_mut(kind) else { return };
        known.objects.remove(&(namespace.to_owned(), name.to_owned()));
        self.read_scales(
            |target| target == kind,
            |(in_namespace, of)| in_namespace == namespace && of == name,
        );
    }

    /// The list of a kind is complete: a target that is not in it does not exist.
    pub(crate) fn kind_synced(&mut self, kind: &GroupVersionKind, listed: &HashSet<(String, String)>) {
        let Some(known) = self.kinds.get_mut(kind) else { return };
        known.synced = true;
        known.objects.retain(|object, _| listed.contains(object));
        self.read_scales(
            |target| target == kind,
            |(namespace, name)| !listed.contains(&(namespace.to_owned(), name.to_owned())),
        );
    }

    fn read_scales(
        &self,
        of_kind: impl Fn(&GroupVersionKind) -> bool,
        of_object: impl Fn((&str, &str)) -> bool,
    ) {
        for (key, autoscaler) in &self.autoscalers {
            let Ok(active) = &autoscaler.state else { continue };
            let target = &active.resolved.target;
            let kind = || GroupVersionKind::gvk(target.group(), target.version(), &target.kind);
            // The object first: with a thousand targets the kind is the same for most.
            if of_object((&key.namespace, &target.name)) && of_kind(&kind()) {
                (self.tasks)(Task::ReadScale(key.clone()));
            }
        }
    }

    /// What a read of `/scale` needs; or why it cannot be read.
    pub(crate) fn scale_source(&self, key: &Key) -> Option<Result<ScaleSource, ScaleProblem>> {
        let active = self.autoscalers.get(key)?.state.as_ref().ok()?;
        let target = &active.resolved.target;
        let kind = self.kinds.get(&GroupVersionKind::gvk(target.group(), target.version(), &target.kind))?;
        let problem = |message| Some(Err(ScaleProblem { reason: FAILED_GET_SCALE, message }));
        if let Some(message) = &kind.problem {
            return problem(message.clone());
        }
        let resource = kind.resource.clone()?;
        if kind.synced && !kind.objects.contains_key(&(key.namespace.clone(), target.name.clone())) {
            return problem(format!(
                "the target {target} does not exist in namespace {}; create it or correct spec.scaleTargetRef",
                key.namespace
            ));
        }
        Some(Ok(ScaleSource { resource, target: target.clone(), known: active.explained() }))
    }

    pub(crate) fn has_scale(&self, key: &Key) -> bool {
        let state = self.autoscalers.get(key).map(|autoscaler| &autoscaler.state);
        matches!(state, Some(Ok(active)) if active.scale.is_ok())
    }

    /// Asks `/scale` again, instead of whatever read of it is under way.
    pub(crate) fn read_scale_again(&self, key: &Key) {
        (self.tasks)(Task::ReadScale(key.clone()));
    }

    /// Takes what `/scale` said to a question asked at `asked`.
    pub(crate) fn scale_read(&mut self, key: &Key, scale: Result<Scale, ScaleProblem>, asked: Instant) {
        let Some(Ok(active)) = self.autoscalers.get_mut(key).map(|autoscaler| &mut autoscaler.state) else {
            return;
        };
        if active.scale.is_ok() && asked < active.facts.spec_changed_at {
            // Older than what is known since, by a write of ours for instance; somebody may have written after that.
            return self.read_scale_again(key);
        }
        let identity = |scale: &Scale| (scale.uid.clone(), scale.selector.clone());
        let changed_pods = match (&active.scale, &scale) {
            (Ok(before), Ok(after)) => identity(before) != identity(after),
            (Err(_), Err(_)) => false,
            _ => true,
        };
        active.set_scale(scale, self.phase.leads(), &self.clock);
        if changed_pods {
            self.status_due.insert(key.clone());
            self.place_all_in(key);
        }
        self.update(key, |_| ());
    }

    // Readings and decisions

    pub(crate) fn polled(&mut self, key: &Key, uid: PodUid, page: PageId, outcome: Outcome) {
        let clock = self.clock;
        let (error, took) = (outcome.values.as_ref().err(), clock.now() - clock.at(outcome.asked));
        Polled { error, took, bytes: outcome.bytes }.record(&self.journal);
        let Some(Ok(active)) = self.autoscalers.get_mut(key).map(|autoscaler| &mut autoscaler.state) else {
            return;
        };
        let (failed, failing) = (error.is_some(), active.any_failing());
        let (spacing, lap_over) = active.record(uid, page, outcome, &clock);
        self.journal.spaced(spacing);
        if lap_over {
            self.decide_on(key, Some(clock.now()));
        } else if failed && !failing {
            active.attend(self.pacing.as_ref(), clock.now());
        }
    }

    pub(crate) fn source_polled(&mut self, key: &Key, id: RequestId, outcome: SourceOutcome) {
        let clock = self.clock;
        SourcePolled { key, source: outcome.source, problem: outcome.read.as_ref().err() }
            .record(&self.journal);
        let Some(Ok(active)) = self.autoscalers.get_mut(key).map(|autoscaler| &mut autoscaler.state) else {
            return;
        };
        if active.record_source(id, outcome, &clock) {
            self.decide_on(key, Some(clock.now()));
        }
    }

    fn decide(&mut self, key: &Key) {
        self.decide_on(key, None);
    }

    /// Decides, because of a reading that arrived at `reading` or because of something else.
    fn decide_on(&mut self, key: &Key, reading: Option<Instant>) {
        if !self.leads() {
            return;
        }
        let now = self.clock.now();
        let handover = self.hand_over(key, now);
        let Some(autoscaler) = self.autoscalers.get_mut(key) else { return };
        if let Some(due) = autoscaler.due.take() {
            self.due.remove(&(due, key.clone()));
        }
        let Ok(active) = &mut autoscaler.state else { return self.follow_hpa(key, now) };
        active.handover = handover;
        if autoscaler.history.back().is_some_and(|last| last.success && last.new_scale == 0) {
            active.lowered_to_zero();
        }
        let request = active.decide(key, now, self.clock.to_wall(now), reading, &self.journal);
        active.attend(self.pacing.as_ref(), now);
        let due = active.next_due(now);
        autoscaler.due = Some(due);
        self.due.insert((due, key.clone()));
        self.status_due.insert(key.clone());
        if let Some(request) = request {
            self.hpas.scale_write_began(key);
            (self.tasks)(Task::Scale(Box::new(request)));
        }
        self.tell(key, now);
    }

    /// Decides every target that is due; gives the next instant at which one is.
    pub(crate) fn decide_due(&mut self) -> Option<Instant> {
        let now = self.clock.now();
        while let Some((due, key)) = self.due.first().cloned() {
            if due > now {
                return Some(due);
            }
            self.due.remove(&(due, key.clone()));
            self.decide(&key);
        }
        None
    }

    /// The autoscaler's own state, to note the end of a write.
    pub(crate) fn after_write(&mut self, key: &Key, note: impl FnOnce(&mut Autoscaler, Instant)) {
        let now = self.clock.now();
        self.hpas.scale_write_ended(key);
        if let Some(autoscaler) = self.autoscalers.get_mut(key) {
            note(autoscaler, now);
            // Also when nothing is decided any more: the last status tells of the last change.
            self.status_due.insert(key.clone());
        }
        self.decide(key);
    }
}

/// The phases of targets, in milliseconds: over the slowest pace.
const PHASES: u64 = attention::SLOWEST.as_millis() as u64;

/// A stable small hash (FNV-1a), to spread the phases of polls.
fn hash(key: &Key) -> u32 {
    let bytes = key.namespace.bytes().chain([b'/']).chain(key.name.bytes());
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
pub(crate) mod tests;

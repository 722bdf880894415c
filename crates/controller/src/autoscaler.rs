//! One PodAutoscaler: its policy, what is known of its target, what was decided.

mod attention;
mod by_the_clock;
mod engines;
mod holding;
mod others;
mod polling;
mod readers;
mod silence;
mod sources;
mod values;
mod writing;

use std::cell::{Cell, OnceCell};
use std::collections::{BTreeMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::core::ApiResource;
use windlass_api::explain::Names;
use windlass_api::schedule::InForce;
use windlass_api::status::{EngineStatus, MAX_HISTORY, ScalingRecord};
use windlass_api::{PodAutoscaler, Resolved, TargetRef};
use windlass_scaling::attention::{Attended, Attention, BASE};
use windlass_scaling::{
    Decision, Facts, Instant, Memory, Observation, Pod, PodUid, Readings, decide, observe,
};
use windlass_scrape::Schedule;

use crate::announce::Told;
use crate::clock::Clock;
use crate::hpa::{Handover, NotDecided};
use crate::index::Conflict;
use crate::journal::{Decided, Entry, Journal, Quarantined};
use crate::outages::{Changes, MARGIN, Outages, PATIENCE, Sight};
use crate::pod::PodEntry;
use crate::selector::{Selector, SelectorError};
use crate::target::Count;
pub use attention::Shares;
pub(crate) use attention::{Pace, Pacing, watch_own_usage};
pub(crate) use by_the_clock::look_at_schedules;
use holding::Holding;
use others::Others;
use polling::Polling;
pub(crate) use polling::{PageId, Sink};
pub(crate) use silence::Silences;
use sources::Sourcing;
pub(crate) use sources::{RequestId, SourceOutcome, SourceReader};
pub(crate) use writing::ScaleRequest;
use writing::Writing;

/// A target is decided at least this often.
pub(crate) const TICK: Duration = Duration::from_secs(1);
/// Routers and engines learn of a pod that became ready a little later than we do: until then its load is counted at
/// its neighbours as well. A round begins after this.
const SETTLE: Duration = Duration::from_millis(300);
/// Reasons of condition `AbleToScale`.
pub(crate) const FAILED_GET_SCALE: &str = "FailedGetScale";
pub(crate) const LOOKING_UP_TARGET: &str = "LookingUpTarget";

thread_local! {
    static DECIDING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is inside a decision, whose panic quarantines one target. Any other panic must end the process.
pub fn is_deciding() -> bool {
    DECIDING.get()
}

/// Namespace and name of a PodAutoscaler.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What `/scale` said of the target.
#[derive(Debug, Clone)]
pub(crate) struct Scale {
    pub(crate) uid: String,
    pub(crate) resource: ApiResource,
    pub(crate) replicas: u32,
    /// Without a usable one no pod is known to be the target's: the bounds hold, nothing else is decided.
    pub(crate) selector: Result<Selector, SelectorError>,
    /// Where the count stands.
    pub(crate) count: Count,
    /// Who set the count, if that was looked up and is known: a field manager.
    pub(crate) set_by: Option<String>,
    /// How many of the pods that the selector matches are one replica; at least 1.
    pub(crate) pods_per_replica: u32,
}

impl Scale {
    pub(crate) fn selects(&self, entry: &PodEntry) -> bool {
        self.selector.as_ref().is_ok_and(|selector| selector.matches(entry.labels()))
    }
}

/// Why the target cannot be scaled: the reason of condition `AbleToScale`, and a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ScaleProblem {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// Whether a pod that the selector matches is the target's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Membership {
    /// Its controller chain leads to the target, or it has no controller.
    Own,
    /// Its controller chain ends at another object.
    Foreign,
    /// The chain is being walked: not counted yet, for as long as a read of the API server takes.
    Pending,
    /// The chain cannot be walked, for this reason: counted, and said.
    Unverified(String),
}

pub(crate) struct Member {
    pub(crate) entry: PodEntry,
    pub(crate) membership: Membership,
    /// Why the last poll of a page gave nothing, or not everything.
    pub(crate) silences: Silences,
    /// What was found out of the engine, by the index of the page that told it.
    pub(crate) engines: Vec<(usize, engines::Found)>,
}

impl Member {
    /// Another target may count it as well: nobody controls it, as far as is known.
    pub(crate) fn is_shareable(&self) -> bool {
        self.entry.controller.is_none() || matches!(self.membership, Membership::Unverified(_))
    }

    pub(crate) fn counts(&self) -> bool {
        matches!(self.membership, Membership::Own | Membership::Unverified(_))
    }
}

/// A valid PodAutoscaler at work.
pub(crate) struct Active {
    pub(crate) resolved: Resolved,
    pub(crate) scale: Result<Scale, ScaleProblem>,
    pub(crate) members: BTreeMap<PodUid, Member>,
    pub(crate) facts: Facts,
    pub(crate) observation: Option<Observation>,
    pub(crate) decision: Decision,
    pub(crate) decided_at: Instant,
    /// A decision panicked: the target is held until its spec changes.
    pub(crate) quarantine: Option<String>,
    pub(crate) write_problem: Option<String>,
    /// Whether a HorizontalPodAutoscaler of a former strategy is out of the way.
    pub(crate) handover: Handover,
    /// What its author may not expect, in one line.
    pub(crate) warnings: Option<String>,
    pub(crate) outages: Outages,
    /// What changed at the last look and was not told yet.
    pub(crate) changes: Changes,
    told_silence: Option<silence::Told>,
    /// Since when pods, or their readings, have been awaited that must come or be missed shortly.
    awaiting_since: Option<Instant>,
    /// The bounds in force, as they were last looked up.
    pub(crate) in_force: Option<InForce>,
    /// When they change next, by the wall clock as it was at the last decision.
    transition_at: Option<Instant>,
    readings: Readings,
    memory: Memory,
    polling: Polling,
    attention: Attention,
    /// What it found last; none where nobody attends.
    attended: Option<Attended>,
    sourcing: Sourcing,
    reader: Option<SourceReader>,
    /// The last target that was known.
    target_uid: Option<String>,
    writing: Writing,
    /// The hold that was told of last.
    holding: Option<Holding>,
    others: Others,
    /// Who else scales the target.
    pub(crate) conflict: Option<Conflict>,
    /// Pods that count for another PodAutoscaler's target as well.
    pub(crate) shared: BTreeMap<PodUid, Key>,
    /// The engines of the ready pods; made when it is asked for.
    engines: OnceCell<Vec<EngineStatus>>,
}

/// A PodAutoscaler as it stands in the cluster.
pub(crate) struct Autoscaler {
    pub(crate) object: Arc<PodAutoscaler>,
    /// Decided here; or why not.
    pub(crate) state: Result<Box<Active>, NotDecided>,
    pub(crate) history: VecDeque<ScalingRecord>,
    /// The history is our own. Until we scaled, the object's status knows best: another may lead, or have led a moment ago.
    pub(crate) remembers: bool,
    pub(crate) told: Told,
    /// When the target is decided next, at the latest.
    pub(crate) due: Option<Instant>,
}

impl Active {
    pub(crate) fn new(resolved: Resolved, clock: &Clock, origin: tokio::time::Instant) -> Self {
        let now = clock.now();
        let waiting =
            ScaleProblem { reason: LOOKING_UP_TARGET, message: "the target is being looked up".to_owned() };
        Self {
            memory: Memory::new(&resolved.policy),
            polling: Polling::new(
                &resolved.sources,
                &resolved.catalogue,
                Schedule { interval: BASE, origin },
            ),
            attention: Attention::default(),
            attended: None,
            sourcing: Sourcing::new(&resolved.sources, origin),
            reader: None,
            warnings: warnings_of(&resolved),
            outages: Outages::default(),
            changes: Changes::default(),
            told_silence: None,
            awaiting_since: None,
            resolved,
            scale: Err(waiting),
            members: BTreeMap::new(),
            facts: Facts::new(0, now),
            observation: None,
            decision: Decision::default(),
            decided_at: now,
            quarantine: None,
            write_problem: None,
            handover: Handover::default(),
            in_force: None,
            transition_at: None,
            readings: Readings::default(),
            target_uid: None,
            writing: Writing::new(now),
            holding: None,
            others: Others::default(),
            conflict: None,
            shared: BTreeMap::new(),
            engines: OnceCell::new(),
        }
    }

    /// Takes over a changed spec of the same target. What was observed of metrics that stay is kept.
    pub(crate) fn adapt(&mut self, resolved: Resolved) {
        let (before, after) = (&self.resolved.policy.signals, &resolved.policy.signals);
        let unmoved = before.len() == after.len()
            && before
                .iter()
                .zip(after)
                .all(|(before, after)| after.is_same(&before.metric, &before.read_from));
        if resolved.sources != self.resolved.sources || !unmoved {
            self.read_pages(&resolved);
            self.sourcing.read_from(&resolved.sources);
            self.readings = Readings::default();
            self.memory.listen_anew();
            self.outages.forget();
        } else if !Arc::ptr_eq(&resolved.catalogue, &self.resolved.catalogue) {
            // The same metrics, but other engines may be known.
            self.read_pages(&resolved);
        }
        self.memory.adapt(&resolved.policy);
        if self.quarantine.take().is_some() {
            // The panic may have left it half written.
            self.memory = Memory::new(&resolved.policy);
            self.decision = Decision::default();
        }
        self.warnings = warnings_of(&resolved);
        self.resolved = resolved;
        (self.in_force, self.transition_at) = (None, None);
    }

    /// The last change of replicas was ours, and to 0.
    pub(crate) fn lowered_to_zero(&mut self) {
        self.memory.lowered_to_zero();
    }

    /// Notes what `/scale` says now. `leads`: whether this controller writes.
    pub(crate) fn set_scale(&mut self, scale: Result<Scale, ScaleProblem>, leads: bool, clock: &Clock) {
        let now = clock.now();
        if let Ok(scale) = &scale
            && (self.scale.is_err() || self.facts.spec_replicas != scale.replicas)
        {
            self.facts.spec_replicas = scale.replicas;
            self.facts.spec_changed_at = now;
        }
        if self.scale.is_err() && scale.is_ok() {
            self.memory.listen_anew();
        }
        let uid = scale.as_ref().ok().map(|scale| scale.uid.clone());
        let before = self.target_uid.clone();
        self.target_uid = uid.or(before.clone());
        if before.is_some() && before != self.target_uid {
            // Another object of the same name: what was observed is not its own, and no write of it is under way.
            self.memory = Memory::new(&self.resolved.policy);
            self.readings = Readings::default();
            self.outages.forget();
            self.writing.forget();
            self.forget_others();
        }
        if let Ok(scale) = &scale {
            self.note_count(scale, leads, clock);
            self.facts.pods_per_replica = scale.pods_per_replica;
        }
        self.scale = scale;
    }

    /// Makes facts of the members as they are now, and pollers if there is a sink for what they bring.
    pub(crate) fn refresh_facts(&mut self, key: &Key, sink: Option<&Sink>, now: Instant) {
        let ready_before = ready(self.facts.pods());
        let own = || self.members.values().filter(|member| member.counts());
        let pods: Vec<Pod> =
            own().map(|member| Pod { uid: member.entry.uid, state: member.entry.state }).collect();
        let mut revisions: BTreeMap<Option<&str>, &str> = BTreeMap::new();
        self.facts.rollout = own()
            .filter_map(|member| member.entry.living_revision())
            .any(|(role, revision)| *revisions.entry(role).or_insert(revision) != revision);
        self.facts.set_pods(pods);
        if ready(self.facts.pods()) != ready_before {
            let first_seen = ready_before.is_empty();
            self.facts.ready_changed_at = if first_seen { now } else { now + SETTLE };
        }
        self.engines.take();
        let members = &self.members;
        self.readings.retain(|uid| members.contains_key(&uid));
        if let Some(sink) = sink {
            self.polling.sync(&self.members, key, sink);
            self.sync_sources(key);
        } else {
            self.polling.stop();
            self.sourcing.stop();
        }
    }

    /// The term begins: whatever was observed before is not known to be without a gap.
    pub(crate) fn lead(&mut self, key: &Key, sink: &Sink) {
        self.memory.listen_anew();
        self.polling.sync(&self.members, key, sink);
        self.sync_sources(key);
    }

    /// Observes and decides at `now`, when the wall clock reads `wall`. The change to be written, if there is one and no
    /// write is under way.
    pub(crate) fn decide(
        &mut self,
        key: &Key,
        now: Instant,
        wall: Timestamp,
        reading: Option<Instant>,
        journal: &Journal,
    ) -> Option<ScaleRequest> {
        self.look_at_clock(now, wall);
        self.look_at_others(now, wall);
        if self.scale.is_err() || self.quarantine.is_some() {
            return None;
        }
        let (policy, memory) = (&self.resolved.policy, &mut self.memory);
        let begun = tokio::time::Instant::now();
        DECIDING.set(true);
        let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| {
            let observation = observe(policy, &self.facts, &self.readings, memory, now);
            decide(policy, &observation, memory, now, &mut self.decision);
            observation
        }));
        DECIDING.set(false);
        Decided { took: begun.elapsed() }.record(journal);
        match outcome {
            Ok(observation) => {
                let signals = &self.resolved.policy.signals;
                let patience =
                    |at: usize| signals.get(at).map_or(PATIENCE, |signal| signal.pace.fresh_span + MARGIN);
                self.changes = self.outages.look(&observation.signals, patience, now);
                self.observation = Some(observation);
            }
            Err(panic) => {
                let message = panic_message(panic.as_ref());
                Quarantined { key, message: &message }.record(journal);
                self.quarantine = Some(message);
                return None;
            }
        }
        self.decided_at = now;
        self.note_silence(now);
        let pending = |member: &Member| member.membership == Membership::Pending;
        let awaits = self.outages.sights().any(|sight| sight == Sight::Waiting);
        self.awaiting_since =
            (awaits || self.members.values().any(pending)).then(|| self.awaiting_since.unwrap_or(now));
        self.note_hold(key, now, journal);
        self.begin_write(key, now, reading)
    }

    /// Whether what is known is worth telling: the target was looked up and decided, and nothing is awaited that would
    /// change the picture in a moment.
    pub(crate) fn is_settled(&self, now: Instant) -> bool {
        match &self.scale {
            Err(problem) => problem.reason != LOOKING_UP_TARGET,
            Ok(_) if self.quarantine.is_some() => true,
            Ok(_) => {
                self.observation.is_some() && self.awaiting_since.is_none_or(|since| now - since > PATIENCE)
            }
        }
    }

    /// Why signals that are read elsewhere have no reading, for whoever compares.
    pub(crate) fn source_problems(&self) -> &[Option<String>] {
        self.sourcing.problems()
    }

    /// What is said of pods that another target counts, too.
    pub(crate) fn overlap(&self) -> Option<String> {
        let (uid, other) = self.shared.first_key_value()?;
        let pod = self.members.get(uid).map_or("one", |member| member.entry.name());
        let (count, other) = (self.shared.len(), &other.name);
        Some(format!(
            "{count} pods without a known controller, such as {pod}, count here and for PodAutoscaler {other}: give each \
             target a selector of its own"
        ))
    }

    /// The account of the last decision, in words.
    pub(crate) fn account(&self, now: Instant) -> Vec<String> {
        let schedule = self.in_force.as_ref().and_then(|in_force| in_force.schedule.as_deref());
        let names = Names { schedule, set_by: self.set_by() };
        windlass_api::explain::account(&self.decision, &self.resolved.policy, names, now)
    }

    /// When to decide next without a new reading.
    pub(crate) fn next_due(&self, now: Instant) -> Instant {
        let tick = now + TICK;
        let wakes = [self.decision.wake_at, self.transition_at].into_iter().flatten();
        wakes.filter(|at| *at > now).fold(tick, Instant::min)
    }
}

impl Autoscaler {
    /// What it scales, or has scaled; none if it is not valid.
    pub(crate) fn target(&self) -> Option<&TargetRef> {
        match &self.state {
            Ok(active) => Some(&active.resolved.target),
            Err(NotDecided::Native(native)) => Some(&native.resolved.target),
            Err(NotDecided::Invalid(_)) => None,
        }
    }

    /// Who else scales its target; none if it is not valid.
    pub(crate) fn conflict(&mut self) -> Option<&mut Option<Conflict>> {
        match &mut self.state {
            Ok(active) => Some(&mut active.conflict),
            Err(NotDecided::Native(native)) => Some(&mut native.conflict),
            Err(NotDecided::Invalid(_)) => None,
        }
    }

    pub(crate) fn remember(&mut self, record: ScalingRecord) {
        self.remembers = true;
        // A failure that repeats must not push out what happened before.
        let same = |last: &ScalingRecord| {
            !record.success && ScalingRecord { timestamp: last.timestamp.clone(), ..record.clone() } == *last
        };
        if self.history.back().is_some_and(same) {
            return;
        }
        while self.history.len() >= MAX_HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(record);
    }
}

fn ready(pods: &[Pod]) -> Vec<PodUid> {
    let is_ready = |pod: &&Pod| matches!(pod.state, windlass_scaling::PodState::Ready { .. });
    pods.iter().filter(is_ready).map(|pod| pod.uid).collect()
}

/// What its author may not expect, in one line.
pub(crate) fn warnings_of(resolved: &Resolved) -> Option<String> {
    let all: Vec<String> = resolved.warnings.iter().map(ToString::to_string).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message").to_owned()
}

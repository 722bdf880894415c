//! One PodAutoscaler: its policy, what is known of its target, what was decided.

mod holding;

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use kube::core::ApiResource;
use windlass_api::status::{MAX_HISTORY, ScalingRecord};
use windlass_api::{PathRule, PodAutoscaler, PodSource, PortRule, Resolved, Source, SpecError};
use windlass_metrics::Wanted;
use windlass_scaling::{
    Decision, Facts, Instant, Memory, Observation, Pod, PodUid, Readings, decide, observe,
};
use windlass_scrape::{Endpoint, Outcome, Poller, Schedule};

use crate::clock::Clock;
use crate::journal::{Decided, Entry, Journal, Quarantined};
use crate::pod::PodEntry;
use crate::selector::{Selector, SelectorError};
use holding::Told;

/// A target is decided at least this often.
const TICK: Duration = Duration::from_secs(1);
/// Routers and engines learn of a pod that became ready a little later than we do: until then its load is counted at
/// its neighbours as well. A round begins after this.
const SETTLE: Duration = Duration::from_millis(300);
/// After a failed write the next attempt waits this long, doubling up to the longest.
const WRITE_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_WRITE_BACKOFF: Duration = Duration::from_mins(1);
/// At the very end of a term nothing is begun any more; it is renewed or over after about this.
const NOT_LEADING_PAUSE: Duration = Duration::from_millis(250);

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
}

impl Scale {
    pub(crate) fn selects(&self, entry: &PodEntry) -> bool {
        self.selector.as_ref().is_ok_and(|selector| selector.matches(entry.pod.labels()))
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
    /// Why the last poll gave nothing.
    pub(crate) silence: Option<String>,
}

impl Member {
    fn counts(&self) -> bool {
        matches!(self.membership, Membership::Own | Membership::Unverified(_))
    }
}

/// Signals that are read from the same page.
struct Page {
    port: PortRule,
    path: PathRule,
    wanted: Arc<Wanted>,
    signals: Vec<u8>,
}

/// A change of replicas to be written.
#[derive(Debug, Clone)]
pub(crate) struct ScaleRequest {
    pub(crate) key: Key,
    pub(crate) resource: ApiResource,
    pub(crate) target: String,
    pub(crate) uid: String,
    pub(crate) from: u32,
    pub(crate) to: u32,
    /// The account, as one line.
    pub(crate) reason: String,
    /// When the reading arrived that this follows from; none if it was a limit that opened.
    pub(crate) reading: Option<Instant>,
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
    readings: Readings,
    memory: Memory,
    pages: Vec<Page>,
    /// Raised when the pages change: a poll of before is of no use.
    pages_version: u32,
    pollers: HashMap<(PodUid, usize), Poller>,
    schedule: Schedule,
    /// The last target that was known.
    target_uid: Option<String>,
    writing: bool,
    write_backoff: Duration,
    write_not_before: Instant,
    /// When the wall clock was looked at for the end of an override.
    told_time: Option<Instant>,
    told: Option<Told>,
}

/// A PodAutoscaler as it stands in the cluster.
pub(crate) struct Autoscaler {
    pub(crate) object: Arc<PodAutoscaler>,
    pub(crate) state: Result<Box<Active>, Vec<SpecError>>,
    pub(crate) history: VecDeque<ScalingRecord>,
    /// The history is our own. Until we scaled, the object's status knows best: another may lead, or have led a moment ago.
    pub(crate) remembers: bool,
    /// When the target is decided next, at the latest.
    pub(crate) due: Option<Instant>,
}

/// Where outcomes of polls go.
pub(crate) type Sink = Arc<dyn Fn(&Key, PodUid, PageId, Outcome) + Send + Sync>;

/// Which page of which version of the pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageId {
    version: u32,
    index: usize,
}

impl Active {
    pub(crate) fn new(resolved: Resolved, clock: &Clock, origin: tokio::time::Instant) -> Self {
        let now = clock.now();
        let waiting =
            ScaleProblem { reason: "LookingUpTarget", message: "the target is being looked up".to_owned() };
        Self {
            memory: Memory::new(&resolved.policy),
            pages: pages(&resolved.sources),
            pages_version: 0,
            schedule: Schedule { interval: resolved.policy.base_interval, origin },
            resolved,
            scale: Err(waiting),
            members: BTreeMap::new(),
            facts: Facts::new(0, now),
            observation: None,
            decision: Decision::default(),
            decided_at: now,
            quarantine: None,
            write_problem: None,
            readings: Readings::default(),
            pollers: HashMap::new(),
            target_uid: None,
            writing: false,
            write_backoff: WRITE_BACKOFF,
            write_not_before: now,
            told_time: None,
            told: None,
        }
    }

    /// Takes over a changed spec of the same target. What was observed of metrics that stay is kept.
    pub(crate) fn adapt(&mut self, resolved: Resolved) {
        let index_of =
            |metric: &str| resolved.policy.signals.iter().position(|signal| signal.metric == metric);
        let unmoved =
            self.resolved.policy.signals.iter().enumerate().all(|(i, s)| index_of(&s.metric) == Some(i));
        if resolved.sources != self.resolved.sources || !unmoved {
            self.pollers.clear();
            self.readings = Readings::default();
            self.memory.listen_anew();
            self.pages = pages(&resolved.sources);
            self.pages_version += 1;
        }
        self.memory.adapt(&resolved.policy);
        if self.quarantine.take().is_some() {
            // The panic may have left it half written.
            self.memory = Memory::new(&resolved.policy);
            self.decision = Decision::default();
        }
        self.resolved = resolved;
        self.told_time = None;
    }

    /// Notes what `/scale` says now.
    pub(crate) fn set_scale(&mut self, scale: Result<Scale, ScaleProblem>, now: Instant) {
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
            self.writing = false;
        }
        self.scale = scale;
    }

    /// Makes facts of the members as they are now, and pollers if there is a sink for what they bring.
    pub(crate) fn refresh_facts(&mut self, key: &Key, sink: Option<&Sink>, now: Instant) {
        let ready_before = ready(self.facts.pods());
        let own = || self.members.values().filter(|member| member.counts());
        let pods: Vec<Pod> =
            own().map(|member| Pod { uid: member.entry.uid, state: member.entry.state }).collect();
        let mut revisions = own().filter_map(|member| member.entry.living_revision());
        let first = revisions.next();
        self.facts.rollout = revisions.any(|revision| Some(revision) != first);
        self.facts.set_pods(pods);
        if ready(self.facts.pods()) != ready_before {
            let first_seen = ready_before.is_empty();
            self.facts.ready_changed_at = if first_seen { now } else { now + SETTLE };
        }
        let members = &self.members;
        self.readings.retain(|uid| members.contains_key(&uid));
        match sink {
            Some(sink) => self.sync_pollers(key, sink),
            None => self.pollers.clear(),
        }
    }

    /// The term begins: whatever was observed before is not known to be without a gap.
    pub(crate) fn lead(&mut self, key: &Key, sink: &Sink) {
        self.memory.listen_anew();
        self.sync_pollers(key, sink);
    }

    /// One poller per page of every ready pod of ours.
    fn sync_pollers(&mut self, key: &Key, sink: &Sink) {
        let members = &self.members;
        let polled = |member: &Member| member.counts() && member.entry.is_ready();
        self.pollers.retain(|(uid, _), _| members.get(uid).is_some_and(polled));
        for (&uid, member) in self.members.iter().filter(|(_, member)| polled(member)) {
            let Some(address) = member.entry.address() else { continue };
            for (index, page) in self.pages.iter().enumerate() {
                if self.pollers.contains_key(&(uid, index)) {
                    continue;
                }
                let endpoint = Endpoint {
                    address: (address, page.port.of(&member.entry.pod)).into(),
                    path: page.path.of(&member.entry.pod),
                };
                let (key, sink) = (key.clone(), Arc::clone(sink));
                let page_id = PageId { version: self.pages_version, index };
                let report = move |outcome| sink(&key, uid, page_id, outcome);
                let task = Poller::spawn(endpoint, self.schedule, Arc::clone(&page.wanted), report);
                self.pollers.insert((uid, index), task);
            }
        }
    }

    /// Takes the outcome of a poll. Whether it brought a reading.
    pub(crate) fn record(&mut self, uid: PodUid, page: PageId, outcome: Outcome, clock: &Clock) -> bool {
        if page.version != self.pages_version {
            return false;
        }
        let (Some(member), Some(page)) = (self.members.get_mut(&uid), self.pages.get(page.index)) else {
            return false;
        };
        // A page that was under way while the ready pods changed is of before the change.
        let taken = clock.at(outcome.asked);
        match outcome.values {
            Err(error) => {
                member.silence = Some(error.to_string());
                false
            }
            Ok(values) => {
                member.silence = None;
                let pairs = page.signals.iter().zip(values);
                pairs.fold(false, |any, (&signal, value)| {
                    let recorded = value.is_some_and(|value| {
                        let since = clock.at(value.since);
                        self.readings.record_over(uid, signal, value.value, since, taken)
                    });
                    recorded || any
                })
            }
        }
    }

    /// Observes and decides. The change to be written, if there is one and no write is under way.
    pub(crate) fn decide(
        &mut self,
        key: &Key,
        now: Instant,
        reading: Option<Instant>,
        journal: &Journal,
    ) -> Option<ScaleRequest> {
        self.tell_time(now);
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
            Ok(observation) => self.observation = Some(observation),
            Err(panic) => {
                let message = panic_message(panic.as_ref());
                Quarantined { key, message: &message }.record(journal);
                self.quarantine = Some(message);
                return None;
            }
        }
        self.decided_at = now;
        self.note_hold(key, now, journal);
        let changed = self.decision.replicas != self.facts.spec_replicas;
        if !changed {
            // What could not be written is no longer wanted.
            self.write_problem = None;
            self.write_backoff = WRITE_BACKOFF;
        }
        if !changed || self.writing || now < self.write_not_before {
            return None;
        }
        let scale = self.scale.as_ref().ok()?;
        self.writing = true;
        Some(ScaleRequest {
            key: key.clone(),
            resource: scale.resource.clone(),
            target: self.resolved.target.name.clone(),
            uid: scale.uid.clone(),
            from: self.facts.spec_replicas,
            to: self.decision.replicas,
            reason: self.account(now).join("; "),
            reading,
        })
    }

    /// How many pages are polled.
    #[cfg(test)]
    pub(crate) fn polls(&self) -> usize {
        self.pollers.len()
    }

    /// The account of the last decision, in words.
    pub(crate) fn account(&self, now: Instant) -> Vec<String> {
        windlass_api::explain::account(&self.decision, &self.resolved.policy, now)
    }

    /// When to decide next without a new reading.
    pub(crate) fn next_due(&self, now: Instant) -> Instant {
        let tick = now + TICK;
        let wake = self.decision.wake_at.filter(|at| *at > now);
        wake.map_or(tick, |wake| wake.min(tick))
    }

    /// The end of a write: acknowledged, or why not.
    pub(crate) fn written(&mut self, outcome: Result<u32, String>, now: Instant) {
        self.writing = false;
        match outcome {
            Ok(replicas) => {
                self.facts.spec_replicas = replicas;
                self.facts.spec_changed_at = now;
                self.write_problem = None;
                self.write_backoff = WRITE_BACKOFF;
                if let Ok(scale) = &mut self.scale {
                    scale.replicas = replicas;
                }
            }
            Err(problem) => {
                self.write_problem = Some(problem);
                self.write_not_before = now + self.write_backoff;
                self.write_backoff = (self.write_backoff * 2).min(LONGEST_WRITE_BACKOFF);
            }
        }
    }

    /// Nothing was written, or not to our knowledge, for no fault of the target.
    pub(crate) fn not_leading(&mut self, now: Instant) {
        self.writing = false;
        self.write_not_before = now + NOT_LEADING_PAUSE;
    }

    /// Somebody else changed the count meanwhile: nothing was written, and nothing is wrong.
    pub(crate) fn overtaken(&mut self, current: u32, now: Instant) {
        self.writing = false;
        self.facts.spec_replicas = current;
        self.facts.spec_changed_at = now;
        self.write_problem = None;
    }
}

impl PageId {
    /// The first page of a new autoscaler.
    #[cfg(test)]
    pub(crate) const FIRST: Self = Self { version: 0, index: 0 };
}

impl Autoscaler {
    pub(crate) fn remember(&mut self, record: ScalingRecord) {
        self.remembers = true;
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

/// Sources on the same port and path share one poll.
fn pages(sources: &[Source]) -> Vec<Page> {
    let mut grouped: Vec<(&PodSource, Vec<u8>)> = Vec::new();
    for (signal, source) in (0..).zip(sources) {
        let Source::Pod(source) = source else { continue };
        let same = |(known, _): &&mut (&PodSource, _)| known.port == source.port && known.path == source.path;
        match grouped.iter_mut().find(same) {
            Some((_, signals)) => signals.push(signal),
            None => grouped.push((source, vec![signal])),
        }
    }
    let metric = |signal: &u8| match &sources[usize::from(*signal)] {
        Source::Pod(source) => Some(source.metric.clone()),
        Source::Unsupported(_) => None,
    };
    let page = |(source, signals): (&PodSource, Vec<u8>)| Page {
        port: source.port,
        path: source.path.clone(),
        wanted: Arc::new(Wanted::new(&signals.iter().filter_map(metric).collect::<Vec<_>>())),
        signals,
    };
    grouped.into_iter().map(page).collect()
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message").to_owned()
}

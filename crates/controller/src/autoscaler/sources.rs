//! What is read from elsewhere than the pods' own pages: metrics APIs, endpoints, Prometheus. One poller per request;
//! signals that need the same answer share it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;
use windlass_api::{Address, EndpointSource, PrometheusSource, Source};
use windlass_metrics::Wanted;
use windlass_scaling::{Instant, PodState};
use windlass_scrape::{Access, Endpoint, Host, InstantQuery, Observed, PolledPod, Schedule, Value, deadline};

use super::{Active, Key, values};
use crate::clock::Clock;
use crate::credentials;
use crate::metrics_apis::{Answer, OfPod, Query};

/// Requests of all targets under way at one metrics API at most: a start with thousands of them must not be a storm.
const AT_A_TIME: usize = 32;

/// Where outcomes go.
pub(crate) type SourceSink = Arc<dyn Fn(&Key, RequestId, SourceOutcome) + Send + Sync>;

/// What pollers need.
#[derive(Clone)]
pub(crate) struct SourceReader {
    pub(crate) client: Client,
    sink: SourceSink,
    /// Of each API its own: one that hangs keeps nobody from asking another.
    turns: [Arc<Semaphore>; 3],
}

impl SourceReader {
    pub(crate) fn new(client: Client, sink: SourceSink) -> Self {
        Self { client, sink, turns: std::array::from_fn(|_| Arc::new(Semaphore::new(AT_A_TIME))) }
    }
}

/// Which request of which version of the requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestId {
    version: u32,
    index: usize,
}

/// What one poll gave.
#[derive(Debug)]
pub(crate) struct SourceOutcome {
    pub(crate) asked: tokio::time::Instant,
    /// The type of source, for the metric of polls.
    pub(crate) source: &'static str,
    pub(crate) read: Result<Values, String>,
}

/// What was read.
#[derive(Debug)]
pub(crate) enum Values {
    /// Of the fleet: one value for each signal of the request, and why some have none.
    Fleet(Vec<Option<Value>>, Option<String>),
    /// Of an API.
    Api(Answer),
}

/// One request and the signals that need its answer.
struct Request {
    kind: RequestKind,
    /// The signals, and behind them what is kept beside some.
    signals: Vec<u8>,
    interval: Duration,
}

#[derive(Clone)]
enum RequestKind {
    Api(Query),
    Page { source: Box<EndpointSource>, wanted: Arc<Wanted> },
    Prometheus(PrometheusSource),
}

impl RequestKind {
    fn name(&self) -> &'static str {
        match self {
            Self::Api(Query::Resources(_)) => "resource",
            Self::Api(Query::Custom(_)) => "custom",
            Self::Api(Query::External(_)) => "external",
            Self::Page { .. } => "endpoint",
            Self::Prometheus(_) => "prometheus",
        }
    }

    /// Whose turns are waited for; servers of a target's own are asked at once.
    fn turns<'a>(&self, reader: &'a SourceReader) -> Option<&'a Semaphore> {
        let Self::Api(query) = self else { return None };
        Some(match query {
            Query::Resources(_) => &reader.turns[0],
            Query::Custom(_) => &reader.turns[1],
            Query::External(_) => &reader.turns[2],
        })
    }

    /// Of pods, and so of no use while none is ready.
    fn of_pods(&self) -> bool {
        matches!(self, Self::Api(Query::Resources(_) | Query::Custom(_)))
    }
}

/// The requests of one target, and who makes them.
pub(super) struct Sourcing {
    requests: Vec<Request>,
    /// Raised when the requests change: an answer of before is of no use.
    version: u32,
    pollers: Vec<Option<AbortOnDropHandle<()>>>,
    selector: String,
    origin: tokio::time::Instant,
    /// Why a signal has no reading, by signal.
    problems: Vec<Option<String>>,
}

impl Sourcing {
    pub(super) fn new(sources: &[Source], origin: tokio::time::Instant) -> Self {
        let mut sourcing = Self {
            requests: Vec::new(),
            version: 0,
            pollers: Vec::new(),
            selector: String::new(),
            origin,
            problems: Vec::new(),
        };
        sourcing.set(sources);
        sourcing
    }

    fn set(&mut self, sources: &[Source]) {
        self.requests = requests(sources);
        self.problems = vec![None; sources.len()];
        self.stop();
    }

    /// Makes other requests from now on.
    pub(super) fn read_from(&mut self, sources: &[Source]) {
        self.set(sources);
        self.version += 1;
    }

    pub(super) fn stop(&mut self) {
        self.pollers.clear();
    }

    /// One poller per request that makes sense now.
    fn sync(&mut self, key: &Key, reader: &SourceReader, selector: String, any_ready: bool) {
        if selector != self.selector {
            self.stop();
            self.selector = selector;
        }
        self.pollers.resize_with(self.requests.len(), || None);
        for (index, (request, poller)) in self.requests.iter().zip(&mut self.pollers).enumerate() {
            if request.kind.of_pods() && !any_ready {
                *poller = None;
            } else if poller.is_none() {
                let poll = Poll {
                    key: key.clone(),
                    id: RequestId { version: self.version, index },
                    kind: request.kind.clone(),
                    reader: reader.clone(),
                    selector: self.selector.clone(),
                    schedule: Schedule { interval: request.interval, origin: self.origin },
                };
                *poller = Some(AbortOnDropHandle::new(tokio::spawn(poll.run())));
            }
        }
    }

    /// Why a signal has no reading.
    pub(super) fn problem(&self, signal: usize) -> Option<&str> {
        self.problems.get(signal)?.as_deref()
    }

    /// All that stand.
    pub(super) fn problems(&self) -> &[Option<String>] {
        &self.problems
    }

    #[cfg(test)]
    pub(super) fn polls(&self) -> usize {
        self.pollers.iter().flatten().count()
    }
}

/// One request, made again and again.
struct Poll {
    key: Key,
    id: RequestId,
    kind: RequestKind,
    reader: SourceReader,
    selector: String,
    schedule: Schedule,
}

impl Poll {
    async fn run(self) {
        let mut asker = Asker::new(&self);
        loop {
            let began = tokio::time::Instant::now();
            let outcome = {
                // Never closed; without a permit the request would be made all the same.
                let _permit = match self.kind.turns(&self.reader) {
                    Some(turns) => turns.acquire().await.ok(),
                    None => None,
                };
                asker.ask(&self).await
            };
            (self.reader.sink)(&self.key, self.id, outcome);
            tokio::time::sleep_until(self.schedule.next(began).max(tokio::time::Instant::now())).await;
        }
    }
}

/// Who asks, on a connection that is kept, with credentials that are.
enum Asker {
    Api(Query),
    Page { page: Box<PolledPod>, _keeper: Option<AbortOnDropHandle<()>> },
    Prometheus { query: InstantQuery, _keeper: Option<AbortOnDropHandle<()>> },
}

impl Asker {
    fn new(poll: &Poll) -> Self {
        let interval = poll.schedule.interval;
        let reach = |address: &Address, path: &str, declared: &windlass_api::Access| {
            let access = credentials::access(declared, false);
            let endpoint = endpoint(address, path, access.clone());
            let client = poll.reader.client.clone();
            let namespace = &poll.key.namespace;
            (endpoint, access.and_then(|access| credentials::keep(access, declared, client, namespace)))
        };
        match &poll.kind {
            RequestKind::Api(query) => Self::Api(query.clone()),
            RequestKind::Page { source, wanted } => {
                let (endpoint, keeper) = reach(&source.address, &source.path, &source.access);
                let page = PolledPod::new(endpoint, interval, Arc::clone(wanted));
                Self::Page { page: Box::new(page), _keeper: keeper }
            }
            RequestKind::Prometheus(source) => {
                let (endpoint, keeper) = reach(&source.address, &source.path, &source.access);
                Self::Prometheus {
                    query: InstantQuery::new(&endpoint, &source.query, interval),
                    _keeper: keeper,
                }
            }
        }
    }

    async fn ask(&mut self, poll: &Poll) -> SourceOutcome {
        let source = poll.kind.name();
        match self {
            Self::Api(query) => {
                let asked = tokio::time::Instant::now();
                let ask = query.ask(&poll.reader.client, &poll.key.namespace, &poll.selector);
                let limit = deadline(poll.schedule.interval);
                let late = |_| Err(query.late(limit));
                let answer = tokio::time::timeout(limit, ask).await.unwrap_or_else(late);
                SourceOutcome { asked, source, read: answer.map(Values::Api) }
            }
            Self::Page { page, .. } => {
                let outcome = page.poll().await;
                let read = outcome.values.map(|values| Values::Fleet(values, outcome.missing));
                SourceOutcome { asked: outcome.asked, source, read: read.map_err(|error| error.to_string()) }
            }
            Self::Prometheus { query, .. } => {
                let (asked, value, _) = query.poll().await;
                let number = |value| Value { observed: Observed::Number(value), since: asked };
                let fleet = |value| Values::Fleet(vec![Some(number(value))], None);
                SourceOutcome { asked, source, read: value.map(fleet).map_err(|error| error.to_string()) }
            }
        }
    }
}

fn endpoint(address: &Address, path: &str, access: Option<Arc<Access>>) -> Endpoint {
    let host = Host::Name { host: address.host.clone(), port: address.port };
    Endpoint { host, path: path.to_owned(), access }
}

impl Active {
    /// Who reads from elsewhere; without one nothing is.
    pub(crate) fn reading_by(mut self, reader: Option<SourceReader>) -> Self {
        self.reader = reader;
        self
    }

    /// Begins the polls that make sense now, and ends the others.
    pub(super) fn sync_sources(&mut self, key: &Key) {
        let (Some(reader), Ok(scale)) = (&self.reader, &self.scale) else { return };
        let selector = scale.selector.as_ref().map(ToString::to_string).unwrap_or_default();
        let any_ready = self.members.values().any(|member| member.counts() && member.entry.is_ready());
        self.sourcing.sync(key, reader, selector, any_ready);
        self.polling.keep_credentials(&reader.client, &key.namespace);
    }

    /// Takes the outcome of a poll. Whether it brought a reading.
    pub(crate) fn record_source(&mut self, id: RequestId, outcome: SourceOutcome, clock: &Clock) -> bool {
        let request = self.sourcing.requests.get(id.index).filter(|_| id.version == self.sourcing.version);
        let Some(signals) = request.map(|request| request.signals.clone()) else { return false };
        let (any, problem) = match outcome.read {
            Err(problem) => (false, Some(problem)),
            Ok(Values::Fleet(values, missing)) => {
                let taken = clock.at(outcome.asked);
                (values::keep(&mut self.readings, None, &signals, values, taken, clock), missing)
            }
            Ok(Values::Api(Answer::Fleet { value, taken })) => {
                self.record_stated(&signals, value, taken, clock)
            }
            Ok(Values::Api(Answer::Pods(pods))) => self.record_pods(&signals, &pods, clock),
        };
        for signal in signals {
            if let Some(slot) = self.sourcing.problems.get_mut(usize::from(signal)) {
                slot.clone_from(&problem);
            }
        }
        any
    }

    /// A value of the fleet with the time it says it is of.
    fn record_stated(
        &mut self,
        signals: &[u8],
        value: f64,
        taken: Timestamp,
        clock: &Clock,
    ) -> (bool, Option<String>) {
        if value < 0.0 {
            return (false, Some(format!("the value is {value}, which is no reading")));
        }
        let at = clock.of_wall(taken);
        let mut any = false;
        for &signal in signals {
            any |= self.readings.record_fleet(signal, value, at, at);
        }
        (any, self.outdated(signals, at, clock.now()))
    }

    /// Values by the names of pods. What is of before a pod was ready is of another pod of its name, or of its start.
    fn record_pods(&mut self, signals: &[u8], pods: &[OfPod], clock: &Clock) -> (bool, Option<String>) {
        let (mut any, mut newest, mut negative) = (false, None, false);
        for (&uid, member) in &self.members {
            let PodState::Ready { since } = member.entry.state else { continue };
            let Some(said) = pods.iter().find(|said| said.pod == member.entry.name()) else { continue };
            let at = clock.of_wall(said.taken);
            if at < since {
                continue;
            }
            newest = newest.max(Some(at));
            for (&signal, &value) in signals.iter().zip(&said.values) {
                let recorded =
                    self.readings.record_over(uid, signal, value, at.saturating_sub(said.window), at);
                any |= recorded;
                negative |= !recorded;
            }
        }
        let problem = match newest {
            _ if negative => Some("a value is below 0, which is no reading".to_owned()),
            Some(at) => self.outdated(signals, at, clock.now()),
            None => Some("the API knows none of the ready pods yet".to_owned()),
        };
        (any, problem)
    }

    fn outdated(&self, signals: &[u8], at: Instant, now: Instant) -> Option<String> {
        let signal = self.resolved.policy.signals.get(usize::from(*signals.first()?))?;
        let limit = signal.pace.fresh_span;
        // Without the time, which is another one with every poll.
        (now - at > limit).then(|| format!("the newest value is over {} s old", limit.as_secs()))
    }
}

/// Sources that need the same answer share one request.
fn requests(sources: &[Source]) -> Vec<Request> {
    let mut requests: Vec<Request> = Vec::new();
    for (signal, source) in (0..).zip(sources) {
        let shared = requests.iter_mut().find_map(|request| match (&mut request.kind, source) {
            (RequestKind::Api(Query::Resources(known)), Source::Resource(resource)) => {
                known.push(*resource);
                Some(&mut request.signals)
            }
            (RequestKind::Page { source: known, .. }, Source::Endpoint(source))
                if (&known.address, &known.path, &known.access)
                    == (&source.address, &source.path, &source.access) =>
            {
                Some(&mut request.signals)
            }
            _ => None,
        });
        if let Some(signals) = shared {
            signals.push(signal);
            continue;
        }
        let kind = match source {
            Source::Pod(_) => continue,
            Source::Resource(resource) => RequestKind::Api(Query::Resources(vec![*resource])),
            Source::Custom(metric) => RequestKind::Api(Query::Custom(metric.clone())),
            Source::External(metric) => RequestKind::Api(Query::External(metric.clone())),
            Source::Endpoint(source) => {
                RequestKind::Page { source: Box::new(source.clone()), wanted: Arc::new(Wanted::new(&[])) }
            }
            Source::Prometheus(source) => RequestKind::Prometheus(source.clone()),
        };
        requests.push(Request { kind, signals: vec![signal], interval: source.pace().interval });
    }
    let on_page = |signal: &u8| match &sources[usize::from(*signal)] {
        Source::Endpoint(source) => Some((*signal, &source.metric, source.inflight.as_ref())),
        _ => None,
    };
    for request in &mut requests {
        if let RequestKind::Page { wanted, .. } = &mut request.kind {
            let on_page: Vec<values::OnPage<'_>> = request.signals.iter().filter_map(on_page).collect();
            let (metrics, numbers) = values::on_page(&on_page);
            *wanted = Arc::new(Wanted::new(&metrics).requiring(on_page.len()));
            request.signals = numbers;
        }
    }
    requests
}

#[cfg(test)]
mod tests;

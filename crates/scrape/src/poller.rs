//! One pod, read again and again.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use windlass_metrics::{Detected, Readings, Wanted};

use crate::backoff::Backoff;
use crate::client::{Answer, Client, PAGES, Request};
use crate::detection::Detection;
use crate::filtering::{Filtering, Page};
use crate::meters::{Meters, Value};
use crate::pool::with_readings;
use crate::schedule::{Next, Pacemaker, Tries};
use crate::{Endpoint, Host, ScrapeError, deadline};

/// Where engines have their page, whatever an object says, unless the pod's label names one that has it elsewhere: AIBrix
/// ignores the path and asks here.
const DEFAULT_PATH: &str = "/metrics";

/// Pods of one target are not asked at the same instant, but spread over this part of the interval.
const SPREAD: f64 = 1.0 / 32.0;

/// What a page lacks is looked for again every so many polls: it costs a look at the whole page.
const LOOK_AGAIN: u32 = 30;

/// What one poll gave.
#[derive(Debug)]
pub struct Outcome {
    /// When the page was asked for: what it says is at least as new.
    pub asked: Instant,
    /// One entry per wanted metric; `None` where the page does not have it, or a counter's rate is not known yet. Or why
    /// there are none at all.
    pub values: Result<Vec<Option<Value>>, ScrapeError>,
    /// Why a page that was read has not all of them.
    pub missing: Option<String>,
    /// What was found out of the engine, if it is not what was known before.
    pub detected: Option<Arc<Detected>>,
    /// Whether the page was asked for by name and had all that was needed; else it is the whole one.
    pub filtered: bool,
    /// Bytes of the page, and of one asked for by name before it in vain; 0 if none was complete.
    pub bytes: usize,
    /// The engine's part of the time from asking to the last byte, or to the failure: without what the network takes there
    /// and back, and at least half of all. It spent no more on it, as a rule.
    pub service: Duration,
}

/// Polls one endpoint until it is dropped.
#[derive(Debug)]
pub struct Poller {
    task: JoinHandle<()>,
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Poller {
    /// Begins to poll. `sink` gets every outcome, in order; it must not block. A pod that fails is left alone for a while
    /// now and then.
    pub fn spawn(
        endpoint: Endpoint,
        pacemaker: &Pacemaker,
        wanted: Arc<Wanted>,
        sink: impl FnMut(Outcome) + Send + 'static,
    ) -> Self {
        Self::begin(endpoint, pacemaker, wanted, None, sink)
    }

    /// The same for what is read from an engine's page, and finds out which engine it is.
    pub fn detecting(
        endpoint: Endpoint,
        pacemaker: &Pacemaker,
        detection: Detection,
        sink: impl FnMut(Outcome) + Send + 'static,
    ) -> Self {
        Self::begin(endpoint, pacemaker, detection.wanted(), Some(detection), sink)
    }

    fn begin(
        endpoint: Endpoint,
        pacemaker: &Pacemaker,
        wanted: Arc<Wanted>,
        detection: Option<Detection>,
        mut sink: impl FnMut(Outcome) + Send + 'static,
    ) -> Self {
        let mut beat = pacemaker.beat(SPREAD * chance(&endpoint.host));
        let task = tokio::spawn(async move {
            let mut pod = PolledPod { detection, ..PolledPod::new(endpoint, beat.base, wanted) };
            let mut backoff = Backoff::default();
            let mut tries = Tries::default();
            loop {
                let (began, slow) = (Instant::now(), beat.is_slow());
                let outcome = pod.poll().await;
                let again = slow && outcome.values.is_err() && !backoff.is_failing();
                let wait = backoff.after(outcome.values.as_ref().err(), beat.base, Instant::now());
                sink(outcome);
                match tries.next(began, again) {
                    Next::Again(began) => beat.again(began).await,
                    Next::After(began) => beat.next(began + wait).await,
                }
            }
        });
        Self { task }
    }
}

/// From 0 to 1, for each host another one, and always the same.
fn chance(host: &Host) -> f64 {
    let mut hasher = DefaultHasher::new();
    host.hash(&mut hasher);
    (hasher.finish() % 1024) as f64 / 1024.0
}

/// One page of one pod, read when asked to, on a connection that is kept.
pub struct PolledPod {
    endpoint: Endpoint,
    deadline: Duration,
    wanted: Arc<Wanted>,
    detection: Option<Detection>,
    client: Client,
    filtering: Filtering,
    meters: Meters,
    /// What the page lacked when it was last looked at, and how many polls ago.
    missing: Option<(String, u32)>,
}

/// What was read from a page.
struct Taken {
    asked: Instant,
    values: Vec<Option<Value>>,
    missing: Option<String>,
    detected: Option<Arc<Detected>>,
    filtered: bool,
}

impl PolledPod {
    /// Not connected yet. An answer is waited for as one that is asked for every `interval`.
    pub fn new(endpoint: Endpoint, interval: Duration, wanted: Arc<Wanted>) -> Self {
        Self {
            filtering: Filtering::new(chance(&endpoint.host)),
            endpoint,
            deadline: deadline(interval),
            meters: Meters::new(&wanted),
            wanted,
            detection: None,
            client: Client::default(),
            missing: None,
        }
    }

    /// Reads the page once: by name where that brings as much as the whole page, which is asked for at once if it did not.
    pub async fn poll(&mut self) -> Outcome {
        let began = Instant::now();
        let mut bytes = 0;
        let taken = tokio::time::timeout(self.deadline, self.take(began, &mut bytes)).await;
        let took = began.elapsed();
        let service = took.saturating_sub(self.client.round_trip.unwrap_or_default()).max(took / 2);
        match taken.unwrap_or(Err(ScrapeError::Deadline(self.deadline))) {
            Ok(Taken { asked, values, missing, detected, filtered }) => {
                Outcome { asked, values: Ok(values), missing, detected, filtered, bytes, service }
            }
            Err(error) => {
                self.filtering.failed(began);
                self.detection.iter_mut().for_each(Detection::doubt);
                Outcome {
                    asked: began,
                    values: Err(error),
                    missing: None,
                    detected: None,
                    filtered: false,
                    bytes,
                    service,
                }
            }
        }
    }

    async fn take(&mut self, began: Instant, bytes: &mut usize) -> Result<Taken, ScrapeError> {
        if let Some(query) = self.filtering.query(began) {
            let request = Request { query, accept: PAGES };
            match self.client.fetch(&self.endpoint, request).await.and_then(Answer::page) {
                Ok(page) => {
                    *bytes += page.bytes.len();
                    if let Some(taken) = self.read_by_name(&page, began) {
                        return Ok(taken);
                    }
                }
                Err(error) if error.may_be_of_request() => self.filtering.refused(),
                Err(error) => return Err(error),
            }
        }
        let asked = Instant::now();
        let page = self.fetch_whole().await?;
        *bytes += page.bytes.len();
        self.read_whole(&page, asked)
    }

    /// Nothing if the page is not as good as a whole one.
    fn read_by_name(&mut self, page: &Answer, asked: Instant) -> Option<Taken> {
        with_readings(|readings| {
            if self.wanted.read(&page.bytes, page.format, readings).is_err() {
                self.filtering.refused();
                return None;
            }
            let seen = Page { wanted: &self.wanted, readings, bytes: &page.bytes, format: page.format };
            if !self.filtering.take_by_name(seen, asked) {
                return None;
            }
            if page.lost {
                self.filtering.restarted(asked);
            }
            // A whole page behind this one is asked for because something may have changed.
            self.detection.iter_mut().for_each(Detection::doubt);
            // What it lacks the whole page lacked as well, and said more of.
            let missing = self.look_for_missing(readings, page, u32::MAX);
            let values = self.meters.take(readings, asked);
            Some(Taken { asked, values, missing, detected: None, filtered: true })
        })
    }

    fn read_whole(&mut self, page: &Answer, asked: Instant) -> Result<Taken, ScrapeError> {
        with_readings(|readings| {
            let read = self.wanted.read(&page.bytes, page.format, readings);
            read.map_err(|error| ScrapeError::of_page(error, &page.bytes))?;
            if page.lost {
                self.filtering.restarted(asked);
            }
            let detected = self.detect(page, readings);
            let seen = Page { wanted: &self.wanted, readings, bytes: &page.bytes, format: page.format };
            self.filtering.take_whole(seen, asked);
            let missing = self.look_for_missing(readings, page, LOOK_AGAIN);
            let values = self.meters.take(readings, asked);
            Ok(Taken { asked, values, missing, detected, filtered: false })
        })
    }

    fn detect(&mut self, page: &Answer, readings: &mut Readings) -> Option<Arc<Detected>> {
        let detection = self.detection.as_mut()?;
        if page.lost {
            detection.doubt();
        }
        let detected = detection.look((&page.bytes, page.format), &mut self.wanted, readings);
        if detected.is_some() {
            self.missing = None;
        }
        detected
    }

    /// The declared page, and where there is nothing, or TLS is not spoken, the engine's default one over http, if that is a
    /// page. With anything to protect (credentials, or a say in whom to trust) there is no other place.
    async fn fetch_whole(&mut self) -> Result<Answer, ScrapeError> {
        const WHOLE: Request<'_> = Request { query: "", accept: PAGES };
        let page = self.client.fetch(&self.endpoint, WHOLE).await.and_then(Answer::page);
        let open = self.endpoint.access.as_ref().is_none_or(|access| access.plain_fallback());
        let retried = matches!(page, Err(ScrapeError::Status(StatusCode::NOT_FOUND) | ScrapeError::NotTls));
        let Some(path) = self.default_path().filter(|_| open && retried) else { return page };
        let default = Endpoint { path: path.to_owned(), access: None, ..self.endpoint.clone() };
        let found = Box::pin(self.client.fetch(&default, WHOLE)).await.and_then(Answer::page);
        let readable = |found: &Answer| {
            with_readings(|readings| self.wanted.read(&found.bytes, found.format, readings)).is_ok()
        };
        match found.ok().filter(readable) {
            Some(found) => {
                self.endpoint = default;
                Ok(found)
            }
            // What was declared is what is spoken of.
            None => page,
        }
    }

    /// Where the page may be if it is not where it was declared to be.
    fn default_path(&self) -> Option<&str> {
        let of_engine = self.detection.as_ref().and_then(Detection::default_path);
        let elsewhere = |path: &&str| self.endpoint.access.is_some() || self.endpoint.path != **path;
        of_engine.into_iter().chain([DEFAULT_PATH]).find(elsewhere)
    }

    /// Why not all metrics have a reading, as it was found at most `again` polls ago.
    fn look_for_missing(&mut self, readings: &Readings, page: &Answer, again: u32) -> Option<String> {
        let required = readings.iter().take(self.wanted.required());
        if required.clone().all(Option::is_some) {
            self.missing = None;
            return None;
        }
        let (detection, wanted) = (&self.detection, &self.wanted);
        let why = |index| {
            let absent = readings.on_page().get(index).is_some_and(Option::is_none);
            let of_engine = detection.as_ref().filter(|_| absent);
            let lacks = of_engine.and_then(|detection| detection.why_missing(index));
            lacks.or_else(|| wanted.missing(&page.bytes, page.format, index))
        };
        match &mut self.missing {
            Some((_, ago)) if *ago < again => *ago += 1,
            missing => {
                let lacking = required.enumerate().filter(|(_, reading)| reading.is_none());
                let sentences: Vec<String> = lacking.filter_map(|(at, _)| why(at)).collect();
                *missing = Some((sentences.join("; "), 0));
            }
        }
        self.missing.as_ref().map(|(sentence, _)| sentence.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Schedule;

    #[test]
    fn pods_are_spread_evenly_and_always_in_the_same_way() {
        let host = |at: u16| Host::Address(([10, 0, (at >> 8) as u8, at as u8], 8000).into());
        let mut counts = [0; 10];
        for at in 0..1000 {
            let chance = chance(&host(at));
            assert_eq!(chance, super::chance(&host(at)));
            counts[(chance * 10.0) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (60..140).contains(count)), "{counts:?}");
    }

    #[tokio::test]
    async fn a_pod_is_read_at_its_own_part_of_the_interval() {
        let (interval, origin) = (Duration::from_millis(64), Instant::now());
        let mut beat = Pacemaker::new(Schedule { interval, origin }).beat(0.25);
        for due in [48, 112] {
            beat.next(origin + Duration::from_millis(due - 48)).await;
            let since = Instant::now() - origin;
            assert!(since >= Duration::from_millis(due), "{since:?}");
        }
    }
}

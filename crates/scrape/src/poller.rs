//! One pod, read again and again.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use windlass_metrics::{Readings, Wanted};

use crate::client::{Answer, Client, PAGES};
use crate::meters::{Meters, Value};
use crate::schedule::Pacemaker;
use crate::{Endpoint, ScrapeError, deadline};

/// Where engines have their page, whatever an object says: AIBrix ignores the path and asks here.
const DEFAULT_PATH: &str = "/metrics";

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
    /// Bytes of the page; 0 if none was complete.
    pub bytes: usize,
    /// From asking to the last byte, or to the failure: the engine spent no more on it.
    pub took: Duration,
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
    /// Begins to poll. `sink` gets every outcome, in order; it must not block.
    pub fn spawn(
        endpoint: Endpoint,
        pacemaker: &Pacemaker,
        wanted: Arc<Wanted>,
        mut sink: impl FnMut(Outcome) + Send + 'static,
    ) -> Self {
        let mut beat = pacemaker.beat();
        let task = tokio::spawn(async move {
            let mut pod = PolledPod::new(endpoint, beat.base, wanted);
            loop {
                let began = Instant::now();
                sink(pod.poll().await);
                beat.next(began).await;
            }
        });
        Self { task }
    }
}

/// One page of one pod, read when asked to, on a connection that is kept.
pub struct PolledPod {
    endpoint: Endpoint,
    deadline: Duration,
    wanted: Arc<Wanted>,
    client: Client,
    meters: Meters,
    readings: Readings,
    /// What the page lacked when it was last looked at, and how many polls ago.
    missing: Option<(String, u32)>,
}

impl PolledPod {
    /// Not connected yet. An answer is waited for as one that is asked for every `interval`.
    pub fn new(endpoint: Endpoint, interval: Duration, wanted: Arc<Wanted>) -> Self {
        Self {
            endpoint,
            deadline: deadline(interval),
            meters: Meters::new(&wanted),
            wanted,
            client: Client::default(),
            readings: Readings::default(),
            missing: None,
        }
    }

    /// Reads the page once.
    pub async fn poll(&mut self) -> Outcome {
        let asked = Instant::now();
        let page = tokio::time::timeout(self.deadline, self.fetch()).await;
        let took = asked.elapsed();
        let bytes = page.as_ref().map_or(0, |page| page.as_ref().map_or(0, |page| page.bytes.len()));
        let mut missing = None;
        let values = match page {
            Ok(Ok(page)) => match self.wanted.read(&page.bytes, page.format, &mut self.readings) {
                Ok(()) => {
                    missing = self.look_for_missing(&page.bytes);
                    Ok(self.meters.take(&self.readings, asked, Instant::now()))
                }
                Err(error) => Err(error.into()),
            },
            Ok(Err(error)) => Err(error),
            Err(_) => {
                self.client.disconnect();
                Err(ScrapeError::Deadline(self.deadline))
            }
        };
        Outcome { asked, values, missing, bytes, took }
    }

    /// The declared page, and where there is nothing, or TLS is not spoken, the engine's default one over http. With
    /// anything to protect (credentials, or a say in whom to trust) there is no other place.
    async fn fetch(&mut self) -> Result<Answer, ScrapeError> {
        let page = self.page(&self.endpoint.clone()).await;
        let open = self.endpoint.access.as_ref().is_none_or(|access| access.plain_fallback());
        let elsewhere = self.endpoint.path != DEFAULT_PATH || self.endpoint.access.is_some();
        match page {
            Err(ScrapeError::Status(StatusCode::NOT_FOUND) | ScrapeError::NotTls) if open && elsewhere => {
                self.client.disconnect();
                let default =
                    Endpoint { path: DEFAULT_PATH.to_owned(), access: None, ..self.endpoint.clone() };
                match self.page(&default).await {
                    Ok(found) => {
                        self.endpoint = default;
                        Ok(found)
                    }
                    // What was declared is what is spoken of.
                    Err(_) => page,
                }
            }
            page => page,
        }
    }

    async fn page(&mut self, endpoint: &Endpoint) -> Result<Answer, ScrapeError> {
        self.client.fetch(endpoint, PAGES).await?.page()
    }

    fn look_for_missing(&mut self, page: &[u8]) -> Option<String> {
        let required = self.readings.iter().take(self.wanted.required());
        if required.clone().all(Option::is_some) {
            self.missing = None;
            return None;
        }
        match &mut self.missing {
            Some((_, ago)) if *ago < LOOK_AGAIN => *ago += 1,
            missing => {
                let lacking = required.enumerate().filter(|(_, reading)| reading.is_none());
                let sentences: Vec<String> =
                    lacking.filter_map(|(at, _)| self.wanted.missing(page, at)).collect();
                *missing = Some((sentences.join("; "), 0));
            }
        }
        self.missing.as_ref().map(|(sentence, _)| sentence.clone())
    }
}

//! One pod, read again and again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use windlass_metrics::{Meter, Readings, Sample, Wanted};

use crate::ScrapeError;
use crate::client::{Client, Page};

/// Where engines have their page, whatever an object says: AIBrix ignores the path and asks here.
const DEFAULT_PATH: &str = "/metrics";

/// Where a page is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Address and port.
    pub address: SocketAddr,
    /// Path, with a query if one is needed; begins with `/`.
    pub path: String,
}

/// When a page is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// From one poll to the next. A poll's deadline is nine tenths of it.
    pub interval: Duration,
    /// Polls happen at whole intervals after `origin`. Pods of one target share it, so that a round is short;
    /// different targets have different ones, so that the load is spread. The first poll happens at once.
    pub origin: Instant,
}

impl Schedule {
    /// The first scheduled instant after `now`.
    fn next(&self, now: Instant) -> Instant {
        let since = now.saturating_duration_since(self.origin).as_nanos();
        let interval = self.interval.as_nanos().max(1);
        let mut missing = interval - since % interval;
        if missing < interval / 2 {
            // Too soon after the first poll: a counter's rate over an instant says nothing.
            missing += interval;
        }
        now + Duration::from_nanos(u64::try_from(missing).unwrap_or(u64::MAX))
    }
}

/// What one poll gave.
#[derive(Debug)]
pub struct Outcome {
    /// When the page was asked for: what it says is at least as new.
    pub asked: Instant,
    /// One entry per wanted metric; `None` where the page does not have it, or a counter's rate is not known yet. Or why
    /// there are none at all.
    pub values: Result<Vec<Option<Value>>, ScrapeError>,
    /// Bytes of the page; 0 if none was complete.
    pub bytes: usize,
}

/// The value of one metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Value {
    /// In the metric's unit; counters as their rate per second.
    pub value: f64,
    /// Where what it tells of begins: for a rate when the page before was asked for, else when this one was.
    pub since: Instant,
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
        schedule: Schedule,
        wanted: Arc<Wanted>,
        mut sink: impl FnMut(Outcome) + Send + 'static,
    ) -> Self {
        let task = tokio::spawn(async move {
            let mut pod = PolledPod::new(endpoint, schedule.interval, wanted);
            loop {
                let began = Instant::now();
                sink(pod.poll().await);
                // Counted from the beginning: a poll that took long does not shift the others.
                tokio::time::sleep_until(schedule.next(began).max(Instant::now())).await;
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
    /// Each metric from reading to reading, and when the page of a counter's last reading was asked for.
    meters: Vec<(Meter, Instant)>,
    first: Instant,
    readings: Readings,
}

impl PolledPod {
    /// Not connected yet. A poll's deadline is nine tenths of `interval`.
    pub fn new(endpoint: Endpoint, interval: Duration, wanted: Arc<Wanted>) -> Self {
        Self {
            endpoint,
            deadline: interval * 9 / 10,
            meters: vec![(Meter::default(), Instant::now()); wanted.len()],
            wanted,
            client: Client::default(),
            first: Instant::now(),
            readings: Readings::default(),
        }
    }

    /// Reads the page once.
    pub async fn poll(&mut self) -> Outcome {
        let asked = Instant::now();
        let page = tokio::time::timeout(self.deadline, self.fetch()).await;
        let bytes = page.as_ref().map_or(0, |page| page.as_ref().map_or(0, |page| page.bytes.len()));
        let values = match page {
            Ok(Ok(page)) => match self.wanted.read(&page.bytes, page.format, &mut self.readings) {
                Ok(()) => Ok(self.values(asked, Instant::now())),
                Err(error) => Err(error.into()),
            },
            Ok(Err(error)) => Err(error),
            Err(_) => {
                self.client.disconnect();
                Err(ScrapeError::Deadline(self.deadline))
            }
        };
        Outcome { asked, values, bytes }
    }

    /// The declared path, and where there is nothing the default one.
    async fn fetch(&mut self) -> Result<Page, ScrapeError> {
        let page = self.client.fetch(&self.endpoint).await;
        match page {
            Err(ScrapeError::Status(StatusCode::NOT_FOUND)) if self.endpoint.path != DEFAULT_PATH => {
                let default = Endpoint { path: DEFAULT_PATH.to_owned(), ..self.endpoint.clone() };
                let page = self.client.fetch(&default).await;
                if page.is_ok() {
                    self.endpoint = default;
                }
                page
            }
            page => page,
        }
    }

    fn values(&mut self, asked: Instant, received: Instant) -> Vec<Option<Value>> {
        let at = received - self.first;
        let pairs = self.readings.iter().zip(&mut self.meters);
        pairs
            .map(|(reading, (meter, counted))| {
                let reading = reading.as_ref()?;
                let since = match reading.sample {
                    Sample::Gauge(_) => asked,
                    _ => std::mem::replace(counted, asked),
                };
                meter.push(reading, at).map(|value| Value { value, since })
            })
            .collect()
    }
}

//! A load generator for OpenAI-compatible engines, real or simulated.
//!
//! [`Load::start`] sends completions to the ready pods of a target, as a gateway would, and accounts for what comes back.
//! An *open* load keeps its schedule whatever the engines do; a *closed* load has users who wait for their answers. An
//! arrival that cannot be sent in time is sent late, never dropped; the latencies of an open load count from the
//! scheduled arrival, so that a slow fleet cannot hide the wait it causes (no coordinated omission), and how late the
//! generator itself was is reported beside them.
//!
//! ```no_run
//! # async fn run(client: kube::Client) -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use windlass_testbed::load::{Load, Spec, Target, Traffic};
//! use windlass_workload::{Length, Lengths, Process, seeded};
//!
//! let lengths = Lengths::Independent { prompt: Length::Fixed(512), output: Length::Fixed(128) };
//! let arrivals = "2:30s,20:60s".parse::<Process>()?.arrivals(&lengths, seeded(1));
//! let load = Load::start(client, Target::deployment("default", "llama2-70b"), Spec::new(Traffic::open(arrivals)));
//! let load = load.await?;
//! tokio::time::sleep(Duration::from_secs(10)).await;
//! println!("{}", load.snapshot());
//! load.finished().await;
//! println!("{}", load.stop().await);
//! # Ok(())
//! # }
//! ```

mod account;
mod completion;
mod pods;
mod report;
mod routes;
mod run;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use windlass_workload::{Arrival, Lengths};

use account::Account;
use completion::Sender;

pub use account::{Failure, Quantiles, Snapshot, Summary};
pub use completion::PromptAs;
pub use pods::{Selection, Target};
pub use routes::{Policy, Route, Routes, UnknownPolicy};

/// When requests are sent.
pub enum Traffic {
    /// At these times, whatever becomes of the requests before.
    Open(Box<dyn Iterator<Item = Arrival> + Send>),
    /// By users who send, wait for the answer, think and send again.
    Closed {
        /// How many there are; all begin at once.
        users: usize,
        /// From an answer to the user's next request. After a failure at least a second.
        think_time: Duration,
        /// How long the requests are.
        lengths: Lengths,
        /// From which the lengths are drawn.
        seed: u64,
        /// After this no new requests are sent; never, if `None`.
        duration: Option<Duration>,
    },
}

impl Traffic {
    /// An open load of these arrivals.
    pub fn open(arrivals: impl Iterator<Item = Arrival> + Send + 'static) -> Self {
        Self::Open(Box::new(arrivals))
    }
}

impl std::fmt::Debug for Traffic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Open(_) => f.write_str("Open"),
            Self::Closed { users, .. } => write!(f, "Closed({users} users)"),
        }
    }
}

/// What is sent, when and how.
#[derive(Debug)]
pub struct Spec {
    /// When requests are sent, and how long they are.
    pub traffic: Traffic,
    /// The model that requests name; without one they get whichever the pod serves.
    pub model: Option<String>,
    /// How the length of a prompt is conveyed.
    pub prompt_as: PromptAs,
    /// Which pod gets a request.
    pub policy: Policy,
    /// How long one attempt may take, from sending to the end of the answer.
    pub timeout: Duration,
    /// How often a request that failed before its first token is sent again, to a pod chosen anew. Time-outs are not.
    pub retries: u32,
    /// How many requests may be in flight; those beyond are sent late. Each has a connection of its own.
    pub max_in_flight: usize,
    /// How long [`Load::stop`] waits for the requests in flight.
    pub drain: Duration,
}

impl Spec {
    /// This traffic for whichever model the pods serve, least-inflight, with a time-out of ten minutes, no retries, at most
    /// 10,000 requests in flight and half a minute to drain.
    pub fn new(traffic: Traffic) -> Self {
        Self {
            traffic,
            model: None,
            prompt_as: PromptAs::default(),
            policy: Policy::default(),
            timeout: Duration::from_mins(10),
            retries: 0,
            max_in_flight: 10_000,
            drain: Duration::from_secs(30),
        }
    }
}

/// Why a load cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Deployment does not exist.
    #[error("there is no Deployment {name} in namespace {namespace}")]
    NoDeployment {
        /// Where it was looked for.
        namespace: String,
        /// Which one.
        name: String,
    },
    /// The Deployment's selector cannot be used.
    #[error("the selector of Deployment {0} cannot be read")]
    Selector(String),
    /// The API server does not answer, or refuses.
    #[error("the API server cannot be asked for the target")]
    Api(#[from] kube::Error),
    /// The limits of the histograms are wrong: a mistake of this module.
    #[error("there is no histogram")]
    Histogram(#[from] hdrhistogram::CreationError),
}

/// A running load. Dropping it ends it at once.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    drain: Duration,
    _watch: Option<AbortOnDropHandle<()>>,
}

/// What all requests share.
#[derive(Debug)]
struct Shared {
    sender: Sender,
    routes: Routes,
    policy: Policy,
    retries: u32,
    account: Mutex<Account>,
    began: Instant,
    slots: Arc<Semaphore>,
    tasks: TaskTracker,
    /// No new requests.
    stop: CancellationToken,
    /// No requests at all.
    abort: CancellationToken,
}

impl Load {
    /// Starts sending to the target's ready pods. Returns when the pods that exist are known.
    pub async fn start(client: Client, target: Target, spec: Spec) -> Result<Self, Error> {
        let routes = Routes::default();
        let watch = pods::follow(client, &target, routes.clone()).await?;
        Self::begin(routes, spec, Some(watch))
    }

    /// Starts sending to pods that somebody else puts into `routes`.
    pub fn start_on(routes: Routes, spec: Spec) -> Result<Self, Error> {
        Self::begin(routes, spec, None)
    }

    fn begin(routes: Routes, spec: Spec, watch: Option<AbortOnDropHandle<()>>) -> Result<Self, Error> {
        let shared = Arc::new(Shared {
            sender: Sender::new(spec.model, spec.prompt_as, spec.timeout),
            routes,
            policy: spec.policy,
            retries: spec.retries,
            account: Mutex::new(Account::new()?),
            began: Instant::now(),
            slots: Arc::new(Semaphore::new(spec.max_in_flight.clamp(1, Semaphore::MAX_PERMITS))),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            abort: CancellationToken::new(),
        });
        crate::file_limit::raise();
        run::begin(&shared, spec.traffic);
        Ok(Self { shared, drain: spec.drain, _watch: watch })
    }

    /// The counts so far, and the latencies *since the last call*: meant for one reader that looks regularly.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.account.lock().snapshot(self.shared.began.elapsed())
    }

    /// Everything so far. Changes nothing.
    pub fn summary(&self) -> Summary {
        self.shared.account.lock().summary()
    }

    /// Completes when the load has ended of itself and the last answer has come.
    pub async fn finished(&self) {
        self.shared.tasks.wait().await;
    }

    /// Sends no more, waits for the requests in flight, at most [`Spec::drain`], and abandons what is left.
    pub async fn stop(self) -> Summary {
        self.shared.stop.cancel();
        if tokio::time::timeout(self.drain, self.shared.tasks.wait()).await.is_err() {
            self.shared.abort.cancel();
            self.shared.tasks.wait().await;
        }
        self.summary()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.cancel();
        self.shared.abort.cancel();
    }
}

#[cfg(test)]
mod tests;

//! Windlass on Kubernetes: watches become facts, facts and readings become decisions, decisions become writes.
//!
//! The arithmetic is in [`windlass_scaling`]; this crate is the shell round it. See `ARCHITECTURE.md` for the way
//! of the data.

mod admin;
mod announce;
mod autoscaler;
mod catalogue;
mod clock;
mod credentials;
mod hpa;
mod index;
mod journal;
mod leadership;
mod lease;
mod metrics_apis;
mod outages;
mod pace;
mod pod;
mod pulse;
mod reads;
mod selector;
mod served_crd;
mod status;
mod target;
mod tasks;
mod watches;
mod write;

use std::sync::{Arc, Weak};
use std::time::Duration;

use kube::Client;
use parking_lot::Mutex;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

pub use admin::{Admin, AdminError};
pub use autoscaler::{Shares, is_deciding};
pub use catalogue::{CatalogueFile, CatalogueFileError};
use clock::Clock;
use index::Index;
use journal::Journal;
pub use leadership::Leadership;
pub use lease::{Election, Loss, Timing, TimingError};
pub use watches::with_timeouts;

/// How a controller runs.
#[derive(Debug, Default)]
pub struct Options {
    /// The election to stand in; without one this controller leads from the start, and must be the only one.
    pub election: Option<Election>,
    /// Which `PodAutoscaler`s are this controller's, as a label selector; none: all.
    pub selector: Option<String>,
    /// Only recommend: nothing is written, not even a status, an event or a Lease. It leads from the start, whatever
    /// the election, and may run beside another autoscaler.
    pub recommend_only: bool,
    /// How long the controller of a HorizontalPodAutoscaler may still write after it is gone: kube-controller-manager's
    /// `--horizontal-pod-autoscaler-sync-period`; its default of 15 s, if none.
    pub hpa_sync_period: Option<Duration>,
    /// What reading pods' pages may cost. None: every page is read once a second, whatever happens.
    pub shares: Option<Shares>,
    /// What extends the built-in catalogue of metrics.
    pub catalogue: Option<CatalogueFile>,
    /// Where it tells of itself; nowhere, if none.
    pub admin: Option<Admin>,
}

/// What the tasks of a controller share.
struct Shared {
    index: Mutex<Index>,
    clock: Clock,
    /// Single reads under way at most: a start with thousands of targets must not be a storm.
    reads: Semaphore,
    leadership: watch::Receiver<Leadership>,
    recommend_only: bool,
    journal: Journal,
    pulses: pulse::Pulses,
    served_crd: served_crd::Finding,
    catalogue: catalogue::Standing,
}

/// Single reads of the API server at a time.
const READS_AT_A_TIME: usize = 64;
/// At the end, writes under way and then the last statuses are waited for this long each.
const DRAIN: Duration = Duration::from_secs(5);

/// Every pod is a connection that is kept, and the usual 1024 files are soon gone. Failing leaves the limit as it is.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// Runs the controller until `shutdown` completes; then ends what is under way and gives leadership back. Fails only if
/// leadership was lost, or one of its tasks ends, which none does unless it panicked: then the process must not go on
/// as if nothing had happened.
pub async fn run(
    client: Client,
    options: Options,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ControllerError> {
    raise_file_limit();
    let recommend_only = options.recommend_only;
    let clock = Clock::start();
    let journal = Journal::default();
    let (lead, leadership) = watch::channel(Leadership::default());
    let (requests, tasks) = mpsc::unbounded_channel();
    let shared = Arc::new_cyclic(|weak: &Weak<Shared>| {
        let (weak, weak_for_sources) = (weak.clone(), weak.clone());
        let sink = Arc::new(move |key: &_, uid, page, outcome| {
            if let Some(shared) = weak.upgrade() {
                shared.index.lock().polled(key, uid, page, outcome);
            }
        });
        let weak = weak_for_sources;
        let source_sink = Arc::new(move |key: &_, id, outcome| {
            if let Some(shared) = weak.upgrade() {
                shared.index.lock().source_polled(key, id, outcome);
            }
        });
        let reader = autoscaler::SourceReader::new(client.clone(), source_sink);
        // The receiver lives as long as the controller: a task that cannot be sent is of a controller that has ended.
        let ask = Box::new(move |task| drop(requests.send(task)));
        Shared {
            index: Mutex::new(
                Index::new(clock, sink, ask, journal.clone())
                    .recommending(recommend_only)
                    .reading_by(reader)
                    .attending(options.shares)
                    .with_hpa_sync_period(options.hpa_sync_period),
            ),
            clock,
            reads: Semaphore::new(READS_AT_A_TIME),
            leadership: leadership.clone(),
            recommend_only,
            journal: journal.clone(),
            pulses: pulse::Pulses::new(clock.now()),
            served_crd: served_crd::Finding::default(),
            catalogue: catalogue::Standing::default(),
        }
    });
    let mut running = JoinSet::new();
    running.spawn(watches::watch_autoscalers(client.clone(), Arc::clone(&shared), options.selector));
    running.spawn(watches::watch_pods(client.clone(), Arc::clone(&shared)));
    running.spawn(served_crd::look(client.clone(), Arc::clone(&shared)));
    running.spawn(hpa::watch_hpas(client.clone(), Arc::clone(&shared)));
    running.spawn(watches::watch_scaled_objects(client.clone(), Arc::clone(&shared)));
    if let Some(file) = options.catalogue {
        shared.index.lock().use_catalogue(Arc::clone(file.catalogue()));
        running.spawn(catalogue::follow(file, Arc::clone(&shared)));
    }
    running.spawn(tasks::tick(Arc::clone(&shared)));
    running.spawn(tasks::begin_leading(Arc::clone(&shared)));
    if options.shares.is_some() {
        running.spawn(autoscaler::watch_own_usage(Arc::clone(&shared)));
    }
    if let Some(admin) = options.admin {
        running.spawn(admin.serve(Arc::clone(&shared)));
    }
    let gate = leadership::Gate::new(leadership, clock);
    let gate = if recommend_only { gate.closed() } else { gate };
    let writer = write::Writer::new(client.clone(), gate, journal);
    let ending = Ending::default();
    let statuses = status::write_statuses(writer.clone(), Arc::clone(&shared), ending.flush.clone());
    running.spawn(ending.statuses.track_future(statuses));
    running.spawn(tasks::perform(client.clone(), writer, Arc::clone(&shared), tasks, ending.writes.clone()));
    let election = options.election.filter(|_| !recommend_only);
    let resign = CancellationToken::new();
    let standing = lease::stand_or_lead(client, election, clock, lead, resign.clone());
    let mut standing = AbortOnDropHandle::new(tokio::spawn(standing));
    let outcome = tokio::select! {
        () = shutdown => Ok(()),
        ended = running.join_next() => Err(match ended {
            Some(Err(error)) => ControllerError::Task(error),
            _ => ControllerError::Ended,
        }),
        ended = &mut standing => Err(ended_standing(ended)),
    };
    shared.index.lock().stop();
    outcome?;
    tokio::select! {
        () = ending.finish() => {}
        // No write is let through any more, and there is nothing to give back.
        ended = &mut standing => return Err(ended_standing(ended)),
    }
    resign.cancel();
    standing.await.map_err(ControllerError::Task)?.map_err(ControllerError::Leadership)
}

fn ended_standing(ended: Result<Result<(), Loss>, tokio::task::JoinError>) -> ControllerError {
    match ended {
        Ok(Ok(())) => ControllerError::Ended,
        Ok(Err(loss)) => ControllerError::Leadership(loss),
        Err(error) => ControllerError::Task(error),
    }
}

/// What is finished before leadership is given back.
#[derive(Default)]
struct Ending {
    writes: TaskTracker,
    flush: CancellationToken,
    statuses: TaskTracker,
}

impl Ending {
    async fn finish(&self) {
        self.writes.close();
        if tokio::time::timeout(DRAIN, self.writes.wait()).await.is_err() {
            tracing::warn!(writes = self.writes.len(), "writes under way are given up");
        }
        self.flush.cancel();
        self.statuses.close();
        if tokio::time::timeout(DRAIN, self.statuses.wait()).await.is_err() {
            tracing::warn!("the last statuses are given up");
        }
    }
}

/// Why a controller ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// One of its tasks panicked.
    #[error("a task of the controller failed: {0}")]
    Task(#[source] tokio::task::JoinError),
    /// One of its tasks returned, which none should.
    #[error("a task of the controller ended")]
    Ended,
    /// It does not lead any more. A new start is the clean way back to following.
    #[error("leadership was lost, and with it the right to scale; start again to follow")]
    Leadership(#[source] Loss),
}

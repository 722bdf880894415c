//! Windlass on Kubernetes: watches become facts, facts and readings become decisions, decisions become writes.
//!
//! The arithmetic is in [`windlass_scaling`]; this crate is the shell round it. See `ARCHITECTURE.md` for the way
//! of the data.

mod autoscaler;
mod clock;
mod index;
mod pod;
mod reads;
mod selector;
mod status;
mod tasks;
mod watches;
mod write;

use std::sync::{Arc, Weak};

use kube::Client;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

pub use autoscaler::is_deciding;
use clock::Clock;
use index::Index;

/// What the tasks of a controller share.
struct Shared {
    index: Mutex<Index>,
    clock: Clock,
    /// Single reads under way at most: a start with thousands of targets must not be a storm.
    reads: Semaphore,
}

/// Single reads of the API server at a time.
const READS_AT_A_TIME: usize = 64;

/// Runs the controller until `shutdown` completes. Fails only if one of its tasks ends, which none does unless it
/// panicked: then the process must not go on as if nothing had happened.
pub async fn run(client: Client, shutdown: impl Future<Output = ()>) -> Result<(), ControllerError> {
    let clock = Clock::start();
    let (requests, tasks) = mpsc::unbounded_channel();
    let shared = Arc::new_cyclic(|weak: &Weak<Shared>| {
        let weak = weak.clone();
        let sink = Arc::new(move |key: &_, uid, page, outcome| {
            if let Some(shared) = weak.upgrade() {
                shared.index.lock().polled(key, uid, page, outcome);
            }
        });
        // The receiver lives as long as the controller: a task that cannot be sent is of a controller that has ended.
        let ask = Box::new(move |task| drop(requests.send(task)));
        Shared {
            index: Mutex::new(Index::new(clock, sink, ask)),
            clock,
            reads: Semaphore::new(READS_AT_A_TIME),
        }
    });
    let mut running = JoinSet::new();
    running.spawn(watches::watch_autoscalers(client.clone(), Arc::clone(&shared)));
    running.spawn(watches::watch_pods(client.clone(), Arc::clone(&shared)));
    running.spawn(tasks::tick(Arc::clone(&shared)));
    let writer = write::Writer::new(client.clone());
    running.spawn(status::write_statuses(writer.clone(), Arc::clone(&shared)));
    running.spawn(tasks::perform(client, writer, shared, tasks));
    tokio::select! {
        () = shutdown => Ok(()),
        ended = running.join_next() => Err(match ended {
            Some(Err(error)) => ControllerError::Task(error),
            _ => ControllerError::Ended,
        }),
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
}

//! What follows from a change of the index: ticks, reads, and the writing of decisions.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::core::GroupVersionKind;
use kube::runtime::events::EventType;
use kube::{Client, Resource};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::task::TaskTracker;
use windlass_api::status::ScalingRecord;

use crate::announce::Announcement;
use crate::autoscaler::{Active, Key, ScaleRequest};
use crate::index::Task;
use crate::journal::{Entry, NotScaled, NotScaledBecause, Scaled};
use crate::pulse::Loop;
use crate::write::{WriteError, Writer};
use crate::{Shared, hpa, reads, watches};

/// The longest sleep between two looks at what is due: a wake-up set meanwhile may be this late.
const IDLE: Duration = Duration::from_millis(100);

/// Who else writes is waited for this long before anything is decided: a list may be forbidden.
const WRITERS_KNOWN: Duration = Duration::from_secs(5);

/// Decides each target when its tick or a limit's wake-up is due.
pub(crate) async fn tick(shared: Arc<Shared>) {
    loop {
        let due = shared.index.lock().decide_due();
        shared.pulses.beat(Loop::Decisions, shared.clock.now());
        let longest = tokio::time::Instant::now() + IDLE;
        let until = due.map_or(longest, |due| shared.clock.to_tokio(due).min(longest));
        tokio::time::sleep_until(until).await;
    }
}

/// Lets the index begin when this process leads, and stop at once when it does not any more.
pub(crate) async fn begin_leading(shared: Arc<Shared>) {
    let mut leadership = shared.leadership.clone();
    let began = leadership.wait_for(|leadership| leadership.leading).await.is_ok();
    if began {
        let knows = async {
            while !shared.index.lock().knows_writers() {
                tokio::time::sleep(IDLE).await;
            }
        };
        if tokio::time::timeout(WRITERS_KNOWN, knows).await.is_err() {
            tracing::warn!("not all that may scale is listed yet: conflicts may be found late");
        }
        shared.index.lock().lead();
        if leadership.wait_for(|leadership| !leadership.leading).await.is_ok() {
            shared.index.lock().stop();
        }
    }
    // Who ends the process is whoever ended leadership.
    std::future::pending::<()>().await;
}

/// Performs tasks as they come. A panic in one of them is the controller's. `under_way` are the writes.
pub(crate) async fn perform(
    client: Client,
    writer: Writer,
    shared: Arc<Shared>,
    mut tasks: UnboundedReceiver<Task>,
    under_way: TaskTracker,
) {
    let mut running = JoinSet::new();
    let mut scale_reads: HashMap<Key, AbortHandle> = HashMap::new();
    let mut kind_watches: HashMap<GroupVersionKind, AbortHandle> = HashMap::new();
    loop {
        let task = tokio::select! {
            task = tasks.recv() => task,
            Some(ended) = running.join_next() => {
                match ended {
                    Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    _ => continue,
                }
            }
        };
        let (client, shared) = (client.clone(), Arc::clone(&shared));
        match task {
            None => return,
            Some(Task::WatchKind(kind)) => {
                let watch = running.spawn(watches::watch_kind(client, shared, kind.clone()));
                kind_watches.insert(kind, watch);
            }
            Some(Task::EndWatch(kind)) => {
                if let Some(watch) = kind_watches.remove(&kind) {
                    watch.abort();
                }
            }
            Some(Task::ReadScale(key)) => {
                let read = running.spawn(reads::read_scale(client, shared, key.clone()));
                // The newest read knows best.
                if let Some(older) = scale_reads.insert(key, read) {
                    older.abort();
                }
                scale_reads.retain(|_, read| !read.is_finished());
            }
            Some(Task::ReadOwner { namespace, object }) => {
                running.spawn(reads::read_owner(client, shared, namespace, object));
            }
            // Decided in a term that is over.
            Some(Task::Scale(_) | Task::Hpa(_)) if !shared.index.lock().leads() => {}
            Some(Task::Announce(told)) => {
                let writer = writer.clone();
                running.spawn(under_way.track_future(async move {
                    let (about, announcement) = *told;
                    writer.event(about, announcement).await;
                }));
            }
            Some(Task::Hpa(request)) => {
                running.spawn(under_way.track_future(hpa::carry_out(writer.clone(), shared, *request)));
            }
            Some(Task::Scale(request)) => {
                running.spawn(under_way.track_future(scale(writer.clone(), shared, *request)));
            }
        }
    }
}

/// Writes one decision, and notes what came of it.
async fn scale(writer: Writer, shared: Arc<Shared>, request: ScaleRequest) {
    let outcome = writer.scale(&request).await;
    let key = &request.key;
    let (from, to) = (request.from, request.to);
    let record = |error: Option<String>| ScalingRecord {
        timestamp: Time(Timestamp::now()),
        previous_scale: i32::try_from(from).unwrap_or(i32::MAX),
        new_scale: i32::try_from(to).unwrap_or(i32::MAX),
        reason: request.reason.clone(),
        success: error.is_none(),
        error,
    };
    let object = {
        let index = shared.index.lock();
        index.autoscalers.get(key).map(|autoscaler| autoscaler.object.object_ref(&()))
    };
    let not_scaled = |because, error: &WriteError| {
        NotScaled { request: &request, because, error }.record(&shared.journal);
    };
    match outcome {
        Ok(replicas) => {
            let after_reading = request.reading.map(|at| shared.clock.now() - at);
            Scaled { request: &request, replicas, after_reading }.record(&shared.journal);
            note(&shared, &request, Some(record(None)), |active, now| {
                active.written(Ok(replicas), now);
            });
            if let Some(object) = object {
                let note = format!("New size: {replicas}; reason: {}", request.reason);
                let reason = "SuccessfulRescale";
                writer.event(object, Announcement { type_: EventType::Normal, reason, note }).await;
            }
        }
        Err(error @ WriteError::NotLeading) => {
            not_scaled(NotScaledBecause::NotLeading, &error);
            note(&shared, &request, None, Active::not_leading);
            // If the term is renewed all the same: a write that was cut off may have been made.
            shared.index.lock().read_scale_again(key);
        }
        Err(error @ WriteError::Overtaken(current)) => {
            not_scaled(NotScaledBecause::Overtaken, &error);
            note(&shared, &request, None, |active, now| active.overtaken(current, now));
            shared.index.lock().read_scale_again(key);
        }
        Err(error) => {
            let problem = format!("replicas cannot be set to {to}: {error}");
            not_scaled(NotScaledBecause::Failed, &error);
            let mut news = false;
            note(&shared, &request, Some(record(Some(error.to_string()))), |active, now| {
                news = active.written(Err(problem.clone()), now);
            });
            if let Some(object) = object.filter(|_| news) {
                let reason = "FailedRescale";
                let announcement = Announcement { type_: EventType::Warning, reason, note: problem };
                writer.event(object, announcement).await;
            }
            shared.index.lock().read_scale_again(key);
        }
    }
}

/// Notes the end of a write, unless its object or target is another one by now.
fn note(
    shared: &Shared,
    request: &ScaleRequest,
    record: Option<ScalingRecord>,
    change: impl FnOnce(&mut Active, windlass_scaling::Instant),
) {
    shared.index.lock().after_write(&request.key, |autoscaler, now| {
        // Also while the count cannot be read for a moment: or the write would be under way for ever.
        if !autoscaler.state.as_ref().is_ok_and(|active| active.is_target(&request.uid)) {
            return;
        }
        if let Some(record) = record {
            autoscaler.remember(record);
        }
        if let Ok(active) = &mut autoscaler.state {
            change(active, now);
        }
    });
}

//! Status: written when replicas, bounds, a condition, the capacity, a health class or the reason of a silence changed, and
//! never otherwise.
//!
//! Whether that is so is seen from the [`Essence`], which costs little; only then is the text made.

mod conditions;
mod essence;
mod hpa;
mod text;

pub(crate) use conditions::{CONFLICT, CONTESTED};

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio_util::sync::CancellationToken;
use windlass_api::PodAutoscalerStatus;
use windlass_scaling::Instant;

use crate::Shared;
use crate::autoscaler::Key;
use crate::journal::{Entry, StatusWritten};
use crate::pace::Pace;
use crate::pulse::Loop;
use crate::write::{WriteError, Writer};
use essence::Essence;

/// How often changed statuses are written, and how many at a time.
const INTERVAL: Duration = Duration::from_millis(250);
const AT_A_TIME: usize = 16;
/// After a failed write the next one waits this long, doubling up to the longest.
const BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_mins(1);

/// Of one object as many are written at once, then one in this time: pods that come and go for ever must not be a flood.
const BURST: u32 = 5;
const EACH: Duration = Duration::from_secs(2);

/// What was written last about an object, and over which version.
struct Written {
    uid: Option<String>,
    essence: Essence,
    status: PodAutoscalerStatus,
    /// The object's version as the watch knew it, and the version the write made of it.
    over: Option<String>,
    made: Option<String>,
}

/// A status to be written.
struct Change {
    key: Key,
    uid: Option<String>,
    essence: Essence,
    status: PodAutoscalerStatus,
    /// As the watch knows it.
    known: Option<String>,
    over: Option<String>,
}

/// What is remembered of the writes.
#[derive(Default)]
struct Ledger {
    written: HashMap<Key, Written>,
    /// Until when, and after what pause.
    failing: HashMap<Key, (Instant, Duration)>,
    paces: HashMap<Key, Pace>,
}

/// Writes the statuses that changed while we lead; once more at `stop`, and that is the end.
pub(crate) async fn write_statuses(writer: Writer, shared: Arc<Shared>, stop: CancellationToken) {
    let mut ledger = Ledger::default();
    let mut stopped = false;
    while !stopped {
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = stop.cancelled() => stopped = true,
        }
        shared.pulses.beat(Loop::Statuses, shared.clock.now());
        if writer.leads() {
            ledger.write_changed(&writer, &shared, stopped).await;
        }
    }
}

impl Ledger {
    async fn write_changed(&mut self, writer: &Writer, shared: &Shared, last: bool) {
        let calls = self.changed(shared, last).into_iter().map(|change| async {
            let fitted = shared.served_crd.fitted(&change.status);
            let outcome = writer.status(&change.key, change.over.as_deref(), &fitted).await;
            (change, outcome)
        });
        let mut outcomes = futures::stream::iter(calls).buffer_unordered(AT_A_TIME);
        let mut again = Vec::new();
        while let Some((Change { key, uid, essence, status, known, .. }, outcome)) = outcomes.next().await {
            shared.pulses.beat(Loop::Statuses, shared.clock.now());
            match outcome {
                Ok(made) => {
                    StatusWritten { key: &key, error: None }.record(&shared.journal);
                    self.failing.remove(&key);
                    self.written.insert(key, Written { uid, essence, status, over: known, made });
                    continue;
                }
                Err(WriteError::NotLeading) => {}
                Err(error) => {
                    // A conflict means that the watch has not brought the newest version yet.
                    let first = if error.is_conflict() { INTERVAL } else { BACKOFF };
                    let before = self.failing.get(&key);
                    let backoff = before.map_or(first, |(_, last)| (*last * 2).min(LONGEST_BACKOFF));
                    if backoff >= BACKOFF {
                        StatusWritten { key: &key, error: Some(&error) }.record(&shared.journal);
                    }
                    self.failing.insert(key.clone(), (shared.clock.now() + backoff, backoff));
                }
            }
            again.push(key);
        }
        shared.index.lock().status_due.extend(again);
    }

    /// What is to be written now; what is not yet stays due. The `last` time nothing is put off.
    fn changed(&mut self, shared: &Shared, last: bool) -> Vec<Change> {
        let now = shared.clock.now();
        let mut index = shared.index.lock();
        let due = std::mem::take(&mut index.status_due);
        self.forget_all_but(|key| index.autoscalers.contains_key(key), index.autoscalers.len());
        let (mut changed, mut later) = (Vec::new(), Vec::new());
        for key in due {
            let Some(autoscaler) = index.autoscalers.get(&key) else { continue };
            if !index.is_settled(autoscaler, now) {
                later.push(key);
                continue;
            }
            let metadata = &autoscaler.object.metadata;
            let own = self.written.get(&key).filter(|own| own.uid == metadata.uid);
            let essence = Essence::of(autoscaler);
            if own.is_some_and(|own| own.essence == essence) {
                continue;
            }
            let failing = self.failing.get(&key).is_some_and(|(not_before, _)| *not_before > now);
            let pace = self.paces.entry(key.clone()).or_insert(Pace::new(BURST, EACH));
            if !last && (failing || !pace.take(now)) {
                later.push(key);
                continue;
            }
            let before = own.map(|own| &own.status).or(autoscaler.object.status.as_ref());
            let status = text::status_of(autoscaler, before, &index.clock);
            let (uid, known) = (metadata.uid.clone(), metadata.resource_version.clone());
            if own.is_none() && before.is_some_and(|before| text::says_the_same(before, &status)) {
                // By the process before this one.
                let written = Written { uid, essence, status, over: known.clone(), made: known };
                self.written.insert(key, written);
                continue;
            }
            // Until the watch shows our own write, the newest version we know is the one that it made.
            let over = own.filter(|own| own.over == known).map_or(&known, |own| &own.made).clone();
            changed.push(Change { key, uid, essence, status, known, over });
        }
        index.status_due.extend(later);
        changed
    }

    /// What is remembered of objects that are gone is dropped, when there is more of it than there are objects.
    fn forget_all_but(&mut self, lives: impl Fn(&Key) -> bool, objects: usize) {
        if self.paces.len() > objects {
            self.written.retain(|key, _| lives(key));
            self.failing.retain(|key, _| lives(key));
            self.paces.retain(|key, _| lives(key));
        }
    }
}

#[cfg(test)]
mod tests;

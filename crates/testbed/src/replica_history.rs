//! What `spec.replicas` and the ready replicas of Deployments were over time, from a watch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use parking_lot::Mutex;
use tokio::task::JoinHandle;

/// One change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// When the watch told of it.
    pub at: Instant,
    /// `spec.replicas`.
    pub asked: i32,
    /// `status.readyReplicas`.
    pub ready: i32,
}

type Changes = BTreeMap<String, Vec<Change>>;

/// Follows all Deployments of a namespace until it is dropped.
#[derive(Debug)]
pub struct ReplicaHistory {
    changes: Arc<Mutex<Changes>>,
    watch: JoinHandle<()>,
}

impl ReplicaHistory {
    /// Begins to follow. The first entry of a Deployment is how it was found.
    pub fn follow(deployments: Api<Deployment>) -> Self {
        let changes = Arc::new(Mutex::new(Changes::new()));
        let noted = Arc::clone(&changes);
        let watch = tokio::spawn(async move {
            let objects =
                watcher(deployments, watcher::Config::default()).default_backoff().applied_objects();
            let mut objects = objects.boxed();
            loop {
                match objects.try_next().await {
                    Ok(Some(object)) => note(&mut noted.lock(), &object, Instant::now()),
                    Ok(None) => return,
                    Err(error) => tracing::warn!(%error, "watch of Deployments failed, trying again"),
                }
            }
        });
        Self { changes, watch }
    }

    /// All changes of a Deployment so far, oldest first.
    pub fn of(&self, deployment: &str) -> Vec<Change> {
        self.changes.lock().get(deployment).cloned().unwrap_or_default()
    }

    /// How a Deployment is now, if it is known.
    pub fn now(&self, deployment: &str) -> Option<Change> {
        self.changes.lock().get(deployment)?.last().copied()
    }

    /// The values of `spec.replicas` since `since`, without repetitions: the first is the one in force then.
    pub fn asked_since(&self, deployment: &str, since: Instant) -> Vec<(Instant, i32)> {
        let changes = self.of(deployment);
        let before = changes.iter().rposition(|change| change.at <= since).unwrap_or(0);
        let mut asked: Vec<(Instant, i32)> =
            changes[before.min(changes.len())..].iter().map(|change| (change.at, change.asked)).collect();
        asked.dedup_by_key(|(_, replicas)| *replicas);
        asked
    }
}

impl Drop for ReplicaHistory {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

fn note(changes: &mut Changes, object: &Deployment, at: Instant) {
    let asked = object.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let ready = object.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0);
    let known = changes.entry(object.name_any()).or_default();
    if known.last().is_none_or(|last| (last.asked, last.ready) != (asked, ready)) {
        known.push(Change { at, asked, ready });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn repetitions_are_left_out_and_the_first_is_the_one_in_force() {
        let origin = Instant::now();
        let at = |secs| origin + std::time::Duration::from_secs(secs);
        let mut changes = Changes::new();
        for (secs, asked, ready) in [(0, 2, 0), (1, 2, 2), (1, 2, 2), (5, 4, 2), (6, 4, 4), (9, 3, 3)] {
            let object = serde_json::json!({
                "metadata": {"name": "a"},
                "spec": {"replicas": asked, "selector": {}, "template": {}},
                "status": {"readyReplicas": ready},
            });
            note(&mut changes, &serde_json::from_value(object).unwrap(), at(secs));
        }
        let history =
            ReplicaHistory { changes: Arc::new(Mutex::new(changes)), watch: tokio::spawn(async {}) };
        assert_eq!(history.of("a").len(), 5);
        assert_eq!(history.asked_since("a", at(0)), [(at(0), 2), (at(5), 4), (at(9), 3)]);
        assert_eq!(history.asked_since("a", at(7)), [(at(6), 4), (at(9), 3)]);
        assert_eq!(history.asked_since("b", at(0)), []);
        assert_eq!(history.now("a"), Some(Change { at: at(9), asked: 3, ready: 3 }));
    }
}

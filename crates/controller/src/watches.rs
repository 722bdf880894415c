//! Watches that keep the index true.

mod rivals;

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::core::{DeserializeGuard, DynamicObject, GroupVersionKind, PartialObjectMeta};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use windlass_api::PodAutoscaler;

use crate::Shared;
use crate::autoscaler::Key;
use crate::index::ObjectVersion;
use crate::journal::{Entry, ObjectUnreadable, WatchFailed};
use crate::pulse::Loop;

pub(crate) use rivals::watch_scaled_objects;

/// An API call that lasts longer has failed.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// How soon a kind that was not served is looked for again.
const KIND_RETRY: Duration = Duration::from_secs(10);

/// The API server ends a watch after this; the watcher waits 5 s longer for an event. It is how long a connection that
/// died silently goes unnoticed, and a new watch from where the last one ended costs next to nothing.
const WATCH_TIMEOUT: u32 = 60;
/// Nothing was read for this long: longer than any watch is silent. It ends lists that hang.
const READ_TIMEOUT: Duration = Duration::from_secs(75);
/// A watch that has nothing to say turns this often all the same.
const PULSE: Duration = Duration::from_secs(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const WRITE_TIMEOUT: Duration = Duration::from_secs(15);

/// The configuration of a client whose calls all end, whatever the network does. kube's own has no read time-out.
#[must_use]
pub fn with_timeouts(mut config: kube::Config) -> kube::Config {
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    // Otherwise the time a pooled connection was idle would count.
    config.reset_reader_on_write = true;
    config.write_timeout = Some(WRITE_TIMEOUT);
    config
}

pub(crate) fn watching() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_TIMEOUT)
}

/// Follows a watch for ever; errors are logged and retried with back-off by the watcher. Nothing happening is no standstill.
pub(crate) async fn follow<K>(
    what: &str,
    shared: &Shared,
    pulse: Option<Loop>,
    stream: impl Stream<Item = Result<Event<K>, watcher::Error>>,
    mut on: impl FnMut(Event<K>),
) {
    let mut stream = pin!(stream);
    loop {
        if let Some(pulse) = pulse {
            shared.pulses.beat(pulse, shared.clock.now());
        }
        match tokio::time::timeout(PULSE, stream.try_next()).await {
            Ok(Ok(Some(event))) => on(event),
            Ok(Ok(None)) => return,
            Ok(Err(error)) => WatchFailed { watch: what, error: &error }.record(&shared.journal),
            Err(_) => {}
        }
    }
}

/// Watches the `PodAutoscaler`s that the label selector selects, or all.
pub(crate) async fn watch_autoscalers(client: Client, shared: Arc<Shared>, selector: Option<String>) {
    let api: Api<DeserializeGuard<PodAutoscaler>> = Api::all(client);
    let config = selector.iter().fold(watching(), |config, selector| config.labels(selector));
    let stream = watcher(api, config).default_backoff();
    let mut listed = HashSet::new();
    let key = |object: &DeserializeGuard<PodAutoscaler>| Key {
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
    };
    let apply = |object: DeserializeGuard<PodAutoscaler>| match object.0 {
        Ok(object) => shared.index.lock().apply_autoscaler(object),
        Err(invalid) => {
            let name = invalid.metadata.name.as_deref().unwrap_or_default();
            ObjectUnreadable { name, error: &invalid.error }.record(&shared.journal);
        }
    };
    follow("podautoscalers", &shared, Some(Loop::Autoscalers), stream, |event| match event {
        Event::Init => listed.clear(),
        Event::InitApply(object) => {
            listed.insert(key(&object));
            apply(object);
        }
        Event::InitDone => shared.index.lock().retain_autoscalers(&listed),
        Event::Apply(object) => apply(object),
        Event::Delete(object) => shared.index.lock().delete_autoscaler(&key(&object)),
    })
    .await;
}

pub(crate) async fn watch_pods(client: Client, shared: Arc<Shared>) {
    let stream = watcher(Api::<Pod>::all(client), watching()).default_backoff();
    let mut listed = HashSet::new();
    follow("pods", &shared, Some(Loop::Pods), stream, |event| {
        let mut index = shared.index.lock();
        match event {
            Event::Init => listed.clear(),
            Event::InitApply(pod) => listed.extend(index.apply_pod(pod)),
            Event::InitDone => index.retain_pods(&listed),
            Event::Apply(pod) => drop(index.apply_pod(pod)),
            Event::Delete(pod) => index.pod_deleted(&pod),
        }
    })
    .await;
}

/// Watches the metadata of all objects of a kind that some PodAutoscaler scales.
pub(crate) async fn watch_kind(client: Client, shared: Arc<Shared>, kind: GroupVersionKind) {
    let resource = loop {
        let found = tokio::time::timeout(CALL_TIMEOUT, kube::discovery::pinned_kind(&client, &kind)).await;
        let problem = match found {
            Ok(Ok((resource, _))) => break resource,
            Ok(Err(error)) => format!(
                "the kind {} of {} is not served here ({error}); correct spec.scaleTargetRef or install its CRD",
                kind.kind,
                kind.api_version()
            ),
            Err(_) => format!("the API server did not say in time whether it serves {}", kind.kind),
        };
        shared.index.lock().kind_resolved(&kind, Err(problem));
        tokio::time::sleep(KIND_RETRY).await;
    };
    shared.index.lock().kind_resolved(&kind, Ok(resource.clone()));
    let api: Api<PartialObjectMeta<DynamicObject>> = Api::all_with(client, &resource);
    let stream = watcher(api, watching()).default_backoff();
    let mut listed = HashSet::new();
    let name = |object: &PartialObjectMeta<DynamicObject>| {
        (object.namespace().unwrap_or_default(), object.name_any())
    };
    let seen = |object: &PartialObjectMeta<DynamicObject>| {
        let (namespace, name) = name(object);
        let version = ObjectVersion { uid: object.uid(), generation: object.metadata.generation };
        shared.index.lock().target_seen(&kind, &namespace, &name, version);
    };
    follow(&kind.kind, &shared, None, stream, |event| match event {
        Event::Init => listed.clear(),
        Event::InitApply(object) => {
            listed.insert(name(&object));
            seen(&object);
        }
        Event::InitDone => shared.index.lock().kind_synced(&kind, &listed),
        Event::Apply(object) => seen(&object),
        Event::Delete(object) => {
            let (namespace, name) = name(&object);
            shared.index.lock().target_gone(&kind, &namespace, &name);
        }
    })
    .await;
}

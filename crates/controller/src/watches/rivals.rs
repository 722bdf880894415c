//! Watches of autoscalers that are not ours: HorizontalPodAutoscalers, and KEDA's ScaledObjects where there are any.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::core::{DynamicObject, GroupVersionKind};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};

use super::{CALL_TIMEOUT, follow, watching};
use crate::Shared;
use crate::index::{Rival, RivalKind};

/// How soon KEDA is looked for again: it may be installed later.
const KEDA_RETRY: Duration = Duration::from_mins(1);

/// Watches all HorizontalPodAutoscalers.
pub(crate) async fn watch_hpas(client: Client, shared: Arc<Shared>) {
    let stream = watcher(Api::<HorizontalPodAutoscaler>::all(client), watching()).default_backoff();
    let kind = RivalKind::HorizontalPodAutoscaler;
    watch("horizontalpodautoscalers", &shared, kind, stream, Rival::of_hpa).await;
}

/// Watches KEDA's ScaledObjects once their kind is served.
pub(crate) async fn watch_scaled_objects(client: Client, shared: Arc<Shared>) {
    let kind = GroupVersionKind::gvk("keda.sh", "v1alpha1", "ScaledObject");
    let resource = loop {
        let found = tokio::time::timeout(CALL_TIMEOUT, kube::discovery::pinned_kind(&client, &kind)).await;
        if let Ok(Ok((resource, _))) = found {
            break resource;
        }
        tokio::time::sleep(KEDA_RETRY).await;
    };
    let api: Api<DynamicObject> = Api::all_with(client, &resource);
    let stream = watcher(api, watching()).default_backoff();
    watch("scaledobjects", &shared, RivalKind::ScaledObject, stream, Rival::of_scaled_object).await;
}

async fn watch<K: ResourceExt>(
    what: &str,
    shared: &Shared,
    kind: RivalKind,
    stream: impl Stream<Item = Result<Event<K>, watcher::Error>>,
    rival: impl Fn(&K) -> Rival,
) {
    let mut listed = HashSet::new();
    let name = |object: &K| (object.namespace().unwrap_or_default(), object.name_any());
    let seen = |object: &K| {
        let (namespace, name) = name(object);
        shared.index.lock().rival_seen(kind, &namespace, &name, &rival(object));
    };
    follow(what, shared, None, stream, |event| match event {
        Event::Init => listed.clear(),
        Event::InitApply(object) => {
            listed.insert(name(&object));
            seen(&object);
        }
        Event::InitDone => shared.index.lock().retain_rivals(kind, &listed),
        Event::Apply(object) => seen(&object),
        Event::Delete(object) => {
            let (namespace, name) = name(&object);
            shared.index.lock().rival_gone(kind, &namespace, &name);
        }
    })
    .await;
}

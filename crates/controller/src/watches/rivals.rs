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
use windlass_api::{Part, TargetRef};

use super::{CALL_TIMEOUT, follow, watching};
use crate::Shared;
use crate::index::{Rival, RivalKind};
use crate::pod::ControllerRef;

/// How soon KEDA is looked for again: it may be installed later.
const KEDA_RETRY: Duration = Duration::from_mins(1);

fn target(api_version: Option<&str>, kind: Option<&str>, name: Option<&str>) -> TargetRef {
    // KEDA's defaults; an HPA always names all three.
    let text = |field: Option<&str>, default: &str| field.unwrap_or(default).to_owned();
    TargetRef {
        api_version: text(api_version, "apps/v1"),
        kind: text(kind, "Deployment"),
        name: text(name, ""),
        part: Part::Whole,
    }
}

/// Watches all HorizontalPodAutoscalers.
pub(crate) async fn watch_hpas(client: Client, shared: Arc<Shared>) {
    let stream = watcher(Api::<HorizontalPodAutoscaler>::all(client), watching()).default_backoff();
    watch("horizontalpodautoscalers", &shared, RivalKind::HorizontalPodAutoscaler, stream, |hpa| {
        let reference = hpa.spec.as_ref().map(|spec| &spec.scale_target_ref);
        let api_version = reference.and_then(|reference| reference.api_version.as_deref());
        target(
            // Core, as in an object reference.
            Some(api_version.unwrap_or("v1")),
            reference.map(|reference| reference.kind.as_str()),
            reference.map(|reference| reference.name.as_str()),
        )
    })
    .await;
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
    watch("scaledobjects", &shared, RivalKind::ScaledObject, stream, |object| {
        let reference = &object.data["spec"]["scaleTargetRef"];
        target(reference["apiVersion"].as_str(), reference["kind"].as_str(), reference["name"].as_str())
    })
    .await;
}

async fn watch<K: ResourceExt>(
    what: &str,
    shared: &Shared,
    kind: RivalKind,
    stream: impl Stream<Item = Result<Event<K>, watcher::Error>>,
    target: impl Fn(&K) -> TargetRef,
) {
    let mut listed = HashSet::new();
    let name = |object: &K| (object.namespace().unwrap_or_default(), object.name_any());
    let seen = |object: &K| {
        let (namespace, name) = name(object);
        let rival = Rival { target: target(object), controller: ControllerRef::of(object) };
        shared.index.lock().rival_seen(kind, &namespace, &name, &rival);
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

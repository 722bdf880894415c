//! The watch of KEDA's ScaledObjects, where there are any. (HorizontalPodAutoscalers are watched in `hpa`.)

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use kube::core::{DynamicObject, GroupVersionKind};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Event, watcher};
use kube::{Api, Client, ResourceExt};

use super::{CALL_TIMEOUT, follow, watching};
use crate::Shared;
use crate::index::{Rival, RivalKind};

/// How soon KEDA is looked for again: it may be installed later.
const KEDA_RETRY: Duration = Duration::from_mins(1);

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
    let name = |object: &DynamicObject| (object.namespace().unwrap_or_default(), object.name_any());
    let seen = |object: &DynamicObject| {
        let (namespace, name) = name(object);
        let rival = Rival::of_scaled_object(object);
        shared.index.lock().rival_seen(RivalKind::ScaledObject, &namespace, &name, &rival);
    };
    let mut listed = HashSet::new();
    follow("scaledobjects", &shared, None, stream, |event| match event {
        Event::Init => listed.clear(),
        Event::InitApply(object) => {
            listed.insert(name(&object));
            seen(&object);
        }
        Event::InitDone => shared.index.lock().retain_rivals(RivalKind::ScaledObject, &listed),
        Event::Apply(object) => seen(&object),
        Event::Delete(object) => {
            let (namespace, name) = name(&object);
            shared.index.lock().rival_gone(RivalKind::ScaledObject, &namespace, &name);
        }
    })
    .await;
}

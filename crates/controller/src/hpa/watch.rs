//! The watch of all HorizontalPodAutoscalers: ours are kept as they should be, others' are known by their targets.

use std::collections::HashSet;
use std::sync::Arc;

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};

use crate::Shared;
use crate::autoscaler::Key;
use crate::watches::{follow, watching};

/// Watches the HorizontalPodAutoscalers of all namespaces.
pub(crate) async fn watch_hpas(client: Client, shared: Arc<Shared>) {
    let told = Arc::clone(&shared);
    let stream = watcher(Api::<HorizontalPodAutoscaler>::all(client), watching());
    let stream = futures::StreamExt::inspect(stream, move |event| {
        if let Err(error) = event
            && let Some(why) = refused(error)
        {
            told.index.lock().hpas_refused(why);
        }
    });
    let mut listed = HashSet::new();
    follow("horizontalpodautoscalers", &shared, None, stream.default_backoff(), |event| {
        let mut index = shared.index.lock();
        match event {
            Event::Init => listed.clear(),
            Event::InitApply(hpa) => {
                listed.insert(key_of(&hpa));
                index.apply_hpa(hpa);
            }
            Event::InitDone => index.retain_hpas(&listed),
            Event::Apply(hpa) => index.apply_hpa(hpa),
            Event::Delete(hpa) => index.hpa_deleted(&key_of(&hpa)),
        }
    })
    .await;
}

pub(crate) fn key_of(hpa: &HorizontalPodAutoscaler) -> Key {
    Key { namespace: hpa.namespace().unwrap_or_default(), name: hpa.name_any() }
}

/// Why they may not be listed, if that will not pass by itself.
fn refused(error: &watcher::Error) -> Option<String> {
    let (watcher::Error::InitialListFailed(source) | watcher::Error::WatchStartFailed(source)) = error else {
        return None;
    };
    match source {
        kube::Error::Api(status) if matches!(status.code, 401 | 403 | 404) => Some(status.message.clone()),
        _ => None,
    }
}

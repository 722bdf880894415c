//! The watches that feed the registry.

use std::collections::HashSet;

use futures::StreamExt;
use futures::stream::BoxStream;
use kube::api::ApiResource;
use kube::core::GroupVersionKind;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client};
use tracing::warn;

use super::Kubelets;
use super::directory::{Service, WatchedService};
use super::objects::{Pod, WatchedPod, WatchedWorkload, Workload, WorkloadKind};
use super::registry::Registry;

/// What happened to the objects of one kind.
enum Change<T> {
    Applied(T),
    Deleted(T),
    /// All there are: at the beginning, and whenever a watch had to begin anew.
    All(Vec<T>),
}

/// Follows workloads, pods and Services until the future is dropped.
pub(super) async fn follow(kubelets: Kubelets) {
    let client = &kubelets.calls.client;
    let mut registry = Registry::default();
    let mut workloads = futures::stream::SelectAll::new();
    let mut unseen: HashSet<_> = WorkloadKind::WATCHED.into();
    for kind in WorkloadKind::WATCHED {
        workloads.push(watch_workloads(client, kind).map(move |change| (kind, change)).boxed());
    }
    let mut pods = watch_pods(client);
    let mut services = watch_services(client);
    loop {
        tokio::select! {
            Some((kind, change)) = workloads.next() => {
                if matches!(change, Change::All(_)) {
                    unseen.remove(&kind);
                }
                apply_workload(&mut registry, kind, change);
            }
            // Pods come after the workloads that exist: then a pod that is adopted is never without an owner.
            Some(change) = pods.next(), if unseen.is_empty() => apply_pod(&mut registry, &kubelets, change),
            Some(change) = services.next() => apply_service(&kubelets, change),
        }
    }
}

fn apply_workload(registry: &mut Registry, kind: WorkloadKind, change: Change<Workload>) {
    match change {
        Change::Applied(workload) => registry.apply_workload(workload),
        Change::Deleted(workload) => registry.remove_workload(&workload.uid),
        Change::All(all) => registry.resync_workloads(kind, all),
    }
}

fn apply_pod(registry: &mut Registry, kubelets: &Kubelets, change: Change<Pod>) {
    match change {
        Change::Applied(pod) => run_pod(registry, kubelets, &pod),
        Change::Deleted(pod) => {
            registry.remove_pod(&pod.uid);
            kubelets.directory.remove_pod(&pod.uid);
        }
        Change::All(mut all) => {
            let alive = all.iter().map(|pod| pod.uid.clone()).collect();
            registry.retain_pods(&alive);
            kubelets.directory.retain_pods(&alive);
            // Those with an address first, so that it is reserved before others take one.
            all.sort_by_key(|pod| pod.address.is_none());
            for pod in all {
                run_pod(registry, kubelets, &pod);
            }
        }
    }
}

fn apply_service(kubelets: &Kubelets, change: Change<Service>) {
    match change {
        Change::Applied(service) => kubelets.directory.put_service(service),
        Change::Deleted(service) => kubelets.directory.remove_service(&service.uid),
        Change::All(all) => kubelets.directory.set_services(all),
    }
}

fn run_pod(registry: &mut Registry, kubelets: &Kubelets, pod: &Pod) {
    let Some(host) = kubelets.hosts.get(&pod.node).copied() else {
        return;
    };
    kubelets.directory.put_pod(pod);
    if let Some(new) = registry.apply_pod(pod) {
        kubelets.start(host, new);
    }
}

fn watch_workloads(client: &Client, kind: WorkloadKind) -> BoxStream<'static, Change<Workload>> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", kind.name()));
    let api: Api<WatchedWorkload> = Api::all_with(client.clone(), &resource);
    let events = watch(api, watcher::Config::default()).default_backoff().boxed();
    changes(events, move |object| Workload::read(kind, object))
}

fn watch_pods(client: &Client) -> BoxStream<'static, Change<Pod>> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Pod"));
    let api: Api<WatchedPod> = Api::all_with(client.clone(), &resource);
    // Only bound pods have a node; the others are nobody's to run yet.
    let bound = watcher::Config::default().fields("spec.nodeName!=");
    let events = watch(api, bound).default_backoff().boxed();
    changes(events, Pod::read)
}

fn watch_services(client: &Client) -> BoxStream<'static, Change<Service>> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Service"));
    let api: Api<WatchedService> = Api::all_with(client.clone(), &resource);
    let events = watch(api, watcher::Config::default()).default_backoff().boxed();
    changes(events, Service::read)
}

/// Turns watch events into changes: a list is collected until it is complete, errors are logged and waited out.
fn changes<K: Send + 'static, T: Send + 'static>(
    events: BoxStream<'static, watcher::Result<Event<K>>>,
    read: impl Fn(K) -> T + Send + 'static,
) -> BoxStream<'static, Change<T>> {
    let mut all = Vec::new();
    let changes = events.filter_map(move |event| {
        let change = match event {
            Ok(Event::Apply(object)) => Some(Change::Applied(read(object))),
            Ok(Event::Delete(object)) => Some(Change::Deleted(read(object))),
            Ok(Event::Init) => {
                all.clear();
                None
            }
            Ok(Event::InitApply(object)) => {
                all.push(read(object));
                None
            }
            Ok(Event::InitDone) => Some(Change::All(std::mem::take(&mut all))),
            Err(error) => {
                warn!(%error, "watch failed, trying again");
                None
            }
        };
        std::future::ready(change)
    });
    changes.boxed()
}

//! Follows the pods that a load goes to.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;

use futures::{Stream, StreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::core::Selector;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use super::{Error, Routes};

/// Where vLLM listens unless told otherwise.
const PORT: u16 = 8000;

/// Whom a load goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where the pods are.
    pub namespace: String,
    /// Which of them.
    pub selection: Selection,
    /// Where they listen; without it the pod's first container port, else 8000.
    pub port: Option<u16>,
}

/// Which pods of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// What the Deployment of this name selects.
    Deployment(String),
    /// What this label selector selects, as kubectl writes it: `app=llama2-70b`.
    Labels(String),
}

impl Target {
    /// The pods of a Deployment.
    pub fn deployment(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            selection: Selection::Deployment(name.to_owned()),
            port: None,
        }
    }
}

/// Keeps `routes` true until the handle is dropped. Returns when the pods that exist are in.
pub(super) async fn follow(
    client: Client,
    target: &Target,
    routes: Routes,
) -> Result<AbortOnDropHandle<()>, Error> {
    let labels = match &target.selection {
        Selection::Labels(labels) => labels.clone(),
        Selection::Deployment(name) => selector(&client, &target.namespace, name).await?,
    };
    let api: Api<Pod> = Api::namespaced(client, &target.namespace);
    // Asked once before it is watched: a watch would try for ever what is forbidden.
    let config = watcher::Config::default().labels(&labels);
    api.list_metadata(&ListParams::default().labels(&labels).limit(1)).await?;
    let (listed, all_listed) = oneshot::channel();
    let port = target.port;
    let task = tokio::spawn(async move {
        let stream = watcher(api, config).default_backoff();
        keep(stream, port, &routes, listed).await;
    });
    let task = AbortOnDropHandle::new(task);
    // A watch ends only with the task, and then there is nothing to wait for.
    let _ = all_listed.await;
    Ok(task)
}

async fn selector(client: &Client, namespace: &str, name: &str) -> Result<String, Error> {
    let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let Some(deployment) = api.get_opt(name).await? else {
        return Err(Error::NoDeployment { namespace: namespace.to_owned(), name: name.to_owned() });
    };
    let unreadable = || Error::Selector(name.to_owned());
    let labels = deployment.spec.ok_or_else(unreadable)?.selector;
    Selector::try_from(labels).map(|selector| selector.to_string()).map_err(|_| unreadable())
}

async fn keep(
    stream: impl Stream<Item = watcher::Result<Event<Pod>>>,
    port: Option<u16>,
    routes: &Routes,
    listed: oneshot::Sender<()>,
) {
    let mut stream = pin!(stream);
    let mut listed = Some(listed);
    let mut seen = HashSet::new();
    while let Some(event) = stream.next().await {
        match event {
            Ok(Event::Init) => seen.clear(),
            Ok(Event::InitApply(pod)) => {
                seen.extend(pod.metadata.uid.clone());
                apply(routes, &pod, port);
            }
            Ok(Event::InitDone) => {
                routes.retain(&seen);
                listed.take().map(|listed| listed.send(()));
            }
            Ok(Event::Apply(pod)) => apply(routes, &pod, port),
            Ok(Event::Delete(pod)) => routes.remove(pod.metadata.uid.as_deref().unwrap_or_default()),
            Err(error) => warn!(%error, "watch of the load's pods failed, trying again"),
        }
    }
}

fn apply(routes: &Routes, pod: &Pod, port: Option<u16>) {
    let Some(uid) = &pod.metadata.uid else {
        return;
    };
    match address(pod, port) {
        Some(address) => routes.set(uid, address, is_ready(pod)),
        None => routes.remove(uid),
    }
}

fn address(pod: &Pod, port: Option<u16>) -> Option<SocketAddr> {
    let ip: IpAddr = pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()?;
    let ports = pod.spec.iter().flat_map(|spec| &spec.containers).filter_map(|one| one.ports.as_ref());
    let first = ports.flatten().next().and_then(|port| u16::try_from(port.container_port).ok());
    Some(SocketAddr::new(ip, port.or(first).unwrap_or(PORT)))
}

/// As a Service's endpoints are: ready, and not on its way out.
fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready =
        conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"));
    ready && pod.metadata.deletion_timestamp.is_none()
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use serde_json::{Value, json};

    use super::*;
    use crate::load::Policy;

    fn pod(uid: &str, ip: &str, ready: &str, ports: &Value) -> Value {
        json!({
            "metadata": {"name": uid, "uid": uid},
            "spec": {"containers": [{"name": "sidecar"}, {"name": "engine", "ports": ports}]},
            "status": {"podIP": ip, "conditions": [
                {"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": ready},
            ]},
        })
    }

    fn read(value: Value) -> Pod {
        serde_json::from_value(value).unwrap()
    }

    /// What one pod's events leave behind: where a request goes.
    #[track_caller]
    fn check(value: Value, port: Option<u16>, expected: Option<&str>) {
        let routes = Routes::default();
        apply(&routes, &read(value), port);
        let route = routes.pick(Policy::RoundRobin).map(|route| route.address().to_string());
        assert_eq!(route.as_deref(), expected);
    }

    #[test]
    fn addresses() {
        let ports = json!([{"containerPort": 9000}, {"containerPort": 9001}]);
        check(pod("a", "10.0.0.1", "True", &ports), None, Some("10.0.0.1:9000"));
        check(pod("a", "10.0.0.1", "True", &ports), Some(8080), Some("10.0.0.1:8080"));
        check(pod("a", "fd00::1", "True", &json!([])), None, Some("[fd00::1]:8000"));
        check(pod("a", "10.0.0.1", "False", &ports), None, None);
        check(pod("a", "", "True", &ports), None, None);
        check(json!({"metadata": {"uid": "a"}, "spec": {"containers": []}}), None, None);
        let mut going = pod("a", "10.0.0.1", "True", &ports);
        going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        check(going, None, None);
    }

    #[tokio::test]
    async fn a_list_replaces_what_was_known() {
        let routes = Routes::default();
        let ready = |uid: &str, ip: &str| read(pod(uid, ip, "True", &json!([])));
        let events = vec![
            Ok(Event::Init),
            Ok(Event::InitApply(ready("a", "10.0.0.1"))),
            Ok(Event::InitApply(ready("b", "10.0.0.2"))),
            Ok(Event::InitDone),
            Err(watcher::Error::NoResourceVersion),
            Ok(Event::Apply(read(pod("a", "10.0.0.1", "False", &json!([]))))),
            Ok(Event::Init),
            Ok(Event::InitApply(ready("c", "10.0.0.3"))),
            Ok(Event::InitApply(ready("d", "10.0.0.4"))),
            Ok(Event::InitDone),
            Ok(Event::Delete(ready("d", "10.0.0.4"))),
        ];
        let (listed, all_listed) = oneshot::channel();
        keep(stream::iter(events).boxed(), None, &routes, listed).await;
        all_listed.await.unwrap();
        let route = routes.pick(Policy::LeastInflight).unwrap();
        assert_eq!((routes.ready(), route.address().to_string()), (1, "10.0.0.3:8000".to_owned()));
    }
}

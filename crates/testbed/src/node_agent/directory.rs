//! Which pods and Services there are, for those that look them up: load generators and the metrics API.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use kube::core::Object;
use parking_lot::RwLock;
use serde::Deserialize;

use super::objects::{Pod, Uid};

/// A Service as the API server sends it, read only as far as the agent needs.
pub(super) type WatchedService = Object<WatchedServiceSpec, kube::core::NotUsed>;

#[derive(Clone, Debug, Deserialize)]
pub(super) struct WatchedServiceSpec {
    #[serde(default)]
    selector: BTreeMap<String, String>,
    #[serde(default)]
    ports: Vec<WatchedServicePort>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WatchedServicePort {
    port: u16,
    target_port: Option<TargetPort>,
}

/// Where a Service sends to: a number, or the name of a container's port.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum TargetPort {
    Number(u16),
    Name(String),
}

/// What a Service stands for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Service {
    pub(super) uid: Uid,
    namespace: String,
    name: String,
    selector: BTreeMap<String, String>,
    ports: Vec<(u16, TargetPort)>,
}

impl Service {
    pub(super) fn read(object: WatchedService) -> Self {
        let WatchedService { metadata, spec, .. } = object;
        let target =
            |port: WatchedServicePort| (port.port, port.target_port.unwrap_or(TargetPort::Number(port.port)));
        Self {
            uid: metadata.uid.unwrap_or_default(),
            namespace: metadata.namespace.unwrap_or_default(),
            name: metadata.name.unwrap_or_default(),
            selector: spec.selector,
            ports: spec.ports.into_iter().map(target).collect(),
        }
    }
}

/// Why a host name leads nowhere; worded as wget does where it has words.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(super) enum Unresolved {
    #[error("bad address {0:?}: it is not the name of a Service")]
    Host(String),
    #[error("the Service {0} has no port {1}")]
    Port(String, u16),
    #[error("connection refused: the Service {0} has no ready pod")]
    NoPod(String),
}

/// Shared by all that look things up.
#[derive(Clone, Debug, Default)]
pub(super) struct Directory {
    tables: Arc<RwLock<Tables>>,
}

#[derive(Debug, Default)]
struct Tables {
    pods: HashMap<Uid, Pod>,
    services: HashMap<Uid, Service>,
}

impl Directory {
    pub(super) fn put_pod(&self, pod: &Pod) {
        self.tables.write().pods.insert(pod.uid.clone(), pod.clone());
    }

    pub(super) fn remove_pod(&self, uid: &Uid) {
        self.tables.write().pods.remove(uid);
    }

    pub(super) fn retain_pods(&self, alive: &HashSet<Uid>) {
        self.tables.write().pods.retain(|uid, _| alive.contains(uid));
    }

    pub(super) fn put_service(&self, service: Service) {
        self.tables.write().services.insert(service.uid.clone(), service);
    }

    pub(super) fn remove_service(&self, uid: &Uid) {
        self.tables.write().services.remove(uid);
    }

    pub(super) fn set_services(&self, all: Vec<Service>) {
        self.tables.write().services = all.into_iter().map(|one| (one.uid.clone(), one)).collect();
    }

    /// Calls `see` with every pod on a node, in no order.
    pub(super) fn each_pod(&self, see: impl FnMut(&Pod)) {
        self.tables.read().pods.values().for_each(see);
    }

    /// The ready pods behind a host name, as a pod of this namespace sees it, each with the port to connect to.
    pub(super) fn resolve(
        &self,
        namespace: &str,
        host: &str,
        port: u16,
    ) -> Result<Vec<SocketAddrV4>, Unresolved> {
        let tables = self.tables.read();
        let (name, namespace) =
            service_name(host, namespace).ok_or_else(|| Unresolved::Host(host.to_owned()))?;
        let service = tables.services.values().find(|one| one.name == name && one.namespace == namespace);
        let service = service.ok_or_else(|| Unresolved::Host(host.to_owned()))?;
        let full_name = || format!("{namespace}/{name}");
        let target = service.ports.iter().find(|(number, _)| *number == port);
        let (_, target) = target.ok_or_else(|| Unresolved::Port(full_name(), port))?;
        let behind = tables.pods.values().filter(|pod| pod.namespace == namespace && pod.is_ready());
        let backends: Vec<_> = behind.filter_map(|pod| backend(service, target, pod)).collect();
        if backends.is_empty() { Err(Unresolved::NoPod(full_name())) } else { Ok(backends) }
    }
}

/// Where in this pod the Service sends to, if it is one of its pods. A Service without a selector has none.
fn backend(service: &Service, target: &TargetPort, pod: &Pod) -> Option<SocketAddrV4> {
    let selected = !service.selector.is_empty()
        && service.selector.iter().all(|(key, value)| pod.labels.get(key) == Some(value));
    let address: Ipv4Addr = pod.address.filter(|_| selected)?;
    let port = match target {
        TargetPort::Number(number) => *number,
        TargetPort::Name(name) => {
            let mut ports = pod.containers.iter().flat_map(|container| &container.ports);
            ports.find(|port| port.name == *name)?.container_port
        }
    };
    Some(SocketAddrV4::new(address, port))
}

/// Name and namespace of the Service that a host name means: `name`, `name.ns`, `name.ns.svc` or
/// `name.ns.svc.cluster.local`.
fn service_name<'a>(host: &'a str, own_namespace: &'a str) -> Option<(&'a str, &'a str)> {
    let labels: Vec<&str> = host.strip_suffix('.').unwrap_or(host).split('.').collect();
    match labels[..] {
        [name] => Some((name, own_namespace)),
        [name, namespace] | [name, namespace, "svc"] | [name, namespace, "svc", "cluster", "local"] => {
            Some((name, namespace))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, namespace: &str, app: &str, ready: bool, address: &str) -> Pod {
        let ready = if ready { "True" } else { "False" };
        let object = json!({
            "metadata": {"name": name, "namespace": namespace, "uid": name, "labels": {"app": app, "x": "y"}},
            "spec": {"containers": [
                {"name": "side"},
                {"name": "web", "ports": [{"name": "http", "containerPort": 8081}, {"containerPort": 9}]},
            ]},
            "status": {"phase": "Running", "podIP": address, "conditions": [{"type": "Ready", "status": ready}]},
        });
        Pod::read(serde_json::from_value(object).unwrap())
    }

    fn service(name: &str, namespace: &str, spec: &serde_json::Value) -> Service {
        let object = json!({"metadata": {"name": name, "namespace": namespace, "uid": name}, "spec": spec});
        Service::read(serde_json::from_value(object).unwrap())
    }

    fn directory() -> Directory {
        let directory = Directory::default();
        for pod in [
            pod("a", "shop", "web", true, "127.20.1.1"),
            pod("b", "shop", "web", true, "127.20.1.2"),
            pod("c", "shop", "web", false, "127.20.1.3"),
            pod("d", "other", "web", true, "127.20.1.4"),
            pod("e", "shop", "db", true, "127.20.1.5"),
        ] {
            directory.put_pod(&pod);
        }
        let web = json!({"selector": {"app": "web"}, "ports": [
            {"port": 80, "targetPort": "http"}, {"port": 81, "targetPort": 7}, {"port": 82},
            {"port": 83, "targetPort": "nope"},
        ]});
        directory.put_service(service("web", "shop", &web));
        directory.put_service(service("bare", "shop", &json!({"ports": [{"port": 80}]})));
        directory.put_service(service(
            "gone",
            "shop",
            &json!({"selector": {"app": "no"}, "ports": [{"port": 80}]}),
        ));
        directory.put_service(service("alias", "shop", &json!({"externalName": "example.org"})));
        directory
    }

    #[track_caller]
    fn check(namespace: &str, host: &str, port: u16, expected: Result<&[&str], &str>) {
        let found = directory().resolve(namespace, host, port).map(|mut found| {
            found.sort();
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        });
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{host}"),
            (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{error}"),
            (found, expected) => panic!("{host}: {found:?}, not {expected:?}"),
        }
    }

    #[test]
    fn services_lead_to_their_ready_pods() {
        let both: &[&str] = &["127.20.1.1:8081", "127.20.1.2:8081"];
        check("shop", "web", 80, Ok(both));
        for host in ["web.shop", "web.shop.svc", "web.shop.svc.cluster.local", "web.shop.svc.cluster.local."]
        {
            check("default", host, 80, Ok(both));
        }
        check("shop", "web", 81, Ok(&["127.20.1.1:7", "127.20.1.2:7"]));
        check("shop", "web", 82, Ok(&["127.20.1.1:82", "127.20.1.2:82"]));
        check("shop", "web", 83, Err("no ready pod"));
        check("shop", "web", 8080, Err("shop/web has no port 8080"));
        check("default", "web", 80, Err("bad address"));
        check("shop", "bare", 80, Err("no ready pod"));
        check("shop", "gone", 80, Err("no ready pod"));
        check("shop", "alias", 80, Err("no port"));
        for host in ["127.20.1.1", "web.shop.svc.example.org", "web.shop.pod", "", "example.org"] {
            check("shop", host, 80, Err("bad address"));
        }
    }

    #[test]
    fn what_is_gone_is_not_found() {
        let directory = directory();
        directory.remove_pod(&"a".to_owned());
        assert_eq!(directory.resolve("shop", "web", 80).unwrap().len(), 1);
        directory.retain_pods(&HashSet::from(["e".to_owned()]));
        assert_eq!(directory.resolve("shop", "web", 80), Err(Unresolved::NoPod("shop/web".to_owned())));
        directory.remove_service(&"web".to_owned());
        assert_eq!(directory.resolve("shop", "web", 80), Err(Unresolved::Host("web".to_owned())));
        directory.set_services(vec![service(
            "db",
            "shop",
            &json!({"selector": {"app": "db"}, "ports": [{"port": 1}]}),
        )]);
        assert_eq!(directory.resolve("shop", "db", 1).unwrap().len(), 1);
    }
}

//! What is answered to which request. No I/O.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime};

use http::{Method, StatusCode};
use kube::core::{Selector, SelectorExt};
use serde_json::{Value, json};

use super::selector;
use crate::node_agent::directory::Directory;
use crate::node_agent::objects::{Pod, Uid};
use crate::node_agent::program::Program;
use crate::node_agent::usage::{IDLE_BYTES, Reading, UsageBook};
use crate::node_agent::{nodes, status};

const GROUP_VERSION: &str = "metrics.k8s.io/v1beta1";
const ROOT: &str = "/apis/metrics.k8s.io/v1beta1";

/// What the answers are made of.
pub(in crate::node_agent) struct View {
    pub(in crate::node_agent) directory: Directory,
    pub(in crate::node_agent) usage: UsageBook,
    pub(in crate::node_agent) nodes: Vec<String>,
}

type Answer = (StatusCode, Value);

impl View {
    pub(super) fn answer(&self, method: &Method, path: &str, query: &str) -> Answer {
        if method != Method::GET {
            return refusal(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "metrics can only be read");
        }
        let query: HashMap<_, _> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        if query.get("watch").is_some_and(|watch| watch == "true" || watch == "1") {
            let message = "metrics cannot be watched; list them again";
            return refusal(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message);
        }
        let text = |key: &str| query.get(key).map(String::as_str).unwrap_or_default();
        let (labels, fields) =
            (selector::labels(text("labelSelector")), selector::fields(text("fieldSelector")));
        let ((name, namespace), labels) = match (fields, labels) {
            (Ok(fields), Ok(labels)) => (fields, labels),
            (Err(problem), _) | (_, Err(problem)) => {
                return refusal(StatusCode::BAD_REQUEST, "BadRequest", &problem);
            }
        };
        let all = Wanted { namespace, name, labels: &labels };
        if let Some(group) = discovery(path) {
            return (StatusCode::OK, group);
        }
        let parts: Vec<&str> = path.strip_prefix(ROOT).unwrap_or_default().split('/').skip(1).collect();
        match parts[..] {
            ["pods"] => list("PodMetricsList", &self.pods(&all)),
            ["namespaces", inside, "pods"] if namespace.is_none_or(|asked| asked == inside) => {
                list("PodMetricsList", &self.pods(&Wanted { namespace: Some(inside), ..all }))
            }
            ["namespaces", _, "pods"] => list("PodMetricsList", &[]),
            ["namespaces", namespace, "pods", name] => {
                let wanted =
                    Wanted { namespace: Some(namespace), name: Some(name), labels: &Selector::default() };
                one(self.pods(&wanted), "podmetrics", &format!("{namespace}/{name}"))
            }
            ["nodes"] => list("NodeMetricsList", &self.nodes(&all)),
            ["nodes", name] => {
                let wanted = Wanted { namespace: None, name: Some(name), labels: &Selector::default() };
                one(self.nodes(&wanted), "nodemetrics", name)
            }
            _ => {
                refusal(StatusCode::NOT_FOUND, "NotFound", "the server could not find the requested resource")
            }
        }
    }

    /// The pods that were running for a window, by namespace and name.
    fn pods(&self, wanted: &Wanted<'_>) -> Vec<Value> {
        let mut found: Vec<(String, String, Uid, Value)> = Vec::new();
        self.directory.each_pod(|pod| {
            if wanted.pod(pod)
                && let Some(reading) = self.usage.reading(&pod.uid)
            {
                let document = pod_metrics(pod, &reading);
                found.push((pod.namespace.clone(), pod.name.clone(), pod.uid.clone(), document));
            }
        });
        found.sort_by(|a, b| (&a.0, &a.1, &a.2).cmp(&(&b.0, &b.1, &b.2)));
        found.into_iter().map(|(.., document)| document).collect()
    }

    /// A node uses what its pods do; one without pods that were running for a window uses nothing.
    fn nodes(&self, wanted: &Wanted<'_>) -> Vec<Value> {
        let mut by_node: BTreeMap<&str, Reading> = BTreeMap::new();
        let idle = Reading { cpu: 0.0, memory: 0.0, window: Duration::from_secs(10), at: SystemTime::now() };
        for name in &self.nodes {
            if wanted.name.is_none_or(|asked| asked == name) && wanted.labels.matches(&nodes::labels(name)) {
                by_node.insert(name, idle);
            }
        }
        self.directory.each_pod(|pod| {
            if let Some(node) = by_node.get_mut(pod.node.as_str())
                && let Some(reading) = self.usage.reading(&pod.uid)
            {
                node.cpu += reading.cpu;
                node.memory += reading.memory;
                node.window = reading.window;
                node.at = reading.at;
            }
        });
        let document = |(name, reading): (&str, Reading)| {
            let mut document =
                metrics("NodeMetrics", json!({"name": name, "labels": nodes::labels(name)}), &reading);
            document["usage"] = usage(reading.cpu, reading.memory);
            document
        };
        by_node.into_iter().map(document).collect()
    }
}

/// Which objects a request is about.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    namespace: Option<&'a str>,
    name: Option<&'a str>,
    labels: &'a Selector,
}

impl Wanted<'_> {
    fn pod(&self, pod: &Pod) -> bool {
        self.namespace.is_none_or(|namespace| namespace == pod.namespace)
            && self.name.is_none_or(|name| name == pod.name)
            && self.labels.matches(&pod.labels)
    }
}

/// All usage is that of the container that is played; the others hold their megabyte.
fn pod_metrics(pod: &Pod, reading: &Reading) -> Value {
    let played = Program::played(&pod.containers);
    let containers = pod.containers.iter().enumerate().map(|(index, container)| {
        let (cpu, memory) = if index == played { (reading.cpu, reading.memory) } else { (0.0, IDLE_BYTES) };
        json!({"name": container.name, "usage": usage(cpu, memory)})
    });
    let metadata = json!({"name": pod.name, "namespace": pod.namespace, "labels": pod.labels});
    let containers: Vec<Value> = containers.collect();
    let mut document = metrics("PodMetrics", metadata, reading);
    document["containers"] = json!(containers);
    document
}

fn metrics(kind: &str, mut metadata: Value, reading: &Reading) -> Value {
    metadata["creationTimestamp"] = json!(status::time(SystemTime::now()));
    json!({
        "kind": kind,
        "apiVersion": GROUP_VERSION,
        "metadata": metadata,
        "timestamp": status::time(reading.at),
        "window": format!("{:.3}s", reading.window.as_secs_f64()),
    })
}

/// In metrics-server's units.
fn usage(cpu: f64, memory: f64) -> Value {
    json!({"cpu": format!("{}n", (cpu * 1e9).round() as u64), "memory": format!("{}Ki", (memory / 1024.0).ceil() as u64)})
}

fn list(kind: &str, items: &[Value]) -> Answer {
    (StatusCode::OK, json!({"kind": kind, "apiVersion": GROUP_VERSION, "metadata": {}, "items": items}))
}

fn one(found: Vec<Value>, resource: &str, name: &str) -> Answer {
    if let Some(document) = found.into_iter().next() {
        return (StatusCode::OK, document);
    }
    let message = format!("{resource}.metrics.k8s.io {name:?} not found");
    refusal(StatusCode::NOT_FOUND, "NotFound", &message)
}

fn refusal(code: StatusCode, reason: &str, message: &str) -> Answer {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "reason": reason, "message": message, "code": code.as_u16(),
    });
    (code, status)
}

/// What clients find out about the API.
fn discovery(path: &str) -> Option<Value> {
    let version = json!({"groupVersion": GROUP_VERSION, "version": "v1beta1"});
    let group = json!({
        "kind": "APIGroup", "apiVersion": "v1", "name": "metrics.k8s.io",
        "versions": [version], "preferredVersion": version,
    });
    let resource = |name: &str, kind: &str, namespaced: bool| json!({"name": name, "singularName": "", "namespaced": namespaced, "kind": kind, "verbs": ["get", "list"]});
    match path.trim_end_matches('/') {
        "/apis" => Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [group]})),
        "/apis/metrics.k8s.io" => Some(group),
        ROOT => Some(json!({
            "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": GROUP_VERSION,
            "resources": [resource("nodes", "NodeMetrics", false), resource("pods", "PodMetrics", true)],
        })),
        _ => None,
    }
}

#[cfg(test)]
mod tests;

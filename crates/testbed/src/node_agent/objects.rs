//! What the agent keeps of pods and workloads: the watches read whole objects and hold only this.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::core::Object;
use serde::Deserialize;
use tracing::warn;

use super::annotations::Annotations;
use super::quantity;

pub(super) type Uid = String;

/// A pod as the API server sends it, read only as far as the agent needs.
pub(super) type WatchedPod = Object<WatchedPodSpec, WatchedPodStatus>;
/// A Deployment, `StatefulSet` or `ReplicaSet`, read only as far as the agent needs.
pub(super) type WatchedWorkload = Object<WatchedWorkloadSpec, kube::core::NotUsed>;

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WatchedPodSpec {
    #[serde(default)]
    node_name: String,
    #[serde(default)]
    restart_policy: String,
    containers: Vec<Container>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Container {
    pub(super) name: String,
    #[serde(default)]
    pub(super) image: String,
    #[serde(default)]
    pub(super) command: Vec<String>,
    #[serde(default)]
    pub(super) args: Vec<String>,
    #[serde(default)]
    pub(super) ports: Vec<Port>,
    #[serde(default)]
    resources: Resources,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Port {
    #[serde(default)]
    pub(super) name: String,
    pub(super) container_port: u16,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Resources {
    #[serde(default)]
    limits: BTreeMap<String, String>,
}

impl Container {
    /// How many cores it may use, if that is limited.
    pub(super) fn cpu_limit(&self) -> Option<f64> {
        quantity::parse(self.resources.limits.get("cpu")?)
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WatchedPodStatus {
    #[serde(default)]
    phase: String,
    #[serde(rename = "podIP")]
    pod_ip: Option<Ipv4Addr>,
    start_time: Option<Time>,
    #[serde(default)]
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct WatchedWorkloadSpec {
    replicas: Option<i64>,
}

/// The controlling owner of an object.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Controller {
    pub(super) kind: WorkloadKind,
    pub(super) uid: Uid,
}

/// The kinds of owner that are watched, and all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum WorkloadKind {
    Deployment,
    ReplicaSet,
    StatefulSet,
    Foreign,
}

impl WorkloadKind {
    pub(super) const WATCHED: [Self; 3] = [Self::Deployment, Self::ReplicaSet, Self::StatefulSet];

    /// The kind in group `apps/v1`; empty for kinds that are not watched.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::ReplicaSet => "ReplicaSet",
            Self::StatefulSet => "StatefulSet",
            Self::Foreign => "",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Workload {
    pub(super) uid: Uid,
    pub(super) kind: WorkloadKind,
    pub(super) controller: Option<Controller>,
    pub(super) annotations: Annotations,
    pub(super) replicas: f64,
}

impl Workload {
    pub(super) fn read(kind: WorkloadKind, object: WatchedWorkload) -> Self {
        let annotations = read_annotations(kind.name(), &object.metadata);
        // The API server fills in the default of 1.
        let replicas = object.spec.replicas.unwrap_or(1) as f64;
        let controller = controller(&object.metadata);
        Self { uid: object.metadata.uid.unwrap_or_default(), kind, controller, annotations, replicas }
    }
}

/// How far a pod has come, by its own status.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Phase {
    Pending,
    Running {
        started: SystemTime,
        ready: bool,
    },
    /// Succeeded or Failed: nothing runs any more.
    Ended,
}

#[derive(Clone, Debug)]
pub(super) struct Pod {
    pub(super) uid: Uid,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) node: String,
    pub(super) controller: Option<Controller>,
    pub(super) annotations: Annotations,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) containers: Vec<Container>,
    /// Whether a container that ended stays so.
    pub(super) restarts_never: bool,
    pub(super) phase: Phase,
    pub(super) address: Option<Ipv4Addr>,
    /// The grace period, once the pod is being deleted.
    pub(super) deleting: Option<Duration>,
}

impl Pod {
    pub(super) fn read(object: WatchedPod) -> Self {
        let WatchedPod { metadata, spec, status, .. } = object;
        let status = status.unwrap_or_default();
        let annotations = read_annotations("Pod", &metadata);
        let grace = metadata.deletion_grace_period_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        Self {
            annotations,
            controller: controller(&metadata),
            labels: metadata.labels.unwrap_or_default(),
            restarts_never: spec.restart_policy == "Never",
            uid: metadata.uid.unwrap_or_default(),
            namespace: metadata.namespace.unwrap_or_default(),
            name: metadata.name.unwrap_or_default(),
            node: spec.node_name,
            containers: spec.containers,
            phase: phase(&status),
            address: status.pod_ip,
            deleting: metadata.deletion_timestamp.map(|_| Duration::from_secs(grace.unwrap_or(0))),
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Running { ready: true, .. }) && self.deleting.is_none()
    }
}

fn phase(status: &WatchedPodStatus) -> Phase {
    match status.phase.as_str() {
        "Succeeded" | "Failed" => Phase::Ended,
        "Running" => Phase::Running {
            started: status.start_time.as_ref().map_or_else(SystemTime::now, |time| SystemTime::from(time.0)),
            ready: status.conditions.iter().any(|c| c.kind == "Ready" && c.status == "True"),
        },
        _ => Phase::Pending,
    }
}

fn controller(metadata: &ObjectMeta) -> Option<Controller> {
    let owner = metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))?;
    let known = WorkloadKind::WATCHED.into_iter().find(|kind| kind.name() == owner.kind);
    let kind = known.filter(|_| owner.api_version == "apps/v1").unwrap_or(WorkloadKind::Foreign);
    Some(Controller { kind, uid: owner.uid.clone() })
}

fn read_annotations(kind: &str, metadata: &ObjectMeta) -> Annotations {
    let (annotations, bad) = Annotations::parse(metadata.annotations.as_ref());
    for problem in bad {
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let name = metadata.name.as_deref().unwrap_or_default();
        warn!(kind, namespace, name, %problem, "annotation ignored, default used");
    }
    annotations
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_pod(object: serde_json::Value, expected: impl FnOnce(&Pod) -> bool) {
        let pod = Pod::read(serde_json::from_value(object).unwrap());
        assert!(expected(&pod), "{pod:?}");
    }

    #[test]
    fn pods_are_read() {
        let metadata = serde_json::json!({"name": "a", "namespace": "n", "uid": "u"});
        let engine = serde_json::json!({"name": "c", "image": "aibrix/vllm-mock:nightly", "ports": [{"containerPort": 9}]});
        let pending =
            serde_json::json!({"metadata": metadata, "spec": {"nodeName": "x", "containers": [engine]}});
        check_pod(pending, |pod| {
            pod.phase == Phase::Pending
                && pod.containers[0].ports[0].container_port == 9
                && pod.node == "x"
                && pod.controller.is_none()
        });
        let running = serde_json::json!({
            "metadata": {
                "name": "a", "namespace": "n", "uid": "u", "deletionTimestamp": "2026-01-01T00:00:00Z",
                "deletionGracePeriodSeconds": 30, "labels": {"app": "web"},
                "ownerReferences": [
                    {"apiVersion": "v1", "kind": "ConfigMap", "name": "m", "uid": "m"},
                    {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "r", "controller": true},
                ],
            },
            "spec": {"containers": [{"name": "c", "image": "nginx", "resources": {"limits": {"cpu": "500m"}}}]},
            "status": {
                "phase": "Running", "podIP": "127.20.1.1", "startTime": "2026-01-01T00:00:00Z",
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        });
        check_pod(running, |pod| {
            let controller = Controller { kind: WorkloadKind::ReplicaSet, uid: "r".to_owned() };
            matches!(pod.phase, Phase::Running { ready: true, .. })
                && !pod.is_ready()
                && pod.deleting == Some(Duration::from_secs(30))
                && pod.address == Some(Ipv4Addr::new(127, 20, 1, 1))
                && pod.controller == Some(controller)
                && pod.containers[0].cpu_limit() == Some(0.5)
                && pod.labels == BTreeMap::from([("app".to_owned(), "web".to_owned())])
                && !pod.restarts_never
        });
    }
}

//! The objects of the scale trial. Nobody runs these pods: they are written as a kubelet would have them once they are
//! ready, on a node nobody plays, for targets of a kind of their own that no controller of Kubernetes acts on.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::api::{Patch, PatchParams, PostParams, WatchParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind, WatchEvent};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::Size;
use super::engines::{PORT, address};
use crate::stage::{AT_ONCE, Stage, create};

pub(super) const NAMESPACE: &str = "scale";
const NODE: &str = "simulated-scale";
const GROUP: &str = "testbed.windlass.dev";
const KIND: &str = "SimulatedFleet";
const METRIC: &str = "inflight";

pub(super) fn target(number: usize) -> String {
    format!("fleet-{number}")
}

/// The kind of the targets: a count of replicas behind `/scale`, and nothing that acts on it.
fn definition() -> Value {
    let text = json!({"type": "string"});
    let count = json!({"type": "integer"});
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {"replicas": count}},
        "status": {"type": "object", "properties": {"replicas": count, "selector": text}},
    }});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("simulatedfleets.{GROUP}")},
        "spec": {
            "group": GROUP, "scope": "Namespaced",
            "names": {"kind": KIND, "plural": "simulatedfleets", "singular": "simulatedfleet"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": schema},
                "subresources": {"scale": {
                    "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas",
                    "labelSelectorPath": ".status.selector",
                }},
            }],
        },
    })
}

fn fleets(stage: &Stage) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk(GROUP, "v1", KIND);
    Api::namespaced_with(stage.client.clone(), NAMESPACE, &ApiResource::from_gvk(&kind))
}

fn fleet(number: usize, replicas: usize) -> Value {
    let name = target(number);
    json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": KIND,
        "metadata": {"name": name},
        "spec": {"replicas": replicas},
        "status": {"replicas": replicas, "selector": format!("app={name}")},
    })
}

fn pod(number: usize, group: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": pod_name(number), "labels": {"app": target(number / group)}},
        "spec": {
            "nodeName": NODE,
            "containers": [{"name": "engine", "image": "simulated", "ports": [{"containerPort": PORT}]}],
        },
    })
}

fn pod_name(number: usize) -> String {
    format!("engine-{number}")
}

/// The status of a pod that is ready.
fn ready(network: u8, number: usize) -> Value {
    let address = address(network, number);
    let now = k8s_openapi::jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let condition = |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": now});
    let conditions = ["PodScheduled", "Initialized", "ContainersReady", "Ready"].map(condition);
    json!({"status": {
        "phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "startTime": now,
        "conditions": conditions,
        "containerStatuses": [{
            "name": "engine", "image": "simulated", "imageID": "", "ready": true, "restartCount": 0,
            "state": {"running": {"startedAt": now}},
        }],
    }})
}

fn autoscaler(number: usize, size: Size) -> Value {
    let name = target(number);
    json!({
        "apiVersion": "autoscaling.aibrix.ai/v1alpha1", "kind": "PodAutoscaler",
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"apiVersion": format!("{GROUP}/v1"), "kind": KIND, "name": name},
            "minReplicas": 1, "maxReplicas": 10 * size.pods, "scalingStrategy": "KPA",
            "metricsSources": [{
                "metricSourceType": "pod", "protocolType": "http", "port": PORT.to_string(), "path": "/metrics",
                "targetMetric": METRIC, "targetValue": super::TARGET.to_string(),
            }],
        },
    })
}

/// Writes all of it.
pub(super) async fn create_all(stage: &Stage, size: Size) -> anyhow::Result<()> {
    stage.kubectl(&["apply", "-f", "-"], definition().to_string().as_bytes()).await?;
    let established = format!("crd/simulatedfleets.{GROUP}");
    stage.kubectl(&["wait", "--for=condition=Established", &established], b"").await?;
    let own = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    create::<Namespace>(&Api::all(stage.client.clone()), std::iter::once(own)).await?;
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}});
    create::<Node>(&Api::all(stage.client.clone()), std::iter::once(node)).await?;
    create(&fleets(stage), (0..size.targets).map(|number| fleet(number, size.pods))).await?;

    let pods: Api<Pod> = Api::namespaced(stage.client.clone(), NAMESPACE);
    let network = stage.plane.network();
    let made = (0..size.targets * size.pods).map(|number| {
        let pods = pods.clone();
        async move {
            let object: Pod = serde_json::from_value(pod(number, size.pods))?;
            pods.create(&PostParams::default(), &object).await?;
            let status = Patch::Merge(ready(network, number));
            pods.patch_status(&pod_name(number), &PatchParams::default(), &status).await?;
            anyhow::Ok(())
        }
    });
    futures::stream::iter(made).buffer_unordered(AT_ONCE).try_for_each(|()| async { Ok(()) }).await?;
    create(&stage.autoscalers(NAMESPACE), (0..size.targets).map(|number| autoscaler(number, size))).await
}

/// When the count of a target was first changed.
pub(super) type Changes = Arc<std::sync::Mutex<HashMap<String, Instant>>>;

/// Notes the first change of every target's count from now on; ends with an error when the watch does.
pub(super) async fn follow(stage: &Stage, changes: &Changes, replicas: usize) -> anyhow::Result<()> {
    let api = fleets(stage);
    let from = api.list_metadata(&kube::api::ListParams::default()).await?;
    let version = from.metadata.resource_version.unwrap_or_default();
    let events = api.watch(&WatchParams::default().timeout(290), &version).await?;
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.try_next().await? {
        if let WatchEvent::Modified(fleet) = event
            && fleet.data["spec"]["replicas"].as_u64() != Some(replicas as u64)
            && let Ok(mut changes) = changes.lock()
        {
            changes.entry(fleet.name_any()).or_insert_with(Instant::now);
        }
    }
    anyhow::bail!("the watch of the targets ended")
}

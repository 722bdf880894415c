//! Simulated nodes: Node objects that the real scheduler binds pods to.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::SystemTime;

use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::address::Addresses;
use super::calls::Calls;
use super::{Error, Options, status};

/// The address of a node's kubelet (which is this process and does not listen there).
pub(super) fn address(network: u8, index: usize) -> Ipv4Addr {
    Addresses::node(network, (index + 10) as u8)
}

pub(super) fn name(index: usize) -> String {
    format!("windlass-node-{index}")
}

/// Creates the nodes, or takes over those that are there, and makes them schedulable.
pub(super) async fn create(calls: &Calls, options: &Options) -> Result<(), Error> {
    let each = (0..options.nodes).map(|index| create_one(calls, options, index));
    futures::future::try_join_all(each).await.map(drop)
}

async fn create_one(calls: &Calls, options: &Options, index: usize) -> Result<(), Error> {
    let name = name(index);
    let api: Api<Node> = Api::all(calls.client.clone());
    let node: Node = serde_json::from_value(object(&name))?;
    let post = PostParams::default();
    // An error here is a conflict: the node is there already, and the patches below bring it into shape.
    let _ = calls.persist("create node", || api.create(&post, &node)).await;
    // Admission taints every new node as not ready; with no node lifecycle controller nobody else takes that off.
    let vanished = |_gone| Error::NodeVanished(name.clone());
    let params = PatchParams::default();
    let untaint = Patch::Merge(json!({"spec": {"taints": null}}));
    let patched = calls.persist("untaint node", || api.patch(&name, &params, &untaint)).await;
    patched.map_err(vanished)?;
    let status = node_status(options, &name, address(options.network, index));
    let status = Patch::Strategic(json!({"status": status}));
    let patched = calls.persist("patch node status", || api.patch_status(&name, &params, &status)).await;
    patched.map(drop).map_err(vanished)
}

/// A node's labels.
pub(super) fn labels(name: &str) -> BTreeMap<String, String> {
    let labels = [
        ("kubernetes.io/hostname", name),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", "amd64"),
        ("node.kubernetes.io/instance-type", "simulated"),
    ];
    labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

fn object(name: &str) -> Value {
    let labels = labels(name);
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}})
}

fn node_status(options: &Options, name: &str, address: Ipv4Addr) -> Value {
    let now = status::time(SystemTime::now());
    let mut resources = json!({
        "cpu": options.cpu.to_string(),
        "memory": format!("{}Gi", options.memory_gib),
        "pods": options.pods_per_node.to_string(),
    });
    if options.gpus_per_node > 0 {
        resources["nvidia.com/gpu"] = json!(options.gpus_per_node.to_string());
    }
    let ready = json!({
        "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "simulated by windlass testbed",
        "lastHeartbeatTime": now, "lastTransitionTime": now,
    });
    json!({
        "capacity": resources,
        "allocatable": resources,
        "conditions": [ready],
        "addresses": [
            {"type": "InternalIP", "address": address},
            {"type": "Hostname", "address": name},
        ],
    })
}

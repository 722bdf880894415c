//! Pod status as a kubelet writes it.

use std::net::Ipv4Addr;
use std::time::SystemTime;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::objects::Pod;

/// A time as the API server writes it: RFC 3339 in whole seconds.
pub(super) fn time(at: SystemTime) -> String {
    let at = Timestamp::try_from(at).unwrap_or(Timestamp::UNIX_EPOCH);
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The patch of a pod whose containers have just started and which is not ready yet.
pub(super) fn running(pod: &Pod, address: Ipv4Addr, host: Ipv4Addr) -> Value {
    let now = time(SystemTime::now());
    let mut patch = readiness(pod, false, &now);
    let started = ["Initialized", "PodReadyToStartContainers"].map(|kind| condition(kind, true, &now));
    if let Some(conditions) = patch["status"]["conditions"].as_array_mut() {
        conditions.extend(started);
    }
    let status = &mut patch["status"];
    status["phase"] = json!("Running");
    status["startTime"] = json!(now);
    status["hostIP"] = json!(host);
    status["hostIPs"] = json!([{"ip": host}]);
    status["podIP"] = json!(address);
    status["podIPs"] = json!([{"ip": address}]);
    patch
}

/// The patch of a running pod whose readiness changed; `started` is when its containers started.
pub(super) fn readiness(pod: &Pod, ready: bool, started: &str) -> Value {
    let now = time(SystemTime::now());
    let containers = pod.containers.iter().map(|container| {
        json!({
            "name": container.name,
            "image": container.image,
            "imageID": "",
            "containerID": format!("simulated://{}/{}", pod.uid, container.name),
            "ready": ready,
            "started": true,
            "restartCount": 0,
            "state": {"running": {"startedAt": started}},
            "lastState": {},
        })
    });
    let conditions = ["ContainersReady", "Ready"].map(|kind| condition(kind, ready, &now));
    // The UID makes the API server refuse the patch when the pod was replaced by another of the same name.
    json!({
        "metadata": {"uid": pod.uid},
        "status": {"conditions": conditions, "containerStatuses": containers.collect::<Vec<_>>()},
    })
}

fn condition(kind: &str, holds: bool, now: &str) -> Value {
    let status = if holds { "True" } else { "False" };
    let mut condition = json!({"type": kind, "status": status, "lastTransitionTime": now});
    // Merged by type: a reason that no longer holds has to be taken away.
    condition["reason"] = if holds { Value::Null } else { json!("ContainersNotReady") };
    condition
}

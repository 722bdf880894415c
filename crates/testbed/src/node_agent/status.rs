//! Pod status as a kubelet writes it.

use std::net::Ipv4Addr;
use std::time::SystemTime;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::objects::Pod;

/// A shell's exit code for a command that it does not find.
const COMMAND_NOT_FOUND: i32 = 127;

/// A time as the API server writes it: RFC 3339 in whole seconds.
pub(super) fn time(at: SystemTime) -> String {
    let at = Timestamp::try_from(at).unwrap_or(Timestamp::UNIX_EPOCH);
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The patch of a pod whose containers have just started and which is not ready yet.
pub(super) fn running(pod: &Pod, address: Ipv4Addr, host: Ipv4Addr) -> Value {
    let now = time(SystemTime::now());
    started(readiness(pod, false, &now), &now, address, host)
}

/// The patch of a pod that cannot run, because the agent does not play some of its containers: those have ended with
/// [`COMMAND_NOT_FOUND`], each with its sentence. They are not started again, which kubectl shows as `Error`. The pod has
/// failed if none is left and its restart policy says that none comes back.
pub(super) fn failed(pod: &Pod, sentences: &[(usize, String)], address: Ipv4Addr, host: Ipv4Addr) -> Value {
    let now = time(SystemTime::now());
    let mut patch = started(readiness(pod, false, &now), &now, address, host);
    for (index, sentence) in sentences {
        let container = &mut patch["status"]["containerStatuses"][*index];
        container["started"] = json!(false);
        container["state"] = json!({
            "running": null,
            "terminated": {
                "exitCode": COMMAND_NOT_FOUND, "reason": "Error", "message": sentence,
                "startedAt": now, "finishedAt": now,
                "containerID": container["containerID"],
            },
        });
    }
    if pod.restarts_never && sentences.len() == pod.containers.len() {
        patch["status"]["phase"] = json!("Failed");
    }
    patch
}

/// Adds what is true of a pod from its start on.
fn started(mut patch: Value, now: &str, address: Ipv4Addr, host: Ipv4Addr) -> Value {
    let started = ["Initialized", "PodReadyToStartContainers"].map(|kind| condition(kind, true, now));
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The patch of a pod of two containers of which these are not played.
    fn failure(restart_policy: &str, not_played: &[usize]) -> Value {
        let pod = json!({
            "metadata": {"name": "a", "uid": "u"},
            "spec": {"restartPolicy": restart_policy, "containers": [{"name": "c"}, {"name": "d"}]},
        });
        let pod = Pod::read(serde_json::from_value(pod).unwrap());
        let sentences: Vec<_> = not_played.iter().map(|index| (*index, "no".to_owned())).collect();
        failed(&pod, &sentences, Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST)["status"].take()
    }

    #[track_caller]
    fn check(restart_policy: &str, not_played: &[usize], phase: &str) {
        let status = failure(restart_policy, not_played);
        assert_eq!(status["phase"], phase, "{restart_policy}");
        for index in [0, 1] {
            let state = &status["containerStatuses"][index]["state"];
            let reason = &state["terminated"]["reason"];
            assert_eq!(*reason == "Error", not_played.contains(&index), "{state}");
        }
        let ready = status["conditions"].as_array().unwrap().iter().find(|one| one["type"] == "Ready");
        assert_eq!(ready.unwrap()["status"], "False");
    }

    #[test]
    fn what_is_not_played_is_in_error() {
        check("Never", &[0, 1], "Failed");
        check("Never", &[1], "Running");
        check("Always", &[0, 1], "Running");
        check("OnFailure", &[0], "Running");
    }
}

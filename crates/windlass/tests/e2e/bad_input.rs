//! What users and engines get wrong.

use std::time::Duration;

use crate::fixture::{Namespace, autoscaler, deployment, root};

/// Each manifest says in its first line what its refusal says.
#[tokio::test]
async fn invalid_objects_are_refused_with_a_sentence() {
    let namespace = Namespace::new("invalid").await;
    let folder = root().join("crates/api/tests/fixtures");
    let mut failures = Vec::new();
    let mut count = 0;
    for entry in std::fs::read_dir(folder.join("invalid")).unwrap() {
        let path = entry.unwrap().path();
        let yaml = std::fs::read_to_string(&path).unwrap();
        let expect = yaml.lines().next().and_then(|line| line.strip_prefix("# expect: ")).unwrap().trim();
        let output = namespace.try_kubectl(&["create", "--dry-run=server", "-f", "-"], &yaml).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() || !said.contains(expect) {
            failures.push(format!("{}: expected {expect:?}, got {said:?}", path.display()));
        }
        count += 1;
    }
    assert!(failures.is_empty(), "{} of {count}:\n{}", failures.len(), failures.join("\n"));
    // What CEL cannot say is let in here, and refused by the controller and by `windlass verify`.
    for let_in in ["valid", "refused"] {
        let folder = folder.join(let_in);
        let target = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        for path in target {
            let yaml =
                std::fs::read_to_string(&path).unwrap().replace("namespace: default", "namespace: invalid");
            let output = namespace.try_kubectl(&["create", "--dry-run=server", "-f", "-"], &yaml).await;
            assert!(
                output.status.success(),
                "{}: {}",
                path.display(),
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
}

#[tokio::test]
async fn an_unparsable_annotation_is_warned_and_the_rest_honoured() {
    let namespace = Namespace::new("annotations").await;
    namespace.apply(&deployment("engine", "engine", 3, &[("total", "60")])).await;
    namespace.apply(&autoscaler("pa", "Deployment/engine", "KPA", (1, 10))).await;
    let prefix = "autoscaling.aibrix.ai";
    let (bad, good) = (format!("{prefix}/max-scale-up-rate=fast"), format!("{prefix}/scale-to-nowhere=1"));
    namespace.kubectl(&["annotate", "podautoscaler", "pa", &bad, &good]).await;
    let message = namespace.condition("pa", "PolicyWarnings", "True", "ReadWithWarnings").await;
    assert!(message.contains("max-scale-up-rate") && message.contains("scale-to-nowhere"), "{message}");
    namespace.condition("pa", "ValidSpec", "True", "AsExpected").await;
    namespace.condition("pa", "MetricsAvailable", "True", "Fresh").await;
}

#[tokio::test]
async fn a_missing_target_is_said_and_found_when_it_comes() {
    let namespace = Namespace::new("missing-target").await;
    namespace.apply(&autoscaler("pa", "Deployment/engine", "KPA", (1, 10))).await;
    let message = namespace.condition("pa", "AbleToScale", "False", "FailedGetScale").await;
    assert!(message.contains("Deployment/engine does not exist"), "{message}");
    namespace.apply(&deployment("engine", "engine", 3, &[])).await;
    namespace.ready("engine", 5).await;
    namespace.condition("pa", "AbleToScale", "True", "SucceededGetScale").await;
}

#[tokio::test]
async fn kinds_that_cannot_be_scaled_are_said() {
    let namespace = Namespace::new("no-scale").await;
    namespace.apply(&autoscaler("unknown", "Foo/x", "KPA", (1, 10))).await;
    let message = namespace.condition("unknown", "AbleToScale", "False", "FailedGetScale").await;
    assert!(message.contains("Foo") && message.contains("not served"), "{message}");
    let map = autoscaler("map", "ConfigMap/x", "KPA", (1, 10))
        .replace("apiVersion: apps/v1, kind", "apiVersion: v1, kind");
    namespace.kubectl(&["create", "configmap", "x"]).await;
    namespace.apply(&map).await;
    let message = namespace.condition("map", "AbleToScale", "False", "FailedGetScale").await;
    assert!(message.contains("no /scale"), "{message}");
}

#[tokio::test]
async fn pods_of_another_controller_are_not_counted() {
    let namespace = Namespace::new("foreign-pods").await;
    namespace.apply(&deployment("engine", "shared", 2, &[("total", "40")])).await;
    namespace.apply(&deployment("other", "shared", 6, &[("total", "6000")])).await;
    namespace.ready("other", 6).await;
    namespace.ready("engine", 2).await;
    let trajectory = namespace.record("engine");
    namespace.apply(&autoscaler("pa", "Deployment/engine", "KPA", (1, 10))).await;
    namespace.condition("pa", "MetricsAvailable", "True", "Fresh").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(trajectory.replicas(), [2], "{:?}", trajectory.timed());
    assert_eq!(namespace.autoscaler("pa").await["status"]["capacity"]["ready"], 2);
}

#[tokio::test]
async fn bounds_hold_though_the_engines_are_silent() {
    let namespace = Namespace::new("bounds").await;
    namespace.apply(&deployment("engine", "engine", 2, &[("fault", "refuse")])).await;
    namespace.apply(&autoscaler("pa", "Deployment/engine", "APA", (4, 10))).await;
    namespace.ready("engine", 4).await;
    let message = namespace.condition("pa", "MetricsAvailable", "False", "Blind").await;
    assert!(message.contains("cannot connect"), "{message}");
}

/// A page of one pod of three that cannot be read is no reading of that pod; the others go on at their pace.
#[tokio::test]
async fn one_bad_page_disturbs_nobody() {
    let namespace = Namespace::new("bad-pages").await;
    namespace.apply(&deployment("engine", "engine", 3, &[("total", "60"), ("share", "ready")])).await;
    namespace.ready("engine", 3).await;
    let trajectory = namespace.record("engine");
    namespace.apply(&autoscaler("pa", "Deployment/engine", "KPA", (1, 10))).await;
    namespace.condition("pa", "MetricsAvailable", "True", "Fresh").await;
    let pods = namespace.kubectl(&["get", "pods", "-o", "name"]).await;
    let one = pods.lines().next().unwrap();
    for (fault, why) in [
        ("garbage", "not readable"),
        ("half", "broke off"),
        ("cut", "not readable"),
        ("huge", "larger than 4 MiB"),
        ("slow", "no complete answer"),
        ("redirect", "status 302"),
    ] {
        namespace.steer(one, &format!("fault={fault}")).await;
        // On a busy machine another pod may miss a poll, or this one's be late, at first.
        namespace.says("pa", &["1 of 3 pods are silent", one.trim_start_matches("pod/"), why]).await;
        namespace.steer(one, "fault-").await;
        namespace.condition("pa", "MetricsAvailable", "True", "Fresh").await;
    }
    assert_eq!(trajectory.replicas(), [3], "{:?}", trajectory.timed());
}

/// Longer than a reading is fresh, and a status about it takes.
const NO_LONGER_FRESH: Duration = Duration::from_secs(5);

#[tokio::test]
async fn odd_pages_are_read_all_the_same_and_lost_names_are_told() {
    let namespace = Namespace::new("odd-pages").await;
    namespace.apply(&deployment("engine", "engine", 2, &[("total", "40"), ("share", "ready")])).await;
    namespace.ready("engine", 2).await;
    let trajectory = namespace.record("engine");
    namespace.apply(&autoscaler("pa", "Deployment/engine", "KPA", (1, 10))).await;
    namespace.condition("pa", "MetricsAvailable", "True", "Fresh").await;
    let pods = namespace.kubectl(&["get", "pods", "-o", "name"]).await;
    let one = pods.lines().next().unwrap();
    for fault in ["gzip", "chunked", "http10", "close", "duplicate", "labels", "buckets"] {
        namespace.steer(one, &format!("fault={fault}")).await;
        tokio::time::sleep(NO_LONGER_FRESH).await;
        namespace.condition("pa", "MetricsAvailable", "True", "Fresh").await;
    }
    for fault in ["renamed", "vanished"] {
        namespace.steer(one, &format!("fault={fault}")).await;
        namespace.says("pa", &["1 of 2 pods are silent", "vllm:avg_prompt_throughput_toks_per_s"]).await;
        namespace.steer(one, "fault-").await;
        namespace.condition("pa", "MetricsAvailable", "True", "Fresh").await;
    }
    assert_eq!(trajectory.replicas(), [2], "{:?}", trajectory.timed());
}

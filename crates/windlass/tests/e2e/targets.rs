//! What is scaled beside Deployments: other workloads, kinds without `/scale`, a StormService and its roles.

use std::time::Duration;

use crate::fixture::{Namespace, autoscaler};

impl Namespace {
    /// A field of an object.
    pub(crate) async fn field(&self, object: &str, path: &str) -> String {
        self.kubectl(&["get", object, "-o", &format!("jsonpath={{{path}}}")]).await
    }

    /// Waits until a field of an object has this value.
    pub(crate) async fn becomes(&self, object: &str, path: &str, value: &str) {
        let mut last = String::new();
        for _ in 0..150 {
            last = self.field(object, path).await;
            if last == value {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        panic!("{path} of {object} is {last:?} and not {value:?}");
    }

    /// A Deployment that stands in for the controller of `owner` (`apiVersion kind plural name`): its pods are the owner's.
    async fn pods_of(&self, owner: [&str; 4], name: &str, replicas: u32, labels: &str, annotations: &str) {
        let [api_version, kind, plural, owner] = owner;
        let uid = self.field(&format!("{plural}/{owner}"), ".metadata.uid").await;
        self.apply(&format!(
            "apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
  annotations: {{{annotations}}}
  ownerReferences:
  - {{apiVersion: {api_version}, kind: {kind}, name: {owner}, uid: {uid}, controller: true}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{{labels}}}}}
  template:
    metadata: {{labels: {{{labels}}}}}
    spec:
      containers:
      - {{name: engine, image: 'aibrix/vllm-mock:nightly', ports: [{{containerPort: 8000}}]}}
"
        ))
        .await;
    }
}

fn on(manifest: &str, api_version: &str) -> String {
    manifest.replace("apiVersion: apps/v1, kind", &format!("apiVersion: {api_version}, kind"))
}

const ORCHESTRATION: &str = "orchestration.aibrix.ai/v1alpha1";
const DECODE: &str = ".spec.template.spec.roles[1].replicas";

fn storm_service(replicas: u32, decode: &str) -> String {
    format!(
        "apiVersion: {ORCHESTRATION}
kind: StormService
metadata: {{name: pool}}
spec:
  replicas: {replicas}
  template:
    spec:
      roles:
      - {{name: prefill, replicas: 1}}
      - {{name: decode, {decode}}}
"
    )
}

/// A PodAutoscaler of one role.
fn of_role(name: &str, role: &str, replicas: (u32, u32)) -> String {
    on(&autoscaler(name, "StormService/pool", "KPA", replicas), ORCHESTRATION)
        .replace("  minReplicas", &format!("  subTargetSelector: {{roleName: {role}}}\n  minReplicas"))
}

const POOL: [&str; 4] = [ORCHESTRATION, "StormService", "stormservices", "pool"];
const LOADED: &str = "testbed.windlass.dev/total: '80', testbed.windlass.dev/share: ready";

#[tokio::test]
async fn one_role_of_a_storm_service() {
    let namespace = Namespace::new("role").await;
    namespace.apply(&storm_service(1, "replicas: 2")).await;
    namespace.pods_of(POOL, "prefill", 1, "storm-service-name: pool, role-name: prefill", "").await;
    namespace.pods_of(POOL, "decode", 2, "storm-service-name: pool, role-name: decode", LOADED).await;
    namespace.ready("decode", 2).await;
    namespace.apply(&of_role("wrong", "decoder", (1, 10))).await;
    let message = namespace.condition("wrong", "AbleToScale", "False", "FailedGetScale").await;
    assert!(message.contains("no role \"decoder\": it has prefill, decode"), "{message}");
    namespace.apply(&of_role("pa", "decode", (1, 10))).await;
    namespace.becomes("stormservices/pool", DECODE, "4").await;
    // What its controller would do.
    namespace.kubectl(&["scale", "deployment", "decode", "--replicas=4"]).await;
    namespace.becomes("podautoscaler/pa", ".status.capacity.ready", "4").await;
    let spec = namespace.field("stormservices/pool", ".spec").await;
    let spec: serde_json::Value = serde_json::from_str(&spec).unwrap();
    let roles = serde_json::json!([{"name": "prefill", "replicas": 1}, {"name": "decode", "replicas": 4}]);
    assert_eq!((&spec["replicas"], &spec["template"]["spec"]["roles"]), (&serde_json::json!(1), &roles));
    assert_eq!(namespace.field("podautoscaler/pa", ".status.target").await, "StormService/pool/decode");
    // The role moves to another place of the list: it is found by its name.
    let swapped = "{\"spec\":{\"template\":{\"spec\":{\"roles\":[{\"name\":\"decode\",\"replicas\":4},{\"name\":\"prefill\",\"replicas\":1}]}}}}";
    namespace.kubectl(&["patch", "stormservices/pool", "--type=merge", "-p", swapped]).await;
    namespace.apply(&of_role("pa", "decode", (6, 10))).await;
    namespace.becomes("stormservices/pool", ".spec.template.spec.roles[0].replicas", "6").await;
    assert_eq!(namespace.field("stormservices/pool", DECODE).await, "1", "prefill is left alone");
}

/// The followers of a group serve nothing: neither their silence nor their number counts.
#[tokio::test]
async fn a_group_of_pods_is_one_replica() {
    let namespace = Namespace::new("groups").await;
    namespace.apply(&storm_service(1, "replicas: 2, podGroupSize: 2")).await;
    let index = "stormservice.orchestration.aibrix.ai/pod-group-index";
    let labels = |at: u32| format!("storm-service-name: pool, role-name: decode, {index}: '{at}'");
    namespace.pods_of(POOL, "leaders", 2, &labels(0), LOADED).await;
    namespace.pods_of(POOL, "followers", 2, &labels(1), "testbed.windlass.dev/fault: refuse").await;
    namespace.ready("followers", 2).await;
    namespace.ready("leaders", 2).await;
    namespace.apply(&of_role("pa", "decode", (1, 10))).await;
    namespace.becomes("stormservices/pool", DECODE, "4").await;
    namespace.condition("pa", "MetricsAvailable", "True", "Fresh").await;
    assert_eq!(namespace.field("podautoscaler/pa", ".status.capacity.ready").await, "2");
}

#[tokio::test]
async fn a_storm_service_as_a_whole_and_by_one_role() {
    let namespace = Namespace::new("whole").await;
    namespace.apply(&storm_service(2, "replicas: 1")).await;
    namespace.pods_of(POOL, "prefill", 2, "storm-service-name: pool, role-name: prefill", LOADED).await;
    namespace.pods_of(POOL, "decode", 2, "storm-service-name: pool, role-name: decode", "").await;
    namespace.ready("prefill", 2).await;
    let by_role = of_role("pa", "prefill", (1, 10)).replace(
        "{name: pa}",
        "{name: pa, annotations: {autoscaling.aibrix.ai/storm-service-mode: replica}}",
    );
    namespace.apply(&by_role).await;
    namespace.becomes("stormservices/pool", ".spec.replicas", "4").await;
    assert_eq!(namespace.field("stormservices/pool", ".spec.template.spec.roles[0].replicas").await, "1");
    namespace.kubectl(&["delete", "podautoscaler", "pa"]).await;
    namespace.apply(&on(&autoscaler("all", "StormService/pool", "KPA", (6, 10)), ORCHESTRATION)).await;
    namespace.becomes("stormservices/pool", ".spec.replicas", "6").await;
    // Four pods of two roles are two replicas.
    namespace.becomes("podautoscaler/all", ".status.capacity.ready", "2").await;
}

#[tokio::test]
async fn a_kind_without_scale() {
    let namespace = Namespace::new("no-scale-subresource").await;
    let set = "apiVersion: example.com/v1
kind: EngineSet
metadata: {name: engine}
spec: {replicas: 2, image: one, selector: {matchLabels: {app: engine}}}
";
    namespace.apply(set).await;
    let owner = ["example.com/v1", "EngineSet", "enginesets", "engine"];
    namespace.pods_of(owner, "engine", 2, "app: engine", LOADED).await;
    namespace.ready("engine", 2).await;
    namespace.apply(&on(&autoscaler("pa", "EngineSet/engine", "KPA", (1, 10)), "example.com/v1")).await;
    namespace.becomes("enginesets/engine", ".spec.replicas", "4").await;
    namespace.condition("pa", "MetricsAvailable", "True", "Fresh").await;
    assert_eq!(namespace.field("enginesets/engine", ".spec.image").await, "one");
    // A selector is needed for all but the bounds.
    let none = "[{\"op\":\"remove\",\"path\":\"/spec/selector\"}]";
    namespace.kubectl(&["patch", "enginesets/engine", "--type=json", "-p", none]).await;
    namespace.apply(&on(&autoscaler("pa", "EngineSet/engine", "KPA", (7, 10)), "example.com/v1")).await;
    namespace.becomes("enginesets/engine", ".spec.replicas", "7").await;
    let message = namespace.condition("pa", "MetricsAvailable", "False", "InvalidSelector").await;
    assert!(message.contains("neither a status.selector nor a spec.selector"), "{message}");
}

#[tokio::test]
async fn stateful_sets_and_replica_sets() {
    let namespace = Namespace::new("workloads").await;
    for (kind, name, extra) in [("StatefulSet", "stateful", "serviceName: s, "), ("ReplicaSet", "bare", "")] {
        namespace
            .apply(
                &format!(
                    "apiVersion: apps/v1
kind: {kind}
metadata: {{name: {name}, annotations: {{{LOADED}}}}}
spec:
  {extra}
  replicas: 2
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      containers:
      - {{name: engine, image: 'aibrix/vllm-mock:nightly', ports: [{{containerPort: 8000}}]}}
"
                )
                .replace("s, \n", "s\n")
                .replace("  \n", ""),
            )
            .await;
        namespace.apply(&autoscaler(name, &format!("{kind}/{name}"), "APA", (1, 10))).await;
    }
    for (object, name) in [("statefulset/stateful", "stateful"), ("replicaset/bare", "bare")] {
        namespace.becomes(object, ".spec.replicas", "4").await;
        namespace.becomes(&format!("podautoscaler/{name}"), ".status.capacity.ready", "4").await;
    }
}

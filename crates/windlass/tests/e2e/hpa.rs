//! Strategy HPA, with the real controller of HorizontalPodAutoscalers. There is no metrics server here: bounds and holds
//! need none.

use std::time::{Duration, Instant};

use k8s_openapi::jiff::SignedDuration;
use serde_json::{Value, json};

use crate::fixture::{Controller, HPA_SYNC_PERIOD, Namespace, OWN_CONTROLLERS, autoscaler, deployment};

const HPAS: &str = "horizontalpodautoscalers";
const WITHIN: Duration = Duration::from_mins(1);

/// The shape of v0.1, cpu by its old name.
fn by_cpu(metadata: &str, replicas: (u32, u32)) -> String {
    let (min, max) = replicas;
    format!(
        "apiVersion: autoscaling.aibrix.ai/v1alpha1
kind: PodAutoscaler
metadata: {metadata}
spec:
  scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: engine}}
  minReplicas: {min}
  maxReplicas: {max}
  targetMetric: CPU
  targetValue: '10'
  scalingStrategy: HPA
"
    )
}

impl Namespace {
    /// All of them, by name.
    async fn hpas(&self) -> Vec<Value> {
        let list: Value = serde_json::from_str(&self.kubectl(&["get", "hpa", "-o", "json"]).await).unwrap();
        list["items"].as_array().unwrap().clone()
    }

    /// Waits until the only one there is looks so; gives it.
    async fn hpa(&self, what: &str, looks: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        let mut last = Vec::new();
        while begun.elapsed() < WITHIN {
            last = self.hpas().await;
            if let [hpa] = &last[..]
                && looks(hpa)
            {
                return hpa.clone();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("no HorizontalPodAutoscaler that {what}: {last:#?}");
    }

    async fn no_hpa(&self) {
        let begun = Instant::now();
        while !self.hpas().await.is_empty() {
            assert!(begun.elapsed() < WITHIN, "it stays: {:#?}", self.hpas().await);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn verbs(&self, resource: &str) -> Vec<String> {
        self.writes(resource).await.into_iter().map(|write| write.verb).collect()
    }

    async fn annotate(&self, setting: &str) {
        let setting = format!("windlass.dev/{setting}");
        self.kubectl(&["annotate", "--overwrite", "podautoscaler", "pa", &setting]).await;
    }
}

fn has_bounds(min: u32, max: u32) -> impl Fn(&Value) -> bool {
    move |hpa| hpa["spec"]["minReplicas"] == min && hpa["spec"]["maxReplicas"] == max
}

#[tokio::test]
async fn it_is_created_mirrored_and_put_back() {
    let namespace = Namespace::new("hpa").await;
    namespace.apply(&deployment("engine", "engine", 1, &[])).await;
    namespace.apply(&by_cpu("{name: pa, labels: {team: a}}", (1, 10))).await;
    let hpa = namespace.hpa("was looked at", |hpa| hpa["status"]["conditions"].is_array()).await;
    assert_eq!(
        (&hpa["metadata"]["name"], &hpa["metadata"]["labels"]),
        (&json!("pa-hpa"), &json!({"team": "a"}))
    );
    let owner = &hpa["metadata"]["ownerReferences"][0];
    assert_eq!(
        (&owner["kind"], &owner["name"], &owner["controller"]),
        (&json!("PodAutoscaler"), &json!("pa"), &json!(true))
    );
    let cpu = json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 10}}}]);
    assert_eq!(hpa["spec"]["metrics"], cpu);
    assert_eq!(hpa["spec"]["behavior"]["scaleDown"]["stabilizationWindowSeconds"], 300);
    let shown = namespace.kubectl(&["get", "hpa"]).await;
    let words: Vec<&str> = shown.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(words[..2], ["pa-hpa", "Deployment/engine"], "{shown}");
    assert!(shown.contains("/10%") && shown.contains(" 1         10 "), "{shown}");

    // The last word, once the pod has run long enough to be measured: its containers request no cpu.
    let last_word = |hpa: &Value| hpa["status"]["conditions"].to_string().contains("missing request for cpu");
    namespace.hpa("has its pod measured", last_word).await;
    let begun = Instant::now();
    let mut mirrored = String::new();
    while !mirrored.contains("missing request for cpu") {
        assert!(begun.elapsed() < Duration::from_secs(30), "{mirrored}");
        mirrored = namespace.condition("pa", "ScalingActive", "False", "FailedGetResourceMetric").await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let status = namespace.autoscaler("pa").await["status"].clone();
    assert_eq!(
        (&status["actualScale"], &status["target"]),
        (&json!(1), &json!("Deployment/engine")),
        "{status:#}"
    );

    let statuses = namespace.writes("podautoscalers/status").await.len();
    tokio::time::sleep(HPA_SYNC_PERIOD + Duration::from_secs(1)).await;
    assert_eq!(namespace.verbs(HPAS).await, ["create"], "nothing changes, nothing is written");
    assert_eq!(namespace.writes("podautoscalers/status").await.len(), statuses);

    namespace.kubectl(&["patch", "hpa", "pa-hpa", "-p", "{\"spec\":{\"maxReplicas\":99}}"]).await;
    namespace.hpa("has its bounds back", has_bounds(1, 10)).await;
    namespace.kubectl(&["delete", "hpa", "pa-hpa"]).await;
    let again = namespace.hpa("is there again", |_| true).await;
    assert_ne!(again["metadata"]["uid"], hpa["metadata"]["uid"]);
    namespace.apply(&by_cpu("{name: pa}", (2, 8))).await;
    namespace.hpa("follows the spec", has_bounds(2, 8)).await;
    namespace.ready("engine", 2).await;
    assert_eq!(namespace.verbs(HPAS).await, ["create", "update", "create", "update"]);
    namespace.kubectl(&["delete", "podautoscaler", "pa"]).await;
    namespace.no_hpa().await;
    assert!(namespace.writes("deployments/scale").await.is_empty(), "its own controller scales");
}

#[tokio::test]
async fn one_of_somebody_else_is_left_alone() {
    let namespace = Namespace::new("hpa-foreign").await;
    namespace.apply(&deployment("engine", "engine", 1, &[])).await;
    namespace
        .apply(
            "apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: pa-hpa}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: other}
  maxReplicas: 3
",
        )
        .await;
    namespace.apply(&by_cpu("{name: pa}", (1, 10))).await;
    let message = namespace.condition("pa", "AbleToScale", "False", "HPANotOurs").await;
    assert!(message.contains("pa-hpa exists and is not this object's"), "{message}");
    assert_eq!(namespace.hpas().await[0]["spec"]["maxReplicas"], 3);
    assert!(namespace.writes(HPAS).await.is_empty());
    namespace.kubectl(&["delete", "hpa", "pa-hpa"]).await;
    namespace.hpa("is ours", has_bounds(1, 10)).await;
}

/// Under load. Who writes the count takes turns, and never two at once.
#[tokio::test]
async fn strategies_take_turns() {
    let namespace = Namespace::new("hpa-turns").await;
    namespace.apply(&deployment("engine", "engine", 2, &[("total", "80"), ("share", "ready")])).await;
    namespace.ready("engine", 2).await;
    let strategy = |strategy: &str| autoscaler("pa", "Deployment/engine", strategy, (1, 10));
    namespace.apply(&strategy("HPA")).await;
    let hpa = namespace.hpa("was looked at", |hpa| hpa["status"]["conditions"].is_array()).await;
    let metric = &hpa["spec"]["metrics"][0]["pods"];
    assert_eq!(
        (&metric["metric"]["name"], &metric["target"]["averageValue"]),
        (&json!("avg_prompt_throughput_toks_per_s"), &json!("20"))
    );

    namespace.apply(&strategy("KPA")).await;
    namespace.condition("pa", "AbleToScale", "False", "WaitingForHPA").await;
    namespace.ready("engine", 4).await;
    namespace.condition("pa", "AbleToScale", "True", "SucceededGetScale").await;
    assert!(namespace.hpas().await.is_empty());
    let removed = namespace.writes(HPAS).await.pop().unwrap();
    let first = namespace.writes("deployments/scale").await.remove(0);
    let after = first.received.duration_since(removed.answered);
    assert_eq!(removed.verb, "delete");
    assert!(after >= SignedDuration::try_from(HPA_SYNC_PERIOD).unwrap(), "{after}");

    namespace.apply(&strategy("APA")).await;
    namespace.steer("deployment/engine", "total=120").await;
    namespace.ready("engine", 6).await;

    namespace.apply(&strategy("HPA")).await;
    namespace.hpa("is there again", |hpa| hpa["status"]["conditions"].is_array()).await;
    namespace.steer("deployment/engine", "total=200").await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    namespace.ready("engine", 6).await;
    let created = namespace.writes(HPAS).await.pop().unwrap();
    assert_eq!(namespace.verbs(HPAS).await, ["create", "delete", "create"]);
    let last = namespace.writes("deployments/scale").await.pop().unwrap();
    assert!(last.answered < created.received, "our last write was over: {last:?}, {created:?}");
}

#[tokio::test]
async fn holds_are_carried_out_by_it() {
    let namespace = Namespace::new("hpa-holds").await;
    namespace.apply(&deployment("engine", "engine", 2, &[])).await;
    namespace.apply(&by_cpu("{name: pa}", (1, 10))).await;
    namespace.hpa("is there", has_bounds(1, 10)).await;
    namespace.annotate("mode=paused").await;
    let disabled = |hpa: &Value| {
        ["scaleUp", "scaleDown"].iter().all(|way| hpa["spec"]["behavior"][way]["selectPolicy"] == "Disabled")
    };
    namespace.hpa("is disabled", disabled).await;
    let message = namespace.condition("pa", "Held", "True", "Paused").await;
    assert!(message.starts_with("paused by windlass.dev/mode: "), "{message}");
    namespace.annotate("mode-").await;
    namespace.annotate("hold-at=4").await;
    namespace.hpa("is held", has_bounds(4, 4)).await;
    namespace.ready("engine", 4).await;
    let message = namespace.condition("pa", "Held", "True", "HoldAt").await;
    assert_eq!(message, "held by windlass.dev/hold-at 4: holding 4");
    namespace.condition("pa", "Ready", "True", "AsExpected").await;
    let history = namespace.autoscaler("pa").await["status"]["scalingHistory"].clone();
    assert_eq!(
        (&history[0]["previousScale"], &history[0]["newScale"]),
        (&json!(2), &json!(4)),
        "{history:#}"
    );
    namespace.annotate("hold-at-").await;
    namespace.annotate("override=3 until 2999-12-01T08:00Z").await;
    namespace.hpa("is held", has_bounds(3, 3)).await;
    namespace.ready("engine", 3).await;
    namespace.annotate("mode=recommend").await;
    namespace.no_hpa().await;
    namespace.condition("pa", "Held", "True", "Recommend").await;
    namespace.annotate("mode-").await;
    namespace.annotate("override-").await;
    namespace.hpa("is there again", has_bounds(1, 10)).await;
}

/// Killed while it writes: there is one, and it says what the spec says.
#[tokio::test]
async fn kills_leave_one() {
    let group = "hpa-kills";
    let namespace = Namespace::new(group).await;
    namespace.apply(&deployment("engine", "engine", 1, &[])).await;
    let metadata = format!("{{name: pa, labels: {{{OWN_CONTROLLERS}: {group}}}}}");
    for max in 10..14_u64 {
        let mut controller = Controller::start(group, &format!("c{max}"));
        namespace.apply(&by_cpu(&metadata, (1, u32::try_from(max).unwrap()))).await;
        if max == 10 {
            namespace.hpa("is there", has_bounds(1, 10)).await;
        }
        // From at once to after the election.
        tokio::time::sleep(Duration::from_millis((max - 10) * 1100)).await;
        controller.kill();
    }
    let _controller = Controller::start(group, "last");
    namespace.hpa("follows the spec", has_bounds(1, 13)).await;
    let creates = namespace.verbs(HPAS).await.into_iter().filter(|verb| verb == "create").count();
    assert_eq!(creates, 1);
}

//! One writer: what happens when others write the same count.

use std::time::Duration;

use crate::fixture::{Namespace, autoscaler, deployment};

const CONFLICT: &str = "MultiPodAutoscalerConflict";

impl Namespace {
    /// Waits until the condition of a PodAutoscaler is not there.
    async fn without(&self, name: &str, type_: &str) {
        for _ in 0..100 {
            let conditions = self.autoscaler(name).await["status"]["conditions"].clone();
            let conditions = conditions.as_array().cloned().unwrap_or_default();
            if !conditions.is_empty() && conditions.iter().all(|condition| condition["type"] != type_) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        panic!("condition {type_} of {name} stays");
    }
}

#[tokio::test]
async fn of_two_autoscalers_the_older_goes_on() {
    let namespace = Namespace::new("two-autoscalers").await;
    namespace.apply(&deployment("engine", "engine", 2, &[("total", "40")])).await;
    let trajectory = namespace.record("engine");
    // By its name it comes after the other one in every list.
    namespace.apply(&autoscaler("z-older", "Deployment/engine", "KPA", (3, 10))).await;
    namespace.ready("engine", 3).await;
    // Creation times have whole seconds.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    namespace.apply(&autoscaler("a-younger", "Deployment/engine", "KPA", (5, 10))).await;
    for name in ["z-older", "a-younger"] {
        let message = namespace.condition(name, CONFLICT, "False", CONFLICT).await;
        let expect =
            "PodAutoscalers z-older and a-younger both scale Deployment/engine: z-older is older and goes on";
        assert!(message.starts_with(expect), "{message}");
    }
    namespace.condition("a-younger", "Ready", "False", CONFLICT).await;
    namespace.condition("z-older", "Ready", "True", "AsExpected").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(trajectory.replicas(), [2, 3], "{:?}", trajectory.timed());
    namespace.kubectl(&["delete", "podautoscaler", "z-older"]).await;
    namespace.ready("engine", 5).await;
    namespace.without("a-younger", CONFLICT).await;
    assert_eq!(trajectory.replicas(), [2, 3, 5], "{:?}", trajectory.timed());
}

#[tokio::test]
async fn other_autoscalers_are_not_fought() {
    let namespace = Namespace::new("rivals").await;
    namespace.apply(&deployment("engine", "engine", 2, &[("total", "40")])).await;
    namespace
        .kubectl(&["autoscale", "deployment", "engine", "--name=web", "--max=9", "--cpu-percent=50"])
        .await;
    namespace
        .apply("{apiVersion: keda.sh/v1alpha1, kind: ScaledObject, metadata: {name: queue}, spec: {scaleTargetRef: {name: engine}}}")
        .await;
    namespace.apply(&autoscaler("pa", "Deployment/engine", "KPA", (4, 10))).await;
    let trajectory = namespace.record("engine");
    let all =
        "HorizontalPodAutoscaler web and ScaledObject queue and PodAutoscaler pa all scale Deployment/engine";
    let mut message = String::new();
    for _ in 0..50 {
        message = namespace.condition("pa", CONFLICT, "False", CONFLICT).await;
        if message.starts_with(all) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(message.starts_with(all), "{message}");
    namespace.kubectl(&["delete", "hpa", "web"]).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(trajectory.replicas(), [2], "{:?}", trajectory.timed());
    namespace.kubectl(&["delete", "scaledobject", "queue"]).await;
    namespace.ready("engine", 4).await;
    namespace.without("pa", CONFLICT).await;
}

#[tokio::test]
async fn a_persons_scale_is_respected() {
    let namespace = Namespace::new("by-hand").await;
    let total = [("total", "120"), ("share", "ready")];
    namespace.apply(&deployment("engine", "engine", 6, &total)).await;
    namespace.ready("engine", 6).await;
    namespace.apply(&autoscaler("pa", "Deployment/engine", "KPA", (1, 20))).await;
    namespace.condition("pa", "MetricsAvailable", "True", "Fresh").await;
    namespace.without("pa", "SetByHand").await;
    let trajectory = namespace.record("engine");
    namespace.kubectl(&["scale", "deployment", "engine", "--replicas=4"]).await;
    let message = namespace.condition("pa", "SetByHand", "True", "Respected").await;
    assert!(message.starts_with("set to 4 by kubectl: respected until "), "{message}");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(trajectory.replicas(), [6, 4], "{:?}", trajectory.timed());
    let state = namespace.autoscaler("pa").await["status"]["decision"]["steps"].to_string();
    assert!(state.contains("4 instead of 6: set to 4 by kubectl, respected for"), "{state}");
    // More load than there was then.
    namespace.steer("deployment/engine", "total=160").await;
    namespace.ready("engine", 8).await;
    assert_eq!(trajectory.replicas()[..2], [6, 4], "{:?}", trajectory.timed());
}

#[tokio::test]
async fn a_manifest_that_is_applied_again_and_again_is_not_fought() {
    let namespace = Namespace::new("gitops").await;
    // Its load with it: applied from elsewhere, what a manifest leaves out is removed.
    let manifest = deployment("engine", "engine", 2, &[("total", "80"), ("share", "ready")]);
    namespace.apply(&manifest).await;
    namespace.ready("engine", 2).await;
    // The bound keeps the count that is undone the same, however slowly all this goes.
    namespace.apply(&autoscaler("pa", "Deployment/engine", "KPA", (1, 4))).await;
    namespace.ready("engine", 4).await;
    let trajectory = namespace.record("engine");
    let sync = async || {
        let arguments =
            ["apply", "--server-side", "--force-conflicts", "--field-manager=argocd-controller", "-f", "-"];
        let output = namespace.try_kubectl(&arguments, &manifest).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    sync().await;
    // The first time it may be a person.
    namespace.condition("pa", "SetByHand", "True", "Respected").await;
    namespace.ready("engine", 2).await;
    namespace.steer("deployment/engine", "total=120").await;
    namespace.ready("engine", 4).await;
    sync().await;
    namespace.ready("engine", 4).await;
    sync().await;
    let message = namespace.condition("pa", "ReplicasContested", "True", "FieldManager").await;
    assert!(
        message.starts_with("argocd-controller set the count back to 2 3 times within 10 min"),
        "{message}"
    );
    namespace.condition("pa", "Ready", "False", "ReplicasContested").await;
    namespace.ready("engine", 2).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(trajectory.replicas().last(), Some(&2), "{:?}", trajectory.timed());
}

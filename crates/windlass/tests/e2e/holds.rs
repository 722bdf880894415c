//! What a person orders by annotation, and a controller that only recommends.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use crate::fixture::{Controller, Namespace, OWN_CONTROLLERS, autoscaler, deployment};

impl Namespace {
    /// Sets an annotation of the PodAutoscaler `pa`, or removes it (`-`).
    async fn order(&self, setting: &str) {
        let setting = format!("windlass.dev/{setting}");
        self.kubectl(&["annotate", "--overwrite", "podautoscaler", "pa", &setting]).await;
    }

    /// Waits until the condition is not there.
    async fn no_condition(&self, type_: &str) {
        for _ in 0..100 {
            let status = self.autoscaler("pa").await["status"].clone();
            let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
            if !conditions.is_empty() && conditions.iter().all(|condition| condition["type"] != type_) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        panic!("condition {type_} stays");
    }
}

#[tokio::test]
async fn paused_writes_nothing_until_it_is_taken_back() {
    let namespace = Namespace::new("paused").await;
    namespace.apply(&deployment("engine", "engine", 3, &[("total", "60"), ("share", "ready")])).await;
    namespace.ready("engine", 3).await;
    namespace.apply(&autoscaler("pa", "Deployment/engine", "KPA", (1, 10))).await;
    namespace.condition("pa", "MetricsAvailable", "True", "Fresh").await;
    let trajectory = namespace.record("engine");
    namespace.order("mode=paused").await;
    namespace.condition("pa", "Held", "True", "Paused").await;
    namespace.steer("deployment/engine", "total=120").await;
    // A minute at most: what would be is told anew every 10 s.
    let mut message = String::new();
    for _ in 0..60 {
        message = namespace.condition("pa", "Held", "True", "Paused").await;
        if message == "paused by windlass.dev/mode: holding 3, would be 6" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(message, "paused by windlass.dev/mode: holding 3, would be 6");
    namespace.order("mode=recommend").await;
    let message = namespace.condition("pa", "Held", "True", "Recommend").await;
    assert_eq!(message, "only recommending: holding 3, would be 6");
    assert_eq!(trajectory.replicas(), [3], "{:?}", trajectory.timed());
    namespace.order("mode-").await;
    namespace.ready("engine", 6).await;
    namespace.no_condition("Held").await;
    assert_eq!(trajectory.replicas(), [3, 6], "{:?}", trajectory.timed());
}

/// Engines that say nothing do not matter to a person's order, and silence after it changes nothing.
#[tokio::test]
async fn an_order_is_obeyed_at_once_though_the_engines_are_silent() {
    let namespace = Namespace::new("hold-at").await;
    namespace.apply(&deployment("engine", "engine", 2, &[("fault", "refuse")])).await;
    namespace.ready("engine", 2).await;
    namespace.apply(&autoscaler("pa", "Deployment/engine", "APA", (1, 10))).await;
    namespace.condition("pa", "MetricsAvailable", "False", "Blind").await;
    let trajectory = namespace.record("engine");
    namespace.order("hold-at=14").await;
    // Five times as many at once: the rate would allow 4. The bound is 10.
    namespace.ready("engine", 10).await;
    let message = namespace.condition("pa", "PolicyWarnings", "True", "ReadWithWarnings").await;
    assert!(message.contains("14 is outside of minReplicas 1 and maxReplicas 10"), "{message}");
    namespace.order("hold-at=3").await;
    namespace.ready("engine", 3).await;
    let held = "held by windlass.dev/hold-at 3: holding 3";
    let mut message = String::new();
    // The status may still tell of the order before.
    for _ in 0..50 {
        message = namespace.condition("pa", "Held", "True", "HoldAt").await;
        if message.starts_with(held) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(message.starts_with(held), "{message}");
    // Somebody switches it off by hand: the order says otherwise.
    namespace.kubectl(&["scale", "deployment", "engine", "--replicas=0"]).await;
    namespace.ready("engine", 3).await;
    namespace.order("hold-at-").await;
    namespace.no_condition("Held").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    namespace.ready("engine", 3).await;
    assert_eq!(trajectory.replicas(), [2, 10, 3, 0, 3], "{:?}", trajectory.timed());
}

#[tokio::test]
async fn an_override_ends_by_itself() {
    let namespace = Namespace::new("override").await;
    namespace.apply(&deployment("engine", "engine", 2, &[("total", "80"), ("share", "ready")])).await;
    namespace.ready("engine", 2).await;
    let until = Timestamp::now() + Duration::from_secs(15);
    let manifest = autoscaler("pa", "Deployment/engine", "KPA", (1, 10)).replace(
        "{name: pa}",
        &format!("{{name: pa, annotations: {{windlass.dev/override: '1 until {until}'}}}}"),
    );
    let trajectory = namespace.record("engine");
    namespace.apply(&manifest).await;
    namespace.ready("engine", 1).await;
    let message = namespace.condition("pa", "Held", "True", "Override").await;
    assert!(message.starts_with("held by windlass.dev/override 1 until 2"), "{message}");
    // Its end is not an event of anything: the controller wakes up for it.
    namespace.ready("engine", 4).await;
    assert!(Timestamp::now() >= until, "not before its end: {:?}", trajectory.timed());
    namespace.no_condition("Held").await;
    let message = namespace.condition("pa", "PolicyWarnings", "True", "ReadWithWarnings").await;
    assert!(message.contains("is over and ignored"), "{message}");
    assert_eq!(trajectory.replicas()[..2], [2, 1], "{:?}", trajectory.timed());
}

#[tokio::test]
async fn a_controller_that_only_recommends_leaves_no_trace() {
    let namespace = Namespace::new("recommend-only").await;
    namespace.apply(&deployment("engine", "engine", 2, &[("total", "80"), ("share", "ready")])).await;
    namespace.ready("engine", 2).await;
    let labels = format!("{{name: pa, labels: {{{OWN_CONTROLLERS}: recommend-only}}}}");
    let manifest = autoscaler("pa", "Deployment/engine", "KPA", (1, 10)).replace("{name: pa}", &labels);
    namespace.apply(&manifest).await;
    let before = namespace.autoscaler("pa").await;
    let trajectory = namespace.record("engine");
    let mut controller = Controller::recommending("recommend-only");
    let log = controller.logged("holding=2 would_be=4").await;
    assert!(log.contains("4 is recommended, nothing is written"), "{log}");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(namespace.autoscaler("pa").await, before, "no status");
    assert_eq!(trajectory.replicas(), [2], "{:?}", trajectory.timed());
    let events =
        namespace.kubectl(&["get", "events", "-o", "name", "--field-selector=involvedObject.name=pa"]).await;
    assert_eq!(events, "", "no event");
    let leases = Namespace::new("default").await.kubectl(&["get", "leases", "-o", "name"]).await;
    assert!(!leases.contains("recommend-only"), "no Lease: {leases}");
}

//! Bounds by the clock.

use std::time::Duration;

use crate::fixture::{Namespace, autoscaler, deployment};

/// In force at whatever time this runs.
const ALWAYS: &str = "  schedules:
  - {name: always, timezone: Europe/Berlin, startTime: '00:00', endTime: '24:00', minReplicas: 4, maxReplicas: 6}
";

/// Raised from below its min; lowered only by demand afterwards, which takes a down window.
#[tokio::test]
async fn a_schedule_raises_its_target_and_its_end_gives_the_bounds_back() {
    let namespace = Namespace::new("schedules").await;
    namespace.apply(&deployment("engine", "engine", 2, &[("total", "20")])).await;
    namespace.ready("engine", 2).await;
    let trajectory = namespace.record("engine");
    let plain = autoscaler("pa", "Deployment/engine", "KPA", (1, 10));
    namespace.apply(&format!("{plain}{ALWAYS}")).await;
    namespace.ready("engine", 4).await;
    namespace.condition("pa", "Ready", "True", "AsExpected").await;
    let status = namespace.autoscaler("pa").await["status"].clone();
    let bounds = serde_json::json!({
        "activeSchedule": "always", "effectiveMinReplicas": 4, "effectiveMaxReplicas": 6,
    });
    assert_eq!(status["scheduledBounds"], bounds, "{status:#}");
    assert_eq!(status["decision"]["steps"][0], "schedule always: 4 to 6 replicas", "{status:#}");

    namespace.apply(&plain).await;
    let last = "{.status.scheduledBounds}{.status.observedGeneration}";
    let arguments =
        ["wait", "podautoscaler/pa", "--for=jsonpath={.status.observedGeneration}=2", "--timeout=60s"];
    namespace.kubectl(&arguments).await;
    let told = namespace.kubectl(&["get", "podautoscaler", "pa", "-o", &format!("jsonpath={last}")]).await;
    assert_eq!(told, "2", "no bounds of a schedule any more");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(trajectory.replicas(), [2, 4], "lowered by demand, not by the end: {:?}", trajectory.timed());
}

#[tokio::test]
async fn contradicting_schedules_are_said_by_name() {
    let namespace = Namespace::new("contradicting-schedules").await;
    namespace.apply(&deployment("engine", "engine", 2, &[])).await;
    let schedules =
        "  - {name: other, timezone: Asia/Shanghai, startTime: '09:00', endTime: '18:00', minReplicas: 5}\n";
    let plain = autoscaler("pa", "Deployment/engine", "KPA", (1, 10));
    namespace.apply(&format!("{plain}{ALWAYS}{schedules}")).await;
    let message = namespace.condition("pa", "ValidSpec", "False", "InvalidBounds").await;
    assert!(message.contains("\"always\" (4 to 6 replicas) and \"other\" (5 to 10)"), "{message}");
}

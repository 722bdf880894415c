//! Load that changes, engines that start slowly or fail.

use std::time::Duration;

use crate::fixture::{Namespace, autoscaler, deployment};

async fn pods(namespace: &Namespace) -> Vec<String> {
    let names = namespace.kubectl(&["get", "pods", "-o", "name"]).await;
    names.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn one_hangs_then_all_fail_then_healthy_changes_nothing() {
    for (index, strategy) in ["KPA", "APA"].into_iter().enumerate() {
        let namespace = Namespace::new(&format!("outage-{index}")).await;
        namespace.apply(&deployment("engine", "engine", 8, &[("total", "160"), ("share", "ready")])).await;
        namespace.ready("engine", 8).await;
        let trajectory = namespace.record("engine");
        namespace.apply(&autoscaler("pa", "Deployment/engine", strategy, (1, 20))).await;
        namespace.condition("pa", "MetricsAvailable", "True", "Fresh").await;

        let one = pods(&namespace).await.swap_remove(3);
        namespace.steer(&one, "fault=hang").await;
        let message = namespace.condition("pa", "MetricsAvailable", "True", "Thin").await;
        assert!(message.contains("1 of 8 pods are silent"), "{message}");
        tokio::time::sleep(Duration::from_secs(5)).await;

        namespace.steer("deployment/engine", "fault=http500").await;
        let message = namespace.condition("pa", "MetricsAvailable", "False", "Blind").await;
        assert!(message.contains("holding 8"), "{message}");
        tokio::time::sleep(Duration::from_secs(10)).await;

        namespace.steer("deployment/engine", "fault-").await;
        namespace.steer(&one, "fault-").await;
        namespace.condition("pa", "MetricsAvailable", "True", "Fresh").await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(trajectory.replicas(), [8], "{strategy}: {:?}", trajectory.timed());
    }
}

#[tokio::test]
async fn slow_starts_ask_for_the_need_at_once_and_never_beyond() {
    let namespace = Namespace::new("slow-start").await;
    let load = [("total", "120"), ("share", "ready")];
    namespace.apply(&deployment("engine", "engine", 2, &load)).await;
    namespace.ready("engine", 2).await;
    namespace.steer("deployment/engine", "start=20s").await;
    let trajectory = namespace.record("engine");
    namespace.apply(&autoscaler("pa", "Deployment/engine", "KPA", (1, 50))).await;
    namespace.ready("engine", 6).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(trajectory.replicas(), [2, 4, 6], "{:?}", trajectory.timed());
}

#[tokio::test]
async fn a_rising_load_raises() {
    let namespace = Namespace::new("rising").await;
    namespace.apply(&deployment("engine", "engine", 2, &[("total", "40"), ("share", "ready")])).await;
    namespace.ready("engine", 2).await;
    namespace.apply(&autoscaler("pa", "Deployment/engine", "KPA", (1, 50))).await;
    namespace.condition("pa", "MetricsAvailable", "True", "Fresh").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let trajectory = namespace.record("engine");
    namespace.steer("deployment/engine", "total=160").await;
    namespace.ready("engine", 8).await;
    assert!(trajectory.replicas().is_sorted(), "{:?}", trajectory.timed());
    assert_eq!(trajectory.replicas().last(), Some(&8), "{:?}", trajectory.timed());
}

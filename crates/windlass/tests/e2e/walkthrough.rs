//! AIBrix's own walk-through, with both strategies.

use std::time::Duration;

use crate::fixture::{Namespace, autoscaler, deployment, root};

#[tokio::test]
async fn the_samples_scale_from_3_to_5_and_stay() {
    let default = Namespace::new("default").await;
    let app = root().join("docs/development/app/deployment.yaml");
    default.kubectl(&["apply", "-f", app.to_str().unwrap()]).await;
    default.ready("llama2-70b", 3).await;
    let trajectory = default.record("llama2-70b");

    let sample = root().join("config/samples/autoscaling_v1alpha1_mock_llama.yaml");
    default.kubectl(&["apply", "-f", sample.to_str().unwrap()]).await;
    default.ready("llama2-70b", 5).await;
    default.condition("podautoscaler-example-mock-llama", "Ready", "True", "AsExpected").await;
    let mut table = String::new();
    for _ in 0..20 {
        table = default.kubectl(&["get", "podautoscalers", "--all-namespaces"]).await;
        let row = table.lines().find(|row| row.contains("mock-llama ")).unwrap_or_default();
        if row.split_whitespace().last() == Some("5") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let header: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    let columns =
        ["NAMESPACE", "NAME", "MINPODS", "MAXPODS", "REPLICAS", "STRATEGY", "AGE", "TARGET", "READY"];
    assert_eq!(header, columns);
    let row: Vec<&str> =
        table.lines().find(|row| row.contains("mock-llama ")).unwrap().split_whitespace().collect();
    assert_eq!(row[..6], ["default", "podautoscaler-example-mock-llama", "1", "10", "5", "KPA"], "{table}");
    assert_eq!(row[7..], ["Deployment/llama2-70b", "5"], "{table}");

    let before = default.autoscaler("podautoscaler-example-mock-llama").await;
    tokio::time::sleep(Duration::from_secs(15)).await;
    let after = default.autoscaler("podautoscaler-example-mock-llama").await;
    assert_eq!(before, after, "nothing is written while nothing changes");
    assert_eq!(trajectory.replicas(), [3, 5], "{:?}", trajectory.timed());
    assert_eq!(after["status"]["scalingHistory"].as_array().unwrap().len(), 1);
    let described = default.kubectl(&["describe", "podautoscaler", "podautoscaler-example-mock-llama"]).await;
    assert!(described.contains("SuccessfulRescale"), "{described}");

    // The same with APA, in the current shape, from 3 again.
    default.kubectl(&["delete", "-f", sample.to_str().unwrap()]).await;
    default.kubectl(&["scale", "deployment", "llama2-70b", "--replicas=3"]).await;
    default.ready("llama2-70b", 3).await;
    let sample = root().join("config/samples/autoscaling_v1alpha1_mock_llama_apa.yaml");
    default.kubectl(&["apply", "-f", sample.to_str().unwrap()]).await;
    default.ready("llama2-70b", 5).await;
}

#[tokio::test]
async fn zero_by_hand_stays_zero() {
    let namespace = Namespace::new("zero-by-hand").await;
    namespace.apply(&deployment("engine", "engine", 2, &[("total", "40")])).await;
    namespace.apply(&autoscaler("pa", "Deployment/engine", "KPA", (1, 5))).await;
    namespace.condition("pa", "MetricsAvailable", "True", "Fresh").await;
    namespace.kubectl(&["scale", "deployment", "engine", "--replicas=0"]).await;
    namespace.condition("pa", "MetricsAvailable", "False", "NoPods").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    namespace.ready_none("engine").await;
}

#[tokio::test]
async fn a_deleted_autoscaler_leaves_the_count_and_a_changed_one_acts() {
    let namespace = Namespace::new("changed").await;
    namespace.apply(&deployment("engine", "engine", 2, &[("total", "40")])).await;
    namespace.apply(&autoscaler("pa", "Deployment/engine", "APA", (1, 5))).await;
    namespace.condition("pa", "MetricsAvailable", "True", "Fresh").await;
    namespace.apply(&autoscaler("pa", "Deployment/engine", "APA", (4, 5))).await;
    namespace.ready("engine", 4).await;
    namespace.kubectl(&["delete", "podautoscaler", "pa"]).await;
    namespace.steer("deployment/engine", "total=400").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    namespace.ready("engine", 4).await;
}

//! Real requests through engines that serve them.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::fixture::{Namespace, autoscaler, deployment, get, windlass};

/// A closed load that needs more than one engine: more are asked for, every request is answered, also by engines that are
/// taken away while they serve.
#[tokio::test]
async fn a_load_raises_and_no_request_is_lost() {
    let namespace = Namespace::new("requests").await;
    let engines = [("mode", "engine"), ("model", "llama-3.1-8b@h100")];
    namespace.apply(&deployment("engine", "engine", 1, &engines)).await;
    namespace.ready("engine", 1).await;
    let trajectory = namespace.record("engine");
    let by_inflight = autoscaler("pa", "Deployment/engine", "KPA", (1, 4))
        .replace("avg_prompt_throughput_toks_per_s", "inflight")
        .replace("targetValue: '20'", "targetValue: '8'")
        .replace("{name: pa}", "{name: pa, annotations: {autoscaling.aibrix.ai/max-scale-up-rate: '10'}}");
    namespace.apply(&by_inflight).await;
    namespace.condition("pa", "MetricsAvailable", "True", "Fresh").await;

    let arguments = ["load", "closed", "--namespace", "requests", "--deployment", "engine"];
    let load = ["--users", "30", "--duration", "20s", "--prompt", "100", "--output", "lognormal(60,0.5)"];
    let output = tokio::spawn(async move { windlass(&[&arguments[..], &load[..]].concat()).await });
    namespace.ready("engine", 4).await;
    // In the middle of the load: whoever is taken away answers first.
    let pods = namespace.kubectl(&["get", "pods", "-o", "name"]).await;
    namespace.kubectl(&["delete", "--wait=false", pods.lines().next().unwrap()]).await;
    let output = output.await.unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(printed.contains(", 0 failed"), "{printed}");
    assert!(trajectory.replicas().is_sorted(), "{:?}", trajectory.timed());
}

/// What the controller holds of the only signal, once its account says this.
async fn accounted(namespace: &str, clause: &str) -> Value {
    let begun = Instant::now();
    let mut last = String::new();
    while begun.elapsed() < Duration::from_secs(50) {
        last = get(&format!("/debug/state?namespace={namespace}&name=pa")).await.1;
        if last.contains(clause) {
            let state: Value = serde_json::from_str(&last).unwrap();
            return state["targets"][0]["signals"][0].clone();
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("it is not said that {clause:?}: {last}");
}

/// The 90th percentile of what the requests waited for their first token raises. When no request is under way any longer
/// and those that were have left its window, there is no value, which is not 0: the signal is idle.
#[tokio::test]
async fn a_latency_raises_under_load_and_is_idle_without() {
    let namespace = Namespace::new("latency").await;
    let engines = [("mode", "engine"), ("model", "llama-3.1-8b@h100")];
    namespace.apply(&deployment("engine", "engine", 1, &engines)).await;
    namespace.ready("engine", 1).await;
    let trajectory = namespace.record("engine");
    // Not KPA, whose panic would outlast the test.
    let by_ttft = autoscaler("pa", "Deployment/engine", "APA", (1, 2)).replace(
        "avg_prompt_throughput_toks_per_s, targetValue: '20'",
        "ttft, targetValue: '0.002', quantile: 0.9, engine: vllm",
    );
    assert!(by_ttft.contains("quantile"), "{by_ttft}");
    namespace.apply(&by_ttft).await;
    namespace.condition("pa", "MetricsAvailable", "True", "Fresh").await;
    let idle = "ttft p90 asks for 1: idle, no request is under way and none finished lately";
    let before = accounted("latency", idle).await;
    assert_eq!((&before["idle"], &before["total"]), (&Value::Bool(true), &Value::Null), "{before}");

    let arguments = ["load", "closed", "--namespace", "latency", "--deployment", "engine"];
    let load = ["--users", "20", "--duration", "6s", "--prompt", "100", "--output", "30"];
    let output = windlass(&[&arguments[..], &load[..]].concat()).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    namespace.ready("engine", 2).await;
    let loaded = accounted("latency", "times its target of 0.002 per replica").await;
    assert!(loaded["total"].as_f64() > Some(0.002), "{loaded}");
    accounted("latency", idle).await;
    assert_eq!(trajectory.replicas(), [1, 2], "nothing is lowered before the down window");
}

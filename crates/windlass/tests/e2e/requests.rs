//! Real requests through engines that serve them.

use crate::fixture::{Namespace, autoscaler, deployment, windlass};

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

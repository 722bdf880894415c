//! What is known of the engines behind a target.

use crate::fixture::{Namespace, autoscaler, deployment, get, windlass};

/// Status and `windlass metrics` tell the engine, the image's tag and the series that is read.
#[tokio::test]
async fn engines_and_the_series_that_are_read_are_told() {
    let namespace = Namespace::new("vocabulary").await;
    let engines = [("mode", "engine"), ("model", "llama-3.1-8b@h100")];
    namespace.apply(&deployment("engine", "engine", 2, &engines)).await;
    namespace.ready("engine", 2).await;
    let by_running = autoscaler("pa", "Deployment/engine", "KPA", (2, 4))
        .replace("avg_prompt_throughput_toks_per_s", "running");
    namespace.apply(&by_running).await;
    let engine = "podautoscaler/pa";
    namespace.becomes(engine, ".status.engines[0].pods", "2").await;
    for (field, expect) in [
        (".status.engines[*].engine", "vllm"),
        (".status.engines[0].version", "nightly"),
        (".status.engines[0].aliases[*].metric", "running"),
        (".status.engines[0].aliases[*].series", "vllm:num_requests_running"),
    ] {
        assert_eq!(namespace.field(engine, field).await, expect, "{field}");
    }
    let (_, state) = get("/debug/state?namespace=vocabulary&name=pa").await;
    assert!(state.contains("vllm:num_requests_running"), "{state}");

    let pods = namespace.kubectl(&["get", "pods", "-o", "name"]).await;
    let pod = pods.lines().next().unwrap().replace("pod/", "vocabulary/");
    let output = windlass(&["metrics", &pod]).await;
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    for expect in ["engine   vLLM", "version  nightly", "by name (", "vllm:num_requests_running"] {
        assert!(told.contains(expect), "{expect:?} is not in\n{told}");
    }
}

/// A version that calls its metrics otherwise takes the place of another one, in the same pods: no decision is missed, and
/// status names what is read now.
#[tokio::test]
async fn an_upgrade_in_place_misses_no_decision() {
    let namespace = Namespace::new("upgrade").await;
    let engines = [("engine", "vllm-v0"), ("metric", "kv_util"), ("total", "1.2"), ("share", "ready")];
    namespace.apply(&deployment("engine", "engine", 2, &engines)).await;
    namespace.ready("engine", 2).await;
    let history = namespace.record("engine");
    let by_cache = autoscaler("pa", "Deployment/engine", "KPA", (2, 8))
        .replace("avg_prompt_throughput_toks_per_s", "kv_util")
        .replace("targetValue: '20'", "targetValue: '0.7'");
    namespace.apply(&by_cache).await;
    let series = ".status.engines[*].aliases[*].series";
    namespace.becomes("podautoscaler/pa", series, "vllm:gpu_cache_usage_perc").await;
    namespace.steer("deployment/engine", "engine=vllm-v1").await;
    namespace.becomes("podautoscaler/pa", series, "vllm:kv_cache_usage_perc").await;
    let generation = namespace.field("podautoscaler/pa", ".status.engines[*].generation").await;
    assert_eq!(generation, "v1");
    let told = namespace.kubectl(&["get", "events", "-o", "jsonpath={.items[*].reason}"]).await;
    assert!(!told.contains("MetricsUnavailable"), "{told}");
    assert_eq!(history.replicas(), [2], "{:?}", history.timed());
    namespace.steer("deployment/engine", "total=4.8").await;
    namespace.ready("engine", 7).await;
    assert!(history.replicas().is_sorted(), "{:?}", history.timed());
}

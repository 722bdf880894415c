//! Engines of several kinds behind one target.

use crate::fixture::{Namespace, autoscaler, deployment};

/// A Deployment whose engines have these pages in turn and an APA by `inflight`, at two replicas' worth of load.
async fn target(namespace: &Namespace, name: &str, engines: &str) {
    let annotations = [("metric", "inflight"), ("share", "ready"), ("total", "40"), ("engine", engines)];
    namespace.apply(&deployment(name, name, 2, &annotations)).await;
    let metadata = format!("metadata: {{name: {name}}}");
    // A short window, so that the steps are sharp.
    let windowed =
        format!("metadata: {{name: {name}, annotations: {{apa.autoscaling.aibrix.ai/window: 5s}}}}");
    let by_inflight = autoscaler(name, &format!("Deployment/{name}"), "APA", (1, 12))
        .replace("avg_prompt_throughput_toks_per_s", "inflight")
        .replace(&metadata, &windowed);
    namespace.apply(&by_inflight).await;
}

/// Four kinds of engines behind one target are scaled as one kind is, before and after an upgrade in place that renames all
/// their metrics.
#[tokio::test]
async fn mixed_engines_are_scaled_as_one() {
    let namespace = Namespace::new("engines").await;
    target(&namespace, "mixed", "vllm-v0,vllm-v1,sglang,tgi").await;
    target(&namespace, "alike", "vllm").await;
    let trajectories = ["mixed", "alike"].map(|name| namespace.record(name));
    for (total, replicas) in [(40, 2), (160, 8), (240, 12)] {
        if total == 240 {
            namespace.steer("deployment/mixed", "engine=vllm-v1").await;
        }
        let load = format!("total={total}");
        tokio::join!(namespace.steer("deployment/mixed", &load), namespace.steer("deployment/alike", &load));
        tokio::join!(namespace.ready("mixed", replicas), namespace.ready("alike", replicas));
        for name in ["mixed", "alike"] {
            namespace.condition(name, "MetricsAvailable", "True", "Fresh").await;
        }
    }
    // What lies between depends on when a round was read; nothing overshoots, and no silence during the upgrade lowers.
    for trajectory in trajectories {
        let replicas = trajectory.replicas();
        assert!(replicas.is_sorted() && replicas.contains(&8), "{:?}", trajectory.timed());
        assert_eq!(replicas.last(), Some(&12), "{:?}", trajectory.timed());
    }
}

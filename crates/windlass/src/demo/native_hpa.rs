//! AIBrix's HPA walk-through: nginx under a load generator, scaled by the real HPA controller.

use std::time::{Duration, Instant};

use anyhow::bail;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::{HorizontalPodAutoscaler, MetricStatus};
use kube::Api;
use windlass_testbed::plane::Plane;

use super::{say, show};

const DEPLOYMENT: &str = "nginx-deployment";
const HPA: &str = "podautoscaler-example-hpa";
/// The HPA controller looks every few seconds, at a metric that is a mean over some seconds.
const STEP_WITHIN: Duration = Duration::from_mins(2);
const WANTED: i32 = 3;

/// From one pod to three at least.
pub(super) async fn run(plane: &Plane) -> anyhow::Result<()> {
    let client = plane.client()?;
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "default");
    let hpas: Api<HorizontalPodAutoscaler> = Api::namespaced(client, "default");

    say(
        "Second act. Strategy HPA: a native HPA is created and kept, here for a web server at 10 % of the CPU it requests",
    );
    show(plane, "kubectl apply -f config/samples/autoscaling_v1alpha1_demo_nginx.yaml").await?;
    show(plane, "kubectl apply -f config/samples/autoscaling_v1alpha1_podautoscaler.yaml").await?;
    reach(&deployments, 1).await?;
    measured(&hpas).await?;
    show(plane, "kubectl get podautoscalers --all-namespaces").await?;
    show(plane, "kubectl get deployments.apps").await?;
    show(plane, "kubectl get hpa").await?;

    say("A load: one client, a new connection for every request");
    show(
        plane,
        "kubectl run load-generator --image=busybox -- /bin/sh -c \"while true; do wget -q -O- \
         http://nginx-service.default.svc.cluster.local; done\"",
    )
    .await?;
    let begun = Instant::now();
    reach(&deployments, WANTED).await?;
    println!(
        "  (the HPA may double once in 60 s, as AIBrix has it)\n  {WANTED} nginx pods serve {:.0} s after the load began",
        begun.elapsed().as_secs_f64()
    );
    show(plane, "kubectl get hpa").await?;
    show(plane, "kubectl get pods --all-namespaces | grep -E 'NAME|nginx|load-generator'").await?;
    show(plane, "kubectl delete pod load-generator --now").await
}

/// Waits for this many ready pods at least.
async fn reach(deployments: &Api<Deployment>, wanted: i32) -> anyhow::Result<()> {
    let ready = async || {
        let status = deployments.get_opt(DEPLOYMENT).await?.and_then(|deployment| deployment.status);
        Ok(status.and_then(|status| status.ready_replicas).unwrap_or(0) >= wanted)
    };
    until(&format!("{wanted} ready nginx pods"), ready).await
}

/// Waits until the HPA controller has a value to compare with the target.
async fn measured(hpas: &Api<HorizontalPodAutoscaler>) -> anyhow::Result<()> {
    let known = async || {
        let status = hpas.get_opt(HPA).await?.and_then(|hpa| hpa.status);
        let metrics = status.and_then(|status| status.current_metrics).unwrap_or_default();
        let value = |metric: MetricStatus| metric.resource?.current.average_utilization;
        Ok(metrics.into_iter().find_map(value).is_some())
    };
    until("a value of the HPA's metric", known).await
}

async fn until(what: &str, condition: impl AsyncFn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let begun = Instant::now();
    while !condition().await? {
        if begun.elapsed() > STEP_WITHIN {
            bail!("{what}: not within {} s", STEP_WITHIN.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

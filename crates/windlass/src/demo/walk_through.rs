//! AIBrix's own walk-through: a scripted load, from three replicas to five.

use std::time::{Duration, Instant};

use anyhow::bail;
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use windlass_testbed::plane::Plane;

use super::{say, show};

const DEPLOYMENT: &str = "docs/development/app/deployment.yaml";
const SAMPLE: &str = "config/samples/autoscaling_v1alpha1_mock_llama.yaml";
/// The walk-through takes seconds; a step that takes longer than this has failed.
const STEP_WITHIN: Duration = Duration::from_mins(1);
/// How long the fixed point is watched at the end.
const CALM: Duration = Duration::from_secs(10);

/// From three replicas to five, and not one further write.
pub(super) async fn run(plane: &Plane) -> anyhow::Result<()> {
    say("Three engines, each reporting a share of one load: 100 ÷ 3 tokens/s");
    show(plane, &format!("kubectl apply -f {DEPLOYMENT}")).await?;
    let deployments: Api<Deployment> = Api::namespaced(plane.client()?, "default");
    reach(&deployments, 3, Instant::now()).await?;
    show(plane, "kubectl get deployments --all-namespaces | grep llama2").await?;

    say("A PodAutoscaler in the shape of AIBrix v0.1: at most 20 tokens/s per replica");
    show(plane, &format!("kubectl apply -f {SAMPLE}")).await?;
    let applied = Instant::now();
    let times = reach(&deployments, 5, applied).await?;
    // The status follows within a quarter of a second.
    tokio::time::sleep(Duration::from_millis(500)).await;
    show(plane, "kubectl get podautoscalers --all-namespaces").await?;
    show(plane, "kubectl get deployments --all-namespaces | grep llama2").await?;
    say("Why");
    let steps = "kubectl get podautoscaler podautoscaler-example-mock-llama \
                 -o jsonpath='{range .status.scalingHistory[*]}{.previousScale} → {.newScale}: {.reason}{\"\\n\"}{end}'";
    show(plane, steps).await?;

    let generation = generation(&deployments).await?;
    tokio::time::sleep(CALM).await;
    let writes_after = self::generation(&deployments).await? - generation;
    println!(
        "\nFrom 3 to 5 replicas: written {:.2} s after the PodAutoscaler was applied, 5/5 ready after {:.2} s, {writes_after} \
         further writes in {} s.",
        times.written.as_secs_f64(),
        times.ready.as_secs_f64(),
        CALM.as_secs(),
    );
    if writes_after != 0 {
        bail!("the count should have stayed");
    }
    Ok(())
}

struct Times {
    written: Duration,
    ready: Duration,
}

/// Follows the Deployment until it has this many ready replicas; prints a line per change.
async fn reach(deployments: &Api<Deployment>, replicas: i32, since: Instant) -> anyhow::Result<Times> {
    let mut last = None;
    let mut written = None;
    loop {
        if let Some(deployment) = deployments.get_opt("llama2-70b").await? {
            let asked = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
            let ready = deployment.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0);
            if last != Some((asked, ready)) {
                println!("  {:5.2} s  replicas {asked}, ready {ready}", since.elapsed().as_secs_f64());
                last = Some((asked, ready));
            }
            if asked == replicas {
                let written = *written.get_or_insert(since.elapsed());
                if ready == replicas {
                    return Ok(Times { written, ready: since.elapsed() });
                }
            }
        }
        if since.elapsed() > STEP_WITHIN {
            bail!("not at {replicas} ready replicas after {} s", STEP_WITHIN.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn generation(deployments: &Api<Deployment>) -> anyhow::Result<i64> {
    Ok(deployments.get("llama2-70b").await?.metadata.generation.unwrap_or(0))
}

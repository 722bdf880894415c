//! The HPA walk-through, there and back: a load that comes, and a load that goes.

use std::time::{Duration, Instant};

use anyhow::ensure;
use windlass_testbed::ReplicaHistory;

use crate::stage::{Stage, until};
use crate::trajectory;

const SAMPLES: [&str; 2] = [
    "config/samples/autoscaling_v1alpha1_demo_nginx.yaml",
    "config/samples/autoscaling_v1alpha1_podautoscaler.yaml",
];
const NAME: &str = "nginx-deployment";
/// As many pods the load needs at least.
const NEEDED: i32 = 3;
/// The HPA lowers by half a minute apart once the five minutes of its down window are over.
const LOAD: Duration = Duration::from_mins(1);

/// At least three pods under load, one again after it.
pub(crate) async fn run(stage: &Stage) -> anyhow::Result<()> {
    println!("\n── HPA walk-through: a load that comes and goes, back to 1");
    for sample in SAMPLES {
        stage.kubectl(&["apply", "-f", sample], b"").await?;
    }
    let history = ReplicaHistory::follow(stage.deployments("default"));
    let ready = |wanted: &dyn Fn(i32) -> bool| history.now(NAME).is_some_and(|now| wanted(now.ready));
    until("one nginx pod", || ready(&|count| count == 1)).await?;
    let begun = Instant::now();
    let command = "while true; do wget -q -O- http://nginx-service.default.svc.cluster.local; done";
    let generator = ["run", "load-generator", "--image=busybox", "--", "/bin/sh", "-c", command];
    stage.kubectl(&generator, b"").await?;
    until("three nginx pods", || ready(&|count| count >= NEEDED)).await?;
    tokio::time::sleep(LOAD).await;
    let most = history.now(NAME).map_or(0, |now| now.ready);
    let stopped = Instant::now();
    stage.kubectl(&["delete", "pod", "load-generator", "--now"], b"").await?;
    until("one nginx pod again", || ready(&|count| count == 1)).await?;
    println!("  {}", trajectory::text(&history.asked_since(NAME, begun), begun));
    println!(
        "  {most} pods under load; back to 1 replica {:.0} s after the load stopped",
        stopped.elapsed().as_secs_f64()
    );
    ensure!(most >= NEEDED, "only {most} pods under load");
    Ok(())
}

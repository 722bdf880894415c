//! `windlass demo`: AIBrix's walk-through, word for word, on a testbed of its own.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use tokio::process::{Child, Command};
use windlass_testbed::plane::Plane;

const NAME: &str = "demo";
const DEPLOYMENT: &str = "docs/development/app/deployment.yaml";
const SAMPLE: &str = "config/samples/autoscaling_v1alpha1_mock_llama.yaml";
const CRD: &str = "config/crd/autoscaling.aibrix.ai_podautoscalers.yaml";
/// The walk-through takes seconds; a step that takes longer than this has failed.
const STEP_WITHIN: Duration = Duration::from_mins(1);
/// How long the fixed point is watched at the end.
const CALM: Duration = Duration::from_secs(10);

pub(crate) async fn run() -> anyhow::Result<()> {
    if !Path::new(CRD).is_file() {
        bail!("{CRD} is not here; run the demo in the root of the Windlass repository");
    }
    say("A real Kubernetes control plane on loopback, with simulated nodes and engines");
    let began = Instant::now();
    let (plane, agent) = crate::testbed::up(NAME, 4).await?;
    say(&format!("Kubernetes {} is up ({:.1} s)", plane.server_version(), began.elapsed().as_secs_f64()));
    let outcome = tokio::select! {
        outcome = walk(&plane) => outcome,
        interrupted = crate::interrupted() => interrupted.and(Err(anyhow::anyhow!("interrupted"))),
    };
    agent.stop().await;
    plane.shutdown().await?;
    outcome
}

async fn walk(plane: &Plane) -> anyhow::Result<()> {
    say("Windlass: its CRD, its controller");
    show(plane, &format!("kubectl apply -f {CRD}")).await?;
    show(plane, "kubectl wait --for=condition=Established crd/podautoscalers.autoscaling.aibrix.ai").await?;
    let mut controller = start_controller(plane)?;

    say("Three engines, each reporting a share of one load: 100 ÷ 3 tokens/s");
    show(plane, &format!("kubectl apply -f {DEPLOYMENT}")).await?;
    let deployments: Api<Deployment> = Api::namespaced(plane.client()?, "default");
    reach(&deployments, 3, Instant::now()).await?;
    show(plane, "kubectl get deployments --all-namespaces | grep llama2").await?;

    say("A PodAutoscaler in the shape of AIBrix v0.1: at most 20 tokens/s per replica");
    show(plane, &format!("kubectl apply -f {SAMPLE}")).await?;
    let applied = Instant::now();
    let times = reach(&deployments, 5, applied).await?;
    show(plane, "kubectl get podautoscalers --all-namespaces").await?;
    show(plane, "kubectl get deployments --all-namespaces | grep llama2").await?;
    say("Why");
    let steps = "kubectl get podautoscaler podautoscaler-example-mock-llama \
                 -o jsonpath='{range .status.scalingHistory[*]}{.previousScale} → {.newScale}: {.reason}{\"\\n\"}{end}'";
    show(plane, steps).await?;

    let generation = generation(&deployments).await?;
    tokio::time::sleep(CALM).await;
    let writes_after = self::generation(&deployments).await? - generation;
    if let Some(status) = controller.try_wait()? {
        bail!("the controller ended ({status}); see {}/logs/controller.log", plane.state_dir().display());
    }
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
    if std::env::var_os("DEMO_KEEP").is_some_and(|keep| !keep.is_empty() && keep != "0") {
        println!("\nIt keeps running until Ctrl-C. In another terminal:\n");
        println!("  export KUBECONFIG={}", plane.kubeconfig().display());
        println!("  export PATH={}:$PATH", plane.kubectl().parent().unwrap_or(Path::new("")).display());
        println!("  kubectl annotate deployment llama2-70b testbed.windlass.dev/total=160 --overwrite");
        println!("  kubectl get podautoscalers -w");
        crate::interrupted().await?;
    }
    Ok(())
}

fn say(text: &str) {
    println!("\n── {text}");
}

/// Shows a command, runs it, and shows what it prints.
async fn show(plane: &Plane, command: &str) -> anyhow::Result<()> {
    println!("$ {command}");
    let kubectl = plane.kubectl();
    let folder = kubectl.parent().context("kubectl is in no folder")?;
    let path = std::env::join_paths(
        std::iter::once(folder.to_owned())
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    )?;
    let status = Command::new("sh")
        .args(["-c", command])
        .env("PATH", path)
        .env("KUBECONFIG", plane.kubeconfig())
        .stdin(Stdio::null())
        .status()
        .await?;
    if !status.success() {
        bail!("`{command}` failed ({status})");
    }
    Ok(())
}

/// The controller as a process of its own: the same that a cluster runs.
fn start_controller(plane: &Plane) -> anyhow::Result<Child> {
    let log = plane.state_dir().join("logs/controller.log");
    println!("$ windlass controller    # logs to {}", log.display());
    let log = std::fs::File::create(log)?;
    let mut command = Command::new(std::env::current_exe()?);
    for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
        // The control plane is on loopback.
        command.env_remove(proxy);
    }
    command
        .args(["controller", "--exit-with-stdin"])
        .env("KUBECONFIG", plane.kubeconfig())
        .stdin(Stdio::piped())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .context("the controller cannot be started")
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

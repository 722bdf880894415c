//! `windlass demo`: AIBrix's two walk-throughs, word for word, then real requests, on a testbed of its own.

mod burst;
mod native_hpa;
mod walk_through;

use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, bail};
use tokio::process::Command;
use windlass_testbed::ControllerProcess;
use windlass_testbed::plane::{HPA_SYNC_PERIOD, Plane};

const NAME: &str = "demo";
const CRD: &str = "config/crd/autoscaling.aibrix.ai_podautoscalers.yaml";

pub(crate) async fn run() -> anyhow::Result<()> {
    if !Path::new(CRD).is_file() {
        bail!("{CRD} is not here; run the demo in the root of the Windlass repository");
    }
    say("A real Kubernetes control plane on loopback, with simulated nodes and engines");
    let began = Instant::now();
    let (plane, agent) = crate::testbed::up(NAME, 4, HPA_SYNC_PERIOD).await?;
    say(&format!("Kubernetes {} is up ({:.1} s)", plane.server_version(), began.elapsed().as_secs_f64()));
    let played = tokio::select! {
        played = acts(&plane) => played,
        interrupted = crate::interrupted() => interrupted.and(Err(anyhow::anyhow!("interrupted"))),
    };
    let outcome = match played {
        Ok(controller) => keep(&plane, controller).await,
        Err(error) => Err(error),
    };
    agent.stop().await;
    plane.shutdown().await?;
    outcome
}

/// The controller goes on.
async fn acts(plane: &Plane) -> anyhow::Result<ControllerProcess> {
    say("Windlass: its CRD, its controller");
    show(plane, &format!("kubectl apply -f {CRD}")).await?;
    show(plane, "kubectl wait --for=condition=Established crd/podautoscalers.autoscaling.aibrix.ai").await?;
    let mut controller = start_controller(plane)?;
    walk_through::run(plane).await?;
    native_hpa::run(plane).await?;
    burst::run(plane).await?;
    if let Some(status) = controller.ended()? {
        bail!("the controller ended ({status}); see {}", controller.log().display());
    }
    Ok(controller)
}

/// Waits for Ctrl-C if that is wanted, then ends.
async fn keep(plane: &Plane, mut controller: ControllerProcess) -> anyhow::Result<()> {
    if std::env::var_os("DEMO_KEEP").is_some_and(|keep| !keep.is_empty() && keep != "0") {
        println!("\nIt keeps running until Ctrl-C. In another terminal:\n");
        println!("  export KUBECONFIG={}", plane.kubeconfig().display());
        println!("  export PATH={}:$PATH", plane.kubectl().parent().unwrap_or(Path::new("")).display());
        println!("  kubectl annotate deployment llama2-70b testbed.windlass.dev/total=160 --overwrite");
        println!("  kubectl get podautoscalers -w");
        crate::interrupted().await?;
    }
    controller.terminate().await?;
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
fn start_controller(plane: &Plane) -> anyhow::Result<ControllerProcess> {
    let program = std::env::current_exe()?;
    let admin = format!("127.{}.0.2:8080", plane.network());
    let controller = ControllerProcess::start(&program, plane, "controller", &["--admin-address", &admin]);
    let controller = controller.context("the controller cannot be started")?;
    println!("$ windlass controller --admin-address {admin}    # logs to {}", controller.log().display());
    Ok(controller)
}

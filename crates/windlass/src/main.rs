//! Windlass: autoscaling of LLM serving on Kubernetes. One file per subcommand; the logic is in the other crates.

mod controller;
mod crd;
#[cfg(feature = "testbed")]
mod demo;
#[cfg(feature = "testbed")]
mod load;
mod metrics;
mod rbac;
#[cfg(feature = "testbed")]
mod testbed;
mod verify;

use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use windlass_controller::{CatalogueFile, CatalogueFileError};
use windlass_metrics::Catalogue;

/// Autoscaling of LLM serving on Kubernetes: a drop-in for AIBrix's PodAutoscaler.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the controller against the cluster of the kubeconfig, or the one it runs in.
    Controller(controller::Arguments),
    /// Print the `CustomResourceDefinition` of `PodAutoscaler`.
    Crd,
    /// Tell what would become of `PodAutoscaler`s: accepted or not, every number, what is unlike AIBrix. Writes nothing.
    Verify(verify::Arguments),
    /// Tell what is seen of an engine: which it is, its metrics and where each is read, what is missing, what a page costs.
    Metrics(metrics::Arguments),
    /// Print the rights the controller needs: Namespace, `ServiceAccount`, roles and their bindings.
    Rbac(rbac::Arguments),
    /// A real control plane on loopback with simulated nodes and engines.
    #[cfg(feature = "testbed")]
    #[command(subcommand)]
    Testbed(testbed::Command),
    /// Send requests to the ready pods of a target and tell what became of them.
    #[cfg(feature = "testbed")]
    #[command(subcommand)]
    Load(load::Command),
    /// Bring up a testbed and show the walk-through on it.
    #[cfg(feature = "testbed")]
    Demo,
}

#[tokio::main]
async fn main() -> ExitCode {
    // Before any TLS: several crates could otherwise each bring a provider of their own.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let outcome = match Arguments::parse().command {
        Command::Controller(arguments) => controller::run(arguments).await.map(|()| ExitCode::SUCCESS),
        Command::Crd => crd::run().map(|()| ExitCode::SUCCESS),
        Command::Verify(arguments) => verify::run(arguments).await,
        Command::Metrics(arguments) => metrics::run(arguments).await,
        Command::Rbac(arguments) => rbac::run(arguments).map(|()| ExitCode::SUCCESS),
        #[cfg(feature = "testbed")]
        Command::Testbed(command) => testbed::run(command).await,
        #[cfg(feature = "testbed")]
        Command::Load(command) => load::run(command).await.map(|()| ExitCode::SUCCESS),
        #[cfg(feature = "testbed")]
        Command::Demo => demo::run().await.map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("windlass: {error:#}");
        ExitCode::FAILURE
    })
}

/// Prints it. Who reads only the beginning, as `head` does, has what it wants.
pub(crate) fn printed(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// The kubeconfig's cluster, or the one this runs in.
async fn cluster() -> anyhow::Result<kube::Config> {
    kube::Config::infer().await.map_err(|error| {
        // What is wrong with a configuration that is there is worth telling.
        let of_home =
            std::env::home_dir().map(|home| home.join(".kube/config")).filter(|config| config.exists());
        let is_one = std::env::var_os("KUBECONFIG").is_some() || of_home.is_some();
        let why = if is_one { format!(" ({error})") } else { String::new() };
        anyhow::anyhow!("there is no cluster{why}: set KUBECONFIG")
    })
}

/// The built-in catalogue, with what a file adds if there is one.
fn catalogue(path: Option<&Path>) -> Result<Arc<Catalogue>, CatalogueFileError> {
    let file = path.map(CatalogueFile::open).transpose()?;
    Ok(Arc::clone(file.as_ref().map_or(Catalogue::builtin(), CatalogueFile::catalogue)))
}

/// Completes at SIGINT or SIGTERM.
#[cfg(feature = "testbed")]
async fn interrupted() -> anyhow::Result<()> {
    Signals::listen()?.next().await;
    Ok(())
}

/// SIGINT and SIGTERM, each as it comes.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

//! `windlass testbed`: a real control plane on loopback, with simulated nodes and engines.

use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::os::unix::process::CommandExt;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail};
use windlass_testbed::node_agent::{self, NodeAgent};
use windlass_testbed::plane::{self, Plane};

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Bring up a control plane and simulated nodes; it lives as long as this command.
    Up {
        #[command(flatten)]
        name: Name,
        /// How many simulated nodes there are.
        #[arg(long, default_value_t = 4)]
        nodes: usize,
        /// How often the HPA controller looks; Kubernetes' own default is 15s.
        #[arg(long, value_parser = sync_period, default_value = "5s")]
        hpa_sync_period: Duration,
        /// Leave it running in the background.
        #[arg(long)]
        detach: bool,
    },
    /// End a testbed.
    Down(Name),
    /// Show a testbed's processes and how to reach it.
    Status(Name),
    /// Run the bundled kubectl on a testbed.
    #[command(disable_help_flag = true)]
    Kubectl {
        #[command(flatten)]
        name: Name,
        /// kubectl's own arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

#[derive(clap::Args)]
pub(crate) struct Name {
    /// Which testbed.
    #[arg(long, default_value = "default")]
    name: String,
}

/// Reads a duration of at least a second: kube-controller-manager would not rest with less.
fn sync_period(text: &str) -> Result<Duration, String> {
    let period = windlass_workload::parse_duration(text).map_err(|error| error.to_string())?;
    if period < Duration::from_secs(1) { Err("it must be at least 1s".to_owned()) } else { Ok(period) }
}

/// What a detached testbed prints when it can be used.
const READY: &str = "ready";

pub(crate) async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Up { name, nodes, hpa_sync_period, detach: true } => {
            detach(&name.name, nodes, hpa_sync_period)?;
        }
        Command::Up { name, nodes, hpa_sync_period, detach: false } => {
            stay(&name.name, nodes, hpa_sync_period).await?;
        }
        Command::Down(name) => plane::down(&name.name).await?,
        Command::Status(name) => return status(&name.name),
        Command::Kubectl { name, arguments } => {
            let error = plane::kubectl_command(&name.name)?.args(arguments).exec();
            return Err(error).context("kubectl cannot be run");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds what is needed, showing progress, and brings the testbed up.
pub(crate) async fn up(
    name: &str,
    nodes: usize,
    hpa_sync_period: Duration,
) -> anyhow::Result<(Plane, NodeAgent)> {
    let mut progress = Progress::default();
    let binary = tokio::task::spawn_blocking(move || plane::build(&mut |line| progress.show(line))).await??;
    let options = plane::Options { hpa_sync_period, ..plane::Options::new(name, binary) };
    let plane = plane::up(&options).await?;
    let options = node_agent::Options { network: plane.network(), nodes, ..node_agent::Options::default() };
    let agent = NodeAgent::start(plane.client()?, options).await?;
    Ok((plane, agent))
}

async fn stay(name: &str, nodes: usize, hpa_sync_period: Duration) -> anyhow::Result<()> {
    let (mut plane, agent) = up(name, nodes, hpa_sync_period).await?;
    println!("Kubernetes {} with {nodes} simulated nodes", plane.server_version());
    println!("export KUBECONFIG={}", plane.kubeconfig().display());
    println!("{READY}");
    std::io::stdout().flush()?;
    let failure = async {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if let Some(failure) = plane.failure() {
                return failure;
            }
        }
    };
    tokio::select! {
        outcome = crate::interrupted() => outcome?,
        failure = failure => bail!(failure),
    }
    agent.stop().await;
    plane.shutdown().await?;
    Ok(())
}

/// Runs `up` in a process of its own and waits until it is ready.
fn detach(name: &str, nodes: usize, hpa_sync_period: Duration) -> anyhow::Result<()> {
    let mut child = std::process::Command::new(std::env::current_exe()?)
        .args(["testbed", "up", "--name", name, "--nodes", &nodes.to_string()])
        .args(["--hpa-sync-period", &format!("{}ms", hpa_sync_period.as_millis())])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let stdout = child.stdout.take().context("the testbed has no output")?;
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        if line == READY {
            return Ok(());
        }
        println!("{line}");
    }
    let output = child.wait_with_output()?;
    bail!("the testbed did not come up: {}", String::from_utf8_lossy(&output.stderr).trim())
}

fn status(name: &str) -> anyhow::Result<ExitCode> {
    let Some(status) = plane::find(name)? else {
        println!("testbed {name} is not up");
        return Ok(ExitCode::FAILURE);
    };
    let age = SystemTime::now().duration_since(status.since).unwrap_or_default();
    let version = status.server_version.as_deref().unwrap_or("starting");
    println!(
        "testbed {name}: Kubernetes {version}, network 127.{}.0.0/16, up for {} s",
        status.network,
        age.as_secs()
    );
    println!("export KUBECONFIG={}", status.kubeconfig.display());
    for process in &status.processes {
        match process.resident_bytes {
            Some(bytes) => println!("{:>8} {:<20} {:>5} MB", process.pid, process.name, bytes >> 20),
            None => println!("{:>8} {:<20} ended", process.pid, process.name),
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Progress of something long: one line that changes on a terminal, a plain line now and then elsewhere.
#[derive(Default)]
struct Progress {
    last: Option<Instant>,
}

impl Progress {
    const PLAIN_EVERY: Duration = Duration::from_secs(20);

    fn show(&mut self, line: &str) {
        if std::io::stdout().is_terminal() {
            print!("\r\x1b[K{line}");
        } else if self.last.is_none_or(|last| last.elapsed() >= Self::PLAIN_EVERY) {
            self.last = Some(Instant::now());
            println!("{line}");
        }
        let _ = std::io::stdout().flush();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if std::io::stdout().is_terminal() {
            print!("\r\x1b[K");
        }
    }
}

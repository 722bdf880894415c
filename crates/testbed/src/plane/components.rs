//! The processes of a plane: how each is started, and when it is ready.

use std::fs::File;
use std::io::PipeReader;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{Api, Client, Config};

use super::claim::{Claim, address, remove};
use super::{Error, POLL, Plane, Process, READY_WITHIN, client_config, file_error, record};

const ETCD_CLIENT: u16 = 12379;
const ETCD_PEER: u16 = 12380;
const APISERVER: u16 = 16443;
const CONTROLLER_MANAGER: u16 = 20257;
const SCHEDULER: u16 = 20259;

/// The customary ports plus 10,000: the address is the plane's own, but a server on `0.0.0.0` would still be in the way.
pub(super) const PORTS: [u16; 5] = [ETCD_CLIENT, ETCD_PEER, APISERVER, CONTROLLER_MANAGER, SCHEDULER];

/// The audit log is rotated at this size: long after the end of any run.
const AUDIT_MEGABYTES: u32 = 4096;
/// Every write is recorded once, when it is answered: who, what, when, with which outcome. Reads are not.
const AUDIT_POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- level: None
  verbs: [get, list, watch]
- level: Metadata
";

/// A health check on loopback answers within milliseconds, or the server is still starting.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// A server of the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Component {
    Etcd,
    Apiserver,
    ControllerManager,
    Scheduler,
}

impl Component {
    /// The subcommand of the binary, and the name of the log.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Apiserver => "apiserver",
            Self::ControllerManager => "controller-manager",
            Self::Scheduler => "scheduler",
        }
    }

    /// Port and path of the health check. The API server's includes etcd.
    fn health(self) -> Option<(u16, &'static str)> {
        match self {
            Self::Etcd => None,
            Self::Apiserver => Some((APISERVER, "/readyz")),
            Self::ControllerManager => Some((CONTROLLER_MANAGER, "/healthz")),
            Self::Scheduler => Some((SCHEDULER, "/healthz")),
        }
    }

    fn command(self, binary: &Path, dir: &Path, network: u8, hpa_sync_period: Duration) -> Command {
        let address = address(network);
        let mut command = Command::new(binary);
        command.arg(self.name());
        let mut serve = |port: u16| {
            command.arg("--pki").arg(dir.join("pki"));
            command.args([format!("--address={address}"), format!("--port={port}")]);
        };
        match self {
            Self::Etcd => {
                command.arg("--data").arg(dir.join("data").join("etcd"));
                command.arg(format!("--client-url=http://{address}:{ETCD_CLIENT}"));
                command.arg(format!("--peer-url=http://{address}:{ETCD_PEER}"));
            }
            Self::Apiserver => {
                serve(APISERVER);
                command.arg(format!("--etcd=http://{address}:{ETCD_CLIENT}"));
                command.arg("--");
                command.arg(format!("--audit-policy-file={}", record::audit_policy(dir).display()));
                command.arg(format!("--audit-log-path={}", record::audit_log(dir).display()));
                command.arg(format!("--audit-log-maxsize={AUDIT_MEGABYTES}"));
            }
            Self::ControllerManager => {
                serve(CONTROLLER_MANAGER);
                command.arg("--kubeconfig").arg(record::kubeconfig(dir));
                command.arg("--");
                let milliseconds = hpa_sync_period.as_millis();
                command.arg(format!("--horizontal-pod-autoscaler-sync-period={milliseconds}ms"));
            }
            Self::Scheduler => {
                serve(SCHEDULER);
                command.arg("--kubeconfig").arg(record::kubeconfig(dir));
            }
        }
        command
    }
}

/// Starts a plane's processes and waits until all is ready, the namespace `default` included.
///
/// The servers that are clients of the API server come after it is ready, because they end when they do not find it.
pub(super) async fn start(claim: Claim, hpa_sync_period: Duration) -> Result<Plane, Error> {
    // The read end is dropped here at last; each child has its own copy.
    let (mut plane, life) = start_reaper(claim, hpa_sync_period)?;
    let deadline = Instant::now() + READY_WITHIN;
    launch(&mut plane, Component::Etcd, &life)?;
    write_keys(&plane)?;
    let policy = record::audit_policy(&plane.dir);
    std::fs::write(&policy, AUDIT_POLICY).map_err(file_error("write", &policy))?;
    let config = client_config(&plane.kubeconfig()).await?;
    launch(&mut plane, Component::Apiserver, &life)?;
    healthy(&mut plane, Component::Apiserver, &config, deadline).await?;
    let client = client(&plane, &config, APISERVER)?;
    let version = bootstrapped(&mut plane, &client, deadline).await?;

    launch(&mut plane, Component::ControllerManager, &life)?;
    launch(&mut plane, Component::Scheduler, &life)?;
    healthy(&mut plane, Component::ControllerManager, &config, deadline).await?;
    healthy(&mut plane, Component::Scheduler, &config, deadline).await?;

    plane.record.server_version = Some(version);
    plane.record.write(&plane.dir)?;
    plane.config = Some(config);
    Ok(plane)
}

/// The first process of a plane. Returns also the read end of the pipe, for the others.
fn start_reaper(claim: Claim, hpa_sync_period: Duration) -> Result<(Plane, PipeReader), Error> {
    let Claim { dir, record } = claim;
    let start = || {
        let (read, write) = std::io::pipe().map_err(file_error("make a pipe for", &dir))?;
        let mut reaper = Command::new(&record.binary);
        reaper.args(["reaper", "--state"]).arg(&dir);
        Ok((spawn("reaper", reaper, &dir, &read)?, read, write))
    };
    let (reaper, read, write) = match start() {
        Ok(started) => started,
        Err(error) => {
            remove(&dir)?;
            return Err(error);
        }
    };
    // From here on, dropping the plane cleans up.
    let (config, children) = (None, Vec::new());
    let mut plane = Plane { dir, record, hpa_sync_period, config, life: Some(write), reaper, children };
    plane.record.processes.push(Process::of_child("reaper", &plane.reaper));
    plane.record.write(&plane.dir)?;
    Ok((plane, read))
}

/// Starts a server and records it.
fn launch(plane: &mut Plane, component: Component, life: &PipeReader) -> Result<(), Error> {
    let (binary, network) = (&plane.record.binary, plane.record.network);
    let command = component.command(binary, &plane.dir, network, plane.hpa_sync_period);
    let child = spawn(component.name(), command, &plane.dir, life)?;
    plane.record.processes.push(Process::of_child(component.name(), &child));
    plane.children.push((component, child));
    plane.record.write(&plane.dir)
}

/// Starts one process that reads the pipe and writes to its log. In a process group of its own: Ctrl-C in a terminal
/// goes to the owner, which then ends its plane, and not to everyone at once.
fn spawn(name: &str, mut command: Command, dir: &Path, life: &PipeReader) -> Result<Child, Error> {
    let path = record::log(dir, name);
    let log = File::create(&path).map_err(file_error("create", &path))?;
    let stdout = log.try_clone().map_err(file_error("open", &path))?;
    let life = life.try_clone().map_err(file_error("share a pipe for", dir))?;
    command.stdin(life).stdout(stdout).stderr(log).current_dir("/").process_group(0);
    command.spawn().map_err(|source| Error::Spawn { program: format!("{name} ({command:?})"), source })
}

fn write_keys(plane: &Plane) -> Result<(), Error> {
    let address = address(plane.network());
    let mut command = Command::new(&plane.record.binary);
    command.arg("pki").arg("--dir").arg(plane.dir.join("pki")).arg("--kubeconfig").arg(plane.kubeconfig());
    command.arg(format!("--address={address}")).arg(format!("--server=https://{address}:{APISERVER}"));
    run(command, "pki")
}

/// Ends what is left of a plane whose owner and reaper are both dead.
pub(super) fn reap_now(binary: &Path, dir: &Path) -> Result<(), Error> {
    let mut command = Command::new(binary);
    command.args(["reaper", "--state"]).arg(dir);
    run(command, "reaper")
}

/// Runs a short command of the control plane binary to its end, with nothing to read.
fn run(mut command: Command, component: &'static str) -> Result<(), Error> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| Error::Spawn { program: format!("{component} ({command:?})"), source })?;
    if output.status.success() {
        return Ok(());
    }
    let tail = record::last_lines(String::from_utf8_lossy(&output.stderr).lines());
    Err(Error::Died { component, status: output.status, tail })
}

/// Waits until a server says it is healthy.
async fn healthy(
    plane: &mut Plane,
    component: Component,
    config: &Config,
    deadline: Instant,
) -> Result<(), Error> {
    let Some((port, path)) = component.health() else {
        return Ok(());
    };
    let client = client(plane, config, port)?;
    wait(plane, component, deadline, async || {
        let request = http::Request::get(path).body(Vec::new()).map_err(kube::Error::HttpError)?;
        client.request_text(request).await.map(drop)
    })
    .await
}

/// Waits for what the API server creates by itself soon after it is ready: the namespace that users expect, and the
/// authorities that the other servers check their clients by. Returns the API server's version.
async fn bootstrapped(plane: &mut Plane, client: &Client, deadline: Instant) -> Result<String, Error> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), "kube-system");
    wait(plane, Component::Apiserver, deadline, async || {
        namespaces.get("default").await?;
        config_maps.get("extension-apiserver-authentication").await?;
        Ok(client.apiserver_version().await?.git_version)
    })
    .await
}

/// A client of one server. All servers have the same certificate, so the administrator's configuration serves for each
/// but for the port.
fn client(plane: &Plane, config: &Config, port: u16) -> Result<Client, Error> {
    let client_error = |reason: String| Error::Client { path: plane.kubeconfig(), reason };
    let url = format!("https://{}:{port}", address(plane.network()));
    let mut config = config.clone();
    config.cluster_url =
        url.parse().map_err(|error: http::uri::InvalidUri| client_error(error.to_string()))?;
    // We ask again ourselves, and more often.
    config.default_retry = false;
    Client::try_from(config).map_err(|error| client_error(error.to_string()))
}

/// Asks until the answer is good, a server dies, or time is up.
async fn wait<T>(
    plane: &mut Plane,
    component: Component,
    deadline: Instant,
    check: impl AsyncFn() -> Result<T, kube::Error>,
) -> Result<T, Error> {
    loop {
        let last = match tokio::time::timeout(CHECK_TIMEOUT, check()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", CHECK_TIMEOUT.as_secs()),
        };
        if let Some(died) = plane.failure() {
            return Err(died);
        }
        if Instant::now() >= deadline {
            let tail = record::log_tail(&plane.dir, component.name());
            return Err(Error::NotReady { component: component.name(), last, tail });
        }
        tokio::time::sleep(POLL).await;
    }
}

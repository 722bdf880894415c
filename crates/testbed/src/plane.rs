//! A real Kubernetes control plane as child processes on loopback.
//!
//! [`build`] compiles the Go module `controlplane/` once and caches the binary; [`up`] starts etcd, kube-apiserver,
//! kube-controller-manager and kube-scheduler from it, on a loopback network of their own, with data that is thrown
//! away. [`find`], [`down`] and [`kubectl_command`] reach a plane that another process has brought up.
//!
//! **Nothing outlives the owner.** Every child reads one pipe whose write end only the process that called [`up`]
//! holds. When that process ends, however it does, the servers see the end of the pipe and exit; a reaper, started
//! before them, sees it too, kills what is left by process id, and removes the state directory. [`Plane::shutdown`] and
//! `Drop` do nothing else than close the pipe and wait, so there is one way to end and it is always the tested one.

mod build;
mod claim;
mod components;
mod process;
mod record;

use std::io;
use std::io::PipeWriter;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant, SystemTime};

use kube::config::{KubeConfigOptions, Kubeconfig};
use rustix::process::Signal;

pub use self::build::build;
use self::components::Component;
use self::process::Process;
use self::record::Record;

/// How long a plane may take from its first process to the last component's "ok"; 2 to 3 s are usual.
const READY_WITHIN: Duration = Duration::from_mins(1);
/// How long [`up`] waits for a dead plane of the same name to be cleaned up, and [`down`] for each of its measures.
const END_WITHIN: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// Why a control plane could not be built, started, found or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The Go sources are not above the current directory or the executable.
    #[error(
        "the sources of the control plane were not found: run this inside the Windlass repository, or set \
         WINDLASS_CONTROLPLANE_DIR to its controlplane/ directory"
    )]
    NoSources,
    /// `WINDLASS_CONTROLPLANE_DIR` points elsewhere.
    #[error(
        "WINDLASS_CONTROLPLANE_DIR is {0:?}, which does not hold the Go module windlass.dev/controlplane"
    )]
    WrongSources(PathBuf),
    /// There is no `go`.
    #[error(
        "the control plane is built with Go, and no `go` was found on the PATH: install Go 1.26 or later"
    )]
    NoGo,
    /// `go` failed.
    #[error("`go {command}` failed ({status}) in {dir}; its output ends:\n{tail}", dir = dir.display())]
    Go {
        /// The subcommand.
        command: &'static str,
        /// Where it ran.
        dir: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// Last lines of its output.
        tail: String,
    },
    /// The name would not do as the name of a directory.
    #[error("{0:?} cannot name a testbed: use 1 to 40 of a-z, 0-9 and '-', and begin with a letter or digit")]
    BadName(String),
    /// The name is taken by a living plane.
    #[error(
        "a testbed named {name:?} is already up (process {owner}): end it with `down`, or use another name"
    )]
    NameInUse {
        /// The name asked for.
        name: String,
        /// Process id of the owner.
        owner: u32,
        /// The owner is dead, and its reaper still at work.
        ending: bool,
    },
    /// No plane of this name.
    #[error("no testbed named {0:?} is up")]
    NotUp(String),
    /// All networks are taken.
    #[error("no loopback network is free: 127.20.0.0/16 to 127.119.0.0/16 are all in use")]
    NoNetwork,
    /// The base directory is not safe to use.
    #[error("{0:?} belongs to another user: set TMPDIR or XDG_RUNTIME_DIR to a directory of your own")]
    ForeignDirectory(PathBuf),
    /// A component ended instead of becoming ready.
    #[error("{component} ended while the testbed was starting ({status}); its log ends:\n{tail}")]
    Died {
        /// Which one.
        component: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// Last lines of its log.
        tail: String,
    },
    /// A component did not become ready in time.
    #[error("{component} was not ready within {} s ({last}); its log ends:\n{tail}", READY_WITHIN.as_secs())]
    NotReady {
        /// Which one.
        component: &'static str,
        /// What its health check said last.
        last: String,
        /// Last lines of its log.
        tail: String,
    },
    /// The plane resists.
    #[error("the testbed {0:?} did not end; see {1:?} for its processes")]
    DidNotEnd(String, PathBuf),
    /// A file or directory.
    #[error("could not {what} {path}: {source}", path = path.display())]
    File {
        /// The verb.
        what: &'static str,
        /// The object.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A program could not be started.
    #[error("could not start {program}: {source}")]
    Spawn {
        /// Which.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// The kubeconfig or the client made of it.
    #[error("could not make a client of {path}: {reason}", path = path.display())]
    Client {
        /// The kubeconfig.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// Names what was being done to which file.
fn file_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::File { what, path, source }
}

/// What [`up`] is to bring up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Name of the plane, unique per user.
    pub name: String,
    /// The control plane binary, from [`build`].
    pub binary: PathBuf,
    /// How often the HPA controller looks; see [`HPA_SYNC_PERIOD`].
    pub hpa_sync_period: Duration,
}

/// How often a plane's HPA controller looks when nothing else is said. Kubernetes' default is 15 s.
pub const HPA_SYNC_PERIOD: Duration = Duration::from_secs(5);

impl Options {
    /// A plane of this name, from this binary, and what is usual otherwise.
    pub fn new(name: impl Into<String>, binary: PathBuf) -> Self {
        Self { name: name.into(), binary, hpa_sync_period: HPA_SYNC_PERIOD }
    }
}

/// A running control plane, owned by this process: it ends when this value is dropped or the process dies.
#[derive(Debug)]
pub struct Plane {
    dir: PathBuf,
    record: Record,
    hpa_sync_period: Duration,
    config: Option<kube::Config>,
    /// The write end of the pipe that every child reads. Close-on-exec, so no child ever holds it.
    life: Option<PipeWriter>,
    reaper: Child,
    children: Vec<(Component, Child)>,
}

/// Brings up a plane and waits until every component is ready and the namespace `default` exists.
///
/// The state directory, removed at the end, lies in `$XDG_RUNTIME_DIR/windlass`, or else in `windlass-<uid>` in
/// `$TMPDIR` or `/tmp`.
pub async fn up(options: &Options) -> Result<Plane, Error> {
    let deadline = Instant::now() + END_WITHIN;
    let claim = loop {
        match claim::claim(&options.name, &options.binary) {
            Err(Error::NameInUse { ending: true, .. }) if Instant::now() < deadline => {
                tokio::time::sleep(POLL).await;
            }
            claimed => break claimed?,
        }
    };
    components::start(claim, options.hpa_sync_period).await
}

impl Plane {
    /// The API server's audit log: an `audit.k8s.io/v1` event per write, a line each.
    pub fn audit_log(&self) -> PathBuf {
        record::audit_log(&self.dir)
    }

    /// The plane's name.
    pub fn name(&self) -> &str {
        &self.record.name
    }

    /// N of the plane's own network 127.N.0.0/16. The control plane itself serves on 127.N.0.1; the rest is for pods.
    pub fn network(&self) -> u8 {
        self.record.network
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        record::kubeconfig(&self.dir)
    }

    /// `kubectl`, of the same version as the API server. Its directory may be put on a `PATH`.
    pub fn kubectl(&self) -> PathBuf {
        record::kubectl(&self.dir)
    }

    /// The bundled `kubectl` with `KUBECONFIG` set to this plane.
    pub fn kubectl_command(&self) -> Command {
        kubectl_in(&self.dir)
    }

    /// The directory of the plane's kubeconfig, logs and data. It goes when the plane goes.
    pub fn state_dir(&self) -> &Path {
        &self.dir
    }

    /// The API server's version, such as `v1.36.3`.
    pub fn server_version(&self) -> &str {
        self.record.server_version.as_deref().unwrap_or_default()
    }

    /// A new client of the API server as administrator. It belongs to the tokio runtime it is made in.
    pub fn client(&self) -> Result<kube::Client, Error> {
        let client_error = |reason: String| Error::Client { path: self.kubeconfig(), reason };
        let config = self.config.clone().ok_or_else(|| client_error("the plane is not ready".into()))?;
        kube::Client::try_from(config).map_err(|error| client_error(error.to_string()))
    }

    /// The first component that has ended although nobody asked it to, if one has.
    pub fn failure(&mut self) -> Option<Error> {
        let dir = &self.dir;
        self.children.iter_mut().find_map(|(component, child)| {
            let status = child.try_wait().ok().flatten()?;
            Some(Error::Died {
                component: component.name(),
                status,
                tail: record::log_tail(dir, component.name()),
            })
        })
    }

    /// Ends every process of the plane and removes its directory.
    pub async fn shutdown(mut self) -> Result<(), Error> {
        let (name, dir) = (self.record.name.clone(), self.dir.clone());
        let ended = tokio::task::spawn_blocking(move || self.end()).await;
        if ended.is_err() || dir.exists() { Err(Error::DidNotEnd(name, dir)) } else { Ok(()) }
    }

    /// Closes the pipe, which ends the servers, and collects them; the reaper kills who is late and cleans up.
    fn end(&mut self) {
        if self.life.take().is_none() {
            return;
        }
        // The reaper gives up in bounded time, so this wait ends.
        let reaped = self.reaper.wait().is_ok_and(|status| status.success());
        for (component, child) in &mut self.children {
            // Without effect on those that have ended, which are all of them unless the reaper was killed.
            if let Err(error) = child.kill().and_then(|()| child.wait()) {
                tracing::warn!(component = component.name(), %error, "could not end a component");
            }
        }
        if !reaped && let Err(error) = claim::remove(&self.dir) {
            tracing::warn!(dir = %self.dir.display(), %error, "could not remove the state directory");
        }
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.end();
    }
}

/// What [`find`] tells of a plane.
#[derive(Debug, Clone)]
pub struct Status {
    /// The plane's name.
    pub name: String,
    /// N of its network 127.N.0.0/16.
    pub network: u8,
    /// When it was brought up.
    pub since: SystemTime,
    /// The API server's version; `None` while the plane is starting.
    pub server_version: Option<String>,
    /// The directory of its kubeconfig, logs and data.
    pub state_dir: PathBuf,
    /// The administrator's kubeconfig.
    pub kubeconfig: PathBuf,
    /// The bundled `kubectl`.
    pub kubectl: PathBuf,
    /// The owner, then the reaper, then the servers.
    pub processes: Vec<ProcessStatus>,
}

/// One process of a plane.
#[derive(Debug, Clone)]
pub struct ProcessStatus {
    /// The component's name; `up` is the owner.
    pub name: String,
    /// Its process id.
    pub pid: u32,
    /// Resident memory in bytes; `None` if the process has ended.
    pub resident_bytes: Option<u64>,
}

/// Looks for the plane of this name. `None` if there is none, or if none of its processes is left.
pub fn find(name: &str) -> Result<Option<Status>, Error> {
    let dir = record::state_dir(name)?;
    let Some(record) = Record::read(&dir)?.filter(Record::is_alive) else {
        return Ok(None);
    };
    let processes = record.everyone().map(|process| ProcessStatus {
        name: process.name.clone(),
        pid: process.pid,
        resident_bytes: process.resident_bytes(),
    });
    Ok(Some(Status {
        processes: processes.collect(),
        name: record.name.clone(),
        network: record.network,
        since: record.since(),
        server_version: record.server_version.clone(),
        kubeconfig: record::kubeconfig(&dir),
        kubectl: record::kubectl(&dir),
        state_dir: dir,
    }))
}

/// Ends the plane of this name, whoever owns it, and waits until its processes and its directory are gone.
///
/// The owner is asked by SIGTERM; if that does not help within 10 s it is killed, and the reaper does the rest.
pub async fn down(name: &str) -> Result<(), Error> {
    let dir = record::state_dir(name)?;
    let Some(record) = Record::read(&dir)? else {
        return Err(Error::NotUp(name.to_owned()));
    };
    for signal in [Signal::TERM, Signal::KILL] {
        record.owner.signal(signal);
        if gone(&dir, &record).await? {
            return Ok(());
        }
    }
    // The reaper itself was killed. Another one with nothing to wait for does its work.
    components::reap_now(&record.binary, &dir)?;
    if gone(&dir, &record).await? { Ok(()) } else { Err(Error::DidNotEnd(name.to_owned(), dir)) }
}

/// Waits for a plane's owner and directory to go, and says whether they did: not in time, or left with nobody to do it.
async fn gone(dir: &Path, plane: &Record) -> Result<bool, Error> {
    let deadline = Instant::now() + END_WITHIN;
    loop {
        // Asked before the directory is looked at: its removal is the last that a process does.
        let anyone = plane.is_alive();
        // The name may already be in use again, by another owner.
        let left = Record::read(dir)?.is_some_and(|record| record.owner == plane.owner);
        if !left && !plane.owner.is_alive() {
            return Ok(true);
        }
        if !anyone || Instant::now() >= deadline {
            return Ok(false);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The bundled `kubectl` with `KUBECONFIG` set to the plane of this name.
pub fn kubectl_command(name: &str) -> Result<Command, Error> {
    let status = find(name)?.ok_or_else(|| Error::NotUp(name.to_owned()))?;
    Ok(kubectl_in(&status.state_dir))
}

fn kubectl_in(dir: &Path) -> Command {
    let mut command = Command::new(record::kubectl(dir));
    command.env("KUBECONFIG", record::kubeconfig(dir));
    command
}

/// Client configuration from a plane's kubeconfig. It never uses a proxy: the plane is on loopback.
pub async fn client_config(kubeconfig: &Path) -> Result<kube::Config, Error> {
    let client_error = |error: kube::config::KubeconfigError| Error::Client {
        path: kubeconfig.to_path_buf(),
        reason: error.to_string(),
    };
    let parsed = Kubeconfig::read_from(kubeconfig).map_err(client_error)?;
    let mut config = kube::Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default())
        .await
        .map_err(client_error)?;
    config.proxy_url = None;
    Ok(config)
}

//! The controller as a process of its own, the same that a cluster runs: started, watched, ended.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::plane::Plane;

/// Clock ticks per second in `/proc`: Linux has shown 100 to user space on every architecture for ever.
const TICKS: f64 = 100.0;
/// How long a controller may take to end after it was asked to.
const END_WITHIN: Duration = Duration::from_secs(15);

/// A running `windlass controller`. It ends when this value is dropped, or when this process dies.
#[derive(Debug)]
pub struct ControllerProcess {
    child: Child,
    pid: Pid,
    log: PathBuf,
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Processor time, user and system.
    pub cpu: Duration,
    /// Resident memory in bytes.
    pub resident_bytes: u64,
    /// The greatest resident memory so far, in bytes.
    pub peak_bytes: u64,
}

impl ControllerProcess {
    /// Starts the `windlass` binary at `program` against a plane. Logs go to `logs/<name>.log` of the plane's state directory.
    ///
    /// # Errors
    /// If the log cannot be created or the program cannot be started.
    pub fn start(program: &Path, plane: &Plane, name: &str, arguments: &[&str]) -> io::Result<Self> {
        let log = plane.state_dir().join("logs").join(format!("{name}.log"));
        let output = File::create(&log)?;
        let mut command = Command::new(program);
        for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
            // The control plane is on loopback.
            command.env_remove(proxy);
        }
        let child = command
            .args(["controller", "--exit-with-stdin"])
            .args(arguments)
            .env("KUBECONFIG", plane.kubeconfig())
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output)
            .kill_on_drop(true)
            .spawn()?;
        let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let pid = id.ok_or_else(|| io::Error::other("the controller ended at once"))?;
        Ok(Self { child, pid, log })
    }

    /// Where it logs to.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// If the operating system does not say.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Ends it at once, by SIGKILL: nothing of its own runs any more.
    ///
    /// # Errors
    /// If it cannot be signalled.
    pub async fn kill(&mut self) -> io::Result<()> {
        self.child.kill().await
    }

    /// Asks it to end, by SIGTERM, and waits until it has.
    ///
    /// # Errors
    /// If it cannot be signalled or has not ended in 15 s.
    pub async fn terminate(&mut self) -> io::Result<ExitStatus> {
        if self.ended()?.is_none() {
            kill_process(self.pid, Signal::TERM)?;
        }
        tokio::time::timeout(END_WITHIN, self.child.wait()).await?
    }

    /// What it has used so far; `None` when it has ended.
    pub fn usage(&self) -> Option<Usage> {
        let pid = self.pid.as_raw_nonzero();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        usage(&stat, &status)
    }
}

/// Reads fields 14 and 15 of `/proc/PID/stat`, and two lines of `/proc/PID/status`.
fn usage(stat: &str, status: &str) -> Option<Usage> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(14 - 3);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    let bytes = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1024)
    };
    Some(Usage {
        cpu: Duration::from_secs_f64((user + system) / TICKS),
        resident_bytes: bytes("VmRSS:")?,
        peak_bytes: bytes("VmHWM:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_read() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 1 2 3 4 150 25 7 8 20 0 12 0 4711 9000000 800";
        let status = "Name:\ta) b\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        let expected =
            Usage { cpu: Duration::from_millis(1750), resident_bytes: 1 << 20, peak_bytes: 2 << 20 };
        assert_eq!(usage(stat, status), Some(expected));
        assert_eq!(usage("7 (a) Z", status), None);
        assert_eq!(usage(stat, "Name:\tkthread\n"), None);
    }
}

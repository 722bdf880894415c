//! Processes by identity: a process id together with the start time, so that a reused id is never taken for ours.

use std::fs;
use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

/// One process, as `plane.json` names it. The Go reaper reads the same fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Process {
    pub(super) name: String,
    pub(super) pid: u32,
    /// Clock ticks after boot, field 22 of `/proc/PID/stat`; 0 if the process had ended before it could be read.
    pub(super) start_time: u64,
}

impl Process {
    pub(super) fn of_child(name: &str, child: &Child) -> Self {
        Self::of_pid(name, child.id())
    }

    pub(super) fn current(name: &str) -> Self {
        Self::of_pid(name, std::process::id())
    }

    fn of_pid(name: &str, pid: u32) -> Self {
        Self { name: name.to_owned(), pid, start_time: running_since(pid).unwrap_or(0) }
    }

    /// Whether it still runs: a zombie, which only waits for its parent, does not.
    pub(super) fn is_alive(&self) -> bool {
        running_since(self.pid) == Some(self.start_time)
    }

    /// Sends a signal if the process still runs.
    pub(super) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid.filter(|_| self.is_alive()) {
            // It may have ended this instant, which is as well.
            if let Err(error) = kill_process(pid, signal) {
                tracing::debug!(name = self.name, pid = self.pid, %error, "could not signal a process");
            }
        }
    }

    /// Resident memory in bytes, `None` if the process has ended.
    pub(super) fn resident_bytes(&self) -> Option<u64> {
        if !self.is_alive() {
            return None;
        }
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1024)
    }
}

/// Start time of a process, `None` if there is no such process or it is a zombie.
fn running_since(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    start_time(&stat)
}

/// Field 22 of a line of `/proc/PID/stat`. The second field is the command in parentheses, which may contain anything.
fn start_time(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    // `state` was field 3.
    fields.nth(22 - 4)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_time_is_field_22() {
        let check = |stat: &str, expected: Option<u64>| assert_eq!(start_time(stat), expected, "{stat}");
        let rest = "1 7 7 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 12 0 4711 9000000 800";
        check(&format!("42 (etcd) S {rest}"), Some(4711));
        check(&format!("42 (a) b) (c) R {rest}"), Some(4711));
        check(&format!("42 (etcd) Z {rest}"), None);
        check("42 (etcd) S 1 7", None);
        check("", None);
    }

    #[test]
    fn this_process_lives_and_its_id_with_another_start_time_does_not() {
        let process = Process::current("test");
        assert!(process.is_alive());
        assert!(process.resident_bytes().is_some_and(|bytes| bytes > 0));
        let other = Process { start_time: process.start_time + 1, ..process };
        assert!(!other.is_alive());
        assert_eq!(other.resident_bytes(), None);
    }
}

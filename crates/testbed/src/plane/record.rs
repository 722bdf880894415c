//! Where a plane's state lies, and `plane.json`, the record of its processes.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::{Error, Process, file_error};

const MAX_NAME: usize = 40;
const TAIL_LINES: usize = 15;

/// `plane.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) name: String,
    pub(super) network: u8,
    pub(super) binary: PathBuf,
    pub(super) since_unix_seconds: u64,
    pub(super) server_version: Option<String>,
    /// The process that called `up`.
    pub(super) owner: Process,
    /// The reaper and the servers.
    pub(super) processes: Vec<Process>,
}

impl Record {
    /// `None` if there is no record, or no directory.
    pub(super) fn read(dir: &Path) -> Result<Option<Self>, Error> {
        let path = dir.join("plane.json");
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(file_error("read", &path)(error)),
        };
        serde_json::from_slice(&text).map(Some).map_err(|error| file_error("parse", &path)(error.into()))
    }

    /// Replaces the record at once: a reader sees the old one or the new one.
    pub(super) fn write(&self, dir: &Path) -> Result<(), Error> {
        let (path, new) = (dir.join("plane.json"), dir.join("plane.json.new"));
        serde_json::to_vec_pretty(self)
            .map_err(io::Error::from)
            .and_then(|text| fs::write(&new, text))
            .and_then(|()| fs::rename(&new, &path))
            .map_err(file_error("write", &path))
    }

    pub(super) fn everyone(&self) -> impl Iterator<Item = &Process> {
        std::iter::once(&self.owner).chain(&self.processes)
    }

    pub(super) fn is_alive(&self) -> bool {
        self.everyone().any(Process::is_alive)
    }

    pub(super) fn since(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.since_unix_seconds)
    }
}

/// What the API server is told to record.
pub(super) fn audit_policy(dir: &Path) -> PathBuf {
    dir.join("audit-policy.yaml")
}

/// What the API server recorded: a JSON object per write.
pub(super) fn audit_log(dir: &Path) -> PathBuf {
    dir.join("logs").join("audit.jsonl")
}

/// The directory that holds this user's planes.
pub(super) fn base_dir() -> PathBuf {
    let set = |variable| std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    // Some ways of becoming another user leave the variable behind without the directory.
    if let Some(runtime) = set("XDG_RUNTIME_DIR").filter(|path| path.is_dir()) {
        return runtime.join("windlass");
    }
    let uid = rustix::process::getuid().as_raw();
    set("TMPDIR").unwrap_or_else(|| PathBuf::from("/tmp")).join(format!("windlass-{uid}"))
}

/// The state directory that the plane of this name has or would have.
pub(super) fn state_dir(name: &str) -> Result<PathBuf, Error> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || name.len() > MAX_NAME || name.starts_with('-') || !name.bytes().all(allowed) {
        return Err(Error::BadName(name.to_owned()));
    }
    Ok(base_dir().join(name))
}

pub(super) fn kubeconfig(dir: &Path) -> PathBuf {
    dir.join("kubeconfig")
}

pub(super) fn kubectl(dir: &Path) -> PathBuf {
    dir.join("bin").join("kubectl")
}

pub(super) fn log(dir: &Path, component: &str) -> PathBuf {
    dir.join("logs").join(format!("{component}.log"))
}

/// The last lines of a component's log, for an error message.
pub(super) fn log_tail(dir: &Path, component: &str) -> String {
    let text = fs::read(log(dir, component)).unwrap_or_default();
    last_lines(String::from_utf8_lossy(&text).lines())
}

pub(super) fn last_lines<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let mut last = VecDeque::with_capacity(TAIL_LINES);
    for line in lines {
        if last.len() == TAIL_LINES {
            last.pop_front();
        }
        last.push_back(line);
    }
    if last.is_empty() { "(nothing)".to_owned() } else { Vec::from(last).join("\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_before_they_become_paths() {
        let check = |name: &str, good: bool| assert_eq!(state_dir(name).is_ok(), good, "{name:?}");
        check("default", true);
        check("7-of-9", true);
        check("", false);
        check("-x", false);
        check("..", false);
        check("a/b", false);
        check("Upper", false);
        check(&"x".repeat(MAX_NAME), true);
        check(&"x".repeat(MAX_NAME + 1), false);
    }

    #[test]
    fn a_tail_is_the_last_lines() {
        let lines: Vec<String> = (1..=20).map(|n| n.to_string()).collect();
        let tail = last_lines(lines.iter().map(String::as_str));
        assert_eq!(tail.lines().count(), TAIL_LINES);
        assert!(tail.starts_with("6\n") && tail.ends_with("\n20"), "{tail}");
        assert_eq!(last_lines("".lines()), "(nothing)");
    }
}

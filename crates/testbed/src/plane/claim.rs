//! Claiming a name and a network.
//!
//! A plane's state directory, with the record of its living processes in it, is the claim. Claims are made and given up
//! under an exclusive lock on the directory that holds them all, so no lock file remains anywhere.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::components::PORTS;
use super::{Error, Process, Record, file_error, record};

/// The second byte of the loopback networks that planes take. Below 20 is left to whoever already uses loopback.
const NETWORKS: std::ops::RangeInclusive<u8> = 20..=119;

/// A state directory that is ours, with its record written.
pub(super) struct Claim {
    pub(super) dir: PathBuf,
    pub(super) record: Record,
}

pub(super) fn address(network: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, network, 0, 1)
}

/// Takes the name and a free network, and lays out the state directory. Cleans up after planes that are dead.
pub(super) fn claim(name: &str, binary: &Path) -> Result<Claim, Error> {
    let dir = record::state_dir(name)?;
    let base = record::base_dir();
    let _lock = lock(&base)?;
    let living = sweep(&base)?;
    if let Some(record) = living.iter().find(|record| record.name == name) {
        let (owner, ending) = (record.owner.pid, !record.owner.is_alive());
        return Err(Error::NameInUse { name: name.to_owned(), owner, ending });
    }
    let taken: BTreeSet<u8> = living.iter().map(|record| record.network).collect();
    let network =
        NETWORKS.into_iter().find(|n| !taken.contains(n) && ports_free(*n)).ok_or(Error::NoNetwork)?;

    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let record = Record {
        name: name.to_owned(),
        network,
        binary: binary.to_path_buf(),
        since_unix_seconds: since.as_secs(),
        server_version: None,
        owner: Process::current("up"),
        processes: Vec::new(),
    };
    create_private(&dir)?;
    record.write(&dir)?;
    for sub in ["bin", "data", "logs"] {
        create_private(&dir.join(sub))?;
    }
    let kubectl = record::kubectl(&dir);
    symlink(binary, &kubectl).map_err(file_error("create", &kubectl))?;
    Ok(Claim { dir, record })
}

/// Removes a state directory, and the directory above it if it was the last.
pub(super) fn remove(dir: &Path) -> Result<(), Error> {
    let base = record::base_dir();
    let _lock = lock(&base)?;
    remove_dir(dir)?;
    // Fails while other planes have their directories there, as it should.
    let _ = fs::remove_dir(&base);
    Ok(())
}

fn remove_dir(dir: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(file_error("remove", dir)(error)),
        _ => Ok(()),
    }
}

/// The records of the living planes; the directories of the others are removed.
fn sweep(base: &Path) -> Result<Vec<Record>, Error> {
    let mut living = Vec::new();
    for entry in fs::read_dir(base).map_err(file_error("list", base))? {
        let dir = entry.map_err(file_error("list", base))?.path();
        // A directory without a record is a claim that was cut short.
        match Record::read(&dir)? {
            Some(record) if record.is_alive() => living.push(record),
            _ => remove_dir(&dir)?,
        }
    }
    Ok(living)
}

/// Opens and locks the directory, creating it if need be. The lock ends with the returned file.
fn lock(base: &Path) -> Result<File, Error> {
    loop {
        create_private(base)?;
        let file = match File::open(base) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            opened => opened.map_err(file_error("open", base))?,
        };
        file.lock().map_err(file_error("lock", base))?;
        let locked = file.metadata().map_err(file_error("look at", base))?;
        if locked.uid() != rustix::process::getuid().as_raw() {
            return Err(Error::ForeignDirectory(base.to_path_buf()));
        }
        // The last plane's reaper may have removed it before we had the lock.
        if fs::metadata(base).is_ok_and(|now| now.ino() == locked.ino()) {
            return Ok(file);
        }
    }
}

fn create_private(dir: &Path) -> Result<(), Error> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(file_error("create", dir)(error)),
        _ => Ok(()),
    }
}

/// Whether nobody serves on the control plane's ports of a network, such as another user's plane.
fn ports_free(network: u8) -> bool {
    PORTS.iter().all(|port| TcpListener::bind((address(network), *port)).is_ok())
}

//! Building the control plane binary from its Go sources, once per content.

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use ring::digest::{Context, SHA256};

use super::{Error, file_error, record};

const MODULE: &str = "windlass.dev/controlplane";
const KUBERNETES: &str = "k8s.io/kubernetes";
/// How often progress is told.
const TICK: Duration = Duration::from_secs(1);

/// Returns the path of the control plane binary, building it first if these sources have not been built before.
///
/// A cold build takes minutes, which is why `progress` is told about it, about once a second, in lines for a human. The
/// binary goes to `$WINDLASS_CACHE`, or else `$XDG_CACHE_HOME/windlass`, or else `~/.cache/windlass`, under the SHA-256
/// of all files of the module, the Go version, the architecture and the linker flags.
pub fn build(progress: &mut dyn FnMut(&str)) -> Result<PathBuf, Error> {
    let module = module_dir()?;
    let go = go_version(&module)?;
    let flags = linker_flags(&module)?;
    let digest = fingerprint(&module, &[&go, &flags, std::env::consts::ARCH])?;
    let cache = cache_dir()?;
    let binary = cache.join(format!("controlplane-{digest}"));
    if binary.is_file() {
        return Ok(binary);
    }
    fs::create_dir_all(&cache).map_err(file_error("create", &cache))?;
    let _lock = lock(&cache.join("controlplane.lock"), progress)?;
    // Whoever held the lock may have built it.
    if !binary.is_file() {
        let unfinished = cache.join(format!("controlplane-{digest}.unfinished"));
        compile(&module, &flags, &unfinished, progress)?;
        fs::rename(&unfinished, &binary).map_err(file_error("rename", &unfinished))?;
    }
    Ok(binary)
}

/// The module's directory: as told, or `controlplane/` above the current directory or above the executable.
fn module_dir() -> Result<PathBuf, Error> {
    if let Some(told) = std::env::var_os("WINDLASS_CONTROLPLANE_DIR") {
        let dir = std::path::absolute(&told).map_err(file_error("find", Path::new(&told)))?;
        return if is_module(&dir) { Ok(dir) } else { Err(Error::WrongSources(dir)) };
    }
    let starts = [std::env::current_dir(), std::env::current_exe()];
    starts
        .iter()
        .flatten()
        .flat_map(|start| start.ancestors())
        .map(|above| above.join("controlplane"))
        .find(|dir| is_module(dir))
        .ok_or(Error::NoSources)
}

fn is_module(dir: &Path) -> bool {
    let line = format!("module {MODULE}");
    fs::read_to_string(dir.join("go.mod")).is_ok_and(|text| text.lines().any(|found| found.trim() == line))
}

fn cache_dir() -> Result<PathBuf, Error> {
    let set = |variable| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let dir = set("WINDLASS_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|home| home.join("windlass")))
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache").join("windlass")))
        .unwrap_or_else(|| record::base_dir().with_extension("cache"));
    std::path::absolute(&dir).map_err(file_error("find", &dir))
}

/// `go`, set up so that the result runs here and does not depend on a workspace file above the module.
fn go(module: &Path, args: &[&OsStr]) -> Command {
    let mut command = Command::new("go");
    command.args(args).current_dir(module).stdin(Stdio::null());
    command.env("CGO_ENABLED", "0").env("GOWORK", "off").env_remove("GOOS").env_remove("GOARCH");
    command
}

fn spawn_error(source: std::io::Error) -> Error {
    if source.kind() == ErrorKind::NotFound {
        Error::NoGo
    } else {
        Error::Spawn { program: "go".into(), source }
    }
}

/// The version that builds the module, which a `toolchain` setting may make another than the one installed.
fn go_version(module: &Path) -> Result<String, Error> {
    let output = go(module, &["env".as_ref(), "GOVERSION".as_ref()]).output().map_err(spawn_error)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let tail = record::last_lines(String::from_utf8_lossy(&output.stderr).lines());
    Err(Error::Go { command: "env", dir: module.to_path_buf(), status: output.status, tail })
}

/// Linker flags that set the versions the programs report, which are otherwise `v0.0.0-master`.
fn linker_flags(module: &Path) -> Result<String, Error> {
    let path = module.join("go.mod");
    let text = fs::read_to_string(&path).map_err(file_error("read", &path))?;
    let version = required_version(&text, KUBERNETES)
        .ok_or_else(|| std::io::Error::other(format!("it requires no {KUBERNETES}")))
        .map_err(file_error("use", &path))?;
    let mut parts = version.trim_start_matches('v').split('.');
    let (major, minor) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let mut flags = "-s -w".to_owned();
    for package in ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"] {
        for (variable, value) in [("gitVersion", version), ("gitMajor", major), ("gitMinor", minor)] {
            flags.extend([" -X ", package, ".", variable, "=", value]);
        }
    }
    Ok(flags)
}

/// The version that a `go.mod` requires of a module.
fn required_version<'a>(go_mod: &'a str, module: &str) -> Option<&'a str> {
    go_mod.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip_while(|word| *word == "require");
        (words.next()? == module).then(|| words.next()).flatten().filter(|word| *word != "=>")
    })
}

/// Digest of all files below the module and of what else the binary depends on: its first 64 bits, in hexadecimal.
fn fingerprint(module: &Path, parameters: &[&str]) -> Result<String, Error> {
    let mut files = Vec::new();
    collect_files(module, &mut files)?;
    files.sort();
    let mut context = Context::new(&SHA256);
    let mut add = |bytes: &[u8]| {
        context.update(&(bytes.len() as u64).to_le_bytes());
        context.update(bytes);
    };
    for parameter in parameters {
        add(parameter.as_bytes());
    }
    for path in &files {
        let relative = path.strip_prefix(module).unwrap_or(path);
        add(relative.as_os_str().as_encoded_bytes());
        add(&fs::read(path).map_err(file_error("read", path))?);
    }
    let digest = context.finish();
    let bytes = digest.as_ref().first_chunk::<8>().copied().unwrap_or_default();
    Ok(format!("{:016x}", u64::from_be_bytes(bytes)))
}

fn collect_files(dir: &Path, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    for entry in fs::read_dir(dir).map_err(file_error("list", dir))? {
        let path = entry.map_err(file_error("list", dir))?.path();
        // `bin` is where someone who builds by hand would put the binary.
        if !path.is_dir() {
            files.push(path);
        } else if path.file_name() != Some(OsStr::new("bin")) {
            collect_files(&path, files)?;
        }
    }
    Ok(())
}

/// Waits for the lock that the builder holds.
fn lock(path: &Path, progress: &mut dyn FnMut(&str)) -> Result<File, Error> {
    let file = File::create(path).map_err(file_error("create", path))?;
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(file_error("lock", path)(error)),
            Err(TryLockError::WouldBlock) => {
                let seconds = start.elapsed().as_secs();
                progress(&format!("control plane: another process is building it, waiting, {seconds} s"));
                std::thread::sleep(TICK);
            }
        }
    }
}

fn compile(module: &Path, flags: &str, output: &Path, progress: &mut dyn FnMut(&str)) -> Result<(), Error> {
    let start = Instant::now();
    let list: [&OsStr; 3] = ["list".as_ref(), "-deps".as_ref(), ".".as_ref()];
    let packages = run_go(module, "list", &list, &mut |fetched| {
        let seconds = start.elapsed().as_secs();
        progress(&format!("control plane: fetching Go modules, {fetched} so far, {seconds} s"));
    })?
    .lines()
    .count();
    let build: [&OsStr; 9] = [
        "build".as_ref(),
        "-v".as_ref(),
        "-trimpath".as_ref(),
        "-buildvcs=false".as_ref(),
        "-ldflags".as_ref(),
        flags.as_ref(),
        "-o".as_ref(),
        output.as_os_str(),
        ".".as_ref(),
    ];
    run_go(module, "build", &build, &mut |compiled| {
        let seconds = start.elapsed().as_secs();
        // Packages of an earlier build are not compiled, so the count may end below the total, but not above.
        progress(&format!("control plane: compiling, {compiled} of {packages} packages, {seconds} s"));
    })?;
    Ok(())
}

/// Runs `go` to its end and returns its standard output. Tells the number of lines on standard error once a second:
/// `go list` writes one per module it downloads, `go build -v` one per package it compiles.
fn run_go(
    module: &Path,
    command: &'static str,
    args: &[&OsStr],
    tick: &mut dyn FnMut(usize),
) -> Result<String, Error> {
    let mut child =
        go(module, args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(spawn_error)?;
    let stdout = child.stdout.take();
    let stdout = std::thread::spawn(move || {
        let mut text = String::new();
        // What cannot be read is missing from the count of packages, which is not worth failing for.
        let _ = stdout.map(|mut pipe| pipe.read_to_string(&mut text));
        text
    });
    let (send, receive) = mpsc::channel();
    let stderr = child.stderr.take();
    std::thread::spawn(move || {
        let lines = stderr.map(BufReader::new).into_iter().flat_map(BufRead::lines);
        lines.map_while(Result::ok).try_for_each(|line| send.send(line))
    });
    let mut lines = Vec::new();
    let mut told = Instant::now();
    loop {
        match receive.recv_timeout(TICK.saturating_sub(told.elapsed())) {
            Ok(line) => lines.push(line),
            Err(RecvTimeoutError::Timeout) => {
                tick(lines.len());
                told = Instant::now();
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let status = child.wait().map_err(file_error("wait for go in", module))?;
    if status.success() {
        return Ok(stdout.join().unwrap_or_default());
    }
    // Names of packages, which `-v` writes, have no spaces; complaints do.
    let tail = record::last_lines(lines.iter().map(String::as_str).filter(|line| line.contains(' ')));
    Err(Error::Go { command, dir: module.to_path_buf(), status, tail })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_the_required_one() {
        let check = |go_mod: &str, expected: Option<&str>| {
            assert_eq!(required_version(go_mod, "k8s.io/kubernetes"), expected, "{go_mod}");
        };
        check("require (\n\tk8s.io/kubectl v0.36.3\n\tk8s.io/kubernetes v1.36.3\n)", Some("v1.36.3"));
        check("require k8s.io/kubernetes v1.36.3 // indirect", Some("v1.36.3"));
        check(
            "replace (\n\tk8s.io/kubernetes => ../k\n)\nrequire k8s.io/kubernetes v1.37.0",
            Some("v1.37.0"),
        );
        check("require k8s.io/kubernetes-more v1.0.0", None);
        check("", None);
    }
}

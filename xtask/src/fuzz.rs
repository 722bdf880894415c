//! `cargo xtask fuzz`: libFuzzer on the stable toolchain, all targets at once, and what it found.
//!
//! The flags are those of `cargo fuzz` without a sanitizer: no crate that is fuzzed has `unsafe` code of its own, and
//! coverage is a pass of LLVM that stable rustc runs when it is told to. libFuzzer itself is C++ and built with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use anyhow::{Context, bail, ensure};

use crate::cargo;

const TARGETS: [&str; 4] = ["exposition", "readings", "selectors", "catalogues"];
const FLAGS: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "--cfg=fuzzing",
];
const USAGE: &str = "usage: cargo xtask fuzz [--minutes N] [--keep]";
/// Of one target, in bytes: what is committed stays small.
const CORPUS_LIMIT: u64 = 70 << 10;
const MOST_KEPT: usize = 200;
/// Bytes of an input; those that are kept are shorter, so that they can be read.
const LONGEST: usize = 4096;
const LONGEST_KEPT: u64 = 1200;

/// Where things are, from the root of the sources.
struct Folders {
    root: PathBuf,
    /// Inputs of this machine, kept from run to run; and inputs that failed.
    work: PathBuf,
    /// Inputs that are committed.
    corpus: PathBuf,
}

/// Fuzzes for `--minutes`; with `--keep` the committed corpus becomes the smallest one that reaches what was reached.
pub(crate) fn run(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<ExitCode> {
    let (mut minutes, mut keep) = (10.0, false);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--minutes" => minutes = arguments.next().context(USAGE)?.parse().context(USAGE)?,
            "--keep" => keep = true,
            _ => bail!(USAGE),
        }
    }
    let root = fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))?;
    let folders =
        Folders { work: root.join("target/fuzz"), corpus: root.join("crates/metrics/tests/corpus"), root };
    let binary = build(&folders)?;
    println!("fuzzing {} for {minutes} min, all at once", TARGETS.join(", "));
    let mut running = Vec::new();
    for target in TARGETS {
        match start(&binary, &folders, target, minutes * 60.0) {
            Ok(child) => running.push((target, child)),
            Err(error) => {
                // Nobody would wait for those that run already.
                for (_, child) in &mut running {
                    drop(child.kill());
                }
                return Err(error);
            }
        }
    }
    let mut findings = 0;
    for (target, child) in running {
        findings += usize::from(!report(&folders, target, child)?);
    }
    if findings > 0 {
        println!(
            "put what failed, under a name that tells, into crates/metrics/tests/corpus; `cargo test --test corpus` repeats it"
        );
        return Ok(ExitCode::FAILURE);
    }
    if keep {
        TARGETS.iter().try_for_each(|target| keep_corpus(&binary, &folders, target))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds the fuzzer with the flags; needs a C++ compiler, which is installed if there is none.
fn build(folders: &Folders) -> anyhow::Result<PathBuf> {
    if !works("c++") {
        println!("no C++ compiler: installing one with apt-get");
        let sudo = if works("sudo") { "sudo " } else { "" };
        let script = format!("{sudo}apt-get update && {sudo}apt-get install --yes g++");
        let status = Command::new("sh").args(["-c", &script]).status()?;
        ensure!(
            status.success() && works("c++"),
            "libFuzzer needs a C++ compiler: install g++ and run this again"
        );
    }
    let rustc = Command::new("rustc").arg("-vV").output().context("rustc cannot be run")?;
    let text = String::from_utf8(rustc.stdout)?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    let target_dir = folders.work.join("build");
    // With `--target` the flags are for the fuzzer alone, not for build scripts and macros.
    let status = cargo()
        .args(["build", "--release", "--locked", "--manifest-path", "fuzz/Cargo.toml", "--target", host])
        .arg("--target-dir")
        .arg(&target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"))
        .status()?;
    ensure!(status.success(), "the fuzzer cannot be built ({status})");
    Ok(target_dir.join(host).join("release/windlass-fuzz"))
}

fn works(program: &str) -> bool {
    let quiet = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.is_ok_and(|status| status.success())
}

fn fuzzer(binary: &Path, folders: &Folders, target: &str) -> Command {
    let mut command = Command::new(binary);
    command.env("FUZZ_TARGET", target).arg(format!("-max_len={LONGEST}")).current_dir(&folders.work);
    command
}

fn start(binary: &Path, folders: &Folders, target: &str, seconds: f64) -> anyhow::Result<Child> {
    let own = folders.work.join(target);
    fs::create_dir_all(&own)?;
    let log = fs::File::create(folders.work.join(format!("{target}.log")))?;
    let child = fuzzer(binary, folders, target)
        .args(["-timeout=20", "-rss_limit_mb=2048", "-print_final_stats=1"])
        .arg(format!("-max_total_time={seconds:.0}"))
        .arg(format!("-dict={}", folders.root.join("fuzz/words.dict").display()))
        .arg(format!("-artifact_prefix={}/{target}-", folders.work.display()))
        .args([&own, &folders.corpus.join(target)])
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()?;
    Ok(child)
}

/// Waits and prints a line; whether nothing was found.
fn report(folders: &Folders, target: &str, mut child: Child) -> anyhow::Result<bool> {
    let status = child.wait()?;
    let path = folders.work.join(format!("{target}.log"));
    let log = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
    let figure = |name: &str| {
        let found = log.lines().find_map(|line| line.strip_prefix(&format!("stat::{name}:")));
        found.map_or("?", str::trim).to_owned()
    };
    let covered = log.lines().rev().find_map(|line| line.split_once("cov: ")?.1.split(' ').next());
    println!(
        "{target:<11} {:>11} executions, {:>7} per second, {:>5} edges covered, {}",
        figure("number_of_executed_units"),
        figure("average_exec_per_sec"),
        covered.unwrap_or("?"),
        if status.success() { "no finding" } else { "FAILED" }
    );
    if !status.success() {
        let tail: Vec<&str> =
            log.lines().filter(|line| line.contains("panicked") || line.contains("Test unit")).collect();
        println!("  {}\n  all of it: {}", tail.join("\n  "), path.display());
    }
    Ok(status.success())
}

/// Replaces what the fuzzer wrote into the committed corpus; seeds and what once failed stay.
fn keep_corpus(binary: &Path, folders: &Folders, target: &str) -> anyhow::Result<()> {
    let (corpus, least) = (folders.corpus.join(target), folders.work.join(format!("{target}-least")));
    if least.exists() {
        fs::remove_dir_all(&least)?;
    }
    fs::create_dir_all(&least)?;
    let status = fuzzer(binary, folders, target)
        .arg("-set_cover_merge=1")
        .args([&least, &corpus, &folders.work.join(target)])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    ensure!(status.success(), "the corpus of {target} cannot be minimised ({status})");
    // libFuzzer names its inputs by their SHA-1.
    let found = |name: &str| name.len() == 40 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut used = 0;
    for file in fs::read_dir(&corpus)? {
        let file = file?;
        if found(&file.file_name().to_string_lossy()) {
            fs::remove_file(file.path())?;
        } else {
            used += file.metadata()?.len();
        }
    }
    let mut inputs: Vec<_> = fs::read_dir(&least)?
        .map(|file| file.and_then(|file| Ok((file.metadata()?.len(), file.path()))))
        .collect::<Result<_, _>>()?;
    inputs.retain(|(length, _)| *length <= LONGEST_KEPT);
    inputs.sort();
    let mut kept = 0;
    // Of all sizes: the small ones alone would be corner cases of the syntax.
    for (length, path) in inputs.iter().step_by(inputs.len().div_ceil(MOST_KEPT).max(1)) {
        let Some(name) = path.file_name().filter(|_| used + length <= CORPUS_LIMIT) else {
            break;
        };
        fs::copy(path, corpus.join(name))?;
        used += length;
        kept += 1;
    }
    println!("{target:<11} {kept} inputs kept, {used} bytes with the seeds");
    Ok(())
}

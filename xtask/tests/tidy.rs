//! The architecture's invariants, checked on the sources and the dependency graph.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which crates of the workspace a crate may use; see ARCHITECTURE.md.
const ARROWS: [(&str, &[&str]); 13] = [
    ("windlass-metrics", &[]),
    ("windlass-scaling", &["windlass-metrics"]),
    ("windlass-api", &["windlass-scaling", "windlass-metrics"]),
    ("windlass-scrape", &["windlass-metrics", "windlass-scaling"]),
    ("windlass-controller", &["windlass-api", "windlass-scrape", "windlass-scaling", "windlass-metrics"]),
    ("windlass-conformance", &[]),
    ("windlass-engine-model", &[]),
    ("windlass-workload", &[]),
    ("windlass-testbed", &["windlass-engine-model", "windlass-workload", "windlass-metrics"]),
    (
        "windlass",
        &[
            "windlass-api",
            "windlass-controller",
            "windlass-metrics",
            "windlass-scrape",
            "windlass-testbed",
            "windlass-workload",
        ],
    ),
    ("windlass-bench", &["windlass-metrics", "windlass-scaling", "windlass-scrape", "windlass-testbed"]),
    ("windlass-trials", &["windlass-testbed", "windlass-workload", "windlass-metrics"]),
    ("xtask", &[]),
];
const PURE: [&str; 4] = ["metrics", "scaling", "engine-model", "workload"];
/// What a pure crate must not be built from. Chance is pure when it is seeded: `rand` may be used, its source of
/// entropy may not.
const IMPURE_CRATES: [&str; 7] = ["tokio", "kube", "hyper", "k8s-openapi", "jiff", "chrono", "getrandom"];
/// The files of pure crates that may read.
const READERS: [&str; 1] = ["crates/workload/src/trace.rs"];
/// What a pure crate's code must not name.
const IMPURE_CODE: [&str; 9] = [
    "Instant::now",
    "SystemTime",
    "std::fs",
    "std::net",
    "std::env",
    "std::thread",
    "std::process",
    "println!",
    "tokio::",
];
/// Calls that write to the API server.
const WRITES: [&str; 8] = [
    ".patch(",
    ".patch_status(",
    ".patch_scale(",
    ".replace(",
    ".replace_scale(",
    ".create(",
    ".delete(",
    ".publish(",
];
const WRITER: &str = "crates/controller/src/write.rs";
const WRITER_PARTS: &str = "crates/controller/src/write/";
const LONGEST_FILE: usize = 600;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All files git tracks or would track, by their path from the root.
fn files() -> Vec<String> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let files: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    assert!(files.len() > 50, "git lists the sources: {files:?}");
    files.into_iter().filter(|file| root().join(file).is_file()).collect()
}

fn is_source(file: &str) -> bool {
    Path::new(file).extension().is_some_and(|extension| extension == "rs" || extension == "go")
}

fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap_or_default()
}

/// The code of a Rust file up to its unit tests.
fn code(file: &str) -> String {
    let text = read(file);
    let end = text.find("#[cfg(test)]").unwrap_or(text.len());
    let lines = text[..end].lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

fn check_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

/// The names of the crates a package is built from, itself included.
fn built_from(package: &str) -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--package",
            package,
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let name = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
    String::from_utf8(output.stdout).unwrap().lines().map(name).collect()
}

#[test]
fn arrows_go_one_way() {
    // The fuzzer is no member of the workspace.
    let apart = ["Cargo.toml", "fuzz/Cargo.toml"];
    let members: Vec<String> = files()
        .into_iter()
        .filter(|file| file.ends_with("Cargo.toml") && !apart.contains(&file.as_str()))
        .collect();
    assert_eq!(members.len(), ARROWS.len(), "every crate has its row: {members:?}");
    let mut wrong = Vec::new();
    for (package, allowed) in ARROWS {
        let direct = |name: &String| name.starts_with("windlass") && name != package;
        let transitive: BTreeMap<_, _> = ARROWS.into_iter().collect();
        let reachable =
            |name: &str| allowed.iter().any(|direct| *direct == name || transitive[direct].contains(&name));
        wrong.extend(
            built_from(package)
                .into_iter()
                .filter(direct)
                .filter(|name| !reachable(name))
                .map(|name| format!("{package} → {name}")),
        );
    }
    check_none("crates that use what they may not", &wrong);
}

#[test]
fn pure_crates_are_pure() {
    let mut wrong = Vec::new();
    for name in PURE {
        let package = format!("windlass-{name}");
        let impure = built_from(&package).into_iter().filter(|used| IMPURE_CRATES.contains(&used.as_str()));
        wrong.extend(impure.map(|used| format!("{package} is built from {used}")));
        let folder = format!("crates/{name}/src/");
        let checked = |file: &&String| file.starts_with(&folder) && !READERS.contains(&file.as_str());
        for file in files().iter().filter(checked) {
            let code = code(file);
            wrong.extend(
                IMPURE_CODE.iter().filter(|word| code.contains(*word)).map(|word| format!("{file}: {word}")),
            );
        }
    }
    check_none("clocks and I/O in pure crates", &wrong);
}

#[test]
fn one_module_writes() {
    let product = ["crates/controller/src/", "crates/scrape/src/", "crates/api/src/"];
    let files = files();
    let is_test = |file: &str| file.ends_with("/tests.rs") || file.contains("/tests/");
    let others = files.iter().filter(|file| {
        let writes = *file == WRITER || file.starts_with(WRITER_PARTS);
        !writes && !is_test(file) && product.iter().any(|folder| file.starts_with(folder))
    });
    let mut wrong = Vec::new();
    for file in others {
        let code = code(file);
        let kube = code.contains("kube::") || code.contains("Api<");
        wrong.extend(
            WRITES.iter().filter(|call| kube && code.contains(*call)).map(|call| format!("{file}: {call}")),
        );
    }
    check_none("writes to the API server outside controller::write", &wrong);
    assert!(WRITES.iter().any(|call| read(WRITER).contains(call)), "the writer writes");
}

#[test]
fn files_are_short_and_well_named() {
    let files = files();
    let source = |file: &&String| is_source(file);
    let long = files
        .iter()
        .filter(source)
        .map(|file| (file, read(file).lines().count()))
        .filter(|(_, lines)| *lines > LONGEST_FILE);
    check_none(
        "files longer than 600 lines",
        &long.map(|(file, lines)| format!("{file}: {lines}")).collect::<Vec<_>>(),
    );
    let vague = ["utils", "util", "common", "helpers", "helper", "manager", "misc"];
    let stem = |file: &str| {
        Path::new(file).file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let named: Vec<String> =
        files.iter().filter(source).filter(|file| vague.contains(&stem(file).as_str())).cloned().collect();
    check_none("files whose name tells nothing", &named);
}

#[test]
fn nothing_is_left_undone() {
    let macros = ["todo", "unimplemented"].map(|name| format!("{name}!("));
    let notes = ["FIX", "XX"].map(|head| format!("{head}{}", if head == "FIX" { "ME" } else { "X" }));
    let mut wrong = Vec::new();
    for file in files().iter().filter(|file| is_source(file)) {
        let text = read(file);
        wrong.extend(
            macros
                .iter()
                .chain(&notes)
                .filter(|mark| text.contains(*mark))
                .map(|mark| format!("{file}: {mark}")),
        );
    }
    check_none("stubs and notes to self", &wrong);
}

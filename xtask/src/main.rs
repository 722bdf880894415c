//! `cargo xtask codegen` (or `docs`), `cargo xtask conformance`, `cargo xtask fuzz`.

mod fuzz;

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, bail};

fn main() -> anyhow::Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("codegen" | "docs") => codegen(),
        Some("conformance") => conformance(),
        Some("fuzz") => fuzz::run(arguments),
        _ => bail!("usage: cargo xtask codegen|docs|conformance|fuzz"),
    }
}

fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    cargo
}

/// Writes what is generated from code. The tests that compare it with the code know how.
fn codegen() -> anyhow::Result<ExitCode> {
    let status = cargo()
        .args([
            "test",
            "--quiet",
            "--workspace",
            "--exclude",
            "windlass-bench",
            "--test",
            "manifests",
            "--test",
            "docs",
        ])
        .env("UPDATE_GENERATED", "1")
        .stdout(Stdio::null())
        .status()?;
    if !status.success() {
        bail!("`cargo test --test manifests --test docs` failed ({status})");
    }
    println!("wrote the CRD, the RBAC, the precedence table and the catalogue's page");
    Ok(ExitCode::SUCCESS)
}

/// Runs the peers' cases and prints a row per file.
fn conformance() -> anyhow::Result<ExitCode> {
    // All of the workspace, as `make test` builds it: a choice of packages would have other features and be built anew.
    let output = cargo()
        .args(["test", "--quiet", "--workspace", "--exclude", "windlass-bench", "--test", "conformance"])
        .args(["--", "--nocapture", "--test-threads=1"])
        .stderr(Stdio::inherit())
        .output()
        .context("cargo cannot be run")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let rows: Vec<&str> =
        text.lines().filter_map(|line| line.split_once("conformance: ")).map(|(_, row)| row).collect();
    println!("{:<36} {:>7} {:>7} {:>7}", "conformance", "cases", "steps", "passed");
    for row in &rows {
        println!("{}", table_row(row)?);
    }
    if rows.is_empty() || !output.status.success() {
        println!("{text}");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn table_row(row: &str) -> anyhow::Result<String> {
    let field = |name: &str| {
        let found = row.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        found.with_context(|| format!("a conformance test printed no {name}: {row}"))
    };
    let file = field("file")?;
    if row.contains("SKIPPED") {
        return Ok(format!("{file:<36} SKIPPED: the folder is absent; see WINDLASS_CONFORMANCE"));
    }
    Ok(format!("{file:<36} {:>7} {:>7} {:>7}", field("cases")?, field("steps")?, field("passed")?))
}

//! `windlass verify`: what would become of `PodAutoscaler`s, in files or in a cluster. It writes nothing.

mod cluster;
mod table;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use serde_json::json;
use windlass_api::differences::GENERAL;
use windlass_api::verify::{Found, read};
use windlass_metrics::Catalogue;

/// Everything was accepted; something was refused or is unreadable; nothing was found to be judged.
const ACCEPTED: u8 = 0;
const REFUSED: u8 = 1;
const NOTHING: u8 = 2;

#[derive(clap::Args)]
#[command(
    after_help = "Exit code: 0 if all objects are accepted, 1 if one is refused or a file cannot be read, 2 if there \
                        was nothing to judge or the cluster cannot be read."
)]
pub(crate) struct Arguments {
    /// A file, a directory (with its subdirectories: *.yaml, *.yml, *.json) or - for standard input; may be given several
    /// times. Objects of other kinds are passed over.
    #[arg(short, long = "filename", value_name = "FILE|DIRECTORY|-", required_unless_present = "cluster")]
    filenames: Vec<PathBuf>,
    /// Judge the objects of the kubeconfig's cluster, and the CRD that it serves.
    #[arg(long, conflicts_with = "filenames")]
    cluster: bool,
    /// Only those of this namespace.
    #[arg(short, long, requires = "cluster")]
    namespace: Option<String>,
    /// A TOML file that extends the catalogue of engines' metrics, as the controller is given it.
    #[arg(long, value_name = "FILE")]
    catalogue: Option<PathBuf>,
    /// How to print it.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// What was found everywhere.
#[derive(Default)]
struct All {
    found: Found,
    /// What the served CRD lacks, or that it could not be asked for.
    crd: Option<String>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let catalogue = &crate::catalogue(arguments.catalogue.as_deref())?;
    let all = if arguments.cluster {
        match cluster::read(arguments.namespace.as_deref(), catalogue).await {
            Ok(all) => all,
            Err(error) => {
                eprintln!("windlass: {error:#}");
                return Ok(ExitCode::from(NOTHING));
            }
        }
    } else {
        let mut found = Found::default();
        for path in &arguments.filenames {
            add(&mut found, files(path, catalogue));
        }
        All { found, crd: None }
    };
    match arguments.output {
        Output::Table => crate::printed(&table::of(&all))?,
        Output::Json => crate::printed(&format!("{:#}\n", as_json(&all)))?,
    }
    Ok(ExitCode::from(verdict(&all)))
}

fn verdict(All { found, crd: _ }: &All) -> u8 {
    if !found.unreadable.is_empty() || found.reports.iter().any(|report| !report.accepted) {
        REFUSED
    } else if found.reports.is_empty() {
        NOTHING
    } else {
        ACCEPTED
    }
}

fn as_json(All { found, crd }: &All) -> serde_json::Value {
    json!({
        "podAutoscalers": found.reports,
        "otherObjects": found.others,
        "unreadable": found.unreadable,
        "servedCrd": crd,
        "differencesOfEveryObject": GENERAL,
    })
}

fn add(all: &mut Found, found: Found) {
    all.reports.extend(found.reports);
    all.others += found.others;
    all.unreadable.extend(found.unreadable);
}

/// A file, everything below a directory, or standard input.
fn files(path: &Path, catalogue: &Arc<Catalogue>) -> Found {
    let name = path.display().to_string();
    if name == "-" {
        let mut text = Vec::new();
        return match std::io::stdin().read_to_end(&mut text) {
            Ok(_) => in_utf8("standard input", &text, catalogue),
            Err(error) => unreadable("standard input", &error.to_string()),
        };
    }
    if !path.is_dir() {
        return match std::fs::read(path) {
            Ok(text) => in_utf8(&name, &text, catalogue),
            Err(error) => unreadable(&name, &error.to_string()),
        };
    }
    let entries = std::fs::read_dir(path).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    let mut entries = match entries {
        Ok(entries) => entries.into_iter().map(|entry| entry.path()).collect::<Vec<_>>(),
        Err(error) => return unreadable(&name, &error.to_string()),
    };
    entries.sort();
    let is_manifest = |path: &Path| {
        path.extension().is_some_and(|kind| ["yaml", "yml", "json"].iter().any(|known| kind == *known))
    };
    let mut all = Found::default();
    for entry in entries.iter().filter(|entry| is_manifest(entry) || (entry.is_dir() && !entry.is_symlink()))
    {
        add(&mut all, files(entry, catalogue));
    }
    all
}

fn in_utf8(name: &str, text: &[u8], catalogue: &Arc<Catalogue>) -> Found {
    match std::str::from_utf8(text) {
        Ok(text) => read(name, text.trim_start_matches('\u{feff}'), Timestamp::now(), catalogue),
        Err(_) => unreadable(name, "not text in UTF-8"),
    }
}

fn unreadable(name: &str, why: &str) -> Found {
    Found { unreadable: vec![format!("{name}: cannot be read: {why}")], ..Found::default() }
}

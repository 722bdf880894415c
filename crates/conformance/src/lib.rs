//! Cases made by running the peers' real code, and the one way to run them. For tests only.
//!
//! The cases are not part of the project: their folder is named by `WINDLASS_CONFORMANCE`, by default
//! `shared/conformance` beside the repository. Where it is absent that is said, and nothing fails.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

/// So many cases that differ are shown.
const SHOWN: usize = 3;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File<'a> {
    #[serde(rename = "about")]
    _about: serde::de::IgnoredAny,
    #[serde(borrow)]
    cases: Vec<&'a RawValue>,
}

/// The path of a file or folder of cases; `None`, and a line that says so, if it is absent.
pub fn path(name: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance");
    let path = std::env::var_os("WINDLASS_CONFORMANCE").map_or_else(beside, PathBuf::from).join(name);
    if path.exists() {
        return Some(path);
    }
    println!("conformance: file={name} SKIPPED ({} is absent)", path.display());
    None
}

/// Runs every case of a file through `run`, which gives the number of steps or what differs. A field that `Case` does
/// not know should fail: it is to derive `serde(deny_unknown_fields)`.
///
/// # Panics
/// When a case differs, and when the file has none or cannot be read.
pub fn check<Case: DeserializeOwned>(file: &str, run: impl Fn(&Case) -> Result<usize, String>) {
    let Some(path) = path(file) else { return };
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let cases: File = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
    let outcomes = cases.cases.iter().map(|case| {
        let outcome = serde_json::from_str::<Case>(case.get()).map_err(|error| error.to_string());
        outcome.and_then(|case| run(&case)).map_err(|difference| format!("{difference}\n  {}", case.get()))
    });
    report(file, outcomes);
}

/// Prints the line that `cargo xtask conformance` makes a row of its table: a number of steps per case, or what differs.
///
/// # Panics
/// When one differs, and when there is none.
pub fn report(file: &str, outcomes: impl IntoIterator<Item = Result<usize, String>>) {
    let (mut cases, mut steps, mut failures) = (0, 0, Vec::new());
    for outcome in outcomes {
        cases += 1;
        match outcome {
            Ok(count) => steps += count,
            Err(difference) => failures.push(difference),
        }
    }
    println!("conformance: file={file} cases={cases} steps={steps} passed={}", cases - failures.len());
    assert!(cases > 0, "{file} has no cases");
    let shown = failures[..failures.len().min(SHOWN)].join("\n");
    assert!(failures.is_empty(), "{} of {cases} cases differ:\n{shown}", failures.len());
}

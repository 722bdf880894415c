//! Inputs that a fuzzer found to reach some part of the code that no other one does, and those that once failed: each is
//! checked again. `cargo xtask fuzz --keep` writes the former; what failed is put here by hand under a name that tells.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;

mod targets;

fn check(target: &str) {
    let run = targets::TARGETS.iter().find(|(name, _)| *name == target).unwrap().1;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(target);
    let mut files = 0;
    for file in std::fs::read_dir(&folder).unwrap() {
        let path = file.unwrap().path();
        let outcome = std::panic::catch_unwind(|| run(&std::fs::read(&path).unwrap()));
        assert!(outcome.is_ok(), "{} fails", path.display());
        files += 1;
    }
    assert!(files > 3, "{} has a corpus", folder.display());
}

#[test]
fn pages_are_parsed_and_filtered_alike() {
    check("exposition");
}

#[test]
fn readings_of_pages_are_finite() {
    check("readings");
}

#[test]
fn selectors_are_read_back() {
    check("selectors");
}

#[test]
fn catalogues_of_users_are_refused_or_used() {
    check("catalogues");
}

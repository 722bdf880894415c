//! libFuzzer on one of the checks of `crates/metrics/tests/corpus/targets.rs`, named by `FUZZ_TARGET`. `make fuzz` runs all.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/metrics/tests/corpus/targets.rs"]
mod targets;

static CHECK: OnceLock<fn(&[u8])> = OnceLock::new();

/// The check of that name.
fn named(name: &str) -> fn(&[u8]) {
    let known = targets::TARGETS.iter().find(|target| target.0 == name);
    known
        .unwrap_or_else(|| {
            panic!("FUZZ_TARGET is `{name}`, which is none of crates/metrics/tests/corpus/targets.rs")
        })
        .1
}

fuzz_target!(init: {
    _ = CHECK.set(named(&std::env::var("FUZZ_TARGET").unwrap_or_default()));
}, |data: &[u8]| {
    if let Some(check) = CHECK.get() {
        check(data);
    }
});

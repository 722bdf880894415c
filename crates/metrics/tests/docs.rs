//! The catalogue's page in docs/ is what the catalogue says.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use windlass_metrics::Catalogue;

#[test]
fn the_page_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/catalogue.md");
    let generated = Catalogue::builtin().page();
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        std::fs::write(path, &generated).unwrap();
    }
    let page = std::fs::read_to_string(path).unwrap();
    assert!(page == generated, "docs/catalogue.md is old; run `cargo xtask codegen`");
}

/// What the page shows of a catalogue of one's own is one.
#[test]
fn the_example_extends_the_catalogue() {
    let page = Catalogue::builtin().page();
    let example = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let catalogue = Catalogue::builtin().extended(example).unwrap();
    assert_eq!(catalogue.resolve("gpu_seconds_rate").unwrap().unit, "seconds/s");
    let running = catalogue.resolve("running").unwrap();
    assert_eq!(running.aliases[0].to_string(), "ours_jobs_active");
    let why = catalogue.why_lacking(&catalogue.resolve("kv_util").unwrap(), "ours").unwrap();
    assert!(why.ends_with("only its jobs and its GPU seconds are known"), "{why}");
}

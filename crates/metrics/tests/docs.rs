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

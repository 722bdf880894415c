//! The table of settings for people: written from the rows that are applied, so that it cannot say something else.

use std::fmt::Write as _;

use super::{Algorithm, Id, Key, Row, TABLE};

/// The precedence table as Markdown, as it is committed in `docs/podautoscaler.md`.
pub fn precedence_table() -> String {
    let mut table =
        "| setting | strategy | where, most specific first | default | must be |\n|---|---|---|---|---|\n"
            .to_owned();
    for row in &TABLE {
        line(
            &mut table,
            row.name,
            &strategies(row),
            &places(row),
            &row.unit.written(row.default),
            row.must_be,
        );
        if row.id == Id::MinReplicas {
            // Has no default, and so no row of its own.
            let places = format!("{SCHEDULE}`spec.maxReplicas`");
            line(
                &mut table,
                "max replicas",
                "all",
                &places,
                "required",
                "greater than 0, at least min replicas",
            );
        }
    }
    table
}

/// Stands above the object's own bounds; see `schedule`.
const SCHEDULE: &str = "a schedule in force, ";

fn places(row: &Row) -> String {
    let keys: Vec<String> = row.keys.iter().map(|key| format!("`{}`", Key::name(*key))).collect();
    let schedule = if row.id == Id::MinReplicas { SCHEDULE } else { "" };
    format!("{schedule}{}", keys.join(", "))
}

fn strategies(row: &Row) -> String {
    let all = [Algorithm::Kpa, Algorithm::Apa, Algorithm::Hpa];
    let names: Vec<&str> = all.into_iter().filter(|one| row.serves(*one)).map(Algorithm::name).collect();
    if names.len() == all.len() { "all".to_owned() } else { names.join(", ") }
}

fn line(table: &mut String, name: &str, strategy: &str, places: &str, default: &str, must_be: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(table, "| {name} | {strategy} | {places} | {default} | {must_be} |");
}

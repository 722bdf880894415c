//! From the text of a file to its objects: several documents, lists, other kinds in between.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use windlass_metrics::Catalogue;

use super::{GROUP, KIND, Report};

/// What one text holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Found {
    /// Its `PodAutoscaler`s.
    pub reports: Vec<Report>,
    /// How many objects of other kinds it has.
    pub others: usize,
    /// What of it cannot be read, one sentence each.
    pub unreadable: Vec<String>,
}

/// Reads YAML or JSON: any number of documents, objects of any kind, and lists of them. `source` names the text in
/// sentences. What cannot be read does not keep the rest from being judged. `now` is for schedules and overrides, the
/// catalogue for the names of metrics.
///
/// ```
/// let now = "2026-08-03T02:00:00Z".parse()?;
/// let catalogue = windlass_metrics::Catalogue::builtin();
/// let found = windlass_api::verify::read("pa.yaml", "kind: ConfigMap\n---\nkind: [", now, catalogue);
/// assert_eq!((found.reports.len(), found.others), (0, 1));
/// assert!(found.unreadable[0].starts_with("pa.yaml:3: "));
/// # Ok::<(), jiff::Error>(())
/// ```
pub fn read(source: &str, text: &str, now: Timestamp, catalogue: &Arc<Catalogue>) -> Found {
    let mut found = Found::default();
    let mut anything = false;
    for (first, document) in documents(text) {
        if document.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            continue;
        }
        anything = true;
        match serde_saphyr::from_str::<Value>(document) {
            Ok(Value::Null) => {}
            Ok(object) => {
                let line = first + leading(document);
                sort(format!("{source}:{line}"), &object, (now, catalogue), &mut found);
            }
            Err(error) => {
                let at = error.location().map_or(1, |location| location.line());
                let line = first + usize::try_from(at.max(1) - 1).unwrap_or(0);
                found.unreadable.push(format!("{source}:{line}: not YAML: {}", told(&error)));
            }
        }
    }
    if !anything {
        found.unreadable.push(format!("{source}: is empty"));
    }
    found
}

/// What is wrong without the excerpt and without the place, which is told in terms of the whole file.
fn told(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    let first = text.lines().next().unwrap_or_default();
    let first = first.trim_start_matches("error: ");
    let place = first.find(" at line ").or_else(|| first.find(", line "));
    place.map_or(first, |end| &first[..end]).to_owned()
}

/// The documents of a text, each with the number of its first line. A line `---` always ends a document, also within a
/// block of text.
fn documents(text: &str) -> Vec<(usize, &str)> {
    let mut documents = Vec::new();
    let (mut begin, mut first, mut at) = (0, 1, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let marker = line.trim_end();
        if marker == "---" || marker.starts_with("--- ") || marker == "..." {
            documents.push((first, &text[begin..at]));
            // What stands behind the dashes belongs to the document; such a line is rare and kept whole.
            let skipped = if marker.starts_with("--- ") { 0 } else { line.len() };
            begin = at + skipped;
            first = if skipped == 0 { number + 1 } else { number + 2 };
        }
        at += line.len();
    }
    documents.push((first, &text[begin..]));
    documents
}

/// Lines of a document before its first that says something.
fn leading(document: &str) -> usize {
    let silent = |line: &&str| line.trim().is_empty() || line.trim_start().starts_with('#');
    document.lines().take_while(silent).count()
}

fn sort(origin: String, object: &Value, by: (Timestamp, &Arc<Catalogue>), found: &mut Found) {
    let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
    let (kind, version) = (text("kind"), text("apiVersion"));
    if !object.is_object() {
        found.unreadable.push(format!("{origin}: not a Kubernetes object; it must have apiVersion and kind"));
    } else if let Some(Value::Array(items)) = object.get("items").filter(|_| kind.ends_with("List")) {
        for (at, item) in items.iter().enumerate() {
            sort(format!("{origin} items[{at}]"), item, by, found);
        }
    } else if kind.is_empty() {
        found.unreadable.push(format!("{origin}: not a Kubernetes object; it has no kind"));
    } else if kind == KIND && (version.is_empty() || version.split('/').next() == Some(GROUP)) {
        found.reports.push(Report::of(origin, object, by));
    } else {
        // Knative has a kind of this name, too.
        found.others += 1;
    }
}

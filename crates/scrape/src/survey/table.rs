//! A survey for people.

use std::fmt;

use windlass_metrics::catalogue::DetectedBy;

use super::{Cost, Row, Survey, Value};
use crate::PAGE_LIMIT;

/// So many names of a page that nobody knows are shown.
const NAMES: usize = 20;

impl fmt::Display for Survey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.engine, &self.detected) {
            (Some(engine), Some(detected)) => {
                write!(f, "engine   {engine}")?;
                if let Some(generation) = &detected.generation {
                    write!(f, " {generation}")?;
                }
                match &detected.by {
                    DetectedBy::Label(key) => writeln!(f, " (by the pod's label {key})")?,
                    DetectedBy::Prefix(prefix) => writeln!(f, " (names on its page begin with {prefix})")?,
                }
            }
            _ => writeln!(f, "engine   not known: neither a label of the pod nor a name on the page tells")?,
        }
        match &self.version {
            Some(version) => writeln!(f, "version  {version} (the image's tag)")?,
            None => writeln!(f, "version  not known (no page tells it)")?,
        }
        for Cost { what, bytes, took } in &self.costs {
            write!(f, "page     {what}: {bytes} bytes")?;
            if let Some(took) = took {
                write!(f, " in {:.1} ms", took.as_secs_f64() * 1000.0)?;
            }
            // Only a file can be: of a server it is no page.
            if *bytes > PAGE_LIMIT {
                write!(f, "; the controller reads no page over {} MiB", PAGE_LIMIT >> 20)?;
            }
            writeln!(f)?;
        }
        self.rows(f)?;
        if self.is_unknown() {
            return self.names(f);
        }
        let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
        for (metric, why) in self.rows.iter().filter_map(Row::missing) {
            match reasons.iter_mut().find(|(known, _)| *known == why) {
                Some((_, metrics)) => metrics.push(metric),
                None => reasons.push((why, vec![metric])),
            }
        }
        if !reasons.is_empty() {
            writeln!(f, "\nmissing")?;
        }
        reasons.iter().try_for_each(|(why, metrics)| writeln!(f, "- {}: {why}", metrics.join(", ")))
    }
}

impl Survey {
    /// Whether nobody knows what page it is: then what it lacks says nothing.
    fn is_unknown(&self) -> bool {
        self.engine.is_none() && self.whole_catalogue && self.rows.iter().all(|row| row.missing().is_some())
    }

    fn names(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: Vec<&str> = self.names.iter().take(NAMES).map(String::as_str).collect();
        match (shown.as_slice(), self.names.len() - shown.len()) {
            ([], _) => writeln!(f, "the page is empty"),
            (names, 0) => writeln!(f, "it has {}", names.join(", ")),
            (names, more) => writeln!(f, "it has {} and {more} more names", names.join(", ")),
        }?;
        writeln!(
            f,
            "each of them can be targetMetric as it is; a catalogue of your own (--catalogue, docs/catalogue.md) makes an \
             engine known"
        )
    }

    fn rows(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found: Vec<[String; 3]> = self.rows.iter().filter_map(Row::cells).collect();
        if found.is_empty() {
            let which = if self.whole_catalogue { "of the catalogue" } else { "that was asked for" };
            return writeln!(f, "\nno metric {which} is on this page");
        }
        let width = |column: usize, least: usize| {
            found.iter().map(|cells| cells[column].chars().count()).fold(least, usize::max)
        };
        let (metric, value) = (width(0, 6), width(1, 5));
        writeln!(f, "\n{:<metric$}  {:<value$}  READ FROM", "METRIC", "VALUE")?;
        found
            .iter()
            .try_for_each(|[name, number, series]| writeln!(f, "{name:<metric$}  {number:<value$}  {series}"))
    }
}

impl Row {
    /// Name, value with its unit, and where it was read; nothing of what is not on the page.
    fn cells(&self) -> Option<[String; 3]> {
        let value = match &self.value {
            Value::Missing(_) => return None,
            Value::Unknown(why) => why.clone(),
            Value::Number(value, what) => {
                let number = shown(*value);
                let words = [number.as_str(), &self.unit, what];
                words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
            }
        };
        Some([self.metric.clone(), value, self.read_from.clone().unwrap_or_default()])
    }

    fn missing(&self) -> Option<(&str, &str)> {
        match &self.value {
            Value::Missing(why) => Some((&self.metric, why)),
            _ => None,
        }
    }
}

/// A number with four digits that count.
pub(super) fn shown(value: f64) -> String {
    if value == 0.0 || value.fract() == 0.0 {
        return value.to_string();
    }
    let digits = (3 - value.abs().log10().floor() as i32).clamp(0, 12) as usize;
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

//! A survey for people.

use std::fmt;

use windlass_metrics::catalogue::DetectedBy;

use super::{Cost, Row, Survey, Value};
use crate::PAGE_LIMIT;

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
        let missing: Vec<_> = self.rows.iter().filter_map(Row::missing).collect();
        if !missing.is_empty() {
            writeln!(f, "\nmissing")?;
        }
        // What no row of the catalogue has more to say of fits in one line.
        let (plain, told): (Vec<_>, Vec<_>) =
            missing.into_iter().partition(|(_, why)| why.ends_with("does not expose it"));
        told.iter().try_for_each(|(metric, why)| writeln!(f, "- {metric}: {why}"))?;
        let Some((_, why)) = plain.first() else { return Ok(()) };
        let names: Vec<&str> = plain.iter().map(|(metric, _)| *metric).collect();
        writeln!(f, "- {}: {why}", names.join(", "))
    }
}

impl Survey {
    fn rows(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found: Vec<[String; 3]> = self.rows.iter().filter_map(Row::cells).collect();
        if found.is_empty() {
            return writeln!(f, "\nno metric that was asked for is on this page");
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

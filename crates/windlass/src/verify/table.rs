//! A table per object, and one line that counts.

use std::fmt::Write as _;

use windlass_api::differences::GENERAL;
use windlass_api::verify::Report;

use super::All;

// Writing to a String cannot fail.

pub(super) fn of(All { found, crd }: &All) -> String {
    let mut text = String::new();
    for report in &found.reports {
        object(&mut text, report);
    }
    if found.reports.iter().any(|report| report.accepted) {
        list(&mut text, "Of every object, unlike AIBrix", GENERAL.iter());
        text.push('\n');
    }
    for problem in &found.unreadable {
        let _ = writeln!(text, "UNREADABLE  {problem}");
    }
    if let Some(crd) = crd {
        let _ = writeln!(text, "CRD         {crd}");
    }
    let accepted = found.reports.iter().filter(|report| report.accepted).count();
    let refused = found.reports.len() - accepted;
    let _ = writeln!(
        text,
        "{}: {accepted} accepted, {refused} refused; {} passed over, {} unreadable",
        counted(found.reports.len(), "PodAutoscaler"),
        counted(found.others, "other object"),
        counted(found.unreadable.len(), "part"),
    );
    text
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn object(text: &mut String, report: &Report) {
    let verdict = if report.accepted { "ACCEPTED" } else { "REFUSED" };
    let _ = writeln!(text, "{verdict:<10}  {}  ({})", report.full_name(), report.origin);
    let errors = report.errors.iter().map(|error| format!("{} [{}]", error.sentence, error.reason));
    list(text, "refused because", errors);
    if !report.dialect.is_empty() {
        let _ = writeln!(text, "  dialect: {}", report.dialect);
    }
    if let Some(target) = &report.target {
        let _ = writeln!(text, "  scales: {target} by {}", report.strategy);
    }
    settings(text, report);
    if let Some(bounds) = &report.in_force {
        let by = bounds.schedule.as_ref().map_or("no schedule".to_owned(), |name| format!("schedule {name}"));
        let until = bounds.until.as_ref().map_or(String::new(), |until| format!(", until {until}"));
        let (min, max) = (bounds.min_replicas, bounds.max_replicas);
        let _ = writeln!(text, "  in force now: {by}: {min} to {max} replicas{until}");
    }
    list(
        text,
        "warnings",
        report.warnings.iter().map(|warning| format!("{}: {}", warning.subject, warning.sentence)),
    );
    list(text, "unlike AIBrix", report.differences.iter());
    text.push('\n');
}

fn settings(text: &mut String, report: &Report) {
    let width = |of: fn(&windlass_api::verify::SettingReport) -> &str, least: usize| {
        report.settings.iter().map(|setting| of(setting).chars().count()).fold(least, usize::max)
    };
    let (name, value) = (width(|setting| &setting.name, 7), width(|setting| &setting.value, 5));
    if !report.settings.is_empty() {
        let _ = writeln!(text, "  {:<name$}  {:<value$}  FROM", "SETTING", "VALUE");
    }
    for setting in &report.settings {
        let _ = writeln!(text, "  {:<name$}  {:<value$}  {}", setting.name, setting.value, setting.origin);
    }
}

fn list(text: &mut String, title: &str, sentences: impl Iterator<Item: std::fmt::Display>) {
    let mut sentences = sentences.peekable();
    if sentences.peek().is_some() {
        let _ = writeln!(text, "  {title}:");
    }
    for sentence in sentences {
        let _ = writeln!(text, "  - {sentence}");
    }
}

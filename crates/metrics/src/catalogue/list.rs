//! The catalogue as a table, for `windlass metrics --list` and the docs.

use std::fmt::Write as _;

use super::{Alias, Catalogue, Engine, Metric, SeriesType, Statistic, Term};

/// One metric of one engine.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell<'a> {
    /// The metric's row.
    pub metric: &'a Metric,
    /// The engine.
    pub engine: &'a Engine,
    /// Where the metric is read, in order of preference. Empty if the engine lacks it.
    pub aliases: Vec<&'a Alias>,
    /// Why the engine lacks it, where that is said.
    pub lacks: Option<&'a str>,
}

impl Cell<'_> {
    fn mark(&self) -> &'static str {
        match self.aliases.first() {
            None => "–",
            Some(first) if first.derived.is_some() => "derived",
            Some(_) => "yes",
        }
    }
}

impl Catalogue {
    /// Every metric with every engine, metric by metric, in the order of the catalogue.
    pub fn list(&self) -> impl Iterator<Item = Cell<'_>> {
        self.metrics.iter().flat_map(move |metric| {
            self.engines.iter().map(move |engine| Cell {
                metric,
                engine,
                aliases: metric.aliases.iter().filter(|alias| alias.engine == engine.name).collect(),
                lacks: metric.lacks.get(&engine.name).or(engine.lacks.as_ref()).map(String::as_str),
            })
        })
    }

    /// The names of `metric` besides its own, sorted.
    pub fn synonyms(&self, metric: &Metric) -> Vec<&str> {
        let same = |row: usize| self.metrics.get(row).is_some_and(|known| known.name == metric.name);
        let named = self.by_name.iter().filter(|(name, named)| **name != metric.name && same(named.row));
        let mut names: Vec<&str> = named.map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names
    }

    /// The whole catalogue as Markdown: a table of what each engine has, then where each metric is read.
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        let titles: Vec<&str> = self.engines.iter().map(|engine| engine.title.as_str()).collect();
        _ = writeln!(out, "| metric | kind | unit | {} |", titles.join(" | "));
        _ = writeln!(out, "|---|---|---|{}", "---|".repeat(titles.len()));
        for metric in &self.metrics {
            let marks: Vec<&str> = self.cells(metric).map(|cell| cell.mark()).collect();
            _ = writeln!(
                out,
                "| `{}` | {:?} | {} | {} |",
                metric.name,
                metric.kind,
                metric.unit,
                marks.join(" | ")
            );
        }
        for metric in &self.metrics {
            self.section(metric, &mut out);
        }
        out
    }

    fn cells<'a>(&'a self, metric: &'a Metric) -> impl Iterator<Item = Cell<'a>> {
        self.list().filter(move |cell| std::ptr::eq(cell.metric, metric))
    }

    fn section(&self, metric: &Metric, out: &mut String) {
        _ = writeln!(out, "\n### `{}`\n", metric.name);
        let over_pods = format!("{:?}", metric.kind).to_lowercase();
        _ = write!(out, "{}, {over_pods}; over the series of a pod: {}", metric.unit, metric.aggregation);
        if metric.aliases.iter().any(|alias| alias.series_type == SeriesType::Histogram) {
            _ = match metric.statistic {
                Statistic::Mean => write!(out, "; of a histogram: the mean"),
                Statistic::Quantile(q) => write!(out, "; of a histogram: quantile {q}"),
            };
        }
        let synonyms = self.synonyms(metric);
        if !synonyms.is_empty() {
            _ = write!(out, ". Also `{}`", synonyms.join("`, `"));
        }
        _ = writeln!(out, ".\n\n| engine | generation | type | read from |\n|---|---|---|---|");
        for cell in self.cells(metric) {
            for alias in &cell.aliases {
                let kind = format!("{:?}", alias.series_type).to_lowercase();
                let title = &cell.engine.title;
                _ = writeln!(
                    out,
                    "| {title} | {} | {kind} | {} |",
                    alias.generation,
                    expression(metric, alias)
                );
            }
            if let (true, Some(why)) = (cell.aliases.is_empty(), cell.lacks) {
                _ = writeln!(out, "| {} | | – | {why} |", cell.engine.title);
            }
        }
    }
}

/// The terms with their aggregation where it is not the metric's, the scale, and in what way it is derived; ready for a
/// cell of a table.
fn expression(metric: &Metric, alias: &Alias) -> String {
    let histogram = alias.series_type == SeriesType::Histogram;
    let of_its_own = |term: &&Term| !histogram && term.aggregation != metric.aggregation;
    let mut plain = alias.to_string();
    for term in alias.terms.iter().filter(of_its_own) {
        plain = plain.replacen(&term.to_string(), &format!("{}({term})", term.aggregation), 1);
    }
    let mut text = format!("`{}`", plain.replace('|', "\\|"));
    if alias.scale != 1.0 {
        _ = write!(text, " × {}", alias.scale);
    }
    if let Some(derived) = &alias.derived {
        _ = write!(text, " (derived: {derived})");
    }
    text
}

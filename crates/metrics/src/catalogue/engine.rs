//! Which engine a pod runs: by its labels, else by its page.

use serde::{Deserialize, Serialize};

use super::{Alias, Catalogue, Metric};
use crate::exposition::{Entry, Format, parse};
use crate::reading::Readings;

/// The pod labels that name an engine: AIBrix's, llm-d's.
pub const LABELS: [&str; 2] = ["model.aibrix.ai/engine", "llm-d.ai/engine-type"];

/// An inference engine.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Engine {
    /// Its name in the catalogue, as `vllm`.
    pub name: String,
    /// What people call it.
    pub title: String,
    /// How its series begin, and no other engine's. Without any, only a pod's label tells it.
    #[serde(default)]
    pub prefixes: Vec<String>,
    /// Whether the series have the same names behind each of the prefixes.
    #[serde(default)]
    pub same_names: bool,
    /// What the labels of [`LABELS`] call it.
    #[serde(default)]
    pub labels: Vec<String>,
    /// Where its page is.
    #[serde(default = "default_path")]
    pub path: String,
    /// Its generations as a page tells them, in order of preference.
    #[serde(default)]
    pub generations: Vec<Generation>,
    /// Why metrics are missing of which no row says why.
    #[serde(default)]
    pub lacks: Option<String>,
}

/// A generation of an engine, told by a series that the others do not have.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generation {
    /// Its name, as `v1`.
    pub name: String,
    /// The series.
    pub series: String,
}

fn default_path() -> String {
    "/metrics".to_owned()
}

/// What told the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DetectedBy {
    /// This label of the pod.
    Label(String),
    /// Series on the page that begin so.
    Prefix(String),
}

/// The alias a metric was read from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasUsed {
    /// The metric, as it was asked for.
    pub metric: String,
    /// The series, as [`Alias`] shows them.
    pub series: String,
    /// In what way it is a stand-in for the metric.
    pub derived: Option<String>,
}

impl AliasUsed {
    fn new(metric: &Metric, alias: &Alias) -> Self {
        Self { metric: metric.name.clone(), series: alias.to_string(), derived: alias.derived.clone() }
    }
}

/// What is known of the engine of one pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detected {
    /// Its name in the catalogue.
    pub engine: String,
    /// What told it.
    pub by: DetectedBy,
    /// The generation, where the page tells it. (No engine's page tells its version.)
    pub generation: Option<String>,
    /// What was read from where.
    pub aliases: Vec<AliasUsed>,
}

impl Detected {
    /// The same with the series that `metrics` are read from, whether they have a usable value or not; `readings` are in
    /// the order of the metrics.
    #[must_use]
    pub fn with_aliases(self, metrics: &[Metric], readings: &Readings) -> Self {
        let aliases = metrics
            .iter()
            .zip(readings.on_page())
            .filter_map(|(metric, alias)| Some(AliasUsed::new(metric, metric.aliases.get((*alias)?)?)));
        Self { aliases: aliases.collect(), ..self }
    }
}

impl Catalogue {
    /// The engine of this name.
    pub fn engine(&self, name: &str) -> Option<&Engine> {
        self.engines.iter().find(|engine| engine.name == name)
    }

    /// The engine that a pod's labels name, and the label. `label` gives the value of a label.
    pub fn engine_by_label<'a>(
        &self,
        label: impl Fn(&str) -> Option<&'a str>,
    ) -> Option<(&Engine, &'static str)> {
        LABELS.into_iter().find_map(|key| {
            let value = label(key)?.trim();
            let called = |engine: &&Engine| {
                let mut names = std::iter::once(&engine.name).chain(&engine.labels);
                names.any(|name| name.eq_ignore_ascii_case(value))
            };
            Some((self.engines.iter().find(called)?, key))
        })
    }

    /// The engine whose series these are: the first in the order of the catalogue of which there is one, and how it
    /// begins.
    pub fn engine_by_names<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Option<(&Engine, &str)> {
        let mut best: Option<(usize, &str)> = None;
        for name in names {
            let before = best.map_or(self.engines.len(), |(at, _)| at);
            let candidates = self.engines[..before].iter().enumerate();
            let told = candidates.flat_map(|(at, engine)| engine.prefixes.iter().map(move |p| (at, p)));
            if let Some((at, prefix)) = told.into_iter().find(|(_, prefix)| name.starts_with(prefix.as_str()))
            {
                best = Some((at, prefix));
            }
        }
        best.map(|(at, prefix)| (&self.engines[at], prefix))
    }

    /// What a pod runs, by its labels, else by its page; nothing was read from it yet. `None` if neither tells. The page is
    /// read in full: once when a pod begins is enough.
    pub fn detect<'a>(
        &self,
        label: impl Fn(&str) -> Option<&'a str>,
        (page, format): (&[u8], Format),
    ) -> Option<Detected> {
        let names = names_on(page, format);
        let (engine, by) = if let Some((engine, key)) = self.engine_by_label(label) {
            (engine, DetectedBy::Label(key.to_owned()))
        } else {
            let (engine, prefix) = self.engine_by_names(names.iter().map(String::as_str))?;
            (engine, DetectedBy::Prefix(prefix.to_owned()))
        };
        let present = |generation: &&Generation| names.contains(&generation.series);
        let generation = engine.generations.iter().find(present).map(|generation| generation.name.clone());
        Some(Detected { engine: engine.name.clone(), by, generation, aliases: Vec::new() })
    }

    /// Why no page of `engine` has `metric`, in one sentence; `None` where one may have it.
    pub fn why_lacking(&self, metric: &Metric, engine: &str) -> Option<String> {
        if metric.aliases.iter().any(|alias| alias.may_be_of(engine)) {
            return None;
        }
        let known = self.engine(engine);
        let title = known.map_or(engine, |engine| &engine.title);
        let why = metric.lacks.get(engine).or_else(|| known.and_then(|engine| engine.lacks.as_ref()));
        let why = why.map(|why| format!(": {why}")).unwrap_or_default();
        Some(format!("{title} does not expose it{why}"))
    }
}

/// The names of the samples on a page, each once, up to the first bad line.
fn names_on(page: &[u8], format: Format) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for entry in parse(page, format).map_while(Result::ok) {
        if let Entry::Sample(sample) = entry
            && names.last().is_none_or(|last| sample.name != **last)
        {
            names.push(sample.name.to_str().into_owned());
        }
    }
    names.sort_unstable();
    names.dedup();
    names
}

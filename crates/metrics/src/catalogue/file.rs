//! The catalogue's file: its shape, and what must hold for it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

use super::alias::WrittenTerm;
use super::{
    Aggregation, Alias, Catalogue, Engine, Kind, Metric, Named, Operator, Place, SeriesType, Statistic, Term,
    other_counter_name,
};
use crate::selector::is_metric_name;

/// What is wrong with a catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CatalogueError {
    /// Not TOML, a field missing, or one too many.
    #[error("the catalogue cannot be read: {0}")]
    Syntax(#[from] toml::de::Error),
    /// A row of a metric contradicts itself or another one.
    #[error("catalogue row `{metric}`: {problem}")]
    Row {
        /// The row's name.
        metric: String,
        /// One sentence.
        problem: String,
    },
    /// A row of an engine contradicts itself or another one.
    #[error("catalogue engine `{engine}`: {problem}")]
    Engine {
        /// The row's name.
        engine: String,
        /// One sentence.
        problem: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    engine: Vec<Engine>,
    #[serde(default)]
    metric: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    #[serde(default)]
    synonyms: Vec<Synonym>,
    kind: Option<Kind>,
    unit: Option<String>,
    aggregation: Option<Aggregation>,
    full_scale: Option<f64>,
    backlog: Option<bool>,
    quantile: Option<f64>,
    #[serde(default)]
    lacks: BTreeMap<String, String>,
    #[serde(default)]
    alias: Vec<AliasRow>,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "a synonym is a name, or a table of `name` with `quantile`, `mean = true`, `seconds` or `per_minute = true`"
)]
enum Synonym {
    Name(String),
    Meaning(Meaning),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Meaning {
    name: String,
    quantile: Option<f64>,
    #[serde(default)]
    mean: bool,
    seconds: Option<u32>,
    #[serde(default)]
    per_minute: bool,
}

impl Synonym {
    fn name(&self) -> &str {
        match self {
            Self::Name(name) | Self::Meaning(Meaning { name, .. }) => name,
        }
    }

    fn named(&self, row: usize) -> Named {
        match self {
            Self::Name(_) => Named { row, statistic: None, window: None, scale: 1.0 },
            Self::Meaning(meaning) => Named {
                row,
                window: meaning.seconds.map(|seconds| Duration::from_secs(seconds.into())),
                statistic: meaning
                    .quantile
                    .map(Statistic::Quantile)
                    .or_else(|| meaning.mean.then_some(Statistic::Mean)),
                scale: if meaning.per_minute { 60.0 } else { 1.0 },
            },
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AliasRow {
    engine: String,
    #[serde(default)]
    generation: String,
    #[serde(rename = "type")]
    series_type: SeriesType,
    add: Option<Vec<String>>,
    multiply: Option<Vec<String>>,
    divide: Option<Vec<String>>,
    scale: Option<f64>,
    aggregation: Option<Aggregation>,
    derived: Option<String>,
}

impl AliasRow {
    fn read(self, of_metric: Aggregation) -> Result<Alias, String> {
        let written =
            [(Operator::Add, self.add), (Operator::Multiply, self.multiply), (Operator::Divide, self.divide)];
        let mut written = written.into_iter().filter_map(|(operator, terms)| Some((operator, terms?)));
        let (Some((operator, terms)), None) = (written.next(), written.next()) else {
            let engine = self.engine;
            return Err(format!(
                "an alias of engine `{engine}` needs just one of `add`, `multiply` and `divide`"
            ));
        };
        let aggregation = self.aggregation.unwrap_or(of_metric);
        let term = |text: String| {
            let WrittenTerm { selector, aggregation: own, labels } = text.parse()?;
            Ok(Term { selector, aggregation: own.unwrap_or(aggregation), labels })
        };
        let alias = Alias {
            engine: self.engine,
            generation: self.generation,
            series_type: self.series_type,
            operator,
            terms: terms.into_iter().map(term).collect::<Result<_, String>>()?,
            scale: self.scale.unwrap_or(1.0),
            derived: self.derived,
        };
        check(&alias).map(|()| alias)
    }
}

/// Whether series that nearly every exporter has begin so, or any.
fn begins_others(prefix: &str) -> bool {
    const OF_ALL: [&str; 6] = ["process_", "python_", "go_", "http_", "promhttp_", "scrape_"];
    OF_ALL.iter().any(|of_all| of_all.starts_with(prefix) || *of_all == prefix)
}

/// A prefix by which nobody is told, because those of an engine that comes before begin it; with that engine.
fn hidden(engines: &[Engine]) -> Option<(&str, &str)> {
    engines.iter().enumerate().find_map(|(at, engine)| {
        let mut later = engines[at + 1..].iter().flat_map(|later| &later.prefixes);
        let hides = |prefix: &&String| engine.prefixes.iter().any(|own| prefix.starts_with(own.as_str()));
        later.find(hides).map(|prefix| (engine.name.as_str(), prefix.as_str()))
    })
}

/// What can be seen in an alias alone.
fn check(alias: &Alias) -> Result<(), String> {
    let histogram = alias.series_type == SeriesType::Histogram;
    let count = alias.terms.len();
    let not_summed = || alias.terms.iter().any(|term| term.aggregation != Aggregation::Sum);
    let labelled = || alias.terms.iter().any(|term| !term.labels.is_empty());
    let problem = match alias.operator {
        _ if count == 0 => format!("an alias of engine `{}` names no series", alias.engine),
        _ if histogram && count > 1 => format!("`{alias}` joins histograms; a histogram stands alone"),
        Operator::Add if histogram && not_summed() => {
            format!("`{alias}` is a histogram, and they are added up: the aggregation must be `sum`")
        }
        Operator::Add if count > 1 && not_summed() => {
            format!("`{alias}` is a sum of series, so the aggregation must be `sum`")
        }
        Operator::Multiply if count < 2 => format!("`{alias}` multiplies one term; use `add`"),
        Operator::Multiply if alias.series_type != SeriesType::Gauge => {
            format!("`{alias}` is a product, so the type must be `gauge`")
        }
        Operator::Divide if count != 2 => format!("`divide` takes two terms, not {count}"),
        _ if alias.series_type != SeriesType::Gauge && labelled() => {
            format!("`{alias}` reads labels, so the type must be `gauge`")
        }
        _ if !(alias.scale.is_finite() && alias.scale > 0.0) => {
            format!("`scale` of `{alias}` is {}, but must be above 0", alias.scale)
        }
        _ => return Ok(()),
    };
    Err(problem)
}

impl Row {
    fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.name.as_str()).chain(self.synonyms.iter().map(Synonym::name))
    }

    /// Checks what can be seen in the row alone.
    fn check(&self) -> Result<(), String> {
        if let Some(name) = self.names().find(|name| !is_metric_name(name)) {
            return Err(format!("`{name}` is not a metric name"));
        }
        if self.backlog == Some(true) && self.kind != Some(Kind::Additive) {
            return Err("`backlog` is for kind `additive`".to_owned());
        }
        if let Some(full_scale) = self.full_scale {
            if self.kind != Some(Kind::Utilisation) {
                return Err("`full_scale` is for kind `utilisation`".to_owned());
            }
            if !(full_scale.is_finite() && full_scale > 0.0) {
                return Err(format!("`full_scale` is {full_scale}, but must be above 0"));
            }
        }
        let meanings = self.synonyms.iter().filter_map(|synonym| match synonym {
            Synonym::Meaning(meaning) => Some(meaning),
            Synonym::Name(_) => None,
        });
        if let Some(seconds) =
            meanings.clone().filter_map(|meaning| meaning.seconds).find(|s| !(1..=3600).contains(s))
        {
            return Err(format!("`seconds` is {seconds}, but must be from 1 to 3600"));
        }
        let said = meanings.filter_map(|meaning| meaning.quantile);
        if let Some(q) = self.quantile.into_iter().chain(said).find(|q| !(0.0..=1.0).contains(q)) {
            return Err(format!("`quantile` is {q}, but must be from 0 to 1"));
        }
        Ok(())
    }

    /// A metric that the catalogue does not have yet.
    fn into_metric(self) -> Result<Metric, String> {
        let missing = |field: &str| format!("it is new, so `{field}` is needed");
        let aggregation = self.aggregation.ok_or_else(|| missing("aggregation"))?;
        if self.alias.is_empty() {
            return Err("it has no alias, so no page can have it".to_owned());
        }
        Ok(Metric {
            canonical: Some(self.name.clone()),
            name: self.name,
            kind: self.kind.ok_or_else(|| missing("kind"))?,
            unit: self.unit.ok_or_else(|| missing("unit"))?,
            aggregation,
            full_scale: self.full_scale,
            backlog: self.backlog.unwrap_or(false),
            signed: false,
            statistic: self.quantile.map_or(Statistic::Mean, Statistic::Quantile),
            window: None,
            aliases: self.alias.into_iter().map(|alias| alias.read(aggregation)).collect::<Result<_, _>>()?,
            lacks: self.lacks,
        })
    }

    /// Further aliases, before those that `metric` has, and the quantile; what the metric means stays.
    fn extend(self, metric: &mut Metric) -> Result<(), String> {
        let fixed = [
            ("kind", self.kind.is_some_and(|kind| kind != metric.kind)),
            ("unit", self.unit.is_some_and(|unit| unit != metric.unit)),
            ("aggregation", self.aggregation.is_some_and(|aggregation| aggregation != metric.aggregation)),
            ("full_scale", self.full_scale.is_some() && self.full_scale != metric.full_scale),
            ("backlog", self.backlog.is_some_and(|backlog| backlog != metric.backlog)),
        ];
        if let Some((field, _)) = fixed.into_iter().find(|(_, changed)| *changed) {
            return Err(format!(
                "it is known already, and its `{field}` cannot be changed; use another name"
            ));
        }
        let aggregation = metric.aggregation;
        let aliases: Vec<Alias> =
            self.alias.into_iter().map(|alias| alias.read(aggregation)).collect::<Result<_, _>>()?;
        for alias in &aliases {
            metric.lacks.remove(&alias.engine);
        }
        metric.aliases.splice(0..0, aliases);
        metric.lacks.extend(self.lacks);
        metric.statistic = self.quantile.map_or(metric.statistic, Statistic::Quantile);
        Ok(())
    }
}

impl Catalogue {
    /// Reads and checks a catalogue.
    pub fn parse(text: &str) -> Result<Self, CatalogueError> {
        Self::default().extended(text)
    }

    /// This catalogue with a further file, of the same shape: new engines and metrics, and further aliases and synonyms
    /// of known ones. A file's engines and aliases are preferred to those that were there.
    pub fn extended(&self, text: &str) -> Result<Self, CatalogueError> {
        let file: File = toml::from_str(text)?;
        let mut catalogue = self.clone();
        for (at, engine) in file.engine.into_iter().enumerate() {
            let name = engine.name.clone();
            catalogue
                .add_engine(at, engine)
                .map_err(|problem| CatalogueError::Engine { engine: name, problem })?;
        }
        for row in file.metric {
            let name = row.name.clone();
            catalogue.add_metric(row).map_err(|problem| CatalogueError::Row { metric: name, problem })?;
        }
        let fault = |(metric, problem)| CatalogueError::Row { metric, problem };
        catalogue.index_series().map_err(fault)?;
        Ok(catalogue)
    }

    fn add_engine(&mut self, at: usize, engine: Engine) -> Result<(), String> {
        if engine.name.is_empty() {
            return Err("it has no name".to_owned());
        }
        if self.engine(&engine.name).is_some() {
            return Err("it is known already".to_owned());
        }
        if engine.prefixes.is_empty() && engine.labels.is_empty() {
            return Err(
                "it needs `prefixes`, the beginnings of its series, or `labels`, what pods' labels call it"
                    .to_owned(),
            );
        }
        if let Some(prefix) = engine.prefixes.iter().find(|prefix| begins_others(prefix)) {
            return Err(format!(
                "the prefix `{prefix}` tells no engine, because others' series begin so; give a longer one"
            ));
        }
        if !(engine.path.starts_with('/') && engine.path.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(format!(
                "`path` is `{}`, but must begin with a slash and have no blanks",
                engine.path
            ));
        }
        self.engines.insert(at, engine);
        if let Some((first, other)) = hidden(&self.engines) {
            return Err(format!(
                "series that begin with `{other}` would be told as those of `{first}`; give a longer prefix, or leave \
                 it out and have the pods' labels tell the engine"
            ));
        }
        Ok(())
    }

    fn add_metric(&mut self, row: Row) -> Result<(), String> {
        row.check()?;
        let known = self.by_name.get(&row.name).copied();
        let at = known.map_or(self.metrics.len(), |named| named.row);
        let own_name = |metric: &Metric| metric.name == row.name;
        if known.is_some() && !self.metrics.get(at).is_some_and(own_name) {
            return Err(self.taken(&row.name, at));
        }
        if known.is_none() {
            self.by_name
                .insert(row.name.clone(), Named { row: at, statistic: None, window: None, scale: 1.0 });
        }
        for synonym in &row.synonyms {
            if let Some(first) = self.by_name.insert(synonym.name().to_owned(), synonym.named(at)) {
                return Err(self.taken(synonym.name(), first.row));
            }
        }
        match self.metrics.get_mut(at) {
            Some(metric) => row.extend(metric)?,
            None => self.metrics.push(row.into_metric()?),
        }
        self.respell(at);
        let metric = &self.metrics[at];
        let engines = metric.aliases.iter().map(|alias| &alias.engine).chain(metric.lacks.keys());
        if let Some(engine) = engines.into_iter().find(|name| self.engine(name).is_none()) {
            let known: Vec<&str> = self.engines.iter().map(|engine| engine.name.as_str()).collect();
            return Err(format!("there is no engine `{engine}`; there are {}", known.join(", ")));
        }
        if let Some(alias) = metric.aliases.iter().find(|alias| metric.lacks.contains_key(&alias.engine)) {
            return Err(format!("engine `{}` has it as `{alias}` and is said to lack it", alias.engine));
        }
        Ok(())
    }

    /// Adds the aliases of engines whose series have the same names behind other prefixes.
    fn respell(&mut self, at: usize) {
        for engine in self.engines.iter().filter(|engine| engine.same_names) {
            let Some((first, others)) = engine.prefixes.split_first() else { continue };
            let metric = &mut self.metrics[at];
            let own: Vec<Alias> =
                metric.aliases.iter().filter(|alias| alias.engine == engine.name).cloned().collect();
            for (prefix, alias) in
                others.iter().flat_map(|prefix| own.iter().map(move |alias| (prefix, alias)))
            {
                let mut alias = alias.clone();
                for term in &mut alias.terms {
                    if let Some(rest) = term.selector.name.strip_prefix(first.as_str()) {
                        term.selector.name = format!("{prefix}{rest}");
                    }
                }
                if !metric.aliases.iter().any(|known| known.terms == alias.terms) {
                    metric.aliases.push(alias);
                }
            }
        }
    }

    fn taken(&self, name: &str, row: usize) -> String {
        let first = self.metrics.get(row).map_or(name, |metric| &metric.name);
        format!("the name `{name}` is already taken by row `{first}`")
    }

    /// One series is one metric, unless it is a stand-in.
    fn index_series(&mut self) -> Result<(), (String, String)> {
        self.by_series.clear();
        for (row, metric) in self.metrics.iter().enumerate() {
            for (at, alias) in metric.aliases.iter().enumerate() {
                let Some(selector) = alias.alone() else { continue };
                let place = Place { row, alias: at, derived: alias.derived.is_some() };
                let mut spellings = vec![selector.name.clone()];
                if alias.series_type == SeriesType::Counter {
                    spellings.push(other_counter_name(&selector.name));
                }
                for spelling in spellings {
                    let places = self.by_series.entry(spelling.clone()).or_default();
                    let same = |other: &&Place| {
                        let known = &self.metrics[other.row].aliases[other.alias];
                        let matchers = known.alone().map(|selector| &selector.matchers);
                        matchers == Some(&selector.matchers)
                    };
                    let stands = |other: &&Place| !(other.derived || place.derived);
                    if let Some(other) = places.iter().filter(stands).find(same) {
                        let first = &self.metrics[other.row].name;
                        let problem = format!(
                            "the series `{spelling}` already stands alone in an alias of row `{first}`"
                        );
                        return Err((metric.name.clone(), problem));
                    }
                    places.push(place);
                }
            }
        }
        Ok(())
    }
}

//! The engine catalogue: which series of which engine is which metric, and how its values add up.
//!
//! The rows are in `catalogue.toml`, part of the binary; a file of the same shape extends them. A metric can be asked for
//! by its engine-neutral name (`inflight`), by AIBrix's name for it (`gpu_cache_usage_perc`), by an engine's own name
//! (`vllm:num_requests_running`), or by any other name a page may have (`my_queue_depth`); each with matchers on labels
//! if need be (`running{model_name="a"}`).
//!
//! ```
//! use windlass_metrics::{Catalogue, Kind};
//!
//! let metric = Catalogue::builtin().resolve("gpu_cache_usage_perc")?;
//! assert_eq!(metric.canonical.as_deref(), Some("kv_util"));
//! assert_eq!(metric.kind, Kind::Utilisation);
//! assert_eq!(metric.aliases[0].to_string(), "vllm:kv_cache_usage_perc");
//! # Ok::<(), windlass_metrics::SelectorError>(())
//! ```

mod alias;
mod engine;
mod file;
mod list;
mod place;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use alias::{Aggregation, Alias, Operator, SeriesType, Term};
pub use engine::{AliasUsed, Detected, DetectedBy, Engine, Generation, LABELS};
pub use file::CatalogueError;

use crate::selector::{Matcher, Selector, SelectorError};
use crate::suggest;

/// How values of several pods make a fleet's total.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Sum over ready pods.
    Additive,
    /// Mean × ready.
    Utilisation,
    /// Fleet value × ready.
    Latency,
}

/// What a histogram is summed up as.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Statistic {
    /// The mean of the observations.
    Mean,
    /// The quantile, from 0 to 1.
    Quantile(f64),
}

/// A metric, ready to be compiled into a [`Wanted`](crate::Wanted).
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// The name as it was asked for.
    pub name: String,
    /// The catalogue's name; `None` if the catalogue does not know the metric.
    pub canonical: Option<String>,
    /// How pods make a fleet's total.
    pub kind: Kind,
    /// The unit of a reading (of the rate, for counters); empty if not known.
    pub unit: String,
    /// How series make a pod's value, where a term does not say otherwise.
    pub aggregation: Aggregation,
    /// The value that means 100 %, for metrics that have one; a target above it is meant as percent.
    pub full_scale: Option<f64>,
    /// Whether it queues up without bound while capacity is missing.
    pub backlog: bool,
    /// Whether a value below zero is possible. Where it is not, such a value is no reading.
    pub signed: bool,
    /// What histograms are summed up as.
    pub statistic: Statistic,
    /// Over which span histograms and ratios of counters are summed up; `None` leaves it to whoever reads them.
    pub window: Option<Duration>,
    /// Where to find it, in order of preference.
    pub aliases: Vec<Alias>,
    /// Engines that are known to lack it, and why or what to use instead.
    pub lacks: BTreeMap<String, String>,
}

/// What a name in a user's object stands for.
pub type Resolution = Result<Metric, SelectorError>;

impl Metric {
    /// Whether there is an engine from which it is read as a histogram, so that a quantile can be asked for.
    pub fn has_histogram(&self) -> bool {
        self.aliases.iter().any(|alias| alias.series_type == SeriesType::Histogram)
    }

    /// Whether a value needs something to have happened: it is taken from histograms or ratios of counters. When nothing
    /// happens there is no value, and that is not 0.
    pub fn is_of_events(&self) -> bool {
        let ratio =
            |alias: &Alias| alias.series_type == SeriesType::Counter && alias.operator == Operator::Divide;
        self.has_histogram() || self.aliases.iter().any(ratio)
    }
}

/// All rows, and indices over them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Catalogue {
    engines: Vec<Engine>,
    metrics: Vec<Metric>,
    /// Canonical names and synonyms.
    by_name: HashMap<String, Named>,
    /// Engines' own names to the rows and aliases that consist of series of that name alone.
    by_series: HashMap<String, Vec<Place>>,
}

/// What a name of the catalogue says.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Named {
    row: usize,
    /// What it says of histograms, as `p95_ttft_5m` does.
    statistic: Option<Statistic>,
    /// The span it says, as `p95_ttft_5m` does.
    window: Option<Duration>,
    /// What it is counted in: 60 for a rate per minute.
    scale: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    row: usize,
    alias: usize,
    derived: bool,
}

impl Catalogue {
    /// The catalogue this program was built with.
    pub fn builtin() -> &'static Arc<Self> {
        #[expect(clippy::expect_used, reason = "the text is part of the binary, and a test reads it")]
        static BUILTIN: LazyLock<Arc<Catalogue>> = LazyLock::new(|| {
            Arc::new(Catalogue::parse(include_str!("catalogue.toml")).expect("the built-in catalogue"))
        });
        &BUILTIN
    }

    /// The rows, in the order of the file, each under its canonical name. Histograms are among them.
    pub fn metrics(&self) -> &[Metric] {
        &self.metrics
    }

    /// The engines, in the order of the file.
    pub fn engines(&self) -> &[Engine] {
        &self.engines
    }

    /// What `name` stands for. In this order: the catalogue's name, AIBrix's, an engine's (read from
    /// series of that name alone, in the unit they have there; a counter with or without `_total`), and anything else: a
    /// series of that name, additive, added up, a gauge unless the page declares it a counter. Matchers on labels narrow
    /// all series of the metric; one on a label for which the catalogue has a matcher takes its place.
    pub fn resolve(&self, name: &str) -> Resolution {
        let selector: Selector = name.parse()?;
        let known = match (self.by_name.get(&selector.name), self.by_series.get(&selector.name)) {
            (Some(named), _) => Some(self.by_its_name(*named)),
            (None, Some(places)) => self.by_its_series(places, &selector.matchers),
            (None, None) => None,
        };
        let Some(mut metric) = known else { return Ok(custom(name, selector)) };
        name.clone_into(&mut metric.name);
        if !selector.matchers.is_empty() {
            for term in metric.aliases.iter_mut().flat_map(|alias| &mut alias.terms) {
                term.selector = term.selector.narrowed(&selector.matchers);
            }
            let mut seen: Vec<Alias> = Vec::new();
            metric.aliases.retain(|alias| {
                let new = !seen.iter().any(|known| known.terms == alias.terms);
                seen.extend(new.then(|| alias.clone()));
                new
            });
        }
        Ok(metric)
    }

    /// The name of the catalogue that the name of `metric`, which it does not know, may be a slip of.
    pub fn meant_by(&self, metric: &Metric) -> Option<&str> {
        let name = metric.aliases.first()?.terms.first().filter(|_| metric.canonical.is_none())?;
        let known = self.by_name.keys().chain(self.by_series.keys());
        suggest::meant(&name.selector.name, known.map(String::as_str))
    }

    fn by_its_name(&self, named: Named) -> Metric {
        let mut metric = self.metrics[named.row].clone();
        metric.statistic = named.statistic.unwrap_or(metric.statistic);
        metric.window = named.window;
        for alias in &mut metric.aliases {
            alias.scale *= named.scale;
        }
        if named.scale == 60.0 {
            metric.unit = metric.unit.replace("/s", "/min");
        }
        metric
    }

    /// `None` where the name stands for several metrics, told apart by labels that `matchers` do not name.
    fn by_its_series(&self, places: &[Place], matchers: &[Matcher]) -> Option<Metric> {
        let own = |place: &&Place| !place.derived;
        let direct = places.iter().any(|place| !place.derived);
        let mut places: Vec<&Place> = places.iter().filter(|place| !direct || own(place)).collect();
        if places.iter().any(|place| place.row != places[0].row) {
            let said = |place: &&Place| {
                let alias = &self.metrics[place.row].aliases[place.alias];
                alias.terms.iter().flat_map(|term| &term.selector.matchers).all(|m| matchers.contains(m))
            };
            places.retain(said);
        }
        let row = places.first()?.row;
        if places.iter().any(|place| place.row != row) {
            return None;
        }
        let metric = &self.metrics[row];
        let in_own_unit = |place: &&Place| Alias { scale: 1.0, ..metric.aliases[place.alias].clone() };
        let aliases: Vec<Alias> = places.iter().map(in_own_unit).collect();
        let scaled = places.iter().any(|place| metric.aliases[place.alias].scale != 1.0);
        let unit = if scaled { String::new() } else { metric.unit.clone() };
        Some(Metric { unit, aliases, ..metric.clone() })
    }
}

fn custom(name: &str, selector: Selector) -> Metric {
    Metric {
        name: name.to_owned(),
        canonical: None,
        kind: Kind::Additive,
        unit: String::new(),
        aggregation: Aggregation::Sum,
        full_scale: None,
        backlog: false,
        signed: true,
        statistic: Statistic::Mean,
        window: None,
        aliases: vec![Alias {
            engine: String::new(),
            generation: String::new(),
            series_type: SeriesType::AsDeclared,
            operator: Operator::Add,
            terms: vec![Term { selector, aggregation: Aggregation::Sum, labels: Vec::new() }],
            scale: 1.0,
            derived: None,
        }],
        lacks: BTreeMap::new(),
    }
}

/// A counter's name in the other spelling: with `_total`, or without.
pub(crate) fn other_counter_name(name: &str) -> String {
    name.strip_suffix("_total").map_or_else(|| format!("{name}_total"), str::to_owned)
}

#[cfg(test)]
mod tests;

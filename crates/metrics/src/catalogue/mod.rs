//! The engine catalogue: which series of which engine is which metric, and how its values add up.
//!
//! The rows are in `catalogue.toml`, part of the binary. A metric can be asked for by its engine-neutral name
//! (`inflight`), by AIBrix's name for it (`gpu_cache_usage_perc`), by an engine's own name
//! (`vllm:num_requests_running`), or by any other name a page may have (`my_queue_depth`).
//!
//! ```
//! use windlass_metrics::{Catalogue, Kind};
//!
//! let metric = Catalogue::builtin().resolve("gpu_cache_usage_perc")?;
//! assert_eq!(metric.canonical.as_deref(), Some("kv_util"));
//! assert_eq!(metric.kind, Kind::Utilisation);
//! assert_eq!(metric.aliases[0].to_string(), "vllm:kv_cache_usage_perc");
//! # Ok::<(), windlass_metrics::ResolveError>(())
//! ```

mod file;

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use file::CatalogueError;

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

/// How the series of one metric on one pod's page (ranks, models, reasons) make that pod's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Aggregation {
    /// They are added up.
    Sum,
    /// Their arithmetic mean.
    Mean,
    /// The greatest.
    Max,
}

/// What the values of an alias are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SeriesType {
    /// The value is the reading.
    Gauge,
    /// The value only grows; the reading is its rate per second.
    Counter,
    /// Buckets; not read yet.
    Histogram,
    /// A counter if the page declares one, else a gauge: names the catalogue does not know.
    #[serde(skip)]
    AsDeclared,
}

/// One way an engine exposes a metric.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alias {
    /// The engine, as `vllm`; empty for a name the catalogue does not know.
    pub engine: String,
    /// The engine's generations that have it, for people.
    pub generation: String,
    /// What the values are.
    #[serde(rename = "type")]
    pub series_type: SeriesType,
    /// The names of the series to add up; nearly always one.
    pub add: Vec<String>,
}

/// The series names, joined by ` + `.
impl fmt::Display for Alias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.add.join(" + "))
    }
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
    /// How series make a pod's value.
    pub aggregation: Aggregation,
    /// The value that means 100 %, for metrics that have one; a target above it is meant as percent.
    pub full_scale: Option<f64>,
    /// Whether it queues up without bound while capacity is missing.
    pub backlog: bool,
    /// Whether a value below zero is possible. Where it is not, such a value is no reading.
    pub signed: bool,
    /// Where to find it, in order of preference.
    pub aliases: Vec<Alias>,
}

/// What a name in a user's object stands for.
pub type Resolution = Result<Metric, ResolveError>;

/// Why a name cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ResolveError {
    /// The metric is known, but only as a histogram.
    #[error(
        "metric `{name}` is a histogram ({series}), and scaling on quantiles of histograms is not built yet; \
         use a load metric such as `inflight` or `kv_util`"
    )]
    Histogram {
        /// The name asked for.
        name: String,
        /// The series it would be read from.
        series: String,
    },
    /// The text cannot be the name of a metric.
    #[error("`{0}` is not a metric name; give the name alone, without blanks, labels, functions or quotes")]
    NotAName(String),
}

/// All rows, and indices over them.
#[derive(Debug)]
pub struct Catalogue {
    metrics: Vec<Metric>,
    /// Canonical names and synonyms to rows.
    by_name: HashMap<String, usize>,
    /// Engines' own names to rows and aliases that consist of that series alone.
    by_series: HashMap<String, (usize, usize)>,
}

impl Catalogue {
    /// The catalogue this program was built with.
    pub fn builtin() -> &'static Self {
        #[expect(clippy::expect_used, reason = "the text is part of the binary, and a test reads it")]
        static BUILTIN: LazyLock<Catalogue> = LazyLock::new(|| {
            Catalogue::parse(include_str!("catalogue.toml")).expect("the built-in catalogue")
        });
        &BUILTIN
    }

    /// The rows, in the order of the file, each under its canonical name. Histograms are among them.
    pub fn metrics(&self) -> &[Metric] {
        &self.metrics
    }

    /// What `name` stands for. In this order: the catalogue's name, AIBrix's, an engine's (read from that series
    /// alone, a counter with or without `_total`), and anything else: a series of that name, additive, added up, a
    /// gauge unless the page declares it a counter.
    pub fn resolve(&self, name: &str) -> Resolution {
        if !is_metric_name(name) {
            return Err(ResolveError::NotAName(name.to_owned()));
        }
        let known = if let Some(&row) = self.by_name.get(name) {
            self.metrics[row].clone()
        } else if let Some(&(row, alias)) = self.by_series.get(name) {
            let metric = &self.metrics[row];
            Metric { aliases: vec![metric.aliases[alias].clone()], ..metric.clone() }
        } else {
            return Ok(custom(name));
        };
        if known.aliases.iter().all(|alias| alias.series_type == SeriesType::Histogram) {
            let series = known.aliases.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
            return Err(ResolveError::Histogram { name: name.to_owned(), series });
        }
        Ok(Metric { name: name.to_owned(), ..known })
    }
}

fn custom(name: &str) -> Metric {
    Metric {
        name: name.to_owned(),
        canonical: None,
        kind: Kind::Additive,
        unit: String::new(),
        aggregation: Aggregation::Sum,
        full_scale: None,
        backlog: false,
        signed: true,
        aliases: vec![Alias {
            engine: String::new(),
            generation: String::new(),
            series_type: SeriesType::AsDeclared,
            add: vec![name.to_owned()],
        }],
    }
}

/// Names a page may have, those in quotes included; refuses what looks like a query.
fn is_metric_name(name: &str) -> bool {
    let odd = |c: char| c.is_whitespace() || c.is_control() || "{}()[]\"'`\\,=".contains(c);
    !name.is_empty() && !name.contains(odd)
}

/// A counter's name in the other spelling: with `_total`, or without.
pub(crate) fn other_counter_name(name: &str) -> String {
    name.strip_suffix("_total").map_or_else(|| format!("{name}_total"), str::to_owned)
}

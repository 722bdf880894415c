//! How an engine exposes a metric: which series, and what is done with them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::selector::{Selector, is_metric_name};

/// How the series of one term on one pod's page (ranks, models, reasons) make that pod's value. Only one rank of several
/// is chosen by a matcher, as `{tp_rank=~"0|"}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Aggregation {
    /// They are added up.
    Sum,
    /// Their arithmetic mean.
    Mean,
    /// The greatest.
    Max,
    /// The one value they all have; without a reading where they differ.
    Same,
}

impl Aggregation {
    const NAMES: [(&'static str, Self); 4] =
        [("sum", Self::Sum), ("mean", Self::Mean), ("max", Self::Max), ("same", Self::Same)];
}

impl fmt::Display for Aggregation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.iter().find(|(_, aggregation)| aggregation == self);
        f.write_str(name.map_or("", |(name, _)| name))
    }
}

/// What the values of an alias are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SeriesType {
    /// The value is the reading.
    Gauge,
    /// The value only grows; the reading is its rate per second, or of a quotient the ratio of the rates.
    Counter,
    /// Buckets; the reading is a quantile or the mean of what was observed.
    Histogram,
    /// A counter if the page declares one, else a gauge: names the catalogue does not know.
    #[serde(skip)]
    AsDeclared,
}

/// What is done with the terms of an alias.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operator {
    /// They are added up.
    Add,
    /// They are multiplied.
    Multiply,
    /// The first is divided by the second.
    Divide,
}

impl Operator {
    /// As it is written between terms.
    pub(crate) fn sign(self) -> &'static str {
        match self {
            Self::Add => " + ",
            Self::Multiply => " × ",
            Self::Divide => " ÷ ",
        }
    }
}

/// One number taken from a page: `series{matchers}`, `sum(series)`, or `max(series[label * label])` for the product of
/// the numbers that labels of the series hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// Which series.
    pub selector: Selector,
    /// How several of them make one number.
    pub aggregation: Aggregation,
    /// The labels whose product is the value of a series; empty where the series' own value is meant.
    pub labels: Vec<String>,
}

/// The series and labels, without the aggregation.
impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.selector)?;
        if self.labels.is_empty() { Ok(()) } else { write!(f, "[{}]", self.labels.join(" * ")) }
    }
}

/// A term as it is written in the catalogue, where the aggregation may be left to the metric.
#[derive(Debug)]
pub(super) struct WrittenTerm {
    pub(super) selector: Selector,
    pub(super) aggregation: Option<Aggregation>,
    pub(super) labels: Vec<String>,
}

impl FromStr for WrittenTerm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let call = text.strip_suffix(')').and_then(|text| text.split_once('('));
        let named = call.and_then(|(name, inner)| {
            let known = Aggregation::NAMES.iter().find(|(known, _)| *known == name)?;
            Some((Some(known.1), inner))
        });
        let (aggregation, inner) = named.unwrap_or((None, text));
        let bracket = inner.strip_suffix(']').and_then(|inner| inner.rsplit_once('['));
        let (series, labels) = bracket.map_or((inner, None), |(series, labels)| (series, Some(labels)));
        let labels: Vec<String> =
            labels.map_or_else(Vec::new, |labels| labels.split('*').map(|l| l.trim().to_owned()).collect());
        if let Some(label) = labels.iter().find(|label| !is_metric_name(label)) {
            return Err(format!("`{label}` in `{text}` is not a label's name"));
        }
        let selector = series.parse::<Selector>().map_err(|error| error.to_string())?;
        Ok(Self { selector, aggregation, labels })
    }
}

/// One way an engine exposes a metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Alias {
    /// The engine's name in the catalogue, as `vllm`; empty for a name the catalogue does not know.
    pub engine: String,
    /// The engine's generations that have it, for people.
    pub generation: String,
    /// What the values are.
    pub series_type: SeriesType,
    /// What is done with the terms.
    pub operator: Operator,
    /// The numbers taken from the page; nearly always one. Of a histogram it is one.
    pub terms: Vec<Term>,
    /// What the result is multiplied by to have the metric's unit; 1 nearly always.
    pub scale: f64,
    /// In what way this is a stand-in for the metric; `None` where the engine exposes the metric itself.
    pub derived: Option<String>,
}

impl Alias {
    /// Whether a page of `engine` has it under a name of its own: it is that engine's, or no engine's in particular.
    pub fn may_be_of(&self, engine: &str) -> bool {
        self.engine == engine || self.engine.is_empty()
    }

    /// The series, where the alias is nothing but one.
    pub(super) fn alone(&self) -> Option<&Selector> {
        match self.terms.as_slice() {
            [term] if term.labels.is_empty() => Some(&term.selector),
            _ => None,
        }
    }
}

/// The series, joined by `+`, `×` or `÷`.
impl fmt::Display for Alias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let terms: Vec<_> = self.terms.iter().map(Term::to_string).collect();
        f.write_str(&terms.join(self.operator.sign()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_written_as_in_promql() {
        let check = |text: &str, aggregation: Option<Aggregation>, selector: &str, labels: &[&str]| {
            let term: WrittenTerm = text.parse().unwrap();
            assert_eq!(term.aggregation, aggregation, "{text}");
            assert_eq!(term.selector.to_string(), selector, "{text}");
            assert_eq!(term.labels, labels, "{text}");
        };
        check("a", None, "a", &[]);
        check("mean(a)", Some(Aggregation::Mean), "a", &[]);
        check(r#"max(a{b="c)]"})"#, Some(Aggregation::Max), r#"a{b="c)]"}"#, &[]);
        check("a[b]", None, "a", &["b"]);
        check(r#"same(a{x=~"[0-9]"}[b * c])"#, Some(Aggregation::Same), r#"a{x=~"[0-9]"}"#, &["b", "c"]);
        for (text, problem) in [
            ("rate(a)", "`rate(a)` is not a metric name"),
            ("sum(a", "`sum(a` is not a metric name"),
            ("a[]", "`` in `a[]` is not a label's name"),
            ("a[b c]", "`b c` in `a[b c]` is not a label's name"),
            ("sum()", "`` is not a metric name"),
        ] {
            let error = text.parse::<WrittenTerm>().unwrap_err();
            assert!(error.contains(problem), "{error}");
        }
    }
}

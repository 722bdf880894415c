//! How one metric is read: its aliases as slots that samples go to.

use super::pass::{Found, Pass};
use super::{Reading, Sample};
use crate::catalogue::{Aggregation, Alias, Metric, Operator, SeriesType, Term, other_counter_name};
use crate::exposition::{MetricType, Names};
use crate::selector::Matcher;

/// Where the samples of one name go that match; what is made of one sample.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Slot {
    pub(super) name: usize,
    pub(super) matchers: Vec<Matcher>,
    pub(super) value: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// The sample's.
    Own,
    /// The product of these labels.
    Labels(Vec<String>),
    /// The sample's, for the bucket its label `le` names.
    Bucket,
}

/// The slots while they are made: terms that want the same share one.
#[derive(Debug)]
pub(super) struct Slots {
    pub(super) names: Names,
    pub(super) slots: Vec<Slot>,
}

impl Slots {
    pub(super) fn new<'a>(aliases: impl Iterator<Item = &'a Alias>) -> Self {
        let series = aliases.flat_map(|alias| alias.terms.iter().map(|term| (alias.series_type, term)));
        let names = Names::new(series.flat_map(|(series_type, term)| {
            let name = &term.selector.name;
            match series_type {
                SeriesType::Histogram => vec![name.clone(), format!("{name}_bucket"), format!("{name}_sum")],
                SeriesType::Gauge => vec![name.clone()],
                SeriesType::Counter => vec![name.clone(), other_counter_name(name)],
                SeriesType::AsDeclared => {
                    let stem = counted_stem(name).unwrap_or(name);
                    vec![name.clone(), other_counter_name(name), stem.to_owned()]
                }
            }
        }));
        Self { names, slots: Vec::new() }
    }

    fn slot(&mut self, name: &str, matchers: &[Matcher], value: Value) -> Option<usize> {
        let slot = Slot { name: self.names.index(name)?, matchers: matchers.to_vec(), value };
        let known = self.slots.iter().position(|known| *known == slot);
        Some(known.unwrap_or_else(|| {
            self.slots.push(slot);
            self.slots.len() - 1
        }))
    }
}

/// How to read one metric: its aliases, those that are preferred first.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) signed: bool,
    pub(super) aliases: Vec<AliasPlan>,
    /// So many of them, the first, are of the engine that the page is thought to be of; all where that is none.
    own: usize,
}

#[derive(Debug, Clone)]
pub(super) struct AliasPlan {
    /// Its place among the metric's.
    pub(super) index: usize,
    pub(super) series_type: SeriesType,
    pub(super) operator: Operator,
    scale: f64,
    pub(super) terms: Vec<TermPlan>,
}

/// One term: the slots for its name as it is, and for a counter's name in the other spelling.
#[derive(Debug, Clone)]
pub(super) struct TermPlan {
    aggregation: Aggregation,
    pub(super) exact: Spelling,
    pub(super) other: Option<Spelling>,
    /// The name of the histogram or summary whose count or sum this may be.
    counted: Option<usize>,
    /// The slot of a histogram's sums.
    sum: Option<usize>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Spelling {
    pub(super) slot: usize,
    pub(super) name: usize,
    /// The name without `_total`: `OpenMetrics` declares counters so.
    declared: Option<usize>,
}

impl Spelling {
    fn declared(self, pass: &Pass) -> Option<MetricType> {
        pass.declared[self.name].or_else(|| pass.declared[self.declared?])
    }
}

/// What a term is on a page.
#[derive(Debug, Clone, Copy)]
pub(super) struct Located<'a> {
    pub(super) found: &'a Found,
    pub(super) spelling: Spelling,
    pub(super) aggregation: Aggregation,
    pub(super) counter: bool,
}

impl Plan {
    /// `order` has the places of the aliases that are wanted, of which the first `own` are those of the page's engine.
    pub(super) fn new(metric: &Metric, order: &[usize], own: usize, slots: &mut Slots) -> Self {
        let plan = |&index: &usize| AliasPlan::new(index, &metric.aliases[index], slots);
        Self { signed: metric.signed, aliases: order.iter().map(plan).collect(), own }
    }

    /// The alias that decides on this page.
    pub(super) fn on_page(&self, pass: &Pass) -> Option<&AliasPlan> {
        self.aliases.iter().find(|alias| alias.is_on(pass))
    }

    /// What it has on this page.
    pub(super) fn read(&self, alias: &AliasPlan, pass: &mut Pass) -> Option<Reading> {
        alias.sample(self.signed, pass).map(|sample| Reading { sample, alias: alias.index })
    }

    /// The aliases of the page's engine; of an engine that lacks the metric, or that is not known, all.
    pub(super) fn own(&self) -> &[AliasPlan] {
        if self.own == 0 { &self.aliases } else { &self.aliases[..self.own] }
    }

    /// Names the aliases up to and with the one whose place is `last`; without it all.
    pub(super) fn names(&self, last: Option<usize>, slots: &[Slot], mut name: impl FnMut(usize)) {
        let end = self.aliases.iter().position(|alias| Some(alias.index) == last);
        let aliases = &self.aliases[..end.map_or(self.aliases.len(), |end| end + 1)];
        for term in aliases.iter().flat_map(|alias| &alias.terms) {
            let spellings = [Some(term.exact), term.other];
            spellings.into_iter().flatten().for_each(|spelling| {
                name(slots[spelling.slot].name);
                name(spelling.name);
                spelling.declared.into_iter().for_each(&mut name);
            });
            term.counted.into_iter().chain(term.sum.map(|sum| slots[sum].name)).for_each(&mut name);
        }
    }
}

impl AliasPlan {
    fn new(index: usize, alias: &Alias, slots: &mut Slots) -> Self {
        let terms = alias.terms.iter().filter_map(|term| TermPlan::new(term, alias.series_type, slots));
        Self {
            index,
            series_type: alias.series_type,
            operator: alias.operator,
            scale: alias.scale,
            terms: terms.collect(),
        }
    }

    /// Whether all of it is on the page.
    fn is_on(&self, pass: &Pass) -> bool {
        !self.terms.is_empty() && self.terms.iter().all(|term| term.locate(self.series_type, pass).is_some())
    }

    pub(super) fn is_histogram(&self) -> bool {
        self.series_type == SeriesType::Histogram
    }

    /// The terms joined. They share one type: the alias has one, or a single term.
    fn sample(&self, signed: bool, pass: &mut Pass) -> Option<Sample> {
        let first = self.terms.first()?;
        if self.is_histogram() {
            return pass.histogram(first.exact.slot, first.sum?, self.scale).map(Sample::Histogram);
        }
        let counter = first.locate(self.series_type, pass)?.counter;
        let signed = signed && !counter;
        let value = |term: &TermPlan| {
            let located = term.locate(self.series_type, pass)?;
            located.found.value(located.aggregation, signed)
        };
        let join = |start: f64, join: fn(f64, f64) -> f64| {
            self.terms.iter().try_fold(start, |value_so_far, term| Some(join(value_so_far, value(term)?)))
        };
        let joined = match self.operator {
            Operator::Add => join(0.0, |a, b| a + b)?,
            Operator::Multiply => join(1.0, |a, b| a * b)?,
            Operator::Divide => {
                let (part, whole) = (value(first)? * self.scale, value(self.terms.get(1)?)?);
                let usable = part.is_finite() && whole.is_finite();
                if counter {
                    return usable.then_some(Sample::Ratio { part, whole });
                }
                // Nothing of nothing is not known.
                return Some(part / whole).filter(|ratio| ratio.is_finite()).map(Sample::Gauge);
            }
        };
        // Finite values may come to infinity together.
        let value = Some(joined * self.scale).filter(|value| value.is_finite())?;
        Some(if counter { Sample::Counter(value) } else { Sample::Gauge(value) })
    }
}

impl TermPlan {
    fn new(term: &Term, series_type: SeriesType, slots: &mut Slots) -> Option<Self> {
        let (name, matchers) = (term.selector.name.as_str(), term.selector.matchers.as_slice());
        if series_type == SeriesType::Histogram {
            let slot = slots.slot(&format!("{name}_bucket"), matchers, Value::Bucket)?;
            let exact = Spelling { slot, name: slots.names.index(name)?, declared: None };
            let sum = slots.slot(&format!("{name}_sum"), matchers, Value::Own);
            return Some(Self { aggregation: term.aggregation, exact, other: None, counted: None, sum });
        }
        let value = if term.labels.is_empty() { Value::Own } else { Value::Labels(term.labels.clone()) };
        let other_name = other_counter_name(name);
        let short = slots.names.index(name.strip_suffix("_total").unwrap_or(name));
        let mut spelling = |name: &str| {
            let at = slots.names.index(name)?;
            Some(Spelling { slot: slots.slot(name, matchers, value.clone())?, name: at, declared: short })
        };
        let exact = spelling(name)?;
        let other = (series_type != SeriesType::Gauge).then(|| spelling(&other_name)).flatten();
        let as_declared = series_type == SeriesType::AsDeclared;
        let counted = counted_stem(name).filter(|_| as_declared).and_then(|stem| slots.names.index(stem));
        Some(Self { aggregation: term.aggregation, exact, other, counted, sum: None })
    }

    /// The term on the page.
    pub(super) fn locate<'a>(&self, series_type: SeriesType, pass: &'a Pass) -> Option<Located<'a>> {
        let at = |spelling: Spelling, counter: bool| {
            let found = pass.found(spelling.slot)?;
            Some(Located { found, spelling, aggregation: self.aggregation, counter })
        };
        let other = |plausible: fn(Option<MetricType>) -> bool| {
            let other = self.other.filter(|other| plausible(other.declared(pass)))?;
            at(other, true)
        };
        match series_type {
            SeriesType::Gauge | SeriesType::Histogram => at(self.exact, false),
            SeriesType::Counter => at(self.exact, true).or_else(|| {
                other(|declared| matches!(declared, None | Some(MetricType::Counter | MetricType::Unknown)))
            }),
            SeriesType::AsDeclared => match (at(self.exact, false), self.exact.declared(pass)) {
                // The bare name of a summary has its quantiles, which are no load.
                (Some(_), Some(MetricType::Summary)) => None,
                (Some(located), Some(MetricType::Counter)) => Some(Located { counter: true, ..located }),
                (Some(located), _) => Some(Located { counter: self.is_part_of_histogram(pass), ..located }),
                (None, _) => other(|declared| declared == Some(MetricType::Counter)),
            },
        }
    }

    fn is_part_of_histogram(&self, pass: &Pass) -> bool {
        let declared = self.counted.and_then(|stem| pass.declared[stem]);
        matches!(declared, Some(MetricType::Histogram | MetricType::Summary))
    }
}

/// The name of the histogram or summary whose count or sum `name` would be.
fn counted_stem(name: &str) -> Option<&str> {
    name.strip_suffix("_count").or_else(|| name.strip_suffix("_sum"))
}

//! Several metrics of one pod's page, in one pass.
//!
//! ```
//! use windlass_metrics::{Catalogue, Format, Reading, Readings, Sample, Wanted};
//!
//! let catalogue = Catalogue::builtin();
//! let wanted = Wanted::new(&[catalogue.resolve("inflight")?, catalogue.resolve("kv_util")?]);
//! let page = b"vllm:num_requests_running{engine=\"0\"} 5\n\
//!              vllm:num_requests_running{engine=\"1\"} 7\n\
//!              vllm:num_requests_waiting{engine=\"0\"} 3\n\
//!              vllm:kv_cache_usage_perc{engine=\"0\"} NaN\n";
//! let mut readings = Readings::default();
//! wanted.read(page, Format::Text, &mut readings)?;
//! assert_eq!(*readings, [Some(Reading { sample: Sample::Gauge(15.0), alias: 0 }), None]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod missing;
mod pass;
mod plan;

use std::ops::Deref;
use std::time::Duration;

use crate::catalogue::Metric;
use crate::exposition::{Format, Names, PageError, Selected, parse, select};
use crate::histogram::Histogram;
use pass::Pass;
use plan::{Plan, Slot, Slots};

/// One value of one metric from one page. Finite; not negative unless the metric can be.
#[derive(Debug, Clone, PartialEq)]
pub enum Sample {
    /// The value itself.
    Gauge(f64),
    /// A count; its rate is what is meant. See [`CounterRate`](crate::CounterRate).
    Counter(f64),
    /// Two counts; the ratio of their rates is what is meant. See [`Meter`](crate::Meter).
    Ratio {
        /// The count above, in the metric's unit.
        part: f64,
        /// The count below.
        whole: f64,
    },
    /// All that was observed since the engine started, in the metric's unit; the series of the pod are merged. See
    /// [`HistogramWindow`](crate::HistogramWindow).
    Histogram(Histogram),
}

/// A sample, and where it was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The value, with its type.
    pub sample: Sample,
    /// Index into [`Metric::aliases`] of the alias that decided on this page.
    pub alias: usize,
}

/// What was read from a page, an entry per metric; and what reading needs, kept for the next page: reading gauges and
/// counters again allocates nothing, and the buffers of histograms are used again.
#[derive(Debug, Clone, Default)]
pub struct Readings {
    values: Vec<Option<Reading>>,
    /// The alias that decided, whether it had a value or not.
    on_page: Vec<Option<usize>>,
    pass: Pass,
}

impl Deref for Readings {
    type Target = [Option<Reading>];

    fn deref(&self) -> &[Option<Reading>] {
        &self.values
    }
}

impl Readings {
    /// Index into [`Metric::aliases`] of the alias of each metric that is on the page in full, even without a usable value.
    pub fn on_page(&self) -> &[Option<usize>] {
        &self.on_page
    }

    /// No readings, of the number of metrics that are wanted.
    fn clear(&mut self, wanted: &Wanted) {
        for reading in self.values.drain(..).flatten() {
            if let Sample::Histogram(histogram) = reading.sample {
                self.pass.spare.push(histogram);
            }
        }
        self.values.resize(wanted.plans.len(), None);
        self.on_page.clear();
        self.on_page.resize(wanted.plans.len(), None);
        self.pass.begin(wanted.slots.len(), wanted.names.as_slice().len());
    }
}

/// A compiled set of metrics to read from pages.
#[derive(Debug, Clone)]
pub struct Wanted {
    names: Names,
    /// By the indices of the names: the slots that take samples of that name.
    takers: Vec<Vec<usize>>,
    slots: Vec<Slot>,
    plans: Vec<Plan>,
    /// Of each, over which span it is to be summed up.
    windows: Vec<Option<Duration>>,
    /// The first so many are missed where a page lacks them.
    required: usize,
}

impl Wanted {
    /// Compiles `metrics`; readings come in their order.
    pub fn new(metrics: &[Metric]) -> Self {
        Self::of(metrics, |metric| {
            let all = metric.aliases.len();
            ((0..all).collect(), all)
        })
    }

    /// The same for pages of an engine (its name in the catalogue): each metric is read from a name of another engine only
    /// where the page has none of this one. A page may have names of several: of a sidecar, or of what the engine wraps.
    pub fn preferring(metrics: &[Metric], engine: &str) -> Self {
        Self::of(metrics, |metric| {
            let (mut order, others) = own_and_others(metric, engine);
            let own = order.len();
            order.extend(others);
            (order, own)
        })
    }

    /// The same where a page has no metric under another engine's name alone: those need not be looked for, which makes
    /// reading faster and requests by name shorter.
    pub fn for_engine(metrics: &[Metric], engine: &str) -> Self {
        Self::of(metrics, |metric| {
            let (own, _) = own_and_others(metric, engine);
            let count = own.len();
            (own, count)
        })
    }

    /// The same, where only the first so many must be there: a page that lacks the others, which help to understand them,
    /// lacks nothing.
    #[must_use]
    pub fn requiring(self, required: usize) -> Self {
        Self { required, ..self }
    }

    /// `order` gives the places of a metric's aliases that are wanted, those that are preferred first, and how many of them
    /// are names of the page's engine.
    fn of(metrics: &[Metric], order: impl Fn(&Metric) -> (Vec<usize>, usize)) -> Self {
        let orders: Vec<(Vec<usize>, usize)> = metrics.iter().map(order).collect();
        let ordered = || metrics.iter().zip(&orders);
        let wanted = ordered().flat_map(|(metric, (order, _))| order.iter().map(|at| &metric.aliases[*at]));
        let mut slots = Slots::new(wanted);
        let plan = |(metric, (order, own)): (&Metric, &(Vec<usize>, usize))| {
            Plan::new(metric, order, *own, &mut slots)
        };
        let plans = ordered().map(plan).collect();
        let Slots { names, slots } = slots;
        let mut takers = vec![Vec::new(); names.as_slice().len()];
        for (at, slot) in slots.iter().enumerate() {
            takers[slot.name].push(at);
        }
        let windows = metrics.iter().map(|metric| metric.window).collect();
        Self { names, takers, slots, plans, windows, required: metrics.len() }
    }

    /// How many metrics a page must have for nothing to be missing: the first so many.
    pub fn required(&self) -> usize {
        self.required
    }

    /// Over which span each metric's histogram or ratio is to be summed up, if it says so.
    pub fn windows(&self) -> &[Option<Duration>] {
        &self.windows
    }

    /// The number of metrics, and so of readings.
    pub fn len(&self) -> usize {
        self.plans.len()
    }

    /// Whether nothing is wanted.
    pub fn is_empty(&self) -> bool {
        self.plans.is_empty()
    }

    /// Every sample name that may be needed, for exporters that filter by name. Sorted.
    pub fn sample_names(&self) -> impl Iterator<Item = &str> {
        self.names.as_slice().iter().map(|name| &**name)
    }

    /// The sample names that were needed for these readings, and those of the aliases that are preferred to them: with a
    /// page of these names alone the readings are the same. Sorted. Of metrics without a reading, all.
    pub fn sample_names_for(&self, readings: &[Option<Reading>]) -> Vec<&str> {
        self.sample_names_of(self.plans.iter().zip(readings))
    }

    /// The same, for those metrics alone that have a reading.
    pub fn sample_names_found(&self, readings: &[Option<Reading>]) -> Vec<&str> {
        self.sample_names_of(self.plans.iter().zip(readings).filter(|(_, reading)| reading.is_some()))
    }

    fn sample_names_of<'a>(
        &self,
        readings: impl Iterator<Item = (&'a Plan, &'a Option<Reading>)>,
    ) -> Vec<&str> {
        let mut needed = vec![false; self.names.as_slice().len()];
        for (plan, reading) in readings {
            let last = reading.as_ref().map(|reading| reading.alias);
            plan.names(last, &self.slots, |name| needed[name] = true);
        }
        let names = self.names.as_slice().iter().zip(needed);
        names.filter(|(_, needed)| *needed).map(|(name, _)| &**name).collect()
    }

    /// Reads a page. `out` gets one entry per metric, in the order of [`Wanted::new`]; after an error all are `None`.
    ///
    /// - The first alias whose terms all have a series on the page decides, even if it then has no usable value.
    /// - All series that match count, by the term's aggregation. With one of them NaN, infinite, or negative where the
    ///   metric cannot be, there is no reading: the remaining ones are not the whole. A series that comes twice counts
    ///   once; if it comes with two values, there is no reading.
    /// - The catalogue says what is a counter; for names it does not know, the page does. A counter is found with and
    ///   without `_total`, the spelling asked for first. The count and the sum of a histogram are counters.
    /// - Histograms of several series are merged. Of their bounds, those count that all have.
    /// - Cut pages and bad lines: see [`select`]. A page without any wanted name is read in full, so that what is no
    ///   metrics page at all is an error and not silence.
    pub fn read(&self, page: &[u8], format: Format, out: &mut Readings) -> Result<(), PageError> {
        out.clear(self);
        let Readings { values, on_page, pass } = out;
        let mut any = false;
        select(page, format, &self.names, |selected| match selected {
            Selected::Type { name, metric_type } => pass.declared[name] = Some(metric_type),
            Selected::Sample { name, sample } => {
                any = true;
                for &slot in &self.takers[name] {
                    pass.take(slot, &self.slots[slot], &sample);
                }
            }
        })?;
        if !any {
            parse(page, format).try_for_each(|entry| entry.map(drop))?;
        }
        for ((value, on_page), plan) in values.iter_mut().zip(on_page).zip(&self.plans) {
            let alias = plan.on_page(pass);
            *on_page = alias.map(|alias| alias.index);
            *value = alias.and_then(|alias| plan.read(alias, pass));
        }
        Ok(())
    }
}

/// The places of a metric's aliases: those that a page of `engine` has under names of its own, and the others.
fn own_and_others(metric: &Metric, engine: &str) -> (Vec<usize>, Vec<usize>) {
    (0..metric.aliases.len()).partition(|at| metric.aliases[*at].may_be_of(engine))
}

#[cfg(test)]
mod tests;

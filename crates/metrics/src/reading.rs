//! Several metrics of one pod's page, in one pass.
//!
//! ```
//! use windlass_metrics::{Catalogue, Format, Reading, Sample, Wanted};
//!
//! let catalogue = Catalogue::builtin();
//! let wanted = Wanted::new(&[catalogue.resolve("inflight")?, catalogue.resolve("kv_util")?]);
//! let page = b"vllm:num_requests_running{engine=\"0\"} 5\n\
//!              vllm:num_requests_running{engine=\"1\"} 7\n\
//!              vllm:num_requests_waiting{engine=\"0\"} 3\n\
//!              vllm:kv_cache_usage_perc{engine=\"0\"} NaN\n";
//! let mut readings = Vec::new();
//! wanted.read(page, Format::Text, &mut readings)?;
//! assert_eq!(readings, [Some(Reading { sample: Sample::Gauge(15.0), alias: 0 }), None]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use crate::catalogue::{Aggregation, Metric, SeriesType, other_counter_name};
use crate::exposition::{Format, MetricType, Names, PageError, Selected, parse, select};
use crate::suggest;

/// One value of one metric from one page. Finite; not negative unless the metric can be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sample {
    /// The value itself.
    Gauge(f64),
    /// A count; its rate is what is meant. See [`CounterRate`](crate::CounterRate).
    Counter(f64),
}

/// A sample, and where it was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// The value, with its type.
    pub sample: Sample,
    /// Index into [`Metric::aliases`] of the alias that decided on this page.
    pub alias: usize,
}

/// A compiled set of metrics to read from pages.
#[derive(Debug, Clone)]
pub struct Wanted {
    names: Names,
    plans: Vec<Plan>,
}

/// How to read one metric: its aliases as indices into the names.
#[derive(Debug, Clone)]
struct Plan {
    aggregation: Aggregation,
    signed: bool,
    aliases: Vec<(SeriesType, Vec<Term>)>,
}

/// One series name to be found: as it is, or as a counter's name in the other spelling.
#[derive(Debug, Clone)]
struct Term {
    exact: Name,
    other: Name,
    /// The histogram or summary whose count or sum this may be.
    histogram: Option<usize>,
}

#[derive(Debug, Clone, Copy)]
struct Name {
    index: usize,
    /// The same without `_total`: `OpenMetrics` declares counters so.
    declared: usize,
}

/// What one pass found for one name.
#[derive(Debug, Clone, Copy, Default)]
struct Series {
    count: u32,
    sum: f64,
    least: f64,
    greatest: f64,
    not_finite: bool,
    declared: Option<MetricType>,
}

impl Series {
    fn add(&mut self, value: f64) {
        let first = self.count == 0;
        self.least = if first { value } else { self.least.min(value) };
        self.greatest = if first { value } else { self.greatest.max(value) };
        self.count += 1;
        self.sum += value;
        self.not_finite |= !value.is_finite();
    }

    /// `None` if any of the series has no usable value: the others alone would be a wrong value.
    fn value(&self, aggregation: Aggregation, signed: bool) -> Option<f64> {
        if self.not_finite || (self.least < 0.0 && !signed) {
            return None;
        }
        Some(match aggregation {
            Aggregation::Sum => self.sum,
            Aggregation::Mean => self.sum / f64::from(self.count),
            Aggregation::Max => self.greatest,
        })
    }
}

impl Wanted {
    /// Compiles `metrics`; readings come in their order. Histograms among the aliases are passed over.
    pub fn new(metrics: &[Metric]) -> Self {
        let series = || metrics.iter().flat_map(|metric| &metric.aliases).flat_map(|alias| &alias.add);
        let names = Names::new(series().flat_map(|name| {
            let stem = counted_stem(name).unwrap_or(name);
            [name.clone(), other_counter_name(name), stem.to_owned()]
        }));
        let plans = metrics.iter().map(|metric| Plan::new(metric, &names)).collect();
        Self { names, plans }
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

    /// Reads a page. `out` gets one entry per metric, in the order of [`Wanted::new`]; after an error all are `None`.
    ///
    /// - The first alias whose series are all on the page decides, even if it then has no usable value.
    /// - All series of a name count, by the metric's aggregation. With one of them NaN, infinite, or negative where
    ///   the metric cannot be, there is no reading: the remaining ones are not the whole.
    /// - The catalogue says what is a counter; for names it does not know, the page does. A counter is found with and
    ///   without `_total`, the spelling asked for first. The count and the sum of a histogram are counters.
    /// - Cut pages and bad lines: see [`select`]. A page without any wanted name is read in full, so that what is no
    ///   metrics page at all is an error and not silence.
    pub fn read(&self, page: &[u8], format: Format, out: &mut Vec<Option<Reading>>) -> Result<(), PageError> {
        out.clear();
        out.resize(self.plans.len(), None);
        let mut found = vec![Series::default(); self.names.as_slice().len()];
        select(page, format, &self.names, |selected| match selected {
            Selected::Type { name, metric_type } => found[name].declared = Some(metric_type),
            Selected::Sample { name, sample } => found[name].add(sample.value),
        })?;
        if found.iter().all(|series| series.count == 0) {
            parse(page, format).try_for_each(|entry| entry.map(drop))?;
        }
        for (slot, plan) in out.iter_mut().zip(&self.plans) {
            *slot = plan.read(&found);
        }
        Ok(())
    }

    /// Why a page that was read has no reading of the `index`-th metric: a sentence without a subject.
    pub fn missing(&self, page: &[u8], index: usize) -> Option<String> {
        let terms = self.plans.get(index)?.aliases.iter().flat_map(|(_, terms)| terms);
        let mut names = terms.map(|term| &*self.names.as_slice()[term.exact.index]);
        let there = suggest::sample_names(page);
        let first = names.clone().next().unwrap_or_default();
        let stem = |name: &str| name.strip_suffix("_total").unwrap_or(name).to_owned();
        if let Some(name) = names.find(|name| there.iter().any(|there| stem(there) == stem(name))) {
            return Some(format!("{name} is there, but not as one number of 0 or more"));
        }
        let nearest = suggest::nearest(first, there.iter().copied(), 3);
        Some(if nearest.is_empty() {
            format!("the page has no {first}, and no sample at all")
        } else {
            format!("the page has no {first}; nearest are {}", nearest.join(", "))
        })
    }
}

impl Plan {
    fn new(metric: &Metric, names: &Names) -> Self {
        let aliases = metric.aliases.iter().map(|alias| {
            let terms = alias.add.iter().filter_map(|series| Term::new(series, names)).collect();
            (alias.series_type, terms)
        });
        Self { aggregation: metric.aggregation, signed: metric.signed, aliases: aliases.collect() }
    }

    fn read(&self, found: &[Series]) -> Option<Reading> {
        self.aliases.iter().enumerate().find_map(|(alias, (series_type, terms))| {
            let located: Option<Vec<_>> = terms.iter().map(|term| term.locate(*series_type, found)).collect();
            Some(self.sample(&located?).map(|sample| Reading { sample, alias }))
        })?
    }

    /// The sum over the series of an alias. They share one type: the alias has one, or a single series.
    fn sample(&self, located: &[(&Series, bool)]) -> Option<Sample> {
        let (_, counter) = *located.first()?;
        let signed = self.signed && !counter;
        let sum = located
            .iter()
            .try_fold(0.0, |sum, (series, _)| Some(sum + series.value(self.aggregation, signed)?))?;
        // Finite values may add up to infinity.
        sum.is_finite().then_some(if counter { Sample::Counter(sum) } else { Sample::Gauge(sum) })
    }
}

impl Term {
    fn new(series: &str, names: &Names) -> Option<Self> {
        let other = other_counter_name(series);
        let (index, other_index) = (names.index(series)?, names.index(&other)?);
        let declared = if series.ends_with("_total") { other_index } else { index };
        Some(Self {
            exact: Name { index, declared },
            other: Name { index: other_index, declared },
            histogram: counted_stem(series).and_then(|stem| names.index(stem)),
        })
    }

    /// The series on the page, and whether it is a counter.
    fn locate<'a>(&self, series_type: SeriesType, found: &'a [Series]) -> Option<(&'a Series, bool)> {
        let declared = |name: Name| found[name.index].declared.or(found[name.declared].declared);
        let at = |name: Name| Some(&found[name.index]).filter(|series| series.count > 0);
        let as_counter = || Some((at(self.other)?, true));
        match series_type {
            SeriesType::Histogram => None,
            SeriesType::Gauge => at(self.exact).map(|series| (series, false)),
            SeriesType::Counter => at(self.exact).map(|series| (series, true)).or_else(|| {
                let plausible =
                    matches!(declared(self.other), None | Some(MetricType::Counter | MetricType::Unknown));
                if plausible { as_counter() } else { None }
            }),
            SeriesType::AsDeclared => match (at(self.exact), declared(self.exact)) {
                // The bare name of a summary has its quantiles, which are no load.
                (Some(_), Some(MetricType::Summary)) => None,
                (Some(series), Some(MetricType::Counter)) => Some((series, true)),
                (Some(series), _) => Some((series, self.is_part_of_histogram(found))),
                (None, _) if declared(self.other) == Some(MetricType::Counter) => as_counter(),
                (None, _) => None,
            },
        }
    }

    fn is_part_of_histogram(&self, found: &[Series]) -> bool {
        let stem = self.histogram.and_then(|stem| found[stem].declared);
        matches!(stem, Some(MetricType::Histogram | MetricType::Summary))
    }
}

/// The name of the histogram or summary whose count or sum `name` would be.
fn counted_stem(name: &str) -> Option<&str> {
    name.strip_suffix("_count").or_else(|| name.strip_suffix("_sum"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Catalogue;

    fn read(names: &[&str], page: &str, format: Format) -> Result<Vec<Option<Reading>>, PageError> {
        let metrics: Vec<_> = names.iter().map(|name| Catalogue::builtin().resolve(name).unwrap()).collect();
        let mut out = vec![Some(Reading { sample: Sample::Gauge(99.0), alias: 9 })];
        let outcome = Wanted::new(&metrics).read(page.as_bytes(), format, &mut out);
        assert_eq!(out.len(), names.len());
        assert!(outcome.is_ok() || out.iter().all(Option::is_none), "an error leaves no readings");
        outcome.map(|()| out)
    }

    fn check(name: &str, page: &str, expected: Option<Sample>) {
        let got = read(&[name], page, Format::Text).unwrap()[0].map(|reading| reading.sample);
        assert_eq!(got, expected, "{name} on {page:?}");
        let openmetrics = format!("{page}# EOF\n");
        let got = read(&[name], &openmetrics, Format::OpenMetrics).unwrap()[0].map(|reading| reading.sample);
        assert_eq!(got, expected, "{name} on {openmetrics:?}");
    }

    use Sample::{Counter, Gauge};

    #[test]
    fn series_are_aggregated() {
        let page = "vllm:num_requests_running{engine=\"0\"} 5\nvllm:num_requests_running{engine=\"1\"} 8\n";
        check("running", page, Some(Gauge(13.0)));
        let page =
            "vllm:kv_cache_usage_perc{engine=\"0\"} 0.25\nvllm:kv_cache_usage_perc{engine=\"1\"} 0.75\n";
        check("kv_util", page, Some(Gauge(0.5)));
        let max =
            Metric { aggregation: Aggregation::Max, ..Catalogue::builtin().resolve("kv_util").unwrap() };
        let mut out = Vec::new();
        Wanted::new(&[max]).read(page.as_bytes(), Format::Text, &mut out).unwrap();
        assert_eq!(out[0].unwrap().sample, Gauge(0.75));
    }

    #[test]
    fn one_unusable_series_takes_the_reading_with_it() {
        for bad in ["NaN", "+Inf", "-Inf", "-1"] {
            check(
                "running",
                &format!("vllm:num_requests_running{{e=\"0\"}} 5\nvllm:num_requests_running {bad}\n"),
                None,
            );
            check("my_count", &format!("# TYPE my_count counter\nmy_count {bad}\n"), None);
        }
        check("my_level", "my_level -1\n", Some(Gauge(-1.0)));
        check("my_level", "my_level NaN\n", None);
        check("my_level", "my_level{a=\"1\"} 1e308\nmy_level{a=\"2\"} 1e308\n", None);
    }

    #[test]
    fn half_a_sum_is_no_reading() {
        check("inflight", "vllm:num_requests_running 5\n", None);
        check("inflight", "vllm:num_requests_running 5\nvllm:num_requests_waiting 0\n", Some(Gauge(5.0)));
    }

    #[test]
    fn the_first_alias_on_the_page_decides() {
        let both = "vllm:gpu_cache_usage_perc 0.5\nvllm:kv_cache_usage_perc 0.25\n";
        let old = "vllm:gpu_cache_usage_perc 0.5\n";
        let alias =
            |page: &str| read(&["gpu_cache_usage_perc"], page, Format::Text).unwrap()[0].unwrap().alias;
        assert_eq!((alias(both), alias(old)), (0, 1));
        check("kv_util", both, Some(Gauge(0.25)));
        check("kv_util", "vllm:gpu_cache_usage_perc 0.5\nvllm:kv_cache_usage_perc NaN\n", None);
        check("vllm:gpu_cache_usage_perc", both, Some(Gauge(0.5)));
        let counter = "# TYPE vllm:prompt_tokens counter\nvllm:prompt_tokens_total 40\n";
        check("avg_prompt_throughput_toks_per_s", counter, Some(Counter(40.0)));
        let gauge = format!(
            "{counter}# TYPE vllm:avg_prompt_throughput_toks_per_s gauge\nvllm:avg_prompt_throughput_toks_per_s 20\n"
        );
        check("avg_prompt_throughput_toks_per_s", &gauge, Some(Gauge(20.0)));
    }

    #[test]
    fn counters_are_found_with_and_without_total() {
        check("vllm:prompt_tokens", "vllm:prompt_tokens_total 4\n", Some(Counter(4.0)));
        check("vllm:prompt_tokens_total", "vllm:prompt_tokens 4\n", Some(Counter(4.0)));
        check(
            "request_rate",
            "# TYPE vllm:request_success counter\nvllm:request_success_total{r=\"a\"} 4\nvllm:request_success_total{r=\"b\"} 5\nvllm:request_success_created{r=\"b\"} 1.7e9\n",
            Some(Counter(9.0)),
        );
        check("vllm:prompt_tokens_total", "# TYPE vllm:prompt_tokens gauge\nvllm:prompt_tokens 4\n", None);
        check("my", "# TYPE my counter\nmy_total 4\n", Some(Counter(4.0)));
        check("my_total", "# TYPE my counter\nmy_total 4\n", Some(Counter(4.0)));
        check("my_total", "# TYPE my_total counter\nmy_total 4\n", Some(Counter(4.0)));
        check("my_total", "# TYPE my counter\nmy 4\n", Some(Counter(4.0)));
        check("my", "# TYPE my gauge\nmy 3\n# TYPE my_total counter\nmy_total 4\n", Some(Gauge(3.0)));
        check("my", "my_total 4\n", None);
    }

    #[test]
    fn the_page_says_what_an_unknown_name_is() {
        check("my", "my 4\n", Some(Gauge(4.0)));
        check("my", "my 4\n# TYPE my counter\n", Some(Counter(4.0)));
        check("my", "# TYPE my summary\nmy{quantile=\"0.5\"} 4\n", None);
        check("my_count", "# TYPE my histogram\nmy_bucket{le=\"+Inf\"} 4\nmy_count 4\n", Some(Counter(4.0)));
        check("my_sum", "# TYPE my summary\nmy_sum 4\n", Some(Counter(4.0)));
        check("my", "# TYPE my histogram\nmy_bucket{le=\"+Inf\"} 4\nmy_count 4\n", None);
        check(
            "my.queue",
            "# TYPE \"my.queue\" gauge\n{\"my.queue\",a=\"b\"} 4\n{\"other\"} 5\n",
            Some(Gauge(4.0)),
        );
    }

    #[test]
    fn a_page_that_is_none_is_an_error_or_silence_but_never_a_value() {
        let names = ["running", "inflight", "my_queue"];
        let error = |page: &str, format| read(&names, page, format).unwrap_err();
        for page in
            ["<html><body>404</body></html>\n", "{\"detail\":\"Not Found\"}\n", "Not Found\n", "\u{0}\u{1}\n"]
        {
            assert!(matches!(error(page, Format::Text), PageError::Malformed(_)), "{page:?}");
            assert!(matches!(error(page, Format::OpenMetrics), PageError::Cut { .. }), "{page:?}");
        }
        assert_eq!(read(&names, "", Format::Text).unwrap(), [None; 3]);
        assert_eq!(read(&names, "other 5\n", Format::Text).unwrap(), [None; 3]);
        let error = error("vllm:num_requests_running 5\r\n", Format::Text).to_string();
        assert!(error.contains("line 1") && error.contains("carriage return"), "{error}");
    }

    #[test]
    fn a_page_without_the_metric_says_what_it_has() {
        let check = |name: &str, page: &str, expected: &str| {
            let wanted = Wanted::new(&[Catalogue::builtin().resolve(name).unwrap()]);
            assert_eq!(wanted.missing(page.as_bytes(), 0).unwrap(), expected);
        };
        check("my_queue", "", "the page has no my_queue, and no sample at all");
        check("my_queue", "up 1\nmy_queues 2\n", "the page has no my_queue; nearest are my_queues, up");
        check("my_queue", "my_queue NaN\n", "my_queue is there, but not as one number of 0 or more");
        check(
            "my_queue_total",
            "my_queue -1\n",
            "my_queue_total is there, but not as one number of 0 or more",
        );
    }

    #[test]
    fn a_cut_page_has_no_values() {
        let page =
            "vllm:num_requests_running{engine=\"0\"} 12\nvllm:num_requests_running{engine=\"1\"} 345\n";
        let first_line = page.find('\n').unwrap() + 1;
        for cut in (1..page.len()).filter(|cut| *cut != first_line) {
            let outcome = read(&["running"], &page[..cut], Format::Text);
            assert!(matches!(outcome, Err(PageError::Cut { .. })), "{:?}", &page[..cut]);
        }
        let page = format!("{page}# EOF\n");
        for cut in 0..page.len() - 1 {
            let outcome = read(&["running"], &page[..cut], Format::OpenMetrics);
            assert!(matches!(outcome, Err(PageError::Cut { .. })), "{:?}", &page[..cut]);
        }
    }
}

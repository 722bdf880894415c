//! The readings of one page, from poll to poll, made into values.

use std::time::Duration;

use tokio::time::Instant;
use windlass_metrics::{Histogram, HistogramWindow, Meter, Reading, Readings, Sample, Wanted};

/// Histograms and ratios of counters are summed up over so much of the past, where their name does not say otherwise
/// (`p95_ttft_5m`). Shorter, a quantile is the luck of a few requests: one request a second and pod gives 30 observations
/// of a pod. Longer, it would lag: it comes on top of the policy's own windows, and is half as long as the longest of them.
pub const WINDOW: Duration = Duration::from_secs(30);

/// What a page told of one metric.
#[derive(Debug, Clone, PartialEq)]
pub enum Observed {
    /// A number in the metric's unit; counters as their rate per second, ratios of counters over [`WINDOW`].
    Number(f64),
    /// What was observed within [`WINDOW`], at least once, in the metric's unit.
    Events(Histogram),
    /// Nothing happened within it, of what would have a value.
    NoEvents,
}

/// The value of one metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    /// What was told.
    pub observed: Observed,
    /// Where what is new in it begins: for a rate when the page that it counts from was asked for, for a ratio and a histogram
    /// when the page before was, else when this one was.
    pub since: Instant,
}

impl Value {
    /// The number, if it is one.
    pub fn number(&self) -> Option<f64> {
        match self.observed {
            Observed::Number(number) => Some(number),
            Observed::Events(_) | Observed::NoEvents => None,
        }
    }
}

/// Each metric of a page from reading to reading.
pub(crate) struct Meters {
    meters: Vec<MeterOfAny>,
    first: Instant,
}

/// One metric, whatever its type turns out to be.
struct MeterOfAny {
    meter: Meter,
    window: HistogramWindow,
    /// When the page of the last reading was asked for.
    counted: Instant,
}

impl Meters {
    /// Of all that is wanted of a page.
    pub(crate) fn new(wanted: &Wanted) -> Self {
        let first = Instant::now();
        let meter = |window: &Option<Duration>| MeterOfAny {
            meter: Meter::default(),
            window: HistogramWindow::new(window.unwrap_or(WINDOW)),
            counted: first,
        };
        Self { meters: wanted.windows().iter().map(meter).collect(), first }
    }

    /// One value per metric, from a page that was asked for then.
    pub(crate) fn take(&mut self, readings: &Readings, asked: Instant) -> Vec<Option<Value>> {
        let pairs = readings.iter().zip(&mut self.meters);
        pairs
            .map(|(reading, meter)| {
                let reading = reading.as_ref()?;
                let before = std::mem::replace(&mut meter.counted, asked);
                let observed = meter.take(reading, asked - self.first)?;
                let since = match reading.sample {
                    Sample::Gauge(_) => asked,
                    Sample::Counter(_) => meter.meter.since().map_or(asked, |since| self.first + since),
                    Sample::Histogram(_) | Sample::Ratio { .. } => before,
                };
                Some(Value { observed, since })
            })
            .collect()
    }
}

impl MeterOfAny {
    fn take(&mut self, reading: &Reading, at: Duration) -> Option<Observed> {
        match &reading.sample {
            Sample::Gauge(_) | Sample::Counter(_) => self.meter.push(reading, at).map(Observed::Number),
            Sample::Histogram(histogram) => {
                let observed = self.observe(histogram, reading.alias, at)?;
                let any = observed.count() > 0.0;
                Some(if any { Observed::Events(observed) } else { Observed::NoEvents })
            }
            Sample::Ratio { part, whole } => {
                let observed = self.observe(&Histogram::of_ratio(*part, *whole), reading.alias, at)?;
                Some(observed.mean().map_or(Observed::NoEvents, Observed::Number))
            }
        }
    }

    fn observe(&mut self, histogram: &Histogram, alias: usize, at: Duration) -> Option<Histogram> {
        self.window.push(at, alias, histogram);
        self.window.observed(at)
    }
}

#[cfg(test)]
mod tests {
    use windlass_metrics::{Catalogue, Format};

    use super::*;

    /// When a page came, the page, and what was made of its only metric: a quantile, or something else.
    type Step<'a> = (u64, &'a str, Option<Result<f64, Observed>>);

    fn check(name: &str, q: f64, pages: &[Step<'_>]) {
        let wanted = Wanted::new(&[Catalogue::builtin().resolve(name).unwrap()]);
        let mut meters = Meters::new(&wanted);
        let first = meters.first;
        let mut readings = Readings::default();
        for (second, page, expected) in pages {
            wanted.read(page.as_bytes(), Format::Text, &mut readings).unwrap();
            let at = first + Duration::from_secs(*second);
            let value = meters.take(&readings, at).remove(0);
            let found = value.map(|value| match value.observed {
                Observed::Events(histogram) => Ok(histogram.quantile(q).unwrap()),
                other => Err(other),
            });
            assert_eq!(&found, expected, "{name} at {second} s:\n{page}");
        }
    }

    fn ttft(fast: u32, all: u32) -> String {
        let name = "vllm:time_to_first_token_seconds";
        format!(
            "{name}_bucket{{le=\"1\"}} {fast}\n{name}_bucket{{le=\"2\"}} {all}\n{name}_bucket{{le=\"+Inf\"}} {all}\n"
        )
    }

    #[test]
    fn a_histogram_is_what_was_observed_lately() {
        let nothing = || Some(Err(Observed::NoEvents));
        check(
            "ttft",
            0.5,
            &[
                (0, &ttft(500, 900), None),
                (1, &ttft(500, 900), nothing()),
                (2, &ttft(500, 910), Some(Ok(1.5))),
                (31, &ttft(500, 910), Some(Ok(1.5))),
                (40, &ttft(500, 910), nothing()),
                // A restart: what was counted before its first page is lost, the rest of the window stays.
                (41, &ttft(0, 10), nothing()),
                (42, &ttft(10, 20), Some(Ok(0.5))),
            ],
        );
        let longer = [(0, ttft(0, 0)), (1, ttft(0, 10)), (200, ttft(0, 10))];
        check(
            "p95_ttft_5m",
            0.5,
            &[(0, &longer[0].1, None), (1, &longer[1].1, Some(Ok(1.5))), (200, &longer[2].1, Some(Ok(1.5)))],
        );
    }

    #[test]
    fn a_ratio_without_anything_counted_is_none_and_not_0() {
        let page = |seconds: f64, tokens: u32| {
            format!(
                "llamacpp:tokens_predicted_seconds_total {seconds}\nllamacpp:tokens_predicted_total {tokens}\n"
            )
        };
        let number = |value| Some(Err(Observed::Number(value)));
        check(
            "tpot",
            0.5,
            &[
                (0, &page(20.0, 1000), None),
                (1, &page(20.0, 1000), Some(Err(Observed::NoEvents))),
                (2, &page(20.5, 1010), number(0.05)),
                (20, &page(20.5, 1010), number(0.05)),
                (40, &page(20.5, 1010), Some(Err(Observed::NoEvents))),
            ],
        );
    }
}

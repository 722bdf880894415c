//! Counters as rates per second.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::reading::{Reading, Sample};

/// The rate of one counter of one pod, from reading to reading. Knows no clock: the caller gives monotonic instants.
///
/// ```
/// use std::time::Duration;
/// use windlass_metrics::CounterRate;
///
/// let mut tokens = CounterRate::default();
/// assert_eq!(tokens.push(1000.0, Duration::from_secs(10)), None);
/// assert_eq!(tokens.push(1300.0, Duration::from_secs(12)), Some(150.0));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct CounterRate {
    last: Option<(f64, Duration)>,
}

impl CounterRate {
    /// Takes a reading of the counter, received at `at`, and gives the mean rate per second since the one before.
    ///
    /// `None` while that is not known: at the first reading; when the counter fell, because then it started anew and
    /// nobody saw how far it had come (counting goes on from here); when time did not go on (the reading is passed
    /// over); when the value is no count (NaN, infinite, negative: passed over as well); when the rate is beyond all
    /// numbers.
    pub fn push(&mut self, value: f64, at: Duration) -> Option<f64> {
        if !(value.is_finite() && value >= 0.0) {
            return None;
        }
        let Some((last_value, last_at)) = self.last else {
            self.last = Some((value, at));
            return None;
        };
        let elapsed = at.checked_sub(last_at).filter(|elapsed| !elapsed.is_zero())?;
        self.last = Some((value, at));
        let rate = (value - last_value) / elapsed.as_secs_f64();
        Some(rate).filter(|rate| value >= last_value && rate.is_finite())
    }
}

/// The ratio of two counters' rates, from reading to reading: what part of what was counted meanwhile was of one sort.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct CounterRatio {
    last: Option<(f64, f64)>,
}

impl CounterRatio {
    /// Takes a reading of both and gives the ratio of what was counted since the one before.
    ///
    /// `None` while that is not known: at the first reading; when either fell; when nothing was counted below; when a
    /// value is no count (the reading is passed over); when the ratio is beyond all numbers.
    pub fn push(&mut self, part: f64, whole: f64) -> Option<f64> {
        if !(part.is_finite() && whole.is_finite() && part >= 0.0 && whole >= 0.0) {
            return None;
        }
        let (last_part, last_whole) = self.last.replace((part, whole))?;
        let ratio = (part - last_part) / (whole - last_whole);
        Some(ratio).filter(|ratio| part >= last_part && whole > last_whole && ratio.is_finite())
    }
}

/// One metric of one pod, from reading to reading, as a number in the metric's unit.
///
/// A reading from another alias (an engine that was upgraded in place) begins anew: its counters are others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Meter {
    alias: Option<usize>,
    rate: CounterRate,
    ratio: CounterRatio,
}

impl Meter {
    /// Takes a reading, received at `at`. `None` while the number is not known, and for histograms, which are kept in a
    /// [`HistogramWindow`](crate::HistogramWindow), because those of several pods are merged before there is a number.
    pub fn push(&mut self, reading: &Reading, at: Duration) -> Option<f64> {
        if self.alias.replace(reading.alias) != Some(reading.alias) {
            (self.rate, self.ratio) = Default::default();
        }
        match reading.sample {
            Sample::Gauge(value) => Some(value),
            Sample::Counter(count) => self.rate.push(count, at),
            Sample::Ratio { part, whole } => self.ratio.push(part, whole),
            Sample::Histogram(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (value, milliseconds, rate expected)
    fn check(readings: &[(f64, u64, Option<f64>)]) {
        let mut rate = CounterRate::default();
        for &(value, at, expected) in readings {
            assert_eq!(rate.push(value, Duration::from_millis(at)), expected, "{value} at {at} ms");
        }
    }

    #[test]
    fn steady() {
        check(&[(5.0, 0, None), (5.0, 1000, Some(0.0)), (8.0, 1500, Some(6.0)), (9.0, 3500, Some(0.5))]);
    }

    #[test]
    fn a_reset_is_unknown_for_one_step() {
        check(&[(100.0, 0, None), (120.0, 1000, Some(20.0)), (3.0, 2000, None), (13.0, 3000, Some(10.0))]);
    }

    #[test]
    fn time_that_stands_still_or_goes_back_gives_nothing_and_spoils_nothing() {
        check(&[(0.0, 5000, None), (50.0, 5000, None), (60.0, 4000, None), (10.0, 6000, Some(10.0))]);
    }

    #[test]
    fn what_is_no_count_is_passed_over() {
        check(&[
            (f64::NAN, 0, None),
            (1.0, 1000, None),
            (f64::INFINITY, 2000, None),
            (-1.0, 3000, None),
            (7.0, 4000, Some(2.0)),
        ]);
    }

    #[test]
    fn a_rate_beyond_all_numbers_is_not_known() {
        check(&[(0.0, 0, None), (1.1e308, 100, None), (1.1e308, 1100, Some(0.0))]);
        let mut ratio = CounterRatio::default();
        let readings = [(0.0, 0.0, None), (1e308, 1e-10, None), (1e308, 1.0, Some(0.0))];
        for (part, whole, expected) in readings {
            assert_eq!(ratio.push(part, whole), expected, "{part} of {whole}");
        }
    }

    #[test]
    fn a_ratio_is_of_what_was_counted_meanwhile() {
        let mut ratio = CounterRatio::default();
        for (part, whole, expected) in [
            (90.0, 100.0, None),
            (95.0, 110.0, Some(0.5)),
            (95.0, 110.0, None),
            (96.0, 110.0, None),
            (96.0, 120.0, Some(0.0)),
            (f64::NAN, 130.0, None),
            (99.0, 130.0, Some(0.3)),
            (1.0, 140.0, None),
            (2.0, 1.0, None),
            (3.0, 5.0, Some(0.25)),
        ] {
            assert_eq!(ratio.push(part, whole), expected, "{part} of {whole}");
        }
    }

    #[test]
    fn another_alias_begins_anew() {
        let mut meter = Meter::default();
        let mut push = |sample: Sample, alias: usize, second: u64| {
            meter.push(&Reading { sample, alias }, Duration::from_secs(second))
        };
        assert_eq!(push(Sample::Gauge(5.0), 0, 0), Some(5.0));
        assert_eq!(push(Sample::Counter(100.0), 1, 1), None);
        assert_eq!(push(Sample::Counter(110.0), 1, 2), Some(10.0));
        assert_eq!(push(Sample::Counter(500.0), 2, 3), None, "the count under the new name is another one");
        assert_eq!(push(Sample::Counter(520.0), 2, 4), Some(20.0));
        assert_eq!(push(Sample::Gauge(7.0), 0, 5), Some(7.0));
        assert_eq!(push(Sample::Counter(521.0), 2, 6), None);
    }
}

//! Counters as rates per second.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::reading::{Reading, Sample};

/// A rate is over at least this long, however often the counter is read: what ten readings a second count from one to the
/// next is noise, and a rate that followed the pace of reading would make decisions follow it. A second, less what one of
/// two readings that are a second apart may come late.
pub const RATE_SPAN: Duration = Duration::from_millis(900);

/// Readings kept: those of [`RATE_SPAN`] at ten a second, the one before them, and one more. Of a counter that is read
/// more often yet, the newest replaces the one before it.
const KEPT: usize = 12;

/// One reading of a counter, or of two that belong together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Taken {
    counts: [f64; 2],
    at: Duration,
}

/// The latest readings, oldest first: at most one of them older than [`RATE_SPAN`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Latest {
    kept: [Taken; KEPT],
    len: usize,
}

impl Latest {
    /// Takes a reading and gives the newest one that is at least [`RATE_SPAN`] older; `None` while there is none. What is
    /// no count, and what is not later than the one before, is passed over; after a fall there is nothing to compare with.
    fn push(&mut self, taken: Taken) -> Option<Taken> {
        if !taken.counts.iter().all(|count| count.is_finite() && *count >= 0.0) {
            return None;
        }
        if let Some(newest) = self.kept[..self.len].last() {
            if taken.at <= newest.at {
                return None;
            }
            if taken.counts.iter().zip(newest.counts).any(|(now, before)| *now < before) {
                self.len = 0;
            }
        }
        let long_ago = |kept: &Taken| taken.at.saturating_sub(kept.at) >= RATE_SPAN;
        let since = self.kept[..self.len].iter().rposition(long_ago);
        if let Some(since) = since {
            self.kept.copy_within(since..self.len, 0);
            self.len -= since;
        }
        self.len = (self.len + 1).min(KEPT);
        self.kept[self.len - 1] = taken;
        since.map(|_| self.kept[0])
    }

    /// The reading that the newest is compared with.
    fn since(&self) -> Option<Duration> {
        let kept = &self.kept[..self.len];
        let (oldest, newest) = (kept.first()?, kept.last()?);
        (newest.at.saturating_sub(oldest.at) >= RATE_SPAN).then_some(oldest.at)
    }

    fn rate(&mut self, count: f64, at: Duration) -> Option<f64> {
        let before = self.push(Taken { counts: [count, 0.0], at })?;
        let rate = (count - before.counts[0]) / at.saturating_sub(before.at).as_secs_f64();
        Some(rate).filter(|rate| rate.is_finite())
    }

    /// What part of what was counted over at least [`RATE_SPAN`] was of one sort; `None` as with a rate, and when nothing was
    /// counted below.
    fn ratio(&mut self, part: f64, whole: f64, at: Duration) -> Option<f64> {
        let before = self.push(Taken { counts: [part, whole], at })?;
        let counted = whole - before.counts[1];
        let ratio = (part - before.counts[0]) / counted;
        Some(ratio).filter(|ratio| counted > 0.0 && ratio.is_finite())
    }
}

/// The rate of one counter of one pod, over at least [`RATE_SPAN`]. Knows no clock: the caller gives monotonic instants.
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
    latest: Latest,
}

impl CounterRate {
    /// Takes a reading of the counter, taken at `at`, and gives the mean rate per second since the newest one that is at
    /// least [`RATE_SPAN`] older.
    ///
    /// `None` while that is not known: until there are two readings so far apart; when the counter fell, because then it
    /// started anew and nobody saw how far it had come (counting goes on from here); when time did not go on (the reading
    /// is passed over); when the value is no count (NaN, infinite, negative: passed over as well); when the rate is beyond
    /// all numbers.
    pub fn push(&mut self, value: f64, at: Duration) -> Option<f64> {
        self.latest.rate(value, at)
    }
}

/// One metric of one pod, from reading to reading, as a number in the metric's unit.
///
/// A reading from another alias (an engine that was upgraded in place) begins anew: its counters are others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Meter {
    alias: Option<usize>,
    latest: Latest,
}

impl Meter {
    /// Takes a reading, taken at `at`. `None` while the number is not known, and for histograms, which are kept in a
    /// [`HistogramWindow`](crate::HistogramWindow), because those of several pods are merged before there is a number.
    pub fn push(&mut self, reading: &Reading, at: Duration) -> Option<f64> {
        if self.alias.replace(reading.alias) != Some(reading.alias) {
            self.latest = Latest::default();
        }
        match reading.sample {
            Sample::Gauge(value) => Some(value),
            Sample::Counter(count) => self.latest.rate(count, at),
            Sample::Ratio { part, whole } => self.latest.ratio(part, whole, at),
            Sample::Histogram(_) => None,
        }
    }

    /// Where what the last number tells of begins, if it is one of counters; a gauge's is of its instant.
    pub fn since(&self) -> Option<Duration> {
        self.latest.since()
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
        check(&[(5.0, 0, None), (5.0, 1000, Some(0.0)), (8.0, 1500, Some(2.0)), (9.0, 3500, Some(0.5))]);
    }

    /// A counter that grows by 10 per second, from 10 s on by 40: read at any pace, its rate is over about a second.
    #[test]
    fn whatever_the_pace_a_rate_is_over_a_second() {
        let count = |millis: u64| 0.01 * millis as f64 + 0.03 * millis.saturating_sub(10_000) as f64;
        for pace in [10, 40, 100, 130, 250, 450, 900, 1000] {
            let mut rate = CounterRate::default();
            for millis in (0..20_000_u64).step_by(pace) {
                let rate = rate.push(count(millis), Duration::from_millis(millis));
                assert_eq!(rate.is_some(), millis >= 900, "{pace}: {millis}");
                let Some(rate) = rate else { continue };
                let (calm, moved) = (millis <= 10_000, millis >= 12_000);
                assert!(!calm || (rate - 10.0).abs() < 1e-6, "{pace}: {rate} at {millis} ms");
                assert!(!moved || (rate - 40.0).abs() < 1e-6, "{pace}: {rate} at {millis} ms");
            }
        }
    }

    #[test]
    fn after_a_reset_a_rate_is_unknown_for_a_second() {
        let fast = (0..10).map(|i| (f64::from(i), u64::from(i as u32) * 100, (i == 9).then_some(10.0)));
        let fallen =
            (0..10).map(|i| (f64::from(i) * 2.0, 1000 + u64::from(i as u32) * 100, (i == 9).then_some(20.0)));
        check(&fast.chain(fallen).collect::<Vec<_>>());
    }

    #[test]
    fn a_rate_says_since_when() {
        let mut meter = Meter::default();
        for (millis, since) in
            [(0, None), (500, None), (1000, Some(0)), (1450, Some(500)), (3000, Some(1450))]
        {
            let reading = Reading { sample: Sample::Counter(millis as f64), alias: 0 };
            let rate = meter.push(&reading, Duration::from_millis(millis));
            assert_eq!(meter.since(), since.map(Duration::from_millis), "{millis}");
            assert_eq!(rate.is_some(), since.is_some(), "{millis}");
        }
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
        check(&[(0.0, 0, None), (1.7e308, 900, None), (1.7e308, 1900, Some(0.0))]);
        let mut ratio = Latest::default();
        let readings = [(0.0, 0.0, None), (1e308, 1e-10, None), (1e308, 1.0, Some(0.0))];
        for (at, (part, whole, expected)) in (1..).zip(readings) {
            assert_eq!(ratio.ratio(part, whole, Duration::from_secs(at)), expected, "{part} of {whole}");
        }
    }

    #[test]
    fn a_ratio_is_of_what_was_counted_meanwhile() {
        let mut ratio = Latest::default();
        for (at, (part, whole, expected)) in (1..).zip([
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
        ]) {
            assert_eq!(ratio.ratio(part, whole, Duration::from_secs(at)), expected, "{part} of {whole}");
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

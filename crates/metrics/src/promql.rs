//! `rate`, `increase` and `resets` as a Prometheus query has them, extrapolated to the borders of the range. Decisions use
//! plain differences instead ([`crate::CounterRate`], [`crate::histogram`]); this is for figures that are compared with a
//! dashboard.

use std::time::Duration;

/// A sample: when, since an origin of the caller's; and the value.
pub type Point = (Duration, f64);

/// To a border that is nearer than this many mean intervals a counter is extrapolated in full, else by half an interval.
const NEAR: f64 = 1.1;

/// The increase of a counter within `(at - window, at]`, resets mended, extrapolated to the borders, but not below zero.
/// `None` with fewer than two samples in it. `samples` are in the order of their times. Equal to Prometheus on
/// `prom_rate.json`.
pub fn increase(samples: &[Point], at: Duration, window: Duration) -> Option<f64> {
    let range = within(samples, at, window);
    let [(first_at, first), .., (last_at, last)] = range else { return None };
    let fallen = |pair: &[Point]| if pair[1].1 < pair[0].1 { pair[0].1 } else { 0.0 };
    let seen = last - first + range.windows(2).map(fallen).sum::<f64>();
    let span = last_at.saturating_sub(*first_at).as_secs_f64();
    let interval = span / (range.len() - 1) as f64;
    let extent = |gap: f64| if gap >= interval * NEAR { interval / 2.0 } else { gap };
    let mut before = extent((*first_at + window).saturating_sub(at).as_secs_f64());
    if seen > 0.0 && *first >= 0.0 {
        before = before.min(span * (first / seen));
    }
    let after = extent(at.saturating_sub(*last_at).as_secs_f64());
    Some(seen * ((span + before + after) / span))
}

/// The mean rate per second; see [`increase`].
pub fn rate(samples: &[Point], at: Duration, window: Duration) -> Option<f64> {
    Some(increase(samples, at, window)? / window.as_secs_f64())
}

/// How often a counter fell within `(at - window, at]`; `None` without samples.
pub fn resets(samples: &[Point], at: Duration, window: Duration) -> Option<usize> {
    let range = within(samples, at, window);
    let fell = |pair: &&[Point]| pair[1].1 < pair[0].1;
    (!range.is_empty()).then(|| range.windows(2).filter(fell).count())
}

fn within(samples: &[Point], at: Duration, window: Duration) -> &[Point] {
    let from = samples.partition_point(|(time, _)| *time + window <= at);
    let to = samples.partition_point(|(time, _)| *time <= at);
    &samples[from..to.max(from)]
}

//! Counters as rates per second.

use std::time::Duration;

use serde::{Deserialize, Serialize};

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
    /// over); when the value is no count (NaN, infinite, negative: passed over as well).
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
        (value >= last_value).then(|| (value - last_value) / elapsed.as_secs_f64())
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
}

//! Windows: means over observed slots, and extremes over a sliding span. Both have a fixed size.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Instant, significant};

/// The most slots a window keeps; wide windows have wider slots.
const MAX_SLOTS: u64 = 64;

/// What one value stands for at most without another one soon after, in seconds.
const STANDS: f64 = 1.0;
/// Values so far apart (seconds) are a second apart: one of two may have come early or late.
const A_SECOND: RangeInclusive<f64> = 0.9..=1.1;
/// A value stands until the next one if that comes within so many seconds: the slowest pace of reading pods
/// ([`crate::attention::SLOWEST`]) and some. Else something was lost meanwhile, or it is read slowly by intention.
const CARRIED: f64 = 2.5;

/// Mean over what was observed of a window, in slots.
///
/// A value stands for the time since the one before it, for a second at most; what is left of up to 2.5 s is the value
/// before's. So a mean is one over time: values that come ten in a second weigh as much as one in a second or one in two
/// seconds, and a change of pace changes nothing. What is read every second weighs the same, a second each. Slots nothing
/// was put into do not count: what is lost never dilutes. A slot is a whole number of seconds (1 s up to windows of
/// 64 s); nothing outlives the window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MeanWindow {
    slot_secs: u64,
    slots: u64,
    values: VecDeque<Slot>,
    last: Option<(Instant, f64)>,
}

/// The values of one slot: their sum, each times the seconds that it stands for, and the sum of these.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Slot(u64, f64, f64);

impl MeanWindow {
    /// A window of `span`, rounded up to whole slots; at least one second.
    pub fn new(span: Duration) -> Self {
        let secs = span.as_secs().max(1) + u64::from(span.subsec_nanos() > 0 && span.as_secs() > 0);
        let slot_secs = secs.div_ceil(MAX_SLOTS);
        let slots = secs.div_ceil(slot_secs);
        Self { slot_secs, slots, values: VecDeque::with_capacity(slots as usize + 1), last: None }
    }

    /// The same observations in a window of another span: what no longer fits is dropped.
    #[must_use]
    pub fn resized(&self, span: Duration) -> Self {
        let mut resized = Self { last: self.last, ..Self::new(span) };
        for &Slot(slot, sum, weight) in &self.values {
            resized.add(slot * self.slot_secs / resized.slot_secs, sum, weight);
        }
        resized
    }

    fn slot(&self, at: Instant) -> u64 {
        at.as_micros() / 1_000_000 / self.slot_secs
    }

    /// Puts in a value. Time goes forward: one older than the newest slot is dropped.
    pub fn record(&mut self, at: Instant, value: f64) {
        let slot = self.slot(at);
        if self.values.back().is_some_and(|Slot(newest, ..)| *newest > slot) {
            return;
        }
        let before = self.last.replace((at, value));
        let elapsed = before.map_or(STANDS, |(before, _)| (at - before).as_secs_f64());
        let elapsed = if A_SECOND.contains(&elapsed) { STANDS } else { elapsed };
        if let Some((_, before)) = before
            && let Some(newest) = self.values.back_mut()
            && elapsed > STANDS
            && elapsed <= CARRIED
        {
            newest.1 += before * (elapsed - STANDS);
            newest.2 += elapsed - STANDS;
        }
        let stands = elapsed.min(STANDS);
        self.add(slot, value * stands, stands);
    }

    fn add(&mut self, slot: u64, sum: f64, weight: f64) {
        match self.values.back_mut() {
            Some(Slot(newest, sums, weights)) if *newest == slot => {
                *sums += sum;
                *weights += weight;
            }
            _ => {
                self.expire(slot);
                self.values.push_back(Slot(slot, sum, weight));
            }
        }
    }

    fn expire(&mut self, newest: u64) {
        while self.values.front().is_some_and(|Slot(slot, ..)| slot + self.slots <= newest) {
            self.values.pop_front();
        }
    }

    /// The mean of the slots inside the window that ends at `now`, to 9 significant digits; `None` when nothing was
    /// observed in it.
    pub fn mean(&self, now: Instant) -> Option<f64> {
        let newest = self.slot(now);
        let inside = self.values.iter().filter(|Slot(slot, ..)| slot + self.slots > newest);
        let (sum, weight) =
            inside.fold((0.0, 0.0), |(sums, weights), Slot(_, sum, weight)| (sums + sum, weights + weight));
        (weight > 0.0).then(|| significant(sum / weight))
    }
}

/// Entries a sliding extreme keeps; a longer monotone run is coarsened on the safe side.
const MAX_ENTRIES: usize = 64;

/// The least or the greatest count seen within a sliding span.
///
/// A monotone queue: an entry is the last instant at which the value was seen. When it is full, its two youngest
/// entries become one that keeps the extreme value for the longer time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SlidingExtreme {
    greatest: bool,
    entries: VecDeque<(Instant, u32)>,
}

impl SlidingExtreme {
    /// Remembers the least value.
    pub fn least() -> Self {
        Self { greatest: false, entries: VecDeque::with_capacity(MAX_ENTRIES) }
    }

    /// Remembers the greatest value.
    pub fn greatest() -> Self {
        Self { greatest: true, entries: VecDeque::with_capacity(MAX_ENTRIES) }
    }

    fn beats(&self, a: u32, b: u32) -> bool {
        if self.greatest { a >= b } else { a <= b }
    }

    /// Notes that `value` holds at `now`.
    pub fn record(&mut self, now: Instant, value: u32) {
        while self.entries.back().is_some_and(|&(_, last)| self.beats(value, last)) {
            self.entries.pop_back();
        }
        if self.entries.len() == MAX_ENTRIES
            && let Some((at, _)) = self.entries.back_mut()
        {
            *at = now;
            return;
        }
        self.entries.push_back((now, value));
    }

    /// The extreme over the values seen at or after `since`, with the last instant it was seen; older ones are
    /// forgotten.
    pub fn over(&mut self, since: Instant) -> Option<(Instant, u32)> {
        while self.entries.front().is_some_and(|&(at, _)| at < since) {
            self.entries.pop_front();
        }
        self.entries.front().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1000)
    }

    /// `records` are (milliseconds, value); the mean at `now_ms` must be `expect`.
    fn check(span_secs: u64, records: &[(u64, f64)], now_ms: u64, expect: Option<f64>) {
        let mut window = MeanWindow::new(Duration::from_secs(span_secs));
        for &(millis, value) in records {
            window.record(at(millis), value);
        }
        assert_eq!(window.mean(at(now_ms)), expect, "{span_secs} s, {records:?} at {now_ms} ms");
    }

    #[test]
    fn means_over_observed_slots() {
        check(60, &[], 0, None);
        check(60, &[(0, 4.0)], 0, Some(4.0));
        check(60, &[(0, 4.0), (950, 6.0)], 999, Some(5.0)); // a second apart, and one came early
        check(60, &[(0, 4.0), (500, 6.0), (1000, 6.0)], 1000, Some(5.0)); // each for its time
        check(60, &[(0, 4.0), (1000, 6.0)], 1000, Some(5.0));
        check(60, &[(0, 4.0), (40_000, 6.0)], 40_000, Some(5.0)); // a hole does not dilute
        check(60, &[(0, 4.0), (40_000, 6.0)], 59_999, Some(5.0));
        check(60, &[(0, 4.0), (40_000, 6.0)], 60_000, Some(6.0)); // nothing outlives the window
        check(60, &[(0, 4.0)], 60_000, None);
        check(10, &[(5000, 4.0), (4000, 9.0)], 5000, Some(4.0)); // time goes forward
        check(300, &[(0, 4.0), (4000, 6.0), (5000, 2.0)], 299_999, Some(4.0)); // 5 s slots
        check(300, &[(0, 4.0), (4000, 6.0), (5000, 2.0)], 300_000, Some(2.0));
    }

    #[test]
    fn a_mean_is_over_time_whatever_the_pace() {
        // 4 for 5 s, then 20, read at this pace; after 10 s half of it was 20.
        for pace in [100, 250, 500, 700, 1000, 1500, 2000] {
            let mut window = MeanWindow::new(Duration::from_secs(10));
            for millis in (0..=10_000_u64).step_by(pace).filter(|millis| *millis < 10_000) {
                window.record(at(millis), if millis < 5000 { 4.0 } else { 20.0 });
            }
            let mean = window.mean(at(9_999)).unwrap();
            // An interval, or the second that the first value stands for.
            let an_interval = 16.0 * pace.max(1000) as f64 / 10_000.0;
            assert!((mean - 12.0).abs() <= an_interval, "{pace}: {mean}");
        }
        // A change of pace weighs nothing double.
        let slow = (0..30).map(|i| (i * 2000, 4.0));
        let fast = (0..90).map(|i| (60_000 + i * 100, 20.0));
        let all: Vec<_> = slow.chain(fast).collect();
        // The oldest 9 s are out, 51 s of 4 and 9 s of 20 are left, and the value at 60 s stands for a second.
        check(60, &all, 68_999, Some(significant((50.0 * 4.0 + 9.9 * 20.0) / 59.9)));
    }

    #[test]
    fn resizing_keeps_what_fits() {
        let mut window = MeanWindow::new(Duration::from_mins(1));
        for second in 0..60 {
            window.record(at(second * 1000), f64::from(second as u32));
        }
        assert_eq!(window.resized(Duration::from_secs(10)).mean(at(59_000)), Some(54.5));
        assert_eq!(window.resized(Duration::from_mins(10)).mean(at(59_000)), Some(29.5)); // 10 s slots
    }

    proptest! {
        #[test]
        fn extremes_equal_a_plain_search(
            values in prop::collection::vec((0..3000_u64, 0..40_u32), 1..200),
            span in 0..20_000_u64,
            greatest: bool,
        ) {
            let mut sliding = if greatest { SlidingExtreme::greatest() } else { SlidingExtreme::least() };
            let mut seen = Vec::new();
            let mut now = 50_000;
            for (pause, value) in values {
                now += pause;
                sliding.record(at(now), value);
                seen.push((now, value));
                let inside = seen.iter().filter(|(t, _)| *t >= now - span).map(|(_, v)| *v);
                let expect = if greatest { inside.max() } else { inside.min() };
                prop_assert_eq!(sliding.over(at(now - span)).map(|(_, v)| v), expect);
            }
        }

        #[test]
        fn a_full_queue_errs_on_the_safe_side(steps in prop::collection::vec(0..2000_u64, 100..400)) {
            // Falling values are the worst case for the greatest: nothing is ever popped from the back.
            let mut sliding = SlidingExtreme::greatest();
            let mut seen = Vec::new();
            let mut now = 300_000;
            for (value, pause) in (0..steps.len() as u32).rev().zip(steps) {
                now += pause;
                sliding.record(at(now), value);
                seen.push((now, value));
                let exact = seen.iter().filter(|(t, _)| *t >= now - 300_000).map(|(_, v)| *v).max();
                prop_assert!(sliding.over(at(now - 300_000)).map(|(_, v)| v) >= exact);
                prop_assert!(sliding.entries.len() <= MAX_ENTRIES);
            }
        }
    }
}

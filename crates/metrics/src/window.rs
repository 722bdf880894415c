//! What a pod's histogram observed within the last seconds.
//!
//! ```
//! use std::time::Duration;
//! use windlass_metrics::{Histogram, HistogramWindow};
//!
//! let page = |fast, all| Histogram::new([(1.0, fast), (f64::INFINITY, all)], None).unwrap();
//! let mut pod = HistogramWindow::new(Duration::from_secs(60));
//! pod.push(Duration::from_secs(0), 0, &page(700.0, 900.0));
//! pod.push(Duration::from_secs(1), 0, &page(703.0, 904.0));
//! let mut fleet = Histogram::default();
//! assert_eq!(pod.add_to(&mut fleet, Duration::from_secs(2)), Some(Duration::from_secs(1)));
//! assert_eq!(fleet.count(), 4.0);
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use crate::histogram::Histogram;

/// A window is kept in so many parts: what was observed leaves it a part at a time.
const PARTS: u32 = 12;

/// The observations of one pod's histogram over a sliding window, as differences from reading to reading. Knows no clock:
/// the caller gives monotonic instants. Memory is bounded: at most 13 parts and the last reading.
///
/// What nobody saw is not known and never 0: what was observed before the first reading, up to a restart (a count fell),
/// or until the buckets or the alias changed (an upgrade; what the window had of the old ones is given up too).
#[derive(Debug, Clone)]
pub struct HistogramWindow {
    window: Duration,
    /// The last reading: when, from which alias.
    last: Option<(Duration, usize)>,
    latest: Histogram,
    parts: VecDeque<Part>,
    /// Buffers to use again.
    spare: Vec<Histogram>,
}

#[derive(Debug, Clone)]
struct Part {
    /// Which part of time, counted from the origin.
    number: u128,
    observed: Histogram,
    /// How much of its time was observed.
    covered: Duration,
}

impl HistogramWindow {
    /// Nothing is known yet. A window of zero is taken as a nanosecond.
    pub fn new(window: Duration) -> Self {
        Self {
            window: window.max(Duration::from_nanos(1)),
            last: None,
            latest: Histogram::default(),
            parts: VecDeque::new(),
            spare: Vec::new(),
        }
    }

    fn part_of(&self, at: Duration) -> u128 {
        at.as_nanos() / (self.window / PARTS).as_nanos().max(1)
    }

    /// Takes a reading from the alias of this index, received at `at`. One that is not later than the last is passed over.
    /// After a gap longer than the window, nothing is known of the window.
    pub fn push(&mut self, at: Duration, alias: usize, reading: &Histogram) {
        let Some((last_at, last_alias)) = self.last else {
            return self.begin(at, alias, reading);
        };
        let Some(elapsed) = at.checked_sub(last_at).filter(|elapsed| !elapsed.is_zero()) else {
            return;
        };
        if alias != last_alias || !reading.has_bounds_of(&self.latest) {
            while let Some(part) = self.parts.pop_front() {
                self.spare.push(part.observed);
            }
            return self.begin(at, alias, reading);
        }
        self.forget(at);
        let mut observed = self.spare.pop().unwrap_or_default();
        if elapsed <= self.window && observed.become_difference(reading, &self.latest) {
            self.add(at, elapsed, observed);
        } else {
            self.spare.push(observed);
        }
        self.begin(at, alias, reading);
    }

    fn begin(&mut self, at: Duration, alias: usize, reading: &Histogram) {
        self.last = Some((at, alias));
        self.latest.clone_from(reading);
    }

    fn add(&mut self, at: Duration, elapsed: Duration, observed: Histogram) {
        let number = self.part_of(at);
        match self.parts.back_mut().filter(|part| part.number == number) {
            // The bounds are the same, so the merge cannot fail.
            Some(part) => {
                part.observed.merge_any(&observed);
                part.covered += elapsed;
                self.spare.push(observed);
            }
            None => self.parts.push_back(Part { number, observed, covered: elapsed }),
        }
    }

    /// Lets go of the parts that have left the window whole.
    fn forget(&mut self, now: Duration) {
        let first = self.part_of(now.saturating_sub(self.window));
        let inside_from_the_start = now < self.window;
        while let Some(part) = self.parts.front() {
            if inside_from_the_start || part.number >= first {
                break;
            }
            self.spare.extend(self.parts.pop_front().map(|part| part.observed));
        }
    }

    /// What was observed within the window before `now`; `None` if nothing of it is known. Without observations its counts
    /// are 0: nothing happened.
    pub fn observed(&self, now: Duration) -> Option<Histogram> {
        let mut observed = Histogram::default();
        self.add_to(&mut observed, now).map(|_| observed)
    }

    /// Adds what was observed within the window before `now` to the fleet's histogram, and tells how much of the window
    /// that covers. `None`, and nothing added, if nothing of it is known. Known but without observations, `fleet` gets
    /// counts of 0: nothing happened.
    pub fn add_to(&self, fleet: &mut Histogram, now: Duration) -> Option<Duration> {
        let first = self.part_of(now.saturating_sub(self.window));
        let inside = |part: &&Part| now < self.window || part.number >= first;
        let mut covered = None;
        for part in self.parts.iter().filter(inside) {
            fleet.merge_any(&part.observed);
            *covered.get_or_insert(Duration::ZERO) += part.covered;
        }
        covered.map(|covered| covered.min(self.window))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_mins(1);

    /// So many observations up to 1, and up to the end.
    fn page(fast: u32, all: u32) -> Histogram {
        Histogram::new([(1.0, f64::from(fast)), (f64::INFINITY, f64::from(all))], Some(f64::from(all)))
            .unwrap()
    }

    /// Readings as (second, up to 1, all), then at which second what is known: (up to 1, all, seconds covered).
    fn check(readings: &[(u64, u32, u32)], now: u64, expected: Option<(f64, f64, u64)>) {
        let mut window = HistogramWindow::new(WINDOW);
        for &(at, fast, all) in readings {
            window.push(Duration::from_secs(at), 0, &page(fast, all));
        }
        let mut fleet = Histogram::default();
        let covered = window.add_to(&mut fleet, Duration::from_secs(now));
        let got = covered.map(|covered| (fleet.buckets()[0].1, fleet.count(), covered.as_secs()));
        assert_eq!(got, expected, "{readings:?} at {now}");
        assert!(covered.is_some() || fleet == Histogram::default());
    }

    #[test]
    fn what_was_observed_counts_while_it_is_in_the_window() {
        check(&[], 100, None);
        check(&[(100, 5, 9)], 100, None);
        check(&[(100, 5, 9), (101, 6, 11)], 101, Some((1.0, 2.0, 1)));
        check(&[(100, 5, 9), (101, 6, 11)], 155, Some((1.0, 2.0, 1)));
        check(&[(100, 5, 9), (101, 6, 11)], 170, None);
        check(&[(100, 5, 9), (101, 5, 9)], 101, Some((0.0, 0.0, 1)));
        check(&[(100, 0, 0), (120, 1, 1), (140, 2, 2), (160, 3, 3)], 160, Some((3.0, 3.0, 60)));
        check(&[(100, 0, 0), (120, 1, 1), (140, 2, 2), (160, 3, 3)], 199, Some((2.0, 2.0, 40)));
        check(&[(0, 0, 0), (1, 1, 1)], 2, Some((1.0, 1.0, 1)));
    }

    #[test]
    fn what_is_lost_is_not_known_and_the_rest_stays() {
        // A restart between 102 and 103: what was counted after it and before the reading is lost.
        check(&[(100, 5, 9), (102, 7, 12), (103, 1, 2), (105, 2, 4)], 105, Some((3.0, 5.0, 4)));
        check(&[(100, 5, 9), (101, 1, 2)], 101, None);
        // A gap longer than the window.
        check(&[(100, 5, 9), (161, 50, 90)], 161, None);
        check(&[(100, 5, 9), (161, 50, 90), (162, 51, 91)], 162, Some((1.0, 1.0, 1)));
        // Time that stands still or goes back.
        check(&[(100, 5, 9), (100, 6, 10), (99, 7, 11), (101, 8, 12)], 101, Some((3.0, 3.0, 1)));
    }

    #[test]
    fn other_buckets_and_other_names_begin_anew() {
        let mut window = HistogramWindow::new(WINDOW);
        let second = Duration::from_secs;
        let known = |window: &HistogramWindow, now: u64| {
            let mut fleet = Histogram::default();
            window.add_to(&mut fleet, second(now)).map(|_| fleet.count())
        };
        window.push(second(1), 0, &page(1, 2));
        window.push(second(2), 0, &page(2, 3));
        assert_eq!(known(&window, 2), Some(1.0));
        let finer = |all: f64| Histogram::new([(0.5, 1.0), (1.0, 1.0), (f64::INFINITY, all)], None).unwrap();
        window.push(second(3), 0, &finer(50.0));
        assert_eq!(known(&window, 3), None);
        window.push(second(4), 0, &finer(54.0));
        assert_eq!(known(&window, 4), Some(4.0));
        window.push(second(5), 1, &finer(70.0));
        assert_eq!(known(&window, 5), None);
        window.push(second(6), 1, &finer(71.0));
        assert_eq!(known(&window, 6), Some(1.0));
    }

    #[test]
    fn pods_with_other_buckets_are_merged_before_the_quantile() {
        let mut fleet = Histogram::default();
        let pods = [[(1.0, 0.0), (2.0, 10.0)], [(1.5, 10.0), (3.0, 10.0)]];
        for buckets in pods {
            let page = |factor: f64| {
                let all = buckets.map(|(bound, count)| (bound, count * factor)).into_iter();
                Histogram::new(all.chain([(f64::INFINITY, 10.0 * factor)]), None).unwrap()
            };
            let mut window = HistogramWindow::new(WINDOW);
            window.push(Duration::from_secs(1), 0, &page(1.0));
            window.push(Duration::from_secs(2), 0, &page(2.0));
            window.add_to(&mut fleet, Duration::from_secs(2)).unwrap();
        }
        // Up to 1 a third less of the second's 10, up to 1.5 all of them and half of the first's.
        assert_eq!(fleet.count(), 20.0);
        assert_eq!(fleet.quantile(0.75), Some(1.5));
        assert_eq!(fleet.quantile(1.0), Some(2.0));
    }

    #[test]
    fn memory_is_bounded() {
        let mut window = HistogramWindow::new(WINDOW);
        for at in 0..10_000 {
            window.push(Duration::from_millis(at * 100), 0, &page(at as u32, at as u32));
            assert!(window.parts.len() <= 13 && window.spare.len() <= 14, "{} parts", window.parts.len());
        }
    }
}

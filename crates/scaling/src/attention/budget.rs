//! What reading costs: the engines by the pages' service times, us by the processor time of the whole process.

use std::time::Duration;

use super::{FASTEST, Need, SLOWEST};

/// So many times the shortest interval is the longest.
const RANGE: f64 = SLOWEST.as_millis() as f64 / FASTEST.as_millis() as f64;
/// Usage below this part of the budget lets the pace rise again.
const SLACK: f64 = 0.8;
/// By how much at once. Slowly, so that the pace does not swing: from twice the interval back in 14 s.
const RELAX: f64 = 0.95;
/// More than this at once would follow a single busy second.
const MOST_AT_ONCE: f64 = 2.0;

/// Our own processor: how much of it may be used, and by how much the pace is stretched so that no more is.
///
/// It is no hard limit: the base pace where something is close, and 2 s elsewhere, are read whatever they cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OwnBudget {
    share: f64,
    strain: f64,
}

impl OwnBudget {
    /// Of a core, above 0; 1 is a whole one.
    pub fn new(share: f64) -> Self {
        Self { share, strain: 1.0 }
    }

    /// Notes that so many cores were used, over about a second.
    pub fn note(&mut self, cores: f64) {
        if !cores.is_finite() {
            return;
        }
        let used = cores / self.share;
        if used > 1.0 {
            self.strain = (self.strain * used.min(MOST_AT_ONCE)).min(RANGE * RANGE);
        } else if used < SLACK {
            self.strain = (self.strain * RELAX).max(1.0);
        }
    }

    /// How many times too short the processor is: 1 while it suffices. Calm targets are read that many times slower, up
    /// to [`SLOWEST`]; only what is needed beyond that slows those of which something is close or urgent.
    pub fn strain(&self) -> f64 {
        self.strain
    }
}

/// By how much a target's interval is stretched.
pub(super) fn stretch(strain: f64, need: Need) -> f64 {
    match need {
        Need::Least | Need::Calm => strain.clamp(1.0, RANGE),
        Need::Close | Need::Urgent => (strain / RANGE).max(1.0),
    }
}

/// Readings after which the least of them is no longer believed: the page may have become dearer.
const BLOCK: u8 = 50;

/// An engine's processor time for a page: the least time that one of the last 50 to 100 readings took. What a reading takes
/// is an upper bound (a busy engine's queue is in it, and part of the network), and the least of many is a close one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServiceTime {
    least: Option<Duration>,
    of_block_before: Option<Duration>,
    count: u8,
}

impl ServiceTime {
    /// Notes a reading that was complete, and took this long of the engine's time.
    pub fn note(&mut self, took: Duration) {
        if self.count == BLOCK {
            *self = Self { least: None, of_block_before: self.least, count: 0 };
        }
        self.count += 1;
        self.least = Some(self.least.map_or(took, |least| least.min(took)));
    }

    /// What is believed; `None` before the first reading.
    pub fn estimate(&self) -> Option<Duration> {
        self.least.into_iter().chain(self.of_block_before).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strain_rises_at_once_and_falls_slowly() {
        let mut budget = OwnBudget::new(0.5);
        budget.note(0.4);
        assert_eq!(budget.strain(), 1.0);
        budget.note(0.75);
        assert_eq!(budget.strain(), 1.5);
        budget.note(5.0);
        assert_eq!(budget.strain(), 3.0, "at most doubled at once");
        budget.note(0.45);
        assert_eq!(budget.strain(), 3.0, "near the budget it stays");
        budget.note(f64::NAN);
        for _ in 0..100 {
            budget.note(0.1);
        }
        assert_eq!(budget.strain(), 1.0);
        for _ in 0..100 {
            budget.note(9.0);
        }
        assert_eq!(budget.strain(), 400.0, "bounded");
    }

    /// A process whose usage follows from the pace finds a pace at which it stays within its budget.
    #[test]
    fn it_settles_within_the_budget() {
        let mut budget = OwnBudget::new(0.5);
        let used = |budget: &OwnBudget| 4.0 / stretch(budget.strain(), Need::Calm);
        for _ in 0..20 {
            budget.note(used(&budget));
        }
        for _ in 0..100 {
            budget.note(used(&budget));
            assert!((0.35..=0.5).contains(&used(&budget)), "{}", used(&budget));
        }
    }

    #[test]
    fn the_least_of_the_latest_readings() {
        let mut time = ServiceTime::default();
        assert_eq!(time.estimate(), None);
        let millis = Duration::from_millis;
        for took in [9, 5, 7] {
            time.note(millis(took));
        }
        assert_eq!(time.estimate(), Some(millis(5)));
        for _ in 0..2 * BLOCK {
            time.note(millis(8));
        }
        assert_eq!(time.estimate(), Some(millis(8)), "what was long ago is forgotten");
        time.note(millis(1));
        assert_eq!(time.estimate(), Some(millis(1)), "cheaper is believed at once");
    }
}

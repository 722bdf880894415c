//! When a page is read.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// So many base intervals pass at most from one poll to the next while the pace is slow: readings are fresh for three.
const LONGEST_GAP: u32 = 2;

/// A constant pace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// From one poll to the next; a poll's [`deadline`] follows from it.
    pub interval: Duration,
    /// Polls happen at whole intervals after `origin`. Pods of one target share it, so that a round is short;
    /// different targets have different ones, so that the load is spread. The first poll happens at once.
    pub origin: Instant,
}

impl Schedule {
    /// The first scheduled instant after `now`.
    pub fn next(&self, now: Instant) -> Instant {
        let since = now.saturating_duration_since(self.origin).as_nanos();
        let interval = self.interval.as_nanos().max(1);
        let mut missing = interval - since % interval;
        if missing < interval / 2 {
            // Too soon after the first poll: a counter's rate over an instant says nothing.
            missing += interval;
        }
        now + Duration::from_nanos(u64::try_from(missing).unwrap_or(u64::MAX))
    }
}

/// A pace that changes while pages are read: all who read by it follow at once.
#[derive(Debug)]
pub struct Pacemaker {
    /// The pace it began with: how long an answer is waited for follows from it, however often is asked.
    base: Duration,
    interval: watch::Sender<Duration>,
    origin: Instant,
}

impl Pacemaker {
    /// Begins with this schedule.
    pub fn new(schedule: Schedule) -> Self {
        Self {
            base: schedule.interval,
            interval: watch::Sender::new(schedule.interval),
            origin: schedule.origin,
        }
    }

    /// Reads every `interval` from now on.
    pub fn set(&self, interval: Duration) {
        self.interval.send_if_modified(|known| std::mem::replace(known, interval) != interval);
    }

    /// The pace at present.
    pub fn schedule(&self) -> Schedule {
        Schedule { interval: *self.interval.borrow(), origin: self.origin }
    }

    /// For one who reads `phase` of an interval before the schedule says.
    pub(crate) fn beat(&self, phase: f64) -> Beat {
        Beat { base: self.base, interval: self.interval.subscribe(), origin: self.origin, phase }
    }
}

/// One reader's view of a [`Pacemaker`]. It keeps its last pace when that is gone.
pub(crate) struct Beat {
    pub(crate) base: Duration,
    interval: watch::Receiver<Duration>,
    origin: Instant,
    phase: f64,
}

impl Beat {
    /// Waits for the first scheduled instant after `began`, by the pace in force when it comes.
    pub(crate) async fn next(&mut self, began: Instant) {
        loop {
            let interval = *self.interval.borrow_and_update();
            // Counted from the beginning: a poll that took long does not shift the others.
            let due = self.due(began, interval).max(Instant::now());
            tokio::select! {
                () = tokio::time::sleep_until(due) => return,
                Ok(()) = self.interval.changed() => {}
            }
        }
    }

    fn due(&self, began: Instant, interval: Duration) -> Instant {
        let origin = self.origin.checked_sub(interval.mul_f64(self.phase)).unwrap_or(self.origin);
        let due = Schedule { interval, origin }.next(began);
        // The pace became slower just now, or the poll was the first one.
        let too_late = interval > self.base && due > began + LONGEST_GAP * self.base;
        if too_late { due - interval } else { due }
    }

    /// What was read before would be fresh no more if a poll failed and the next scheduled one, too.
    pub(crate) fn is_slow(&self) -> bool {
        *self.interval.borrow() > self.base
    }

    /// Waits for the second try of a poll that began at `began` and failed, at a pace that was slow.
    pub(crate) async fn again(&self, began: Instant) {
        tokio::time::sleep_until((began + self.base / 2).max(Instant::now())).await;
    }
}

/// A poll that failed where what was read before would be fresh no more by the next one is tried a second time; the next
/// one is counted from the first try.
#[derive(Debug, Default)]
pub(crate) struct Tries {
    /// When the poll began whose second try is under way.
    first: Option<Instant>,
}

/// What follows a poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// A second try of the poll that began then.
    Again(Instant),
    /// The first scheduled poll after then.
    After(Instant),
}

impl Tries {
    /// After the poll that began at `began`. `again`: it failed at a slow pace, and was the first to fail.
    pub(crate) fn next(&mut self, began: Instant, again: bool) -> Next {
        let first = self.first.take().unwrap_or(began);
        if again {
            self.first = Some(began);
            Next::Again(began)
        } else {
            Next::After(first)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At a pace of `before` milliseconds, and of `after` from `changed` on: when there is a poll.
    #[track_caller]
    fn check(before: u64, after: u64, changed: u64, expected: &[u64]) {
        let origin = Instant::now();
        let pacemaker = Pacemaker::new(Schedule { interval: Duration::from_secs(1), origin });
        let beat = pacemaker.beat(0.0);
        let mut polls = vec![0];
        while polls.len() < expected.len() {
            let last = polls[polls.len() - 1];
            let interval = Duration::from_millis(if last < changed { before } else { after });
            let due = beat.due(origin + Duration::from_millis(last), interval);
            polls.push(u64::try_from((due - origin).as_millis()).unwrap());
        }
        assert_eq!(polls, expected);
    }

    #[test]
    fn a_second_try_does_not_shift_the_polls_after_it() {
        let at = |seconds: u64| Instant::now().checked_add(Duration::from_secs(seconds)).unwrap();
        let (first, second, third) = (at(10), at(20), at(30));
        let mut tries = Tries::default();
        assert_eq!(tries.next(first, true), Next::Again(first));
        assert_eq!(tries.next(second, false), Next::After(first));
        assert_eq!(tries.next(third, false), Next::After(third));
        assert_eq!(tries.next(first, false), Next::After(first));
    }

    #[test]
    fn a_pace_that_becomes_slower_leaves_no_gap_of_more_than_two_base_intervals() {
        check(1000, 2000, 3000, &[0, 1000, 2000, 3000, 4000, 6000]);
        check(1500, 2000, 4500, &[0, 1500, 3000, 4500, 6000, 8000]);
        check(700, 2000, 1400, &[0, 700, 1400, 2000, 4000]);
        check(700, 1500, 700, &[0, 700, 1500, 3000]);
        check(700, 1500, 1400, &[0, 700, 1400, 3000, 4500]);
        check(100, 1000, 700, &[0, 100, 200, 300, 400, 500, 600, 700, 2000, 3000]);
    }
}

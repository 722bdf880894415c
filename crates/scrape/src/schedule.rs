//! When a page is read.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

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

    /// For one who reads `phase` of an interval later than the schedule says.
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
            let schedule = Schedule { interval, origin: self.origin + interval.mul_f64(self.phase) };
            // Counted from the beginning: a poll that took long does not shift the others.
            let due = schedule.next(began).max(Instant::now());
            tokio::select! {
                () = tokio::time::sleep_until(due) => return,
                Ok(()) = self.interval.changed() => {}
            }
        }
    }
}

//! A simulated processor that accounts for the work done on it.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// The processor time of one container: work is done in turn, at the container's speed, and only what was done counts.
///
/// Nothing is computed; a piece of work is a stated cost, and done when the processor would have got through it. With
/// more work than the speed allows, work waits, and the usage is the speed.
#[derive(Debug)]
pub(crate) struct Processor {
    /// In cores.
    speed: f64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The cost of all work that ever came.
    taken: Duration,
    /// When all of it is done.
    busy_until: Instant,
}

impl Processor {
    /// An idle processor of so many cores. Work is done by one worker: more than one core does not help.
    pub(crate) fn new(limit: Option<f64>) -> Self {
        let speed = limit.unwrap_or(1.0).clamp(0.001, 1.0);
        Self { speed, state: Mutex::new(State { taken: Duration::ZERO, busy_until: Instant::now() }) }
    }

    /// Takes a piece of work at `now`; returns when it will be done.
    pub(crate) fn take(&self, cost: Duration, now: Instant) -> Instant {
        let mut state = self.state.lock();
        state.taken += cost;
        state.busy_until = state.busy_until.max(now) + cost.div_f64(self.speed);
        state.busy_until
    }

    /// The processor time used until `now`.
    pub(crate) fn used(&self, now: Instant) -> Duration {
        let state = self.state.lock();
        let ahead = state.busy_until.saturating_duration_since(now).mul_f64(self.speed);
        state.taken.saturating_sub(ahead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    /// Compares within a microsecond.
    #[track_caller]
    fn check(is: Duration, expected: Duration) {
        assert!(is.abs_diff(expected) < Duration::from_micros(1), "{is:?}, not {expected:?}");
    }

    #[test]
    fn work_waits_and_is_counted_when_it_is_done() {
        let processor = Processor::new(Some(0.5));
        let start = Instant::now() + MS(10);
        check(processor.take(MS(10), start) - start, MS(20));
        check(processor.take(MS(10), start) - start, MS(40));
        check(processor.used(start), MS(0));
        check(processor.used(start + MS(20)), MS(10));
        check(processor.used(start + MS(30)), MS(15));
        check(processor.used(start + MS(500)), MS(20));
        check(processor.take(MS(1), start + MS(500)) - start, MS(502));
    }

    #[test]
    fn usage_is_at_most_the_speed() {
        for (limit, speed) in [(Some(0.5), 0.5), (Some(4.0), 1.0), (None, 1.0)] {
            let processor = Processor::new(limit);
            let start = Instant::now() + MS(10);
            for millisecond in 0..1000 {
                processor.take(MS(3), start + MS(millisecond));
            }
            check(processor.used(start + MS(1000)), MS(1000).mul_f64(speed));
        }
    }
}

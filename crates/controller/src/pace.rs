//! How often something may be written about one object.

use std::time::Duration;

use windlass_scaling::Instant;

/// A bucket of tokens: `burst` at once, then one per `interval`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    burst: u32,
    interval: Duration,
    /// When the bucket would be full if nothing were taken any more.
    full_at: Instant,
}

impl Pace {
    pub(crate) const fn new(burst: u32, interval: Duration) -> Self {
        Self { burst, interval, full_at: Instant::ZERO }
    }

    /// Takes a token, if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let allowed = self.allows(now);
        if allowed {
            self.full_at = self.full_at.max(now) + self.interval;
        }
        allowed
    }

    /// Whether there is one.
    pub(crate) fn allows(&self, now: Instant) -> bool {
        self.full_at.max(now) + self.interval - now <= self.interval * self.burst
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_one_per_interval() {
        let at = |millis: u64| Instant::from_micros((3_600_000 + millis) * 1000);
        let mut pace = Pace::new(5, Duration::from_secs(2));
        let mut taken = |millis: u64| pace.take(at(millis));
        assert_eq!((0..7).filter(|_| taken(0)).count(), 5);
        assert_eq!((0..100).filter(|tick| taken(tick * 100)).count(), 4, "at 2, 4, 6 and 8 s");
        assert_eq!((0..7).filter(|_| taken(60_000)).count(), 5, "calm fills it again");
    }
}

//! Steps of equal composition.

use std::time::Duration;

/// One or more steps, all with the same sequences.
#[derive(Debug, Clone)]
pub(super) struct Stretch {
    began: Duration,
    /// Seconds of the first step.
    first: f64,
    /// Seconds by which each step is longer than the one before.
    growth: f64,
    steps: u64,
    end: Duration,
    /// Sequences that decode.
    pub(super) decodes: u32,
    /// Prompt tokens computed; above 0 only in a stretch of one step.
    pub(super) prefill: u32,
}

impl Stretch {
    pub(super) fn new(
        began: Duration,
        first: f64,
        growth: f64,
        steps: u64,
        decodes: u32,
        prefill: u32,
    ) -> Self {
        let mut stretch = Self { began, first, growth, steps, end: began, decodes, prefill };
        stretch.end = stretch.end_of(steps);
        stretch
    }

    /// When its last step ends.
    pub(super) fn end(&self) -> Duration {
        self.end
    }

    pub(super) fn lasted(&self) -> Duration {
        self.end.saturating_sub(self.began)
    }

    pub(super) fn steps(&self) -> u64 {
        self.steps
    }

    /// When this many of its steps are over: the sum of an arithmetic series. A step takes at least a nanosecond.
    fn end_of(&self, steps: u64) -> Duration {
        let count = steps as f64;
        let seconds = count * self.first + self.growth * count * (count - 1.0) / 2.0;
        self.began + Duration::from_secs_f64(seconds).max(Duration::from_nanos(steps))
    }

    /// How many steps are over at `now`.
    pub(super) fn steps_at(&self, now: Duration) -> u64 {
        if now >= self.end {
            return self.steps;
        }
        // The least count whose end is later, by bisection; what is before it is over.
        let (mut over, mut not_over) = (0, self.steps);
        while not_over - over > 1 {
            let middle = over + (not_over - over) / 2;
            if self.end_of(middle) <= now { over = middle } else { not_over = middle }
        }
        over
    }

    /// Ends the stretch with the step that is under way at `now`.
    pub(super) fn cut(&mut self, now: Duration) {
        self.steps = (self.steps_at(now) + 1).min(self.steps);
        self.end = self.end_of(self.steps);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_a_series_and_can_be_found_again() {
        let mut stretch = Stretch::new(Duration::from_secs(1), 0.010, 0.001, 4, 2, 0);
        // 10, 11, 12 and 13 ms.
        let millis = |at: u64| Duration::from_millis(at);
        assert_eq!(stretch.end(), millis(1046));
        for (at, over) in
            [(1000, 0), (1009, 0), (1010, 1), (1020, 1), (1021, 2), (1045, 3), (1046, 4), (9000, 4)]
        {
            assert_eq!(stretch.steps_at(millis(at)), over, "at {at} ms");
        }
        stretch.cut(millis(1015));
        assert_eq!((stretch.steps(), stretch.end()), (2, millis(1021)));
        stretch.cut(millis(1021));
        assert_eq!(stretch.steps(), 2);
    }
}

//! Consecutive steps of one batch, in closed form.

use std::time::Duration;

/// Steps that carry the same tokens. The KV cache grows by the same amount in each, so their lengths are an arithmetic
/// series.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    /// When the first begins, nanoseconds since the epoch.
    pub(crate) start: u64,
    /// Length of the first, seconds.
    pub(crate) first: f64,
    /// How much longer each is than the one before, seconds.
    pub(crate) growth: f64,
    /// How many, at least 1.
    pub(crate) steps: u32,
    /// How many of them were reported.
    pub(crate) reported: u32,
    /// Decode tokens of each.
    pub(crate) decode: u32,
    /// Prefill tokens of each.
    pub(crate) prefill: u32,
}

impl Group {
    /// When the `count`-th step ends. Rounded from the start of the group, so that it does not depend on who asks.
    pub(crate) fn end_of(&self, count: u32) -> u64 {
        let count = f64::from(count);
        let seconds = count * self.first + self.growth * count * (count - 1.0) / 2.0;
        self.start.saturating_add((seconds * 1e9).round() as u64)
    }

    /// When the last step ends.
    pub(crate) fn end(&self) -> u64 {
        self.end_of(self.steps)
    }

    /// How many steps have ended by `now`.
    pub(crate) fn ended_by(&self, now: u64) -> u32 {
        let Some(elapsed) = now.checked_sub(self.start) else { return 0 };
        if now >= self.end() {
            return self.steps;
        }
        // The root of growth/2·k² + (first − growth/2)·k = elapsed, in the form without cancellation.
        let elapsed = elapsed as f64 / 1e9;
        let linear = self.first - self.growth / 2.0;
        let root = 2.0 * elapsed / (linear + (linear * linear + 2.0 * self.growth * elapsed).sqrt());
        let mut count = (root as u32).min(self.steps - 1);
        // Rounding may be off by one.
        while count < self.steps - 1 && self.end_of(count + 1) <= now {
            count += 1;
        }
        while count > 0 && self.end_of(count) > now {
            count -= 1;
        }
        count
    }

    /// Ends the group with the step in course at `now`; a step that ends at `now` is not followed by another.
    pub(crate) fn interrupt(&mut self, now: u64) {
        let before = now.checked_sub(1).map_or(0, |before| self.ended_by(before));
        self.steps = self.steps.min(before + 1);
    }
}

/// Nanoseconds of a duration; 584 years and more are all the same.
pub(crate) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(first: f64, growth: f64, steps: u32) {
        let group = Group { start: 7, first, growth, steps, reported: 0, decode: 1, prefill: 0 };
        let mut summed = 7.0;
        for count in 1..=steps {
            summed += (first + growth * f64::from(count - 1)) * 1e9;
            let end = group.end_of(count);
            assert!((end as f64 - summed).abs() < 1.0, "step {count}: {end} against {summed}");
            assert_eq!(group.ended_by(end - 1), count - 1);
            assert_eq!(group.ended_by(end), count);
            let (mut at, mut after) = (group.clone(), group.clone());
            at.interrupt(end);
            assert_eq!(at.steps, count);
            after.interrupt(end + 1);
            assert_eq!(after.steps, steps.min(count + 1));
        }
        assert_eq!(group.ended_by(0), 0);
        assert_eq!(group.ended_by(u64::MAX), steps);
    }

    #[test]
    fn a_group_is_the_sum_of_its_steps() {
        check(7e-3, 0.0, 1);
        check(7e-3, 0.0, 1000);
        check(7e-3, 49e-9, 2000);
        check(1e-6, 1e-6, 2000);
        // A chunk's attention grows by twice what the first one costs.
        check(1e-3 + 0.5e-3, 1e-3, 300);
    }
}

//! Whether the controller's loops turn.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use windlass_scaling::Instant;

/// The loops that are watched, and how long one turn may take: three usual turns and some, or three of the longest
/// calls that are waited for in one.
const LOOPS: [(&str, Duration); 4] = [
    ("the decision loop", Duration::from_secs(3)),
    ("the status writer", Duration::from_mins(1)),
    ("the watch of podautoscalers", Duration::from_secs(10)),
    ("the watch of pods", Duration::from_secs(10)),
];

/// A loop that is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loop {
    Decisions,
    Statuses,
    Autoscalers,
    Pods,
}

/// When each loop turned last.
#[derive(Debug)]
pub(crate) struct Pulses([AtomicU64; LOOPS.len()]);

impl Pulses {
    /// All turned just now.
    pub(crate) fn new(now: Instant) -> Self {
        Self(LOOPS.map(|_| AtomicU64::new(now.as_micros())))
    }

    /// A loop turned.
    pub(crate) fn beat(&self, of: Loop, now: Instant) {
        // Only ever compared with the clock: nothing else is published by it.
        self.0[of as usize].store(now.as_micros(), Ordering::Relaxed);
    }

    /// The first loop that has stopped, as a sentence.
    pub(crate) fn stopped(&self, now: Instant) -> Option<String> {
        LOOPS.iter().zip(&self.0).find_map(|((name, longest), last)| {
            let silent = now - Instant::from_micros(last.load(Ordering::Relaxed));
            (silent > *longest).then(|| format!("{name} has not turned for {} s", silent.as_secs()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_stops_is_named() {
        let at = |secs| Instant::ZERO + Duration::from_secs(secs);
        let pulses = Pulses::new(at(0));
        assert_eq!(pulses.stopped(at(3)), None);
        assert_eq!(pulses.stopped(at(4)).as_deref(), Some("the decision loop has not turned for 4 s"));
        for of in [Loop::Decisions, Loop::Autoscalers, Loop::Pods] {
            pulses.beat(of, at(60));
        }
        assert_eq!(pulses.stopped(at(60)), None);
        pulses.beat(Loop::Decisions, at(61));
        assert_eq!(pulses.stopped(at(61)).as_deref(), Some("the status writer has not turned for 61 s"));
        pulses.beat(Loop::Statuses, at(61));
        assert_eq!(pulses.stopped(at(62)), None);
        pulses.beat(Loop::Decisions, at(71));
        pulses.beat(Loop::Autoscalers, at(71));
        assert_eq!(pulses.stopped(at(71)).as_deref(), Some("the watch of pods has not turned for 11 s"));
    }
}

//! The process's monotonic clock, and how wall-clock times of the API server map onto it.

use std::time::Duration;

use jiff::Timestamp;
use windlass_scaling::Instant;

/// How far before the process's start an instant can lie: older things count as this old.
const PAST: Duration = Duration::from_hours(365 * 24);

/// Gives instants since an epoch a year before the process started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    started: tokio::time::Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { started: tokio::time::Instant::now() }
    }

    pub(crate) fn now(&self) -> Instant {
        self.at(tokio::time::Instant::now())
    }

    /// The same clock when `span` has passed.
    #[cfg(test)]
    pub(crate) fn later(self, span: Duration) -> Self {
        Self { started: self.started - span }
    }

    /// The same instant as `at`.
    pub(crate) fn at(&self, at: tokio::time::Instant) -> Instant {
        Instant::ZERO + PAST + at.saturating_duration_since(self.started)
    }

    /// The instant on tokio's clock, not before the process's start.
    pub(crate) fn to_tokio(self, at: Instant) -> tokio::time::Instant {
        self.started + (at - (Instant::ZERO + PAST))
    }

    /// When something happened that the API server dates `then`, by its age on our wall clock; never in the future.
    pub(crate) fn of_wall(&self, then: Timestamp) -> Instant {
        let age = Timestamp::now().duration_since(then);
        self.now().saturating_sub(Duration::try_from(age).unwrap_or_default())
    }

    /// The wall-clock time of an instant.
    pub(crate) fn to_wall(self, at: Instant) -> Timestamp {
        let ago = self.now() - at;
        Timestamp::now().checked_sub(ago).unwrap_or(Timestamp::MIN)
    }
}

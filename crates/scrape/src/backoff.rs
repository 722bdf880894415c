//! How long a pod that does not answer is left alone. Pure.

use std::time::Duration;

use tokio::time::Instant;

use crate::ScrapeError;

/// A pod that fails is asked at pace for so many base intervals: for as long as its last readings are fresh, because it is not
/// known better meanwhile.
const PATIENCE: u32 = 3;
/// A pod that refuses connections for so long: it restarts, and asking costs it nothing.
const PATIENCE_REFUSED: Duration = Duration::from_secs(10);
/// The longest wait: a pod that answers again is heard of within it.
const LONGEST: Duration = Duration::from_secs(10);

/// What is known of one pod's failing.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    /// Since when it fails, and how long it was left alone the last time.
    failing: Option<(Instant, Duration)>,
}

impl Backoff {
    /// Whether the last poll failed.
    pub(crate) fn is_failing(&self) -> bool {
        self.failing.is_some()
    }

    /// After a poll that ended at `now` with `error`, or without one: how much longer than one interval, at the pace in force, the next one has to
    /// wait. One good answer, and the pace is the usual one.
    pub(crate) fn after(&mut self, error: Option<&ScrapeError>, base: Duration, now: Instant) -> Duration {
        let Some(error) = error else {
            self.failing = None;
            return Duration::ZERO;
        };
        let (since, last) = *self.failing.get_or_insert((now, base));
        let patience = match error {
            ScrapeError::Connect { .. } => PATIENCE_REFUSED.max(base * PATIENCE),
            // Nothing was asked: what is waited for is no pod.
            ScrapeError::Credentials(_) => return Duration::ZERO,
            _ => base * PATIENCE,
        };
        if now < since + patience {
            return Duration::ZERO;
        }
        let wait = (last * 2).min(LONGEST).max(base);
        self.failing = Some((since, wait));
        wait.saturating_sub(base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pod that fails from the beginning on, each time with what `error` gives: at which seconds it is asked.
    #[track_caller]
    fn check(base: u64, error: fn(u64) -> Option<ScrapeError>, expected: &[u64]) {
        let mut backoff = Backoff::default();
        let (begin, base) = (Instant::now(), Duration::from_secs(base));
        let mut asked = vec![0];
        while asked.len() < expected.len() {
            let second = asked[asked.len() - 1];
            let wait = backoff.after(error(second).as_ref(), base, begin + Duration::from_secs(second));
            asked.push(second + (base + wait).as_secs());
        }
        assert_eq!(asked, expected);
    }

    const BUSY: fn(u64) -> Option<ScrapeError> =
        |_| Some(ScrapeError::Status(http::StatusCode::SERVICE_UNAVAILABLE));
    const REFUSED: fn(u64) -> Option<ScrapeError> = |_| {
        let source = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        Some(ScrapeError::Connect { address: "10.0.0.1:8000".to_owned(), source })
    };

    #[test]
    fn at_pace_at_first_and_then_ever_more_seldom() {
        check(1, BUSY, &[0, 1, 2, 3, 5, 9, 17, 27, 37, 47]);
        check(5, BUSY, &[0, 5, 10, 15, 25, 35]);
        check(30, BUSY, &[0, 30, 60, 90, 120, 150]);
    }

    #[test]
    fn a_restart_is_watched() {
        check(1, REFUSED, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 16, 24, 34, 44]);
    }

    #[test]
    fn one_good_answer_and_the_pace_is_the_usual_one() {
        check(
            1,
            |second| if second == 17 { None } else { BUSY(second) },
            &[0, 1, 2, 3, 5, 9, 17, 18, 19, 20, 21, 23, 27],
        );
    }

    #[test]
    fn what_is_not_asked_is_not_held_back() {
        check(1, |_| Some(ScrapeError::Credentials("no key".to_owned())), &[0, 1, 2, 3, 4, 5, 6]);
    }
}

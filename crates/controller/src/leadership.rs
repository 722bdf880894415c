//! Whether this process leads: told by the election, asked before every write.

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use windlass_scaling::Instant;

use crate::clock::Clock;
use crate::lease::Record;

/// A write ends this long before the term it is made in: for the timer to fire and the connection to be closed.
const MARGIN: Duration = Duration::from_millis(100);

/// Who leads, as this process knows it.
#[derive(Debug, Clone, Default)]
pub struct Leadership {
    /// Whether this process leads. Writes are refused a little earlier than this turns to false.
    pub leading: bool,
    /// The Lease's holder as last seen; none when nobody holds it, it is not known yet, or there is no election.
    pub holder: Option<String>,
    /// How often the Lease changed its holder.
    pub transitions: u32,
    /// When the holder last renewed the Lease, by the holder's own clock.
    pub renewed: Option<Timestamp>,
    term: Term,
}

#[derive(Debug, Clone, Copy, Default)]
enum Term {
    #[default]
    None,
    Until(Instant),
    /// There is no election.
    Unlimited,
}

impl Leadership {
    /// The only controller there is, as somebody promised.
    pub(crate) fn alone() -> Self {
        Self { leading: true, term: Term::Unlimited, ..Self::default() }
    }

    /// After a look at the Lease.
    pub(crate) fn of(until: Option<Instant>, record: Option<Record>, before: &Self) -> Self {
        let transitions = record.as_ref().map_or(before.transitions, |record| record.transitions);
        let renewed = record.as_ref().map_or(before.renewed, |record| record.renewed);
        let term = until.map_or(Term::None, Term::Until);
        Self {
            leading: until.is_some(),
            holder: record.and_then(|record| record.holder),
            transitions,
            renewed,
            term,
        }
    }

    pub(crate) fn end(&mut self) {
        self.leading = false;
        self.term = Term::None;
    }

    /// How long a write begun at `now` may take, `longest` at most; none if it must not be begun.
    fn budget(&self, now: Instant, longest: Duration) -> Option<Duration> {
        match self.term {
            Term::None => None,
            Term::Unlimited => Some(longest),
            Term::Until(end) => {
                let left = (end - now).saturating_sub(MARGIN).min(longest);
                (!left.is_zero()).then_some(left)
            }
        }
    }
}

/// What every write passes.
#[derive(Clone)]
pub(crate) struct Gate {
    leadership: watch::Receiver<Leadership>,
    clock: Clock,
    /// Nothing passes.
    closed: bool,
}

impl Gate {
    pub(crate) fn new(leadership: watch::Receiver<Leadership>, clock: Clock) -> Self {
        Self { leadership, clock, closed: false }
    }

    /// Lets nothing through for ever: for a controller that only recommends.
    pub(crate) fn closed(self) -> Self {
        Self { closed: true, ..self }
    }

    /// How long a write begun now may take, `longest` at most; none if it must not be begun.
    pub(crate) fn budget(&self, longest: Duration) -> Option<Duration> {
        let budget = self.leadership.borrow().budget(self.clock.now(), longest);
        budget.filter(|_| !self.closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(5);

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    fn check(leadership: &Leadership, now: u64, budget: Option<u64>) {
        assert_eq!(leadership.budget(at(now), LONGEST), budget.map(Duration::from_millis), "at {now} ms");
    }

    #[test]
    fn a_write_ends_before_the_term() {
        let leader = Leadership::of(Some(at(10_000)), None, &Leadership::default());
        check(&leader, 0, Some(5_000));
        check(&leader, 4_900, Some(5_000));
        check(&leader, 8_000, Some(1_900));
        check(&leader, 9_899, Some(1));
        check(&leader, 9_900, None);
        check(&leader, 10_000, None);
        check(&leader, 99_000, None);
    }

    #[test]
    fn a_closed_gate_lets_nothing_through() {
        let (_, leadership) = watch::channel(Leadership::alone());
        let gate = Gate::new(leadership, Clock::start());
        assert_eq!(gate.budget(LONGEST), Some(LONGEST));
        assert_eq!(gate.closed().budget(LONGEST), None);
    }

    #[test]
    fn followers_and_deposed_leaders_write_nothing() {
        check(&Leadership::default(), 0, None);
        check(&Leadership::of(None, None, &Leadership::alone()), 0, None);
        let mut deposed = Leadership::of(Some(at(10_000)), None, &Leadership::default());
        deposed.end();
        check(&deposed, 0, None);
        check(&Leadership::alone(), 99_000, Some(5_000));
    }
}

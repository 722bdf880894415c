//! Bounds by the clock: which entry of `spec.schedules` is in force at an instant, and when that changes next.
//!
//! One rule: an entry is in force while the clock on the wall of its time zone reads one of its times, from
//! `startTime` up to but not including `endTime`, on one of its days. What follows on days when the clocks change: a
//! time that is skipped counts as the first that is not (02:30 begins at 03:00 in New York in March), an entry that
//! lies within the skipped time is left out, and a time that comes twice counts twice. An `endTime` that is not after
//! `startTime` is on the day after; the day an entry belongs to is the one it begins on.
//!
//! The clocks are those of the IANA database built into the program, the same on every machine.

mod read;
mod week;
mod zone;

use jiff::{SignedDuration, Timestamp};

pub(crate) use read::read;
use week::Week;
use zone::{Clock, Zone};

/// Every entry comes round within a week, or within two where a change of clocks skips it: what has not changed in five
/// weeks never does.
const HORIZON: SignedDuration = SignedDuration::from_hours(5 * 7 * 24);

/// The entries of one object, and its own bounds for when none of them is in force.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedules {
    min_replicas: u32,
    max_replicas: u32,
    zones: Vec<Zone>,
    /// In the order they are written: of several that are in force the first gives its name. They agree on the bounds.
    entries: Vec<Entry>,
}

/// One entry, its bounds complete.
#[derive(Debug, Clone, PartialEq)]
struct Entry {
    name: String,
    /// Position in the zones.
    zone: usize,
    /// When it is in force, by its zone's clock.
    week: Week,
    min_replicas: u32,
    max_replicas: u32,
    /// The entry names its own min.
    min_explicit: bool,
}

/// The bounds in force from an instant up to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InForce {
    /// The entry they come from; none: they are the object's own.
    pub schedule: Option<String>,
    /// Fewest replicas.
    pub min_replicas: u32,
    /// Most replicas.
    pub max_replicas: u32,
    /// Whether an entry in force names its own min, instead of inheriting it.
    pub min_explicit: bool,
    /// When another entry, or none, is in force; none: never.
    pub next_transition: Option<Timestamp>,
    since: Timestamp,
    until: Timestamp,
}

/// Which entry speaks, and whether one that is in force names its min.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    entry: Option<usize>,
    min_explicit: bool,
}

impl InForce {
    /// Whether these bounds are known to be in force at `at`, too. Not before the instant they were asked for: a wall
    /// clock may be set back.
    pub fn holds_at(&self, at: Timestamp) -> bool {
        self.since <= at && at < self.until
    }
}

impl Schedules {
    /// No entries: the object's own bounds at all times.
    fn none(min_replicas: u32, max_replicas: u32) -> Self {
        Self { min_replicas, max_replicas, zones: Vec::new(), entries: Vec::new() }
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The bounds in force at `now`.
    pub fn at(&self, now: Timestamp) -> InForce {
        let clocks = self.clocks(now);
        let state = self.state(&clocks, now);
        let next_transition = self.next_change(state, clocks, now);
        let entry = state.entry.map(|at| &self.entries[at]);
        InForce {
            schedule: entry.map(|entry| entry.name.clone()),
            min_replicas: entry.map_or(self.min_replicas, |entry| entry.min_replicas),
            max_replicas: entry.map_or(self.max_replicas, |entry| entry.max_replicas),
            min_explicit: state.min_explicit,
            next_transition,
            since: now,
            until: next_transition.unwrap_or_else(|| now.saturating_add(HORIZON).unwrap_or(Timestamp::MAX)),
        }
    }

    /// One per zone.
    fn clocks(&self, at: Timestamp) -> Vec<Clock> {
        self.zones.iter().map(|zone| zone.clock(at)).collect()
    }

    fn state(&self, clocks: &[Clock], at: Timestamp) -> State {
        let read: Vec<u32> = clocks.iter().map(|clock| clock.second_of_week(at)).collect();
        let in_force = |entry: &Entry| entry.week.contains(read[entry.zone]);
        State {
            entry: self.entries.iter().position(in_force),
            min_explicit: self.entries.iter().any(|entry| entry.min_explicit && in_force(entry)),
        }
    }

    /// From border to border of any entry: between two of them nothing can change.
    fn next_change(&self, state: State, mut clocks: Vec<Clock>, now: Timestamp) -> Option<Timestamp> {
        let last = now.saturating_add(HORIZON).ok()?;
        let mut at = now;
        loop {
            let borders =
                self.zones.iter().zip(&clocks).filter_map(|(zone, clock)| zone.next_border(clock, at));
            at = borders.min().filter(|at| *at <= last)?;
            for (zone, clock) in self.zones.iter().zip(&mut clocks).filter(|(_, clock)| clock.is_set_by(at)) {
                *clock = zone.clock(at);
            }
            if self.state(&clocks, at) != state {
                return Some(at);
            }
        }
    }
}

#[cfg(test)]
mod tests;

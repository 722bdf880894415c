//! From what is written to what can be looked up: every rule, each with its sentence.

use super::week::DAY;
use super::zone::{self, Zone};
use super::{Entry, Schedules, Week};
use crate::podautoscaler::{PodAutoscalerSpec, Schedule};
use crate::rules;
use crate::validate::{SpecError, set};

/// The most entries of one object; the CRD says the same.
pub(crate) const MOST_SCHEDULES: usize = 100;
/// The longest name; the CRD says the same.
const LONGEST_NAME: usize = 253;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const MINUTE: u32 = 60;

/// The entries of `spec`. What is wrong with them is added to `errors`; what is given is then of no use.
pub(crate) fn read(spec: &PodAutoscalerSpec, errors: &mut Vec<SpecError>) -> Schedules {
    let base = (spec.min_replicas.unwrap_or(1), spec.max_replicas);
    let [min_replicas, max_replicas] = [base.0, base.1].map(|bound| u32::try_from(bound).unwrap_or_default());
    let mut schedules = Schedules::none(min_replicas, max_replicas);
    let Some(written) = &spec.schedules else { return schedules };
    if written.is_empty() || written.len() > MOST_SCHEDULES {
        let (rule, found) = (rules::SCHEDULES, written.len());
        errors.push(SpecError::Spec(format!("spec.schedules: {rule} (found {found})")));
        return schedules;
    }
    let before = errors.len();
    for (at, schedule) in written.iter().enumerate() {
        let path = format!("spec.schedules[{at}]");
        if written[..at].iter().any(|other| other.name == schedule.name) {
            let found = &schedule.name;
            errors.push(SpecError::Spec(format!(
                "{path}.name: {} (found \"{found}\" again)",
                rules::SCHEDULE_NAMES
            )));
        }
        let mut reading = Reading { path: &path, errors };
        if let Some((zone, entry)) = reading.entry(schedule, base) {
            schedules.add(zone, entry);
        }
    }
    if errors.len() == before {
        schedules.contradictions(errors);
    }
    schedules
}

struct Reading<'a> {
    path: &'a str,
    errors: &'a mut Vec<SpecError>,
}

impl Reading<'_> {
    fn broken(&mut self, field: &str, rule: &str, found: &str) {
        self.errors.push(SpecError::Spec(format!("{}.{field}: {rule} (found \"{found}\")", self.path)));
    }

    /// `None` if something is wrong; everything that is has been said.
    fn entry(&mut self, schedule: &Schedule, base: (i32, i32)) -> Option<(Zone, Entry)> {
        if !is_name(&schedule.name) {
            self.broken("name", rules::SCHEDULE_NAME, &schedule.name);
        }
        let name = set(schedule.timezone.as_ref()).unwrap_or("UTC");
        let zone = Zone::named(name);
        if zone.is_none() {
            self.broken("timezone", rules::SCHEDULE_TIMEZONE, name);
        }
        let days = self.days(schedule.days_of_week.as_deref());
        let start = minutes(&schedule.start_time).filter(|start| *start < DAY / MINUTE);
        if start.is_none() {
            self.broken("startTime", rules::SCHEDULE_START, &schedule.start_time);
        }
        let end = minutes(&schedule.end_time);
        if end.is_none() {
            self.broken("endTime", rules::SCHEDULE_END, &schedule.end_time);
        }
        let (min_replicas, max_replicas) = self.bounds(schedule, base)?;
        let entry = Entry {
            name: schedule.name.clone(),
            zone: 0,
            week: week(&days?, start?, end?),
            min_replicas,
            max_replicas,
            min_explicit: schedule.min_replicas.is_some(),
        };
        Some((zone?, entry))
    }

    fn days(&mut self, written: Option<&[String]>) -> Option<Vec<u32>> {
        let Some(written) = written else { return Some((0..7).collect()) };
        if written.is_empty() {
            self.broken("daysOfWeek", rules::SCHEDULE_NO_DAY, "[]");
            return None;
        }
        let number = |day: &String| (0..).zip(DAYS).find(|(_, known)| known.eq_ignore_ascii_case(day));
        let days: Option<Vec<u32>> =
            written.iter().map(|day| number(day).map(|(number, _)| number)).collect();
        if days.is_none() {
            self.broken("daysOfWeek", rules::SCHEDULE_DAYS, &written.join(", "));
        }
        days
    }

    /// With what is missing taken from the object's own.
    fn bounds(&mut self, schedule: &Schedule, base: (i32, i32)) -> Option<(u32, u32)> {
        let path = self.path;
        let mut broken = |rule: &str, found: String| {
            self.errors.push(SpecError::Bounds(format!("{path}: {rule} (found {found})")));
        };
        if schedule.min_replicas.is_none() && schedule.max_replicas.is_none() {
            broken(rules::SCHEDULE_WITHOUT_BOUNDS, "neither".to_owned());
            return None;
        }
        if let Some(min) = schedule.min_replicas.filter(|min| *min < 0) {
            broken(rules::MIN_NEGATIVE, min.to_string());
            return None;
        }
        if let Some(max) = schedule.max_replicas.filter(|max| *max <= 0) {
            broken(rules::MAX_NOT_POSITIVE, max.to_string());
            return None;
        }
        let (min, max) = (schedule.min_replicas.unwrap_or(base.0), schedule.max_replicas.unwrap_or(base.1));
        if min > max {
            broken(rules::SCHEDULE_MIN_ABOVE_MAX, format!("{min} and {max}"));
        }
        let bounds = (u32::try_from(min).ok()?, u32::try_from(max).ok()?);
        (min <= max && max > 0).then_some(bounds)
    }
}

impl Schedules {
    fn add(&mut self, zone: Zone, mut entry: Entry) {
        let known = self.zones.iter().position(|known| known.is(&zone));
        entry.zone = known.unwrap_or_else(|| {
            self.zones.push(zone);
            self.zones.len() - 1
        });
        self.zones[entry.zone].add_borders(&entry.week);
        self.entries.push(entry);
    }

    /// Two entries may be in force at once if it makes no difference which of them is. One sentence per entry.
    fn contradictions(&self, errors: &mut Vec<SpecError>) {
        for (at, later) in self.entries.iter().enumerate() {
            let Some(earlier) = self.entries[..at].iter().find(|earlier| self.contradict(earlier, later))
            else {
                continue;
            };
            let when = if earlier.zone == later.zone { "" } else { ", at least in some weeks of the year" };
            errors.push(SpecError::Bounds(format!(
                "spec.schedules: \"{}\" ({} to {} replicas) and \"{}\" ({} to {}) are in force at the same time{when}; \
                 give them the same bounds, or other times",
                earlier.name,
                earlier.min_replicas,
                earlier.max_replicas,
                later.name,
                later.min_replicas,
                later.max_replicas,
            )));
        }
    }

    fn contradict(&self, one: &Entry, other: &Entry) -> bool {
        let clock = |entry: &Entry| &self.zones[entry.zone];
        (one.min_replicas, one.max_replicas) != (other.min_replicas, other.max_replicas)
            && zone::meet((clock(one), &one.week), (clock(other), &other.week))
    }
}

/// `^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`, as in the CRD.
fn is_name(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=LONGEST_NAME).contains(&text.len())
        && text.bytes().all(inside)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Minutes since midnight of `HH:MM`, up to 24:00.
fn minutes(text: &str) -> Option<u32> {
    let digits = |text: &str| {
        (text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse())
    };
    let (hours, minutes) = text.split_once(':')?;
    let (hours, minutes): (u32, u32) = (digits(hours)?.ok()?, digits(minutes)?.ok()?);
    (minutes < 60 && hours * 60 + minutes <= DAY / MINUTE).then_some(hours * 60 + minutes)
}

/// From `start` to `end` minutes after midnight on these days; an `end` that is not after `start` is on the next day.
fn week(days: &[u32], start: u32, end: u32) -> Week {
    let length = if end > start { end - start } else { end + DAY / MINUTE - start };
    Week::of(days.iter().map(|day| (day * DAY + start * MINUTE, length * MINUTE)))
}

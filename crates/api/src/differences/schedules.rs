//! Schedules that AIBrix would refuse, or tells wrongly about.

use std::collections::BTreeSet;

use crate::podautoscaler::{PodAutoscalerSpec, Schedule};

use super::{Against, List};

pub(super) fn compare(spec: &PodAutoscalerSpec, list: &mut List) {
    let schedules = spec.schedules.as_deref().unwrap_or_default();
    let mut refused = |subject: String, what: &str, here: &str| {
        list.push(Against::Current, subject, format!("it refuses {what}; here {here}"));
    };
    let allowed = "that is allowed";
    let zone = |schedule: &Schedule| schedule.timezone.clone().unwrap_or_default();
    for (at, schedule) in schedules.iter().enumerate() {
        let path = format!("spec.schedules[{at}]");
        if schedule.end_time == "24:00" {
            refused(format!("{path}.endTime"), "24:00", allowed);
        } else if schedule.end_time <= schedule.start_time {
            refused(path.clone(), "an entry across midnight", allowed);
        }
        let before = &schedules[..at];
        if let Some(other) = before.iter().find(|other| overlap(other, schedule)) {
            let what = format!("an entry that overlaps another ({})", other.name);
            refused(path, &what, "that is allowed where they agree on the bounds");
        }
    }
    if schedules.iter().map(zone).collect::<BTreeSet<_>>().len() > 1 {
        refused("spec.schedules".to_owned(), "several time zones", allowed);
    }
    if schedules.iter().any(|schedule| !["", "UTC"].contains(&zone(schedule).as_str())) {
        list.push(
            Against::Current,
            "spec.schedules",
            "on days when clocks change it tells the next transition wrongly, by the hour; here it is right",
        );
    }
}

/// As AIBrix judges it: times of one day, on a day that both have.
fn overlap(one: &Schedule, other: &Schedule) -> bool {
    let days = |schedule: &Schedule| -> Option<BTreeSet<String>> {
        schedule.days_of_week.as_ref().map(|days| days.iter().map(|day| day.to_ascii_lowercase()).collect())
    };
    let share_a_day = match (days(one), days(other)) {
        (Some(one), Some(other)) => !one.is_disjoint(&other),
        _ => true,
    };
    one.timezone == other.timezone
        && share_a_day
        && one.start_time < other.end_time
        && other.start_time < one.end_time
}

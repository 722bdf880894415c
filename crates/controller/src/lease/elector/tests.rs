//! The state machine step by step. Runs of several candidates are in [`simulation`].

use super::*;

mod simulation;

/// What happened before the next step is asked for.
#[derive(Debug, Clone, Copy)]
enum Event {
    Nothing,
    /// A read or a write gave this holder (`""`: none), this duration in seconds, this mark of a renewal.
    Says(&'static str, u64, i64),
    Absent,
    Conflict,
    Failed,
    Resign,
}
use Event::*;

fn wall(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn at(millis: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(millis)
}

/// Answers have their renewal as acquire time as well: `0` is the time at which `us` tries first.
fn answer(event: Event) -> Option<Answer<u64>> {
    let found = |holder: &str, seconds, renewed| Found {
        record: Record {
            holder: (!holder.is_empty()).then(|| holder.to_owned()),
            duration: Some(Duration::from_secs(seconds)),
            transitions: 7,
            acquired: Some(wall(renewed)),
            renewed: Some(wall(renewed)),
        },
        version: 40,
    };
    match event {
        Says(holder, seconds, renewed) => Some(Answer::Found(found(holder, seconds, renewed))),
        Absent => Some(Answer::Absent),
        Conflict => Some(Answer::Conflict),
        Failed => Some(Answer::Failed("refused".to_owned())),
        Nothing | Resign => None,
    }
}

fn described(step: &Step<u64>) -> String {
    match step {
        Step::Read { .. } => "read".to_owned(),
        Step::Write { record, over, .. } => {
            let what = if over.is_some() { "replace" } else { "create" };
            let holder = record.holder.as_deref().unwrap_or("nobody");
            format!("{what} {holder} {} #{}", record.duration.unwrap().as_secs(), record.transitions)
        }
        Step::Wait(until) => format!("wait {}", until.as_micros() / 1000),
        Step::Lost(loss) => format!("lost: {loss}"),
        Step::Resigned => "resigned".to_owned(),
    }
}

/// Each row: when (ms), what happened then, what is done next, and whether `us` leads after that. A call is begun at
/// the row that asks for it and answered by the next one. Jitter is the greatest, so that a follower's pause is 2 s.
fn check(rows: &[(u64, Event, &str, bool)]) {
    let mut elector: Elector<u64> = Elector::new("us".to_owned(), Timing::default());
    let mut asked = at(0);
    for &(now, event, expected, leads) in rows {
        let row = format!("at {now} ms after {event:?}");
        if let Some(answer) = answer(event) {
            elector.answered(asked, at(now), answer, 1.0);
        } else if matches!(event, Resign) {
            elector.resign();
        }
        let step = elector.next(at(now), wall(0));
        asked = at(now);
        assert_eq!(described(&step), expected, "{row}");
        assert_eq!(elector.leads_until().is_some_and(|until| at(now) < until), leads, "{row}");
        if let Step::Read { within } | Step::Write { within, .. } = step {
            assert!(within <= Duration::from_secs(5), "{row}: {within:?}");
            let in_term = elector.leads_until().is_none_or(|until| at(now) + within <= until);
            assert!(in_term, "{row}: a call outlives the term");
        }
    }
}

#[test]
fn nobody_held_it() {
    check(&[
        (0, Nothing, "read", false),
        (10, Absent, "create us 15 #0", false),
        (20, Says("us", 15, 0), "wait 2010", true),
        (2_010, Nothing, "replace us 15 #7", true),
    ]);
}

#[test]
fn a_lost_race_of_creation_is_followed() {
    check(&[
        (0, Nothing, "read", false),
        (10, Absent, "create us 15 #0", false),
        (20, Conflict, "wait 2020", false),
        (2_020, Nothing, "read", false),
        (2_030, Says("other", 15, 1), "wait 4030", false),
    ]);
}

/// Whatever the holder's clock says: what counts is how long we saw no change.
#[test]
fn a_silent_holder_is_followed_for_its_whole_duration() {
    check(&[
        (0, Nothing, "read", false),
        (10, Says("other", 15, -1_000_000), "wait 2010", false),
        (2_010, Nothing, "read", false),
        // A renewal begins the wait anew.
        (3_000, Says("other", 15, -999_999), "wait 5000", false),
        (17_990, Nothing, "read", false),
        // Not the whole pause: it is free before.
        (17_999, Says("other", 15, -999_999), "wait 18000", false),
        (18_000, Nothing, "read", false),
        (18_001, Says("other", 15, -999_999), "replace us 15 #8", false),
        (18_010, Conflict, "wait 20010", false),
    ]);
}

#[test]
fn a_longer_duration_of_the_holder_is_waited_for_and_a_shorter_one_is_not_believed() {
    for (seconds, waits) in [(30, 30_000), (2, 15_000), (0, 15_000)] {
        check(&[
            (0, Nothing, "read", false),
            (0, Says("other", seconds, 1), "wait 2000", false),
            (waits - 1, Nothing, "read", false),
            (waits - 1, Says("other", seconds, 1), &format!("wait {waits}"), false),
            (waits, Nothing, "read", false),
            (waits, Says("other", seconds, 1), "replace us 15 #8", false),
        ]);
    }
}

#[test]
fn what_was_given_back_is_taken_at_once_and_what_was_emptied_by_hand_is_not() {
    check(&[
        (0, Nothing, "read", false),
        (10, Says("", 1, 1), "replace us 15 #8", false),
        (20, Says("us", 15, 0), "wait 2010", true),
    ]);
    check(&[
        (0, Nothing, "read", false),
        (10, Says("", 15, 1), "wait 2010", false),
        (15_010, Nothing, "read", false),
        (15_020, Says("", 15, 1), "replace us 15 #8", false),
    ]);
}

#[test]
fn a_term_ends_a_deadline_after_the_start_of_the_last_renewal() {
    let lost = "lost: the Lease was not renewed within 10 s: refused";
    check(&[
        (0, Nothing, "read", false),
        (0, Absent, "create us 15 #0", false),
        // Begun at 0, answered after 3 s.
        (3_000, Says("us", 15, 0), "replace us 15 #7", true),
        // Begun at 3 s.
        (5_000, Says("us", 15, 0), "replace us 15 #7", true),
        (7_000, Failed, "read", true),
        (7_000, Failed, "wait 9000", true),
        (9_000, Nothing, "read", true),
        (12_900, Failed, "wait 13000", true),
        (13_000, Nothing, lost, false),
        (13_001, Nothing, lost, false),
    ]);
    // A process that stood still.
    check(&[
        (0, Nothing, "read", false),
        (0, Absent, "create us 15 #0", false),
        (0, Says("us", 15, 0), "wait 2000", true),
        (60_000, Nothing, "lost: the Lease was not renewed within 10 s", false),
    ]);
    // An answer that was so late begins no term, but is recognised.
    check(&[
        (0, Nothing, "read", false),
        (0, Absent, "create us 15 #0", false),
        (11_000, Says("us", 15, 0), "read", false),
        (11_000, Says("us", 15, 0), "replace us 15 #7", false),
    ]);
}

#[test]
fn a_write_whose_answer_was_lost_is_recognised_but_not_a_namesake() {
    check(&[
        (0, Nothing, "read", false),
        (0, Absent, "create us 15 #0", false),
        (5_000, Failed, "wait 7000", false),
        (7_000, Nothing, "read", false),
        (7_000, Says("us", 15, 0), "replace us 15 #7", false),
        (7_010, Says("us", 15, 0), "wait 9000", true),
    ]);
    check(&[
        (0, Nothing, "read", false),
        (0, Says("us", 15, 1), "wait 2000", false),
        (2_000, Nothing, "read", false),
        (2_000, Says("us", 15, 1), "wait 4000", false),
        (15_000, Nothing, "read", false),
        (15_000, Says("us", 15, 1), "replace us 15 #8", false),
    ]);
}

#[test]
fn a_leader_survives_edits_and_deletion_and_yields_to_another_holder() {
    let leading = [
        (0, Nothing, "read", false),
        (0, Absent, "create us 15 #0", false),
        (0, Says("us", 15, 0), "wait 2000", true),
        (2_000, Nothing, "replace us 15 #7", true),
    ];
    let then = |rows: &[(u64, Event, &'static str, bool)]| check(&[&leading, rows].concat());
    then(&[(2_000, Conflict, "read", true), (2_000, Says("us", 3, 9), "replace us 15 #7", true)]);
    then(&[(2_000, Conflict, "read", true), (2_000, Says("", 15, 0), "replace us 15 #8", true)]);
    then(&[(2_000, Absent, "read", true), (2_000, Absent, "create us 15 #7", true)]);
    then(&[
        (2_000, Conflict, "read", true),
        (2_000, Says("other", 15, 3), "lost: other holds the Lease now", false),
    ]);
    // Not in a tight loop.
    then(&[
        (2_000, Conflict, "read", true),
        (2_000, Says("us", 15, 0), "replace us 15 #7", true),
        (2_000, Conflict, "wait 4000", true),
    ]);
}

#[test]
fn a_deleted_lease_is_waited_for_by_who_knows_that_it_was_held() {
    check(&[
        (0, Nothing, "read", false),
        (0, Says("other", 15, 1), "wait 2000", false),
        (2_000, Nothing, "read", false),
        (2_000, Absent, "wait 4000", false),
        (16_999, Nothing, "read", false),
        (16_999, Absent, "wait 17000", false),
        (17_000, Nothing, "read", false),
        (17_000, Absent, "create us 15 #0", false),
    ]);
}

#[test]
fn leadership_is_given_back() {
    let leading = [
        (0, Nothing, "read", false),
        (0, Absent, "create us 15 #0", false),
        (0, Says("us", 15, 0), "wait 2000", true),
        (500, Resign, "replace nobody 1 #7", false),
    ];
    let then = |rows: &[(u64, Event, &'static str, bool)]| check(&[&leading, rows].concat());
    then(&[(510, Says("", 1, 0), "resigned", false)]);
    then(&[
        (510, Conflict, "read", false),
        (520, Says("us", 15, 0), "replace nobody 1 #7", false),
        (530, Says("", 1, 0), "resigned", false),
    ]);
    then(&[(510, Conflict, "read", false), (520, Says("other", 15, 0), "resigned", false)]);
    then(&[(510, Failed, "read", false), (520, Failed, "resigned", false)]);
    check(&[
        (0, Nothing, "read", false),
        (0, Says("other", 15, 1), "wait 2000", false),
        (1, Resign, "resigned", false),
    ]);
}

#[test]
fn spans_must_leave_room_for_a_renewal_and_for_a_stop() {
    let check = |lease: u64, deadline: u64, retry: u64, expected: &str| {
        let millis = Duration::from_millis;
        let timing = Timing {
            lease_duration: millis(lease),
            renew_deadline: millis(deadline),
            retry_period: millis(retry),
        };
        let said = timing.validated().map_or_else(|error| error.to_string(), |_| String::new());
        assert!(said.contains(expected) && said.is_empty() == expected.is_empty(), "{said}");
    };
    check(15_000, 10_000, 2_000, "");
    check(3_000, 2_000, 500, "");
    check(10_000, 10_000, 2_000, "--lease-duration (10s) must be longer than --renew-deadline (10s)");
    check(15_000, 2_400, 2_000, "--renew-deadline (2.4s) must be longer than 1.2 × --retry-period (2s)");
    check(15_000, 10_000, 0, "--retry-period must be longer than zero");
    check(2_500, 1_000, 100, "whole seconds");
}

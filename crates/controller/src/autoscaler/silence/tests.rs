//! Which silent pod a status names, poll by poll.

use super::*;

const REFUSED: &str = "answered with status 401 Unauthorized: credentials are missing, wrong or out of date";
const BUSY: &str = "answered with status 503 Service Unavailable";

fn seconds(seconds: u64) -> Instant {
    Instant::from_micros(seconds * 1_000_000)
}

/// Pods' pages, polled one after the other, and what is told of them.
#[derive(Default)]
struct World {
    pods: [Silences; 2],
    told: Option<Told>,
}

impl World {
    /// At `second`, and `spacing` seconds after the one before, a poll of a pod's page ends so; then what is told.
    #[track_caller]
    fn polls(
        &mut self,
        (second, spacing): (u64, u64),
        pod: usize,
        page: usize,
        why: Option<&str>,
        told: &str,
    ) {
        let (asked, spacing) = (seconds(second), Duration::from_secs(spacing));
        let silences = &mut self.pods[pod];
        match why {
            Some(REFUSED) => {
                let error = ScrapeError::Status(http::StatusCode::UNAUTHORIZED);
                silences.failed(page, &error, asked, spacing);
            }
            Some(BUSY) => {
                let error = ScrapeError::Status(http::StatusCode::SERVICE_UNAVAILABLE);
                silences.failed(page, &error, asked, spacing);
            }
            missing => silences.answered(page, missing.map(str::to_owned), asked, spacing),
        }
        let pods = (0..).zip(["p0", "p1"]).zip(&self.pods);
        let pods = pods.map(|((uid, name), silences)| (PodUid(uid), name, silences));
        self.told = Told::next(self.told.take(), pods, asked);
        let said = self.told.as_ref().map(|told| format!("{}: {}", told.name, told.why));
        assert_eq!(said.as_deref().unwrap_or_default(), told, "at {second} s");
    }
}

#[test]
fn a_poll_that_was_missed_is_no_silence() {
    let mut world = World::default();
    world.polls((2, 2), 0, 0, Some(BUSY), "");
    world.polls((3, 1), 0, 0, None, "");
    world.polls((4, 1), 0, 0, Some(BUSY), "");
    world.polls((5, 1), 0, 0, Some(BUSY), "");
    world.polls((7, 2), 0, 0, Some(BUSY), &format!("p0: {BUSY}"));
}

#[test]
fn a_reason_that_changes_for_good_is_told_and_reasons_that_take_turns_are_not() {
    let mut world = World::default();
    let (refused, busy) = (format!("p0: {REFUSED}"), format!("p0: {BUSY}"));
    world.polls((4, 4), 0, 0, Some(REFUSED), &refused);
    for second in [10, 20, 30, 40] {
        let why = if second % 20 == 0 { REFUSED } else { BUSY };
        world.polls((second, 10), 0, 0, Some(why), &refused);
    }
    world.polls((50, 10), 0, 0, Some(BUSY), &refused);
    world.polls((60, 10), 0, 0, Some(BUSY), &busy);
}

#[test]
fn who_is_named_stays_named_until_it_is_heard() {
    let mut world = World::default();
    world.polls((5, 1), 1, 0, Some(BUSY), "");
    world.polls((6, 1), 0, 0, Some(BUSY), "");
    world.polls((8, 2), 1, 0, Some(BUSY), &format!("p1: {BUSY}"));
    world.polls((9, 3), 0, 0, Some(BUSY), &format!("p1: {BUSY}"));
    world.polls((11, 3), 1, 0, None, &format!("p0: {BUSY}"));
    world.polls((12, 3), 0, 0, None, "");
}

#[test]
fn a_page_that_answers_does_not_hide_another_that_does_not() {
    let mut world = World::default();
    world.polls((5, 5), 0, 0, Some("the page has no m"), "p0: the page has no m");
    world.polls((6, 1), 0, 1, Some(BUSY), "p0: the page has no m");
    world.polls((7, 1), 0, 1, None, "p0: the page has no m");
    world.polls((8, 1), 0, 0, None, "");
}

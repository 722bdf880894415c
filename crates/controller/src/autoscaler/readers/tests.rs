use std::sync::Arc;

use windlass_metrics::Wanted;
use windlass_scrape::{Endpoint, Host, Pacemaker, Schedule, ScrapeError};

use super::*;
use crate::index::tests::outcome;

/// One page each of so many pods, of which nothing is heard but what a test says.
fn readers(pods: u128) -> Readers {
    let origin = tokio::time::Instant::now();
    let pacemaker = Pacemaker::new(Schedule { interval: Duration::from_secs(1), origin });
    let mut readers = Readers::default();
    for pod in 1..=pods {
        let host = Host::Address(([127, 0, 0, 1], 9).into());
        let endpoint = Endpoint { host, path: "/metrics".to_owned(), access: None };
        let poller = Poller::spawn(endpoint, &pacemaker, Arc::new(Wanted::new(&[])), |_| ());
        readers.insert((PodUid(pod), 0), poller);
    }
    readers
}

const INTERVAL: Duration = Duration::from_secs(1);

impl Readers {
    /// Whether hearing so of this pod ends a lap.
    fn hears(&mut self, pod: u128, good: bool) -> bool {
        let failed = ScrapeError::Deadline(Duration::from_millis(900));
        let values = if good { Ok(Vec::new()) } else { Err(failed) };
        let service = Duration::from_millis(3);
        self.hear((PodUid(pod), 0), &Outcome { service, ..outcome(tokio::time::Instant::now(), values) });
        self.is_lap_over(good, INTERVAL)
    }
}

#[tokio::test]
async fn a_lap_is_one_reading_of_every_page() {
    let mut readers = readers(3);
    for _ in 0..3 {
        assert_eq!([2, 1, 3].map(|pod| readers.hears(pod, true)), [false, false, true]);
    }
}

#[tokio::test]
async fn who_failed_is_not_waited_for() {
    let mut readers = readers(3);
    assert_eq!([1, 2].map(|pod| readers.hears(pod, true)), [false, false]);
    assert!(readers.hears(3, false), "the lap brought readings of the others");
    assert!(readers.any_failing());
    assert_eq!([1, 2].map(|pod| readers.hears(pod, true)), [false, true]);
    assert!(!readers.hears(3, false));
    assert_eq!([3, 1, 2].map(|pod| readers.hears(pod, true)), [false, false, true], "it is back");
    assert!(!readers.any_failing());
    assert_eq!([1, 2, 3].map(|pod| readers.hears(pod, true)), [false, false, true]);
    assert_eq!([1, 2, 3].map(|pod| readers.hears(pod, false)), [false, false, false], "nothing was read");
}

/// Which of these, each a pod and when it was asked, in milliseconds, end a lap.
#[track_caller]
fn check(readers: &mut Readers, heard: &[(u128, u64, bool)]) {
    let epoch = tokio::time::Instant::now();
    for &(pod, millis, ends) in heard {
        let asked = epoch + Duration::from_millis(millis);
        readers.hear((PodUid(pod), 0), &outcome(asked, Ok(Vec::new())));
        assert_eq!(readers.is_lap_over(true, INTERVAL), ends, "pod {pod} at {millis}");
    }
}

#[tokio::test]
async fn a_slow_engine_holds_up_nobody() {
    let mut readers = readers(3);
    let again = [(1, 0, false), (2, 0, false), (1, 1_000, true), (2, 1_000, false), (1, 2_000, true)];
    check(&mut readers, &again);
    check(&mut readers, &[(2, 2_000, false), (2, 2_400, false), (1, 3_000, true)]);
    readers.retain(|pod| pod != PodUid(3));
    check(&mut readers, &[(1, 4_000, true)]);
}

/// Pages that take longer than the interval, each asked for at another part of it.
#[tokio::test]
async fn engines_that_are_all_slow_do_not_await_each_other_for_ever() {
    let mut readers = readers(3);
    let slow = (1..20).flat_map(|lap| [(1, 1_600 * lap), (2, 1_600 * lap + 500), (3, 1_600 * lap + 1_000)]);
    let epoch = tokio::time::Instant::now();
    let ends = slow.filter(|(pod, millis)| {
        readers.hear((PodUid(*pod), 0), &outcome(epoch + Duration::from_millis(*millis), Ok(Vec::new())));
        readers.is_lap_over(true, INTERVAL)
    });
    let laps = ends.count();
    assert!(laps >= 9, "{laps} laps of 19 readings each");
}

/// However laps came to end between two pods: the next but one ends behind both of them.
#[tokio::test]
async fn laps_fall_into_step_again() {
    check(
        &mut readers(2),
        &[
            (2, 0, false),
            // The first answers only just before the second is asked again.
            (1, 990, false),
            (2, 1_000, true),
            (1, 1_990, false),
            (2, 2_000, true),
        ],
    );
}

#[tokio::test]
async fn the_dearest_pod_counts() {
    let mut readers = readers(2);
    assert_eq!(readers.service(1), None);
    readers.hears(1, true);
    assert_eq!(readers.service(1), Some(Duration::from_millis(3)));
    assert_eq!(readers.service(2), None, "of the other page nothing is known");
}

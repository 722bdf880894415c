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

    /// The same of a page that was asked for so many milliseconds after the epoch of the test.
    fn hears_at(&mut self, pod: u128, (epoch, millis): (tokio::time::Instant, u64)) -> bool {
        let asked = epoch + Duration::from_millis(millis);
        self.hear((PodUid(pod), 0), &outcome(asked, Ok(Vec::new())));
        self.is_lap_over(true, INTERVAL)
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

#[tokio::test]
async fn a_slow_engine_holds_up_nobody() {
    let mut readers = readers(3);
    assert_eq!([1, 2].map(|pod| readers.hears(pod, true)), [false, false]);
    assert!(readers.hears(1, true), "heard again before the third");
    assert_eq!([2, 1].map(|pod| readers.hears(pod, true)), [false, true], "and again");
    assert!(!readers.hears(2, true));
    readers.retain(|pod| pod != PodUid(3));
    assert!(readers.hears(1, true));
}

/// However laps came to end between two pods: the next but one ends behind both of them.
#[tokio::test]
async fn laps_fall_into_step_again() {
    let (mut readers, epoch) = (readers(2), tokio::time::Instant::now());
    for (pod, millis, ends) in [
        (2, 0, false),
        // The first answers only just before the second is asked again.
        (1, 990, false),
        (2, 1_000, true),
        (1, 1_990, false),
        (2, 2_000, true),
    ] {
        assert_eq!(readers.hears_at(pod, (epoch, millis)), ends, "pod {pod} at {millis}");
    }
}

#[tokio::test]
async fn the_dearest_pod_counts() {
    let mut readers = readers(2);
    assert_eq!(readers.service(1), None);
    readers.hears(1, true);
    assert_eq!(readers.service(1), Some(Duration::from_millis(3)));
    assert_eq!(readers.service(2), None, "of the other page nothing is known");
}

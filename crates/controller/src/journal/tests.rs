use std::cell::RefCell;
use std::sync::Once;
use std::time::Duration;

use kube::core::{ApiResource, GroupVersionKind};
use prometheus_client::encoding::text::encode;

use super::*;
use crate::autoscaler::{Key, ScaleRequest};
use crate::write::WriteError;

fn page(journal: &Journal) -> String {
    let mut registry = Registry::default();
    journal.register(&mut registry);
    let mut page = String::new();
    encode(&mut page, &registry).unwrap();
    page
}

fn request(from: u32, to: u32) -> ScaleRequest {
    ScaleRequest {
        key: Key { namespace: "ns".to_owned(), name: "pa".to_owned() },
        resource: ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", "Deployment")),
        target: crate::index::tests::target(),
        count: crate::target::Count::Scale,
        uid: "u".to_owned(),
        from,
        to,
        reason: "because".to_owned(),
        reading: None,
    }
}

/// Records an entry; the page must have these lines then.
#[track_caller]
fn check(entry: &impl Entry, lines: &[&str]) {
    let journal = Journal::default();
    entry.record(&journal);
    let page = page(&journal);
    for line in lines {
        assert!(page.lines().any(|found| found == *line), "{line} is not on the page:\n{page}");
    }
}

#[test]
fn entries_are_counted() {
    check(
        &Decided { took: Duration::from_micros(3) },
        &[
            "windlass_decisions_total 1",
            "windlass_decision_seconds_bucket{le=\"0.000002\"} 0",
            "windlass_decision_seconds_bucket{le=\"0.000005\"} 1",
        ],
    );
    let (up, down) = (request(2, 4), request(4, 3));
    check(
        &Scaled { request: &up, replicas: 4, after_reading: Some(Duration::from_millis(4)) },
        &[
            "windlass_scales_total{namespace=\"ns\",name=\"pa\",direction=\"up\",outcome=\"written\"} 1",
            "windlass_reading_to_write_seconds_count 1",
            "windlass_reading_to_write_seconds_bucket{le=\"0.005\"} 1",
        ],
    );
    let opened = Scaled { request: &up, replicas: 4, after_reading: None };
    check(&opened, &["windlass_reading_to_write_seconds_count 0"]);
    let error = WriteError::Overtaken(7);
    check(
        &NotScaled { request: &down, because: NotScaledBecause::Overtaken, error: &error },
        &["windlass_scales_total{namespace=\"ns\",name=\"pa\",direction=\"down\",outcome=\"overtaken\"} 1"],
    );
    let timeout = windlass_scrape::ScrapeError::Deadline(Duration::from_secs(1));
    check(
        &Polled { error: Some(&timeout), took: Duration::ZERO, bytes: 0 },
        &["windlass_scrapes_total{outcome=\"deadline\"} 1", "windlass_scrape_seconds_count 0"],
    );
    check(
        &Polled { error: None, took: Duration::from_millis(1), bytes: 700 },
        &["windlass_scrapes_total{outcome=\"ok\"} 1", "windlass_scrape_bytes_total 700"],
    );
    let requested = Requested {
        verb: Verb::Update,
        resource: "deployments/scale".into(),
        error: Some(&WriteError::Timeout(Duration::from_secs(5))),
        took: Duration::from_secs(5),
    };
    check(
        &requested,
        &[
            "windlass_api_requests_total{verb=\"update\",resource=\"deployments/scale\",outcome=\"timeout\"} 1",
            "windlass_api_request_seconds_count{verb=\"update\"} 1",
        ],
    );
}

#[test]
fn the_series_of_a_target_end_with_it() {
    let journal = Journal::default();
    let request = request(2, 4);
    Scaled { request: &request, replicas: 4, after_reading: None }.record(&journal);
    assert!(page(&journal).contains("name=\"pa\""));
    journal.forget("ns", "pa");
    assert!(!page(&journal).contains("name=\"pa\""));
}

thread_local! {
    /// What this thread has logged, as text.
    static LOGGED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

struct ToThisThread;

impl std::io::Write for ToThisThread {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOGGED.with_borrow_mut(|logged| logged.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What is logged meanwhile. One subscriber serves the whole process and is never taken away: with one for a scope,
/// a test on another thread that logs a line first has it cached, for every thread, as a line nobody wants.
fn logged_by(act: impl FnOnce()) -> String {
    static SUBSCRIBER: Once = Once::new();
    SUBSCRIBER.call_once(|| tracing_subscriber::fmt().with_ansi(false).with_writer(|| ToThisThread).init());
    LOGGED.take();
    act();
    String::from_utf8(LOGGED.take()).unwrap()
}

/// Records an entry; it must be logged in a line with these words, and be counted in this line of the page.
#[track_caller]
fn check_both(entry: &impl Entry, words: &[&str], counted: &str) {
    let logged = logged_by(|| check(entry, &[counted]));
    assert_eq!(logged.lines().count(), 1, "{logged}");
    for word in words {
        assert!(logged.contains(word), "{word} is not in {logged}");
    }
}

#[test]
fn what_is_logged_is_counted() {
    let key = Key { namespace: "ns".to_owned(), name: "pa".to_owned() };
    let key = &key;
    let error = &WriteError::Replaced;
    check_both(
        &Quarantined { key, message: "overflow" },
        &["ERROR", "ns/pa", "overflow"],
        "windlass_quarantines_total 1",
    );
    check_both(
        &StatusWritten { key, error: Some(error) },
        &["WARN", "ns/pa", "another object"],
        "windlass_statuses_total{outcome=\"failed\"} 1",
    );
    check_both(
        &EventRecorded { reason: "Quarantined", error: Some(error) },
        &["WARN", "Quarantined", "lost"],
        "windlass_events_total{reason=\"Quarantined\",outcome=\"failed\"} 1",
    );
    check_both(
        &EventHeldBack { key, reason: "MetricsUnavailable", note: "inflight: blind" },
        &["INFO", "ns/pa", "MetricsUnavailable", "inflight: blind"],
        "windlass_events_total{reason=\"MetricsUnavailable\",outcome=\"held_back\"} 1",
    );
    check_both(
        &OutageBegan { key, signals: 2, note: "inflight, waiting: blind" },
        &["WARN", "ns/pa", "inflight, waiting: blind"],
        "windlass_signal_outages_total{change=\"began\"} 2",
    );
    check_both(
        &OutageEnded { key, signals: 1, note: "inflight: read again" },
        &["INFO", "ns/pa", "inflight: read again"],
        "windlass_signal_outages_total{change=\"ended\"} 1",
    );
    check_both(
        &SpecInvalid { key, errors: "spec.maxReplicas" },
        &["WARN", "ns/pa", "spec.maxReplicas"],
        "windlass_rejected_objects_total{why=\"invalid\"} 1",
    );
    check_both(
        &ObjectUnreadable { name: "pa", error: &"no spec" },
        &["WARN", "pa", "no spec"],
        "windlass_rejected_objects_total{why=\"unreadable\"} 1",
    );
    let request = request(2, 4);
    check_both(
        &Scaled { request: &request, replicas: 4, after_reading: None },
        &["INFO", "ns/pa", "because"],
        "windlass_scales_total{namespace=\"ns\",name=\"pa\",direction=\"up\",outcome=\"written\"} 1",
    );
}

#[test]
fn a_line_that_another_thread_logged_first_is_logged() {
    let line = || tracing::info!("a line of this test alone");
    let logged = logged_by(|| {
        std::thread::spawn(line).join().unwrap();
        line();
    });
    assert_eq!(logged.lines().count(), 1, "{logged}");
}

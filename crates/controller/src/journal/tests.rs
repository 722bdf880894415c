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
        target: "engine".to_owned(),
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
        &Polled { error: Some(&timeout), took: Duration::ZERO },
        &["windlass_scrapes_total{outcome=\"deadline\"} 1", "windlass_scrape_seconds_count 0"],
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

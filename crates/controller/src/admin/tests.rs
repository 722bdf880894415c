//! Asked over real sockets.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use windlass_metrics::Format;
use windlass_metrics::exposition::{Entry, parse};

use super::*;
use crate::clock::Clock;
use crate::index::tests::{World, autoscaler, key, pod};
use crate::journal::{self, Entry as _, Journal};
use crate::leadership::Leadership;
use crate::pulse::{Loop, Pulses};
use crate::write::WriteError;

/// A controller with one target, whose loops turned last this long ago.
async fn serve(world: World, ago: Duration) -> (SocketAddr, Arc<Shared>) {
    let clock = Clock::start();
    let pulses = Pulses::new(clock.now().saturating_sub(ago));
    let (_, leadership) = watch::channel(Leadership::alone());
    let shared = Arc::new(Shared {
        index: Mutex::new(world.index),
        clock,
        reads: Semaphore::new(1),
        leadership,
        journal: Journal::default(),
        pulses,
        recommend_only: false,
        served_crd: crate::served_crd::Finding::default(),
        catalogue: crate::catalogue::Standing::default(),
    });
    let admin = Admin::bind("127.0.0.1:0").await.unwrap();
    let address = admin.address().unwrap();
    tokio::spawn(admin.serve(Arc::clone(&shared)));
    (address, shared)
}

/// The answer to a request: status, head and body.
async fn ask(address: SocketAddr, method: &str, path: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), head.to_lowercase(), body.to_owned())
}

#[tokio::test]
async fn paths_and_methods() {
    let (address, _) = serve(World::new(), Duration::ZERO).await;
    for (method, path, status, contains) in [
        ("GET", "/", 200, "/debug/state"),
        ("GET", "/livez", 200, "ok"),
        ("GET", "/metrics", 200, "# EOF\n"),
        ("GET", "/debug/state", 200, "\"targets\""),
        ("GET", "/metricsx", 404, "nothing is at /metricsx"),
        ("HEAD", "/livez", 200, ""),
        ("POST", "/livez", 405, "only GET"),
        ("DELETE", "/nowhere", 405, "only GET"),
    ] {
        let (found, head, body) = ask(address, method, path).await;
        assert_eq!(found, status, "{method} {path}: {body}");
        assert!(body.contains(contains), "{method} {path}: {body}");
        assert_eq!(head.contains("allow: get, head"), status == 405, "{head}");
        assert!(method != "HEAD" || body.is_empty(), "{body}");
    }
    let (_, head, _) = ask(address, "GET", "/metrics").await;
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
}

#[tokio::test]
async fn who_holds_connections_open_keeps_nobody_out() {
    let (address, _) = serve(World::new(), Duration::ZERO).await;
    let mut held = Vec::new();
    for _ in 0..MOST_CONNECTIONS {
        held.push(TcpStream::connect(address).await.unwrap());
    }
    for _ in 0..3 {
        assert_eq!(ask(address, "GET", "/livez").await.0, 200);
    }
    // The oldest were closed for it, the newest was not.
    assert_eq!(held[0].read(&mut [0]).await.unwrap_or(0), 0);
    let newest = held.last_mut().unwrap();
    newest.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    newest.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_loop_that_stands_still_is_named() {
    let (address, shared) = serve(World::new(), Duration::from_mins(2)).await;
    let now = shared.clock.now();
    for of in [Loop::Decisions, Loop::Statuses, Loop::Autoscalers] {
        shared.pulses.beat(of, now);
    }
    let (status, _, body) = ask(address, "GET", "/livez").await;
    assert_eq!(status, 503);
    assert!(body.starts_with("the watch of pods has not turned for 12"), "{body}");
    shared.pulses.beat(Loop::Pods, now);
    assert_eq!(ask(address, "GET", "/livez").await.0, 200);
}

#[tokio::test]
async fn what_was_not_listed_yet_is_named() {
    let (address, shared) = serve(World::new(), Duration::ZERO).await;
    let (status, _, body) = ask(address, "GET", "/readyz").await;
    assert_eq!(status, 503);
    assert_eq!(body, "not listed yet: podautoscalers, pods\n");
    {
        let mut index = shared.index.lock();
        index.retain_autoscalers(&[key()].into());
        index.retain_pods(&[].into());
    }
    // Its kind of target is not listed, and perhaps never will be: that is the target's problem alone.
    assert_eq!(ask(address, "GET", "/readyz").await.0, 200);
}

#[tokio::test]
async fn a_port_in_use_is_an_error_at_the_start() {
    let first = Admin::bind("127.0.0.1:0").await.unwrap();
    let address = first.address().unwrap().to_string();
    let error = Admin::bind(&address).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot listen on {address}")), "{error}");
    assert!(error.contains("--admin-address"), "{error}");
    assert!(Admin::bind("nowhere").await.is_err());
}

#[tokio::test]
async fn the_state_of_a_target() {
    let (address, _) = serve(one_decided(), Duration::ZERO).await;
    let (_, _, body) = ask(address, "GET", "/debug/state?namespace=ns&name=pa").await;
    let state: Value = serde_json::from_str(&body).unwrap();
    let target = &state["targets"][0];
    assert_eq!(target["capacity"]["ready"], 1, "{target:#}");
    assert_eq!(target["signals"][0]["total"], 40.0);
    assert_eq!(target["signals"][0]["targetPerReplica"], 20.0);
    assert_eq!(target["signals"][0]["coverage"], 1.0);
    assert_eq!(
        target["facts"]["pods"][0],
        json!({"pod": "p1", "state": "ready", "membership": "own", "engines": []})
    );
    assert_eq!(target["decision"]["replicas"], 2);
    assert_eq!(target["write"]["underWay"], true);
    assert_eq!((&target["conflict"], &target["truce"]), (&json!(null), &json!(null)));
    let off = "attention is off (--no-attention), or nothing was decided yet";
    assert_eq!(target["pace"]["why"], off);
    let window =
        target["settings"].as_array().unwrap().iter().find(|s| s["name"] == "stable window").unwrap();
    assert_eq!((&window["value"], &window["from"]), (&json!("60s"), &json!("default")));
    let (_, _, body) = ask(address, "GET", "/debug/state?name=other").await;
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["targets"], json!([]));
}

/// One target at 1 replica, raised to 2.
fn one_decided() -> World {
    let mut world = World::new();
    world.scale(1);
    world.index.apply_pod(pod(1, None));
    world.read(1, 40.0);
    assert!(world.asked().contains(&"1 → 2".to_owned()));
    world
}

/// One of each, so that every family has a series.
fn everything_happens(journal: &Journal) {
    let key = &key();
    let error = &WriteError::Replaced;
    journal::Decided { took: Duration::ZERO }.record(journal);
    journal::Polled { error: None, took: Duration::ZERO, bytes: 1 }.record(journal);
    journal::SourcePolled { key, source: "custom", problem: None }.record(journal);
    journal::StatusWritten { key, error: None }.record(journal);
    journal::EventRecorded { reason: "SuccessfulRescale", error: None }.record(journal);
    let request = &crate::autoscaler::ScaleRequest {
        key: key.clone(),
        resource: kube::core::ApiResource::erase::<k8s_openapi::api::apps::v1::Deployment>(&()),
        target: crate::index::tests::target(),
        count: crate::target::Count::Scale,
        uid: "u".to_owned(),
        from: 1,
        to: 2,
        reason: "r".to_owned(),
        reading: None,
    };
    journal::Scaled { request, replicas: 2, after_reading: None }.record(journal);
    let (verb, resource) = (journal::Verb::Get, "pods".into());
    journal::Requested { verb, resource, error: Some(error), took: Duration::ZERO }.record(journal);
    let gone = kube::runtime::watcher::Error::NoResourceVersion;
    journal::WatchFailed { watch: "pods", error: &gone }.record(journal);
}

/// Name, type and labels of each family.
type Families = BTreeMap<String, (String, BTreeSet<String>)>;

fn families_of(page: &str) -> Families {
    let mut families = Families::new();
    let mut series = BTreeSet::new();
    let mut current = String::new();
    for entry in parse(page.as_bytes(), Format::OpenMetrics) {
        match entry.unwrap() {
            Entry::Type(name, kind) => {
                current = name.to_str().into_owned();
                let known =
                    families.insert(current.clone(), (format!("{kind:?}").to_lowercase(), BTreeSet::new()));
                assert!(known.is_none(), "{current} is there twice");
            }
            Entry::Sample(sample) => {
                let one = (sample.name.to_str().into_owned(), sample.labels.raw().to_vec());
                assert!(series.insert(one), "a series is there twice: {sample:?}");
                assert!(sample.name.to_str().starts_with(&current), "{sample:?} is not of {current}");
                let labels = sample.labels.iter().map(|(name, _)| name.to_str().into_owned());
                families.get_mut(&current).unwrap().1.extend(labels.filter(|name| name != "le"));
            }
            Entry::Help(..) | Entry::Unit(..) => {}
        }
    }
    families
}

fn families_of_docs() -> Families {
    let docs = include_str!("../../../../docs/metrics.md");
    let is_metric = |line: &&str| {
        ["windlass_", "aibrix_", "process_"].iter().any(|prefix| line.starts_with(&format!("| `{prefix}")))
    };
    let rows = docs.lines().filter(is_metric);
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let labels = cells[3].split(',').map(str::trim).filter(|label| !label.is_empty());
        let (name, kind) = (cells[1].trim_matches('`').to_owned(), cells[2].to_owned());
        assert!(!cells[4].is_empty(), "{row}");
        (name, (kind, labels.map(str::to_owned).collect()))
    })
    .collect()
}

#[tokio::test]
async fn the_docs_list_every_metric_with_its_labels() {
    let (address, shared) = serve(one_decided(), Duration::ZERO).await;
    everything_happens(&shared.journal);
    let (_, _, page) = ask(address, "GET", "/metrics").await;
    assert_eq!(families_of(&page), families_of_docs());
}

/// Two sources may read the same metric from different pages.
#[tokio::test]
async fn two_sources_of_one_metric_are_two_series() {
    let mut world = World::new();
    let mut object = serde_json::to_value(autoscaler("a", 1)).unwrap();
    let source = |port: &str| {
        json!({"metricSourceType": "pod", "protocolType": "http", "port": port, "path": "/metrics",
            "targetMetric": "inflight", "targetValue": "20"})
    };
    object["spec"]["metricsSources"] = json!([source("8000"), source("8001")]);
    for old in ["targetMetric", "targetValue"] {
        object["spec"].as_object_mut().unwrap().remove(old);
    }
    world.index.apply_autoscaler(serde_json::from_value(object).unwrap());
    world.scale(1);
    world.index.apply_pod(pod(1, None));
    world.read(1, 40.0);
    let (address, _) = serve(world, Duration::ZERO).await;
    let (_, _, page) = ask(address, "GET", "/metrics").await;
    families_of(&page);
    for source in ["0", "1"] {
        let labels = format!("{{namespace=\"ns\",name=\"pa\",source=\"{source}\",metric=\"inflight\",");
        assert!(page.contains(&format!("windlass_signal_health{labels}")), "{page}");
    }
}

/// Series end with their PodAutoscaler.
#[tokio::test]
async fn what_is_gone_is_not_told_of() {
    let (address, shared) = serve(one_decided(), Duration::ZERO).await;
    assert!(ask(address, "GET", "/metrics").await.2.contains("name=\"pa\""));
    shared.index.lock().delete_autoscaler(&key());
    assert!(!ask(address, "GET", "/metrics").await.2.contains("name=\"pa\""));
}

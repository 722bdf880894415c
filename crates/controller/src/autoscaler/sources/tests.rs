//! Readings from elsewhere, as the index takes them.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use windlass_scaling::Health;

use super::*;
use crate::index::tests::{World, autoscaler, key, pod};

/// A PodAutoscaler with these sources.
fn world(sources: &serde_json::Value) -> World {
    let mut object = autoscaler("a", 1);
    object.spec.target_metric = None;
    object.spec.target_value = None;
    object.spec.metrics_sources = serde_json::from_value(sources.clone()).unwrap();
    let mut world = World::new();
    world.index.apply_autoscaler(object);
    world.scale(1);
    world
}

fn active(world: &World) -> &Active {
    world.index.autoscalers[&key()].state.as_ref().unwrap()
}

impl World {
    fn hear(&mut self, index: usize, read: Result<Values, String>) {
        let id = RequestId { version: active(self).sourcing.version, index };
        let asked = tokio::time::Instant::now();
        self.index.source_polled(&key(), id, SourceOutcome { asked, source: "custom", read });
    }

    fn health(&self, signal: usize) -> Health {
        active(self).observation.as_ref().unwrap().signals[signal].health
    }

    fn total(&self, signal: usize) -> Option<f64> {
        active(self).observation.as_ref().unwrap().signals[signal].total
    }
}

fn fleet(value: f64) -> Values {
    let value = Value { observed: Observed::Number(value), since: tokio::time::Instant::now() };
    Values::Fleet(vec![Some(value)], None)
}

fn of_pod(name: &str, value: f64, age: Duration) -> OfPod {
    let taken = Timestamp::now().checked_sub(age).unwrap();
    OfPod { pod: name.to_owned(), values: vec![value], taken, window: Duration::ZERO }
}

const PROMETHEUS: &str = "prometheus";

#[tokio::test]
async fn signals_that_need_the_same_answer_share_a_request() {
    let page = |metric: &str, path: &str| {
        json!({"metricSourceType": "external", "protocolType": "http", "endpoint": "x", "path": path,
            "targetMetric": metric, "targetValue": "1"})
    };
    let resource =
        |name: &str| json!({"metricSourceType": "resource", "targetMetric": name, "targetValue": "1"});
    let world = world(&json!([
        resource("memory"),
        page("a", "/m"),
        resource("cpu"),
        page("b", "/m"),
        page("a", "/other"),
        {"metricSourceType": "pod", "port": "8000", "path": "/metrics", "targetMetric": "a", "targetValue": "1"},
    ]));
    let signals: Vec<_> =
        active(&world).sourcing.requests.iter().map(|request| request.signals.clone()).collect();
    assert_eq!(signals, [vec![0, 2], vec![1, 3], vec![4]]);
    assert_eq!(active(&world).sourcing.polls(), 0, "nobody can be asked here");
}

#[tokio::test]
async fn one_blind_source_leaves_the_others_going() {
    let prometheus = |query: &str| {
        json!({"metricSourceType": PROMETHEUS, "endpoint": "p", "query": query, "targetMetric": "load",
            "targetValue": "20"})
    };
    let mut world = world(&json!([prometheus("a"), prometheus("b")]));
    world.index.apply_pod(pod(1, None));
    world.asked();
    world.hear(0, Err("cannot connect to p:80: refused".to_owned()));
    world.hear(1, Ok(fleet(40.0)));
    assert_eq!(world.asked(), ["1 → 2"], "of one name, and apart");
    assert_eq!((world.health(0), world.health(1)), (Health::Blind, Health::Observed));
    assert_eq!(active(&world).silence([0]), " (cannot connect to p:80: refused)");
    assert_eq!(active(&world).silence([1]), "");
    world.hear(0, Ok(fleet(1.0)));
    assert_eq!(active(&world).silence([0, 1]), "");
}

#[tokio::test]
async fn readings_of_an_api_are_of_pods_that_live_and_as_old_as_they_say() {
    let mut world = world(&json!([{"metricSourceType": "custom", "targetMetric": "q", "targetValue": "20"}]));
    world.index.apply_pod(pod(1, None));
    let pods = |values: Vec<OfPod>| Ok(Values::Api(Answer::Pods(values)));
    world.hear(0, pods(vec![of_pod("gone", 50.0, Duration::ZERO)]));
    assert_eq!(active(&world).silence([0]), " (the API knows none of the ready pods yet)");
    world.hear(0, pods(vec![of_pod("p1", 50.0, Duration::from_hours(1))]));
    assert_eq!(world.total(0), None, "of before the pod was ready");
    // In the future: now, as far as we are concerned.
    let ahead = OfPod {
        taken: Timestamp::now().checked_add(Duration::from_secs(30)).unwrap(),
        ..of_pod("p1", 50.0, Duration::ZERO)
    };
    world.hear(0, pods(vec![ahead]));
    assert_eq!((world.total(0), active(&world).silence([0])), (Some(50.0), String::new()));
}

#[tokio::test]
async fn an_outdated_or_negative_total_says_so() {
    let mut world =
        world(&json!([{"metricSourceType": "external", "targetMetric": "q", "targetValue": "20"}]));
    let hear = |world: &mut World, value: f64, age: Duration| {
        let taken = Timestamp::now().checked_sub(age).unwrap();
        world.hear(0, Ok(Values::Api(Answer::Fleet { value, taken })));
    };
    hear(&mut world, 20.0, Duration::from_secs(90));
    assert_eq!(world.health(0), Health::Blind);
    assert!(
        active(&world).silence([0]).contains("the newest value is over 60 s old"),
        "{}",
        active(&world).silence([0])
    );
    hear(&mut world, -1.0, Duration::ZERO);
    assert_eq!(active(&world).silence([0]), " (the value is -1, which is no reading)");
    hear(&mut world, 20.0, Duration::from_secs(20));
    assert_eq!((world.health(0), world.total(0)), (Health::Observed, Some(20.0)), "no pod is needed");
}

#[tokio::test]
async fn an_answer_to_what_is_not_asked_any_more_is_dropped() {
    let prometheus = json!([{"metricSourceType": PROMETHEUS, "endpoint": "p", "query": "q", "targetMetric": "load",
        "targetValue": "20"}]);
    let mut world = world(&prometheus);
    let stale = RequestId { version: active(&world).sourcing.version.wrapping_sub(1), index: 0 };
    let asked = tokio::time::Instant::now();
    let outcome = SourceOutcome { asked, source: PROMETHEUS, read: Ok(fleet(40.0)) };
    world.index.source_polled(&key(), stale, outcome);
    assert_eq!(world.health(0), Health::Blind);
}

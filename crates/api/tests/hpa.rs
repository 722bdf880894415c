//! Strategy HPA: what a PodAutoscaler makes of its HorizontalPodAutoscaler. The first table is AIBrix's own
//! (`hpa_resources_test.go`).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use proptest::prelude::*;
use serde_json::{Value, json};
use windlass_api::{PodAutoscaler, Resolved, hpa, resolve};
use windlass_scaling::{Instant, Order};

fn now() -> Instant {
    Instant::default() + Duration::from_hours(1)
}

/// A PodAutoscaler of strategy HPA; `spec` stands over the usual one.
fn object(annotations: &[(&str, &str)], spec: &Value) -> PodAutoscaler {
    let mut object = json!({
        "apiVersion": "autoscaling.aibrix.ai/v1alpha1",
        "kind": "PodAutoscaler",
        "metadata": {"name": "pa", "namespace": "ns", "uid": "u", "labels": {"team": "a"}, "annotations": {}},
        "spec": {
            "scaleTargetRef": {"kind": "Deployment", "name": "engine"},
            "minReplicas": 1, "maxReplicas": 5, "scalingStrategy": "HPA",
        },
    });
    for (key, value) in annotations {
        object["metadata"]["annotations"][*key] = json!(value);
    }
    for (field, value) in spec.as_object().unwrap() {
        object["spec"][field] = value.clone();
    }
    serde_json::from_value(object).unwrap()
}

fn source(type_: &str, metric: &str, value: &str) -> Value {
    json!({"metricSourceType": type_, "targetMetric": metric, "targetValue": value})
}

fn sources(sources: &[Value]) -> Value {
    json!({"metricsSources": sources})
}

fn made(object: &PodAutoscaler) -> (HorizontalPodAutoscaler, Resolved) {
    let resolved = resolve(object).unwrap();
    (hpa::desired(object, &resolved, now()).expect("there is one"), resolved)
}

fn spec_of(object: &PodAutoscaler) -> Value {
    serde_json::to_value(made(object).0.spec).unwrap()
}

fn warnings(object: &PodAutoscaler) -> Vec<String> {
    resolve(object).unwrap().warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn it_is_the_object_that_aibrix_makes() {
    let object = object(&[], &sources(&[source("resource", "cpu", "30")]));
    let (hpa, _) = made(&object);
    let expected = json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {
            "name": "pa-hpa", "namespace": "ns", "labels": {"team": "a"},
            "ownerReferences": [{
                "apiVersion": "autoscaling.aibrix.ai/v1alpha1", "kind": "PodAutoscaler", "name": "pa", "uid": "u",
                "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "engine"},
            "minReplicas": 1,
            "maxReplicas": 5,
            "metrics": [{"type": "Resource", "resource": {
                "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 30}}}],
            "behavior": {
                "scaleUp": {"stabilizationWindowSeconds": 0, "selectPolicy": "Max",
                    "policies": [{"type": "Percent", "value": 100, "periodSeconds": 60}]},
                "scaleDown": {"stabilizationWindowSeconds": 300, "selectPolicy": "Min",
                    "policies": [{"type": "Percent", "value": 50, "periodSeconds": 60}]},
            },
        },
    });
    assert_eq!(serde_json::to_value(&hpa).unwrap(), expected);
    assert_eq!(warnings(&object), [""; 0]);
}

#[test]
fn metrics_are_mapped() {
    let resource =
        |name: &str, target: Value| json!({"type": "Resource", "resource": {"name": name, "target": target}});
    let average = |value: &str| json!({"type": "AverageValue", "averageValue": value});
    let percent = |value: i32| json!({"type": "Utilization", "averageUtilization": value});
    let other = |type_: &str, name: &str, value: &str| json!({"type": type_, type_.to_lowercase(): {"metric": {"name": name}, "target": average(value)}});
    let pod = |metric: &str, value: &str| {
        let mut pod = source("pod", metric, value);
        pod["port"] = json!("8000");
        pod["path"] = json!("/metrics");
        pod
    };
    for (from, to) in [
        (source("resource", "cpu", "30"), resource("cpu", percent(30))),
        (source("resource", "cpu", "30.2"), resource("cpu", percent(31))),
        (source("resource", "cpu", "0.1"), resource("cpu", percent(1))),
        (source("resource", "memory", "128"), resource("memory", average("128Mi"))),
        (source("resource", "memory", "0.5"), resource("memory", average("524288"))),
        (source("resource", "cpu", "100m"), resource("cpu", average("100m"))),
        (source("resource", "memory", "1Gi"), resource("memory", average("1Gi"))),
        (source("resource", "memory", "+1.5Gi"), resource("memory", average("1.5Gi"))),
        (pod("CPU", "10"), resource("cpu", percent(10))),
        (pod("gpu_cache_usage_perc", "50"), other("Pods", "gpu_cache_usage_perc", "50")),
        (pod("gpu_cache_usage_perc", "0.5"), other("Pods", "gpu_cache_usage_perc", "500m")),
        (pod("vllm:num_requests_running", "20"), other("Pods", "vllm:num_requests_running", "20")),
        (source("custom", "queue", "1.25"), other("Pods", "queue", "1250m")),
        (source("external", "queue", "7"), other("External", "queue", "7")),
        (source("domain", "queue", "7"), other("External", "queue", "7")),
        (source("external", "cpu", "7"), other("External", "cpu", "7")),
        (source("external", "cpu", "500m"), other("External", "cpu", "500m")),
    ] {
        let made = spec_of(&object(&[], &sources(std::slice::from_ref(&from))));
        assert_eq!(made["metrics"], json!([to]), "{from}");
    }
    let v01 = json!({"targetMetric": "CPU", "targetValue": "10"});
    assert_eq!(spec_of(&object(&[], &v01))["metrics"], json!([resource("cpu", percent(10))]));
    let v01 = json!({"targetMetric": "queue", "targetValue": "10", "metricsSources": [{"endpoint": "a:8000", "path": "/m"}]});
    assert_eq!(spec_of(&object(&[], &v01))["metrics"], json!([other("Pods", "queue", "10")]));
    let both = sources(&[source("resource", "cpu", "30"), source("resource", "memory", "1")]);
    let made = spec_of(&object(&[], &both));
    assert_eq!(made["metrics"].as_array().unwrap().len(), 2);
}

#[test]
fn what_it_cannot_read_is_said() {
    let endpoint = json!({"metricSourceType": "external", "endpoint": "q:80", "protocolType": "http", "path": "/m",
        "targetMetric": "queue", "targetValue": "7"});
    let mut prometheus = source("prometheus", "queue", "7");
    prometheus["endpoint"] = json!("http://prometheus:9090");
    prometheus["query"] = json!("sum(queue)");
    let unreadable = "spec.metricsSources[0]: a HorizontalPodAutoscaler asks no endpoint (q:80), so queue would not be \
         read; use strategy KPA or APA, or leave endpoint out and serve queue by external.metrics.k8s.io";
    let errors = |metrics: &[Value]| -> Vec<(&str, String)> {
        let errors = resolve(&object(&[], &sources(metrics))).unwrap_err();
        errors.iter().map(|error| (error.reason(), error.to_string())).collect()
    };
    assert_eq!(errors(std::slice::from_ref(&endpoint)), [("MetricsConfigError", unreadable.to_owned())]);
    assert_eq!(errors(&[endpoint.clone(), prometheus]).len(), 2);
    assert!(errors(&[source("custom", "a/b", "7")])[0].1.contains("cannot be the name of a metric"));

    let some = object(&[], &sources(&[endpoint, source("resource", "cpu", "30")]));
    assert_eq!(warnings(&some), [unreadable]);
    assert_eq!(spec_of(&some)["metrics"].as_array().unwrap().len(), 1);
}

#[test]
fn warnings_name_what_does_nothing() {
    let pod = json!({"metricSourceType": "pod", "protocolType": "http", "port": "8000", "path": "/metrics",
        "targetMetric": "kv_util", "targetValue": "50"});
    let object = object(
        &[
            ("autoscaling.aibrix.ai/scale-up-tolerance", "0.2"),
            ("kpa.autoscaling.aibrix.ai/activation-scale", "2"),
            ("autoscaling.aibrix.ai/scale-up-cooldown-window", "2h"),
            ("windlass.dev/hold-at", "0"),
        ],
        &json!({
            "minReplicas": 0, "observeWindowSeconds": 90, "metricsSources": [pod],
            "schedules": [{"name": "night", "startTime": "20:00", "endTime": "06:00", "minReplicas": 0}],
        }),
    );
    let zero = "0 becomes 1: a HorizontalPodAutoscaler does not scale to zero; KPA and APA do";
    let expected = [
        "autoscaling.aibrix.ai/scale-up-tolerance: \"0.2\" is ignored: up tolerance is a setting of APA, and the strategy is HPA".to_owned(),
        "autoscaling.aibrix.ai/scale-up-cooldown-window: a HorizontalPodAutoscaler's window is at most 1h; 1h is used instead".to_owned(),
        "kpa.autoscaling.aibrix.ai/activation-scale: \"2\" is ignored: activation scale is a setting of KPA and APA, and the strategy is HPA".to_owned(),
        "spec.metricsSources[0]: port, path and protocolType are ignored: of kv_util a HorizontalPodAutoscaler reads what custom.metrics.k8s.io has under exactly this name, which an adapter must serve".to_owned(),
        "spec.metricsSources[0].targetValue: kv_util ranges from 0 to 1 and is compared as it is served, so 50 may never be reached; if it is percent, write 0.5".to_owned(),
        format!("spec.minReplicas: {zero}"),
        "spec.observeWindowSeconds: \"90\" is ignored: stable window is a setting of KPA, and the strategy is HPA".to_owned(),
        format!("spec.schedules[0].minReplicas: {zero}"),
        format!("windlass.dev/hold-at: {zero}"),
    ];
    let mut expected = expected.to_vec();
    expected.sort();
    let mut found = warnings(&object);
    found.sort();
    assert_eq!(found, expected);
    assert_eq!(spec_of(&object)["behavior"]["scaleUp"]["stabilizationWindowSeconds"], 3600);
}

#[test]
fn names_that_are_too_long_are_refused() {
    let mut object = object(&[], &sources(&[source("resource", "cpu", "30")]));
    object.metadata.name = Some("a".repeat(249));
    assert_eq!(made(&object).0.metadata.name.unwrap().len(), 253);
    object.metadata.name = Some("a".repeat(250));
    let errors = resolve(&object).unwrap_err();
    assert!(
        errors[0].to_string().starts_with("metadata.name: under strategy HPA a name may have 249 characters")
    );
    assert_eq!(hpa::autoscaler_of(&hpa::name_of("x")), Some("x"));
    assert_eq!((hpa::autoscaler_of("x"), hpa::autoscaler_of("-hpa")), (None, None));
}

/// Bounds, select policies and the sentence of condition `Held`.
#[test]
fn holds_are_carried_out_by_bounds_and_select_policies() {
    let check = |annotations: &[(&str, &str)], bounds: (i64, i64), policies: (&str, &str), held: &str| {
        let object = object(annotations, &sources(&[source("resource", "cpu", "30")]));
        let mut resolved = resolve(&object).unwrap();
        resolved.at("2026-11-24T08:00:00Z".parse().unwrap(), now());
        let made = serde_json::to_value(hpa::desired(&object, &resolved, now()).unwrap().spec).unwrap();
        assert_eq!(
            (made["minReplicas"].as_i64(), made["maxReplicas"].as_i64()),
            (Some(bounds.0), Some(bounds.1))
        );
        let select = |way: &str| made["behavior"][way]["selectPolicy"].as_str().unwrap().to_owned();
        assert_eq!((select("scaleUp").as_str(), select("scaleDown").as_str()), policies, "{annotations:?}");
        assert_eq!(hpa::held(&resolved, now()).map(|(_, sentence)| sentence).unwrap_or_default(), held);
    };
    let usual = ("Max", "Min");
    check(&[], (1, 5), usual, "");
    check(&[("windlass.dev/mode", "auto")], (1, 5), usual, "");
    let paused = "paused by windlass.dev/mode: the HorizontalPodAutoscaler neither raises nor lowers, and has no bounds";
    let disabled = ("Disabled", "Disabled");
    check(&[("windlass.dev/mode", "paused")], (1, i64::from(i32::MAX)), disabled, paused);
    let both = [("windlass.dev/mode", "paused"), ("windlass.dev/hold-at", "3")];
    check(&both, (1, i64::from(i32::MAX)), disabled, paused);
    check(&[("windlass.dev/hold-at", "3")], (3, 3), usual, "held by windlass.dev/hold-at 3: holding 3");
    let above = "held by windlass.dev/hold-at 9: holding 5 (within minReplicas 1 and maxReplicas 5)";
    check(&[("windlass.dev/hold-at", "9")], (5, 5), usual, above);
    let order = "4 until 2026-11-24T09:00Z";
    let held = "held by windlass.dev/override 4 until 2026-11-24T09:00:00Z: holding 4";
    check(&[("windlass.dev/override", order)], (4, 4), usual, held);
    check(&[("windlass.dev/override", "4 until 2026-11-24T07:00Z")], (1, 5), usual, "");

    let recommending =
        object(&[("windlass.dev/mode", "recommend")], &sources(&[source("resource", "cpu", "30")]));
    let resolved = resolve(&recommending).unwrap();
    assert_eq!(hpa::desired(&recommending, &resolved, now()), None);
    assert_eq!(hpa::held(&resolved, now()).unwrap().0, "Recommend");
}

/// What the API server answers: quantities in its own spelling, defaults filled in.
#[test]
fn what_means_the_same_agrees() {
    let metrics = [
        source("resource", "cpu", "30"),
        source("resource", "memory", "1024"),
        source("custom", "queue", "0.5"),
        source("external", "jobs", "1000"),
    ];
    let (desired, _) = made(&object(&[], &sources(&metrics)));
    let mut answered = serde_json::to_value(&desired).unwrap();
    answered["metadata"]["labels"]["added"] = json!("by another");
    answered["spec"]["metrics"][1]["resource"]["target"]["averageValue"] = json!("1Gi");
    answered["spec"]["metrics"][3]["external"]["target"]["averageValue"] = json!("1k");
    answered["spec"]["metrics"].as_array_mut().unwrap().swap(0, 2);
    answered["spec"]["behavior"]["scaleUp"].as_object_mut().unwrap().remove("selectPolicy");
    answered["spec"].as_object_mut().unwrap().remove("minReplicas");
    answered["status"] = json!({"desiredReplicas": 3});
    let read = |value: &Value| -> HorizontalPodAutoscaler { serde_json::from_value(value.clone()).unwrap() };
    assert!(hpa::agrees(&read(&answered), &desired));

    let edits: [(&str, Value); 9] = [
        ("/metadata/labels/team", json!("b")),
        ("/spec/maxReplicas", json!(6)),
        ("/spec/scaleTargetRef/name", json!("other")),
        ("/spec/metrics/1/resource/target/averageValue", json!("1G")),
        ("/spec/metrics/3/external/metric/name", json!("other")),
        ("/spec/behavior/scaleUp/stabilizationWindowSeconds", json!(1)),
        ("/spec/behavior/scaleDown/selectPolicy", json!("Disabled")),
        ("/spec/behavior/scaleDown/policies/0/value", json!(10)),
        ("/spec/metrics/0", json!({"type": "Resource"})),
    ];
    for (at, value) in edits {
        let mut edited = answered.clone();
        *edited.pointer_mut(at).unwrap() = value;
        assert!(!hpa::agrees(&read(&edited), &desired), "{at}");
    }
    let mut fewer = answered.clone();
    fewer["spec"]["metrics"].as_array_mut().unwrap().pop();
    assert!(!hpa::agrees(&read(&fewer), &desired));
}

proptest! {
    /// Nothing that the API server would refuse.
    #[test]
    fn every_object_is_acceptable(
        min in 0..20_i32, more in 0..20_i32, rates in [1.0001..1e9_f64, 1.0001..1e9_f64],
        windows in [0_u64..100_000, 0_u64..100_000], value in 0.001..1e7_f64, order in proptest::option::of(0..40_u32),
        paused in any::<bool>(),
    ) {
        let max = (min + more).max(1);
        let up = format!("{}", rates[0]);
        let down = format!("{}", rates[1]);
        let spans = windows.map(|seconds| format!("{seconds}s"));
        let mut annotations = vec![
            ("autoscaling.aibrix.ai/max-scale-up-rate", up.as_str()),
            ("autoscaling.aibrix.ai/max-scale-down-rate", down.as_str()),
            ("autoscaling.aibrix.ai/scale-up-cooldown-window", spans[0].as_str()),
            ("autoscaling.aibrix.ai/scale-down-cooldown-window", spans[1].as_str()),
        ];
        if paused {
            annotations.push(("windlass.dev/mode", "paused"));
        }
        let value = value.to_string();
        let metrics = ["cpu", "memory", "queue"].map(|metric| {
            source(if metric == "queue" { "custom" } else { "resource" }, metric, &value)
        });
        let mut spec = sources(&metrics);
        spec["minReplicas"] = json!(min);
        spec["maxReplicas"] = json!(max);
        let object = object(&annotations, &spec);
        let mut resolved = resolve(&object).unwrap();
        resolved.policy.hold.order = order.map(|replicas| Order { replicas, until: None });
        let desired = hpa::desired(&object, &resolved, now()).unwrap();
        prop_assert!(hpa::agrees(&desired, &desired));
        let made = serde_json::to_value(desired.spec).unwrap();
        let bounds = ["minReplicas", "maxReplicas"].map(|bound| made[bound].as_i64().unwrap());
        prop_assert!(1 <= bounds[0] && bounds[0] <= bounds[1], "{bounds:?}");
        if let Some(order) = order.filter(|_| !paused) {
            let held = i64::from(order).clamp(i64::from(min), i64::from(max)).max(1);
            prop_assert_eq!(bounds, [held, held]);
        }
        for way in ["scaleUp", "scaleDown"] {
            let rules = &made["behavior"][way];
            let window = rules["stabilizationWindowSeconds"].as_i64().unwrap();
            prop_assert!((0..=3600).contains(&window));
            prop_assert!(rules["policies"][0]["value"].as_i64().unwrap() >= 1);
        }
        prop_assert!(made["behavior"]["scaleDown"]["policies"][0]["value"].as_i64().unwrap() <= 100);
    }
}

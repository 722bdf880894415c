//! Where signals are read, and what may be sent there.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use windlass_api::{PodAutoscaler, resolve};
use windlass_scaling::{Kind, Scope};

/// An object with these lines in its spec, besides what every object needs.
fn object(spec: &str) -> PodAutoscaler {
    let lines = spec.lines().fold(String::new(), |lines, line| lines + "  " + line + "\n");
    let yaml = format!(
        "apiVersion: autoscaling.aibrix.ai/v1alpha1\nkind: PodAutoscaler\nmetadata: {{name: llama, namespace: default}}\n\
         spec:\n  scaleTargetRef: {{kind: Deployment, name: llama2-70b}}\n  maxReplicas: 10\n{lines}"
    );
    serde_saphyr::from_str(&yaml).unwrap()
}

/// Where it is read, what a value stands for, and seconds from one to the next and for which it is fresh.
#[test]
fn every_source_has_its_place_its_scope_and_its_pace() {
    let check = |source: &str, place: &str, scope: Scope, kind: Kind, pace: (u64, u64)| {
        let spec = format!("scalingStrategy: KPA\ntargetValue: '20'\nmetricsSources:\n- {{{source}}}\n");
        let resolved = resolve(&object(&spec)).unwrap();
        let signal = &resolved.policy.signals[0];
        let found = (signal.pace.interval.as_secs(), signal.pace.fresh_span.as_secs());
        assert_eq!((signal.read_from.as_str(), signal.scope, signal.kind, found), (place, scope, kind, pace));
        assert_eq!(resolved.sources[0].to_string(), place);
    };
    let of =
        |source_type: &str, rest: &str| format!("metricSourceType: {source_type}, targetValue: '30', {rest}");
    let (pod, fleet, mean) = (Scope::Pod, Scope::Fleet, Scope::PodMean);
    let additive = Kind::Additive;
    check(&of("pod", "port: '8', path: a, targetMetric: q"), "pods http://:8/a", pod, additive, (1, 3));
    check(&of("resource", "targetMetric: cpu"), "metrics.k8s.io", pod, additive, (15, 60));
    check(&of("custom", "targetMetric: q"), "custom.metrics.k8s.io", pod, additive, (15, 60));
    check(&of("external", "targetMetric: q"), "external.metrics.k8s.io", fleet, additive, (15, 60));
    check(&of("domain", "targetMetric: q"), "external.metrics.k8s.io", fleet, additive, (15, 60));
    let endpoint = "endpoint: 'x:80', protocolType: https, path: m, targetMetric";
    check(&of("external", &format!("{endpoint}: kv_util")), "https://x:80/m", fleet, additive, (5, 15));
    check(
        &of("external", &format!("{endpoint}: kv_util, aggregation: perPod")),
        "https://x:80/m",
        mean,
        Kind::Utilisation,
        (5, 15),
    );
    let query = "endpoint: 'http://prom:9090', query: sum(q), targetMetric";
    check(&of("prometheus", &format!("{query}: q")), "http://prom:9090 sum(q)", fleet, additive, (5, 15));
    check(
        &of("prometheus", &format!("{query}: ttft, aggregation: perPod, path: /prom/")),
        "http://prom:9090/prom sum(q)",
        mean,
        Kind::Latency,
        (5, 15),
    );
    check("endpoint: x, path: /y, metric: load", "http://x/y", fleet, additive, (5, 15));
}

#[test]
fn credentials_go_only_over_verified_tls() {
    let check = |rest: &str, expected: Option<&str>| {
        let spec = format!(
            "scalingStrategy: KPA\nmetricsSources:\n- {{targetMetric: q, targetValue: '1', {rest}}}\n"
        );
        let errors = resolve(&object(&spec)).err().unwrap_or_default();
        let found = errors.first().map(ToString::to_string);
        match (&found, expected) {
            (None, None) => {}
            (Some(found), Some(expected)) if found.contains(expected) => {}
            _ => panic!("{rest}: {found:?} instead of {expected:?}"),
        }
    };
    let pod = "metricSourceType: pod, port: '8', path: /m";
    let prometheus = "metricSourceType: prometheus, query: q, endpoint";
    let token = "bearerTokenSecret: {name: a, key: b}";
    check(&format!("{pod}, protocolType: https, {token}"), None);
    check(&format!("{pod}, {token}"), Some("need protocolType https"));
    check(&format!("{pod}, protocolType: http, tls: {{serverName: x}}"), Some("need protocolType https"));
    check(
        &format!("{pod}, protocolType: https, {token}, tls: {{insecureSkipVerify: true}}"),
        Some("over verified TLS only"),
    );
    check(&format!("{pod}, protocolType: https, tls: {{insecureSkipVerify: true}}"), None);
    check(
        &format!("{pod}, protocolType: https, tls: {{caBundle: x, caBundleSecret: {{name: a, key: b}}}}"),
        Some("not both"),
    );
    check(&format!("{prometheus}: 'https://p', {token}"), None);
    check(&format!("{prometheus}: p, protocolType: https, {token}"), None);
    check(
        &format!("{prometheus}: 'http://p', protocolType: https, {token}"),
        Some("need protocolType https"),
    );
    check("metricSourceType: prometheus, query: q", Some("needs endpoint and query"));
    check("metricSourceType: prometheus, endpoint: p", Some("needs endpoint and query"));
    check(&format!("{prometheus}: 'a b'"), Some("endpoint must be host or host:port"));
    check(&format!("metricSourceType: custom, {token}"), Some("controller's own credentials"));
    check("metricSourceType: custom, aggregation: total", Some("aggregation is total or perPod"));
    check("metricSourceType: external, aggregation: mean", Some("aggregation is total or perPod"));
}

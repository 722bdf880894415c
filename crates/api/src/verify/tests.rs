use windlass_metrics::Catalogue;

use super::*;

/// A Monday morning in Shanghai.
fn now() -> Timestamp {
    "2026-08-03T02:00:00Z".parse().unwrap()
}

const GOOD: &str = "apiVersion: autoscaling.aibrix.ai/v1alpha1
kind: PodAutoscaler
metadata: {name: llama, namespace: default}
spec:
  scaleTargetRef: {kind: Deployment, name: llama2-70b}
  maxReplicas: 10
  scalingStrategy: KPA
  targetMetric: inflight
  targetValue: '20'
";

/// Where each object was found and whether it is accepted; how many others; what cannot be read.
#[track_caller]
fn check(text: &str, reports: &[(&str, bool)], others: usize, unreadable: &[&str]) -> Found {
    let found = read("f", text, now(), Catalogue::builtin());
    let got: Vec<_> = found.reports.iter().map(|report| (report.origin.as_str(), report.accepted)).collect();
    assert_eq!(got, reports);
    assert_eq!(
        (found.others, &found.unreadable.iter().map(String::as_str).collect::<Vec<_>>()[..]),
        (others, unreadable)
    );
    found
}

#[test]
fn documents_lists_and_other_kinds() {
    check(GOOD, &[("f:1", true)], 0, &[]);
    check(&format!("# a comment\n\n{GOOD}---\nkind: Service\n---\n---\n# end\n"), &[("f:3", true)], 1, &[]);
    check(&format!("---\n{GOOD}...\n---\n{GOOD}"), &[("f:2", true), ("f:13", true)], 0, &[]);
    let item = serde_json::to_string(&serde_saphyr::from_str::<Value>(GOOD).unwrap()).unwrap();
    let list = format!("{{\"kind\": \"List\", \"items\": [{item}, {{\"kind\": \"Pod\"}}, {item}]}}");
    check(&list, &[("f:1 items[0]", true), ("f:1 items[2]", true)], 1, &[]);
    check("", &[], 0, &["f: is empty"]);
    check("# nothing\n---\n\n", &[], 0, &["f: is empty"]);
    check("hello", &[], 0, &["f:1: not a Kubernetes object; it must have apiVersion and kind"]);
    check("a: 1", &[], 0, &["f:1: not a Kubernetes object; it has no kind"]);
    check("apiVersion: autoscaling.internal.knative.dev/v1alpha1\nkind: PodAutoscaler", &[], 1, &[]);
    let found = check(&GOOD.replace("v1alpha1", "v1"), &[("f:1", false)], 0, &[]);
    assert!(
        found.reports[0].errors[0].sentence.contains("apiVersion: must be autoscaling.aibrix.ai/v1alpha1")
    );
}

#[test]
fn what_is_no_yaml_is_said_with_its_line_and_the_rest_is_judged() {
    let text = format!("{GOOD}---\nkind: PodAutoscaler\n  spec: [\n---\n{GOOD}");
    let found = read("f", &text, now(), Catalogue::builtin());
    assert_eq!(found.reports.len(), 2);
    let [sentence] = &found.unreadable[..] else { panic!("{found:?}") };
    assert!(sentence.starts_with("f:12: not YAML: "), "{sentence}");
    assert!(!sentence.contains('\n'), "{sentence}");
    let helm = read(
        "f",
        "kind: PodAutoscaler\nspec:\n  maxReplicas: {{ .Values.max }}\n",
        now(),
        Catalogue::builtin(),
    );
    assert_eq!(helm.reports.len() + helm.unreadable.len(), 1, "{helm:?}");
}

#[test]
fn wrong_types_are_said_with_their_place_and_the_way_out() {
    #[track_caller]
    fn check(from: &str, to: &str, expected: &[&str]) {
        assert!(GOOD.contains(from));
        let found = read("f", &GOOD.replace(from, to), now(), Catalogue::builtin());
        let report = &found.reports[0];
        assert!(!report.accepted);
        let errors: Vec<&str> = report.errors.iter().map(|error| error.sentence.as_str()).collect();
        assert_eq!(errors, expected);
    }
    check(
        "maxReplicas: 10",
        "maxReplicas: \"3\"",
        &["spec.maxReplicas: must be a whole number, but is the text \"3\"; write 3 without quotes"],
    );
    check(
        "maxReplicas: 10",
        "minReplicas: 1.5\n  maxReplicas: many",
        &[
            "spec.maxReplicas: must be a whole number, but is the text \"many\"",
            "spec.minReplicas: must be a whole number, but is the number 1.5",
        ],
    );
    check(
        "  maxReplicas: 10\n  scalingStrategy: KPA\n",
        "",
        &[
            "spec.maxReplicas: is missing; say how many replicas there may be at most",
            "spec.scalingStrategy: is missing; write HPA, KPA or APA",
        ],
    );
    check(
        "targetValue: '20'",
        "targetValue: 20",
        &["spec.targetValue: must be text, but is the number 20; put it in quotes: \"20\""],
    );
    check(
        "maxReplicas: 10",
        "maxReplicas: 3000000000",
        &["spec.maxReplicas: 3000000000 is out of range; write at most 2147483647"],
    );
    check(
        "scalingStrategy: KPA",
        "scalingStrategy: KPA\n  metricsSources: {metricSourceType: pod}",
        &["spec.metricsSources: must be a list, but is a mapping; begin each entry with \"- \""],
    );
    check(
        "namespace: default}",
        "annotations: {windlass.dev/hold-at: 6}}",
        &[
            "metadata.annotations.windlass.dev/hold-at: must be text, but is the number 6; put it in quotes: \"6\"",
        ],
    );
    check(
        "metadata: {name: llama, namespace: default}",
        "metadata: {}",
        &["metadata.name: is missing; name the object"],
    );
    check("spec:", "specs:", &["spec: is missing; say what is scaled, by what, and how far"]);
}

#[test]
fn a_report_tells_everything() {
    let found =
        read("f", &GOOD.replace("maxReplicas", "colour: blue\n  maxReplicas"), now(), Catalogue::builtin());
    let report = &found.reports[0];
    assert_eq!(report.full_name(), "default/llama");
    assert_eq!(report.target.as_deref(), Some("Deployment/llama2-70b"));
    assert_eq!(report.dialect, "AIBrix v0.1 (spec.targetMetric, spec.targetValue)");
    let setting = |name: &str| report.settings.iter().find(|setting| setting.name == name).unwrap();
    assert_eq!(
        (&*setting("max replicas").value, &*setting("max replicas").origin),
        ("10", "spec.maxReplicas")
    );
    assert_eq!(setting("stable window").origin, "default");
    assert_eq!(report.warnings[0].subject, "spec.colour");
    assert!(report.differences.iter().any(|difference| difference.subject == "down window"));
}

#[test]
fn the_clock_is_asked() {
    let text = GOOD
        .replace("namespace: default}", "annotations: {windlass.dev/override: '6 until 2026-08-03T01:00Z'}}")
        + "  schedules:\n  - {name: office, timezone: Asia/Shanghai, startTime: '09:00', endTime: '18:00', minReplicas: 3}\n";
    let found = read("f", &text, now(), Catalogue::builtin());
    let report = &found.reports[0];
    let bounds = report.in_force.as_ref().unwrap();
    assert_eq!(
        (bounds.schedule.as_deref(), bounds.min_replicas, bounds.max_replicas),
        (Some("office"), 3, 10)
    );
    assert_eq!(bounds.until.as_deref(), Some("2026-08-03T10:00:00Z"));
    assert!(
        report.warnings.iter().any(|warning| warning.sentence.contains("is over")),
        "{:?}",
        report.warnings
    );
}

use super::*;
use crate::resolve::resolve;

/// `expected` are the beginnings of `against: subject: sentence` that must be there; `absent` are parts that must not.
#[track_caller]
fn check(annotations: &str, spec: &str, expected: &[&str], absent: &[&str]) {
    let yaml = format!(
        "apiVersion: autoscaling.aibrix.ai/v1alpha1\nkind: PodAutoscaler\n\
         metadata: {{name: llama, annotations: {{{annotations}}}}}\n\
         spec: {{scaleTargetRef: {{kind: Deployment, name: llama2-70b}}, maxReplicas: 10, {spec}}}"
    );
    let object: PodAutoscaler = serde_saphyr::from_str(&yaml).unwrap();
    let found: Vec<String> =
        differences(&object, &resolve(&object).unwrap()).iter().map(ToString::to_string).collect();
    for beginning in expected {
        assert!(found.iter().any(|line| line.starts_with(beginning)), "{beginning:?} is not in {found:#?}");
    }
    for part in absent {
        assert!(!found.iter().any(|line| line.contains(part)), "{part:?} is in {found:#?}");
    }
}

/// The same under HPA, which this version may refuse: what is compared is the object and what KPA makes of it.
#[track_caller]
fn under_hpa(annotations: &str, sources: &[String]) -> Vec<String> {
    let spec = spec("KPA", sources);
    let yaml = format!(
        "apiVersion: autoscaling.aibrix.ai/v1alpha1\nkind: PodAutoscaler\n\
         metadata: {{name: llama, annotations: {{{annotations}}}}}\n\
         spec: {{scaleTargetRef: {{kind: Deployment, name: llama2-70b}}, maxReplicas: 10, {spec}}}"
    );
    let mut object: PodAutoscaler = serde_saphyr::from_str(&yaml).unwrap();
    let resolved = resolve(&object).unwrap();
    object.spec.scaling_strategy = "HPA".to_owned();
    differences(&object, &resolved).iter().map(ToString::to_string).collect()
}

fn source(metric: &str, target: &str, more: &str) -> String {
    format!(
        "{{metricSourceType: pod, port: '8000', path: /metrics, targetMetric: {metric}, targetValue: '{target}'{more}}}"
    )
}

fn spec(strategy: &str, sources: &[String]) -> String {
    format!("scalingStrategy: {strategy}, metricsSources: [{}]", sources.join(", "))
}

#[test]
fn defaults_that_were_others() {
    let plain = [source("inflight", "20", "")];
    check(
        "",
        &spec("KPA", &plain),
        &[
            "AIBrix v0.1 to v0.4: down window: its default is 30m (scale-down-delay), here it is 5m",
            "current AIBrix: stable window: its default is 180s, here it is 60s",
            "current AIBrix: panic window: its default is 60s, here it is 10s",
            "current AIBrix: down window: it lowers at once to the least count of the window",
            "current AIBrix: spec.scalingStrategy: it divides the mean per pod",
        ],
        &["tolerance", "up window", "shape of v0.1", "is read as percent", "counter", "path"],
    );
    check(
        "",
        &spec("APA", &plain),
        &[
            "AIBrix v0.1 to v0.4: down tolerance: its default is 0.2, here it is 0.1",
            "AIBrix v0.1 to v0.4: down window: its default is none",
            "current AIBrix: window: its default is 180s, here it is 60s",
            "current AIBrix: spec.scalingStrategy: it multiplies",
        ],
        &["panic"],
    );
}

#[test]
fn what_is_written_is_no_default_and_tells_the_generation() {
    let plain = [source("inflight", "20", "")];
    check(
        "autoscaling.aibrix.ai/scale-up-cooldown-window: 30s",
        &format!("{}, observeWindowSeconds: 180, panicWindowSeconds: 60", spec("KPA", &plain)),
        &["current AIBrix: up window: it raises at once"],
        &["its default", "v0.1 to v0.4:"],
    );
    check(
        "kpa.autoscaling.aibrix.ai/scale-down-delay: 30m, kpa.autoscaling.aibrix.ai/target-burst-capacity: '2'",
        &spec("KPA", &plain),
        &["current AIBrix: kpa.autoscaling.aibrix.ai/scale-down-delay: it ignores"],
        &["30m (scale-down-delay)", "target-burst-capacity"],
    );
}

#[test]
fn annotations() {
    let plain = [source("inflight", "20", "")];
    check(
        "autoscaling.aibrix.ai/up-fluctuation-tolerance: '0.2', autoscaling.aibrix.ai/max-scale-up-rate: fast",
        &spec("APA", &plain),
        &[
            "AIBrix: autoscaling.aibrix.ai/up-fluctuation-tolerance: no version reads this spelling",
            "current AIBrix: autoscaling.aibrix.ai/max-scale-up-rate: a value that it cannot read makes it drop others",
        ],
        &[],
    );
    check(
        "autoscaling.aibrix.ai/scale-up-tolerance: '0.2'",
        &spec("KPA", &plain),
        &[
            "current AIBrix: autoscaling.aibrix.ai/scale-up-tolerance: it keeps the count within this tolerance",
        ],
        &[],
    );
}

#[test]
fn metrics_and_pages() {
    check(
        "",
        "scalingStrategy: KPA, targetMetric: inflight, targetValue: '20'",
        &["current AIBrix: spec.targetMetric: it refuses the shape of v0.1"],
        &[],
    );
    let several = [
        source("gpu_cache_usage_perc", "50", ""),
        source("vllm:prompt_tokens_total", "9", ""),
        source("my_metric", "9", "").replace("path: /metrics", "path: stats"),
        source("my_metric", "9", ""),
        "{metricSourceType: resource, targetMetric: memory, targetValue: 1Gi}".to_owned(),
        source("time_to_first_token_seconds", "0.5", ""),
    ];
    check(
        "",
        &spec("APA", &several),
        &[
            "AIBrix: spec.metricsSources[0]: it compares 50 with values from 0 to 1",
            "AIBrix: spec.metricsSources[1]: it compares the counter vllm:prompt_tokens_total itself",
            "current AIBrix: spec.metricsSources[2]: a metric that is not in its list counts as 0",
            "current AIBrix: spec.metricsSources[2].path: it ignores path",
            "AIBrix: spec.metricsSources[4]: it refuses a target with a suffix",
            "current AIBrix: spec.metricsSources[5]: a histogram counts as 0, and so lowers",
            "current AIBrix: spec.metricsSources: a source that fails is left out",
            "current AIBrix: spec.metricsSources: sources of the same metric (my_metric) share one window",
        ],
        &["metricsSources[3].path"],
    );
}

#[test]
fn schedules() {
    let entry = |name: &str, zone: &str, days: &str, from: &str, to: &str| {
        format!(
            "{{name: {name}, timezone: {zone}, daysOfWeek: [{days}], startTime: '{from}', endTime: '{to}', minReplicas: 2}}"
        )
    };
    let with = |entries: &[String]| {
        format!("{}, schedules: [{}]", spec("KPA", &[source("inflight", "20", "")]), entries.join(", "))
    };
    check(
        "",
        &with(&[
            entry("night", "UTC", "Mon", "22:00", "06:00"),
            entry("late", "Europe/Berlin", "tue", "09:00", "24:00"),
            entry("noon", "Europe/Berlin", "Tue", "11:00", "12:00"),
        ]),
        &[
            "current AIBrix: spec.schedules[0]: it refuses an entry across midnight",
            "current AIBrix: spec.schedules[1].endTime: it refuses 24:00",
            "current AIBrix: spec.schedules[2]: it refuses an entry that overlaps another (late)",
            "current AIBrix: spec.schedules: it refuses several time zones",
            "current AIBrix: spec.schedules: on days when clocks change",
        ],
        &[],
    );
    check(
        "",
        &with(&[entry("a", "UTC", "Mon", "09:00", "10:00"), entry("b", "UTC", "Mon", "10:00", "11:00")]),
        &[],
        &["spec.schedules"],
    );
}

#[test]
fn horizontal_pod_autoscalers() {
    let found = under_hpa(
        "autoscaling.aibrix.ai/scale-down-cooldown-window: 10m",
        &[
            source("kv_util", "0.5", ", protocolType: http"),
            "{metricSourceType: external, targetMetric: load, targetValue: '20'}".to_owned(),
            "{metricSourceType: resource, targetMetric: cpu, targetValue: '50'}".to_owned(),
        ],
    );
    let expected = [
        "current AIBrix: down window: it writes 300 s whatever is asked for; here 10m is written",
        "current AIBrix: spec.scalingStrategy: its HorizontalPodAutoscaler stays behind",
        "current AIBrix: spec.metricsSources[0]: its HorizontalPodAutoscaler has the target without its fraction (0.5",
        "current AIBrix: spec.metricsSources[1]: its HorizontalPodAutoscaler has a metric of type Pods",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found} is not {expected}");
    }
}

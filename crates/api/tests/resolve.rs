//! Every dialect, from YAML to numbers and warnings.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use windlass_api::{PathRule, PodAutoscaler, PortRule, Resolved, Source, SpecError, resolve};
use windlass_scaling::{Hold, Instant, Kind, Mode, Order, Policy};

/// An object with these annotations and these lines in its spec, besides what every object needs.
fn object(annotations: &[(&str, &str)], spec: &str) -> PodAutoscaler {
    let mut yaml =
        "apiVersion: autoscaling.aibrix.ai/v1alpha1\nkind: PodAutoscaler\nmetadata:\n  name: llama\n  \
                    namespace: default\nspec:\n  scaleTargetRef: {kind: Deployment, name: llama2-70b}\n  \
                    maxReplicas: 10\n"
            .to_owned();
    for line in spec.lines() {
        yaml.extend(["  ", line, "\n"]);
    }
    let mut object: PodAutoscaler = serde_saphyr::from_str(&yaml).unwrap();
    let annotations = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    object.metadata.annotations = Some(annotations.collect());
    object
}

const KPA: &str = "scalingStrategy: KPA\ntargetMetric: inflight\ntargetValue: '20'";
const APA: &str = "scalingStrategy: APA\ntargetMetric: inflight\ntargetValue: '20'";

/// `settings` are lines `name = value (origin)` that must be among the resolved ones; `warnings` are all there are.
#[track_caller]
fn check(annotations: &[(&str, &str)], spec: &str, settings: &[&str], warnings: &[&str]) -> Resolved {
    let resolved = resolve(&object(annotations, spec)).unwrap();
    let found: Vec<String> =
        resolved.settings.iter().map(|s| format!("{} = {} ({})", s.name, s.value, s.origin)).collect();
    for setting in settings {
        assert!(found.iter().any(|line| line == setting), "{setting:?} is not among {found:#?}");
    }
    let found: Vec<String> = resolved.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(found, warnings);
    resolved
}

#[test]
fn without_settings_the_policy_is_the_default_one() {
    let resolved = check(
        &[],
        KPA,
        &[
            "stable window = 60s (default)",
            "down window = 5m (default)",
            "target of inflight = 20 (spec.targetValue)",
        ],
        &[],
    );
    let from_pods = |mut policy: Policy| {
        policy.signals[0].read_from = "pods http".to_owned();
        policy
    };
    assert_eq!(resolved.policy, from_pods(Policy::kpa("inflight", Kind::Additive, 20.0, 1..=10)));
    assert_eq!(resolved.target.api_version, "apps/v1");
    let resolved = check(&[], APA, &["up tolerance = 0.1 (default)", "down tolerance = 0.1 (default)"], &[]);
    assert_eq!(resolved.policy, from_pods(Policy::apa("inflight", Kind::Additive, 20.0, 1..=10)));
    assert_eq!(resolved.settings.len(), 11, "nothing of KPA is among APA's settings");
}

#[test]
fn classic_annotations() {
    check(
        &[
            ("autoscaling.aibrix.ai/max-scale-up-rate", "4"),
            ("autoscaling.aibrix.ai/max-scale-down-rate", "1.5"),
            ("kpa.autoscaling.aibrix.ai/activation-scale", "2"),
            ("kpa.autoscaling.aibrix.ai/panic-threshold", "3"),
            ("kpa.autoscaling.aibrix.ai/stable-window", "1m30s"),
            ("kpa.autoscaling.aibrix.ai/panic-window", "15s"),
            ("kpa.autoscaling.aibrix.ai/scale-down-delay", "30m"),
        ],
        KPA,
        &[
            "max scale-up rate = 4 (annotation autoscaling.aibrix.ai/max-scale-up-rate)",
            "max scale-down rate = 1.5 (annotation autoscaling.aibrix.ai/max-scale-down-rate)",
            "activation scale = 2 (annotation kpa.autoscaling.aibrix.ai/activation-scale)",
            "panic threshold = 3 (annotation kpa.autoscaling.aibrix.ai/panic-threshold)",
            "stable window = 90s (annotation kpa.autoscaling.aibrix.ai/stable-window)",
            "panic window = 15s (annotation kpa.autoscaling.aibrix.ai/panic-window)",
            "down window = 30m (annotation kpa.autoscaling.aibrix.ai/scale-down-delay)",
        ],
        &[],
    );
    check(
        &[
            ("apa.autoscaling.aibrix.ai/up-fluctuation-tolerance", "0.05"),
            ("apa.autoscaling.aibrix.ai/down-fluctuation-tolerance", "0.2"),
            ("apa.autoscaling.aibrix.ai/window", "30s"),
        ],
        APA,
        &[
            "up tolerance = 0.05 (annotation apa.autoscaling.aibrix.ai/up-fluctuation-tolerance)",
            "down tolerance = 0.2 (annotation apa.autoscaling.aibrix.ai/down-fluctuation-tolerance)",
            "window = 30s (annotation apa.autoscaling.aibrix.ai/window)",
        ],
        &[],
    );
}

#[test]
fn current_annotations_and_fields() {
    let resolved = check(
        &[
            ("autoscaling.aibrix.ai/scale-up-cooldown-window", "0s"),
            ("autoscaling.aibrix.ai/scale-down-cooldown-window", "1h"),
            ("autoscaling.aibrix.ai/panic-threshold", "1.5"),
        ],
        &format!("{KPA}\nminReplicas: 0\nobserveWindowSeconds: 600\npanicWindowSeconds: 60"),
        &[
            "min replicas = 0 (spec.minReplicas)",
            "max replicas = 10 (spec.maxReplicas)",
            "stable window = 10m (spec.observeWindowSeconds)",
            "panic window = 60s (spec.panicWindowSeconds)",
            "panic threshold = 1.5 (annotation autoscaling.aibrix.ai/panic-threshold)",
            "up window = 0s (annotation autoscaling.aibrix.ai/scale-up-cooldown-window)",
            "down window = 1h (annotation autoscaling.aibrix.ai/scale-down-cooldown-window)",
        ],
        &[],
    );
    assert_eq!(resolved.policy.min_replicas, 0);
    assert_eq!(resolved.policy.longest_window().as_secs(), 600);
    check(
        &[
            ("autoscaling.aibrix.ai/scale-up-tolerance", "0.3"),
            ("autoscaling.aibrix.ai/scale-down-tolerance", "0"),
        ],
        &format!("{APA}\nobserveWindowSeconds: 90"),
        &[
            "window = 90s (spec.observeWindowSeconds)",
            "up tolerance = 0.3 (annotation autoscaling.aibrix.ai/scale-up-tolerance)",
            "down tolerance = 0 (annotation autoscaling.aibrix.ai/scale-down-tolerance)",
        ],
        &[],
    );
}

#[test]
fn the_more_specific_wins_and_the_other_is_named() {
    check(
        &[
            ("autoscaling.aibrix.ai/scale-up-tolerance", "0.1"),
            ("apa.autoscaling.aibrix.ai/up-fluctuation-tolerance", "0.2"),
            ("autoscaling.aibrix.ai/up-fluctuation-tolerance", "0.10"),
            ("autoscaling.aibrix.ai/down-fluctuation-tolerance", "0.4"),
        ],
        APA,
        &[
            "up tolerance = 0.1 (annotation autoscaling.aibrix.ai/scale-up-tolerance)",
            "down tolerance = 0.4 (annotation autoscaling.aibrix.ai/down-fluctuation-tolerance)",
        ],
        &["apa.autoscaling.aibrix.ai/up-fluctuation-tolerance: \"0.2\" is ignored: \
           autoscaling.aibrix.ai/scale-up-tolerance is more specific"],
    );
    check(
        &[
            ("kpa.autoscaling.aibrix.ai/stable-window", "30s"),
            ("autoscaling.aibrix.ai/scale-down-cooldown-window", "60s"),
            ("kpa.autoscaling.aibrix.ai/scale-down-delay", "1m"),
        ],
        &format!("{KPA}\nobserveWindowSeconds: 120"),
        &[
            "stable window = 2m (spec.observeWindowSeconds)",
            "down window = 60s (annotation autoscaling.aibrix.ai/scale-down-cooldown-window)",
        ],
        &[
            "kpa.autoscaling.aibrix.ai/stable-window: \"30s\" is ignored: spec.observeWindowSeconds is more specific",
        ],
    );
}

#[test]
fn what_cannot_be_used_is_said_and_the_rest_is_honoured() {
    check(
        &[
            ("autoscaling.aibrix.ai/max-scale-up-rate", "1"),
            ("autoscaling.aibrix.ai/max-scale-down-rate", "two"),
            ("autoscaling.aibrix.ai/scale-up-cooldown-window", "60"),
            ("autoscaling.aibrix.ai/scale-down-cooldown-window", "-5s"),
            ("kpa.autoscaling.aibrix.ai/activation-scale", "0"),
            ("kpa.autoscaling.aibrix.ai/panic-threshold", "NaN"),
            ("kpa.autoscaling.aibrix.ai/panic-window", "6s"),
            ("kpa.autoscaling.aibrix.ai/stable-window", "2h"),
        ],
        KPA,
        &[
            "max scale-up rate = 2 (default)",
            "max scale-down rate = 2 (default)",
            "up window = 0s (default)",
            "down window = 5m (default)",
            "activation scale = 1 (default)",
            "panic threshold = 2 (default)",
            "panic window = 6s (annotation kpa.autoscaling.aibrix.ai/panic-window)",
            "stable window = 60s (default)",
        ],
        &[
            "autoscaling.aibrix.ai/max-scale-down-rate: \"two\" is not a number; the default 2 is used instead",
            "autoscaling.aibrix.ai/max-scale-up-rate: \"1\" must be greater than 1; the default 2 is used instead",
            "autoscaling.aibrix.ai/scale-down-cooldown-window: \"-5s\" is not a duration (such as 90s or 5m); \
             the default 5m is used instead",
            "autoscaling.aibrix.ai/scale-up-cooldown-window: \"60\" is not a duration (such as 90s or 5m); \
             the default 0s is used instead",
            "kpa.autoscaling.aibrix.ai/activation-scale: \"0\" must be a whole number of at least 1; \
             the default 1 is used instead",
            "kpa.autoscaling.aibrix.ai/panic-threshold: \"NaN\" is not a number; the default 2 is used instead",
            "kpa.autoscaling.aibrix.ai/stable-window: \"2h\" must be between 1s and 1h; \
             the default 60s is used instead",
        ],
    );
}

#[test]
fn what_has_no_effect_is_said() {
    let mut labelled = object(&[], KPA);
    let label = ("kpa.autoscaling.aibrix.ai/stable-window".to_owned(), "30s".to_owned());
    labelled.metadata.labels = Some([label].into());
    assert_eq!(
        resolve(&labelled).unwrap().warnings[0].to_string(),
        "kpa.autoscaling.aibrix.ai/stable-window: is a label and ignored: settings are read from annotations only; \
         make it an annotation"
    );
    check(
        &[
            ("apa.autoscaling.aibrix.ai/window", "30s"),
            ("autoscaling.aibrix.ai/max-scaleup-rate", "4"),
            ("autoscaling.aibrix.ai/scale-to-zero", "true"),
            ("autoscaling.aibrix.ai/scale-up-tolerance", "0.5"),
            ("example.com/max-scale-up-rate", "8"),
        ],
        &format!(
            "{KPA}\nbehavior: {{}}\npredictive: {{mode: shadow}}\nschedules: [{{name: a, startTime: '09:00', \
             endTime: '10:00', minReplicas: 2}}]"
        ),
        &["stable window = 60s (default)"],
        &[
            "apa.autoscaling.aibrix.ai/window: \"30s\" is ignored: window is a setting of APA, and the strategy is KPA",
            "autoscaling.aibrix.ai/max-scaleup-rate: is ignored: no such annotation is known (it says \"4\")",
            "autoscaling.aibrix.ai/scale-to-zero: is ignored, as in AIBrix: minReplicas 0 is what allows scaling \
             to zero",
            "autoscaling.aibrix.ai/scale-up-tolerance: \"0.5\" is ignored: up tolerance is a setting of APA, and the \
             strategy is KPA",
            "spec.behavior: is ignored: this version does not know the field",
            "spec.predictive: is not supported yet: nothing is forecast",
        ],
    );
    check(
        &[("kpa.autoscaling.aibrix.ai/panic-window", "5s")],
        &format!("{APA}\npanicWindowSeconds: 30"),
        &["window = 60s (default)"],
        &[
            "kpa.autoscaling.aibrix.ai/panic-window: \"5s\" is ignored: panic window is a setting of KPA, and the \
             strategy is APA",
            "spec.panicWindowSeconds: \"30\" is ignored: panic window is a setting of KPA, and the strategy is APA",
        ],
    );
}

#[test]
fn the_panic_window_is_not_the_longer_one() {
    check(
        &[("kpa.autoscaling.aibrix.ai/stable-window", "5s")],
        KPA,
        &["panic window = 5s (default)"],
        &[
            "panic window (default): the panic window (10s) cannot be longer than the stable window (5s); 5s is used",
        ],
    );
    // The field is valid by AIBrix's default of 180 s for the other one.
    check(
        &[],
        &format!("{KPA}\npanicWindowSeconds: 120"),
        &["stable window = 2m (default)", "panic window = 2m (spec.panicWindowSeconds)"],
        &[
            "stable window (default): the panic window (2m) cannot be longer than the stable window (60s); 2m is used",
        ],
    );
}

#[test]
fn targets_are_read_in_the_unit_of_their_metric() {
    let target = |metric: &str, value: &str, kind: Kind, target: f64, warnings: &[&str]| {
        let spec = format!("scalingStrategy: APA\ntargetMetric: '{metric}'\ntargetValue: '{value}'");
        let resolved = check(&[], &spec, &[], warnings);
        let signal = &resolved.policy.signals[0];
        assert_eq!((signal.metric.as_str(), signal.kind, signal.target), (metric, kind, target));
    };
    target("kv_util", "0.8", Kind::Utilisation, 0.8, &[]);
    target("kv_util", "1", Kind::Utilisation, 1.0, &[]);
    target(
        "gpu_cache_usage_perc",
        "50",
        Kind::Utilisation,
        0.5,
        &["spec.targetValue: gpu_cache_usage_perc ranges from 0 to 1, so \"50\" is read as percent: 0.5"],
    );
    target(
        "request_success_total",
        "5",
        Kind::Additive,
        5.0,
        &[
            "spec: request_success_total is a counter; its rate per second is used, so the target is per second too",
        ],
    );
    target(
        "prompt_tokens_total",
        "5",
        Kind::Additive,
        5.0,
        &[
            "spec: prompt_tokens_total is a counter; its rate per second is used, so the target is per second too",
        ],
    );
    target("request_rate", "5", Kind::Additive, 5.0, &[]);
    target("avg_prompt_throughput_toks_per_s", "5", Kind::Additive, 5.0, &[]);
    target(
        "runing",
        "5",
        Kind::Additive,
        5.0,
        &[
            "spec: runing is not in the catalogue: it is read under exactly this name and added up over pods (as its rate, if \
           the pods declare a counter); did you mean running?",
        ],
    );
    target(
        "my_queue_depth",
        "5",
        Kind::Additive,
        5.0,
        &[
            "spec: my_queue_depth is not in the catalogue: it is read under exactly this name and added up over pods \
           (as its rate, if the pods declare a counter)",
        ],
    );
}

#[test]
fn sources_say_where_a_signal_is_read() {
    let check = |spec: &str, expected: &[(PortRule, &str)], warnings: &[&str]| {
        let resolved = check(&[], spec, &[], warnings);
        assert_eq!(resolved.sources.len(), resolved.policy.signals.len());
        let found = resolved.sources.iter().map(|source| {
            let Source::Pod(pod) = source else { panic!("{source:?}") };
            let path = match &pod.path {
                PathRule::Fixed(path) => path.as_str(),
                PathRule::Discover => "?",
            };
            (pod.port, path)
        });
        assert_eq!(found.collect::<Vec<_>>(), expected);
    };
    let current = |rest: &str| {
        format!(
            "scalingStrategy: KPA\nmetricsSources:\n- {{metricSourceType: pod, port: '8080', targetMetric: inflight, \
             targetValue: '20', {rest}}}"
        )
    };
    check(KPA, &[(PortRule::Discover, "?")], &[]);
    check(&current("path: /metrics"), &[(PortRule::Fixed(8080), "/metrics")], &[]);
    check(
        &current("path: stats, protocolType: https"),
        &[(PortRule::Fixed(8080), "/stats")],
        &[
            "spec.metricsSources[0].protocolType: where a pod speaks no TLS, /metrics is read over plain http, as \
             AIBrix does; say something in tls to have https only",
        ],
    );
    check(
        &current("path: /metrics, endpoint: x, colour: blue"),
        &[(PortRule::Fixed(8080), "/metrics")],
        &[
            "spec.metricsSources[0].colour: is ignored: this version does not know the field",
            "spec.metricsSources[0].endpoint: \"x\" is ignored: metricSourceType pod reads from the pods themselves",
        ],
    );
    check(
        &format!("{}\ntargetMetric: kv_util", current("path: /metrics")),
        &[(PortRule::Fixed(8080), "/metrics")],
        &["spec.targetMetric: is ignored: metricsSources is more specific"],
    );
    check(
        &format!("{KPA}\nmetricsSources: [{{path: /a}}, {{metric: kv_util, path: b}}]"),
        &[(PortRule::Discover, "/a"), (PortRule::Discover, "/b")],
        &["spec.targetValue: kv_util ranges from 0 to 1, so \"20\" is read as percent: 0.2"],
    );
}

#[test]
fn what_stops_scaling_is_an_error() {
    let check = |spec: &str, expected: &[(&str, &str)]| {
        let errors = resolve(&object(&[], spec)).unwrap_err();
        let found: Vec<(&str, String)> = errors.iter().map(|e| (e.reason(), e.to_string())).collect();
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for ((reason, sentence), expected) in found.iter().zip(expected) {
            assert_eq!((*reason, sentence.as_str()), *expected);
        }
    };
    check(
        &format!("{KPA}\nsubTargetSelector: {{roleName: prefill}}"),
        &[(
            "InvalidSpec",
            "spec.subTargetSelector.roleName: only a StormService of orchestration.aibrix.ai has roles (found Deployment \
             of apps/v1); remove it, or name the StormService in scaleTargetRef",
        )],
    );
    check(
        &KPA.replace("inflight", "rate(x[1m])"),
        &[(
            "MetricsConfigError",
            "spec: `rate(x[1m])` is not a metric name; give a name, with matchers on labels if need be (`name{label=\"value\"}`), without blanks, functions or ranges",
        )],
    );
    check(
        &format!("{}\nminReplicas: 11", KPA.replace("KPA", "VPA").replace("20", "1Gi")),
        &[
            (
                "InvalidScalingStrategy",
                "spec.scalingStrategy: scalingStrategy must be HPA, KPA or APA (found \"VPA\")",
            ),
            (
                "InvalidBounds",
                "minReplicas (1 when omitted) must not be greater than maxReplicas (found 11 and 10)",
            ),
            (
                "MetricsConfigError",
                "spec.targetValue: targetValue must be a number greater than 0 without a unit, for example \"20\" or \
                 \"0.8\"; only cpu and memory take a suffix, for example \"500m\" or \"1Gi\" (found \"1Gi\")",
            ),
        ],
    );
    let mut elsewhere = object(&[], KPA);
    elsewhere.spec.scale_target_ref.namespace = Some("models".to_owned());
    let errors = resolve(&elsewhere).unwrap_err();
    assert!(matches!(&errors[..], [SpecError::TargetRef(_)]), "{errors:?}");
    assert_eq!(
        errors[0].to_string(),
        "spec.scaleTargetRef.namespace: a target in another namespace is refused (found \"models\", this object is in \
         \"default\"); remove the field or move this object to its target"
    );
    elsewhere.spec.scale_target_ref.namespace = Some("default".to_owned());
    assert!(resolve(&elsewhere).is_ok());
}

const MODE: &str = "windlass.dev/mode";
const HOLD_AT: &str = "windlass.dev/hold-at";
const OVERRIDE: &str = "windlass.dev/override";

#[test]
fn the_safety_switches() {
    let resolved = check(&[(MODE, "paused")], KPA, &["mode = paused (annotation windlass.dev/mode)"], &[]);
    assert_eq!(resolved.policy.hold, Hold { mode: Mode::Paused, order: None });
    let resolved = check(
        &[(MODE, "auto"), (HOLD_AT, " 6 ")],
        APA,
        &["hold-at = 6 (annotation windlass.dev/hold-at)"],
        &[],
    );
    let order = Order { replicas: 6, until: None };
    assert_eq!(resolved.policy.hold, Hold { mode: Mode::Auto, order: Some(order) });
    let expect = "override = 8 until 2026-12-01T07:00:00Z (annotation windlass.dev/override)";
    let resolved = check(&[(OVERRIDE, "8 until 2026-12-01T08:00+01:00")], KPA, &[expect], &[]);
    assert_eq!(resolved.policy.hold, Hold::default(), "nobody told the time");
}

#[test]
fn a_switch_that_cannot_be_read_pauses() {
    for (key, text, problem) in [
        (MODE, "off", "is not auto, recommend or paused"),
        (MODE, "", "is not auto, recommend or paused"),
        (HOLD_AT, "-1", "is not a whole number"),
        (HOLD_AT, "six", "is not a whole number"),
        (HOLD_AT, "4294967295", "is not a whole number"),
        (OVERRIDE, "12", "is not of the form \"12 until 2026-12-01T08:00Z\""),
        (OVERRIDE, "12 until tomorrow", "is not of the form \"12 until 2026-12-01T08:00Z\""),
        // Whose eight o'clock?
        (OVERRIDE, "12 until 2026-12-01T08:00", "is not of the form \"12 until 2026-12-01T08:00Z\""),
        (OVERRIDE, "x until 2026-12-01T08:00Z", "is not of the form \"12 until 2026-12-01T08:00Z\""),
    ] {
        let warning =
            format!("{key}: \"{text}\" {problem}; the target is paused until it is mended or removed");
        let setting = format!("mode = paused (annotation {key})");
        let resolved = check(&[(key, text)], KPA, &[&setting], &[&warning]);
        let paused = Hold { mode: Mode::Paused, order: None };
        assert_eq!((resolved.policy.hold, resolved.overriding), (paused, None));
        assert_eq!(resolved.unreadable_switch, Some(key));
    }
    let bad =
        "windlass.dev/override: \"12\" is not of the form \"12 until 2026-12-01T08:00Z\"; it is not honoured";
    let recommend = "mode = recommend (annotation windlass.dev/mode)";
    let resolved = check(&[(MODE, "recommend"), (OVERRIDE, "12")], KPA, &[recommend], &[bad]);
    assert_eq!(resolved.policy.hold.mode, Mode::Recommend, "it holds as well");
    assert_eq!(resolved.unreadable_switch, None);
    let ignored = "windlass.dev/override: \"12\" is ignored: windlass.dev/hold-at stands above it";
    let hold_at = "hold-at = 6 (annotation windlass.dev/hold-at)";
    let resolved = check(&[(HOLD_AT, "6"), (OVERRIDE, "12")], KPA, &[hold_at], &[ignored]);
    let order = Order { replicas: 6, until: None };
    assert_eq!(resolved.policy.hold, Hold { mode: Mode::Auto, order: Some(order) });
    let bad = "windlass.dev/hold-at: \"six\" is not a whole number; the target is paused until it is mended or removed";
    let paused = "mode = paused (annotation windlass.dev/hold-at)";
    let resolved = check(&[(MODE, "auto"), (HOLD_AT, "six")], KPA, &[paused], &[bad]);
    assert_eq!(resolved.unreadable_switch, Some(HOLD_AT));
    let bad = "windlass.dev/mode: \"halt\" is not auto, recommend or paused; the target is paused until it is mended or removed";
    let resolved = check(
        &[(MODE, "halt"), (HOLD_AT, "3")],
        KPA,
        &["hold-at = 3 (annotation windlass.dev/hold-at)"],
        &[bad],
    );
    assert_eq!(resolved.policy.hold.order.map(|order| order.replicas), Some(3), "what would be");
}

#[test]
fn hold_at_stands_above_an_override_and_the_bounds_above_both() {
    let outside = "windlass.dev/hold-at: 14 is outside of minReplicas 1 and maxReplicas 10; the nearest bound in force is used instead";
    let ignored = "windlass.dev/override: \"0 until 2026-12-01T08:00:00Z\" is ignored: windlass.dev/hold-at stands above it";
    let both = [(HOLD_AT, "14"), (OVERRIDE, "0 until 2026-12-01T08:00Z")];
    let resolved = check(&both, KPA, &[], &[outside, ignored]);
    assert_eq!(resolved.overriding, None);
    let outside = "windlass.dev/override: 0 is outside of minReplicas 1 and maxReplicas 10; the nearest bound in force is used instead";
    check(&both[1..], KPA, &[], &[outside]);
}

/// The wall clock is told again and again; the end of an override follows it, whichever way it jumps.
#[test]
fn an_override_ends_by_the_wall_clock() {
    let mut resolved = resolve(&object(&[(OVERRIDE, "8 until 2026-12-01T08:00Z")], KPA)).unwrap();
    let over = "windlass.dev/override: \"8 until 2026-12-01T08:00:00Z\" is over and ignored; remove it, or give it a later end";
    let now = Instant::from_micros(1_000_000_000);
    for (wall, left) in [
        ("2026-12-01T07:59:00Z", Some(60)),
        ("2026-12-01T07:58:00Z", Some(120)),
        ("2026-12-01T08:00:00Z", None),
        ("2027-12-01T08:00:00Z", None),
        ("2026-12-01T07:59:59Z", Some(1)),
    ] {
        resolved.at(wall.parse().unwrap(), now);
        let until = left.map(|left| now + std::time::Duration::from_secs(left));
        let order = until.map(|until| Order { replicas: 8, until: Some(until) });
        assert_eq!(resolved.policy.hold.order, order, "{wall}");
        let warnings: Vec<String> = resolved.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(warnings, if left.is_none() { vec![over] } else { vec![] }, "{wall}");
    }
}

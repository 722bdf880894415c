//! What of a page is read: histograms, their quantiles, one engine's series, series with certain labels.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use windlass_api::{PodAutoscaler, Resolved, Source, SpecError, resolve};
use windlass_metrics::Metric;
use windlass_scaling::{Kind, Scope, Statistic};

/// An object with one source.
fn read(strategy: &str, source: &str) -> Result<Resolved, Vec<SpecError>> {
    let yaml = format!(
        "apiVersion: autoscaling.aibrix.ai/v1alpha1\nkind: PodAutoscaler\nmetadata: {{name: llama, namespace: default}}\n\
         spec:\n  scaleTargetRef: {{kind: Deployment, name: llama2-70b}}\n  maxReplicas: 10\n  \
         scalingStrategy: {strategy}\n  metricsSources:\n  - {{targetValue: '0.5', {source}}}\n"
    );
    resolve(&serde_saphyr::from_str::<PodAutoscaler>(&yaml).unwrap())
}

fn of_page(resolved: &Resolved) -> (&Metric, Option<&Metric>) {
    match &resolved.sources[0] {
        Source::Pod(source) => (&source.metric, source.inflight.as_ref()),
        Source::Endpoint(source) => (&source.metric, source.inflight.as_ref()),
        other => panic!("{other:?}"),
    }
}

const POD: &str = "metricSourceType: pod, protocolType: http, port: '8000', path: /metrics";
const ENDPOINT: &str = "metricSourceType: external, protocolType: http, endpoint: gateway, path: /metrics";

#[test]
fn histograms_are_summed_up() {
    let check = |source: &str, kind: Kind, statistic: Option<Statistic>, scope: Scope, warnings: &[&str]| {
        for strategy in ["KPA", "APA"] {
            let resolved = read(strategy, source).unwrap();
            let signal = &resolved.policy.signals[0];
            assert_eq!((signal.kind, signal.statistic, signal.scope), (kind, statistic, scope), "{source}");
            let found: Vec<String> = resolved.warnings.iter().map(ToString::to_string).collect();
            assert_eq!(found, warnings, "{source}");
            let (metric, inflight) = of_page(&resolved);
            assert_eq!(inflight.is_some(), metric.is_of_events(), "{source}");
        }
    };
    let quantile = |q| Some(Statistic::Quantile(q));
    let latency = |name: &str, statistic, warnings: &[&str]| {
        let of = |place: &str| format!("{place}, targetMetric: {name}");
        check(&of(POD), Kind::Latency, statistic, Scope::Pod, warnings);
        check(&of(ENDPOINT), Kind::Latency, statistic, Scope::PodMean, warnings);
    };
    for name in ["ttft", "tpot", "itl", "e2e", "queue_time", "'vllm:time_to_first_token_seconds'"] {
        latency(name, quantile(0.95), &[]);
        latency(&format!("{name}, quantile: 0.9"), quantile(0.9), &[]);
        latency(&format!("{name}, quantile: '0.99'"), quantile(0.99), &[]);
        latency(&format!("{name}, quantile: 1"), quantile(1.0), &[]);
    }
    latency("p95_ttft_5m", quantile(0.95), &[]);
    latency("avg_ttft_5m_pod", Some(Statistic::Mean), &[]);
    latency("prompt_length", Some(Statistic::Mean), &[]);
    latency("'vllm:iteration_tokens_total'", Some(Statistic::Mean), &[]);
    latency(
        "my_seconds, quantile: 0.5",
        quantile(0.5),
        &[
            "spec.metricsSources[0]: my_seconds is not in the catalogue: it is read as a histogram of exactly this name",
        ],
    );
    check(
        &format!("{POD}, targetMetric: inflight, quantile: 0.5"),
        Kind::Additive,
        None,
        Scope::Pod,
        &["spec.metricsSources[0].quantile: is ignored: inflight is no histogram, so it has no quantiles"],
    );
    check(
        &format!("{ENDPOINT}, targetMetric: ttft, aggregation: total"),
        Kind::Latency,
        quantile(0.95),
        Scope::PodMean,
        &["spec.metricsSources[0].aggregation: total is ignored: the value of ttft is that of one request"],
    );
}

#[test]
fn what_cannot_be_read_is_refused_with_a_sentence() {
    let check = |rest: &str, expected: &str| {
        let errors = read("KPA", &format!("{POD}, {rest}")).unwrap_err();
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert_eq!(errors[0].to_string(), format!("spec.metricsSources[0]{expected}"));
    };
    let quantile = ".quantile: quantile must be a number greater than 0 and at most 1, for example 0.95";
    for (written, found) in [("0", "0"), ("1.5", "1.5"), ("'p95'", "\"p95\""), ("true", "true"), ("-1", "-1")]
    {
        check(&format!("targetMetric: ttft, quantile: {written}"), &format!("{quantile} (found {found})"));
    }
    check(
        "targetMetric: ttft, engine: vlm",
        ".engine: engine must be the name of an engine in the catalogue, for example vllm (found \"vlm\"; nearest \
         are vllm, xllm, tgi)",
    );
    check(
        "targetMetric: ttft, engine: tgi",
        ".engine: ttft: TGI does not expose it: it observes the parts only; use `queue_time`, to which the prefill comes",
    );
    check(
        "targetMetric: ttft, selector: '{model_name=a}'",
        ".selector: selector must be matchers on labels as PromQL has them, for example {model_name=\"a\"} (found \
         \"{model_name=a}\", label model_name needs a value in quotes)",
    );
}

#[test]
fn an_engine_and_labels_narrow_what_is_read() {
    let check = |rest: &str, first: &str, inflight: Option<&str>| {
        let resolved = read("APA", &format!("{POD}, {rest}")).unwrap();
        let (metric, beside) = of_page(&resolved);
        assert_eq!(metric.aliases[0].to_string(), first, "{rest}");
        assert_eq!(beside.map(|metric| metric.aliases[0].to_string()).as_deref(), inflight, "{rest}");
    };
    let sglang = "sglang:num_running_reqs{tp_rank=~\"0|\",pp_rank=~\"0|\"} + \
                  sglang:num_queue_reqs{tp_rank=~\"0|\",pp_rank=~\"0|\"}";
    check("targetMetric: ttft, engine: SGLang", "sglang:time_to_first_token_seconds", Some(sglang));
    check("targetMetric: queue_time, engine: text-generation-inference", "tgi_request_queue_duration", {
        Some("tgi_batch_current_size + tgi_queue_size")
    });
    let vllm = "vllm:num_requests_running{model_name=\"a\"} + vllm:num_requests_waiting{model_name=\"a\"}";
    for selector in ["'{model_name=\"a\"}'", "'model_name=\"a\",'"] {
        check(
            &format!("targetMetric: ttft, selector: {selector}"),
            "vllm:time_to_first_token_seconds{model_name=\"a\"}",
            Some(vllm),
        );
    }
    check(
        "targetMetric: 'ttft{model_name=\"a\"}', selector: 'is_streaming!=\"false\"'",
        "vllm:time_to_first_token_seconds{model_name=\"a\",is_streaming!=\"false\"}",
        Some(vllm),
    );
    check("targetMetric: my_depth, selector: 'queue=\"x\"'", "my_depth{queue=\"x\"}", None);
}

#[test]
fn who_chose_the_statistic_is_told() {
    let check = |rest: &str, expected: Option<&str>| {
        let resolved = read("KPA", &format!("{POD}, targetMetric: {rest}")).unwrap();
        let found = resolved.settings.iter().find(|setting| setting.name.starts_with("statistic of"));
        let found = found.map(|found| format!("{} = {} ({})", found.name, found.value, found.origin));
        assert_eq!(found.as_deref(), expected, "{rest}");
    };
    check("ttft", Some("statistic of ttft = p95 (default)"));
    check("ttft, quantile: 0.99", Some("statistic of ttft = p99 (spec.metricsSources[0].quantile)"));
    check("prompt_length", Some("statistic of prompt_length = mean (default)"));
    check("inflight", None);
}

/// Two readings of one metric at one place are two signals.
#[test]
fn another_quantile_is_another_signal() {
    let place = |rest: &str| {
        let resolved = read("KPA", &format!("{POD}, targetMetric: ttft, {rest}")).unwrap();
        resolved.policy.signals[0].read_from.clone()
    };
    assert_eq!(place("quantile: 0.5"), "pods http://:8000/metrics p50");
    assert_eq!(place("engine: vllm"), "pods http://:8000/metrics p95 engine vllm");
    assert_eq!(place("selector: 'a=\"b\"'"), "pods http://:8000/metrics p95 a=\"b\"");
}

#[test]
fn where_no_page_is_read_the_fields_are_warned_about() {
    let check = |strategy: &str, source: &str, sentence: &str| {
        let resolved =
            read(strategy, &format!("{source}, quantile: 0.9, engine: vllm, selector: 'a=\"b\"'")).unwrap();
        let found = resolved.warnings.iter().filter(|warning| warning.sentence.contains(sentence)).count();
        assert_eq!(found, if strategy == "HPA" { 1 } else { 3 }, "{source}: {:?}", resolved.warnings);
    };
    let no_page = "is ignored: only pages of pods and of endpoints are read by it, not metricSourceType";
    check("KPA", "metricSourceType: custom, targetMetric: q", no_page);
    check("APA", "metricSourceType: external, targetMetric: q", no_page);
    check("KPA", "metricSourceType: prometheus, endpoint: prom, query: q, targetMetric: q", no_page);
    check("HPA", &format!("{POD}, targetMetric: q"), "quantile, engine and selector are ignored");
}

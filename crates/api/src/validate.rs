//! The rules of the CRD once more, for objects that another CRD of the same name let in.

use crate::podautoscaler::{MetricSource, ObjectReference, PodAutoscaler, PodAutoscalerSpec};
use crate::source::{Address, parse_port};
use crate::{quantity, rules};

/// Why an object cannot be acted upon. The text says what is wrong, where, and what was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// No such strategy.
    #[error("{0}")]
    Strategy(String),
    /// Bounds that contradict themselves or each other.
    #[error("{0}")]
    Bounds(String),
    /// A target that is not named, or that may not be scaled from here.
    #[error("{0}")]
    TargetRef(String),
    /// No metric, or one that cannot be read.
    #[error("{0}")]
    Metrics(String),
    /// Anything else that is wrong.
    #[error("{0}")]
    Spec(String),
    /// Valid, but this version cannot do it yet.
    #[error("{0}")]
    Unsupported(String),
}

impl SpecError {
    /// The reason of condition `ValidSpec`, as AIBrix words it.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Strategy(_) => "InvalidScalingStrategy",
            Self::Bounds(_) => "InvalidBounds",
            Self::TargetRef(_) => "MissingScaleTargetRef",
            Self::Metrics(_) => "MetricsConfigError",
            Self::Spec(_) => "InvalidSpec",
            Self::Unsupported(_) => "Unsupported",
        }
    }
}

/// Every rule that `object` breaks.
pub(crate) fn validate(object: &PodAutoscaler) -> Vec<SpecError> {
    let spec = &object.spec;
    let mut errors = Vec::new();
    target(&spec.scale_target_ref, object.metadata.namespace.as_deref(), &mut errors);
    if !["HPA", "KPA", "APA"].contains(&spec.scaling_strategy.as_str()) {
        let found = &spec.scaling_strategy;
        errors.push(SpecError::Strategy(format!(
            "spec.scalingStrategy: {} (found \"{found}\")",
            rules::STRATEGY
        )));
    }
    bounds(spec, &mut errors);
    windows(spec, &mut errors);
    if spec.scaling_strategy == "HPA" && role(spec).is_some() {
        errors.push(SpecError::Spec(format!("spec: {}", rules::HPA_ROLE)));
    }
    metrics(spec, &mut errors);
    errors
}

/// The role that is to be scaled, if only a role is.
pub(crate) fn role(spec: &PodAutoscalerSpec) -> Option<&str> {
    set(spec.sub_target_selector.as_ref()?.role_name.as_ref())
}

/// Go's empty string means "not set".
pub(crate) fn set(field: Option<&String>) -> Option<&str> {
    field.map(String::as_str).filter(|text| !text.is_empty())
}

fn target(reference: &ObjectReference, namespace: Option<&str>, errors: &mut Vec<SpecError>) {
    let path = "spec.scaleTargetRef";
    let (kind, name) = (set(reference.kind.as_ref()), set(reference.name.as_ref()));
    if kind.is_none() || name.is_none() {
        errors.push(SpecError::TargetRef(format!("{path}: {}", rules::TARGET_REF)));
    } else if set(reference.api_version.as_ref()).is_none() && !kind.is_some_and(is_apps_kind) {
        errors.push(SpecError::TargetRef(format!("{path}: {}", rules::TARGET_API)));
    }
    if let (Some(theirs), Some(ours)) = (set(reference.namespace.as_ref()), namespace)
        && theirs != ours
    {
        errors.push(SpecError::TargetRef(format!(
            "{path}.namespace: a target in another namespace is refused (found \"{theirs}\", this object is in \
             \"{ours}\"); remove the field or move this object to its target"
        )));
    }
}

/// Kinds that need no apiVersion to be found.
pub(crate) fn is_apps_kind(kind: &str) -> bool {
    ["Deployment", "StatefulSet", "ReplicaSet"].contains(&kind)
}

fn bounds(spec: &PodAutoscalerSpec, errors: &mut Vec<SpecError>) {
    let (min, max) = (spec.min_replicas.unwrap_or(1), spec.max_replicas);
    let mut broken =
        |rule: &str, found: String| errors.push(SpecError::Bounds(format!("{rule} (found {found})")));
    if min < 0 {
        broken(rules::MIN_NEGATIVE, min.to_string());
    }
    if max <= 0 {
        broken(rules::MAX_NOT_POSITIVE, max.to_string());
    } else if min > max {
        broken(rules::MIN_ABOVE_MAX, format!("{min} and {max}"));
    }
}

fn windows(spec: &PodAutoscalerSpec, errors: &mut Vec<SpecError>) {
    let (observe, panic) = (spec.observe_window_seconds, spec.panic_window_seconds);
    let mut broken =
        |rule: &str, found: String| errors.push(SpecError::Spec(format!("{rule} (found {found})")));
    for (window, rule) in [(observe, rules::OBSERVE_WINDOW), (panic, rules::PANIC_WINDOW)] {
        if let Some(seconds) = window.filter(|seconds| !(1..=3600).contains(seconds)) {
            broken(rule, seconds.to_string());
        }
    }
    let (observe, panic) = (observe.unwrap_or(180), panic.unwrap_or(60));
    if panic > observe {
        broken(rules::PANIC_ABOVE_OBSERVE, format!("{panic} and {observe}"));
    }
}

fn metrics(spec: &PodAutoscalerSpec, errors: &mut Vec<SpecError>) {
    let sources = spec.metrics_sources.as_deref().unwrap_or_default();
    let top = (set(spec.target_metric.as_ref()), spec.target_value.as_deref());
    if sources.is_empty() && (top.0.is_none() || top.1.is_none()) {
        errors.push(SpecError::Metrics(format!("spec: {}", rules::NO_METRIC)));
    }
    if sources.len() > windlass_scaling::MAX_SIGNALS {
        errors.push(SpecError::Metrics(format!(
            "spec.metricsSources: {} (found {})",
            rules::TOO_MANY_SOURCES,
            sources.len()
        )));
    }
    if sources.iter().all(|source| source.metric_source_type.is_some()) {
        target_value("spec.targetValue", top.0, top.1, errors);
    }
    for (at, source) in sources.iter().enumerate() {
        let path = format!("spec.metricsSources[{at}]");
        if source.metric_source_type.is_none() {
            let metric = set(source.metric.as_ref()).or(top.0);
            if top.1.is_none() || metric.is_none() {
                errors.push(SpecError::Metrics(format!("{path}: {}", rules::LEGACY_ENTRY)));
            }
            target_value("spec.targetValue", metric, top.1, errors);
        }
        metric_source(&path, source, errors);
    }
}

fn metric_source(path: &str, source: &MetricSource, errors: &mut Vec<SpecError>) {
    let mut broken = |rule: &str| errors.push(SpecError::Metrics(format!("{path}: {rule}")));
    let metric = set(source.target_metric.as_ref());
    let (port, page) = (set(source.port.as_ref()), set(source.path.as_ref()));
    if source.metric_source_type.is_some() && (metric.is_none() || source.target_value.is_none()) {
        broken(rules::SOURCE_INCOMPLETE);
    }
    match source.metric_source_type.as_deref() {
        Some("pod") if port.is_none() || page.is_none() => broken(rules::POD_INCOMPLETE),
        Some("resource") => {
            if metric.is_some_and(|metric| !["cpu", "memory"].contains(&metric)) {
                broken(rules::RESOURCE_METRIC);
            }
            let address = [&source.port, &source.path, &source.endpoint, &source.protocol_type];
            if address.iter().any(|field| field.is_some()) {
                broken(rules::RESOURCE_ADDRESS);
            }
        }
        Some("external" | "domain")
            if set(source.endpoint.as_ref()).is_some()
                && (page.is_none() || set(source.protocol_type.as_ref()).is_none()) =>
        {
            broken(rules::ENDPOINT_INCOMPLETE);
        }
        None | Some("pod" | "custom" | "external" | "domain" | "prometheus") => {}
        Some(_) => broken(rules::SOURCE_TYPE),
    }
    access(source, &mut broken);
    if port.is_some_and(|port| parse_port(port).is_none()) {
        broken(rules::PORT);
    }
    if page.is_some_and(|page| !page.bytes().all(|byte| byte.is_ascii_graphic())) {
        broken(rules::PATH);
    }
    if set(source.protocol_type.as_ref()).is_some_and(|protocol| !["http", "https"].contains(&protocol)) {
        broken(rules::PROTOCOL);
    }
    target_value(&format!("{path}.targetValue"), metric, source.target_value.as_deref(), errors);
}

/// Who is asked, and with what.
fn access(source: &MetricSource, broken: &mut impl FnMut(&str)) {
    let source_type = source.metric_source_type.as_deref();
    let endpoint = set(source.endpoint.as_ref());
    if source_type == Some("prometheus") && (endpoint.is_none() || set(source.query.as_ref()).is_none()) {
        broken(rules::PROMETHEUS_INCOMPLETE);
    }
    let protocol = set(source.protocol_type.as_ref());
    if source_type != Some("pod")
        && endpoint.is_some_and(|endpoint| Address::parse(protocol, endpoint, None).is_none())
    {
        broken(rules::ENDPOINT);
    }
    let secured = source.tls.is_some() || source.bearer_token_secret.is_some();
    // A scheme in the endpoint is more specific; pods have no endpoint.
    let scheme =
        endpoint.filter(|_| source_type != Some("pod")).and_then(|endpoint| endpoint.split_once("://"));
    let https = scheme.map_or(protocol, |(scheme, _)| Some(scheme)) == Some("https");
    let of_cluster = match source_type {
        Some("resource" | "custom") => true,
        Some("external" | "domain") => endpoint.is_none(),
        _ => false,
    };
    if secured && of_cluster {
        broken(rules::CLUSTER_API);
    } else if secured && !https {
        broken(rules::TLS_WITHOUT_HTTPS);
    }
    let tls = source.tls.as_ref();
    let skips = tls.is_some_and(|tls| tls.insecure_skip_verify == Some(true));
    if skips && source.bearer_token_secret.is_some() {
        broken(rules::TOKEN_UNVERIFIED);
    }
    if tls.is_some_and(|tls| tls.ca_bundle.is_some() && tls.ca_bundle_secret.is_some()) {
        broken(rules::TWO_CA_BUNDLES);
    }
    let applies = matches!(source_type, Some("external" | "domain" | "prometheus"));
    let known = |aggregation: &str| ["total", "perPod"].contains(&aggregation);
    if source.aggregation.as_deref().is_some_and(|aggregation| !applies || !known(aggregation)) {
        broken(rules::AGGREGATION);
    }
}

fn target_value(path: &str, metric: Option<&str>, value: Option<&str>, errors: &mut Vec<SpecError>) {
    let metric = metric.unwrap_or_default();
    if let Some(value) = value.filter(|value| quantity::target(metric, value).is_none()) {
        let error = SpecError::Metrics(format!("{path}: {} (found \"{value}\")", rules::TARGET_VALUE));
        // Several entries of v0.1 have this one value.
        if !errors.contains(&error) {
            errors.push(error);
        }
    }
}

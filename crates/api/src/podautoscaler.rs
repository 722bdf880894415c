//! The wire type, as it is written down in a manifest. Every generation of AIBrix's API fits in.
//!
//! Deliberately loose where the API server is strict (enums are strings here): an object that was admitted by
//! another CRD of the same name must be reported, not break the watch it arrives in.

#![allow(
    unreachable_pub,
    clippy::duplicated_attributes,
    reason = "the derive repeats these types inside functions, and two columns may have one type"
)]
#![allow(
    clippy::doc_markdown,
    reason = "these comments are the CRD's descriptions, read by people, not by rustdoc"
)]

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::rules;
use crate::status::PodAutoscalerStatus;

/// A positive decimal without unit (the exponent is short, so that CEL's `double()` cannot overflow); or, of cpu and
/// memory, a quantity with a suffix, which is positive if it has a digit that is.
const SOURCE_VALUE: &str = "!has(self.targetValue) || \
     (self.targetValue.matches('^[+]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]{1,2})?$') && \
      double(self.targetValue) > 0.0) || \
     (self.targetValue.matches('^[+]?([0-9]+[.]?[0-9]*|[.][0-9]+)([numkMGTPE]|[KMGTPE]i)$') && \
      self.targetValue.matches('[1-9]') && \
      has(self.targetMetric) && self.targetMetric.lowerAscii() in ['cpu', 'memory'])";
/// The same at the top of the spec, for entries in the shape of v0.1, which may name a metric of their own.
const TOP_VALUE: &str = "!has(self.targetValue) || \
     (self.targetValue.matches('^[+]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]{1,2})?$') && \
      double(self.targetValue) > 0.0) || \
     (self.targetValue.matches('^[+]?([0-9]+[.]?[0-9]*|[.][0-9]+)([numkMGTPE]|[KMGTPE]i)$') && \
      self.targetValue.matches('[1-9]') && \
      ((has(self.targetMetric) && self.targetMetric.lowerAscii() in ['cpu', 'memory']) || \
       (has(self.metricsSources) && self.metricsSources.exists(source, !has(source.metricSourceType) && \
        has(source.metric) && source.metric.lowerAscii() in ['cpu', 'memory']))))";
const PANIC_WITHIN_OBSERVE: &str = "(has(self.panicWindowSeconds) ? self.panicWindowSeconds : 60) <= \
     (has(self.observeWindowSeconds) ? self.observeWindowSeconds : 180)";
const HAS_METRIC: &str = "(has(self.metricsSources) && size(self.metricsSources) > 0) || \
     (has(self.targetMetric) && self.targetMetric != '' && has(self.targetValue))";
const LEGACY_ENTRIES_COMPLETE: &str = "!has(self.metricsSources) || self.metricsSources.all(source, \
     has(source.metricSourceType) || (has(self.targetValue) && (has(source.metric) || has(self.targetMetric))))";
const NO_ROLE_UNDER_HPA: &str = "self.scalingStrategy != 'HPA' || !has(self.subTargetSelector) || \
     !has(self.subTargetSelector.roleName) || self.subTargetSelector.roleName == ''";
const TARGET_API_KNOWN: &str = "(has(self.apiVersion) && self.apiVersion != '') || \
     (has(self.kind) && self.kind in ['Deployment', 'StatefulSet', 'ReplicaSet'])";
const TARGET_NAMED: &str = "has(self.kind) && self.kind != '' && has(self.name) && self.name != ''";
const SOURCE_COMPLETE: &str = "!has(self.metricSourceType) || \
     (has(self.targetMetric) && self.targetMetric != '' && has(self.targetValue))";
const POD_COMPLETE: &str = "!has(self.metricSourceType) || self.metricSourceType != 'pod' || \
     (has(self.port) && self.port != '' && has(self.path) && self.path != '')";
const RESOURCE_KNOWN: &str = "!has(self.metricSourceType) || self.metricSourceType != 'resource' || \
     !has(self.targetMetric) || self.targetMetric in ['cpu', 'memory']";
const RESOURCE_WITHOUT_ADDRESS: &str = "!has(self.metricSourceType) || self.metricSourceType != 'resource' || \
     !(has(self.port) || has(self.path) || has(self.endpoint) || has(self.protocolType))";
const ENDPOINT_COMPLETE: &str = "!has(self.metricSourceType) || \
     !(self.metricSourceType in ['external', 'domain']) || !has(self.endpoint) || self.endpoint == '' || \
     (has(self.protocolType) && has(self.path) && self.path != '')";
const PROMETHEUS_COMPLETE: &str = "!has(self.metricSourceType) || self.metricSourceType != 'prometheus' || \
     (has(self.endpoint) && self.endpoint != '' && has(self.query) && self.query != '')";
/// https is written in protocolType, or at the head of an endpoint.
const TLS_SPOKEN: &str = "!(has(self.tls) || has(self.bearerTokenSecret)) || \
     (has(self.protocolType) && self.protocolType == 'https' && \
      !(has(self.endpoint) && self.endpoint.startsWith('http://'))) || \
     (has(self.endpoint) && self.endpoint.startsWith('https://'))";
const TOKEN_OVER_VERIFIED_TLS: &str = "!has(self.bearerTokenSecret) || !has(self.tls) || \
     !has(self.tls.insecureSkipVerify) || !self.tls.insecureSkipVerify";
const AGGREGATION_APPLIES: &str = "!has(self.aggregation) || (has(self.metricSourceType) && \
     self.metricSourceType in ['external', 'domain', 'prometheus'])";
const ONE_CA: &str = "!has(self.caBundle) || !has(self.caBundleSecret)";
const VALID_PORT: &str =
    "self == '' || (self.matches('^[0-9]{1,5}$') && int(self) >= 1 && int(self) <= 65535)";
/// Quadratic in at most 100 names.
const SCHEDULES_NAMED_ONCE: &str = "self.all(one, self.exists_one(other, other.name == one.name))";
const SCHEDULES_MIN_WITHIN_MAX: &str = "!has(self.schedules) || self.schedules.all(schedule, \
     (has(schedule.minReplicas) ? schedule.minReplicas : has(self.minReplicas) ? self.minReplicas : 1) <= \
     (has(schedule.maxReplicas) ? schedule.maxReplicas : self.maxReplicas))";
const START_TIME: &str = "self.matches('^([01][0-9]|2[0-3]):[0-5][0-9]$')";
const END_TIME: &str = "self.matches('^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$')";
const DAYS: &str = "self.all(day, day.lowerAscii() in ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'])";

/// Scales a target by the metrics its pods, or other sources, report.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[kube(
    group = "autoscaling.aibrix.ai",
    version = "v1alpha1",
    kind = "PodAutoscaler",
    plural = "podautoscalers",
    namespaced,
    status = "PodAutoscalerStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "PodAutoscaler scales a target by the metrics its pods, or other sources, report.",
    printcolumn(name = "MINPODS", type_ = "integer", json_path = ".spec.minReplicas"),
    printcolumn(name = "MAXPODS", type_ = "integer", json_path = ".spec.maxReplicas"),
    printcolumn(name = "REPLICAS", type_ = "integer", json_path = ".status.actualScale"),
    printcolumn(name = "STRATEGY", type_ = "string", json_path = ".spec.scalingStrategy"),
    printcolumn(name = "AGE", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "TARGET", type_ = "string", json_path = ".status.target"),
    printcolumn(name = "READY", type_ = "integer", json_path = ".status.capacity.ready")
)]
#[x_kube(
    validation = Rule::new("(has(self.minReplicas) ? self.minReplicas : 1) <= self.maxReplicas || self.maxReplicas < 1")
        .message(rules::MIN_ABOVE_MAX),
    validation = Rule::new(PANIC_WITHIN_OBSERVE).message(rules::PANIC_ABOVE_OBSERVE),
    validation = Rule::new(NO_ROLE_UNDER_HPA).message(rules::HPA_ROLE),
    validation = Rule::new(HAS_METRIC).message(rules::NO_METRIC),
    validation = Rule::new(LEGACY_ENTRIES_COMPLETE).message(rules::LEGACY_ENTRY),
    validation = Rule::new(TOP_VALUE).message(rules::TARGET_VALUE),
    validation = Rule::new(SCHEDULES_MIN_WITHIN_MAX).message(rules::SCHEDULE_MIN_ABOVE_MAX)
)]
#[serde(rename_all = "camelCase")]
pub struct PodAutoscalerSpec {
    /// What is scaled: anything with a scale subresource.
    pub scale_target_ref: ObjectReference,

    /// A part of the target, for example a role of a StormService.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub_target_selector: Option<SubTargetSelector>,

    /// Fewest replicas; 1 when omitted, 0 allows scaling to zero.
    #[x_kube(validation = Rule::new("self >= 0").message(rules::MIN_NEGATIVE))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_replicas: Option<i32>,

    /// Most replicas.
    #[x_kube(validation = Rule::new("self > 0").message(rules::MAX_NOT_POSITIVE))]
    pub max_replicas: i32,

    /// Other bounds at certain times of the week. Several may be in force at once if they agree on the bounds.
    #[schemars(length(min = 1, max = 100))]
    #[x_kube(validation = Rule::new(SCHEDULES_NAMED_ONCE).message(rules::SCHEDULE_NAMES))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedules: Option<Vec<Schedule>>,

    /// What is measured, and how much of it one replica should carry. The greatest proposal wins.
    #[schemars(length(max = 16))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics_sources: Option<Vec<MetricSource>>,

    /// The window whose mean decides, in seconds: KPA's stable window, APA's window.
    #[x_kube(validation = Rule::new("self >= 1 && self <= 3600").message(rules::OBSERVE_WINDOW))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observe_window_seconds: Option<i64>,

    /// KPA's panic window, in seconds.
    #[x_kube(validation = Rule::new("self >= 1 && self <= 3600").message(rules::PANIC_WINDOW))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub panic_window_seconds: Option<i64>,

    /// Forecasts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predictive: Option<Predictive>,

    /// HPA (a native HorizontalPodAutoscaler), KPA (Knative's windows) or APA (a ratio with tolerances).
    #[schemars(extend("enum" = ["HPA", "KPA", "APA"]))]
    pub scaling_strategy: String,

    /// The metric in the shape of v0.1; metricsSources replaces it.
    #[schemars(length(max = 256))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_metric: Option<String>,

    /// The target per replica in the shape of v0.1; metricsSources replaces it.
    #[schemars(length(max = 32))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_value: Option<String>,

    /// Fields this version does not know; kept, so that what is ignored can be named.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, Value>,
}

/// A reference to an object.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new(TARGET_NAMED).message(rules::TARGET_REF),
    validation = Rule::new(TARGET_API_KNOWN).message(rules::TARGET_API)
)]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
#[serde(rename_all = "camelCase")]
pub struct ObjectReference {
    /// Group and version, for example apps/v1.
    #[schemars(length(max = 317))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,

    /// Not used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field_path: Option<String>,

    /// Kind of the object, for example Deployment.
    #[schemars(length(max = 63))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,

    /// Name of the object.
    #[schemars(length(max = 253))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,

    /// Namespace of the object; must be that of this object, which it is when omitted.
    #[schemars(length(max = 63))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,

    /// Not used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<String>,

    /// Not used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
}

/// A part of the target.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubTargetSelector {
    /// Name of a role of a StormService.
    #[schemars(length(max = 253))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role_name: Option<String>,
}

/// Forecasts.
#[derive(JsonSchema, Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Predictive {
    /// Whether a forecast is off, only shown, or acted upon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,

    /// How far ahead, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub horizon_seconds: Option<i64>,

    /// Fields this version does not know.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, Value>,
}

/// Bounds that hold while the clock of a time zone reads certain times of the week.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("has(self.minReplicas) || has(self.maxReplicas)")
        .message(rules::SCHEDULE_WITHOUT_BOUNDS)
)]
#[serde(rename_all = "camelCase")]
pub struct Schedule {
    /// Name, unique among the schedules of this object.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,

    /// IANA time zone, for example Europe/Berlin; UTC when omitted.
    #[schemars(length(max = 64))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,

    /// The days on which it begins: Mon, Tue, Wed, Thu, Fri, Sat, Sun; every day when omitted.
    #[schemars(length(min = 1, max = 32), inner(length(max = 16)))]
    #[x_kube(validation = Rule::new(DAYS).message(rules::SCHEDULE_DAYS))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub days_of_week: Option<Vec<String>>,

    /// Local time HH:MM at which it begins.
    #[schemars(length(max = 16))]
    #[x_kube(validation = Rule::new(START_TIME).message(rules::SCHEDULE_START))]
    pub start_time: String,

    /// Local time HH:MM, up to 24:00, before which it ends; on the next day if it is not after startTime.
    #[schemars(length(max = 16))]
    #[x_kube(validation = Rule::new(END_TIME).message(rules::SCHEDULE_END))]
    pub end_time: String,

    /// Fewest replicas; the object's own when omitted. At 0 replicas only a min that is written here wakes the target.
    #[x_kube(validation = Rule::new("self >= 0").message(rules::MIN_NEGATIVE))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_replicas: Option<i32>,

    /// Most replicas; the object's own when omitted.
    #[x_kube(validation = Rule::new("self > 0").message(rules::MAX_NOT_POSITIVE))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_replicas: Option<i32>,
}

/// One metric, where it is read, and how much of it one replica should carry.
///
/// Without metricSourceType it is an entry in the shape of v0.1: endpoint, path, metric.
#[derive(KubeSchema, Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new(SOURCE_COMPLETE).message(rules::SOURCE_INCOMPLETE),
    validation = Rule::new(SOURCE_VALUE).message(rules::TARGET_VALUE),
    validation = Rule::new(POD_COMPLETE).message(rules::POD_INCOMPLETE),
    validation = Rule::new(RESOURCE_KNOWN).message(rules::RESOURCE_METRIC),
    validation = Rule::new(RESOURCE_WITHOUT_ADDRESS).message(rules::RESOURCE_ADDRESS),
    validation = Rule::new(ENDPOINT_COMPLETE).message(rules::ENDPOINT_INCOMPLETE),
    validation = Rule::new(PROMETHEUS_COMPLETE).message(rules::PROMETHEUS_INCOMPLETE),
    validation = Rule::new(TLS_SPOKEN).message(rules::TLS_WITHOUT_HTTPS),
    validation = Rule::new(TOKEN_OVER_VERIFIED_TLS).message(rules::TOKEN_UNVERIFIED),
    validation = Rule::new(AGGREGATION_APPLIES).message(rules::AGGREGATION)
)]
#[serde(rename_all = "camelCase")]
pub struct MetricSource {
    /// Where the metric is read: from the target's pods, or by one of the cluster's metrics APIs.
    #[schemars(extend("enum" = ["pod", "resource", "custom", "external", "domain", "prometheus"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric_source_type: Option<String>,

    /// http or https; http when omitted.
    #[schemars(extend("enum" = ["http", "https"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol_type: Option<String>,

    /// Host and port of an external service.
    #[schemars(length(max = 512))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,

    /// Path of the metrics page, for example /metrics.
    #[schemars(length(max = 1024))]
    #[x_kube(validation = Rule::new("self.matches('^[!-~]*$')").message(rules::PATH))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,

    /// Port of the metrics page on every pod.
    #[schemars(length(max = 5))]
    #[x_kube(validation = Rule::new(VALID_PORT).message(rules::PORT))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,

    /// Name of the metric.
    #[schemars(length(max = 256))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_metric: Option<String>,

    /// How much of it one replica should carry, a number greater than 0; for cpu and memory also as 500m or 1Gi.
    #[schemars(length(max = 32))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_value: Option<String>,

    /// PromQL of an instant query that gives one number; for metricSourceType prometheus.
    #[schemars(length(max = 4096))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,

    /// Whether a value of external, domain or prometheus is the fleet's total (the default) or a mean per ready pod.
    #[schemars(extend("enum" = ["total", "perPod"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aggregation: Option<String>,

    /// Which quantile of a histogram is meant (a latency, a length), greater than 0 and at most 1, for example 0.95; the
    /// catalogue's own when omitted.
    #[schemars(schema_with = "any_value")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantile: Option<Value>,

    /// Reads this engine's series only, for example vllm; those of whatever engine a page is of when omitted.
    #[schemars(length(max = 63))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,

    /// Matchers on the labels of the series, for example {model_name="a"}; beside those in the metric's name.
    #[schemars(length(max = 1000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,

    /// Whom to trust, for protocolType https; the system's authorities and the host's own name when omitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,

    /// A bearer token, sent over verified TLS only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer_token_secret: Option<SecretKey>,

    /// Name of the metric in the shape of v0.1; targetMetric replaces it.
    #[schemars(length(max = 256))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,

    /// Fields this version does not know; kept, so that what is ignored can be named.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, Value>,
}

/// A number or a text: a schema has one type or none.
fn any_value(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"x-kubernetes-preserve-unknown-fields": true})
}

/// Whom to trust.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[x_kube(validation = Rule::new(ONE_CA).message(rules::TWO_CA_BUNDLES))]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// Certificates of the authorities to trust, PEM, one after the other.
    #[schemars(length(max = 65536))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<String>,

    /// The same from a Secret, read again when it may have changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_bundle_secret: Option<SecretKey>,

    /// The name the certificate must be for; the host that is connected to when omitted.
    #[schemars(length(max = 253))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,

    /// Take any certificate. Never together with a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insecure_skip_verify: Option<bool>,
}

/// A key of a Secret in the object's own namespace.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretKey {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// Key in it.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

impl std::fmt::Display for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "key {} of Secret {}", self.key, self.name)
    }
}

//! Status: AIBrix's fields, then Windlass'. As of the last change of replicas, bounds, a condition or health.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The most entries of `scalingHistory`.
pub const MAX_HISTORY: usize = 5;
/// The most entries of `engines`: engines, their generations and versions, of one target.
pub const MAX_ENGINES: usize = 8;
/// The most entries of an engine's `aliases`.
pub const MAX_ALIASES: usize = 32;

/// What was last decided, and what it rests on.
#[derive(JsonSchema, Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodAutoscalerStatus {
    /// The generation of the spec that this status describes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// What is scaled, as Kind/name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,

    /// When the number of replicas was last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_scale_time: Option<Time>,

    /// Replicas decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired_scale: Option<i32>,

    /// Replicas the target has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actual_scale: Option<i32>,

    /// Whether the spec is valid, the target can be scaled, and it stands where it should.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,

    /// The last changes of replicas, oldest first.
    #[schemars(length(max = MAX_HISTORY))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scaling_history: Vec<ScalingRecord>,

    /// The bounds in force; absent without schedules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduled_bounds: Option<ScheduledBounds>,

    /// What is known of each signal, in the order of metricsSources.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signals: Vec<SignalStatus>,

    /// The engines of the ready pods, as far as they are known: what was found on the pods' pages.
    #[schemars(length(max = MAX_ENGINES))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub engines: Vec<EngineStatus>,

    /// The target's pods, each counted once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<CapacityStatus>,

    /// The last decision and its account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<DecisionStatus>,
}

/// The bounds in force, and until when.
#[derive(JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScheduledBounds {
    /// The schedule they come from; absent when they are the object's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_schedule: Option<String>,
    /// Fewest replicas in force.
    pub effective_min_replicas: i32,
    /// Most replicas in force.
    pub effective_max_replicas: i32,
    /// When another schedule, or none, is in force; absent when none of them ever changes that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_transition: Option<Time>,
}

/// One change of the number of replicas.
#[derive(JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScalingRecord {
    /// When it was decided.
    pub timestamp: Time,
    /// Replicas before.
    pub previous_scale: i32,
    /// Replicas after.
    pub new_scale: i32,
    /// Why.
    pub reason: String,
    /// Whether the target took the number.
    pub success: bool,
    /// Why it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What is known of one signal.
#[derive(JsonSchema, Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SignalStatus {
    /// The metric, as the spec names it.
    pub metric: String,
    /// What of a histogram is meant: `p95`, `mean`; absent where the metric is no histogram.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statistic: Option<String>,
    /// The fleet's total, in the metric's unit; absent when nothing is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// Ready pods with a fresh reading, as a share of the ready pods (0 to 1); absent without ready pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coverage: Option<f64>,
    /// Age of the newest reading, in seconds; absent when there never was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<f64>,
}

/// Ready pods of one engine and version, and where their metrics are read.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EngineStatus {
    /// The engine, as the catalogue names it; by a label of the pod, else by its page.
    pub engine: String,
    /// The engine's generation, where its page tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<String>,
    /// The tag of the container's image. (No engine's page tells its version.)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// How many ready pods.
    pub pods: i32,
    /// What is read from where.
    #[schemars(length(max = MAX_ALIASES))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<AliasStatus>,
}

/// Where a metric is read.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AliasStatus {
    /// The metric, as the spec names it.
    pub metric: String,
    /// The series on the pods' pages.
    pub series: String,
    /// In what way the series is a stand-in; absent where the engine exposes the metric itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub derived: Option<String>,
}

/// The target's pods, each in exactly one of the four.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CapacityStatus {
    /// Pods that serve.
    pub ready: i32,
    /// Pods created or asked for that will serve.
    pub starting: i32,
    /// Pods that are late, refused or crash-looping.
    pub stuck: i32,
    /// Pods that are being deleted.
    pub leaving: i32,
}

/// The last decision and its account.
#[derive(JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DecisionStatus {
    /// When it was made.
    pub time: Time,
    /// Replicas decided.
    pub replicas: i32,
    /// Who changed the number and why, in order.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<String>,
}

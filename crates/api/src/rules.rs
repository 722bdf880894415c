//! What makes an object invalid, one sentence each.
//!
//! The API server says them (CEL, see [`crate::PodAutoscalerSpec`]) and [`crate::resolve`] says them again, with
//! what was found: the served CRD may be AIBrix's own, which has no CEL.

/// `minReplicas` below 0.
pub const MIN_NEGATIVE: &str = "minReplicas must not be negative";
/// `maxReplicas` below 1.
pub const MAX_NOT_POSITIVE: &str = "maxReplicas must be greater than 0";
/// `minReplicas` above `maxReplicas`.
pub const MIN_ABOVE_MAX: &str = "minReplicas (1 when omitted) must not be greater than maxReplicas";
/// `observeWindowSeconds` out of range.
pub const OBSERVE_WINDOW: &str = "observeWindowSeconds must be between 1 and 3600";
/// `panicWindowSeconds` out of range.
pub const PANIC_WINDOW: &str = "panicWindowSeconds must be between 1 and 3600";
/// AIBrix judges the windows with its own defaults, whatever is used later.
pub const PANIC_ABOVE_OBSERVE: &str =
    "panicWindowSeconds (60 when omitted) must not be greater than observeWindowSeconds (180 when omitted)";
/// No such strategy. The API server says so by the schema's enum.
pub const STRATEGY: &str = "scalingStrategy must be HPA, KPA or APA";
/// The target is not named.
pub const TARGET_REF: &str = "scaleTargetRef must name a kind and a name";
/// The target's API group cannot be guessed.
pub const TARGET_API: &str =
    "scaleTargetRef must give apiVersion unless kind is Deployment, StatefulSet or ReplicaSet";
/// A role under HPA.
pub const HPA_ROLE: &str = "subTargetSelector.roleName cannot be combined with scalingStrategy HPA";
/// Nothing to scale by.
pub const NO_METRIC: &str = "give at least one entry in metricsSources, or both targetMetric and targetValue";
/// A v0.1 entry of `metricsSources` takes its target from the top of the spec.
pub const LEGACY_ENTRY: &str = "an entry of metricsSources without metricSourceType takes its target from \
     spec.targetValue and its metric from its own metric or spec.targetMetric; set them";
/// More sources than a decision has room for.
pub const TOO_MANY_SOURCES: &str = "at most 16 entries are possible in metricsSources";
/// No such metric source type. The API server says so by the schema's enum.
pub const SOURCE_TYPE: &str =
    "metricSourceType must be pod, resource, custom, external, domain or prometheus";
/// A current entry without metric or target.
pub const SOURCE_INCOMPLETE: &str = "targetMetric and targetValue must be set";
/// A target that is no positive number. Quantities such as `100m` or `1Gi` are taken for the two metrics that have units
/// only; AIBrix takes them for none.
pub const TARGET_VALUE: &str = "targetValue must be a number greater than 0 without a unit, for example \"20\" or \
     \"0.8\"; only cpu and memory take a suffix, for example \"500m\" or \"1Gi\"";
/// A pod source without its address.
pub const POD_INCOMPLETE: &str = "metricSourceType pod needs port and path";
/// No such port.
pub const PORT: &str = "port must be a number between 1 and 65535";
/// A path that cannot stand in a request line.
pub const PATH: &str = "path must not contain spaces or control characters";
/// No such protocol. The API server says so by the schema's enum.
pub const PROTOCOL: &str = "protocolType must be http or https";
/// A resource that is not measured.
pub const RESOURCE_METRIC: &str = "metricSourceType resource takes targetMetric cpu or memory";
/// Resource metrics come from metrics.k8s.io, not from an address.
pub const RESOURCE_ADDRESS: &str =
    "metricSourceType resource takes no port, path, endpoint or protocolType; remove them";
/// An external endpoint without protocol or path.
pub const ENDPOINT_INCOMPLETE: &str = "an external endpoint needs protocolType and path";
/// A Prometheus that is not named, or not asked anything.
pub const PROMETHEUS_INCOMPLETE: &str = "metricSourceType prometheus needs endpoint and query";
/// What only TLS can protect, or be told, where there is none.
pub const TLS_WITHOUT_HTTPS: &str = "tls and bearerTokenSecret need protocolType https";
/// A token that anybody could take.
pub const TOKEN_UNVERIFIED: &str =
    "a bearer token is sent over verified TLS only: remove insecureSkipVerify or bearerTokenSecret";
/// Nothing is aggregated there.
pub const AGGREGATION: &str =
    "aggregation is total or perPod, and applies to metricSourceType external, domain and prometheus";
/// No such quantile. The API server does not look: a number and a text are both taken.
pub const QUANTILE: &str = "quantile must be a number greater than 0 and at most 1, for example 0.95";
/// No such engine. The API server cannot know.
pub const ENGINE: &str = "engine must be the name of an engine in the catalogue, for example vllm";
/// Labels that cannot be compared. The API server does not look.
pub const SELECTOR: &str =
    "selector must be matchers on labels as PromQL has them, for example {model_name=\"a\"}";
/// Two places for one thing.
pub const TWO_CA_BUNDLES: &str = "tls takes caBundle or caBundleSecret, not both";
/// Nobody could be connected to. The API server does not look.
pub const ENDPOINT: &str = "endpoint must be host or host:port, with http:// or https:// before it if at all";
/// Credentials for an API that is asked as the controller.
pub const CLUSTER_API: &str = "the cluster's own metrics APIs are asked with the controller's own credentials; \
     remove tls and bearerTokenSecret";
/// No entries, or too many.
pub const SCHEDULES: &str = "schedules must have at least 1 entry and at most 100; leave it out for none";
/// A name that is none. The API server says so by the schema's pattern.
pub const SCHEDULE_NAME: &str =
    "a name is 1 to 253 lower-case letters, digits and '-', with a letter or digit at both ends";
/// Two entries of one name.
pub const SCHEDULE_NAMES: &str = "the names of schedules must be unique";
/// No such time zone. The API server cannot know.
pub const SCHEDULE_TIMEZONE: &str =
    "timezone must be the name of an IANA time zone, for example Europe/Berlin (UTC when omitted)";
/// `daysOfWeek` with something that is no day.
pub const SCHEDULE_DAYS: &str = "daysOfWeek takes Mon, Tue, Wed, Thu, Fri, Sat and Sun";
/// `daysOfWeek` without a day. The API server says so by the schema's length.
pub const SCHEDULE_NO_DAY: &str = "daysOfWeek should have at least 1 day; leave it out for every day";
/// `startTime` that is none.
pub const SCHEDULE_START: &str = "startTime must be HH:MM between 00:00 and 23:59, for example \"09:00\"";
/// `endTime` that is none.
pub const SCHEDULE_END: &str = "endTime must be HH:MM between 00:00 and 24:00, for example \"18:00\"";
/// An entry without an effect.
pub const SCHEDULE_WITHOUT_BOUNDS: &str = "a schedule must set minReplicas or maxReplicas";
/// Bounds that contradict each other while an entry is in force.
pub const SCHEDULE_MIN_ABOVE_MAX: &str = "while a schedule is in force minReplicas must not be greater than \
     maxReplicas; the one it omits is the object's own (minReplicas 1 when omitted)";

//! AIBrix's scheduled bounds: which schedule is in force, its bounds, and when that changes next.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use windlass_api::schedule::Schedules;
use windlass_api::{PodAutoscaler, resolve};
use windlass_conformance::check;

/// Objects that AIBrix refuses and that are valid here.
const ALSO_VALID: [(&str, &str); 3] = [
    ("schedule-079", "from 18:00 to 03:00: across midnight"),
    ("schedule-083", "three entries overlap and have the same bounds"),
    ("schedule-091", "from 03:00 to 00:00, overlapping an entry with the same bounds"),
];

/// Where AIBrix announces the next change for a time at which nothing changes: it counts minutes from midnight on days
/// when the clocks change. Case, instant, seconds it says, seconds it is.
const ANNOUNCED_WRONGLY: [(&str, i64, i64, i64); 9] = [
    ("schedule-002", 1_772_952_503, 25_897, 22_297),
    ("schedule-038", 1_791_036_865, 42_335, 40_535),
    ("schedule-038", 1_775_309_618, 42_982, 44_782),
    ("schedule-038", 1_775_321_235, 31_365, 33_165),
    ("schedule-065", 1_775_326_172, 26_428, 28_228),
    ("schedule-065", 1_775_315_984, 36_616, 38_416),
    ("schedule-081", 1_772_944_763, 70_537, 66_937),
    ("schedule-081", 1_793_505_836, 69_064, 72_664),
    ("schedule-088", 1_772_944_059, 71_241, 67_641),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    config: Config,
    expect: Expect,
    #[serde(default)]
    steps: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    min: Option<i32>,
    max: i32,
    schedules: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    timezone: String,
    days: Option<Vec<String>>,
    start: String,
    end: String,
    min: Option<i32>,
    max: Option<i32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    valid: bool,
    why: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    unix: i64,
    #[serde(rename = "utc")]
    _utc: String,
    expect: Bounds,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bounds {
    active: Option<String>,
    min: u32,
    max: u32,
    explicit_min: bool,
    next_transition_in_s: Option<i64>,
}

fn object(config: &Config) -> PodAutoscaler {
    let entry = |entry: &Entry| {
        let mut value = json!({"name": entry.name, "timezone": entry.timezone, "startTime": entry.start, "endTime": entry.end});
        let optional = [
            ("daysOfWeek", entry.days.as_ref().map(|days| json!(days))),
            ("minReplicas", entry.min.map(|min| json!(min))),
            ("maxReplicas", entry.max.map(|max| json!(max))),
        ];
        for (field, set) in optional {
            if let Some(set) = set {
                value[field] = set;
            }
        }
        value
    };
    let schedules: Vec<Value> = config.schedules.iter().map(entry).collect();
    let mut object = json!({
        "apiVersion": "autoscaling.aibrix.ai/v1alpha1",
        "kind": "PodAutoscaler",
        "metadata": {"name": "llama"},
        "spec": {
            "scaleTargetRef": {"kind": "Deployment", "name": "llama"},
            "maxReplicas": config.max, "scalingStrategy": "KPA", "targetMetric": "inflight", "targetValue": "20",
            "schedules": schedules,
        },
    });
    if let Some(min) = config.min {
        object["spec"]["minReplicas"] = json!(min);
    }
    serde_json::from_value(object).unwrap()
}

/// The number of steps, or what differs.
fn run(case: &Case) -> Result<usize, String> {
    let resolved = resolve(&object(&case.config));
    let also_valid = ALSO_VALID.iter().any(|(name, _)| *name == case.name);
    if resolved.is_ok() != (case.expect.valid || also_valid) || case.expect.valid && also_valid {
        return Err(format!("{}: AIBrix says {:?}, got {resolved:?}", case.name, case.expect.why));
    }
    let Ok(resolved) = resolved else { return Ok(0) };
    let differences: Vec<String> =
        case.steps.iter().filter_map(|step| difference(&case.name, &resolved.schedules, step)).collect();
    if differences.is_empty() { Ok(case.steps.len()) } else { Err(differences.join("\n")) }
}

fn difference(case: &str, schedules: &Schedules, step: &Step) -> Option<String> {
    let in_force = schedules.at(Timestamp::from_second(step.unix).unwrap());
    let found = Bounds {
        active: in_force.schedule,
        min: in_force.min_replicas,
        max: in_force.max_replicas,
        explicit_min: in_force.min_explicit,
        next_transition_in_s: in_force.next_transition.map(|next| next.as_second() - step.unix),
    };
    let wrong = ANNOUNCED_WRONGLY.iter().find(|(name, unix, ..)| *name == case && *unix == step.unix);
    let expected = match wrong {
        Some((.., said, is)) if step.expect.next_transition_in_s == Some(*said) => {
            Bounds { next_transition_in_s: Some(*is), ..step.expect.clone() }
        }
        _ => step.expect.clone(),
    };
    (found != expected).then(|| format!("{case} at {}: expected {expected:?}, got {found:?}", step.unix))
}

#[test]
fn aibrix_schedules() {
    check("aibrix_head_schedules.json", run);
}

//! Which generations of the API an object speaks, told from what only they have.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::podautoscaler::{MetricSource, PodAutoscaler, PodAutoscalerSpec};

/// A generation of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Dialect {
    /// AIBrix v0.1: metric and target at the top of the spec, no annotations.
    #[serde(rename = "v0.1")]
    V01,
    /// AIBrix v0.2 to v0.4: annotations `kpa.…` and `apa.…`.
    #[serde(rename = "v0.2-v0.4")]
    Classic,
    /// Current AIBrix: windows and schedules in the spec, annotations `autoscaling.aibrix.ai/…`.
    #[serde(rename = "current")]
    Current,
    /// What only Windlass reads.
    #[serde(rename = "Windlass")]
    Windlass,
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V01 => "AIBrix v0.1",
            Self::Classic => "AIBrix v0.2 to v0.4",
            Self::Current => "current AIBrix",
            Self::Windlass => "Windlass",
        })
    }
}

/// Annotations below `autoscaling.aibrix.ai/` that v0.2 to v0.4 did not read. The two rates are of every generation.
const CURRENT_ANNOTATIONS: [&str; 7] = [
    "scale-up-tolerance",
    "scale-down-tolerance",
    "panic-threshold",
    "scale-up-cooldown-window",
    "scale-down-cooldown-window",
    "scale-to-zero",
    "storm-service-mode",
];

/// The dialects of an object, each with what tells so, in the order of [`Dialect`]. None: what it says, AIBrix has
/// understood since v0.2.
pub fn dialects(object: &PodAutoscaler) -> BTreeMap<Dialect, Vec<String>> {
    let mut found: BTreeMap<Dialect, Vec<String>> = BTreeMap::new();
    let mut spoken = |dialect, by: &str| found.entry(dialect).or_default().push(by.to_owned());
    fields(&object.spec, &mut spoken);
    for key in object.metadata.annotations.iter().flatten().map(|(key, _)| key.as_str()) {
        match key.split_once('/') {
            Some(("kpa.autoscaling.aibrix.ai" | "apa.autoscaling.aibrix.ai", _)) => {
                spoken(Dialect::Classic, key);
            }
            Some(("autoscaling.aibrix.ai", name)) if CURRENT_ANNOTATIONS.contains(&name) => {
                spoken(Dialect::Current, key);
            }
            Some(("windlass.dev", _)) => spoken(Dialect::Windlass, key),
            _ => {}
        }
    }
    found
}

fn fields(spec: &PodAutoscalerSpec, spoken: &mut impl FnMut(Dialect, &str)) {
    let present = [
        (Dialect::V01, "spec.targetMetric", spec.target_metric.is_some()),
        (Dialect::V01, "spec.targetValue", spec.target_value.is_some()),
        (Dialect::Current, "spec.observeWindowSeconds", spec.observe_window_seconds.is_some()),
        (Dialect::Current, "spec.panicWindowSeconds", spec.panic_window_seconds.is_some()),
        (Dialect::Current, "spec.schedules", spec.schedules.is_some()),
        (Dialect::Current, "spec.subTargetSelector", spec.sub_target_selector.is_some()),
        (Dialect::Current, "spec.predictive", spec.predictive.is_some()),
    ];
    for (dialect, field, _) in present.into_iter().filter(|(_, _, present)| *present) {
        spoken(dialect, field);
    }
    for (at, source) in spec.metrics_sources.iter().flatten().enumerate() {
        if is_legacy(source) {
            spoken(Dialect::V01, &format!("spec.metricsSources[{at}] without metricSourceType"));
        } else if source.metric_source_type.as_deref() == Some("prometheus") {
            spoken(Dialect::Windlass, &format!("spec.metricsSources[{at}].metricSourceType prometheus"));
        }
    }
}

/// Whether an entry has the shape of v0.1.
pub(crate) fn is_legacy(source: &MetricSource) -> bool {
    source.metric_source_type.is_none()
}

/// The dialects as a person says them.
pub fn spoken(dialects: &BTreeMap<Dialect, Vec<String>>) -> String {
    let mut each = dialects.iter().map(|(dialect, by)| format!("{dialect} ({})", by.join(", ")));
    match (dialects.len(), each.next()) {
        (1, Some(only)) => only,
        (_, Some(first)) => each.fold(format!("mixed: {first}"), |all, one| format!("{all}; {one}")),
        _ => "AIBrix since v0.2 (nothing in it is of one generation only)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dialect_is_told_from_what_only_it_has() {
        let check = |metadata: &str, spec: &str, expected: &str| {
            let yaml = format!(
                "metadata: {{annotations: {{{metadata}}}}}\n\
                 spec: {{scaleTargetRef: {{}}, maxReplicas: 1, scalingStrategy: KPA, {spec}}}"
            );
            let object: PodAutoscaler =
                serde_saphyr::from_str(&format!("apiVersion: a/v1\nkind: PodAutoscaler\n{yaml}")).unwrap();
            assert_eq!(spoken(&dialects(&object)), expected);
        };
        let since = "AIBrix since v0.2 (nothing in it is of one generation only)";
        check("", "metricsSources: [{metricSourceType: pod}]", since);
        check("autoscaling.aibrix.ai/max-scale-up-rate: '2'", "minReplicas: 1", since);
        check("", "targetMetric: a, targetValue: '1'", "AIBrix v0.1 (spec.targetMetric, spec.targetValue)");
        check(
            "apa.autoscaling.aibrix.ai/window: 60s",
            "metricsSources: []",
            "AIBrix v0.2 to v0.4 (apa.autoscaling.aibrix.ai/window)",
        );
        check(
            "windlass.dev/mode: paused, kpa.autoscaling.aibrix.ai/stable-window: 60s",
            "observeWindowSeconds: 60, metricsSources: [{path: /metrics}]",
            "mixed: AIBrix v0.1 (spec.metricsSources[0] without metricSourceType); \
             AIBrix v0.2 to v0.4 (kpa.autoscaling.aibrix.ai/stable-window); \
             current AIBrix (spec.observeWindowSeconds); Windlass (windlass.dev/mode)",
        );
    }
}

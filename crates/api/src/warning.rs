//! What is ignored, unknown or read in another way than it is written: one sentence each.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use crate::podautoscaler::{PodAutoscaler, PodAutoscalerSpec};
use crate::{holds, settings, target};

/// One thing of an object that does not do what its author may expect. Nothing in it stops scaling.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Warning {
    /// Where: an annotation's key, or a field's path.
    pub subject: String,
    /// What, and what is used instead.
    pub sentence: String,
}

impl Warning {
    pub(crate) fn new(subject: impl Into<String>, sentence: impl Into<String>) -> Self {
        Self { subject: subject.into(), sentence: sentence.into() }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.sentence)
    }
}

/// Whoever uses these prefixes speaks to an autoscaler.
const PREFIXES: [&str; 4] =
    ["autoscaling.aibrix.ai/", "kpa.autoscaling.aibrix.ai/", "apa.autoscaling.aibrix.ai/", "windlass.dev/"];

/// Annotations that are known and do nothing.
const WITHOUT_EFFECT: [(&str, &str); 2] = [
    (
        "autoscaling.aibrix.ai/scale-to-zero",
        "is ignored, as in AIBrix: minReplicas 0 is what allows scaling to zero",
    ),
    (
        "kpa.autoscaling.aibrix.ai/target-burst-capacity",
        "is ignored: there is no activator in the data path whose buffer it could size",
    ),
];

/// Warns about annotations and labels that look like settings and are none.
pub(crate) fn of_metadata(object: &PodAutoscaler, warnings: &mut Vec<Warning>) {
    let is_setting = |key: &str| {
        settings::is_annotation(key) || holds::is_annotation(key) || key == target::STORM_SERVICE_MODE
    };
    let is_ours = |key: &str| PREFIXES.iter().any(|prefix| key.starts_with(prefix));
    for (key, value) in object.metadata.annotations.iter().flatten() {
        if let Some((_, sentence)) = WITHOUT_EFFECT.iter().find(|(known, _)| known == key) {
            warnings.push(Warning::new(key, *sentence));
        } else if is_ours(key) && !is_setting(key) {
            warnings.push(Warning::new(
                key,
                format!("is ignored: no such annotation is known (it says \"{value}\")"),
            ));
        }
    }
    for key in object.metadata.labels.iter().flatten().map(|(key, _)| key) {
        if is_setting(key) {
            warnings.push(Warning::new(
                key,
                "is a label and ignored: settings are read from annotations only; make it an annotation",
            ));
        }
    }
}

/// Warns about fields of the spec that do nothing in this version.
pub(crate) fn of_spec(spec: &PodAutoscalerSpec, warnings: &mut Vec<Warning>) {
    if spec.predictive.is_some() {
        warnings.push(Warning::new("spec.predictive", "is not supported yet: nothing is forecast"));
    }
    of_unknown_fields("spec", &spec.unknown, warnings);
}

/// Warns about fields that were kept although nobody reads them.
pub(crate) fn of_unknown_fields(path: &str, unknown: &BTreeMap<String, Value>, warnings: &mut Vec<Warning>) {
    for field in unknown.keys() {
        warnings.push(Warning::new(
            format!("{path}.{field}"),
            "is ignored: this version does not know the field",
        ));
    }
}

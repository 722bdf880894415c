//! `PodAutoscaler`s on paper: what of a manifest would be accepted, and what would come of it.
//!
//! Whatever is judged here is judged by [`resolve_by`](crate::resolve_by), as in the controller. What does not even have the
//! shape of an object is told by the CRD's own schema.

mod manifest;
mod shape;

use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use windlass_metrics::Catalogue;
use windlass_scaling::Instant;

use crate::dialect::{self, Dialect, dialects};
use crate::differences::{Difference, differences};
use crate::podautoscaler::PodAutoscaler;
use crate::resolve::{Resolved, resolve_by};

pub use manifest::{Found, read};

const GROUP: &str = "autoscaling.aibrix.ai";
const API_VERSION: &str = "autoscaling.aibrix.ai/v1alpha1";
const KIND: &str = "PodAutoscaler";

/// What is to be said of one object.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Where it was found: a file and its line, or the cluster.
    pub origin: String,
    /// `None`: it says none, and so is in that of whoever applies it.
    pub namespace: Option<String>,
    /// Empty if it has none.
    pub name: String,
    /// The strategy, as it is written.
    pub strategy: String,
    /// Whether the controller acts on it.
    pub accepted: bool,
    /// Why not: what, where, what to do.
    pub errors: Vec<Problem>,
    /// Which generations of the API it speaks, and by what.
    pub dialects: Vec<Spoken>,
    /// The same in words.
    pub dialect: String,
    /// What is scaled, as Kind/name.
    pub target: Option<String>,
    /// Every number and where it comes from.
    pub settings: Vec<SettingReport>,
    /// The bounds in force by the clock; none without schedules.
    pub in_force: Option<InForceReport>,
    /// What is ignored, unknown or read in another way than it is written.
    pub warnings: Vec<WarningReport>,
    /// What AIBrix would do otherwise.
    pub differences: Vec<Difference>,
}

/// A reason to refuse an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// As in condition `ValidSpec`.
    pub reason: String,
    /// One sentence.
    pub sentence: String,
}

/// A dialect and what tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Spoken {
    /// Which.
    pub dialect: Dialect,
    /// Fields and annotations that only it has.
    pub by: Vec<String>,
}

/// A number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SettingReport {
    /// For example `panic window`.
    pub name: String,
    /// With its unit.
    pub value: String,
    /// A field, an annotation, or the default.
    pub origin: String,
}

/// The bounds in force by the clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InForceReport {
    /// The schedule they come from; none: they are the object's own.
    pub schedule: Option<String>,
    /// Fewest replicas.
    pub min_replicas: u32,
    /// Most replicas.
    pub max_replicas: u32,
    /// Until when, as RFC 3339; none: for ever.
    pub until: Option<String>,
}

/// Something that does not do what its author may expect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WarningReport {
    /// An annotation's key, or a field's path.
    pub subject: String,
    /// What is done instead.
    pub sentence: String,
}

impl Report {
    /// The object's name with its namespace.
    pub fn full_name(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{namespace}/{}", self.name),
            None => self.name.clone(),
        }
    }

    fn of(origin: String, object: &Value, by: (Timestamp, &Arc<Catalogue>)) -> Self {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let mut report = Self {
            origin,
            namespace: text("/metadata/namespace"),
            name: text("/metadata/name").or(text("/metadata/generateName")).unwrap_or_default(),
            strategy: text("/spec/scalingStrategy").unwrap_or_default(),
            accepted: false,
            errors: Vec::new(),
            dialects: Vec::new(),
            dialect: String::new(),
            target: None,
            settings: Vec::new(),
            in_force: None,
            warnings: Vec::new(),
            differences: Vec::new(),
        };
        let version = text("/apiVersion").unwrap_or_default();
        if version != API_VERSION {
            report.refuse("InvalidSpec", format!("apiVersion: must be {API_VERSION} (found \"{version}\")"));
        }
        if report.name.is_empty() {
            report.refuse("InvalidSpec", "metadata.name: is missing; name the object".to_owned());
        }
        report.judge(object, by);
        report.accepted = report.errors.is_empty();
        report
    }

    fn refuse(&mut self, reason: &str, sentence: String) {
        self.errors.push(Problem { reason: reason.to_owned(), sentence });
    }

    fn judge(&mut self, object: &Value, (now, catalogue): (Timestamp, &Arc<Catalogue>)) {
        let object: PodAutoscaler = match serde_json::from_value(object.clone()) {
            Ok(object) => object,
            Err(error) => {
                let mut misfits = shape::misfits(object);
                if misfits.is_empty() {
                    misfits.push(format!("it cannot be read: {error}"));
                }
                for sentence in misfits {
                    self.refuse("InvalidSpec", sentence);
                }
                return;
            }
        };
        let spoken = dialects(&object);
        self.dialect = dialect::spoken(&spoken);
        self.dialects = spoken.into_iter().map(|(dialect, by)| Spoken { dialect, by }).collect();
        match resolve_by(&object, catalogue) {
            Ok(mut resolved) => {
                // An override may be over.
                resolved.at(now, Instant::ZERO);
                self.tell(&object, &resolved, now);
            }
            Err(errors) => {
                for error in errors {
                    self.refuse(error.reason(), error.to_string());
                }
            }
        }
    }

    fn tell(&mut self, object: &PodAutoscaler, resolved: &Resolved, now: Timestamp) {
        self.target = Some(resolved.target.to_string());
        let settings = resolved.settings.iter().map(|setting| SettingReport {
            name: setting.name.clone(),
            value: setting.value.clone(),
            origin: setting.origin.to_string(),
        });
        self.settings = settings.collect();
        let warnings = resolved.warnings.iter().map(|warning| WarningReport {
            subject: warning.subject.clone(),
            sentence: warning.sentence.clone(),
        });
        self.warnings = warnings.collect();
        if !resolved.schedules.is_empty() {
            let bounds = resolved.schedules.at(now);
            self.in_force = Some(InForceReport {
                schedule: bounds.schedule,
                min_replicas: bounds.min_replicas,
                max_replicas: bounds.max_replicas,
                until: bounds.next_transition.map(|until| until.to_string()),
            });
        }
        self.differences = differences(object, resolved);
    }
}

/// Judges an object of a cluster, as it is stored there.
pub fn stored(object: &Value, now: Timestamp, catalogue: &Arc<Catalogue>) -> Report {
    Report::of("cluster".to_owned(), object, (now, catalogue))
}

#[cfg(test)]
mod tests;

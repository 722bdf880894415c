//! Where an object fares otherwise under Windlass than under the AIBrix it comes from, and why.
//!
//! "Classic" is AIBrix v0.1 to v0.4, "current" is what it does today. Told are differences that this object meets;
//! [`GENERAL`] are those that every object does.

mod defaults;
mod schedules;
mod signals;

use std::fmt;

use serde::Serialize;

use crate::dialect::{Dialect, dialects};
use crate::podautoscaler::PodAutoscaler;
use crate::resolve::Resolved;
use crate::settings;

/// Which AIBrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Against {
    /// Any.
    #[serde(rename = "AIBrix")]
    Any,
    /// v0.1 to v0.4.
    #[serde(rename = "AIBrix v0.1-v0.4")]
    Classic,
    /// Today's.
    #[serde(rename = "current AIBrix")]
    Current,
}

impl fmt::Display for Against {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "AIBrix",
            Self::Classic => "AIBrix v0.1 to v0.4",
            Self::Current => "current AIBrix",
        })
    }
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// From what.
    pub against: Against,
    /// Where: a setting, an annotation's key, or a field's path.
    pub subject: String,
    /// What AIBrix does, what Windlass does, why, and how to keep AIBrix's way where one can.
    pub sentence: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.against, self.subject, self.sentence)
    }
}

/// What every object meets.
pub const GENERAL: [&str; 5] = [
    "metrics that are missing hold the count and never lower it; AIBrix leaves out what is silent and goes on with the \
     rest, or with an old mean",
    "pods that are starting count as capacity on its way; AIBrix multiplies by what it asked for, and so asks again while \
     they start",
    "engines are read every 0.1 to 2 s, within a share of their processor, and decided upon at once; AIBrix does both every 10 s",
    "replicas are written through /scale, with the version that was read; AIBrix replaces the whole object",
    "status is written only when something changes; types and polarity of AIBrix's conditions are kept",
];

/// The differences that `object` meets, those from the older AIBrix first.
pub fn differences(object: &PodAutoscaler, resolved: &Resolved) -> Vec<Difference> {
    let mut list = List { found: Vec::new(), classic: may_be_classic(object) };
    defaults::compare(object, resolved, &mut list);
    strategy(object, &mut list);
    keys(object, resolved, &mut list);
    signals::compare(object, resolved, &mut list);
    schedules::compare(&object.spec, &mut list);
    list.found.sort_by_key(|difference| difference.against);
    list.found
}

/// What only current AIBrix reads was not written for an older one, unless something else was.
fn may_be_classic(object: &PodAutoscaler) -> bool {
    let spoken = dialects(object);
    let has = |dialect| spoken.contains_key(&dialect);
    has(Dialect::V01) || has(Dialect::Classic) || !has(Dialect::Current)
}

/// What was found so far.
struct List {
    found: Vec<Difference>,
    /// Whether the object may have been one of v0.1 to v0.4.
    classic: bool,
}

impl List {
    fn push(&mut self, against: Against, subject: impl Into<String>, sentence: impl Into<String>) {
        if against != Against::Classic || self.classic {
            self.found.push(Difference { against, subject: subject.into(), sentence: sentence.into() });
        }
    }
}

fn strategy(object: &PodAutoscaler, list: &mut List) {
    let subject = "spec.scalingStrategy";
    match object.spec.scaling_strategy.as_str() {
        "KPA" => {
            list.push(
                Against::Current,
                subject,
                "it divides the mean per pod by the target (8 pods at 20 with target 10: 4 replicas); here the total \
                 over the pods is divided (16), as in v0.2 to v0.4 and Knative",
            );
            list.push(
                Against::Current,
                subject,
                "its panic compares the panic window with the stable one, which a lasting burst never exceeds for \
                 long; here panic begins when the panic window asks for panic-threshold times the ready pods and \
                 lasts at least the stable window, as in v0.2 to v0.4 and Knative",
            );
        }
        "APA" => list.push(
            Against::Current,
            subject,
            "it multiplies the replicas asked for by the ratio, so that pods which start slowly are asked for again and \
             again; here the total is divided by the target",
        ),
        "HPA" => list.push(
            Against::Current,
            subject,
            "its HorizontalPodAutoscaler stays behind when the strategy changes, and fights; here it is removed",
        ),
        _ => {}
    }
}

/// Annotations that one of them reads and the other does not.
fn keys(object: &PodAutoscaler, resolved: &Resolved, list: &mut List) {
    let strategy = object.spec.scaling_strategy.as_str();
    for key in object.metadata.annotations.iter().flatten().map(|(key, _)| key.as_str()) {
        let honoured =
            settings::is_annotation(key) && !resolved.warnings.iter().any(|warning| warning.subject == key);
        let prefix = key.split_once('/').map_or("", |(prefix, _)| prefix);
        if honoured && ["kpa.autoscaling.aibrix.ai", "apa.autoscaling.aibrix.ai"].contains(&prefix) {
            list.push(
                Against::Current,
                key,
                "it ignores this annotation of v0.2 to v0.4; here it is honoured",
            );
        } else if honoured && key.ends_with("-fluctuation-tolerance") {
            let sentence =
                "no version reads this spelling, though AIBrix's samples have it; here it is honoured";
            list.push(Against::Any, key, sentence);
        } else if strategy == "KPA" && settings::is_tolerance(key) {
            let sentence = "it keeps the count within this tolerance under KPA, too; here KPA has none, as in \
                            Knative and v0.2 to v0.4: windows calm it";
            list.push(Against::Current, key, sentence);
        }
    }
    let unusable = resolved.warnings.iter().filter(|warning| warning.sentence.ends_with("is used instead"));
    if let Some(warning) = unusable.into_iter().find(|warning| settings::is_annotation(&warning.subject)) {
        list.push(
            Against::Current,
            &warning.subject,
            "a value that it cannot read makes it drop others, by chance; here only this one falls back to its default",
        );
    }
}

#[cfg(test)]
mod tests;

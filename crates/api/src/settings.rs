//! Every setting that has a default, in one table: where it may be written, and what it may be.

mod precedence;

use std::borrow::Cow;
use std::time::Duration;

use crate::go;
use crate::podautoscaler::{PodAutoscaler, PodAutoscalerSpec};
use crate::warning::Warning;

pub use precedence::precedence_table;

/// Where a resolved number comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// This field of the object, for example `spec.observeWindowSeconds`.
    SpecField(Cow<'static, str>),
    /// The annotation of this key.
    Annotation(&'static str),
    /// Nobody said anything (or nothing usable).
    Default,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::SpecField(path) => f.write_str(path),
            Self::Annotation(key) => write!(f, "annotation {key}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One resolved number and its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// What it is called, for example `panic window`.
    pub name: String,
    /// Its value with its unit, for example `10s`.
    pub value: String,
    /// Where it comes from.
    pub origin: Origin,
}

/// The settings, as positions in [`TABLE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Id {
    MinReplicas,
    StableWindow,
    PanicWindow,
    PanicThreshold,
    ApaWindow,
    UpTolerance,
    DownTolerance,
    MaxScaleUpRate,
    MaxScaleDownRate,
    UpWindow,
    DownWindow,
    ActivationScale,
}

/// The strategies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Kpa,
    Apa,
    Hpa,
}

impl Algorithm {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kpa => "KPA",
            Self::Apa => "APA",
            Self::Hpa => "HPA",
        }
    }
}

/// What the numbers count. Every value is kept as `f64`: spans in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// A Go duration in an annotation, whole seconds in a field.
    Span,
    Number,
    Count,
}

#[derive(Debug, Clone, Copy)]
enum Key {
    Field(&'static str, fn(&PodAutoscalerSpec) -> Option<i64>),
    Annotation(&'static str),
}

struct Row {
    id: Id,
    name: &'static str,
    /// `None`: of every strategy.
    only: Option<Algorithm>,
    /// The most specific first: spec field, current annotation, classic annotation, samples' spelling.
    keys: &'static [Key],
    unit: Unit,
    default: f64,
    accepts: fn(f64) -> bool,
    /// Ends the sentence "it must be …".
    must_be: &'static str,
}

const OBSERVE_WINDOW: Key = Key::Field("spec.observeWindowSeconds", |spec| spec.observe_window_seconds);
const A_WINDOW: (fn(f64) -> bool, &str) = (|v| (1.0..=3600.0).contains(&v), "between 1s and 1h");
const A_RATE: (fn(f64) -> bool, &str) = (|v| v > 1.0, "greater than 1");

/// DESIGN: "defaults, one table for every dialect".
static TABLE: [Row; 12] = [
    Row {
        id: Id::MinReplicas,
        name: "min replicas",
        only: None,
        keys: &[Key::Field("spec.minReplicas", |spec| spec.min_replicas.map(i64::from))],
        unit: Unit::Count,
        default: 1.0,
        accepts: |v| v >= 0.0,
        must_be: "at least 0",
    },
    Row {
        id: Id::StableWindow,
        name: "stable window",
        only: Some(Algorithm::Kpa),
        keys: &[OBSERVE_WINDOW, Key::Annotation("kpa.autoscaling.aibrix.ai/stable-window")],
        unit: Unit::Span,
        default: 60.0,
        accepts: A_WINDOW.0,
        must_be: A_WINDOW.1,
    },
    Row {
        id: Id::PanicWindow,
        name: "panic window",
        only: Some(Algorithm::Kpa),
        keys: &[
            Key::Field("spec.panicWindowSeconds", |spec| spec.panic_window_seconds),
            Key::Annotation("kpa.autoscaling.aibrix.ai/panic-window"),
        ],
        unit: Unit::Span,
        default: 10.0,
        accepts: A_WINDOW.0,
        must_be: A_WINDOW.1,
    },
    Row {
        id: Id::PanicThreshold,
        name: "panic threshold",
        only: Some(Algorithm::Kpa),
        keys: &[
            Key::Annotation("autoscaling.aibrix.ai/panic-threshold"),
            Key::Annotation("kpa.autoscaling.aibrix.ai/panic-threshold"),
        ],
        unit: Unit::Number,
        default: 2.0,
        // At 1 or below a target that has what it needs would be in panic for ever.
        accepts: |v| v > 1.0,
        must_be: "greater than 1",
    },
    Row {
        id: Id::ApaWindow,
        name: "window",
        only: Some(Algorithm::Apa),
        keys: &[OBSERVE_WINDOW, Key::Annotation("apa.autoscaling.aibrix.ai/window")],
        unit: Unit::Span,
        default: 60.0,
        accepts: A_WINDOW.0,
        must_be: A_WINDOW.1,
    },
    Row {
        id: Id::UpTolerance,
        name: "up tolerance",
        only: Some(Algorithm::Apa),
        keys: &[
            Key::Annotation("autoscaling.aibrix.ai/scale-up-tolerance"),
            Key::Annotation("apa.autoscaling.aibrix.ai/up-fluctuation-tolerance"),
            Key::Annotation("autoscaling.aibrix.ai/up-fluctuation-tolerance"),
        ],
        unit: Unit::Number,
        default: 0.1,
        accepts: |v| v >= 0.0,
        must_be: "at least 0",
    },
    Row {
        id: Id::DownTolerance,
        name: "down tolerance",
        only: Some(Algorithm::Apa),
        keys: &[
            Key::Annotation("autoscaling.aibrix.ai/scale-down-tolerance"),
            Key::Annotation("apa.autoscaling.aibrix.ai/down-fluctuation-tolerance"),
            Key::Annotation("autoscaling.aibrix.ai/down-fluctuation-tolerance"),
        ],
        unit: Unit::Number,
        default: 0.1,
        accepts: |v| (0.0..1.0).contains(&v),
        must_be: "at least 0 and less than 1",
    },
    Row {
        id: Id::MaxScaleUpRate,
        name: "max scale-up rate",
        only: None,
        keys: &[Key::Annotation("autoscaling.aibrix.ai/max-scale-up-rate")],
        unit: Unit::Number,
        default: 2.0,
        accepts: A_RATE.0,
        must_be: A_RATE.1,
    },
    Row {
        id: Id::MaxScaleDownRate,
        name: "max scale-down rate",
        only: None,
        keys: &[Key::Annotation("autoscaling.aibrix.ai/max-scale-down-rate")],
        unit: Unit::Number,
        default: 2.0,
        accepts: A_RATE.0,
        must_be: A_RATE.1,
    },
    Row {
        id: Id::UpWindow,
        name: "up window",
        only: None,
        keys: &[Key::Annotation("autoscaling.aibrix.ai/scale-up-cooldown-window")],
        unit: Unit::Span,
        default: 0.0,
        accepts: |v| v <= 86_400.0,
        must_be: "at most 24h",
    },
    Row {
        id: Id::DownWindow,
        name: "down window",
        only: None,
        keys: &[
            Key::Annotation("autoscaling.aibrix.ai/scale-down-cooldown-window"),
            Key::Annotation("kpa.autoscaling.aibrix.ai/scale-down-delay"),
        ],
        unit: Unit::Span,
        default: 300.0,
        accepts: |v| v <= 86_400.0,
        must_be: "at most 24h",
    },
    Row {
        id: Id::ActivationScale,
        name: "activation scale",
        only: None,
        keys: &[Key::Annotation("kpa.autoscaling.aibrix.ai/activation-scale")],
        unit: Unit::Count,
        default: 1.0,
        accepts: |v| v >= 1.0,
        must_be: "a whole number of at least 1",
    },
];

impl Unit {
    fn parse(self, text: &str) -> Option<f64> {
        let text = text.trim();
        match self {
            Self::Span => go::duration(text).map(|span| span.as_secs_f64()),
            Self::Number => text.parse().ok().filter(|v: &f64| v.is_finite()),
            Self::Count => text.parse::<u32>().ok().map(f64::from),
        }
    }

    fn written(self, value: f64) -> String {
        match self {
            Self::Span => go::written(Duration::from_secs_f64(value)),
            Self::Number | Self::Count => value.to_string(),
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Self::Span => "duration (such as 90s or 5m)",
            Self::Number => "number",
            Self::Count => "whole number",
        }
    }
}

impl Key {
    fn origin(self) -> Origin {
        match self {
            Self::Field(path, _) => Origin::SpecField(path.into()),
            Self::Annotation(key) => Origin::Annotation(key),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Field(name, _) | Self::Annotation(name) => name,
        }
    }

    /// What is written at this key, as text (for messages) and as a number, if it is one.
    fn read(self, object: &PodAutoscaler, unit: Unit) -> Option<(String, Option<f64>)> {
        match self {
            Self::Field(_, get) => get(&object.spec).map(|v| (v.to_string(), Some(v as f64))),
            Self::Annotation(key) => {
                let text = object.metadata.annotations.as_ref()?.get(key)?;
                Some((text.clone(), unit.parse(text)))
            }
        }
    }
}

/// All settings of one object, by the table.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    values: [(f64, Origin); TABLE.len()],
}

impl Settings {
    /// Walks the table. A value that cannot be used is warned about and the default stands in for it.
    pub(crate) fn read(object: &PodAutoscaler, algorithm: Algorithm, warnings: &mut Vec<Warning>) -> Self {
        let values = std::array::from_fn(|at| {
            let row = &TABLE[at];
            debug_assert_eq!(row.id as usize, at, "the table is in the order of its ids");
            if row.serves(algorithm) {
                row.resolve(object, warnings)
            } else {
                row.ignore(object, algorithm, warnings);
                (row.default, Origin::Default)
            }
        });
        let mut settings = Self { values };
        if algorithm == Algorithm::Kpa {
            settings.fit_panic_window(warnings);
        }
        settings
    }

    pub(crate) fn number(&self, id: Id) -> f64 {
        self.values[id as usize].0
    }

    pub(crate) fn span(&self, id: Id) -> Duration {
        Duration::from_secs_f64(self.number(id))
    }

    pub(crate) fn count(&self, id: Id) -> u32 {
        self.number(id) as u32
    }

    /// The provenance of what `algorithm` uses, in the order of the table.
    pub(crate) fn report(&self, algorithm: Algorithm) -> impl Iterator<Item = Setting> + '_ {
        TABLE.iter().zip(&self.values).filter(move |(row, _)| row.serves(algorithm)).map(
            |(row, (value, origin))| Setting {
                name: row.name.to_owned(),
                value: row.unit.written(*value),
                origin: origin.clone(),
            },
        )
    }

    /// Knative's rule that the panic window is not the longer one; what was asked for stands before a default.
    fn fit_panic_window(&mut self, warnings: &mut Vec<Warning>) {
        let [stable, panic] = [Id::StableWindow, Id::PanicWindow].map(|id| self.number(id));
        if panic <= stable {
            return;
        }
        let (id, used) = if self.values[Id::StableWindow as usize].1 == Origin::Default {
            (Id::StableWindow, panic)
        } else {
            (Id::PanicWindow, stable)
        };
        self.values[id as usize].0 = used;
        let name = TABLE[id as usize].name;
        let [stable, panic, used] = [stable, panic, used].map(|seconds| Unit::Span.written(seconds));
        warnings.push(Warning::new(
            format!("{name} ({})", self.values[id as usize].1),
            format!("the panic window ({panic}) cannot be longer than the stable window ({stable}); {used} is used"),
        ));
    }
}

impl Row {
    /// Whether a strategy uses it. A HorizontalPodAutoscaler knows no activation.
    fn serves(&self, algorithm: Algorithm) -> bool {
        self.only.is_none_or(|only| only == algorithm)
            && (algorithm != Algorithm::Hpa || self.id != Id::ActivationScale)
    }

    fn resolve(&self, object: &PodAutoscaler, warnings: &mut Vec<Warning>) -> (f64, Origin) {
        let mut present =
            self.keys.iter().filter_map(|key| key.read(object, self.unit).map(|(text, v)| (key, text, v)));
        let Some((key, text, value)) = present.next() else {
            return (self.default, Origin::Default);
        };
        let resolved = match value {
            Some(value) if (self.accepts)(value) => (value, key.origin()),
            Some(_) => {
                warnings.push(self.unusable(*key, &text, &format!("must be {}", self.must_be)));
                (self.default, Origin::Default)
            }
            None => {
                warnings.push(self.unusable(*key, &text, &format!("is not a {}", self.unit.noun())));
                (self.default, Origin::Default)
            }
        };
        for (other, text, value) in present {
            if value != Some(resolved.0) {
                warnings.push(Warning::new(
                    other.name(),
                    format!("\"{text}\" is ignored: {} is more specific", key.name()),
                ));
            }
        }
        resolved
    }

    fn unusable(&self, key: Key, text: &str, problem: &str) -> Warning {
        let default = self.unit.written(self.default);
        Warning::new(key.name(), format!("\"{text}\" {problem}; the default {default} is used instead"))
    }

    fn ignore(&self, object: &PodAutoscaler, algorithm: Algorithm, warnings: &mut Vec<Warning>) {
        for key in self.keys {
            // A key may serve another strategy in another row.
            let used = || {
                TABLE
                    .iter()
                    .filter(|row| row.serves(algorithm))
                    .any(|row| row.keys.iter().any(|other| other.name() == key.name()))
            };
            if let Some((text, _)) = key.read(object, self.unit)
                && !used()
                && !warnings.iter().any(|told| told.subject == key.name())
            {
                let only = self.only.map_or("KPA and APA", Algorithm::name);
                warnings.push(Warning::new(
                    key.name(),
                    format!(
                        "\"{text}\" is ignored: {} is a setting of {only}, and the strategy is {}",
                        self.name,
                        algorithm.name()
                    ),
                ));
            }
        }
    }
}

/// Whether some row reads this annotation.
pub(crate) fn is_annotation(key: &str) -> bool {
    TABLE.iter().flat_map(|row| row.keys).any(|known| matches!(known, Key::Annotation(name) if *name == key))
}

/// Whether this annotation is one of a tolerance.
pub(crate) fn is_tolerance(key: &str) -> bool {
    let tolerances = [Id::UpTolerance, Id::DownTolerance].map(|id| TABLE[id as usize].keys);
    tolerances.into_iter().flatten().any(|known| known.name() == key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_acceptable() {
        for row in &TABLE {
            assert!((row.accepts)(row.default), "{}", row.name);
        }
    }
}

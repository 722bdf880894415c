//! The safety switches: annotations `windlass.dev/mode`, `windlass.dev/hold-at`, `windlass.dev/override`.
//!
//! Annotations, because a CRD that is not ours would prune fields. The mode stands above hold-at, hold-at above the
//! override.

use std::ops::RangeInclusive;

use jiff::Timestamp;
use windlass_scaling::{Decision, Hold, Mode, Order, Reason, Stage};

use crate::explain::within;
use crate::podautoscaler::PodAutoscaler;
use crate::resolve::Resolved;
use crate::settings::{Origin, Setting};
use crate::warning::Warning;

pub(crate) const MODE: &str = "windlass.dev/mode";
pub(crate) const HOLD_AT: &str = "windlass.dev/hold-at";
pub(crate) const OVERRIDE: &str = "windlass.dev/override";

/// A count that is ordered until a time of the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Override {
    /// The replicas; the bounds bind them.
    pub replicas: u32,
    /// When the order is over.
    pub until: Timestamp,
}

/// `12 until 2026-12-01T08:00:00Z`
impl std::fmt::Display for Override {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} until {}", self.replicas, self.until)
    }
}

/// What the annotations of one object say.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    /// All that needs no wall clock.
    pub(crate) hold: Hold,
    pub(crate) overriding: Option<Override>,
    /// A switch that cannot be read, which pauses.
    pub(crate) unreadable: Option<&'static str>,
    /// Each switch that is set, with its origin.
    pub(crate) settings: Vec<Setting>,
}

impl Holds {
    /// Reads the switches. One that cannot be read is warned about and pauses: whoever set it meant to hold the target, and
    /// nobody knows at what.
    pub(crate) fn read(
        object: &PodAutoscaler,
        bounds: RangeInclusive<u32>,
        warnings: &mut Vec<Warning>,
    ) -> Self {
        let mut holds = Self::default();
        let mut broken = Vec::new();
        match read(object, MODE, mode) {
            Some(Ok(mode)) => {
                holds.hold.mode = mode;
                holds.report("mode", MODE, mode_name(mode).to_owned());
            }
            Some(Err(text)) => broken.push((MODE, text, "is not auto, recommend or paused")),
            None => {}
        }
        let held = match read(object, HOLD_AT, count) {
            Some(Ok(replicas)) => Some(replicas),
            Some(Err(text)) => {
                broken.push((HOLD_AT, text, "is not a whole number"));
                None
            }
            None => None,
        };
        let overriding = match read(object, OVERRIDE, overriding) {
            Some(Ok(order)) => Some(order),
            Some(Err(text)) if held.is_some() => {
                let sentence = format!("\"{text}\" is ignored: {HOLD_AT} stands above it");
                warnings.push(Warning::new(OVERRIDE, sentence));
                None
            }
            Some(Err(text)) => {
                broken.push((OVERRIDE, text, "is not of the form \"12 until 2026-12-01T08:00Z\""));
                None
            }
            None => None,
        };
        holds.pause_for(&broken, warnings);
        if let Some(replicas) = held {
            holds.hold.order = Some(Order { replicas, until: None });
            holds.report("hold-at", HOLD_AT, replicas.to_string());
            warn_of_bounds(HOLD_AT, replicas, &bounds, warnings);
        }
        match overriding {
            Some(order) if held.is_some() => {
                let sentence = format!("\"{order}\" is ignored: {HOLD_AT} stands above it");
                warnings.push(Warning::new(OVERRIDE, sentence));
            }
            Some(order) => {
                holds.overriding = Some(order);
                holds.report("override", OVERRIDE, order.to_string());
                warn_of_bounds(OVERRIDE, order.replicas, &bounds, warnings);
            }
            None => {}
        }
        holds
    }

    /// Pauses for switches that cannot be read, given with their text and what is wrong, unless another mode holds already.
    fn pause_for(&mut self, broken: &[(&'static str, &str, &str)], warnings: &mut Vec<Warning>) {
        let Some((first, ..)) = broken.first() else { return };
        let consequence = if self.hold.mode == Mode::Auto {
            self.hold.mode = Mode::Paused;
            self.unreadable = Some(first);
            self.settings.clear();
            self.report("mode", first, mode_name(Mode::Paused).to_owned());
            "the target is paused until it is mended or removed"
        } else {
            "it is not honoured"
        };
        for (key, text, problem) in broken {
            warnings.push(Warning::new(*key, format!("\"{text}\" {problem}; {consequence}")));
        }
    }

    fn report(&mut self, name: &str, key: &'static str, value: String) {
        self.settings.push(Setting { name: name.to_owned(), value, origin: Origin::Annotation(key) });
    }
}

/// What a switch says, or its text if that cannot be read; `None` if it is not set.
fn read<'a, T>(
    object: &'a PodAutoscaler,
    key: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Option<Result<T, &'a str>> {
    let text = object.metadata.annotations.as_ref()?.get(key)?;
    Some(parse(text.trim()).ok_or(text))
}

fn mode(text: &str) -> Option<Mode> {
    [Mode::Auto, Mode::Recommend, Mode::Paused].into_iter().find(|mode| mode_name(*mode) == text)
}

fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Auto => "auto",
        Mode::Recommend => "recommend",
        Mode::Paused => "paused",
    }
}

/// Kubernetes counts replicas in an `int32`.
fn count(text: &str) -> Option<u32> {
    text.parse().ok().filter(|count| i32::try_from(*count).is_ok())
}

fn overriding(text: &str) -> Option<Override> {
    let (replicas, until) = text.split_once(" until ")?;
    Some(Override { replicas: count(replicas.trim())?, until: until.trim().parse().ok()? })
}

fn warn_of_bounds(key: &str, replicas: u32, bounds: &RangeInclusive<u32>, warnings: &mut Vec<Warning>) {
    let (min, max) = (*bounds.start(), *bounds.end());
    if !bounds.contains(&replicas) {
        let sentence = format!(
            "{replicas} is outside of minReplicas {min} and maxReplicas {max}; the nearest bound in force is used instead"
        );
        warnings.push(Warning::new(key, sentence));
    }
}

/// An override whose end has come.
pub(crate) fn over(order: Override) -> Warning {
    Warning::new(OVERRIDE, format!("\"{order}\" is over and ignored; remove it, or give it a later end"))
}

impl Resolved {
    /// Why it is paused, if it is.
    pub(crate) fn paused_by(&self) -> String {
        match self.unreadable_switch {
            Some(key) => format!("paused because {key} cannot be read"),
            None => format!("paused by {MODE}"),
        }
    }
}

/// Whether this annotation is one of the switches.
pub(crate) fn is_annotation(key: &str) -> bool {
    [MODE, HOLD_AT, OVERRIDE].contains(&key)
}

/// The hold that stands above `decision`: the reason of condition `Held`, and a sentence that does not tell the time, so
/// that it changes only when what it says does. `would_be` is the decision's, or an older one of it.
pub fn held(decision: &Decision, resolved: &Resolved, would_be: u32) -> Option<(&'static str, String)> {
    let Resolved { policy, overriding: until, .. } = resolved;
    let step = decision.steps.last().filter(|step| step.stage == Stage::Hold)?;
    let to = step.to;
    let would_be = format!("would be {would_be}");
    Some(match step.reason {
        Reason::Paused => ("Paused", format!("{}: holding {to}, {would_be}", resolved.paused_by())),
        Reason::Recommended => ("Recommend", format!("only recommending: holding {to}, {would_be}")),
        Reason::HeldAt { asked, until: end } => {
            let bounds = within(asked, to, (policy.min_replicas, policy.max_replicas));
            match (end, until) {
                (None, _) => {
                    ("HoldAt", format!("held by {HOLD_AT} {asked}: holding {to}{bounds}, {would_be}"))
                }
                (Some(_), until) => {
                    let order = until.map_or_else(|| asked.to_string(), |order| order.to_string());
                    ("Override", format!("held by {OVERRIDE} {order}: holding {to}{bounds}, {would_be}"))
                }
            }
        }
        _ => return None,
    })
}

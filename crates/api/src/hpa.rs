//! Strategy HPA: the native HorizontalPodAutoscaler that carries a `PodAutoscaler` out.
//!
//! The mapping is AIBrix's (`hpa_resources.go`) where it can be kept: metrics by name, rates as percent in 60 s, the select
//! policies. It differs where AIBrix's object is refused or does something else than the spec says: fractions, rates close
//! to 1, units of memory, external metrics, the down window.

mod amount;
mod metrics;

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscaler,
    HorizontalPodAutoscalerBehavior, HorizontalPodAutoscalerSpec, MetricSpec, MetricTarget,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;
use windlass_metrics::Catalogue;
use windlass_scaling::{Instant, Mode};

use crate::explain::within;
use crate::holds::{HOLD_AT, MODE, OVERRIDE};
use crate::podautoscaler::{PodAutoscaler, PodAutoscalerSpec};
use crate::resolve::Resolved;
use crate::settings::{Origin, Setting};
use crate::signals;
use crate::validate::SpecError;
use crate::warning::Warning;

/// What the name of a HorizontalPodAutoscaler has beyond that of its PodAutoscaler; AIBrix's.
const SUFFIX: &str = "-hpa";
/// The longest name of an object.
const LONGEST_NAME: usize = 253;
/// A rate is one of this time; AIBrix's.
const PERIOD_SECONDS: i32 = 60;
/// The longest stabilisation window that the API server takes.
const LONGEST_WINDOW: Duration = Duration::from_hours(1);

/// The name of a `PodAutoscaler`'s HorizontalPodAutoscaler.
pub fn name_of(autoscaler: &str) -> String {
    format!("{autoscaler}{SUFFIX}")
}

/// The name of the `PodAutoscaler` that a HorizontalPodAutoscaler of this name is of, if it is of one.
pub fn autoscaler_of(hpa: &str) -> Option<&str> {
    hpa.strip_suffix(SUFFIX).filter(|name| !name.is_empty())
}

/// Reads what is said of metrics, and checks what else a HorizontalPodAutoscaler cannot have.
pub(crate) fn read(
    object: &PodAutoscaler,
    catalogue: &Catalogue,
    warnings: &mut Vec<Warning>,
    errors: &mut Vec<SpecError>,
) -> (Vec<MetricSpec>, Vec<Setting>) {
    let name = object.metadata.name.as_deref().unwrap_or_default();
    if name.len() + SUFFIX.len() > LONGEST_NAME {
        errors.push(SpecError::Spec(format!(
            "metadata.name: under strategy HPA a name may have {} characters (found {}), because the \
             HorizontalPodAutoscaler has the same one with {SUFFIX}; use a shorter name",
            LONGEST_NAME - SUFFIX.len(),
            name.len()
        )));
    }
    warn_of_zero(&object.spec, warnings);
    let entries = signals::entries(&object.spec, catalogue, warnings);
    metrics::of(&entries, warnings, errors)
}

fn warn_of_zero(spec: &PodAutoscalerSpec, warnings: &mut Vec<Warning>) {
    let schedules = spec.schedules.iter().flatten().enumerate();
    let schedules =
        schedules.map(|(at, schedule)| (format!("spec.schedules[{at}].minReplicas"), schedule.min_replicas));
    for (field, min) in std::iter::once(("spec.minReplicas".to_owned(), spec.min_replicas)).chain(schedules) {
        if min == Some(0) {
            let sentence = "0 becomes 1: a HorizontalPodAutoscaler does not scale to zero; KPA and APA do";
            warnings.push(Warning::new(field, sentence));
        }
    }
}

/// Warns about settings that have a limit here and none elsewhere.
pub(crate) fn warn_of_settings(resolved: &Resolved, warnings: &mut Vec<Warning>) {
    let policy = &resolved.policy;
    for (name, window) in [("up window", policy.up_window), ("down window", policy.down_window)] {
        let written = resolved.settings.iter().find(|setting| setting.name == name);
        if let Some(written) = written.filter(|_| window > LONGEST_WINDOW) {
            let sentence = "a HorizontalPodAutoscaler's window is at most 1h; 1h is used instead";
            let key = match written.origin {
                Origin::Annotation(key) => key,
                _ => name,
            };
            warnings.push(Warning::new(key, sentence));
        }
    }
    let ordered = policy.hold.order.map(|order| (HOLD_AT, order.replicas));
    let overriding = resolved.overriding.map(|order| (OVERRIDE, order.replicas));
    for (key, _) in ordered.into_iter().chain(overriding).filter(|(_, replicas)| *replicas == 0) {
        let sentence = "0 becomes 1: a HorizontalPodAutoscaler does not scale to zero; KPA and APA do";
        warnings.push(Warning::new(key, sentence));
    }
}

/// The object that should be: its name, labels, owner and spec. `None`: there should be none, because the object only
/// recommends, or because its strategy is another. `now` is the instant that [`Resolved::at`] was told last.
pub fn desired(object: &PodAutoscaler, resolved: &Resolved, now: Instant) -> Option<HorizontalPodAutoscaler> {
    let metrics = resolved.hpa.as_ref().filter(|_| resolved.policy.hold.mode != Mode::Recommend)?;
    let metadata = &object.metadata;
    Some(HorizontalPodAutoscaler {
        metadata: ObjectMeta {
            name: metadata.name.as_deref().map(name_of),
            namespace: metadata.namespace.clone(),
            labels: metadata.labels.clone(),
            owner_references: object.controller_owner_ref(&()).map(|owner| vec![blocking(owner)]),
            ..ObjectMeta::default()
        },
        spec: Some(spec(resolved, metrics, now)),
        status: None,
    })
}

/// Who deletes in the foreground waits for what is owned.
fn blocking(owner: OwnerReference) -> OwnerReference {
    OwnerReference { block_owner_deletion: Some(true), ..owner }
}

fn spec(resolved: &Resolved, metrics: &[MetricSpec], now: Instant) -> HorizontalPodAutoscalerSpec {
    let target = &resolved.target;
    let (min, max) = bounds(resolved, now);
    HorizontalPodAutoscalerSpec {
        scale_target_ref: CrossVersionObjectReference {
            api_version: Some(target.api_version.clone()),
            kind: target.kind.clone(),
            name: target.name.clone(),
        },
        min_replicas: Some(min),
        max_replicas: max,
        metrics: Some(metrics.to_vec()),
        behavior: Some(behavior(resolved)),
    }
}

/// The bounds to be written. A HorizontalPodAutoscaler applies bounds without asking its policies: hence an order is both
/// of them, and while it is paused they let every count be.
fn bounds(resolved: &Resolved, now: Instant) -> (i32, i32) {
    let policy = &resolved.policy;
    let count = |replicas: u32| i32::try_from(replicas).unwrap_or(i32::MAX);
    if policy.hold.mode == Mode::Paused {
        return (1, i32::MAX);
    }
    match policy.hold.order_at(now) {
        Some(order) => {
            let held = count(within_bounds(resolved, order.replicas));
            (held, held)
        }
        None => {
            (count(policy.min_replicas.max(1)), count(policy.max_replicas.max(policy.min_replicas).max(1)))
        }
    }
}

/// The nearest count in force that a HorizontalPodAutoscaler can have.
fn within_bounds(resolved: &Resolved, replicas: u32) -> u32 {
    let (min, max) = (resolved.policy.min_replicas, resolved.policy.max_replicas);
    replicas.clamp(min, max.max(min)).max(1)
}

fn behavior(resolved: &Resolved) -> HorizontalPodAutoscalerBehavior {
    let policy = &resolved.policy;
    let paused = policy.hold.mode == Mode::Paused;
    let rules = |window: Duration, percent: f64, select: &str| HPAScalingRules {
        stabilization_window_seconds: Some(whole_seconds(window)),
        select_policy: Some(if paused { "Disabled" } else { select }.to_owned()),
        policies: Some(vec![HPAScalingPolicy {
            type_: "Percent".to_owned(),
            value: whole_percent(percent),
            period_seconds: PERIOD_SECONDS,
        }]),
        // It stands behind a feature gate: without it the API server drops it, or refuses the object.
        tolerance: None,
    };
    HorizontalPodAutoscalerBehavior {
        scale_up: Some(rules(policy.up_window, (policy.max_scale_up_rate - 1.0) * 100.0, "Max")),
        scale_down: Some(rules(policy.down_window, (1.0 - 1.0 / policy.max_scale_down_rate) * 100.0, "Min")),
    }
}

fn whole_seconds(window: Duration) -> i32 {
    window.min(LONGEST_WINDOW).as_secs_f64().ceil() as i32
}

/// AIBrix's truncation, but for what is one too few only because of binary fractions (a rate of 1.15), and but for 0,
/// which the API server refuses.
fn whole_percent(percent: f64) -> i32 {
    (percent + 1e-6).floor().clamp(1.0, f64::from(i32::MAX)) as i32
}

/// The hold in force: the reason of condition `Held`, and a sentence that changes only when what it says does.
pub fn held(resolved: &Resolved, now: Instant) -> Option<(&'static str, String)> {
    let policy = &resolved.policy;
    let order = policy.hold.order_at(now);
    match (policy.hold.mode, order) {
        (Mode::Paused, _) => Some((
            "Paused",
            format!(
                "{}: the HorizontalPodAutoscaler neither raises nor lowers, and has no bounds",
                resolved.paused_by()
            ),
        )),
        (Mode::Recommend, _) => Some((
            "Recommend",
            format!(
                "only recommending by {MODE}: there is no HorizontalPodAutoscaler, so nothing is known of what it would do"
            ),
        )),
        (Mode::Auto, Some(order)) => {
            let held = within_bounds(resolved, order.replicas);
            let bounds = within(order.replicas, held, (policy.min_replicas, policy.max_replicas));
            Some(match resolved.overriding.filter(|_| order.until.is_some()) {
                Some(until) => ("Override", format!("held by {OVERRIDE} {until}: holding {held}{bounds}")),
                None => ("HoldAt", format!("held by {HOLD_AT} {}: holding {held}{bounds}", order.replicas)),
            })
        }
        (Mode::Auto, None) => None,
    }
}

/// Whether what is there does what is desired. Quantities are compared by what they amount to and what is omitted counts
/// as its default, because the API server rewrites both; labels that others added are theirs.
pub fn agrees(actual: &HorizontalPodAutoscaler, desired: &HorizontalPodAutoscaler) -> bool {
    let labels = |hpa: &HorizontalPodAutoscaler| hpa.metadata.labels.clone().unwrap_or_default();
    let (has, wants): (BTreeMap<_, _>, BTreeMap<_, _>) = (labels(actual), labels(desired));
    let labelled = wants.iter().all(|(key, value)| has.get(key) == Some(value));
    match (&actual.spec, &desired.spec) {
        (Some(actual), Some(desired)) => labelled && specs_agree(actual, desired),
        (actual, desired) => labelled && actual == desired,
    }
}

fn specs_agree(actual: &HorizontalPodAutoscalerSpec, desired: &HorizontalPodAutoscalerSpec) -> bool {
    let metrics = |spec: &HorizontalPodAutoscalerSpec| spec.metrics.clone().unwrap_or_default();
    let (has, wants) = (metrics(actual), metrics(desired));
    let behavior = |spec: &HorizontalPodAutoscalerSpec| spec.behavior.clone().unwrap_or_default();
    let (acts, should) = (behavior(actual), behavior(desired));
    actual.scale_target_ref == desired.scale_target_ref
        && actual.min_replicas.unwrap_or(1) == desired.min_replicas.unwrap_or(1)
        && actual.max_replicas == desired.max_replicas
        // Their order means nothing: the greatest proposal wins.
        && has.len() == wants.len()
        && wants.iter().all(|wanted| has.iter().any(|metric| metrics_agree(metric, wanted)))
        && has.iter().all(|metric| wants.iter().any(|wanted| metrics_agree(metric, wanted)))
        && rules_agree(acts.scale_up, should.scale_up)
        && rules_agree(acts.scale_down, should.scale_down)
}

/// Rules that say everything, as ours do, have no default but for the select policy.
fn rules_agree(actual: Option<HPAScalingRules>, desired: Option<HPAScalingRules>) -> bool {
    let whole = |rules: Option<HPAScalingRules>| {
        let mut rules = rules.unwrap_or_default();
        rules.select_policy.get_or_insert_with(|| "Max".to_owned());
        rules
    };
    whole(actual) == whole(desired)
}

fn metrics_agree(actual: &MetricSpec, desired: &MetricSpec) -> bool {
    let mut rewritten = actual.clone();
    let targets = [
        (
            rewritten.resource.as_mut().map(|source| &mut source.target),
            desired.resource.as_ref().map(|source| &source.target),
        ),
        (
            rewritten.pods.as_mut().map(|source| &mut source.target),
            desired.pods.as_ref().map(|source| &source.target),
        ),
        (
            rewritten.external.as_mut().map(|source| &mut source.target),
            desired.external.as_ref().map(|source| &source.target),
        ),
    ];
    for (actual, desired) in targets {
        if let (Some(actual), Some(desired)) = (actual, desired) {
            adopt_spelling(actual, desired);
        }
    }
    rewritten == *desired
}

/// Writes the quantities of `actual` as `desired` does where they amount to the same.
fn adopt_spelling(actual: &mut MetricTarget, desired: &MetricTarget) {
    for (actual, desired) in
        [(&mut actual.average_value, &desired.average_value), (&mut actual.value, &desired.value)]
    {
        if let (Some(has), Some(wants)) = (actual.as_ref(), desired)
            && amount::same(has, wants)
        {
            *actual = Some(wants.clone());
        }
    }
}

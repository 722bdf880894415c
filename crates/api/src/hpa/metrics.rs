//! From the entries of `metricsSources`, of either shape, to the metrics of a HorizontalPodAutoscaler.

use k8s_openapi::api::autoscaling::v2::{
    ExternalMetricSource, MetricIdentifier, MetricSpec, MetricTarget, PodsMetricSource, ResourceMetricSource,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::amount;
use crate::settings::{Origin, Setting};
use crate::signals::Entry;
use crate::source;
use crate::validate::{SpecError, set};
use crate::warning::{self, Warning};
use crate::{metric, quantity};

/// The metrics of all entries that a HorizontalPodAutoscaler can read, and what each aims at. One that it cannot read is
/// warned about; that there is no other is an error.
pub(super) fn of(
    entries: &[Entry<'_>],
    warnings: &mut Vec<Warning>,
    errors: &mut Vec<SpecError>,
) -> (Vec<MetricSpec>, Vec<Setting>) {
    let (mut metrics, mut settings, mut unreadable) = (Vec::new(), Vec::new(), Vec::new());
    for entry in entries {
        warning::of_unknown_fields(&entry.path, &entry.wire.unknown, warnings);
        match metric(entry, warnings) {
            Ok(metric) => {
                settings.push(Setting {
                    name: format!("target of {}", entry.metric),
                    value: described(&metric),
                    origin: Origin::SpecField(entry.value_path.clone().into()),
                });
                metrics.push(metric);
            }
            Err(why) => unreadable.push(Warning::new(&entry.path, why)),
        }
    }
    if metrics.is_empty() {
        errors.extend(unreadable.iter().map(|why| SpecError::Metrics(why.to_string())));
    }
    warnings.extend(unreadable);
    (metrics, settings)
}

fn metric(entry: &Entry<'_>, warnings: &mut Vec<Warning>) -> Result<MetricSpec, String> {
    let name = entry.metric;
    let endpoint = set(entry.wire.endpoint.as_ref());
    let external = matches!(entry.source_type, Some("external" | "domain"));
    let elsewhere = external || entry.source_type == Some("prometheus");
    if let Some(resource) = (!elsewhere).then(|| resource_of(name)).flatten() {
        note_unused(entry, "what the kubelets measure, by way of metrics.k8s.io", warnings);
        return Ok(resource_metric(resource, entry, warnings));
    }
    match (entry.source_type, endpoint) {
        (Some("prometheus"), _) => Err(format!(
            "a HorizontalPodAutoscaler asks no Prometheus, so {name} would not be read; use strategy KPA or APA, or \
             metricSourceType external with an adapter such as prometheus-adapter"
        )),
        (Some("external" | "domain"), Some(endpoint)) => Err(format!(
            "a HorizontalPodAutoscaler asks no endpoint ({endpoint}), so {name} would not be read; use strategy KPA or \
             APA, or leave endpoint out and serve {name} by external.metrics.k8s.io"
        )),
        _ if !is_path_segment(name) => Err(format!(
            "{name} cannot be the name of a metric of a HorizontalPodAutoscaler: it must not be . or .. or contain / or %"
        )),
        (source_type, _) => {
            let metric = MetricIdentifier { name: name.to_owned(), selector: None };
            // An external metric may be called cpu, and then its target may have a suffix.
            let value = source::parse_target(entry.value).or_else(|| quantity::with_suffix(entry.value));
            let target = average(amount::milli(value.unwrap_or(1.0)), entry, warnings);
            if external {
                let source = ExternalMetricSource { metric, target };
                return Ok(MetricSpec {
                    type_: "External".to_owned(),
                    external: Some(source),
                    ..MetricSpec::default()
                });
            }
            let served =
                "what custom.metrics.k8s.io has under exactly this name, which an adapter must serve";
            note_unused(entry, served, warnings);
            if source_type != Some("custom") {
                note_scale(entry, warnings);
            }
            let source = PodsMetricSource { metric, target };
            Ok(MetricSpec { type_: "Pods".to_owned(), pods: Some(source), ..MetricSpec::default() })
        }
    }
}

/// The two resources, as every dialect spells them.
fn resource_of(metric: &str) -> Option<&'static str> {
    ["cpu", "memory"].into_iter().find(|known| known.eq_ignore_ascii_case(metric))
}

/// A bare cpu target is percent of the request, a bare memory target is MiB, as in AIBrix; with a suffix both are
/// quantities per pod.
fn resource_metric(resource: &'static str, entry: &Entry<'_>, warnings: &mut Vec<Warning>) -> MetricSpec {
    let target = match (source::parse_target(entry.value), resource) {
        (Some(percent), "cpu") => MetricTarget {
            type_: "Utilization".to_owned(),
            average_utilization: Some(percent.ceil().clamp(1.0, f64::from(i32::MAX)) as i32),
            ..MetricTarget::default()
        },
        (Some(mebibytes), _) => average(amount::mebibytes(mebibytes), entry, warnings),
        (None, _) => {
            let text = entry.value.strip_prefix('+').unwrap_or(entry.value);
            average((Quantity(text.to_owned()), false), entry, warnings)
        }
    };
    let source = ResourceMetricSource { name: resource.to_owned(), target };
    MetricSpec { type_: "Resource".to_owned(), resource: Some(source), ..MetricSpec::default() }
}

fn average(
    (quantity, changed): (Quantity, bool),
    entry: &Entry<'_>,
    warnings: &mut Vec<Warning>,
) -> MetricTarget {
    if changed {
        let sentence = format!(
            "\"{}\" is more or less than a HorizontalPodAutoscaler can count; {} is used instead",
            entry.value, quantity.0
        );
        warnings.push(Warning::new(&entry.value_path, sentence));
    }
    MetricTarget {
        type_: "AverageValue".to_owned(),
        average_value: Some(quantity),
        ..MetricTarget::default()
    }
}

/// The API server's rule for names that stand in a URL.
fn is_path_segment(name: &str) -> bool {
    ![".", ".."].contains(&name) && !name.contains(['/', '%'])
}

/// Names the fields that say where a value is and how it is asked for: nobody asks there.
fn note_unused(entry: &Entry<'_>, instead: &str, warnings: &mut Vec<Warning>) {
    let wire = entry.wire;
    let is_set = |field: &Option<String>| set(field.as_ref()).is_some();
    let [quantile, engine, selector] = metric::written(wire);
    let fields = [
        ("port", is_set(&wire.port)),
        ("path", is_set(&wire.path)),
        ("protocolType", is_set(&wire.protocol_type)),
        ("endpoint", is_set(&wire.endpoint)),
        ("query", is_set(&wire.query)),
        ("aggregation", is_set(&wire.aggregation)),
        quantile,
        engine,
        selector,
        ("tls", wire.tls.is_some()),
        ("bearerTokenSecret", wire.bearer_token_secret.is_some()),
    ];
    let written: Vec<&str> = fields.into_iter().filter(|(_, set)| *set).map(|(name, _)| name).collect();
    let Some((last, others)) = written.split_last() else { return };
    let names = if others.is_empty() {
        format!("{last} is")
    } else {
        format!("{} and {last} are", others.join(", "))
    };
    let sentence = format!("{names} ignored: of {} a HorizontalPodAutoscaler reads {instead}", entry.metric);
    warnings.push(Warning::new(&entry.path, sentence));
}

/// Under HPA nothing is read as percent: whatever the adapter serves is compared with the target as it is written.
fn note_scale(entry: &Entry<'_>, warnings: &mut Vec<Warning>) {
    let full_scale = entry.catalogue.resolve(entry.metric).ok().and_then(|metric| metric.full_scale);
    if let (Some(full), Some(value)) = (full_scale, source::parse_target(entry.value))
        && value > full
    {
        let sentence = format!(
            "{} ranges from 0 to {full} and is compared as it is served, so {value} may never be reached; if it is \
             percent, write {}",
            entry.metric,
            value / 100.0 * full
        );
        warnings.push(Warning::new(&entry.value_path, sentence));
    }
}

/// A target in words: `30% of the request`, `1Gi per pod`.
fn described(metric: &MetricSpec) -> String {
    let resource = metric.resource.as_ref().map(|resource| &resource.target);
    let pods = metric.pods.as_ref().map(|pods| &pods.target);
    let external = metric.external.as_ref().map(|external| &external.target);
    let Some(target) = resource.or(pods).or(external) else { return String::new() };
    match (target.average_utilization, &target.average_value) {
        (Some(percent), _) => format!("{percent}% of the request"),
        (None, Some(quantity)) if external.is_some() => format!("{} per replica", quantity.0),
        (None, Some(quantity)) => format!("{} per pod", quantity.0),
        (None, None) => String::new(),
    }
}

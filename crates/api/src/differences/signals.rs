//! Metrics that are read or meant in another way.

use windlass_metrics::Catalogue;
use windlass_metrics::catalogue::SeriesType;

use crate::dialect::is_legacy;
use crate::podautoscaler::{MetricSource, PodAutoscaler, PodAutoscalerSpec};
use crate::quantity;
use crate::resolve::Resolved;
use crate::source::rooted;
use crate::validate::set;

use super::{Against, List};

pub(super) fn compare(object: &PodAutoscaler, resolved: &Resolved, list: &mut List) {
    let (spec, catalogue) = (&object.spec, &resolved.catalogue);
    let sources = spec.metrics_sources.as_deref().unwrap_or_default();
    if sources.is_empty() || sources.iter().any(is_legacy) {
        list.push(
            Against::Current,
            "spec.targetMetric",
            "it refuses the shape of v0.1; here it is read, from the port and path that the pods name",
        );
    }
    if sources.is_empty() {
        metric(
            spec,
            catalogue,
            "spec",
            spec.target_metric.as_deref(),
            spec.target_value.as_deref(),
            None,
            list,
        );
    }
    for (at, source) in sources.iter().enumerate() {
        let path = format!("spec.metricsSources[{at}]");
        let (name, value) = if is_legacy(source) {
            (set(source.metric.as_ref()).or(set(spec.target_metric.as_ref())), &spec.target_value)
        } else {
            (set(source.target_metric.as_ref()), &source.target_value)
        };
        metric(spec, catalogue, &path, name, value.as_deref(), source.metric_source_type.as_deref(), list);
        page(&path, source, resolved, list);
    }
    several(spec, sources, list);
}

/// What is measured, and what the target means.
fn metric(
    spec: &PodAutoscalerSpec,
    catalogue: &Catalogue,
    path: &str,
    name: Option<&str>,
    value: Option<&str>,
    source_type: Option<&str>,
    list: &mut List,
) {
    let (Some(name), Some(value)) = (name, value) else { return };
    let hpa = spec.scaling_strategy == "HPA";
    if quantity::with_suffix(value).is_some() {
        let sentence =
            format!("it refuses a target with a suffix; here \"{value}\" is taken, for cpu and memory only");
        list.push(Against::Any, path, sentence);
    }
    if hpa && ["external", "domain"].iter().any(|external| source_type == Some(external)) {
        let sentence =
            "its HorizontalPodAutoscaler has a metric of type Pods whatever the source; here it is External";
        list.push(Against::Current, path, sentence);
    }
    if hpa && !quantity::is_resource(name) && value.parse().is_ok_and(|value: f64| value.fract() != 0.0) {
        let sentence = format!(
            "its HorizontalPodAutoscaler has the target without its fraction ({value} becomes a whole number, and \
             0 is refused); here thousandths are kept"
        );
        list.push(Against::Current, path, sentence);
    }
    if hpa || !matches!(source_type, None | Some("pod")) {
        return;
    }
    let Ok(metric) = catalogue.resolve(name) else { return };
    if metric.canonical.is_none() {
        let sentence = format!(
            "a metric that is not in its list counts as 0, and so lowers; here {name} is read under exactly this name, \
             and pods that have no such metric hold the count"
        );
        list.push(Against::Current, path, sentence);
    }
    let counter = metric.aliases.iter().all(|alias| alias.series_type == SeriesType::Counter);
    if counter && metric.canonical.as_deref() != Some(name) {
        let sentence = format!(
            "it compares the counter {name} itself, which only grows, with the target; here its rate per second is \
             compared"
        );
        list.push(Against::Any, path, sentence);
    }
    if metric.has_histogram() {
        let sentence = format!(
            "a histogram counts as 0, and so lowers; here a quantile or the mean of what was observed for {name} on all \
             pods is compared"
        );
        list.push(Against::Current, path, sentence);
    }
    if let (Some(full), Ok(written)) = (metric.full_scale, value.parse::<f64>())
        && written > full
    {
        let sentence = format!(
            "it compares {value} with values from 0 to {full}, which never reach it; here {value} is read as percent"
        );
        list.push(Against::Any, path, sentence);
    }
}

/// Where a pod's page is.
fn page(path: &str, source: &MetricSource, resolved: &Resolved, list: &mut List) {
    if source.metric_source_type.as_deref() != Some("pod") {
        return;
    }
    if let Some(page) = set(source.path.as_ref()).map(rooted).filter(|page| page != "/metrics") {
        let sentence =
            format!("it ignores path and asks for the engine's own page; here {page} is asked for");
        list.push(Against::Current, format!("{path}.path"), sentence);
    }
    let field = format!("{path}.protocolType");
    if set(source.protocol_type.as_ref()).is_none() {
        list.push(
            Against::Current,
            &field,
            "it refuses a pod source without protocolType; here http is meant",
        );
    }
    let unused = resolved.warnings.iter().any(|warning| warning.subject == field);
    if source.protocol_type.as_deref() == Some("https") && !unused {
        list.push(Against::Current, field, "it ignores protocolType and asks over http; here https is used");
    }
}

fn several(spec: &PodAutoscalerSpec, sources: &[MetricSource], list: &mut List) {
    if sources.len() < 2 || spec.scaling_strategy == "HPA" {
        return;
    }
    let subject = "spec.metricsSources";
    list.push(
        Against::Current,
        subject,
        "a source that fails is left out, and the others may lower; here nothing is lowered while one is silent",
    );
    let names: Vec<Option<&str>> = sources.iter().map(|source| source.target_metric.as_deref()).collect();
    let twice = names.iter().enumerate().find(|(at, name)| name.is_some() && names[..*at].contains(name));
    if let Some((_, Some(name))) = twice {
        let sentence = format!("sources of the same metric ({name}) share one window; here each has its own");
        list.push(Against::Current, subject, sentence);
    }
}

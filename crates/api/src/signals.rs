//! From `metricsSources`, or v0.1's fields at the top, to signals.

use std::sync::LazyLock;

use windlass_metrics::catalogue::SeriesType;
use windlass_metrics::{Catalogue, Kind, Metric, ResolveError};
use windlass_scaling::SignalPolicy;

use crate::podautoscaler::{MetricSource, PodAutoscalerSpec};
use crate::quantity;
use crate::settings::{Origin, Setting};
use crate::source::{self, PathRule, PodSource, PortRule, Source};
use crate::validate::{SpecError, set};
use crate::warning::{self, Warning};

/// One signal: what is wanted of it, where it is read, and where its target is written.
pub(crate) struct Signal {
    pub(crate) policy: SignalPolicy,
    pub(crate) source: Source,
    pub(crate) target: Setting,
}

/// An entry of either shape, with everything that v0.1 writes elsewhere filled in.
pub(crate) struct Entry<'a> {
    pub(crate) path: String,
    pub(crate) metric: &'a str,
    pub(crate) value: &'a str,
    pub(crate) value_path: String,
    /// Absent in an entry of v0.1.
    pub(crate) source_type: Option<&'a str>,
    pub(crate) wire: &'a MetricSource,
}

/// What an entry of the shape of v0.1 that is written at the top has of a source.
static NOWHERE: LazyLock<MetricSource> = LazyLock::new(MetricSource::default);

/// The signals of a spec that is valid, in the order it names them.
pub(crate) fn of(
    spec: &PodAutoscalerSpec,
    warnings: &mut Vec<Warning>,
    errors: &mut Vec<SpecError>,
) -> Vec<Signal> {
    entries(spec, warnings).iter().filter_map(|entry| signal(entry, warnings, errors)).collect()
}

/// All entries of a spec that is valid, of either shape.
pub(crate) fn entries<'a>(spec: &'a PodAutoscalerSpec, warnings: &mut Vec<Warning>) -> Vec<Entry<'a>> {
    let wire = spec.metrics_sources.as_deref().unwrap_or_default();
    if !wire.is_empty() && wire.iter().all(|source| source.metric_source_type.is_some()) {
        for (field, value) in
            [("spec.targetMetric", &spec.target_metric), ("spec.targetValue", &spec.target_value)]
        {
            if value.is_some() {
                warnings.push(Warning::new(field, "is ignored: metricsSources is more specific"));
            }
        }
    }
    if wire.is_empty() {
        entry(spec, "spec".to_owned(), &NOWHERE).into_iter().collect()
    } else {
        let path = |at| format!("spec.metricsSources[{at}]");
        wire.iter().enumerate().filter_map(|(at, source)| entry(spec, path(at), source)).collect()
    }
}

fn entry<'a>(spec: &'a PodAutoscalerSpec, path: String, wire: &'a MetricSource) -> Option<Entry<'a>> {
    let source_type = wire.metric_source_type.as_deref();
    let (metric, value, value_path) = if source_type.is_some() {
        (wire.target_metric.as_ref(), wire.target_value.as_ref(), format!("{path}.targetValue"))
    } else {
        let metric = wire.metric.as_ref().filter(|metric| !metric.is_empty());
        (metric.or(spec.target_metric.as_ref()), spec.target_value.as_ref(), "spec.targetValue".to_owned())
    };
    Some(Entry { path, metric: set(metric)?, value: value?, value_path, source_type, wire })
}

fn signal(entry: &Entry<'_>, warnings: &mut Vec<Warning>, errors: &mut Vec<SpecError>) -> Option<Signal> {
    warning::of_unknown_fields(&entry.path, &entry.wire.unknown, warnings);
    let (source, kind, full_scale, backlog) = match read_from(entry, warnings) {
        Ok(Read::Pods(source)) => {
            note_reading(entry, &source.metric, warnings);
            let Metric { kind, full_scale, backlog, .. } = source.metric;
            (Source::Pod(source), kind, full_scale, backlog)
        }
        Ok(Read::Nowhere { why, kind }) => {
            (Source::Unsupported(format!("{}: {why}", entry.path)), kind, None, false)
        }
        Err(error) => {
            errors.push(error);
            return None;
        }
    };
    let written = quantity::target(entry.metric, entry.value)?;
    let target = match full_scale {
        Some(full) if written > full => {
            let target = written / 100.0 * full;
            warnings.push(Warning::new(
                &entry.value_path,
                format!(
                    "{} ranges from 0 to {full}, so \"{}\" is read as percent: {target}",
                    entry.metric, entry.value
                ),
            ));
            target
        }
        _ => written,
    };
    Some(Signal {
        policy: SignalPolicy { metric: entry.metric.to_owned(), kind, target, backlog },
        source,
        target: Setting {
            name: format!("target of {}", entry.metric),
            value: target.to_string(),
            origin: Origin::SpecField(entry.value_path.clone().into()),
        },
    })
}

enum Read {
    Pods(PodSource),
    Nowhere { why: String, kind: Kind },
}

fn read_from(entry: &Entry<'_>, warnings: &mut Vec<Warning>) -> Result<Read, SpecError> {
    let endpoint = set(entry.wire.endpoint.as_ref());
    let not_yet = |what: &str| {
        let metric = entry.metric;
        let why = format!(
            "{what} is not supported yet, so {metric} has no reading and nothing is lowered; use metricSourceType pod"
        );
        Ok(Read::Nowhere { why, kind: Kind::Additive })
    };
    match (entry.source_type, endpoint) {
        (Some("resource"), _) => {
            warnings.push(Warning::new(
                &entry.value_path,
                format!(
                    "a bare {} target means {} under KPA and APA, {} under HPA",
                    entry.metric,
                    if entry.metric == "cpu" { "millicores" } else { "bytes" },
                    if entry.metric == "cpu" { "percent of the request" } else { "MiB" },
                ),
            ));
            return not_yet("metricSourceType resource");
        }
        (Some(other), _) if other != "pod" => return not_yet(&format!("metricSourceType {other}")),
        (None, Some(endpoint)) => return not_yet(&format!("reading from endpoint {endpoint}")),
        (_, Some(endpoint)) => warnings.push(Warning::new(
            format!("{}.endpoint", entry.path),
            format!("\"{endpoint}\" is ignored: metricSourceType pod reads from the pods themselves"),
        )),
        (_, None) => {}
    }
    let metric = match Catalogue::builtin().resolve(entry.metric) {
        Ok(metric) => metric,
        Err(error @ ResolveError::Histogram { .. }) => {
            return Ok(Read::Nowhere { why: error.to_string(), kind: Kind::Latency });
        }
        Err(error @ ResolveError::NotAName(_)) => {
            return Err(SpecError::Metrics(format!("{}: {error}", entry.path)));
        }
    };
    if entry.wire.protocol_type.as_deref() == Some("https") {
        warnings.push(Warning::new(
            format!("{}.protocolType", entry.path),
            "https is not supported yet: the page is asked for over plain http, as AIBrix does",
        ));
    }
    let port = set(entry.wire.port.as_ref()).and_then(source::parse_port);
    let path = set(entry.wire.path.as_ref());
    Ok(Read::Pods(PodSource {
        metric,
        port: port.map_or(PortRule::Discover, PortRule::Fixed),
        path: path.map_or(PathRule::Discover, |path| PathRule::Fixed(source::rooted(path))),
    }))
}

/// Says where what is read is not what AIBrix would read.
fn note_reading(entry: &Entry<'_>, metric: &Metric, warnings: &mut Vec<Warning>) {
    let name = entry.metric;
    let own_name = metric.canonical.as_deref() == Some(name);
    let counter = metric.aliases.iter().all(|alias| alias.series_type == SeriesType::Counter);
    if !own_name && (counter || (name.ends_with("_total") && metric.canonical.is_some())) {
        warnings.push(Warning::new(
            &entry.path,
            format!("{name} is a counter; its rate per second is used, so the target is per second too"),
        ));
    } else if metric.canonical.is_none() {
        warnings.push(Warning::new(
            &entry.path,
            format!(
                "{name} is not in the catalogue: it is read under exactly this name and added up over pods \
                 (as its rate, if the pods declare a counter)"
            ),
        ));
    }
}

//! From `metricsSources`, or v0.1's fields at the top, to signals.

use std::sync::LazyLock;

use windlass_metrics::catalogue::SeriesType;
use windlass_metrics::{Catalogue, Kind, Metric};
use windlass_scaling::{Scope, SignalPolicy};

use crate::podautoscaler::{MetricSource, PodAutoscalerSpec};
use crate::settings::{Origin, Setting};
use crate::source::{
    self, Access, Address, EndpointSource, PathRule, PodSource, PortRule, PrometheusSource, Resource, Source,
};
use crate::validate::{SpecError, set};
use crate::warning::{self, Warning};
use crate::{metric, quantity, rules};

/// One signal: what is wanted of it, where it is read, and where its target and statistic are written.
pub(crate) struct Signal {
    pub(crate) policy: SignalPolicy,
    pub(crate) source: Source,
    pub(crate) settings: Vec<Setting>,
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
    /// In which metrics' names are looked up.
    pub(crate) catalogue: &'a Catalogue,
}

/// What an entry of the shape of v0.1 that is written at the top has of a source.
static NOWHERE: LazyLock<MetricSource> = LazyLock::new(MetricSource::default);

/// The signals of a spec that is valid, in the order it names them.
pub(crate) fn of(
    spec: &PodAutoscalerSpec,
    catalogue: &Catalogue,
    warnings: &mut Vec<Warning>,
    errors: &mut Vec<SpecError>,
) -> Vec<Signal> {
    entries(spec, catalogue, warnings).iter().filter_map(|entry| signal(entry, warnings, errors)).collect()
}

/// All entries of a spec that is valid, of either shape.
pub(crate) fn entries<'a>(
    spec: &'a PodAutoscalerSpec,
    catalogue: &'a Catalogue,
    warnings: &mut Vec<Warning>,
) -> Vec<Entry<'a>> {
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
        entry(spec, catalogue, "spec".to_owned(), &NOWHERE).into_iter().collect()
    } else {
        let path = |at| format!("spec.metricsSources[{at}]");
        wire.iter().enumerate().filter_map(|(at, source)| entry(spec, catalogue, path(at), source)).collect()
    }
}

fn entry<'a>(
    spec: &'a PodAutoscalerSpec,
    catalogue: &'a Catalogue,
    path: String,
    wire: &'a MetricSource,
) -> Option<Entry<'a>> {
    let source_type = wire.metric_source_type.as_deref();
    let (metric, value, value_path) = if source_type.is_some() {
        (wire.target_metric.as_ref(), wire.target_value.as_ref(), format!("{path}.targetValue"))
    } else {
        let metric = wire.metric.as_ref().filter(|metric| !metric.is_empty());
        (metric.or(spec.target_metric.as_ref()), spec.target_value.as_ref(), "spec.targetValue".to_owned())
    };
    Some(Entry { path, metric: set(metric)?, value: value?, value_path, source_type, wire, catalogue })
}

fn signal(entry: &Entry<'_>, warnings: &mut Vec<Warning>, errors: &mut Vec<SpecError>) -> Option<Signal> {
    warning::of_unknown_fields(&entry.path, &entry.wire.unknown, warnings);
    let Read { source, kind, full_scale, backlog } = match read_from(entry, warnings) {
        Ok(read) => read,
        Err(error) => {
            errors.push(error);
            return None;
        }
    };
    // Millicores and bytes are the units of the metrics API; elsewhere a suffix is a factor and no more.
    let factored = || quantity::with_suffix(entry.value).filter(|_| !matches!(source, Source::Resource(_)));
    let written = factored().or_else(|| quantity::target(entry.metric, entry.value))?;
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
    let of_page = of_page(&source);
    let read_as = of_page.map(|metric| metric::read_as(entry, metric)).unwrap_or_default();
    let written = Setting {
        name: format!("target of {}", entry.metric),
        value: target.to_string(),
        origin: Origin::SpecField(entry.value_path.clone().into()),
    };
    let settings = std::iter::once(written).chain(of_page.and_then(|metric| metric::setting(entry, metric)));
    let settings = settings.collect();
    Some(Signal {
        policy: SignalPolicy {
            metric: entry.metric.to_owned(),
            read_from: format!("{source}{read_as}"),
            statistic: of_page.and_then(metric::statistic),
            kind,
            target,
            backlog,
            scope: scope(entry, &source),
            pace: source.pace(),
        },
        source,
        settings,
    })
}

/// Where a signal is read, and what is known of the metric.
struct Read {
    source: Source,
    kind: Kind,
    full_scale: Option<f64>,
    backlog: bool,
}

impl Read {
    /// A source that says nothing of what its values are.
    fn of(source: Source, kind: Kind) -> Self {
        Self { source, kind, full_scale: None, backlog: false }
    }
}

/// What of a page is read.
fn of_page(source: &Source) -> Option<&Metric> {
    match source {
        Source::Pod(source) => Some(&source.metric),
        Source::Endpoint(source) => Some(&source.metric),
        Source::Resource(_) | Source::Custom(_) | Source::External(_) | Source::Prometheus(_) => None,
    }
}

/// What one reading stands for.
fn scope(entry: &Entry<'_>, source: &Source) -> Scope {
    match source {
        // What needs events is a value of one request, and no total of the fleet's.
        Source::Endpoint(source) if source.metric.is_of_events() => Scope::PodMean,
        Source::External(_) | Source::Endpoint(_) | Source::Prometheus(_) if per_pod(entry) => Scope::PodMean,
        Source::External(_) | Source::Endpoint(_) | Source::Prometheus(_) => Scope::Fleet,
        Source::Pod(_) | Source::Resource(_) | Source::Custom(_) => Scope::Pod,
    }
}

fn per_pod(entry: &Entry<'_>) -> bool {
    entry.wire.aggregation.as_deref() == Some("perPod")
}

/// A total is additive, whatever it is of; a mean over pods is what the catalogue says.
fn kind_elsewhere(entry: &Entry<'_>) -> Kind {
    if !per_pod(entry) {
        return Kind::Additive;
    }
    entry.catalogue.resolve(entry.metric).map_or(Kind::Additive, |metric| metric.kind)
}

fn read_from(entry: &Entry<'_>, warnings: &mut Vec<Warning>) -> Result<Read, SpecError> {
    let endpoint = set(entry.wire.endpoint.as_ref());
    if matches!(
        (entry.source_type, endpoint),
        (Some("resource" | "custom" | "prometheus"), _) | (Some("external" | "domain"), None)
    ) {
        metric::warn_of_no_page(entry, warnings);
    }
    match (entry.source_type, endpoint) {
        (Some("resource"), _) => Ok(Read::of(Source::Resource(resource(entry, warnings)), Kind::Additive)),
        (Some("custom"), _) => Ok(Read::of(Source::Custom(api_metric(entry)?), Kind::Additive)),
        (Some("external" | "domain"), None) => {
            Ok(Read::of(Source::External(api_metric(entry)?), kind_elsewhere(entry)))
        }
        (Some("prometheus"), Some(endpoint)) => {
            let source = PrometheusSource {
                query: set(entry.wire.query.as_ref()).unwrap_or(entry.metric).to_owned(),
                address: address(entry, endpoint)?,
                path: source::rooted(set(entry.wire.path.as_ref()).unwrap_or_default()),
                access: access(entry),
            };
            Ok(Read::of(Source::Prometheus(source), kind_elsewhere(entry)))
        }
        (Some("external" | "domain") | None, Some(endpoint)) => from_endpoint(entry, endpoint, warnings),
        _ => from_pods(entry, warnings),
    }
}

fn resource(entry: &Entry<'_>, warnings: &mut Vec<Warning>) -> Resource {
    let cpu = entry.metric.eq_ignore_ascii_case("cpu");
    warnings.push(Warning::new(
        &entry.value_path,
        format!(
            "a bare {} target means {} under KPA and APA, {} under HPA",
            entry.metric,
            if cpu { "millicores" } else { "bytes" },
            if cpu { "percent of the request" } else { "MiB" },
        ),
    ));
    if cpu { Resource::Cpu } else { Resource::Memory }
}

/// A metric's name as it stands in the path of an API.
fn api_metric(entry: &Entry<'_>) -> Result<String, SpecError> {
    let stands = entry.metric.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte));
    if stands {
        return Ok(entry.metric.to_owned());
    }
    Err(SpecError::Metrics(format!(
        "{}: \"{}\" cannot be a metric of a metrics API: only letters, digits and -._: can",
        entry.path, entry.metric
    )))
}

fn address(entry: &Entry<'_>, endpoint: &str) -> Result<Address, SpecError> {
    let protocol = set(entry.wire.protocol_type.as_ref());
    let port = set(entry.wire.port.as_ref()).and_then(source::parse_port);
    Address::parse(protocol, endpoint, port)
        .ok_or_else(|| SpecError::Metrics(format!("{}: {}", entry.path, rules::ENDPOINT)))
}

fn access(entry: &Entry<'_>) -> Access {
    let (tls, token) = (entry.wire.tls.as_ref(), entry.wire.bearer_token_secret.clone());
    let endpoint = set(entry.wire.endpoint.as_ref()).filter(|_| entry.source_type != Some("pod"));
    let scheme = endpoint.and_then(|endpoint| endpoint.split_once("://")).map(|(scheme, _)| scheme);
    let https = scheme.or(set(entry.wire.protocol_type.as_ref())) == Some("https");
    Access {
        https,
        ca_bundle: tls.and_then(|tls| tls.ca_bundle.clone()),
        ca_bundle_secret: tls.and_then(|tls| tls.ca_bundle_secret.clone()),
        server_name: tls.and_then(|tls| tls.server_name.clone()).filter(|name| !name.is_empty()),
        skip_verify: tls.and_then(|tls| tls.insecure_skip_verify).unwrap_or_default(),
        strict: tls.is_some() || token.is_some(),
        token,
    }
}

fn from_endpoint(entry: &Entry<'_>, endpoint: &str, warnings: &mut Vec<Warning>) -> Result<Read, SpecError> {
    let metric = metric::of(entry, warnings)?;
    note_reading(entry, &metric, warnings);
    let source = EndpointSource {
        address: address(entry, endpoint)?,
        path: source::rooted(set(entry.wire.path.as_ref()).unwrap_or("/metrics")),
        access: access(entry),
        inflight: metric::inflight_beside(&metric, entry.catalogue),
        metric,
    };
    let of_events = source.metric.is_of_events();
    if of_events && entry.wire.aggregation.as_deref() == Some("total") {
        let sentence = format!("total is ignored: the value of {} is that of one request", entry.metric);
        warnings.push(Warning::new(format!("{}.aggregation", entry.path), sentence));
    }
    let kind = if of_events { source.metric.kind } else { kind_elsewhere(entry) };
    let full_scale = source.metric.full_scale.filter(|_| of_events || per_pod(entry));
    let backlog = source.metric.backlog;
    Ok(Read { source: Source::Endpoint(source), kind, full_scale, backlog })
}

fn from_pods(entry: &Entry<'_>, warnings: &mut Vec<Warning>) -> Result<Read, SpecError> {
    if let Some(endpoint) = set(entry.wire.endpoint.as_ref()) {
        warnings.push(Warning::new(
            format!("{}.endpoint", entry.path),
            format!("\"{endpoint}\" is ignored: metricSourceType pod reads from the pods themselves"),
        ));
    }
    let metric = metric::of(entry, warnings)?;
    let access = access(entry);
    if access.https && !access.strict {
        warnings.push(Warning::new(
            format!("{}.protocolType", entry.path),
            "where a pod speaks no TLS, /metrics is read over plain http, as AIBrix does; say something in tls to \
             have https only",
        ));
    }
    note_reading(entry, &metric, warnings);
    let Metric { kind, full_scale, backlog, .. } = metric;
    let port = set(entry.wire.port.as_ref()).and_then(source::parse_port);
    let path = set(entry.wire.path.as_ref());
    let source = PodSource {
        inflight: metric::inflight_beside(&metric, entry.catalogue),
        metric,
        access,
        port: port.map_or(PortRule::Discover, PortRule::Fixed),
        path: path.map_or(PathRule::Discover, |path| PathRule::Fixed(source::rooted(path))),
    };
    Ok(Read { source: Source::Pod(source), kind, full_scale, backlog })
}

/// Says where what is read is not what AIBrix would read.
fn note_reading(entry: &Entry<'_>, metric: &Metric, warnings: &mut Vec<Warning>) {
    let name = entry.metric;
    let own_name = metric.canonical.as_deref() == Some(name);
    let counter = metric.aliases.iter().all(|alias| alias.series_type == SeriesType::Counter);
    let meant = entry.catalogue.meant_by(metric);
    let meant = meant.map(|meant| format!("; did you mean {meant}?")).unwrap_or_default();
    let ends_like_one = name.ends_with("_total") && metric.canonical.is_some() && !metric.has_histogram();
    if !own_name && (counter || ends_like_one) {
        warnings.push(Warning::new(
            &entry.path,
            format!("{name} is a counter; its rate per second is used, so the target is per second too"),
        ));
    } else if metric.canonical.is_none() && metric.has_histogram() {
        warnings.push(Warning::new(
            &entry.path,
            format!("{name} is not in the catalogue: it is read as a histogram of exactly this name{meant}"),
        ));
    } else if metric.canonical.is_none() {
        warnings.push(Warning::new(
            &entry.path,
            format!(
                "{name} is not in the catalogue: it is read under exactly this name and added up over pods \
                 (as its rate, if the pods declare a counter){meant}"
            ),
        ));
    }
}

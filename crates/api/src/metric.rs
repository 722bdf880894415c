//! What of a page is read: a metric of the catalogue, narrowed and summed up as an entry of `metricsSources` says.

use serde_json::Value;
use windlass_metrics::catalogue::SeriesType;
use windlass_metrics::{Catalogue, Engine, Kind, Metric, Selector, SelectorError, Statistic, suggest};

use crate::explain::written_statistic;
use crate::podautoscaler::MetricSource;
use crate::rules;
use crate::settings::{Origin, Setting};
use crate::signals::Entry;
use crate::validate::{SpecError, set};
use crate::warning::Warning;

/// The label by which engines tell their models apart.
const MODEL: &str = "model_name";

/// What is read from a page for `entry`.
pub(crate) fn of(entry: &Entry<'_>, warnings: &mut Vec<Warning>) -> Result<Metric, SpecError> {
    let catalogue = entry.catalogue;
    let selector = selector(entry)?;
    let mut metric = catalogue.resolve(&selector.to_string()).map_err(|error| not_a_name(entry, &error))?;
    of_engine(entry, catalogue, &mut metric, warnings)?;
    of_quantile(entry, &mut metric, warnings)?;
    Ok(metric)
}

/// What is read beside `metric` to tell whether nothing happens because nothing is asked for: the requests under way, of the
/// same engines and models. `None` where a value needs no events.
pub(crate) fn inflight_beside(metric: &Metric, catalogue: &Catalogue) -> Option<Metric> {
    if !metric.is_of_events() {
        return None;
    }
    let mut matchers = metric.name.parse::<Selector>().ok()?.matchers;
    matchers.retain(|matcher| matcher.label == MODEL);
    let name = Selector { name: "inflight".to_owned(), matchers }.to_string();
    let mut inflight = catalogue.resolve(&name).ok()?;
    let engines: Vec<&str> = metric.aliases.iter().map(|alias| alias.engine.as_str()).collect();
    if !engines.contains(&"") {
        inflight.aliases.retain(|alias| engines.contains(&alias.engine.as_str()));
    }
    Some(inflight)
}

/// What observations are summed up as; none where there are no observations.
pub(crate) fn statistic(metric: &Metric) -> Option<Statistic> {
    metric.has_histogram().then_some(metric.statistic)
}

/// What observations are summed up as, and who said so.
pub(crate) fn setting(entry: &Entry<'_>, metric: &Metric) -> Option<Setting> {
    let origin = match entry.wire.quantile {
        Some(_) => Origin::SpecField(format!("{}.quantile", entry.path).into()),
        None => Origin::Default,
    };
    let value = written_statistic(statistic(metric)?);
    Some(Setting { name: format!("statistic of {}", entry.metric), value, origin })
}

/// What tells this reading of a metric from others of the same name at the same place; empty if nothing need.
pub(crate) fn read_as(entry: &Entry<'_>, metric: &Metric) -> String {
    let statistic = statistic(metric).map(|statistic| format!(" {}", written_statistic(statistic)));
    let engine = set(entry.wire.engine.as_ref()).map(|engine| format!(" engine {engine}"));
    let selector = set(entry.wire.selector.as_ref()).map(|selector| format!(" {selector}"));
    [statistic, engine, selector].into_iter().flatten().collect()
}

/// Names the fields that say what of a page is read, where no page is.
pub(crate) fn warn_of_no_page(entry: &Entry<'_>, warnings: &mut Vec<Warning>) {
    for (field, _) in written(entry.wire).into_iter().filter(|(_, written)| *written) {
        let place = entry.source_type.unwrap_or_default();
        warnings.push(Warning::new(
            format!("{}.{field}", entry.path),
            format!(
                "is ignored: only pages of pods and of endpoints are read by it, not metricSourceType {place}"
            ),
        ));
    }
}

/// The fields that say what of a page is read, and whether they are set.
pub(crate) fn written(wire: &MetricSource) -> [(&'static str, bool); 3] {
    let is_set = |field: &Option<String>| set(field.as_ref()).is_some();
    [
        ("quantile", wire.quantile.is_some()),
        ("engine", is_set(&wire.engine)),
        ("selector", is_set(&wire.selector)),
    ]
}

fn not_a_name(entry: &Entry<'_>, error: &SelectorError) -> SpecError {
    SpecError::Metrics(format!("{}: {error}", entry.path))
}

/// The name with its matchers and those of `selector`: all of them must match.
fn selector(entry: &Entry<'_>) -> Result<Selector, SpecError> {
    let mut named: Selector = entry.metric.parse().map_err(|error| not_a_name(entry, &error))?;
    let Some(written) = set(entry.wire.selector.as_ref()) else { return Ok(named) };
    let inner = written.trim();
    let inner = inner.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')).unwrap_or(inner);
    // Only the matchers are looked at; a name is needed to read them.
    let more: Selector = format!("x{{{inner}}}").parse().map_err(|error: SelectorError| {
        let problem = error.problem.map(|problem| format!(", {problem}")).unwrap_or_default();
        let (path, rule) = (&entry.path, rules::SELECTOR);
        SpecError::Metrics(format!("{path}.selector: {rule} (found \"{written}\"{problem})"))
    })?;
    named.matchers.extend(more.matchers);
    Ok(named)
}

/// What an engine may be called.
fn names(engine: &Engine) -> impl Iterator<Item = &String> {
    std::iter::once(&engine.name).chain(&engine.labels)
}

/// Leaves only the named engine's aliases.
fn of_engine(
    entry: &Entry<'_>,
    catalogue: &Catalogue,
    metric: &mut Metric,
    warnings: &mut Vec<Warning>,
) -> Result<(), SpecError> {
    let Some(written) = set(entry.wire.engine.as_ref()) else { return Ok(()) };
    let path = format!("{}.engine", entry.path);
    let engines = catalogue.engines();
    let called = |engine: &&Engine| names(engine).any(|name| name.eq_ignore_ascii_case(written));
    let Some(engine) = engines.iter().find(called) else {
        let known = engines.iter().flat_map(names).map(String::as_str);
        let nearest = suggest::nearest(written, known, 3).join(", ");
        let rule = rules::ENGINE;
        return Err(SpecError::Metrics(format!(
            "{path}: {rule} (found \"{written}\"; nearest are {nearest})"
        )));
    };
    if metric.canonical.is_none() {
        let sentence =
            format!("is ignored: {} is not in the catalogue, so it is no engine's own", entry.metric);
        warnings.push(Warning::new(path, sentence));
        return Ok(());
    }
    metric.aliases.retain(|alias| alias.engine == engine.name);
    if metric.aliases.is_empty() {
        let why = catalogue.why_lacking(metric, &engine.name).unwrap_or_default();
        return Err(SpecError::Metrics(format!("{path}: {}: {why}", metric.name)));
    }
    Ok(())
}

/// Sums observations up as this quantile. A name that the catalogue does not know is a histogram then.
fn of_quantile(entry: &Entry<'_>, metric: &mut Metric, warnings: &mut Vec<Warning>) -> Result<(), SpecError> {
    let Some(written) = &entry.wire.quantile else { return Ok(()) };
    let path = format!("{}.quantile", entry.path);
    let q = match written {
        Value::Number(number) => number.as_f64(),
        Value::String(text) if text.trim().is_empty() => return Ok(()),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    let Some(q) = q.filter(|q: &f64| *q > 0.0 && *q <= 1.0) else {
        return Err(SpecError::Metrics(format!("{path}: {} (found {written})", rules::QUANTILE)));
    };
    if metric.canonical.is_none() {
        metric.kind = Kind::Latency;
        metric.signed = false;
        for alias in &mut metric.aliases {
            alias.series_type = SeriesType::Histogram;
        }
    }
    if metric.has_histogram() {
        metric.statistic = Statistic::Quantile(q);
    } else {
        let sentence = format!("is ignored: {} is no histogram, so it has no quantiles", entry.metric);
        warnings.push(Warning::new(path, sentence));
    }
    Ok(())
}

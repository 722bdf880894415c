//! What can be told of one engine's page: the engine, every metric's value and where it is read, what is missing and why,
//! and what the page costs. For people; the controller's own polls are in `poller.rs`.

mod table;

use std::time::Duration;

use tokio::time::Instant;
use windlass_metrics::catalogue::SeriesType;
use windlass_metrics::suggest::sample_names;
use windlass_metrics::{
    Catalogue, Detected, Format, Histogram, Meter, Metric, PageError, Reading, Readings, Sample, Statistic,
    Wanted,
};

use crate::client::{Answer, Client, PAGES, Request};
use crate::percent::percent_encoded;
use crate::{Endpoint, ScrapeError, deadline};

/// What is asked, and what is known beforehand.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// By which names are known.
    pub catalogue: &'a Catalogue,
    /// What is looked for.
    pub metrics: &'a [Metric],
    /// The pod's labels that may name the engine, as (key, value).
    pub labels: &'a [(String, String)],
    /// What is known of the version from elsewhere: the image's tag.
    pub version: Option<&'a str>,
}

/// What one page, or two, told.
#[derive(Debug, Clone, PartialEq)]
pub struct Survey {
    /// What the engine is called; none: neither labels nor names tell.
    pub engine: Option<String>,
    /// The engine by the catalogue, what told it, its generation and the series used.
    pub detected: Option<Detected>,
    /// Of the image.
    pub version: Option<String>,
    /// What was asked and answered, in order.
    pub costs: Vec<Cost>,
    /// One for each metric.
    pub rows: Vec<Row>,
    /// All metrics of the catalogue were asked for.
    pub whole_catalogue: bool,
    /// The names on the page, sorted.
    pub names: Vec<String>,
}

impl Survey {
    /// Whether the page has all that was asked for.
    pub fn is_complete(&self) -> bool {
        !self.rows.iter().any(|row| matches!(row.value, Value::Missing(_)))
    }
}

/// What one request cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Cost {
    /// Which.
    pub what: String,
    /// Of the answer.
    pub bytes: usize,
    /// From asking to the last byte; none: nobody was asked.
    pub took: Option<Duration>,
}

/// One metric of the page.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// As it was asked for.
    pub metric: String,
    /// Of the value.
    pub unit: String,
    /// What it is at present.
    pub value: Value,
    /// Where it was read, and what was done with it.
    pub read_from: Option<String>,
}

/// What a metric is at present.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number, and what it is: `rate`, `mean`, `p95`; empty for a plain value.
    Number(f64, String),
    /// It is on the page, but there is no number yet, for this reason.
    Unknown(String),
    /// It is not on the page, for this reason.
    Missing(String),
}

/// A page as it came.
struct Taken {
    bytes: Vec<u8>,
    format: Format,
    received: Instant,
    took: Duration,
}

/// Looks at a page that is at hand. Rates are not known from one page; of histograms it is told what they have counted since
/// the engine started.
pub fn survey_page(
    question: Question<'_>,
    page: &[u8],
    format: Format,
    name: &str,
) -> Result<Survey, PageError> {
    let mut readings = Readings::default();
    let detected = question.detect((page, format));
    question.wanted(detected.as_ref()).read(page, format, &mut readings)?;
    let value = |metric: &Metric, reading: &Reading| alone(metric, reading);
    let costs = vec![Cost { what: name.to_owned(), bytes: page.len(), took: None }];
    Ok(question.answer((page, format), detected, &readings, costs, value))
}

/// Reads a page twice, `apart` from each other, and once by the names that were needed.
pub async fn survey_endpoint(
    question: Question<'_>,
    endpoint: &Endpoint,
    apart: Duration,
) -> Result<Survey, ScrapeError> {
    let mut client = Client::default();
    let (mut before, mut readings) = (Readings::default(), Readings::default());
    let first = take(&mut client, endpoint, "").await?;
    let detected = question.detect((&first.bytes, first.format));
    let wanted = question.wanted(detected.as_ref());
    let read = |page: &Taken, readings: &mut Readings| {
        let read = wanted.read(&page.bytes, page.format, readings);
        read.map_err(|error| ScrapeError::of_page(error, &page.bytes))
    };
    read(&first, &mut before)?;
    tokio::time::sleep(apart).await;
    let second = take(&mut client, endpoint, "").await?;
    read(&second, &mut readings)?;
    let scheme = if endpoint.access.is_some() { "https" } else { "http" };
    let what = format!("{scheme}://{}{}", endpoint.host, endpoint.path);
    let page = Cost { what, bytes: second.bytes.len(), took: Some(second.took) };
    let by_name = by_name(&mut client, endpoint, &wanted, (&second, &readings)).await;
    let elapsed = second.received - first.received;
    let value = |metric: &Metric, reading: &Reading| {
        let index = question.metrics.iter().position(|known| std::ptr::eq(known, metric));
        let before = index.and_then(|index| before.get(index)?.as_ref());
        before.map_or_else(|| alone(metric, reading), |before| between(metric, before, reading, elapsed))
    };
    let costs = std::iter::once(page).chain(by_name).collect();
    Ok(question.answer((&second.bytes, second.format), detected, &readings, costs, value))
}

async fn take(client: &mut Client, endpoint: &Endpoint, query: &str) -> Result<Taken, ScrapeError> {
    let limit = deadline(Duration::from_mins(1));
    let asked = Instant::now();
    let fetch = client.fetch(endpoint, Request { query, accept: PAGES });
    let answer = tokio::time::timeout(limit, fetch).await.unwrap_or(Err(ScrapeError::Deadline(limit)));
    let Answer { bytes, format, .. } = answer.and_then(Answer::page)?;
    Ok(Taken { bytes: bytes.to_vec(), format, received: Instant::now(), took: asked.elapsed() })
}

/// What asking by name for all that was found costs, and whether it brings the same.
async fn by_name(
    client: &mut Client,
    endpoint: &Endpoint,
    wanted: &Wanted,
    (page, readings): (&Taken, &[Option<Reading>]),
) -> Option<Cost> {
    let names = wanted.sample_names_found(readings);
    if names.is_empty() {
        return None;
    }
    let query: Vec<String> =
        names.iter().map(|name| format!("name%5B%5D={}", percent_encoded(name))).collect();
    let what = format!("by name ({} names)", names.len());
    Some(match take(client, endpoint, &query.join("&")).await {
        Ok(taken) => {
            let mut again = Readings::default();
            let read = wanted.read(&taken.bytes, taken.format, &mut again).is_ok();
            let alias = |reading: &Option<Reading>| reading.as_ref().map(|reading| reading.alias);
            let same = read && again.iter().map(alias).eq(readings.iter().map(alias));
            // As the controller judges it.
            let whole = taken.bytes.len() * 10 >= page.bytes.len() * 9;
            let verdict = match (same, whole) {
                (true, true) => "brings no less, so whole pages are read",
                (true, false) => "brings the same",
                (false, _) => "brings less and is not used",
            };
            Cost { what: format!("{what} {verdict}"), bytes: taken.bytes.len(), took: Some(taken.took) }
        }
        Err(error) => Cost { what: format!("{what} is not answered ({error})"), bytes: 0, took: None },
    })
}

impl Question<'_> {
    fn detect(self, page: (&[u8], Format)) -> Option<Detected> {
        let label = |key: &str| {
            let found = self.labels.iter().find(|(known, _)| known == key);
            found.map(|(_, value)| value.as_str())
        };
        self.catalogue.detect(label, page)
    }

    fn wanted(self, detected: Option<&Detected>) -> Wanted {
        match detected {
            Some(detected) => Wanted::preferring(self.metrics, &detected.engine),
            None => Wanted::new(self.metrics),
        }
    }

    fn answer(
        self,
        page: (&[u8], Format),
        detected: Option<Detected>,
        readings: &Readings,
        costs: Vec<Cost>,
        value: impl Fn(&Metric, &Reading) -> Value,
    ) -> Survey {
        let detected = detected.map(|detected| detected.with_aliases(self.metrics, readings));
        let engine = detected.as_ref().and_then(|detected| self.catalogue.engine(&detected.engine));
        let wanted = self.wanted(detected.as_ref());
        let why_missing = |at: usize, metric: &Metric| {
            let absent = readings.on_page().get(at).is_some_and(Option::is_none);
            let engine = detected.as_ref().filter(|_| absent);
            let lacks = engine.and_then(|known| self.catalogue.why_lacking(metric, &known.engine));
            let why = lacks.or_else(|| wanted.missing(page.0, page.1, at)).unwrap_or_default();
            let meant = self.catalogue.meant_by(metric);
            meant.map_or(why.clone(), |meant| format!("{why}; did you mean {meant}, of the catalogue?"))
        };
        let rows = self.metrics.iter().zip(readings.iter()).enumerate().map(|(at, (metric, reading))| {
            let alias = reading.as_ref().and_then(|reading| metric.aliases.get(reading.alias));
            Row {
                metric: metric.name.clone(),
                unit: metric.unit.clone(),
                value: reading.as_ref().map_or_else(
                    || Value::Missing(why_missing(at, metric)),
                    |reading| value(metric, reading),
                ),
                read_from: alias.map(|alias| metric.expression(alias)),
            }
        });
        Survey {
            engine: engine.map(|engine| engine.title.clone()),
            version: self.version.map(str::to_owned),
            costs,
            rows: rows.collect(),
            whole_catalogue: self.metrics.len() == self.catalogue.metrics().len(),
            names: sample_names(page.0).into_iter().map(str::to_owned).collect(),
            detected,
        }
    }
}

/// What one reading says.
fn alone(metric: &Metric, reading: &Reading) -> Value {
    match &reading.sample {
        Sample::Gauge(value) => Value::Number(*value, String::new()),
        Sample::Counter(count) => {
            let scale = metric.aliases.get(reading.alias).map_or(1.0, |alias| alias.scale);
            let counted = table::shown(count / scale);
            Value::Unknown(format!("a rate, known from two pages; {counted} counted so far"))
        }
        Sample::Ratio { .. } => Value::Unknown("a ratio of rates, known from two pages".to_owned()),
        Sample::Histogram(histogram) => match histogram.statistic(metric.statistic) {
            Some(value) => {
                Value::Number(value, format!("{} since it started", statistic_of(metric, histogram)))
            }
            None => Value::Unknown("nothing was observed yet".to_owned()),
        },
    }
}

/// What two readings say, so much time apart.
fn between(metric: &Metric, before: &Reading, reading: &Reading, elapsed: Duration) -> Value {
    if let (Sample::Histogram(earlier), Sample::Histogram(later)) = (&before.sample, &reading.sample) {
        let seen = later.since(earlier).ok().flatten();
        let observed =
            seen.and_then(|seen| Some((seen.statistic(metric.statistic)?, statistic_of(metric, &seen))));
        return observed.map_or_else(|| alone(metric, reading), |(value, what)| Value::Number(value, what));
    }
    let mut meter = Meter::default();
    meter.push(before, Duration::ZERO);
    let gauge = matches!(reading.sample, Sample::Gauge(_));
    match meter.push(reading, elapsed) {
        Some(value) if gauge => Value::Number(value, String::new()),
        Some(value) => Value::Number(value, "rate".to_owned()),
        None => Value::Unknown("nothing was counted between the two pages".to_owned()),
    }
}

/// What a number of a histogram is; a quantile is at most the last finite bound, however long what was observed took.
fn statistic_of(metric: &Metric, histogram: &Histogram) -> String {
    let beyond = match metric.statistic {
        Statistic::Quantile(q) if histogram.is_beyond_bounds(q) => {
            " (at least: beyond the last bucket's bound)"
        }
        _ => "",
    };
    format!("{}{beyond}", named(metric.statistic))
}

fn named(statistic: Statistic) -> String {
    match statistic {
        Statistic::Mean => "mean".to_owned(),
        Statistic::Quantile(q) => format!("p{}", q * 100.0),
    }
}

/// What a name stands for, in a few lines: what it is read as, and from which series of which engine. Only those of
/// `engine`, if one is named.
pub fn meaning(metric: &Metric, engine: Option<&str>) -> String {
    let what = match metric.canonical.as_deref() {
        Some(canonical) if canonical == metric.name => "a metric of the catalogue".to_owned(),
        Some(canonical) => format!("the catalogue's {canonical}"),
        None => "not in the catalogue: a series of exactly this name".to_owned(),
    };
    let histogram = metric.aliases.iter().any(|alias| alias.series_type == SeriesType::Histogram);
    let statistic =
        if histogram { format!(", {} of a histogram", named(metric.statistic)) } else { String::new() };
    let unit = if metric.unit.is_empty() { String::new() } else { format!(", in {}", metric.unit) };
    let kind = format!("{:?}", metric.kind).to_lowercase();
    let mut lines = vec![format!("{}: {what}; {kind}{unit}{statistic}", metric.name)];
    let of_engine = |name: &str| name.is_empty() || engine.is_none_or(|engine| name == engine);
    lines.extend(metric.aliases.iter().filter(|alias| of_engine(&alias.engine)).map(|alias| {
        let engine = if alias.engine.is_empty() { "any" } else { &alias.engine };
        format!("  {engine:<14} {}", metric.expression(alias))
    }));
    lines.push(String::new());
    lines.join("\n")
}

#[cfg(test)]
mod tests;

//! What Prometheus' own parsers make of pages, good and bad.

#![allow(clippy::expect_used, reason = "test helpers")]

mod digest;
mod prometheus;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use windlass_metrics::exposition::{
    Entry, Format, Labels, MetricType, Names, ParseError, Selected, parse, select,
};

/// Cases in which this parser differs from Prometheus' on purpose: name and reason. There are none.
const DEVIATIONS: &[(&str, &str)] = &[];

type LabelMap = BTreeMap<String, String>;

/// Name, labels, value, timestamp in milliseconds.
type ExpectedSample = (String, LabelMap, Number, Option<i64>);

#[derive(Deserialize, Debug, Clone)]
#[serde(untagged)]
enum Number {
    Finite(f64),
    Other(String),
}

impl Number {
    fn value(&self) -> f64 {
        match self {
            Self::Finite(value) => *value,
            Self::Other(text) => match text.as_str() {
                "NaN" => f64::NAN,
                "+Inf" => f64::INFINITY,
                "-Inf" => f64::NEG_INFINITY,
                _ => panic!("{text} is no number"),
            },
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    config: Config,
    input: Option<String>,
    input_b64: Option<String>,
    input_parts: Option<Vec<Part>>,
    expect: Expect,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    format: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Part {
    Once(String),
    Repeated(String, usize),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    ok: bool,
    /// The verdict of another parser; `ok` is the one to follow.
    #[serde(rename = "strict_parser_ok")]
    _strict_parser_ok: Option<bool>,
    samples: Option<Vec<ExpectedSample>>,
    samples_before_error: Option<usize>,
    #[serde(default)]
    types: BTreeMap<String, String>,
    #[serde(default)]
    units: BTreeMap<String, String>,
    #[serde(default)]
    help: BTreeMap<String, String>,
    #[serde(default)]
    exemplars: BTreeMap<usize, Exemplar>,
    #[serde(default)]
    duplicate_label_names: bool,
    sample_count: Option<usize>,
    first_value: Option<Number>,
    label_value_bytes: Option<usize>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Exemplar {
    Timed(LabelMap, Number, i64),
    Untimed(LabelMap, Number),
}

/// A page, owned, as the cases describe it.
#[derive(Default)]
struct Page {
    samples: Vec<(String, LabelMap, f64, Option<i64>)>,
    exemplars: BTreeMap<usize, (LabelMap, f64, Option<i64>)>,
    types: BTreeMap<String, String>,
    units: BTreeMap<String, String>,
    help: BTreeMap<String, String>,
    duplicate_label_names: bool,
    error: Option<ParseError>,
}

impl Page {
    fn read(bytes: &[u8], format: Format) -> Self {
        let mut page = Self::default();
        for entry in parse(bytes, format) {
            match entry {
                Err(error) => page.error = Some(error),
                Ok(Entry::Help(name, text)) => {
                    page.help.insert(name.to_str().into(), text.to_str().into());
                }
                Ok(Entry::Unit(name, unit)) => {
                    page.units.insert(name.to_str().into(), unit.to_str().into());
                }
                Ok(Entry::Type(name, found)) => {
                    page.types.insert(name.to_str().into(), type_name(found).to_owned());
                }
                Ok(Entry::Sample(sample)) => {
                    let labels = page.labels(sample.labels);
                    if let Some(exemplar) = sample.exemplar {
                        let labels = page.labels(exemplar.labels);
                        page.exemplars
                            .insert(page.samples.len(), (labels, exemplar.value, exemplar.timestamp_ms));
                    }
                    page.samples.push((
                        sample.name.to_str().into(),
                        labels,
                        sample.value,
                        sample.timestamp_ms,
                    ));
                }
            }
        }
        page
    }

    fn labels(&mut self, labels: Labels<'_>) -> LabelMap {
        let map: LabelMap =
            labels.iter().map(|(name, value)| (name.to_str().into(), value.to_str().into())).collect();
        self.duplicate_label_names |= map.len() < labels.iter().count();
        map
    }
}

fn type_name(found: MetricType) -> &'static str {
    match found {
        MetricType::Counter => "counter",
        MetricType::Gauge => "gauge",
        MetricType::Histogram => "histogram",
        MetricType::GaugeHistogram => "gaugehistogram",
        MetricType::Summary => "summary",
        MetricType::Info => "info",
        MetricType::StateSet => "stateset",
        MetricType::Unknown => "unknown",
    }
}

/// The source writes NaN as text, so NaN equals NaN; everything else is bit-exact.
fn same(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

/// The source re-writes bucket bounds and quantiles as floats: there, numbers are compared.
fn same_labels(got: &LabelMap, expected: &LabelMap) -> bool {
    let same_value = |name: &str, got: &str, expected: &str| {
        got == expected
            || matches!(name, "le" | "quantile")
                && matches!((got.parse::<f64>(), expected.parse::<f64>()), (Ok(a), Ok(b)) if a == b || same(a, b))
    };
    let zipped = got.iter().zip(expected);
    got.len() == expected.len()
        && zipped.into_iter().all(|((gn, gv), (en, ev))| gn == en && same_value(gn, gv, ev))
}

fn check_case(case: &Case) -> Result<(), String> {
    let format = match case.config.format.as_str() {
        "text" => Format::Text,
        "openmetrics" => Format::OpenMetrics,
        other => panic!("unknown format {other}"),
    };
    let bytes = case_bytes(case);
    let page = Page::read(&bytes, format);
    let expect = &case.expect;
    let fail = |what: String| Err(what);
    if page.error.is_none() != expect.ok {
        return fail(format!("ok should be {}, error {:?}", expect.ok, page.error));
    }
    if !expect.ok {
        let before = expect.samples_before_error.expect("samples_before_error");
        let same = before == page.samples.len();
        return if same { Ok(()) } else { fail(format!("{} samples before the error", page.samples.len())) };
    }
    if let Some(samples) = &expect.samples {
        let equal = samples.len() == page.samples.len()
            && samples.iter().zip(&page.samples).all(|((name, labels, value, at), got)| {
                *name == got.0 && same_labels(&got.1, labels) && same(value.value(), got.2) && *at == got.3
            });
        if !equal {
            return fail(format!("samples {:?}", page.samples));
        }
    } else {
        let bytes: usize = page.samples.iter().flat_map(|sample| sample.1.values()).map(String::len).sum();
        let first = expect.first_value.as_ref().expect("first_value").value();
        if expect.sample_count != Some(page.samples.len())
            || expect.label_value_bytes != Some(bytes)
            || !page.samples.first().is_some_and(|sample| same(sample.2, first))
        {
            return fail(format!("{} samples, {bytes} bytes of label values", page.samples.len()));
        }
    }
    let exemplars_equal = expect.exemplars.len() == page.exemplars.len()
        && expect.exemplars.iter().zip(&page.exemplars).all(|((index, expected), (got_index, got))| {
            let (labels, value, at) = match expected {
                Exemplar::Timed(labels, value, at) => (labels, value, Some(*at)),
                Exemplar::Untimed(labels, value) => (labels, value, None),
            };
            index == got_index && same_labels(&got.0, labels) && same(value.value(), got.1) && at == got.2
        });
    if !exemplars_equal {
        return fail(format!("exemplars {:?}", page.exemplars));
    }
    if expect.types != page.types || expect.units != page.units || expect.help != page.help {
        return fail(format!("metadata {:?} {:?} {:?}", page.types, page.units, page.help));
    }
    if expect.duplicate_label_names != page.duplicate_label_names {
        return fail(format!("duplicate label names: {}", page.duplicate_label_names));
    }
    check_filtered(&bytes, format, &page)
}

/// The filtered mode sees what the full one sees, on every page that ends properly.
fn check_filtered(bytes: &[u8], format: Format, page: &Page) -> Result<(), String> {
    if format == Format::Text && !bytes.is_empty() && !bytes.ends_with(b"\n") {
        let refused = select(bytes, format, &Names::new(["m"]), |_| {}).is_err();
        return if refused {
            Ok(())
        } else {
            Err("the filtered mode accepts an unterminated page".to_owned())
        };
    }
    let plain: HashSet<&str> = page
        .samples
        .iter()
        .map(|s| s.0.as_str())
        .filter(|n| !n.starts_with([' ', '\t']) && !n.is_empty())
        .collect();
    let names = Names::new(plain.iter().copied());
    let mut got = Vec::new();
    let outcome = select(bytes, format, &names, |found| {
        if let Selected::Sample { name, sample } = found {
            got.push((names.as_slice()[name].to_string(), sample.value.to_bits(), sample.timestamp_ms));
        }
    });
    let wanted = page.samples.iter().filter(|sample| plain.contains(sample.0.as_str()));
    let expected: Vec<_> = wanted.map(|s| (s.0.clone(), s.2.to_bits(), s.3)).collect();
    if outcome.is_ok() && got == expected { Ok(()) } else { Err(format!("filtered: {outcome:?} {got:?}")) }
}

fn case_bytes(case: &Case) -> Vec<u8> {
    match (&case.input, &case.input_b64, &case.input_parts) {
        (Some(text), None, None) => text.clone().into_bytes(),
        (None, Some(encoded), None) => BASE64_STANDARD.decode(encoded).expect("base64"),
        (None, None, Some(parts)) => parts
            .iter()
            .map(|part| match part {
                Part::Once(text) => text.clone(),
                Part::Repeated(text, times) => text.repeat(*times),
            })
            .collect::<String>()
            .into_bytes(),
        _ => panic!("{}: exactly one input", case.name),
    }
}

#[test]
fn prom_exposition() {
    windlass_conformance::check("prom_exposition.json", |case: &Case| {
        let deviation = DEVIATIONS.iter().any(|(name, _)| *name == case.name);
        match (check_case(case), deviation) {
            (Ok(()), true) => Err("listed as a deviation, but is none".to_owned()),
            (Err(difference), false) => Err(format!("{}: {difference}", case.name)),
            _ => Ok(1),
        }
    });
}

#[test]
fn realistic_pages() {
    let Some(folder) = windlass_conformance::path("exposition") else { return };
    let entries = fs::read_dir(folder).expect("exposition");
    let mut digests: Vec<PathBuf> = entries.map(|entry| entry.expect("entry").path()).collect();
    digests.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    digests.sort();
    let outcomes = digests.iter().map(|path| match digest::check_digest(path) {
        Ok(()) => Ok(1),
        Err(difference) => Err(format!("{}: {difference}", path.display())),
    });
    windlass_conformance::report("exposition/", outcomes);
}

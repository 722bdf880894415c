//! Rates and quantiles as Prometheus' own query engine has them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use windlass_metrics::histogram::bucket_quantile;
use windlass_metrics::promql;

use super::Number;

/// Prometheus keeps whole milliseconds.
fn time(seconds: f64) -> Duration {
    Duration::from_millis((seconds * 1000.0).round() as u64)
}

/// Integers exact, floats 1e-9, relative above 1.
fn same(got: Option<f64>, expected: Option<f64>) -> bool {
    match (got, expected) {
        (Some(got), Some(expected)) => {
            got == expected
                || (got.is_nan() && expected.is_nan())
                || (got - expected).abs() <= 1e-9 * expected.abs().max(1.0)
        }
        (got, expected) => got.is_none() && expected.is_none(),
    }
}

fn differs(what: &str, got: Option<f64>, expected: Option<&Number>) -> Result<(), String> {
    let expected = expected.map(Number::value);
    if same(got, expected) { Ok(()) } else { Err(format!("{what}: {got:?}, expected {expected:?}")) }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RateCase {
    #[serde(rename = "name")]
    _name: String,
    #[serde(rename = "note", default)]
    _note: Option<String>,
    config: RateWindow,
    input: Series,
    expect: RateExpect,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RateWindow {
    window_s: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Series {
    at: f64,
    samples: Vec<(f64, Number)>,
}

/// What Windlass has no use for is passed over: gauge differences and means over time.
#[derive(Deserialize)]
struct RateExpect {
    rate: Option<Number>,
    increase: Option<Number>,
    resets: Option<Number>,
}

#[test]
fn prom_rate() {
    windlass_conformance::check("prom_rate.json", |case: &RateCase| {
        let samples: Vec<_> =
            case.input.samples.iter().map(|(at, value)| (time(*at), value.value())).collect();
        let (at, window) = (time(case.input.at), Duration::from_secs(case.config.window_s));
        let resets = promql::resets(&samples, at, window).map(|count| count as f64);
        differs("rate", promql::rate(&samples, at, window), case.expect.rate.as_ref())?;
        differs("increase", promql::increase(&samples, at, window), case.expect.increase.as_ref())?;
        differs("resets", resets, case.expect.resets.as_ref())?;
        Ok(1)
    });
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QuantileCase {
    #[serde(rename = "name")]
    _name: String,
    #[serde(rename = "note", default)]
    _note: Option<String>,
    config: Quantile,
    input: Vec<(Number, Number)>,
    expect: QuantileExpect,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Quantile {
    q: Number,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QuantileExpect {
    quantile: Number,
    forced_monotonic: bool,
    fixed_precision: bool,
}

#[test]
fn prom_histogram_quantile() {
    windlass_conformance::check("prom_histogram_quantile.json", |case: &QuantileCase| {
        let mut buckets = case.input.iter().map(|(bound, count)| (bound.value(), count.value())).collect();
        let got = bucket_quantile(case.config.q.value(), &mut buckets);
        differs("quantile", Some(got.quantile), Some(&case.expect.quantile))?;
        let mended = (got.forced_monotonic, got.fixed_precision);
        let expected = (case.expect.forced_monotonic, case.expect.fixed_precision);
        if mended == expected { Ok(1) } else { Err(format!("mended {mended:?}, expected {expected:?}")) }
    });
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HistogramRateCase {
    #[serde(rename = "name")]
    _name: String,
    #[serde(rename = "note", default)]
    _note: Option<String>,
    config: HistogramWindow,
    input: Rows,
    /// `rate_q0.5`, `total_q0.99` and so on.
    expect: BTreeMap<String, Option<Number>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HistogramWindow {
    window_s: u64,
    upper_bounds: Vec<Number>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rows {
    at: f64,
    rows: Vec<Vec<Number>>,
}

/// Quantiles over rates of buckets, composed of the two functions.
#[test]
fn prom_histogram_rate() {
    windlass_conformance::check("prom_histogram_rate.json", |case: &HistogramRateCase| {
        let (at, window) = (time(case.input.at), Duration::from_secs(case.config.window_s));
        let bounds = case.config.upper_bounds.iter().map(Number::value);
        let series = |bucket: usize| -> Vec<_> {
            let rows = case.input.rows.iter().map(|row| (time(row[0].value()), row[bucket + 1].value()));
            rows.filter(|(_, count)| !count.is_nan()).collect()
        };
        let rates: Vec<_> = bounds
            .enumerate()
            .filter_map(|(bucket, bound)| Some((bound, promql::rate(&series(bucket), at, window)?)))
            .collect();
        for (name, expected) in &case.expect {
            let Some(q) = name.strip_prefix("rate_q") else { continue };
            let q = q.parse().map_err(|_| format!("{name} names no quantile"))?;
            let got = (!rates.is_empty()).then(|| bucket_quantile(q, &mut rates.clone()).quantile);
            differs(name, got, expected.as_ref())?;
        }
        Ok(1)
    });
}

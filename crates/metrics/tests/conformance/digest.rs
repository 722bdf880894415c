//! The realistic pages and their digests.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use windlass_metrics::exposition::Format;

use super::{LabelMap, Number, Page, check_filtered, same, same_labels};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Digest {
    about: DigestAbout,
    bytes: usize,
    checks: Vec<(usize, String, LabelMap, Number, Option<i64>)>,
    samples: usize,
    series: BTreeMap<String, SeriesDigest>,
    types: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DigestAbout {
    content_type: String,
    #[serde(rename = "produced_by")]
    _produced_by: String,
    #[serde(rename = "semantics")]
    _semantics: String,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct SeriesDigest {
    samples: usize,
    sum: f64,
    #[serde(default)]
    nan: usize,
    #[serde(default)]
    inf: usize,
}

pub(super) fn check_digest(path: &Path) -> Result<(), String> {
    let digest: Digest = serde_json::from_slice(&fs::read(path).expect("digest")).expect("digest");
    let bytes = fs::read(path.with_extension("prom")).expect("page");
    let format = Format::from_content_type(&digest.about.content_type);
    let page = Page::read(&bytes, format);
    if let Some(error) = &page.error {
        return Err(error.to_string());
    }
    let mut series: BTreeMap<&str, SeriesDigest> = BTreeMap::new();
    for (name, _, value, _) in &page.samples {
        let empty = SeriesDigest { samples: 0, sum: 0.0, nan: 0, inf: 0 };
        let entry = series.entry(name).or_insert(empty);
        entry.samples += 1;
        entry.nan += usize::from(value.is_nan());
        entry.inf += usize::from(value.is_infinite());
        entry.sum += if value.is_finite() { *value } else { 0.0 };
    }
    let series_equal = series.len() == digest.series.len()
        && series.iter().zip(&digest.series).all(|((name, got), (expected_name, expected))| {
            let close = (got.sum - expected.sum).abs() <= 1e-9 * expected.sum.abs().max(1.0);
            let counts = |digest: &SeriesDigest| (digest.samples, digest.nan, digest.inf);
            *name == expected_name && counts(got) == counts(expected) && close
        });
    if bytes.len() != digest.bytes || page.samples.len() != digest.samples || !series_equal {
        return Err(format!("{} samples, series {series:?}", page.samples.len()));
    }
    if page.types != digest.types {
        return Err(format!("types {:?}", page.types));
    }
    for (index, name, labels, value, at) in &digest.checks {
        let got = &page.samples[*index];
        if *name != got.0 || !same_labels(&got.1, labels) || !same(value.value(), got.2) || *at != got.3 {
            return Err(format!("sample {index} is {got:?}"));
        }
    }
    check_filtered(&bytes, format, &page)
}

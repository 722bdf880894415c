//! The samples of a page, as the parser and the filter see them: for whoever compares the two.

use windlass_metrics::exposition::{Entry, Names, Sample as Line, Selected, parse, select};
use windlass_metrics::{Format, PageError};

/// Name, labels, value bits, timestamp.
pub(crate) type Seen = (String, Vec<(String, String)>, u64, Option<i64>);

fn owned(sample: &Line<'_>) -> Seen {
    let labels = sample.labels.iter().map(|(name, value)| (name.to_str().into(), value.to_str().into()));
    (sample.name.to_str().into(), labels.collect(), sample.value.to_bits(), sample.timestamp_ms)
}

/// All samples, or `None` if the page is rejected.
pub(crate) fn full(page: &[u8], format: Format) -> Option<Vec<Seen>> {
    let mut seen = Vec::new();
    for entry in parse(page, format) {
        match entry.ok()? {
            Entry::Sample(sample) => {
                if let Some(exemplar) = sample.exemplar {
                    _ = exemplar.labels.iter().count();
                }
                seen.push(owned(&sample));
            }
            Entry::Help(name, text) | Entry::Unit(name, text) => _ = (name.to_str(), text.to_str()),
            Entry::Type(name, _) => _ = name.to_str(),
        }
    }
    Some(seen)
}

pub(crate) fn filtered(page: &[u8], format: Format, names: &Names) -> Result<Vec<Seen>, PageError> {
    let mut seen = Vec::new();
    select(page, format, names, |found| {
        if let Selected::Sample { name, sample } = found {
            assert_eq!(sample.name.to_str(), &*names.as_slice()[name]);
            seen.push(owned(&sample));
        }
    })?;
    Ok(seen)
}

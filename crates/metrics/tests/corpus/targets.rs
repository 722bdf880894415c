//! What must hold of any bytes at all. Checked on the committed corpus by `cargo test --test corpus`, and by libFuzzer
//! (`make fuzz`), which is built from this very file.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::LazyLock;
use std::time::Duration;

use windlass_metrics::exposition::{Entry, Names, parse};
use windlass_metrics::{
    Catalogue, Format, Histogram, HistogramWindow, Meter, Metric, PageError, Reading, Readings, Sample,
    Selector, Statistic, Wanted,
};

#[path = "samples.rs"]
mod samples;

use samples::{filtered, full};

/// A check, with the name of its folder in the corpus.
type Target = (&'static str, fn(&[u8]));

pub(crate) const TARGETS: [Target; 4] = [
    ("exposition", exposition),
    ("readings", readings),
    ("selectors", selectors),
    ("catalogues", catalogues),
];

/// Between two pages of one input.
const NEXT: u8 = 0xff;

/// On a page that the parser accepts, the filter sees the same samples; it refuses one that has no proper end.
fn modes_agree(page: &[u8], format: Format) {
    let some = Names::new(["m", "n_total", "vllm:num_requests_running", "a.b"]);
    let seen = filtered(page, format, &some);
    let Some(all) = full(page, format) else { return };
    // Blanks belong to a name before which they stand; such names cannot be asked for.
    let plain = |name: &&String| !name.is_empty() && !name.starts_with([' ', '\t']);
    let names: BTreeSet<String> = all.iter().map(|sample| &sample.0).filter(plain).cloned().collect();
    let [even, odd] = [0, 1].map(|first| names.iter().skip(first).step_by(2).map(String::as_str));
    let end = page.iter().rposition(|byte| !matches!(byte, b' ' | b'\t'));
    let ended = format == Format::OpenMetrics || end.is_none_or(|last| page[last] == b'\n');
    let outcomes = [Names::new(even), Names::new(odd)].map(|names| (filtered(page, format, &names), names));
    for (got, names) in outcomes.into_iter().chain([(seen, some)]) {
        let of_names = all.iter().filter(|sample| names.index(&sample.0).is_some());
        match got {
            Ok(got) => assert!(ended && got.iter().eq(of_names), "{got:?}"),
            Err(error) => assert!(!ended && matches!(error, PageError::Cut { .. }), "{error}"),
        }
    }
}

/// The bytes are a page of either format.
fn exposition(data: &[u8]) {
    modes_agree(data, Format::Text);
    modes_agree(data, Format::OpenMetrics);
    modes_agree(&[data, b"\n# EOF\n"].concat(), Format::OpenMetrics);
}

/// A finite number, not negative unless the metric can be.
fn assert_usable(value: f64, signed: bool, what: &str) {
    assert!(value.is_finite() && (signed || value >= 0.0), "{what} is {value}");
}

fn assert_reading(metric: &Metric, reading: &Reading) {
    assert!(reading.alias < metric.aliases.len());
    match &reading.sample {
        Sample::Gauge(value) => assert_usable(*value, metric.signed, &metric.name),
        Sample::Counter(count) => assert_usable(*count, false, &metric.name),
        Sample::Ratio { part, whole } => {
            assert_usable(*part, false, &metric.name);
            assert_usable(*whole, false, &metric.name);
        }
        Sample::Histogram(histogram) => assert_histogram(histogram),
    }
}

fn assert_histogram(histogram: &Histogram) {
    let buckets = histogram.buckets();
    assert!(buckets.len() > 1 && buckets.is_sorted_by(|a, b| a.0 < b.0), "{buckets:?}");
    assert!(buckets.iter().all(|(_, count)| count.is_finite() && *count >= 0.0), "{buckets:?}");
    assert_statistics(histogram);
}

fn assert_statistics(histogram: &Histogram) {
    for statistic in
        [Statistic::Mean, Statistic::Quantile(0.0), Statistic::Quantile(0.5), Statistic::Quantile(1.0)]
    {
        if let Some(value) = histogram.statistic(statistic) {
            assert_usable(value, true, &format!("{statistic:?} of {histogram:?}"));
        }
    }
}

/// All rows of the catalogue, some engines' own names, and some that nobody knows.
static METRICS: LazyLock<Vec<Metric>> = LazyLock::new(|| {
    let own =
        ["vllm:x", "vllm:prompt_tokens", "m", "n_total", "m{a!=\"b\",le=~\"\"}", "ttft{model_name=\"a\"}"];
    let rows = Catalogue::builtin().metrics().iter().map(|metric| metric.name.as_str());
    rows.chain(own).filter_map(|name| Catalogue::builtin().resolve(name).ok()).collect()
});
static WANTED: LazyLock<Wanted> = LazyLock::new(|| Wanted::new(&METRICS));

/// The page an exporter gives that is asked for `names` alone; `None` where names are in quotes, which are not asked for.
fn page_of(page: &[u8], format: Format, names: &[&str]) -> Option<Vec<u8>> {
    let mut text = String::new();
    for entry in parse(page, format) {
        match entry.ok()? {
            Entry::Type(name, declared) => {
                let declared = format!("{declared:?}").to_lowercase();
                let declared =
                    if format == Format::Text { declared.replace("unknown", "untyped") } else { declared };
                _ = writeln!(text, "# TYPE {} {declared}", std::str::from_utf8(name.raw()).ok()?);
            }
            Entry::Sample(line) if names.iter().any(|name| line.name == **name) => {
                let [name, labels] =
                    [line.name.raw(), line.labels.raw()].map(|raw| std::str::from_utf8(raw).ok());
                _ = writeln!(text, "{}{{{}}} {}", name?, labels?, line.value);
            }
            _ => {}
        }
    }
    if format == Format::OpenMetrics {
        text.push_str("# EOF\n");
    }
    parse(text.as_bytes(), format).all(|entry| entry.is_ok()).then(|| text.into_bytes())
}

fn read(page: &[u8], format: Format, out: &mut Readings) {
    let outcome = WANTED.read(page, format, out);
    assert_eq!(out.len(), METRICS.len());
    if outcome.is_err() {
        assert!(out.iter().all(Option::is_none), "a page that is refused has readings");
        return;
    }
    for (metric, reading) in METRICS.iter().zip(out.iter()) {
        if let Some(reading) = reading {
            assert_reading(metric, reading);
        }
    }
    let mut again = Readings::default();
    assert_eq!(
        WANTED.read(page, format, &mut again).map(|()| again.to_vec()),
        Ok(out.to_vec()),
        "buffers are not clean"
    );
    if out.iter().any(Option::is_some)
        && let Some(alone) = page_of(page, format, &WANTED.sample_names_for(out))
    {
        assert_eq!(
            WANTED.read(&alone, format, &mut again).map(|()| again.to_vec()),
            Ok(out.to_vec()),
            "asked by name"
        );
    }
}

/// The bytes are pages of one pod, one after the other.
fn readings(data: &[u8]) {
    let mut buffers = Readings::default();
    for format in [Format::Text, Format::OpenMetrics] {
        let mut meters = vec![Meter::default(); METRICS.len()];
        let mut windows = vec![HistogramWindow::new(Duration::from_mins(1)); METRICS.len()];
        for (at, page) in data.split(|byte| *byte == NEXT).take(4).enumerate() {
            let page = if format == Format::Text { page.to_vec() } else { [page, b"\n# EOF\n"].concat() };
            read(&page, format, &mut buffers);
            let at = Duration::from_millis(100 * at as u64);
            for (((reading, meter), window), metric) in
                buffers.iter().zip(&mut meters).zip(&mut windows).zip(&*METRICS)
            {
                let Some(reading) = reading else { continue };
                if let Some(value) = meter.push(reading, at) {
                    assert_usable(value, metric.signed, &metric.name);
                }
                if let Sample::Histogram(histogram) = &reading.sample {
                    window.push(at, reading.alias, histogram);
                    let mut fleet = histogram.clone();
                    if window.add_to(&mut fleet, at).is_some() {
                        assert_statistics(&fleet);
                    }
                }
            }
            if data.len() < 512 {
                _ = WANTED.missing(&page, format, 0);
                _ = Catalogue::builtin().detect(|_| None, (&page, format));
            }
        }
    }
}

/// The bytes are a selector, and a page to select from.
fn selectors(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == NEXT);
    let Some(Ok(text)) = parts.next().map(std::str::from_utf8) else { return };
    if let Ok(selector) = text.parse::<Selector>() {
        let written = selector.to_string();
        // A backslash of an expression is written as two, and what is too long then is refused.
        if written.len() <= 1000 {
            assert_eq!(written.parse().as_ref(), Ok(&selector), "{text} is not read back");
        }
    }
    let Ok(metric) = Catalogue::builtin().resolve(text) else { return };
    assert_eq!(metric.name, text);
    let mut buffers = Readings::default();
    let page = parts.next().unwrap_or(b"m{a=\"b\"} 1\nm 3\nvllm:x{le=\"1\"} 2\n");
    if Wanted::new(std::slice::from_ref(&metric)).read(page, Format::Text, &mut buffers).is_ok()
        && let Some(reading) = &buffers[0]
    {
        assert_reading(&metric, reading);
    }
}

/// The bytes are a file that a user adds to the catalogue.
fn catalogues(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for catalogue in
        [Catalogue::default().extended(text), Catalogue::builtin().extended(text)].into_iter().flatten()
    {
        _ = (catalogue.markdown(), catalogue.page(), catalogue.list().count());
        for row in catalogue.metrics() {
            let found = catalogue.resolve(&row.name);
            let canonical = found.as_ref().map(|metric| metric.canonical.as_deref());
            assert_eq!(canonical, Ok(Some(row.name.as_str())), "a row is not found by its name");
            _ = catalogue.synonyms(row);
        }
        let mut page = String::new();
        for alias in catalogue.metrics().iter().flat_map(|row| &row.aliases) {
            for term in &alias.terms {
                _ = writeln!(page, "{} 1e300", term.selector.name);
            }
        }
        let mut buffers = Readings::default();
        if Wanted::new(catalogue.metrics()).read(page.as_bytes(), Format::Text, &mut buffers).is_ok() {
            for (metric, reading) in catalogue.metrics().iter().zip(buffers.iter()) {
                if let Some(reading) = reading {
                    assert_reading(metric, reading);
                }
            }
        }
    }
}

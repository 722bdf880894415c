//! What the catalogue reads from the realistic pages, against values computed by another program (`pages.txt`).

use std::fs;
use std::path::Path;

use windlass_metrics::exposition::Format;
use windlass_metrics::{Catalogue, Metric, Reading, Readings, Sample, Wanted};

const EXPECTED: &str = include_str!("pages.txt");

/// One page: its name, engine and generation, and the lines of its metrics.
struct Page<'a> {
    name: &'a str,
    engine: &'a str,
    generation: Option<&'a str>,
    metrics: Vec<Vec<&'a str>>,
}

fn pages() -> Vec<Page<'static>> {
    let mut pages: Vec<Page<'static>> = Vec::new();
    for line in EXPECTED.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split(' ').collect();
        match (words.as_slice(), pages.last_mut()) {
            (["page", name, engine, generation], _) => pages.push(Page {
                name,
                engine,
                generation: Some(*generation).filter(|generation| *generation != "-"),
                metrics: Vec::new(),
            }),
            (_, Some(page)) => page.metrics.push(words),
            _ => panic!("{line} belongs to no page"),
        }
    }
    pages
}

fn close(got: f64, expected: &str) -> bool {
    let expected: f64 = expected.parse().expect("a number");
    (got - expected).abs() <= 1e-9 * expected.abs()
}

fn check(line: &[&str], reading: Option<&Reading>) -> Result<(), String> {
    let ok = match (&line[1..], reading.map(|reading| &reading.sample)) {
        (["lacks" | "unusable"], None) => true,
        (["gauge", value], Some(Sample::Gauge(got))) => close(*got, value),
        (["counter", count], Some(Sample::Counter(got))) => close(*got, count),
        (["ratio", part, whole], Some(Sample::Ratio { part: got, whole: of })) => {
            close(*got, part) && close(*of, whole)
        }
        (["histogram", count, sum, median], Some(Sample::Histogram(got))) => {
            close(got.count(), count)
                && got.sum().is_some_and(|got| close(got, sum))
                && got.quantile(0.5).is_some_and(|got| close(got, median))
        }
        _ => false,
    };
    if ok { Ok(()) } else { Err(format!("{} is read as {reading:?}", line.join(" "))) }
}

/// All metrics at once, with the names of all engines and of one, and each alone; then what is missing is told in words.
fn check_page(folder: &Path, page: &Page<'_>) -> Result<usize, String> {
    let bytes = fs::read(folder.join(page.name).with_extension("prom")).expect("page");
    let format = if page.name.ends_with("openmetrics") { Format::OpenMetrics } else { Format::Text };
    let catalogue = Catalogue::builtin();
    let metric = |line: &Vec<&str>| catalogue.resolve(line[0]).expect("a metric");
    let metrics: Vec<Metric> = page.metrics.iter().map(metric).collect();
    let wanted = Wanted::new(&metrics);
    let mut readings = Readings::default();
    wanted.read(&bytes, format, &mut readings).map_err(|error| error.to_string())?;
    let mut alone = Readings::default();
    let of_engine = Wanted::for_engine(&metrics, page.engine);
    of_engine.read(&bytes, format, &mut alone).map_err(|error| error.to_string())?;
    if *alone != *readings {
        return Err(format!("with the names of {} alone: {:?}", page.engine, &*alone));
    }
    for ((line, metric), reading) in page.metrics.iter().zip(&metrics).zip(readings.iter()) {
        check(line, reading.as_ref())?;
        Wanted::new(std::slice::from_ref(metric))
            .read(&bytes, format, &mut alone)
            .map_err(|error| error.to_string())?;
        if alone[0] != *reading {
            return Err(format!("{} alone is {:?}, with others {reading:?}", line[0], alone[0]));
        }
        let why = catalogue
            .why_lacking(metric, page.engine)
            .or_else(|| Wanted::new(std::slice::from_ref(metric)).missing(&bytes, format, 0));
        let why = why.unwrap_or_default();
        let said = match line[1] {
            "lacks" => why.contains("does not expose it") || why.contains("the page has no"),
            "unusable" => why.contains(" is ") || why.contains(" has "),
            _ => why.is_empty(),
        };
        if !said {
            return Err(format!("{} {} is missing because {why:?}", line[0], line[1]));
        }
    }
    let detected = catalogue
        .detect(|_| None, (&bytes, format))
        .ok_or_else(|| "no engine is told".to_owned())?
        .with_aliases(&metrics, &readings);
    let found = (detected.engine.as_str(), detected.generation.as_deref());
    if found != (page.engine, page.generation) {
        return Err(format!("{found:?} is told"));
    }
    let read = readings.iter().flatten().count();
    if detected.aliases.len() < read {
        return Err(format!("{read} readings from {:?}", detected.aliases));
    }
    Ok(page.metrics.len())
}

#[test]
fn metrics_of_realistic_pages() {
    let Some(folder) = windlass_conformance::path("exposition") else { return };
    let pages = pages();
    let prom = |entry: &fs::DirEntry| entry.path().extension().is_some_and(|extension| extension == "prom");
    let files = fs::read_dir(&folder).expect("exposition").filter_map(Result::ok).filter(prom);
    assert_eq!(files.count(), pages.len(), "a page without expectations");
    let outcomes =
        pages.iter().map(|page| check_page(&folder, page).map_err(|error| format!("{}: {error}", page.name)));
    windlass_conformance::report("exposition/*.prom", outcomes.collect::<Vec<_>>());
}

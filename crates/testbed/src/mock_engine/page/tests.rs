//! Every page, against the format and against the names of the catalogue.

use std::collections::{HashMap, HashSet};

use super::super::MODEL;
use super::super::scripted::{self, CAPACITY};
use super::*;

fn page(share: f64, requests: f64) -> String {
    page_of(EngineKind::Vllm, share, requests)
}

fn page_of(kind: EngineKind, share: f64, requests: f64) -> String {
    rendered(kind, share, requests, Template::render)
}

fn rendered(
    kind: EngineKind,
    share: f64,
    requests: f64,
    render: impl Fn(&Template, &Numbers<'_>) -> String,
) -> String {
    let mut meters = scripted::meters(requests * 300.0, requests * 200.0, requests);
    meters[Meter::CpuSeconds as usize] = requests * 0.1;
    meters[Meter::StartTime as usize] = 1_764_000_000.37;
    let script = ScriptedGauges::default();
    let gauges = script.values(share);
    let levels = scripted::levels(script, &gauges);
    let subject = Subject { kind, model: MODEL, capacity: CAPACITY, origin: Origin::Scripted };
    render(&Template::new(&subject).unwrap(), &Numbers { gauges, levels, meters, tallies: None })
}

/// What is rendered by name is what the exporter's filter leaves of the whole page.
#[test]
fn a_page_by_name_is_a_part_of_the_whole() {
    use super::super::filter;
    use super::super::kind::Exporter;
    for kind in [EngineKind::Vllm, EngineKind::VllmV0, EngineKind::VllmV1, EngineKind::Sglang] {
        let whole = page_of(kind, 20.0, 7.0);
        let all: Vec<&str> = whole.lines().filter_map(|line| line.split(['{', ' ']).next()).collect();
        for step in [1, 3, 17, 100] {
            let names: HashSet<String> = all.iter().step_by(step).map(|name| (*name).to_owned()).collect();
            let expected = filter::answer(whole.clone(), Some(Exporter::Single), Some(&names));
            let part = rendered(kind, 20.0, 7.0, |page, numbers| page.render_named(numbers, &names));
            assert!(!part.is_empty() && part == expected, "{kind:?}, every {step}th name");
        }
    }
}

/// A small reader of text format 0.0.4, written apart from the generator and stricter than the format: every
/// sample belongs to the family announced last, no family comes twice. Returns the samples by name and labels.
fn check_valid(page: &str) -> HashMap<(String, String), f64> {
    assert!(page.ends_with('\n'));
    let mut samples = HashMap::new();
    let mut families = HashSet::new();
    let (mut family, mut kind) = (String::new(), String::new());
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(!help.is_empty() && families.insert(name.to_owned()), "{line}");
            (family, kind) = (name.to_owned(), String::new());
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            assert!(kind.is_empty(), "{line}");
            kind = rest.strip_prefix(&format!("{family} ")).unwrap().to_owned();
            assert!(["gauge", "counter", "histogram", "summary"].contains(&kind.as_str()), "{line}");
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let suffixes: &[&str] = match kind.as_str() {
                "histogram" => &["_bucket", "_sum", "_count"],
                "summary" => &["_sum", "_count"],
                _ => &[""],
            };
            assert!(suffixes.iter().any(|suffix| format!("{family}{suffix}") == name), "{line}");
            let labels = labels.strip_suffix('}').unwrap().to_owned();
            assert!(labels.is_empty() || (labels.ends_with('"') && labels.contains("=\"")), "{line}");
            let value: f64 = value.parse().unwrap();
            assert!(samples.insert((name.to_owned(), labels), value).is_none(), "twice: {line}");
        }
    }
    samples
}

fn sum(samples: &HashMap<(String, String), f64>, name: &str) -> f64 {
    samples.iter().filter(|((found, _), _)| found == name).map(|(_, value)| value).sum()
}

#[test]
fn the_page_is_valid_and_of_vllms_size() {
    for requests in [0.0, 17.9, 123_456.0] {
        let page = page(100.0 / 3.0, requests);
        let lines = check_valid(&page).len();
        assert!((50_000..60_000).contains(&page.len()), "{} bytes", page.len());
        assert!((550..650).contains(&lines), "{lines} samples");
    }
}

#[test]
fn the_series_add_up_to_the_share_exactly() {
    for n in 1..=50 {
        let share = 100.0 / f64::from(n);
        let samples = check_valid(&page(share, 5.0));
        for name in ["vllm:avg_prompt_throughput_toks_per_s", "vllm:avg_generation_throughput_toks_per_s"] {
            assert_eq!(sum(&samples, name), share, "{name} for n = {n}");
        }
    }
}

#[test]
fn histograms_are_cumulative_and_grow() {
    let pages = [check_valid(&page(20.0, 10.0)), check_valid(&page(20.0, 5000.0))];
    let mut buckets: HashMap<(String, String), Vec<(f64, f64)>> = HashMap::new();
    for ((name, labels), value) in &pages[1] {
        if let Some(family) = name.strip_suffix("_bucket") {
            let (rest, bound) = labels.rsplit_once("le=\"").unwrap();
            let bound = bound.trim_end_matches('"').replace("+Inf", "inf").parse().unwrap();
            let rest = rest.trim_end_matches(',').to_owned();
            buckets.entry((family.to_owned(), rest)).or_default().push((bound, *value));
        }
        let before = pages[0][&(name.clone(), labels.clone())];
        assert!(before <= *value, "{name}{{{labels}}} fell");
    }
    assert!(buckets.len() >= 26, "13 histograms of two series each, {} found", buckets.len());
    for ((family, labels), mut found) in buckets {
        found.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert!(found.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{family}{{{labels}}}");
        let (bound, last) = found[found.len() - 1];
        assert!(bound.is_infinite() && last == pages[1][&(format!("{family}_count"), labels)]);
    }
}
/// A page of another engine is what the catalogue says of that engine: read by its names, it has what the engine exposes.
#[test]
fn every_page_has_the_names_of_its_engine() {
    use windlass_metrics::{Catalogue, Format, Readings, Wanted};

    let catalogue = Catalogue::builtin();
    let names =
        ["running", "waiting", "inflight", "kv_util", "kv_tokens", "kv_capacity_tokens", "ttft", "e2e"];
    let metrics = names.map(|name| catalogue.resolve(name).unwrap());
    for (kind, engine, generation, lacks) in [
        (EngineKind::Vllm, "vllm", Some("v1"), &[][..]),
        (EngineKind::VllmV0, "vllm", Some("v0"), &[]),
        (EngineKind::VllmV1, "vllm", Some("v1"), &[]),
        (EngineKind::Sglang, "sglang", None, &[]),
        (EngineKind::Tgi, "tgi", None, &["kv_util", "kv_capacity_tokens", "ttft"]),
        (EngineKind::TrtllmServe, "trtllm", None, &[]),
    ] {
        let page = page_of(kind, 20.0, 5000.0);
        let mut readings = Readings::default();
        Wanted::new(&metrics).read(page.as_bytes(), Format::Text, &mut readings).unwrap();
        let missing: Vec<_> = names
            .iter()
            .zip(readings.iter())
            .filter(|(_, reading)| reading.is_none())
            .map(|(name, _)| *name)
            .collect();
        assert_eq!(missing, lacks, "{kind:?}");
        let detected = catalogue.detect(|_| None, (page.as_bytes(), Format::Text)).unwrap();
        assert_eq!(
            (detected.engine.as_str(), detected.generation.as_deref()),
            (engine, generation),
            "{kind:?}"
        );
        let served = Subject { kind, model: "m", capacity: 1000, origin: Origin::Served };
        assert!(!Template::new(&served).unwrap().histograms.is_empty());
    }
}

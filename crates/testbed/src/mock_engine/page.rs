//! The metrics page: text fixed once, with the numbers spliced in at each scrape.

mod families;

use super::ADAPTER;
use super::gauge::Gauge;
use super::number::write_float;
use super::tally::{Histogram, Tallies};

/// The content type that the Python client sends with text format 0.0.4.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Quantities that only grow over an engine's life.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(super) enum Meter {
    PromptTokens,
    GenerationTokens,
    /// Finished requests, however they ended.
    Requests,
    /// Finished at the model's own end.
    Stopped,
    /// Finished at `max_tokens`.
    LengthReached,
    Aborted,
    Preemptions,
    /// Requests to `/v1/completions`.
    Completions,
    /// Requests to `/v1/chat/completions`.
    ChatCompletions,
    CpuSeconds,
    /// Not growing: the wall-clock time at which the engine started, in Unix seconds.
    StartTime,
}

impl Meter {
    pub(super) const COUNT: usize = 11;
}

/// All numbers of one page.
pub(super) struct Numbers<'a> {
    /// In the order of `Gauge::ALL`.
    pub(super) gauges: [f64; Gauge::COUNT],
    /// In the order of [`Meter`].
    pub(super) meters: [f64; Meter::COUNT],
    /// What was observed of requests; a scripted engine has none.
    pub(super) tallies: Option<&'a Tallies>,
}

/// Where the numbers of a page come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Made up from a scripted total: histograms have the shape of a fixed distribution.
    Scripted,
    /// Consequences of the requests served.
    Served,
}

/// What stands in one place of the page.
#[derive(Clone, Copy)]
enum Slot {
    Gauge(Gauge),
    /// The meter, as it is.
    Meter(Meter),
    /// A whole number: `floor(floor(meter) × fraction)`. Used for counts, where 0 ≤ fraction ≤ 1.
    Count(Meter, f64),
    /// The sum of a scripted histogram: `floor(meter) × mean`.
    Sum(Meter, f64),
    /// Observations of at most the bucket's upper bound.
    Bucket(Histogram, usize),
    /// All observations.
    Observations(Histogram),
    /// The sum of all observations.
    Observed(Histogram),
}

impl Slot {
    fn value(self, numbers: &Numbers<'_>) -> f64 {
        let observed = |of: &dyn Fn(&Tallies) -> f64| numbers.tallies.map_or(0.0, of);
        match self {
            Slot::Gauge(gauge) => numbers.gauges[gauge as usize],
            Slot::Meter(meter) => numbers.meters[meter as usize],
            Slot::Count(meter, fraction) => (numbers.meters[meter as usize].floor() * fraction).floor(),
            Slot::Sum(meter, mean) => numbers.meters[meter as usize].floor() * mean,
            Slot::Bucket(histogram, bound) => observed(&|tallies| tallies.up_to(histogram, bound)),
            Slot::Observations(histogram) => observed(&|tallies| tallies.count(histogram)),
            Slot::Observed(histogram) => observed(&|tallies| tallies.sum(histogram)),
        }
    }
}

/// The page with holes: `text` up to an offset, then a number, and so on.
pub(super) struct Template {
    text: String,
    slots: Vec<(usize, Slot)>,
    /// The label of the model's series.
    model: String,
}

impl Template {
    /// The page of an engine that serves this model.
    pub(super) fn new(model: &str, origin: Origin) -> Self {
        let mut template =
            Self { text: String::new(), slots: Vec::new(), model: format!("model_name=\"{model}\"") };
        families::write(&mut template, origin);
        template
    }

    /// The whole page for these numbers.
    pub(super) fn render(&self, numbers: &Numbers<'_>) -> String {
        let mut page = String::with_capacity(self.text.len() + 24 * self.slots.len());
        let mut from = 0;
        for (at, slot) in &self.slots {
            page.push_str(&self.text[from..*at]);
            write_float(&mut page, slot.value(numbers));
            from = *at;
        }
        page.push_str(&self.text[from..]);
        page
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        for part in ["# HELP ", name, " ", help, "\n# TYPE ", name, " ", kind, "\n"] {
            self.text.push_str(part);
        }
    }

    /// A line with a number that never changes. `labels` is empty or `a="b",…`.
    fn fixed(&mut self, name: &str, labels: &str, value: f64) {
        self.sample_start(name, labels);
        write_float(&mut self.text, value);
        self.text.push('\n');
    }

    /// A line with a number spliced in at each scrape.
    fn spliced(&mut self, name: &str, labels: &str, slot: Slot) {
        self.sample_start(name, labels);
        self.slots.push((self.text.len(), slot));
        self.text.push('\n');
    }

    fn sample_start(&mut self, name: &str, labels: &str) {
        self.text.push_str(name);
        if !labels.is_empty() {
            for part in ["{", labels, "}"] {
                self.text.push_str(part);
            }
        }
        self.text.push(' ');
    }

    /// The same sample for the model (spliced) and for the adapter (always 0).
    fn both_models(&mut self, name: &str, labels_before: &str, slot: Slot) {
        self.spliced(name, &format!("{labels_before}{}", self.model), slot);
        self.fixed(name, &format!("{labels_before}model_name=\"{ADAPTER}\""), 0.0);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::super::MODEL;
    use super::super::gauge::ScriptedGauges;
    use super::*;

    fn page(share: f64, requests: f64) -> String {
        let mut meters = super::super::scripted::meters(requests * 300.0, requests * 200.0, requests);
        meters[Meter::CpuSeconds as usize] = requests * 0.1;
        meters[Meter::StartTime as usize] = 1_764_000_000.37;
        let gauges = ScriptedGauges::default().values(share);
        Template::new(MODEL, Origin::Scripted).render(&Numbers { gauges, meters, tallies: None })
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
            for name in ["vllm:avg_prompt_throughput_toks_per_s", "vllm:avg_generation_throughput_toks_per_s"]
            {
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
}

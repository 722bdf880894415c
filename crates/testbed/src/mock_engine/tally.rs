//! Histograms of what requests went through.

use super::page::Meter;

/// What is observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Histogram {
    IterationTokens,
    TimeToFirstToken,
    /// Between two tokens of a request, a token at a time.
    InterTokenLatency,
    /// The mean after the first token, a request at a time.
    TimePerOutputToken,
    /// The mean with the prefill, a request at a time: TGI's.
    TimePerToken,
    StepTime,
    EndToEnd,
    QueueTime,
    InferenceTime,
    PrefillTime,
    DecodeTime,
    PromptTokens,
    /// Prompt tokens that were not cached.
    ComputedTokens,
    GenerationTokens,
    MaxGenerationTokens,
    ParameterN,
    ParameterMaxTokens,
    Http,
    HttpCompletions,
    HttpChatCompletions,
}

/// Name in the files of pages, and the median that a scripted engine reports.
const NAMES: [(Histogram, &str, f64); 20] = [
    (Histogram::IterationTokens, "iteration_tokens", 40.0),
    (Histogram::TimeToFirstToken, "ttft", 0.12),
    (Histogram::InterTokenLatency, "itl", 0.03),
    (Histogram::TimePerOutputToken, "tpot", 0.03),
    (Histogram::TimePerToken, "time_per_token", 0.03),
    (Histogram::StepTime, "step_time", 0.03),
    (Histogram::EndToEnd, "e2e", 6.0),
    (Histogram::QueueTime, "queue_time", 0.02),
    (Histogram::InferenceTime, "inference_time", 5.9),
    (Histogram::PrefillTime, "prefill_time", 0.1),
    (Histogram::DecodeTime, "decode_time", 5.8),
    (Histogram::PromptTokens, "prompt_length", 250.0),
    (Histogram::ComputedTokens, "computed_length", 250.0),
    (Histogram::GenerationTokens, "generation_length", 150.0),
    (Histogram::MaxGenerationTokens, "generation_limit", 400.0),
    (Histogram::ParameterN, "n", 0.5),
    (Histogram::ParameterMaxTokens, "max_tokens", 400.0),
    (Histogram::Http, "http", 6.0),
    (Histogram::HttpCompletions, "http_completions", 6.0),
    (Histogram::HttpChatCompletions, "http_chat_completions", 6.0),
];

impl Histogram {
    /// The histogram of this name in the files of pages.
    pub(super) fn named(name: &str) -> Option<Self> {
        NAMES.iter().find(|(_, known, _)| *known == name).map(|(histogram, ..)| *histogram)
    }

    /// What counts a scripted engine's observations, and their median.
    pub(super) fn scripted(self) -> (Meter, f64) {
        let meter = match self {
            Self::HttpCompletions => Meter::Completions,
            Self::HttpChatCompletions => Meter::ChatCompletions,
            _ => Meter::Requests,
        };
        (meter, NAMES[self as usize].2)
    }
}

/// What was observed, by the histograms that a page has.
#[derive(Debug, Default)]
pub(super) struct Tallies(Vec<Tally>);

#[derive(Debug)]
struct Tally {
    of: Histogram,
    bounds: Vec<f64>,
    /// By bucket, not cumulative; the last is the infinite one.
    counts: Vec<u64>,
    sum: f64,
}

impl Tallies {
    /// Nothing observed yet. Each with the upper bounds of its buckets, without the infinite one.
    pub(super) fn new(histograms: &[(Histogram, Vec<f64>)]) -> Self {
        let tally = |(of, bounds): &(Histogram, Vec<f64>)| Tally {
            of: *of,
            counts: vec![0; bounds.len() + 1],
            bounds: bounds.clone(),
            sum: 0.0,
        };
        Self(histograms.iter().map(tally).collect())
    }

    /// Notes that `value` was seen `times` times.
    pub(super) fn observe(&mut self, histogram: Histogram, value: f64, times: u64) {
        for tally in self.0.iter_mut().filter(|tally| tally.of == histogram) {
            let bucket = tally.bounds.partition_point(|bound| *bound < value);
            tally.counts[bucket] += times;
            tally.sum += value * times as f64;
        }
    }

    /// Observations of at most this bound of a tally; the index after the last bound is the infinite one.
    pub(super) fn up_to(&self, tally: usize, bound: usize) -> f64 {
        self.0.get(tally).map_or(0.0, |tally| tally.counts[..=bound].iter().sum::<u64>() as f64)
    }

    pub(super) fn count(&self, tally: usize) -> f64 {
        self.0.get(tally).map_or(0.0, |tally| tally.counts.iter().sum::<u64>() as f64)
    }

    pub(super) fn sum(&self, tally: usize) -> f64 {
        self.0.get(tally).map_or(0.0, |tally| tally.sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fall_into_their_buckets() {
        let bounds = vec![0.1, 0.5, 1.0];
        let mut tallies = Tallies::new(&[(Histogram::Http, vec![1.0]), (Histogram::EndToEnd, bounds)]);
        for (value, times) in [(0.1, 1), (0.5, 2), (0.500_001, 3), (7.0, 4)] {
            tallies.observe(Histogram::EndToEnd, value, times);
        }
        let up_to = |bound| tallies.up_to(1, bound);
        // Bounds 0.1, 0.5, 1, and infinity: a value on a bound is inside.
        assert_eq!([up_to(0), up_to(1), up_to(2), up_to(3)], [1.0, 3.0, 6.0, 10.0]);
        assert_eq!(tallies.count(1), 10.0);
        assert!((tallies.sum(1) - 30.600_003).abs() < 1e-9);
        assert_eq!(tallies.count(0), 0.0);
    }

    #[test]
    fn every_histogram_has_its_place() {
        for (index, (histogram, name, _)) in NAMES.into_iter().enumerate() {
            assert_eq!(histogram as usize, index, "{histogram:?}");
            assert_eq!(Histogram::named(name), Some(histogram));
        }
    }
}

//! Histograms of what requests went through.

use super::page::Origin;

/// The histograms of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Histogram {
    IterationTokens,
    TimeToFirstToken,
    TimePerOutputToken,
    EndToEnd,
    QueueTime,
    InferenceTime,
    PrefillTime,
    DecodeTime,
    PromptTokens,
    GenerationTokens,
    MaxGenerationTokens,
    ParameterN,
    ParameterMaxTokens,
    Http,
    HttpCompletions,
    HttpChatCompletions,
}

impl Histogram {
    const ALL: [Self; 16] = [
        Self::IterationTokens,
        Self::TimeToFirstToken,
        Self::TimePerOutputToken,
        Self::EndToEnd,
        Self::QueueTime,
        Self::InferenceTime,
        Self::PrefillTime,
        Self::DecodeTime,
        Self::PromptTokens,
        Self::GenerationTokens,
        Self::MaxGenerationTokens,
        Self::ParameterN,
        Self::ParameterMaxTokens,
        Self::Http,
        Self::HttpCompletions,
        Self::HttpChatCompletions,
    ];
}

const LATENCY: &[f64] = &[
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0,
    960.0, 1920.0, 7680.0,
];
const FIRST_TOKEN: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0,
    80.0, 160.0, 640.0, 2560.0,
];
const OUTPUT_TOKEN: &[f64] = &[
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
];
/// 1-2-5 steps up to a context of 4,096 tokens: that of the scripted model.
const LENGTH: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0];
/// The same up to a context of 131,072 tokens.
const LONG_LENGTH: &[f64] = &[
    1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0, 20000.0, 50000.0,
    100_000.0,
];
const ITERATION: &[f64] =
    &[1.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0];
const PARAMETER_N: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0];
/// The coarse buckets of prometheus-fastapi-instrumentator.
const HTTP: &[f64] = &[0.1, 0.5, 1.0];
/// Its fine ones.
const HTTP_FINE: &[f64] = &[
    0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 7.5, 10.0,
    30.0, 60.0,
];

/// The upper bounds of a histogram's buckets, without the infinite one: vLLM's.
pub(super) fn bounds(histogram: Histogram, origin: Origin) -> &'static [f64] {
    match histogram {
        Histogram::IterationTokens => ITERATION,
        Histogram::TimeToFirstToken => FIRST_TOKEN,
        Histogram::TimePerOutputToken => OUTPUT_TOKEN,
        Histogram::EndToEnd
        | Histogram::QueueTime
        | Histogram::InferenceTime
        | Histogram::PrefillTime
        | Histogram::DecodeTime => LATENCY,
        Histogram::PromptTokens
        | Histogram::GenerationTokens
        | Histogram::MaxGenerationTokens
        | Histogram::ParameterMaxTokens => match origin {
            Origin::Scripted => LENGTH,
            Origin::Served => LONG_LENGTH,
        },
        Histogram::ParameterN => PARAMETER_N,
        Histogram::Http => HTTP_FINE,
        Histogram::HttpCompletions | Histogram::HttpChatCompletions => HTTP,
    }
}

/// What was observed, by histogram.
#[derive(Debug)]
pub(super) struct Tallies(Vec<Tally>);

#[derive(Debug)]
struct Tally {
    bounds: &'static [f64],
    /// By bucket, not cumulative; the last is the infinite one.
    counts: Vec<u64>,
    sum: f64,
}

impl Tallies {
    /// Nothing observed yet.
    pub(super) fn new() -> Self {
        let tally = |histogram| {
            let bounds = bounds(histogram, Origin::Served);
            Tally { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
        };
        Self(Histogram::ALL.map(tally).into())
    }

    /// Notes that `value` was seen `times` times.
    pub(super) fn observe(&mut self, histogram: Histogram, value: f64, times: u64) {
        let tally = &mut self.0[histogram as usize];
        let bucket = tally.bounds.partition_point(|bound| *bound < value);
        tally.counts[bucket] += times;
        tally.sum += value * times as f64;
    }

    /// Observations of at most this bound; the index after the last bound is the infinite one.
    pub(super) fn up_to(&self, histogram: Histogram, bound: usize) -> f64 {
        self.0[histogram as usize].counts[..=bound].iter().sum::<u64>() as f64
    }

    pub(super) fn count(&self, histogram: Histogram) -> f64 {
        self.0[histogram as usize].counts.iter().sum::<u64>() as f64
    }

    pub(super) fn sum(&self, histogram: Histogram) -> f64 {
        self.0[histogram as usize].sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fall_into_their_buckets() {
        let mut tallies = Tallies::new();
        for (value, times) in [(0.1, 1), (0.5, 2), (0.500_001, 3), (7.0, 4)] {
            tallies.observe(Histogram::HttpCompletions, value, times);
        }
        let up_to = |bound| tallies.up_to(Histogram::HttpCompletions, bound);
        // Bounds 0.1, 0.5, 1, and infinity: a value on a bound is inside.
        assert_eq!([up_to(0), up_to(1), up_to(2), up_to(3)], [1.0, 3.0, 6.0, 10.0]);
        assert_eq!(tallies.count(Histogram::HttpCompletions), 10.0);
        assert!((tallies.sum(Histogram::HttpCompletions) - 30.600_003).abs() < 1e-9);
        assert_eq!(tallies.count(Histogram::Http), 0.0);
    }

    #[test]
    fn every_histogram_has_its_place() {
        for (index, histogram) in Histogram::ALL.into_iter().enumerate() {
            assert_eq!(histogram as usize, index, "{histogram:?}");
        }
    }
}

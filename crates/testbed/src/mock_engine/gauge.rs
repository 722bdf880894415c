//! The gauges that can be scripted, and what they report when they are not.

use std::str::FromStr;

/// Requests that run at once before others wait: vLLM's `--max-num-seqs` default.
const MAX_RUNNING: f64 = 256.0;
/// Tokens per second that one running request is given when throughput is not scripted.
const TOKENS_PER_RUNNING: f64 = 10.0;

/// A gauge of the page whose value can be scripted, by vLLM's names. Other engines have the same under names of their own.
///
/// When it is not scripted: *running* is the share rounded up, at most 256; *waiting* is what exceeds 256; both cache
/// usages are running ÷ 256; the throughputs are 10 tokens per second per running request; the others are 0. So an
/// engine with no load looks idle in every gauge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Gauge {
    /// `vllm:num_requests_running`
    Running,
    /// `vllm:num_requests_waiting`
    Waiting,
    /// `vllm:num_requests_swapped`
    Swapped,
    /// `vllm:gpu_cache_usage_perc` (0..1, the name before vLLM 0.9)
    GpuCache,
    /// `vllm:kv_cache_usage_perc` (0..1, the name since; versions in between export both)
    KvCache,
    /// `vllm:cpu_cache_usage_perc`
    CpuCache,
    /// `vllm:avg_prompt_throughput_toks_per_s`
    PromptThroughput,
    /// `vllm:avg_generation_throughput_toks_per_s`
    GenerationThroughput,
}

impl Gauge {
    pub(super) const COUNT: usize = 8;

    pub(super) const ALL: [Gauge; Self::COUNT] = [
        Gauge::Running,
        Gauge::Waiting,
        Gauge::Swapped,
        Gauge::GpuCache,
        Gauge::KvCache,
        Gauge::CpuCache,
        Gauge::PromptThroughput,
        Gauge::GenerationThroughput,
    ];

    /// The name on the page without its `vllm:`.
    pub fn name(self) -> &'static str {
        match self {
            Gauge::Running => "num_requests_running",
            Gauge::Waiting => "num_requests_waiting",
            Gauge::Swapped => "num_requests_swapped",
            Gauge::GpuCache => "gpu_cache_usage_perc",
            Gauge::KvCache => "kv_cache_usage_perc",
            Gauge::CpuCache => "cpu_cache_usage_perc",
            Gauge::PromptThroughput => "avg_prompt_throughput_toks_per_s",
            Gauge::GenerationThroughput => "avg_generation_throughput_toks_per_s",
        }
    }
}

/// What the names that mean the same in every engine stand for.
const NEUTRAL: [(&str, u16); 6] = [
    ("running", ScriptedGauges::bit(Gauge::Running)),
    ("waiting", ScriptedGauges::bit(Gauge::Waiting)),
    ("inflight", ScriptedGauges::INFLIGHT),
    ("kv_util", ScriptedGauges::bit(Gauge::GpuCache) | ScriptedGauges::bit(Gauge::KvCache)),
    ("prompt_tokens_rate", ScriptedGauges::bit(Gauge::PromptThroughput)),
    ("generation_tokens_rate", ScriptedGauges::bit(Gauge::GenerationThroughput)),
];

/// Which gauges report the share. The default is both throughputs, as in AIBrix's mock engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScriptedGauges(u16);

impl Default for ScriptedGauges {
    fn default() -> Self {
        Self(Self::bit(Gauge::PromptThroughput) | Self::bit(Gauge::GenerationThroughput))
    }
}

impl ScriptedGauges {
    /// Running and waiting together: up to 256 of the share run, the others wait.
    const INFLIGHT: u16 = 1 << Gauge::COUNT;

    const fn bit(gauge: Gauge) -> u16 {
        1 << gauge as u16
    }

    /// Whether this gauge reports the share.
    pub fn contains(self, gauge: Gauge) -> bool {
        self.0 & Self::bit(gauge) != 0
    }

    /// The value of every gauge, in the order of `Gauge::ALL`, for an engine with this share.
    pub(super) fn values(self, share: f64) -> [f64; Gauge::COUNT] {
        let load = if share.is_finite() { share.max(0.0).ceil() } else { 0.0 };
        let inflight = self.0 & Self::INFLIGHT != 0;
        let (running, waiting) = if inflight {
            (share.min(MAX_RUNNING), (share - MAX_RUNNING).max(0.0))
        } else {
            (load.min(MAX_RUNNING), (load - MAX_RUNNING).max(0.0))
        };
        let running = if self.contains(Gauge::Running) { share } else { running };
        Gauge::ALL.map(|gauge| match gauge {
            _ if self.contains(gauge) => share,
            Gauge::Running => running,
            Gauge::Waiting => waiting,
            Gauge::Swapped | Gauge::CpuCache => 0.0,
            Gauge::GpuCache | Gauge::KvCache => (running / MAX_RUNNING).clamp(0.0, 1.0),
            Gauge::PromptThroughput | Gauge::GenerationThroughput => running * TOKENS_PER_RUNNING,
        })
    }

    /// The use of the KV cache, of an engine that has one name for it: what is scripted under either name of vLLM's.
    pub(super) fn kv_util(self, values: &[f64; Gauge::COUNT]) -> f64 {
        let old_name = self.contains(Gauge::GpuCache) && !self.contains(Gauge::KvCache);
        values[if old_name { Gauge::GpuCache } else { Gauge::KvCache } as usize]
    }
}

/// A gauge name that the mock engine does not script.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is not a scripted gauge; use a comma-separated list of names such as num_requests_running or inflight"
)]
pub struct UnknownGauge(String);

impl FromStr for ScriptedGauges {
    type Err = UnknownGauge;

    /// Reads `name[,name…]`: AIBrix's names, each with or without `vllm:`, or `running`, `waiting`, `inflight`, `kv_util`,
    /// `prompt_tokens_rate`, `generation_tokens_rate`.
    fn from_str(list: &str) -> Result<Self, UnknownGauge> {
        let mut bits = 0;
        for item in list.split(',').map(str::trim) {
            let name = item.strip_prefix("vllm:").unwrap_or(item);
            let gauge = Gauge::ALL.into_iter().find(|gauge| gauge.name() == name).map(Self::bit);
            let neutral = NEUTRAL.iter().find(|(neutral, _)| *neutral == item).map(|(_, bits)| *bits);
            bits |= gauge.or(neutral).ok_or_else(|| UnknownGauge(item.to_owned()))?;
        }
        Ok(Self(bits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(list: &str, share: f64, expected: [f64; Gauge::COUNT]) {
        let scripted = if list.is_empty() { ScriptedGauges::default() } else { list.parse().unwrap() };
        assert_eq!(scripted.values(share), expected, "{list:?} at {share}");
    }

    #[test]
    fn gauges_follow_the_share() {
        check("", 20.0, [20.0, 0.0, 0.0, 0.078_125, 0.078_125, 0.0, 20.0, 20.0]);
        check("", 0.0, [0.0; 8]);
        check("", 300.5, [256.0, 45.0, 0.0, 1.0, 1.0, 0.0, 300.5, 300.5]);
        check("num_requests_running", 32.0, [32.0, 0.0, 0.0, 0.125, 0.125, 0.0, 320.0, 320.0]);
        check(
            "vllm:gpu_cache_usage_perc, num_requests_waiting",
            0.5,
            [1.0, 0.5, 0.0, 0.5, 1.0 / 256.0, 0.0, 10.0, 10.0],
        );
        check("inflight", 32.5, [32.5, 0.0, 0.0, 32.5 / 256.0, 32.5 / 256.0, 0.0, 325.0, 325.0]);
        check("inflight", 300.5, [256.0, 44.5, 0.0, 1.0, 1.0, 0.0, 2560.0, 2560.0]);
        check("kv_util", 0.5, [1.0, 0.0, 0.0, 0.5, 0.5, 0.0, 10.0, 10.0]);
        for (list, kv_util) in [("kv_util", 0.5), ("gpu_cache_usage_perc", 0.5), ("inflight", 0.5 / 256.0)] {
            let scripted: ScriptedGauges = list.parse().unwrap();
            assert_eq!(scripted.kv_util(&scripted.values(0.5)), kv_util, "{list}");
        }
        let nan = ScriptedGauges::default().values(f64::NAN);
        assert!(nan[6].is_nan() && nan[0] == 0.0);
        assert!("ttft".parse::<ScriptedGauges>().is_err());
        assert!("num_requests_running,".parse::<ScriptedGauges>().is_err());
    }
}

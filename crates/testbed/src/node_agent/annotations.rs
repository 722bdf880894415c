//! The annotations that steer simulated pods, on a pod or on the workload that owns it.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use rand::Rng;
use rand_distr::{Distribution, LogNormal};

use windlass_engine_model::Preset;

use super::quantity;
use crate::mock_engine::{Engines, Exporter, Fault, FaultScope, ScriptedGauges};

/// What every key of the testbed begins with.
pub const PREFIX: &str = "testbed.windlass.dev/";

const START: Delay = Delay::Fixed(Duration::from_millis(300));
const TOTAL: f64 = 100.0;
/// The model that an engine serves when none is named: small enough that a few requests per second need several.
const MODEL: &str = "llama-2-7b@a10g";

/// How long a pod takes from running to ready.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Delay {
    /// The same for every pod.
    Fixed(Duration),
    /// Log-normally distributed: half of the pods take longer than the median.
    LogNormal {
        /// The median.
        median: Duration,
        /// The standard deviation of the logarithm; finite and not negative.
        sigma: f64,
    },
}

impl Delay {
    /// Draws the delay of one pod.
    pub fn sample(self, random: &mut impl Rng) -> Duration {
        match self {
            Delay::Fixed(delay) => delay,
            Delay::LogNormal { median, sigma } => {
                let factor = LogNormal::new(0.0, sigma).map_or(1.0, |factor| factor.sample(random));
                Duration::try_from_secs_f64(median.as_secs_f64() * factor).unwrap_or(Duration::MAX)
            }
        }
    }
}

/// By what a total is divided into the pods' shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// By the owner's `spec.replicas`, as AIBrix's mock engine does, whether the pods exist or not.
    Replicas,
    /// By the owner's pods that are ready: what a load balancer does.
    Ready,
}

/// A scripted usage of CPU or memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    /// What each pod uses, in cores or bytes.
    Each(f64),
    /// What all pods of the owner use together; divided into parts as [`Share`] says.
    Total(f64),
}

impl Amount {
    /// What one pod of `parts` uses.
    pub(super) fn of(self, parts: f64) -> Self {
        match self {
            Self::Total(total) => Self::Each(total / parts),
            each @ Self::Each(_) => each,
        }
    }

    /// In cores or bytes; a total stands for a single pod's.
    pub(super) fn value(self) -> f64 {
        let (Self::Each(value) | Self::Total(value)) = self;
        value
    }
}

/// What a mock engine does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It reports a share of the scripted total and serves no requests.
    Scripted,
    /// It serves requests as the engine model says, and reports what follows from them.
    Engine,
}

/// The testbed's annotations of one object; what is absent or could not be read is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Annotations {
    start: Option<Delay>,
    terminate: Option<Duration>,
    fault: Option<Fault>,
    total: Option<f64>,
    share: Option<Share>,
    metric: Option<ScriptedGauges>,
    noise: Option<f64>,
    fault_scope: Option<FaultScope>,
    mode: Option<Mode>,
    model: Option<Preset>,
    engine: Option<Engines>,
    exporter: Option<Exporter>,
    cpu: Option<Amount>,
    memory: Option<Amount>,
}

/// The settings of one pod: each from the pod, else from its owner, else the default.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// `start`: from running to ready; default 300 ms. Drawn once, when the pod starts.
    pub start: Delay,
    /// `terminate`: how long a deleted pod goes on serving, at most its grace period. Without it a scripted engine takes
    /// 100 ms; one that serves requests goes on until none is left.
    pub terminate: Option<Duration>,
    /// `fault`: how its engine misbehaves; default not at all.
    pub fault: Fault,
    /// `total`: what all engines of the owner report together; default 100. May be `NaN` or infinite on purpose.
    pub total: f64,
    /// `share`: `replicas` (default) or `ready`.
    pub share: Share,
    /// `metric`: the gauges that report the share; default both throughputs.
    pub metric: ScriptedGauges,
    /// `noise`: how far each reading of a scripted engine may be off, either way, from 0 to 1; default 0.
    pub noise: f64,
    /// `fault-scope`: `all` requests see the fault (default), or only those for `metrics`.
    pub fault_scope: FaultScope,
    /// `mode`: `scripted` (default) or `engine`. In force from the start of the pod.
    pub mode: Mode,
    /// `model`: what an engine serves, on which GPU; default `llama-2-7b@a10g`. In force from the start of the pod.
    pub model: Option<Preset>,
    /// `engine`: which engine's page it has, or which ones the pods have in turn; default `vllm`. A change restarts it.
    pub engine: Engines,
    /// `exporter`: `single` or `multiprocess`; default what the engine usually has.
    pub exporter: Option<Exporter>,
    /// `cpu`: the cores that `metrics.k8s.io` reports instead of what was accounted; default not scripted.
    pub cpu: Option<Amount>,
    /// `memory`: the bytes that `metrics.k8s.io` reports; default not scripted.
    pub memory: Option<Amount>,
}

/// An annotation that cannot be understood; its default is used.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("annotation {PREFIX}{key}: {problem}")]
pub struct BadAnnotation {
    key: String,
    problem: String,
}

impl Annotations {
    /// Reads what the testbed knows among an object's annotations, and says what it could not read.
    pub fn parse(all: Option<&BTreeMap<String, String>>) -> (Self, Vec<BadAnnotation>) {
        let mut read = Self::default();
        let mut bad = Vec::new();
        for (key, value) in all.into_iter().flatten() {
            let Some(key) = key.strip_prefix(PREFIX) else {
                continue;
            };
            if let Err(problem) = read.set(key, value.trim()) {
                bad.push(BadAnnotation { key: key.to_owned(), problem });
            }
        }
        (read, bad)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "start" => self.start = Some(delay(value)?),
            "terminate" => self.terminate = Some(duration(value)?),
            "fault" => self.fault = Some(Fault::from_str(value).map_err(|error| error.to_string())?),
            "total" => self.total = Some(value.parse().map_err(|_| format!("{value:?} is not a number"))?),
            "share" => self.share = Some(share(value)?),
            "metric" => {
                self.metric = Some(ScriptedGauges::from_str(value).map_err(|error| error.to_string())?);
            }
            "noise" => self.noise = Some(noise(value)?),
            "fault-scope" => self.fault_scope = Some(fault_scope(value)?),
            "mode" => self.mode = Some(mode(value)?),
            "model" => self.model = Some(Preset::from_str(value).map_err(|error| error.to_string())?),
            "cpu" => self.cpu = Some(amount(value)?),
            "memory" => self.memory = Some(amount(value)?),
            "engine" => self.engine = Some(Engines::from_str(value).map_err(|error| error.to_string())?),
            "exporter" => {
                self.exporter = Some(Exporter::from_str(value).map_err(|error| error.to_string())?);
            }
            _ => {
                return Err("no such key; use start, terminate, fault, fault-scope, total, share, metric, noise, cpu, memory, \
                            mode, model, engine or exporter"
                    .to_owned());
            }
        }
        Ok(())
    }

    /// The settings of a pod with these annotations under an owner with those.
    pub fn or(self, owner: Self) -> Settings {
        Settings {
            start: self.start.or(owner.start).unwrap_or(START),
            terminate: self.terminate.or(owner.terminate),
            fault: self.fault.or(owner.fault).unwrap_or_default(),
            total: self.total.or(owner.total).unwrap_or(TOTAL),
            share: self.share.or(owner.share).unwrap_or(Share::Replicas),
            metric: self.metric.or(owner.metric).unwrap_or_default(),
            noise: self.noise.or(owner.noise).unwrap_or_default(),
            fault_scope: self.fault_scope.or(owner.fault_scope).unwrap_or_default(),
            mode: self.mode.or(owner.mode).unwrap_or(Mode::Scripted),
            model: self.model.or(owner.model).or_else(|| MODEL.parse().ok()),
            engine: self.engine.or(owner.engine).unwrap_or_default(),
            exporter: self.exporter.or(owner.exporter),
            cpu: self.cpu.or(owner.cpu),
            memory: self.memory.or(owner.memory),
        }
    }
}

/// Reads `300m` or `total(2400m)`.
fn amount(value: &str) -> Result<Amount, String> {
    let total = value.strip_prefix("total(").and_then(|rest| rest.strip_suffix(')'));
    let amount = quantity::parse(total.unwrap_or(value).trim());
    let amount = amount
        .ok_or_else(|| format!("{value:?} is neither a quantity such as 300m or 2Gi nor total(QUANTITY)"))?;
    Ok(if total.is_some() { Amount::Total(amount) } else { Amount::Each(amount) })
}

fn noise(value: &str) -> Result<f64, String> {
    match value.parse() {
        Ok(noise) if (0.0..=1.0).contains(&noise) => Ok(noise),
        _ => Err(format!("{value:?} is not a number from 0 to 1")),
    }
}

fn mode(value: &str) -> Result<Mode, String> {
    match value {
        "scripted" => Ok(Mode::Scripted),
        "engine" => Ok(Mode::Engine),
        _ => Err(format!("{value:?} is neither scripted nor engine")),
    }
}

fn fault_scope(value: &str) -> Result<FaultScope, String> {
    match value {
        "all" => Ok(FaultScope::All),
        "metrics" => Ok(FaultScope::Metrics),
        _ => Err(format!("{value:?} is neither all nor metrics")),
    }
}

fn share(value: &str) -> Result<Share, String> {
    match value {
        "replicas" => Ok(Share::Replicas),
        "ready" => Ok(Share::Ready),
        _ => Err(format!("{value:?} is neither replicas nor ready")),
    }
}

/// Reads `20s`, `300ms`, `1m30s` or `lognormal(30s,0.4)` (median, sigma).
fn delay(value: &str) -> Result<Delay, String> {
    let Some(inner) = value.strip_prefix("lognormal(").and_then(|rest| rest.strip_suffix(')')) else {
        return duration(value).map(Delay::Fixed);
    };
    let (median, sigma) =
        inner.split_once(',').ok_or("lognormal needs a median and a sigma: lognormal(30s,0.4)")?;
    let sigma = match sigma.trim().parse::<f64>() {
        Ok(sigma) if sigma.is_finite() && sigma >= 0.0 => sigma,
        _ => return Err(format!("sigma {sigma:?} is not a number of at least 0")),
    };
    Ok(Delay::LogNormal { median: duration(median.trim())?, sigma })
}

fn duration(value: &str) -> Result<Duration, String> {
    windlass_workload::parse_duration(value).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    /// Reads `key=value` pairs of a pod and of its owner and compares what differs from the defaults.
    #[track_caller]
    fn check(
        pod: &[(&str, &str)],
        owner: &[(&str, &str)],
        change: impl FnOnce(&mut Settings),
        bad_keys: &[&str],
    ) {
        let parse = |pairs: &[(&str, &str)]| {
            let map =
                pairs.iter().map(|(key, value)| (format!("{PREFIX}{key}"), (*value).to_owned())).collect();
            Annotations::parse(Some(&map))
        };
        let ((pod, mut bad), (owner, bad_owner)) = (parse(pod), parse(owner));
        bad.extend(bad_owner);
        let mut expected = Annotations::default().or(Annotations::default());
        change(&mut expected);
        assert_eq!(pod.or(owner), expected);
        assert_eq!(bad.iter().map(|bad| bad.key.as_str()).collect::<Vec<_>>(), bad_keys, "{bad:?}");
    }

    #[test]
    fn annotations() {
        check(&[], &[], |_| {}, &[]);
        check(&[("start", "20s")], &[], |s| s.start = Delay::Fixed(MS(20_000)), &[]);
        check(&[("start", "300ms")], &[], |s| s.start = Delay::Fixed(MS(300)), &[]);
        check(&[("start", "1m30.5s")], &[], |s| s.start = Delay::Fixed(MS(90_500)), &[]);
        let lognormal = Delay::LogNormal { median: MS(30_000), sigma: 0.4 };
        check(&[("start", "lognormal(30s, 0.4)")], &[], |s| s.start = lognormal, &[]);
        for wrong in [
            "",
            "20",
            "s",
            "20 s",
            "-3s",
            "1e3s",
            "5d",
            "lognormal(30s)",
            "lognormal(30s,-1)",
            "lognormal(x,1)",
        ] {
            check(&[("start", wrong)], &[], |_| {}, &["start"]);
        }
        check(&[("terminate", "0s")], &[("terminate", "2h")], |s| s.terminate = Some(MS(0)), &[]);
        check(&[], &[("fault", "http500")], |s| s.fault = Fault::Http500, &[]);
        check(&[("fault", "")], &[("fault", "http500")], |_| {}, &[]);
        check(&[("fault", "boom")], &[("fault", "hang")], |s| s.fault = Fault::Hang, &["fault"]);
        check(&[("total", "12.5")], &[("total", "300")], |s| s.total = 12.5, &[]);
        check(&[("total", "many")], &[("total", "300")], |s| s.total = 300.0, &["total"]);
        check(&[("total", "inf")], &[], |s| s.total = f64::INFINITY, &[]);
        check(&[], &[("share", "ready")], |s| s.share = Share::Ready, &[]);
        check(&[("share", "pods")], &[], |_| {}, &["share"]);
        let running = "num_requests_running".parse().unwrap();
        check(&[("metric", "vllm:num_requests_running")], &[], |s| s.metric = running, &[]);
        check(&[("noise", "0.2")], &[], |s| s.noise = 0.2, &[]);
        check(&[("noise", "20")], &[], |s| s.noise = 0.0, &["noise"]);
        check(&[("mode", "engine")], &[], |s| s.mode = Mode::Engine, &[]);
        check(&[("mode", "fast"), ("engine", "ollama")], &[("engine", "vllm")], |_| {}, &["engine", "mode"]);
        let mixed = "vllm-v1,tgi".parse().unwrap();
        check(&[], &[("engine", "vllm-v1,tgi")], |s| s.engine = mixed, &[]);
        let multiprocess = Some(Exporter::Multiprocess);
        check(&[("exporter", "multiprocess")], &[], |s| s.exporter = multiprocess, &[]);
        check(&[("exporter", "threads")], &[], |_| {}, &["exporter"]);
        let model = "llama-3.1-8b@h100".parse().unwrap();
        check(&[], &[("model", "llama-3.1-8b@h100")], |s| s.model = Some(model), &[]);
        check(&[("model", "gpt-7")], &[], |_| {}, &["model"]);
        check(&[("fault-scope", "metrics")], &[], |s| s.fault_scope = FaultScope::Metrics, &[]);
        check(&[("cpu", "300m")], &[("cpu", "2")], |s| s.cpu = Some(Amount::Each(0.3)), &[]);
        check(&[], &[("cpu", "total(2400m)")], |s| s.cpu = Some(Amount::Total(2.4)), &[]);
        check(&[("memory", "2Ki")], &[], |s| s.memory = Some(Amount::Each(2048.0)), &[]);
        check(&[("memory", "total(1")], &[("cpu", "-1")], |_| {}, &["memory", "cpu"]);
        check(&[("metric", "ttft")], &[("strat", "1s")], |_| {}, &["metric", "strat"]);
    }

    #[test]
    fn a_lognormal_start_has_its_median() {
        let delay = Delay::LogNormal { median: MS(30_000), sigma: 0.4 };
        let mut random = StdRng::seed_from_u64(1);
        let mut drawn: Vec<_> = (0..1001).map(|_| delay.sample(&mut random)).collect();
        drawn.sort();
        assert!(drawn[500] > MS(28_500) && drawn[500] < MS(31_500), "{:?}", drawn[500]);
        // The 84th percentile is one sigma away: 30 s × e^0.4 = 44.8 s.
        assert!(drawn[841] > MS(41_500) && drawn[841] < MS(48_000), "{:?}", drawn[841]);
        assert_eq!(Delay::Fixed(MS(5)).sample(&mut random), MS(5));
    }
}

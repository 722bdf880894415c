//! A validated spec: all numbers resolved.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use windlass_metrics::Statistic;
use windlass_metrics::catalogue::Kind;

use crate::Instant;

/// The most signals (metrics sources) one target can have; the CRD says the same.
pub const MAX_SIGNALS: usize = 16;

/// How proposals are made from totals.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Strategy {
    /// Knative's stable and panic windows.
    Kpa(KpaPolicy),
    /// AIBrix's ratio with tolerances.
    Apa(ApaPolicy),
}

/// KPA's own settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KpaPolicy {
    /// The window whose mean decides while calm; also how long panic lasts at least.
    pub stable_window: Duration,
    /// The window whose mean decides in panic.
    pub panic_window: Duration,
    /// Panic begins when the panic value asks for this many times the ready replicas.
    pub panic_threshold: f64,
}

impl Default for KpaPolicy {
    fn default() -> Self {
        Self {
            stable_window: Duration::from_mins(1),
            panic_window: Duration::from_secs(10),
            panic_threshold: 2.0,
        }
    }
}

/// APA's own settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApaPolicy {
    /// The window whose mean is compared with the target.
    pub window: Duration,
    /// No raise while the ratio is at most `1 + up_tolerance`.
    pub up_tolerance: f64,
    /// No lowering while the ratio is at least `1 - down_tolerance`.
    pub down_tolerance: f64,
}

impl Default for ApaPolicy {
    fn default() -> Self {
        Self { window: Duration::from_mins(1), up_tolerance: 0.1, down_tolerance: 0.1 }
    }
}

/// What one reading of a signal stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Scope {
    /// One pod.
    #[default]
    Pod,
    /// The whole fleet: a total that is measured elsewhere, pods or none.
    Fleet,
    /// The mean of the fleet's ready pods, measured elsewhere.
    PodMean,
}

/// How often a signal is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// From one reading to the next.
    pub interval: Duration,
    /// How old a reading may be and still count.
    pub fresh_span: Duration,
}

impl Pace {
    /// Read every `interval`, and fresh for three of these.
    pub const fn every(interval: Duration) -> Self {
        Self { interval, fresh_span: interval.saturating_mul(3) }
    }
}

/// Once a second.
impl Default for Pace {
    fn default() -> Self {
        Self::every(Duration::from_secs(1))
    }
}

/// One signal: a metric and what a replica should carry of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SignalPolicy {
    /// The metric as the user named it.
    pub metric: String,
    /// Where it is read, in the caller's words. Metric and place together are what a signal is known by: its windows are
    /// kept across policy changes, and two signals never share one.
    #[serde(default)]
    pub read_from: String,
    /// How values of several pods make a fleet's total.
    pub kind: Kind,
    /// Target value per replica, in the metric's unit; above 0.
    pub target: f64,
    /// Queues up without bound while capacity is missing: its growth while pods start says nothing new.
    pub backlog: bool,
    /// What observations are summed up as, those of all pods together; of a metric that is not read from histograms: none.
    #[serde(default)]
    pub statistic: Option<Statistic>,
    /// What one reading stands for.
    #[serde(default)]
    pub scope: Scope,
    /// How often it is read.
    #[serde(default)]
    pub pace: Pace,
}

impl SignalPolicy {
    /// A signal read from every pod once a second.
    pub fn of_pods(metric: &str, kind: Kind, target: f64) -> Self {
        Self {
            metric: metric.to_owned(),
            read_from: String::new(),
            kind,
            target,
            backlog: false,
            statistic: None,
            scope: Scope::Pod,
            pace: Pace::default(),
        }
    }

    /// Whether this is the same signal, if perhaps with another target.
    pub fn is_same(&self, metric: &str, read_from: &str) -> bool {
        self.metric == metric && self.read_from == read_from
    }

    /// The window of this signal where the policy asks for `window`: never shorter than two intervals, so that what is
    /// read slowly has at least two rounds in it.
    pub fn window(&self, window: Duration) -> Duration {
        window.max(self.pace.interval * 2)
    }
}

/// Whether what is decided is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum Mode {
    /// It is.
    #[default]
    Auto,
    /// Nothing is written; the number is a recommendation.
    Recommend,
    /// Nothing is written.
    Paused,
}

/// A count that a person ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The replicas; the bounds bind them.
    pub replicas: u32,
    /// From then on the order is over; `None`: it stands until it is taken back.
    pub until: Option<Instant>,
}

/// What a person ordered, above all that is decided. The mode stands above the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Hold {
    /// Whether anything is written at all.
    pub mode: Mode,
    /// Which count is written, whatever is decided.
    pub order: Option<Order>,
}

impl Hold {
    /// The order in force at `now`.
    pub fn order_at(&self, now: Instant) -> Option<Order> {
        self.order.filter(|order| order.until.is_none_or(|until| now < until))
    }
}

/// A schedule whose bounds are in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduled {
    /// The schedule names its own min: reason enough to bring a target back that was switched off.
    pub min_explicit: bool,
}

/// What the user wants of one target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// KPA or APA, with its settings.
    pub strategy: Strategy,
    /// Fewest replicas, now.
    pub min_replicas: u32,
    /// Most replicas, now; at least `min_replicas` and at least 1.
    pub max_replicas: u32,
    /// The bounds are a schedule's; none: they are the user's at all other times.
    pub scheduled: Option<Scheduled>,
    /// The signals, at most [`MAX_SIGNALS`]; the greatest proposal wins.
    pub signals: Vec<SignalPolicy>,
    /// Within any 10 s up to at most `ceil(rate × base)`; above 1.
    pub max_scale_up_rate: f64,
    /// Within any 10 s down to at least `floor(base ÷ rate)`; above 1.
    pub max_scale_down_rate: f64,
    /// A raise must have been wanted for this long (Kubernetes: scale-up stabilisation window).
    pub up_window: Duration,
    /// A lowering must have been wanted for this long (Kubernetes: scale-down stabilisation window).
    pub down_window: Duration,
    /// The fewest replicas proposed while there is any load.
    pub activation_scale: u32,
    /// What a person ordered.
    #[serde(default)]
    pub hold: Hold,
}

impl Policy {
    /// A KPA policy with one signal and every default.
    pub fn kpa(metric: &str, kind: Kind, target: f64, replicas: RangeInclusive<u32>) -> Self {
        Self::with_defaults(Strategy::Kpa(KpaPolicy::default()), metric, kind, target, replicas)
    }

    /// An APA policy with one signal and every default.
    pub fn apa(metric: &str, kind: Kind, target: f64, replicas: RangeInclusive<u32>) -> Self {
        Self::with_defaults(Strategy::Apa(ApaPolicy::default()), metric, kind, target, replicas)
    }

    fn with_defaults(
        strategy: Strategy,
        metric: &str,
        kind: Kind,
        target: f64,
        replicas: RangeInclusive<u32>,
    ) -> Self {
        Self {
            strategy,
            min_replicas: *replicas.start(),
            max_replicas: *replicas.end(),
            scheduled: None,
            signals: vec![SignalPolicy::of_pods(metric, kind, target)],
            max_scale_up_rate: 2.0,
            max_scale_down_rate: 2.0,
            up_window: Duration::ZERO,
            down_window: Duration::from_mins(5),
            activation_scale: 1,
            hold: Hold::default(),
        }
    }

    /// `replicas` within the bounds.
    pub(crate) fn clamp(&self, replicas: u32) -> u32 {
        replicas.clamp(self.min_replicas, self.max_replicas.max(self.min_replicas))
    }

    /// The longer of the strategy's windows.
    pub fn longest_window(&self) -> Duration {
        match &self.strategy {
            Strategy::Kpa(kpa) => kpa.stable_window.max(kpa.panic_window),
            Strategy::Apa(apa) => apa.window,
        }
    }

    /// How long a signal must have been observed without a gap before anything is lowered.
    pub fn full_window(&self) -> Duration {
        self.longest_window().max(Duration::from_mins(1))
    }
}

//! The gauges of all targets, taken from the index when somebody asks for them, and never kept.

use std::fmt::Error;
use std::sync::Weak;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};
use prometheus_client::metrics::MetricType;
use windlass_scaling::{Capacity, Health, Strategy};

use crate::Shared;
use crate::autoscaler::{Active, Key};
use crate::hpa::{Native, NotDecided};
use crate::leadership::Leadership;

#[derive(Debug)]
pub(super) struct Figures {
    shared: Weak<Shared>,
}

/// The numbers of one target.
struct Target {
    key: Key,
    algorithm: &'static str,
    /// Why the last decision is what it is, in AIBrix's words.
    reason: String,
    desired: u32,
    would_be: u32,
    actual: u32,
    min: u32,
    max: u32,
    capacity: Option<Capacity>,
    /// Seconds from one reading of a page to the next, and of an engine's processor for one.
    interval: Option<f64>,
    service: Option<f64>,
    signals: Vec<Signal>,
}

struct Signal {
    /// Position in metricsSources: two sources may have the same metric.
    source: String,
    metric: String,
    health: &'static str,
    total: Option<f64>,
    coverage: Option<f64>,
    age_seconds: Option<f64>,
}

/// What is asked of the index at once.
#[derive(Default)]
struct Snapshot {
    targets: Vec<Target>,
    pods: usize,
    leadership: Leadership,
    strain: f64,
}

impl Figures {
    pub(super) fn new(shared: Weak<Shared>) -> Self {
        Self { shared }
    }

    fn snapshot(&self) -> Snapshot {
        let Some(shared) = self.shared.upgrade() else { return Snapshot::default() };
        let mut leadership = shared.leadership.borrow().clone();
        leadership.leading &= !shared.recommend_only;
        let now = shared.clock.now();
        let index = shared.index.lock();
        let active = index.autoscalers.iter().filter_map(|(key, autoscaler)| match &autoscaler.state {
            Ok(active) => active.scale.is_ok().then(|| Target::of(key, active, now)),
            Err(NotDecided::Native(native)) => Target::of_hpa(key, native),
            Err(NotDecided::Invalid(_)) => None,
        });
        Snapshot { targets: active.collect(), pods: index.known_pods(), leadership, strain: index.strain() }
    }
}

impl Target {
    fn of(key: &Key, active: &Active, now: windlass_scaling::Instant) -> Self {
        let policy = &active.resolved.policy;
        let algorithm = match policy.strategy {
            Strategy::Kpa(_) => "KPA",
            Strategy::Apa(_) => "APA",
        };
        let (desired, actual) = (active.decision.replicas, active.facts.spec_replicas);
        let (observation, pace) = (active.observation.as_ref(), active.pace());
        let signals = policy.signals.iter().zip(observation.into_iter().flat_map(|seen| &seen.signals));
        Self {
            key: key.clone(),
            algorithm,
            reason: reason(algorithm, desired, actual),
            desired,
            would_be: active.decision.would_be,
            actual,
            min: policy.min_replicas,
            max: policy.max_replicas,
            capacity: observation.map(|seen| seen.capacity),
            interval: pace.as_ref().map(|pace| pace.interval.as_secs_f64()),
            service: pace.and_then(|pace| pace.service).map(|service| service.as_secs_f64()),
            signals: signals
                .enumerate()
                .map(|(source, (signal, seen))| Signal {
                    source: source.to_string(),
                    metric: signal.metric.clone(),
                    health: health_name(seen.health),
                    total: seen.total,
                    coverage: (seen.ready > 0).then(|| seen.coverage()),
                    age_seconds: seen.newest_reading.map(|at| (now - at).as_secs_f64()),
                })
                .collect(),
        }
    }

    /// Of a target whose HorizontalPodAutoscaler was looked at by its controller.
    fn of_hpa(key: &Key, native: &Native) -> Option<Self> {
        let mirror = native.mirror.as_ref()?;
        let count = |replicas: i32| u32::try_from(replicas).unwrap_or(0);
        let (desired, actual) = (count(mirror.desired), count(mirror.current?));
        let policy = &native.resolved.policy;
        Some(Self {
            key: key.clone(),
            algorithm: "HPA",
            reason: reason("HPA", desired, actual),
            desired,
            would_be: desired,
            actual,
            min: policy.min_replicas,
            max: policy.max_replicas,
            capacity: None,
            interval: None,
            service: None,
            signals: Vec::new(),
        })
    }

    fn labels(&self) -> [(&'static str, &str); 2] {
        [("namespace", &self.key.namespace), ("name", &self.key.name)]
    }

    fn labels_of<'a>(&'a self, signal: &'a Signal) -> [(&'static str, &'a str); 4] {
        let [namespace, name] = self.labels();
        [namespace, name, ("source", &signal.source), ("metric", &signal.metric)]
    }
}

/// AIBrix's words.
fn reason(algorithm: &str, desired: u32, actual: u32) -> String {
    match desired.cmp(&actual) {
        std::cmp::Ordering::Greater => format!("{} above target", algorithm.to_lowercase()),
        std::cmp::Ordering::Less => "All metrics below target".to_owned(),
        std::cmp::Ordering::Equal => "stable".to_owned(),
    }
}

pub(super) fn health_name(health: Health) -> &'static str {
    match health {
        Health::Observed => "observed",
        Health::NoRound => "no_round",
        Health::Blind => "blind",
        Health::NoReadyPods => "no_ready_pods",
    }
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let snapshot = self.snapshot();
        of_process(&mut encoder, &snapshot)?;
        of_targets(&mut encoder, &snapshot.targets)?;
        of_paces(&mut encoder, &snapshot.targets)?;
        of_signals(&mut encoder, &snapshot.targets)
    }
}

fn gauge<'a>(
    encoder: &'a mut DescriptorEncoder<'_>,
    name: &'a str,
    help: &str,
) -> Result<MetricEncoder<'a>, Error> {
    encoder.encode_descriptor(name, help, None, MetricType::Gauge)
}

/// Name and help of a metric of targets, and where its value is.
type OfTarget = (&'static str, &'static str, fn(&Target) -> u32);
/// The same for what may be unknown.
type OfPace = (&'static str, &'static str, fn(&Target) -> Option<f64>);
/// The same for metrics of signals.
type OfSignal = (&'static str, &'static str, fn(&Signal) -> Option<f64>);

fn of_process(encoder: &mut DescriptorEncoder<'_>, snapshot: &Snapshot) -> Result<(), Error> {
    let Leadership { leading, transitions, renewed, .. } = &snapshot.leadership;
    let renewed = renewed.map_or(0.0, |at| at.as_second() as f64);
    for (name, help, value) in [
        ("windlass_targets", "Targets that can be scaled", snapshot.targets.len() as f64),
        ("windlass_pods", "Pods known", snapshot.pods as f64),
        ("windlass_leading", "1 if this process leads and may write", f64::from(u8::from(*leading))),
        ("windlass_lease_transitions", "Changes of the Lease's holder", f64::from(*transitions)),
        (
            "windlass_lease_renewed_timestamp_seconds",
            "Last renewal of the Lease, by its holder's clock",
            renewed,
        ),
    ] {
        gauge(encoder, name, help)?.encode_gauge(&value)?;
    }
    let help =
        "How many times too short --own-cpu-share is for the pace that targets want; 1 while it suffices";
    gauge(encoder, "windlass_own_cpu_strain", help)?.encode_gauge(&snapshot.strain)
}

fn of_paces(encoder: &mut DescriptorEncoder<'_>, targets: &[Target]) -> Result<(), Error> {
    let values: [OfPace; 2] = [
        (
            "windlass_scrape_interval_seconds",
            "From one reading of a pod's page to the next, at present",
            |target| target.interval,
        ),
        (
            "windlass_scrape_service_seconds",
            "An engine's processor time for one reading of its pages: at most this",
            |target| target.service,
        ),
    ];
    for (name, help, value) in values {
        let mut metric = gauge(encoder, name, help)?;
        for target in targets {
            let Some(value) = value(target) else { continue };
            metric.encode_family(&target.labels())?.encode_gauge(&value)?;
        }
    }
    Ok(())
}

fn of_targets(encoder: &mut DescriptorEncoder<'_>, targets: &[Target]) -> Result<(), Error> {
    let counts: [OfTarget; 5] = [
        ("windlass_desired_replicas", "Replicas decided", |target| target.desired),
        ("windlass_would_be_replicas", "Replicas decided if no person held them", |target| target.would_be),
        ("windlass_actual_replicas", "spec.replicas of the target", |target| target.actual),
        ("windlass_min_replicas", "Fewest replicas in force", |target| target.min),
        ("windlass_max_replicas", "Most replicas in force", |target| target.max),
    ];
    for (name, help, count) in counts {
        let mut metric = gauge(encoder, name, help)?;
        for target in targets {
            metric.encode_family(&target.labels())?.encode_gauge(&count(target))?;
        }
    }
    let mut metric =
        gauge(encoder, "windlass_replicas", "Replicas by state: ready, starting, stuck, leaving")?;
    for target in targets {
        let Some(capacity) = target.capacity else { continue };
        for (state, count) in [
            ("ready", capacity.ready),
            ("starting", capacity.starting),
            ("stuck", capacity.stuck),
            ("leaving", capacity.leaving),
        ] {
            let [namespace, name] = target.labels();
            metric.encode_family(&[namespace, name, ("state", state)])?.encode_gauge(&count)?;
        }
    }
    let help = "Replicas decided; AIBrix's own name, kept for its dashboards";
    let mut metric = gauge(encoder, "aibrix_autoscaler_scale_action", help)?;
    for target in targets {
        let [namespace, name] = target.labels();
        let labels = [namespace, name, ("algorithm", target.algorithm), ("reason", target.reason.as_str())];
        metric.encode_family(&labels)?.encode_gauge(&target.desired)?;
    }
    Ok(())
}

fn of_signals(encoder: &mut DescriptorEncoder<'_>, targets: &[Target]) -> Result<(), Error> {
    let values: [OfSignal; 3] = [
        ("windlass_signal_value", "The fleet's total of a metric; absent while unknown", |signal| {
            signal.total
        }),
        ("windlass_signal_coverage", "Ready pods with a fresh reading, of all ready pods", |signal| {
            signal.coverage
        }),
        ("windlass_signal_age_seconds", "Age of the newest reading", |signal| signal.age_seconds),
    ];
    for (name, help, value) in values {
        let mut metric = gauge(encoder, name, help)?;
        for target in targets {
            for signal in &target.signals {
                let Some(value) = value(signal) else { continue };
                metric.encode_family(&target.labels_of(signal))?.encode_gauge(&value)?;
            }
        }
    }
    let help = "1 for the health class that a signal is in: observed, no_round, blind, no_ready_pods";
    let mut metric = gauge(encoder, "windlass_signal_health", help)?;
    for target in targets {
        for signal in &target.signals {
            let [namespace, name, source, metric_name] = target.labels_of(signal);
            let labels = [namespace, name, source, metric_name, ("health", signal.health)];
            metric.encode_family(&labels)?.encode_gauge(&1_i64)?;
        }
    }
    Ok(())
}

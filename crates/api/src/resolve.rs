//! Every dialect made into one policy.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::MetricSpec;
use windlass_metrics::Catalogue;
use windlass_scaling::{ApaPolicy, Instant, KpaPolicy, Order, Policy, Strategy};

use crate::holds::{self, Holds, Override};
use crate::hpa;
use crate::podautoscaler::PodAutoscaler;
use crate::schedule::{self, Schedules};
use crate::settings::{Algorithm, Id, Origin, Setting, Settings};
use crate::signals;
use crate::source::Source;
use crate::target::TargetRef;
use crate::validate::{self, SpecError};
use crate::warning::{self, Warning};

/// An object that can be acted upon.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    /// What is scaled; it is in the object's own namespace.
    pub target: TargetRef,
    /// All numbers; the bounds are the object's own. An override is in force only after [`Resolved::at`]. Of strategy HPA
    /// it is bounds, rates, windows and hold alone: it has no signals, and is never decided on.
    pub policy: Policy,
    /// Strategy HPA: what the HorizontalPodAutoscaler reads. `None`: the strategy is one of our own.
    pub hpa: Option<Vec<MetricSpec>>,
    /// The bounds at every time.
    pub schedules: Schedules,
    /// A count that is ordered until a time of the wall clock.
    pub overriding: Option<Override>,
    /// A safety switch that cannot be read, and so pauses.
    pub unreadable_switch: Option<&'static str>,
    /// It is over, and the warnings say so.
    says_over: bool,
    /// Where each signal is read, in the order of the policy's signals.
    pub sources: Vec<Source>,
    /// In which the metrics' names were looked up.
    pub catalogue: Arc<Catalogue>,
    /// What its author may not expect, ordered by subject.
    pub warnings: Vec<Warning>,
    /// Each number and where it comes from.
    pub settings: Vec<Setting>,
}

/// Reads an object of any generation, with the built-in catalogue; see [`resolve_by`].
///
/// What stops scaling is an error, all of them at once; what is merely ignored or read in another way is a warning.
///
/// ```
/// let object = serde_json::json!({
///     "apiVersion": "autoscaling.aibrix.ai/v1alpha1",
///     "kind": "PodAutoscaler",
///     "metadata": {"name": "llama", "annotations": {"kpa.autoscaling.aibrix.ai/stable-window": "90s"}},
///     "spec": {
///         "scaleTargetRef": {"kind": "Deployment", "name": "llama2-70b"},
///         "maxReplicas": 10,
///         "targetMetric": "inflight",
///         "targetValue": "20",
///         "scalingStrategy": "KPA",
///     },
/// });
/// let resolved = windlass_api::resolve(&serde_json::from_value(object)?).unwrap();
/// assert_eq!(resolved.target.to_string(), "Deployment/llama2-70b");
/// assert_eq!(resolved.policy.longest_window().as_secs(), 90);
/// # Ok::<(), serde_json::Error>(())
/// ```
pub fn resolve(object: &PodAutoscaler) -> Result<Resolved, Vec<SpecError>> {
    resolve_by(object, Catalogue::builtin())
}

/// Reads an object of any generation; what its metrics' names mean is what `catalogue` says.
pub fn resolve_by(object: &PodAutoscaler, catalogue: &Arc<Catalogue>) -> Result<Resolved, Vec<SpecError>> {
    let mut errors = validate::validate(object);
    let spec = &object.spec;
    let schedules = schedule::read(spec, &mut errors);
    let target = TargetRef::read(object, &mut errors);
    let algorithm = match spec.scaling_strategy.as_str() {
        "KPA" => Some(Algorithm::Kpa),
        "APA" => Some(Algorithm::Apa),
        "HPA" => Some(Algorithm::Hpa),
        _ => None,
    };
    let Some(algorithm) = algorithm.filter(|_| errors.is_empty()) else {
        return Err(errors);
    };

    let mut warnings = Vec::new();
    let settings = Settings::read(object, algorithm, &mut warnings);
    let holds = Holds::read(
        object,
        settings.count(Id::MinReplicas)..=spec.max_replicas.unsigned_abs(),
        &mut warnings,
    );
    let is_hpa = algorithm == Algorithm::Hpa;
    let (metrics, targets) =
        if is_hpa { hpa::read(object, catalogue, &mut warnings, &mut errors) } else { Default::default() };
    let signals = if is_hpa { Vec::new() } else { signals::of(spec, catalogue, &mut warnings, &mut errors) };
    if !errors.is_empty() {
        return Err(errors);
    }
    warning::of_metadata(object, &mut warnings);
    warning::of_spec(spec, &mut warnings);
    target.warn(object, &mut warnings);

    let mut report: Vec<Setting> = settings.report(algorithm).collect();
    report.push(Setting {
        name: "max replicas".to_owned(),
        value: spec.max_replicas.to_string(),
        origin: Origin::SpecField("spec.maxReplicas".into()),
    });
    report.extend(holds.settings);
    report.extend(signals.iter().flat_map(|signal| signal.settings.iter().cloned()));
    report.extend(targets);
    let (signals, sources) = signals.into_iter().map(|signal| (signal.policy, signal.source)).unzip();
    let mut resolved = Resolved {
        target,
        policy: Policy {
            strategy: strategy(algorithm, &settings),
            min_replicas: settings.count(Id::MinReplicas),
            max_replicas: spec.max_replicas.unsigned_abs(),
            scheduled: None,
            signals,
            max_scale_up_rate: settings.number(Id::MaxScaleUpRate),
            max_scale_down_rate: settings.number(Id::MaxScaleDownRate),
            up_window: settings.span(Id::UpWindow),
            down_window: settings.span(Id::DownWindow),
            activation_scale: settings.count(Id::ActivationScale),
            hold: holds.hold,
        },
        hpa: is_hpa.then_some(metrics),
        schedules,
        overriding: holds.overriding,
        unreadable_switch: holds.unreadable,
        says_over: false,
        sources,
        catalogue: Arc::clone(catalogue),
        warnings: Vec::new(),
        settings: report,
    };
    if is_hpa {
        hpa::warn_of_settings(&resolved, &mut warnings);
    }
    warnings.sort_unstable();
    resolved.warnings = warnings;
    Ok(resolved)
}

impl Resolved {
    /// Tells the time: `wall` on the wall clock is `now`. Puts an override in force until its end, or says that it is
    /// over. Whether the warnings changed. To be called again from time to time: clocks are set and machines sleep.
    pub fn at(&mut self, wall: Timestamp, now: Instant) -> bool {
        let Some(order) = self.overriding else { return false };
        let left = Duration::try_from(order.until.duration_since(wall)).unwrap_or_default();
        let over = left.is_zero();
        self.policy.hold.order = (!over).then(|| Order { replicas: order.replicas, until: Some(now + left) });
        if over == self.says_over {
            return false;
        }
        self.says_over = over;
        let warning = holds::over(order);
        if over {
            self.warnings.push(warning);
            self.warnings.sort_unstable();
        } else {
            self.warnings.retain(|known| *known != warning);
        }
        true
    }
}

fn strategy(algorithm: Algorithm, settings: &Settings) -> Strategy {
    match algorithm {
        // Under HPA nobody asks.
        Algorithm::Kpa | Algorithm::Hpa => Strategy::Kpa(KpaPolicy {
            stable_window: settings.span(Id::StableWindow),
            panic_window: settings.span(Id::PanicWindow),
            panic_threshold: settings.number(Id::PanicThreshold),
        }),
        Algorithm::Apa => Strategy::Apa(ApaPolicy {
            window: settings.span(Id::ApaWindow),
            up_tolerance: settings.number(Id::UpTolerance),
            down_tolerance: settings.number(Id::DownTolerance),
        }),
    }
}

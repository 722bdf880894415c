//! Wording, and what makes a status worth writing.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::json;
use windlass_api::{PodAutoscaler, resolve};
use windlass_scaling::{Capacity, Health, Observation, Pod, PodState, PodUid, SignalObservation, Starts};

use super::essence::Essence;
use super::text::{says_the_same, status_of};
use crate::announce::Told;
use crate::autoscaler::{Active, Autoscaler, FAILED_GET_SCALE, Scale, ScaleProblem};
use crate::clock::Clock;
use crate::selector::Selector;
use crate::target::Count;

struct World {
    clock: Clock,
    autoscaler: Autoscaler,
}

fn signal(health: Health, silent: u32, age_secs: Option<u64>, clock: &Clock) -> SignalObservation {
    let ready = if health == Health::NoReadyPods { 0 } else { 8 };
    SignalObservation {
        health,
        ready,
        fresh: ready - silent,
        silent,
        left_out: 0,
        newest_reading: age_secs.map(|age| clock.now().saturating_sub(Duration::from_secs(age))),
        total: (health == Health::Observed).then_some(160.0),
        idle: false,
        unfinished: false,
        at_least: None,
        held: None,
        mean: None,
        panic_mean: None,
        surge: None,
        last_round: None,
        unbroken_since: None,
        resumed: false,
    }
}

impl World {
    fn new() -> Self {
        let object: PodAutoscaler = serde_json::from_value(json!({
            "apiVersion": "autoscaling.aibrix.ai/v1alpha1",
            "kind": "PodAutoscaler",
            "metadata": {"name": "pa", "namespace": "ns", "uid": "u", "generation": 1},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "engine"},
                "maxReplicas": 10, "scalingStrategy": "KPA", "targetMetric": "inflight", "targetValue": "20",
            },
        }))
        .unwrap();
        let clock = Clock::start();
        let active = Active::new(resolve(&object).unwrap(), &clock, tokio::time::Instant::now());
        let told = Told::of(&object);
        let (state, history) = (Ok(Box::new(active)), [].into());
        let object = std::sync::Arc::new(object);
        let autoscaler = Autoscaler { object, state, history, remembers: false, told, due: None };
        let mut world = Self { clock, autoscaler };
        world.scale(Some("app=engine"));
        world.see(Health::Observed, 0, Some(0));
        world
    }

    fn active(&mut self) -> &mut Active {
        self.autoscaler.state.as_mut().unwrap()
    }

    fn scale(&mut self, selector: Option<&str>) {
        let now = self.clock.now();
        let scale = match selector {
            Some(selector) => Ok(Scale {
                uid: "d".to_owned(),
                resource: kube::core::ApiResource::erase::<k8s_openapi::api::apps::v1::Deployment>(&()),
                replicas: 8,
                selector: Selector::parse(selector),
                count: Count::Scale,
                set_by: None,
                pods_per_replica: 1,
            }),
            None => Err(ScaleProblem { reason: FAILED_GET_SCALE, message: "it does not exist".to_owned() }),
        };
        let clock = self.clock;
        self.active().set_scale(scale, true, &clock);
        let state = PodState::Ready { since: now };
        self.active().facts.set_pods((1..=8).map(|uid| Pod { uid: PodUid(uid), state }));
        self.active().decision.replicas = 8;
    }

    /// One signal of 8 pods, whose newest reading has this age.
    fn see(&mut self, health: Health, silent: u32, age_secs: Option<u64>) {
        let signal = signal(health, silent, age_secs, &self.clock);
        let now = self.clock.now();
        let capacity = Capacity { ready: signal.ready, starting: 8 - signal.ready, stuck: 0, leaving: 0 };
        let active = self.active();
        active.outages.look(&[signal], |_| crate::outages::PATIENCE, now);
        active.observation = Some(Observation {
            spec_replicas: 8,
            capacity,
            starts: Starts {
                under_way: 0,
                failed: 0,
                limit: Duration::from_mins(15),
                raised_from: None,
                p99: None,
            },
            rollout: false,
            set_by_hand: None,
            signals: [signal].into_iter().collect(),
        });
    }

    fn condition(&self, type_: &str) -> Option<Condition> {
        let status = status_of(&self.autoscaler, None, &self.clock);
        status.conditions.into_iter().find(|condition| condition.type_ == type_)
    }

    /// `STATUS reason message` of a condition; instants are shown as `T`.
    #[track_caller]
    fn check(&self, type_: &str, expect: &str) {
        let found = self.condition(type_).map(|condition| {
            let timeless = condition.message.split(' ').map(|word| {
                let instant = word.trim_end_matches(',').parse::<jiff::Timestamp>().is_ok();
                if instant { word.replace(word.trim_end_matches(','), "T") } else { word.to_owned() }
            });
            let message = timeless.collect::<Vec<_>>().join(" ");
            format!("{} {} {message}", condition.status, condition.reason).trim_end().to_owned()
        });
        assert_eq!(found.as_deref().unwrap_or("absent"), expect, "{type_}");
    }

    /// Whether a change makes the status worth writing.
    #[track_caller]
    fn check_change(&mut self, what: &str, worth: bool, change: impl FnOnce(&mut Self)) {
        let before = Essence::of(&self.autoscaler);
        change(self);
        assert_eq!(before != Essence::of(&self.autoscaler), worth, "{what}");
    }
}

#[tokio::test]
async fn metrics_in_words() {
    let mut world = World::new();
    let metrics = "MetricsAvailable";
    world.check(metrics, "True Fresh");
    world.see(Health::Observed, 2, Some(0));
    world.check(metrics, "True Thin inflight: 2 of 8 pods are silent");
    world.see(Health::Blind, 8, Some(62));
    world.check(metrics, "False Blind inflight: blind since T, holding 8");
    world.see(Health::NoReadyPods, 0, None);
    world.check(metrics, "False NoReadyPods no pod is ready; held at 8");
    world.see(Health::NoRound, 0, Some(0));
    world.check(metrics, "False NoRound inflight: the ready pods change faster than they are read");
    let mut world = World::new();
    world.see(Health::Blind, 8, None);
    world.check(metrics, "False Blind inflight: no reading so far, holding 8");
    world.active().facts.set_pods([]);
    world.check(metrics, "False NoPods the selector matches no pod of the target; held at 8");
    world.scale(Some(""));
    assert!(world.condition(metrics).unwrap().message.starts_with("the target gives no usable selector"));
}

/// p50 and p95 of one metric are two signals.
#[tokio::test]
async fn a_signal_is_named_with_its_statistic() {
    let mut world = World::new();
    world.active().resolved.policy.signals[0].statistic = Some(windlass_scaling::Statistic::Quantile(0.95));
    world.see(Health::Blind, 8, None);
    world.check("MetricsAvailable", "False Blind inflight p95: no reading so far, holding 8");
    let status = status_of(&world.autoscaler, None, &world.clock);
    assert_eq!(status.signals[0].statistic.as_deref(), Some("p95"));
}

/// What was written of an outage is true for as long as it stands.
#[tokio::test]
async fn the_words_do_not_grow_old() {
    let mut world = World::new();
    world.see(Health::Blind, 8, Some(3));
    let message = |world: &World| world.condition("MetricsAvailable").unwrap().message;
    let said = message(&world);
    world.check_change("time", false, |world| world.see(Health::Blind, 8, Some(3)));
    assert_eq!(message(&world), said);
    assert!(!said.contains(" for "), "{said}");
}

#[tokio::test]
async fn aibrix_conditions_keep_their_polarity() {
    let mut world = World::new();
    world.check("ValidSpec", "True AsExpected");
    world.check("AbleToScale", "True SucceededGetScale");
    world.check("ScalingActive", "False Stable desired=8, actual=8");
    world.check("Ready", "True AsExpected");
    world.active().decision.replicas = 10;
    world.check("ScalingActive", "True ReconcilingScaleDiff desired=10, actual=8");
    world.check("Ready", "False ReconcilingScaleDiff");
    world.active().write_problem = Some("replicas cannot be set to 10: refused".to_owned());
    world.check("AbleToScale", "False FailedUpdateScale replicas cannot be set to 10: refused");
    world.active().quarantine = Some("overflow".to_owned());
    world.check(
        "Quarantined",
        "True DecisionPanicked held at 8: a decision failed (overflow); please report this, and change the spec to try again",
    );
    world.active().warnings = Some("spec.predictive: is not supported yet".to_owned());
    world.check("PolicyWarnings", "True ReadWithWarnings spec.predictive: is not supported yet");
    world.scale(None);
    world.check("AbleToScale", "False FailedGetScale it does not exist");
    world.check("Ready", "False FailedGetScale the target is not known");
    world.check("ScalingActive", "absent");
}

#[tokio::test]
async fn what_makes_a_status_worth_writing() {
    let mut world = World::new();
    world.check_change("nothing", false, |_| ());
    world.check_change("a new total", false, |world| {
        world.active().observation.as_mut().unwrap().signals[0].total = Some(170.0);
    });
    world.check_change("a new age", false, |world| world.see(Health::Observed, 0, Some(1)));
    world.check_change("a silent pod", true, |world| world.see(Health::Observed, 1, Some(0)));
    world.check_change("another one", true, |world| world.see(Health::Observed, 2, Some(0)));
    world.check_change("an outage", true, |world| world.see(Health::Blind, 8, Some(4)));
    world.check_change("its going on", false, |world| world.see(Health::Blind, 8, Some(5)));
    world.check_change("its end", true, |world| world.see(Health::Observed, 0, Some(0)));
    world.check_change("a decision", true, |world| world.active().decision.replicas = 9);
    world.check_change("a write", true, |world| world.active().facts.spec_replicas = 9);
    world.check_change("a problem", true, |world| world.active().write_problem = Some("refused".to_owned()));
    world.check_change("no pods", true, |world| world.active().facts.set_pods([]));
    world.check_change("the end of the target", true, |world| world.scale(None));
    world.check_change("our own status", false, |world| {
        std::sync::Arc::make_mut(&mut world.autoscaler.object).metadata.resource_version =
            Some("7".to_owned());
    });
}

/// After a restart there is nothing to write, although values and ages are others.
#[tokio::test]
async fn what_the_process_before_wrote_is_known() {
    let mut world = World::new();
    let made = status_of(&world.autoscaler, None, &world.clock);
    // As the API server gives it back.
    let written = serde_json::from_value(serde_json::to_value(made).unwrap()).unwrap();
    world.clock = world.clock.later(Duration::from_secs(5));
    world.see(Health::Observed, 0, Some(1));
    world.active().observation.as_mut().unwrap().signals[0].total = Some(170.0);
    let same =
        |world: &World| says_the_same(&written, &status_of(&world.autoscaler, Some(&written), &world.clock));
    assert!(same(&world));
    world.see(Health::Observed, 2, Some(1));
    assert!(!same(&world), "pods fell silent");
    world.see(Health::Observed, 0, Some(1));
    world.active().decision.replicas = 9;
    assert!(!same(&world), "another decision");
}

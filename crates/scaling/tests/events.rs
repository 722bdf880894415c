//! Signals whose values need events: a latency's quantile over the fleet, and what it means that nothing happens.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::time::Duration;

use proptest::prelude::*;
use windlass_metrics::Histogram;
use windlass_scaling::{
    Basis, Decision, Facts, Health, Instant, Kind, Memory, Observation, Pod, PodState, PodUid, Policy,
    Readings, Reason, SignalObservation, Statistic, decide, inflight_beside, observe,
};

/// Upper bounds in seconds, as engines have them.
const BOUNDS: [f64; 8] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

fn at(seconds: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(seconds)
}

fn observed(values: &[f64]) -> Histogram {
    let up_to = |bound: f64| values.iter().filter(|value| **value <= bound).count() as f64;
    let bounds = BOUNDS.into_iter().chain([f64::INFINITY]);
    Histogram::new(bounds.map(|bound| (bound, up_to(bound))), Some(values.iter().sum())).unwrap()
}

/// What a pod's page tells.
#[derive(Debug, Clone)]
enum Page {
    /// Of so many seconds each, and the requests under way.
    Observed(Vec<f64>, f64),
    /// Of another engine: a number of its own.
    Number(f64),
    /// Nothing, because it does not come.
    Silent,
}

struct World {
    policy: Policy,
    facts: Facts,
    readings: Readings,
    memory: Memory,
    observation: Option<Observation>,
    decision: Decision,
}

impl World {
    fn new(mut policy: Policy, statistic: Statistic, pods: u32) -> Self {
        policy.signals[0].statistic = Some(statistic);
        let mut facts = Facts::new(pods, Instant::ZERO);
        let state = PodState::Ready { since: Instant::ZERO };
        facts.set_pods((1..=u128::from(pods)).map(|uid| Pod { uid: PodUid(uid), state }));
        Self {
            memory: Memory::new(&policy),
            policy,
            facts,
            readings: Readings::default(),
            observation: None,
            decision: Decision::default(),
        }
    }

    /// Every pod's page comes once, and the target is decided.
    fn round(&mut self, second: u64, pages: &[Page]) -> &SignalObservation {
        let (before, now) = (at(second - 1), at(second));
        for (page, uid) in pages.iter().zip(1..) {
            match page {
                Page::Observed(values, inflight) => {
                    let histogram = if values.is_empty() { Histogram::default() } else { observed(values) };
                    self.readings.record_events(Some(PodUid(uid)), 0, histogram, before, now);
                    self.readings.record(PodUid(uid), inflight_beside(0), *inflight, now);
                }
                Page::Number(value) => {
                    self.readings.record(PodUid(uid), 0, *value, now);
                }
                Page::Silent => {}
            }
        }
        let seen = observe(&self.policy, &self.facts, &self.readings, &mut self.memory, now);
        decide(&self.policy, &seen, &mut self.memory, now, &mut self.decision);
        &self.observation.insert(seen).signals[0]
    }

    fn rounds(&mut self, seconds: std::ops::RangeInclusive<u64>, pages: &[Page]) -> &SignalObservation {
        for second in seconds {
            self.round(second, pages);
        }
        &self.observation.as_ref().unwrap().signals[0]
    }
}

fn kpa() -> Policy {
    Policy::kpa("ttft", Kind::Latency, 0.5, 1..=20)
}

fn apa() -> Policy {
    Policy::apa("ttft", Kind::Latency, 0.5, 1..=20)
}

const P95: Statistic = Statistic::Quantile(0.95);

/// So many pods and pages at 60 s, after five seconds of the same.
#[track_caller]
fn check(statistic: Statistic, pages: &[Page], health: Health, total: Option<f64>) {
    let mut world = World::new(apa(), statistic, pages.len() as u32);
    let seen = *world.rounds(60..=65, pages);
    assert_eq!((seen.health, seen.total, seen.idle), (health, total, false));
}

#[test]
fn pods_are_merged_before_the_statistic_is_taken() {
    let fast = Page::Observed(vec![0.2; 10], 1.0);
    let slow = Page::Observed(vec![0.7; 2], 1.0);
    // 12 observations, 10 of them up to 0.25. Not the mean of the pods' own medians.
    let merged = observed(&[&[0.2; 10][..], &[0.7; 2]].concat()).quantile(0.5).unwrap();
    check(Statistic::Quantile(0.5), &[fast.clone(), slow.clone()], Health::Observed, Some(2.0 * merged));
    check(Statistic::Mean, &[fast.clone(), slow], Health::Observed, Some(0.566_666_667));
    // A pod without requests carries what the fleet has.
    let median = observed(&[0.2; 10]).quantile(0.5).unwrap();
    let nothing = Page::Observed(vec![], 0.0);
    check(Statistic::Quantile(0.5), &[fast.clone(), nothing], Health::Observed, Some(2.0 * median));
    // An engine that tells a number of its own is one pod's value.
    let number = Page::Number(0.9);
    check(Statistic::Quantile(0.5), &[fast, number], Health::Observed, Some(median + 0.9));
    check(P95, &[Page::Number(0.9), Page::Observed(vec![], 5.0)], Health::Observed, Some(1.8));
}

/// The fresh pods' value stands for all; a silent pod carries at least the target.
#[test]
fn silence_dilutes_nothing() {
    let slow = Page::Observed(vec![0.7; 20], 1.0);
    let value = observed(&[0.7; 20]).quantile(0.95).unwrap();
    check(P95, &[slow.clone(), slow.clone(), Page::Silent], Health::Observed, Some(3.0 * value));
    let fast = Page::Observed(vec![0.04; 20], 1.0);
    let value = observed(&[0.04; 20]).quantile(0.95).unwrap();
    check(P95, &[fast.clone(), fast, Page::Silent], Health::Observed, Some(2.0 * value + 0.5));
    check(P95, &[Page::Silent, Page::Silent], Health::Blind, None);
    // Below half coverage nothing is scaled by coverage, and nothing is lowered.
    let value = observed(&[0.7; 20]).quantile(0.95).unwrap();
    check(P95, &[slow, Page::Silent, Page::Silent], Health::Observed, Some(value + 1.0));
}

#[test]
fn below_half_coverage_nothing_is_lowered() {
    let mut policy = apa();
    policy.down_window = Duration::ZERO;
    let mut world = World::new(policy, P95, 4);
    let fast = Page::Observed(vec![0.01; 20], 0.0);
    world.rounds(60..=64, &[const { Page::Silent }; 4]);
    world.rounds(65..=200, &[fast, Page::Silent, Page::Silent, Page::Silent]);
    assert_eq!(world.decision.replicas, 4, "{:?}", world.decision.steps);
}

/// A latency above its target raises, by at most a doubling; one below it lowers.
#[test]
fn a_quantile_decides() {
    for policy in [kpa(), apa()] {
        let mut world = World::new(policy.clone(), P95, 2);
        let slow = Page::Observed(vec![8.0; 20], 4.0);
        world.rounds(60..=70, &[slow.clone(), slow]);
        assert_eq!(world.decision.replicas, 4, "{:?}", world.decision.steps);
        let mut world = World::new(policy, P95, 6);
        world.policy.down_window = Duration::ZERO;
        let fast = Page::Observed(vec![0.09; 20], 4.0);
        world.rounds(60..=121, &[const { Page::Silent }; 6].map(|_| fast.clone()));
        assert_eq!(world.decision.replicas, 3, "half of it at a time: {:?}", world.decision.steps);
    }
}

/// Nothing happens and nothing is asked for: min, once a whole window was seen. No value is made up for it, and the values
/// of before are not diluted.
#[test]
fn idle_asks_for_min() {
    for mut policy in [kpa(), apa()] {
        (policy.min_replicas, policy.down_window) = (2, Duration::ZERO);
        let mut world = World::new(policy, P95, 4);
        let idle = vec![Page::Observed(vec![], 0.0); 4];
        let seen = *world.rounds(60..=70, &idle);
        assert_eq!((seen.health, seen.idle, seen.total, seen.mean), (Health::Observed, true, None, None));
        assert_eq!(
            (world.decision.proposals[0].replicas, world.decision.proposals[0].basis),
            (2, Basis::Idle)
        );
        assert_eq!(world.decision.replicas, 4, "a window is not full: {:?}", world.decision.steps);
        world.rounds(71..=121, &idle);
        assert_eq!(world.decision.replicas, 2, "{:?}", world.decision.steps);

        let busy = vec![Page::Observed(vec![0.7; 20], 3.0); 4];
        let seen = *world.rounds(122..=123, &busy);
        let value = observed(&[0.7; 20]).quantile(0.95).unwrap();
        assert_eq!(seen.mean, Some(4.0 * value), "what was idle is no 0 in the mean");
    }
}

/// Requests are under way and none finished; or it is not known whether any is.
#[test]
fn nothing_finished_is_not_idle() {
    let unfinished = |pages: &[Page]| {
        let mut policy = apa();
        policy.down_window = Duration::ZERO;
        let mut world = World::new(policy, P95, 3);
        let fast = Page::Observed(vec![0.01; 20], 1.0);
        world.rounds(60..=100, &[fast.clone(), fast.clone(), fast]);
        let seen = *world.rounds(101..=300, pages);
        assert_eq!((seen.health, seen.idle, seen.unfinished), (Health::Blind, false, true));
        assert_eq!(seen.newest_reading, Some(at(100)));
        assert_eq!(world.decision.replicas, 3, "{:?}", world.decision.steps);
        let kept = world.decision.steps.iter().any(|step| matches!(step.reason, Reason::LoweringOff(_)));
        assert!(kept, "{:?}", world.decision.steps);
    };
    let idle = || Page::Observed(vec![], 0.0);
    unfinished(&[idle(), idle(), Page::Observed(vec![], 1.0)]);
    unfinished(&[idle(), idle(), Page::Observed(vec![], f64::NAN)]);
    unfinished(&[idle(), idle(), Page::Silent]);
}

/// Panic is not left because its load is over within the metric's window.
#[test]
fn idle_does_not_end_a_panic() {
    let mut policy = kpa();
    policy.down_window = Duration::ZERO;
    let mut world = World::new(policy, P95, 2);
    let page = |values: &[f64]| vec![Page::Observed(values.to_vec(), 0.0); 2];
    world.rounds(60..=120, &page(&[0.3; 20]));
    world.rounds(121..=130, &page(&[8.0; 20]));
    assert_eq!(world.decision.replicas, 4, "{:?}", world.decision.proposals);
    world.rounds(131..=150, &page(&[]));
    assert_eq!(world.decision.replicas, 4, "{:?}", world.decision.proposals);
    world.rounds(151..=300, &page(&[]));
    assert_eq!(world.decision.replicas, 1, "{:?}", world.decision.proposals);
}

proptest! {
    /// However the observations are spread over the pods, the fleet's quantile is that of all of them.
    #[test]
    fn the_fleets_quantile_is_that_of_the_union(
        values in prop::collection::vec((0.0..20.0_f64, 0_usize..5), 1..60),
        q in 0.01..1.0_f64,
    ) {
        let pages: Vec<Page> = (0..5).map(|pod| {
            let own = values.iter().filter(|(_, of)| *of == pod).map(|(value, _)| *value);
            Page::Observed(own.collect(), 0.0)
        }).collect();
        let all: Vec<f64> = values.iter().map(|(value, _)| *value).collect();
        let mut world = World::new(apa(), Statistic::Quantile(q), 5);
        let seen = *world.rounds(60..=61, &pages);
        let expected = windlass_scaling::significant(5.0 * observed(&all).quantile(q).unwrap());
        prop_assert_eq!(seen.total, Some(expected));
    }

    /// Whatever happens, what is no number is never a total, and the invariants (checked by `decide`) hold.
    #[test]
    fn any_sequence_keeps_the_invariants(
        rounds in prop::collection::vec(
            prop::collection::vec(prop_oneof![
                prop::collection::vec(0.0..20.0_f64, 0..4).prop_map(|values| Page::Observed(values, 0.0)),
                Just(Page::Observed(vec![], 0.0)),
                Just(Page::Observed(vec![], 2.0)),
                (0.0..9.0_f64).prop_map(Page::Number),
                Just(Page::Silent),
            ], 3), 1..80),
        panics in any::<bool>(),
    ) {
        let mut policy = if panics { kpa() } else { apa() };
        policy.down_window = Duration::ZERO;
        let mut world = World::new(policy, P95, 3);
        for (pages, second) in rounds.iter().zip(60..) {
            let seen = *world.round(second, pages);
            prop_assert!(!(seen.idle && seen.total.is_some()));
            prop_assert!(seen.total.is_none_or(|total| total.is_finite() && total >= 0.0));
            world.facts.spec_replicas = world.decision.replicas;
        }
    }
}

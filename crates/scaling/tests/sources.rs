//! Signals that are not read from the pods: totals of the fleet, means over its pods, and sources that are slow.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::time::Duration;

use proptest::prelude::*;
use windlass_scaling::*;

fn at(seconds: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(seconds)
}

fn signal(scope: Scope, interval: u64) -> SignalPolicy {
    let pace = Pace::every(Duration::from_secs(interval));
    SignalPolicy { scope, pace, ..SignalPolicy::of_pods("queue", Kind::Additive, 20.0) }
}

fn policy(apa: bool, signals: Vec<SignalPolicy>, min: u32) -> Policy {
    let policy = if apa { Policy::apa } else { Policy::kpa };
    Policy { signals, ..policy("queue", Kind::Additive, 20.0, min..=50) }
}

/// A target whose pods are all ready at once, at whatever count is decided.
struct World {
    policy: Policy,
    facts: Facts,
    readings: Readings,
    memory: Memory,
    decision: Decision,
    observation: Option<Observation>,
}

impl World {
    fn new(policy: Policy, replicas: u32) -> Self {
        let memory = Memory::new(&policy);
        let mut world = Self {
            policy,
            facts: Facts::new(replicas, Instant::ZERO),
            readings: Readings::default(),
            memory,
            decision: Decision::default(),
            observation: None,
        };
        world.set_pods(replicas, Instant::ZERO);
        world
    }

    fn set_pods(&mut self, replicas: u32, now: Instant) {
        let state = PodState::Ready { since: Instant::ZERO };
        self.facts.set_pods((1..=u128::from(replicas)).map(|uid| Pod { uid: PodUid(uid), state }));
        self.facts.ready_changed_at = now;
    }

    fn decide(&mut self, now: Instant) -> u32 {
        let observation = observe(&self.policy, &self.facts, &self.readings, &mut self.memory, now);
        decide(&self.policy, &observation, &mut self.memory, now, &mut self.decision);
        self.observation = Some(observation);
        if self.decision.replicas != self.facts.spec_replicas {
            self.facts.spec_replicas = self.decision.replicas;
            self.facts.spec_changed_at = now;
            self.set_pods(self.decision.replicas, now);
        }
        self.decision.replicas
    }

    /// One decision a second; the fleet's value by second, `None` where there is no reading.
    fn run(&mut self, seconds: std::ops::Range<u64>, value: impl Fn(u64) -> Option<f64>) -> u32 {
        let interval = self.policy.signals[0].pace.interval.as_secs();
        seconds.fold(self.facts.spec_replicas, |_, second| {
            if second % interval == 0
                && let Some(value) = value(second)
            {
                self.readings.record_fleet(0, value, at(second), at(second));
            }
            self.decide(at(second))
        })
    }

    fn health(&self) -> Health {
        self.observation.as_ref().unwrap().signals[0].health
    }
}

#[test]
fn a_total_of_the_fleet_needs_no_pods() {
    for apa in [false, true] {
        let mut world = World::new(policy(apa, vec![signal(Scope::Fleet, 5)], 0), 0);
        assert_eq!(world.run(1..30, |_| Some(0.0)), 0, "apa {apa}");
        // Just one replica's worth is inside the tolerance band of one replica, and is served all the same.
        assert_eq!(world.run(30..200, |_| Some(19.5)), 1, "apa {apa}");
        assert_eq!(world.run(200..400, |_| Some(99.0)), 5, "apa {apa}");
        assert_eq!(world.health(), Health::Observed);
    }
}

#[test]
fn a_mean_over_pods_is_a_total_with_the_pods_that_are_ready() {
    let mut world = World::new(policy(true, vec![signal(Scope::PodMean, 5)], 1), 4);
    // Whoever makes the mean may have heard of the pods only a fresh span later.
    world.run(1..15, |_| Some(20.0));
    assert_eq!(world.observation.as_ref().unwrap().signals[0].total, None);
    world.run(15..25, |_| Some(20.0));
    let seen = world.observation.as_ref().unwrap().signals[0];
    assert_eq!((seen.total, seen.ready, seen.fresh), (Some(80.0), 4, 4));
    world.set_pods(0, at(25));
    world.decide(at(25));
    assert_eq!(world.health(), Health::NoReadyPods);
}

/// Of groups of four pods: a load adds up over the pods of a replica, a utilisation is their mean.
#[test]
fn a_mean_over_pods_of_groups_counts_every_pod() {
    for (kind, total) in [(Kind::Additive, 160.0), (Kind::Utilisation, 40.0)] {
        let signal = SignalPolicy { kind, ..signal(Scope::PodMean, 5) };
        let mut world = World::new(policy(true, vec![signal], 2), 2);
        world.facts.pods_per_replica = 4;
        world.set_pods(8, Instant::ZERO);
        world.run(1..25, |_| Some(20.0));
        assert_eq!(world.observation.as_ref().unwrap().signals[0].total, Some(total), "{kind:?}");
    }
}

#[test]
fn a_slow_source_is_fresh_for_three_of_its_own_intervals() {
    let mut world = World::new(policy(false, vec![signal(Scope::Fleet, 15)], 1), 5);
    world.run(0..91, |_| Some(100.0));
    assert_eq!(world.run(91..135, |_| None), 5);
    assert_eq!(world.health(), Health::Observed);
    // The last was of second 90.
    assert_eq!(world.run(135..900, |_| None), 5, "an outage lowers nothing");
    assert_eq!(world.health(), Health::Blind);
    let seen = world.observation.as_ref().unwrap().signals[0];
    assert_eq!((seen.silent, seen.newest_reading), (1, Some(at(90))));
}

/// One reading every 15 s, and a panic window of 10 s: the window holds two all the same.
#[test]
fn one_reading_of_a_slow_source_is_not_a_whole_window() {
    let mut world = World::new(policy(false, vec![signal(Scope::Fleet, 15)], 1), 5);
    world.run(0..301, |second| Some(if second == 300 { 240.0 } else { 100.0 }));
    let seen = world.observation.as_ref().unwrap().signals[0];
    assert_eq!(seen.panic_mean, Some(170.0));
}

#[test]
fn a_signal_that_is_blind_stops_no_other_from_raising() {
    let blind = SignalPolicy { read_from: "elsewhere".to_owned(), ..signal(Scope::Fleet, 5) };
    let mut world = World::new(policy(true, vec![signal(Scope::Fleet, 5), blind], 1), 5);
    assert_eq!(world.run(0..200, |_| Some(160.0)), 8);
    assert_eq!(world.run(200..1000, |_| Some(20.0)), 8, "and nothing is lowered");
}

proptest! {
    /// `decide` asserts its invariants itself.
    #[test]
    fn whatever_sources_do_the_invariants_hold(
        apa: bool,
        mean: bool,
        interval in 1..40_u64,
        replicas in 0..10_u32,
        values in prop::collection::vec(prop::option::weighted(0.7, 0.0..400.0_f64), 1..60),
    ) {
        let scope = if mean { Scope::PodMean } else { Scope::Fleet };
        let mut world = World::new(policy(apa, vec![signal(scope, interval)], 0), replicas);
        let last = interval * values.len() as u64;
        world.run(0..last, |second| values[(second / interval) as usize]);
        let lasting = interval * 3 + 1;
        let before = world.facts.spec_replicas;
        // Blind from here on: never lower.
        world.run(last..last + lasting, |_| None);
        let blind_at = world.facts.spec_replicas;
        prop_assert!(mean || world.run(last + lasting..last + lasting + 700, |_| None) >= blind_at, "{before}");
    }
}

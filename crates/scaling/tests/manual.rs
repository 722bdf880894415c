//! A count that somebody set by hand is respected for a while.

mod fleet;

use std::time::Duration;

use fleet::{Answer, Fleet, policies};
use proptest::prelude::*;
use windlass_scaling::*;

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// 100 s into a load of `before` on 5 pods (target 20) somebody sets `set`; 10 s later the load is `after`.
/// Gives what was written from then on: seconds after it was set, and the count.
fn written(policy: Policy, before: f64, set: u32, after: f64) -> Vec<(u64, u32)> {
    let mut fleet = Fleet::new(policy, 5, before);
    fleet.total = Box::new(move |at| if at < secs(110) { before } else { after });
    fleet.run_until(secs(100));
    fleet.writes.clear();
    fleet.set_by_hand(set);
    fleet.run_until(secs(1000));
    fleet.writes.iter().map(|(at, replicas)| (at.as_secs() - 100, *replicas)).collect()
}

#[test]
fn the_load_of_then_is_no_reason_to_raise() {
    for policy in policies(1, 20) {
        // At its end the usual decision is made at once: 5 replicas were wanted all along.
        assert_eq!(written(policy, 100.0, 3, 100.0), [(300, 5)]);
    }
}

#[test]
fn more_load_is_a_reason_to_raise() {
    for policy in policies(1, 20) {
        let writes = written(policy.clone(), 100.0, 3, 104.0);
        assert_eq!(writes[0].0, 300, "within a tenth: {writes:?}");
        let writes = written(policy, 100.0, 3, 200.0);
        assert!(writes[0].0 < 120, "{writes:?}");
        assert_eq!(writes.last().unwrap().1, 10, "{writes:?}");
    }
}

#[test]
fn nothing_is_lowered_below_it() {
    for policy in policies(1, 20) {
        let writes = written(policy.clone(), 100.0, 12, 100.0);
        assert_eq!(writes[0].0, 300, "{writes:?}");
        assert_eq!(writes.last().unwrap().1, 5, "{writes:?}");
        // Raised above it, it may be lowered to it within its time.
        let mut policy = policy;
        policy.down_window = secs(10);
        let mut fleet = Fleet::new(policy, 5, 100.0);
        fleet.total = Box::new(|at| if at < secs(110) || at > secs(130) { 60.0 } else { 300.0 });
        fleet.run_until(secs(100));
        fleet.set_by_hand(6);
        fleet.run_until(secs(399));
        assert!(fleet.written().iter().any(|count| *count > 6), "{:?}", fleet.writes);
        assert_eq!(fleet.replicas(), 6, "{:?}", fleet.writes);
        fleet.run_until(secs(600));
        assert_eq!(fleet.replicas(), 3, "{:?}", fleet.writes);
    }
}

#[test]
fn bounds_and_orders_say_otherwise() {
    for policy in policies(1, 20) {
        let run = |change: &dyn Fn(&mut Policy)| {
            let mut fleet = Fleet::new(policy.clone(), 5, 100.0);
            fleet.run_until(secs(100));
            fleet.set_by_hand(4);
            fleet.run_until(secs(120));
            change(&mut fleet.policy);
            fleet.run_until(secs(125));
            fleet.replicas()
        };
        assert_eq!(run(&|_| ()), 4);
        assert_eq!(run(&|policy| policy.min_replicas = 7), 7);
        assert_eq!(run(&|policy| policy.max_replicas = 2), 2);
        let order = Some(Order { replicas: 9, until: None });
        assert_eq!(run(&|policy| policy.hold = Hold { mode: Mode::Auto, order }), 9);
    }
}

#[test]
fn zero_still_means_off() {
    for policy in policies(1, 20) {
        assert_eq!(written(policy, 100.0, 0, 300.0), []);
    }
}

#[test]
fn what_was_set_during_an_outage_is_compared_with_what_was_known_before() {
    let [policy, _] = policies(1, 20);
    let mut fleet = Fleet::new(policy, 5, 100.0);
    fleet.answer =
        Box::new(|at, _| if (50..200).contains(&at.as_secs()) { Answer::Nothing } else { Answer::Value });
    fleet.run_until(secs(100));
    fleet.set_by_hand(3);
    fleet.run_until(secs(399));
    assert_eq!(fleet.writes, [], "the load is what it was before the outage");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_count_is_respected_under_any_load(
        apa: bool, first in 1..12_u32, set in 1..20_u32, start_secs in 0..60_u64,
        levels in prop::collection::vec((100..400_u64, 0.0..600.0_f64), 0..4),
    ) {
        let [kpa, apa_policy] = policies(1, 30);
        let mut fleet = Fleet::new(if apa { apa_policy } else { kpa }, first, 0.0);
        fleet.start_time = secs(start_secs);
        let mut levels = levels;
        levels.sort_by_key(|(at, _)| *at);
        let load = 20.0 * f64::from(first);
        let greatest = levels.iter().map(|(_, level)| *level).fold(0.0, f64::max);
        fleet.total = Box::new(move |at| {
            levels.iter().rev().find(|(from, _)| *from <= at.as_secs()).map_or(load, |(_, level)| *level)
        });
        fleet.run_until(secs(90));
        fleet.writes.clear();
        fleet.set_by_hand(set);
        fleet.run_until(secs(389));
        prop_assert!(fleet.writes.iter().all(|(_, count)| *count >= set), "{:?}", fleet.writes);
        if greatest <= load {
            prop_assert_eq!(&fleet.writes, &[]);
        }
    }
}

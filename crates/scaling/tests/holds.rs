//! What a person ordered holds, whatever is measured.

mod fleet;

use std::time::Duration;

use fleet::{Answer, Fleet, policies};
use proptest::prelude::*;
use windlass_scaling::*;

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn at(seconds: u64) -> Instant {
    Instant::ZERO + secs(seconds)
}

fn order(replicas: u32, until: Option<u64>) -> Hold {
    Hold { mode: Mode::Auto, order: Some(Order { replicas, until: until.map(at) }) }
}

const PAUSED: Hold = Hold { mode: Mode::Paused, order: None };
const RECOMMEND: Hold = Hold { mode: Mode::Recommend, order: None };

/// A load of 100 on 3 pods, target 20: 5 are wanted. Gives what was written after `hold` came at 30 s.
fn written(replicas: u32, hold: Hold, bounds: (u32, u32)) -> Vec<(Duration, u32)> {
    let [policy, _] = policies(bounds.0, bounds.1);
    let mut fleet = Fleet::new(policy, replicas, 100.0);
    fleet.policy.hold = hold;
    fleet.run_until(secs(700));
    fleet.writes
}

#[test]
fn an_order_is_obeyed_at_once_and_within_the_bounds() {
    let zero = Duration::ZERO;
    for (replicas, ordered, bounds, expect) in [
        (3, 6, (1, 10), vec![(zero, 6)]),
        // Neither the rates (2 a period) nor the windows (300 s) bind a person.
        (3, 10, (1, 10), vec![(zero, 10)]),
        (9, 1, (1, 10), vec![(zero, 1)]),
        (3, 14, (1, 10), vec![(zero, 10)]),
        (3, 0, (2, 10), vec![(zero, 2)]),
        (3, 0, (0, 10), vec![(zero, 0)]),
        (6, 6, (1, 10), vec![]),
        // Off, unless somebody says otherwise: he does.
        (0, 4, (1, 10), vec![(zero, 4)]),
    ] {
        assert_eq!(
            written(replicas, order(ordered, None), bounds),
            expect,
            "{replicas}: {ordered} in {bounds:?}"
        );
    }
}

#[test]
fn a_mode_leaves_any_count_alone() {
    for hold in [PAUSED, RECOMMEND] {
        assert_eq!(written(0, hold, (1, 10)), []);
        assert_eq!(written(1, hold, (3, 10)), [], "nor are the bounds written");
    }
}

#[test]
fn an_override_ends_by_itself() {
    for policy in policies(1, 20) {
        let mut fleet = Fleet::new(policy, 5, 100.0);
        fleet.run_until(secs(400));
        fleet.policy.hold = order(12, Some(460));
        fleet.run_until(secs(459));
        assert_eq!(fleet.written(), [12], "{:?}", fleet.writes);
        // 5 was wanted throughout the down window: the rate is what would bind.
        assert_eq!((fleet.decision.would_be, fleet.decision.wake_at), (6, Some(at(460))));
        fleet.run_until(secs(900));
        let (lowered_at, lowered) = fleet.writes[1];
        // What was wanted all along may be done as soon as the order ends, at the pace of the rates.
        assert!(lowered_at >= secs(460) && lowered >= 6, "{:?}", fleet.writes);
        assert_eq!(fleet.replicas(), 5, "{:?}", fleet.writes);
        // An order that is over is none.
        fleet.policy.hold = order(12, Some(800));
        fleet.run_until(secs(1000));
        assert_eq!(fleet.replicas(), 5, "{:?}", fleet.writes);
    }
}

#[test]
fn an_override_is_over_at_its_instant_and_not_before() {
    let [policy, _] = policies(1, 20);
    let mut fleet = Fleet::new(policy, 3, 60.0);
    fleet.tick = secs(1000);
    fleet.answer = Box::new(|_, _| Answer::Nothing);
    fleet.policy.hold = order(8, Some(60));
    fleet.run_until(Duration::from_millis(59_990));
    assert!(holds(&fleet.decision), "{:?}", fleet.decision);
    // No tick and no reading: the wake-up is what ends it.
    fleet.run_until(Duration::from_millis(60_050));
    assert!(!holds(&fleet.decision), "{:?}", fleet.decision);
}

fn holds(decision: &Decision) -> bool {
    decision.steps.iter().any(|step| step.stage == Stage::Hold)
}

#[test]
fn the_mode_stands_above_the_order_and_shows_it() {
    let [policy, _] = policies(1, 10);
    for mode in [Mode::Paused, Mode::Recommend] {
        let mut fleet = Fleet::new(policy.clone(), 3, 100.0);
        fleet.policy.hold = Hold { mode, ..order(8, None) };
        fleet.run_until(secs(60));
        assert_eq!(fleet.writes, []);
        assert_eq!((fleet.decision.would_be, fleet.decision.replicas), (8, 3));
    }
}

/// What load, what silence and what start-up times a run may have.
#[derive(Debug, Clone)]
struct Scenario {
    apa: bool,
    replicas: u32,
    start_secs: u64,
    levels: Vec<(u64, f64)>,
    outage: (u64, u64),
    places: usize,
}

use proptest::strategy::Strategy;

fn scenario() -> impl Strategy<Value = Scenario> {
    let levels = prop::collection::vec((0..400_u64, 0.0..900.0_f64), 1..4);
    let places = prop_oneof![2 => Just(usize::MAX), 1 => 1..30_usize];
    (any::<bool>(), 0..20_u32, 0..90_u64, levels, (0..400_u64, 0..300_u64), places).prop_map(
        |(apa, replicas, start_secs, mut levels, outage, places)| {
            levels.sort_by_key(|(at, _)| *at);
            Scenario { apa, replicas, start_secs, levels, outage, places }
        },
    )
}

fn run(scenario: &Scenario, hold: Hold, until: Duration) -> Fleet {
    let [kpa, apa] = policies(1, 60);
    let mut fleet = Fleet::new(if scenario.apa { apa } else { kpa }, scenario.replicas, 0.0);
    fleet.policy.hold = hold;
    fleet.start_time = secs(scenario.start_secs);
    let places = scenario.places;
    fleet.places = Box::new(move |_| places);
    fleet.refused_after = Some(secs(5));
    let levels = scenario.levels.clone();
    fleet.total = Box::new(move |at| {
        let begun = levels.iter().rev().find(|(from, _)| *from <= at.as_secs());
        begun.or(levels.first()).map_or(0.0, |(_, level)| *level)
    });
    let (from, span) = scenario.outage;
    fleet.answer =
        Box::new(
            move |at, _| {
                if (from..from + span).contains(&at.as_secs()) { Answer::Nothing } else { Answer::Value }
            },
        );
    fleet.run_until(until);
    fleet
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn paused_never_writes_and_says_what_would_be(scenario in scenario(), recommend: bool) {
        let auto = run(&scenario, Hold::default(), secs(450));
        let hold = if recommend { RECOMMEND } else { PAUSED };
        let held = run(&scenario, hold, secs(450));
        prop_assert_eq!(&held.writes, &[]);
        prop_assert_eq!(held.replicas(), scenario.replicas);
        // Until the first write both are in the same world: what would be is what is done there.
        if let Some(&(at, replicas)) = auto.writes.first() {
            let held = run(&scenario, hold, at + Duration::from_millis(10));
            prop_assert_eq!(held.decision.would_be, replicas);
        } else {
            prop_assert_eq!(held.decision.would_be, held.replicas());
        }
    }

    #[test]
    fn an_order_is_held_to_the_number(scenario in scenario(), ordered in 0..80_u32, mode_too: bool) {
        let hold = Hold { mode: if mode_too { Mode::Paused } else { Mode::Auto }, ..order(ordered, None) };
        let fleet = run(&scenario, hold, secs(450));
        let expect = ordered.clamp(1, 60);
        if mode_too {
            prop_assert_eq!(&fleet.writes, &[]);
            prop_assert_eq!(fleet.decision.would_be, expect);
        } else if scenario.replicas == expect {
            prop_assert_eq!(&fleet.writes, &[]);
        } else {
            prop_assert_eq!(&fleet.writes, &[(Duration::ZERO, expect)]);
        }
    }

    #[test]
    fn after_an_order_decisions_go_on_as_ever(scenario in scenario(), ordered in 1..60_u32, span in 1..300_u64) {
        let fleet = run(&scenario, order(ordered, Some(span)), secs(450));
        let during: Vec<u32> =
            fleet.writes.iter().filter(|(at, _)| *at < secs(span)).map(|(_, replicas)| *replicas).collect();
        let expect = if scenario.replicas == ordered { vec![] } else { vec![ordered] };
        prop_assert_eq!(during, expect, "{:?}", fleet.writes);
        prop_assert!(!holds(&fleet.decision));
    }
}

//! What holds of every run. `decide` itself asserts `invariants::violation` in these builds.

mod fleet;

use std::time::Duration;

use fleet::{Answer, Fleet, policies};
use proptest::prelude::*;
use windlass_scaling::*;

/// One scenario: a load that changes level, faults, start-up times.
#[derive(Debug, Clone)]
struct Scenario {
    apa: bool,
    replicas: u32,
    start_secs: u64,
    /// Up, down, stable (or APA's) and panic window, in seconds.
    windows_secs: [u64; 4],
    /// Seconds and level.
    levels: Vec<(u64, f64)>,
    /// Pod, from second, for seconds.
    faults: Vec<(u128, u64, u64)>,
    /// Pods that can be ready at a time; the others are refused.
    places: usize,
}

const DEFAULT_WINDOWS_SECS: [u64; 4] = [0, 300, 60, 10];

/// The defaults, and everything down to no window at all: lowering is tried as often as it can be.
fn windows() -> impl Strategy<Value = [u64; 4]> {
    let varied = (
        prop_oneof![Just(0), 1..30_u64],
        prop_oneof![Just(0), 1..120_u64],
        prop_oneof![Just(60), 6..200_u64],
        1..30_u64,
    );
    prop_oneof![
        1 => Just(DEFAULT_WINDOWS_SECS),
        3 => varied.prop_map(|(up, down, stable, panic)| [up, down, stable, panic.min(stable)]),
    ]
}

fn policy_of(scenario: &Scenario) -> Policy {
    let [kpa, apa] = policies(1, 60);
    let mut policy = if scenario.apa { apa } else { kpa };
    let [up, down, stable, panic] = scenario.windows_secs.map(Duration::from_secs);
    policy.up_window = up;
    policy.down_window = down;
    match &mut policy.strategy {
        windlass_scaling::Strategy::Kpa(kpa) => {
            kpa.stable_window = stable;
            kpa.panic_window = panic;
        }
        windlass_scaling::Strategy::Apa(apa) => apa.window = stable,
    }
    policy
}

fn scenario() -> impl Strategy<Value = Scenario> {
    (
        any::<bool>(),
        1..20_u32,
        0..90_u64,
        windows(),
        prop::collection::vec((0..500_u64, 0.0..900.0_f64), 1..5),
        prop::collection::vec((1..12_u128, 0..500_u64, 1..120_u64), 0..6),
        prop_oneof![2 => Just(usize::MAX), 1 => 1..30_usize],
    )
        .prop_map(|(apa, replicas, start_secs, windows_secs, mut levels, faults, places)| {
            levels.sort_by_key(|(at, _)| *at);
            Scenario { apa, replicas, start_secs, windows_secs, levels, faults, places }
        })
}

use proptest::strategy::Strategy;

fn level(levels: &[(u64, f64)], at: Duration) -> f64 {
    let begun = levels.iter().rev().find(|(from, _)| *from <= at.as_secs());
    begun.or(levels.first()).map_or(0.0, |(_, level)| *level)
}

fn run(scenario: &Scenario, until_secs: u64, shape: impl FnOnce(&mut Fleet)) -> Fleet {
    let mut fleet = Fleet::new(policy_of(scenario), scenario.replicas, 0.0);
    fleet.start_time = Duration::from_secs(scenario.start_secs);
    let places = scenario.places;
    fleet.places = Box::new(move |_| places);
    fleet.refused_after = Some(Duration::from_secs(5));
    let levels = scenario.levels.clone();
    fleet.total = Box::new(move |at| level(&levels, at));
    let faults = scenario.faults.clone();
    fleet.answer = Box::new(move |at, uid| {
        let out = |(pod, from, span): &(u128, u64, u64)| {
            *pod == uid && (*from..from + span).contains(&at.as_secs())
        };
        if faults.iter().any(out) { Answer::Nothing } else { Answer::Value }
    });
    shape(&mut fleet);
    fleet.run_until(Duration::from_secs(until_secs));
    fleet
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn same_input_same_output(scenario in scenario()) {
        let [a, b] = [0, 1].map(|_| run(&scenario, 200, |_| ()));
        prop_assert_eq!(&a.writes, &b.writes);
        prop_assert_eq!(a.memory, b.memory);
    }

    #[test]
    fn rates_are_respected_within_any_ten_seconds(scenario in scenario()) {
        let fleet = run(&scenario, 500, |_| ());
        for &(at, replicas) in &fleet.writes {
            let begin = at.saturating_sub(Duration::from_secs(10));
            let in_span = |(t, _): &&(Duration, u32)| *t > begin && *t < at;
            let before = fleet.bases.iter().rev().find(|(t, _)| *t <= begin);
            let bases = || fleet.bases.iter().filter(in_span).chain(before).map(|(_, base)| *base);
            let least = bases().min().unwrap_or(scenario.replicas).max(1);
            let earlier = fleet.writes.iter().rev().find(|(t, _)| *t < at).map_or(scenario.replicas, |(_, n)| *n);
            if replicas > earlier {
                prop_assert!(replicas <= least * 2, "{replicas} at {at:?} from {least}: {:?}", fleet.writes);
            } else {
                let lowered = fleet.writes.windows(2).filter(|w| w[1].1 < w[0].1 && w[1].0 > begin && w[1].0 < at);
                prop_assert_eq!(lowered.count(), 0, "{:?}", fleet.writes);
                prop_assert!(replicas >= bases().max().unwrap_or(1) / 2 || replicas == 60, "{:?}", fleet.writes);
            }
        }
    }

    #[test]
    fn the_same_raises_whatever_the_tick(scenario in scenario(), tick_ms in 50..1000_u64) {
        let calm = Scenario {
            faults: Vec::new(),
            start_secs: scenario.start_secs.min(1),
            places: usize::MAX,
            windows_secs: DEFAULT_WINDOWS_SECS,
            ..scenario
        };
        let [a, b] = [1000, tick_ms].map(|ms| run(&calm, 450, |fleet| fleet.tick = Duration::from_millis(ms)));
        // While a mean falls it is followed step by step, and the instants of the steps decide their size.
        let [a, b] = [a, b].map(|fleet| {
            let lowered = fleet.writes.iter().scan(calm.replicas, |last, (_, replicas)| {
                Some(std::mem::replace(last, *replicas) > *replicas)
            });
            let raises = lowered.take_while(|lowered| !lowered).count();
            fleet.writes[..raises].to_vec()
        });
        let replicas = |writes: &[(Duration, u32)]| writes.iter().map(|(_, replicas)| *replicas).collect::<Vec<_>>();
        prop_assert_eq!(replicas(&a), replicas(&b), "{:?} {:?}", &a, &b);
        for ((at, _), (other, _)) in a.iter().zip(&b) {
            // One tick; and a write that moves by a tick moves the next round by up to one interval.
            prop_assert!(at.abs_diff(*other) <= Duration::from_secs(2), "{:?} {:?}", &a, &b);
        }
    }

    #[test]
    fn monotone_in_load(scenario in scenario(), factor in 1.0..3.0_f64) {
        // Open loop: both see the same pods, one of them more load.
        let policy = policy_of(&scenario);
        let facts = {
            let mut facts = Facts::new(scenario.replicas, Instant::ZERO);
            facts.set_pods((1..=u128::from(scenario.replicas)).map(|uid| Pod {
                uid: PodUid(uid),
                state: PodState::Ready { since: Instant::ZERO },
            }));
            facts
        };
        let mut memories = [Memory::new(&policy), Memory::new(&policy)];
        let mut all_readings = [Readings::default(), Readings::default()];
        for second in 1..500 {
            let now = Instant::ZERO + Duration::from_secs(second);
            let load = level(&scenario.levels, Duration::from_secs(second)) / f64::from(scenario.replicas);
            let mut limited = [0, 0];
            for side in 0..2 {
                for pod in facts.pods() {
                    let value = if side == 0 { load } else { load * factor };
                    all_readings[side].record(pod.uid, 0, value, now);
                }
                let seen = observe(&policy, &facts, &all_readings[side], &mut memories[side], now);
                let mut decision = Decision::default();
                decide(&policy, &seen, &mut memories[side], now, &mut decision);
                limited[side] = decision.limited;
            }
            prop_assert!(limited[0] <= limited[1], "{limited:?} at {second} s");
        }
    }

    #[test]
    fn missing_data_never_lowers(scenario in scenario(), blind_from in 1..400_u64) {
        let mut fleet = run(&scenario, blind_from, |_| ());
        fleet.answer = Box::new(|_, _| Answer::Nothing);
        // A round that stands may still act.
        fleet.run_until(Duration::from_secs(blind_from + 4));
        let writes = fleet.writes.len();
        fleet.run_until(Duration::from_secs(blind_from + 700));
        prop_assert_eq!(fleet.writes.len(), writes, "{:?}", fleet.writes);
    }

    #[test]
    fn what_a_pod_says_is_never_trusted_blindly(values in prop::collection::vec(any::<f64>(), 10..60), apa: bool) {
        let [kpa_policy, apa_policy] = policies(1, 60);
        let policy = if apa { apa_policy } else { kpa_policy };
        let mut memory = Memory::new(&policy);
        let mut readings = Readings::default();
        let mut facts = Facts::new(1, Instant::ZERO);
        facts.insert(Pod { uid: PodUid(1), state: PodState::Ready { since: Instant::ZERO } });
        let mut decision = Decision::default();
        for (value, second) in values.into_iter().zip(1..) {
            let now = Instant::ZERO + Duration::from_secs(second);
            readings.record(PodUid(1), 0, value, now);
            let seen = observe(&policy, &facts, &readings, &mut memory, now);
            decide(&policy, &seen, &mut memory, now, &mut decision);
            prop_assert!((1..=60).contains(&decision.replicas));
            facts.spec_replicas = decision.replicas;
        }
    }

    #[test]
    fn memory_is_bounded(scenario in scenario()) {
        let fleet = run(&scenario, 500, |fleet| fleet.tick = Duration::from_millis(50));
        let size = serde_json::to_string(&fleet.memory).unwrap().len();
        prop_assert!(size < 12_000, "{size} bytes");
        let back: Memory = serde_json::from_str(&serde_json::to_string(&fleet.memory).unwrap()).unwrap();
        prop_assert_eq!(back, fleet.memory);
    }
}

//! What users were promised, one closed-loop run each.

mod fleet;

use std::time::Duration;

use fleet::{Answer, Fleet, SECOND, Share, policies};
use windlass_scaling::*;

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[test]
fn a_share_of_the_whole_asks_for_exactly_the_right_number_and_stays() {
    for replicas in 1..=50 {
        for policy in policies(1, 100) {
            let mut fleet = Fleet::new(policy, replicas, 100.0);
            fleet.share = Share::BySpec;
            fleet.jitter = Duration::from_millis(400);
            fleet.run_until(secs(420));
            assert_eq!(fleet.replicas(), 5, "from {replicas}: {:?}", fleet.writes);
            let monotone = fleet.written().is_sorted() || fleet.written().is_sorted_by(|a, b| a >= b);
            assert!(monotone, "from {replicas}: {:?}", fleet.writes);
            let settled = fleet.writes.len();
            fleet.run_until(secs(620));
            assert_eq!(fleet.writes.len(), settled, "from {replicas}: {:?}", fleet.writes);
        }
    }
}

#[test]
fn every_count_is_hit_exactly() {
    for replicas in 1..=50_u32 {
        for mut policy in policies(1, 100) {
            policy.signals[0].target = 100.0 / f64::from(replicas);
            let mut fleet = Fleet::new(policy, replicas, 100.0);
            fleet.jitter = Duration::from_millis(400);
            fleet.run_until(secs(400));
            assert_eq!(fleet.writes, [], "{replicas} replicas are exactly right");
        }
    }
}

#[test]
fn new_pods_never_count_the_same_load_twice() {
    for policy in policies(1, 50) {
        for start in [1, 3, 20, 120] {
            let mut fleet = Fleet::new(policy.clone(), 3, 240.0);
            fleet.start_time = secs(start);
            fleet.jitter = Duration::from_millis(300);
            fleet.run_until(secs(600));
            assert_eq!(fleet.greatest_total, 240.0, "{start} s starts");
            assert_eq!(fleet.replicas(), 12, "{start} s starts: {:?}", fleet.writes);
            assert!(fleet.written().is_sorted(), "{start} s starts: {:?}", fleet.writes);
        }
    }
}

#[test]
fn at_spec_5_with_3_ready_the_walk_through_does_not_fall_back() {
    for policy in policies(1, 10) {
        for start in [1, 20, 120, 240] {
            let mut fleet = Fleet::new(policy.clone(), 3, 100.0);
            fleet.share = Share::BySpec;
            fleet.start_time = secs(start);
            fleet.run_until(secs(900));
            assert_eq!(fleet.written(), [5], "{start} s starts: {:?}", fleet.writes);
            assert!(fleet.writes[0].0 <= secs(2), "{:?}", fleet.writes);
        }
    }
}

#[test]
fn the_walk_through_writes_once_in_ten_minutes() {
    for policy in policies(1, 10) {
        let mut fleet = Fleet::new(policy, 3, 100.0);
        fleet.share = Share::BySpec;
        fleet.jitter = Duration::from_millis(100);
        fleet.run_until(secs(600));
        assert_eq!(fleet.written(), [5], "{:?}", fleet.writes);
    }
}

#[test]
fn an_outage_changes_nothing_nor_does_the_recovery() {
    for policy in policies(1, 20) {
        for (silent_pods, label) in [(1, "one of eight"), (5, "five of eight"), (8, "all")] {
            let mut fleet = Fleet::new(policy.clone(), 8, 160.0);
            fleet.answer = Box::new(move |at, uid| {
                let out = (secs(400)..secs(490)).contains(&at) && uid <= silent_pods;
                if out { Answer::Nothing } else { Answer::Value }
            });
            fleet.run_until(secs(1200));
            assert_eq!(fleet.writes, [], "{label} silent");
        }
    }
}

#[test]
fn one_hangs_then_all_fail_then_healthy_changes_nothing() {
    for policy in policies(1, 20) {
        let mut fleet = Fleet::new(policy, 8, 160.0);
        fleet.answer = Box::new(|at, uid| {
            let one = uid == 3 && (secs(30)..secs(90)).contains(&at);
            let all = (secs(90)..secs(150)).contains(&at);
            if one || all { Answer::Nothing } else { Answer::Value }
        });
        fleet.run_until(secs(900));
        assert_eq!(fleet.writes, []);
    }
}

/// Status 500 for 60 s, connections refused for 90 s, pages that hang for 60 s: to the core all of it is silence.
#[test]
fn failing_refusing_hanging_and_healthy_again_changes_nothing() {
    for policy in policies(1, 20) {
        for load in [160.0, 150.0] {
            let mut fleet = Fleet::new(policy.clone(), 8, load);
            fleet.jitter = Duration::from_millis(200);
            let (failing, refusing, hanging) = (secs(300), secs(360), secs(450));
            let healthy = secs(510);
            fleet.answer = Box::new(move |at, _| {
                let fails = (failing..refusing).contains(&at);
                let refuses = (refusing..hanging).contains(&at);
                let hangs = (hanging..healthy).contains(&at);
                if fails || refuses || hangs { Answer::Nothing } else { Answer::Value }
            });
            fleet.run_until(healthy + secs(300));
            assert_eq!(fleet.writes, [], "load {load}");
        }
    }
}

/// The memory is new, or only the readings are.
fn take_over(fleet: &mut Fleet, readings_only: bool) {
    if readings_only {
        fleet.memory.listen_anew();
    } else {
        fleet.take_over();
    }
}

#[test]
fn a_takeover_under_load_drops_nothing() {
    for mut policy in policies(1, 50) {
        // The shortest windows: nothing but the full window protects.
        policy.down_window = Duration::ZERO;
        for anew in [false, true] {
            let mut fleet = Fleet::new(policy.clone(), 4, 320.0);
            fleet.start_time = secs(60);
            fleet.jitter = Duration::from_millis(200);
            // In the middle of it: 8 ready, 8 starting.
            fleet.run_until(secs(65));
            assert_eq!(fleet.replicas(), 16, "{:?}", fleet.writes);
            take_over(&mut fleet, anew);
            fleet.run_until(secs(300));
            assert!(fleet.written().is_sorted(), "{:?}", fleet.writes);
            assert_eq!(fleet.replicas(), 16, "{:?}", fleet.writes);
            // And again while the load falls.
            take_over(&mut fleet, anew);
            fleet.total = Box::new(|_| 20.0);
            fleet.run_until(if anew { secs(300) } else { secs(359) });
            assert_eq!(fleet.replicas(), 16, "nothing lowers before a full window: {:?}", fleet.writes);
            fleet.run_until(secs(600));
            assert_eq!(fleet.replicas(), 1, "{:?}", fleet.writes);
        }
    }
}

/// From a step in the load to the first raise, in virtual time, at readings once a second: the longest over the phases
/// between step and poll.
#[test]
fn a_step_raises_within_what_the_windows_imply() {
    const PODS: u32 = 10;
    for fill in [0.8, 1.0] {
        let load = 20.0 * f64::from(PODS) * fill;
        for factor in [1.5, 3.0, 10.0] {
            for policy in policies(2, 200) {
                let longest = (0..10).map(|phase| {
                    let begin = secs(300) + phase * Duration::from_millis(100);
                    let mut fleet = Fleet::new(policy.clone(), PODS, load);
                    fleet.total = Box::new(move |at| if at >= begin { load * factor } else { load });
                    fleet.run_until(begin + secs(61));
                    fleet.writes[0].0.abs_diff(begin)
                });
                let longest = longest.max().unwrap_or_default();
                let is_kpa = matches!(policy.strategy, windlass_scaling::Strategy::Kpa(_));
                let name = if is_kpa { "KPA" } else { "APA" };
                println!(
                    "{name}: filled to {fill}, step ×{factor}: first raise after {:.2} s",
                    longest.as_secs_f64()
                );
                // The mean passes the threshold when this share of the window has seen the step.
                let threshold = if is_kpa { 1.0 } else { 1.1 };
                let share = (threshold / fill - 1.0) / (factor - 1.0);
                let by_window = secs(60).mul_f64(share) + 2 * SECOND + Duration::from_millis(100);
                let surges = is_kpa && fill * factor >= 2.0;
                let bound = if surges { by_window.min(Duration::from_millis(3_100)) } else { by_window };
                assert!(longest <= bound, "{name} ×{factor} from {fill}: {longest:?}, at most {bound:?}");
            }
        }
    }
}

#[test]
fn a_jump_acts_after_two_seconds_and_a_shorter_spike_never_panics() {
    let policy = Policy::kpa("inflight", Kind::Additive, 20.0, 2..=100);
    for factor in [3.0, 10.0] {
        for phase in 0..10 {
            let begin = secs(300) + phase * Duration::from_millis(100);
            let mut fleet = Fleet::new(policy.clone(), 10, 200.0);
            fleet.total = Box::new(move |at| if at >= begin { 200.0 * factor } else { 200.0 });
            fleet.run_until(begin + secs(4));
            let panicked = fleet.writes.iter().find(|(_, replicas)| *replicas >= 20).expect("it acts");
            assert!(
                panicked.0.abs_diff(begin) <= Duration::from_millis(3_120),
                "×{factor}: {:?}",
                fleet.writes
            );
        }
    }
    let mut fleet = Fleet::new(policy, 10, 200.0);
    fleet.total = Box::new(|at| if (secs(300)..secs(302)).contains(&at) { 600.0 } else { 200.0 });
    fleet.run_until(secs(420));
    assert_eq!(fleet.written(), [11], "calm: the stable mean rises by 2 × 400 ÷ 60");
}

#[test]
fn lowering_waits_for_the_window_and_halves_at_most_every_ten_seconds() {
    for policy in policies(1, 50) {
        let mut fleet = Fleet::new(policy, 16, 320.0);
        fleet.total = Box::new(|at| if at < secs(400) { 320.0 } else { 20.0 });
        fleet.run_until(secs(1000));
        assert!(fleet.writes[0].0 >= secs(700), "{:?}", fleet.writes);
        for pair in fleet.writes.windows(2) {
            assert!(pair[1].0.abs_diff(pair[0].0) >= secs(10), "{:?}", fleet.writes);
            assert!((pair[0].1 / 2..pair[0].1).contains(&pair[1].1), "{:?}", fleet.writes);
        }
        let last = fleet.writes.last().expect("it lowers");
        assert_eq!(last.1, 1, "{:?}", fleet.writes);
        assert!(last.0 <= secs(800), "one down window, not one per halving: {:?}", fleet.writes);
    }
}

#[test]
fn zero_set_by_hand_is_off_until_min_is_raised() {
    for mut policy in policies(1, 10) {
        let mut fleet = Fleet::new(policy.clone(), 3, 60.0);
        fleet.run_until(secs(30));
        fleet.scale(0);
        fleet.run_until(secs(300));
        assert_eq!((fleet.replicas(), fleet.decision.steps[0].reason), (0, Reason::Off));
        policy.min_replicas = 2;
        fleet.memory.adapt(&policy);
        fleet.policy = policy;
        fleet.run_until(secs(302));
        assert_eq!(fleet.replicas(), 2);
    }
}

/// A schedule's own min brings a target back from 0, an inherited one does not.
#[test]
fn a_schedule_wakes_a_target_only_with_a_min_of_its_own() {
    for policy in policies(1, 10) {
        let mut fleet = Fleet::new(policy, 3, 60.0);
        fleet.run_until(secs(30));
        fleet.scale(0);
        fleet.run_until(secs(60));
        (fleet.policy.max_replicas, fleet.policy.scheduled) = (8, Some(Scheduled { min_explicit: false }));
        fleet.run_until(secs(90));
        let reasons = fleet.decision.steps.iter().map(|step| step.reason).collect::<Vec<_>>();
        assert_eq!((fleet.replicas(), reasons), (0, vec![Reason::Scheduled, Reason::Off]));
        (fleet.policy.min_replicas, fleet.policy.scheduled) = (4, Some(Scheduled { min_explicit: true }));
        fleet.run_until(secs(92));
        assert_eq!(fleet.replicas(), 4);
    }
}

/// A night at 0 by a schedule is not being switched off: the morning's min, inherited or not, brings the target back.
#[test]
fn a_target_that_a_schedule_lowered_to_zero_comes_back_after_it() {
    for policy in policies(1, 10) {
        let mut fleet = Fleet::new(policy.clone(), 3, 60.0);
        fleet.total = Box::new(|at| if at < secs(60) { 60.0 } else { 0.0 });
        (fleet.policy.min_replicas, fleet.policy.scheduled) = (0, Some(Scheduled { min_explicit: true }));
        fleet.run_until(secs(1000));
        assert_eq!(fleet.replicas(), 0, "{:?}", fleet.writes);
        let mut successor = Memory::new(&policy);
        successor.lowered_to_zero();
        for (memory, replicas) in [(fleet.memory.clone(), 1), (Memory::new(&policy), 0), (successor, 1)] {
            let mut morning = Fleet::new(policy.clone(), 0, 0.0);
            morning.memory = memory;
            morning.run_until(secs(2));
            assert_eq!(morning.replicas(), replicas, "{:?}", morning.decision.steps);
        }
    }
}

#[test]
fn bounds_hold_without_any_metric() {
    for policy in policies(4, 6) {
        for (from, to) in [(2, 4), (9, 6), (5, 5)] {
            let mut fleet = Fleet::new(policy.clone(), from, 0.0);
            fleet.answer = Box::new(|_, _| Answer::Nothing);
            fleet.run_until(secs(5));
            assert_eq!(fleet.replicas(), to);
        }
    }
}

#[test]
fn saturated_utilisation_never_lowers() {
    let kinds = [(Kind::Utilisation, 0.8, 0.99), (Kind::Latency, 0.5, 0.7)];
    for (kind, target, value) in kinds {
        let policies =
            [Policy::kpa("signal", kind, target, 1..=20), Policy::apa("signal", kind, target, 1..=20)];
        for mut policy in policies {
            policy.down_window = Duration::ZERO;
            let mut fleet = Fleet::new(policy, 6, 0.0);
            // Two pods ready for long, four that start for ever: both are full.
            fleet.start_time = secs(3600);
            fleet.scale(2);
            fleet.scale(6);
            fleet.total = Box::new(move |_| 2.0 * value);
            fleet.run_until(secs(200));
            assert!(fleet.writes.is_empty(), "{kind:?}: {:?}", fleet.writes);
            let basis = fleet.decision.proposals[0].basis;
            assert!(matches!(basis, Basis::Saturated { .. }), "{kind:?}: {basis:?}");
        }
    }
}

/// One wrong round would be the mean of every window, and double the fleet.
#[test]
fn one_bad_reading_after_an_outage_raises_nothing() {
    for policy in policies(1, 50) {
        let mut fleet = Fleet::new(policy, 8, 160.0);
        fleet.answer = Box::new(|at, _| {
            let out = (secs(100)..secs(190)).contains(&at);
            if out { Answer::Nothing } else { Answer::Value }
        });
        fleet.total = Box::new(|at| if (secs(190)..secs(191)).contains(&at) { 1600.0 } else { 160.0 });
        fleet.run_until(secs(900));
        assert_eq!(fleet.writes, []);
    }
}

#[test]
fn what_lasts_after_an_outage_raises_after_two_seconds() {
    for policy in policies(1, 50) {
        let mut fleet = Fleet::new(policy, 8, 160.0);
        fleet.answer = Box::new(|at, _| {
            let out = (secs(100)..secs(190)).contains(&at);
            if out { Answer::Nothing } else { Answer::Value }
        });
        fleet.total = Box::new(|at| if at < secs(190) { 160.0 } else { 400.0 });
        fleet.run_until(secs(194));
        assert_eq!(fleet.replicas(), 16, "{:?}", fleet.writes);
        fleet.run_until(secs(210));
        assert_eq!(fleet.replicas(), 20, "{:?}", fleet.writes);
    }
}

#[test]
fn a_pod_that_flaps_does_not_stop_a_raise_and_never_raises_by_itself() {
    for policy in policies(1, 50) {
        let mut fleet = Fleet::new(policy, 8, 160.0);
        fleet.flapping = Some(3);
        fleet.run_until(secs(300));
        assert_eq!(fleet.writes, [], "the load did not change");
        assert_eq!(fleet.observation.as_ref().map(|seen| seen.signals[0].health), Some(Health::NoRound));
        fleet.total = Box::new(|_| 320.0);
        fleet.run_until(secs(330));
        // Seven of eight pods are known: up to an eighth may be missing.
        assert!((14..=16).contains(&fleet.replicas()), "{:?}", fleet.writes);
    }
}

#[test]
fn five_seconds_of_history_lower_nothing() {
    for mut policy in policies(1, 20) {
        policy.down_window = Duration::ZERO;
        let mut fleet = Fleet::new(policy, 8, 20.0);
        fleet.run_until(secs(59));
        assert_eq!(fleet.writes, [], "no lowering before a full window");
        fleet.run_until(secs(200));
        assert_eq!(fleet.replicas(), 1);
    }
}

/// A pod whose page hangs now and then is a pod that is silent now and then: the others tell enough to lower.
#[test]
fn a_page_that_hangs_every_few_minutes_does_not_stop_lowering() {
    for policy in policies(1, 20) {
        for (pods, jitter_ms) in [(3, 0), (3, 100), (3, 800), (8, 0), (8, 400), (8, 800)] {
            for hang in [2, 3, 4, 7, 20] {
                let mut fleet = Fleet::new(policy.clone(), pods, 0.0);
                fleet.jitter = Duration::from_millis(jitter_ms);
                let load = 20.0 * f64::from(pods);
                fleet.total = Box::new(move |at| if at < secs(400) { load } else { load / 3.0 });
                fleet.answer = Box::new(move |at, uid| {
                    let out = uid == 1 && at.as_secs() % 45 < hang;
                    if out { Answer::Nothing } else { Answer::Value }
                });
                fleet.run_until(secs(900));
                assert!(fleet.replicas() < pods, "{pods} pods, {hang} s, {jitter_ms} ms: {:?}", fleet.writes);
            }
        }
    }
}

//! Pods that start slowly, late or never: one closed-loop run for each promise.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod fleet;

use std::time::Duration;

use fleet::{Fleet, SECOND, policies};
use windlass_scaling::*;

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn mins(mins: u64) -> Duration {
    Duration::from_mins(mins)
}

/// Five pods serve; what is asked for beyond does not start until the quota is raised.
fn five_places_until(policy: Policy, freed: Duration) -> Fleet {
    let mut fleet = Fleet::new(policy, 3, 160.0);
    fleet.places = Box::new(move |at| if at < freed { 5 } else { 100 });
    fleet
}

#[test]
fn what_cannot_start_is_not_multiplied_and_goes_up_when_it_can() {
    for policy in policies(1, 100) {
        let freed = mins(240);
        let mut fleet = five_places_until(policy, freed);
        fleet.total = Box::new(move |at| if at < mins(30) { 160.0 } else { 400.0 });
        fleet.run_until(mins(30));
        assert_eq!(fleet.replicas(), 8, "{:?}", fleet.writes);
        let before = fleet.writes.len();
        fleet.run_until(freed);
        let probes: Vec<(Duration, u32)> = fleet.writes[before..].to_vec();
        assert!(probes.iter().all(|(_, replicas)| [8, 9].contains(replicas)), "{probes:?}");
        let asked: Vec<Duration> = probes.iter().filter(|(_, n)| *n == 9).map(|(at, _)| *at).collect();
        assert!(asked[0] <= mins(31), "{probes:?}");
        // A probe is late after 15 minutes; from the sixth on the back-off of 30 minutes is longer.
        assert!((9..=13).contains(&asked.len()), "{} probes: {probes:?}", asked.len());
        assert!(asked.windows(2).all(|pair| pair[1].abs_diff(pair[0]) >= mins(15)), "{probes:?}");
        fleet.run_until(freed + mins(3));
        assert_eq!(fleet.replicas(), 20, "{:?}", fleet.writes);
    }
}

/// Refused at once (a bad image, say), so that the back-off alone sets the pace.
#[test]
fn probes_back_off_from_one_minute_to_thirty() {
    let policy = Policy::kpa("inflight", Kind::Additive, 20.0, 1..=100);
    let mut memory = Memory::new(&policy);
    let mut readings = Readings::default();
    let mut decision = Decision::default();
    let mut facts = Facts::new(6, Instant::ZERO);
    let ready = PodState::Ready { since: Instant::ZERO };
    let mut asked = Vec::new();
    for second in 0..3 * 3600_u64 {
        let now = Instant::ZERO + secs(second);
        facts.set_pods(
            (1..=u128::from(facts.spec_replicas))
                .map(|uid| Pod { uid: PodUid(uid), state: if uid <= 5 { ready } else { PodState::Stuck } }),
        );
        for uid in 1..=5 {
            readings.record(PodUid(uid), 0, 40.0, now);
        }
        let seen = observe(&policy, &facts, &readings, &mut memory, now);
        decide(&policy, &seen, &mut memory, now, &mut decision);
        if decision.replicas != facts.spec_replicas {
            assert!([6, 7].contains(&decision.replicas), "{decision:?}");
            if decision.replicas == 7 {
                asked.push(second);
            }
            facts.spec_replicas = decision.replicas;
            facts.spec_changed_at = now;
        }
    }
    let pauses: Vec<u64> = asked.windows(2).map(|pair| (pair[1] - pair[0]) / 60).collect();
    assert_eq!(pauses[..7], [1, 2, 4, 8, 16, 30, 30], "{asked:?}");
}

#[test]
fn one_pod_that_never_starts_does_not_stop_a_fleet_from_growing() {
    for policy in policies(1, 100) {
        let mut fleet = Fleet::new(policy, 4, 80.0);
        fleet.start_time = mins(1);
        fleet.broken = Some(5);
        fleet.total = Box::new(move |at| match at.as_secs() / 60 {
            0..5 => 80.0,
            5..30 => 120.0,
            _ => 480.0,
        });
        fleet.run_until(mins(30));
        assert_eq!(fleet.observation.as_ref().unwrap().capacity.stuck, 1, "{:?}", fleet.writes);
        fleet.run_until(mins(34));
        // One probe, one start-up time, and then by the rates alone.
        assert!(fleet.replicas() >= 24, "{:?}", fleet.writes);
    }
}

#[test]
fn stuck_pods_are_given_back_when_the_load_does_not_need_them() {
    for policy in policies(1, 100) {
        let mut fleet = five_places_until(policy, mins(600));
        fleet.total = Box::new(move |at| if at < mins(30) { 160.0 } else { 100.0 });
        fleet.run_until(mins(45));
        assert_eq!(fleet.replicas(), 5, "{:?}", fleet.writes);
        assert_eq!(fleet.observation.as_ref().unwrap().capacity.ready, 5);
    }
}

#[test]
fn blind_gives_nothing_back_not_even_stuck_pods() {
    for policy in policies(1, 100) {
        let mut fleet = five_places_until(policy, mins(600));
        fleet.run_until(mins(20));
        let writes = fleet.writes.len();
        fleet.answer = Box::new(|_, _| fleet::Answer::Nothing);
        fleet.run_until(mins(120));
        assert_eq!(fleet.writes.len(), writes, "{:?}", fleet.writes);
    }
}

/// 120 shared by the ready pods; each takes 120 s to start.
#[test]
fn a_slow_start_asks_for_six_at_once_and_throws_none_away() {
    for policy in policies(1, 50) {
        let mut fleet = Fleet::new(policy, 2, 120.0);
        fleet.start_time = secs(120);
        fleet.run_until(secs(900));
        assert_eq!(fleet.written(), [4, 6], "{:?}", fleet.writes);
        let apart = fleet.writes[1].0.abs_diff(fleet.writes[0].0);
        assert!(apart <= secs(10) + 2 * SECOND, "{:?}", fleet.writes);
    }
}

/// Requests queue up, one more each second, until the pods that were asked for serve.
#[test]
fn a_backlog_that_grows_while_pods_start_asks_for_no_more() {
    for [held, free] in policies(2, 100).map(|policy| [true, false].map(|backlog| (policy.clone(), backlog)))
    {
        let [most_held, most_free] = [held, free].map(|(mut policy, backlog)| {
            policy.signals[0].backlog = backlog;
            let mut fleet = Fleet::new(policy, 2, 0.0);
            fleet.start_time = secs(300);
            fleet.total = Box::new(|at| match at.as_secs() {
                from_60 @ 60..425 => (from_60 - 60) as f64,
                _ => 0.0,
            });
            fleet.run_until(secs(1200));
            assert_eq!(fleet.replicas(), 2, "{:?}", fleet.writes);
            *fleet.written().iter().max().unwrap()
        });
        assert!(most_held <= 5, "{most_held}");
        assert!(most_free >= 10, "without the hold it climbs: {most_free}");
    }
}

/// The pods that start were not asked for because of the load: one that is replaced holds nothing.
#[test]
fn a_backlog_is_not_held_when_nothing_was_raised() {
    for mut policy in policies(1, 100) {
        policy.signals[0].backlog = true;
        let mut fleet = Fleet::new(policy, 5, 20.0);
        fleet.start_time = secs(300);
        fleet.run_until(secs(100));
        fleet.replace_pod();
        fleet.total = Box::new(|_| 400.0);
        fleet.run_until(secs(200));
        assert!(fleet.replicas() >= 19, "{:?}", fleet.writes);
    }
}

/// The backlog did not ask for the pods that start, a min that was raised did: what it becomes later is news.
#[test]
fn a_backlog_that_asked_for_nothing_is_not_held() {
    for mut policy in policies(1, 100) {
        policy.signals[0].backlog = true;
        let mut fleet = Fleet::new(policy, 5, 20.0);
        fleet.start_time = secs(300);
        fleet.run_until(secs(100));
        fleet.policy.min_replicas = 7;
        fleet.run_until(secs(110));
        assert_eq!(fleet.replicas(), 7, "{:?}", fleet.writes);
        fleet.total = Box::new(|_| 400.0);
        fleet.run_until(secs(200));
        assert!(fleet.replicas() >= 19, "{:?}", fleet.writes);
    }
}

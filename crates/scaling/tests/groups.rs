//! Replicas of several pods: the count, the bounds and the target are per replica.

use std::time::Duration;

use windlass_scaling::*;

const SECOND: Duration = Duration::from_secs(1);

/// `replicas` of `group` ready pods each, every pod reporting `value` for a minute. What is decided, by strategy.
fn decided(kind: Kind, group: u32, replicas: u32, value: f64) -> [u32; 2] {
    let target = if kind == Kind::Additive { 20.0 } else { 0.5 };
    [Policy::kpa("m", kind, target, 1..=50), Policy::apa("m", kind, target, 1..=50)].map(|policy| {
        let policy = Policy { down_window: SECOND, ..policy };
        let mut memory = Memory::new(&policy);
        let mut facts = Facts::new(replicas, Instant::ZERO);
        facts.pods_per_replica = group;
        let pods = 1..=u128::from(replicas * group);
        let ready = PodState::Ready { since: Instant::ZERO };
        facts.set_pods(pods.clone().map(|uid| Pod { uid: PodUid(uid), state: ready }));
        let mut readings = Readings::default();
        let mut decision = Decision::default();
        for second in 1..70 {
            let now = Instant::ZERO + second * SECOND;
            for pod in pods.clone() {
                readings.record(PodUid(pod), 0, value, now);
            }
            let observation = observe(&policy, &facts, &readings, &mut memory, now);
            assert_eq!(observation.capacity.ready, replicas);
            decide(&policy, &observation, &mut memory, now, &mut decision);
        }
        decision.replicas
    })
}

#[test]
fn as_if_each_replica_were_one_pod_with_all_of_its_load() {
    for (replicas, load) in [(4, 20.0), (4, 28.0), (4, 36.0), (6, 12.0), (8, 2.5)] {
        let alone = decided(Kind::Additive, 1, replicas, load);
        for group in [2, 3] {
            let together = decided(Kind::Additive, group, replicas, load / f64::from(group));
            assert_eq!(together, alone, "{replicas} of {group} pods, {load}");
        }
    }
}

#[test]
fn a_replica_is_as_utilised_as_its_pods_are_on_average() {
    for (replicas, util) in [(4, 0.5), (4, 0.7), (4, 0.9), (6, 0.25)] {
        let alone = decided(Kind::Utilisation, 1, replicas, util);
        for group in [2, 3] {
            assert_eq!(
                decided(Kind::Utilisation, group, replicas, util),
                alone,
                "{replicas} of {group} pods, {util}"
            );
        }
    }
}

#[test]
fn pods_that_are_missing_are_starting() {
    let policy = Policy::kpa("m", Kind::Additive, 20.0, 1..=50);
    let mut memory = Memory::new(&policy);
    let mut facts = Facts::new(3, Instant::ZERO);
    facts.pods_per_replica = 2;
    let state = PodState::Ready { since: Instant::ZERO };
    facts.set_pods((1..=3).map(|uid| Pod { uid: PodUid(uid), state }));
    let seen = observe(&policy, &facts, &Readings::default(), &mut memory, Instant::ZERO + SECOND);
    assert_eq!((seen.capacity.ready, seen.capacity.starting, seen.starts.under_way), (1, 2, 3));
}

//! What DESIGN §9 says of `observe` and `decide`: no allocation in steady state.

use std::hint::black_box;
use std::time::Duration;

use windlass_scaling::{
    Decision, Facts, Instant, Kind, Memory, Pod, PodState, PodUid, Policy, Readings, SignalPolicy, decide,
    observe,
};

const PODS: u128 = 10;

/// Rounds of ten pods and two signals, once windows and histories are full.
fn check(policy: &Policy) {
    let mut facts = Facts::new(PODS as u32, Instant::ZERO);
    let state = PodState::Ready { since: Instant::ZERO };
    facts.set_pods((1..=PODS).map(|uid| Pod { uid: PodUid(uid), state }));
    let (mut readings, mut memory, mut decision) =
        (Readings::default(), Memory::new(policy), Decision::default());
    let mut round = |second: u64| {
        let now = Instant::ZERO + Duration::from_secs(second);
        // Falls in seven steps and begins anew: raises, panic and lowering are among the decisions.
        let share = (second / 100 % 7) as f64;
        for uid in 1..=PODS {
            readings.record(PodUid(uid), 0, 60.0 - 8.0 * share, now);
            readings.record(PodUid(uid), 1, 0.9 - 0.1 * share, now);
        }
        let seen = observe(policy, &facts, &readings, &mut memory, now);
        decide(policy, &seen, &mut memory, now, &mut decision);
        black_box(decision.replicas);
    };
    (1..2000).for_each(&mut round);
    let allocated = allocation_counter::measure(|| (2000..4000).for_each(&mut round));
    assert_eq!(allocated.count_total, 0, "{policy:?}");
    assert_ne!(allocation_counter::measure(|| drop(black_box(Box::new(1)))).count_total, 0, "it counts");
}

#[test]
fn observing_and_deciding_allocate_nothing() {
    for mut policy in [
        Policy::kpa("inflight", Kind::Additive, 20.0, 1..=50),
        Policy::apa("inflight", Kind::Additive, 20.0, 1..=50),
    ] {
        policy.signals.push(SignalPolicy::of_pods("kv_util", Kind::Utilisation, 0.8));
        check(&policy);
    }
}

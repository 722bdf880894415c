//! `observe` and `decide` for one target of 10 pods with two signals. Budget on one core: 2 µs.
//!
//! The baseline keeps its windows as AIBrix does: a map of seconds per signal, its keys collected and sorted for every
//! mean. It decides nothing.

#![allow(missing_docs, reason = "criterion's macros")]

use std::collections::HashMap;
use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use windlass_scaling::{
    Decision, Facts, Instant, Kind, Memory, Pod, PodState, PodUid, Policy, Readings, SignalPolicy, decide,
    observe,
};

const PODS: u128 = 10;

fn both_signals(mut policy: Policy) -> Policy {
    policy.signals.push(SignalPolicy::of_pods("kv_util", Kind::Utilisation, 0.8));
    policy
}

fn target() -> (Facts, Readings) {
    let mut facts = Facts::new(PODS as u32, Instant::ZERO);
    facts.set_pods(
        (1..=PODS).map(|uid| Pod { uid: PodUid(uid), state: PodState::Ready { since: Instant::ZERO } }),
    );
    (facts, Readings::default())
}

fn observe_and_decide(criterion: &mut Criterion, name: &str, policy: &Policy) {
    let (facts, mut readings) = target();
    let mut memory = Memory::new(policy);
    let mut decision = Decision::default();
    let mut now = Instant::ZERO;
    let mut round = || {
        now = now + Duration::from_secs(1);
        for uid in 1..=PODS {
            readings.record(PodUid(uid), 0, 18.0, now);
            readings.record(PodUid(uid), 1, 0.7, now);
        }
        let seen = observe(policy, &facts, &readings, &mut memory, now);
        decide(policy, &seen, &mut memory, now, &mut decision);
        black_box(decision.replicas)
    };
    for _ in 0..600 {
        round();
    }
    criterion.bench_function(name, |bencher| bencher.iter(&mut round));
}

fn map_windows(criterion: &mut Criterion) {
    let mut windows: [HashMap<i64, f64>; 2] = Default::default();
    let mut second = 0;
    criterion.bench_function("baseline: two windows as sorted maps", |bencher| {
        bencher.iter(|| {
            second += 1;
            windows.each_mut().map(|window| {
                window.retain(|slot, _| *slot > second - 60);
                window.insert(second, 18.0);
                let mut slots: Vec<i64> = window.keys().copied().collect();
                slots.sort_unstable();
                black_box(slots.iter().map(|slot| window[slot]).sum::<f64>() / slots.len() as f64)
            })
        });
    });
}

fn all(criterion: &mut Criterion) {
    map_windows(criterion);
    let kpa = both_signals(Policy::kpa("inflight", Kind::Additive, 20.0, 1..=50));
    observe_and_decide(criterion, "KPA: record, observe, decide", &kpa);
    let apa = both_signals(Policy::apa("inflight", Kind::Additive, 20.0, 1..=50));
    observe_and_decide(criterion, "APA: record, observe, decide", &apa);
}

criterion_group!(benches, all);
criterion_main!(benches);

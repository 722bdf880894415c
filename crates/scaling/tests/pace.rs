//! However often pods are read, the same is decided: windows, rates and surges are in seconds.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod fleet;

use std::time::Duration;

use fleet::{Fleet, Reading, SECOND, policies};
use proptest::prelude::*;
use windlass_scaling::*;

/// A page that costs an engine as much as a filtered one, and one like Python's full page.
const CHEAP: Duration = Duration::from_micros(54);
const DEAR: Duration = Duration::from_micros(5_190);

const PACES: [Reading; 7] = [
    Reading::Every(Duration::from_millis(100)),
    Reading::Every(Duration::from_millis(250)),
    Reading::Every(Duration::from_millis(500)),
    Reading::Every(SECOND),
    Reading::Every(Duration::from_secs(2)),
    Reading::Attentively(CHEAP),
    Reading::Attentively(DEAR),
];

/// The last of these three rounds, of which the first may come an interval late, ends a surge; the slot of a window is a
/// second. The slowest is three times 2 s.
const MOST_APART: Duration = Duration::from_secs(5);

/// Three pods in calm, then a load of so much for so long (seconds), then calm again, until so long after the beginning.
fn run(policy: &Policy, reading: Reading, (calm, load): (f64, f64), held: f64, until: u64) -> Fleet {
    let mut fleet = Fleet::new(policy.clone(), 3, calm);
    fleet.reading = reading;
    let step = Duration::from_millis(70_370);
    let end = step + Duration::from_secs_f64(held);
    fleet.total = Box::new(move |at| if at >= step && at < end { load } else { calm });
    fleet.run_until(Duration::from_secs(until));
    fleet
}

/// When the count was first raised, from the step on.
fn raised(fleet: &Fleet) -> Option<Duration> {
    let step = Duration::from_millis(70_370);
    fleet
        .writes
        .iter()
        .find(|(at, replicas)| *at >= step && *replicas > 3)
        .map(|(at, _)| at.saturating_sub(step))
}

fn panicked(fleet: &Fleet) -> bool {
    let panics = |proposal: &Proposal| matches!(proposal.basis, Basis::Panic { .. });
    fleet.decision.proposals.iter().any(panics)
}

#[test]
fn a_jump_out_of_calm_acts_after_two_seconds_and_an_interval() {
    let [kpa, _] = policies(1, 60);
    for factor in [3.0, 10.0] {
        for (reading, at_most) in [
            (Reading::Every(Duration::from_millis(100)), 2.2),
            (Reading::Attentively(CHEAP), 2.2),
            (Reading::Every(SECOND), 3.1),
            // Read every 2 s in calm: the first reading may come so late, and three rounds it takes.
            (Reading::Attentively(DEAR), 4.8),
        ] {
            let fleet = run(&kpa, reading, (45.0, 45.0 * factor), 60.0, 80);
            let after = raised(&fleet).unwrap().as_secs_f64();
            // ×10 is enough for the panic window's mean sooner than for a surge.
            let at_least = if factor > 3.0 { 1.0 } else { 1.85 };
            assert!((at_least..at_most).contains(&after), "×{factor}, {reading:?}: {after}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_step_ends_in_the_same_count(apa: bool, calm in 25.0..58.0_f64, load in 1.0..12.0_f64) {
        let [kpa, by_ratio] = policies(1, 100);
        let policy = if apa { by_ratio } else { kpa };
        let load = significant(calm * load);
        let fleets = PACES.map(|pace| run(&policy, pace, (calm, load), 500.0, 200));
        let ends = fleets.each_ref().map(Fleet::replicas);
        // Inside APA's tolerance the count is what the way up left it at: that may be another with every round.
        let apart = if apa { 1 + ends[0] / 10 } else { 0 };
        prop_assert!(ends.iter().all(|end| end.abs_diff(ends[0]) <= apart), "{ends:?}");
        let first = fleets.each_ref().map(raised);
        let known = || first.iter().flatten();
        prop_assert!(known().count() == 0 || known().count() == PACES.len(), "{first:?}");
        if let (Some(earliest), Some(latest)) = (known().min(), known().max()) {
            prop_assert!(latest.abs_diff(*earliest) <= MOST_APART, "{first:?}");
        }
    }

    /// Three rounds take 4 s at the slowest pace, the first may come 2 s late, and pods are read within 0.1 s. With more calm load
    /// the stable mean raises first, and a fourth pod is more than the least surge asks for.
    #[test]
    fn what_lasts_is_a_surge_at_every_pace(calm in 25.0..45.0_f64, more in 1.05..4.0_f64, held in 6.4..9.0_f64) {
        let [kpa, _] = policies(1, 100);
        let load = 2.0 * 20.0 * 3.0 * more;
        for pace in PACES {
            let fleet = run(&kpa, pace, (calm, load), held, 80);
            prop_assert!(panicked(&fleet), "{pace:?} {:?} {:?}", fleet.writes, fleet.decision.proposals);
        }
    }

    #[test]
    fn what_is_gone_in_two_seconds_is_none_at_any_pace(calm in 25.0..50.0_f64, more in 1.0..4.0_f64, held in 0.1..1.85_f64) {
        let [kpa, _] = policies(1, 100);
        // No more than what the panic window's mean bears of a reading that stands for 2 s of 9.
        let load = (2.0 * 20.0 * 3.0 * more).min((890.0 - 7.0 * calm) / 2.0);
        for pace in PACES {
            let fleet = run(&kpa, pace, (calm, load), held, 80);
            prop_assert!(!panicked(&fleet), "{pace:?}");
        }
    }
}

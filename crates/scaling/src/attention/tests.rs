use super::*;
use crate::{Memory, Order, Pod, PodState, PodUid, Readings, decide, observe};

/// Three engines of a target of 20, read at the pace that is asked for, through the real `observe` and `decide`; counts
/// are never applied.
struct Watched {
    policy: Policy,
    facts: Facts,
    memory: Memory,
    readings: Readings,
    attention: Attention,
    costs: Costs,
    failing: bool,
    now: Instant,
}

/// What a filtered page and a full one of Python's exporter cost an engine.
const FILTERED: Duration = Duration::from_micros(54);
const FULL: Duration = Duration::from_micros(5_190);

fn costs(service: Duration) -> Costs {
    Costs { service: Some(service), engine_share: 0.001, strain: 1.0 }
}

impl Watched {
    fn new(policy: Policy, service: Duration) -> Self {
        let mut facts = Facts::new(3, Instant::ZERO);
        let state = PodState::Ready { since: Instant::ZERO };
        facts.set_pods((1..=3).map(|uid| Pod { uid: PodUid(uid), state }));
        Self {
            memory: Memory::new(&policy),
            readings: Readings::default(),
            attention: Attention::default(),
            costs: costs(service),
            failing: false,
            now: Instant::ZERO + Duration::from_secs(100),
            policy,
            facts,
        }
    }

    fn kpa(service: Duration) -> Self {
        Self::new(Policy::kpa("inflight", crate::Kind::Additive, 20.0, 1..=30), service)
    }

    fn apa(service: Duration) -> Self {
        Self::new(Policy::apa("inflight", crate::Kind::Additive, 20.0, 1..=30), service)
    }

    /// Reads a constant total for so many seconds; how often.
    fn reads(&mut self, total: f64, secs: f64) -> usize {
        let end = self.now + Duration::from_secs_f64(secs);
        let mut read = 0;
        let mut decision = Decision::default();
        while self.now < end {
            for uid in 1..=3 {
                self.readings.record(PodUid(uid), 0, total / 3.0, self.now);
            }
            read += 1;
            let seen = observe(&self.policy, &self.facts, &self.readings, &mut self.memory, self.now);
            decide(&self.policy, &seen, &mut self.memory, self.now, &mut decision);
            let look = Look {
                policy: &self.policy,
                facts: &self.facts,
                observation: &seen,
                decision: &decision,
                failing: self.failing,
            };
            self.now = self.now + self.attention.attend(&look, &self.costs, self.now).interval;
        }
        read
    }

    /// The pace after reading a constant total for so many seconds.
    #[track_caller]
    fn check(&mut self, total: f64, secs: f64, millis: u128, cause: Cause, limit: Limit) {
        self.reads(total, secs);
        let attended = self.attention.attended();
        assert_eq!((attended.interval.as_millis(), attended.cause, attended.limit), (millis, cause, limit));
    }
}

#[test]
fn cheap_pages_are_read_fast_also_in_calm() {
    Watched::kpa(FILTERED).check(30.0, 60.0, 100, Cause::Calm, Limit::Need);
    Watched::apa(FILTERED).check(30.0, 60.0, 1000, Cause::Calm, Limit::Need);
    // The engine model of the testbed: 0.3 ms.
    Watched::kpa(Duration::from_micros(300)).check(30.0, 60.0, 300, Cause::Calm, Limit::Engine);
}

#[test]
fn dear_pages_are_read_slowly_until_something_happens() {
    let mut watched = Watched::kpa(FULL);
    watched.check(30.0, 60.0, 2000, Cause::Calm, Limit::Engine);
    let jump = watched.now;
    watched.check(300.0, 1.0, 700, Cause::Surging { signal: 0 }, Limit::Engine);
    assert!(watched.now - jump < 3 * BASE);
    // Three fifths, and no more than that: it moved.
    let mut watched = Watched::kpa(FULL);
    watched.check(20.0, 60.0, 2000, Cause::Calm, Limit::Engine);
    watched.check(35.0, 1.0, 700, Cause::Moved { signal: 0 }, Limit::Engine);
    watched.check(35.0, 10.0, 2000, Cause::Calm, Limit::Engine);
}

#[test]
fn a_load_that_stays_near_a_threshold_is_calm_after_a_while() {
    let mut watched = Watched::kpa(FULL);
    watched.reads(30.0, 60.0);
    watched.check(58.0, 9.0, 1000, Cause::Near { signal: 0 }, Limit::Engine);
    watched.check(58.0, 10.0, 2000, Cause::Calm, Limit::Engine);
    // The tolerance belongs to the count: 1.05 times it is as near for APA.
    let mut watched = Watched::apa(FULL);
    watched.reads(40.0, 60.0);
    watched.check(62.0, 8.0, 1000, Cause::Near { signal: 0 }, Limit::Engine);
}

/// What is exceeded is paid back: in ten minutes of a surge that nothing can end an engine gives little more than twice
/// its share, or what freshness costs.
#[test]
fn the_engines_share_is_kept_in_the_long_run() {
    for service in [100, 200, 500, 1000, 2000].map(Duration::from_micros) {
        let mut watched = Watched::kpa(service);
        let reads = watched.reads(190.0, 600.0);
        let used = service.as_secs_f64() * reads as f64 / 600.0;
        let fresh = service.as_secs_f64();
        assert!(used <= fresh.max(0.001) * 2.5, "{service:?}: {used}, {reads} times");
        assert!(reads >= 600, "{service:?}: read every second at least, {reads}");
    }
}

#[test]
fn what_cannot_be_written_is_read_slowly() {
    let mut held = Watched::kpa(FILTERED);
    held.policy.hold.order = Some(Order { replicas: 3, until: None });
    held.check(300.0, 30.0, 2000, Cause::Held, Limit::Need);
    let mut most = Watched::kpa(FILTERED);
    most.policy.max_replicas = 3;
    most.check(300.0, 30.0, 2000, Cause::AtMost, Limit::Need);
}

/// A reading is fresh for 3 s: at 2 s a pod that failed once would be silent before it is asked again.
#[test]
fn a_failed_poll_brings_the_target_back_to_a_second() {
    let mut watched = Watched::kpa(FULL);
    watched.policy.max_replicas = 3;
    watched.check(30.0, 30.0, 2000, Cause::AtMost, Limit::Need);
    watched.failing = true;
    watched.check(30.0, 2.0, 1000, Cause::Incomplete, Limit::Engine);
    watched.costs.strain = 400.0;
    watched.check(30.0, 30.0, 1000, Cause::Incomplete, Limit::Engine);
}

#[test]
fn starting_pods_and_changes_are_attended_to() {
    let mut watched = Watched::kpa(FULL);
    watched.reads(30.0, 60.0);
    watched.facts.spec_replicas = 4;
    watched.facts.spec_changed_at = watched.now;
    watched.check(30.0, 1.0, 700, Cause::Changed, Limit::Engine);
    watched.check(30.0, 20.0, 1000, Cause::Starting, Limit::Engine);
}

#[test]
fn when_our_processor_is_short_calm_targets_wait_first() {
    let mut calm = Watched::kpa(FILTERED);
    calm.costs.strain = 4.5;
    calm.check(30.0, 60.0, 500, Cause::Calm, Limit::Own);
    calm.costs.strain = 400.0;
    calm.check(30.0, 60.0, 2000, Cause::Calm, Limit::Own);
    calm.costs.strain = 20.0;
    calm.check(300.0, 2.0, 100, Cause::Surging { signal: 0 }, Limit::Need);
    calm.costs.strain = 60.0;
    calm.check(300.0, 4.0, 300, Cause::Surging { signal: 0 }, Limit::Own);
}

#[test]
fn without_a_known_cost_the_base_pace_is_kept() {
    let mut watched = Watched::kpa(FULL);
    watched.costs.service = None;
    watched.check(30.0, 60.0, 1000, Cause::Calm, Limit::Engine);
    watched.check(300.0, 2.0, 1000, Cause::Surging { signal: 0 }, Limit::Engine);
}

//! A small closed loop in virtual time: pods that start, are polled and carry a load, round the real `observe` and
//! `decide`. Only for tests of this crate.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use proptest::test_runner::{RngAlgorithm, TestRng};
use rand_core::Rng;
use windlass_scaling::attention::{Attention, Costs, Look};
use windlass_scaling::*;

pub(crate) const SECOND: Duration = Duration::from_secs(1);
/// Resolution of the loop.
const STEP: Duration = Duration::from_millis(10);

/// How the fleet's total reaches the pods.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Share {
    /// Each ready pod reports total ÷ `spec.replicas`.
    BySpec,
    /// Each ready pod reports total ÷ ready pods.
    ByReady,
}

/// What a poll of a pod gives at an instant.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Answer {
    Value,
    Nothing,
}

struct SimulatedPod {
    uid: PodUid,
    ready_at: Instant,
    ready: bool,
    /// The first poll, or the one after the last that happened.
    next_poll: Instant,
    polled: Option<Instant>,
}

/// How often pods are read.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Reading {
    /// Always so often.
    Every(Duration),
    /// As the product does, where an engine needs so long for its page.
    Attentively(Duration),
}

/// The loop; public fields are its parameters.
pub(crate) struct Fleet {
    pub(crate) policy: Policy,
    pub(crate) share: Share,
    pub(crate) tick: Duration,
    pub(crate) start_time: Duration,
    /// The most pods that can be ready at an instant; the others do not start.
    pub(crate) places: Box<dyn Fn(Duration) -> usize>,
    /// A pod without a place is refused this long after it would have been ready.
    pub(crate) refused_after: Option<Duration>,
    /// A pod that never becomes ready.
    pub(crate) broken: Option<u128>,
    /// A pod whose readiness comes and goes five times a second.
    pub(crate) flapping: Option<u128>,
    /// How much a poll may come early or late.
    pub(crate) jitter: Duration,
    pub(crate) reading: Reading,
    pub(crate) total: Box<dyn Fn(Duration) -> f64>,
    pub(crate) answer: Box<dyn Fn(Duration, u128) -> Answer>,
    pub(crate) facts: Facts,
    pub(crate) memory: Memory,
    pub(crate) decision: Decision,
    pub(crate) observation: Option<Observation>,
    /// When, and to what.
    pub(crate) writes: Vec<(Duration, u32)>,
    /// Ready + starting over time, at each change of it.
    pub(crate) bases: Vec<(Duration, u32)>,
    pub(crate) greatest_total: f64,
    readings: Readings,
    attention: Attention,
    pods: Vec<SimulatedPod>,
    now: Instant,
    next_tick: Instant,
    next_uid: u128,
    rng: TestRng,
}

impl Fleet {
    /// `replicas` pods, ready from the beginning, and a constant total.
    pub(crate) fn new(policy: Policy, replicas: u32, total: f64) -> Self {
        let mut fleet = Self {
            share: Share::ByReady,
            tick: SECOND,
            start_time: Duration::from_millis(300),
            places: Box::new(|_| usize::MAX),
            refused_after: None,
            broken: None,
            flapping: None,
            jitter: Duration::ZERO,
            reading: Reading::Every(policy.signals[0].pace.interval),
            attention: Attention::default(),
            total: Box::new(move |_| total),
            answer: Box::new(|_, _| Answer::Value),
            facts: Facts::new(replicas, Instant::ZERO),
            memory: Memory::new(&policy),
            decision: Decision::default(),
            observation: None,
            writes: Vec::new(),
            bases: Vec::new(),
            greatest_total: 0.0,
            readings: Readings::default(),
            pods: Vec::new(),
            now: Instant::ZERO,
            next_tick: Instant::ZERO,
            next_uid: 1,
            rng: TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]),
            policy,
        };
        for _ in 0..replicas {
            fleet.create_pod(Instant::ZERO);
        }
        fleet
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.now - Instant::ZERO
    }

    pub(crate) fn replicas(&self) -> u32 {
        self.facts.spec_replicas
    }

    fn create_pod(&mut self, ready_at: Instant) {
        let phase = Duration::from_millis((self.next_uid * 37 % 100) as u64);
        let pod = SimulatedPod {
            uid: PodUid(self.next_uid),
            ready_at,
            ready: false,
            next_poll: ready_at + phase,
            polled: None,
        };
        self.facts.insert(Pod { uid: pod.uid, state: PodState::Starting { since: self.now } });
        self.next_uid += 1;
        self.pods.push(pod);
    }

    /// Somebody sets `spec.replicas`.
    pub(crate) fn scale(&mut self, replicas: u32) {
        self.facts.spec_replicas = replicas;
        self.facts.spec_changed_at = self.now;
        while self.pods.len() > replicas as usize {
            // Like a ReplicaSet: pods that are not ready go first.
            let at = self.pods.iter().rposition(|pod| !pod.ready).unwrap_or(self.pods.len() - 1);
            let gone = self.pods.remove(at);
            self.facts.remove(gone.uid);
            if gone.ready {
                self.facts.ready_changed_at = self.now;
            }
        }
        while self.pods.len() < replicas as usize {
            self.create_pod(self.now + self.start_time);
        }
    }

    /// A person sets `spec.replicas`.
    pub(crate) fn set_by_hand(&mut self, replicas: u32) {
        self.facts.set_by_hand = Some(SetByHand { replicas, at: self.now });
        self.scale(replicas);
    }

    /// The last pod is evicted, and created anew.
    pub(crate) fn replace_pod(&mut self) {
        let gone = self.pods.pop().unwrap();
        self.facts.remove(gone.uid);
        self.facts.ready_changed_at = self.now;
        self.create_pod(self.now + self.start_time);
    }

    /// Another controller takes over: nothing is remembered.
    pub(crate) fn take_over(&mut self) {
        self.memory = Memory::new(&self.policy);
        self.readings = Readings::default();
        self.facts.ready_changed_at = self.now;
        self.facts.spec_changed_at = self.now;
    }

    /// Runs until `end` after the beginning.
    pub(crate) fn run_until(&mut self, end: Duration) {
        while self.elapsed() < end {
            self.become_ready();
            self.flap();
            let heard = self.poll();
            let woken = self.decision.wake_at.is_some_and(|at| at <= self.now);
            if heard || woken || self.next_tick <= self.now {
                if self.next_tick <= self.now {
                    self.next_tick = self.now + self.tick;
                }
                self.decide();
            }
            self.now = self.now + STEP;
        }
    }

    fn become_ready(&mut self) {
        let places = (self.places)(self.elapsed());
        let mut taken = self.pods.iter().filter(|pod| pod.ready).count();
        for pod in &mut self.pods {
            let startable = taken < places && self.broken.is_none_or(|uid| pod.uid != PodUid(uid));
            let refused = self.refused_after.is_some_and(|after| pod.ready_at + after <= self.now);
            if !pod.ready && !startable && refused {
                self.facts.insert(Pod { uid: pod.uid, state: PodState::Stuck });
            }
            if !pod.ready && pod.ready_at <= self.now && startable {
                pod.ready = true;
                taken += 1;
                self.facts.insert(Pod { uid: pod.uid, state: PodState::Ready { since: self.now } });
                self.facts.ready_changed_at = self.now;
            }
        }
    }

    fn flap(&mut self) {
        let half_period = self.now.as_micros() / 100_000;
        let Some(pod) = self.pods.iter_mut().find(|pod| Some(pod.uid.0) == self.flapping) else { return };
        let ready = half_period.is_multiple_of(2);
        if pod.ready != ready {
            pod.ready = ready;
            let since = self.now;
            let state = if ready { PodState::Ready { since } } else { PodState::LostReadiness { since } };
            self.facts.insert(Pod { uid: pod.uid, state });
            self.facts.ready_changed_at = since;
        }
    }

    fn poll(&mut self) -> bool {
        let total = (self.total)(self.elapsed());
        let ready = self.pods.iter().filter(|pod| pod.ready).count().max(1) as f64;
        let value = match self.share {
            Share::BySpec => total / f64::from(self.facts.spec_replicas.max(1)),
            Share::ByReady => total / ready,
        };
        let interval = self.interval();
        let mut heard = false;
        for pod in self.pods.iter_mut().filter(|pod| pod.ready && pod.next_poll <= self.now) {
            pod.polled = Some(pod.next_poll);
            pod.next_poll = pod.next_poll + interval;
            if !self.jitter.is_zero() {
                let jitter = u64::from(self.rng.next_u32()) % (self.jitter.as_micros() as u64);
                pod.next_poll =
                    (pod.next_poll + Duration::from_micros(jitter)).saturating_sub(self.jitter / 2);
            }
            if (self.answer)(self.now - Instant::ZERO, pod.uid.0) == Answer::Value {
                heard |= self.readings.record(pod.uid, 0, value, self.now);
            }
        }
        heard
    }

    fn interval(&self) -> Duration {
        match self.reading {
            Reading::Every(interval) => interval,
            Reading::Attentively(_) => self.attention.attended().interval,
        }
    }

    /// Sets the pace that follows from the last decision; whoever is late by it is read now.
    fn attend(&mut self, observation: &Observation) {
        let Reading::Attentively(service) = self.reading else { return };
        let before = self.interval();
        let look = Look {
            policy: &self.policy,
            facts: &self.facts,
            observation,
            decision: &self.decision,
            failing: false,
        };
        let costs = Costs { service: Some(service), engine_share: 0.001, strain: 1.0 };
        let interval = self.attention.attend(&look, &costs, self.now).interval;
        for pod in self.pods.iter_mut().filter(|_| interval != before) {
            if let Some(polled) = pod.polled {
                pod.next_poll = (polled + interval).max(self.now);
            }
        }
    }

    fn decide(&mut self) {
        let facts = &self.facts;
        self.readings.retain(|uid| facts.pods().iter().any(|pod| pod.uid == uid));
        let observation = observe(&self.policy, &self.facts, &self.readings, &mut self.memory, self.now);
        decide(&self.policy, &observation, &mut self.memory, self.now, &mut self.decision);
        if let Some(total) = observation.signals[0].total {
            self.greatest_total = self.greatest_total.max(total);
        }
        self.note_base(observation.capacity.ready_and_starting());
        self.attend(&observation);
        self.observation = Some(observation);
        if self.decision.replicas != self.facts.spec_replicas {
            self.writes.push((self.elapsed(), self.decision.replicas));
            self.scale(self.decision.replicas);
            self.note_base(self.decision.replicas);
        }
    }

    fn note_base(&mut self, base: u32) {
        if self.bases.last().is_none_or(|(_, last)| *last != base) {
            self.bases.push((self.elapsed(), base));
        }
    }

    /// The counts written, in order.
    pub(crate) fn written(&self) -> Vec<u32> {
        self.writes.iter().map(|(_, replicas)| *replicas).collect()
    }
}

/// Both strategies with one additive signal of target 20.
pub(crate) fn policies(min: u32, max: u32) -> [Policy; 2] {
    [
        Policy::kpa("inflight", Kind::Additive, 20.0, min..=max),
        Policy::apa("inflight", Kind::Additive, 20.0, min..=max),
    ]
}

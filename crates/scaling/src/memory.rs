//! What is kept between ticks: bounded, serialisable, versioned.

use std::collections::VecDeque;

use serde::{Deserialize, Deserializer, Serialize};

use crate::decide::{Manual, Probe};
use crate::events::Merging;
use crate::starts::StartMemory;
use crate::window::{MeanWindow, SlidingExtreme};
use crate::{Instant, Policy, SignalPolicy, Strategy, kpa, significant};

/// Raised whenever the meaning of a field changes: a memory of another version cannot be read.
const VERSION: u32 = 4;

/// Rounds kept for the surge test: 2 s at ten a second ([`crate::attention::FASTEST`]), and half as many again.
const RECENT_ROUNDS: usize = 32;

/// Without a round, a total that is not known in full is believed after as long as KPA's panic window is by default.
const AT_LEAST_SPAN: std::time::Duration = std::time::Duration::from_secs(10);

/// What is remembered of one target between two ticks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    #[serde(deserialize_with = "current_version")]
    version: u32,
    pub(crate) starts: StartMemory,
    pub(crate) probe: Probe,
    pub(crate) signals: Vec<SignalMemory>,
    /// Least and greatest count wanted, over the up and the down window.
    pub(crate) wanted_least: SlidingExtreme,
    pub(crate) wanted_greatest: SlidingExtreme,
    /// Least and greatest base of the rates, over 10 s.
    pub(crate) base_least: SlidingExtreme,
    pub(crate) base_greatest: SlidingExtreme,
    pub(crate) last_spec: Option<u32>,
    pub(crate) lowered_at: Option<Instant>,
    /// minReplicas when `spec.replicas` was first seen at 0.
    pub(crate) min_at_zero: Option<u32>,
    pub(crate) manual: Manual,
    /// Where pods' histograms are merged.
    #[serde(skip)]
    pub(crate) merging: Merging,
}

/// What is remembered of one signal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SignalMemory {
    metric: String,
    read_from: String,
    /// The stable window of KPA, the window of APA.
    pub(crate) window: MeanWindow,
    pub(crate) panic_window: Option<MeanWindow>,
    /// The last round: instant and total; 0 if it was idle.
    last_round: Option<(Instant, f64)>,
    /// The last round found that nothing happens.
    #[serde(default)]
    idle: bool,
    /// When all pods last answered without any value.
    #[serde(default)]
    answered_at: Option<Instant>,
    /// The latest rounds: instant and total as the windows have it, oldest first.
    pub(crate) rounds: VecDeque<(Instant, f64)>,
    /// When the signal was first looked at: nobody could be heard before.
    pub(crate) observed_since: Option<Instant>,
    /// The first round after a start or a gap.
    pub(crate) unbroken_since: Option<Instant>,
    /// What the total is at least while there is no round, and since when there is none.
    at_least: MeanWindow,
    at_least_since: Option<Instant>,
    /// The first round after the last gap; `None` before the first gap, because a start must not wait.
    pub(crate) resumed_at: Option<Instant>,
    /// A backlog's value when pods that are starting were asked for, and when that was.
    pub(crate) held: Option<(Instant, f64)>,
    pub(crate) kpa: kpa::State,
}

impl Memory {
    /// Nothing remembered yet.
    pub fn new(policy: &Policy) -> Self {
        let mut memory = Self {
            version: VERSION,
            starts: StartMemory::default(),
            probe: Probe::default(),
            signals: Vec::new(),
            wanted_least: SlidingExtreme::least(),
            wanted_greatest: SlidingExtreme::greatest(),
            base_least: SlidingExtreme::least(),
            base_greatest: SlidingExtreme::greatest(),
            last_spec: None,
            lowered_at: None,
            min_at_zero: None,
            manual: Manual::default(),
            merging: Merging::default(),
        };
        memory.adapt(policy);
        memory
    }

    /// Fits the memory to a changed policy. A signal that keeps its metric and the place where it is read keeps what was
    /// observed of it; of several that are alike the first is the first.
    pub fn adapt(&mut self, policy: &Policy) {
        let mut known = std::mem::take(&mut self.signals);
        for signal in &policy.signals {
            let kept = known.iter().position(|memory| signal.is_same(&memory.metric, &memory.read_from));
            let mut memory = kept.map_or_else(|| SignalMemory::new(signal), |at| known.remove(at));
            match &policy.strategy {
                Strategy::Kpa(kpa) => {
                    memory.window = memory.window.resized(signal.window(kpa.stable_window));
                    let panic = memory.panic_window.as_ref().unwrap_or(&memory.window);
                    memory.panic_window = Some(panic.resized(signal.window(kpa.panic_window)));
                }
                Strategy::Apa(apa) => {
                    memory.window = memory.window.resized(signal.window(apa.window));
                    memory.panic_window = None;
                    memory.kpa = kpa::State::default();
                }
            }
            self.signals.push(memory);
        }
    }

    /// The caller knows that it lowered the target to 0 itself, in an earlier life. It then was not switched off by
    /// somebody else, and comes back when its bounds ask for it. Only of use before the first decision.
    pub fn lowered_to_zero(&mut self) {
        if self.last_spec.is_none() {
            self.min_at_zero = Some(0);
        }
    }

    /// The caller forgot its readings: silence is counted from the next observation on.
    pub fn listen_anew(&mut self) {
        for signal in &mut self.signals {
            signal.observed_since = None;
        }
    }
}

/// What other code wrote may mean something else: a target is then observed anew, as after a start.
fn current_version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let version = u32::deserialize(deserializer)?;
    if version == VERSION {
        return Ok(version);
    }
    let problem = format!("memory of version {version}; this program reads version {VERSION}");
    Err(serde::de::Error::custom(problem))
}

impl SignalMemory {
    fn new(signal: &SignalPolicy) -> Self {
        Self {
            metric: signal.metric.clone(),
            read_from: signal.read_from.clone(),
            window: MeanWindow::new(std::time::Duration::from_mins(1)),
            panic_window: None,
            last_round: None,
            idle: false,
            answered_at: None,
            rounds: VecDeque::with_capacity(RECENT_ROUNDS),
            observed_since: None,
            unbroken_since: None,
            at_least: MeanWindow::new(AT_LEAST_SPAN),
            at_least_since: None,
            resumed_at: None,
            held: None,
            kpa: kpa::State::default(),
        }
    }

    pub(crate) fn last_round(&self) -> Option<(Instant, f64)> {
        self.last_round
    }

    /// The last round found that nothing happens.
    pub(crate) fn is_idle(&self) -> bool {
        self.idle
    }

    /// Notes what the total is at least while there is no round, and gives its mean once that has lasted.
    ///
    /// The sum over pods that were ready for as long as their readings may be old. Their neighbours come and go, so each
    /// of them carries at most what it would if they were alone: unlike with a pod that is new, no load counts twice.
    pub(crate) fn note_at_least(&mut self, sum: Option<f64>, now: Instant) -> Option<f64> {
        let Some(sum) = sum else {
            self.at_least_since = None;
            return None;
        };
        let since = *self.at_least_since.get_or_insert(now);
        self.at_least.record(now, significant(sum));
        if now - since < AT_LEAST_SPAN { None } else { self.at_least.mean(now) }
    }

    /// Notes that all pods answered, and nothing had a value to tell: requests are under way, and none finished lately.
    /// That is no gap in what was observed.
    pub(crate) fn note_answered(&mut self, at: Instant) {
        self.answered_at = Some(at);
    }

    /// Notes that a round is complete. `gap` after the last one ends the unbroken stretch.
    fn note_round(&mut self, at: Instant, total: f64, gap: std::time::Duration) {
        match self.last_round().map(|(last, _)| self.answered_at.map_or(last, |answered| answered.max(last)))
        {
            None => self.unbroken_since = Some(at),
            Some(last) if at - last > gap => {
                self.unbroken_since = Some(at);
                self.resumed_at = Some(at);
            }
            Some(_) => {}
        }
        self.last_round = Some((at, total));
    }

    /// Notes a round in which nothing happened: there is no value, and the windows keep what they have. See
    /// [`Self::record_round`].
    pub(crate) fn record_idle(&mut self, at: Instant, gap: std::time::Duration) {
        self.note_round(at, 0.0, gap);
        self.idle = true;
    }

    /// Notes a round's total; a backlog that is held enters the windows at that value. `gap` after the last round ends the
    /// unbroken stretch.
    pub(crate) fn record_round(&mut self, at: Instant, total: f64, gap: std::time::Duration) {
        self.note_round(at, total, gap);
        self.idle = false;
        let total = self.held.map_or(total, |(_, held)| total.min(held));
        if self.rounds.len() == RECENT_ROUNDS {
            self.rounds.pop_front();
        }
        self.rounds.push_back((at, total));
        self.window.record(at, total);
        if let Some(panic) = &mut self.panic_window {
            panic.record(at, total);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memory_of_another_version_is_not_taken_over() {
        let policy = Policy::kpa("inflight", crate::Kind::Additive, 20.0, 1..=10);
        let text = serde_json::to_string(&Memory::new(&policy)).unwrap();
        assert!(serde_json::from_str::<Memory>(&text).is_ok());
        let other = text.replacen("\"version\":4", "\"version\":3", 1);
        let error = serde_json::from_str::<Memory>(&other).unwrap_err().to_string();
        assert!(error.contains("memory of version 3; this program reads version 4"), "{error}");
    }

    /// Two sources of one metric never share a window, whatever becomes of the policy.
    #[test]
    fn a_signal_is_its_metric_and_where_it_is_read() {
        let signal = |read_from: &str| SignalPolicy {
            read_from: read_from.to_owned(),
            ..SignalPolicy::of_pods("queue", crate::Kind::Additive, 20.0)
        };
        let policy_of = |places: &[&str]| Policy {
            signals: places.iter().map(|place| signal(place)).collect(),
            ..Policy::apa("queue", crate::Kind::Additive, 20.0, 1..=10)
        };
        let at = Instant::from_micros(1_000_000);
        let mut memory = Memory::new(&policy_of(&["pods", "api", "api", "api"]));
        let gap = std::time::Duration::from_secs(3);
        for (signal, total) in memory.signals.iter_mut().zip([1.0, 2.0, 3.0, 4.0]) {
            signal.record_round(at, total, gap);
        }
        let mut check = |places: &[&str], means: &[Option<f64>]| {
            memory.adapt(&policy_of(places));
            let found: Vec<_> = memory.signals.iter().map(|signal| signal.window.mean(at)).collect();
            assert_eq!(found, means, "{places:?}");
        };
        check(&["api", "api", "pods", "api"], &[Some(2.0), Some(3.0), Some(1.0), Some(4.0)]);
        check(&["api", "pods"], &[Some(2.0), Some(1.0)]);
        check(&["elsewhere", "pods", "api"], &[None, Some(1.0), Some(2.0)]);
    }
}

//! Facts and readings of one target at one instant, made into totals.

use std::time::Duration;

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use crate::capacity::LOST_READINESS_SPAN;
use crate::memory::SignalMemory;
use crate::numbers::replicas_for;
use crate::window::MeanWindow;
use crate::{
    Capacity, Facts, Instant, Kind, MAX_SIGNALS, Memory, Pace, PodState, Policy, Reading, Readings, Scope,
    SetByHand, SignalPolicy, Starts, Told, significant,
};

/// A pod silent for longer than this while others report is left out, and named.
const LEFT_OUT_AFTER: Duration = Duration::from_mins(10);
/// A surge is a total that held for this long …
const SURGE_SPAN: Duration = Duration::from_millis(1_850);
/// … in at least this many rounds. The span is 2 s less what a poll may come early: so the twentieth round of a surge that
/// is read every 100 ms is the last that is waited for, and not the twenty-first whenever two come 99 ms apart.
const SURGE_ROUNDS: usize = 3;
/// Rounds are of one surge within so many fresh spans: 4.5 s of pods, which is three rounds at the slowest pace of
/// [`crate::attention`] and some. One that was lost in between does not undo the others.
const SURGE_WITHIN: f64 = 1.5;

/// What is known of a signal at this instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Health {
    /// A round stands.
    Observed,
    /// No pod is ready: nothing to measure.
    NoReadyPods,
    /// Ready pods, no fresh reading.
    Blind,
    /// Fresh readings, but no complete round within the fresh span.
    NoRound,
}

/// One signal at one instant. All values are in the metric's unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SignalObservation {
    /// Whether anything can be proposed from it.
    pub health: Health,
    /// Ready pods that count, those left out excepted. Of a signal of the whole fleet: 1.
    pub ready: u32,
    /// Ready pods with a fresh reading.
    pub fresh: u32,
    /// Pods that give nothing: ready without a fresh reading, or that lost readiness within 5 min.
    pub silent: u32,
    /// Ready pods silent for over 10 min while others report.
    pub left_out: u32,
    /// When the newest reading of any pod was received.
    pub newest_reading: Option<Instant>,
    /// The total of the last round, while it stands; none if that was idle.
    pub total: Option<f64>,
    /// Nothing happened within the metric's window on any pod, and no request is under way: there is no value, and no need.
    #[serde(default)]
    pub idle: bool,
    /// Without a round for long, because the ready pods change faster than they are read: what the total was at least, on
    /// average over 10 s. May raise, never lower.
    pub at_least: Option<f64>,
    /// A backlog whose growth is explained by pods that are starting: the value at which it enters the windows.
    pub held: Option<f64>,
    /// Ready pods answer, but nothing happened within the metric's window of what would have a value, and not every one of them
    /// says that no request is under way: there is no reading.
    #[serde(default)]
    pub unfinished: bool,
    /// Mean over the stable window (KPA) or the window (APA).
    pub mean: Option<f64>,
    /// Mean over the panic window (KPA only).
    pub panic_mean: Option<f64>,
    /// The least total of the last 2 s and three rounds (KPA only).
    pub surge: Option<f64>,
    /// When the last round was complete.
    pub last_round: Option<Instant>,
    /// The first round after a start or the last gap.
    pub unbroken_since: Option<Instant>,
    /// A gap ended less than three rounds or 2 s ago: one round alone would be the mean of every window.
    pub resumed: bool,
}

impl SignalObservation {
    /// Fresh ready pods ÷ ready pods, 0..1; 1 when no pod is ready.
    pub fn coverage(&self) -> f64 {
        if self.ready == 0 { 1.0 } else { f64::from(self.fresh) / f64::from(self.ready) }
    }

    /// Less than half of the ready pods give this signal.
    pub fn below_half(&self) -> bool {
        below_half(self.fresh, self.ready)
    }
}

fn below_half(fresh: u32, ready: u32) -> bool {
    u64::from(fresh) * 2 < u64::from(ready)
}

/// All that is known of one target at one instant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// Replicas asked for at present.
    pub spec_replicas: u32,
    /// The pods by what can be expected of them.
    pub capacity: Capacity,
    /// How many starts are under way, how many failed, and when one is late.
    pub starts: Starts,
    /// Pods of two revisions are alive.
    pub rollout: bool,
    /// The last count that somebody else set by hand.
    #[serde(default)]
    pub set_by_hand: Option<SetByHand>,
    /// In the order of the policy.
    pub signals: ArrayVec<SignalObservation, MAX_SIGNALS>,
}

/// Looks at facts and readings at `now`; notes new rounds in `memory`.
pub fn observe(
    policy: &Policy,
    facts: &Facts,
    readings: &Readings,
    memory: &mut Memory,
    now: Instant,
) -> Observation {
    let starts = memory.starts.look(facts, now);
    let merging = &mut memory.merging;
    let signals = policy.signals.iter().zip(&mut memory.signals).zip(0..);
    Observation {
        spec_replicas: facts.spec_replicas,
        capacity: Capacity::of(facts, &starts, now),
        starts,
        rollout: facts.rollout,
        set_by_hand: facts.set_by_hand,
        signals: signals
            .take(MAX_SIGNALS)
            .map(|((signal, memory), index)| {
                let since = *memory.observed_since.get_or_insert(now);
                let mut tally = match signal.scope {
                    Scope::Pod => Tally::of(signal, facts, |pod| readings.get(pod, index), since, now),
                    Scope::Fleet => Tally::of_fleet(signal, (1, 1.0), readings.fleet(index), since, now),
                    Scope::PodMean => {
                        // A load adds up over the pods of a replica; a replica's utilisation or latency is their mean.
                        let additive = signal.kind == Kind::Additive;
                        let weight = if additive { 1.0 } else { 1.0 / f64::from(facts.group()) };
                        Tally::of_fleet(signal, (facts.ready(), weight), readings.fleet(index), since, now)
                    }
                };
                tally.settle(signal, facts, (readings, index), merging, now);
                hold_backlog(signal, facts.spec_replicas, &starts, memory, now);
                observe_signal(signal, policy, facts, &tally, memory, now)
            })
            .collect(),
    }
}

/// The readings of one signal, counted.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) ready: u32,
    pub(crate) fresh: u32,
    pub(crate) fresh_sum: f64,
    /// Those of the fresh pods that tell of events. What they make together is added by [`Tally::settle`].
    pub(crate) of_events: u32,
    /// Each of them that was ready for the whole fresh span.
    pub(crate) steady_of_events: u32,
    /// How much of a pod's value counts.
    pub(crate) weight: f64,
    /// Nothing happens, and nothing is asked for.
    pub(crate) idle: bool,
    /// Nothing happened, and it is not known that nothing is asked for.
    pub(crate) unfinished: bool,
    /// When all pods had answered, if that is so.
    pub(crate) answered: Option<Instant>,
    /// Ready pods that may still answer in time.
    pending: u32,
    pub(crate) silent: u32,
    silent_sum: f64,
    left_out: u32,
    /// Sum over the pods that were ready for the whole fresh span.
    pub(crate) steady_sum: f64,
    pub(crate) oldest_fresh: Option<Instant>,
    /// The earliest that a fresh reading tells of.
    tells_since: Option<Instant>,
    pub(crate) newest: Option<Instant>,
}

impl Tally {
    fn of(
        signal: &SignalPolicy,
        facts: &Facts,
        reading: impl Fn(crate::PodUid) -> Option<Reading>,
        observed_since: Instant,
        now: Instant,
    ) -> Self {
        let fresh_span = signal.pace.fresh_span;
        // Of several pods that are one replica each carries its part of what a replica should.
        let part = 1.0 / f64::from(facts.group());
        let target = signal.target * part;
        // A load adds up over the pods of a replica; a replica's utilisation or latency is their mean.
        let weight = if signal.kind == Kind::Additive { 1.0 } else { part };
        let reading = |pod| {
            let reading = reading(pod)?;
            // What events make is known only of all pods together.
            let value = if reading.told == Told::Events { 0.0 } else { reading.value * weight };
            Some(Reading { value, ..reading })
        };
        let mut tally = Self { weight, ..Self::default() };
        for pod in facts.pods() {
            let newest = reading(pod.uid);
            match pod.state {
                PodState::Ready { since } => {
                    tally.newest = tally.newest.max(newest.map(|reading| reading.received));
                    match newest {
                        Some(reading) if now - reading.received <= fresh_span => {
                            let steady = now - since > fresh_span && reading.since > facts.spec_changed_at;
                            tally.add_fresh(reading, steady);
                        }
                        newest => {
                            let able = since.max(observed_since);
                            let heard = newest.map_or(able, |reading| reading.received.max(able));
                            tally.add_unheard(now - heard, fresh_span, newest, target);
                        }
                    }
                }
                PodState::LostReadiness { since } if now - since <= LOST_READINESS_SPAN => {
                    tally.add_silent(newest, target);
                }
                _ => {}
            }
        }
        if tally.fresh > 0 {
            tally.ready -= tally.left_out;
        }
        tally
    }

    /// One reading that stands for so many pods, each of this weight, or for a fleet that counts as one.
    fn of_fleet(
        signal: &SignalPolicy,
        (pods, weight): (u32, f64),
        newest: Option<Reading>,
        observed_since: Instant,
        now: Instant,
    ) -> Self {
        let newest_reading = newest.map(|reading| reading.received);
        let mut tally = Self { ready: pods, newest: newest_reading, weight, ..Self::default() };
        if pods == 0 {
            return tally;
        }
        if let Some(reading) = newest.filter(|reading| now - reading.received <= signal.pace.fresh_span) {
            tally.fresh = pods;
            if reading.told == Told::Events {
                tally.of_events = pods;
            } else {
                tally.fresh_sum = reading.value * f64::from(pods) * weight;
            }
            tally.oldest_fresh = Some(reading.received);
            tally.tells_since = Some(reading.since);
        } else {
            let heard = newest.map_or(observed_since, |reading| reading.received.max(observed_since));
            let late = now - heard > signal.pace.fresh_span;
            *(if late { &mut tally.silent } else { &mut tally.pending }) = pods;
        }
        tally
    }

    fn add_fresh(&mut self, reading: Reading, steady: bool) {
        self.ready += 1;
        self.fresh += 1;
        self.fresh_sum += reading.value;
        self.steady_sum += if steady { reading.value } else { 0.0 };
        if reading.told == Told::Events {
            self.of_events += 1;
            self.steady_of_events += u32::from(steady);
        }
        self.oldest_fresh = Some(self.oldest_fresh.map_or(reading.received, |t| t.min(reading.received)));
        self.tells_since = Some(self.tells_since.map_or(reading.since, |t| t.min(reading.since)));
    }

    fn add_unheard(&mut self, unheard: Duration, fresh_span: Duration, last: Option<Reading>, target: f64) {
        self.ready += 1;
        if unheard <= fresh_span {
            self.pending += 1;
        } else if unheard > LEFT_OUT_AFTER {
            self.left_out += 1;
        } else {
            self.add_silent(last, target);
        }
    }

    /// A silent pod carries what it last said or what is planned for it, whichever is more.
    fn add_silent(&mut self, last: Option<Reading>, target: f64) {
        self.silent += 1;
        self.silent_sum += last.map_or(target, |reading| reading.value.max(target));
    }

    /// The fleet's total. For every kind this is a sum: a utilisation's or latency's mean × ready is one, too.
    fn total(&self) -> f64 {
        let filled = self.fresh_sum + self.silent_sum;
        if below_half(self.fresh, self.ready) {
            return significant(filled);
        }
        let scaled = self.fresh_sum * f64::from(self.ready) / f64::from(self.fresh);
        significant(scaled.max(filled))
    }

    /// Every pod that can be heard was heard after the last round, and tells of nothing before the last change: a rate
    /// that reaches back before it would count load that is at the new pod now.
    fn is_round_after(&self, last_round: Option<Instant>, changed_at: Option<Instant>) -> bool {
        self.pending == 0
            && self.oldest_fresh.is_some_and(|oldest| last_round.is_none_or(|last| oldest > last))
            && self.tells_since.is_some_and(|since| changed_at.is_none_or(|changed| since > changed))
    }
}

fn observe_signal(
    signal: &SignalPolicy,
    policy: &Policy,
    facts: &Facts,
    tally: &Tally,
    memory: &mut SignalMemory,
    now: Instant,
) -> SignalObservation {
    debug_assert!(signal.target > 0.0, "a policy's targets are above 0");
    let before = memory.last_round().map(|(at, _)| at);
    let Pace { interval, fresh_span } = signal.pace;
    // What is measured without the pods knows nothing of them, and counts no load twice.
    let changed_at = match signal.scope {
        Scope::Pod => Some(facts.changed_at()),
        Scope::Fleet => None,
        // Whoever makes the mean may have heard of the change only a while later.
        Scope::PodMean => Some(facts.changed_at() + fresh_span),
    };
    if tally.is_round_after(before, changed_at) {
        // A pod that falls silent is known to be so only a fresh span later: that is not yet a gap.
        let gap = fresh_span + interval;
        let at = tally.newest.unwrap_or(now);
        if tally.idle {
            memory.record_idle(at, gap);
        } else {
            memory.record_round(at, tally.total(), gap);
        }
    }
    if let Some(at) = tally.answered {
        memory.note_answered(at);
    }
    let last_round = memory.last_round().map(|(at, _)| at);
    let standing = memory.last_round().filter(|(at, _)| now - *at <= fresh_span);
    let idle = standing.is_some() && memory.is_idle();
    let health = match standing {
        _ if tally.ready == 0 => Health::NoReadyPods,
        _ if tally.fresh == 0 => Health::Blind,
        None => Health::NoRound,
        Some(_) => Health::Observed,
    };
    let at_least = (health == Health::NoRound).then_some(tally.steady_sum);
    let after_gap = AfterGap::of(memory, policy.full_window());
    let backlog = memory.held.map_or(f64::INFINITY, |(_, held)| held);
    let believed = |value: f64| match after_gap {
        AfterGap::HeldSince(least) => value.min(least),
        AfterGap::Over | AfterGap::TooShort => value,
    };
    let surge_since = now.saturating_sub(fresh_span.mul_f64(SURGE_WITHIN));
    // While nothing happens there is no value: what the windows keep is for when something does.
    let valued = standing.filter(|_| !idle);
    let mean_of = |window: &MeanWindow| valued.and_then(|(at, _)| window.mean(at)).map(believed);
    let surge = || valued.and_then(|_| least_held(memory, surge_since)).map(believed);
    SignalObservation {
        health,
        ready: tally.ready,
        fresh: tally.fresh,
        silent: tally.silent,
        left_out: if tally.fresh > 0 { tally.left_out } else { 0 },
        // Pages that came and told nothing are no readings.
        newest_reading: tally.newest.or(last_round),
        total: valued.map(|(_, total)| total),
        idle,
        unfinished: tally.unfinished,
        // Windows end at the round that stands: between two rounds nothing changes, whatever the tick.
        mean: mean_of(&memory.window),
        panic_mean: memory.panic_window.as_ref().and_then(mean_of),
        surge: memory.panic_window.as_ref().and_then(|_| surge()),
        held: standing.filter(|(_, total)| *total > backlog).map(|_| backlog),
        at_least: memory.note_at_least(at_least, now).map(|value| value.min(backlog)),
        last_round,
        unbroken_since: memory.unbroken_since,
        resumed: after_gap == AfterGap::TooShort,
    }
}

/// A backlog grows for as long as the pods that were asked for start: it says how long they take, not how many more are
/// needed. It is held at its value when it asked for the newest: a raise for another reason says nothing about it. What
/// only follows that value up the rates is nothing new: then it would be held at ever more.
fn hold_backlog(
    signal: &SignalPolicy,
    spec_replicas: u32,
    starts: &Starts,
    memory: &mut SignalMemory,
    now: Instant,
) {
    if !signal.backlog || starts.under_way == 0 {
        memory.held = None;
        return;
    }
    // For at most one start: pods that are replaced all the time must not hold it for ever.
    memory.held = memory.held.filter(|(since, _)| now - *since <= starts.limit);
    let asks_for = |held: f64| replicas_for(significant(held / signal.target));
    let follows = memory.held.is_some_and(|(_, held)| spec_replicas <= asks_for(held));
    if let Some(from) = starts.raised_from
        && !follows
        && let Some((at, total)) = memory.last_round()
        && now - at <= signal.pace.fresh_span
        && asks_for(total) > from
    {
        memory.held = Some((now, total));
    }
}

/// For a full window after a gap nothing counts for more than what was held since: with little in the windows, one wrong
/// round would be their mean and double the fleet. A start is no gap.
#[derive(Clone, Copy, PartialEq)]
enum AfterGap {
    /// No gap, or long ago.
    Over,
    /// The least total of the last 2 s.
    HeldSince(f64),
    /// Less than 2 s or three rounds ago.
    TooShort,
}

impl AfterGap {
    fn of(memory: &SignalMemory, full_window: Duration) -> Self {
        let (Some((newest, _)), Some(resumed)) = (memory.last_round(), memory.resumed_at) else {
            return Self::Over;
        };
        if newest - resumed > full_window {
            return Self::Over;
        }
        least_held(memory, resumed).map_or(Self::TooShort, Self::HeldSince)
    }
}

/// The least total of the shortest run of latest rounds that spans 2 s and has at least three rounds, none of them
/// before `since`.
fn least_held(memory: &SignalMemory, since: Instant) -> Option<f64> {
    let (newest, _) = memory.last_round()?;
    let mut least = f64::INFINITY;
    for (count, &(at, total)) in (1..).zip(memory.rounds.iter().rev()) {
        if at < since {
            return None;
        }
        least = least.min(total);
        if count >= SURGE_ROUNDS && newest - at >= SURGE_SPAN {
            return Some(least);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Pod, PodUid};

    /// Three pods, ready for long; `readings` are (pod, milliseconds, value); observed at each of `at` (milliseconds).
    fn check(readings: &[(u128, u64, f64)], at: &[u64], health: Health, total: Option<f64>) {
        let policy = Policy::kpa("inflight", crate::Kind::Additive, 20.0, 1..=10);
        let instant = |millis: u64| Instant::from_micros(millis * 1000);
        let mut facts = Facts::new(3, Instant::ZERO);
        let state = PodState::Ready { since: Instant::ZERO };
        facts.set_pods((1..=3).map(|uid| Pod { uid: PodUid(uid), state }));
        let (mut memory, mut known) = (Memory::new(&policy), Readings::default());
        let mut seen = None;
        for &now in at {
            for &(pod, _, value) in readings.iter().filter(|(_, received, _)| *received == now) {
                known.record(PodUid(pod), 0, value, instant(now));
            }
            seen = Some(observe(&policy, &facts, &known, &mut memory, instant(now)).signals[0]);
        }
        let seen = seen.unwrap();
        assert_eq!((seen.health, seen.total), (health, total), "{readings:?} at {at:?}");
    }

    /// A PodAutoscaler made long after its pods: what nobody asked for is not silence.
    #[test]
    fn pods_that_could_not_be_heard_yet_are_not_silent() {
        check(&[(1, 60_000, 30.0)], &[60_000], Health::NoRound, None);
        check(&[(1, 60_000, 30.0), (2, 60_010, 30.0)], &[60_000, 60_010], Health::NoRound, None);
        let all = [(1, 60_000, 30.0), (2, 60_010, 30.0), (3, 60_020, 30.0)];
        check(&all, &[60_000, 60_010, 60_020], Health::Observed, Some(90.0));
    }

    #[test]
    fn silence_is_filled_never_diluted() {
        // The silent third carries its target: 20; two of three at 30 scale to 90.
        let two = [(1, 64_000, 30.0), (2, 64_000, 30.0)];
        check(&two, &[60_000, 64_000], Health::Observed, Some(90.0));
        let low = [(1, 64_000, 5.0), (2, 64_000, 5.0)];
        check(&low, &[60_000, 64_000], Health::Observed, Some(30.0));
        // Below half coverage nothing is scaled up by coverage.
        check(&[(1, 64_000, 90.0)], &[60_000, 64_000], Health::Observed, Some(130.0));
        check(&[(1, 60_000, 30.0)], &[60_000, 64_000], Health::Blind, None);
    }

    /// The second pod became ready at 10 s. Its neighbour's rate over the second before is still of the whole load.
    #[test]
    fn a_rate_that_reaches_back_before_a_change_makes_no_round() {
        let policy = Policy::kpa("tokens", crate::Kind::Additive, 20.0, 1..=10);
        let at = |millis: u64| Instant::from_micros(millis * 1000);
        let mut facts = Facts::new(2, Instant::ZERO);
        facts.insert(Pod { uid: PodUid(1), state: PodState::Ready { since: Instant::ZERO } });
        facts.insert(Pod { uid: PodUid(2), state: PodState::Ready { since: at(10_000) } });
        facts.ready_changed_at = at(10_000);
        let (mut memory, mut known) = (Memory::new(&policy), Readings::default());
        let mut total = |since: [u64; 2], value: [f64; 2], now: u64| {
            for ((uid, since), value) in (1..).zip(since).zip(value) {
                known.record_over(PodUid(uid), 0, value, at(since), at(now));
            }
            observe(&policy, &facts, &known, &mut memory, at(now)).signals[0].total
        };
        assert_eq!(total([9_600, 10_100], [70.0, 50.0], 10_600), None);
        assert_eq!(total([10_600, 10_600], [50.0, 50.0], 11_600), Some(100.0));
    }
}

//! How often the pages of a target's pods are read: what the target needs, within what reading may cost.
//!
//! The interval is the longest of three: what the target *needs*, what the *engines'* processor may be used for, and what
//! *ours* may; but never longer than the need allows, so that readings stay fresh whatever they cost. Fresh is 3 s (three
//! base intervals) however often is read, so [`SLOWEST`] is the slowest pace at which every reading is fresh. A pod that
//! failed its last poll brings its target back to [`BASE`]; where the pace was slower, it is asked again
//! half a base interval after it was, or as soon as it failed.
//!
//! | need | wants | at most | because |
//! |---|---|---|---|
//! | [`Need::Least`] | 2 s | 2 s | nothing that is read can change what is written: held by a person, or at the greatest count |
//! | [`Need::Calm`] | KPA 100 ms, APA 1 s | 2 s | a jump may come at any instant; only KPA acts on one sooner than its window |
//! | [`Need::Close`] | 100 ms | 1 s | pods are starting, or, for at most 10 s, readings are missing or a threshold is near |
//! | [`Need::Urgent`] | 100 ms | 1 s | a surge is under way, the total moved, the pods or the count changed a moment ago |
//!
//! So where a page is cheap (filtered, 0.1 ms of the engine's processor: 0.1 % of a core pays for ten in a second) it
//! is read ten times a second also in calm, and a jump out of calm is seen at once. What calm slows down is what is dear: a
//! full page of 5 ms is read every 2 s, every second when a threshold is near, and at ten times the engine's share
//! (about twice a second) while something happens. That exceeding is paid from a credit: 30 s at most at a stretch, and
//! one second of it is earned in ten. In the long run an engine gives at most twice its share, or what freshness costs.
//!
//! Pure as all else here: what was attended to is in [`Attention`], which the caller keeps. No decision depends on it:
//! windows, rates and surges are in seconds.

mod budget;

use std::time::Duration;

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use crate::{
    Decision, Facts, Health, Instant, MAX_SIGNALS, Mode, Observation, Pace, Policy, Scope, SignalObservation,
    SignalPolicy, Strategy,
};
pub use budget::{OwnBudget, ServiceTime};

/// The shortest interval.
pub const FASTEST: Duration = Duration::from_millis(100);
/// The interval while nothing is known of costs.
pub const BASE: Duration = Duration::from_secs(1);
/// The longest interval.
pub const SLOWEST: Duration = Duration::from_secs(2);

/// The intervals that are used, in milliseconds. Few, so that pollers are not disturbed by every microsecond of a cost.
const RUNGS: [u64; 10] = [100, 150, 200, 300, 400, 500, 700, 1000, 1500, 2000];
/// A slower pace comes at the earliest so long after the last change of pace.
const SLOWER_AFTER: Duration = Duration::from_secs(1);
/// So many times its share an engine may be used for what is urgent …
const BOOST: f64 = 10.0;
/// … for so long at most …
const CREDIT: Duration = Duration::from_secs(30);
/// … of which so much is earned per second. Times `BOOST`: once the share.
const EARNED: f64 = 0.1;
/// Less credit than this is saved up first: 2 s of a surge and some.
const LEAST_CREDIT: Duration = Duration::from_secs(3);
/// A total that moved is attended to for so long, and so are pods and counts that changed.
const STIRRED: Duration = Duration::from_secs(3);
/// A total moved if it differs by this part from what it was, and by that many replicas' targets.
const MOVED: (f64, f64) = (0.2, 0.25);
/// A threshold is near if this part of what is asked for, and at most so many replicas, are missing to a raise …
const NEAR: (f64, f64) = (0.1, 0.25);
/// … or if the total is this part of what panic begins at.
const NEAR_PANIC: f64 = 0.8;
/// It stays near for so long: a load that stands there for ever is calm.
const NEAR_FOR: Duration = Duration::from_secs(10);

/// How much depends on the next reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// Nothing that is written.
    Least,
    /// Only a jump that nothing announces.
    Calm,
    /// A decision may be near.
    Close,
    /// A decision is being made.
    Urgent,
}

/// Why a target is read as often as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "kebab-case")]
pub enum Cause {
    /// A person holds the count.
    Held,
    /// There are as many replicas as there may be.
    AtMost,
    /// Nothing happens.
    Calm,
    /// Pods are starting.
    Starting,
    /// A pod, or a whole signal, gave nothing when it was last asked.
    Incomplete,
    /// A raise, or panic, is near.
    Near {
        /// Position of the signal in the policy.
        signal: u8,
    },
    /// The pods, or the count, changed a moment ago: the next round is awaited.
    Changed,
    /// The total moved markedly.
    Moved {
        /// Position of the signal in the policy.
        signal: u8,
    },
    /// The total is above what panic begins at.
    Surging {
        /// Position of the signal in the policy.
        signal: u8,
    },
}

impl Cause {
    /// How much depends on the next reading, for this reason.
    pub fn need(self) -> Need {
        match self {
            Self::Held | Self::AtMost => Need::Least,
            Self::Calm => Need::Calm,
            Self::Starting | Self::Incomplete | Self::Near { .. } => Need::Close,
            Self::Changed | Self::Moved { .. } | Self::Surging { .. } => Need::Urgent,
        }
    }
}

/// What the interval follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// The target needs no more, or no less.
    Need,
    /// The engines' processor.
    Engine,
    /// Our own processor.
    Own,
}

/// What reading costs, and may cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Costs {
    /// Processor time of an engine for one reading of all its pages, if it is known: an upper bound of it.
    pub service: Option<Duration>,
    /// The part of a core that an engine may give, above 0.
    pub engine_share: f64,
    /// How many times too short our own processor is: [`OwnBudget::strain`], at least 1.
    pub strain: f64,
}

/// What is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Look<'a> {
    /// What is wanted of the target.
    pub policy: &'a Policy,
    /// What is known of its pods.
    pub facts: &'a Facts,
    /// The last observation.
    pub observation: &'a Observation,
    /// The decision that was made of it.
    pub decision: &'a Decision,
    /// A pod's last poll failed.
    pub failing: bool,
}

/// How often a target's pages are read, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attended {
    /// From one reading of a page to the next.
    pub interval: Duration,
    /// Why it is wanted so.
    #[serde(flatten)]
    pub cause: Cause,
    /// What it follows from.
    pub limit: Limit,
}

/// What was attended to of one target, from decision to decision.
#[derive(Debug, Clone)]
pub struct Attention {
    attended: Attended,
    changed_at: Option<Instant>,
    looked_at: Option<Instant>,
    /// The total of each signal when it was last said to have moved.
    anchors: ArrayVec<Option<f64>, MAX_SIGNALS>,
    moved: Option<(Instant, u8)>,
    near_since: Option<Instant>,
    incomplete_since: Option<Instant>,
    credit: Duration,
    boosting: bool,
}

impl Default for Attention {
    fn default() -> Self {
        Self {
            attended: Attended { interval: BASE, cause: Cause::Calm, limit: Limit::Need },
            changed_at: None,
            looked_at: None,
            anchors: ArrayVec::new(),
            moved: None,
            near_since: None,
            incomplete_since: None,
            credit: CREDIT,
            boosting: false,
        }
    }
}

impl Attention {
    /// The pace at present.
    pub fn attended(&self) -> Attended {
        self.attended
    }

    /// Looks at what was decided at `now`, and gives the pace from now on.
    pub fn attend(&mut self, look: &Look<'_>, costs: &Costs, now: Instant) -> Attended {
        let elapsed = self.looked_at.replace(now).map_or(Duration::ZERO, |before| now - before);
        let cause = self.cause(look, now);
        let incomplete = cause == Cause::Incomplete;
        self.incomplete_since = incomplete.then(|| self.incomplete_since.unwrap_or(now));
        let lasting = self.incomplete_since.is_some_and(|since| now - since > NEAR_FOR);
        let (interval, limit) = self.interval((cause.need(), lasting), look.policy, costs, elapsed);
        let before = self.attended;
        let settled = self.changed_at.is_none_or(|changed| now - changed >= SLOWER_AFTER);
        let interval = if interval <= before.interval {
            interval
        } else if !settled {
            before.interval
        } else if limit == Limit::Need {
            // Step by step: who looked away at once would be called back by the next reading.
            rung_above(before.interval).min(interval)
        } else {
            interval
        };
        if interval != before.interval {
            self.changed_at = Some(now);
        }
        self.attended = Attended { interval, cause, limit };
        self.attended
    }

    /// The most pressing reason.
    fn cause(&mut self, look: &Look<'_>, now: Instant) -> Cause {
        let Look { policy, facts, observation, decision, failing } = *look;
        let paged = |(_, (signal, _)): &(u8, (&SignalPolicy, &SignalObservation))| {
            signal.scope == Scope::Pod && signal.pace == Pace::default()
        };
        let signals = || (0..).zip(policy.signals.iter().zip(&observation.signals)).filter(paged);
        let moved = signals().filter_map(|(at, (signal, seen))| self.moved(at, signal, seen)).last();
        if let Some(signal) = moved {
            self.moved = Some((now, signal));
        }
        let may_raise = decision.current < policy.max_replicas;
        let first = |near: &dyn Fn(&SignalPolicy, &SignalObservation) -> bool| {
            let found = signals().find(|(_, (signal, seen))| may_raise && near(signal, seen));
            found.map(|(signal, _)| signal)
        };
        let surging = first(&|signal, seen| of_panic(policy, signal, seen, observation) >= 1.0);
        let near = first(&|signal, seen| {
            of_panic(policy, signal, seen, observation) >= NEAR_PANIC
                || is_raise_near(policy, signal, seen, decision)
        });
        self.near_since = near.map(|_| self.near_since.unwrap_or(now));
        let near = near.filter(|_| self.near_since.is_some_and(|since| now - since <= NEAR_FOR));
        let is_incomplete = |seen: &SignalObservation| {
            matches!(seen.health, Health::Blind | Health::NoRound) || seen.fresh < seen.ready
        };
        let incomplete = failing || signals().any(|(_, (_, seen))| is_incomplete(seen));
        let held = policy.hold.mode == Mode::Paused || policy.hold.order_at(now).is_some();
        let changed_at = facts.changed_at();
        let changed = now <= changed_at || now - changed_at <= STIRRED;
        let moving = self.moved.filter(|(at, _)| now - *at <= STIRRED).map(|(_, signal)| signal);
        if held || !may_raise {
            return match incomplete {
                true => Cause::Incomplete,
                false if held => Cause::Held,
                false => Cause::AtMost,
            };
        }
        let urgent = surging.map(|signal| Cause::Surging { signal });
        let urgent = urgent.or(changed.then_some(Cause::Changed));
        let urgent = urgent.or(moving.map(|signal| Cause::Moved { signal }));
        let close = incomplete.then_some(Cause::Incomplete);
        let close = close.or((observation.capacity.starting > 0).then_some(Cause::Starting));
        let close = close.or(near.map(|signal| Cause::Near { signal }));
        urgent.or(close).unwrap_or(Cause::Calm)
    }

    /// The signal, if its total is not what it was.
    fn moved(&mut self, at: u8, signal: &SignalPolicy, seen: &SignalObservation) -> Option<u8> {
        while self.anchors.len() <= usize::from(at) && self.anchors.try_push(None).is_ok() {}
        let anchor = self.anchors.get_mut(usize::from(at))?;
        let total = seen.total?;
        let Some(before) = *anchor else {
            *anchor = Some(total);
            return None;
        };
        let (part, targets) = MOVED;
        if (total - before).abs() <= (part * before).max(targets * signal.target) {
            return None;
        }
        *anchor = Some(total);
        Some(at)
    }

    /// The longest of the three, and which it is; the credit is kept.
    fn interval(
        &mut self,
        (need, lasting): (Need, bool),
        policy: &Policy,
        costs: &Costs,
        elapsed: Duration,
    ) -> (Duration, Limit) {
        let surges = matches!(policy.strategy, Strategy::Kpa(_));
        let calm = if surges { FASTEST } else { BASE };
        let (need, wanted, longest) = match need {
            Need::Least => (need, SLOWEST, SLOWEST),
            Need::Calm => (need, calm, SLOWEST),
            // A pod that never answers is nothing to hurry for.
            Need::Close if lasting => (Need::Calm, calm, BASE),
            Need::Close | Need::Urgent => (need, FASTEST, BASE),
        };
        // Nothing is known of costs: as if it were dear enough for the base pace, and no dearer.
        let paid_by = |share: f64| costs.service.map_or(BASE, |service| times(service, 1.0 / share));
        let ordinary = rung(paid_by(costs.engine_share)).min(longest);
        let boosted = rung(paid_by(costs.engine_share * BOOST)).min(longest);
        let exceeds = need == Need::Urgent && boosted < ordinary;
        self.boosting =
            exceeds && if self.boosting { !self.credit.is_zero() } else { self.credit >= LEAST_CREDIT };
        self.credit = if self.boosting {
            self.credit.saturating_sub(elapsed)
        } else {
            (self.credit + times(elapsed, EARNED)).min(CREDIT)
        };
        let engine = if self.boosting { boosted } else { ordinary };
        let paid = wanted.max(engine);
        let own = rung(times(paid, budget::stretch(costs.strain, need))).min(longest);
        let limit = match (own > paid, engine > wanted) {
            (true, _) => Limit::Own,
            (false, true) => Limit::Engine,
            (false, false) => Limit::Need,
        };
        (own, limit)
    }
}

/// The total as a part of what panic begins at; 0 where there is no panic.
fn of_panic(
    policy: &Policy,
    signal: &SignalPolicy,
    seen: &SignalObservation,
    observation: &Observation,
) -> f64 {
    let Strategy::Kpa(kpa) = &policy.strategy else { return 0.0 };
    let total = seen.total.unwrap_or(0.0).max(seen.panic_mean.unwrap_or(0.0));
    total / (kpa.panic_threshold * signal.target * f64::from(observation.capacity.ready.max(1)))
}

/// The total or its mean is about to ask for more than there is, or does so already.
fn is_raise_near(
    policy: &Policy,
    signal: &SignalPolicy,
    seen: &SignalObservation,
    decision: &Decision,
) -> bool {
    let tolerance = match &policy.strategy {
        Strategy::Kpa(_) => 0.0,
        Strategy::Apa(apa) => apa.up_tolerance,
    };
    let count = f64::from(decision.current);
    let (part, replicas) = NEAR;
    let load = seen.total.unwrap_or(0.0).max(seen.mean.unwrap_or(0.0)) / signal.target;
    load >= count * (1.0 + tolerance) - (part * count).min(replicas)
}

/// The shortest interval of those that are used that is at least as long.
fn rung(interval: Duration) -> Duration {
    let known = RUNGS.into_iter().map(Duration::from_millis);
    known.into_iter().find(|rung| *rung >= interval).unwrap_or(SLOWEST)
}

fn rung_above(interval: Duration) -> Duration {
    rung(interval + Duration::from_millis(1))
}

/// Saturating: costs and shares may be anything.
fn times(span: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(span.as_secs_f64() * factor).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests;

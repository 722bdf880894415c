//! The replicas, and the steps that led there: enums with numbers, text is made elsewhere.

use std::time::Duration;

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use crate::{Instant, MAX_SIGNALS};

/// What `decide` did in this order; each stage may add steps to the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Stage {
    /// Which bounds are in force, and whether the target is switched off.
    Bounds,
    /// One proposal per signal.
    Propose,
    /// The greatest proposal; lowering may be off.
    Combine,
    /// Stabilisation windows.
    Stabilise,
    /// Limits on the speed of change.
    Rate,
    /// Pods that do not start are not multiplied.
    Capacity,
    /// A count that a person set is respected for a while.
    Manual,
    /// Into the bounds.
    Clamp,
    /// What a person ordered: a count, or that nothing is written.
    Hold,
}

/// How a proposal was made from a signal's total.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Basis {
    /// KPA, calm: the mean over the stable window.
    Stable {
        /// Mean total over the window, in the metric's unit.
        mean: f64,
    },
    /// KPA in panic: never falls while panic lasts.
    Panic {
        /// The panic value, in the metric's unit.
        value: f64,
        /// When the panic threshold was last exceeded.
        since: Instant,
    },
    /// No round for long, but the pods that stay ready carry this much alone; never lowers.
    AtLeast {
        /// Mean of the least total over 10 s, in the metric's unit.
        mean: f64,
    },
    /// Nothing happens of what would have a value, and no request is under way: the fewest replicas.
    Idle,
    /// APA: the ratio left the tolerance band.
    Ratio {
        /// Total ÷ (replicas × target).
        ratio: f64,
    },
    /// APA: the ratio is inside the tolerance band; the count is kept.
    WithinTolerance {
        /// Total ÷ (replicas × target).
        ratio: f64,
    },
    /// A saturated utilisation or latency does not say how much is missing; never below the count.
    Saturated {
        /// Total ÷ (ready × target).
        ratio: f64,
    },
}

/// What one signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// Position of the signal in the policy.
    pub signal: u8,
    /// Replicas asked for.
    pub replicas: u32,
    /// The standing total, in the metric's unit.
    pub total: f64,
    /// A backlog that grows while pods start: the value it is held at.
    pub held: Option<f64>,
    /// How it came about.
    pub basis: Basis,
}

/// Why lowering is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LoweringOff {
    /// Ready pods, but no fresh reading of this signal.
    Blind {
        /// Position of the signal in the policy.
        signal: u8,
        /// Since the last reading of any pod.
        since: Option<Instant>,
    },
    /// Less than half of the ready pods give this signal.
    Thin {
        /// Position of the signal in the policy.
        signal: u8,
        /// Ready pods with a fresh reading.
        fresh: u32,
        /// Ready pods.
        ready: u32,
    },
    /// No complete round of readings within the fresh span.
    NoRound {
        /// Position of the signal in the policy.
        signal: u8,
    },
    /// Pods of two revisions are alive.
    Rollout,
    /// After a start or a gap, until a full window was observed without a gap.
    WindowNotFull {
        /// Position of the signal in the policy.
        signal: u8,
        /// Time still to be observed.
        remaining: Duration,
    },
}

/// Who changed the number (or kept it), and why.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Reason {
    /// `spec.replicas` was set to 0 by somebody else while min ≥ 1: the target is switched off.
    Off,
    /// minReplicas was raised while the target stood at 0.
    MinRaised,
    /// The bounds are a schedule's.
    Scheduled,
    /// The target stood at 0, and a schedule asks for a min by name.
    MinScheduled,
    /// No ready pods: nothing to measure; held.
    NoReadyPods,
    /// No signal has a proposal; held.
    NoProposal,
    /// The greatest proposal, of this signal.
    Proposed {
        /// Position of the signal in the policy.
        signal: u8,
    },
    /// The proposal is lower, but lowering is off.
    LoweringOff(LoweringOff),
    /// A raise waits for the up window.
    UpWindow {
        /// The window.
        window: Duration,
    },
    /// A lowering waits for the down window.
    DownWindow {
        /// The window.
        window: Duration,
        /// When the greatest count wanted in the window leaves it.
        until: Instant,
    },
    /// Raised to what the up-rate allows.
    UpRate {
        /// Ready + starting at the start of the 10 s.
        base: u32,
        /// When the limit opens next.
        until: Instant,
    },
    /// Lowered to what the down-rate allows.
    DownRate {
        /// Ready + starting at the start of the 10 s.
        base: u32,
    },
    /// Lowered less than 10 s ago.
    LoweredRecently {
        /// When the next lowering is possible.
        until: Instant,
    },
    /// Pods asked for before do not start: no more of them for now.
    StartsFail {
        /// Late, refused or crash-looping starts.
        failed: u32,
        /// When another one is tried; `None` while the outcome of one that is starting is awaited.
        until: Option<Instant>,
    },
    /// Pods asked for before do not start: one more is tried.
    Probe {
        /// Late, refused or crash-looping starts.
        failed: u32,
    },
    /// The pod tried last does not start either; it is given back before another one is tried.
    ProbeGivenBack {
        /// Late, refused or crash-looping starts.
        failed: u32,
    },
    /// Somebody set this count by hand less than 5 min ago: nothing lower, and nothing higher for the load of then.
    SetByHand {
        /// The count that was set.
        set: u32,
        /// Until when it is respected.
        until: Instant,
    },
    /// Below minReplicas.
    Min,
    /// Above maxReplicas.
    Max,
    /// A person ordered this count.
    HeldAt {
        /// The count ordered; the bounds may have moved it.
        asked: u32,
        /// When the order ends, if it does.
        until: Option<Instant>,
    },
    /// Nothing is written, by order; from what would be to what is.
    Paused,
    /// Nothing is written, the number is a recommendation; from what would be to what is.
    Recommended,
}

/// One entry of a decision's account.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The stage that added it.
    pub stage: Stage,
    /// Replicas before.
    pub from: u32,
    /// Replicas after.
    pub to: u32,
    /// Why.
    pub reason: Reason,
}

/// The replicas, and the steps that led there. Owned by the caller and reused: `decide` does not allocate.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Decision {
    /// `spec.replicas` that the decision started from.
    pub current: u32,
    /// What the signals want, before any limit (stages 2–3).
    pub wanted: u32,
    /// After stabilisation, rate and capacity, before the bounds.
    pub limited: u32,
    /// What would be without the hold in force: under [`Mode`](crate::Mode) `Paused` or `Recommend` the count that would
    /// be written, under an order the count that would be decided. Without a hold the decision itself.
    pub would_be: u32,
    /// The decision.
    pub replicas: u32,
    /// Fewest replicas in force.
    pub min_replicas: u32,
    /// Most replicas in force.
    pub max_replicas: u32,
    /// One per signal that has one, in the order of the policy.
    pub proposals: ArrayVec<Proposal, MAX_SIGNALS>,
    /// The account, in the order of the stages.
    pub steps: ArrayVec<Step, 12>,
    /// When a limit opens: deciding then, without a new reading, may give another number.
    pub wake_at: Option<Instant>,
}

impl Decision {
    pub(crate) fn reset(&mut self, current: u32, min_replicas: u32, max_replicas: u32) {
        self.current = current;
        self.wanted = current;
        self.limited = current;
        self.would_be = current;
        self.replicas = current;
        self.min_replicas = min_replicas;
        self.max_replicas = max_replicas;
        self.proposals.clear();
        self.steps.clear();
        self.wake_at = None;
    }

    /// Adds to the account. The room is enough for every path through the stages; a longer account would be cut.
    pub(crate) fn step(&mut self, stage: Stage, from: u32, to: u32, reason: Reason) {
        let added = self.steps.try_push(Step { stage, from, to, reason });
        debug_assert!(added.is_ok(), "the account has room for every stage");
    }

    pub(crate) fn wake_at(&mut self, at: Instant) {
        self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
    }
}

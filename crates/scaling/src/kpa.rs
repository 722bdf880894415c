//! Knative's decision function on totals.
//!
//! Equal to Knative Serving's `autoscaler.Scale` in the shared conformance cases. What Knative puts round it (the
//! scale-down delay, the excess burst capacity, reachability) is not here; what it does to a wanted count before panic
//! remembers it (rates, the activation scale) comes in through `limit`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Instant;
use crate::numbers::replicas_for;

/// What KPA remembers between two steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct State {
    /// When the threshold was last exceeded; `None` while calm.
    pub panic_since: Option<Instant>,
    /// The greatest count wanted since panic began: panic never lowers.
    pub max_panic_replicas: u32,
}

/// What one step looks at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Input {
    /// Mean total over the stable window.
    pub stable: f64,
    /// Mean total over the panic window (or a surge's least total, if that is greater).
    pub panic: f64,
    /// Target per replica, in the unit of the totals; above 0.
    pub target: f64,
    /// Ready replicas; 0 counts as 1.
    pub ready: u32,
    /// Panic begins when the panic value asks for this many times the ready replicas.
    pub panic_threshold: f64,
    /// Panic lasts for at least this long after the threshold was last exceeded.
    pub stable_window: Duration,
    /// Panic is not left now, whatever its age.
    pub stay_in_panic: bool,
}

/// What one step gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Replicas wanted.
    pub desired: u32,
    /// Whether the panic value was used.
    pub panicking: bool,
}

/// One decision. `limit` bounds a wanted count before panic remembers it.
pub fn step(state: &mut State, input: &Input, now: Instant, limit: impl Fn(u32) -> u32) -> Outcome {
    let wanted_stable = replicas_for(input.stable / input.target);
    let wanted_panic = replicas_for(input.panic / input.target);
    // Knative divides the rounded-up, unlimited count.
    let over = f64::from(wanted_panic) / f64::from(input.ready.max(1)) >= input.panic_threshold;
    match state.panic_since {
        _ if over => state.panic_since = Some(now),
        Some(since) if !input.stay_in_panic && since + input.stable_window < now => *state = State::default(),
        _ => {}
    }
    let stable = limit(wanted_stable);
    if state.panic_since.is_none() {
        return Outcome { desired: stable, panicking: false };
    }
    state.max_panic_replicas = state.max_panic_replicas.max(stable).max(limit(wanted_panic));
    Outcome { desired: state.max_panic_replicas, panicking: true }
}

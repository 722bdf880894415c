//! Stage 9: what a person ordered stands above all that was decided.
//!
//! An order is obeyed at once: windows, rates and probes limit what is decided from measurements, and a person who
//! names a count has decided himself. Only the bounds bind it. The stages before go on as ever, so that what would be
//! done is known, and so that the windows are full when the order ends.

use crate::decision::{Reason, Stage};
use crate::{Decision, Instant, Mode, Policy};

/// Puts the hold that is in force at `now` over the decision. What it replaces is kept as `would_be`.
pub(super) fn hold(policy: &Policy, now: Instant, decision: &mut Decision) {
    decision.would_be = decision.replicas;
    if let Some(order) = policy.hold.order_at(now) {
        let held = policy.clamp(order.replicas);
        let reason = Reason::HeldAt { asked: order.replicas, until: order.until };
        decision.step(Stage::Hold, decision.replicas, held, reason);
        decision.replicas = held;
        if let Some(until) = order.until {
            decision.wake_at(until);
        }
    }
    let reason = match policy.hold.mode {
        Mode::Auto => return,
        Mode::Recommend => Reason::Recommended,
        Mode::Paused => Reason::Paused,
    };
    decision.would_be = decision.replicas;
    decision.step(Stage::Hold, decision.would_be, decision.current, reason);
    decision.replicas = decision.current;
}

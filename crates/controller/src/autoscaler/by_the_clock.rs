//! What begins and ends by the wall clock: schedules, and the end of an override.

use std::time::Duration;

use jiff::Timestamp;
use windlass_api::Resolved;
use windlass_api::schedule::InForce;
use windlass_scaling::{Instant, Scheduled};

use super::{Active, warnings_of};

impl Active {
    /// Puts into the policy what is in force at `wall`. Asked at every decision: the wall clock may be set, and machines
    /// sleep.
    pub(super) fn look_at_clock(&mut self, now: Instant, wall: Timestamp) {
        look_at_schedules(&mut self.resolved, &mut self.in_force, &mut self.transition_at, now, wall);
        if self.resolved.at(wall, now) {
            self.warnings = warnings_of(&self.resolved);
        }
    }
}

/// Puts the bounds in force at `wall` into the policy, and notes until when they are.
pub(crate) fn look_at_schedules(
    resolved: &mut Resolved,
    known: &mut Option<InForce>,
    transition_at: &mut Option<Instant>,
    now: Instant,
    wall: Timestamp,
) {
    let schedules = &resolved.schedules;
    if schedules.is_empty() {
        return;
    }
    let in_force = known.take().filter(|known| known.holds_at(wall));
    let in_force = in_force.unwrap_or_else(|| schedules.at(wall));
    let policy = &mut resolved.policy;
    policy.min_replicas = in_force.min_replicas;
    policy.max_replicas = in_force.max_replicas;
    let by = Scheduled { min_explicit: in_force.min_explicit };
    policy.scheduled = in_force.schedule.is_some().then_some(by);
    let left = |next: Timestamp| Duration::try_from(next.duration_since(wall)).unwrap_or_default();
    *transition_at = in_force.next_transition.map(|next| now + left(next));
    *known = Some(in_force);
}

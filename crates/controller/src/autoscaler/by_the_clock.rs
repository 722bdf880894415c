//! What begins and ends by the wall clock: schedules, and the end of an override.

use std::time::Duration;

use jiff::Timestamp;
use windlass_scaling::{Instant, Scheduled};

use super::{Active, warnings};

impl Active {
    /// Puts into the policy what is in force at `wall`. Asked at every decision: the wall clock may be set, and machines
    /// sleep.
    pub(super) fn look_at_clock(&mut self, now: Instant, wall: Timestamp) {
        self.look_at_schedules(now, wall);
        if self.resolved.at(wall, now) {
            self.warnings = warnings(&self.resolved);
        }
    }

    fn look_at_schedules(&mut self, now: Instant, wall: Timestamp) {
        let schedules = &self.resolved.schedules;
        if schedules.is_empty() {
            return;
        }
        let in_force = self.in_force.take().filter(|known| known.holds_at(wall));
        let in_force = in_force.unwrap_or_else(|| schedules.at(wall));
        let policy = &mut self.resolved.policy;
        policy.min_replicas = in_force.min_replicas;
        policy.max_replicas = in_force.max_replicas;
        let by = Scheduled { min_explicit: in_force.min_explicit };
        policy.scheduled = in_force.schedule.is_some().then_some(by);
        let left = |next: Timestamp| Duration::try_from(next.duration_since(wall)).unwrap_or_default();
        self.transition_at = in_force.next_transition.map(|next| now + left(next));
        self.in_force = Some(in_force);
    }
}

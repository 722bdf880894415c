//! Ready, starting, stuck, leaving: each replica in exactly one.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Facts, Instant, PodState, Starts};

/// How long a pod that lost readiness counts as silent rather than gone: an overloaded engine fails its probe.
pub(crate) const LOST_READINESS_SPAN: Duration = Duration::from_mins(5);

/// The replicas of a target by what can be expected of them. Where several pods are one replica, so many of them are
/// counted as one: which pods belong together does not matter for how much there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Capacity {
    /// Serving.
    pub ready: u32,
    /// Created or asked for, expected to become ready.
    pub starting: u32,
    /// Late, refused or crash-looping.
    pub stuck: u32,
    /// Being deleted.
    pub leaving: u32,
}

impl Capacity {
    pub(crate) fn of(facts: &Facts, starts: &Starts, now: Instant) -> Self {
        let mut capacity = Self { starting: starts.under_way, ..Self::default() };
        for pod in facts.pods() {
            match pod.state {
                PodState::Ready { .. } => capacity.ready += 1,
                PodState::LostReadiness { since } if now - since <= LOST_READINESS_SPAN => {
                    capacity.starting += 1;
                }
                PodState::Leaving => capacity.leaving += 1,
                PodState::LostReadiness { .. } | PodState::Starting { .. } | PodState::Stuck => {}
            }
        }
        // All the others: there, or asked for, and not to be expected.
        let all = facts.spec_pods().max(facts.present());
        capacity.stuck = all.saturating_sub(capacity.ready_and_starting());
        capacity.in_replicas(facts.group())
    }

    /// Pods made into replicas. One that lacks a pod is not ready, and one of which a pod is stuck is stuck.
    fn in_replicas(self, group: u32) -> Self {
        let ready = self.ready / group;
        let ready_and_starting = self.ready_and_starting() / group;
        let all = self.ready_and_starting().saturating_add(self.stuck).div_ceil(group);
        Self {
            ready,
            starting: ready_and_starting - ready,
            stuck: all - ready_and_starting,
            leaving: self.leaving.div_ceil(group),
        }
    }

    /// What the rate limits count from.
    pub fn ready_and_starting(&self) -> u32 {
        self.ready.saturating_add(self.starting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::starts::StartMemory;
    use crate::{Pod, PodUid};

    fn check(spec: u32, states: &[PodState], at_secs: u64, expect: [u32; 4]) {
        let mut facts = Facts::new(spec, Instant::ZERO);
        facts.set_pods(states.iter().zip(1..).map(|(&state, uid)| Pod { uid: PodUid(uid), state }));
        let now = Instant::ZERO + Duration::from_secs(at_secs);
        let starts = StartMemory::default().look(&facts, now);
        let Capacity { ready, starting, stuck, leaving } = Capacity::of(&facts, &starts, now);
        assert_eq!([ready, starting, stuck, leaving], expect, "spec {spec}, {states:?} at {at_secs} s");
    }

    #[test]
    fn several_pods_may_be_one_replica() {
        for (pods, group, expect) in [
            ([4, 0, 0, 0], 2, [2, 0, 0, 0]),
            ([3, 1, 0, 0], 2, [1, 1, 0, 0]),
            ([3, 2, 1, 0], 3, [1, 0, 1, 0]),
            ([5, 0, 1, 1], 2, [2, 0, 1, 1]),
            ([5, 4, 3, 2], 1, [5, 4, 3, 2]),
        ] {
            let [ready, starting, stuck, leaving] = pods;
            let Capacity { ready, starting, stuck, leaving } =
                Capacity { ready, starting, stuck, leaving }.in_replicas(group);
            assert_eq!([ready, starting, stuck, leaving], expect, "{pods:?} by {group}");
        }
    }

    #[test]
    fn each_pod_is_in_exactly_one() {
        let zero = Instant::ZERO;
        check(3, &[], 0, [0, 3, 0, 0]);
        check(3, &[PodState::Ready { since: zero }], 10, [1, 2, 0, 0]);
        check(1, &[PodState::Starting { since: zero }], 15 * 60, [0, 1, 0, 0]);
        check(1, &[PodState::Starting { since: zero }], 15 * 60 + 1, [0, 0, 1, 0]);
        check(2, &[PodState::Starting { since: zero }], 15 * 60 + 1, [0, 0, 2, 0]);
        check(1, &[PodState::LostReadiness { since: zero }], 300, [0, 1, 0, 0]);
        check(1, &[PodState::LostReadiness { since: zero }], 301, [0, 0, 1, 0]);
        check(1, &[PodState::Leaving, PodState::Ready { since: zero }], 0, [1, 0, 0, 1]);
        check(2, &[PodState::Stuck, PodState::Leaving], 0, [0, 1, 1, 1]);
        check(1, &[PodState::Ready { since: zero }, PodState::Ready { since: zero }], 0, [2, 0, 0, 0]);
    }
}

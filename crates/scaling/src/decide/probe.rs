//! Stage 7: pods that do not start are not multiplied.
//!
//! While starts fail, a raise beyond what is asked for already is one pod: the probe. It is asked for when no pod is
//! starting (one that is starting answers the same question) and the back-off is over. A probe that becomes ready in
//! time disproves the failure, and raises are free again. One that fails, too, is given back before the next is
//! asked for, so the count never stands more than one above what it was.
//!
//! Stuck pods as such are only given back by what lowers anyway. A late pod may be loading still, and taking it away
//! at the limit would mean that it never starts; and missing data never lowers, not even what does not run: whether it
//! is wanted is not known then. When something is lowered, the stuck ones go first, because Kubernetes removes pods
//! that are not ready before those that are; and what they were does not count against the down-rate.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::limits::RATE_PERIOD;
use super::lowering_off;
use crate::decision::{Reason, Stage};
use crate::{Decision, Instant, Memory, Observation, Policy};

/// From one probe to the next: the first pause, doubling up to the longest.
const FIRST_BACKOFF: Duration = Duration::from_mins(1);
const LONGEST_BACKOFF: Duration = Duration::from_mins(30);

/// What is remembered of probes.
///
/// Everything goes by what `spec.replicas` is seen to be: a probe that could not be written was none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Probe {
    /// The count with a probe that was asked for and is not in `spec.replicas` yet, and the failed starts before it.
    wanted: Option<Standing>,
    /// The same, once it is.
    standing: Option<Standing>,
    /// The pause after the latest probe, and its end.
    pause: Option<(Duration, Instant)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Standing {
    replicas: u32,
    failed_before: u32,
}

impl Probe {
    /// Notes what became of the last probe.
    pub(super) fn note(&mut self, observation: &Observation, now: Instant) {
        if observation.starts.failed == 0 {
            *self = Self::default();
            return;
        }
        let current = observation.spec_replicas;
        let starts = observation.starts;
        // It stands while the count does and its outcome is not that it is ready, if late.
        self.standing = self.standing.filter(|standing| {
            standing.replicas == current && (starts.under_way > 0 || starts.failed > standing.failed_before)
        });
        if let Some(wanted) = self.wanted.filter(|wanted| wanted.replicas == current) {
            let pause = self.pause.map_or(FIRST_BACKOFF, |(last, _)| (last * 2).min(LONGEST_BACKOFF));
            *self = Self { wanted: None, standing: Some(wanted), pause: Some((pause, now + pause)) };
        }
    }
}

/// Holds a raise beyond pods that do not start to one probe at a time.
pub(super) fn limit_starts(
    policy: &Policy,
    observation: &Observation,
    memory: &mut Memory,
    now: Instant,
    rated: u32,
    decision: &mut Decision,
) -> u32 {
    let current = decision.current;
    let failed = observation.starts.failed;
    if rated <= current || failed == 0 {
        return rated;
    }
    let mut step = |to, reason| {
        decision.step(Stage::Capacity, rated, to, reason);
        to
    };
    if observation.starts.under_way > 0 {
        return step(current, Reason::StartsFail { failed, until: None });
    }
    if let Some((_, until)) = memory.probe.pause.filter(|(_, until)| now < *until) {
        let held = step(current, Reason::StartsFail { failed, until: Some(until) });
        decision.wake_at(until);
        return held;
    }
    if memory.probe.standing.is_some_and(|standing| failed > standing.failed_before) {
        // Like any lowering, though no pod that serves is taken away.
        let lowered_lately = memory.lowered_at.is_some_and(|lowered| now < lowered + RATE_PERIOD);
        if lowered_lately || lowering_off(policy, observation, now).is_some() {
            return step(current, Reason::StartsFail { failed, until: None });
        }
        return step(current.saturating_sub(1), Reason::ProbeGivenBack { failed });
    }
    let probed = current.saturating_add(1);
    memory.probe.wanted = Some(Standing { replicas: probed, failed_before: failed });
    step(probed, Reason::Probe { failed })
}

//! One target's writes of replicas: at most one under way, and a pause after one that failed.

use std::time::Duration;

use kube::core::ApiResource;
use windlass_api::TargetRef;
use windlass_scaling::Instant;

use super::{Active, Key};
use crate::hpa::Handover;
use crate::target::Count;

/// After a failed write the next attempt waits this long, doubling up to the longest.
const WRITE_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_WRITE_BACKOFF: Duration = Duration::from_mins(1);
/// At the very end of a term nothing is begun any more; it is renewed or over after about this.
const NOT_LEADING_PAUSE: Duration = Duration::from_millis(250);

/// A change of replicas to be written.
#[derive(Debug, Clone)]
pub(crate) struct ScaleRequest {
    pub(crate) key: Key,
    pub(crate) resource: ApiResource,
    pub(crate) target: TargetRef,
    pub(crate) count: Count,
    pub(crate) uid: String,
    pub(crate) from: u32,
    pub(crate) to: u32,
    /// The account, as one line.
    pub(crate) reason: String,
    /// When the reading arrived that this follows from; none if it was a limit that opened.
    pub(crate) reading: Option<Instant>,
}

/// Where the writes stand.
pub(super) struct Writing {
    under_way: bool,
    backoff: Duration,
    not_before: Instant,
}

impl Writing {
    pub(super) fn new(now: Instant) -> Self {
        Self { under_way: false, backoff: WRITE_BACKOFF, not_before: now }
    }

    /// The target is another object: no write of it is under way.
    pub(super) fn forget(&mut self) {
        self.under_way = false;
    }
}

impl Active {
    /// The write that follows from the decision, if there is one and none is under way.
    pub(super) fn begin_write(
        &mut self,
        key: &Key,
        now: Instant,
        reading: Option<Instant>,
    ) -> Option<ScaleRequest> {
        if self.decision.replicas == self.facts.spec_replicas {
            // What could not be written is no longer wanted.
            self.write_problem = None;
            self.writing.backoff = WRITE_BACKOFF;
            return None;
        }
        if self.writing.under_way || now < self.writing.not_before || self.is_barred() {
            return None;
        }
        if self.handover != Handover::Done {
            return None;
        }
        let scale = self.scale.as_ref().ok()?;
        self.writing.under_way = true;
        Some(ScaleRequest {
            key: key.clone(),
            resource: scale.resource.clone(),
            target: self.resolved.target.clone(),
            count: scale.count,
            uid: scale.uid.clone(),
            from: self.facts.spec_replicas,
            to: self.decision.replicas,
            reason: self.account(now).join("; "),
            reading,
        })
    }

    /// Whether the last target that was known is this object.
    pub(crate) fn is_target(&self, uid: &str) -> bool {
        self.target_uid.as_deref() == Some(uid)
    }

    pub(crate) fn is_writing(&self) -> bool {
        self.writing.under_way
    }

    /// How long no write is begun, after one that failed.
    pub(crate) fn write_pause(&self, now: Instant) -> Duration {
        self.writing.not_before - now
    }

    /// The end of a write: acknowledged, or why not. Whether that is news: the same problem again is none.
    pub(crate) fn written(&mut self, outcome: Result<u32, String>, now: Instant) -> bool {
        self.writing.under_way = false;
        let known = self.write_problem.as_ref() == outcome.as_ref().err();
        match outcome {
            Ok(replicas) => {
                self.wrote(replicas);
                self.facts.spec_replicas = replicas;
                self.facts.spec_changed_at = now;
                self.write_problem = None;
                self.writing.backoff = WRITE_BACKOFF;
                if let Ok(scale) = &mut self.scale {
                    scale.replicas = replicas;
                }
            }
            Err(problem) => {
                self.write_problem = Some(problem);
                self.writing.not_before = now + self.writing.backoff;
                self.writing.backoff = (self.writing.backoff * 2).min(LONGEST_WRITE_BACKOFF);
            }
        }
        !known || self.write_problem.is_none()
    }

    /// Nothing was written, or not to our knowledge, for no fault of the target.
    pub(crate) fn not_leading(&mut self, now: Instant) {
        self.writing.under_way = false;
        self.writing.not_before = now + NOT_LEADING_PAUSE;
    }

    /// Somebody else changed the count meanwhile: nothing was written, and nothing is wrong.
    pub(crate) fn overtaken(&mut self, current: u32, now: Instant) {
        self.writing.under_way = false;
        self.facts.spec_replicas = current;
        self.facts.spec_changed_at = now;
        self.write_problem = None;
    }
}

//! Strategy HPA: what is kept of the native HorizontalPodAutoscaler, and how it is brought to what it should be.
//!
//! The index decides (`index/hpas.rs`), [`carry_out`] writes, the HorizontalPodAutoscaler's own controller scales.

mod mirror;
mod watch;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::{HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec};
use windlass_api::schedule::InForce;
use windlass_api::{Resolved, SpecError};
use windlass_scaling::Instant;

use crate::Shared;
use crate::autoscaler::{Key, ScaleProblem, look_at_schedules, warnings_of};
use crate::index::Conflict;
use crate::journal::{Entry, HpaNotWritten, HpaWritten};
use crate::outages::PATIENCE;
use crate::write::{WriteError, Writer};
pub(crate) use mirror::Mirror;
pub(crate) use watch::{key_of, watch_hpas};

/// Reasons of condition `AbleToScale`.
pub(crate) const WAITING_FOR_HPA: &str = "WaitingForHPA";
pub(crate) const FAILED_UPDATE_HPA: &str = "FailedUpdateHPA";
pub(crate) const HPA_NOT_OURS: &str = "HPANotOurs";
pub(crate) const FAILED_GET_HPA: &str = "FailedGetHPA";

/// Why a PodAutoscaler is not decided here.
#[derive(Debug)]
pub(crate) enum NotDecided {
    /// It cannot be acted upon.
    Invalid(Vec<SpecError>),
    /// A HorizontalPodAutoscaler decides.
    Native(Box<Native>),
}

/// A valid PodAutoscaler of strategy HPA.
#[derive(Debug)]
pub(crate) struct Native {
    pub(crate) resolved: Resolved,
    /// What its author may not expect, in one line.
    pub(crate) warnings: Option<String>,
    pub(crate) in_force: Option<InForce>,
    pub(crate) transition_at: Option<Instant>,
    /// Why the HorizontalPodAutoscaler is not what it should be.
    pub(crate) problem: Option<ScaleProblem>,
    /// What the HorizontalPodAutoscaler tells of itself; none while there is none.
    pub(crate) mirror: Option<Mirror>,
    /// Others that scale the same target.
    pub(crate) conflict: Option<Conflict>,
    /// The hold in force: a reason and a sentence.
    pub(crate) held: Option<(&'static str, String)>,
    /// Since when this has been the object's strategy, as far as this process knows.
    pub(crate) since: Instant,
}

impl Native {
    pub(crate) fn new(resolved: Resolved, since: Instant) -> Self {
        Self {
            warnings: warnings_of(&resolved),
            resolved,
            in_force: None,
            transition_at: None,
            problem: None,
            mirror: None,
            conflict: None,
            held: None,
            since,
        }
    }

    /// Puts into the policy what is in force at `wall`.
    pub(crate) fn look_at_clock(&mut self, now: Instant, wall: Timestamp) {
        look_at_schedules(&mut self.resolved, &mut self.in_force, &mut self.transition_at, now, wall);
        if self.resolved.at(wall, now) {
            self.warnings = warnings_of(&self.resolved);
        }
        self.held = windlass_api::hpa::held(&self.resolved, now);
    }

    /// Whether what is known is worth telling: something is wrong, or the HorizontalPodAutoscaler was looked at by its
    /// controller, or that takes longer than it should.
    pub(crate) fn is_settled(&self, now: Instant) -> bool {
        let observed = self.mirror.as_ref().is_some_and(Mirror::is_observed);
        self.problem.is_some() || observed || now - self.since > PATIENCE
    }
}

/// Whether a strategy of our own may write the target's count: not while a HorizontalPodAutoscaler may.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) enum Handover {
    /// It may.
    #[default]
    Done,
    /// The HorizontalPodAutoscalers are not listed yet.
    Unlisted,
    /// The one of this name is there still; and why, if it cannot be removed.
    Removing { name: String, problem: Option<String> },
    /// One that scaled the target is gone, but what its controller began may still arrive.
    Settling,
}

impl Handover {
    /// What is waited for: a sentence without a time, so that it stays true while it stands.
    pub(crate) fn sentence(&self) -> Option<String> {
        match self {
            Self::Done | Self::Unlisted => None,
            Self::Removing { name, problem } => Some(format!(
                "the HorizontalPodAutoscaler {name} of this object's former strategy is being removed; nothing is \
                 written to the target before it is gone{}",
                problem.as_ref().map_or_else(String::new, |problem| format!(" ({problem})"))
            )),
            Self::Settling => Some(
                "a HorizontalPodAutoscaler that scaled the target is gone; nothing is written to the target for one sync \
                 period of its controller"
                    .to_owned(),
            ),
        }
    }
}

/// A change of a HorizontalPodAutoscaler to be written.
#[derive(Debug, Clone)]
pub(crate) struct HpaRequest {
    /// The PodAutoscaler and its uid.
    pub(crate) key: Key,
    pub(crate) owner: String,
    pub(crate) name: String,
    pub(crate) change: Change,
}

#[derive(Debug, Clone)]
pub(crate) enum Change {
    Create(Box<HorizontalPodAutoscaler>),
    /// Make the one that is there what it should be.
    Update(Box<HorizontalPodAutoscaler>),
    /// Remove the one of this uid.
    Remove(String),
}

impl Change {
    /// What is wanted of it.
    pub(crate) fn spec(&self) -> Option<&HorizontalPodAutoscalerSpec> {
        match self {
            Self::Create(hpa) | Self::Update(hpa) => hpa.spec.as_ref(),
            Self::Remove(_) => None,
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Create(_) => "create",
            Self::Update(_) => "update",
            Self::Remove(_) => "remove",
        }
    }
}

/// Whether the HorizontalPodAutoscaler is of the `PodAutoscaler` of this uid.
pub(crate) fn is_owned(hpa: &HorizontalPodAutoscaler, owner: &str) -> bool {
    hpa.metadata.owner_references.iter().flatten().any(|reference| reference.uid == owner)
}

/// Writes one change, and notes what came of it.
pub(crate) async fn carry_out(writer: Writer, shared: Arc<Shared>, request: HpaRequest) {
    let outcome = writer.hpa(&request).await;
    match &outcome {
        Ok(_) => HpaWritten { request: &request }.record(&shared.journal),
        Err(error) => HpaNotWritten { request: &request, error }.record(&shared.journal),
    }
    let outcome = outcome.map_err(|error| match error {
        WriteError::NotLeading => None,
        // Somebody was quicker; the watch will show it.
        error if error.is_conflict() => None,
        error => Some(format!(
            "the HorizontalPodAutoscaler {} cannot be {}: {error}",
            request.name,
            match request.change {
                Change::Create(_) => "created",
                Change::Update(_) => "updated",
                Change::Remove(_) => "removed",
            }
        )),
    });
    shared.index.lock().hpa_written(&request, outcome);
}

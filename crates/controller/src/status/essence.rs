//! What makes a status worth writing.

use std::hash::{DefaultHasher, Hash, Hasher};

use arrayvec::ArrayVec;
use jiff::Timestamp;
use windlass_scaling::{Capacity, MAX_SIGNALS};

use super::conditions::unverified;
use crate::autoscaler::{Active, Autoscaler};
use crate::hpa::NotDecided;
use crate::outages::Sight;

/// When it changes, the status is written; the rest of the status is as of then. It is made for every target every
/// second, so it has no text of its own.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Essence {
    generation: Option<i64>,
    /// When the last change of replicas was written, or failed, and which of the two.
    last_scaling: Option<(Timestamp, bool)>,
    /// A hash of the sentences that stand: errors, problems, warnings.
    sentences: u64,
    /// `None` until the target is known and decided.
    target: Option<Target>,
}

#[derive(Debug, Clone, PartialEq)]
struct Target {
    desired: u32,
    actual: u32,
    bounds: (u32, u32),
    capacity: Capacity,
    has_pods: bool,
    sights: ArrayVec<Sight, MAX_SIGNALS>,
}

impl Essence {
    pub(super) fn of(autoscaler: &Autoscaler) -> Self {
        let last = autoscaler.history.back();
        let mut sentences = DefaultHasher::new();
        let target = match &autoscaler.state {
            Err(NotDecided::Native(native)) => {
                super::hpa::hash(native, &mut sentences);
                None
            }
            Err(NotDecided::Invalid(errors)) => {
                // Looked at only when the object changes.
                for error in errors {
                    error.to_string().hash(&mut sentences);
                }
                None
            }
            Ok(active) => {
                hash_sentences(active, &mut sentences);
                Target::of(active)
            }
        };
        Self {
            generation: autoscaler.object.metadata.generation,
            last_scaling: last.map(|record| (record.timestamp.0, record.success)),
            sentences: sentences.finish(),
            target,
        }
    }
}

fn hash_sentences(active: &Active, hasher: &mut DefaultHasher) {
    let scale = active.scale.as_ref();
    scale.err().map(|problem| (problem.reason, &problem.message)).hash(hasher);
    let selector = scale.ok().and_then(|scale| scale.selector.as_ref().err());
    selector.map(ToString::to_string).hash(hasher);
    active.in_force.as_ref().map(|bounds| (&bounds.schedule, bounds.next_transition)).hash(hasher);
    (active.held(), &active.handover).hash(hasher);
    (&active.conflict, active.truce(), active.respected(), active.shared.is_empty()).hash(hasher);
    (&active.write_problem, &active.warnings, &active.quarantine, unverified(active)).hash(hasher);
    active.engines().hash(hasher);
    // What comes and goes while the readings stay fresh changes nothing that is said.
    let suffers = active.outages.sights().any(|sight| sight != Sight::Fresh);
    (suffers.then(|| active.source_problems()), active.told_silence(), active.lasting_silence()).hash(hasher);
}

impl Target {
    fn of(active: &Active) -> Option<Self> {
        active.scale.as_ref().ok()?;
        let policy = &active.resolved.policy;
        Some(Self {
            desired: active.decision.replicas,
            actual: active.facts.spec_replicas,
            bounds: (policy.min_replicas, policy.max_replicas),
            capacity: active.observation.as_ref()?.capacity,
            has_pods: !active.facts.pods().is_empty(),
            sights: active.outages.sights().collect(),
        })
    }
}

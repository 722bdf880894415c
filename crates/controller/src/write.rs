//! Every write to the API server: replicas (of an object without `/scale` in `count`), HorizontalPodAutoscalers, status,
//! events, the Lease. Nothing else in the product writes.
//!
//! All but the Lease are the leader's alone: a write is begun only if its time-out ends before the term does.

mod count;
mod hpa;

use std::borrow::Cow;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::DynamicObject;
use kube::runtime::events::{Event, Recorder, Reporter};
use kube::{Api, Client, Resource};
use serde_json::json;
use thiserror::Error;
use tokio::time::Instant;
use windlass_api::{PodAutoscaler, PodAutoscalerStatus};

use crate::announce::Announcement;
use crate::autoscaler::{Key, ScaleRequest};
use crate::journal::{Entry, EventRecorded, Journal, Requested, Verb};
use crate::leadership::Gate;
use crate::target::Count;
use crate::watches::CALL_TIMEOUT;

/// Who writes, as `kubectl get --show-managed-fields` and `kubectl describe` name it.
pub(crate) const FIELD_MANAGER: &str = "windlass";
/// Attempts at a write that others' writes come in between of.
const ATTEMPTS: u32 = 5;
/// An event's note may have this many bytes.
const LONGEST_NOTE: usize = 1000;

/// Why a write was not made, or is not known to have been.
#[derive(Debug, Error)]
pub(crate) enum WriteError {
    /// Somebody else changed the count since it was decided.
    #[error("the count was changed to {0} meanwhile")]
    Overtaken(u32),
    /// What was written is not what was asked for.
    #[error("the API server made it {0}")]
    Altered(u32),
    /// The object was deleted and created anew, or is somebody else's.
    #[error("another object has its name now")]
    Replaced,
    /// The object has no count any more, or the role is gone.
    #[error("{0}")]
    NoCount(String),
    #[error("no answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// We do not lead, or the term ended under the write: whoever leads decides anew. Nothing is wrong with the object.
    #[error("this controller does not lead")]
    NotLeading,
    #[error(transparent)]
    Api(#[from] kube::Error),
}

impl WriteError {
    /// Whether the object changed since it was read.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self, Self::Api(kube::Error::Api(status)) if status.code == 409)
    }

    /// Whether there is no such object.
    pub(crate) fn is_absence(&self) -> bool {
        matches!(self, Self::Api(kube::Error::Api(status)) if status.code == 404)
    }
}

/// The one who writes.
#[derive(Clone)]
pub(crate) struct Writer {
    client: Client,
    gate: Gate,
    journal: Journal,
}

impl Writer {
    pub(crate) fn new(client: Client, gate: Gate, journal: Journal) -> Self {
        Self { client, gate, journal }
    }

    /// Whether a write begun now would be let through.
    pub(crate) fn leads(&self) -> bool {
        self.gate.budget(CALL_TIMEOUT).is_some()
    }

    /// Makes a call that ends before the term does, or does not begin it.
    async fn in_time<T>(
        &self,
        verb: Verb,
        resource: impl Into<Cow<'_, str>>,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, WriteError> {
        let begun = Instant::now();
        let outcome = self.before_the_end(call).await;
        let (resource, error) = (resource.into(), outcome.as_ref().err());
        Requested { verb, resource, error, took: begun.elapsed() }.record(&self.journal);
        outcome
    }

    async fn before_the_end<T>(&self, call: impl Future<Output = kube::Result<T>>) -> Result<T, WriteError> {
        let budget = self.gate.budget(CALL_TIMEOUT).ok_or(WriteError::NotLeading)?;
        match tokio::time::timeout(budget, call).await {
            Ok(outcome) => Ok(outcome?),
            Err(_) if budget < CALL_TIMEOUT => Err(WriteError::NotLeading),
            Err(_) => Err(WriteError::Timeout(CALL_TIMEOUT)),
        }
    }

    /// Writes the count, if it still says what the decision started from. The count acknowledged.
    pub(crate) async fn scale(&self, request: &ScaleRequest) -> Result<u32, WriteError> {
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &request.key.namespace, &request.resource);
        for _ in 1..ATTEMPTS {
            match self.try_once(&api, request).await {
                // The target's status changed between the read and the write, as it does while pods start.
                Err(error) if error.is_conflict() => {}
                outcome => return outcome,
            }
        }
        self.try_once(&api, request).await
    }

    async fn try_once(&self, api: &Api<DynamicObject>, request: &ScaleRequest) -> Result<u32, WriteError> {
        match request.count {
            Count::Scale => self.try_scale(api, request).await,
            Count::Spec | Count::Role(_) => self.try_count(api, request).await,
        }
    }

    async fn try_scale(&self, api: &Api<DynamicObject>, request: &ScaleRequest) -> Result<u32, WriteError> {
        let scales = format!("{}/scale", request.resource.plural);
        let mut scale = self.in_time(Verb::Get, &scales, api.get_scale(&request.target.name)).await?;
        if scale.metadata.uid.as_deref() != Some(request.uid.as_str()) {
            return Err(WriteError::Replaced);
        }
        let spec = scale.spec.get_or_insert_default();
        let current = u32::try_from(spec.replicas.unwrap_or(0)).unwrap_or(0);
        if current != request.from {
            return Err(WriteError::Overtaken(current));
        }
        spec.replicas = Some(i32::try_from(request.to).unwrap_or(i32::MAX));
        // The resourceVersion that was read makes this a compare-and-swap.
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        // The term is looked at again here: the read may have taken long.
        let call = api.replace_scale(&request.target.name, &params, &scale);
        let written = self.in_time(Verb::Update, &scales, call).await?;
        let replicas = written.spec.and_then(|spec| spec.replicas).unwrap_or(0);
        let replicas = u32::try_from(replicas).unwrap_or(0);
        // Something between us and the object, such as an admission webhook, knows better.
        if replicas == request.to { Ok(replicas) } else { Err(WriteError::Altered(replicas)) }
    }

    /// Writes the status of this version of a PodAutoscaler. The version it has after that.
    ///
    /// Applying with force takes the fields from whoever has them, so a write of ours that hung somewhere until after
    /// our term would overwrite our successor's. The `resourceVersion` turns that into a conflict; no object that is
    /// created anew has it either. (A uid would not do: in writes of a status the API server ignores it.)
    pub(crate) async fn status(
        &self,
        key: &Key,
        version: Option<&str>,
        status: &PodAutoscalerStatus,
    ) -> Result<Option<String>, WriteError> {
        let api: Api<PodAutoscaler> = Api::namespaced(self.client.clone(), &key.namespace);
        let patch = Patch::Apply(json!({
            "apiVersion": PodAutoscaler::api_version(&()),
            "kind": PodAutoscaler::kind(&()),
            "metadata": {"resourceVersion": version},
            "status": status,
        }));
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let call = api.patch_status(&key.name, &params, &patch);
        let written = self.in_time(Verb::Patch, "podautoscalers/status", call).await?;
        Ok(written.metadata.resource_version)
    }

    /// Records an event about a PodAutoscaler. A lost event is logged and not tried again.
    pub(crate) async fn event(&self, about: ObjectReference, announcement: Announcement) {
        let Announcement { type_, reason, note } = announcement;
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(shortened(&note)),
            action: "Scale".to_owned(),
            secondary: None,
        };
        // A recorder that is kept counts a second event of the same reason up and leaves it the first one's words.
        let recorder = Recorder::new(self.client.clone(), Reporter::from(FIELD_MANAGER));
        let outcome = self.in_time(Verb::Create, "events", recorder.publish(&event, &about)).await;
        EventRecorded { reason, error: outcome.as_ref().err() }.record(&self.journal);
    }
}

/// Creates the Lease, or replaces the version it names. Not the leader's alone: it is how one becomes leader.
pub(crate) async fn lease(api: &Api<Lease>, name: &str, lease: &Lease, exists: bool) -> kube::Result<Lease> {
    let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    if exists { api.replace(name, &params, lease).await } else { api.create(&params, lease).await }
}

fn shortened(note: &str) -> String {
    if note.len() <= LONGEST_NOTE {
        return note.to_owned();
    }
    let mut end = LONGEST_NOTE - '…'.len_utf8();
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &note[..end])
}

//! Every write to the API server: replicas, status, events. Nothing else in the product writes.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::DynamicObject;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client, Resource};
use serde_json::json;
use thiserror::Error;
use windlass_api::{PodAutoscaler, PodAutoscalerStatus};

use crate::autoscaler::{Key, ScaleRequest};
use crate::watches::CALL_TIMEOUT;

/// Who writes, as `kubectl get --show-managed-fields` and `kubectl describe` name it.
const FIELD_MANAGER: &str = "windlass";
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
    /// The target was deleted and created anew.
    #[error("the target is another object of the same name now")]
    Replaced,
    #[error("no answer within {} s", .0.as_secs())]
    Timeout(Duration),
    #[error(transparent)]
    Api(#[from] kube::Error),
}

/// The one who writes.
#[derive(Clone)]
pub(crate) struct Writer {
    client: Client,
    recorder: Recorder,
}

async fn in_time<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, WriteError> {
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(outcome) => Ok(outcome?),
        Err(_) => Err(WriteError::Timeout(CALL_TIMEOUT)),
    }
}

impl Writer {
    pub(crate) fn new(client: Client) -> Self {
        let recorder = Recorder::new(client.clone(), Reporter::from(FIELD_MANAGER));
        Self { client, recorder }
    }

    /// Writes `/scale`, if it still says what the decision started from. The count acknowledged.
    pub(crate) async fn scale(&self, request: &ScaleRequest) -> Result<u32, WriteError> {
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &request.key.namespace, &request.resource);
        for _ in 1..ATTEMPTS {
            match Self::try_scale(&api, request).await {
                // The target's status changed between the read and the write, as it does while pods start.
                Err(WriteError::Api(kube::Error::Api(status))) if status.code == 409 => {}
                outcome => return outcome,
            }
        }
        Self::try_scale(&api, request).await
    }

    async fn try_scale(api: &Api<DynamicObject>, request: &ScaleRequest) -> Result<u32, WriteError> {
        let mut scale = in_time(api.get_scale(&request.target)).await?;
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
        let written = in_time(api.replace_scale(&request.target, &params, &scale)).await?;
        let replicas = written.spec.and_then(|spec| spec.replicas).unwrap_or(0);
        let replicas = u32::try_from(replicas).unwrap_or(0);
        // Something between us and the object, such as an admission webhook, knows better.
        if replicas == request.to { Ok(replicas) } else { Err(WriteError::Altered(replicas)) }
    }

    /// Writes a PodAutoscaler's status.
    pub(crate) async fn status(&self, key: &Key, status: &PodAutoscalerStatus) -> Result<(), WriteError> {
        let api: Api<PodAutoscaler> = Api::namespaced(self.client.clone(), &key.namespace);
        let patch = Patch::Apply(json!({
            "apiVersion": PodAutoscaler::api_version(&()),
            "kind": PodAutoscaler::kind(&()),
            "status": status,
        }));
        let params = PatchParams::apply(FIELD_MANAGER).force();
        in_time(api.patch_status(&key.name, &params, &patch)).await.map(drop)
    }

    /// Records an event about a PodAutoscaler. A lost event is logged and not tried again.
    pub(crate) async fn event(&self, about: ObjectReference, type_: EventType, reason: &str, note: &str) {
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(shortened(note)),
            action: "Scale".to_owned(),
            secondary: None,
        };
        if let Err(error) = in_time(self.recorder.publish(&event, &about)).await {
            tracing::warn!(reason, %error, "an event was lost");
        }
    }
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

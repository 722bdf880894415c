//! Single reads of the API server: a target's scale, an object's controller.

use std::sync::Arc;
use std::time::Duration;

use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};
use windlass_api::TargetRef;

use crate::Shared;
use crate::autoscaler::{FAILED_GET_SCALE, Key, Scale, ScaleProblem};
use crate::pod::ControllerRef;
use crate::target;
use crate::watches::CALL_TIMEOUT;

/// How soon a read that failed for a passing reason is tried again.
const RETRY: Duration = Duration::from_secs(2);
/// How soon a controller that could not be found is asked for again.
const OWNER_RETRY: Duration = Duration::from_secs(30);

/// How soon a target that cannot be scaled is asked again, doubling up to the longest.
const UNSCALABLE_RETRY: Duration = Duration::from_secs(10);
const LONGEST_RETRY: Duration = Duration::from_mins(5);

#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("no answer in time")]
    Timeout,
    #[error(transparent)]
    Api(#[from] kube::Error),
}

impl ReadError {
    /// The API server knows of no such thing.
    fn is_absent(&self) -> bool {
        matches!(self, Self::Api(kube::Error::Api(status)) if status.code == 404)
    }
}

/// Makes a call when its turn has come, and not for ever.
async fn in_turn<T>(shared: &Shared, call: impl Future<Output = kube::Result<T>>) -> Result<T, ReadError> {
    // The semaphore is never closed; without a permit the call would be made all the same.
    let _permit = shared.reads.acquire().await;
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(ReadError::Timeout),
    }
}

/// Reads `/scale` of a target, or the target itself, until it is known what it says. What cannot be scaled is asked
/// again, too, ever more rarely: a CRD may get its `/scale`, and a right may be granted, without a change of the object.
pub(crate) async fn read_scale(client: Client, shared: Arc<Shared>, key: Key) {
    let mut pause = RETRY;
    loop {
        let asked = shared.clock.now();
        let source = shared.index.lock().scale_source(&key);
        let source = match source {
            Some(Ok(source)) => source,
            Some(Err(problem)) => return shared.index.lock().scale_read(&key, Err(problem), asked),
            None => return,
        };
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &key.namespace, &source.resource);
        let answer = read_count(&shared, &api, &source).await;
        let known = shared.index.lock().has_scale(&key);
        let again = match answer {
            Ok(scale) => {
                shared.index.lock().scale_read(&key, Ok(scale), asked);
                return;
            }
            Err(Unread::Unscalable(problem)) => {
                shared.index.lock().scale_read(&key, Err(problem), asked);
                let again = pause.max(UNSCALABLE_RETRY);
                pause = (again * 2).min(LONGEST_RETRY);
                again
            }
            Err(Unread::Failed(error)) => {
                // What is known stays true until the API server says otherwise.
                if !known {
                    let problem = failed(&source, &error.to_string());
                    shared.index.lock().scale_read(&key, Err(problem), asked);
                }
                RETRY
            }
        };
        tokio::time::sleep(again).await;
    }
}

/// What a read of a target's count needs.
pub(crate) struct ScaleSource {
    pub(crate) resource: ApiResource,
    pub(crate) target: TargetRef,
    /// The count that is known, and that needs no explanation.
    pub(crate) known: Option<u32>,
}

/// Why a count was not read.
enum Unread {
    /// The API server says that there is none.
    Unscalable(ScaleProblem),
    /// It was not to be had now.
    Failed(ReadError),
}

impl From<ReadError> for Unread {
    fn from(error: ReadError) -> Self {
        Self::Failed(error)
    }
}

async fn read_count(
    shared: &Shared,
    api: &Api<DynamicObject>,
    source: &ScaleSource,
) -> Result<Scale, Unread> {
    let ScaleSource { resource, target, known } = source;
    if target::is_read_whole(target) {
        return read_object(shared, api, source).await;
    }
    let scale = match in_turn(shared, api.get_scale(&target.name)).await {
        Ok(scale) => scale,
        Err(error) if error.is_absent() => return read_object(shared, api, source).await,
        Err(error) => return Err(error.into()),
    };
    let mut scale = target::of_scale(&scale, target, resource);
    if known.is_some_and(|known| known != scale.replicas) {
        // `/scale` does not tell who changed it. That it is not known is no problem.
        let metadata = in_turn(shared, api.get_metadata(&target.name)).await.ok();
        let entries = metadata.as_ref().and_then(|object| object.metadata.managed_fields.as_deref());
        scale.set_by = target::set_by(entries, scale.count);
    }
    Ok(scale)
}

async fn read_object(
    shared: &Shared,
    api: &Api<DynamicObject>,
    source: &ScaleSource,
) -> Result<Scale, Unread> {
    let ScaleSource { resource, target, .. } = source;
    let object = match in_turn(shared, api.get(&target.name)).await {
        Ok(object) => object,
        // The watch of its kind says so in better words, if it does not exist.
        Err(error) if error.is_absent() => return Err(Unread::Unscalable(failed(source, "it is not there"))),
        Err(error) => return Err(error.into()),
    };
    target::of_object(&object, target, resource).map_err(Unread::Unscalable)
}

fn failed(source: &ScaleSource, why: &str) -> ScaleProblem {
    let message = format!("the count of {} cannot be read: {why}", source.target);
    ScaleProblem { reason: FAILED_GET_SCALE, message }
}

/// Finds out who controls `object`.
pub(crate) async fn read_owner(
    client: Client,
    shared: Arc<Shared>,
    namespace: String,
    object: ControllerRef,
) {
    loop {
        let found = owner_of(&client, &shared, &namespace, &object).await;
        let again = found.is_err();
        shared.index.lock().owner_found(&namespace, &object.uid, found);
        if !again {
            return;
        }
        tokio::time::sleep(OWNER_RETRY).await;
        if !shared.index.lock().asks_for_owner(&namespace, &object.uid) {
            return;
        }
    }
}

async fn owner_of(
    client: &Client,
    shared: &Shared,
    namespace: &str,
    object: &ControllerRef,
) -> Result<Option<ControllerRef>, String> {
    let (group, version) = object.api_version.split_once('/').unwrap_or(("", &object.api_version));
    // The plural is guessed as kubectl's discovery would name it; a wrong guess is an unknown owner, and said.
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &object.kind));
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let problem =
        |why: String| format!("{} {} above its pods cannot be read: {why}", object.kind, object.name);
    match in_turn(shared, api.get_metadata(&object.name)).await {
        Ok(found) if found.metadata.uid.as_deref() == Some(object.uid.as_str()) => {
            Ok(ControllerRef::of(&found))
        }
        Ok(_) => Err(problem("another object has its name now".to_owned())),
        Err(error) => Err(problem(error.to_string())),
    }
}

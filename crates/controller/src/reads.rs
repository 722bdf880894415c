//! Single reads of the API server: a target's scale, an object's controller.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::autoscaling::v1 as autoscaling;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};

use crate::Shared;
use crate::autoscaler::{FAILED_GET_SCALE, Key, Scale, ScaleProblem};
use crate::pod::ControllerRef;
use crate::selector::Selector;
use crate::watches::CALL_TIMEOUT;

/// How soon a read that failed for a passing reason is tried again.
const RETRY: Duration = Duration::from_secs(2);
/// How soon a controller that could not be found is asked for again.
const OWNER_RETRY: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("no answer in time")]
    Timeout,
    #[error(transparent)]
    Api(#[from] kube::Error),
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

/// Reads `/scale` of a target until it is known what it says, or that it cannot say anything.
pub(crate) async fn read_scale(client: Client, shared: Arc<Shared>, key: Key) {
    loop {
        let asked = shared.clock.now();
        let source = shared.index.lock().scale_source(&key);
        let (resource, name) = match source {
            Some(Ok(source)) => source,
            Some(Err(problem)) => return shared.index.lock().scale_read(&key, Err(problem), asked),
            None => return,
        };
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &key.namespace, &resource);
        let answer = in_turn(&shared, api.get_scale(&name)).await;
        let (scale, passing) = match answer {
            Ok(scale) => (Ok(read(scale, &resource)), false),
            Err(ReadError::Api(kube::Error::Api(status))) if status.code == 404 => {
                (Err(absent(&resource, &name)), false)
            }
            Err(error) => (Err(failed(&resource, &name, &error.to_string())), true),
        };
        let known = shared.index.lock().has_scale(&key);
        // What is known stays true until the API server says otherwise.
        if !(passing && known) {
            shared.index.lock().scale_read(&key, scale, asked);
        }
        if !passing {
            return;
        }
        tokio::time::sleep(RETRY).await;
    }
}

fn problem(message: String) -> ScaleProblem {
    ScaleProblem { reason: FAILED_GET_SCALE, message }
}

fn absent(resource: &ApiResource, name: &str) -> ScaleProblem {
    problem(format!(
        "{}/{name} has no /scale subresource; scale an object that has one, such as a Deployment",
        resource.kind
    ))
}

fn failed(resource: &ApiResource, name: &str, why: &str) -> ScaleProblem {
    problem(format!("/scale of {}/{name} cannot be read: {why}", resource.kind))
}

fn read(scale: autoscaling::Scale, resource: &ApiResource) -> Scale {
    let selector = scale.status.as_ref().and_then(|status| status.selector.as_deref()).unwrap_or_default();
    let replicas = scale.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
    Scale {
        uid: scale.metadata.uid.unwrap_or_default(),
        resource: resource.clone(),
        replicas: u32::try_from(replicas).unwrap_or(0),
        selector: Selector::parse(selector),
    }
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

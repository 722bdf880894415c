//! Looks whether the served CRD has what is read and written here, says once what it lacks, and makes statuses fit it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, Client};
use parking_lot::Mutex;
use serde_json::Value;
use windlass_api::PodAutoscalerStatus;
use windlass_api::crd::served::{self, Served};

use crate::Shared;
use crate::watches::CALL_TIMEOUT;

/// How soon it is looked at again. A CRD is changed by people, seldom, and read by its name in a millisecond.
const AGAIN: Duration = Duration::from_mins(1);
/// The same while there is none, or the API server did not say.
const SOON: Duration = Duration::from_secs(10);

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Finding(Mutex<Found>);

#[derive(Debug, Default)]
struct Found {
    /// What the served CRD lacks, or that there is none.
    sentence: Option<String>,
    /// Fields of the status that it does not have, as `status.capacity`.
    unknown: Vec<String>,
}

impl Finding {
    /// What the served CRD lacks, or that there is none; none: nothing, or it was not looked at yet.
    pub(crate) fn sentence(&self) -> Option<String> {
        self.0.lock().sentence.clone()
    }

    /// The status without what the served CRD does not have: applying that would be refused as a whole.
    pub(crate) fn fitted<'a>(&self, status: &'a PodAutoscalerStatus) -> Cow<'a, PodAutoscalerStatus> {
        let found = self.0.lock();
        if found.unknown.is_empty() {
            return Cow::Borrowed(status);
        }
        let fitted = serde_json::to_value(status).and_then(|mut value| {
            for path in &found.unknown {
                remove(&mut value, path.split('.').skip(1));
            }
            serde_json::from_value(value)
        });
        // A field that must be there: the API server tells.
        fitted.map_or(Cow::Borrowed(status), Cow::Owned)
    }

    fn compared(&self, served: &Served) {
        let unknown = served.missing.iter().filter(|path| path.starts_with("status.")).cloned();
        self.tell(served.sentence(), unknown.collect());
    }

    /// Logs a change.
    fn tell(&self, sentence: Option<String>, unknown: Vec<String>) {
        let mut found = self.0.lock();
        if found.sentence != sentence {
            if let Some(problem) = &sentence {
                tracing::warn!(problem, "the served CRD differs");
            } else {
                tracing::info!("the served CRD is as it should be");
            }
        }
        *found = Found { sentence, unknown };
    }
}

/// Removes a field; `items[]` is every entry of a list.
fn remove<'a>(value: &mut Value, mut path: impl Iterator<Item = &'a str> + Clone) {
    let Some(name) = path.next() else { return };
    if let Some(list) = name.strip_suffix("[]") {
        for item in value.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            remove(item, path.clone());
        }
    } else if path.clone().next().is_none() {
        value.as_object_mut().map(|fields| fields.remove(name));
    } else if let Some(inner) = value.get_mut(name) {
        remove(inner, path);
    }
}

/// Looks at the start and from time to time.
pub(crate) async fn look(client: Client, shared: Arc<Shared>) {
    let api: Api<CustomResourceDefinition> = Api::all(client);
    loop {
        let pause = match tokio::time::timeout(CALL_TIMEOUT, api.get_opt(served::NAME)).await {
            Ok(Ok(Some(crd))) => {
                // What cannot be compared is a mistake of ours, which a test finds.
                shared.served_crd.compared(&served::compare(&crd).unwrap_or_default());
                AGAIN
            }
            Ok(Ok(None)) => {
                shared.served_crd.tell(Some(served::absent()), Vec::new());
                SOON
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
                let problem = format!(
                    "it cannot be looked at ({}); windlass rbac has the rule that is missing",
                    status.message
                );
                shared.served_crd.tell(Some(problem), Vec::new());
                AGAIN
            }
            // The API server is away, which others tell already.
            _ => SOON,
        };
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_status_is_made_to_fit() {
        let status: PodAutoscalerStatus = serde_json::from_value(json!({
            "observedGeneration": 3,
            "desiredScale": 5,
            "capacity": {"ready": 5, "starting": 0, "stuck": 0, "leaving": 0},
            "scheduledBounds": {
                "effectiveMinReplicas": 1, "effectiveMaxReplicas": 2, "nextTransition": "2026-01-01T00:00:00Z"
            },
            "signals": [{"metric": "inflight", "value": 1.0}, {"metric": "waiting", "value": 2.0}],
        }))
        .unwrap();
        let fitted = |missing: &[&str]| {
            let finding = Finding::default();
            let missing = missing.iter().map(|path| (*path).to_owned()).collect();
            finding.compared(&Served { missing, ..Served::default() });
            finding.fitted(&status).into_owned()
        };
        assert_eq!(fitted(&["spec.targetMetric"]), status);
        let less = fitted(&[
            "status.observedGeneration",
            "status.capacity",
            "status.scheduledBounds.nextTransition",
            "status.signals[].value",
        ]);
        assert_eq!((less.observed_generation, less.desired_scale, less.capacity), (None, Some(5), None));
        assert!(less.scheduled_bounds.unwrap().next_transition.is_none());
        assert!(less.signals.len() == 2 && less.signals.iter().all(|signal| signal.value.is_none()));
        assert_eq!(fitted(&["status.scheduledBounds.effectiveMinReplicas"]), status, "it must be there");
    }
}

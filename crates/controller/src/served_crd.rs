//! Looks whether the served CRD has what is read and written here, and says once what it lacks.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, Client};
use parking_lot::Mutex;
use windlass_api::crd::served;

use crate::Shared;
use crate::watches::CALL_TIMEOUT;

/// How soon it is looked at again. A CRD is changed by people, seldom, and read by its name in a millisecond.
const AGAIN: Duration = Duration::from_mins(1);
/// The same while there is none, or the API server did not say.
const SOON: Duration = Duration::from_secs(10);

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Finding(Mutex<Option<String>>);

impl Finding {
    /// What the served CRD lacks, or that there is none; none: nothing, or it was not looked at yet.
    pub(crate) fn sentence(&self) -> Option<String> {
        self.0.lock().clone()
    }

    /// Logs a change.
    fn tell(&self, found: Option<String>) {
        let mut last = self.0.lock();
        if *last == found {
            return;
        }
        match &found {
            Some(problem) => tracing::warn!(problem, "the served CRD differs"),
            None => tracing::info!("the served CRD is as it should be"),
        }
        *last = found;
    }
}

/// Looks at the start and from time to time.
pub(crate) async fn look(client: Client, shared: Arc<Shared>) {
    let api: Api<CustomResourceDefinition> = Api::all(client);
    loop {
        let pause = match tokio::time::timeout(CALL_TIMEOUT, api.get_opt(served::NAME)).await {
            Ok(Ok(Some(crd))) => {
                // What cannot be compared is a mistake of ours, which a test finds.
                shared.served_crd.tell(served::compare(&crd).ok().and_then(|served| served.sentence()));
                AGAIN
            }
            Ok(Ok(None)) => {
                shared.served_crd.tell(Some(served::absent()));
                SOON
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
                shared.served_crd.tell(Some(format!(
                    "it cannot be looked at ({}); windlass rbac has the rule that is missing",
                    status.message
                )));
                AGAIN
            }
            // The API server is away, which others tell already.
            _ => SOON,
        };
        tokio::time::sleep(pause).await;
    }
}

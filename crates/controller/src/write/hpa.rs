//! Writes of HorizontalPodAutoscalers. One that is not of the PodAutoscaler is never touched.

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::Api;
use kube::api::{DeleteParams, PostParams, Preconditions};

use super::{ATTEMPTS, FIELD_MANAGER, WriteError, Writer};
use crate::hpa::{Change, HpaRequest, is_owned};
use crate::journal::Verb;

const RESOURCE: &str = "horizontalpodautoscalers";

impl Writer {
    /// Creates, updates or removes a HorizontalPodAutoscaler. What the API server has after that; none if it was removed.
    ///
    /// Its name follows from its PodAutoscaler's, and it is created as what must not exist: however often a process
    /// dies here, there is one.
    pub(crate) async fn hpa(
        &self,
        request: &HpaRequest,
    ) -> Result<Option<HorizontalPodAutoscaler>, WriteError> {
        let api: Api<HorizontalPodAutoscaler> = Api::namespaced(self.client.clone(), &request.key.namespace);
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        match &request.change {
            Change::Create(hpa) => {
                self.in_time(Verb::Create, RESOURCE, api.create(&params, hpa)).await.map(Some)
            }
            Change::Update(desired) => {
                for _ in 1..ATTEMPTS {
                    match self.try_update(&api, &params, request, desired).await {
                        // Its controller wrote a status in between.
                        Err(error) if error.is_conflict() => {}
                        outcome => return outcome.map(Some),
                    }
                }
                self.try_update(&api, &params, request, desired).await.map(Some)
            }
            Change::Remove(uid) => {
                let preconditions = Preconditions { uid: Some(uid.clone()), resource_version: None };
                let params =
                    DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
                match self.in_time(Verb::Delete, RESOURCE, api.delete(&request.name, &params)).await {
                    Err(error) if !error.is_absence() => Err(error),
                    _ => Ok(None),
                }
            }
        }
    }

    /// Reads it, and writes it if it is not what it should be. What others added to its metadata stays.
    async fn try_update(
        &self,
        api: &Api<HorizontalPodAutoscaler>,
        params: &PostParams,
        request: &HpaRequest,
        desired: &HorizontalPodAutoscaler,
    ) -> Result<HorizontalPodAutoscaler, WriteError> {
        let mut hpa = self.in_time(Verb::Get, RESOURCE, api.get(&request.name)).await?;
        if !is_owned(&hpa, &request.owner) {
            return Err(WriteError::Replaced);
        }
        if windlass_api::hpa::agrees(&hpa, desired) {
            return Ok(hpa);
        }
        hpa.spec.clone_from(&desired.spec);
        let labels = hpa.metadata.labels.get_or_insert_default();
        labels.extend(
            desired.metadata.labels.iter().flatten().map(|(key, value)| (key.clone(), value.clone())),
        );
        // The resourceVersion that was read makes this a compare-and-swap.
        self.in_time(Verb::Update, RESOURCE, api.replace(&request.name, params, &hpa)).await
    }
}

//! The objects of a cluster, as they are stored, and the CRD that let them in.

use std::sync::Arc;

use anyhow::Context;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use kube::core::DynamicObject;
use kube::{Api, Client, Resource};
use windlass_api::PodAutoscaler;
use windlass_api::crd::served;
use windlass_api::verify::{Found, stored};
use windlass_metrics::Catalogue;

use super::All;

/// Objects per request.
const PAGE: u32 = 500;

pub(super) async fn read(namespace: Option<&str>, catalogue: &Arc<Catalogue>) -> anyhow::Result<All> {
    let config = crate::cluster().await?;
    let url = config.cluster_url.to_string();
    let client = Client::try_from(windlass_controller::with_timeouts(config))
        .context("the cluster's configuration cannot be used")?;
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let crd = match crds.get_opt(served::NAME).await {
        Ok(Some(crd)) => served::compare(&crd)?.sentence(),
        Ok(None) => anyhow::bail!("{}", served::absent()),
        Err(kube::Error::Api(status)) if status.code == 403 => {
            Some(format!("the served CRD cannot be checked: {}", status.message))
        }
        Err(error) => return Err(error).with_context(|| format!("the cluster at {url} cannot be read")),
    };
    // As they are stored: an object that cannot be read must not keep the others from being judged.
    let resource = kube::core::ApiResource::erase::<PodAutoscaler>(&());
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(client, namespace, &resource),
        None => Api::all_with(client, &resource),
    };
    let mut found = Found::default();
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = api.list(&params).await;
        let page = page.with_context(|| format!("the {} cannot be listed", PodAutoscaler::plural(&())))?;
        for mut object in page.items {
            // Lists of one kind leave it out of their items.
            object.types = Some(kube::core::TypeMeta::resource::<PodAutoscaler>());
            found.reports.push(stored(&serde_json::to_value(&object)?, Timestamp::now(), catalogue));
        }
        match page.metadata.continue_.filter(|more| !more.is_empty()) {
            Some(more) => params = params.continue_token(&more),
            None => return Ok(All { found, crd }),
        }
    }
}

//! How the API server learns of the metrics API: a Service that leads to our address, and an `APIService`.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::Api;
use kube::api::{Patch, PatchParams};
use rustls::pki_types::CertificateDer;
use serde_json::json;
use tracing::warn;

use crate::node_agent::calls::Calls;

const NAMESPACE: &str = "kube-system";
const SERVICE: &str = "windlass-testbed-metrics";
const API_SERVICE: &str = "v1beta1.metrics.k8s.io";
/// The API server finds a new API within a second or so; a client that asks before is told that it is not available.
const FOUND_WITHIN: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(50);

/// The name by which the API server calls the server behind the Service.
pub(super) fn dns_name() -> String {
    format!("{SERVICE}.{NAMESPACE}.svc")
}

/// The authority of the certificates that the API server shows when it forwards requests, in PEM; published by it for
/// servers like ours.
pub(super) async fn front_proxy_authority(calls: &Calls) -> Option<String> {
    let api: Api<ConfigMap> = Api::namespaced(calls.client.clone(), NAMESPACE);
    let call = || api.get("extension-apiserver-authentication");
    let published = calls.persist("get the front-proxy authority", call).await.ok()?;
    published.data?.remove("requestheader-client-ca-file")
}

/// What the API server is told: where the metrics are, and by which certificate to know their server.
pub(in crate::node_agent) struct Registration {
    pub(super) address: SocketAddr,
    pub(super) certificate: CertificateDer<'static>,
}

impl Registration {
    /// Creates or updates both objects, and waits until the API server has found the API, but not for ever.
    pub(in crate::node_agent) async fn make(&self, calls: &Calls) {
        let params = PatchParams::apply("windlass-testbed").force();
        // The API server connects to whatever the name of an ExternalName says, and an address is a name as well.
        let service = Patch::Apply(json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": SERVICE, "namespace": NAMESPACE},
            "spec": {
                "type": "ExternalName",
                "externalName": self.address.ip().to_string(),
                "ports": [{"name": "https", "port": self.address.port()}],
            },
        }));
        let api: Api<Service> = Api::namespaced(calls.client.clone(), NAMESPACE);
        let call = || api.patch(SERVICE, &params, &service);
        let _ = calls.persist("register the metrics Service", call).await;

        let api_service = Patch::Apply(json!({
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": API_SERVICE},
            "spec": {
                "group": "metrics.k8s.io",
                "version": "v1beta1",
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "service": {"namespace": NAMESPACE, "name": SERVICE, "port": self.address.port()},
                "caBundle": STANDARD.encode(pem(&self.certificate)),
            },
        }));
        let api: Api<APIService> = Api::all(calls.client.clone());
        let call = || api.patch(API_SERVICE, &params, &api_service);
        let _ = calls.persist("register the metrics API", call).await;

        let begun = Instant::now();
        while !is_available(&api).await {
            if begun.elapsed() >= FOUND_WITHIN {
                warn!("the API server has not found the metrics API yet; going on without it");
                return;
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

async fn is_available(api: &Api<APIService>) -> bool {
    let Ok(found) = api.get(API_SERVICE).await else {
        return false;
    };
    let conditions = found.status.and_then(|status| status.conditions).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Available" && condition.status == "True")
}

fn pem(certificate: &CertificateDer<'_>) -> String {
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(certificate))
}

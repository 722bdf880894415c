//! Whom to trust and what to show, from the spec and from Secrets of the object's own namespace. Secrets are read one by
//! one (no list, no watch), once a minute and when a server refused what they said; nothing of them is ever logged.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use tokio_util::task::AbortOnDropHandle;
use windlass_api::{Access as Declared, SecretKey};
use windlass_scrape::{Access, Credentials, TlsOptions};

use crate::watches::CALL_TIMEOUT;

/// How often Secrets are read again: certificates and tokens are replaced long before they expire.
const READ_AGAIN: Duration = Duration::from_mins(1);
/// How soon they are at the earliest, when they were refused or cannot be read.
const PAUSE: Duration = Duration::from_secs(5);

/// How servers are spoken to that are declared so; `None`: plain http. What needs no Secret can be used at once.
/// `of_pod`: where TLS is not spoken, or nothing is found, the engine's default page is tried, as AIBrix would have.
pub(crate) fn access(declared: &Declared, of_pod: bool) -> Option<Arc<Access>> {
    if !declared.https {
        return None;
    }
    let access = Access::new(TlsOptions {
        server_name: declared.server_name.clone(),
        skip_verify: declared.skip_verify,
        plain_fallback: of_pod && !declared.strict,
    });
    if !has_secrets(declared) {
        let authorities = declared.ca_bundle.as_ref().map(|pem| pem.clone().into_bytes());
        access.provide(Ok(Credentials { authorities, token: None }));
    }
    Some(Arc::new(access))
}

fn has_secrets(declared: &Declared) -> bool {
    declared.ca_bundle_secret.is_some() || declared.token.is_some()
}

/// Keeps what comes from Secrets up to date; nothing to do if nothing does.
pub(crate) fn keep(
    access: Arc<Access>,
    declared: &Declared,
    client: Client,
    namespace: &str,
) -> Option<AbortOnDropHandle<()>> {
    if !has_secrets(declared) {
        return None;
    }
    let (declared, namespace) = (declared.clone(), namespace.to_owned());
    let task = async move {
        loop {
            let pause = match read(&declared, &client, &namespace).await {
                Ok(credentials) => {
                    access.provide(Ok(credentials));
                    READ_AGAIN
                }
                // That the API server does not answer says nothing about what was read before.
                Err(Unread::Passing(_)) if access.is_provided() => PAUSE,
                Err(Unread::Passing(problem) | Unread::Wrong(problem)) => {
                    access.provide(Err(problem));
                    PAUSE
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = access.rejected() => tokio::time::sleep(PAUSE).await,
            }
        }
    };
    Some(AbortOnDropHandle::new(tokio::spawn(task)))
}

/// Why there is nothing.
enum Unread {
    /// It may be there all the same.
    Passing(String),
    /// It is not there, may not be read, or cannot be used.
    Wrong(String),
}

async fn read(declared: &Declared, client: &Client, namespace: &str) -> Result<Credentials, Unread> {
    let authorities = match &declared.ca_bundle_secret {
        Some(key) => Some(value(client, namespace, key).await?),
        None => declared.ca_bundle.as_ref().map(|pem| pem.clone().into_bytes()),
    };
    let token = match &declared.token {
        Some(key) => {
            let bytes = value(client, namespace, key).await?;
            Some(String::from_utf8(bytes).map_err(|_| Unread::Wrong(format!("{key} is not text")))?)
        }
        None => None,
    };
    Ok(Credentials { authorities, token })
}

async fn value(client: &Client, namespace: &str, key: &SecretKey) -> Result<Vec<u8>, Unread> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let secret = match tokio::time::timeout(CALL_TIMEOUT, api.get(&key.name)).await {
        Err(_) => {
            return Err(Unread::Passing(format!("Secret {} cannot be read: no answer in time", key.name)));
        }
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => {
            return Err(Unread::Wrong(format!(
                "Secret {} does not exist in namespace {namespace}",
                key.name
            )));
        }
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
            return Err(Unread::Wrong(format!(
                "Secret {name} may not be read by this controller: add a role in namespace {namespace} with the rule \
                 {{apiGroups: [\"\"], resources: [secrets], resourceNames: [{name}], verbs: [get]}}",
                name = key.name
            )));
        }
        Ok(Err(error)) => {
            return Err(Unread::Passing(format!("Secret {} cannot be read: {error}", key.name)));
        }
        Ok(Ok(secret)) => secret,
    };
    let found = secret.data.and_then(|mut data| data.remove(&key.key));
    let absent = || Unread::Wrong(format!("Secret {} has no key {}", key.name, key.key));
    found.map(|bytes| bytes.0).ok_or_else(absent)
}

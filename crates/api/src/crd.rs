//! The CRD as it is served and as it is committed.

pub mod served;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;
use serde_json::Value;

use crate::PodAutoscaler;

const HEADER: &str = "# Generated from crates/api; do not edit. To write it anew:\n\
     # UPDATE_CRD=1 cargo test -p windlass-api --test manifests\n";

/// The CRD could not be written down; a programming error in the wire types.
#[derive(Debug, thiserror::Error)]
pub enum CrdError {
    /// The schema is no schema.
    #[error("generated schema does not fit a custom resource definition: {0}")]
    Schema(#[from] serde_json::Error),
    /// The CRD cannot be written as YAML.
    #[error("custom resource definition cannot be written as yaml: {0}")]
    Yaml(#[from] serde_saphyr::ser::Error),
}

/// The CRD.
///
/// Nothing in it is nullable: the API server drops `null` from such fields, so that a rule may take
/// `has(self.field)` for a value. (A field that is nullable may be there and be null.)
pub fn definition() -> Result<CustomResourceDefinition, CrdError> {
    let mut crd = serde_json::to_value(PodAutoscaler::crd())?;
    remove_nullable(&mut crd);
    Ok(serde_json::from_value(crd)?)
}

/// The CRD as YAML, as it is committed under `config/crd`.
pub fn yaml() -> Result<String, CrdError> {
    Ok(format!("{HEADER}{}", serde_saphyr::to_string(&definition()?)?))
}

fn remove_nullable(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if fields.get("nullable") == Some(&Value::Bool(true)) {
                fields.remove("nullable");
            }
            fields.values_mut().for_each(remove_nullable);
        }
        Value::Array(items) => items.iter_mut().for_each(remove_nullable),
        _ => {}
    }
}

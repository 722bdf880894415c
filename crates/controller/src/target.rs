//! Where a target's count stands, and which pods are its replicas: read from `/scale`, or from the object itself. Pure.

use k8s_openapi::api::autoscaling::v1 as autoscaling;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::core::{ApiResource, DynamicObject};
use serde_json::{Value, json};
use windlass_api::{Part, TargetRef};

use crate::autoscaler::{FAILED_GET_SCALE, Scale, ScaleProblem};
use crate::selector::{Selector, SelectorError};

/// Labels that AIBrix gives the pods of a StormService.
const STORM_SERVICE_NAME: &str = "storm-service-name";
pub(crate) const ROLE_NAME: &str = "role-name";
/// In a group of pods that is one replica, the one with index 0 leads: it alone serves requests and metrics.
const POD_GROUP_INDEX: &str = "stormservice.orchestration.aibrix.ai/pod-group-index";
const LEADER: &str = "0";
/// The same of a Ray cluster.
const RAY_NODE_TYPE: &str = "ray.io/node-type";
const RAY_HEAD: &str = "head";

/// Where the count of a target stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    /// In its `/scale`.
    Scale,
    /// In `spec.replicas` of the object: it has no `/scale`, or that says less than the object.
    Spec,
    /// In `spec.template.spec.roles[]` of a StormService, at this index.
    Role(usize),
}

impl Count {
    /// The field within the object, as a path of managed fields.
    fn field(self) -> &'static [&'static str] {
        match self {
            Self::Scale | Self::Spec => &["f:spec", "f:replicas"],
            // A list that is replaced as a whole has no finer owners.
            Self::Role(_) => &["f:spec", "f:template", "f:spec", "f:roles"],
        }
    }
}

/// Whether the object itself has to be read, because `/scale` does not say enough.
pub(crate) fn is_read_whole(target: &TargetRef) -> bool {
    target.is_storm_service()
}

/// What `/scale` says.
pub(crate) fn of_scale(scale: &autoscaling::Scale, target: &TargetRef, resource: &ApiResource) -> Scale {
    let selector = scale.status.as_ref().and_then(|status| status.selector.as_deref()).unwrap_or_default();
    let replicas = scale.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
    let selector = Selector::parse(selector);
    Scale {
        uid: scale.metadata.uid.clone().unwrap_or_default(),
        resource: resource.clone(),
        replicas: u32::try_from(replicas).unwrap_or(0),
        selector: if target.is_ray_cluster_fleet() {
            selector.map(|selector| selector.and(RAY_NODE_TYPE, RAY_HEAD))
        } else {
            selector
        },
        count: Count::Scale,
        set_by: None,
        pods_per_replica: 1,
    }
}

/// What the object itself says; or why it cannot be scaled.
pub(crate) fn of_object(
    object: &DynamicObject,
    target: &TargetRef,
    resource: &ApiResource,
) -> Result<Scale, ScaleProblem> {
    let spec = &object.data["spec"];
    let (count, replicas) = count(spec, target).map_err(problem)?;
    let (selector, pods_per_replica) = if target.is_storm_service() {
        (Ok(storm_service_selector(spec, target)), pods_of_a_replica(spec, &target.part))
    } else {
        (selector_of(&object.data), 1)
    };
    Ok(Scale {
        uid: object.metadata.uid.clone().unwrap_or_default(),
        resource: resource.clone(),
        replicas,
        selector,
        count,
        set_by: set_by(object.metadata.managed_fields.as_deref(), count),
        pods_per_replica,
    })
}

fn problem(message: String) -> ScaleProblem {
    ScaleProblem { reason: FAILED_GET_SCALE, message }
}

/// Where the count stands in an object's spec, and what it is; or a sentence.
pub(crate) fn count(spec: &Value, target: &TargetRef) -> Result<(Count, u32), String> {
    let number = |value: &Value| value.as_u64().and_then(|count| u32::try_from(count).ok());
    if let Part::Role(role) = &target.part {
        let at = role_at(spec, target, role)?;
        // As AIBrix reads it: no count is none.
        let replicas = number(&roles(spec)[at]["replicas"]).unwrap_or(0);
        return Ok((Count::Role(at), replicas));
    }
    if let Part::ReplicasByRole(role) = &target.part {
        role_at(spec, target, role)?;
    }
    let replicas = match &spec["replicas"] {
        // "Defaults to 1", says its API.
        Value::Null if target.is_storm_service() => Some(1),
        replicas => number(replicas),
    };
    let replicas = replicas.ok_or_else(|| {
        format!(
            "{}/{} has no /scale subresource and no count in spec.replicas; scale an object that has one, such as a \
             Deployment",
            target.kind, target.name
        )
    })?;
    Ok((Count::Spec, replicas))
}

fn roles(spec: &Value) -> &[Value] {
    spec["template"]["spec"]["roles"].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn role_at(spec: &Value, target: &TargetRef, role: &str) -> Result<usize, String> {
    let names = || roles(spec).iter().filter_map(|role| role["name"].as_str());
    roles(spec).iter().position(|one| one["name"] == role).ok_or_else(|| {
        let names: Vec<&str> = names().collect();
        let there =
            if names.is_empty() { "it has none".to_owned() } else { format!("it has {}", names.join(", ")) };
        format!(
            "{}/{} has no role \"{role}\": {there}; correct spec.subTargetSelector.roleName",
            target.kind, target.name
        )
    })
}

/// The pods that are replicas: of a role whose replicas are groups only the leaders, as AIBrix has it.
fn storm_service_selector(spec: &Value, target: &TargetRef) -> Selector {
    let all = Selector::of_labels(&[(STORM_SERVICE_NAME, &target.name)]);
    let Some(role) = target.part.role() else {
        // Roles whose replicas are single pods do not have the label.
        return all.and_or_absent(POD_GROUP_INDEX, LEADER);
    };
    let of_role = all.and(ROLE_NAME, role);
    let found = roles(spec).iter().find(|one| one["name"] == role);
    let size = found.and_then(|role| role["podGroupSize"].as_u64()).unwrap_or(1);
    if size > 1 { of_role.and(POD_GROUP_INDEX, LEADER) } else { of_role }
}

/// How many of the pods that count are one replica: a replica of a StormService is a set of roles.
fn pods_of_a_replica(spec: &Value, part: &Part) -> u32 {
    let counts = |role: &&Value| part.role().is_none_or(|name| role["name"] == name);
    let replicas = |role: &Value| role["replicas"].as_u64().unwrap_or(0);
    let pods: u64 = match part {
        Part::Role(_) => 1,
        Part::Whole | Part::ReplicasByRole(_) => roles(spec).iter().filter(counts).map(replicas).sum(),
    };
    u32::try_from(pods).unwrap_or(u32::MAX).max(1)
}

/// The string that a `/scale` would have, else the selector of the spec.
fn selector_of(object: &Value) -> Result<Selector, SelectorError> {
    match (&object["status"]["selector"], &object["spec"]["selector"]) {
        (Value::String(selector), _) | (_, Value::String(selector)) => Selector::parse(selector),
        (_, Value::Null) => Err(SelectorError::Missing),
        (_, selector) => Selector::of_object(selector),
    }
}

/// Who set the count last, as far as the managed fields say: of those who agree on it the one who wrote last.
pub(crate) fn set_by(entries: Option<&[ManagedFieldsEntry]>, count: Count) -> Option<String> {
    let sets = |entry: &&ManagedFieldsEntry| {
        let mut fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
        for step in count.field() {
            fields = fields.and_then(|fields| fields.get(step));
        }
        fields.is_some()
    };
    let last = entries?.iter().filter(sets).max_by_key(|entry| entry.time.as_ref().map(|time| time.0));
    last?.manager.clone()
}

/// The patch that sets the count of the version of the object it was read from, and of no other.
pub(crate) enum CountPatch {
    Merge(Value),
    Json(Value),
}

/// Sets only the count: a role only if it still is where it was found.
pub(crate) fn patch(object: &DynamicObject, target: &TargetRef, count: Count, to: u32) -> CountPatch {
    let version = object.metadata.resource_version.as_deref();
    match count {
        Count::Scale | Count::Spec => CountPatch::Merge(json!({
            "metadata": {"resourceVersion": version},
            "spec": {"replicas": to},
        })),
        Count::Role(at) => {
            let role = format!("/spec/template/spec/roles/{at}");
            CountPatch::Json(json!([
                {"op": "replace", "path": "/metadata/resourceVersion", "value": version},
                {"op": "test", "path": format!("{role}/name"), "value": target.part.role()},
                // Also where there was none.
                {"op": "add", "path": format!("{role}/replicas"), "value": to},
            ]))
        }
    }
}

#[cfg(test)]
mod tests;

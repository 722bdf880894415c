//! What is scaled: an object, or a part of one.

use crate::podautoscaler::PodAutoscaler;
use crate::validate::{self, SpecError, set};
use crate::warning::Warning;

/// Says what the count of a StormService's role is. Read as AIBrix reads it: `replica`, and everything else is `pool`.
pub(crate) const STORM_SERVICE_MODE: &str = "autoscaling.aibrix.ai/storm-service-mode";
const STORM_SERVICE: (&str, &str) = ("orchestration.aibrix.ai", "StormService");

/// What is scaled.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TargetRef {
    /// Group and version, for example `apps/v1`.
    pub api_version: String,
    /// For example `Deployment`.
    pub kind: String,
    /// Name in the object's namespace.
    pub name: String,
    /// Which part of it.
    pub part: Part,
}

/// Which part of an object is scaled, and by which of its pods.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Part {
    /// All of it.
    Whole,
    /// The count of one role of a StormService, by the role's pods (`pool`).
    Role(String),
    /// The count of a StormService's replicas, by the pods of one role (`replica`).
    ReplicasByRole(String),
}

impl Part {
    /// The role whose pods count, if only those of one do.
    pub fn role(&self) -> Option<&str> {
        match self {
            Self::Whole => None,
            Self::Role(role) | Self::ReplicasByRole(role) => Some(role),
        }
    }

    /// Whether both are the same pods, or some of one are the other's.
    fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Role(one), Self::Role(other)) => one == other,
            _ => true,
        }
    }
}

impl TargetRef {
    /// Reads `spec.scaleTargetRef` and `spec.subTargetSelector`.
    pub(crate) fn read(object: &PodAutoscaler, errors: &mut Vec<SpecError>) -> Self {
        let reference = &object.spec.scale_target_ref;
        let text = |field: &Option<String>| set(field.as_ref()).unwrap_or_default().to_owned();
        let mut target = Self {
            api_version: set(reference.api_version.as_ref()).unwrap_or("apps/v1").to_owned(),
            kind: text(&reference.kind),
            name: text(&reference.name),
            part: Part::Whole,
        };
        if let Some(role) = validate::role(&object.spec) {
            let role = role.to_owned();
            if !target.is_storm_service() {
                errors.push(SpecError::Spec(format!(
                    "spec.subTargetSelector.roleName: only a StormService of {} has roles (found {} of {}); remove it, \
                     or name the StormService in scaleTargetRef",
                    STORM_SERVICE.0, target.kind, target.api_version
                )));
            }
            target.part = match mode(object) {
                Some("replica") => Part::ReplicasByRole(role),
                _ => Part::Role(role),
            };
        }
        target
    }

    /// Warns about what of a role's settings does nothing.
    pub(crate) fn warn(&self, object: &PodAutoscaler, warnings: &mut Vec<Warning>) {
        let sentence = match (mode(object), &self.part) {
            (None, _) | (Some("replica" | "pool"), Part::Role(_) | Part::ReplicasByRole(_)) => return,
            (Some(_), Part::Whole) => {
                "is ignored: no role is named by subTargetSelector, spec.replicas is scaled".to_owned()
            }
            (Some(mode), _) => format!("\"{mode}\" is read as pool, as AIBrix does"),
        };
        warnings.push(Warning::new(STORM_SERVICE_MODE, sentence));
    }

    /// The API group; empty for the core group.
    pub fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }

    /// The version within the group.
    pub fn version(&self) -> &str {
        self.api_version.split_once('/').map_or(&self.api_version, |(_, version)| version)
    }

    /// Whether it is AIBrix's StormService, of any version.
    pub fn is_storm_service(&self) -> bool {
        (self.group(), self.kind.as_str()) == STORM_SERVICE
    }

    /// Whether it is AIBrix's `RayClusterFleet`, of any version.
    pub fn is_ray_cluster_fleet(&self) -> bool {
        (self.group(), self.kind.as_str()) == (STORM_SERVICE.0, "RayClusterFleet")
    }

    /// Whether both are the same object of one namespace, whichever version each names it in.
    pub fn same_object(&self, other: &Self) -> bool {
        (self.group(), &self.kind, &self.name) == (other.group(), &other.kind, &other.name)
    }

    /// Whether two autoscalers of these would write the same count, or count the same pods.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.same_object(other) && self.part.overlaps(&other.part)
    }
}

fn mode(object: &PodAutoscaler) -> Option<&str> {
    object.metadata.annotations.as_ref()?.get(STORM_SERVICE_MODE).map(String::as_str)
}

/// `Kind/name`, as column TARGET shows it; a role behind another slash.
impl std::fmt::Display for TargetRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)?;
        self.part.role().map_or(Ok(()), |role| write!(f, "/{role}"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resolve;

    fn object(kind: &str, role: Option<&str>, mode: Option<&str>) -> PodAutoscaler {
        let mut object = json!({
            "apiVersion": "autoscaling.aibrix.ai/v1alpha1",
            "kind": "PodAutoscaler",
            "metadata": {"name": "pa", "namespace": "ns", "annotations": {}},
            "spec": {
                "scaleTargetRef": {"apiVersion": "orchestration.aibrix.ai/v1alpha1", "kind": kind, "name": "pool"},
                "maxReplicas": 10, "scalingStrategy": "KPA", "targetMetric": "inflight", "targetValue": "20",
            },
        });
        if let Some(role) = role {
            object["spec"]["subTargetSelector"] = json!({"roleName": role});
        }
        if let Some(mode) = mode {
            object["metadata"]["annotations"] = json!({STORM_SERVICE_MODE: mode});
        }
        serde_json::from_value(object).unwrap()
    }

    /// The target as it is shown, its part and the warnings.
    #[track_caller]
    fn check(role: Option<&str>, mode: Option<&str>, shown: &str, part: &Part, warnings: &[&str]) {
        let resolved = resolve(&object("StormService", role, mode)).unwrap();
        assert_eq!((resolved.target.to_string().as_str(), &resolved.target.part), (shown, part));
        let found: Vec<&str> = resolved.warnings.iter().map(|warning| warning.sentence.as_str()).collect();
        assert_eq!(found, warnings);
    }

    #[test]
    fn what_is_scaled_of_a_storm_service() {
        let decode = || "decode".to_owned();
        check(None, None, "StormService/pool", &Part::Whole, &[]);
        check(Some(""), None, "StormService/pool", &Part::Whole, &[]);
        check(Some("decode"), None, "StormService/pool/decode", &Part::Role(decode()), &[]);
        check(Some("decode"), Some("pool"), "StormService/pool/decode", &Part::Role(decode()), &[]);
        let replicas = Part::ReplicasByRole(decode());
        check(Some("decode"), Some("replica"), "StormService/pool/decode", &replicas, &[]);
        let read_as_pool = "\"Replica\" is read as pool, as AIBrix does";
        check(
            Some("decode"),
            Some("Replica"),
            "StormService/pool/decode",
            &Part::Role(decode()),
            &[read_as_pool],
        );
        let ignored = "is ignored: no role is named by subTargetSelector, spec.replicas is scaled";
        check(None, Some("replica"), "StormService/pool", &Part::Whole, &[ignored]);
    }

    #[test]
    fn only_a_storm_service_has_roles() {
        let errors = resolve(&object("RayClusterFleet", Some("decode"), None)).unwrap_err();
        let expect = "spec.subTargetSelector.roleName: only a StormService of orchestration.aibrix.ai has roles \
                      (found RayClusterFleet of orchestration.aibrix.ai/v1alpha1); remove it, or name the StormService \
                      in scaleTargetRef";
        assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), [expect]);
    }

    #[test]
    fn which_targets_overlap() {
        let target = |api_version: &str, part: Part| TargetRef {
            api_version: api_version.to_owned(),
            kind: "StormService".to_owned(),
            name: "pool".to_owned(),
            part,
        };
        let role = |name: &str| Part::Role(name.to_owned());
        let by_role = |name: &str| Part::ReplicasByRole(name.to_owned());
        for (one, other, overlap) in [
            (Part::Whole, Part::Whole, true),
            (Part::Whole, role("decode"), true),
            (role("decode"), role("decode"), true),
            (role("prefill"), role("decode"), false),
            (by_role("prefill"), role("decode"), true),
            (by_role("prefill"), by_role("decode"), true),
        ] {
            let (one, other) = (target("g/v1", one), target("g/v2", other));
            assert_eq!((one.overlaps(&other), other.overlaps(&one)), (overlap, overlap), "{one} and {other}");
        }
        assert!(!target("g/v1", Part::Whole).overlaps(&target("h/v1", Part::Whole)));
    }
}

//! Whether the CRD that a cluster serves has what is read and written here: it may be AIBrix's own, of the same name.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;

use super::{CrdError, definition};

/// The CRD's name.
pub const NAME: &str = "podautoscalers.autoscaling.aibrix.ai";
const VERSION: &str = "v1alpha1";

/// What a served CRD lacks, compared with [`definition`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Served {
    /// The version is not served at all.
    pub no_version: bool,
    /// Fields that the API server drops, as `spec.targetMetric` or `spec.metricsSources[].metric`. Of a part that is
    /// missing as a whole only its root.
    pub missing: Vec<String>,
    /// Fields of the spec that nobody knows are dropped, so that they cannot be warned about.
    pub drops_unknown: bool,
    /// It has no rules in CEL: what is wrong is refused by the controller, not by the API server.
    pub no_rules: bool,
}

/// The sentence to say where there is no CRD of this name.
pub fn absent() -> String {
    format!(
        "the CRD {NAME} is not installed: there is nothing to do; kubectl apply -f config/crd, or windlass crd | kubectl apply -f -"
    )
}

/// Compares a served CRD with ours.
pub fn compare(served: &CustomResourceDefinition) -> Result<Served, CrdError> {
    let (ours, served) = (serde_json::to_value(definition()?)?, serde_json::to_value(served)?);
    let version = |crd: &Value| {
        let versions = crd.pointer("/spec/versions").and_then(Value::as_array);
        let mut named = versions.into_iter().flatten().filter(|version| version["name"] == VERSION);
        named
            .find(|version| version["served"] == true)
            .map(|version| version["schema"]["openAPIV3Schema"].clone())
    };
    let (Some(ours), Some(theirs)) = (version(&ours), version(&served)) else {
        return Ok(Served { no_version: true, ..Served::default() });
    };
    let mut missing = Vec::new();
    for part in ["spec", "status"] {
        lacking(part, &ours["properties"][part], &theirs["properties"][part], &mut missing);
    }
    Ok(Served {
        no_version: false,
        missing,
        drops_unknown: !preserves(&theirs["properties"]["spec"]),
        no_rules: !theirs.to_string().contains("x-kubernetes-validations"),
    })
}

fn preserves(schema: &Value) -> bool {
    schema["x-kubernetes-preserve-unknown-fields"] == true
}

fn lacking(path: &str, ours: &Value, theirs: &Value, missing: &mut Vec<String>) {
    if theirs.is_null() {
        missing.push(path.to_owned());
        return;
    }
    let fields = ours["properties"].as_object();
    for (name, ours) in fields.into_iter().flatten() {
        let theirs_of = &theirs["properties"][name];
        if !(theirs_of.is_null() && preserves(theirs)) {
            lacking(&format!("{path}.{name}"), ours, theirs_of, missing);
        }
    }
    if !ours["items"].is_null() {
        lacking(&format!("{path}[]"), &ours["items"], &theirs["items"], missing);
    }
}

impl Served {
    /// What follows for those whose objects these are; none: it is as good as ours.
    pub fn sentence(&self) -> Option<String> {
        if self.no_version {
            return Some(format!(
                "the served CRD {NAME} has no version {VERSION}: no object can be read; serve the CRD of windlass crd"
            ));
        }
        if self.missing.is_empty() && !self.drops_unknown && !self.no_rules {
            return None;
        }
        let mut what = Vec::new();
        if !self.missing.is_empty() {
            what.push(format!("the API server drops {}", self.missing.join(", ")));
        }
        if self.drops_unknown {
            what.push("it drops unknown fields before they can be named".to_owned());
        }
        if self.no_rules {
            what.push("what is invalid is told in a condition and not refused".to_owned());
        }
        Some(format!(
            "the served CRD {NAME} is not Windlass' own: {}; to have all of it, serve the CRD of windlass crd",
            what.join("; ")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(change: impl FnOnce(&mut Value)) -> Served {
        let mut crd = serde_json::to_value(definition().unwrap()).unwrap();
        change(&mut crd);
        compare(&serde_json::from_value(crd).unwrap()).unwrap()
    }

    fn schema<'a>(crd: &'a mut Value, pointer: &str) -> &'a mut serde_json::Map<String, Value> {
        let root = "/spec/versions/0/schema/openAPIV3Schema/properties";
        crd.pointer_mut(&format!("{root}{pointer}")).unwrap().as_object_mut().unwrap()
    }

    #[test]
    fn ours_lacks_nothing() {
        let served = changed(|_| {});
        assert_eq!((served.sentence(), served), (None, Served::default()));
    }

    #[test]
    fn missing_fields_are_named_and_what_is_preserved_is_not_missing() {
        let without = |preserves: bool| {
            changed(|crd| {
                schema(crd, "/spec/properties").remove("targetMetric");
                schema(crd, "/spec/properties/metricsSources/items/properties").remove("metric");
                schema(crd, "/status/properties").remove("capacity");
                schema(crd, "/spec")
                    .insert("x-kubernetes-preserve-unknown-fields".to_owned(), preserves.into());
            })
        };
        assert_eq!(without(true).missing, ["status.capacity"]);
        let served = without(false);
        assert_eq!(served.missing, ["spec.targetMetric", "status.capacity"]);
        assert!(served.drops_unknown && !served.no_rules);
        let sentence = served.sentence().unwrap();
        assert!(
            sentence.contains("drops spec.targetMetric, status.capacity; it drops unknown fields"),
            "{sentence}"
        );
    }

    #[test]
    fn another_version_is_said() {
        let served = changed(|crd| crd["spec"]["versions"][0]["name"] = "v2".into());
        assert!(served.no_version && served.sentence().unwrap().contains("no version v1alpha1"));
    }
}

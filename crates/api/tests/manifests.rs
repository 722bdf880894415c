//! The committed manifests, and the objects that must be let in or refused.
//!
//! The same fixtures are applied to a real API server by the end-to-end tests; here they meet `resolve`, which must
//! refuse what the API server refuses, because the served CRD may be another one.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::path::{Path, PathBuf};

use windlass_api::{PodAutoscaler, SpecError, crd, resolve};

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// Name and text of every file of a folder, which must not be empty.
fn files(folder: &Path) -> Vec<(String, String)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.display().to_string(), fs::read_to_string(&path).unwrap()))
        .collect();
    assert!(!files.is_empty(), "{}", folder.display());
    files.sort_unstable();
    files
}

/// What is wrong with an object, as one text.
fn refusal(yaml: &str) -> Option<String> {
    let object: PodAutoscaler = match serde_saphyr::from_str(yaml) {
        Ok(object) => object,
        Err(error) => return Some(error.to_string()),
    };
    let errors = resolve(&object).err()?;
    let errors = errors.iter().filter(|error| !matches!(error, SpecError::Unsupported(_)));
    let sentences: Vec<String> = errors.map(ToString::to_string).collect();
    (!sentences.is_empty()).then(|| sentences.join("\n"))
}

#[test]
fn the_committed_crd_is_the_generated_one() {
    let path = repository("config/crd/autoscaling.aibrix.ai_podautoscalers.yaml");
    let generated = crd::yaml().unwrap();
    if std::env::var_os("UPDATE_CRD").is_some() {
        fs::write(&path, &generated).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == generated, "{} is not what its first lines say", path.display());
}

#[test]
fn the_crd_keeps_what_it_does_not_know_and_defaults_nothing() {
    let crd = serde_json::to_value(crd::definition().unwrap()).unwrap();
    let version = &crd["spec"]["versions"][0];
    let spec = &version["schema"]["openAPIV3Schema"]["properties"]["spec"];
    assert_eq!(spec["x-kubernetes-preserve-unknown-fields"], true);
    let sources = &spec["properties"]["metricsSources"];
    assert_eq!(sources["items"]["x-kubernetes-preserve-unknown-fields"], true);
    assert_eq!(sources["maxItems"], windlass_scaling::MAX_SIGNALS);
    let text = crd.to_string();
    assert!(!text.contains("\"default\""), "a default would outrank annotations");
    assert!(!text.contains("\"nullable\""), "a null would be taken for a value");
    let columns: Vec<&str> = version["additionalPrinterColumns"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| column["name"].as_str().unwrap())
        .collect();
    assert_eq!(columns, ["MINPODS", "MAXPODS", "REPLICAS", "STRATEGY", "AGE", "TARGET", "READY"]);
}

#[test]
fn the_samples_resolve_without_a_warning() {
    // The web server is no PodAutoscaler, and who scales it is strategy HPA.
    let of_ours =
        |(name, _): &(String, String)| !name.contains("demo_nginx") && !name.contains("_podautoscaler");
    for (name, yaml) in files(&repository("config/samples")).into_iter().filter(of_ours) {
        let object: PodAutoscaler = serde_saphyr::from_str(&yaml).unwrap();
        let resolved = resolve(&object).unwrap();
        let (target, value) = if name.contains("mock_llama") || name.contains("schedules") {
            ("Deployment/llama2-70b", 20.0)
        } else {
            ("Deployment/llama-7b", 16.0)
        };
        assert_eq!(resolved.target.to_string(), target, "{name}");
        assert_eq!(resolved.policy.signals[0].target, value, "{name}");
        assert_eq!(resolved.warnings, [], "{name}");
    }
}

#[test]
fn valid_objects_are_let_in() {
    for (name, yaml) in files(&repository("crates/api/tests/fixtures/valid")) {
        assert_eq!(refusal(&yaml), None, "{name}");
    }
}

#[test]
fn invalid_objects_are_refused_with_the_same_sentence_as_by_the_api_server() {
    for (name, yaml) in files(&repository("crates/api/tests/fixtures/invalid")) {
        let expected = yaml.lines().next().unwrap().strip_prefix("# expect: ").unwrap();
        if yaml.contains("# said by the API server only") {
            continue;
        }
        let refusal = refusal(&yaml).unwrap_or_default();
        assert!(refusal.contains(expected), "{name}: {refusal:?} lacks {expected:?}");
    }
}

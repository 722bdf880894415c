//! `windlass verify` on files, directories, standard input and a cluster.

use std::process::Command;

use serde_json::Value;

use crate::fixture::{Namespace, autoscaler, root, run, windlass};

/// Runs it in the root of the repository; gives the exit code and what it printed.
fn verify(arguments: &[&str], input: &str) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_windlass"));
    command.arg("verify").args(arguments);
    let (code, printed, _) = run(command, input);
    (code.unwrap(), printed)
}

#[test]
fn the_samples_are_accepted_and_told_in_full() {
    let (code, table) = verify(&["-f", "config/samples/autoscaling_v1alpha1_mock_llama.yaml"], "");
    for line in [
        "ACCEPTED    default/podautoscaler-example-mock-llama  (config/samples/autoscaling_v1alpha1_mock_llama.yaml:2)",
        "  dialect: AIBrix v0.1 (spec.targetMetric, spec.targetValue)",
        "  scales: Deployment/llama2-70b by KPA",
        "spec.maxReplicas",
        "  - AIBrix v0.1 to v0.4: down window: its default is 30m",
        "1 PodAutoscaler: 1 accepted, 0 refused; 0 other objects passed over, 0 parts unreadable",
    ] {
        assert!(table.contains(line), "{line:?} is not in\n{table}");
    }
    assert_eq!(code, 0);
    // A folder of other kinds, and a file.
    let sample = "config/samples/autoscaling_v1alpha1_engine_kpa.yaml";
    let (code, json) = verify(&["-f", sample, "-f", "config/manager", "-o", "json"], "");
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(code, 0, "{json:#}");
    assert_eq!(json["podAutoscalers"].as_array().unwrap().len(), 1);
    assert_eq!((&json["otherObjects"], &json["unreadable"]), (&Value::from(1), &Value::from([(); 0])));
    // What this version cannot do yet is refused, too, and for no other reason.
    let (_, json) = verify(&["-f", "config/samples", "-o", "json"], "");
    let json: Value = serde_json::from_str(&json).unwrap();
    let samples = json["podAutoscalers"].as_array().unwrap();
    assert!(samples.len() >= 5, "{json:#}");
    assert!(samples.iter().all(|sample| errors(sample).iter().all(unsupported)), "{json:#}");
}

fn errors(report: &Value) -> &[Value] {
    report["errors"].as_array().unwrap()
}

fn unsupported(error: &Value) -> bool {
    error["reason"] == "Unsupported"
}

#[test]
fn mistakes_are_refused_and_others_go_on() {
    let (code, json) = verify(&["-f", "crates/api/tests/fixtures", "-o", "json"], "");
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(code, 1);
    for report in json["podAutoscalers"].as_array().unwrap() {
        let origin = report["origin"].as_str().unwrap();
        let valid = origin.contains("/valid/");
        assert_eq!(errors(report).iter().all(unsupported), valid, "{report:#}");
    }
    let text = "apiVersion: [\n---\nkind: PodAutoscaler\napiVersion: autoscaling.aibrix.ai/v1alpha1\n";
    let (code, table) = verify(
        &["-f", "-", "-f", "no-such-file", "-f", "config/samples/autoscaling_v1alpha1_engine_kpa.yaml"],
        text,
    );
    assert_eq!(code, 1);
    for line in [
        "UNREADABLE  standard input:1: not YAML: ",
        "UNREADABLE  no-such-file: cannot be read: No such file or directory",
        "REFUSED       (standard input:3)",
        "  - metadata.name: is missing; name the object [InvalidSpec]",
        "2 PodAutoscalers: 1 accepted, 1 refused; 0 other objects passed over, 2 parts unreadable",
    ] {
        assert!(table.contains(line), "{line:?} is not in\n{table}");
    }
    assert_eq!(verify(&["-f", "config/rbac"], "").0, 2, "nothing to judge");
    assert_eq!(verify(&["-f", "-"], "").0, 1, "an empty file is unreadable");
    assert_eq!(verify(&["-f", "no-such-file"], "").0, 1, "and so is one that is not there");
    assert_eq!(verify(&[], "").0, 2, "no file is named");
}

#[tokio::test]
async fn a_cluster_is_judged_and_its_crd() {
    let namespace = Namespace::new("verify").await;
    namespace.apply(&autoscaler("pa", "Deployment/engine", "KPA", (1, 10))).await;
    // What CEL cannot say is in the cluster.
    let text =
        std::fs::read_to_string(root().join("crates/api/tests/fixtures/refused/schedule-timezone.yaml"));
    namespace.apply(&text.unwrap()).await;
    let output = windlass(&["verify", "--cluster", "--namespace", "verify", "-o", "json"]).await;
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["servedCrd"], Value::Null, "{json:#}");
    let accepted: Vec<_> = json["podAutoscalers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["name"].as_str().unwrap(), one["accepted"].as_bool().unwrap()))
        .collect();
    assert_eq!(accepted, [("pa", true), ("schedule-timezone", false)], "{json:#}");
}

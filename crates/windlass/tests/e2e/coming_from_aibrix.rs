//! A cluster with AIBrix's CRD, on a control plane of its own: Windlass beside AIBrix, then instead of it, then with its
//! own CRD. The steps are those of `docs/migrate.md`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use windlass_testbed::node_agent::{self, NodeAgent};
use windlass_testbed::plane::{self, Plane};
use windlass_testbed::{ControllerProcess, audit};

use crate::fixture::{autoscaler, deployment, root, run};

const WITHIN: Duration = Duration::from_mins(1);

fn kubectl(plane: &Plane, arguments: &[&str], input: &str) -> String {
    let mut command = plane.kubectl_command();
    command.args(arguments);
    let (code, out, error) = run(command, input);
    assert_eq!(code, Some(0), "kubectl {arguments:?}: {error}");
    out
}

fn verify(plane: &Plane, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_windlass"));
    command.args(["verify", "--cluster"]).args(arguments).env("KUBECONFIG", plane.kubeconfig());
    let (code, out, error) = run(command, "");
    (code, out + &error)
}

fn controller(plane: &Plane, name: &str, more: &[&str]) -> ControllerProcess {
    let mut arguments =
        vec!["--admin-address", "127.0.0.1:0", "--lease-namespace", "default", "--identity", name];
    arguments.extend(more);
    let program = PathBuf::from(env!("CARGO_BIN_EXE_windlass"));
    ControllerProcess::start(&program, plane, name, &arguments).unwrap()
}

/// Waits until `look` finds something; says what it saw last if it never does.
async fn awaited<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let begun = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(last) => assert!(begun.elapsed() < WITHIN, "{what}: {last}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn logged(log: &Path, text: &str) -> String {
    awaited(text, || {
        let all = std::fs::read_to_string(log).unwrap();
        let line = all.lines().find(|line| line.contains(text)).map(str::to_owned);
        line.ok_or(all)
    })
    .await
}

async fn replicas(plane: &Plane, wanted: i64) {
    awaited("replicas", || {
        let found = kubectl(plane, &["get", "deployment", "engine", "-o", "json"], "");
        let found: Value = serde_json::from_str(&found).unwrap();
        let ready = &found["status"]["readyReplicas"];
        if found["spec"]["replicas"] == wanted && *ready == wanted { Ok(()) } else { Err(ready.to_string()) }
    })
    .await;
}

fn writes_of(plane: &Plane, identity: &str) -> Vec<audit::Write> {
    let named = format!("({identity})");
    let ours = |write: &audit::Write| {
        write.is_by("windlass/") && (identity.is_empty() || write.user_agent.contains(&named))
    };
    audit::read(&plane.audit_log()).unwrap().into_iter().filter(ours).collect()
}

#[tokio::test]
async fn beside_aibrix_nothing_is_written_and_then_it_is_handed_over() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let binary = tokio::task::spawn_blocking(|| plane::build(&mut |line| eprintln!("control plane: {line}")));
    let name = format!("e2e-aibrix-{}", std::process::id());
    let options = plane::Options::new(name, binary.await.unwrap().unwrap());
    let plane = plane::up(&options).await.unwrap();
    let nodes = node_agent::Options { network: plane.network(), nodes: 2, ..Default::default() };
    let agent = NodeAgent::start(plane.client().unwrap(), nodes).await.unwrap();

    // No CRD at all.
    let mut nowhere = controller(&plane, "nowhere", &["--recommend-only"]);
    logged(nowhere.log(), "is not installed: there is nothing to do").await;
    nowhere.terminate().await.unwrap();
    let (code, said) = verify(&plane, &[]);
    assert!(code == Some(2) && said.contains("is not installed"), "{code:?} {said}");

    // AIBrix's, and an object in its shape.
    let crd = root().join("crates/windlass/tests/e2e/aibrix_crd.yaml");
    kubectl(&plane, &["apply", "-f", crd.to_str().unwrap()], "");
    let established = ["wait", "--for=condition=Established", "crd/podautoscalers.autoscaling.aibrix.ai"];
    kubectl(&plane, &established, "");
    kubectl(&plane, &["apply", "-f", "-"], &deployment("engine", "engine", 3, &[]));
    replicas(&plane, 3).await;
    kubectl(&plane, &["apply", "-f", "-"], &autoscaler("pa", "Deployment/engine", "KPA", (1, 10)));

    let (code, said) = verify(&plane, &[]);
    assert_eq!(code, Some(0), "{said}");
    for part in ["spec.targetMetric", "spec.targetValue", "drops unknown fields", "ACCEPTED    default/pa"] {
        assert!(said.contains(part), "{part} is not in {said}");
    }

    // Beside AIBrix: it recommends, names what is missing, and writes nothing.
    let mut beside = controller(&plane, "beside", &["--recommend-only"]);
    let line = logged(beside.log(), "the served CRD differs").await;
    for part in ["spec.targetMetric", "spec.predictive", "status.capacity", "status.decision"] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    logged(beside.log(), "would_be=5").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(writes_of(&plane, ""), [], "nothing is written");
    let object = kubectl(&plane, &["get", "podautoscaler", "pa", "-o", "json"], "");
    assert_eq!(serde_json::from_str::<Value>(&object).unwrap()["status"], Value::Null);
    beside.terminate().await.unwrap();
    assert_eq!(writes_of(&plane, ""), [], "not at the end either");

    // Instead of AIBrix, with its CRD: the fields that it has are filled.
    let mut instead = controller(&plane, "instead", &[]);
    replicas(&plane, 5).await;
    let status = awaited("status", || {
        let object = kubectl(&plane, &["get", "podautoscaler", "pa", "-o", "json"], "");
        let status = serde_json::from_str::<Value>(&object).unwrap()["status"].clone();
        if status["actualScale"] == 5 { Ok(status) } else { Err(status.to_string()) }
    })
    .await;
    assert_eq!((&status["desiredScale"], &status["capacity"]), (&Value::from(5), &Value::Null));
    assert!(writes_of(&plane, "instead").iter().all(|write| write.code() < 400 || write.code() == 409));

    // Its own CRD over AIBrix's: the objects stay, nothing is missing any more, and that is noticed.
    kubectl(&plane, &["apply", "-f", "config/crd"], "");
    kubectl(&plane, &established, "");
    let (code, said) = verify(&plane, &["-o", "json"]);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &said["servedCrd"]), (Some(0), &Value::Null), "{said:#}");
    instead.terminate().await.unwrap();

    // And back.
    kubectl(&plane, &["apply", "-f", crd.to_str().unwrap()], "");
    let (code, said) = verify(&plane, &[]);
    assert!(code == Some(0) && said.contains("spec.targetMetric"), "{said}");
    agent.stop().await;
    plane.shutdown().await.unwrap();
}

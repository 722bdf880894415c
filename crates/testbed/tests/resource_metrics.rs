//! Web servers under load, their CPU in `metrics.k8s.io`, and the real HPA controller that scales by it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use windlass_testbed::node_agent::{NodeAgent, Options};
use windlass_testbed::plane::{self, Plane};

/// A safety net, never an expectation.
const PATIENCE: Duration = Duration::from_mins(2);
/// The walk-through's command, word for word.
const LOOP: &str = "while true; do wget -q -O- http://nginx-service.default.svc.cluster.local; done";

async fn eventually<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Runs kubectl, on a thread that may block; gives what it printed.
async fn kubectl(plane: &Plane, arguments: &[&str], input: &str) -> String {
    let (mut command, input) = (plane.kubectl_command(), input.to_owned());
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let run = move || {
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    assert_eq!(said, "", "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

async fn get(plane: &Plane, path: &str) -> Value {
    serde_json::from_str(&kubectl(plane, &["get", "--raw", path], "").await).unwrap()
}

/// The fields of the line that begins with `name`.
fn line<'a>(table: &'a str, name: &str) -> Option<Vec<&'a str>> {
    table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).find(|words| words[0] == name)
}

/// The ready nginx pods, by the Deployment's own word.
async fn ready(plane: &Plane) -> u64 {
    let deployment = get(plane, "/apis/apps/v1/namespaces/default/deployments/nginx-deployment").await;
    deployment["status"]["readyReplicas"].as_u64().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_hpa_scales_by_the_work_of_web_servers() {
    let binary = plane::build(&mut |line| eprintln!("{line}")).unwrap();
    let name = format!("test-metrics-{}", std::process::id());
    let plane = plane::up(&plane::Options::new(name, binary)).await.unwrap();
    let options = Options { network: plane.network(), ..Options::default() };
    let agent = NodeAgent::start(plane.client().unwrap(), options).await.unwrap();

    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/samples");
    let nginx = samples.join("autoscaling_v1alpha1_demo_nginx.yaml");
    kubectl(&plane, &["apply", "-f", nginx.to_str().unwrap()], "").await;
    kubectl(&plane, &["apply", "-f", "-"], &hpa().to_string()).await;
    kubectl(&plane, &["apply", "-f", "-"], &engine().to_string()).await;
    a_young_pod_has_no_metrics(&plane).await;
    what_is_not_played_is_in_error(&plane).await;
    eventually("an idle nginx", async || {
        let table = kubectl(&plane, &["get", "hpa"], "").await;
        line(&table, "nginx").filter(|words| words.contains(&"0%/10%")).map(drop)
    })
    .await;
    assert_eq!(ready(&plane).await, 1);

    let run = ["run", "load-generator", "--image=busybox", "--", "/bin/sh", "-c", LOOP];
    assert_eq!(kubectl(&plane, &run, "").await, "pod/load-generator created\n");
    eventually("three ready nginx pods", async || (ready(&plane).await >= 3).then_some(())).await;
    let pods = kubectl(&plane, &["get", "pods", "--all-namespaces"], "").await;
    assert!(pods.lines().any(|line| line.contains("load-generator") && line.contains("Running")), "{pods}");
    usage_is_reported(&plane).await;
    the_api_is_for_the_api_server_only(&plane).await;

    agent.stop().await;
    plane.shutdown().await.unwrap();
}

fn hpa() -> Value {
    json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "nginx", "namespace": "default"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "nginx-deployment"},
            "minReplicas": 1,
            "maxReplicas": 10,
            "metrics": [{
                "type": "Resource",
                "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 10}},
            }],
        },
    })
}

/// An engine whose usage is scripted, and one whose usage is not.
fn engine() -> Value {
    let pod = |name: &str, annotations: Value| {
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "default", "annotations": annotations},
            "spec": {"containers": [{"name": "engine", "image": "aibrix/vllm-mock:nightly"}]},
        })
    };
    let scripted = json!({"testbed.windlass.dev/cpu": "1300m", "testbed.windlass.dev/memory": "3Gi"});
    json!({"apiVersion": "v1", "kind": "List", "items": [pod("scripted", scripted), pod("engine", json!({}))]})
}

async fn a_young_pod_has_no_metrics(plane: &Plane) {
    eventually("a ready nginx", async || (ready(plane).await == 1).then_some(())).await;
    let metrics = get(plane, "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods").await;
    assert_eq!(metrics["items"], json!([]), "no pod has been there for 10 s");
}

/// A shell command of a pod is never run.
async fn what_is_not_played_is_in_error(plane: &Plane) {
    let marker = std::env::temp_dir().join(format!("windlass-must-not-exist-{}", std::process::id()));
    let touch = format!("touch {}; sleep 3600", marker.display());
    for (name, image, restart) in [
        ("always", "busybox", "Always"),
        ("never", "busybox", "Never"),
        ("unknown", "example/app:1", "Always"),
    ] {
        let (image, restart) = (format!("--image={image}"), format!("--restart={restart}"));
        kubectl(plane, &["run", name, &image, &restart, "--", "/bin/sh", "-c", &touch], "").await;
    }
    for (name, phase, part) in [
        ("always", "Running", "of busybox it plays only"),
        ("never", "Failed", "of busybox it plays only"),
        ("unknown", "Running", r#"does not play the image "example/app:1""#),
    ] {
        eventually("a pod in error", async || {
            let table = kubectl(plane, &["get", "pods"], "").await;
            line(&table, name).filter(|words| words[1..3] == ["0/1", "Error"]).map(drop)
        })
        .await;
        let pod = get(plane, &format!("/api/v1/namespaces/default/pods/{name}")).await;
        assert_eq!(pod["status"]["phase"], phase, "{name}");
        let ended = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
        assert_eq!(ended["exitCode"], 127, "{name}");
        assert!(ended["message"].as_str().unwrap().contains(part), "{ended}");
    }
    assert!(!marker.exists());
}

async fn usage_is_reported(plane: &Plane) {
    let top = eventually("a window of every pod", async || {
        let top = kubectl(plane, &["top", "pods", "--no-headers"], "").await;
        (top.contains("load-generator") && top.matches("nginx-").count() >= 3).then_some(top)
    })
    .await;
    let cores = |name: &str| {
        let words = top.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let millicores = words
            .filter(|words| words[0].starts_with(name))
            .map(|words| words[1].trim_end_matches('m').parse::<u32>().unwrap());
        millicores.sum::<u32>()
    };
    assert!((20..=60).contains(&cores("nginx-")), "at most 200 requests a second of 0.28 ms\n{top}");
    assert!((70..=201).contains(&cores("load-generator")), "{top}");
    assert_eq!((cores("scripted"), cores("engine")), (1300, 1100), "{top}");
    assert_eq!(line(&top, "scripted").unwrap()[2], "3072Mi");
    assert_eq!(line(&top, "always"), None, "what has ended uses nothing\n{top}");
    let nodes = kubectl(plane, &["top", "nodes", "--no-headers"], "").await;
    assert_eq!(nodes.lines().count(), 4, "{nodes}");
    let selected =
        get(plane, "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods?labelSelector=app%3Dnginx").await;
    for pod in selected["items"].as_array().unwrap() {
        assert_eq!(pod["metadata"]["labels"]["app"], "nginx");
        let window = pod["window"].as_str().unwrap().trim_end_matches('s').parse::<f64>().unwrap();
        assert!((9.0..20.0).contains(&window), "{pod}");
    }
}

async fn the_api_is_for_the_api_server_only(plane: &Plane) {
    let service = get(plane, "/api/v1/namespaces/kube-system/services/windlass-testbed-metrics").await;
    let address = format!(
        "{}:{}",
        service["spec"]["externalName"].as_str().unwrap(),
        service["spec"]["ports"][0]["port"]
    );
    let mut config = kube::Config::new(format!("https://{address}").parse().unwrap());
    config.accept_invalid_certs = true;
    let request = http::Request::get("/apis/metrics.k8s.io/v1beta1/pods").body(Vec::new()).unwrap();
    let client = kube::Client::try_from(config).unwrap();
    let refused = client.request_text(request).await;
    assert!(refused.is_err(), "answered without a certificate of the front proxy: {refused:?}");
}

//! The shared control plane, and what tests do with it.

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{LazyLock, mpsc};
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, Client};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use windlass_testbed::node_agent::{self, NodeAgent};
use windlass_testbed::{ReplicaHistory, audit, plane};

/// A condition that is awaited for longer has failed.
const WITHIN: Duration = Duration::from_mins(1);

/// The plane's own: `--horizontal-pod-autoscaler-sync-period` of its controller manager.
pub(crate) const HPA_SYNC_PERIOD: Duration = Duration::from_secs(5);

/// What all tests of a run share. It lives until the process ends; then the control plane ends by itself.
struct Testbed {
    kubeconfig: PathBuf,
    kubectl: PathBuf,
    /// Where the shared controller tells of itself.
    admin: String,
    audit_log: PathBuf,
}

static TESTBED: LazyLock<Testbed> = LazyLock::new(|| {
    let (sender, ready) = mpsc::channel();
    std::thread::spawn(move || {
        let _ = rustls::crypto::ring::default_provider().install_default();
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let binary = plane::build(&mut |line| eprintln!("control plane: {line}")).unwrap();
            let options = plane::Options::new(format!("e2e-{}", std::process::id()), binary);
            let plane = plane::up(&options).await.unwrap();
            let nodes = node_agent::Options { network: plane.network(), nodes: 10, ..Default::default() };
            let _agent = NodeAgent::start(plane.client().unwrap(), nodes).await.unwrap();
            let crd = root().join("config/crd");
            assert!(plane.kubectl_command().args(["apply", "-f"]).arg(crd).status().unwrap().success());
            // Before the controller looks for them.
            let kinds = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/crds");
            assert!(plane.kubectl_command().args(["apply", "-f"]).arg(kinds).status().unwrap().success());
            let crd = ["wait", "--for=condition=Established", "crd/podautoscalers.autoscaling.aibrix.ai"];
            assert!(plane.kubectl_command().args(crd).status().unwrap().success());
            let admin = format!("127.{}.0.2:8080", plane.network());
            let mut controller = Command::new(env!("CARGO_BIN_EXE_windlass"))
                .args(["controller", "--exit-with-stdin", "--leader-elect=false"])
                .args(["--admin-address", &admin])
                .args(["--selector", &format!("!{OWN_CONTROLLERS}")])
                .args(["--hpa-sync-period", &format!("{}s", HPA_SYNC_PERIOD.as_secs())])
                .env("KUBECONFIG", plane.kubeconfig())
                .stdin(Stdio::piped())
                .spawn()
                .unwrap();
            let (kubeconfig, kubectl, audit_log) = (plane.kubeconfig(), plane.kubectl(), plane.audit_log());
            let testbed = Testbed { kubeconfig, kubectl, admin, audit_log };
            sender.send(testbed).unwrap();
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                assert!(controller.try_wait().unwrap().is_none(), "the controller ended");
            }
        });
    });
    ready.recv().expect("the testbed comes up")
});

/// What the shared controller answers to a GET: the status and the body.
pub(crate) async fn get(path: &str) -> (u16, String) {
    let admin = tokio::task::spawn_blocking(|| TESTBED.admin.clone()).await.unwrap();
    let mut stream = loop {
        match tokio::net::TcpStream::connect(&admin).await {
            Ok(stream) => break stream,
            // It was started with the control plane and may not listen yet; a test that hangs is ended by its runner.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    let request = format!("GET {path} HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

/// Runs the binary on the testbed; gives what it printed.
pub(crate) async fn windlass(arguments: &[&str]) -> Output {
    let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    let run = move || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_windlass"));
        command.args(arguments).env("KUBECONFIG", &TESTBED.kubeconfig).output().unwrap()
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

/// Where the testbed's kubeconfig and audit log are.
pub(crate) async fn testbed_files() -> (PathBuf, PathBuf) {
    let files = || (TESTBED.kubeconfig.clone(), TESTBED.audit_log.clone());
    tokio::task::spawn_blocking(files).await.unwrap()
}

/// The label of a `PodAutoscaler` that is not the shared controller's.
pub(crate) const OWN_CONTROLLERS: &str = "controllers";

/// A controller of one test's own, for the `PodAutoscaler`s that say so in their label. It is killed when dropped.
pub(crate) struct Controller {
    child: Child,
}

impl Controller {
    /// In the election `group`, whose spans are short.
    pub(crate) fn start(group: &str, identity: &str) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_windlass"))
            .args(["controller", "--exit-with-stdin", "--lease-name", group, "--identity", identity])
            .args(["--selector", &format!("{OWN_CONTROLLERS}={group}"), "--admin-address", "127.0.0.1:0"])
            .args(["--lease-duration=3s", "--renew-deadline=2s", "--retry-period=500ms"])
            .env("KUBECONFIG", &TESTBED.kubeconfig)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child }
    }

    /// One that writes nothing, whatever it is told about elections. What it logs is read.
    pub(crate) fn recommending(group: &str) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_windlass"))
            .args(["controller", "--exit-with-stdin", "--recommend-only", "--lease-name", group])
            .args(["--selector", &format!("{OWN_CONTROLLERS}={group}"), "--admin-address", "127.0.0.1:0"])
            .env("KUBECONFIG", &TESTBED.kubeconfig)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child }
    }

    /// Waits for a line of the log of one that is recommending.
    pub(crate) async fn logged(&mut self, text: &str) -> String {
        let stderr = self.child.stderr.take().unwrap();
        let text = text.to_owned();
        let find = move || {
            let mut lines = std::io::BufReader::new(stderr).lines().map_while(Result::ok);
            let found = lines.find(|line| line.contains(&text));
            // Whoever writes to a pipe that nobody reads is ended or stands still.
            std::thread::spawn(move || lines.for_each(drop));
            found
        };
        let found = tokio::time::timeout(WITHIN, tokio::task::spawn_blocking(find)).await;
        found.expect("it is logged in time").unwrap().expect("it is logged")
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Closes its standard input.
    pub(crate) fn end_input(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Sends a signal by name, as kill(1) has them.
    pub(crate) fn signal(&self, name: &str) {
        let kill = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(kill.unwrap().success());
    }

    /// Its exit status, when it has ended.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let begun = Instant::now();
        while begun.elapsed() < WITHIN {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("a controller does not end");
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A test's own namespace.
pub(crate) struct Namespace {
    pub(crate) name: String,
    client: Client,
}

impl Namespace {
    /// A new namespace; `default` is used as it is.
    pub(crate) async fn new(name: &str) -> Self {
        let kubeconfig = tokio::task::spawn_blocking(|| TESTBED.kubeconfig.clone()).await.unwrap();
        let client = Client::try_from(plane::client_config(&kubeconfig).await.unwrap()).unwrap();
        let namespace = Self { name: name.to_owned(), client };
        if name != "default" {
            namespace.kubectl(&["create", "namespace", name]).await;
        }
        namespace
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// Runs kubectl in this namespace; gives what it printed.
    pub(crate) async fn try_kubectl(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = Command::new(&TESTBED.kubectl);
        command.env("KUBECONFIG", &TESTBED.kubeconfig).args(["--namespace", &self.name]).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let input = input.to_owned();
        let run = move || {
            let mut child = command.spawn().unwrap();
            child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
            child.wait_with_output().unwrap()
        };
        tokio::task::spawn_blocking(run).await.unwrap()
    }

    pub(crate) async fn kubectl(&self, arguments: &[&str]) -> String {
        let output = self.try_kubectl(arguments, "").await;
        assert!(
            output.status.success(),
            "kubectl {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Applies manifests.
    pub(crate) async fn apply(&self, yaml: &str) {
        let output = self.try_kubectl(&["apply", "-f", "-"], yaml).await;
        assert!(output.status.success(), "{yaml}\n{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Sets a testbed annotation of the Deployment `engine`, or removes it (`-`).
    pub(crate) async fn steer(&self, object: &str, setting: &str) {
        let setting = format!("testbed.windlass.dev/{setting}");
        self.kubectl(&["annotate", "--overwrite", object, &setting]).await;
    }

    pub(crate) async fn autoscaler(&self, name: &str) -> Value {
        let text = self.kubectl(&["get", "podautoscaler", name, "-o", "json"]).await;
        serde_json::from_str(&text).unwrap()
    }

    /// Waits until a condition of a PodAutoscaler has this status and reason; gives its message.
    pub(crate) async fn condition(&self, name: &str, type_: &str, status: &str, reason: &str) -> String {
        let mut last = Value::Null;
        let begun = Instant::now();
        while begun.elapsed() < WITHIN {
            last = self.autoscaler(name).await["status"].clone();
            let conditions = last["conditions"].as_array().cloned().unwrap_or_default();
            let found = conditions.into_iter().find(|condition| condition["type"] == type_);
            if let Some(found) = found.filter(|found| found["status"] == status && found["reason"] == reason)
            {
                return found["message"].as_str().unwrap_or_default().to_owned();
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        panic!("no condition {type_}={status} {reason} on {name}: {last:#}");
    }

    /// Waits until `MetricsAvailable` of a PodAutoscaler says all of these.
    pub(crate) async fn says(&self, name: &str, clauses: &[&str]) {
        let mut last = Value::Null;
        let begun = Instant::now();
        while begun.elapsed() < WITHIN {
            last = self.autoscaler(name).await["status"]["conditions"].clone();
            let conditions = last.as_array().into_iter().flatten();
            let of_metrics = conditions.filter(|condition| condition["type"] == "MetricsAvailable");
            let mut messages = of_metrics.filter_map(|found| found["message"].as_str());
            if messages.any(|text| clauses.iter().all(|clause| text.contains(clause))) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        panic!("{name} does not say {clauses:?}: {last:#}");
    }

    /// Waits until `Deployment` has this many ready replicas and asks for no more.
    pub(crate) async fn ready(&self, deployment: &str, replicas: i32) {
        let api: Api<Deployment> = self.api();
        let begun = Instant::now();
        let mut last = None;
        while begun.elapsed() < WITHIN {
            let found = api.get(deployment).await.unwrap();
            let asked = found.spec.and_then(|spec| spec.replicas);
            last = Some((asked, found.status.and_then(|status| status.ready_replicas).unwrap_or(0)));
            if last == Some((Some(replicas), replicas)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{deployment} has not {replicas} ready replicas, but {last:?}");
    }

    /// Checks that nothing runs and nothing is asked for.
    pub(crate) async fn ready_none(&self, deployment: &str) {
        let found = self.api::<Deployment>().get(deployment).await.unwrap();
        assert_eq!(found.spec.and_then(|spec| spec.replicas), Some(0));
        assert_eq!(found.status.and_then(|status| status.ready_replicas), None);
    }

    /// What the controllers wrote to objects of this resource (`horizontalpodautoscalers`, `deployments/scale`) in this namespace, oldest first.
    pub(crate) async fn writes(&self, resource: &str) -> Vec<audit::Write> {
        let all = tokio::task::spawn_blocking(|| audit::read(&TESTBED.audit_log).unwrap()).await.unwrap();
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let is_asked = |write: &audit::Write| {
            let about = &write.object_ref;
            (about.namespace.as_str(), about.resource.as_str(), about.subresource.as_str())
                == (self.name.as_str(), resource, subresource)
        };
        all.into_iter()
            .filter(|write| write.is_by("windlass/") && write.succeeded() && is_asked(write))
            .collect()
    }

    /// Notes every change of `spec.replicas` of a Deployment from now on.
    pub(crate) fn record(&self, deployment: &str) -> Trajectory {
        let history = ReplicaHistory::follow(self.api());
        Trajectory { history, deployment: deployment.to_owned(), begun: Instant::now() }
    }
}

/// What `spec.replicas` was over time: the first entry is where it began.
pub(crate) struct Trajectory {
    history: ReplicaHistory,
    deployment: String,
    begun: Instant,
}

impl Trajectory {
    pub(crate) fn timed(&self) -> Vec<(Duration, i32)> {
        let asked = self.history.asked_since(&self.deployment, self.begun);
        asked.into_iter().map(|(at, replicas)| (at.saturating_duration_since(self.begun), replicas)).collect()
    }

    pub(crate) fn replicas(&self) -> Vec<i32> {
        self.timed().into_iter().map(|(_, replicas)| replicas).collect()
    }
}

/// A Deployment of mock engines; `annotations` are the testbed's, without their prefix.
pub(crate) fn deployment(name: &str, app: &str, replicas: u32, annotations: &[(&str, &str)]) -> String {
    let annotations = annotations.iter().fold(String::new(), |lines, (key, value)| {
        lines + "\n    testbed.windlass.dev/" + key + ": \"" + value + "\""
    });
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
  annotations:
    for: tests{annotations}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {app}}}}}
  template:
    metadata: {{labels: {{app: {app}}}}}
    spec:
      containers:
      - {{name: engine, image: 'aibrix/vllm-mock:nightly', ports: [{{containerPort: 8000}}]}}
"
    )
}

/// A PodAutoscaler in the current shape with one pod metric and a target of 20.
pub(crate) fn autoscaler(name: &str, target: &str, strategy: &str, replicas: (u32, u32)) -> String {
    let (kind, target) = target.split_once('/').unwrap();
    let (min, max) = replicas;
    format!(
        "apiVersion: autoscaling.aibrix.ai/v1alpha1
kind: PodAutoscaler
metadata: {{name: {name}}}
spec:
  scaleTargetRef: {{apiVersion: apps/v1, kind: {kind}, name: {target}}}
  minReplicas: {min}
  maxReplicas: {max}
  scalingStrategy: {strategy}
  metricsSources:
  - {{metricSourceType: pod, protocolType: http, port: '8000', path: /metrics,
     targetMetric: avg_prompt_throughput_toks_per_s, targetValue: '20'}}
"
    )
}

/// Runs a command in the root of the repository; gives the exit code, what it printed, and what it complained of.
pub(crate) fn run(mut command: Command, input: &str) -> (Option<i32>, String, String) {
    let mut child = command
        .current_dir(root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

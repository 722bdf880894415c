//! A testbed with the controller under test, and what trials do with it.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::process::Command;
use windlass_testbed::node_agent::{self, NodeAgent};
use windlass_testbed::plane::{self, Plane};
use windlass_testbed::{ControllerProcess, ReplicaHistory, audit};

/// Calls of a trial under way at once.
pub(crate) const AT_ONCE: usize = 32;
/// Something awaited for longer has failed.
const PATIENCE: Duration = Duration::from_mins(10);
/// How the controller names itself to the API server.
pub(crate) const USER_AGENT: &str = "windlass/";

/// A control plane of its own, simulated nodes, and no controller yet.
pub(crate) struct Stage {
    pub(crate) plane: Plane,
    pub(crate) client: Client,
    agent: NodeAgent,
    windlass: PathBuf,
}

impl Stage {
    /// Brings it up; builds the control plane where that was not done yet.
    pub(crate) async fn up(name: &str) -> anyhow::Result<Self> {
        let windlass = std::env::current_exe()?.with_file_name("windlass");
        if !windlass.is_file() {
            bail!("{} is not built; run `make bench` or `make soak`", windlass.display());
        }
        let build = || plane::build(&mut |line| tracing::debug!("{line}"));
        let binary = tokio::task::spawn_blocking(build).await??;
        let plane = plane::up(&plane::Options::new(name, binary)).await?;
        let client = plane.client()?;
        let nodes =
            node_agent::Options { network: plane.network(), nodes: 10, ..node_agent::Options::default() };
        let agent = NodeAgent::start(client.clone(), nodes).await?;
        let stage = Self { plane, client, agent, windlass };
        stage.install_crd().await?;
        Ok(stage)
    }

    async fn install_crd(&self) -> anyhow::Result<()> {
        let crd = Command::new(&self.windlass).arg("crd").output().await?;
        self.kubectl(&["apply", "-f", "-"], &crd.stdout).await?;
        let crd = "crd/podautoscalers.autoscaling.aibrix.ai";
        self.kubectl(&["wait", "--for=condition=Established", crd], b"").await.map(drop)
    }

    pub(crate) async fn down(self) -> anyhow::Result<()> {
        self.agent.stop().await;
        self.plane.shutdown().await?;
        Ok(())
    }

    /// Runs the bundled kubectl; gives what it printed.
    pub(crate) async fn kubectl(&self, arguments: &[&str], input: &[u8]) -> anyhow::Result<String> {
        let mut child = Command::new(self.plane.kubectl())
            .env("KUBECONFIG", self.plane.kubeconfig())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut stdin = child.stdin.take().context("kubectl has no input")?;
        stdin.write_all(input).await?;
        drop(stdin);
        let output = child.wait_with_output().await?;
        if !output.status.success() {
            bail!("kubectl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// A controller with a log of this name, and nobody beside it.
    pub(crate) fn controller(&self, name: &str) -> anyhow::Result<Controller> {
        self.controller_that(name, &[])
    }

    /// The same with these arguments.
    pub(crate) fn controller_that(&self, name: &str, arguments: &[&str]) -> anyhow::Result<Controller> {
        let admin = format!("127.{}.0.2:8080", self.plane.network());
        let process = self.controller_with(name, &[&["--admin-address", &admin], arguments].concat())?;
        Ok(Controller { process, admin })
    }

    /// A controller with these arguments.
    pub(crate) fn controller_with(
        &self,
        name: &str,
        arguments: &[&str],
    ) -> anyhow::Result<ControllerProcess> {
        let started = ControllerProcess::start(&self.windlass, &self.plane, name, arguments);
        started.context("the controller cannot be started")
    }

    pub(crate) fn deployments(&self, namespace: &str) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), namespace)
    }

    pub(crate) fn autoscalers(&self, namespace: &str) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("autoscaling.aibrix.ai", "v1alpha1", "PodAutoscaler");
        Api::namespaced_with(self.client.clone(), namespace, &ApiResource::from_gvk(&kind))
    }

    /// Creates a namespace with the engines of these fleets, and waits until all are ready. What becomes of them.
    pub(crate) async fn engines(
        &self,
        namespace: &str,
        fleets: &[Fleet<'_>],
    ) -> anyhow::Result<ReplicaHistory> {
        let own = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        let own: Namespace = serde_json::from_value(own)?;
        Api::all(self.client.clone()).create(&PostParams::default(), &own).await?;
        create(&self.deployments(namespace), fleets.iter().map(Fleet::deployment)).await?;
        let history = ReplicaHistory::follow(self.deployments(namespace));
        let ready = |fleet: &Fleet<'_>| {
            history.now(fleet.name).is_some_and(|now| now.ready == now.asked && now.ready > 0)
        };
        until("engines ready", || fleets.iter().all(ready)).await?;
        Ok(history)
    }

    /// Creates the `PodAutoscaler`s of these fleets.
    pub(crate) async fn autoscale(&self, namespace: &str, fleets: &[Fleet<'_>]) -> anyhow::Result<()> {
        create(&self.autoscalers(namespace), fleets.iter().map(Fleet::autoscaler)).await
    }

    /// Sets a testbed annotation of a Deployment; `None` takes it away. Returns when the API server has it.
    pub(crate) async fn steer(
        &self,
        namespace: &str,
        deployment: &str,
        key: &str,
        value: Option<&str>,
    ) -> anyhow::Result<Instant> {
        let key = format!("{}{key}", node_agent::PREFIX);
        let patch = Patch::Merge(json!({"metadata": {"annotations": {key: value}}}));
        let api = self.deployments(namespace);
        api.patch_metadata(deployment, &PatchParams::default(), &patch).await?;
        Ok(Instant::now())
    }

    /// What the controllers wrote from `from` to `to` besides their Leases, in the API server's own record.
    pub(crate) fn writes(&self, from: k8s_openapi::jiff::Timestamp) -> anyhow::Result<Vec<audit::Write>> {
        let mut writes = audit::read(&self.plane.audit_log())?;
        writes.retain(|write| {
            write.is_by(USER_AGENT) && write.answered >= from && write.object_ref.resource != "leases"
        });
        Ok(writes)
    }
}

/// A controller and where it answers.
pub(crate) struct Controller {
    pub(crate) process: ControllerProcess,
    admin: String,
}

impl Controller {
    /// Status and body of what it answers.
    pub(crate) async fn ask(&self, path: &str) -> anyhow::Result<(u16, String)> {
        get(&self.admin, path).await.with_context(|| format!("http://{}{path}", self.admin))
    }
}

pub(crate) async fn get(address: &str, path: &str) -> anyhow::Result<(u16, String)> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = http::Request::get(path).header(http::header::HOST, address).body(Empty::<Bytes>::new())?;
    let answer = async {
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    };
    tokio::select! {
        answer = answer => answer,
        // It completes when the other end has closed; what was answered before that is answered above.
        ended = connection => ended.map_err(Into::into).and(Err(anyhow::anyhow!("closed without an answer"))),
    }
}

/// Creates objects, a few at a time.
pub(crate) async fn create<K>(api: &Api<K>, objects: impl Iterator<Item = Value>) -> anyhow::Result<()>
where
    K: Clone + std::fmt::Debug + DeserializeOwned + Serialize,
{
    let parameters = PostParams::default();
    let objects: Vec<K> = objects.map(serde_json::from_value).collect::<Result<_, _>>()?;
    let calls = objects.iter().map(|object| api.create(&parameters, object));
    futures::stream::iter(calls).buffer_unordered(AT_ONCE).try_for_each(|_| async { Ok(()) }).await?;
    Ok(())
}

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) -> anyhow::Result<()> {
    let begun = Instant::now();
    while !condition() {
        if begun.elapsed() > PATIENCE {
            bail!("{what}: not within {} s", PATIENCE.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Engines behind one Deployment, and the PodAutoscaler of the same name.
#[derive(Clone, Copy)]
pub(crate) struct Fleet<'a> {
    pub(crate) name: &'a str,
    pub(crate) replicas: u32,
    /// The testbed's annotations, without their prefix.
    pub(crate) engines: &'a [(&'a str, &'a str)],
    pub(crate) strategy: &'a str,
    pub(crate) metric: &'a str,
    pub(crate) target: f64,
    /// minReplicas and maxReplicas.
    pub(crate) bounds: (u32, u32),
}

/// What one replica of a scripted fleet is to carry.
pub(crate) const TARGET: f64 = 20.0;

impl<'a> Fleet<'a> {
    /// Engines whose load is scripted in tokens per second.
    pub(crate) fn scripted(
        name: &'a str,
        strategy: &'a str,
        replicas: u32,
        max: u32,
        engines: &'a [(&'a str, &'a str)],
    ) -> Self {
        let metric = "avg_prompt_throughput_toks_per_s";
        Self { name, replicas, engines, strategy, metric, target: TARGET, bounds: (1, max) }
    }

    fn deployment(&self) -> Value {
        let annotations: serde_json::Map<String, Value> = self
            .engines
            .iter()
            .map(|(key, value)| (format!("{}{key}", node_agent::PREFIX), json!(value)))
            .collect();
        let engine = json!({
            "name": "engine", "image": "aibrix/vllm-mock:nightly", "ports": [{"containerPort": 8000}],
        });
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": self.name, "annotations": annotations},
            "spec": {
                "replicas": self.replicas,
                "selector": {"matchLabels": {"app": self.name}},
                "template": {"metadata": {"labels": {"app": self.name}}, "spec": {"containers": [engine]}},
            },
        })
    }

    fn autoscaler(&self) -> Value {
        let (min, max) = self.bounds;
        json!({
            "apiVersion": "autoscaling.aibrix.ai/v1alpha1", "kind": "PodAutoscaler",
            "metadata": {"name": self.name},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": self.name},
                "minReplicas": min, "maxReplicas": max, "scalingStrategy": self.strategy,
                "metricsSources": [{
                    "metricSourceType": "pod", "protocolType": "http", "port": "8000", "path": "/metrics",
                    "targetMetric": self.metric, "targetValue": self.target.to_string(),
                }],
            },
        })
    }
}

//! Simulated nodes and pods.
//!
//! The agent stands in for the kubelets of a cluster. It creates Node objects, which the real scheduler binds pods to,
//! and "runs" those pods: each gets an address of its own in 127.0.0.0/8 and the status that a kubelet would write. No
//! container is started and no command is run: the agent plays a few programs, known by their image (any registry, any
//! tag). `aibrix/vllm-mock` is a [mock engine](crate::mock_engine) and `nginx` a web server, both of which really listen on the
//! pod's address; `busybox` with one certain loop of `wget` sends requests to a Service; `pause` does nothing. A container
//! with anything else is in `Error`, with a sentence in its status.
//!
//! The agent also serves `metrics.k8s.io`, with simulated figures for all of them.
//!
//! A pod is Pending until it is bound, Running at once, and Ready after its start-up time; until then its port refuses
//! connections, as that of a vLLM that still loads its weights does. A deleted pod turns not ready, goes on serving for
//! its drain time, never longer than its grace period, and is then taken out of the API.
//!
//! Annotations with the prefix [`PREFIX`] steer pods; see [`Settings`] for the keys. They stand on the pod or on the
//! Deployment, `StatefulSet` or `ReplicaSet` on top of it; the pod's come first. They act at run time, without a
//! rollout: `kubectl annotate deployment llama2-70b testbed.windlass.dev/fault=http500`.
//!
//! Not simulated: readiness probes, crashes and restarts, init containers, logs, exec, image pulls.

mod address;
mod annotations;
mod calls;
mod directory;
mod life;
mod metrics_api;
mod nodes;
mod objects;
mod program;
mod quantity;
mod registry;
mod status;
mod usage;
mod watches;

use std::collections::HashMap;
use std::net::Ipv4Addr;

use kube::Client;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use address::Addresses;
pub use annotations::{Amount, Annotations, BadAnnotation, Delay, Mode, PREFIX, Settings, Share};
use calls::Calls;
use directory::Directory;
use life::Life;
pub use metrics_api::Error as MetricsApiError;
use registry::NewPod;
use usage::UsageBook;

/// Nodes have the addresses 127.N.0.10 to 127.N.0.249; the control plane is at 127.N.0.1.
const MAX_NODES: usize = 240;
/// `metrics.k8s.io` is served at 127.N.0.3.
const METRICS_API: u8 = 3;

/// The simulated machines of one cluster.
#[derive(Clone, Debug)]
pub struct Options {
    /// N of the plane's 127.N.0.0/16.
    pub network: u8,
    /// How many nodes there are, at most 240.
    pub nodes: usize,
    /// `nvidia.com/gpu` of each node.
    pub gpus_per_node: u32,
    /// Cores of each node.
    pub cpu: u32,
    /// Memory of each node in GiB.
    pub memory_gib: u32,
    /// How many pods each node takes.
    pub pods_per_node: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { network: 20, nodes: 4, gpus_per_node: 8, cpu: 64, memory_gib: 512, pods_per_node: 500 }
    }
}

/// Why the agent cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// More nodes than addresses for them.
    #[error("{0} nodes are too many; ask for at most {MAX_NODES}")]
    TooManyNodes(usize),
    /// A node was deleted while it was being set up.
    #[error("node {0} vanished while it was set up; is another agent at work on this plane?")]
    NodeVanished(String),
    /// The node object could not be built.
    #[error("the node object is not valid: {0}")]
    Node(#[from] serde_json::Error),
    /// `metrics.k8s.io` cannot be served.
    #[error("metrics.k8s.io cannot be served: {0}")]
    MetricsApi(#[from] MetricsApiError),
}

/// A running agent. Dropping it stops it as well, without waiting.
#[derive(Debug)]
pub struct NodeAgent {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl NodeAgent {
    /// Creates the nodes, registers `metrics.k8s.io` and begins to run pods. Returns as soon as pods can be scheduled and
    /// the API server has found the metrics.
    ///
    /// Nodes and running pods that an earlier agent left are taken over: they keep their addresses.
    ///
    /// # Errors
    /// See [`Error`]. An API server that does not answer is waited for.
    pub async fn start(client: Client, options: Options) -> Result<Self, Error> {
        if options.nodes > MAX_NODES {
            return Err(Error::TooManyNodes(options.nodes));
        }
        crate::file_limit::raise();
        let calls = Calls::new(client);
        let host = Addresses::node(options.network, METRICS_API);
        let bound = async { Ok(metrics_api::Server::bind(&calls, host).await?) };
        let ((), metrics) = futures::future::try_join(nodes::create(&calls, &options), bound).await?;
        let agent = Self { stop: CancellationToken::new(), tasks: TaskTracker::new() };
        let hosts: HashMap<_, _> = (0..options.nodes)
            .map(|index| (nodes::name(index), nodes::address(options.network, index)))
            .collect();
        let names = hosts.keys().cloned().collect();
        let kubelets = Kubelets {
            hosts,
            addresses: Addresses::new(options.network),
            directory: Directory::default(),
            usage: UsageBook::default(),
            calls: calls.clone(),
            tasks: agent.tasks.clone(),
        };
        agent.serve_metrics(&calls, metrics, &kubelets, names).await;
        let stop = agent.stop.clone();
        agent.tasks.spawn(async move {
            // Dropping the watches drops the registry, and with it the orders of every pod: all pods end.
            stop.run_until_cancelled(watches::follow(kubelets)).await;
        });
        Ok(agent)
    }

    /// Accounts for usage and serves it until the agent is stopped.
    async fn serve_metrics(
        &self,
        calls: &Calls,
        server: metrics_api::Server,
        kubelets: &Kubelets,
        nodes: Vec<String>,
    ) {
        let (directory, usage) = (kubelets.directory.clone(), kubelets.usage.clone());
        let view = metrics_api::View { directory, usage: usage.clone(), nodes };
        let registration = server.registration();
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            stop.run_until_cancelled(futures::future::join(usage.run(), server.serve(view))).await;
        });
        registration.make(calls).await;
    }

    /// Stops serving every pod and waits until all listeners are closed. The objects stay in the API.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for NodeAgent {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What starts pods.
struct Kubelets {
    hosts: HashMap<String, Ipv4Addr>,
    addresses: Addresses,
    directory: Directory,
    usage: UsageBook,
    calls: Calls,
    tasks: TaskTracker,
}

impl Kubelets {
    fn start(&self, host: Ipv4Addr, new: NewPod) {
        self.tasks.spawn(Life::new(self, host, new).run());
    }
}

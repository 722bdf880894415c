//! Simulated nodes and pods.
//!
//! The agent stands in for the kubelets of a cluster. It creates Node objects, which the real scheduler binds pods to,
//! and "runs" those pods: each gets an address of its own in 127.0.0.0/8 and the status that a kubelet would write. No
//! container is started. A pod whose image is `aibrix/vllm-mock` (any registry, any tag) is served by a
//! [mock engine](crate::mock_engine) that really listens on the pod's address; other pods only become ready.
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
mod life;
mod nodes;
mod objects;
mod registry;
mod status;
mod watches;

use std::collections::HashMap;
use std::net::Ipv4Addr;

use kube::Client;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use address::Addresses;
pub use annotations::{Annotations, BadAnnotation, Delay, Mode, PREFIX, Settings, Share};
use calls::Calls;
use life::Life;
use registry::NewPod;

/// Nodes have the addresses 127.N.0.10 to 127.N.0.249; the control plane is at 127.N.0.1.
const MAX_NODES: usize = 240;

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
}

/// A running agent. Dropping it stops it as well, without waiting.
#[derive(Debug)]
pub struct NodeAgent {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl NodeAgent {
    /// Creates the nodes and begins to run pods. Returns as soon as pods can be scheduled.
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
        nodes::create(&calls, &options).await?;
        let agent = Self { stop: CancellationToken::new(), tasks: TaskTracker::new() };
        let hosts =
            (0..options.nodes).map(|index| (nodes::name(index), nodes::address(options.network, index)));
        let kubelets = Kubelets {
            hosts: hosts.collect(),
            addresses: Addresses::new(options.network),
            calls,
            tasks: agent.tasks.clone(),
        };
        let stop = agent.stop.clone();
        agent.tasks.spawn(async move {
            // Dropping the watches drops the registry, and with it the orders of every pod: all pods end.
            stop.run_until_cancelled(watches::follow(kubelets)).await;
        });
        Ok(agent)
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
    calls: Calls,
    tasks: TaskTracker,
}

impl Kubelets {
    fn start(&self, host: Ipv4Addr, new: NewPod) {
        let life = Life::new(&self.calls, &self.addresses, host, new);
        self.tasks.spawn(life.run());
    }
}

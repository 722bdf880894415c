//! The node agent on a real control plane: what the scheduler and the controllers see, and what a scraper sees.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use windlass_testbed::node_agent::{NodeAgent, Options};
use windlass_testbed::plane::{self, Plane};

/// A safety net, never an expectation.
const PATIENCE: Duration = Duration::from_mins(2);
const APP: &str = "llama2-70b";

async fn start_plane(name: &str) -> Plane {
    let binary = plane::build(&mut |line| eprintln!("{line}")).unwrap();
    let name = format!("test-{name}-{}", std::process::id());
    plane::up(&plane::Options::new(name, binary)).await.unwrap()
}

async fn start_agent(plane: &Plane, options: Options) -> NodeAgent {
    let options = Options { network: plane.network(), ..options };
    NodeAgent::start(plane.client().unwrap(), options).await.unwrap()
}

async fn eventually(what: &str, mut check: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !check().await {
        assert!(Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A namespace with at most one Deployment, of mock engines.
struct Bench {
    namespace: String,
    pods: Api<Pod>,
    deployments: Api<Deployment>,
}

impl Bench {
    async fn new(plane: &Plane, namespace: &str) -> Self {
        let client = plane.client().unwrap();
        let object = serde_json::from_value(json!({"metadata": {"name": namespace}})).unwrap();
        Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &object).await.unwrap();
        Self {
            pods: Api::namespaced(client.clone(), namespace),
            deployments: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
        }
    }

    async fn deploy(&self, replicas: usize, annotations: Value, pod: Value) {
        let mut deployment = json!({
            "metadata": {"name": APP, "annotations": annotations},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {"app": APP}},
                "template": {
                    "metadata": {"labels": {"app": APP}},
                    "spec": {
                        "containers": [{
                            "name": "engine",
                            "image": "aibrix/vllm-mock:nightly",
                            "ports": [{"containerPort": 8000}],
                            "resources": {"limits": {"nvidia.com/gpu": "1"}},
                        }],
                    },
                },
            },
        });
        if let Value::Object(fields) = pod {
            deployment["spec"]["template"]["spec"].as_object_mut().unwrap().extend(fields);
        }
        let deployment = serde_json::from_value(deployment).unwrap();
        self.deployments.create(&PostParams::default(), &deployment).await.unwrap();
    }

    async fn patch_deployment(&self, patch: Value) {
        self.deployments.patch(APP, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    async fn annotate(&self, key: &str, value: Option<&str>) {
        let key = format!("testbed.windlass.dev/{key}");
        self.patch_deployment(json!({"metadata": {"annotations": {key: value}}})).await;
    }

    async fn pods(&self) -> Vec<Pod> {
        self.pods.list(&ListParams::default()).await.unwrap().items
    }

    async fn ready(&self, count: i32) {
        eventually(&format!("{count} ready pods in {}", self.namespace), async || {
            let status = self.deployments.get_status(APP).await.unwrap().status.unwrap_or_default();
            status.ready_replicas.unwrap_or(0) == count && status.replicas.unwrap_or(0) == count
        })
        .await;
    }

    /// Waits until every pod answers a scrape as expected.
    async fn every_pod(&self, what: &str, expected: impl Fn(&Scrape) -> bool) {
        eventually(what, async || {
            let pods = self.pods().await;
            for pod in &pods {
                if !expected(&scrape(address(pod)).await) {
                    return false;
                }
            }
            !pods.is_empty()
        })
        .await;
    }

    async fn delete(&self) {
        let addresses: Vec<_> = self.pods().await.iter().map(address).collect();
        self.deployments.delete(APP, &DeleteParams::background()).await.unwrap();
        eventually("all pods gone", async || self.pods().await.is_empty()).await;
        for address in addresses {
            assert_eq!(scrape(address).await, Scrape::Refused, "{address} after the deletion");
        }
    }
}

fn address(pod: &Pod) -> IpAddr {
    let status = pod.status.as_ref().unwrap();
    status.pod_ip.as_ref().unwrap_or_else(|| panic!("{} has no address", pod.name_any())).parse().unwrap()
}

fn condition(pod: &Pod, kind: &str) -> String {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.filter(|condition| condition.type_ == kind).map(|condition| condition.status.clone()).collect()
}

#[derive(Debug, PartialEq)]
enum Scrape {
    Refused,
    /// Connected, and dropped before an answer came.
    Dropped,
    Status(u16),
    /// The sum over the series of `vllm:avg_prompt_throughput_toks_per_s` on a page.
    Share(f64),
}

async fn scrape(address: IpAddr) -> Scrape {
    let Ok(mut stream) = TcpStream::connect((address, 8000)).await else {
        return Scrape::Refused;
    };
    let request = b"GET /metrics HTTP/1.1\r\nhost: engine\r\nconnection: close\r\n\r\n";
    let mut answer = String::new();
    if stream.write_all(request).await.is_err()
        || stream.read_to_string(&mut answer).await.is_err()
        || answer.is_empty()
    {
        return Scrape::Dropped;
    }
    match answer[9..12].parse().unwrap() {
        200 => {
            let series =
                answer.lines().filter(|line| line.starts_with("vllm:avg_prompt_throughput_toks_per_s{"));
            let values = series.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap());
            Scrape::Share(values.sum())
        }
        status => Scrape::Status(status),
    }
}

/// One plane for all scenarios: each has its own namespace.
#[tokio::test(flavor = "multi_thread")]
async fn pods_live_as_on_real_nodes() {
    let plane = start_plane("node-agent").await;
    let agent = start_agent(&plane, Options::default()).await;
    engines_share_a_total(&plane).await;
    annotations_act_at_run_time(&plane).await;
    a_starting_pod_refuses_connections(&plane).await;
    a_deleted_pod_serves_for_its_drain_time(&plane).await;
    pods_of_other_images_are_not_served(&plane).await;
    unschedulable_pods_stay_pending(&plane).await;
    an_agent_takes_over_what_is_there(&plane, agent).await;
    plane.shutdown().await.unwrap();
}

async fn engines_share_a_total(plane: &Plane) {
    let bench = Bench::new(plane, "share").await;
    bench.deploy(3, Value::Null, Value::Null).await;
    bench.ready(3).await;
    bench.every_pod("a third each", |scrape| *scrape == Scrape::Share(100.0 / 3.0)).await;
    let pods = bench.pods().await;
    for pod in &pods {
        for kind in ["PodScheduled", "Initialized", "ContainersReady", "Ready"] {
            assert_eq!(condition(pod, kind), "True", "{kind}");
        }
        let status = pod.status.as_ref().unwrap();
        assert_eq!(status.phase.as_deref(), Some("Running"));
        assert!(status.start_time.is_some() && status.host_ip.is_some());
        assert!(status.container_statuses.as_ref().unwrap().iter().all(|status| status.ready));
        let IpAddr::V4(address) = address(pod) else { panic!("{status:?}") };
        assert_eq!(address.octets()[..2], [127, plane.network()]);
    }
    bench.patch_deployment(json!({"spec": {"replicas": 5}})).await;
    bench.ready(5).await;
    bench.every_pod("a fifth each", |scrape| *scrape == Scrape::Share(20.0)).await;
    bench.delete().await;
}

async fn annotations_act_at_run_time(plane: &Plane) {
    let bench = Bench::new(plane, "annotations").await;
    bench.deploy(2, json!({"testbed.windlass.dev/total": "a lot"}), Value::Null).await;
    bench.ready(2).await;
    bench.every_pod("the default of what cannot be read", |scrape| *scrape == Scrape::Share(50.0)).await;
    let before: Vec<_> = bench.pods().await.iter().map(ResourceExt::name_any).collect();
    bench.annotate("total", Some("300")).await;
    bench.every_pod("another total", |scrape| *scrape == Scrape::Share(150.0)).await;
    bench.annotate("fault", Some("http500")).await;
    bench.every_pod("status 500", |scrape| *scrape == Scrape::Status(500)).await;
    bench.annotate("fault", Some("refuse")).await;
    bench.every_pod("refusal", |scrape| *scrape == Scrape::Refused).await;
    bench.annotate("fault", None).await;
    bench.every_pod("recovery", |scrape| *scrape == Scrape::Share(150.0)).await;

    let [sick, well] = &bench.pods().await[..] else { panic!("two pods") };
    let fault =
        Patch::Merge(json!({"metadata": {"annotations": {"testbed.windlass.dev/fault": "redirect"}}}));
    bench.pods.patch(&sick.name_any(), &PatchParams::default(), &fault).await.unwrap();
    eventually("a fault of one pod", async || scrape(address(sick)).await == Scrape::Status(302)).await;
    assert_eq!(scrape(address(well)).await, Scrape::Share(150.0));

    let after: Vec<_> = bench.pods().await.iter().map(ResourceExt::name_any).collect();
    assert_eq!(before, after, "annotating the Deployment must not roll it out");
    bench.delete().await;
}

async fn a_starting_pod_refuses_connections(plane: &Plane) {
    let bench = Bench::new(plane, "start").await;
    bench.deploy(1, json!({"testbed.windlass.dev/start": "1h"}), Value::Null).await;
    let running =
        |pod: &Pod| pod.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Running"));
    eventually("a running pod", async || bench.pods().await.iter().any(running)).await;
    let pods = bench.pods().await;
    assert_eq!(condition(&pods[0], "Ready"), "False");
    assert_eq!(scrape(address(&pods[0])).await, Scrape::Refused);
    bench.delete().await;
}

async fn a_deleted_pod_serves_for_its_drain_time(plane: &Plane) {
    let bench = Bench::new(plane, "drain").await;
    let pod = json!({"terminationGracePeriodSeconds": 3600});
    bench.deploy(1, json!({"testbed.windlass.dev/terminate": "1h"}), pod).await;
    bench.ready(1).await;
    let pods = bench.pods().await;
    bench.deployments.delete(APP, &DeleteParams::background()).await.unwrap();
    let draining =
        |pod: &Pod| pod.metadata.deletion_timestamp.is_some() && condition(pod, "Ready") == "False";
    eventually("a pod that drains", async || bench.pods().await.iter().any(draining)).await;
    assert_eq!(scrape(address(&pods[0])).await, Scrape::Share(100.0));
    // A second deletion with a shorter grace period ends the drain.
    let name = pods[0].name_any();
    bench.pods.delete(&name, &DeleteParams::default().grace_period(1)).await.unwrap();
    eventually("the end of the grace period", async || bench.pods().await.is_empty()).await;
    assert_eq!(scrape(address(&pods[0])).await, Scrape::Refused);
}

async fn pods_of_other_images_are_not_served(plane: &Plane) {
    let bench = Bench::new(plane, "other").await;
    let containers = json!([{"name": "idle", "image": "pause", "ports": [{"containerPort": 8000}]}]);
    bench.deploy(1, Value::Null, json!({"containers": containers})).await;
    bench.ready(1).await;
    bench.every_pod("nobody listens", |scrape| *scrape == Scrape::Refused).await;
    bench.delete().await;
}

async fn unschedulable_pods_stay_pending(plane: &Plane) {
    let bench = Bench::new(plane, "gpus").await;
    let options = Options::default();
    let gpus = options.nodes * options.gpus_per_node as usize;
    bench.deploy(gpus + 1, Value::Null, Value::Null).await;
    eventually("one ready pod per GPU", async || {
        let pods = bench.pods().await;
        let count =
            |kind: &str, status: &str| pods.iter().filter(|pod| condition(pod, kind) == status).count();
        count("Ready", "True") == gpus && count("PodScheduled", "False") == 1
    })
    .await;
    bench.patch_deployment(json!({"spec": {"replicas": 0}})).await;
    eventually("no pods", async || bench.pods().await.is_empty()).await;
}

async fn an_agent_takes_over_what_is_there(plane: &Plane, agent: NodeAgent) {
    let bench = Bench::new(plane, "adopt").await;
    bench.deploy(3, Value::Null, Value::Null).await;
    bench.ready(3).await;
    let by_name = async || -> BTreeMap<_, _> {
        bench.pods().await.iter().map(|pod| (pod.name_any(), address(pod))).collect()
    };
    let before = by_name().await;
    agent.stop().await;
    for address in before.values() {
        assert_eq!(scrape(*address).await, Scrape::Refused, "{address} without an agent");
    }
    bench.patch_deployment(json!({"spec": {"replicas": 4}})).await;
    let agent = start_agent(plane, Options::default()).await;
    bench.ready(4).await;
    bench.every_pod("a quarter each", |scrape| *scrape == Scrape::Share(25.0)).await;
    let after = by_name().await;
    assert!(before.iter().all(|pod| after.get(pod.0) == Some(pod.1)), "{before:?} {after:?}");
    assert_eq!(after.values().collect::<std::collections::BTreeSet<_>>().len(), 4, "{after:?}");
    bench.delete().await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a load test: prints how long a thousand pods take"]
async fn a_thousand_pods() {
    let plane = start_plane("thousand").await;
    let agent = start_agent(&plane, Options { gpus_per_node: 300, ..Options::default() }).await;
    let bench = Bench::new(&plane, "thousand").await;
    let begun = Instant::now();
    bench.deploy(1000, json!({"testbed.windlass.dev/start": "lognormal(1s,0.4)"}), Value::Null).await;
    bench.ready(1000).await;
    println!("1,000 pods ready after {:?}", begun.elapsed());
    let begun = Instant::now();
    for pod in bench.pods().await {
        assert_eq!(scrape(address(&pod)).await, Scrape::Share(0.1));
    }
    println!("1,000 scrapes, each with its own connection, one after the other: {:?}", begun.elapsed());
    let begun = Instant::now();
    bench.delete().await;
    println!("all gone after {:?}", begun.elapsed());
    agent.stop().await;
    plane.shutdown().await.unwrap();
}

//! The control plane's life, on the real thing.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ListParams, PostParams};
use windlass_testbed::plane::{self, Error, Options, Plane};

/// Set in the process that [`Owner::start`] starts: the name of the plane to own.
const OWNED: &str = "WINDLASS_TEST_OWNED_PLANE";
/// A safety net, never an expectation.
const PATIENCE: Duration = Duration::from_mins(1);

fn unique(name: &str) -> String {
    format!("test-{name}-{}", std::process::id())
}

fn options(name: &str) -> Options {
    let binary = plane::build(&mut |line| eprintln!("{line}")).unwrap();
    Options::new(name, binary)
}

async fn eventually(what: &str, mut check: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !check().await {
        assert!(Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Ids of the processes on this machine whose command line names the directory, as that of every child of a plane does.
fn processes_of(state_dir: &Path) -> Vec<String> {
    let dir = state_dir.to_str().unwrap();
    let names_it = |pid: &String| {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        // By path components, which keeps `test-killed-1` from standing for `test-killed-12`.
        command.split(|byte| *byte == 0).any(|argument| {
            let argument = String::from_utf8_lossy(argument);
            argument.split('=').any(|part| Path::new(part).starts_with(dir))
        })
    };
    let entries = std::fs::read_dir("/proc").unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).filter(names_it).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plane_serves_and_ends() {
    let options = options(&unique("serves"));
    let mut plane = plane::up(&options).await.unwrap();
    assert!(plane.server_version().starts_with("v1."), "{}", plane.server_version());
    assert!((20..=119).contains(&plane.network()));

    let status = plane::find(plane.name()).unwrap().expect("it is up");
    let names: Vec<&str> = status.processes.iter().map(|process| process.name.as_str()).collect();
    assert_eq!(names, ["up", "reaper", "etcd", "apiserver", "controller-manager", "scheduler"]);
    assert!(status.processes.iter().all(|process| process.resident_bytes.is_some()), "{status:?}");
    assert_eq!(status.server_version.as_deref(), Some(plane.server_version()));

    refuses_the_same_name(&options).await;
    a_deployment_gets_a_pending_pod(&plane).await;
    kubectl_is_kubectl(&plane);
    assert!(plane.failure().is_none());

    let state_dir = plane.state_dir().to_path_buf();
    assert_eq!(processes_of(&state_dir).len(), 5);
    plane.shutdown().await.unwrap();
    assert_eq!(processes_of(&state_dir), Vec::<String>::new());
    assert!(!state_dir.exists());
    assert!(plane::find(&options.name).unwrap().is_none());
    assert!(matches!(plane::down(&options.name).await, Err(Error::NotUp(_))));
}

async fn refuses_the_same_name(options: &Options) {
    let refusal = plane::up(options).await.unwrap_err();
    assert!(matches!(refusal, Error::NameInUse { owner, .. } if owner == std::process::id()), "{refusal}");
}

/// The scheduler leaves it Pending, for want of nodes, and says so.
async fn a_deployment_gets_a_pending_pod(plane: &Plane) {
    let client = plane.client().unwrap();
    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    let deployment = serde_json::from_value(serde_json::json!({
        "metadata": {"name": "llama"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "llama"}},
            "template": {
                "metadata": {"labels": {"app": "llama"}},
                "spec": {"containers": [{"name": "engine", "image": "aibrix/vllm-mock:nightly"}]},
            },
        },
    }));
    deployments.create(&PostParams::default(), &deployment.unwrap()).await.unwrap();
    let pods: Api<Pod> = Api::default_namespaced(client);
    eventually("a pod that the scheduler has looked at", async || {
        let pods = pods.list(&ListParams::default().labels("app=llama")).await.unwrap().items;
        let status = pods.first().and_then(|pod| pod.status.clone()).unwrap_or_default();
        assert!(pods.len() <= 1, "{pods:?}");
        let unschedulable = status.conditions.unwrap_or_default().iter().any(|condition| {
            condition.type_ == "PodScheduled" && condition.reason.as_deref() == Some("Unschedulable")
        });
        unschedulable && status.phase.as_deref() == Some("Pending")
    })
    .await;
}

fn kubectl_is_kubectl(plane: &Plane) {
    let check = |arguments: &str, code: i32, stdout: &str, stderr: &str| {
        let output =
            plane::kubectl_command(plane.name()).unwrap().args(arguments.split(' ')).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments}: {}", text(&output.stderr));
        assert_eq!(text(&output.stdout), stdout, "{arguments}");
        assert_eq!(text(&output.stderr), stderr, "{arguments}");
    };
    check("get deployments -o name", 0, "deployment.apps/llama\n", "");
    check("get pod nope", 1, "", "Error from server (NotFound): pods \"nope\" not found\n");
    check(
        "auth can-i delete nodes --as=bob",
        1,
        "no\n",
        "Warning: resource 'nodes' is not namespace scoped\n\n",
    );
}

/// A plane owned by another process: this test executable again, running only [`owner`].
struct Owner {
    name: String,
    process: Child,
}

impl Owner {
    fn start(name: &str) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["owner", "--exact", "--ignored", "--nocapture"])
            .env(OWNED, name)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line == "up"), "the owner of {name} ended early");
        Self { name: name.to_owned(), process }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
#[ignore = "is run by the other tests, in a process of its own"]
async fn owner() {
    let Ok(name) = std::env::var(OWNED) else { return };
    let _plane = plane::up(&options(&name)).await.unwrap();
    println!("\nup");
    std::future::pending::<()>().await;
}

/// Processes and directories before `up` and after its end are equal, however it ends.
async fn leaves_nothing(name: &str, end: impl AsyncFnOnce(&mut Owner)) {
    let name = unique(name);
    options(&name); // built here rather than in the owner
    let mut owner = Owner::start(&name);
    let status = plane::find(&name).unwrap().expect("it is up");
    assert_eq!(processes_of(&status.state_dir).len(), 5);

    end(&mut owner).await;
    eventually("no process and no directory left", async || {
        processes_of(&status.state_dir).is_empty() && !status.state_dir.exists()
    })
    .await;
    assert!(plane::find(&owner.name).unwrap().is_none());
}

#[tokio::test]
async fn a_killed_owner_leaves_nothing() {
    leaves_nothing("killed", async |owner| {
        owner.process.kill().unwrap();
        owner.process.wait().unwrap();
        // The name is free again as soon as the reaper is done, and `up` waits for that.
        let again = plane::up(&options(&owner.name)).await.unwrap();
        again.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn down_from_another_process_leaves_nothing() {
    leaves_nothing("down", async |owner| plane::down(&owner.name).await.unwrap()).await;
}

/// Without owner and reaper the servers still end, and the next `down` finds nothing but a directory to remove.
#[tokio::test]
async fn down_cleans_up_after_a_killed_reaper() {
    leaves_nothing("unreaped", async |owner| {
        let status = plane::find(&owner.name).unwrap().unwrap();
        let reaper = status.processes.iter().find(|process| process.name == "reaper").unwrap();
        let kill = Command::new("kill").args(["-9", &reaper.pid.to_string()]).status().unwrap();
        assert!(kill.success());
        owner.process.kill().unwrap();
        owner.process.wait().unwrap();
        plane::down(&owner.name).await.unwrap();
    })
    .await;
}

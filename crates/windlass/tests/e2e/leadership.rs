//! Two controllers, of which one leads.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource};
use serde_json::json;
use windlass_api::PodAutoscaler;

use crate::fixture::{Controller, Namespace, OWN_CONTROLLERS, Trajectory, autoscaler, deployment};

/// The election of one test. The Leases are where the kubeconfig's namespace is.
struct Election {
    group: &'static str,
    leases: Api<Lease>,
}

impl Election {
    async fn new(group: &'static str) -> Self {
        Self { group, leases: Namespace::new("default").await.api() }
    }

    fn controller(&self, identity: &str) -> Controller {
        Controller::start(self.group, identity)
    }

    async fn lease(&self) -> LeaseSpec {
        self.leases.get_opt(self.group).await.unwrap().and_then(|lease| lease.spec).unwrap_or_default()
    }

    /// Waits until somebody else than `before` holds the Lease.
    async fn next_leader(&self, before: &str) -> (String, LeaseSpec) {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(30) {
            let spec = self.lease().await;
            let holder = spec.holder_identity.clone().unwrap_or_default();
            if !holder.is_empty() && holder != before {
                return (holder, spec);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("nobody but {before:?} holds {}: {:?}", self.group, self.lease().await);
    }
}

/// Engines with a PodAutoscaler that only the controllers of the group see, scaled from 2 to 3 by their leader.
async fn scaled_once(group: &str) -> (Namespace, Trajectory) {
    let namespace = Namespace::new(group).await;
    namespace.apply(&deployment("engine", "engine", 2, &[("total", "60"), ("share", "ready")])).await;
    namespace.ready("engine", 2).await;
    let trajectory = namespace.record("engine");
    let labels = format!("{{name: pa, labels: {{{OWN_CONTROLLERS}: {group}}}}}");
    namespace
        .apply(&autoscaler("pa", "Deployment/engine", "KPA", (1, 10)).replace("{name: pa}", &labels))
        .await;
    namespace.ready("engine", 3).await;
    namespace.condition("pa", "MetricsAvailable", "True", "Fresh").await;
    (namespace, trajectory)
}

/// The load doubles; whoever leads now scales, and the history is the one of all leaders.
async fn scales_on(namespace: &Namespace, trajectory: &Trajectory) {
    namespace.steer("deployment/engine", "total=120").await;
    namespace.ready("engine", 6).await;
    namespace.condition("pa", "Ready", "True", "AsExpected").await;
    let status = namespace.autoscaler("pa").await["status"].clone();
    let history = status["scalingHistory"].as_array().unwrap();
    assert_eq!(history[0]["newScale"], 3, "{status:#}");
    assert_eq!(history.last().unwrap()["newScale"], 6, "{status:#}");
    assert_eq!(status["lastScaleTime"], history.last().unwrap()["timestamp"]);
    assert!(trajectory.replicas().is_sorted(), "a takeover lowers nothing: {:?}", trajectory.timed());
}

#[tokio::test]
async fn when_the_leader_is_killed_the_other_takes_over_and_scales() {
    let election = Election::new("leader-killed").await;
    let mut leader = election.controller("one");
    let (first, spec) = election.next_leader("").await;
    assert_eq!(
        (first.as_str(), spec.lease_transitions, spec.lease_duration_seconds),
        ("one", Some(0), Some(3))
    );
    let _other = election.controller("two");
    let (namespace, trajectory) = scaled_once(election.group).await;
    let before = namespace.autoscaler("pa").await["status"]["lastScaleTime"].clone();

    leader.kill();
    let (second, spec) = election.next_leader("one").await;
    assert_eq!((second.as_str(), spec.lease_transitions), ("two", Some(1)));
    // It decides, and does not forget.
    namespace.condition("pa", "MetricsAvailable", "True", "Fresh").await;
    assert_eq!(namespace.autoscaler("pa").await["status"]["lastScaleTime"], before);
    scales_on(&namespace, &trajectory).await;
}

#[tokio::test]
async fn a_leader_that_ends_hands_over() {
    let election = Election::new("leader-ends").await;
    let mut leader = election.controller("one");
    election.next_leader("").await;
    let _other = election.controller("two");
    let (namespace, trajectory) = scaled_once(election.group).await;
    leader.signal("TERM");
    assert!(leader.ended().await.success(), "a graceful end");
    let spec = election.lease().await;
    // Given back, and perhaps taken already; never still the one's.
    assert_ne!(spec.holder_identity.as_deref(), Some("one"));
    let begun = Instant::now();
    let (second, spec) = election.next_leader("one").await;
    assert_eq!((second.as_str(), spec.lease_transitions), ("two", Some(1)));
    println!("handed over {:?} after the end", begun.elapsed());
    scales_on(&namespace, &trajectory).await;
}

/// A supervisor that closes the pipe and signals as well wants one end, not a second signal's abort.
#[tokio::test]
async fn a_leader_whose_input_ends_and_that_is_signalled_gives_the_lease_back() {
    let election = Election::new("leader-input").await;
    let mut leader = election.controller("one");
    election.next_leader("").await;
    leader.end_input();
    leader.signal("TERM");
    assert!(leader.ended().await.success(), "a graceful end");
    assert_ne!(election.lease().await.holder_identity.as_deref(), Some("one"));
}

/// It stands still for longer than its term, and comes back when another leads.
#[tokio::test]
async fn a_leader_that_stood_still_ends_and_writes_nothing() {
    let election = Election::new("leader-paused").await;
    let mut leader = election.controller("one");
    election.next_leader("").await;
    let _other = election.controller("two");
    let (namespace, trajectory) = scaled_once(election.group).await;
    leader.signal("STOP");
    election.next_leader("one").await;
    scales_on(&namespace, &trajectory).await;
    leader.signal("CONT");
    assert_eq!(leader.ended().await.code(), Some(1), "it says that leadership was lost");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(trajectory.replicas().is_sorted(), "{:?}", trajectory.timed());
    assert_eq!(trajectory.replicas().last(), Some(&6), "{:?}", trajectory.timed());
}

/// Whoever deletes the Lease or edits it changes nothing, as long as he does not name another holder.
#[tokio::test]
async fn a_lease_deleted_or_emptied_by_hand_stays_with_the_leader() {
    let election = Election::new("lease-deleted").await;
    let default = Namespace::new("default").await;
    let mut leader = election.controller("one");
    election.next_leader("").await;
    let _other = election.controller("two");
    tokio::time::sleep(Duration::from_secs(1)).await;
    default.kubectl(&["delete", "lease", election.group]).await;
    assert_eq!(election.next_leader("").await.0, "one");
    let emptied = r#"{"spec": {"holderIdentity": ""}}"#;
    default.kubectl(&["patch", "lease", election.group, "--type=merge", "-p", emptied]).await;
    assert_eq!(election.next_leader("").await.0, "one");
    let given = r#"{"spec": {"holderIdentity": "somebody"}}"#;
    default.kubectl(&["patch", "lease", election.group, "--type=merge", "-p", given]).await;
    assert_eq!(leader.ended().await.code(), Some(1));
    assert_eq!(election.next_leader("somebody").await.0, "two");
}

/// What a leader relies on whose last write was held up until another led: see the status of `controller::write`.
#[tokio::test]
async fn a_status_meant_for_an_older_version_is_refused() {
    let namespace = Namespace::new("old-status").await;
    let labels = format!("{{name: pa, labels: {{{OWN_CONTROLLERS}: nobody}}}}");
    let manifest = autoscaler("pa", "Deployment/engine", "KPA", (1, 10)).replace("{name: pa}", &labels);
    namespace.apply(&manifest).await;
    let api: Api<PodAutoscaler> = namespace.api();
    let write = async |version: &Option<String>, scale: i32| {
        let patch = json!({
            "apiVersion": PodAutoscaler::api_version(&()),
            "kind": PodAutoscaler::kind(&()),
            "metadata": {"resourceVersion": version},
            "status": {"desiredScale": scale},
        });
        api.patch_status("pa", &PatchParams::apply("windlass").force(), &Patch::Apply(patch)).await
    };
    let refused = |outcome: kube::Result<PodAutoscaler>| match outcome {
        Err(kube::Error::Api(status)) => assert_eq!(status.code, 409, "{status:?}"),
        other => panic!("not refused: {other:?}"),
    };
    let read = api.get("pa").await.unwrap().metadata.resource_version;
    let written = write(&read, 2).await.unwrap().metadata.resource_version;
    refused(write(&read, 3).await);
    let newest = write(&written, 4).await.unwrap().metadata.resource_version;
    assert_eq!(namespace.autoscaler("pa").await["status"]["desiredScale"], 4);
    namespace.kubectl(&["delete", "podautoscaler", "pa"]).await;
    namespace.apply(&manifest).await;
    refused(write(&newest, 5).await);
}

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::*;
use crate::mock_engine::Fault;
use crate::node_agent::annotations::Amount;
use crate::node_agent::objects::Phase;

/// A registry and what its pods were last told.
#[derive(Default)]
struct World {
    registry: Registry,
    pods: BTreeMap<Uid, watch::Receiver<Orders>>,
}

fn annotations(pairs: &[(&str, &str)]) -> Annotations {
    let map = pairs
        .iter()
        .map(|(key, value)| (format!("testbed.windlass.dev/{key}"), (*value).to_owned()))
        .collect();
    let (annotations, bad) = Annotations::parse(Some(&map));
    assert_eq!(bad, []);
    annotations
}

fn controller(kind: WorkloadKind, uid: &str) -> Controller {
    Controller { kind, uid: uid.to_owned() }
}

impl World {
    fn deployment(&mut self, replicas: f64, pairs: &[(&str, &str)]) {
        let (uid, kind) = ("deployment".to_owned(), WorkloadKind::Deployment);
        let annotations = annotations(pairs);
        self.registry.apply_workload(Workload { uid, kind, controller: None, annotations, replicas });
    }

    fn replica_set(&mut self) {
        let (uid, kind) = ("rs".to_owned(), WorkloadKind::ReplicaSet);
        let controller = Some(controller(WorkloadKind::Deployment, "deployment"));
        let annotations = annotations(&[("total", "1")]);
        self.registry.apply_workload(Workload { uid, kind, controller, annotations, replicas: 99.0 });
    }

    fn pod(&mut self, uid: &str, controller: Option<Controller>, ready: bool, pairs: &[(&str, &str)]) {
        let started = SystemTime::UNIX_EPOCH;
        let pod = Pod {
            uid: uid.to_owned(),
            namespace: "default".to_owned(),
            name: uid.to_owned(),
            node: "node".to_owned(),
            controller,
            annotations: annotations(pairs),
            labels: BTreeMap::new(),
            containers: Vec::new(),
            restarts_never: false,
            phase: if ready { Phase::Running { started, ready } } else { Phase::Pending },
            address: None,
            deleting: None,
        };
        if let Some(new) = self.registry.apply_pod(&pod) {
            assert!(self.pods.insert(uid.to_owned(), new.orders).is_none(), "{uid} started twice");
        }
    }

    /// Compares the shares the pods report; `None` for a pod whose owner is not known yet.
    #[track_caller]
    fn check(&self, expected: &[(&str, Option<f64>)]) {
        let told = self.pods.iter().filter(|(_, orders)| orders.has_changed().is_ok());
        let shares: Vec<_> = told
            .map(|(uid, orders)| (uid.as_str(), orders.borrow().part.map(|(_, script)| script.share)))
            .collect();
        assert_eq!(shares, expected);
    }
}

#[test]
fn a_pod_waits_until_its_owners_are_known() {
    let mut world = World::default();
    let rs = Some(controller(WorkloadKind::ReplicaSet, "rs"));
    world.pod("a", rs, false, &[]);
    world.check(&[("a", None)]);
    world.replica_set();
    world.check(&[("a", None)]);
    world.deployment(3.0, &[]);
    world.check(&[("a", Some(100.0 / 3.0))]);
    // A deleted Deployment's pods go on as they were.
    world.registry.remove_workload(&"deployment".to_owned());
    world.check(&[("a", Some(100.0 / 3.0))]);
    world.registry.remove_pod(&"a".to_owned());
    world.check(&[]);
    assert!(world.registry.controlled.is_empty() || !world.registry.controlled.contains_key("rs"));
}

#[test]
fn the_total_is_divided_by_spec_replicas() {
    let mut world = World::default();
    let rs = Some(controller(WorkloadKind::ReplicaSet, "rs"));
    world.deployment(4.0, &[]);
    world.replica_set();
    world.pod("a", rs.clone(), true, &[]);
    world.pod("b", rs, false, &[("total", "8")]);
    world.check(&[("a", Some(25.0)), ("b", Some(2.0))]);
    world.deployment(5.0, &[]);
    world.check(&[("a", Some(20.0)), ("b", Some(1.6))]);
    world.deployment(5.0, &[("total", "300"), ("fault", "hang")]);
    world.check(&[("a", Some(60.0)), ("b", Some(1.6))]);
    let fault = |uid: &str| world.pods[uid].borrow().part.unwrap().1.fault;
    assert_eq!([fault("a"), fault("b")], [Fault::Hang; 2]);
    world.deployment(0.0, &[]);
    world.check(&[("a", Some(100.0)), ("b", Some(8.0))]);
}

#[test]
fn the_total_is_divided_by_ready_pods_on_request() {
    let mut world = World::default();
    let rs = Some(controller(WorkloadKind::ReplicaSet, "rs"));
    world.deployment(4.0, &[("share", "ready")]);
    world.replica_set();
    world.pod("a", rs.clone(), false, &[]);
    world.check(&[("a", Some(100.0))]);
    world.pod("a", rs.clone(), true, &[]);
    world.pod("b", rs.clone(), true, &[]);
    world.pod("c", rs, false, &[]);
    world.check(&[("a", Some(50.0)), ("b", Some(50.0)), ("c", Some(50.0))]);
    world.registry.remove_pod(&"a".to_owned());
    world.check(&[("b", Some(100.0)), ("c", Some(100.0))]);
    world.deployment(4.0, &[]);
    world.check(&[("b", Some(25.0)), ("c", Some(25.0))]);
}

#[test]
fn pods_without_a_watched_owner() {
    let mut world = World::default();
    world.pod("bare", None, true, &[]);
    let foreign = Some(controller(WorkloadKind::Foreign, "cluster"));
    world.pod("f1", foreign.clone(), true, &[]);
    world.check(&[("bare", Some(100.0)), ("f1", Some(100.0))]);
    world.pod("f2", foreign, false, &[]);
    world.check(&[("bare", Some(100.0)), ("f1", Some(50.0)), ("f2", Some(50.0))]);
    world.registry.retain_pods(&["f2".to_owned()].into());
    world.check(&[("f2", Some(100.0))]);
}

#[test]
fn a_resync_forgets_what_is_gone() {
    let mut world = World::default();
    world.deployment(2.0, &[]);
    world.replica_set();
    world.registry.resync_workloads(WorkloadKind::Deployment, Vec::new());
    assert_eq!(world.registry.workloads.keys().collect::<Vec<_>>(), ["rs"]);
    world.registry.resync_workloads(WorkloadKind::ReplicaSet, Vec::new());
    assert!(world.registry.workloads.is_empty() && world.registry.controlled.is_empty());
}

#[test]
fn a_total_usage_is_divided_like_the_load() {
    let mut world = World::default();
    world.deployment(4.0, &[("cpu", "total(2400m)"), ("memory", "1Gi")]);
    world.replica_set();
    world.pod("a", Some(controller(WorkloadKind::ReplicaSet, "rs")), true, &[]);
    world.pod("alone", None, true, &[("cpu", "total(2)")]);
    let usage = |world: &World, uid: &str| {
        let (settings, _) = world.pods[uid].borrow().part.unwrap();
        (settings.cpu.map(Amount::value), settings.memory.map(Amount::value))
    };
    assert_eq!(usage(&world, "a"), (Some(0.6), Some(1_073_741_824.0)));
    assert_eq!(usage(&world, "alone"), (Some(2.0), None));
    world.deployment(8.0, &[("cpu", "total(2400m)")]);
    assert_eq!(usage(&world, "a"), (Some(0.3), None));
}

/// Which engine each pod is.
fn kinds(world: &World) -> Vec<&'static str> {
    let told = world.pods.values().filter(|orders| orders.has_changed().is_ok());
    told.map(|orders| orders.borrow().part.unwrap().1.engine.name()).collect()
}

#[test]
fn engines_are_dealt_in_turn_and_kept() {
    let mut world = World::default();
    let rs = Some(controller(WorkloadKind::ReplicaSet, "rs"));
    world.replica_set();
    world.deployment(3.0, &[("engine", "vllm-v0,sglang,tgi")]);
    for pod in ["a", "b", "c", "d"] {
        world.pod(pod, rs.clone(), true, &[]);
    }
    assert_eq!(kinds(&world), ["vllm-v0", "sglang", "tgi", "vllm-v0"]);
    // A pod that comes for one that is gone takes its turn; the others stay what they are.
    world.registry.remove_pod(&"b".to_owned());
    world.pod("e", rs.clone(), false, &[]);
    assert_eq!(kinds(&world), ["vllm-v0", "tgi", "vllm-v0", "sglang"]);
    world.deployment(3.0, &[("engine", "vllm-v1,sglang,tgi")]);
    assert_eq!(kinds(&world), ["vllm-v1", "tgi", "vllm-v1", "sglang"]);
    world.deployment(3.0, &[("engine", "vllm-v1")]);
    assert_eq!(kinds(&world), ["vllm-v1"; 4]);
    world.pod("a", rs, true, &[("engine", "trtllm-serve")]);
    assert_eq!(kinds(&world), ["trtllm-serve", "vllm-v1", "vllm-v1", "vllm-v1"]);
}

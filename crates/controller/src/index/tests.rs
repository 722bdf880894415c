//! The index on its own: what it asks for, and what it makes of the answers.

use std::sync::mpsc::{Receiver, channel};

use kube::core::ApiResource;
use serde_json::json;
use tokio::time::Instant as TokioInstant;

use super::*;
use crate::selector::Selector;

const DEPLOYMENT: &str = "d0000000-0000-0000-0000-000000000000";
const OTHER: &str = "e0000000-0000-0000-0000-000000000000";

struct World {
    index: Index,
    asked: Receiver<Task>,
}

fn deployments() -> GroupVersionKind {
    GroupVersionKind::gvk("apps", "v1", "Deployment")
}

fn key() -> Key {
    Key { namespace: "ns".to_owned(), name: "pa".to_owned() }
}

fn autoscaler(uid: &str, min: u32) -> PodAutoscaler {
    let object = json!({
        "apiVersion": "autoscaling.aibrix.ai/v1alpha1",
        "kind": "PodAutoscaler",
        "metadata": {"name": "pa", "namespace": "ns", "uid": uid},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "engine"},
            "minReplicas": min, "maxReplicas": 10, "scalingStrategy": "KPA",
            "targetMetric": "inflight", "targetValue": "20",
        },
    });
    serde_json::from_value(object).unwrap()
}

fn pod(number: u32, replica_set: Option<&str>) -> Pod {
    let owners: Vec<_> = replica_set
        .map(|uid| json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": uid, "uid": uid, "controller": true}))
        .into_iter()
        .collect();
    let object = json!({
        "metadata": {"name": format!("p{number}"), "namespace": "ns", "labels": {"app": "engine"},
            "uid": format!("00000000-0000-0000-0000-{number:012}"), "ownerReferences": owners},
        "status": {"phase": "Running", "podIP": "127.0.0.1",
            "conditions": [{"type": "Ready", "status": "True"}]},
    });
    serde_json::from_value(object).unwrap()
}

fn controller(uid: &str) -> ControllerRef {
    ControllerRef {
        api_version: "apps/v1".to_owned(),
        kind: "Deployment".to_owned(),
        name: "engine".to_owned(),
        uid: uid.to_owned(),
    }
}

fn version(generation: i64) -> ObjectVersion {
    ObjectVersion { uid: Some(DEPLOYMENT.to_owned()), generation: Some(generation) }
}

impl World {
    fn new() -> Self {
        let mut world = Self::following();
        world.index.lead();
        world
    }

    fn following() -> Self {
        let (sender, asked) = channel();
        let tasks = Box::new(move |task| sender.send(task).unwrap());
        let mut index = Index::new(Clock::start(), Arc::new(|_, _, _, _| ()), tasks, Journal::default());
        index.apply_autoscaler(autoscaler("a", 1));
        Self { index, asked }
    }

    fn scale(&mut self, replicas: u32) {
        self.scale_with(replicas, "app=engine");
    }

    fn scale_with(&mut self, replicas: u32, selector: &str) {
        let scale = Scale {
            uid: DEPLOYMENT.to_owned(),
            resource: ApiResource::from_gvk(&deployments()),
            replicas,
            selector: Selector::parse(selector),
        };
        let now = self.index.clock.now();
        self.index.scale_read(&key(), Ok(scale), now);
    }

    fn asked(&self) -> Vec<String> {
        let name = |task: Task| match task {
            Task::WatchKind(kind) => format!("watch {}", kind.kind),
            Task::ReadScale(key) => format!("scale of {key}"),
            Task::ReadOwner { object, .. } => format!("owner of {}", object.uid),
            Task::Scale(request) => format!("{} → {}", request.from, request.to),
        };
        self.asked.try_iter().map(name).collect()
    }

    fn active(&self) -> &Active {
        self.index.autoscalers[&key()].state.as_ref().unwrap()
    }

    fn read(&mut self, number: u32, value: f64) {
        let asked = TokioInstant::now();
        let values = Ok(vec![Some(windlass_scrape::Value { value, since: asked })]);
        let outcome = Outcome { asked, values };
        self.index.polled(
            &key(),
            PodUid(u128::from_str_radix(&number.to_string(), 16).unwrap()),
            PageId::FIRST,
            outcome,
        );
    }
}

#[tokio::test]
async fn pods_are_counted_when_their_controllers_are_known() {
    let mut world = World::new();
    world.scale(2);
    assert_eq!(world.asked(), ["watch Deployment"]);
    for number in 1..=3 {
        world.index.apply_pod(pod(number, Some(if number < 3 { "ours" } else { "theirs" })));
    }
    assert_eq!(world.asked(), ["owner of ours", "owner of theirs"], "each is asked for once");
    assert_eq!(world.active().facts.pods().len(), 0);
    world.index.owner_found("ns", "ours", Ok(Some(controller(DEPLOYMENT))));
    world.index.owner_found("ns", "theirs", Ok(Some(controller(OTHER))));
    assert_eq!(world.asked(), [format!("owner of {OTHER}")]);
    world.index.owner_found("ns", OTHER, Ok(None));
    assert_eq!(world.active().facts.pods().len(), 2, "the third belongs to another");
}

#[tokio::test]
async fn a_chain_that_cannot_be_walked_is_no_reason_for_no_pods() {
    let mut world = World::new();
    world.scale(1);
    world.index.apply_pod(pod(1, Some("hidden")));
    world.index.owner_found("ns", "hidden", Err("forbidden".to_owned()));
    assert_eq!(world.active().facts.pods().len(), 1);
    let member = world.active().members.values().next().unwrap();
    assert_eq!(member.membership, Membership::Unverified("forbidden".to_owned()));
    world.index.apply_pod(pod(2, None));
    assert_eq!(world.active().facts.pods().len(), 2, "a pod without a controller is the selector's");
}

#[tokio::test]
async fn a_decision_is_written_once_and_again_only_after_a_failure_and_a_wait() {
    let mut world = World::new();
    world.scale(1);
    world.index.apply_pod(pod(1, None));
    world.asked();
    world.read(1, 40.0);
    assert_eq!(world.asked(), ["1 → 2"]);
    world.read(1, 40.0);
    assert!(world.asked().is_empty(), "a write is under way");
    world.index.after_write(&key(), |autoscaler, now| {
        autoscaler.state.as_mut().unwrap().written(Err("refused".to_owned()), now);
    });
    assert!(world.asked().is_empty(), "not at once");
    assert_eq!(world.active().write_problem.as_deref(), Some("refused"));
}

/// Sets the annotations of the PodAutoscaler to these, without their prefix.
fn annotated(annotations: &[(&str, &str)]) -> PodAutoscaler {
    let mut object = autoscaler("a", 1);
    let written = annotations.iter().map(|(key, value)| (format!("windlass.dev/{key}"), (*value).to_owned()));
    object.metadata.annotations = Some(written.collect());
    object
}

impl World {
    /// One pod with twice its load, under these annotations; what is written.
    fn held(annotations: &[(&str, &str)]) -> (Self, Vec<String>) {
        let mut world = Self::new();
        world.index.apply_autoscaler(annotated(annotations));
        world.scale(1);
        world.index.apply_pod(pod(1, None));
        world.read(1, 40.0);
        let asked = world.asked().into_iter().filter(|asked| asked.contains('→')).collect();
        (world, asked)
    }
}

#[tokio::test]
async fn what_is_held_is_not_written_and_said() {
    for (annotations, written, reason, sentence) in [
        (&[("mode", "paused")][..], &[][..], "Paused", "paused by windlass.dev/mode: holding 1, would be 2"),
        (&[("mode", "recommend")], &[], "Recommend", "only recommending: holding 1, would be 2"),
        (&[("hold-at", "6")], &["1 → 6"], "HoldAt", "held by windlass.dev/hold-at 6: holding 6, would be 2"),
        (
            &[("override", "12 until 2999-12-01T08:00Z")],
            &["1 → 10"],
            "Override",
            "held by windlass.dev/override 12 until 2999-12-01T08:00:00Z: \
             holding 10 (within minReplicas 1 and maxReplicas 10), would be 2",
        ),
        (
            &[("mode", "paused"), ("hold-at", "6"), ("override", "12 until 2999-12-01T08:00Z")],
            &[],
            "Paused",
            "paused by windlass.dev/mode: holding 1, would be 6",
        ),
    ] {
        let (mut world, asked) = World::held(annotations);
        assert_eq!(asked, written, "{annotations:?}");
        let held = world.active().held().map(|(reason, _)| reason);
        assert_eq!(held, Some(reason), "{annotations:?}");
        // What would be was 1 at first, and is told anew after a while only.
        for _ in 0..2 {
            let later = world.index.clock.now() + Duration::from_secs(11);
            let Some(Ok(active)) = world.index.autoscalers.get_mut(&key()).map(|known| &mut known.state)
            else {
                panic!("it is valid")
            };
            active.note_hold(&key(), later, &Journal::default());
        }
        assert_eq!(world.active().held().unwrap().1, sentence);
        world.index.apply_autoscaler(annotated(&[]));
        assert_eq!(world.active().held(), None);
        if written.is_empty() {
            // Nothing is under way: back to auto is back to work.
            assert!(world.asked().contains(&"1 → 2".to_owned()), "{annotations:?}");
        }
    }
}

#[tokio::test]
async fn an_override_that_is_over_is_said_and_ignored() {
    let (world, asked) = World::held(&[("override", "8 until 2001-12-01T08:00Z")]);
    assert_eq!(asked, ["1 → 2"]);
    assert_eq!(world.active().held(), None);
    let warnings: Vec<String> = world.active().resolved.warnings.iter().map(ToString::to_string).collect();
    let expect = "windlass.dev/override: \"8 until 2001-12-01T08:00:00Z\" is over and ignored; remove it, or give it a later end";
    assert_eq!(warnings, [expect]);
}

#[tokio::test]
async fn a_controller_that_only_recommends_writes_nothing() {
    let mut world = World::following();
    world.index = world.index.recommending(true);
    for annotations in [&[][..], &[("hold-at", "6")], &[("mode", "auto")]] {
        world.index.apply_autoscaler(annotated(annotations));
        world.index.lead();
        world.scale(1);
        world.index.apply_pod(pod(1, None));
        world.read(1, 40.0);
        let written = world.asked().into_iter().filter(|asked| asked.contains('→')).count();
        assert_eq!(written, 0, "{annotations:?}");
        let decision = &world.active().decision;
        assert_eq!(decision.replicas, 1);
        assert_eq!(decision.would_be, if annotations.first() == Some(&("hold-at", "6")) { 6 } else { 2 });
    }
}

#[tokio::test]
async fn bounds_hold_without_a_usable_selector() {
    let mut world = World::new();
    world.index.apply_autoscaler(autoscaler("a", 3));
    world.index.apply_pod(pod(1, None));
    world.asked();
    world.scale_with(1, "");
    assert_eq!(world.asked(), ["1 → 3"]);
    assert!(world.active().members.is_empty(), "an empty selector is not every pod");
}

#[tokio::test]
async fn what_is_gone_is_forgotten() {
    let mut world = World::new();
    world.scale(2);
    world.index.apply_pod(pod(1, None));
    world.index.apply_pod(pod(2, None));
    world.index.retain_pods(&HashSet::from([("ns".to_owned(), PodUid(1))]));
    assert_eq!(world.active().facts.pods().len(), 1);
    world.index.pod_deleted(&pod(1, None));
    assert!(world.active().facts.pods().is_empty());
    world.index.retain_autoscalers(&HashSet::new());
    assert!(world.index.autoscalers.is_empty());
    assert_eq!(world.index.decide_due(), None);
}

#[tokio::test]
async fn another_object_of_the_same_name_begins_anew() {
    let mut world = World::new();
    world.scale(2);
    world.index.apply_autoscaler(autoscaler("a", 2));
    assert!(world.active().scale.is_ok(), "a changed spec keeps what is known of its target");
    world.index.apply_autoscaler(autoscaler("b", 2));
    assert!(world.active().scale.is_err(), "a new object looks its target up");
}

#[tokio::test]
async fn only_a_new_generation_of_the_target_is_looked_at() {
    let mut world = World::new();
    world.asked();
    world.index.target_seen(&deployments(), "ns", "engine", version(1));
    world.index.target_seen(&deployments(), "ns", "engine", version(1));
    world.index.target_seen(&deployments(), "ns", "unrelated", version(1));
    assert_eq!(world.asked(), ["scale of ns/pa"]);
    world.index.target_seen(&deployments(), "ns", "engine", version(2));
    world.index.target_gone(&deployments(), "ns", "engine");
    assert_eq!(world.asked(), ["scale of ns/pa", "scale of ns/pa"]);
}

/// It came between the discovery of its kind and the end of the first list.
#[tokio::test]
async fn an_autoscaler_that_comes_during_the_first_list_is_looked_up() {
    let mut world = World::new();
    let resource = ApiResource::from_gvk(&deployments());
    world.index.kind_resolved(&deployments(), Ok(resource));
    world.index.target_seen(&deployments(), "ns", "engine", version(1));
    world.asked();
    world.index.apply_autoscaler(autoscaler("b", 1));
    assert_eq!(world.asked(), ["scale of ns/pa"]);
}

#[tokio::test]
async fn a_target_created_anew_is_noticed_by_its_uid() {
    let mut world = World::new();
    world.index.target_seen(&deployments(), "ns", "engine", version(1));
    world.asked();
    let anew = ObjectVersion { uid: Some(OTHER.to_owned()), generation: Some(1) };
    world.index.target_seen(&deployments(), "ns", "engine", anew);
    assert_eq!(world.asked(), ["scale of ns/pa"]);
}

#[tokio::test]
async fn a_late_answer_does_not_undo_what_is_known_since() {
    let mut world = World::new();
    let asked = world.index.clock.now();
    world.scale(1);
    world.index.after_write(&key(), |autoscaler, now| {
        autoscaler.state.as_mut().unwrap().written(Ok(4), now + Duration::from_millis(1));
    });
    let scale = world.active().scale.clone().map(|scale| Scale { replicas: 1, ..scale });
    world.index.scale_read(&key(), scale, asked);
    assert_eq!(world.active().facts.spec_replicas, 4);
}

/// A pod that becomes ready: its neighbours still carry its load for a moment.
#[tokio::test]
async fn a_round_begins_when_a_new_pod_has_its_share() {
    let mut world = World::new();
    world.scale(2);
    world.index.apply_pod(pod(1, None));
    let first = world.active().facts.ready_changed_at;
    assert!(first <= world.index.clock.now(), "what is met is not a change");
    world.index.apply_pod(pod(2, None));
    assert!(world.active().facts.ready_changed_at > world.index.clock.now());
}

#[tokio::test]
async fn a_follower_knows_the_facts_and_asks_and_decides_nothing() {
    let mut world = World::following();
    world.index.apply_autoscaler(autoscaler("a", 3));
    world.scale(1);
    world.index.apply_pod(pod(1, None));
    assert_eq!(world.asked(), ["watch Deployment"]);
    assert_eq!(world.active().facts.pods().len(), 1);
    assert_eq!((world.active().polls(), world.index.decide_due()), (0, None));

    world.index.lead();
    assert_eq!(world.asked(), ["1 → 3"], "the bounds need no metric");
    assert_eq!(world.active().polls(), 1);

    world.index.stop();
    world.index.lead();
    world.read(1, 400.0);
    assert!(world.asked().is_empty(), "a stop is for good");
    assert_eq!(world.index.decide_due(), None);
}

/// Another leads meanwhile, or led until a moment ago: what it wrote must not be lost.
#[tokio::test]
async fn history_is_the_status_until_we_scaled() {
    let mut world = World::following();
    let record = |to: i32| json!({"timestamp": "2026-11-24T08:00:00Z", "previousScale": 1, "newScale": to, "reason": "r", "success": true});
    let write = |world: &mut World, records: &[i32]| {
        let mut object = serde_json::to_value(autoscaler("a", 1)).unwrap();
        let records: Vec<_> = records.iter().map(|to| record(*to)).collect();
        object["status"] = json!({"scalingHistory": records, "conditions": []});
        world.index.apply_autoscaler(serde_json::from_value(object).unwrap());
        let history = &world.index.autoscalers[&key()].history;
        history.iter().map(|record| record.new_scale).collect::<Vec<_>>()
    };
    assert_eq!(write(&mut world, &[2]), [2]);
    assert_eq!(write(&mut world, &[2, 3]), [2, 3]);
    world.index.lead();
    assert_eq!(write(&mut world, &[2, 3, 4]), [2, 3, 4], "the last words of the leader before");
    let own = world.index.autoscalers[&key()].history[0].clone();
    world.index.after_write(&key(), |autoscaler, _| autoscaler.remember(own));
    assert_eq!(write(&mut world, &[9]), [2, 3, 4, 2]);
}

/// At the very end of a term, and when it was lost: no fault of the target.
#[tokio::test]
async fn a_write_that_was_not_let_through_is_no_problem() {
    let mut world = World::new();
    world.scale(1);
    world.index.apply_pod(pod(1, None));
    world.read(1, 40.0);
    world.asked();
    world.index.after_write(&key(), |autoscaler, now| autoscaler.state.as_mut().unwrap().not_leading(now));
    assert!(world.asked().is_empty(), "not in a tight loop");
    assert_eq!(world.active().write_problem, None);
    assert!(world.index.autoscalers[&key()].history.is_empty());
}

//! The index on its own: what it asks for, and what it makes of the answers.

mod holds;
mod schedules;

use std::sync::mpsc::{Receiver, channel};

use k8s_openapi::api::core::v1::Pod;
use kube::core::ApiResource;
use serde_json::json;
use tokio::time::Instant as TokioInstant;

use windlass_api::status::ScalingRecord;

use super::*;
use crate::autoscaler::Membership;
use crate::selector::Selector;
use crate::target::Count;

const DEPLOYMENT: &str = "d0000000-0000-0000-0000-000000000000";
const OTHER: &str = "e0000000-0000-0000-0000-000000000000";

pub(crate) struct World {
    pub(crate) index: Index,
    asked: Receiver<Task>,
}

/// What [`autoscaler`] scales.
pub(crate) fn target() -> windlass_api::TargetRef {
    windlass_api::resolve(&autoscaler("a", 1)).unwrap().target
}

fn deployments() -> GroupVersionKind {
    GroupVersionKind::gvk("apps", "v1", "Deployment")
}

pub(crate) fn key() -> Key {
    Key { namespace: "ns".to_owned(), name: "pa".to_owned() }
}

pub(crate) fn autoscaler(uid: &str, min: u32) -> PodAutoscaler {
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

pub(crate) fn pod(number: u32, replica_set: Option<&str>) -> Pod {
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
    pub(crate) fn new() -> Self {
        let mut world = Self::following();
        world.index.lead();
        world
    }

    fn following() -> Self {
        let (sender, asked) = channel();
        // Who does not look at what is asked for may drop the receiver.
        let tasks = Box::new(move |task| drop(sender.send(task)));
        let mut index = Index::new(Clock::start(), Arc::new(|_, _, _, _| ()), tasks, Journal::default());
        index.retain_hpas(&HashSet::new());
        index.apply_autoscaler(autoscaler("a", 1));
        Self { index, asked }
    }

    pub(crate) fn scale(&mut self, replicas: u32) {
        self.scale_with(replicas, "app=engine");
    }

    /// Somebody, by field manager, changed the count.
    pub(crate) fn scaled_by(&mut self, replicas: u32, manager: &str) {
        let scale = self.active().scale.clone().unwrap();
        let scale = Scale { replicas, set_by: Some(manager.to_owned()), ..scale };
        let now = self.index.clock.now();
        self.index.scale_read(&key(), Ok(scale), now);
    }

    /// The write under way is acknowledged.
    pub(crate) fn acknowledge(&mut self, replicas: u32) {
        self.index.after_write(&key(), |autoscaler, now| {
            autoscaler.state.as_mut().unwrap().written(Ok(replicas), now);
        });
    }

    fn scale_with(&mut self, replicas: u32, selector: &str) {
        let scale = Scale {
            uid: DEPLOYMENT.to_owned(),
            resource: ApiResource::from_gvk(&deployments()),
            replicas,
            selector: Selector::parse(selector),
            count: Count::Scale,
            set_by: None,
            pods_per_replica: 1,
        };
        let now = self.index.clock.now();
        self.index.scale_read(&key(), Ok(scale), now);
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        let name = |task: Task| match task {
            Task::WatchKind(kind) => format!("watch {}", kind.kind),
            Task::EndWatch(kind) => format!("end watch {}", kind.kind),
            Task::ReadScale(key) => format!("scale of {key}"),
            Task::ReadOwner { object, .. } => format!("owner of {}", object.uid),
            Task::Hpa(request) => format!("{} {}", request.change.name(), request.name),
            Task::Scale(request) => format!("{} → {}", request.from, request.to),
            Task::Announce(told) => format!("{}: {}", told.1.reason, told.1.note),
        };
        self.asked.try_iter().map(name).collect()
    }

    /// Lets time pass, and decides what is due.
    pub(crate) fn wait(&mut self, span: Duration) {
        self.index.clock = self.index.clock.later(span);
        self.index.decide_due();
    }

    pub(crate) fn active(&self) -> &Active {
        self.index.autoscalers[&key()].state.as_ref().unwrap()
    }

    pub(crate) fn read(&mut self, number: u32, value: f64) {
        let asked = TokioInstant::now();
        let observed = windlass_scrape::Observed::Number(value);
        let values = Ok(vec![Some(windlass_scrape::Value { observed, since: asked })]);
        let uid = PodUid(u128::from_str_radix(&number.to_string(), 16).unwrap());
        self.index.polled(&key(), uid, PageId::FIRST, outcome(asked, values));
    }
}

/// Of a poll of a whole page that brought nothing else.
pub(crate) fn outcome(
    asked: TokioInstant,
    values: Result<Vec<Option<windlass_scrape::Value>>, windlass_scrape::ScrapeError>,
) -> Outcome {
    let service = Duration::ZERO;
    Outcome { asked, values, missing: None, detected: None, filtered: false, bytes: 100, service }
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

/// Always in force: by day or by night.
#[tokio::test]
async fn what_was_lowered_to_zero_before_a_start_was_not_switched_off() {
    for (new_scale, expected) in [(0, vec!["0 → 2"]), (1, vec![])] {
        let mut world = World::new();
        let mut object = autoscaler("a", 2);
        let record = json!({"timestamp": "2026-08-03T02:00:00Z", "previousScale": 1, "newScale": new_scale, "reason": "",
            "success": true});
        object.status = serde_json::from_value(json!({"scalingHistory": [record]})).unwrap();
        world.index.apply_autoscaler(object);
        world.asked();
        world.scale(0);
        assert_eq!(world.asked(), expected);
    }
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

/// A pod without a reading is awaited for a moment, and then it is blind.
#[tokio::test]
async fn nothing_is_settled_until_it_is_known() {
    let mut world = World::new();
    let settled = |world: &World| {
        let now = world.index.clock.now();
        world.index.is_settled(&world.index.autoscalers[&key()], now)
    };
    assert!(!settled(&world), "the target is being looked up");
    world.index.apply_pod(pod(1, None));
    world.scale(1);
    assert!(!settled(&world), "not all pods are listed");
    world.index.retain_pods(&HashSet::from([("ns".to_owned(), PodUid(1))]));
    assert!(!settled(&world), "the pod cannot have been heard yet");
    world.wait(Duration::from_millis(4_100));
    assert!(settled(&world), "it could have been by now");
}

#[tokio::test]
async fn a_problem_is_announced_once() {
    let mut world = World::new();
    world.asked();
    let fail = |world: &mut World, message: &str| {
        let problem = ScaleProblem { reason: FAILED_GET_SCALE, message: message.to_owned() };
        let now = world.index.clock.now();
        world.index.scale_read(&key(), Err(problem), now);
        world.asked()
    };
    assert_eq!(fail(&mut world, "it does not exist"), ["FailedGetScale: it does not exist"]);
    assert!(fail(&mut world, "it does not exist").is_empty());
    world.wait(Duration::from_mins(1));
    assert!(world.asked().is_empty());
}

#[tokio::test]
async fn a_spec_that_is_not_valid_is_announced_once_and_again_after_it_was_valid() {
    let mut world = World::new();
    world.asked();
    let apply = |world: &mut World, min: u32| {
        world.index.apply_autoscaler(autoscaler("a", min));
        let told = world.asked();
        told.into_iter().filter(|told| told.starts_with("InvalidBounds")).count()
    };
    let said = [20, 20, 1, 20].map(|min| apply(&mut world, min));
    assert_eq!(said, [1, 0, 0, 1]);
}

#[tokio::test]
async fn an_outage_is_announced_once_and_its_end_once() {
    let mut world = World::new();
    world.scale(1);
    world.index.apply_pod(pod(1, None));
    world.read(1, 10.0);
    world.asked();
    let mut said = Vec::new();
    for _ in 0..60 {
        world.wait(Duration::from_secs(1));
        said.extend(world.asked());
    }
    assert_eq!(said.len(), 1, "{said:?}");
    let (blind, held) = said[0].split_at(said[0].len() - ", holding 1".len());
    assert!(
        blind.starts_with("MetricsUnavailable: inflight: blind since ") && held == ", holding 1",
        "{said:?}"
    );
    world.read(1, 10.0);
    let said = world.asked();
    assert!(said[0].starts_with("MetricsRecovered: inflight: read again after 60 s without"), "{said:?}");
}

#[tokio::test]
async fn a_write_that_fails_again_in_the_same_way_is_no_news() {
    let mut world = World::new();
    world.scale(1);
    let fail = |world: &mut World, why: &str| {
        let mut news = false;
        world.index.after_write(&key(), |autoscaler, now| {
            let record = ScalingRecord {
                timestamp: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::now()),
                previous_scale: 1,
                new_scale: 2,
                reason: "r".to_owned(),
                success: false,
                error: Some(why.to_owned()),
            };
            autoscaler.remember(record);
            news = autoscaler.state.as_mut().unwrap().written(Err(why.to_owned()), now);
            // Still wanted, or it would be forgotten by the next decision.
            autoscaler.state.as_mut().unwrap().quarantine = Some("held".to_owned());
        });
        (news, world.index.autoscalers[&key()].history.len())
    };
    assert_eq!(fail(&mut world, "refused"), (true, 1));
    assert_eq!(fail(&mut world, "refused"), (false, 1));
    assert_eq!(fail(&mut world, "forbidden"), (true, 2));
}

/// A start with a thousand targets answered a thousand times a thousand questions: every controller that was found had all
/// pods of the namespace placed anew, and the lock was held for seconds.
#[tokio::test]
async fn a_controller_that_is_found_concerns_only_the_pods_below_it() {
    let mut world = World::new();
    world.scale(100);
    for number in 0..100 {
        world.index.apply_pod(pod(number, Some(&format!("rs-{number}"))));
    }
    let before = world.index.journal.decisions();
    for number in 0..100 {
        world.index.owner_found("ns", &format!("rs-{number}"), Ok(Some(controller(DEPLOYMENT))));
    }
    assert_eq!(world.index.journal.decisions() - before, 100, "one decision per controller");
    let state = world.index.autoscalers[&key()].state.as_ref().unwrap();
    assert!(state.members.values().all(|member| member.membership == Membership::Own));
}

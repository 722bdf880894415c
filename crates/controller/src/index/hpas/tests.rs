//! Which writes are asked for, and when. Nothing is written here.

use serde_json::{Value, json};

use super::*;
use crate::hpa::Native;
use crate::index::tests::{World, autoscaler, key, pod};

const OWNER: &str = "a";

fn of_strategy(strategy: &str) -> PodAutoscaler {
    let mut object = autoscaler(OWNER, 2);
    strategy.clone_into(&mut object.spec.scaling_strategy);
    object.spec.target_metric = Some("cpu".to_owned());
    object
}

fn own() -> PodAutoscaler {
    autoscaler(OWNER, 2)
}

fn annotated(mut object: PodAutoscaler, setting: &str, value: &str) -> PodAutoscaler {
    object.metadata.annotations = Some([(format!("windlass.dev/{setting}"), value.to_owned())].into());
    object
}

/// What the API server would have after the change.
fn there(object: &PodAutoscaler, version: u32, status: &Value) -> HorizontalPodAutoscaler {
    let mut resolved = windlass_api::resolve(object).unwrap();
    resolved.policy.hold = windlass_scaling::Hold::default();
    let mut hpa = hpa::desired(object, &resolved, Instant::default()).unwrap();
    hpa.metadata.uid = Some("hpa".to_owned());
    hpa.metadata.resource_version = Some(version.to_string());
    hpa.status = serde_json::from_value(status.clone()).unwrap();
    let manager = Some(FIELD_MANAGER.to_owned());
    hpa.metadata.managed_fields = Some(vec![ManagedFieldsEntry { manager, ..Default::default() }]);
    hpa
}

fn name() -> Key {
    Key { namespace: "ns".to_owned(), name: "pa-hpa".to_owned() }
}

impl World {
    fn hpa_writes(&self) -> Vec<String> {
        let asked = self.asked().into_iter();
        asked.filter(|asked| asked.ends_with("pa-hpa") || asked.contains('→')).collect()
    }

    fn hpa_acknowledged(
        &mut self,
        change: Change,
        outcome: Result<Option<HorizontalPodAutoscaler>, Option<String>>,
    ) {
        let request = HpaRequest { key: key(), owner: OWNER.to_owned(), name: "pa-hpa".to_owned(), change };
        self.index.hpa_written(&request, outcome);
    }

    fn pass(&mut self, span: Duration) {
        self.index.clock = self.index.clock.later(span);
        self.index.decide_due();
    }

    fn native(&self) -> &Native {
        let Err(NotDecided::Native(native)) = &self.index.autoscalers[&key()].state else {
            panic!("it is a HorizontalPodAutoscaler's")
        };
        native
    }

    fn problem(&self) -> Option<&'static str> {
        self.native().problem.as_ref().map(|problem| problem.reason)
    }

    /// Strategy HPA, and what it asks for is there.
    fn with_hpa() -> Self {
        let mut world = Self::new();
        world.index.apply_autoscaler(of_strategy("HPA"));
        assert_eq!(world.hpa_writes(), ["create pa-hpa"]);
        let hpa = there(&of_strategy("HPA"), 5, &json!({}));
        world.hpa_acknowledged(Change::Create(Box::new(hpa.clone())), Ok(Some(hpa)));
        assert_eq!(world.hpa_writes(), [""; 0]);
        world
    }
}

#[tokio::test]
async fn it_is_created_once_and_kept_in_step() {
    let mut world = World::with_hpa();
    for _ in 0..100 {
        world.pass(Duration::from_secs(1));
        world.index.apply_hpa(there(&of_strategy("HPA"), 6, &json!({"desiredReplicas": 2})));
    }
    assert_eq!(world.hpa_writes(), [""; 0], "nothing changes, nothing is written");

    let mut changed = of_strategy("HPA");
    changed.spec.max_replicas = 12;
    world.index.apply_autoscaler(changed.clone());
    assert_eq!(world.hpa_writes(), ["update pa-hpa"]);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.hpa_writes(), [""; 0], "it is under way");
    let hpa = there(&changed, 7, &json!({}));
    world.hpa_acknowledged(Change::Update(Box::new(hpa.clone())), Ok(Some(hpa)));
    // The watch is behind.
    world.index.apply_hpa(there(&of_strategy("HPA"), 6, &json!({})));
    assert_eq!(world.hpa_writes(), [""; 0]);
}

#[tokio::test]
async fn what_somebody_does_to_it_is_put_right() {
    let mut world = World::with_hpa();
    let mut edited = there(&of_strategy("HPA"), 6, &json!({}));
    edited.spec.as_mut().unwrap().max_replicas = 99;
    world.index.apply_hpa(edited);
    assert_eq!(world.hpa_writes(), ["update pa-hpa"]);
    let hpa = there(&of_strategy("HPA"), 7, &json!({}));
    world.hpa_acknowledged(Change::Update(Box::new(hpa.clone())), Ok(Some(hpa)));
    world.index.hpa_deleted(&name());
    assert_eq!(world.hpa_writes(), ["create pa-hpa"]);
}

#[tokio::test]
async fn who_changes_it_again_and_again_does_not_make_us_write_as_often() {
    let mut world = World::with_hpa();
    let mut version = 6;
    let mut edit = |world: &mut World| {
        let mut edited = there(&of_strategy("HPA"), version, &json!({}));
        edited.spec.as_mut().unwrap().max_replicas = 99;
        world.index.apply_hpa(edited);
        let asked = world.hpa_writes().len();
        if asked > 0 {
            let hpa = there(&of_strategy("HPA"), version + 1, &json!({}));
            world.hpa_acknowledged(Change::Update(Box::new(hpa.clone())), Ok(Some(hpa)));
        }
        version += 2;
        asked
    };
    let writes: usize = (0..20).map(|_| edit(&mut world)).sum();
    assert_eq!(writes, BURST as usize);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.problem(), Some(FAILED_UPDATE_HPA));
    let later = |world: &mut World, span: Duration| {
        world.pass(span);
        let hpa = there(&of_strategy("HPA"), 1000, &json!({}));
        let asked = world.hpa_writes().len();
        if asked > 0 {
            world.hpa_acknowledged(Change::Update(Box::new(hpa.clone())), Ok(Some(hpa)));
        }
        asked
    };
    assert_eq!(later(&mut world, PUT_BACK_EVERY), 1, "it is put back all the same");
    assert_eq!(world.problem(), Some(FAILED_UPDATE_HPA), "it may go on");
    assert_eq!(later(&mut world, PUT_BACK_EVERY), 0);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.problem(), None, "it does not");
    // What is wanted otherwise from now on is written at once.
    (0..20).for_each(|_| _ = edit(&mut world));
    world.index.apply_autoscaler(annotated(of_strategy("HPA"), "mode", "paused"));
    assert_eq!(world.hpa_writes(), ["update pa-hpa"]);
}

#[tokio::test]
async fn one_that_is_not_ours_is_left_alone() {
    let mut world = World::new();
    let mut foreign = there(&of_strategy("HPA"), 5, &json!({}));
    foreign.metadata.owner_references = None;
    world.index.apply_hpa(foreign.clone());
    world.index.apply_autoscaler(of_strategy("HPA"));
    world.pass(Duration::from_secs(10));
    assert_eq!(world.hpa_writes(), [""; 0]);
    assert_eq!(world.problem(), Some(HPA_NOT_OURS));
    assert!(world.native().mirror.is_none());
    assert!(world.native().conflict.as_ref().unwrap().yields, "it scales the same target");

    let mut earlier = there(&of_strategy("HPA"), 6, &json!({}));
    earlier.metadata.owner_references.as_mut().unwrap()[0].uid = "earlier".to_owned();
    world.index.apply_hpa(earlier);
    assert!(world.native().problem.as_ref().unwrap().message.contains("an earlier object"));
    world.index.hpa_deleted(&name());
    assert_eq!((world.hpa_writes(), world.problem()), (vec!["create pa-hpa".to_owned()], None));

    // It is not in the place of a strategy of our own, but it scales the same target.
    world.index.apply_hpa(foreign);
    world.hpa_acknowledged(Change::Remove(String::new()), Err(None));
    world.index.apply_autoscaler(own());
    world.scale(1);
    assert_eq!(world.hpa_writes(), [""; 0]);
    world.index.hpa_deleted(&name());
    assert_eq!(world.hpa_writes(), [""; 0], "its controller may have begun something");
    world.pass(SYNC_PERIOD);
    assert_eq!(world.hpa_writes(), ["1 → 2"]);
}

/// Beside AIBrix's own controller, which made it and uses it, only a recommendation is made.
#[tokio::test]
async fn a_recommendation_leaves_what_another_controller_made() {
    for strategy in ["HPA", "KPA"] {
        let mut world = World::new();
        let mut made = there(&of_strategy("HPA"), 5, &json!({}));
        made.metadata.managed_fields.as_mut().unwrap()[0].manager = Some("manager".to_owned());
        let object = if strategy == "HPA" { of_strategy("HPA") } else { own() };
        world.index.apply_autoscaler(annotated(object.clone(), "mode", "recommend"));
        world.index.apply_hpa(made);
        world.index.retain_hpas(&HashSet::from([name()]));
        world.scale(1);
        world.pass(Duration::from_mins(1));
        assert_eq!(world.hpa_writes(), [""; 0], "{strategy}");
        world.index.apply_autoscaler(object);
        world.pass(Duration::from_secs(1));
        let expected = if strategy == "HPA" { vec![] } else { vec!["remove pa-hpa"] };
        assert_eq!(world.hpa_writes(), expected, "{strategy}, in auto");
    }
}

/// A webhook that changes what is asked for must not be fought at the pace of the API server.
#[tokio::test]
async fn what_the_api_server_made_another_one_is_not_asked_for_again_at_once() {
    let mut world = World::new();
    world.index.retain_hpas(&HashSet::new());
    world.index.apply_autoscaler(of_strategy("HPA"));
    assert_eq!(world.hpa_writes(), ["create pa-hpa"]);
    let desired = there(&of_strategy("HPA"), 5, &json!({}));
    let mut capped = desired.clone();
    capped.spec.as_mut().unwrap().max_replicas = 3;
    world.hpa_acknowledged(Change::Create(Box::new(desired)), Ok(Some(capped)));
    assert_eq!(world.hpa_writes(), [""; 0]);
    assert_eq!(world.problem(), Some(FAILED_UPDATE_HPA));
}

/// The first write of our own: after it is gone, and one sync period of its controller later.
#[tokio::test]
async fn our_own_writes_wait_until_it_can_write_no_more() {
    let mut world = World::with_hpa();
    world.index.apply_autoscaler(own());
    world.scale(1);
    world.index.apply_pod(pod(1, None));
    assert_eq!(world.hpa_writes(), ["remove pa-hpa"]);
    world.hpa_acknowledged(Change::Remove("hpa".to_owned()), Ok(None));
    world.pass(Duration::from_mins(1));
    assert_eq!(world.hpa_writes(), [""; 0], "it has a finalizer, it may be");
    let active = |world: &World| world.index.autoscalers[&key()].state.as_ref().unwrap().handover.clone();
    assert!(matches!(active(&world), Handover::Removing { problem: None, .. }));
    world.index.hpa_deleted(&name());
    assert!(matches!(active(&world), Handover::Settling));
    world.pass(SYNC_PERIOD.saturating_sub(Duration::from_secs(1)));
    assert_eq!(world.hpa_writes(), [""; 0]);
    world.pass(Duration::from_secs(2));
    assert_eq!(world.hpa_writes(), ["1 → 2"]);
    assert_eq!(active(&world), Handover::Done);
}

/// Left by AIBrix, or by a process that was killed: it is of the same object.
#[tokio::test]
async fn one_that_was_left_behind_is_removed() {
    let mut world = World::new();
    world.asked();
    world.index.apply_hpa(there(&of_strategy("HPA"), 5, &json!({})));
    assert_eq!(world.hpa_writes(), ["remove pa-hpa"]);
    world.hpa_acknowledged(Change::Remove("hpa".to_owned()), Err(Some("forbidden".to_owned())));
    assert_eq!(world.hpa_writes(), [""; 0], "not at once");
    let handover = &world.index.autoscalers[&key()].state.as_ref().unwrap().handover;
    assert!(handover.sentence().unwrap().contains("(forbidden)"));
    world.pass(Duration::from_secs(2));
    assert_eq!(world.hpa_writes(), ["remove pa-hpa"]);
}

#[tokio::test]
async fn a_restart_remembers_that_one_was_removed_just_now() {
    for (condition, generation, waits) in [
        (("AbleToScale", WAITING_FOR_HPA), None, true),
        (("ScalingLimited", "DesiredWithinRange"), Some(3), true),
        (("ScalingLimited", "DesiredWithinRange"), None, false),
        (("AbleToScale", "SucceededGetScale"), Some(3), false),
    ] {
        let mut world = World::new();
        world.index.delete_autoscaler(&key());
        let mut object = own();
        let mut condition = json!({"type": condition.0, "status": "True", "reason": condition.1, "message": "",
            "lastTransitionTime": "2026-11-24T08:00:00Z"});
        if let Some(generation) = generation {
            condition["observedGeneration"] = json!(generation);
        }
        object.status = serde_json::from_value(json!({"conditions": [condition]})).unwrap();
        world.index.apply_autoscaler(object);
        world.scale(1);
        assert_eq!(world.hpa_writes().is_empty(), waits, "{condition}");
        world.pass(SYNC_PERIOD + Duration::from_secs(1));
        assert_eq!(world.hpa_writes().is_empty(), !waits, "{condition}");
    }
}

/// Our own write that is under way is finished before there is another who writes.
#[tokio::test]
async fn it_is_created_after_our_last_own_write() {
    let mut world = World::new();
    world.index.apply_autoscaler(own());
    world.scale(1);
    assert_eq!(world.hpa_writes(), ["1 → 2"]);
    world.index.apply_autoscaler(of_strategy("HPA"));
    world.pass(Duration::from_secs(3));
    assert_eq!(world.hpa_writes(), [""; 0]);
    world.index.after_write(&key(), |_, _| ());
    assert_eq!(world.hpa_writes(), ["create pa-hpa"]);
}

#[tokio::test]
async fn nothing_is_done_before_all_are_known() {
    for strategy in ["HPA", "KPA"] {
        let mut world = World::new();
        world.index.hpas = Hpas::default();
        world.index.apply_autoscaler(if strategy == "HPA" { of_strategy("HPA") } else { own() });
        world.scale(1);
        assert_eq!(world.hpa_writes(), [""; 0], "{strategy}");
        // Who may not list them goes on without, and says so where it matters.
        world.index.hpas_refused("forbidden".to_owned());
        if strategy == "HPA" {
            assert_eq!((world.hpa_writes(), world.problem()), (vec![], Some(FAILED_GET_HPA)));
        } else {
            assert_eq!(world.hpa_writes(), ["1 → 2"]);
        }
        world.index.retain_hpas(&HashSet::new());
        assert_eq!(world.hpa_writes().len(), usize::from(strategy == "HPA"));
    }
}

#[tokio::test]
async fn holds_change_it_and_a_recommendation_removes_it() {
    let mut world = World::with_hpa();
    for (setting, value, expected) in [
        ("mode", "paused", "update pa-hpa"),
        ("hold-at", "3", "update pa-hpa"),
        ("mode", "recommend", "remove pa-hpa"),
    ] {
        world.index.apply_autoscaler(annotated(of_strategy("HPA"), setting, value));
        assert_eq!(world.hpa_writes(), [expected], "{setting} {value}");
        assert!(world.native().held.is_some());
        world.hpa_acknowledged(Change::Remove(String::new()), Err(None));
        world.index.apply_autoscaler(of_strategy("HPA"));
        assert_eq!(world.hpa_writes(), [""; 0], "it is as it was");
        world.pass(Duration::from_secs(1));
    }
}

#[tokio::test]
async fn a_controller_that_only_recommends_leaves_it_alone() {
    let mut world = World::with_hpa();
    world.index.recommend_only = true;
    let mut changed = of_strategy("HPA");
    changed.spec.max_replicas = 12;
    for object in [changed, own(), annotated(of_strategy("HPA"), "mode", "recommend")] {
        world.index.apply_autoscaler(object);
        world.pass(Duration::from_secs(5));
        assert_eq!(world.hpa_writes(), [""; 0]);
    }
}

#[tokio::test]
async fn a_write_that_fails_is_tried_again_after_a_pause() {
    let mut world = World::new();
    world.index.apply_autoscaler(of_strategy("HPA"));
    assert_eq!(world.hpa_writes(), ["create pa-hpa"]);
    let change = || Change::Create(Box::default());
    world.hpa_acknowledged(change(), Err(Some("forbidden".to_owned())));
    assert_eq!((world.hpa_writes().len(), world.problem()), (0, Some(FAILED_UPDATE_HPA)));
    world.pass(Duration::from_millis(1100));
    assert_eq!(world.hpa_writes(), ["create pa-hpa"]);
    world.hpa_acknowledged(change(), Err(Some("forbidden".to_owned())));
    world.pass(Duration::from_millis(1100));
    assert_eq!(world.hpa_writes(), [""; 0], "longer the second time");
    world.pass(Duration::from_millis(1100));
    assert_eq!(world.hpa_writes(), ["create pa-hpa"]);
}

#[tokio::test]
async fn its_changes_of_replicas_are_remembered() {
    let mut world = World::with_hpa();
    let status = |current: i32, desired: i32, reason: &str, at: &str| {
        json!({"currentReplicas": current, "desiredReplicas": desired, "lastScaleTime": at,
            "conditions": [{"type": "AbleToScale", "status": "True", "reason": reason}]})
    };
    let mut see = |version: u32, status: &Value| {
        world.index.apply_hpa(there(&of_strategy("HPA"), version, status));
        let history = &world.index.autoscalers[&key()].history;
        history.iter().map(|record| (record.previous_scale, record.new_scale)).collect::<Vec<_>>()
    };
    let first = status(2, 4, "SucceededRescale", "2026-11-24T08:00:00Z");
    assert_eq!(see(6, &first), [(2, 4)]);
    assert_eq!(see(7, &first), [(2, 4)]);
    assert_eq!(see(8, &status(4, 4, "ReadyForNewScale", "2026-11-24T08:00:00Z")), [(2, 4)]);
    assert_eq!(see(9, &status(4, 3, "SucceededRescale", "2026-11-24T08:10:00Z")), [(2, 4), (4, 3)]);
    assert_eq!(
        see(8, &status(9, 9, "SucceededRescale", "2026-11-24T09:00:00Z")),
        [(2, 4), (4, 3)],
        "an older version"
    );
    assert_eq!(world.native().mirror.as_ref().unwrap().desired, 3);
}

/// Of two objects on one target the younger has no HPA, whatever its strategy.
#[tokio::test]
async fn who_yields_to_an_older_object_has_none() {
    let mut world = World::new();
    let mut younger = of_strategy("HPA");
    let created = |text: &str| Some(Time(text.parse().unwrap()));
    younger.metadata.creation_timestamp = created("2026-11-24T09:00:00Z");
    let mut older = of_strategy("KPA");
    older.metadata.creation_timestamp = created("2026-11-24T08:00:00Z");
    (older.metadata.name, older.metadata.uid) = (Some("older".to_owned()), Some("older".to_owned()));
    world.index.apply_autoscaler(older);
    world.index.apply_autoscaler(younger.clone());
    world.pass(Duration::from_secs(10));
    let created: Vec<String> = world.hpa_writes();
    assert!(created.iter().all(|asked| !asked.starts_with("create")), "{created:?}");
    let conflict = world.native().conflict.clone().unwrap();
    assert!(conflict.yields && conflict.message.contains("older is older and goes on"), "{conflict:?}");
    world.index.apply_hpa(there(&younger, 5, &json!({})));
    assert_eq!(world.hpa_writes(), ["remove pa-hpa"], "one of before the older came");
}

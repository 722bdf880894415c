use serde_json::json;
use windlass_api::PodAutoscaler;

use super::*;
use crate::index::tests::{World, key, pod};

/// A PodAutoscaler of namespace `ns`, created at this minute, for a role of a StormService or the Deployment `engine`.
fn claim(name: &str, minute: u32, role: Option<&str>) -> PodAutoscaler {
    let (api_version, kind) = if role.is_some() {
        ("orchestration.aibrix.ai/v1alpha1", "StormService")
    } else {
        ("apps/v1", "Deployment")
    };
    let role = role.filter(|role| !role.is_empty());
    let object = json!({
        "apiVersion": "autoscaling.aibrix.ai/v1alpha1",
        "kind": "PodAutoscaler",
        "metadata": {"name": name, "namespace": "ns", "uid": format!("uid-{name}"),
            "creationTimestamp": format!("2026-11-24T08:{minute:02}:00Z")},
        "spec": {
            "scaleTargetRef": {"apiVersion": api_version, "kind": kind, "name": "engine"},
            "subTargetSelector": {"roleName": role},
            "minReplicas": 3, "maxReplicas": 10, "scalingStrategy": "KPA",
            "targetMetric": "inflight", "targetValue": "20",
        },
    });
    serde_json::from_value(object).unwrap()
}

fn world(claims: &[PodAutoscaler]) -> World {
    let mut world = World::new();
    world.index.delete_autoscaler(&key());
    for claim in claims {
        world.index.apply_autoscaler(claim.clone());
    }
    world
}

fn conflict(world: &World, name: &str) -> Option<Conflict> {
    let key = Key { namespace: "ns".to_owned(), name: name.to_owned() };
    world.index.autoscalers[&key].state.as_ref().unwrap().conflict.clone()
}

/// Who yields (`-`), who goes on in spite of others (`+`), who is alone.
#[track_caller]
fn check(claims: &[PodAutoscaler], expect: &str) {
    let count = claims.len();
    // Whatever comes first: a restart lists them by name.
    for first in 0..count {
        let mut claims = claims.to_vec();
        claims.rotate_left(first);
        let world = world(&claims);
        let shown = world.index.autoscalers.keys().map(|key| {
            let sign =
                conflict(&world, &key.name).map_or("", |conflict| if conflict.yields { "-" } else { "+" });
            format!("{}{sign}", key.name)
        });
        assert_eq!(shown.collect::<Vec<_>>().join(" "), expect, "beginning with {first}");
    }
}

#[tokio::test]
async fn the_oldest_goes_on_whatever_comes_first() {
    check(&[claim("a", 5, None)], "a");
    check(&[claim("a", 5, None), claim("b", 3, None)], "a- b+");
    check(&[claim("a", 5, None), claim("b", 3, None), claim("c", 4, None)], "a- b+ c-");
    // Of the same second: by uid.
    check(&[claim("b", 5, None), claim("a", 5, None)], "a+ b-");
}

#[tokio::test]
async fn a_role_and_the_whole_are_two_writers() {
    let whole = |name, minute| claim(name, minute, Some(""));
    let role = |name, minute, role| claim(name, minute, Some(role));
    check(&[role("a", 1, "prefill"), role("b", 2, "decode")], "a b");
    check(&[role("a", 1, "prefill"), role("b", 2, "prefill")], "a+ b-");
    check(&[whole("a", 1), role("b", 2, "decode")], "a+ b-");
    // The whole yields to the older role; the younger role has nobody before it who writes.
    check(&[role("a", 1, "prefill"), whole("b", 2), role("c", 3, "decode")], "a+ b- c+");
    // Another kind of the same name.
    check(&[claim("a", 1, None), whole("b", 2)], "a b");
}

#[tokio::test]
async fn the_oldest_of_three_names_all() {
    let mut world = World::new();
    world.index.delete_autoscaler(&key());
    for (name, age) in [("pa", 5), ("b", 3), ("c", 9)] {
        world.index.apply_autoscaler(claim(name, age, None));
    }
    assert_eq!(
        conflict(&world, "b").unwrap().message,
        "PodAutoscalers b and pa and c all scale Deployment/engine: b is older and goes on, pa and c write nothing; \
         keep one of them"
    );
}

#[tokio::test]
async fn both_names_are_told_on_both_and_the_younger_writes_nothing() {
    let mut world = World::new();
    world.index.delete_autoscaler(&key());
    world.index.apply_autoscaler(claim("pa", 5, None));
    world.scale(1);
    assert!(world.asked().contains(&"1 → 3".to_owned()), "alone");
    world.acknowledge(3);
    world.index.apply_autoscaler(claim("b", 3, None));
    let expect = "PodAutoscalers b and pa both scale Deployment/engine: b is older and goes on, pa writes nothing; \
                  keep one of the two";
    for name in ["pa", "b"] {
        assert_eq!(conflict(&world, name).unwrap().message, expect);
    }
    world.asked();
    world.scaled_by(1, "kubectl");
    let asked = world.asked();
    assert!(asked.iter().all(|asked| !asked.contains('→')), "not even the bounds: {asked:?}");
    world.index.delete_autoscaler(&Key { namespace: "ns".to_owned(), name: "b".to_owned() });
    assert_eq!(conflict(&world, "pa"), None);
    assert_eq!(world.asked(), ["1 → 3"]);
}

fn rival(api_version: &str, name: &str, controller: Option<(&str, &str)>) -> Rival {
    Rival {
        target: TargetRef {
            api_version: api_version.to_owned(),
            kind: "Deployment".to_owned(),
            name: name.to_owned(),
            part: Part::Whole,
        },
        controller: controller.map(|(kind, name)| ControllerRef {
            api_version: String::new(),
            kind: kind.to_owned(),
            name: name.to_owned(),
            uid: format!("uid-{name}"),
        }),
    }
}

#[test]
fn what_a_rival_scales() {
    let object = json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "queue"},
        "spec": {"scaleTargetRef": {"name": "engine"}},
    });
    let scaled = Rival::of_scaled_object(&serde_json::from_value(object).unwrap());
    assert_eq!(scaled, rival("apps/v1", "engine", None), "KEDA's defaults");
    let hpa = json!({
        "metadata": {"name": "web", "ownerReferences": [
            {"apiVersion": "", "kind": "PodAutoscaler", "name": "a", "uid": "uid-a", "controller": true},
        ]},
        "spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "engine"}},
    });
    let hpa = Rival::of_hpa(&serde_json::from_value(hpa).unwrap());
    assert_eq!(hpa, rival("apps/v1", "engine", Some(("PodAutoscaler", "a"))));
}

#[tokio::test]
async fn a_native_autoscaler_is_not_fought() {
    let mut world = world(&[claim("a", 1, None)]);
    let hpa = RivalKind::HorizontalPodAutoscaler;
    world.index.rival_seen(hpa, "ns", "a-hpa", &rival("apps/v1", "engine", Some(("PodAutoscaler", "a"))));
    assert_eq!(conflict(&world, "a"), None, "its own");
    world.index.rival_seen(hpa, "other", "web", &rival("apps/v1", "engine", None));
    assert_eq!(conflict(&world, "a"), None, "of another namespace");
    world.index.rival_seen(hpa, "ns", "web", &rival("apps/v2", "engine", None));
    let found = conflict(&world, "a").unwrap();
    assert!(found.yields, "whoever is older");
    let expect = "HorizontalPodAutoscaler web and PodAutoscaler a both scale Deployment/engine: nothing is written for \
                  PodAutoscaler a while it is there; keep one of the two";
    assert_eq!(found.message, expect);
    world.index.rival_seen(hpa, "ns", "web", &rival("apps/v1", "another", None));
    assert_eq!(conflict(&world, "a"), None, "it turned to another target");
    world.index.rival_seen(hpa, "ns", "web", &rival("apps/v1", "engine", Some(("PodAutoscaler", "unknown"))));
    assert!(conflict(&world, "a").is_some(), "of a PodAutoscaler that is not ours");
    world.index.retain_rivals(hpa, &HashSet::from([("ns".to_owned(), "a-hpa".to_owned())]));
    assert_eq!(conflict(&world, "a"), None, "gone while nobody looked");
}

#[tokio::test]
async fn a_scaled_object_speaks_for_its_hpa() {
    let mut world = world(&[claim("a", 1, None)]);
    let made = rival("apps/v1", "engine", Some(("ScaledObject", "queue")));
    world.index.rival_seen(RivalKind::HorizontalPodAutoscaler, "ns", "keda-hpa-queue", &made);
    assert!(conflict(&world, "a").unwrap().message.starts_with("HorizontalPodAutoscaler keda-hpa-queue and"));
    world.index.rival_seen(RivalKind::ScaledObject, "ns", "queue", &rival("apps/v1", "engine", None));
    assert!(
        conflict(&world, "a").unwrap().message.starts_with("ScaledObject queue and PodAutoscaler a both")
    );
    world.index.rival_gone(RivalKind::ScaledObject, "ns", "queue");
    world.index.rival_gone(RivalKind::HorizontalPodAutoscaler, "ns", "keda-hpa-queue");
    assert_eq!(conflict(&world, "a"), None);
}

#[tokio::test]
async fn a_kind_that_nobody_names_is_watched_no_more() {
    let mut world = world(&[claim("a", 1, None), claim("b", 1, Some("decode"))]);
    assert!(!world.asked().contains(&"end watch StormService".to_owned()));
    let mut b = claim("b", 1, Some("decode"));
    b.spec.sub_target_selector = None;
    world.index.apply_autoscaler(b);
    assert!(world.asked().iter().all(|asked| !asked.starts_with("end")), "the whole is of that kind, too");
    world.index.apply_autoscaler(claim("b", 1, None));
    assert!(world.asked().contains(&"end watch StormService".to_owned()));
    world.index.apply_autoscaler(claim("b", 1, Some("decode")));
    assert!(world.asked().contains(&"watch StormService".to_owned()), "it is watched anew");
    world.index.delete_autoscaler(&Key { namespace: "ns".to_owned(), name: "b".to_owned() });
    assert_eq!(world.asked(), ["end watch StormService"]);
}

/// Two Deployments whose selectors match the same pods.
#[tokio::test]
async fn pods_that_nobody_controls_may_count_twice_and_that_is_said() {
    let mut world = World::new();
    world.scale(1);
    let mut other = claim("other", 1, None);
    other.spec.scale_target_ref.name = Some("second".to_owned());
    world.index.apply_autoscaler(other);
    let of_other = Key { namespace: "ns".to_owned(), name: "other".to_owned() };
    let scale = world.active().scale.clone().unwrap();
    let scale = crate::autoscaler::Scale { uid: "second".to_owned(), ..scale };
    let now = world.index.clock.now();
    world.index.apply_pod(pod(1, None));
    assert_eq!(world.active().overlap(), None);
    world.index.scale_read(&of_other, Ok(scale), now);
    let overlap = |world: &World, key: &Key| world.index.autoscalers[key].state.as_ref().unwrap().overlap();
    let expect = "1 pods without a known controller, such as p1, count here and for PodAutoscaler other: give each target \
                  a selector of its own";
    assert_eq!(overlap(&world, &key()).as_deref(), Some(expect));
    assert!(overlap(&world, &of_other).unwrap().contains("PodAutoscaler pa"));
    world.index.apply_pod(pod(2, None));
    assert!(overlap(&world, &key()).unwrap().starts_with("2 pods"));
    world.index.apply_pod(pod(3, Some("rs")));
    world.index.owner_found("ns", "rs", Ok(None));
    assert!(overlap(&world, &key()).unwrap().starts_with("2 pods"), "the third is neither's");
    world.index.pod_deleted(&pod(2, None));
    assert!(overlap(&world, &key()).unwrap().starts_with("1 pods"));
    world.index.delete_autoscaler(&of_other);
    assert_eq!(overlap(&world, &key()), None);
}

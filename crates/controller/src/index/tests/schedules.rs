//! Bounds by the clock.

use super::*;

fn with_schedule(mut object: PodAutoscaler, bounds: &serde_json::Value) -> PodAutoscaler {
    let mut entry =
        json!({"name": "always", "timezone": "Europe/Berlin", "startTime": "00:00", "endTime": "24:00"});
    entry.as_object_mut().unwrap().extend(bounds.as_object().unwrap().clone());
    object.spec.schedules = serde_json::from_value(json!([entry])).unwrap();
    object
}

#[tokio::test]
async fn bounds_are_the_schedules_while_it_is_in_force() {
    let mut world = World::new();
    world
        .index
        .apply_autoscaler(with_schedule(autoscaler("a", 1), &json!({"minReplicas": 3, "maxReplicas": 4})));
    world.asked();
    world.scale(1);
    assert_eq!(world.asked(), ["1 → 3"]);
    let now = world.index.clock.now();
    assert_eq!(world.active().account(now)[0], "schedule always: 3 to 4 replicas");
    let in_force = world.active().in_force.clone().unwrap();
    assert_eq!((in_force.schedule.as_deref(), in_force.next_transition), (Some("always"), None));
    world.index.after_write(&key(), |autoscaler, now| {
        autoscaler.state.as_mut().unwrap().written(Ok(6), now);
    });
    assert_eq!(world.asked(), ["6 → 4"]);
    world.index.after_write(&key(), |autoscaler, now| {
        autoscaler.state.as_mut().unwrap().written(Ok(4), now);
    });
    world.index.apply_autoscaler(autoscaler("a", 1));
    let active = world.active();
    assert_eq!(
        (active.decision.min_replicas, active.decision.max_replicas, &active.in_force),
        (1, 10, &None)
    );
    assert_eq!(active.resolved.policy.scheduled, None);
}

/// The wake-up is the transition's, not the next tick's.
#[tokio::test]
async fn a_transition_is_decided_at_once() {
    let mut world = World::new();
    world.scale(1);
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
    let mut object = autoscaler("a", 1);
    let time = |at: jiff::Timestamp| at.strftime("%H:%M").to_string();
    let end = soon + jiff::SignedDuration::from_mins(1);
    object.spec.schedules = serde_json::from_value(json!([
        {"name": "soon", "startTime": time(soon), "endTime": time(end), "minReplicas": 3},
    ]))
    .unwrap();
    world.index.apply_autoscaler(object);
    let now = world.index.clock.now();
    let active = world.active();
    let next = active.in_force.as_ref().unwrap().next_transition.unwrap();
    assert_eq!(time(next), time(soon));
    let left = Duration::try_from(next.duration_since(jiff::Timestamp::now())).unwrap();
    let just_before = now + left.saturating_sub(Duration::from_millis(100));
    assert_eq!(active.decision.min_replicas, 1);
    let due = active.next_due(just_before);
    assert!(due > just_before && due - just_before < Duration::from_millis(500), "not a second later");
}

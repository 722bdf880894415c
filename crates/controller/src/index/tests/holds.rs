//! What a person ordered: held, and said.

use super::*;

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

/// Noise in the load is no news for ever: each of them is a status written.
#[tokio::test]
async fn what_would_be_is_told_at_a_pace() {
    let (mut world, _) = World::held(&[("mode", "paused")]);
    let mut told = Vec::new();
    for second in 0..120_u64 {
        let now = world.index.clock.now() + Duration::from_secs(second);
        let Some(Ok(active)) = world.index.autoscalers.get_mut(&key()).map(|known| &mut known.state) else {
            panic!("it is valid")
        };
        active.decision.would_be = 4 + u32::try_from(second % 2).unwrap();
        active.note_hold(&key(), now, &Journal::default());
        told.push(active.held().unwrap().1);
    }
    told.dedup();
    assert!((2..8).contains(&told.len()), "{told:?}");
}

use std::time::Duration;

use crate::index::tests::{World, autoscaler, key, pod};

const MINUTE: Duration = Duration::from_mins(1);

/// One pod with twice its load, of which the second replica was written.
fn world() -> World {
    let mut world = World::new();
    world.scale(1);
    world.index.apply_pod(pod(1, None));
    world.read(1, 40.0);
    world.acknowledge(2);
    world.asked();
    world
}

impl World {
    fn set_by_hand(&self) -> Option<u32> {
        self.active().facts.set_by_hand.map(|set| set.replicas)
    }

    /// The writes that are asked for.
    fn writes(&mut self) -> Vec<String> {
        self.asked().into_iter().filter(|asked| asked.contains(" → ")).collect()
    }

    /// Windlass raises to `ours`, a manager sets the count back to 1.
    fn undo(&mut self, ours: u32, manager: &str) {
        self.acknowledge(ours);
        self.scaled_by(1, manager);
    }
}

#[tokio::test]
async fn what_a_person_sets_is_respected_and_told() {
    let mut world = world();
    world.scaled_by(1, "kubectl");
    assert_eq!(world.set_by_hand(), Some(1));
    let said = world.active().respected().unwrap().to_owned();
    assert!(said.starts_with("set to 1 by kubectl: respected until 2"), "{said}");
    world.read(1, 40.0);
    assert_eq!(world.writes(), Vec::<String>::new());
    let account = world.active().account(world.index.clock.now()).join("; ");
    assert!(account.contains("set to 1 by kubectl, respected for 5m more"), "{account}");
    world.wait(MINUTE);
    assert_eq!(world.active().respected(), Some(said.as_str()), "the sentence does not change");
    world.wait(5 * MINUTE);
    assert_eq!(world.active().respected(), None);
}

#[tokio::test]
async fn what_is_met_at_the_start_or_written_by_ourselves_is_no_persons() {
    let mut world = World::new();
    world.scale(4);
    assert_eq!(world.set_by_hand(), None, "at first sight");
    // A write whose answer was lost, or one of the leader before us.
    world.scaled_by(6, "windlass");
    assert_eq!(world.set_by_hand(), None);
    world.acknowledge(7);
    world.scale(7);
    assert_eq!(world.set_by_hand(), None);
    world.scaled_by(5, "kube-controller-manager");
    assert_eq!(world.set_by_hand(), None, "an autoscaler is no person");
    world.scaled_by(6, "kubectl-edit");
    assert_eq!(world.set_by_hand(), Some(6));
    world.scaled_by(8, "windlass");
    assert_eq!(world.set_by_hand(), None);
}

#[tokio::test]
async fn who_was_in_between_is_found_out_after_the_write_that_it_overtook() {
    let mut world = world();
    world.index.after_write(&key(), |autoscaler, now| autoscaler.state.as_mut().unwrap().overtaken(5, now));
    assert_eq!(world.active().explained(), Some(2), "5 is not explained yet");
    world.scaled_by(5, "kubectl");
    assert_eq!((world.active().explained(), world.set_by_hand()), (Some(5), Some(5)));
}

#[tokio::test]
async fn a_manager_that_sets_the_count_back_is_not_fought_without_end() {
    let mut world = world();
    world.undo(2, "argocd-controller");
    assert_eq!(world.set_by_hand(), Some(1), "once may be a person");
    world.wait(2 * MINUTE);
    world.undo(2, "argocd-controller");
    assert_eq!(world.set_by_hand(), None, "the same count again is a manifest");
    assert_eq!(world.active().truce(), None);
    world.wait(2 * MINUTE);
    world.undo(2, "argocd-controller");
    let said = world.active().truce().unwrap().to_owned();
    let expect =
        "argocd-controller set the count back to 1 3 times within 10 min: nothing is written until 2";
    assert!(said.starts_with(expect), "{said}");
    assert!(said.contains("remove replicas from the manifest"), "{said}");
    let asked = world.asked();
    assert!(asked.iter().any(|asked| asked.starts_with("ReplicasContested: argocd-controller")), "{asked:?}");
    world.read(1, 400.0);
    assert_eq!(world.writes(), Vec::<String>::new());
    world.wait(10 * MINUTE);
    assert_eq!(world.active().truce(), None);
}

#[tokio::test]
async fn others_or_other_counts_or_long_ago_are_no_fight() {
    let mut world = world();
    for manager in ["kubectl", "k9s", "kubectl-edit", "helm"] {
        world.undo(2, manager);
    }
    assert_eq!(world.active().truce(), None);
    for _ in 0..4 {
        world.wait(6 * MINUTE);
        world.undo(2, "argocd-controller");
    }
    assert_eq!(world.active().truce(), None, "never three within ten minutes");
    // A person who sets one count after the other undoes nothing of ours.
    for count in [3, 4, 3, 4, 3, 4] {
        world.scaled_by(count, "kubectl");
    }
    assert_eq!((world.active().truce(), world.set_by_hand()), (None, Some(4)));
}

#[tokio::test]
async fn beside_another_autoscaler_nobody_is_a_person() {
    for mode in ["recommend", "paused"] {
        let mut world = world();
        let mut object = autoscaler("a", 1);
        object.metadata.annotations = Some([("windlass.dev/mode".to_owned(), mode.to_owned())].into());
        world.index.apply_autoscaler(object);
        for count in [3, 1, 3, 1, 3] {
            world.scaled_by(count, "manager");
            assert_eq!((world.set_by_hand(), world.active().truce()), (None, None), "{mode}");
        }
    }
}

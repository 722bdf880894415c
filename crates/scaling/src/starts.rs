//! How pods of this target start: how long it takes, how many are under way, how many failed.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Facts, Instant, PodState, PodUid};

/// The latest starts, from which the 99th percentile is taken. Of 64 values that is the longest.
const LEARNED: usize = 64;
/// Pods followed at a time from their start to ready; of more, the rest teaches nothing.
const FOLLOWED: usize = 64;
/// Fewer starts than this say nothing about the next one.
const ENOUGH: usize = 5;
/// A start that lasts longer is late, until the target's own starts are learned.
const UNLEARNED_LIMIT: Duration = Duration::from_mins(15);
/// Five starts on warm nodes say nothing about the sixth, which waits for a node and for its image: late is what takes
/// twice as long as any start so far, and never less than a node autoscaler needs for a node with GPUs.
const MARGIN: u32 = 2;
const LEAST_LIMIT: Duration = Duration::from_mins(5);
/// Whatever was learned: what is not there after an hour does not count as on its way.
const GREATEST_LIMIT: Duration = Duration::from_hours(1);
/// Raises of `spec.replicas` told apart while their pods are not created.
const MAX_WAVES: usize = 16;

/// The starts of a target at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Starts {
    /// Created or asked for, never ready yet, and not late.
    pub under_way: u32,
    /// Never ready, and late, refused or crash-looping, while no pod created since has become ready in time: another one
    /// would hardly fare better. 0 during a rollout: the pods that fail are of one revision, new ones are of both.
    pub failed: u32,
    /// A start that lasts longer is late.
    pub limit: Duration,
    /// What `spec.replicas` was at the last look, if it was raised since.
    pub raised_from: Option<u32>,
    /// The 99th percentile of the latest starts; `None` until five are known.
    pub p99: Option<Duration>,
}

/// What is remembered of starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StartMemory {
    /// Pods that are starting, and since when.
    followed: Vec<(PodUid, Instant)>,
    /// How long the latest starts took, in milliseconds, oldest first.
    took_ms: VecDeque<u32>,
    /// Asked for and not created: since when, and how many, oldest first.
    missing: VecDeque<(Instant, u32)>,
    /// Pods asked for at the last look.
    last_spec: Option<u32>,
    /// Failed starts at the last look, and when their number last rose.
    failed: u32,
    failed_at: Instant,
    /// A pod created after `failed_at` became ready in time: the ones that fail say nothing about the next.
    disproved: bool,
}

impl Default for StartMemory {
    fn default() -> Self {
        Self {
            followed: Vec::with_capacity(FOLLOWED),
            took_ms: VecDeque::with_capacity(LEARNED),
            missing: VecDeque::with_capacity(MAX_WAVES),
            last_spec: None,
            failed: 0,
            failed_at: Instant::ZERO,
            disproved: false,
        }
    }
}

impl StartMemory {
    /// Learns from the pods that became ready since the last look, and counts the others.
    pub(crate) fn look(&mut self, facts: &Facts, now: Instant) -> Starts {
        self.follow(facts);
        let last_spec = self.last_spec.replace(facts.spec_pods());
        self.note_missing(facts, last_spec, now);
        let limit = self.limit();
        let (mut under_way, mut failed) = (0, 0);
        for pod in facts.pods() {
            match pod.state {
                PodState::Starting { since } if now - since <= limit => under_way += 1,
                PodState::Starting { .. } | PodState::Stuck => failed += 1,
                PodState::Ready { .. } | PodState::LostReadiness { .. } | PodState::Leaving => {}
            }
        }
        for &(since, count) in &self.missing {
            *if now - since <= limit { &mut under_way } else { &mut failed } += count;
        }
        if failed > self.failed {
            self.failed_at = now;
            self.disproved = false;
        }
        self.failed = failed;
        let telling = !self.disproved && !facts.rollout;
        Starts {
            under_way,
            failed: if telling { failed } else { 0 },
            limit,
            raised_from: last_spec.filter(|last| *last < facts.spec_pods()).map(|last| last / facts.group()),
            p99: self.p99(),
        }
    }

    /// A late start teaches no more than the limit it broke: what waited hours for a quota says little about how long
    /// this target starts. One that became slower for good is learned start by start.
    fn follow(&mut self, facts: &Facts) {
        let limit = self.limit();
        let (took_ms, disproved) = (&mut self.took_ms, &mut self.disproved);
        let failed_at = self.failed_at;
        self.followed.retain(|&(uid, since)| match facts.state(uid) {
            Some(PodState::Starting { .. }) => true,
            Some(PodState::Ready { since: ready }) => {
                if took_ms.len() == LEARNED {
                    took_ms.pop_front();
                }
                let took = ready - since;
                took_ms.push_back(u32::try_from(took.min(limit).as_millis()).unwrap_or(u32::MAX));
                *disproved |= since > failed_at && took <= limit;
                false
            }
            _ => false,
        });
        for pod in facts.pods() {
            if let PodState::Starting { since } = pod.state
                && self.followed.len() < FOLLOWED
                && self.followed.iter().all(|(uid, _)| *uid != pod.uid)
            {
                self.followed.push((pod.uid, since));
            }
        }
    }

    /// Those asked for first are created first; those asked for last are given back first.
    fn note_missing(&mut self, facts: &Facts, last_spec: Option<u32>, now: Instant) {
        let missing = facts.spec_pods().saturating_sub(facts.present());
        let known: u32 = self.missing.iter().map(|(_, count)| count).sum();
        if missing < known {
            let given_back = last_spec.unwrap_or(0).saturating_sub(facts.spec_pods()).min(known - missing);
            take(&mut self.missing, given_back, VecDeque::pop_back, VecDeque::push_back);
            take(&mut self.missing, known - missing - given_back, VecDeque::pop_front, VecDeque::push_front);
        } else if missing > known {
            // A pod that is gone is asked for again from now on; a raise counts from its acknowledgement.
            let raised = last_spec.is_none_or(|last| last < facts.spec_pods());
            let since = if raised { facts.spec_changed_at.min(now) } else { now };
            let mut count = missing - known;
            if self.missing.len() == MAX_WAVES {
                count += self.missing.pop_back().map_or(0, |(_, count)| count);
            }
            self.missing.push_back((since, count));
        }
    }

    fn p99(&self) -> Option<Duration> {
        let longest = self.took_ms.iter().max().filter(|_| self.took_ms.len() >= ENOUGH)?;
        Some(Duration::from_millis(u64::from(*longest)))
    }

    fn limit(&self) -> Duration {
        self.p99().map_or(UNLEARNED_LIMIT, |p99| (p99 * MARGIN).clamp(LEAST_LIMIT, GREATEST_LIMIT))
    }
}

/// Takes `count` away from one end.
fn take(
    waves: &mut VecDeque<(Instant, u32)>,
    mut count: u32,
    pop: impl Fn(&mut VecDeque<(Instant, u32)>) -> Option<(Instant, u32)>,
    push: impl Fn(&mut VecDeque<(Instant, u32)>, (Instant, u32)),
) {
    while count > 0
        && let Some((since, wave)) = pop(waves)
    {
        if wave > count {
            push(waves, (since, wave - count));
        }
        count = count.saturating_sub(wave);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Pod;

    fn at(secs: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(secs)
    }

    fn mins(mins: u64) -> Duration {
        Duration::from_mins(mins)
    }

    /// One pod after the other starts at once and takes so many seconds.
    fn after(starts_secs: &[u64]) -> (StartMemory, Instant) {
        let mut memory = StartMemory::default();
        let mut now = at(0);
        for (&secs, uid) in starts_secs.iter().zip(1..) {
            let mut facts = Facts::new(1, now);
            facts.insert(Pod { uid: PodUid(uid), state: PodState::Starting { since: now } });
            memory.look(&facts, now);
            now = now + Duration::from_secs(secs);
            facts.insert(Pod { uid: PodUid(uid), state: PodState::Ready { since: now } });
            memory.look(&facts, now);
        }
        (memory, now)
    }

    #[track_caller]
    fn check(starts_secs: &[u64], p99: Option<Duration>, limit: Duration) {
        let (mut memory, now) = after(starts_secs);
        let starts = memory.look(&Facts::new(0, now), now);
        assert_eq!((starts.p99, starts.limit), (p99, limit), "{starts_secs:?}");
    }

    #[test]
    fn the_limit_is_learned_from_five_starts_on() {
        check(&[], None, mins(15));
        check(&[60; 4], None, mins(15));
        check(&[60; 5], Some(mins(1)), mins(5));
        check(&[60, 60, 240, 60, 60], Some(mins(4)), mins(8));
        check(&[840; 5], Some(mins(14)), mins(28));
        // Forgotten after 64 others.
        check(&[&[240][..], &[60; 64]].concat(), Some(mins(1)), mins(5));
    }

    #[test]
    fn a_late_start_teaches_the_limit_it_broke() {
        check(&[3, 3, 3, 3, 3, 7200], Some(mins(5)), mins(10));
        check(&[20 * 60; 5], Some(mins(15)), mins(30));
        check(&[20 * 60; 6], Some(mins(20)), mins(40));
        check(&[7200; 9], Some(mins(60)), mins(60));
    }

    #[test]
    fn one_slow_start_after_five_fast_ones_is_not_late_at_once() {
        let (mut memory, begun) = after(&[3; 5]);
        let mut facts = Facts::new(1, begun);
        facts.insert(Pod { uid: PodUid(9), state: PodState::Starting { since: begun } });
        for (secs, expect) in [(1, [1, 0]), (300, [1, 0]), (301, [0, 1])] {
            let starts = memory.look(&facts, begun + Duration::from_secs(secs));
            assert_eq!([starts.under_way, starts.failed], expect, "{secs} s");
        }
    }

    #[test]
    fn what_was_not_seen_starting_teaches_nothing() {
        let mut memory = StartMemory::default();
        let mut facts = Facts::new(8, at(0));
        facts.set_pods((1..=8).map(|uid| Pod { uid: PodUid(uid), state: PodState::Ready { since: at(0) } }));
        assert_eq!(memory.look(&facts, at(1)).p99, None);
        assert!(memory.took_ms.is_empty() && memory.followed.is_empty());
    }

    /// Quota refuses pods 4 to 8: nothing is created, and a raise does not make those of before younger.
    #[test]
    fn what_was_asked_for_and_is_not_created_ages() {
        let mut memory = StartMemory::default();
        let mut facts = Facts::new(8, at(0));
        facts.set_pods((1..=3).map(|uid| Pod { uid: PodUid(uid), state: PodState::Ready { since: at(0) } }));
        let mut look = |spec, secs| {
            if facts.spec_replicas != spec {
                facts.spec_replicas = spec;
                facts.spec_changed_at = at(secs);
            }
            let starts = memory.look(&facts, at(secs));
            [starts.under_way, starts.failed]
        };
        assert_eq!(look(8, 0), [5, 0]);
        assert_eq!(look(8, 901), [0, 5]);
        assert_eq!(look(9, 902), [1, 5]);
        assert_eq!(look(8, 903), [0, 5], "the last one asked for is given back first");
        assert_eq!(look(9, 904), [1, 5]);
        assert_eq!(look(9, 1804), [1, 5]);
        assert_eq!(look(9, 1805), [0, 6]);
    }

    #[test]
    fn a_pod_created_later_and_ready_in_time_disproves_the_failure() {
        let mut memory = StartMemory::default();
        let mut facts = Facts::new(3, at(0));
        facts.insert(Pod { uid: PodUid(1), state: PodState::Stuck });
        facts.insert(Pod { uid: PodUid(2), state: PodState::Starting { since: at(0) } });
        assert_eq!(memory.look(&facts, at(5)).failed, 1);
        facts.insert(Pod { uid: PodUid(2), state: PodState::Ready { since: at(10) } });
        assert_eq!(memory.look(&facts, at(10)).failed, 1, "created before the failure was seen: no proof");
        facts.insert(Pod { uid: PodUid(3), state: PodState::Starting { since: at(11) } });
        assert_eq!(memory.look(&facts, at(11)).failed, 1);
        facts.insert(Pod { uid: PodUid(3), state: PodState::Ready { since: at(20) } });
        assert_eq!(memory.look(&facts, at(20)).failed, 0);
        facts.insert(Pod { uid: PodUid(4), state: PodState::Stuck });
        assert_eq!(memory.look(&facts, at(21)).failed, 2, "another one fails");
    }

    #[test]
    fn memory_of_starts_is_bounded() {
        let mut memory = StartMemory::default();
        let mut facts = Facts::new(0, at(0));
        for second in 0..400_u64 {
            facts.spec_replicas += 1;
            facts.spec_changed_at = at(second);
            if second % 3 == 0 {
                facts.insert(Pod {
                    uid: PodUid(second.into()),
                    state: PodState::Starting { since: at(second) },
                });
            }
            memory.look(&facts, at(second));
        }
        assert_eq!((memory.followed.len(), memory.missing.len()), (FOLLOWED, MAX_WAVES));
        let missing: u32 = memory.missing.iter().map(|(_, count)| count).sum();
        assert_eq!(missing, 400 - facts.pods().len() as u32);
    }
}

//! What the caller knows: pods and their states, and the newest reading of each.

use serde::{Deserialize, Serialize};
use windlass_metrics::Histogram;

use crate::{Instant, MAX_SIGNALS};

/// Identity of a pod; a re-created pod has another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PodUid(pub u128);

/// Where a pod stands, as far as capacity is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PodState {
    /// Created, never ready yet.
    Starting {
        /// When it was created.
        since: Instant,
    },
    /// Serving.
    Ready {
        /// When it became ready.
        since: Instant,
    },
    /// Was ready and lost it; its load is not gone.
    LostReadiness {
        /// When it lost it.
        since: Instant,
    },
    /// Definitely refused (quota, bad image) or crash-looping.
    Stuck,
    /// Being deleted; neither load nor capacity.
    Leaving,
}

/// One pod of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Its identity.
    pub uid: PodUid,
    /// Where it stands.
    pub state: PodState,
}

/// Somebody else set `spec.replicas`: neither this controller nor one that led before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetByHand {
    /// The count that was set.
    pub replicas: u32,
    /// When that was seen.
    pub at: Instant,
}

/// What is known of one target from watches.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Facts {
    /// Replicas asked for at present.
    pub spec_replicas: u32,
    /// When `spec_replicas` last changed, or our write of it was acknowledged.
    pub spec_changed_at: Instant,
    /// When the set of ready pods last changed, or, if routers need a moment to learn of it, shortly after: a round begins
    /// later than this.
    pub ready_changed_at: Instant,
    /// Pods of two revisions are alive.
    pub rollout: bool,
    /// How many pods are one replica, 0 meaning 1: a set of pods that is scaled as one. Of a group of which only the leader
    /// serves, only the leader is a pod here.
    #[serde(default)]
    pub pods_per_replica: u32,
    /// The last count that somebody else set, once that is known to be a person's.
    #[serde(default)]
    pub set_by_hand: Option<SetByHand>,
    pods: Vec<Pod>,
}

impl Facts {
    /// A target of `spec_replicas` replicas, known since `at`, without pods so far.
    pub fn new(spec_replicas: u32, at: Instant) -> Self {
        Self {
            spec_replicas,
            spec_changed_at: at,
            ready_changed_at: at,
            rollout: false,
            pods_per_replica: 1,
            set_by_hand: None,
            pods: Vec::new(),
        }
    }

    /// All pods, ordered by uid.
    pub fn pods(&self) -> &[Pod] {
        &self.pods
    }

    /// Where a pod stands; `None` if there is no such pod.
    pub fn state(&self, uid: PodUid) -> Option<PodState> {
        let at = self.pods.binary_search_by_key(&uid, |pod| pod.uid).ok()?;
        Some(self.pods[at].state)
    }

    /// How many pods are one replica: at least 1.
    pub(crate) fn group(&self) -> u32 {
        self.pods_per_replica.max(1)
    }

    /// Pods asked for at present.
    pub(crate) fn spec_pods(&self) -> u32 {
        self.spec_replicas.saturating_mul(self.group())
    }

    /// Pods that are ready.
    pub(crate) fn ready(&self) -> u32 {
        self.pods.iter().filter(|pod| matches!(pod.state, PodState::Ready { .. })).count() as u32
    }

    /// Pods that are not being deleted.
    pub(crate) fn present(&self) -> u32 {
        self.pods.iter().filter(|pod| pod.state != PodState::Leaving).count() as u32
    }

    /// Adds a pod, or replaces what was known of it.
    pub fn insert(&mut self, pod: Pod) {
        match self.pods.binary_search_by_key(&pod.uid, |known| known.uid) {
            Ok(at) => self.pods[at] = pod,
            Err(at) => self.pods.insert(at, pod),
        }
    }

    /// Replaces all pods.
    pub fn set_pods(&mut self, pods: impl IntoIterator<Item = Pod>) {
        self.pods.clear();
        self.pods.extend(pods);
        self.pods.sort_unstable_by_key(|pod| pod.uid);
    }

    /// Forgets a pod that is gone.
    pub fn remove(&mut self, uid: PodUid) {
        self.pods.retain(|pod| pod.uid != uid);
    }

    /// The last change of the ready set or of `spec_replicas`: a round begins after it.
    pub fn changed_at(&self) -> Instant {
        self.spec_changed_at.max(self.ready_changed_at)
    }
}

/// What the value of a reading is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Told {
    /// The metric's own, in its unit.
    #[default]
    Value,
    /// How many events there were within the metric's window, of which [`Readings::histogram`] has the values, in the
    /// metric's unit. 0 says that nothing happened: there is no value then.
    Events,
}

/// One value of one metric, from one pod or of the whole fleet.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// Finite and not negative.
    pub value: f64,
    /// What the value is.
    #[serde(default)]
    pub told: Told,
    /// When it was taken: the value is at least as new. The caller says when it was asked for.
    pub received: Instant,
    /// Where what it tells of begins: for a rate the reading before it, else `received`.
    pub since: Instant,
}

/// The newest reading per pod and signal, and of the fleet per signal.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Readings {
    /// Ordered by pod, then signal; the fleet's come first.
    newest: Vec<(Key, Reading)>,
    /// What was observed, of readings that tell of events; in the same order.
    #[serde(default)]
    histograms: Vec<(Key, Histogram)>,
}

/// The pod, none for the fleet, and the signal.
type Key = (Option<PodUid>, u8);

/// Under which number the requests under way (running and waiting) are kept that were read along with a signal. They are no
/// signal: of one whose values need events they tell whether nothing happens because nothing is asked for.
pub const fn inflight_beside(signal: u8) -> u8 {
    signal + MAX_SIGNALS as u8
}

impl Readings {
    /// Keeps the newest reading of a signal from a pod, as [`Self::record_over`] does, of a value that tells of one instant.
    pub fn record(&mut self, pod: PodUid, signal: u8, value: f64, received: Instant) -> bool {
        self.record_over(pod, signal, value, received, received)
    }

    /// Keeps the newest reading of a signal from a pod: a mean or a rate from `since` to `received`. A value that is NaN, infinite or negative is no reading:
    /// it is refused (`false`), and what was known stays and grows old.
    pub fn record_over(
        &mut self,
        pod: PodUid,
        signal: u8,
        value: f64,
        since: Instant,
        received: Instant,
    ) -> bool {
        self.keep((Some(pod), signal), Reading { value, told: Told::Value, received, since })
    }

    /// Keeps the newest reading of a signal of the whole fleet, as [`Self::record_over`] does.
    pub fn record_fleet(&mut self, signal: u8, value: f64, since: Instant, received: Instant) -> bool {
        self.keep((None, signal), Reading { value, told: Told::Value, received, since })
    }

    /// Keeps the newest reading of a signal that tells of events, from a pod or (`None`) of the whole fleet: what was observed
    /// within the metric's window, in the metric's unit; an empty histogram if nothing was. New in it is what was observed
    /// from `since` to `received`.
    pub fn record_events(
        &mut self,
        pod: Option<PodUid>,
        signal: u8,
        observed: Histogram,
        since: Instant,
        received: Instant,
    ) -> bool {
        let key = (pod, signal);
        let value = observed.count();
        match self.histograms.binary_search_by_key(&key, |(key, _)| *key) {
            Ok(at) => self.histograms[at].1 = observed,
            Err(at) => self.histograms.insert(at, (key, observed)),
        }
        self.keep(key, Reading { value, told: Told::Events, received, since })
    }

    /// What the newest reading of a signal tells of, from a pod or (`None`) of the whole fleet; `None` if that is a value.
    pub fn histogram(&self, pod: Option<PodUid>, signal: u8) -> Option<&Histogram> {
        let key = (pod, signal);
        self.find(key).filter(|reading| reading.told == Told::Events)?;
        let at = self.histograms.binary_search_by_key(&key, |(key, _)| *key).ok()?;
        Some(&self.histograms[at].1)
    }

    fn keep(&mut self, key: Key, reading: Reading) -> bool {
        if !reading.value.is_finite() || reading.value < 0.0 {
            return false;
        }
        match self.newest.binary_search_by_key(&key, |(key, _)| *key) {
            Ok(at) => self.newest[at].1 = reading,
            Err(at) => self.newest.insert(at, (key, reading)),
        }
        true
    }

    /// The newest reading of a signal from a pod, however old.
    pub fn get(&self, pod: PodUid, signal: u8) -> Option<Reading> {
        self.find((Some(pod), signal))
    }

    /// The newest reading of a signal of the whole fleet, however old.
    pub fn fleet(&self, signal: u8) -> Option<Reading> {
        self.find((None, signal))
    }

    fn find(&self, key: Key) -> Option<Reading> {
        let at = self.newest.binary_search_by_key(&key, |(key, _)| *key).ok()?;
        Some(self.newest[at].1)
    }

    /// Forgets the pods that `lives` denies.
    pub fn retain(&mut self, mut lives: impl FnMut(PodUid) -> bool) {
        self.newest.retain(|((pod, _), _)| pod.is_none_or(&mut lives));
        self.histograms.retain(|((pod, _), _)| pod.is_none_or(&mut lives));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_is_no_reading() {
        let mut readings = Readings::default();
        assert!(readings.record(PodUid(1), 0, 7.0, Instant::ZERO));
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0] {
            assert!(!readings.record(PodUid(1), 0, value, Instant::from_micros(9)), "{value}");
        }
        assert_eq!(
            readings.get(PodUid(1), 0),
            Some(Reading { value: 7.0, told: Told::Value, received: Instant::ZERO, since: Instant::ZERO })
        );
        readings.retain(|_| false);
        assert_eq!(readings.get(PodUid(1), 0), None);
    }

    #[test]
    fn events_and_values_take_each_others_place() {
        let observed = |count| Histogram::new([(1.0, count), (f64::INFINITY, count)], None).unwrap();
        let mut readings = Readings::default();
        let (pod, at) = (PodUid(1), Instant::ZERO);
        readings.record_events(Some(pod), 3, observed(4.0), at, at);
        readings.record_events(None, 3, observed(5.0), at, at);
        assert_eq!(
            readings.get(pod, 3).map(|reading| (reading.value, reading.told)),
            Some((4.0, Told::Events))
        );
        assert_eq!(readings.histogram(Some(pod), 3).map(Histogram::count), Some(4.0));
        readings.record(pod, 3, 7.0, at);
        assert_eq!(readings.histogram(Some(pod), 3), None);
        readings.record_events(Some(pod), 3, Histogram::default(), at, at);
        assert_eq!(readings.histogram(Some(pod), 3), Some(&Histogram::default()));
        readings.retain(|_| false);
        assert_eq!(readings.histogram(Some(pod), 3), None);
        assert_eq!(readings.histogram(None, 3).map(Histogram::count), Some(5.0));
    }
}

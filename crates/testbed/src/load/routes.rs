//! Which pod gets a request.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

/// How a pod is chosen among the ready ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// `least-inflight`: the one with the fewest requests of this load in flight; in turn among equals.
    #[default]
    LeastInflight,
    /// `round-robin`: one after the other.
    RoundRobin,
}

/// A policy that does not exist.
#[derive(Debug, thiserror::Error)]
#[error("unknown policy {0:?}; use least-inflight or round-robin")]
pub struct UnknownPolicy(String);

impl FromStr for Policy {
    type Err = UnknownPolicy;

    fn from_str(name: &str) -> Result<Self, UnknownPolicy> {
        match name {
            "least-inflight" => Ok(Policy::LeastInflight),
            "round-robin" => Ok(Policy::RoundRobin),
            _ => Err(UnknownPolicy(name.to_owned())),
        }
    }
}

/// The pods that requests may go to. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    table: Arc<Mutex<Table>>,
}

#[derive(Debug, Default)]
struct Table {
    /// By uid: a pod that is replaced under its name is another one.
    pods: BTreeMap<String, Pod>,
    turn: usize,
}

#[derive(Debug)]
struct Pod {
    address: SocketAddr,
    ready: bool,
    in_flight: Arc<AtomicUsize>,
}

/// A request's way to a pod: as long as it lives the request is in flight there.
#[derive(Debug)]
pub struct Route {
    address: SocketAddr,
    in_flight: Arc<AtomicUsize>,
}

impl Route {
    /// Where the pod listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Route {
    fn drop(&mut self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Routes {
    /// Puts a pod in, or changes it. One that is not ready gets no new requests; what it is serving goes on.
    pub fn set(&self, uid: &str, address: SocketAddr, ready: bool) {
        let mut table = self.table.lock();
        let in_flight = table.pods.get(uid).map(|pod| pod.in_flight.clone()).unwrap_or_default();
        table.pods.insert(uid.to_owned(), Pod { address, ready, in_flight });
    }

    /// Takes a pod out; what it is serving goes on.
    pub fn remove(&self, uid: &str) {
        self.table.lock().pods.remove(uid);
    }

    /// Takes out all pods but these.
    pub fn retain(&self, uids: &HashSet<String>) {
        self.table.lock().pods.retain(|uid, _| uids.contains(uid));
    }

    /// How many pods are ready.
    pub fn ready(&self) -> usize {
        self.table.lock().pods.values().filter(|pod| pod.ready).count()
    }

    /// Chooses a ready pod; `None` without one.
    pub fn pick(&self, policy: Policy) -> Option<Route> {
        let mut table = self.table.lock();
        let ready: Vec<&Pod> = table.pods.values().filter(|pod| pod.ready).collect();
        let turn = table.turn % ready.len().max(1);
        let mut in_turn = ready[turn..].iter().chain(&ready[..turn]);
        let pod = match policy {
            Policy::RoundRobin => in_turn.next(),
            Policy::LeastInflight => in_turn.min_by_key(|pod| pod.in_flight.load(Ordering::Relaxed)),
        }?;
        pod.in_flight.fetch_add(1, Ordering::Relaxed);
        let route = Route { address: pod.address, in_flight: pod.in_flight.clone() };
        table.turn = turn + 1;
        Some(route)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(pod: u8) -> SocketAddr {
        SocketAddr::from(([127, 9, 0, pod], 8000))
    }

    fn routes(pods: u8) -> Routes {
        let routes = Routes::default();
        for pod in 1..=pods {
            routes.set(&format!("uid-{pod}"), address(pod), true);
        }
        routes
    }

    fn pod(route: &Route) -> u8 {
        match route.address().ip() {
            std::net::IpAddr::V4(ip) => ip.octets()[3],
            std::net::IpAddr::V6(_) => 0,
        }
    }

    #[test]
    fn round_robin_takes_turns_whatever_is_in_flight() {
        let routes = routes(3);
        let kept: Vec<_> = (0..7).filter_map(|_| routes.pick(Policy::RoundRobin)).collect();
        let pods: Vec<_> = kept.iter().map(pod).collect();
        assert_eq!(pods, [1, 2, 3, 1, 2, 3, 1]);
    }

    #[test]
    fn least_inflight_prefers_the_idle_and_takes_turns_among_equals() {
        let routes = routes(3);
        let mut kept: Vec<_> = (0..6).filter_map(|_| routes.pick(Policy::LeastInflight)).collect();
        let mut pods: Vec<_> = kept.iter().map(pod).collect();
        pods.sort_unstable();
        assert_eq!(pods, [1, 1, 2, 2, 3, 3]);
        kept.retain(|route| pod(route) != 2);
        let next: Vec<_> = (0..2).filter_map(|_| routes.pick(Policy::LeastInflight)).collect();
        assert_eq!(next.iter().map(pod).collect::<Vec<_>>(), [2, 2]);
        drop((kept, next));
        // Idle again: a lone request after the other still goes around.
        let alone: HashSet<_> =
            (0..3).filter_map(|_| routes.pick(Policy::LeastInflight)).map(|route| pod(&route)).collect();
        assert_eq!(alone.len(), 3);
    }

    #[test]
    fn a_pod_that_is_not_ready_gets_nothing_and_keeps_its_count() {
        let routes = routes(2);
        assert_eq!(routes.ready(), 2);
        let first: Vec<_> = (0..4).filter_map(|_| routes.pick(Policy::LeastInflight)).collect();
        routes.set("uid-1", address(1), false);
        for policy in [Policy::LeastInflight, Policy::RoundRobin] {
            let picks: Vec<_> = (0..3).filter_map(|_| routes.pick(policy)).collect();
            assert!(picks.iter().all(|route| pod(route) == 2), "{policy:?}");
        }
        routes.set("uid-1", address(1), true);
        drop(first.into_iter().filter(|route| pod(route) == 2).collect::<Vec<_>>());
        // The two that pod 1 is serving still count.
        assert_eq!(routes.pick(Policy::LeastInflight).as_ref().map(pod), Some(2));
        routes.remove("uid-2");
        assert_eq!(routes.pick(Policy::LeastInflight).as_ref().map(pod), Some(1));
        routes.retain(&HashSet::new());
        assert!(routes.pick(Policy::LeastInflight).is_none());
        assert!(routes.pick(Policy::RoundRobin).is_none());
    }

    #[test]
    fn policies_have_names() {
        assert_eq!("least-inflight".parse::<Policy>().unwrap(), Policy::default());
        assert_eq!("round-robin".parse::<Policy>().unwrap(), Policy::RoundRobin);
        let error = "random".parse::<Policy>().unwrap_err().to_string();
        assert_eq!(error, "unknown policy \"random\"; use least-inflight or round-robin");
    }
}

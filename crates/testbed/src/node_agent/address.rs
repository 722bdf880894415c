//! Addresses for pods: loopback, so that a server can really listen on each.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use parking_lot::Mutex;

/// How many pods one plane can have: 127.N.1.1 to 127.N.255.254.
const CAPACITY: u32 = 255 * 254;

/// The pod addresses of one plane, 127.N.y.z with y ≥ 1 and z neither 0 nor 255; y = 0 is for nodes.
///
/// Addresses go round: one that was given back is handed out again only after all others, so a scraper that still
/// knows it does not meet a new pod there.
#[derive(Clone, Debug)]
pub(super) struct Addresses {
    pool: Arc<Mutex<Pool>>,
}

#[derive(Debug)]
struct Pool {
    network: u8,
    next: u32,
    taken: HashSet<Ipv4Addr>,
}

/// An address in use; dropping it gives the address back.
#[derive(Debug)]
pub(super) struct Lease {
    address: Ipv4Addr,
    pool: Arc<Mutex<Pool>>,
}

impl Addresses {
    pub(super) fn new(network: u8) -> Self {
        Self { pool: Arc::new(Mutex::new(Pool { network, next: 0, taken: HashSet::new() })) }
    }

    /// The address of the node with this number.
    pub(super) fn node(network: u8, number: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, network, 0, number)
    }

    /// An address that no living pod has; `None` when there are 64,770 pods.
    pub(super) fn take(&self) -> Option<Lease> {
        let mut pool = self.pool.lock();
        for _ in 0..CAPACITY {
            let [y, z] = [pool.next / 254 + 1, pool.next % 254 + 1];
            pool.next = (pool.next + 1) % CAPACITY;
            let address = Ipv4Addr::new(127, pool.network, y as u8, z as u8);
            if pool.taken.insert(address) {
                return Some(Lease { address, pool: self.pool.clone() });
            }
        }
        None
    }

    /// The address that a pod has already; `None` when another living pod has it.
    pub(super) fn adopt(&self, address: Ipv4Addr) -> Option<Lease> {
        let free = self.pool.lock().taken.insert(address);
        free.then(|| Lease { address, pool: self.pool.clone() })
    }
}

impl Lease {
    pub(super) fn address(&self) -> Ipv4Addr {
        self.address
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.lock().taken.remove(&self.address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_unique_among_the_living_and_reused_last() {
        let addresses = Addresses::new(77);
        let adopted = addresses.adopt(Ipv4Addr::new(127, 77, 1, 2)).unwrap();
        assert!(addresses.adopt(adopted.address()).is_none());
        let first = addresses.take().unwrap();
        assert_eq!(first.address(), Ipv4Addr::new(127, 77, 1, 1));
        let second = addresses.take().unwrap();
        assert_eq!(second.address(), Ipv4Addr::new(127, 77, 1, 3), "the adopted one is left out");
        drop(first);
        assert_eq!(
            addresses.take().unwrap().address(),
            Ipv4Addr::new(127, 77, 1, 4),
            "not the one just freed"
        );
    }

    #[test]
    fn the_pool_ends_and_goes_round() {
        let addresses = Addresses::new(20);
        let mut leases: Vec<_> = (0..CAPACITY).map(|_| addresses.take().unwrap()).collect();
        let unique: HashSet<_> = leases.iter().map(Lease::address).collect();
        assert_eq!(unique.len(), CAPACITY as usize);
        assert!(unique.iter().all(|address| {
            let [a, n, y, z] = address.octets();
            a == 127 && n == 20 && y > 0 && z > 0 && z < 255
        }));
        assert!(addresses.take().is_none());
        let freed = leases.swap_remove(1000).address();
        assert_eq!(addresses.take().map(|lease| lease.address()), Some(freed));
    }
}

//! How often one peer may ask: as Azure documents it for a machine, five requests a second.
//!
//! A peer is an IPv4 address, or the /64 of an IPv6 address, since one machine has all of it. Peers are kept for as
//! long as they have something to wait for, and no more than [`MAX_PEERS`] of them; beyond that newcomers share one
//! allowance, so that a flood of addresses takes memory and time from nobody else.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use governor::clock::DefaultClock;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

/// The allowances of all peers.
#[derive(Debug)]
pub struct Rate {
    limiter: RateLimiter<IpAddr, HashMapStateStore<IpAddr>, DefaultClock>,
    swept: Mutex<Instant>,
}

impl Rate {
    /// As many requests a second, and as many at once; 0 counts as 1.
    pub fn per_second(requests: u32) -> Self {
        let requests = NonZeroU32::new(requests).unwrap_or(NonZeroU32::MIN);
        Self {
            limiter: RateLimiter::hashmap(Quota::per_second(requests)),
            swept: Mutex::new(Instant::now()),
        }
    }

    /// Whether a peer may ask now; if so, that is one request less.
    pub fn allows(&self, peer: IpAddr) -> bool {
        if self.limiter.len() >= MAX_PEERS {
            self.sweep();
        }
        let crowded = self.limiter.len() >= MAX_PEERS;
        let key = if crowded { CROWD } else { machine(peer) };
        self.limiter.check_key(&key).is_ok()
    }

    /// Forgets those with nothing to wait for, once a second at most: it walks over all of them.
    fn sweep(&self) {
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        if swept.elapsed() >= SWEEP_PAUSE {
            *swept = Instant::now();
            self.limiter.retain_recent();
        }
    }
}

/// What counts as one machine.
pub fn machine(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let network = u128::from(address) & (u128::MAX << 64);
            IpAddr::V6(Ipv6Addr::from(network))
        }
    }
}

/// Some 100 bytes each; a node has some hundred pods.
pub const MAX_PEERS: usize = 4096;
/// Nobody connects from it.
const CROWD: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
const SWEEP_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_and_not_six_each() {
        let rate = Rate::per_second(5);
        let one = IpAddr::from([10, 0, 0, 1]);
        assert_eq!((0..20).filter(|_| rate.allows(one)).count(), 5);
        assert!(rate.allows(IpAddr::from([10, 0, 0, 2])));
    }

    #[test]
    fn one_machine_has_many_addresses() {
        let at = |text: &str| machine(text.parse().expect("an address"));
        assert_eq!(at("fd00::1"), at("fd00::ffff:1:2:3"));
        assert_ne!(at("fd00::1"), at("fd00:0:0:1::1"));
        assert_eq!(at("::ffff:10.0.0.1"), at("10.0.0.1"));
    }

    #[test]
    fn a_crowd_is_bounded_and_shares() {
        let rate = Rate::per_second(5);
        let many = u32::try_from(MAX_PEERS).expect("small") + 1000;
        let served = (0..many)
            .filter(|n| rate.allows(IpAddr::V4((0x0a00_0000 + n).into())))
            .count();
        assert!(
            rate.limiter.len() <= MAX_PEERS + 1,
            "{}",
            rate.limiter.len()
        );
        assert!((MAX_PEERS..MAX_PEERS + 1000).contains(&served), "{served}");
    }
}

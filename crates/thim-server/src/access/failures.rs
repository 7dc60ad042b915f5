//! Wrong tokens, counted for each peer: a token has 256 bits and is not to be guessed, but PCCS's hashes of words that
//! people chose can be, and a loop with a stale token should cost us little.
//!
//! A peer over its limit is refused before its token is looked at, right or wrong: whoever is told "right" at the
//! moment of guessing has guessed it. A right token does not clear the count, or a guesser with one of its own could
//! go on. The price is named: hosts behind one address share one count.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use quick_cache::sync::Cache;

use crate::upstream::budget::{Lane, Rate};

/// Wrong tokens of late, by peer.
pub(super) struct Failures {
    // The theoretical arrival time of each peer's next failure, in milliseconds.
    peers: Cache<IpAddr, Arc<AtomicI64>>,
}

impl Failures {
    pub(super) fn new() -> Self {
        Self {
            peers: Cache::new(PEERS),
        }
    }

    /// Nothing, or in how many seconds this peer may try again.
    pub(super) fn allow(&self, peer: IpAddr, now_millis: i64) -> Result<(), i64> {
        let Some(known) = self.peers.get(&network(peer)) else {
            return Ok(());
        };
        match lane(known.load(Ordering::Relaxed), now_millis).take(RATE, now_millis) {
            Ok(_) => Ok(()),
            // Rounded up: sooner is in vain. What is left is above 0.
            Err(millis) => Err((millis + 999) / 1000),
        }
    }

    /// One more.
    pub(super) fn note(&self, peer: IpAddr, now_millis: i64) {
        let known = self.peers.get_or_insert_with(&network(peer), || {
            Ok::<_, std::convert::Infallible>(Arc::new(AtomicI64::new(now_millis)))
        });
        let Ok(known) = known;
        // Failures that came in between and used the limit up have said all there is to say.
        let _ = known.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |arrival| {
            let next = lane(arrival, now_millis).take(RATE, now_millis);
            next.ok().map(|lane| lane.arrival_millis)
        });
    }
}

/// A clock that was set back must not shut a peer out for longer than failures can.
fn lane(arrival_millis: i64, now_millis: i64) -> Lane {
    Lane {
        arrival_millis: arrival_millis.min(now_millis + RATE.interval_millis * RATE.burst),
    }
}

/// IPv4 addresses as they are, also where they are written as IPv6; of IPv6 the /64, of which one host has all.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(
            address.to_bits() & !u128::from(u64::MAX),
        )),
    }
}

/// A person mistypes a few times, and a rack that is rolled out with a stale token shows itself within 20; after that a
/// guess each 3 s is 29,000 a day, too few for any word that is worth being a token.
const RATE: Rate = Rate {
    interval_millis: 3000,
    burst: 20,
};
/// Some 6 MB at most. A flood from more networks than this pushes out the oldest counts, not the service.
const PEERS: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_000;

    fn peer(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn use_up(failures: &Failures, peer: IpAddr) {
        for _ in 0..RATE.burst {
            assert_eq!(failures.allow(peer, NOW), Ok(()));
            failures.note(peer, NOW);
        }
    }

    #[test]
    fn twenty_and_then_one_each_three_seconds() {
        let failures = Failures::new();
        let guesser = peer("192.0.2.7");
        use_up(&failures, guesser);
        assert_eq!(failures.allow(guesser, NOW), Err(3));
        // Those that came at once count no more than the limit.
        failures.note(guesser, NOW);
        assert_eq!(failures.allow(guesser, NOW + 2_999), Err(1));
        assert_eq!(failures.allow(guesser, NOW + 3_000), Ok(()));
        failures.note(guesser, NOW + 3_000);
        assert_eq!(failures.allow(guesser, NOW + 3_000), Err(3));
        assert_eq!(failures.allow(peer("192.0.2.8"), NOW), Ok(()), "another");
    }

    #[test]
    fn a_network_of_one_host_counts_as_one() {
        let failures = Failures::new();
        use_up(&failures, peer("2001:db8:0:1::1"));
        assert_eq!(failures.allow(peer("2001:db8:0:1:ffff::2"), NOW), Err(3));
        assert_eq!(failures.allow(peer("2001:db8:0:2::1"), NOW), Ok(()));
        use_up(&failures, peer("192.0.2.7"));
        assert_eq!(failures.allow(peer("::ffff:192.0.2.7"), NOW), Err(3));
        assert_eq!(failures.allow(peer("::ffff:192.0.2.8"), NOW), Ok(()));
    }

    #[test]
    fn a_clock_set_back_shuts_nobody_out_for_long() {
        let failures = Failures::new();
        let guesser = peer("192.0.2.7");
        use_up(&failures, guesser);
        let earlier = NOW - 86_400_000;
        assert_eq!(failures.allow(guesser, earlier), Err(3));
    }

    #[test]
    fn memory_is_bounded() {
        let failures = Failures::new();
        for number in 0..200_000_u32 {
            failures.note(IpAddr::V4(number.into()), NOW);
        }
        assert!(failures.peers.len() <= PEERS);
    }
}

//! KDS's manners: one request in ten seconds for a chip and TCB, and, where it is switched on, for a client's address.
//!
//! Reported, not documented (spec/amd-kds-and-thim.md section 1.6). A window begins with a request that was let in; one
//! that comes too early is a violation, gets 429 with the seconds that are left, and does not lengthen the window.
//! Requests count when they arrive, whatever a fault makes of the answer: a vendor that is down is not to be asked more.

use serde::{Deserialize, Serialize};
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::net::IpAddr;

/// How often may be asked. In JSON `{"per_certificate_seconds": 10, "per_client_seconds": 0}`, both optional.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimits {
    /// Seconds between two requests for one (chip, TCB); 0 for no limit.
    pub per_certificate_seconds: u32,
    /// Seconds between two requests for VCEKs from one address; 0 for no limit.
    pub per_client_seconds: u32,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self {
            per_certificate_seconds: 10,
            per_client_seconds: 0,
        }
    }
}

/// Which of the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RateRule {
    /// By chip and TCB.
    Certificate,
    /// By the client's address.
    Client,
}

/// A request that came too early.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// When, in unix seconds of the caller's clock.
    pub at: i64,
    /// `path?query` as received.
    pub target: String,
    /// The limit; the certificate's if both were broken.
    pub rule: RateRule,
    /// How many seconds too early: the `Retry-After`.
    pub early_by_seconds: u64,
}

/// The windows that are open, and what broke them.
#[derive(Debug, Default)]
pub(crate) struct RateLimiter {
    pub(crate) limits: RateLimits,
    certificates: Windows<Vec<u8>>,
    clients: Windows<IpAddr>,
    violations: u64,
    recent: VecDeque<Violation>,
}

/// When each key was last let in.
#[derive(Debug)]
struct Windows<K> {
    begun: HashMap<K, i64>,
}

impl RateLimiter {
    /// Whether a request for a certificate may come now; if not, the seconds to wait.
    pub(crate) fn admit(
        &mut self,
        certificate: Vec<u8>,
        client: Option<IpAddr>,
        target: &str,
        now: i64,
    ) -> Result<(), u64> {
        let limits = self.limits;
        let waits = [
            (
                RateRule::Certificate,
                self.certificates
                    .left(&certificate, limits.per_certificate_seconds, now),
            ),
            (
                RateRule::Client,
                client
                    .and_then(|client| self.clients.left(&client, limits.per_client_seconds, now)),
            ),
        ];
        let broken = waits
            .into_iter()
            .find_map(|(rule, left)| left.map(|left| (rule, left)));
        if let Some((rule, early_by_seconds)) = broken {
            self.violations += 1;
            self.recent.push_back(Violation {
                at: now,
                target: target.to_owned(),
                rule,
                early_by_seconds,
            });
            if self.recent.len() > MAX_RECENT {
                self.recent.pop_front();
            }
            return Err(early_by_seconds);
        }
        self.certificates
            .begin(certificate, limits.per_certificate_seconds, now);
        if let Some(client) = client {
            self.clients.begin(client, limits.per_client_seconds, now);
        }
        Ok(())
    }

    pub(crate) fn violations(&self) -> u64 {
        self.violations
    }

    /// The last of them, oldest first.
    pub(crate) fn recent(&self) -> Vec<Violation> {
        self.recent.iter().cloned().collect()
    }

    /// Forgets the violations; the windows stay.
    pub(crate) fn reset(&mut self) {
        self.violations = 0;
        self.recent.clear();
    }
}

impl<K: Eq + Hash> Windows<K> {
    /// The seconds left of a key's window; `None` if it is over. A clock that went back ends no window early.
    fn left(&self, key: &K, seconds: u32, now: i64) -> Option<u64> {
        let elapsed = now - self.begun.get(key)?;
        let left = i64::from(seconds) - elapsed.max(0);
        u64::try_from(left).ok().filter(|left| *left > 0)
    }

    fn begin(&mut self, key: K, seconds: u32, now: i64) {
        if seconds == 0 {
            return;
        }
        if self.begun.len() >= MAX_WINDOWS {
            self.begun
                .retain(|_, begun| now - *begun < i64::from(seconds));
        }
        if self.begun.len() < MAX_WINDOWS {
            self.begun.insert(key, now);
        }
    }
}

impl<K> Default for Windows<K> {
    fn default() -> Self {
        Self {
            begun: HashMap::new(),
        }
    }
}

/// A fuzzing client must not fill the memory; beyond so many open windows none is opened.
const MAX_WINDOWS: usize = 200_000;
/// Enough to see what went wrong.
const MAX_RECENT: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn client(last: u8) -> Option<IpAddr> {
        Some(Ipv4Addr::new(10, 0, 0, last).into())
    }

    #[test]
    fn a_window_is_exactly_as_long_as_it_says() {
        let mut limiter = RateLimiter::default();
        let mut ask = |key: u8, at| limiter.admit(vec![key], client(1), "/x", at);
        assert_eq!(ask(1, 100), Ok(()));
        assert_eq!(ask(2, 100), Ok(()));
        assert_eq!(ask(1, 101), Err(9));
        // The refused one has not lengthened it.
        assert_eq!(ask(1, 109), Err(1));
        assert_eq!(ask(1, 110), Ok(()));
        assert_eq!(ask(1, 50), Err(10));
        assert_eq!(limiter.violations(), 3);
        assert_eq!(limiter.recent()[0].early_by_seconds, 9);
        limiter.reset();
        assert_eq!((limiter.violations(), limiter.recent().len()), (0, 0));
    }

    #[test]
    fn addresses_are_limited_where_that_is_switched_on() {
        let mut limiter = RateLimiter::default();
        limiter.limits.per_client_seconds = 10;
        assert_eq!(limiter.admit(vec![1], client(1), "/x", 0), Ok(()));
        assert_eq!(limiter.admit(vec![2], client(1), "/x", 4), Err(6));
        assert_eq!(limiter.admit(vec![2], client(2), "/x", 4), Ok(()));
        assert_eq!(limiter.recent()[0].rule, RateRule::Client);
        limiter.limits = RateLimits {
            per_certificate_seconds: 0,
            per_client_seconds: 0,
        };
        assert_eq!(limiter.admit(vec![2], client(2), "/x", 4), Ok(()));
    }
}

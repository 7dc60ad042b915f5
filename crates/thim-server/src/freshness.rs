//! How fresh an edition is, and how long an answer made from it may be kept. Pure.
//!
//! Two settings per kind, never one: how often the vendor is asked (`poll`) and how old an answer
//! may be at a client (`max_age`). "Cached until nextUpdate" would hide an emergency revocation for
//! 30 days. Past next update an edition is `expired` and is served for `serve_expired` more.

use std::fmt;

use serde::Deserialize;
use thim_verify::{Kind, UnixTime};

use crate::duration::Span;

/// How fresh an edition is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Freshness {
    /// Its last poll is overdue; it is still before its next update.
    Ageing,
    /// Before its next update, and confirmed or admitted recently.
    Current,
    /// Past its next update.
    Expired,
}

impl fmt::Display for Freshness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ageing => "ageing",
            Self::Current => "current",
            Self::Expired => "expired",
        })
    }
}

/// How long past next update an edition is served.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(try_from = "String")]
pub enum ServeExpired {
    /// For ever. For islands without any upstream.
    Always,
    /// For this many seconds.
    For(i64),
    /// Not at all.
    Never,
}

impl TryFrom<String> for ServeExpired {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "always" => Ok(Self::Always),
            "never" => Ok(Self::Never),
            other => Ok(Self::For(other.parse::<Span>()?.secs())),
        }
    }
}

impl ServeExpired {
    /// The first instant at which an edition with this next update is no longer served.
    pub fn end(self, next_update: UnixTime) -> UnixTime {
        match self {
            Self::Always => UnixTime::from_secs(i64::MAX),
            Self::For(secs) => next_update.plus_secs(secs),
            Self::Never => next_update,
        }
    }
}

/// Settings of one kind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KindPolicy {
    /// Seconds between two questions to the vendor.
    pub poll_secs: i64,
    /// Upper bound of `max-age` in seconds, 1 to 86,400.
    pub max_age_secs: i64,
    /// How long past next update it is served.
    pub serve_expired: ServeExpired,
    /// The vendor is expected to sign a new edition at least this often, in seconds.
    pub cadence_secs: i64,
}

/// Settings of every kind (`[freshness]` in the configuration).
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// AMD's certificate chains. Polled every 6 h by default.
    pub amd_chain: KindConfig,
    /// AMD's CRLs. Polled every 6 h by default; a new one is expected every 28 days.
    pub amd_crl: KindConfig,
    /// PCK CRLs and the root CRL. Polled hourly by default.
    pub crl: KindConfig,
    /// Lists of TCB evaluation data numbers. Polled hourly by default.
    pub evaluation_numbers: KindConfig,
    /// Enclave identities. Polled every 6 h by default.
    pub identity: KindConfig,
    /// TCB infos. Polled every 6 h by default.
    pub tcb_info: KindConfig,
}

/// One kind's settings as the file gives them; what is left out has the kind's default.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct KindConfig {
    /// Time between two polls, 1 minute to 7 days.
    pub poll: Option<Span>,
    /// Upper bound of a client's `max-age`, 1 second to 1 day. Default 1 h.
    pub max_age: Option<Span>,
    /// How long past next update it is served: a duration, `"always"` or `"never"`. Default 7 days.
    pub serve_expired: Option<ServeExpired>,
    /// A new edition is expected at least this often; an event says when it is not. Default 7 days, a year and 15 days for the root CRL, 28 days for AMD's CRLs; AMD's chains are never signed anew.
    pub cadence: Option<Span>,
}

impl Config {
    /// The settings in force for `kind`.
    pub fn of(&self, kind: Kind) -> KindPolicy {
        let (config, poll_secs) = match kind {
            Kind::AmdCertChain => (&self.amd_chain, 6 * HOUR),
            Kind::AmdCrl => (&self.amd_crl, 6 * HOUR),
            Kind::EnclaveIdentity => (&self.identity, 6 * HOUR),
            Kind::EvaluationNumbers => (&self.evaluation_numbers, HOUR),
            Kind::PckCrl | Kind::RootCrl => (&self.crl, HOUR),
            Kind::TcbInfo => (&self.tcb_info, 6 * HOUR),
        };
        let cadence_secs = match kind {
            // Longer than any of them lives.
            Kind::AmdCertChain => 100 * 366 * DAY,
            // Seen: one every three weeks, each for six.
            Kind::AmdCrl => 28 * DAY,
            Kind::RootCrl => 380 * DAY,
            Kind::EnclaveIdentity | Kind::EvaluationNumbers | Kind::PckCrl | Kind::TcbInfo => {
                7 * DAY
            }
        };
        KindPolicy {
            poll_secs: config.poll.map_or(poll_secs, Span::secs).clamp(60, 7 * DAY),
            max_age_secs: config.max_age.map_or(HOUR, Span::secs).clamp(1, DAY),
            serve_expired: config.serve_expired.unwrap_or(ServeExpired::For(7 * DAY)),
            cadence_secs: config.cadence.map_or(cadence_secs, Span::secs).max(HOUR),
        }
    }
}

impl KindPolicy {
    /// How fresh an edition is. `seen` is when an upstream last confirmed it, else its admission.
    /// An hour of grace keeps a poll that runs a little late from being called overdue.
    pub fn freshness(&self, next_update: UnixTime, seen: UnixTime, now: UnixTime) -> Freshness {
        if now >= next_update {
            Freshness::Expired
        } else if now >= self.ageing_from(seen) {
            Freshness::Ageing
        } else {
            Freshness::Current
        }
    }

    /// When an edition last seen at `seen` begins to age.
    pub fn ageing_from(&self, seen: UnixTime) -> UnixTime {
        seen.plus_secs(self.poll_secs.saturating_mul(2).max(HOUR))
    }

    /// `max-age` in seconds of an answer given now: 1 to 86,400, never past next update, 1 when expired.
    pub fn max_age(&self, next_update: UnixTime, now: UnixTime) -> i64 {
        next_update.since(now).clamp(1, self.max_age_secs)
    }

    /// When to poll next: a poll interval after the last sight, shortened by up to a tenth by `jitter`
    /// (0..=1000), and in any case ahead of next update.
    pub fn poll_due(&self, next_update: UnixTime, seen: UnixTime, jitter: u64) -> UnixTime {
        let jitter = i64::try_from(jitter.min(1000)).unwrap_or(0);
        let regular = seen.plus_secs(self.poll_secs - self.poll_secs * jitter / 10_000);
        // Ahead of next update, yet not more often than ten times the regular pace once that is near.
        let ahead = next_update
            .plus_secs(-AHEAD_SECS)
            .max(seen.plus_secs(self.poll_secs / 10));
        regular.min(ahead)
    }
}

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
/// Clients keep what they have until next update; a day gives a vendor's outage time to end.
const AHEAD_SECS: i64 = DAY;

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: KindPolicy = KindPolicy {
        poll_secs: 3600,
        max_age_secs: 3600,
        serve_expired: ServeExpired::For(60),
        cadence_secs: DAY,
    };

    const fn at(secs: i64) -> UnixTime {
        UnixTime::from_secs(secs)
    }

    #[test]
    fn max_age_never_passes_next_update_and_is_one_when_expired() {
        for (now, expected) in [
            (0, 3600),
            (6400, 3600),
            (6401, 3599),
            (9999, 1),
            (10_000, 1),
            (20_000, 1),
        ] {
            assert_eq!(POLICY.max_age(at(10_000), at(now)), expected, "now {now}");
        }
    }

    #[test]
    fn freshness_turns_at_its_instants() {
        for (now, expected) in [
            (7199, Freshness::Current),
            (7200, Freshness::Ageing),
            (9999, Freshness::Ageing),
            (10_000, Freshness::Expired),
        ] {
            assert_eq!(
                POLICY.freshness(at(10_000), at(0), at(now)),
                expected,
                "now {now}"
            );
        }
    }

    #[test]
    fn polls_are_jittered_and_ahead_of_next_update() {
        let far = at(100 * DAY);
        assert_eq!(POLICY.poll_due(far, at(0), 0), at(3600));
        assert_eq!(POLICY.poll_due(far, at(0), 1000), at(3240));
        assert_eq!(POLICY.poll_due(at(DAY + 1000), at(0), 0), at(1000));
        assert_eq!(POLICY.poll_due(at(DAY), at(0), 0), at(360));
    }

    #[test]
    fn serve_expired_ends() {
        assert_eq!(ServeExpired::Never.end(at(5)), at(5));
        assert_eq!(ServeExpired::For(7).end(at(5)), at(12));
        assert_eq!(ServeExpired::Always.end(at(5)), at(i64::MAX));
        for bad in ["", "7", "7 fortnights", "-1d", "Always"] {
            assert!(ServeExpired::try_from(bad.to_owned()).is_err(), "{bad:?}");
        }
    }
}

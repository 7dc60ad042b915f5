//! What can be made to go wrong at the simulated KDS.
//!
//! Rules are those of the PCS's faults: [`FaultRule`](crate::FaultRule)s tried in order, the first that matches the
//! request and can alter its answer wins, one that cannot is not used up. A request that came too early, or that is
//! refused for another reason, can be altered by the faults of the transport alone.

use crate::SimError;
use crate::faults::{
    elsewhere, huge_bytes, require_location, require_status, retry_after, slow_ms, stale_days,
};
use serde::{Deserialize, Serialize};

/// One way an answer of KDS can be wrong, late or missing. In JSON: `{"fault": "slow", "ms": 500}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "kebab-case")]
pub enum KdsFault {
    /// A chain with the ARK first.
    ChainReversed,
    /// A CRL of the number and dates of the current one, another body, a good signature.
    Conflict,
    /// A CRL dated now with a number one lower than the current one's.
    CrlNumberFalls,
    /// The request is read, then the connection ends without an answer.
    Down,
    /// A VCEK whose seven years ended, or a CRL whose next update was due, ten days ago.
    Expired,
    /// 404 for what is there, as during incidents of 2024.
    #[serde(rename = "false-404")]
    FalseNotFound,
    /// A VCEK or CRL that begins tomorrow.
    Future,
    /// 200 with random bytes under the right headers.
    Garbage,
    /// 200 with a captive portal's page as `text/html`.
    Html,
    /// 200 with a body of so many bytes, chunked, so the client learns its size only by reading.
    Huge {
        /// The size of the body.
        #[serde(default = "huge_bytes")]
        bytes: u64,
    },
    /// 302 to another place.
    Redirect {
        /// The `Location`.
        #[serde(default = "elsewhere")]
        location: String,
    },
    /// Half a header, then RST.
    Reset,
    /// A good answer after a pause.
    Slow {
        /// The pause in milliseconds.
        #[serde(default = "slow_ms")]
        ms: u64,
    },
    /// A CRL older than the current one, in date and number.
    StaleCrl {
        /// How much older.
        #[serde(default = "stale_days")]
        days: u32,
    },
    /// Any status, with a short text as body.
    Status {
        /// The status.
        code: u16,
    },
    /// One bit of the signature is flipped; in a chain, of the CA's.
    Tampered,
    /// 429 with `Retry-After`, though the client kept to the limits.
    Throttle {
        /// `Retry-After` in seconds.
        #[serde(default = "retry_after")]
        retry_after: u64,
    },
    /// `Content-Length` promises the whole body, half of it comes, then the connection ends.
    Truncated,
    /// 503 with `Retry-After`.
    Unavailable {
        /// `Retry-After` in seconds.
        #[serde(default = "retry_after")]
        retry_after: u64,
    },
    /// The genuine VCEK of another chip of the same product, for the TCB asked for.
    WrongChip,
    /// A VCEK for the chip's own key, a chain or a CRL of another hierarchy with the same names.
    WrongKey,
    /// A chain or CRL of another product.
    WrongProduct,
    /// The chip's genuine VCEK for a lower TCB.
    WrongTcb,
}

/// What a request would be answered with, as far as faults tell answers apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KdsSubject {
    Chain,
    Crl,
    /// A refusal.
    Plain,
    Vcek {
        /// Whether there is another chip of the product.
        other_chips: bool,
        /// Whether there is a lower TCB.
        lower_tcb: bool,
    },
}

impl KdsFault {
    /// Whether its values make sense.
    pub(crate) fn require_sense(&self) -> Result<(), SimError> {
        match self {
            KdsFault::Redirect { location } => require_location(location),
            KdsFault::Status { code } => require_status(*code),
            KdsFault::ChainReversed
            | KdsFault::Conflict
            | KdsFault::CrlNumberFalls
            | KdsFault::Down
            | KdsFault::Expired
            | KdsFault::FalseNotFound
            | KdsFault::Future
            | KdsFault::Garbage
            | KdsFault::Html
            | KdsFault::Huge { .. }
            | KdsFault::Reset
            | KdsFault::Slow { .. }
            | KdsFault::StaleCrl { .. }
            | KdsFault::Tampered
            | KdsFault::Throttle { .. }
            | KdsFault::Truncated
            | KdsFault::Unavailable { .. }
            | KdsFault::WrongChip
            | KdsFault::WrongKey
            | KdsFault::WrongProduct
            | KdsFault::WrongTcb => Ok(()),
        }
    }

    /// Whether the fault can alter such an answer.
    pub(crate) fn applies_to(&self, subject: KdsSubject) -> bool {
        match self {
            KdsFault::Down
            | KdsFault::Garbage
            | KdsFault::Html
            | KdsFault::Huge { .. }
            | KdsFault::Redirect { .. }
            | KdsFault::Reset
            | KdsFault::Slow { .. }
            | KdsFault::Status { .. }
            | KdsFault::Throttle { .. }
            | KdsFault::Truncated
            | KdsFault::Unavailable { .. } => true,
            KdsFault::FalseNotFound | KdsFault::Tampered | KdsFault::WrongKey => {
                subject != KdsSubject::Plain
            }
            KdsFault::ChainReversed => subject == KdsSubject::Chain,
            KdsFault::Conflict | KdsFault::CrlNumberFalls | KdsFault::StaleCrl { .. } => {
                subject == KdsSubject::Crl
            }
            KdsFault::Expired | KdsFault::Future => {
                matches!(subject, KdsSubject::Crl | KdsSubject::Vcek { .. })
            }
            KdsFault::WrongChip => matches!(
                subject,
                KdsSubject::Vcek {
                    other_chips: true,
                    ..
                }
            ),
            KdsFault::WrongProduct => matches!(subject, KdsSubject::Chain | KdsSubject::Crl),
            KdsFault::WrongTcb => matches!(
                subject,
                KdsSubject::Vcek {
                    lower_tcb: true,
                    ..
                }
            ),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is the report")]
mod tests {
    use super::*;
    use crate::faults::FaultRule;
    use serde_json::json;

    #[test]
    fn json_names_faults_as_the_tables_do() {
        let rule = FaultRule::from_json(&json!({"fault": "false-404", "times": 1})).unwrap();
        assert_eq!(rule, FaultRule::new(KdsFault::FalseNotFound).times(1));
        let rule = FaultRule::from_json(&json!({"fault": "stale-crl", "match": "/crl"})).unwrap();
        assert_eq!(
            rule,
            FaultRule::new(KdsFault::StaleCrl { days: 10 }).matching("/crl")
        );
        for value in [
            json!({"fault": "false-not-found"}),
            json!({"fault": "stale-crl", "code": 1}),
            json!({"fault": "no-chain"}),
        ] {
            assert!(FaultRule::<KdsFault>::from_json(&value).is_err(), "{value}");
        }
    }

    #[test]
    fn faults_leave_alone_what_they_cannot_alter() {
        let lonely = KdsSubject::Vcek {
            other_chips: false,
            lower_tcb: false,
        };
        assert!(!KdsFault::WrongChip.applies_to(lonely));
        assert!(!KdsFault::WrongTcb.applies_to(lonely));
        assert!(KdsFault::WrongKey.applies_to(lonely));
        assert!(!KdsFault::WrongKey.applies_to(KdsSubject::Plain));
        assert!(!KdsFault::Conflict.applies_to(KdsSubject::Chain));
        assert!(!KdsFault::Expired.applies_to(KdsSubject::Chain));
        assert!(KdsFault::Down.applies_to(KdsSubject::Plain));
        assert!(KdsFault::Status { code: 199 }.require_sense().is_err());
    }
}

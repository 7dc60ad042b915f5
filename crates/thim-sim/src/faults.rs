//! What can be made to go wrong, and for which requests.
//!
//! A rule names a fault, optionally a substring of `path?query` and how often it applies. Rules are tried in the order
//! they were set; the first that matches a request and can alter its answer wins, the others are not consulted. A fault
//! that cannot alter an answer (a wrong FMSPC in a CRL, a missing chain on the root CRL, a wrong signature on a 404, a
//! forged entry in a list without certificates) leaves it alone and is not used up.

use crate::SimError;
use crate::vendor::Artefact;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One way an answer can be wrong, late or missing. In JSON: `{"fault": "slow", "ms": 500}`.
///
/// Every fault that signs does so with `issueDate` (or `thisUpdate`) = now unless it says otherwise, so that a client
/// which misses the flaw would take the answer for news.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "kebab-case")]
pub enum Fault {
    /// The chain header carries the root first. The object is good: clients must cope.
    ChainReversed,
    /// The dates of the edition that is current, another body, a good signature.
    Conflict,
    /// The request is read, then the connection ends without an answer.
    Down,
    /// Issued 40 days ago, next update due 10 days ago, a good signature.
    Expired,
    /// Issued tomorrow, a good signature.
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
    /// The issuer chain header is missing.
    NoChain,
    /// The best certificate of a `pckcerts` list is another hierarchy's, the rest are genuine.
    OneForged,
    /// More levels of a `pckcerts` list are `Not available`.
    Partial {
        /// How many, from the best one down.
        #[serde(default = "partial_levels")]
        levels: u32,
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
    /// A properly signed edition older than the one last answered.
    Stale {
        /// How much older.
        #[serde(default = "stale_days")]
        days: u32,
    },
    /// Any status, with a short text as body.
    Status {
        /// The status.
        code: u16,
    },
    /// 429 with `Retry-After` and, as the vendor does, without `Request-ID`.
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
    /// Properly signed TCB info of another FMSPC.
    WrongFmspc,
    /// Signed by another hierarchy with the same names, whose chain is in the header.
    WrongKey,
    /// A properly signed TCB info or identity of another evaluation number.
    WrongNumber,
    /// Another platform's genuine `pckcerts` list: of the same family if there is one.
    WrongPlatform,
    /// One bit of the signature is flipped; in a `pckcerts` list, of every certificate's.
    WrongSignature,
}

impl Fault {
    /// Whether its values make sense.
    pub(crate) fn require_sense(&self) -> Result<(), SimError> {
        match self {
            Fault::Redirect { location } => require_location(location),
            Fault::Status { code } => require_status(*code),
            Fault::ChainReversed
            | Fault::Conflict
            | Fault::Down
            | Fault::Expired
            | Fault::Future
            | Fault::Garbage
            | Fault::Html
            | Fault::Huge { .. }
            | Fault::NoChain
            | Fault::OneForged
            | Fault::Partial { .. }
            | Fault::Reset
            | Fault::Slow { .. }
            | Fault::Stale { .. }
            | Fault::Throttle { .. }
            | Fault::Truncated
            | Fault::Unavailable { .. }
            | Fault::WrongFmspc
            | Fault::WrongKey
            | Fault::WrongNumber
            | Fault::WrongPlatform
            | Fault::WrongSignature => Ok(()),
        }
    }

    /// Whether the fault can alter such an answer.
    pub(crate) fn applies_to(&self, subject: Subject) -> bool {
        match self {
            Fault::Down
            | Fault::Garbage
            | Fault::Html
            | Fault::Huge { .. }
            | Fault::Redirect { .. }
            | Fault::Reset
            | Fault::Slow { .. }
            | Fault::Status { .. }
            | Fault::Throttle { .. }
            | Fault::Truncated
            | Fault::Unavailable { .. } => true,
            Fault::Conflict | Fault::Expired | Fault::Future | Fault::Stale { .. } => {
                matches!(subject, Subject::Signed(_))
            }
            Fault::WrongKey | Fault::WrongSignature => match subject {
                Subject::PckCertificate | Subject::Signed(_) => true,
                Subject::PckList { available } => available > 0,
                Subject::Plain => false,
            },
            Fault::ChainReversed | Fault::NoChain => match subject {
                Subject::PckCertificate | Subject::PckList { .. } => true,
                Subject::Plain => false,
                Subject::Signed(artefact) => artefact.has_chain(),
            },
            Fault::OneForged | Fault::Partial { .. } => {
                matches!(subject, Subject::PckList { available: 1.. })
            }
            Fault::WrongPlatform => matches!(subject, Subject::PckList { .. }),
            Fault::WrongFmspc => matches!(subject, Subject::Signed(Artefact::TcbInfo { .. })),
            Fault::WrongNumber => matches!(
                subject,
                Subject::Signed(Artefact::TcbInfo { .. } | Artefact::Identity { .. })
            ),
        }
    }
}

/// Values that would break an answer's framing are refused.
pub(crate) fn require_status(code: u16) -> Result<(), SimError> {
    if !(200..=999).contains(&code) {
        return Err(SimError::InvalidRequest("code: 200 to 999".to_owned()));
    }
    Ok(())
}

/// The same for a `Location`.
pub(crate) fn require_location(location: &str) -> Result<(), SimError> {
    if !location.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(SimError::InvalidRequest("location: a URL".to_owned()));
    }
    Ok(())
}

/// What a request would be answered with, as far as faults tell answers apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// One PCK certificate.
    PckCertificate,
    /// A list of PCK certificates.
    PckList {
        /// How many levels of it have one.
        available: usize,
    },
    /// A refusal, or something without signatures.
    Plain,
    /// A document or CRL.
    Signed(Artefact),
}

/// A fault, the requests it is for, and how often it is left to apply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultRule<F = Fault> {
    /// What goes wrong.
    #[serde(flatten)]
    pub fault: F,
    /// Only requests whose `path?query`, as received, contains this; all when absent.
    #[serde(rename = "match", default, skip_serializing_if = "Option::is_none")]
    pub target_contains: Option<String>,
    /// How many more times; until cleared when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
}

impl<F> FaultRule<F> {
    /// The fault for every request, until cleared.
    pub fn new(fault: F) -> Self {
        Self {
            fault,
            target_contains: None,
            times: None,
        }
    }

    /// Only for requests whose `path?query` contains `target`.
    pub fn matching(mut self, target: impl Into<String>) -> Self {
        self.target_contains = Some(target.into());
        self
    }

    /// Only so many times.
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }
}

impl<F: Serialize + DeserializeOwned> FaultRule<F> {
    /// Reads a rule; a member the fault does not have is refused, because a misspelt one would be silently ignored.
    pub(crate) fn from_json(value: &Value) -> Result<Self, SimError> {
        let rule = Self::deserialize(value)
            .map_err(|error| SimError::InvalidRequest(error.to_string()))?;
        let known = serde_json::to_value(&rule)
            .map_err(|error| SimError::InvalidRequest(error.to_string()))?;
        let unknown = value
            .as_object()
            .into_iter()
            .flatten()
            .find(|(name, value)| known.get(name.as_str()).is_none() && !value.is_null());
        match unknown {
            Some((name, _)) => Err(SimError::InvalidRequest(format!(
                "this fault has no parameter `{name}`"
            ))),
            None => Ok(rule),
        }
    }
}

/// The rules in force, in the order they were set.
#[derive(Debug)]
pub(crate) struct Faults<F = Fault> {
    rules: Vec<FaultRule<F>>,
}

impl<F> Default for Faults<F> {
    fn default() -> Self {
        Self { rules: Vec::new() }
    }
}

impl<F: Clone> Faults<F> {
    /// Adds a rule, whose fault's values the caller has looked at, behind the others.
    pub(crate) fn push(&mut self, rule: FaultRule<F>) -> Result<(), SimError> {
        if self.rules.len() >= MAX_RULES {
            return Err(SimError::InvalidRequest(format!(
                "more than {MAX_RULES} faults"
            )));
        }
        if rule.times != Some(0) {
            self.rules.push(rule);
        }
        Ok(())
    }

    pub(crate) fn clear(&mut self) {
        self.rules.clear();
    }

    pub(crate) fn rules(&self) -> &[FaultRule<F>] {
        &self.rules
    }

    /// The first fault for a request that `applies` to its answer, counted as used.
    pub(crate) fn take(&mut self, target: &str, applies: impl Fn(&F) -> bool) -> Option<F> {
        let index = self.rules.iter().position(|rule| {
            rule.target_contains
                .as_deref()
                .is_none_or(|part| target.contains(part))
                && applies(&rule.fault)
        })?;
        let fault = self.rules[index].fault.clone();
        match self.rules[index].times {
            Some(0 | 1) => {
                self.rules.remove(index);
            }
            Some(times) => self.rules[index].times = Some(times - 1),
            None => {}
        }
        Some(fault)
    }
}

pub(crate) fn huge_bytes() -> u64 {
    100 * 1024 * 1024
}

/// `.invalid` never resolves (RFC 2606), so a client that follows gets nowhere.
pub(crate) fn elsewhere() -> String {
    "http://elsewhere.invalid/".to_owned()
}

fn partial_levels() -> u32 {
    1
}

pub(crate) fn slow_ms() -> u64 {
    500
}

pub(crate) fn stale_days() -> u32 {
    10
}

pub(crate) fn retry_after() -> u64 {
    10
}

/// Enough for a scenario; every request walks the list.
const MAX_RULES: usize = 100;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is the report")]
mod tests {
    use super::*;
    use crate::management::Ca;
    use serde_json::json;

    #[test]
    fn json_names_parameters_and_defaults() {
        let rule: FaultRule =
            FaultRule::from_json(&json!({"fault": "slow", "match": "tcb?", "times": 2})).unwrap();
        assert_eq!(
            rule,
            FaultRule::new(Fault::Slow { ms: 500 })
                .matching("tcb?")
                .times(2)
        );
        assert_eq!(
            serde_json::to_value(&rule).unwrap(),
            json!({"fault": "slow", "ms": 500, "match": "tcb?", "times": 2})
        );
        let rule: FaultRule = FaultRule::from_json(&json!({"fault": "chain-reversed"})).unwrap();
        assert_eq!(rule, FaultRule::new(Fault::ChainReversed));
    }

    #[test]
    fn misspelt_faults_and_parameters_are_refused() {
        for value in [
            json!({"fault": "sloow"}),
            json!({"fault": "slow", "millis": 5}),
            json!({"fault": "down", "code": 5}),
            json!({"fault": "status"}),
            json!({"fault": "status", "code": 70_000}),
            json!({}),
            json!([]),
        ] {
            assert!(FaultRule::<Fault>::from_json(&value).is_err(), "{value}");
        }
    }

    #[test]
    fn faults_of_lists_leave_answers_without_certificates_alone() {
        let empty = Subject::PckList { available: 0 };
        let full = Subject::PckList { available: 1 };
        for fault in [
            Fault::OneForged,
            Fault::Partial { levels: 1 },
            Fault::WrongKey,
            Fault::WrongSignature,
        ] {
            assert!(
                fault.applies_to(full) && !fault.applies_to(empty),
                "{fault:?}"
            );
            assert!(!fault.applies_to(Subject::Plain), "{fault:?}");
        }
        assert!(Fault::WrongPlatform.applies_to(empty));
        assert!(!Fault::WrongPlatform.applies_to(Subject::PckCertificate));
        assert!(!Fault::WrongFmspc.applies_to(full));
    }

    #[test]
    fn the_first_rule_that_matches_and_applies_is_used_up() {
        let mut faults = Faults::default();
        let crl = |fault: &Fault| fault.applies_to(Subject::Signed(Artefact::Crl(Ca::Platform)));
        for rule in [
            FaultRule::new(Fault::WrongFmspc).times(1),
            FaultRule::new(Fault::Down).matching("ca=processor"),
            FaultRule::new(Fault::Reset).times(2),
            FaultRule::new(Fault::Html),
        ] {
            faults.push(rule).unwrap();
        }
        let target = "/sgx/certification/v4/pckcrl?ca=platform";
        assert_eq!(faults.take(target, crl), Some(Fault::Reset));
        assert_eq!(faults.take(target, crl), Some(Fault::Reset));
        assert_eq!(faults.take(target, crl), Some(Fault::Html));
        assert_eq!(faults.rules().len(), 3);
        assert_eq!(
            faults.take("/x?ca=processor", |fault| fault.applies_to(Subject::Plain)),
            Some(Fault::Down)
        );
    }
}

//! Platforms: what is known of them, what is wrong with one, and registrations.
//!
//! What these tell is no secret of a platform: no PPID, no encrypted PPID, no manifest and no hash of one. The one
//! type that carries secrets is the registration, and its `Debug` shows none of them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A platform in a list.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlatformSummary {
    /// 16 hex digits that never change.
    pub id: String,
    /// `needs-manifest`, `new`, `partial`, `ready`, `refused` or `waiting`.
    pub state: String,
    /// Why, in one word of docs/doctor.md; `none` where nothing is wrong.
    pub cause: String,
    /// Why, in a sentence.
    pub detail: String,
    /// Since when it is in this state.
    pub since: String,
    /// The family of its processor, as its certificates say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fmspc: Option<String>,
    /// `processor` or `platform`: who issues its certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// How it came to be known: `asked`, `imported` or `registered`.
    pub origin: String,
    /// When.
    pub registered: String,
    /// When the vendor last gave its list of certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetched: Option<String>,
    /// When the vendor will be asked next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<String>,
    /// True while the vendor is being asked.
    pub fetching: bool,
    /// True where a manifest is kept for it.
    pub manifest: bool,
    /// True where an encrypted PPID is kept for it.
    pub encrypted_ppid: bool,
    /// Whether the vendor keeps its keys, as its certificates say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_keys: Option<bool>,
}

/// Everything about a platform.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlatformRecord {
    /// As in a list.
    #[serde(flatten)]
    pub summary: PlatformSummary,
    /// When a genuine quote of it was last seen; here and below only where that is recorded, else nothing is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence_seen: Option<String>,
    /// What that quote was of, and so whose quoting enclave it came from: `sgx` or `tdx`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence_tee: Option<String>,
    /// ISVSVN of that quoting enclave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qe_isv_svn: Option<u16>,
    /// TCB of the PCK certificate that it stood on, 36 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pck_tcb: Option<String>,
    /// TEE TCB SVN of the newest quote of a trust domain, at the domain's launch: 32 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tee_tcb_svn: Option<String>,
    /// TEE TCB SVN 2 of the same quote, as it was when reported; reports of layout 1.0 have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tee_tcb_svn2: Option<String>,
    /// When that quote was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tee_tcb_svn_seen: Option<String>,
    /// What it is asked for by.
    pub names: Vec<PlatformName>,
    /// The levels of the vendor's list, in its order.
    pub levels: Vec<PlatformLevel>,
    /// The raw TCBs it was seen with, the newest first.
    pub raw_tcbs: Vec<PlatformRawTcb>,
    /// Its story, oldest first.
    pub timeline: Vec<PlatformMoment>,
}

/// A name a platform is asked for by.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlatformName {
    /// QE id.
    pub qe_id: String,
    /// PCE id.
    pub pce_id: String,
    /// True where it was told with a token; an open request gives a weak one, which yields to a registration.
    pub strong: bool,
    /// Since when.
    pub since: String,
}

/// A TCB level for which the vendor has, or has not, certified a platform.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlatformLevel {
    /// 36 hex digits.
    pub tcbm: String,
    /// `served`, `revoked`, `not-available` or `quarantined`.
    pub state: String,
    /// Why it is not served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// End of the certificate's validity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<String>,
    /// When the certificate was admitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admitted: Option<String>,
    /// Where it came from: a URL without secrets, or a path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// A raw TCB a platform was seen with.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlatformRawTcb {
    /// Under which QE id.
    pub qe_id: String,
    /// 36 hex digits.
    pub tcb: String,
    /// First seen.
    pub first: String,
    /// Last seen.
    pub last: String,
    /// The level whose certificate it gets now; absent where it gets none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcbm: Option<String>,
}

/// A line of a platform's story.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlatformMoment {
    /// When.
    pub at: String,
    /// The state it was in from then on.
    pub state: String,
    /// Why, in one word.
    pub cause: String,
    /// What happened.
    pub text: String,
}

/// What is wrong with a platform, and what to do.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Diagnosis {
    /// Its id; absent where nothing is registered under the name that was asked about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// The one cause, a word of docs/doctor.md; `none` where nothing is wrong.
    pub cause: String,
    /// True where nothing is wrong.
    pub healthy: bool,
    /// What is so.
    pub summary: String,
    /// The one thing to do next, and who does it.
    pub next_step: String,
    /// How we know: facts, the weightiest first.
    pub evidence: Vec<String>,
}

/// A platform to register, as PCKIDRetrievalTool tells it, and how.
#[derive(Clone, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RegisterRequest {
    /// 1 to 260 characters.
    pub qe_id: String,
    /// 4 hex digits.
    pub pce_id: String,
    /// 32 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_svn: Option<String>,
    /// 4 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pce_svn: Option<String>,
    /// 768 hex digits. A secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enc_ppid: Option<String>,
    /// Hex digits, 112,884 at most. A secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform_manifest: Option<String>,
    /// Which collateral is to be there: `standard` (by default), `early` or `all`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<String>,
    /// Registers directly: the vendor keeps the platform's keys from then on, and THIM keeps no manifest.
    #[serde(default)]
    pub direct: bool,
    /// Refuses a name that is another platform's, also to those who may move it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_names: bool,
}

impl fmt::Debug for RegisterRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegisterRequest")
            .field("qe_id", &self.qe_id)
            .field("pce_id", &self.pce_id)
            .field("update", &self.update)
            .field("direct", &self.direct)
            .field("keep_names", &self.keep_names)
            .finish_non_exhaustive()
    }
}

/// What became of a registration.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RegisterReport {
    /// The platform's id.
    pub platform: String,
    /// The state it is in.
    pub state: String,
    /// True where the vendor was asked.
    pub fetched: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registration_prints_no_secret_and_sends_no_field_it_has_not() {
        let request = RegisterRequest {
            qe_id: "A0".to_owned(),
            pce_id: "0000".to_owned(),
            enc_ppid: Some("5ec2e7".to_owned()),
            platform_manifest: Some("5ec2e7".to_owned()),
            ..RegisterRequest::default()
        };
        assert!(!format!("{request:?}").contains("5ec2e7"));
        let sent = serde_json::to_string(&request).expect("JSON");
        assert_eq!(
            sent,
            r#"{"qe_id":"A0","pce_id":"0000","enc_ppid":"5ec2e7","platform_manifest":"5ec2e7","direct":false}"#
        );
        assert_eq!(
            serde_json::from_str::<RegisterRequest>(&sent).expect("the same"),
            request
        );
        let misspelt = sent.replace("platform_manifest", "manifest");
        assert!(serde_json::from_str::<RegisterRequest>(&misspelt).is_err());
    }
}

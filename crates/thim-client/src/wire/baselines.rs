//! Baselines: rules, versions, acts.

use serde::{Deserialize, Serialize};

/// What holds for a scope and TEE, and what is to come.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BaselineSummary {
    /// `default`, `floor`, or a tenant's name.
    pub tenant: String,
    /// `sgx`, `tdx` or `sev-snp`.
    pub tee: String,
    /// The version in force; 0 where nobody ever acted.
    pub version: u32,
    /// Since when it is in force; absent for version 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// True of a tenant that has no version in force of its own and so follows `default`, whose version and rule stand here.
    pub follows_default: bool,
    /// The rule in force.
    pub rule: serde_json::Value,
    /// The TCB evaluation data number that the rule selects now; absent for `sev-snp`, and where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
    /// Why there is no number, or that it is another one than the rule's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Versions that are promoted and have not taken effect, soonest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<WaitingVersion>,
    /// The newest draft.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draft: Option<u32>,
}

/// A version that takes effect at an instant.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WaitingVersion {
    /// Which.
    pub version: u32,
    /// From when on.
    pub effective: String,
}

/// A baseline with every version it ever had.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BaselineRecord {
    /// What holds now.
    #[serde(flatten)]
    pub summary: BaselineSummary,
    /// All versions, oldest first.
    pub versions: Vec<BaselineVersion>,
}

/// A version.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BaselineVersion {
    /// From 1, rising.
    pub version: u32,
    /// `draft`, `overtaken` (a draft that is older than what was promoted), `waiting`, `in-force`, `superseded` or `discarded`.
    pub state: String,
    /// When it was written.
    pub issued: String,
    /// Who wrote it.
    pub author: String,
    /// Why.
    pub reason: String,
    /// Of a rollback: the version whose rule it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_version: Option<u32>,
    /// SHA-256 of the rule's canonical JSON, lower hex.
    pub rule_digest: String,
    /// What it wants.
    pub rule: serde_json::Value,
}

/// Baselines as a file declares them.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DeclaredBaselines {
    /// The file's text (TOML), as `docs/baselines.md` describes it.
    pub toml: String,
}

/// What became of one baseline of a file.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AppliedBaseline {
    /// `default`, `floor`, or a tenant's name.
    pub tenant: String,
    /// `sgx`, `tdx` or `sev-snp`.
    pub tee: String,
    /// `drafted`, `same-as-draft` or `same-as-promoted`.
    pub outcome: String,
    /// The version that says what the file says.
    pub version: u32,
}

/// How a file and the service differ in one field of one baseline.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BaselineDifference {
    /// `default`, `floor`, or a tenant's name.
    pub tenant: String,
    /// `sgx`, `tdx` or `sev-snp`.
    pub tee: String,
    /// The rule's field; `baseline` where only one side has the baseline.
    pub field: String,
    /// What the file says; absent where it has nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<serde_json::Value>,
    /// What the service says: of the version that is promoted last; absent where it has nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<serde_json::Value>,
    /// True where the newest draft of the service says what the file says.
    pub drafted: bool,
}

/// A promotion or rollback that is wanted.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PromotionRequest {
    /// `default` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Of a promotion: the draft, the newest where absent. Of a rollback: the version whose rule is wanted, the one in force
    /// before where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// The digest of the forecast that was looked at, 64 hex digits.
    pub forecast: String,
    /// So many platforms may drop out; 0 where absent.
    #[serde(default)]
    pub accept: u32,
    /// From when on; at once where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective: Option<String>,
    /// Why; a rollback wants a reason.
    #[serde(default)]
    pub reason: String,
}

/// A draft to throw away, or a promotion to take back.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct WithdrawalRequest {
    /// `default` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Which version.
    pub version: u32,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// An act in its place in the chain.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ActRecord {
    /// From 1, without gaps.
    pub seq: i64,
    /// When.
    pub at: String,
    /// Whose token, or who sat at the command line.
    pub who: String,
    /// `draft`, `discard`, `promote`, `withdraw` or `rollback`.
    pub act: String,
    /// `default`, `floor`, or a tenant's name.
    pub tenant: String,
    /// `sgx`, `tdx` or `sev-snp`.
    pub tee: String,
    /// Which version.
    pub version: u32,
    /// The rule's canonical JSON as text, where the act makes a version: the text is part of what is hashed.
    pub rule: Option<String>,
    /// Of a rollback: the version whose rule it is.
    pub from_version: Option<u32>,
    /// Of a promotion or rollback: from when on.
    pub effective: Option<String>,
    /// Why.
    pub reason: String,
    /// Of a promotion or rollback: the digest of the forecast that was looked at.
    pub forecast: Option<String>,
    /// Of a promotion or rollback: how many platforms drop out by that forecast.
    pub dropped: Option<u32>,
    /// The hash of the act before; zeros before the first.
    pub previous: String,
    /// The hash: SHA-256 of the JSON array of all members above in their order.
    pub hash: String,
}

/// Acts, and where the chain ends.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ActLog {
    /// The acts, oldest first.
    pub acts: Vec<ActRecord>,
    /// The hash of the last act of all, as it is kept beside the chain; zeros where nobody ever acted.
    pub head: String,
}

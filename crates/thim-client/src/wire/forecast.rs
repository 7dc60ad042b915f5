//! What a step of a baseline would break, told before it is taken.
//!
//! Platforms are named by the register's own ids (16 hex digits), chips likewise. Counts are exact; ids are listed up to a
//! limit, and the rest by paging (`after`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::explanation::{CollateralUsed, NeedRecord, ShortComponent};

/// What is to be foreseen.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ForecastRequest {
    /// `sgx`, `tdx` or `sev-snp`.
    pub tee: String,
    /// Whose baseline: `default` where absent; or `floor`, or a tenant's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// What it would be.
    pub to: ForecastTarget,
    /// From when on it would be in force, RFC 3339 [default: now]: numbers are selected, and statuses put up with, as of then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective: Option<String>,
    /// So many ids in each cause at most; 10 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Only ids after this one are listed; counts are of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// What a baseline would be.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum ForecastTarget {
    /// The rule in force with this evaluation number.
    Number(u32),
    /// The rule in force with the selector `standard` or `early`; or `draft`, the newest draft.
    Word(String),
    /// A version of the baseline.
    Version(ForecastVersion),
    /// This rule, as `thim baseline show --json` shows rules.
    Rule(serde_json::Map<String, serde_json::Value>),
}

/// A version of a baseline.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ForecastVersion {
    /// Which.
    pub version: u32,
}

/// What is foreseen.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ForecastReport {
    /// `sgx`, `tdx` or `sev-snp`.
    pub tee: String,
    /// `default`, `floor` or a tenant's name.
    pub tenant: String,
    /// When it was made; no part of the digest.
    pub at: String,
    /// SHA-256 over everything that decides it: what `promote` wants.
    pub digest: String,
    /// SHA-256 of the candidate's canonical rule.
    pub rule_digest: String,
    /// So many platforms pass now and would not.
    pub dropped: u64,
    /// Why some platforms' verdict is unknown or could not be as good as a quote's; sentences.
    pub notes: Vec<String>,
    /// Platforms of this TEE.
    pub platforms: u64,
    /// Registered platforms that are none of this TEE.
    pub not_applicable: u64,
    /// What the platforms' TCB is known from: `quote`, `raw-tcb`, `highest-certificate`, `unknown`; of chips `reported` or
    /// `unknown`.
    pub known_by: BTreeMap<String, u64>,
    /// `current`, `candidate`, `standard` and `early`; of sev-snp the first two.
    pub columns: Vec<ForecastColumn>,
    /// Who changes verdict between current and candidate, by cause; who drops out first, then by count.
    pub causes: Vec<ForecastCause>,
    /// So many further causes are not listed.
    pub more_causes: u64,
    /// When Intel's standard moves by itself in the next 400 days.
    pub moves: Vec<StandardMove>,
    /// Of `default`: tenants that follow it. Empty for others.
    pub followers: Vec<String>,
    /// Of `floor`: baselines that would be below it.
    pub below_floor: Vec<String>,
}

/// The fleet under one rule.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ForecastColumn {
    /// `current`, `candidate`, `standard` or `early`.
    pub name: String,
    /// The version of the baseline, where it is one; 0 where nobody ever acted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// The rule.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub rule: serde_json::Value,
    /// The evaluation number; absent where there is none, or each platform has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
    /// What is particular about the number, or why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Platforms by status: Intel's words, `compliant` and `short` of chips, `unknown`.
    pub statuses: BTreeMap<String, u64>,
    /// Platforms by verdict: `met`, `tolerated`, `below`, `unknown`.
    pub verdicts: BTreeMap<String, u64>,
    /// Of those that are unknown: why, a token each.
    pub unknown: BTreeMap<String, u64>,
    /// So many were judged without their quoting enclave, whose version nobody told (`qe: unknown`).
    pub qe_unknown: u64,
    /// What was judged by.
    pub collateral: Vec<CollateralUsed>,
}

/// Platforms that change verdict for one and the same cause.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ForecastCause {
    /// True where they pass before and do not after.
    pub drops: bool,
    /// Before.
    pub from: ForecastStanding,
    /// After.
    pub to: ForecastStanding,
    /// Of what has no level or is unknown: why, a token or a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What is short of passing after.
    pub short: Vec<ShortComponent>,
    /// What is asked for after that is no newer component.
    pub needs: Vec<NeedRecord>,
    /// Advisories after that were none before.
    pub advisories: Vec<String>,
    /// Families of the platforms: FMSPCs or products.
    pub families: Vec<String>,
    /// So many platforms.
    pub count: u64,
    /// The first of them.
    pub platforms: Vec<String>,
    /// There and true where there are more after those.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// Status and verdict.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ForecastStanding {
    /// The status.
    pub status: String,
    /// The verdict.
    pub verdict: String,
}

/// A day on which Intel's standard becomes another number by itself.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StandardMove {
    /// From this instant on.
    pub at: String,
    /// In so many whole days.
    pub days: i64,
    /// The number that is standard then.
    pub number: u32,
    /// Whether the candidate goes along.
    pub followed: bool,
    /// So many platforms pass until then and not after, under the candidate.
    pub dropped: u64,
    /// Who changes verdict then, by cause.
    pub causes: Vec<ForecastCause>,
    /// So many further causes are not listed.
    pub more_causes: u64,
}

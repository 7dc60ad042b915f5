//! The shapes of the own API. Times are RFC 3339 in UTC, digests lower-case hex, keys as
//! [`thim_verify::ArtefactKey`] prints them.

mod baselines;
mod certification;
mod chips;
mod explanation;
mod forecast;
mod news;
mod platforms;
mod tokens;

use serde::{Deserialize, Serialize};

pub use baselines::{
    ActLog, ActRecord, AppliedBaseline, BaselineDifference, BaselineRecord, BaselineSummary,
    BaselineVersion, DeclaredBaselines, PromotionRequest, WaitingVersion, WithdrawalRequest,
};
pub use certification::{DEFAULT_CACHE_SECONDS, ThimCertification};
pub use chips::{
    ChipCertificate, ChipRecord, ChipSummary, NewChip, PrewarmReport, PrewarmRequest,
    RegisterChips, RegisteredChip,
};
pub use explanation::{
    CollateralUsed, EnclaveFacts, FindingRecord, NeedRecord, QuoteComparison, QuoteExplanation,
    QuoteFacts, ShortComponent, ShortfallPart, ShortfallRecord, ShortfallTarget,
    SupplementalRecord, TrustDomainFacts,
};
pub use forecast::{
    ForecastCause, ForecastColumn, ForecastReport, ForecastRequest, ForecastStanding,
    ForecastTarget, ForecastVersion, StandardMove,
};
pub use news::NewsRecord;
pub use platforms::{
    Diagnosis, PlatformLevel, PlatformMoment, PlatformName, PlatformRawTcb, PlatformRecord,
    PlatformSummary, RegisterReport, RegisterRequest,
};
pub use tokens::{NewToken, RotationReport, TokenSummary};

/// A problem document (RFC 9457), the body of every error of the own API.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// A stable name of the problem, `about:blank` where the status says it all.
    #[serde(rename = "type")]
    pub kind: String,
    /// The problem in a few words, the same for every occurrence.
    pub title: String,
    /// The HTTP status, repeated.
    pub status: u16,
    /// This occurrence: the field, the limit, the value found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What became of an import: one count for every signed object found.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ImportReport {
    /// Verified and new; kept as current or as history.
    pub admitted: u64,
    /// Seen before, also earlier in the same run.
    pub known: u64,
    /// Verified and new, but suspicious: kept back for people to look at.
    pub held: u64,
    /// Issued after the clock of this run; not admitted.
    pub future: u64,
    /// Files that are no collateral.
    pub ignored: u64,
    /// What failed, and why.
    pub refused: Vec<Refused>,
}

/// One object or file that an import refused.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Refused {
    /// The file it came from, with `#member` for an object inside a bundle.
    pub path: String,
    /// The kind of object, `file` where it was not recognised.
    pub kind: String,
    /// The reason with its facts.
    pub reason: String,
}

/// Files to import, as the command line sends them to a running service.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ImportRequest {
    /// The files; their order never matters.
    pub files: Vec<ImportFile>,
}

/// One file of an [`ImportRequest`].
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ImportFile {
    /// The name under which the report speaks of it.
    pub path: String,
    /// The bytes, base64 (RFC 4648 section 4).
    pub content: String,
}

/// One edition of an artefact.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EditionSummary {
    /// SHA-256 of the signed bytes.
    pub id: String,
    /// What the artefact answers for.
    pub key: String,
    /// `current`, `superseded`, `held`, `quarantined` or `archived`.
    pub state: String,
    /// `current`, `ageing` or `expired` at the time of the answer.
    pub freshness: String,
    /// Issue date or thisUpdate.
    pub issued: String,
    /// Next update.
    pub next_update: String,
    /// When THIM admitted it.
    pub admitted: String,
    /// Where it came from: a URL or a path.
    pub source: String,
    /// `standard` or `early` where the source called it so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub called: Option<String>,
    /// `checked` against a root CRL, or `unchecked`.
    pub revocation: String,
    /// Number of revoked serials, for CRLs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_entries: Option<u64>,
    /// Until when it is held at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_until: Option<String>,
    /// SHA-256 of the issuer chain's certificates, issuer first, root last.
    pub chain: Vec<String>,
    /// Length of the served document in bytes.
    pub document_bytes: u64,
    /// Every change of state so far; only in histories.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transitions: Vec<TransitionRecord>,
}

/// One change of an edition's state.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TransitionRecord {
    /// When.
    pub at: String,
    /// Into which state.
    pub state: String,
    /// Why.
    pub cause: String,
}

/// Something an operator may want to know, kept for ever.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EventRecord {
    /// Rises by one with each event.
    pub seq: i64,
    /// When.
    pub at: String,
    /// What, as a dotted name such as `crl.unrevoked`.
    pub name: String,
    /// `info`, `warning` or `alarm`.
    pub severity: String,
    /// The artefact's key, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The edition, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edition: Option<String>,
    /// The whole story in a sentence.
    pub text: String,
}

/// What is held under one key.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeyStatus {
    /// The key.
    pub key: String,
    /// State of its newest servable edition, `archived` where none is.
    pub state: String,
    /// `current`, `ageing` or `expired`.
    pub freshness: String,
    /// Issue date.
    pub issued: String,
    /// Next update.
    pub next_update: String,
    /// When an upstream last confirmed it, if ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<String>,
}

/// The service at a glance.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Status {
    /// Version of the program.
    pub version: String,
    /// The service's clock.
    pub now: String,
    /// `system` or `simulated`.
    pub clock: String,
    /// `builtin` (Intel's pinned root) or `replaced` by configuration.
    pub trust: String,
    /// SHA-256 over the trusted root keys.
    pub trust_fingerprint: String,
    /// True where the store is read by vendor dates and nothing is fetched.
    pub read_only: bool,
    /// `lazy`, `req` or `offline`.
    pub fill: String,
    /// The standard number per TEE that the lists give, and whether the list is past its next update.
    pub standard: std::collections::BTreeMap<String, u32>,
    /// True where a list past its next update informed the choice.
    pub lists_expired: bool,
    /// Earliest next update of all current editions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earliest_next_update: Option<String>,
    /// How many editions are held back now.
    pub held_editions: u64,
    /// How many platforms stand in which state.
    #[serde(default)]
    pub platforms: std::collections::BTreeMap<String, u64>,
    /// Every key with a current edition.
    pub keys: Vec<KeyStatus>,
}

/// One step of a refresh plan.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RefreshStep {
    /// The key to ask for.
    pub key: String,
    /// Why now.
    pub why: String,
    /// What came of it; absent in a dry run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
}

/// A refresh plan, carried out or not.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RefreshReport {
    /// True where nothing was asked of any upstream.
    pub dry_run: bool,
    /// The steps in the order they are taken.
    pub steps: Vec<RefreshStep>,
}

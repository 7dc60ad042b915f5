//! What is told about a piece of evidence: the verdict, the checks behind it, what is missing to a better one.
//!
//! The command line prints the same objects with `--json`. Members whose names are Intel's (`sa_list`,
//! `tcb_eval_ref_num`, ...) mean what Intel's quote verification enclave means by them. What names one machine (PPID,
//! platform instance id, chip id, QE id) is left out unless the caller of the command line asks for it.

use serde::{Deserialize, Serialize};

/// One check.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FindingRecord {
    /// What was looked at, lower-case words joined by hyphens.
    pub name: String,
    /// `passed`, `failed` or `not-checked`.
    pub outcome: String,
    /// Why it did not pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What it was judged by.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub facts: std::collections::BTreeMap<String, String>,
    /// The instant it was judged at.
    pub at: String,
    /// The words, joined by commas, that together forgive it, whether given or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relaxation: Option<String>,
    /// There and true when they were given.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allowed: bool,
}

/// What is told about a quote.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QuoteExplanation {
    /// `sgx` or `tdx`.
    pub tee: String,
    /// The instant of the judgement.
    pub at: String,
    /// `accepted`, `not-accepted` or `unknown`.
    pub verdict: String,
    /// What made it so; empty when accepted.
    pub reasons: Vec<String>,
    /// In Intel's words, `NotSupported` where no TCB level covers the platform; null when something it rests on is not
    /// genuine or not there.
    pub status: Option<String>,
    /// The TCB evaluation data number of the TCB info.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
    /// Advisories of the levels that were reached, of platform, TDX module and quoting enclave.
    pub advisories: Vec<String>,
    /// In the order of the look.
    pub findings: Vec<FindingRecord>,
    /// What is missing to a better status; null where there is no status.
    pub shortfall: Option<ShortfallRecord>,
    /// What it was judged by.
    pub collateral: Vec<CollateralUsed>,
    /// What Intel's quote verification enclave tells beside its result, under its names; null for what is no quote.
    pub supplemental: Option<SupplementalRecord>,
    /// What the quote says; null when it cannot be read.
    pub facts: Option<QuoteFacts>,
    /// There and true when what it says of its platform was recorded in the register.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recorded: bool,
    /// What was left aside, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// One quote under several evaluation numbers.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QuoteComparison {
    /// `sgx` or `tdx`.
    pub tee: String,
    /// The instant of the judgement.
    pub at: String,
    /// One for each number, in the order asked for.
    pub columns: Vec<QuoteExplanation>,
}

/// What is missing to a better status, part by part: different people update them.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ShortfallRecord {
    /// The platform's own TCB.
    pub platform: Option<ShortfallPart>,
    /// The TDX module, where it has an identity of its own.
    pub tdx_module: Option<ShortfallPart>,
    /// The quoting enclave.
    pub qe: Option<ShortfallPart>,
    /// What the levels ask for that is no newer component.
    pub needs: Vec<NeedRecord>,
}

/// What is missing to one part.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ShortfallPart {
    /// The status it has by itself; null when no level covers it.
    pub status: Option<String>,
    /// To the next better level; null where there is none above.
    pub next_better: Option<ShortfallTarget>,
    /// `already`, `by-updates`, or `none-above`: no level above is up to date, so what is left are the needs.
    pub up_to_date_by: String,
    /// To a level that is up to date, where updates give one.
    pub up_to_date: Option<ShortfallTarget>,
}

/// What a level asks for that is no newer component.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NeedRecord {
    /// `configuration`, `relaunch` or `software-hardening`.
    pub name: String,
    /// What is to be done, and by whom.
    pub action: String,
}

/// A level to reach.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ShortfallTarget {
    /// The status the part has there.
    pub status: String,
    /// The TCB recovery of the level.
    pub tcb_date: String,
    /// What is short.
    pub components: Vec<ShortComponent>,
}

/// A component whose version is too low.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ShortComponent {
    /// `sgx[0]` to `sgx[15]`, `tdx[0]` to `tdx[15]`, `pcesvn`, `tdx-module-1` (by major version), `qe`.
    pub component: String,
    /// The version there is.
    pub have: u32,
    /// The version there must be.
    pub need: u32,
    /// Who provides it, e.g. `BIOS`, `OS/VMM`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// What it is, e.g. `Early Microcode Update`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// True where the document has no label and the usual one stands here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_convention: bool,
    /// Who must act.
    pub who: String,
    /// What is to be done.
    pub action: String,
    /// What must follow.
    pub afterwards: String,
}

/// A signed object that evidence was judged by.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CollateralUsed {
    /// Its key.
    pub key: String,
    /// SHA-256 of what was signed: the id of the edition.
    pub id: String,
    /// Issue date.
    pub issued: String,
    /// Next update.
    pub next_update: String,
    /// Where it came from: `store`, or a file's name.
    pub source: String,
}

/// Intel's supplemental data, version 3.4. Dates are null where nothing they come from was there.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SupplementalRecord {
    /// The earliest issue date of all collateral and certificates.
    pub earliest_issue_date: Option<String>,
    /// The latest.
    pub latest_issue_date: Option<String>,
    /// The earliest end of all.
    pub earliest_expiration_date: Option<String>,
    /// 1 when that end is not after the instant of the judgement, else 0.
    pub collateral_expiration_status: u32,
    /// The older of the dates of the platform's and the quoting enclave's level.
    pub tcb_level_date_tag: Option<String>,
    /// Of the platform's level.
    pub platform_tcb_level_date_tag: Option<String>,
    /// Of the quoting enclave's level.
    pub qe_iden_tcb_level_date_tag: Option<String>,
    /// CRL number of the PCK CRL.
    pub pck_crl_num: Option<u64>,
    /// CRL number of the root CRL.
    pub root_ca_crl_num: Option<u64>,
    /// The lower of the two evaluation numbers.
    pub tcb_eval_ref_num: Option<u32>,
    /// That of the QE identity.
    pub qe_iden_tcb_eval_ref_num: Option<u32>,
    /// SHA-384 of the root's public point, hex.
    pub root_key_id: Option<String>,
    /// PPID, hex; left out unless asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pck_ppid: Option<String>,
    /// CPUSVN of the PCK certificate, hex.
    pub tcb_cpusvn: Option<String>,
    /// PCESVN of the PCK certificate.
    pub tcb_pce_isvsvn: Option<u16>,
    /// PCE id, hex of its two bytes.
    pub pce_id: Option<String>,
    /// 0 for SGX, 129 for TDX.
    pub tee_type: u32,
    /// 0 standard, 1 scalable, 2 scalable with integrity.
    pub sgx_type: Option<u8>,
    /// Platform instance id, hex; left out unless asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform_instance_id: Option<String>,
    /// `true` or `undefined`.
    pub dynamic_platform: String,
    /// `true` or `undefined`.
    pub cached_keys: String,
    /// `true`, `false` or `undefined`.
    pub smt_enabled: String,
    /// Advisories, joined by commas.
    pub sa_list: String,
    /// The earliest issue date of QE identity and its chain.
    pub qe_iden_earliest_issue_date: Option<String>,
    /// The latest.
    pub qe_iden_latest_issue_date: Option<String>,
    /// The earliest end.
    pub qe_iden_earliest_expiration_date: Option<String>,
    /// Of the quoting enclave alone, in Intel's words.
    pub qe_iden_status: Option<String>,
}

/// What a quote says; what it is worth is the verdict's to tell. Byte strings are hex.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QuoteFacts {
    /// 3, 4 or 5.
    pub version: u16,
    /// `sgx`, `td-1.0`, `td-1.5` or `td-1.5-extended`.
    pub body: String,
    /// Kind of certification data, 1 to 5 or 7.
    pub certification_data_type: u16,
    /// The platform's FMSPC, from its PCK certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fmspc: Option<String>,
    /// REPORTDATA.
    pub report_data: String,
    /// Of an SGX enclave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enclave: Option<EnclaveFacts>,
    /// Of a trust domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust_domain: Option<TrustDomainFacts>,
}

/// What an SGX report says.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnclaveFacts {
    /// MRENCLAVE.
    pub mrenclave: String,
    /// MRSIGNER.
    pub mrsigner: String,
    /// ISVPRODID.
    pub isvprodid: u16,
    /// ISVSVN.
    pub isvsvn: u16,
    /// ATTRIBUTES.
    pub attributes: String,
    /// MISCSELECT.
    pub miscselect: String,
    /// CONFIGID.
    pub configid: String,
    /// CONFIGSVN.
    pub configsvn: u16,
}

/// What a TD report says.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TrustDomainFacts {
    /// TEE_TCB_SVN: the TCB at launch.
    pub tee_tcb_svn: String,
    /// TEE_TCB_SVN_2: the TCB now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tee_tcb_svn2: Option<String>,
    /// MRSEAM.
    pub mrseam: String,
    /// MRSIGNERSEAM.
    pub mrsignerseam: String,
    /// SEAMATTRIBUTES.
    pub seamattributes: String,
    /// TDATTRIBUTES, as a number.
    pub tdattributes: String,
    /// XFAM, as a number.
    pub xfam: String,
    /// MRTD.
    pub mrtd: String,
    /// MRCONFIGID.
    pub mrconfigid: String,
    /// MROWNER.
    pub mrowner: String,
    /// MROWNERCONFIG.
    pub mrownerconfig: String,
    /// RTMR0 to RTMR3.
    pub rtmrs: Vec<String>,
    /// MRSERVICETD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mrservicetd: Option<String>,
}

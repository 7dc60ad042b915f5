//! Intel's signed objects: three kinds of JSON, two kinds of revocation lists, and PCK certificates, with the rule that
//! selects one for a platform.
//!
//! Each file reads one format into types; none of them verifies anything. The rules come from Intel PCS API v4 and
//! from the vendor-signed data THIM was built against (`spec/intel-verification.md`).

mod advisory;
mod components;
mod convergence;
pub(crate) mod crl;
pub(crate) mod enclave_identity;
mod evaluation;
pub(crate) mod evaluation_numbers;
mod evidence;
mod levels;
#[cfg(test)]
mod made_levels;
mod pck;
mod pck_list;
mod quote;
mod raw_tcb;
mod selection;
mod sgx_extension;
mod shortfall;
pub(crate) mod signed_json;
pub(crate) mod tcb_info;
mod tcb_level;
mod tdx_module;

pub use advisory::AdvisoryId;
pub use components::ComponentSvn;
pub use convergence::ConvergedStatus;
pub use crl::{Crl, RevokedEntry};
pub use enclave_identity::EnclaveIdentity;
pub use evaluation::{NotSupported, QeFinding, TcbEvaluation};
pub use evaluation_numbers::{EvaluationEntry, EvaluationNumbers};
pub use evidence::{
    Absent, CollateralPart, PckChain, PckChainOrigin, QuoteAppraisal, QuoteCheck, QuoteCollateral,
    QuoteConcern, QuoteFinding, QuoteFindings, QuotePolicy, QuoteRelaxation, QuoteVerifier,
    QuoteWeighed, SupplementalData, appraise_quote,
};
pub use levels::{PlatformTcb, TcbEngine, TcbSubject, TeeTcbSvn};
pub use pck::PckCertificate;
pub use pck_list::{Listed, PckList, PckListEntry, parse_pck_list};
pub use quote::{
    Certification, CertificationKind, MAX_QUOTE_BYTES, PckName, PemText, PpidForm, Quote,
    QuoteBody, QuoteHeader, SgxReport, TdAttributes, TdExtension, TdReport, TdReportVersion,
    parse_quote,
};
pub use raw_tcb::{CpuSvn, PceSvn, RawTcb};
pub use selection::{SelectionError, check_one_platform, select_pck};
pub use sgx_extension::{PckConfiguration, PlatformInstanceId, Ppid, SgxType};
pub use shortfall::{
    Actor, LabelSource, Need, PartShortfall, ShortComponent, Shortfall, Shortfalls, TcbTarget,
    UpToDateTarget,
};
pub use signed_json::SignedMember;
pub use tcb_info::{TcbInfo, TcbLevel, TdxModule, TdxModuleIdentity};
pub use tcb_level::{IsvLevel, TcbStatus};
pub use tdx_module::ModuleFinding;

//! Parses and verifies vendor-signed attestation collateral: bytes in, verified types out.
//!
//! Promises: no I/O, no clock (`now` is an argument), no async, no unsafe, no panic on any input, bounded work and
//! memory for every input. What a vendor signed is kept byte for byte. A [`Verified`] value can be made in one place
//! only, from signed objects ([`verify`]) and from PCK certificates ([`verify_pck`]). What identifies one platform
//! ([`Ppid`], [`PlatformInstanceId`]) is in no error and in no debug text. The rules are those of `design.md`
//! ("Promises", "Words") and of RFC 5280; each file names its own sources.
//!
//! ```
//! use thim_verify::{Issuers, TrustAnchors, UnixTime, parse, verify};
//!
//! fn judge(body: &[u8], now: UnixTime) -> Result<(), thim_verify::Error> {
//!     let issuers = Issuers::new(TrustAnchors::intel());
//!     let artefact = verify(parse(body)?, &[], &issuers, None, now)?;
//!     println!("{} issued {}", artefact.key(), artefact.issued());
//!     Ok(())
//! }
//! # assert_eq!(judge(b"[]", UnixTime::MAX).map_err(|e| e.reason()), Err("format"));
//! ```

#![forbid(unsafe_code)]

pub mod amd;
mod anchors;
mod artefact;
mod asn1;
mod certificate;
mod chain;
mod error;
mod finding;
mod ids;
mod intel;
mod issuers;
mod key;
mod pem;
mod time;
mod verdict;
mod verified;

pub use anchors::{TrustAnchors, well_known_issuers};
pub use artefact::{Artefact, Content, Unverified, compacted, parse, parse_detached, parse_for};
pub use certificate::Certificate;
pub use chain::Chain;
pub use error::Error;
pub use finding::{Fact, Outcome};
pub use ids::{Digest, Enclave, EvaluationNumber, Fmspc, PceId, PckCa, Tee};
pub use intel::{
    Absent, Actor, AdvisoryId, Certification, CertificationKind, CollateralPart, ComponentSvn,
    ConvergedStatus, CpuSvn, Crl, EnclaveIdentity, EvaluationEntry, EvaluationNumbers, IsvLevel,
    LabelSource, Listed, MAX_QUOTE_BYTES, ModuleFinding, Need, NotSupported, PartShortfall, PceSvn,
    PckCertificate, PckChain, PckChainOrigin, PckConfiguration, PckList, PckListEntry, PckName,
    PemText, PlatformInstanceId, PlatformTcb, Ppid, PpidForm, QeFinding, Quote, QuoteAppraisal,
    QuoteBody, QuoteCheck, QuoteCollateral, QuoteConcern, QuoteFinding, QuoteFindings, QuoteHeader,
    QuotePolicy, QuoteRelaxation, QuoteVerifier, QuoteWeighed, RawTcb, RevokedEntry,
    SelectionError, SgxReport, SgxType, ShortComponent, Shortfall, Shortfalls, SignedMember,
    SupplementalData, TcbEngine, TcbEvaluation, TcbInfo, TcbLevel, TcbStatus, TcbSubject,
    TcbTarget, TdAttributes, TdExtension, TdReport, TdReportVersion, TdxModule, TdxModuleIdentity,
    TeeTcbSvn, UpToDateTarget, appraise_quote, check_one_platform, parse_pck_list, parse_quote,
    select_pck,
};
pub use issuers::Issuers;
pub use key::{ArtefactKey, Kind};
pub use time::UnixTime;
pub use verdict::Verdict;
pub use verified::{PckRevocation, Revocation, Verified, verify, verify_pck};

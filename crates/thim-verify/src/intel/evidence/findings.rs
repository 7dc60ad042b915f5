//! What was looked at in a quote, and how it turned out: a list without a verdict, and the TCB status it leads to.
//!
//! Names and order are those of spec/intel-verification.md, section 3. A status is told only when everything that it
//! rests on is genuine: who signed, for which platform, by which module. Dates, revocation and what the owner allows in
//! an enclave do not move it; they are checks of their own.

use std::fmt;
use std::sync::Arc;

use super::collateral::QuoteCollateral;
use super::pck_chain::PckChain;
use crate::{
    ConvergedStatus, Outcome, Quote, Shortfalls, TcbEngine, TcbEvaluation, TcbSubject, UnixTime,
};

/// What was looked at. In the order of the look.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum QuoteCheck {
    /// The quoting enclave says that it is Intel's.
    QeVendor,
    /// The PCK certificate leads to a trusted root: names, roles and signatures.
    PckChain,
    /// PCK certificate, authority and root are valid at the instant of the judgement.
    PckChainValidity,
    /// The root's list does not name the PCK authority.
    PckCaRevocation,
    /// The instant is within the window of the root's list.
    RootCrlValidity,
    /// The list of the authority that issued the PCK certificate does not name it.
    PckRevocation,
    /// The instant is within the window of that list.
    PckCrlValidity,
    /// The TCB info is Intel's, and of the quote's kind of TEE.
    TcbInfo,
    /// The instant is within the window of the TCB info.
    TcbInfoValidity,
    /// The identity is Intel's, and of the enclave that makes quotes of this kind of TEE.
    QeIdentity,
    /// The instant is within the window of the identity.
    QeIdentityValidity,
    /// The chains of TCB info and identity are valid at the instant of the judgement.
    TcbSignerValidity,
    /// The root's list does not name the signer of TCB info and identity.
    TcbSignerRevocation,
    /// TCB info and identity have one TCB evaluation data number.
    EvaluationNumbers,
    /// TCB info and PCK certificate have one FMSPC and one PCE id.
    Platform,
    /// The PCK key signed the quoting enclave's report.
    QeReportSignature,
    /// That report vouches for the attestation key.
    QeReportData,
    /// That report is of the enclave that the identity describes.
    QeIdentityMatch,
    /// A level of the identity covers the quoting enclave.
    QeTcbLevel,
    /// The attestation key signed the quote.
    QuoteSignature,
    /// The TDX module is Intel's, and one the TCB info knows. Trust domains alone have it.
    TdxModule,
    /// A level of the TCB info covers the platform.
    TcbLevel,
    /// The host may not debug the enclave or domain.
    Debug,
    /// No other bit of the domain's attributes opens it, and none is unknown. Trust domains alone have it, as all below but the last.
    TdAttributes,
    /// Pages that the host takes away stop the domain.
    SeptVeDisable,
    /// No migration domain may move it.
    Migratable,
    /// No service domain is bound to it. Reports of layout 1.5 on alone have it.
    ServiceTd,
    /// Nothing was handed over behind the end of the quote.
    TrailingBytes,
}

/// One check and how it turned out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QuoteFinding {
    /// What was looked at.
    pub check: QuoteCheck,
    /// How it turned out.
    pub outcome: Outcome,
}

/// All findings about one quote, and what they were made from.
pub struct QuoteFindings<'a> {
    pub(super) quote: &'a Quote,
    pub(super) collateral: &'a QuoteCollateral,
    pub(super) chain: Option<Arc<PckChain>>,
    pub(super) subject: Option<TcbSubject>,
    pub(super) evaluation: Option<TcbEvaluation<'a>>,
    pub(super) list: Vec<QuoteFinding>,
    pub(super) now: UnixTime,
}

impl QuoteCheck {
    /// All, in order.
    pub const ALL: [Self; 28] = [
        Self::QeVendor,
        Self::PckChain,
        Self::PckChainValidity,
        Self::PckCaRevocation,
        Self::RootCrlValidity,
        Self::PckRevocation,
        Self::PckCrlValidity,
        Self::TcbInfo,
        Self::TcbInfoValidity,
        Self::QeIdentity,
        Self::QeIdentityValidity,
        Self::TcbSignerValidity,
        Self::TcbSignerRevocation,
        Self::EvaluationNumbers,
        Self::Platform,
        Self::QeReportSignature,
        Self::QeReportData,
        Self::QeIdentityMatch,
        Self::QeTcbLevel,
        Self::QuoteSignature,
        Self::TdxModule,
        Self::TcbLevel,
        Self::Debug,
        Self::TdAttributes,
        Self::SeptVeDisable,
        Self::Migratable,
        Self::ServiceTd,
        Self::TrailingBytes,
    ];

    /// Lower-case words joined by hyphens.
    pub const fn name(self) -> &'static str {
        match self {
            Self::QeVendor => "qe-vendor",
            Self::PckChain => "pck-chain",
            Self::PckChainValidity => "pck-chain-validity",
            Self::PckCaRevocation => "pck-ca-revocation",
            Self::RootCrlValidity => "root-crl-validity",
            Self::PckRevocation => "pck-revocation",
            Self::PckCrlValidity => "pck-crl-validity",
            Self::TcbInfo => "tcb-info",
            Self::TcbInfoValidity => "tcb-info-validity",
            Self::QeIdentity => "qe-identity",
            Self::QeIdentityValidity => "qe-identity-validity",
            Self::TcbSignerValidity => "tcb-signer-validity",
            Self::TcbSignerRevocation => "tcb-signer-revocation",
            Self::EvaluationNumbers => "evaluation-numbers",
            Self::Platform => "platform",
            Self::QeReportSignature => "qe-report-signature",
            Self::QeReportData => "qe-report-data",
            Self::QeIdentityMatch => "qe-identity-match",
            Self::QeTcbLevel => "qe-tcb-level",
            Self::QuoteSignature => "quote-signature",
            Self::TdxModule => "tdx-module",
            Self::TcbLevel => "tcb-level",
            Self::Debug => "debug",
            Self::TdAttributes => "td-attributes",
            Self::SeptVeDisable => "sept-ve-disable",
            Self::Migratable => "migratable",
            Self::ServiceTd => "service-td",
            Self::TrailingBytes => "trailing-bytes",
        }
    }

    /// Whether a status means nothing unless this passed.
    const fn bears_status(self) -> bool {
        match self {
            Self::EvaluationNumbers
            | Self::Debug
            | Self::Migratable
            | Self::PckCaRevocation
            | Self::PckChainValidity
            | Self::PckCrlValidity
            | Self::PckRevocation
            | Self::QeIdentityValidity
            | Self::QeTcbLevel
            | Self::RootCrlValidity
            | Self::SeptVeDisable
            | Self::ServiceTd
            | Self::TcbInfoValidity
            | Self::TcbLevel
            | Self::TcbSignerRevocation
            | Self::TcbSignerValidity
            | Self::TdAttributes
            | Self::TrailingBytes => false,
            Self::PckChain
            | Self::Platform
            | Self::QeIdentity
            | Self::QeIdentityMatch
            | Self::QeReportData
            | Self::QeReportSignature
            | Self::QeVendor
            | Self::QuoteSignature
            | Self::TcbInfo
            | Self::TdxModule => true,
        }
    }
}

impl fmt::Display for QuoteCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl<'a> QuoteFindings<'a> {
    /// In the order of the look.
    pub fn list(&self) -> &[QuoteFinding] {
        &self.list
    }

    /// How a check turned out; none where the quote is of a kind that does not have it.
    pub fn outcome(&self, check: QuoteCheck) -> Option<&Outcome> {
        let mut all = self.list.iter();
        all.find(|finding| finding.check == check)
            .map(|finding| &finding.outcome)
    }

    /// What did not pass.
    pub fn not_passed(&self) -> impl Iterator<Item = &QuoteFinding> {
        let all = self.list.iter();
        all.filter(|finding| finding.outcome != Outcome::Passed)
    }

    /// The TCB status in Intel's words; none when something that it rests on failed or could not be checked.
    pub fn status(&self) -> Option<ConvergedStatus> {
        let borne = self
            .list
            .iter()
            .filter(|finding| finding.check.bears_status())
            .all(|finding| finding.outcome == Outcome::Passed);
        borne.then_some(self.evaluation.as_ref()?.status()?)
    }

    /// How platform, module and quoting enclave stand in the collateral, as the quote and its certificates claim them.
    pub fn evaluation(&self) -> Option<&TcbEvaluation<'a>> {
        self.evaluation.as_ref()
    }

    /// What is missing to a better level; none where there is no status.
    pub fn shortfalls(&self) -> Option<Shortfalls<'a>> {
        self.status()?;
        let engine = TcbEngine::new(self.collateral.tcb_info()?, self.collateral.qe_identity());
        Some(engine.shortfall(self.subject.as_ref()?, self.evaluation.as_ref()?))
    }

    /// The PCK certificate and what is above it, where it leads to a trusted root.
    pub fn pck_chain(&self) -> Option<&PckChain> {
        self.chain.as_deref()
    }

    /// What was compared with the levels.
    pub fn subject(&self) -> Option<&TcbSubject> {
        self.subject.as_ref()
    }

    /// The quote.
    pub fn quote(&self) -> &'a Quote {
        self.quote
    }

    /// What it was judged by.
    pub fn collateral(&self) -> &'a QuoteCollateral {
        self.collateral
    }

    /// The instant of the judgement.
    pub fn judged_at(&self) -> UnixTime {
        self.now
    }
}

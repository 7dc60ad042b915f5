//! What quotes are judged by: TCB info, QE identity and two revocation lists, each verified or known to be absent.
//!
//! Made once and used for many quotes. Signatures are behind a [`Verified`]; dates and revocation are judged again for
//! each quote, at its own instant. What is missing, and what is not genuine, are told apart: the first leaves a check
//! open, the second fails it.

use crate::{
    Artefact, ArtefactKey, Content, Crl, EnclaveIdentity, Error, TcbInfo, UnixTime, Verified,
};

/// The parts. In the order in which a verifier needs them.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum CollateralPart {
    /// The root's revocation list.
    RootCrl,
    /// The revocation list of the authority that issued the PCK certificate.
    PckCrl,
    /// TCB info of the platform's FMSPC.
    TcbInfo,
    /// Identity of the quoting enclave.
    QeIdentity,
}

/// Why a part is not there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Absent {
    /// What was given for it is not genuine.
    Broken(Error),
    /// Nothing was given, for this reason.
    Missing(String),
}

/// The parts of the collateral; cheap to clone.
#[derive(Clone, Debug)]
pub struct QuoteCollateral {
    root_crl: Result<Verified<Artefact>, Absent>,
    pck_crl: Result<Verified<Artefact>, Absent>,
    tcb_info: Result<Verified<Artefact>, Absent>,
    qe_identity: Result<Verified<Artefact>, Absent>,
}

impl CollateralPart {
    /// All, in order.
    pub const ALL: [Self; 4] = [Self::RootCrl, Self::PckCrl, Self::TcbInfo, Self::QeIdentity];

    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RootCrl => "root CRL",
            Self::PckCrl => "PCK CRL",
            Self::TcbInfo => "TCB info",
            Self::QeIdentity => "QE identity",
        }
    }
}

impl Default for QuoteCollateral {
    fn default() -> Self {
        Self::new()
    }
}

impl QuoteCollateral {
    /// Nothing yet.
    pub fn new() -> Self {
        let missing = |part: CollateralPart| Err(Absent::Missing(format!("no {}", part.name())));
        Self {
            root_crl: missing(CollateralPart::RootCrl),
            pck_crl: missing(CollateralPart::PckCrl),
            tcb_info: missing(CollateralPart::TcbInfo),
            qe_identity: missing(CollateralPart::QeIdentity),
        }
    }

    /// Puts an artefact where it belongs, in the place of what was there.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for an artefact that quotes are not judged by.
    pub fn insert(&mut self, artefact: Verified<Artefact>) -> Result<CollateralPart, Error> {
        let part = match artefact.key() {
            ArtefactKey::EnclaveIdentity { .. } => CollateralPart::QeIdentity,
            ArtefactKey::PckCrl { .. } => CollateralPart::PckCrl,
            ArtefactKey::RootCrl => CollateralPart::RootCrl,
            ArtefactKey::TcbInfo { .. } => CollateralPart::TcbInfo,
            key @ (ArtefactKey::AmdCertChain { .. }
            | ArtefactKey::AmdCrl { .. }
            | ArtefactKey::EvaluationNumbers { .. }) => {
                return Err(Error::unsupported(format_args!(
                    "{} as collateral of a quote",
                    key.kind()
                )));
            }
        };
        *self.place(part) = Ok(artefact);
        Ok(part)
    }

    /// Says why a part is not there.
    pub fn set_absent(&mut self, part: CollateralPart, why: Absent) {
        *self.place(part) = Err(why);
    }

    /// A part, with the chain that it was verified by.
    ///
    /// # Errors
    /// Why it is not there.
    pub fn part(&self, part: CollateralPart) -> Result<&Verified<Artefact>, &Absent> {
        match part {
            CollateralPart::RootCrl => self.root_crl.as_ref(),
            CollateralPart::PckCrl => self.pck_crl.as_ref(),
            CollateralPart::TcbInfo => self.tcb_info.as_ref(),
            CollateralPart::QeIdentity => self.qe_identity.as_ref(),
        }
    }

    /// What the TCB info says.
    pub fn tcb_info(&self) -> Option<&TcbInfo> {
        match self.tcb_info.as_ref().ok()?.content() {
            Content::TcbInfo(info) => Some(info),
            Content::AmdCertChain(_)
            | Content::AmdCrl(_)
            | Content::Crl(_)
            | Content::EnclaveIdentity(_)
            | Content::EvaluationNumbers(_) => None,
        }
    }

    /// What the identity says.
    pub fn qe_identity(&self) -> Option<&EnclaveIdentity> {
        match self.qe_identity.as_ref().ok()?.content() {
            Content::EnclaveIdentity(identity) => Some(identity),
            Content::AmdCertChain(_)
            | Content::AmdCrl(_)
            | Content::Crl(_)
            | Content::EvaluationNumbers(_)
            | Content::TcbInfo(_) => None,
        }
    }

    pub(super) fn crl(&self, part: CollateralPart) -> Option<&Crl> {
        match self.part(part).ok()?.content() {
            Content::Crl(crl) => Some(crl),
            Content::AmdCertChain(_)
            | Content::AmdCrl(_)
            | Content::EnclaveIdentity(_)
            | Content::EvaluationNumbers(_)
            | Content::TcbInfo(_) => None,
        }
    }

    fn place(&mut self, part: CollateralPart) -> &mut Result<Verified<Artefact>, Absent> {
        match part {
            CollateralPart::RootCrl => &mut self.root_crl,
            CollateralPart::PckCrl => &mut self.pck_crl,
            CollateralPart::TcbInfo => &mut self.tcb_info,
            CollateralPart::QeIdentity => &mut self.qe_identity,
        }
    }
}

/// Whether a part is for `now`: from its issue date on, up to its next update.
///
/// # Errors
/// [`Error::NotYetIssued`]; [`Error::Expired`], whose end is the next update.
pub(super) fn in_time(artefact: &Artefact, name: &str, now: UnixTime) -> Result<(), Error> {
    if now < artefact.issued() {
        return Err(Error::NotYetIssued {
            now,
            issued: artefact.issued(),
        });
    }
    if now > artefact.next_update() {
        return Err(Error::Expired {
            subject: name.to_owned(),
            now,
            not_after: artefact.next_update(),
        });
    }
    Ok(())
}

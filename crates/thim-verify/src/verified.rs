//! Verification: the one place where an [`Unverified`] becomes a [`Verified`].
//!
//! In this order: not issued in the future; a signer is found among the certificates delivered with the object and
//! those known (its name fits the kind, and it leads to a trust anchor); the signature over the exact bytes; the chain
//! at the issue date; revocation by the root's list. Expiry at the caller's clock is no error here: an expired object
//! is history, and whether it may be served is the server's decision. A delivered certificate that leads nowhere is
//! ignored as long as another signer fits; it only explains why none does. PCK certificates are judged by the same
//! code, in `verified/pck.rs`. Rules: design.md, "Chain" and promise 1; spec/intel-verification.md, sections 3 and 7.

mod pck;

use std::ops::Deref;

use data_encoding::HEXLOWER;

use crate::artefact::SignedAs;
use crate::chain::newest_at;
use crate::error::excerpt;
use crate::ids::{ROOT_CA_CN, TCB_SIGNING_CN};
use crate::{
    Artefact, ArtefactKey, Certificate, Chain, Content, Crl, Digest, Error, Issuers,
    PckCertificate, UnixTime, Unverified,
};

pub(crate) use pck::PckSigners;
pub use pck::{PckRevocation, verify_pck};

/// Something that was verified, with the chain it was verified by. Made by [`verify`] and [`verify_pck`] only.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verified<T> {
    value: T,
    chain: Chain,
    revocation: Revocation,
    /// Unchecked for everything but PCK certificates.
    pck_revocation: PckRevocation,
}

impl<T> Verified<T> {
    /// The chain it was judged by, with the root that is served.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Whether the signer was looked up in a root revocation list.
    pub fn revocation(&self) -> Revocation {
        self.revocation
    }

    /// Gives the value up, and the knowledge about it.
    pub fn into_inner(self) -> T {
        self.value
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// What is known about revocation of the signer.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Revocation {
    /// The root's list does not name the signer, nor another certificate with its key.
    Checked {
        /// `thisUpdate` of that list.
        root_crl_this_update: UnixTime,
    },
    /// No root list was at hand (or this is the root's own list): to be judged again when there is one.
    Unchecked,
}

/// Verifies an artefact at `now`.
///
/// `delivered` are the certificates that came with it, in any order: an issuer among them is verified to the trust
/// anchors here (at most 8 are considered). Certificates in `issuers` were verified before and cost nothing.
///
/// # Errors
/// [`Error::NotYetIssued`]; [`Error::UnknownIssuer`] (of AMD's objects too: those are
/// [`verify_artefact`](crate::amd::verify_artefact)'s), [`Error::UntrustedRoot`], [`Error::WrongIssuer`],
/// [`Error::SignatureInvalid`] about the signer; [`Error::NotYetValid`], [`Error::Expired`] of the chain at the issue
/// date; [`Error::Revoked`]. [`Error::Format`] when `root_crl` is not a root's list.
pub fn verify(
    unverified: Unverified,
    delivered: &[Certificate],
    issuers: &Issuers,
    root_crl: Option<&Verified<Artefact>>,
    now: UnixTime,
) -> Result<Verified<Artefact>, Error> {
    let artefact = unverified.unverified();
    if artefact.issued() > now {
        return Err(Error::NotYetIssued {
            now,
            issued: artefact.issued(),
        });
    }
    let subject = Subject::Artefact(artefact);
    let candidates = Candidates::gather(subject, delivered, issuers);
    let key = candidates.signing_key(subject)?;
    let chain = candidates.chain(&key, issuers, artefact.issued())?;
    let revocation = match root_crl {
        Some(list) if artefact.key() != ArtefactKey::RootCrl => {
            candidates.revocation(&chain, list)?
        }
        _ => Revocation::Unchecked,
    };
    Ok(Verified {
        value: unverified.into_artefact(),
        chain,
        revocation,
        pck_revocation: PckRevocation::Unchecked,
    })
}

/// What is judged: something that a certificate of a known name must have signed.
#[derive(Copy, Clone)]
enum Subject<'a> {
    Artefact(&'a Artefact),
    Pck(&'a PckCertificate),
}

impl Subject<'_> {
    /// Whether the root itself signs it.
    fn is_root_crl(self) -> bool {
        match self {
            Self::Artefact(artefact) => artefact.key() == ArtefactKey::RootCrl,
            Self::Pck(_) => false,
        }
    }

    /// Whether a certificate's name and role are those of the signer.
    fn may_be_signed_by(self, certificate: &Certificate) -> bool {
        match self {
            Self::Artefact(artefact) => match artefact.signed_as() {
                SignedAs::Amd => false,
                SignedAs::Der { issuer, .. } => {
                    certificate.is_named(issuer)
                        && certificate.is_ca()
                        && certificate.may_sign_crls()
                }
                SignedAs::Raw { .. } => {
                    certificate.subject_cn() == TCB_SIGNING_CN && certificate.may_sign_documents()
                }
            },
            Self::Pck(pck) => {
                pck.certificate().names_as_issuer(certificate)
                    && certificate.may_sign_certificates()
            }
        }
    }

    /// Whether a certificate's key made the signature.
    fn signed_by(self, certificate: &Certificate) -> Result<(), Error> {
        match self {
            Self::Artefact(artefact) => {
                let what = artefact.key().kind().name();
                match artefact.signed_as() {
                    SignedAs::Amd => Err(Error::UnknownIssuer {
                        wanted: AMD_ROOT.to_owned(),
                    }),
                    SignedAs::Der { signature, .. } => {
                        certificate.verify_der_signature(what, artefact.signed(), signature)
                    }
                    SignedAs::Raw { signature } => {
                        certificate.verify_raw_signature(what, artefact.signed(), signature)
                    }
                }
            }
            Self::Pck(pck) => pck.certificate().signed_by(certificate),
        }
    }

    /// The common name that the signer carries.
    fn wanted(self) -> &'static str {
        match self {
            Self::Artefact(artefact) => match artefact.key() {
                ArtefactKey::EnclaveIdentity { .. }
                | ArtefactKey::EvaluationNumbers { .. }
                | ArtefactKey::TcbInfo { .. } => TCB_SIGNING_CN,
                ArtefactKey::AmdCertChain { .. } | ArtefactKey::AmdCrl { .. } => AMD_ROOT,
                ArtefactKey::PckCrl { ca } => ca.common_name(),
                ArtefactKey::RootCrl => ROOT_CA_CN,
            },
            Self::Pck(pck) => pck.ca().common_name(),
        }
    }
}

/// The certificates that might have signed one subject: of the right name and role, each leading to an anchor.
struct Candidates<'a> {
    delivered: Vec<Candidate<'a>>,
    known: Vec<Candidate<'a>>,
    /// Why the last delivered certificate of the right name and role was of no use.
    refused: Option<Error>,
    /// Roots with a trusted key, in whatever encoding, for the dates of the chain.
    roots: Vec<&'a Certificate>,
}

/// A certificate and the key of the root it leads to (its own, if it is the root).
#[derive(Copy, Clone, PartialEq)]
struct Candidate<'a> {
    certificate: &'a Certificate,
    root_key: Digest,
}

impl<'a> Candidate<'a> {
    /// # Errors
    /// When it leads to no anchor.
    fn new(certificate: &'a Certificate, issuers: &Issuers) -> Result<Self, Error> {
        Ok(Self {
            certificate,
            root_key: issuers.root_key_of(certificate)?,
        })
    }
}

impl<'a> Candidates<'a> {
    fn gather(subject: Subject<'_>, delivered: &'a [Certificate], issuers: &'a Issuers) -> Self {
        let anchors = issuers.anchors();
        let mut roots: Vec<&Certificate> = anchors.roots().iter().collect();
        let known_roots = issuers.iter().filter(|known| known.is_self_issued());
        let delivered_roots = delivered
            .iter()
            .filter(|root| root.is_self_issued() && anchors.contains_key(&root.spki_digest()))
            .take(MAX_DELIVERED)
            .filter(|root| issuers.root_key_of(root).is_ok());
        for root in known_roots.chain(delivered_roots) {
            if !roots.contains(&root) {
                roots.push(root);
            }
        }
        if subject.is_root_crl() {
            let known = roots
                .iter()
                .copied()
                .filter(|root| subject.may_be_signed_by(root))
                .map(|certificate| Candidate {
                    certificate,
                    root_key: certificate.spki_digest(),
                })
                .collect();
            return Self {
                delivered: Vec::new(),
                known,
                refused: None,
                roots,
            };
        }

        let fitting = |certificate: &&Certificate| {
            !certificate.is_self_issued() && subject.may_be_signed_by(certificate)
        };
        let known: Vec<Candidate<'_>> = issuers
            .iter()
            .filter(fitting)
            .filter_map(|known| Candidate::new(known, issuers).ok())
            .collect();
        let mut accepted: Vec<Candidate<'_>> = Vec::new();
        let mut refused = None;
        for certificate in delivered.iter().filter(fitting).take(MAX_DELIVERED) {
            if accepted
                .iter()
                .any(|earlier| earlier.certificate == certificate)
            {
                continue;
            }
            match Candidate::new(certificate, issuers) {
                Ok(candidate) => accepted.push(candidate),
                Err(error) => refused = Some(explain(error, certificate, delivered, issuers)),
            }
        }
        Self {
            delivered: accepted,
            known,
            refused,
            roots,
        }
    }

    /// The key that verifies the signature, each distinct key tried once, delivered ones first.
    fn signing_key(&self, subject: Subject<'_>) -> Result<Digest, Error> {
        let mut tried: Vec<Digest> = Vec::new();
        let mut failure = None;
        for Candidate { certificate, .. } in self.delivered.iter().chain(&self.known) {
            let key = certificate.spki_digest();
            if tried.contains(&key) {
                continue;
            }
            tried.push(key);
            match subject.signed_by(certificate) {
                Ok(()) => return Ok(key),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        // When nothing delivered was of use, why it was not says more than that the known keys do not fit either.
        let refused = self.refused.clone().filter(|_| self.delivered.is_empty());
        Err(refused.or(failure).unwrap_or_else(|| Error::UnknownIssuer {
            wanted: subject.wanted().to_owned(),
        }))
    }

    /// The chain by the rule of [`crate::chain`].
    fn chain(&self, key: &Digest, issuers: &Issuers, issued: UnixTime) -> Result<Chain, Error> {
        let anchors = issuers.anchors();
        let with_key = |list: &[Candidate<'a>]| -> Vec<&'a Certificate> {
            let same = list
                .iter()
                .filter(|one| one.certificate.spki_digest() == *key);
            same.map(|one| one.certificate).collect()
        };
        let (delivered, known) = (with_key(&self.delivered), with_key(&self.known));
        let signer = newest_at(delivered.iter().copied(), issued)
            .or_else(|| newest_at(known.iter().copied(), issued))
            .ok_or_else(|| not_valid(delivered.iter().chain(&known), issued))?;
        if let Some(root) = anchors.root_with_key(key) {
            return Ok(Chain::new(None, root.clone()));
        }
        let root_key = self
            .delivered
            .iter()
            .chain(&self.known)
            .find(|one| one.certificate == signer)
            .map_or(*key, |one| one.root_key);
        let root = anchors
            .root_with_key(&root_key)
            .ok_or(Error::UntrustedRoot {
                found_spki: root_key,
            })?;
        let same_key: Vec<&Certificate> = self
            .roots
            .iter()
            .copied()
            .filter(|other| other.spki_digest() == root.spki_digest())
            .collect();
        newest_at(same_key.iter().copied(), issued)
            .ok_or_else(|| not_valid(same_key.iter(), issued))?;
        Ok(Chain::new(Some(signer.clone()), root.clone()))
    }

    /// Looks every certificate with the signer's key up: a re-issue with the same key is no way around a revocation.
    fn revocation(&self, chain: &Chain, list: &Verified<Artefact>) -> Result<Revocation, Error> {
        let Content::Crl(root_crl @ Crl { ca: None, .. }) = list.content() else {
            return Err(Error::format("root CRL", "the list given is not a root's"));
        };
        if list.chain().signer_key() != chain.root().spki_digest() {
            // Another root's list says nothing about this signer.
            return Ok(Revocation::Unchecked);
        }
        let root_crl_this_update = root_crl.this_update;
        let same_key = self
            .delivered
            .iter()
            .chain(&self.known)
            .map(|one| one.certificate)
            .filter(|one| one.spki_digest() == chain.signer_key());
        for certificate in same_key {
            if root_crl.revokes(certificate.serial()) {
                return Err(Error::Revoked {
                    serial: HEXLOWER.encode(certificate.serial()),
                    subject: excerpt(certificate.subject_cn()),
                    root_crl_this_update,
                });
            }
        }
        Ok(Revocation::Checked {
            root_crl_this_update,
        })
    }
}

/// A delivered issuer that no anchor signed, but a root delivered with it did: that root is the better answer.
fn explain(
    error: Error,
    certificate: &Certificate,
    delivered: &[Certificate],
    issuers: &Issuers,
) -> Error {
    delivered
        .iter()
        .take(MAX_DELIVERED)
        .filter(|root| {
            root.is_self_issued() && !issuers.anchors().contains_key(&root.spki_digest())
        })
        .find(|root| certificate.signed_by(root).is_ok())
        .map_or(error, |root| Error::UntrustedRoot {
            found_spki: root.spki_digest(),
        })
}

/// Why none of the certificates is valid at `at`: what the one that starts last says.
fn not_valid<'a>(certificates: impl Iterator<Item = &'a &'a Certificate>, at: UnixTime) -> Error {
    certificates
        .max_by_key(|certificate| (certificate.not_before(), certificate.digest()))
        .and_then(|certificate| certificate.valid_at(at).err())
        .unwrap_or_else(|| Error::UnknownIssuer {
            wanted: "an issuer valid at the issue date".to_owned(),
        })
}

/// What would have had to sign an object of AMD's; none of Intel's certificates does.
const AMD_ROOT: &str = "a root of AMD's";

/// Intel's answers carry two, a bundle's members three; every further one would cost a signature check.
const MAX_DELIVERED: usize = 8;

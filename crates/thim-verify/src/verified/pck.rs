//! Verification of PCK certificates: a leaf, the authority that issued it, the pinned root.
//!
//! The rule of the chain is that of every other object, with the leaf's `notBefore` as its issue date: re-issued
//! authorities with one key stay interchangeable, and a leaf is not lost when its authority's certificate ends
//! before it. The leaf itself must be valid now: PCK certificates have no history to be served. Both revocation lists
//! are optional here, because a cache may have to judge before it has them; what was checked is told.

use data_encoding::HEXLOWER;

use super::{Candidate, Candidates, Revocation, Subject, Verified};
use crate::{Artefact, Certificate, Chain, Content, Crl, Error, Issuers, PckCertificate, UnixTime};

/// What is known about revocation of a PCK certificate itself.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum PckRevocation {
    /// The list of the authority that issued it does not name it.
    Checked {
        /// `thisUpdate` of that list.
        pck_crl_this_update: UnixTime,
    },
    /// No list was at hand, or one below another root: to be judged again when there is one.
    Unchecked,
}

impl Verified<PckCertificate> {
    /// Whether the certificate was looked up in its authority's list; [`Verified::revocation`] says the same of the
    /// authority and the root's list.
    pub fn pck_revocation(&self) -> PckRevocation {
        self.pck_revocation
    }
}

/// Verifies a PCK certificate at `now`: signed by the PCK authority it names, which leads to a trust anchor.
///
/// `delivered` are the certificates that came with it, as for [`verify`](crate::verify). An authority in `issuers`
/// costs nothing; one that is only delivered is verified again for each leaf, so put a list's chain into `issuers`
/// first. The lists are taken as they are: how old they may be is the caller's decision.
///
/// # Errors
/// [`Error::UnknownIssuer`], [`Error::UntrustedRoot`], [`Error::WrongIssuer`], [`Error::SignatureInvalid`] about the
/// authority; [`Error::NotYetValid`], [`Error::Expired`] of the chain at the leaf's `notBefore` or of the leaf at
/// `now`; [`Error::Revoked`] of the authority; [`Error::PckRevoked`]. [`Error::Format`] when `root_crl` is not a
/// root's list, or `pck_crl` not one of the leaf's authority.
pub fn verify_pck(
    pck: PckCertificate,
    delivered: &[Certificate],
    issuers: &Issuers,
    root_crl: Option<&Verified<Artefact>>,
    pck_crl: Option<&Verified<Artefact>>,
    now: UnixTime,
) -> Result<Verified<PckCertificate>, Error> {
    let subject = Subject::Pck(&pck);
    let candidates = Candidates::gather(subject, delivered, issuers);
    let key = candidates.signing_key(subject)?;
    let chain = candidates.chain(&key, issuers, pck.certificate().not_before())?;
    pck.certificate().valid_at(now)?;
    let revocation = root_crl.map_or(Ok(Revocation::Unchecked), |list| {
        candidates.revocation(&chain, list)
    })?;
    let pck_revocation = pck_crl.map_or(Ok(PckRevocation::Unchecked), |list| {
        leaf_revocation(&pck, &chain, list)
    })?;
    Ok(Verified {
        value: pck,
        chain,
        revocation,
        pck_revocation,
    })
}

fn leaf_revocation(
    pck: &PckCertificate,
    chain: &Chain,
    list: &Verified<Artefact>,
) -> Result<PckRevocation, Error> {
    let another = || {
        Err(Error::format(
            "PCK CRL",
            "the list given is another issuer's",
        ))
    };
    let Content::Crl(crl @ Crl { ca: Some(_), .. }) = list.content() else {
        return another();
    };
    if list.chain().root().spki_digest() != chain.root().spki_digest() {
        // The same names below another root: that list says nothing about this leaf.
        return Ok(PckRevocation::Unchecked);
    }
    if !list.chain().signer().has_subject_of(chain.signer()) {
        return another();
    }
    let pck_crl_this_update = crl.this_update;
    let serial = pck.certificate().serial();
    if crl.revokes(serial) {
        return Err(Error::PckRevoked {
            serial: HEXLOWER.encode(serial),
            pck_crl_this_update,
        });
    }
    Ok(PckRevocation::Checked {
        pck_crl_this_update,
    })
}

/// The certificates above a PCK certificate inside a quote: those that were handed over, for their own dates count.
pub(crate) struct PckSigners {
    pub(crate) authority: Certificate,
    pub(crate) root: Certificate,
}

impl PckSigners {
    /// Finds them among the certificates handed over, and completes them from known ones. No date is looked at.
    ///
    /// # Errors
    /// [`Error::UnknownIssuer`], [`Error::UntrustedRoot`], [`Error::WrongIssuer`], [`Error::SignatureInvalid`].
    pub(crate) fn find(
        pck: &PckCertificate,
        delivered: &[Certificate],
        issuers: &Issuers,
    ) -> Result<Self, Error> {
        let subject = Subject::Pck(pck);
        let candidates = Candidates::gather(subject, delivered, issuers);
        let key = candidates.signing_key(subject)?;
        let of_key = |one: &&Candidate<'_>| one.certificate.spki_digest() == key;
        let known = candidates.known.iter().filter(of_key);
        let authority = candidates
            .delivered
            .iter()
            .find(of_key)
            .or_else(|| known.max_by_key(|one| one.certificate.not_before()))
            .ok_or_else(|| Error::UnknownIssuer {
                wanted: subject.wanted().to_owned(),
            })?;
        let root_key = authority.root_key;
        let handed = delivered
            .iter()
            .find(|root| root.spki_digest() == root_key && candidates.roots.contains(root));
        let root = handed
            .or_else(|| issuers.anchors().root_with_key(&root_key))
            .ok_or(Error::UntrustedRoot {
                found_spki: root_key,
            })?;
        Ok(Self {
            authority: authority.certificate.clone(),
            root: root.clone(),
        })
    }
}

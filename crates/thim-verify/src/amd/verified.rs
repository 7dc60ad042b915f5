//! Verification: the one place where a parsed object of AMD's becomes a [`VerifiedAmd`].
//!
//! It is a type of its own beside [`Verified`](crate::Verified): that one's chain is Intel's (P-256 certificates and
//! their header form), its revocation is that of Intel's two lists, and neither could be stretched over RSA
//! authorities without each caller having to ask which vendor it has in hand.
//!
//! Unlike Intel's objects these are judged at one instant, `now`: AMD never re-issued an authority, and a certificate
//! of a chip is asked for anew when it ends. What is put into history is judged at its own issue date, by passing that.
//! A list past its next update is not refused here: whether it may still be relied on is the caller's decision.
//! Rules: spec/amd-kds-and-thim.md, 7.

use std::ops::Deref;

use data_encoding::HEXLOWER;

use super::anchors::Anchors;
use super::authority::Authority;
use super::chain::CertChain;
use super::crl::AmdCrl;
use super::endorsement::{EndorsementKind, Vcek, Vlek};
use super::hw_id::HwId;
use super::leaf::Leaf;
use super::product::Product;
use super::products::{ProductFacts, Products};
use super::tcb::SnpTcb;
use crate::error::excerpt;
use crate::{Artefact, Content, Digest, Error, UnixTime, Unverified};

/// Something of AMD's that was verified, with the chain it was verified by. Made by the functions of this file only.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifiedAmd<T> {
    value: T,
    chain: AmdChain,
    revocation: AmdRevocation,
}

/// The certificates that an object was verified by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AmdChain {
    issuing: Option<Authority>,
    ark: Authority,
}

/// What is known about revocation of the authorities in the chain.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum AmdRevocation {
    /// The root's list names none of them.
    Checked {
        /// Its CRL number.
        number: u64,
        /// Its `thisUpdate`.
        this_update: UnixTime,
        /// Its `nextUpdate`; it may lie in the past.
        next_update: UnixTime,
    },
    /// No list of this root was at hand (or this is the list): to be judged again when there is one.
    Unchecked,
}

/// What a VCEK answers for: the key of caches, and what is asked of the key server.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct VcekKey {
    /// The product.
    pub product: Product,
    /// The chip.
    pub hw_id: HwId,
    /// The TCB that it reports.
    pub tcb: SnpTcb,
}

/// What a VLEK answers for, beside the cloud that has it.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct VlekKey {
    /// The product.
    pub product: Product,
    /// The TCB that is reported.
    pub tcb: SnpTcb,
}

impl<T> VerifiedAmd<T> {
    /// The certificates it was verified by.
    pub fn chain(&self) -> &AmdChain {
        &self.chain
    }

    /// Whether the authorities were looked up in the root's list.
    pub fn revocation(&self) -> AmdRevocation {
        self.revocation
    }

    /// Gives the value up, and the knowledge about it.
    pub fn into_inner(self) -> T {
        self.value
    }
}

impl<T> Deref for VerifiedAmd<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl AmdChain {
    /// The certificates of a chain; says nothing about their signatures.
    pub(super) fn of(chain: &CertChain) -> Self {
        Self {
            issuing: Some(chain.issuing().clone()),
            ark: chain.ark().clone(),
        }
    }

    /// The certificate whose key signed the object; the root for a chain's own and for the root's list.
    pub fn signer(&self) -> &Authority {
        self.issuing.as_ref().unwrap_or(&self.ark)
    }

    /// The ASK or ASVK; none for the root's list.
    pub fn issuing(&self) -> Option<&Authority> {
        self.issuing.as_ref()
    }

    /// The root.
    pub fn ark(&self) -> &Authority {
        &self.ark
    }

    /// SHA-256 of the signer's SubjectPublicKeyInfo.
    pub fn signer_key(&self) -> Digest {
        self.signer().spki_digest()
    }
}

/// Verifies a list or a chain that is an artefact, at `now`; as [`verify_crl`] and [`verify_cert_chain`] do, for the
/// product and kind of its own key. A chain is looked up in `crl`; a list is not.
///
/// # Errors
/// Those of the two; [`Error::Unsupported`] for an object of Intel's.
pub fn verify_artefact(
    unverified: Unverified,
    crl: Option<&VerifiedAmd<AmdCrl>>,
    anchors: &Anchors,
    now: UnixTime,
) -> Result<VerifiedAmd<Artefact>, Error> {
    let (chain, revocation) = match unverified.unverified().content() {
        Content::AmdCertChain(chain) => {
            let (product, kind) = (chain.product(), chain.kind());
            let verified = verify_cert_chain(chain.clone(), product, kind, crl, anchors, now)?;
            (verified.chain, verified.revocation)
        }
        Content::AmdCrl(list) => {
            let verified = verify_crl(list.clone(), list.product(), anchors, now)?;
            (verified.chain, verified.revocation)
        }
        Content::Crl(_)
        | Content::EnclaveIdentity(_)
        | Content::EvaluationNumbers(_)
        | Content::TcbInfo(_) => {
            return Err(Error::unsupported("an object of Intel's under AMD's roots"));
        }
    };
    Ok(VerifiedAmd {
        value: unverified.into_artefact(),
        chain,
        revocation,
    })
}

impl VerifiedAmd<Artefact> {
    /// The chain that this is, as verified as it was; none of a list.
    pub fn as_cert_chain(&self) -> Option<VerifiedAmd<CertChain>> {
        match self.value.content() {
            Content::AmdCertChain(chain) => Some(self.holding(chain.clone())),
            _ => None,
        }
    }

    /// The list that this is, as verified as it was; none of a chain.
    pub fn as_crl(&self) -> Option<VerifiedAmd<AmdCrl>> {
        match self.value.content() {
            Content::AmdCrl(list) => Some(self.holding(list.clone())),
            _ => None,
        }
    }

    fn holding<T>(&self, value: T) -> VerifiedAmd<T> {
        VerifiedAmd {
            value,
            chain: self.chain.clone(),
            revocation: self.revocation,
        }
    }
}

/// Verifies a chain file at `now`: of the product and kind asked for, up to a trust anchor of that product.
///
/// # Errors
/// [`Error::WrongIssuer`] for a chain of another product or kind; [`Error::UntrustedRoot`];
/// [`Error::SignatureInvalid`]; [`Error::NotYetValid`], [`Error::Expired`]; [`Error::Revoked`]; [`Error::Format`]
/// when `crl` is another product's.
pub fn verify_cert_chain(
    chain: CertChain,
    product: Product,
    kind: EndorsementKind,
    crl: Option<&VerifiedAmd<AmdCrl>>,
    anchors: &Anchors,
    now: UnixTime,
) -> Result<VerifiedAmd<CertChain>, Error> {
    chain_signatures(&chain, product, kind, anchors)?;
    chain.holds_at(now)?;
    let certificates = AmdChain::of(&chain);
    let revocation = revocation(&certificates, crl)?;
    Ok(VerifiedAmd {
        value: chain,
        chain: certificates,
        revocation,
    })
}

/// Verifies a product's revocation list: signed by one of its trusted roots, and not issued in the future.
///
/// # Errors
/// [`Error::WrongIssuer`] for another product's list; [`Error::NotYetIssued`]; [`Error::UnknownIssuer`] for a product
/// without a root; [`Error::SignatureInvalid`]; [`Error::NotYetValid`], [`Error::Expired`] of the root at
/// `thisUpdate`.
pub fn verify_crl(
    crl: AmdCrl,
    product: Product,
    anchors: &Anchors,
    now: UnixTime,
) -> Result<VerifiedAmd<AmdCrl>, Error> {
    let ark = crl_signer(&crl, product, anchors)?;
    if crl.this_update() > now {
        return Err(Error::NotYetIssued {
            now,
            issued: crl.this_update(),
        });
    }
    ark.valid_at(crl.this_update())?;
    let chain = AmdChain {
        issuing: None,
        ark: ark.clone(),
    };
    Ok(VerifiedAmd {
        value: crl,
        chain,
        revocation: AmdRevocation::Unchecked,
    })
}

/// Verifies a VCEK at `now`: signed by the chain's ASK, valid, and for the chip and TCB asked for.
///
/// # Errors
/// [`Error::WrongIssuer`] for a chain of another product or kind; [`Error::SignatureInvalid`];
/// [`Error::AnotherSubject`] when it answers for something else than `key`; [`Error::Format`] when it is not laid out
/// as the product's are, or `crl` is another product's; [`Error::NotYetValid`], [`Error::Expired`] of the leaf or the
/// chain; [`Error::Revoked`] of the chain.
pub fn verify_vcek(
    vcek: Vcek,
    key: &VcekKey,
    chain: &VerifiedAmd<CertChain>,
    crl: Option<&VerifiedAmd<AmdCrl>>,
    products: &Products,
    now: UnixTime,
) -> Result<VerifiedAmd<Vcek>, Error> {
    let facts = products.facts(key.product);
    leaf_signature(vcek.leaf(), facts, chain)?;
    if vcek.hw_id() != &key.hw_id {
        return Err(Error::another_subject("VCEK", "chip"));
    }
    if vcek.tcb() != key.tcb {
        return Err(Error::another_subject("VCEK", "TCB"));
    }
    vcek.valid_at(now)?;
    chain.holds_at(now)?;
    let revocation = revocation(chain.chain(), crl)?;
    Ok(VerifiedAmd {
        chain: chain.chain().clone(),
        revocation,
        value: vcek,
    })
}

/// Verifies a VLEK at `now`: signed by the chain's ASVK, valid, and for the TCB asked for. Whose it is, is told by
/// [`Vlek::csp_id`]; which clouds are welcome is the caller's decision.
///
/// # Errors
/// Those of [`verify_vcek`].
pub fn verify_vlek(
    vlek: Vlek,
    key: &VlekKey,
    chain: &VerifiedAmd<CertChain>,
    crl: Option<&VerifiedAmd<AmdCrl>>,
    products: &Products,
    now: UnixTime,
) -> Result<VerifiedAmd<Vlek>, Error> {
    let facts = products.facts(key.product);
    leaf_signature(vlek.leaf(), facts, chain)?;
    if vlek.tcb() != key.tcb {
        return Err(Error::another_subject("VLEK", "TCB"));
    }
    vlek.valid_at(now)?;
    chain.holds_at(now)?;
    let revocation = revocation(chain.chain(), crl)?;
    Ok(VerifiedAmd {
        chain: chain.chain().clone(),
        revocation,
        value: vlek,
    })
}

/// Names, keys and signatures of a chain; not its dates.
pub(super) fn chain_signatures(
    chain: &CertChain,
    product: Product,
    kind: EndorsementKind,
    anchors: &Anchors,
) -> Result<(), Error> {
    if (chain.product(), chain.kind()) != (product, kind) {
        return Err(Error::WrongIssuer {
            expected: format!("the {kind} chain of {product}"),
            found: format!("the {} chain of {}", chain.kind(), chain.product()),
        });
    }
    anchors.accept_root(chain.ark())?;
    chain.issuing().signed_by(chain.ark())
}

/// The root that signed a list; not its dates.
pub(super) fn crl_signer<'a>(
    crl: &AmdCrl,
    product: Product,
    anchors: &'a Anchors,
) -> Result<&'a Authority, Error> {
    if crl.product() != product {
        return Err(Error::WrongIssuer {
            expected: format!("a list of {product}"),
            found: format!("a list of {}", crl.product()),
        });
    }
    let mut failure = None;
    for root in anchors.roots_of(product) {
        match crl.signed_by(root) {
            Ok(()) => return Ok(root),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    Err(failure.unwrap_or_else(|| Error::UnknownIssuer {
        wanted: format!("ARK-{product}"),
    }))
}

/// Issuer, layout and signature of a leaf below a verified chain; not its dates.
fn leaf_signature(
    leaf: &Leaf,
    facts: &ProductFacts,
    chain: &VerifiedAmd<CertChain>,
) -> Result<(), Error> {
    if leaf.product() != facts.product() {
        return Err(Error::WrongIssuer {
            expected: format!("a {} of {}", leaf.kind(), facts.product()),
            found: format!("a {} of {}", leaf.kind(), leaf.product()),
        });
    }
    leaf.signed_by(chain.issuing())?;
    leaf.fits(facts)
}

/// Looks the authorities up, the root included: a root that lists itself has given up.
pub(super) fn revoked_in(chain: &AmdChain, crl: &AmdCrl) -> Result<(), Error> {
    for authority in [chain.issuing(), Some(chain.ark())].into_iter().flatten() {
        if crl.revokes(authority.serial()) {
            return Err(Error::Revoked {
                serial: HEXLOWER.encode(authority.serial()),
                subject: excerpt(authority.subject_cn()),
                root_crl_this_update: crl.this_update(),
            });
        }
    }
    Ok(())
}

fn revocation(chain: &AmdChain, crl: Option<&VerifiedAmd<AmdCrl>>) -> Result<AmdRevocation, Error> {
    let Some(list) = crl else {
        return Ok(AmdRevocation::Unchecked);
    };
    if list.product() != chain.ark().product() {
        return Err(Error::format(
            "AMD CRL",
            "the list given is another product's",
        ));
    }
    if list.chain().signer_key() != chain.ark().spki_digest() {
        // Another root's list says nothing about these certificates.
        return Ok(AmdRevocation::Unchecked);
    }
    revoked_in(chain, list)?;
    Ok(AmdRevocation::Checked {
        number: list.number(),
        this_update: list.this_update(),
        next_update: list.next_update(),
    })
}

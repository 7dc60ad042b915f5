//! A verified artefact of either vendor. The two halves of the verifier prove different things (a chain of P-256
//! certificates judged at the issue date; RSA authorities judged at the clock); what the service needs to know of an
//! edition is asked here, once, so that admission, history and publication are the same for both.

use std::ops::Deref;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use thim_verify::amd::{
    self, AmdCrl, AmdRevocation, Anchors, CertChain, EndorsementKind, Product, VerifiedAmd,
};
use thim_verify::{
    Artefact, ArtefactKey, Certificate, Chain, Digest, Error, Issuers, Revocation, UnixTime,
    Unverified, Verified, verify,
};

/// An artefact that was verified, and what by.
#[derive(Clone, Debug)]
pub enum Proven {
    /// Under a product's root.
    Amd(VerifiedAmd<Artefact>),
    /// Under Intel's root.
    Intel(Verified<Artefact>),
}

impl Deref for Proven {
    type Target = Artefact;

    fn deref(&self) -> &Artefact {
        match self {
            Self::Amd(verified) => verified,
            Self::Intel(verified) => verified,
        }
    }
}

impl Proven {
    /// SHA-256 of the signer's SubjectPublicKeyInfo. Of a chain of AMD's, its issuing key: what a revocation of it names.
    pub fn signer_key(&self) -> Digest {
        match self {
            Self::Amd(verified) => verified.chain().signer_key(),
            Self::Intel(verified) => verified.chain().signer_key(),
        }
    }

    /// SHA-256 of the issuing certificate, where there is one besides the root.
    pub fn issuer(&self) -> Option<Digest> {
        match self {
            Self::Amd(verified) => verified.chain().issuing().map(amd::Authority::digest),
            Self::Intel(verified) => verified.chain().issuer().map(Certificate::digest),
        }
    }

    /// Certificates to know for later documents. AMD's authorities are in their chains.
    pub fn certificates(&self) -> Vec<Certificate> {
        match self {
            Self::Amd(_) => Vec::new(),
            Self::Intel(verified) => verified
                .chain()
                .certificates()
                .into_iter()
                .cloned()
                .collect(),
        }
    }

    /// `thisUpdate` of the list that its signer was looked up in.
    pub fn checked_against(&self) -> Option<UnixTime> {
        match self {
            Self::Amd(verified) => match verified.revocation() {
                AmdRevocation::Checked { this_update, .. } => Some(this_update),
                AmdRevocation::Unchecked => None,
            },
            Self::Intel(verified) => match verified.revocation() {
                Revocation::Checked {
                    root_crl_this_update,
                } => Some(root_crl_this_update),
                Revocation::Unchecked => None,
            },
        }
    }

    /// Whether its signer's revocation is still to be judged. A root's own list has nobody above it.
    pub fn is_unchecked(&self) -> bool {
        let judged_by_a_list = match self.key() {
            ArtefactKey::AmdCrl { .. } | ArtefactKey::RootCrl => false,
            ArtefactKey::AmdCertChain { .. }
            | ArtefactKey::EnclaveIdentity { .. }
            | ArtefactKey::EvaluationNumbers { .. }
            | ArtefactKey::PckCrl { .. }
            | ArtefactKey::TcbInfo { .. } => true,
        };
        judged_by_a_list && self.checked_against().is_none()
    }

    /// Why its chain does not hold at `now`, if it does not and no re-issue of it does.
    pub fn chain_fault(&self, issuers: &Issuers, now: UnixTime) -> Option<String> {
        match self {
            Self::Amd(verified) => {
                let chain = verified.chain();
                let authorities = chain.issuing().into_iter().chain([chain.ark()]);
                let mut faults = authorities.filter_map(|one| one.valid_at(now).err());
                faults.next().map(|error| error.to_string())
            }
            Self::Intel(verified) => match verified.chain().holds_at(now) {
                Ok(()) => None,
                Err(_) if verified.chain().reissue_valid_at(issuers, now).is_some() => None,
                Err(error) => Some(error.to_string()),
            },
        }
    }

    /// The chain to be served with it, the re-issue that holds at `now` where there is one; none comes with AMD's.
    pub fn served_chain(&self, issuers: &Issuers, now: UnixTime) -> Option<Chain> {
        match self {
            Self::Amd(_) => None,
            Self::Intel(verified) => Some(match verified.chain().holds_at(now) {
                Ok(()) => verified.chain().clone(),
                Err(_) => verified
                    .chain()
                    .reissue_valid_at(issuers, now)
                    .unwrap_or_else(|| verified.chain().clone()),
            }),
        }
    }

    /// The end of the certificate that ends first.
    pub fn holds_until(&self, served: Option<&Chain>) -> Option<UnixTime> {
        match self {
            Self::Amd(verified) => {
                let chain = verified.chain();
                let authorities = chain.issuing().into_iter().chain([chain.ark()]);
                authorities.map(amd::Authority::not_after).min()
            }
            Self::Intel(_) => served?
                .certificates()
                .iter()
                .map(|certificate| certificate.not_after())
                .min(),
        }
    }

    /// What Intel's half proved; none of AMD's.
    pub fn intel(self) -> Option<Verified<Artefact>> {
        match self {
            Self::Amd(_) => None,
            Self::Intel(verified) => Some(verified),
        }
    }
}

/// AMD's roots, and the lists and chains in force under them. An expired list still revokes what it revokes.
#[derive(Debug)]
pub struct AmdTrust {
    anchors: Anchors,
    crls: [ArcSwapOption<VerifiedAmd<AmdCrl>>; PLACES],
    chains: [ArcSwapOption<VerifiedAmd<CertChain>>; PLACES],
}

impl AmdTrust {
    /// Nothing in force yet.
    pub fn new(anchors: Anchors) -> Self {
        Self {
            anchors,
            crls: Default::default(),
            chains: Default::default(),
        }
    }

    /// The trusted roots.
    pub fn anchors(&self) -> &Anchors {
        &self.anchors
    }

    /// The list that judges the authorities of this kind; of VLEKs' the one of VCEKs where there is no other: it is
    /// the same root's.
    pub fn crl(&self, product: Product, kind: EndorsementKind) -> Option<Arc<VerifiedAmd<AmdCrl>>> {
        self.crls[place(product, kind)]
            .load_full()
            .or_else(|| self.crls[place(product, EndorsementKind::Vcek)].load_full())
    }

    /// The chain in force.
    pub fn chain(
        &self,
        product: Product,
        kind: EndorsementKind,
    ) -> Option<Arc<VerifiedAmd<CertChain>>> {
        self.chains[place(product, kind)].load_full()
    }

    /// Puts a list in force; true where another set of serial numbers is revoked from now on.
    pub(crate) fn adopt_crl(
        &self,
        product: Product,
        kind: EndorsementKind,
        crl: VerifiedAmd<AmdCrl>,
    ) -> bool {
        let serials = |crl: &AmdCrl| -> Vec<Vec<u8>> {
            let entries = crl.revoked().iter();
            entries.map(|entry| entry.serial.clone()).collect()
        };
        let after = serials(&crl);
        let before = self.crls[place(product, kind)].swap(Some(Arc::new(crl)));
        before.is_none_or(|before| serials(&before) != after)
    }

    /// Puts a chain in force, or none; true where that is another one than before.
    pub(crate) fn adopt_chain(
        &self,
        product: Product,
        kind: EndorsementKind,
        chain: Option<VerifiedAmd<CertChain>>,
    ) -> bool {
        let after = chain.map(Arc::new);
        let before = self.chains[place(product, kind)].swap(after.clone());
        before.map(|chain| chain.document().clone()) != after.map(|chain| chain.document().clone())
    }
}

const fn place(product: Product, kind: EndorsementKind) -> usize {
    product as usize * EndorsementKind::ALL.len() + kind as usize
}

const PLACES: usize = Product::ALL.len() * EndorsementKind::ALL.len();

/// Verifies a document of either vendor at `now`.
pub(crate) fn prove(
    unverified: Unverified,
    delivered: &[Certificate],
    issuers: &Issuers,
    root_crl: Option<&Verified<Artefact>>,
    amd: &AmdTrust,
    now: UnixTime,
) -> Result<Proven, Error> {
    match unverified.key() {
        ArtefactKey::AmdCertChain { product, kind } => {
            let crl = amd.crl(product, kind);
            amd::verify_artefact(unverified, crl.as_deref(), &amd.anchors, now).map(Proven::Amd)
        }
        ArtefactKey::AmdCrl { .. } => {
            amd::verify_artefact(unverified, None, &amd.anchors, now).map(Proven::Amd)
        }
        ArtefactKey::EnclaveIdentity { .. }
        | ArtefactKey::EvaluationNumbers { .. }
        | ArtefactKey::PckCrl { .. }
        | ArtefactKey::RootCrl
        | ArtefactKey::TcbInfo { .. } => {
            verify(unverified, delivered, issuers, root_crl, now).map(Proven::Intel)
        }
    }
}

//! AMD's half of `thim verify collateral`: lists by the configured roots, chains by the newest list among the files, and
//! certificates of chips and clouds by the chains among the files or built in. No chip is named.

use thim_server::intake::{FoundEndorsement, Object};
use thim_verify::amd::{
    self, AmdChain, AmdCrl, AmdRevocation, Anchors, CertChain, Endorsement, EndorsementKind,
    Product, Products, VcekKey, VerifiedAmd, VlekKey, builtin_chain, parse_cert_chain,
};
use thim_verify::{Artefact, ArtefactKey, Content, Digest, Error, UnixTime};

/// What certificates are judged by.
pub struct Trusted {
    anchors: Anchors,
    products: Products,
    lists: Vec<(EndorsementKind, VerifiedAmd<AmdCrl>)>,
    chains: Vec<VerifiedAmd<CertChain>>,
    at: UnixTime,
}

/// What is told of a chip's or a cloud's certificate.
pub struct Told {
    /// SHA-256 of the DER.
    pub id: Digest,
    /// Start of validity.
    pub issued: UnixTime,
    /// Its end.
    pub ends: UnixTime,
    /// Common names, issuer first, and whether revocation was looked up; or why it is refused.
    pub result: Result<(Vec<String>, bool), Error>,
}

impl Trusted {
    /// The lists and chains among the objects that verify at `at`.
    pub fn new(objects: &[Object], anchors: Anchors, products: Products, at: UnixTime) -> Self {
        let mut trusted = Self {
            anchors,
            products,
            lists: Vec::new(),
            chains: Vec::new(),
            at,
        };
        for object in objects {
            if let ArtefactKey::AmdCrl { kind, .. } = object.unverified.key()
                && let Some(list) = trusted.artefact(object).ok().and_then(|one| one.as_crl())
            {
                trusted.lists.push((kind, list));
            }
        }
        let found: Vec<_> = objects
            .iter()
            .filter(|object| {
                matches!(
                    object.unverified.unverified().content(),
                    Content::AmdCertChain(_)
                )
            })
            .filter_map(|object| trusted.artefact(object).ok()?.as_cert_chain())
            .collect();
        trusted.chains = found;
        for product in Product::ALL {
            for kind in EndorsementKind::ALL {
                let chain = builtin_chain(product, kind)
                    .and_then(|text| parse_cert_chain(text).ok())
                    .and_then(|chain| {
                        let crl = trusted.list(product, kind);
                        let anchors = &trusted.anchors;
                        amd::verify_cert_chain(chain, product, kind, crl, anchors, at).ok()
                    });
                trusted.chains.extend(chain);
            }
        }
        trusted
    }

    /// A chain or a list.
    pub fn artefact(&self, object: &Object) -> Result<VerifiedAmd<Artefact>, Error> {
        let crl = match object.unverified.key() {
            ArtefactKey::AmdCertChain { product, kind } => self.list(product, kind),
            ArtefactKey::AmdCrl { .. }
            | ArtefactKey::EnclaveIdentity { .. }
            | ArtefactKey::EvaluationNumbers { .. }
            | ArtefactKey::PckCrl { .. }
            | ArtefactKey::RootCrl
            | ArtefactKey::TcbInfo { .. } => None,
        };
        amd::verify_artefact(object.unverified.clone(), crl, &self.anchors, self.at)
    }

    /// A certificate of a chip or a cloud; one that has ended is judged as of its start, for it is genuine history.
    pub fn endorsement(&self, found: &FoundEndorsement) -> Told {
        let (id, issued, ends) = match &found.leaf {
            Endorsement::Vcek(vcek) => (vcek.digest(), vcek.not_before(), vcek.not_after()),
            Endorsement::Vlek(vlek) => (vlek.digest(), vlek.not_before(), vlek.not_after()),
        };
        let result = match self.leaf(&found.leaf, self.at) {
            Err(Error::Expired { .. }) if ends < self.at => self.leaf(&found.leaf, ends),
            other => other,
        };
        Told {
            id,
            issued,
            ends,
            result,
        }
    }

    fn leaf(&self, leaf: &Endorsement, at: UnixTime) -> Result<(Vec<String>, bool), Error> {
        let (product, kind) = (leaf.product(), leaf.kind());
        let of_it =
            |chain: &&VerifiedAmd<CertChain>| (chain.product(), chain.kind()) == (product, kind);
        let crl = self.list(product, kind);
        let mut failure = None;
        for chain in self.chains.iter().filter(of_it) {
            let judged = match leaf {
                Endorsement::Vcek(vcek) => {
                    let key = VcekKey {
                        product,
                        hw_id: *vcek.hw_id(),
                        tcb: vcek.tcb(),
                    };
                    amd::verify_vcek(vcek.clone(), &key, chain, crl, &self.products, at)
                        .map(|verified| (names(verified.chain()), checked(verified.revocation())))
                }
                Endorsement::Vlek(vlek) => {
                    let tcb = vlek.tcb();
                    let key = VlekKey { product, tcb };
                    amd::verify_vlek(vlek.clone(), &key, chain, crl, &self.products, at)
                        .map(|verified| (names(verified.chain()), checked(verified.revocation())))
                }
            };
            match judged {
                Ok(told) => return Ok(told),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        Err(failure.unwrap_or_else(|| Error::UnknownIssuer {
            wanted: format!("the {kind} chain of {product}"),
        }))
    }

    /// The newest list for a kind; for VLEKs that of VCEKs where there is no other.
    fn list(&self, product: Product, kind: EndorsementKind) -> Option<&VerifiedAmd<AmdCrl>> {
        let newest = |kind: EndorsementKind| {
            let lists = self.lists.iter();
            lists
                .filter(|(place, list)| (*place, list.product()) == (kind, product))
                .map(|(_, list)| list)
                .max_by_key(|list| (list.number(), list.this_update()))
        };
        newest(kind).or_else(|| newest(EndorsementKind::Vcek))
    }
}

/// Common names, issuer first.
pub fn names(chain: &AmdChain) -> Vec<String> {
    let authorities = chain.issuing().into_iter().chain([chain.ark()]);
    authorities
        .map(|authority| authority.subject_cn().to_owned())
        .collect()
}

/// Whether the authorities were looked up.
pub const fn checked(revocation: AmdRevocation) -> bool {
    match revocation {
        AmdRevocation::Checked { .. } => true,
        AmdRevocation::Unchecked => false,
    }
}

//! AMD's signed objects as artefacts: a product's certificate chain, and its revocation list.
//!
//! A chain has no signature of its own; what identifies it are the two certificates, whatever text carries them, so
//! that one chain in another container is the same artefact. The text of the key server is what is served. A product
//! publishes a list at two places (for the authorities of VCEKs and of VLEKs); since nothing in a list tells them
//! apart, and both may be the very same bytes, the place is part of the key and, for the second, of the id. Sources:
//! spec/amd-kds-and-thim.md, 1.1, 2.1 and 2.4.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use super::{Artefact, Content, Signature, Unverified};
use crate::amd::{self, CertChain, EndorsementKind};
use crate::{ArtefactKey, Error};

/// The chain in this text, of the product and kind that its certificates name.
pub(super) fn cert_chain(pem: &[u8]) -> Result<Unverified, Error> {
    Unverified::from_cert_chain(amd::parse_cert_chain(pem)?)
}

/// The list in this DER, had at the place for `kind`.
pub(super) fn crl(der: &[u8], kind: EndorsementKind) -> Result<Unverified, Error> {
    let crl = amd::parse_crl(der)?;
    let signed = match kind {
        EndorsementKind::Vcek => crl.signed().clone(),
        EndorsementKind::Vlek => {
            let mut marked = BytesMut::with_capacity(crl.signed().len() + kind.name().len());
            marked.put_slice(crl.signed());
            marked.put_slice(kind.name().as_bytes());
            marked.freeze()
        }
    };
    Unverified::new(Artefact {
        key: ArtefactKey::AmdCrl {
            product: crl.product(),
            kind,
        },
        issued: crl.this_update(),
        next_update: crl.next_update(),
        signed,
        document: crl.der().clone(),
        signature: Signature::InDocument,
        content: Arc::new(Content::AmdCrl(crl)),
    })
}

impl Unverified {
    /// A chain that was put together from certificates of some other container.
    ///
    /// # Errors
    /// [`Error::Format`] where its certificates are never valid together.
    pub fn from_cert_chain(chain: CertChain) -> Result<Self, Error> {
        let (issuing, ark) = (chain.issuing(), chain.ark());
        Self::new(Artefact {
            key: ArtefactKey::AmdCertChain {
                product: chain.product(),
                kind: chain.kind(),
            },
            issued: issuing.not_before().max(ark.not_before()),
            next_update: issuing.not_after().min(ark.not_after()),
            signed: Bytes::from([issuing.der(), ark.der()].concat()),
            document: chain.document().clone(),
            signature: Signature::InDocument,
            content: Arc::new(Content::AmdCertChain(chain)),
        })
    }
}

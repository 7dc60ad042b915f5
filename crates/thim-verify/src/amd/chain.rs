//! The chain file of a product: the certificate that issues, then the root, as one PEM text.
//!
//! The key server's text is what clients expect byte for byte (its digest is checked in the field, and Turin's lines
//! end in CR LF), so it is kept as received. The same two certificates in another dress, from a vTPM or a bundle, make
//! an equal chain ([`CertChain::same_certificates`]) that is not the key server's form. Source:
//! spec/amd-kds-and-thim.md, 1.1 and 6.1.

use std::fmt;

use bytes::Bytes;

use super::authority::{Authority, AuthorityRole};
use super::endorsement::EndorsementKind;
use super::frame::{pem_certificates, to_pem};
use super::product::Product;
use crate::error::excerpt;
use crate::{Error, UnixTime};

/// A parsed chain; cheap to clone. Parsing proves nothing about its signatures.
#[derive(Clone, PartialEq, Eq)]
pub struct CertChain {
    kind: EndorsementKind,
    issuing: Authority,
    ark: Authority,
    document: Bytes,
}

/// Parses a chain file: exactly two certificates, the issuing one first, with nothing but blanks around them.
///
/// # Errors
/// [`Error::TooLarge`]; [`Error::TooMany`] for a third certificate; [`Error::Format`] for fewer, for other text and
/// for the wrong order; those of [`Authority::from_der`]; [`Error::WrongIssuer`] for two products in one chain.
pub fn parse_cert_chain(pem: &[u8]) -> Result<CertChain, Error> {
    let blocks = pem_certificates(WHAT, pem, 2)?;
    let [issuing, ark] = blocks.as_slice() else {
        return Err(Error::format(WHAT, "not two certificates"));
    };
    let issuing = Authority::from_der(issuing)?;
    let ark = Authority::from_der(ark)?;
    CertChain::new(issuing, ark, Bytes::copy_from_slice(pem))
}

impl CertChain {
    /// From the two certificates of some other container; the document is the key server's form with line feeds.
    ///
    /// # Errors
    /// [`Error::Format`] for the wrong order, [`Error::WrongIssuer`] for two products in one chain.
    pub fn from_authorities(issuing: Authority, ark: Authority) -> Result<Self, Error> {
        let document = Bytes::from(issuing.to_pem() + &ark.to_pem());
        Self::new(issuing, ark, document)
    }

    fn new(issuing: Authority, ark: Authority, document: Bytes) -> Result<Self, Error> {
        let kind = match (issuing.role(), ark.role()) {
            (AuthorityRole::Ask, AuthorityRole::Ark) => EndorsementKind::Vcek,
            (AuthorityRole::Asvk, AuthorityRole::Ark) => EndorsementKind::Vlek,
            (AuthorityRole::Ark, _) | (_, AuthorityRole::Ask | AuthorityRole::Asvk) => {
                return Err(Error::format(
                    WHAT,
                    "the order is not an ASK or ASVK, then the ARK",
                ));
            }
        };
        if issuing.product() != ark.product() {
            return Err(Error::WrongIssuer {
                expected: AuthorityRole::Ark.common_name(issuing.product()),
                found: excerpt(ark.subject_cn()),
            });
        }
        Ok(Self {
            kind,
            issuing,
            ark,
            document,
        })
    }

    /// Which endorsement keys it is for.
    pub fn kind(&self) -> EndorsementKind {
        self.kind
    }

    /// The product of both certificates.
    pub fn product(&self) -> Product {
        self.issuing.product()
    }

    /// The ASK or ASVK.
    pub fn issuing(&self) -> &Authority {
        &self.issuing
    }

    /// The root.
    pub fn ark(&self) -> &Authority {
        &self.ark
    }

    /// The text as received.
    pub fn document(&self) -> &Bytes {
        &self.document
    }

    /// Whether the text is laid out as the key server does it: 64 columns, every line ending the same way, at most
    /// one blank line at the end (Turin's VLEK chain has it).
    pub fn is_kds_form(&self) -> bool {
        ["\n", "\r\n"].into_iter().any(|line_end| {
            let pair = to_pem(self.issuing.der(), line_end) + &to_pem(self.ark.der(), line_end);
            let rest = self.document.strip_prefix(pair.as_bytes());
            rest.is_some_and(|rest| rest.is_empty() || rest == line_end.as_bytes())
        })
    }

    /// Whether both are the same certificates, in whatever text.
    pub fn same_certificates(&self, other: &Self) -> bool {
        self.issuing == other.issuing && self.ark == other.ark
    }

    /// Whether both certificates are valid at `now`.
    ///
    /// # Errors
    /// [`Error::NotYetValid`], [`Error::Expired`].
    pub fn holds_at(&self, now: UnixTime) -> Result<(), Error> {
        self.issuing.valid_at(now)?;
        self.ark.valid_at(now)
    }
}

impl fmt::Debug for CertChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entry(&self.issuing)
            .entry(&self.ark)
            .finish()
    }
}

const WHAT: &str = "AMD certificate chain";

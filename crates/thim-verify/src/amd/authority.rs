//! The certificates that sign: a product's root key (ARK), and the two that issue under it (ASK and ASVK).
//!
//! Each is told by its exact common name, must be an authority that may sign certificates, and has an RSA key.
//! Source: spec/amd-kds-and-thim.md, 2.1.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use der::Decode;
use der::asn1::ObjectIdentifier;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage};

use super::endorsement::EndorsementKind;
use super::frame::{Dates, Frame, to_pem};
use super::product::Product;
use super::pss::RsaKey;
use crate::asn1::Name;
use crate::error::excerpt;
use crate::{Digest, Error, UnixTime};

/// What an authority is for.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum AuthorityRole {
    /// AMD root key: signs the other two and the revocation list.
    Ark,
    /// AMD SEV key: signs VCEKs.
    Ask,
    /// AMD SEV VLEK key: signs VLEKs.
    Asvk,
}

impl AuthorityRole {
    /// All, the root first.
    pub const ALL: [Self; 3] = [Self::Ark, Self::Ask, Self::Asvk];

    /// The common name before the product's.
    const fn prefix(self) -> &'static str {
        match self {
            Self::Ark => "ARK-",
            Self::Ask => "SEV-",
            Self::Asvk => "SEV-VLEK-",
        }
    }

    /// The common name of this authority of `product`.
    pub fn common_name(self, product: Product) -> String {
        format!("{}{product}", self.prefix())
    }

    /// The one that issues endorsement keys of `kind`.
    pub const fn issuing(kind: EndorsementKind) -> Self {
        match kind {
            EndorsementKind::Vcek => Self::Ask,
            EndorsementKind::Vlek => Self::Asvk,
        }
    }

    /// Role and product of a common name; AMD writes products in one spelling.
    pub(super) fn of_name(common_name: &str) -> Option<(Self, Product)> {
        let all = Self::ALL.into_iter();
        all.flat_map(|role| Product::ALL.map(|product| (role, product)))
            .find(|(role, product)| role.common_name(*product) == common_name)
    }
}

/// A parsed authority certificate; cheap to clone, equal when the DER is. Parsing proves nothing about its signer.
#[derive(Clone)]
pub struct Authority(Arc<Fields>);

struct Fields {
    der: Bytes,
    tbs: Bytes,
    signature: Bytes,
    digest: Digest,
    spki_digest: Digest,
    role: AuthorityRole,
    product: Product,
    subject: Name,
    issuer: Name,
    serial: Vec<u8>,
    dates: Dates,
    path_len: Option<u8>,
    may_sign_crls: bool,
    key: RsaKey,
}

impl Authority {
    /// Parses DER.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Format`], [`Error::Unsupported`] about the form; [`Error::WrongIssuer`] for a
    /// name that is no authority's, or a certificate that may not sign certificates.
    pub fn from_der(der: &[u8]) -> Result<Self, Error> {
        let frame = Frame::read(der)?;
        let wrong = |expected: &str, found: &str| Error::WrongIssuer {
            expected: expected.to_owned(),
            found: excerpt(found),
        };
        let name = &frame.subject.common_name;
        let (role, product) = AuthorityRole::of_name(name)
            .ok_or_else(|| wrong("an ARK, ASK or ASVK of a known product", name))?;
        let usage = Usage::read(&frame)?;
        if !usage.may_sign_certificates {
            return Err(wrong("a certificate that may sign certificates", name));
        }
        let der = Bytes::copy_from_slice(der);
        Ok(Self(Arc::new(Fields {
            tbs: Bytes::copy_from_slice(frame.signed.tbs.raw),
            signature: Bytes::copy_from_slice(frame.signed.signature),
            digest: Digest::of(&der),
            spki_digest: Digest::of(frame.spki.raw),
            role,
            product,
            key: RsaKey::read(WHAT, frame.spki)?,
            subject: frame.subject,
            issuer: frame.issuer,
            serial: frame.serial,
            dates: frame.dates,
            path_len: usage.path_len,
            may_sign_crls: usage.may_sign_crls,
            der,
        })))
    }

    /// What it is for.
    pub fn role(&self) -> AuthorityRole {
        self.0.role
    }

    /// The product it is of.
    pub fn product(&self) -> Product {
        self.0.product
    }

    /// The certificate as received, DER.
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    /// SHA-256 of the DER.
    pub fn digest(&self) -> Digest {
        self.0.digest
    }

    /// SHA-256 of the SubjectPublicKeyInfo, DER: what a trust anchor pins.
    pub fn spki_digest(&self) -> Digest {
        self.0.spki_digest
    }

    /// The subject's common name.
    pub fn subject_cn(&self) -> &str {
        &self.0.subject.common_name
    }

    /// The issuer's common name.
    pub fn issuer_cn(&self) -> &str {
        &self.0.issuer.common_name
    }

    /// The serial number: unsigned, big endian, without leading zeros.
    pub fn serial(&self) -> &[u8] {
        &self.0.serial
    }

    /// Start of validity, inclusive.
    pub fn not_before(&self) -> UnixTime {
        self.0.dates.not_before
    }

    /// End of validity, inclusive.
    pub fn not_after(&self) -> UnixTime {
        self.0.dates.not_after
    }

    /// PEM in 64 columns, each line ending in a line feed.
    pub fn to_pem(&self) -> String {
        to_pem(self.der(), "\n")
    }

    /// Whether it is valid at `now`.
    ///
    /// # Errors
    /// [`Error::NotYetValid`], [`Error::Expired`].
    pub fn valid_at(&self, now: UnixTime) -> Result<(), Error> {
        self.0.dates.hold_at(self.subject_cn(), now)
    }

    /// Whether `issuer`, the root of the same product, signed it; a root is signed by itself.
    ///
    /// # Errors
    /// [`Error::WrongIssuer`], [`Error::SignatureInvalid`].
    pub fn signed_by(&self, issuer: &Self) -> Result<(), Error> {
        if issuer.role() != AuthorityRole::Ark || issuer.product() != self.product() {
            return Err(Error::WrongIssuer {
                expected: AuthorityRole::Ark.common_name(self.product()),
                found: excerpt(issuer.subject_cn()),
            });
        }
        if issuer.0.path_len == Some(0) && self.role() != AuthorityRole::Ark {
            return Err(Error::WrongIssuer {
                expected: "a root whose path length allows another authority".to_owned(),
                found: excerpt(issuer.subject_cn()),
            });
        }
        issuer.verify_signature(WHAT, &self.0.issuer, &self.0.tbs, &self.0.signature)
    }

    /// Whether it may sign revocation lists.
    pub(super) fn may_sign_crls(&self) -> bool {
        self.0.may_sign_crls
    }

    /// Whether this key signed `tbs`, which names `issuer` as its signer.
    pub(super) fn verify_signature(
        &self,
        what: &str,
        issuer: &Name,
        tbs: &[u8],
        signature: &[u8],
    ) -> Result<(), Error> {
        if *issuer != self.0.subject {
            return Err(Error::WrongIssuer {
                expected: format!("{}, the issuer named", excerpt(&issuer.common_name)),
                found: excerpt(self.subject_cn()),
            });
        }
        if !self.0.key.verifies(tbs, signature) {
            return Err(Error::SignatureInvalid {
                what: what.to_owned(),
                signer: excerpt(self.subject_cn()),
            });
        }
        Ok(())
    }
}

impl PartialEq for Authority {
    fn eq(&self, other: &Self) -> bool {
        self.0.der == other.0.der
    }
}

impl Eq for Authority {}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("subject", &self.subject_cn())
            .field("sha256", &self.digest().short())
            .field("not_after", &self.not_after())
            .finish()
    }
}

/// What the extensions allow.
#[derive(Default)]
struct Usage {
    path_len: Option<u8>,
    may_sign_certificates: bool,
    may_sign_crls: bool,
}

impl Usage {
    /// An authority must say that it is one: both extensions are demanded, as all of AMD's have them.
    fn read(frame: &Frame<'_>) -> Result<Self, Error> {
        let format = |error: der::Error| Error::format(WHAT, error);
        let (mut ca, mut path_len, mut usage) = (false, None, None);
        for extension in &frame.extensions {
            match extension.id {
                BASIC_CONSTRAINTS => {
                    let constraints =
                        BasicConstraints::from_der(extension.value).map_err(format)?;
                    ca = constraints.ca;
                    path_len = constraints.path_len_constraint;
                }
                KEY_USAGE => usage = Some(KeyUsage::from_der(extension.value).map_err(format)?),
                id if extension.critical => {
                    return Err(Error::unsupported(format_args!(
                        "critical certificate extension {id}"
                    )));
                }
                _ => {}
            }
        }
        Ok(usage.map_or(Self::default(), |usage| Self {
            path_len,
            may_sign_certificates: ca && usage.key_cert_sign(),
            may_sign_crls: ca && usage.crl_sign(),
        }))
    }
}

const WHAT: &str = "certificate";

/// RFC 5280, sections 4.2.1.9 and 4.2.1.3.
pub(super) const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");

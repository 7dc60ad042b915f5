//! What VCEKs and VLEKs have in common: a P-384 key under an ASK's or ASVK's signature, for one TCB.
//!
//! A leaf is told by its issuer's name, fits the facts of a product or not, and verifies reports. Source:
//! spec/amd-kds-and-thim.md, 2.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, ParsedPublicKey};
use bytes::Bytes;
use der::asn1::BitStringRef;
use der::{Decode, Reader, Tag};

use super::authority::{Authority, AuthorityRole};
use super::endorsement::EndorsementKind;
use super::extensions::AmdExtensions;
use super::frame::{Dates, Frame};
use super::product::Product;
use super::products::ProductFacts;
use super::tcb::SnpTcb;
use crate::asn1::{Element, Name};
use crate::error::excerpt;
use crate::{Digest, Error, UnixTime};

/// What both have in common.
#[derive(Clone)]
pub(super) struct Leaf(pub(super) Arc<Fields>);

pub(super) struct Fields {
    pub(super) der: Bytes,
    tbs: Bytes,
    signature: Bytes,
    pub(super) digest: Digest,
    pub(super) spki_digest: Digest,
    pub(super) public_key: [u8; P384_POINT_BYTES],
    key: ParsedPublicKey,
    pub(super) kind: EndorsementKind,
    pub(super) product: Product,
    issuer: Name,
    pub(super) dates: Dates,
    pub(super) struct_version: u8,
    pub(super) product_name: String,
    pub(super) tcb: SnpTcb,
}

impl Leaf {
    pub(super) fn new(
        der: &[u8],
        frame: Frame<'_>,
        kind: EndorsementKind,
        stated: AmdExtensions,
    ) -> Result<Self, Error> {
        let role = AuthorityRole::issuing(kind);
        let issuer_cn = &frame.issuer.common_name;
        let product = AuthorityRole::of_name(issuer_cn)
            .filter(|(named, _)| *named == role)
            .map(|(_, product)| product)
            .ok_or_else(|| {
                let expected = format!("{} of a known product", role.common_name(Product::Milan));
                wrong(&expected.replace("Milan", "*"), issuer_cn)
            })?;
        // The issuer decides; a name of another product is a mistake or worse. A stepping may follow (`Milan-B0`).
        let rest = stated.product_name.strip_prefix(product.name());
        if !rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-')) {
            return Err(Error::format(
                WHAT,
                format_args!("productName {} under {issuer_cn}", stated.product_name),
            ));
        }
        let public_key = p384_point(&frame.spki)?;
        let der = Bytes::copy_from_slice(der);
        Ok(Self(Arc::new(Fields {
            tbs: Bytes::copy_from_slice(frame.signed.tbs.raw),
            signature: Bytes::copy_from_slice(frame.signed.signature),
            digest: Digest::of(&der),
            spki_digest: Digest::of(frame.spki.raw),
            public_key,
            key: ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, public_key)
                .map_err(|_| Error::format(WHAT, "the public key is not a point of P-384"))?,
            kind,
            product,
            issuer: frame.issuer,
            dates: frame.dates,
            struct_version: stated.struct_version,
            product_name: stated.product_name,
            tcb: stated.tcb,
            der,
        })))
    }

    pub(super) fn kind(&self) -> EndorsementKind {
        self.0.kind
    }

    pub(super) fn product(&self) -> Product {
        self.0.product
    }

    pub(super) fn tcb(&self) -> SnpTcb {
        self.0.tcb
    }

    pub(super) fn not_before(&self) -> UnixTime {
        self.0.dates.not_before
    }

    pub(super) fn not_after(&self) -> UnixTime {
        self.0.dates.not_after
    }

    pub(super) fn valid_at(&self, now: UnixTime) -> Result<(), Error> {
        self.0.dates.hold_at(self.0.kind.common_name(), now)
    }

    /// Whether its extensions are those of the product's certificates: layout, fmc, levels within their limits.
    pub(super) fn fits(&self, facts: &ProductFacts) -> Result<(), Error> {
        if self.0.struct_version != facts.struct_version() {
            return Err(Error::format(
                WHAT,
                format_args!(
                    "structVersion {} where {} has {}",
                    self.0.struct_version,
                    facts.product(),
                    facts.struct_version()
                ),
            ));
        }
        self.0.tcb.to_u64(facts).map(|_| ())
    }

    /// Whether `issuing` signed it.
    pub(super) fn signed_by(&self, issuing: &Authority) -> Result<(), Error> {
        let role = AuthorityRole::issuing(self.0.kind);
        if issuing.role() != role || issuing.product() != self.0.product {
            return Err(wrong(
                &role.common_name(self.0.product),
                issuing.subject_cn(),
            ));
        }
        let Fields {
            issuer,
            tbs,
            signature,
            ..
        } = &*self.0;
        issuing.verify_signature(self.0.kind.name(), issuer, tbs, signature)
    }

    /// Whether its key made `signature` (`r || s`, 48 bytes each, big endian) over `message`.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8; 96]) -> bool {
        self.0.key.verify_sig(message, signature).is_ok()
    }
}

impl PartialEq for Leaf {
    fn eq(&self, other: &Self) -> bool {
        self.0.der == other.0.der
    }
}

impl Eq for Leaf {}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(self.0.kind.common_name())
            .field("sha256", &self.0.digest.short())
            .field("product", &self.0.product)
            .field("tcb", &self.0.tcb)
            .field("not_after", &self.0.dates.not_after)
            .finish_non_exhaustive()
    }
}

/// `SubjectPublicKeyInfo` of id-ecPublicKey, secp384r1, an uncompressed point; RFC 5480.
fn p384_point(spki: &Element<'_>) -> Result<[u8; P384_POINT_BYTES], Error> {
    let format = |error: der::Error| Error::format(WHAT, error);
    let mut reader = spki.inside().map_err(format)?;
    let algorithm = Element::expect(&mut reader, Tag::Sequence).map_err(format)?;
    let key = BitStringRef::decode(&mut reader).map_err(format)?;
    reader.finish().map_err(format)?;
    if algorithm.value != EC_P384 {
        return Err(Error::unsupported("an endorsement key other than P-384"));
    }
    key.as_bytes()
        .and_then(|point| point.try_into().ok())
        .filter(|point: &[u8; P384_POINT_BYTES]| point.first() == Some(&UNCOMPRESSED))
        .ok_or_else(|| Error::format(WHAT, "the public key is not an uncompressed point of P-384"))
}

fn wrong(expected: &str, found: &str) -> Error {
    Error::WrongIssuer {
        expected: expected.to_owned(),
        found: excerpt(found),
    }
}

const WHAT: &str = "endorsement certificate";

/// `04 || X || Y`.
const P384_POINT_BYTES: usize = 97;

const UNCOMPRESSED: u8 = 0x04;

/// OID id-ecPublicKey 1.2.840.10045.2.1, OID secp384r1 1.3.132.0.34; RFC 5480 section 2.1.1.
const EC_P384: &[u8] = &[
    0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22,
];

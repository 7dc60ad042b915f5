//! X.509 certificates of a vendor's public key infrastructure, as far as THIM believes them.
//!
//! Only what these hierarchies use is accepted: version 3, P-256 keys, ecdsa-with-SHA256, strict DER, no unknown
//! critical extension. Parsing proves nothing about the signer; that is [`Certificate::signed_by`] and, up to a
//! trust anchor, [`Issuers`](crate::Issuers). Source: RFC 5280; Intel SGX PCK Certificate and CRL profile.

use std::fmt;
use std::sync::{Arc, OnceLock};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use bytes::Bytes;
use data_encoding::BASE64;
use der::asn1::{BitStringRef, ObjectIdentifier};
use der::{Decode, Reader, SliceReader, Tag};
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::ext::pkix::{BasicConstraints, CrlDistributionPoints, KeyUsage};

use crate::asn1::{self, Element, Name, SignedDer};
use crate::error::{excerpt, within};
use crate::pem::pem_blocks;
use crate::{Digest, Error, UnixTime};

/// A parsed certificate; cheap to clone, equal when the DER is.
#[derive(Clone)]
pub struct Certificate(Arc<Fields>);

struct Fields {
    der: Bytes,
    /// Made when somebody asks: nobody does of a leaf inside a quote.
    digest: OnceLock<Digest>,
    spki: Bytes,
    spki_digest: OnceLock<Digest>,
    verifier: Verifier,
    tbs: Bytes,
    signature: Bytes,
    subject: Name,
    issuer: Name,
    serial: Vec<u8>,
    not_before: UnixTime,
    not_after: UnixTime,
    usage: Usage,
}

/// The public key made ready once, for each form of signatures that it is asked about: decoding a point costs a tenth
/// of a verification. An authority signs certificates and lists, DER; any other key here signs documents and reports,
/// `r || s`.
struct Verifier {
    point: [u8; P256_POINT_BYTES],
    der_signatures: OnceLock<ParsedPublicKey>,
    raw_signatures: OnceLock<ParsedPublicKey>,
}

/// What the extensions allow.
#[derive(Default)]
struct Usage {
    ca: bool,
    path_len: Option<u8>,
    key_usage: Option<KeyUsage>,
    crl_distribution_points: Vec<String>,
    /// The DER inside Intel's own extension, which says what platform and TCB a PCK certificate is for.
    sgx_extension: Option<Bytes>,
}

impl Certificate {
    /// Parses one DER certificate of at most 16 KiB.
    ///
    /// # Errors
    /// [`Error::TooLarge`]; [`Error::Format`] for anything that is not strict DER of RFC 5280;
    /// [`Error::Unsupported`] for other versions, algorithms and unknown critical extensions.
    pub fn from_der(der: &[u8]) -> Result<Self, Error> {
        within(WHAT, MAX_DER_BYTES, der.len())?;
        let der = Bytes::copy_from_slice(der);
        let signed = SignedDer::split(WHAT, MAX_DER_BYTES, &der)?;
        let format = |error: der::Error| Error::format(WHAT, error);

        let mut tbs = signed.tbs.inside().map_err(format)?;
        let version = Element::optional(&mut tbs, asn1::context(0)).map_err(format)?;
        if version.is_none_or(|version| version.value != VERSION_3) {
            return Err(Error::unsupported(
                "a certificate that is not X.509 version 3",
            ));
        }
        let serial = asn1::serial(&mut tbs).map_err(format)?;
        signed.same_algorithm(WHAT, &mut tbs)?;
        let issuer = Name::read(&mut tbs).map_err(format)?;
        let (not_before, not_after) = validity(&mut tbs).map_err(format)?;
        if not_after < not_before {
            return Err(Error::format(WHAT, "it ends before it starts"));
        }
        let subject = Name::read(&mut tbs).map_err(format)?;
        let spki = Element::expect(&mut tbs, Tag::Sequence).map_err(format)?;
        let public_key = p256_point(&spki)?;
        let extensions = Element::optional(&mut tbs, asn1::context(3)).map_err(format)?;
        // Also refuses issuerUniqueID and subjectUniqueID, which RFC 5280 forbids conforming CAs to make.
        tbs.finish().map_err(format)?;
        let usage =
            extensions.map_or_else(|| Ok(Usage::default()), |list| Usage::read(&der, list))?;
        let verifier = Verifier::new(public_key, usage.ca)?;

        Ok(Self(Arc::new(Fields {
            digest: OnceLock::new(),
            spki: der.slice_ref(spki.raw),
            spki_digest: OnceLock::new(),
            verifier,
            tbs: der.slice_ref(signed.tbs.raw),
            signature: Bytes::copy_from_slice(signed.signature),
            subject,
            issuer,
            serial,
            not_before,
            not_after,
            usage,
            der: der.clone(),
        })))
    }

    /// All `CERTIFICATE` blocks of a text, in its order; other text, NUL bytes and line ends around them are
    /// tolerated. A text without any gives an empty list.
    ///
    /// # Errors
    /// [`Error::TooMany`] beyond 16 blocks, [`Error::TooLarge`] beyond 1 MiB, [`Error::Format`] for a block that
    /// does not end or is not Base64, and whatever [`Certificate::from_der`] says of a block.
    pub fn from_pem_bundle(text: &[u8]) -> Result<Vec<Self>, Error> {
        let blocks = bundle_blocks(text)?;
        blocks.iter().map(|der| Self::from_der(der)).collect()
    }

    /// The certificate as received, DER.
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    /// SHA-256 of the DER.
    pub fn digest(&self) -> Digest {
        *self.0.digest.get_or_init(|| Digest::of(&self.0.der))
    }

    /// SHA-256 of the SubjectPublicKeyInfo, DER: what a trust anchor pins.
    pub fn spki_digest(&self) -> Digest {
        let digest = &self.0.spki_digest;
        *digest.get_or_init(|| Digest::of(&self.0.spki))
    }

    /// The P-256 public key: 65 bytes, `04 || X || Y`, big endian.
    pub fn public_key(&self) -> &[u8] {
        &self.0.verifier.point
    }

    /// The subject's common name; empty when the subject has none.
    pub fn subject_cn(&self) -> &str {
        &self.0.subject.common_name
    }

    /// The issuer's common name; empty when the issuer has none.
    pub fn issuer_cn(&self) -> &str {
        &self.0.issuer.common_name
    }

    /// The issuer's distinguished name, DER as received.
    pub fn issuer_der(&self) -> &[u8] {
        &self.0.issuer.der
    }

    /// The subject's distinguished name, DER as received.
    pub fn subject_der(&self) -> &[u8] {
        &self.0.subject.der
    }

    /// The serial number: unsigned, big endian, without leading zeros.
    pub fn serial(&self) -> &[u8] {
        &self.0.serial
    }

    /// Start of validity, inclusive.
    pub fn not_before(&self) -> UnixTime {
        self.0.not_before
    }

    /// End of validity, inclusive.
    pub fn not_after(&self) -> UnixTime {
        self.0.not_after
    }

    /// Whether basicConstraints says `cA TRUE`.
    pub fn is_ca(&self) -> bool {
        self.0.usage.ca
    }

    /// The `http` and `https` locations of the revocation list that speaks about this certificate.
    pub fn crl_distribution_points(&self) -> &[String] {
        &self.0.usage.crl_distribution_points
    }

    /// PEM, 64 columns, ends with a line feed.
    pub fn to_pem(&self) -> String {
        let base64 = BASE64.encode(&self.0.der);
        let mut pem = String::with_capacity(base64.len() + base64.len() / 64 + 64);
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        let mut rest = base64.as_str();
        while !rest.is_empty() {
            let (line, more) = rest.split_at_checked(64).unwrap_or((rest, ""));
            pem.push_str(line);
            pem.push('\n');
            rest = more;
        }
        pem.push_str("-----END CERTIFICATE-----\n");
        pem
    }

    /// Whether subject and issuer are the same name (says nothing about the signature).
    pub fn is_self_issued(&self) -> bool {
        self.0.subject == self.0.issuer
    }

    /// Whether `now` lies in the validity, bounds included.
    ///
    /// # Errors
    /// [`Error::NotYetValid`], [`Error::Expired`].
    pub fn valid_at(&self, now: UnixTime) -> Result<(), Error> {
        if now < self.0.not_before {
            return Err(Error::NotYetValid {
                subject: excerpt(self.subject_cn()),
                now,
                not_before: self.0.not_before,
            });
        }
        if now > self.0.not_after {
            return Err(Error::Expired {
                subject: excerpt(self.subject_cn()),
                now,
                not_after: self.0.not_after,
            });
        }
        Ok(())
    }

    /// Whether `issuer` signed this certificate: names, the issuer's right to sign certificates (basicConstraints,
    /// path length, keyUsage where present) and the signature. Dates are not looked at.
    ///
    /// # Errors
    /// [`Error::WrongIssuer`], [`Error::SignatureInvalid`].
    pub fn signed_by(&self, issuer: &Self) -> Result<(), Error> {
        let wrong = |expected: &str| Error::WrongIssuer {
            expected: excerpt(expected),
            found: excerpt(issuer.subject_cn()),
        };
        if !self.names_as_issuer(issuer) {
            return Err(wrong(&format!("{}, the issuer named", self.issuer_cn())));
        }
        if !issuer.may_sign_certificates() {
            return Err(wrong("a certificate that may sign certificates"));
        }
        if issuer.0.usage.path_len == Some(0) && self.is_ca() && !self.is_self_issued() {
            return Err(wrong(
                "an issuer whose path length allows another authority",
            ));
        }
        issuer.verify_der_signature(WHAT, &self.0.tbs, &self.0.signature)
    }

    /// Whether the subject of this certificate is the issuer that `name` tells.
    pub(crate) fn is_named(&self, name: &Name) -> bool {
        self.0.subject == *name
    }

    /// Whether the issuer that this certificate names is the subject of `other` (says nothing about the signature).
    pub(crate) fn names_as_issuer(&self, other: &Self) -> bool {
        self.0.issuer == other.0.subject
    }

    /// Whether both have the same subject.
    pub(crate) fn has_subject_of(&self, other: &Self) -> bool {
        self.0.subject == other.0.subject
    }

    /// The DER inside the SGX extension; only PCK certificates have one.
    pub(crate) fn sgx_extension(&self) -> Option<&[u8]> {
        self.0.usage.sgx_extension.as_deref()
    }

    /// Whether it may sign certificates.
    pub(crate) fn may_sign_certificates(&self) -> bool {
        self.is_ca() && self.allows(KeyUsage::key_cert_sign)
    }

    /// Whether keyUsage, where present, allows signing revocation lists (RFC 5280, section 6.3.3 (f)).
    pub(crate) fn may_sign_crls(&self) -> bool {
        self.allows(KeyUsage::crl_sign)
    }

    /// Whether keyUsage, where present, allows signing documents.
    pub(crate) fn may_sign_documents(&self) -> bool {
        self.allows(KeyUsage::digital_signature)
    }

    /// RFC 5280, section 6.1.4 (n): without the extension every use is allowed.
    fn allows(&self, bit: fn(&KeyUsage) -> bool) -> bool {
        self.0.usage.key_usage.as_ref().is_none_or(bit)
    }

    /// Verifies ECDSA-P256-SHA256 with a DER signature.
    pub(crate) fn verify_der_signature(
        &self,
        what: &str,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), Error> {
        let key = self.0.verifier.der_signatures();
        key.verify_sig(message, signature)
            .map_err(|_| self.signature_invalid(what))
    }

    /// Verifies ECDSA-P256-SHA256 with a raw signature, `r || s`, 32 bytes each, big endian.
    pub(crate) fn verify_raw_signature(
        &self,
        what: &str,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), Error> {
        let key = self.0.verifier.raw_signatures();
        key.verify_sig(message, signature)
            .map_err(|_| self.signature_invalid(what))
    }

    fn signature_invalid(&self, what: &str) -> Error {
        Error::SignatureInvalid {
            what: what.to_owned(),
            signer: excerpt(self.subject_cn()),
        }
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.0.der == other.0.der
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("subject", &self.subject_cn())
            .field("sha256", &self.digest().short())
            .field("not_before", &self.not_before())
            .field("not_after", &self.not_after())
            .finish()
    }
}

impl Verifier {
    /// Refuses a point that is not on the curve.
    fn new(point: [u8; P256_POINT_BYTES], authority: bool) -> Result<Self, Error> {
        let refused = |_| Error::format(WHAT, "the public key is not a point of P-256");
        let verifier = Self {
            point,
            der_signatures: OnceLock::new(),
            raw_signatures: OnceLock::new(),
        };
        let (algorithm, place) = if authority {
            (&ECDSA_P256_SHA256_ASN1, &verifier.der_signatures)
        } else {
            (&ECDSA_P256_SHA256_FIXED, &verifier.raw_signatures)
        };
        let key = ParsedPublicKey::new(algorithm, point).map_err(refused)?;
        place.get_or_init(|| key);
        Ok(verifier)
    }

    fn der_signatures(&self) -> &ParsedPublicKey {
        self.der_signatures.get_or_init(|| {
            ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, self.point).expect(ON_CURVE)
        })
    }

    fn raw_signatures(&self) -> &ParsedPublicKey {
        self.raw_signatures.get_or_init(|| {
            ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.point).expect(ON_CURVE)
        })
    }
}

impl Usage {
    /// `der` is the whole certificate, of which `explicit` is a part.
    fn read(der: &Bytes, explicit: Element<'_>) -> Result<Self, Error> {
        let format = |error: der::Error| Error::format(WHAT, error);
        let mut reader = explicit.inside().map_err(format)?;
        let sequence = Element::read(&mut reader).map_err(format)?;
        reader.finish().map_err(format)?;
        let mut usage = Self::default();
        for extension in asn1::extensions(sequence).map_err(format)? {
            match extension.id {
                BASIC_CONSTRAINTS => {
                    let constraints =
                        BasicConstraints::from_der(extension.value).map_err(format)?;
                    if constraints.path_len_constraint.is_some() && !constraints.ca {
                        return Err(Error::format(WHAT, "a path length without CA:TRUE"));
                    }
                    usage.ca = constraints.ca;
                    usage.path_len = constraints.path_len_constraint;
                }
                CRL_DISTRIBUTION_POINTS => {
                    let points =
                        CrlDistributionPoints::from_der(extension.value).map_err(format)?;
                    usage.crl_distribution_points = locations(&points);
                }
                KEY_USAGE => {
                    usage.key_usage = Some(KeyUsage::from_der(extension.value).map_err(format)?)
                }
                SGX_EXTENSION => usage.sgx_extension = Some(der.slice_ref(extension.value)),
                id if extension.critical => {
                    return Err(Error::unsupported(format_args!(
                        "critical certificate extension {id}"
                    )));
                }
                _ => {}
            }
        }
        Ok(usage)
    }
}

/// The DER of each certificate of a bundle.
pub(crate) fn bundle_blocks(text: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    within("certificate bundle", MAX_BUNDLE_BYTES, text.len())?;
    pem_blocks(text, CERTIFICATE_LABEL, MAX_BUNDLE_CERTIFICATES)
}

fn validity(tbs: &mut SliceReader<'_>) -> der::Result<(UnixTime, UnixTime)> {
    let mut reader = Element::expect(tbs, Tag::Sequence)?.inside()?;
    let validity = (asn1::time(&mut reader)?, asn1::time(&mut reader)?);
    reader.finish()?;
    Ok(validity)
}

/// `SubjectPublicKeyInfo` of id-ecPublicKey, prime256v1, an uncompressed point; RFC 5480.
fn p256_point(spki: &Element<'_>) -> Result<[u8; P256_POINT_BYTES], Error> {
    let format = |error: der::Error| Error::format(WHAT, error);
    let mut reader = spki.inside().map_err(format)?;
    let algorithm = Element::expect(&mut reader, Tag::Sequence).map_err(format)?;
    let key = BitStringRef::decode(&mut reader).map_err(format)?;
    reader.finish().map_err(format)?;
    if algorithm.value != EC_P256 {
        return Err(Error::unsupported("a public key other than P-256"));
    }
    key.as_bytes()
        .and_then(|point| point.try_into().ok())
        .ok_or_else(|| Error::format(WHAT, "the public key is not an uncompressed point of P-256"))
}

fn locations(points: &CrlDistributionPoints) -> Vec<String> {
    points
        .0
        .iter()
        .filter_map(|point| match &point.distribution_point {
            Some(DistributionPointName::FullName(names)) => Some(names),
            _ => None,
        })
        .flatten()
        .filter_map(|name| match name {
            GeneralName::UniformResourceIdentifier(uri) => Some(uri.as_str()),
            _ => None,
        })
        .filter(|uri| uri.starts_with("https://") || uri.starts_with("http://"))
        .map(str::to_owned)
        .collect()
}

const WHAT: &str = "certificate";
const ON_CURVE: &str = "the point was found to be on the curve when the certificate was parsed";

/// Intel's certificates are 650 to 1,300 bytes; nobody needs 16 KiB.
const MAX_DER_BYTES: usize = 16 * 1024;

/// Sixteen of the largest, as Base64, and text around them.
const MAX_BUNDLE_BYTES: usize = 1024 * 1024;

/// A chain has three; a file of several chains still fits.
const MAX_BUNDLE_CERTIFICATES: usize = 16;

/// `04 || X || Y`.
const P256_POINT_BYTES: usize = 65;

/// `INTEGER 2`.
const VERSION_3: &[u8] = &[0x02, 0x01, 0x02];

/// OID id-ecPublicKey 1.2.840.10045.2.1, OID prime256v1 1.2.840.10045.3.1.7; RFC 5480 section 2.1.1.
const EC_P256: &[u8] = &[
    0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d,
    0x03, 0x01, 0x07,
];

const CERTIFICATE_LABEL: &str = "CERTIFICATE";

/// RFC 5280, sections 4.2.1.9, 4.2.1.13, 4.2.1.3.
const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const CRL_DISTRIBUTION_POINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.31");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");

/// Intel SGX PCK Certificate and CRL profile, "SGX extensions". Read by `intel::sgx_extension`, critical or not.
const SGX_EXTENSION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1");

//! Artefacts: bytes become a type here, once, and keep what was signed byte for byte.
//!
//! [`parse`] takes every form in which vendors and tools hand collateral over; what comes out is [`Unverified`] until
//! [`verify`](crate::verify) has judged it. An artefact is named by what was signed (its id is the digest of the
//! signed bytes), so that another signature over the same body is the same artefact.

mod amd;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use data_encoding::HEXLOWER_PERMISSIVE;

use crate::amd::{AmdCrl, CertChain, EndorsementKind, is_pss_signed};
use crate::asn1::Name;
use crate::error::within;
use crate::intel::crl;
use crate::intel::signed_json::{self, Parsed};
use crate::intel::{Crl, EnclaveIdentity, EvaluationNumbers, SignedMember, TcbInfo};
use crate::pem::pem_blocks;
use crate::{ArtefactKey, Digest, Error, UnixTime};

/// One signed object, parsed; cheap to clone.
#[derive(Clone)]
pub struct Artefact {
    key: ArtefactKey,
    issued: UnixTime,
    next_update: UnixTime,
    signed: Bytes,
    document: Bytes,
    signature: Signature,
    content: Arc<Content>,
}

/// What an artefact says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// The chain of one of AMD's products.
    AmdCertChain(CertChain),
    /// A revocation list of AMD's.
    AmdCrl(AmdCrl),
    /// A revocation list of Intel's.
    Crl(Crl),
    /// An enclave identity.
    EnclaveIdentity(EnclaveIdentity),
    /// A list of evaluation numbers.
    EvaluationNumbers(EvaluationNumbers),
    /// A TCB info.
    TcbInfo(TcbInfo),
}

#[derive(Clone)]
enum Signature {
    /// AMD's: judged as a whole by that half of this crate.
    InDocument,
    /// A list of Intel's: DER, and the issuer named inside.
    Der { bytes: Bytes, issuer: Arc<Name> },
    /// A JSON object's: the text as received, and what it stands for.
    Raw { text: Bytes, bytes: [u8; 64] },
}

/// What must have signed an artefact, and how.
pub(crate) enum SignedAs<'a> {
    /// By one of AMD's keys, which is for [`verify_artefact`](crate::amd::verify_artefact) to judge.
    Amd,
    /// ECDSA as DER, by the named issuer.
    Der {
        signature: &'a [u8],
        issuer: &'a Name,
    },
    /// ECDSA as `r || s`, by the TCB signer.
    Raw { signature: &'a [u8; 64] },
}

impl Artefact {
    /// What it answers for.
    pub fn key(&self) -> ArtefactKey {
        self.key
    }

    /// `issueDate`, or `thisUpdate` of a list; of a chain, when both its certificates had begun to be valid.
    pub fn issued(&self) -> UnixTime {
        self.issued
    }

    /// `nextUpdate`; of a chain, the end of the certificate that ends first.
    pub fn next_update(&self) -> UnixTime {
        self.next_update
    }

    /// The exact bytes that the signature covers: the inner JSON object, or the tbsCertList, DER (and after it `vlek`
    /// where that is the list's place); of a chain of AMD's both certificates, DER.
    pub fn signed(&self) -> &Bytes {
        &self.signed
    }

    /// The signature: `r || s`, big endian, 64 bytes, of a JSON object; ECDSA-Sig-Value, DER, of a list of Intel's;
    /// empty for AMD's objects, whose document has it.
    pub fn signature(&self) -> &[u8] {
        match &self.signature {
            Signature::InDocument => &[],
            Signature::Der { bytes, .. } => bytes,
            Signature::Raw { bytes, .. } => bytes,
        }
    }

    /// The signature's hex text as received; none for a list or a chain.
    pub fn signature_text(&self) -> Option<&str> {
        match &self.signature {
            Signature::Der { .. } | Signature::InDocument => None,
            Signature::Raw { text, .. } => std::str::from_utf8(text).ok(),
        }
    }

    /// What is served: `{"<member>":<signed>,"signature":"<as received>"}` without white space of the envelope, which
    /// is the body as received when it had that form; the whole DER of a list; the PEM of a chain.
    pub fn document(&self) -> &Bytes {
        &self.document
    }

    /// What it says.
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// SHA-256 of [`Artefact::signed`].
    pub fn id(&self) -> Digest {
        Digest::of(&self.signed)
    }

    pub(crate) fn signed_as(&self) -> SignedAs<'_> {
        match &self.signature {
            Signature::InDocument => SignedAs::Amd,
            Signature::Der { bytes, issuer } => SignedAs::Der {
                signature: bytes,
                issuer,
            },
            Signature::Raw { bytes, .. } => SignedAs::Raw { signature: bytes },
        }
    }
}

impl PartialEq for Artefact {
    fn eq(&self, other: &Self) -> bool {
        self.document == other.document
    }
}

impl Eq for Artefact {}

impl fmt::Debug for Artefact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Artefact")
            .field("key", &self.key.to_string())
            .field("issued", &self.issued.to_string())
            .field("id", &self.id().short())
            .finish()
    }
}

/// An artefact whose form is known to be right, and nothing else: its signature was not looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unverified {
    artefact: Artefact,
}

impl Unverified {
    /// What it claims to answer for.
    pub fn key(&self) -> ArtefactKey {
        self.artefact.key
    }

    /// When it claims to have been issued.
    pub fn issued(&self) -> UnixTime {
        self.artefact.issued
    }

    /// When it claims to be replaced.
    pub fn next_update(&self) -> UnixTime {
        self.artefact.next_update
    }

    /// SHA-256 of the signed bytes: the id it will have once verified.
    pub fn signed_digest(&self) -> Digest {
        self.artefact.id()
    }

    /// What it claims to be, content and all, for those who explain why an object was refused. Nothing of it is known
    /// to be true.
    pub fn unverified(&self) -> &Artefact {
        &self.artefact
    }

    pub(crate) fn into_artefact(self) -> Artefact {
        self.artefact
    }

    fn from_json(
        member: SignedMember,
        document: Bytes,
        signed: Bytes,
        signature_text: Bytes,
        signature: [u8; 64],
        parsed: Parsed,
    ) -> Result<Self, Error> {
        debug_assert!(document.len() > signed.len() + member.name().len());
        let (key, issued, next_update, content) = match parsed {
            Parsed::EnclaveIdentity(body) => (
                body.key(),
                body.issued,
                body.next_update,
                Content::EnclaveIdentity(body),
            ),
            Parsed::EvaluationNumbers(body) => (
                body.key(),
                body.issued,
                body.next_update,
                Content::EvaluationNumbers(body),
            ),
            Parsed::TcbInfo(body) => (
                body.key(),
                body.issued,
                body.next_update,
                Content::TcbInfo(body),
            ),
        };
        Self::new(Artefact {
            key,
            issued,
            next_update,
            signed,
            document,
            signature: Signature::Raw {
                text: signature_text,
                bytes: signature,
            },
            content: Arc::new(content),
        })
    }

    fn new(artefact: Artefact) -> Result<Self, Error> {
        if artefact.next_update <= artefact.issued {
            return Err(Error::format(
                artefact.key.kind().name(),
                "the next update is not after the issue date",
            ));
        }
        Ok(Self { artefact })
    }
}

/// Parses a signed object in any of its forms: a JSON envelope (`tcbInfo`, `enclaveIdentity` or
/// `tcbEvaluationDataNumbers` beside `signature`), a revocation list in DER, PEM or hex text, or a chain of AMD's in
/// PEM. A list of AMD's counts as the one for VCEKs; [`parse_for`] knows better where the place is known.
///
/// # Errors
/// [`Error::Format`], [`Error::TooLarge`], [`Error::TooMany`], [`Error::Unsupported`] (version 1 of TCB info among
/// them), [`Error::WrongIssuer`] for a list of another authority.
pub fn parse(document: &[u8]) -> Result<Unverified, Error> {
    parse_as(document, EndorsementKind::Vcek)
}

/// As [`parse`], for a document that was asked for under `key`, or stored under it. Says nothing of whether it is one.
///
/// # Errors
/// As [`parse`].
pub fn parse_for(key: ArtefactKey, document: &[u8]) -> Result<Unverified, Error> {
    match key {
        ArtefactKey::AmdCrl { kind, .. } => parse_as(document, kind),
        ArtefactKey::AmdCertChain { .. }
        | ArtefactKey::EnclaveIdentity { .. }
        | ArtefactKey::EvaluationNumbers { .. }
        | ArtefactKey::PckCrl { .. }
        | ArtefactKey::RootCrl
        | ArtefactKey::TcbInfo { .. } => parse(document),
    }
}

/// `place` is where a list of AMD's was had.
fn parse_as(document: &[u8], place: EndorsementKind) -> Result<Unverified, Error> {
    within("signed object", MAX_TEXT_BYTES, document.len())?;
    let text = document.trim_ascii();
    match text.first() {
        Some(b'{') => parse_json(document),
        // A DER SEQUENCE; white space is not trimmed off binary data. Hex text of one starts with the digit 3.
        Some(0x30) if document.first() == Some(&0x30) => parse_crl(document, place),
        Some(b'3') => {
            let der = HEXLOWER_PERMISSIVE.decode(text).map_err(|_| {
                Error::format(
                    "signed object",
                    "neither JSON, nor a CRL in DER, PEM or hex",
                )
            })?;
            parse_crl(&der, place)
        }
        Some(b'-') if text.starts_with(CERTIFICATE_MARK) => amd::cert_chain(document),
        Some(b'-') => match pem_blocks(text, CRL_LABEL, 1)?.as_slice() {
            [der] => parse_crl(der, place),
            _ => Err(Error::format(
                "signed object",
                "PEM without a CRL or a chain",
            )),
        },
        _ => Err(Error::format(
            "signed object",
            "neither JSON, nor a CRL in DER, PEM or hex",
        )),
    }
}

/// Parses an inner object and its signature that were handed over apart, as in quote-verification bundles:
/// `signed` is the JSON text from `{` to `}`, `signature_hex` 128 hex digits.
///
/// # Errors
/// As [`parse`].
pub fn parse_detached(
    member: SignedMember,
    signed: &[u8],
    signature_hex: &str,
) -> Result<Unverified, Error> {
    let text =
        std::str::from_utf8(signed).map_err(|_| Error::format("signed JSON", "not UTF-8"))?;
    let signature = signed_json::signature(signature_hex)?;
    let parsed = signed_json::detached(member, text)?;
    let (document, signed, signature_text) = assemble(member, text, signature_hex);
    Unverified::from_json(member, document, signed, signature_text, signature, parsed)
}

/// The same object with the white space outside strings removed, key order and number text kept: what was signed,
/// when a tool has re-dumped it. None for a list, and when there is no white space to remove.
///
/// Only for importers whose exact bytes do not verify; the result is judged like any other.
pub fn compacted(unverified: &Unverified) -> Option<Unverified> {
    let artefact = unverified.unverified();
    let member = match artefact.content() {
        Content::AmdCertChain(_) | Content::AmdCrl(_) | Content::Crl(_) => return None,
        Content::EnclaveIdentity(_) => SignedMember::EnclaveIdentity,
        Content::EvaluationNumbers(_) => SignedMember::EvaluationNumbers,
        Content::TcbInfo(_) => SignedMember::TcbInfo,
    };
    let compact = signed_json::compact(artefact.signed());
    if compact.len() == artefact.signed().len() {
        return None;
    }
    parse_detached(member, &compact, artefact.signature_text()?).ok()
}

fn parse_json(document: &[u8]) -> Result<Unverified, Error> {
    let text =
        std::str::from_utf8(document).map_err(|_| Error::format("signed JSON", "not UTF-8"))?;
    let envelope = signed_json::envelope(text)?;
    let signature = signed_json::signature(envelope.signature)?;
    let signed = text.get(envelope.signed).unwrap_or_default();
    let (served, signed, signature_text) = assemble(envelope.member, signed, envelope.signature);
    Unverified::from_json(
        envelope.member,
        served,
        signed,
        signature_text,
        signature,
        envelope.parsed,
    )
}

fn parse_crl(der: &[u8], place: EndorsementKind) -> Result<Unverified, Error> {
    if is_pss_signed(der) {
        return amd::crl(der, place);
    }
    within("CRL", crl::MAX_DER_BYTES, der.len())?;
    let document = Bytes::copy_from_slice(der);
    let parsed = crl::parse(&document)?;
    Unverified::new(Artefact {
        key: parsed.crl.key(),
        issued: parsed.crl.this_update,
        next_update: parsed.crl.next_update,
        signed: document.slice_ref(parsed.tbs),
        signature: Signature::Der {
            bytes: document.slice_ref(parsed.signature),
            issuer: Arc::new(parsed.issuer),
        },
        content: Arc::new(Content::Crl(parsed.crl)),
        document: document.clone(),
    })
}

/// The envelope without white space, and where in it the signed object and the signature stand.
fn assemble(member: SignedMember, signed: &str, signature: &str) -> (Bytes, Bytes, Bytes) {
    let parts = [
        "{\"",
        member.name(),
        "\":",
        signed,
        ",\"signature\":\"",
        signature,
        "\"}",
    ];
    let document = Bytes::from(parts.concat().into_bytes());
    let start = parts.iter().take(3).map(|part| part.len()).sum::<usize>();
    let end = start + signed.len();
    let signature_start = end
        + parts
            .iter()
            .skip(4)
            .take(1)
            .map(|part| part.len())
            .sum::<usize>();
    let inner = document.slice(start..end);
    let signature_text = document.slice(signature_start..signature_start + signature.len());
    (document, inner, signature_text)
}

const CRL_LABEL: &str = "X509 CRL";

/// RFC 7468, section 5.
const CERTIFICATE_MARK: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// The largest list as hex text with line ends, and as PEM less than that.
const MAX_TEXT_BYTES: usize = 2 * crl::MAX_DER_BYTES + 64 * 1024;

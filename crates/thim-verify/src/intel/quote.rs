//! Quotes of Intel's ECDSA attestation: SGX version 3, SGX and TDX versions 4 and 5.
//!
//! A quote is a header, a report and a signature section, all little endian. What the quote's own signature covers is
//! header, body descriptor (version 5) and report; behind its declared end a caller may hand more bytes over, which are
//! counted and never looked at. Each length is bounded by what is left, and the signature section, in versions 4 and 5
//! the part inside it too, must be used up exactly. Nothing here judges a quote:
//! [`QuoteVerifier`](crate::QuoteVerifier) does. Header fields that Intel calls informative (QE SVN, PCE SVN) are kept
//! for display alone. Source: spec/intel-verification.md, section 1, which names Intel's documents.

mod body;
mod certification;
mod cursor;

use std::fmt;

use bytes::Bytes;

use crate::error::within;
use crate::{Error, Tee};

pub use body::{QuoteBody, SgxReport, TdAttributes, TdExtension, TdReport, TdReportVersion};
pub use certification::{Certification, CertificationKind, PckName, PemText, PpidForm};
use certification::{Section, section};
use cursor::Cursor;

/// A parsed quote; cheap to clone. Neither its debug form nor its errors show what identifies a platform.
#[derive(Clone, PartialEq, Eq)]
pub struct Quote {
    bytes: Bytes,
    header: QuoteHeader,
    body: QuoteBody,
    signed_bytes: usize,
    section: Section,
    end: usize,
}

/// The header, 48 bytes.
#[derive(Copy, Clone, PartialEq, Eq)]
pub struct QuoteHeader {
    /// 3, 4 or 5.
    pub version: u16,
    /// What kind of enclave or domain was quoted. Version 3 is of SGX alone.
    pub tee: Tee,
    /// The quoting enclave's security version as it says itself; never trusted. Versions 4 and 5 have it reserved.
    pub qe_svn: u16,
    /// That of the provisioning certification enclave, likewise.
    pub pce_svn: u16,
    /// Who made the quoting enclave.
    pub qe_vendor_id: [u8; 16],
    /// The first 16 bytes are the QE id, which names the platform.
    pub user_data: [u8; 20],
}

/// Parses a quote of at most 128 KiB.
///
/// # Errors
/// [`Error::TooLarge`]; [`Error::Format`] naming the field whose length or value is wrong; [`Error::Unsupported`] for
/// another version, attestation key type, TEE type or certification data type.
pub fn parse_quote(bytes: &[u8]) -> Result<Quote, Error> {
    within(WHAT, MAX_QUOTE_BYTES, bytes.len())?;
    let mut cursor = Cursor::new(bytes);
    let header = QuoteHeader::read(&mut cursor)?;
    let body = QuoteBody::read(&header, &mut cursor)?;
    let signed_bytes = cursor.at();
    let section_bytes = cursor.u32("signature data length")?;
    let mut inside = cursor.inside("signature data", section_bytes)?;
    let section = section(header.version, &mut inside)?;
    Ok(Quote {
        bytes: Bytes::copy_from_slice(bytes),
        header,
        body,
        signed_bytes,
        section,
        end: cursor.at(),
    })
}

impl Quote {
    /// The quote as it was handed over, with the bytes behind its end.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The header.
    pub fn header(&self) -> &QuoteHeader {
        &self.header
    }

    /// 3, 4 or 5.
    pub fn version(&self) -> u16 {
        self.header.version
    }

    /// What kind of enclave or domain was quoted.
    pub fn tee(&self) -> Tee {
        self.header.tee
    }

    /// The report.
    pub fn body(&self) -> &QuoteBody {
        &self.body
    }

    /// The report of the quoting enclave.
    pub fn qe_report(&self) -> &SgxReport {
        &self.section.qe_report
    }

    /// How the attestation key is certified.
    pub fn certification(&self) -> Certification<'_> {
        Certification::of(
            self.section.certification_kind,
            self.slice(&self.section.certification),
        )
    }

    /// The kind of certification data.
    pub fn certification_kind(&self) -> CertificationKind {
        self.section.certification_kind
    }

    /// How many bytes were handed over behind the quote's declared end. Nothing vouches for them.
    pub fn trailing_bytes(&self) -> usize {
        self.bytes.len().saturating_sub(self.end)
    }

    /// What the attestation key signed.
    pub(crate) fn signed(&self) -> &[u8] {
        self.bytes.get(..self.signed_bytes).unwrap_or_default()
    }

    /// The quote's signature, `r || s`, big endian.
    pub(crate) fn signature(&self) -> &[u8] {
        self.slice(&self.section.signature)
    }

    /// The attestation key, `X || Y`, big endian.
    pub(crate) fn attestation_key(&self) -> &[u8] {
        self.slice(&self.section.attestation_key)
    }

    /// The bytes that the quoting enclave's report was signed over.
    pub(crate) fn qe_report_bytes(&self) -> &[u8] {
        self.slice(&self.section.qe_report_bytes)
    }

    /// The PCK key's signature over them, `r || s`, big endian.
    pub(crate) fn qe_report_signature(&self) -> &[u8] {
        self.slice(&self.section.qe_report_signature)
    }

    /// What the quoting enclave hashed with its key; of any length.
    pub(crate) fn qe_auth_data(&self) -> &[u8] {
        self.slice(&self.section.qe_auth_data)
    }

    /// Everything in the section behind the quote's own signature: two quotes with the same of it have the same
    /// attestation key, certified by the same quoting enclave and PCK certificate.
    pub(crate) fn certified(&self) -> &[u8] {
        self.slice(&self.section.certified)
    }

    fn slice(&self, range: &std::ops::Range<usize>) -> &[u8] {
        self.bytes.get(range.clone()).unwrap_or_default()
    }
}

impl fmt::Debug for Quote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quote")
            .field("version", &self.header.version)
            .field("tee", &self.header.tee)
            .field("certification", &self.section.certification_kind)
            .field("trailing_bytes", &self.trailing_bytes())
            .finish_non_exhaustive()
    }
}

impl QuoteHeader {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, Error> {
        let version = cursor.u16("version")?;
        if !matches!(version, 3..=5) {
            return Err(Error::unsupported(format_args!("quote version {version}")));
        }
        let key_type = cursor.u16("attestation key type")?;
        if key_type != ECDSA_P256 {
            return Err(Error::unsupported(format_args!(
                "attestation key type {key_type}; {ECDSA_P256}, ECDSA with P-256, is"
            )));
        }
        let tee = match (version, cursor.u32("TEE type")?) {
            (_, TEE_SGX) => Tee::Sgx,
            (4 | 5, TEE_TDX) => Tee::Tdx,
            (3, other) => {
                return Err(wrong(format_args!(
                    "bytes 4 to 7 are {other:#x}; in version 3 they are reserved and zero"
                )));
            }
            (_, other) => {
                return Err(Error::unsupported(format_args!("TEE type {other:#x}")));
            }
        };
        Ok(Self {
            version,
            tee,
            qe_svn: cursor.u16("QE SVN")?,
            pce_svn: cursor.u16("PCE SVN")?,
            qe_vendor_id: cursor.array("QE vendor id")?,
            user_data: cursor.array("user data")?,
        })
    }

    /// Whether the quoting enclave says that it is Intel's.
    pub fn is_of_intel(&self) -> bool {
        self.qe_vendor_id == INTEL_QE_VENDOR_ID
    }
}

impl fmt::Debug for QuoteHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuoteHeader")
            .field("version", &self.version)
            .field("tee", &self.tee)
            .finish_non_exhaustive()
    }
}

fn wrong(why: impl fmt::Display) -> Error {
    Error::format(WHAT, why)
}

const WHAT: &str = "quote";

/// Genuine quotes are 4.5 to 6 KB; one with a platform manifest of eight packages stays below 64 KiB.
pub const MAX_QUOTE_BYTES: usize = 128 * 1024;

/// spec/intel-verification.md, section 1, header: the only attestation key type in use.
const ECDSA_P256: u16 = 2;
const TEE_SGX: u32 = 0;
const TEE_TDX: u32 = 0x81;

/// 939a7233-f79c-4ca9-940a-0db3957f0607.
const INTEL_QE_VENDOR_ID: [u8; 16] = 0x939a_7233_f79c_4ca9_940a_0db3_957f_0607_u128.to_be_bytes();

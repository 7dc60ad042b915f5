//! What all certificates of AMD's hierarchy have in common: X.509 version 3 under an RSASSA-PSS signature.
//!
//! A frame is the certificate taken apart, with every slice as it was received; authorities and endorsement keys read
//! their keys and extensions from it. Source: RFC 5280, section 4.1; spec/amd-kds-and-thim.md, 2.1.

use data_encoding::BASE64;
use der::{Reader, SliceReader, Tag};

use super::pss::PssSigned;
use crate::asn1::{self, Element, Extension, Name};
use crate::error::{excerpt, within};
use crate::pem::pem_blocks;
use crate::{Error, UnixTime};

/// A certificate taken apart.
pub(super) struct Frame<'a> {
    pub(super) signed: PssSigned<'a>,
    pub(super) serial: Vec<u8>,
    pub(super) issuer: Name,
    pub(super) subject: Name,
    pub(super) dates: Dates,
    pub(super) spki: Element<'a>,
    pub(super) extensions: Vec<Extension<'a>>,
}

impl<'a> Frame<'a> {
    pub(super) fn read(der: &'a [u8]) -> Result<Self, Error> {
        let format = |error: der::Error| Error::format(WHAT, error);
        let signed = PssSigned::split(WHAT, MAX_DER_BYTES, der)?;
        let mut tbs = signed.tbs.inside().map_err(format)?;
        let version = Element::optional(&mut tbs, asn1::context(0)).map_err(format)?;
        if version.is_none_or(|version| version.value != VERSION_3) {
            return Err(Error::unsupported(
                "a certificate that is not X.509 version 3",
            ));
        }
        // VCEKs have serial number 0, which RFC 5280 forbids and AMD issues all the same.
        let serial = asn1::serial(&mut tbs).map_err(format)?;
        signed.same_algorithm(WHAT, &mut tbs)?;
        let issuer = Name::read(&mut tbs).map_err(format)?;
        let dates = Dates::read(&mut tbs)?;
        let subject = Name::read(&mut tbs).map_err(format)?;
        let spki = Element::expect(&mut tbs, Tag::Sequence).map_err(format)?;
        let explicit = Element::optional(&mut tbs, asn1::context(3)).map_err(format)?;
        tbs.finish().map_err(format)?;
        let extensions = explicit.map_or(Ok(Vec::new()), |explicit| {
            let mut reader = explicit.inside()?;
            let sequence = Element::read(&mut reader)?;
            reader.finish()?;
            asn1::extensions(sequence)
        });
        Ok(Self {
            signed,
            serial,
            issuer,
            subject,
            dates,
            spki,
            extensions: extensions.map_err(format)?,
        })
    }
}

/// When a certificate is valid, both ends included.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct Dates {
    pub(super) not_before: UnixTime,
    pub(super) not_after: UnixTime,
}

impl Dates {
    fn read(tbs: &mut SliceReader<'_>) -> Result<Self, Error> {
        let read = || -> der::Result<Self> {
            let mut reader = Element::expect(tbs, Tag::Sequence)?.inside()?;
            let dates = Self {
                not_before: asn1::time(&mut reader)?,
                not_after: asn1::time(&mut reader)?,
            };
            reader.finish()?;
            Ok(dates)
        };
        let dates = { read }().map_err(|error| Error::format(WHAT, error))?;
        if dates.not_after < dates.not_before {
            return Err(Error::format(WHAT, "it ends before it starts"));
        }
        Ok(dates)
    }

    /// Whether `now` lies within; `subject` is for the error.
    pub(super) fn hold_at(self, subject: &str, now: UnixTime) -> Result<(), Error> {
        let Self {
            not_before,
            not_after,
        } = self;
        if now < not_before {
            return Err(Error::NotYetValid {
                subject: excerpt(subject),
                now,
                not_before,
            });
        }
        if now > not_after {
            return Err(Error::Expired {
                subject: excerpt(subject),
                now,
                not_after,
            });
        }
        Ok(())
    }
}

/// The certificates of a text that holds nothing else: `count` blocks, blank between and around them.
pub(super) fn pem_certificates(
    what: &str,
    text: &[u8],
    count: usize,
) -> Result<Vec<Vec<u8>>, Error> {
    within(what, MAX_PEM_BYTES, text.len())?;
    let blocks = pem_blocks(text, LABEL, count)?;
    if blocks.len() != count {
        return Err(Error::format(
            what,
            format_args!("{} certificates where there are {count}", blocks.len()),
        ));
    }
    // Between the marks only Base64 and blanks passed; so anything left over stands outside of the blocks.
    let inside = blocks
        .iter()
        .map(|der| BASE64.encode_len(der.len()) + MARKS_BYTES);
    let outside = text
        .iter()
        .filter(|byte| !byte.is_ascii_whitespace())
        .count();
    if outside != inside.sum::<usize>() {
        return Err(Error::format(what, "text besides the certificates"));
    }
    Ok(blocks)
}

/// PEM in 64 columns.
pub(super) fn to_pem(der: &[u8], line_end: &str) -> String {
    let base64 = BASE64.encode(der);
    let mut pem = format!("-----BEGIN {LABEL}-----{line_end}");
    for line in base64.as_bytes().chunks(COLUMNS) {
        pem.extend(line.iter().copied().map(char::from));
        pem.push_str(line_end);
    }
    pem.push_str(&format!("-----END {LABEL}-----{line_end}"));
    pem
}

const WHAT: &str = "certificate";

const LABEL: &str = "CERTIFICATE";

/// RFC 7468, section 2.
const COLUMNS: usize = 64;

/// `-----BEGIN CERTIFICATE-----` and `-----END CERTIFICATE-----` without their blanks.
const MARKS_BYTES: usize = 26 + 24;

/// AMD's are 1,289 to 1,680 bytes.
const MAX_DER_BYTES: usize = 8 * 1024;

/// A chain is 4.6 KiB.
const MAX_PEM_BYTES: usize = 64 * 1024;

/// `INTEGER 2`.
const VERSION_3: &[u8] = &[0x02, 0x01, 0x02];

//! Certificate revocation lists of Intel's two PCK authorities and of its root.
//!
//! Strict DER, version 2, ecdsa-with-SHA256, complete and direct lists only: a list that speaks for other issuers, a
//! delta or a partial one is refused, for it could not be applied as a whole. Source: RFC 5280, section 5; Intel SGX
//! PCK Certificate and CRL profile. Intel's CRL numbers carry no order; `thisUpdate` does.

use der::asn1::ObjectIdentifier;
use der::{Reader, SliceReader, Tag};

use crate::asn1::{self, Element, Name, SignedDer};
use crate::error::excerpt;
use crate::ids::ROOT_CA_CN;
use crate::{ArtefactKey, Error, PckCa, UnixTime};

/// A parsed revocation list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Crl {
    /// The PCK authority that issues the list; none for the root.
    pub ca: Option<PckCa>,
    /// `thisUpdate`.
    pub this_update: UnixTime,
    /// `nextUpdate`.
    pub next_update: UnixTime,
    /// CRL number, unsigned big endian without leading zeros; it carries no order at Intel (root: 2, then 1).
    pub number: Option<Vec<u8>>,
    /// Sorted by serial number, each once.
    revoked: Vec<RevokedEntry>,
}

/// One revoked certificate.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct RevokedEntry {
    /// Serial number: unsigned, big endian, without leading zeros.
    pub serial: Vec<u8>,
    /// Revocation date; Intel writes the list's own issue date into every entry.
    pub date: UnixTime,
    /// Reason code of RFC 5280, section 5.3.1.
    pub reason: Option<u8>,
}

/// A list and the slices its verification needs.
pub(crate) struct ParsedCrl<'a> {
    pub(crate) crl: Crl,
    pub(crate) issuer: Name,
    pub(crate) tbs: &'a [u8],
    pub(crate) signature: &'a [u8],
}

impl Crl {
    /// Whether the list revokes the certificate with this serial number (unsigned, big endian, no leading zeros).
    pub fn revokes(&self, serial: &[u8]) -> bool {
        self.entry(serial).is_some()
    }

    /// The entry of a serial number, by binary search.
    pub fn entry(&self, serial: &[u8]) -> Option<&RevokedEntry> {
        let at = self
            .revoked
            .binary_search_by(|entry| entry.serial.as_slice().cmp(serial))
            .ok()?;
        self.revoked.get(at)
    }

    /// All entries, sorted by serial number.
    pub fn revoked(&self) -> &[RevokedEntry] {
        &self.revoked
    }

    /// How many certificates the list revokes.
    pub fn revoked_len(&self) -> usize {
        self.revoked.len()
    }

    /// The revoked serial numbers, sorted.
    pub fn serials(&self) -> impl Iterator<Item = &[u8]> {
        self.revoked.iter().map(|entry| entry.serial.as_slice())
    }

    /// The key this list answers for.
    pub fn key(&self) -> ArtefactKey {
        self.ca
            .map_or(ArtefactKey::RootCrl, |ca| ArtefactKey::PckCrl { ca })
    }
}

/// Parses a list of at most 4 MiB DER.
pub(crate) fn parse(der: &[u8]) -> Result<ParsedCrl<'_>, Error> {
    let format = |error: der::Error| Error::format(WHAT, error);
    let signed = SignedDer::split(WHAT, MAX_DER_BYTES, der)?;
    let mut tbs = signed.tbs.inside().map_err(format)?;

    let version = Element::optional(&mut tbs, Tag::Integer).map_err(format)?;
    if version.is_none_or(|version| version.value != VERSION_2) {
        return Err(Error::unsupported("a CRL that is not version 2"));
    }
    signed.same_algorithm(WHAT, &mut tbs)?;
    let issuer = Name::read(&mut tbs).map_err(format)?;
    let ca = authority(&issuer)?;
    let this_update = asn1::time(&mut tbs).map_err(format)?;
    if !matches!(
        Tag::peek(&tbs).map_err(format)?,
        Tag::UtcTime | Tag::GeneralizedTime
    ) {
        return Err(Error::format(WHAT, "no next update"));
    }
    let next_update = asn1::time(&mut tbs).map_err(format)?;
    let revoked = match Element::optional(&mut tbs, Tag::Sequence).map_err(format)? {
        None => Vec::new(),
        Some(list) => entries(list)?,
    };
    let extensions = Element::optional(&mut tbs, asn1::context(0)).map_err(format)?;
    tbs.finish().map_err(format)?;
    let number = extensions.map_or(Ok(None), list_extensions)?;

    Ok(ParsedCrl {
        crl: Crl {
            ca,
            this_update,
            next_update,
            number,
            revoked,
        },
        issuer,
        tbs: signed.tbs.raw,
        signature: signed.signature,
    })
}

/// The authority is told from the issuer's name, which verification compares with the signer's certificate.
fn authority(issuer: &Name) -> Result<Option<PckCa>, Error> {
    let found = issuer.common_name.as_str();
    if found == ROOT_CA_CN {
        return Ok(None);
    }
    PckCa::ALL
        .into_iter()
        .find(|ca| ca.common_name() == found)
        .map(Some)
        .ok_or_else(|| Error::WrongIssuer {
            expected: "an Intel SGX certificate authority".to_owned(),
            found: excerpt(found),
        })
}

fn entries(list: Element<'_>) -> Result<Vec<RevokedEntry>, Error> {
    let format = |error: der::Error| Error::format(WHAT, error);
    let mut reader = list.inside().map_err(format)?;
    // RFC 5280, section 5.1.2.6: without revoked certificates the list is absent.
    if reader.is_finished() {
        return Err(Error::format(
            WHAT,
            "a list of revoked certificates without any",
        ));
    }
    let mut revoked = Vec::new();
    let mut last = None;
    while !reader.is_finished() {
        if revoked.len() == MAX_ENTRIES {
            return Err(Error::too_many(
                "revoked certificates in a CRL",
                MAX_ENTRIES,
            ));
        }
        let entry = Element::expect(&mut reader, Tag::Sequence).map_err(format)?;
        revoked.push(revoked_entry(entry, &mut last)?);
    }
    // A serial that stands twice is revoked all the same; refusing the list would un-revoke all of it.
    revoked.sort_unstable();
    revoked.dedup_by(|later, first| later.serial == first.serial);
    Ok(revoked)
}

/// What an entry says behind its serial number, and the bytes that say it.
#[derive(Copy, Clone)]
struct Rest<'a> {
    der: &'a [u8],
    date: UnixTime,
    reason: Option<u8>,
}

/// All entries of Intel's lists have one date, and most one reason, so that what stands behind the serial number is
/// read again only where it is not the `last` entry's, byte by byte.
fn revoked_entry<'a>(
    entry: Element<'a>,
    last: &mut Option<Rest<'a>>,
) -> Result<RevokedEntry, Error> {
    let format = |error: der::Error| Error::format(WHAT, error);
    let mut fields = entry.inside().map_err(format)?;
    let serial = asn1::serial(&mut fields).map_err(format)?;
    let der = fields.read_slice(fields.remaining_len()).map_err(format)?;
    let rest = match *last {
        Some(same) if same.der == der => same,
        Some(_) | None => *last.insert(Rest::read(der)?),
    };
    Ok(RevokedEntry {
        serial,
        date: rest.date,
        reason: rest.reason,
    })
}

impl<'a> Rest<'a> {
    fn read(der: &'a [u8]) -> Result<Self, Error> {
        let format = |error: der::Error| Error::format(WHAT, error);
        let mut fields = SliceReader::new(der).map_err(format)?;
        let date = asn1::time(&mut fields).map_err(format)?;
        let extensions = Element::optional(&mut fields, Tag::Sequence).map_err(format)?;
        fields.finish().map_err(format)?;
        let mut reason = None;
        for extension in extensions
            .map_or(Ok(Vec::new()), asn1::extensions)
            .map_err(format)?
        {
            match extension.id {
                REASON_CODE => reason = Some(reason_code(extension.value)?),
                CERTIFICATE_ISSUER => return Err(Error::unsupported("an indirect CRL")),
                id if extension.critical => {
                    return Err(Error::unsupported(format_args!(
                        "critical CRL entry extension {id}"
                    )));
                }
                _ => {}
            }
        }
        Ok(Self { der, date, reason })
    }
}

/// `CRLReason ::= ENUMERATED`; 7 is unused and 8 (removeFromCRL) belongs in delta lists, which are refused.
fn reason_code(value: &[u8]) -> Result<u8, Error> {
    let read = || -> der::Result<Option<u8>> {
        let mut reader = SliceReader::new(value)?;
        let code = Element::expect(&mut reader, Tag::Enumerated)?;
        reader.finish()?;
        Ok(match *code.value {
            [code @ (0..=6 | 9 | 10)] => Some(code),
            _ => None,
        })
    };
    read()
        .map_err(|error| Error::format(WHAT, error))?
        .ok_or_else(|| Error::format(WHAT, "an unknown reason code"))
}

/// The CRL number, after every extension was looked at.
fn list_extensions(explicit: Element<'_>) -> Result<Option<Vec<u8>>, Error> {
    let format = |error: der::Error| Error::format(WHAT, error);
    let mut reader = explicit.inside().map_err(format)?;
    let sequence = Element::read(&mut reader).map_err(format)?;
    reader.finish().map_err(format)?;
    let mut number = None;
    for extension in asn1::extensions(sequence).map_err(format)? {
        match extension.id {
            CRL_NUMBER => {
                let value = asn1::unsigned(extension.value).map_err(format)?;
                if value.len() > MAX_NUMBER_BYTES {
                    return Err(Error::format(WHAT, "a CRL number of more than 20 octets"));
                }
                number = Some(value);
            }
            DELTA_CRL_INDICATOR => return Err(Error::unsupported("a delta CRL")),
            ISSUING_DISTRIBUTION_POINT => {
                return Err(Error::unsupported("an indirect or partial CRL"));
            }
            id if extension.critical => {
                return Err(Error::unsupported(format_args!(
                    "critical CRL extension {id}"
                )));
            }
            _ => {}
        }
    }
    Ok(number)
}

const WHAT: &str = "CRL";

/// Intel's longest has 7 KiB; 100,000 entries of Intel's form are 5 MB, so this bound comes first.
pub(crate) const MAX_DER_BYTES: usize = 4 * 1024 * 1024;

/// A bound on memory and on the time of sorting.
const MAX_ENTRIES: usize = 100_000;

/// RFC 5280, section 5.2.3.
const MAX_NUMBER_BYTES: usize = 20;

/// `INTEGER 1`, its value.
const VERSION_2: &[u8] = &[0x01];

/// RFC 5280, sections 5.2.3, 5.2.4, 5.2.5, 5.3.1, 5.3.3.
const CRL_NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.20");
const DELTA_CRL_INDICATOR: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.27");
const ISSUING_DISTRIBUTION_POINT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.28");
const REASON_CODE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.21");
const CERTIFICATE_ISSUER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.29");

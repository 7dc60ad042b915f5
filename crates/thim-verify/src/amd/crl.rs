//! A product's revocation list, signed by its root.
//!
//! It speaks of the ASK and ASVK: endorsement keys all have serial number 0 and are superseded, not revoked. Unlike
//! Intel's, AMD's lists are numbered upwards, so a number is demanded. Complete, direct lists of version 2 only.
//! The `vcek` and the `vlek` list of a product cannot be told apart by what is in them. Sources: RFC 5280, section 5;
//! spec/amd-kds-and-thim.md, 2.4.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use der::asn1::ObjectIdentifier;
use der::{Reader, SliceReader, Tag};

use super::authority::{Authority, AuthorityRole};
use super::product::Product;
use super::pss::PssSigned;
use crate::asn1::{self, Element, Name};
use crate::error::excerpt;
use crate::{Error, RevokedEntry, UnixTime};

/// A parsed list; cheap to clone, equal when the DER is. Parsing proves nothing about its signer.
#[derive(Clone)]
pub struct AmdCrl(Arc<Fields>);

struct Fields {
    der: Bytes,
    tbs: Bytes,
    signature: Bytes,
    issuer: Name,
    product: Product,
    number: u64,
    this_update: UnixTime,
    next_update: UnixTime,
    /// Sorted by serial number, each once.
    revoked: Vec<RevokedEntry>,
}

/// Parses a list of at most 1 MiB DER.
///
/// # Errors
/// [`Error::TooLarge`], [`Error::TooMany`], [`Error::Format`], [`Error::Unsupported`] about the form;
/// [`Error::WrongIssuer`] for an issuer that is no product's root.
pub fn parse_crl(der: &[u8]) -> Result<AmdCrl, Error> {
    let signed = PssSigned::split(WHAT, MAX_DER_BYTES, der)?;
    let mut tbs = signed.tbs.inside().map_err(format)?;
    let version = Element::optional(&mut tbs, Tag::Integer).map_err(format)?;
    if version.is_none_or(|version| version.value != VERSION_2) {
        return Err(Error::unsupported("a CRL that is not version 2"));
    }
    signed.same_algorithm(WHAT, &mut tbs)?;
    let issuer = Name::read(&mut tbs).map_err(format)?;
    let Some((AuthorityRole::Ark, product)) = AuthorityRole::of_name(&issuer.common_name) else {
        return Err(Error::WrongIssuer {
            expected: "an ARK of a known product".to_owned(),
            found: excerpt(&issuer.common_name),
        });
    };
    let this_update = asn1::time(&mut tbs).map_err(format)?;
    let dated = [Tag::UtcTime, Tag::GeneralizedTime];
    if tbs.is_finished() || !dated.contains(&Tag::peek(&tbs).map_err(format)?) {
        return Err(Error::format(WHAT, "no next update"));
    }
    let next_update = asn1::time(&mut tbs).map_err(format)?;
    if next_update < this_update {
        return Err(Error::format(WHAT, "it ends before it starts"));
    }
    let revoked = match Element::optional(&mut tbs, Tag::Sequence).map_err(format)? {
        None => Vec::new(),
        Some(list) => entries(list)?,
    };
    let extensions = Element::optional(&mut tbs, asn1::context(0)).map_err(format)?;
    tbs.finish().map_err(format)?;
    let number = extensions.map_or(Ok(None), list_extensions)?;
    let number = number.ok_or_else(|| Error::format(WHAT, "no CRL number"))?;
    Ok(AmdCrl(Arc::new(Fields {
        der: Bytes::copy_from_slice(der),
        tbs: Bytes::copy_from_slice(signed.tbs.raw),
        signature: Bytes::copy_from_slice(signed.signature),
        issuer,
        product,
        number,
        this_update,
        next_update,
        revoked,
    })))
}

impl AmdCrl {
    /// The product whose root it names.
    pub fn product(&self) -> Product {
        self.0.product
    }

    /// The list as received, DER.
    pub fn der(&self) -> &Bytes {
        &self.0.der
    }

    /// What was signed, DER: equal bodies under different signatures are the same list.
    pub fn signed(&self) -> &Bytes {
        &self.0.tbs
    }

    /// CRL number; it never falls.
    pub fn number(&self) -> u64 {
        self.0.number
    }

    /// `thisUpdate`.
    pub fn this_update(&self) -> UnixTime {
        self.0.this_update
    }

    /// `nextUpdate`.
    pub fn next_update(&self) -> UnixTime {
        self.0.next_update
    }

    /// Whether `now` lies between `thisUpdate` and `nextUpdate`, both included.
    pub fn in_window(&self, now: UnixTime) -> bool {
        self.0.this_update <= now && now <= self.0.next_update
    }

    /// All entries, sorted by serial number.
    pub fn revoked(&self) -> &[RevokedEntry] {
        &self.0.revoked
    }

    /// Whether it names the certificate with this serial number (unsigned, big endian, no leading zeros).
    pub fn revokes(&self, serial: &[u8]) -> bool {
        let by_serial = |entry: &RevokedEntry| entry.serial.as_slice().cmp(serial);
        self.0.revoked.binary_search_by(by_serial).is_ok()
    }

    /// Whether `ark` signed it.
    pub(super) fn signed_by(&self, ark: &Authority) -> Result<(), Error> {
        let named = ark.role() == AuthorityRole::Ark && ark.product() == self.product();
        if !named || !ark.may_sign_crls() {
            return Err(Error::WrongIssuer {
                expected: format!(
                    "{} that may sign lists",
                    AuthorityRole::Ark.common_name(self.product())
                ),
                found: excerpt(ark.subject_cn()),
            });
        }
        ark.verify_signature(WHAT, &self.0.issuer, &self.0.tbs, &self.0.signature)
    }
}

impl PartialEq for AmdCrl {
    fn eq(&self, other: &Self) -> bool {
        self.0.der == other.0.der
    }
}

impl Eq for AmdCrl {}

impl fmt::Debug for AmdCrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AmdCrl")
            .field("product", &self.product())
            .field("number", &self.number())
            .field("this_update", &self.this_update())
            .field("next_update", &self.next_update())
            .field("revoked", &self.revoked().len())
            .finish()
    }
}

fn entries(list: Element<'_>) -> Result<Vec<RevokedEntry>, Error> {
    let mut reader = list.inside().map_err(format)?;
    // RFC 5280, section 5.1.2.6: without revoked certificates the list is absent.
    if reader.is_finished() {
        return Err(Error::format(
            WHAT,
            "a list of revoked certificates without any",
        ));
    }
    let mut revoked = Vec::new();
    while !reader.is_finished() {
        if revoked.len() == MAX_ENTRIES {
            return Err(Error::too_many("revoked certificates", MAX_ENTRIES));
        }
        let entry = Element::expect(&mut reader, Tag::Sequence).map_err(format)?;
        revoked.push(revoked_entry(entry)?);
    }
    // A serial that stands twice is revoked all the same; refusing the list would un-revoke all of it.
    revoked.sort_unstable();
    revoked.dedup_by(|later, first| later.serial == first.serial);
    Ok(revoked)
}

fn revoked_entry(entry: Element<'_>) -> Result<RevokedEntry, Error> {
    let mut fields = entry.inside().map_err(format)?;
    let serial = asn1::serial(&mut fields).map_err(format)?;
    let date = asn1::time(&mut fields).map_err(format)?;
    let extensions = Element::optional(&mut fields, Tag::Sequence).map_err(format)?;
    fields.finish().map_err(format)?;
    let mut reason = None;
    for extension in extensions
        .map_or(Ok(Vec::new()), asn1::extensions)
        .map_err(format)?
    {
        match extension.id {
            REASON_CODE => {
                let mut reader = SliceReader::new(extension.value).map_err(format)?;
                let code = Element::expect(&mut reader, Tag::Enumerated).map_err(format)?;
                reader.finish().map_err(format)?;
                // 7 is unused and 8 (removeFromCRL) belongs in delta lists; RFC 5280, section 5.3.1.
                let [known @ (0..=6 | 9 | 10)] = *code.value else {
                    return Err(Error::format(WHAT, "an unknown reason code"));
                };
                reason = Some(known);
            }
            id if extension.critical => {
                return Err(Error::unsupported(format_args!(
                    "critical CRL entry extension {id}"
                )));
            }
            _ => {}
        }
    }
    Ok(RevokedEntry {
        serial,
        date,
        reason,
    })
}

/// The CRL number, after every extension was looked at.
fn list_extensions(explicit: Element<'_>) -> Result<Option<u64>, Error> {
    let mut reader = explicit.inside().map_err(format)?;
    let sequence = Element::read(&mut reader).map_err(format)?;
    reader.finish().map_err(format)?;
    let mut number = None;
    for extension in asn1::extensions(sequence).map_err(format)? {
        match extension.id {
            CRL_NUMBER => number = Some(crl_number(extension.value)?),
            // Refused even when not critical: such a list could not be applied as a whole.
            DELTA_CRL_INDICATOR | ISSUING_DISTRIBUTION_POINT => {
                return Err(Error::unsupported("a delta, indirect or partial CRL"));
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

/// RFC 5280 allows 20 octets; AMD counts from 1, about 17 a year.
fn crl_number(value: &[u8]) -> Result<u64, Error> {
    let octets = asn1::unsigned(value).map_err(format)?;
    if octets.len() > 8 {
        return Err(Error::unsupported("a CRL number beyond 64 bits"));
    }
    Ok(octets
        .iter()
        .fold(0, |number, octet| (number << 8) | u64::from(*octet)))
}

fn format(error: der::Error) -> Error {
    Error::format(WHAT, error)
}

const WHAT: &str = "AMD CRL";

/// AMD's have 900 bytes.
const MAX_DER_BYTES: usize = 1024 * 1024;

/// At most one was ever listed; three authorities and their successors are all there is to list.
const MAX_ENTRIES: usize = 10_000;

/// `INTEGER 1`, its value.
const VERSION_2: &[u8] = &[0x01];

/// RFC 5280, sections 5.2.3, 5.2.4, 5.2.5, 5.3.1.
const CRL_NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.20");
const DELTA_CRL_INDICATOR: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.27");
const ISSUING_DISTRIBUTION_POINT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.28");
const REASON_CODE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.21");

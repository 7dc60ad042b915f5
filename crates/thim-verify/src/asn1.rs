//! The DER underneath certificates and revocation lists: a strict walk that keeps every slice as it was received.
//!
//! Signatures, key pins and names are judged over received bytes, so nothing here decodes a structure only to
//! encode it again. Primitive types, lengths and tags are the `der` crate's; the structures are those of RFC 5280.

use der::asn1::{BitStringRef, ObjectIdentifier, UintRef};
use der::{Decode, Encode, Header, Reader, SliceReader, Tag, TagNumber};
use x509_cert::time::Time;

use crate::error::within;
use crate::{Error, UnixTime};

/// One element: its whole encoding and what is inside.
#[derive(Copy, Clone)]
pub(crate) struct Element<'a> {
    pub(crate) tag: Tag,
    /// Tag, length and value.
    pub(crate) raw: &'a [u8],
    /// The value alone.
    pub(crate) value: &'a [u8],
}

impl<'a> Element<'a> {
    /// Reads the next element whatever it is.
    pub(crate) fn read(reader: &mut SliceReader<'a>) -> der::Result<Self> {
        // Decoded once: reading a whole element and then taking it apart decodes each header twice.
        let header = Header::peek(reader)?;
        let header_bytes = header.encoded_len()?;
        let raw = reader.read_slice((header_bytes + header.length())?)?;
        let value = usize::try_from(header_bytes)
            .ok()
            .and_then(|start| raw.get(start..))
            .unwrap_or_default();
        Ok(Self {
            tag: header.tag(),
            raw,
            value,
        })
    }

    /// Reads the next element, which must carry `tag`.
    pub(crate) fn expect(reader: &mut SliceReader<'a>, tag: Tag) -> der::Result<Self> {
        let element = Self::read(reader)?;
        element.tag.assert_eq(tag)?;
        Ok(element)
    }

    /// Reads the next element only when it carries `tag`.
    pub(crate) fn optional(reader: &mut SliceReader<'a>, tag: Tag) -> der::Result<Option<Self>> {
        if reader.is_finished() || Tag::peek(reader)? != tag {
            return Ok(None);
        }
        Self::read(reader).map(Some)
    }

    /// A reader over what is inside.
    pub(crate) fn inside(&self) -> der::Result<SliceReader<'a>> {
        SliceReader::new(self.value)
    }
}

/// The `SEQUENCE { tbs, signatureAlgorithm, signatureValue }` that certificates and revocation lists share.
pub(crate) struct SignedDer<'a> {
    /// The whole tbs element: what the signature covers.
    pub(crate) tbs: Element<'a>,
    /// The DER of the ECDSA signature.
    pub(crate) signature: &'a [u8],
    /// The DER of the outer algorithm identifier, to be compared with the inner one.
    algorithm: &'a [u8],
}

impl<'a> SignedDer<'a> {
    /// Splits `der`, which must be one element of at most `limit` bytes, signed with ecdsa-with-SHA256.
    pub(crate) fn split(what: &str, limit: usize, der: &'a [u8]) -> Result<Self, Error> {
        within(what, limit, der.len())?;
        let read = || -> der::Result<Self> {
            let mut reader = SliceReader::new(der)?;
            let mut parts = Element::expect(&mut reader, Tag::Sequence)?.inside()?;
            reader.finish()?;
            let tbs = Element::expect(&mut parts, Tag::Sequence)?;
            let algorithm = Element::expect(&mut parts, Tag::Sequence)?.raw;
            let bits = BitStringRef::decode(&mut parts)?;
            let signature = bits
                .as_bytes()
                .ok_or_else(|| Tag::BitString.value_error())?;
            parts.finish()?;
            Ok(Self {
                tbs,
                signature,
                algorithm,
            })
        };
        read().map_err(|error| Error::format(what, error))
    }

    /// Reads the algorithm inside the tbs: the same bytes as outside, and ecdsa-with-SHA256.
    pub(crate) fn same_algorithm(
        &self,
        what: &str,
        reader: &mut SliceReader<'a>,
    ) -> Result<(), Error> {
        let inner =
            Element::expect(reader, Tag::Sequence).map_err(|error| Error::format(what, error))?;
        if inner.raw != self.algorithm {
            return Err(Error::format(
                what,
                "the signature algorithms inside and outside differ",
            ));
        }
        if inner.value != ECDSA_WITH_SHA256 {
            return Err(Error::unsupported(format_args!(
                "a {what} with a signature algorithm other than ecdsa-with-SHA256"
            )));
        }
        Ok(())
    }
}

/// One X.509 extension.
pub(crate) struct Extension<'a> {
    pub(crate) id: ObjectIdentifier,
    pub(crate) critical: bool,
    /// The DER inside the octet string.
    pub(crate) value: &'a [u8],
}

/// Reads `Extensions ::= SEQUENCE SIZE (1..MAX) OF Extension`; each at most once (RFC 5280, section 4.2).
pub(crate) fn extensions(sequence: Element<'_>) -> der::Result<Vec<Extension<'_>>> {
    sequence.tag.assert_eq(Tag::Sequence)?;
    let mut reader = sequence.inside()?;
    let mut found: Vec<Extension<'_>> = Vec::new();
    while !reader.is_finished() {
        let mut fields = Element::expect(&mut reader, Tag::Sequence)?.inside()?;
        let id = ObjectIdentifier::decode(&mut fields)?;
        let critical = match Element::optional(&mut fields, Tag::Boolean)? {
            None => false,
            // DEFAULT FALSE is never encoded in DER, so what is there must be TRUE.
            Some(flag) if flag.value == [0xff] => true,
            Some(_) => return Err(Tag::Boolean.value_error().into()),
        };
        let value = Element::expect(&mut fields, Tag::OctetString)?.value;
        fields.finish()?;
        if found.len() == MAX_EXTENSIONS || found.iter().any(|earlier| earlier.id == id) {
            return Err(Tag::Sequence.value_error().into());
        }
        found.push(Extension {
            id,
            critical,
            value,
        });
    }
    if found.is_empty() {
        return Err(Tag::Sequence.length_error().into());
    }
    Ok(found)
}

/// A distinguished name: its bytes, and a form in which two encodings of the same text are equal.
#[derive(Clone)]
pub(crate) struct Name {
    /// The DER as received.
    pub(crate) der: Vec<u8>,
    /// The common name; empty when there is none.
    pub(crate) common_name: String,
    /// Per attribute: set mark, OID and text. `PrintableString` and `UTF8String` of the same text are equal
    /// (RFC 5280, section 7.1, without its case folding: Intel's names never differ in case).
    comparable: Vec<u8>,
}

impl Name {
    /// Reads an `RDNSequence`.
    pub(crate) fn read(reader: &mut SliceReader<'_>) -> der::Result<Self> {
        let sequence = Element::expect(reader, Tag::Sequence)?;
        let mut name = Self {
            der: sequence.raw.to_vec(),
            common_name: String::new(),
            comparable: Vec::with_capacity(sequence.raw.len()),
        };
        let mut sets = sequence.inside()?;
        while !sets.is_finished() {
            let mut attributes = Element::expect(&mut sets, Tag::Set)?.inside()?;
            name.comparable.push(b'{');
            while !attributes.is_finished() {
                let mut fields = Element::expect(&mut attributes, Tag::Sequence)?.inside()?;
                let kind = Element::expect(&mut fields, Tag::ObjectIdentifier)?;
                let value = Element::read(&mut fields)?;
                fields.finish()?;
                let (form, text) = match value.tag {
                    Tag::PrintableString | Tag::Utf8String | Tag::Ia5String => {
                        std::str::from_utf8(value.value).map_err(|_| value.tag.value_error())?;
                        (b't', value.value)
                    }
                    // Anything else equals only the very same encoding.
                    _ => (b'd', value.raw),
                };
                name.comparable.extend_from_slice(kind.raw);
                name.comparable.push(form);
                name.comparable.extend_from_slice(&text.len().to_be_bytes());
                name.comparable.extend_from_slice(text);
                if kind.value == COMMON_NAME && name.common_name.is_empty() {
                    name.common_name = String::from_utf8_lossy(text).into_owned();
                }
            }
        }
        Ok(name)
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.comparable == other.comparable
    }
}

impl Eq for Name {}

/// Reads `Time ::= CHOICE { UTCTime, GeneralizedTime }`.
pub(crate) fn time(reader: &mut SliceReader<'_>) -> der::Result<UnixTime> {
    let since_1970 = Time::decode(reader)?.to_unix_duration().as_secs();
    i64::try_from(since_1970)
        .map(UnixTime::from_secs)
        .map_err(|_| Tag::GeneralizedTime.value_error().into())
}

/// Reads a serial number: positive, minimal (leading zero octets stripped), at most [`MAX_SERIAL_BYTES`].
///
/// Intel's lists hold serials of 20 octets whose first has the high bit, hence INTEGERs of 21 octets; both are
/// allowed (RFC 5280, section 4.1.2.2, counts the number's octets, not the encoding's).
pub(crate) fn serial(reader: &mut SliceReader<'_>) -> der::Result<Vec<u8>> {
    let bytes = UintRef::decode(reader)?.as_bytes();
    if bytes.len() > MAX_SERIAL_BYTES {
        return Err(Tag::Integer.length_error().into());
    }
    Ok(bytes.to_vec())
}

/// Reads `INTEGER` as minimal unsigned bytes; for CRL numbers.
pub(crate) fn unsigned(der: &[u8]) -> der::Result<Vec<u8>> {
    Ok(UintRef::from_der(der)?.as_bytes().to_vec())
}

/// The tag `[number]`, constructed.
pub(crate) const fn context(number: u32) -> Tag {
    Tag::ContextSpecific {
        constructed: true,
        number: TagNumber(number),
    }
}

/// OID 1.2.840.10045.4.3.2 without parameters, RFC 5758 section 3.2.
const ECDSA_WITH_SHA256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];

/// OID 2.5.4.3, content octets.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// Intel's certificates have 5 or 6, its lists 2; a bound keeps the search for doubles cheap.
const MAX_EXTENSIONS: usize = 32;

/// RFC 5280, section 4.1.2.2.
const MAX_SERIAL_BYTES: usize = 20;

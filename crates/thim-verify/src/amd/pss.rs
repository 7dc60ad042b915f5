//! What AMD's hierarchy signs with: RSASSA-PSS, SHA-384, salt of 48 octets, and RSA keys.
//!
//! Two encodings of the parameters are in the field: all authorities' certificates and the VCEKs of some years write
//! `trailerField [3] 1`, a DEFAULT value that strict DER omits; later VCEKs and all revocation lists omit it. Both are
//! taken, and nothing else: other hashes, salts or absent parameters are refused. Verification is over the received
//! bytes, so neither form is ever encoded anew. Sources: RFC 4055, section 3.1; spec/amd-kds-and-thim.md, 2.1.

use aws_lc_rs::signature::{ParsedPublicKey, RSA_PSS_2048_8192_SHA384};
use der::asn1::{BitStringRef, UintRef};
use der::{Decode, Reader, SliceReader, Tag};

use crate::Error;
use crate::asn1::Element;
use crate::error::within;

/// The `SEQUENCE { tbs, signatureAlgorithm, signatureValue }` of certificates and revocation lists.
pub(super) struct PssSigned<'a> {
    /// The whole tbs element: what the signature covers.
    pub(super) tbs: Element<'a>,
    /// The signature's octets.
    pub(super) signature: &'a [u8],
    /// The outer algorithm identifier, to be compared with the inner one.
    algorithm: &'a [u8],
}

/// Whether `der` is signed, by its own word, with RSASSA-PSS: AMD's, of all that this crate reads. Linear, and no error:
/// what is not even signed is told of by whoever reads it.
pub(crate) fn is_pss_signed(der: &[u8]) -> bool {
    PssSigned::split("signed object", MAX_SPLIT_BYTES, der).is_ok_and(|signed| {
        signed
            .algorithm
            .windows(RSASSA_PSS.len())
            .any(|at| at == RSASSA_PSS)
    })
}

impl<'a> PssSigned<'a> {
    /// Splits `der`, which must be one element of at most `limit` bytes.
    pub(super) fn split(what: &str, limit: usize, der: &'a [u8]) -> Result<Self, Error> {
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

    /// Reads the algorithm inside the tbs: the same bytes as outside, and one of the two forms.
    pub(super) fn same_algorithm(
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
        if ![PSS_SHA384, PSS_SHA384_EXPLICIT_TRAILER].contains(&inner.raw) {
            return Err(Error::unsupported(format_args!(
                "a {what} with a signature algorithm other than RSASSA-PSS with SHA-384 and a salt of 48"
            )));
        }
        Ok(())
    }
}

/// An RSA public key, ready to verify.
pub(super) struct RsaKey(ParsedPublicKey);

impl RsaKey {
    /// Reads a `SubjectPublicKeyInfo` of rsaEncryption, 2048 to 8192 bits, exponent 65537.
    pub(super) fn read(what: &str, spki: Element<'_>) -> Result<Self, Error> {
        let format = |error: der::Error| Error::format(what, error);
        let mut reader = spki.inside().map_err(format)?;
        let algorithm = Element::expect(&mut reader, Tag::Sequence).map_err(format)?;
        let bits = BitStringRef::decode(&mut reader).map_err(format)?;
        reader.finish().map_err(format)?;
        if algorithm.value != RSA_ENCRYPTION {
            return Err(Error::unsupported("an authority's key other than RSA"));
        }
        let key = bits
            .as_bytes()
            .ok_or_else(|| Error::format(what, "the public key has unused bits"))?;
        let mut outer = SliceReader::new(key).map_err(format)?;
        let mut numbers = Element::expect(&mut outer, Tag::Sequence)
            .and_then(|sequence| sequence.inside())
            .map_err(format)?;
        outer.finish().map_err(format)?;
        let modulus = UintRef::decode(&mut numbers).map_err(format)?;
        let exponent = UintRef::decode(&mut numbers).map_err(format)?;
        numbers.finish().map_err(format)?;
        if !MODULUS_BYTES.contains(&modulus.as_bytes().len()) || exponent.as_bytes() != EXPONENT {
            return Err(Error::unsupported(
                "an RSA key that is not of 2048 to 8192 bits with exponent 65537",
            ));
        }
        ParsedPublicKey::new(&RSA_PSS_2048_8192_SHA384, key)
            .map(Self)
            .map_err(|_| Error::format(what, "the public key is not an RSA key"))
    }

    /// Whether `signature` is this key's over `message`.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.0.verify_sig(message, signature).is_ok()
    }
}

/// Genuine keys have 4096 bits. Which key may sign is decided by the pinned root; this is what the library takes.
const MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// 65537, the exponent of every genuine key.
const EXPONENT: &[u8] = &[0x01, 0x00, 0x01];

/// OID rsaEncryption 1.2.840.113549.1.1.1, NULL; RFC 3279, section 2.3.1.
const RSA_ENCRYPTION: &[u8] = &[
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
];

/// More than any list that is read.
const MAX_SPLIT_BYTES: usize = 1024 * 1024;

/// OID id-RSASSA-PSS 1.2.840.113549.1.1.10, DER.
const RSASSA_PSS: &[u8] = &[
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a,
];

/// `AlgorithmIdentifier`: OID id-RSASSA-PSS 1.2.840.113549.1.1.10; `[0]` SHA-384, NULL; `[1]` MGF1 with SHA-384, NULL;
/// `[2]` 48. RFC 4055, section 3.1.
const PSS_SHA384: &[u8] = &[
    0x30, 0x41, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a, 0x30, 0x34, 0xa0,
    0x0f, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00,
    0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08, 0x30,
    0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0xa2, 0x03,
    0x02, 0x01, 0x30,
];

/// The same with `[3]` 1 written out.
const PSS_SHA384_EXPLICIT_TRAILER: &[u8] = &[
    0x30, 0x46, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a, 0x30, 0x39, 0xa0,
    0x0f, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00,
    0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08, 0x30,
    0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0xa2, 0x03,
    0x02, 0x01, 0x30, 0xa3, 0x03, 0x02, 0x01, 0x01,
];

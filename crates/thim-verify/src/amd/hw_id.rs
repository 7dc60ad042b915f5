//! Chip ids: what the key server calls `hwid`, a certificate `hwID` and a report `CHIP_ID`.
//!
//! Eight bytes or sixty-four, by product. Text is hex in either case, written in lower case. A report and some clients
//! carry an eight-byte id in sixty-four bytes, of which the rest are zero; that form is shortened on the way in, so
//! that one chip has one id. An id tells one machine from all others: it is in no error and no debug text, and it has
//! no `Display`. Source: spec/amd-kds-and-thim.md, 1.2.

use std::fmt;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};

use super::products::ProductFacts;
use crate::Error;

/// The id of one chip.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HwId(Octets);

#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Octets {
    Eight([u8; SHORT_BYTES]),
    SixtyFour([u8; LONG_BYTES]),
}

impl HwId {
    /// From hex digits, as many as the product's ids have; or 128 where the product's have 16 and the rest is zero.
    ///
    /// # Errors
    /// [`Error::Format`]; it does not repeat the text.
    pub fn from_hex(facts: &ProductFacts, text: &str) -> Result<Self, Error> {
        // Longer text is not looked into.
        let bytes = (text.len() <= 2 * LONG_BYTES)
            .then(|| HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok())
            .flatten();
        bytes
            .and_then(|bytes| Self::fitting(facts, &bytes))
            .ok_or_else(|| {
                Error::format(
                    WHAT,
                    format_args!(
                        "{} has ids of {} hex digits",
                        facts.product(),
                        2 * facts.hw_id_bytes()
                    ),
                )
            })
    }

    /// From bytes: a certificate's or, with the rule for zeros, a report's.
    ///
    /// # Errors
    /// [`Error::Format`]; it does not repeat the bytes.
    pub fn from_bytes(facts: &ProductFacts, bytes: &[u8]) -> Result<Self, Error> {
        Self::fitting(facts, bytes).ok_or_else(|| {
            Error::format(
                WHAT,
                format_args!(
                    "{} has ids of {} bytes",
                    facts.product(),
                    facts.hw_id_bytes()
                ),
            )
        })
    }

    /// The bytes, 8 or 64.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Octets::Eight(bytes) => bytes,
            Octets::SixtyFour(bytes) => bytes,
        }
    }

    /// Whether every byte is zero: a host that masks its chip id, or a VLEK platform. Nothing was issued for it.
    pub fn is_zero(&self) -> bool {
        self.as_bytes().iter().all(|byte| *byte == 0)
    }

    /// 16 or 128 hex digits in lower case, for paths. Not for logs.
    pub fn to_hex_lower(&self) -> String {
        HEXLOWER.encode(self.as_bytes())
    }

    /// From bytes of a length that some product has, 8 or 64: an id that was written down as it is.
    pub fn of_length(bytes: &[u8]) -> Option<Self> {
        if let Ok(bytes) = bytes.try_into() {
            return Some(Self(Octets::Eight(bytes)));
        }
        bytes.try_into().ok().map(Octets::SixtyFour).map(Self)
    }

    fn fitting(facts: &ProductFacts, bytes: &[u8]) -> Option<Self> {
        let wanted = facts.hw_id_bytes();
        if bytes.len() == wanted {
            return Self::of_length(bytes);
        }
        let (id, rest) = bytes.split_at_checked(wanted)?;
        let padded = bytes.len() == LONG_BYTES && rest.iter().all(|byte| *byte == 0);
        padded.then(|| Self::of_length(id)).flatten()
    }
}

impl fmt::Debug for HwId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HwId(..)")
    }
}

const WHAT: &str = "chip id";

pub(super) const SHORT_BYTES: usize = 8;

pub(super) const LONG_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amd::{Product, Products};

    #[test]
    fn lengths_and_cases_by_product() {
        let products = Products::builtin();
        let (milan, turin) = (
            products.facts(Product::Milan),
            products.facts(Product::Turin),
        );
        let (long, short) = ("aB".repeat(64), "aB".repeat(8));
        let id = HwId::from_hex(milan, &long).expect("128 digits");
        assert_eq!(id.to_hex_lower(), long.to_lowercase());
        assert_eq!(HwId::from_hex(milan, &long.to_uppercase()), Ok(id));
        let id = HwId::from_hex(turin, &short).expect("16 digits");
        assert_eq!(id.as_bytes(), [0xab; 8]);

        let padded = short.clone() + &"0".repeat(112);
        assert_eq!(HwId::from_hex(turin, &padded), Ok(id));
        let mut nearly = padded.clone();
        nearly.replace_range(127.., "1");
        let short_pad = padded.get(..126).expect("ASCII");
        for text in [
            "",
            &nearly,
            short_pad,
            &long,
            &short[1..],
            &short[2..],
            &format!("{short}0"),
            &format!("{short}00"),
            "gBaBaBaBaBaBaBaB",
            "0xaBaBaBaBaBaBaB",
            &format!("{padded}00"),
        ] {
            let refused = HwId::from_hex(turin, text).expect_err(text);
            assert!(text.is_empty() || !refused.to_string().contains(text));
        }
        for text in [&short, &long[1..], &long[2..], &format!("{long}00")] {
            assert!(HwId::from_hex(milan, text).is_err(), "{text}");
        }
        // Zeros after eight bytes mean nothing where ids have sixty-four.
        assert_eq!(
            HwId::from_hex(milan, &padded)
                .expect("an id")
                .as_bytes()
                .len(),
            64
        );
    }

    #[test]
    fn zero_is_told_and_no_id_is_printed() {
        let products = Products::builtin();
        for product in Product::ALL {
            let facts = products.facts(product);
            let zero = HwId::from_hex(facts, &"00".repeat(64)).expect("zero");
            assert!(zero.is_zero() && zero.as_bytes().len() == facts.hw_id_bytes());
            let mut bytes = vec![0; facts.hw_id_bytes()];
            *bytes.last_mut().expect("a byte") = 0x5a;
            let one = HwId::from_bytes(facts, &bytes).expect("an id");
            assert!(!one.is_zero());
            assert_eq!(format!("{one:?}"), "HwId(..)");
            bytes.push(0);
            assert!(HwId::from_bytes(facts, &bytes).is_err());
        }
    }
}

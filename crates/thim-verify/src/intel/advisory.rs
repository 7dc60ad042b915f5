//! Names of Intel's security advisories, kept without an allocation each: one document can hold hundreds.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};

use crate::Error;

/// The name of a security advisory: `INTEL-SA-nnnnn` or `INTEL-DOC-nnnnn`; any printable ASCII text of 1 to 31
/// bytes, for Intel does not say what else may come. Behaves as the text.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AdvisoryId {
    /// The text, then zeros, so that the order is the text's.
    bytes: [u8; MAX_BYTES],
    len: u8,
}

impl AdvisoryId {
    /// The text.
    pub fn as_str(&self) -> &str {
        self.bytes
            .get(..usize::from(self.len))
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
            .unwrap_or_default()
    }

    fn read(text: &str) -> Option<Self> {
        let mut bytes = [0; MAX_BYTES];
        let fits = !text.is_empty()
            && text.len() <= MAX_BYTES
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !fits {
            return None;
        }
        for (to, from) in bytes.iter_mut().zip(text.bytes()) {
            *to = from;
        }
        Some(Self {
            bytes,
            len: u8::try_from(text.len()).ok()?,
        })
    }
}

impl FromStr for AdvisoryId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::read(text).ok_or_else(|| Error::format("advisory", NOT_ONE))
    }
}

impl Deref for AdvisoryId {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for AdvisoryId {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq<str> for AdvisoryId {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for AdvisoryId {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl fmt::Display for AdvisoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for AdvisoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl<'de> Deserialize<'de> for AdvisoryId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = AdvisoryId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(NOT_ONE)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<AdvisoryId, E> {
                AdvisoryId::read(text).ok_or_else(|| E::custom(NOT_ONE))
            }
        }

        deserializer.deserialize_str(Text)
    }
}

impl serde::Serialize for AdvisoryId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

const NOT_ONE: &str = "an advisory's name is 1 to 31 printable ASCII characters";

/// Twice the longest of Intel's, `INTEL-DOC-nnnnn`; with the length it makes 32.
const MAX_BYTES: usize = 31;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_its_text() {
        let id: AdvisoryId = "INTEL-SA-00001".parse().expect("an advisory");
        assert_eq!(id, "INTEL-SA-00001");
        assert_eq!(format!("{id} {id:?}"), "INTEL-SA-00001 \"INTEL-SA-00001\"");
        assert!(
            id < "INTEL-SA-00002".parse().expect("an advisory")
                && id > "INTEL-SA-0000".parse().expect("shorter")
        );
        assert_eq!(size_of::<AdvisoryId>(), 32);
        assert!("x".repeat(31).parse::<AdvisoryId>().is_ok());
    }

    #[test]
    fn near_misses() {
        for text in [
            String::new(),
            "x".repeat(32),
            "INTEL SA".to_owned(),
            "a\0".to_owned(),
            "é".to_owned(),
        ] {
            assert!(text.parse::<AdvisoryId>().is_err(), "{text:?}");
        }
    }
}

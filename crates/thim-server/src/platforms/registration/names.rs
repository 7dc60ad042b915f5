//! What a host says of itself, as types: the QE id under which it asks, its encrypted PPID, its platform manifest.
//! The last two are secrets: neither is ever printed, and what refuses one does not quote it.
//!
//! Sources: `spec/intel-pcs-and-pccs.md` sections 2, 3.1 and 4 (sizes); Intel PCS API v4, "Get PCK Certificate".

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE, HEXUPPER};

use super::Invalid;

/// The name under which a platform asks: 32 hex digits of its quoting enclave, or any text (without enclaves it is
/// one of the owner's choice). Read in any case and kept in upper case, by the full Unicode mapping as JavaScript's
/// `toUpperCase` does it for PCCS: names that PCCS takes for one are one here.
///
/// One thing is narrower than PCCS: no control characters, since a name is printed in lists and logs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QeId(String);

impl QeId {
    /// Upper case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is all zeros, as machines without a quoting enclave of their own say: no name of anyone.
    pub fn is_zero(&self) -> bool {
        self.0.bytes().all(|byte| byte == b'0')
    }
}

impl FromStr for QeId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = |why: String| Err(Invalid::new("qe_id", why));
        if text.chars().any(char::is_control) {
            return invalid("it contains control characters".to_owned());
        }
        // Counted in upper case, so that what was accepted once is accepted again: some letters become two or three.
        let upper = text.to_uppercase();
        match upper.chars().take(MAX_QE_ID_CHARS + 1).count() {
            1..=MAX_QE_ID_CHARS => Ok(Self(upper)),
            0 => invalid("it is empty".to_owned()),
            _ => invalid(format!("longer than {MAX_QE_ID_CHARS} characters")),
        }
    }
}

impl fmt::Display for QeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The platform's provisioning id, encrypted to Intel (RSA-3072). A secret: with it anyone asks for the
/// platform's certificates.
#[derive(Clone, PartialEq, Eq)]
pub struct EncryptedPpid(Box<[u8; ENCRYPTED_PPID_BYTES]>);

impl EncryptedPpid {
    /// From exactly 768 hex digits in either case.
    pub fn from_hex(text: &str) -> Result<Self, Invalid> {
        let wanted = || {
            Invalid::new(
                "enc_ppid",
                format_args!(
                    "wanted {} hex digits, found {} characters",
                    2 * ENCRYPTED_PPID_BYTES,
                    text.chars().count()
                ),
            )
        };
        let mut bytes = Box::new([0; ENCRYPTED_PPID_BYTES]);
        // The decoder panics on a wrong length of its output.
        if text.len() != 2 * ENCRYPTED_PPID_BYTES {
            return Err(wanted());
        }
        HEXLOWER_PERMISSIVE
            .decode_mut(text.as_bytes(), bytes.as_mut_slice())
            .map_err(|_| Invalid::new("enc_ppid", "it is not all hex digits"))?;
        Ok(Self(bytes))
    }

    /// From exactly 384 bytes, as they are kept.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Invalid> {
        let bytes = bytes.try_into().map_err(|_| {
            Invalid::new(
                "enc_ppid",
                format_args!("wanted {ENCRYPTED_PPID_BYTES} bytes, found {}", bytes.len()),
            )
        })?;
        Ok(Self(Box::new(bytes)))
    }

    /// Its bytes, to be sealed or hashed.
    pub fn bytes(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// Whether it is all zeros, as a guest or a machine with SGX off says. Intel knows no such platform.
    pub fn is_zero(&self) -> bool {
        self.0.iter().all(|byte| *byte == 0)
    }

    /// 768 upper hex digits.
    pub fn to_hex_upper(&self) -> String {
        HEXUPPER.encode(self.0.as_slice())
    }

    /// 768 lower hex digits.
    pub fn to_hex_lower(&self) -> String {
        HEXLOWER.encode(self.0.as_slice())
    }
}

impl fmt::Debug for EncryptedPpid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EncryptedPpid(..)")
    }
}

/// A platform manifest: the platform's keys, encrypted to Intel. A secret, and the only way to fetch certificates
/// again for a platform whose keys Intel does not keep.
#[derive(Clone, PartialEq, Eq)]
pub struct Manifest(Bytes);

impl Manifest {
    /// From an even number of hex digits in either case; PCCS stores what is none of that as empty.
    pub fn from_hex(text: &str) -> Result<Self, Invalid> {
        let invalid = |why: String| Invalid::new("platform_manifest", why);
        if text.len() > 2 * MAX_MANIFEST_BYTES {
            return Err(invalid(format!(
                "longer than {} hex digits",
                2 * MAX_MANIFEST_BYTES
            )));
        }
        let bytes = HEXLOWER_PERMISSIVE
            .decode(text.as_bytes())
            .map_err(|_| invalid("wanted an even number of hex digits".to_owned()))?;
        Self::from_bytes(bytes)
    }

    /// From 1 to 56,442 bytes, as they are kept.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Result<Self, Invalid> {
        let bytes = bytes.into();
        if bytes.is_empty() || bytes.len() > MAX_MANIFEST_BYTES {
            return Err(Invalid::new(
                "platform_manifest",
                format_args!(
                    "wanted 1 to {MAX_MANIFEST_BYTES} bytes, found {}",
                    bytes.len()
                ),
            ));
        }
        Ok(Self(bytes))
    }

    /// Its bytes, to be sealed or sent.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether Intel would look into it: shorter ones are answered with 400.
    pub fn is_plausible(&self) -> bool {
        self.0.len() >= MIN_PLAUSIBLE_MANIFEST_BYTES
    }

    /// Lower hex digits.
    pub fn to_hex_lower(&self) -> String {
        HEXLOWER.encode(&self.0)
    }

    /// Upper hex digits.
    pub fn to_hex_upper(&self) -> String {
        HEXUPPER.encode(&self.0)
    }
}

impl fmt::Debug for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Manifest(..)")
    }
}

/// PCCS's schema; the column of its database is as wide.
const MAX_QE_ID_CHARS: usize = 260;
/// One RSA-3072 block.
pub(super) const ENCRYPTED_PPID_BYTES: usize = 384;
/// Intel PCS API v4, "platformManifest": 16,862 to 112,884 hex digits.
const MIN_PLAUSIBLE_MANIFEST_BYTES: usize = 16_862 / 2;
/// As above.
pub(super) const MAX_MANIFEST_BYTES: usize = 112_884 / 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_qe_id_is_one_in_any_case() {
        let id: QeId = "a0-ß.é".parse().expect("any characters");
        assert_eq!(id.to_string(), "A0-SS.É");
        assert_eq!(id.as_str().parse(), Ok(id.clone()));
        for (text, accepted) in [
            ("a", true),
            ("", false),
            (" ", true),
            ("a\n", false),
            ("a\u{7f}", false),
            ("a\u{85}b", false),
            ("a\u{a0}b", true),
        ] {
            assert_eq!(text.parse::<QeId>().is_ok(), accepted, "{text:?}");
        }
        for (count, accepted) in [(260, true), (261, false)] {
            assert_eq!("é".repeat(count).parse::<QeId>().is_ok(), accepted);
        }
        // Two letters each in upper case.
        for (count, accepted) in [(130, true), (131, false)] {
            assert_eq!("ß".repeat(count).parse::<QeId>().is_ok(), accepted);
        }
    }

    #[test]
    fn zero_is_no_name() {
        for (text, zero) in [
            ("0", true),
            (&"0".repeat(32), true),
            ("00000001", false),
            ("O0", false),
            ("0 ", false),
        ] {
            assert_eq!(
                text.parse::<QeId>().expect("an id").is_zero(),
                zero,
                "{text}"
            );
        }
    }

    #[test]
    fn an_encrypted_ppid_has_768_digits_and_does_not_print_them() {
        let text = "aB".repeat(384);
        let ppid = EncryptedPpid::from_hex(&text).expect("either case");
        assert_eq!(ppid.to_hex_upper(), text.to_uppercase());
        assert_eq!(ppid.to_hex_lower(), text.to_lowercase());
        assert_eq!(EncryptedPpid::from_bytes(ppid.bytes()), Ok(ppid.clone()));
        assert_eq!(format!("{ppid:?}"), "EncryptedPpid(..)");
        assert!(!ppid.is_zero());
        for (wrong, why) in [
            (
                "ab".repeat(383),
                "wanted 768 hex digits, found 766 characters",
            ),
            (
                format!("{text}a"),
                "wanted 768 hex digits, found 769 characters",
            ),
            (String::new(), "wanted 768 hex digits, found 0 characters"),
            (format!("{}g", &text[1..]), "it is not all hex digits"),
            (format!("{}é", &text[2..]), "it is not all hex digits"),
        ] {
            assert_eq!(
                EncryptedPpid::from_hex(&wrong),
                Err(Invalid::new("enc_ppid", why))
            );
        }
        assert!(EncryptedPpid::from_bytes(&[1; 383]).is_err());
        assert!(EncryptedPpid::from_bytes(&[1; 385]).is_err());
    }

    #[test]
    fn zero_is_no_encrypted_ppid_of_a_platform() {
        let zero = EncryptedPpid::from_hex(&"0".repeat(768)).expect("well-formed");
        assert!(zero.is_zero());
        let one = format!("{}1", "0".repeat(767));
        assert!(
            !EncryptedPpid::from_hex(&one)
                .expect("well-formed")
                .is_zero()
        );
    }

    #[test]
    fn a_manifest_is_hex_within_bounds_and_does_not_print() {
        let manifest = Manifest::from_hex("aaBB").expect("either case");
        assert_eq!(manifest.bytes(), [0xaa, 0xbb]);
        assert_eq!(
            (manifest.to_hex_lower(), manifest.to_hex_upper()),
            ("aabb".to_owned(), "AABB".to_owned())
        );
        assert_eq!(format!("{manifest:?}"), "Manifest(..)");
        for wrong in ["", "a", "aabbc", "zz", "aa bb", "0xaa", "é"] {
            let refused = Manifest::from_hex(wrong).expect_err("refused");
            assert_eq!(refused.field, "platform_manifest");
        }
        for (bytes, accepted) in [(1, true), (56_442, true), (56_443, false)] {
            assert_eq!(Manifest::from_hex(&"5a".repeat(bytes)).is_ok(), accepted);
        }
        assert!(Manifest::from_bytes(Bytes::new()).is_err());
    }

    #[test]
    fn short_manifests_are_accepted_and_known_to_be_useless() {
        for (bytes, plausible) in [(8_430, false), (8_431, true)] {
            let manifest = Manifest::from_bytes(vec![1; bytes]).expect("within bounds");
            assert_eq!(manifest.is_plausible(), plausible);
        }
    }
}

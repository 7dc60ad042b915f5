//! The field's own nouns as types: what a platform, an enclave, a certificate authority or a digest is called.
//!
//! Each reads exactly one text form (hex in either case) and writes one; there is no other way in, so a value of
//! these types is known to be well-formed. Sources: Intel PCS API v4 parameters; Intel SGX PCK Certificate and
//! CRL profile for FMSPC and PCEID.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE, HEXUPPER};

use crate::Error;

/// The family, model, stepping, platform type and custom SKU of an Intel platform: 6 bytes, in the order of the
/// PCK certificate's extension. Text: 12 hex digits, written in upper case (Intel's JSON uses both cases).
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Fmspc(pub [u8; 6]);

impl fmt::Display for Fmspc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXUPPER.encode(&self.0))
    }
}

impl FromStr for Fmspc {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        hex_array(text)
            .map(Self)
            .ok_or_else(|| not("FMSPC", "12 hex digits"))
    }
}

/// The identity of the provisioning certification enclave: 2 bytes in the order of the certificate's extension
/// (little endian as a number). Text: 4 hex digits, written in upper case.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PceId(pub [u8; 2]);

impl fmt::Display for PceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXUPPER.encode(&self.0))
    }
}

impl FromStr for PceId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        hex_array(text)
            .map(Self)
            .ok_or_else(|| not("PCE id", "4 hex digits"))
    }
}

/// A SHA-256 digest. Text: 64 hex digits, written in lower case.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// SHA-256 of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let mut out = [0; 32];
        // The digest is 32 bytes by definition; zip instead of a copy that could panic.
        for (to, from) in out
            .iter_mut()
            .zip(digest::digest(&digest::SHA256, bytes).as_ref())
        {
            *to = *from;
        }
        Self(out)
    }

    /// The first 16 hex digits, for people.
    pub fn short(&self) -> String {
        let mut text = HEXLOWER.encode(&self.0);
        text.truncate(16);
        text
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        hex_array(text)
            .map(Self)
            .ok_or_else(|| not("SHA-256 digest", "64 hex digits"))
    }
}

/// A trusted execution environment of Intel. Text: `sgx`, `tdx`.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Tee {
    /// Software Guard Extensions: enclaves.
    Sgx,
    /// Trust Domain Extensions: confidential virtual machines.
    Tdx,
}

impl Tee {
    /// Both, in order.
    pub const ALL: [Self; 2] = [Self::Sgx, Self::Tdx];

    /// The text form.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sgx => "sgx",
            Self::Tdx => "tdx",
        }
    }
}

/// The certificate authority that issues a platform's PCK certificates. Text: `platform`, `processor`.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PckCa {
    /// For multi-package platforms, registered with a platform manifest.
    Platform,
    /// For single-package platforms.
    Processor,
}

impl PckCa {
    /// Both, in order.
    pub const ALL: [Self; 2] = [Self::Platform, Self::Processor];

    /// The text form.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Processor => "processor",
        }
    }

    /// The subject common name of the authority's certificate.
    pub const fn common_name(self) -> &'static str {
        match self {
            Self::Platform => PLATFORM_CA_CN,
            Self::Processor => PROCESSOR_CA_CN,
        }
    }
}

/// An enclave of Intel's whose identity Intel signs. Text: `qae`, `qe`, `qve`, `td-qe`.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Enclave {
    /// Quote appraisal enclave.
    Qae,
    /// Quoting enclave of SGX.
    Qe,
    /// Quote verification enclave.
    Qve,
    /// Quoting enclave of TDX.
    TdQe,
}

impl Enclave {
    /// All four, in order.
    pub const ALL: [Self; 4] = [Self::Qae, Self::Qe, Self::Qve, Self::TdQe];

    /// The text form.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Qae => "qae",
            Self::Qe => "qe",
            Self::Qve => "qve",
            Self::TdQe => "td-qe",
        }
    }
}

/// A TCB evaluation data number: one sequence for all of Intel's TCB infos and enclave identities, raised by each
/// TCB recovery event.
pub type EvaluationNumber = u32;

/// `Display`, `FromStr` for an enum that has `ALL` and `name()`.
macro_rules! named {
    ($type:ty, $what:literal, $expected:literal) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl FromStr for $type {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                Self::ALL
                    .into_iter()
                    .find(|one| one.name() == text)
                    .ok_or_else(|| not($what, $expected))
            }
        }
    };
}

named!(Tee, "TEE", "sgx or tdx");
named!(PckCa, "PCK certificate authority", "platform or processor");
named!(Enclave, "enclave", "qae, qe, qve or td-qe");

/// serde as the text form, for types with `Display` and `FromStr`.
macro_rules! serde_as_text {
    ($($type:ty),+ $(,)?) => {$(
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;

                impl serde::de::Visitor<'_> for Text {
                    type Value = $type;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str(concat!("the text form of ", stringify!($type)))
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }
                }

                deserializer.deserialize_str(Text)
            }
        }
    )+};
}
pub(crate) use serde_as_text;

serde_as_text!(Digest, Enclave, Fmspc, PceId, PckCa, Tee);

/// Exactly `2 * N` hex digits of either case.
pub(crate) fn hex_array<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let mut out = [0; N];
    HEXLOWER_PERMISSIVE
        .decode_mut(text.as_bytes(), &mut out)
        .ok()?;
    Some(out)
}

/// The error of a text that is not one of `what`.
pub(crate) fn not(what: &str, expected: &str) -> Error {
    Error::Format {
        what: what.to_owned(),
        why: format!("not {expected}"),
    }
}

/// Subject common names of Intel's PKI: Intel SGX PCK Certificate and CRL profile, and the certificates themselves.
pub(crate) const PLATFORM_CA_CN: &str = "Intel SGX PCK Platform CA";
pub(crate) const PROCESSOR_CA_CN: &str = "Intel SGX PCK Processor CA";
pub(crate) const ROOT_CA_CN: &str = "Intel SGX Root CA";
pub(crate) const TCB_SIGNING_CN: &str = "Intel SGX TCB Signing";
pub(crate) const PCK_CN: &str = "Intel SGX PCK Certificate";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_read_in_either_case_and_written_in_one() {
        let fmspc: Fmspc = "90c06F000000".parse().expect("mixed case");
        assert_eq!(fmspc, Fmspc([0x90, 0xc0, 0x6f, 0, 0, 0]));
        assert_eq!(fmspc.to_string(), "90C06F000000");
        assert_eq!("0a0B".parse::<PceId>().expect("pce id").to_string(), "0A0B");
        let digest = Digest::of(b"abc");
        assert_eq!(
            digest.to_string(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(digest.to_string().to_uppercase().parse(), Ok(digest));
        assert_eq!(digest.short(), "ba7816bf8f01cfea");
    }

    #[test]
    fn the_nearest_misses_are_refused() {
        for text in [
            "",
            "90c06f00000",
            "90c06f0000000",
            "90c06f00000g",
            "90c06f 00000",
            "0x90c06f0000",
            "90c06f00000\0",
            "90c06f0000é",
        ] {
            assert!(text.parse::<Fmspc>().is_err(), "{text:?}");
        }
        for text in ["", "000", "00000", "00 0"] {
            assert!(text.parse::<PceId>().is_err(), "{text:?}");
        }
        for text in ["SGX", "sgx ", "", "sev"] {
            assert!(text.parse::<Tee>().is_err(), "{text:?}");
        }
        for text in ["Platform", "platforms", ""] {
            assert!(text.parse::<PckCa>().is_err(), "{text:?}");
        }
        for text in ["td_qe", "tdqe", "QE", ""] {
            assert!(text.parse::<Enclave>().is_err(), "{text:?}");
        }
        assert!("ab".repeat(31).parse::<Digest>().is_err());
        assert!("ab".repeat(33).parse::<Digest>().is_err());
    }

    #[test]
    fn serde_speaks_the_text_form() {
        for enclave in Enclave::ALL {
            let json = serde_json::to_string(&enclave).expect("serializes");
            assert_eq!(json, format!("\"{enclave}\""));
            assert_eq!(
                serde_json::from_str::<Enclave>(&json).expect("reads back"),
                enclave
            );
        }
        assert_eq!(
            serde_json::to_string(&Fmspc([0xab, 0, 0, 0, 0, 1])).expect("serializes"),
            "\"AB0000000001\""
        );
        assert!(serde_json::from_str::<Fmspc>("[1,2,3,4,5,6]").is_err());
    }
}

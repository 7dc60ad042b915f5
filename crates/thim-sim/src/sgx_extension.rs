//! The extension 1.2.840.113741.1.13.1 that makes a certificate a PCK certificate, in DER.
//!
//! A sequence of (object identifier, value) pairs, every identifier the extension's own with one or two numbers behind
//! it: spec/intel-pcs-and-pccs.md section 7. DER is written by hand here, and only what this extension needs of it:
//! lengths to 65,535, integers to 65,535.

use crate::pck_tcb::PckTcb;

/// What a PCK certificate says about its platform.
pub(crate) struct SgxExtension {
    pub(crate) ppid: [u8; 16],
    pub(crate) tcb: PckTcb,
    pub(crate) pce_id: [u8; 2],
    pub(crate) fmspc: [u8; 6],
    /// Only in certificates of the Platform CA.
    pub(crate) scalable: Option<Scalable>,
}

/// The items a multi-package platform has beyond those of a single package.
pub(crate) struct Scalable {
    pub(crate) platform_instance_id: [u8; 16],
    /// Whether packages may be added later.
    pub(crate) dynamic_platform: bool,
    /// Whether the vendor keeps the platform's root keys.
    pub(crate) cached_keys: bool,
    pub(crate) smt_enabled: bool,
}

impl SgxExtension {
    /// The extension's value.
    pub(crate) fn to_der(&self) -> Vec<u8> {
        let mut items = vec![
            item(&[1], octets(&self.ppid)),
            item(&[2], self.tcb_der()),
            item(&[3], octets(&self.pce_id)),
            item(&[4], octets(&self.fmspc)),
        ];
        match &self.scalable {
            // SGX type: 0 standard, 1 scalable.
            None => items.push(item(&[5], tlv(ENUMERATED, &[0]))),
            Some(scalable) => {
                items.push(item(&[5], tlv(ENUMERATED, &[1])));
                items.push(item(&[6], octets(&scalable.platform_instance_id)));
                let flags = [
                    scalable.dynamic_platform,
                    scalable.cached_keys,
                    scalable.smt_enabled,
                ];
                let flags = flags.into_iter().zip(1..);
                let flags = flags.map(|(flag, number)| item(&[7, number], boolean(flag)));
                items.push(item(&[7], sequence(flags)));
            }
        }
        sequence(items)
    }

    fn tcb_der(&self) -> Vec<u8> {
        let components = self.tcb.components.iter().zip(1..);
        let mut items: Vec<_> = components
            .map(|(svn, number)| item(&[2, number], integer(u16::from(*svn))))
            .collect();
        items.push(item(&[2, 17], integer(self.tcb.pcesvn)));
        items.push(item(&[2, 18], octets(&self.tcb.components)));
        sequence(items)
    }
}

/// A pair: the extension's identifier with `suffix` behind it, and a value already in DER.
fn item(suffix: &[u8], value: Vec<u8>) -> Vec<u8> {
    let mut identifier = EXTENSION_IDENTIFIER.to_vec();
    // Numbers under 128 are one byte each.
    identifier.extend_from_slice(suffix);
    sequence([tlv(OBJECT_IDENTIFIER, &identifier), value])
}

fn sequence(members: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    tlv(SEQUENCE, &members.into_iter().flatten().collect::<Vec<_>>())
}

fn octets(bytes: &[u8]) -> Vec<u8> {
    tlv(OCTET_STRING, bytes)
}

fn boolean(value: bool) -> Vec<u8> {
    tlv(BOOLEAN, &[if value { 0xff } else { 0 }])
}

/// The shortest form; a leading zero byte where the first bit would make it negative.
fn integer(value: u16) -> Vec<u8> {
    let [high, low] = value.to_be_bytes();
    match (high, low) {
        (0, 0..=0x7f) => tlv(INTEGER, &[low]),
        (0..=0x7f, _) => tlv(INTEGER, &[high, low]),
        (0x80.., _) => tlv(INTEGER, &[0, high, low]),
    }
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("the extension is under a kilobyte");
    let [high, low] = length.to_be_bytes();
    let mut out = match (high, low) {
        (0, 0..=0x7f) => vec![tag, low],
        (0, 0x80..) => vec![tag, 0x81, low],
        (1.., _) => vec![tag, 0x82, high, low],
    };
    out.extend_from_slice(content);
    out
}

/// The content of the identifier 1.2.840.113741.1.13.1.
const EXTENSION_IDENTIFIER: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01];
const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const ENUMERATED: u8 = 0x0a;
const SEQUENCE: u8 = 0x30;

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXUPPER;

    /// The extension of a genuine certificate (FMSPC B0C06F000000, 2024-08-02), its PPID and platform instance id
    /// replaced by sixteen times 11 and 66.
    const GENUINE: &str = concat!(
        "30820226301E060A2A864886F84D010D0101041011111111111111111111111111111111",
        "30820163060A2A864886F84D010D010230820153",
        "3010060B2A864886F84D010D0102010201023010060B2A864886F84D010D010202020102",
        "3010060B2A864886F84D010D0102030201023010060B2A864886F84D010D010204020102",
        "3010060B2A864886F84D010D0102050201033010060B2A864886F84D010D010206020101",
        "3010060B2A864886F84D010D0102070201003010060B2A864886F84D010D010208020103",
        "3010060B2A864886F84D010D0102090201003010060B2A864886F84D010D01020A020100",
        "3010060B2A864886F84D010D01020B0201003010060B2A864886F84D010D01020C020100",
        "3010060B2A864886F84D010D01020D0201003010060B2A864886F84D010D01020E020100",
        "3010060B2A864886F84D010D01020F0201003010060B2A864886F84D010D010210020100",
        "3010060B2A864886F84D010D01021102010B",
        "301F060B2A864886F84D010D010212041002020202030100030000000000000000",
        "3010060A2A864886F84D010D010304020000",
        "3014060A2A864886F84D010D01040406B0C06F000000",
        "300F060A2A864886F84D010D01050A0101",
        "301E060A2A864886F84D010D0106041066666666666666666666666666666666",
        "3044060A2A864886F84D010D010730363010060B2A864886F84D010D0107010101FF",
        "3010060B2A864886F84D010D0107020101FF3010060B2A864886F84D010D0107030101FF",
    );

    #[test]
    fn the_extension_is_a_genuine_one_byte_for_byte() {
        let extension = SgxExtension {
            ppid: [0x11; 16],
            tcb: PckTcb::parse("02020202030100030000000000000000", "0B00").expect("it is hex"),
            pce_id: [0; 2],
            fmspc: [0xb0, 0xc0, 0x6f, 0, 0, 0],
            scalable: Some(Scalable {
                platform_instance_id: [0x66; 16],
                dynamic_platform: true,
                cached_keys: true,
                smt_enabled: true,
            }),
        };
        assert_eq!(HEXUPPER.encode(&extension.to_der()), GENUINE);
    }

    #[test]
    fn integers_are_never_negative() {
        assert_eq!(integer(127), [2, 1, 127]);
        assert_eq!(integer(128), [2, 2, 0, 128]);
        assert_eq!(integer(255), [2, 2, 0, 255]);
        assert_eq!(integer(256), [2, 2, 1, 0]);
        assert_eq!(integer(0x8000), [2, 3, 0, 0x80, 0]);
    }
}

//! The extension 1.2.840.113741.1.13.1 that makes a certificate a PCK certificate, in DER.
//!
//! A sequence of (object identifier, value) pairs, every identifier the extension's own with one or two numbers behind
//! it: spec/intel-pcs-and-pccs.md section 7.

use crate::der::{boolean, enumerated, identifier, integer, octets, sequence};
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
            None => items.push(item(&[5], enumerated(0))),
            Some(scalable) => {
                items.push(item(&[5], enumerated(1)));
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
            .map(|(svn, number)| item(&[2, number], integer(u32::from(*svn))))
            .collect();
        items.push(item(&[2, 17], integer(u32::from(self.tcb.pcesvn))));
        items.push(item(&[2, 18], octets(&self.tcb.components)));
        sequence(items)
    }
}

/// A pair: the extension's identifier with `suffix` behind it, and a value already in DER.
fn item(suffix: &[u8], value: Vec<u8>) -> Vec<u8> {
    // Numbers under 128 are one byte each.
    sequence([identifier(&[&EXTENSION_IDENTIFIER, suffix].concat()), value])
}

/// The content of the identifier 1.2.840.113741.1.13.1.
const EXTENSION_IDENTIFIER: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01];

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
}

//! PCK certificates of the test vendor, and the pieces of their SGX extension: leave one out, or put another in.

use rcgen::{CustomExtension, Issuer, KeyPair, KeyUsagePurpose};

use super::{Profile, key, params, profile};

pub const PCK: &str = "Intel SGX PCK Certificate";
pub const PPID: [u8; 16] = [0xd1; 16];
pub const INSTANCE_ID: [u8; 16] = [0xe2; 16];
/// The SGX extension.
pub const SGX_OID: &[u64] = &[1, 2, 840, 113_741, 1, 13, 1];
pub const FMSPC: [u8; 6] = [0x00, 0x60, 0x6a, 0, 0, 0];
pub const CPU_SVN: [u8; 16] = [11, 11, 3, 3, 255, 255, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
pub const PCE_SVN: u16 = 13;
pub const TCBM: &str = "0B0B0303FFFF010000000000000000000D00";

pub const INTEGER: u8 = 0x02;
pub const BOOLEAN: u8 = 0x01;
pub const OCTETS: u8 = 0x04;
pub const OID: u8 = 0x06;
pub const ENUMERATED: u8 = 0x0a;
pub const SEQUENCE: u8 = 0x30;

/// Tag, length, value.
pub fn der(tag: u8, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).expect("a short value");
    let [high, low] = length.to_be_bytes();
    let mut out = match length {
        0..0x80 => vec![tag, low],
        0x80..0x100 => vec![tag, 0x81, low],
        0x100.. => vec![tag, 0x82, high, low],
    };
    out.extend_from_slice(value);
    out
}

pub fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    der(SEQUENCE, &parts.concat())
}

/// INTEGER, minimal.
pub fn integer(value: u32) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let skip = bytes.iter().take(3).take_while(|byte| **byte == 0).count();
    let mut minimal = bytes[skip..].to_vec();
    if minimal[0] >= 0x80 {
        minimal.insert(0, 0);
    }
    der(INTEGER, &minimal)
}

/// The pair (1.2.840.113741.1.13.1.`arc`, value); each number of `arc` below 128.
pub fn item(arc: &[u8], value: Vec<u8>) -> Vec<u8> {
    let base = [0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01];
    sequence(&[der(OID, &[&base, arc].concat()), value])
}

/// The 18 items of a TCB.
pub fn tcb_items(cpu_svn: [u8; 16], pce_svn: u16) -> Vec<Vec<u8>> {
    let components = (1..).zip(cpu_svn);
    components
        .map(|(number, svn)| item(&[2, number], integer(svn.into())))
        .chain([
            item(&[2, 17], integer(pce_svn.into())),
            item(&[2, 18], der(OCTETS, &cpu_svn)),
        ])
        .collect()
}

/// The five items of every certificate, around the given TCB.
pub fn items_with(tcb: &[Vec<u8>]) -> Vec<Vec<u8>> {
    vec![
        item(&[1], der(OCTETS, &PPID)),
        item(&[2], sequence(tcb)),
        item(&[3], der(OCTETS, &[0, 0])),
        item(&[4], der(OCTETS, &FMSPC)),
        item(&[5], der(ENUMERATED, &[1])),
    ]
}

/// The seven items of the Platform CA's certificates.
pub fn items() -> Vec<Vec<u8>> {
    let mut items = items_with(&tcb_items(CPU_SVN, PCE_SVN));
    items.push(item(&[6], der(OCTETS, &INSTANCE_ID)));
    items.push(configuration(&[
        item(&[7, 1], der(BOOLEAN, &[0xff])),
        item(&[7, 2], der(BOOLEAN, &[0])),
        item(&[7, 3], der(BOOLEAN, &[0xff])),
    ]));
    items
}

pub fn configuration(flags: &[Vec<u8>]) -> Vec<u8> {
    item(&[7], sequence(flags))
}

/// A PCK certificate's profile; change a field and you have the near miss.
pub fn leaf_profile() -> Profile<'static> {
    Profile {
        from: (2024, 6, 1),
        to: (2031, 6, 1),
        serial: &[0x51, 1, 2],
        usages: &[KeyUsagePurpose::DigitalSignature],
        ..profile(PCK, false)
    }
}

/// DER of a certificate with this SGX extension, or none, for a key that nobody needs.
pub fn leaf_with(
    profile: &Profile<'_>,
    extension: Option<Vec<u8>>,
    issuer_cn: &str,
    issuer_key: &KeyPair,
) -> Vec<u8> {
    leaf_for(&key(), profile, extension, issuer_cn, issuer_key)
}

/// As [`leaf_with`], for a key.
pub fn leaf_for(
    key: &KeyPair,
    profile: &Profile<'_>,
    extension: Option<Vec<u8>>,
    issuer_cn: &str,
    issuer_key: &KeyPair,
) -> Vec<u8> {
    let mut params = params(profile);
    params.custom_extensions = extension
        .map(|der| CustomExtension::from_oid_content(SGX_OID, der))
        .into_iter()
        .collect();
    let issuer_params = self::params(&self::profile(issuer_cn, true));
    params
        .signed_by(key, &Issuer::from_params(&issuer_params, issuer_key))
        .expect("a certificate")
        .der()
        .to_vec()
}

/// DER of a genuine PCK certificate for a TCB.
pub fn leaf(cpu_svn: [u8; 16], pce_svn: u16, issuer_cn: &str, issuer_key: &KeyPair) -> Vec<u8> {
    let mut items = items();
    items[1] = item(&[2], sequence(&tcb_items(cpu_svn, pce_svn)));
    leaf_with(
        &leaf_profile(),
        Some(sequence(&items)),
        issuer_cn,
        issuer_key,
    )
}

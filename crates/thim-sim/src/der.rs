//! DER by hand, as much as vendors' certificates need: lengths to 65,535, integers to 32 bits, definite everything.
//!
//! Written out rather than taken from a library because AMD's certificates have forms that a library would correct
//! (an explicit default, octets without a tag).

use crate::calendar;

pub(crate) fn sequence(members: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    constructed(SEQUENCE, members)
}

pub(crate) fn set(members: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    constructed(SET, members)
}

/// `[number]`, constructed, around what is already DER.
pub(crate) fn tagged(number: u8, members: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    constructed(CONTEXT_CONSTRUCTED | number, members)
}

/// `[number] IMPLICIT` of a primitive type.
pub(crate) fn implicit(number: u8, content: &[u8]) -> Vec<u8> {
    tlv(CONTEXT | number, content)
}

/// An identifier by its content octets.
pub(crate) fn identifier(content: &[u8]) -> Vec<u8> {
    tlv(OBJECT_IDENTIFIER, content)
}

pub(crate) fn octets(bytes: &[u8]) -> Vec<u8> {
    tlv(OCTET_STRING, bytes)
}

/// A bit string of whole octets.
pub(crate) fn bits(bytes: &[u8]) -> Vec<u8> {
    tlv(BIT_STRING, &[&[0], bytes].concat())
}

/// A named bit list of one octet, with so many unused bits at its end.
pub(crate) fn named_bits(octet: u8, unused: u8) -> Vec<u8> {
    tlv(BIT_STRING, &[unused, octet])
}

pub(crate) fn boolean(value: bool) -> Vec<u8> {
    tlv(BOOLEAN, &[if value { 0xff } else { 0 }])
}

pub(crate) fn enumerated(value: u8) -> Vec<u8> {
    tlv(ENUMERATED, &[value])
}

pub(crate) fn null() -> Vec<u8> {
    tlv(NULL, &[])
}

pub(crate) fn utf8(text: &str) -> Vec<u8> {
    tlv(UTF8_STRING, text.as_bytes())
}

pub(crate) fn printable(text: &str) -> Vec<u8> {
    tlv(PRINTABLE_STRING, text.as_bytes())
}

pub(crate) fn ia5(text: &str) -> Vec<u8> {
    tlv(IA5_STRING, text.as_bytes())
}

/// The shortest form; a leading zero byte where the first bit would make it negative.
pub(crate) fn integer(value: u32) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let first = bytes
        .iter()
        .position(|byte| *byte != 0)
        .unwrap_or(bytes.len() - 1);
    let shortest = &bytes[first..];
    match shortest[0] {
        0..=0x7f => tlv(INTEGER, shortest),
        0x80.. => tlv(INTEGER, &[&[0], shortest].concat()),
    }
}

/// `UTCTime` to 2049, `GeneralizedTime` from 2050 on (RFC 5280, section 4.1.2.5).
pub(crate) fn time(unix_seconds: i64) -> Vec<u8> {
    let text = calendar::compact(unix_seconds);
    match text.strip_prefix("20").or_else(|| text.strip_prefix("19")) {
        Some(short) if (1950..2050).contains(&calendar::year(unix_seconds)) => {
            tlv(UTC_TIME, short.as_bytes())
        }
        Some(_) | None => tlv(GENERALIZED_TIME, text.as_bytes()),
    }
}

fn constructed(tag: u8, members: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    tlv(tag, &members.into_iter().flatten().collect::<Vec<_>>())
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("nothing written here reaches 64 KiB");
    let [high, low] = length.to_be_bytes();
    let mut out = match (high, low) {
        (0, 0..=0x7f) => vec![tag, low],
        (0, 0x80..) => vec![tag, 0x81, low],
        (1.., _) => vec![tag, 0x82, high, low],
    };
    out.extend_from_slice(content);
    out
}

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const NULL: u8 = 0x05;
const OBJECT_IDENTIFIER: u8 = 0x06;
const ENUMERATED: u8 = 0x0a;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const IA5_STRING: u8 = 0x16;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const CONTEXT: u8 = 0x80;
const CONTEXT_CONSTRUCTED: u8 = 0xa0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_short_and_never_negative() {
        assert_eq!(integer(0), [2, 1, 0]);
        assert_eq!(integer(127), [2, 1, 127]);
        assert_eq!(integer(128), [2, 2, 0, 128]);
        assert_eq!(integer(255), [2, 2, 0, 255]);
        assert_eq!(integer(256), [2, 2, 1, 0]);
        assert_eq!(integer(0x8000), [2, 3, 0, 0x80, 0]);
        assert_eq!(integer(0x01_0001), [2, 3, 1, 0, 1]);
    }

    #[test]
    fn lengths_take_one_two_or_three_octets() {
        assert_eq!(octets(&[7; 127])[..2], [4, 127]);
        assert_eq!(octets(&[7; 128])[..3], [4, 0x81, 128]);
        assert_eq!(octets(&[7; 256])[..4], [4, 0x82, 1, 0]);
    }

    #[test]
    fn times_change_their_type_in_2050() {
        // 2026-02-05T01:04:33Z, a genuine VCEK's begin; 2049-12-31T23:59:59Z and a second later.
        assert_eq!(time(1_770_253_473), b"\x17\x0d260205010433Z");
        assert_eq!(time(2_524_607_999), b"\x17\x0d491231235959Z");
        assert_eq!(time(2_524_608_000), b"\x18\x0f20500101000000Z");
    }
}

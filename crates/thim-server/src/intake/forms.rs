//! The text forms around binary objects: PEM, percent-encoded PEM, hex, Base64. Recognising is lenient, since tools
//! write what they like; parsing is `thim-verify`'s and strict.

use std::borrow::Cow;

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use thim_verify::Certificate;

/// A block of PEM, markers included.
pub(super) struct Block<'a> {
    /// What stands between `BEGIN` and the dashes.
    pub label: &'a str,
    /// From the first marker to the end of the last.
    pub text: &'a str,
}

/// Every whole block of a text, at most [`MAX_BLOCKS`]; a block without its end is left out.
pub(super) fn pem_blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    // Labels whose end is nowhere in the rest: it is looked for once, so the work stays linear.
    let mut endless: Vec<&str> = Vec::new();
    let mut rest = text;
    while blocks.len() < MAX_BLOCKS
        && endless.len() < MAX_ENDLESS
        && let Some(start) = rest.find(BEGIN)
    {
        let block = rest.get(start..).unwrap_or_default();
        let after = block.get(BEGIN.len()..).unwrap_or_default();
        rest = after;
        let window = after
            .as_bytes()
            .get(..MAX_LABEL_BYTES)
            .unwrap_or(after.as_bytes());
        let Some(length) = window
            .windows(DASHES.len())
            .position(|dashes| dashes == DASHES.as_bytes())
        else {
            continue;
        };
        let Some(label) = after.get(..length).filter(|label| !endless.contains(label)) else {
            continue;
        };
        let mark = format!("-----END {label}-----");
        let Some(end) = block.find(&mark).map(|at| at + mark.len()) else {
            endless.push(label);
            continue;
        };
        blocks.push(Block {
            label,
            text: block.get(..end).unwrap_or_default(),
        });
        rest = block.get(end..).unwrap_or_default();
    }
    blocks
}

/// The certificates of a text, PEM or percent-encoded PEM; blocks that are none are left out, since a chain is only
/// ever a help to find an issuer.
pub(super) fn certificates(text: &str) -> Vec<Certificate> {
    let text = unescaped(text);
    pem_blocks(&text)
        .iter()
        .filter(|block| block.label == CERTIFICATE)
        .filter_map(|block| Certificate::from_pem_bundle(block.text.as_bytes()).ok())
        .flatten()
        .collect()
}

/// The text with percent escapes undone where it is a chain as headers carry it.
pub(super) fn unescaped(text: &str) -> Cow<'_, str> {
    if text.contains("-----BEGIN%20") {
        percent_encoding::percent_decode_str(text).decode_utf8_lossy()
    } else {
        Cow::Borrowed(text)
    }
}

/// The bytes that a text of hex digits stands for, white space left out; of an odd number the last is left out, so
/// that a cut text is still seen for what it was. None for other texts.
pub(super) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let mut digits: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    digits.truncate(digits.len() / 2 * 2);
    HEXLOWER_PERMISSIVE.decode(&digits).ok()
}

/// A revocation list as a bundle's text has it, in a form that `thim_verify::parse` reads.
pub(super) fn crl_bytes(text: &str) -> Vec<u8> {
    let trimmed = text.trim();
    if !trimmed.starts_with("-----")
        && from_hex(trimmed).is_none()
        && let Ok(der) = BASE64.decode(trimmed.as_bytes())
    {
        return der;
    }
    trimmed.as_bytes().to_vec()
}

/// What a block's Base64 stands for; none where it is no Base64.
pub(super) fn der_of(block: &Block<'_>) -> Option<Vec<u8>> {
    let marks = block.label.len() + DASHES.len();
    let end = block.text.len().checked_sub("-----END ".len() + marks)?;
    let inside = block.text.get(BEGIN.len() + marks..end)?;
    let digits: Vec<u8> = inside
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    BASE64.decode(&digits).ok()
}

/// The first certificate of a PEM text, or else the bytes themselves.
pub(super) fn der_or_pem(bytes: &[u8]) -> Vec<u8> {
    std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| pem_blocks(text).iter().find_map(der_of))
        .unwrap_or_else(|| bytes.to_vec())
}

/// The text of a JSON object that stands as Base64, white space left out; of a cut one as much as there is, so that it
/// is still seen for what it was. None for other texts.
pub(super) fn object_in_base64(text: &str) -> Option<String> {
    let mut digits: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    digits.truncate(digits.len() / 4 * 4);
    let decoded = String::from_utf8(BASE64.decode(&digits).ok()?).ok()?;
    decoded.starts_with('{').then_some(decoded)
}

/// Whether DER begins as a revocation list of version 2 does, however it goes on: a SEQUENCE in a SEQUENCE, then the
/// version 1 as INTEGER, then an algorithm. A certificate has `[0]` there, a key an INTEGER 0 or no inner SEQUENCE.
pub(super) fn begins_as_crl(der: &[u8]) -> bool {
    sequence(der)
        .and_then(sequence)
        .is_some_and(|tbs| tbs.starts_with(&[0x02, 0x01, 0x01, 0x30]))
}

/// What follows the header of a SEQUENCE.
fn sequence(der: &[u8]) -> Option<&[u8]> {
    let (tag, rest) = der.split_first()?;
    let (length, rest) = rest.split_first()?;
    let more = if *length < 0x80 {
        0
    } else {
        usize::from(length & 0x7f)
    };
    (*tag == 0x30 && more <= 4)
        .then(|| rest.get(more..))
        .flatten()
}

pub(super) const CERTIFICATE: &str = "CERTIFICATE";
pub(super) const CRL: &str = "X509 CRL";
const BEGIN: &str = "-----BEGIN ";
const DASHES: &str = "-----";
const MAX_LABEL_BYTES: usize = 64;
const MAX_ENDLESS: usize = 8;
/// A folder of a whole public key infrastructure in one file has some hundreds.
const MAX_BLOCKS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_among_text_and_cut_ones_left_out() {
        let text = "Subject: x\n-----BEGIN A-----\nAA==\n-----END A-----\nnoise -----BEGIN B-----\n-----BEGIN A-----\nBB\n-----END A-----";
        let found = pem_blocks(text);
        assert_eq!(
            found.iter().map(|block| block.label).collect::<Vec<_>>(),
            ["A", "A"]
        );
        assert_eq!(found[0].text, "-----BEGIN A-----\nAA==\n-----END A-----");
        assert!(pem_blocks(&"-----BEGIN ".repeat(100_000)).is_empty());
    }

    #[test]
    fn a_revocation_list_is_told_from_its_neighbours() {
        assert!(begins_as_crl(&[
            0x30, 0x82, 1, 2, 0x30, 0x81, 9, 2, 1, 1, 0x30
        ]));
        assert!(begins_as_crl(&[0x30, 9, 0x30, 7, 2, 1, 1, 0x30]));
        for other in [
            &[0x30, 0x82, 1, 2, 0x30, 0x81, 9, 0xa0, 3, 2, 1, 2][..],
            &[0x30, 9, 2, 1, 1, 0x30],
            &[0x30, 9, 0x30, 7, 2, 1, 0, 0x30],
            &[0x30, 0x88, 0x30, 7, 2, 1, 1, 0x30],
            &[0x30, 9, 0x30, 7, 2, 1, 1],
            &[],
        ] {
            assert!(!begins_as_crl(other), "{other:02x?}");
        }
    }

    #[test]
    fn base64_inside_of_blocks_and_around_objects() {
        let text = "-----BEGIN X-----\nMA\r\no=\n-----END X-----";
        assert_eq!(der_of(&pem_blocks(text)[0]), Some(vec![0x30, 0x0a]));
        assert_eq!(der_or_pem(text.as_bytes()), [0x30, 0x0a]);
        assert_eq!(der_or_pem(b"\x30\xff"), [0x30, 0xff]);
        let text = "-----BEGIN X-----!-----END X-----";
        assert_eq!(der_of(&pem_blocks(text)[0]), None);
        assert_eq!(
            object_in_base64("eyJh\nIjoxfQ=="),
            Some("{\"a\":1}".to_owned())
        );
        assert_eq!(object_in_base64("eyJhIjox"), Some("{\"a\":1".to_owned()));
        assert_eq!(object_in_base64("W10="), None);
        assert_eq!(object_in_base64("ey.J"), None);
    }

    #[test]
    fn hex_and_base64() {
        assert_eq!(from_hex(" 30\n0A5"), Some(vec![0x30, 0x0a]));
        assert_eq!(from_hex("30 zz"), None);
        assert_eq!(from_hex(""), None);
        assert_eq!(crl_bytes("MAo="), [0x30, 0x0a]);
        assert_eq!(crl_bytes(" 300a \n"), b"300a");
    }
}

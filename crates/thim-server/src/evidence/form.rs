//! From bytes as people have them to evidence: raw, or as hex or base64 text; a quote, or a report.
//!
//! What they are is told from the bytes themselves: a quote's third and fourth byte are its key type, which are zero in
//! a report; the blob of an Azure vTPM has a mark of its own. A text may be broken into lines. Source:
//! spec/intel-verification.md, section 1; spec/amd-kds-and-thim.md, section 4.

use data_encoding::{
    BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD, Encoding, HEXLOWER_PERMISSIVE,
};
use thim_verify::Error;

/// What the bytes seem to be. Nothing is believed of it yet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EvidenceKind {
    /// A quote of Intel's.
    Quote,
    /// A report of AMD's, whatever it stands in; also what is neither.
    Report,
}

/// Evidence out of its text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Decoded {
    /// `binary`, `hex` or `base64`.
    pub encoding: &'static str,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Decoded {
    /// What they seem to be.
    pub fn kind(&self) -> EvidenceKind {
        match self.bytes.as_slice() {
            [3..=5, 0, 2 | 3, 0, ..] => EvidenceKind::Quote,
            _ => EvidenceKind::Report,
        }
    }
}

/// Takes bytes out of the text they are written as, if they are. `what` names them in errors.
///
/// # Errors
/// [`Error::Format`] for a text of the characters of hex or base64 that is neither.
pub fn decode(what: &str, bytes: &[u8]) -> Result<Decoded, Error> {
    let (encoding, bytes) = match written(bytes) {
        None => ("binary", bytes.to_vec()),
        Some(Written::Hex(digits)) => ("hex", read(what, "hex", &[HEXLOWER_PERMISSIVE], &digits)?),
        Some(Written::Base64(text)) => {
            let dialects = [BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD];
            ("base64", read(what, "base64", &dialects, &text)?)
        }
    };
    Ok(Decoded { encoding, bytes })
}

/// A text without its blanks.
enum Written {
    Base64(Vec<u8>),
    Hex(Vec<u8>),
}

/// What the bytes are a text of. Evidence is none itself: its first bytes are a version and zeros.
fn written(bytes: &[u8]) -> Option<Written> {
    let text: Vec<u8> = bytes
        .iter()
        .copied()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    let base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_=".contains(byte);
    if text.is_empty() || !text.iter().all(base64) {
        None
    } else if text.iter().all(u8::is_ascii_hexdigit) {
        Some(Written::Hex(text))
    } else {
        Some(Written::Base64(text))
    }
}

fn read(what: &str, name: &str, dialects: &[Encoding], text: &[u8]) -> Result<Vec<u8>, Error> {
    let mut decoded = dialects
        .iter()
        .filter_map(|dialect| dialect.decode(text).ok());
    decoded.next().ok_or_else(|| Error::Format {
        what: what.to_owned(),
        why: format!("{} characters that are no {name} text", text.len()),
    })
}

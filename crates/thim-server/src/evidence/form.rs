//! From bytes as people have them to evidence: raw, or as hex or base64 text; a quote, or a report.
//!
//! What they are is told from the bytes themselves: a quote's third and fourth byte are its key type, which are zero in
//! a report; the blob of an Azure vTPM has a mark of its own. A text may be broken into lines. A report is 1184 bytes, or
//! stands behind a header of 32 in the 2600 that an Azure guest reads from its vTPM. Each length is exact: a report with
//! something before or after it is refused, since nothing vouches for the rest. What the blob says after the report (the
//! runtime data that REPORT_DATA is the digest of) is not looked at. Source: spec/intel-verification.md, section 1;
//! spec/amd-kds-and-thim.md, section 4.

use data_encoding::{
    BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD, Encoding, HEXLOWER_PERMISSIVE,
};
use thim_verify::Error;
use thim_verify::amd::{SnpReport, parse_report};

/// What the bytes seem to be. Nothing is believed of it yet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EvidenceKind {
    /// A quote of Intel's.
    Quote,
    /// A report of AMD's, whatever it stands in.
    Report,
    /// Neither.
    Unknown,
}

/// How a report came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ReportForm {
    /// What the bytes were written as.
    pub encoding: &'static str,
    /// What the report stood in: `hcl` or `raw`.
    pub container: &'static str,
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
            // A version, of four bytes there.
            [_, 0, 0, 0, ..] => EvidenceKind::Report,
            bytes if bytes.starts_with(HCL_MAGIC) => EvidenceKind::Report,
            _ => EvidenceKind::Unknown,
        }
    }

    /// The report that they are, or that stands in them.
    ///
    /// # Errors
    /// [`Error::Format`] naming the length found and the length there must be; those of [`parse_report`].
    pub fn report(&self) -> Result<(ReportForm, SnpReport), Error> {
        let (container, report) = if self.bytes.starts_with(HCL_MAGIC) {
            ("hcl", inside_hcl(&self.bytes)?)
        } else {
            ("raw", self.bytes.as_slice())
        };
        let form = ReportForm {
            encoding: self.encoding,
            container,
        };
        Ok((form, parse_report(report)?))
    }
}

/// Reads a report in any of the forms.
///
/// # Errors
/// Those of [`decode`] and [`Decoded::report`].
pub fn read_report(bytes: &[u8]) -> Result<(ReportForm, SnpReport), Error> {
    decode(REPORT, bytes)?.report()
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

fn inside_hcl(blob: &[u8]) -> Result<&[u8], Error> {
    let found = blob.len();
    if found != HCL_BYTES {
        return Err(Error::Format {
            what: REPORT.to_owned(),
            why: format!("an HCLA blob of {found} bytes; it has {HCL_BYTES}"),
        });
    }
    let report = blob.get(HCL_REPORT..HCL_REPORT + REPORT_BYTES);
    Ok(report.unwrap_or_default())
}

/// The largest form of a report is 2600 bytes in hex with a blank behind each byte; the rest is room for the way it was
/// pasted.
pub const REPORT_FILE_BYTES: u64 = 64 * 1024;

const REPORT: &str = "SNP report";

/// spec/amd-kds-and-thim.md, 4: the blob of vTPM NV index 0x01400001.
const HCL_MAGIC: &[u8] = b"HCLA";
const HCL_BYTES: usize = 2600;
const HCL_REPORT: usize = 0x20;
const REPORT_BYTES: usize = 1184;

#[cfg(test)]
mod tests {
    use super::*;

    /// Version 2, the mandatory bit of the policy, the algorithm; the rest zero.
    fn report() -> Vec<u8> {
        let mut bytes = vec![0; REPORT_BYTES];
        bytes[0] = 2;
        bytes[0x00a] = 2;
        bytes[0x034] = 1;
        bytes
    }

    fn hcl(report: &[u8]) -> Vec<u8> {
        let mut blob = HCL_MAGIC.to_vec();
        blob.resize(HCL_REPORT, 1);
        blob.extend_from_slice(report);
        blob.resize(HCL_BYTES, 7);
        blob
    }

    fn lines(text: &str, columns: usize) -> Vec<u8> {
        let chunks: Vec<&str> = text
            .as_bytes()
            .chunks(columns)
            .map(|chunk| std::str::from_utf8(chunk).expect("ASCII"))
            .collect();
        (chunks.join("\r\n") + "\n").into_bytes()
    }

    #[test]
    fn every_form_holds_the_same_report() {
        let (report, blob) = (report(), hcl(&report()));
        let hex = HEXLOWER_PERMISSIVE.encode(&report);
        for (bytes, encoding, container) in [
            (report.clone(), "binary", "raw"),
            (blob.clone(), "binary", "hcl"),
            (hex.clone().into_bytes(), "hex", "raw"),
            (hex.to_uppercase().into_bytes(), "hex", "raw"),
            (lines(&hex, 32), "hex", "raw"),
            (BASE64.encode(&report).into_bytes(), "base64", "raw"),
            (lines(&BASE64.encode(&report), 76), "base64", "raw"),
            (
                BASE64URL_NOPAD.encode(&report).into_bytes(),
                "base64",
                "raw",
            ),
            (BASE64.encode(&blob).into_bytes(), "base64", "hcl"),
            (HEXLOWER_PERMISSIVE.encode(&blob).into_bytes(), "hex", "hcl"),
        ] {
            let (form, found) = read_report(&bytes).expect("a report");
            assert_eq!((form.encoding, form.container), (encoding, container));
            assert_eq!(found.bytes(), report);
        }
    }

    #[test]
    fn what_seems_to_be_what() {
        let kind = |bytes: &[u8]| decode("evidence", bytes).expect("bytes").kind();
        assert_eq!(kind(&[3, 0, 2, 0, 0, 0]), EvidenceKind::Quote);
        assert_eq!(kind(&[4, 0, 3, 0]), EvidenceKind::Quote);
        for bytes in [
            report(),
            hcl(&report()),
            vec![3, 0, 0, 0],
            vec![9, 0, 0, 0, 1],
        ] {
            assert_eq!(kind(&bytes), EvidenceKind::Report);
            let text = BASE64URL_NOPAD.encode(&bytes);
            assert_eq!(kind(text.as_bytes()), EvidenceKind::Report);
        }
        for bytes in [
            &b""[..],
            b"<html>",
            &[3, 0, 2],
            &[3, 0, 2, 1],
            &[6, 0, 2, 0],
            b"HCL!",
        ] {
            assert_eq!(kind(bytes), EvidenceKind::Unknown, "{bytes:?}");
        }
    }

    #[test]
    fn near_misses_name_what_was_found_and_what_there_must_be() {
        let (report, blob) = (report(), hcl(&report()));
        let hex = HEXLOWER_PERMISSIVE.encode(&report);
        let more = |bytes: &[u8]| [bytes, &[0]].concat();
        for (bytes, why) in [
            (report[1..].to_vec(), "1183 bytes; a report has 1184"),
            (more(&report), "1185 bytes; a report has 1184"),
            (vec![], "0 bytes; a report has 1184"),
            (blob[..2599].to_vec(), "2599 bytes; it has 2600"),
            (more(&blob), "2601 bytes; it has 2600"),
            (
                hex.as_bytes()[2..].to_vec(),
                "1183 bytes; a report has 1184",
            ),
            (
                hex.as_bytes()[1..].to_vec(),
                "2367 characters that are no hex text",
            ),
            (
                BASE64.encode(&more(&report)).into_bytes(),
                "1185 bytes; a report has 1184",
            ),
            (b"A=A".to_vec(), "3 characters that are no base64 text"),
        ] {
            let refused = read_report(&bytes).expect_err(why).to_string();
            assert!(refused.contains(why), "{refused}");
        }
        // One character that belongs to no text, and the bytes are what they are.
        let refused = read_report(format!("{hex}!").as_bytes()).expect_err("no report");
        assert!(refused.to_string().contains("2369 bytes"), "{refused}");
    }
}

//! From a file's bytes to a report: raw, as text, or inside Azure's blob.
//!
//! The forms in circulation: the 1184 bytes; their hex or base64 text, broken into lines or not; and the 2600 bytes
//! that an Azure guest reads from its vTPM, which have the report behind a header of 32 bytes. Each length is exact:
//! a report with something before or after it is refused, since nothing vouches for the rest. What the blob says after
//! the report (the runtime data that REPORT_DATA is the digest of) is not looked at. Source:
//! spec/amd-kds-and-thim.md, 4.

use data_encoding::{
    BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD, Encoding, HEXLOWER_PERMISSIVE,
};
use thim_verify::Error;
use thim_verify::amd::{SnpReport, parse_report};

/// How the report came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Form {
    /// What the bytes were written as.
    pub encoding: &'static str,
    /// What the report stood in.
    pub container: &'static str,
}

/// Reads a report in any of the forms.
///
/// # Errors
/// [`Error::Format`] naming the length found and the length there must be; those of [`parse_report`].
pub fn read(bytes: &[u8]) -> Result<(Form, SnpReport), Error> {
    let (encoding, bytes) = match written(bytes) {
        None => ("binary", bytes.to_vec()),
        Some(Written::Hex(digits)) => ("hex", decoded("hex", &[HEXLOWER_PERMISSIVE], &digits)?),
        Some(Written::Base64(text)) => {
            let dialects = [BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD];
            ("base64", decoded("base64", &dialects, &text)?)
        }
    };
    let (container, report) = if bytes.starts_with(HCL_MAGIC) {
        ("hcl", inside_hcl(&bytes)?)
    } else {
        ("raw", bytes.as_slice())
    };
    let form = Form {
        encoding,
        container,
    };
    Ok((form, parse_report(report)?))
}

/// A text without its blanks.
enum Written {
    Base64(Vec<u8>),
    Hex(Vec<u8>),
}

/// What the bytes are a text of. A report is none itself: most of its bytes are zero.
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

fn decoded(name: &str, dialects: &[Encoding], text: &[u8]) -> Result<Vec<u8>, Error> {
    let mut decoded = dialects
        .iter()
        .filter_map(|dialect| dialect.decode(text).ok());
    decoded.next().ok_or_else(|| {
        let characters = text.len();
        wrong(format!("{characters} characters that are no {name} text"))
    })
}

fn inside_hcl(blob: &[u8]) -> Result<&[u8], Error> {
    let found = blob.len();
    if found != HCL_BYTES {
        return Err(wrong(format!(
            "an HCLA blob of {found} bytes; it has {HCL_BYTES}"
        )));
    }
    let report = blob.get(HCL_REPORT..HCL_REPORT + REPORT_BYTES);
    Ok(report.unwrap_or_default())
}

fn wrong(why: String) -> Error {
    Error::Format {
        what: "SNP report".to_owned(),
        why,
    }
}

/// The largest form is 2600 bytes in hex with a blank behind each byte; the rest is room for the way it was pasted.
pub const FILE_LIMIT_BYTES: u64 = 64 * 1024;

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
            let (form, found) = read(&bytes).expect("a report");
            assert_eq!((form.encoding, form.container), (encoding, container));
            assert_eq!(found.bytes(), report);
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
            let refused = read(&bytes).expect_err(why).to_string();
            assert!(refused.contains(why), "{refused}");
        }
        // One character that belongs to no text, and the bytes are what they are.
        let refused = read(format!("{hex}!").as_bytes()).expect_err("no report");
        assert!(refused.to_string().contains("2369 bytes"), "{refused}");
    }
}

//! PEM (RFC 7468), as lenient about what is around the blocks as the files and headers of the field demand, and
//! strict about what is inside.
//!
//! Chains inside quotes end in NUL or line feed, tools write CRLF, people put comments between certificates.

use data_encoding::BASE64;
use memchr::{memchr, memmem};

use crate::Error;

/// The DER of every block labelled `label`, in order.
pub(crate) fn pem_blocks(text: &[u8], label: &str, limit: usize) -> Result<Vec<Vec<u8>>, Error> {
    let (begin, end) = (
        format!("-----BEGIN {label}-----"),
        format!("-----END {label}-----"),
    );
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = split_once(rest, begin.as_bytes()) {
        if blocks.len() == limit {
            return Err(Error::too_many(&format!("{label} blocks"), limit));
        }
        let Some((inside, more)) = split_once(after, end.as_bytes()) else {
            return Err(Error::format(
                "PEM",
                format_args!("a {label} block without its end"),
            ));
        };
        let base64 = without_space(inside);
        let der = BASE64.decode(&base64).map_err(|_| {
            Error::format("PEM", format_args!("a {label} block that is not Base64"))
        })?;
        blocks.push(der);
        rest = more;
    }
    Ok(blocks)
}

fn split_once<'a>(text: &'a [u8], mark: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let (before, from) = text.split_at_checked(memmem::find(text, mark)?)?;
    Some((before, from.strip_prefix(mark)?))
}

/// Without white space and NUL bytes. Base64 mostly stands in lines without any inside, which are taken whole.
fn without_space(text: &[u8]) -> Vec<u8> {
    let is_space = |byte: u8| byte.is_ascii_whitespace() || byte == 0;
    let mut kept = Vec::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let end = memchr(b'\n', rest).unwrap_or(rest.len());
        let (line, more) = rest.split_at_checked(end).unwrap_or((rest, &[]));
        // No early end, so that many bytes are looked at at once.
        if line.iter().fold(false, |any, byte| any | is_space(*byte)) {
            kept.extend(line.iter().copied().filter(|byte| !is_space(*byte)));
        } else {
            kept.extend_from_slice(line);
        }
        rest = more.strip_prefix(b"\n").unwrap_or(more);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found_among_dashes() {
        let text = b"---- -----BEGIN X-----AAECAw==-----END X----------BEGIN X-----\r\nA\0AE=\n-----END X-----";
        assert_eq!(
            pem_blocks(text, "X", 2),
            Ok(vec![vec![0, 1, 2, 3], vec![0, 1]])
        );
        let spaces = b"-----BEGIN X-----\n\nAAEC\nA w\t=\n\0=\r\n-----END X-----";
        assert_eq!(pem_blocks(spaces, "X", 1), Ok(vec![vec![0, 1, 2, 3]]));
        assert_eq!(pem_blocks(text, "Y", 2), Ok(vec![]));
        assert_eq!(
            pem_blocks(text, "X", 1).map_err(|error| error.reason()),
            Err("too-many")
        );
    }

    #[test]
    fn near_misses() {
        for text in [
            "-----BEGIN X-----AAE=",
            "-----BEGIN X-----AAE=-----END X----",
            "-----BEGIN X-----AAE=-----END Y-----",
            "-----BEGIN X-----AAE-----END X-----",
            "-----BEGIN X-----AAF=-----END X-----",
            "-----BEGIN X-----AA_=-----END X-----",
            "-----BEGIN X-----a: b\n\nAAE=-----END X-----",
        ] {
            assert!(pem_blocks(text.as_bytes(), "X", 9).is_err(), "{text}");
        }
    }
}

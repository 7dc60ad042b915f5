//! The two text forms of a certificate on the wire: PEM, and PEM percent-encoded whole.
//!
//! Chain headers and the entries of `pckcerts` carry the second (spec/intel-pcs-and-pccs.md section 4); clients decode
//! it with plain `%XX`, so nothing is left to interpretation: only unreserved characters stay.

use data_encoding::BASE64;

/// PEM with lines of 64 characters, a newline after the last.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        out.push_str(line);
        out.push('\n');
        rest = tail;
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}

/// RFC 3986 unreserved characters stay, all others become `%XX`.
pub(crate) fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pem_breaks_lines_at_64_and_ends_with_a_newline() {
        let text = pem("X509 CRL", &[0; 49]);
        let lines: Vec<_> = text.lines().map(str::len).collect();
        assert_eq!(lines, [24, 64, 4, 22]);
        assert!(text.ends_with("-----END X509 CRL-----\n"));
    }

    #[test]
    fn headers_are_percent_encoded_whole() {
        assert_eq!(percent_encode("a+/= -\n"), "a%2B%2F%3D%20-%0A");
    }
}

//! Why there is no certification, in a word and a sentence: the header `THIM-Cause`, as the service sends it.
//!
//! The form is a structured field (RFC 9651): `unreachable; detail="..."`. What the service says is handed on, but
//! never what could be a chip's id.

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue};

/// A word for programs, and a sentence for people.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cause {
    /// Lower-case words joined by hyphens.
    pub token: Cow<'static, str>,
    /// Printable ASCII; empty where nothing more is known.
    pub detail: String,
}

impl Cause {
    /// One of the agent's own.
    pub fn new(token: &'static str, detail: impl Into<String>) -> Self {
        Self {
            token: Cow::Borrowed(token),
            detail: harmless(&detail.into()),
        }
    }

    /// What the service said; none where it said nothing that can be handed on.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get(HEADER)?.to_str().ok()?;
        let (token, parameters) = text.split_once(';').unwrap_or((text, ""));
        let token = token.trim();
        let known = (1..=MAX_TOKEN).contains(&token.len())
            && harmless(token) == token
            && token
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        let detail = parameters.trim_start().strip_prefix("detail=\"");
        let detail = detail.map(unquoted).unwrap_or_default();
        known.then(|| Self {
            token: Cow::Owned(token.to_owned()),
            detail: harmless(&detail),
        })
    }

    /// The header's value.
    pub fn header(&self) -> HeaderValue {
        let mut text = self.token.to_string();
        if !self.detail.is_empty() {
            text.push_str("; detail=\"");
            for letter in self.detail.chars() {
                if matches!(letter, '"' | '\\') {
                    text.push('\\');
                }
                text.push(letter);
            }
            text.push('"');
        }
        HeaderValue::try_from(text).expect("printable ASCII")
    }
}

/// Whether a header's value may be handed on as it is.
pub fn is_harmless(value: &HeaderValue) -> bool {
    value.to_str().is_ok_and(|text| harmless(text) == text)
}

/// A quoted string up to its end.
fn unquoted(text: &str) -> String {
    let mut letters = text.chars();
    let mut out = String::new();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => break,
            '\\' => out.extend(letters.next()),
            _ => out.push(letter),
        }
    }
    out
}

/// Printable ASCII of a bounded length, without a run of digits that could be an id.
fn harmless(text: &str) -> String {
    let mut out = String::new();
    let mut run = 0;
    for letter in text.chars().take(MAX_DETAIL) {
        let letter = if (' '..='~').contains(&letter) {
            letter
        } else {
            '?'
        };
        run = if letter.is_ascii_hexdigit() {
            run + 1
        } else {
            0
        };
        if run >= ID_DIGITS {
            return String::new();
        }
        out.push(letter);
    }
    out
}

/// The header's name.
pub const HEADER: &str = "thim-cause";
/// Ours have two or three words.
const MAX_TOKEN: usize = 64;
/// A sentence.
const MAX_DETAIL: usize = 300;
/// The shortest chip id has sixteen digits, and so has a `tcbm`, which is in the answers anyway.
const ID_DIGITS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Option<Cause> {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, HeaderValue::from_str(value).expect("a header"));
        Cause::from_headers(&headers)
    }

    #[test]
    fn out_and_in_again_and_near_misses() {
        let cause = Cause::new("no-upstream", "KDS said \"429\" \\ ask in 7 s\u{e9}\n");
        assert_eq!(cause.detail, "KDS said \"429\" \\ ask in 7 s??");
        assert_eq!(read(cause.header().to_str().expect("ASCII")), Some(cause));
        assert_eq!(read("held").map(|cause| cause.detail), Some(String::new()));
        for wrong in [
            "",
            "Upper",
            "two words",
            "a,b",
            &"w".repeat(65),
            &"a".repeat(16),
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        let id = "0a".repeat(64);
        for text in [id.as_str(), "chip 0123456789abcdef is unknown"] {
            assert_eq!(Cause::new("x", text).detail, "");
            let header = format!("x; detail=\"{text}\"");
            assert_eq!(read(&header).map(|cause| cause.detail), Some(String::new()));
        }
        assert_eq!(Cause::new("x", "0123456789abcde").detail, "0123456789abcde");
    }
}

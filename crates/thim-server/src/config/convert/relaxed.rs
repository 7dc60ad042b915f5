//! JSON as people write it into `default.json`: with comments and trailing commas. Intel's own file has comments; PCCS
//! reads it as JSON5 (node-config does). Of JSON5 these two are read here, and what else it allows is refused as JSON
//! refuses it: single quotes and bare names are rare, and guessing at a configuration is worse than saying no.

use std::borrow::Cow;

/// The text as plain JSON, of the same length: what is left out becomes spaces, so that places in it stay true.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    let mut plain = text.as_bytes().to_vec();
    // A comma behind a value is left out where nothing but space follows up to a closing bracket.
    let mut comma: Option<usize> = None;
    let mut value = false;
    let mut at = 0;
    while let Some(byte) = plain.get(at).copied() {
        match (byte, plain.get(at + 1).copied()) {
            (b'"', _) => {
                comma = None;
                value = true;
                at = end_of_string(&plain, at);
                continue;
            }
            (b'/', Some(b'/')) => {
                let end = end_of(&plain, at, b"\n");
                blank(&mut plain, at, end);
                at = end;
                continue;
            }
            (b'/', Some(b'*')) => {
                let end = end_of(&plain, at + 2, b"*/");
                blank(&mut plain, at, end);
                at = end;
                continue;
            }
            (b',', _) => {
                comma = value.then_some(at);
                value = false;
            }
            (b'}' | b']', _) => {
                if let Some(comma) = comma.take() {
                    blank(&mut plain, comma, comma + 1);
                }
                value = true;
            }
            (byte, _) if byte.is_ascii_whitespace() => {}
            (byte, _) => {
                comma = None;
                value = !matches!(byte, b'{' | b'[' | b':');
            }
        }
        at += 1;
    }
    if plain == text.as_bytes() {
        return Cow::Borrowed(text);
    }
    // Whole characters are replaced, byte by byte, by ASCII.
    Cow::Owned(String::from_utf8_lossy(&plain).into_owned())
}

/// The place behind the string that begins at `start`.
fn end_of_string(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = text.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

/// The place behind the next `mark`, or the end.
fn end_of(text: &[u8], start: usize, mark: &[u8]) -> usize {
    let rest = text.get(start..).unwrap_or_default();
    rest.windows(mark.len())
        .position(|window| window == mark)
        .map_or(text.len(), |found| start + found + mark.len())
}

fn blank(text: &mut [u8], start: usize, end: usize) {
    let end = end.min(text.len());
    if let Some(range) = text.get_mut(start..end) {
        for byte in range {
            // Lines stay, so that an error names the right one.
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_trailing_commas_go_and_texts_stay() {
        for (text, wanted) in [
            (r#"{"a": 1}"#, r#"{"a":1}"#),
            ("{\"a\": 1, // one\n \"b\": 2}", r#"{"a":1,"b":2}"#),
            (r#"{"a": "x // y", /* , } */}"#, r#"{"a":"x // y"}"#),
            (r#"{"a": "\" // y"}"#, r#"{"a":"\" // y"}"#),
            ("[1, 2, ]", "[1,2]"),
            ("[[1,],{\"a\":[],},]", r#"[[1],{"a":[]}]"#),
            ("[1, // é\n]", "[1]"),
            (r#"["https://a/", ",]"]"#, r#"["https://a/",",]"]"#),
        ] {
            let plain = plain(text);
            assert_eq!(plain.len(), text.len(), "{text}");
            let value: serde_json::Value = serde_json::from_str(&plain).expect(text);
            assert_eq!(value.to_string(), wanted, "{text}");
        }
    }

    #[test]
    fn other_commas_are_no_json_before_and_after() {
        for text in ["[1,,]", "[,]", "{,}", "[1,2", "{\"a\":,}", "[1],"] {
            assert!(
                serde_json::from_str::<serde_json::Value>(&plain(text)).is_err(),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_cut_short_ends() {
        for text in ["\"", "\"\\", "/*", "//", "/", "{\"a\": /* ", ",", ""] {
            assert_eq!(plain(text).len(), text.len(), "{text}");
        }
    }
}

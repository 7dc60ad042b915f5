//! The envelope of Intel's signed JSON: `{"tcbInfo":{...},"signature":"<128 hex>"}` and its two siblings.
//!
//! The signature covers the exact bytes of the inner object as sent, from `{` to the matching `}`, so that slice is
//! found and kept; nothing is ever written again from parsed values. A document is read in one pass: its bytes are
//! turned into types by the same parser that finds where the object ends. Unknown members of the envelope, a member
//! that stands twice, and anything after the envelope are refused. Source: Intel PCS API v4, "Get TCB Info".

use std::ops::Range;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::{EnclaveIdentity, EvaluationNumbers, TcbInfo};
use crate::Error;
use crate::error::within;
use crate::ids::hex_array;

/// The three kinds of signed JSON, by the member of the envelope that holds the object.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SignedMember {
    /// `enclaveIdentity`.
    EnclaveIdentity,
    /// `tcbEvaluationDataNumbers`.
    EvaluationNumbers,
    /// `tcbInfo`.
    TcbInfo,
}

impl SignedMember {
    /// All three, in order.
    pub const ALL: [Self; 3] = [
        Self::EnclaveIdentity,
        Self::EvaluationNumbers,
        Self::TcbInfo,
    ];

    /// The member's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EnclaveIdentity => "enclaveIdentity",
            Self::EvaluationNumbers => "tcbEvaluationDataNumbers",
            Self::TcbInfo => "tcbInfo",
        }
    }

    /// The member of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|member| member.name() == name)
    }
}

/// An inner object: how its text becomes the type.
pub(crate) trait Body: Sized {
    /// The document as written.
    type Text: DeserializeOwned;

    /// What to call it in errors.
    const WHAT: &'static str;

    /// The error for a version that is not read at all.
    fn refuse_version(version: u64) -> Option<Error>;

    /// Settles what depends on several members.
    fn settle(text: Self::Text) -> Result<Self, Error>;
}

/// The inner object of either kind, parsed.
pub(crate) enum Parsed {
    EnclaveIdentity(EnclaveIdentity),
    EvaluationNumbers(EvaluationNumbers),
    TcbInfo(TcbInfo),
}

/// An envelope taken apart.
pub(crate) struct Envelope<'a> {
    pub(crate) member: SignedMember,
    /// Where the signed object stands in the document.
    pub(crate) signed: Range<usize>,
    /// The signature as received: 128 hex digits.
    pub(crate) signature: &'a str,
    pub(crate) parsed: Parsed,
}

/// The signature's text and the 64 bytes it stands for, `r || s`, big endian.
pub(crate) fn signature(text: &str) -> Result<[u8; 64], Error> {
    hex_array(text).ok_or_else(|| Error::format("signature", "not 128 hex digits"))
}

/// Reads a document of at most 1 MiB.
pub(crate) fn envelope(document: &str) -> Result<Envelope<'_>, Error> {
    within("signed JSON", MAX_BYTES, document.len())?;
    let mut cursor = Cursor { document, at: 0 };
    let (mut inner, mut signature) = (None, None);
    cursor.take(b'{')?;
    loop {
        let name = cursor.text()?;
        cursor.take(b':')?;
        if name == "signature" {
            if signature.replace(cursor.text()?).is_some() {
                return Err(wrong("signature stands twice"));
            }
        } else {
            let member = SignedMember::from_name(name)
                .ok_or_else(|| wrong("a member other than signature and one signed object"))?;
            let (signed, parsed) = cursor.object(member)?;
            if inner.replace((member, signed, parsed)).is_some() {
                return Err(wrong("more than one signed object"));
            }
        }
        match cursor.next()? {
            b',' => {}
            b'}' => break,
            _ => return Err(wrong("neither a comma nor the end after a member")),
        }
    }
    cursor.end()?;
    match (inner, signature) {
        (Some((member, signed, parsed)), Some(signature)) => Ok(Envelope {
            member,
            signed,
            signature,
            parsed,
        }),
        (None, _) => Err(wrong("no signed object")),
        (_, None) => Err(wrong("no signature")),
    }
}

/// Reads an inner object that stands alone, without white space around it.
pub(crate) fn detached(member: SignedMember, signed: &str) -> Result<Parsed, Error> {
    within("signed JSON", MAX_BYTES, signed.len())?;
    let mut cursor = Cursor {
        document: signed,
        at: 0,
    };
    let (range, parsed) = cursor.object(member)?;
    if range != (0..signed.len()) {
        return Err(wrong("text around the signed object"));
    }
    Ok(parsed)
}

/// The same JSON without the white space outside strings; key order and number text stay as they are.
pub(crate) fn compact(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len());
    let (mut in_string, mut escaped) = (false, false);
    for &byte in json {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if is_space(byte) {
            continue;
        } else {
            in_string = byte == b'"';
        }
        out.push(byte);
    }
    out
}

/// For a version that is none of ours.
pub(crate) fn unsupported_version(what: &str, version: u64) -> Error {
    Error::unsupported(format_args!("{what} version {version}"))
}

/// Walks the envelope; the objects inside are serde's.
struct Cursor<'a> {
    document: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    /// The next byte that is not white space, consumed.
    fn next(&mut self) -> Result<u8, Error> {
        self.skip_space();
        let byte = *self
            .document
            .as_bytes()
            .get(self.at)
            .ok_or_else(|| wrong("it ends too early"))?;
        self.at += 1;
        Ok(byte)
    }

    fn skip_space(&mut self) {
        let rest = self.document.as_bytes().get(self.at..).unwrap_or_default();
        self.at += rest.iter().take_while(|byte| is_space(**byte)).count();
    }

    fn take(&mut self, expected: u8) -> Result<(), Error> {
        if self.next()? == expected {
            return Ok(());
        }
        Err(wrong(&format!("{} expected", char::from(expected))))
    }

    /// A string without escapes: names and signatures have none, and two spellings of one name would hide a double.
    fn text(&mut self) -> Result<&'a str, Error> {
        self.take(b'"')?;
        let rest = self.document.get(self.at..).unwrap_or_default();
        let end = rest
            .bytes()
            .position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))
            .filter(|end| rest.as_bytes().get(*end) == Some(&b'"'))
            .ok_or_else(|| wrong("a text with escapes or without an end"))?;
        self.at += end + 1;
        Ok(rest.get(..end).unwrap_or_default())
    }

    /// The object of `member`: where it stands, and its value.
    fn object(&mut self, member: SignedMember) -> Result<(Range<usize>, Parsed), Error> {
        match member {
            SignedMember::EnclaveIdentity => {
                let (range, body) = self.body()?;
                Ok((range, Parsed::EnclaveIdentity(body)))
            }
            SignedMember::EvaluationNumbers => {
                let (range, body) = self.body()?;
                Ok((range, Parsed::EvaluationNumbers(body)))
            }
            SignedMember::TcbInfo => {
                let (range, body) = self.body()?;
                Ok((range, Parsed::TcbInfo(body)))
            }
        }
    }

    fn body<B: Body>(&mut self) -> Result<(Range<usize>, B), Error> {
        self.skip_space();
        let start = self.at;
        let rest = self.document.get(start..).unwrap_or_default();
        if !rest.starts_with('{') {
            return Err(Error::format(B::WHAT, "not an object"));
        }
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<B::Text>();
        let text = match values.next() {
            Some(Ok(text)) => text,
            Some(Err(error)) => return Err(explain::<B>(rest, &error)),
            None => return Err(Error::format(B::WHAT, "it ends too early")),
        };
        self.at = start + values.byte_offset();
        Ok((start..self.at, B::settle(text)?))
    }

    fn end(&mut self) -> Result<(), Error> {
        self.skip_space();
        if self.at == self.document.len() {
            return Ok(());
        }
        Err(wrong("text after the envelope"))
    }
}

/// Why an object was not read: its version if that is the reason, else what serde says.
fn explain<B: Body>(rest: &str, error: &serde_json::Error) -> Error {
    #[derive(Deserialize)]
    struct Versioned {
        version: u64,
    }

    let object = serde_json::Deserializer::from_str(rest)
        .into_iter::<&RawValue>()
        .next()
        .and_then(Result::ok);
    object
        .and_then(|object| serde_json::from_str::<Versioned>(object.get()).ok())
        .and_then(|object| B::refuse_version(object.version))
        .unwrap_or_else(|| Error::format(B::WHAT, error))
}

fn wrong(why: &str) -> Error {
    Error::format("signed JSON", why)
}

/// White space of RFC 8259, section 2.
const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// The largest genuine document has 12,288 bytes; PCCS limits a whole import to 2 MB.
const MAX_BYTES: usize = 1024 * 1024;

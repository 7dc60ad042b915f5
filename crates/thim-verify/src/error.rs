//! Why something was not parsed or not believed: one enum for the crate.
//!
//! A variant exists when a caller would act differently on it; its fields are the facts (what was expected, what
//! was found, at which instant). No variant carries the body of a document; a fragment of foreign text is at most
//! 160 characters with control characters replaced, so an error may be logged and shown as it is.

use std::fmt;

use crate::{Digest, UnixTime};

/// Everything that can be wrong with collateral, its certificates or the text forms of our own names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Genuine, but it answers for something else than what was asked.
    #[error("the {what} is for another {which}")]
    AnotherSubject {
        /// What it is, e.g. `VCEK`.
        what: String,
        /// In what it differs, e.g. `chip`; never the value.
        which: String,
    },

    /// A certificate is past its `notAfter` at the instant it was judged at.
    #[error("{subject} expired at {not_after}; judged at {now}")]
    Expired {
        /// Subject common name.
        subject: String,
        /// The instant of the judgement.
        now: UnixTime,
        /// End of validity.
        not_after: UnixTime,
    },

    /// The bytes do not have the form that their specification demands.
    #[error("{what}: {why}")]
    Format {
        /// What was being read, e.g. `TCB info`.
        what: String,
        /// What was wrong with it.
        why: String,
    },

    /// The object is dated after the clock: a clock that is slow, or a vendor's that is fast.
    #[error("issued at {issued}, which is after {now}")]
    NotYetIssued {
        /// The instant of the judgement.
        now: UnixTime,
        /// `issueDate` or `thisUpdate` of the object.
        issued: UnixTime,
    },

    /// A certificate is before its `notBefore` at the instant it was judged at.
    #[error("{subject} is valid from {not_before}; judged at {now}")]
    NotYetValid {
        /// Subject common name.
        subject: String,
        /// The instant of the judgement.
        now: UnixTime,
        /// Start of validity.
        not_before: UnixTime,
    },

    /// A PCK certificate is on the revocation list of the authority that issued it.
    #[error(
        "the PCK certificate with serial {serial} is revoked by the PCK CRL of {pck_crl_this_update}"
    )]
    PckRevoked {
        /// Serial number, lower-case hex, as it stands in the list.
        serial: String,
        /// `thisUpdate` of the PCK CRL that says so.
        pck_crl_this_update: UnixTime,
    },

    /// A certificate with the signer's key is on the root's revocation list.
    #[error("{subject}, serial {serial}, is revoked by the root CRL of {root_crl_this_update}")]
    Revoked {
        /// Serial number, lower-case hex, as it stands in the list.
        serial: String,
        /// Subject common name of the revoked certificate.
        subject: String,
        /// `thisUpdate` of the root CRL that says so.
        root_crl_this_update: UnixTime,
    },

    /// A signature does not verify with the key it must verify with.
    #[error("the signature of the {what} does not verify with the key of {signer}")]
    SignatureInvalid {
        /// What is signed: a [`Kind`](crate::Kind) or `certificate`.
        what: String,
        /// Common name of the certificate whose key was tried.
        signer: String,
    },

    /// The object is larger than anything genuine; it was not looked into.
    #[error("{what} of {found} bytes; at most {limit} are accepted")]
    TooLarge {
        /// What was being read.
        what: String,
        /// The limit in bytes.
        limit: usize,
        /// The size found in bytes.
        found: usize,
    },

    /// There are more items than anything genuine has.
    #[error("more than {limit} {what}")]
    TooMany {
        /// What there are too many of.
        what: String,
        /// The limit.
        limit: usize,
    },

    /// No certificate that could have signed this is known or was delivered.
    #[error("no certificate of {wanted} is known")]
    UnknownIssuer {
        /// Common name that the signer must carry.
        wanted: String,
    },

    /// Well-formed, perhaps genuine, but of a kind or version that THIM does not serve.
    #[error("{what} is not supported")]
    Unsupported {
        /// What it is.
        what: String,
    },

    /// A certificate leads to a root whose key is not among the trust anchors.
    #[error("the chain ends in a root with key {found_spki}, which is not trusted")]
    UntrustedRoot {
        /// SHA-256 of that root's SubjectPublicKeyInfo.
        found_spki: Digest,
    },

    /// A name, or the role that comes with it, is not the one required at this place.
    #[error("expected {expected}, found {found}")]
    WrongIssuer {
        /// The name or role required.
        expected: String,
        /// The one found.
        found: String,
    },
}

impl Error {
    /// A stable code for metrics, JSON and `THIM-Cause`: lower-case words joined by hyphens.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::AnotherSubject { .. } => "another-subject",
            Self::Expired { .. } => "expired",
            Self::Format { .. } => "format",
            Self::NotYetIssued { .. } => "not-yet-issued",
            Self::NotYetValid { .. } => "not-yet-valid",
            Self::PckRevoked { .. } => "pck-revoked",
            Self::Revoked { .. } => "revoked",
            Self::SignatureInvalid { .. } => "signature-invalid",
            Self::TooLarge { .. } => "too-large",
            Self::TooMany { .. } => "too-many",
            Self::UnknownIssuer { .. } => "unknown-issuer",
            Self::Unsupported { .. } => "unsupported",
            Self::UntrustedRoot { .. } => "untrusted-root",
            Self::WrongIssuer { .. } => "wrong-issuer",
        }
    }

    /// [`Error::AnotherSubject`].
    pub(crate) fn another_subject(what: &str, which: &str) -> Self {
        Self::AnotherSubject {
            what: what.to_owned(),
            which: which.to_owned(),
        }
    }

    /// A [`Error::Format`] whose reason may contain foreign text: shortened and cleaned.
    pub(crate) fn format(what: impl Into<String>, why: impl fmt::Display) -> Self {
        Self::Format {
            what: what.into(),
            why: excerpt(&why.to_string()),
        }
    }

    /// [`Error::TooMany`].
    pub(crate) fn too_many(what: &str, limit: usize) -> Self {
        Self::TooMany {
            what: what.to_owned(),
            limit,
        }
    }

    /// [`Error::Unsupported`].
    pub(crate) fn unsupported(what: impl fmt::Display) -> Self {
        Self::Unsupported {
            what: excerpt(&what.to_string()),
        }
    }
}

/// Refuses `found` bytes when they are more than `limit`.
pub(crate) fn within(what: &str, limit: usize, found: usize) -> Result<(), Error> {
    if found <= limit {
        return Ok(());
    }
    Err(Error::TooLarge {
        what: what.to_owned(),
        limit,
        found,
    })
}

/// Foreign text made fit for a log line: at most [`EXCERPT_CHARS`] characters, control characters replaced.
pub(crate) fn excerpt(text: &str) -> String {
    let mut short: String = text
        .chars()
        .take(EXCERPT_CHARS)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    if text.chars().nth(EXCERPT_CHARS).is_some() {
        short.push('…');
    }
    short
}

/// Enough for every message of our own and of the parsers; too little to leak a document.
const EXCERPT_CHARS: usize = 160;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_is_cut_and_cleaned() {
        let Error::Format { why, .. } = Error::format("x", "a\nb\0".to_owned() + &"é".repeat(500))
        else {
            panic!("a format error");
        };
        assert_eq!(why.chars().count(), EXCERPT_CHARS + 1);
        assert!(why.starts_with("a\u{fffd}b\u{fffd}é") && why.ends_with('…'));
    }

    #[test]
    fn limits_are_inclusive() {
        assert_eq!(within("x", 3, 3), Ok(()));
        assert_eq!(within("x", 3, 4).map_err(|e| e.reason()), Err("too-large"));
    }
}

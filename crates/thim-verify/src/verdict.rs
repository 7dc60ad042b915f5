//! The answer to evidence in one word.

use std::fmt;

/// Whether evidence is accepted. Text: `accepted`, `not-accepted`, `unknown`.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Verdict {
    /// Everything passed or was forgiven.
    Accepted,
    /// Something failed that was not forgiven.
    NotAccepted,
    /// Nothing failed, but something could not be checked.
    Unknown,
}

impl Verdict {
    /// The text form.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::NotAccepted => "not-accepted",
            Self::Unknown => "unknown",
        }
    }

    /// The worst of several: what failed outweighs what could not be checked. Accepted when there is none.
    pub fn worst(all: impl IntoIterator<Item = Self>) -> Self {
        all.into_iter()
            .fold(Self::Accepted, |worst, next| match (worst, next) {
                (Self::NotAccepted, _) | (_, Self::NotAccepted) => Self::NotAccepted,
                (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
                (Self::Accepted, Self::Accepted) => Self::Accepted,
            })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

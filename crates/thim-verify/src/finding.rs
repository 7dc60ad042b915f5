//! The shape of what is found when evidence is looked at: how a look turned out, and the facts it was judged by.
//!
//! Shared by AMD's reports and Intel's quotes, so that one reader reads both. What is looked at, and its name, is each
//! vendor's own. An [`Outcome`] carries its reason; a [`Fact`] carries a value as it was judged, so that whoever reads
//! the finding can judge again. What identifies one machine (a chip id, a PPID, a platform instance id) is in neither.

use std::fmt;

/// How a look turned out; the text says why, for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Not as it should be.
    Failed(String),
    /// Nothing to tell it by.
    NotChecked(String),
    /// As it should be.
    Passed,
}

impl Outcome {
    /// `failed`, `not-checked` or `passed`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Failed(_) => "failed",
            Self::NotChecked(_) => "not-checked",
            Self::Passed => "passed",
        }
    }

    /// Why, where it did not pass.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Failed(why) | Self::NotChecked(why) => Some(why),
            Self::Passed => None,
        }
    }
}

/// One value that a finding was judged by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fact {
    /// Lower-case words joined by hyphens; once in a finding.
    pub name: &'static str,
    /// As the field writes it: instants in RFC 3339, digests and bits in lower-case hex.
    pub value: String,
}

impl Fact {
    /// A value by its text form.
    pub fn new(name: &'static str, value: impl fmt::Display) -> Self {
        Self {
            name,
            value: value.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_reasons() {
        let failed = Outcome::Failed("no".to_owned());
        assert_eq!((failed.name(), failed.reason()), ("failed", Some("no")));
        let unchecked = Outcome::NotChecked("?".to_owned());
        assert_eq!(
            (unchecked.name(), unchecked.reason()),
            ("not-checked", Some("?"))
        );
        assert_eq!(
            (Outcome::Passed.name(), Outcome::Passed.reason()),
            ("passed", None)
        );
        assert_eq!(Fact::new("vmpl", 3).value, "3");
    }
}

//! One piece of news: its kind, the key it is told once under, a sentence for people, facts for machines. Pure.
//!
//! Names of kinds are what receivers filter by, and never change. Nothing here names a platform or a chip; what counts
//! platforms is for whoever may look at platforms ([`NewsKind::is_open`]).

use std::fmt;
use std::str::FromStr;

use serde_json::Value;
use thim_verify::Digest;
use uuid::{Builder, Uuid};

/// What it is about.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum NewsKind {
    /// A TCB info of a machine type of the fleet names an advisory that it did not name before.
    AdvisoryNew,
    /// AMD's revocation list of a product of the fleet has another number or more entries.
    AmdCrlChanged,
    /// A product line of AMD's is served or registered for the first time.
    AmdProductSeen,
    /// Intel marks levels of a machine type of the fleet as past servicing.
    EndOfServicing,
    /// The vendor's lists have a number that they did not have before.
    EvaluationNumberNew,
    /// Another number of platforms is below a baseline.
    PlatformsBelow,
    /// What a source serves as standard is another number than the signed lists say.
    StandardDiffers,
    /// Standard moves by itself within 60, 30 or 7 days.
    StandardMoves,
}

impl NewsKind {
    /// All, in order.
    pub const ALL: [Self; 8] = [
        Self::AdvisoryNew,
        Self::AmdCrlChanged,
        Self::AmdProductSeen,
        Self::EndOfServicing,
        Self::EvaluationNumberNew,
        Self::PlatformsBelow,
        Self::StandardDiffers,
        Self::StandardMoves,
    ];

    /// The stable name: `type` of a CloudEvent, category of the feed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AdvisoryNew => "org.thim.advisory.new",
            Self::AmdCrlChanged => "org.thim.amd.crl-changed",
            Self::AmdProductSeen => "org.thim.amd.product-seen",
            Self::EndOfServicing => "org.thim.servicing.ended",
            Self::EvaluationNumberNew => "org.thim.baseline.evaluation-number-new",
            Self::PlatformsBelow => "org.thim.baseline.platforms-below",
            Self::StandardDiffers => "org.thim.baseline.standard-differs",
            Self::StandardMoves => "org.thim.baseline.standard-moves",
        }
    }

    /// A few words for a heading.
    pub const fn title(self) -> &'static str {
        match self {
            Self::AdvisoryNew => "New advisory",
            Self::AmdCrlChanged => "AMD revocation list changed",
            Self::AmdProductSeen => "AMD product line seen",
            Self::EndOfServicing => "End of servicing",
            Self::EvaluationNumberNew => "New TCB evaluation number",
            Self::PlatformsBelow => "Platforms below baseline",
            Self::StandardDiffers => "Standard differs",
            Self::StandardMoves => "Standard moves",
        }
    }

    /// True where it says only what vendors publish; what counts platforms, or names tenants, wants a reader's token.
    pub const fn is_open(self) -> bool {
        match self {
            Self::AdvisoryNew
            | Self::AmdCrlChanged
            | Self::AmdProductSeen
            | Self::EndOfServicing
            | Self::EvaluationNumberNew
            | Self::StandardDiffers
            | Self::StandardMoves => true,
            Self::PlatformsBelow => false,
        }
    }
}

impl fmt::Display for NewsKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for NewsKind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| UnknownKind {
                found: text.chars().take(SHOWN_CHARS).collect(),
            })
    }
}

/// A name that is no kind's.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{found:?} is no kind of news: wanted one of {}", NewsKind::ALL.map(NewsKind::name).join(", "))]
pub struct UnknownKind {
    found: String,
}

/// One piece of news.
#[derive(Clone, Debug, PartialEq)]
pub struct NewsItem {
    /// What it is about.
    pub kind: NewsKind,
    /// What it is told once under; says the facts, in one line.
    pub key: String,
    /// The thing it is about, such as `intel/standard/20`.
    pub subject: String,
    /// A sentence or two for people.
    pub text: String,
    /// The facts: an object.
    pub data: Value,
}

impl NewsItem {
    /// Its id: the same for the same news, on every replica.
    pub fn id(&self) -> Uuid {
        id(&self.key)
    }
}

/// The id of what is told under a key: a UUID of version 8 (RFC 9562 section 5.8), of the key's SHA-256.
pub fn id(key: &str) -> Uuid {
    let Digest(hash) = Digest::of(key.as_bytes());
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(hash) {
        *to = from;
    }
    Builder::from_custom_bytes(bytes).into_uuid()
}

/// A wrong name is shown to whoever wrote it, not a page of it.
const SHOWN_CHARS: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_near_misses_refused() {
        for kind in NewsKind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        for text in [
            "",
            "org.thim",
            "ORG.THIM.ADVISORY.NEW",
            "org.thim.advisory.new ",
        ] {
            assert!(text.parse::<NewsKind>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn ids_are_stable_and_differ_by_key() {
        let one = id("evaluation-number/21");
        assert_eq!(one, id("evaluation-number/21"));
        assert_ne!(one, id("evaluation-number/22"));
        assert_eq!(one.get_version_num(), 8);
    }
}

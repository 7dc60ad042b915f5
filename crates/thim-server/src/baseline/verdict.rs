//! A platform under a rule: whether it is recent enough.
//!
//! What is not known is said to be unknown, never guessed: a trust domain's platform whose TEE TCB SVN nobody has told, a
//! chip that reports nothing, a product without a minimum. Unknown is not *met*; it is not *below* either.

use std::fmt;

use thim_verify::amd::{SnpTcb, TcbComponent};
use thim_verify::{ConvergedStatus, TcbEvaluation, UnixTime};

use super::rule::IntelRule;

/// Whether a platform is recent enough. Text: lower case.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Verdict {
    /// It is not.
    Below,
    /// It is.
    Met,
    /// It is not, and all that is wrong with it is put up with for now.
    Tolerated,
    /// Nobody can tell.
    Unknown,
}

impl Verdict {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Below, Self::Met, Self::Tolerated, Self::Unknown];

    /// The text form.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Below => "below",
            Self::Met => "met",
            Self::Tolerated => "tolerated",
            Self::Unknown => "unknown",
        }
    }

    /// Whether a platform with this verdict is let in.
    pub const fn passes(self) -> bool {
        match self {
            Self::Met | Self::Tolerated => true,
            Self::Below | Self::Unknown => false,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A verdict and until when it lasts at the same TCB.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// Of a tolerated one: when the first of its advisories is put up with no longer.
    pub until: Option<UnixTime>,
}

impl Judgement {
    const fn of(verdict: Verdict) -> Self {
        Self {
            verdict,
            until: None,
        }
    }

    /// A platform of Intel's under `rule`. Allocates only where advisories are to be put up with.
    pub fn of_intel(rule: &IntelRule, evaluation: &TcbEvaluation<'_>, now: UnixTime) -> Self {
        let Some(status) = evaluation.status() else {
            return Self::of(Verdict::Unknown);
        };
        if rule.accepted_statuses.contains(&status) {
            return Self::of(Verdict::Met);
        }
        let hopeless = matches!(
            status,
            ConvergedStatus::NotSupported | ConvergedStatus::Revoked
        );
        if hopeless || rule.tolerated_advisories.is_empty() {
            return Self::of(Verdict::Below);
        }
        let tolerated = |id| {
            let mut all = rule.tolerated_advisories.iter();
            all.find(|one| one.id == id && now < one.until)
                .map(|one| one.until)
        };
        let ids = evaluation.advisory_ids();
        let until: Option<Vec<UnixTime>> = ids.into_iter().map(tolerated).collect();
        match until.and_then(|until| until.into_iter().min()) {
            Some(until) => Self {
                verdict: Verdict::Tolerated,
                until: Some(until),
            },
            // One that is not put up with, or a status that no advisory explains.
            None => Self::of(Verdict::Below),
        }
    }

    /// A chip of AMD's that reports a TCB, under the least TCB of its product.
    pub fn of_amd(minimum: Option<&SnpTcb>, reported: Option<&SnpTcb>) -> Self {
        Self::of(match (minimum, reported) {
            (Some(minimum), Some(reported)) if reported.covers(minimum) => Verdict::Met,
            (Some(_), Some(_)) => Verdict::Below,
            (None, _) | (_, None) => Verdict::Unknown,
        })
    }
}

/// The components in which a reported TCB falls short of a minimum: (component, have, need).
pub fn short_of(
    reported: &SnpTcb,
    minimum: &SnpTcb,
) -> Vec<(TcbComponent, Option<u8>, Option<u8>)> {
    let short = reported.short_of(minimum).into_iter();
    short
        .map(|component| {
            (
                component,
                reported.component(component),
                minimum.component(component),
            )
        })
        .collect()
}

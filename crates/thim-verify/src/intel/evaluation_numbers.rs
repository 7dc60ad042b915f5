//! The signed list of TCB evaluation data numbers that Intel supports at the moment.
//!
//! On the wire the list is called `tcbEvalNumbers`; Intel's documentation says `tcbNumbers`. Either is read, both
//! at once are refused. Source: Intel PCS API v4, "Get TCB Evaluation Data Numbers"; spec/intel-verification.md,
//! section 8.

use serde::Deserialize;

use super::signed_json::{self, Body};
use super::tcb_info::DocumentId;
use super::tcb_level::{AtMost, Object};
use crate::{ArtefactKey, Error, EvaluationNumber, Tee, UnixTime};

/// A parsed list of evaluation numbers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EvaluationNumbers {
    /// Whose list.
    pub tee: Tee,
    /// `issueDate`.
    pub issued: UnixTime,
    /// `nextUpdate`.
    pub next_update: UnixTime,
    /// The numbers in the order of the document; each stands once, there is at least one.
    pub numbers: Vec<EvaluationEntry>,
}

/// One supported number.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct EvaluationEntry {
    /// TCB evaluation data number.
    #[serde(rename = "tcbEvaluationDataNumber")]
    pub number: EvaluationNumber,
    /// `tcbRecoveryEventDate`: when the event that made the number was made public.
    #[serde(rename = "tcbRecoveryEventDate")]
    pub event_date: UnixTime,
    /// `tcbDate`: the date its levels carry.
    #[serde(rename = "tcbDate")]
    pub tcb_date: UnixTime,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EvaluationNumbersText {
    id: DocumentId,
    version: u64,
    issue_date: UnixTime,
    next_update: UnixTime,
    tcb_eval_numbers: Option<AtMost<Object<EvaluationEntry>, MAX_NUMBERS>>,
    tcb_numbers: Option<AtMost<Object<EvaluationEntry>, MAX_NUMBERS>>,
}

impl EvaluationNumbers {
    /// The key this document answers for.
    pub fn key(&self) -> ArtefactKey {
        ArtefactKey::EvaluationNumbers { tee: self.tee }
    }

    /// What Intel calls `standard` at `now`: the highest number whose recovery event is at least 12 months old.
    pub fn standard_at(&self, now: UnixTime) -> Option<EvaluationNumber> {
        self.numbers
            .iter()
            .filter(|entry| entry.event_date.plus_months(STANDARD_MONTHS) <= now)
            .map(|entry| entry.number)
            .max()
    }

    /// The highest number, which Intel calls `early`.
    pub fn highest(&self) -> Option<EvaluationNumber> {
        self.numbers.iter().map(|entry| entry.number).max()
    }

    /// The lowest number still supported.
    pub fn lowest(&self) -> Option<EvaluationNumber> {
        self.numbers.iter().map(|entry| entry.number).min()
    }
}

impl Body for EvaluationNumbers {
    type Text = EvaluationNumbersText;

    const WHAT: &'static str = WHAT;

    fn refuse_version(version: u64) -> Option<Error> {
        (version != 1).then(|| signed_json::unsupported_version(WHAT, version))
    }

    fn settle(text: EvaluationNumbersText) -> Result<Self, Error> {
        if let Some(error) = Self::refuse_version(text.version) {
            return Err(error);
        }
        let numbers = match (text.tcb_eval_numbers, text.tcb_numbers) {
            (Some(AtMost(numbers)), None) | (None, Some(AtMost(numbers))) => numbers,
            _ => {
                return Err(Error::format(
                    WHAT,
                    "not exactly one of tcbEvalNumbers and tcbNumbers",
                ));
            }
        };
        let numbers: Vec<EvaluationEntry> =
            numbers.into_iter().map(|Object(entry)| entry).collect();
        let mut sorted: Vec<_> = numbers.iter().map(|entry| entry.number).collect();
        sorted.sort_unstable();
        sorted.dedup();
        if sorted.len() != numbers.len() || numbers.is_empty() {
            return Err(Error::format(
                WHAT,
                "an empty list, or a number that stands twice",
            ));
        }
        Ok(Self {
            tee: text.id.into(),
            issued: text.issue_date,
            next_update: text.next_update,
            numbers,
        })
    }
}

/// Rule of Intel's `update=standard`, spec/intel-verification.md, section 8.
const STANDARD_MONTHS: i32 = 12;

/// The longest genuine list has 8.
const MAX_NUMBERS: usize = 256;

const WHAT: &str = "TCB evaluation data numbers";

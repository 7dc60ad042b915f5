//! What a quote says of the platform it is of, for the register: recorded only where an operator wants it.
//!
//! What it promises. Only a quote whose checks say that everything is genuine, PCK certificate and authority unrevoked,
//! leaves a trace; a platform that the register does not know is not registered by it. A quote does not say when it was
//! made: what is kept is the latest by when it was seen, and an old quote that comes again counts as seen now.

use thim_verify::{Outcome, QuoteCheck, QuoteFindings, UnixTime};

use super::Platforms;
use crate::sealing::Purpose;
use crate::store::{EvidenceNoted, EvidenceRow};

/// What a genuine quote says of its platform. Has no `Debug`: a hash of the PPID is inside.
pub struct SeenInQuote {
    ppid_hash: String,
    row: EvidenceRow,
}

impl Platforms {
    /// What is to be recorded of a quote, judged now.
    ///
    /// # Errors
    /// Why nothing is, without secrets.
    pub fn seen_in_quote(
        &self,
        findings: &QuoteFindings<'_>,
        now: UnixTime,
    ) -> Result<SeenInQuote, String> {
        let not_genuine = "the quote, or what it was judged by, is not known to be genuine";
        let passed = |check| findings.outcome(check) == Some(&Outcome::Passed);
        // A status rests on neither list, but who holds a key that is revoked may sign anything.
        let unrevoked = passed(QuoteCheck::PckRevocation) && passed(QuoteCheck::PckCaRevocation);
        let chain = findings.pck_chain().ok_or(not_genuine)?;
        if findings.status().is_none() || !unrevoked {
            return Err(not_genuine.to_owned());
        }
        let leaf = chain.leaf();
        Ok(SeenInQuote {
            ppid_hash: self.identity.keyed(Purpose::Ppid, &leaf.ppid().0),
            row: EvidenceRow::of(findings.quote(), leaf.tcbm(), now),
        })
    }

    /// Records it.
    ///
    /// # Errors
    /// Why it is not recorded, without secrets.
    pub async fn record_seen(&self, seen: &SeenInQuote) -> Result<(), String> {
        if self.collateral.is_read_only() {
            return Err("nothing can be changed in a view of the past".to_owned());
        }
        match self.store().note_evidence(&seen.ppid_hash, &seen.row).await {
            Ok(EvidenceNoted::Kept) => Ok(()),
            Ok(EvidenceNoted::Older) => {
                Err("a quote that was seen later is recorded already".to_owned())
            }
            Ok(EvidenceNoted::Unknown) => {
                Err("the register does not know the platform; register it first".to_owned())
            }
            // What was asked for is the verdict, and that stands.
            Err(error) => Err(self.storage(&error).detail),
        }
    }
}

//! Evidence of Intel's platforms: a quote looked at with verified collateral, every check told, then weighed.
//!
//! [`QuoteVerifier`] holds what is trusted and remembers what it has seen signed; [`QuoteCollateral`] holds what a
//! quote is judged by, verified once and used for many; [`QuoteFindings`] are the checks in the order of
//! spec/intel-verification.md, section 3. Nothing stops at the first failure. Policy (accepted statuses, debug,
//! expiry) is for [`appraise_quote`](appraise::appraise_quote) alone.

mod appraise;
mod collateral;
mod facts;
mod findings;
mod looking;
mod pck_chain;
mod supplemental;
mod td;
mod verifier;

pub use appraise::{
    QuoteAppraisal, QuoteConcern, QuotePolicy, QuoteRelaxation, QuoteWeighed, appraise_quote,
};
pub use collateral::{Absent, CollateralPart, QuoteCollateral};
pub use findings::{QuoteCheck, QuoteFinding, QuoteFindings};
pub use pck_chain::{PckChain, PckChainOrigin};
pub use supplemental::SupplementalData;
pub use verifier::QuoteVerifier;

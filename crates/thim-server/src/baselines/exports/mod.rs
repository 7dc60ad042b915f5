//! A baseline as other programs' policy, each in a form of its own: [`intel_policy`] for Intel's appraisal library, [`corim`] for
//! verifiers that take CoRIM, [`trustee`] for the reference values of Confidential Containers.
//!
//! What an export cannot say it leaves out on the strict side: tolerated advisories are in none but Trustee's. An export says what
//! holds when it is made; the statement is what is signed.

pub mod corim;
pub mod intel_policy;
pub mod trustee;

use thim_verify::{EvaluationNumber, Tee, UnixTime};

use super::Baselines;
use crate::baseline::{BaselineTee, IntelRule, Scope};

/// Why there is no such export.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotExported {
    /// AMD's platforms are none of Intel's.
    #[error("it is for sgx and tdx")]
    NotIntel,
    /// The rule does not accept `UpToDate`, without which the library takes no policy.
    #[error("the baseline does not accept UpToDate, and Intel's library takes no policy without")]
    NotUpToDate,
    /// The baseline selects no number.
    #[error("the baseline selects no evaluation number")]
    NoNumber,
    /// The baseline's number is below the operator's floor, so that nothing is served of it.
    #[error("the baseline's evaluation number is below the operator's floor, {floor}")]
    BelowFloor {
        /// The floor's.
        floor: EvaluationNumber,
    },
    /// For AMD a product has to be named.
    #[error("product: wanted for sev-snp, one of Milan, Genoa, Turin and Venice")]
    NoProduct,
    /// The baseline wants nothing of this product.
    #[error("the baseline has no minimum for {0}")]
    NoMinimum(&'static str),
    /// It cannot be written.
    #[error("it cannot be written: {0}")]
    Unwritable(String),
}

/// What a baseline of Intel's comes to.
struct Chosen {
    tee: Tee,
    rule: IntelRule,
    number: EvaluationNumber,
    /// Whose it is, and which.
    scope: Scope,
    version: u32,
}

fn chosen(
    baselines: &Baselines,
    scope: &Scope,
    tee: BaselineTee,
    now: UnixTime,
) -> Result<Chosen, NotExported> {
    let applied = baselines.applied(scope, tee, now);
    let (Some(intel), Some(rule)) = (tee.intel(), applied.rule.intel().cloned()) else {
        return Err(NotExported::NotIntel);
    };
    let view = std::sync::Arc::clone(&baselines.collateral().view());
    let selected = baselines.selection(&applied, tee, &view, now);
    let number = selected
        .and_then(Result::ok)
        .ok_or(NotExported::NoNumber)?
        .number;
    if let Some(floor) = baselines.floor_number(tee, now)
        && number < floor
    {
        return Err(NotExported::BelowFloor { floor });
    }
    Ok(Chosen {
        tee: intel,
        rule,
        number,
        scope: applied.scope,
        version: applied.version,
    })
}

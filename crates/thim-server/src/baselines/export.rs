//! A baseline as other programs' policy. Intel's appraisal library takes reference values as JSON
//! (`spec/intel-verification.md` section 10): accepted statuses, and the least evaluation number, which excludes its grace periods.

use std::collections::BTreeSet;

use serde::Serialize;
use thim_verify::{ConvergedStatus, Tee, UnixTime};

use super::Baselines;
use crate::baseline::{BaselineTee, Scope};

/// Reference values for one class of reports.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct ReferenceValues {
    /// What they are for.
    pub environment: Environment,
    /// The values.
    pub reference: Reference,
}

/// A class of reports.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Environment {
    /// Intel's id of the class.
    pub class_id: &'static str,
    /// In words.
    pub description: &'static str,
}

/// Values of a platform.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Reference {
    /// Every word of a platform's status has to be among these.
    pub accepted_tcb_status: BTreeSet<&'static str>,
    /// The least TCB evaluation data number of the collateral.
    pub min_eval_num: u32,
}

/// Why there is no such policy.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
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
}

/// The reference values of a baseline as it is now.
///
/// # Errors
/// [`NotExported`].
pub fn intel_policy(
    baselines: &Baselines,
    scope: &Scope,
    tee: BaselineTee,
    now: UnixTime,
) -> Result<Vec<ReferenceValues>, NotExported> {
    let applied = baselines.applied(scope, tee, now);
    let (Some(wanted), Some(rule)) = (tee.intel(), applied.rule.intel()) else {
        return Err(NotExported::NotIntel);
    };
    let view = std::sync::Arc::clone(&baselines.collateral().view());
    let selected = baselines.selection(&applied, tee, &view, now);
    let number = selected.and_then(Result::ok);
    let min_eval_num = number.ok_or(NotExported::NoNumber)?.number;
    if !rule.accepted_statuses.contains(&ConvergedStatus::UpToDate) {
        return Err(NotExported::NotUpToDate);
    }
    let accepted: BTreeSet<&'static str> = rule
        .accepted_statuses
        .iter()
        .flat_map(|status| words(*status).iter().copied())
        .collect();
    let classes: &[(&str, &str)] = match wanted {
        Tee::Sgx => &[(SGX, "SGX platform")],
        Tee::Tdx => &[(TDX_1_0, "TDX 1.0 platform"), (TDX_1_5, "TDX 1.5 platform")],
    };
    let all = classes
        .iter()
        .map(|(class_id, description)| ReferenceValues {
            environment: Environment {
                class_id,
                description,
            },
            reference: Reference {
                accepted_tcb_status: accepted.clone(),
                min_eval_num,
            },
        });
    Ok(all.collect())
}

/// A status in the words that Intel's results take it apart into.
const fn words(status: ConvergedStatus) -> &'static [&'static str] {
    match status {
        ConvergedStatus::ConfigurationAndSwHardeningNeeded => {
            &["UpToDate", "ConfigurationNeeded", "SWHardeningNeeded"]
        }
        ConvergedStatus::ConfigurationNeeded => &["UpToDate", "ConfigurationNeeded"],
        ConvergedStatus::NotSupported | ConvergedStatus::Revoked => &[],
        ConvergedStatus::OutOfDate => &["OutOfDate"],
        ConvergedStatus::OutOfDateConfigurationNeeded => &["OutOfDate", "ConfigurationNeeded"],
        ConvergedStatus::SwHardeningNeeded => &["UpToDate", "SWHardeningNeeded"],
        ConvergedStatus::TdRelaunchAdvised => &["TDRelaunchAdvised"],
        ConvergedStatus::TdRelaunchAdvisedConfigurationNeeded => {
            &["TDRelaunchAdvised", "ConfigurationNeeded"]
        }
        ConvergedStatus::UpToDate => &["UpToDate"],
    }
}

/// Class ids of Intel's Quote Appraisal Library (`spec/intel-verification.md` section 10).
const SGX: &str = "3123ec35-8d38-4ea5-87a5-d6c48b567570";
const TDX_1_0: &str = "9eec018b-7481-4b1c-8e1a-9f7c0c8c777f";
const TDX_1_5: &str = "f708b97f-0fb2-4e6b-8b03-8a5bcd1221d3";

//! For Intel's appraisal library, which takes reference values as JSON (`spec/intel-verification.md` section 10): accepted
//! statuses, and the least evaluation number, which excludes its grace periods.

use std::collections::BTreeSet;

use serde::Serialize;
use thim_verify::{ConvergedStatus, Tee, UnixTime};

use super::{Chosen, NotExported, chosen};
use crate::baseline::{BaselineTee, Scope};
use crate::baselines::Baselines;

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
    let Chosen {
        tee: wanted,
        rule,
        number: min_eval_num,
        ..
    } = chosen(baselines, scope, tee, now)?;
    if !rule.accepted_statuses.contains(&ConvergedStatus::UpToDate) {
        return Err(NotExported::NotUpToDate);
    }
    let accepted: BTreeSet<&'static str> = rule
        .accepted_statuses
        .iter()
        .flat_map(|status| words(*status).iter().copied())
        .collect();
    let all = classes(wanted)
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

/// Class ids of Intel's Quote Appraisal Library (`spec/intel-verification.md` section 10), with a name in words.
pub(super) const fn classes(tee: Tee) -> &'static [(&'static str, &'static str)] {
    match tee {
        Tee::Sgx => &[(SGX, "SGX platform")],
        Tee::Tdx => &[(TDX_1_0, "TDX 1.0 platform"), (TDX_1_5, "TDX 1.5 platform")],
    }
}

const SGX: &str = "3123ec35-8d38-4ea5-87a5-d6c48b567570";
const TDX_1_0: &str = "9eec018b-7481-4b1c-8e1a-9f7c0c8c777f";
const TDX_1_5: &str = "f708b97f-0fb2-4e6b-8b03-8a5bcd1221d3";

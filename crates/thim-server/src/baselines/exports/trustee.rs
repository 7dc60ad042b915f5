//! For Trustee of Confidential Containers: a message that its reference value provider takes (`rvps-tool register --path`), of the
//! type `sample`: names with the values that a policy may ask for by `query_reference_value`.
//!
//! Of SEV-SNP the names are those of Trustee's own policy for processors, which wants each component to be in a list: the
//! list is every value from the minimum up. Of Intel's there are none there; docs/exports.md has the lines of a policy.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use serde::Serialize;
use serde_json::{Value, json};
use thim_verify::UnixTime;
use thim_verify::amd::{Product, SnpTcb, TcbComponent};

use super::{NotExported, chosen};
use crate::baseline::{BaselineTee, Scope, recoveries};
use crate::baselines::{Baselines, floor_of};

/// A message of Trustee's reference value provider.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Message {
    /// Version of the message's form.
    pub version: &'static str,
    /// What reads the payload.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Base64 of a JSON object: names with their values.
    pub payload: String,
}

/// A baseline as it is now. Of SEV-SNP for one product.
///
/// # Errors
/// [`NotExported`].
pub fn trustee(
    baselines: &Baselines,
    scope: &Scope,
    tee: BaselineTee,
    product: Option<Product>,
    now: UnixTime,
) -> Result<Message, NotExported> {
    let values = match tee {
        BaselineTee::SevSnp => of_amd(
            baselines,
            scope,
            product.ok_or(NotExported::NoProduct)?,
            now,
        )?,
        BaselineTee::Sgx | BaselineTee::Tdx => of_intel(baselines, scope, tee, now)?,
    };
    let text =
        serde_json::to_vec(&values).map_err(|error| NotExported::Unwritable(error.to_string()))?;
    Ok(Message {
        version: "0.1.0",
        kind: "sample",
        payload: BASE64.encode(&text),
    })
}

fn of_intel(
    baselines: &Baselines,
    scope: &Scope,
    tee: BaselineTee,
    now: UnixTime,
) -> Result<BTreeMap<String, Value>, NotExported> {
    let chosen = chosen(baselines, scope, tee, now)?;
    let statuses = chosen.rule.accepted_statuses.iter();
    let statuses: Vec<&str> = statuses.map(|status| status.name()).collect();
    let tolerated = chosen.rule.tolerated_advisories.iter();
    let tolerated: Vec<&str> = tolerated
        .filter(|one| now < one.until)
        .map(|one| one.id.as_str())
        .collect();
    let entries = baselines.collateral().view().lists.entries();
    let signed = entries.iter().find(|entry| entry.number == chosen.number);
    let date = signed
        .map(|entry| entry.tcb_date)
        .or_else(|| recoveries::of(chosen.number).map(|known| known.event));
    let named = |name: &str| format!("{tee}_{name}");
    let mut values = BTreeMap::from([
        (named("tcb_status"), json!(statuses)),
        (named("min_tcb_eval_num"), json!(chosen.number)),
        (named("tolerated_advisory_ids"), json!(tolerated)),
    ]);
    if let Some(date) = date {
        values.insert(named("min_tcb_date"), json!(date.to_string()));
    }
    Ok(values)
}

fn of_amd(
    baselines: &Baselines,
    scope: &Scope,
    product: Product,
    now: UnixTime,
) -> Result<BTreeMap<String, Value>, NotExported> {
    let books = baselines.books();
    let applied = baselines.applied(scope, BaselineTee::SevSnp, now);
    let floor = floor_of(&books, BaselineTee::SevSnp, now);
    let rules = [Some(&applied), floor.as_ref()].into_iter().flatten();
    let minimums: Vec<SnpTcb> = rules
        .filter_map(|one| one.rule.amd())
        .filter_map(|rule| rule.least_tcb(product, now))
        .collect();
    if minimums.is_empty() {
        return Err(NotExported::NoMinimum(product.name()));
    }
    let named = [
        ("snp_bootloader", TcbComponent::BootLoader),
        ("snp_tee_svn", TcbComponent::Tee),
        ("snp_snp_svn", TcbComponent::Snp),
        ("snp_microcode", TcbComponent::Microcode),
    ];
    let values = named.into_iter().map(|(name, component)| {
        // The operator's floor holds for everybody.
        let least = minimums.iter().filter_map(|tcb| tcb.component(component));
        let enough: Vec<u8> = (least.max().unwrap_or(0)..=u8::MAX).collect();
        (name.to_owned(), json!(enough))
    });
    Ok(values.collect())
}

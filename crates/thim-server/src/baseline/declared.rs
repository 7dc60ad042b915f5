//! Baselines as files, so that they can be reviewed in git: TOML, one `[[baseline]]` for each scope and TEE.
//!
//! ```toml
//! [[baseline]]
//! tenant = "acme"               # `default` where absent; `floor` is the operator's floor
//! tee = "tdx"
//! reason = "SA-00960 lands with the next BIOS"
//! selector = { number = 19 }    # or "standard", "early", { lag_days = 400 }
//! on_retired = "roll-forward"   # or "archive", "refuse"
//! accepted_statuses = ["UpToDate", "SWHardeningNeeded"]
//! tolerated_advisories = [{ id = "INTEL-SA-00960", until = "2026-12-31T00:00:00Z" }]
//!
//! [[baseline]]
//! tee = "sev-snp"
//! [[baseline.minimums]]
//! product = "Milan"
//! boot_loader = 4
//! tee = 0
//! snp = 23
//! microcode = 219
//! ```

use std::collections::BTreeSet;

use serde::Deserialize;

use super::acts::REASON_CHARS;
use super::rule::{AmdRule, IntelRule, Rule, WrongRule};
use super::scope::{BaselineTee, Scope};

/// One baseline of a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Declared {
    /// Whose.
    pub scope: Scope,
    /// Of which TEE.
    pub tee: BaselineTee,
    /// What it wants.
    pub rule: Rule,
    /// Why; may be empty.
    pub reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    baseline: Vec<toml::Table>,
}

/// Reads a file.
///
/// # Errors
/// [`WrongRule`] names the baseline, the field and the limit.
pub fn read(text: &str) -> Result<Vec<Declared>, WrongRule> {
    let wrong = |field: &str, why: String| WrongRule {
        field: field.to_owned(),
        why,
    };
    if text.len() > FILE_BYTES {
        let why = format!("{} bytes; the limit is {FILE_BYTES}", text.len());
        return Err(wrong("file", why));
    }
    let file: File = toml::from_str(text).map_err(|error| wrong("file", error.to_string()))?;
    if file.baseline.is_empty() {
        return Err(wrong("baseline", "the file has none".to_owned()));
    }
    if file.baseline.len() > BASELINES {
        let why = format!("{}; the limit is {BASELINES}", file.baseline.len());
        return Err(wrong("baseline", why));
    }
    let mut seen = BTreeSet::new();
    let mut all = Vec::with_capacity(file.baseline.len());
    for (index, table) in file.baseline.into_iter().enumerate() {
        let place = |error: WrongRule| WrongRule {
            field: format!("baseline {}: {}", index + 1, error.field),
            why: error.why,
        };
        let declared = one(table).map_err(place)?;
        if !seen.insert((declared.scope.clone(), declared.tee)) {
            let why = format!("{} for {} stands twice", declared.scope, declared.tee);
            return Err(place(wrong("tenant", why)));
        }
        all.push(declared);
    }
    Ok(all)
}

fn one(mut table: toml::Table) -> Result<Declared, WrongRule> {
    let wrong = |field: &str, why: String| WrongRule {
        field: field.to_owned(),
        why,
    };
    let mut text = |name: &'static str| match table.remove(name) {
        None => Ok(None),
        Some(toml::Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(wrong(name, "wanted text".to_owned())),
    };
    let tenant = text("tenant")?.unwrap_or_else(|| Scope::Default.to_string());
    let tee = text("tee")?.ok_or_else(|| wrong("tee", "it is missing".to_owned()))?;
    let reason = text("reason")?.unwrap_or_default();
    if reason.chars().count() > REASON_CHARS {
        let why = format!("longer than {REASON_CHARS} characters");
        return Err(wrong("reason", why));
    }
    let scope: Scope = tenant
        .parse()
        .map_err(|error: super::scope::WrongName| wrong("tenant", error.to_string()))?;
    let tee: BaselineTee = tee
        .parse()
        .map_err(|error: super::scope::WrongName| wrong("tee", error.to_string()))?;
    let failed = |error: toml::de::Error| wrong("rule", error.message().to_owned());
    let value = toml::Value::Table(table);
    let rule = match tee {
        BaselineTee::SevSnp => Rule::Amd(value.try_into::<AmdRule>().map_err(failed)?),
        BaselineTee::Sgx | BaselineTee::Tdx => {
            Rule::Intel(value.try_into::<IntelRule>().map_err(failed)?)
        }
    };
    Ok(Declared {
        scope,
        tee,
        rule: rule.canonical()?,
        reason,
    })
}

/// A thousand tenants with three baselines each, of a few hundred bytes.
pub const FILE_BYTES: usize = 4 * 1024 * 1024;
/// See [`FILE_BYTES`].
const BASELINES: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baseline::{OnRetired, Selector};

    const SAMPLE: &str = r#"
[[baseline]]
tenant = "acme"
tee = "tdx"
reason = "why"
selector = { number = 19 }
on_retired = "archive"
serve_archived = true
accepted_statuses = ["UpToDate", "SWHardeningNeeded", "UpToDate"]
tolerated_advisories = [{ id = "INTEL-SA-00960", until = "2026-12-31T00:00:00Z" }]

[[baseline]]
tee = "sgx"
selector = "early"

[[baseline]]
tenant = "floor"
tee = "sgx"
selector = { lag_days = 800 }

[[baseline]]
tee = "sev-snp"
[[baseline.minimums]]
product = "Turin"
fmc = 1
boot_loader = 1
tee = 1
snp = 4
microcode = 81
bulletins = ["AMD-SB-3019"]
"#;

    #[test]
    fn a_file_of_every_kind_is_read_and_a_rule_survives_its_text() {
        let all = read(SAMPLE).expect("a good file");
        let names: Vec<String> = all
            .iter()
            .map(|one| format!("{} {}", one.scope, one.tee))
            .collect();
        assert_eq!(
            names,
            ["acme tdx", "default sgx", "floor sgx", "default sev-snp"]
        );
        let acme = all[0].rule.intel().expect("Intel's");
        assert_eq!(acme.selector, Selector::Number(19));
        assert_eq!(acme.on_retired, OnRetired::Archive);
        assert_eq!(acme.accepted_statuses.len(), 2, "each once");
        for one in &all {
            assert_eq!(
                Rule::from_json(one.tee, &one.rule.to_json()).as_ref(),
                Ok(&one.rule)
            );
        }
    }

    #[test]
    fn near_misses_name_the_baseline_the_field_and_the_limit() {
        let acme = |change: &str| format!("[[baseline]]\ntee = \"tdx\"\n{change}\n");
        for (text, wanted) in [
            (String::new(), "baseline: the file has none"),
            ("x = 1".to_owned(), "file: "),
            (
                "[[baseline]]\n".to_owned(),
                "baseline 1: tee: it is missing",
            ),
            (acme("tee2 = 1"), "baseline 1: rule: unknown field `tee2`"),
            (
                acme("tenant = \"tdx\""),
                "baseline 1: tenant: tenant: sgx, tdx, default and floor",
            ),
            (acme("tenant = 7"), "baseline 1: tenant: wanted text"),
            (
                acme("selector = \"newest\""),
                "baseline 1: rule: unknown variant `newest`",
            ),
            (
                acme("selector = { number = 0 }"),
                "baseline 1: selector.number: wanted 1 or more",
            ),
            (acme("selector = { number = -1 }"), "baseline 1: rule: "),
            (
                acme("selector = { lag_days = 3651 }"),
                "baseline 1: selector.lag_days: 3651; the limit is 3650",
            ),
            (
                acme("on_retired = \"archive\""),
                "baseline 1: on_retired: archive wants serve_archived = true",
            ),
            (
                acme("accepted_statuses = []"),
                "baseline 1: accepted_statuses: wanted one or more",
            ),
            (
                acme("accepted_statuses = [\"Revoked\"]"),
                "baseline 1: accepted_statuses: Revoked cannot be accepted",
            ),
            (acme("accepted_statuses = [\"Fine\"]"), "baseline 1: rule: "),
            (
                acme("minimums = []"),
                "baseline 1: rule: unknown field `minimums`",
            ),
            (
                format!("{SAMPLE}\n[[baseline]]\ntee = \"sgx\""),
                "baseline 5: tenant: default for sgx stands twice",
            ),
            (
                SAMPLE.replace("fmc = 1\n", ""),
                "baseline 4: minimums.Turin.fmc: this product has one",
            ),
            (
                SAMPLE.replace("Turin", "Milan"),
                "baseline 4: minimums.Milan.fmc: this product has none",
            ),
            (SAMPLE.replace("Turin", "Rome"), "baseline 4: rule: "),
            (
                SAMPLE.replace("microcode = 81", "microcode = 256"),
                "baseline 4: rule: ",
            ),
        ] {
            let error = read(&text).expect_err(wanted).to_string();
            assert!(error.starts_with(wanted), "{error:?} is not {wanted:?}");
        }
    }
}

//! What a baseline wants of platforms of one TEE.
//!
//! Of Intel's: which evaluation number counts, what to do when the vendor retires it, which statuses are accepted, and which
//! advisories are put up with until when. Of AMD's, who signs no TCB levels: the least TCB of each product, and the bulletins
//! it comes from. A rule's text is canonical JSON ([`Rule::to_json`]): keys in the order of the fields, lists sorted; so that
//! equal rules have equal digests, in the store, in forecasts and in statements.

use serde::{Deserialize, Serialize};
use thim_verify::amd::{Product, SnpTcb};
use thim_verify::{AdvisoryId, ConvergedStatus, Digest, EvaluationNumber, UnixTime};

use super::scope::BaselineTee;

/// A rule.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Rule {
    /// For SEV-SNP.
    Amd(AmdRule),
    /// For SGX or TDX.
    Intel(IntelRule),
}

/// A rule for SGX or TDX.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct IntelRule {
    /// Which evaluation number counts. Default `"standard"`.
    pub selector: Selector,
    /// What to do when the vendor signs that number no longer. Default `"roll-forward"`.
    pub on_retired: OnRetired,
    /// Whether editions past their next update are served, marked. Default false.
    pub serve_archived: bool,
    /// Statuses that are recent enough, in Intel's words. Default [`DEFAULT_STATUSES`].
    pub accepted_statuses: Vec<ConvergedStatus>,
    /// Advisories that are put up with for a while: a platform whose status is not accepted, and all whose advisories are
    /// among these, is still recent enough. Never a revoked one.
    pub tolerated_advisories: Vec<Tolerated>,
}

/// Which evaluation number counts.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Selector {
    /// The newest there is.
    Early,
    /// The highest whose TCB recovery event is at least so many days old.
    LagDays(u32),
    /// This one.
    Number(EvaluationNumber),
    /// The highest whose TCB recovery event is at least twelve months old.
    #[default]
    Standard,
}

/// What to do when the vendor signs the selected number no longer.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnRetired {
    /// Go on with the last editions of it, marked; wants `serve_archived`.
    Archive,
    /// Serve nothing (404 with the cause).
    Refuse,
    /// Go on with the lowest number above it that is still signed.
    #[default]
    RollForward,
}

/// An advisory that is put up with for a while.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Tolerated {
    /// Which.
    pub id: AdvisoryId,
    /// Until this instant, and no longer.
    pub until: UnixTime,
}

/// A rule for SEV-SNP.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct AmdRule {
    /// The least TCB of products, at most one of each.
    pub minimums: Vec<AmdMinimum>,
    /// For products without a minimum above: the newest minimum of the table that came with this program
    /// (`data/amd-baselines.toml`) that is at least so many days old. Default: none, and such products are unknown.
    pub lag_days: Option<u32>,
}

/// The least TCB of a product.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AmdMinimum {
    /// Which product: `Milan`, `Genoa`, `Turin` or `Venice`.
    #[serde(with = "product_text")]
    pub product: Product,
    /// Firmware of the management controller; from Turin on, and only there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fmc: Option<u8>,
    /// Boot loader.
    pub boot_loader: u8,
    /// Operating system of the secure processor.
    pub tee: u8,
    /// SNP firmware.
    pub snp: u8,
    /// Microcode.
    pub microcode: u8,
    /// The vendor's bulletins that it comes from, as `AMD-SB-3019`.
    #[serde(default)]
    pub bulletins: Vec<String>,
    /// Counts from this instant on. Default: always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective: Option<UnixTime>,
}

/// A rule that is none; names the field and the limit.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct WrongRule {
    /// The field.
    pub field: String,
    /// What is wrong with it, and what was wanted.
    pub why: String,
}

impl Default for IntelRule {
    fn default() -> Self {
        Self {
            selector: Selector::Standard,
            on_retired: OnRetired::RollForward,
            serve_archived: false,
            accepted_statuses: DEFAULT_STATUSES.to_vec(),
            tolerated_advisories: Vec::new(),
        }
    }
}

impl AmdMinimum {
    /// The minimum as a TCB.
    pub const fn tcb(&self) -> SnpTcb {
        SnpTcb {
            fmc: self.fmc,
            boot_loader: self.boot_loader,
            tee: self.tee,
            snp: self.snp,
            microcode: self.microcode,
        }
    }
}

impl Rule {
    /// What holds where nobody has said anything: the vendor's standard; of AMD's products nothing.
    pub fn of_nobody(tee: BaselineTee) -> Self {
        match tee {
            BaselineTee::SevSnp => Self::Amd(AmdRule::default()),
            BaselineTee::Sgx | BaselineTee::Tdx => Self::Intel(IntelRule::default()),
        }
    }

    /// Intel's rule, where it is one.
    pub const fn intel(&self) -> Option<&IntelRule> {
        match self {
            Self::Amd(_) => None,
            Self::Intel(rule) => Some(rule),
        }
    }

    /// AMD's rule, where it is one.
    pub const fn amd(&self) -> Option<&AmdRule> {
        match self {
            Self::Amd(rule) => Some(rule),
            Self::Intel(_) => None,
        }
    }

    /// The canonical text.
    pub fn to_json(&self) -> String {
        let text = match self {
            Self::Amd(rule) => serde_json::to_string(rule),
            Self::Intel(rule) => serde_json::to_string(rule),
        };
        text.expect("a rule has no maps and no foreign types, so it is always JSON")
    }

    /// Reads a rule for `tee`, and brings it into its canonical form.
    ///
    /// # Errors
    /// [`WrongRule`] where it is longer than [`RULE_BYTES`], no such JSON, or [`Rule::canonical`] refuses it.
    pub fn from_json(tee: BaselineTee, text: &str) -> Result<Self, WrongRule> {
        if text.len() > RULE_BYTES {
            return Err(wrong(
                "rule",
                format!("{} bytes; the limit is {RULE_BYTES}", text.len()),
            ));
        }
        let failed = |error: serde_json::Error| wrong("rule", error.to_string());
        let rule = match tee {
            BaselineTee::SevSnp => Self::Amd(serde_json::from_str(text).map_err(failed)?),
            BaselineTee::Sgx | BaselineTee::Tdx => {
                Self::Intel(serde_json::from_str(text).map_err(failed)?)
            }
        };
        rule.canonical()
    }

    /// The same rule with sorted lists, if it is one that can be kept.
    ///
    /// # Errors
    /// [`WrongRule`] names the field and the limit.
    pub fn canonical(self) -> Result<Self, WrongRule> {
        match self {
            Self::Amd(rule) => rule.canonical().map(Self::Amd),
            Self::Intel(rule) => rule.canonical().map(Self::Intel),
        }
    }

    /// SHA-256 of the canonical text.
    pub fn digest(&self) -> Digest {
        Digest::of(self.to_json().as_bytes())
    }
}

impl IntelRule {
    fn canonical(mut self) -> Result<Self, WrongRule> {
        match self.selector {
            Selector::Early | Selector::Standard => {}
            Selector::LagDays(days) if days > LAG_DAYS => {
                return Err(wrong(
                    "selector.lag_days",
                    format!("{days}; the limit is {LAG_DAYS}"),
                ));
            }
            Selector::LagDays(_) => {}
            Selector::Number(0) => {
                return Err(wrong("selector.number", "wanted 1 or more".to_owned()));
            }
            Selector::Number(_) => {}
        }
        if self.on_retired == OnRetired::Archive && !self.serve_archived {
            let why = "archive wants serve_archived = true: what is past its next update is refused by most verifiers";
            return Err(wrong("on_retired", why.to_owned()));
        }
        self.accepted_statuses.sort_unstable();
        self.accepted_statuses.dedup();
        if self.accepted_statuses.is_empty() {
            return Err(wrong("accepted_statuses", "wanted one or more".to_owned()));
        }
        let hopeless = [ConvergedStatus::NotSupported, ConvergedStatus::Revoked];
        if let Some(status) = hopeless
            .into_iter()
            .find(|status| self.accepted_statuses.contains(status))
        {
            return Err(wrong(
                "accepted_statuses",
                format!("{status} cannot be accepted"),
            ));
        }
        self.tolerated_advisories.sort_unstable();
        if self.tolerated_advisories.len() > ADVISORIES {
            let count = self.tolerated_advisories.len();
            return Err(wrong(
                "tolerated_advisories",
                format!("{count}; the limit is {ADVISORIES}"),
            ));
        }
        let twice = self.tolerated_advisories.windows(2);
        if let Some(id) = twice
            .filter_map(|pair| match pair {
                [one, two] if one.id == two.id => Some(one.id),
                _ => None,
            })
            .next()
        {
            return Err(wrong("tolerated_advisories", format!("{id} stands twice")));
        }
        Ok(self)
    }
}

impl AmdRule {
    fn canonical(mut self) -> Result<Self, WrongRule> {
        self.minimums.sort_by_key(|minimum| minimum.product);
        for pair in self.minimums.windows(2) {
            if let [one, two] = pair
                && one.product == two.product
            {
                return Err(wrong("minimums", format!("{} stands twice", one.product)));
            }
        }
        for minimum in &mut self.minimums {
            let field = |name: &str| format!("minimums.{}.{name}", minimum.product);
            let has_fmc = matches!(minimum.product, Product::Turin | Product::Venice);
            if minimum.fmc.is_some() != has_fmc {
                let why = if has_fmc {
                    "this product has one, so it is wanted"
                } else {
                    "this product has none"
                };
                return Err(wrong(&field("fmc"), why.to_owned()));
            }
            if minimum.bulletins.len() > BULLETINS {
                let count = minimum.bulletins.len();
                return Err(wrong(
                    &field("bulletins"),
                    format!("{count}; the limit is {BULLETINS}"),
                ));
            }
            let printable = |text: &String| {
                (1..=BULLETIN_CHARS).contains(&text.len())
                    && text.bytes().all(|byte| byte.is_ascii_graphic())
            };
            if !minimum.bulletins.iter().all(printable) {
                return Err(wrong(
                    &field("bulletins"),
                    format!("wanted 1 to {BULLETIN_CHARS} visible ASCII characters"),
                ));
            }
            minimum.bulletins.sort_unstable();
            minimum.bulletins.dedup();
        }
        if let Some(days) = self.lag_days.filter(|days| *days > LAG_DAYS) {
            return Err(wrong(
                "lag_days",
                format!("{days}; the limit is {LAG_DAYS}"),
            ));
        }
        Ok(self)
    }

    /// The minimum of a product at an instant, as this rule states it itself; one that counts only later does not count.
    pub fn minimum(&self, product: Product, now: UnixTime) -> Option<&AmdMinimum> {
        self.minimums.iter().find(|minimum| {
            minimum.product == product && minimum.effective.is_none_or(|from| from <= now)
        })
    }
}

fn wrong(field: &str, why: String) -> WrongRule {
    WrongRule {
        field: field.to_owned(),
        why,
    }
}

mod product_text {
    use serde::{Deserialize, Deserializer, Serializer, de};
    use thim_verify::amd::Product;

    pub fn serialize<S: Serializer>(product: &Product, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(product.name())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Product, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

/// Accepted unless a rule says otherwise: those that no update would raise. `OutOfDate` is what a baseline is about; where
/// software has to harden itself or a platform has to be configured is between a verifier and its workload.
pub const DEFAULT_STATUSES: [ConvergedStatus; 4] = [
    ConvergedStatus::ConfigurationAndSwHardeningNeeded,
    ConvergedStatus::ConfigurationNeeded,
    ConvergedStatus::SwHardeningNeeded,
    ConvergedStatus::UpToDate,
];
/// Ten years; Intel's lists go back three.
const LAG_DAYS: u32 = 3_650;
/// Intel's own documents name a hundred or so.
const ADVISORIES: usize = 500;
/// A minimum answers a handful.
const BULLETINS: usize = 32;
const BULLETIN_CHARS: usize = 40;
/// 500 advisories with dates are 35 KiB.
pub const RULE_BYTES: usize = 64 * 1024;

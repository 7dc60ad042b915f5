//! Minimum TCBs of AMD's products, dated, each with the bulletin it comes from: `data/amd-baselines.toml` of this crate,
//! compiled in. AMD signs no TCB levels, so a number without a source is none: the table refuses it. A product that nobody
//! could find a minimum for is listed as unknown, with why.

use std::sync::LazyLock;

use serde::Deserialize;
use thim_verify::UnixTime;
use thim_verify::amd::{Product, SnpTcb};

use super::rule::{AmdMinimum, AmdRule, Rule};

/// The table.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AmdTable {
    entries: Vec<AmdEntry>,
    unknown: Vec<UnknownProduct>,
}

/// A minimum of the table.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AmdEntry {
    /// The minimum. Its `effective` is the bulletin's date.
    pub minimum: AmdMinimum,
    /// When the bulletin was published.
    pub date: UnixTime,
    /// Where the numbers stand: an `https` address.
    pub source: String,
}

/// A product without a minimum.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UnknownProduct {
    /// Which.
    pub product: Product,
    /// Why.
    pub why: String,
    /// Where to look.
    pub look: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    minimum: Vec<FileMinimum>,
    #[serde(default)]
    unknown: Vec<FileUnknown>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileMinimum {
    product: String,
    date: UnixTime,
    fmc: Option<u8>,
    boot_loader: u8,
    tee: u8,
    snp: u8,
    microcode: u8,
    bulletins: Vec<String>,
    source: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileUnknown {
    product: String,
    why: String,
    look: String,
}

impl AmdTable {
    /// The table that comes with this program.
    pub fn builtin() -> &'static Self {
        &TABLE
    }

    /// Reads a table.
    ///
    /// # Errors
    /// What is wrong with it: the product and the field.
    pub fn read(text: &str) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        let mut table = Self::default();
        for one in file.minimum {
            let product: Product = parsed(&one.product)?;
            let name = product.name();
            if one.bulletins.is_empty() {
                return Err(format!("{name}: bulletins: wanted one or more"));
            }
            if !one.source.starts_with("https://") {
                return Err(format!("{name}: source: wanted an https address"));
            }
            let mut before = table.of(product);
            if before.any(|before| before.date >= one.date) {
                return Err(format!("{name}: date: dates of a product rise"));
            }
            drop(before);
            let minimum = AmdMinimum {
                product,
                fmc: one.fmc,
                boot_loader: one.boot_loader,
                tee: one.tee,
                snp: one.snp,
                microcode: one.microcode,
                bulletins: one.bulletins,
                effective: Some(one.date),
            };
            // The rule's own limits hold here too, `fmc` by product among them.
            let alone = AmdRule {
                minimums: vec![minimum.clone()],
                lag_days: None,
            };
            Rule::Amd(alone)
                .canonical()
                .map_err(|error| error.to_string())?;
            table.entries.push(AmdEntry {
                minimum,
                date: one.date,
                source: one.source,
            });
        }
        for one in file.unknown {
            let product: Product = parsed(&one.product)?;
            if table.of(product).next().is_some() {
                return Err(format!("{}: unknown: it has a minimum", product.name()));
            }
            if one.why.is_empty() {
                return Err(format!("{}: why: wanted a reason", product.name()));
            }
            table.unknown.push(UnknownProduct {
                product,
                why: one.why,
                look: one.look,
            });
        }
        Ok(table)
    }

    /// The newest minimum of a product that is at least so many days old at `now`.
    pub fn minimum(
        &self,
        product: Product,
        at_least_days_old: u32,
        now: UnixTime,
    ) -> Option<&AmdMinimum> {
        let latest = now.plus_secs(-i64::from(at_least_days_old) * DAY_SECS);
        let old = self.of(product).filter(|entry| entry.date <= latest);
        old.last().map(|entry| &entry.minimum)
    }

    /// All minimums, in the order of the file.
    pub fn entries(&self) -> &[AmdEntry] {
        &self.entries
    }

    /// The products without one.
    pub fn unknown(&self) -> &[UnknownProduct] {
        &self.unknown
    }

    fn of(&self, product: Product) -> impl Iterator<Item = &AmdEntry> {
        let entries = self.entries.iter();
        entries.filter(move |entry| entry.minimum.product == product)
    }
}

impl AmdRule {
    /// The minimum of a product at an instant: the rule's own, else, where it has `lag_days`, the table's.
    pub fn effective_minimum<'a>(
        &'a self,
        table: &'a AmdTable,
        product: Product,
        now: UnixTime,
    ) -> Option<&'a AmdMinimum> {
        let from_table = || table.minimum(product, self.lag_days?, now);
        self.minimum(product, now).or_else(from_table)
    }

    /// The least TCB of a product at an instant, by the rule and the table that came with this program.
    pub fn least_tcb(&self, product: Product, now: UnixTime) -> Option<SnpTcb> {
        let found = self.effective_minimum(AmdTable::builtin(), product, now);
        found.map(AmdMinimum::tcb)
    }
}

fn parsed(name: &str) -> Result<Product, String> {
    name.parse()
        .map_err(|_| format!("product: wanted Milan, Genoa, Turin or Venice, found {name}"))
}

static TABLE: LazyLock<AmdTable> = LazyLock::new(|| {
    AmdTable::read(TEXT).expect("the table that comes with the program is read by a test")
});
// Inside the crate, so that the crate builds from its own files alone.
const TEXT: &str = include_str!("../../data/amd-baselines.toml");
const DAY_SECS: i64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> UnixTime {
        text.parse().expect("a date in a test")
    }

    fn entry(date: &str, snp: u8) -> String {
        format!(
            "[[minimum]]\nproduct = \"Milan\"\ndate = \"{date}\"\nboot_loader = 1\ntee = 0\nsnp = {snp}\nmicrocode = 2\nbulletins = [\"AMD-SB-1\"]\nsource = \"https://example.com/\"\n"
        )
    }

    #[test]
    fn the_table_reads_and_every_product_is_accounted_for() {
        let table = AmdTable::read(TEXT).expect("the table");
        for product in ["Milan", "Genoa", "Turin", "Venice"] {
            let product: Product = product.parse().expect("a product");
            let mut unknown = table.unknown().iter();
            let said = unknown.any(|one| one.product == product);
            assert!(said != table.of(product).next().is_some(), "{product}");
        }
    }

    #[test]
    fn the_newest_that_is_old_enough_counts_and_the_rules_own_comes_first() {
        let text = entry("2025-01-01T00:00:00Z", 10) + &entry("2025-03-01T00:00:00Z", 20);
        let table = AmdTable::read(&text).expect("a table");
        let rule = |lag_days| AmdRule {
            minimums: Vec::new(),
            lag_days,
        };
        let snp = |rule: &AmdRule, now: &str| {
            let found = rule.effective_minimum(&table, Product::Milan, at(now));
            found.map(|minimum| minimum.snp)
        };
        assert_eq!(snp(&rule(Some(31)), "2025-01-31T23:59:59Z"), None);
        assert_eq!(snp(&rule(Some(31)), "2025-02-01T00:00:00Z"), Some(10));
        assert_eq!(snp(&rule(Some(0)), "2025-03-01T00:00:00Z"), Some(20));
        assert_eq!(snp(&rule(None), "2025-03-01T00:00:00Z"), None);
        let mut own = rule(Some(0));
        own.minimums.push(AmdMinimum {
            snp: 5,
            effective: None,
            ..table.entries()[0].minimum.clone()
        });
        assert_eq!(snp(&own, "2025-03-01T00:00:00Z"), Some(5));
    }

    #[test]
    fn an_entry_without_a_source_a_bulletin_or_in_the_wrong_order_is_refused() {
        let good = entry("2025-01-01T00:00:00Z", 10);
        assert!(AmdTable::read(&good).is_ok());
        for bad in [
            good.replace("https://example.com/", ""),
            good.replace("[\"AMD-SB-1\"]", "[]"),
            good.replace("Milan", "Rome"),
            good.replace("Milan", "Turin"),
            good.clone() + &good,
            good.clone() + "[[unknown]]\nproduct = \"Milan\"\nwhy = \"x\"\nlook = \"y\"\n",
        ] {
            assert!(AmdTable::read(&bad).is_err(), "{bad}");
        }
    }
}

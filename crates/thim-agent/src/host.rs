//! Which chip this is, and which TCB it reports: from the processor, from a file, or from the configuration.
//!
//! The file is what a provisioning system writes, `{"product": "Milan", "chipId": "<hex>", "reportedTcb": "<tcbm>"}`;
//! the configuration has the same three keys. It is read at every look, so that a firmware update is noticed. Without
//! a product the length of the id tells Turin from the others, and the certificate tells Milan from Genoa: the two lay
//! out ids and TCBs alike. Ids are never in an error or in a debug text.
//! Source: spec/amd-kds-and-thim.md, 1.2, 1.3 and 3.

#[cfg(all(feature = "sev-device", target_os = "linux", target_arch = "x86_64"))]
mod device;

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use thim_verify::amd::{HwId, Product, Products, TcbVersion, VcekKey};

use crate::config::{ConfigError, read_limited};
use crate::span::Span;

/// `[host]`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Who tells: `"config"`, `"device"` or `"file"`. Default `"device"`.
    pub source: Source,
    /// Where `"file"` is.
    pub file: Option<PathBuf>,
    /// For `"config"`: `"Milan"`, `"Genoa"`, `"Turin"` or `"Venice"`. Default: told by the certificate.
    pub product: Option<String>,
    /// For `"config"`: the chip's id, 128 hex digits, for Turin 16.
    pub chip_id: Option<Hidden>,
    /// For `"config"`: the reported TCB as `tcbm` prints it, 1 to 16 hex digits, most significant byte first.
    pub reported_tcb: Option<String>,
    /// How often the host is looked at. Default 60 s, 1 s at least.
    pub look_every: Span,
}

/// Who tells the chip and the TCB.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The configuration.
    Config,
    /// `/dev/sev`.
    #[default]
    Device,
    /// A file.
    File,
}

/// A text that no debug output shows.
#[derive(Clone, Deserialize, Eq, PartialEq)]
#[serde(transparent)]
pub struct Hidden(String);

/// The chip and the TCB that it reports at this moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Host {
    /// The product, where the source tells it.
    pub product: Option<Product>,
    /// The chip.
    pub hw_id: HwId,
    /// The TCB that it reports.
    pub tcb: TcbVersion,
}

/// Why the host could not be told; without the id.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct HostError(pub String);

impl From<&str> for Hidden {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden(..)")
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            source: Source::default(),
            file: None,
            product: None,
            chip_id: None,
            reported_tcb: None,
            look_every: Span::from_secs(60),
        }
    }
}

impl Config {
    /// Whether the keys fit the source; for `"config"` also whether they tell a chip.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let wrong = |key, why: String| Err(ConfigError::Key { key, why });
        if self.look_every < LEAST_LOOK {
            return wrong("[host] look_every", "less than 1s".to_owned());
        }
        let told = self.product.is_some() || self.chip_id.is_some() || self.reported_tcb.is_some();
        match self.source {
            Source::Config => match self.told(&Products::builtin()) {
                Ok(_) => Ok(()),
                Err(HostError(why)) => wrong("[host]", why),
            },
            Source::Device | Source::File if told => wrong(
                "[host]",
                "product, chip_id and reported_tcb are for source = \"config\"".to_owned(),
            ),
            Source::Device if !DEVICE_BUILT => wrong(
                "[host] source",
                "this build cannot ask /dev/sev (Linux on x86-64 with the feature sev-device can); use \"file\" or \"config\""
                    .to_owned(),
            ),
            Source::File if self.file.is_none() => {
                wrong("[host] file", "wanted for source = \"file\"".to_owned())
            }
            Source::Device | Source::File => Ok(()),
        }
    }

    /// Looks at the host. Blocks: the secure processor takes milliseconds.
    ///
    /// # Errors
    /// [`HostError`] with what was wrong, and with which source.
    pub fn look(&self, products: &Products) -> Result<Host, HostError> {
        match self.source {
            Source::Config => self.told(products),
            Source::Device => from_device(products),
            Source::File => {
                let path = self.file.as_deref().unwrap_or_else(|| Path::new(""));
                let named = |why: String| HostError(format!("{}: {why}", path.display()));
                let bytes = read_limited(path, FILE_LIMIT_BYTES).map_err(named)?;
                Host::from_json(products, &bytes).map_err(|error| named(error.0))
            }
        }
    }

    fn told(&self, products: &Products) -> Result<Host, HostError> {
        let wanted = |name: &str| HostError(format!("{name}: wanted for source = \"config\""));
        let chip = self.chip_id.as_ref().ok_or_else(|| wanted("chip_id"))?;
        let tcb = self
            .reported_tcb
            .as_deref()
            .ok_or_else(|| wanted("reported_tcb"))?;
        Host::told(products, self.product.as_deref(), &chip.0, tcb)
    }
}

/// What a provisioning system writes.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct HostFile {
    #[serde(default)]
    product: Option<String>,
    chip_id: String,
    reported_tcb: String,
}

impl Host {
    /// From the JSON of the host file.
    ///
    /// # Errors
    /// [`HostError`] with the member that is wrong; it does not repeat values.
    pub fn from_json(products: &Products, bytes: &[u8]) -> Result<Self, HostError> {
        let file: HostFile = serde_json::from_slice(bytes).map_err(|error| {
            // serde's words may quote a value, and a value may be the id.
            HostError(format!(
                "line {} column {}: wanted an object of the strings chipId, reportedTcb and, if told, product",
                error.line(),
                error.column()
            ))
        })?;
        Self::told(
            products,
            file.product.as_deref(),
            &file.chip_id,
            &file.reported_tcb,
        )
    }

    /// From the three texts.
    fn told(
        products: &Products,
        product: Option<&str>,
        chip_id: &str,
        tcb: &str,
    ) -> Result<Self, HostError> {
        let product = match product {
            None => None,
            Some(name) => {
                let read = name.parse::<Product>();
                Some(read.map_err(|error| HostError(format!("product: {error}")))?)
            }
        };
        let id = |of| HwId::from_hex(products.facts(of), chip_id);
        let hw_id = match product {
            Some(product) => id(product).map_err(|error| HostError(error.to_string()))?,
            None => id(Product::Turin)
                .or_else(|_| id(Product::Milan))
                .map_err(|_| {
                    HostError("chip id: wanted 128 hex digits, for Turin 16".to_owned())
                })?,
        };
        let tcb = TcbVersion::from_hex_be(tcb)
            .map_err(|_| HostError("reported TCB: wanted 1 to 16 hex digits".to_owned()))?;
        Self::new(products, product, hw_id, tcb)
    }

    fn new(
        products: &Products,
        product: Option<Product>,
        hw_id: HwId,
        tcb: TcbVersion,
    ) -> Result<Self, HostError> {
        if hw_id.is_zero() {
            return Err(HostError(
                "chip id: all zeros, so the host masks it (MASK_CHIP_ID); no certificate exists for it".to_owned(),
            ));
        }
        let host = Self {
            product,
            hw_id,
            tcb,
        };
        // A TCB that the product does not lay out so is a mistake of order, most likely.
        tcb.decode(products.facts(host.some_product())).map_err(|error| {
            HostError(format!(
                "reported TCB: {error}; wanted the hex of the number, most significant byte first"
            ))
        })?;
        Ok(host)
    }

    /// What its certificate must be for, should it be of `product`; none where it cannot be of it.
    pub fn key(&self, products: &Products, product: Product) -> Option<VcekKey> {
        if self.product.is_some_and(|told| told != product) {
            return None;
        }
        let facts = products.facts(product);
        if facts.hw_id_bytes() != self.hw_id.as_bytes().len() {
            return None;
        }
        let tcb = self.tcb.decode(facts).ok()?;
        Some(VcekKey {
            product,
            hw_id: self.hw_id,
            tcb,
        })
    }

    /// Whether `text` names this chip: hex in either case, and for a short id also with zeros up to 128 digits.
    pub fn is_named(&self, products: &Products, text: &str) -> bool {
        let facts = products.facts(self.some_product());
        HwId::from_hex(facts, text).is_ok_and(|id| id == self.hw_id)
    }

    /// A product whose ids are as long.
    fn some_product(&self) -> Product {
        self.product
            .unwrap_or(if self.hw_id.as_bytes().len() == SHORT_BYTES {
                Product::Turin
            } else {
                Product::Milan
            })
    }
}

#[cfg(all(feature = "sev-device", target_os = "linux", target_arch = "x86_64"))]
use device::look as from_device;

#[cfg(not(all(feature = "sev-device", target_os = "linux", target_arch = "x86_64")))]
fn from_device(_products: &Products) -> Result<Host, HostError> {
    Err(HostError("this build cannot ask /dev/sev".to_owned()))
}

const DEVICE_BUILT: bool = cfg!(all(
    feature = "sev-device",
    target_os = "linux",
    target_arch = "x86_64"
));

/// spec/amd-kds-and-thim.md, 1.2: Turin's.
const SHORT_BYTES: usize = 8;
/// The file has some 300 bytes.
const FILE_LIMIT_BYTES: u64 = 16 * 1024;
/// The secure processor has other work.
const LEAST_LOOK: Span = Span::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Host, HostError> {
        Host::from_json(&Products::builtin(), json.as_bytes())
    }

    #[test]
    fn a_file_and_its_near_misses() {
        let (long, short) = ("aB".repeat(64), "aB".repeat(8));
        let padded = format!("{short}{}", "0".repeat(112));
        let json = |product: &str, id: &str, tcb: &str| {
            format!(r#"{{{product}"chipId":"{id}","reportedTcb":"{tcb}"}}"#)
        };
        let milan = read(&json(r#""product":"milan","#, &long, "7308000000000003")).expect("Milan");
        assert_eq!(milan.product, Some(Product::Milan));
        let untold = read(&json("", &long, "7308000000000003")).expect("told by the certificate");
        assert_eq!((untold.product, untold.hw_id), (None, milan.hw_id));
        let turin = read(&json("", &short, "5100000004010101")).expect("Turin by its length");
        assert_eq!(read(&json("", &padded, "5100000004010101")), Ok(turin));
        assert_eq!(
            read(&json("", &short, "1D")).map(|host| host.tcb),
            Ok(TcbVersion(0x1d))
        );

        for (text, named) in [
            (json("", &long[1..], "73"), "chip id"),
            (json("", &"00".repeat(64), "73"), "chip id"),
            (json(r#""product":"Turin","#, &long, "73"), "chip id"),
            (json(r#""product":"Milan","#, &short, "73"), "chip id"),
            (json(r#""product":"Naples","#, &long, "73"), "product"),
            (json("", &long, ""), "TCB"),
            (json("", &long, "00000000000000073"), "TCB"),
            (json("", &long, "0x73"), "TCB"),
            // The bytes of a report: the other order.
            (json("", &long, "04000000000018db"), "TCB"),
            (json(r#""serial":"1","#, &long, "73"), "chipId"),
            (r#"{"chipId":"ab"}"#.to_owned(), "reportedTcb"),
            (format!(r#"["{long}"]"#), "object"),
            (String::new(), "object"),
        ] {
            let refused = read(&text).expect_err(&text).to_string();
            assert!(refused.contains(named), "{text}: {refused}");
            assert!(!refused.contains("aBaB"), "{refused}");
        }
    }

    #[test]
    fn names_of_the_own_chip_and_of_others() {
        let products = Products::builtin();
        let long = "aB".repeat(64);
        let host = Host::told(&products, None, &long, "73").expect("a host");
        assert!(host.is_named(&products, &long.to_uppercase()));
        assert!(!host.is_named(&products, &long.replacen('a', "c", 1)));
        assert!(!host.is_named(&products, &long[2..]) && !host.is_named(&products, ""));
        let short = "0c".repeat(8);
        let turin = Host::told(&products, None, &short, "73").expect("a host");
        assert!(turin.is_named(&products, &short.to_uppercase()));
        assert!(turin.is_named(&products, &format!("{short}{}", "0".repeat(112))));
        assert!(!turin.is_named(&products, &format!("{short}{}1", "0".repeat(111))));
        assert!(!format!("{turin:?}").contains("0c0c"));
    }

    #[test]
    fn keys_that_do_not_fit_the_source() {
        let told = Config {
            source: Source::Config,
            chip_id: Some("ab".repeat(64).as_str().into()),
            reported_tcb: Some("73".to_owned()),
            ..Config::default()
        };
        assert!(told.check().is_ok());
        assert!(!format!("{told:?}").contains("abab"));
        for wrong in [
            Config {
                chip_id: None,
                ..told.clone()
            },
            Config {
                reported_tcb: None,
                ..told.clone()
            },
            Config {
                source: Source::File,
                ..told.clone()
            },
            Config {
                source: Source::Device,
                ..told.clone()
            },
            Config {
                source: Source::File,
                ..Config::default()
            },
            Config {
                look_every: Span::from_millis(999),
                ..told
            },
        ] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
    }
}

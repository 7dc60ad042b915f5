//! What AMD's products differ in, as one table of data.
//!
//! Which CPU models belong to a product, how long its chip ids are, where the components of its TCB stand, what the
//! key server calls it. The table built in is `products.json` beside this file; an operator may name a file of the
//! same form, whose products replace those of the same name whole (a new stepping should not need a new release).
//! Facts never add trust: the roots are in [`Anchors`](super::Anchors), and a product enabled here without a root
//! there verifies nothing. Sources: spec/amd-kds-and-thim.md, 1.2, 1.3 and 3.

mod file;

use std::fmt;
use std::sync::{Arc, LazyLock};

use super::product::Product;
use super::tcb::{SplField, TcbComponent};
use crate::Error;

/// The facts about every product; cheap to clone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Products(Arc<[ProductFacts; Product::ALL.len()]>);

/// The facts about one product.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProductFacts {
    product: Product,
    enabled: bool,
    kds_line: String,
    struct_version: u8,
    hw_id_bytes: usize,
    models: Vec<ModelRange>,
    tcb: Vec<SplField>,
}

/// CPU models of one family, first and last included.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct ModelRange {
    /// Family, base and extended added up.
    pub family: u8,
    /// Lowest model, extended and base joined.
    pub first: u8,
    /// Highest model.
    pub last: u8,
}

impl Products {
    /// The table of this release.
    pub fn builtin() -> Self {
        static BUILTIN: LazyLock<Products> = LazyLock::new(|| {
            let listed = file::read(include_str!("products.json"));
            let table: Option<[ProductFacts; Product::ALL.len()]> =
                listed.ok().and_then(|facts| facts.try_into().ok());
            Products(Arc::new(table.expect(
                "a test reads the table, which names every product in order",
            )))
        });
        BUILTIN.clone()
    }

    /// The built-in table with the products of `text` in place of their namesakes.
    ///
    /// # Errors
    /// [`Error::TooLarge`] beyond 64 KiB; [`Error::Format`] for anything but a table of that form: another version,
    /// unknown or missing members, a product twice, TCB fields that clash, a CPU model of two products.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        let mut table = Self::builtin();
        let facts = Arc::make_mut(&mut table.0);
        for replacement in file::read(text)? {
            if let Some(replaced) = facts
                .iter_mut()
                .find(|facts| facts.product == replacement.product)
            {
                *replaced = replacement;
            }
        }
        table.apart()?;
        Ok(table)
    }

    /// The facts about `product`.
    pub fn facts(&self, product: Product) -> &ProductFacts {
        self.0.iter().find(|facts| facts.product == product).expect(
            "the table holds every product: replacements take places, they leave none empty",
        )
    }

    /// All, oldest product first.
    pub fn all(&self) -> &[ProductFacts] {
        self.0.as_slice()
    }

    /// The product of a CPU, as a report of version 3 or later names it. Disabled products are told too.
    pub fn by_cpuid(&self, family: u8, model: u8) -> Option<&ProductFacts> {
        self.0
            .iter()
            .find(|facts| facts.models.iter().any(|range| range.holds(family, model)))
    }

    /// The product of CPUID function 1's EAX, the form of policies (`00a10f11`).
    pub fn by_cpuid_eax(&self, eax: u32) -> Option<&ProductFacts> {
        let [top, high, low, ..] = eax.to_be_bytes();
        // 27..20 extended family, 19..16 extended model, 11..8 base family, 7..4 base model.
        let extended_family = ((top & 0x0f) << 4) | (high >> 4);
        let base_family = low & 0x0f;
        let base_model = eax.to_be_bytes()[3] >> 4;
        if base_family != 0x0f {
            // Older than any of these.
            return None;
        }
        let family = base_family.checked_add(extended_family)?;
        self.by_cpuid(family, ((high & 0x0f) << 4) | base_model)
    }

    /// No model may belong to two products.
    fn apart(&self) -> Result<(), Error> {
        let ranges = || {
            let all = self.0.iter();
            all.flat_map(|facts| {
                facts
                    .models
                    .iter()
                    .map(move |range| (facts.product, *range))
            })
        };
        for (at, (product, range)) in ranges().enumerate() {
            for (other, second) in ranges().skip(at + 1) {
                if range.meets(second) {
                    return Err(wrong(format_args!(
                        "{product} {range} and {other} {second} overlap"
                    )));
                }
            }
        }
        Ok(())
    }
}

impl ProductFacts {
    /// The product.
    pub fn product(&self) -> Product {
        self.product
    }

    /// Whether it is served at all.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// What the key server's paths call it.
    pub fn kds_line(&self) -> &str {
        &self.kds_line
    }

    /// The structure version in its certificates, which names their layout.
    pub fn struct_version(&self) -> u8 {
        self.struct_version
    }

    /// How long its chip ids are: 8 or 64.
    pub fn hw_id_bytes(&self) -> usize {
        self.hw_id_bytes
    }

    /// Its CPU models.
    pub fn models(&self) -> &[ModelRange] {
        &self.models
    }

    /// The components of its TCB, in the order of the key server's parameters.
    pub fn tcb_fields(&self) -> &[SplField] {
        &self.tcb
    }

    /// Whether its TCB has the component; all but [`TcbComponent::Fmc`] are in every product's.
    pub fn has(&self, component: TcbComponent) -> bool {
        self.tcb.iter().any(|field| field.component == component)
    }
}

impl ModelRange {
    fn holds(self, family: u8, model: u8) -> bool {
        self.family == family && (self.first..=self.last).contains(&model)
    }

    fn meets(self, other: Self) -> bool {
        self.family == other.family && self.first <= other.last && other.first <= self.last
    }

    /// `19/A0-AF`: family, first and last model, two hex digits each.
    fn parse(text: &str) -> Option<Self> {
        let byte = |digits: &str| {
            let two = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_hexdigit());
            two.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
        };
        let (family, models) = text.split_once('/')?;
        let (first, last) = models.split_once('-')?;
        let range = Self {
            family: byte(family)?,
            first: byte(first)?,
            last: byte(last)?,
        };
        (range.first <= range.last).then_some(range)
    }
}

impl fmt::Display for ModelRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:02X}/{:02X}-{:02X}",
            self.family, self.first, self.last
        )
    }
}

fn wrong(why: impl fmt::Display) -> Error {
    Error::format(WHAT, why)
}

const WHAT: &str = "AMD product facts";

#[cfg(test)]
mod tests {
    use super::file::MAX_FILE_BYTES;
    use super::*;

    const VENICE: &str = r#"{"version":1,"products":[{"product":"venice","enabled":true,"kds_line":"Venice",
        "struct_version":1,"hw_id_bytes":8,"models":["1A/50-5F"],"tcb":[{"component":"boot-loader","byte":0,"max":127},
        {"component":"tee","byte":1,"max":127},{"component":"snp","byte":2,"max":127},
        {"component":"microcode","byte":7,"max":255}]}]}"#;

    #[test]
    fn the_table_built_in() {
        let products = Products::builtin();
        for (facts, product) in products.all().iter().zip(Product::ALL) {
            assert_eq!(
                (facts.product(), facts.kds_line()),
                (product, product.name())
            );
            assert_eq!(products.facts(product), facts);
            assert_eq!(facts.is_enabled(), product != Product::Venice);
            let turin_class = product >= Product::Turin;
            assert_eq!(facts.hw_id_bytes() == 8, turin_class);
            assert_eq!(facts.has(TcbComponent::Fmc), turin_class);
            assert_eq!(facts.struct_version(), u8::from(turin_class));
        }
        products.apart().expect("no overlap");
    }

    #[test]
    fn products_by_cpu_and_their_neighbours() {
        let products = Products::builtin();
        let told = |family, model| products.by_cpuid(family, model).map(ProductFacts::product);
        for (family, model, product) in [
            (0x19, 0x00, Some(Product::Milan)),
            (0x19, 0x0f, Some(Product::Milan)),
            (0x19, 0x10, Some(Product::Genoa)),
            (0x19, 0x1f, Some(Product::Genoa)),
            (0x19, 0x20, None),
            (0x19, 0x9f, None),
            (0x19, 0xa0, Some(Product::Genoa)),
            (0x19, 0xaf, Some(Product::Genoa)),
            (0x19, 0xb0, None),
            (0x1a, 0x00, Some(Product::Turin)),
            (0x1a, 0x11, Some(Product::Turin)),
            (0x1a, 0x12, None),
            (0x1a, 0x50, Some(Product::Venice)),
            (0x18, 0x01, None),
            (0x00, 0x00, None),
        ] {
            assert_eq!(told(family, model), product, "{family:02x}/{model:02x}");
        }
        let eax = |eax| products.by_cpuid_eax(eax).map(ProductFacts::product);
        assert_eq!(eax(0x00a0_0f11), Some(Product::Milan));
        assert_eq!(eax(0x00a1_0f11), Some(Product::Genoa));
        assert_eq!(eax(0x00aa_0f02), Some(Product::Genoa));
        assert_eq!(eax(0x00b0_0f21), Some(Product::Turin));
        for none in [0, 0x0080_0f11, 0x00a0_0611, 0x0fa0_0f11, u32::MAX] {
            assert_eq!(eax(none), None, "{none:08x}");
        }
    }

    #[test]
    fn a_file_replaces_what_it_names_and_nothing_else() {
        let (products, builtin) = (
            Products::from_json(VENICE).expect("facts"),
            Products::builtin(),
        );
        let venice = products.facts(Product::Venice);
        assert!(venice.is_enabled() && !venice.has(TcbComponent::Fmc));
        assert_eq!(products.by_cpuid(0x1a, 0x5f), Some(venice));
        assert_eq!(products.by_cpuid(0x1a, 0x90), None);
        for product in [Product::Milan, Product::Genoa, Product::Turin] {
            assert_eq!(products.facts(product), builtin.facts(product));
        }
        assert_eq!(
            Products::from_json(include_str!("products.json")),
            Ok(builtin.clone())
        );
        assert_eq!(
            Products::from_json(r#"{"version":1,"products":[]}"#),
            Ok(builtin)
        );
    }

    #[test]
    fn near_misses_of_a_file() {
        for (from, to) in [
            (r#""version":1"#, r#""version":2"#),
            (r#""enabled":true"#, r#""enabled":1"#),
            (r#""enabled":true"#, r#""enabled":true,"root":"x""#),
            (r#""enabled":true,"#, ""),
            ("\"venice\"", "\"Florence\""),
            (r#":"Venice""#, r#":"../Venice""#),
            (r#":"Venice""#, r#":"""#),
            (r#""hw_id_bytes":8"#, r#""hw_id_bytes":16"#),
            ("1A/50-5F", "1A/5F-50"),
            ("1A/50-5F", "1A/50-05F"),
            ("1A/50-5F", "1A/+5-5F"),
            ("1A/50-5F", "1A/50"),
            ("1A/50-5F", "1A/11-5F"),
            (r#""tee","byte":1"#, r#""tee","byte":0"#),
            (r#""tee","byte":1"#, r#""tee","byte":8"#),
            (r#""tee","byte":1"#, r#""fmc","byte":1"#),
            (r#""tee","byte":1"#, r#""snp","byte":1"#),
            (r#""tee","byte":1"#, r#""spl5","byte":1"#),
            (r#""max":255"#, r#""max":256"#),
            (r#""max":255"#, r#""max":0"#),
        ] {
            let text = VENICE.replacen(from, to, 1);
            assert_ne!(text, VENICE, "{from}");
            assert!(Products::from_json(&text).is_err(), "{to}");
        }
        let padded = VENICE.to_owned() + &" ".repeat(MAX_FILE_BYTES);
        assert_eq!(
            Products::from_json(&padded).map_err(|e| e.reason()),
            Err("too-large")
        );
        let twice = VENICE.replacen("[{\"product\"", "[{\"product\":\"Turin\",\"enabled\":true,\"kds_line\":\"Turin\",\
            \"struct_version\":1,\"hw_id_bytes\":8,\"models\":[],\"tcb\":[{\"component\":\"boot-loader\",\"byte\":0,\
            \"max\":1},{\"component\":\"tee\",\"byte\":1,\"max\":1},{\"component\":\"snp\",\"byte\":2,\"max\":1},\
            {\"component\":\"microcode\",\"byte\":3,\"max\":1}]},{\"product\"", 1);
        assert!(Products::from_json(&twice).is_ok(), "two products");
        assert!(
            Products::from_json(&twice.replace("\"Turin\",\"enabled\"", "\"Venice\",\"enabled\""))
                .is_err()
        );
    }
}

//! TCB_VERSION: the levels of a processor's firmware, in four or five components.
//!
//! Eight bytes whose layout depends on the product ([`Products`](super::Products)); a level without its product is
//! ambiguous, so every conversion takes the facts. Two orders of hex are in circulation and each has its function:
//! Azure's `tcbm` prints the little-endian number (`7308000000000003`, most significant byte first), others print the
//! bytes as they stand in a report (`0300000000000873`). Levels are compared component by component, never as
//! numbers, which is why nothing here implements `Ord`. Source: spec/amd-kds-and-thim.md, 1.2 and 3.

use std::fmt;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};

use super::products::ProductFacts;
use crate::Error;
use crate::error::excerpt;

/// One component of a TCB. In the order of the key server's parameters.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum TcbComponent {
    /// Firmware of the management controller; from Turin on.
    Fmc,
    /// Boot loader of the secure processor.
    BootLoader,
    /// Operating system of the secure processor.
    Tee,
    /// SNP firmware.
    Snp,
    /// Microcode.
    Microcode,
}

impl TcbComponent {
    /// All, in order.
    pub const ALL: [Self; 5] = [
        Self::Fmc,
        Self::BootLoader,
        Self::Tee,
        Self::Snp,
        Self::Microcode,
    ];

    /// Lower-case words joined by hyphens.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fmc => "fmc",
            Self::BootLoader => "boot-loader",
            Self::Tee => "tee",
            Self::Snp => "snp",
            Self::Microcode => "microcode",
        }
    }

    /// The name of the key server's query parameter.
    pub const fn parameter(self) -> &'static str {
        match self {
            Self::Fmc => "fmcSPL",
            Self::BootLoader => "blSPL",
            Self::Tee => "teeSPL",
            Self::Snp => "snpSPL",
            Self::Microcode => "ucodeSPL",
        }
    }
}

/// Where a component stands in a product's TCB, and how large it may be.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct SplField {
    /// The component.
    pub component: TcbComponent,
    /// Its byte in a report, 0 to 7.
    pub byte: u8,
    /// Its largest value.
    pub max: u8,
}

/// A TCB by its components.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct SnpTcb {
    /// Firmware of the management controller; none before Turin.
    pub fmc: Option<u8>,
    /// Boot loader.
    pub boot_loader: u8,
    /// Operating system of the secure processor.
    pub tee: u8,
    /// SNP firmware.
    pub snp: u8,
    /// Microcode.
    pub microcode: u8,
}

/// A TCB as it stands in a report, whatever the product: the eight bytes as a little-endian number.
#[derive(Copy, Clone, PartialEq, Eq, Hash)]
pub struct TcbVersion(pub u64);

/// Values of the key server's parameters, read but not yet judged; what was not given is none.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
pub struct SplValues {
    /// `fmcSPL`.
    pub fmc: Option<u64>,
    /// `blSPL`.
    pub boot_loader: Option<u64>,
    /// `teeSPL`.
    pub tee: Option<u64>,
    /// `snpSPL`.
    pub snp: Option<u64>,
    /// `ucodeSPL`.
    pub microcode: Option<u64>,
}

impl SnpTcb {
    /// From values of the key server's parameters: all that the product has, and no other.
    ///
    /// # Errors
    /// [`Error::Format`] whose `what` is the parameter: missing, out of range, or not this product's.
    pub fn from_spl(facts: &ProductFacts, values: &SplValues) -> Result<Self, Error> {
        let value = |component: TcbComponent| -> Result<Option<u8>, Error> {
            let given = values.value(component);
            let refuse = |why: fmt::Arguments<'_>| Err(Error::format(component.parameter(), why));
            let field = facts
                .tcb_fields()
                .iter()
                .find(|field| field.component == component);
            let Some(field) = field else {
                return match given {
                    None => Ok(None),
                    Some(_) => refuse(format_args!("{} has none", facts.product())),
                };
            };
            match given.map(u8::try_from) {
                None => refuse(format_args!("missing")),
                Some(Ok(value)) if value <= field.max => Ok(Some(value)),
                Some(_) => refuse(format_args!("not 0 to {}", field.max)),
            }
        };
        let present = |component| value(component).map(Option::unwrap_or_default);
        Ok(Self {
            fmc: value(TcbComponent::Fmc)?,
            boot_loader: present(TcbComponent::BootLoader)?,
            tee: present(TcbComponent::Tee)?,
            snp: present(TcbComponent::Snp)?,
            microcode: present(TcbComponent::Microcode)?,
        })
    }

    /// From the names and decimal values of a query, in any order, leading zeros allowed.
    ///
    /// # Errors
    /// Those of [`SplValues::from_parameters`] and [`SnpTcb::from_spl`].
    pub fn from_parameters<'a>(
        facts: &ProductFacts,
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, Error> {
        Self::from_spl(facts, &SplValues::from_parameters(pairs)?)
    }

    /// From the little-endian number of a report's eight bytes.
    ///
    /// # Errors
    /// [`Error::Format`] for a reserved byte that is not zero and for a component beyond its limit.
    pub fn from_u64(facts: &ProductFacts, number: u64) -> Result<Self, Error> {
        let bytes = number.to_le_bytes();
        let mut values = SplValues::default();
        for (at, byte) in (0_u8..).zip(bytes) {
            match facts.tcb_fields().iter().find(|field| field.byte == at) {
                Some(field) => *values.slot(field.component) = Some(u64::from(byte)),
                None if byte == 0 => {}
                None => {
                    return Err(Error::format(
                        WHAT,
                        format_args!("reserved byte {at} of {} is not zero", facts.product()),
                    ));
                }
            }
        }
        Self::from_spl(facts, &values)
    }

    /// From the hex of the number, most significant byte first, as `tcbm` and CCF's URLs print it: 1 to 16 digits.
    ///
    /// # Errors
    /// [`Error::Format`] for other text, and those of [`SnpTcb::from_u64`].
    pub fn from_hex_be(facts: &ProductFacts, text: &str) -> Result<Self, Error> {
        TcbVersion::from_hex_be(text)?.decode(facts)
    }

    /// From the hex of the bytes as they stand in a report, least significant byte first: 16 digits.
    ///
    /// # Errors
    /// [`Error::Format`] for other text, and those of [`SnpTcb::from_u64`].
    pub fn from_hex_le(facts: &ProductFacts, text: &str) -> Result<Self, Error> {
        TcbVersion::from_hex_le(text)?.decode(facts)
    }

    /// The number as a report has it.
    ///
    /// # Errors
    /// [`Error::Format`] when this TCB is not one of the product: fmc where there is none or none where there is
    /// one, a component beyond its limit.
    pub fn to_u64(&self, facts: &ProductFacts) -> Result<u64, Error> {
        Self::from_spl(facts, &self.values())?;
        let mut bytes = [0; 8];
        for field in facts.tcb_fields() {
            if let Some(byte) = bytes.get_mut(usize::from(field.byte)) {
                *byte = self.component(field.component).unwrap_or_default();
            }
        }
        Ok(u64::from_le_bytes(bytes))
    }

    /// Azure's `tcbm`: the number in 16 lower-case hex digits.
    ///
    /// # Errors
    /// Those of [`SnpTcb::to_u64`].
    pub fn to_tcbm_hex(&self, facts: &ProductFacts) -> Result<String, Error> {
        Ok(TcbVersion(self.to_u64(facts)?).to_tcbm_hex())
    }

    /// The query of the key server in its canonical form: `blSPL=3&teeSPL=0&snpSPL=8&ucodeSPL=115`, fmc first where
    /// there is one.
    pub fn to_query(&self) -> String {
        let pairs: Vec<String> = TcbComponent::ALL
            .into_iter()
            .filter_map(|component| {
                let value = self.component(component)?;
                Some(format!("{}={value}", component.parameter()))
            })
            .collect();
        pairs.join("&")
    }

    /// One component; none for fmc where there is none.
    pub fn component(&self, component: TcbComponent) -> Option<u8> {
        match component {
            TcbComponent::Fmc => self.fmc,
            TcbComponent::BootLoader => Some(self.boot_loader),
            TcbComponent::Tee => Some(self.tee),
            TcbComponent::Snp => Some(self.snp),
            TcbComponent::Microcode => Some(self.microcode),
        }
    }

    /// Whether every component is at least that of `minimum`. Never so between a TCB with fmc and one without.
    pub fn covers(&self, minimum: &Self) -> bool {
        self.short_of(minimum).is_empty()
    }

    /// The components below `minimum`; fmc among them when only one of the two has it.
    pub fn short_of(&self, minimum: &Self) -> Vec<TcbComponent> {
        TcbComponent::ALL
            .into_iter()
            .filter(
                |component| match (self.component(*component), minimum.component(*component)) {
                    (Some(have), Some(need)) => have < need,
                    (None, None) => false,
                    (Some(_), None) | (None, Some(_)) => true,
                },
            )
            .collect()
    }

    fn values(&self) -> SplValues {
        let value = |component| self.component(component).map(u64::from);
        SplValues {
            fmc: value(TcbComponent::Fmc),
            boot_loader: value(TcbComponent::BootLoader),
            tee: value(TcbComponent::Tee),
            snp: value(TcbComponent::Snp),
            microcode: value(TcbComponent::Microcode),
        }
    }
}

impl fmt::Display for SnpTcb {
    /// `fmc 1, boot-loader 1, tee 1, snp 4, microcode 81`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for component in TcbComponent::ALL {
            if let Some(value) = self.component(component) {
                write!(f, "{separator}{} {value}", component.name())?;
                separator = ", ";
            }
        }
        Ok(())
    }
}

impl TcbVersion {
    /// From the eight bytes of a report.
    pub const fn from_report_bytes(bytes: [u8; 8]) -> Self {
        Self(u64::from_le_bytes(bytes))
    }

    /// From the hex of the number, most significant byte first: 1 to 16 digits, in either case.
    ///
    /// # Errors
    /// [`Error::Format`] for other text.
    pub fn from_hex_be(text: &str) -> Result<Self, Error> {
        let digits = (1..=16).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
        digits
            .then(|| u64::from_str_radix(text, 16).ok())
            .flatten()
            .map(Self)
            .ok_or_else(|| Error::format(WHAT, "not 1 to 16 hex digits"))
    }

    /// From the hex of the bytes as they stand in a report: 16 digits, in either case.
    ///
    /// # Errors
    /// [`Error::Format`] for other text.
    pub fn from_hex_le(text: &str) -> Result<Self, Error> {
        let bytes = (text.len() == 16)
            .then(|| HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok())
            .flatten();
        bytes
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self::from_report_bytes)
            .ok_or_else(|| Error::format(WHAT, "not 16 hex digits"))
    }

    /// The components.
    ///
    /// # Errors
    /// Those of [`SnpTcb::from_u64`].
    pub fn decode(self, facts: &ProductFacts) -> Result<SnpTcb, Error> {
        SnpTcb::from_u64(facts, self.0)
    }

    /// The number in 16 lower-case hex digits, most significant byte first: Azure's `tcbm`.
    pub fn to_tcbm_hex(self) -> String {
        HEXLOWER.encode(&self.0.to_be_bytes())
    }

    /// The bytes as they stand in a report, 16 lower-case hex digits.
    pub fn to_memory_hex(self) -> String {
        HEXLOWER.encode(&self.0.to_le_bytes())
    }
}

impl fmt::Debug for TcbVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TcbVersion({:#018x})", self.0)
    }
}

impl SplValues {
    /// From the names and decimal values of a query, in any order, leading zeros allowed.
    ///
    /// # Errors
    /// [`Error::Format`] whose `what` is the parameter: an unknown name, a name twice, a value that is not decimal.
    pub fn from_parameters<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, Error> {
        let mut values = Self::default();
        // Each name at most once, so the loop ends after six pairs at the latest.
        for (name, text) in pairs {
            let mut all = TcbComponent::ALL.into_iter();
            let Some(component) = all.find(|component| component.parameter() == name) else {
                return Err(Error::format(excerpt(name), "not a parameter of a VCEK"));
            };
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            let value: Option<u64> = (digits && text.len() <= MAX_DIGITS)
                .then(|| text.parse().ok())
                .flatten();
            let value = value.ok_or_else(|| Error::format(name, "not a decimal number"))?;
            if values.slot(component).replace(value).is_some() {
                return Err(Error::format(name, "given twice"));
            }
        }
        Ok(values)
    }

    fn value(&self, component: TcbComponent) -> Option<u64> {
        match component {
            TcbComponent::Fmc => self.fmc,
            TcbComponent::BootLoader => self.boot_loader,
            TcbComponent::Tee => self.tee,
            TcbComponent::Snp => self.snp,
            TcbComponent::Microcode => self.microcode,
        }
    }

    fn slot(&mut self, component: TcbComponent) -> &mut Option<u64> {
        match component {
            TcbComponent::Fmc => &mut self.fmc,
            TcbComponent::BootLoader => &mut self.boot_loader,
            TcbComponent::Tee => &mut self.tee,
            TcbComponent::Snp => &mut self.snp,
            TcbComponent::Microcode => &mut self.microcode,
        }
    }
}

const WHAT: &str = "TCB_VERSION";

/// A value has three digits; clients pad to two. More zeros than this are no client's.
const MAX_DIGITS: usize = 16;

//! The products of the simulated KDS and what differs between them, in one table.
//!
//! From spec/amd-kds-and-thim.md sections 1.3, 2.1, 2.2 and 3. Venice is not here: nobody has seen its root confirmed.

use crate::kds::tcb::SimTcb;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A product line, by the name KDS knows it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AmdProduct {
    /// EPYC 9004 and 8004; Bergamo and Siena too.
    Genoa,
    /// EPYC 7003.
    Milan,
    /// EPYC 9005: eight-byte chip ids and the FMC's level.
    Turin,
}

/// A CA under a product's ARK, and with it the line of KDS paths it is served on: `vcek` or `vlek`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AmdCa {
    /// `SEV-{product}`, the issuer of VCEKs.
    Ask,
    /// `SEV-VLEK-{product}`, the issuer of VLEKs.
    Asvk,
}

impl AmdProduct {
    /// All of them.
    pub const ALL: [AmdProduct; 3] = [AmdProduct::Genoa, AmdProduct::Milan, AmdProduct::Turin];

    /// The name in paths and certificates. Case matters.
    pub fn name(self) -> &'static str {
        match self {
            AmdProduct::Genoa => "Genoa",
            AmdProduct::Milan => "Milan",
            AmdProduct::Turin => "Turin",
        }
    }

    /// The product of a path.
    pub(crate) fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|product| product.name() == name)
    }

    /// How many bytes of a chip's id its paths and certificates carry.
    pub fn hwid_bytes(self) -> usize {
        match self {
            AmdProduct::Genoa | AmdProduct::Milan => 64,
            AmdProduct::Turin => 8,
        }
    }

    /// Whether TCBs have an FMC level, mandatory then and unknown otherwise.
    pub fn has_fmc(self) -> bool {
        match self {
            AmdProduct::Genoa | AmdProduct::Milan => false,
            AmdProduct::Turin => true,
        }
    }

    /// `structVersion`, which the layout of a TCB goes by.
    pub(crate) fn struct_version(self) -> u8 {
        u8::from(self.has_fmc())
    }

    /// Family, model and stepping as reports of version 3 and later carry them, of captured reports.
    pub(crate) fn cpuid(self) -> [u8; 3] {
        match self {
            AmdProduct::Genoa => [0x19, 0x11, 0x01],
            AmdProduct::Milan => [0x19, 0x01, 0x01],
            AmdProduct::Turin => [0x1a, 0x02, 0x01],
        }
    }

    /// `productName` of VCEKs in recent issues.
    pub(crate) fn vcek_product_name(self) -> &'static str {
        match self {
            AmdProduct::Genoa => "Genoa",
            AmdProduct::Milan => "Milan-B0",
            AmdProduct::Turin => "Turin",
        }
    }

    /// The ARK's serial number; its CAs' are counted up from it.
    pub(crate) fn ark_serial(self) -> u32 {
        match self {
            AmdProduct::Genoa => 0x02_0000,
            AmdProduct::Milan => 0x01_0000,
            AmdProduct::Turin => 0x03_0000,
        }
    }

    /// The first serial number of a CA. Genoa's ASK is its second: the first stands in the CRL.
    pub(crate) fn ca_serial(self, ca: AmdCa) -> u32 {
        let offset = match (ca, self) {
            (AmdCa::Ask, AmdProduct::Genoa) => 0x0002,
            (AmdCa::Ask, AmdProduct::Milan | AmdProduct::Turin) => 0x0001,
            (AmdCa::Asvk, _) => 0x0101,
        };
        self.ark_serial() + offset
    }

    /// The CRL number of September 2026. No VLEK CRL was ever captured; the simulator's begin at 1.
    pub(crate) fn first_crl_number(self, ca: AmdCa) -> u32 {
        match (ca, self) {
            (AmdCa::Ask, AmdProduct::Genoa) => 10,
            (AmdCa::Ask, AmdProduct::Milan) => 11,
            (AmdCa::Ask, AmdProduct::Turin) => 7,
            (AmdCa::Asvk, _) => 1,
        }
    }

    /// The line ends of its chain files.
    pub(crate) fn line_end(self) -> &'static str {
        match self {
            AmdProduct::Genoa | AmdProduct::Milan => "\n",
            AmdProduct::Turin => "\r\n",
        }
    }

    /// What a fresh chip reports: the levels of captured reports of 2026.
    pub(crate) fn fresh_tcb(self) -> SimTcb {
        match self {
            AmdProduct::Genoa => SimTcb::new(10, 0, 23, 84),
            AmdProduct::Milan => SimTcb::new(4, 0, 24, 219),
            AmdProduct::Turin => SimTcb::new(1, 1, 4, 81).with_fmc(1),
        }
    }

    /// The newest firmware AMD has released, a step above what fresh chips run: an operator may ask for its VCEKs before
    /// rolling it out. The numbers are made up.
    pub(crate) fn first_released(self) -> SimTcb {
        match self {
            AmdProduct::Genoa => SimTcb::new(11, 0, 25, 88),
            AmdProduct::Milan => SimTcb::new(4, 0, 27, 222),
            AmdProduct::Turin => SimTcb::new(1, 1, 5, 85).with_fmc(1),
        }
    }

    pub(crate) fn index(self) -> usize {
        match self {
            AmdProduct::Genoa => 0,
            AmdProduct::Milan => 1,
            AmdProduct::Turin => 2,
        }
    }
}

impl fmt::Display for AmdProduct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl AmdCa {
    /// Both.
    pub const ALL: [AmdCa; 2] = [AmdCa::Ask, AmdCa::Asvk];

    /// The first element of its paths.
    pub fn line(self) -> &'static str {
        match self {
            AmdCa::Ask => "vcek",
            AmdCa::Asvk => "vlek",
        }
    }

    pub(crate) fn common_name(self, product: AmdProduct) -> String {
        match self {
            AmdCa::Ask => format!("SEV-{product}"),
            AmdCa::Asvk => format!("SEV-VLEK-{product}"),
        }
    }

    pub(crate) fn index(self) -> usize {
        match self {
            AmdCa::Ask => 0,
            AmdCa::Asvk => 1,
        }
    }
}

//! The platform families the simulated vendor knows.
//!
//! FMSPCs are made up and say so: the last three bytes are ASCII `SIM`, so none can be taken for a real one in a log or
//! a store. Component values follow Intel's pattern for each generation (spec/intel-pcs-and-pccs.md section 4).

use serde::Serialize;

/// A platform family of the simulated PCS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SimFmspc {
    /// Twelve upper-case hex digits.
    pub fmspc: String,
    /// `client`, `E3` or `E5`, as `fmspcs?platform=` names them.
    pub platform: String,
    /// Whether SGX TCB info exists.
    pub sgx: bool,
    /// Whether TDX TCB info exists; without it the TDX path answers 404.
    pub tdx: bool,
}

/// What the vendor knows of a family.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Family {
    pub(crate) fmspc: &'static str,
    pub(crate) platform: &'static str,
    /// The first two SGX components (microcode) as of evaluation number 16; each event raises both by one.
    pub(crate) microcode_svn_at_16: u32,
    /// Components 3 to 8, the same in every level.
    pub(crate) fixed_svns: [u32; 6],
    pub(crate) pcesvn: u32,
    /// The TDX components' pattern; `None` for SGX-only families.
    pub(crate) tdx_module_svn_at_16: Option<u32>,
    /// Client parts stay affected by hyper-threading: their best level asks for software hardening.
    pub(crate) hardening: bool,
}

impl Family {
    /// The family of an FMSPC given in upper case.
    pub(crate) fn find(fmspc: &str) -> Option<&'static Family> {
        FAMILIES.iter().find(|family| family.fmspc == fmspc)
    }

    /// The next family that has TDX, or any; for the fault that answers with a wrong FMSPC.
    pub(crate) fn neighbour(&self, tdx: bool) -> Option<&'static Family> {
        FAMILIES
            .iter()
            .cycle()
            .skip_while(|family| *family != self)
            .skip(1)
            .take(FAMILIES.len())
            .find(|family| *family != self && (!tdx || family.tdx_module_svn_at_16.is_some()))
    }
}

/// The families as the library's user sees them.
pub(crate) fn platforms() -> Vec<SimFmspc> {
    FAMILIES
        .iter()
        .map(|family| SimFmspc {
            fmspc: family.fmspc.to_owned(),
            platform: family.platform.to_owned(),
            sgx: true,
            tdx: family.tdx_module_svn_at_16.is_some(),
        })
        .collect()
}

/// Ordered by platform and age.
pub(crate) const FAMILIES: [Family; 7] = [
    Family {
        fmspc: "00906E53494D",
        platform: "client",
        microcode_svn_at_16: 15,
        fixed_svns: [2, 4, 1, 128, 6, 0],
        pcesvn: 13,
        tdx_module_svn_at_16: None,
        hardening: true,
    },
    Family {
        fmspc: "00A06753494D",
        platform: "E3",
        microcode_svn_at_16: 9,
        fixed_svns: [2, 2, 2, 1, 0, 2],
        pcesvn: 13,
        tdx_module_svn_at_16: None,
        hardening: true,
    },
    Family {
        fmspc: "10606A53494D",
        platform: "E5",
        microcode_svn_at_16: 11,
        fixed_svns: [3, 3, 255, 255, 1, 0],
        pcesvn: 13,
        tdx_module_svn_at_16: None,
        hardening: true,
    },
    Family {
        fmspc: "20606C53494D",
        platform: "E5",
        microcode_svn_at_16: 6,
        fixed_svns: [3, 3, 255, 255, 1, 0],
        pcesvn: 13,
        tdx_module_svn_at_16: None,
        hardening: false,
    },
    Family {
        fmspc: "50806F53494D",
        platform: "E5",
        microcode_svn_at_16: 6,
        fixed_svns: [2, 2, 3, 1, 0, 4],
        pcesvn: 11,
        tdx_module_svn_at_16: Some(3),
        hardening: false,
    },
    Family {
        fmspc: "70A06D53494D",
        platform: "E5",
        microcode_svn_at_16: 2,
        fixed_svns: [2, 2, 3, 1, 0, 5],
        pcesvn: 13,
        tdx_module_svn_at_16: Some(4),
        hardening: false,
    },
    Family {
        fmspc: "B0C06F53494D",
        platform: "E5",
        microcode_svn_at_16: 2,
        fixed_svns: [2, 2, 4, 1, 0, 5],
        pcesvn: 11,
        tdx_module_svn_at_16: Some(4),
        hardening: false,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_has_a_neighbour_of_its_kind() {
        for family in &FAMILIES {
            let neighbour = family.neighbour(false).expect("there are seven");
            assert_ne!(neighbour.fmspc, family.fmspc);
        }
        for family in FAMILIES.iter().filter(|f| f.tdx_module_svn_at_16.is_some()) {
            let neighbour = family.neighbour(true).expect("three have TDX");
            assert!(neighbour.tdx_module_svn_at_16.is_some());
        }
    }

    #[test]
    fn fmspcs_are_upper_case_and_marked() {
        for family in &FAMILIES {
            assert_eq!(family.fmspc, family.fmspc.to_uppercase());
            assert!(family.fmspc.ends_with("53494D"));
            assert_eq!(Family::find(family.fmspc), Some(family));
        }
        assert_eq!(Family::find("00906e53494d"), None);
    }
}

//! A TCB of an AMD chip in its three forms: components, the eight bytes of a report, the query of a KDS path.
//!
//! From spec/amd-kds-and-thim.md sections 1.2 and 3. Comparison is by component, never by the eight bytes.

use crate::SimError;
use crate::kds::product::AmdProduct;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

/// The security patch levels of a chip's firmware. In JSON `{"boot_loader": 4, "tee": 0, "snp": 24, "microcode": 219}`,
/// and `fmc` for Turin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimTcb {
    /// `fmcSPL`; Turin has it, the others do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fmc: Option<u8>,
    /// `blSPL`.
    pub boot_loader: u8,
    /// `teeSPL`.
    pub tee: u8,
    /// `snpSPL`.
    pub snp: u8,
    /// `ucodeSPL`.
    pub microcode: u8,
}

impl SimTcb {
    /// Without an FMC level.
    pub fn new(boot_loader: u8, tee: u8, snp: u8, microcode: u8) -> Self {
        Self {
            fmc: None,
            boot_loader,
            tee,
            snp,
            microcode,
        }
    }

    /// With an FMC level.
    pub fn with_fmc(mut self, fmc: u8) -> Self {
        self.fmc = Some(fmc);
        self
    }

    /// With another microcode level.
    pub fn with_microcode(mut self, microcode: u8) -> Self {
        self.microcode = microcode;
        self
    }

    /// `TCB_VERSION` in report memory order.
    pub fn to_bytes(&self, product: AmdProduct) -> [u8; 8] {
        match product {
            AmdProduct::Genoa | AmdProduct::Milan => [
                self.boot_loader,
                self.tee,
                0,
                0,
                0,
                0,
                self.snp,
                self.microcode,
            ],
            AmdProduct::Turin => [
                self.fmc.unwrap_or(0),
                self.boot_loader,
                self.tee,
                self.snp,
                0,
                0,
                0,
                self.microcode,
            ],
        }
    }

    /// The same as one number in hex, 16 lower-case digits, the last byte first: Azure's `tcbm`.
    pub fn tcbm(&self, product: AmdProduct) -> String {
        let mut bytes = self.to_bytes(product);
        bytes.reverse();
        HEXLOWER.encode(&bytes)
    }

    /// The query of its VCEK's path, as go-sev-guest spells it: unpadded decimal.
    pub fn query(&self) -> String {
        let fmc = self
            .fmc
            .map(|fmc| format!("fmcSPL={fmc}&"))
            .unwrap_or_default();
        format!(
            "{fmc}blSPL={}&teeSPL={}&snpSPL={}&ucodeSPL={}",
            self.boot_loader, self.tee, self.snp, self.microcode
        )
    }

    /// Whether every component is at least the other's.
    pub fn covers(&self, other: &SimTcb) -> bool {
        let mine = self.components();
        let theirs = other.components();
        mine.into_iter().zip(theirs).all(|(mine, its)| mine >= its)
    }

    /// Each component the higher of the two.
    pub(crate) fn highest(&self, other: &SimTcb) -> SimTcb {
        SimTcb {
            fmc: self.fmc.max(other.fmc),
            boot_loader: self.boot_loader.max(other.boot_loader),
            tee: self.tee.max(other.tee),
            snp: self.snp.max(other.snp),
            microcode: self.microcode.max(other.microcode),
        }
    }

    /// Another level of the same chip, one component lower; `None` of the lowest.
    pub(crate) fn neighbour(&self) -> Option<SimTcb> {
        let lower = |level: u8| level.checked_sub(1);
        if let Some(microcode) = lower(self.microcode) {
            return Some(SimTcb { microcode, ..*self });
        }
        lower(self.snp).map(|snp| SimTcb { snp, ..*self })
    }

    /// Whether a chip of the product can have it: an FMC level exactly where the product has one, and 127 at most but
    /// for the microcode, which goes to 255.
    pub(crate) fn require_for(&self, product: AmdProduct) -> Result<(), SimError> {
        if self.fmc.is_some() != product.has_fmc() {
            return Err(SimError::InvalidRequest(
                "fmc: for Turin, and Turin alone".to_owned(),
            ));
        }
        let [_, levels @ .., _] = self.components();
        let fmc = self.fmc.unwrap_or(0);
        if levels.into_iter().chain([fmc]).any(|level| level > MAX_SPL) {
            return Err(SimError::InvalidRequest(format!(
                "levels but the microcode's go to {MAX_SPL}"
            )));
        }
        Ok(())
    }

    fn components(&self) -> [u8; 5] {
        [
            self.fmc.unwrap_or(0),
            self.boot_loader,
            self.tee,
            self.snp,
            self.microcode,
        ]
    }
}

/// spec/amd-kds-and-thim.md section 3: the microcode's level goes to 255, the others to 127.
pub(crate) const MAX_SPL: u8 = 127;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn genuine_tcbs_come_out_byte_for_byte() {
        // The reports d49554ec (Milan) and 59790fb1 (Turin), and Azure's `tcbm` for the first.
        let milan = SimTcb::new(3, 0, 8, 115);
        assert_eq!(
            HEXLOWER.encode(&milan.to_bytes(AmdProduct::Milan)),
            "0300000000000873"
        );
        assert_eq!(milan.tcbm(AmdProduct::Milan), "7308000000000003");
        assert_eq!(milan.query(), "blSPL=3&teeSPL=0&snpSPL=8&ucodeSPL=115");
        let turin = SimTcb::new(1, 1, 4, 81).with_fmc(1);
        assert_eq!(
            HEXLOWER.encode(&turin.to_bytes(AmdProduct::Turin)),
            "0101010400000051"
        );
        assert!(turin.query().starts_with("fmcSPL=1&blSPL=1&"));
    }

    #[test]
    fn one_lower_component_is_not_covered() {
        let tcb = SimTcb::new(4, 0, 24, 219);
        assert!(tcb.covers(&tcb) && tcb.covers(&SimTcb::new(3, 0, 24, 219)));
        assert!(!tcb.covers(&SimTcb::new(5, 0, 8, 115)));
        assert!(!tcb.covers(&tcb.with_fmc(1)));
        assert_eq!(tcb.neighbour(), Some(tcb.with_microcode(218)));
        assert_eq!(
            SimTcb::new(4, 0, 2, 0).neighbour(),
            Some(SimTcb::new(4, 0, 1, 0))
        );
        assert_eq!(SimTcb::new(4, 0, 0, 0).neighbour(), None);
    }

    #[test]
    fn the_fmc_belongs_to_turin_and_levels_have_bounds() {
        let plain = SimTcb::new(127, 127, 127, 255);
        assert!(plain.require_for(AmdProduct::Milan).is_ok());
        assert!(plain.require_for(AmdProduct::Turin).is_err());
        assert!(plain.with_fmc(127).require_for(AmdProduct::Turin).is_ok());
        assert!(plain.with_fmc(128).require_for(AmdProduct::Turin).is_err());
        assert!(plain.with_fmc(1).require_for(AmdProduct::Genoa).is_err());
        let high = SimTcb::new(128, 0, 0, 0);
        assert!(high.require_for(AmdProduct::Milan).is_err());
    }
}

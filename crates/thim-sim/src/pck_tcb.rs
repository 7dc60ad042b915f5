//! A PCK TCB: the sixteen components of a CPUSVN and a PCESVN, and how two of them compare.
//!
//! Written as spec/intel-pcs-and-pccs.md section 7 writes `tcbm`: CPUSVN in hex, then PCESVN as two bytes, the low one
//! first. One TCB covers another when no component of it is lower (section 6, step 7).

use data_encoding::{HEXLOWER_PERMISSIVE, HEXUPPER};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PckTcb {
    pub(crate) components: [u8; 16],
    pub(crate) pcesvn: u16,
}

impl PckTcb {
    /// From 32 and 4 hex digits of either case; nothing else.
    pub(crate) fn parse(cpusvn: &str, pcesvn: &str) -> Option<Self> {
        Some(Self {
            components: hex_array(cpusvn)?,
            pcesvn: u16::from_le_bytes(hex_array(pcesvn)?),
        })
    }

    /// 36 upper-case hex digits.
    pub(crate) fn tcbm(&self) -> String {
        let mut bytes = self.components.to_vec();
        bytes.extend(self.pcesvn.to_le_bytes());
        HEXUPPER.encode(&bytes)
    }

    /// Whether a platform with this raw TCB may use the certificate of `level`.
    pub(crate) fn covers(&self, level: &PckTcb) -> bool {
        self.pcesvn >= level.pcesvn
            && self
                .components
                .iter()
                .zip(&level.components)
                .all(|(raw, level)| raw >= level)
    }
}

/// Exactly `N` bytes from hex digits of either case.
pub(crate) fn hex_array<const N: usize>(text: &str) -> Option<[u8; N]> {
    let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()?;
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCB: &str = "0F0F0204018007000000000000000000";

    #[test]
    fn tcbm_has_the_low_byte_of_pcesvn_first() {
        let tcb = PckTcb::parse(TCB, "0d00").expect("it is hex");
        assert_eq!(tcb.pcesvn, 13);
        assert_eq!(tcb.tcbm(), format!("{TCB}0D00"));
        for (cpusvn, pcesvn) in [(TCB, "0D"), (&TCB[2..], "0D00"), (TCB, "0G00")] {
            assert_eq!(PckTcb::parse(cpusvn, pcesvn), None);
        }
    }

    #[test]
    fn one_lower_component_is_enough_not_to_cover() {
        let raw = PckTcb::parse(TCB, "0D00").expect("it is hex");
        assert!(raw.covers(&raw));
        for index in 0..16 {
            let mut level = raw;
            level.components[index] += 1;
            assert!(level.covers(&raw) && !raw.covers(&level), "{index}");
        }
        let newer = PckTcb { pcesvn: 14, ..raw };
        assert!(newer.covers(&raw) && !raw.covers(&newer));
    }
}

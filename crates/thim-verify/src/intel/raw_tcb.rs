//! What security versions a platform has: CPUSVN and PCESVN, and the two together.
//!
//! The same 18 bytes say what a platform reports (its raw TCB) and what a PCK certificate is made for (its TCBm), and
//! text of both is PCS's `tcbm`: CPUSVN, then PCESVN in little endian. Source: Intel PCS API v4, "Get PCK
//! Certificate"; the order of TCBs is that of PCCS (`pckCertSelection/Tcb.js`).

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use data_encoding::HEXUPPER;

use crate::Error;
use crate::ids::{hex_array, not, serde_as_text};

/// The security version of a processor: 16 bytes, one a component. Text: 32 hex digits, written in upper case.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CpuSvn(pub [u8; 16]);

/// The security version of the provisioning certification enclave. Text: 4 hex digits of the two bytes in little
/// endian, written in upper case: 13 is `0D00`.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PceSvn(pub u16);

/// CPUSVN and PCESVN. Text: 36 hex digits, written in upper case.
///
/// The derived order is that of the text and serves maps only; which TCB is better says
/// [`RawTcb::compare_components`].
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RawTcb {
    /// Of the processor.
    pub cpu_svn: CpuSvn,
    /// Of the provisioning certification enclave.
    pub pce_svn: PceSvn,
}

impl RawTcb {
    /// Greater when no component is lower and one is higher, less the other way round; none when each has a
    /// component that is higher than the other's: such two cannot be compared.
    pub fn compare_components(&self, other: &Self) -> Option<Ordering> {
        let cpu_svn = self.cpu_svn.0.iter().zip(&other.cpu_svn.0);
        cpu_svn
            .map(|(own, others)| own.cmp(others))
            .chain([self.pce_svn.cmp(&other.pce_svn)])
            .try_fold(Ordering::Equal, |so_far, next| {
                if so_far == Ordering::Equal || next == Ordering::Equal || so_far == next {
                    Some(so_far.then(next))
                } else {
                    None
                }
            })
    }

    /// Whether no component is lower than `other`'s: a platform with this TCB may use a certificate for `other`.
    pub fn covers(&self, other: &Self) -> bool {
        self.compare_components(other).is_some_and(Ordering::is_ge)
    }
}

impl fmt::Display for CpuSvn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXUPPER.encode(&self.0))
    }
}

impl FromStr for CpuSvn {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        hex_array(text)
            .map(Self)
            .ok_or_else(|| not("CPUSVN", "32 hex digits"))
    }
}

impl fmt::Display for PceSvn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXUPPER.encode(&self.0.to_le_bytes()))
    }
}

impl FromStr for PceSvn {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        hex_array(text)
            .map(|bytes| Self(u16::from_le_bytes(bytes)))
            .ok_or_else(|| not("PCESVN", "4 hex digits"))
    }
}

impl fmt::Display for RawTcb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.cpu_svn, self.pce_svn)
    }
}

impl FromStr for RawTcb {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        text.split_at_checked(CPU_SVN_DIGITS)
            .and_then(|(cpu_svn, pce_svn)| {
                Some(Self {
                    cpu_svn: cpu_svn.parse().ok()?,
                    pce_svn: pce_svn.parse().ok()?,
                })
            })
            .ok_or_else(|| not("TCB", "36 hex digits"))
    }
}

serde_as_text!(CpuSvn, PceSvn, RawTcb);

/// Two a byte.
const CPU_SVN_DIGITS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "0B0B0303FFFF010000000000000000000D01";

    #[test]
    fn text_forms() {
        let raw: RawTcb = TEXT.to_lowercase().parse().expect("a TCB");
        assert_eq!(raw.pce_svn, PceSvn(0x010d));
        assert_eq!(raw.cpu_svn.0[..7], [0x0b, 0x0b, 3, 3, 255, 255, 1]);
        assert_eq!(raw.to_string(), TEXT);
        assert_eq!(raw.cpu_svn.to_string(), TEXT[..32]);
        assert_eq!(PceSvn(0x010d).to_string(), "0D01");
        assert_eq!("0d00".parse(), Ok(PceSvn(13)));
        assert_eq!(
            serde_json::to_string(&raw).ok(),
            Some(format!("\"{TEXT}\""))
        );
        assert!(serde_json::from_str::<RawTcb>("13").is_err());
    }

    #[test]
    fn the_nearest_misses_are_refused() {
        for text in [
            "",
            &TEXT[..35],
            &format!("{TEXT}0"),
            &TEXT.replace('B', "G"),
            &TEXT.replace("00", "é"),
        ] {
            assert!(text.parse::<RawTcb>().is_err(), "{text:?}");
        }
        for text in ["", "D", "0D0", "0D000", "0x0D", " 0D0"] {
            assert!(text.parse::<PceSvn>().is_err(), "{text:?}");
        }
        assert!(TEXT[..31].parse::<CpuSvn>().is_err());
        assert!(TEXT[..33].parse::<CpuSvn>().is_err());
    }

    #[test]
    fn components_decide_which_is_better() {
        let raw: RawTcb = TEXT.parse().expect("a TCB");
        let with = |at: usize, svn: u8, pce_svn: u16| {
            let mut other = raw;
            other.cpu_svn.0[at] = svn;
            other.pce_svn = PceSvn(pce_svn);
            other
        };
        for (other, order) in [
            (raw, Some(Ordering::Equal)),
            (with(0, 0x0a, 0x010d), Some(Ordering::Greater)),
            (with(15, 1, 0x010d), Some(Ordering::Less)),
            (with(15, 0, 0x010c), Some(Ordering::Greater)),
            (with(15, 0, 0x0200), Some(Ordering::Less)),
            (with(0, 0x0a, 0x0200), None),
            (with(15, 1, 0x00ff), None),
        ] {
            assert_eq!(raw.compare_components(&other), order, "{other}");
            assert_eq!(other.compare_components(&raw), order.map(Ordering::reverse));
            assert_eq!(raw.covers(&other), order.is_some_and(|order| order.is_ge()));
        }
    }
}

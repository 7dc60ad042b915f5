//! Attestation reports of virtual chips, byte by byte: spec/amd-kds-and-thim.md section 4.
//!
//! Everything not set by a [`ReportSpec`] is what captured reports have. A spec can ask for what no honest platform
//! makes (bit 17 of the policy missing, VMPL 7): verifiers have to cope.

use crate::kds::chip::SimChip;
use crate::kds::keys::LeafKey;
use data_encoding::{DecodeError, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Deserializer};

/// What a guest asks for and what its host set. In JSON all members are optional, byte strings are hex.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReportSpec {
    /// The layout.
    pub version: ReportVersion,
    /// The guest's SVN.
    pub guest_svn: u32,
    /// The guest's policy; SMT allowed and the bit that must be 1, unless set.
    pub policy: u64,
    /// Sets the policy's debug bit.
    pub debug: bool,
    /// 0 to 3; `0xFFFFFFFF` is a report the host asked for.
    pub vmpl: u32,
    /// SMT, ECC and the alias check, unless set.
    pub platform_info: u64,
    /// The guest's own data, a nonce mostly.
    #[serde(deserialize_with = "hex")]
    pub report_data: [u8; 64],
    /// The launch measurement.
    #[serde(deserialize_with = "hex")]
    pub measurement: [u8; 48],
    /// The host's data.
    #[serde(deserialize_with = "hex")]
    pub host_data: [u8; 32],
    /// The host masks the chip id: it is all zeros.
    pub mask_chip_id: bool,
}

/// The version of a report. In JSON a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u32")]
pub enum ReportVersion {
    /// Without CPUID.
    V2,
    /// With CPUID.
    #[default]
    V3,
    /// With mitigation vectors too.
    V5,
}

impl Default for ReportSpec {
    fn default() -> Self {
        Self {
            version: ReportVersion::default(),
            guest_svn: 0,
            policy: POLICY_RESERVED_ONE | POLICY_SMT,
            debug: false,
            vmpl: 0,
            platform_info: PLATFORM_SMT | PLATFORM_ECC | PLATFORM_ALIAS_CHECK,
            report_data: [0; 64],
            measurement: [0; 48],
            host_data: [0; 32],
            mask_chip_id: false,
        }
    }
}

/// Whose key signs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signer {
    Vcek,
    Vlek,
}

pub(crate) fn signed_report(
    chip: &SimChip,
    spec: &ReportSpec,
    signer: Signer,
    key: &LeafKey,
) -> [u8; REPORT_BYTES] {
    let mut report = [0; REPORT_BYTES];
    let mut put = |offset: usize, bytes: &[u8]| {
        report[offset..offset + bytes.len()].copy_from_slice(bytes);
    };
    let tcb = |tcb: &crate::kds::tcb::SimTcb| tcb.to_bytes(chip.product);
    let (version, firmware) = spec.version.number_and_firmware();
    let debug = if spec.debug { POLICY_DEBUG } else { 0 };
    put(0x000, &version.to_le_bytes());
    put(0x004, &spec.guest_svn.to_le_bytes());
    put(0x008, &(spec.policy | debug).to_le_bytes());
    put(0x030, &spec.vmpl.to_le_bytes());
    put(0x034, &ECDSA_P384_SHA384.to_le_bytes());
    put(0x038, &tcb(&chip.current));
    put(0x040, &spec.platform_info.to_le_bytes());
    let signing_key: u32 = match signer {
        Signer::Vcek => 0,
        Signer::Vlek => 1,
    };
    put(0x048, &(signing_key << 2).to_le_bytes());
    put(0x050, &spec.report_data);
    put(0x090, &spec.measurement);
    put(0x0c0, &spec.host_data);
    // No migration agent.
    put(0x160, &[0xff; 32]);
    put(0x180, &tcb(&chip.reported));
    match spec.version {
        ReportVersion::V2 => {}
        ReportVersion::V3 | ReportVersion::V5 => put(0x188, &chip.product.cpuid()),
    }
    if !spec.mask_chip_id && signer == Signer::Vcek {
        put(0x1a0, &chip.chip_id());
    }
    put(0x1e0, &tcb(&chip.committed));
    put(0x1e8, &firmware);
    put(0x1ec, &firmware);
    put(0x1f0, &tcb(&chip.current));
    match spec.version {
        ReportVersion::V2 | ReportVersion::V3 => {}
        ReportVersion::V5 => {
            put(0x1f8, &MITIGATIONS.to_le_bytes());
            put(0x200, &MITIGATIONS.to_le_bytes());
        }
    }
    let signature = key.sign(&report[..SIGNED_BYTES]);
    let (r, s) = signature.split_at(48);
    for (offset, number) in [(0x2a0, r), (0x2e8, s)] {
        for (place, byte) in report[offset..].iter_mut().zip(number.iter().rev()) {
            *place = *byte;
        }
    }
    report
}

impl ReportVersion {
    /// The number, and build, minor and major version of a firmware that makes such reports.
    fn number_and_firmware(self) -> (u32, [u8; 3]) {
        match self {
            ReportVersion::V2 => (2, [4, 52, 1]),
            ReportVersion::V3 => (3, [29, 55, 1]),
            ReportVersion::V5 => (5, [65, 55, 1]),
        }
    }
}

impl TryFrom<u32> for ReportVersion {
    type Error = &'static str;

    fn try_from(number: u32) -> Result<Self, Self::Error> {
        match number {
            2 => Ok(ReportVersion::V2),
            3 => Ok(ReportVersion::V3),
            5 => Ok(ReportVersion::V5),
            _ => Err("version: 2, 3 or 5"),
        }
    }
}

/// Fewer bytes than there is room for are followed by zeros.
pub(crate) fn hex<'de, D: Deserializer<'de>, const N: usize>(
    deserializer: D,
) -> Result<[u8; N], D::Error> {
    let text = String::deserialize(deserializer)?;
    let unfit = |error: DecodeError| serde::de::Error::custom(error);
    let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(unfit)?;
    let mut array = [0; N];
    match array.get_mut(..bytes.len()) {
        Some(room) => room.copy_from_slice(&bytes),
        None => return Err(serde::de::Error::custom(format!("{N} bytes at most"))),
    }
    Ok(array)
}

const REPORT_BYTES: usize = 1184;
const SIGNED_BYTES: usize = 0x2a0;
const ECDSA_P384_SHA384: u32 = 1;
const POLICY_SMT: u64 = 1 << 16;
const POLICY_RESERVED_ONE: u64 = 1 << 17;
const POLICY_DEBUG: u64 = 1 << 19;
const PLATFORM_SMT: u64 = 1;
const PLATFORM_ECC: u64 = 1 << 2;
const PLATFORM_ALIAS_CHECK: u64 = 1 << 5;
/// Of a captured report of version 5.
const MITIGATIONS: u64 = 0x3f;

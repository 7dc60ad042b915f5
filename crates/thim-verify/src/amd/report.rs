//! Attestation reports of SEV-SNP guests, versions 2 to 5.
//!
//! 1184 bytes, little endian, of which the signature covers the first 672. What it does not cover (the padding of its
//! two numbers, the tail) must be zero, as must every reserved byte: a report with something to say there is not one
//! this reader understands. Bits without a meaning yet in POLICY and PLATFORM_INFO are no error; genuine reports have
//! them. Version 4 was never captured; it is read as version 3, whose later reserved bytes it must keep zero. Nothing
//! here judges a report: [`verify_report`](super::verify_report) does. Source: spec/amd-kds-and-thim.md, 4.

use std::fmt;

use super::bits::{GuestPolicy, PlatformInfo};
use super::hw_id::{HwId, LONG_BYTES};
use super::products::{ProductFacts, Products};
use super::tcb::TcbVersion;
use crate::Error;

/// A parsed report. Its chip id never appears in its debug form.
#[derive(Clone, PartialEq, Eq)]
pub struct SnpReport {
    /// VERSION, 2 to 5.
    pub version: u32,
    /// GUEST_SVN.
    pub guest_svn: u32,
    /// POLICY.
    pub policy: GuestPolicy,
    /// FAMILY_ID.
    pub family_id: [u8; 16],
    /// IMAGE_ID.
    pub image_id: [u8; 16],
    /// VMPL.
    pub vmpl: Vmpl,
    /// CURRENT_TCB.
    pub current_tcb: TcbVersion,
    /// PLATFORM_INFO.
    pub platform_info: PlatformInfo,
    /// Which key signed, and what is said about others.
    pub key_info: KeyInfo,
    /// REPORT_DATA: what the guest put in.
    pub report_data: [u8; 64],
    /// MEASUREMENT of the guest at launch.
    pub measurement: [u8; 48],
    /// HOST_DATA: what the host put in at launch.
    pub host_data: [u8; 32],
    /// ID_KEY_DIGEST.
    pub id_key_digest: [u8; 48],
    /// AUTHOR_KEY_DIGEST.
    pub author_key_digest: [u8; 48],
    /// REPORT_ID of the guest.
    pub report_id: [u8; 32],
    /// REPORT_ID of the guest's migration agent; all ones when there is none.
    pub report_id_ma: [u8; 32],
    /// REPORTED_TCB: the one that the signing key was derived for.
    pub reported_tcb: TcbVersion,
    /// CPUID family, model and stepping; version 2 does not say them.
    pub cpuid: Option<[u8; 3]>,
    /// COMMITTED_TCB: below which the firmware does not go back.
    pub committed_tcb: TcbVersion,
    /// Firmware that runs.
    pub current_firmware: Firmware,
    /// Firmware below which it does not go back.
    pub committed_firmware: Firmware,
    /// LAUNCH_TCB: CURRENT_TCB when the guest started.
    pub launch_tcb: TcbVersion,
    /// LAUNCH_MIT_VECTOR; from version 5 on.
    pub launch_mitigations: Option<u64>,
    /// CURRENT_MIT_VECTOR; from version 5 on.
    pub current_mitigations: Option<u64>,
    chip_id: [u8; LONG_BYTES],
    bytes: Box<[u8; REPORT_BYTES]>,
}

/// The key information of a report.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct KeyInfo {
    /// AUTHOR_KEY_EN: the author key's digest is there.
    pub author_key: bool,
    /// MASK_CHIP_KEY: the host forbids signing with the chip's key.
    pub mask_chip_key: bool,
    /// SIGNING_KEY.
    pub signing_key: SigningKey,
}

/// Which key signed a report. In the order of the specification's numbers.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum SigningKey {
    /// 0: the chip's.
    Vcek,
    /// 1: the cloud's.
    Vlek,
    /// 7: the report is not signed.
    Unsigned,
}

/// The privilege level that asked for a report.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Vmpl {
    /// 0 (most privileged) to 3.
    Guest(u8),
    /// The host did; no guest has seen REPORT_DATA.
    Host,
}

/// A firmware version; ordered as it is read.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Firmware {
    /// Major version.
    pub major: u8,
    /// Minor version.
    pub minor: u8,
    /// Build.
    pub build: u8,
}

/// Parses a report.
///
/// # Errors
/// [`Error::Format`] for another length than 1184 bytes, reserved or padding bytes that are not zero, and values that
/// are not defined; [`Error::Unsupported`] for another version or signature algorithm.
pub fn parse_report(bytes: &[u8]) -> Result<SnpReport, Error> {
    let found = bytes.len();
    let bytes: &[u8; REPORT_BYTES] = bytes
        .try_into()
        .map_err(|_| wrong(format_args!("{found} bytes; a report has {REPORT_BYTES}")))?;
    let bytes = Box::new(*bytes);
    let layout = Layout(&bytes);
    let version = layout.u32(0x000);
    if !VERSIONS.contains(&version) {
        return Err(Error::unsupported(format_args!(
            "SNP report version {version}"
        )));
    }
    if layout.u32(0x034) != ECDSA_P384_SHA384 {
        return Err(Error::unsupported(
            "an SNP report with a signature algorithm other than ECDSA P-384 with SHA-384",
        ));
    }
    let reserved = RESERVED
        .iter()
        .chain((version < 3).then_some(&BEFORE_VERSION_3))
        .chain((version < 5).then_some(&BEFORE_VERSION_5));
    for &(from, until) in reserved {
        layout.zero(from, until)?;
    }
    let policy = GuestPolicy(layout.u64(0x008));
    if policy.0 & POLICY_ALWAYS_ONE == 0 {
        return Err(wrong(format_args!("bit 17 of POLICY is not set")));
    }
    Ok(SnpReport {
        version,
        guest_svn: layout.u32(0x004),
        policy,
        family_id: layout.array(0x010),
        image_id: layout.array(0x020),
        vmpl: vmpl(layout.u32(0x030))?,
        current_tcb: layout.tcb(0x038),
        platform_info: PlatformInfo(layout.u64(0x040)),
        key_info: key_info(layout.u32(0x048))?,
        report_data: layout.array(0x050),
        measurement: layout.array(0x090),
        host_data: layout.array(0x0c0),
        id_key_digest: layout.array(0x0e0),
        author_key_digest: layout.array(0x110),
        report_id: layout.array(0x140),
        report_id_ma: layout.array(0x160),
        reported_tcb: layout.tcb(0x180),
        cpuid: (version >= 3).then(|| layout.array(0x188)),
        chip_id: layout.array(0x1a0),
        committed_tcb: layout.tcb(0x1e0),
        current_firmware: layout.firmware(0x1e8),
        committed_firmware: layout.firmware(0x1ec),
        launch_tcb: layout.tcb(0x1f0),
        launch_mitigations: (version >= 5).then(|| layout.u64(0x1f8)),
        current_mitigations: (version >= 5).then(|| layout.u64(0x200)),
        bytes,
    })
}

impl SnpReport {
    /// The report as received.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.as_slice()
    }

    /// What the signature covers: the first 672 bytes.
    pub fn signed(&self) -> &[u8] {
        self.bytes.get(..SIGNED_BYTES).unwrap_or_default()
    }

    /// The signature as `r || s`, 48 bytes each, big endian; a report has both numbers little endian.
    pub fn signature(&self) -> [u8; 96] {
        let layout = Layout(&self.bytes);
        let (mut r, mut s): ([u8; 48], [u8; 48]) = (layout.array(R), layout.array(S));
        r.reverse();
        s.reverse();
        let mut signature = [0; 96];
        for (to, from) in signature.iter_mut().zip(r.into_iter().chain(s)) {
            *to = from;
        }
        signature
    }

    /// The facts of the product whose CPU the report names. None for version 2, and for a CPU no product claims.
    pub fn product<'a>(&self, products: &'a Products) -> Option<&'a ProductFacts> {
        let [family, model, _] = self.cpuid?;
        products.by_cpuid(family, model)
    }

    /// CHIP_ID as the product's ids are; all zero when the host masks it.
    ///
    /// # Errors
    /// [`Error::Format`] when it has more bytes than the product's ids.
    pub fn chip_id(&self, facts: &ProductFacts) -> Result<HwId, Error> {
        HwId::from_bytes(facts, &self.chip_id)
    }

    /// Whether CHIP_ID is all zero: masked by the host, or a VLEK platform.
    pub fn chip_id_is_masked(&self) -> bool {
        self.chip_id == [0; LONG_BYTES]
    }
}

impl fmt::Debug for SnpReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnpReport")
            .field("version", &self.version)
            .field("policy", &self.policy)
            .field("vmpl", &self.vmpl)
            .field("platform_info", &self.platform_info)
            .field("key_info", &self.key_info)
            .field("reported_tcb", &self.reported_tcb)
            .field("current_tcb", &self.current_tcb)
            .finish_non_exhaustive()
    }
}

/// The bytes by offset. Reading outside of them gives zeros, and no caller does.
struct Layout<'a>(&'a [u8; REPORT_BYTES]);

impl Layout<'_> {
    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut array = [0; N];
        for (to, from) in array.iter_mut().zip(self.0.iter().skip(at)) {
            *to = *from;
        }
        array
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.array(at))
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.array(at))
    }

    fn tcb(&self, at: usize) -> TcbVersion {
        TcbVersion::from_report_bytes(self.array(at))
    }

    fn firmware(&self, at: usize) -> Firmware {
        let [build, minor, major] = self.array(at);
        Firmware {
            major,
            minor,
            build,
        }
    }

    fn zero(&self, from: usize, until: usize) -> Result<(), Error> {
        let mut bytes = self.0.iter().take(until).skip(from);
        if bytes.all(|byte| *byte == 0) {
            return Ok(());
        }
        Err(wrong(format_args!(
            "bytes {from:#05x} to {:#05x} are reserved and not zero",
            until.saturating_sub(1)
        )))
    }
}

fn vmpl(number: u32) -> Result<Vmpl, Error> {
    match number {
        u32::MAX => Ok(Vmpl::Host),
        0..=3 => Ok(Vmpl::Guest(number.to_le_bytes()[0])),
        _ => Err(wrong(format_args!("VMPL {number}"))),
    }
}

fn key_info(number: u32) -> Result<KeyInfo, Error> {
    let signing_key = match number >> 2 {
        0 => SigningKey::Vcek,
        1 => SigningKey::Vlek,
        7 => SigningKey::Unsigned,
        _ => return Err(wrong(format_args!("reserved key information {number:#x}"))),
    };
    Ok(KeyInfo {
        author_key: number & 1 != 0,
        mask_chip_key: number & 2 != 0,
        signing_key,
    })
}

fn wrong(why: fmt::Arguments<'_>) -> Error {
    Error::format("SNP report", why)
}

/// 0x4A0.
const REPORT_BYTES: usize = 1184;

/// 0x2A0.
const SIGNED_BYTES: usize = 672;

/// Those seen, and 4 between them.
const VERSIONS: std::ops::RangeInclusive<u32> = 2..=5;

const ECDSA_P384_SHA384: u32 = 1;

const R: usize = 0x2a0;
const S: usize = 0x2e8;

/// Reserved in every version: from, until. The last three are the padding of R and of S, and the tail.
const RESERVED: [(usize, usize); 8] = [
    (0x04c, 0x050),
    (0x18b, 0x1a0),
    (0x1eb, 0x1ec),
    (0x1ef, 0x1f0),
    (0x208, 0x2a0),
    (R + 48, S),
    (S + 48, 0x330),
    (0x330, REPORT_BYTES),
];

/// CPUID from version 3 on.
const BEFORE_VERSION_3: (usize, usize) = (0x188, 0x18b);

/// The mitigation vectors from version 5 on.
const BEFORE_VERSION_5: (usize, usize) = (0x1f8, 0x208);

const POLICY_ALWAYS_ONE: u64 = 1 << 17;

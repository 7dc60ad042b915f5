//! What a quote reports: an SGX enclave, or a TDX trust domain in one of three layouts.
//!
//! Reserved bytes are not looked at here: the signature covers them, and newer processors may use them. Source:
//! spec/intel-verification.md, section 1, "SGX report body", "TD report 1.0 body".

use super::cursor::Cursor;
use super::{QuoteHeader, wrong};
use crate::{CpuSvn, Error, Tee, TeeTcbSvn};

/// The report.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum QuoteBody {
    /// Of an SGX enclave.
    Sgx(Box<SgxReport>),
    /// Of a TDX trust domain.
    Td(Box<TdReport>),
}

/// An SGX enclave report, 384 bytes; byte arrays in the report's order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SgxReport {
    /// CPUSVN of the platform as the enclave saw it.
    pub cpu_svn: CpuSvn,
    /// MISCSELECT.
    pub miscselect: [u8; 4],
    /// ISVEXTPRODID.
    pub isv_ext_prod_id: [u8; 16],
    /// ATTRIBUTES: flags and XFRM.
    pub attributes: [u8; 16],
    /// MRENCLAVE.
    pub mr_enclave: [u8; 32],
    /// MRSIGNER.
    pub mr_signer: [u8; 32],
    /// CONFIGID.
    pub config_id: [u8; 64],
    /// ISVPRODID.
    pub isv_prod_id: u16,
    /// ISVSVN.
    pub isv_svn: u16,
    /// CONFIGSVN.
    pub config_svn: u16,
    /// ISVFAMILYID.
    pub isv_family_id: [u8; 16],
    /// REPORTDATA: what the enclave put in.
    pub report_data: [u8; 64],
}

/// A TD report. In the order of the specification.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TdReport {
    /// Which layout.
    pub version: TdReportVersion,
    /// TEE_TCB_SVN: the TCB at the launch of the domain.
    pub tee_tcb_svn: TeeTcbSvn,
    /// MRSEAM: measurement of the TDX module.
    pub mr_seam: [u8; 48],
    /// MRSIGNERSEAM; zero when Intel signed the module.
    pub mr_signer_seam: [u8; 48],
    /// SEAMATTRIBUTES.
    pub seam_attributes: [u8; 8],
    /// TDATTRIBUTES.
    pub td_attributes: TdAttributes,
    /// XFAM, little endian.
    pub xfam: u64,
    /// MRTD: measurement of the domain at launch.
    pub mr_td: [u8; 48],
    /// MRCONFIGID.
    pub mr_config_id: [u8; 48],
    /// MROWNER.
    pub mr_owner: [u8; 48],
    /// MROWNERCONFIG.
    pub mr_owner_config: [u8; 48],
    /// RTMR0 to RTMR3.
    pub rtmrs: [[u8; 48]; 4],
    /// REPORTDATA: what the domain put in.
    pub report_data: [u8; 64],
    /// TEE_TCB_SVN_2: the TCB now; from layout 1.5 on.
    pub tee_tcb_svn2: Option<TeeTcbSvn>,
    /// MRSERVICETD: measurement of the service domains bound to it; from layout 1.5 on.
    pub mr_service_td: Option<[u8; 48]>,
    /// The rest of the extended layout.
    pub extension: Option<TdExtension>,
}

/// The layouts of TD reports. In the order of the specification.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum TdReportVersion {
    /// 584 bytes.
    V1_0,
    /// 648 bytes.
    V1_5,
    /// 885 bytes.
    V1_5Extended,
}

/// What the extended layout of 1.5 has beyond it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TdExtension {
    /// VMID.
    pub vm_id: u8,
    /// TD_ID.
    pub td_id: [u8; 32],
    /// Hash of DEVICE_INFO.
    pub device_info_hash: [u8; 48],
    /// Hash of the service domains bound at launch.
    pub initial_service_td_hash: [u8; 48],
    /// Their attributes.
    pub initial_service_td_attributes: [u8; 8],
    /// CPUSVN at launch.
    pub initial_cpu_svn: CpuSvn,
    /// TEE_TCB_SVN at launch.
    pub initial_tee_tcb_svn: TeeTcbSvn,
    /// FMSPC block at launch.
    pub initial_fmspc: [u8; 12],
    /// Hash of the service domains bound now.
    pub current_service_td_hash: [u8; 48],
    /// Their attributes.
    pub current_service_td_attributes: [u8; 8],
}

/// TDATTRIBUTES: 64 bits, read as a little-endian number.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct TdAttributes(pub u64);

impl QuoteBody {
    pub(super) fn read(header: &QuoteHeader, cursor: &mut Cursor<'_>) -> Result<Self, Error> {
        let (tee, layout) = match (header.version, header.tee) {
            (5, tee) => (tee, Layout::described(tee, cursor)?),
            (_, Tee::Sgx) => (Tee::Sgx, Layout::Sgx),
            (_, Tee::Tdx) => (Tee::Tdx, Layout::Td(TdReportVersion::V1_0)),
        };
        match (tee, layout) {
            (Tee::Sgx, Layout::Sgx) => SgxReport::read("report", cursor)
                .map(Box::new)
                .map(Self::Sgx),
            (Tee::Tdx, Layout::Td(version)) => {
                TdReport::read(version, cursor).map(Box::new).map(Self::Td)
            }
            (Tee::Sgx, Layout::Td(_)) | (Tee::Tdx, Layout::Sgx) => Err(wrong(format_args!(
                "the body is {layout:?}, the TEE type {tee}"
            ))),
        }
    }

    /// What the enclave or domain put in.
    pub fn report_data(&self) -> &[u8; 64] {
        match self {
            Self::Sgx(report) => &report.report_data,
            Self::Td(report) => &report.report_data,
        }
    }
}

/// How the body is laid out.
#[derive(Copy, Clone, Debug)]
enum Layout {
    Sgx,
    Td(TdReportVersion),
}

impl Layout {
    /// The descriptor of version 5: type and length, which must agree.
    fn described(tee: Tee, cursor: &mut Cursor<'_>) -> Result<Self, Error> {
        let body_type = cursor.u16("body type")?;
        let bytes = cursor.u32("body length")?;
        let (layout, expected) = match body_type {
            1 => (Self::Sgx, 384),
            2 => (Self::Td(TdReportVersion::V1_0), 584),
            3 => (Self::Td(TdReportVersion::V1_5), 648),
            4 => (Self::Td(TdReportVersion::V1_5Extended), 885),
            other => return Err(Error::unsupported(format_args!("quote body type {other}"))),
        };
        if bytes != expected {
            return Err(wrong(format_args!(
                "body type {body_type} of {tee} with a length of {bytes} bytes; it has {expected}"
            )));
        }
        Ok(layout)
    }
}

impl SgxReport {
    pub(super) fn read(field: &str, cursor: &mut Cursor<'_>) -> Result<Self, Error> {
        let mut inside = cursor.inside(field, SGX_REPORT_BYTES)?;
        let cursor = &mut inside;
        let report = Self {
            cpu_svn: CpuSvn(cursor.array(field)?),
            miscselect: cursor.array(field)?,
            isv_ext_prod_id: {
                cursor.take(field, 12)?;
                cursor.array(field)?
            },
            attributes: cursor.array(field)?,
            mr_enclave: cursor.array(field)?,
            mr_signer: {
                cursor.take(field, 32)?;
                cursor.array(field)?
            },
            config_id: {
                cursor.take(field, 32)?;
                cursor.array(field)?
            },
            isv_prod_id: cursor.u16(field)?,
            isv_svn: cursor.u16(field)?,
            config_svn: cursor.u16(field)?,
            isv_family_id: {
                cursor.take(field, 42)?;
                cursor.array(field)?
            },
            report_data: cursor.array(field)?,
        };
        inside.finish(field)?;
        Ok(report)
    }

    /// Whether the host may debug the enclave: its memory is then open. ATTRIBUTES, bit 1.
    pub fn debug(&self) -> bool {
        let [flags, ..] = self.attributes;
        flags & 2 != 0
    }
}

impl TdReport {
    fn read(version: TdReportVersion, cursor: &mut Cursor<'_>) -> Result<Self, Error> {
        const FIELD: &str = "TD report";
        let mut report = Self {
            version,
            tee_tcb_svn: TeeTcbSvn(cursor.array(FIELD)?),
            mr_seam: cursor.array(FIELD)?,
            mr_signer_seam: cursor.array(FIELD)?,
            seam_attributes: cursor.array(FIELD)?,
            td_attributes: TdAttributes(cursor.u64(FIELD)?),
            xfam: cursor.u64(FIELD)?,
            mr_td: cursor.array(FIELD)?,
            mr_config_id: cursor.array(FIELD)?,
            mr_owner: cursor.array(FIELD)?,
            mr_owner_config: cursor.array(FIELD)?,
            rtmrs: [
                cursor.array(FIELD)?,
                cursor.array(FIELD)?,
                cursor.array(FIELD)?,
                cursor.array(FIELD)?,
            ],
            report_data: cursor.array(FIELD)?,
            tee_tcb_svn2: None,
            mr_service_td: None,
            extension: None,
        };
        if version >= TdReportVersion::V1_5 {
            report.tee_tcb_svn2 = Some(TeeTcbSvn(cursor.array(FIELD)?));
            report.mr_service_td = Some(cursor.array(FIELD)?);
        }
        if version >= TdReportVersion::V1_5Extended {
            report.extension = Some(TdExtension {
                vm_id: {
                    let [id] = cursor.array(FIELD)?;
                    id
                },
                td_id: cursor.array(FIELD)?,
                device_info_hash: cursor.array(FIELD)?,
                initial_service_td_hash: cursor.array(FIELD)?,
                initial_service_td_attributes: cursor.array(FIELD)?,
                initial_cpu_svn: CpuSvn(cursor.array(FIELD)?),
                initial_tee_tcb_svn: TeeTcbSvn(cursor.array(FIELD)?),
                initial_fmspc: cursor.array(FIELD)?,
                current_service_td_hash: cursor.array(FIELD)?,
                current_service_td_attributes: cursor.array(FIELD)?,
            });
        }
        Ok(report)
    }
}

impl TdReportVersion {
    /// `1.0`, `1.5`, `1.5 extended`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V1_0 => "1.0",
            Self::V1_5 => "1.5",
            Self::V1_5Extended => "1.5 extended",
        }
    }
}

impl TdAttributes {
    /// DEBUG: the host may debug the domain; its memory is open.
    pub const fn debug(self) -> bool {
        self.has(0)
    }

    /// Bits 1 to 7, the rest of the group whose every bit makes a domain untrusted (profiling, migration debug).
    pub const fn untrusted(self) -> u64 {
        self.0 & 0xfe
    }

    /// SEPT_VE_DISABLE: pages that the host takes away stop the domain instead of raising an exception in it.
    pub const fn sept_ve_disable(self) -> bool {
        self.has(28)
    }

    /// MIGRATABLE: a migration domain may move it to another platform.
    pub const fn migratable(self) -> bool {
        self.has(29)
    }

    /// PKS: supervisor protection keys.
    pub const fn pks(self) -> bool {
        self.has(30)
    }

    /// KL: Key Locker.
    pub const fn kl(self) -> bool {
        self.has(31)
    }

    /// PERFMON: performance counters.
    pub const fn perfmon(self) -> bool {
        self.has(63)
    }

    /// Bits without a meaning here.
    pub const fn unknown(self) -> u64 {
        self.0 & !TD_ATTRIBUTES_KNOWN
    }

    const fn has(self, bit: u32) -> bool {
        self.0 >> bit & 1 == 1
    }
}

const SGX_REPORT_BYTES: u32 = 384;

/// spec/intel-verification.md, section 1, tdattributes: 0, 4 to 6, 16, 17, 27 to 31, 62, 63.
const TD_ATTRIBUTES_KNOWN: u64 =
    0x71 | 1 << 16 | 1 << 17 | 1 << 27 | 1 << 28 | 1 << 29 | 1 << 30 | 1 << 31 | 1 << 62 | 1 << 63;

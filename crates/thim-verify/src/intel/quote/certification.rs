//! The signature section: two signatures, the attestation key, the quoting enclave's report, and how all of it leads
//! to a PCK certificate.
//!
//! Versions 4 and 5 put the enclave's report inside certification data of type 6; there as in version 3 the inner data
//! is of types 1 to 5 or 7, and each declared size must be used up exactly. Types 1 to 3 hold no certificate, only by
//! what name one is to be looked up. Source: spec/intel-verification.md, section 1, "Signature section".

use std::fmt;
use std::ops::Range;

use super::body::SgxReport;
use super::cursor::Cursor;
use super::wrong;
use crate::{CpuSvn, Error, PceId, PceSvn, RawTcb};

/// Where the parts of the section stand in the quote.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) signature: Range<usize>,
    pub(super) attestation_key: Range<usize>,
    pub(super) qe_report: Box<SgxReport>,
    pub(super) qe_report_bytes: Range<usize>,
    pub(super) qe_report_signature: Range<usize>,
    pub(super) qe_auth_data: Range<usize>,
    pub(super) certification_kind: CertificationKind,
    pub(super) certification: Range<usize>,
    /// From the attestation key to the end.
    pub(super) certified: Range<usize>,
}

/// Kinds of certification data. In the order of the specification's numbers.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum CertificationKind {
    /// 1: PPID in clear, and a TCB.
    PpidClear,
    /// 2: PPID encrypted with RSA-2048-OAEP, and a TCB.
    PpidRsa2048,
    /// 3: PPID encrypted with RSA-3072-OAEP, and a TCB.
    PpidRsa3072,
    /// 4: the PCK certificate alone.
    PckLeaf,
    /// 5: the PCK certificate and its chain.
    PckChain,
    /// 7: the platform manifest.
    PlatformManifest,
}

/// Certification data, read as far as its kind says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Certification<'a> {
    /// The text of one or more certificates, PEM; the bytes are not read yet.
    Pck(PemText<'a>),
    /// By what name the PCK certificate is to be looked up.
    PckName(PckName<'a>),
    /// A platform that is not registered yet. It says nothing about a certificate.
    PlatformManifest,
}

/// The text of certificates.
#[derive(Copy, Clone, PartialEq, Eq)]
pub struct PemText<'a>(pub(crate) &'a [u8]);

/// What certification data of types 1 to 3 says: which platform, at which TCB.
#[derive(Clone, PartialEq, Eq)]
pub struct PckName<'a> {
    /// How the PPID stands there.
    pub form: PpidForm,
    /// The PPID, 16 bytes, or what it was encrypted to, 256 or 384. As secret as the PPID itself.
    pub ppid: &'a [u8],
    /// The TCB that the attestation key is certified for.
    pub tcb: RawTcb,
    /// The provisioning certification enclave; the oldest quotes do not say it.
    pub pce_id: Option<PceId>,
}

/// How a PPID is written down.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum PpidForm {
    /// As it is.
    Clear,
    /// RSA-2048-OAEP.
    Rsa2048,
    /// RSA-3072-OAEP.
    Rsa3072,
}

/// Reads the section, which `cursor` is limited to.
pub(super) fn section(version: u16, cursor: &mut Cursor<'_>) -> Result<Section, Error> {
    let signature = cursor.range("quote signature", 64)?;
    let start = cursor.at();
    let attestation_key = cursor.range("attestation key", 64)?;
    if version == 3 {
        let section = qe_part(signature, attestation_key, start, cursor)?;
        cursor.finish("signature data")?;
        return Ok(section);
    }
    let outer = cursor.u16("certification data type")?;
    if outer != QE_REPORT_CERTIFICATION_DATA {
        return Err(wrong(format_args!(
            "certification data type {outer}; versions 4 and 5 have {QE_REPORT_CERTIFICATION_DATA} outside"
        )));
    }
    let bytes = cursor.u32("certification data size")?;
    let mut inside = cursor.inside("QE report certification data", bytes)?;
    let section = qe_part(signature, attestation_key, start, &mut inside)?;
    inside.finish("QE report certification data")?;
    cursor.finish("signature data")?;
    Ok(section)
}

fn qe_part(
    signature: Range<usize>,
    attestation_key: Range<usize>,
    start: usize,
    cursor: &mut Cursor<'_>,
) -> Result<Section, Error> {
    let from = cursor.at();
    let qe_report = Box::new(SgxReport::read("QE report", cursor)?);
    let qe_report_bytes = from..cursor.at();
    let qe_report_signature = cursor.range("QE report signature", 64)?;
    let auth_bytes = cursor.u16("QE authentication data size")?;
    let qe_auth_data = cursor.range("QE authentication data", usize::from(auth_bytes))?;
    let kind = cursor.u16("certification data type")?;
    let bytes = cursor.u32("certification data size")?;
    let certification_kind = CertificationKind::of(kind)?;
    certification_kind.accepts(bytes)?;
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    let certification = cursor.range("certification data", bytes)?;
    Ok(Section {
        signature,
        attestation_key,
        qe_report,
        qe_report_bytes,
        qe_report_signature,
        qe_auth_data,
        certification_kind,
        certified: start..certification.end,
        certification,
    })
}

impl CertificationKind {
    fn of(number: u16) -> Result<Self, Error> {
        match number {
            1 => Ok(Self::PpidClear),
            2 => Ok(Self::PpidRsa2048),
            3 => Ok(Self::PpidRsa3072),
            4 => Ok(Self::PckLeaf),
            5 => Ok(Self::PckChain),
            7 => Ok(Self::PlatformManifest),
            QE_REPORT_CERTIFICATION_DATA => Err(wrong(
                "QE report certification data where the PCK certificate's place is",
            )),
            other => Err(Error::unsupported(format_args!(
                "certification data type {other}"
            ))),
        }
    }

    /// The number in the quote.
    pub const fn number(self) -> u16 {
        match self {
            Self::PpidClear => 1,
            Self::PpidRsa2048 => 2,
            Self::PpidRsa3072 => 3,
            Self::PckLeaf => 4,
            Self::PckChain => 5,
            Self::PlatformManifest => 7,
        }
    }

    /// Types 1 to 3 have a fixed size.
    fn accepts(self, bytes: u32) -> Result<(), Error> {
        let expected: &[u32] = match self {
            Self::PpidClear => &[36, 34],
            Self::PpidRsa2048 => &[276],
            Self::PpidRsa3072 => &[404],
            Self::PckChain | Self::PckLeaf | Self::PlatformManifest => return Ok(()),
        };
        if expected.contains(&bytes) {
            return Ok(());
        }
        Err(wrong(format_args!(
            "certification data of type {} with {bytes} bytes; it has {}",
            self.number(),
            expected.first().copied().unwrap_or_default()
        )))
    }
}

impl<'a> Certification<'a> {
    pub(super) fn of(kind: CertificationKind, data: &'a [u8]) -> Self {
        match kind {
            CertificationKind::PpidClear => Self::PckName(PckName::read(PpidForm::Clear, 16, data)),
            CertificationKind::PpidRsa2048 => {
                Self::PckName(PckName::read(PpidForm::Rsa2048, 256, data))
            }
            CertificationKind::PpidRsa3072 => {
                Self::PckName(PckName::read(PpidForm::Rsa3072, 384, data))
            }
            CertificationKind::PckChain | CertificationKind::PckLeaf => Self::Pck(PemText(data)),
            CertificationKind::PlatformManifest => Self::PlatformManifest,
        }
    }
}

impl<'a> PckName<'a> {
    /// The sizes were settled by [`CertificationKind::accepts`].
    fn read(form: PpidForm, ppid_bytes: usize, data: &'a [u8]) -> Self {
        let (ppid, rest) = data.split_at_checked(ppid_bytes).unwrap_or_default();
        let part = |from: usize, to: usize| rest.get(from..to);
        let array = |bytes: Option<&[u8]>| bytes.and_then(|bytes| <[u8; 2]>::try_from(bytes).ok());
        let cpu_svn = part(0, 16).and_then(|bytes| bytes.try_into().ok());
        Self {
            form,
            ppid,
            tcb: RawTcb {
                cpu_svn: CpuSvn(cpu_svn.unwrap_or_default()),
                pce_svn: PceSvn(u16::from_le_bytes(array(part(16, 18)).unwrap_or_default())),
            },
            pce_id: array(part(18, 20)).map(PceId),
        }
    }
}

impl fmt::Debug for PckName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PckName")
            .field("form", &self.form)
            .field("tcb", &self.tcb)
            .field("pce_id", &self.pce_id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for PemText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PemText({} bytes)", self.0.len())
    }
}

const QE_REPORT_CERTIFICATION_DATA: u16 = 6;

//! What a quote is to be: the wishes of a test, in process or as JSON.
//!
//! What is left out is what an honest platform with a quoting enclave of the newest level makes. A spec can ask for what
//! no honest platform makes (a debug TD, another signer's QE, a signature that does not verify): verifiers have to
//! cope. Layout rules are not among the wishes: a body the version does not have is refused.

use crate::SimError;
use crate::kds::hex;
use data_encoding::{DecodeError, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Deserializer};

/// A quote's wishes. In JSON all members are optional, byte strings are hex; fewer bytes than there is room for are
/// followed by zeros.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QuoteSpec {
    /// The layout. Version 3 has SGX bodies alone, version 4 TD 1.0 bodies too, version 5 all.
    pub version: QuoteVersion,
    /// What is quoted. TD bodies are for platforms of TDX families.
    pub body: QuoteBody,
    /// The quoting enclave's vendor; Intel unless set.
    #[serde(deserialize_with = "hex")]
    pub vendor_id: [u8; 16],
    /// The header's user data; the QE ID and zeros when absent.
    #[serde(deserialize_with = "hex_or_usual")]
    pub user_data: Option<[u8; 20]>,
    /// The workload's own data, a nonce mostly.
    #[serde(deserialize_with = "hex")]
    pub report_data: [u8; 64],
    /// The debug attribute of the enclave or the TD.
    pub debug: bool,
    /// Of SGX bodies.
    pub enclave: EnclaveSpec,
    /// Of TD bodies.
    pub td: TdSpec,
    /// The quoting enclave.
    pub qe: QeSpec,
    /// What vouches for the quoting enclave.
    pub certification: CertificationSpec,
    /// The TCB level whose PCK certificate and key are used, as `tcbm`: 36 hex digits. The best that the raw TCB
    /// reaches when absent.
    pub level: Option<String>,
    /// The platform makes a new attestation key first and keeps it.
    pub new_attestation_key: bool,
    /// Bytes behind the signature section, which nobody signs; 64 KiB at most.
    #[serde(deserialize_with = "hex_bytes")]
    pub trailing: Vec<u8>,
    /// What is broken.
    pub faults: Vec<QuoteFault>,
}

/// The version of a quote. In JSON a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u16")]
pub enum QuoteVersion {
    /// SGX.
    #[default]
    V3,
    /// SGX and TDX 1.0; certification data inside the QE report certification data.
    V4,
    /// The same with a body descriptor.
    V5,
}

/// The kind of body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum QuoteBody {
    /// An enclave report, 384 bytes.
    #[default]
    #[serde(rename = "sgx")]
    Sgx,
    /// A TD report 1.0, 584 bytes.
    #[serde(rename = "td-1.0")]
    Td10,
    /// A TD report 1.5, 648 bytes.
    #[serde(rename = "td-1.5")]
    Td15,
    /// A TD report 1.5 with the extension of 2026, 885 bytes.
    #[serde(rename = "td-1.5-extended")]
    Td15Extended,
}

/// The quoted enclave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EnclaveSpec {
    /// Its measurement.
    #[serde(deserialize_with = "hex")]
    pub mrenclave: [u8; 32],
    /// Its signer.
    #[serde(deserialize_with = "hex")]
    pub mrsigner: [u8; 32],
    /// Its product.
    pub isv_prod_id: u16,
    /// Its SVN.
    pub isv_svn: u16,
}

/// The quoted TD and the TDX module under it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TdSpec {
    /// `TEE_TCB_SVN`: [`crate::SimPlatform::tee_tcb_svn`] when absent.
    #[serde(deserialize_with = "hex_or_usual")]
    pub tee_tcb_svn: Option<[u8; 16]>,
    /// `TEE_TCB_SVN_2` of TD 1.5 bodies: [`crate::SimPlatform::tee_tcb_svn`] when absent.
    #[serde(deserialize_with = "hex_or_usual")]
    pub tee_tcb_svn2: Option<[u8; 16]>,
    /// The TDX module's measurement.
    #[serde(deserialize_with = "hex")]
    pub mrseam: [u8; 48],
    /// The TDX module's signer; zeros are Intel.
    #[serde(deserialize_with = "hex")]
    pub mrsignerseam: [u8; 48],
    /// The TDX module's attributes.
    #[serde(deserialize_with = "hex")]
    pub seamattributes: [u8; 8],
    /// The attribute `SEPT_VE_DISABLE`; set unless unset.
    pub sept_ve_disable: bool,
    /// The attribute `MIGRATABLE`.
    pub migratable: bool,
    /// Attributes set beside those that have a name here, as the little-endian number.
    pub other_attributes: u64,
    /// The TD's measurement at its launch.
    #[serde(deserialize_with = "hex")]
    pub mrtd: [u8; 48],
    /// Its run-time measurements; in JSON a list of four at most.
    #[serde(deserialize_with = "four_of_hex")]
    pub rtmrs: [[u8; 48]; 4],
    /// Its service TDs, of TD 1.5 bodies; zeros are none.
    #[serde(deserialize_with = "hex")]
    pub mrservicetd: [u8; 48],
}

/// The quoting enclave: what its identity of the newest evaluation number demands when absent.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QeSpec {
    /// Its SVN; the newest level's.
    pub isv_svn: Option<u16>,
    /// Its signer.
    #[serde(deserialize_with = "hex_or_usual")]
    pub mrsigner: Option<[u8; 32]>,
    /// Its attributes; the usual ones have bits set that the identity's mask leaves free.
    #[serde(deserialize_with = "hex_or_usual")]
    pub attributes: Option<[u8; 16]>,
    /// Its product.
    pub isv_prod_id: Option<u16>,
    /// Its `MISCSELECT`.
    pub miscselect: Option<u32>,
    /// Its authentication data, 32 bytes unless set; 65,535 at most.
    #[serde(deserialize_with = "hex_bytes")]
    pub auth_data: Vec<u8>,
}

/// The innermost certification data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CertificationSpec {
    /// What it is.
    pub kind: CertificationKind,
    /// The chain is leaf, root, CA instead of leaf, CA, root.
    pub root_before_ca: bool,
    /// PEM ends in a newline.
    pub trailing_newline: bool,
    /// PEM ends in a NUL, behind the newline if there is one.
    pub trailing_nul: bool,
}

/// The certification data types that can be innermost. In JSON their number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u16")]
pub enum CertificationKind {
    /// 1: the PPID in clear, CPUSVN, PCESVN, PCEID.
    PpidClear,
    /// 2: the same with the PPID encrypted for an RSA-2048 key, in size and look.
    PpidRsa2048,
    /// 3: the same with the PPID encrypted for an RSA-3072 key: the encryption the vendor knows the platform by.
    PpidRsa3072,
    /// 4: the PCK certificate in PEM.
    PckLeaf,
    /// 5: the PCK certificate and its chain in PEM.
    #[default]
    PckChain,
    /// 7: the platform's newest manifest; multi-package platforms only.
    PlatformManifest,
}

/// What can be broken in a quote; each leaves all else whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QuoteFault {
    /// The QE report does not carry the hash of attestation key and authentication data.
    AttestationKeyUnbound,
    /// The certification data is another platform's, of the same family if there is one.
    OtherPlatform,
    /// One bit of the QE report's signature is flipped.
    WrongQeReportSignature,
    /// One bit of the quote's signature is flipped.
    WrongQuoteSignature,
}

impl Default for QuoteSpec {
    fn default() -> Self {
        Self {
            version: QuoteVersion::default(),
            body: QuoteBody::default(),
            vendor_id: INTEL_QE_VENDOR,
            user_data: None,
            report_data: [0; 64],
            debug: false,
            enclave: EnclaveSpec::default(),
            td: TdSpec::default(),
            qe: QeSpec::default(),
            certification: CertificationSpec::default(),
            level: None,
            new_attestation_key: false,
            trailing: Vec::new(),
            faults: Vec::new(),
        }
    }
}

impl QuoteSpec {
    /// The usual quote of a version and a body.
    pub fn new(version: QuoteVersion, body: QuoteBody) -> Self {
        Self {
            version,
            body,
            ..Self::default()
        }
    }

    /// With this broken too.
    pub fn fault(mut self, fault: QuoteFault) -> Self {
        self.faults.push(fault);
        self
    }

    pub(crate) fn has(&self, fault: QuoteFault) -> bool {
        self.faults.contains(&fault)
    }

    /// Refuses what no layout has room for.
    pub(crate) fn require_sense(&self) -> Result<(), SimError> {
        let invalid = |text: String| Err(SimError::InvalidRequest(text));
        match (self.version, self.body) {
            (_, QuoteBody::Sgx)
            | (QuoteVersion::V4, QuoteBody::Td10)
            | (QuoteVersion::V5, QuoteBody::Td10 | QuoteBody::Td15 | QuoteBody::Td15Extended) => {}
            (QuoteVersion::V3, QuoteBody::Td10 | QuoteBody::Td15 | QuoteBody::Td15Extended) => {
                return invalid("body: version 3 has SGX bodies alone".to_owned());
            }
            (QuoteVersion::V4, QuoteBody::Td15 | QuoteBody::Td15Extended) => {
                return invalid("body: version 4 has SGX and TD 1.0 bodies alone".to_owned());
            }
        }
        if self.qe.auth_data.len() > usize::from(u16::MAX) {
            return invalid(format!("qe.auth_data: {} bytes at most", u16::MAX));
        }
        if self.trailing.len() > MAX_TRAILING_BYTES {
            return invalid(format!("trailing: {MAX_TRAILING_BYTES} bytes at most"));
        }
        Ok(())
    }
}

impl Default for TdSpec {
    fn default() -> Self {
        Self {
            tee_tcb_svn: None,
            tee_tcb_svn2: None,
            mrseam: [0; 48],
            mrsignerseam: [0; 48],
            seamattributes: [0; 8],
            sept_ve_disable: true,
            migratable: false,
            other_attributes: 0,
            mrtd: [0; 48],
            rtmrs: [[0; 48]; 4],
            mrservicetd: [0; 48],
        }
    }
}

impl Default for QeSpec {
    fn default() -> Self {
        Self {
            isv_svn: None,
            mrsigner: None,
            attributes: None,
            isv_prod_id: None,
            miscselect: None,
            auth_data: (0..USUAL_AUTH_DATA_BYTES).collect(),
        }
    }
}

impl QuoteVersion {
    pub(crate) fn number(self) -> u16 {
        match self {
            QuoteVersion::V3 => 3,
            QuoteVersion::V4 => 4,
            QuoteVersion::V5 => 5,
        }
    }
}

impl TryFrom<u16> for QuoteVersion {
    type Error = &'static str;

    fn try_from(number: u16) -> Result<Self, Self::Error> {
        match number {
            3 => Ok(QuoteVersion::V3),
            4 => Ok(QuoteVersion::V4),
            5 => Ok(QuoteVersion::V5),
            _ => Err("version: 3, 4 or 5"),
        }
    }
}

impl CertificationKind {
    pub(crate) fn number(self) -> u16 {
        match self {
            CertificationKind::PpidClear => 1,
            CertificationKind::PpidRsa2048 => 2,
            CertificationKind::PpidRsa3072 => 3,
            CertificationKind::PckLeaf => 4,
            CertificationKind::PckChain => 5,
            CertificationKind::PlatformManifest => 7,
        }
    }
}

impl TryFrom<u16> for CertificationKind {
    type Error = &'static str;

    fn try_from(number: u16) -> Result<Self, Self::Error> {
        match number {
            1 => Ok(CertificationKind::PpidClear),
            2 => Ok(CertificationKind::PpidRsa2048),
            3 => Ok(CertificationKind::PpidRsa3072),
            4 => Ok(CertificationKind::PckLeaf),
            5 => Ok(CertificationKind::PckChain),
            7 => Ok(CertificationKind::PlatformManifest),
            _ => Err("kind: 1 to 5 or 7"),
        }
    }
}

fn hex_or_usual<'de, D: Deserializer<'de>, const N: usize>(
    deserializer: D,
) -> Result<Option<[u8; N]>, D::Error> {
    hex(deserializer).map(Some)
}

fn hex_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let unfit = |error: DecodeError| serde::de::Error::custom(error);
    HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(unfit)
}

fn four_of_hex<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[[u8; 48]; 4], D::Error> {
    #[derive(Deserialize)]
    struct Rtmr(#[serde(deserialize_with = "hex")] [u8; 48]);

    let given = Vec::<Rtmr>::deserialize(deserializer)?;
    let mut rtmrs = [[0; 48]; 4];
    if given.len() > rtmrs.len() {
        return Err(serde::de::Error::custom("rtmrs: four at most"));
    }
    for (place, Rtmr(rtmr)) in rtmrs.iter_mut().zip(given) {
        *place = rtmr;
    }
    Ok(rtmrs)
}

/// spec/intel-verification.md section 1.
const INTEL_QE_VENDOR: [u8; 16] = [
    0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07,
];
/// In all genuine quotes (spec/intel-verification.md section 11).
const USUAL_AUTH_DATA_BYTES: u8 = 32;
/// Several times a quote; what a caller's oversized buffer may have.
const MAX_TRAILING_BYTES: usize = 64 * 1024;

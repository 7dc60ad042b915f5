//! A virtual platform as its owner sees it, and what its tools send.
//!
//! [`SimPlatform`] is a snapshot: what the machine would read out of itself (QE ID, SVNs, encrypted PPID, manifest) and
//! what the vendor knows of it (levels, whether keys are kept). The requests are those of spec/intel-pcs-and-pccs.md
//! sections 8.4 and 8.5. `Debug` shows no PPID and no manifest, as nothing that handles real ones may.

use crate::management::Ca;
use crate::manifest;
use data_encoding::{HEXLOWER, HEXUPPER};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;

/// A platform to be made. In JSON `{"fmspc": "B0C06F53494D", "packages": 2}` and what else differs from the usual.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlatformSpec {
    /// A family of the simulator, twelve hex digits of either case.
    pub fmspc: String,
    /// 1, with certificates of the Processor CA, or 2, with certificates of the Platform CA; 2 for `E5` families alone.
    pub packages: u8,
    /// How many TCB levels the vendor knows for it, from the newest down; all when absent.
    #[serde(default)]
    pub levels: Option<usize>,
    /// How many of them are `Not available`, from the newest down.
    #[serde(default)]
    pub not_available: usize,
    /// The encrypted PPID is all zeros, as where the PCE would not tell it.
    #[serde(default)]
    pub zero_encrypted_ppid: bool,
    /// A pre-production CPU: the production service knows nothing of it.
    #[serde(default)]
    pub pre_production: bool,
    /// The QE ID is all zeros, as 13 genuine platforms' are.
    #[serde(default)]
    pub zero_qe_id: bool,
}

impl PlatformSpec {
    /// The usual platform of a family: all levels, all available.
    pub fn new(fmspc: impl Into<String>, packages: u8) -> Self {
        Self {
            fmspc: fmspc.into(),
            packages,
            levels: None,
            not_available: 0,
            zero_encrypted_ppid: false,
            pre_production: false,
            zero_qe_id: false,
        }
    }

    /// Only the `levels` newest TCB levels.
    pub fn levels(mut self, levels: usize) -> Self {
        self.levels = Some(levels);
        self
    }

    /// The `levels` newest are `Not available`.
    pub fn not_available(mut self, levels: usize) -> Self {
        self.not_available = levels;
        self
    }

    /// With an encrypted PPID of zeros.
    pub fn zero_encrypted_ppid(mut self) -> Self {
        self.zero_encrypted_ppid = true;
        self
    }

    /// With a pre-production CPU.
    pub fn pre_production(mut self) -> Self {
        self.pre_production = true;
        self
    }

    /// With a QE ID of zeros.
    pub fn zero_qe_id(mut self) -> Self {
        self.zero_qe_id = true;
        self
    }
}

/// A virtual platform at one moment. In JSON byte strings are upper-case hex.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct SimPlatform {
    /// `platform-1` and on, in the order they were made.
    pub name: String,
    /// Twelve upper-case hex digits.
    pub fmspc: String,
    /// 1 or 2.
    pub packages: u8,
    /// Who issues its PCK certificates.
    pub ca: Ca,
    /// The quoting enclave's identifier, under which PCCS files the platform.
    #[serde(serialize_with = "hex")]
    pub qe_id: [u8; 16],
    /// The provisioning certification enclave's identifier.
    #[serde(serialize_with = "hex")]
    pub pce_id: [u8; 2],
    /// What the PCK certificates name the platform by.
    #[serde(serialize_with = "hex")]
    pub ppid: [u8; 16],
    /// The instance that manifests and certificates name; multi-package platforms only.
    #[serde(serialize_with = "hex_or_null")]
    pub platform_instance_id: Option<[u8; 16]>,
    /// The newest encryption of the PPID, 384 bytes.
    #[serde(serialize_with = "hex")]
    pub encrypted_ppid: Vec<u8>,
    /// The newest manifest; multi-package platforms only.
    #[serde(rename = "platform_manifest", serialize_with = "hex_or_null")]
    pub manifest: Option<Vec<u8>>,
    /// The raw TCB: components.
    #[serde(serialize_with = "hex")]
    pub cpu_svn: [u8; 16],
    /// The raw TCB: PCE. In JSON as everywhere on the wire, two bytes of hex, the low one first.
    #[serde(serialize_with = "little_endian_hex")]
    pub pce_svn: u16,
    /// `TEE_TCB_SVN` of a TD launched now: SVN and version (1.5) of the TDX module, SVN of the late microcode. Module
    /// and microcode are those of the newest TCB recovery event that the raw TCB reaches. TDX families only.
    #[serde(serialize_with = "hex_or_null")]
    pub tee_tcb_svn: Option<[u8; 16]>,
    /// Whether the vendor keeps the platform's keys: never registered, directly (true) or indirectly (false).
    /// Multi-package platforms only.
    pub cached_keys: Option<bool>,
    /// Whether the CPU is a pre-production one.
    pub pre_production: bool,
    /// Every TCB level the vendor knows for it, best first: `tcbm`, 36 upper-case hex digits.
    pub levels: Vec<String>,
    /// Those of the levels for which there is no certificate.
    pub not_available: Vec<String>,
}

impl SimPlatform {
    /// What PCKIDRetrievalTool posts to `/platforms`: members in its order, hex in upper case. A multi-package platform
    /// sends encrypted PPID and manifest both; without a manifest the member is `""`.
    pub fn retrieval_request(&self) -> String {
        let manifest = HEXUPPER.encode(self.manifest.as_deref().unwrap_or_default());
        format!(
            r#"{{"enc_ppid":"{}","pce_id":"{}","cpu_svn":"{}","pce_svn":"{}","qe_id":"{}","platform_manifest":"{manifest}"}}"#,
            HEXUPPER.encode(&self.encrypted_ppid),
            HEXUPPER.encode(&self.pce_id),
            HEXUPPER.encode(&self.cpu_svn),
            HEXUPPER.encode(&self.pce_svn.to_le_bytes()),
            HEXUPPER.encode(&self.qe_id),
        )
    }

    /// What PCKIDRetrievalTool writes into its file: one line without header, hex in lower case, the manifest last if
    /// there is one.
    pub fn retrieval_csv(&self) -> String {
        let columns = [
            &self.encrypted_ppid[..],
            &self.pce_id,
            &self.cpu_svn,
            &self.pce_svn.to_le_bytes(),
            &self.qe_id,
        ];
        let columns = columns.into_iter().chain(self.manifest.as_deref());
        let columns: Vec<_> = columns.map(|column| HEXLOWER.encode(column)).collect();
        columns.join(",")
    }

    /// What the registration agent posts to `sgx/registration/v1/package` when a package is added. A single-package
    /// platform's names an instance that nobody registered.
    pub fn add_request(&self) -> Vec<u8> {
        manifest::add_request(self.platform_instance_id.unwrap_or(self.ppid))
    }
}

impl fmt::Debug for SimPlatform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimPlatform")
            .field("name", &self.name)
            .field("fmspc", &self.fmspc)
            .field("packages", &self.packages)
            .field("cached_keys", &self.cached_keys)
            .finish_non_exhaustive()
    }
}

/// The shape of `tcb` in the lists of `pckcerts`: the specification's and the one in captured lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PckCertsShape {
    /// `{"sgxtcbcomponents": [{"svn": 2, "category": "", "type": ""}, ...], "pcesvn": 13}`.
    Components,
    /// `{"sgxtcbcomp01svn": 2, ..., "pcesvn": 13}`.
    #[default]
    Flat,
}

fn hex<S: Serializer>(bytes: &impl AsRef<[u8]>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&HEXUPPER.encode(bytes.as_ref()))
}

fn hex_or_null<S: Serializer>(
    bytes: &Option<impl AsRef<[u8]>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match bytes {
        Some(bytes) => hex(bytes, serializer),
        None => serializer.serialize_none(),
    }
}

fn little_endian_hex<S: Serializer>(svn: &u16, serializer: S) -> Result<S::Ok, S::Error> {
    hex(&svn.to_le_bytes(), serializer)
}

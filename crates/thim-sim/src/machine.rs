//! One virtual platform: the machine and what the vendor keeps about it.
//!
//! Raw TCB, manifest generation and encryptions belong to the machine; levels, certificates and whether keys are kept
//! belong to the vendor. Certificates are made when first asked for and kept until a TCB recovery or a re-issue, so a
//! hundred thousand platforms cost little until somebody asks. Rules: spec/intel-pcs-and-pccs.md section 4.1.

use crate::fleet::Family;
use crate::management::Ca;
use crate::manifest::{ENCRYPTED_PPID_BYTES, Encryption, Manifest};
use crate::pck_tcb::{PckTcb, hex_array};
use crate::pki::PckCertificate;
use crate::platform::SimPlatform;
use crate::sgx_extension::{Scalable, SgxExtension};
use crate::tcb_info;
use aws_lc_rs::signature::EcdsaKeyPair;
use std::sync::Arc;

pub(crate) struct Machine {
    pub(crate) family: &'static Family,
    pub(crate) qe_id: [u8; 16],
    pub(crate) ppid: [u8; 16],
    pub(crate) pce_id: [u8; 2],
    pub(crate) pre_production: bool,
    pub(crate) raw_tcb: PckTcb,
    /// The newest encryption of the PPID; `None` for one that is all zeros.
    pub(crate) encryption: Option<Encryption>,
    /// Multi-package platforms have one.
    pub(crate) instance: Option<Instance>,
    /// Best first; never empty.
    pub(crate) levels: Vec<Level>,
    /// When its certificates begin.
    pub(crate) certified_at: i64,
    /// What its quotes are signed with; `None` until the first.
    pub(crate) attestation_key: Option<Arc<EcdsaKeyPair>>,
}

/// A multi-package platform's instance and its standing with the registration service.
pub(crate) struct Instance {
    pub(crate) id: [u8; 16],
    /// Of the newest manifest.
    pub(crate) generation: u32,
    pub(crate) manifest_consumed: bool,
    pub(crate) registration: Registration,
}

/// How an instance came to the vendor. The first contact decides for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Registration {
    /// With the registration service, by the manifest of this generation: the vendor keeps the keys.
    Direct { generation: u32 },
    /// With a request for PCK certificates: the vendor never keeps keys.
    Indirect,
    /// Not at all.
    None,
}

/// A TCB level the vendor knows for a platform.
pub(crate) struct Level {
    pub(crate) tcb: PckTcb,
    /// Otherwise the list says `Not available`.
    pub(crate) available: bool,
    /// `None` until it is first asked for.
    pub(crate) certificate: Option<Arc<PckCertificate>>,
}

impl Level {
    pub(crate) fn new(tcb: PckTcb, available: bool) -> Self {
        Self {
            tcb,
            available,
            certificate: None,
        }
    }
}

impl Machine {
    pub(crate) fn ca(&self) -> Ca {
        match self.instance {
            Some(_) => Ca::Platform,
            None => Ca::Processor,
        }
    }

    /// Whether the vendor can answer by encrypted PPID: always for a single package, else by direct registration with
    /// the newest manifest.
    pub(crate) fn keys_are_held(&self) -> bool {
        match &self.instance {
            None => true,
            Some(instance) => {
                let generation = instance.generation;
                instance.registration == Registration::Direct { generation }
            }
        }
    }

    /// Whether certificates can exist: the vendor has seen the platform.
    pub(crate) fn is_known(&self) -> bool {
        !self.pre_production
            && self
                .instance
                .as_ref()
                .is_none_or(|instance| instance.registration != Registration::None)
    }

    /// What its certificate of a level says.
    pub(crate) fn sgx_extension(&self, tcb: PckTcb) -> SgxExtension {
        SgxExtension {
            ppid: self.ppid,
            tcb,
            pce_id: self.pce_id,
            fmspc: hex_array(self.family.fmspc).expect("families have twelve hex digits"),
            scalable: self.instance.as_ref().map(|instance| Scalable {
                platform_instance_id: instance.id,
                dynamic_platform: true,
                cached_keys: matches!(instance.registration, Registration::Direct { .. }),
                smt_enabled: true,
            }),
        }
    }

    /// All certificates are to be made anew, beginning now.
    pub(crate) fn certify_anew(&mut self, now: i64) {
        self.certified_at = now;
        for level in &mut self.levels {
            level.certificate = None;
        }
    }

    /// The firmware's update: the raw TCB of the best level, a new manifest, and nothing `Not available` any more,
    /// because the machine proves the new TCB to the vendor.
    pub(crate) fn upgrade(&mut self) {
        self.raw_tcb = self.best();
        for level in &mut self.levels {
            level.available = true;
        }
        self.renew_manifest();
    }

    /// A firmware older than everything the vendor certifies: microcode 1, where no level has less than 2.
    pub(crate) fn downgrade(&mut self) {
        let lowest = self.levels[self.levels.len() - 1].tcb;
        self.raw_tcb = lowest;
        self.raw_tcb.components[..2].fill(1);
    }

    /// The raw TCB of a fresh machine: the second-best level, with one component more that the vendor does not look at,
    /// so that it equals no level and has to be compared.
    pub(crate) fn fresh_raw_tcb(levels: &[Level]) -> PckTcb {
        let mut raw = levels[levels.len().min(2) - 1].tcb;
        raw.components[15] += 1;
        raw
    }

    /// Older manifests become stale.
    pub(crate) fn renew_manifest(&mut self) {
        if let Some(instance) = &mut self.instance {
            instance.generation += 1;
            instance.manifest_consumed = false;
        }
    }

    /// What the TDX module and the microcode loaded late say of themselves; `None` without TDX.
    pub(crate) fn tee_tcb_svn(&self) -> Option<[u8; 16]> {
        tcb_info::tee_tcb_svn(self.family, &self.raw_tcb)
    }

    /// The newest manifest.
    pub(crate) fn manifest(&self) -> Option<Manifest> {
        self.instance.as_ref().map(|instance| Manifest {
            instance: instance.id,
            generation: instance.generation,
        })
    }

    pub(crate) fn snapshot(&self, name: String) -> SimPlatform {
        let encrypted_ppid = match self.encryption {
            Some(encryption) => encryption.to_bytes(),
            None => vec![0; ENCRYPTED_PPID_BYTES],
        };
        let tcbm = |level: &Level| level.tcb.tcbm();
        SimPlatform {
            name,
            fmspc: self.family.fmspc.to_owned(),
            packages: if self.instance.is_some() { 2 } else { 1 },
            ca: self.ca(),
            qe_id: self.qe_id,
            pce_id: self.pce_id,
            ppid: self.ppid,
            platform_instance_id: self.instance.as_ref().map(|instance| instance.id),
            encrypted_ppid,
            manifest: self.manifest().map(Manifest::to_bytes),
            cpu_svn: self.raw_tcb.components,
            pce_svn: self.raw_tcb.pcesvn,
            tee_tcb_svn: self.tee_tcb_svn(),
            cached_keys: self
                .instance
                .as_ref()
                .and_then(|instance| match instance.registration {
                    Registration::Direct { .. } => Some(true),
                    Registration::Indirect => Some(false),
                    Registration::None => None,
                }),
            pre_production: self.pre_production,
            levels: self.levels.iter().map(tcbm).collect(),
            not_available: self
                .levels
                .iter()
                .filter(|level| !level.available)
                .map(tcbm)
                .collect(),
        }
    }

    fn best(&self) -> PckTcb {
        self.levels[0].tcb
    }
}

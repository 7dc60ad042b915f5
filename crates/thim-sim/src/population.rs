//! All virtual platforms, and which of them a request is about.
//!
//! At the start there is one platform of each family: a single package where there is no TDX, two packages where there
//! is. Requests name a platform by an encryption of its PPID or by its manifest; whether the vendor answers is decided
//! here, by the rules of spec/intel-pcs-and-pccs.md sections 4 and 4.1.

use crate::SimError;
use crate::evaluation::RecoveryEvent;
use crate::fleet::{FAMILIES, Family};
use crate::machine::{Instance, Level, Machine, Registration};
use crate::manifest::{self, Encryption, Manifest};
use crate::paths::{ErrorCode, Refusal};
use crate::pck_paths::{PckRequest, PlatformNamed};
use crate::platform::{PckCertsShape, PlatformSpec, SimPlatform};
use crate::tcb_info;
use std::collections::HashMap;

#[derive(Default)]
pub(crate) struct Population {
    pub(crate) shape: PckCertsShape,
    machines: Vec<Machine>,
    encryptions: HashMap<Encryption, usize>,
    instances: HashMap<[u8; 16], usize>,
}

impl Population {
    /// One platform of each family.
    pub(crate) fn at_start(events: &[RecoveryEvent], now: i64) -> Result<Self, SimError> {
        let mut population = Self::default();
        for family in &FAMILIES {
            let packages = if family.tdx_module_svn_at_16.is_some() {
                2
            } else {
                1
            };
            let spec = PlatformSpec::new(family.fmspc, packages);
            population.add(&spec, 1, events, now)?;
        }
        Ok(population)
    }

    /// Adds platforms of one kind; `events` are all TCB recovery events, newest first.
    pub(crate) fn add(
        &mut self,
        spec: &PlatformSpec,
        count: usize,
        events: &[RecoveryEvent],
        now: i64,
    ) -> Result<Vec<SimPlatform>, SimError> {
        let invalid = |text: String| Err(SimError::InvalidRequest(text));
        let Some(family) = Family::find(&spec.fmspc.to_ascii_uppercase()) else {
            return invalid("fmspc: not a family of the simulator".to_owned());
        };
        match spec.packages {
            1 => {}
            2 if family.platform == "E5" => {}
            2 => return invalid("packages: this family has one".to_owned()),
            _ => return invalid("packages: 1 or 2".to_owned()),
        }
        let mut tcbs = tcb_info::pck_tcbs(family, events);
        let levels = spec.levels.unwrap_or(tcbs.len());
        if !(1..=tcbs.len()).contains(&levels) {
            return invalid(format!("levels: 1 to {}", tcbs.len()));
        }
        if spec.not_available > levels {
            return invalid(format!("not_available: at most {levels}"));
        }
        if count > MAX_PLATFORMS.saturating_sub(self.machines.len()) {
            return invalid(format!("more than {MAX_PLATFORMS} platforms"));
        }
        tcbs.truncate(levels);
        let mut made = Vec::with_capacity(count);
        for _ in 0..count {
            let levels: Vec<_> = tcbs
                .iter()
                .enumerate()
                .map(|(index, tcb)| Level::new(*tcb, index >= spec.not_available))
                .collect();
            let instance = Instance {
                id: random_id()?,
                generation: 0,
                manifest_consumed: false,
                registration: Registration::None,
            };
            let machine = Machine {
                family,
                qe_id: if spec.zero_qe_id {
                    [0; 16]
                } else {
                    random_id()?
                },
                ppid: random_id()?,
                pce_id: PCE_ID,
                pre_production: spec.pre_production,
                raw_tcb: Machine::fresh_raw_tcb(&levels),
                encryption: if spec.zero_encrypted_ppid {
                    None
                } else {
                    Some(Encryption(random_id()?))
                },
                instance: (spec.packages == 2).then_some(instance),
                levels,
                certified_at: now,
                attestation_key: None,
            };
            made.push(self.push(machine));
        }
        Ok(made)
    }

    fn push(&mut self, machine: Machine) -> SimPlatform {
        let index = self.machines.len();
        if let Some(encryption) = machine.encryption {
            self.encryptions.insert(encryption, index);
        }
        if let Some(instance) = &machine.instance {
            self.instances.insert(instance.id, index);
        }
        let snapshot = machine.snapshot(name(index));
        self.machines.push(machine);
        snapshot
    }

    pub(crate) fn len(&self) -> usize {
        self.machines.len()
    }

    /// At most `count` platforms behind the first `skipped`.
    pub(crate) fn snapshots(&self, skipped: usize, count: usize) -> Vec<SimPlatform> {
        let machines = self.machines.iter().enumerate();
        machines
            .skip(skipped)
            .take(count)
            .map(|(index, machine)| machine.snapshot(name(index)))
            .collect()
    }

    /// The platform of a name.
    pub(crate) fn named(&self, name: &str) -> Result<usize, SimError> {
        name.strip_prefix(NAME_PREFIX)
            .and_then(|number| number.parse::<usize>().ok())
            .and_then(|number| number.checked_sub(1))
            .filter(|index| *index < self.machines.len() && self::name(*index) == name)
            .ok_or_else(|| SimError::UnknownPlatform(name.to_owned()))
    }

    pub(crate) fn snapshot(&self, index: usize) -> SimPlatform {
        self.machines[index].snapshot(name(index))
    }

    pub(crate) fn machine(&self, index: usize) -> &Machine {
        &self.machines[index]
    }

    pub(crate) fn machine_mut(&mut self, index: usize) -> &mut Machine {
        &mut self.machines[index]
    }

    /// A fresh encryption of a platform's PPID; those before stay good.
    pub(crate) fn encrypt_ppid(&mut self, index: usize) -> Result<(), SimError> {
        if self.machines[index].encryption.is_none() {
            return Err(SimError::InvalidRequest(
                "this platform's encrypted PPID is all zeros".to_owned(),
            ));
        }
        if self.encryptions.len() >= MAX_ENCRYPTIONS {
            return Err(SimError::InvalidRequest(format!(
                "more than {MAX_ENCRYPTIONS} encrypted PPIDs"
            )));
        }
        let encryption = Encryption(random_id()?);
        self.encryptions.insert(encryption, index);
        self.machines[index].encryption = Some(encryption);
        Ok(())
    }

    /// After a TCB recovery: a better level for every platform, and new certificates for all.
    pub(crate) fn recover(&mut self, events: &[RecoveryEvent], stale_manifests: bool, now: i64) {
        let newest: HashMap<_, _> = FAMILIES
            .iter()
            .map(|family| (family.fmspc, tcb_info::best_pck_tcbs(family, events)))
            .collect();
        for machine in &mut self.machines {
            let better = newest.get(machine.family.fmspc).into_iter().flatten();
            let better = better.map(|tcb| Level::new(*tcb, true));
            machine.levels.splice(0..0, better);
            machine.certify_anew(now);
            if stale_manifests {
                machine.renew_manifest();
            }
        }
    }

    /// The platform a request for PCK certificates is about, if the vendor answers for it. Changes nothing.
    pub(crate) fn find(&self, request: &PckRequest) -> Result<usize, Refusal> {
        let index = match &request.platform {
            PlatformNamed::EncryptedPpid(bytes) => {
                let index = Encryption::read(bytes)
                    .and_then(|encryption| self.encryptions.get(&encryption).copied())
                    .ok_or(Refusal::NotFound)?;
                let machine = &self.machines[index];
                if machine.pre_production || !machine.keys_are_held() {
                    return Err(Refusal::NotFound);
                }
                index
            }
            PlatformNamed::Manifest(bytes) => {
                let (index, standing) = self.read_manifest(bytes)?;
                match standing {
                    ManifestStanding::Current => index,
                    ManifestStanding::Consumed | ManifestStanding::Stale => {
                        return Err(Refusal::NotFound);
                    }
                }
            }
        };
        if self.machines[index].pce_id == request.pce_id {
            Ok(index)
        } else {
            Err(Refusal::NotFound)
        }
    }

    /// [`Population::find`], and a platform that comes by manifest for the first time is registered indirectly.
    pub(crate) fn admit(&mut self, request: &PckRequest) -> Result<usize, Refusal> {
        let index = self.find(request)?;
        if let Some(instance) = &mut self.machines[index].instance
            && instance.registration == Registration::None
        {
            instance.registration = Registration::Indirect;
        }
        Ok(index)
    }

    /// The vendor is about to certify a platform for its quotes: one it has never seen is registered indirectly.
    pub(crate) fn contact(&mut self, index: usize) -> Result<(), SimError> {
        let machine = &mut self.machines[index];
        if machine.pre_production {
            return Err(SimError::InvalidRequest(
                "the vendor certifies no pre-production platform".to_owned(),
            ));
        }
        if let Some(instance) = &mut machine.instance
            && instance.registration == Registration::None
        {
            instance.registration = Registration::Indirect;
        }
        Ok(())
    }

    /// Direct registration by manifest; the platform's PPID.
    pub(crate) fn register(&mut self, bytes: &[u8]) -> Result<[u8; 16], Refusal> {
        let (index, standing) = self.read_manifest(bytes)?;
        let machine = &mut self.machines[index];
        let instance = machine
            .instance
            .as_mut()
            .ok_or(Refusal::Rejected(ErrorCode::InvalidPlatformManifest))?;
        match instance.registration {
            Registration::Indirect => {
                return Err(Refusal::Rejected(ErrorCode::CachedKeysPolicyViolation));
            }
            Registration::Direct { .. } | Registration::None => {}
        }
        match standing {
            ManifestStanding::Current => {
                let generation = instance.generation;
                instance.registration = Registration::Direct { generation };
                Ok(machine.ppid)
            }
            ManifestStanding::Consumed | ManifestStanding::Stale => {
                Err(Refusal::Rejected(ErrorCode::InvalidPlatformManifest))
            }
        }
    }

    /// The instance of an add-request, if the vendor keeps its keys.
    pub(crate) fn member(&self, bytes: &[u8]) -> Result<[u8; 16], Refusal> {
        let id = manifest::read_add_request(bytes)
            .ok_or(Refusal::Rejected(ErrorCode::InvalidAddRequest))?;
        self.instances
            .get(&id)
            .filter(|index| self.machines[**index].keys_are_held())
            .map(|_| id)
            .ok_or(Refusal::Rejected(ErrorCode::PlatformNotFound))
    }

    /// Another platform with certificates: of the same family and kind if there is one.
    pub(crate) fn neighbour(&self, index: usize) -> Option<usize> {
        let asked = &self.machines[index];
        let others = || {
            let after = index + 1..self.machines.len();
            let known = |other: &usize| self.machines[*other].is_known();
            after.chain(0..index).filter(known)
        };
        others()
            .find(|other| {
                let other = &self.machines[*other];
                other.family == asked.family && other.ca() == asked.ca()
            })
            .or_else(|| others().next())
    }

    fn read_manifest(&self, bytes: &[u8]) -> Result<(usize, ManifestStanding), Refusal> {
        let invalid = Refusal::Rejected(ErrorCode::InvalidPlatformManifest);
        let manifest = Manifest::read(bytes).ok_or(invalid)?;
        let index = *self.instances.get(&manifest.instance).ok_or(invalid)?;
        let machine = &self.machines[index];
        if machine.pre_production {
            return Err(Refusal::Rejected(ErrorCode::InvalidRegistrationServer));
        }
        let instance = machine.instance.as_ref().ok_or(invalid)?;
        let standing = match manifest.generation.cmp(&instance.generation) {
            std::cmp::Ordering::Less => ManifestStanding::Stale,
            std::cmp::Ordering::Equal if instance.manifest_consumed => ManifestStanding::Consumed,
            std::cmp::Ordering::Equal => ManifestStanding::Current,
            std::cmp::Ordering::Greater => return Err(invalid),
        };
        Ok((index, standing))
    }
}

/// What a genuine manifest is worth now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ManifestStanding {
    Consumed,
    Current,
    Stale,
}

fn name(index: usize) -> String {
    format!("{NAME_PREFIX}{}", index + 1)
}

fn random_id() -> Result<[u8; 16], SimError> {
    let mut id = [0; 16];
    aws_lc_rs::rand::fill(&mut id).map_err(|_| SimError::Randomness)?;
    Ok(id)
}

const NAME_PREFIX: &str = "platform-";
/// Every production platform's.
const PCE_ID: [u8; 2] = [0; 2];
/// Twice the largest fleet that is measured; about half a kilobyte each before certificates are asked for.
const MAX_PLATFORMS: usize = 200_000;
/// Room for several of each platform.
const MAX_ENCRYPTIONS: usize = 5 * MAX_PLATFORMS;

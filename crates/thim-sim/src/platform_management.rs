//! What an operator of the simulator can do to its virtual platforms, in process. `platform_routes` offers the same over
//! HTTP, one to one.
//!
//! A platform is named by [`SimPlatform::name`]; an unknown name is [`SimError::UnknownPlatform`]. Every act returns the
//! platform as it is afterwards.

use crate::SimError;
use crate::machine::Machine;
use crate::management::{CrlEntries, MAX_CRL_ENTRIES, Management};
use crate::platform::{PckCertsShape, PlatformSpec, SimPlatform};
use crate::quote::QuoteSpec;
use data_encoding::HEXLOWER;

impl Management {
    /// Every platform, oldest first. `GET /platforms` gives the same in pages.
    pub fn platforms(&self) -> Vec<SimPlatform> {
        self.platforms_from(0, usize::MAX)
    }

    /// At most `count` platforms behind the first `skipped`.
    pub fn platforms_from(&self, skipped: usize, count: usize) -> Vec<SimPlatform> {
        self.shared.vendor().population.snapshots(skipped, count)
    }

    /// The platform of this name. `GET /platforms/{name}`.
    pub fn platform(&self, name: &str) -> Option<SimPlatform> {
        let vendor = self.shared.vendor();
        let index = vendor.population.named(name).ok()?;
        Some(vendor.population.snapshot(index))
    }

    /// Makes a platform. `POST /platforms`.
    pub fn add_platform(&self, spec: PlatformSpec) -> Result<SimPlatform, SimError> {
        let mut made = self.add_platforms(spec, 1)?;
        made.pop().ok_or(SimError::Randomness)
    }

    /// Makes so many platforms of one kind. `POST /platforms`.
    pub fn add_platforms(
        &self,
        spec: PlatformSpec,
        count: usize,
    ) -> Result<Vec<SimPlatform>, SimError> {
        let now = self.shared.now();
        let mut vendor = self.shared.vendor();
        let events = vendor.numbers.all();
        vendor.population.add(&spec, count, &events, now)
    }

    /// The vendor refuses the newest manifest from now on. `POST /platforms/{name}/consume-manifest`.
    pub fn consume_manifest(&self, name: &str) -> Result<SimPlatform, SimError> {
        self.act(name, |machine| match &mut machine.instance {
            Some(instance) => {
                instance.manifest_consumed = true;
                Ok(())
            }
            None => Err(SimError::InvalidRequest(
                "a single-package platform has no manifest".to_owned(),
            )),
        })
    }

    /// A BIOS update: the raw TCB is that of the newest level, every level is available, and a new manifest makes the
    /// old one stale. `POST /platforms/{name}/upgrade`.
    pub fn upgrade(&self, name: &str) -> Result<SimPlatform, SimError> {
        self.act(name, |machine| {
            machine.upgrade();
            Ok(())
        })
    }

    /// A BIOS too old: the raw TCB is below every level. `POST /platforms/{name}/downgrade`.
    pub fn downgrade(&self, name: &str) -> Result<SimPlatform, SimError> {
        self.act(name, |machine| {
            machine.downgrade();
            Ok(())
        })
    }

    /// All of the platform's certificates are made anew, with other keys and serial numbers.
    /// `POST /platforms/{name}/reissue`.
    pub fn reissue(&self, name: &str) -> Result<SimPlatform, SimError> {
        let now = self.shared.now();
        self.act(name, |machine| {
            machine.certify_anew(now);
            Ok(())
        })
    }

    /// A fresh encryption of the same PPID, good from now on beside those before.
    /// `POST /platforms/{name}/encrypt-ppid`.
    pub fn encrypt_ppid(&self, name: &str) -> Result<SimPlatform, SimError> {
        let mut vendor = self.shared.vendor();
        let index = vendor.population.named(name)?;
        vendor.population.encrypt_ppid(index)?;
        Ok(vendor.population.snapshot(index))
    }

    /// A quote of the platform, whose PCK key is that of the certificate `pckcert` answers. The first of a multi-package
    /// platform that the vendor has never seen registers it indirectly. `POST /platforms/{name}/quote`.
    pub fn quote(&self, name: &str, spec: &QuoteSpec) -> Result<Vec<u8>, SimError> {
        let mut vendor = self.shared.vendor();
        let index = vendor.population.named(name)?;
        vendor.quote(index, spec)
    }

    /// The serial numbers of the platform's present certificates enter its CA's CRL. `POST /platforms/{name}/revoke`.
    pub fn revoke_platform(&self, name: &str) -> Result<CrlEntries, SimError> {
        let now = self.shared.now();
        let mut vendor = self.shared.vendor();
        let index = vendor.population.named(name)?;
        let machine = vendor.population.machine(index);
        if !machine.is_known() {
            return Err(SimError::InvalidRequest(
                "the vendor has not certified this platform".to_owned(),
            ));
        }
        let ca = machine.ca();
        let mut serials = vendor.revoked(ca).to_vec();
        let mut added = vendor.pck_serials(index)?;
        added.retain(|serial| !serials.contains(serial));
        if added.is_empty() {
            return Err(SimError::InvalidRequest("nothing new to revoke".to_owned()));
        }
        serials.extend(added.iter().cloned());
        let entries = serials.len();
        if entries > MAX_CRL_ENTRIES {
            return Err(SimError::InvalidRequest(format!(
                "more than {MAX_CRL_ENTRIES} entries"
            )));
        }
        vendor.set_revoked(ca, serials, now)?;
        Ok(CrlEntries {
            ca,
            entries,
            changed: added.iter().map(|serial| HEXLOWER.encode(serial)).collect(),
        })
    }

    /// How `pckcerts` writes `tcb` from now on. `PUT /pckcerts-shape`.
    pub fn set_pckcerts_shape(&self, shape: PckCertsShape) {
        self.shared.vendor().population.shape = shape;
    }

    fn act(
        &self,
        name: &str,
        change: impl FnOnce(&mut Machine) -> Result<(), SimError>,
    ) -> Result<SimPlatform, SimError> {
        let mut vendor = self.shared.vendor();
        let index = vendor.population.named(name)?;
        change(vendor.population.machine_mut(index))?;
        Ok(vendor.population.snapshot(index))
    }
}

//! What somebody has the vendor asked for at once: a direct registration, or a platform's list again.
//!
//! Direct registration (`spec/intel-pcs-and-pccs.md` section 4.1) lets the vendor keep a platform's keys; certificates
//! are then had by encrypted PPID, and THIM keeps no manifest. It must never fall back: a first contact by manifest
//! would be indirect registration, and that is for good. So a direct registration that fails leaves no manifest
//! behind that the background might fetch with.

use std::sync::Arc;

use thim_verify::UnixTime;

use super::fetching::{Material, rank, refusal_of};
use super::registering::new_row;
use super::registration::{EncryptedPpid, Manifest, Registration};
use super::{Authority, Cause, PlatformRefusal, Platforms, Registered, Updates};
use crate::sealing::Purpose;
use crate::sentinel::{Remark, Severity};
use crate::store::{Batch, PlatformRow, PlatformWrite, StoreError, TimelineRow};
use crate::upstream::{FetchError, Fill, Lane, PckBy, PckRequest};

impl Platforms {
    /// Has the vendor keep a platform's keys, and registers it by its encrypted PPID.
    ///
    /// # Errors
    /// As [`Platforms::register`]. Of the vendor's no, only that it keeps no keys of this platform is written down.
    pub async fn register_directly(
        self: &Arc<Self>,
        registration: Registration,
        authority: &Authority,
        updates: Updates,
        now: UnixTime,
    ) -> Result<Registered, PlatformRefusal> {
        let result = self.keep_keys(&registration, authority, now).await;
        self.note_registration(&registration, &result, now);
        result?;
        let registration = Registration {
            manifest: None,
            ..registration
        };
        self.register(registration, authority, updates, now).await
    }

    /// Asks the vendor for a platform's list again, due or not. What came of it is in the platform's row.
    ///
    /// # Errors
    /// Why the vendor was not asked.
    pub async fn refetch(
        self: &Arc<Self>,
        row: &PlatformRow,
        now: UnixTime,
    ) -> Result<(), PlatformRefusal> {
        self.may_ask().map_err(|refusal| refusal.of(&row.id))?;
        if row.manifest.is_none() && row.enc_ppid.is_none() {
            let why = "nothing is kept that the vendor could be asked with; it has to be registered again";
            return Err(PlatformRefusal::new(Cause::EncryptedPpidMissing, why).of(&row.id));
        }
        self.fetch_again(row, now)
            .await
            .map_err(|error| self.storage(&error))?
            // The platform's row and story say it.
            .or(Ok(()))
    }

    /// Whether the vendor may be asked on somebody's word.
    fn may_ask(&self) -> Result<(), PlatformRefusal> {
        let collateral = self.collateral();
        let why = if collateral.is_read_only() {
            "this is a read-only view of the past"
        } else if collateral.fill() == Fill::Offline {
            "the fill mode is offline, so the vendor is not asked"
        } else if collateral.intel().is_empty() {
            "no upstream is configured"
        } else {
            return Ok(());
        };
        Err(PlatformRefusal::new(Cause::VendorUnavailable, why))
    }

    async fn keep_keys(
        &self,
        registration: &Registration,
        authority: &Authority,
        now: UnixTime,
    ) -> Result<(), PlatformRefusal> {
        self.may_ask()?;
        let Some(manifest) = &registration.manifest else {
            let why = "a direct registration is made with the manifest";
            return Err(PlatformRefusal::new(Cause::NeedsManifest, why));
        };
        let encrypted = match &registration.encrypted_ppid {
            None => {
                let why = "after a direct registration certificates are had by encrypted PPID, and none came";
                return Err(PlatformRefusal::new(Cause::EncryptedPpidMissing, why));
            }
            Some(encrypted) if encrypted.is_zero() => {
                let why = "after a direct registration certificates are had by encrypted PPID, and it is all zeros";
                return Err(PlatformRefusal::new(Cause::EncryptedPpidZero, why));
            }
            Some(encrypted) => encrypted,
        };
        if !manifest.is_plausible() {
            let why = "the manifest is shorter than any genuine one, so the vendor is not asked";
            return Err(PlatformRefusal::new(Cause::ManifestMalformed, why));
        }
        let asked = self.ask_to_keep(registration, manifest).await;
        match asked {
            Ok(ppid_hash) => self
                .drop_manifest(manifest, ppid_hash, now)
                .await
                .map_err(|error| self.storage(&error)),
            Err(refusal) if refusal.cause == Cause::CachedKeysPolicy => {
                let id = self
                    .note_policy(registration, encrypted, authority, &refusal, now)
                    .await
                    .map_err(|error| self.storage(&error))?;
                Err(refusal.of(&id))
            }
            Err(refusal) => Err(refusal),
        }
    }

    async fn ask_to_keep(
        &self,
        registration: &Registration,
        manifest: &Manifest,
    ) -> Result<Option<String>, PlatformRefusal> {
        let collateral = self.collateral();
        let request = PckRequest {
            pce_id: registration.pce_id,
            by: PckBy::DirectRegistration(manifest.bytes()),
        };
        let mut gravest: Option<PlatformRefusal> = None;
        let mut sources = collateral.intel().bases().peekable();
        while let Some(source) = sources.next() {
            let last = sources.peek().is_none();
            let (result, turn) = source.platform(&request, Lane::Miss, last).await;
            collateral.note_upstream(source, turn, &result).await;
            let refusal = match result {
                // The body is the PPID: the vendor's word for whose manifest it was.
                Ok(fetched) => return Ok(self.told_ppid(&fetched.body)),
                Err(FetchError::Absent) => PlatformRefusal::new(
                    Cause::VendorRefused,
                    "the upstream has no registration service (404); wanted is the vendor's own",
                ),
                Err(error) => refusal_of(&error, &Material::Manifest(manifest.clone())),
            };
            if gravest
                .as_ref()
                .is_none_or(|known| rank(known.cause) < rank(refusal.cause))
            {
                gravest = Some(refusal);
            }
        }
        Err(gravest.unwrap_or_else(|| {
            PlatformRefusal::new(Cause::VendorUnavailable, "no upstream is configured")
        }))
    }

    /// The platform that a registration is about, as far as the register can tell.
    async fn meant(
        &self,
        registration: &Registration,
        encrypted: &EncryptedPpid,
    ) -> Result<Option<PlatformRow>, StoreError> {
        if let Some(row) = self.named(registration).await? {
            return Ok(Some(row));
        }
        let hash = self.material_hash(&Material::EncryptedPpid(encrypted.clone()));
        self.store().platform_by_material(&hash).await
    }

    /// The keyed hash of the PPID that the vendor answers a registration with: 32 hex digits.
    fn told_ppid(&self, body: &[u8]) -> Option<String> {
        let digits = body.trim_ascii().to_ascii_lowercase();
        let ppid = data_encoding::HEXLOWER.decode(&digits).ok()?;
        (ppid.len() == 16).then(|| self.identity.keyed(Purpose::Ppid, &ppid))
    }

    /// A manifest that was kept from before has had its day: with it the vendor would be asked the wrong way. It is
    /// dropped from the platform that the vendor says it is, or that has this very manifest, whatever the QE id says.
    async fn drop_manifest(
        &self,
        manifest: &Manifest,
        ppid_hash: Option<String>,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        let _sealed = self.sealer.writing().await;
        let _one_at_a_time = self.admission.lock().await;
        let proven = match &ppid_hash {
            Some(hash) => self.store().platform_by_ppid(hash).await?,
            None => None,
        };
        let hash = self.material_hash(&Material::Manifest(manifest.clone()));
        let known = match proven {
            Some(row) => Some(row),
            None => self.store().platform_by_material(&hash).await?,
        };
        let Some(mut row) = known else {
            return Ok(());
        };
        if row.manifest.is_none() {
            return Ok(());
        }
        row.manifest = None;
        row.manifest_hash = None;
        let id = row.id.clone();
        let mut write = PlatformWrite::new(row);
        write.timeline.push(TimelineRow {
            at: now,
            state: write.platform.state,
            cause: write.platform.cause,
            text: "registered directly; the manifest that was kept is dropped".to_owned(),
        });
        self.collateral()
            .commit(&Batch {
                platforms: vec![write],
                ..Batch::default()
            })
            .await?;
        self.invalidate([id.as_str()]);
        Ok(())
    }

    /// The vendor keeps no keys of this platform, for good: worth a line in its story.
    async fn note_policy(
        &self,
        registration: &Registration,
        encrypted: &EncryptedPpid,
        authority: &Authority,
        refusal: &PlatformRefusal,
        now: UnixTime,
    ) -> Result<String, StoreError> {
        let _sealed = self.sealer.writing().await;
        let _one_at_a_time = self.admission.lock().await;
        let known = self.meant(registration, encrypted).await?;
        let write = match known {
            // A wish that was refused takes nothing from what it has.
            Some(row) if row.ppid_hash.is_some() => {
                let mut write = PlatformWrite::new(row);
                write.timeline.push(TimelineRow {
                    at: now,
                    state: write.platform.state,
                    cause: refusal.cause,
                    text: format!(
                        "direct registration by {}: {}",
                        authority.name, refusal.detail
                    ),
                });
                write
            }
            known => {
                let material = Material::EncryptedPpid(encrypted.clone());
                let hash = self.material_hash(&material);
                let mut row = known.unwrap_or_else(|| new_row(&hash, registration.pce_id, now));
                self.seal_into(&mut row, &material, &hash);
                let mut write = self.failed(&mut row, refusal, now).await?;
                self.add_name(&mut write, registration, now).await?;
                write
            }
        };
        let id = write.platform.id.clone();
        let text = format!(
            "platform {id}: the direct registration by {} is refused. {refusal}",
            authority.name
        );
        let remark = Remark::new("platform.direct-refused", Severity::Warning, text);
        self.collateral()
            .commit(&Batch {
                events: vec![crate::admission::event(now, remark, None, None)],
                platforms: vec![write],
                ..Batch::default()
            })
            .await?;
        self.invalidate([id.as_str()]);
        Ok(id)
    }
}

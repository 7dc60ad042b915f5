//! Registrations that nobody has asked the vendor about: written down, and fetched or collected later. Those that wait
//! in another cache are taken over here.

use thim_verify::UnixTime;

use super::fetching::Material;
use super::registering::{material, new_row};
use super::registration::Registration;
use super::{Authority, Cause, PlatformRefusal, PlatformState, Platforms};
use crate::store::{Batch, PlatformWrite, StoreError, TimelineRow};
use crate::upstream::Fill;

impl Platforms {
    /// Takes over a registration that waits in another cache: where nothing is fetched it is queued for a tool, else
    /// it is fetched in the rounds that fetch what is due. With `not_available` the other cache had asked, and levels
    /// were `Not available`: a tool finds it among those. A platform that is known stays as it is.
    ///
    /// # Errors
    /// What it lacks, or what the store says.
    pub async fn take_over(
        &self,
        registration: &Registration,
        not_available: bool,
        authority: &Authority,
        now: UnixTime,
    ) -> Result<String, PlatformRefusal> {
        let failed = |error: StoreError| self.storage(&error);
        let material = material(registration)?;
        let fetches =
            self.collateral.fill() != Fill::Offline && !self.collateral.intel().is_empty();
        let named = match self.named(registration).await.map_err(failed)? {
            Some(row) => Some(row),
            None => self
                .store()
                .platform_by_material(&self.material_hash(&material))
                .await
                .map_err(failed)?,
        };
        // A known platform keeps what it has; what waited for it is not lost, a tool finds it.
        if not_available || !fetches || named.is_some() {
            let state = if not_available {
                "not-available"
            } else {
                "new"
            };
            self.enqueue(registration, state, now)
                .await
                .map_err(failed)?;
        }
        if let Some(row) = named {
            return Ok(row.id);
        }
        let (detail, due) = if fetches {
            (
                "taken over from another cache, where it waited; not fetched yet",
                Some(now),
            )
        } else {
            (
                "taken over from another cache, where it waited; nothing is fetched here",
                None,
            )
        };
        self.put_down(registration, &material, detail, due, authority, now)
            .await
            .map_err(failed)
    }

    /// Writes down a platform that nobody has asked the vendor about; its id.
    pub(super) async fn put_down(
        &self,
        registration: &Registration,
        material: &Material,
        detail: &str,
        due: Option<UnixTime>,
        authority: &Authority,
        now: UnixTime,
    ) -> Result<String, StoreError> {
        let _sealed = self.sealer.writing().await;
        let _one_at_a_time = self.admission.lock().await;
        let hash = self.material_hash(material);
        let mut row = new_row(&hash, registration.pce_id, now);
        row.cause = Cause::Queued;
        detail.clone_into(&mut row.detail);
        row.due = due;
        self.seal_into(&mut row, material, &hash);
        self.seal_beside(&mut row, registration.encrypted_ppid.as_ref());
        let mut write = PlatformWrite::new(row);
        write.timeline.push(TimelineRow {
            at: now,
            state: PlatformState::New,
            cause: Cause::Queued,
            text: format!("registered by {}", authority.name),
        });
        self.add_name(&mut write, registration, now).await?;
        let id = write.platform.id.clone();
        self.collateral
            .commit(&Batch {
                platforms: vec![write],
                ..Batch::default()
            })
            .await?;
        self.invalidate([id.as_str()]);
        Ok(id)
    }
}

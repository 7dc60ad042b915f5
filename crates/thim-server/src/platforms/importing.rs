//! Platforms that come with their certificates: from a collateral file or another cache's database. Every certificate
//! is verified; names are taken by the rule of registrations. Many are written in one transaction, since a disk that
//! flushes takes milliseconds and a fleet has a hundred thousand.

use std::collections::BTreeSet;
use std::sync::Arc;

use thim_verify::{Certificate, PckList, RawTcb, UnixTime};

use super::fetching::{Admission, Material, Planned};
use super::registration::Registration;
use super::{Authority, Cause, PlatformRefusal, Platforms};
use crate::sealing::Purpose;
use crate::store::{AliasRow, Batch, NewRawTcb, PlatformOrigin, PlatformWrite};

/// A platform with its certificates, believed by nobody yet.
#[derive(Clone, Debug)]
pub struct Imported {
    /// Its name, and what it can be fetched with, as far as is known.
    pub registration: Registration,
    /// Its certificates.
    pub list: PckList,
    /// Issuing certificates that came with them.
    pub delivered: Vec<Certificate>,
    /// Raw TCBs it was seen with, beside the registration's own.
    pub raw_tcbs: Vec<RawTcb>,
}

impl Platforms {
    /// Imports one platform; its id.
    ///
    /// # Errors
    /// As [`Platforms::import_many`].
    pub async fn import(
        self: &Arc<Self>,
        imported: Imported,
        authority: &Authority,
        source: &str,
        now: UnixTime,
    ) -> Result<String, PlatformRefusal> {
        self.import_many(vec![imported], authority, source, now)
            .await
            .pop()
            .unwrap_or_else(|| Err(PlatformRefusal::new(Cause::Busy, "nothing was imported")))
    }

    /// Imports platforms, each for itself: one that is refused keeps no other out. The results are in the order of the
    /// platforms; what is `Ok` is stored.
    pub async fn import_many(
        self: &Arc<Self>,
        platforms: Vec<Imported>,
        authority: &Authority,
        source: &str,
        now: UnixTime,
    ) -> Vec<Result<String, PlatformRefusal>> {
        let _sealed = self.sealer.writing().await;
        let _one_at_a_time = self.admission.lock().await;
        let mut results = Vec::with_capacity(platforms.len());
        let mut waiting = Waiting::default();
        for imported in platforms {
            let names = (
                imported.registration.qe_id.to_string(),
                imported.registration.pce_id,
            );
            let ppid = imported
                .list
                .entries
                .iter()
                .find_map(|entry| match &entry.listed {
                    thim_verify::Listed::Certificate(certificate) => {
                        Some(self.identity.keyed(Purpose::Ppid, &certificate.ppid().0))
                    }
                    thim_verify::Listed::NotAvailable | thim_verify::Listed::Unreadable(_) => None,
                });
            // What is planned beside the register must be planned beside all of it.
            let collides = ppid
                .as_ref()
                .is_some_and(|ppid| waiting.ppids.contains(ppid))
                || waiting.names.contains(&names);
            if collides || waiting.planned.len() == TOGETHER {
                self.write(&mut waiting, &mut results).await;
            }
            match self.plan_import(imported, authority, source, now).await {
                Ok(planned) => {
                    waiting.ppids.extend(ppid);
                    waiting.names.insert(names);
                    results.push(Ok(planned.id.clone()));
                    waiting.planned.push((results.len() - 1, planned));
                }
                Err(refusal) => results.push(Err(refusal)),
            }
        }
        self.write(&mut waiting, &mut results).await;
        results
    }

    /// What an import would write, and does not yet.
    pub(super) async fn plan_import(
        &self,
        imported: Imported,
        authority: &Authority,
        source: &str,
        now: UnixTime,
    ) -> Result<Planned, PlatformRefusal> {
        let registration = imported.registration;
        let judged = self
            .judge(imported.list, registration.pce_id, &imported.delivered, now)
            .map_err(|refused| PlatformRefusal::new(refused.cause(), refused.to_string()))?;
        let encrypted = registration
            .encrypted_ppid
            .filter(|encrypted| !encrypted.is_zero());
        let material = registration
            .manifest
            .map(Material::Manifest)
            .or_else(|| encrypted.clone().map(Material::EncryptedPpid))
            .map(|material| {
                let hash = self.material_hash(&material);
                (material, hash)
            });
        let mut planned = self
            .plan(Admission {
                judged,
                material,
                pce_id: registration.pce_id,
                of: None,
                origin: PlatformOrigin::Imported,
                source: source.to_owned(),
                fetched: false,
                at: now,
                name: None,
            })
            .await?;
        let Some(write) = planned.batch.platforms.first_mut() else {
            return Ok(planned);
        };
        self.seal_beside(&mut write.platform, encrypted.as_ref());
        if write.platform.due.is_none()
            && (write.platform.manifest.is_some() || write.platform.enc_ppid.is_some())
        {
            write.platform.due = Some(self.next_fetch(&write.platform.id, now));
        }
        let qe_id = registration.qe_id;
        if !qe_id.is_zero() {
            let moved = self
                .may_name(
                    &write.platform.id,
                    &qe_id,
                    registration.pce_id,
                    Some(authority),
                    now,
                )
                .await?;
            if let Some((event, owner)) = moved {
                planned.batch.events.push(event);
                write.bereft.push(owner);
            }
            write.aliases.push(AliasRow {
                qe_id: qe_id.to_string(),
                pce_id: registration.pce_id,
                platform: write.platform.id.clone(),
                strong: true,
                since: now,
            });
        }
        let seen = registration.raw_tcb.into_iter().chain(imported.raw_tcbs);
        write.raw_tcbs.extend(seen.map(|tcb| NewRawTcb {
            qe_id: qe_id.to_string(),
            tcb,
            told: true,
            at: now,
        }));
        Ok(planned)
    }

    /// Writes what waits, all of it or none.
    async fn write(&self, waiting: &mut Waiting, results: &mut [Result<String, PlatformRefusal>]) {
        let planned = std::mem::take(&mut waiting.planned);
        waiting.ppids.clear();
        waiting.names.clear();
        if planned.is_empty() {
            return;
        }
        let mut batch = Batch::default();
        let mut written = Vec::with_capacity(planned.len());
        for (index, one) in planned {
            for (certificate, at) in one.batch.certificates {
                if batch
                    .certificates
                    .iter()
                    .all(|(known, _)| *known != certificate)
                {
                    batch.certificates.push((certificate, at));
                }
            }
            batch.events.extend(one.batch.events);
            batch.platforms.extend(one.batch.platforms);
            batch.pck_revoked.extend(one.batch.pck_revoked);
            written.push((index, one.id));
        }
        let touched = batch.platforms.iter().flat_map(PlatformWrite::touches);
        let _changing = self.changing(touched.map(ToOwned::to_owned).collect());
        let stored = self.collateral.commit(&batch).await;
        if stored.is_ok() {
            self.collateral.learn_issuers(batch.certificates);
        }
        if let Err(error) = stored {
            let refusal = self.storage(&error);
            for (index, id) in written {
                if let Some(result) = results.get_mut(index) {
                    *result = Err(refusal.clone().of(&id));
                }
            }
        }
    }
}

/// Planned and not written: none of them is the same platform or has the same name as another.
#[derive(Default)]
struct Waiting {
    planned: Vec<(usize, Planned)>,
    ppids: BTreeSet<String>,
    names: BTreeSet<(String, thim_verify::PceId)>,
}

/// Platforms written in one transaction: some 10 MB.
const TOGETHER: usize = 200;

//! The story of a registration: who is it, has it been here before, what does the vendor say, and is everything
//! there that a verifier of its quotes will ask for (`spec/intel-pcs-and-pccs.md` section 2.7, fill modes of 5.2).
//!
//! Nobody takes over another platform's name. A QE id belongs to the PPID that a certificate showed first; another PPID
//! gets it from an administrator only, and that is an event. A name that an open GET has made is weak and yields to a
//! registration. A new encryption of the same PPID, or a new manifest of the same platform, changes no owner.

use std::sync::Arc;

use thim_verify::{ArtefactKey, Enclave, Fmspc, PceId, PckCa, Tee, UnixTime};

use super::fetching::{Fetch, ID_DIGITS, Material, NewName};
use super::registration::{QeId, Registration};
use super::{Cause, PlatformRefusal, PlatformState, Platforms};
use crate::baseline::Choice;
use crate::collateral::{Ask, Refusal};
use crate::sealing::Purpose;
use crate::sentinel::{Remark, Severity};
use crate::store::{
    AliasRow, Batch, NewEvent, NewRegistration, PlatformOrigin, PlatformRow, PlatformWrite,
    StoreError, TimelineRow,
};
use crate::upstream::{Fill, Lane};
use crate::view::Subject;

/// Whose word a registration is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Authority {
    /// For events.
    pub name: String,
    /// May give one platform's name to another: an administrator.
    pub may_move: bool,
}

/// Which editions of the collateral are to be there: PCCS's `update`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Updates {
    /// Both.
    All,
    /// Early.
    Early,
    /// Standard.
    #[default]
    Standard,
}

/// What became of a registration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Registered {
    /// The platform's id.
    pub platform: String,
    /// Where it stands.
    pub state: PlatformState,
    /// True where the vendor was asked.
    pub fetched: bool,
}

impl Platforms {
    /// Registers a platform, on somebody's word.
    ///
    /// # Errors
    /// What kept it from being ready. What can be tried again later is registered all the same, and will be.
    pub async fn register(
        self: &Arc<Self>,
        registration: Registration,
        authority: &Authority,
        updates: Updates,
        now: UnixTime,
    ) -> Result<Registered, PlatformRefusal> {
        // In a task of its own: a host that hangs up leaves nothing half done.
        let (this, authority) = (Arc::clone(self), authority.clone());
        let task = tokio::spawn(async move {
            let result = this
                .take_registration(&registration, &authority, updates, now)
                .await;
            this.note_registration(&registration, &result, now);
            result
        });
        task.await.unwrap_or_else(|_| {
            Err(PlatformRefusal::new(
                Cause::Storage,
                "the registration broke off",
            ))
        })
    }

    async fn take_registration(
        self: &Arc<Self>,
        registration: &Registration,
        authority: &Authority,
        updates: Updates,
        now: UnixTime,
    ) -> Result<Registered, PlatformRefusal> {
        let failed = |error: StoreError| self.storage(&error);
        let material = material(registration)?;
        let named = match self.named(registration).await.map_err(failed)? {
            Some(row) => Some(row),
            // Without a name of its own, what it is registered with may be known.
            None => self
                .store()
                .platform_by_material(&self.material_hash(&material))
                .await
                .map_err(failed)?,
        };
        let fill = self.collateral.fill();
        if !self.collateral.may_ask() {
            return self
                .queue(registration, &material, named, authority, now)
                .await;
        }
        let (id, fetched) = match self
            .is_there(registration, &material, named.as_ref())
            .await
            .map_err(failed)?
        {
            Some(id) => (id, false),
            None => {
                if fill == Fill::Req {
                    self.enqueue(registration, "new", now)
                        .await
                        .map_err(failed)?;
                }
                let fetched = self
                    .fetch_registered(registration, &material, named.clone(), authority, now)
                    .await;
                let id = match (fetched, named) {
                    (Ok(id), _) => id,
                    // A host that starts while the vendor is silent finds everything as it left it; nothing changes hands.
                    (Err(refusal), Some(row))
                        if refusal.cause.state() == PlatformState::Waiting
                            && registration.manifest.is_none()
                            && row.fmspc.is_some()
                            && self.was_seen(&row, registration).await.map_err(failed)? =>
                    {
                        return Ok(Registered {
                            platform: row.id,
                            state: row.state,
                            fetched: false,
                        });
                    }
                    (Err(refusal), _) => return Err(refusal),
                };
                if fill == Fill::Req {
                    let gaps = self.store().pck_gaps(&id).await.map_err(failed)?;
                    if gaps.is_empty() {
                        self.store()
                            .registration_done(
                                registration.qe_id.as_str(),
                                &registration.pce_id.to_string(),
                                &self.told_apart(registration),
                            )
                            .await
                            .map_err(failed)?;
                    } else {
                        self.enqueue(registration, "not-available", now)
                            .await
                            .map_err(failed)?;
                    }
                }
                (id, true)
            }
        };
        if !registration.qe_id.is_zero() {
            self.attach(
                &id,
                &registration.qe_id,
                registration.pce_id,
                Some(authority),
                now,
            )
            .await?;
        }
        if let Some(raw) = registration.raw_tcb {
            self.store()
                .note_raw_tcb(&id, registration.qe_id.as_str(), raw, true, now)
                .await
                .map_err(failed)?;
        }
        let row = self.store().platform(&id).await.map_err(failed)?;
        let Some(row) = row else {
            return Err(PlatformRefusal::new(Cause::Busy, "it was just forgotten"));
        };
        if let Some(fmspc) = row.fmspc {
            self.ensure_collateral(fmspc, updates, now)
                .await
                .map_err(|refusal| refusal.of(&id))?;
        }
        Ok(Registered {
            platform: id,
            state: row.state,
            fetched,
        })
    }

    /// The platform of this name, if the name is one.
    pub(super) async fn named(
        &self,
        registration: &Registration,
    ) -> Result<Option<PlatformRow>, StoreError> {
        if registration.qe_id.is_zero() {
            return Ok(None);
        }
        self.store()
            .platform_by_alias(registration.qe_id.as_str(), registration.pce_id)
            .await
    }

    /// Was this platform registered under this name, and seen with this raw TCB?
    async fn was_seen(
        &self,
        row: &PlatformRow,
        registration: &Registration,
    ) -> Result<bool, StoreError> {
        let names = self.store().aliases(&row.id).await?;
        // A weak name proves nothing: an open GET may have given it.
        let strong = names
            .iter()
            .any(|name| name.strong && name.qe_id == registration.qe_id.as_str());
        Ok(strong
            && self.store().raw_tcbs(&row.id).await?.iter().any(|seen| {
                Some(seen.tcb) == registration.raw_tcb && seen.qe_id == registration.qe_id.as_str()
            }))
    }

    /// PCCS's "cached": the same manifest, or the same encrypted PPID with a raw TCB it was seen with; and certificates.
    async fn is_there(
        &self,
        registration: &Registration,
        material: &Material,
        known: Option<&PlatformRow>,
    ) -> Result<Option<String>, StoreError> {
        let Some(row) =
            known.filter(|row| matches!(row.state, PlatformState::Ready | PlatformState::Partial))
        else {
            return Ok(None);
        };
        let same = match material {
            Material::Manifest(_) => {
                row.manifest_hash.as_deref() == Some(self.material_hash(material).as_str())
            }
            // A host encrypts its PPID anew each time, and which PPID it is only the vendor can tell.
            Material::EncryptedPpid(_) => {
                row.enc_ppid_hash.as_deref() == Some(self.material_hash(material).as_str())
                    && self.was_seen(row, registration).await?
            }
        };
        Ok(same.then(|| row.id.clone()))
    }

    /// Asks the vendor; what fails for now is kept and tried again.
    async fn fetch_registered(
        self: &Arc<Self>,
        registration: &Registration,
        material: &Material,
        named: Option<PlatformRow>,
        authority: &Authority,
        now: UnixTime,
    ) -> Result<String, PlatformRefusal> {
        // A platform whose PPID is known is found by what the list says. One that is not may be this, if it was registered
        // with the same, or the vendor has said no to what it was registered with, or an administrator says so.
        let hash = self.material_hash(material);
        let same = |row: &PlatformRow| {
            [&row.manifest_hash, &row.enc_ppid_hash]
                .into_iter()
                .flatten()
                .any(|own| *own == hash)
        };
        let named = named.filter(|row| {
            row.ppid_hash.is_some() || same(row) || is_given_up(row) || authority.may_move
        });
        let unproven = named.as_ref().filter(|row| row.ppid_hash.is_none());
        let result = self
            .fetch_in_time(Fetch {
                material: material.clone(),
                pce_id: registration.pce_id,
                of: unproven.map(|row| row.id.clone()),
                origin: PlatformOrigin::Registered,
                lane: Lane::Miss,
                now,
                name: Some(NewName {
                    qe_id: registration.qe_id.clone(),
                    authority: Some(authority.clone()),
                    raw_tcb: registration.raw_tcb,
                    beside: registration.encrypted_ppid.clone(),
                }),
            })
            .await;
        let refusal = match result {
            Ok(id) => return Ok(id),
            Err(refusal) => refusal,
        };
        // What cannot be proven changes nothing of a platform that was.
        let row = match named {
            Some(row) if row.ppid_hash.is_some() => return Err(refusal.of(&row.id)),
            named => named,
        };
        let id = self
            .keep_waiting(registration, material, row, authority, &refusal, now)
            .await
            .map_err(|error| self.storage(&error))?;
        Err(refusal.of(&id))
    }

    /// Keeps a registration that the vendor has not answered for.
    async fn keep_waiting(
        &self,
        registration: &Registration,
        material: &Material,
        row: Option<PlatformRow>,
        authority: &Authority,
        refusal: &PlatformRefusal,
        now: UnixTime,
    ) -> Result<String, StoreError> {
        let _sealed = self.sealer.writing().await;
        let _one_at_a_time = self.admission.lock().await;
        let hash = self.material_hash(material);
        let mut row = match row {
            Some(row) => self.store().platform(&row.id).await?.unwrap_or(row),
            None => match self.store().platform_by_material(&hash).await? {
                Some(row) => row,
                None => new_row(&hash, registration.pce_id, now),
            },
        };
        self.seal_into(&mut row, material, &hash);
        self.seal_beside(&mut row, registration.encrypted_ppid.as_ref());
        let mut write = self.failed(&mut row, refusal, now).await?;
        self.add_name(&mut write, registration, now).await?;
        let id = write.platform.id.clone();
        let text = format!(
            "platform {id} is registered by {}, and waits: {refusal}",
            authority.name
        );
        let remark = Remark::new("platform.waiting", Severity::Warning, text);
        self.collateral
            .commit(&Batch {
                events: vec![crate::admission::event(now, remark, None, None)],
                platforms: vec![write],
                ..Batch::default()
            })
            .await?;
        self.invalidate([id.as_str()]);
        Ok(id)
    }

    /// A platform's row and a line of its story after a failure. What it has goes on being served.
    pub(super) async fn failed(
        &self,
        row: &mut PlatformRow,
        refusal: &PlatformRefusal,
        now: UnixTime,
    ) -> Result<PlatformWrite, StoreError> {
        let serves = !self
            .store()
            .pck_certificates(&row.id, false)
            .await?
            .is_empty();
        let state = refusal.cause.state();
        let state = match state {
            // A vendor that is silent takes nothing away.
            PlatformState::Waiting if serves => row.state,
            state => state,
        };
        let changed = row.state != state || row.cause != refusal.cause;
        if row.state != state {
            row.since = now;
        }
        row.state = state;
        row.cause = refusal.cause;
        row.detail.clone_from(&refusal.detail);
        row.due = Some(now.plus_secs(patience_secs(refusal)));
        let mut write = PlatformWrite::new(row.clone());
        if changed {
            write.timeline.push(TimelineRow {
                at: now,
                state,
                cause: refusal.cause,
                text: refusal.detail.clone(),
            });
        }
        Ok(write)
    }

    /// Fill mode `offline`: nobody is asked, a tool collects it.
    async fn queue(
        &self,
        registration: &Registration,
        material: &Material,
        named: Option<PlatformRow>,
        authority: &Authority,
        now: UnixTime,
    ) -> Result<Registered, PlatformRefusal> {
        let failed = |error: StoreError| self.storage(&error);
        if let Some(row) = &named
            && let Some(id) = self
                .is_there(registration, material, Some(row))
                .await
                .map_err(failed)?
        {
            return Ok(Registered {
                platform: id,
                state: row.state,
                fetched: false,
            });
        }
        self.enqueue(registration, "new", now)
            .await
            .map_err(failed)?;
        // Nothing proves here that a known platform's name comes with its new material: it stays as it is.
        if let Some(row) = named {
            return Ok(Registered {
                platform: row.id,
                state: row.state,
                fetched: false,
            });
        }
        let detail = "registered; nothing is fetched in fill mode offline";
        let id = self
            .put_down(registration, material, detail, None, authority, now)
            .await
            .map_err(failed)?;
        Ok(Registered {
            platform: id,
            state: PlatformState::New,
            fetched: false,
        })
    }

    /// The name of an unproven platform, if it is one and nobody else's.
    pub(super) async fn add_name(
        &self,
        write: &mut PlatformWrite,
        registration: &Registration,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        if registration.qe_id.is_zero() {
            return Ok(());
        }
        let known = self
            .store()
            .alias(registration.qe_id.as_str(), registration.pce_id)
            .await?;
        if known.is_none_or(|known| known.platform == write.platform.id) {
            write.aliases.push(AliasRow {
                qe_id: registration.qe_id.to_string(),
                pce_id: registration.pce_id,
                platform: write.platform.id.clone(),
                strong: true,
                since: now,
            });
        }
        Ok(())
    }

    /// What tells registrations without a name apart: two machines with an all-zero QE id are two.
    fn told_apart(&self, registration: &Registration) -> String {
        match material(registration) {
            Ok(material) if registration.qe_id.is_zero() => self.material_hash(&material),
            _ => String::new(),
        }
    }

    /// Puts a registration where PCCS's tools collect it, as PCCS writes it: a manifest stands alone.
    pub(super) async fn enqueue(
        &self,
        registration: &Registration,
        state: &'static str,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        let alone = registration.manifest.is_some();
        let raw = registration.raw_tcb.filter(|_| !alone);
        let encrypted = registration.encrypted_ppid.as_ref().filter(|_| !alone);
        let _sealed = self.sealer.writing().await;
        self.store()
            .queue_registration(&NewRegistration {
                material: self.told_apart(registration),
                qe_id: registration.qe_id.to_string(),
                pce_id: registration.pce_id.to_string(),
                cpu_svn: raw.map(|raw| raw.cpu_svn.to_string()).unwrap_or_default(),
                pce_svn: raw.map(|raw| raw.pce_svn.to_string()).unwrap_or_default(),
                enc_ppid: encrypted
                    .map(|encrypted| self.sealer.seal(Purpose::EncryptedPpid, encrypted.bytes())),
                manifest: registration
                    .manifest
                    .as_ref()
                    .map(|manifest| self.sealer.seal(Purpose::Manifest, manifest.bytes())),
                state,
                at: now,
            })
            .await
    }

    /// Makes a QE id a name of a platform that a certificate has shown. Without an authority (an open GET) the name is
    /// weak and never taken from another.
    pub(super) async fn attach(
        &self,
        platform: &str,
        qe_id: &QeId,
        pce_id: PceId,
        authority: Option<&Authority>,
        now: UnixTime,
    ) -> Result<(), PlatformRefusal> {
        let failed = |error: StoreError| self.storage(&error);
        let _sealed = self.sealer.writing().await;
        let _one_at_a_time = self.admission.lock().await;
        let known = self
            .store()
            .alias(qe_id.as_str(), pce_id)
            .await
            .map_err(failed)?;
        if let Some(known) = &known
            && known.platform == platform
            && (known.strong || authority.is_none())
        {
            return Ok(());
        }
        if known.is_none() && authority.is_none() {
            let names = self.store().aliases(platform).await.map_err(failed)?;
            if names.iter().filter(|name| !name.strong).count() >= WEAK_NAMES {
                // Served by what it brings; the name is not kept.
                return Ok(());
            }
        }
        let strong = authority.is_some();
        let moved = self.may_name(platform, qe_id, pce_id, authority, now).await;
        let row = self.store().platform(platform).await.map_err(failed)?;
        let Some(row) = row else {
            return Err(PlatformRefusal::new(Cause::Busy, "it was just forgotten"));
        };
        let moved = match moved {
            Ok(moved) => moved,
            Err(refusal) => {
                // Whoever wonders why this platform has no name finds it in its story.
                if let Some(authority) = authority
                    && refusal.cause == Cause::QeIdTaken
                {
                    let mut write = PlatformWrite::new(row);
                    write.timeline.push(TimelineRow {
                        at: now,
                        state: write.platform.state,
                        cause: refusal.cause,
                        text: format!("registration by {}: {}", authority.name, refusal.detail),
                    });
                    self.collateral
                        .commit(&Batch {
                            platforms: vec![write],
                            ..Batch::default()
                        })
                        .await
                        .map_err(failed)?;
                }
                return Err(refusal);
            }
        };
        let mut write = PlatformWrite::new(row);
        write.aliases.push(AliasRow {
            qe_id: qe_id.to_string(),
            pce_id,
            platform: platform.to_owned(),
            strong,
            since: now,
        });
        if let Some(authority) = authority {
            write.timeline.push(TimelineRow {
                at: now,
                state: write.platform.state,
                cause: write.platform.cause,
                text: format!("registered by {}", authority.name),
            });
        }
        let mut batch = Batch::default();
        if let Some((event, owner)) = moved {
            batch.events.push(event);
            write.bereft.push(owner);
        }
        let _changing = self.changing(write.touches().map(ToOwned::to_owned).collect());
        batch.platforms.push(write);
        self.collateral.commit(&batch).await.map_err(failed)
    }

    /// May this QE id become a name of a proven platform? Where it was another's and moves, the event that tells so and
    /// whose it was. To be asked and acted on under one lock.
    pub(super) async fn may_name(
        &self,
        platform: &str,
        qe_id: &QeId,
        pce_id: PceId,
        authority: Option<&Authority>,
        now: UnixTime,
    ) -> Result<Option<(NewEvent, String)>, PlatformRefusal> {
        let failed = |error: StoreError| self.storage(&error);
        let known = self
            .store()
            .alias(qe_id.as_str(), pce_id)
            .await
            .map_err(failed)?;
        let Some(known) = known.filter(|known| known.platform != platform) else {
            return Ok(None);
        };
        let owner = self
            .store()
            .platform(&known.platform)
            .await
            .map_err(failed)?;
        let yields =
            authority.is_some() && (!known.strong || owner.as_ref().is_none_or(is_given_up));
        let may_move = authority.is_some_and(|authority| authority.may_move);
        let by = authority.map_or("an open request", |authority| authority.name.as_str());
        if !yields && !may_move {
            let text = format!(
                "{by} asked for a QE id of platform {} on behalf of platform {platform}; refused",
                known.platform
            );
            let remark = Remark::new("platform.takeover-refused", Severity::Alarm, text);
            self.collateral
                .record(vec![crate::admission::event(now, remark, None, None)])
                .await
                .map_err(failed)?;
            let why = "this QE id belongs to another platform; an administrator may move it";
            return Err(PlatformRefusal::new(Cause::QeIdTaken, why).of(platform));
        }
        let text = format!(
            "a QE id of platform {} is now platform {platform}'s, by {by}",
            known.platform
        );
        let remark = Remark::new("platform.alias-moved", Severity::Warning, text);
        let event = crate::admission::event(now, remark, None, None);
        Ok(Some((event, known.platform)))
    }

    /// Fetches what verifiers of this family's quotes will ask for: TCB infos, CRLs and identities.
    pub(super) async fn ensure_collateral(
        self: &Arc<Self>,
        fmspc: Fmspc,
        updates: Updates,
        now: UnixTime,
    ) -> Result<(), PlatformRefusal> {
        let choices: &[Choice] = match updates {
            Updates::All => &[Choice::Early, Choice::Standard],
            Updates::Early => &[Choice::Early],
            Updates::Standard => &[Choice::Standard],
        };
        let tcb = |tee| Subject::TcbInfo {
            tee,
            version: 3,
            fmspc,
        };
        let mut needed: Vec<Ask> = vec![Ask::Artefact(ArtefactKey::RootCrl)];
        needed.extend(PckCa::ALL.map(|ca| Ask::Artefact(ArtefactKey::PckCrl { ca })));
        // Certificates are chosen by these; PCCS demands the standard one too.
        let mut wished = vec![Ask::Subject(tcb(Tee::Sgx), Choice::Early)];
        needed.push(Ask::Subject(tcb(Tee::Sgx), Choice::Standard));
        for choice in choices {
            for enclave in [Enclave::Qe, Enclave::Qve, Enclave::TdQe] {
                needed.push(Ask::Subject(Subject::EnclaveIdentity { enclave }, *choice));
            }
            // A family without TDX has none.
            wished.push(Ask::Subject(tcb(Tee::Tdx), *choice));
        }
        let provide = |ask: &Ask| {
            let collateral = Arc::clone(&self.collateral);
            let ask = *ask;
            async move { collateral.provide(ask, now).await.map(|_| ()) }
        };
        let needed = futures_util::future::join_all(needed.iter().map(provide));
        let wished = futures_util::future::join_all(wished.iter().map(provide));
        let (needed, _) = futures_util::future::join(needed, wished).await;
        let Some(refusal) = needed.into_iter().find_map(Result::err) else {
            return Ok(());
        };
        let retry_after_secs = match &refusal {
            Refusal::Throttled {
                retry_after_secs, ..
            }
            | Refusal::Busy { retry_after_secs } => Some(*retry_after_secs),
            Refusal::Storage | Refusal::Unavailable { .. } => Some(RETRY_SECS),
            Refusal::Absent { .. }
            | Refusal::Expired { .. }
            | Refusal::NotHeld { .. }
            | Refusal::Retired { .. }
            | Refusal::Untrusted { .. }
            | Refusal::Version3 { .. } => None,
        };
        Err(PlatformRefusal {
            retry_after_secs,
            ..PlatformRefusal::new(
                Cause::CollateralMissing,
                format!("the platform has its certificates; {refusal}"),
            )
        })
    }
}

/// Nothing proves whose platform this is, and what it was registered with is of no use: whoever comes with something
/// better may be it. One that waits for the vendor's answer is not given up.
fn is_given_up(row: &PlatformRow) -> bool {
    row.ppid_hash.is_none()
        && matches!(
            row.state,
            PlatformState::NeedsManifest | PlatformState::Refused
        )
}

/// What a registration can be fetched with.
pub(super) fn material(registration: &Registration) -> Result<Material, PlatformRefusal> {
    if let Some(manifest) = &registration.manifest {
        return Ok(Material::Manifest(manifest.clone()));
    }
    match &registration.encrypted_ppid {
        None => Err(PlatformRefusal::new(
            Cause::EncryptedPpidMissing,
            "neither a manifest nor an encrypted PPID came with the registration",
        )),
        Some(encrypted) if encrypted.is_zero() => Err(PlatformRefusal::new(
            Cause::EncryptedPpidZero,
            "the encrypted PPID is all zeros, and there is no manifest",
        )),
        Some(encrypted) => Ok(Material::EncryptedPpid(encrypted.clone())),
    }
}

pub(super) fn new_row(hash: &str, pce_id: PceId, now: UnixTime) -> PlatformRow {
    PlatformRow::new(hash.chars().take(ID_DIGITS).collect(), pce_id, now)
}

/// When to try again what failed, in seconds.
pub(super) fn patience_secs(refusal: &PlatformRefusal) -> i64 {
    match refusal.cause {
        Cause::VendorThrottled => refusal
            .retry_after_secs
            .unwrap_or(WAITING_SECS)
            .clamp(1, 24 * 3600),
        Cause::ApiKeyRefused => 3600,
        Cause::Busy | Cause::Storage | Cause::Untrusted | Cause::VendorUnavailable => WAITING_SECS,
        Cause::AllNotAvailable
        | Cause::CachedKeysPolicy
        | Cause::CertificateRevoked
        | Cause::CollateralMissing
        | Cause::EncryptedPpidMissing
        | Cause::EncryptedPpidZero
        | Cause::GuestNotHost
        | Cause::ManifestMalformed
        | Cause::ManifestStale
        | Cause::NeedsManifest
        | Cause::None
        | Cause::PackageRefused
        | Cause::PreProduction
        | Cause::QeIdTaken
        | Cause::QeIdUnknown
        | Cause::QeIdZero
        | Cause::Queued
        | Cause::TcbTooLow
        | Cause::VendorRefused => 24 * 3600,
    }
}

/// A vendor that is silent is asked again after this many seconds.
const WAITING_SECS: i64 = 300;
const RETRY_SECS: i64 = 5;
/// QE ids that open GETs may give a platform; a machine has one or two.
pub(super) const WEAK_NAMES: usize = 4;

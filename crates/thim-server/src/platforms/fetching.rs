//! What is asked of the vendor about a platform: its certificate list, by encrypted PPID or manifest. One flight for all
//! who bring the same; one source after the other until one gives a list of which something verifies. What comes is
//! written with the platform's state and story in one transaction: there is no half-registered platform.

use std::sync::Arc;
use std::time::Duration;

use thim_verify::{ArtefactKey, Certificate, Content, PceId, RawTcb, UnixTime, parse_pck_list};

use super::list::{Judged, judge};
use super::registering::{WEAK_NAMES, new_row};
use super::registration::{EncryptedPpid, Manifest, QeId};
use super::{Authority, Cause, PlatformRefusal, PlatformState, Platforms};
use crate::baseline::Choice;
use crate::collateral::Ask;
use crate::sealing::Purpose;
use crate::sentinel::{Remark, Severity};
use crate::store::{
    AliasRow, Batch, Gap, NewPck, NewRawTcb, PlatformOrigin, PlatformRow, PlatformWrite, Sealed,
    StoreError, TimelineRow,
};
use crate::upstream::{FetchError, Fetched, Lane, PckBy, PckRequest};

/// What tells the vendor which platform is meant.
#[derive(Clone, Debug)]
pub(super) enum Material {
    EncryptedPpid(EncryptedPpid),
    Manifest(Manifest),
}

/// A fetch, for whom and with what.
#[derive(Clone)]
pub(super) struct Fetch {
    pub material: Material,
    pub pce_id: PceId,
    /// The platform this is known to be about; one that turns out to be another is refused.
    pub of: Option<String>,
    pub origin: PlatformOrigin,
    pub lane: Lane,
    pub now: UnixTime,
    /// What it is asked for by, where that is news.
    pub name: Option<NewName>,
}

/// A name that comes with a list, and is written with it where it is free: a platform never has certificates and not
/// yet its name. A name that is another's is dealt with afterwards.
#[derive(Clone)]
pub(super) struct NewName {
    pub qe_id: QeId,
    /// `None`: an open GET.
    pub authority: Option<Authority>,
    pub raw_tcb: Option<RawTcb>,
    /// The encrypted PPID that came beside a manifest: a GET may bring the very same, and where the QE id says nothing
    /// it is all that says which platform is meant.
    pub beside: Option<EncryptedPpid>,
}

impl Material {
    fn by(&self) -> PckBy<'_> {
        match self {
            Self::EncryptedPpid(encrypted) => PckBy::EncryptedPpid(encrypted.bytes()),
            Self::Manifest(manifest) => PckBy::Manifest(manifest.bytes()),
        }
    }
}

impl Platforms {
    /// The keyed hash that tells two materials apart.
    pub(super) fn material_hash(&self, material: &Material) -> String {
        match material {
            Material::EncryptedPpid(encrypted) => self
                .identity
                .keyed(Purpose::EncryptedPpid, encrypted.bytes()),
            Material::Manifest(manifest) => {
                self.identity.keyed(Purpose::Manifest, manifest.bytes())
            }
        }
    }

    /// Fetches a platform's list and admits it; the platform's id. Whoever waits does so for a bounded time.
    pub(super) async fn fetch_in_time(
        self: &Arc<Self>,
        fetch: Fetch,
    ) -> Result<String, PlatformRefusal> {
        let hash = self.material_hash(&fetch.material);
        let this = Arc::clone(self);
        let key = hash.clone();
        let question = format!("{hash} {}", fetch.pce_id);
        let flight = self.flights.join(question, move || async move {
            let _note = this.note_fetching(fetch.of.as_deref());
            let id = this.ask_vendor(&fetch, &key).await?;
            this.landed.insert(key, id);
            Ok(())
        });
        match tokio::time::timeout(MISS_PATIENCE, flight).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(refusal))) => return Err(refusal),
            Ok(Err(_)) => {
                return Err(PlatformRefusal {
                    retry_after_secs: Some(1),
                    ..PlatformRefusal::new(Cause::Busy, "too many fetches at once")
                });
            }
            Err(_) => {
                return Err(PlatformRefusal {
                    retry_after_secs: Some(RETRY_SECS),
                    ..PlatformRefusal::new(
                        Cause::VendorUnavailable,
                        "the vendor did not answer in time; the fetch goes on",
                    )
                });
            }
        }
        if let Some(id) = self.landed.get(&hash) {
            return Ok(id);
        }
        // Pushed out by others since it landed; the register knows.
        match self.store().platform_by_material(&hash).await {
            Ok(Some(row)) => Ok(row.id),
            Ok(None) => Err(PlatformRefusal {
                retry_after_secs: Some(1),
                ..PlatformRefusal::new(Cause::Busy, "too much changes at once")
            }),
            Err(error) => Err(self.storage(&error)),
        }
    }

    async fn ask_vendor(
        self: &Arc<Self>,
        fetch: &Fetch,
        hash: &str,
    ) -> Result<String, PlatformRefusal> {
        if let Material::Manifest(manifest) = &fetch.material
            && !manifest.is_plausible()
        {
            return Err(PlatformRefusal::new(
                Cause::ManifestMalformed,
                "the manifest is shorter than any genuine one, so the vendor is not asked",
            ));
        }
        let collateral = &self.collateral;
        if collateral.root_crl.load().is_none() {
            collateral
                .prepare(Ask::Artefact(ArtefactKey::RootCrl), fetch.now)
                .await;
        }
        let request = PckRequest {
            pce_id: fetch.pce_id,
            by: fetch.material.by(),
        };
        let mut gravest: Option<PlatformRefusal> = None;
        let mut sources = collateral.intel().bases().peekable();
        while let Some(source) = sources.next() {
            let (result, turn) = source
                .platform(&request, fetch.lane, sources.peek().is_none())
                .await;
            collateral.note_upstream(source, turn, &result).await;
            let refusal = match result {
                Err(error) => refusal_of(&error, &fetch.material),
                Ok(fetched) => match self.take(fetch, hash, fetched).await {
                    Ok(id) => return Ok(id),
                    Err(refusal) => {
                        collateral.metrics().upstream(source.name(), "refused");
                        refusal
                    }
                },
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

    async fn take(
        &self,
        fetch: &Fetch,
        hash: &str,
        fetched: Fetched,
    ) -> Result<String, PlatformRefusal> {
        let untrusted = |why: String| {
            PlatformRefusal::new(Cause::Untrusted, format!("the vendor's answer: {why}"))
        };
        let list = parse_pck_list(&fetched.body).map_err(|error| untrusted(error.to_string()))?;
        let delivered = match fetched.chain.as_deref().map(Certificate::from_pem_bundle) {
            None => Vec::new(),
            Some(Ok(certificates)) => certificates,
            Some(Err(error)) => return Err(untrusted(format!("its issuer chain: {error}"))),
        };
        let judged = self
            .judge(list, fetch.pce_id, &delivered, fetched.at)
            .map_err(|refused| PlatformRefusal::new(refused.cause(), refused.to_string()))?;
        for (error, der) in &judged.rejected {
            let kept =
                self.collateral
                    .quarantine(&fetched.url, None, error, der.clone(), fetched.at);
            kept.await.map_err(|error| self.storage(&error))?;
        }
        let admission = Admission {
            judged,
            material: Some((fetch.material.clone(), hash.to_owned())),
            pce_id: fetch.pce_id,
            of: fetch.of.clone(),
            origin: fetch.origin,
            source: fetched.url,
            fetched: true,
            at: fetched.at,
            name: fetch.name.clone(),
        };
        self.admit(admission).await
    }

    pub(super) fn judge(
        &self,
        list: thim_verify::PckList,
        pce_id: PceId,
        delivered: &[Certificate],
        now: UnixTime,
    ) -> Result<Judged, super::list::ListRefused> {
        let collateral = &self.collateral;
        let mut issuers = collateral.issuers.load_full();
        // An authority that only came with the list would be verified again for every leaf.
        let unknown = delivered
            .iter()
            .filter(|one| !one.is_self_issued() && !issuers.knows(one))
            .take(MAX_DELIVERED)
            .collect::<Vec<_>>();
        if !unknown.is_empty() {
            let mut more = thim_verify::Issuers::clone(&issuers);
            for certificate in unknown {
                // What does not lead to a root is of no use, and the leaves will say so.
                let _ = more.insert(certificate.clone());
            }
            issuers = Arc::new(more);
        }
        judge(
            list,
            pce_id,
            delivered,
            &issuers,
            collateral.root_crl.load().as_deref(),
            now,
        )
    }

    /// Writes what a list says: the platform, its certificates, gaps and story, in one transaction.
    pub(super) async fn admit(&self, admission: Admission) -> Result<String, PlatformRefusal> {
        let _sealed = self.sealer.writing().await;
        let _one_at_a_time = self.admission.lock().await;
        let failed = |error: StoreError| self.storage(&error);
        let Planned { id, batch } = self.plan(admission).await?;
        self.collateral.commit(&batch).await.map_err(failed)?;
        self.invalidate(batch.platforms.iter().flat_map(PlatformWrite::touches));
        self.collateral.learn_issuers(batch.certificates);
        Ok(id)
    }

    /// What a list says, beside what the register knows: to be called and committed under one lock.
    pub(super) async fn plan(&self, admission: Admission) -> Result<Planned, PlatformRefusal> {
        let Admission {
            judged,
            material,
            pce_id,
            of,
            origin,
            source,
            fetched,
            at: now,
            name,
        } = admission;
        let failed = |error: StoreError| self.storage(&error);
        let ppid_hash = self.identity.keyed(Purpose::Ppid, &judged.ppid.0);
        let by_ppid = self
            .store()
            .platform_by_ppid(&ppid_hash)
            .await
            .map_err(failed)?;
        let known = match &of {
            Some(id) => self.store().platform(id).await.map_err(failed)?,
            None => None,
        };
        let known = match known {
            None => match &material {
                Some((_, hash)) => self
                    .store()
                    .platform_by_material(hash)
                    .await
                    .map_err(failed)?,
                None => None,
            },
            known => known,
        };
        if let Some(known) = &known
            && known
                .ppid_hash
                .as_ref()
                .is_some_and(|own| *own != ppid_hash)
        {
            let text = format!(
                "the list that came for platform {} is another platform's",
                known.id
            );
            return Err(PlatformRefusal::new(Cause::Untrusted, text).of(&known.id));
        }
        // The PPID decides; what was known by less turns out to be the same platform.
        let (before, merged) = match (by_ppid, known) {
            (Some(by_ppid), Some(known)) if by_ppid.id != known.id && known.ppid_hash.is_none() => {
                (Some(by_ppid), Some(known.id))
            }
            (Some(by_ppid), _) => (Some(by_ppid), None),
            (None, Some(known)) if known.ppid_hash.is_none() => (Some(known), None),
            (None, _) => (None, None),
        };
        let mut aliases = match &before {
            Some(row) => self.store().aliases(&row.id).await.map_err(failed)?,
            None => Vec::new(),
        };
        if let Some(merged) = &merged {
            aliases.extend(self.store().aliases(merged).await.map_err(failed)?);
        }
        let quarantined = judged
            .gaps
            .iter()
            .filter(|gap| gap.gap == Gap::Quarantined)
            .count();
        let state = if quarantined > 0 {
            PlatformState::Partial
        } else {
            PlatformState::Ready
        };
        let detail = format!(
            "{} certificates, {} levels not available, {quarantined} quarantined",
            judged.certificates.len(),
            judged.gaps.len() - quarantined
        );
        let mut row = before.clone().unwrap_or_else(|| PlatformRow {
            origin,
            ..new_row(&ppid_hash, pce_id, now)
        });
        let restated = row.state != state || row.detail != detail;
        if row.state != state {
            row.since = now;
        }
        row.pce_id = pce_id;
        row.ppid_hash = Some(ppid_hash);
        row.fmspc = Some(judged.fmspc);
        row.ca = Some(judged.ca);
        row.cached_keys = judged.cached_keys.or(row.cached_keys);
        row.state = state;
        row.cause = Cause::None;
        row.detail = detail;
        if let Some((material, hash)) = &material {
            self.seal_into(&mut row, material, hash);
        }
        self.seal_beside(
            &mut row,
            name.as_ref().and_then(|name| name.beside.as_ref()),
        );
        if fetched {
            row.fetched_number = self.collateral.highest_number(now);
            row.fetched = Some(now);
            row.due = Some(self.next_fetch(&row.id, now));
        }
        let known_before = match &before {
            Some(row) => {
                // History too: what an older list brings again is no news.
                let rows = self.store().pck_certificates(&row.id, true).await;
                rows.map_err(failed)?
            }
            None => Vec::new(),
        };
        let mut write = PlatformWrite::new(row);
        write.merged = merged;
        let authorities = judged
            .certificates
            .iter()
            .flat_map(|verified| verified.chain().certificates())
            .map(|certificate| (certificate.clone(), now))
            .collect::<Vec<_>>();
        write.certificates = judged
            .certificates
            .iter()
            .map(|verified| {
                let pem = verified.certificate().to_pem().into();
                NewPck::new(verified, pem, &source, now)
            })
            .collect();
        let fresh = write
            .certificates
            .iter()
            .filter(|new| known_before.iter().all(|old| old.digest != new.digest()))
            .count();
        let mut batch = Batch {
            certificates: unique(authorities),
            ..Batch::default()
        };
        // A certificate may be younger than the judgement on the CRL in force.
        if let Some(crl) = self.collateral.pck_crl(judged.ca)
            && let Content::Crl(list) = crl.content()
        {
            for (verified, new) in judged.certificates.iter().zip(&mut write.certificates) {
                let certificate = verified.certificate();
                let news = known_before
                    .iter()
                    .all(|old| old.digest != certificate.digest());
                if news && list.revokes(certificate.serial()) {
                    new.revoke(crl.issued());
                    let remark = super::keeping::revoked(
                        &write.platform.id,
                        certificate.digest(),
                        verified.tcbm(),
                        &crl,
                    );
                    batch
                        .events
                        .push(crate::admission::event(now, remark, None, None));
                    batch.pck_revoked.push((
                        write.platform.id.clone(),
                        certificate.digest(),
                        Some(crl.issued()),
                    ));
                }
            }
        }
        if before.is_none() || restated || fresh > 0 {
            let text = format!("{}; {fresh} new", write.platform.detail);
            write.timeline.push(TimelineRow {
                at: now,
                state,
                cause: Cause::None,
                text,
            });
        }
        if quarantined > 0 && restated {
            let why = judged
                .gaps
                .iter()
                .find(|gap| gap.gap == Gap::Quarantined)
                .map_or("", |gap| gap.why.as_str());
            let text = format!(
                "platform {}: {quarantined} certificates of its list are quarantined: {why}",
                write.platform.id
            );
            let remark = Remark::new("platform.partial", Severity::Alarm, text);
            batch
                .events
                .push(crate::admission::event(now, remark, None, None));
        }
        write.gaps = Some(judged.gaps);
        let id = write.platform.id.clone();
        if let Some(name) = name.filter(|name| !name.qe_id.is_zero()) {
            self.add_free_name(&mut write, name, &aliases, now).await?;
        }
        batch.platforms.push(write);
        Ok(Planned { id, batch })
    }

    async fn add_free_name(
        &self,
        write: &mut PlatformWrite,
        name: NewName,
        names: &[AliasRow],
        now: UnixTime,
    ) -> Result<(), PlatformRefusal> {
        let known = self
            .store()
            .alias(name.qe_id.as_str(), write.platform.pce_id)
            .await
            .map_err(|error| self.storage(&error))?;
        let free = known.is_none_or(|known| {
            known.platform == write.platform.id || Some(&known.platform) == write.merged.as_ref()
        });
        let weak = names.iter().filter(|name| !name.strong).count();
        if !free || (name.authority.is_none() && weak >= WEAK_NAMES) {
            return Ok(());
        }
        write.aliases.push(AliasRow {
            qe_id: name.qe_id.to_string(),
            pce_id: write.platform.pce_id,
            platform: write.platform.id.clone(),
            strong: name.authority.is_some(),
            since: now,
        });
        write.raw_tcbs.extend(name.raw_tcb.map(|tcb| NewRawTcb {
            qe_id: name.qe_id.to_string(),
            tcb,
            told: name.authority.is_some(),
            at: now,
        }));
        if let Some(authority) = &name.authority {
            write.timeline.push(TimelineRow {
                at: now,
                state: write.platform.state,
                cause: Cause::None,
                text: format!("registered by {}", authority.name),
            });
        }
        Ok(())
    }

    /// Puts the encrypted PPID that came beside a manifest into a platform's row: a GET may bring the very same.
    /// Where it came alone it is the material itself, sealed already, and stays as it is.
    pub(super) fn seal_beside(&self, row: &mut PlatformRow, beside: Option<&EncryptedPpid>) {
        if let Some(beside) = beside.filter(|beside| !beside.is_zero()) {
            let beside = Material::EncryptedPpid(beside.clone());
            let hash = self.material_hash(&beside);
            self.seal_into(row, &beside, &hash);
        }
    }

    /// Puts what a platform was registered with into its row, sealed; the same again is left as it is.
    pub(super) fn seal_into(&self, row: &mut PlatformRow, material: &Material, hash: &str) {
        let (known, slot, purpose, bytes) = match material {
            Material::EncryptedPpid(encrypted) => (
                &mut row.enc_ppid_hash,
                &mut row.enc_ppid,
                Purpose::EncryptedPpid,
                encrypted.bytes(),
            ),
            Material::Manifest(manifest) => (
                &mut row.manifest_hash,
                &mut row.manifest,
                Purpose::Manifest,
                manifest.bytes(),
            ),
        };
        // What cannot be opened any more (its key is lost) is sealed anew.
        let opens = slot
            .as_ref()
            .is_some_and(|sealed| self.sealer.unseal(purpose, &sealed.0).is_ok());
        if known.as_deref() == Some(hash) && opens {
            return;
        }
        *known = Some(hash.to_owned());
        *slot = Some(Sealed(self.sealer.seal(purpose, bytes)));
    }

    /// When to fetch a platform next: spread, so that a fleet registered in an hour does not come back in one.
    pub(super) fn next_fetch(&self, id: &str, now: UnixTime) -> UnixTime {
        let every = self.config.refetch.secs().max(3600);
        let spread = id.bytes().fold(0_i64, |sum, byte| {
            (sum * 31 + i64::from(byte)).rem_euclid(10_007)
        });
        now.plus_secs(every - every / 4 * spread / 10_007)
    }

    fn note_fetching(&self, platform: Option<&str>) -> Fetching<'_> {
        if let Some(id) = platform {
            self.fetching
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .insert(id.to_owned());
        }
        Fetching {
            platforms: self,
            id: platform.map(ToOwned::to_owned),
        }
    }
}

/// A list on its way into the register.
pub(super) struct Admission {
    pub judged: Judged,
    /// What it was fetched with, and its keyed hash.
    pub material: Option<(Material, String)>,
    pub pce_id: PceId,
    pub of: Option<String>,
    pub origin: PlatformOrigin,
    /// URL without secrets, or path.
    pub source: String,
    /// True where the vendor gave it just now.
    pub fetched: bool,
    pub at: UnixTime,
    pub name: Option<NewName>,
}

/// A list judged beside the register, and not written yet.
pub(super) struct Planned {
    pub id: String,
    pub batch: Batch,
}

/// Takes the note away, whatever became of the flight.
struct Fetching<'a> {
    platforms: &'a Platforms,
    id: Option<String>,
}

impl Drop for Fetching<'_> {
    fn drop(&mut self) {
        if let Some(id) = &self.id {
            self.platforms
                .fetching
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .remove(id);
        }
    }
}

fn unique(certificates: Vec<(Certificate, UnixTime)>) -> Vec<(Certificate, UnixTime)> {
    let mut unique: Vec<(Certificate, UnixTime)> = Vec::new();
    for (certificate, at) in certificates {
        if unique.iter().all(|(known, _)| *known != certificate) {
            unique.push((certificate, at));
        }
    }
    unique
}

/// What a vendor's no means (`spec/intel-pcs-and-pccs.md` section 4, Error-Codes; section 4.1).
pub(super) fn refusal_of(error: &FetchError, material: &Material) -> PlatformRefusal {
    let cause = match error {
        FetchError::Absent => match material {
            Material::EncryptedPpid(_) => Cause::NeedsManifest,
            Material::Manifest(_) => Cause::ManifestStale,
        },
        FetchError::Budget { .. } | FetchError::Throttled { .. } => Cause::VendorThrottled,
        FetchError::KeyRefused { .. } => Cause::ApiKeyRefused,
        FetchError::Refused { code, .. } => match code.as_deref() {
            Some("InvalidRegistrationServer") => Cause::PreProduction,
            Some("InvalidPlatformManifest" | "InvalidRequestSyntax") => Cause::ManifestMalformed,
            Some("CachedKeysPolicyViolation") => Cause::CachedKeysPolicy,
            Some("InvalidOrRevokedPackage" | "PackageNotFound" | "IncompatiblePackage") => {
                Cause::PackageRefused
            }
            _ => Cause::VendorRefused,
        },
        FetchError::Retired => Cause::VendorRefused,
        FetchError::Storage => Cause::Storage,
        FetchError::Unavailable { .. } => Cause::VendorUnavailable,
    };
    let retry_after_secs = match error {
        FetchError::Budget { retry_after_secs } | FetchError::Throttled { retry_after_secs } => {
            Some(*retry_after_secs)
        }
        FetchError::KeyRefused { .. } | FetchError::Storage | FetchError::Unavailable { .. } => {
            Some(RETRY_SECS)
        }
        FetchError::Absent | FetchError::Refused { .. } | FetchError::Retired => None,
    };
    PlatformRefusal {
        retry_after_secs,
        ..PlatformRefusal::new(cause, format!("the vendor: {error}"))
    }
}

/// Of several sources' failures, what says most: "none" only where all say so.
pub(super) const fn rank(cause: Cause) -> u8 {
    match cause {
        Cause::Storage => 6,
        Cause::Untrusted => 5,
        Cause::PreProduction
        | Cause::ManifestMalformed
        | Cause::CachedKeysPolicy
        | Cause::PackageRefused
        | Cause::VendorRefused
        | Cause::AllNotAvailable => 4,
        Cause::VendorThrottled => 3,
        Cause::ApiKeyRefused | Cause::VendorUnavailable | Cause::Busy => 2,
        Cause::ManifestStale | Cause::NeedsManifest => 1,
        Cause::CertificateRevoked
        | Cause::CollateralMissing
        | Cause::EncryptedPpidMissing
        | Cause::EncryptedPpidZero
        | Cause::GuestNotHost
        | Cause::None
        | Cause::QeIdTaken
        | Cause::QeIdUnknown
        | Cause::QeIdZero
        | Cause::Queued
        | Cause::TcbTooLow => 0,
    }
}

impl crate::collateral::Collateral {
    /// The highest evaluation number any list names; 0 without one.
    pub(crate) fn highest_number(&self, now: UnixTime) -> u32 {
        self.view()
            .lists
            .choose(Choice::Early, now)
            .map_or(0, |chosen| chosen.number)
    }

    /// Takes up issuing certificates that were stored with something else.
    pub(crate) fn learn_issuers(&self, certificates: Vec<(Certificate, UnixTime)>) {
        let known = self.issuers.load();
        if certificates
            .iter()
            .all(|(certificate, _)| known.knows(certificate) || certificate.is_self_issued())
        {
            return;
        }
        let mut issuers = thim_verify::Issuers::clone(&known);
        for (certificate, _) in certificates {
            // Verified with the list; a full table only means a signature check more next time.
            let _ = issuers.insert(certificate);
        }
        self.issuers.store(Arc::new(issuers));
    }
}

/// A chain has two certificates; each further one would cost a signature check.
const MAX_DELIVERED: usize = 8;
/// As long as a miss for collateral.
const MISS_PATIENCE: Duration = Duration::from_millis(9_500);
/// A vendor that is down is asked again after this many seconds.
const RETRY_SECS: i64 = 5;
/// Of a keyed hash, as a platform's id: 64 bits, so that two of a million platforms meet once in 37 million fleets.
pub(super) const ID_DIGITS: usize = 16;

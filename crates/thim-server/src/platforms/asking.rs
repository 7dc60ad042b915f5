//! The story of `GET pckcert`, top to bottom: what is ready, what the register knows, what the vendor has, and a
//! plain word for why there is nothing.
//!
//! An open GET changes little: it may make THIM fetch a platform that brings its encrypted PPID (fill mode `lazy`), in
//! which case the QE id becomes a weak name of what the vendor says; and a raw TCB is noted, a few a platform.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::HeaderValue;
use thim_verify::{
    Artefact, Content, Digest, Fmspc, PceId, PckCertificate, RawTcb, SelectionError, UnixTime,
    Verified, select_pck, verify_pck,
};

use super::answer::ReadyPck;
use super::fetching::{Fetch, Material, NewName};
use super::registration::{EncryptedPpid, Manifest, QeId};
use super::view::{Handle, PlatformView};
use super::{Cause, PlatformRefusal, PlatformState, Platforms, SeenPpid, Sighting};
use crate::collateral::Refusal;
use crate::sealing::Purpose;
use crate::store::{Batch, PlatformOrigin, PlatformRow, StoreError};
use crate::upstream::{Fill, Lane};

/// What a client asks for.
#[derive(Clone, Debug)]
pub struct PckAsk {
    /// By which name.
    pub qe_id: QeId,
    /// With which PCE.
    pub pce_id: PceId,
    /// What the platform has.
    pub raw_tcb: RawTcb,
    /// What tells the vendor which platform it is.
    pub encrypted_ppid: Option<EncryptedPpid>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Found {
    /// The certificate.
    pub ready: Arc<ReadyPck>,
    /// True where it was ready before the request came.
    pub hit: bool,
}

impl Platforms {
    /// The answer from memory: no disk, no waiting.
    pub fn peek(&self, ask: &PckAsk, now: UnixTime) -> Option<Found> {
        let view = self.views.get(&self.handle(ask)?)?;
        if !view.holds(self.epoch()) {
            return None;
        }
        let ready = view.answer(&ask.raw_tcb)?;
        ready.holds_at(now).then(|| Found {
            ready: Arc::clone(ready),
            hit: true,
        })
    }

    /// The answer from wherever it is to be had.
    pub async fn answer(
        self: &Arc<Self>,
        ask: &PckAsk,
        now: UnixTime,
    ) -> Result<Found, PlatformRefusal> {
        if let Some(found) = self.peek(ask, now) {
            return Ok(found);
        }
        let question = question(ask);
        if let Some((refusal, until)) = self.refusals.get(&question)
            && now < until
        {
            return Err(refusal);
        }
        let result = match self.view_for(ask, now).await {
            Ok(view) => self.choose(&view, ask, now).await,
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = &result {
            self.refusals.insert(
                question,
                (refusal.clone(), now.plus_secs(remembered_secs(refusal))),
            );
            self.sightings.insert(
                Handle {
                    name: ask.qe_id.to_string(),
                    pce_id: ask.pce_id,
                },
                Sighting {
                    at: now,
                    encrypted_ppid: SeenPpid::of(ask.encrypted_ppid.as_ref()),
                    raw_tcb: Some(ask.raw_tcb),
                    refusal: refusal.clone(),
                },
            );
        }
        result
    }

    /// Under which name a platform is looked up: never by an all-zero QE id.
    fn handle(&self, ask: &PckAsk) -> Option<Handle> {
        if !ask.qe_id.is_zero() {
            return Some(Handle {
                name: ask.qe_id.to_string(),
                pce_id: ask.pce_id,
            });
        }
        let encrypted = ask.encrypted_ppid.as_ref().filter(|one| !one.is_zero())?;
        Some(Handle {
            name: self
                .identity
                .keyed(Purpose::EncryptedPpid, encrypted.bytes()),
            pce_id: ask.pce_id,
        })
    }

    async fn view_for(
        self: &Arc<Self>,
        ask: &PckAsk,
        now: UnixTime,
    ) -> Result<Arc<PlatformView>, PlatformRefusal> {
        let handle = self.handle(ask);
        if let Some(handle) = &handle
            && let Some(view) = self.views.get(handle)
            && view.holds(self.epoch())
        {
            return Ok(view);
        }
        let failed = |error: StoreError| self.storage(&error);
        // Before the look-up: a name that moves meanwhile must not keep the view of whose it was.
        let generation = self.generation.load(Ordering::SeqCst);
        let row = match self.find(ask).await.map_err(failed)? {
            Some(row) => row,
            None => self.first_contact(ask, now).await?,
        };
        let view = match self.load(&row).await.map_err(failed)? {
            Some(view) => {
                self.keep_view(handle, &view, generation);
                return Ok(view);
            }
            None => self.without_certificates(ask, row, now).await?,
        };
        Ok(view)
    }

    fn keep_view(&self, handle: Option<Handle>, view: &Arc<PlatformView>, generation: u64) {
        let Some(handle) = handle else { return };
        self.views.insert(handle.clone(), Arc::clone(view));
        // What was read before a change of the register must not stay after it.
        if self.generation.load(Ordering::SeqCst) != generation {
            self.views.remove(&handle);
        }
    }

    /// The platform the register knows for this ask.
    pub(super) async fn find(&self, ask: &PckAsk) -> Result<Option<PlatformRow>, StoreError> {
        if !ask.qe_id.is_zero()
            && let Some(row) = self
                .store()
                .platform_by_alias(ask.qe_id.as_str(), ask.pce_id)
                .await?
        {
            return Ok(Some(row));
        }
        let Some(encrypted) = ask.encrypted_ppid.as_ref().filter(|one| !one.is_zero()) else {
            return Ok(None);
        };
        let hash = self
            .identity
            .keyed(Purpose::EncryptedPpid, encrypted.bytes());
        self.store().platform_by_material(&hash).await
    }

    /// A platform nobody has registered: with its encrypted PPID the vendor can tell (fill mode `lazy`).
    async fn first_contact(
        self: &Arc<Self>,
        ask: &PckAsk,
        now: UnixTime,
    ) -> Result<PlatformRow, PlatformRefusal> {
        let collateral = self.collateral();
        let encrypted = ask.encrypted_ppid.as_ref();
        let unreadable = encrypted.is_none_or(EncryptedPpid::is_zero);
        if ask.qe_id.is_zero() && unreadable {
            return Err(PlatformRefusal::new(
                Cause::QeIdZero,
                "an all-zero QE id names no platform, and no encrypted PPID says which it is",
            ));
        }
        if collateral.fill() != Fill::Lazy || !collateral.may_ask() {
            return Err(PlatformRefusal::new(
                Cause::QeIdUnknown,
                "no platform is registered under this QE id and PCE id, and nothing is fetched",
            ));
        }
        let Some(encrypted) = encrypted else {
            return Err(PlatformRefusal::new(
                Cause::EncryptedPpidMissing,
                "no platform is registered under this QE id and PCE id; encrypted_ppid is needed to ask the vendor",
            ));
        };
        if encrypted.is_zero() {
            return Err(PlatformRefusal::new(
                Cause::EncryptedPpidZero,
                "no platform is registered under this QE id and PCE id, and the encrypted PPID is all zeros",
            ));
        }
        let id = self
            .fetch_in_time(Fetch {
                material: Material::EncryptedPpid(encrypted.clone()),
                pce_id: ask.pce_id,
                of: None,
                origin: PlatformOrigin::Asked,
                lane: Lane::Miss,
                now,
                name: Some(NewName {
                    qe_id: ask.qe_id.clone(),
                    authority: None,
                    raw_tcb: None,
                    beside: None,
                }),
            })
            .await?;
        if !ask.qe_id.is_zero() {
            self.attach(&id, &ask.qe_id, ask.pce_id, None, now).await?;
        }
        match self.store().platform(&id).await {
            Ok(Some(row)) => Ok(row),
            Ok(None) => Err(PlatformRefusal::new(Cause::Busy, "it was just forgotten")),
            Err(error) => Err(self.storage(&error)),
        }
    }

    /// Registered, and the vendor was not asked yet or had nothing: it may be asked now.
    async fn without_certificates(
        self: &Arc<Self>,
        ask: &PckAsk,
        row: PlatformRow,
        now: UnixTime,
    ) -> Result<Arc<PlatformView>, PlatformRefusal> {
        let collateral = self.collateral();
        let known = PlatformRefusal::new(row.cause, row.detail.clone()).of(&row.id);
        let may_ask = collateral.fill() == Fill::Lazy
            && collateral.may_ask()
            // A vendor that was silent is asked whenever somebody waits; its breaker and its budget see to the rest.
            && (row.state == PlatformState::Waiting || row.due.is_none_or(|due| due <= now));
        let material = match self.material_of(&row).filter(|_| may_ask) {
            Some(material) => material,
            None => match ask.encrypted_ppid.as_ref().filter(|one| !one.is_zero()) {
                Some(encrypted) if may_ask => Material::EncryptedPpid(encrypted.clone()),
                _ => return Err(known),
            },
        };
        let id = self
            .fetch_in_time(Fetch {
                material,
                pce_id: row.pce_id,
                of: Some(row.id.clone()),
                origin: row.origin,
                lane: Lane::Miss,
                now,
                name: None,
            })
            .await;
        let id = match id {
            Ok(id) => id,
            Err(refusal) => {
                self.note_failure(&row.id, &refusal, now)
                    .await
                    .map_err(|error| self.storage(&error))?;
                return Err(refusal.of(&row.id));
            }
        };
        let failed = |error: StoreError| self.storage(&error);
        let row = self.store().platform(&id).await.map_err(failed)?;
        let Some(row) = row else { return Err(known) };
        match self.load(&row).await.map_err(failed)? {
            // Kept by whoever asks next.
            Some(view) => Ok(view),
            None => Err(known),
        }
    }

    /// What a platform can be fetched with, unsealed: the manifest first, since the vendor may have no keys.
    pub(super) fn material_of(&self, row: &PlatformRow) -> Option<Material> {
        let unseal = |purpose, sealed: &crate::store::Sealed| -> Option<Vec<u8>> {
            self.sealer
                .unseal(purpose, &sealed.0)
                .inspect_err(|error| {
                    tracing::error!(platform = row.id, error = %error, "a sealed secret cannot be opened");
                })
                .ok()
        };
        let manifest = row
            .manifest
            .as_ref()
            .and_then(|sealed| unseal(Purpose::Manifest, sealed))
            .and_then(|bytes| Manifest::from_bytes(bytes).ok())
            .map(Material::Manifest);
        manifest.or_else(|| {
            row.enc_ppid
                .as_ref()
                .and_then(|sealed| unseal(Purpose::EncryptedPpid, sealed))
                .and_then(|bytes| EncryptedPpid::from_bytes(&bytes).ok())
                .map(Material::EncryptedPpid)
        })
    }

    /// Reads a platform's certificates. `None`: it has none.
    async fn load(&self, row: &PlatformRow) -> Result<Option<Arc<PlatformView>>, StoreError> {
        let alive = self.alive(&row.id);
        let epoch = self.epoch();
        let certificates = self.store().pck_certificates(&row.id, false).await?;
        let Some(fmspc) = row.fmspc.filter(|_| !certificates.is_empty()) else {
            return Ok(None);
        };
        let view = PlatformView::new(row, fmspc, &certificates, epoch, alive);
        Ok(Some(Arc::new(view)))
    }

    /// Chooses the certificate for a raw TCB, by Intel's rule.
    async fn choose(
        self: &Arc<Self>,
        view: &Arc<PlatformView>,
        ask: &PckAsk,
        now: UnixTime,
    ) -> Result<Found, PlatformRefusal> {
        let raw = ask.raw_tcb;
        let refused = |cause, detail: String| PlatformRefusal::new(cause, detail).of(&view.id);
        let index = match view.choice(&raw) {
            Some(index) => index,
            None => {
                let levels = self
                    .levels_of(view.fmspc, now)
                    .await
                    .map_err(|refusal| collateral_missing(&refusal).of(&view.id))?;
                let Content::TcbInfo(tcb_info) = levels.content() else {
                    return Err(refused(Cause::CollateralMissing, "no TCB info".to_owned()));
                };
                let index = match select_pck(&raw, view.pce_id, &view.levels, tcb_info) {
                    Ok(index) => Some(index),
                    Err(SelectionError::NoneSuits { .. }) => None,
                    Err(error) => return Err(refused(Cause::CollateralMissing, error.to_string())),
                };
                if view.choose(raw, index) && index.is_some() && !self.collateral.is_read_only() {
                    let noted = self
                        .store()
                        .note_raw_tcb(&view.id, ask.qe_id.as_str(), raw, false, now)
                        .await;
                    if let Err(error) = noted {
                        // The answer is right all the same.
                        self.storage(&error);
                    }
                }
                index
            }
        };
        let Some(index) = index else {
            let text = format!(
                "the raw TCB {raw} is below all {} certificates of platform {}",
                view.levels.len(),
                view.id
            );
            return Err(refused(Cause::TcbTooLow, text));
        };
        // One whose chain has ended since may have another: a re-issued authority.
        let ready = match view.ready(index).filter(|ready| ready.holds_at(now)) {
            Some(ready) => Arc::clone(ready),
            None => self.prepare(view, index, now).await?,
        };
        if !ready.holds_at(now) {
            return Err(refused(
                Cause::Untrusted,
                "the certificate or its chain has expired".to_owned(),
            ));
        }
        Ok(Found { ready, hit: false })
    }

    /// The TCB info to choose by, kept for as long as the epoch lasts.
    async fn levels_of(
        self: &Arc<Self>,
        fmspc: Fmspc,
        now: UnixTime,
    ) -> Result<Arc<Verified<Artefact>>, Refusal> {
        let epoch = self.epoch();
        if let Some((known, levels)) = self.levels.get(&fmspc)
            && known == epoch
        {
            return Ok(levels);
        }
        let fetch = self.collateral.fill() == Fill::Lazy;
        let levels = Arc::new(self.collateral.selection_levels(fmspc, fetch, now).await?);
        self.levels.insert(fmspc, (epoch, Arc::clone(&levels)));
        Ok(levels)
    }

    /// Verifies a stored certificate again and prepares its answer: the store is not trusted on the way out.
    async fn prepare(
        &self,
        view: &PlatformView,
        index: usize,
        now: UnixTime,
    ) -> Result<Arc<ReadyPck>, PlatformRefusal> {
        let refused = |cause, detail: String| PlatformRefusal::new(cause, detail).of(&view.id);
        let Some((digest, tcbm)) = view.certificate(index) else {
            return Err(refused(Cause::Storage, "no such certificate".to_owned()));
        };
        let pem = self
            .store()
            .pck_pem(&view.id, digest)
            .await
            .map_err(|error| self.storage(&error))?
            .unwrap_or_default();
        let verified = self
            .verified(&pem, tcbm, now)
            .map_err(|error| match error {
                thim_verify::Error::PckRevoked { .. } => {
                    refused(Cause::CertificateRevoked, error.to_string())
                }
                error => refused(
                    Cause::Untrusted,
                    format!("a stored certificate does not verify: {error}"),
                ),
            })?;
        let (chain, chain_ends) = self.chain_header(&verified, now);
        let ready = Arc::new(ReadyPck::new(
            &verified,
            chain,
            chain_ends,
            view.fetched,
            self.config.max_age.secs().clamp(1, 86_400),
        ));
        view.keep(index, Arc::clone(&ready));
        Ok(ready)
    }

    pub(super) fn verified(
        &self,
        pem: &[u8],
        tcbm: RawTcb,
        now: UnixTime,
    ) -> Result<Verified<PckCertificate>, thim_verify::Error> {
        let collateral = &self.collateral;
        let certificate = thim_verify::Certificate::from_pem_bundle(pem)?
            .into_iter()
            .next()
            .ok_or_else(|| thim_verify::Error::Format {
                what: "stored PCK certificate".to_owned(),
                why: "it is gone".to_owned(),
            })?;
        let certificate = PckCertificate::from_certificate(certificate)?;
        if certificate.tcbm() != tcbm {
            return Err(thim_verify::Error::Format {
                what: "stored PCK certificate".to_owned(),
                why: "the row holds another one".to_owned(),
            });
        }
        let crl = collateral.pck_crl(certificate.ca());
        verify_pck(
            certificate,
            &[],
            &collateral.issuers.load(),
            collateral.root_crl.load().as_deref(),
            crl.as_deref(),
            now,
        )
    }

    /// The percent-encoded chain to serve, made once an issuing certificate, and when it ends.
    pub(super) fn chain_header(
        &self,
        verified: &Verified<PckCertificate>,
        now: UnixTime,
    ) -> (HeaderValue, UnixTime) {
        let chain = match verified.chain().holds_at(now) {
            Ok(()) => verified.chain().clone(),
            Err(_) => verified
                .chain()
                .reissue_valid_at(&self.collateral.issuers.load(), now)
                .unwrap_or_else(|| verified.chain().clone()),
        };
        let ends = chain
            .certificates()
            .iter()
            .map(|certificate| certificate.not_after())
            .min()
            .expect("a chain has its root");
        let issuer = chain
            .issuer()
            .map_or_else(|| chain.root().digest(), |issuer| issuer.digest());
        if let Some(header) = self.chains.get(&issuer) {
            return (header, ends);
        }
        let header = HeaderValue::from_str(&chain.to_header_value())
            .unwrap_or_else(|_| HeaderValue::from_static("invalid"));
        self.chains.insert(issuer, header.clone());
        (header, ends)
    }

    /// A platform was asked for in vain, and the vendor's word is worth keeping.
    pub(super) async fn note_failure(
        &self,
        id: &str,
        refusal: &PlatformRefusal,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        let _sealed = self.sealer.writing().await;
        let _one_at_a_time = self.admission.lock().await;
        let Some(mut row) = self.store().platform(id).await? else {
            return Ok(());
        };
        let same = row.cause == refusal.cause && row.due.is_some_and(|due| due > now);
        if same {
            // Said before, and not yet due again: nothing to write, however often somebody asks.
            return Ok(());
        }
        let write = self.failed(&mut row, refusal, now).await?;
        self.collateral
            .commit(&Batch {
                platforms: vec![write],
                ..Batch::default()
            })
            .await
    }
}

fn collateral_missing(refusal: &Refusal) -> PlatformRefusal {
    let (cause, retry_after_secs) = match refusal {
        Refusal::Busy { retry_after_secs } => (Cause::Busy, Some(*retry_after_secs)),
        Refusal::Storage => (Cause::Storage, Some(RETRY_SECS)),
        Refusal::Throttled {
            retry_after_secs, ..
        } => (Cause::VendorThrottled, Some(*retry_after_secs)),
        Refusal::Unavailable { .. } => (Cause::VendorUnavailable, Some(RETRY_SECS)),
        Refusal::Absent { .. }
        | Refusal::Expired { .. }
        | Refusal::NotHeld { .. }
        | Refusal::Retired { .. }
        | Refusal::Untrusted { .. }
        | Refusal::Version3 { .. } => (Cause::CollateralMissing, None),
    };
    PlatformRefusal {
        retry_after_secs,
        ..PlatformRefusal::new(cause, format!("the TCB info to choose by: {refusal}"))
    }
}

/// The whole of an ask, as a key.
fn question(ask: &PckAsk) -> Digest {
    let mut text = format!("{} {} {} ", ask.qe_id, ask.pce_id, ask.raw_tcb).into_bytes();
    if let Some(encrypted) = &ask.encrypted_ppid {
        text.extend_from_slice(encrypted.bytes());
    }
    Digest::of(&text)
}

/// How long to believe a refusal without looking again, in seconds; a change of the register ends all of them.
fn remembered_secs(refusal: &PlatformRefusal) -> i64 {
    match refusal.cause {
        Cause::Busy | Cause::Storage => 1,
        Cause::VendorThrottled => refusal.retry_after_secs.unwrap_or(RETRY_SECS).min(60),
        Cause::ApiKeyRefused | Cause::VendorUnavailable | Cause::Untrusted => RETRY_SECS,
        Cause::AllNotAvailable
        | Cause::ManifestMalformed
        | Cause::ManifestStale
        | Cause::NeedsManifest
        | Cause::PackageRefused
        | Cause::PreProduction
        | Cause::CachedKeysPolicy
        | Cause::VendorRefused => 60,
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
        | Cause::TcbTooLow => 2,
    }
}

/// A vendor or store that failed is tried again after this many seconds.
const RETRY_SECS: i64 = 5;

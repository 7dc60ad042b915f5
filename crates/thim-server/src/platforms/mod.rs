//! Platforms: who they are, what the vendor says of them, and which certificate a raw TCB gets.
//!
//! `asking` is the story of `GET pckcert`, `registering` that of a registration, `fetching` what both need of the
//! vendor, `keeping` what happens while nobody asks: fetching again after a TCB recovery, revocations.
//!
//! Identity. A platform is its PPID, known by a keyed hash once a certificate shows it; before that by the encrypted
//! PPID or manifest it was registered with. QE ID and PCE ID are names it is asked for by. An all-zero QE ID is none.
//! Secrets (manifests, encrypted PPIDs) are sealed before they reach the store and unsealed only for a call upstream,
//! an administrator's list, or a new key.

mod answer;
mod asking;
mod cause;
mod delivering;
pub mod delivery;
mod direct;
pub mod doctor;
mod export;
mod fetching;
mod handover;
mod importing;
mod keeping;
mod list;
mod listing;
mod overview;
pub mod policy;
mod quoted;
mod refreshing;
mod registering;
pub mod registration;
mod seen;
mod view;
mod waiting;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use http::HeaderValue;
use quick_cache::sync::Cache;
use serde::Deserialize;
use thim_verify::{Artefact, Digest, Fmspc, RawTcb, UnixTime, Verified};

pub use answer::{PckShape, ReadyPck, ServedPck};
pub use asking::{Found, PckAsk};
pub use cause::{Cause, PlatformState};
pub use delivering::DeliveryRefused;
pub use handover::{Handed, Handover};
pub use importing::Imported;
pub use keeping::Round;
pub use listing::Listed;
pub use overview::{UnknownForm, Which, is_id};
pub use refreshing::RefreshRefused;
pub use registering::{Authority, Registered, Updates};
pub use seen::SeenInQuote;

use crate::collateral::Collateral;
use crate::duration::Span;
use crate::flight::Flights;
use crate::sealing::{IdentityKey, Sealer};
use crate::store::{Store, StoreError};
use view::{Handle, PlatformView};

/// `[platforms]`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Platforms kept ready in memory, some 4 KB each; the others are answered from the store. Default 20000.
    pub ready: usize,
    /// How long clients may keep a PCK certificate, 24 h at most. Default 1 h.
    pub max_age: Span,
    /// How often a platform's certificates are fetched again, beside TCB recoveries, which make it due at once. Default 7 d.
    pub refetch: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ready: 20_000,
            max_age: Span::from_secs(3600),
            refetch: Span::from_secs(7 * 24 * 3600),
        }
    }
}

/// The register of platforms, and what is needed to answer for them.
pub struct Platforms {
    collateral: Arc<Collateral>,
    sealer: Arc<Sealer>,
    identity: Arc<IdentityKey>,
    config: Config,
    // What is judged beside the register must be judged beside all of it.
    admission: tokio::sync::Mutex<()>,
    views: Cache<Handle, Arc<PlatformView>>,
    // Rises with every change of the register: a view that was read before one is not kept after it.
    generation: AtomicU64,
    // Whether what views say of a platform still holds. One flag for all views of it, by whatever they are asked.
    alive: std::sync::Mutex<HashMap<String, Weak<AtomicBool>>>,
    levels: Cache<Fmspc, (u64, Arc<Verified<Artefact>>)>,
    chains: Cache<Digest, HeaderValue>,
    // By platform: whole lists, each of one generation of the register and one epoch.
    lists: Cache<String, (u64, u64, Arc<listing::ListedParts>)>,
    refusals: Cache<Digest, (PlatformRefusal, UnixTime)>,
    sightings: Cache<Handle, Sighting>,
    refused_registrations: Cache<Handle, Sighting>,
    flights: Flights<String, PlatformRefusal>,
    landed: Cache<String, String>,
    fetching: std::sync::Mutex<std::collections::HashSet<String>>,
    highest_number: AtomicU32,
    counted: AtomicI64,
    judged_crls: [std::sync::Mutex<Option<Digest>>; 2],
}

/// Why there is no answer about a platform.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{cause}: {detail}")]
pub struct PlatformRefusal {
    /// In one word.
    pub cause: Cause,
    /// In a sentence, without secrets.
    pub detail: String,
    /// Seconds until it is worth asking again, where that helps.
    pub retry_after_secs: Option<i64>,
    /// Which platform, where one is known.
    pub platform: Option<String>,
}

impl PlatformRefusal {
    pub(crate) fn new(cause: Cause, detail: impl Into<String>) -> Self {
        Self {
            cause,
            detail: detail.into(),
            retry_after_secs: None,
            platform: None,
        }
    }

    pub(crate) fn of(self, platform: &str) -> Self {
        Self {
            platform: Some(platform.to_owned()),
            ..self
        }
    }
}

/// How somebody asked for a platform lately, or tried to register it, in vain; for the doctor, in memory only.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sighting {
    /// When.
    pub at: UnixTime,
    /// What came as encrypted PPID.
    pub encrypted_ppid: SeenPpid,
    /// What it said it runs.
    pub raw_tcb: Option<RawTcb>,
    /// What came of it.
    pub refusal: PlatformRefusal,
}

/// What came as encrypted PPID.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SeenPpid {
    /// Nothing.
    Absent,
    /// Something.
    Given,
    /// Zeros.
    Zero,
}

impl SeenPpid {
    fn of(encrypted: Option<&registration::EncryptedPpid>) -> Self {
        match encrypted {
            None => Self::Absent,
            Some(encrypted) if encrypted.is_zero() => Self::Zero,
            Some(_) => Self::Given,
        }
    }
}

impl Platforms {
    /// The register over a keeper's store.
    pub fn new(
        collateral: Arc<Collateral>,
        sealer: Arc<Sealer>,
        identity: Arc<IdentityKey>,
        config: Config,
    ) -> Arc<Self> {
        Arc::new(Self {
            // Its shards do not fill up alike.
            views: Cache::new(config.ready.max(1) + config.ready / 8 + 64),
            collateral,
            sealer,
            identity,
            config,
            admission: tokio::sync::Mutex::default(),
            generation: AtomicU64::new(0),
            alive: std::sync::Mutex::default(),
            levels: Cache::new(FMSPCS),
            chains: Cache::new(CHAINS),
            lists: Cache::new(listing::LISTS),
            refusals: Cache::new(REMEMBERED),
            sightings: Cache::new(REMEMBERED),
            refused_registrations: Cache::new(REMEMBERED),
            flights: Flights::default(),
            landed: Cache::new(REMEMBERED),
            fetching: std::sync::Mutex::default(),
            highest_number: AtomicU32::new(0),
            counted: AtomicI64::new(i64::MIN / 2),
            judged_crls: Default::default(),
        })
    }

    /// The keeper of collateral beside it.
    pub fn collateral(&self) -> &Arc<Collateral> {
        &self.collateral
    }

    /// The store, for reading.
    pub fn store(&self) -> &Store {
        self.collateral.store()
    }

    /// What seals and unseals.
    pub fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    /// How somebody asked for these lately, where that was in vain.
    pub fn sighting(
        &self,
        qe_id: &registration::QeId,
        pce_id: thim_verify::PceId,
    ) -> Option<Sighting> {
        self.sightings.get(&Handle {
            name: qe_id.to_string(),
            pce_id,
        })
    }

    /// True while a flight is asking the vendor about this platform.
    pub fn is_fetching(&self, platform: &str) -> bool {
        self.fetching
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .contains(platform)
    }

    fn epoch(&self) -> u64 {
        self.collateral.selection_epoch.load(Ordering::SeqCst)
    }

    /// Lets nobody be answered from what was known of these platforms before a change. No disk, no waiting, no failure:
    /// it is called right after a commit, and a caller who went away has not gone in between.
    fn invalidate<'a>(&self, platforms: impl IntoIterator<Item = &'a str>) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        {
            let mut alive = self
                .alive
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            for platform in platforms {
                if let Some(flag) = alive.remove(platform).and_then(|flag| flag.upgrade()) {
                    flag.store(false, Ordering::SeqCst);
                }
            }
        }
        self.refusals.clear();
    }

    /// Invalidates these when it goes out of scope: at the end of the change, or when the caller hangs up in the middle.
    fn changing(&self, platforms: Vec<String>) -> Changing<'_> {
        Changing {
            register: self,
            platforms,
        }
    }

    /// The flag of a platform's views, true until the platform changes. To be had before what the views say is read.
    fn alive(&self, platform: &str) -> Arc<AtomicBool> {
        let mut alive = self
            .alive
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(flag) = alive.get(platform).and_then(Weak::upgrade) {
            return flag;
        }
        // Views that went out of memory leave their flags behind.
        if alive.len() > 2 * self.config.ready + 1024 {
            alive.retain(|_, flag| flag.strong_count() > 0);
        }
        let flag = Arc::new(AtomicBool::new(true));
        alive.insert(platform.to_owned(), Arc::downgrade(&flag));
        flag
    }

    /// Forgets a platform: names, certificates, story and secrets. False where there is none.
    pub async fn forget(&self, id: &str, by: &str, now: UnixTime) -> Result<bool, StoreError> {
        let _one_at_a_time = self.admission.lock().await;
        let hashes = self.store().platform(id).await?;
        let changing = self.changing(vec![id.to_owned()]);
        if !self.store().forget_platform(id).await? {
            return Ok(false);
        }
        drop(changing);
        for name in hashes
            .iter()
            .flat_map(|row| [&row.enc_ppid_hash, &row.manifest_hash])
            .flatten()
        {
            self.landed.remove(name);
        }
        self.tell(
            "platform.forgotten",
            crate::sentinel::Severity::Warning,
            format!("platform {id} is forgotten, by {by}"),
            now,
        )
        .await?;
        Ok(true)
    }

    async fn tell(
        &self,
        name: &'static str,
        severity: crate::sentinel::Severity,
        text: String,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        let remark = crate::sentinel::Remark::new(name, severity, text);
        self.collateral
            .record(vec![crate::admission::event(now, remark, None, None)])
            .await
    }

    fn storage(&self, error: &StoreError) -> PlatformRefusal {
        self.collateral.metrics().store_failed();
        tracing::error!(error = %error, "the store failed; what is published stays");
        PlatformRefusal {
            retry_after_secs: Some(RETRY_SECS),
            ..PlatformRefusal::new(Cause::Storage, "the store cannot be read or written")
        }
    }
}

/// A change of some platforms, on its way into the store.
struct Changing<'a> {
    register: &'a Platforms,
    platforms: Vec<String>,
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.register
            .invalidate(self.platforms.iter().map(String::as_str));
    }
}

/// Intel has some 50 families; twice that and more.
const FMSPCS: usize = 256;
/// Issuing certificates whose chain is prepared.
const CHAINS: usize = 64;
/// Refusals, sightings and landings remembered; a flood pushes out only its own.
const REMEMBERED: usize = 4096;
/// A store that failed is tried again after this many seconds.
const RETRY_SECS: i64 = 5;

//! The story of a request for collateral, top to bottom: choose the number, look at what is published, look
//! into the store, ask an upstream, and say plainly why there is nothing. The other half of the story, how a
//! document comes to be published, is in `admission`.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};
use thim_verify::amd::{Anchors, builtin_chain};
use thim_verify::{
    Artefact, ArtefactKey, Content, Digest, Fmspc, Issuers, Kind, PckCa, Tee, TrustAnchors,
    UnixTime, Verified, parse,
};

use crate::admission::{Offer, Refused};
use crate::baseline::Choice;
use crate::clock::Clock;
use crate::flight::Flights;
use crate::freshness::{self, Freshness};
use crate::metrics::Metrics;
use crate::proof::AmdTrust;
use crate::ready::Ready;
use crate::sentinel;
use crate::store::{Store, StoreError};
use crate::upstream::{AmdConfig, ConfigError, FetchError, Fill, Intel, Kds};
use crate::view::{Published, Resolved, Subject, View};

/// The keeper of collateral: store, published view, upstreams.
pub struct Collateral {
    pub(crate) store: Arc<Store>,
    pub(crate) published: Published,
    pub(crate) issuers: ArcSwap<Issuers>,
    pub(crate) root_crl: ArcSwapOption<Verified<Artefact>>,
    // The PCK CRLs in force, in the order of `PckCa::ALL`.
    pub(crate) pck_crls: [ArcSwapOption<Verified<Artefact>>; 2],
    // Rises whenever what the choice of a PCK certificate rests on has changed: a TCB info, a PCK CRL's entries.
    pub(crate) selection_epoch: AtomicU64,
    pub(crate) amd: AmdTrust,
    // Rises whenever what certificates of chips are judged by has changed: a chain, a list's entries.
    pub(crate) endorsement_epoch: AtomicU64,
    // One admission at a time: what is judged against a history must be judged against all of it.
    pub(crate) admission: tokio::sync::Mutex<()>,
    pub(crate) held: Mutex<BTreeSet<ArtefactKey>>,
    pub(crate) cadence_noted: Mutex<BTreeSet<thim_verify::Digest>>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) flights: Flights<Ask, Refusal>,
    pub(crate) backoff: crate::refresh::Backoff,
    pub(crate) fmspcs: ArcSwapOption<(UnixTime, bytes::Bytes)>,
    // Evaluation numbers that baselines need, now or soon: what the refresh keeps beside what is held.
    wanted_numbers: ArcSwap<BTreeSet<u32>>,
    intel: Intel,
    kds: Kds,
    fill: Fill,
    amd_fill: Fill,
    freshness: freshness::Config,
    sentinel: sentinel::Config,
    read_only: bool,
}

/// What the keeper is made of.
pub struct Settings<'a> {
    /// Where the store is.
    pub data: &'a Path,
    /// Intel's trusted roots.
    pub anchors: TrustAnchors,
    /// AMD's trusted roots.
    pub amd_anchors: Anchors,
    /// Intel's upstreams.
    pub intel: &'a crate::upstream::Config,
    /// AMD's upstreams.
    pub amd: &'a AmdConfig,
    /// Polls, ages and graces.
    pub freshness: freshness::Config,
    /// Holds.
    pub sentinel: sentinel::Config,
    /// For the upstream edge.
    pub clock: Clock,
    /// True where the clock was chosen by hand: an instant before the newest admission then makes a
    /// read-only view; a system clock that is behind is only warned of.
    pub view_past: bool,
}

/// Why the keeper could not start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A wrong configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a caller wants.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Ask {
    /// A list or a CRL.
    Artefact(ArtefactKey),
    /// The FMSPCs the vendor knows.
    Fmspcs,
    /// An identity or TCB info, under a number.
    Subject(Subject, Choice),
}

impl Ask {
    /// Whether AMD is the one to ask.
    pub fn is_amd(self) -> bool {
        matches!(self, Self::Artefact(key) if key.kind().vendor() == "amd")
    }
}

/// An edition to serve.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The prepared response.
    pub ready: Arc<Ready>,
    /// How fresh it is.
    pub freshness: Freshness,
    /// True where it was published before the request came.
    pub hit: bool,
    /// How its number was chosen, where it has one.
    pub resolved: Option<Resolved>,
}

/// Why there is nothing to serve.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The vendor has none.
    #[error("the vendor has none for {what}")]
    Absent {
        /// What was asked for.
        what: String,
    },
    /// Too much is being fetched at once.
    #[error("too many fetches at once")]
    Busy {
        /// Seconds.
        retry_after_secs: i64,
    },
    /// What is held ended too long ago, and nothing newer is to be had.
    #[error("{what} is expired since {since}; {why}")]
    Expired {
        /// What was asked for.
        what: String,
        /// Its next update.
        since: UnixTime,
        /// Why there is nothing newer.
        why: String,
        /// True where nobody is to be asked.
        offline: bool,
    },
    /// Not in the store, and nobody is to be asked.
    #[error("{what} is not held, and nothing is fetched: {why}")]
    NotHeld {
        /// What was asked for.
        what: String,
        /// Why nobody is asked.
        why: &'static str,
    },
    /// The vendor has withdrawn the number.
    #[error("{what} is withdrawn by the vendor")]
    Retired {
        /// What was asked for.
        what: String,
    },
    /// The store failed.
    #[error("the store cannot be read or written")]
    Storage,
    /// The upstream wants to be left alone, or our budget for it is used up.
    #[error("{what}: {why}")]
    Throttled {
        /// What was asked for.
        what: String,
        /// Whose wish it is.
        why: String,
        /// Seconds.
        retry_after_secs: i64,
    },
    /// No upstream answers.
    #[error("{what} is not held, and no upstream answers: {why}")]
    Unavailable {
        /// What was asked for.
        what: String,
        /// What happened.
        why: String,
    },
    /// Every upstream's answer was refused.
    #[error("{what}: the upstream's answer is refused: {why}")]
    Untrusted {
        /// What was asked for.
        what: String,
        /// Why.
        why: String,
    },
    /// API version 3 is over at Intel, so nothing can be fetched for it.
    #[error("{what} is not held, and Intel's API version 3 has ended")]
    Version3 {
        /// What was asked for.
        what: String,
    },
}

impl Collateral {
    /// Opens the store, learns what is needed to answer, and publishes nothing yet: editions are verified
    /// again and published when first asked for, so that a start with many of them is fast.
    pub async fn open(
        settings: Settings<'_>,
        metrics: impl FnOnce(&[String]) -> Metrics,
    ) -> Result<Arc<Self>, OpenError> {
        let now = settings.clock.now();
        let store = Arc::new(
            Store::open(
                settings.data,
                fingerprint(&settings.anchors, &settings.amd_anchors),
            )
            .await?,
        );
        let newest = store.newest_admission().await?;
        let behind = newest.filter(|newest| now < *newest);
        let intel = Intel::new(settings.intel, &store, &settings.clock)?;
        let kds = Kds::new(settings.amd, &store, &settings.clock)?;
        let sources = intel.all().chain(kds.sources());
        let names: Vec<String> = sources.map(|source| source.name().to_owned()).collect();
        let collateral = Self {
            store,
            published: Published::default(),
            issuers: ArcSwap::from_pointee(Issuers::new(settings.anchors)),
            root_crl: ArcSwapOption::empty(),
            pck_crls: Default::default(),
            selection_epoch: AtomicU64::new(0),
            amd: AmdTrust::new(settings.amd_anchors),
            endorsement_epoch: AtomicU64::new(0),
            admission: tokio::sync::Mutex::default(),
            held: Mutex::default(),
            cadence_noted: Mutex::default(),
            metrics: Arc::new(metrics(&names)),
            flights: Flights::default(),
            backoff: crate::refresh::Backoff::default(),
            fmspcs: ArcSwapOption::empty(),
            wanted_numbers: ArcSwap::default(),
            fill: settings.intel.fill,
            read_only: settings.view_past && behind.is_some(),
            intel,
            kds,
            amd_fill: settings.amd.fill,
            freshness: settings.freshness,
            sentinel: settings.sentinel,
        };
        collateral.learn(now).await?;
        if let Some(newest) = behind {
            tracing::warn!(clock = %now, newest_admission = %newest, read_only = collateral.read_only,
                "the clock is behind the newest admission of the store");
        }
        Ok(Arc::new(collateral))
    }

    /// The answer at `now` from what is published: no lock, no disk, no waiting.
    pub fn peek(&self, ask: Ask, now: UnixTime) -> Option<Answer> {
        let view = self.published.load();
        let (key, resolved) = locate(&view, ask, now)?;
        let ready = view.ready.get(&key)?;
        let freshness = ready.freshness(now)?;
        Some(Answer {
            ready: Arc::clone(ready),
            freshness,
            hit: true,
            resolved,
        })
    }

    /// The answer at `now`, from wherever it is to be had.
    pub async fn answer(self: &Arc<Self>, ask: Ask, now: UnixTime) -> Result<Answer, Refusal> {
        if let Some(answer) = self.peek(ask, now) {
            return Ok(answer);
        }
        if let Some(answer) = self.look_up(ask, now).await? {
            return Ok(answer);
        }
        if let Some(failure) = self.flights.recent_failure(&ask, now) {
            return Err(failure);
        }
        let refusal = match self.may_fetch(ask) {
            Err(refusal) => refusal,
            Ok(()) => match self.fetch_in_time(ask, now).await {
                Ok(()) => match self.peek(ask, now) {
                    Some(answer) => {
                        return Ok(Answer {
                            hit: false,
                            ..answer
                        });
                    }
                    // What came is not what this ask resolves to now; only a moving list does that.
                    None => Refusal::Busy {
                        retry_after_secs: 1,
                    },
                },
                Err(refusal) => refusal,
            },
        };
        let refusal = self.explain(ask, refusal, now).await?;
        let now_or_later = now.plus_secs(refusal.remembered_secs());
        self.flights.remember(ask, refusal.clone(), now_or_later);
        Err(refusal)
    }

    /// Publishes what the store has for this ask, if it may be served.
    pub(crate) async fn look_up(&self, ask: Ask, now: UnixTime) -> Result<Option<Answer>, Refusal> {
        let Some((key, resolved)) = locate(&self.published.load(), ask, now) else {
            return Ok(None);
        };
        if self.published.load().ready.contains_key(&key) {
            // Published, and peek found it past its time.
            return Ok(None);
        }
        let published = match self.publish(key, now).await {
            Ok(None) if self.plant(key, now).await? => self.publish(key, now).await,
            other => other,
        };
        let Some(ready) = published.map_err(|error| self.storage(&error))? else {
            return Ok(None);
        };
        Ok(ready.freshness(now).map(|freshness| Answer {
            ready,
            freshness,
            hit: false,
            resolved,
        }))
    }

    /// Admits the chain of AMD's that came with this program, where none was ever held: it is the key server's own file,
    /// and so a first chip needs no key server for it. False where there is nothing to plant.
    async fn plant(&self, key: ArtefactKey, now: UnixTime) -> Result<bool, Refusal> {
        let ArtefactKey::AmdCertChain { product, kind } = key else {
            return Ok(false);
        };
        if self.read_only || !self.amd.anchors().is_builtin() {
            return Ok(false);
        }
        let Some(chain) = builtin_chain(product, kind) else {
            return Ok(false);
        };
        let held = self.store.editions_of(key).await;
        if !held.map_err(|error| self.storage(&error))?.is_empty() {
            return Ok(false);
        }
        let Ok(unverified) = parse(chain) else {
            return Ok(false);
        };
        let offer = Offer {
            unverified,
            delivered: &[],
            origin: sentinel::Origin::Import,
            source: "built in",
            called: None,
            at: now,
        };
        match self.offer(offer).await {
            Ok(_) => Ok(true),
            Err(Refused::Store(error)) => Err(self.storage(&error)),
            Err(refused @ (Refused::Future(_) | Refused::Judged(_) | Refused::Unverified(_))) => {
                tracing::warn!(error = %refused, "the built-in chain is not admitted");
                Ok(false)
            }
        }
    }

    pub(crate) fn may_fetch(&self, ask: Ask) -> Result<(), Refusal> {
        let what = describe(ask);
        if let Ask::Subject(Subject::TcbInfo { version: 2, .. }, _) = ask {
            return Err(if self.fill == Fill::Lazy {
                Refusal::Version3 { what }
            } else {
                Refusal::NotHeld {
                    what,
                    why: "no version 2 is imported",
                }
            });
        }
        let (fill, nobody) = if ask.is_amd() {
            (self.amd_fill, self.kds.is_empty())
        } else {
            (self.fill, self.intel.is_empty())
        };
        match self.why_not_asked(fill, nobody) {
            None => Ok(()),
            Some(why) => Err(Refusal::NotHeld { what, why }),
        }
    }

    /// Why a miss is not fetched, if it is not.
    fn why_not_asked(&self, fill: Fill, nobody: bool) -> Option<&'static str> {
        if self.read_only {
            Some("this is a read-only view of the past")
        } else if fill != Fill::Lazy {
            Some("the fill mode is not lazy")
        } else if nobody {
            Some("no upstream is configured")
        } else {
            None
        }
    }

    /// Adds to a refusal what the store knows: an edition that ended is worth saying.
    async fn explain(&self, ask: Ask, refusal: Refusal, now: UnixTime) -> Result<Refusal, Refusal> {
        let Some((key, resolved)) = locate(&self.published.load(), ask, now) else {
            return Ok(refusal);
        };
        let fill = if ask.is_amd() {
            self.amd_fill
        } else {
            self.fill
        };
        let offline = fill == Fill::Offline;
        let editions = self
            .store
            .editions_of(key)
            .await
            .map_err(|error| self.storage(&error))?;
        let ended = editions
            .iter()
            .filter(|row| {
                matches!(
                    row.state,
                    sentinel::State::Current | sentinel::State::Archived
                ) && row.issued <= now
            })
            .max_by_key(|row| row.issued);
        let what = match (resolved, ask) {
            (Some(resolved), Ask::Subject(_, Choice::Standard)) if !resolved.without_list => {
                format!("{key} (standard is {})", resolved.number)
            }
            _ => key.to_string(),
        };
        // That the vendor withdrew it is why it ended, and no other source has it.
        let is_retired = matches!(refusal, Refusal::Retired { .. });
        Ok(match ended {
            Some(row) if now >= row.next_update && !is_retired => Refusal::Expired {
                what,
                since: row.next_update,
                why: refusal.briefly(),
                offline,
            },
            _ => refusal.about(what),
        })
    }

    /// Is this a view of the past that admits nothing?
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// How misses are filled.
    pub fn fill(&self) -> Fill {
        self.fill
    }

    /// AMD's roots, and what is in force under them.
    pub fn amd(&self) -> &AmdTrust {
        &self.amd
    }

    /// Intel's trusted roots.
    pub fn anchors(&self) -> TrustAnchors {
        self.issuers.load().anchors().clone()
    }

    /// The store, for reading.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The view in force.
    pub fn view(&self) -> arc_swap::Guard<Arc<View>> {
        self.published.load()
    }

    /// The series.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The sources.
    pub fn intel(&self) -> &Intel {
        &self.intel
    }

    /// AMD's sources.
    pub fn kds(&self) -> &Kds {
        &self.kds
    }

    /// How AMD's misses are filled.
    pub fn amd_fill(&self) -> Fill {
        self.amd_fill
    }

    /// Why a certificate of a chip that is missed is not fetched, if it is not.
    pub(crate) fn why_no_vcek_is_asked(&self) -> Option<&'static str> {
        self.why_not_asked(self.amd_fill, self.kds.is_empty())
    }

    /// As [`Collateral::may_ask`], of AMD.
    pub(crate) fn may_ask_amd(&self) -> bool {
        self.amd_fill != Fill::Offline && !self.read_only && !self.kds.is_empty()
    }

    /// The settings of a kind.
    pub fn policy(&self, kind: Kind) -> freshness::KindPolicy {
        self.freshness.of(kind)
    }

    pub(crate) fn sentinel_policy(&self, kind: Kind) -> sentinel::Policy {
        sentinel::Policy {
            hold_secs: self.sentinel.hold.secs(),
            serve_expired: self.policy(kind).serve_expired,
        }
    }

    pub(crate) fn storage(&self, error: &StoreError) -> Refusal {
        self.metrics.store_failed();
        tracing::error!(error = %error, "the store failed; what is published stays");
        Refusal::Storage
    }

    /// The PCK CRL in force of an authority. An expired one still revokes what it revokes.
    pub(crate) fn pck_crl(&self, ca: PckCa) -> Option<Arc<Verified<Artefact>>> {
        self.pck_crls[ca as usize].load_full()
    }

    /// Whether the vendor may be asked at all: in the background, and on somebody's word. On a miss only where the fill
    /// mode is `lazy` too.
    pub(crate) fn may_ask(&self) -> bool {
        self.fill != Fill::Offline && !self.read_only && !self.intel.is_empty()
    }

    /// As [`Collateral::answer`], on somebody's word: also where misses are not fetched (`fill = "req"`).
    pub(crate) async fn provide(
        self: &Arc<Self>,
        ask: Ask,
        now: UnixTime,
    ) -> Result<Answer, Refusal> {
        if self.fill == Fill::Lazy || !self.may_ask() {
            return self.answer(ask, now).await;
        }
        if let Some(answer) = self.peek(ask, now) {
            return Ok(answer);
        }
        if let Some(answer) = self.look_up(ask, now).await? {
            return Ok(answer);
        }
        // That nobody was asked for those who only look is no failure.
        if let Some(failure) = self.flights.recent_failure(&ask, now)
            && !matches!(failure, Refusal::NotHeld { .. })
        {
            return Err(failure);
        }
        self.fetch_in_time(ask, now).await?;
        self.peek(ask, now).ok_or(Refusal::Busy {
            retry_after_secs: 1,
        })
    }

    /// The SGX TCB info that PCK certificates are chosen by: the early one, else the standard one, as PCCS does.
    /// With `fetch` it is fetched where it is missing.
    pub(crate) async fn selection_levels(
        self: &Arc<Self>,
        fmspc: Fmspc,
        fetch: bool,
        now: UnixTime,
    ) -> Result<Verified<Artefact>, Refusal> {
        let subject = Subject::TcbInfo {
            tee: Tee::Sgx,
            version: 3,
            fmspc,
        };
        let mut refusal = None;
        for choice in [Choice::Early, Choice::Standard] {
            let ask = Ask::Subject(subject, choice);
            let found = if fetch {
                self.provide(ask, now).await
            } else {
                match self.peek(ask, now) {
                    Some(answer) => Ok(answer),
                    None => self
                        .look_up(ask, now)
                        .await?
                        .ok_or_else(|| Refusal::NotHeld {
                            what: describe(ask),
                            why: "it was not fetched",
                        }),
                }
            };
            match found {
                Ok(answer) => match self.verified_again(answer.ready.key, now).await {
                    Ok(Some(verified)) => return Ok(verified),
                    Ok(None) => {}
                    Err(error) => return Err(self.storage(&error)),
                },
                Err(error) => refusal = Some(error),
            }
        }
        Err(refusal.unwrap_or(Refusal::Busy {
            retry_after_secs: 1,
        }))
    }

    /// Says which evaluation numbers baselines need.
    pub(crate) fn want_numbers(&self, numbers: BTreeSet<u32>) {
        if **self.wanted_numbers.load() != numbers {
            self.wanted_numbers.store(Arc::new(numbers));
        }
    }

    /// The evaluation numbers that baselines need.
    pub(crate) fn wanted_numbers(&self) -> Arc<BTreeSet<u32>> {
        self.wanted_numbers.load_full()
    }

    /// How many keys have something held back.
    pub fn held_keys(&self) -> BTreeSet<ArtefactKey> {
        self.held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// What a store belongs to. AMD's own roots leave it as it was before there were any.
fn fingerprint(intel: &TrustAnchors, amd: &Anchors) -> Digest {
    let own = intel.fingerprint();
    if amd.is_builtin() {
        return own;
    }
    Digest::of(&[own.0, amd.fingerprint().0].concat())
}

/// Which key answers, and how its number was chosen.
pub(crate) fn locate(
    view: &View,
    ask: Ask,
    now: UnixTime,
) -> Option<(ArtefactKey, Option<Resolved>)> {
    match ask {
        Ask::Artefact(key) => Some((key, None)),
        Ask::Fmspcs => None,
        Ask::Subject(subject, choice) => {
            let resolved = view.resolve(subject, choice, now)?;
            Some((subject.key(resolved.number), Some(resolved)))
        }
    }
}

pub(crate) fn describe(ask: Ask) -> String {
    match ask {
        Ask::Artefact(key) => key.to_string(),
        Ask::Fmspcs => "fmspcs".to_owned(),
        Ask::Subject(subject, Choice::Early) => format!("{subject} early"),
        Ask::Subject(subject, Choice::Number(number)) => format!("{subject} number {number}"),
        Ask::Subject(subject, Choice::Standard) => format!("{subject} standard"),
    }
}

impl Refusal {
    /// `what` was asked for, and this came of it.
    pub(crate) fn from_fetch(what: String, error: &FetchError) -> Self {
        match error {
            FetchError::Absent => Self::Absent { what },
            FetchError::Budget { retry_after_secs }
            | FetchError::Throttled { retry_after_secs } => Self::Throttled {
                what,
                why: error.to_string(),
                retry_after_secs: *retry_after_secs,
            },
            FetchError::KeyRefused { .. } | FetchError::Refused { .. } => Self::Unavailable {
                what,
                why: error.to_string(),
            },
            FetchError::Retired => Self::Retired { what },
            FetchError::Storage => Self::Storage,
            FetchError::Unavailable { why } => Self::Unavailable {
                what,
                why: why.clone(),
            },
        }
    }

    /// What to say of several sources' failures: "there is none" only where all say so, since a PCCS says it
    /// of everything it has not fetched; else what gives the most hope.
    pub(crate) fn gravest(what: String, failures: Vec<Self>) -> Self {
        let rank = |refusal: &Self| match refusal {
            Self::Storage => 6,
            Self::Untrusted { .. } => 5,
            Self::Throttled { .. } => 4,
            Self::Busy { .. } => 3,
            Self::Unavailable { .. } => 2,
            Self::Retired { .. } => 1,
            Self::Absent { .. }
            | Self::Expired { .. }
            | Self::NotHeld { .. }
            | Self::Version3 { .. } => 0,
        };
        failures
            .into_iter()
            .max_by_key(rank)
            .unwrap_or(Self::NotHeld {
                what,
                why: "no upstream is configured",
            })
    }

    /// The reason alone, for a sentence that has named its subject.
    fn briefly(&self) -> String {
        match self {
            Self::NotHeld { why, .. } => format!("nothing is fetched: {why}"),
            Self::Unavailable { why, .. } => format!("no upstream answers: {why}"),
            Self::Throttled { why, .. } => why.clone(),
            Self::Untrusted { why, .. } => format!("the upstream's answer is refused: {why}"),
            Self::Absent { .. }
            | Self::Busy { .. }
            | Self::Expired { .. }
            | Self::Retired { .. }
            | Self::Storage
            | Self::Version3 { .. } => self.to_string(),
        }
    }

    /// The same refusal, of a subject that is known better now.
    fn about(self, better: String) -> Self {
        match self {
            Self::Absent { .. } => Self::Absent { what: better },
            Self::NotHeld { why, .. } => Self::NotHeld { what: better, why },
            Self::Retired { .. } => Self::Retired { what: better },
            Self::Throttled {
                why,
                retry_after_secs,
                ..
            } => Self::Throttled {
                what: better,
                why,
                retry_after_secs,
            },
            Self::Unavailable { why, .. } => Self::Unavailable { what: better, why },
            Self::Version3 { .. } => Self::Version3 { what: better },
            other @ (Self::Busy { .. }
            | Self::Expired { .. }
            | Self::Storage
            | Self::Untrusted { .. }) => other,
        }
    }

    /// How long to believe it without asking again, in seconds.
    pub(crate) const fn remembered_secs(&self) -> i64 {
        match self {
            Self::Absent { .. } | Self::Retired { .. } => 60,
            Self::Busy { .. } | Self::Storage => 1,
            Self::Expired { .. } | Self::Unavailable { .. } | Self::Untrusted { .. } => 5,
            Self::NotHeld { .. } | Self::Version3 { .. } => 2,
            Self::Throttled {
                retry_after_secs, ..
            } => {
                if *retry_after_secs < 60 {
                    *retry_after_secs
                } else {
                    60
                }
            }
        }
    }
}

/// The list a number hangs on: an edition of it.
pub(crate) fn as_list(artefact: &Artefact) -> Option<&thim_verify::EvaluationNumbers> {
    match artefact.content() {
        Content::EvaluationNumbers(list) => Some(list),
        Content::AmdCertChain(_)
        | Content::AmdCrl(_)
        | Content::Crl(_)
        | Content::EnclaveIdentity(_)
        | Content::TcbInfo(_) => None,
    }
}

//! Chips of AMD's: their certificates (VCEK), those of clouds (VLEK), and the shield before the key server.
//!
//! `asking` is the story of a request for a certificate, `waiting` the line of those who miss one, `fetching` how the
//! key server is asked for them one after the other, `admitting` what an answer or a file has to be, `registering` what
//! an operator says of his fleet: chips, and the TCB that is to come.
//!
//! A chip id is a secret of a kind: it is in every certificate of its chip and in every report, and it tells one
//! machine from all others. So it is in requests and in certificates, and in no log, metric, error, event or open
//! listing; there a chip is called by the first 16 digits of a keyed hash.

mod admitting;
mod answer;
mod asking;
mod fetching;
mod overview;
mod registering;
mod waiting;

use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderValue;
use quick_cache::sync::Cache;
use thim_verify::UnixTime;
use thim_verify::amd::{EndorsementKind, HwId, Product, Products, VcekKey, VlekKey};
use tokio::sync::Notify;

pub use admitting::{Offered, OfferedAs, TakenIn};
pub use answer::{EndorsementShape, ReadyEndorsement, ServedEndorsement};
pub use asking::Found;
pub use fetching::Step;
pub use registering::{ChipRefused, Prewarmed};

use crate::collateral::{Collateral, Refusal};
use crate::flight::Flights;
use crate::sealing::{IdentityKey, Purpose};
use crate::store::{Store, StoreError};
use crate::upstream::{AmdConfig, ConfigError};
use waiting::Waiting;

/// What certificate is asked for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ChipAsk {
    /// A chip's, at a TCB.
    Vcek(VcekKey),
    /// A cloud's, at a TCB.
    Vlek(VlekKey),
}

impl ChipAsk {
    /// Of which product.
    pub fn product(&self) -> Product {
        match self {
            Self::Vcek(key) => key.product,
            Self::Vlek(key) => key.product,
        }
    }

    /// Which of the two it is.
    pub const fn kind(&self) -> EndorsementKind {
        match self {
            Self::Vcek(_) => EndorsementKind::Vcek,
            Self::Vlek(_) => EndorsementKind::Vlek,
        }
    }
}

/// The keeper of certificates of chips.
pub struct Chips {
    collateral: Arc<Collateral>,
    identity: Arc<IdentityKey>,
    products: Products,
    config: AmdConfig,
    allow_origin: Option<HeaderValue>,
    ready: Cache<ChipAsk, Arc<ReadyEndorsement>>,
    refusals: Flights<ChipAsk, Refusal>,
    waiting: Mutex<Waiting>,
    // Told when somebody has joined the line, or something is wanted.
    wanted: Notify,
    // One admission at a time: what is judged beside the history of a key must be judged beside all of it.
    admission: tokio::sync::Mutex<()>,
    // One step at a time, or two would count on the same call of a budget.
    stepping: tokio::sync::Mutex<()>,
    flying: Arc<tokio::sync::Semaphore>,
    // When certificates that end soon are looked for next, seconds since 1970.
    renewals_due: AtomicI64,
}

impl Chips {
    /// A keeper over the store of `collateral`. Reads the products' file.
    pub fn new(
        collateral: Arc<Collateral>,
        identity: Arc<IdentityKey>,
        config: AmdConfig,
    ) -> Result<Arc<Self>, ConfigError> {
        config.check()?;
        let allow_origin = config.allow_origin.as_deref();
        Ok(Arc::new(Self {
            products: config.products()?,
            allow_origin: allow_origin.and_then(|origin| HeaderValue::from_str(origin).ok()),
            // Its shards do not fill up alike.
            ready: Cache::new(config.ready.max(1) + config.ready / 8 + 64),
            refusals: Flights::default(),
            waiting: Mutex::default(),
            wanted: Notify::new(),
            admission: tokio::sync::Mutex::default(),
            stepping: tokio::sync::Mutex::default(),
            flying: Arc::new(tokio::sync::Semaphore::new(fetching::FLYING)),
            renewals_due: AtomicI64::new(0),
            collateral,
            identity,
            config,
        }))
    }

    /// The keeper of collateral beside it.
    pub fn collateral(&self) -> &Arc<Collateral> {
        &self.collateral
    }

    /// The store.
    pub fn store(&self) -> &Store {
        self.collateral.store()
    }

    /// The facts about products.
    pub fn products(&self) -> &Products {
        &self.products
    }

    /// What verifiers in browsers are told.
    pub fn allow_origin(&self) -> Option<&HeaderValue> {
        self.allow_origin.as_ref()
    }

    /// How many are in line for a certificate.
    pub fn waiting(&self) -> usize {
        self.line().len()
    }

    /// The products that a chip is known under: registered, or with a certificate here.
    pub async fn products_of(&self, hw_id: &HwId) -> Result<Vec<Product>, StoreError> {
        self.store().products_of_chip(hw_id).await
    }

    /// What events and listings call a chip: 16 hex digits of a keyed hash.
    pub fn chip_name(&self, product: Product, hw_id: &HwId) -> String {
        let mut name = self.hash(product, hw_id, b"");
        name.truncate(NAME_DIGITS);
        name
    }

    /// What the note of a call is kept under.
    fn call_name(&self, key: &VcekKey) -> String {
        self.hash(key.product, &key.hw_id, key.tcb.to_query().as_bytes())
    }

    fn hash(&self, product: Product, hw_id: &HwId, rest: &[u8]) -> String {
        let text = [product.name().as_bytes(), &[0], hw_id.as_bytes(), rest].concat();
        self.identity.keyed(Purpose::ChipId, &text)
    }

    fn line(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn storage(&self, error: &StoreError) -> Refusal {
        self.collateral.storage(error)
    }

    /// Whether anything of the kind can be verified: the product is known, enabled, and has a root.
    fn served(&self, product: Product) -> Result<(), Refusal> {
        let why = if !self.products.facts(product).is_enabled() {
            "the product is not enabled"
        } else if self
            .collateral
            .amd()
            .anchors()
            .roots_of(product)
            .next()
            .is_none()
        {
            "no root of the product is trusted"
        } else {
            return Ok(());
        };
        Err(Refusal::NotHeld {
            what: format!("a certificate of {product}"),
            why,
        })
    }

    /// What time alone decides: certificates that end soon are wanted anew.
    pub async fn tick(&self, now: UnixTime) -> Result<(), StoreError> {
        self.want_renewals(now).await
    }
}

/// What refusals and logs call what was asked for: never the chip.
fn describe(ask: &ChipAsk) -> String {
    match ask {
        ChipAsk::Vcek(key) => format!("the VCEK of a {} chip at {}", key.product, key.tcb),
        ChipAsk::Vlek(key) => format!("a VLEK of {} at {}", key.product, key.tcb),
    }
}

/// Enough to tell a fleet's chips apart, short enough to be read out.
const NAME_DIGITS: usize = 16;

//! The keeper of baselines: the books out of the store, what is in force published to whoever serves, and acts one after
//! the other. The rules themselves are in [`baseline`](crate::baseline), and pure.
//!
//! What it promises. A baseline moves only by an act in the chain, at the instant the act says; two who act at once get one
//! outcome, for each act names the one it follows. Readers see books that are swapped whole. A store whose chain is broken is
//! not served from: a rule that somebody altered is worse than none.

pub mod acting;
pub mod endorsing;
pub mod exports;
pub mod forecast;
pub mod forecasting;
pub mod overview;
pub mod serving;
pub mod statement;

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use thim_verify::amd::Products;
use thim_verify::{Digest, EvaluationNumber, PlatformTcb, UnixTime};

use crate::baseline::{
    ActRow, BaselineTee, Books, Broken, InForce, Rule, Scope, Tenant, verify_chain,
};
use crate::collateral::Collateral;
use crate::platforms::Platforms;
use crate::store::{ReachedRow, Store, StoreError};

/// The keeper.
pub struct Baselines {
    collateral: Arc<Collateral>,
    platforms: Arc<Platforms>,
    books: ArcSwap<Books>,
    reached: ArcSwap<Reached>,
    table: ArcSwap<serving::Table>,
    acting: tokio::sync::Mutex<()>,
    forecasting: tokio::sync::Mutex<()>,
    // What PCK certificates say of their platforms, by digest: for forecasts, one after the other.
    components: quick_cache::sync::Cache<Digest, PlatformTcb>,
    products: Products,
}

/// The highest number each version of a baseline has reached, by scope, TEE and version.
pub type Reached = HashMap<(Scope, BaselineTee, u32), EvaluationNumber>;

/// Why the keeper could not start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The chain of acts is broken.
    #[error(
        "the acts on baselines were altered: {0}. Put a sound copy of the store in its place; `thim baseline log --verify` shows the acts"
    )]
    Broken(#[from] Broken),
    /// An act cannot be understood: a newer program's, or a damaged one.
    #[error(transparent)]
    Senseless(#[from] crate::baseline::books::Senseless),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What holds for a caller, with where it comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Applied {
    /// Whose baseline it is: a tenant without one of its own has `default`'s.
    pub scope: Scope,
    /// The version; 0 where nobody ever acted.
    pub version: u32,
    /// The rule.
    pub rule: Rule,
    /// Since when; `None` for version 0.
    pub since: Option<UnixTime>,
}

impl Baselines {
    /// Reads the books. `products`: what TCBs of AMD's products consist of.
    pub async fn open(
        collateral: Arc<Collateral>,
        platforms: Arc<Platforms>,
        products: Products,
    ) -> Result<Arc<Self>, OpenError> {
        let (rows, head) = collateral.store().acts().await?;
        verify_chain(&rows, Some(head))?;
        let books = Books::read(&rows)?;
        let reached = collateral.store().reached().await?;
        let reached = reached.into_iter();
        let reached: Reached = reached
            .map(|row| ((row.scope, row.tee, row.version), row.number))
            .collect();
        Ok(Arc::new(Self {
            table: ArcSwap::from_pointee(serving::Table::of(&books, &reached)),
            books: ArcSwap::from_pointee(books),
            reached: ArcSwap::from_pointee(reached),
            acting: tokio::sync::Mutex::default(),
            forecasting: tokio::sync::Mutex::default(),
            components: quick_cache::sync::Cache::new(COMPONENTS),
            products,
            collateral,
            platforms,
        }))
    }

    /// The books as they are now.
    pub fn books(&self) -> Arc<Books> {
        self.books.load_full()
    }

    /// The books as they are now, for a look that allocates nothing.
    pub fn look(&self) -> arc_swap::Guard<Arc<Books>> {
        self.books.load()
    }

    /// The keeper of collateral.
    pub fn collateral(&self) -> &Arc<Collateral> {
        &self.collateral
    }

    /// The register of platforms.
    pub fn platforms(&self) -> &Arc<Platforms> {
        &self.platforms
    }

    /// The store.
    pub fn store(&self) -> &Store {
        self.collateral.store()
    }

    /// All acts and the head that is kept beside them, for whoever follows the chain.
    pub async fn acts(&self) -> Result<(Vec<ActRow>, Digest), StoreError> {
        self.store().acts().await
    }

    /// The highest number that a version has reached.
    pub fn reached(
        &self,
        scope: &Scope,
        tee: BaselineTee,
        version: u32,
    ) -> Option<EvaluationNumber> {
        let key = (scope.clone(), tee, version);
        self.reached.load().get(&key).copied()
    }

    /// Notes a number that a version has reached: first in the store, then for readers.
    pub async fn note_reached(
        &self,
        rows: Vec<ReachedRow>,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        let known = self.reached.load_full();
        let news: Vec<ReachedRow> = rows
            .into_iter()
            .filter(|row| {
                let key = (row.scope.clone(), row.tee, row.version);
                known.get(&key).is_none_or(|number| *number < row.number)
            })
            .collect();
        if news.is_empty() || self.collateral.is_read_only() {
            return Ok(());
        }
        self.store().note_reached(&news, now).await?;
        self.reached.rcu(|reached| {
            let mut next = Reached::clone(reached);
            for row in &news {
                let number = next
                    .entry((row.scope.clone(), row.tee, row.version))
                    .or_default();
                *number = row.number.max(*number);
            }
            next
        });
        Ok(())
    }

    /// What holds for a scope at an instant.
    pub fn applied(&self, scope: &Scope, tee: BaselineTee, now: UnixTime) -> Applied {
        applied(&self.books.load(), scope, tee, now)
    }

    /// Whether an act ever named this tenant.
    pub fn knows(&self, tenant: &Tenant) -> bool {
        let books = self.books.load();
        let scope = Scope::Tenant(tenant.clone());
        let mut tees = BaselineTee::ALL.into_iter();
        tees.any(|tee| books.ledger(&scope, tee).is_some())
    }
}

/// What holds for a scope at an instant: its own version in force; a tenant's without one is `default`'s; and where nobody ever
/// acted, version 0. The floor's is its own or none at all: [`floor_of`].
///
/// A clock that was set back does not bring an earlier version back: an instant before the last act is that act's.
pub fn applied(books: &Books, scope: &Scope, tee: BaselineTee, now: UnixTime) -> Applied {
    let now = books.latest().map_or(now, |latest| latest.max(now));
    let own = books.in_force(scope, tee, now);
    let (scope, found) = match (own, scope) {
        (Some(found), scope) => (scope, Some(found)),
        (None, Scope::Tenant(_)) => (&Scope::Default, books.in_force(&Scope::Default, tee, now)),
        (None, Scope::Default | Scope::Floor) => (scope, None),
    };
    match found {
        Some(InForce { version, since, .. }) => Applied {
            scope: scope.clone(),
            version: version.number,
            rule: version.rule.clone(),
            since: Some(since),
        },
        None => Applied {
            scope: scope.clone(),
            version: 0,
            rule: Rule::of_nobody(tee),
            since: None,
        },
    }
}

/// The operator's floor, where there is one.
pub fn floor_of(books: &Books, tee: BaselineTee, now: UnixTime) -> Option<Applied> {
    let floor = applied(books, &Scope::Floor, tee, now);
    (floor.version > 0).then_some(floor)
}

/// A million platforms' certificates; some 100 MB when full, and it fills only as platforms are judged.
const COMPONENTS: usize = 1_000_000;

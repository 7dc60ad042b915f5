//! The keeper of news: looks at what is known, stores what is new with its places in line, and hands it out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use thim_verify::amd::{EndorsementKind, Product};
use thim_verify::{ArtefactKey, Content, Digest, Enclave, Fmspc, TcbInfo, UnixTime};
use tokio::sync::Notify;

use super::item::{NewsItem, NewsKind};
use super::watching::{AmdCrlSeen, BelowCount, FleetTcbInfo, Known, Look};
use crate::admission;
use crate::baseline::{Choice, Lists};
use crate::clock::Clock;
use crate::collateral::Collateral;
use crate::metrics::Delivery;
use crate::sentinel::{Remark, Severity};
use crate::store::{Batch, NewsRow, NewsWrite, StoreError};
use crate::upstream::{ConfigError, Webhook, WebhookConfig};
use crate::view::Subject;

/// The keeper.
pub struct News {
    collateral: Arc<Collateral>,
    webhooks: Vec<Webhook>,
    source: String,
    known: tokio::sync::Mutex<Known>,
    // Editions of TCB infos that were looked at: they do not change.
    looked: Mutex<HashMap<ArtefactKey, Digest>>,
    // When sources were last asked what they serve as standard; at first when this began.
    asked: Mutex<UnixTime>,
    told: Notify,
    // One attempt at a time for each webhook, whoever makes it.
    turns: Vec<tokio::sync::Mutex<()>>,
}

/// Why the keeper could not start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A wrong configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The name of this service.
    #[error("{0}")]
    Source(String),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl News {
    /// Reads what is known, and the secrets of webhooks.
    pub async fn open(
        collateral: Arc<Collateral>,
        config: &super::Config,
        webhooks: &[WebhookConfig],
        now: UnixTime,
    ) -> Result<Arc<Self>, OpenError> {
        config.check().map_err(OpenError::Source)?;
        let webhooks = Webhook::all(webhooks)?;
        let known = Known::new(collateral.store().news_known().await?);
        if !collateral.is_read_only() {
            let names: Vec<&str> = webhooks.iter().map(Webhook::name).collect();
            collateral.store().outbox_keep(&names).await?;
        }
        for webhook in &webhooks {
            let (name, metrics) = (webhook.name(), collateral.metrics());
            metrics.delivery(name, Delivery::Delivered, 0);
            metrics.undelivered(name, collateral.store().outbox_count(name).await?);
        }
        Ok(Arc::new(Self {
            turns: webhooks
                .iter()
                .map(|_| tokio::sync::Mutex::default())
                .collect(),
            webhooks,
            source: config.source.clone(),
            known: tokio::sync::Mutex::new(known),
            looked: Mutex::default(),
            asked: Mutex::new(now),
            told: Notify::new(),
            collateral,
        }))
    }

    /// The keeper of collateral.
    pub fn collateral(&self) -> &Arc<Collateral> {
        &self.collateral
    }

    /// What this service calls itself.
    pub fn source(&self) -> &str {
        &self.source
    }

    pub(super) fn receivers(&self) -> &[Webhook] {
        &self.webhooks
    }

    pub(super) fn turn(&self, webhook: usize) -> Option<&tokio::sync::Mutex<()>> {
        self.turns.get(webhook)
    }

    /// Waits until something was told.
    pub async fn told(&self) {
        self.told.notified().await;
    }

    /// News after `after`, oldest first, at most `limit`; of the open kinds, or of all.
    pub async fn page(
        &self,
        after: i64,
        limit: u32,
        all: bool,
    ) -> Result<Vec<NewsRow>, StoreError> {
        let store = self.collateral.store();
        if all {
            return store.news(after, limit).await;
        }
        // What is not open is left out before it is counted.
        let mut rows = store.news(after, u32::MAX).await?;
        rows.retain(is_open);
        rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(rows)
    }

    /// The newest news, newest first, at most `limit`; of the open kinds, or of all.
    pub async fn newest(&self, limit: usize, all: bool) -> Result<Vec<NewsRow>, StoreError> {
        let mut rows = self.collateral.store().newest_news().await?;
        rows.retain(|row| all || is_open(row));
        rows.truncate(limit);
        Ok(rows)
    }

    /// Looks at all there is, and tells what is new; how many pieces that were.
    pub async fn look(&self, now: UnixTime) -> Result<usize, StoreError> {
        if self.collateral.is_read_only() {
            return Ok(0);
        }
        let store = self.collateral.store();
        let mut known = self.known.lock().await;
        let lists = self.collateral.view().lists.clone();
        let said = store.said_standard().await?;
        let infos = self.fleet_tcb_infos(&lists, now).await?;
        let registered = store.products_in_use().await?;
        let amd = self.collateral.amd();
        let served = Product::ALL.into_iter();
        let served = served.filter(|one| amd.chain(*one, EndorsementKind::Vcek).is_some());
        let served: Vec<Product> = served.collect();

        let mut look = Look::new(&known, now);
        look.numbers(&lists);
        look.standard_moves(&lists);
        look.said_standard(&lists, &said);
        let highest = lists.entries().last().map(|entry| entry.number);
        for (_, _, info) in &infos {
            let lowest_reached = None;
            look.tcb_info(
                FleetTcbInfo {
                    info,
                    lowest_reached,
                },
                highest,
            );
        }
        for product in &registered {
            if let Some(seen) = crl_of(amd, *product) {
                look.amd_crl(&seen);
            }
        }
        look.amd_products(&served, &registered);
        let (items, noted) = (look.items, look.noted);
        let told = self.tell(&mut known, items, noted, now).await?;
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, id, _) in infos {
            looked.insert(key, id);
        }
        Ok(told)
    }

    /// Tells how many platforms are below baselines, where that has changed; how many pieces of news that were.
    pub async fn below(&self, counts: &[BelowCount], now: UnixTime) -> Result<usize, StoreError> {
        if self.collateral.is_read_only() {
            return Ok(0);
        }
        let mut known = self.known.lock().await;
        let mut look = Look::new(&known, now);
        look.below(counts);
        let (items, noted) = (look.items, look.noted);
        self.tell(&mut known, items, noted, now).await
    }

    /// Asks a source now and then what it serves as standard, though the lists tell: what it says is compared with them.
    pub async fn ask_for_standard(&self, clock: &Clock) {
        let now = clock.now();
        if !self.collateral.may_ask() || self.collateral.view().lists.is_empty() {
            return;
        }
        {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            if now.since(*asked) < ASK_EVERY_SECS {
                return;
            }
            *asked = now;
        }
        let subject = Subject::EnclaveIdentity {
            enclave: Enclave::Qe,
        };
        if let Err(refusal) = self.collateral.ask_for_standard(subject).await {
            tracing::info!(error = %refusal, "no source says what standard is; it is asked again later");
        }
    }

    /// TCB infos of machine types that the register has, from standard up, that were not looked at.
    async fn fleet_tcb_infos(
        &self,
        lists: &Lists,
        now: UnixTime,
    ) -> Result<Vec<(ArtefactKey, Digest, TcbInfo)>, StoreError> {
        let store = self.collateral.store();
        let fleet: Vec<Fmspc> = store.platform_fmspcs().await?;
        if fleet.is_empty() {
            return Ok(Vec::new());
        }
        let standard = lists.choose(Choice::Standard, now).map(|one| one.number);
        let mut infos = Vec::new();
        for (key, id) in store.current_tcb_infos().await? {
            let ArtefactKey::TcbInfo { fmspc, number, .. } = key else {
                continue;
            };
            let is_known = {
                let looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
                looked.get(&key) == Some(&id)
            };
            let is_old = standard.is_some_and(|standard| number < standard);
            if is_known || is_old || !fleet.contains(&fmspc) {
                continue;
            }
            // What comes out of the store is verified again before it is told of.
            if let Some(verified) = self.collateral.verified_again(key, now).await?
                && let Content::TcbInfo(body) = verified.content()
            {
                infos.push((key, id, TcbInfo::clone(body)));
            }
        }
        Ok(infos)
    }

    /// Stores news with its places in line, and what is known from now on.
    async fn tell(
        &self,
        known: &mut Known,
        items: Vec<NewsItem>,
        noted: Vec<(String, String)>,
        now: UnixTime,
    ) -> Result<usize, StoreError> {
        if items.is_empty() && noted.is_empty() {
            return Ok(0);
        }
        let told = items.len();
        let events = items
            .iter()
            .filter(|item| item.kind == NewsKind::StandardDiffers)
            .map(|item| {
                let remark = Remark::new("standard.differs", Severity::Warning, item.text.as_str());
                admission::event(now, remark, None, None)
            });
        let events = events.collect();
        let in_line = |item: &NewsItem| {
            let wanting = self.webhooks.iter().filter(|one| one.wants(item.kind));
            wanting.map(|one| one.name().to_owned()).collect()
        };
        let items = items.into_iter().map(|item| {
            let targets = in_line(&item);
            (item, targets)
        });
        let write = NewsWrite {
            at: Some(now),
            items: items.collect(),
            noted: noted.clone(),
        };
        let batch = Batch {
            events,
            news: Some(write),
            ..Batch::default()
        };
        self.collateral.commit(&batch).await?;
        known.learn(noted);
        if told > 0 {
            self.told.notify_waiters();
        }
        Ok(told)
    }
}

/// AMD's lists in force of a product, of both places.
fn crl_of(amd: &crate::proof::AmdTrust, product: Product) -> Option<AmdCrlSeen> {
    let crl = amd.crl(product, EndorsementKind::Vcek)?;
    Some(AmdCrlSeen {
        product,
        number: crl.number(),
        this_update: crl.this_update(),
        revoked: crl
            .revoked()
            .iter()
            .map(|entry| entry.serial.clone())
            .collect(),
    })
}

/// Rows of kinds that this program does not know are not shown to everybody.
fn is_open(row: &NewsRow) -> bool {
    row.kind.parse().is_ok_and(NewsKind::is_open)
}

/// A difference lasts for days; one call in six hours does not weigh on a budget.
const ASK_EVERY_SECS: i64 = 6 * 3600;

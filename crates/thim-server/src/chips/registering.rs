//! What an operator says of the fleet: which chips there are, and which TCB they are to have next, so that certificates
//! are here before anybody needs them. All of a registration is taken or none of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use thim_client::{NewChip, RegisteredChip};
use thim_verify::UnixTime;
use thim_verify::amd::{HwId, Product, SnpTcb, TcbVersion, VcekKey};

use super::fetching::INTERVAL_MILLIS;
use super::{ChipAsk, Chips};
use crate::admission::event;
use crate::sentinel::{Remark, Severity, State};
use crate::store::{
    Batch, ChipFilter, ChipRow, ChipWrite, StoreError, WantedCounts, WantedRow, WantedWrite,
};

/// How far the fetching of one TCB is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Prewarmed {
    /// Chips and certificates.
    pub counts: WantedCounts,
    /// In how many seconds the rest can be there at the earliest.
    pub seconds: i64,
}

/// Why a registration is refused. Names the place and the limit, and no chip id.
#[derive(Debug, thiserror::Error)]
pub enum ChipRefused {
    /// A wrong value.
    #[error("{field}: {why}")]
    Invalid {
        /// Which one: `chips[3].chipId`.
        field: String,
        /// What is wrong, and what was wanted.
        why: String,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Chips {
    /// Registers chips, and wants the certificates of those whose TCB is told.
    ///
    /// # Errors
    /// [`ChipRefused`], and then nothing is registered.
    pub async fn register(
        self: &Arc<Self>,
        inputs: &[NewChip],
        by: &str,
        now: UnixTime,
    ) -> Result<Vec<RegisteredChip>, ChipRefused> {
        if inputs.is_empty() || inputs.len() > AT_ONCE {
            return Err(invalid(
                "chips".to_owned(),
                format!("{} of them; wanted 1 to {AT_ONCE} at once", inputs.len()),
            ));
        }
        let rows = inputs
            .iter()
            .enumerate()
            .map(|(place, input)| self.read(place, input, now))
            .collect::<Result<Vec<ChipRow>, _>>()?;
        let _one_at_a_time = self.admission.lock().await;
        let there = self.store().count_chips().await?;
        let mut registered = Vec::with_capacity(rows.len());
        let mut batch = Batch::default();
        let mut fresh = 0;
        for row in rows {
            let new = self.store().chip(&row.id).await?.is_none();
            fresh += i64::from(new);
            let wanted = match row.reported {
                Some(tcb) => self.want(&row, tcb, now).await?,
                None => None,
            };
            registered.push(RegisteredChip {
                id: row.id.clone(),
                product: row.product.to_string(),
                new,
                wanted: wanted.is_some(),
            });
            batch.wanted.extend(wanted);
            batch.chips.push(ChipWrite::Register(row));
        }
        if there + fresh > CHIPS {
            return Err(invalid(
                "chips".to_owned(),
                format!("there are {there} of at most {CHIPS}"),
            ));
        }
        if fresh > 0 {
            let text = format!("{fresh} chips are registered, by {by}");
            let remark = Remark::new("chip.registered", Severity::Info, text);
            batch.events.push(event(now, remark, None, None));
        }
        self.collateral.commit(&batch).await?;
        self.wanted.notify_one();
        Ok(registered)
    }

    /// Wants the certificates of every registered chip of a product at a TCB that is to come.
    ///
    /// # Errors
    /// [`ChipRefused`].
    pub async fn prewarm(
        self: &Arc<Self>,
        product: Product,
        tcb: SnpTcb,
        now: UnixTime,
    ) -> Result<Prewarmed, ChipRefused> {
        let version = self.version(product, &tcb)?;
        let mut filter = ChipFilter {
            product: Some(product),
            limit: PAGE,
            ..ChipFilter::default()
        };
        loop {
            let _one_at_a_time = self.admission.lock().await;
            let page = self.store().chips(&filter).await?;
            let Some(last) = page.last() else { break };
            filter.after = last.id.clone();
            let mut batch = Batch::default();
            for row in &page {
                batch.wanted.extend(self.want(row, version, now).await?);
            }
            self.collateral.commit(&batch).await?;
        }
        self.wanted.notify_one();
        self.prewarmed(product, tcb, now).await
    }

    /// How far that is.
    ///
    /// # Errors
    /// [`ChipRefused`].
    pub async fn prewarmed(
        &self,
        product: Product,
        tcb: SnpTcb,
        now: UnixTime,
    ) -> Result<Prewarmed, ChipRefused> {
        let version = self.version(product, &tcb)?;
        let counts = self.store().wanted_counts(product, version, now).await?;
        let sources = self.collateral.kds().sources();
        let interval = sources.map(|source| source.interval_millis()).min();
        let millis = interval.unwrap_or(INTERVAL_MILLIS);
        let left = counts.wanted - counts.absent;
        Ok(Prewarmed {
            counts,
            seconds: (left.max(0).saturating_mul(millis) + 999) / 1000,
        })
    }

    /// Forgets a chip; its certificates are history and stay. False where there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn forget(&self, id: &str, by: &str, now: UnixTime) -> Result<bool, StoreError> {
        let _one_at_a_time = self.admission.lock().await;
        let Some(row) = self.store().chip(id).await? else {
            return Ok(false);
        };
        let text = format!("chip {id} is forgotten, by {by}");
        let remark = Remark::new("chip.forgotten", Severity::Warning, text);
        let batch = Batch {
            chips: vec![ChipWrite::Forget {
                product: row.product,
                hw_id: row.hw_id,
            }],
            events: vec![event(now, remark, None, None)],
            ..Batch::default()
        };
        self.collateral.commit(&batch).await?;
        Ok(true)
    }

    /// Certificates that end soon are wanted anew. Looked at once an hour.
    pub(super) async fn want_renewals(&self, now: UnixTime) -> Result<(), StoreError> {
        let due = self.renewals_due.load(Ordering::SeqCst);
        if now.secs() < due || !self.collateral.may_ask_amd() {
            return Ok(());
        }
        self.line().forget_before(now.plus_secs(-WAITING_SECS));
        let ending = self
            .store()
            .vceks_ending(now.plus_secs(RENEWAL_SECS), PAGE)
            .await?;
        let wanted = ending.into_iter().filter(|row| now <= row.not_after);
        let wanted: Vec<WantedWrite> = wanted
            .filter_map(|row| {
                Some(WantedWrite::New(WantedRow::new(
                    row.product,
                    row.hw_id?,
                    row.tcb,
                    now,
                )))
            })
            .collect();
        if !wanted.is_empty() {
            self.collateral
                .commit(&Batch {
                    wanted,
                    ..Batch::default()
                })
                .await?;
            self.wanted.notify_one();
        }
        self.renewals_due.store(now.secs() + HOUR, Ordering::SeqCst);
        Ok(())
    }

    /// Whether a certificate is there that need not be fetched for a while.
    pub(super) async fn is_there(&self, key: &VcekKey, now: UnixTime) -> Result<bool, StoreError> {
        let rows = self.held(&ChipAsk::Vcek(*key)).await?;
        let later = now.plus_secs(RENEWAL_SECS);
        Ok(rows
            .iter()
            .any(|row| row.state == State::Current && row.not_after >= later))
    }

    /// What is to be fetched for a chip at a TCB, if anything is.
    async fn want(
        &self,
        row: &ChipRow,
        tcb: TcbVersion,
        now: UnixTime,
    ) -> Result<Option<WantedWrite>, StoreError> {
        let facts = self.products.facts(row.product);
        let Ok(decoded) = tcb.decode(facts) else {
            return Ok(None);
        };
        let key = VcekKey {
            product: row.product,
            hw_id: row.hw_id,
            tcb: decoded,
        };
        let there = self.is_there(&key, now).await?;
        Ok((!there).then(|| WantedWrite::New(WantedRow::new(row.product, row.hw_id, tcb, now))))
    }

    fn version(&self, product: Product, tcb: &SnpTcb) -> Result<TcbVersion, ChipRefused> {
        let number = tcb.to_u64(self.products.facts(product));
        number
            .map(TcbVersion)
            .map_err(|error| invalid("tcb".to_owned(), error.to_string()))
    }

    /// Reads a chip as it was told.
    fn read(&self, place: usize, input: &NewChip, now: UnixTime) -> Result<ChipRow, ChipRefused> {
        let at = |field: &str| format!("chips[{place}].{field}");
        let product = self
            .product_of(input)
            .map_err(|why| invalid(at("product"), why))?;
        let facts = self.products.facts(product);
        if !facts.is_enabled() {
            return Err(invalid(at("product"), format!("{product} is not enabled")));
        }
        let hw_id = HwId::from_hex(facts, &input.chip_id)
            .map_err(|error| invalid(at("chipId"), error.to_string()))?;
        if hw_id.is_zero() {
            let why = "zeros: the host masks its chip id, or signs with a VLEK".to_owned();
            return Err(invalid(at("chipId"), why));
        }
        let reported = match &input.reported_tcb {
            None => None,
            Some(text) => {
                let wrong = |error: thim_verify::Error| {
                    invalid(
                        at("reportedTcb"),
                        format!("{error}; wanted hex digits, most significant byte first"),
                    )
                };
                let version = TcbVersion::from_hex_be(text).map_err(wrong)?;
                version.decode(facts).map_err(wrong)?;
                Some(version)
            }
        };
        let label = input.label.clone().unwrap_or_default();
        let printable = |c: char| !c.is_control();
        if label.chars().count() > LABEL_CHARS || !label.chars().all(printable) {
            let why = format!("wanted at most {LABEL_CHARS} printable characters");
            return Err(invalid(at("label"), why));
        }
        Ok(ChipRow {
            id: self.chip_name(product, &hw_id),
            product,
            hw_id,
            label,
            reported,
            registered: now,
        })
    }

    /// The product that was named, or the only one with ids of this length.
    fn product_of(&self, input: &NewChip) -> Result<Product, String> {
        if let Some(name) = &input.product {
            return name
                .parse()
                .map_err(|_| "wanted Milan, Genoa, Turin or Venice".to_owned());
        }
        let enabled = self
            .products
            .all()
            .iter()
            .filter(|facts| facts.is_enabled());
        let mut fitting = enabled.filter(|facts| input.chip_id.len() == 2 * facts.hw_id_bytes());
        match (fitting.next(), fitting.next()) {
            (Some(facts), None) => Ok(facts.product()),
            _ => Err("missing, and the length of the chip id does not tell it".to_owned()),
        }
    }
}

fn invalid(field: String, why: String) -> ChipRefused {
    ChipRefused::Invalid { field, why }
}

/// Chips of one request.
const AT_ONCE: usize = 10_000;
/// Chips of one fleet; each row has some 200 bytes.
const CHIPS: i64 = 1_000_000;
/// Rows read or written at once.
const PAGE: u32 = 500;
/// A host name and what belongs to it.
const LABEL_CHARS: usize = 128;
const HOUR: i64 = 3600;
/// Nobody waits in line for longer than this without asking again.
const WAITING_SECS: i64 = 2 * HOUR;
/// A certificate is fetched anew this long before it ends.
const RENEWAL_SECS: i64 = 30 * 24 * HOUR;

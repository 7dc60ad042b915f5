//! Chips that a fleet has, certificates of chips that somebody wants fetched, and when the key server was last asked
//! for which.

use sqlx::sqlite::SqliteRow;
use sqlx::{Connection, Row, SqliteConnection};
use thim_verify::UnixTime;
use thim_verify::amd::{HwId, Product, TcbVersion};

use super::{Store, StoreError, damaged, time};

/// A registered chip.
#[derive(Clone)]
pub struct ChipRow {
    /// 16 hex digits, from a keyed hash.
    pub id: String,
    /// Of which product.
    pub product: Product,
    /// Which chip.
    pub hw_id: HwId,
    /// The operator's own name for it, or empty.
    pub label: String,
    /// The TCB that it reports, where that is known.
    pub reported: Option<TcbVersion>,
    /// When it was registered first.
    pub registered: UnixTime,
}

/// A change of the chips, part of a [`Batch`](super::Batch).
pub enum ChipWrite {
    /// It goes, with what is wanted for it; its certificates are history and stay.
    Forget {
        /// Of which product.
        product: Product,
        /// Which chip.
        hw_id: HwId,
    },
    /// It is there, and has this label and TCB from now on.
    Register(ChipRow),
}

impl std::fmt::Debug for ChipWrite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Forget { .. } => "Forget",
            Self::Register(_) => "Register",
        })
    }
}

/// A certificate that is wanted.
#[derive(Clone)]
pub struct WantedRow {
    /// Of which product.
    pub product: Product,
    /// Of which chip.
    pub hw_id: HwId,
    /// At which TCB.
    pub tcb: TcbVersion,
    /// Since when.
    pub since: UnixTime,
    /// Not asked for before this instant.
    pub due: UnixTime,
    /// How often it was asked for in vain.
    pub tries: u32,
    /// What came of the last try, one word, or empty.
    pub outcome: String,
}

impl WantedRow {
    /// Wanted from now on, and not tried yet.
    pub const fn new(product: Product, hw_id: HwId, tcb: TcbVersion, now: UnixTime) -> Self {
        Self {
            product,
            hw_id,
            tcb,
            since: now,
            due: now,
            tries: 0,
            outcome: String::new(),
        }
    }
}

/// A change of what is wanted, part of a [`Batch`](super::Batch).
pub enum WantedWrite {
    /// It came, or nobody wants it any more.
    Done(WantedRow),
    /// It is wanted from now on; one that is already stays as it is.
    New(WantedRow),
    /// A try was in vain.
    Tried(WantedRow),
}

impl std::fmt::Debug for WantedWrite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Done(_) => "Done",
            Self::New(_) => "New",
            Self::Tried(_) => "Tried",
        })
    }
}

/// Which chips to list.
#[derive(Clone, Debug, Default)]
pub struct ChipFilter {
    /// Only this product.
    pub product: Option<Product>,
    /// Only ids after this one.
    pub after: String,
    /// At most so many, ordered by id.
    pub limit: u32,
}

/// How far the fetching of one TCB for a product's chips is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct WantedCounts {
    /// Registered chips of the product.
    pub chips: i64,
    /// Of these, certificates that are there.
    pub held: i64,
    /// Of these, certificates that are wanted.
    pub wanted: i64,
    /// Of these, those that the key server has said it does not have.
    pub absent: i64,
}

impl Store {
    /// Chips that pass the filter, by id.
    pub async fn chips(&self, filter: &ChipFilter) -> Result<Vec<ChipRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM chip WHERE ($1 = '' OR product = $1) AND id > $2 ORDER BY id LIMIT $3",
        )
        .bind(filter.product.map_or("", Product::name))
        .bind(&filter.after)
        .bind(i64::from(filter.limit))
        .fetch_all(&self.reader)
        .await?;
        rows.iter().map(chip).collect()
    }

    /// The chip of an id.
    pub async fn chip(&self, id: &str) -> Result<Option<ChipRow>, StoreError> {
        let row = sqlx::query("SELECT * FROM chip WHERE id = $1")
            .bind(id)
            .fetch_optional(&self.reader)
            .await?;
        row.as_ref().map(chip).transpose()
    }

    /// Whether a chip is registered.
    pub async fn is_registered(&self, product: Product, hw_id: &HwId) -> Result<bool, StoreError> {
        let row = sqlx::query("SELECT 1 FROM chip WHERE product = $1 AND hw_id = $2")
            .bind(product.name())
            .bind(hw_id.as_bytes())
            .fetch_optional(&self.reader)
            .await?;
        Ok(row.is_some())
    }

    /// The products that a chip is known under: registered, or with a certificate here.
    pub async fn products_of_chip(&self, hw_id: &HwId) -> Result<Vec<Product>, StoreError> {
        let names: Vec<String> = sqlx::query_scalar(
            "SELECT product FROM chip WHERE product IN ('Milan', 'Genoa', 'Turin', 'Venice') AND hw_id = $1 \
             UNION SELECT product FROM endorsement WHERE kind = 'vcek' \
             AND product IN ('Milan', 'Genoa', 'Turin', 'Venice') AND hw_id = $1",
        )
        .bind(hw_id.as_bytes())
        .fetch_all(&self.reader)
        .await?;
        names
            .iter()
            .map(|name| name.parse().map_err(|error| damaged(name, error)))
            .collect()
    }

    /// How many chips are registered.
    pub async fn count_chips(&self) -> Result<i64, StoreError> {
        Ok(sqlx::query_scalar("SELECT COUNT(*) FROM chip")
            .fetch_one(&self.reader)
            .await?)
    }

    /// What is wanted and due, the longest waiting first.
    pub async fn wanted_vceks(
        &self,
        now: UnixTime,
        limit: u32,
    ) -> Result<Vec<WantedRow>, StoreError> {
        let rows =
            sqlx::query("SELECT * FROM wanted_vcek WHERE due <= $1 ORDER BY due, since LIMIT $2")
                .bind(now.secs())
                .bind(i64::from(limit))
                .fetch_all(&self.reader)
                .await?;
        rows.iter().map(wanted).collect()
    }

    /// How many certificates are wanted.
    pub async fn count_wanted(&self) -> Result<i64, StoreError> {
        Ok(sqlx::query_scalar("SELECT COUNT(*) FROM wanted_vcek")
            .fetch_one(&self.reader)
            .await?)
    }

    /// How far the fetching of `tcb` for a product's chips is.
    pub async fn wanted_counts(
        &self,
        product: Product,
        tcb: TcbVersion,
        now: UnixTime,
    ) -> Result<WantedCounts, StoreError> {
        let row = sqlx::query(
            "SELECT COUNT(*) AS chips, \
             COALESCE(SUM(EXISTS (SELECT 1 FROM endorsement e WHERE e.kind = 'vcek' AND e.product = c.product \
             AND e.hw_id = c.hw_id AND e.tcb = $2 AND e.state = 'current' AND e.not_after >= $3)), 0) AS held, \
             COALESCE(SUM(EXISTS (SELECT 1 FROM wanted_vcek w WHERE w.product = c.product AND w.hw_id = c.hw_id \
             AND w.tcb = $2)), 0) AS wanted, \
             COALESCE(SUM(EXISTS (SELECT 1 FROM wanted_vcek w WHERE w.product = c.product AND w.hw_id = c.hw_id \
             AND w.tcb = $2 AND w.outcome = 'absent')), 0) AS absent \
             FROM chip c WHERE c.product = $1",
        )
        .bind(product.name())
        .bind(tcb.to_tcbm_hex())
        .bind(now.secs())
        .fetch_one(&self.reader)
        .await?;
        Ok(WantedCounts {
            chips: row.try_get("chips")?,
            held: row.try_get("held")?,
            wanted: row.try_get("wanted")?,
            absent: row.try_get("absent")?,
        })
    }

    /// Notes that a key server is asked for `name` now, before it is; the milliseconds to wait where it was asked less
    /// than `interval_millis` ago, and then nothing is noted. A note from the future, of a clock that was ahead, counts
    /// as made now.
    pub async fn note_vcek_call(
        &self,
        name: &str,
        now_millis: i64,
        interval_millis: i64,
    ) -> Result<i64, StoreError> {
        let mut connection = self.writer.acquire().await?;
        let result = note(&mut connection, name, now_millis, interval_millis).await;
        if result.is_err() {
            // As for a batch: a connection that failed is not used again.
            let _ = connection.close().await;
        }
        result
    }
}

async fn note(
    connection: &mut SqliteConnection,
    name: &str,
    now_millis: i64,
    interval_millis: i64,
) -> Result<i64, StoreError> {
    let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query("DELETE FROM vcek_call WHERE at_millis <= $1")
        .bind(now_millis - interval_millis)
        .execute(&mut *tx)
        .await?;
    let last: Option<i64> = sqlx::query_scalar("SELECT at_millis FROM vcek_call WHERE name = $1")
        .bind(name)
        .fetch_optional(&mut *tx)
        .await?;
    if let Some(last) = last {
        return Ok((last.min(now_millis) + interval_millis - now_millis).max(1));
    }
    sqlx::query("INSERT INTO vcek_call (name, at_millis) VALUES ($1, $2)")
        .bind(name)
        .bind(now_millis)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(0)
}

pub(super) async fn apply(tx: &mut SqliteConnection, write: &ChipWrite) -> Result<(), StoreError> {
    match write {
        ChipWrite::Forget { product, hw_id } => {
            for statement in [
                "DELETE FROM chip WHERE product = $1 AND hw_id = $2",
                "DELETE FROM wanted_vcek WHERE product = $1 AND hw_id = $2",
            ] {
                sqlx::query(statement)
                    .bind(product.name())
                    .bind(hw_id.as_bytes())
                    .execute(&mut *tx)
                    .await?;
            }
        }
        ChipWrite::Register(row) => {
            sqlx::query(
                "INSERT INTO chip (id, product, hw_id, label, reported, registered) VALUES ($1, $2, $3, $4, $5, $6) \
                 ON CONFLICT (id) DO UPDATE SET label = excluded.label, reported = excluded.reported",
            )
            .bind(&row.id)
            .bind(row.product.name())
            .bind(row.hw_id.as_bytes())
            .bind(&row.label)
            .bind(row.reported.map(TcbVersion::to_tcbm_hex))
            .bind(row.registered.secs())
            .execute(tx)
            .await?;
        }
    }
    Ok(())
}

pub(super) async fn want(tx: &mut SqliteConnection, write: &WantedWrite) -> Result<(), StoreError> {
    let (statement, row) = match write {
        WantedWrite::Done(row) => (
            "DELETE FROM wanted_vcek WHERE product = $1 AND hw_id = $2 AND tcb = $3",
            row,
        ),
        WantedWrite::New(row) => (
            "INSERT INTO wanted_vcek (product, hw_id, tcb, since, due, tries, outcome) VALUES ($1, $2, $3, $4, $5, $6, $7) \
             ON CONFLICT (product, hw_id, tcb) DO NOTHING",
            row,
        ),
        WantedWrite::Tried(row) => (
            "UPDATE wanted_vcek SET due = $5, tries = $6, outcome = $7 WHERE product = $1 AND hw_id = $2 AND tcb = $3",
            row,
        ),
    };
    sqlx::query(statement)
        .bind(row.product.name())
        .bind(row.hw_id.as_bytes())
        .bind(row.tcb.to_tcbm_hex())
        .bind(row.since.secs())
        .bind(row.due.secs())
        .bind(i64::from(row.tries))
        .bind(&row.outcome)
        .execute(tx)
        .await?;
    Ok(())
}

fn chip(row: &SqliteRow) -> Result<ChipRow, StoreError> {
    let id: String = row.try_get("id")?;
    let (product, hw_id) = whose(row, &id)?;
    let reported: Option<String> = row.try_get("reported")?;
    Ok(ChipRow {
        product,
        hw_id,
        label: row.try_get("label")?,
        reported: reported
            .map(|text| TcbVersion::from_hex_be(&text))
            .transpose()
            .map_err(|error| damaged(&id, error))?,
        registered: time(row.try_get("registered")?),
        id,
    })
}

fn wanted(row: &SqliteRow) -> Result<WantedRow, StoreError> {
    let (product, hw_id) = whose(row, "wanted_vcek")?;
    let tcb: String = row.try_get("tcb")?;
    let tries: i64 = row.try_get("tries")?;
    Ok(WantedRow {
        product,
        hw_id,
        tcb: TcbVersion::from_hex_be(&tcb).map_err(|error| damaged("wanted_vcek", error))?,
        since: time(row.try_get("since")?),
        due: time(row.try_get("due")?),
        tries: u32::try_from(tries).unwrap_or(u32::MAX),
        outcome: row.try_get("outcome")?,
    })
}

fn whose(row: &SqliteRow, name: &str) -> Result<(Product, HwId), StoreError> {
    let product: String = row.try_get("product")?;
    let hw_id: Vec<u8> = row.try_get("hw_id")?;
    Ok((
        product.parse().map_err(|error| damaged(name, error))?,
        HwId::of_length(&hw_id).ok_or_else(|| damaged(name, "its chip id"))?,
    ))
}

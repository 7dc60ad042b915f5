//! Acts on baselines, the numbers that baselines have reached, and the numbers the vendor has retired.
//!
//! What it promises. An act is added only after the one its author knew to be the last: of two who act at once one is told
//! to look again. Acts are never changed or removed. The head is written with each act, in its transaction.

use sqlx::sqlite::SqliteRow;
use sqlx::{Connection, Row};
use thim_verify::{Digest, EvaluationNumber, UnixTime};

use super::read::parsed;
use super::{Store, StoreError, damaged, time};
use crate::admission;
use crate::baseline::{Act, ActRow, BaselineTee, Scope};
use crate::sentinel::Remark;

/// What became of acts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Acted {
    /// They are in the chain.
    Done(Vec<ActRow>),
    /// Somebody else acted meanwhile.
    Overtaken,
}

/// The highest number that a version of a baseline has reached.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ReachedRow {
    /// Whose baseline.
    pub scope: Scope,
    /// Of which TEE.
    pub tee: BaselineTee,
    /// Which version; 0 where nobody ever acted.
    pub version: u32,
    /// The number.
    pub number: EvaluationNumber,
}

impl Store {
    /// Adds acts after `last`, the number and hash of the last act that whoever acts knows, with an event each.
    pub async fn act(
        &self,
        last: Option<(i64, Digest)>,
        acts: Vec<(Act, Remark)>,
    ) -> Result<Acted, StoreError> {
        let mut connection = self.writer.acquire().await?;
        let result = act(&mut connection, last, acts).await;
        if result.is_err() {
            // As for a batch: a connection whose transaction may have ended by itself is not used again.
            let _ = connection.close().await;
        }
        result
    }

    /// All acts, in the order of the chain, and its head as it was written with the last.
    pub async fn acts(&self) -> Result<(Vec<ActRow>, Digest), StoreError> {
        // One transaction, so that no act comes between rows and head.
        let mut tx = self.reader.begin().await?;
        let rows = sqlx::query(
            "SELECT seq, at, who, kind, scope, tee, version, rule, from_version, effective, reason, forecast, dropped, \
             previous, hash FROM baseline_act ORDER BY seq",
        )
        .fetch_all(&mut *tx)
        .await?;
        let head: Option<String> =
            sqlx::query_scalar("SELECT value FROM meta WHERE name = 'baseline_head'")
                .fetch_optional(&mut *tx)
                .await?;
        tx.commit().await?;
        let rows = rows.iter().map(row).collect::<Result<Vec<_>, _>>()?;
        let head = match head {
            None => Digest([0; 32]),
            Some(text) => text
                .parse()
                .map_err(|_| damaged("meta baseline_head", "it is no digest"))?,
        };
        Ok((rows, head))
    }

    /// The numbers that baselines have reached.
    pub async fn reached(&self) -> Result<Vec<ReachedRow>, StoreError> {
        let rows = sqlx::query("SELECT scope, tee, version, number FROM baseline_reached")
            .fetch_all(&self.reader)
            .await?;
        let read = |row: &SqliteRow| {
            Ok(ReachedRow {
                scope: parsed(row, "scope")?,
                tee: parsed(row, "tee")?,
                version: number(row, "version")?,
                number: number(row, "number")?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// Notes numbers that baselines have reached; a lower one than was noted before is not written.
    pub async fn note_reached(&self, rows: &[ReachedRow], at: UnixTime) -> Result<(), StoreError> {
        let mut connection = self.writer.acquire().await?;
        let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
        for row in rows {
            sqlx::query(
                "INSERT INTO baseline_reached (scope, tee, version, number, at) VALUES ($1, $2, $3, $4, $5) \
                 ON CONFLICT (scope, tee, version) DO UPDATE SET number = excluded.number, at = excluded.at \
                 WHERE excluded.number > baseline_reached.number",
            )
            .bind(row.scope.as_str())
            .bind(row.tee.name())
            .bind(i64::from(row.version))
            .bind(i64::from(row.number))
            .bind(at.secs())
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// The highest number that the vendor answered to be retired (410), if it ever did.
    pub async fn retired_number(&self) -> Result<Option<EvaluationNumber>, StoreError> {
        let text: Option<String> =
            sqlx::query_scalar("SELECT value FROM meta WHERE name = 'retired_number'")
                .fetch_optional(&self.reader)
                .await?;
        text.map(|text| {
            text.parse()
                .map_err(|_| damaged("meta retired_number", "it is no number"))
        })
        .transpose()
    }

    /// Notes which number the vendor retired last; `None` where it signs all of them again.
    pub async fn note_retired_number(
        &self,
        number: Option<EvaluationNumber>,
    ) -> Result<(), StoreError> {
        match number {
            Some(number) => {
                sqlx::query(
                    "INSERT INTO meta (name, value) VALUES ('retired_number', $1) \
                     ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                )
                .bind(number.to_string())
                .execute(&self.writer)
                .await?
            }
            None => {
                sqlx::query("DELETE FROM meta WHERE name = 'retired_number'")
                    .execute(&self.writer)
                    .await?
            }
        };
        Ok(())
    }
}

async fn act(
    connection: &mut sqlx::SqliteConnection,
    known: Option<(i64, Digest)>,
    acts: Vec<(Act, Remark)>,
) -> Result<Acted, StoreError> {
    let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
    let found = sqlx::query("SELECT seq, hash FROM baseline_act ORDER BY seq DESC LIMIT 1")
        .fetch_optional(&mut *tx)
        .await?;
    let mut last = match &found {
        None => None,
        Some(row) => Some((
            row.try_get::<i64, _>("seq")?,
            parsed::<Digest>(row, "hash")?,
        )),
    };
    if last != known {
        return Ok(Acted::Overtaken);
    }
    let room = ACTS - last.map_or(0, |(seq, _)| seq);
    if i64::try_from(acts.len()).unwrap_or(i64::MAX) > room {
        return Err(StoreError::Full {
            what: "acts on baselines",
            limit: ACTS,
        });
    }
    let mut rows = Vec::with_capacity(acts.len());
    for (act, remark) in acts {
        let event = admission::event(act.at, remark, None, None);
        let row = ActRow::after(last, act);
        insert(&mut tx, &row).await?;
        sqlx::query(
            "INSERT INTO event (at, name, severity, artefact, edition, text) VALUES ($1, $2, $3, NULL, NULL, $4)",
        )
        .bind(event.at.secs())
        .bind(event.remark.name)
        .bind(event.remark.severity.to_string())
        .bind(&event.remark.text)
        .execute(&mut *tx)
        .await?;
        last = Some((row.seq, row.hash));
        rows.push(row);
    }
    if let Some((_, head)) = last {
        sqlx::query(
            "INSERT INTO meta (name, value) VALUES ('baseline_head', $1) \
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )
        .bind(head.to_string())
        .execute(&mut *tx)
        .await?;
    }
    tx.commit().await?;
    Ok(Acted::Done(rows))
}

async fn insert(tx: &mut sqlx::SqliteConnection, row: &ActRow) -> Result<(), StoreError> {
    let act = &row.act;
    sqlx::query(
        "INSERT INTO baseline_act (seq, at, who, kind, scope, tee, version, rule, from_version, effective, reason, forecast, \
         dropped, previous, hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
    )
    .bind(row.seq)
    .bind(act.at.secs())
    .bind(&act.who)
    .bind(act.kind.name())
    .bind(act.scope.as_str())
    .bind(act.tee.name())
    .bind(i64::from(act.version))
    .bind(act.rule.as_deref())
    .bind(act.from_version.map(i64::from))
    .bind(act.effective.map(UnixTime::secs))
    .bind(&act.reason)
    .bind(act.forecast.map(|digest| digest.to_string()))
    .bind(act.dropped.map(i64::from))
    .bind(row.previous.to_string())
    .bind(row.hash.to_string())
    .execute(&mut *tx)
    .await?;
    Ok(())
}

fn row(row: &SqliteRow) -> Result<ActRow, StoreError> {
    let seq: i64 = row.try_get("seq")?;
    let digest = |name: &str| -> Result<Option<Digest>, StoreError> {
        row.try_get::<Option<String>, _>(name)?
            .map(|text| text.parse())
            .transpose()
            .map_err(|_| damaged(format!("baseline_act {seq}"), "a digest is none"))
    };
    let count = |name: &str| -> Result<Option<u32>, StoreError> {
        row.try_get::<Option<i64>, _>(name)?
            .map(u32::try_from)
            .transpose()
            .map_err(|_| damaged(format!("baseline_act {seq}"), "a number is out of range"))
    };
    Ok(ActRow {
        seq,
        act: Act {
            at: time(row.try_get("at")?),
            who: row.try_get("who")?,
            kind: parsed(row, "kind")?,
            scope: parsed(row, "scope")?,
            tee: parsed(row, "tee")?,
            version: number(row, "version")?,
            rule: row.try_get("rule")?,
            from_version: count("from_version")?,
            effective: row.try_get::<Option<i64>, _>("effective")?.map(time),
            reason: row.try_get("reason")?,
            forecast: digest("forecast")?,
            dropped: count("dropped")?,
        },
        previous: parsed(row, "previous")?,
        hash: parsed(row, "hash")?,
    })
}

fn number(row: &SqliteRow, name: &str) -> Result<u32, StoreError> {
    u32::try_from(row.try_get::<i64, _>(name)?).map_err(|_| damaged(name, "it is out of range"))
}

/// A thousand tenants that act each month for eight years; rules are a few hundred bytes, all of them are read at start.
const ACTS: i64 = 100_000;

//! News, what is known, and the line before each webhook.
//!
//! What it promises. News, what is noted with it and its places in line are one transaction (a [`Batch`](super::Batch)): after
//! a crash it is told and will be delivered, or it was not told yet. A key is told once, whoever tries twice.

use sqlx::sqlite::SqliteRow;
use sqlx::{Connection, Row, SqliteConnection};
use thim_verify::{ArtefactKey, Digest, UnixTime};

use super::read::parsed;
use super::{Store, StoreError, damaged, time};
use crate::news::{NewsItem, SaidStandard};

/// What one look found, to be written at once.
#[derive(Clone, Debug, Default)]
pub struct NewsWrite {
    /// When.
    pub at: Option<UnixTime>,
    /// News, each with the names of the webhooks that it is in line for.
    pub items: Vec<(NewsItem, Vec<String>)>,
    /// What is known from now on: (key, value).
    pub noted: Vec<(String, String)>,
}

/// A piece of news, as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct NewsRow {
    /// Rises.
    pub seq: i64,
    /// When it was told.
    pub at: UnixTime,
    /// The kind's name. Text, since a newer program may have known more kinds.
    pub kind: String,
    /// What it is told once under.
    pub key: String,
    /// The thing it is about.
    pub subject: String,
    /// For people.
    pub text: String,
    /// For machines: an object.
    pub data: serde_json::Value,
}

/// The first in line before a webhook.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
    /// The news.
    pub news: NewsRow,
    /// How often it was tried in vain.
    pub attempts: u32,
    /// Of these, how often it refused.
    pub refused: u32,
    /// Not to be tried before.
    pub due: UnixTime,
}

impl Store {
    /// All that was ever told or seen: (key, value).
    pub async fn news_known(&self) -> Result<Vec<(String, String)>, StoreError> {
        let rows = sqlx::query("SELECT key, value FROM news_known")
            .fetch_all(&self.reader)
            .await?;
        let read = |row: &SqliteRow| Ok((row.try_get("key")?, row.try_get("value")?));
        rows.iter().map(read).collect()
    }

    /// News after `after`, oldest first, at most `limit`.
    pub async fn news(&self, after: i64, limit: u32) -> Result<Vec<NewsRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT seq, at, type, dedup, subject, text, data FROM news WHERE seq > $1 ORDER BY seq LIMIT $2",
        )
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(&self.reader)
        .await?;
        rows.iter().map(news_row).collect()
    }

    /// All news there is, newest first: [`NEWS_ROWS`] at most.
    pub async fn newest_news(&self) -> Result<Vec<NewsRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT seq, at, type, dedup, subject, text, data FROM news ORDER BY seq DESC",
        )
        .fetch_all(&self.reader)
        .await?;
        rows.iter().map(news_row).collect()
    }

    /// What sources last called standard.
    pub async fn said_standard(&self) -> Result<Vec<SaidStandard>, StoreError> {
        let rows = sqlx::query("SELECT subject, number, at FROM called WHERE choice = 'standard'")
            .fetch_all(&self.reader)
            .await?;
        let read = |row: &SqliteRow| {
            let number = u32::try_from(row.try_get::<i64, _>("number")?);
            Ok(SaidStandard {
                subject: row.try_get("subject")?,
                number: number.map_err(|error| damaged("called", error))?,
                at: time(row.try_get("at")?),
            })
        };
        rows.iter().map(read).collect()
    }

    /// The TCB infos that are current, with their editions.
    pub async fn current_tcb_infos(&self) -> Result<Vec<(ArtefactKey, Digest)>, StoreError> {
        let rows = sqlx::query(
            "SELECT artefact, edition FROM standing WHERE state = 'current' AND artefact LIKE 'intel/tcb-info/%' \
             ORDER BY artefact",
        )
        .fetch_all(&self.reader)
        .await?;
        let read = |row: &SqliteRow| Ok((parsed(row, "artefact")?, parsed(row, "edition")?));
        rows.iter().map(read).collect()
    }

    /// The first in line before a webhook.
    pub async fn outbox_first(&self, target: &str) -> Result<Option<Waiting>, StoreError> {
        let row = sqlx::query(
            "SELECT n.seq, n.at, n.type, n.dedup, n.subject, n.text, n.data, o.attempts, o.refused, o.due \
             FROM outbox o JOIN news n ON n.seq = o.news WHERE o.target = $1 ORDER BY o.news LIMIT 1",
        )
        .bind(target)
        .fetch_optional(&self.reader)
        .await?;
        let read = |row: &SqliteRow| {
            let attempts: i64 = row.try_get("attempts")?;
            let refused: i64 = row.try_get("refused")?;
            Ok(Waiting {
                news: news_row(row)?,
                attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
                refused: u32::try_from(refused).unwrap_or(u32::MAX),
                due: time(row.try_get("due")?),
            })
        };
        row.as_ref().map(read).transpose()
    }

    /// How many pieces of news a webhook has not taken yet.
    pub async fn outbox_count(&self, target: &str) -> Result<i64, StoreError> {
        Ok(
            sqlx::query_scalar("SELECT COUNT(*) FROM outbox WHERE target = $1")
                .bind(target)
                .fetch_one(&self.reader)
                .await?,
        )
    }

    /// A webhook has taken a piece of news, or it is given up.
    pub async fn outbox_done(&self, target: &str, seq: i64) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM outbox WHERE target = $1 AND news = $2")
            .bind(target)
            .bind(seq)
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// A webhook has not taken a piece of news: how often it was tried and how often refused, and when to try again.
    pub async fn outbox_failed(
        &self,
        target: &str,
        seq: i64,
        (attempts, refused): (u32, u32),
        due: UnixTime,
    ) -> Result<(), StoreError> {
        sqlx::query("UPDATE outbox SET attempts = $3, refused = $4, due = $5 WHERE target = $1 AND news = $2")
            .bind(target)
            .bind(seq)
            .bind(i64::from(attempts))
            .bind(i64::from(refused))
            .bind(due.secs())
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// Gives up what was told to a webhook before an instant; how many that were.
    pub async fn outbox_give_up(&self, target: &str, before: UnixTime) -> Result<u64, StoreError> {
        let done = sqlx::query(
            "DELETE FROM outbox WHERE target = $1 AND news IN (SELECT seq FROM news WHERE at < $2)",
        )
        .bind(target)
        .bind(before.secs())
        .execute(&self.writer)
        .await?;
        Ok(done.rows_affected())
    }

    /// Leaves the newest `most` in line before a webhook; how many were given up.
    pub async fn outbox_shorten(&self, target: &str, most: i64) -> Result<u64, StoreError> {
        let done = sqlx::query(
            "DELETE FROM outbox WHERE target = $1 AND news NOT IN \
             (SELECT news FROM outbox WHERE target = $1 ORDER BY news DESC LIMIT $2)",
        )
        .bind(target)
        .bind(most)
        .execute(&self.writer)
        .await?;
        Ok(done.rows_affected())
    }

    /// Forgets the lines before webhooks that are none of `targets`.
    pub async fn outbox_keep(&self, targets: &[&str]) -> Result<(), StoreError> {
        let known: Vec<String> =
            sqlx::query_scalar("SELECT target FROM outbox UNION SELECT target FROM webhook_gone")
                .fetch_all(&self.reader)
                .await?;
        for name in known
            .iter()
            .filter(|name| !targets.contains(&name.as_str()))
        {
            for statement in [
                "DELETE FROM outbox WHERE target = $1",
                "DELETE FROM webhook_gone WHERE target = $1",
            ] {
                sqlx::query(statement)
                    .bind(name)
                    .execute(&self.writer)
                    .await?;
            }
        }
        Ok(())
    }

    /// Whether a webhook has answered 410 under this URL.
    pub async fn webhook_is_gone(&self, target: &str, url: Digest) -> Result<bool, StoreError> {
        let gone: Option<String> =
            sqlx::query_scalar("SELECT url FROM webhook_gone WHERE target = $1")
                .bind(target)
                .fetch_optional(&self.reader)
                .await?;
        Ok(gone.is_some_and(|gone| gone == url.to_string()))
    }

    /// A webhook has answered 410: its line is forgotten, and that it is gone is noted.
    pub async fn webhook_gone(
        &self,
        target: &str,
        url: Digest,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        let mut connection = self.writer.acquire().await?;
        let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query("DELETE FROM outbox WHERE target = $1")
            .bind(target)
            .execute(&mut *tx)
            .await?;
        sqlx::query(
            "INSERT INTO webhook_gone (target, url, at) VALUES ($1, $2, $3) \
             ON CONFLICT (target) DO UPDATE SET url = excluded.url, at = excluded.at",
        )
        .bind(target)
        .bind(url.to_string())
        .bind(now.secs())
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }
}

/// Writes what a look found.
pub(super) async fn apply(tx: &mut SqliteConnection, write: &NewsWrite) -> Result<(), StoreError> {
    let at = write.at.unwrap_or(UnixTime::from_secs(0));
    for (key, value) in &write.noted {
        sqlx::query(
            "INSERT INTO news_known (key, value, at) VALUES ($1, $2, $3) \
             ON CONFLICT (key) DO UPDATE SET value = excluded.value, at = excluded.at",
        )
        .bind(key)
        .bind(value)
        .bind(at.secs())
        .execute(&mut *tx)
        .await?;
    }
    for (item, targets) in &write.items {
        let told = sqlx::query(
            "INSERT INTO news (at, type, dedup, subject, text, data) VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (dedup) DO NOTHING RETURNING seq",
        )
        .bind(at.secs())
        .bind(item.kind.name())
        .bind(&item.key)
        .bind(&item.subject)
        .bind(&item.text)
        .bind(item.data.to_string())
        .fetch_optional(&mut *tx)
        .await?;
        let Some(told) = told else { continue };
        let seq: i64 = told.try_get("seq")?;
        for target in targets {
            sqlx::query("INSERT INTO outbox (target, news, attempts, refused, due) VALUES ($1, $2, 0, 0, $3)")
                .bind(target)
                .bind(seq)
                .bind(at.secs())
                .execute(&mut *tx)
                .await?;
        }
    }
    if !write.items.is_empty() {
        // A line before a webhook is far shorter than this (`news::delivering`), so nothing is given up here unsaid.
        sqlx::query("DELETE FROM news WHERE seq <= (SELECT MAX(seq) FROM news) - $1")
            .bind(NEWS_ROWS)
            .execute(&mut *tx)
            .await?;
        sqlx::query("DELETE FROM outbox WHERE news NOT IN (SELECT seq FROM news)")
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}

fn news_row(row: &SqliteRow) -> Result<NewsRow, StoreError> {
    let seq: i64 = row.try_get("seq")?;
    let data: String = row.try_get("data")?;
    Ok(NewsRow {
        seq,
        at: time(row.try_get("at")?),
        kind: row.try_get("type")?,
        key: row.try_get("dedup")?,
        subject: row.try_get("subject")?,
        text: row.try_get("text")?,
        data: serde_json::from_str(&data).map_err(|error| damaged(format!("news {seq}"), error))?,
    })
}

/// Years of it, and a megabyte.
const NEWS_ROWS: i64 = 1000;

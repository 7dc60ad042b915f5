//! Reading: rows become types at this door.

use std::collections::BTreeMap;

use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use thim_verify::{ArtefactKey, Certificate, Digest, UnixTime};

use super::{Store, StoreError, damaged, time};
use crate::sentinel::State;

/// The columns that [`edition`] reads, and then what the caller adds.
macro_rules! editions {
    ($rest:literal) => {
        concat!(
            "SELECT e.id, e.artefact, e.issued, e.next_update, e.signer_key, e.chain, e.document_bytes, e.revoked_entries, ",
            "e.source, e.called, e.admitted, s.state, s.since, s.root_crl FROM edition e JOIN standing s ON s.edition = e.id ",
            $rest
        )
    };
}

/// An edition's facts; its document is read apart.
#[derive(Clone, Debug)]
pub struct EditionRow {
    /// SHA-256 of the signed bytes.
    pub id: Digest,
    /// Its key.
    pub key: ArtefactKey,
    /// Issue date.
    pub issued: UnixTime,
    /// Next update.
    pub next_update: UnixTime,
    /// SHA-256 of the signer's SubjectPublicKeyInfo.
    pub signer_key: Digest,
    /// SHA-256 of the issuing certificate.
    pub issuer: Option<Digest>,
    /// Length of the document.
    pub document_bytes: u64,
    /// Number of revoked serials, for CRLs.
    pub revoked_entries: Option<u64>,
    /// URL or path.
    pub source: String,
    /// What the source called it.
    pub called: Option<String>,
    /// When it was admitted.
    pub admitted: UnixTime,
    /// Its newest state.
    pub state: State,
    /// Since when.
    pub since: UnixTime,
    /// `thisUpdate` of the root CRL its signer was checked against.
    pub root_crl: Option<UnixTime>,
}

/// A past change of state.
#[derive(Clone, Debug)]
pub struct TransitionRow {
    /// When.
    pub at: UnixTime,
    /// Into which state.
    pub state: State,
    /// Why.
    pub cause: String,
}

/// A past event.
#[derive(Clone, Debug)]
pub struct Event {
    /// Rises by one.
    pub seq: i64,
    /// When.
    pub at: UnixTime,
    /// The name.
    pub name: String,
    /// How loud.
    pub severity: String,
    /// The key it is about.
    pub key: Option<String>,
    /// The edition it is about.
    pub edition: Option<String>,
    /// The story.
    pub text: String,
}

/// A key with the facts of its newest current (else archived) edition.
#[derive(Clone, Debug)]
pub struct KeyRow {
    /// The key.
    pub key: ArtefactKey,
    /// Which edition.
    pub id: Digest,
    /// Its state: current or archived.
    pub state: State,
    /// Its issue date.
    pub issued: UnixTime,
    /// Its next update.
    pub next_update: UnixTime,
    /// When it was admitted.
    pub admitted: UnixTime,
    /// When an upstream last confirmed it.
    pub confirmed: Option<UnixTime>,
    /// Number of revoked serials, for CRLs.
    pub revoked_entries: Option<u64>,
}

/// Which editions to list.
#[derive(Clone, Debug, Default)]
pub struct EditionFilter {
    /// Only this key.
    pub key: Option<ArtefactKey>,
    /// Only this state.
    pub state: Option<State>,
    /// Only editions admitted at this instant or before.
    pub admitted_by: Option<UnixTime>,
    /// Only editions issued at this instant or before.
    pub issued_by: Option<UnixTime>,
    /// At most so many, ordered by key and issue date.
    pub limit: u32,
    /// Leave out so many first.
    pub offset: u32,
}

impl Store {
    /// Editions that pass the filter, by key and issue date.
    pub async fn editions(&self, filter: &EditionFilter) -> Result<Vec<EditionRow>, StoreError> {
        let rows = sqlx::query(
            editions!("WHERE ($1 = '' OR e.artefact = $1) AND ($2 = '' OR s.state = $2) AND e.admitted <= $3 AND e.issued <= $4 \
             ORDER BY e.artefact, e.issued LIMIT $5 OFFSET $6"),
        )
        .bind(filter.key.map(|key| key.to_string()).unwrap_or_default())
        .bind(filter.state.map(|state| state.to_string()).unwrap_or_default())
        .bind(filter.admitted_by.map_or(i64::MAX, UnixTime::secs))
        .bind(filter.issued_by.map_or(i64::MAX, UnixTime::secs))
        .bind(i64::from(filter.limit))
        .bind(i64::from(filter.offset))
        .fetch_all(&self.reader)
        .await?;
        rows.iter().map(edition).collect()
    }

    /// Every edition of one key, oldest first.
    pub async fn editions_of(&self, key: ArtefactKey) -> Result<Vec<EditionRow>, StoreError> {
        let rows = sqlx::query(editions!("WHERE e.artefact = $1 ORDER BY e.issued"))
            .bind(key.to_string())
            .fetch_all(&self.reader)
            .await?;
        rows.iter().map(edition).collect()
    }

    /// Editions whose id begins with `prefix` (lower hex), at most two: enough to tell whether it is one.
    pub async fn editions_by_prefix(&self, prefix: &str) -> Result<Vec<EditionRow>, StoreError> {
        let rows = sqlx::query(editions!(
            "WHERE e.id >= $1 AND e.id < $2 ORDER BY e.id LIMIT 2"
        ))
        .bind(prefix)
        .bind(format!("{prefix}g"))
        .fetch_all(&self.reader)
        .await?;
        rows.iter().map(edition).collect()
    }

    /// The document of an edition, as stored.
    pub async fn document(&self, id: Digest) -> Result<Option<bytes::Bytes>, StoreError> {
        let document: Option<Vec<u8>> =
            sqlx::query_scalar("SELECT document FROM edition WHERE id = $1")
                .bind(id.to_string())
                .fetch_optional(&self.reader)
                .await?;
        Ok(document.map(Into::into))
    }

    /// Every key that has a current or archived edition, with the newest of these; current ones win.
    pub async fn keys(&self) -> Result<Vec<KeyRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT s.artefact, s.edition, s.state, e.issued, e.next_update, e.admitted, e.revoked_entries, c.at AS confirmed \
             FROM standing s JOIN edition e ON e.id = s.edition LEFT JOIN confirmation c ON c.artefact = s.artefact \
             WHERE s.state IN ('current', 'archived') ORDER BY s.artefact, s.state, e.issued",
        )
        .fetch_all(&self.reader)
        .await?;
        // 'archived' sorts before 'current', and older before newer: the last row of a key wins.
        let mut keys: BTreeMap<ArtefactKey, KeyRow> = BTreeMap::new();
        for row in &rows {
            let key = parsed::<ArtefactKey>(row, "artefact")?;
            keys.insert(
                key,
                KeyRow {
                    key,
                    id: parsed(row, "edition")?,
                    state: parsed(row, "state")?,
                    issued: time(row.try_get("issued")?),
                    next_update: time(row.try_get("next_update")?),
                    admitted: time(row.try_get("admitted")?),
                    confirmed: row.try_get::<Option<i64>, _>("confirmed")?.map(time),
                    revoked_entries: row
                        .try_get::<Option<i64>, _>("revoked_entries")?
                        .and_then(|count| u64::try_from(count).ok()),
                },
            );
        }
        Ok(keys.into_values().collect())
    }

    /// Keys that have an edition in `state`.
    pub async fn keys_in(&self, state: State) -> Result<Vec<ArtefactKey>, StoreError> {
        let rows = sqlx::query(
            "SELECT DISTINCT artefact FROM standing WHERE state = $1 ORDER BY artefact",
        )
        .bind(state.to_string())
        .fetch_all(&self.reader)
        .await?;
        rows.iter().map(|row| parsed(row, "artefact")).collect()
    }

    /// Editions never checked against a root CRL, apart from root CRLs and what is quarantined.
    pub async fn unchecked(&self) -> Result<Vec<EditionRow>, StoreError> {
        let rows = sqlx::query(editions!(
            "WHERE s.root_crl IS NULL AND s.state <> 'quarantined' AND e.kind <> 'root-crl'"
        ))
        .fetch_all(&self.reader)
        .await?;
        rows.iter().map(edition).collect()
    }

    /// Editions signed by one key, apart from what is quarantined.
    pub async fn editions_signed_by(
        &self,
        signer_key: Digest,
    ) -> Result<Vec<EditionRow>, StoreError> {
        let rows = sqlx::query(editions!(
            "WHERE e.signer_key = $1 AND s.state <> 'quarantined' AND e.kind <> 'root-crl'"
        ))
        .bind(signer_key.to_string())
        .fetch_all(&self.reader)
        .await?;
        rows.iter().map(edition).collect()
    }

    /// When an upstream last confirmed a key.
    pub async fn confirmed(&self, key: ArtefactKey) -> Result<Option<UnixTime>, StoreError> {
        let at: Option<i64> = sqlx::query_scalar("SELECT at FROM confirmation WHERE artefact = $1")
            .bind(key.to_string())
            .fetch_optional(&self.reader)
            .await?;
        Ok(at.map(time))
    }

    /// Every change of state of an edition, oldest first.
    pub async fn transitions(&self, id: Digest) -> Result<Vec<TransitionRow>, StoreError> {
        let rows =
            sqlx::query("SELECT at, state, cause FROM transition WHERE edition = $1 ORDER BY seq")
                .bind(id.to_string())
                .fetch_all(&self.reader)
                .await?;
        rows.iter()
            .map(|row| {
                Ok(TransitionRow {
                    at: time(row.try_get("at")?),
                    state: parsed(row, "state")?,
                    cause: row.try_get("cause")?,
                })
            })
            .collect()
    }

    /// Events after `after`, oldest first, at most `limit`; of one key where one is given.
    pub async fn events(
        &self,
        after: i64,
        key: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Event>, StoreError> {
        let rows = sqlx::query(
            "SELECT seq, at, name, severity, artefact, edition, text FROM event \
             WHERE seq > $1 AND ($2 = '' OR artefact = $2) ORDER BY seq LIMIT $3",
        )
        .bind(after)
        .bind(key.unwrap_or_default())
        .bind(i64::from(limit))
        .fetch_all(&self.reader)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(Event {
                    seq: row.try_get("seq")?,
                    at: time(row.try_get("at")?),
                    name: row.try_get("name")?,
                    severity: row.try_get("severity")?,
                    key: row.try_get("artefact")?,
                    edition: row.try_get("edition")?,
                    text: row.try_get("text")?,
                })
            })
            .collect()
    }

    /// True where an event of this name was recorded about this edition.
    pub async fn has_event(&self, name: &str, edition: Digest) -> Result<bool, StoreError> {
        let count: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM event WHERE name = $1 AND edition = $2")
                .bind(name)
                .bind(edition.to_string())
                .fetch_one(&self.reader)
                .await?;
        Ok(count > 0)
    }

    /// True where these very bytes of this source are in quarantine already.
    pub async fn is_quarantined(&self, body: Digest, source: &str) -> Result<bool, StoreError> {
        let count: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM quarantine WHERE digest = $1 AND source = $2")
                .bind(body.to_string())
                .bind(source)
                .fetch_one(&self.reader)
                .await?;
        Ok(count > 0)
    }

    /// Every certificate ever used.
    pub async fn certificates(&self) -> Result<Vec<Certificate>, StoreError> {
        let rows = sqlx::query("SELECT digest, der FROM certificate ORDER BY first_seen, digest")
            .fetch_all(&self.reader)
            .await?;
        rows.iter()
            .map(|row| {
                let der: Vec<u8> = row.try_get("der")?;
                Certificate::from_der(&der)
                    .map_err(|error| damaged(row.get::<String, _>("digest"), error))
            })
            .collect()
    }

    /// The numbers that sources called standard or early: (subject, choice, number).
    pub async fn called(&self) -> Result<Vec<(String, String, u32)>, StoreError> {
        let rows = sqlx::query("SELECT subject, choice, number FROM called")
            .fetch_all(&self.reader)
            .await?;
        rows.iter()
            .map(|row| {
                let number: i64 = row.try_get("number")?;
                let number = u32::try_from(number).map_err(|error| damaged("called", error))?;
                Ok((row.try_get("subject")?, row.try_get("choice")?, number))
            })
            .collect()
    }

    /// What `upstream` may be asked next: (arrival, not before), in milliseconds.
    pub async fn budget(&self, upstream: &str) -> Result<Option<(i64, i64)>, StoreError> {
        let row =
            sqlx::query("SELECT arrival_millis, not_before_millis FROM budget WHERE upstream = $1")
                .bind(upstream)
                .fetch_optional(&self.reader)
                .await?;
        row.map(|row| {
            Ok((
                row.try_get("arrival_millis")?,
                row.try_get("not_before_millis")?,
            ))
        })
        .transpose()
    }

    /// The newest admission of all, which no clock may go behind.
    pub async fn newest_admission(&self) -> Result<Option<UnixTime>, StoreError> {
        let at: Option<i64> = sqlx::query_scalar("SELECT MAX(admitted) FROM edition")
            .fetch_one(&self.reader)
            .await?;
        Ok(at.map(time))
    }

    /// How many editions are in `state`.
    pub async fn count(&self, state: State) -> Result<u64, StoreError> {
        let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM standing WHERE state = $1")
            .bind(state.to_string())
            .fetch_one(&self.reader)
            .await?;
        Ok(u64::try_from(count).unwrap_or(0))
    }
}

fn edition(row: &SqliteRow) -> Result<EditionRow, StoreError> {
    let issuer: String = row.try_get("chain")?;
    Ok(EditionRow {
        id: parsed(row, "id")?,
        key: parsed(row, "artefact")?,
        issued: time(row.try_get("issued")?),
        next_update: time(row.try_get("next_update")?),
        signer_key: parsed(row, "signer_key")?,
        issuer: if issuer.is_empty() {
            None
        } else {
            Some(issuer.parse().map_err(|error| damaged(&issuer, error))?)
        },
        document_bytes: u64::try_from(row.try_get::<i64, _>("document_bytes")?).unwrap_or(0),
        revoked_entries: row
            .try_get::<Option<i64>, _>("revoked_entries")?
            .and_then(|count| u64::try_from(count).ok()),
        source: row.try_get("source")?,
        called: row.try_get("called")?,
        admitted: time(row.try_get("admitted")?),
        state: parsed(row, "state")?,
        since: time(row.try_get("since")?),
        root_crl: row.try_get::<Option<i64>, _>("root_crl")?.map(time),
    })
}

pub(super) fn parsed<T: std::str::FromStr>(
    row: &SqliteRow,
    column: &'static str,
) -> Result<T, StoreError>
where
    T::Err: std::fmt::Display,
{
    let text: String = row.try_get(column)?;
    text.parse().map_err(|error: T::Err| damaged(&text, error))
}

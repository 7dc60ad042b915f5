//! Writing: a [`Batch`] is one transaction, all of it or none.

use sqlx::{Connection, SqliteConnection};
use thim_verify::{ArtefactKey, Certificate, Digest, UnixTime};

use super::chips::{self, ChipWrite, WantedWrite};
use super::endorsements::{self, NewEndorsement};
use super::news::{self, NewsWrite};
use super::platforms::{self, PlatformWrite};
use super::tokens::{self, TokenWrite};
use super::{Store, StoreError};
use crate::proof::Proven;
use crate::ready::revoked_entries;
use crate::sentinel::{Remark, State};

/// Everything that one decision writes.
#[derive(Debug, Default)]
pub struct Batch {
    /// Certificates not seen before, with when they were seen.
    pub certificates: Vec<(Certificate, UnixTime)>,
    /// A new edition; or one that was quarantined and has been offered again, sound this time.
    pub edition: Option<NewEdition>,
    /// Changes of state, in order.
    pub transitions: Vec<Transition>,
    /// Editions checked against a root CRL with this `thisUpdate`.
    pub checked: Vec<(Digest, UnixTime)>,
    /// Events.
    pub events: Vec<NewEvent>,
    /// Something that failed.
    pub quarantined: Option<Quarantined>,
    /// A number the source called standard or early.
    pub called: Option<CalledRow>,
    /// An upstream confirmed this key now: (key, when, who).
    pub confirmation: Option<(ArtefactKey, UnixTime, String)>,
    /// What became known of platforms.
    pub platforms: Vec<PlatformWrite>,
    /// PCK certificates a CRL names, or names no more: (platform, certificate, `thisUpdate`).
    pub pck_revoked: Vec<(String, Digest, Option<UnixTime>)>,
    /// Chips registered or forgotten.
    pub chips: Vec<ChipWrite>,
    /// Certificates of chips and clouds.
    pub endorsements: Vec<NewEndorsement>,
    /// Certificates of chips and clouds that go into another state.
    pub endorsement_states: Vec<(Digest, State)>,
    /// Certificates of chips that are wanted, or not any more.
    pub wanted: Vec<WantedWrite>,
    /// Tokens made or ended.
    pub tokens: Vec<TokenWrite>,
    /// News, and what is known from now on.
    pub news: Option<NewsWrite>,
}

/// An edition to insert. Only a verified artefact becomes one.
#[derive(Debug)]
pub struct NewEdition {
    id: Digest,
    key: ArtefactKey,
    issued: UnixTime,
    next_update: UnixTime,
    signer_key: Digest,
    // None for the roots' CRLs.
    issuer: Option<Digest>,
    document: bytes::Bytes,
    revoked_entries: Option<usize>,
    source: String,
    called: Option<&'static str>,
    admitted: UnixTime,
    // `thisUpdate` of the list its signer was checked against.
    root_crl: Option<UnixTime>,
}

impl NewEdition {
    /// An edition of what was verified at `at`, from `source` (a URL or a path), which `called` its number
    /// standard or early, or nothing.
    pub fn new(
        verified: &Proven,
        source: &str,
        called: Option<&'static str>,
        at: UnixTime,
    ) -> Self {
        Self {
            id: verified.id(),
            key: verified.key(),
            issued: verified.issued(),
            next_update: verified.next_update(),
            signer_key: verified.signer_key(),
            issuer: verified.issuer(),
            document: verified.document().clone(),
            revoked_entries: revoked_entries(verified),
            source: source.to_owned(),
            called,
            admitted: at,
            root_crl: verified.checked_against(),
        }
    }
}

/// A change of state.
#[derive(Debug)]
pub struct Transition {
    /// Which edition.
    pub edition: Digest,
    /// Its key.
    pub key: ArtefactKey,
    /// When.
    pub at: UnixTime,
    /// Into which state.
    pub state: State,
    /// Why.
    pub cause: String,
}

/// An event to append.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// When.
    pub at: UnixTime,
    /// What and how loud.
    pub remark: Remark,
    /// The key it is about.
    pub key: Option<ArtefactKey>,
    /// The edition it is about.
    pub edition: Option<Digest>,
}

/// Bytes that failed verification.
#[derive(Debug)]
pub struct Quarantined {
    /// When.
    pub at: UnixTime,
    /// URL or path.
    pub source: String,
    /// The key it claimed, where it could be told.
    pub key: Option<ArtefactKey>,
    /// Why it failed.
    pub reason: String,
    /// The bytes; cut at [`QUARANTINED_BYTES`].
    pub body: bytes::Bytes,
}

/// A number that a source called standard or early.
#[derive(Clone, Debug)]
pub struct CalledRow {
    /// The key without its number.
    pub subject: String,
    /// `standard` or `early`.
    pub choice: &'static str,
    /// The number.
    pub number: u32,
    /// When.
    pub at: UnixTime,
}

impl Store {
    /// Writes a batch: all of it or nothing.
    pub async fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut connection = self.writer.acquire().await?;
        let result = write(&mut connection, batch).await;
        if result.is_err() {
            // SQLite ends a transaction by itself when the disk is full, and the pool does not learn of it:
            // a connection that failed is not used again.
            let _ = connection.close().await;
        }
        result
    }

    /// Writes what `upstream` may be asked next: two instants in milliseconds.
    pub async fn save_budget(
        &self,
        upstream: &str,
        arrival_millis: i64,
        not_before_millis: i64,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO budget (upstream, arrival_millis, not_before_millis) VALUES ($1, $2, $3) \
             ON CONFLICT (upstream) DO UPDATE SET arrival_millis = excluded.arrival_millis, not_before_millis = excluded.not_before_millis",
        )
        .bind(upstream)
        .bind(arrival_millis)
        .bind(not_before_millis)
        .execute(&self.writer)
        .await?;
        Ok(())
    }
}

async fn write(connection: &mut SqliteConnection, batch: &Batch) -> Result<(), StoreError> {
    let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
    for (certificate, seen) in &batch.certificates {
        sqlx::query("INSERT INTO certificate (digest, der, first_seen) VALUES ($1, $2, $3) ON CONFLICT (digest) DO NOTHING")
                .bind(certificate.digest().to_string())
                .bind(certificate.der())
                .bind(seen.secs())
                .execute(&mut *tx)
                .await?;
    }
    if let Some(new) = &batch.edition {
        sqlx::query(
                "INSERT INTO edition (id, artefact, kind, issued, next_update, signer_key, chain, document, document_bytes, \
                 revoked_entries, source, called, fetched, admitted) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) \
             ON CONFLICT (id) DO UPDATE SET document = excluded.document, document_bytes = excluded.document_bytes, chain = excluded.chain",
            )
            .bind(new.id.to_string())
            .bind(new.key.to_string())
            .bind(new.key.kind().to_string())
            .bind(new.issued.secs())
            .bind(new.next_update.secs())
            .bind(new.signer_key.to_string())
            .bind(new.issuer.map(|digest| digest.to_string()).unwrap_or_default())
            .bind(new.document.as_ref())
            .bind(i64::try_from(new.document.len()).unwrap_or(i64::MAX))
            .bind(new.revoked_entries.map(|count| i64::try_from(count).unwrap_or(i64::MAX)))
            .bind(&new.source)
            .bind(new.called)
            .bind(new.admitted.secs())
            .bind(new.admitted.secs())
            .execute(&mut *tx)
            .await?;
    }
    for change in &batch.transitions {
        sqlx::query("INSERT INTO transition (edition, at, state, cause) VALUES ($1, $2, $3, $4)")
            .bind(change.edition.to_string())
            .bind(change.at.secs())
            .bind(change.state.to_string())
            .bind(&change.cause)
            .execute(&mut *tx)
            .await?;
        let root_crl = batch
            .edition
            .as_ref()
            .filter(|new| new.id == change.edition)
            .and_then(|new| new.root_crl);
        sqlx::query(
                "INSERT INTO standing (edition, artefact, state, since, root_crl) VALUES ($1, $2, $3, $4, $5) \
                 ON CONFLICT (edition) DO UPDATE SET state = excluded.state, since = excluded.since",
            )
            .bind(change.edition.to_string())
            .bind(change.key.to_string())
            .bind(change.state.to_string())
            .bind(change.at.secs())
            .bind(root_crl.map(UnixTime::secs))
            .execute(&mut *tx)
            .await?;
    }
    for (edition, root_crl) in &batch.checked {
        sqlx::query("UPDATE standing SET root_crl = $2 WHERE edition = $1")
            .bind(edition.to_string())
            .bind(root_crl.secs())
            .execute(&mut *tx)
            .await?;
    }
    for event in &batch.events {
        sqlx::query("INSERT INTO event (at, name, severity, artefact, edition, text) VALUES ($1, $2, $3, $4, $5, $6)")
                .bind(event.at.secs())
                .bind(event.remark.name)
                .bind(event.remark.severity.to_string())
                .bind(event.key.map(|key| key.to_string()))
                .bind(event.edition.map(|edition| edition.to_string()))
                .bind(&event.remark.text)
                .execute(&mut *tx)
                .await?;
    }
    if let Some(bad) = &batch.quarantined {
        let kept = bad.body.get(..QUARANTINED_BYTES).unwrap_or(&bad.body);
        sqlx::query("INSERT INTO quarantine (at, source, artefact, reason, digest, body) VALUES ($1, $2, $3, $4, $5, $6)")
                .bind(bad.at.secs())
                .bind(&bad.source)
                .bind(bad.key.map(|key| key.to_string()))
                .bind(&bad.reason)
                .bind(Digest::of(&bad.body).to_string())
                .bind(kept)
                .execute(&mut *tx)
                .await?;
        sqlx::query("DELETE FROM quarantine WHERE seq <= (SELECT MAX(seq) FROM quarantine) - $1")
            .bind(QUARANTINE_ROWS)
            .execute(&mut *tx)
            .await?;
    }
    if let Some(called) = &batch.called {
        sqlx::query(
                "INSERT INTO called (subject, choice, number, at) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (subject, choice) DO UPDATE SET number = excluded.number, at = excluded.at",
            )
            .bind(&called.subject)
            .bind(called.choice)
            .bind(i64::from(called.number))
            .bind(called.at.secs())
            .execute(&mut *tx)
            .await?;
    }
    if let Some((key, at, source)) = &batch.confirmation {
        sqlx::query(
            "INSERT INTO confirmation (artefact, at, source) VALUES ($1, $2, $3) \
                 ON CONFLICT (artefact) DO UPDATE SET at = excluded.at, source = excluded.source",
        )
        .bind(key.to_string())
        .bind(at.secs())
        .bind(source)
        .execute(&mut *tx)
        .await?;
    }
    for write in &batch.platforms {
        platforms::apply(&mut tx, write).await?;
    }
    for (platform, certificate, revoked) in &batch.pck_revoked {
        platforms::mark(&mut tx, platform, *certificate, *revoked).await?;
    }
    for write in &batch.chips {
        chips::apply(&mut tx, write).await?;
    }
    for new in &batch.endorsements {
        endorsements::insert(&mut tx, new).await?;
    }
    for (digest, state) in &batch.endorsement_states {
        endorsements::settle(&mut tx, *digest, *state).await?;
    }
    for write in &batch.wanted {
        chips::want(&mut tx, write).await?;
    }
    for write in &batch.tokens {
        tokens::apply(&mut tx, write).await?;
    }
    if let Some(write) = &batch.news {
        news::apply(&mut tx, write).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// A quarantined body is kept for a look, not for use.
const QUARANTINED_BYTES: usize = 256 * 1024;
/// A lying upstream must not fill the disk.
const QUARANTINE_ROWS: i64 = 1000;

//! Writing platforms: a [`PlatformWrite`] is part of a [`Batch`](super::Batch), so what becomes known of a platform,
//! its certificates, its story and the events about it are one transaction.
//!
//! Only a verified PCK certificate becomes a [`NewPck`]. Rows that callers can multiply are capped here: raw TCBs and
//! lines of the story, the oldest of which make room.

use sqlx::{Connection, Sqlite, SqliteConnection, Transaction};
use thim_verify::{Digest, PckCertificate, RawTcb, UnixTime, Verified};

use super::platform_rows::{AliasRow, GapRow, PlatformRow, TimelineRow};
use super::{Store, StoreError};

/// What one decision writes about one platform.
#[derive(Debug)]
pub struct PlatformWrite {
    /// The platform as it is from now on.
    pub platform: PlatformRow,
    /// A platform that has turned out to be this one; it goes, and its names come here.
    pub merged: Option<String>,
    /// Names it is asked for by, added or moved here.
    pub aliases: Vec<AliasRow>,
    /// Certificates in the order of the vendor's list; of a level the newest is served, the others are history.
    pub certificates: Vec<NewPck>,
    /// Levels without a certificate, in place of those known; `None` leaves them.
    pub gaps: Option<Vec<GapRow>>,
    /// Raw TCBs it was seen with.
    pub raw_tcbs: Vec<NewRawTcb>,
    /// Lines of its story.
    pub timeline: Vec<TimelineRow>,
    /// Platforms that lose one of the names above.
    pub bereft: Vec<String>,
}

impl PlatformWrite {
    /// Writes the platform's own row and nothing else.
    pub fn new(platform: PlatformRow) -> Self {
        Self {
            platform,
            merged: None,
            aliases: Vec::new(),
            certificates: Vec::new(),
            gaps: None,
            raw_tcbs: Vec::new(),
            timeline: Vec::new(),
            bereft: Vec::new(),
        }
    }

    /// The platforms of which something changes.
    pub fn touches(&self) -> impl Iterator<Item = &str> {
        [self.platform.id.as_str()]
            .into_iter()
            .chain(self.merged.as_deref())
            .chain(self.bereft.iter().map(String::as_str))
    }
}

/// A raw TCB a platform was seen with.
#[derive(Debug)]
pub struct NewRawTcb {
    /// Under which QE id.
    pub qe_id: String,
    /// The raw TCB.
    pub tcb: RawTcb,
    /// True where a registration or an import told it; an open request may make up any.
    pub told: bool,
    /// When.
    pub at: UnixTime,
}

/// A certificate to insert. Only a verified one becomes this.
#[derive(Debug)]
pub struct NewPck {
    digest: Digest,
    tcbm: RawTcb,
    pem: bytes::Bytes,
    issuer: Digest,
    issuer_key: Digest,
    serial: String,
    ca: &'static str,
    not_before: UnixTime,
    not_after: UnixTime,
    admitted: UnixTime,
    source: String,
    revoked: Option<UnixTime>,
}

impl NewPck {
    /// A certificate verified at `at`, from `source` (a URL without secrets, or a path). `pem` is its text as received.
    pub fn new(
        verified: &Verified<PckCertificate>,
        pem: bytes::Bytes,
        source: &str,
        at: UnixTime,
    ) -> Self {
        let certificate = verified.certificate();
        // A leaf has an issuer: `verify_pck` makes no chain of a root alone.
        let issuer = verified
            .chain()
            .issuer()
            .unwrap_or_else(|| verified.chain().root());
        Self {
            digest: certificate.digest(),
            tcbm: verified.tcbm(),
            pem,
            issuer: issuer.digest(),
            issuer_key: issuer.spki_digest(),
            serial: data_encoding::HEXLOWER.encode(certificate.serial()),
            ca: verified.ca().name(),
            not_before: certificate.not_before(),
            not_after: certificate.not_after(),
            admitted: at,
            source: source.to_owned(),
            revoked: None,
        }
    }

    /// Says that a list of `this_update` names it: it takes nobody's place then.
    pub fn revoke(&mut self, this_update: UnixTime) {
        self.revoked = Some(this_update);
    }

    /// Its level.
    pub fn tcbm(&self) -> RawTcb {
        self.tcbm
    }

    /// SHA-256 of its DER.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

/// What a tool is to collect.
#[derive(Debug)]
pub struct NewRegistration {
    /// A keyed hash that tells those without a QE id apart; else empty.
    pub material: String,
    /// Upper case.
    pub qe_id: String,
    /// 4 upper hex digits.
    pub pce_id: String,
    /// 32 upper hex digits or empty.
    pub cpu_svn: String,
    /// 4 upper hex digits or empty.
    pub pce_svn: String,
    /// Sealed.
    pub enc_ppid: Option<Vec<u8>>,
    /// Sealed.
    pub manifest: Option<Vec<u8>>,
    /// `new` or `not-available`.
    pub state: &'static str,
    /// When.
    pub at: UnixTime,
}

impl Store {
    /// Forgets a platform: its names, certificates, evidence, story and secrets. False where there is none.
    pub async fn forget_platform(&self, id: &str) -> Result<bool, StoreError> {
        let mut connection = self.writer.acquire().await?;
        let result = forget(&mut connection, id).await;
        if result.is_err() {
            // As in `Store::commit`: a connection that failed in a transaction is not used again.
            let _ = connection.close().await;
        }
        result
    }

    /// Makes every platform that can be fetched, and whose certificates came under a lower number, due. In steps, so that
    /// nobody else's write waits for a fleet.
    pub async fn platforms_recovered(&self, number: u32, now: UnixTime) -> Result<u64, StoreError> {
        let mut made_due = 0;
        loop {
            let done = sqlx::query(
                "UPDATE platform SET due = $2 WHERE id IN (SELECT id FROM platform WHERE fetched_number < $1 \
                 AND (due IS NULL OR due > $2) \
                 AND (manifest IS NOT NULL OR enc_ppid IS NOT NULL) LIMIT $3)",
            )
            .bind(i64::from(number))
            .bind(now.secs())
            .bind(STEP)
            .execute(&self.writer)
            .await?;
            made_due += done.rows_affected();
            if done.rows_affected() == 0 {
                return Ok(made_due);
            }
        }
    }

    /// Makes platforms due now: those of an FMSPC, or all that have something to fetch them with.
    pub async fn platforms_make_due(
        &self,
        fmspc: Option<thim_verify::Fmspc>,
        now: UnixTime,
    ) -> Result<u64, StoreError> {
        let done = sqlx::query(
            "UPDATE platform SET due = $2 WHERE ($1 = '' OR fmspc = $1) AND (manifest IS NOT NULL OR enc_ppid IS NOT NULL)",
        )
        .bind(fmspc.map(|fmspc| fmspc.to_string()).unwrap_or_default())
        .bind(now.secs())
        .execute(&self.writer)
        .await?;
        Ok(done.rows_affected())
    }

    /// Notes a raw TCB; `told` by a registration, or else brought by an open request. Of a platform's the oldest make
    /// room, those first that nobody told.
    pub async fn note_raw_tcb(
        &self,
        platform: &str,
        qe_id: &str,
        tcb: RawTcb,
        told: bool,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        let new = NewRawTcb {
            qe_id: qe_id.to_owned(),
            tcb,
            told,
            at: now,
        };
        // Two statements and no transaction: that the oldest make room may wait for the next one.
        insert_raw_tcb(&mut *self.writer.acquire().await?, platform, &new).await
    }

    /// Puts a registration into the queue; the same one again is new again.
    pub async fn queue_registration(&self, row: &NewRegistration) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO registration (qe_id, pce_id, cpu_svn, pce_svn, enc_ppid, manifest, state, at, material) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (qe_id, pce_id, cpu_svn, pce_svn, material) DO UPDATE SET \
             enc_ppid = excluded.enc_ppid, manifest = excluded.manifest, state = excluded.state, at = excluded.at",
        )
        .bind(&row.qe_id)
        .bind(&row.pce_id)
        .bind(&row.cpu_svn)
        .bind(&row.pce_svn)
        .bind(row.enc_ppid.as_deref())
        .bind(row.manifest.as_deref())
        .bind(row.state)
        .bind(row.at.secs())
        .bind(&row.material)
        .execute(&self.writer)
        .await?;
        // What was handed over goes first; a flood of made-up registrations then pushes out its own oldest rows.
        sqlx::query(
            "DELETE FROM registration WHERE seq IN (SELECT seq FROM registration ORDER BY state <> 'handed-over', at, seq \
             LIMIT MAX(0, (SELECT COUNT(*) FROM registration) - $1))",
        )
        .bind(REGISTRATIONS)
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// A registration was fetched and is no more to be collected.
    pub async fn registration_done(
        &self,
        qe_id: &str,
        pce_id: &str,
        material: &str,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE registration SET state = 'handed-over', enc_ppid = NULL, manifest = NULL \
             WHERE qe_id = $1 AND pce_id = $2 AND material = $3 AND state = 'new'",
        )
        .bind(qe_id)
        .bind(pce_id)
        .bind(material)
        .execute(&self.writer)
        .await?;
        Ok(())
    }
}

/// Writes one platform's part of a batch.
pub(super) async fn apply(
    tx: &mut Transaction<'_, Sqlite>,
    write: &PlatformWrite,
) -> Result<(), StoreError> {
    let row = &write.platform;
    sqlx::query(
        "INSERT INTO platform (id, pce_id, ppid_hash, enc_ppid_hash, manifest_hash, enc_ppid, manifest, fmspc, ca, cached_keys, \
         state, cause, detail, since, origin, registered, fetched, fetched_number, due) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19) \
         ON CONFLICT (id) DO UPDATE SET pce_id = excluded.pce_id, ppid_hash = excluded.ppid_hash, \
         enc_ppid_hash = excluded.enc_ppid_hash, manifest_hash = excluded.manifest_hash, enc_ppid = excluded.enc_ppid, \
         manifest = excluded.manifest, fmspc = excluded.fmspc, ca = excluded.ca, cached_keys = excluded.cached_keys, \
         state = excluded.state, cause = excluded.cause, detail = excluded.detail, since = excluded.since, \
         origin = excluded.origin, fetched = excluded.fetched, fetched_number = excluded.fetched_number, due = excluded.due",
    )
    .bind(&row.id)
    .bind(row.pce_id.to_string())
    .bind(row.ppid_hash.as_deref())
    .bind(row.enc_ppid_hash.as_deref())
    .bind(row.manifest_hash.as_deref())
    .bind(row.enc_ppid.as_ref().map(|sealed| sealed.0.as_slice()))
    .bind(row.manifest.as_ref().map(|sealed| sealed.0.as_slice()))
    .bind(row.fmspc.map(|fmspc| fmspc.to_string()))
    .bind(row.ca.map(thim_verify::PckCa::name))
    .bind(row.cached_keys.map(i64::from))
    .bind(row.state.name())
    .bind(row.cause.name())
    .bind(&row.detail)
    .bind(row.since.secs())
    .bind(row.origin.name())
    .bind(row.registered.secs())
    .bind(row.fetched.map(UnixTime::secs))
    .bind(i64::from(row.fetched_number))
    .bind(row.due.map(UnixTime::secs))
    .execute(&mut **tx)
    .await?;
    if let Some(merged) = &write.merged {
        for statement in [
            "UPDATE platform_alias SET platform = $2 WHERE platform = $1",
            "UPDATE platform_timeline SET platform = $2 WHERE platform = $1",
            "UPDATE OR REPLACE raw_tcb SET platform = $2 WHERE platform = $1",
            "UPDATE OR REPLACE pck_certificate SET platform = $2 WHERE platform = $1",
            "UPDATE OR IGNORE platform_evidence SET platform = $2 WHERE platform = $1",
        ] {
            sqlx::query(statement)
                .bind(merged)
                .bind(&row.id)
                .execute(&mut **tx)
                .await?;
        }
        for statement in [
            "DELETE FROM pck_gap WHERE platform = $1",
            "DELETE FROM platform_evidence WHERE platform = $1",
            "DELETE FROM platform WHERE id = $1",
        ] {
            sqlx::query(statement)
                .bind(merged)
                .execute(&mut **tx)
                .await?;
        }
    }
    for alias in &write.aliases {
        sqlx::query(
            "INSERT INTO platform_alias (qe_id, pce_id, platform, strong, since) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (qe_id, pce_id) DO UPDATE SET platform = excluded.platform, \
             strong = MAX(platform_alias.strong * (platform_alias.platform = excluded.platform), excluded.strong)",
        )
        .bind(&alias.qe_id)
        .bind(alias.pce_id.to_string())
        .bind(&alias.platform)
        .bind(i64::from(alias.strong))
        .bind(alias.since.secs())
        .execute(&mut **tx)
        .await?;
    }
    for (place, new) in (0_i64..).zip(&write.certificates) {
        insert_certificate(tx, &row.id, place, new).await?;
    }
    if let Some(gaps) = &write.gaps {
        sqlx::query("DELETE FROM pck_gap WHERE platform = $1")
            .bind(&row.id)
            .execute(&mut **tx)
            .await?;
        for gap in gaps {
            sqlx::query(
                "INSERT OR REPLACE INTO pck_gap (platform, tcbm, gap, why) VALUES ($1, $2, $3, $4)",
            )
            .bind(&row.id)
            .bind(gap.tcbm.to_string())
            .bind(gap.gap.name())
            .bind(&gap.why)
            .execute(&mut **tx)
            .await?;
        }
    }
    for new in &write.raw_tcbs {
        insert_raw_tcb(tx, &row.id, new).await?;
    }
    for line in &write.timeline {
        sqlx::query("INSERT INTO platform_timeline (platform, at, state, cause, text) VALUES ($1, $2, $3, $4, $5)")
            .bind(&row.id)
            .bind(line.at.secs())
            .bind(line.state.name())
            .bind(line.cause.name())
            .bind(&line.text)
            .execute(&mut **tx)
            .await?;
    }
    if !write.timeline.is_empty() {
        sqlx::query(
            "DELETE FROM platform_timeline WHERE platform = $1 AND seq <= \
             (SELECT seq FROM platform_timeline WHERE platform = $1 ORDER BY seq DESC LIMIT 1 OFFSET $2)",
        )
        .bind(&row.id)
        .bind(TIMELINE_ROWS)
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

/// Marks certificates as revoked by a list of `this_update`, or as no longer revoked.
pub(super) async fn mark(
    tx: &mut Transaction<'_, Sqlite>,
    platform: &str,
    digest: Digest,
    revoked: Option<UnixTime>,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE pck_certificate SET revoked = $3 WHERE platform = $1 AND digest = $2")
        .bind(platform)
        .bind(digest.to_string())
        .bind(revoked.map(UnixTime::secs))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Puts a certificate into the history of its level, and in the place of the one that is served if it is better. So an
/// older list, replayed by an upstream or imported late, takes nothing back.
async fn insert_certificate(
    tx: &mut Transaction<'_, Sqlite>,
    platform: &str,
    place: i64,
    new: &NewPck,
) -> Result<(), StoreError> {
    // Retired at first. What is known keeps what was learnt of it; only its place is that of this list.
    sqlx::query(
        "INSERT INTO pck_certificate (platform, digest, tcbm, pem, issuer, issuer_key, serial, ca, place, not_before, \
         not_after, admitted, source, retired, revoked) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $12, $14) \
         ON CONFLICT (platform, digest) DO UPDATE SET place = excluded.place, pem = excluded.pem, \
         revoked = COALESCE(pck_certificate.revoked, excluded.revoked)",
    )
    .bind(platform)
    .bind(new.digest.to_string())
    .bind(new.tcbm.to_string())
    .bind(new.pem.as_ref())
    .bind(new.issuer.to_string())
    .bind(new.issuer_key.to_string())
    .bind(&new.serial)
    .bind(new.ca)
    .bind(place)
    .bind(new.not_before.secs())
    .bind(new.not_after.secs())
    .bind(new.admitted.secs())
    .bind(&new.source)
    .bind(new.revoked.map(UnixTime::secs))
    .execute(&mut **tx)
    .await?;
    // Of it and the one that is served: one that no list names, then the younger, then the one that is served already.
    let best: Option<String> = sqlx::query_scalar(
        "SELECT digest FROM pck_certificate WHERE platform = $1 AND tcbm = $2 AND (digest = $3 OR retired IS NULL) \
         ORDER BY revoked IS NOT NULL, not_before DESC, retired IS NOT NULL LIMIT 1",
    )
    .bind(platform)
    .bind(new.tcbm.to_string())
    .bind(new.digest.to_string())
    .fetch_optional(&mut **tx)
    .await?;
    if best.is_none_or(|best| best != new.digest.to_string()) {
        return Ok(());
    }
    sqlx::query(
        "UPDATE pck_certificate SET retired = CASE WHEN digest = $3 THEN NULL ELSE $4 END \
         WHERE platform = $1 AND tcbm = $2 AND (digest = $3 OR retired IS NULL)",
    )
    .bind(platform)
    .bind(new.tcbm.to_string())
    .bind(new.digest.to_string())
    .bind(new.admitted.secs())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

async fn forget(connection: &mut SqliteConnection, id: &str) -> Result<bool, StoreError> {
    let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
    for statement in [
        "DELETE FROM registration WHERE EXISTS (SELECT 1 FROM platform_alias a WHERE a.platform = $1 \
         AND a.qe_id = registration.qe_id AND a.pce_id = registration.pce_id)",
        "DELETE FROM registration WHERE material <> '' AND material IN (SELECT enc_ppid_hash FROM platform WHERE id = $1 \
         UNION SELECT manifest_hash FROM platform WHERE id = $1)",
        "DELETE FROM platform_alias WHERE platform = $1",
        "DELETE FROM pck_certificate WHERE platform = $1",
        "DELETE FROM pck_gap WHERE platform = $1",
        "DELETE FROM raw_tcb WHERE platform = $1",
        "DELETE FROM platform_timeline WHERE platform = $1",
        "DELETE FROM platform_evidence WHERE platform = $1",
    ] {
        sqlx::query(statement).bind(id).execute(&mut *tx).await?;
    }
    let done = sqlx::query("DELETE FROM platform WHERE id = $1")
        .bind(id)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(done.rows_affected() > 0)
}

async fn insert_raw_tcb(
    connection: &mut SqliteConnection,
    platform: &str,
    new: &NewRawTcb,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO raw_tcb (platform, qe_id, tcb, first, last, told) VALUES ($1, $2, $3, $4, $4, $5) \
         ON CONFLICT (platform, qe_id, tcb) DO UPDATE SET last = excluded.last, told = MAX(raw_tcb.told, excluded.told)",
    )
    .bind(platform)
    .bind(&new.qe_id)
    .bind(new.tcb.to_string())
    .bind(new.at.secs())
    .bind(if new.told { new.at.secs() } else { 0 })
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "DELETE FROM raw_tcb WHERE platform = $1 AND rowid IN \
         (SELECT rowid FROM raw_tcb WHERE platform = $1 ORDER BY told DESC, last DESC, rowid DESC LIMIT -1 OFFSET $2)",
    )
    .bind(platform)
    .bind(RAW_TCBS)
    .execute(&mut *connection)
    .await?;
    Ok(())
}

/// A platform has one raw TCB at a time and a handful in its life; open requests may make up more, in place of one
/// another.
const RAW_TCBS: i64 = 32;
/// Years of a platform's story.
const TIMELINE_ROWS: i64 = 200;
/// Registrations that wait to be collected; each may hold a manifest of some 20 KB.
const REGISTRATIONS: i64 = 100_000;
/// Rows changed by one statement.
const STEP: i64 = 5000;

//! What quotes said about platforms: one row a platform, the newest quote's, and of TEE TCB SVNs the newest trust
//! domain's.
//!
//! What it promises. Never older over newer, by when a quote was seen; the same again within [`SAME_SECS`] is not written,
//! so that a service that judges a machine's quotes all day does not write all day. A platform that is not in the
//! register gets no row, and one that is forgotten loses its own. Who may write, and after what checks, is decided by
//! [`platforms`](crate::platforms).

use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use thim_verify::{Quote, QuoteBody, RawTcb, Tee, TeeTcbSvn, UnixTime};

use super::read::parsed;
use super::{Store, StoreError, damaged, time};

/// What quotes of a platform said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EvidenceRow {
    /// What the newest quote was of, and so whose quoting enclave it came from.
    pub tee: Tee,
    /// That quoting enclave's ISVSVN.
    pub qe_isv_svn: u16,
    /// The TCB of the PCK certificate that it stood on.
    pub pck_tcb: RawTcb,
    /// When it was seen, by the service's clock; when it was made, no quote says.
    pub seen: UnixTime,
    /// Of the newest quote of a trust domain.
    pub domain: Option<DomainEvidence>,
}

/// What a TD report says of its platform.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DomainEvidence {
    /// TEE TCB SVN, at the domain's launch.
    pub tee_tcb_svn: TeeTcbSvn,
    /// TEE TCB SVN 2, when it was reported; layout 1.0 has none.
    pub tee_tcb_svn2: Option<TeeTcbSvn>,
    /// When it was seen.
    pub seen: UnixTime,
}

/// What became of a quote that was to be recorded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EvidenceNoted {
    /// It is recorded.
    Kept,
    /// One that was seen later is.
    Older,
    /// The register does not know the platform.
    Unknown,
}

impl EvidenceRow {
    /// What a quote says of its platform, seen at an instant. `pck_tcb` is of the PCK certificate that it stood on.
    pub fn of(quote: &Quote, pck_tcb: RawTcb, seen: UnixTime) -> Self {
        Self {
            tee: quote.tee(),
            qe_isv_svn: quote.qe_report().isv_svn,
            pck_tcb,
            seen,
            domain: match quote.body() {
                QuoteBody::Sgx(_) => None,
                QuoteBody::Td(report) => Some(DomainEvidence {
                    tee_tcb_svn: report.tee_tcb_svn,
                    tee_tcb_svn2: report.tee_tcb_svn2,
                    seen,
                }),
            },
        }
    }

    /// Whether `newer` says the same, and was seen so soon after this that writing it tells nobody anything.
    fn says(&self, newer: &Self) -> bool {
        let apart = newer.seen.secs().saturating_sub(self.seen.secs());
        let svns = |row: &Self| row.domain.map(|one| (one.tee_tcb_svn, one.tee_tcb_svn2));
        let fresh = |row: &Self| row.domain.is_some_and(|one| one.seen == row.seen);
        (0..SAME_SECS).contains(&apart)
            && self.tee == newer.tee
            && self.qe_isv_svn == newer.qe_isv_svn
            && self.pck_tcb == newer.pck_tcb
            // An SGX quote says nothing of trust domains, and leaves what one said.
            && (newer.domain.is_none() || (svns(self) == svns(newer) && fresh(self)))
    }
}

impl Store {
    /// Records what a quote said of the platform with this PPID (keyed hash).
    pub async fn note_evidence(
        &self,
        ppid_hash: &str,
        new: &EvidenceRow,
    ) -> Result<EvidenceNoted, StoreError> {
        let found = sqlx::query(
            "SELECT p.id, e.tee, e.qe_isv_svn, e.pck_tcb, e.seen, e.tee_tcb_svn, e.tee_tcb_svn2, e.td_seen \
             FROM platform p LEFT JOIN platform_evidence e ON e.platform = p.id WHERE p.ppid_hash = $1",
        )
        .bind(ppid_hash)
        .fetch_optional(&self.reader)
        .await?;
        let Some(found) = found else {
            return Ok(EvidenceNoted::Unknown);
        };
        if found.try_get::<Option<i64>, _>("seen")?.is_some() {
            let held = evidence(&found)?;
            if held.seen > new.seen {
                return Ok(EvidenceNoted::Older);
            }
            if held.says(new) {
                return Ok(EvidenceNoted::Kept);
            }
        }
        // One statement: nobody forgets the platform, nor records a newer quote, in between.
        let domain = new.domain.as_ref();
        let done = sqlx::query(
            "INSERT INTO platform_evidence (platform, tee, qe_isv_svn, pck_tcb, seen, tee_tcb_svn, tee_tcb_svn2, td_seen) \
             SELECT id, $2, $3, $4, $5, $6, $7, $8 FROM platform WHERE ppid_hash = $1 \
             ON CONFLICT (platform) DO UPDATE SET tee = excluded.tee, qe_isv_svn = excluded.qe_isv_svn, \
             pck_tcb = excluded.pck_tcb, seen = excluded.seen, \
             tee_tcb_svn = CASE WHEN excluded.td_seen IS NULL THEN platform_evidence.tee_tcb_svn ELSE excluded.tee_tcb_svn END, \
             tee_tcb_svn2 = CASE WHEN excluded.td_seen IS NULL THEN platform_evidence.tee_tcb_svn2 ELSE excluded.tee_tcb_svn2 END, \
             td_seen = COALESCE(excluded.td_seen, platform_evidence.td_seen) \
             WHERE excluded.seen >= platform_evidence.seen",
        )
        .bind(ppid_hash)
        .bind(new.tee.name())
        .bind(i64::from(new.qe_isv_svn))
        .bind(new.pck_tcb.to_string())
        .bind(new.seen.secs())
        .bind(domain.map(|domain| domain.tee_tcb_svn.to_string()))
        .bind(domain.and_then(|domain| domain.tee_tcb_svn2).map(|svn| svn.to_string()))
        .bind(domain.map(|domain| domain.seen.secs()))
        .execute(&self.writer)
        .await?;
        Ok(if done.rows_affected() > 0 {
            EvidenceNoted::Kept
        } else {
            EvidenceNoted::Older
        })
    }

    /// What quotes said of a platform; none where none was recorded.
    pub async fn platform_evidence(
        &self,
        platform: &str,
    ) -> Result<Option<EvidenceRow>, StoreError> {
        let row = sqlx::query(
            "SELECT tee, qe_isv_svn, pck_tcb, seen, tee_tcb_svn, tee_tcb_svn2, td_seen \
             FROM platform_evidence WHERE platform = $1",
        )
        .bind(platform)
        .fetch_optional(&self.reader)
        .await?;
        row.as_ref().map(evidence).transpose()
    }
}

fn evidence(row: &SqliteRow) -> Result<EvidenceRow, StoreError> {
    let tee: String = row.try_get("tee")?;
    let tee = Tee::ALL
        .into_iter()
        .find(|one| one.name() == tee)
        .ok_or_else(|| damaged(&tee, "wanted sgx or tdx"))?;
    let qe_isv_svn: i64 = row.try_get("qe_isv_svn")?;
    let td_seen: Option<i64> = row.try_get("td_seen")?;
    let domain = match td_seen {
        None => None,
        Some(seen) => Some(DomainEvidence {
            tee_tcb_svn: parsed(row, "tee_tcb_svn")?,
            tee_tcb_svn2: match row.try_get::<Option<String>, _>("tee_tcb_svn2")? {
                None => None,
                Some(_) => Some(parsed(row, "tee_tcb_svn2")?),
            },
            seen: time(seen),
        }),
    };
    Ok(EvidenceRow {
        tee,
        qe_isv_svn: u16::try_from(qe_isv_svn).map_err(|error| damaged(qe_isv_svn, error))?,
        pck_tcb: parsed(row, "pck_tcb")?,
        seen: time(row.try_get("seen")?),
        domain,
    })
}

/// Finer than anybody looks at when a platform was last seen.
const SAME_SECS: i64 = 60;

#[cfg(test)]
mod tests {
    use super::*;

    const PPID: &str = "a keyed hash";

    fn at(secs: i64) -> UnixTime {
        UnixTime::from_secs(secs)
    }

    fn row(svn: u8, seen: i64) -> EvidenceRow {
        EvidenceRow {
            tee: Tee::Tdx,
            qe_isv_svn: 9,
            pck_tcb: "0B".repeat(18).parse().expect("a raw TCB"),
            seen: at(seen),
            domain: Some(DomainEvidence {
                tee_tcb_svn: TeeTcbSvn([svn; 16]),
                tee_tcb_svn2: None,
                seen: at(seen),
            }),
        }
    }

    async fn opened(directory: &tempfile::TempDir) -> Result<Store, StoreError> {
        Store::open(directory.path(), thim_verify::Digest::of(b"roots")).await
    }

    /// A store with one platform.
    async fn store(directory: &tempfile::TempDir) -> Store {
        let store = opened(directory).await.expect("a store");
        sqlx::query(
            "INSERT INTO platform (id, pce_id, ppid_hash, state, cause, detail, since, origin, registered) \
             VALUES ('0123456789abcdef', '0000', $1, 'ready', 'none', '', 1, 'registered', 1)",
        )
        .bind(PPID)
        .execute(&store.writer)
        .await
        .expect("a platform");
        store
    }

    async fn held(store: &Store) -> Option<EvidenceRow> {
        let held = store.platform_evidence("0123456789abcdef").await;
        held.expect("read")
    }

    #[tokio::test]
    async fn never_older_over_newer_and_the_same_is_not_written_twice() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = store(&directory).await;
        let note = async |row: &EvidenceRow| store.note_evidence(PPID, row).await.expect("noted");
        assert_eq!(note(&row(3, 1000)).await, EvidenceNoted::Kept);
        assert_eq!(note(&row(4, 999)).await, EvidenceNoted::Older);
        assert_eq!(held(&store).await, Some(row(3, 1000)));
        // Lower, and at the same second: the later of the two.
        assert_eq!(note(&row(2, 1000)).await, EvidenceNoted::Kept);
        assert_eq!(held(&store).await, Some(row(2, 1000)));
        // The same within a minute is not written, and after that it is.
        assert_eq!(note(&row(2, 1059)).await, EvidenceNoted::Kept);
        assert_eq!(held(&store).await, Some(row(2, 1000)));
        assert_eq!(note(&row(2, 1060)).await, EvidenceNoted::Kept);
        assert_eq!(held(&store).await, Some(row(2, 1060)));
        // Another is, at once.
        assert_eq!(note(&row(5, 1061)).await, EvidenceNoted::Kept);
        assert_eq!(held(&store).await, Some(row(5, 1061)));
        let stranger = store.note_evidence("another", &row(3, 2000)).await;
        assert_eq!(stranger.expect("noted"), EvidenceNoted::Unknown);
        let rows: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM platform_evidence")
            .fetch_one(&store.reader)
            .await
            .expect("counted");
        assert_eq!(rows, 1);
    }

    #[tokio::test]
    async fn an_older_store_is_taken_over_and_a_newer_one_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = store(&directory).await;
        for statement in [
            "DROP TABLE platform_evidence",
            "UPDATE meta SET value = '3' WHERE name = 'schema'",
        ] {
            sqlx::query(statement)
                .execute(&store.writer)
                .await
                .expect("as version 3 was");
        }
        store.close().await;

        let store = opened(&directory).await.expect("taken over");
        assert_eq!(held(&store).await, None);
        let noted = store.note_evidence(PPID, &row(3, 1000)).await;
        assert_eq!(noted.expect("noted"), EvidenceNoted::Kept);
        store.close().await;
        let store = opened(&directory).await.expect("its own version");
        assert_eq!(held(&store).await, Some(row(3, 1000)));

        sqlx::query("UPDATE meta SET value = '6' WHERE name = 'schema'")
            .execute(&store.writer)
            .await
            .expect("as a newer program leaves it");
        store.close().await;
        let refused = opened(&directory).await.err().expect("refused");
        assert!(
            refused
                .to_string()
                .ends_with("schema version 6; this program knows 5"),
            "{refused}"
        );
    }
}

//! What `GET /platforms` hands out, page by page, and how far a refresh of certificates has come
//! (`spec/intel-pcs-and-pccs.md` sections 2.8 and 2.10).
//!
//! A register has a hundred thousand rows, each with a manifest of up to 56 KB: nobody reads them all at once. A reader
//! takes a [`Span`] first, which says how many rows there are and which is the last, and then pages up to that one; what
//! is added meanwhile waits for the next reader.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use thim_verify::{Fmspc, RawTcb, UnixTime};

use super::platform_rows::{RegistrationRow, Sealed};
use super::read::parsed;
use super::{Store, StoreError};

/// Rows that are there at one moment.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Span {
    /// How many.
    pub count: u64,
    /// The last one's place.
    pub last: i64,
}

/// A platform with one of its raw TCBs: a row of PCCS's list of cached platforms.
#[derive(Clone, Debug)]
pub struct CachedRow {
    /// Its place.
    pub place: i64,
    /// Upper case.
    pub qe_id: String,
    /// 4 upper hex digits.
    pub pce_id: String,
    /// What it was seen with.
    pub raw_tcb: RawTcb,
    /// Sealed.
    pub enc_ppid: Option<Sealed>,
    /// Sealed.
    pub manifest: Option<Sealed>,
}

/// How far a refresh has come.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Unfetched {
    /// Platforms whose list has not come since, or is to come again.
    pub count: u64,
    /// Those of them that are still due.
    pub due: u64,
}

impl Store {
    /// The registrations in `state`.
    pub async fn registration_span(&self, state: &str) -> Result<Span, StoreError> {
        let row = sqlx::query(
            "SELECT COUNT(*) AS count, COALESCE(MAX(seq), 0) AS last FROM registration WHERE state = $1",
        )
        .bind(state)
        .fetch_one(&self.reader)
        .await?;
        span(&row)
    }

    /// Registrations in `state` after the place `after` and up to `upto`, oldest first.
    pub async fn registration_page(
        &self,
        state: &str,
        after: i64,
        upto: i64,
        limit: u32,
    ) -> Result<Vec<RegistrationRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT seq, qe_id, pce_id, cpu_svn, pce_svn, enc_ppid, manifest FROM registration \
             WHERE state = $1 AND seq > $2 AND seq <= $3 ORDER BY seq LIMIT $4",
        )
        .bind(state)
        .bind(after)
        .bind(upto)
        .bind(i64::from(limit))
        .fetch_all(&self.reader)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(RegistrationRow {
                    seq: row.try_get("seq")?,
                    qe_id: row.try_get("qe_id")?,
                    pce_id: row.try_get("pce_id")?,
                    cpu_svn: row.try_get("cpu_svn")?,
                    pce_svn: row.try_get("pce_svn")?,
                    enc_ppid: sealed(row, "enc_ppid")?,
                    manifest: sealed(row, "manifest")?,
                })
            })
            .collect()
    }

    /// Those up to `upto` that were registered by `read` are handed over: what they held is not kept. One that was
    /// registered again in a later second, maybe with another manifest, stays.
    pub async fn registrations_handed_out(
        &self,
        state: &str,
        upto: i64,
        read: UnixTime,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE registration SET state = 'handed-over', enc_ppid = NULL, manifest = NULL \
             WHERE state = $1 AND seq <= $2 AND at <= $3",
        )
        .bind(state)
        .bind(upto)
        .bind(read.secs())
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// Platforms with certificates, one row a raw TCB, of these FMSPCs; of all without any.
    pub async fn cached_span(&self, fmspcs: &[Fmspc]) -> Result<Span, StoreError> {
        let row = sqlx::query(
            "SELECT COUNT(*) AS count, COALESCE(MAX(r.rowid), 0) AS last FROM raw_tcb r JOIN platform p ON p.id = r.platform \
             WHERE p.fmspc IS NOT NULL AND ($1 = '' OR $1 LIKE '%' || p.fmspc || '%')",
        )
        .bind(listed(fmspcs))
        .fetch_one(&self.reader)
        .await?;
        span(&row)
    }

    /// Rows of [`Store::cached_span`] after a place and up to `upto`.
    pub async fn cached_page(
        &self,
        fmspcs: &[Fmspc],
        after: i64,
        upto: i64,
        limit: u32,
    ) -> Result<Vec<CachedRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT r.rowid AS place, r.qe_id, r.tcb, p.pce_id, p.enc_ppid, p.manifest \
             FROM raw_tcb r JOIN platform p ON p.id = r.platform \
             WHERE p.fmspc IS NOT NULL AND ($1 = '' OR $1 LIKE '%' || p.fmspc || '%') \
             AND r.rowid > $2 AND r.rowid <= $3 ORDER BY r.rowid LIMIT $4",
        )
        .bind(listed(fmspcs))
        .bind(after)
        .bind(upto)
        .bind(i64::from(limit))
        .fetch_all(&self.reader)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(CachedRow {
                    place: row.try_get("place")?,
                    qe_id: row.try_get("qe_id")?,
                    pce_id: row.try_get("pce_id")?,
                    raw_tcb: parsed(row, "tcb")?,
                    enc_ppid: sealed(row, "enc_ppid")?,
                    manifest: sealed(row, "manifest")?,
                })
            })
            .collect()
    }

    /// Platforms of these FMSPCs (of all without any) that can be fetched and were not since `since`.
    pub async fn unfetched(
        &self,
        fmspcs: &[Fmspc],
        since: UnixTime,
    ) -> Result<Unfetched, StoreError> {
        let row = sqlx::query(
            "SELECT COUNT(*) AS count, COALESCE(SUM(due IS NOT NULL AND due <= $2), 0) AS due FROM platform \
             WHERE ($1 = '' OR $1 LIKE '%' || fmspc || '%') AND (manifest IS NOT NULL OR enc_ppid IS NOT NULL) \
             AND (fetched IS NULL OR fetched < $2 OR due <= $2)",
        )
        .bind(listed(fmspcs))
        .bind(since.secs())
        .fetch_one(&self.reader)
        .await?;
        Ok(Unfetched {
            count: counted(&row, "count")?,
            due: counted(&row, "due")?,
        })
    }

    /// The id of one of [`Store::unfetched`] that is not due any more: its list did not come.
    pub async fn failed_since(
        &self,
        fmspcs: &[Fmspc],
        since: UnixTime,
    ) -> Result<Option<String>, StoreError> {
        Ok(sqlx::query_scalar(
            "SELECT id FROM platform \
             WHERE ($1 = '' OR $1 LIKE '%' || fmspc || '%') AND (manifest IS NOT NULL OR enc_ppid IS NOT NULL) \
             AND (fetched IS NULL OR fetched < $2) AND (due IS NULL OR due > $2) ORDER BY id LIMIT 1",
        )
        .bind(listed(fmspcs))
        .bind(since.secs())
        .fetch_optional(&self.reader)
        .await?)
    }
}

/// FMSPCs as a text in which each can be found: they are all of one length, so none is found across a comma.
fn listed(fmspcs: &[Fmspc]) -> String {
    let texts: Vec<String> = fmspcs.iter().map(Fmspc::to_string).collect();
    texts.join(",")
}

fn span(row: &SqliteRow) -> Result<Span, StoreError> {
    Ok(Span {
        count: counted(row, "count")?,
        last: row.try_get("last")?,
    })
}

fn counted(row: &SqliteRow, column: &'static str) -> Result<u64, StoreError> {
    let count: i64 = row.try_get(column)?;
    Ok(u64::try_from(count).unwrap_or(0))
}

fn sealed(row: &SqliteRow, column: &'static str) -> Result<Option<Sealed>, StoreError> {
    Ok(row.try_get::<Option<Vec<u8>>, _>(column)?.map(Sealed))
}

#[cfg(test)]
mod tests {
    use thim_verify::Digest;

    use super::*;
    use crate::store::NewRegistration;

    fn registration(qe_id: &str, manifest: u8, at: i64) -> NewRegistration {
        NewRegistration {
            material: String::new(),
            qe_id: qe_id.to_owned(),
            pce_id: "0000".to_owned(),
            cpu_svn: String::new(),
            pce_svn: String::new(),
            enc_ppid: None,
            manifest: Some(vec![manifest]),
            state: "new",
            at: UnixTime::from_secs(at),
        }
    }

    #[tokio::test]
    async fn what_comes_while_a_list_is_read_is_not_taken_for_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(directory.path(), Digest::of(b"roots"))
            .await
            .expect("a new store");
        for (name, at) in [("A", 1), ("B", 2), ("C", 2)] {
            let row = registration(name, 1, at);
            store.queue_registration(&row).await.expect("queued");
        }
        let span = store.registration_span("new").await.expect("read");
        assert_eq!((span.count, span.last), (3, 3));
        let page = store.registration_page("new", 0, span.last, 2).await;
        let names = |rows: Vec<RegistrationRow>| -> Vec<String> {
            rows.into_iter().map(|row| row.qe_id).collect()
        };
        assert_eq!(names(page.expect("read")), ["A", "B"]);
        // Another platform, and a new manifest of one that was read.
        for row in [registration("D", 1, 3), registration("A", 2, 3)] {
            store.queue_registration(&row).await.expect("queued");
        }
        let page = store.registration_page("new", 2, span.last, 2).await;
        assert_eq!(names(page.expect("read")), ["C"]);
        store
            .registrations_handed_out("new", span.last, UnixTime::from_secs(2))
            .await
            .expect("marked");
        let left = store.registration_page("new", 0, i64::MAX, 9).await;
        let left = left.expect("read");
        assert_eq!(left[0].manifest, Some(Sealed(vec![2])));
        assert_eq!(names(left), ["A", "D"]);
        let none = store.registration_span("not-available").await;
        assert_eq!(none.expect("read"), Span::default());
    }

    #[test]
    fn fmspcs_are_listed_so_that_none_is_found_across_two() {
        let (a, b) = (Fmspc([0x11; 6]), Fmspc([0x22; 6]));
        assert_eq!(listed(&[]), "");
        assert_eq!(listed(&[a, b]), "111111111111,222222222222");
    }
}

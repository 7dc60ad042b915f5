//! Appraisal policies: texts to keep and hand out, as PCCS does (`spec/intel-pcs-and-pccs.md` section 2.11).
//!
//! A policy is named by its text alone, so the same text is one policy: put again, for these machines or others, it is
//! as it was put last. There is at most one default for the machines of an FMSPC, whatever its type: a new one takes
//! the place of the old in one transaction.

use sqlx::{Connection, SqliteConnection};
use thim_verify::{Fmspc, UnixTime};

use super::{Store, StoreError};
use crate::platforms::policy::Policy;

impl Store {
    /// Keeps a policy, or changes for which machines it is and whether it is their default.
    ///
    /// # Errors
    /// [`StoreError::Full`] when it would be one more than 10,000.
    pub async fn put_policy(&self, policy: &Policy, now: UnixTime) -> Result<(), StoreError> {
        let mut connection = self.writer.acquire().await?;
        let result = write(&mut connection, policy, now).await;
        if result.is_err() {
            // As for every write: a connection that failed may be in a transaction of its own, and is not used again.
            let _ = connection.close().await;
        }
        result
    }

    /// The texts that are default for these machines, in the order of type, time and id.
    pub async fn default_policies(&self, fmspc: Fmspc) -> Result<Vec<String>, StoreError> {
        Ok(sqlx::query_scalar(
            "SELECT policy FROM appraisal_policy WHERE fmspc = $1 AND is_default = 1 ORDER BY type, at, id LIMIT $2",
        )
        .bind(fmspc.to_string())
        .bind(MAX_DEFAULTS)
        .fetch_all(&self.reader)
        .await?)
    }
}

async fn write(
    connection: &mut SqliteConnection,
    policy: &Policy,
    now: UnixTime,
) -> Result<(), StoreError> {
    let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
    let others: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM appraisal_policy WHERE id <> $1")
        .bind(&policy.id)
        .fetch_one(&mut *tx)
        .await?;
    if others >= MAX_POLICIES {
        return Err(StoreError::Full {
            what: "appraisal policies",
            limit: MAX_POLICIES,
        });
    }
    let fmspc = policy.fmspc.to_string();
    if policy.is_default {
        sqlx::query(
            "UPDATE appraisal_policy SET is_default = 0 WHERE fmspc = $1 AND is_default = 1",
        )
        .bind(&fmspc)
        .execute(&mut *tx)
        .await?;
    }
    sqlx::query(
        "INSERT INTO appraisal_policy (id, fmspc, type, policy, is_default, at) VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (id) DO UPDATE SET fmspc = excluded.fmspc, is_default = excluded.is_default, at = excluded.at",
    )
    .bind(&policy.id)
    .bind(&fmspc)
    .bind(policy.kind.number())
    .bind(&policy.text)
    .bind(i64::from(policy.is_default))
    .bind(now.secs())
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(())
}

/// One or two for each of Intel's 50 families would be a hundred; at 64 KiB each these are 640 MB at worst.
const MAX_POLICIES: i64 = 10_000;
/// One today, since a new default takes the place of the old; what an older store holds is bounded too.
const MAX_DEFAULTS: i64 = 16;

#[cfg(test)]
mod tests {
    use thim_verify::Digest;

    use super::*;
    use crate::platforms::policy::PolicyType;

    async fn store(directory: &tempfile::TempDir) -> Store {
        Store::open(directory.path(), Digest::of(b"roots"))
            .await
            .expect("a new store")
    }

    fn policy(id: &str, fmspc: Fmspc, kind: PolicyType, is_default: bool) -> Policy {
        Policy {
            id: id.to_owned(),
            fmspc,
            kind,
            text: format!("text.of.{id}"),
            is_default,
        }
    }

    const A: Fmspc = Fmspc([0xa; 6]);
    const B: Fmspc = Fmspc([0xb; 6]);

    fn at(secs: i64) -> UnixTime {
        UnixTime::from_secs(secs)
    }

    #[tokio::test]
    async fn one_default_for_each_fmspc() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = store(&directory).await;
        let sgx = policy("sgx", A, PolicyType::Sgx, true);
        let other = policy("other", B, PolicyType::Sgx, true);
        for (policy, now) in [(&sgx, 1), (&other, 2)] {
            store.put_policy(policy, at(now)).await.expect("kept");
        }
        assert_eq!(
            store.default_policies(A).await.expect("read"),
            ["text.of.sgx"]
        );

        // Of another type, and yet it takes the place.
        let tdx = policy("tdx", A, PolicyType::Tdx15, true);
        store.put_policy(&tdx, at(3)).await.expect("kept");
        assert_eq!(
            store.default_policies(A).await.expect("read"),
            ["text.of.tdx"]
        );
        assert_eq!(
            store.default_policies(B).await.expect("read"),
            ["text.of.other"]
        );

        // One that is no default changes nothing.
        let spare = policy("spare", A, PolicyType::Sgx, false);
        store.put_policy(&spare, at(4)).await.expect("kept");
        assert_eq!(
            store.default_policies(A).await.expect("read"),
            ["text.of.tdx"]
        );

        // Put again: the default goes, and comes back.
        let withdrawn = policy("tdx", A, PolicyType::Tdx15, false);
        store.put_policy(&withdrawn, at(5)).await.expect("kept");
        assert!(store.default_policies(A).await.expect("read").is_empty());
        store.put_policy(&tdx, at(6)).await.expect("kept");
        assert_eq!(
            store.default_policies(A).await.expect("read"),
            ["text.of.tdx"]
        );

        // As with PCCS, the text moves to the machines it was put for last.
        let moved = policy("tdx", B, PolicyType::Tdx15, true);
        store.put_policy(&moved, at(7)).await.expect("kept");
        assert!(store.default_policies(A).await.expect("read").is_empty());
        assert_eq!(
            store.default_policies(B).await.expect("read"),
            ["text.of.tdx"]
        );
    }

    #[tokio::test]
    async fn there_is_a_limit_and_known_ones_are_no_more() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = store(&directory).await;
        sqlx::query(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1) \
             INSERT INTO appraisal_policy (id, fmspc, type, policy, is_default, at) \
             SELECT 'p' || i, '0A0A0A0A0A0A', 0, 'text.of.' || i, 1, i FROM n",
        )
        .bind(MAX_POLICIES - 1)
        .execute(&store.writer)
        .await
        .expect("filled");
        // An older program may have left several.
        let defaults = store.default_policies(A).await.expect("read");
        assert_eq!(defaults.len(), 16);
        assert_eq!(&defaults[..2], ["text.of.1", "text.of.2"]);

        let last = policy("last", B, PolicyType::Sgx, true);
        store.put_policy(&last, at(1)).await.expect("the 10,000th");
        let more = policy("more", B, PolicyType::Sgx, true);
        let refused = store.put_policy(&more, at(2)).await.expect_err("too many");
        assert_eq!(
            refused.to_string(),
            "store: there are 10000 appraisal policies, and no more are taken"
        );
        // Nothing of it was done, and the known ones still change.
        assert_eq!(
            store.default_policies(B).await.expect("read"),
            ["text.of.last"]
        );
        let withdrawn = policy("last", B, PolicyType::Sgx, false);
        store.put_policy(&withdrawn, at(3)).await.expect("known");
        assert!(store.default_policies(B).await.expect("read").is_empty());
    }
}

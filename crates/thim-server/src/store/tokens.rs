//! Access tokens: a hash and what the token is good for, never the token. Rows of tokens that have ended stay for
//! people to look at, until new ones need the room.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};
use thim_verify::{Digest, UnixTime};

use super::read::parsed;
use super::{Store, StoreError, damaged, time};
use crate::access::{Acts, Role};

/// A token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TokenRow {
    /// SHA-256 of its text.
    pub hash: Digest,
    /// What people call it.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// Which acts of the role it is good for; none given is all.
    pub scopes: Acts,
    /// When it was made.
    pub created: UnixTime,
    /// From when on it is good no longer.
    pub expires: Option<UnixTime>,
    /// When it was revoked.
    pub revoked: Option<UnixTime>,
}

impl TokenRow {
    /// 16 hex digits: the first of the hash.
    pub fn id(&self) -> String {
        self.hash.short()
    }

    /// What it is good for.
    pub fn acts(&self) -> Acts {
        let role = Acts::of_role(self.role);
        if self.scopes.is_empty() {
            return role;
        }
        let acts = self.scopes.iter().filter(|act| role.contains(*act));
        Acts::of(&acts.collect::<Vec<_>>())
    }

    /// True where it is neither revoked nor expired.
    pub fn is_live(&self, now_millis: i64) -> bool {
        let ended = self
            .expires
            .is_some_and(|end| end.secs().saturating_mul(1000) <= now_millis);
        self.revoked.is_none() && !ended
    }
}

/// A change of the tokens, part of a [`Batch`](super::Batch).
#[derive(Clone, Debug)]
pub enum TokenWrite {
    /// A new one; rows of tokens that ended before the instant make room where there are `limit` rows.
    Create {
        /// The token.
        row: TokenRow,
        /// How many rows there may be.
        limit: u32,
    },
    /// An end.
    Revoke {
        /// Which token.
        id: String,
        /// When.
        at: UnixTime,
    },
}

impl Store {
    /// All tokens, by when they were made.
    pub async fn tokens(&self) -> Result<Vec<TokenRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, hash, name, role, scopes, created, expires, revoked FROM token ORDER BY created, id",
        )
        .fetch_all(&self.reader)
        .await?;
        rows.iter().map(token).collect()
    }
}

pub(super) async fn apply(tx: &mut SqliteConnection, write: &TokenWrite) -> Result<(), StoreError> {
    match write {
        TokenWrite::Create { row, limit } => {
            sqlx::query(
                "DELETE FROM token WHERE id IN (SELECT id FROM token WHERE revoked IS NOT NULL OR expires <= $1 \
                 ORDER BY created, id LIMIT (SELECT MAX(0, COUNT(*) + 1 - $2) FROM token))",
            )
            .bind(row.created.secs())
            .bind(i64::from(*limit))
            .execute(&mut *tx)
            .await?;
            sqlx::query(
                "INSERT INTO token (id, hash, name, role, scopes, created, expires, revoked) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, NULL)",
            )
            .bind(row.id())
            .bind(row.hash.to_string())
            .bind(&row.name)
            .bind(row.role.name())
            .bind(row.scopes.to_string())
            .bind(row.created.secs())
            .bind(row.expires.map(UnixTime::secs))
            .execute(&mut *tx)
            .await?;
        }
        TokenWrite::Revoke { id, at } => {
            sqlx::query("UPDATE token SET revoked = $2 WHERE id = $1 AND revoked IS NULL")
                .bind(id)
                .bind(at.secs())
                .execute(&mut *tx)
                .await?;
        }
    }
    Ok(())
}

fn token(row: &SqliteRow) -> Result<TokenRow, StoreError> {
    let token = TokenRow {
        hash: parsed(row, "hash")?,
        name: row.try_get("name")?,
        role: parsed(row, "role")?,
        scopes: parsed(row, "scopes")?,
        created: time(row.try_get("created")?),
        expires: row.try_get::<Option<i64>, _>("expires")?.map(time),
        revoked: row.try_get::<Option<i64>, _>("revoked")?.map(time),
    };
    let id: String = row.try_get("id")?;
    if token.id() != id {
        return Err(damaged(id, "the token's id is not that of its hash"));
    }
    Ok(token)
}

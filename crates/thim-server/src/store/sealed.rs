//! Sealed columns, for a new key; and the key of the hashes that tell platforms apart, which lives in the store so
//! that losing `sealing.key` loses no platform.

use data_encoding::HEXLOWER;
use sqlx::{Connection, Row};

use super::{Sealed, Store, StoreError, damaged};
use crate::sealing::IdentityKey;

/// A column with sealed secrets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SealedColumn {
    /// `platform.enc_ppid`
    PlatformEncPpid,
    /// `platform.manifest`
    PlatformManifest,
    /// `registration.enc_ppid`
    RegistrationEncPpid,
    /// `registration.manifest`
    RegistrationManifest,
}

impl SealedColumn {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::PlatformEncPpid,
        Self::PlatformManifest,
        Self::RegistrationEncPpid,
        Self::RegistrationManifest,
    ];

    /// Before the first row.
    const fn start(self) -> &'static str {
        match self {
            Self::PlatformEncPpid | Self::PlatformManifest => "",
            Self::RegistrationEncPpid | Self::RegistrationManifest => "0",
        }
    }

    const fn select(self) -> &'static str {
        match self {
            Self::PlatformEncPpid => {
                "SELECT id AS place, enc_ppid AS sealed FROM platform WHERE id > $1 AND enc_ppid IS NOT NULL \
                 AND substr(enc_ppid, 1, $2) <> $3 ORDER BY id LIMIT $4"
            }
            Self::PlatformManifest => {
                "SELECT id AS place, manifest AS sealed FROM platform WHERE id > $1 AND manifest IS NOT NULL \
                 AND substr(manifest, 1, $2) <> $3 ORDER BY id LIMIT $4"
            }
            Self::RegistrationEncPpid => {
                "SELECT CAST(seq AS TEXT) AS place, enc_ppid AS sealed FROM registration WHERE seq > CAST($1 AS BIGINT) \
                 AND enc_ppid IS NOT NULL AND substr(enc_ppid, 1, $2) <> $3 ORDER BY seq LIMIT $4"
            }
            Self::RegistrationManifest => {
                "SELECT CAST(seq AS TEXT) AS place, manifest AS sealed FROM registration WHERE seq > CAST($1 AS BIGINT) \
                 AND manifest IS NOT NULL AND substr(manifest, 1, $2) <> $3 ORDER BY seq LIMIT $4"
            }
        }
    }

    const fn update(self) -> &'static str {
        match self {
            Self::PlatformEncPpid => "UPDATE platform SET enc_ppid = $2 WHERE id = $1",
            Self::PlatformManifest => "UPDATE platform SET manifest = $2 WHERE id = $1",
            Self::RegistrationEncPpid => {
                "UPDATE registration SET enc_ppid = $2 WHERE seq = CAST($1 AS BIGINT)"
            }
            Self::RegistrationManifest => {
                "UPDATE registration SET manifest = $2 WHERE seq = CAST($1 AS BIGINT)"
            }
        }
    }
}

/// A sealed secret and the row it is in.
#[derive(Clone, Debug)]
pub struct Resealed {
    /// The row: a platform's id, or a registration's number.
    pub row: String,
    /// The secret.
    pub sealed: Sealed,
}

impl Store {
    /// The key of the hashes that tell platforms apart; `fresh` becomes it where there is none.
    pub async fn identity_key(&self, fresh: [u8; 32]) -> Result<IdentityKey, StoreError> {
        sqlx::query(
            "INSERT INTO meta (name, value) VALUES ('identity', $1) ON CONFLICT (name) DO NOTHING",
        )
        .bind(HEXLOWER.encode(&fresh))
        .execute(&self.writer)
        .await?;
        let stored: String = sqlx::query_scalar("SELECT value FROM meta WHERE name = 'identity'")
            .fetch_one(&self.writer)
            .await?;
        HEXLOWER
            .decode(stored.as_bytes())
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .map(IdentityKey::new)
            .ok_or_else(|| damaged("meta identity", "not 64 hex digits"))
    }

    /// True where anything is sealed.
    pub async fn has_sealed(&self) -> Result<bool, StoreError> {
        let found: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM platform WHERE enc_ppid IS NOT NULL OR manifest IS NOT NULL) \
             OR EXISTS (SELECT 1 FROM registration WHERE enc_ppid IS NOT NULL OR manifest IS NOT NULL)",
        )
        .fetch_one(&self.reader)
        .await?;
        Ok(found)
    }

    /// Secrets of a column that do not begin with `prefix`, after a row, by row.
    pub async fn sealed_otherwise(
        &self,
        column: SealedColumn,
        after: Option<&str>,
        prefix: &[u8],
        limit: u32,
    ) -> Result<Vec<Resealed>, StoreError> {
        let rows = sqlx::query(column.select())
            .bind(after.unwrap_or(column.start()))
            .bind(i64::try_from(prefix.len()).unwrap_or(i64::MAX))
            .bind(prefix)
            .bind(i64::from(limit))
            .fetch_all(&self.writer)
            .await?;
        rows.iter()
            .map(|row| {
                Ok(Resealed {
                    row: row.try_get("place")?,
                    sealed: Sealed(row.try_get("sealed")?),
                })
            })
            .collect()
    }

    /// Puts these in the place of what their rows have: all of them or none.
    pub async fn reseal(&self, column: SealedColumn, anew: &[Resealed]) -> Result<(), StoreError> {
        let mut connection = self.writer.acquire().await?;
        let result = async {
            let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
            for one in anew {
                sqlx::query(column.update())
                    .bind(&one.row)
                    .bind(&one.sealed.0)
                    .execute(&mut *tx)
                    .await?;
            }
            tx.commit().await
        }
        .await;
        if result.is_err() {
            // As in `commit`: a connection that failed is not used again.
            let _ = connection.close().await;
        }
        Ok(result?)
    }
}

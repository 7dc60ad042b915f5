//! The store: every edition THIM ever admitted, and why it stands as it does.
//!
//! What it promises. An edition is written once, in one transaction with its first state and its events,
//! before anyone is served from it. States change only by appended transitions. A crash at any point leaves
//! the last committed transaction (SQLite WAL, `synchronous=FULL`). One process at a time: the directory is
//! locked. A store belongs to one set of trusted roots and refuses to open under another.
//!
//! Who trusts it. Nobody: what comes out is parsed and verified again before it is published
//! (`collateral`), so an altered file is found, not served.

mod baselines;
mod chips;
mod endorsements;
mod fleet;
mod handover;
mod news;
mod platform_evidence;
mod platform_rows;
mod platforms;
mod policies;
mod read;
mod sealed;
mod tokens;
mod write;

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use thim_verify::{Digest, UnixTime};

pub use baselines::{Acted, ReachedRow};
pub use chips::{ChipFilter, ChipRow, ChipWrite, WantedCounts, WantedRow, WantedWrite};
pub use endorsements::{EndorsementRow, NewEndorsement};
pub use fleet::{FleetEvidence, FleetRow, SeenTcb};
pub use handover::{CachedRow, Span, Unfetched};
pub use news::{NewsRow, NewsWrite, Waiting};
pub use platform_evidence::{DomainEvidence, EvidenceNoted, EvidenceRow};
pub use platform_rows::{
    AliasRow, Gap, GapRow, PckRow, PlatformFilter, PlatformOrigin, PlatformRow, RawTcbRow,
    RegistrationRow, Sealed, TimelineRow,
};
pub use platforms::{NewPck, NewRawTcb, NewRegistration, PlatformWrite};
pub use read::{EditionFilter, EditionRow, Event, KeyRow, TransitionRow};
pub use sealed::{Resealed, SealedColumn};
pub use tokens::{TokenRow, TokenWrite};
pub use write::{Batch, CalledRow, NewEdition, NewEvent, Quarantined, Transition};

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database refused or failed; a full disk is among these.
    #[error("store: {0}")]
    Database(#[from] sqlx::Error),
    /// The directory cannot be used.
    #[error("data directory {path}: {why}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The system's words.
        why: String,
    },
    /// There is as much of something as the store takes.
    #[error("store: there are {limit} {what}, and no more are taken")]
    Full {
        /// Of what.
        what: &'static str,
        /// How many there are.
        limit: i64,
    },
    /// Another process has it.
    #[error("data directory {path} is in use by another thim; stop it, or use --service URL")]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// A row that this version cannot have written.
    #[error("store: row {row} is damaged: {why}")]
    Row {
        /// Which row.
        row: String,
        /// What is wrong.
        why: String,
    },
    /// Made under other roots.
    #[error(
        "data directory {path} was made under trusted roots {stored}, not {wanted}; use another --data"
    )]
    Trust {
        /// The directory.
        path: PathBuf,
        /// Fingerprint in the store.
        stored: String,
        /// Fingerprint wanted.
        wanted: String,
    },
    /// Made by a newer program.
    #[error(
        "data directory {path} has schema version {found}; this program knows {}",
        SCHEMA_VERSION
    )]
    Version {
        /// The directory.
        path: PathBuf,
        /// The version found.
        found: String,
    },
}

impl StoreError {
    /// True where the disk is full or cannot be written.
    pub fn is_out_of_space(&self) -> bool {
        // SQLite result codes 13 (FULL) and 10 (IOERR) with their extended forms.
        matches!(self, Self::Database(sqlx::Error::Database(error))
            if error.code().and_then(|code| code.parse::<i64>().ok()).is_some_and(|code| matches!(code & 0xff, 10 | 13)))
    }
}

/// An open store.
pub struct Store {
    reader: SqlitePool,
    writer: SqlitePool,
    // Held for as long as the store is open; the system frees it with the process.
    lock: File,
}

impl Store {
    /// Opens or makes the store in `directory` for the roots of `trust`.
    pub async fn open(directory: &Path, trust: Digest) -> Result<Self, StoreError> {
        let lock = lock(directory)?;
        let options = SqliteConnectOptions::new()
            .filename(directory.join("thim.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT);
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options.clone())
            .await?;
        sqlx::raw_sql(include_str!("schema.sql"))
            .execute(&writer)
            .await?;
        let reader = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(options)
            .await?;
        let store = Self {
            reader,
            writer,
            lock,
        };
        // Version 1 had no platforms, version 2 no chips, version 3 no evidence, version 4 no baselines; the statements above
        // have just added their tables.
        sqlx::query(
            "UPDATE meta SET value = $1 WHERE name = 'schema' AND value IN ('1', '2', '3', '4')",
        )
        .bind(SCHEMA_VERSION)
        .execute(&store.writer)
        .await?;
        store
            .settle_meta(directory, "schema", SCHEMA_VERSION, |found| {
                StoreError::Version {
                    path: directory.to_owned(),
                    found,
                }
            })
            .await?;
        let wanted = trust.to_string();
        store
            .settle_meta(directory, "trust", &wanted, |stored| StoreError::Trust {
                path: directory.to_owned(),
                stored,
                wanted: wanted.clone(),
            })
            .await?;
        Ok(store)
    }

    /// Empties the store in `directory`, if nobody has it open. For simulators, whose keys are fresh each time.
    pub fn erase(directory: &Path) -> Result<(), StoreError> {
        let _lock = lock(directory)?;
        for name in ["thim.db", "thim.db-wal", "thim.db-shm"] {
            match std::fs::remove_file(directory.join(name)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(StoreError::Directory {
                        path: directory.to_owned(),
                        why: format!("{name}: {error}"),
                    });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Closes the connections, so that the write-ahead log is folded in, and frees the directory.
    pub async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
        // Whoever still holds this store can do nothing with it any more.
        if let Err(error) = self.lock.unlock() {
            tracing::warn!(error = %error, "the data directory stays locked until this process ends");
        }
    }

    /// Writes `value` under `name` at first, and compares it ever after.
    async fn settle_meta(
        &self,
        _directory: &Path,
        name: &'static str,
        value: &str,
        mismatch: impl FnOnce(String) -> StoreError,
    ) -> Result<(), StoreError> {
        let stored: Option<String> = sqlx::query_scalar("SELECT value FROM meta WHERE name = $1")
            .bind(name)
            .fetch_optional(&self.writer)
            .await?;
        match stored {
            Some(stored) if stored == value => Ok(()),
            Some(stored) => Err(mismatch(stored)),
            None => {
                sqlx::query("INSERT INTO meta (name, value) VALUES ($1, $2)")
                    .bind(name)
                    .bind(value)
                    .execute(&self.writer)
                    .await?;
                Ok(())
            }
        }
    }
}

/// Makes the directory if it is missing, and takes its lock.
fn lock(directory: &Path) -> Result<File, StoreError> {
    let refused = |error: std::io::Error| StoreError::Directory {
        path: directory.to_owned(),
        why: error.to_string(),
    };
    make_directory(directory).map_err(refused)?;
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(directory.join("lock"))
        .map_err(refused)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse {
            path: directory.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(refused(error)),
    }
}

/// Makes the directory, readable by its owner alone: it holds keys beside the store.
fn make_directory(directory: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
}

fn damaged(row: impl ToString, why: impl ToString) -> StoreError {
    StoreError::Row {
        row: row.to_string(),
        why: why.to_string(),
    }
}

fn time(secs: i64) -> UnixTime {
    UnixTime::from_secs(secs)
}

const SCHEMA_VERSION: &str = "5";
const READERS: u32 = 2;
/// One writer and WAL never wait on each other; a backup tool may.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

//! The database of Intel's PCCS, `pckcache.db`: SQLite, versions 1 to 5 of its schema.
//!
//! What it promises. The file is read and never written, and nothing in it is believed: collateral goes through the
//! collateral import, each PCK certificate is verified, and names are taken by the rule of registrations. What is
//! refused is told of with its reason; nothing is left out in silence. Platforms are read page by page, so memory
//! does not grow with their number. A file that is no such database, or is cut short, is refused before anything is
//! taken from it.
//!
//! Only plain tables are read: a view or virtual table of the same name could run whatever its maker thought of.
//! Rules: PCCS 1.27, `migrations/` and `dao/models/` (`spec/intel-pcs-and-pccs.md` section 5.1).

mod file;
mod import;
mod rows;
mod signed;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, Row};

pub use file::NotDatabase;
pub use import::{CollateralCounts, ImportError, PccsReport, Step, import_pccs};
pub use rows::{Page, PccsPlatform, Waiting};
pub use signed::SignedRow;

/// Why a database cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PccsDbError {
    /// SQLite's words; a damaged file is among these.
    #[error("{path}: {source}")]
    Database {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: sqlx::Error,
    },
    /// A database, and not PCCS's.
    #[error("{path}: no database of PCCS: {why}")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it lacks.
        why: String,
    },
    /// Not a database, or not all of one.
    #[error("{path}: {why}")]
    NotDatabase {
        /// The file.
        path: PathBuf,
        /// What it is.
        why: NotDatabase,
    },
}

/// PCCS's database, open for reading.
pub struct PccsDatabase {
    connection: SqliteConnection,
    path: PathBuf,
    /// By what the reports call it.
    name: String,
    tables: BTreeMap<String, BTreeSet<String>>,
    version: Option<i64>,
    lacks: Vec<String>,
}

impl PccsDatabase {
    /// Opens the file.
    ///
    /// # Errors
    /// [`PccsDbError`]; a file that lacks some of PCCS's tables is opened, and [`PccsDatabase::lacks`] tells which.
    pub async fn open(path: &Path) -> Result<Self, PccsDbError> {
        let read_as = file::inspect(path).map_err(|why| PccsDbError::NotDatabase {
            path: path.to_owned(),
            why,
        })?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(false)
            .read_only(true)
            .immutable(read_as == file::ReadAs::Unchanging)
            // What a schema says of functions in its defaults, indices and columns is not ours to run.
            .pragma("trusted_schema", "OFF")
            .pragma("cell_size_check", "ON")
            .disable_statement_logging();
        let failed = |source| PccsDbError::Database {
            path: path.to_owned(),
            source,
        };
        let connection = SqliteConnection::connect_with(&options)
            .await
            .map_err(failed)?;
        let mut database = Self {
            connection,
            path: path.to_owned(),
            name: path
                .file_name()
                .unwrap_or(path.as_os_str())
                .to_string_lossy()
                .into_owned(),
            tables: BTreeMap::new(),
            version: None,
            lacks: Vec::new(),
        };
        match database.look().await {
            Ok(None) => Ok(database),
            Ok(Some(why)) => Err(PccsDbError::Foreign {
                path: path.to_owned(),
                why,
            }),
            Err(source) => Err(failed(source)),
        }
    }

    /// The version of its schema, as it says itself.
    pub fn version(&self) -> Option<i64> {
        self.version
    }

    /// What the databases of the newest PCCS have and this one has not, a sentence each.
    pub fn lacks(&self) -> &[String] {
        &self.lacks
    }

    /// Looks at the tables and the version; why it is not PCCS's.
    async fn look(&mut self) -> Result<Option<String>, sqlx::Error> {
        // Plain tables have a root page, views and virtual ones have none.
        let columns = sqlx::query(
            "SELECT m.name AS tbl, c.name AS col FROM sqlite_master m JOIN pragma_table_info(m.name) c \
             WHERE m.type = 'table' AND m.rootpage > 0 LIMIT 10000",
        )
        .fetch_all(&mut self.connection)
        .await?;
        for row in columns {
            let (table, column): (String, String) = (row.try_get("tbl")?, row.try_get("col")?);
            self.tables
                .entry(table.to_ascii_lowercase())
                .or_default()
                .insert(column.to_ascii_lowercase());
        }
        for (table, columns) in TELLING {
            if !self.has(table, columns) {
                return Ok(Some(format!(
                    "it has no table {table} with {}",
                    columns.join(", ")
                )));
            }
        }
        if self.has("pcs_version", &["id", "db_version"]) {
            self.version = sqlx::query_scalar(
                "SELECT CAST(db_version AS INTEGER) FROM pcs_version WHERE id = 1",
            )
            .fetch_optional(&mut self.connection)
            .await?
            .flatten();
        }
        match self.version {
            Some(version) if (1..=NEWEST).contains(&version) => {}
            Some(version) => self.lacks.push(format!(
                "its version is {version}; known are 1 to {NEWEST}, and what looks like them is taken"
            )),
            None => self.lacks.push(
                "it does not say its version; what looks like one of the known ones is taken"
                    .to_owned(),
            ),
        }
        for (table, columns, what) in EXPECTED {
            let there = self.has(table, columns);
            let older = match *table {
                "enclave_identities" => {
                    self.has("qe_identities", &["qe_identity"])
                        || self.has("qve_identities", &["qve_identity"])
                }
                _ => false,
            };
            if !there && !older {
                self.lacks
                    .push(format!("it has no table {table}, so no {what}"));
            }
        }
        Ok(None)
    }

    fn has(&self, table: &str, columns: &[&str]) -> bool {
        self.tables
            .get(table)
            .is_some_and(|known| columns.iter().all(|column| known.contains(*column)))
    }

    /// The error of a query.
    fn failed(&self, source: sqlx::Error) -> PccsDbError {
        PccsDbError::Database {
            path: self.path.clone(),
            source,
        }
    }

    /// What a report calls a place in it.
    fn place(&self, inside: impl std::fmt::Display) -> String {
        format!("{}#{inside}", self.name)
    }
}

/// Without these there are no platforms to take over.
const TELLING: &[(&str, &[&str])] = &[
    (
        "platforms",
        &["qe_id", "pce_id", "platform_manifest", "enc_ppid"],
    ),
    ("pck_cert", &["qe_id", "pce_id", "tcbm", "pck_cert"]),
];
/// The other tables, the columns that are needed of each, and what is in them.
const EXPECTED: &[(&str, &[&str], &str)] = &[
    (
        "appraisal_policies",
        &["policy", "is_default", "fmspc"],
        "appraisal policies (PCCS has them from version 4 on)",
    ),
    (
        "crl_cache",
        &["cdp_url", "crl"],
        "CRLs by URL (PCCS has them from version 2 on)",
    ),
    (
        "enclave_identities",
        &["id", "identity"],
        "enclave identities",
    ),
    ("fmspc_tcbs", &["fmspc", "tcbinfo"], "TCB infos"),
    ("pck_crl", &["ca", "pck_crl"], "PCK CRLs"),
    (
        "pcs_certificates",
        &["id", "cert", "crl"],
        "issuing certificates and no root CRL",
    ),
    (
        "platform_tcbs",
        &["qe_id", "pce_id", "cpu_svn", "pce_svn"],
        "raw TCBs",
    ),
    (
        "platforms_registered",
        &[
            "qe_id",
            "pce_id",
            "cpu_svn",
            "pce_svn",
            "enc_ppid",
            "platform_manifest",
            "state",
        ],
        "registrations that wait",
    ),
];
/// PCCS 1.27, `migrations/05_db_version_5.js`.
const NEWEST: i64 = 5;

//! Editions back to files: each document as it was signed, and the certificates that verify them in `issuers.pem`.
//! An import of the folder finds the same editions.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use thim_verify::{ArtefactKey, Certificate, Digest, Kind, UnixTime};

use crate::collateral::Collateral;
use crate::operations::standing;
use crate::sentinel::State;
use crate::store::StoreError;

/// What an export wrote.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Exported {
    /// Editions.
    pub editions: u64,
    /// Certificates.
    pub certificates: u64,
}

/// Why an export ended.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A file could not be written.
    #[error("{path}: {source}")]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Writes the current editions of `key`, or of every key, to `directory`; with `all`, every edition that is not
/// quarantined.
///
/// # Errors
/// [`ExportError`]; what was written before stays.
pub async fn export(
    collateral: &Collateral,
    key: Option<ArtefactKey>,
    all: bool,
    now: UnixTime,
    directory: &Path,
) -> Result<Exported, ExportError> {
    let wanted = |state: State| {
        if all {
            state != State::Quarantined
        } else {
            state == State::Current
        }
    };
    std::fs::create_dir_all(directory).map_err(|source| ExportError::File {
        path: directory.to_owned(),
        source,
    })?;
    let mut exported = Exported::default();
    let mut issuers: BTreeSet<Digest> = BTreeSet::new();
    for (row, state) in standing(collateral, key, now, None).await? {
        if !wanted(state) {
            continue;
        }
        let Some(document) = collateral.store().document(row.id).await? else {
            continue;
        };
        write(
            &directory.join(file_name(row.key, row.issued, row.id)),
            &document,
        )?;
        issuers.extend(row.issuer);
        exported.editions += 1;
    }
    let certificates = certificates(collateral, &issuers);
    let pem: String = certificates.iter().map(Certificate::to_pem).collect();
    write(&directory.join("issuers.pem"), pem.as_bytes())?;
    exported.certificates = certificates.len() as u64;
    Ok(exported)
}

/// The issuers that the editions name, and the roots.
fn certificates(collateral: &Collateral, wanted: &BTreeSet<Digest>) -> Vec<Certificate> {
    let known = collateral.issuers.load();
    let issuers = known
        .iter()
        .filter(|one| wanted.contains(&one.digest()))
        .cloned();
    let roots = known.anchors().roots().iter().cloned();
    let by_digest: BTreeMap<Digest, Certificate> = issuers
        .chain(roots)
        .map(|one| (one.digest(), one))
        .collect();
    by_digest.into_values().collect()
}

/// The key without its vendor, the issue date, and enough of the id to tell editions of one second apart.
fn file_name(key: ArtefactKey, issued: UnixTime, id: Digest) -> String {
    let extension = match key.kind() {
        Kind::AmdCertChain => "pem",
        Kind::AmdCrl | Kind::PckCrl | Kind::RootCrl => "der",
        Kind::EnclaveIdentity | Kind::EvaluationNumbers | Kind::TcbInfo => "json",
    };
    let key = key.to_string();
    let name = key.strip_prefix("intel/").unwrap_or(&key).replace('/', "-");
    let date = issued.to_string().replace([':', '-'], "");
    format!("{name}-{date}-{}.{extension}", id.short())
}

/// Whole or not at all: a reader of the folder never sees half a file.
fn write(path: &Path, bytes: &[u8]) -> Result<(), ExportError> {
    let failed = |source| ExportError::File {
        path: path.to_owned(),
        source,
    };
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    let part = PathBuf::from(name);
    std::fs::write(&part, bytes).map_err(failed)?;
    std::fs::rename(&part, path).map_err(failed)
}

//! Editions back to files: each document as it was signed, and the certificates that verify them in `issuers.pem`.
//! An import of the folder finds the same editions.
//!
//! Certificates of AMD's chips go where Trustee's offline store looks for them (`spec/amd-kds-and-thim.md` 6.4):
//! `vcek/<chip id>/bl03_tee00_snp08_ucode115_vcek.der`. So the folder tells which chips there are; who may read it is
//! the operator's choice.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use thim_verify::amd::Endorsement;
use thim_verify::{ArtefactKey, Certificate, Digest, Kind, UnixTime};

use crate::collateral::Collateral;
use crate::operations::standing;
use crate::sentinel::State;
use crate::store::{EndorsementRow, StoreError};

/// What an export wrote.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Exported {
    /// Editions.
    pub editions: u64,
    /// Certificates of issuers.
    pub certificates: u64,
    /// Certificates of AMD's chips and of clouds.
    pub endorsements: u64,
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
    if key.is_none() {
        exported.endorsements = endorsements(collateral, &wanted, directory).await?;
    }
    Ok(exported)
}

/// Writes the certificates of chips and clouds in the states that are wanted; gives back how many.
async fn endorsements(
    collateral: &Collateral,
    wanted: &impl Fn(State) -> bool,
    directory: &Path,
) -> Result<u64, ExportError> {
    let mut written = 0;
    let mut last = None;
    loop {
        let page = collateral
            .store()
            .endorsements_after(last, PAGE_ROWS)
            .await?;
        let Some(end) = page.last() else {
            return Ok(written);
        };
        last = Some(end.digest);
        for row in page.iter().filter(|row| wanted(row.state)) {
            // What the store has damaged is told of when it is asked for.
            let Ok(leaf) = Endorsement::from_der(&row.der) else {
                continue;
            };
            let path = directory.join(place_of(&leaf, row));
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder).map_err(|source| ExportError::File {
                    path: folder.to_owned(),
                    source,
                })?;
            }
            write(&path, &row.der)?;
            written += 1;
        }
    }
}

/// Where a certificate goes. History stands beside what is current under names of its own.
fn place_of(leaf: &Endorsement, row: &EndorsementRow) -> PathBuf {
    let (kind, tcb, folder) = match leaf {
        Endorsement::Vcek(vcek) => (leaf.kind(), vcek.tcb(), vcek.hw_id().to_hex_lower()),
        // Several clouds may have one for the same TCB, and their names are their own affair.
        Endorsement::Vlek(vlek) => (leaf.kind(), vlek.tcb(), vlek.product().to_string()),
    };
    let fmc = tcb.fmc.map(|fmc| format!("_fmc{fmc:02}"));
    let unique = match (leaf, row.state) {
        (Endorsement::Vcek(_), State::Current) => String::new(),
        (Endorsement::Vcek(_) | Endorsement::Vlek(_), _) => format!("_{}", row.digest.short()),
    };
    let name = format!(
        "bl{:02}_tee{:02}_snp{:02}_ucode{:02}{}{unique}_{kind}.der",
        tcb.boot_loader,
        tcb.tee,
        tcb.snp,
        tcb.microcode,
        fmc.unwrap_or_default()
    );
    [kind.name(), &folder, &name].iter().collect()
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

/// A thousand certificates are 1.3 MB.
const PAGE_ROWS: u32 = 1000;

//! Files for hypervisors and for guests.
//!
//! The certificate table is written in place, since a hypervisor may hold it open, under an exclusive lock: QEMU takes a
//! shared one until the report is out, so no guest gets half a table or one of another TCB than its report. Where the
//! certificates for the reported TCB are not at hand the table is made empty: a guest then asks elsewhere, instead of
//! failing with certificates of another TCB. Waiting for the lock has a limit; the next look tries again, and mends what
//! a crash in the middle of a write left.
//!
//! `host-amd-cert-base64` is replaced whole (its readers take no lock) and stays when the certificates are not at hand:
//! its readers compare `tcbm` with their report. Content that is there already is not written again.
//! Source: spec/amd-kds-and-thim.md, 5.2 and 6.3.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::certification::Certification;
use crate::span::Span;
use crate::table;

/// `[output]`: each file is written where it is named.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The GHCB certificate table. Default none.
    pub certificate_table: Option<PathBuf>,
    /// `host-amd-cert-base64`. Default none.
    pub host_amd_cert: Option<PathBuf>,
    /// How long to wait for readers of the table before trying again at the next look. Default 10 s.
    pub lock_wait: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            certificate_table: None,
            host_amd_cert: None,
            lock_wait: Span::from_secs(10),
        }
    }
}

/// What became of one file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Written {
    /// It was so already.
    Unchanged,
    /// It is so now.
    Written,
}

/// Why a file is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The system refused.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Its words.
        error: std::io::Error,
    },
    /// Readers held it for too long.
    #[error("{}: others kept it locked for {} ms; it is tried again at the next look", path.display(), waited.as_millis())]
    Locked {
        /// The file.
        path: PathBuf,
        /// For how long it was tried.
        waited: Duration,
    },
    /// It would be more than guests take.
    #[error(transparent)]
    TooLarge(#[from] table::TooLarge),
}

impl Config {
    /// Makes the files fit what is served: `None` where nothing is, for the reported TCB.
    pub async fn write(&self, held: Option<&Certification>) -> Vec<Result<Written, OutputError>> {
        let mut outcomes = Vec::new();
        if let Some(path) = &self.certificate_table {
            let bytes = match held {
                Some(held) => held.certificate_table(),
                None => table::build(&[]),
            };
            outcomes.push(match bytes {
                Ok(bytes) => write_table(path, bytes, self.lock_wait.duration()).await,
                Err(error) => Err(error.into()),
            });
        }
        if let (Some(path), Some(held)) = (&self.host_amd_cert, held) {
            let (path, content) = (path.clone(), held.host_amd_cert());
            outcomes.push(on_disk(move || write_whole(&path, content.as_bytes())).await);
        }
        outcomes
    }
}

/// Does what may wait for a disk where it holds nobody up.
pub(crate) async fn on_disk<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(ended) => std::panic::resume_unwind(ended.into_panic()),
    }
}

/// Replaces a file by one that was written aside, mode 0644; a crash leaves the old one or the new one.
///
/// # Errors
/// [`OutputError::Io`].
pub fn write_whole(path: &Path, content: &[u8]) -> Result<Written, OutputError> {
    let failed = |error| OutputError::Io {
        path: path.to_owned(),
        error,
    };
    if is_content(path, content) {
        return Ok(Written::Unchanged);
    }
    let mut aside = path.as_os_str().to_owned();
    aside.push(".new");
    let aside = Path::new(&aside);
    let write = || -> std::io::Result<()> {
        let mut file = public()
            .create(true)
            .truncate(true)
            .write(true)
            .open(aside)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(aside, path)?;
        match path.parent() {
            Some(directory) if !directory.as_os_str().is_empty() => {
                File::open(directory)?.sync_all()
            }
            _ => Ok(()),
        }
    };
    write().map_err(|error| {
        // What was begun is of no use, and a full disk has better uses for the room.
        let _ = std::fs::remove_file(aside);
        failed(error)
    })?;
    Ok(Written::Written)
}

/// Writes a file in place under an exclusive lock, waiting at most `wait` for it.
async fn write_table(
    path: &Path,
    content: Vec<u8>,
    wait: Duration,
) -> Result<Written, OutputError> {
    let path = path.to_owned();
    let failed = |path: &Path, error| OutputError::Io {
        path: path.to_owned(),
        error,
    };
    let (named, wanted) = (path.clone(), content.clone());
    let opened = on_disk(move || -> std::io::Result<Option<File>> {
        // Looked at without a lock: only the agent writes it, so what is right needs no lock to stay so.
        if is_content(&named, &wanted) {
            return Ok(None);
        }
        let mut options = public();
        options.create(true).truncate(false).read(true).write(true);
        options.open(&named).map(Some)
    });
    let Some(mut file) = opened.await.map_err(|error| failed(&path, error))? else {
        return Ok(Written::Unchanged);
    };
    let begun = tokio::time::Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(error)) => return Err(failed(&path, error)),
            Err(TryLockError::WouldBlock) if begun.elapsed() >= wait => {
                return Err(OutputError::Locked { path, waited: wait });
            }
            Err(TryLockError::WouldBlock) => tokio::time::sleep(LOCK_PAUSE.min(wait)).await,
        }
    }
    let written = on_disk(move || -> std::io::Result<()> {
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&content)?;
        file.set_len(content.len() as u64)?;
        file.sync_all()?;
        // Closing would unlock it too; said here so that the order is plain: flushed, then free.
        file.unlock()
    });
    written.await.map_err(|error| failed(&path, error))?;
    Ok(Written::Written)
}

/// Whether a file has this content; one that cannot be read has not.
fn is_content(path: &Path, content: &[u8]) -> bool {
    let Ok(file) = File::open(path) else {
        return false;
    };
    let mut there = Vec::with_capacity(content.len() + 1);
    let limit = content.len() as u64 + 1;
    file.take(limit).read_to_end(&mut there).is_ok() && there == content
}

/// Anybody may read it: certificates are public.
fn public() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o644);
    options
}

/// Between two tries: a report takes a processor some tens of milliseconds.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

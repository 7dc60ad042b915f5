//! What the agent keeps on disk: the last certification that verified, so that a node starts without its service.
//!
//! One file, `certification.json` in the data directory, replaced whole, mode 0644 since its content is public. It is
//! not trusted: what is read is verified like an answer of the service. What cannot be read, or is for another chip or
//! TCB, is told and left where it is until something better replaces it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use thim_verify::UnixTime;

use crate::certification::{BODY_LIMIT_BYTES, Certification, Trust, Untrusted};
use crate::config::read_limited;
use crate::host::Host;
use crate::output::{OutputError, Written, write_whole};

/// The file.
#[derive(Clone, Debug)]
pub struct State {
    path: PathBuf,
}

/// A certification, and when the service gave it.
#[derive(Clone, Debug)]
pub struct Kept {
    /// What it is.
    pub certification: Certification,
    /// When the service gave it.
    pub obtained: UnixTime,
}

/// Why nothing was taken from the disk.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file is damaged, or something else's.
    #[error("{}: {why}", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Its content does not verify for this chip and TCB at this time.
    #[error("{}: {why}", path.display())]
    Untrusted {
        /// The file.
        path: PathBuf,
        /// Why.
        why: Untrusted,
    },
}

#[derive(Serialize)]
struct Writing<'a> {
    version: u8,
    obtained: String,
    certification: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reading {
    version: u8,
    obtained: String,
    certification: Box<RawValue>,
}

impl State {
    /// The file in a data directory, which need not exist yet.
    pub fn in_directory(directory: &Path) -> Self {
        Self {
            path: directory.join(FILE),
        }
    }

    /// Reads and verifies; none where there is no file.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn read(
        &self,
        host: &Host,
        trust: &Trust,
        now: UnixTime,
    ) -> Result<Option<Kept>, StateError> {
        let form = |why: String| StateError::Form {
            path: self.path.clone(),
            why,
        };
        if matches!(self.path.try_exists(), Ok(false)) {
            return Ok(None);
        }
        let bytes = read_limited(&self.path, FILE_LIMIT_BYTES).map_err(form)?;
        let reading: Reading = serde_json::from_slice(&bytes).map_err(|error| {
            form(format!(
                "damaged at line {} column {}",
                error.line(),
                error.column()
            ))
        })?;
        if reading.version != VERSION {
            return Err(form(format!(
                "version {}; this agent writes {VERSION}",
                reading.version
            )));
        }
        let obtained: UnixTime = reading
            .obtained
            .parse()
            .map_err(|_| form("obtained: no time".to_owned()))?;
        let body = reading.certification.get().as_bytes();
        let certification =
            Certification::verify(body, host, trust, now).map_err(|why| StateError::Untrusted {
                path: self.path.clone(),
                why,
            })?;
        // A clock that was wrong when it was written must not put the next fetch off.
        let obtained = obtained.min(now);
        Ok(Some(Kept {
            certification,
            obtained,
        }))
    }

    /// Forgets what was kept: it is not to be served any more, after a start neither.
    ///
    /// # Errors
    /// [`OutputError::Io`]: the directory cannot be written.
    pub fn forget(&self) -> Result<(), OutputError> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(OutputError::Io {
                path: self.path.clone(),
                error,
            }),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Writes what was verified.
    ///
    /// # Errors
    /// [`OutputError::Io`]: the directory cannot be written, the disk is full.
    pub fn write(&self, kept: &Kept) -> Result<Written, OutputError> {
        let failed = |error| OutputError::Io {
            path: self.path.clone(),
            error,
        };
        if let Some(directory) = self.path.parent() {
            std::fs::create_dir_all(directory).map_err(failed)?;
        }
        let json = kept.certification.wire().to_json();
        let certification: Box<RawValue> =
            RawValue::from_string(json).map_err(|error| failed(error.into()))?;
        let text = serde_json::to_string(&Writing {
            version: VERSION,
            obtained: kept.obtained.to_string(),
            certification: &certification,
        });
        let text = text.map_err(|error| failed(error.into()))? + "\n";
        write_whole(&self.path, text.as_bytes())
    }
}

const FILE: &str = "certification.json";
const VERSION: u8 = 1;
/// A certification and some words around it.
const FILE_LIMIT_BYTES: u64 = BODY_LIMIT_BYTES as u64 + 1024;

//! What is in foreign files, and what becomes of it: files to signed objects ([`objects`]), folders to files
//! ([`files`]), objects to editions ([`import()`]), and editions back to files ([`export()`]).
//!
//! What it promises. The order of files never matters. Every signed object found is counted once. No byte of a
//! foreign file can end or exhaust the process: files, sizes and depths are bounded. Nothing is believed here; an
//! object is admitted by [`Collateral::offer`](crate::collateral::Collateral::offer) alone, and a certificate of a chip
//! of AMD's by [`Chips::offer`](crate::chips::Chips::offer).

mod amd;
mod cert_table;
pub mod export;
pub mod files;
mod forms;
pub mod import;
mod json;
pub mod objects;
pub mod pccs_db;

pub use amd::{FoundAuthority, FoundEndorsement};
pub use export::{ExportError, Exported, export};
pub use files::{each_file, read};
pub use import::{Keepers, import};
pub use objects::{Flaw, Found, Object};

use bytes::Bytes;
use thim_client::Refused;

/// One foreign file.
#[derive(Clone, Debug)]
pub struct File {
    /// The name under which the report speaks of it.
    pub path: String,
    /// Its bytes.
    pub bytes: Bytes,
}

/// What was found in all files of one import.
#[derive(Debug, Default)]
pub struct Gathered {
    /// What the files hold.
    pub found: Found,
    /// Files that are no collateral.
    pub ignored: u64,
    /// Files that could not be read.
    pub unreadable: Vec<Refused>,
}

impl Gathered {
    /// Takes in one file; its bytes are kept only where they are of use.
    pub fn add(&mut self, file: &File) {
        let found = objects::find(&file.path, &file.bytes);
        if found.is_empty() {
            self.ignored += 1;
        }
        self.found.append(found);
    }
}

impl From<Vec<File>> for Gathered {
    fn from(files: Vec<File>) -> Self {
        let mut gathered = Self::default();
        for file in files {
            gathered.add(&file);
        }
        gathered
    }
}

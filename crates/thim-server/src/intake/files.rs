//! Paths to files: folders are walked in the order of their names, and nothing outside of what the operator named
//! is read.
//!
//! A folder is visited once however many links lead to it, so a loop ends. A link that leads out of the folder it
//! was found in is refused, as is a file that cannot be read, is too large, or is one too many: all of these are
//! said in the report. Sockets, pipes and devices are passed over.

use std::collections::HashSet;
use std::fs::{self, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use thim_client::Refused;

use super::{File, Gathered};

/// Reads every file under `paths` and keeps what is of use. `progress` is told how many files were read so far.
pub fn read(paths: &[PathBuf], progress: &mut dyn FnMut(u64)) -> Gathered {
    let mut gathered = Gathered::default();
    let mut files = 0;
    let (others, unreadable) = each_file(paths, &mut |file| {
        gathered.add(&file);
        files += 1;
        progress(files);
    });
    gathered.ignored += others;
    gathered.unreadable = unreadable;
    gathered
}

/// Hands every file under `paths` to `take`; gives back how many things were passed over because they are no
/// regular files, and what could not be read.
pub fn each_file(paths: &[PathBuf], take: &mut dyn FnMut(File)) -> (u64, Vec<Refused>) {
    let mut walk = Walk {
        take,
        visited: HashSet::new(),
        files: 0,
        bytes: 0,
        others: 0,
        refused: Vec::new(),
        full: false,
    };
    for path in paths {
        walk.named(path);
    }
    (walk.others, walk.refused)
}

struct Walk<'a> {
    take: &'a mut dyn FnMut(File),
    /// Folders, by device and inode.
    visited: HashSet<(u64, u64)>,
    files: u64,
    bytes: u64,
    others: u64,
    refused: Vec<Refused>,
    full: bool,
}

impl Walk<'_> {
    /// A path that the operator named: links are followed wherever they lead.
    fn named(&mut self, path: &Path) {
        match fs::canonicalize(path).and_then(|real| Ok((fs::metadata(&real)?, real))) {
            Ok((metadata, real)) => self.tree(path, &metadata, &real),
            Err(error) => self.refuse(path, &error.to_string()),
        }
    }

    /// One after the other and not by recursion, so that depth costs no stack. `root` is the real path of the
    /// folder named, which no link may leave.
    fn tree(&mut self, path: &Path, metadata: &Metadata, root: &Path) {
        let mut waiting = vec![(path.to_owned(), metadata.clone())];
        while let Some((path, metadata)) = waiting.pop() {
            if self.full {
                return;
            }
            if metadata.is_dir() {
                if self.visited.insert((metadata.dev(), metadata.ino())) {
                    let inside = self.folder(&path, root);
                    waiting.extend(inside.into_iter().rev());
                }
            } else if metadata.is_file() {
                self.file(&path);
            } else {
                self.others += 1;
            }
        }
    }

    /// What is in a folder, by name.
    fn folder(&mut self, path: &Path, root: &Path) -> Vec<(PathBuf, Metadata)> {
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) => {
                self.refuse(path, &error.to_string());
                return Vec::new();
            }
        };
        let mut names = Vec::new();
        for entry in entries {
            match entry {
                Ok(entry) => names.push(entry.path()),
                Err(error) => self.refuse(path, &error.to_string()),
            }
            if names.len() > MAX_FILES {
                self.refuse(path, &format!("more than {MAX_FILES} entries; not read"));
                return Vec::new();
            }
        }
        names.sort();
        names
            .into_iter()
            .filter_map(|name| Some((self.entry(&name, root)?, name)))
            .map(|(metadata, name)| (name, metadata))
            .collect()
    }

    fn entry(&mut self, path: &Path, root: &Path) -> Option<Metadata> {
        let metadata = fs::symlink_metadata(path).and_then(|metadata| {
            if !metadata.is_symlink() {
                return Ok(Some(metadata));
            }
            let real = fs::canonicalize(path)?;
            if real.starts_with(root) {
                fs::metadata(&real).map(Some)
            } else {
                Ok(None)
            }
        });
        match metadata {
            Ok(Some(metadata)) => Some(metadata),
            Ok(None) => {
                self.refuse(
                    path,
                    "a link that leads out of the folder; name its target to import it",
                );
                None
            }
            // A link that leads to itself leads to no file.
            Err(error) if error.raw_os_error() == Some(ELOOP) => {
                self.others += 1;
                None
            }
            Err(error) => {
                self.refuse(path, &error.to_string());
                None
            }
        }
    }

    fn file(&mut self, path: &Path) {
        if self.files >= MAX_FILES as u64 || self.bytes >= MAX_TOTAL_BYTES {
            self.refuse(path, &format!("more than {MAX_FILES} files or {MAX_TOTAL_BYTES} bytes; this and what follows is not read"));
            self.full = true;
            return;
        }
        self.files += 1;
        match bounded(path) {
            Ok(bytes) => {
                self.bytes += bytes.len() as u64;
                (self.take)(File {
                    path: path.to_string_lossy().into_owned(),
                    bytes,
                });
            }
            Err(error) => self.refuse(path, &error.to_string()),
        }
    }

    fn refuse(&mut self, path: &Path, reason: &str) {
        self.refused.push(Refused {
            path: path.to_string_lossy().into_owned(),
            kind: "file".to_owned(),
            reason: reason.to_owned(),
        });
    }
}

/// A file whole, if it is not too large; its length is not believed, since some files grow and some have none.
fn bounded(path: &Path) -> io::Result<Bytes> {
    let file = fs::File::open(path)?;
    let too_large = |found: u64| {
        io::Error::other(format!(
            "{found} bytes or more; at most {MAX_FILE_BYTES} are read of a file"
        ))
    };
    let length = file.metadata()?.len();
    if length > MAX_FILE_BYTES {
        return Err(too_large(length));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    let read = file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)? as u64;
    if read > MAX_FILE_BYTES {
        Err(too_large(read))
    } else {
        Ok(bytes.into())
    }
}

/// Linux's error number for a link that leads to itself; the standard library's name for it is unstable.
const ELOOP: i32 = 40;
/// The largest container is a PCCS export of a fleet: some 200 kB for each platform's certificates.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;
/// All of Intel's collateral of all time is some thousands.
const MAX_FILES: usize = 200_000;
/// A mistaken `import /` ends here.
const MAX_TOTAL_BYTES: u64 = 2 * 1024 * 1024 * 1024;

//! The head of a database file: is it one, is all of it there, and may it be read without leaving anything beside it?
//! Source: the SQLite file format, "The Database Header".

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// How to open a file for reading.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ReadAs {
    /// As one that another process may write to.
    Shared,
    /// As one that nobody has open: a write-ahead log would have to be made to read it, and there is none to read.
    Unchanging,
}

/// Why a file is no database.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotDatabase {
    /// Its header says how long it is, and it is shorter.
    #[error("cut short: {found} bytes of {wanted}")]
    CutShort {
        /// Bytes that there are.
        found: u64,
        /// Bytes that there should be.
        wanted: u64,
    },
    /// Its texts are not UTF-8; PCCS's are.
    #[error("no database of PCCS: its texts are UTF-16")]
    Encoding,
    /// It does not begin as a database does.
    #[error("not an SQLite database")]
    Foreign,
    /// The system's words.
    #[error("{0}")]
    Unreadable(String),
}

/// Looks at the file's head and length.
pub(super) fn inspect(path: &Path) -> Result<ReadAs, NotDatabase> {
    let unreadable = |error: std::io::Error| NotDatabase::Unreadable(error.to_string());
    let mut file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(NotDatabase::Unreadable("not a file".to_owned()));
    }
    let mut header = Vec::with_capacity(HEADER_BYTES);
    file.by_ref()
        .take(HEADER_BYTES as u64)
        .read_to_end(&mut header)
        .map_err(unreadable)?;
    let log = std::fs::metadata(beside(path, "-wal")).map_or(0, |log| log.len());
    judge(&header, metadata.len(), log)
}

fn judge(header: &[u8], length: u64, log: u64) -> Result<ReadAs, NotDatabase> {
    let header: &[u8; HEADER_BYTES] = header.try_into().map_err(|_| NotDatabase::Foreign)?;
    if !header.starts_with(MAGIC) {
        return Err(NotDatabase::Foreign);
    }
    let number = |at: usize| {
        header[at..at + 4]
            .iter()
            .fold(0_u32, |number, byte| number << 8 | u32::from(*byte))
    };
    if matches!(number(56), 2 | 3) {
        return Err(NotDatabase::Encoding);
    }
    let page_bytes = match u64::from(header[16]) << 8 | u64::from(header[17]) {
        1 => 65_536,
        bytes => bytes,
    };
    let wanted = page_bytes * u64::from(number(28));
    // The number of pages counts only where it was written with the last change.
    let counted = number(24) == number(92);
    if log == 0 && counted && length < wanted {
        return Err(NotDatabase::CutShort {
            found: length,
            wanted,
        });
    }
    let with_log = header[18] == WITH_LOG || header[19] == WITH_LOG;
    Ok(if with_log && log == 0 {
        ReadAs::Unchanging
    } else {
        ReadAs::Shared
    })
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

const HEADER_BYTES: usize = 100;
const MAGIC: &[u8] = b"SQLite format 3\0";
/// File format version 2: with a write-ahead log.
const WITH_LOG: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    /// Of 3 pages of 4096 bytes, changed last by version 1.
    fn header() -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        header[..MAGIC.len()].copy_from_slice(MAGIC);
        header[16] = 0x10;
        header[18] = 1;
        header[19] = 1;
        header[27] = 9;
        header[31] = 3;
        header[59] = 1;
        header[95] = 9;
        header
    }

    #[test]
    fn a_database_and_its_nearest_misses() {
        let whole = 3 * 4096;
        assert_eq!(judge(&header(), whole, 0), Ok(ReadAs::Shared));
        assert_eq!(
            judge(&header(), whole - 1, 0),
            Err(NotDatabase::CutShort {
                found: whole - 1,
                wanted: whole
            })
        );
        let mut legacy = header();
        legacy[95] = 8;
        assert_eq!(judge(&legacy, 4096, 0), Ok(ReadAs::Shared), "no count");
        let mut wide = header();
        wide[59] = 2;
        assert_eq!(judge(&wide, whole, 0), Err(NotDatabase::Encoding));
        assert_eq!(judge(&header()[..99], 99, 0), Err(NotDatabase::Foreign));
        assert_eq!(judge(&[0; 100], 4096, 0), Err(NotDatabase::Foreign));
        assert_eq!(judge(b"", 0, 0), Err(NotDatabase::Foreign));
    }

    #[test]
    fn a_log_is_read_where_there_is_one_and_never_made() {
        let mut logged = header();
        logged[18] = 2;
        logged[19] = 2;
        assert_eq!(judge(&logged, 3 * 4096, 0), Ok(ReadAs::Unchanging));
        assert_eq!(judge(&logged, 3 * 4096, 4152), Ok(ReadAs::Shared));
        // What is missing may be in the log.
        assert_eq!(judge(&logged, 4096, 4152), Ok(ReadAs::Shared));
        assert_eq!(beside(Path::new("a/b.db"), "-wal"), Path::new("a/b.db-wal"));
    }
}

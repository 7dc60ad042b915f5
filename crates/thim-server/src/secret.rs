//! Files that only their owner may read: keys and tokens. Written aside, flushed, then put in place, so that a
//! crash leaves the old file or the new one.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Writes `content` to `path` with mode 0600.
pub fn write(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".new");
    let aside = Path::new(&aside);
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(aside)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(aside, path)?;
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => File::open(directory)?.sync_all(),
        _ => Ok(()),
    }
}

/// Reads a short text file, trimmed.
pub fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    File::open(path)?
        .take(LIMIT_BYTES)
        .read_to_string(&mut text)?;
    Ok(text.trim().to_owned())
}

/// Tokens and keys are far shorter.
const LIMIT_BYTES: u64 = 64 * 1024;

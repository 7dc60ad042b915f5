//! The first token: it may do everything, also create the others. In `admin.token` of the data directory, made at
//! first start, or in the file that `[api] token_file` names.

use std::path::Path;

use super::TOKEN_BYTES;
use crate::sealing::Entropy;
use crate::secret;

/// The token's text.
pub fn admin_token(
    named: Option<&Path>,
    directory: &Path,
    entropy: Entropy,
) -> std::io::Result<String> {
    let (path, may_make) = match named {
        Some(path) => (path.to_owned(), false),
        None => (directory.join(FILE), true),
    };
    let failed = |error: std::io::Error| {
        std::io::Error::new(error.kind(), format!("{}: {error}", path.display()))
    };
    let text = match secret::read(&path) {
        Ok(text) => text,
        Err(error) if may_make && error.kind() == std::io::ErrorKind::NotFound => {
            let mut random = [0; 32];
            entropy(&mut random)?;
            let text = data_encoding::HEXLOWER.encode(&random);
            secret::write(&path, format!("{text}\n").as_bytes()).map_err(failed)?;
            text
        }
        Err(error) => return Err(failed(error)),
    };
    if (MIN_BYTES..=TOKEN_BYTES).contains(&text.len()) {
        Ok(text)
    } else {
        Err(failed(std::io::Error::other(format!(
            "a token has {MIN_BYTES} to {TOKEN_BYTES} characters"
        ))))
    }
}

const FILE: &str = "admin.token";
/// Fewer characters are a word that somebody chose.
const MIN_BYTES: usize = 32;

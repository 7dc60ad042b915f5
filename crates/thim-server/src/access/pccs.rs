//! PCCS's own tokens, for migration: `UserTokenHash` and `AdminTokenHash` of its configuration, each the SHA-512 of a
//! token, without salt (PCCS 1.27, middleware/auth.js; its rules stand in `docs/pccs-differences.md`).

use std::fmt;

use aws_lc_rs::{constant_time, digest};
use data_encoding::HEXLOWER_PERMISSIVE;
use serde::Deserialize;

/// The hash as the configuration has it. It is the hash of a word that somebody chose, so it is shown nowhere.
#[derive(Clone, Deserialize, Eq, PartialEq)]
#[serde(transparent)]
pub struct PccsHash(String);

impl PccsHash {
    /// From its text, right or wrong; it is judged at the start of the service.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The 64 bytes, where these are 128 hex digits.
    pub(super) fn parsed(&self) -> Option<[u8; 64]> {
        let bytes = HEXLOWER_PERMISSIVE.decode(self.0.as_bytes()).ok()?;
        bytes.try_into().ok()
    }
}

impl fmt::Debug for PccsHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PccsHash")
    }
}

/// True where `token` is the one of `hash`; compared in constant time.
pub(super) fn is(token: &[u8], hash: &[u8; 64]) -> bool {
    let found = digest::digest(&digest::SHA512, token);
    constant_time::verify_slices_are_equal(found.as_ref(), hash).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SHA-512 of "abc": FIPS 180-4's example.
    const ABC: &str = "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";

    #[test]
    fn a_token_is_its_hash_and_no_other() {
        for text in [ABC.to_owned(), ABC.to_uppercase()] {
            let hash = PccsHash::new(text).parsed().expect("a hash");
            assert!(is(b"abc", &hash));
            assert!(!is(b"abd", &hash) && !is(b"", &hash));
        }
    }

    #[test]
    fn what_is_no_hash_is_none_and_is_not_shown() {
        for near in [
            &ABC[1..],
            &format!("{ABC}0"),
            &ABC.replacen('d', "g", 1),
            "",
        ] {
            let hash = PccsHash::new(near);
            assert_eq!(hash.parsed(), None, "{near}");
        }
        assert!(!format!("{:?}", PccsHash::new(ABC)).contains("ddaf"));
    }
}

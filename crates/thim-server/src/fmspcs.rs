//! The vendor's list of FMSPCs: unsigned, so it is checked for shape, kept in memory alone and never stored.

use serde::{Deserialize, Serialize};
use thim_verify::Fmspc;

/// One row of the list.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Row {
    /// The FMSPC.
    pub fmspc: Fmspc,
    /// `client`, `E3`, `E5`: the vendor's word.
    pub platform: String,
}

/// Reads a list; every row has an FMSPC and a short platform word.
pub fn read(body: &[u8]) -> Result<Vec<Row>, &'static str> {
    let rows: Vec<Row> =
        serde_json::from_slice(body).map_err(|_| "no list of {fmspc, platform}")?;
    if rows.len() > ROWS {
        return Err("more than 4096 FMSPCs");
    }
    if rows
        .iter()
        .any(|row| row.platform.is_empty() || row.platform.len() > 16 || !row.platform.is_ascii())
    {
        return Err("a platform word that is not 1 to 16 ASCII characters");
    }
    Ok(rows)
}

/// Intel had 44 in 2025.
const ROWS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn lists_and_their_near_misses() {
        assert_eq!(
            read(br#"[{"fmspc":"00906ED50000","platform":"E3"}]"#).map(|rows| rows.len()),
            Ok(1)
        );
        for bad in [
            &b"{}"[..],
            b"",
            br#"[{"fmspc":"00906ED5000","platform":"E3"}]"#,
            br#"[{"fmspc":"00906ED50000"}]"#,
            br#"[{"fmspc":"00906ED50000","platform":""}]"#,
            br#"[{"fmspc":"00906ED50000","platform":"01234567890123456"}]"#,
        ] {
            assert!(read(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }
}

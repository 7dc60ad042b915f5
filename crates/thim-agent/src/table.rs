//! The certificate table of the GHCB specification: what a hypervisor hands to a guest beside its report.
//!
//! Entries of 24 bytes (GUID in RFC 4122 order, offset from the table's start, length; both little endian), an entry of
//! zeros, then the certificates in DER without gaps. Written in the order root, ASK, VCEK, as `snphost import` does.
//! An empty table, one entry of zeros, is allowed and says that the guest must look elsewhere.
//! Source: spec/amd-kds-and-thim.md, 5.1.

use uuid::{Uuid, uuid};

/// What an entry is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Entry {
    /// AMD's root key.
    Ark,
    /// AMD's SEV key.
    Ask,
    /// The chip's key.
    Vcek,
}

/// More than the guest's driver takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a certificate table of {bytes} bytes; guests take at most {TABLE_LIMIT_BYTES}")]
pub struct TooLarge {
    /// How large it would be.
    pub bytes: usize,
}

impl Entry {
    const fn guid(self) -> Uuid {
        match self {
            Self::Ark => uuid!("c0b406a4-a803-4952-9743-3fb6014cd0ae"),
            Self::Ask => uuid!("4ab7b379-bbac-4fe4-a02f-05aef327c782"),
            Self::Vcek => uuid!("63da758d-e664-4564-adc5-f4b93be8accd"),
        }
    }
}

/// Lays a table out.
///
/// # Errors
/// [`TooLarge`].
pub fn build(entries: &[(Entry, &[u8])]) -> Result<Vec<u8>, TooLarge> {
    let header = (entries.len() + 1) * ENTRY_BYTES;
    let bodies: usize = entries.iter().map(|(_, der)| der.len()).sum();
    let bytes = header.saturating_add(bodies);
    if bytes > TABLE_LIMIT_BYTES {
        return Err(TooLarge { bytes });
    }
    let mut table = Vec::with_capacity(bytes);
    let mut offset = header;
    for (entry, der) in entries {
        table.extend_from_slice(entry.guid().as_bytes());
        for number in [offset, der.len()] {
            let number = u32::try_from(number).expect("at most 16 KiB");
            table.extend_from_slice(&number.to_le_bytes());
        }
        offset += der.len();
    }
    table.resize(header, 0);
    for (_, der) in entries {
        table.extend_from_slice(der);
    }
    Ok(table)
}

const ENTRY_BYTES: usize = 24;
/// Linux's sev-guest driver; spec/amd-kds-and-thim.md, 5.1 (from memory there, so said here too).
pub const TABLE_LIMIT_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_by_hand_and_the_limit() {
        assert_eq!(build(&[]), Ok(vec![0; 24]));
        let table = build(&[(Entry::Ark, b"root"), (Entry::Vcek, b"leaf!")]).expect("small");
        assert_eq!(table.len(), 3 * 24 + 9);
        assert_eq!(table[..4], [0xc0, 0xb4, 0x06, 0xa4]);
        assert_eq!(table[16..24], [72, 0, 0, 0, 4, 0, 0, 0]);
        assert_eq!(table[24..28], [0x63, 0xda, 0x75, 0x8d]);
        assert_eq!(table[40..48], [76, 0, 0, 0, 5, 0, 0, 0]);
        assert_eq!(table[48..72], [0; 24]);
        assert_eq!(&table[72..], b"rootleaf!");

        let full = vec![1; TABLE_LIMIT_BYTES - 48];
        assert_eq!(
            build(&[(Entry::Ask, &full)]).map(|table| table.len()),
            Ok(TABLE_LIMIT_BYTES)
        );
        let more = vec![1; TABLE_LIMIT_BYTES - 47];
        assert_eq!(
            build(&[(Entry::Ask, &more)]),
            Err(TooLarge {
                bytes: TABLE_LIMIT_BYTES + 1
            })
        );
    }
}

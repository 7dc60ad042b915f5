//! The certificate table that a hypervisor hands to a guest (GHCB): entries of 24 bytes, an entry of zeros, then what the
//! entries point at. All of it is taken, or nothing: a table that lies about one place is believed about none.
//! Rules: `spec/amd-kds-and-thim.md` 5.1. Numbers are little endian, GUIDs in the byte order of RFC 4122.

use thim_verify::Error;

/// What an entry is said to hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Labelled {
    /// ARK.
    Ark,
    /// ASK, or ASVK.
    Ask,
    /// A revocation list.
    Crl,
    /// No certificate: facts about the host, or something newer than this.
    Other,
    /// A chip's certificate.
    Vcek,
    /// A cloud's certificate.
    Vlek,
}

/// One entry and its bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Entry<'a> {
    /// What its GUID says.
    pub labelled: Labelled,
    /// What it points at.
    pub blob: &'a [u8],
}

/// Whether bytes begin as a table does that has something of AMD's in it: an entry of a known GUID among the first ones.
pub(super) fn begins_as_table(bytes: &[u8]) -> bool {
    bytes
        .as_chunks::<ENTRY_BYTES>()
        .0
        .iter()
        .take(MAX_ENTRIES)
        .take_while(|entry| **entry != END)
        .any(|entry| labelled(entry) != Labelled::Other)
}

/// The entries of a table, in their order.
///
/// # Errors
/// [`Error::TooLarge`], [`Error::TooMany`]; [`Error::Format`] for a table without its end, an entry without bytes, one
/// that points outside of the table or into its entries, and for two entries of one GUID.
pub(super) fn entries(bytes: &[u8]) -> Result<Vec<Entry<'_>>, Error> {
    if bytes.len() > MAX_BYTES {
        return Err(Error::TooLarge {
            what: WHAT.to_owned(),
            limit: MAX_BYTES,
            found: bytes.len(),
        });
    }
    let places = bytes.as_chunks::<ENTRY_BYTES>().0;
    let count = places
        .iter()
        .position(|entry| *entry == END)
        .ok_or_else(|| format("it has no end, an entry of zeros".to_owned()))?;
    if count > MAX_ENTRIES {
        return Err(Error::TooMany {
            what: format!("{WHAT}: entries"),
            limit: MAX_ENTRIES,
        });
    }
    let header = (count + 1) * ENTRY_BYTES;
    let mut entries: Vec<Entry<'_>> = Vec::new();
    for (place, entry) in places.iter().take(count).enumerate() {
        let labelled = labelled(entry);
        let (offset, length) = (number(entry, GUID_BYTES), number(entry, GUID_BYTES + 4));
        let end = offset.checked_add(length);
        let blob = end.and_then(|end| bytes.get(offset..end)).ok_or_else(|| {
            format(format!(
                "entry {place}: offset {offset} and length {length} point outside of its {} bytes",
                bytes.len()
            ))
        })?;
        if offset < header {
            return Err(format(format!(
                "entry {place}: offset {offset} points into the {header} bytes of entries"
            )));
        }
        if labelled == Labelled::Other {
            continue;
        }
        if blob.is_empty() {
            return Err(format(format!("entry {place} is empty")));
        }
        if entries.iter().any(|known| known.labelled == labelled) {
            return Err(format(format!("entry {place} has the GUID of another")));
        }
        entries.push(Entry { labelled, blob });
    }
    Ok(entries)
}

fn labelled(entry: &[u8; ENTRY_BYTES]) -> Labelled {
    GUIDS
        .iter()
        .find(|(guid, _)| entry.starts_with(guid))
        .map_or(Labelled::Other, |(_, labelled)| *labelled)
}

/// The number of 32 bits at a place inside of an entry.
fn number(entry: &[u8; ENTRY_BYTES], at: usize) -> usize {
    let bytes = entry.get(at..).and_then(|rest| rest.first_chunk::<4>());
    let number = bytes.map_or(u32::MAX, |bytes| u32::from_le_bytes(*bytes));
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn format(why: String) -> Error {
    Error::Format {
        what: WHAT.to_owned(),
        why,
    }
}

const WHAT: &str = "certificate table";
const GUID_BYTES: usize = 16;
const ENTRY_BYTES: usize = GUID_BYTES + 8;
const END: [u8; ENTRY_BYTES] = [0; ENTRY_BYTES];
/// Guests' drivers cap it at 16 KiB; three certificates and a list need 6.
const MAX_BYTES: usize = 64 * 1024;
/// Six GUIDs are known, and hypervisors may add some of their own.
const MAX_ENTRIES: usize = 32;
/// `spec/amd-kds-and-thim.md` 5.1.
const GUIDS: [([u8; GUID_BYTES], Labelled); 5] = [
    (
        *b"\xc0\xb4\x06\xa4\xa8\x03\x49\x52\x97\x43\x3f\xb6\x01\x4c\xd0\xae",
        Labelled::Ark,
    ),
    (
        *b"\x4a\xb7\xb3\x79\xbb\xac\x4f\xe4\xa0\x2f\x05\xae\xf3\x27\xc7\x82",
        Labelled::Ask,
    ),
    (
        *b"\x92\xf8\x1b\xc3\x58\x11\x4d\x3d\x97\xff\xd1\x9f\x88\xdc\x67\xea",
        Labelled::Crl,
    ),
    (
        *b"\x63\xda\x75\x8d\xe6\x64\x45\x64\xad\xc5\xf4\xb9\x3b\xe8\xac\xcd",
        Labelled::Vcek,
    ),
    (
        *b"\xa8\x07\x4b\xc2\xa2\x5a\x48\x3e\xaa\xe6\x39\xc0\x45\xa0\xb8\xa1",
        Labelled::Vlek,
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn table(entries: &[(usize, u32, u32)], rest: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (guid, offset, length) in entries {
            bytes.extend(GUIDS[*guid].0);
            bytes.extend(offset.to_le_bytes());
            bytes.extend(length.to_le_bytes());
        }
        bytes.extend(END);
        bytes.extend(rest);
        bytes
    }

    #[test]
    fn entries_are_found_in_any_order_of_blobs() {
        let bytes = table(&[(3, 75, 2), (0, 72, 3)], b"abcde");
        assert!(begins_as_table(&bytes));
        assert_eq!(
            entries(&bytes),
            Ok(vec![
                Entry {
                    labelled: Labelled::Vcek,
                    blob: b"de"
                },
                Entry {
                    labelled: Labelled::Ark,
                    blob: b"abc"
                },
            ])
        );
        // Of something newer only the bounds matter.
        let mut newer = bytes.clone();
        newer[24] ^= 1;
        assert_eq!(entries(&newer).map(|found| found.len()), Ok(1));
        assert!(!begins_as_table(&END) && entries(&END) == Ok(Vec::new()));
    }

    #[test]
    fn what_lies_about_its_places_is_refused() {
        for (bytes, why) in [
            (table(&[(3, 48, 5)], b"abcd"), "outside"),
            (table(&[(3, 47, 5)], b"abcd"), "into"),
            (table(&[(3, 0, 24)], b"abcd"), "into"),
            (table(&[(3, u32::MAX, 2)], b"abcd"), "outside"),
            (table(&[(3, 49, u32::MAX)], b"abcd"), "outside"),
            (table(&[(3, 48, 0)], b"abcd"), "empty"),
            (table(&[(3, 72, 1), (3, 73, 1)], b"abcd"), "another"),
            (table(&[(3, 48, 4)], b"abcd")[..47].to_vec(), "no end"),
            (table(&[(3, 72, 1); 33], &[7; 1000]), "entries"),
            (table(&[(3, 48, 4)], &[7; MAX_BYTES]), "65536"),
        ] {
            let error = entries(&bytes).expect_err(why).to_string();
            assert!(error.contains(why), "{error}");
        }
        assert!(entries(&table(&[(3, 48, 4)], b"abcd")).is_ok());
    }
}

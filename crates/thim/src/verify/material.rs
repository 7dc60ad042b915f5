//! From a file's bytes to AMD's certificates and lists, in whatever container they came.
//!
//! Read are: certificates and revocation lists in DER and in PEM, any number in one text (a key server's chain, the
//! three that Azure's cache gives); the JSON of `/metadata/THIM/amd/certification`; the table of GUIDs that a
//! hypervisor hands to guests; and the base64 of any of these (`host-amd-cert-base64`). Nothing here proves anything.
//! Sources: spec/amd-kds-and-thim.md, 5.1, 6.1 and 6.3.

use data_encoding::BASE64;
use rustls_pki_types::pem::{PemObject, SectionKind};
use serde::Deserialize;
use thim_verify::Error;
use thim_verify::amd::{AmdCrl, Authority, Endorsement, parse_crl};

/// One object of a file.
pub enum Piece {
    /// An ARK, ASK or ASVK.
    Authority(Authority),
    /// A product's revocation list.
    Crl(AmdCrl),
    /// A VCEK or VLEK.
    Endorsement(Box<Endorsement>),
}

/// Everything in a file; empty for none of the containers.
///
/// # Errors
/// For people: a container that is broken, or holds something that is none of AMD's.
pub fn read(bytes: &[u8]) -> Result<Vec<Piece>, String> {
    if let Some(decoded) = base64(bytes) {
        return plain(&decoded);
    }
    plain(bytes)
}

fn plain(bytes: &[u8]) -> Result<Vec<Piece>, String> {
    if bytes.first() == Some(&DER_SEQUENCE) {
        return Ok(vec![object(bytes)?]);
    }
    if TABLE.iter().any(|guid| bytes.starts_with(guid)) {
        return table(bytes);
    }
    let text = bytes.trim_ascii_start();
    if text.first() == Some(&b'{') {
        return certification(text);
    }
    pem(bytes)
}

/// Certificates and lists among the sections of a text; other sections are none of ours.
fn pem(text: &[u8]) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text) {
        // The error quotes the line, however long it is.
        let short = |text: String| text.chars().take(MAX_QUOTED).collect::<String>();
        let (kind, der) = section.map_err(|error| short(format!("PEM: {error}")))?;
        if !matches!(kind, SectionKind::Certificate | SectionKind::Crl) {
            continue;
        }
        if pieces.len() == MAX_PIECES {
            return Err(format!("more than {MAX_PIECES} objects in one file"));
        }
        pieces.push(object(&der)?);
    }
    Ok(pieces)
}

/// `{"vcekCert", "tcbm", "certificateChain", "cacheControl"}`; another object of JSON is none of ours.
fn certification(text: &[u8]) -> Result<Vec<Piece>, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Certification {
        vcek_cert: String,
        certificate_chain: String,
    }
    let Ok(body) = serde_json::from_slice::<Certification>(text) else {
        return Ok(Vec::new());
    };
    let mut pieces = pem(body.vcek_cert.as_bytes())?;
    pieces.extend(pem(body.certificate_chain.as_bytes())?);
    Ok(pieces)
}

/// Entries of a GUID, an offset and a length until one that is all zero; the blobs follow.
fn table(bytes: &[u8]) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let (entries, _) = bytes.as_chunks::<ENTRY_BYTES>();
    let count = entries.iter().take_while(|entry| **entry != [0; _]).count();
    if count == entries.len() || count > MAX_PIECES {
        return Err(format!(
            "certificate table: no end within {MAX_PIECES} entries"
        ));
    }
    let header = (count + 1) * ENTRY_BYTES;
    for entry in entries.iter().take(count) {
        let (guid, place) = entry.split_at(GUID_BYTES);
        let number = |at: usize| {
            let bytes = place.get(at..at + 4).and_then(|b| b.try_into().ok());
            bytes.map_or(0, u32::from_le_bytes) as usize
        };
        let (offset, length) = (number(0), number(4));
        let blob = offset.checked_add(length).and_then(|end| {
            let outside = offset >= header;
            outside.then(|| bytes.get(offset..end)).flatten()
        });
        let blob = blob.ok_or_else(|| {
            format!("certificate table: {length} bytes at {offset} are not behind its entries")
        })?;
        if !TABLE.iter().any(|known| known == guid) {
            continue;
        }
        if blob.first() == Some(&DER_SEQUENCE) {
            pieces.push(object(blob)?);
        } else {
            pieces.extend(pem(blob)?);
        }
    }
    Ok(pieces)
}

/// One object in DER, as its own names tell.
fn object(der: &[u8]) -> Result<Piece, String> {
    let endorsement = match Endorsement::from_der(der) {
        Ok(endorsement) => return Ok(Piece::Endorsement(Box::new(endorsement))),
        Err(error) => error,
    };
    let authority = match Authority::from_der(der) {
        Ok(authority) => return Ok(Piece::Authority(authority)),
        Err(error) => error,
    };
    let list = match parse_crl(der) {
        Ok(crl) => return Ok(Piece::Crl(crl)),
        Err(error) => error,
    };
    // The reader that got furthest knows best: another name is another kind's, a broken form is broken for all.
    let named = |error: &Error| matches!(error, Error::WrongIssuer { .. });
    let best = if !named(&endorsement) && named(&authority) {
        endorsement
    } else if matches!(list, Error::Format { .. }) {
        authority
    } else {
        list
    };
    Err(best.to_string())
}

/// The bytes behind a text that is base64 alone, blanks aside.
fn base64(bytes: &[u8]) -> Option<Vec<u8>> {
    let text: Vec<u8> = bytes
        .iter()
        .copied()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    if text.is_empty() {
        return None;
    }
    BASE64.decode(&text).ok()
}

/// The largest container seen is 9 KiB, a revocation list of the largest size that is read 1 MiB.
pub const FILE_LIMIT_BYTES: u64 = 2 * 1024 * 1024;

/// A table has five of ours, a chain three; a folder's worth in one text is still fewer.
const MAX_PIECES: usize = 64;

/// Enough of a broken line to find it.
const MAX_QUOTED: usize = 160;

const DER_SEQUENCE: u8 = 0x30;
const ENTRY_BYTES: usize = 24;
const GUID_BYTES: usize = 16;

/// spec/amd-kds-and-thim.md, 5.1, bytes in the order of RFC 4122: VCEK, VLEK, ASK (ASVK too), ARK, CRL.
const TABLE: [[u8; GUID_BYTES]; 5] = [
    0x63da758d_e664_4564_adc5_f4b93be8accd_u128.to_be_bytes(),
    0xa8074bc2_a25a_483e_aae6_39c045a0b8a1_u128.to_be_bytes(),
    0x4ab7b379_bbac_4fe4_a02f_05aef327c782_u128.to_be_bytes(),
    0xc0b406a4_a803_4952_9743_3fb6014cd0ae_u128.to_be_bytes(),
    0x92f81bc3_5811_4d3d_97ff_d19f88dc67ea_u128.to_be_bytes(),
];

#[cfg(test)]
mod tests {
    use thim_verify::amd::{EndorsementKind, Product, builtin_chain};

    use super::*;

    fn chain() -> &'static [u8] {
        builtin_chain(Product::Milan, EndorsementKind::Vcek).expect("Milan's is built in")
    }

    fn ders() -> Vec<Vec<u8>> {
        let sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(chain());
        sections.map(|section| section.expect("PEM").1).collect()
    }

    fn names(bytes: &[u8]) -> Result<Vec<String>, String> {
        let name = |piece: Piece| match piece {
            Piece::Authority(authority) => authority.subject_cn().to_owned(),
            Piece::Crl(crl) => format!("list of {}", crl.product()),
            Piece::Endorsement(leaf) => leaf.kind().to_string(),
        };
        Ok(read(bytes)?.into_iter().map(name).collect())
    }

    /// A table of (GUID, DER), `shift` bytes off.
    fn tabled(entries: &[([u8; 16], &[u8])], shift: u32) -> Vec<u8> {
        let mut offset = u32::try_from((entries.len() + 1) * ENTRY_BYTES).expect("short");
        let (mut head, mut blobs) = (Vec::new(), Vec::new());
        for (guid, der) in entries {
            let length = u32::try_from(der.len()).expect("short");
            head.extend_from_slice(guid);
            head.extend_from_slice(&offset.wrapping_add(shift).to_le_bytes());
            head.extend_from_slice(&length.to_le_bytes());
            blobs.extend_from_slice(der);
            offset += length;
        }
        head.extend_from_slice(&[0; ENTRY_BYTES]);
        [head, blobs].concat()
    }

    #[test]
    fn one_chain_in_every_container() {
        let both = Ok(vec!["SEV-Milan".to_owned(), "ARK-Milan".to_owned()]);
        assert_eq!(names(chain()), both);
        assert_eq!(names(BASE64.encode(chain()).as_bytes()), both);
        let crlf = String::from_utf8_lossy(chain()).replace('\n', "\r\n");
        assert_eq!(names(format!("# AMD\r\n{crlf}").as_bytes()), both);
        let text = String::from_utf8_lossy(chain());
        let json = serde_json::json!({"vcekCert": "", "tcbm": "0", "certificateChain": text, "cacheControl": "1"});
        assert_eq!(names(json.to_string().as_bytes()), both);
        assert_eq!(
            names(BASE64.encode(json.to_string().as_bytes()).as_bytes()),
            both
        );
        let [ask, ark] = ders().try_into().expect("two");
        let unknown = ([9; 16], b"what ever".as_slice());
        let table = tabled(&[(TABLE[2], &ask), unknown, (TABLE[3], &ark)], 0);
        assert_eq!(names(&table), both);
        assert_eq!(names(&ask), Ok(vec!["SEV-Milan".to_owned()]));
    }

    #[test]
    fn what_is_none_of_these_is_nothing_and_what_is_broken_is_said() {
        for nothing in [
            b"".as_slice(),
            b"a note",
            b"{}",
            br#"{"tcbInfo":{},"signature":""}"#,
            b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        ] {
            assert_eq!(names(nothing), Ok(vec![]), "{nothing:?}");
        }
        let [ask, ark] = ders().try_into().expect("two");
        let good = tabled(&[(TABLE[2], &ask), (TABLE[3], &ark)], 0);
        let endless: Vec<u8> = TABLE[2].iter().copied().cycle().take(4096).collect();
        for broken in [
            &chain()[..chain().len() - 30],
            &[DER_SEQUENCE, 0],
            &ask[..ask.len() - 1],
            &[ask.as_slice(), &[0]].concat(),
            // Into the entries, beyond the end, around the end of the numbers, without an end.
            &tabled(&[(TABLE[2], &ask)], 0_u32.wrapping_sub(1)),
            &tabled(&[(TABLE[2], &ask)], 1),
            &tabled(&[(TABLE[2], &ask)], u32::MAX - 1000),
            &good[..ENTRY_BYTES * 2],
            &endless,
        ] {
            assert!(names(broken).is_err(), "{} bytes", broken.len());
        }
    }
}

//! A naive verifier of quotes, from spec/intel-verification.md sections 1 and 3: it takes a quote apart by the table of
//! offsets and says which of the three signatures and hashes hold. What it cannot take apart is a panic.

use crate::client::*;
use crate::proof::signed_by;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use thim_sim::{QuoteBody, QuoteSpec, QuoteVersion};
use x509_cert::Certificate;

/// Every version with every body it has: the body's offset and length.
pub const LAYOUTS: [(QuoteVersion, QuoteBody, usize, usize); 7] = [
    (QuoteVersion::V3, QuoteBody::Sgx, 48, 384),
    (QuoteVersion::V4, QuoteBody::Sgx, 48, 384),
    (QuoteVersion::V4, QuoteBody::Td10, 48, 584),
    (QuoteVersion::V5, QuoteBody::Sgx, 54, 384),
    (QuoteVersion::V5, QuoteBody::Td10, 54, 584),
    (QuoteVersion::V5, QuoteBody::Td15, 54, 648),
    (QuoteVersion::V5, QuoteBody::Td15Extended, 54, 885),
];

/// A quote taken apart.
pub struct Parts<'a> {
    pub header: &'a [u8],
    pub body: &'a [u8],
    signed: &'a [u8],
    signature: &'a [u8],
    pub key: &'a [u8],
    pub qe_report: &'a [u8],
    qe_signature: &'a [u8],
    pub auth_data: &'a [u8],
    pub kind: u16,
    pub certification: &'a [u8],
    pub trailing: &'a [u8],
}

/// What holds.
#[derive(Debug, PartialEq, Eq)]
pub struct Holds {
    pub quote_signature: bool,
    pub binding: bool,
    pub qe_report_signature: bool,
}

pub const ALL_HOLDS: Holds = Holds {
    quote_signature: true,
    binding: true,
    qe_report_signature: true,
};

/// Reads from the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(bytes);
        self.0 = rest;
        taken
    }

    fn u16(&mut self) -> u16 {
        u16_at(self.take(2), 0)
    }

    fn sized(&mut self) -> &'a [u8] {
        let bytes = u32_at(self.take(4), 0);
        self.take(bytes as usize)
    }
}

pub fn u16_at(bytes: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes(bytes[offset..offset + 2].try_into().unwrap())
}

pub fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes[offset..offset + 4].try_into().unwrap())
}

pub fn parts(quote: &[u8]) -> Parts<'_> {
    let version = u16_at(quote, 0);
    assert_eq!(u16_at(quote, 2), 2, "ECDSA P-256");
    let (offset, bytes) = match (version, u32_at(quote, 4)) {
        (3 | 4, 0) => (48, 384),
        (4, 0x81) => (48, 584),
        (5, tee) => {
            let bytes = u32_at(quote, 50);
            let known = match u16_at(quote, 48) {
                1 => (0, 384),
                2 => (0x81, 584),
                3 => (0x81, 648),
                4 => (0x81, 885),
                other => panic!("body type {other}"),
            };
            assert_eq!((tee, bytes), known);
            (54, bytes as usize)
        }
        other => panic!("version and TEE {other:?}"),
    };
    let (signed, rest) = quote.split_at(offset + bytes);
    let mut rest = Reader(rest);
    let mut section = Reader(rest.sized());
    let (signature, key) = (section.take(64), section.take(64));
    if version > 3 {
        assert_eq!(section.u16(), 6);
        let inner = section.sized();
        assert!(section.0.is_empty(), "bytes behind the outer data");
        section = Reader(inner);
    }
    let (qe_report, qe_signature) = (section.take(384), section.take(64));
    let auth_bytes = section.u16();
    let auth_data = section.take(usize::from(auth_bytes));
    let (kind, certification) = (section.u16(), section.sized());
    assert!(section.0.is_empty(), "bytes behind the inner data");
    Parts {
        header: &quote[..48],
        body: &quote[offset..offset + bytes],
        signed,
        signature,
        key,
        qe_report,
        qe_signature,
        auth_data,
        kind,
        certification,
        trailing: rest.0,
    }
}

impl Parts<'_> {
    /// What holds when this is the PCK certificate.
    pub fn under(&self, pck: &Certificate) -> Holds {
        let info = pck.tbs_certificate().subject_public_key_info();
        let pck_key = info.subject_public_key.raw_bytes();
        let bound = digest(&SHA256, &[self.key, self.auth_data].concat());
        let expected = [bound.as_ref(), &[0; 32]].concat();
        Holds {
            quote_signature: verifies(&[&[4], self.key].concat(), self.signed, self.signature),
            binding: self.qe_report[320..384] == expected,
            qe_report_signature: verifies(pck_key, self.qe_report, self.qe_signature),
        }
    }

    /// The certificates of certification data of type 4 or 5, as they come.
    pub fn certificates(&self) -> Vec<Certificate> {
        let pem = self.certification;
        let pem = pem.strip_suffix(&[0]).unwrap_or(pem);
        Certificate::load_pem_chain(pem).unwrap()
    }

    /// The leaf of a chain in any order, which must lead to this root.
    pub fn leaf_under(&self, root_pem: &str) -> Certificate {
        let certificates = self.certificates();
        let leaf = &certificates[0];
        let by_name = |name: &x509_cert::name::Name| {
            certificates
                .iter()
                .find(|other| other.tbs_certificate().subject() == name)
                .unwrap()
        };
        let ca = by_name(leaf.tbs_certificate().issuer());
        let root = by_name(ca.tbs_certificate().issuer());
        let trusted = Certificate::load_pem_chain(root_pem.as_bytes()).unwrap();
        assert_eq!(*root, trusted[0]);
        assert!(signed_by(leaf, ca) && signed_by(ca, root));
        leaf.clone()
    }
}

fn verifies(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key)
        .verify(message, signature)
        .is_ok()
}

impl Simulated {
    /// A quote of the family's first platform.
    pub fn quote_of(&self, fmspc: &str, spec: &QuoteSpec) -> Vec<u8> {
        let name = self.platform_of(fmspc).name;
        self.management().quote(&name, spec).unwrap()
    }

    /// The PCK certificate that PCS answers for a target.
    pub async fn pck(&self, target: &str) -> Certificate {
        let answer = self.get(target).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        Certificate::load_pem_chain(&answer.body).unwrap().remove(0)
    }
}

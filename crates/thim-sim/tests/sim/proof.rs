//! What a relying party does with an answer: chain to the trusted root, signature over the exact bytes.

use crate::client::Answer;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, UnparsedPublicKey, VerificationAlgorithm,
};
use data_encoding::HEXLOWER;
use percent_encoding::percent_decode_str;
use serde_json::Value;
use x509_cert::Certificate;
use x509_cert::crl::CertificateList;
use x509_cert::der::{Decode, DecodePem, Encode};

/// The certificates of a chain header, checked to end in `%0A`.
pub fn chain(answer: &Answer, header: &str) -> Vec<Certificate> {
    let encoded = answer.header(header).expect("the chain header");
    assert!(encoded.ends_with("-----END%20CERTIFICATE-----%0A"));
    assert!(!encoded.contains(['+', ' ', '/', '=']));
    let pem = percent_decode_str(encoded).decode_utf8().unwrap();
    Certificate::load_pem_chain(pem.as_bytes()).unwrap()
}

/// Whether an issuer-first chain of two leads to the root.
pub fn leads_to(chain: &[Certificate], root_pem: &str) -> bool {
    let root = Certificate::from_pem(root_pem).unwrap();
    let [issuer, sent_root] = chain else {
        return false;
    };
    *sent_root == root && signed_by(issuer, &root) && signed_by(&root, &root)
}

/// The inner object of a signed JSON answer, if its signature and chain hold.
pub fn verified(answer: &Answer, header: &str, member: &str, root_pem: &str) -> Option<Value> {
    let (inner, signature) = split(answer, member);
    let chain = chain(answer, header);
    let signature = HEXLOWER.decode(signature.as_bytes()).unwrap();
    assert_eq!(signature.len(), 64);
    let good = leads_to(&chain, root_pem)
        && verifies(&chain[0], &ECDSA_P256_SHA256_FIXED, inner, &signature);
    good.then(|| serde_json::from_slice(inner).unwrap())
}

/// TCB info that must hold.
pub fn tcb_info(answer: &Answer, root_pem: &str) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    verified(answer, "TCB-Info-Issuer-Chain", "tcbInfo", root_pem).expect("it verifies")
}

/// The inner object of a signed JSON answer, unverified.
pub fn unverified(answer: &Answer, member: &str) -> Value {
    serde_json::from_slice(split(answer, member).0).unwrap()
}

/// The CRL of an answer in DER, if `issuer` signed it.
pub fn verified_crl(der: &[u8], issuer: &Certificate) -> Option<CertificateList> {
    let crl = CertificateList::<x509_cert::certificate::Rfc5280>::from_der(der).unwrap();
    assert_eq!(
        crl.tbs_cert_list.issuer,
        *issuer.tbs_certificate().subject()
    );
    let tbs = crl.tbs_cert_list.to_der().unwrap();
    let signature = crl.signature.raw_bytes();
    verifies(issuer, &ECDSA_P256_SHA256_ASN1, &tbs, signature).then_some(crl)
}

pub fn revoked_serials(crl: &CertificateList) -> Vec<String> {
    crl.tbs_cert_list
        .revoked_certificates
        .iter()
        .flatten()
        .map(|entry| HEXLOWER.encode(entry.serial_number.as_bytes()))
        .collect()
}

pub fn this_update(crl: &CertificateList) -> i64 {
    seconds(&crl.tbs_cert_list.this_update)
}

pub fn next_update(crl: &CertificateList) -> i64 {
    seconds(crl.tbs_cert_list.next_update.as_ref().unwrap())
}

pub fn seconds(time: &x509_cert::time::Time) -> i64 {
    time.to_unix_duration().as_secs().try_into().unwrap()
}

pub fn issue_date(inner: &Value) -> i64 {
    date(inner, "issueDate")
}

pub fn next_update_of(inner: &Value) -> i64 {
    date(inner, "nextUpdate")
}

fn date(inner: &Value, member: &str) -> i64 {
    let timestamp: jiff::Timestamp = inner[member].as_str().unwrap().parse().unwrap();
    timestamp.as_second()
}

/// An entry of a `pckcerts` list.
pub struct Listed {
    pub tcb: Value,
    pub tcbm: String,
    /// `None` is `Not available`.
    pub certificate: Option<Certificate>,
}

/// The entries of a `pckcerts` answer, unverified.
pub fn listed(answer: &Answer) -> Vec<Listed> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let entries: Vec<Value> = serde_json::from_slice(&answer.body).unwrap();
    entries
        .into_iter()
        .map(|mut entry| {
            let certificate = match entry["cert"].as_str().unwrap() {
                "Not available" => None,
                encoded => {
                    assert!(encoded.ends_with("-----END%20CERTIFICATE-----%0A"));
                    let pem = percent_decode_str(encoded).decode_utf8().unwrap();
                    Some(Certificate::from_pem(pem.as_bytes()).unwrap())
                }
            };
            Listed {
                tcb: entry["tcb"].take(),
                tcbm: entry["tcbm"].as_str().unwrap().to_owned(),
                certificate,
            }
        })
        .collect()
}

/// The certificates of a `pckcerts` answer: chain and every signature must hold.
pub fn pck_certificates(answer: &Answer, root_pem: &str) -> Vec<Certificate> {
    let chain = chain(answer, PCK_CHAIN);
    assert!(leads_to(&chain, root_pem));
    let listed = listed(answer).into_iter();
    let certificates: Vec<_> = listed.filter_map(|entry| entry.certificate).collect();
    assert!(certificates.iter().all(|leaf| signed_by(leaf, &chain[0])));
    certificates
}

/// The serial number in lower-case hex.
pub fn serial(certificate: &Certificate) -> String {
    HEXLOWER.encode(certificate.tbs_certificate().serial_number().as_bytes())
}

/// The value of an item of the SGX extension, by the numbers behind the extension's identifier.
pub fn sgx_item(certificate: &Certificate, numbers: &[u8]) -> Option<Vec<u8>> {
    let extensions = certificate.tbs_certificate().extensions().unwrap();
    let extension = extensions
        .iter()
        .find(|extension| extension.extn_id.to_string() == SGX_EXTENSION)
        .expect("the SGX extension");
    let mut identifier = extension.extn_id.as_bytes().to_vec();
    let mut items = elements(extension.extn_value.as_bytes()).remove(0).1;
    let mut value = None;
    for number in numbers {
        identifier.push(*number);
        let found = elements(items)
            .into_iter()
            .map(|(_, item)| elements(item))
            .find(|item| item[0].1 == identifier)?;
        items = found[1].1;
        value = Some(items.to_vec());
    }
    value
}

/// The elements of DER one behind the other: tag and content.
fn elements(mut der: &[u8]) -> Vec<(u8, &[u8])> {
    let mut elements = Vec::new();
    while let [tag, first, rest @ ..] = der {
        let (length, rest) = match *first {
            short @ 0..=0x7f => (usize::from(short), rest),
            0x81 => (usize::from(rest[0]), &rest[1..]),
            0x82 => (
                usize::from(rest[0]) * 256 + usize::from(rest[1]),
                &rest[2..],
            ),
            _ => panic!("not DER of this size"),
        };
        elements.push((*tag, &rest[..length]));
        der = &rest[length..];
    }
    elements
}

pub const PCK_CHAIN: &str = "SGX-PCK-Certificate-Issuer-Chain";
const SGX_EXTENSION: &str = "1.2.840.113741.1.13.1";

/// Compact JSON of exactly two members: the inner object's exact bytes, and the signature's hex.
fn split<'a>(answer: &'a Answer, member: &str) -> (&'a [u8], &'a str) {
    let text = answer.text();
    let rest = text.strip_prefix(&format!("{{\"{member}\":")).unwrap();
    let (inner, rest) = rest.rsplit_once(",\"signature\":\"").unwrap();
    (inner.as_bytes(), rest.strip_suffix("\"}").unwrap())
}

pub fn signed_by(certificate: &Certificate, issuer: &Certificate) -> bool {
    let tbs = certificate.tbs_certificate().to_der().unwrap();
    let signature = certificate.signature().raw_bytes();
    verifies(issuer, &ECDSA_P256_SHA256_ASN1, &tbs, signature)
}

fn verifies(
    signer: &Certificate,
    algorithm: &'static dyn VerificationAlgorithm,
    message: &[u8],
    signature: &[u8],
) -> bool {
    let key = signer
        .tbs_certificate()
        .subject_public_key_info()
        .subject_public_key
        .raw_bytes();
    UnparsedPublicKey::new(algorithm, key)
        .verify(message, signature)
        .is_ok()
}

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

/// Compact JSON of exactly two members: the inner object's exact bytes, and the signature's hex.
fn split<'a>(answer: &'a Answer, member: &str) -> (&'a [u8], &'a str) {
    let text = answer.text();
    let rest = text.strip_prefix(&format!("{{\"{member}\":")).unwrap();
    let (inner, rest) = rest.rsplit_once(",\"signature\":\"").unwrap();
    (inner.as_bytes(), rest.strip_suffix("\"}").unwrap())
}

fn signed_by(certificate: &Certificate, issuer: &Certificate) -> bool {
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

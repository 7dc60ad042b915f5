//! A simulated KDS to ask, and what a relying party does with its answers: RSA-PSS over the exact bytes received, up to
//! the root that was given.

use crate::client::{Answer, NOW, exchange};
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, RSA_PSS_2048_8192_SHA384, UnparsedPublicKey};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use thim_sim::{
    AmdCa, AmdProduct, FaultRule, Kds, KdsConfig, KdsFault, KdsManagement, RateLimits, RsaBits,
    SimChip, SimTcb, start_kds,
};
use x509_cert::Certificate;
use x509_cert::crl::CertificateList;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode, DecodePem};

/// A simulated KDS and its clock.
pub struct SimulatedKds {
    pub kds: Kds,
    clock: Arc<AtomicI64>,
}

impl SimulatedKds {
    pub async fn start() -> Self {
        let clock = Arc::new(AtomicI64::new(NOW));
        let read = Arc::clone(&clock);
        let config = KdsConfig::new(Arc::new(move || read.load(Ordering::SeqCst)));
        // Small keys: tests need many signatures and no security.
        let kds = start_kds(config.rsa_bits(RsaBits::B2048)).await.unwrap();
        Self { kds, clock }
    }

    /// Without limits, for tests of something else.
    pub async fn start_unlimited() -> Self {
        let s = Self::start().await;
        s.management().set_rate_limits(RateLimits {
            per_certificate_seconds: 0,
            per_client_seconds: 0,
        });
        s
    }

    pub async fn start_with(fault: KdsFault) -> Self {
        let s = Self::start_unlimited().await;
        s.management().set_fault(FaultRule::new(fault)).unwrap();
        s
    }

    pub fn advance(&self, seconds: i64) {
        self.clock.fetch_add(seconds, Ordering::SeqCst);
    }

    pub fn now(&self) -> i64 {
        self.clock.load(Ordering::SeqCst)
    }

    pub fn management(&self) -> KdsManagement {
        self.kds.management()
    }

    pub fn chip_of(&self, product: AmdProduct) -> SimChip {
        self.management().chip_of(product)
    }

    pub async fn get(&self, target: &str) -> Answer {
        self.try_get(target).await.unwrap()
    }

    pub async fn try_get(&self, target: &str) -> io::Result<Answer> {
        exchange(&self.kds.url(), "GET", target, &[], "").await
    }

    pub async fn status_of(&self, target: &str) -> u16 {
        self.get(target).await.status
    }

    /// A VCEK that must come.
    pub async fn vcek(&self, chip: &SimChip) -> Vec<u8> {
        self.body(&chip.target()).await
    }

    /// The body of an answer that must be 200.
    pub async fn body(&self, target: &str) -> Vec<u8> {
        let answer = self.get(target).await;
        assert_eq!(answer.status, 200, "{target}");
        answer.body
    }

    /// A chain, in DER as it came: the CA's certificate and the root's.
    pub async fn chain(&self, ca: AmdCa, product: AmdProduct) -> Vec<Vec<u8>> {
        let path = format!("/{}/v1/{product}/cert_chain", ca.line());
        certificates_of(&self.body(&path).await)
    }

    /// Whether a leaf leads to the root that was given for its product, by the chain that is served.
    pub async fn leads_to_root(&self, leaf: &[u8], ca: AmdCa, product: AmdProduct) -> bool {
        let chain = self.chain(ca, product).await;
        let root = certificates_of(self.kds.root_pem(product).as_bytes()).remove(0);
        let [issuer, sent_root] = chain.as_slice() else {
            return false;
        };
        *sent_root == root
            && pss_signed(&root, &root)
            && pss_signed(issuer, &root)
            && pss_signed(leaf, issuer)
    }

    /// A request to the management port; the JSON that came, after its status.
    pub async fn manage(&self, method: &str, path: &str, body: &str) -> (u16, serde_json::Value) {
        let answer = self.manage_raw(method, path, body).await;
        (answer.status, serde_json::from_slice(&answer.body).unwrap())
    }

    pub async fn manage_raw(&self, method: &str, path: &str, body: &str) -> Answer {
        let url = self.kds.management_url();
        exchange(&url, method, path, &[], body).await.unwrap()
    }
}

/// The certificates of a PEM file, in DER.
pub fn certificates_of(pem: &[u8]) -> Vec<Vec<u8>> {
    let text = std::str::from_utf8(pem).unwrap();
    text.split_inclusive("-----END CERTIFICATE-----")
        .filter(|block| block.contains("BEGIN"))
        .map(|block| {
            let (_, der) = x509_cert::der::pem::decode_vec(block.trim_start().as_bytes()).unwrap();
            der
        })
        .collect()
}

pub fn certificate(der: &[u8]) -> Certificate {
    Certificate::from_der(der).unwrap()
}

/// Whether the issuer's key signed a certificate or CRL: RSA-PSS with SHA-384 over the bytes as they are.
pub fn pss_signed(der: &[u8], issuer: &[u8]) -> bool {
    let (tbs, signature) = signed_parts(der);
    let issuer = certificate(issuer);
    let key = issuer
        .tbs_certificate()
        .subject_public_key_info()
        .subject_public_key
        .raw_bytes();
    UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA384, key)
        .verify(tbs, signature)
        .is_ok()
}

/// The CRL, if the root of the product signed it.
pub fn verified_crl(der: &[u8], root_pem: &str) -> Option<CertificateList> {
    let root = certificates_of(root_pem.as_bytes()).remove(0);
    let crl = CertificateList::from_der(der).unwrap();
    let root_name = certificate(&root).tbs_certificate().subject().to_string();
    assert_eq!(crl.tbs_cert_list.issuer.to_string(), root_name);
    pss_signed(der, &root).then_some(crl)
}

pub fn crl_number(crl: &CertificateList) -> u8 {
    let extensions = crl.tbs_cert_list.crl_extensions.as_ref().unwrap();
    let number = extensions
        .iter()
        .find(|extension| extension.extn_id.to_string() == "2.5.29.20")
        .unwrap();
    let [2, 1, number] = number.extn_value.as_bytes() else {
        panic!("a number under 128");
    };
    *number
}

/// The content of an AMD extension, by the numbers behind the arc.
pub fn amd_extension(certificate: &Certificate, suffix: &str) -> Option<Vec<u8>> {
    let id = ObjectIdentifier::new(&format!("1.3.6.1.4.1.3704.1.{suffix}")).unwrap();
    let extensions = certificate.tbs_certificate().extensions().unwrap();
    extensions
        .iter()
        .find(|extension| extension.extn_id == id)
        .map(|extension| extension.extn_value.as_bytes().to_vec())
}

/// The TCB of a VCEK or VLEK.
pub fn tcb_of(certificate: &Certificate) -> SimTcb {
    let level = |suffix: &str| {
        amd_extension(certificate, suffix).map(|value| match value[..] {
            [2, 1, level @ 0..=127] => level,
            [2, 2, 0, level @ 128..=255] => level,
            _ => panic!("not the DER of a level: {value:?}"),
        })
    };
    SimTcb {
        fmc: level("3.9"),
        boot_loader: level("3.1").unwrap(),
        tee: level("3.2").unwrap(),
        snp: level("3.3").unwrap(),
        microcode: level("3.8").unwrap(),
    }
}

pub fn public_key(certificate: &Certificate) -> Vec<u8> {
    let info = certificate.tbs_certificate().subject_public_key_info();
    info.subject_public_key.raw_bytes().to_vec()
}

/// Whether the key of a VCEK or VLEK signed a report, whose padding must be zero.
pub fn report_signed(report: &[u8], leaf: &[u8]) -> bool {
    assert_eq!(report.len(), 1184);
    assert!(report[0x330..].iter().all(|byte| *byte == 0));
    let number = |offset: usize| {
        let (number, padding) = report[offset..offset + 72].split_at(48);
        assert!(padding.iter().all(|byte| *byte == 0));
        number.iter().rev().copied().collect::<Vec<_>>()
    };
    let signature = [number(0x2a0), number(0x2e8)].concat();
    UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, public_key(&certificate(leaf)))
        .verify(&report[..0x2a0], &signature)
        .is_ok()
}

/// A certificate's own bytes: what is signed, whole, and the signature.
fn signed_parts(der: &[u8]) -> (&[u8], &[u8]) {
    let inner = &der[4..];
    let tbs_bytes = 4 + usize::from(inner[2]) * 256 + usize::from(inner[3]);
    assert_eq!((der[1], inner[1]), (0x82, 0x82));
    let (tbs, rest) = inner.split_at(tbs_bytes);
    let signature = &rest[2 + usize::from(rest[1])..];
    assert_eq!(signature[..2], [3, 0x82]);
    (tbs, &signature[5..])
}

/// From PEM, through the decoder of another crate too.
pub fn parses_as_pem(pem: &str) -> bool {
    Certificate::from_pem(pem).is_ok()
}

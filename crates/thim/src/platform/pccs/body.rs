//! A platform of PCCS's database as a body of `PUT platformcollateral`, version 4 (`spec/intel-pcs-and-pccs.md`
//! section 3.2): the platform once for each raw TCB, its certificates, and the SGX TCB info of its family, byte for
//! byte as it was signed.

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde_json::value::RawValue;
use thim_server::platforms::Imported;
use thim_server::platforms::registration::{EncryptedPpid, Manifest};
use thim_verify::{Certificate, Fmspc, Listed, PckCa, RawTcb};

/// The issuing certificates of a body; of each chain the issuer, and the one root of all.
#[derive(Clone, Debug, Default)]
pub struct Issuers {
    pub processor: Option<Certificate>,
    pub platform: Option<Certificate>,
    pub tcb_signing: Option<Certificate>,
    pub root: Option<Certificate>,
}

impl Issuers {
    /// Sorts certificates by what they are for; of several the last counts.
    pub fn take(&mut self, certificates: impl IntoIterator<Item = Certificate>) {
        for certificate in certificates {
            let place = match certificate.subject_cn() {
                name if name == PckCa::Processor.common_name() => &mut self.processor,
                name if name == PckCa::Platform.common_name() => &mut self.platform,
                _ if certificate.is_self_issued() => &mut self.root,
                _ if !certificate.is_ca() => &mut self.tcb_signing,
                _ => continue,
            };
            *place = Some(certificate);
        }
    }

    /// An issuer and the root, as the vendor's headers carry them.
    fn chain(&self, issuer: Option<&Certificate>) -> String {
        let Some(issuer) = issuer else {
            return String::new();
        };
        let root = self.root.iter().map(Certificate::to_pem);
        let pem: String = std::iter::once(issuer.to_pem()).chain(root).collect();
        encoded(&pem)
    }
}

#[derive(Serialize)]
struct Body<'a> {
    platforms: Vec<Platform>,
    collaterals: Collaterals<'a>,
}

#[derive(Serialize)]
struct Platform {
    qe_id: String,
    pce_id: String,
    cpu_svn: String,
    pce_svn: String,
    enc_ppid: String,
    platform_manifest: String,
}

#[derive(Serialize)]
struct Collaterals<'a> {
    version: u8,
    pck_certs: [PckCerts; 1],
    tcbinfos: [TcbInfos<'a>; 1],
    certificates: BTreeMap<&'static str, serde_json::Value>,
}

#[derive(Serialize)]
struct PckCerts {
    qe_id: String,
    pce_id: String,
    enc_ppid: String,
    platform_manifest: String,
    certs: Vec<PckCert>,
}

#[derive(Serialize)]
struct PckCert {
    tcb: BTreeMap<String, u16>,
    tcbm: String,
    cert: String,
}

#[derive(Serialize)]
struct TcbInfos<'a> {
    fmspc: String,
    sgx_tcbinfo: &'a RawValue,
}

/// The body. Levels without a readable certificate are not in it.
pub fn body(
    imported: &Imported,
    fmspc: Fmspc,
    tcb_info: &RawValue,
    issuers: &Issuers,
) -> Result<Vec<u8>, serde_json::Error> {
    let registration = &imported.registration;
    let enc_ppid = registration
        .encrypted_ppid
        .as_ref()
        .map(EncryptedPpid::to_hex_upper)
        .unwrap_or_default();
    let manifest = registration
        .manifest
        .as_ref()
        .map(Manifest::to_hex_upper)
        .unwrap_or_default();
    let (qe_id, pce_id) = (
        registration.qe_id.to_string(),
        registration.pce_id.to_string(),
    );
    let entry = |raw: Option<&RawTcb>| Platform {
        qe_id: qe_id.clone(),
        pce_id: pce_id.clone(),
        cpu_svn: raw.map(|raw| raw.cpu_svn.to_string()).unwrap_or_default(),
        pce_svn: raw.map(|raw| raw.pce_svn.to_string()).unwrap_or_default(),
        enc_ppid: enc_ppid.clone(),
        platform_manifest: manifest.clone(),
    };
    let mut platforms: Vec<Platform> = imported
        .raw_tcbs
        .iter()
        .map(|raw| entry(Some(raw)))
        .collect();
    if platforms.is_empty() {
        platforms.push(entry(None));
    }
    let certs = imported.list.entries.iter().filter_map(|listed| {
        let Listed::Certificate(certificate) = &listed.listed else {
            return None;
        };
        let components = listed.tcbm.cpu_svn.0.iter().zip(1..);
        let mut tcb: BTreeMap<String, u16> = components
            .map(|(svn, place)| (format!("sgxtcbcomp{place:02}svn"), u16::from(*svn)))
            .collect();
        tcb.insert("pcesvn".to_owned(), listed.tcbm.pce_svn.0);
        Some(PckCert {
            tcb,
            tcbm: listed.tcbm.to_string(),
            cert: encoded(&certificate.certificate().to_pem()),
        })
    });
    let pck_chains = serde_json::json!({
        "PROCESSOR": issuers.chain(issuers.processor.as_ref()),
        "PLATFORM": issuers.chain(issuers.platform.as_ref()),
    });
    let tcb_chain = issuers.chain(issuers.tcb_signing.as_ref());
    serde_json::to_vec(&Body {
        collaterals: Collaterals {
            version: 4,
            pck_certs: [PckCerts {
                qe_id: qe_id.clone(),
                pce_id: pce_id.clone(),
                enc_ppid: enc_ppid.clone(),
                platform_manifest: manifest.clone(),
                certs: certs.collect(),
            }],
            tcbinfos: [TcbInfos {
                fmspc: fmspc.to_string(),
                sgx_tcbinfo: tcb_info,
            }],
            certificates: BTreeMap::from([
                ("SGX-PCK-Certificate-Issuer-Chain", pck_chains),
                ("TCB-Info-Issuer-Chain", tcb_chain.into()),
                ("SGX-Enclave-Identity-Issuer-Chain", "".into()),
            ]),
        },
        platforms,
    })
}

fn encoded(pem: &str) -> String {
    utf8_percent_encode(pem, ALL_BUT_UNRESERVED).to_string()
}

/// RFC 3986, section 2.3: so the vendor writes its chains, and PCCS cuts them at `-----BEGIN%20CERTIFICATE-----`.
const ALL_BUT_UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

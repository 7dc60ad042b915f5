//! A vendor of our own, and the collateral file that a tool would have made of its answers. Nothing here is signed as it
//! should be: reading asks for form alone.

use std::sync::LazyLock;

use data_encoding::HEXLOWER;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension,
    DistinguishedName, DnType, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, SerialNumber,
    date_time_ymd,
};
use serde_json::{Value, json};

pub(super) const TCBM: &str = "0B0B03030000000000000000000000000D00";

/// Whitespace and order that no program of ours would write.
pub(super) const SGX: &str = r#"{"tcbInfo": {"version":3, "id":"SGX","issueDate":"2026-03-01T00:00:00Z","nextUpdate":"2026-03-31T00:00:00Z","fmspc":"00606a000000","pceId":"0000","tcbType":0,"tcbEvaluationDataNumber":18,"tcbLevels":[{"tcb":{"sgxtcbcomponents":[{"svn":3},{"svn":255},{"svn":0},{"svn":0},{"svn":0},{"svn":0},{"svn":0},{"svn":0},{"svn":0},{"svn":0},{"svn":0},{"svn":0},{"svn":0},{"svn":0},{"svn":0},{"svn":0}],"pcesvn":11},"tcbDate":"2024-11-13T00:00:00Z","tcbStatus":"UpToDate"}]} ,"signature":"@SIGNATURE@"}"#;

pub(super) fn tdx() -> String {
    let module = format!(
        r#""mrsigner":"{}","attributes":"{}","attributesMask":"FFFFFFFFFFFFFFFF""#,
        "0".repeat(96),
        "0".repeat(16)
    );
    let components = vec![r#"{"svn":5}"#; 16].join(",");
    SGX.replace("\"SGX\"", "\"TDX\"")
        .replace(
            "\"tcbLevels\"",
            &format!(r#""tdxModule":{{{module}}},"tcbLevels""#),
        )
        .replace(
            "\"pcesvn\":11",
            &format!(r#""pcesvn":11,"tdxtcbcomponents":[{components}]"#),
        )
}

/// Of version 2, as API v3 has it.
fn version_2() -> String {
    let components: String = (1..=16)
        .map(|n| format!("\"sgxtcbcomp{n:02}svn\":{n},"))
        .collect();
    format!(
        r#"{{"tcbInfo":{{"version":2,"issueDate":"2022-11-17T00:00:00Z","nextUpdate":"2023-04-16T00:00:00Z","fmspc":"00606A000000","pceId":"0000","tcbType":0,"tcbEvaluationDataNumber":12,"tcbLevels":[{{"tcb":{{{components}"pcesvn":9}},"tcbDate":"2021-11-10T00:00:00Z","tcbStatus":"UpToDate"}}]}},"signature":"@SIGNATURE@"}}"#
    )
}

pub(super) fn identity(id: &str) -> String {
    format!(
        r#"{{"enclaveIdentity":{{"id":"{id}","version":2,"issueDate":"2026-03-01T00:00:00Z","nextUpdate":"2026-03-31T00:00:00Z","tcbEvaluationDataNumber":18,"miscselect":"00000000","miscselectMask":"FFFFFFFF","attributes":"{}","attributesMask":"{}","mrsigner":"{}","isvprodid":2,"tcbLevels":[{{"tcb":{{"isvsvn":4}},"tcbDate":"2025-05-14T00:00:00Z","tcbStatus":"UpToDate"}}]}},"signature":"{}"}}"#,
        "0".repeat(32),
        "F".repeat(32),
        "A".repeat(64),
        "1".repeat(128)
    )
}

pub(super) struct Vendor {
    pub(super) processor_chain: String,
    pub(super) platform_chain: String,
    pub(super) tcb_chain: String,
    pub(super) processor_crl: String,
    pub(super) platform_crl: String,
    pub(super) root_crl: String,
    pub(super) pck: String,
    /// Named as it should be, and no PCK certificate.
    pub(super) no_pck: String,
}

pub(super) static VENDOR: LazyLock<Vendor> = LazyLock::new(|| {
    let key = || KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
    let (root_key, ca_key) = (key(), key());
    let root_params = params("Intel SGX Root CA", true);
    let root = Issuer::from_params(&root_params, &root_key);
    let root_pem = root_params.self_signed(&root_key).expect("a root").pem();
    let chain = |cn: &str, ca: bool| {
        let issuer = params(cn, ca).signed_by(&ca_key, &root).expect("an issuer");
        encoded(&(issuer.pem() + &root_pem))
    };
    let platform_params = params("Intel SGX PCK Platform CA", true);
    let platform = Issuer::from_params(&platform_params, &ca_key);
    let processor_params = params("Intel SGX PCK Processor CA", true);
    let processor = Issuer::from_params(&processor_params, &ca_key);
    let mut pck = params("Intel SGX PCK Certificate", false);
    let no_pck = pck.signed_by(&ca_key, &platform).expect("a leaf").pem();
    pck.custom_extensions = vec![CustomExtension::from_oid_content(
        &[1, 2, 840, 113_741, 1, 13, 1],
        sgx_extension(),
    )];
    let pck = pck.signed_by(&ca_key, &platform).expect("a leaf").pem();
    Vendor {
        processor_chain: chain("Intel SGX PCK Processor CA", true),
        platform_chain: chain("Intel SGX PCK Platform CA", true),
        tcb_chain: chain("Intel SGX TCB Signing", false),
        processor_crl: crl(&processor),
        platform_crl: crl(&platform),
        root_crl: crl(&root),
        pck: encoded(&pck),
        no_pck: encoded(&no_pck),
    }
});

fn params(cn: &str, ca: bool) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, cn);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2040, 1, 1);
    if ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    } else {
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    }
    params
}

fn crl(issuer: &Issuer<'_, &KeyPair>) -> String {
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2026, 3, 1),
        next_update: date_time_ymd(2026, 3, 31),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    HEXLOWER.encode(list.signed_by(issuer).expect("a list").der())
}

fn der(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    let inside = parts.concat();
    let mut whole = vec![tag, 0x82];
    let length = u16::try_from(inside.len()).expect("short");
    match u8::try_from(length) {
        Ok(length) if length < 0x80 => whole[1] = length,
        Ok(length) => {
            whole[1] = 0x81;
            whole.push(length);
        }
        Err(_) => whole.extend(length.to_be_bytes()),
    }
    whole.extend(inside);
    whole
}

fn sgx_extension() -> Vec<u8> {
    let item = |path: &[u8], value: Vec<u8>| {
        let mut oid = vec![0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 1, 13, 1];
        oid.extend(path);
        der(0x30, &[der(6, &[oid]), value])
    };
    let tcbm = HEXLOWER
        .decode(TCBM.to_lowercase().as_bytes())
        .expect("hex");
    let mut tcb: Vec<_> = (1..=16)
        .zip(&tcbm)
        .map(|(n, svn)| item(&[2, n], der(2, &[vec![*svn]])))
        .collect();
    tcb.push(item(&[2, 17], der(2, &[vec![13]])));
    tcb.push(item(&[2, 18], der(4, &[tcbm[..16].to_vec()])));
    der(
        0x30,
        &[
            item(&[1], der(4, &[vec![0x77; 16]])),
            item(&[2], der(0x30, &tcb)),
            item(&[3], der(4, &[vec![0, 0]])),
            item(&[4], der(4, &[vec![0, 0x60, 0x6a, 0, 0, 0]])),
            item(&[5], der(0x0a, &[vec![1]])),
        ],
    )
}

/// As in the vendor's headers: what RFC 3986 calls unreserved stays.
fn encoded(pem: &str) -> String {
    const SET: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'_')
        .remove(b'.')
        .remove(b'~');
    utf8_percent_encode(pem, SET).to_string()
}

pub(super) fn certificate(cert: &str) -> Value {
    let tcb: serde_json::Map<_, _> = (1..=16)
        .map(|n| (format!("sgxtcbcomp{n:02}svn"), json!(0)))
        .chain([("pcesvn".to_owned(), json!(13))])
        .collect();
    json!({"tcb": tcb, "tcbm": TCBM, "cert": cert})
}

/// A whole file of v4; what stands between `@` is put in by [`text`], byte for byte.
pub(super) fn sample() -> Value {
    let vendor = &*VENDOR;
    json!({
        "platforms": [
            {"qe_id": "a0b1", "pce_id": "0000", "cpu_svn": "", "pce_svn": "", "enc_ppid": "", "platform_manifest": "c3c3"},
            {"qe_id": "a0b2", "pce_id": "0000", "cpu_svn": "0".repeat(32), "pce_svn": "0d00", "enc_ppid": "5a".repeat(384)},
        ],
        "collaterals": {
            "version": 4,
            "pck_certs": [
                {"qe_id": "a0b1", "pce_id": "0000", "enc_ppid": "", "platform_manifest": "c3c3", "certs": [certificate(&vendor.pck)]},
            ],
            "tcbinfos": [{"fmspc": "00606A000000", "sgx_tcbinfo": "@SGX@", "tdx_tcbinfo": "@TDX@", "tdx_tcbinfo_early": null}],
            "pckcacrl": {"processorCrl": vendor.processor_crl, "platformCrl": vendor.platform_crl},
            "qeidentity": identity("QE"),
            "tdqeidentity": identity("TD_QE"),
            "qveidentity": identity("QVE"),
            "qveidentity_early": null,
            "certificates": {
                "SGX-PCK-Certificate-Issuer-Chain": {"PROCESSOR": vendor.processor_chain, "PLATFORM": vendor.platform_chain},
                "TCB-Info-Issuer-Chain": vendor.tcb_chain,
                "SGX-Enclave-Identity-Issuer-Chain": vendor.tcb_chain,
            },
            "rootcacrl_cdp": "https://example.org/root.crl",
            "rootcacrl": vendor.root_crl,
        },
    })
}

pub(super) fn text(body: &Value) -> String {
    body.to_string()
        .replace("\"@SGX@\"", SGX)
        .replace("\"@TDX@\"", &tdx())
        .replace("\"@V2@\"", &version_2())
        .replace("@SIGNATURE@", &"0".repeat(128))
}

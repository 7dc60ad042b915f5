//! A vendor of our own for the tests: a root, a TCB signer, two PCK authorities with fresh keys, and what they sign.

#![allow(dead_code, reason = "each test file uses its part")]

pub mod pck;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use data_encoding::HEXLOWER;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevocationReason,
    RevokedCertParams, SerialNumber, date_time_ymd,
};
use thim_verify::{Certificate, Issuers, TrustAnchors, UnixTime};

/// Year, month, day; midnight UTC.
pub type Day = (i32, u8, u8);

pub const ROOT: &str = "Intel SGX Root CA";
pub const TCB_SIGNING: &str = "Intel SGX TCB Signing";
pub const PLATFORM: &str = "Intel SGX PCK Platform CA";
pub const PROCESSOR: &str = "Intel SGX PCK Processor CA";

pub struct Pki {
    pub root_key: KeyPair,
    pub root: Certificate,
    pub tcb_key: KeyPair,
    pub tcb: Certificate,
    pub platform_key: KeyPair,
    pub platform: Certificate,
}

/// What a certificate is made of; change a field and you have the near miss.
#[derive(Clone)]
pub struct Profile<'a> {
    pub cn: &'a str,
    pub ca: bool,
    pub from: Day,
    pub to: Day,
    pub serial: &'a [u8],
    pub usages: &'a [KeyUsagePurpose],
}

pub fn profile(cn: &str, ca: bool) -> Profile<'_> {
    Profile {
        cn,
        ca,
        from: (2020, 1, 1),
        to: (2040, 1, 1),
        serial: &[1, 2, 3],
        usages: if ca {
            &[KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign]
        } else {
            &[KeyUsagePurpose::DigitalSignature]
        },
    }
}

pub fn key() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a P-256 key")
}

pub fn params(profile: &Profile<'_>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, profile.cn);
    params
        .distinguished_name
        .push(DnType::OrganizationName, "Intel Corporation");
    params.not_before = date_time_ymd(profile.from.0, profile.from.1, profile.from.2);
    params.not_after = date_time_ymd(profile.to.0, profile.to.1, profile.to.2);
    params.serial_number = Some(SerialNumber::from_slice(profile.serial));
    params.is_ca = if profile.ca {
        IsCa::Ca(BasicConstraints::Unconstrained)
    } else {
        IsCa::ExplicitNoCa
    };
    params.key_usages = profile.usages.to_vec();
    params
}

pub fn self_signed(profile: &Profile<'_>, key: &KeyPair) -> Certificate {
    let made = params(profile).self_signed(key).expect("a root");
    Certificate::from_der(made.der()).expect("a root that parses")
}

/// DER of a certificate for `key`, issued under the name `issuer_cn` with `issuer_key`.
pub fn issued_der(
    profile: &Profile<'_>,
    key: &KeyPair,
    issuer_cn: &str,
    issuer_key: &KeyPair,
) -> Vec<u8> {
    let issuer_params = params(&self::profile(issuer_cn, true));
    let issuer = Issuer::from_params(&issuer_params, issuer_key);
    params(profile)
        .signed_by(key, &issuer)
        .expect("a certificate")
        .der()
        .to_vec()
}

pub fn issued(
    profile: &Profile<'_>,
    key: &KeyPair,
    issuer_cn: &str,
    issuer_key: &KeyPair,
) -> Certificate {
    Certificate::from_der(&issued_der(profile, key, issuer_cn, issuer_key))
        .expect("a certificate that parses")
}

impl Pki {
    pub fn new() -> Self {
        let (root_key, tcb_key, platform_key) = (key(), key(), key());
        Self {
            root: self_signed(&profile(ROOT, true), &root_key),
            tcb: issued(&profile(TCB_SIGNING, false), &tcb_key, ROOT, &root_key),
            platform: issued(&profile(PLATFORM, true), &platform_key, ROOT, &root_key),
            root_key,
            tcb_key,
            platform_key,
        }
    }

    pub fn anchors(&self) -> TrustAnchors {
        TrustAnchors::from_pem(self.root.to_pem().as_bytes()).expect("anchors")
    }

    /// No issuer known yet.
    pub fn issuers(&self) -> Issuers {
        Issuers::new(self.anchors())
    }

    /// `inner` in its envelope, signed by the TCB signer.
    pub fn signed(&self, member: &str, inner: &str) -> Vec<u8> {
        envelope(
            member,
            inner,
            &raw_signature(&self.tcb_key, inner.as_bytes()),
        )
        .into_bytes()
    }
}

pub fn envelope(member: &str, inner: &str, signature: &str) -> String {
    format!("{{\"{member}\":{inner},\"signature\":\"{signature}\"}}")
}

/// `r || s`, lower-case hex.
pub fn raw_signature(key: &KeyPair, message: &[u8]) -> String {
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.serialized_der())
        .expect("the same key");
    let signature = pair
        .sign(&SystemRandom::new(), message)
        .expect("a signature");
    HEXLOWER.encode(signature.as_ref())
}

pub fn crl(
    issuer_cn: &str,
    issuer_key: &KeyPair,
    this: Day,
    next: Day,
    number: u64,
    revoked: &[&[u8]],
) -> Vec<u8> {
    let issuer_params = params(&profile(issuer_cn, true));
    crl_of(&issuer_params, issuer_key, this, next, number, revoked)
}

/// A list of an issuer with a name of its own.
pub fn crl_of(
    issuer_params: &CertificateParams,
    issuer_key: &KeyPair,
    this: Day,
    next: Day,
    number: u64,
    revoked: &[&[u8]],
) -> Vec<u8> {
    CertificateRevocationListParams {
        this_update: date_time_ymd(this.0, this.1, this.2),
        next_update: date_time_ymd(next.0, next.1, next.2),
        crl_number: SerialNumber::from(number),
        issuing_distribution_point: None,
        revoked_certs: revoked
            .iter()
            .map(|serial| RevokedCertParams {
                serial_number: SerialNumber::from_slice(serial),
                revocation_time: date_time_ymd(this.0, this.1, this.2),
                reason_code: Some(RevocationReason::KeyCompromise),
                invalidity_date: None,
            })
            .collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    }
    .signed_by(&Issuer::from_params(issuer_params, issuer_key))
    .expect("a CRL")
    .der()
    .to_vec()
}

pub fn at(text: &str) -> UnixTime {
    text.parse().expect(text)
}

pub const TCB_INFO_V3: &str = concat!(
    r#"{"id":"SGX","version":3,"issueDate":"2026-03-01T00:00:00Z","nextUpdate":"2026-03-31T00:00:00Z","#,
    r#""fmspc":"00606a000000","pceId":"0000","tcbType":0,"tcbEvaluationDataNumber":18,"tcbLevels":["#,
    r#"{"tcb":{"sgxtcbcomponents":[{"svn":3,"category":"BIOS","type":"Early Microcode Update"},{"svn":255},{"svn":0},{"svn":0},"#,
    r#"{"svn":0},{"svn":0},{"svn":0},{"svn":0},{"svn":0},{"svn":0},{"svn":0},{"svn":0},{"svn":0},{"svn":0},{"svn":0},{"svn":0}],"#,
    r#""pcesvn":11},"tcbDate":"2024-11-13T00:00:00Z","tcbStatus":"UpToDate","advisoryIDs":["INTEL-SA-00001"]}]}"#
);

pub const IDENTITY: &str = concat!(
    r#"{"id":"TD_QE","version":2,"issueDate":"2026-03-01T00:00:00Z","nextUpdate":"2026-03-31T00:00:00Z","#,
    r#""tcbEvaluationDataNumber":18,"miscselect":"00000000","miscselectMask":"FFFFFFFF","#,
    r#""attributes":"11000000000000000000000000000000","attributesMask":"FBFFFFFFFFFFFFFF0000000000000000","#,
    r#""mrsigner":"DC9E2A7C6F948F17474E34A7FC43ED030F7C1563F1BABDDF6340C82E0E54A8C5","isvprodid":2,"#,
    r#""tcbLevels":[{"tcb":{"isvsvn":4},"tcbDate":"2025-05-14T00:00:00Z","tcbStatus":"UpToDate"}]}"#
);

pub const NUMBERS: &str = concat!(
    r#"{"id":"TDX","version":1,"issueDate":"2026-03-01T00:00:00Z","nextUpdate":"2026-03-31T00:00:00Z","#,
    r#""tcbEvalNumbers":[{"tcbEvaluationDataNumber":19,"tcbRecoveryEventDate":"2025-05-13T00:00:00Z","tcbDate":"2025-05-14T00:00:00Z"},"#,
    r#"{"tcbEvaluationDataNumber":18,"tcbRecoveryEventDate":"2024-11-12T00:00:00Z","tcbDate":"2024-11-13T00:00:00Z"}]}"#
);

/// Of version 2: flat component keys, no id.
pub fn tcb_info_v2() -> String {
    let components: String = (1..=16)
        .map(|n| format!("\"sgxtcbcomp{n:02}svn\":{n},"))
        .collect();
    format!(
        "{{\"version\":2,\"issueDate\":\"2022-11-17T00:00:00Z\",\"nextUpdate\":\"2023-04-16T00:00:00Z\",\
         \"fmspc\":\"00906EA10000\",\"pceId\":\"0000\",\"tcbType\":0,\"tcbEvaluationDataNumber\":12,\"tcbLevels\":[\
         {{\"tcb\":{{{components}\"pcesvn\":9}},\"tcbDate\":\"2021-11-10T00:00:00Z\",\"tcbStatus\":\"SWHardeningNeeded\"}}]}}"
    )
}

/// Of version 3 for TDX, from the SGX one.
pub fn tcb_info_tdx() -> String {
    let zeros = |n: usize| "0".repeat(n);
    let sixteen = vec!["{\"svn\":5}"; 16].join(",");
    let module = format!(
        "\"mrsigner\":\"{}\",\"attributes\":\"{}\",\"attributesMask\":\"FFFFFFFFFFFFFFFF\"",
        zeros(96),
        zeros(16)
    );
    TCB_INFO_V3
        .replacen("\"SGX\"", "\"TDX\"", 1)
        .replacen(
            "\"tcbLevels\"",
            &format!(
                "\"tdxModule\":{{{module}}},\"tdxModuleIdentities\":[{{\"id\":\"TDX_0a\",{module},\"tcbLevels\":[\
                 {{\"tcb\":{{\"isvsvn\":6}},\"tcbDate\":\"2024-11-13T00:00:00Z\",\"tcbStatus\":\"UpToDate\"}}]}}],\"tcbLevels\""
            ),
            1,
        )
        .replacen("\"pcesvn\":11", &format!("\"pcesvn\":11,\"tdxtcbcomponents\":[{sixteen}]"), 1)
}

//! The bodies of the fuzz targets: what must hold of every input, beyond not panicking.
//!
//! They are ordinary functions, so that a plain `cargo build` compiles them and a crash can be replayed in a test.

mod agent;
mod amd;
mod explain;
mod platform_bodies;
mod quote;
mod verify_report;

use std::sync::LazyLock;

use thim_verify::{
    Artefact, ArtefactKey, Certificate, ComponentSvn, Content, CpuSvn, Crl, Digest, Enclave, Error,
    Fmspc, Issuers, Kind, Listed, PceId, PceSvn, PckCa, PckCertificate, RawTcb, SelectionError,
    SignedMember, TcbInfo, TcbLevel, TcbStatus, Tee, TrustAnchors, UnixTime, Unverified,
    check_one_platform, compacted, parse, parse_detached, parse_pck_list, select_pck, verify,
    verify_pck,
};

pub use agent::agent_files;
pub use amd::{amd_certificate, amd_intake, snp_report};
pub use explain::explain_request;
pub use platform_bodies::platform_bodies;
pub use quote::{certification_data, quote};
pub use verify_report::{report_collateral, report_file};

static ISSUERS: LazyLock<Issuers> = LazyLock::new(|| Issuers::new(TrustAnchors::intel()));

/// Any document in any form; what parses is verified too.
pub fn artefact_parse(data: &[u8]) {
    let Ok(parsed) = parse(data).map_err(readable) else {
        return;
    };
    let again = parse_served(&parsed);
    assert_eq!(again, parsed, "what is served is what was parsed");
    if let Some(compact) = compacted(&parsed) {
        assert_eq!(compact.key(), parsed.key());
        assert!(compacted(&compact).is_none(), "compact is compact");
    }
    judge(parsed);
}

/// A foreign file of an import: what is found in it stands under its name and can be judged or explained.
pub fn intake(data: &[u8]) {
    let bytes = bytes::Bytes::copy_from_slice(data);
    let found = thim_server::intake::objects::find("file", &bytes);
    for object in found.objects {
        assert!(object.path == "file" || object.path.starts_with("file#"));
        judge(object.unverified);
    }
    for flaw in found.flaws {
        assert!(flaw.path.starts_with("file"));
        readable(flaw.error);
    }
}

/// The inner object and its signature, handed over apart; and the envelope around them.
pub fn signed_json(data: &[u8]) {
    let Some((selector, rest)) = data.split_first() else {
        return;
    };
    let member = SignedMember::ALL[usize::from(*selector) % SignedMember::ALL.len()];
    let signature = "5a".repeat(64);
    let detached = parse_detached(member, rest, &signature).map_err(readable);
    let mut envelope = format!("{{\"{}\":", member.name()).into_bytes();
    envelope.extend_from_slice(rest);
    envelope.extend_from_slice(format!(",\"signature\":\"{signature}\"}}").as_bytes());
    let enveloped = parse(&envelope).map_err(readable);
    if let Ok(parsed) = detached {
        assert_eq!(Ok(&parsed), enveloped.as_ref(), "both ways in agree");
        assert_eq!(parse_served(&parsed), parsed);
        judge(parsed);
    }
}

/// A revocation list in DER, without the help of the other forms.
pub fn crl(data: &[u8]) {
    let Ok(parsed) = parse(data).map_err(readable) else {
        return;
    };
    if let Some(list) = verified_content(&parsed) {
        let serials: Vec<&[u8]> = list.serials().collect();
        assert!(serials.is_sorted() && serials.iter().all(|serial| list.revokes(serial)));
        assert_eq!(serials.len(), list.revoked_len());
    }
    judge(parsed);
}

/// PEM bundles, DER certificates, and what is derived from them.
pub fn certificate_pem(data: &[u8]) {
    let bundle = Certificate::from_pem_bundle(data)
        .map_err(readable)
        .unwrap_or_default();
    let single = Certificate::from_der(data).map_err(readable).ok();
    for certificate in bundle.iter().chain(&single) {
        let pem = certificate.to_pem();
        assert_eq!(
            Certificate::from_pem_bundle(pem.as_bytes()).as_deref(),
            Ok([certificate.clone()].as_slice())
        );
        assert_eq!(certificate.digest(), Digest::of(certificate.der()));
        let _ = certificate.signed_by(certificate).map_err(readable);
        let _ = certificate.valid_at(UnixTime::MAX).map_err(readable);
        let _ = ISSUERS
            .clone()
            .insert(certificate.clone())
            .map_err(readable);
    }
    if let Ok(anchors) = TrustAnchors::from_pem(data) {
        assert!(
            !anchors.is_builtin() && anchors.contains_key(&anchors.served_root().spki_digest())
        );
    }
}

/// A PCK certificate in DER: what its extension says, and how it is judged.
pub fn pck_certificate(data: &[u8]) {
    let certificate = Certificate::from_der(data).map_err(readable);
    let pck = PckCertificate::from_der(data).map_err(readable);
    if let (Ok(certificate), Ok(pck)) = (certificate, pck) {
        assert_eq!(
            PckCertificate::from_certificate(certificate),
            Ok(pck.clone())
        );
        judge_pck(&pck);
    }
}

/// A list of PCK certificates: each entry is what it says, and one can be selected.
pub fn pck_list(data: &[u8]) {
    let Ok(list) = parse_pck_list(data).map_err(readable) else {
        return;
    };
    let mut certificates = Vec::new();
    for entry in &list.entries {
        match &entry.listed {
            Listed::Certificate(pck) => {
                assert_eq!(pck.tcbm(), entry.tcbm);
                judge_pck(pck);
                certificates.push(pck);
            }
            Listed::NotAvailable => {}
            Listed::Unreadable(error) => {
                readable(error.clone());
            }
        }
    }
    if let Some(first) = certificates.first() {
        let _ = check_one_platform(&certificates, first.pce_id(), first.fmspc());
    }
    // Every TCB of the list once as a level, once as a certificate, once as the platform's own.
    let tcbs: Vec<RawTcb> = list.entries.iter().map(|entry| entry.tcbm).collect();
    let (levels, rest) = tcbs.split_at(tcbs.len() / 2);
    let info = tcb_info(levels);
    for raw in &tcbs {
        match select_pck(raw, info.pce_id, rest, &info) {
            Ok(at) => assert!(raw.covers(&rest[at])),
            Err(SelectionError::NoneSuits { .. }) => {
                assert!(!rest.iter().any(|tcb| raw.covers(tcb)))
            }
            Err(_) => assert!(levels.is_empty() || rest.is_empty()),
        }
    }
}

/// A file of baselines, and a rule's JSON: what is read is canonical, is written and read as the same, and keeps its digest.
pub fn baseline_file(data: &[u8]) {
    use thim_server::baseline::{BaselineTee, Rule, declared};

    let same = |tee: BaselineTee, rule: &Rule| {
        let again = Rule::from_json(tee, &rule.to_json());
        assert_eq!(again.as_ref(), Ok(rule), "it is canonical");
        assert_eq!(again.map(|again| again.digest()), Ok(rule.digest()));
    };
    let Ok(input) = std::str::from_utf8(data) else {
        return;
    };
    match declared::read(input) {
        Ok(all) => all.iter().for_each(|one| same(one.tee, &one.rule)),
        Err(error) => assert!(!error.field.is_empty() && !error.why.is_empty()),
    }
    for tee in BaselineTee::ALL {
        if let Ok(rule) = Rule::from_json(tee, input) {
            same(tee, &rule);
        }
    }
}

/// Keys, identifiers, digests and times as text: each that is read is written back and read as the same.
pub fn names(data: &[u8]) {
    fn text<T: std::str::FromStr<Err = Error> + ToString + PartialEq + std::fmt::Debug>(
        text: &str,
    ) {
        if let Ok(value) = text.parse::<T>().map_err(readable) {
            assert_eq!(
                value.to_string().parse::<T>().as_ref(),
                Ok(&value),
                "{text:?}"
            );
        }
    }

    let Ok(input) = std::str::from_utf8(data) else {
        return;
    };
    text::<ArtefactKey>(input);
    text::<CpuSvn>(input);
    text::<Digest>(input);
    text::<Enclave>(input);
    text::<Fmspc>(input);
    text::<Kind>(input);
    text::<PceId>(input);
    text::<PceSvn>(input);
    text::<PckCa>(input);
    text::<RawTcb>(input);
    text::<Tee>(input);
    text::<UnixTime>(input);
    if let Ok(time) = input.parse::<UnixTime>() {
        assert_eq!(
            time.http_date().len(),
            "Sun, 06 Nov 1994 08:49:37 GMT".len()
        );
        let _ = time.plus_months(i32::MAX);
        let _ = time.plus_months(i32::MIN);
        let _ = time.plus_secs(i64::MIN);
    }
}

fn judge(parsed: Unverified) {
    match verify(parsed, &[], &ISSUERS, None, UnixTime::MAX) {
        // Only a genuine seed gets here.
        Ok(artefact) => assert!(artefact.issued() < artefact.next_update()),
        Err(error) => {
            readable(error);
        }
    }
}

fn judge_pck(pck: &PckCertificate) {
    let last = pck.certificate().not_after();
    match verify_pck(pck.clone(), &[], &ISSUERS, None, None, last) {
        Ok(judged) => assert_eq!(judged.chain().signer().subject_cn(), pck.ca().common_name()),
        Err(error) => {
            readable(error);
        }
    }
    let shown = format!("{pck:?}");
    let ppid: String = pck
        .ppid()
        .0
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect();
    // Some inputs have a PPID that is also part of their TCB.
    assert!(!shown.contains(&ppid) || pck.tcbm().to_string().contains(&ppid));
}

fn tcb_info(levels: &[RawTcb]) -> TcbInfo {
    let level = |raw: &RawTcb| TcbLevel {
        sgx_components: Box::new(raw.cpu_svn.0.map(|svn| ComponentSvn {
            svn,
            ..ComponentSvn::default()
        })),
        pce_svn: raw.pce_svn.0,
        tdx_components: None,
        tcb_date: UnixTime::MAX,
        status: TcbStatus::UpToDate,
        advisory_ids: Vec::new(),
    };
    TcbInfo {
        tee: Tee::Sgx,
        version: 3,
        issued: UnixTime::MAX,
        next_update: UnixTime::MAX,
        fmspc: Fmspc([0; 6]),
        pce_id: PceId([0; 2]),
        tcb_type: 0,
        number: 1,
        levels: levels.iter().map(level).collect(),
        tdx_module: None,
        tdx_module_identities: Vec::new(),
    }
}

fn artefact(parsed: &Unverified) -> &Artefact {
    parsed.unverified()
}

fn parse_served(parsed: &Unverified) -> Unverified {
    parse(artefact(parsed).document()).expect("what is served parses")
}

fn verified_content(parsed: &Unverified) -> Option<&Crl> {
    match artefact(parsed).content() {
        Content::Crl(list) => Some(list),
        _ => None,
    }
}

/// Errors can be printed on one line of bounded length.
fn readable(error: Error) -> Error {
    let text = error.to_string();
    assert!(
        text.len() < 2048 && !text.contains(['\n', '\0']),
        "{text:?}"
    );
    assert!(!error.reason().is_empty());
    error
}

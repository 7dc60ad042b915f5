//! Intel's quotes: whatever the bytes, each check is told, none of it names a platform, and what is remembered changes
//! nothing.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde_json::Value;
use thim_verify::{
    Certification, CertificationKind, Outcome, PckCertificate, Quote, QuoteCheck, QuoteCollateral,
    QuoteFindings, QuotePolicy, QuoteVerifier, SignedMember, SupplementalData, UnixTime,
    Unverified, Verdict, appraise_quote, parse, parse_detached, parse_quote, verify,
};

use crate::{ISSUERS, readable};

static FORGETFUL: LazyLock<QuoteVerifier> =
    LazyLock::new(|| QuoteVerifier::new(ISSUERS.clone(), 0));
static REMEMBERING: LazyLock<QuoteVerifier> =
    LazyLock::new(|| QuoteVerifier::new(ISSUERS.clone(), 64));

/// None, and that of one SGX and one TDX platform where the vectors are at hand.
static COLLATERAL: LazyLock<Vec<QuoteCollateral>> = LazyLock::new(|| {
    let bundles = std::env::var_os("THIM_VECTORS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors"),
        PathBuf::from,
    );
    let bundles = bundles.join("intel/bundles");
    let names = [
        "sgx-v3-00606A000000-b7ab1cb4-e17",
        "tdx-v4-00806F050000-4b23198a-e17",
    ];
    let recorded = names
        .iter()
        .filter_map(|name| recorded(&bundles.join(name)));
    [QuoteCollateral::new()]
        .into_iter()
        .chain(recorded)
        .collect()
});

/// A quote of any version, as bytes.
pub fn quote(data: &[u8]) {
    let Ok(quote) = parse_quote(data).map_err(readable) else {
        return;
    };
    assert_eq!(quote.bytes(), data);
    assert!(quote.trailing_bytes() < data.len());
    // A quote ends where it says; with or without what is behind it, it is the same one.
    let end = data.len() - quote.trailing_bytes();
    let alone = parse_quote(&data[..end]).expect("without the bytes behind it");
    assert_eq!((alone.body(), alone.trailing_bytes()), (quote.body(), 0));
    assert!(parse_quote(&data[..end - 1]).map_err(readable).is_err());
    judge(&quote, None);
}

/// Certification data of every type inside an otherwise well-formed quote: the first two bytes select version and type,
/// the rest is the data.
pub fn certification_data(data: &[u8]) {
    let Some(([version, kind], inside)) = data.split_first_chunk() else {
        return;
    };
    let (version, kind) = (3 + version % 3, u16::from(kind % 9));
    let bytes = made(version, kind, inside);
    let parsed = parse_quote(&bytes).map_err(readable);
    let fits = match kind {
        1 => [34, 36].contains(&inside.len()),
        2 => inside.len() == 276,
        3 => inside.len() == 404,
        4 | 5 | 7 => bytes.len() <= thim_verify::MAX_QUOTE_BYTES,
        _ => false,
    };
    assert_eq!(parsed.is_ok(), fits, "type {kind}, {} bytes", inside.len());
    let Ok(quote) = parsed else {
        return;
    };
    assert_eq!(quote.certification_kind().number(), kind);
    match (quote.certification_kind(), quote.certification()) {
        (CertificationKind::PckChain | CertificationKind::PckLeaf, Certification::Pck(_))
        | (CertificationKind::PlatformManifest, Certification::PlatformManifest) => {}
        (
            CertificationKind::PpidClear
            | CertificationKind::PpidRsa2048
            | CertificationKind::PpidRsa3072,
            Certification::PckName(name),
        ) => {
            assert!(inside.starts_with(name.ppid));
            assert_eq!(name.pce_id.is_some(), inside.len() != 34);
        }
        (kind, certification) => panic!("{kind:?}: {certification:?}"),
    }
    for verifier in [&*FORGETFUL, &*REMEMBERING] {
        if let Ok(chain) = verifier.pck_chain(&quote, None).map_err(readable) {
            // Only a genuine seed gets here. It stands in for what another quote lacks.
            let pck = chain.leaf().clone();
            let other = parse_quote(&made(version, 7, b"manifest")).expect("a quote");
            judge(&other, Some(&pck));
        }
    }
    judge(&quote, None);
}

fn judge(quote: &Quote, pck: Option<&PckCertificate>) {
    let shown = format!("{quote:?}");
    let qe_id = HEXLOWER.encode(&quote.header().user_data[..16]);
    assert!(!shown.contains(&qe_id));
    for collateral in &*COLLATERAL {
        let now = UnixTime::from_secs(NOW);
        let findings = FORGETFUL.verify(quote, pck, collateral, now);
        told(&findings);
        for _ in 0..2 {
            let again = REMEMBERING.verify(quote, pck, collateral, now);
            assert_eq!(
                again.list(),
                findings.list(),
                "what is remembered changes nothing"
            );
        }
    }
}

/// Every finding can be printed, its facts too; a verdict follows from them.
fn told(findings: &QuoteFindings<'_>) {
    let mut last = None;
    for finding in findings.list() {
        assert!(last < Some(finding.check), "in order, each once");
        last = Some(finding.check);
        match &finding.outcome {
            Outcome::Passed => {}
            Outcome::Failed(why) | Outcome::NotChecked(why) => {
                assert!(why.len() < 2048 && !why.contains(['\n', '\0']), "{why:?}");
            }
        }
    }
    for check in QuoteCheck::ALL {
        let facts = findings.facts(check);
        assert!(facts.len() < 32, "{check}");
    }
    let appraisal = appraise_quote(findings, &QuotePolicy::default());
    assert_eq!(appraisal.list().len(), findings.list().len() + 1);
    let flawed = findings.not_passed().next().is_some();
    assert!(!flawed || appraisal.verdict() != Verdict::Accepted);
    let supplemental = SupplementalData::of(findings);
    assert_eq!(
        supplemental.pck_ppid.is_some(),
        findings.pck_chain().is_some()
    );
    if findings.status().is_some() {
        // Only a genuine seed gets here, its unsigned bytes aside.
        let signature = findings.outcome(QuoteCheck::QuoteSignature);
        assert_eq!(signature, Some(&Outcome::Passed));
        assert!(findings.shortfalls().is_some());
    }
}

/// A quote of SGX, everything zero but what makes it well-formed.
fn made(version: u8, kind: u16, certification: &[u8]) -> Vec<u8> {
    let size = |bytes: &[u8]| {
        u32::try_from(bytes.len())
            .expect("a bounded input")
            .to_le_bytes()
    };
    let mut inner = vec![0; 384 + 64 + 2];
    inner.extend_from_slice(&kind.to_le_bytes());
    inner.extend_from_slice(&size(certification));
    inner.extend_from_slice(certification);
    let mut section = vec![0; 128];
    if version > 3 {
        section.extend_from_slice(&6_u16.to_le_bytes());
        section.extend_from_slice(&size(&inner));
    }
    section.extend_from_slice(&inner);
    let mut quote = vec![version, 0, 2, 0];
    quote.resize(48, 0);
    if version == 5 {
        quote.extend_from_slice(&[1, 0]);
        quote.extend_from_slice(&384_u32.to_le_bytes());
    }
    quote.resize(quote.len() + 384, 0);
    quote.extend_from_slice(&size(&section));
    quote.extend_from_slice(&section);
    quote
}

fn recorded(bundle: &Path) -> Option<QuoteCollateral> {
    let text = std::fs::read(bundle.join("collateral.json")).ok()?;
    let fields: Value = serde_json::from_slice(&text).ok()?;
    let field = |name: &str| fields[name].as_str().map(str::as_bytes);
    let crl = |name: &str| parse(&HEXLOWER_PERMISSIVE.decode(field(name)?).ok()?).ok();
    let document = |member, name: &str| {
        let signature = fields[format!("{name}_signature")].as_str()?;
        parse_detached(member, field(name)?, signature).ok()
    };
    let parts = [
        (crl("root_ca_crl")?, None),
        (crl("pck_crl")?, field("pck_crl_issuer_chain")),
        (
            document(SignedMember::TcbInfo, "tcb_info")?,
            field("tcb_info_issuer_chain"),
        ),
        (
            document(SignedMember::EnclaveIdentity, "qe_identity")?,
            field("qe_identity_issuer_chain"),
        ),
    ];
    let mut collateral = QuoteCollateral::new();
    for (part, chain) in parts {
        let part: Unverified = part;
        let chain = ISSUERS.read_pem_bundle(chain.unwrap_or_default()).ok()?;
        let artefact = verify(part, &chain, &ISSUERS, None, UnixTime::MAX).ok()?;
        collateral.insert(artefact).ok()?;
    }
    Some(collateral)
}

/// 2024-08-01T00:00:00Z, when much of what is recorded was in its window.
const NOW: i64 = 1_722_470_400;

//! Every recorded quote of `index.csv`: the genuine ones are read and their signatures hold, for the right reason; of
//! those that are not Intel's or were altered, each fails on its own check; those without a certificate hold as far as
//! they go.

mod genuine;

use genuine::{Row, rows, vectors};
use std::path::Path;
use thim_verify::{
    Certificate, Certification, CertificationKind, Issuers, Outcome, PckCertificate, QuoteCheck,
    QuoteCollateral, QuoteFindings, QuoteVerifier, TrustAnchors, parse_quote,
};

fn quotes(intel: &Path, folder: &str) -> Vec<(String, Vec<u8>)> {
    let of_kind = |row: &Row| row["kind"] == "quote" && row["file"].starts_with(folder);
    let files = rows(intel).into_iter().filter(of_kind);
    files
        .map(|row| {
            let bytes = std::fs::read(intel.join(&row["file"])).expect("a file");
            (row["file"].clone(), bytes)
        })
        .collect()
}

fn verifier() -> QuoteVerifier {
    QuoteVerifier::new(Issuers::new(TrustAnchors::intel()), 0)
}

/// What is looked at without collateral, and what failed of it.
fn signatures<T>(
    bytes: &[u8],
    pck: Option<&PckCertificate>,
    look: impl FnOnce(&QuoteFindings<'_>, Vec<&'static str>) -> T,
) -> T {
    let quote = parse_quote(bytes).expect("a quote");
    let collateral = QuoteCollateral::new();
    let findings = verifier().verify(&quote, pck, &collateral, genuine::now());
    let failed = SIGNATURES.into_iter().filter(|check| {
        let outcome = findings.outcome(*check).expect("a finding");
        matches!(outcome, Outcome::Failed(_))
    });
    let failed: Vec<&str> = failed.map(QuoteCheck::name).collect();
    look(&findings, failed)
}

#[test]
fn genuine_quotes_verify_for_the_right_reason() {
    let Some(intel) = vectors() else { return };
    let all = quotes(&intel, "quotes/");
    assert_eq!(all.len(), 91);
    let (mut out_of_order, mut old_roots) = (0, 0);
    for (name, bytes) in &all {
        signatures(bytes, None, |findings, failed| {
            assert_eq!(failed, [""; 0], "{name}");
            for check in SIGNATURES {
                assert_eq!(
                    findings.outcome(check),
                    Some(&Outcome::Passed),
                    "{name}: {check}"
                );
            }
            let facts = findings.facts(QuoteCheck::PckChain);
            let fact = |wanted: &str| {
                let mut facts = facts.iter();
                facts
                    .find(|one| one.name == wanted)
                    .expect(wanted)
                    .value
                    .clone()
            };
            assert_eq!(fact("root-key-sha256"), fact_of_the_pinned_root(), "{name}");
            assert_eq!(fact("certificate-given"), "no", "{name}");
            out_of_order += usize::from(fact("in-order") == "no");
            old_roots += usize::from(!fact("root-sha256").starts_with(CURRENT_ROOT));
            let trailing = findings.quote().trailing_bytes();
            let said = findings.outcome(QuoteCheck::TrailingBytes) == Some(&Outcome::Passed);
            assert_eq!(said, trailing == 0, "{name}");
        });
    }
    // One has its root before its authority; the roots of 2018 have today's key in another certificate.
    println!("{out_of_order} out of order, {old_roots} with a root of 2018");
    assert!(
        out_of_order >= 1 && old_roots >= 2,
        "{out_of_order}, {old_roots}"
    );
}

fn fact_of_the_pinned_root() -> String {
    TrustAnchors::intel().roots()[0].spki_digest().to_string()
}

#[test]
fn quotes_that_are_not_genuine_fail_on_their_check() {
    let Some(intel) = vectors() else { return };
    let all = quotes(&intel, "non-intel-or-broken/");
    assert_eq!(all.len(), BROKEN.len());
    for (name, bytes) in &all {
        let expected = BROKEN.iter().find(|(hash, _)| name.contains(hash));
        let (_, expected) = expected.expect(name);
        signatures(bytes, None, |findings, failed| {
            assert_eq!(failed, *expected, "{name}");
            assert_eq!(findings.status(), None, "{name}");
        });
    }
}

#[test]
fn quotes_without_a_certificate_hold_as_far_as_they_go() {
    let Some(intel) = vectors() else { return };
    let all = quotes(&intel, "quotes-other/");
    assert_eq!(all.len(), 8);
    let leaves = leaves(&intel);
    let mut resolved = 0;
    for (name, bytes) in &all {
        let quote = parse_quote(bytes).expect(name);
        let kind = quote.certification_kind();
        let expected = if name.contains("-cd1-") {
            CertificationKind::PpidClear
        } else {
            CertificationKind::PpidRsa3072
        };
        assert_eq!(kind, expected, "{name}");
        assert!(
            matches!(quote.certification(), Certification::PckName(_)),
            "{name}"
        );
        signatures(bytes, None, |findings, failed| {
            assert_eq!(failed, [""; 0], "{name}");
            for (check, outcome) in [
                (QuoteCheck::PckChain, "not-checked"),
                (QuoteCheck::QeReportSignature, "not-checked"),
                (QuoteCheck::QeReportData, "passed"),
                (QuoteCheck::QuoteSignature, "passed"),
            ] {
                let found = findings.outcome(check).expect("a finding");
                assert_eq!(found.name(), outcome, "{name}: {check}");
            }
            assert_eq!(findings.status(), None, "{name}");
        });
        for leaf in &leaves {
            signatures(bytes, Some(leaf), |findings, failed| {
                let chain = findings.outcome(QuoteCheck::PckChain);
                assert_eq!(chain, Some(&Outcome::Passed), "{name}");
                if failed.is_empty() {
                    resolved += 1;
                } else {
                    assert_eq!(failed, ["qe-report-signature"], "{name}");
                }
            });
        }
    }
    println!(
        "{} certificates, {resolved} made one of these quotes whole",
        leaves.len()
    );
}

/// The recorded PCK certificates.
fn leaves(intel: &Path) -> Vec<PckCertificate> {
    let files = std::fs::read_dir(intel.join("pck")).expect("pck");
    files
        .map(|entry| {
            let pem = std::fs::read(entry.expect("an entry").path()).expect("a file");
            let certificates = Certificate::from_pem_bundle(&pem).expect("certificates");
            let leaf = certificates.into_iter().next().expect("a leaf");
            PckCertificate::from_certificate(leaf).expect("a PCK certificate")
        })
        .collect()
}

const SIGNATURES: [QuoteCheck; 4] = [
    QuoteCheck::PckChain,
    QuoteCheck::QeReportSignature,
    QuoteCheck::QeReportData,
    QuoteCheck::QuoteSignature,
];

const CURRENT_ROOT: &str = "44a0196b";

/// By the notes of the index: what was altered, or another root. Without a chain nobody can say more of the QE report.
const BROKEN: [(&str, &[&str]); 7] = [
    ("v3-2a49ce72", &["pck-chain"]),
    ("v3-44724863", &["quote-signature"]),
    ("v3-57316ac1", &["pck-chain"]),
    ("v3-6dc7792a", &["quote-signature"]),
    ("v3-8ccacae8", &["pck-chain"]),
    ("v4-6fb27f35", &["pck-chain"]),
    ("v5-4fbd4361", &["pck-chain"]),
];

//! Evidence of a vendor of our own, so that every finding has its fault: good evidence of all versions and bodies passes
//! every check; each single fault fails on the check that it is about and on no other, and is forgiven by its own
//! relaxation alone; and what a verifier remembers changes no answer.

mod bundles;
mod evidence_pki;
mod pki;

use std::collections::BTreeSet;

use bundles::collateral;
use evidence_pki::faults::{Fault, all};
use evidence_pki::{Body, Certified, Made, Recipe, Vendor};
use pki::pck;
use thim_verify::{
    Absent, CollateralPart, ConvergedStatus, Issuers, Outcome, QuoteCheck, QuoteCollateral,
    QuoteFinding, QuoteFindings, QuotePolicy, QuoteRelaxation, QuoteVerifier, Verdict,
    appraise_quote, parse_quote,
};

fn policy(relaxations: impl IntoIterator<Item = QuoteRelaxation>) -> QuotePolicy {
    QuotePolicy {
        accepted: BTreeSet::from([ConvergedStatus::UpToDate]),
        relaxations: relaxations.into_iter().collect(),
    }
}

fn verdict(findings: &QuoteFindings<'_>, relaxations: &[QuoteRelaxation]) -> Verdict {
    appraise_quote(findings, &policy(relaxations.iter().copied())).verdict()
}

/// Every check with a verdict about the recipe, by a verifier without memory.
fn judged<T>(vendor: &Vendor, recipe: &Recipe, look: impl FnOnce(&QuoteFindings<'_>) -> T) -> T {
    let verifier = QuoteVerifier::new(vendor.issuers(), 0);
    judged_by(&verifier, &vendor.make(recipe), look)
}

fn judged_by<T>(
    verifier: &QuoteVerifier,
    made: &Made,
    look: impl FnOnce(&QuoteFindings<'_>) -> T,
) -> T {
    let quote = parse_quote(&made.quote).expect("a quote");
    let collateral = collateral(&made.fields, verifier.issuers());
    look(&verifier.verify(&quote, None, &collateral, Recipe::now()))
}

/// What failed, with "status" for a platform that no level covers.
fn failed(findings: &QuoteFindings<'_>) -> Vec<&'static str> {
    let appraisal = appraise_quote(findings, &policy([]));
    let all = appraisal.list().iter();
    all.filter(|one| matches!(one.outcome, Outcome::Failed(_)))
        .map(|one| one.concern.name())
        .collect()
}

#[test]
fn good_evidence_passes_every_check() {
    let vendor = Vendor::new();
    for (version, body) in Body::ALL {
        judged(&vendor, &Recipe::good(version, body), |findings| {
            let flaws: Vec<&QuoteFinding> = findings.not_passed().collect();
            assert!(flaws.is_empty(), "{version} {body:?}: {flaws:?}");
            assert_eq!(findings.status(), Some(ConvergedStatus::UpToDate));
            assert_eq!(verdict(findings, &[]), Verdict::Accepted);
            let checks = match body {
                Body::Sgx => 23,
                Body::Td10 => 27,
                Body::Td15 | Body::Td15Extended => 28,
            };
            assert_eq!(findings.list().len(), checks, "{body:?}");
        });
    }
}

#[test]
fn a_fault_fails_on_its_own_check() {
    let vendor = Vendor::new();
    for Fault {
        name,
        on,
        spoil,
        failed: expected,
        forgiven,
    } in all()
    {
        for (version, body) in *on {
            let mut recipe = Recipe::good(*version, *body);
            spoil(&mut recipe);
            judged(&vendor, &recipe, |findings| {
                let name = format!("{name}, version {version}, {body:?}");
                assert_eq!(failed(findings), *expected, "{name}");
                assert_eq!(verdict(findings, &[]), Verdict::NotAccepted, "{name}");
                let all: Vec<QuoteRelaxation> = QuoteRelaxation::ALL.to_vec();
                let without = |word: &QuoteRelaxation| -> Vec<QuoteRelaxation> {
                    all.iter().copied().filter(|one| one != word).collect()
                };
                if forgiven.is_empty() {
                    assert_eq!(verdict(findings, &all), Verdict::NotAccepted, "{name}");
                } else {
                    assert_eq!(verdict(findings, forgiven), Verdict::Accepted, "{name}");
                    for word in *forgiven {
                        let found = verdict(findings, &without(word));
                        assert_eq!(found, Verdict::NotAccepted, "{name} without {word}");
                    }
                }
            });
        }
    }
}

#[test]
fn memory_changes_no_answer() {
    let vendor = Vendor::new();
    let remembering = QuoteVerifier::new(vendor.issuers(), 64);
    // Each twice, good evidence before and after: the second time every signature but the quote's is remembered.
    for _ in 0..2 {
        for Fault {
            name, on, spoil, ..
        } in all()
        {
            for (version, body) in *on {
                let good = Recipe::good(*version, *body);
                let mut spoilt = good.clone();
                spoil(&mut spoilt);
                for recipe in [&good, &spoilt] {
                    let made = vendor.make(recipe);
                    let forgetful = QuoteVerifier::new(vendor.issuers(), 0);
                    let fresh = judged_by(&forgetful, &made, |one| one.list().to_vec());
                    let remembered = judged_by(&remembering, &made, |one| one.list().to_vec());
                    assert_eq!(fresh, remembered, "{name}, version {version}, {body:?}");
                }
            }
        }
    }
}

#[test]
fn revocation_is_judged_again() {
    let vendor = Vendor::new();
    let verifier = QuoteVerifier::new(vendor.issuers(), 8);
    let good = Recipe::good(4, Body::Td10);
    let made = vendor.make(&good);
    let mut revoked = good.clone();
    revoked.pck_crl.revoked.push(good.leaf.serial.to_vec());
    let lists = vendor.make(&revoked);
    assert_eq!(made.quote[..600], lists.quote[..600]);
    judged_by(&verifier, &made, |one| assert_eq!(failed(one), [""; 0]));
    let mixed = Made {
        fields: lists.fields,
        ..made
    };
    judged_by(&verifier, &mixed, |one| {
        assert_eq!(failed(one), ["pck-revocation"])
    });
}

#[test]
fn a_given_certificate_stands_for_one_that_is_named() {
    let vendor = Vendor::new();
    let issuers = || {
        let mut issuers = vendor.issuers();
        issuers
            .insert(vendor.pki.platform.clone())
            .expect("an authority");
        issuers
    };
    let remembering = QuoteVerifier::new(issuers(), 8);
    let forgetful = QuoteVerifier::new(issuers(), 0);
    for certified in [
        Certified::ByName(1),
        Certified::ByName(2),
        Certified::ByName(3),
        Certified::Manifest,
    ] {
        let mut recipe = Recipe::good(3, Body::Sgx);
        recipe.certified = certified;
        let made = vendor.make(&recipe);
        recipe.leaf.serial = &[0x52, 7];
        let another = vendor.make(&recipe).leaf;
        recipe.leaf_items[0] = pck::item(&[1], pck::der(pck::OCTETS, &[0xd2; 16]));
        let quote = parse_quote(&made.quote).expect("a quote");
        let collateral = collateral(&made.fields, forgetful.issuers());
        for _ in 0..2 {
            for pck in [Some(&made.leaf), None, Some(&another), Some(&made.leaf)] {
                let look = |verifier: &QuoteVerifier| {
                    let findings = verifier.verify(&quote, pck, &collateral, Recipe::now());
                    let serial = findings.facts(QuoteCheck::PckRevocation);
                    (findings.list().to_vec(), findings.status(), serial)
                };
                let (list, status, facts) = look(&forgetful);
                assert_eq!(
                    (list.clone(), status, facts),
                    look(&remembering),
                    "{certified:?}"
                );
                let chain = list.iter().find(|one| one.check == QuoteCheck::PckChain);
                let chain = &chain.expect("a finding").outcome;
                if pck.is_some() {
                    assert_eq!(
                        (chain, status),
                        (&Outcome::Passed, Some(ConvergedStatus::UpToDate))
                    );
                } else {
                    assert_eq!(
                        (chain.name(), status),
                        ("not-checked", None),
                        "{certified:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_given_certificate_is_not_looked_at_where_there_is_one() {
    let vendor = Vendor::new();
    let mut recipe = Recipe::good(3, Body::Sgx);
    let made = vendor.make(&recipe);
    recipe.leaf.serial = &[0x52, 7];
    let another = vendor.make(&recipe).leaf;
    let quote = parse_quote(&made.quote).expect("a quote");
    let verifier = QuoteVerifier::new(vendor.issuers(), 8);
    let collateral = collateral(&made.fields, verifier.issuers());
    for _ in 0..2 {
        let findings = verifier.verify(&quote, Some(&another), &collateral, Recipe::now());
        let chain = findings.pck_chain().expect("a chain");
        assert_eq!(chain.leaf(), &made.leaf);
        assert!(!chain.origin().leaf_given);
    }
}

#[test]
fn a_leaf_alone_needs_a_known_authority() {
    let vendor = Vendor::new();
    let mut recipe = Recipe::good(5, Body::Td15);
    recipe.certified = Certified::Leaf;
    judged(&vendor, &recipe, |one| {
        assert_eq!(failed(one), ["pck-chain"])
    });
    let mut issuers = vendor.issuers();
    issuers
        .insert(vendor.pki.platform.clone())
        .expect("an authority");
    let verifier = QuoteVerifier::new(issuers, 0);
    judged_by(&verifier, &vendor.make(&recipe), |one| {
        assert_eq!(failed(one), [""; 0]);
        let origin = one.pck_chain().expect("a chain").origin();
        assert!(!origin.authority_embedded && !origin.root_embedded);
    });
}

#[test]
fn what_is_missing_leaves_checks_open() {
    let vendor = Vendor::new();
    let made = vendor.make(&Recipe::good(5, Body::Td15));
    let quote = parse_quote(&made.quote).expect("a quote");
    let verifier = QuoteVerifier::new(vendor.issuers(), 0);
    let full = collateral(&made.fields, verifier.issuers());
    let unchecked = [QuoteRelaxation::UncheckedRevocation];
    for (part, open, forgiven) in [
        (
            CollateralPart::RootCrl,
            &[
                "pck-ca-revocation",
                "root-crl-validity",
                "tcb-signer-revocation",
            ][..],
            true,
        ),
        (
            CollateralPart::PckCrl,
            &["pck-revocation", "pck-crl-validity"],
            true,
        ),
        (
            CollateralPart::TcbInfo,
            &[
                "tcb-info",
                "tcb-info-validity",
                "evaluation-numbers",
                "platform",
                "qe-tcb-level",
                "tdx-module",
                "tcb-level",
                "status",
            ],
            false,
        ),
        (
            CollateralPart::QeIdentity,
            &[
                "qe-identity",
                "qe-identity-validity",
                "evaluation-numbers",
                "qe-identity-match",
                "qe-tcb-level",
                "status",
            ],
            false,
        ),
    ] {
        let mut collateral: QuoteCollateral = full.clone();
        collateral.set_absent(part, Absent::Missing("none".to_owned()));
        let findings = verifier.verify(&quote, None, &collateral, Recipe::now());
        assert_eq!(failed(&findings), [""; 0], "{part:?}");
        let appraisal = appraise_quote(&findings, &policy([]));
        let found = appraisal.list().iter();
        let found: Vec<&str> = found
            .filter(|one| matches!(one.outcome, Outcome::NotChecked(_)))
            .map(|one| one.concern.name())
            .collect();
        assert_eq!(found, open, "{part:?}");
        assert_eq!(appraisal.verdict(), Verdict::Unknown, "{part:?}");
        let relaxed = verdict(&findings, &unchecked);
        let expected = if forgiven {
            Verdict::Accepted
        } else {
            Verdict::Unknown
        };
        assert_eq!(relaxed, expected, "{part:?}");
    }
}

#[test]
fn another_vendor_is_not_trusted() {
    let (vendor, impostor) = (Vendor::new(), Vendor::new());
    let made = impostor.make(&Recipe::good(4, Body::Td10));
    let ours = vendor.make(&Recipe::good(4, Body::Td10));
    let mixed = Made {
        fields: ours.fields,
        ..made
    };
    let verifier = QuoteVerifier::new(Issuers::new(vendor.pki.anchors()), 0);
    judged_by(&verifier, &mixed, |one| {
        assert_eq!(failed(one), ["pck-chain"]);
        let why = one.outcome(QuoteCheck::PckChain).and_then(Outcome::reason);
        assert!(
            why.is_some_and(|why| why.contains("which is not trusted")),
            "{why:?}"
        );
        assert_eq!(one.status(), None);
    });
}

#[test]
fn statuses_below_the_best_are_told() {
    let vendor = Vendor::new();
    let mut recipe = Recipe::good(4, Body::Td10);
    let status = |recipe: &Recipe| {
        judged(&vendor, recipe, |one| {
            let ids = one.evaluation().expect("one").advisory_ids();
            let ids: Vec<String> = ids.iter().map(|id| id.as_str().to_owned()).collect();
            (one.status().expect("one").name(), ids)
        })
    };
    recipe.put(0, &[5]);
    assert_eq!(
        status(&recipe),
        ("OutOfDate", vec!["INTEL-SA-00003".to_owned()])
    );
    recipe.qe_report[258] = 7;
    let two = ["INTEL-SA-00002", "INTEL-SA-00003"]
        .map(str::to_owned)
        .to_vec();
    let (word, mut ids) = status(&recipe);
    ids.sort();
    assert_eq!((word, ids), ("OutOfDate", two));
}

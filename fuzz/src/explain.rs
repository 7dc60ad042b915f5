//! What the endpoint that explains evidence does with a body before it asks the store for anything.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde_json::Value;
use thim_server::evidence::form::{self, Decoded, EvidenceKind};
use thim_server::evidence::quote::{Telling, explain, unreadable};
use thim_server::evidence::report::{self, ReportJudge, ReportMaterial};
use thim_verify::amd::{Anchors, NoCollateral, Products};
use thim_verify::{QuoteCollateral, QuotePolicy, QuoteVerifier, UnixTime, parse_quote};

use crate::ISSUERS;

static VERIFIER: LazyLock<QuoteVerifier> = LazyLock::new(|| QuoteVerifier::new(ISSUERS.clone(), 0));
static PRODUCTS: LazyLock<Products> = LazyLock::new(Products::builtin);
static ANCHORS: LazyLock<Anchors> = LazyLock::new(Anchors::builtin);

/// Any body: there is an answer, whole and printable, and without collateral it is never that the evidence is accepted.
pub fn explain_request(data: &[u8]) {
    let at = UnixTime::from_secs(1_780_272_000);
    let decoded = match form::decode("evidence", data) {
        Ok(decoded) => decoded,
        Err(error) => {
            told("unknown", &unreadable(&error, at));
            crate::readable(error);
            return;
        }
    };
    match decoded.kind() {
        EvidenceKind::Quote | EvidenceKind::Unknown => match parse_quote(&decoded.bytes) {
            Ok(quote) => {
                let collateral = QuoteCollateral::new();
                let findings = VERIFIER.verify(&quote, None, &collateral, at);
                let answer = explain(&findings, &QuotePolicy::default(), Telling::default());
                told(quote.tee().name(), &answer);
            }
            Err(error) => told("unknown", &unreadable(&error, at)),
        },
        EvidenceKind::Report => of_report(&decoded, at),
    }
}

fn of_report(decoded: &Decoded, at: UnixTime) {
    let (form, report) = match decoded.report() {
        Ok(read) => read,
        Err(error) => return told("sev-snp", &report::unreadable(&error, at)),
    };
    let none = NoCollateral::Missing("nothing is at hand".to_owned());
    let material = ReportMaterial {
        endorsement: Err(none.clone()),
        chain: Err(none),
        crl: None,
        notes: Vec::new(),
    };
    let judge = ReportJudge {
        products: &PRODUCTS,
        anchors: &ANCHORS,
        relaxations: &BTreeSet::new(),
        at,
        show_chip_id: false,
    };
    let product = report::product_of(&report, None, &PRODUCTS).expect("nobody says another");
    let answer = report::explain((form, &report), product, material, &judge);
    assert!(
        answer
            .facts
            .as_ref()
            .is_some_and(|facts| facts.chip_id.is_none())
    );
    assert!(!answer.why().is_empty());
    told("sev-snp", &answer);
}

fn told(tee: &str, answer: &impl serde::Serialize) {
    let answer = serde_json::to_value(answer).expect("JSON");
    assert_eq!(answer["tee"], tee);
    assert!(
        ["not-accepted", "unknown"]
            .iter()
            .any(|word| answer["verdict"] == *word)
    );
    let findings = answer["findings"].as_array().expect("findings");
    assert!(
        findings
            .iter()
            .any(|finding| finding["outcome"] != "passed")
    );
    for finding in findings {
        if let Value::String(detail) = &finding["detail"] {
            assert!(!detail.is_empty() && detail.len() < 4096);
        }
    }
}

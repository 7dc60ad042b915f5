//! All recorded bundles at their recorded times: the status of Intel's verifier, the advisories of dcap-qvl, and a
//! finding for each thing they refuse by policy.

mod bundles;
mod genuine;

use bundles::{Bundle, bundles};
use genuine::vectors;
use thim_verify::{
    ConvergedStatus, Outcome, QuoteCheck, QuoteFindings, QuoteVerifier, parse_quote,
};

/// What Intel's C++ library answers, by its result codes (`vectors/intel/README.md`).
fn intels(expected: &str) -> (bool, Option<ConvergedStatus>) {
    let code = |name: &str| -> u32 {
        let field = expected
            .split_whitespace()
            .find_map(|field| field.strip_prefix(name))
            .expect("a field");
        field.parse().expect("a code")
    };
    let status = match code("quote=") {
        0 => Some(ConvergedStatus::UpToDate),
        45 => Some(ConvergedStatus::OutOfDate),
        46 => Some(ConvergedStatus::Revoked),
        47 => Some(ConvergedStatus::ConfigurationNeeded),
        48 => Some(ConvergedStatus::OutOfDateConfigurationNeeded),
        49 => Some(ConvergedStatus::NotSupported),
        82 => Some(ConvergedStatus::SwHardeningNeeded),
        83 => Some(ConvergedStatus::ConfigurationAndSwHardeningNeeded),
        87 => Some(ConvergedStatus::TdRelaunchAdvised),
        other => panic!("code {other}"),
    };
    assert_eq!((code("tcbinfo="), code("qeid=")), (0, 0), "{expected}");
    (code("pck=") == 0, status)
}

/// Status and advisories of dcap-qvl, or why it refused.
fn dcap_qvl(expected: &str) -> Result<(String, Vec<String>), String> {
    if let Some(why) = expected.strip_prefix("ERR ") {
        return Err(why.to_owned());
    }
    let status = expected
        .strip_prefix("status=")
        .and_then(|rest| rest.split(' ').next())
        .expect("a status");
    let list = expected.split("adv=").nth(1).expect("advisories");
    let list = list.split(']').next().expect("a list");
    let advisories = list.trim_start_matches('[').split(", ");
    let advisories = advisories.map(|one| one.trim_matches('"').to_owned());
    let mut advisories: Vec<String> = advisories.filter(|one| !one.is_empty()).collect();
    advisories.sort();
    Ok((status.to_owned(), advisories))
}

fn flaws(findings: &QuoteFindings<'_>) -> Vec<&'static str> {
    let flaws = findings.not_passed();
    flaws.map(|finding| finding.check.name()).collect()
}

/// One row of `docs/quote-bundles.md`.
fn row(bundle: &Bundle) -> String {
    let quote = parse_quote(&bundle.quote).expect("a quote");
    let issuers = bundle.issuers();
    let collateral = bundle.collateral(&issuers);
    let verifier = QuoteVerifier::new(issuers, 0);
    let findings = verifier.verify(&quote, None, &collateral, bundle.time());
    let text = |name: &str| bundle.expected[name].as_str().expect("a text");
    let (trusted, status) = intels(text("oracle_intel_qvl_cpp"));
    let name = |status: Option<ConvergedStatus>| status.map_or("none", ConvergedStatus::name);
    let untrusted = if trusted { "" } else { ", chain untrusted" };
    let evaluation = findings.evaluation().expect("an evaluation");
    let mut ours: Vec<String> = evaluation
        .advisory_ids()
        .iter()
        .map(|id| id.as_str().to_owned())
        .collect();
    ours.sort();
    let count = ours.len();
    let (theirs, advisories) = match dcap_qvl(text("oracle_dcap_qvl_0_7_1")) {
        Ok((status, expected)) if expected == ours => (status, format!("{count}, equal")),
        Ok((status, expected)) => (status, format!("{count}, not {}", expected.len())),
        Err(why) => {
            let short = why.split([':', '(']).next().unwrap_or_default().trim();
            (format!("refuses: {short}"), count.to_string())
        }
    };
    let flaws = flaws(&findings).join(", ");
    let flaws = if flaws.is_empty() { "none" } else { &flaws };
    format!(
        "| {} | {} | {}{untrusted} | {theirs} | {} | {advisories} | {flaws} |\n",
        bundle.name,
        bundle.time(),
        name(status),
        name(findings.status()),
    )
}

/// Made anew with `THIM_REWRITE_DOCS=1 cargo test -p thim-verify --test quote_bundles`.
#[test]
#[allow(clippy::disallowed_methods, reason = "a test of the world may read it")]
fn the_table_in_the_documentation_is_what_is_found() {
    let Some(intel) = vectors() else { return };
    let rows: String = bundles(&intel).iter().map(row).collect();
    let table = format!("{ABOUT_THE_TABLE}{rows}");
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/quote-bundles.md");
    if std::env::var_os("THIM_REWRITE_DOCS").is_some() {
        std::fs::write(file, &table).expect(file);
    }
    let written = std::fs::read_to_string(file).expect(file);
    assert_eq!(written, table, "write it anew with THIM_REWRITE_DOCS=1");
}

const ABOUT_THE_TABLE: &str = "\
# The recorded bundles, by three verifiers

51 bundles of a genuine quote and genuine collateral, each judged at its recorded time. Intel is the C++ library of DCAP, dcap-qvl the crate
(0.7.1): their answers were recorded with the bundles. THIM's are of this code: `crates/thim-verify/tests/quote_bundles.rs` makes the table and
fails when the file says something else; `THIM_REWRITE_DOCS=1` makes it write the file anew. \"Chain untrusted\" is Intel's answer to a root of 2018 with
today's key, which it compares by bytes. dcap-qvl refuses outright what THIM tells as a finding beside the status, and TCB info of version 2.
Advisories: how many THIM names, and whether they are those of dcap-qvl where that evaluated. The last column are the checks that did not pass.
Other differences are in [verifier-differences.md](verifier-differences.md).

| bundle | time | Intel | dcap-qvl | THIM | advisories | not passed |
|---|---|---|---|---|---|---|
";

#[test]
fn status_and_advisories_are_those_of_the_others() {
    let Some(intel) = vectors() else { return };
    let all = bundles(&intel);
    assert_eq!(all.len(), 51);
    let (mut evaluated, mut refused) = (0, 0);
    for bundle in &all {
        let Bundle { name, expected, .. } = bundle;
        let quote = parse_quote(&bundle.quote).expect(name);
        let issuers = bundle.issuers();
        let collateral = bundle.collateral(&issuers);
        let verifier = QuoteVerifier::new(issuers, 0);
        let findings = verifier.verify(&quote, None, &collateral, bundle.time());
        let text = |name: &str| expected[name].as_str().expect("a text");
        let (trusted, status) = intels(text("oracle_intel_qvl_cpp"));
        assert_eq!(findings.status(), status, "{name}: {:?}", flaws(&findings));
        assert_eq!(
            findings.outcome(QuoteCheck::PckChain),
            Some(&Outcome::Passed),
            "{name}"
        );
        // What it does not trust has a root of 2018 with today's key.
        let root = findings.pck_chain().expect("a chain").root();
        let current = root.digest().to_string().starts_with("44a0196b");
        assert_eq!(trusted, current, "{name}");

        let evaluation = findings.evaluation().expect("an evaluation");
        let mut advisories: Vec<String> = evaluation
            .advisory_ids()
            .iter()
            .map(|id| id.as_str().to_owned())
            .collect();
        advisories.sort();
        match dcap_qvl(text("oracle_dcap_qvl_0_7_1")) {
            Ok((status, expected)) => {
                evaluated += 1;
                assert_eq!(findings.status().expect(name).name(), status, "{name}");
                assert_eq!(advisories, expected, "{name}");
            }
            Err(why) => {
                refused += 1;
                let flaws = flaws(&findings);
                let expected = match why.as_str() {
                    "Debug mode is enabled" => Some("debug"),
                    "Invalid MR service TD" => Some("service-td"),
                    "No matching TCB level found" => Some("tcb-level"),
                    // It reads version 3 alone, which is no finding.
                    why if why.contains("missing field `sgxtcbcomponents`") => None,
                    other => panic!("{name}: {other}"),
                };
                assert!(
                    expected.is_none_or(|check| flaws.contains(&check)),
                    "{name}: {why}: {flaws:?}"
                );
            }
        }
    }
    assert_eq!((evaluated, refused), (28, 23));
}

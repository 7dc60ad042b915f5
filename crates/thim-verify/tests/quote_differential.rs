//! The recorded bundles and thousands of mutants of them, judged by THIM and by dcap-qvl, from fixed seeds.
//!
//! Nothing panics. Where both accept, status and advisories are one. Where one accepts what the other refuses, the
//! class of that difference has a row in `docs/verifier-differences.md`, told by what is true of the evidence and not
//! by how it was made; and every row is shown. THIM judges under a policy that takes every status but Revoked and
//! forgives what dcap-qvl does not look at. That one is asked about everything that ours accepts, about all that no
//! signature covers, about the collateral and the times, and about a share of the rest.

mod bundles;
mod evidence_pki;
mod genuine;
mod oracle;
mod pki;
mod quote_layout;
mod quote_mutants;

use std::collections::{BTreeMap, BTreeSet};

use bundles::{Bundle, bundles, collateral};
use evidence_pki::faults::all as faults;
use evidence_pki::{Body, Recipe, Vendor};
use genuine::vectors;
use oracle::Answer;
use quote_mutants::{Maker, Pool, Seeded};
use serde_json::Value;
use thim_verify::{
    Certificate, CertificationKind, CollateralPart, ConvergedStatus, QuoteBody, QuoteCheck,
    QuoteCollateral, QuoteFindings, QuotePolicy, QuoteRelaxation, QuoteVerifier, Tee, UnixTime,
    Verdict, appraise_quote, parse_quote,
};

/// Evidence as both verifiers get it.
struct Evidence<'a> {
    quote: &'a [u8],
    fields: &'a Value,
    collateral: &'a QuoteCollateral,
    now: UnixTime,
}

fn policy() -> QuotePolicy {
    let unacceptable = [ConvergedStatus::NotSupported, ConvergedStatus::Revoked];
    let all = ConvergedStatus::ALL.into_iter();
    QuotePolicy {
        accepted: all.filter(|one| !unacceptable.contains(one)).collect(),
        relaxations: BTreeSet::from([
            QuoteRelaxation::MixedNumbers,
            QuoteRelaxation::TrailingBytes,
        ]),
    }
}

fn answer(findings: &QuoteFindings<'_>) -> Answer {
    let status = findings.status().expect("a status").name().to_owned();
    let evaluation = findings.evaluation().expect("an evaluation");
    let advisories = evaluation.advisory_ids();
    let advisories = advisories.iter().map(|id| id.as_str().to_owned());
    (status, advisories.collect())
}

/// The class of a difference where ours accepts and the other says `why`.
fn ours_alone(
    evidence: &Evidence<'_>,
    findings: &QuoteFindings<'_>,
    why: &str,
) -> Option<&'static str> {
    let quote = findings.quote();
    let chain = findings.pck_chain().expect("a chain");
    if why.contains("SGX TEE quote must have version 3") {
        return (quote.tee() == Tee::Sgx && quote.version() > 3).then_some("sgx-versions-4-and-5");
    }
    if why.contains("Invalid QE auth data length") {
        let facts = findings.facts(QuoteCheck::QeReportData);
        return facts
            .iter()
            .any(|fact| fact.value != "32")
            .then_some("auth-data-length");
    }
    if why.contains("SERVTD_EXT is enabled") {
        let QuoteBody::Td(report) = quote.body() else {
            return None;
        };
        return (report.td_attributes.0 >> 17 & 1 == 1).then_some("servtd-ext");
    }
    if why.contains("missing field `sgxtcbcomponents`") {
        let version = findings.collateral().tcb_info()?.version;
        return (version == 2).then_some("tcb-info-v2");
    }
    if why.starts_with("Unsupported DCAP PCK cert format: 4.") {
        let kind = quote.certification_kind();
        return (kind == CertificationKind::PckLeaf).then_some("certification-type-4");
    }
    let chains = SIGNERS.map(|(field, part)| {
        let text = evidence.fields[field].as_str().expect("a text");
        let document = evidence.collateral.part(part).expect("a document");
        let delivered = Certificate::from_pem_bundle(text.as_bytes()).unwrap_or_default();
        (delivered, document.chain().signer())
    });
    if why.contains("CaUsedAsEndEntity") {
        let mut all = chains.iter();
        let another_first = all.any(|(all, signer)| all.first() != Some(signer));
        return (another_first || !chain.origin().in_order).then_some("leaf-not-first");
    }
    if why.starts_with("Too many intermediate certificates") {
        let text = String::from_utf8_lossy(evidence.quote);
        return (text.matches("BEGIN CERTIFICATE").count() > 5).then_some("many-certificates");
    }
    if why.contains("mismatching BEGIN") {
        let text = String::from_utf8_lossy(evidence.quote);
        return (text.matches("-----BEGIN CERTIFICATE-----").count() < 3)
            .then_some("damaged-label");
    }
    if why.contains("CrlExpired") {
        let parts = [CollateralPart::RootCrl, CollateralPart::PckCrl];
        let mut lists = parts
            .iter()
            .filter_map(|part| evidence.collateral.part(*part).ok());
        return lists
            .any(|list| list.next_update() == evidence.now)
            .then_some("last-second-of-a-list");
    }
    let mut all = chains.iter();
    let signer_is_known = all.any(|(all, signer)| !all.contains(signer));
    (signer_is_known || !chain.origin().authority_embedded).then_some("known-issuer")
}

/// The class of a difference where the other accepts and ours does not, with what stands in the way.
fn theirs_alone(evidence: &Evidence<'_>, refusal: &[String]) -> Option<&'static str> {
    let first = refusal.first()?;
    if first.starts_with("format: ") {
        let classes = [
            (" bytes more in the ", "slack-in-a-section"),
            ("; versions 4 and 5 have 6 outside", "outer-type"),
        ];
        let class = classes.iter().find(|(part, _)| first.contains(part));
        return class.map(|(_, class)| *class);
    }
    if first.contains(" are named Intel SGX PCK Certificate; one must be") {
        return Some("two-leaves");
    }
    let unreadable = |text: &[u8]| Certificate::from_pem_bundle(text).is_err();
    let chains = CHAINS.iter().map(|name| evidence.fields[*name].as_str());
    let chains = chains.map(|text| text.expect("a text").as_bytes());
    if chains.chain([evidence.quote]).any(unreadable) {
        return Some("unreadable-certificate");
    }
    // Without what it rests on there is no status, which says nothing new.
    let own = refusal
        .iter()
        .filter(|why| !why.starts_with("status: there is none"));
    if let [only] = own.collect::<Vec<_>>()[..] {
        let classes = [
            ("td-attributes: ", "td-attributes-18-to-22"),
            ("platform: the TCB info is of PCE id", "pce-id"),
            ("pck-chain-validity: Intel SGX Root CA ", "root-dates"),
            ("service-td: ", "service-domain-of-the-extension"),
        ];
        let mut classes = classes.iter();
        if let Some((_, class)) = classes.find(|(start, _)| only.starts_with(start)) {
            return Some(class);
        }
    }
    let lists = [
        "root-crl-validity: issued at ",
        "pck-crl-validity: issued at ",
    ];
    let all_early = refusal
        .iter()
        .all(|why| lists.iter().any(|list| why.starts_with(list)));
    all_early.then_some("list-of-the-future")
}

/// What came out of it.
#[derive(Default)]
struct Tally {
    judged: usize,
    asked: usize,
    both_accept: usize,
    /// Classes of differences, with how often and the first example.
    differences: BTreeMap<String, (usize, String)>,
}

impl Tally {
    fn judge(
        &mut self,
        verifier: &QuoteVerifier,
        evidence: &Evidence<'_>,
        name: &str,
        ask: bool,
        theirs: impl FnOnce() -> Result<Answer, String>,
    ) {
        self.judged += 1;
        let parsed = parse_quote(evidence.quote);
        let findings = parsed
            .as_ref()
            .map(|quote| verifier.verify(quote, None, evidence.collateral, evidence.now));
        let refusal = match &findings {
            Err(error) => vec![format!("format: {error}")],
            Ok(findings) => refusal(findings),
        };
        if !ask && !refusal.is_empty() {
            return;
        }
        self.asked += 1;
        let class = match (findings, theirs()) {
            (Ok(findings), Ok(theirs)) if refusal.is_empty() => {
                self.both_accept += 1;
                assert_eq!(answer(&findings), theirs, "{name}");
                return;
            }
            (Ok(findings), Err(why)) if refusal.is_empty() => ours_alone(evidence, &findings, &why)
                .unwrap_or_else(|| panic!("{name}: ours accepts, dcap-qvl does not: {why}")),
            (_, Err(_)) => return,
            (_, Ok(_)) => theirs_alone(evidence, &refusal)
                .unwrap_or_else(|| panic!("{name}: dcap-qvl accepts, ours does not: {refusal:?}")),
        };
        let first = || (0, name.to_owned());
        self.differences
            .entry(class.to_owned())
            .or_insert_with(first)
            .0 += 1;
    }

    fn add(mut self, other: Self) -> Self {
        self.judged += other.judged;
        self.asked += other.asked;
        self.both_accept += other.both_accept;
        for (class, (times, example)) in other.differences {
            self.differences.entry(class).or_insert((0, example)).0 += times;
        }
        self
    }

    /// Evidence of our own vendor: the good, each fault, and what no recorded quote has.
    fn made(&mut self) {
        let vendor = Vendor::new();
        let mut recipes = Vec::new();
        for (version, body) in Body::ALL {
            let good = Recipe::good(version, body);
            let mut longer = good.clone();
            longer.auth_data = vec![7; 48];
            recipes.push((format!("good, {version} {body:?}"), good.clone()));
            recipes.push((format!("48 bytes hashed, {version} {body:?}"), longer));
            for bit in (0..64).filter(|_| body != Body::Sgx) {
                let mut recipe = good.clone();
                recipe.report[120 + bit / 8] ^= 1 << (bit % 8);
                recipes.push((format!("attribute {bit}, {version} {body:?}"), recipe));
            }
        }
        for fault in faults() {
            for (version, body) in fault.on {
                let mut recipe = Recipe::good(*version, *body);
                (fault.spoil)(&mut recipe);
                recipes.push((format!("{}, {version} {body:?}", fault.name), recipe));
            }
        }
        let issuers = vendor.issuers();
        let root = issuers.anchors().roots()[0].der().to_vec();
        let verifier = QuoteVerifier::new(issuers, 0);
        for (name, recipe) in &recipes {
            let made = vendor.make(recipe);
            let own = collateral(&made.fields, verifier.issuers());
            let evidence = Evidence {
                quote: &made.quote,
                fields: &made.fields,
                collateral: &own,
                now: Recipe::now(),
            };
            self.judge(&verifier, &evidence, name, true, || {
                let fields = oracle::collateral(&made.fields)?;
                oracle::verify(&root, &made.quote, &fields, Recipe::now())
            });
        }
    }

    /// One bundle and its mutants.
    fn bundle(&mut self, all: &[Bundle], at: usize, pool: &Pool) {
        let bundle = &all[at];
        let issuers = bundle.issuers();
        let root = issuers.anchors().roots()[0].der().to_vec();
        let own = bundle.collateral(&issuers);
        let their_own = oracle::collateral(&bundle.collateral).expect("hex");
        let verifier = QuoteVerifier::new(issuers.clone(), 0);
        let quote = parse_quote(&bundle.quote).expect("a quote");
        let chain = verifier.pck_chain(&quote, None).expect("a chain");
        let seed = u64::try_from(at).expect("few");
        let mut maker = Maker::new(all, at, pool, seed);
        maker.quotes();
        maker.collaterals();
        maker.times(&own, &chain);
        let mut seeded = Seeded(seed);
        for mutant in maker.made {
            let bytes = mutant.quote.as_ref().unwrap_or(&bundle.quote);
            let fields = mutant.collateral.as_ref().unwrap_or(&bundle.collateral);
            let other = mutant.collateral.as_ref();
            let other = other.map(|fields| collateral(fields, &issuers));
            let evidence = Evidence {
                quote: bytes,
                fields,
                collateral: other.as_ref().unwrap_or(&own),
                now: mutant.now,
            };
            let name = format!("{}: {}", bundle.name, mutant.name);
            let ask = mutant.ask || seeded.below(ONE_IN) == 0;
            self.judge(&verifier, &evidence, &name, ask, || {
                match &mutant.collateral {
                    None => oracle::verify(&root, bytes, &their_own, mutant.now),
                    Some(fields) => oracle::collateral(fields)
                        .and_then(|fields| oracle::verify(&root, bytes, &fields, mutant.now)),
                }
            });
        }
    }
}

fn refusal(findings: &QuoteFindings<'_>) -> Vec<String> {
    let appraisal = appraise_quote(findings, &policy());
    let deciding = appraisal.list().iter();
    deciding
        .filter(|one| one.verdict() != Verdict::Accepted)
        .map(|one| {
            let why = one.outcome.reason().unwrap_or_default();
            format!("{}: {why}", one.concern.name())
        })
        .collect()
}

/// The classes that have a row.
fn rows() -> BTreeSet<String> {
    let text = include_str!("../../../docs/verifier-differences.md");
    let section = text.split("\n## ").find(|section| {
        let title = section.lines().next();
        title == Some("SGX and TDX: `dcap-qvl`")
    });
    let lines = section.expect("its section").lines();
    let rows = lines.filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    rows.map(|(class, _)| class.to_owned()).collect()
}

#[test]
fn every_difference_has_a_row_and_every_row_is_shown() {
    let mut made = Tally::default();
    made.made();
    let found: BTreeSet<String> = made.differences.keys().cloned().collect();
    assert!(found.is_subset(&rows()), "{found:?}");
    let Some(intel) = vectors() else { return };
    let all = bundles(&intel);
    let pool = Pool::read(&intel);
    let workers = 2;
    let tally = std::thread::scope(|scope| {
        let (all, pool) = (&all, &pool);
        let started: Vec<_> = (0..workers)
            .map(|first| {
                scope.spawn(move || {
                    let mut tally = Tally::default();
                    for at in (first..all.len()).step_by(workers) {
                        tally.bundle(all, at, pool);
                    }
                    tally
                })
            })
            .collect();
        let done = started
            .into_iter()
            .map(|worker| worker.join().expect("a tally"));
        done.fold(Tally::default(), Tally::add)
    });
    let tally = tally.add(made);
    println!(
        "{} judged, {} asked, {} accepted by both",
        tally.judged, tally.asked, tally.both_accept
    );
    for (class, (times, example)) in &tally.differences {
        println!("{class}: {times}, first {example}");
    }
    assert!(tally.judged >= 10_000, "{}", tally.judged);
    let shown: BTreeSet<String> = tally.differences.into_keys().collect();
    assert_eq!(shown, rows());
}

const CHAINS: [&str; 3] = [
    "pck_crl_issuer_chain",
    "tcb_info_issuer_chain",
    "qe_identity_issuer_chain",
];

/// The chains of the two signed documents.
const SIGNERS: [(&str, CollateralPart); 2] = [
    ("tcb_info_issuer_chain", CollateralPart::TcbInfo),
    ("qe_identity_issuer_chain", CollateralPart::QeIdentity),
];

/// Of the mutants that a signature covers, the share about which the other verifier is asked too.
const ONE_IN: usize = 8;

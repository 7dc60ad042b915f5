//! Real history: a register filled with the platforms of the recorded quotes, and the forecast from one of Intel's numbers to the
//! next. Of every platform it says what `explain` says of the quote itself, and what Intel's own verifier answered (`expected.json`).

mod baseline_support;
mod harness;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use baseline_support::promote;
use harness::Fleet;
use serde_json::Value;
use thim_client::{ForecastColumn, ForecastReport};
use thim_server::baseline::{BaselineTee, Choice, Lists, Scope, Selector};
use thim_server::baselines::forecasting::{Listed, Target};
use thim_server::intake;
use thim_server::platforms::PlatformState;
use thim_server::store::{Batch, EvidenceNoted, EvidenceRow, NewPck, PlatformRow, PlatformWrite};
use thim_verify::{
    Content, Digest, EvaluationNumbers, Issuers, QuoteVerifier, Tee, TrustAnchors, parse,
    parse_quote, verify_pck,
};

/// A platform as one recorded quote shows it.
struct Recorded {
    id: String,
    tee: Tee,
    family: String,
    quote: Vec<u8>,
    /// Intel's answers, by number.
    intels: BTreeMap<u32, &'static str>,
}

/// Result codes of Intel's library (`vectors/intel/README.md`).
fn intels(expected: &Value) -> &'static str {
    let text = expected["oracle_intel_qvl_cpp"].as_str().expect("a text");
    match text.rsplit("quote=").next() {
        Some("0") => "UpToDate",
        Some("45") => "OutOfDate",
        Some("48") => "OutOfDateConfigurationNeeded",
        Some("49") => "NotSupported",
        Some("82") => "SWHardeningNeeded",
        Some("83") => "ConfigurationAndSWHardeningNeeded",
        other => panic!("code {other:?}"),
    }
}

/// The distinct quotes of the 51 bundles, with what was answered for each.
fn recorded(intel: &Path) -> Vec<Recorded> {
    let mut all: BTreeMap<Digest, Recorded> = BTreeMap::new();
    let mut folders: Vec<_> = std::fs::read_dir(intel.join("bundles"))
        .expect("bundles")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    folders.sort();
    assert_eq!(folders.len(), 51);
    for folder in folders {
        let quote = std::fs::read(folder.join("quote.bin")).expect("a quote");
        let expected = std::fs::read(folder.join("expected.json")).expect("answers");
        let expected: Value = serde_json::from_slice(&expected).expect("JSON");
        let digest = Digest::of(&quote);
        let one = all.entry(digest).or_insert_with(|| Recorded {
            id: digest.to_string()[..16].to_owned(),
            tee: parse_quote(&quote).expect("a quote").tee(),
            family: expected["fmspc"].as_str().expect("a text").to_owned(),
            quote,
            intels: BTreeMap::new(),
        });
        let number = expected["tcb_eval"].as_u64().expect("a number");
        let number = u32::try_from(number).expect("a number");
        one.intels.insert(number, intels(&expected));
    }
    all.into_values().collect()
}

/// Puts the platform of a quote into the register, with its certificate and what the quote said; `seen` false leaves the quote out.
async fn put(fleet: &Fleet, one: &Recorded, id: &str, seen: bool) {
    let now = fleet.clock.now();
    let issuers = Issuers::new(TrustAnchors::intel());
    let quote = parse_quote(&one.quote).expect("a quote");
    let verifier = QuoteVerifier::new(issuers.clone(), 0);
    let chain = verifier.pck_chain(&quote, None).expect("a genuine chain");
    let leaf = chain.leaf();
    let pem = leaf.certificate().to_pem();
    // What the store takes is the verified, and that it had not expired when it was made.
    let then = leaf.certificate().not_before();
    let above = [chain.authority().clone()];
    let verified = verify_pck(leaf.clone(), &above, &issuers, None, None, then);
    let verified = verified.expect("a genuine certificate");
    let platform = PlatformRow {
        ppid_hash: Some(id.to_owned()),
        fmspc: Some(leaf.fmspc()),
        ca: Some(verified.ca()),
        state: PlatformState::Ready,
        ..PlatformRow::new(id.to_owned(), leaf.pce_id(), now)
    };
    let mut write = PlatformWrite::new(platform);
    write.certificates = vec![NewPck::new(&verified, pem.into(), "a recorded quote", now)];
    let store = fleet.server().collateral.store();
    store
        .commit(&Batch {
            certificates: above.into_iter().map(|one| (one, now)).collect(),
            platforms: vec![write],
            ..Batch::default()
        })
        .await
        .expect("the store");
    if !seen {
        return;
    }
    let said = EvidenceRow::of(&quote, leaf.tcbm(), now);
    let noted = store.note_evidence(id, &said).await.expect("the store");
    assert_eq!(noted, EvidenceNoted::Kept);
}

/// What `thim verify quote --number` says of a quote.
async fn explained(fleet: &Fleet, quote: &[u8], number: u32) -> Value {
    let url = fleet.url(&format!("/thim/v1/evidence/explain?number={number}"));
    let answer = fleet
        .send(fleet.client.post(url).body(quote.to_vec()))
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_slice(&answer.body).expect("JSON")
}

fn column<'a>(told: &'a ForecastReport, name: &str) -> &'a ForecastColumn {
    let mut all = told.columns.iter();
    all.find(|one| one.name == name).expect("this column")
}

/// A service with the recorded collateral and the platforms of the recorded quotes of one TEE.
async fn filled(intel: &Path, tee: Tee) -> (Fleet, Vec<Recorded>) {
    let mut fleet = Fleet::sim_only(|config| {
        config.trust.intel_roots = Vec::new();
        config.intel.upstream = Vec::new();
    })
    .await;
    fleet.serve().await;
    let folders: Vec<_> = ["ca", "crl", "evalnums", "identity", "tcbinfo"]
        .iter()
        .map(|name| intel.join(name))
        .collect();
    let gathered = intake::read(&folders, &mut |_| {});
    let collateral = &fleet.server().collateral;
    let now = fleet.clock.now();
    let report = intake::import(collateral, gathered, now, &mut |_, _| {}).await;
    assert!(report.expect("the store").admitted > 300);
    let mut all = recorded(intel);
    // A host of trust domains has enclaves too, and no recorded quote says how they stand.
    all.retain(|one| one.tee == tee);
    for one in &all {
        put(&fleet, one, &one.id, true).await;
    }
    (fleet, all)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_enclave_host_of_the_bundles_is_foretold_what_its_quote_is_told() {
    let steps = [
        ("00606A000000", 15, 16),
        ("00606A000000", 16, 17),
        ("00606A000000", 17, 20),
    ];
    history(Tee::Sgx, &steps).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_trust_domain_host_of_the_bundles_is_foretold_what_its_quote_is_told() {
    let steps = [("00806F050000", 16, 19), ("90C06F000000", 17, 19)];
    history(Tee::Tdx, &steps).await;
}

async fn history(tee: Tee, steps: &[(&str, u32, u32)]) {
    let Some(vectors) = harness::vectors() else {
        return;
    };
    let (fleet, all) = filled(&vectors.join("intel"), tee).await;
    // One more of each that hosts trust domains, of which no quote was seen.
    let mut unseen = BTreeSet::new();
    for (at, one) in all.iter().filter(|one| one.tee == Tee::Tdx).enumerate() {
        let id = format!("{at:016x}");
        put(&fleet, one, &id, false).await;
        unseen.insert(id);
    }
    let mut told_by_name = Vec::new();
    for (family, from, to) in steps.iter().copied() {
        let case = format!("{family} {from} -> {to}");
        let name = if tee == Tee::Sgx { "sgx" } else { "tdx" };
        let baseline_tee: BaselineTee = name.parse().expect("a TEE");
        let selector = format!("{{ number = {from} }}");
        promote(&fleet, "default", name, &selector).await;
        let baselines = &fleet.server().baselines;
        let now = fleet.clock.now();
        let target = Target::Selector(Selector::Number(to));
        let candidate = baselines
            .candidate(&Scope::Default, baseline_tee, &target, now)
            .expect("a candidate");
        let listed = Listed {
            limit: 1000,
            after: String::new(),
        };
        let told = baselines.forecast(&candidate, &listed, now).await;
        let told = told.expect("a forecast");
        assert_eq!(column(&told, "current").number, Some(from), "{case}");
        assert_eq!(column(&told, "candidate").number, Some(to), "{case}");

        let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
        for one in all.iter().filter(|one| one.tee == tee) {
            let mut said = Vec::new();
            for (number, tally) in [(from, &mut before), (to, &mut after)] {
                let explained = explained(&fleet, &one.quote, number).await;
                let status = explained["status"].as_str().unwrap_or("unknown").to_owned();
                if let Some(intels) = one.intels.get(&number)
                    && one.family == family
                {
                    assert_eq!(status, *intels, "{case}: {} under {number}", one.id);
                }
                *tally.entry(status.clone()).or_insert(0_u64) += 1;
                said.push((status, explained));
            }
            let [(from_status, _), (to_status, explained)] = said.as_slice() else {
                panic!("two numbers");
            };
            let causes: Vec<_> = told
                .causes
                .iter()
                .filter(|cause| cause.platforms.contains(&one.id))
                .collect();
            if from_status == to_status {
                assert!(causes.is_empty(), "{case}: {} {causes:?}", one.id);
                continue;
            }
            let [cause] = causes.as_slice() else {
                panic!("{case}: {} is in {causes:?}", one.id);
            };
            assert_eq!(
                (&cause.from.status, &cause.to.status),
                (from_status, to_status),
                "{case}: {}",
                one.id
            );
            if to_status == "OutOfDate" {
                // The component that explains it, as the quote's own shortfall has it.
                assert!(!cause.short.is_empty(), "{case}: {cause:?}");
                let own = explained["shortfall"].to_string();
                for short in &cause.short {
                    assert!(short.have < short.need, "{case}: {short:?}");
                    assert!(own.contains(&short.component), "{case}: {short:?} {own}");
                }
            }
            if one.family == family {
                let short = cause.short.iter();
                let short: Vec<String> = short
                    .map(|one| {
                        format!(
                            "{} {} < {} ({})",
                            one.component, one.have, one.need, one.who
                        )
                    })
                    .collect();
                let line = format!("{case}: {from_status} -> {to_status}: {}", short.join(", "));
                told_by_name.push((one.id.clone(), line));
            }
        }
        if tee == Tee::Tdx {
            let count = u64::try_from(unseen.len()).expect("a count");
            for tally in [&mut before, &mut after] {
                *tally.entry("unknown".to_owned()).or_default() += count;
            }
            let named = told.causes.iter().flat_map(|cause| &cause.platforms);
            assert!(named.into_iter().all(|id| !unseen.contains(id)), "{case}");
        }
        assert_eq!(column(&told, "current").statuses, before, "{case}");
        assert_eq!(column(&told, "candidate").statuses, after, "{case}");
    }
    for (id, line) in &told_by_name {
        println!("{id} {line}");
    }
    assert!(!told_by_name.is_empty());
    // Who changes at all, by Intel's own answers.
    for one in &all {
        for (family, from, to) in steps {
            let answers = (one.intels.get(from), one.intels.get(to));
            if let (Some(before), Some(after)) = answers
                && before != after
                && one.family == *family
            {
                let step = format!("{from} -> {to}: {before} -> {after}");
                let found = told_by_name
                    .iter()
                    .any(|(id, line)| *id == one.id && line.contains(&step));
                assert!(found, "{} {step}", one.id);
            }
        }
    }
    fleet.stop().await;
}

#[test]
fn standard_of_trust_domains_as_the_recorded_lists_had_it() {
    let Some(vectors) = harness::vectors() else {
        return;
    };
    let mut recorded = Vec::new();
    for entry in std::fs::read_dir(vectors.join("intel/evalnums")).expect("lists") {
        let bytes = std::fs::read(entry.expect("an entry").path()).expect("a file");
        let Ok(parsed) = parse(&bytes) else { continue };
        if let Content::EvaluationNumbers(list) = parsed.unverified().content()
            && list.tee == Tee::Tdx
        {
            recorded.push(list.clone());
        }
    }
    assert!(!recorded.is_empty());
    for (day, number) in [
        ("2025-11-01", 17),
        ("2025-11-20", 18),
        ("2026-05-20", 19),
        ("2026-08-20", 20),
    ] {
        let at = harness::at(&format!("{day}T00:00:00Z"));
        let standard = |lists: &[&EvaluationNumbers]| {
            let mut all = Lists::default();
            lists.iter().for_each(|list| all.learn(list));
            let chosen = all.choose(Choice::Standard, at);
            chosen.map(|chosen| chosen.number)
        };
        let all: Vec<_> = recorded.iter().collect();
        assert_eq!(standard(&all), Some(number), "{day}");
        // And as the service of that day knew them.
        let then: Vec<_> = recorded.iter().filter(|list| list.issued <= at).collect();
        assert_eq!(standard(&then), Some(number), "{day}");
    }
}

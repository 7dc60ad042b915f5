//! `POST /thim/v1/evidence/explain` with quotes of simulated platforms: what is fetched for them, what is told, what is
//! refused.

mod harness;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use harness::{Answer, BOTH, Fleet, SGX_ONLY};
use serde_json::Value;
use thim_sim::{
    CertificationKind, PlatformSpec, QuoteBody, QuoteFault, QuoteSpec, QuoteVersion, SimPlatform,
};

const EXPLAIN: &str = "/thim/v1/evidence/explain";

async fn post(fleet: &Fleet, query: &str, body: impl Into<reqwest::Body>) -> Answer {
    let url = fleet.url(&format!("{EXPLAIN}{query}"));
    fleet.send(fleet.client.post(url).body(body)).await
}

async fn told(fleet: &Fleet, query: &str, body: impl Into<reqwest::Body>) -> Value {
    let answer = post(fleet, query, body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_slice(&answer.body).expect("JSON")
}

/// The checks that did not pass.
fn flaws(told: &Value) -> Vec<&str> {
    let findings = told["findings"].as_array().expect("findings");
    let flaws = findings.iter().filter(|one| one["outcome"] != "passed");
    flaws
        .map(|one| one["name"].as_str().expect("a name"))
        .collect()
}

fn platform(fleet: &Fleet, fmspc: &str) -> SimPlatform {
    let spec = PlatformSpec::new(fmspc, 1);
    fleet.management().add_platform(spec).expect("a platform")
}

fn quote(fleet: &Fleet, platform: &SimPlatform, spec: &QuoteSpec) -> Vec<u8> {
    fleet
        .management()
        .quote(&platform.name, spec)
        .expect("a quote")
}

#[tokio::test]
async fn a_domain_is_up_to_date_today_and_not_under_the_next_number() {
    let fleet = Fleet::start().await;
    let platform = platform(&fleet, BOTH);
    let spec = QuoteSpec::new(QuoteVersion::V5, QuoteBody::Td15);
    let bytes = quote(&fleet, &platform, &spec);
    let today = told(&fleet, "", bytes.clone()).await;
    assert_eq!(flaws(&today), Vec::<&str>::new(), "{today}");
    assert_eq!(
        (&today["verdict"], &today["status"], &today["tee"]),
        (&"accepted".into(), &"UpToDate".into(), &"tdx".into())
    );
    assert_eq!(today["collateral"].as_array().expect("a list").len(), 4);
    assert_eq!(today["shortfall"]["platform"]["up_to_date_by"], "already");
    let standard = today["number"].as_u64().expect("a number");

    // What early brings: the same quote, what is short, and who must act.
    let early = told(&fleet, "?update=early", bytes.clone()).await;
    assert_eq!(
        (&early["verdict"], &early["status"]),
        (&"not-accepted".into(), &"OutOfDate".into())
    );
    assert_eq!(flaws(&early), ["status"], "{early}");
    let short = &early["shortfall"]["platform"]["up_to_date"]["components"];
    let short = short.as_array().expect("components");
    assert!(!short.is_empty());
    for component in short {
        assert!(component["have"].as_u64() < component["need"].as_u64());
        assert!(component["who"].is_string() && component["action"].is_string());
    }
    let accepted = told(
        &fleet,
        "?update=early&accept=UpToDate,OutOfDate",
        bytes.clone(),
    )
    .await;
    assert_eq!(accepted["verdict"], "accepted");

    let next = early["number"].as_u64().expect("a number");
    assert!(standard < next);
    let query = format!("?against={standard},{next}");
    let compared = told(&fleet, &query, bytes).await;
    let columns = compared["columns"].as_array().expect("columns");
    let statuses: Vec<&Value> = columns.iter().map(|one| &one["status"]).collect();
    assert_eq!(statuses, ["UpToDate", "OutOfDate"]);
    fleet.stop().await;
}

#[tokio::test]
async fn every_form_of_a_quote_and_every_kind_of_certification_data() {
    let fleet = Fleet::start().await;
    let domain = platform(&fleet, BOTH);
    let enclave = platform(&fleet, SGX_ONLY);
    let forms = [
        (&enclave, QuoteVersion::V3, QuoteBody::Sgx),
        (&domain, QuoteVersion::V4, QuoteBody::Td10),
        (&domain, QuoteVersion::V5, QuoteBody::Td15Extended),
    ];
    for (platform, version, body) in forms {
        for kind in [
            CertificationKind::PckChain,
            CertificationKind::PckLeaf,
            // Looked up in the register, which asks the vendor by the encrypted PPID.
            CertificationKind::PpidRsa3072,
        ] {
            let mut spec = QuoteSpec::new(version, body);
            spec.certification.kind = kind;
            let bytes = quote(&fleet, platform, &spec);
            for body in [
                bytes.clone(),
                BASE64URL_NOPAD.encode(&bytes).into_bytes(),
                HEXLOWER.encode(&bytes).into_bytes(),
            ] {
                let told = told(
                    &fleet,
                    "?accept=UpToDate,ConfigurationAndSWHardeningNeeded",
                    body,
                )
                .await;
                assert_eq!(flaws(&told), Vec::<&str>::new(), "{kind:?}: {told}");
            }
        }
    }
    fleet.stop().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_quote_is_named_and_forgiven_by_name_alone() {
    let fleet = Fleet::start().await;
    let platform = platform(&fleet, BOTH);
    let usual = || QuoteSpec::new(QuoteVersion::V4, QuoteBody::Td10);
    let mut debug = usual();
    debug.debug = true;
    let bytes = quote(&fleet, &platform, &debug);
    let strict = told(&fleet, "", bytes.clone()).await;
    assert_eq!(flaws(&strict), ["debug"]);
    // The status stands: it is of the platform, not of the domain.
    assert_eq!(
        (&strict["verdict"], &strict["status"]),
        (&"not-accepted".into(), &"UpToDate".into())
    );
    let forgiven = told(&fleet, "?allow=debug", bytes.clone()).await;
    assert_eq!(forgiven["verdict"], "accepted");
    let other_word = told(&fleet, "?allow=migratable", bytes).await;
    assert_eq!(other_word["verdict"], "not-accepted");

    for (fault, check) in [
        (QuoteFault::WrongQuoteSignature, "quote-signature"),
        (QuoteFault::WrongQeReportSignature, "qe-report-signature"),
        (QuoteFault::AttestationKeyUnbound, "qe-report-data"),
    ] {
        let mut spec = usual();
        spec.faults = vec![fault];
        let told = told(&fleet, "", quote(&fleet, &platform, &spec)).await;
        // Without them there is no status to accept.
        assert_eq!(flaws(&told), [check, "status"], "{told}");
        assert_eq!(
            (&told["verdict"], &told["status"]),
            (&"not-accepted".into(), &Value::Null)
        );
    }

    let mut spec = usual();
    spec.trailing = vec![0; 16];
    let told = told(&fleet, "", quote(&fleet, &platform, &spec)).await;
    assert_eq!(flaws(&told), ["trailing-bytes"]);
    fleet.stop().await;
}

#[tokio::test]
async fn a_revoked_platform_is_refused_when_the_list_says_so() {
    let mut fleet = Fleet::start().await;
    let platform = platform(&fleet, BOTH);
    let spec = QuoteSpec::new(QuoteVersion::V4, QuoteBody::Td10);
    let bytes = quote(&fleet, &platform, &spec);
    let before = told(&fleet, "", bytes.clone()).await;
    assert_eq!(before["verdict"], "accepted");
    fleet.advance(7200).await;
    let revoked = fleet.management().revoke_platform(&platform.name);
    revoked.expect("it is revoked");
    fleet.refresh().await;
    let after = told(&fleet, "", bytes.clone()).await;
    assert_eq!(flaws(&after), ["pck-revocation"], "{after}");
    // What was known then stays known: the edition of then does not name it.
    let then = before["at"].as_str().expect("an instant").to_owned();
    let query = format!("?at={}", then.replace(':', "%3A"));
    let past = told(&fleet, &query, bytes.clone()).await;
    assert_eq!(past["verdict"], "accepted", "{past}");
    // Also by a service that was started again.
    fleet.restart().await;
    let again = told(&fleet, "", bytes).await;
    assert_eq!(flaws(&again), ["pck-revocation"]);
    fleet.stop().await;
}

#[tokio::test]
async fn without_collateral_it_cannot_be_told() {
    let fleet = Fleet::start_with(|config| config.intel.upstream = Vec::new()).await;
    let platform = platform(&fleet, BOTH);
    let spec = QuoteSpec::new(QuoteVersion::V4, QuoteBody::Td10);
    let bytes = quote(&fleet, &platform, &spec);
    let told = told(&fleet, "?number=18", bytes).await;
    assert_eq!(
        (&told["verdict"], &told["status"]),
        (&"unknown".into(), &Value::Null)
    );
    let flaws = flaws(&told);
    for check in ["pck-revocation", "tcb-info", "qe-identity"] {
        assert!(flaws.contains(&check), "{flaws:?}");
    }
    assert!(!flaws.contains(&"quote-signature"));
    fleet.stop().await;
}

#[tokio::test]
async fn wrong_parameters_and_bodies() {
    let fleet = Fleet::start().await;
    for (query, name) in [
        ("?number=x", "number"),
        ("?number=17&update=early", "number"),
        ("?update=newest", "update"),
        ("?against=17,x", "against"),
        ("?against=1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17", "16"),
        ("?against=17&number=17", "against"),
        ("?at=yesterday", "at"),
        ("?accept=Fine", "accept"),
        ("?allow=everything", "allow"),
        ("?colour=red", "colour"),
    ] {
        let answer = post(&fleet, query, vec![3, 0, 2, 0]).await;
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.text().contains(name), "{query}: {}", answer.text());
        assert_eq!(answer.header("content-type"), "application/problem+json");
    }
    let long = post(&fleet, "", vec![3; 600 * 1024]).await;
    assert_eq!(long.status, 413);
    for nothing in [vec![3, 0, 2, 0], vec![3, 0, 2, 0, 0]] {
        let told = told(&fleet, "", nothing).await;
        assert_eq!(told["verdict"], "not-accepted", "{told}");
        assert_eq!(flaws(&told), ["format"]);
    }
    let version = told(&fleet, "", [&[3, 0, 3, 0][..], &[0; 100]].concat()).await;
    assert_eq!(version["verdict"], "unknown", "{version}");
    let get = fleet.get(EXPLAIN).await;
    assert_eq!(get.status, 405);
    fleet.stop().await;
}

#[tokio::test]
async fn nothing_that_names_one_machine_is_told() {
    let fleet = Fleet::start().await;
    let platform = platform(&fleet, BOTH);
    for kind in [CertificationKind::PckChain, CertificationKind::PpidRsa3072] {
        let mut spec = QuoteSpec::new(QuoteVersion::V4, QuoteBody::Td10);
        spec.certification.kind = kind;
        let bytes = quote(&fleet, &platform, &spec);
        let answer = post(&fleet, "", bytes).await;
        let text = answer.text().to_lowercase();
        let secrets: [&[u8]; 3] = [&platform.ppid, &platform.encrypted_ppid, &platform.qe_id];
        for secret in secrets {
            assert!(!text.contains(&HEXLOWER.encode(secret)));
        }
    }
    fleet.stop().await;
}

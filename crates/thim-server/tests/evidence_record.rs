//! What quotes say of platforms, recorded in the register: only where it is wanted, only from genuine quotes, only of
//! platforms that are known, and never older over newer.

mod harness;
mod platform_support;

use harness::{Answer, BOTH, Fleet, SGX_ONLY};
use platform_support::{admin, hex, register, registrar};
use serde_json::Value;
use thim_sim::{
    PlatformSpec, QeSpec, QuoteBody, QuoteFault, QuoteSpec, QuoteVersion, SimPlatform, TdSpec,
};

const EXPLAIN: &str = "/thim/v1/evidence/explain";
const MEMBERS: [&str; 7] = [
    "evidence_seen",
    "evidence_tee",
    "pck_tcb",
    "qe_isv_svn",
    "tee_tcb_svn",
    "tee_tcb_svn2",
    "tee_tcb_svn_seen",
];
const LOW: [u8; 16] = [1, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

async fn recording() -> Fleet {
    Fleet::start_with(|config| config.evidence.record = true).await
}

async fn registered(fleet: &Fleet, fmspc: &str) -> SimPlatform {
    let platform = made(fleet, fmspc);
    let answer = register(fleet, &platform).await;
    assert!(answer.status < 300, "{}", answer.text());
    platform
}

fn made(fleet: &Fleet, fmspc: &str) -> SimPlatform {
    let spec = PlatformSpec::new(fmspc, 1);
    fleet.management().add_platform(spec).expect("a platform")
}

fn td() -> QuoteSpec {
    QuoteSpec::new(QuoteVersion::V5, QuoteBody::Td15)
}

fn quote(fleet: &Fleet, platform: &SimPlatform, spec: &QuoteSpec) -> Vec<u8> {
    fleet
        .management()
        .quote(&platform.name, spec)
        .expect("a quote")
}

async fn ask(fleet: &Fleet, query: &str, quote: Vec<u8>, token: Option<&str>) -> Answer {
    let mut request = fleet
        .client
        .post(fleet.url(&format!("{EXPLAIN}{query}")))
        .body(quote);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    fleet.send(request).await
}

async fn explained(fleet: &Fleet, query: &str, quote: Vec<u8>, token: Option<&str>) -> Value {
    let answer = ask(fleet, query, quote, token).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_slice(&answer.body).expect("JSON")
}

/// A platform's record by the own API.
async fn record(fleet: &Fleet, platform: &SimPlatform) -> Value {
    let path = format!(
        "/thim/v1/platforms/{}:{}",
        hex(&platform.qe_id),
        hex(&platform.pce_id)
    );
    let get = fleet.client.get(fleet.url(&path));
    let answer = fleet.send(get.bearer_auth(admin(fleet))).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_slice(&answer.body).expect("JSON")
}

#[track_caller]
fn nothing_known(record: &Value) {
    for member in MEMBERS {
        assert!(record.get(member).is_none(), "{member}: {record}");
    }
}

#[track_caller]
fn refused_to_record(told: &Value, why: &str) {
    assert!(told.get("recorded").is_none(), "{told}");
    let notes = told["notes"].to_string();
    assert!(notes.contains(&format!("not recorded: {why}")), "{told}");
}

#[track_caller]
fn problem(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "application/problem+json");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_genuine_quote_of_a_known_platform_is_recorded_and_survives_a_restart() {
    let mut fleet = recording().await;
    let platform = registered(&fleet, BOTH).await;
    let told = explained(&fleet, "", quote(&fleet, &platform, &td()), None).await;
    assert_eq!(told["recorded"], true, "{told}");
    fleet.restart().await;

    let known = record(&fleet, &platform).await;
    let svn = hex(&platform.tee_tcb_svn.expect("a family with TDX"));
    assert_eq!(known["tee_tcb_svn"], *svn);
    assert_eq!(known["tee_tcb_svn2"], *svn);
    assert_eq!(known["tee_tcb_svn_seen"], harness::START);
    assert_eq!(known["evidence_seen"], harness::START);
    assert_eq!(known["evidence_tee"], "tdx");
    assert!(known["qe_isv_svn"].is_u64(), "{known}");
    // The PCK certificate's, which the supplemental data tell as well.
    let tcb = known["pck_tcb"].as_str().expect("a TCB");
    let cpu_svn = told["supplemental"]["tcb_cpusvn"].as_str().expect("one");
    assert!(tcb.starts_with(&cpu_svn.to_uppercase()), "{tcb} {cpu_svn}");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_default_nothing_is_recorded() {
    let fleet = Fleet::start().await;
    let platform = registered(&fleet, BOTH).await;
    for query in ["", "?record=false"] {
        let told = explained(&fleet, query, quote(&fleet, &platform, &td()), None).await;
        assert!(told["status"].is_string(), "{told}");
        assert!(told.get("recorded").is_none(), "{told}");
        assert!(!told["notes"].to_string().contains("recorded"), "{told}");
    }
    nothing_known(&record(&fleet, &platform).await);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_for_it_needs_the_token_that_registers() {
    let fleet = Fleet::start().await;
    let platform = registered(&fleet, BOTH).await;
    let registrar = registrar(&fleet).await;
    let reader = "w".repeat(64);
    let body = serde_json::json!({
        "name": "a reader", "role": "reader",
        "sha256": thim_verify::Digest::of(reader.as_bytes()).to_string()
    });
    let post = fleet.client.post(fleet.url("/thim/v1/tokens"));
    let created = fleet
        .send(post.bearer_auth(admin(&fleet)).json(&body))
        .await;
    assert!(created.status < 300, "{}", created.text());

    let bytes = quote(&fleet, &platform, &td());
    let query = "?record=true";
    problem(&ask(&fleet, query, bytes.clone(), None).await, 401);
    problem(
        &ask(&fleet, query, bytes.clone(), Some("no such token")).await,
        401,
    );
    problem(&ask(&fleet, query, bytes.clone(), Some(&reader)).await, 403);
    let at = format!("{query}&at={}", harness::START);
    problem(
        &ask(&fleet, &at, bytes.clone(), Some(&registrar)).await,
        400,
    );
    // A report's platform is in another register, which records nothing.
    let mut report = vec![0; 1184];
    report[0] = 2;
    let refused = ask(&fleet, query, report, Some(&registrar)).await;
    problem(&refused, 400);
    assert!(
        refused
            .text()
            .contains("record: the evidence is an SEV-SNP report")
    );
    nothing_known(&record(&fleet, &platform).await);

    let told = explained(&fleet, query, bytes, Some(&registrar)).await;
    assert_eq!(told["recorded"], true, "{told}");
    assert_eq!(record(&fleet, &platform).await["evidence_tee"], "tdx");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_judgement_of_another_time_records_nothing() {
    let fleet = recording().await;
    let platform = registered(&fleet, BOTH).await;
    let bytes = quote(&fleet, &platform, &td());
    // What is judged by is fetched, and nothing recorded.
    explained(&fleet, "?record=false", bytes.clone(), None).await;
    let at = format!("?at={}", harness::START);
    let told = explained(&fleet, &at, bytes, None).await;
    assert!(told["status"].is_string(), "{told}");
    assert!(told.get("recorded").is_none(), "{told}");
    nothing_known(&record(&fleet, &platform).await);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quote_that_is_not_genuine_leaves_no_trace() {
    let fleet = recording().await;
    let platform = registered(&fleet, BOTH).await;
    let other = registered(&fleet, BOTH).await;
    for fault in [
        QuoteFault::AttestationKeyUnbound,
        QuoteFault::OtherPlatform,
        QuoteFault::WrongQeReportSignature,
        QuoteFault::WrongQuoteSignature,
    ] {
        let told = explained(
            &fleet,
            "",
            quote(&fleet, &platform, &td().fault(fault)),
            None,
        )
        .await;
        refused_to_record(&told, "the quote");
    }
    // A bit of the TD report: whoever makes up a TEE TCB SVN.
    let mut bytes = quote(&fleet, &platform, &td());
    bytes[48 + 6] ^= 1;
    refused_to_record(&explained(&fleet, "", bytes, None).await, "the quote");
    nothing_known(&record(&fleet, &platform).await);
    nothing_known(&record(&fleet, &other).await);

    // A key that is revoked signs anything; the status stands all the same.
    fleet.advance(3600).await;
    fleet
        .management()
        .revoke_platform(&platform.name)
        .expect("revoked");
    fleet.refresh().await;
    let told = explained(&fleet, "", quote(&fleet, &platform, &td()), None).await;
    assert!(told["status"].is_string(), "{told}");
    refused_to_record(&told, "the quote");
    nothing_known(&record(&fleet, &platform).await);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_that_is_not_known_is_not_registered_by_it() {
    let fleet = recording().await;
    let known = registered(&fleet, BOTH).await;
    let stranger = made(&fleet, BOTH);
    let told = explained(&fleet, "", quote(&fleet, &stranger, &td()), None).await;
    refused_to_record(&told, "the register does not know the platform");
    let get = fleet.client.get(fleet.url("/thim/v1/platforms"));
    let listed = fleet.send(get.bearer_auth(admin(&fleet))).await;
    let listed: Value = serde_json::from_slice(&listed.body).expect("JSON");
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");

    // One that is forgotten is not known any more, and what was known goes with it.
    let bytes = quote(&fleet, &known, &td());
    assert_eq!(
        explained(&fleet, "", bytes.clone(), None).await["recorded"],
        true
    );
    let id = record(&fleet, &known).await["id"].clone();
    let path = format!("/thim/v1/platforms/{}", id.as_str().expect("an id"));
    let delete = fleet.client.delete(fleet.url(&path));
    let forgotten = fleet.send(delete.bearer_auth(admin(&fleet))).await;
    assert_eq!(forgotten.status, 200, "{}", forgotten.text());
    let told = explained(&fleet, "", bytes, None).await;
    refused_to_record(&told, "the register does not know the platform");
    let again = register(&fleet, &known).await;
    assert!(again.status < 300, "{}", again.text());
    nothing_known(&record(&fleet, &known).await);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_latest_stands_and_a_host_may_go_back() {
    let fleet = recording().await;
    let platform = registered(&fleet, BOTH).await;
    let usual = hex(&platform.tee_tcb_svn.expect("a family with TDX"));
    let back = QuoteSpec {
        td: TdSpec {
            tee_tcb_svn: Some(LOW),
            tee_tcb_svn2: Some(LOW),
            ..TdSpec::default()
        },
        qe: QeSpec {
            isv_svn: Some(2),
            ..QeSpec::default()
        },
        ..td()
    };
    let tell = async |spec: &QuoteSpec| {
        let told = explained(&fleet, "", quote(&fleet, &platform, spec), None).await;
        assert_eq!(told["recorded"], true, "{told}");
        record(&fleet, &platform).await
    };
    assert_eq!(tell(&td()).await["tee_tcb_svn"], *usual);

    // Lower, later: what is so now.
    fleet.clock.advance_millis(1000);
    let lower = tell(&back).await;
    assert_eq!(lower["tee_tcb_svn"], *hex(&LOW), "{lower}");
    assert_eq!(lower["qe_isv_svn"], 2);
    assert_eq!(lower["evidence_seen"], "2026-11-24T12:00:01Z");

    // An SGX quote says when the machine was seen, and leaves what the trust domain's said, with its time.
    fleet.clock.advance_millis(1000);
    let sgx = tell(&QuoteSpec::default()).await;
    assert_eq!(sgx["evidence_tee"], "sgx");
    assert_eq!(sgx["evidence_seen"], "2026-11-24T12:00:02Z");
    assert_eq!(sgx["tee_tcb_svn"], *hex(&LOW), "{sgx}");
    assert_eq!(sgx["tee_tcb_svn_seen"], "2026-11-24T12:00:01Z");

    // The layout without a second SVN says nothing of one: both are of one report.
    fleet.clock.advance_millis(1000);
    let first = tell(&QuoteSpec::new(QuoteVersion::V4, QuoteBody::Td10)).await;
    assert_eq!(first["tee_tcb_svn"], *usual);
    assert!(first.get("tee_tcb_svn2").is_none(), "{first}");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_sgx_quote_says_nothing_of_trust_domains() {
    let fleet = recording().await;
    let platform = registered(&fleet, SGX_ONLY).await;
    let bytes = quote(&fleet, &platform, &QuoteSpec::default());
    let told = explained(&fleet, "", bytes, None).await;
    assert_eq!(told["recorded"], true, "{told}");
    let known = record(&fleet, &platform).await;
    assert_eq!(known["evidence_tee"], "sgx");
    for member in ["tee_tcb_svn", "tee_tcb_svn2", "tee_tcb_svn_seen"] {
        assert!(known.get(member).is_none(), "{member}: {known}");
    }
    fleet.stop().await;
}

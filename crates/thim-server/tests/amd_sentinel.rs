//! AMD's lists under the sentinel: what is newer is taken, what takes back is held, what contradicts is refused, and a
//! revoked authority stops every certificate below it.

mod harness;

use harness::Fleet;
use thim_sim::{AmdCa, AmdProduct, KdsFault};
use thim_verify::amd::parse_crl;

const CRL: &str = "/vcek/v1/Milan/crl";
const CHAIN: &str = "/vcek/v1/Milan/cert_chain";

/// Number and entries of the list that is served.
async fn list(fleet: &Fleet) -> (u64, usize) {
    let answer = fleet.get(CRL).await;
    assert_eq!(answer.status, 200, "{}", answer.header("thim-cause"));
    let crl = parse_crl(&answer.body).expect("a CRL");
    (crl.number(), crl.revoked().len())
}

async fn has_event(fleet: &Fleet, name: &str) -> bool {
    fleet.events().await.iter().any(|event| event == name)
}

/// A list of a lower number has come, and is held. What is served.
async fn fallen(fleet: &Fleet) -> u64 {
    let (number, _) = list(fleet).await;
    fleet.advance(60).await;
    fleet.kds_fault(KdsFault::CrlNumberFalls, "/crl");
    let steps = fleet.refresh().await;
    assert_eq!(list(fleet).await.0, number, "{steps:?}");
    for name in ["crl.number", "hold.started"] {
        assert!(has_event(fleet, name).await, "{name}: {steps:?}");
    }
    number
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_number_replaces_an_older() {
    let mut fleet = Fleet::with_kds(|_| {}).await;
    let (number, _) = list(&fleet).await;
    fleet.advance(60).await;
    fleet
        .kds()
        .resign_crl(AmdProduct::Milan, AmdCa::Ask)
        .expect("signed");
    fleet.refresh().await;
    assert_eq!(list(&fleet).await.0, number + 1);
    fleet.restart().await;
    assert_eq!(list(&fleet).await.0, number + 1);
    assert!(!has_event(&fleet, "crl.number").await);
    assert!(!has_event(&fleet, "hold.started").await);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_falls_is_held_for_72_hours_also_across_restarts() {
    let mut fleet = Fleet::with_kds(|_| {}).await;
    let number = fallen(&fleet).await;
    fleet.kds_fault(KdsFault::Down, "");
    fleet.restart().await;
    fleet.advance(72 * 3600 - 1).await;
    assert_eq!(list(&fleet).await.0, number);
    fleet.restart().await;
    fleet.advance(1).await;
    assert_eq!(list(&fleet).await.0, number - 1);
    assert!(has_event(&fleet, "hold.released").await);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_ends_a_hold_of_a_number() {
    let fleet = Fleet::with_kds(|_| {}).await;
    let number = fallen(&fleet).await;
    let held = fleet.get("/thim/v1/collateral?state=held").await;
    let held: serde_json::Value = serde_json::from_slice(&held.body).expect("JSON");
    let id = held[0]["id"].as_str().expect("an id");
    let token = std::fs::read_to_string(fleet.data().join("admin.token")).expect("a token");
    let release = fleet
        .client
        .post(fleet.url(&format!("/thim/v1/editions/{id}/release")));
    let done = fleet.send(release.bearer_auth(token.trim())).await;
    assert_eq!(done.status, 200, "{}", done.text());
    assert_eq!(list(&fleet).await.0, number - 1);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_later_lists_that_agree_end_a_hold_of_a_number() {
    let fleet = Fleet::with_kds(|config| {
        config.sentinel.hold = "60d".parse().expect("a span");
        config.freshness.crl.poll = Some("30d".parse().expect("a span"));
    })
    .await;
    let number = fallen(&fleet).await;
    for agreeing in 1..=3 {
        assert_eq!(
            list(&fleet).await.0,
            number,
            "after {} that agree",
            agreeing - 1
        );
        fleet.advance(24 * 3600).await;
        fleet.refresh().await;
    }
    assert!(list(&fleet).await.0 < number);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_contradicts_or_is_stale_is_refused() {
    let fleet = Fleet::with_kds(|_| {}).await;
    let before = fleet.get(CRL).await.body;
    for (fault, event) in [
        (KdsFault::Conflict, "edition.conflict"),
        (KdsFault::StaleCrl { days: 10 }, "edition.older"),
        (KdsFault::Tampered, "edition.unverified"),
        (KdsFault::WrongKey, "edition.unverified"),
        (KdsFault::WrongProduct, "edition.unverified"),
        (KdsFault::Expired, "edition."),
        (KdsFault::Future, "edition.future"),
    ] {
        let events = fleet.events().await.len();
        fleet.kds_fault(fault.clone(), "/vcek/v1/Milan/crl");
        let steps = fleet.refresh().await;
        let events = fleet.events().await.split_off(events);
        assert!(
            events.iter().any(|name| name.starts_with(event)),
            "{fault:?}: {events:?} {steps:?}"
        );
        assert_eq!(fleet.get(CRL).await.body, before, "{fault:?}");
        fleet.kds().clear_faults();
        fleet.advance(60).await;
    }
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_authority_stops_every_certificate_below_it() {
    let mut fleet = Fleet::with_kds(|_| {}).await;
    let chip = fleet.kds().chip_of(AmdProduct::Milan);
    let other = fleet.kds().chip_of(AmdProduct::Turin);
    let vcek = fleet.get(&chip.target()).await;
    assert_eq!(vcek.status, 200, "{}", vcek.text());
    assert_eq!(fleet.get(&other.target()).await.status, 200);
    let (_, entries) = list(&fleet).await;
    let chain = fleet.get(CHAIN).await;
    assert_eq!(chain.status, 200);
    fleet.advance(60).await;
    revoke(&fleet).await;
    fleet.refresh().await;
    assert_eq!(list(&fleet).await.1, entries + 1, "more is applied at once");
    for name in ["crl.revoked", "signer.revoked"] {
        assert!(has_event(&fleet, name).await, "{name}");
    }
    for round in ["at once", "after a restart"] {
        for target in [&chip.target(), CHAIN] {
            let stopped = fleet.get(target).await;
            assert_eq!(stopped.status, 503, "{round}, {target}");
            let told = stopped.header("thim-cause");
            assert!(told.starts_with("untrusted"), "{round}, {target}: {told}");
        }
        assert_eq!(
            fleet.get(&other.target()).await.status,
            200,
            "another product"
        );
        fleet.restart().await;
    }

    // The authority gets another certificate, and what its key signed is good again.
    let management = fleet.kds();
    let reissue = move || management.reissue_ca(AmdProduct::Milan, AmdCa::Ask);
    tokio::task::spawn_blocking(reissue)
        .await
        .expect("signed")
        .expect("signed");
    fleet.advance(60).await;
    fleet.refresh().await;
    let fresh = fleet.get(CHAIN).await;
    assert_eq!(fresh.status, 200, "{}", fresh.header("thim-cause"));
    assert_ne!(fresh.body, chain.body);
    let again = fleet.get(&chip.target()).await;
    assert_eq!(again.status, 200, "{}", again.header("thim-cause"));
    assert_eq!(again.body, vcek.body);
    fleet.restart().await;
    assert_eq!(fleet.get(CHAIN).await.body, fresh.body);
    assert_eq!(fleet.get(&chip.target()).await.status, 200);

    // Who takes a revocation back has to wait.
    fleet.advance(60).await;
    fleet
        .kds()
        .restore(AmdProduct::Milan, AmdCa::Ask)
        .expect("restored");
    fleet.refresh().await;
    assert_eq!(
        list(&fleet).await.1,
        entries + 1,
        "an un-revoking list is held"
    );
    assert!(has_event(&fleet, "crl.unrevoked").await);
    assert_eq!(fleet.get(CHAIN).await.body, fresh.body);
    fleet.stop().await;
}

/// The certificate in force of Milan's ASK enters the list.
async fn revoke(fleet: &Fleet) {
    let management = fleet.kds();
    let revoke = move || management.revoke(AmdProduct::Milan, AmdCa::Ask);
    tokio::task::spawn_blocking(revoke)
        .await
        .expect("signed")
        .expect("revoked");
}

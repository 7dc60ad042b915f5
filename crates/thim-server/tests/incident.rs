//! A CRL that revokes more, one that un-revokes, a revoked signer: what is applied, held and taken back.

mod harness;

use harness::{BOTH, Fleet, SGX_ONLY, tcb};
use thim_sim::{Ca, CaCertificate, Revocation};
use thim_verify::{Content, parse};

const PLATFORM_CRL: &str = "/sgx/certification/v4/pckcrl?ca=platform&encoding=der";

async fn revoked(fleet: &Fleet) -> usize {
    let answer = fleet.get(PLATFORM_CRL).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    match parse(&answer.body).expect("a CRL").unverified().content() {
        Content::Crl(crl) => crl.revoked_len(),
        other => panic!("{other:?}"),
    }
}

/// 57 served, then 129, then the vendor takes 72 back.
async fn shrunk(fleet: &Fleet) {
    assert_eq!(revoked(fleet).await, 57);
    fleet.advance(60).await;
    fleet
        .management()
        .revoke(&Revocation::random(Ca::Platform, 72))
        .expect("revoked");
    fleet.refresh().await;
    assert_eq!(
        revoked(fleet).await,
        129,
        "more revocations are applied at once"
    );
    assert!(fleet.events().await.contains(&"crl.revoked".to_owned()));
    fleet.advance(3 * 3600).await;
    fleet.management().shrink(Ca::Platform, 72).expect("shrunk");
    fleet.refresh().await;
    assert_eq!(revoked(fleet).await, 129, "an un-revoking edition is held");
    for name in ["crl.unrevoked", "hold.started"] {
        assert!(fleet.events().await.contains(&name.to_owned()), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_lapses_after_72_hours_without_any_new_edition_also_across_restarts() {
    let mut fleet = Fleet::start().await;
    shrunk(&fleet).await;
    fleet.restart().await;
    fleet.advance(72 * 3600 - 1).await;
    assert_eq!(revoked(&fleet).await, 129);
    fleet.restart().await;
    fleet.advance(1).await;
    assert_eq!(revoked(&fleet).await, 57);
    assert!(fleet.events().await.contains(&"hold.released".to_owned()));
    fleet.restart().await;
    assert_eq!(revoked(&fleet).await, 57);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_later_editions_that_agree_end_a_hold() {
    let mut fleet = Fleet::start_with(|config| {
        config.sentinel.hold = "60d".parse().expect("a span");
        // So that no poll but this test's own brings an edition.
        config.freshness.crl.poll = Some("7d".parse().expect("a span"));
    })
    .await;
    fleet.management().set_resign_after(u32::MAX);
    shrunk(&fleet).await;
    for agreeing in 1..=3 {
        assert_eq!(
            revoked(&fleet).await,
            129,
            "after {} agreeing",
            agreeing - 1
        );
        fleet.restart().await;
        fleet.advance(24 * 3600).await;
        fleet.management().resign().expect("signed anew");
        fleet.refresh().await;
    }
    assert_eq!(revoked(&fleet).await, 57);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_ends_a_hold_at_once() {
    let mut fleet = Fleet::start().await;
    shrunk(&fleet).await;
    fleet.restart().await;
    let held = fleet.get("/thim/v1/collateral?state=held").await;
    let id = serde_json::from_slice::<serde_json::Value>(&held.body).expect("JSON")[0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let release = fleet.url(&format!("/thim/v1/editions/{id}/release"));
    assert_eq!(fleet.send(fleet.client.post(&release)).await.status, 401);
    assert_eq!(
        fleet
            .send(fleet.client.post(&release).bearer_auth("x".repeat(64)))
            .await
            .status,
        401
    );
    assert_eq!(revoked(&fleet).await, 129);
    let token = std::fs::read_to_string(fleet.data().join("admin.token")).expect("a token");
    let done = fleet
        .send(fleet.client.post(&release).bearer_auth(token.trim()))
        .await;
    assert_eq!(done.status, 200, "{}", done.text());
    assert_eq!(revoked(&fleet).await, 57);
    let again = fleet
        .send(fleet.client.post(&release).bearer_auth(token.trim()))
        .await;
    assert_eq!(again.status, 409);
    let history = fleet
        .get("/thim/v1/collateral/history?key=intel/pck-crl/platform")
        .await;
    for word in [
        "\"held\"",
        "\"superseded\"",
        "\"current\"",
        "released by the admin token",
    ] {
        assert!(
            history.text().contains(word),
            "{word} in {}",
            history.text()
        );
    }
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_of_zero_never_holds() {
    let fleet =
        Fleet::start_with(|config| config.sentinel.hold = "0".parse().expect("a span")).await;
    assert_eq!(revoked(&fleet).await, 57);
    fleet.advance(60).await;
    fleet.management().shrink(Ca::Platform, 5).expect("shrunk");
    fleet.refresh().await;
    assert_eq!(revoked(&fleet).await, 52);
    assert!(fleet.events().await.contains(&"crl.unrevoked".to_owned()));
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_signer_takes_everything_it_signed_with_it() {
    let mut fleet = Fleet::start().await;
    assert_eq!(fleet.get(&tcb("sgx", SGX_ONLY)).await.status, 200);
    assert_eq!(revoked(&fleet).await, 57);
    fleet.advance(60).await;
    fleet
        .management()
        .revoke(&Revocation::of_certificate(CaCertificate::TcbSigning))
        .expect("revoked");
    fleet.refresh().await;
    assert!(fleet.events().await.contains(&"signer.revoked".to_owned()));
    for round in 0..2 {
        fleet.clock.advance_millis(10_000);
        let gone = fleet.get(&tcb("sgx", SGX_ONLY)).await;
        assert_eq!(gone.status, 503, "round {round}: {gone:?}");
        let cold = fleet.get(&tcb("tdx", BOTH)).await;
        assert!(
            cold.header("thim-cause").starts_with("untrusted"),
            "round {round}: {cold:?}"
        );
        assert_eq!(revoked(&fleet).await, 57, "another signer's work stays");
        fleet.restart().await;
    }
    // A new key, and all is well.
    fleet.advance(120).await;
    fleet.management().rotate_signer(false).expect("rotated");
    fleet.advance(120).await;
    assert_eq!(fleet.get(&tcb("sgx", SGX_ONLY)).await.status, 200);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_signing_key_is_an_event_and_a_reissued_certificate_is_not() {
    let fleet = Fleet::start().await;
    assert_eq!(fleet.get(&tcb("sgx", SGX_ONLY)).await.status, 200);
    for (reissue, event) in [(true, false), (false, true)] {
        fleet.advance(60).await;
        fleet.management().rotate_signer(reissue).expect("rotated");
        fleet.advance(60).await;
        fleet.refresh().await;
        assert_eq!(fleet.get(&tcb("sgx", SGX_ONLY)).await.status, 200);
        assert_eq!(
            fleet.events().await.contains(&"signer.changed".to_owned()),
            event,
            "reissue {reissue}"
        );
    }
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_root_crl_collateral_is_flagged_and_judged_when_one_comes() {
    use thim_sim::{Fault, FaultRule};
    let fleet = Fleet::start_with(|config| {
        config.intel.root_crl_url = "http://127.0.0.1:9/none".to_owned()
    })
    .await;
    fleet
        .management()
        .set_fault(FaultRule::new(Fault::Down).matching("IntelSGXRootCA"))
        .expect("a fault");
    assert_eq!(fleet.get(&tcb("sgx", SGX_ONLY)).await.status, 200);
    assert!(
        fleet
            .events()
            .await
            .contains(&"revocation.unchecked".to_owned())
    );
    let shown = fleet
        .get(&format!(
            "/thim/v1/collateral/show?key=intel/tcb-info/sgx/v3/{SGX_ONLY}/18"
        ))
        .await;
    assert!(
        shown.text().contains("\"revocation\":\"unchecked\""),
        "{}",
        shown.text()
    );
    fleet.stop().await;

    let mut fleet = Fleet::start_with(|config| {
        config.intel.root_crl_url = "http://127.0.0.1:9/none".to_owned()
    })
    .await;
    assert_eq!(fleet.get(&tcb("sgx", SGX_ONLY)).await.status, 200);
    fleet.config.intel.root_crl_url = fleet.sim.root_crl_url();
    fleet.restart().await;
    fleet.refresh().await;
    let shown = fleet
        .get(&format!(
            "/thim/v1/collateral/show?key=intel/tcb-info/sgx/v3/{SGX_ONLY}/18"
        ))
        .await;
    assert!(
        shown.text().contains("\"revocation\":\"checked\""),
        "{}",
        shown.text()
    );
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_collateral_is_served_for_its_grace_and_says_so() {
    let mut fleet = Fleet::start().await;
    assert_eq!(fleet.get(&tcb("sgx", SGX_ONLY)).await.status, 200);
    fleet.fault(thim_sim::Fault::Down);
    fleet.advance(30 * 86_400 - 1).await;
    let last = fleet.get(&tcb("sgx", SGX_ONLY)).await;
    assert_eq!(
        (last.status, last.header("cache-control")),
        (200, "max-age=1")
    );
    assert!(
        last.header("thim-freshness").contains("state=ageing"),
        "{}",
        last.header("thim-freshness")
    );
    fleet.advance(1).await;
    let expired = fleet.get(&tcb("sgx", SGX_ONLY)).await;
    assert_eq!(
        (expired.status, expired.header("cache-control")),
        (200, "max-age=1")
    );
    assert!(expired.header("thim-freshness").contains("state=expired"));
    assert_eq!(expired.header("warning"), "110 - \"Response is Stale\"");
    fleet.restart().await;
    fleet.advance(7 * 86_400).await;
    let gone = fleet.get(&tcb("sgx", SGX_ONLY)).await;
    assert_eq!(gone.status, 503, "{gone:?}");
    assert!(
        gone.header("thim-cause").starts_with("expired; detail="),
        "{}",
        gone.header("thim-cause")
    );
    assert!(
        gone.header("thim-cause")
            .contains("expired since 2026-12-24T"),
        "{}",
        gone.header("thim-cause")
    );
    fleet.stop().await;
}

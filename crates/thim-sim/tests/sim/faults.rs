//! Each fault does what it says, to the requests it is for, and nothing else.

use crate::client::*;
use crate::proof::*;
use std::io::ErrorKind;
use std::time::{Duration, Instant};
use thim_sim::{Fault, FaultRule};
use x509_cert::Certificate;
use x509_cert::der::DecodePem;

async fn with(fault: Fault) -> Simulated {
    let s = Simulated::start().await;
    // What a client holds before things go wrong.
    for target in [SGX_TCB, QE, PLATFORM_CRL, ROOT_CRL] {
        assert_eq!(s.get(target).await.status, 200);
    }
    s.advance(HOUR);
    s.management().set_fault(FaultRule::new(fault)).unwrap();
    s
}

#[tokio::test]
async fn down_closes_without_an_answer() {
    let s = with(Fault::Down).await;
    let request = format!("GET {QE} HTTP/1.1\r\nHost: sim\r\n\r\n");
    let received = raw(&s.sim.pcs_url(), request.as_bytes()).await.unwrap();
    assert!(received.is_empty());
}

#[tokio::test]
async fn reset_breaks_the_connection_inside_the_head() {
    let s = with(Fault::Reset).await;
    let error = s.try_get(QE).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn truncated_promises_more_than_it_sends() {
    let s = with(Fault::Truncated).await;
    for target in [QE, SGX_TCB, PLATFORM_CRL] {
        let error = s.try_get(target).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{target}");
    }
}

#[tokio::test]
async fn slow_is_good_but_late() {
    let s = with(Fault::Slow { ms: 60 }).await;
    let begun = Instant::now();
    let answer = s.get(SGX_TCB).await;
    assert!(begun.elapsed() >= Duration::from_millis(60));
    tcb_info(&answer, s.sim.root_pem());
}

#[tokio::test]
async fn statuses_carry_what_the_vendor_sends_with_them() {
    let s = Simulated::start().await;
    for (fault, status, retry_after, request_id) in [
        (Fault::Status { code: 204 }, 204, None, true),
        (Fault::Status { code: 500 }, 500, None, true),
        (Fault::Status { code: 599 }, 599, None, true),
        (Fault::Throttle { retry_after: 7 }, 429, Some("7"), false),
        (Fault::Unavailable { retry_after: 9 }, 503, Some("9"), true),
    ] {
        s.management().set_fault(FaultRule::new(fault)).unwrap();
        let answer = s.get(QE).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("retry-after"), retry_after);
        assert_eq!(answer.header("request-id").is_some(), request_id);
        s.management().clear_faults();
    }
    assert_eq!(s.get(QE).await.status, 200);
}

#[tokio::test]
async fn garbage_html_and_redirects_are_no_collateral() {
    let s = with(Fault::Garbage).await;
    let answer = s.get(QE).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert!(serde_json::from_slice::<serde_json::Value>(&answer.body).is_err());

    let s = with(Fault::Html).await;
    let answer = s.get(QE).await;
    assert_eq!(answer.status, 200);
    assert!(
        answer
            .header("content-type")
            .unwrap()
            .starts_with("text/html")
    );
    assert!(answer.header("sgx-enclave-identity-issuer-chain").is_none());

    let location = "http://127.0.0.1:9/".to_owned();
    let s = with(Fault::Redirect { location }).await;
    let answer = s.get(QE).await;
    assert_eq!(answer.status, 302);
    assert_eq!(answer.header("location"), Some("http://127.0.0.1:9/"));
}

#[tokio::test]
async fn huge_streams_without_a_length() {
    let s = with(Fault::Huge { bytes: 3_000_000 }).await;
    let answer = s.get(QE).await;
    assert_eq!(answer.status, 200);
    assert!(answer.header("content-length").is_none());
    assert!(answer.body.len() > 3_000_000);
    assert!(answer.body.ends_with(b"0\r\n\r\n"));
}

#[tokio::test]
async fn a_client_may_leave_a_huge_answer() {
    let s = with(Fault::Huge { bytes: u64::MAX }).await;
    let address = s.sim.pcs_url();
    let mut stream = tokio::net::TcpStream::connect(address.strip_prefix("http://").unwrap())
        .await
        .unwrap();
    let request = format!("GET {QE} HTTP/1.1\r\nHost: sim\r\n\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes())
        .await
        .unwrap();
    let mut some = vec![0; 1_000_000];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut some)
        .await
        .unwrap();
    drop(stream);
    s.management().clear_faults();
    assert_eq!(s.get(QE).await.status, 200);
}

#[tokio::test]
async fn a_wrong_signature_is_one_bit_off() {
    let s = with(Fault::WrongSignature).await;
    let root = Certificate::from_pem(s.sim.root_pem()).unwrap();
    let answer = s.get(SGX_TCB).await;
    let header = "TCB-Info-Issuer-Chain";
    assert!(leads_to(&chain(&answer, header), s.sim.root_pem()));
    assert_eq!(verified(&answer, header, "tcbInfo", s.sim.root_pem()), None);
    assert_eq!(issue_date(&unverified(&answer, "tcbInfo")), s.now());
    let issuer = &chain(&s.get(PLATFORM_CRL).await, "SGX-PCK-CRL-Issuer-Chain")[0];
    assert!(verified_crl(&s.get(PLATFORM_CRL).await.body, issuer).is_none());
    assert!(verified_crl(&s.get(ROOT_CRL).await.body, &root).is_none());
}

#[tokio::test]
async fn a_wrong_key_is_sound_within_its_own_hierarchy_alone() {
    let s = with(Fault::WrongKey).await;
    let answer = s.get(SGX_TCB).await;
    let header = "TCB-Info-Issuer-Chain";
    assert_eq!(verified(&answer, header, "tcbInfo", s.sim.root_pem()), None);
    let other_root = pem_of(&chain(&answer, header)[1]);
    assert!(verified(&answer, header, "tcbInfo", &other_root).is_some());
    let root = Certificate::from_pem(s.sim.root_pem()).unwrap();
    assert!(verified_crl(&s.get(ROOT_CRL).await.body, &root).is_none());
    let crl = s.get(PLATFORM_CRL).await;
    let crl_chain = chain(&crl, "SGX-PCK-CRL-Issuer-Chain");
    assert!(leads_to(&crl_chain, &other_root));
    assert!(verified_crl(&crl.body, &crl_chain[0]).is_some());
}

#[tokio::test]
async fn wrong_fmspc_and_wrong_number_are_genuine_but_not_what_was_asked() {
    let s = with(Fault::WrongFmspc).await;
    let inner = tcb_info(&s.get(TDX_TCB).await, s.sim.root_pem());
    assert_eq!(inner["id"], "TDX");
    assert_eq!(inner["fmspc"], "50806f53494d");
    // No FMSPC, no fault.
    assert_eq!(s.get(QE).await.status, 200);

    let s = with(Fault::WrongNumber).await;
    for (asked, got) in [(18, 19), (19, 20), (20, 19)] {
        let target = format!("{SGX_TCB}&tcbEvaluationDataNumber={asked}");
        let inner = tcb_info(&s.get(&target).await, s.sim.root_pem());
        assert_eq!(inner["tcbEvaluationDataNumber"], got);
        assert_eq!(inner["fmspc"], TDX_FMSPC);
    }
    let identity = unverified(&s.get(QE).await, "enclaveIdentity");
    assert_eq!(identity["tcbEvaluationDataNumber"], 19);
}

#[tokio::test]
async fn stale_future_and_expired_have_good_signatures_and_bad_dates() {
    for (fault, issued, next) in [
        (Fault::Stale { days: 10 }, NOW - 10 * DAY, NOW + 20 * DAY),
        (Fault::Future, NOW + HOUR + DAY, NOW + HOUR + 31 * DAY),
        (Fault::Expired, NOW + HOUR - 40 * DAY, NOW + HOUR - 10 * DAY),
    ] {
        let s = with(fault).await;
        let inner = tcb_info(&s.get(SGX_TCB).await, s.sim.root_pem());
        assert_eq!((issue_date(&inner), next_update_of(&inner)), (issued, next));
        let answer = s.get(PLATFORM_CRL).await;
        let issuer = &chain(&answer, "SGX-PCK-CRL-Issuer-Chain")[0];
        let crl = verified_crl(&answer.body, issuer).expect("it verifies");
        assert_eq!((this_update(&crl), next_update(&crl)), (issued, next));
    }
}

#[tokio::test]
async fn a_conflict_has_the_current_dates_and_another_body() {
    let s = Simulated::start().await;
    let genuine = tcb_info(&s.get(SGX_TCB).await, s.sim.root_pem());
    let genuine_crl = s.get(PLATFORM_CRL).await.body;
    s.advance(HOUR);
    s.management()
        .set_fault(FaultRule::new(Fault::Conflict))
        .unwrap();
    let conflicting = tcb_info(&s.get(SGX_TCB).await, s.sim.root_pem());
    assert_eq!(issue_date(&conflicting), issue_date(&genuine));
    assert_ne!(conflicting, genuine);
    assert_eq!(
        tcb_info(&s.get(SGX_TCB).await, s.sim.root_pem()),
        conflicting
    );
    let answer = s.get(PLATFORM_CRL).await;
    let issuer = &chain(&answer, "SGX-PCK-CRL-Issuer-Chain")[0];
    let before = verified_crl(&genuine_crl, issuer).expect("it verifies");
    let after = verified_crl(&answer.body, issuer).expect("it verifies");
    assert_eq!(this_update(&after), this_update(&before));
    assert_eq!(
        revoked_serials(&after).len(),
        revoked_serials(&before).len() + 1
    );
    s.management().clear_faults();
    assert_eq!(tcb_info(&s.get(SGX_TCB).await, s.sim.root_pem()), genuine);
}

#[tokio::test]
async fn chains_go_missing_or_come_root_first() {
    let s = with(Fault::NoChain).await;
    assert!(
        s.get(SGX_TCB)
            .await
            .header("tcb-info-issuer-chain")
            .is_none()
    );

    let s = with(Fault::ChainReversed).await;
    let answer = s.get(SGX_TCB).await;
    let mut certificates = chain(&answer, "TCB-Info-Issuer-Chain");
    assert!(!leads_to(&certificates, s.sim.root_pem()));
    certificates.reverse();
    assert!(leads_to(&certificates, s.sim.root_pem()));
}

#[tokio::test]
async fn faults_match_targets_count_down_and_are_managed_over_http() {
    let s = Simulated::start().await;
    let slow = r#"{"fault": "status", "code": 502, "match": "v4/tcb?fmspc=B0C0", "times": 2}"#;
    let (status, listed) = s.manage("PUT", "/faults", slow).await;
    assert_eq!((status, listed.as_array().unwrap().len()), (200, 1));
    s.manage("PUT", "/faults", r#"{"fault": "down", "match": "pckcrl"}"#)
        .await;
    assert_eq!(s.get(QE).await.status, 200);
    assert_eq!(s.get(SGX_TCB).await.status, 502);
    let (_, listed) = s.manage("GET", "/faults", "").await;
    assert_eq!(listed[0]["times"], 1);
    assert_eq!(s.get(TDX_TCB).await.status, 502);
    assert_eq!(s.get(SGX_TCB).await.status, 200);
    assert!(s.try_get(PLATFORM_CRL).await.is_err());
    let (status, _) = s.manage("DELETE", "/faults", "").await;
    assert_eq!(status, 200);
    assert_eq!(s.get(PLATFORM_CRL).await.status, 200);
    assert!(s.management().faults().is_empty());
    for bad in [
        r#"{"fault": "slower"}"#,
        r#"{"fault": "slow", "seconds": 1}"#,
        r#"{"fault": "status", "code": 99}"#,
        r#"{"fault": "redirect", "location": "http://a\r\nb: c"}"#,
        "not json",
    ] {
        assert_eq!(s.manage("PUT", "/faults", bad).await.0, 400, "{bad}");
    }
}

fn pem_of(certificate: &Certificate) -> String {
    use x509_cert::der::EncodePem;
    certificate.to_pem(Default::default()).unwrap()
}

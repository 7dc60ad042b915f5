//! Each management action, in process or over HTTP, seen from the PCS port.

use crate::client::*;
use crate::proof::*;
use data_encoding::HEXLOWER;
use serde_json::json;
use thim_sim::{Ca, CaCertificate, Revocation, SimError};
use x509_cert::Certificate;
use x509_cert::crl::CertificateList;
use x509_cert::der::DecodePem;

async fn platform_crl(s: &Simulated) -> CertificateList {
    let answer = s.get(PLATFORM_CRL).await;
    let issuer = &chain(&answer, "SGX-PCK-CRL-Issuer-Chain")[0];
    verified_crl(&answer.body, issuer).expect("it verifies")
}

async fn root_crl(s: &Simulated) -> CertificateList {
    let root = Certificate::from_pem(s.sim.root_pem()).unwrap();
    verified_crl(&s.get(ROOT_CRL).await.body, &root).expect("it verifies")
}

async fn signer(s: &Simulated) -> Certificate {
    chain(&s.get(SGX_TCB).await, "TCB-Info-Issuer-Chain").remove(0)
}

#[tokio::test]
async fn status_tells_addresses_numbers_and_counts() {
    let s = Simulated::start().await;
    s.get(QE).await;
    let (status, told) = s.manage("GET", "/status", "").await;
    assert_eq!(status, 200);
    assert_eq!(told["pcs_url"], s.sim.pcs_url());
    assert_eq!(told["management_url"], s.sim.management_url());
    assert_eq!(told["root_crl_url"], s.sim.root_crl_url());
    assert_eq!(
        (&told["standard"], &told["early"]),
        (&json!(18), &json!(20))
    );
    assert_eq!(told["numbers"].as_array().unwrap().len(), 5);
    assert_eq!(told["platform_crl_entries"], 57);
    assert_eq!(told["resign_after_seconds"], 43_200);
    assert_eq!((&told["calls"], &told["editions"]), (&json!(1), &json!(1)));
    assert_eq!(told["platforms"][0]["fmspc"], "00906E53494D");
    let root = exchange(&s.sim.management_url(), "GET", "/root.pem", &[], "").await;
    assert_eq!(root.unwrap().text(), s.sim.root_pem());
    assert_eq!(s.management().root_pem(), s.sim.root_pem());
}

#[tokio::test]
async fn calls_are_counted_by_target_until_reset() {
    let s = Simulated::start().await;
    for target in [SGX_TCB, SGX_TCB, QE, "/nowhere?x"] {
        s.get(target).await;
    }
    let calls = s.management().calls();
    assert_eq!((calls.total, calls.calls.len()), (4, 3));
    assert_eq!(calls.containing("/tcb?fmspc="), 2);
    let (_, told) = s.manage("GET", "/calls", "").await;
    assert_eq!(told["total"], 4);
    let tcb = told["calls"]
        .as_array()
        .unwrap()
        .iter()
        .find(|call| call["path"] == "/sgx/certification/v4/tcb")
        .unwrap();
    let expected = json!({"method": "GET", "path": "/sgx/certification/v4/tcb",
                          "query": "fmspc=B0C06F53494D", "count": 2});
    assert_eq!(*tcb, expected);
    s.manage("DELETE", "/calls", "").await;
    assert_eq!(s.management().calls().total, 0);
}

#[tokio::test]
async fn a_recovery_adds_a_number_to_everything() {
    let s = Simulated::start().await;
    let list = "/sgx/certification/v4/tcbevaluationdatanumbers";
    let before = unverified(&s.get(list).await, "tcbEvaluationDataNumbers");
    assert_eq!(before["tcbEvalNumbers"][0]["tcbEvaluationDataNumber"], 20);
    let early = format!("{TDX_TCB}&update=early");
    let early_before = tcb_info(&s.get(&early).await, s.sim.root_pem());

    // The list of this second is known to clients: another of the same date would be a conflict.
    let refused = s.management().recovery(0);
    assert!(matches!(refused, Err(SimError::ClockNotAdvanced { .. })));
    assert_eq!(s.manage("POST", "/recovery", "{}").await.0, 409);
    s.advance(1);
    let (status, told) = s.manage("POST", "/recovery", "").await;
    assert_eq!((status, &told["early"]), (200, &json!(21)));

    let after = unverified(&s.get(list).await, "tcbEvaluationDataNumbers");
    assert_eq!(after["tcbEvalNumbers"][0]["tcbEvaluationDataNumber"], 21);
    assert_eq!(after["tcbEvalNumbers"].as_array().unwrap().len(), 6);
    assert_eq!(issue_date(&after), NOW + 1);
    let early_after = tcb_info(&s.get(&early).await, s.sim.root_pem());
    assert_eq!(early_after["tcbEvaluationDataNumber"], 21);
    assert_ne!(
        early_after["tcbLevels"][0]["tcb"],
        early_before["tcbLevels"][0]["tcb"]
    );
    let identity = s.get(&format!("{QE}?tcbEvaluationDataNumber=21")).await;
    assert_eq!(identity.status, 200);
    let standard = tcb_info(&s.get(TDX_TCB).await, s.sim.root_pem());
    assert_eq!(standard["tcbEvaluationDataNumber"], 18);

    // An event more than a year old is standard at once, and everything below is withdrawn.
    s.advance(1);
    let (_, told) = s
        .manage("POST", "/recovery", r#"{"event_days_ago": 400}"#)
        .await;
    assert_eq!(told["early"], 22);
    let standard = tcb_info(&s.get(TDX_TCB).await, s.sim.root_pem());
    assert_eq!(standard["tcbEvaluationDataNumber"], 22);
    let withdrawn = format!("{TDX_TCB}&tcbEvaluationDataNumber=20");
    assert_eq!(s.get(&withdrawn).await.status, 410);
}

#[tokio::test]
async fn standard_moves_when_the_clock_passes_twelve_months() {
    let s = Simulated::start().await;
    s.advance(120 * DAY);
    let standard = tcb_info(&s.get(SGX_TCB).await, s.sim.root_pem());
    assert_eq!(standard["tcbEvaluationDataNumber"], 19);
    let withdrawn = format!("{SGX_TCB}&tcbEvaluationDataNumber=18");
    assert_eq!(s.get(&withdrawn).await.status, 410);
}

#[tokio::test]
async fn resign_dates_everything_now() {
    let s = Simulated::start().await;
    let before = s.get(SGX_TCB).await;
    s.get(ROOT_CRL).await;
    assert_eq!(s.manage("POST", "/resign", "{}").await.0, 409);
    assert_eq!(s.get(SGX_TCB).await.body, before.body);
    s.advance(5);
    let (status, told) = s.manage("POST", "/resign", "").await;
    assert_eq!((status, &told["editions"]), (200, &json!(2)));
    let after = tcb_info(&s.get(SGX_TCB).await, s.sim.root_pem());
    assert_eq!(issue_date(&after), NOW + 5);
    assert_eq!(this_update(&root_crl(&s).await), NOW + 5);
}

#[tokio::test]
async fn the_incident_of_july_2026_can_be_played() {
    let s = Simulated::start().await;
    let first = revoked_serials(&platform_crl(&s).await);
    s.advance(HOUR);
    let (status, told) = s
        .manage("POST", "/revoke", r#"{"ca": "platform", "count": 72}"#)
        .await;
    assert_eq!((status, &told["entries"]), (200, &json!(129)));
    let crl = platform_crl(&s).await;
    assert_eq!(this_update(&crl), NOW + HOUR);
    let second = revoked_serials(&crl);
    assert_eq!(second.len(), 129);
    assert_eq!(second[..57], first);
    s.advance(HOUR);
    let (status, _) = s
        .manage("POST", "/shrink", r#"{"ca": "platform", "remove": 72}"#)
        .await;
    assert_eq!(status, 200);
    let crl = platform_crl(&s).await;
    assert_eq!(this_update(&crl), NOW + 2 * HOUR);
    assert_eq!(revoked_serials(&crl), first);
}

#[tokio::test]
async fn serials_and_ca_certificates_can_be_revoked_by_name() {
    let s = Simulated::start().await;
    let named = Revocation::of_serials(Ca::Processor, ["00AB12".to_owned()]);
    assert_eq!(s.management().revoke(&named).unwrap().changed, ["ab12"]);
    // Nobody has seen the edition, so it may be replaced within its second.
    let random = Revocation::random(Ca::Processor, 2);
    assert_eq!(s.management().revoke(&random).unwrap().entries, 3);

    let signer = signer(&s).await;
    let serial = HEXLOWER.encode(signer.tbs_certificate().serial_number().as_bytes());
    s.advance(1);
    let signing = Revocation::of_certificate(CaCertificate::TcbSigning);
    assert_eq!(
        s.management().revoke(&signing).unwrap().changed,
        [serial.as_str()]
    );
    assert_eq!(revoked_serials(&root_crl(&s).await), [serial]);
    let platform_ca = chain(&s.get(PLATFORM_CRL).await, "SGX-PCK-CRL-Issuer-Chain").remove(0);
    s.advance(1);
    let body = r#"{"ca": "root", "certificate": "platform-ca"}"#;
    assert_eq!(s.manage("POST", "/revoke", body).await.0, 200);
    let serial = HEXLOWER.encode(platform_ca.tbs_certificate().serial_number().as_bytes());
    assert!(revoked_serials(&root_crl(&s).await).contains(&serial));
}

#[tokio::test]
async fn a_reissued_signer_keeps_its_key_and_a_new_one_does_not() {
    let s = Simulated::start().await;
    let key = |certificate: &Certificate| {
        certificate
            .tbs_certificate()
            .subject_public_key_info()
            .clone()
    };
    let first = signer(&s).await;
    s.advance(60);
    let body = r#"{"reissue": true}"#;
    assert_eq!(s.manage("POST", "/rotate-signer", body).await.0, 200);
    let reissued = signer(&s).await;
    assert_ne!(reissued, first);
    assert_ne!(
        reissued.tbs_certificate().serial_number(),
        first.tbs_certificate().serial_number()
    );
    assert_eq!(key(&reissued), key(&first));
    let not_before = reissued.tbs_certificate().validity().not_before;
    assert_eq!(seconds(&not_before), NOW + 60);
    let inner = tcb_info(&s.get(SGX_TCB).await, s.sim.root_pem());
    assert_eq!(issue_date(&inner), NOW + 60);

    s.advance(60);
    s.management().rotate_signer(false).unwrap();
    assert_ne!(key(&signer(&s).await), key(&first));
    tcb_info(&s.get(SGX_TCB).await, s.sim.root_pem());
    tcb_info(&s.get(TDX_TCB).await, s.sim.root_pem());
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused() {
    let s = Simulated::start().await;
    for (method, path, body) in [
        ("POST", "/recovery", r#"{"days": 1}"#),
        ("POST", "/recovery", r#"{"event_days_ago": -1}"#),
        ("POST", "/revoke", "{}"),
        ("POST", "/revoke", r#"{"ca": "platform"}"#),
        (
            "POST",
            "/revoke",
            r#"{"ca": "platform", "serials": ["xyz"]}"#,
        ),
        (
            "POST",
            "/revoke",
            r#"{"ca": "platform", "serials": ["00"]}"#,
        ),
        (
            "POST",
            "/revoke",
            r#"{"ca": "platform", "count": 4000000000}"#,
        ),
        (
            "POST",
            "/revoke",
            r#"{"ca": "platform", "certificate": "platform-ca"}"#,
        ),
        ("POST", "/shrink", r#"{"ca": "platform", "remove": 58}"#),
        ("POST", "/shrink", r#"{"ca": "nobody", "remove": 1}"#),
        ("POST", "/rotate-signer", r#"{"reissue": 1}"#),
        ("PUT", "/resign-after", r#"{"seconds": -1}"#),
    ] {
        let (status, told) = s.manage(method, path, body).await;
        assert_eq!(status, 400, "{path} {body}");
        assert!(told["error"].is_string());
    }
    assert_eq!(revoked_serials(&platform_crl(&s).await).len(), 57);
}

//! Each management action of the simulated KDS, in process or over HTTP, seen from the KDS port.

use crate::client::*;
use crate::kds_proof::*;
use crate::proof::{revoked_serials, seconds, serial, this_update};
use serde_json::json;
use thim_sim::{AmdCa, AmdProduct, ChipSpec, SimError, SimTcb};
use x509_cert::crl::CertificateList;

async fn crl(s: &SimulatedKds, ca: AmdCa, product: AmdProduct) -> CertificateList {
    let body = s.body(&format!("/{}/v1/{product}/crl", ca.line())).await;
    verified_crl(&body, s.kds.root_pem(product)).unwrap()
}

#[tokio::test]
async fn status_tells_addresses_counts_and_numbers() {
    let s = SimulatedKds::start().await;
    s.get("/vcek/v1/Milan/crl").await;
    let (status, told) = s.manage("GET", "/status", "").await;
    assert_eq!(status, 200);
    assert_eq!(told["kds_url"], s.kds.url());
    assert_eq!(told["management_url"], s.kds.management_url());
    assert_eq!((&told["calls"], &told["chips"]), (&json!(1), &json!(3)));
    assert_eq!(told["rate_limits"]["per_certificate_seconds"], 10);
    assert_eq!(told["resign_after_seconds"], 1_814_400);
    let genoa = &told["products"][0];
    assert_eq!(genoa["product"], "Genoa");
    assert_eq!(
        genoa["vcek_crl"],
        json!({"number": 10, "revoked": ["020001"]})
    );
    assert_eq!(genoa["vlek_crl"], json!({"number": 1, "revoked": []}));
    let released = json!({"fmc": 1, "boot_loader": 1, "tee": 1, "snp": 5, "microcode": 85});
    assert_eq!(told["products"][2]["released"], released);
    let roots = s.manage_raw("GET", "/roots.pem", "").await;
    assert_eq!(roots.text(), s.kds.roots_pem());
    assert_eq!(certificates_of(&roots.body).len(), 3);
}

#[tokio::test]
async fn calls_and_violations_are_counted_until_reset() {
    let s = SimulatedKds::start().await;
    let target = s.chip_of(AmdProduct::Milan).target();
    for _ in 0..3 {
        s.get(&target).await;
    }
    s.get("/nowhere").await;
    assert_eq!(s.management().calls().total, 4);
    assert_eq!(s.management().calls().containing(&target), 3);
    let (_, told) = s.manage("GET", "/calls", "").await;
    assert_eq!(told["total"], 4);
    let (_, told) = s.manage("GET", "/violations", "").await;
    assert_eq!(told["total"], 2);
    let violation =
        json!({"at": NOW, "target": target, "rule": "certificate", "early_by_seconds": 10});
    assert_eq!(told["recent"], json!([violation, violation]));
    s.manage("DELETE", "/calls", "").await;
    s.manage("DELETE", "/violations", "").await;
    assert_eq!(
        (
            s.management().calls().total,
            s.management().kds_violations()
        ),
        (0, 0)
    );
    assert_eq!(s.status_of(&target).await, 429);
    let (status, _) = s
        .manage("PUT", "/rate-limits", r#"{"per_certificate_seconds": 0}"#)
        .await;
    assert_eq!(status, 200);
    assert_eq!(s.status_of(&target).await, 200);
    assert_eq!(
        s.manage("PUT", "/rate-limits", r#"{"per_chip": 0}"#)
            .await
            .0,
        400
    );
}

#[tokio::test]
async fn chips_are_added_and_listed() {
    let s = SimulatedKds::start_unlimited().await;
    let (status, made) = s
        .manage("POST", "/chips", r#"{"product": "Turin", "count": 2}"#)
        .await;
    assert_eq!(status, 200);
    assert_eq!(made[0]["name"], "chip-4");
    assert_eq!(made[1]["name"], "chip-5");
    let target = made[1]["target"].as_str().unwrap();
    assert_eq!(s.status_of(target).await, 200);
    assert_eq!(made[1]["tcbm"], "5100000004010101");
    assert_eq!(made[1]["hwid"].as_str().unwrap().len(), 16);
    let (_, page) = s.manage("GET", "/chips?skip=3&count=1", "").await;
    assert_eq!(page, json!([made[0]]));
    let (_, one) = s.manage("GET", "/chips/chip-5", "").await;
    assert_eq!(one, made[1]);
    assert!(!one.to_string().contains("secret"));

    let many = ChipSpec::new(AmdProduct::Genoa);
    assert_eq!(
        s.management().add_chips(&many, 10_000).unwrap().len(),
        10_000
    );
    assert_eq!(s.management().chips().len(), 10_005);
    for (path, body) in [
        ("/chips", r#"{"product": "Venice"}"#),
        ("/chips", r#"{"product": "Milan", "count": 1001}"#),
        ("/chips", r#"{"product": "Milan", "count": 0}"#),
        ("/chips", r#"{"product": "Milan", "hwid": "00"}"#),
        (
            "/chips",
            r#"{"product": "Milan", "tcb": {"fmc": 1, "boot_loader": 1, "tee": 0, "snp": 1, "microcode": 1}}"#,
        ),
    ] {
        assert_eq!(s.manage("POST", path, body).await.0, 400, "{body}");
    }
    for name in ["chip-0", "chip-01", "chip-10006", "chip-", "platform-1"] {
        let path = format!("/chips/{name}");
        assert_eq!(s.manage("GET", &path, "").await.0, 404, "{name}");
    }
    assert_eq!(s.manage("GET", "/chips?page=1", "").await.0, 400);
}

#[tokio::test]
async fn firmware_rises_and_reports_may_stay_behind() {
    let s = SimulatedKds::start_unlimited().await;
    let new = r#"{"boot_loader": 4, "tee": 0, "snp": 27, "microcode": 222}"#;
    let (status, chip) = s.manage("POST", "/chips/chip-1/firmware", new).await;
    assert_eq!(status, 200);
    let tcb: serde_json::Value = serde_json::from_str(new).unwrap();
    for member in ["reported", "current", "committed"] {
        assert_eq!(chip[member], tcb, "{member}");
    }
    let target = chip["target"].as_str().unwrap();
    assert!(target.contains("snpSPL=27"));
    assert_eq!(s.status_of(target).await, 200);
    // Not a second time, not down, not half down.
    assert_eq!(s.manage("POST", "/chips/chip-1/firmware", new).await.0, 400);
    let crossed = r#"{"boot_loader": 5, "tee": 0, "snp": 26, "microcode": 222}"#;
    assert_eq!(
        s.manage("POST", "/chips/chip-1/firmware", crossed).await.0,
        400
    );
    assert_eq!(s.manage("POST", "/chips/chip-9/firmware", new).await.0, 404);

    let old = r#"{"boot_loader": 3, "tee": 0, "snp": 8, "microcode": 115}"#;
    let (status, chip) = s.manage("POST", "/chips/chip-1/reported", old).await;
    assert_eq!((status, &chip["current"]), (200, &tcb));
    assert_eq!(chip["tcbm"], "7308000000000003");
    let above = r#"{"boot_loader": 4, "tee": 0, "snp": 28, "microcode": 222}"#;
    assert_eq!(
        s.manage("POST", "/chips/chip-1/reported", above).await.0,
        400
    );

    let release = json!({"product": "Milan", "tcb": {"boot_loader": 4, "tee": 0, "snp": 26, "microcode": 230}});
    let (_, told) = s.manage("POST", "/release", &release.to_string()).await;
    let highest = json!({"boot_loader": 4, "tee": 0, "snp": 27, "microcode": 230});
    assert_eq!(told["released"], highest);
}

#[tokio::test]
async fn a_report_and_a_vlek_can_be_had_over_http() {
    let s = SimulatedKds::start_unlimited().await;
    let chip = s.chip_of(AmdProduct::Turin);
    let wish = r#"{"version": 5, "report_data": "A5a5", "debug": true}"#;
    let report = s
        .manage_raw("POST", "/chips/chip-3/report", wish)
        .await
        .body;
    assert!(report_signed(&report, &s.vcek(&chip).await));
    assert_eq!(report[0], 5);
    assert_eq!(report[0x50..0x53], [0xa5, 0xa5, 0]);
    for wish in [
        r#"{"version": 4}"#,
        r#"{"measurement": "0"}"#,
        r#"{"nonce": "00"}"#,
        &format!(r#"{{"report_data": "{}"}}"#, "00".repeat(65)),
    ] {
        let refused = s.manage("POST", "/chips/chip-3/report", wish).await;
        assert_eq!(refused.0, 400, "{wish}");
    }
    let vlek = s
        .manage_raw("GET", "/vlek/Milan/CN=cc.example.com", "")
        .await;
    assert!(
        s.leads_to_root(&vlek.body, AmdCa::Asvk, AmdProduct::Milan)
            .await
    );
    assert_eq!(
        s.manage("GET", "/vlek/Rome/CN=cc.example.com", "").await.0,
        400
    );
}

#[tokio::test]
async fn a_revoked_authority_enters_the_crl_of_its_line() {
    let s = SimulatedKds::start().await;
    let (ca, product) = (AmdCa::Ask, AmdProduct::Milan);
    assert_eq!(crl_number(&crl(&s, ca, product).await), 11);
    let body = r#"{"product": "Milan", "ca": "ask"}"#;
    // The edition of this second is known to clients: another of the same date would be a conflict.
    let refused = s.management().revoke(product, ca);
    assert!(matches!(refused, Err(SimError::ClockNotAdvanced { .. })));
    assert_eq!(s.manage("POST", "/revoke", body).await.0, 409);
    s.advance(1);
    let (status, told) = s.manage("POST", "/revoke", body).await;
    assert_eq!((status, &told["revoked"]), (200, &json!("010001")));
    let revoked = crl(&s, ca, product).await;
    assert_eq!(crl_number(&revoked), 12);
    assert_eq!(revoked_serials(&revoked), ["010001"]);
    assert_eq!(this_update(&revoked), s.now());
    assert!(revoked_serials(&crl(&s, AmdCa::Asvk, product).await).is_empty());
    s.advance(1);
    assert_eq!(s.manage("POST", "/revoke", body).await.0, 400);

    // It gets a certificate anew, for the same key.
    let before = certificate(&s.chain(ca, product).await[0]);
    let (_, told) = s.manage("POST", "/reissue-ca", body).await;
    assert_eq!(told["serial"], "010002");
    let chain = s.chain(ca, product).await;
    let after = certificate(&chain[0]);
    assert_eq!(
        (serial(&after), public_key(&after)),
        ("010002".to_owned(), public_key(&before))
    );
    assert_eq!(
        seconds(&after.tbs_certificate().validity().not_before),
        s.now()
    );
    assert!(pss_signed(&chain[0], &chain[1]));
    let vcek = s.vcek(&s.chip_of(product)).await;
    assert!(s.leads_to_root(&vcek, ca, product).await);

    // And the list forgets: the suspicious case.
    let (_, told) = s.manage("POST", "/restore", body).await;
    assert_eq!(told["restored"], "010001");
    let restored = crl(&s, ca, product).await;
    assert_eq!(crl_number(&restored), 13);
    assert!(revoked_serials(&restored).is_empty());
    s.advance(1);
    assert_eq!(s.manage("POST", "/restore", body).await.0, 400);
    assert_eq!(crl_number(&crl(&s, ca, product).await), 13);
}

#[tokio::test]
async fn an_asvk_is_revoked_on_the_vlek_line() {
    let s = SimulatedKds::start().await;
    let serial = s
        .management()
        .revoke(AmdProduct::Turin, AmdCa::Asvk)
        .unwrap();
    assert_eq!(serial, 0x03_0101);
    let vlek = crl(&s, AmdCa::Asvk, AmdProduct::Turin).await;
    assert_eq!(
        (crl_number(&vlek), revoked_serials(&vlek)),
        (2, vec!["030101".to_owned()])
    );
    let vcek = crl(&s, AmdCa::Ask, AmdProduct::Turin).await;
    assert_eq!((crl_number(&vcek), revoked_serials(&vcek)), (7, vec![]));
}

#[tokio::test]
async fn crls_are_signed_again_on_command_or_by_age() {
    let s = SimulatedKds::start().await;
    let (ca, product) = (AmdCa::Ask, AmdProduct::Turin);
    crl(&s, ca, product).await;
    s.advance(5);
    let body = r#"{"product": "Turin", "ca": "ask"}"#;
    assert_eq!(s.manage("POST", "/resign-crl", body).await.0, 200);
    s.advance(5);
    let risen = crl(&s, ca, product).await;
    assert_eq!((crl_number(&risen), this_update(&risen)), (8, NOW + 10));
    let (status, _) = s.manage("PUT", "/resign-after", r#"{"seconds": 60}"#).await;
    assert_eq!(status, 200);
    s.advance(59);
    assert_eq!(crl_number(&crl(&s, ca, product).await), 8);
    s.advance(1);
    assert_eq!(crl_number(&crl(&s, ca, product).await), 9);
    for body in [
        r#"{"product": "Turin"}"#,
        r#"{"product": "Turin", "ca": "ark"}"#,
    ] {
        assert_eq!(s.manage("POST", "/resign-crl", body).await.0, 400);
    }
}

#[tokio::test]
async fn faults_and_forms_are_set_over_http() {
    let s = SimulatedKds::start_unlimited().await;
    let chip = s.chip_of(AmdProduct::Milan);
    let rule = r#"{"fault": "false-404", "match": "/vcek/v1/Milan/", "times": 1}"#;
    let (status, told) = s.manage("PUT", "/faults", rule).await;
    assert_eq!(status, 200);
    assert_eq!(told[0]["fault"], "false-404");
    assert_eq!(s.manage("GET", "/faults", "").await.1, told);
    assert_eq!(s.status_of("/vcek/v1/Genoa/crl").await, 200);
    assert_eq!(s.status_of(&chip.target()).await, 404);
    assert_eq!(s.status_of(&chip.target()).await, 200);
    s.manage("PUT", "/faults", r#"{"fault": "down"}"#).await;
    s.manage("DELETE", "/faults", "").await;
    assert_eq!(s.status_of(&chip.target()).await, 200);
    for rule in [
        r#"{"fault": "no-chain"}"#,
        r#"{"fault": "status", "code": 99}"#,
        r#"{"fault": "redirect", "location": "a b"}"#,
        r#"{"fault": "down", "ms": 1}"#,
    ] {
        assert_eq!(s.manage("PUT", "/faults", rule).await.0, 400, "{rule}");
    }
    let form = r#"{"wrapped_hwid": true}"#;
    assert_eq!(s.manage("PUT", "/leaf-form", form).await.0, 200);
    let vcek = certificate(&s.vcek(&chip).await);
    assert_eq!(amd_extension(&vcek, "4").unwrap().len(), 66);
    assert_eq!(
        s.manage("PUT", "/leaf-form", r#"{"wrapped": true}"#)
            .await
            .0,
        400
    );
}

#[tokio::test]
async fn tcbs_have_to_be_of_their_product() {
    let s = SimulatedKds::start().await;
    let plain = SimTcb::new(1, 1, 4, 81);
    let management = s.management();
    assert!(management.release(AmdProduct::Turin, plain).is_err());
    assert!(
        management
            .release(AmdProduct::Turin, plain.with_fmc(1))
            .is_ok()
    );
    assert!(
        management
            .release(AmdProduct::Milan, SimTcb::new(128, 0, 0, 0))
            .is_err()
    );
    assert!(management.set_reported("chip-3", plain).is_err());
    assert!(matches!(
        management.set_reported("chip-4", plain),
        Err(SimError::UnknownChip(_))
    ));
}

//! Virtual platforms: how they are made, what their tools send, and each act on them, in process or over HTTP.

use crate::client::*;
use crate::proof::*;
use data_encoding::{HEXLOWER, HEXUPPER};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use thim_sim::{Ca, PlatformSpec, SimError, SimPlatform};

async fn crl_serials(s: &Simulated, ca: &str) -> Vec<String> {
    let target = format!("/sgx/certification/v4/pckcrl?ca={ca}&encoding=der");
    let answer = s.get(&target).await;
    let issuer = &chain(&answer, "SGX-PCK-CRL-Issuer-Chain")[0];
    revoked_serials(&verified_crl(&answer.body, issuer).expect("it verifies"))
}

async fn serials(s: &Simulated, platform: &SimPlatform) -> Vec<String> {
    let answer = s.certificates(platform).await;
    let certificates = pck_certificates(&answer, s.sim.root_pem());
    certificates.iter().map(serial).collect()
}

fn covers(platform: &SimPlatform, tcbm: &str) -> bool {
    let level = HEXUPPER.decode(tcbm.as_bytes()).unwrap();
    let pcesvn = u16::from_le_bytes([level[16], level[17]]);
    let components = platform.cpu_svn.iter().zip(&level);
    platform.pce_svn >= pcesvn && components.into_iter().all(|(raw, level)| raw >= level)
}

#[tokio::test]
async fn the_fleet_of_the_start_has_single_and_double_packages() {
    let s = Simulated::start().await;
    let platforms = s.management().platforms();
    let families = s.sim.platforms();
    assert_eq!(platforms.len(), families.len());
    for (number, (platform, family)) in platforms.iter().zip(&families).enumerate() {
        assert_eq!(platform.name, format!("platform-{}", number + 1));
        assert_eq!(platform.packages, if family.tdx { 2 } else { 1 });
        let ca = if family.tdx {
            Ca::Platform
        } else {
            Ca::Processor
        };
        assert_eq!(platform.ca, ca);
        assert_eq!(platform.manifest.is_some(), family.tdx);
        assert_eq!(platform.encrypted_ppid.len(), 384);
        assert!(!covers(platform, &platform.levels[0]));
        assert!(covers(platform, &platform.levels[1]));
        assert!(platform.not_available.is_empty());
        if let Some(manifest) = &platform.manifest {
            assert!((10_240..=20_480).contains(&manifest.len()));
        }
    }
    let found = s.management().platform(&platforms[2].name);
    assert_eq!(found.as_ref(), Some(&platforms[2]));
    for name in [
        "platform-0",
        "platform-8",
        "platform-01",
        "platform-+1",
        "1",
        "",
    ] {
        assert_eq!(s.management().platform(name), None, "{name}");
    }
    let (_, status) = s.manage("GET", "/status", "").await;
    assert_eq!(status["virtual_platforms"], 7);
    assert_eq!(status["pckcerts_shape"], "flat");
}

#[tokio::test]
async fn platforms_are_made_as_specified() {
    let s = Simulated::start().await;
    let body = r#"{"fmspc": "20606c53494d", "packages": 2, "levels": 3, "not_available": 1,
                   "zero_encrypted_ppid": true, "zero_qe_id": true, "pre_production": true, "count": 2}"#;
    let (status, made) = s.manage("POST", "/platforms", body).await;
    assert_eq!(status, 200, "{made}");
    assert_eq!(made.as_array().unwrap().len(), 2);
    let told = &made[1];
    assert_eq!(told["name"], "platform-9");
    assert_eq!(told["fmspc"], SGX_FMSPC);
    assert_eq!(
        (&told["packages"], &told["ca"]),
        (&json!(2), &json!("platform"))
    );
    assert_eq!(told["encrypted_ppid"], "0".repeat(768));
    assert_eq!(told["qe_id"], "0".repeat(32));
    assert_eq!(told["pce_id"], "0000");
    assert_eq!(told["pre_production"], true);
    assert_eq!(told["cached_keys"], Value::Null);
    assert_eq!(told["levels"].as_array().unwrap().len(), 3);
    assert_eq!(told["not_available"], json!([told["levels"][0]]));
    let platform = s.management().platform("platform-9").unwrap();
    assert_eq!(told["ppid"], HEXUPPER.encode(&platform.ppid));
    let manifest = platform.manifest.as_deref().unwrap();
    assert_eq!(told["platform_manifest"], HEXUPPER.encode(manifest));
    assert_eq!(told["pce_svn"], "0D00");
    assert_ne!(made[0]["ppid"], told["ppid"]);
    let (_, one) = s.manage("GET", "/platforms/platform-9", "").await;
    assert_eq!(one, *told);

    let listed = async |query: &str| {
        let (_, listed) = s.manage("GET", &format!("/platforms{query}"), "").await;
        let listed = listed.as_array().unwrap().clone();
        let names = listed.into_iter().map(|mut p| p["name"].take());
        names.collect::<Vec<_>>()
    };
    assert_eq!(listed("").await.len(), 9);
    assert_eq!(listed("?skip=7").await, ["platform-8", "platform-9"]);
    assert_eq!(listed("?skip=2&count=1").await, ["platform-3"]);
}

#[tokio::test]
async fn platforms_that_cannot_be_are_refused() {
    let s = Simulated::start().await;
    for body in [
        "{}",
        r#"{"fmspc": "20606C53494D"}"#,
        r#"{"fmspc": "00606A000000", "packages": 1}"#,
        r#"{"fmspc": "20606C53494D", "packages": 0}"#,
        r#"{"fmspc": "20606C53494D", "packages": 3}"#,
        r#"{"fmspc": "00906E53494D", "packages": 2}"#,
        r#"{"fmspc": "00A06753494D", "packages": 2}"#,
        r#"{"fmspc": "20606C53494D", "packages": 1, "levels": 0}"#,
        r#"{"fmspc": "20606C53494D", "packages": 1, "levels": 7}"#,
        r#"{"fmspc": "20606C53494D", "packages": 1, "levels": 3, "not_available": 4}"#,
        r#"{"fmspc": "20606C53494D", "packages": 1, "count": 0}"#,
        r#"{"fmspc": "20606C53494D", "packages": 1, "count": 1001}"#,
        r#"{"fmspc": "20606C53494D", "packages": 1, "sockets": 1}"#,
    ] {
        let (status, told) = s.manage("POST", "/platforms", body).await;
        assert_eq!(status, 400, "{body}");
        assert!(told["error"].is_string());
    }
    for (method, path, expected) in [
        ("GET", "/platforms?first=1", 400),
        ("GET", "/platforms/platform-99", 404),
        ("GET", "/platforms/platform-99/retrieval-csv", 404),
        ("GET", "/platforms/platform-1/manifest", 400),
        ("POST", "/platforms/platform-99/upgrade", 404),
        ("POST", "/platforms/platform-99/revoke", 404),
        ("POST", "/platforms/platform-1/consume-manifest", 400),
        ("POST", "/platforms/platform-1/explode", 400),
    ] {
        let (status, told) = s.manage(method, path, "").await;
        assert_eq!(status, expected, "{path}");
        assert!(told["error"].is_string());
    }
    let spec = PlatformSpec::new(SGX_FMSPC, 1);
    assert!(s.management().add_platforms(spec, 200_000).is_err());
    assert_eq!(s.management().platforms().len(), 7);
}

#[tokio::test]
async fn the_retrieval_tools_request_and_file_are_as_the_tool_writes_them() {
    let s = Simulated::start().await;
    for fmspc in [SGX_FMSPC, TDX_FMSPC] {
        let platform = s.platform_of(fmspc);
        let request = platform.retrieval_request();
        let members: Value = serde_json::from_str(&request).unwrap();
        let mut from = 0;
        for member in [
            "enc_ppid",
            "pce_id",
            "cpu_svn",
            "pce_svn",
            "qe_id",
            "platform_manifest",
        ] {
            let at = request.find(&format!("\"{member}\":\"")).unwrap();
            assert!(at > from, "{member}");
            from = at;
        }
        assert_eq!(members.as_object().unwrap().len(), 6);
        let upper = |bytes: &[u8]| Value::String(HEXUPPER.encode(bytes));
        let manifest = platform.manifest.as_deref();
        assert_eq!(members["enc_ppid"], upper(&platform.encrypted_ppid));
        assert_eq!(members["pce_id"], "0000");
        assert_eq!(members["cpu_svn"], upper(&platform.cpu_svn));
        assert_eq!(members["pce_svn"], raw_tcb(&platform)[1]);
        assert_eq!(members["qe_id"], upper(&platform.qe_id));
        assert_eq!(
            members["platform_manifest"],
            upper(manifest.unwrap_or_default())
        );

        let csv = platform.retrieval_csv();
        let columns: Vec<_> = csv.split(',').collect();
        assert_eq!(columns.len(), if manifest.is_some() { 6 } else { 5 });
        let sizes: Vec<_> = columns[..5].iter().map(|column| column.len()).collect();
        assert_eq!(sizes, [768, 4, 32, 4, 32]);
        assert_eq!(csv, csv.to_lowercase());
        assert_eq!(columns[0], HEXLOWER.encode(&platform.encrypted_ppid));
        assert_eq!(columns[4], HEXLOWER.encode(&platform.qe_id));
        if let Some(manifest) = manifest {
            assert_eq!(columns[5], HEXLOWER.encode(manifest));
        }
        let url = s.sim.management_url();
        let told = async |what: &str| {
            let path = format!("/platforms/{}/{what}", platform.name);
            exchange(&url, "GET", &path, &[], "").await.unwrap().body
        };
        assert_eq!(told("retrieval-request").await, request.as_bytes());
        assert_eq!(told("retrieval-csv").await, csv.as_bytes());
        assert_eq!(told("add-request").await, platform.add_request());
        if let Some(manifest) = manifest {
            assert_eq!(told("manifest").await, manifest);
        }
    }
}

#[tokio::test]
async fn debug_output_has_no_secret() {
    let s = Simulated::start().await;
    let platform = s.platform_of(TDX_FMSPC);
    let shown = format!("{platform:?}");
    assert!(shown.contains(&platform.name));
    for field in ["ppid", "manifest", "qe_id"] {
        assert!(!shown.contains(field), "{field}");
    }
}

#[tokio::test]
async fn upgrade_and_downgrade_move_the_raw_tcb() {
    let s = Simulated::start().await;
    let spec = PlatformSpec::new(TDX_FMSPC, 2).not_available(2);
    let fresh = s.management().add_platform(spec).unwrap();
    let path = |act: &str| format!("/platforms/{}/{act}", fresh.name);
    let (status, told) = s.manage("POST", &path("upgrade"), "").await;
    assert_eq!(status, 200);
    let upgraded = s.management().platform(&fresh.name).unwrap();
    assert_eq!(told["cpu_svn"], HEXUPPER.encode(&upgraded.cpu_svn));
    assert_eq!(raw_tcb(&upgraded).concat(), upgraded.levels[0]);
    assert!(upgraded.not_available.is_empty());
    assert_ne!(upgraded.manifest, fresh.manifest);
    assert_eq!(upgraded.ppid, fresh.ppid);
    assert_eq!(upgraded.encrypted_ppid, fresh.encrypted_ppid);
    assert_eq!(s.manage("POST", &path("downgrade"), "").await.0, 200);
    let downgraded = s.management().platform(&fresh.name).unwrap();
    assert!(!downgraded.levels.iter().any(|l| covers(&downgraded, l)));
    assert_eq!(downgraded.manifest, upgraded.manifest);
}

#[tokio::test]
async fn another_encryption_of_the_ppid_is_good_beside_the_first() {
    let s = Simulated::start().await;
    let first = s.platform_of(SGX_FMSPC);
    let path = format!("/platforms/{}/encrypt-ppid", first.name);
    assert_eq!(s.manage("POST", &path, "").await.0, 200);
    let second = s.management().platform(&first.name).unwrap();
    assert_ne!(second.encrypted_ppid, first.encrypted_ppid);
    assert_eq!(second.ppid, first.ppid);
    let answer = s.certificates(&first).await;
    assert_eq!(answer.status, 200);
    assert_eq!(s.certificates(&second).await.body, answer.body);
    let spec = PlatformSpec::new(SGX_FMSPC, 1).zero_encrypted_ppid();
    let zero = s.management().add_platform(spec).unwrap();
    assert!(s.management().encrypt_ppid(&zero.name).is_err());
    assert_eq!(s.certificates(&zero).await.status, 404);
}

#[tokio::test]
async fn a_platforms_certificates_can_be_revoked_and_reissued() {
    let s = Simulated::start().await;
    let double = s.platform_of(TDX_FMSPC);
    // The vendor has not met it: there is nothing to revoke.
    assert!(s.management().revoke_platform(&double.name).is_err());
    s.register(double.manifest.as_deref().unwrap()).await;
    for (platform, ca) in [
        (s.platform_of(SGX_FMSPC), "processor"),
        (double, "platform"),
    ] {
        let before = crl_serials(&s, ca).await;
        // The CRL of this second is known to clients.
        let refused = s.management().revoke_platform(&platform.name);
        assert!(matches!(refused, Err(SimError::ClockNotAdvanced { .. })));
        s.advance(1);
        let path = format!("/platforms/{}/revoke", platform.name);
        let (status, told) = s.manage("POST", &path, "").await;
        assert_eq!(status, 200, "{told}");
        let revoked = serials(&s, &platform).await;
        assert_eq!(revoked.len(), platform.levels.len());
        assert_eq!(told["ca"], ca);
        assert_eq!(told["changed"], json!(revoked));
        assert_eq!(
            crl_serials(&s, ca).await,
            [before, revoked.clone()].concat()
        );
        s.advance(1);
        assert_eq!(s.manage("POST", &path, "").await.0, 400);

        let path = format!("/platforms/{}/reissue", platform.name);
        assert_eq!(s.manage("POST", &path, "").await.0, 200);
        let answer = s.certificates(&platform).await;
        for certificate in pck_certificates(&answer, s.sim.root_pem()) {
            assert!(!revoked.contains(&serial(&certificate)));
            let validity = certificate.tbs_certificate().validity();
            assert_eq!(seconds(&validity.not_before), s.now());
        }
    }
}

#[tokio::test]
async fn a_recovery_brings_every_platform_a_better_level_and_new_certificates() {
    let s = Simulated::start().await;
    let single = s.platform_of(SGX_FMSPC);
    let double = s.platform_of(TDX_FMSPC);
    let manifest = double.manifest.as_deref().unwrap();
    s.register(manifest).await;
    let before = [s.certificates(&single).await, s.certificates(&double).await];
    s.advance(HOUR);
    let body = r#"{"event_days_ago": 3, "stale_manifests": false}"#;
    assert_eq!(s.manage("POST", "/recovery", body).await.0, 200);
    for (platform, before) in [single, double].iter().zip(before) {
        let after = s.management().platform(&platform.name).unwrap();
        assert_eq!(after.levels[1..], platform.levels[..]);
        assert_eq!(after.cpu_svn, platform.cpu_svn);
        assert_eq!(after.manifest, platform.manifest);
        let answer = s.certificates(platform).await;
        let tcbms: Vec<_> = listed(&answer).into_iter().map(|e| e.tcbm).collect();
        assert_eq!(tcbms, after.levels);
        let key = |c: &x509_cert::Certificate| {
            let info = c.tbs_certificate().subject_public_key_info();
            HEXLOWER.encode(info.subject_public_key.raw_bytes())
        };
        let old = pck_certificates(&before, s.sim.root_pem());
        let new = pck_certificates(&answer, s.sim.root_pem());
        assert_eq!(new.len(), old.len() + 1);
        let old: Vec<_> = old.iter().flat_map(|c| [serial(c), key(c)]).collect();
        assert!(
            new.iter()
                .all(|c| !old.contains(&serial(c)) && !old.contains(&key(c)))
        );
        // The new level is the best of the new number's TCB info.
        let target = format!(
            "/sgx/certification/v4/tcb?fmspc={}&tcbEvaluationDataNumber=21",
            platform.fmspc
        );
        let inner = tcb_info(&s.get(&target).await, s.sim.root_pem());
        let best = &inner["tcbLevels"][0]["tcb"];
        let microcode = u8::from_str_radix(&after.levels[0][..2], 16).unwrap();
        assert_eq!(best["sgxtcbcomponents"][0]["svn"], microcode);
    }
    // One that is made after the event knows its level too.
    let made = s.management().add_platform(PlatformSpec::new(SGX_FMSPC, 1));
    assert_eq!(made.unwrap().levels.len(), 7);
}

#[tokio::test]
async fn a_hundred_thousand_platforms_are_cheap_until_asked_for() {
    let s = Simulated::start().await;
    let begun = Instant::now();
    let spec = PlatformSpec::new(SGX_FMSPC, 1).levels(2);
    let made = s.management().add_platforms(spec, 100_000).unwrap();
    // With certificates it would be minutes.
    assert!(begun.elapsed() < Duration::from_secs(20));
    for platform in [&made[0], &made[99_999]] {
        let answer = s.certificates(platform).await;
        let certificates = pck_certificates(&answer, s.sim.root_pem());
        assert_eq!(
            sgx_item(&certificates[0], &[1]),
            Some(platform.ppid.to_vec())
        );
    }
    let (_, status) = s.manage("GET", "/status", "").await;
    assert_eq!(status["virtual_platforms"], 100_007);
    let (_, page) = s.manage("GET", "/platforms?count=5000", "").await;
    assert_eq!(page.as_array().unwrap().len(), 1_000);
}

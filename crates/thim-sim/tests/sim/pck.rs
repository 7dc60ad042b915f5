//! PCK certificates: the three calls, GET and POST, what the certificates say, and the nearest things that are refused.

use crate::client::*;
use crate::proof::*;
use data_encoding::{HEXLOWER, HEXUPPER};
use percent_encoding::percent_decode_str;
use serde_json::json;
use thim_sim::{PlatformSpec, SimPlatform};
use x509_cert::Certificate;
use x509_cert::der::DecodePem;
use x509_cert::ext::pkix::{BasicConstraints, CrlDistributionPoints};

const HT_FMSPC: &str = "00906E53494D";

#[tokio::test]
async fn every_platform_of_the_start_gets_the_list_of_its_levels() {
    let s = Simulated::start().await;
    let platforms = s.management().platforms();
    let families: Vec<_> = s.sim.platforms().into_iter().map(|f| f.fmspc).collect();
    let of: Vec<_> = platforms.iter().map(|p| p.fmspc.clone()).collect();
    assert_eq!(of, families);
    for platform in platforms {
        let (answer, ca, subject) = match &platform.manifest {
            None => (s.certificates(&platform).await, "processor", "Processor CA"),
            Some(manifest) => (
                s.certificates_by_manifest(manifest).await,
                "platform",
                "Platform CA",
            ),
        };
        assert_eq!(answer.header("sgx-fmspc"), Some(&*platform.fmspc));
        assert_eq!(answer.header("sgx-pck-certificate-ca-type"), Some(ca));
        assert!(answer.header("sgx-tcbm").is_none());
        assert!(answer.header("request-id").is_some());
        let issuer = &chain(&answer, PCK_CHAIN)[0];
        let issuer = issuer.tbs_certificate().subject().to_string();
        assert!(issuer.ends_with(&format!("CN=Intel SGX PCK {subject}")));
        let tcbms: Vec<_> = listed(&answer).into_iter().map(|e| e.tcbm).collect();
        assert_eq!(tcbms, platform.levels);
        let certificates = pck_certificates(&answer, s.sim.root_pem());
        assert_eq!(certificates.len(), platform.levels.len());
        for (certificate, tcbm) in certificates.iter().zip(&platform.levels) {
            says_what_it_should(certificate, &platform, tcbm, s.now());
        }
        let mut serials: Vec<_> = certificates.iter().map(serial).collect();
        serials.sort();
        serials.dedup();
        assert_eq!(serials.len(), certificates.len());
        // The CRL of its distribution point is the one that can revoke it.
        let point = format!("{}/sgx/certification/v4/pckcrl?ca={ca}", s.sim.pcs_url());
        let tbs = certificates[0].tbs_certificate();
        let (_, points) = tbs
            .get_extension::<CrlDistributionPoints>()
            .unwrap()
            .unwrap();
        assert!(format!("{points:?}").contains(&format!("{point}&encoding=der")));
    }
}

fn says_what_it_should(certificate: &Certificate, platform: &SimPlatform, tcbm: &str, now: i64) {
    let tbs = certificate.tbs_certificate();
    assert_eq!(
        tbs.subject().to_string(),
        "C=US,ST=CA,L=Santa Clara,O=Intel Corporation,CN=Intel SGX PCK Certificate"
    );
    assert_eq!(seconds(&tbs.validity().not_before), now);
    assert_eq!(seconds(&tbs.validity().not_after), now + 7 * 365 * DAY);
    let (_, constraints) = tbs.get_extension::<BasicConstraints>().unwrap().unwrap();
    assert!(!constraints.ca);
    let bytes = HEXUPPER.decode(tcbm.as_bytes()).unwrap();
    let item = |numbers: &[u8]| sgx_item(certificate, numbers);
    assert_eq!(item(&[1]), Some(platform.ppid.to_vec()));
    for (svn, number) in bytes[..16].iter().zip(1..) {
        let value = item(&[2, number]).unwrap();
        assert_eq!(value.last(), Some(svn));
        assert_eq!(value.len(), if *svn < 128 { 1 } else { 2 });
    }
    assert_eq!(item(&[2, 17]), Some(vec![bytes[16]]));
    assert_eq!(item(&[2, 18]), Some(bytes[..16].to_vec()));
    assert_eq!(item(&[3]), Some(vec![0, 0]));
    let fmspc = HEXUPPER.decode(platform.fmspc.as_bytes()).unwrap();
    assert_eq!(item(&[4]), Some(fmspc));
    match platform.platform_instance_id {
        None => {
            assert_eq!(item(&[5]), Some(vec![0]));
            assert_eq!((item(&[6]), item(&[7])), (None, None));
        }
        Some(id) => {
            assert_eq!(item(&[5]), Some(vec![1]));
            assert_eq!(item(&[6]), Some(id.to_vec()));
            assert_eq!(item(&[7, 1]), Some(vec![0xff]));
            // Asked for by manifest: the vendor keeps no keys.
            assert_eq!(item(&[7, 2]), Some(vec![0]));
            assert_eq!(item(&[7, 3]), Some(vec![0xff]));
        }
    }
}

#[tokio::test]
async fn every_level_is_one_of_the_tcb_info() {
    let s = Simulated::start().await;
    for platform in s.management().platforms() {
        let mut known = Vec::new();
        // 16 and 17 are withdrawn: their best levels are those of later documents.
        for number in 18..=20 {
            let target = format!(
                "/sgx/certification/v4/tcb?fmspc={}&tcbEvaluationDataNumber={number}",
                platform.fmspc
            );
            let inner = tcb_info(&s.get(&target).await, s.sim.root_pem());
            for level in inner["tcbLevels"].as_array().unwrap() {
                let components = level["tcb"]["sgxtcbcomponents"].as_array().unwrap();
                let svn = |c: &serde_json::Value| u8::try_from(c["svn"].as_u64().unwrap()).unwrap();
                let mut tcbm: Vec<u8> = components.iter().map(svn).collect();
                let pcesvn = level["tcb"]["pcesvn"].as_u64().unwrap();
                tcbm.extend(u16::try_from(pcesvn).unwrap().to_le_bytes());
                known.push(HEXUPPER.encode(&tcbm));
            }
        }
        let unknown: Vec<_> = platform
            .levels
            .iter()
            .filter(|l| !known.contains(l))
            .collect();
        // Hyper-threading on, in the withdrawn documents.
        let expected = if platform.levels.len() == 11 { 2 } else { 0 };
        assert_eq!(unknown.len(), expected, "{}", platform.fmspc);
        assert_eq!(platform.levels.last(), known.last());
    }
}

#[tokio::test]
async fn certificates_stay_byte_for_byte() {
    let s = Simulated::start().await;
    let platform = s.platform_of(SGX_FMSPC);
    let first = s.certificates(&platform).await;
    s.advance(40 * DAY);
    assert_eq!(s.certificates(&platform).await.body, first.body);
    let lower = pckcerts_target(&platform).replace(
        &HEXUPPER.encode(&platform.encrypted_ppid),
        &HEXLOWER.encode(&platform.encrypted_ppid),
    );
    assert_eq!(s.get(&lower).await.body, first.body);
}

#[tokio::test]
async fn the_best_certificate_is_that_of_the_highest_level_covered() {
    let s = Simulated::start().await;
    for fmspc in [SGX_FMSPC, HT_FMSPC] {
        let fresh = s.platform_of(fmspc);
        let [cpusvn, pcesvn] = raw_tcb(&fresh);
        assert!(!fresh.levels.contains(&format!("{cpusvn}{pcesvn}")));
        let list = s.certificates(&fresh).await;
        let expect = async |platform: &SimPlatform, level: usize| {
            let answer = s.get(&pckcert_target(platform)).await;
            assert_eq!(answer.status, 200);
            assert_eq!(
                answer.header("content-type"),
                Some("application/x-pem-file")
            );
            assert_eq!(answer.header("sgx-tcbm"), Some(&*platform.levels[level]));
            assert_eq!(answer.header("sgx-fmspc"), Some(fmspc));
            let ca = answer.header("sgx-pck-certificate-ca-type");
            assert_eq!(ca, Some("processor"));
            assert!(leads_to(&chain(&answer, PCK_CHAIN), s.sim.root_pem()));
            let leaf = Certificate::from_pem(&answer.body).unwrap();
            assert_eq!(Some(leaf), listed(&list).remove(level).certificate);
            assert!(answer.text().ends_with("-----END CERTIFICATE-----\n"));
        };
        expect(&fresh, 1).await;
        let upgraded = s.management().upgrade(&fresh.name).unwrap();
        expect(&upgraded, 0).await;
        // A PCE too old for all but the level of 2018.
        let mut old_pce = upgraded.clone();
        old_pce.pce_svn = 12;
        expect(&old_pce, upgraded.levels.len() - 1).await;
        old_pce.pce_svn = 4;
        assert_eq!(s.get(&pckcert_target(&old_pce)).await.status, 404);
        let downgraded = s.management().downgrade(&fresh.name).unwrap();
        assert_eq!(s.get(&pckcert_target(&downgraded)).await.status, 404);
    }
}

#[tokio::test]
async fn levels_that_are_not_available_are_listed_and_passed_over() {
    let s = Simulated::start().await;
    let spec = PlatformSpec::new(SGX_FMSPC, 1).levels(4).not_available(2);
    let platform = s.management().add_platform(spec).unwrap();
    assert_eq!(platform.levels.len(), 4);
    assert_eq!(platform.not_available, platform.levels[..2]);
    let answer = s.certificates(&platform).await;
    let available: Vec<_> = listed(&answer)
        .iter()
        .map(|entry| entry.certificate.is_some())
        .collect();
    assert_eq!(available, [false, false, true, true]);
    let best = s.get(&pckcert_target(&platform)).await;
    assert_eq!(best.header("sgx-tcbm"), Some(&*platform.levels[2]));

    let spec = PlatformSpec::new(SGX_FMSPC, 1).levels(2).not_available(2);
    let none = s.management().add_platform(spec).unwrap();
    assert_eq!(s.get(&pckcert_target(&none)).await.status, 404);
    let list = listed(&s.certificates(&none).await);
    assert_eq!(list.len(), 2);
    assert!(list.iter().all(|entry| entry.certificate.is_none()));
}

#[tokio::test]
async fn the_list_has_two_shapes() {
    let s = Simulated::start().await;
    let platform = s.platform_of(HT_FMSPC);
    let flat = s.certificates(&platform).await;
    let text = flat.text();
    assert!(text.starts_with(r#"[{"tcb":{"sgxtcbcomp01svn":19,"sgxtcbcomp02svn":19,"#));
    let tcb = &listed(&flat)[0].tcb;
    assert_eq!(tcb["sgxtcbcomp06svn"], 128);
    assert_eq!(tcb["sgxtcbcomp16svn"], 0);
    assert_eq!(tcb["pcesvn"], 13);
    assert_eq!(tcb.as_object().unwrap().len(), 17);

    let body = r#"{"shape": "components"}"#;
    assert_eq!(s.manage("PUT", "/pckcerts-shape", body).await.0, 200);
    let components = s.certificates(&platform).await;
    let tcb = &listed(&components)[0].tcb;
    assert_eq!(tcb["sgxtcbcomponents"].as_array().unwrap().len(), 16);
    let sixth = json!({"svn": 128, "category": "", "type": ""});
    assert_eq!(tcb["sgxtcbcomponents"][5], sixth);
    assert_eq!(tcb["pcesvn"], 13);
    assert_eq!(tcb.as_object().unwrap().len(), 2);
    let certificates = |answer| pck_certificates(answer, s.sim.root_pem());
    assert_eq!(certificates(&components), certificates(&flat));
    let bad = r#"{"shape": "round"}"#;
    assert_eq!(s.manage("PUT", "/pckcerts-shape", bad).await.0, 400);
}

#[tokio::test]
async fn config_lists_the_levels_of_the_hardware_configuration() {
    let s = Simulated::start().await;
    // With hyper-threading on, as a fresh platform of the family is.
    let on = s.platform_of(HT_FMSPC);
    let off = s.management().upgrade(&on.name).unwrap();
    let lists = async |platform: &SimPlatform| {
        let query = pckcerts_target(platform).replace(PCKCERTS, PCKCERTS_CONFIG);
        let cpusvn = &raw_tcb(platform)[0];
        let answer = s.get(&format!("{query}&cpusvn={cpusvn}")).await;
        pck_certificates(&answer, s.sim.root_pem());
        let tcbms = listed(&answer).into_iter().map(|entry| entry.tcbm);
        tcbms.collect::<Vec<_>>()
    };
    let (with, without) = (lists(&on).await, lists(&off).await);
    assert_eq!((with.len(), without.len()), (5, 6));
    assert_eq!(with[0], on.levels[1]);
    assert_eq!(without[0], on.levels[0]);
    assert!(with.iter().all(|tcbm| !without.contains(tcbm)));

    let platform = s.platform_of(TDX_FMSPC);
    let manifest = platform.manifest.as_deref().unwrap();
    let cpusvn = format!(r#","cpusvn":"{}""#, raw_tcb(&platform)[0]);
    let body = manifest_body(manifest, &cpusvn);
    let answer = s.post(PCKCERTS_CONFIG, JSON, body).await;
    assert_eq!(listed(&answer).len(), platform.levels.len());
    let missing = s.post(PCKCERTS_CONFIG, JSON, manifest_body(manifest, ""));
    assert_eq!(missing.await.status, 400);
}

#[tokio::test]
async fn a_manifest_gets_the_best_certificate_too() {
    let s = Simulated::start().await;
    let platform = s.platform_of(TDX_FMSPC);
    let manifest = platform.manifest.as_deref().unwrap();
    let [cpusvn, pcesvn] = raw_tcb(&platform);
    let svns = format!(r#","cpusvn":"{cpusvn}","pcesvn":"{pcesvn}","more":1"#);
    let body = manifest_body(manifest, &svns);
    // A charset is no other type.
    let json = "application/json; charset=utf-8";
    let answer = s.post(PCKCERT, json, &body).await;
    assert_eq!(answer.header("sgx-tcbm"), Some(&*platform.levels[1]));
    assert_eq!(
        answer.header("sgx-pck-certificate-ca-type"),
        Some("platform")
    );
    let leaf = Certificate::from_pem(&answer.body).unwrap();
    assert!(signed_by(&leaf, &chain(&answer, PCK_CHAIN)[0]));
    let again = s.post(PCKCERT, JSON, &body).await;
    assert_eq!(again.body, answer.body);
}

#[tokio::test]
async fn malformed_and_unknown_requests_have_the_vendors_statuses() {
    let s = Simulated::start().await;
    let platform = s.platform_of(SGX_FMSPC);
    let ppid = HEXUPPER.encode(&platform.encrypted_ppid);
    let other = "00".repeat(384);
    let [svn, pcesvn] = raw_tcb(&platform);
    for (target, status) in [
        (format!("{PCKCERTS}?encrypted_ppid={ppid}&pceid=0000"), 200),
        (
            format!("{PCKCERTS}?encrypted_ppid={ppid}&pceid=0000&x=1"),
            200,
        ),
        (PCKCERTS.to_owned(), 400),
        (format!("{PCKCERTS}?pceid=0000"), 400),
        (format!("{PCKCERTS}?encrypted_ppid={ppid}"), 400),
        (format!("{PCKCERTS}?encrypted_ppid={ppid}&pceid=000"), 400),
        (format!("{PCKCERTS}?encrypted_ppid={ppid}&pceid=000g"), 400),
        (
            format!("{PCKCERTS}?encrypted_ppid={}&pceid=0000", &ppid[2..]),
            400,
        ),
        (
            format!("{PCKCERTS}?encrypted_ppid={ppid}00&pceid=0000"),
            400,
        ),
        (
            format!("{PCKCERTS}?encrypted_ppid=x{}&pceid=0000", &ppid[1..]),
            400,
        ),
        (
            format!("{PCKCERTS}?encrypted_ppid={ppid}&pceid=0000&pceid=0000"),
            400,
        ),
        (format!("{PCKCERTS}?encrypted_ppid={ppid}&pceid=0001"), 404),
        (format!("{PCKCERTS}?encrypted_ppid={other}&pceid=0000"), 404),
        (
            format!("{PCKCERTS}?encrypted_ppid={}&pceid=0000", "A7".repeat(384)),
            404,
        ),
        (
            format!("{PCKCERTS}/config?encrypted_ppid={ppid}&pceid=0000"),
            400,
        ),
        (
            format!("{PCKCERTS}/config?encrypted_ppid={ppid}&pceid=0000&cpusvn={svn}"),
            200,
        ),
        (
            format!("{PCKCERTS}/other?encrypted_ppid={ppid}&pceid=0000"),
            404,
        ),
        (
            format!("{PCKCERT}?encrypted_ppid={ppid}&pceid=0000&cpusvn={svn}&pcesvn={pcesvn}"),
            200,
        ),
        (
            format!("{PCKCERT}?encrypted_ppid={ppid}&pceid=0000&cpusvn={svn}"),
            400,
        ),
        (
            format!("{PCKCERT}?encrypted_ppid={ppid}&pceid=0000&pcesvn={pcesvn}"),
            400,
        ),
        (
            format!("{PCKCERT}?encrypted_ppid={ppid}&pceid=0000&cpusvn={svn}&pcesvn=0D"),
            400,
        ),
        (
            format!("/tdx/certification/v4/pckcerts?encrypted_ppid={ppid}&pceid=0000"),
            404,
        ),
        (
            format!("/sgx/certification/v3/pckcerts?encrypted_ppid={ppid}&pceid=0000"),
            410,
        ),
    ] {
        let answer = s.get(&target).await;
        assert_eq!(answer.status, status, "{target}");
        let code = (status == 400).then_some("InvalidRequestSyntax");
        assert_eq!(answer.header("error-code"), code, "{target}");
        assert_eq!(answer.header("error-message").is_some(), status == 400);
    }
    let target = pckcerts_target(&platform);
    let url = s.sim.pcs_url();
    for (kind, status) in [("RSA-3072", 200), ("RSA-2048", 400)] {
        let headers = [("PPID-Encryption-Key", kind)];
        let answer = exchange(&url, "GET", &target, &headers, "").await.unwrap();
        assert_eq!(answer.status, status);
    }
    for method in ["PUT", "DELETE"] {
        let answer = exchange(&url, method, &target, &[], "").await.unwrap();
        assert_eq!(answer.status, 405);
        assert_eq!(answer.header("allow"), Some("GET, HEAD, POST"));
    }
}

#[tokio::test]
async fn bodies_of_another_size_type_or_shape_are_malformed() {
    let s = Simulated::start().await;
    let platform = s.platform_of(TDX_FMSPC);
    let manifest = platform.manifest.unwrap();
    let hex = HEXUPPER.encode(&manifest);
    let good = manifest_body(&manifest, "");
    let with = |digits: &str| format!(r#"{{"platformManifest":"{digits}","pceid":"0000"}}"#);
    for (content_type, body) in [
        ("text/plain", good.clone()),
        ("application/x-www-form-urlencoded", good.clone()),
        (JSON, String::new()),
        (JSON, "[]".to_owned()),
        (JSON, good[..good.len() - 1].to_owned()),
        (JSON, format!(r#"{{"platformManifest":"{hex}"}}"#)),
        (JSON, r#"{"pceid":"0000"}"#.to_owned()),
        (JSON, good.replace("0000\"}", "000\"}")),
        (JSON, with(&"A".repeat(16_860))),
        (JSON, with(&"A".repeat(112_886))),
        (JSON, with(&format!("{hex}A"))),
        (JSON, with(&format!("{}xx", &hex[2..]))),
    ] {
        let answer = s.post(PCKCERTS, content_type, &body).await;
        assert_eq!(answer.status, 400, "{content_type} {}", body.len());
        assert_eq!(answer.header("error-code"), Some("InvalidRequestSyntax"));
        assert!(!format!("{answer:?}").contains(&hex[..64]));
    }
    // None of these was a first contact.
    assert_eq!(s.platform_of(TDX_FMSPC).cached_keys, None);
    // The right size and nobody's.
    for digits in ["A".repeat(16_862), "A".repeat(112_884)] {
        let answer = s.post(PCKCERTS, JSON, with(&digits)).await;
        assert_eq!(answer.status, 400);
        assert_eq!(answer.header("error-code"), Some("InvalidPlatformManifest"));
    }
    assert_eq!(s.post(PCKCERTS, JSON, &good).await.status, 200);
}

#[tokio::test]
async fn the_subscription_key_is_demanded_for_certificates() {
    let s = Simulated::start_with_key(Some("right")).await;
    let single = s.platform_of(SGX_FMSPC);
    let [svn, _] = raw_tcb(&single);
    let double = s.platform_of(TDX_FMSPC);
    let [other_svn, pcesvn] = raw_tcb(&double);
    let svns = format!(r#","cpusvn":"{other_svn}","pcesvn":"{pcesvn}""#);
    let body = manifest_body(double.manifest.as_deref().unwrap(), &svns);
    let url = s.sim.pcs_url();
    let key = "Ocp-Apim-Subscription-Key";
    for (headers, status) in [
        (&[("Content-Type", JSON)][..], 401),
        (&[("Content-Type", JSON), (key, "wrong")], 401),
        (&[("Content-Type", JSON), (key, "right")], 200),
    ] {
        let config = pckcerts_target(&single).replace(PCKCERTS, PCKCERTS_CONFIG);
        for target in [
            pckcerts_target(&single),
            pckcert_target(&single),
            format!("{config}&cpusvn={svn}"),
        ] {
            let got = exchange(&url, "GET", &target, headers, "").await.unwrap();
            assert_eq!(got.status, status, "{headers:?}");
        }
        for target in [PCKCERTS, PCKCERTS_CONFIG, PCKCERT] {
            let got = exchange(&url, "POST", target, headers, &body).await;
            assert_eq!(got.unwrap().status, status, "{target} {headers:?}");
        }
    }
}

#[tokio::test]
async fn posts_are_counted_without_their_bodies() {
    let s = Simulated::start().await;
    let manifest = s.platform_of(TDX_FMSPC).manifest.unwrap();
    s.certificates_by_manifest(&manifest).await;
    s.certificates_by_manifest(&manifest).await;
    s.register(&manifest).await;
    let calls = s.management().calls();
    assert_eq!(calls.total, 3);
    let told = serde_json::to_value(&calls).unwrap();
    let expected = json!([
        {"method": "POST", "path": PCKCERTS, "query": "", "count": 2},
        {"method": "POST", "path": REGISTER, "query": "", "count": 1},
    ]);
    assert_eq!(told["calls"], expected);
}

#[tokio::test]
async fn a_client_that_waits_for_100_continue_gets_it() {
    let s = Simulated::start().await;
    let manifest = s.platform_of(TDX_FMSPC).manifest.unwrap();
    let body = manifest_body(&manifest, "");
    let head = format!(
        "POST {PCKCERTS} HTTP/1.1\r\nHost: sim\r\nConnection: close\r\nContent-Type: {JSON}\r\n\
         Expect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let url = s.sim.pcs_url();
    let mut stream = tokio::net::TcpStream::connect(url.strip_prefix("http://").unwrap())
        .await
        .unwrap();
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    stream.read_to_end(&mut received).await.unwrap();
    assert_eq!(read_answer(&received).unwrap().status, 200);
}

#[tokio::test]
async fn chains_decode_with_plain_percent_decoding() {
    let s = Simulated::start().await;
    let answer = s.certificates(&s.platform_of(SGX_FMSPC)).await;
    let header = answer.header(PCK_CHAIN).unwrap();
    let text = percent_decode_str(header).decode_utf8().unwrap();
    assert_eq!(text.matches("-----BEGIN CERTIFICATE-----\n").count(), 2);
    assert!(text.ends_with(s.sim.root_pem()));
}

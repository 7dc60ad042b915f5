//! The PCS surface: what is answered, and the nearest thing that is refused.

use crate::client::*;
use crate::proof::*;
use x509_cert::Certificate;
use x509_cert::der::DecodePem;
use x509_cert::ext::pkix::CrlDistributionPoints;

const V4: &str = "/sgx/certification/v4";

#[tokio::test]
async fn every_signed_object_chains_to_the_root_and_verifies() {
    let s = Simulated::start().await;
    let identity = ("SGX-Enclave-Identity-Issuer-Chain", "enclaveIdentity");
    let list = (
        "TCB-Evaluation-Data-Numbers-Issuer-Chain",
        "tcbEvaluationDataNumbers",
    );
    let tcb = ("TCB-Info-Issuer-Chain", "tcbInfo");
    let mut objects = vec![
        (
            "/sgx/certification/v4/qe/identity".to_owned(),
            identity,
            "QE",
        ),
        (
            "/sgx/certification/v4/qve/identity".to_owned(),
            identity,
            "QVE",
        ),
        (
            "/sgx/certification/v4/qae/identity".to_owned(),
            identity,
            "QAE",
        ),
        (
            "/tdx/certification/v4/qe/identity".to_owned(),
            identity,
            "TD_QE",
        ),
        (
            "/sgx/certification/v4/tcbevaluationdatanumbers".to_owned(),
            list,
            "SGX",
        ),
        (
            "/tdx/certification/v4/tcbevaluationdatanumbers".to_owned(),
            list,
            "TDX",
        ),
    ];
    for platform in s.sim.platforms() {
        let fmspc = &platform.fmspc;
        objects.push((
            format!("/sgx/certification/v4/tcb?fmspc={fmspc}"),
            tcb,
            "SGX",
        ));
        if platform.tdx {
            objects.push((
                format!("/tdx/certification/v4/tcb?fmspc={fmspc}"),
                tcb,
                "TDX",
            ));
        }
    }
    for (target, (header, member), id) in objects {
        let answer = s.get(&target).await;
        assert_eq!(answer.status, 200, "{target}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let request_id = answer.header("request-id").unwrap();
        assert_eq!(request_id.len(), 32, "{target}");
        let inner = verified(&answer, header, member, s.sim.root_pem()).expect(&target);
        assert_eq!(inner["id"], id, "{target}");
        assert_eq!(issue_date(&inner), NOW);
        assert_eq!(next_update_of(&inner), NOW + 30 * DAY);
        let signer = &chain(&answer, header)[0];
        assert_eq!(
            signer.tbs_certificate().subject().to_string(),
            "C=US,ST=CA,L=Santa Clara,O=Intel Corporation,CN=Intel SGX TCB Signing"
        );
    }
}

#[tokio::test]
async fn tcb_info_has_the_vendors_shape() {
    let s = Simulated::start().await;
    let sgx = tcb_info(&s.get(SGX_TCB).await, s.sim.root_pem());
    assert_eq!(sgx["version"], 3);
    assert_eq!(sgx["fmspc"], TDX_FMSPC);
    assert_eq!(sgx["tcbEvaluationDataNumber"], 18);
    assert!(sgx.get("tdxModule").is_none());
    let levels = sgx["tcbLevels"].as_array().unwrap();
    assert_eq!(levels.len(), 4);
    assert_eq!(levels[0]["tcbStatus"], "UpToDate");
    assert!(levels[0].get("advisoryIDs").is_none());
    assert_eq!(levels[1]["tcbStatus"], "OutOfDate");
    assert_eq!(levels[1]["advisoryIDs"].as_array().unwrap().len(), 2);
    assert_eq!(levels[3]["tcb"]["pcesvn"], 5);
    let components = levels[0]["tcb"]["sgxtcbcomponents"].as_array().unwrap();
    assert_eq!(components.len(), 16);
    assert_eq!(components[0]["type"], "Early Microcode Update");

    let tdx = tcb_info(&s.get(TDX_TCB).await, s.sim.root_pem());
    assert_eq!(tdx["fmspc"], TDX_FMSPC.to_lowercase());
    assert_eq!(tdx["tdxModule"]["mrsigner"].as_str().unwrap().len(), 96);
    assert_eq!(tdx["tdxModuleIdentities"][1]["id"], "TDX_01");
    let tdx_components = &tdx["tcbLevels"][0]["tcb"]["tdxtcbcomponents"];
    assert_eq!(tdx_components.as_array().unwrap().len(), 16);
}

#[tokio::test]
async fn numbers_select_content_between_standard_and_early() {
    let s = Simulated::start().await;
    for (selector, number) in [
        ("", 18),
        ("&update=standard", 18),
        ("&update=early", 20),
        ("&tcbEvaluationDataNumber=18", 18),
        ("&tcbEvaluationDataNumber=19", 19),
        ("&tcbEvaluationDataNumber=20", 20),
    ] {
        let answer = s.get(&format!("{SGX_TCB}{selector}")).await;
        let inner = tcb_info(&answer, s.sim.root_pem());
        assert_eq!(inner["tcbEvaluationDataNumber"], number, "{selector}");
        let best = &inner["tcbLevels"][0]["tcb"]["sgxtcbcomponents"][0]["svn"];
        assert_eq!(*best, 2 + number - 16, "{selector}");
        let selector = selector.replace('&', "?");
        let answer = s.get(&format!("{QE}{selector}")).await;
        let inner = unverified(&answer, "enclaveIdentity");
        assert_eq!(inner["tcbEvaluationDataNumber"], number, "{selector}");
    }
}

#[tokio::test]
async fn refusals_have_the_vendors_statuses() {
    let s = Simulated::start().await;
    for (target, status) in [
        ("/", 404),
        ("/sgx/certification/v4/nothing", 404),
        ("/sgx/certification/v5/tcb?fmspc=B0C06F53494D", 404),
        ("/tdx/certification/v4/qve/identity", 404),
        ("/tdx/certification/v4/pckcrl?ca=platform", 404),
        ("/sgx/certification/v4/tcb?fmspc=00606A000000", 404),
        ("/tdx/certification/v4/tcb?fmspc=20606C53494D", 404),
        ("/sgx/certification/v4/tcb?fmspc=b0c06f53494d", 200),
        ("/sgx/certification/v4/tcb?fmspc=B0C06F53494D&other=1", 200),
        (
            "/sgx/certification/v4/tcb?fmspc=B0C06F53494D&tcbEvaluationDataNumber=21",
            404,
        ),
        (
            "/sgx/certification/v4/tcb?fmspc=B0C06F53494D&tcbEvaluationDataNumber=17",
            410,
        ),
        (
            "/sgx/certification/v4/tcb?fmspc=B0C06F53494D&tcbEvaluationDataNumber=3",
            410,
        ),
        (
            "/sgx/certification/v4/qe/identity?tcbEvaluationDataNumber=21",
            404,
        ),
        (
            "/sgx/certification/v4/qe/identity?tcbEvaluationDataNumber=17",
            410,
        ),
        ("/sgx/certification/v2/tcb?fmspc=B0C06F53494D", 410),
        ("/sgx/certification/v3/tcb?fmspc=B0C06F53494D", 410),
        ("/sgx/certification/v3/qe/identity", 410),
        ("/sgx/certification/v3/pckcrl?ca=platform", 410),
        ("/sgx/certification/v4/tcb", 400),
        ("/sgx/certification/v4/tcb?fmspc=B0C06F53494", 400),
        ("/sgx/certification/v4/tcb?fmspc=B0C06F53494DA", 400),
        ("/sgx/certification/v4/tcb?fmspc=B0C06F53494G", 400),
        (
            "/sgx/certification/v4/tcb?fmspc=B0C06F53494D&fmspc=B0C06F53494D",
            400,
        ),
        (
            "/sgx/certification/v4/tcb?fmspc=B0C06F53494D&update=late",
            400,
        ),
        (
            "/sgx/certification/v4/tcb?fmspc=B0C06F53494D&update=early&tcbEvaluationDataNumber=20",
            400,
        ),
        (
            "/sgx/certification/v4/qe/identity?tcbEvaluationDataNumber=x",
            400,
        ),
        ("/sgx/certification/v4/pckcrl", 400),
        ("/sgx/certification/v4/pckcrl?ca=root", 400),
        ("/sgx/certification/v4/pckcrl?ca=platform&encoding=hex", 400),
        ("/sgx/certification/v4/fmspcs?platform=E7", 400),
    ] {
        let answer = s.get(target).await;
        assert_eq!(answer.status, status, "{target}");
        assert!(answer.header("request-id").is_some(), "{target}");
        let code = answer.header("error-code");
        assert_eq!(code.is_some(), status == 400, "{target}");
        assert_eq!(answer.header("error-message").is_some(), status == 400);
    }
    let post = exchange(&s.sim.pcs_url(), "POST", QE, &[], "{}").await;
    assert_eq!(post.unwrap().status, 405);
    let retired = "/sgx/certification/v3/pckcerts";
    let post = exchange(&s.sim.pcs_url(), "POST", retired, &[], "{}").await;
    assert_eq!(post.unwrap().status, 410);
}

#[tokio::test]
async fn the_subscription_key_is_demanded_where_the_specification_says() {
    let s = Simulated::start_with_key(Some("right")).await;
    for (headers, status) in [
        (&[][..], 401),
        (&[("Ocp-Apim-Subscription-Key", "wrong")][..], 401),
        (&[("ocp-apim-subscription-key", "right")][..], 200),
    ] {
        for target in [SGX_TCB, TDX_TCB, QE, PLATFORM_CRL] {
            let answer = exchange(&s.sim.pcs_url(), "GET", target, headers, "").await;
            assert_eq!(answer.unwrap().status, status, "{target} {headers:?}");
        }
    }
    for open in ["fmspcs", "tcbevaluationdatanumbers"] {
        assert_eq!(s.get(&format!("{V4}/{open}")).await.status, 200, "{open}");
    }
    assert_eq!(s.get(ROOT_CRL).await.status, 200);
}

#[tokio::test]
async fn crls_come_as_pem_and_der_with_their_issuers() {
    let s = Simulated::start().await;
    for (ca, name, entries) in [
        ("platform", "Intel SGX PCK Platform CA", 57),
        ("processor", "Intel SGX PCK Processor CA", 0),
    ] {
        let der = s.get(&format!("{V4}/pckcrl?ca={ca}&encoding=der")).await;
        assert_eq!(der.header("content-type"), Some("application/pkix-crl"));
        let chain = chain(&der, "SGX-PCK-CRL-Issuer-Chain");
        assert!(leads_to(&chain, s.sim.root_pem()));
        let issuer = &chain[0];
        let subject = issuer.tbs_certificate().subject().to_string();
        assert!(subject.ends_with(name), "{subject}");
        let crl = verified_crl(&der.body, issuer).expect("it verifies");
        assert_eq!(revoked_serials(&crl).len(), entries);
        assert_eq!(this_update(&crl), NOW);
        assert_eq!(next_update(&crl), NOW + 30 * DAY);

        let pem = s.get(&format!("{V4}/pckcrl?ca={ca}")).await;
        assert_eq!(pem.header("content-type"), Some("application/x-pem-file"));
        let inner: String = pem
            .text()
            .lines()
            .filter(|l| !l.starts_with("--"))
            .collect();
        let decoded = data_encoding::BASE64.decode(inner.as_bytes()).unwrap();
        assert_eq!(decoded, der.body);
    }
}

#[tokio::test]
async fn the_root_crl_is_where_the_certificates_say() {
    let s = Simulated::start().await;
    let answer = s.get(ROOT_CRL).await;
    assert_eq!(answer.header("content-type"), Some("application/pkix-crl"));
    let root = Certificate::from_pem(s.sim.root_pem()).unwrap();
    let crl = verified_crl(&answer.body, &root).expect("it verifies");
    assert!(revoked_serials(&crl).is_empty());
    assert_eq!(next_update(&crl), NOW + 365 * DAY);
    assert_eq!(
        s.sim.root_crl_url(),
        format!("{}{ROOT_CRL}", s.sim.pcs_url())
    );
    let mut certificates = chain(&s.get(QE).await, "SGX-Enclave-Identity-Issuer-Chain");
    certificates.push(root);
    for certificate in certificates {
        let (_, points) = certificate
            .tbs_certificate()
            .get_extension::<CrlDistributionPoints>()
            .unwrap()
            .expect("a distribution point");
        assert!(format!("{points:?}").contains(&s.sim.root_crl_url()));
    }
}

#[tokio::test]
async fn fmspcs_are_listed_by_platform() {
    let s = Simulated::start().await;
    let count = async |filter: &str| {
        let answer = s.get(&format!("{V4}/fmspcs{filter}")).await;
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let listed: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        listed.as_array().unwrap().len()
    };
    assert_eq!(count("").await, s.sim.platforms().len());
    assert_eq!(count("?platform=all").await, 7);
    assert_eq!(count("?platform=client").await, 1);
    assert_eq!(count("?platform=E3").await, 1);
    assert_eq!(count("?platform=E5").await, 5);
    let sgx_only = s.sim.platforms().into_iter().filter(|p| !p.tdx);
    assert!(sgx_only.map(|p| p.fmspc).any(|fmspc| fmspc == SGX_FMSPC));
}

#[tokio::test]
async fn an_edition_stays_until_it_is_older_than_resign_after() {
    let s = Simulated::start().await;
    for target in [SGX_TCB, QE, PLATFORM_CRL, ROOT_CRL] {
        let first = s.get(target).await;
        s.advance(12 * HOUR);
        assert_eq!(s.get(target).await.body, first.body, "{target}");
        s.advance(1);
        assert_ne!(s.get(target).await.body, first.body, "{target}");
    }
    let (status, _) = s.manage("PUT", "/resign-after", r#"{"seconds": 60}"#).await;
    assert_eq!(status, 200);
    s.advance(61);
    let answer = s.get(SGX_TCB).await;
    assert_eq!(issue_date(&tcb_info(&answer, s.sim.root_pem())), s.now());
}

#[tokio::test]
async fn one_connection_carries_head_and_pipelined_requests() {
    let s = Simulated::start().await;
    let whole = s.get(QE).await;
    let request = format!(
        "HEAD {QE} HTTP/1.1\r\nHost: sim\r\n\r\n\
         GET {QE} HTTP/1.1\r\nHost: sim\r\nConnection: close\r\n\r\n"
    );
    let received = raw(&s.sim.pcs_url(), request.as_bytes()).await.unwrap();
    let text = String::from_utf8(received).unwrap();
    assert_eq!(text.matches("HTTP/1.1 200 OK\r\n").count(), 2);
    assert_eq!(text.matches(whole.text()).count(), 1);
    let length = format!("Content-Length: {}\r\n", whole.body.len());
    assert_eq!(text.matches(&length).count(), 2);
}

#[tokio::test]
async fn keys_are_fresh_and_a_stopped_simulator_is_gone() {
    let one = Simulated::start().await;
    let two = Simulated::start().await;
    assert_ne!(one.sim.root_pem(), two.sim.root_pem());
    let (pcs_url, management_url) = (one.sim.pcs_url(), one.sim.management_url());
    one.sim.shutdown().await;
    for url in [&pcs_url, &management_url] {
        assert!(exchange(url, "GET", "/", &[], "").await.is_err(), "{url}");
    }
}

#[tokio::test]
async fn a_dropped_simulator_stops_listening() {
    let s = Simulated::start().await;
    let urls = [s.sim.pcs_url(), s.sim.management_url()];
    assert_eq!(s.get(QE).await.status, 200);
    drop(s);
    for url in urls {
        // The tasks end at their next turn: give them turns until the port refuses.
        while exchange(&url, "GET", "/", &[], "").await.is_ok() {
            tokio::task::yield_now().await;
        }
    }
}

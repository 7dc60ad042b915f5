//! What clients get: statuses, headers, bytes.

mod harness;

use harness::{BOTH, Fleet, SGX_ONLY, tcb};
use thim_verify::{Certificate, Issuers, TrustAnchors, parse, verify};

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_gets_collateral_that_verifies_with_the_chain_in_the_header() {
    let fleet = Fleet::start().await;
    let answer = fleet.get(&tcb("sgx", SGX_ONLY)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(
        answer.header("content-type"),
        "application/json; charset=utf-8"
    );
    let chain = answer.header("tcb-info-issuer-chain");
    assert_eq!(chain, answer.header("sgx-tcb-info-issuer-chain"));
    assert!(chain.ends_with("%0A"), "{chain}");
    let pem: Vec<u8> = percent_encoding::percent_decode_str(chain).collect();
    let delivered = Certificate::from_pem_bundle(&pem).expect("a chain");
    assert_eq!(delivered.len(), 2);
    let anchors = TrustAnchors::from_pem(fleet.sim.root_pem().as_bytes()).expect("a root");
    let verified = verify(
        parse(&answer.body).expect("a document"),
        &delivered,
        &Issuers::new(anchors),
        None,
        fleet.clock.now(),
    );
    assert_eq!(
        verified.expect("verifies").key().to_string(),
        format!("intel/tcb-info/sgx/v3/{SGX_ONLY}/18")
    );
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_path_answers_in_its_form() {
    let fleet = Fleet::start().await;
    let fmspcs = "/sgx/certification/v4/fmspcs?platform=E5".to_owned();
    let root = "https%3a%2f%2fcertificates.trustedservices.intel.com%2fintelsgxrootca.crl";
    for (path, content_type, chain, starts) in [
        (
            tcb("tdx", BOTH),
            "application/json; charset=utf-8",
            "tcb-info-issuer-chain",
            "{\"tcbInfo\":",
        ),
        (
            "/sgx/certification/v4/qe/identity".into(),
            "application/json; charset=utf-8",
            "sgx-enclave-identity-issuer-chain",
            "{\"enclaveIdentity\":",
        ),
        (
            "/sgx/certification/v4/qve/identity?update=early".into(),
            "application/json; charset=utf-8",
            "sgx-enclave-identity-issuer-chain",
            "{\"enclaveIdentity\":",
        ),
        (
            "/sgx/certification/v4/qae/identity".into(),
            "application/json",
            "sgx-enclave-identity-issuer-chain",
            "{\"enclaveIdentity\":",
        ),
        (
            "/tdx/certification/v4/qe/identity".into(),
            "application/json; charset=utf-8",
            "sgx-enclave-identity-issuer-chain",
            "{\"enclaveIdentity\":",
        ),
        (
            "/sgx/certification/v4/pckcrl?ca=platform".into(),
            "application/x-pem-file; charset=utf-8",
            "sgx-pck-crl-issuer-chain",
            "30",
        ),
        (
            "/sgx/certification/v4/pckcrl?ca=processor&encoding=pem".into(),
            "application/x-pem-file; charset=utf-8",
            "sgx-pck-crl-issuer-chain",
            "30",
        ),
        (
            "/sgx/certification/v4/rootcacrl".into(),
            "application/pkix-crl; charset=utf-8",
            "sgx-pck-crl-issuer-chain",
            "30",
        ),
        (
            format!(
                "/sgx/certification/v4/pckcrl?uri={root}&clientid=x&api-version=2020-02-12-preview"
            ),
            "application/x-pem-file",
            "sgx-pck-crl-issuer-chain",
            "-----BEGIN X509 CRL-----",
        ),
        (
            "/sgx/certification/v4/tcbevaluationdatanumbers".into(),
            "application/json",
            "tcb-evaluation-data-numbers-issuer-chain",
            "{\"tcbEvaluationDataNumbers\":",
        ),
        (
            "/tdx/certification/v4/tcbevaluationdatanumbers/".into(),
            "application/json",
            "tcb-evaluation-data-numbers-issuer-chain",
            "{\"tcbEvaluationDataNumbers\":",
        ),
        (fmspcs, "application/json", "", "[{\"fmspc\":"),
    ] {
        let answer = fleet.get(&path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        assert_eq!(answer.header("content-type"), content_type, "{path}");
        assert!(
            answer.text().starts_with(starts),
            "{path}: {}",
            &answer.text()[..40]
        );
        assert_eq!(answer.header("request-id").len(), 32, "{path}");
        let age: u32 = answer
            .header("cache-control")
            .strip_prefix("max-age=")
            .and_then(|age| age.parse().ok())
            .expect("max-age");
        assert!((1..=86_400).contains(&age), "{path}: {age}");
        if !chain.is_empty() {
            assert!(answer.header(chain).ends_with("%0A"), "{path}");
            assert!(answer.header("etag").starts_with('"'), "{path}: strong");
            assert!(answer.header("last-modified").ends_with(" GMT"), "{path}");
            assert!(
                answer.header("thim-freshness").contains("state=current"),
                "{path}: {}",
                answer.header("thim-freshness")
            );
        }
        for (name, value) in &answer.headers {
            assert!(
                !value.is_empty(),
                "{path}: an empty {name} aborts Azure's client"
            );
        }
    }
    let der = fleet.get("/sgx/certification/v4/crl?uri=https://certificates.trustedservices.intel.com/IntelSGXRootCA.der").await;
    assert_eq!(
        (der.status, der.header("content-type"), der.body[0]),
        (200, "application/pkix-crl", 0x30)
    );
    let hex = fleet.get("/sgx/certification/v4/rootcacrl").await;
    assert_eq!(hex.text(), data_encoding::HEXLOWER.encode(&der.body));
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conditional_head_and_options_requests() {
    let fleet = Fleet::start().await;
    let path = tcb("sgx", SGX_ONLY);
    let first = fleet.get(&path).await;
    assert_eq!(first.header("cache-status"), "THIM; fwd=miss; stored");
    let etag = first.header("etag").to_owned();
    let second = fleet.get(&path).await;
    assert_eq!(
        (second.header("cache-status"), second.header("etag")),
        ("THIM; hit", etag.as_str())
    );
    assert_eq!(second.body, first.body);
    for (asked, status) in [
        (etag.clone(), 304),
        (format!("W/{etag}"), 304),
        (format!("\"x\", {etag}"), 304),
        ("*".to_owned(), 304),
        ("\"x\"".to_owned(), 200),
        (etag.replace('"', ""), 200),
    ] {
        let answer = fleet
            .send(
                fleet
                    .client
                    .get(fleet.url(&path))
                    .header("if-none-match", &asked),
            )
            .await;
        assert_eq!(answer.status, status, "{asked}");
        assert_eq!(answer.body.is_empty(), status == 304, "{asked}");
        assert_eq!(answer.header("etag"), etag, "{asked}");
    }
    let head = fleet.send(fleet.client.head(fleet.url(&path))).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), first.body.len().to_string());
    let options = fleet
        .send(
            fleet
                .client
                .request(reqwest::Method::OPTIONS, fleet.url(&path)),
        )
        .await;
    assert_eq!((options.status, options.text()), (200, "GET,HEAD"));
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_chosen_by_the_list_and_never_substituted() {
    let fleet = Fleet::start().await;
    for (query, status, number) in [
        ("", 200, 18),
        ("&update=standard", 200, 18),
        ("&update=early", 200, 20),
        ("&tcbEvaluationDataNumber=19", 200, 19),
        ("&tcbEvaluationDataNumber=17", 410, 0),
        ("&tcbEvaluationDataNumber=21", 404, 0),
    ] {
        let answer = fleet.get(&format!("{}{query}", tcb("tdx", BOTH))).await;
        assert_eq!(answer.status, status, "{query}: {answer:?}");
        if status == 200 {
            assert_eq!(answer.number(), number, "{query}");
        }
    }
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_name_the_field_and_change_nothing() {
    let fleet = Fleet::start().await;
    let before = fleet.management().calls().containing("/tcb?");
    for (query, field) in [
        ("", "fmspc"),
        ("?fmspc=", "fmspc"),
        ("?fmspc=00906E53494", "fmspc"),
        ("?fmspc=00906E53494D0", "fmspc"),
        ("?fmspc=00906E53494G", "fmspc"),
        ("?fmspc=00906E53494%00", "fmspc"),
        ("?fmspc=%ff%fe", "fmspc"),
        ("?fmspc[a]=1", "fmspc"),
        ("?fmspc=00906E53494D&update[a]=early", "update"),
        ("?fmspc=00906E53494D&update=bogus", "update"),
        ("?fmspc=00906E53494D&update=", "update"),
        (
            "?fmspc=00906E53494D&tcbEvaluationDataNumber=-1",
            "tcbEvaluationDataNumber",
        ),
        (
            "?fmspc=00906E53494D&update=early&tcbEvaluationDataNumber=17",
            "tcbEvaluationDataNumber",
        ),
    ] {
        let answer = fleet
            .get(&format!("/sgx/certification/v4/tcb{query}"))
            .await;
        assert_eq!(
            (answer.status, answer.text()),
            (400, "Invalid request parameters."),
            "{query}"
        );
        assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
        let cause = answer.header("thim-cause");
        assert!(
            cause.starts_with(&format!("invalid-parameter; detail=\"{field}: ")),
            "{query}: {cause}"
        );
    }
    for uri in [
        "http://evil/",
        "https://certificates.trustedservices.intel.com@evil.example/IntelSGXRootCA.der",
        "https://evil.example%2fIntelSGXRootCA.der",
        "",
    ] {
        for path in ["crl", "pckcrl"] {
            let answer = fleet
                .get(&format!("/sgx/certification/v4/{path}?uri={uri}"))
                .await;
            assert_eq!(answer.status, 400, "{path} {uri}");
        }
    }
    assert_eq!(
        fleet.management().calls().containing("/tcb?"),
        before,
        "nothing was asked of the vendor"
    );
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_paths_and_methods_are_expresss_404() {
    let fleet = Fleet::start().await;
    for path in [
        "/",
        "/sgx/certification/v4/nosuch",
        "/tdx/certification/v3/tcb?fmspc=50806F53494D",
        "/a<b>",
    ] {
        let answer = fleet.get(path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(
            answer.header("content-security-policy"),
            "default-src 'none'"
        );
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert!(
            answer.text().contains("<pre>Cannot GET /"),
            "{path}: {}",
            answer.text()
        );
        assert!(!answer.text().contains("<b>"), "escaped");
    }
    let post = fleet
        .send(
            fleet
                .client
                .post(fleet.url(&tcb("sgx", SGX_ONLY)))
                .body("x"),
        )
        .await;
    assert_eq!(post.status, 404);
    assert!(
        post.text()
            .contains("<pre>Cannot POST /sgx/certification/v4/tcb</pre>"),
        "{}",
        post.text()
    );
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn version_3_is_over_and_says_so() {
    let fleet = Fleet::start().await;
    for path in ["tcb?fmspc=00906E53494D", "qe/identity"] {
        let answer = fleet.get(&format!("/sgx/certification/v3/{path}")).await;
        assert_eq!(answer.status, 410, "{path}");
        assert!(
            answer
                .text()
                .starts_with("The Intel PCS API version 3 reached planned EOL."),
            "{path}"
        );
        assert!(answer.header("warning").starts_with("299 - "), "{path}");
    }
    let crl = fleet.get("/sgx/certification/v3/pckcrl?ca=processor").await;
    assert_eq!(
        (crl.status, crl.header("warning").starts_with("299 - ")),
        (200, true)
    );
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn request_ids_are_echoed_or_made() {
    let fleet = Fleet::start().await;
    let path = tcb("sgx", SGX_ONLY);
    for (given, echoed) in [
        ("abcd", true),
        ("with space", false),
        (&"x".repeat(128), true),
        (&"x".repeat(129), false),
    ] {
        let answer = fleet
            .send(
                fleet
                    .client
                    .get(fleet.url(&path))
                    .header("request-id", given),
            )
            .await;
        assert_eq!(answer.header("request-id") == given, echoed, "{given}");
    }
    let (one, other) = (fleet.get(&path).await, fleet.get(&path).await);
    assert_ne!(one.header("request-id"), other.header("request-id"));
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn huge_heads_are_refused_and_the_server_lives() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let fleet = Fleet::start().await;
    let mut stream = tokio::net::TcpStream::connect(fleet.server().http.expect("on"))
        .await
        .expect("connects");
    // The server may hang up while we still write; that is an answer too.
    let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nX: ").await;
    let _ = stream.write_all(&vec![b'a'; 2 * 1024 * 1024]).await;
    let _ = stream.write_all(b"\r\n\r\n").await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(
        answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    assert_eq!(fleet.get(&tcb("sgx", SGX_ONLY)).await.status, 200);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_say_how_it_is() {
    let fleet = Fleet::start().await;
    assert_eq!(fleet.get(&tcb("sgx", SGX_ONLY)).await.status, 200);
    for path in ["/healthz/live", "/healthz/ready", "/healthz/startup"] {
        assert_eq!(fleet.get(path).await.status, 200, "{path}");
    }
    let metrics = fleet.get("/metrics").await;
    for series in [
        "thim_requests_total{route=\"tcb\",result=\"miss\"} 1",
        "thim_requests_total{route=\"crl\",result=\"hit\"} 0",
        "thim_events_total{event=\"crl.unrevoked\"} 0",
        "thim_upstream_up{upstream=",
        "thim_crl_revoked_entries{key=\"intel/root-crl\"} 0",
        &format!("thim_artifact_expires_seconds{{key=\"intel/tcb-info/sgx/v3/{SGX_ONLY}/18\"}}"),
    ] {
        assert!(
            metrics.text().contains(series),
            "{series} in\n{}",
            metrics.text()
        );
    }
    let openapi = fleet.get("/thim/v1/openapi.json").await;
    assert!(openapi.text().contains("/thim/v1/editions/{id}/release"));
    for schema in ["QuoteExplanation", "ReportExplanation", "ReportFacts"] {
        assert!(openapi.text().contains(&format!("\"{schema}\":{{")));
    }
    let refused = fleet
        .send(
            fleet
                .client
                .post(fleet.url("/thim/v1/refresh"))
                .json(&serde_json::json!({})),
        )
        .await;
    assert_eq!(
        (refused.status, refused.header("content-type")),
        (401, "application/problem+json")
    );
    let token = std::fs::read_to_string(fleet.data().join("admin.token")).expect("a token");
    let admitted = fleet
        .send(
            fleet
                .client
                .post(fleet.url("/thim/v1/refresh"))
                .bearer_auth(token.trim())
                .json(&serde_json::json!({"all": true})),
        )
        .await;
    assert_eq!(admitted.status, 200, "{}", admitted.text());
    fleet.stop().await;
}

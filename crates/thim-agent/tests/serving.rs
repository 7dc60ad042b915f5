//! What a guest is answered: the certificates, the manners, and what is handed on to the service.

#![allow(clippy::unwrap_used, reason = "a panic is the report")]

mod harness;

use std::time::{Duration, Instant};

use harness::{Answer, Bench, Does, PATH, ask, get, raw};
use thim_agent::config::Listen;
use thim_sim::kds::{AmdProduct, SimTcb};
use thim_verify::amd::Vcek;

#[tokio::test]
async fn the_certificates_of_the_node() {
    let bench = Bench::new().await;
    let server = bench.ready().await;
    let answer = get(server.http, PATH).await;
    let chip = bench.milan();
    let wire = answer.wire();
    assert_eq!(wire.tcbm, chip.reported.tcbm(chip.product));
    assert_eq!(wire.cache_control, "86400");
    let vcek = Vcek::from_pem(wire.vcek_cert.as_bytes()).unwrap();
    assert_eq!(vcek.hw_id().as_bytes(), chip.hwid);
    assert_eq!(vcek.public_key(), chip.vcek_public_key(&chip.reported));
    assert_eq!(
        wire.certificate_chain
            .matches("-----BEGIN CERTIFICATE-----\n")
            .count(),
        2
    );
    assert!(wire.vcek_cert.ends_with("-----\n") && wire.certificate_chain.ends_with("-----\n"));
    assert!(answer.body.starts_with(r#"{"vcekCert":""#));

    assert_eq!(
        answer.header("content-type"),
        "application/json; charset=utf-8"
    );
    assert_eq!(answer.header("cache-control"), "max-age=86400");
    assert_eq!(
        answer.header("server"),
        concat!("THIM/", env!("CARGO_PKG_VERSION"))
    );
    let again = get(server.http, PATH).await;
    assert_eq!(again.body, answer.body);
    assert_ne!(
        again.header("x-ms-request-id"),
        answer.header("x-ms-request-id")
    );
    assert_eq!(answer.header("x-ms-request-id").len(), 36);
    assert_eq!(
        bench.calls(),
        1,
        "the service was asked once, ahead of the guests"
    );
    server.stop().await;
}

#[tokio::test]
async fn by_chip_and_tcb() {
    let bench = Bench::new().await;
    let server = bench.ready().await;
    let chip = bench.milan();
    let (id, tcbm) = (chip.hwid_hex(), chip.reported.tcbm(chip.product));
    let own = get(server.http, PATH).await.body;
    let short = tcbm.trim_start_matches('0');
    for query in [
        format!("platformId={id}"),
        format!("platformId={}", id.to_uppercase()),
        format!("platformId={id}&tcbVersion={tcbm}"),
        format!(
            "tcbVersion={}&platformId={id}&colour=red",
            tcbm.to_uppercase()
        ),
        format!("tcbVersion={short}"),
        "api-version=2018-10-01".to_owned(),
    ] {
        let answer = get(server.http, &format!("{PATH}?{query}")).await;
        assert_eq!((answer.status, &answer.body), (200, &own), "{query}");
    }
    assert_eq!(bench.calls(), 1);

    let other = bench.kds.management().chip_of(AmdProduct::Genoa).hwid_hex();
    for id in [other.as_str(), &id[1..], &id[2..], "", "zz", "0"] {
        let answer = get(server.http, &format!("{PATH}?platformId={id}")).await;
        assert_eq!(
            (answer.status, answer.cause()),
            (404, "another-chip"),
            "{id}"
        );
        assert!(
            id.len() < 3 || !format!("{answer:?}").contains(id),
            "an id is not repeated"
        );
    }
    assert_eq!(
        bench.calls(),
        1,
        "nobody can make the agent ask for other chips"
    );

    // The own chip at a lower TCB is asked for; at one that was never reached the service knows none.
    let lower = SimTcb::new(0, 0, 0, 1);
    let answer = get(
        server.http,
        &format!(
            "{PATH}?platformId={id}&tcbVersion={}",
            lower.tcbm(chip.product)
        ),
    )
    .await;
    assert_eq!(
        (answer.status, answer.wire().tcbm),
        (200, lower.tcbm(chip.product))
    );
    assert_eq!(bench.calls(), 2);
    let never = SimTcb::new(127, 127, 127, 255).tcbm(chip.product);
    let answer = get(server.http, &format!("{PATH}?tcbVersion={never}")).await;
    assert_eq!(
        (answer.status, answer.cause()),
        (404, "absent"),
        "{answer:?}"
    );
    // Reserved bytes that are not zero: no question to anybody.
    let calls = bench.calls();
    let answer = get(server.http, &format!("{PATH}?tcbVersion=0000ff00ff000000")).await;
    assert_eq!(
        (answer.status, answer.cause(), bench.calls()),
        (400, "invalid-parameter", calls)
    );
    // More of them than the budget has: some are told to come again.
    let mut busy = 0;
    for _ in 0..10 {
        let answer = get(server.http, &format!("{PATH}?tcbVersion=1")).await;
        busy += usize::from(
            (answer.status, answer.cause(), answer.header("retry-after")) == (503, "busy", "1"),
        );
    }
    assert!(busy > 0);
    assert_eq!(get(server.http, PATH).await.body, own);
    server.stop().await;
}

#[tokio::test]
async fn a_turin_chip_in_both_lengths() {
    let bench = Bench::new().await;
    let chip = bench.kds.management().chip_of(AmdProduct::Turin);
    bench.provision(&chip, &chip.reported);
    let server = bench.start(&bench.config()).await;
    let short = chip.hwid_hex();
    let long = format!("{short}{}", "0".repeat(112));
    for id in [&short, &long] {
        let answer = get(server.http, &format!("{PATH}?platformId={id}")).await;
        assert_eq!(answer.wire().tcbm, chip.reported.tcbm(AmdProduct::Turin));
    }
    let near = format!("{short}{}1", "0".repeat(111));
    assert_eq!(
        get(server.http, &format!("{PATH}?platformId={near}"))
            .await
            .status,
        404
    );
    server.stop().await;
}

/// Statuses and shapes on the wire; each near miss is in `manners`.
#[tokio::test]
async fn manners_on_the_wire() {
    let bench = Bench::new().await;
    let server = bench.ready().await;
    let at = server.http;
    let error = |answer: &Answer| -> String {
        let value: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(
            answer.header("content-type"),
            "application/json; charset=utf-8"
        );
        assert_eq!(answer.header("x-ms-request-id").len(), 36);
        value["error"].as_str().unwrap().to_owned()
    };
    let missing = ask(at, "GET", PATH, &[]).await;
    assert_eq!(missing.status, 400);
    assert_eq!(
        error(&missing),
        "Bad request. Required metadata header not specified"
    );
    let forwarded = ask(
        at,
        "GET",
        PATH,
        &[("Metadata", "True"), ("X-Forwarded-For", "10.0.0.1")],
    )
    .await;
    assert_eq!(forwarded.status, 400);
    assert!(error(&forwarded).contains("X-Forwarded-For"));
    let foreign = ask(
        at,
        "GET",
        PATH,
        &[("Metadata", "true"), ("Host", "evil.example")],
    )
    .await;
    assert_eq!(foreign.status, 400);
    assert!(error(&foreign).contains("Host") && !foreign.body.contains("evil"));
    let posted = ask(
        at,
        "POST",
        PATH,
        &[("Metadata", "true"), ("Content-Length", "0")],
    )
    .await;
    assert_eq!((posted.status, posted.header("allow")), (405, "GET"));
    let nothing = get(at, "/metadata/nothing").await;
    assert_eq!(
        (nothing.status, error(&nothing).as_str()),
        (404, "Not found")
    );
    let doubled = get(at, &format!("{PATH}?api-version=1&api-version=1")).await;
    assert_eq!(doubled.status, 400);
    let old = raw(
        at,
        format!("GET {PATH} HTTP/1.0\r\nMetadata: true\r\n\r\n").as_bytes(),
    )
    .await;
    assert_eq!(old.status, 200);
    for host in ["169.254.169.254", "127.0.0.1"] {
        let answer = ask(at, "GET", PATH, &[("Metadata", "true"), ("Host", host)]).await;
        assert_eq!(answer.status, 200, "{host}");
    }
    server.stop().await;
}

#[tokio::test]
async fn five_a_second_for_each_peer() {
    let bench = Bench::new().await;
    let chip = bench.milan();
    bench.provision(&chip, &chip.reported);
    let mut config = bench.config();
    config.http.requests_per_second = 5;
    let server = bench.start(&config).await;
    let mut refused = 0;
    for _ in 0..30 {
        let answer = get(server.http, PATH).await;
        if answer.status == 429 {
            assert_eq!(answer.header("retry-after"), "1");
            assert!(answer.body.starts_with(r#"{"error":"#));
            refused += 1;
        } else {
            assert_eq!(answer.status, 200);
        }
    }
    assert!(refused > 0);
    server.stop().await;
}

#[tokio::test]
async fn the_instance_where_it_is_known() {
    let bench = Bench::new().await;
    let server = bench.ready().await;
    let target = "/metadata/instance?api-version=2021-02-01";
    let answer = get(server.http, target).await;
    assert_eq!((answer.status, answer.cause()), (404, "not-configured"));
    server.stop().await;
    let mut config = bench.config();
    config.instance.location = Some("westeurope".to_owned());
    let server = bench.start(&config).await;
    let answer = get(server.http, target).await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (200, r#"{"compute":{"location":"westeurope"}}"#)
    );
    assert_eq!(ask(server.http, "GET", target, &[]).await.status, 400);
    server.stop().await;
}

#[tokio::test]
async fn questions_about_sgx_are_handed_on() {
    let bench = Bench::new().await;
    let server = bench.ready().await;
    let at = server.http;
    let target = "/metadata/THIM/sgx/certification/v4/pckcert?qeid=0A%20b&pceid=0000&api-version=x";
    let said = vec![
        ("SGX-PCK-Certificate-Issuer-Chain", "a%20chain".to_owned()),
        ("TCBm", "0B0B".to_owned()),
        ("Request-ID", "abc".to_owned()),
        ("Content-Type", "application/x-pem-file".to_owned()),
        ("Set-Cookie", "a=b".to_owned()),
    ];
    bench.service_does(Does::Says(200, said, "the certificate".to_owned()));
    let answer = get(at, target).await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (200, "the certificate")
    );
    assert_eq!(
        answer.header("sgx-pck-certificate-issuer-chain"),
        "a%20chain"
    );
    assert_eq!(
        (answer.header("tcbm"), answer.header("request-id")),
        ("0B0B", "abc")
    );
    assert_eq!(answer.header("content-type"), "application/x-pem-file");
    assert_eq!(answer.header("set-cookie"), "");
    let asked = bench.targets.lock().unwrap().last().unwrap().clone();
    assert!(
        asked.starts_with(&format!("GET {target} HTTP/1.1\r\n")),
        "{asked}"
    );
    let head = ask(at, "HEAD", target, &[("Metadata", "true")]).await;
    assert_eq!(
        (
            head.status,
            head.body.as_str(),
            head.header("content-length")
        ),
        (200, "", "15")
    );

    let cause = vec![
        ("THIM-Cause", "no-manifest".to_owned()),
        ("Retry-After", "7".to_owned()),
    ];
    bench.service_does(Does::Says(404, cause, "No data.".to_owned()));
    let answer = get(at, target).await;
    assert_eq!(
        (answer.status, answer.cause(), answer.header("retry-after")),
        (404, "no-manifest", "7")
    );

    let elsewhere = vec![("Location", "http://evil.example/".to_owned())];
    bench.service_does(Does::Says(302, elsewhere, String::new()));
    let calls = bench.calls();
    let answer = get(at, target).await;
    assert_eq!(
        (answer.status, answer.cause(), answer.header("location")),
        (503, "service-refused", "")
    );
    assert_eq!(bench.calls(), calls + 1);

    bench.service_does(Does::Says(200, Vec::new(), "x".repeat(1024 * 1024 + 1)));
    assert_eq!(get(at, target).await.status, 503);
    bench.service_does(Does::Says(200, Vec::new(), "x".repeat(1024 * 1024)));
    assert_eq!(get(at, target).await.body.len(), 1024 * 1024);

    bench.service_does(Does::Closes);
    assert_eq!(get(at, target).await.cause(), "service-unreachable");
    bench.service_does(Does::Hangs);
    let begun = Instant::now();
    let answer = get(at, target).await;
    assert_eq!((answer.status, answer.cause()), (503, "service-timeout"));
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );

    let calls = bench.calls();
    for (method, target, status) in [
        ("POST", target, 405),
        ("GET", "/metadata/THIM/sgx/../../thim/v1/status", 400),
        (
            "GET",
            "/metadata/THIM/sgx/%2e%2e/%2e%2e/thim/v1/status",
            400,
        ),
        ("GET", "/metadata/THIM/sgx", 404),
    ] {
        let answer = ask(
            at,
            method,
            target,
            &[("Metadata", "true"), ("Content-Length", "0")],
        )
        .await;
        assert_eq!(answer.status, status, "{method} {target}");
    }
    assert_eq!(ask(at, "GET", target, &[]).await.status, 400);
    assert_eq!(
        bench.calls(),
        calls,
        "what is refused does not reach the service"
    );
    server.stop().await;
}

#[tokio::test]
async fn probes_and_metrics_apart() {
    let bench = Bench::new().await;
    let mut config = bench.config();
    config.health.listen = Listen::At("127.0.0.1:0".parse().unwrap());
    bench.service_does(Does::Closes);
    let chip = bench.milan();
    bench.provision(&chip, &chip.reported);
    let server = bench.start(&config).await;
    let health = server.health.unwrap();
    assert_eq!(get(server.http, PATH).await.status, 503);
    assert_eq!(ask(health, "GET", "/healthz/live", &[]).await.status, 200);
    let ready = ask(health, "GET", "/healthz/ready", &[]).await;
    assert_eq!(ready.status, 503);
    assert!(ready.body.starts_with("service-unreachable: "));
    bench.service_does(Does::Answers);
    bench.advance(3600);
    server.agent.look().await;
    assert_eq!(ask(health, "GET", "/healthz/ready", &[]).await.status, 200);
    assert_eq!(get(server.http, PATH).await.status, 200);
    let metrics = ask(health, "GET", "/metrics", &[]).await.body;
    for line in [
        "thim_agent_requests_total{status=\"200\"} 1",
        "thim_agent_requests_total{status=\"503\"} 1",
        "thim_agent_fetches_total{outcome=\"failed\"} 1",
        "thim_agent_fetches_total{outcome=\"obtained\"} 1",
        "thim_agent_serving 1",
        "thim_agent_host_known 1",
        "thim_agent_write_failures_total 0",
    ] {
        assert!(
            metrics.lines().any(|there| there == line),
            "{line}\n{metrics}"
        );
    }
    assert!(!metrics.contains(&chip.hwid_hex()));
    assert_eq!(
        ask(health, "POST", "/healthz/live", &[("Content-Length", "0")])
            .await
            .status,
        405
    );
    assert_eq!(get(health, PATH).await.status, 404);
    assert_eq!(get(server.http, "/metrics").await.status, 404);
    assert_eq!(get(server.http, "/healthz/live").await.status, 404);
    server.stop().await;
}

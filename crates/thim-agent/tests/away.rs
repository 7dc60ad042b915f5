//! The service is away, slow, or not to be trusted; the disk is full or damaged; the firmware changes.

#![allow(clippy::unwrap_used, reason = "a panic is the report")]

mod harness;

use std::time::{Duration, Instant};

use harness::{Bench, Does, PATH, get, issue};
use thim_agent::manners::Certificates;
use thim_sim::FaultRule;
use thim_sim::kds::{AmdProduct, ChipSpec, SimTcb};

const DAY: i64 = 86_400;

#[tokio::test]
async fn a_start_without_the_service() {
    let bench = Bench::new().await;
    let server = bench.ready().await;
    let before = get(server.http, PATH).await.body;
    server.stop().await;
    for does in [Does::Closes, Does::Hangs] {
        bench.service_does(does);
        let server = bench.start(&bench.config()).await;
        let begun = Instant::now();
        assert_eq!(get(server.http, PATH).await.body, before);
        assert!(begun.elapsed() < Duration::from_millis(900));
        server.stop().await;
    }
    // For years, if need be: a certificate is good until it ends.
    bench.advance(6 * 365 * DAY);
    bench.service_does(Does::Closes);
    let server = bench.start(&bench.config()).await;
    assert_eq!(get(server.http, PATH).await.body, before);
    // And not a day longer.
    bench.advance(370 * DAY);
    let answer = get(server.http, PATH).await;
    assert_eq!(answer.status, 503, "the clock is looked at by each answer");
    server.agent.look().await;
    let answer = get(server.http, PATH).await;
    assert_eq!(answer.status, 503);
    bench.service_does(Does::Answers);
    bench.advance(3600);
    server.agent.look().await;
    assert_eq!(get(server.http, PATH).await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn nothing_on_disk_and_nobody_there() {
    let bench = Bench::new().await;
    let chip = bench.milan();
    bench.provision(&chip, &chip.reported);
    for (does, cause) in [
        (Does::Closes, "service-unreachable"),
        (Does::Hangs, "fetching"),
    ] {
        bench.service_does(does);
        let server = bench.start(&bench.config()).await;
        let begun = Instant::now();
        let answer = get(server.http, PATH).await;
        assert!(
            begun.elapsed() < Duration::from_secs(1),
            "{:?}",
            begun.elapsed()
        );
        assert_eq!((answer.status, answer.cause()), (503, cause));
        let seconds: u64 = answer.header("retry-after").parse().unwrap();
        assert!((1..=3600).contains(&seconds));
        assert!(answer.body.starts_with(r#"{"error":"Service unavailable."#));
        server.stop().await;
    }
    // A port where nobody listens.
    let mut config = bench.config();
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    config.service.url = format!("http://{closed}");
    let server = bench.start(&config).await;
    assert_eq!(get(server.http, PATH).await.cause(), "service-unreachable");
    server.stop().await;
}

#[tokio::test]
async fn what_the_service_says_is_handed_on_and_obeyed() {
    let bench = Bench::new().await;
    let chip = bench.milan();
    bench.provision(&chip, &chip.reported);
    let said = vec![
        (
            "THIM-Cause",
            format!(
                "kds-throttled; detail=\"ask for {} later\"",
                chip.hwid_hex()
            ),
        ),
        ("Retry-After", "40".to_owned()),
    ];
    bench.service_does(Does::Says(503, said, String::new()));
    let server = bench.start(&bench.config()).await;
    let answer = get(server.http, PATH).await;
    assert_eq!(
        (answer.status, answer.cause(), answer.header("retry-after")),
        (503, "kds-throttled", "40")
    );
    assert_eq!(
        answer.header("thim-cause"),
        "kds-throttled",
        "what could be an id is not handed on"
    );
    let calls = bench.calls();
    for (secs, asked) in [(39, 0), (1, 1)] {
        bench.advance(secs);
        server.agent.look().await;
        assert_eq!(bench.calls(), calls + asked);
    }
    // One that gives no reason, and one that sends elsewhere.
    for status in [404, 302, 500] {
        bench.service_does(Does::Says(status, Vec::new(), String::new()));
        bench.advance(3600);
        server.agent.look().await;
        let answer = get(server.http, PATH).await;
        assert_eq!(
            (answer.status, answer.cause()),
            (503, "service-refused"),
            "{status}"
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn what_does_not_verify_is_not_served() {
    let bench = Bench::new().await;
    let chip = bench.milan();
    let management = bench.kds.management();
    let good = issue(&bench.kds, &chip, &chip.reported).await.unwrap();
    let other = management
        .add_chip(&ChipSpec::new(AmdProduct::Milan))
        .unwrap();
    let another_chip = issue(&bench.kds, &other, &other.reported).await.unwrap();
    let lower = SimTcb::new(0, 0, 0, 1);
    let mut another_tcb = issue(&bench.kds, &chip, &lower).await.unwrap();
    another_tcb.tcbm.clone_from(&good.tcbm);
    let faulty = |fault: &str| {
        let rule = serde_json::json!({ "fault": fault, "match": "/vcek/v1/Milan" });
        let rule: FaultRule<thim_sim::kds::KdsFault> = serde_json::from_value(rule).unwrap();
        management.set_fault(rule).unwrap();
    };
    faulty("tampered");
    let tampered = issue(&bench.kds, &chip, &chip.reported).await.unwrap();
    management.clear_faults();
    faulty("wrong-key");
    let impostor = issue(&bench.kds, &chip, &chip.reported).await.unwrap();
    management.clear_faults();
    faulty("expired");
    let mut expired = issue(&bench.kds, &chip, &chip.reported).await.unwrap();
    expired
        .certificate_chain
        .clone_from(&good.certificate_chain);
    management.clear_faults();

    bench.provision(&chip, &chip.reported);
    let agent = bench.agent(&bench.config());
    let mut bodies: Vec<String> = [another_chip, another_tcb, tampered, impostor, expired]
        .iter()
        .map(thim_client::ThimCertification::to_json)
        .collect();
    bodies.extend(["{}", "", "<html>", "[]"].map(str::to_owned));
    bodies.push(" ".repeat(70_000));
    for body in bodies {
        let shown = body.get(..40).unwrap_or_default().to_owned();
        bench.service_does(Does::Says(200, Vec::new(), body));
        bench.advance(3600);
        agent.look().await;
        let cause = agent.unready().expect("nothing is served");
        assert_eq!(cause.token, "untrusted", "{shown}");
        assert!(!cause.detail.contains(&chip.hwid_hex()[..16]));
        assert!(!bench.path("data").exists(), "nothing is kept");
    }
    // The good one is served, and the bad ones afterwards change nothing.
    bench.service_does(Does::Says(200, Vec::new(), good.to_json()));
    bench.advance(3600);
    agent.look().await;
    let served = agent
        .certification(&Certificates::default())
        .await
        .unwrap()
        .body;
    bench.service_does(Does::Says(200, Vec::new(), "{}".to_owned()));
    bench.advance(DAY);
    agent.look().await;
    assert_eq!(
        agent
            .certification(&Certificates::default())
            .await
            .unwrap()
            .body,
        served
    );
}

#[tokio::test]
async fn damaged_and_foreign_files_are_told_and_replaced() {
    let bench = Bench::new().await;
    let chip = bench.milan();
    let server = bench.ready().await;
    server.stop().await;
    let file = bench.path("data/certification.json");
    let good = std::fs::read_to_string(&file).unwrap();
    let other = bench
        .kds
        .management()
        .add_chip(&ChipSpec::new(AmdProduct::Milan))
        .unwrap();
    let foreign = issue(&bench.kds, &other, &other.reported)
        .await
        .unwrap()
        .to_json();
    let half = &good[..good.len() / 2];
    let wrapped =
        format!(r#"{{"version":1,"obtained":"2026-01-01T00:00:00Z","certification":{foreign}}}"#);
    for content in [
        "",
        half,
        "null",
        "{}",
        &good.replace("\"version\":1", "\"version\":2"),
        &good.replace("MII", "MIJ"),
        &wrapped,
        &" ".repeat(100_000),
    ] {
        std::fs::write(&file, content).unwrap();
        bench.service_does(Does::Closes);
        let agent = bench.agent(&bench.config());
        agent.look().await;
        assert_eq!(
            agent.unready().expect("nothing is served").token,
            "service-unreachable"
        );
        assert_eq!(
            std::fs::read_to_string(&file).unwrap(),
            content,
            "it is left for people to look at"
        );
        bench.service_does(Does::Answers);
        bench.advance(3600);
        agent.look().await;
        assert!(agent.unready().is_none());
        assert!(
            std::fs::read_to_string(&file)
                .unwrap()
                .contains(&chip.reported.tcbm(chip.product))
        );
    }
}

#[tokio::test]
async fn a_disk_that_takes_nothing() {
    let bench = Bench::new().await;
    let chip = bench.milan();
    bench.provision(&chip, &chip.reported);
    // A file where the directory should be: also for root, who may write everywhere.
    std::fs::write(bench.path("data"), "in the way").unwrap();
    let mut config = bench.config();
    config.output.host_amd_cert = Some(bench.path("absent/host-amd-cert-base64"));
    config.output.certificate_table = Some("/dev/full".into());
    let agent = bench.agent(&config);
    agent.look().await;
    assert!(agent.unready().is_none(), "it serves on");
    let metrics = agent.metrics().text();
    assert!(
        metrics.contains("thim_agent_write_failures_total 3"),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_firmware_update_is_noticed() {
    let bench = Bench::new().await;
    let chip = bench.milan();
    let server = bench.ready().await;
    let old = get(server.http, PATH).await.wire();
    let newer = SimTcb::new(9, 0, 30, 230);
    let chip = bench
        .kds
        .management()
        .update_firmware(&chip.name, newer)
        .unwrap();
    // Until the host reports it, nothing changes.
    server.agent.look().await;
    assert_eq!(get(server.http, PATH).await.wire(), old);

    // The old one is out of service at the next look, though the service is away.
    bench.provision(&chip, &newer);
    bench.service_does(Does::Closes);
    server.agent.look().await;
    let answer = get(server.http, PATH).await;
    assert_eq!(
        (answer.status, answer.cause()),
        (503, "service-unreachable")
    );
    bench.service_does(Does::Answers);
    bench.advance(60);
    server.agent.look().await;
    let new = get(server.http, PATH).await.wire();
    assert_eq!(new.tcbm, newer.tcbm(chip.product));
    assert_ne!(new.vcek_cert, old.vcek_cert);
    // The old TCB can still be asked for by name.
    let answer = get(server.http, &format!("{PATH}?tcbVersion={}", old.tcbm)).await;
    assert_eq!(answer.wire().tcbm, old.tcbm);

    // A host file that is gone or half written changes nothing either.
    std::fs::write(bench.path("host.json"), "{\"chip").unwrap();
    server.agent.look().await;
    assert_eq!(get(server.http, PATH).await.wire(), new);
    assert!(
        server
            .agent
            .metrics()
            .text()
            .contains("thim_agent_host_known 0")
    );
    server.stop().await;
}

#[tokio::test]
async fn a_host_that_is_told_later() {
    let bench = Bench::new().await;
    let server = bench.start(&bench.config()).await;
    let begun = Instant::now();
    let answer = get(server.http, PATH).await;
    assert_eq!((answer.status, answer.cause()), (503, "host-unknown"));
    assert!(begun.elapsed() < Duration::from_secs(1));
    let chip = bench.milan();
    bench.provision(&chip, &chip.reported);
    server.agent.look().await;
    assert_eq!(get(server.http, PATH).await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn refreshes_ahead_and_backs_off() {
    let bench = Bench::new().await;
    let chip = bench.milan();
    bench.provision(&chip, &chip.reported);
    let agent = bench.agent(&bench.config());
    agent.look().await;
    assert_eq!(bench.calls(), 1);
    let first = agent
        .certification(&Certificates::default())
        .await
        .unwrap()
        .body;
    bench.advance(DAY / 2 - 8_640 - 1);
    agent.look().await;
    assert_eq!(bench.calls(), 1, "not before the middle");
    bench.advance(2 * 8_640 + 2);
    agent.look().await;
    assert_eq!(bench.calls(), 2);
    let second = agent
        .certification(&Certificates::default())
        .await
        .unwrap()
        .body;
    assert_ne!(first, second, "the key server signs anew");

    bench.service_does(Does::Closes);
    bench.advance(DAY);
    let before = bench.calls();
    for _ in 0..600 {
        agent.look().await;
        bench.advance(10);
    }
    let asked = bench.calls() - before;
    assert!((8..=30).contains(&asked), "{asked} in 100 minutes");
    assert_eq!(
        agent
            .certification(&Certificates::default())
            .await
            .unwrap()
            .body,
        second
    );
}

#[tokio::test]
async fn below_the_operators_floor_it_is_refused_where_that_is_wanted() {
    const BELOW: &str = "default; version=1; verdict=below-floor; short=\"snp 8<23\"";
    let bench = Bench::new().await;
    let server = bench.ready().await;
    server.stop().await;
    // Not wanted: it is the verifier's to judge.
    bench.service_does(Does::AnswersOf(BELOW));
    let server = bench.start(&bench.config()).await;
    bench.advance(40 * DAY);
    server.agent.look().await;
    assert_eq!(get(server.http, PATH).await.status, 200);
    server.stop().await;
    // Wanted: below the baseline alone is served, below the floor is not, and not after a start without the service either.
    let mut config = bench.config();
    config.service.refuse_below_floor = true;
    bench.service_does(Does::AnswersOf("default; version=1; verdict=below"));
    let server = bench.start(&config).await;
    bench.advance(40 * DAY);
    server.agent.look().await;
    assert_eq!(get(server.http, PATH).await.status, 200);
    bench.service_does(Does::AnswersOf(BELOW));
    bench.advance(40 * DAY);
    server.agent.look().await;
    let refused = get(server.http, PATH).await;
    assert_eq!((refused.status, refused.cause()), (503, "below-floor"));
    server.stop().await;
    bench.service_does(Does::Closes);
    let server = bench.start(&config).await;
    assert_eq!(get(server.http, PATH).await.status, 503);
    // The firmware is updated, or the floor lowered.
    bench.service_does(Does::Answers);
    bench.advance(3600);
    server.agent.look().await;
    assert_eq!(get(server.http, PATH).await.status, 200);
    server.stop().await;
}

//! What Intel's PCCS 1.27 answered, asked of THIM: same status, header names, content type and error text,
//! deviations listed with their reasons. Prints passed, deviating and failed, and fails on any deviation that is
//! not listed. Cases about platforms wait for the platforms' part of the service and are counted apart.

mod harness;

use std::collections::BTreeMap;

use harness::{at, vectors};
use serde::Deserialize;
use thim_server::clock::Clock;
use thim_server::config::Config;
use thim_server::intake::{self, File, Gathered};
use thim_server::server::{Server, World};

#[derive(Deserialize)]
struct Cases {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    n: u32,
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    status: u16,
    answer_headers: BTreeMap<String, String>,
    answer_text: Option<String>,
}

/// Deliberate deviations: case, status here, reason (design.md; docs/pccs-differences.md).
const DEVIATIONS: &[(u32, u16, &str)] = &[
    (4, 400, "update= together with a number is 400"),
    (
        21,
        404,
        "PCS's own qae/identity exists: a text says that none is held, not that the path is unknown",
    ),
    (29, 200, "crl?uri= knows both names of the root CRL"),
];

/// Paths of the platforms issue.
const PLATFORMS: &[&str] = &[
    "/pckcert",
    "/platforms",
    "/refresh",
    "/platformcollateral",
    "/appraisalpolicy",
];

/// Header names that THIM adds.
const OURS: &[&str] = &[
    "cache-control",
    "cache-status",
    "content-length",
    "date",
    "etag",
    "last-modified",
    "sgx-pck-crl-issuer-chain",
    "sgx-tcb-info-issuer-chain",
    "thim-baseline",
    "thim-cause",
    "thim-clock",
    "thim-freshness",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_case_about_collateral_answers_as_pccs_did() {
    let Some(folder) = vectors()
        .map(|vectors| vectors.join("../conformance"))
        .filter(|folder| folder.exists())
    else {
        println!("skipped: no vectors");
        return;
    };
    let directory = tempfile::tempdir().expect("a directory");
    let mut config = Config {
        data: directory.path().join("data"),
        ..Config::default()
    };
    config.http.listen = "127.0.0.1:0".to_owned();
    config.https.listen = "off".to_owned();
    config.trust.intel_roots = vec![folder.join("root.pem")];
    config.intel.fill = thim_server::upstream::Fill::Offline;
    let now = at("2026-11-25T00:00:00Z");
    let world = World {
        clock: Clock::by_hand(now),
        clock_chosen: true,
        today: now,
        random: [1; 48],
    };
    let server = Server::start(&config, world)
        .await
        .expect("the server starts");
    let bytes = std::fs::read(folder.join("platform_collaterals.json")).expect("the collateral");
    let mut gathered = Gathered::default();
    gathered.add(&File {
        path: "platform_collaterals.json".to_owned(),
        bytes: bytes.into(),
    });
    let report = intake::import(&server.collateral, gathered, now, &mut |_, _| {})
        .await
        .expect("the store works");
    assert!(report.refused.is_empty(), "{report:?}");

    let text = std::fs::read(folder.join("pccs-1.27.json")).expect("the cases");
    let cases: Cases = serde_json::from_slice(&text).expect("cases");
    let base = format!("http://{}", server.http.expect("HTTP is on"));
    let client = reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("a client");
    let (mut passed, mut deviating, mut waiting, mut failed) = (0, 0, 0, Vec::new());
    for case in cases.cases {
        if PLATFORMS.iter().any(|part| {
            case.path
                .split('?')
                .next()
                .unwrap_or_default()
                .ends_with(part)
        }) {
            waiting += 1;
            continue;
        }
        let mut request = client.request(
            case.method.parse().expect("a method"),
            format!("{base}{}", case.path),
        );
        for (name, value) in &case.headers {
            request = request.header(name, value);
        }
        let response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let body = response.bytes().await.expect("a whole body");
        let deviation = DEVIATIONS.iter().find(|(n, ..)| *n == case.n);
        let expected_status = deviation.map_or(case.status, |(_, status, _)| *status);
        let mut faults = Vec::new();
        if status != expected_status {
            faults.push(format!("status {status}, wanted {expected_status}"));
        }
        if deviation.is_none() {
            for (name, value) in &case.answer_headers {
                match headers.get(name).map(|found| found.to_str().unwrap_or("?")) {
                    None => faults.push(format!("no {name}")),
                    Some("") => faults.push(format!("an empty {name}")),
                    Some(found) if value != "..." && found != value => {
                        faults.push(format!("{name}: {found}, wanted {value}"))
                    }
                    Some(_) => {}
                }
            }
            for name in headers.keys() {
                let known = case
                    .answer_headers
                    .keys()
                    .any(|known| known.eq_ignore_ascii_case(name.as_str()));
                if !known && !OURS.contains(&name.as_str()) {
                    faults.push(format!("unlisted header {name}"));
                }
            }
            if let Some(text) = &case.answer_text {
                // The capture has a dot for each line end, and is cut.
                let found = String::from_utf8_lossy(&body).replace('\n', ".");
                if !found.starts_with(text.as_str()) {
                    faults.push(format!("text {found:?}, wanted {text:?}"));
                }
            }
        }
        match (faults.is_empty(), deviation) {
            (true, None) => passed += 1,
            (true, Some((n, _, reason))) => {
                deviating += 1;
                println!("case {n} deviates: {reason}");
            }
            (false, _) => failed.push(format!(
                "case {} {} {}: {}",
                case.n,
                case.method,
                case.path,
                faults.join("; ")
            )),
        }
    }
    println!(
        "conformance: {passed} passed, {deviating} deviating, {} failed; {waiting} wait for the platforms",
        failed.len()
    );
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert_eq!(
        (passed + deviating, deviating),
        (32, DEVIATIONS.len()),
        "every case was asked"
    );
    server.stop().await;
}

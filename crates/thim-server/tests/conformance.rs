//! What Intel's PCCS 1.27 answered, asked of THIM: same status, header names, content type and error text. THIM is
//! filled as PCCS was, by `PUT platformcollateral` over HTTP in fill mode `offline`, with PCCS's token hashes. Prints
//! passed, deviating and failed, and fails on any deviation that is not listed here and in `docs/pccs-differences.md`.

mod harness;
mod pccs_support;

use std::collections::BTreeMap;

use pccs_support::{Captured, hex_sha384, policy};
use serde::Deserialize;

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
    body: Option<String>,
    status: u16,
    answer_headers: BTreeMap<String, String>,
    answer_text: Option<String>,
}

/// Deliberate deviations: case, status here, and what `docs/pccs-differences.md` says of it.
const DEVIATIONS: &[(u32, u16, &str)] = &[
    (4, 400, "| `update=` together with a number |"),
    (21, 404, "| PCS's own paths: `qae/identity`,"),
    (29, 200, "both names of the root CRL"),
    (
        66,
        503,
        "| `refresh?type=certs&fmspc=`, and lists with commas | 400 | all platforms;",
    ),
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
    "transfer-encoding",
];

const DIFFERENCES: &str = include_str!("../../../docs/pccs-differences.md");

#[tokio::test(flavor = "multi_thread")]
async fn every_case_answers_as_pccs_did() {
    let Some(captured) = Captured::start().await else {
        return;
    };
    let put = captured.put_collaterals().await;
    assert_eq!(
        (put.status, put.text()),
        (200, "Operation successful."),
        "{:?}",
        put.headers
    );
    let text = std::fs::read(captured.folder.join("pccs-1.27.json")).expect("the cases");
    let cases: Cases = serde_json::from_slice(&text).expect("cases");
    let (mut passed, mut deviating, mut failed) = (0, 0, Vec::new());
    for case in cases.cases {
        replay_before(&captured, case.n).await;
        let mut request = captured.request(&case.method, &captured.filled(&case.path));
        for (name, value) in &case.headers {
            request = request.header(name, value);
        }
        match case.body.as_deref() {
            None => {}
            Some("<2200000 bytes>") => request = request.body(vec![b'x'; 2_200_000]),
            Some(body) => request = request.body(captured.filled(body)),
        }
        let answer = captured.send(request).await;
        let deviation = DEVIATIONS.iter().find(|(n, ..)| *n == case.n);
        let expected_status = deviation.map_or(case.status, |(_, status, _)| *status);
        let mut faults = Vec::new();
        if answer.status != expected_status {
            let cause = answer.header("thim-cause");
            faults.push(format!(
                "status {}, wanted {expected_status} ({cause})",
                answer.status
            ));
        }
        match deviation {
            None => compare(&case, &answer, &mut faults),
            Some((_, status, said)) => {
                if *status == case.status && compared(&case, &answer).is_empty() {
                    faults.push("it deviates no more".to_owned());
                }
                if !DIFFERENCES.contains(said) {
                    faults.push(format!("docs/pccs-differences.md does not say {said:?}"));
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
        "conformance: {passed} passed, {deviating} deviating, {} failed",
        failed.len()
    );
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert_eq!(
        (passed + deviating, deviating),
        (66, DEVIATIONS.len()),
        "every case was asked"
    );
    captured.stop().await;
}

/// Requests that the capture left out, in their places: what comes after them counts what they did.
async fn replay_before(captured: &Captured, n: u32) {
    match n {
        // n=33: platform A with a higher raw TCB, the third row of the lists of n=49 and n=50.
        34 => {
            let path = captured.filled(
                "/sgx/certification/v4/pckcert?qeid={qeidA}&cpusvn=16160204018010000000000000000000&pcesvn=0e00&pceid=0000",
            );
            let answer = captured.send(captured.request("GET", &path)).await;
            assert_eq!(answer.status, 200, "{:?}", answer.headers);
        }
        // n=58: a form, of another QE id than n=55: the second row of the list of n=62.
        59 => {
            let request = captured
                .request("POST", "/sgx/certification/v4/platforms")
                .header("user-token", "userpw")
                .header("Content-Type", "application/x-www-form-urlencoded")
                .body("qe_id=yy&pce_id=0000&platform_manifest=aabb");
            let answer = captured.send(request).await;
            assert_eq!(
                (answer.status, answer.text()),
                (200, "Operation successful.")
            );
        }
        // n=73: the policy that n=76 reads.
        74 => {
            let policy = policy();
            let request = captured
                .request("PUT", "/sgx/certification/v4/appraisalpolicy")
                .header("admin-token", "adminpw")
                .header("Content-Type", "application/json")
                .body(format!(
                    "{{\"policy\":\"{policy}\",\"is_default\":true,\"fmspc\":\"00906ed50000\"}}"
                ));
            let answer = captured.send(request).await;
            assert_eq!(
                (answer.status, answer.text()),
                (200, hex_sha384(policy.as_bytes()).as_str())
            );
        }
        _ => {}
    }
}

fn compared(case: &Case, answer: &harness::Answer) -> Vec<String> {
    let mut faults = Vec::new();
    compare(case, answer, &mut faults);
    faults
}

fn compare(case: &Case, answer: &harness::Answer, faults: &mut Vec<String>) {
    for (name, value) in &case.answer_headers {
        match answer
            .headers
            .get(name)
            .map(|found| found.to_str().unwrap_or("?"))
        {
            None => faults.push(format!("no {name}")),
            Some("") => faults.push(format!("an empty {name}")),
            Some(found) if value != "..." && found != value => {
                faults.push(format!("{name}: {found}, wanted {value}"))
            }
            Some(_) => {}
        }
    }
    for name in answer.headers.keys() {
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
        let found = String::from_utf8_lossy(&answer.body).replace('\n', ".");
        if !found.starts_with(text.as_str()) {
            faults.push(format!("text {found:?}, wanted {text:?}"));
        }
    }
}

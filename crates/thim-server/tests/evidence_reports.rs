//! `POST /thim/v1/evidence/explain` with SEV-SNP reports, as a verifier meets it: every form, each verdict, what is fetched
//! and what is not, parameters that are none of a report's; and never a chip id.

mod harness;
mod talkative_log;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use harness::{Answer, Fleet};
use serde_json::Value;
use talkative_log::Log;
use thim_server::chips::{Offered, OfferedAs};
use thim_sim::{AmdCa, AmdProduct, KdsFault, ReportSpec, ReportVersion};
use thim_verify::MAX_QUOTE_BYTES;
use thim_verify::amd::{Endorsement, Vlek};

async fn post(fleet: &Fleet, query: &str, bytes: &[u8]) -> Answer {
    let url = fleet.url(&format!("/thim/v1/evidence/explain{query}"));
    fleet
        .send(fleet.client.post(url).body(bytes.to_vec()))
        .await
}

async fn explained(fleet: &Fleet, query: &str, bytes: &[u8]) -> Value {
    let answer = post(fleet, query, bytes).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let told: Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert!(told["facts"].get("chip_id").is_none());
    told
}

/// What did not pass, as `name outcome`.
fn flaws(told: &Value) -> Vec<String> {
    let findings = told["findings"].as_array().expect("findings").iter();
    let line = |finding: &Value| {
        let word = |name: &str| finding[name].as_str().expect("a word").to_owned();
        format!("{} {}", word("name"), word("outcome"))
    };
    let lines = findings.map(line);
    lines.filter(|line| !line.ends_with(" passed")).collect()
}

/// Accepted, and nothing was left aside.
#[track_caller]
fn accepted(told: &Value) {
    assert_eq!(told["verdict"], "accepted", "{told:#}");
    assert_eq!(told["tee"], "sev-snp");
    assert_eq!(flaws(told), Vec::<String>::new());
    assert!(told.get("notes").is_none(), "{told:#}");
}

fn spec(version: ReportVersion) -> ReportSpec {
    ReportSpec {
        version,
        ..ReportSpec::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_a_good_report_is_accepted_for_one_call() {
    let fleet = Fleet::with_kds(|_| {}).await;
    for (product, version) in [
        (AmdProduct::Milan, ReportVersion::V3),
        (AmdProduct::Genoa, ReportVersion::V3),
        (AmdProduct::Turin, ReportVersion::V5),
    ] {
        let before = fleet.vcek_calls();
        let report = fleet.kds().chip_of(product).report(&spec(version));
        let mut blob = b"HCLA".to_vec();
        blob.resize(0x20, 0);
        blob.extend_from_slice(&report);
        blob.resize(2600, 0);
        for (bytes, encoding, container) in [
            (report.to_vec(), "binary", "raw"),
            (
                BASE64URL_NOPAD.encode(&report).into_bytes(),
                "base64",
                "raw",
            ),
            (HEXLOWER.encode(&report).into_bytes(), "hex", "raw"),
            (blob.clone(), "binary", "hcl"),
            (BASE64URL_NOPAD.encode(&blob).into_bytes(), "base64", "hcl"),
        ] {
            let told = explained(&fleet, "", &bytes).await;
            accepted(&told);
            let facts = &told["facts"];
            assert_eq!(
                (&facts["encoding"], &facts["container"]),
                (&encoding.into(), &container.into())
            );
            assert_eq!(facts["product"], product.to_string());
            for part in ["endorsement", "chain", "crl"] {
                assert_eq!(facts[part]["source"], "store", "{part}");
            }
        }
        assert_eq!(fleet.vcek_calls() - before, 1, "{product}");
        // Its nearest neighbours are no reports.
        for bytes in [
            &report[..1183],
            &[&report[..], &[0]].concat(),
            &blob[..2599],
        ] {
            let told = explained(&fleet, "", bytes).await;
            assert_eq!(told["verdict"], "not-accepted");
            assert_eq!(flaws(&told), ["format failed"]);
            assert_eq!(told["tee"], "sev-snp");
        }
    }
    // Neither a quote nor a report; the first might be of a version that is to come.
    for (bytes, verdict) in [
        (&b"<html>"[..], "unknown"),
        (b"A=A", "not-accepted"),
        (b"", "not-accepted"),
    ] {
        let told = explained(&fleet, "", bytes).await;
        assert_eq!(told["tee"], "unknown");
        assert_eq!(told["verdict"], verdict, "{told:#}");
    }
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_guest_a_forged_report_and_a_revoked_authority() {
    let fleet = Fleet::with_kds(|_| {}).await;
    let chip = fleet.kds().chip_of(AmdProduct::Milan);
    let debug = chip.report(&ReportSpec {
        debug: true,
        ..ReportSpec::default()
    });
    let told = explained(&fleet, "", &debug).await;
    assert_eq!(told["verdict"], "not-accepted");
    assert_eq!(flaws(&told), ["debug failed"]);
    for (allow, verdict) in [
        ("debug", "accepted"),
        ("expired,debug", "accepted"),
        ("migration-agent", "not-accepted"),
    ] {
        let told = explained(&fleet, &format!("?allow={allow}"), &debug).await;
        assert_eq!(told["verdict"], verdict, "{allow}");
    }

    let mut report = chip.report(&ReportSpec::default());
    accepted(&explained(&fleet, "", &report).await);
    report[0x90] ^= 1;
    let told = explained(&fleet, "", &report).await;
    assert_eq!(told["verdict"], "not-accepted");
    assert_eq!(flaws(&told), ["signature failed"]);
    report[0x90] ^= 1;

    fleet.advance(60).await;
    fleet
        .kds()
        .revoke(AmdProduct::Milan, AmdCa::Ask)
        .expect("revoked");
    fleet.advance(25 * 3600).await;
    fleet.refresh().await;
    let told = explained(&fleet, "", &report).await;
    assert_eq!(told["verdict"], "not-accepted", "{told:#}");
    assert_eq!(flaws(&told), ["revocation failed"]);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_had_is_unknown_and_said_why() {
    let fleet = Fleet::with_kds(|_| {}).await;
    let chip = fleet.kds().chip_of(AmdProduct::Genoa);
    let report = chip.report(&ReportSpec::default());
    for (fault, why) in [
        (KdsFault::Throttle { retry_after: 7 }, "come back in "),
        (KdsFault::FalseNotFound, "the vendor has none"),
        (KdsFault::WrongKey, "refused"),
        (KdsFault::Down, "no upstream answers"),
    ] {
        fleet.kds_fault(fault.clone(), "SPL=");
        let told = explained(&fleet, "", &report).await;
        assert_eq!(told["verdict"], "unknown", "{fault:?}");
        assert!(flaws(&told).contains(&"signature not-checked".to_owned()));
        let notes = told["notes"].to_string();
        assert!(notes.contains(why), "{fault:?}: {notes}");
        fleet.kds().clear_faults();
        fleet.advance(120).await;
    }
    accepted(&explained(&fleet, "", &report).await);
    // Nobody can tell whose a masked one is, and nobody signed this one.
    let masked = chip.report(&ReportSpec {
        mask_chip_id: true,
        ..ReportSpec::default()
    });
    let calls = fleet.vcek_calls();
    let told = explained(&fleet, "", &masked).await;
    assert_eq!(told["verdict"], "unknown");
    let mut unsigned = report;
    unsigned[0x48] = 7 << 2;
    let told = explained(&fleet, "", &unsigned).await;
    assert_eq!(told["verdict"], "not-accepted");
    assert!(flaws(&told).contains(&"signing-key failed".to_owned()));
    assert_eq!(fleet.vcek_calls(), calls);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_instant_goes_by_what_is_held_and_asks_nobody() {
    let fleet = Fleet::with_kds(|_| {}).await;
    let chip = fleet.kds().chip_of(AmdProduct::Milan);
    let report = chip.report(&ReportSpec::default());
    let at = |time: &dyn std::fmt::Display| format!("?at={time}");
    let calls = |fleet: &Fleet| fleet.kds().status().calls;
    let before = calls(&fleet);
    let start = fleet.clock.now();
    let told = explained(&fleet, &at(&start), &report).await;
    assert_eq!(
        (&told["verdict"], calls(&fleet)),
        (&"unknown".into(), before)
    );
    accepted(&explained(&fleet, "", &report).await);
    let before = calls(&fleet);
    fleet.advance(60).await;
    let told = explained(&fleet, &at(&start), &report).await;
    accepted(&told);
    assert_eq!(told["at"], start.to_string());
    assert_eq!(calls(&fleet), before);
    // Before anything of it was signed; and when all of it has ended.
    let told = explained(&fleet, "?at=2019-01-01T00:00:00Z", &report).await;
    assert_eq!(told["verdict"], "unknown");
    let late = "?at=2040-01-01T00:00:00Z";
    let told = explained(&fleet, late, &report).await;
    assert_eq!(flaws(&told), ["validity failed", "revocation not-checked"]);
    let told = explained(
        &fleet,
        &format!("{late}&allow=expired,unchecked-revocation"),
        &report,
    )
    .await;
    assert_eq!(told["verdict"], "accepted");
    assert_eq!(calls(&fleet), before);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_of_version_2_and_a_clouds_key() {
    let fleet = Fleet::with_kds(|_| {}).await;
    let genoa = fleet.kds().chip_of(AmdProduct::Genoa);
    let report = genoa.report(&spec(ReportVersion::V2));
    let told = explained(&fleet, "?product=milan", &report).await;
    assert_eq!(told["verdict"], "unknown");
    let told = explained(&fleet, "", &report).await;
    accepted(&told);
    assert_eq!(told["facts"]["product"], "Genoa");
    accepted(&explained(&fleet, "?product=genoa", &report).await);
    // What a chip is known under is not asked for elsewhere.
    let calls = fleet.vcek_calls();
    accepted(&explained(&fleet, "", &report).await);
    assert_eq!(fleet.vcek_calls(), calls);

    let chip = fleet.kds().chip_of(AmdProduct::Milan);
    let report = chip.vlek_report("CN=cloud", &ReportSpec::default());
    let told = explained(&fleet, "", &report).await;
    assert_eq!(told["verdict"], "unknown");
    assert!(told["notes"].to_string().contains("imported"), "{told:#}");
    // Two clouds at one TCB: the signature tells which.
    for cloud in ["CN=cloud", "CN=other"] {
        fleet.advance(10).await;
        let management = fleet.kds();
        let made = tokio::task::spawn_blocking(move || management.vlek(AmdProduct::Milan, cloud));
        let der = made.await.expect("made").expect("a VLEK");
        let offered = Offered {
            leaf: Endorsement::Vlek(Vlek::from_der(&der).expect("a VLEK")),
            offered: OfferedAs::Import,
            source: "vlek.crt",
            at: fleet.clock.now(),
        };
        let offered = fleet.server().chips.offer(offered).await;
        offered.expect("it verifies");
    }
    for cloud in ["CN=cloud", "CN=other"] {
        let report = chip.vlek_report(cloud, &ReportSpec::default());
        let told = explained(&fleet, "", &report).await;
        accepted(&told);
        assert_eq!(told["facts"]["endorsement"]["csp_id"], cloud);
    }
    let report = chip.vlek_report("CN=third", &ReportSpec::default());
    let told = explained(&fleet, "", &report).await;
    assert_eq!(flaws(&told), ["signature failed"]);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_that_are_wrong_and_bodies_that_are_too_large() {
    let fleet = Fleet::with_kds(|_| {}).await;
    let chip = fleet.kds().chip_of(AmdProduct::Milan);
    let report = chip.report(&spec(ReportVersion::V3));
    for (query, name) in [
        ("?against=17,18", "against"),
        ("?number=17", "number"),
        ("?update=early", "update"),
        ("?accept=UpToDate", "accept"),
        ("?product=Naples", "product"),
        ("?product=genoa", "product"),
        ("?allow=everything", "allow"),
        ("?at=yesterday", "at"),
        ("?chip=1", "chip"),
    ] {
        let answer = post(&fleet, query, &report).await;
        assert_eq!(answer.status, 400, "{query}: {}", answer.text());
        assert!(answer.text().contains(name), "{query}: {}", answer.text());
    }
    accepted(&explained(&fleet, "?product=milan", &report).await);
    // And of a quote's what is a report's.
    let answer = post(&fleet, "?product=milan", &[4, 0, 2, 0]).await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("product"), "{}", answer.text());
    assert_eq!(
        post(&fleet, "?allow=debug,expired", &report).await.status,
        200
    );

    let mut bytes = report.to_vec();
    bytes.resize(3 * MAX_QUOTE_BYTES, 0);
    let told = explained(&fleet, "", &bytes).await;
    assert_eq!(flaws(&told), ["format failed"]);
    bytes.push(0);
    assert_eq!(post(&fleet, "", &bytes).await.status, 413);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_and_no_log_tells_a_chip_id() {
    let log = Log::begin();
    let fleet = Fleet::with_kds(|_| {}).await;
    let mut secrets = Vec::new();
    let mut clean = Vec::new();
    for product in AmdProduct::ALL {
        let chip = fleet.kds().chip_of(product);
        let id = chip.hwid_hex();
        let bytes: Vec<String> = chip.hwid[..8].iter().map(ToString::to_string).collect();
        secrets.extend([
            id[..16].to_owned(),
            id[..16].to_uppercase(),
            bytes.join(", "),
        ]);
        let version = match product {
            AmdProduct::Turin => ReportVersion::V5,
            AmdProduct::Genoa | AmdProduct::Milan => ReportVersion::V3,
        };
        let report = chip.report(&spec(version));
        let mut forged = report;
        forged[0x2a0] ^= 1;
        fleet.kds_fault(KdsFault::WrongChip, "SPL=");
        clean.push(post(&fleet, "", &report).await);
        fleet.kds().clear_faults();
        fleet.advance(120).await;
        for (query, bytes) in [
            (String::new(), &report[..]),
            (String::new(), &forged),
            (String::new(), &report[..1000]),
            ("?at=2019-01-01T00:00:00Z".to_owned(), &report),
            (format!("?product={id}"), &report),
            ("?number=17".to_owned(), &report),
        ] {
            clean.push(post(&fleet, &query, bytes).await);
        }
    }
    clean.push(fleet.get("/thim/v1/events").await);
    clean.push(fleet.get("/metrics").await);
    fleet.stop().await;
    let mut texts: Vec<String> = clean
        .iter()
        .map(|answer| format!("{:?} {}", answer.headers, answer.text()))
        .collect();
    let log = log.bytes();
    let log = String::from_utf8_lossy(&log).into_owned();
    assert!(log.contains("thim_server"), "nothing was logged");
    texts.push(log);
    for text in texts {
        for secret in &secrets {
            let found = text.find(secret.as_str());
            let around =
                found.map(|at| &text[text.floor_char_boundary(at.saturating_sub(200))..at]);
            assert_eq!(around, None, "tells a chip id");
        }
    }
}

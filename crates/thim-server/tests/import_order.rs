//! Imports of a simulated vendor's answers: the order of files never matters, a second import finds nothing new, and
//! every container that can hold an answer gives the same editions.

#[path = "import_support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use support::{Kept, instant};
use thim_client::ImportReport;
use thim_server::intake::{self, File};
use thim_server::operations;
use thim_sim::{Ca, Revocation, Sim, SimConfig};
use thim_verify::TrustAnchors;

const START: &str = "2026-11-24T12:00:00Z";
const NOW: &str = "2026-11-25T12:00:00Z";

/// Answers and chains of two days, as files.
struct Recorded {
    files: Vec<File>,
    root_pem: String,
}

impl Recorded {
    async fn two_days() -> Self {
        let clock = Arc::new(AtomicI64::new(instant(START).secs()));
        let read = Arc::clone(&clock);
        let any_port = "127.0.0.1:0".parse().expect("an address");
        let sim = thim_sim::start(SimConfig {
            pcs_listen: any_port,
            management_listen: any_port,
            now: Arc::new(move || read.load(Ordering::SeqCst)),
            api_key: None,
        })
        .await
        .expect("a simulator");
        let mut recorded = Self {
            files: Vec::new(),
            root_pem: sim.root_pem().to_owned(),
        };
        recorded.day(&sim, 1).await;
        clock.fetch_add(6 * 3600, Ordering::SeqCst);
        sim.management()
            .revoke(&Revocation::random(Ca::Platform, 3))
            .expect("revoked");
        sim.management().resign().expect("signed again");
        recorded.day(&sim, 2).await;
        recorded
    }

    async fn day(&mut self, sim: &Sim, day: u32) {
        let client = reqwest::Client::new();
        let mut targets = vec![
            "/IntelSGXRootCA.der".to_owned(),
            "/sgx/certification/v4/pckcrl?ca=platform&encoding=der".to_owned(),
            "/sgx/certification/v4/pckcrl?ca=processor".to_owned(),
            "/sgx/certification/v4/qe/identity".to_owned(),
            "/tdx/certification/v4/qe/identity?update=early".to_owned(),
            "/sgx/certification/v4/tcbevaluationdatanumbers".to_owned(),
            "/tdx/certification/v4/tcbevaluationdatanumbers".to_owned(),
        ];
        for platform in sim.platforms().iter().take(3) {
            targets.push(format!(
                "/sgx/certification/v4/tcb?fmspc={}",
                platform.fmspc
            ));
            targets.push(format!(
                "/sgx/certification/v4/tcb?fmspc={}&update=early",
                platform.fmspc
            ));
        }
        for (place, target) in targets.iter().enumerate() {
            let answer = client
                .get(format!("{}{target}", sim.pcs_url()))
                .send()
                .await
                .expect("an answer");
            assert_eq!(answer.status(), 200, "{target}");
            let chain = answer
                .headers()
                .iter()
                .find(|(name, _)| name.as_str().ends_with("issuer-chain"));
            // As a header has it: percent-encoded.
            let chain = chain.map(|(_, value)| value.as_bytes().to_vec());
            let body = answer.bytes().await.expect("a body");
            self.files.push(File {
                path: format!("day{day}/{place:02}"),
                bytes: body,
            });
            self.files.extend(chain.map(|chain| File {
                path: format!("day{day}/{place:02}.chain"),
                bytes: chain.into(),
            }));
        }
    }

    fn anchors(&self) -> TrustAnchors {
        TrustAnchors::from_pem(self.root_pem.as_bytes()).expect("a root")
    }

    async fn imported(
        &self,
        files: Vec<File>,
    ) -> (ImportReport, BTreeMap<String, (String, String)>, Kept) {
        let kept = Kept::open(self.anchors(), NOW).await;
        let report = kept.import_gathered(files).await;
        let states = kept.states().await;
        (report, states, kept)
    }
}

/// A reproducible shuffle (Fisher and Yates; the generator is Knuth's MMIX).
fn shuffled(mut files: Vec<File>, mut seed: u64) -> Vec<File> {
    for place in (1..files.len()).rev() {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let other = usize::try_from(seed >> 33).expect("31 bits") % (place + 1);
        files.swap(place, other);
    }
    files
}

#[tokio::test]
async fn order_never_matters_and_a_second_import_finds_nothing_new() {
    let recorded = Recorded::two_days().await;
    let (report, states, kept) = recorded.imported(recorded.files.clone()).await;
    assert!(report.refused.is_empty(), "{:?}", report.refused);
    assert_eq!((report.held, report.future, report.ignored), (0, 0, 0));
    assert_eq!(report.admitted as usize, states.len());
    let objects = report.admitted + report.known;
    assert_eq!(objects, 2 * 13);
    let current = states
        .values()
        .filter(|(_, state)| state == "current")
        .count();
    assert_eq!(
        current, 13,
        "the second day took the first one's place: {states:?}"
    );

    let again = kept
        .import_gathered(shuffled(recorded.files.clone(), 7))
        .await;
    assert_eq!((again.admitted, again.known), (0, objects));
    assert_eq!(kept.states().await, states);

    for seed in 0..6 {
        let (other, found, _) = recorded
            .imported(shuffled(recorded.files.clone(), seed))
            .await;
        assert_eq!(other, report, "seed {seed}");
        assert_eq!(found, states, "seed {seed}");
    }
    let mut reversed = recorded.files.clone();
    reversed.reverse();
    assert_eq!(recorded.imported(reversed).await.1, states);
}

#[tokio::test]
async fn containers_of_the_same_answers_give_the_same_editions() {
    let recorded = Recorded::two_days().await;
    let answers: Vec<File> = recorded
        .files
        .iter()
        .filter(|file| file.path.starts_with("day1/"))
        .cloned()
        .collect();
    let (_, states, _) = recorded.imported(answers.clone()).await;
    let text = |file: &File| String::from_utf8(file.bytes.to_vec()).expect("text");
    let chain_of = |file: &File| {
        answers
            .iter()
            .find(|other| other.path == format!("{}.chain", file.path))
    };
    let mut contained = Vec::new();
    for file in answers.iter().filter(|file| !file.path.ends_with(".chain")) {
        let chain = chain_of(file).map(text).unwrap_or_default();
        let bytes = if file.bytes.first() == Some(&0x30) {
            data_encoding::HEXUPPER.encode(&file.bytes).into_bytes()
        } else if file.bytes.starts_with(b"{") {
            // The chain beside the signed object, in one document.
            let body = text(file);
            let inner = body.trim_end().strip_suffix('}').expect("an object");
            format!("{inner} , \"chain\": \"{chain}\" }}").into_bytes()
        } else {
            let chain = percent_encoding::percent_decode_str(&chain)
                .decode_utf8_lossy()
                .into_owned();
            format!(
                "Certificate Revocation List (CRL):\n{}\n{chain}",
                text(file)
            )
            .into_bytes()
        };
        contained.push(File {
            path: file.path.clone(),
            bytes: bytes.into(),
        });
    }
    // Hex says nothing of its issuer, so the chains come along for it.
    contained.extend(
        answers
            .iter()
            .filter(|file| file.path.ends_with(".chain"))
            .cloned(),
    );
    let (report, found, _) = recorded.imported(contained).await;
    assert!(report.refused.is_empty(), "{:?}", report.refused);
    assert_eq!(found, states);
}

#[tokio::test]
async fn without_their_issuers_objects_are_refused_and_with_them_admitted() {
    let recorded = Recorded::two_days().await;
    let alone: Vec<File> = recorded
        .files
        .iter()
        .filter(|file| !file.path.ends_with(".chain"))
        .cloned()
        .collect();
    let (report, states, kept) = recorded.imported(alone.clone()).await;
    // The root's own list needs no other certificate than the trusted root.
    assert!(
        states.values().all(|(key, _)| key == "intel/root-crl"),
        "{states:?}"
    );
    assert!(
        report
            .refused
            .iter()
            .all(|refused| refused.reason.starts_with("no certificate of ")),
        "{:?}",
        report.refused
    );
    assert_eq!(
        report.admitted + report.known + report.refused.len() as u64,
        26
    );
    let report = kept.import_gathered(recorded.files.clone()).await;
    assert!(report.refused.is_empty(), "{:?}", report.refused);
    assert_eq!(
        kept.states().await,
        recorded.imported(recorded.files.clone()).await.1
    );
}

#[tokio::test]
async fn a_copy_with_a_bad_signature_is_refused_and_the_good_one_admitted_whichever_comes_first() {
    let recorded = Recorded::two_days().await;
    let good = recorded
        .files
        .iter()
        .find(|file| file.bytes.starts_with(b"{\"tcbInfo\""))
        .expect("a TCB info")
        .clone();
    let mut bytes = good.bytes.to_vec();
    let last = bytes.len() - 3;
    bytes[last] = if bytes[last] == b'0' { b'1' } else { b'0' };
    for name in ["a-before", "z-after"] {
        let mut files: Vec<File> = recorded
            .files
            .iter()
            .filter(|file| file.path.ends_with(".chain"))
            .cloned()
            .collect();
        files.push(File {
            path: "m-good".to_owned(),
            bytes: good.bytes.clone(),
        });
        files.push(File {
            path: name.to_owned(),
            bytes: bytes.clone().into(),
        });
        files.push(File {
            path: format!("{name}-again"),
            bytes: bytes.clone().into(),
        });
        let (report, states, _) = recorded.imported(files).await;
        assert_eq!(
            (
                report.admitted,
                report.known,
                report.refused.len(),
                states.len()
            ),
            (1, 0, 2, 1),
            "{report:?}"
        );
    }
}

#[tokio::test]
async fn later_objects_are_future_and_an_export_is_read_back() {
    let recorded = Recorded::two_days().await;
    let early = Kept::open(recorded.anchors(), "2026-11-24T13:00:00Z").await;
    let report = early.import_gathered(recorded.files.clone()).await;
    assert_eq!(report.future, 13, "the second day is later: {report:?}");

    let (_, states, kept) = recorded.imported(recorded.files.clone()).await;
    for (all, wanted) in [(true, states.len()), (false, 13)] {
        let folder = tempfile::tempdir().expect("a folder");
        let exported = intake::export(&kept.collateral, None, all, kept.clock.now(), folder.path())
            .await
            .expect("an export");
        assert_eq!(exported.editions as usize, wanted);
        let other = Kept::open(recorded.anchors(), NOW).await;
        let report = other.import(&[folder.path()]).await;
        assert_eq!(
            (report.admitted as usize, report.known, report.ignored),
            (wanted, 0, 0),
            "{report:?}"
        );
        let found = other.states().await;
        assert!(
            found
                .iter()
                .all(|(id, state)| states.get(id) == Some(state))
        );
    }
    let key = "intel/pck-crl/platform".parse().expect("a key");
    let folder = tempfile::tempdir().expect("a folder");
    let exported = intake::export(
        &kept.collateral,
        Some(key),
        true,
        kept.clock.now(),
        folder.path(),
    )
    .await
    .expect("an export");
    assert_eq!(
        exported.editions as usize,
        states
            .values()
            .filter(|(key, _)| key == "intel/pck-crl/platform")
            .count()
    );
    let shown = operations::show(&kept.collateral, key, kept.clock.now())
        .await
        .expect("the store")
        .expect("an edition");
    assert_eq!(
        (
            shown.state.as_str(),
            shown.revocation.as_str(),
            shown.chain.len()
        ),
        ("current", "checked", 2)
    );
}

//! Imports of Intel's real collateral: row by row of `index.csv` (Show 2), as a service in the past would have taken
//! it in (Show 3), and what PCCS's administration tool exports, as exported and with other white space.
//!
//! The data is not part of the repository: `THIM_VECTORS` names its folder, `../../../shared/vectors` is tried
//! otherwise, and without either the tests say so and pass.

#[path = "import_support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::path::Path;

use support::Kept;
use thim_server::intake;
use thim_server::operations;
use thim_server::sentinel::State;
use thim_verify::{ArtefactKey, TrustAnchors, parse};

/// Rows of the four kinds that are collateral: (file, verifies, version).
fn rows(intel: &Path) -> Vec<(String, bool, String)> {
    let text = std::fs::read_to_string(intel.join("index.csv")).expect("index.csv");
    text.lines()
        .skip(1)
        // Commas stand in the notes at the end alone.
        .map(|line| line.split(',').take(7).collect::<Vec<_>>())
        .filter(|row| ["tcbinfo", "identity", "crl", "tcbevalnums"].contains(&row[1]))
        .map(|row| (row[0].to_owned(), row[2] == "yes", row[6].to_owned()))
        .collect()
}

#[tokio::test]
async fn every_row_of_the_index_is_admitted_or_refused_with_its_reason() {
    let Some(intel) = support::vectors() else {
        return;
    };
    let kept = Kept::open(TrustAnchors::intel(), "2026-11-01T00:00:00Z").await;
    let report = kept.import(&[&intel]).await;
    let refused: BTreeMap<&str, &str> = report
        .refused
        .iter()
        .map(|refused| (refused.path.as_str(), refused.reason.as_str()))
        .collect();
    let (mut admitted, mut expected_refused) = (0, 0);
    for (file, verifies, version) in rows(&intel) {
        let path = intel.join(&file);
        let reason = refused.get(path.to_str().expect("a plain path"));
        if verifies && version != "1" {
            assert_eq!(reason, None, "{file}");
            let parsed = parse(&std::fs::read(&path).expect("a file")).expect("a signed object");
            let stored = kept
                .collateral
                .store()
                .document(parsed.signed_digest())
                .await
                .expect("the store");
            assert_eq!(
                stored.as_ref(),
                Some(parsed.unverified().document()),
                "{file}"
            );
            admitted += 1;
        } else {
            let reason = reason.unwrap_or_else(|| panic!("{file} was not refused"));
            if verifies {
                assert_eq!(*reason, "TCB info version 1 is not supported", "{file}");
            }
            expected_refused += 1;
        }
    }
    println!("{report:?}");
    assert_eq!((admitted, expected_refused), (372, 17));
    assert_eq!(report.future, 0);
    assert_eq!(
        report.refused.len(),
        expected_refused,
        "nothing else is refused: {:?}",
        report.refused
    );
    // Four objects a bundle; PEM beside DER and objects of bundles are seen before.
    assert_eq!(report.admitted + report.known + report.held, 372 + 4 * 51);

    let again = kept.import(&[&intel]).await;
    assert_eq!((again.admitted, again.held, again.future), (0, 0, 0));
    assert_eq!(again.known, report.admitted + report.known + report.held);
    assert_eq!(
        (again.ignored, &again.refused),
        (report.ignored, &report.refused)
    );

    export_reads_back(&kept).await;
}

/// What `export --all` writes is imported as the same editions.
async fn export_reads_back(kept: &Kept) {
    let folder = tempfile::tempdir().expect("a folder");
    let exported = intake::export(
        &kept.collateral,
        None,
        true,
        kept.clock.now(),
        folder.path(),
    )
    .await
    .expect("an export");
    let other = Kept::open(TrustAnchors::intel(), "2026-11-01T00:00:00Z").await;
    let report = other.import(&[folder.path()]).await;
    assert!(report.refused.is_empty(), "{:?}", report.refused);
    assert_eq!((report.known, report.ignored, report.future), (0, 0, 0));
    assert_eq!(report.admitted + report.held, exported.editions);
    assert_eq!(other.states().await, kept.states().await);
}

#[tokio::test]
async fn a_service_in_the_past_takes_in_what_was_issued_by_then() {
    let Some(intel) = support::vectors() else {
        return;
    };
    let kept = Kept::open(TrustAnchors::intel(), "2026-03-30T23:00:00Z").await;
    let report = kept.import(&[&intel]).await;
    println!("{report:?}");
    assert!(report.future > 0);
    assert_eq!(
        report.admitted + report.known + report.held + report.future,
        372 + 4 * 51 + wrong_in_future(&report)
    );
    let show = async |key: &str| {
        let key: ArtefactKey = key.parse().expect(key);
        operations::show(&kept.collateral, key, kept.clock.now())
            .await
            .expect("the store")
    };
    let tdx = show("intel/tcb-info/tdx/v3/90C06F000000/18")
        .await
        .expect("held");
    assert_eq!(tdx.state, "current");
    let file = std::fs::read_dir(intel.join("tcbinfo"))
        .expect("tcbinfo")
        .map(|entry| entry.expect("an entry").path())
        .map(|path| std::fs::read(path).expect("a file"))
        .find(|bytes| parse(bytes).is_ok_and(|parsed| parsed.signed_digest().to_string() == tdx.id))
        .expect("its file");
    let document = kept
        .collateral
        .store()
        .document(tdx.id.parse().expect("an id"))
        .await
        .expect("the store");
    assert_eq!(document.expect("a document"), file.trim_ascii());
    assert_eq!(
        show("intel/enclave-identity/td-qe/v2/18")
            .await
            .expect("held")
            .state,
        "current"
    );
    let platform = show("intel/pck-crl/platform").await.expect("held");
    assert_eq!(
        (platform.state.as_str(), &platform.issued[..10]),
        ("current", "2026-03-30")
    );
    let root = show("intel/root-crl").await.expect("held");
    assert_eq!(
        (root.state.as_str(), &root.issued[..10]),
        ("current", "2026-02-26")
    );
    assert_eq!(
        show("intel/tcb-info/sgx/v3/00606A000000/18")
            .await
            .map(|edition| edition.state),
        None
    );
    let ended = show("intel/tcb-info/sgx/v3/00606A000000/20")
        .await
        .expect("held");
    assert_eq!(
        (ended.state.as_str(), &ended.next_update[..10]),
        ("archived", "2026-02-14")
    );
    let status = operations::status(&kept.collateral, true, kept.clock.now())
        .await
        .expect("the store");
    assert_eq!(status.standard.get("tdx"), Some(&18));
}

/// Forged files dated after that clock are counted as future: they were not looked into.
fn wrong_in_future(report: &thim_client::ImportReport) -> u64 {
    17 - report.refused.len() as u64
}

#[tokio::test]
async fn a_pccs_export_as_it_is_and_with_other_white_space() {
    let Some(conformance) = support::conformance() else {
        return;
    };
    let text =
        std::fs::read_to_string(conformance.join("platform_collaterals.json")).expect("the export");
    let root = std::fs::read(conformance.join("root.pem")).expect("root.pem");
    let mut states = Vec::new();
    for (name, text) in [
        ("as exported", text.clone()),
        ("indented", respaced(&text, " ")),
        ("wide", respaced(&text, "\t\r\n ")),
    ] {
        let kept = Kept::open(
            TrustAnchors::from_pem(&root).expect("a root"),
            "2026-11-25T00:00:00Z",
        )
        .await;
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("platform_collaterals.json"), text).expect("written");
        let report = kept.import(&[folder.path()]).await;
        assert!(report.refused.is_empty(), "{name}: {:?}", report.refused);
        // Three TCB infos, three identities, two PCK CRLs, the root CRL.
        assert_eq!(
            (
                report.admitted,
                report.known,
                report.held,
                report.future,
                report.ignored
            ),
            (9, 0, 0, 0, 0),
            "{name}"
        );
        let again = kept.import(&[folder.path()]).await;
        assert_eq!((again.admitted, again.known), (0, 9), "{name}");
        let editions = operations::list(
            &kept.collateral,
            None,
            Some(State::Current),
            kept.clock.now(),
            None,
            100,
            0,
        )
        .await
        .expect("the store");
        assert!(
            editions
                .iter()
                .all(|edition| edition.key == "intel/root-crl" || edition.revocation == "checked")
        );
        let called = editions
            .iter()
            .filter(|edition| edition.called.as_deref() == Some("standard"))
            .count();
        assert_eq!(called, 6);
        states.push(kept.states().await);
    }
    assert_eq!(states[0].len(), 9);
    // The same signed bytes, whatever the white space.
    assert!(states.iter().all(|other| *other == states[0]));
}

/// JSON with white space after each token outside of strings, as a tool that dumps it anew would; key order and
/// number text stay.
fn respaced(json: &str, space: &str) -> String {
    let mut out = String::new();
    let (mut in_string, mut escaped) = (false, false);
    for c in json.chars() {
        if in_string {
            out.push(c);
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else if !c.is_whitespace() {
            out.push(c);
            in_string = c == '"';
            if "{}[],:".contains(c) {
                out.push_str(space);
            }
        }
    }
    out
}

//! Imports of what a simulator signs, in any order and container; and of files that are broken, huge, nested,
//! looped or no collateral at all. Needs no recorded data.

mod harness;
#[path = "import_support/mod.rs"]
mod support;

use std::path::Path;

use harness::{BOTH, Fleet, SGX_ONLY, START, tcb};
use support::Kept;
use thim_server::intake::{self, File, Gathered};
use thim_verify::TrustAnchors;

/// What the simulator signs, as files: documents, and the chains that came with them.
async fn files(fleet: &Fleet) -> Vec<File> {
    let mut files = Vec::new();
    for (index, path) in [
        tcb("sgx", SGX_ONLY),
        tcb("tdx", BOTH),
        format!("{}&update=early", tcb("tdx", BOTH)),
        "/sgx/certification/v4/qe/identity".to_owned(),
        "/tdx/certification/v4/qe/identity".to_owned(),
        "/sgx/certification/v4/tcbevaluationdatanumbers".to_owned(),
        "/sgx/certification/v4/pckcrl?ca=platform&encoding=der".to_owned(),
        "/sgx/certification/v4/pckcrl?ca=processor".to_owned(),
        "/sgx/certification/v4/rootcacrl".to_owned(),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = fleet.get(&path).await;
        assert_eq!(answer.status, 200, "{path}");
        let chain = answer
            .headers
            .iter()
            .find(|(name, _)| name.as_str().ends_with("issuer-chain"));
        let pem: Vec<u8> =
            percent_encoding::percent_decode(chain.expect("a chain").1.as_bytes()).collect();
        files.push(File {
            path: format!("{index}.pem"),
            bytes: pem.into(),
        });
        files.push(File {
            path: format!("{index}.body"),
            bytes: answer.body.into(),
        });
    }
    files
}

async fn kept(fleet: &Fleet) -> Kept {
    Kept::open(
        TrustAnchors::from_pem(fleet.sim.root_pem().as_bytes()).expect("a root"),
        START,
    )
    .await
}

fn gathered(files: &[File]) -> Gathered {
    let mut gathered = Gathered::default();
    for file in files {
        gathered.add(file);
    }
    gathered
}

#[tokio::test(flavor = "multi_thread")]
async fn the_order_of_files_never_matters_and_twice_is_known() {
    let fleet = Fleet::start().await;
    let mut files = files(&fleet).await;
    let mut first = None;
    for round in 0..6 {
        // Rotations and reversals put every document once before and once after its chain.
        let by = round * 5 % files.len();
        files.rotate_left(by);
        if round % 2 == 1 {
            files.reverse();
        }
        let kept = kept(&fleet).await;
        let report = kept.import_gathered(gathered(&files)).await;
        assert_eq!(
            (
                report.admitted,
                report.known,
                report.held,
                report.future,
                report.ignored
            ),
            (9, 0, 0, 0, 0),
            "{report:?}"
        );
        assert!(report.refused.is_empty(), "{report:?}");
        let states = kept.states().await;
        assert_eq!(
            first.get_or_insert_with(|| states.clone()),
            &states,
            "round {round}"
        );
        let again = kept.import_gathered(gathered(&files)).await;
        assert_eq!((again.admitted, again.known), (0, 9));
        let mut twice = files.clone();
        twice.extend(files.iter().cloned().map(|file| File {
            path: format!("copy-{}", file.path),
            ..file
        }));
        let other = self::kept(&fleet).await;
        let doubled = other.import_gathered(gathered(&twice)).await;
        assert_eq!((doubled.admitted, doubled.known), (9, 9));
    }
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_is_its_members() {
    let fleet = Fleet::start().await;
    let text = async |path: &str| String::from_utf8(fleet.get(path).await.body).expect("text");
    let chain = async |path: &str| {
        let answer = fleet.get(path).await;
        let found = answer
            .headers
            .iter()
            .find(|(name, _)| name.as_str().ends_with("issuer-chain"))
            .expect("a chain")
            .1
            .clone();
        percent_encoding::percent_decode(found.as_bytes())
            .decode_utf8()
            .expect("text")
            .into_owned()
    };
    let inner = |document: &str| {
        let (_, rest) = document.split_once(':').expect("an envelope");
        let (signed, signature) = rest.rsplit_once(",\"signature\":\"").expect("a signature");
        (
            signed.to_owned(),
            signature.trim_end_matches("\"}").to_owned(),
        )
    };
    let (tcb_path, qe_path) = (tcb("tdx", BOTH), "/tdx/certification/v4/qe/identity");
    let (tcb_info, tcb_signature) = inner(&text(&tcb_path).await);
    let (identity, identity_signature) = inner(&text(qe_path).await);
    let bundle = serde_json::json!({
        "pck_crl_issuer_chain": chain("/sgx/certification/v4/pckcrl?ca=platform").await,
        "root_ca_crl": text("/sgx/certification/v4/rootcacrl").await,
        "pck_crl": text("/sgx/certification/v4/pckcrl?ca=platform").await,
        "tcb_info_issuer_chain": chain(&tcb_path).await,
        "tcb_info": tcb_info,
        "tcb_info_signature": tcb_signature,
        "qe_identity_issuer_chain": chain(qe_path).await,
        "qe_identity": identity,
        "qe_identity_signature": identity_signature,
    });
    let file = |value: &serde_json::Value| File {
        path: "bundle.json".to_owned(),
        bytes: value.to_string().into(),
    };
    let kept = kept(&fleet).await;
    let report = kept.import_gathered(gathered(&[file(&bundle)])).await;
    assert_eq!(
        (report.admitted, report.refused.len()),
        (4, 0),
        "{report:?}"
    );
    // One altered member is refused by name, the others are known.
    let mut altered = bundle.clone();
    altered["tcb_info"] = serde_json::Value::String(tcb_info.replace("UpToDate", "Revoked"));
    let report = kept.import_gathered(gathered(&[file(&altered)])).await;
    assert_eq!((report.known, report.refused.len()), (3, 1), "{report:?}");
    assert!(
        report.refused[0].path.starts_with("bundle.json#"),
        "{report:?}"
    );
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_files_are_refused_or_ignored_and_leave_nothing() {
    let fleet = Fleet::start().await;
    let good = fleet.get(&tcb("sgx", SGX_ONLY)).await.body;
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let write = |name: &str, bytes: &[u8]| std::fs::write(at(name), bytes).expect("written");
    write("truncated.json", &good[..good.len() / 2]);
    write(
        "nested.json",
        format!("{{\"tcbInfo\":{}", "[".repeat(200_000)).as_bytes(),
    );
    write(
        "nested-whole.json",
        format!(
            "{{\"tcbInfo\":{}{},\"signature\":\"\"}}",
            "[".repeat(100_000),
            "]".repeat(100_000)
        )
        .as_bytes(),
    );
    let text = String::from_utf8(good.clone()).expect("text");
    write(
        "twice.json",
        text.replacen("{\"tcbInfo\":", "{\"tcbInfo\":{},\"tcbInfo\":", 1)
            .as_bytes(),
    );
    write(
        "twice-inside.json",
        text.replacen("\"version\":3", "\"version\":3,\"version\":3", 1)
            .as_bytes(),
    );
    write(
        "nul.json",
        text.replacen("UpToDate", "UpTo\0ate", 1).as_bytes(),
    );
    let mut not_utf8 = good.clone();
    not_utf8[40] = 0xff;
    write("not-utf8.json", &not_utf8);
    write("empty", b"");
    write("words.txt", b"nothing of use\n");
    write("quote.bin", &[3, 0, 2, 0, 0, 0, 0, 0]);
    // Over the limit of a file, and no byte of it written.
    std::fs::File::create(at("huge.json"))
        .and_then(|file| file.set_len(65 * 1024 * 1024))
        .expect("sparse");
    std::os::unix::fs::symlink(".", at("loop")).expect("a link");
    std::os::unix::fs::symlink("self", at("self")).expect("a link");
    std::os::unix::fs::symlink("nowhere", at("dangling")).expect("a link");
    std::os::unix::fs::symlink("/etc/passwd", at("outside")).expect("a link");
    let kept = kept(&fleet).await;
    let report = kept.import(&[folder.path()]).await;
    assert_eq!(
        (report.admitted, report.known, report.held, report.future),
        (0, 0, 0, 0),
        "{report:?}"
    );
    let refused = |name: &str| {
        report
            .refused
            .iter()
            .any(|refused| refused.path.contains(name))
    };
    for name in [
        "truncated.json",
        "nested-whole.json",
        "twice.json",
        "twice-inside.json",
        "nul.json",
        "huge.json",
        "dangling",
        "outside",
    ] {
        assert!(refused(name), "{name}: {report:?}");
    }
    for name in ["words.txt", "quote.bin", "empty"] {
        assert!(!refused(name), "{name}: {report:?}");
    }
    assert!(
        report
            .refused
            .iter()
            .all(|refused| refused.reason.len() < 400 && !refused.reason.contains('\n')),
        "{report:?}"
    );
    assert!(
        report
            .refused
            .iter()
            .filter(|refused| refused.path.contains("truncated"))
            .count()
            == 1,
        "a loop is walked once"
    );
    assert!(kept.states().await.is_empty());
    let missing = intake::read(&[Path::new("/no/such/file").to_owned()], &mut |_| {});
    let report = kept.import_gathered(missing).await;
    assert_eq!(report.refused.len(), 1, "{report:?}");
    fleet.stop().await;
}

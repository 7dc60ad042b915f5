//! Imports of what the simulated vendor signed, in every container and order, and of files that are wrong on
//! purpose. Nothing here needs data from outside the repository.

mod harness;
#[path = "import_support/mod.rs"]
mod support;
#[path = "import_support/vendor.rs"]
mod vendor;

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use data_encoding::{BASE64, HEXLOWER};
use harness::{BOTH, START};
use serde_json::json;
use thim_server::intake::File;
use thim_server::operations;
use thim_sim::{Fault, FaultRule};
use vendor::{
    LATER, PLATFORM_CRL, PROCESSOR_CRL, QE, QVE, ROOT_CRL, TD_QE, Vendor, counts, file,
    three_rounds,
};

/// Another order for each seed, the same each time the test runs.
fn shuffled(files: &[File], seed: u64) -> Vec<File> {
    let mut files = files.to_vec();
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for last in (1..files.len()).rev() {
        // Marsaglia's xorshift.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let other = usize::try_from(state % (last as u64 + 1)).expect("an index");
        files.swap(last, other);
    }
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn files_in_any_order_give_the_same_editions_states_and_counts() {
    let vendor = Vendor::start().await;
    let files = three_rounds(&vendor).await;
    let mut first = None;
    for seed in 0..6 {
        let kept = vendor.kept(LATER).await;
        let files = shuffled(&files, seed);
        let report = kept.import_gathered(files.clone()).await;
        // Two rounds of ten, and one CRL that un-revokes.
        assert_eq!(counts(&report), (20, 0, 1, 0, 0), "seed {seed}");
        let states = kept.states().await;
        let current = states.values().filter(|(_, state)| state == "current");
        assert_eq!(current.count(), 10, "one of each key: {states:?}");
        let first = first.get_or_insert_with(|| states.clone());
        assert_eq!(*first, states, "seed {seed}");

        let again = kept.import_gathered(shuffled(&files, seed + 100)).await;
        assert_eq!(counts(&again), (0, 21, 0, 0, 0), "all of it is known");
        assert_eq!(*first, kept.states().await);
        let kept = kept.restart().await;
        let again = kept.import_gathered(files).await;
        assert_eq!(counts(&again), (0, 21, 0, 0, 0), "after a restart too");
        assert_eq!(*first, kept.states().await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_issued_after_the_clock_is_counted_as_future_and_taken_in_later() {
    let vendor = Vendor::start().await;
    let files = three_rounds(&vendor).await;
    let kept = vendor.kept(START).await;
    let report = kept.import_gathered(files.clone()).await;
    assert_eq!(counts(&report), (10, 0, 0, 11, 0));
    kept.advance_to(support::instant(LATER)).await;
    let report = kept.import_gathered(files.clone()).await;
    assert_eq!(counts(&report), (10, 10, 1, 0, 0));
    let whole = vendor.kept(LATER).await;
    whole.import_gathered(files).await;
    assert_eq!(kept.states().await, whole.states().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_seen_twice_in_one_run_is_known_the_second_time() {
    let vendor = Vendor::start().await;
    let files = vendor.files("one").await;
    let mut twice = files.clone();
    twice.extend(files.into_iter().map(|one| File {
        path: one.path.replace("one/", "two/"),
        ..one
    }));
    let kept = vendor.kept(LATER).await;
    let report = kept.import_gathered(shuffled(&twice, 9)).await;
    assert_eq!(counts(&report), (10, 10, 0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn chains_that_stand_in_another_folder_explain_an_object() {
    let vendor = Vendor::start().await;
    let tcb = vendor.tcb("sgx", "standard").await;
    let alone = vendor.kept(LATER).await;
    let report = alone
        .import_gathered(vec![file("tcb.json", tcb.body.clone())])
        .await;
    assert_eq!((report.admitted, report.refused.len()), (0, 1));
    assert_eq!(report.refused[0].kind, "tcb-info");

    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir_all(folder.path().join("z/deep")).expect("made");
    fs::write(folder.path().join("a.json"), &tcb.body).expect("written");
    fs::write(folder.path().join("z/deep/chain"), tcb.pem()).expect("written");
    let report = alone.import(&[folder.path()]).await;
    assert_eq!(counts(&report), (1, 0, 0, 0, 0), "refused before, now not");
}

/// DER to the text that a bundle has.
type Form = fn(&[u8]) -> String;

/// The nine fields, with the lists in the forms given.
async fn bundle(vendor: &Vendor, form: Form) -> Vec<u8> {
    let (root, platform) = (vendor.get(ROOT_CRL).await, vendor.get(PLATFORM_CRL).await);
    let (tcb, qe) = (vendor.tcb("tdx", "standard").await, vendor.get(TD_QE).await);
    let bundle = json!({
        "pck_crl_issuer_chain": platform.pem(),
        "root_ca_crl": form(&root.body),
        "pck_crl": form(&platform.body),
        "tcb_info_issuer_chain": tcb.pem(),
        "tcb_info": tcb.parts().0,
        "tcb_info_signature": tcb.parts().1,
        "qe_identity_issuer_chain": qe.pem(),
        "qe_identity": qe.parts().0,
        "qe_identity_signature": qe.parts().1,
    });
    serde_json::to_vec_pretty(&bundle).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_of_nine_fields_holds_four_objects() {
    let vendor = Vendor::start().await;
    let forms: [(&str, Form); 3] = [
        ("hex", |der| HEXLOWER.encode(der)),
        ("base64", |der| BASE64.encode(der)),
        ("pem", |der| {
            format!(
                "-----BEGIN X509 CRL-----\n{}\n-----END X509 CRL-----\n",
                BASE64.encode(der)
            )
        }),
    ];
    let mut states = Vec::new();
    for (name, form) in forms {
        let kept = vendor.kept(LATER).await;
        let bundle = file("bundle.json", bundle(&vendor, form).await);
        let report = kept.import_gathered(vec![bundle.clone()]).await;
        assert_eq!(counts(&report), (4, 0, 0, 0, 0), "{name}");
        let again = kept.import_gathered(vec![bundle.clone(), bundle]).await;
        assert_eq!(counts(&again), (0, 8, 0, 0, 0), "{name}");
        // The same objects as whole answers are the same editions.
        let answers = vendor.files("answers").await;
        let report = kept.import_gathered(answers).await;
        assert_eq!(counts(&report), (6, 4, 0, 0, 0), "{name}");
        states.push(kept.states().await);
    }
    assert!(states.iter().all(|other| *other == states[0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_member_of_a_bundle_is_refused_by_its_name_and_the_others_are_admitted() {
    let vendor = Vendor::start().await;
    let text = String::from_utf8(bundle(&vendor, |der| HEXLOWER.encode(der)).await).expect("text");
    let altered = text.replace(r#"\"id\":\"TDX\""#, r#"\"id\":\"SGX\""#);
    assert_ne!(text, altered);
    let kept = vendor.kept(LATER).await;
    let report = kept
        .import_gathered(vec![file("bundle.json", altered.into_bytes())])
        .await;
    assert_eq!((report.admitted, report.known), (3, 0));
    assert_eq!(report.refused.len(), 1);
    assert_eq!(report.refused[0].path, "bundle.json#tcb_info");
    assert_eq!(report.refused[0].kind, "tcb-info");
}

/// What PCCS's administration tool exports; `v3` names the members as its version 3 did.
async fn export(vendor: &Vendor, v3: bool) -> String {
    let (root, platform, processor) = (
        vendor.get(ROOT_CRL).await,
        vendor.get(PLATFORM_CRL).await,
        vendor.get(PROCESSOR_CRL).await,
    );
    let (sgx, early, tdx) = (
        vendor.tcb("sgx", "standard").await,
        vendor.tcb("sgx", "early").await,
        vendor.tcb("tdx", "standard").await,
    );
    let infos = if v3 {
        format!(
            r#"{{"fmspc":"{BOTH}","tcbinfo":{},"tcbinfo_early":{}}}"#,
            sgx.text(),
            early.text()
        )
    } else {
        format!(
            r#"{{"fmspc":"{BOTH}","sgx_tcbinfo":{},"sgx_tcbinfo_early":{},"tdx_tcbinfo":{}}}"#,
            sgx.text(),
            early.text(),
            tdx.text()
        )
    };
    let (qe, td_qe, qve) = (
        vendor.get(QE).await,
        vendor.get(TD_QE).await,
        vendor.get(QVE).await,
    );
    let early_qe = vendor.get(&format!("{QE}?update=early")).await;
    let chain_name = if v3 {
        "SGX-TCB-Info-Issuer-Chain"
    } else {
        "TCB-Info-Issuer-Chain"
    };
    let certificates = json!({
        "SGX-PCK-Certificate-Issuer-Chain": {
            "PROCESSOR": processor.chain,
            "PLATFORM": platform.chain,
        },
        (chain_name): sgx.chain,
        "SGX-Enclave-Identity-Issuer-Chain": qe.chain,
    });
    format!(
        r#"{{"platforms":[{{"qe_id":"A0","pce_id":"0000"}}],"collaterals":{{"version":"4","pck_certs":[{{"qe_id":"A0","certs":[{{"tcb":{{}},"cert":"-----BEGIN%20CERTIFICATE-----"}}]}}],"tcbinfos":[{infos}],"pckcacrl":{{"processorCrl":"{}","platformCrl":"{}"}},"qeidentity":{},"qeidentity_early":{},"tdqeidentity":{},"qveidentity":{},"certificates":{certificates},"rootcacrl_cdp":"https://example.invalid/","rootcacrl":"{}"}}}}"#,
        HEXLOWER.encode(&processor.body),
        HEXLOWER.encode(&platform.body),
        json!(qe.text()),
        json!(early_qe.text()),
        json!(td_qe.text()),
        json!(qve.text()),
        HEXLOWER.encode(&root.body),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_collateral_part_of_a_pccs_export_is_imported_with_what_it_calls_each_object() {
    let vendor = Vendor::start().await;
    // TCB infos, four identities, three CRLs.
    for (v3, objects) in [(false, 3 + 4 + 3), (true, 2 + 4 + 3)] {
        let kept = vendor.kept(LATER).await;
        let text = export(&vendor, v3).await;
        let report = kept
            .import_gathered(vec![file(
                "platform_collaterals.json",
                text.clone().into_bytes(),
            )])
            .await;
        assert_eq!(counts(&report), (objects, 0, 0, 0, 0), "v3: {v3}");
        let listed = operations::list(&kept.collateral, None, None, kept.clock.now(), None, 100, 0)
            .await
            .expect("the store");
        let called = |key: &str| {
            listed
                .iter()
                .find(|one| one.key == key)
                .unwrap_or_else(|| panic!("{key} is not held"))
                .called
                .clone()
        };
        for (key, expected) in [
            (format!("intel/tcb-info/sgx/v3/{BOTH}/18"), Some("standard")),
            (format!("intel/tcb-info/sgx/v3/{BOTH}/20"), Some("early")),
            (
                "intel/enclave-identity/qe/v2/18".to_owned(),
                Some("standard"),
            ),
            ("intel/enclave-identity/qe/v2/20".to_owned(), Some("early")),
            ("intel/pck-crl/processor".to_owned(), None),
        ] {
            assert_eq!(called(&key).as_deref(), expected, "{key}");
        }
        // As tools re-dump it: other white space, the same signed bytes.
        let spaced = vendor.kept(LATER).await;
        let report = spaced
            .import_gathered(vec![file("spaced.json", respaced(&text).into_bytes())])
            .await;
        assert_eq!(counts(&report), (objects, 0, 0, 0, 0), "v3: {v3}");
        assert_eq!(spaced.states().await, kept.states().await);
    }
}

/// White space after each token outside of strings.
fn respaced(json: &str) -> String {
    let mut out = String::new();
    let (mut in_string, mut escaped) = (false, false);
    for c in json.chars() {
        out.push(c);
        if in_string {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else {
            in_string = c == '"';
            if "{}[],:".contains(c) {
                out.push_str("\n\t ");
            }
        }
    }
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn revocation_lists_come_as_der_pem_and_hex() {
    let vendor = Vendor::start().await;
    let list = vendor.get(PLATFORM_CRL).await;
    let pem = vendor
        .get(&PLATFORM_CRL.replace("encoding=der", "encoding=pem"))
        .await;
    let hex = HEXLOWER.encode(&list.body);
    let root = file("root.der", vendor.get(ROOT_CRL).await.body);
    let chain = file("chain.pem", list.pem().into_bytes());
    let forms = [
        ("der", list.body.clone()),
        ("pem", pem.body.clone()),
        ("pem and chain", [list.pem().as_bytes(), &pem.body].concat()),
        ("hex", hex.clone().into_bytes()),
        ("upper hex", hex.to_uppercase().into_bytes()),
        ("hex and newline", format!("{hex}\n").into_bytes()),
    ];
    for (name, form) in &forms {
        let kept = vendor.kept(LATER).await;
        let files = vec![file(name, form.clone()), chain.clone(), root.clone()];
        assert_eq!(
            counts(&kept.import_gathered(files).await),
            (2, 0, 0, 0, 0),
            "{name}"
        );
    }
    let kept = vendor.kept(LATER).await;
    let mut files: Vec<File> = forms
        .iter()
        .map(|(name, form)| file(name, form.clone()))
        .collect();
    files.push(chain);
    assert_eq!(
        counts(&kept.import_gathered(files).await),
        (1, 5, 0, 0, 0),
        "one edition in six forms"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_vendor_never_signed_is_refused_however_well_it_looks() {
    let vendor = Vendor::start().await;
    let pem = vendor.tcb("sgx", "standard").await.pem();
    let good = vendor.tcb("sgx", "standard").await;
    let mut files = vec![file("chain.pem", pem.into_bytes())];
    for (name, fault) in [
        ("wrong-key", Fault::WrongKey),
        ("wrong-signature", Fault::WrongSignature),
    ] {
        vendor
            .0
            .management()
            .set_fault(FaultRule::new(fault).matching("tcb?"))
            .expect("a fault");
        let bad = vendor.tcb("sgx", "standard").await;
        vendor.0.management().clear_faults();
        files.push(file(&format!("{name}.json"), bad.body.clone()));
        files.push(file(&format!("{name}.pem"), bad.pem().into_bytes()));
    }
    let text = good.text();
    for (name, altered) in [
        ("altered", text.replacen("UpToDate", "OutOfDate", 1)),
        (
            "version-1",
            text.replacen("\"version\":3", "\"version\":1", 1),
        ),
        ("renamed", text.replacen("tcbInfo", "enclaveIdentity", 1)),
    ] {
        assert_ne!(altered, text, "{name}");
        files.push(file(&format!("{name}.json"), altered.into_bytes()));
    }
    let kept = vendor.kept(LATER).await;
    let report = kept.import_gathered(files.clone()).await;
    let refused: Vec<&str> = report.refused.iter().map(|one| &*one.path).collect();
    assert_eq!(
        refused,
        [
            "altered.json",
            "renamed.json",
            "version-1.json",
            "wrong-key.json",
            "wrong-signature.json"
        ],
        "{:?}",
        report.refused
    );
    assert_eq!((report.admitted, report.known, report.ignored), (0, 0, 0));
    assert!(kept.states().await.is_empty());
    // It stays refused, and keeps nothing good out.
    files.push(file("good.json", good.body));
    let report = kept.import_gathered(files).await;
    assert_eq!((report.admitted, report.refused.len()), (1, 5));
    assert_eq!(kept.states().await.len(), 1);
}

/// Files that are wrong on purpose, with what is expected of each: refused with a kind, or ignored.
const REFUSED: &[(&str, &str)] = &[
    ("cut.der", "crl"),
    ("cut.hex", "crl"),
    ("cut.json", "tcb-info"),
    ("cut.pem", "crl"),
    ("deep-bundle.json#tcb_info", "tcb-info"),
    ("deep.json", "tcb-info"),
    ("doubled-escaped.json", "tcb-info"),
    ("doubled-inside.json", "tcb-info"),
    ("doubled.json", "tcb-info"),
    ("many-members.json", "tcb-info"),
    ("not-utf8.json", "tcb-info"),
    ("nul.json", "tcb-info"),
    ("trailing.json", "tcb-info"),
    ("unsigned.json", "tcb-info"),
];
const REFUSED_FILES: &[&str] = &["dangling", "huge.json", "outside", "outside-folder"];
const IGNORED: &[&str] = &[
    "deep-foreign.json",
    "empty",
    "itself",
    "letter.txt",
    "looks-like-der",
    "noise",
    "not-utf8.txt",
    "nul",
    "open-deep.json",
    "pckcerts.json",
    "socket",
    "\u{fffd}-name.txt",
];

/// Writes every bad file into a folder.
async fn write_bad_files(vendor: &Vendor, folder: &Path, outside: &Path) {
    let tcb = vendor.tcb("sgx", "standard").await;
    let text = tcb.text();
    let (signed, signature) = tcb.parts();
    let list = vendor.get(PLATFORM_CRL).await.body;
    let hex = HEXLOWER.encode(&list);
    let (open, shut) = ("[".repeat(1_000_000), "]".repeat(1_000_000));
    let objects = "{\"a\":".repeat(1_000_000);
    let members: String = (0..1000)
        .map(|number| format!("\"m{number}\":0,"))
        .collect();
    let write = |name: &str, bytes: &[u8]| {
        fs::write(folder.join(name), bytes).expect("written");
    };

    write("cut.der", &list[..list.len() / 2]);
    write("cut.hex", &hex.as_bytes()[..hex.len() / 2 + 1]);
    write("cut.json", &tcb.body[..tcb.body.len() / 2]);
    write(
        "cut.pem",
        format!("-----BEGIN X509 CRL-----\n{}", BASE64.encode(&list)).as_bytes(),
    );
    write(
        "deep.json",
        format!(r#"{{"tcbInfo":{open}{shut},"signature":"{signature}"}}"#).as_bytes(),
    );
    write(
        "deep-bundle.json",
        format!(r#"{{"tcb_info":"{open}{shut}","tcb_info_signature":"{signature}"}}"#).as_bytes(),
    );
    write(
        "doubled.json",
        format!(r#"{{"tcbInfo":{signed},"tcbInfo":{signed},"signature":"{signature}"}}"#)
            .as_bytes(),
    );
    write(
        "doubled-escaped.json",
        format!(r#"{{"tcbInfo":{signed},"tcb\u0049nfo":{signed},"signature":"{signature}"}}"#)
            .as_bytes(),
    );
    write(
        "doubled-inside.json",
        text.replacen("{\"id\":", "{\"id\":\"SGX\",\"id\":", 1)
            .as_bytes(),
    );
    write(
        "many-members.json",
        format!("{{{members}{}", &text[1..]).as_bytes(),
    );
    let at = text.find("\"id\"").expect("an id");
    let with = |bytes: &[u8]| [&tcb.body[..at], bytes, &tcb.body[at..]].concat();
    write("not-utf8.json", &with(b"\"x\":\"\xff\xfe\","));
    write("nul.json", &with(b"\0"));
    write("trailing.json", format!("{text} {{}}").as_bytes());
    write(
        "unsigned.json",
        format!(r#"{{"tcbInfo":{signed}}}"#).as_bytes(),
    );

    let huge = fs::File::create(folder.join("huge.json")).expect("made");
    // Sparse: a hole takes no room on the disk.
    huge.set_len(64 * 1024 * 1024 + 1).expect("long");
    symlink(folder.join("nowhere"), folder.join("dangling")).expect("linked");
    fs::create_dir(outside).expect("made");
    fs::write(outside.join("good.json"), &tcb.body).expect("written");
    fs::write(outside.join("good.pem"), tcb.pem()).expect("written");
    symlink(outside.join("good.json"), folder.join("outside")).expect("linked");
    symlink("../outside", folder.join("outside-folder")).expect("linked");

    write("deep-foreign.json", format!("{open}{shut}").as_bytes());
    write("open-deep.json", objects.as_bytes());
    write("empty", b"");
    symlink("itself", folder.join("itself")).expect("linked");
    write(
        "letter.txt",
        b"Dear vendor, my tcbInfo and its \"signature\" do not verify.\n",
    );
    write(
        "looks-like-der",
        &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0x30],
    );
    write("noise", &[0x9d; 5000]);
    write("not-utf8.txt", b"\xc3\x28\xff");
    write("nul", &[0; 5000]);
    write(
        "pckcerts.json",
        br#"[{"tcb":{"sgxtcbcomp01svn":21},"tcbm":"00","cert":"-----BEGIN%20CERTIFICATE-----"}]"#,
    );
    let _ = std::os::unix::net::UnixListener::bind(folder.join("socket")).expect("a socket");
    write_named(folder, b"\xff-name.txt");

    // Loops: a folder in itself, and two folders in one another.
    fs::create_dir_all(folder.join("loop/inner")).expect("made");
    symlink(".", folder.join("loop/self")).expect("linked");
    symlink("../..", folder.join("loop/inner/up")).expect("linked");
    symlink("inner", folder.join("loop/twin")).expect("linked");
}

fn write_named(folder: &Path, name: &[u8]) {
    fs::write(folder.join(std::ffi::OsStr::from_bytes(name)), b"text").expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_files_are_refused_or_ignored_one_by_one_and_nothing_of_them_is_kept() {
    let vendor = Vendor::start().await;
    let place = tempfile::tempdir().expect("a folder");
    let folder = place.path().join("bad");
    fs::create_dir(&folder).expect("made");
    write_bad_files(&vendor, &folder, &place.path().join("outside")).await;

    let kept = vendor.kept(LATER).await;
    let report = kept.import(&[&folder]).await;
    let prefix = format!("{}/", folder.display());
    let mut found: Vec<(&str, &str)> = report
        .refused
        .iter()
        .map(|one| {
            let name = one.path.strip_prefix(&prefix).expect("in the folder");
            (name, one.kind.as_str())
        })
        .collect();
    found.sort_unstable();
    let files = REFUSED_FILES.iter().map(|name| (*name, "file"));
    let mut expected: Vec<(&str, &str)> = REFUSED.iter().copied().chain(files).collect();
    expected.sort_unstable();
    assert_eq!(found, expected, "{:#?}", report.refused);
    assert_eq!(report.ignored, IGNORED.len() as u64, "{report:?}");
    assert_eq!(
        (report.admitted, report.known, report.held, report.future),
        (0, 0, 0, 0)
    );
    for refused in &report.refused {
        assert!(!refused.reason.is_empty(), "{}", refused.path);
        assert!(
            refused.reason.len() < 400 && !refused.reason.contains(char::is_control),
            "{}: a reason is for people: {:?}",
            refused.path,
            refused.reason
        );
    }
    let reason = |name: &str| {
        let path = format!("{prefix}{name}");
        let found = report.refused.iter().find(|one| one.path == path);
        found.map(|one| one.reason.as_str()).unwrap_or_default()
    };
    assert!(reason("huge.json").contains("67108864"));
    assert!(reason("outside").contains("leads out of the folder"));
    assert!(reason("doubled.json").contains("duplicate"));
    assert!(kept.states().await.is_empty(), "nothing is in the store");

    // The same again, and after a restart: the same report and still nothing.
    let kept = kept.restart().await;
    assert_eq!(kept.import(&[&folder]).await, report);
    assert!(kept.states().await.is_empty());

    // A good file among the bad ones is not their victim.
    let good = place.path().join("outside");
    let report = kept.import(&[&folder, &good]).await;
    assert_eq!((report.admitted, report.refused.len()), (1, expected.len()));
    assert_eq!(kept.states().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_refused_and_what_can_be_is_imported() {
    let vendor = Vendor::start().await;
    let tcb = vendor.tcb("sgx", "standard").await;
    let place = tempfile::tempdir().expect("a folder");
    let folder = place.path();
    fs::write(folder.join("good.json"), &tcb.body).expect("written");
    fs::write(folder.join("good.pem"), tcb.pem()).expect("written");
    symlink("gone", folder.join("dangling")).expect("linked");
    let shut = folder.join("shut");
    fs::create_dir(&shut).expect("made");
    fs::set_permissions(&shut, fs::Permissions::from_mode(0o0)).expect("set");
    // Root reads everything.
    let unreadable = 1 + u64::from(fs::read_dir(&shut).is_err());
    let missing = folder.join("missing");
    let kept = vendor.kept(LATER).await;
    let report = kept.import(&[folder, &missing]).await;
    fs::set_permissions(&shut, fs::Permissions::from_mode(0o700)).expect("set");
    assert_eq!(report.admitted, 1);
    assert_eq!(report.refused.len() as u64, unreadable + 1, "{report:?}");
    assert!(report.refused.iter().all(|one| one.kind == "file"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_walked_once_however_many_links_lead_to_it() {
    let vendor = Vendor::start().await;
    let tcb = vendor.tcb("sgx", "standard").await;
    let place = tempfile::tempdir().expect("a folder");
    let folder = place.path();
    fs::create_dir_all(folder.join("a/b")).expect("made");
    fs::write(folder.join("a/b/tcb.json"), &tcb.body).expect("written");
    fs::write(folder.join("a/b/chain.pem"), tcb.pem()).expect("written");
    for (target, link) in [("..", "a/up"), (".", "a/b/here"), ("a/b", "short")] {
        symlink(target, folder.join(link)).expect("linked");
    }
    let kept = vendor.kept(LATER).await;
    let report = kept.import(&[folder, &folder.join("a")]).await;
    assert_eq!(counts(&report), (1, 0, 0, 0, 0));
}

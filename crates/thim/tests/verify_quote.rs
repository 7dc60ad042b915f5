//! `thim verify quote` as a user meets it: exit codes, one shape of answer from files, store and service, several numbers
//! side by side, two dates under one number; on Intel's recorded quotes, and on simulated ones with a service.

#![allow(clippy::disallowed_methods, reason = "a test of the world may read it")]

mod program;

use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;

use program::{code, json, out, said, text, thim};
use serde_json::Value;
use thim_sim::{PlatformSpec, QuoteBody, QuoteSpec, QuoteVersion, SimConfig};

fn vectors() -> Option<PathBuf> {
    let root = std::env::var_os("THIM_VECTORS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    let found = root.join("intel/index.csv").is_file();
    if !found {
        println!("skipped: no vectors");
    }
    found.then(|| root.join("intel"))
}

fn verify(arguments: &[&str]) -> Output {
    thim(&[&["verify", "quote"], arguments].concat())
}

/// The checks that did not pass.
fn flaws(told: &Value) -> Vec<&str> {
    let findings = told["findings"].as_array().expect("findings");
    let flaws = findings.iter().filter(|one| one["outcome"] != "passed");
    flaws
        .map(|one| one["name"].as_str().expect("a name"))
        .collect()
}

/// A store with everything of the vectors that answers for more than one quote.
fn store(intel: &Path, folder: &Path) -> String {
    let paths = ["tcbinfo", "identity", "crl", "evalnums", "ca"].map(|name| intel.join(name));
    let mut arguments = vec!["collateral", "import", "--data", text(folder)];
    arguments.extend(paths.iter().map(|path| text(path)));
    let imported = thim(&arguments);
    // One document is of 2018 and version 1, which is refused.
    assert!(code(&imported) <= 1, "{}", said(&imported));
    text(folder).to_owned()
}

#[test]
fn the_recorded_bundles_with_the_exit_codes_they_deserve() {
    let Some(intel) = vectors() else { return };
    for (bundle, at, more, exit, status, expected) in [
        // Everything passes.
        (
            "tdx-v4-00806F050000-55d278a9-e17",
            "2024-12-05T18:16:52Z",
            &[][..],
            0,
            "UpToDate",
            &[][..],
        ),
        // Verified, and not good enough, unless it is accepted.
        (
            "sgx-v3-00606A000000-b7ab1cb4-e15",
            "2023-05-15T20:48:40Z",
            &[],
            1,
            "SWHardeningNeeded",
            &["status"],
        ),
        (
            "sgx-v3-00606A000000-b7ab1cb4-e15",
            "2023-05-15T20:48:40Z",
            &["--accept", "UpToDate,SWHardeningNeeded"],
            0,
            "SWHardeningNeeded",
            &[],
        ),
        // Debug is a finding, and the status stands.
        (
            "sgx-v3-00606A000000-85c9b47b-e12",
            "2022-06-22T03:54:28Z",
            &[],
            1,
            "UpToDate",
            &["debug"],
        ),
        (
            "sgx-v3-00606A000000-85c9b47b-e12",
            "2022-06-22T03:54:28Z",
            &["--allow", "debug"],
            0,
            "UpToDate",
            &["debug"],
        ),
        // So is expiry; one word forgives one thing.
        (
            "tdx-v4-00806F050000-55d278a9-e17",
            "2025-12-05T18:16:52Z",
            &[],
            1,
            "UpToDate",
            &[
                "root-crl-validity",
                "pck-crl-validity",
                "tcb-info-validity",
                "qe-identity-validity",
                "tcb-signer-validity",
            ],
        ),
        (
            "tdx-v4-00806F050000-55d278a9-e17",
            "2025-12-05T18:16:52Z",
            &["--allow", "expired"],
            0,
            "UpToDate",
            &[
                "root-crl-validity",
                "pck-crl-validity",
                "tcb-info-validity",
                "qe-identity-validity",
                "tcb-signer-validity",
            ],
        ),
        // A service domain; no level at all.
        (
            "tdx-v5-90C06F000000-d0010db6-e17",
            "2025-06-19T16:00:35Z",
            &[],
            1,
            "UpToDate",
            &["service-td"],
        ),
        (
            "tdx-v4-90C06F000000-f8f82dc7-e17",
            "2024-12-20T14:31:38Z",
            &[],
            1,
            "NotSupported",
            &["tcb-level", "status"],
        ),
        // Two numbers.
        (
            "sgx-v3-00606A000000-1cc40342-e15",
            "2023-09-27T07:46:15Z",
            &[
                "--allow",
                "debug,mixed-numbers",
                "--accept",
                "SWHardeningNeeded",
            ],
            0,
            "SWHardeningNeeded",
            &["evaluation-numbers", "debug"],
        ),
    ] {
        let folder = intel.join("bundles").join(bundle);
        let (quote, collateral) = (folder.join("quote.bin"), folder.join("collateral.json"));
        let base = [
            text(&quote),
            "--collateral",
            text(&collateral),
            "--at",
            at,
            "--json",
        ];
        let output = verify(&[&base, more].concat());
        let told = json(&output);
        assert_eq!(
            code(&output),
            exit,
            "{bundle} {more:?}: {}",
            told["reasons"]
        );
        assert_eq!(told["status"], status, "{bundle}");
        assert_eq!(flaws(&told), expected, "{bundle}");
        assert_eq!(told["collateral"].as_array().expect("a list").len(), 4);
    }
}

#[test]
fn the_columns_of_several_numbers_differ_as_recorded() {
    let Some(intel) = vectors() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let data = store(&intel, &folder.path().join("data"));
    for (quote, numbers, expected) in [
        (
            "v3-sgx-00606A000000-b7ab1cb4.bin",
            "15,16,17,20",
            ["SWHardeningNeeded", "OutOfDate", "OutOfDate", "OutOfDate"],
        ),
        (
            "v4-td10-00806F050000-4b23198a.bin",
            "16,17,18,19",
            ["UpToDate", "OutOfDate", "OutOfDate", "OutOfDate"],
        ),
    ] {
        let quote = intel.join("quotes").join(quote);
        let base = [
            text(&quote),
            "--data",
            &data,
            "--against",
            numbers,
            "--at",
            "2026-11-01T00:00:00Z",
        ];
        let output = verify(&[&base[..], &["--json"]].concat());
        let told = json(&output);
        let columns = told["columns"].as_array().expect("columns");
        let statuses: Vec<&Value> = columns.iter().map(|one| &one["status"]).collect();
        assert_eq!(statuses, expected, "{numbers}");
        for column in columns.iter().filter(|one| one["status"] == "OutOfDate") {
            let target = &column["shortfall"]["platform"]["next_better"];
            let short = target["components"].as_array().expect("components");
            assert!(!short.is_empty());
            for one in short {
                assert!(one["component"].is_string() && one["who"].is_string());
                assert!(one["have"].as_u64() < one["need"].as_u64(), "{one}");
                assert!(!one["action"].as_str().expect("a sentence").is_empty());
            }
        }
        // Each column is what the number alone gives.
        for (number, column) in numbers.split(',').zip(columns) {
            let alone = [
                text(&quote),
                "--data",
                &data,
                "--number",
                number,
                "--at",
                "2026-11-01T00:00:00Z",
                "--json",
            ];
            assert_eq!(json(&verify(&alone)), *column);
        }
        let said = out(&verify(&base));
        assert!(said.contains("platform owner: Install a BIOS"), "{said}");
        assert!(
            said.contains("sgx[0] (BIOS, Early Microcode Update): has"),
            "{said}"
        );
    }
}

#[test]
fn one_number_on_two_dates_and_several_numbers_on_one() {
    let Some(intel) = vectors() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let data = store(&intel, &folder.path().join("data"));
    let quote = intel.join("quotes/v4-td10-90C06F000000-f8f82dc7.bin");
    let status = |arguments: &[&str]| {
        let base = [text(&quote), "--data", &data, "--json"];
        let told = json(&verify(&[&base[..], arguments].concat()));
        let info = told["collateral"].as_array().expect("a list").iter();
        let info = info
            .filter_map(|used| {
                used["key"]
                    .as_str()?
                    .contains("tcb-info")
                    .then_some(&used["issued"])
            })
            .next()
            .map(Value::to_string);
        (told["status"].clone(), told["number"].clone(), info)
    };
    // Number 17 of May 2024 and of December 2024 are two documents: a number does not freeze content.
    let early = status(&["--number", "17", "--at", "2024-05-16T13:40:25Z"]);
    let later = status(&["--number", "17", "--at", "2024-12-20T14:31:38Z"]);
    assert_eq!((&early.0, &early.1), (&"UpToDate".into(), &17.into()));
    assert_eq!((&later.0, &later.1), (&"NotSupported".into(), &17.into()));
    assert!(early.2 < later.2);
    // Never an edition of tomorrow: a second before the later one was issued, the earlier counts.
    let before = status(&["--number", "17", "--at", "2024-12-20T08:30:39Z"]);
    assert_ne!(before.2, later.2);
    // The vendor's lists of then say what standard was.
    let standard = status(&["--at", "2026-01-12T21:52:37Z"]);
    assert_eq!(standard.1, 18, "{standard:?}");
    // Nothing is known from before the first edition.
    let output = verify(&[
        text(&quote),
        "--data",
        &data,
        "--number",
        "17",
        "--at",
        "2019-01-01T00:00:00Z",
        "--json",
    ]);
    assert_eq!(json(&output)["status"], Value::Null);
    assert_eq!(
        json(&output)["verdict"],
        "not-accepted",
        "a quote of before its certificates"
    );
}

#[test]
fn what_is_missing_is_unknown_and_what_is_no_quote_is_refused() {
    let Some(intel) = vectors() else { return };
    let bundle = intel.join("bundles/tdx-v4-00806F050000-55d278a9-e17");
    let (quote, collateral) = (bundle.join("quote.bin"), bundle.join("collateral.json"));
    let at = ["--at", "2024-12-05T18:16:52Z"];
    // Without any list.
    let folder = tempfile::tempdir().expect("a folder");
    let fields: Value =
        serde_json::from_slice(&std::fs::read(&collateral).expect("read")).expect("JSON");
    let without = |names: &[&str]| {
        let mut fields = fields.clone();
        for name in names {
            fields.as_object_mut().expect("an object").remove(*name);
        }
        let path = folder.path().join("part.json");
        std::fs::write(&path, fields.to_string()).expect("written");
        path
    };
    let part = without(&["pck_crl", "root_ca_crl", "pck_crl_issuer_chain"]);
    let base = [text(&quote), "--collateral", text(&part), at[0], at[1]];
    let output = verify(&base);
    assert_eq!(code(&output), 2, "{}", out(&output));
    assert!(said(&output).contains("no PCK CRL"), "{}", said(&output));
    let forgiven = verify(&[&base[..], &["--allow", "unchecked-revocation"]].concat());
    assert_eq!(code(&forgiven), 0, "{}", out(&forgiven));
    let part = without(&["tcb_info"]);
    let base = [
        text(&quote),
        "--collateral",
        text(&part),
        at[0],
        at[1],
        "--json",
    ];
    let output = verify(&base);
    assert_eq!((code(&output), &json(&output)["status"]), (2, &Value::Null));

    // One altered byte of a document is a forgery, which is not "missing".
    let forged = fields
        .to_string()
        .replacen("\\\"svn\\\":6", "\\\"svn\\\":5", 1);
    assert_ne!(forged, fields.to_string());
    let path = folder.path().join("forged.json");
    std::fs::write(&path, forged).expect("written");
    let output = verify(&[
        text(&quote),
        "--collateral",
        text(&path),
        at[0],
        at[1],
        "--json",
    ]);
    assert_eq!(code(&output), 1);
    assert!(flaws(&json(&output)).contains(&"tcb-info"));

    for (bytes, exit) in [
        (&b"\x03\x00\x02\x00"[..], 1),
        (b"\x09\x00\x02\x00 and so on", 2),
    ] {
        let path = folder.path().join("none.bin");
        std::fs::write(&path, bytes).expect("written");
        let output = verify(&[text(&path), "--collateral", text(&collateral), "--json"]);
        assert_eq!(code(&output), exit);
        assert_eq!(flaws(&json(&output)), ["format"]);
    }
}

#[test]
fn wrong_arguments_say_what_they_take() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("quote.bin");
    std::fs::write(&file, [3, 0, 2, 0]).expect("written");
    let nowhere = folder.path().join("none");
    for (arguments, why) in [
        (vec!["--update", "newest"], "standard"),
        (vec!["--accept", "Fine"], "UpToDate"),
        (vec!["--allow", "everything"], "unchecked-revocation"),
        (vec!["--against", "17,x"], "x"),
        (
            vec!["--number", "17", "--update", "early"],
            "cannot be used with",
        ),
        (vec!["--at", "yesterday"], "yesterday"),
        (vec!["--data", text(&nowhere)], "--collateral"),
        (vec!["--collateral", text(&nowhere)], "none"),
    ] {
        let output = verify(&[&[text(&file)], arguments.as_slice()].concat());
        assert_eq!(code(&output), 2, "{arguments:?}");
        assert!(
            said(&output).contains(why),
            "{arguments:?}: {}",
            said(&output)
        );
    }
    assert!(!nowhere.exists(), "a look made a data directory");
    let output = verify(&[text(&nowhere), "--collateral", text(&file)]);
    assert_eq!(code(&output), 2);
}

/// A simulator, and a program that serves from it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_store_and_files_tell_the_same() {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970")
        .as_secs();
    let now = i64::try_from(now).expect("seconds");
    let sim = thim_sim::start(SimConfig {
        pcs_listen: ([127, 0, 0, 1], 0).into(),
        management_listen: ([127, 0, 0, 1], 0).into(),
        // A little behind, so that nothing is of the future for a program that reads its clock first.
        now: Arc::new(move || now - 60),
        api_key: None,
    })
    .await
    .expect("the simulator starts");
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("root.pem");
    std::fs::write(&root, sim.root_pem()).expect("written");
    let config = folder.path().join("thim.toml");
    let settings = format!(
        "[intel]\nupstream = [\"{}\"]\nroot_crl_url = \"{}\"\n[trust]\nintel_roots = [\"root.pem\"]\n[https]\nlisten = \"off\"\n",
        sim.pcs_url(),
        sim.root_crl_url()
    );
    std::fs::write(&config, settings).expect("written");
    let management = sim.management();
    let platform = management
        .add_platform(PlatformSpec::new("50806F53494D", 1))
        .expect("a platform");
    let spec = QuoteSpec::new(QuoteVersion::V5, QuoteBody::Td15);
    let quote = folder.path().join("quote.bin");
    let bytes = management.quote(&platform.name, &spec).expect("a quote");
    std::fs::write(&quote, bytes).expect("written");
    let data = folder.path().join("data");
    let (running, url) = program::start(&[
        "serve",
        "--config",
        text(&config),
        "--http",
        "127.0.0.1:0",
        "--https",
        "off",
        "--data",
        text(&data),
    ]);
    let asked = verify(&[text(&quote), "--service", &url, "--json"]);
    assert_eq!(code(&asked), 0, "{} {}", out(&asked), said(&asked));
    let by_service = json(&asked);
    assert_eq!(by_service["status"], "UpToDate");
    let early = verify(&[text(&quote), "--service", &url, "--update", "early"]);
    assert_eq!(code(&early), 1, "{}", out(&early));
    assert!(out(&early).contains("OutOfDate"));
    let number = by_service["number"].to_string();
    let several = verify(&[text(&quote), "--service", &url, "--against", &number]);
    assert_eq!(code(&several), 0, "{} {}", out(&several), said(&several));
    drop(running);

    let at = by_service["at"].as_str().expect("an instant");
    let from = ["--config", text(&config), "--at", at, "--json"];
    let by_store = verify(&[&[text(&quote), "--data", text(&data)], &from[..]].concat());
    assert_eq!(json(&by_store), by_service);
    let exported = folder.path().join("exported");
    let export = thim(&[
        "collateral",
        "export",
        "--output",
        text(&exported),
        "--config",
        text(&config),
        "--data",
        text(&data),
    ]);
    assert_eq!(code(&export), 0, "{}", said(&export));
    let by_files = verify(
        &[
            &[
                text(&quote),
                "--collateral",
                text(&exported),
                "--number",
                &number,
            ],
            &from[..],
        ]
        .concat(),
    );
    let by_files = json(&by_files);
    for member in [
        "status",
        "verdict",
        "findings",
        "shortfall",
        "supplemental",
        "facts",
    ] {
        assert_eq!(by_files[member], by_service[member], "{member}");
    }
}

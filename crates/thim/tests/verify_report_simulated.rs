//! `thim verify report` as a user meets it, on simulated reports: exit codes, one status, each finding, each relaxation,
//! what is asked of a service, and what is said.

mod judging;
mod program;
mod snp;

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use data_encoding::{BASE64, HEXLOWER};
use judging::{EVERYTHING, expect, judged, verify, written};
use program::{code, json, out, said, text};
use serde_json::{Value, json};
use snp::{AT, SimulatedKds};
use thim_sim::{AmdCa, AmdProduct, KdsFault, ReportSpec, ReportVersion, SimChip};

/// The simulated AMD, a folder, and a configuration that trusts its roots.
struct Simulated {
    sim: SimulatedKds,
    folder: tempfile::TempDir,
    config: String,
    url: String,
}

impl Simulated {
    fn start() -> Self {
        let sim = SimulatedKds::start();
        let folder = tempfile::tempdir().expect("a folder");
        written(folder.path(), "roots.pem", sim.kds().roots_pem().as_bytes());
        let config = b"[trust]\namd_roots = [\"roots.pem\"]\n";
        let config = written(folder.path(), "thim.toml", config);
        let url = sim.kds().url();
        Self {
            sim,
            folder,
            config,
            url,
        }
    }

    fn chip(&self, product: AmdProduct) -> SimChip {
        self.sim.kds().management().chip_of(product)
    }

    fn file(&self, name: &str, bytes: &[u8]) -> String {
        written(self.folder.path(), name, bytes)
    }

    fn report(&self, chip: &SimChip, spec: &ReportSpec) -> String {
        self.file("report.bin", &chip.report(spec))
    }

    /// VCEK, chain and list of a chip, as files.
    fn files(&self, chip: &SimChip) -> [String; 3] {
        let product = chip.product;
        let get = |target: &str| self.sim.get(target);
        [
            self.file("vcek.der", &get(&chip.target())),
            self.file("chain.pem", &get(&format!("/vcek/v1/{product}/cert_chain"))),
            self.file("crl.der", &get(&format!("/vcek/v1/{product}/crl"))),
        ]
    }

    /// With the simulated AMD's roots, at its clock.
    fn with<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        [arguments, &["--config", &self.config, "--at", AT]].concat()
    }
}

#[test]
fn a_simulated_chip_in_every_form_from_files_stdin_and_the_service() {
    let s = Simulated::start();
    for (product, version) in [
        (AmdProduct::Milan, ReportVersion::V2),
        (AmdProduct::Milan, ReportVersion::V3),
        (AmdProduct::Genoa, ReportVersion::V3),
        (AmdProduct::Turin, ReportVersion::V5),
    ] {
        let chip = s.chip(product);
        let spec = ReportSpec {
            version,
            ..ReportSpec::default()
        };
        let report = s.report(&chip, &spec);
        let [vcek, chain, crl] = s.files(&chip);
        let files = ["--vcek", &vcek, "--chain", &chain, "--crl", &crl];
        expect(&s.with(&[&[report.as_str()], &files[..]].concat()), 0, &[]);
        let folder = text(s.folder.path());
        expect(&s.with(&[&report, "--collateral", folder]), 0, &[]);
        expect(&s.with(&[&report, "--service", &s.url]), 0, &[]);
        // AMD's own roots know nothing of it.
        let (exit, _, flaws) = judged(&[&[report.as_str(), "--at", AT], &files[..]].concat());
        assert_eq!((exit, flaws[0].as_str()), (1, "chain failed"), "{flaws:?}");

        let bytes = chip.report(&spec);
        let mut blob = b"HCLA".to_vec();
        blob.resize(0x20, 0);
        blob.extend_from_slice(&bytes);
        blob.resize(2600, 0);
        for (name, bytes) in [
            ("hex", HEXLOWER.encode(&bytes).into_bytes()),
            ("base64", BASE64.encode(&bytes).into_bytes()),
            ("hcl", blob),
        ] {
            let file = s.file(name, &bytes);
            expect(&s.with(&[&[file.as_str()], &files[..]].concat()), 0, &[]);
        }
        let arguments = s.with(&[&["verify", "report", "-"], &files[..]].concat());
        let mut child = Command::new(env!("CARGO_BIN_EXE_thim"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(&bytes).expect("written");
        drop(stdin);
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(code(&output), 0);
        for name in ["hex", "base64", "hcl"] {
            std::fs::remove_file(s.folder.path().join(name)).expect("removed");
        }
    }
}

#[test]
fn each_relaxation_and_what_it_does_not_forgive() {
    let s = Simulated::start();
    let chip = s.chip(AmdProduct::Milan);
    let [vcek, chain, crl] = s.files(&chip);
    let files = ["--vcek", vcek.as_str(), "--chain", &chain, "--crl", &crl];
    let policy = |bits: u64| ReportSpec {
        policy: ReportSpec::default().policy | bits,
        ..ReportSpec::default()
    };
    for (spec, flaw, exit, word) in [
        (policy(1 << 19), "debug failed", 1, "debug"),
        (
            policy(1 << 18),
            "migration-agent failed",
            1,
            "migration-agent",
        ),
        (
            ReportSpec {
                mask_chip_id: true,
                ..ReportSpec::default()
            },
            "chip-id not-checked",
            2,
            "masked-chip",
        ),
    ] {
        let report = s.report(&chip, &spec);
        let all = s.with(&[&[report.as_str()], &files[..]].concat());
        expect(&all, exit, &[flaw]);
        let allowed = format!("{flaw} allowed");
        expect(&[&all[..], &["--allow", word]].concat(), 0, &[&allowed]);
        for other in EVERYTHING.split(',').filter(|other| *other != word) {
            expect(&[&all[..], &["--allow", other]].concat(), exit, &[flaw]);
        }
    }
    let report = s.report(&chip, &ReportSpec::default());
    let years_later = "2034-06-01T00:00:00Z";
    let all = [
        &[report.as_str(), "--config", &s.config, "--at", years_later],
        &files[..],
    ]
    .concat();
    expect(&all, 1, &["validity failed", "revocation not-checked"]);
    let allowed = [&all[..], &["--allow", "expired,unchecked-revocation"]].concat();
    expect(
        &allowed,
        0,
        &["validity failed allowed", "revocation not-checked allowed"],
    );
    expect(
        &[&all[..], &["--allow", "expired"]].concat(),
        2,
        &["validity failed allowed", "revocation not-checked"],
    );
}

#[test]
fn a_revoked_authority_is_never_forgiven() {
    let s = Simulated::start();
    let chip = s.chip(AmdProduct::Genoa);
    let management = s.sim.kds().management();
    management
        .revoke(AmdProduct::Genoa, AmdCa::Ask)
        .expect("revoked");
    let report = s.report(&chip, &ReportSpec::default());
    let all = s.with(&[&report, "--service", &s.url]);
    expect(&all, 1, &["revocation failed"]);
    expect(
        &[&all[..], &["--allow", EVERYTHING]].concat(),
        1,
        &["revocation failed"],
    );
    // Years later, when the list has long ended, too.
    let [vcek, chain, crl] = s.files(&chip);
    let late = [
        &report,
        "--vcek",
        &vcek,
        "--chain",
        &chain,
        "--crl",
        &crl,
        "--config",
        &s.config,
        "--at",
        "2030-06-01T00:00:00Z",
        "--allow",
        EVERYTHING,
    ];
    expect(&late, 1, &["revocation failed"]);
}

#[test]
fn a_vlek_and_a_report_nobody_signed() {
    let s = Simulated::start();
    let chip = s.chip(AmdProduct::Milan);
    let management = s.sim.kds().management();
    let vlek = s.file(
        "vlek.der",
        &management.vlek(AmdProduct::Milan, CSP).expect("a VLEK"),
    );
    let chain = s.file("vlek.pem", &s.sim.get("/vlek/v1/Milan/cert_chain"));
    let report = s.file("vlek.bin", &chip.vlek_report(CSP, &ReportSpec::default()));
    let all = s.with(&[&report, "--vcek", &vlek, "--chain", &chain]);
    expect(&all, 2, &["revocation not-checked"]);
    let list = s.file("vlek.crl", &s.sim.get("/vlek/v1/Milan/crl"));
    expect(&[&all[..], &["--crl", &list]].concat(), 0, &[]);
    expect(
        &s.with(&[&report, "--collateral", &vlek, "--service", &s.url]),
        0,
        &[],
    );
    // The key server gives VLEKs to clouds alone.
    let (exit, ..) = judged(&s.with(&[&report, "--service", &s.url]));
    assert_eq!(exit, 2);
    // Another cloud's key.
    let other = s.file(
        "other.der",
        &management
            .vlek(AmdProduct::Milan, "CN=other")
            .expect("a VLEK"),
    );
    let all = s.with(&[&report, "--vcek", &other, "--chain", &chain, "--crl", &list]);
    expect(&all, 1, &["signature failed"]);
    // A VCEK for it, and a report that says that it is not signed.
    let [vcek, chain, _] = s.files(&chip);
    let (exit, _, flaws) = judged(&s.with(&[&report, "--vcek", &vcek, "--chain", &chain]));
    assert_eq!(exit, 1);
    assert!(
        flaws.contains(&"signing-key failed".to_owned()),
        "{flaws:?}"
    );
    let mut unsigned = chip.report(&ReportSpec::default());
    unsigned[0x48] = 7 << 2;
    let unsigned = s.file("unsigned.bin", &unsigned);
    let (exit, _, flaws) = judged(&s.with(&[&unsigned, "--service", &s.url]));
    assert_eq!(exit, 1);
    assert!(
        flaws.contains(&"signing-key failed".to_owned()),
        "{flaws:?}"
    );
}

#[test]
fn an_impostor_is_refused_and_a_service_gone_wrong_tells_nothing() {
    let s = Simulated::start();
    let chip = s.chip(AmdProduct::Milan);
    let report = s.report(&chip, &ReportSpec::default());
    // The chip's own key under roots of the same names, from files: the whole hierarchy fits together.
    s.sim.fault(KdsFault::WrongKey, 3);
    let [vcek, chain, crl] = s.files(&chip);
    let named = s.with(&[&report, "--vcek", &vcek, "--chain", &chain, "--crl", &crl]);
    let (exit, _, flaws) = judged(&named);
    assert_eq!((exit, flaws[0].as_str()), (1, "chain failed"), "{flaws:?}");

    // From a service, what does not verify is as if it had given nothing: unknown, and said why.
    let vcek = format!("/{}?", chip.hwid_hex());
    let asked = s.with(&[&report, "--service", &s.url, "--json"]);
    for (fault, of, why) in [
        (KdsFault::WrongKey, vcek.as_str(), "does not vouch for it"),
        (KdsFault::Tampered, &vcek, "does not vouch for it"),
        (KdsFault::WrongTcb, &vcek, "not for this chip and TCB"),
        (KdsFault::Garbage, &vcek, "vcek of the service"),
        (KdsFault::FalseNotFound, &vcek, "status 404"),
        (
            KdsFault::Throttle { retry_after: 7 },
            &vcek,
            "ask again in 7 s",
        ),
        (KdsFault::Down, &vcek, "vcek of the service"),
        (
            KdsFault::Huge { bytes: 3 << 20 },
            &vcek,
            "vcek of the service",
        ),
        (KdsFault::WrongKey, "cert_chain", "which is not trusted"),
        (KdsFault::WrongProduct, "cert_chain", "chain of"),
        (KdsFault::WrongKey, "/crl", "does not verify"),
        (KdsFault::Expired, "/crl", ""),
    ] {
        let rule = thim_sim::FaultRule::new(fault.clone()).matching(of);
        s.sim.kds().management().set_fault(rule).expect("a fault");
        let output = verify(&asked);
        let said = out(&output) + &said(&output);
        assert_eq!(code(&output), 2, "{fault:?} {said}");
        assert_eq!(json(&output)["status"], "unknown");
        assert!(said.contains(why), "{fault:?}: {said}");
        assert!(!said.contains(&chip.hwid_hex()), "{fault:?}: {said}");
        s.sim.kds().management().clear_faults();
    }
    assert_eq!(code(&verify(&asked)), 0);
    // Nobody there at all.
    let dead = s.with(&[&report, "--service", "http://127.0.0.1:1"]);
    let output = verify(&dead);
    assert_eq!(code(&output), 2);
    assert!(!(out(&output) + &said(&output)).contains(&chip.hwid_hex()));
}

#[test]
fn what_is_asked_of_a_service_is_what_is_missing() {
    let s = Simulated::start();
    let chip = s.chip(AmdProduct::Milan);
    // A report of version 2 names no product: Milan is asked first, then Genoa.
    let genoa = s.chip(AmdProduct::Genoa);
    let spec = ReportSpec {
        version: ReportVersion::V2,
        ..ReportSpec::default()
    };
    let report = s.file("genoa.bin", &genoa.report(&spec));
    let calls = |s: &Simulated| s.sim.kds().management().status().calls;
    let before = calls(&s);
    expect(&s.with(&[&report, "--service", &s.url]), 0, &[]);
    assert_eq!(calls(&s) - before, 4, "two VCEKs, a chain, a list");
    let before = calls(&s);
    expect(
        &s.with(&[&report, "--service", &s.url, "--product", "genoa"]),
        0,
        &[],
    );
    assert_eq!(calls(&s) - before, 3);

    let report = s.report(&chip, &ReportSpec::default());
    let [vcek, chain, crl] = s.files(&chip);
    for (files, asked) in [
        (vec!["--vcek", &vcek], 2),
        (vec!["--vcek", &vcek, "--chain", &chain], 1),
        (vec!["--vcek", &vcek, "--chain", &chain, "--crl", &crl], 0),
    ] {
        let before = calls(&s);
        let all = [&[report.as_str(), "--service", &s.url], &files[..]].concat();
        expect(&s.with(&all), 0, &[]);
        assert_eq!(calls(&s) - before, asked, "{files:?}");
    }
    // A masked chip cannot be asked for.
    let masked = ReportSpec {
        mask_chip_id: true,
        ..ReportSpec::default()
    };
    let report = s.report(&chip, &masked);
    let before = calls(&s);
    let (exit, ..) = judged(&s.with(&[&report, "--service", &s.url, "--allow", EVERYTHING]));
    assert_eq!((exit, calls(&s) - before), (2, 0));
    // A folder with its certificate and a neighbour's helps: the signature tells which.
    let spec = thim_sim::ChipSpec::new(AmdProduct::Milan);
    let neighbour = s.sim.kds().management().add_chip(&spec).expect("a chip");
    s.file("a-neighbour.der", &s.sim.get(&neighbour.target()));
    let folder = text(s.folder.path());
    let all = s.with(&[&report, "--collateral", folder, "--allow", "masked-chip"]);
    expect(&all, 0, &["chip-id not-checked allowed"]);
}

#[test]
fn lengths_words_and_files_that_are_of_no_use() {
    let s = Simulated::start();
    let chip = s.chip(AmdProduct::Milan);
    let bytes = chip.report(&ReportSpec::default());
    for (name, bytes, why) in [
        (
            "short",
            bytes[..1183].to_vec(),
            "1183 bytes; a report has 1184",
        ),
        (
            "long",
            [&bytes[..], &[0]].concat(),
            "1185 bytes; a report has 1184",
        ),
        ("empty", vec![], "0 bytes; a report has 1184"),
        ("html", b"<html>\n".to_vec(), "7 bytes; a report has 1184"),
    ] {
        let file = s.file(name, &bytes);
        expect(&s.with(&[&file]), 1, &["format failed"]);
        let output = verify(&[&file]);
        assert!(out(&output).contains(why), "{}", out(&output));
    }
    // A version that does not exist yet may be fine: it cannot be told.
    let mut later = bytes;
    later[0] = 6;
    expect(
        &s.with(&[&s.file("later", &later)]),
        2,
        &["format not-checked"],
    );

    let report = s.report(&chip, &ReportSpec::default());
    let [vcek, chain, crl] = s.files(&chip);
    let note = s.file("note.txt", b"nothing of AMD's");
    let large = s.file("large", &vec![0; 64 * 1024 + 1]);
    let missing = text(&PathBuf::from("/nonexistent/file")).to_owned();
    for (arguments, why) in [
        (
            vec![report.as_str(), "--allow", "debug,everything"],
            "migration-agent, unchecked-revocation",
        ),
        (vec![&report, "--allow", ""], "unchecked-revocation"),
        (vec![&report, "--product", "Bergamo"], "Bergamo"),
        (
            vec![&report, "--product", "Genoa"],
            "the report is of Milan",
        ),
        (vec![&report, "--at", "yesterday"], "--at"),
        (vec![&report, "--ca-file", &note], "--service"),
        (
            vec![&report, "--vcek", &note],
            "a file with one VCEK or VLEK",
        ),
        (
            vec![&report, "--vcek", &chain],
            "a file with one VCEK or VLEK",
        ),
        (
            vec![&report, "--chain", &vcek],
            "0 certificates of authorities",
        ),
        (vec![&report, "--crl", &vcek], "no revocation list"),
        (
            vec![&report, "--vcek", &crl],
            "a file with one VCEK or VLEK",
        ),
        (vec![&report, "--collateral", &missing], "/nonexistent/file"),
        (vec![&report, "--vcek", &missing], "/nonexistent/file"),
        (vec![&missing], "/nonexistent/file"),
        (vec![&large], "more than 65536 bytes"),
        (vec![], "FILE"),
    ] {
        let output = verify(&arguments);
        assert_eq!(code(&output), 2, "{arguments:?}");
        assert!(
            said(&output).contains(why),
            "{arguments:?}: {}",
            said(&output)
        );
        assert!(out(&output).is_empty(), "{arguments:?}");
    }
}

/// One finding of an answer.
fn finding<'a>(answer: &'a Value, name: &str) -> &'a Value {
    let findings = answer["findings"].as_array().expect("findings");
    let found = findings.iter().find(|finding| finding["name"] == name);
    found.unwrap_or_else(|| panic!("{name}"))
}

#[test]
fn each_finding_has_what_it_was_judged_by_and_when() {
    let s = Simulated::start();
    let chip = s.chip(AmdProduct::Turin);
    let spec = ReportSpec {
        version: ReportVersion::V5,
        policy: ReportSpec::default().policy | 1 << 26,
        platform_info: 0x41,
        ..ReportSpec::default()
    };
    let report = s.report(&chip, &spec);
    let asked = s.with(&[&report, "--service", &s.url, "--json"]);
    let answer = json(&verify(&asked));
    assert_eq!(answer["tee"], "sev-snp");
    assert_eq!(
        (&answer["status"], &answer["verdict"]),
        (&json!("ok"), &json!("accepted"))
    );
    assert_eq!(answer["advisories"], json!([]));
    assert!(
        answer
            .get("shortfall")
            .is_some_and(serde_json::Value::is_null)
    );
    for finding in answer["findings"].as_array().expect("findings") {
        assert_eq!(finding["at"], AT, "{finding}");
        assert!(finding["facts"].is_object(), "{finding}");
    }
    let tcb = "fmc 1, boot-loader 1, tee 1, snp 4, microcode 81";
    assert_eq!(
        finding(&answer, "tcb")["facts"],
        json!({"reported": tcb, "endorsed": tcb})
    );
    // Unknown bits and a weak platform are told of, and refused by none.
    assert_eq!(finding(&answer, "policy")["facts"]["unknown-bits"], "26");
    let platform = finding(&answer, "platform");
    assert_eq!(platform["outcome"], "passed");
    assert_eq!(platform["facts"]["unknown-bits"], "6");
    for fact in ["tsme", "ciphertext-hiding", "alias-check-complete"] {
        assert_eq!(platform["facts"][fact], "false", "{fact}");
    }
    assert!(!answer.to_string().contains(&chip.hwid_hex()));

    // Without a certificate the report still tells these three.
    let alone = s.with(&[&report, "--json"]);
    let answer = json(&verify(&alone));
    assert_eq!(answer["verdict"], "unknown");
    for name in ["firmware-order", "policy", "platform"] {
        assert_eq!(finding(&answer, name)["outcome"], "passed", "{name}");
    }
    assert_eq!(finding(&answer, "tcb")["outcome"], "not-checked");
    assert_eq!(finding(&answer, "tcb")["facts"], json!({}));
    // Nor is there more for what is no report.
    let none = s.file("none", b"none");
    let answer = json(&verify(&s.with(&[&none, "--json"])));
    assert_eq!(answer["verdict"], "not-accepted");
    assert_eq!(finding(&answer, "format")["at"], AT);
}

#[test]
fn a_chip_committed_to_more_than_it_runs() {
    let s = Simulated::start();
    let mut chip = s.chip(AmdProduct::Milan);
    let files = s.files(&chip);
    chip.committed.microcode = chip.current.microcode + 1;
    let report = s.report(&chip, &ReportSpec::default());
    let [vcek, chain, crl] = &files;
    let all = s.with(&[&report, "--vcek", vcek, "--chain", chain, "--crl", crl]);
    expect(&all, 1, &["tcb-order failed"]);
    let forgiven = [&all[..], &["--allow", EVERYTHING]].concat();
    expect(&forgiven, 1, &["tcb-order failed"]);
    chip.committed.microcode = chip.current.microcode;
    let report = s.report(&chip, &ReportSpec::default());
    let all = s.with(&[&report, "--vcek", vcek, "--chain", chain, "--crl", crl]);
    expect(&all, 0, &[]);
}

#[test]
fn what_is_said_and_what_is_kept_to_oneself() {
    let s = Simulated::start();
    let chip = s.chip(AmdProduct::Turin);
    let spec = ReportSpec {
        version: ReportVersion::V5,
        report_data: [0xa5; 64],
        debug: true,
        ..ReportSpec::default()
    };
    let report = s.report(&chip, &spec);
    let asked = s.with(&[&report, "--service", &s.url]);
    let output = verify(&[&asked[..], &["--json"]].concat());
    let answer = json(&output);
    assert_eq!(answer["status"], "not-accepted");
    assert_eq!(answer["at"], AT);
    let debug = answer["findings"].as_array().expect("findings");
    let debug = debug.iter().find(|finding| finding["name"] == "debug");
    assert_eq!(debug.expect("debug")["relaxation"], "debug");
    let facts = &answer["facts"];
    assert_eq!(facts["product"], "Turin");
    assert_eq!(facts["version"], 5);
    assert_eq!(facts["signing_key"], "vcek");
    assert_eq!(
        facts["reported_tcb"],
        json!({"tcbm": "5100000004010101", "fmc": 1, "boot_loader": 1, "tee": 1, "snp": 4, "microcode": 81})
    );
    assert_eq!(facts["policy"]["debug"], true);
    assert_eq!(facts["report_data"], "a5".repeat(64));
    assert_eq!(facts["chain"]["source"], "service");
    let hwid = chip.hwid_hex();
    for output in [&output, &verify(&asked)] {
        assert!(!(out(output) + &said(output)).contains(&hwid));
    }
    let shown = verify(&[&asked[..], &["--show-chip-id"]].concat());
    assert!(out(&shown).contains(&hwid));
    let human = out(&verify(&asked));
    assert!(
        human.starts_with(&format!("not accepted at {AT}: debug: ")),
        "{human}"
    );
    assert!(human.contains("(--allow debug forgives it)"), "{human}");
}

const CSP: &str = "CN=cc-test-1.example.com";

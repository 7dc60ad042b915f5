//! `thim verify report` as a user meets it: exit codes, one status, each finding, each relaxation; on AMD's recorded
//! reports at the clocks their PROVENANCE.md names, and on simulated ones.

mod program;
mod snp;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use data_encoding::{BASE64, HEXLOWER};
use program::{code, json, out, said, text, thim};
use serde_json::{Value, json};
use snp::{AT, SimulatedKds, read, vectors};
use thim_sim::{AmdCa, AmdProduct, KdsFault, ReportSpec, ReportVersion, SimChip};

/// Within the windows of the captured lists.
const SEPTEMBER: &str = "2026-09-21T00:00:00Z";

fn verify(arguments: &[&str]) -> Output {
    thim(&[&["verify", "report"], arguments].concat())
}

/// Exit code, status, and the findings that did not pass, as `name outcome`, with ` allowed`.
fn judged(arguments: &[&str]) -> (i32, String, Vec<String>) {
    let output = verify(&[arguments, &["--json"]].concat());
    let answer = json(&output);
    let status = answer["status"].as_str().expect("a status").to_owned();
    let findings = answer["findings"].as_array().expect("findings");
    let line = |finding: &Value| {
        let word = |name: &str| finding[name].as_str().expect("a word").to_owned();
        let allowed = if finding["allowed"] == true {
            " allowed"
        } else {
            ""
        };
        format!("{} {}{allowed}", word("name"), word("outcome"))
    };
    let flaws = findings.iter().map(line);
    let flaws = flaws.filter(|line| !line.ends_with(" passed"));
    (code(&output), status, flaws.collect())
}

#[track_caller]
fn expect(arguments: &[&str], exit: i32, flaws: &[&str]) {
    let status = ["ok", "not-accepted", "unknown"][usize::try_from(exit).expect("an index")];
    let (code, found, findings) = judged(arguments);
    let outcome = (
        code,
        found.as_str(),
        findings.iter().map(String::as_str).collect::<Vec<_>>(),
    );
    assert_eq!(outcome, (exit, status, flaws.to_vec()), "{arguments:?}");
}

fn written(folder: &Path, name: &str, bytes: &[u8]) -> String {
    let path = folder.join(name);
    std::fs::write(&path, bytes).expect("written");
    text(&path).to_owned()
}

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
fn every_recorded_pair_with_the_relaxations_it_needs() {
    let Some(amd) = vectors() else { return };
    let path = |name: &str| text(&amd.join(name)).to_owned();
    for (pair, leaf, product) in [
        ("genoa_v3_b1e24a27", "vcek.pem", "genoa"),
        ("milan_v2_d49554ec", "vcek.der", "milan"),
        ("milan_v3_4ffb5cb4", "vcek.pem", "milan"),
        ("milan_v3_4ffb5cb4", "vcek_reissue_20251229.pem", "milan"),
        ("turin_v5_59790fb1", "vcek.pem", "turin"),
    ] {
        let report = path(&format!("pairs/{pair}/report.bin"));
        let vcek = path(&format!("pairs/{pair}/{leaf}"));
        let crl = path(&format!("crl/kds_{product}_vcek_crl_20260920.der"));
        let chain = path(&format!("chains/kds_{product}_vcek_cert_chain.pem"));
        let all = [&report, "--vcek", &vcek, "--chain", &chain, "--crl", &crl];
        let at = |at| [all.as_slice(), &["--at", at]].concat();
        expect(&at(SEPTEMBER), 0, &[]);
        // The chain that is built in is the same; relaxations that nothing needs are harmless.
        let relaxed = [
            report.as_str(),
            "--vcek",
            &vcek,
            "--crl",
            &crl,
            "--at",
            SEPTEMBER,
        ];
        expect(&relaxed, 0, &[]);
        expect(
            &[
                &relaxed[..],
                &["--allow", "debug,unchecked-revocation,expired"],
            ]
            .concat(),
            0,
            &[],
        );
        // Without the list, and with one that has ended.
        let unchecked = ["revocation not-checked"];
        expect(
            &[&relaxed[..3], &["--at", SEPTEMBER]].concat(),
            2,
            &unchecked,
        );
        expect(&at("2026-10-04T00:00:01Z"), 2, &unchecked);
        let forgiven = [
            &at("2026-10-04T00:00:01Z")[..],
            &["--allow", "unchecked-revocation"],
        ]
        .concat();
        expect(&forgiven, 0, &["revocation not-checked allowed"]);
    }

    // A debug guest: signed well, and open.
    let report = path("pairs/milan_v2_3ac3fe21/report.bin");
    let folder = text(&amd).to_owned();
    let debug = [report.as_str(), "--collateral", &folder, "--at", SEPTEMBER];
    expect(&debug, 1, &["debug failed"]);
    expect(
        &[&debug[..], &["--allow", "debug"]].concat(),
        0,
        &["debug failed allowed"],
    );
    expect(
        &[&debug[..], &["--allow", "unchecked-revocation"]].concat(),
        1,
        &["debug failed"],
    );

    // A VLEK: there is no list, and it has ended.
    let report = path("pairs/milan_v3_vlek_aws/report.bin");
    let vlek = |at| [report.as_str(), "--collateral", folder.as_str(), "--at", at];
    expect(
        &vlek("2025-06-01T00:00:00Z"),
        2,
        &["revocation not-checked"],
    );
    let allowed = [
        &vlek("2025-06-01T00:00:00Z")[..],
        &["--allow", "unchecked-revocation"],
    ]
    .concat();
    expect(&allowed, 0, &["revocation not-checked allowed"]);
    expect(&vlek(SEPTEMBER), 1, &["validity failed"]);
    let expired = [&vlek(SEPTEMBER)[..], &["--allow", "expired"]].concat();
    expect(&expired, 0, &["validity failed allowed"]);
    // Not yet valid is not expired.
    let early = [
        &vlek("2024-12-01T00:00:00Z")[..],
        &["--allow", "expired,unchecked-revocation"],
    ]
    .concat();
    expect(
        &early,
        1,
        &["validity failed", "revocation not-checked allowed"],
    );
}

#[test]
fn the_containers_of_the_field() {
    let Some(amd) = vectors() else { return };
    let path = |name: &str| text(&amd.join(name)).to_owned();
    let report = path("thim/aci_report.bin");
    let crl = path("crl/kds_milan_vcek_crl_20260920.der");
    // Azure's JSON as picked from, as the VCEK's file, as the chain's.
    let body = path("thim/aci_host_certs.json");
    for part in ["--collateral", "--vcek"] {
        expect(
            &[&report, part, &body, "--crl", &crl, "--at", SEPTEMBER],
            0,
            &[],
        );
    }
    let both = [&report, "--chain", &body, "--crl", &crl, "--at", SEPTEMBER];
    expect(&both, 0, &[]);
    // The table that a hypervisor hands to its guest.
    let table = path("cert_table/milan_3ac3fe21_certtable.bin");
    let report = path("pairs/milan_v2_3ac3fe21/report.bin");
    let tabled = [
        &report,
        "--collateral",
        &table,
        &crl,
        "--allow",
        "debug",
        "--at",
        SEPTEMBER,
    ];
    expect(&tabled, 0, &["debug failed allowed"]);
    // Azure's cache gives three certificates, of another chip: nothing fits, and that is no refusal.
    let three = path("thim/azcache_SevSnpVM_response.pem");
    let (exit, status, flaws) = judged(&[
        &path("thim/aci_report.bin"),
        "--collateral",
        &three,
        "--at",
        SEPTEMBER,
    ]);
    assert_eq!((exit, status.as_str()), (2, "unknown"));
    assert_eq!(flaws.len(), 10, "{flaws:?}");
    // Named for its part it is used whatever it is.
    let (exit, _, flaws) = judged(&[
        &path("thim/aci_report.bin"),
        "--vcek",
        &three,
        "--at",
        SEPTEMBER,
    ]);
    assert_eq!(exit, 1);
    for flaw in ["chip-id failed", "tcb failed", "signature failed"] {
        assert!(flaws.iter().any(|found| found == flaw), "{flaws:?}");
    }
}

#[test]
fn tampered_and_misplaced() {
    let Some(amd) = vectors() else { return };
    let path = |name: &str| text(&amd.join(name)).to_owned();
    let folder = tempfile::tempdir().expect("a folder");
    let report = read(&amd, "pairs/milan_v2_d49554ec/report.bin");
    let vcek = read(&amd, "pairs/milan_v2_d49554ec/vcek.der");
    let vcek_file = path("pairs/milan_v2_d49554ec/vcek.der");
    let chain_bytes = read(&amd, "chains/kds_milan_vcek_cert_chain.pem");
    let crl = path("crl/kds_milan_vcek_crl_20260920.der");
    let good = path("pairs/milan_v2_d49554ec/report.bin");
    let flipped = |bytes: &[u8], at: usize, bit: u8| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= bit;
        bytes
    };

    for (at, bit, flaws) in [
        // GUEST_SVN, REPORT_DATA, MEASUREMENT, R, S: the signature alone tells.
        (0x004, 1, &["signature failed"][..]),
        (0x050, 1, &["signature failed"]),
        (0x090, 1, &["signature failed"]),
        (0x2a0, 1, &["signature failed"]),
        (0x2e8, 1, &["signature failed"]),
        // REPORTED_TCB, CHIP_ID, the key's kind, debug: each is named too.
        (0x187, 1, &["tcb failed", "signature failed"]),
        (0x1a0, 1, &["chip-id failed", "signature failed"]),
        (0x048, 4, &["signing-key failed", "signature failed"]),
        (0x00a, 8, &["signature failed", "debug failed"]),
        (0x00a, 4, &["signature failed", "migration-agent failed"]),
        // Bytes that no signature covers, and a bit that must be set.
        (0x2a0 + 48, 1, &["format failed"]),
        (0x49f, 1, &["format failed"]),
        (0x00a, 2, &["format failed"]),
    ] {
        let file = written(folder.path(), "flipped.bin", &flipped(&report, at, bit));
        let all = [
            &file, "--vcek", &vcek_file, "--crl", &crl, "--at", SEPTEMBER,
        ];
        expect(&all, 1, flaws);
        // Nothing forgives what was tampered with, but policy is policy.
        let (exit, ..) = judged(&[&all[..], &["--allow", EVERYTHING]].concat());
        assert_eq!(exit, 1, "{at:#x}");
    }

    // The VCEK: a bit of its signature, of its key, of its TCB.
    let key = vcek
        .windows(3)
        .position(|w| w == [0x62, 0x00, 0x04])
        .expect("a key");
    let last = vcek.len() - 1;
    let file = written(folder.path(), "vcek.der", &flipped(&vcek, last, 1));
    let all = [&good, "--vcek", &file, "--crl", &crl, "--at", SEPTEMBER];
    expect(&all, 1, &["endorsement failed"]);
    // What can no longer be read is no certificate, and still the one that was named.
    let point = flipped(&vcek, key + 20, 1);
    for broken in [point.as_slice(), &vcek[..last], &[&vcek[..], &[0]].concat()] {
        let file = written(folder.path(), "vcek.der", broken);
        let all = [
            &good, "--vcek", &file, "--crl", &crl, "--at", SEPTEMBER, "--allow", EVERYTHING,
        ];
        let (exit, status, flaws) = judged(&all);
        assert_eq!((exit, status.as_str()), (1, "not-accepted"));
        let failed: Vec<&String> = flaws
            .iter()
            .filter(|flaw| flaw.ends_with("failed"))
            .collect();
        assert_eq!(failed, ["endorsement failed"]);
        assert_eq!(flaws.len(), 10, "{flaws:?}");
    }
    let torn = written(
        folder.path(),
        "chain.pem",
        &chain_bytes[..chain_bytes.len() - 40],
    );
    let (exit, _, flaws) = judged(&[
        &good, "--vcek", &vcek_file, "--chain", &torn, "--at", SEPTEMBER,
    ]);
    assert_eq!(exit, 1);
    assert!(flaws.contains(&"chain failed".to_owned()), "{flaws:?}");
    // In a folder beside the genuine one it changes nothing.
    written(folder.path(), "genuine.der", &vcek);
    std::fs::remove_file(folder.path().join("flipped.bin")).expect("removed");
    let pool = text(folder.path());
    expect(
        &[&good, "--collateral", pool, &crl, "--at", SEPTEMBER],
        0,
        &[],
    );

    // Another product's chain, another kind's, another product's list, an altered list.
    let chain = |name: &str| path(&format!("chains/kds_{name}_cert_chain.pem"));
    for other in ["genoa_vcek", "turin_vcek", "milan_vlek"] {
        let chain = chain(other);
        let all = [
            &good, "--vcek", &vcek_file, "--chain", &chain, "--at", SEPTEMBER,
        ];
        let (exit, _, flaws) = judged(&all);
        assert_eq!(exit, 1, "{other}");
        assert!(
            flaws.contains(&"chain failed".to_owned()),
            "{other}: {flaws:?}"
        );
        assert!(
            flaws.contains(&"endorsement failed".to_owned()),
            "{other}: {flaws:?}"
        );
    }
    let other = path("crl/kds_genoa_vcek_crl_20260920.der");
    let all = [
        &good, "--vcek", &vcek_file, "--crl", &other, "--at", SEPTEMBER,
    ];
    expect(&all, 2, &["revocation not-checked"]);
    let list = read(&amd, "crl/kds_milan_vcek_crl_20260920.der");
    let forged = written(
        folder.path(),
        "forged.crl",
        &flipped(&list, list.len() - 1, 1),
    );
    let all = [
        &good, "--vcek", &vcek_file, "--crl", &forged, "--at", SEPTEMBER,
    ];
    expect(&all, 2, &["revocation not-checked"]);
    let output = verify(&[&all[..], &["--json"]].concat());
    let notes = json(&output)["notes"].to_string();
    assert!(
        notes.contains("forged.crl") && notes.contains("does not verify"),
        "{notes}"
    );
    // Beside the genuine one the forged one is left aside.
    expect(&[&all[..], &["--crl", &crl]].concat(), 0, &[]);
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

const EVERYTHING: &str = "debug,expired,masked-chip,migration-agent,unchecked-revocation";
const CSP: &str = "CN=cc-test-1.example.com";

//! `thim verify report` as a user meets it, on AMD's recorded reports at the clocks their PROVENANCE.md names: each
//! pair, each container of the field, and what was tampered with.

mod judging;
mod program;
mod snp;

use judging::{EVERYTHING, expect, judged, verify, written};
use program::{json, text};
use snp::{read, vectors};

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

/// Within the windows of the captured lists.
const SEPTEMBER: &str = "2026-09-21T00:00:00Z";

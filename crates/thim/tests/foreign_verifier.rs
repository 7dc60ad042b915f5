//! The `sev` crate and THIM look at the same bytes and say the same, of what is genuine and of what was tampered with.

mod foreign;
mod program;
mod snp;

use foreign::{Root, verdict};
use program::{code, get, out, said, start, text, thim};
use snp::{SimulatedKds, read, vectors};
use thim_sim::{AmdProduct, KdsFault, ReportSpec, ReportVersion};
use thim_verify::amd::{
    Anchors, CertChain, Endorsement, EndorsementKind, FindingName, Outcome, Product, Products,
    ReportCollateral, builtin_chain, parse_cert_chain, parse_report, verify_report,
};
use thim_verify::{Error, UnixTime};

/// THIM's verdict by what the other one looks at: signatures alone.
fn ours(leaf: &[u8], chain: &[u8], report: &[u8], anchors: &Anchors) -> Result<(), String> {
    let text = |error: Error| error.to_string();
    let endorsement = Endorsement::from_der(leaf).map_err(text)?;
    let chain: CertChain = parse_cert_chain(chain).map_err(text)?;
    let report = parse_report(report).map_err(text)?;
    let collateral = ReportCollateral {
        endorsement: &endorsement,
        chain: &chain,
        crl: None,
    };
    let now: UnixTime = "2025-06-01T00:00:00Z".parse().expect("a time");
    let findings = verify_report(&report, &collateral, &Products::builtin(), anchors, now);
    for name in [
        FindingName::Chain,
        FindingName::Endorsement,
        FindingName::Signature,
    ] {
        match findings.outcome(name) {
            Some(Outcome::Passed) => {}
            other => return Err(format!("{name:?}: {other:?}")),
        }
    }
    Ok(())
}

/// Both accept the three as they are, and both refuse a flipped bit in each of them.
fn agree(leaf: &[u8], chain: &[u8], report: &[u8], anchors: &Anchors, root: Root) {
    assert_eq!(ours(leaf, chain, report, anchors), Ok(()));
    assert_eq!(verdict(leaf, chain, report, root), Ok(()));
    let refused = |what: &str, leaf: &[u8], chain: &[u8], report: &[u8]| {
        let (ours, theirs) = (
            ours(leaf, chain, report, anchors),
            verdict(leaf, chain, report, root),
        );
        assert!(
            ours.is_err() && theirs.is_err(),
            "{what}: {ours:?} {theirs:?}"
        );
    };
    let flipped = |bytes: &[u8], at: usize| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 1;
        bytes
    };
    // The measurement, REPORT_DATA, REPORTED_TCB's microcode, R and S.
    for at in [0x050, 0x090, 0x187, 0x2a0, 0x2e8] {
        refused("report", leaf, chain, &flipped(report, at));
    }
    // The leaf's signature, and its key.
    refused("leaf", &flipped(leaf, leaf.len() - 1), chain, report);
    let key = leaf.windows(3).position(|w| w == [0x62, 0x00, 0x04]);
    let key = key.expect("a point of P-384") + 10;
    refused("leaf's key", &flipped(leaf, key), chain, report);
    // Another product's chain.
    for other in [Product::Genoa, Product::Milan, Product::Turin] {
        let other = builtin_chain(other, EndorsementKind::Vcek).expect("built in");
        if other != chain {
            refused("chain", leaf, other, report);
        }
    }
    // Missing and trailing bytes.
    refused("short", leaf, chain, &report[..1183]);
    refused("long", leaf, chain, &[report, &[0]].concat());
}

fn leaf_der(bytes: &[u8]) -> Vec<u8> {
    let leaf = if bytes.starts_with(b"-----") {
        Endorsement::from_pem(bytes)
    } else {
        Endorsement::from_der(bytes)
    };
    match leaf.expect("a leaf") {
        Endorsement::Vcek(vcek) => vcek.der().to_vec(),
        Endorsement::Vlek(vlek) => vlek.der().to_vec(),
    }
}

#[test]
fn of_genuine_reports() {
    let Some(amd) = vectors() else { return };
    for (pair, leaf, product, kind) in [
        ("genoa_v3_b1e24a27", "vcek.pem", Product::Genoa, "vcek"),
        ("milan_v2_3ac3fe21", "vcek.der", Product::Milan, "vcek"),
        ("milan_v2_d49554ec", "vcek.der", Product::Milan, "vcek"),
        ("milan_v3_4ffb5cb4", "vcek.pem", Product::Milan, "vcek"),
        (
            "milan_v3_4ffb5cb4",
            "vcek_reissue_20251229.pem",
            Product::Milan,
            "vcek",
        ),
        ("milan_v3_vlek_aws", "vlek.der", Product::Milan, "vlek"),
        ("turin_v5_59790fb1", "vcek.pem", Product::Turin, "vcek"),
    ] {
        let leaf = leaf_der(&read(&amd, &format!("pairs/{pair}/{leaf}")));
        let report = read(&amd, &format!("pairs/{pair}/report.bin"));
        let line = product.name().to_lowercase();
        let chain = read(&amd, &format!("chains/kds_{line}_{kind}_cert_chain.pem"));
        agree(
            &leaf,
            &chain,
            &report,
            &Anchors::builtin(),
            Root::Builtin(product),
        );
    }
}

#[test]
fn of_simulated_reports() {
    let sim = SimulatedKds::start();
    let anchors = Anchors::from_pem(sim.kds().roots_pem().as_bytes()).expect("roots");
    for (product, version) in [
        (AmdProduct::Milan, ReportVersion::V2),
        (AmdProduct::Milan, ReportVersion::V3),
        (AmdProduct::Genoa, ReportVersion::V3),
        (AmdProduct::Turin, ReportVersion::V5),
    ] {
        let chip = sim.kds().management().chip_of(product);
        let report = chip.report(&ReportSpec {
            version,
            report_data: [0xa5; 64],
            ..ReportSpec::default()
        });
        let leaf = sim.get(&chip.target());
        let chain = sim.get(&format!("/vcek/v1/{product}/cert_chain"));
        agree(&leaf, &chain, &report, &anchors, Root::OfChain);

        // The same names under other keys: both see it when each has a root of its own, and only then. The other
        // crate takes the root that the chain brings.
        sim.fault(KdsFault::WrongKey, 2);
        let leaf = sim.get(&chip.target());
        let chain = sim.get(&format!("/vcek/v1/{product}/cert_chain"));
        assert!(ours(&leaf, &chain, &report, &anchors).is_err());
        assert_eq!(verdict(&leaf, &chain, &report, Root::OfChain), Ok(()));
        let product: Product = product.name().parse().expect("a product");
        assert!(verdict(&leaf, &chain, &report, Root::Builtin(product)).is_err());
    }
}

/// The certificates of a text, each on its own.
fn blocks(pem: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(pem).into_owned();
    let end = "-----END CERTIFICATE-----\n";
    text.split_inclusive(end).map(str::to_owned).collect()
}

#[test]
fn of_what_the_service_answers_on_each_of_its_surfaces() {
    let sim = SimulatedKds::start_today();
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        text(&path).to_owned()
    };
    file("amd.pem", sim.kds().roots_pem().as_bytes());
    let upstream = sim.kds().url();
    let config = format!(
        "[http]\nlisten = \"127.0.0.1:0\"\n[https]\nlisten = \"off\"\n[intel]\nupstream = []\n\
         [amd]\nupstream = [\"{upstream}\"]\n[trust]\namd_roots = [\"amd.pem\"]\n",
    );
    let config = file("thim.toml", config.as_bytes());
    let data = folder.path().join("data");
    let (_running, url) = start(&["serve", "--config", &config, "--data", text(&data)]);
    let body = |target: &str| {
        let got = get(&url, target, &["Metadata: true"]);
        assert_eq!(got.status, 200, "{target}: {}", got.head);
        got.body
    };
    for product in AmdProduct::ALL {
        let chip = sim.kds().management().chip_of(product);
        let report = chip.report(&ReportSpec::default());
        let accepted = |leaf: &[u8], chain: &[u8]| {
            assert_eq!(verdict(leaf, chain, &report, Root::OfChain), Ok(()));
            // And the near miss.
            let mut altered = report;
            altered[0x90] ^= 1;
            assert!(verdict(leaf, chain, &altered, Root::OfChain).is_err());
        };
        // As AMD's key server answers.
        let leaf = body(&chip.target());
        let chain = body(&format!("/vcek/v1/{product}/cert_chain"));
        accepted(&leaf, &chain);
        // As Azure's cache does, and the metadata service.
        let (hwid, tcb) = (chip.hwid_hex(), chip.reported.tcbm(product));
        let three = blocks(&body(&format!("/SevSnpVM/certificates/{hwid}/{tcb}")));
        accepted(
            &leaf_der(three[0].as_bytes()),
            three[1..].concat().as_bytes(),
        );
        let metadata = "/metadata/THIM/amd/certification";
        let json = body(&format!("{metadata}?platformId={hwid}&tcbVersion={tcb}"));
        let json: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
        let member = |name: &str| json[name].as_str().expect("a text").as_bytes().to_vec();
        accepted(&leaf_der(&member("vcekCert")), &member("certificateChain"));

        // Our own command asks the service for all of it.
        let report = file("report.bin", &report);
        let asked = [
            "verify",
            "report",
            &report,
            "--config",
            &config,
            "--service",
            &url,
        ];
        let output = thim(&asked);
        assert_eq!(code(&output), 0, "{} {}", out(&output), said(&output));
    }
}

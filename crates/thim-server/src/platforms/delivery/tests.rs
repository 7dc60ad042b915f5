//! A collateral file, whole and with one thing after the other wrong.

mod sample;

use std::path::PathBuf;

use data_encoding::HEXLOWER;
use serde_json::{Value, json};

use self::sample::{SGX, TCBM, VENDOR, certificate, identity, sample, tdx, text};
use super::*;

fn read_v4(body: &Value) -> Result<Delivery, Refused> {
    read(text(body).as_bytes(), 4)
}

/// The sample with one member changed, or taken away.
fn with(pointer: &str, value: Option<Value>) -> Value {
    let mut body = sample();
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
    match (body.pointer_mut(parent).expect(parent), value) {
        (Value::Object(members), Some(value)) => {
            members.insert(name.to_owned(), value);
        }
        (Value::Object(members), None) => {
            members.remove(name).expect(pointer);
        }
        (parent, value) => {
            parent[name.parse::<usize>().expect("an index")] = value.expect("a value")
        }
    }
    body
}

#[test]
fn a_whole_file() {
    let delivery = read_v4(&sample()).expect("a whole file");
    assert_eq!(delivery.platforms.len(), 2);
    assert_eq!(delivery.platforms[0].raw_tcb, None);
    assert!(delivery.platforms[0].manifest.is_some());
    assert_eq!(delivery.platforms[0].encrypted_ppid, None);
    assert!(delivery.platforms[1].raw_tcb.is_some());

    let [of_one] = delivery.certificates.as_slice() else {
        panic!("the certificates of one platform");
    };
    assert_eq!(of_one.platform.qe_id.as_str(), "A0B1");
    assert_eq!(of_one.fmspc.to_string(), "00606A000000");
    assert_eq!(of_one.ca, PckCa::Platform);
    assert_eq!(of_one.list.entries.len(), 1);
    assert_eq!(of_one.list.entries[0].tcbm.to_string(), TCBM);
    assert_eq!(
        of_one.delivered[0].subject_cn(),
        "Intel SGX PCK Platform CA"
    );

    let found: Vec<_> = delivery
        .found
        .objects
        .iter()
        .map(|object| {
            (
                object.path.as_str(),
                object.unverified.key().to_string(),
                object.called,
                object
                    .delivered
                    .first()
                    .map_or("", |first| first.subject_cn()),
            )
        })
        .collect();
    let expected = [
        (
            "collaterals.tcbinfos[0].sgx_tcbinfo",
            "intel/tcb-info/sgx/v3/00606A000000/18",
            Some("standard"),
            "Intel SGX TCB Signing",
        ),
        (
            "collaterals.tcbinfos[0].tdx_tcbinfo",
            "intel/tcb-info/tdx/v3/00606A000000/18",
            Some("standard"),
            "Intel SGX TCB Signing",
        ),
        (
            "collaterals.qeidentity",
            "intel/enclave-identity/qe/v2/18",
            Some("standard"),
            "Intel SGX TCB Signing",
        ),
        (
            "collaterals.tdqeidentity",
            "intel/enclave-identity/td-qe/v2/18",
            Some("standard"),
            "Intel SGX TCB Signing",
        ),
        (
            "collaterals.qveidentity",
            "intel/enclave-identity/qve/v2/18",
            Some("standard"),
            "Intel SGX TCB Signing",
        ),
        (
            "collaterals.pckcacrl.processorCrl",
            "intel/pck-crl/processor",
            None,
            "Intel SGX PCK Processor CA",
        ),
        (
            "collaterals.pckcacrl.platformCrl",
            "intel/pck-crl/platform",
            None,
            "Intel SGX PCK Platform CA",
        ),
        ("collaterals.rootcacrl", "intel/root-crl", None, ""),
    ];
    assert_eq!(
        found,
        expected.map(|(path, key, called, signer)| (path, key.to_owned(), called, signer))
    );
    // Four chains of two.
    assert_eq!(delivery.found.certificates.len(), 8);
    assert!(delivery.found.flaws.is_empty());
    let printed = format!("{delivery:?}");
    assert!(!printed.contains("5a5a") && !printed.contains("c3c3") && !printed.contains("7777"));
}

#[test]
fn what_was_signed_stays_as_it_was() {
    let delivery = read_v4(&sample()).expect("a whole file");
    let signed = |place: usize| {
        let artefact = delivery.found.objects[place].unverified.unverified();
        String::from_utf8_lossy(artefact.signed()).into_owned()
    };
    let inner = |document: &str| {
        let from = document.find(": {").expect("the envelope") + 2;
        let to = document.find(" ,\"signature\"").expect("the envelope");
        document[from..to].to_owned()
    };
    assert_eq!(signed(0), inner(SGX));
    assert_eq!(signed(1), inner(&tdx()));
    assert!(identity("QE").contains(&signed(2)));
    let list = &delivery.found.objects[7].unverified;
    assert_eq!(
        HEXLOWER.encode(list.unverified().document()),
        VENDOR.root_crl
    );
}

#[test]
fn what_may_be_missing() {
    for pointer in [
        "/platforms/0/cpu_svn",
        "/platforms/0/platform_manifest",
        "/collaterals/pck_certs/0/platform_manifest",
        "/collaterals/tcbinfos/0/tdx_tcbinfo",
        "/collaterals/pckcacrl",
        "/collaterals/pckcacrl/platformCrl",
        "/collaterals/qeidentity",
        "/collaterals/certificates/TCB-Info-Issuer-Chain",
        "/collaterals/certificates/SGX-PCK-Certificate-Issuer-Chain/PROCESSOR",
        "/collaterals/rootcacrl",
        "/collaterals/rootcacrl_cdp",
    ] {
        assert!(read_v4(&with(pointer, None)).is_ok(), "{pointer}");
    }
    for (pointer, value) in [
        ("/platforms", json!([])),
        ("/collaterals/pck_certs", json!([])),
        ("/collaterals/version", json!(4.0)),
        ("/collaterals/tdqeidentity", json!("")),
        ("/collaterals/tcbinfos/0/sgx_tcbinfo_early", json!("@SGX@")),
        ("/collaterals/certificates/TCB-Info-Issuer-Chain", json!("")),
        ("/collaterals/rootcacrl", json!("")),
        (
            "/collaterals/rootcacrl",
            json!(VENDOR.root_crl.to_uppercase()),
        ),
        ("/collaterals/qaeidentity", json!(identity("QAE"))),
        ("/anything", json!({"else": [1]})),
    ] {
        let read = read_v4(&with(pointer, Some(value.clone())));
        assert!(read.is_ok(), "{pointer} = {value}: {:?}", read.err());
    }
}

#[test]
fn each_field_and_its_nearest_miss() {
    let vendor = &*VENDOR;
    let cases: Vec<(&str, Option<Value>, &str)> = vec![
        ("/platforms", None, "platforms"),
        ("/platforms", Some(json!({})), "platforms"),
        ("/platforms/1", Some(json!("a")), "platforms[1]"),
        ("/platforms/1/qe_id", None, "platforms[1].qe_id"),
        (
            "/platforms/1/enc_ppid",
            Some(json!("5a")),
            "platforms[1].enc_ppid",
        ),
        (
            "/platforms/1/cpu_svn",
            Some(json!(null)),
            "platforms[1].cpu_svn",
        ),
        (
            "/platforms/0/platform_manifest",
            Some(json!("c3c")),
            "platforms[0].platform_manifest",
        ),
        ("/collaterals", None, "collaterals"),
        ("/collaterals", Some(json!([])), "collaterals"),
        ("/collaterals/version", None, "collaterals.version"),
        (
            "/collaterals/version",
            Some(json!(3)),
            "collaterals.version",
        ),
        (
            "/collaterals/version",
            Some(json!("4")),
            "collaterals.version",
        ),
        ("/collaterals/pck_certs", None, "collaterals.pck_certs"),
        (
            "/collaterals/pck_certs/0/qe_id",
            None,
            "collaterals.pck_certs[0].qe_id",
        ),
        (
            "/collaterals/pck_certs/0/enc_ppid",
            None,
            "collaterals.pck_certs[0].enc_ppid",
        ),
        (
            "/collaterals/pck_certs/0/certs",
            None,
            "collaterals.pck_certs[0].certs",
        ),
        (
            "/collaterals/pck_certs/0/certs",
            Some(json!([])),
            "collaterals.pck_certs[0].certs",
        ),
        (
            "/collaterals/pck_certs/0/certs",
            Some(json!(vec![certificate(&vendor.pck); 129])),
            "collaterals.pck_certs[0].certs",
        ),
        (
            "/collaterals/pck_certs/0/certs/0/tcbm",
            None,
            "collaterals.pck_certs[0].certs",
        ),
        (
            "/collaterals/pck_certs/0/certs/0/tcbm",
            Some(json!(TCBM.replace("0D00", "0D01"))),
            "collaterals.pck_certs[0].certs[0].cert",
        ),
        (
            "/collaterals/pck_certs/0/certs/0/tcbm",
            Some(json!(&TCBM[1..])),
            "collaterals.pck_certs[0].certs",
        ),
        (
            "/collaterals/pck_certs/0/certs/0/tcb",
            None,
            "collaterals.pck_certs[0].certs",
        ),
        (
            "/collaterals/pck_certs/0/certs/0/cert",
            Some(json!("Not available")),
            "collaterals.pck_certs[0].certs[0].cert",
        ),
        (
            "/collaterals/pck_certs/0/certs/0/cert",
            Some(json!(vendor.no_pck)),
            "collaterals.pck_certs[0].certs[0].cert",
        ),
        (
            "/collaterals/pck_certs/0/certs/0/cert",
            Some(json!("")),
            "collaterals.pck_certs[0].certs[0].cert",
        ),
        ("/collaterals/tcbinfos", None, "collaterals.tcbinfos"),
        (
            "/collaterals/tcbinfos",
            Some(json!([])),
            "collaterals.pck_certs[0].certs",
        ),
        (
            "/collaterals/tcbinfos/0/sgx_tcbinfo",
            None,
            "collaterals.pck_certs[0].certs",
        ),
        (
            "/collaterals/tcbinfos/0/fmspc",
            None,
            "collaterals.tcbinfos[0].fmspc",
        ),
        (
            "/collaterals/tcbinfos/0/fmspc",
            Some(json!("00606A00000")),
            "collaterals.tcbinfos[0].fmspc",
        ),
        // Of another family than its entry says, of the other kind of environment, and no TCB info at all.
        (
            "/collaterals/tcbinfos/0/fmspc",
            Some(json!("00606A000001")),
            "collaterals.tcbinfos[0].sgx_tcbinfo",
        ),
        (
            "/collaterals/tcbinfos/0/tdx_tcbinfo",
            Some(json!("@SGX@")),
            "collaterals.tcbinfos[0].tdx_tcbinfo",
        ),
        (
            "/collaterals/tcbinfos/0/sgx_tcbinfo",
            Some(json!("@TDX@")),
            "collaterals.tcbinfos[0].sgx_tcbinfo",
        ),
        (
            "/collaterals/tcbinfos/0/sgx_tcbinfo",
            Some(json!(null)),
            "collaterals.tcbinfos[0].sgx_tcbinfo",
        ),
        (
            "/collaterals/tcbinfos/0/sgx_tcbinfo",
            Some(json!({"tcbInfo": {}})),
            "collaterals.tcbinfos[0].sgx_tcbinfo",
        ),
        (
            "/collaterals/tcbinfos/0/sgx_tcbinfo_early",
            Some(json!({})),
            "collaterals.tcbinfos[0].sgx_tcbinfo_early",
        ),
        (
            "/collaterals/pckcacrl",
            Some(json!("")),
            "collaterals.pckcacrl",
        ),
        (
            "/collaterals/pckcacrl/platformCrl",
            Some(json!(vendor.processor_crl)),
            "collaterals.pckcacrl.platformCrl",
        ),
        (
            "/collaterals/pckcacrl/platformCrl",
            Some(json!("zz")),
            "collaterals.pckcacrl.platformCrl",
        ),
        (
            "/collaterals/pckcacrl/platformCrl",
            Some(json!(&vendor.platform_crl[1..])),
            "collaterals.pckcacrl.platformCrl",
        ),
        (
            "/collaterals/pckcacrl/platformCrl",
            Some(json!(&vendor.platform_crl[..200])),
            "collaterals.pckcacrl.platformCrl",
        ),
        (
            "/collaterals/pckcacrl/platformCrl",
            Some(json!(HEXLOWER.encode(b"{}"))),
            "collaterals.pckcacrl.platformCrl",
        ),
        (
            "/collaterals/qeidentity",
            Some(json!(null)),
            "collaterals.qeidentity",
        ),
        (
            "/collaterals/qeidentity",
            Some(json!({})),
            "collaterals.qeidentity",
        ),
        (
            "/collaterals/qeidentity",
            Some(json!("{")),
            "collaterals.qeidentity",
        ),
        (
            "/collaterals/qeidentity",
            Some(json!(identity("QVE"))),
            "collaterals.qeidentity",
        ),
        (
            "/collaterals/qeidentity_early",
            Some(json!("{}")),
            "collaterals.qeidentity_early",
        ),
        (
            "/collaterals/certificates",
            None,
            "collaterals.certificates",
        ),
        (
            "/collaterals/certificates/SGX-PCK-Certificate-Issuer-Chain",
            None,
            "collaterals.certificates.SGX-PCK-Certificate-Issuer-Chain",
        ),
        (
            "/collaterals/certificates/TCB-Info-Issuer-Chain",
            // Not escaped, and so without the mark where it is cut.
            Some(json!("-----BEGIN CERTIFICATE-----")),
            "collaterals.certificates.TCB-Info-Issuer-Chain",
        ),
        (
            "/collaterals/rootcacrl_cdp",
            Some(json!(7)),
            "collaterals.rootcacrl_cdp",
        ),
        (
            "/collaterals/rootcacrl",
            Some(json!(vendor.platform_crl)),
            "collaterals.rootcacrl",
        ),
        (
            "/collaterals/rootcacrl",
            Some(json!(null)),
            "collaterals.rootcacrl",
        ),
    ];
    for (pointer, value, field) in cases {
        match read_v4(&with(pointer, value.clone())) {
            Err(Refused::Invalid(fault)) => {
                assert_eq!(fault.field, field, "{pointer} = {value:?}: {fault}")
            }
            other => panic!("{pointer} = {value:?} gave {other:?}"),
        }
    }
}

#[test]
fn a_body_that_is_none() {
    // The first is `conformance/pccs-1.27.json`, case 56.
    for body in [r#"{"platforms":[]}"#, "{}", "[]", "", "{", "null"] {
        assert!(
            matches!(read(body.as_bytes(), 4), Err(Refused::Invalid(_))),
            "{body}"
        );
    }
    assert!(matches!(read(b"\xff", 4), Err(Refused::Invalid(_))));
}

#[test]
fn roots_are_compared_as_texts() {
    let vendor = &*VENDOR;
    let chains = "/collaterals/certificates/SGX-PCK-Certificate-Issuer-Chain";
    let platform = format!("{chains}/PLATFORM");
    let longer = format!("{}%0A", vendor.platform_chain);
    // Another letter in the root: no certificate any more, and yet another root first.
    let at = vendor.platform_chain.rfind(MARKER).expect("a root") + MARKER.len() + 20;
    let mut altered = vendor.platform_chain.clone();
    let letter = if altered.as_bytes()[at] == b'A' {
        "B"
    } else {
        "A"
    };
    altered.replace_range(at..=at, letter);
    for text in [longer, altered] {
        assert_eq!(
            read_v4(&with(&platform, Some(json!(text)))).err(),
            Some(Refused::RootsDiffer {
                chain: "collaterals.certificates.SGX-PCK-Certificate-Issuer-Chain.PLATFORM"
                    .to_owned(),
                other: "collaterals.certificates.SGX-PCK-Certificate-Issuer-Chain.PROCESSOR"
                    .to_owned(),
            })
        );
    }
    // The issuers may differ, and where they are altered that is a certificate that cannot be read.
    let broken = vendor.platform_chain.replacen("MII", "MIJ", 1);
    assert!(matches!(
        read_v4(&with(&platform, Some(json!(broken)))),
        Err(Refused::Invalid(fault)) if fault.field.ends_with(".PLATFORM")
    ));
}

#[test]
fn version_3_has_names_of_its_own() {
    let mut body = sample();
    let collaterals = body["collaterals"].as_object_mut().expect("an object");
    collaterals.remove("version");
    collaterals.insert(
        "tcbinfos".to_owned(),
        json!([{"fmspc": "00606a000000", "tcbinfo": "@V2@", "tcbinfo_early": "@V2@"}]),
    );
    let certificates = collaterals["certificates"]
        .as_object_mut()
        .expect("an object");
    let chain = certificates.remove("TCB-Info-Issuer-Chain").expect("there");
    certificates.insert("SGX-TCB-Info-Issuer-Chain".to_owned(), chain);
    let text = text(&body);
    let delivery = read(text.as_bytes(), 3).expect("a whole file of v3");
    let infos: Vec<_> = delivery
        .found
        .objects
        .iter()
        .take(2)
        .map(|object| {
            (
                object.unverified.key().to_string(),
                object.called,
                object.delivered.len(),
            )
        })
        .collect();
    let key = "intel/tcb-info/sgx/v2/00606A000000/12".to_owned();
    assert_eq!(
        infos,
        [(key.clone(), Some("standard"), 2), (key, Some("early"), 2)]
    );
    assert!(matches!(
        read(text.as_bytes(), 4),
        Err(Refused::Invalid(fault)) if fault.field == "collaterals.version"
    ));
}

#[test]
fn limits() {
    let one = json!({"qe_id": "a", "pce_id": "0000"});
    for (count, accepted) in [(MAX_PLATFORMS, true), (MAX_PLATFORMS + 1, false)] {
        let body = with("/platforms", Some(json!(vec![one.clone(); count])));
        assert_eq!(read_v4(&body).is_ok(), accepted);
    }
    let mut body = sample();
    let infos = body["collaterals"]["tcbinfos"]
        .as_array_mut()
        .expect("an array");
    infos.resize(MAX_TCB_INFOS, json!({"fmspc": "00606A000001"}));
    assert!(read_v4(&body).is_ok());
    let infos = body["collaterals"]["tcbinfos"]
        .as_array_mut()
        .expect("an array");
    infos.push(json!({"fmspc": "00606A000001"}));
    assert!(read_v4(&body).is_err());
}

/// The file that PCCS was filled with for `conformance/pccs-1.27.json`. It is not part of the repository.
#[test]
fn the_conformance_file_reads() {
    let path = vectors().join("../conformance/platform_collaterals.json");
    let Ok(bytes) = std::fs::read(path) else {
        println!("skipped: no vectors");
        return;
    };
    let delivery = read(&bytes, 4).expect("it reads");
    assert_eq!(delivery.platforms.len(), 2);
    assert!(
        delivery
            .platforms
            .iter()
            .all(|platform| platform.raw_tcb.is_some())
    );
    let levels: Vec<_> = delivery
        .certificates
        .iter()
        .map(|one| (one.fmspc.to_string(), one.ca, one.list.entries.len()))
        .collect();
    assert_eq!(
        levels,
        [
            ("00906ED50000".to_owned(), PckCa::Processor, 19),
            ("00806F050000".to_owned(), PckCa::Platform, 4),
        ]
    );
    assert_eq!(delivery.found.objects.len(), 9);
    let text = String::from_utf8(bytes).expect("UTF-8");
    assert!(
        read(
            text.replacen("\"version\": 4", "\"version\": 3", 1)
                .as_bytes(),
            4
        )
        .is_err()
    );
}

#[allow(
    clippy::disallowed_methods,
    reason = "where recorded data is, tests are told by the environment"
)]
fn vectors() -> PathBuf {
    std::env::var_os("THIM_VECTORS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    )
}

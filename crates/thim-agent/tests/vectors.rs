//! What the agent makes of genuine certificates, against what was recorded from hosts.

#![allow(clippy::unwrap_used, reason = "a panic is the report")]

mod harness;

use harness::vectors;
use thim_agent::certification::{Certification, Trust};
use thim_agent::host::Host;
use thim_client::ThimCertification;
use thim_verify::UnixTime;
use thim_verify::amd::{Anchors, Products, Vcek};

fn trust() -> Trust {
    Trust {
        anchors: Anchors::builtin(),
        products: Products::builtin(),
    }
}

fn now() -> UnixTime {
    "2026-09-21T00:00:00Z".parse().unwrap()
}

/// The host that a certificate is for.
fn host_of(vcek: &Vcek) -> Host {
    let trust = trust();
    let facts = trust.products.facts(vcek.product());
    let json = format!(
        r#"{{"chipId":"{}","reportedTcb":"{}"}}"#,
        vcek.hw_id().to_hex_lower(),
        vcek.tcb().to_tcbm_hex(facts).unwrap()
    );
    Host::from_json(&trust.products, json.as_bytes()).unwrap()
}

#[test]
fn the_recorded_table_byte_for_byte() {
    let Some(amd) = vectors() else { return };
    let read = |path: &str| std::fs::read(amd.join(path)).unwrap();
    let vcek = Vcek::from_der(&read("pairs/milan_v2_3ac3fe21/vcek.der")).unwrap();
    let host = host_of(&vcek);
    let chain = String::from_utf8(read("chains/kds_milan_vcek_cert_chain.pem")).unwrap();
    let wire = ThimCertification::new(&vcek.to_pem(), &host.tcb.to_tcbm_hex(), &chain, 86_400);
    let held = Certification::verify(wire.to_json().as_bytes(), &host, &trust(), now()).unwrap();
    assert_eq!(
        held.certificate_table().unwrap(),
        read("cert_table/milan_3ac3fe21_certtable.bin")
    );
    assert_eq!(held.wire(), &wire);
}

#[test]
fn the_recorded_answer_field_by_field_and_the_recorded_file() {
    let Some(amd) = vectors() else { return };
    let recorded = std::fs::read(amd.join("thim/aci_host_certs.json")).unwrap();
    let wire: ThimCertification = serde_json::from_slice(&recorded).unwrap();
    let host = host_of(&Vcek::from_pem(wire.vcek_cert.as_bytes()).unwrap());
    let held = Certification::verify(&recorded, &host, &trust(), now()).unwrap();
    let made = held.wire();
    assert_eq!(made.vcek_cert, wire.vcek_cert);
    assert_eq!(made.tcbm, "7308000000000003");
    assert_eq!(made.certificate_chain, wire.certificate_chain);
    assert_eq!(made.cache_control, "86400");

    // The file of the security context is of another chip; its JSON is compact, so it is compared whole.
    let recorded = std::fs::read_to_string(amd.join("thim/host-amd-cert-base64")).unwrap();
    let json = data_encoding::BASE64.decode(recorded.as_bytes()).unwrap();
    let wire: ThimCertification = serde_json::from_slice(&json).unwrap();
    let host = host_of(&Vcek::from_pem(wire.vcek_cert.as_bytes()).unwrap());
    let held = Certification::verify(&json, &host, &trust(), now()).unwrap();
    assert_eq!(held.json().as_ref(), json.as_slice());
    assert_eq!(held.host_amd_cert(), recorded);
}

#[test]
fn a_genuine_turin_and_what_is_refused_of_it() {
    let Some(amd) = vectors() else { return };
    let read = |path: &str| std::fs::read_to_string(amd.join(path)).unwrap();
    let vcek = Vcek::from_pem(read("pairs/turin_v5_59790fb1/vcek.pem").as_bytes()).unwrap();
    let chain = read("chains/kds_turin_vcek_cert_chain.pem");
    let host = host_of(&vcek);
    let wire = ThimCertification::new(&vcek.to_pem(), "5100000004010101", &chain, 0);
    let verify = |wire: &ThimCertification, host: &Host| {
        let verified = Certification::verify(wire.to_json().as_bytes(), host, &trust(), now());
        verified.map_err(|error| error.to_string())
    };
    let held = verify(&wire, &host).unwrap();
    // Line feeds, whatever the key server's file has; and a time that makes sense.
    assert!(!held.wire().certificate_chain.contains('\r'));
    assert_eq!(held.wire().cache_control, "60");

    let milan = read("chains/kds_milan_vcek_cert_chain.pem");
    let another =
        Vcek::from_der(&std::fs::read(amd.join("vcek_only/turin_1e550a8e.der")).unwrap()).unwrap();
    let changed = |change: &dyn Fn(&mut ThimCertification)| {
        let mut wire = wire.clone();
        change(&mut wire);
        wire
    };
    for (what, wrong) in [
        (
            "another product's chain",
            changed(&|wire| wire.certificate_chain.clone_from(&milan)),
        ),
        (
            "another TCB's name",
            changed(&|wire| wire.tcbm = "5100000004010100".to_owned()),
        ),
        (
            "the other order",
            changed(&|wire| wire.tcbm = "0101010400000051".to_owned()),
        ),
        (
            "another chip",
            changed(&|wire| wire.vcek_cert = another.to_pem()),
        ),
        (
            "the chain in the place of the leaf",
            changed(&|wire| wire.vcek_cert.clone_from(&chain)),
        ),
        (
            "no number",
            changed(&|wire| wire.cache_control = "a day".to_owned()),
        ),
        (
            "three certificates",
            changed(&|wire| {
                let leaf = wire.vcek_cert.clone();
                wire.certificate_chain.push_str(&leaf);
            }),
        ),
    ] {
        let refused = verify(&wrong, &host).expect_err(what);
        assert!(!refused.contains("59790fb1"), "{refused}");
    }
    let expired = Certification::verify(
        wire.to_json().as_bytes(),
        &host,
        &trust(),
        "2034-01-01T00:00:00Z".parse().unwrap(),
    );
    assert!(expired.is_err());
    for body in [&b"{}"[..], b"", b"null", b"[]", &[b' '; 70_000]] {
        assert!(Certification::verify(body, &host, &trust(), now()).is_err());
    }
}

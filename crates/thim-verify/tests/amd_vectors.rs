//! Every file of AMD's vectors, against what its `PROVENANCE.md` says.

mod amd_genuine;

use std::collections::BTreeSet;
use std::path::Path;

use amd_genuine::{at, chain, chain_document, read, september, table, vectors};
use data_encoding::{BASE64, HEXLOWER};
use thim_verify::amd::{
    AmdCrl, AmdRevocation, Anchors, CertChain, Endorsement, EndorsementKind, FindingName, Outcome,
    Product, Products, ReportCollateral, SnpTcb, SplValues, Vcek, VcekKey, VerifiedAmd, Vlek,
    VlekKey, builtin_chain, parse_cert_chain, parse_crl, parse_report, verify_cert_chain,
    verify_crl, verify_report, verify_vcek, verify_vlek,
};
use thim_verify::{Digest, Error, UnixTime};

const CAPTURED: [Product; 3] = [Product::Milan, Product::Genoa, Product::Turin];

fn crl(amd: &Path, product: Product) -> AmdCrl {
    let name = product.name().to_lowercase();
    let der = read(amd, &format!("crl/kds_{name}_vcek_crl_20260920.der"));
    let crl = parse_crl(&der).expect("a list");
    assert_eq!(crl.der().as_ref(), der);
    crl
}

fn verified_crl(amd: &Path, product: Product) -> VerifiedAmd<AmdCrl> {
    verify_crl(crl(amd, product), product, &Anchors::builtin(), september()).expect("genuine")
}

/// Every `CERTIFICATE` block of a text, on its own.
fn blocks(text: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(text).expect("ASCII");
    let parts = text.split_inclusive("-----END CERTIFICATE-----");
    parts
        .filter(|part| part.contains("BEGIN"))
        .map(|part| part.trim_start().to_owned() + "\n")
        .collect()
}

fn endorsement(bytes: &[u8]) -> Endorsement {
    if bytes.starts_with(b"-----") {
        Endorsement::from_pem(bytes).expect("PEM")
    } else {
        Endorsement::from_der(bytes).expect("DER")
    }
}

/// `bl3 tee0 snp8 uc115 fmc1`
fn endorsed(note: &str) -> SplValues {
    let mut values = SplValues::default();
    for word in note.split(' ') {
        let at = word.find(|c: char| c.is_ascii_digit()).expect("a number");
        let (name, number) = word.split_at(at);
        let slot = match name {
            "bl" => &mut values.boot_loader,
            "tee" => &mut values.tee,
            "snp" => &mut values.snp,
            "uc" => &mut values.microcode,
            "fmc" => &mut values.fmc,
            other => panic!("{other}"),
        };
        *slot = Some(number.parse().expect("a number"));
    }
    values
}

#[test]
fn every_file_is_the_one_that_was_described() {
    let Some(amd) = vectors() else { return };
    let mut described = BTreeSet::new();
    for row in table(&amd, "path") {
        let [path, bytes, sha256, ..] = row.as_slice() else {
            panic!("{row:?}")
        };
        let body = read(&amd, path);
        assert_eq!(body.len().to_string(), *bytes, "{path}");
        assert_eq!(Digest::of(&body).short(), *sha256, "{path}");
        described.insert(path.clone());
    }
    // And no file stands there that nobody described.
    let mut folders = vec![amd.clone()];
    let mut there = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let relative = path.strip_prefix(&amd).expect("inside");
                there.insert(relative.to_string_lossy().into_owned());
            }
        }
    }
    there.remove("PROVENANCE.md");
    assert_eq!(there, described);
}

#[test]
fn chains_as_the_key_server_serves_them() {
    let Some(amd) = vectors() else { return };
    let anchors = Anchors::builtin();
    for product in CAPTURED {
        for kind in EndorsementKind::ALL {
            let document = chain_document(&amd, product, kind);
            assert_eq!(builtin_chain(product, kind), Some(document.as_slice()));
            let parsed = parse_cert_chain(&document).expect("a chain");
            assert_eq!((parsed.product(), parsed.kind()), (product, kind));
            assert_eq!(parsed.document().as_ref(), document, "byte for byte");
            assert!(parsed.is_kds_form());
            let list = verified_crl(&amd, product);
            let chain = verify_cert_chain(
                parsed.clone(),
                product,
                kind,
                Some(&list),
                &anchors,
                september(),
            )
            .expect("genuine");
            assert_eq!(chain.chain().ark(), parsed.ark());
            assert_eq!(
                chain.revocation(),
                AmdRevocation::Checked {
                    number: list.number(),
                    this_update: list.this_update(),
                    next_update: list.next_update()
                }
            );

            // The same certificates in other line ends are the same chain, and not the text that is served.
            let text = String::from_utf8(document).expect("ASCII");
            let joined =
                parse_cert_chain(text.replace("-----\n-----", "-----\n\n-----").as_bytes())
                    .expect("blanks between blocks");
            assert!(joined.same_certificates(&parsed));
            assert!(!joined.is_kds_form() || text.contains('\r'));
            let unix = parse_cert_chain(text.replace('\r', "").as_bytes()).expect("LF");
            assert!(unix.same_certificates(&parsed) && unix.is_kds_form());
            let rebuilt =
                CertChain::from_authorities(parsed.issuing().clone(), parsed.ark().clone());
            let rebuilt = rebuilt.expect("the same two");
            let lines = text.replace('\r', "");
            assert_eq!(
                rebuilt.document().as_ref(),
                format!("{}\n", lines.trim_end()).as_bytes()
            );

            // Of another product, of another kind, at another time.
            for other in Product::ALL.into_iter().filter(|other| *other != product) {
                let refused =
                    verify_cert_chain(parsed.clone(), other, kind, None, &anchors, september());
                assert_eq!(refused.map_err(|e| e.reason()), Err("wrong-issuer"));
            }
            let other = EndorsementKind::ALL
                .into_iter()
                .find(|other| *other != kind);
            let refused = verify_cert_chain(
                parsed.clone(),
                product,
                other.expect("another"),
                None,
                &anchors,
                september(),
            );
            assert_eq!(refused.map_err(|e| e.reason()), Err("wrong-issuer"));
            for (now, reason) in [
                (parsed.ark().not_before().plus_secs(-1), "not-yet-valid"),
                (parsed.issuing().not_after().plus_secs(1), "expired"),
            ] {
                let refused = verify_cert_chain(parsed.clone(), product, kind, None, &anchors, now);
                assert_eq!(refused.map_err(|e| e.reason()), Err(reason));
            }
        }
    }
}

#[test]
fn lists() {
    let Some(amd) = vectors() else { return };
    let anchors = Anchors::builtin();
    for (product, number, revoked) in [
        (Product::Milan, 11, None),
        (Product::Genoa, 10, Some([0x02, 0x00, 0x01])),
        (Product::Turin, 7, None),
    ] {
        let list = verified_crl(&amd, product);
        assert_eq!(list.number(), number);
        assert!(list.in_window(september()));
        assert!(list.in_window(list.next_update()) && list.in_window(list.this_update()));
        assert!(!list.in_window(at("2026-10-04T00:00:01Z")));
        assert!(!list.in_window(list.this_update().plus_secs(-1)));
        let serials: Vec<&[u8]> = list.revoked().iter().map(|e| e.serial.as_slice()).collect();
        let expected: Vec<&[u8]> = revoked.iter().map(|serial| serial.as_slice()).collect();
        assert_eq!(serials, expected);
        assert!(expected.iter().all(|serial| list.revokes(serial)));
        assert!(!list.revokes(&[0x02, 0x00, 0x02]) && !list.revokes(&[]));

        // Old is history, the future is refused, and a list is one product's.
        let parsed = || crl(&amd, product);
        let late = verify_crl(parsed(), product, &anchors, at("2030-01-01T00:00:00Z"));
        assert!(late.is_ok());
        let early = verify_crl(
            parsed(),
            product,
            &anchors,
            list.this_update().plus_secs(-1),
        );
        assert_eq!(early.map_err(|e| e.reason()), Err("not-yet-issued"));
        let other = CAPTURED.into_iter().find(|other| *other != product);
        let other = other.expect("another");
        let refused = verify_crl(parsed(), other, &anchors, september());
        assert_eq!(refused.map_err(|e| e.reason()), Err("wrong-issuer"));
        let document = chain_document(&amd, other, EndorsementKind::Vcek);
        let refused = verify_cert_chain(
            parse_cert_chain(&document).expect("a chain"),
            other,
            EndorsementKind::Vcek,
            Some(&list),
            &anchors,
            september(),
        );
        assert_eq!(refused.map_err(|e| e.reason()), Err("format"));

        let mut tampered = parsed().der().to_vec();
        let serial = tampered
            .windows(3)
            .rposition(|w| w == [0x02, 0x01, list.number() as u8]);
        tampered[serial.expect("the number") + 2] += 1;
        let tampered = parse_crl(&tampered).expect("still a list");
        assert_eq!(tampered.number(), list.number() + 1);
        let refused = verify_crl(tampered, product, &anchors, september());
        assert_eq!(refused.map_err(|e| e.reason()), Err("signature-invalid"));
    }
}

#[test]
fn pairs_row_by_row() {
    let Some(amd) = vectors() else { return };
    let (products, anchors) = (Products::builtin(), Anchors::builtin());
    let mut seen = 0;
    for row in table(&amd, "vector") {
        let [
            vector,
            kind,
            product_name,
            hw_id,
            tcb,
            validity,
            _,
            version,
            reported,
            ..,
        ] = row.as_slice()
        else {
            panic!("{row:?}")
        };
        let (certificate, report) = files_of(&amd, vector);
        let endorsement = endorsement(&certificate);
        let product = endorsement.product();
        let facts = products.facts(product);
        let expected = SnpTcb::from_spl(facts, &endorsed(tcb)).expect("a TCB");
        let chain = chain(&amd, product, endorsement.kind());
        let list = verified_crl(&amd, product);
        let (from, until) = validity.split_once("..").expect("two dates");
        match &endorsement {
            Endorsement::Vcek(vcek) => {
                assert_eq!(kind, "vcek", "{vector}");
                assert_eq!(vcek.product_name(), product_name, "{vector}");
                assert!(vcek.hw_id().to_hex_lower().starts_with(hw_id), "{vector}");
                assert_eq!(vcek.tcb(), expected, "{vector}");
                dates(vector, vcek.not_before(), vcek.not_after(), from, until);
                judge_vcek(vcek, &chain, &list);
                let shown = format!("{vcek:?} {endorsement:?}");
                assert!(!shown.contains(&vcek.hw_id().to_hex_lower()[..16]));
            }
            Endorsement::Vlek(vlek) => {
                assert_eq!(kind, "vlek", "{vector}");
                assert_eq!(vlek.product_name(), product_name, "{vector}");
                // What is in the bytes; the specification's example spells it otherwise.
                assert_eq!(vlek.csp_id(), "CN=cc-us-east-2.amazonaws.com");
                assert_eq!(vlek.tcb(), expected, "{vector}");
                dates(vector, vlek.not_before(), vlek.not_after(), from, until);
                judge_vlek(vlek, &chain);
            }
        }
        seen += 1;
        let Some(report) = report else {
            assert_eq!(version, "-", "{vector}");
            continue;
        };
        let report = parse_report(&report).expect("a report");
        assert_eq!(report.version.to_string(), *version, "{vector}");
        assert_eq!(report.reported_tcb.to_memory_hex(), *reported, "{vector}");
        assert_eq!(
            SnpTcb::from_hex_le(facts, reported),
            Ok(expected),
            "{vector}"
        );
        let is_vlek = kind == "vlek";
        let now = if is_vlek {
            at("2025-06-01T00:00:00Z")
        } else {
            september()
        };
        let collateral = ReportCollateral {
            endorsement: &endorsement,
            chain: &chain,
            crl: (!is_vlek).then_some(&*list),
        };
        let findings = verify_report(&report, &collateral, &products, &anchors, now);
        assert_eq!(findings.failed().next(), None, "{vector}");
        assert_eq!(findings.all_passed(), !is_vlek, "{vector}: {findings:?}");
        let unchecked: Vec<FindingName> = findings.not_checked().map(|f| f.name).collect();
        assert_eq!(unchecked.is_empty(), !is_vlek);
        assert!(
            unchecked
                .iter()
                .all(|name| *name == FindingName::Revocation)
        );
        assert_eq!(findings.outcome(FindingName::ChipId).is_none(), is_vlek);
        assert_eq!(
            report.policy.debug(),
            vector.contains("3ac3fe21"),
            "{vector}"
        );
        assert_eq!(report.product(&products).is_some(), report.version >= 3);
    }
    assert_eq!(seen, 12);
}

/// The certificate of a row, and its report where it has one.
fn files_of(amd: &Path, vector: &str) -> (Vec<u8>, Option<Vec<u8>>) {
    if let Some(name) = vector.strip_suffix("(reissue)") {
        let certificate = read(amd, &format!("{name}/vcek_reissue_20251229.pem"));
        return (certificate, Some(read(amd, &format!("{name}/report.bin"))));
    }
    if vector.starts_with("pairs/") {
        let names = ["vcek.der", "vcek.pem", "vlek.der"].map(|file| format!("{vector}/{file}"));
        let name = names.iter().find(|name| amd.join(name).is_file());
        let certificate = read(amd, name.expect("a certificate"));
        return (
            certificate,
            Some(read(amd, &format!("{vector}/report.bin"))),
        );
    }
    if vector.starts_with("thim/aci") {
        let body = thim(&read(amd, "thim/aci_host_certs.json"));
        let certificate = body.0.into_bytes();
        return (certificate, Some(read(amd, "thim/aci_report.bin")));
    }
    let bytes = read(amd, vector);
    match blocks(&bytes[..usize::from(bytes[0] == b'-') * bytes.len()]).as_slice() {
        [] => (bytes, None),
        [first, ..] => (first.clone().into_bytes(), None),
    }
}

fn dates(vector: &str, not_before: UnixTime, not_after: UnixTime, from: &str, until: &str) {
    assert!(not_before.to_string().starts_with(from), "{vector}");
    assert!(not_after.to_string().starts_with(until), "{vector}");
}

fn judge_vcek(vcek: &Vcek, chain: &VerifiedAmd<CertChain>, list: &VerifiedAmd<AmdCrl>) {
    let products = Products::builtin();
    let key = VcekKey {
        product: vcek.product(),
        hw_id: *vcek.hw_id(),
        tcb: vcek.tcb(),
    };
    let judge = |vcek: &Vcek, key: &VcekKey, now| {
        verify_vcek(vcek.clone(), key, chain, Some(list), &products, now)
    };
    let verified = judge(vcek, &key, september()).expect("genuine");
    assert_eq!(verified.chain().signer(), chain.issuing());
    assert!(
        matches!(verified.revocation(), AmdRevocation::Checked { number, .. } if number == list.number())
    );
    assert_eq!(Vcek::from_pem(vcek.to_pem().as_bytes()).as_ref(), Ok(vcek));

    for (now, reason) in [
        (vcek.not_before(), None),
        (vcek.not_after(), None),
        (vcek.not_before().plus_secs(-1), Some("not-yet-valid")),
        (vcek.not_after().plus_secs(1), Some("expired")),
    ] {
        assert_eq!(judge(vcek, &key, now).err().map(|e| e.reason()), reason);
    }
    let mut other = key;
    other.tcb.microcode ^= 1;
    let refused = judge(vcek, &other, september()).expect_err("another TCB");
    assert_eq!(
        refused,
        Error::AnotherSubject {
            what: "VCEK".into(),
            which: "TCB".into()
        }
    );
    let mut chip = key.hw_id.as_bytes().to_vec();
    chip[0] ^= 1;
    other = key;
    other.hw_id =
        thim_verify::amd::HwId::from_bytes(products.facts(key.product), &chip).expect("an id");
    let refused = judge(vcek, &other, september()).expect_err("another chip");
    assert_eq!(
        refused,
        Error::AnotherSubject {
            what: "VCEK".into(),
            which: "chip".into()
        }
    );
    for product in Product::ALL
        .into_iter()
        .filter(|other| *other != key.product)
    {
        let other = VcekKey { product, ..key };
        let refused = judge(vcek, &other, september());
        assert_eq!(refused.map_err(|e| e.reason()), Err("wrong-issuer"));
    }

    // Each byte of what is signed is covered.
    for (at, bit) in [
        (40, 1),
        (380, 0x80),
        (vcek.der().len() - 600, 1),
        (vcek.der().len() - 1, 1),
    ] {
        let mut der = vcek.der().to_vec();
        der[at] ^= bit;
        if let Ok(tampered) = Vcek::from_der(&der) {
            assert!(judge(&tampered, &key, september()).is_err(), "{at}");
        }
    }
    let mut der = vcek.der().to_vec();
    *der.last_mut().expect("a byte") ^= 1;
    let tampered = Vcek::from_der(&der).expect("only the signature differs");
    let refused = judge(&tampered, &key, september());
    assert_eq!(refused.map_err(|e| e.reason()), Err("signature-invalid"));
}

fn judge_vlek(vlek: &Vlek, chain: &VerifiedAmd<CertChain>) {
    let products = Products::builtin();
    let key = VlekKey {
        product: vlek.product(),
        tcb: vlek.tcb(),
    };
    let judge = |key: &VlekKey, now| verify_vlek(vlek.clone(), key, chain, None, &products, now);
    let verified = judge(&key, at("2025-06-01T00:00:00Z")).expect("genuine");
    assert_eq!(verified.revocation(), AmdRevocation::Unchecked);
    assert_eq!(Vlek::from_pem(vlek.to_pem().as_bytes()).as_ref(), Ok(vlek));
    assert_eq!(
        judge(&key, september()).map_err(|e| e.reason()),
        Err("expired")
    );
    let mut other = key;
    other.tcb.microcode += 1;
    let refused = judge(&other, vlek.not_before());
    assert_eq!(refused.map_err(|e| e.reason()), Err("another-subject"));
    assert!(Vcek::from_der(vlek.der()).is_err());
}

#[test]
fn two_issues_are_one_key() {
    let Some(amd) = vectors() else { return };
    let file = |name: &str| read(&amd, &format!("pairs/milan_v3_4ffb5cb4/{name}"));
    let new = Vcek::from_pem(&file("vcek.pem")).expect("a VCEK");
    let old = Vcek::from_pem(&file("vcek_reissue_20251229.pem")).expect("a VCEK");
    assert_ne!(new, old);
    assert_ne!(new.digest(), old.digest());
    assert_eq!(new.spki_digest(), old.spki_digest());
    assert_eq!((new.hw_id(), new.tcb()), (old.hw_id(), old.tcb()));
    // 219 takes an INTEGER of two octets; whoever takes the third byte reads 0.
    assert_eq!(new.tcb().microcode, 219);
}

/// `vcekCert`, `tcbm`, `certificateChain`.
fn thim(body: &[u8]) -> (String, String, String) {
    let body: serde_json::Value = serde_json::from_slice(body).expect("JSON");
    let member = |name: &str| body[name].as_str().expect(name).to_owned();
    assert_eq!(member("cacheControl"), "86400");
    (
        member("vcekCert"),
        member("tcbm"),
        member("certificateChain"),
    )
}

#[test]
fn bodies_of_azures_metadata_service() {
    let Some(amd) = vectors() else { return };
    let products = Products::builtin();
    let of_another_chip = BASE64
        .decode(&read(&amd, "thim/host-amd-cert-base64"))
        .expect("Base64");
    for body in [read(&amd, "thim/aci_host_certs.json"), of_another_chip] {
        let (vcek_cert, tcbm, certificate_chain) = thim(&body);
        let vcek = Vcek::from_pem(vcek_cert.as_bytes()).expect("a VCEK");
        let facts = products.facts(vcek.product());
        assert_eq!(vcek.to_pem(), vcek_cert);
        assert_eq!(vcek.tcb().to_tcbm_hex(facts), Ok(tcbm.clone()));
        assert_eq!(SnpTcb::from_hex_be(facts, &tcbm), Ok(vcek.tcb()));
        let kds = builtin_chain(vcek.product(), EndorsementKind::Vcek);
        assert_eq!(Some(certificate_chain.as_bytes()), kds);
        let chain = chain(&amd, vcek.product(), EndorsementKind::Vcek);
        judge_vcek(&vcek, &chain, &verified_crl(&amd, vcek.product()));
    }
}

#[test]
fn other_containers_hold_the_same_certificates() {
    let Some(amd) = vectors() else { return };
    for file in [
        "thim/azcache_SevSnpVM_response.pem",
        "thim/azure_cvm_certs.pem",
    ] {
        let text = read(&amd, file);
        let [vcek, ask, ark] = &blocks(&text)[..] else {
            panic!("{file}")
        };
        let vcek = Vcek::from_pem(vcek.as_bytes()).expect("a VCEK");
        let chain = chain(&amd, vcek.product(), EndorsementKind::Vcek);
        judge_vcek(&vcek, &chain, &verified_crl(&amd, vcek.product()));
        let pair = parse_cert_chain(format!("{ask}{ark}").as_bytes()).expect("a chain");
        assert!(pair.same_certificates(&chain), "{file}");
        // Three certificates are no chain file.
        assert_eq!(
            parse_cert_chain(&text).map_err(|e| e.reason()),
            Err("too-many")
        );
        let refused = parse_cert_chain(format!("{ark}{ask}").as_bytes());
        assert_eq!(refused.map_err(|e| e.reason()), Err("format"));
    }
}

#[test]
fn the_certificate_table_holds_them_as_der() {
    let Some(amd) = vectors() else { return };
    let table = read(&amd, "cert_table/milan_3ac3fe21_certtable.bin");
    let chain = chain(&amd, Product::Milan, EndorsementKind::Vcek);
    let vcek = read(&amd, "pairs/milan_v2_3ac3fe21/vcek.der");
    let number = |at: usize| {
        usize::try_from(u32::from_le_bytes(
            table[at..at + 4].try_into().expect("four"),
        ))
        .expect("a size")
    };
    let mut seen = 0;
    for at in (0..).step_by(24) {
        let guid = &table[at..at + 16];
        if guid == [0; 16] {
            break;
        }
        let (from, length) = (number(at + 16), number(at + 20));
        let der = &table[from..from + length];
        match HEXLOWER.encode(&guid[..4]).as_str() {
            "63da758d" => assert_eq!(der, vcek),
            "4ab7b379" => assert_eq!(der, chain.issuing().der()),
            "c0b406a4" => assert_eq!(der, chain.ark().der()),
            other => panic!("{other}"),
        }
        seen += 1;
    }
    assert_eq!(seen, 3);
}

#[test]
fn negative_lists_and_what_an_old_list_is_worth() {
    let Some(amd) = vectors() else { return };
    let (products, anchors) = (Products::builtin(), Anchors::builtin());
    let endorsement = endorsement(&read(&amd, "pairs/genoa_v3_b1e24a27/vcek.pem"));
    let report = parse_report(&read(&amd, "pairs/genoa_v3_b1e24a27/report.bin")).expect("a report");
    let chain = chain(&amd, Product::Genoa, EndorsementKind::Vcek);
    let (genoa, milan) = (crl(&amd, Product::Genoa), crl(&amd, Product::Milan));
    let revocation = |crl: Option<&AmdCrl>, now| {
        let collateral = ReportCollateral {
            endorsement: &endorsement,
            chain: &chain,
            crl,
        };
        let findings = verify_report(&report, &collateral, &products, &anchors, now);
        findings
            .outcome(FindingName::Revocation)
            .cloned()
            .expect("looked at")
    };
    assert_eq!(revocation(Some(&genoa), september()), Outcome::Passed);
    for (crl, now) in [
        (None, september()),
        (Some(&genoa), genoa.next_update().plus_secs(1)),
        (Some(&genoa), genoa.this_update().plus_secs(-1)),
    ] {
        assert!(matches!(revocation(crl, now), Outcome::NotChecked(_)));
    }
    assert!(matches!(
        revocation(Some(&milan), september()),
        Outcome::Failed(_)
    ));
}

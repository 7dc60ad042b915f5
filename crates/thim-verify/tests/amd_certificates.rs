//! VCEKs and VLEKs: what is taken, and the nearest thing to each that is not.

mod amd_pki;

use amd_pki::*;
use thim_verify::amd::{
    AmdRevocation, AuthorityRole, Endorsement, EndorsementKind, HwId, Product, Products, SnpTcb,
    Vcek, VcekKey, VerifiedAmd, Vlek, VlekKey, parse_cert_chain, verify_cert_chain, verify_vcek,
    verify_vlek,
};
use thim_verify::{Digest, Error};

fn reason<T>(result: Result<T, Error>) -> Option<&'static str> {
    result.err().map(|error| error.reason())
}

fn milan_vcek(stated: &Stated) -> Result<Vcek, Error> {
    Vcek::from_der(&MILAN.vcek(stated).signed(&MILAN.ask_key))
}

fn key_of(vcek: &Vcek) -> VcekKey {
    VcekKey {
        product: vcek.product(),
        hw_id: *vcek.hw_id(),
        tcb: vcek.tcb(),
    }
}

fn judge(vcek: Vcek, pki: &Pki) -> Result<VerifiedAmd<Vcek>, Error> {
    let key = VcekKey {
        product: pki.product,
        ..key_of(&vcek)
    };
    let chain = pki.chain(EndorsementKind::Vcek);
    verify_vcek(vcek, &key, &chain, None, &Products::builtin(), now())
}

#[test]
fn both_encodings_of_the_parameters() {
    for trailer in [false, true] {
        let mut spec = MILAN.vcek(&Stated::milan("Milan-B0"));
        spec.algorithm = pss(SHA384, 48, trailer);
        let der = spec.signed(&MILAN.ask_key);
        let vcek = Vcek::from_der(&der).expect("both are in the field");
        assert_eq!(vcek.der().as_ref(), der);
        assert_eq!(
            vcek.tcb().to_string(),
            "boot-loader 3, tee 0, snp 8, microcode 115"
        );
        judge(vcek, &MILAN).expect("signed over these very bytes");

        // Inside one form, outside the other: the same meaning, and still refused.
        spec.outer_algorithm = Some(pss(SHA384, 48, !trailer));
        assert_eq!(
            reason(Vcek::from_der(&spec.signed(&MILAN.ask_key))),
            Some("format")
        );
    }
    for algorithm in [
        pss(SHA256, 48, false),
        pss(SHA384, 32, false),
        pss(SHA384, 49, true),
        // sha384WithRSAEncryption, and PSS with all defaults (SHA-1).
        seq(&[oid("1.2.840.113549.1.1.12"), tlv(0x05, &[])]),
        seq(&[oid("1.2.840.113549.1.1.10"), seq(&[])]),
        seq(&[oid("1.2.840.113549.1.1.10")]),
    ] {
        let mut spec = MILAN.vcek(&Stated::milan("Milan"));
        spec.algorithm = algorithm;
        assert_eq!(
            reason(Vcek::from_der(&spec.signed(&MILAN.ask_key))),
            Some("unsupported")
        );
    }
}

#[test]
fn product_names() {
    for name in ["Milan-B0", "Milan", "Milan-"] {
        let vcek = milan_vcek(&Stated::milan(name)).expect(name);
        assert_eq!(
            (vcek.product(), vcek.product_name()),
            (Product::Milan, name)
        );
    }
    for name in ["Genoa", "milan-B0", "Mila", "MilanB0", "", "Milan-B\n"] {
        assert_eq!(
            reason(milan_vcek(&Stated::milan(name))),
            Some("format"),
            "{name}"
        );
    }
    let long = format!("Milan-{}", "B".repeat(300));
    assert_eq!(reason(milan_vcek(&Stated::milan(&long))), Some("too-large"));
    // Another string type, and no string at all.
    for value in [tlv(0x0c, b"Milan-B0"), int(&[1]), b"Milan-B0".to_vec()] {
        let stated = Stated::milan("Milan").with("2", value);
        assert_eq!(reason(milan_vcek(&stated)), Some("format"));
    }
}

#[test]
fn levels_are_integers_of_one_or_two_octets() {
    for (value, expected) in [(0, 0), (127, 127), (128, 128), (219, 219), (255, 255)] {
        let stated = Stated::milan("Milan").with("3.8", int(&[value]));
        assert_eq!(
            milan_vcek(&stated).expect("a VCEK").tcb().microcode,
            expected
        );
    }
    for value in [
        int(&[1, 0]),
        tlv(0x02, &[0xdb]),
        tlv(0x02, &[0x00, 0x01]),
        tlv(0x02, &[]),
        tlv(0x0a, &[5]),
        tlv(0x04, &[5]),
        vec![5],
        [int(&[5]), vec![0]].concat(),
        Vec::new(),
    ] {
        for suffix in ["1", "3.1", "3.2", "3.3", "3.8", "3.5"] {
            let stated = Stated::milan("Milan").with(suffix, value.clone());
            assert_eq!(
                reason(milan_vcek(&stated)),
                Some("format"),
                "{suffix} {value:?}"
            );
        }
    }
}

#[test]
fn what_must_be_there_and_what_may_not_be() {
    for suffix in ["1", "2", "3.1", "3.2", "3.3", "3.8", "4"] {
        let stated = Stated::milan("Milan").without(suffix);
        assert_eq!(reason(milan_vcek(&stated)), Some("format"), "{suffix}");
    }
    // Levels that AMD dropped before; they carry nothing.
    for suffix in ["3.4", "3.5", "3.6", "3.7"] {
        assert!(milan_vcek(&Stated::milan("Milan").without(suffix)).is_ok());
        let stated = Stated::milan("Milan").with(suffix, int(&[1]));
        assert_eq!(reason(milan_vcek(&stated)), Some("unsupported"), "{suffix}");
    }
    // Twice the same is as bad as two answers.
    for suffix in ["1", "3.1", "3.8", "4"] {
        let stated = Stated::milan("Milan");
        let again = stated.0.iter().find(|(one, _)| *one == suffix).cloned();
        let mut twice = stated.clone();
        twice.0.extend(again);
        assert_eq!(reason(milan_vcek(&twice)), Some("format"), "{suffix}");
    }
    // A chip and a cloud; neither.
    let csp = || tlv(0x16, b"CN=cloud.example");
    assert_eq!(
        reason(milan_vcek(&Stated::milan("Milan").with("5", csp()))),
        Some("format")
    );
    let vlek = |stated: &Stated| Vlek::from_der(&MILAN.vlek(stated).signed(&MILAN.asvk_key));
    assert_eq!(
        vlek(&Stated::vlek()).expect("a VLEK").csp_id(),
        "CN=cloud.example"
    );
    assert_eq!(reason(vlek(&Stated::vlek().without("5"))), Some("format"));
    assert_eq!(
        reason(vlek(&Stated::vlek().with("4", vec![1; 64]))),
        Some("format")
    );
    assert_eq!(
        reason(vlek(&Stated::vlek().with("5", tlv(0x16, b"")))),
        Some("format")
    );
    assert_eq!(
        reason(vlek(&Stated::vlek().with("5", tlv(0x0c, b"CN=x")))),
        Some("format")
    );
    // Unknown extensions: heard of when critical, left alone otherwise. Nothing here is an authority.
    let with = |one: Vec<u8>| {
        let mut spec = MILAN.vcek(&Stated::milan("Milan"));
        spec.extensions.push(one);
        Vcek::from_der(&spec.signed(&MILAN.ask_key))
    };
    assert!(with(extension("1.3.6.1.4.1.3704.1.6", false, &[5, 0])).is_ok());
    assert_eq!(
        reason(with(extension("1.3.6.1.4.1.3704.1.6", true, &[5, 0]))),
        Some("unsupported")
    );
    let ca: &[u8] = &[0x30, 0x03, 0x01, 0x01, 0xff];
    assert_eq!(
        reason(with(extension(BASIC_CONSTRAINTS, true, ca))),
        Some("wrong-issuer")
    );
    assert!(with(extension(BASIC_CONSTRAINTS, true, &[0x30, 0x00])).is_ok());
    let mut none = MILAN.vcek(&Stated::milan("Milan"));
    none.extensions.clear();
    assert_eq!(
        reason(Vcek::from_der(&none.signed(&MILAN.ask_key))),
        Some("format")
    );
}

#[test]
fn chip_ids_raw_or_wrapped() {
    let wrapped = tlv(0x04, &[0x5a; 64]);
    let raw = milan_vcek(&Stated::milan("Milan")).expect("raw");
    let same = milan_vcek(&Stated::milan("Milan").with("4", wrapped)).expect("wrapped");
    assert_eq!(raw.hw_id(), same.hw_id());
    // 64 raw octets that look like the start of a wrapped value are what they are.
    let mut tricky = vec![0x5a; 64];
    tricky[0] = 0x04;
    tricky[1] = 62;
    let tricky = milan_vcek(&Stated::milan("Milan").with("4", tricky)).expect("raw");
    assert_eq!(tricky.hw_id().as_bytes()[..2], [0x04, 62]);
    for value in [
        vec![],
        vec![0x5a; 63],
        vec![0x5a; 65],
        vec![0x5a; 66],
        tlv(0x04, &[0x5a; 63]),
        tlv(0x16, &[0x5a; 64]),
        [vec![0x04, 0x81, 0x40], vec![0x5a; 64]].concat(),
    ] {
        let length = value.len();
        let stated = Stated::milan("Milan").with("4", value);
        assert_eq!(reason(milan_vcek(&stated)), Some("format"), "{length}");
    }
}

#[test]
fn turins_layout_is_turins() {
    let vcek = |stated: &Stated| Vcek::from_der(&TURIN.vcek(stated).signed(&TURIN.ask_key));
    let turin = vcek(&Stated::turin()).expect("a VCEK");
    assert_eq!(
        turin.tcb().to_string(),
        "fmc 1, boot-loader 1, tee 1, snp 4, microcode 81"
    );
    assert_eq!(turin.hw_id().as_bytes(), [0x5a; 8]);
    judge(turin.clone(), &TURIN).expect("Turin's");
    // FMC is part of what it answers for.
    let mut key = key_of(&turin);
    key.tcb.fmc = Some(2);
    let chain = TURIN.chain(EndorsementKind::Vcek);
    let refused = verify_vcek(turin, &key, &chain, None, &Products::builtin(), now());
    assert_eq!(reason(refused), Some("another-subject"));

    for stated in [
        Stated::turin().with("1", int(&[0])),
        Stated::turin().without("3.9"),
        Stated::turin().with("3.1", int(&[128])),
    ] {
        let refused = judge(vcek(&stated).expect("it parses"), &TURIN);
        assert_eq!(reason(refused), Some("format"));
    }
    for stated in [
        Stated::milan("Milan").with("1", int(&[1])),
        Stated::milan("Milan").with("3.9", int(&[0])),
    ] {
        let refused = judge(milan_vcek(&stated).expect("it parses"), &MILAN);
        assert_eq!(reason(refused), Some("format"));
    }
    // An id of the other length is no chip of this product's.
    let facts = Products::builtin();
    let long = vcek(&Stated::turin().with("4", vec![0x5a; 64])).expect("it parses");
    let asked = VcekKey {
        hw_id: HwId::from_hex(facts.facts(Product::Turin), &"5a".repeat(8)).expect("an id"),
        ..key_of(&long)
    };
    let refused = verify_vcek(long, &asked, &chain, None, &facts, now());
    assert_eq!(reason(refused), Some("another-subject"));
}

#[test]
fn names_forms_and_keys_of_a_leaf() {
    let good = MILAN.vcek(&Stated::milan("Milan"));
    let made = |change: &dyn Fn(&mut Spec)| {
        let mut spec = good.clone();
        change(&mut spec);
        reason(Endorsement::from_der(&spec.signed(&MILAN.ask_key)))
    };
    assert_eq!(made(&|_| {}), None);
    assert_eq!(made(&|s| s.subject = name("VCEK")), Some("wrong-issuer"));
    assert_eq!(
        made(&|s| s.subject = name("SEV-Milan")),
        Some("wrong-issuer")
    );
    assert_eq!(
        made(&|s| s.issuer = name("SEV-VLEK-Milan")),
        Some("wrong-issuer")
    );
    assert_eq!(
        made(&|s| s.issuer = name("SEV-milan")),
        Some("wrong-issuer")
    );
    assert_eq!(
        made(&|s| s.issuer = name("ARK-Milan")),
        Some("wrong-issuer")
    );
    assert_eq!(
        made(&|s| s.issuer = name("SEV-Florence")),
        Some("wrong-issuer")
    );
    assert_eq!(
        made(&|s| s.version = tlv(0xa0, &int(&[1]))),
        Some("unsupported")
    );
    assert_eq!(made(&|s| s.version = Vec::new()), Some("unsupported"));
    assert_eq!(made(&|s| s.until = utc("251231235959Z")), Some("format"));
    assert_eq!(made(&|s| s.until = utc("330101000000")), Some("format"));
    assert_eq!(made(&|s| s.serial = vec![1; 21]), Some("format"));
    let point = MILAN.chip.point();
    let key = |curve: &str, point: &[u8]| {
        let spki = ec_spki(curve, point);
        made(&|s| s.spki = spki.clone())
    };
    assert_eq!(key("1.3.132.0.34", &point), None);
    assert_eq!(
        key("1.2.840.10045.3.1.7", &point[..65]),
        Some("unsupported")
    );
    assert_eq!(key("1.3.132.0.35", &point), Some("unsupported"));
    assert_eq!(key("1.3.132.0.34", &point[..96]), Some("format"));
    let mut off = point.clone();
    off[96] ^= 1;
    assert_eq!(key("1.3.132.0.34", &off), Some("format"));
    let compressed = [&[0x02], &point[1..49]].concat();
    assert_eq!(key("1.3.132.0.34", &compressed), Some("format"));
    let mut odd = point;
    odd[0] = 0x06;
    assert_eq!(key("1.3.132.0.34", &odd), Some("format"));
    assert_eq!(
        made(&|s| s.spki = MILAN.ask_key.spki()),
        Some("unsupported")
    );

    let der = good.signed(&MILAN.ask_key);
    for bytes in [
        &[],
        &der[1..],
        &der[..der.len() - 1],
        &[&der[..], &[0]].concat()[..],
    ] {
        assert_eq!(reason(Vcek::from_der(bytes)), Some("format"));
    }
    assert_eq!(reason(Vcek::from_der(&vec![0x30; 8193])), Some("too-large"));
    assert_eq!(reason(Vlek::from_der(&der)), Some("wrong-issuer"));

    // As PEM: one, and nothing else.
    let text = pem(&der);
    let vcek = Vcek::from_pem(text.as_bytes()).expect("PEM");
    assert_eq!(
        (vcek.to_pem(), vcek.digest()),
        (text.clone(), Digest::of(&der))
    );
    assert!(Vcek::from_pem(format!("\r\n{}\n", text.replace('\n', "\r\n")).as_bytes()).is_ok());
    for (text, why) in [
        (String::new(), "format"),
        (format!("{text}{text}"), "too-many"),
        (format!("{text}x"), "format"),
        (format!("subject=x\n{text}"), "format"),
        (format!("{text}\0"), "format"),
        (text.replace("CERTIFICATE", "X509 CERTIFICATE"), "format"),
        (text.replacen("-----END", "----END", 1), "format"),
    ] {
        assert_eq!(reason(Vcek::from_pem(text.as_bytes())), Some(why), "{text}");
    }
}

#[test]
fn who_signed_a_leaf() {
    let vcek = milan_vcek(&Stated::milan("Milan")).expect("a VCEK");
    let verified = judge(vcek.clone(), &MILAN).expect("ours");
    assert_eq!(verified.chain().signer().role(), AuthorityRole::Ask);
    assert_eq!(verified.revocation(), AmdRevocation::Unchecked);
    // The same names with other keys; another product's; the wrong kind of chain.
    assert_eq!(
        reason(judge(vcek.clone(), &IMPOSTOR)),
        Some("signature-invalid")
    );
    assert_eq!(reason(judge(vcek.clone(), &TURIN)), Some("wrong-issuer"));
    let (key, products) = (key_of(&vcek), Products::builtin());
    let vlek_chain = MILAN.chain(EndorsementKind::Vlek);
    let refused = verify_vcek(vcek, &key, &vlek_chain, None, &products, now());
    assert_eq!(reason(refused), Some("wrong-issuer"));
    // Signed by the ASVK, or by the chip itself, under the right names.
    let spec = MILAN.vcek(&Stated::milan("Milan"));
    for wrong in [&MILAN.asvk_key, &MILAN.ark_key] {
        let forged = Vcek::from_der(&spec.signed(wrong)).expect("it parses");
        assert_eq!(reason(judge(forged, &MILAN)), Some("signature-invalid"));
    }
    // The chain ends before the leaf does.
    let mut short = Spec::authority("SEV-Milan", "ARK-Milan", ASK_SERIAL, &MILAN.ask_key);
    short.until = utc("260602000000Z");
    let short = pem(&short.signed(&MILAN.ark_key)) + &pem(&MILAN.ark);
    let short = parse_cert_chain(short.as_bytes()).expect("a chain");
    let kind = EndorsementKind::Vcek;
    let short = verify_cert_chain(short, Product::Milan, kind, None, &MILAN.anchors(), now());
    let short = short.expect("valid now");
    let vcek = milan_vcek(&Stated::milan("Milan")).expect("a VCEK");
    let late = at("2026-06-03T00:00:00Z");
    assert!(verify_vcek(vcek.clone(), &key, &short, None, &products, now()).is_ok());
    let refused = verify_vcek(vcek, &key, &short, None, &products, late);
    assert_eq!(reason(refused), Some("expired"));
}

#[test]
fn vleks_are_of_a_cloud() {
    let products = Products::builtin();
    let vlek =
        Vlek::from_der(&MILAN.vlek(&Stated::vlek()).signed(&MILAN.asvk_key)).expect("a VLEK");
    let chain = MILAN.chain(EndorsementKind::Vlek);
    let key = VlekKey {
        product: Product::Milan,
        tcb: vlek.tcb(),
    };
    let verified = verify_vlek(vlek.clone(), &key, &chain, None, &products, now()).expect("ours");
    assert_eq!(verified.chain().signer().role(), AuthorityRole::Asvk);
    let other = VlekKey {
        tcb: SnpTcb { snp: 9, ..key.tcb },
        ..key
    };
    let refused = verify_vlek(vlek.clone(), &other, &chain, None, &products, now());
    assert_eq!(reason(refused), Some("another-subject"));
    let vcek_chain = MILAN.chain(EndorsementKind::Vcek);
    let refused = verify_vlek(vlek, &key, &vcek_chain, None, &products, now());
    assert_eq!(reason(refused), Some("wrong-issuer"));
}

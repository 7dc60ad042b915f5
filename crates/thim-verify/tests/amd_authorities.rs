//! Roots, the authorities under them, chain files and revocation lists: what is taken, and what nearly is.

mod amd_pki;

use amd_pki::*;
use thim_verify::Error;
use thim_verify::amd::{
    AmdRevocation, Anchors, Authority, AuthorityRole, EndorsementKind, Product, Products, Vcek,
    VcekKey, VerifiedAmd, parse_cert_chain, parse_crl, verify_cert_chain, verify_crl, verify_vcek,
};

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

#[test]
fn chains_of_impostors_and_of_two_products() {
    let kind = EndorsementKind::Vcek;
    let judge = |chain, anchors: &Anchors| {
        verify_cert_chain(chain, Product::Milan, kind, None, anchors, now())
    };
    let (ours, theirs) = (MILAN.anchors(), IMPOSTOR.anchors());
    assert!(judge(MILAN.parsed(kind), &ours).is_ok());
    for anchors in [&theirs, &TURIN.anchors(), &Anchors::builtin()] {
        assert_eq!(
            reason(judge(MILAN.parsed(kind), anchors)),
            Some("untrusted-root")
        );
    }
    let pair = |issuing: &[u8], ark: &[u8]| parse_cert_chain((pem(issuing) + &pem(ark)).as_bytes());
    // Our root above an impostor's ASK, and the other way round.
    let mixed = pair(&IMPOSTOR.ask, &MILAN.ark).expect("names fit");
    assert_eq!(reason(judge(mixed, &ours)), Some("signature-invalid"));
    let mixed = pair(&MILAN.ask, &IMPOSTOR.ark).expect("names fit");
    assert_eq!(reason(judge(mixed, &ours)), Some("untrusted-root"));
    assert_eq!(reason(pair(&MILAN.ask, &TURIN.ark)), Some("wrong-issuer"));
    assert_eq!(reason(pair(&MILAN.ark, &MILAN.ask)), Some("format"));
    assert_eq!(reason(pair(&MILAN.ask, &MILAN.asvk)), Some("format"));
    assert_eq!(reason(pair(&MILAN.ark, &MILAN.ark)), Some("format"));
    let vcek = MILAN.vcek(&Stated::milan("Milan")).signed(&MILAN.ask_key);
    assert_eq!(reason(pair(&vcek, &MILAN.ark)), Some("wrong-issuer"));
    assert_eq!(
        reason(parse_cert_chain(pem(&MILAN.ask).as_bytes())),
        Some("format")
    );
    assert_eq!(
        reason(parse_cert_chain(&vec![b' '; 64 * 1024 + 1])),
        Some("too-large")
    );

    // The root's key in a certificate that its key did not sign.
    let spec = Spec::authority("ARK-Milan", "ARK-Milan", &[9], &MILAN.ark_key);
    let reissued = pair(&MILAN.ask, &spec.signed(&MILAN.ark_key)).expect("a chain");
    assert!(judge(reissued, &ours).is_ok(), "pinned by key");
    let forged = pair(&MILAN.ask, &spec.signed(&IMPOSTOR.ark_key)).expect("a chain");
    assert_eq!(reason(judge(forged, &ours)), Some("signature-invalid"));
    // A root that allows no authority below.
    let mut narrow = spec;
    narrow.extensions[0] = extension(
        BASIC_CONSTRAINTS,
        true,
        &[0x30, 0x06, 0x01, 0x01, 0xff, 0x02, 0x01, 0x00],
    );
    let narrow = pair(&MILAN.ask, &narrow.signed(&MILAN.ark_key)).expect("a chain");
    assert_eq!(reason(judge(narrow, &ours)), Some("wrong-issuer"));
}

#[test]
fn authorities_and_anchors() {
    let good = Spec::authority("SEV-Milan", "ARK-Milan", ASK_SERIAL, &MILAN.ask_key);
    let made = |change: &dyn Fn(&mut Spec)| {
        let mut spec = good.clone();
        change(&mut spec);
        reason(Authority::from_der(&spec.signed(&MILAN.ark_key)))
    };
    assert_eq!(made(&|_| {}), None);
    assert_eq!(
        made(&|s| s.subject = name("SEV-VCEK")),
        Some("wrong-issuer")
    );
    assert_eq!(
        made(&|s| s.subject = name("SEV-Milan ")),
        Some("wrong-issuer")
    );
    let constraints = |value: &'static [u8]| {
        move |s: &mut Spec| s.extensions[0] = extension(BASIC_CONSTRAINTS, true, value)
    };
    assert_eq!(made(&constraints(&[0x30, 0x00])), Some("wrong-issuer"));
    assert_eq!(
        made(&constraints(&[0x30, 0x03, 0x01, 0x01, 0x01])),
        Some("format")
    );
    let usage = |value: &'static [u8]| {
        move |s: &mut Spec| s.extensions[1] = extension(KEY_USAGE, true, value)
    };
    assert_eq!(
        made(&usage(&[0x03, 0x02, 0x07, 0x80])),
        Some("wrong-issuer")
    );
    assert_eq!(made(&|s| s.extensions.truncate(1)), Some("wrong-issuer"));
    assert_eq!(made(&|s| s.extensions.clear()), Some("wrong-issuer"));
    let unknown = extension("1.2.3.4", true, &[5, 0]);
    assert_eq!(
        made(&|s| s.extensions.push(unknown.clone())),
        Some("unsupported")
    );
    assert_eq!(made(&|s| s.spki = MILAN.chip.spki()), Some("unsupported"));
    let rsa = |modulus: &[u8], exponent: &[u8]| {
        let numbers = seq(&[int(modulus), int(exponent)]);
        let spki = seq(&[
            seq(&[oid("1.2.840.113549.1.1.1"), tlv(0x05, &[])]),
            bits(&numbers),
        ]);
        made(&|s| s.spki = spki.clone())
    };
    let modulus = [0xc1; 256];
    assert_eq!(rsa(&modulus, &[1, 0, 1]), None);
    assert_eq!(rsa(&modulus[1..], &[1, 0, 1]), Some("unsupported"));
    assert_eq!(rsa(&[0xc1; 1025], &[1, 0, 1]), Some("unsupported"));
    assert_eq!(rsa(&modulus, &[3]), Some("unsupported"));

    // Anchors: roots alone, self-signed, that may sign lists.
    let anchors = MILAN.anchors();
    assert!(!anchors.is_builtin() && Anchors::builtin().is_builtin());
    assert_ne!(anchors.fingerprint(), Anchors::builtin().fingerprint());
    let [root] = anchors.roots() else {
        panic!("one")
    };
    assert!(anchors.contains_key(Product::Milan, &root.spki_digest()));
    assert!(
        !anchors.contains_key(Product::Genoa, &root.spki_digest()),
        "of one product only"
    );
    assert_eq!(anchors.roots_of(Product::Genoa).count(), 0);
    let both = pem(&MILAN.ark) + &pem(&TURIN.ark) + &pem(&MILAN.ark);
    let both = Anchors::from_pem(both.as_bytes()).expect("two roots");
    assert_eq!(both.roots().len(), 2);
    let from = |der: &[u8]| reason(Anchors::from_pem(pem(der).as_bytes()));
    assert_eq!(from(&MILAN.ask), Some("wrong-issuer"));
    let spec = Spec::authority("ARK-Milan", "ARK-Milan", &[1], &MILAN.ark_key);
    assert_eq!(
        from(&spec.signed(&IMPOSTOR.ark_key)),
        Some("signature-invalid")
    );
    let mut no_lists = spec.clone();
    no_lists.extensions[1] = extension(KEY_USAGE, true, CERT_SIGN);
    assert_eq!(from(&no_lists.signed(&MILAN.ark_key)), Some("wrong-issuer"));
    assert_eq!(reason(Anchors::from_pem(b"")), Some("format"));
    assert_eq!(
        reason(Anchors::from_pem(pem(&MILAN.ark).repeat(17).as_bytes())),
        Some("too-many")
    );
    assert_eq!(
        reason(Anchors::from_pem(&vec![b' '; 256 * 1024 + 1])),
        Some("too-large")
    );
}

#[test]
fn anchors_built_in() {
    let anchors = Anchors::builtin();
    let found: Vec<(Product, String, String)> = anchors
        .roots()
        .iter()
        .map(|root| {
            let digests = (root.digest().to_string(), root.spki_digest().to_string());
            (root.product(), digests.0, digests.1)
        })
        .collect();
    // spec/amd-kds-and-thim.md, 2.3: certificate, then SubjectPublicKeyInfo.
    let expected = [
        (
            Product::Milan,
            "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd",
            "9f056bee44377e29308cb5ffa895bdfb62d18881fa6bed8d6f075b0204089cb9",
        ),
        (
            Product::Genoa,
            "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1",
            "429a69c9422aa258ee4d8db5fcda9c6470ef15f8cd5a9cebd6cbc7d90b863831",
        ),
        (
            Product::Turin,
            "1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a",
            "4f125410563a2ab9a50356f9243f6fe0b6f73de98603f53f90339c70e9d7ad08",
        ),
    ];
    assert_eq!(
        found,
        expected.map(|(p, c, k)| (p, c.to_owned(), k.to_owned()))
    );
    for root in anchors.roots() {
        assert_eq!(root.signed_by(root), Ok(()));
        assert_eq!(root.role(), AuthorityRole::Ark);
    }
    assert_eq!(anchors.roots_of(Product::Venice).count(), 0);
    for (product, kind, issuing) in [
        (Product::Milan, EndorsementKind::Vcek, "67d303bd3905fd38"),
        (Product::Milan, EndorsementKind::Vlek, "c5e081f59b7efab1"),
        (Product::Genoa, EndorsementKind::Vcek, "5464738c1546aed5"),
        (Product::Genoa, EndorsementKind::Vlek, "197e610743a917d6"),
        (Product::Turin, EndorsementKind::Vcek, "5b77ef5fe7a7a004"),
        (Product::Turin, EndorsementKind::Vlek, "104e10a8bd060a3c"),
    ] {
        let document = thim_verify::amd::builtin_chain(product, kind).expect("built in");
        let chain = parse_cert_chain(document).expect("a chain");
        assert_eq!(chain.issuing().digest().short(), issuing);
        verify_cert_chain(chain, product, kind, None, &anchors, now()).expect("genuine");
    }
    assert_eq!(
        thim_verify::amd::builtin_chain(Product::Venice, EndorsementKind::Vcek),
        None
    );
}

#[test]
fn a_listed_authority_endorses_nothing() {
    let (products, anchors) = (Products::builtin(), MILAN.anchors());
    let kind = EndorsementKind::Vcek;
    let list = |serials: &[&[u8]]| {
        let der = MILAN.crl(&MILAN.list().revoking(serials));
        let crl = parse_crl(&der).expect("a list");
        verify_crl(crl, Product::Milan, &anchors, now()).expect("ours")
    };
    let judge = |crl: &VerifiedAmd<_>| {
        let chain = MILAN.parsed(kind);
        verify_cert_chain(chain, Product::Milan, kind, Some(crl), &anchors, now())
    };
    let vcek = milan_vcek(&Stated::milan("Milan")).expect("a VCEK");
    let (key, chain) = (key_of(&vcek), MILAN.chain(kind));
    let leaf =
        |crl: &VerifiedAmd<_>| verify_vcek(vcek.clone(), &key, &chain, Some(crl), &products, now());
    let unlisted: [&[&[u8]]; 4] = [&[], &[&[0x01, 0x00, 0x02]], &[&[0]], &[&[0x01, 0x01, 0x01]]];
    for serials in unlisted {
        let crl = list(serials);
        let checked = AmdRevocation::Checked {
            number: 7,
            this_update: crl.this_update(),
            next_update: crl.next_update(),
        };
        assert_eq!(judge(&crl).expect("not listed").revocation(), checked);
        // Every VCEK has serial 0: a list that names it says nothing about them.
        assert_eq!(leaf(&crl).expect("not listed").revocation(), checked);
    }
    let listed: [&[&[u8]]; 3] = [
        &[ASK_SERIAL],
        &[&[9], ASK_SERIAL, &[7]],
        &[&[0x01, 0x00, 0x00]],
    ];
    for serials in listed {
        let crl = list(serials);
        assert_eq!(reason(judge(&crl)), Some("revoked"));
        assert_eq!(reason(leaf(&crl)), Some("revoked"));
    }
    // The VLEK chain stands under the same list.
    let crl = list(&[&[0x01, 0x01, 0x01]]);
    let vlek_chain = MILAN.parsed(EndorsementKind::Vlek);
    let kind = EndorsementKind::Vlek;
    let refused = verify_cert_chain(
        vlek_chain,
        Product::Milan,
        kind,
        Some(&crl),
        &anchors,
        now(),
    );
    assert_eq!(reason(refused), Some("revoked"));
    // A list of another root of that name is no list about this chain, whatever it says.
    let theirs = IMPOSTOR.crl(&IMPOSTOR.list().revoking(&[ASK_SERIAL]));
    let theirs = parse_crl(&theirs).expect("a list");
    let refused = verify_crl(theirs.clone(), Product::Milan, &anchors, now());
    assert_eq!(reason(refused), Some("signature-invalid"));
    let theirs = verify_crl(theirs, Product::Milan, &IMPOSTOR.anchors(), now()).expect("theirs");
    assert_eq!(
        leaf(&theirs).expect("unchecked").revocation(),
        AmdRevocation::Unchecked
    );
}

#[test]
fn near_misses_of_a_list() {
    let good = MILAN.list().revoking(&[&[1], &[2]]);
    let made = |change: &dyn Fn(&mut List)| {
        let mut list = good.clone();
        change(&mut list);
        reason(parse_crl(&MILAN.crl(&list)))
    };
    assert_eq!(made(&|_| {}), None);
    assert_eq!(made(&|l| l.version = int(&[0])), Some("unsupported"));
    assert_eq!(made(&|l| l.version = Vec::new()), Some("unsupported"));
    assert_eq!(made(&|l| l.algorithm = pss(SHA384, 48, true)), None);
    assert_eq!(
        made(&|l| l.algorithm = pss(SHA256, 48, false)),
        Some("unsupported")
    );
    assert_eq!(
        made(&|l| l.issuer = name("SEV-Milan")),
        Some("wrong-issuer")
    );
    assert_eq!(
        made(&|l| l.issuer = name("ARK-Florence")),
        Some("wrong-issuer")
    );
    assert_eq!(made(&|l| l.next_update = None), Some("format"));
    assert_eq!(
        made(&|l| l.next_update = Some(utc("260430000000Z"))),
        Some("format")
    );
    assert_eq!(made(&|l| l.extensions.clear()), Some("format"));
    let number =
        |value: Vec<u8>| made(&|l| l.extensions = vec![extension(CRL_NUMBER, false, &value)]);
    assert_eq!(number(int(&[0xff; 8])), None);
    assert_eq!(number(int(&[0xff; 9])), Some("unsupported"));
    assert_eq!(number(tlv(0x02, &[0xff])), Some("format"));
    let with = |one: Vec<u8>| made(&|l| l.extensions.push(one.clone()));
    assert_eq!(
        with(extension(CRL_NUMBER, false, &int(&[8]))),
        Some("format")
    );
    assert_eq!(
        with(extension("2.5.29.27", false, &int(&[1]))),
        Some("unsupported")
    );
    assert_eq!(
        with(extension("2.5.29.28", false, &seq(&[]))),
        Some("unsupported")
    );
    assert_eq!(with(extension("1.2.3.4", false, &[5, 0])), None);
    assert_eq!(
        with(extension("1.2.3.4", true, &[5, 0])),
        Some("unsupported")
    );
    let entry = |extensions: Vec<Vec<u8>>| {
        let entry = seq(&[int(&[3]), utc("260501000000Z"), seq(&extensions)]);
        made(&|l| l.entries.push(entry.clone()))
    };
    assert_eq!(
        entry(vec![extension("2.5.29.21", false, &tlv(0x0a, &[1]))]),
        None
    );
    for code in [7, 8, 11] {
        let reason = extension("2.5.29.21", false, &tlv(0x0a, &[code]));
        assert_eq!(entry(vec![reason]), Some("format"), "{code}");
    }
    // An entry about somebody else's certificate.
    assert_eq!(
        entry(vec![extension("2.5.29.29", true, &seq(&[]))]),
        Some("unsupported")
    );
    assert_eq!(
        made(&|l| l.entries = vec![seq(&[int(&[3])])]),
        Some("format")
    );
    assert_eq!(
        made(&|l| l.entries = (0..=10_000_u32)
            .map(|n| seq(&[int(&n.to_be_bytes()), utc("260501000000Z")]))
            .collect()),
        Some("too-many")
    );

    let der = MILAN.crl(&good);
    for bytes in [
        &[],
        &der[1..],
        &der[..der.len() - 1],
        &[&der[..], &[0]].concat()[..],
    ] {
        assert_eq!(reason(parse_crl(bytes)), Some("format"));
    }
    assert_eq!(
        reason(parse_crl(&vec![0x30; 1024 * 1024 + 1])),
        Some("too-large")
    );

    let (list, anchors) = (parse_crl(&der).expect("a list"), MILAN.anchors());
    let judge = |now| verify_crl(list.clone(), Product::Milan, &anchors, now);
    assert!(judge(at("2026-05-01T00:00:00Z")).is_ok());
    assert_eq!(
        reason(judge(at("2026-04-30T23:59:59Z"))),
        Some("not-yet-issued")
    );
    assert!(judge(at("2030-01-01T00:00:00Z")).is_ok(), "history");
    // Of a product without a root.
    let mut venice = good.clone();
    venice.issuer = name("ARK-Venice");
    let venice = parse_crl(&MILAN.crl(&venice)).expect("a list");
    let refused = verify_crl(venice, Product::Venice, &Anchors::builtin(), now());
    assert_eq!(reason(refused), Some("unknown-issuer"));
}

//! AMD's chains and lists as artefacts: what they answer for, what they are identified by, and who may vouch for them.

mod amd_pki;

use thim_verify::amd::{
    Anchors, CertChain, EndorsementKind, Product, parse_cert_chain, verify_artefact,
};
use thim_verify::{ArtefactKey, Issuers, TrustAnchors, UnixTime, parse, parse_for, verify};

fn now() -> UnixTime {
    "2026-09-21T00:00:00Z".parse().expect("a time")
}

fn builtin(product: Product, kind: EndorsementKind) -> &'static [u8] {
    thim_verify::amd::builtin_chain(product, kind).expect("built in")
}

#[test]
fn a_chain_is_its_two_certificates_in_whatever_text() {
    for (product, kind) in [
        (Product::Milan, EndorsementKind::Vcek),
        (Product::Turin, EndorsementKind::Vlek),
    ] {
        let text = builtin(product, kind);
        let served = parse(text).expect("a chain");
        assert_eq!(served.key(), ArtefactKey::AmdCertChain { product, kind });
        assert_eq!(served.unverified().document().as_ref(), text);
        let parsed = parse_cert_chain(text).expect("a chain");
        let other = CertChain::from_authorities(parsed.issuing().clone(), parsed.ark().clone())
            .and_then(thim_verify::Unverified::from_cert_chain)
            .expect("the same chain");
        assert_eq!(other.signed_digest(), served.signed_digest());

        let verified =
            verify_artefact(served.clone(), None, &Anchors::builtin(), now()).expect("genuine");
        assert_eq!(verified.key(), served.key());
        let chain = verified.as_cert_chain().expect("a chain");
        assert!(chain.same_certificates(&parsed));
        assert!(verified.as_crl().is_none());
    }
    let milan = parse(builtin(Product::Milan, EndorsementKind::Vcek)).expect("a chain");
    let genoa = parse(builtin(Product::Genoa, EndorsementKind::Vcek)).expect("a chain");
    assert_ne!(milan.signed_digest(), genoa.signed_digest());
}

#[test]
fn the_place_of_a_list_is_part_of_what_it_is() {
    let pki = amd_pki::Pki::new(Product::Genoa);
    let der = pki.crl(&pki.list());
    let key = |kind| ArtefactKey::AmdCrl {
        product: Product::Genoa,
        kind,
    };
    let (vcek, vlek) = (key(EndorsementKind::Vcek), key(EndorsementKind::Vlek));
    let first = parse(&der).expect("a list");
    let second = parse_for(vlek, &der).expect("a list");
    assert_eq!((first.key(), second.key()), (vcek, vlek));
    assert_ne!(first.signed_digest(), second.signed_digest());
    assert_eq!(parse_for(vcek, &der).expect("a list"), first);
    let pem = format!(
        "-----BEGIN X509 CRL-----\n{}\n-----END X509 CRL-----\n",
        data_encoding::BASE64.encode(&der)
    );
    assert_eq!(parse(pem.as_bytes()).expect("a list"), first);
    let hex = data_encoding::HEXLOWER.encode(&der);
    assert_eq!(parse(hex.as_bytes()).expect("a list"), first);

    let verified = verify_artefact(second, None, &pki.anchors(), amd_pki::now()).expect("genuine");
    assert_eq!(verified.as_crl().expect("a list").der().as_ref(), der);
    assert!(verified.as_cert_chain().is_none());
}

#[test]
fn neither_vendor_vouches_for_the_other() {
    let chain = parse(builtin(Product::Milan, EndorsementKind::Vcek)).expect("a chain");
    let issuers = Issuers::new(TrustAnchors::intel());
    let refused = verify(chain.clone(), &[], &issuers, None, now()).expect_err("not Intel's");
    assert_eq!(refused.reason(), "unknown-issuer");

    // Another root of the same name.
    let impostor = amd_pki::Pki::new(Product::Milan);
    let refused =
        verify_artefact(chain, None, &impostor.anchors(), now()).expect_err("an impostor");
    assert_eq!(refused.reason(), "untrusted-root");
    let list = parse(&impostor.crl(&impostor.list())).expect("a list");
    let refused = verify_artefact(list.clone(), None, &Anchors::builtin(), amd_pki::now())
        .expect_err("an impostor's");
    assert_eq!(refused.reason(), "signature-invalid");
    assert!(verify_artefact(list, None, &impostor.anchors(), amd_pki::now()).is_ok());
}

#[test]
fn the_nearest_misses_of_a_chain_are_refused() {
    let text = builtin(Product::Milan, EndorsementKind::Vcek);
    let text = std::str::from_utf8(text).expect("PEM");
    let second = text.rfind("-----BEGIN").expect("two certificates");
    let (issuing, root) = text.split_at(second);
    for (what, bad) in [
        ("one certificate", issuing.to_owned()),
        ("the root alone", root.to_owned()),
        ("the wrong order", format!("{root}{issuing}")),
        ("three", format!("{text}{root}")),
        ("a product's root under another's issuer", {
            let genoa = std::str::from_utf8(builtin(Product::Genoa, EndorsementKind::Vcek));
            let genoa = genoa.expect("PEM");
            let at = genoa.rfind("-----BEGIN").expect("two certificates");
            format!("{issuing}{}", &genoa[at..])
        }),
        ("text after it", format!("{text}and more")),
    ] {
        assert!(parse(bad.as_bytes()).is_err(), "{what}");
    }
}

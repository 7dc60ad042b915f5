//! Certificates, trust anchors and the set of known issuers: what is believed, and its nearest miss.

mod pki;

use pki::{
    PLATFORM, PROCESSOR, Pki, ROOT, TCB_SIGNING, at, issued, issued_der, key, params, profile,
    self_signed,
};
use rcgen::{BasicConstraints, CustomExtension, IsCa, KeyPair, KeyUsagePurpose};
use thim_verify::{Certificate, Digest, Error, Issuers, TrustAnchors, well_known_issuers};

fn reason<T: std::fmt::Debug>(result: Result<T, Error>) -> &'static str {
    result.expect_err("refused").reason()
}

#[test]
fn the_embedded_certificates() {
    let anchors = TrustAnchors::intel();
    assert!(anchors.is_builtin());
    assert_eq!(
        anchors.served_root().digest().to_string(),
        "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3"
    );
    let pin: Digest = "a0af031289f5d5d4132f9186068a7fc13628633ba235777472e29b6b6c67a49e"
        .parse()
        .expect("a digest");
    assert_eq!(anchors.served_root().spki_digest(), pin);
    assert!(anchors.contains_key(&pin));
    assert_eq!(anchors.fingerprint(), Digest::of(&pin.0));
    let names: Vec<_> = well_known_issuers()
        .iter()
        .map(|one| (one.subject_cn(), one.digest().short()[..8].to_owned()))
        .collect();
    assert_eq!(
        names,
        [
            (PLATFORM, "22eb770d".to_owned()),
            (PROCESSOR, "13b2dcce".to_owned()),
            (PROCESSOR, "f65b249b".to_owned()),
            (TCB_SIGNING, "c0575e76".to_owned()),
            (TCB_SIGNING, "ec37d981".to_owned()),
        ]
    );
    assert_eq!(Issuers::new(anchors).len(), 5);
}

#[test]
fn what_a_certificate_says() {
    let tcb = &well_known_issuers()[3];
    assert_eq!(tcb.issuer_cn(), ROOT);
    assert_eq!(
        (tcb.not_before(), tcb.not_after()),
        (at("2025-05-06T09:25:00Z"), at("2032-05-06T09:25:00Z"))
    );
    assert_eq!(tcb.serial().first_chunk(), Some(&[0x7e, 0x38, 0x82, 0xd5]));
    assert_eq!(
        tcb.crl_distribution_points(),
        ["https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"]
    );
    assert!(!tcb.is_ca() && !tcb.is_self_issued());
    assert_eq!((tcb.public_key().len(), tcb.public_key()[0]), (65, 4));
    // The Platform CA's serial number has its high bit set: 21 octets of INTEGER, 20 of number.
    let platform = &well_known_issuers()[0];
    assert_eq!((platform.serial().len(), platform.serial()[0]), (20, 0x95));
    assert_eq!(tcb.issuer_der(), platform.issuer_der());
    assert_ne!(tcb.subject_der(), platform.subject_der());
    assert!(tcb.to_pem().ends_with("-----END CERTIFICATE-----\n"));
    assert!(tcb.to_pem().lines().all(|line| line.len() <= 64));
}

#[test]
fn validity_includes_its_bounds() {
    let key = key();
    let root = self_signed(&profile(ROOT, true), &key);
    let (from, to) = (root.not_before(), root.not_after());
    assert_eq!(root.valid_at(from), Ok(()));
    assert_eq!(root.valid_at(to), Ok(()));
    let early = from.plus_secs(-1);
    let subject = ROOT.to_owned();
    assert_eq!(
        root.valid_at(early),
        Err(Error::NotYetValid {
            subject: subject.clone(),
            now: early,
            not_before: from
        })
    );
    let late = to.plus_secs(1);
    assert_eq!(
        root.valid_at(late),
        Err(Error::Expired {
            subject,
            now: late,
            not_after: to
        })
    );
}

#[test]
fn bundles_tolerate_what_is_around_the_blocks() {
    let pki = Pki::new();
    let text = format!(
        "subject=x\r\n{}\0\n\n junk {}\0",
        pki.tcb.to_pem().replace('\n', "\r\n"),
        pki.root.to_pem()
    );
    assert_eq!(
        Certificate::from_pem_bundle(text.as_bytes()),
        Ok(vec![pki.tcb.clone(), pki.root.clone()])
    );
    assert_eq!(Certificate::from_pem_bundle(b"no block"), Ok(vec![]));
    let pem = pki.root.to_pem();
    assert_eq!(
        Certificate::from_pem_bundle(pem.repeat(16).as_bytes()).map(|all| all.len()),
        Ok(16)
    );
    for (bad, why) in [
        (pem.repeat(17), "too-many"),
        (pem.replacen("-----END", "-----ENDE", 1), "format"),
        (pem.replacen("MII", "M*I", 1), "format"),
        (pem.replacen("MII", "MI", 1), "format"),
        (pem.replacen("MII", "MIIMII", 1), "format"),
        ("x".repeat(1024 * 1024 + 1), "too-large"),
    ] {
        assert_eq!(reason(Certificate::from_pem_bundle(bad.as_bytes())), why);
    }
    assert_eq!(reason(TrustAnchors::from_pem(b"no block")), "format");
}

/// Replaces the first occurrence of some bytes by as many others.
#[test]
fn known_certificates_of_a_bundle_are_not_parsed_again() {
    let issuers = Issuers::new(TrustAnchors::intel());
    let pki = Pki::new();
    let foreign = pki.root.clone();
    let root = issuers.anchors().served_root();
    let all = [&well_known_issuers()[0], &foreign, root];
    let text: String = all.map(Certificate::to_pem).concat();
    let read = issuers.read_pem_bundle(text.as_bytes());
    assert_eq!(read, Certificate::from_pem_bundle(text.as_bytes()));
    // Known or not, what stands in a block is what comes out; a bit more in one is refused in both ways.
    let near = text.replacen("-----END", "AAAA-----END", 1);
    assert_eq!(reason(issuers.read_pem_bundle(near.as_bytes())), "format");
    let many = root.to_pem().repeat(17);
    assert_eq!(reason(issuers.read_pem_bundle(many.as_bytes())), "too-many");
}

fn patch(der: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let at = der
        .windows(from.len())
        .position(|window| window == from)
        .expect("the bytes");
    let mut patched = der.to_vec();
    patched[at..at + to.len()].copy_from_slice(to);
    patched
}

#[test]
fn der_near_misses() {
    let pki = Pki::new();
    let der = pki.platform.der();
    assert!(Certificate::from_der(der).is_ok());
    assert_eq!(
        reason(Certificate::from_der(&[der, &[0]].concat())),
        "format"
    );
    assert_eq!(reason(Certificate::from_der(&[])), "format");
    assert_eq!(
        reason(Certificate::from_der(&vec![0x30; 16 * 1024 + 1])),
        "too-large"
    );
    let oid = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
    let sha384 = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03];
    let inside = patch(der, &oid, &sha384);
    assert_eq!(
        reason(Certificate::from_der(&inside)),
        "format",
        "inside and outside differ"
    );
    assert_eq!(
        reason(Certificate::from_der(&patch(&inside, &oid, &sha384))),
        "unsupported"
    );
    // Versions 1 and 2 in place of 3.
    for version in [0, 1] {
        let other = patch(der, &[0xa0, 3, 2, 1, 2], &[0xa0, 3, 2, 1, version]);
        assert_eq!(reason(Certificate::from_der(&other)), "unsupported");
    }
    // prime256v1 becomes another curve.
    let curve = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    let other = patch(
        der,
        &curve,
        &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x01],
    );
    assert_eq!(reason(Certificate::from_der(&other)), "unsupported");
    // A point that is not on the curve, and a compressed one's first byte.
    let point = pki.platform.public_key();
    let mut off = point.to_vec();
    off[64] ^= 1;
    assert_eq!(
        reason(Certificate::from_der(&patch(der, point, &off))),
        "format"
    );
    let mut compressed = point.to_vec();
    compressed[0] = 2;
    assert_eq!(
        reason(Certificate::from_der(&patch(der, point, &compressed))),
        "format"
    );
    // critical TRUE as BER would allow it, and critical FALSE written out.
    for flag in [0x01, 0x00] {
        assert_eq!(
            reason(Certificate::from_der(&patch(
                der,
                &[1, 1, 0xff, 4],
                &[1, 1, flag, 4]
            ))),
            "format"
        );
    }
    let rsa_or_p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).expect("a key");
    let made = params(&profile(ROOT, true))
        .self_signed(&rsa_or_p384)
        .expect("a root");
    assert_eq!(reason(Certificate::from_der(made.der())), "unsupported");
}

#[test]
fn unknown_critical_extensions_are_refused() {
    let key = key();
    for (critical, taken) in [(false, true), (true, false)] {
        let mut params = params(&profile(ROOT, true));
        let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
        extension.set_criticality(critical);
        params.custom_extensions.push(extension);
        let made = params.self_signed(&key).expect("a root");
        assert_eq!(Certificate::from_der(made.der()).is_ok(), taken);
    }
}

#[test]
fn who_may_sign_whom() {
    let pki = Pki::new();
    assert_eq!(pki.tcb.signed_by(&pki.root), Ok(()));
    assert_eq!(pki.root.signed_by(&pki.root), Ok(()));
    // Another key under the same name.
    let impostor = self_signed(&profile(ROOT, true), &key());
    assert_eq!(reason(pki.tcb.signed_by(&impostor)), "signature-invalid");
    // The right key under another name.
    let renamed = self_signed(&profile("Intel SGX Root CB", true), &pki.root_key);
    assert_eq!(reason(pki.tcb.signed_by(&renamed)), "wrong-issuer");
    // The right key and name without the right to sign.
    let mut leaf = profile(ROOT, false);
    leaf.usages = &[KeyUsagePurpose::KeyCertSign];
    assert_eq!(
        reason(pki.tcb.signed_by(&self_signed(&leaf, &pki.root_key))),
        "wrong-issuer"
    );
    let mut crls_only = profile(ROOT, true);
    crls_only.usages = &[KeyUsagePurpose::CrlSign];
    assert_eq!(
        reason(pki.tcb.signed_by(&self_signed(&crls_only, &pki.root_key))),
        "wrong-issuer"
    );
    // Without keyUsage nothing is restricted (RFC 5280).
    let mut unrestricted = profile(ROOT, true);
    unrestricted.usages = &[];
    assert_eq!(
        pki.tcb
            .signed_by(&self_signed(&unrestricted, &pki.root_key)),
        Ok(())
    );
    // Path length 0: leaves yes, authorities no.
    let mut constrained = params(&profile(ROOT, true));
    constrained.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let constrained = constrained.self_signed(&pki.root_key).expect("a root");
    let constrained = Certificate::from_der(constrained.der()).expect("parses");
    assert_eq!(pki.tcb.signed_by(&constrained), Ok(()));
    assert_eq!(reason(pki.platform.signed_by(&constrained)), "wrong-issuer");
    // One bit of the signature, one of the content.
    let der = pki.tcb.der();
    for at in [der.len() - 1, 20] {
        let mut flipped = der.to_vec();
        flipped[at] ^= 1;
        if let Ok(flipped) = Certificate::from_der(&flipped) {
            assert!(flipped.signed_by(&pki.root).is_err(), "{at}");
        }
    }
}

#[test]
fn replacement_anchors() {
    let pki = Pki::new();
    let longer = self_signed(
        &pki::Profile {
            to: (2049, 1, 1),
            ..profile(ROOT, true)
        },
        &key(),
    );
    let both = format!("{}{}", pki.root.to_pem(), longer.to_pem());
    let anchors = TrustAnchors::from_pem(both.as_bytes()).expect("two roots");
    assert!(!anchors.is_builtin());
    assert_eq!(anchors.served_root(), &longer);
    assert_eq!(anchors.roots().len(), 2);
    let other_order = format!("{}{}", longer.to_pem(), pki.root.to_pem());
    let other_order = TrustAnchors::from_pem(other_order.as_bytes()).expect("two roots");
    assert_eq!(other_order.fingerprint(), anchors.fingerprint());
    assert_ne!(pki.anchors().fingerprint(), anchors.fingerprint());
    assert!(!pki.anchors().contains_key(&longer.spki_digest()));
    // Not self-signed; self-issued, but signed with another key; no authority.
    for bad in [
        pki.tcb.clone(),
        issued(&profile(ROOT, true), &key(), ROOT, &pki.root_key),
        self_signed(&profile(ROOT, false), &pki.root_key),
    ] {
        assert!(
            TrustAnchors::from_pem(bad.to_pem().as_bytes()).is_err(),
            "{bad:?}"
        );
    }
}

#[test]
fn issuers_take_in_what_leads_to_an_anchor() {
    let pki = Pki::new();
    let mut issuers = pki.issuers();
    assert!(issuers.is_empty());
    assert_eq!(issuers.insert(pki.tcb.clone()), Ok(true));
    assert_eq!(issuers.insert(pki.tcb.clone()), Ok(false));
    assert_eq!(issuers.insert(pki.platform.clone()), Ok(true));
    let processor = issued(&profile(PROCESSOR, true), &key(), ROOT, &pki.root_key);
    assert_eq!(issuers.insert(processor), Ok(true));
    // The root's key in another encoding, and a re-issue of the TCB signer with its key.
    let other_root = self_signed(
        &pki::Profile {
            serial: &[5],
            ..profile(ROOT, true)
        },
        &pki.root_key,
    );
    // The pinned key alone is not enough: the certificate must be signed with it.
    let mut tampered = other_root.der().to_vec();
    if let Some(last) = tampered.last_mut() {
        *last ^= 1;
    }
    let tampered = Certificate::from_der(&tampered).expect("parses");
    assert_eq!(reason(issuers.insert(tampered)), "signature-invalid");
    assert_eq!(issuers.insert(other_root), Ok(true));
    let reissue = issued(
        &pki::Profile {
            from: (2025, 5, 6),
            ..profile(TCB_SIGNING, false)
        },
        &pki.tcb_key,
        ROOT,
        &pki.root_key,
    );
    assert_eq!(issuers.insert(reissue), Ok(true));
    assert_eq!(issuers.with_key(&pki.tcb.spki_digest()).count(), 2);
    assert_eq!((issuers.len(), issuers.iter().count()), (5, 5));

    let stranger = key();
    for (why, bad) in [
        (
            "untrusted-root",
            self_signed(&profile(ROOT, true), &stranger),
        ),
        (
            "signature-invalid",
            issued(&profile(TCB_SIGNING, false), &key(), ROOT, &stranger),
        ),
        (
            "wrong-issuer",
            issued(
                &profile("Intel SGX PCK Certificate", false),
                &key(),
                ROOT,
                &pki.root_key,
            ),
        ),
        (
            "wrong-issuer",
            issued(&profile(TCB_SIGNING, true), &key(), ROOT, &pki.root_key),
        ),
        (
            "wrong-issuer",
            issued(&profile(PLATFORM, false), &key(), ROOT, &pki.root_key),
        ),
        (
            "wrong-issuer",
            issued(
                &profile(TCB_SIGNING, false),
                &key(),
                "Intel SGX Root CB",
                &pki.root_key,
            ),
        ),
        // A grandchild: the Platform CA signs PCK certificates, not TCB signers.
        (
            "wrong-issuer",
            issued(
                &profile(TCB_SIGNING, false),
                &key(),
                PLATFORM,
                &pki.platform_key,
            ),
        ),
    ] {
        assert_eq!(reason(issuers.insert(bad.clone())), why, "{bad:?}");
    }
    assert_eq!(issuers.len(), 5);
}

#[test]
fn issuers_are_bounded() {
    let pki = Pki::new();
    let mut issuers = pki.issuers();
    for n in 0..=256_u16 {
        let serial = n.to_be_bytes();
        let serial = [1, serial[0], serial[1]];
        let one = issued_der(
            &pki::Profile {
                serial: &serial,
                ..profile(TCB_SIGNING, false)
            },
            &pki.tcb_key,
            ROOT,
            &pki.root_key,
        );
        let inserted = issuers.insert(Certificate::from_der(&one).expect("parses"));
        if n < 256 {
            assert_eq!(inserted, Ok(true));
        } else {
            assert_eq!(reason(inserted), "too-many");
        }
    }
    // Known ones stay known when it is full.
    let known = issuers.iter().next().expect("one").clone();
    assert_eq!(issuers.insert(known), Ok(false));
}

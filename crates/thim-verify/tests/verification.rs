//! Verification: the choice of chain, revocation, time, and each way to be refused.

mod pki;

use pki::{
    Day, IDENTITY, NUMBERS, PLATFORM, PROCESSOR, Pki, Profile, ROOT, TCB_INFO_V3, TCB_SIGNING, at,
    crl, envelope, issued, key, profile, raw_signature, self_signed,
};
use rcgen::KeyUsagePurpose;
use thim_verify::{
    Artefact, Certificate, Content, Error, Issuers, Revocation, UnixTime, Verified, compacted,
    parse, verify,
};

/// After every test document was issued, before any is replaced.
fn now() -> UnixTime {
    at("2026-03-15T00:00:00Z")
}

fn judge(
    document: &[u8],
    delivered: &[Certificate],
    issuers: &Issuers,
    root_crl: Option<&Verified<Artefact>>,
) -> Result<Verified<Artefact>, Error> {
    verify(
        parse(document).expect("parses"),
        delivered,
        issuers,
        root_crl,
        now(),
    )
}

fn reason(result: Result<Verified<Artefact>, Error>) -> &'static str {
    result.expect_err("refused").reason()
}

fn root_crl(pki: &Pki, this: Day, number: u64, revoked: &[&[u8]]) -> Verified<Artefact> {
    let list = crl(ROOT, &pki.root_key, this, (2027, 1, 1), number, revoked);
    judge(&list, &[], &pki.issuers(), None).expect("a root's list")
}

/// The TCB signer's key in a certificate with other dates and serial number.
fn reissue(pki: &Pki, from: Day, to: Day, serial: &[u8]) -> Certificate {
    let profile = Profile {
        from,
        to,
        serial,
        ..profile(TCB_SIGNING, false)
    };
    issued(&profile, &pki.tcb_key, ROOT, &pki.root_key)
}

#[test]
fn each_kind_verifies_with_its_signer_alone() {
    let pki = Pki::new();
    let chain = [pki.tcb.clone(), pki.root.clone()];
    for (member, inner) in [
        ("tcbInfo", TCB_INFO_V3),
        ("enclaveIdentity", IDENTITY),
        ("tcbEvaluationDataNumbers", NUMBERS),
    ] {
        let document = pki.signed(member, inner);
        let artefact = judge(&document, &chain, &pki.issuers(), None).expect(member);
        assert_eq!(artefact.document(), &document);
        assert_eq!(artefact.signed(), inner.as_bytes());
        assert_eq!(artefact.id(), thim_verify::Digest::of(inner.as_bytes()));
        assert_eq!(artefact.chain().certificates(), [&pki.tcb, &pki.root]);
        assert_eq!(artefact.chain().signer_key(), pki.tcb.spki_digest());
        assert_eq!(artefact.revocation(), Revocation::Unchecked);

        // The wrong signer: a Platform CA's key, though it leads to the root.
        let by_platform = envelope(
            member,
            inner,
            &raw_signature(&pki.platform_key, inner.as_bytes()),
        );
        let all = [pki.tcb.clone(), pki.platform.clone(), pki.root.clone()];
        assert_eq!(
            reason(judge(by_platform.as_bytes(), &all, &pki.issuers(), None)),
            "signature-invalid"
        );
    }
    let list = crl(
        PLATFORM,
        &pki.platform_key,
        (2026, 3, 1),
        (2026, 3, 31),
        1,
        &[&[7]],
    );
    let artefact = judge(
        &list,
        std::slice::from_ref(&pki.platform),
        &pki.issuers(),
        None,
    )
    .expect("a list");
    assert_eq!(artefact.chain().certificates(), [&pki.platform, &pki.root]);
    let root_list = crl(ROOT, &pki.root_key, (2026, 3, 1), (2027, 3, 1), 1, &[]);
    let artefact = judge(&root_list, &[], &pki.issuers(), None).expect("the root's list");
    assert_eq!(artefact.chain().certificates(), [&pki.root]);
    assert_eq!(artefact.chain().issuer(), None);
    assert_eq!(artefact.chain().signer_key(), pki.root.spki_digest());

    // A list under the Processor CA's name signed by the Platform CA, and under the Platform CA's by the TCB signer.
    let processor = issued(&profile(PROCESSOR, true), &key(), ROOT, &pki.root_key);
    let all = [pki.tcb.clone(), pki.platform.clone(), processor];
    let wrong = crl(
        PROCESSOR,
        &pki.platform_key,
        (2026, 3, 1),
        (2026, 3, 31),
        1,
        &[],
    );
    assert_eq!(
        reason(judge(&wrong, &all, &pki.issuers(), None)),
        "signature-invalid"
    );
    let wrong = crl(PLATFORM, &pki.tcb_key, (2026, 3, 1), (2026, 3, 31), 1, &[]);
    assert_eq!(
        reason(judge(&wrong, &all, &pki.issuers(), None)),
        "signature-invalid"
    );
    let wrong = crl(ROOT, &pki.platform_key, (2026, 3, 1), (2027, 3, 1), 1, &[]);
    assert_eq!(
        reason(judge(&wrong, &all, &pki.issuers(), None)),
        "signature-invalid"
    );
}

#[test]
fn known_issuers_stand_in_for_a_chain_that_was_not_delivered() {
    let pki = Pki::new();
    let document = pki.signed("tcbInfo", TCB_INFO_V3);
    assert_eq!(
        judge(&document, &[], &pki.issuers(), None),
        Err(Error::UnknownIssuer {
            wanted: TCB_SIGNING.to_owned()
        })
    );
    let mut issuers = pki.issuers();
    issuers.insert(pki.tcb.clone()).expect("the TCB signer");
    let artefact = judge(&document, &[], &issuers, None).expect("verifies");
    assert_eq!(artefact.chain().certificates(), [&pki.tcb, &pki.root]);
}

#[test]
fn the_order_of_delivered_certificates_does_not_matter() {
    let pki = Pki::new();
    let document = pki.signed("tcbInfo", TCB_INFO_V3);
    let newer = reissue(&pki, (2025, 5, 6), (2032, 1, 1), &[9]);
    let mut delivered = vec![
        pki.root.clone(),
        pki.platform.clone(),
        pki.tcb.clone(),
        newer.clone(),
        pki.root.clone(),
    ];
    for _ in 0..delivered.len() {
        delivered.rotate_left(1);
        let artefact = judge(&document, &delivered, &pki.issuers(), None).expect("verifies");
        assert_eq!(artefact.chain().certificates(), [&newer, &pki.root]);
    }
    // Unrelated certificates in front do not push the signer out of the eight that are considered.
    let mut crowd = vec![pki.platform.clone(); 40];
    crowd.push(pki.tcb.clone());
    assert!(judge(&document, &crowd, &pki.issuers(), None).is_ok());
}

#[test]
fn the_delivered_certificate_comes_first_if_it_was_valid_at_the_issue_date() {
    let pki = Pki::new();
    let document = pki.signed("tcbInfo", TCB_INFO_V3);
    let old = reissue(&pki, (2018, 5, 21), (2025, 5, 21), &[1]);
    let middle = reissue(&pki, (2025, 5, 6), (2032, 5, 6), &[2]);
    let newest = reissue(&pki, (2026, 2, 1), (2033, 5, 6), &[3]);
    let future = reissue(&pki, (2026, 3, 2), (2033, 5, 6), &[4]);
    let mut issuers = pki.issuers();
    for one in [&old, &middle, &newest, &future] {
        issuers.insert(one.clone()).expect("an issuer");
    }
    for (delivered, chosen) in [
        (vec![], &newest),
        (vec![middle.clone()], &middle),
        // Delivered, but expired at the issue date, or not yet valid: the same key's latest stands in.
        (vec![old.clone()], &newest),
        (vec![future.clone()], &newest),
        (vec![future.clone(), middle.clone()], &middle),
    ] {
        let artefact = judge(&document, &delivered, &issuers, None).expect("verifies");
        assert_eq!(artefact.chain().issuer(), Some(chosen), "{delivered:?}");
    }
    // With nothing valid at the issue date the reason names what was there.
    let issued_at = at("2026-03-01T00:00:00Z");
    assert_eq!(
        judge(&document, std::slice::from_ref(&old), &pki.issuers(), None),
        Err(Error::Expired {
            subject: TCB_SIGNING.to_owned(),
            now: issued_at,
            not_after: at("2025-05-21T00:00:00Z")
        })
    );
    assert_eq!(
        judge(
            &document,
            std::slice::from_ref(&future),
            &pki.issuers(),
            None
        ),
        Err(Error::NotYetValid {
            subject: TCB_SIGNING.to_owned(),
            now: issued_at,
            not_before: at("2026-03-02T00:00:00Z")
        })
    );
}

#[test]
fn a_chain_that_expired_is_replaced_by_a_reissue_of_its_key() {
    let pki = Pki::new();
    let document = pki.signed("tcbInfo", TCB_INFO_V3);
    let short = reissue(&pki, (2020, 1, 1), (2026, 3, 10), &[1]);
    let artefact = judge(
        &document,
        std::slice::from_ref(&short),
        &pki.issuers(),
        None,
    )
    .expect("valid when issued");
    let chain = artefact.chain();
    assert!(chain.holds_at(at("2026-03-09T00:00:00Z")).is_ok());
    assert_eq!(
        chain.holds_at(now()).map_err(|error| error.reason()),
        Err("expired")
    );
    let mut issuers = pki.issuers();
    assert_eq!(chain.reissue_valid_at(&issuers, now()), None);
    let other_key = issued(&profile(TCB_SIGNING, false), &key(), ROOT, &pki.root_key);
    issuers.insert(other_key).expect("another signer");
    assert_eq!(
        chain.reissue_valid_at(&issuers, now()),
        None,
        "another key does not replace it"
    );
    let newer = reissue(&pki, (2026, 3, 5), (2033, 1, 1), &[2]);
    issuers.insert(newer.clone()).expect("a re-issue");
    let replaced = chain
        .reissue_valid_at(&issuers, now())
        .expect("the re-issue");
    assert_eq!(replaced.certificates(), [&newer, &pki.root]);
    assert_eq!(replaced.signer_key(), chain.signer_key());
    assert_eq!(
        chain.reissue_valid_at(&issuers, at("2050-01-01T00:00:00Z")),
        None
    );
}

#[test]
fn a_reissue_by_another_trusted_root_does_not_go_with_this_one() {
    let (pki, other) = (Pki::new(), Pki::new());
    let both = format!("{}{}", pki.root.to_pem(), other.root.to_pem());
    let anchors = thim_verify::TrustAnchors::from_pem(both.as_bytes()).expect("two roots");
    let mut issuers = Issuers::new(anchors);
    let document = pki.signed("tcbInfo", TCB_INFO_V3);
    let short = reissue(&pki, (2020, 1, 1), (2026, 3, 10), &[1]);
    let artefact = judge(&document, &[short], &issuers, None).expect("valid when issued");
    let by_other = issued(
        &profile(TCB_SIGNING, false),
        &pki.tcb_key,
        ROOT,
        &other.root_key,
    );
    issuers
        .insert(by_other.clone())
        .expect("the same key, certified by the other root");
    assert_eq!(artefact.chain().reissue_valid_at(&issuers, now()), None);
    // Alone it makes a chain of its own, with its own root.
    let judged = judge(&document, &[], &issuers, None).expect("verifies");
    assert_eq!(judged.chain().certificates(), [&by_other, &other.root]);
}

#[test]
fn any_certificate_of_the_pinned_root_key_is_the_root() {
    let pki = Pki::new();
    let document = pki.signed("tcbInfo", TCB_INFO_V3);
    let other_encoding = self_signed(
        &Profile {
            serial: &[77],
            to: (2033, 5, 21),
            ..profile(ROOT, true)
        },
        &pki.root_key,
    );
    let artefact = judge(
        &document,
        &[other_encoding, pki.tcb.clone()],
        &pki.issuers(),
        None,
    )
    .expect("verifies");
    assert_eq!(
        artefact.chain().root(),
        &pki.root,
        "served with the anchor's own certificate"
    );

    // An impostor with the same names: its whole PKI is well-formed.
    let impostor = Pki::new();
    let forged = impostor.signed("tcbInfo", TCB_INFO_V3);
    let delivered = [impostor.tcb.clone(), impostor.root.clone()];
    let mut issuers = pki.issuers();
    issuers.insert(pki.tcb.clone()).expect("the TCB signer");
    assert_eq!(
        judge(&forged, &delivered, &issuers, None),
        Err(Error::UntrustedRoot {
            found_spki: impostor.root.spki_digest()
        })
    );
    assert_eq!(
        reason(judge(&forged, &delivered[..1], &issuers, None)),
        "signature-invalid"
    );
    assert_eq!(
        reason(judge(&forged, &[], &issuers, None)),
        "signature-invalid"
    );
    // A root with the genuine name and the impostor's key in front of the genuine chain changes nothing.
    let mixed = [impostor.root, pki.tcb.clone(), pki.root.clone()];
    assert!(judge(&document, &mixed, &issuers, None).is_ok());
    // Nor does the impostor's signer beside the genuine one.
    assert!(judge(&document, &[impostor.tcb, pki.tcb.clone()], &issuers, None).is_ok());
}

#[test]
fn useless_delivered_certificates_do_no_harm_when_a_known_issuer_verifies_the_object() {
    let (pki, impostor) = (Pki::new(), Pki::new());
    let document = pki.signed("tcbInfo", TCB_INFO_V3);
    let mut issuers = pki.issuers();
    issuers.insert(pki.tcb.clone()).expect("the TCB signer");
    let authority = Profile {
        usages: &[KeyUsagePurpose::DigitalSignature],
        ..profile(TCB_SIGNING, true)
    };
    let authority = issued(&authority, &key(), ROOT, &pki.root_key);
    for useless in [
        vec![impostor.tcb.clone(), impostor.root.clone()],
        vec![impostor.tcb.clone(); 40],
        vec![authority.clone()],
    ] {
        let artefact = judge(&document, &useless, &issuers, None).expect("verifies");
        assert_eq!(artefact.chain().certificates(), [&pki.tcb, &pki.root]);
    }
    // Without the known issuer each says what is wrong with it, and so it does beside a known one that does not fit.
    let mut other_signer = pki.issuers();
    let other = issued(&profile(TCB_SIGNING, false), &key(), ROOT, &pki.root_key);
    other_signer.insert(other.clone()).expect("another signer");
    for issuers in [pki.issuers(), other_signer] {
        let with = |delivered: &[Certificate]| reason(judge(&document, delivered, &issuers, None));
        let chain = [impostor.tcb.clone(), impostor.root.clone()];
        assert_eq!(with(&chain), "untrusted-root");
        assert_eq!(with(&chain[..1]), "signature-invalid");
        assert_eq!(with(std::slice::from_ref(&authority)), "wrong-issuer");
        // One that leads to the root, but whose key did not sign, is no explanation of the other's.
        let mixed = [other.clone(), authority.clone()];
        assert_eq!(with(&mixed), "signature-invalid");
    }
}

#[test]
fn one_bit_of_anything_signed() {
    let pki = Pki::new();
    let mut issuers = pki.issuers();
    for one in [&pki.tcb, &pki.platform] {
        issuers.insert(one.clone()).expect("an issuer");
    }
    let list = crl(
        PLATFORM,
        &pki.platform_key,
        (2026, 3, 1),
        (2026, 3, 31),
        1,
        &[&[7]],
    );
    for document in [
        pki.signed("tcbInfo", TCB_INFO_V3),
        pki.signed("enclaveIdentity", IDENTITY),
        list,
    ] {
        assert!(judge(&document, &[], &issuers, None).is_ok());
        for at in 0..document.len() {
            let mut flipped = document.clone();
            flipped[at] ^= if document[0] == b'{' { 2 } else { 1 };
            let result =
                parse(&flipped).and_then(|parsed| verify(parsed, &[], &issuers, None, now()));
            assert!(result.is_err(), "byte {at}");
        }
    }
}

#[test]
fn signatures_that_are_no_signatures() {
    let pki = Pki::new();
    let chain = [pki.tcb.clone()];
    let order = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let good = raw_signature(&pki.tcb_key, TCB_INFO_V3.as_bytes());
    let (r, s) = good.split_at(64);
    let zero = "0".repeat(64);
    for signature in [
        format!("{zero}{s}"),
        format!("{r}{zero}"),
        format!("{zero}{zero}"),
        format!("{order}{s}"),
        format!("{r}{order}"),
        format!("{s}{r}"),
        "f".repeat(128),
    ] {
        let document = envelope("tcbInfo", TCB_INFO_V3, &signature);
        assert_eq!(
            reason(judge(document.as_bytes(), &chain, &pki.issuers(), None)),
            "signature-invalid"
        );
    }
    assert!(
        judge(
            envelope("tcbInfo", TCB_INFO_V3, &good).as_bytes(),
            &chain,
            &pki.issuers(),
            None
        )
        .is_ok()
    );
    let upper = envelope("tcbInfo", TCB_INFO_V3, &good.to_uppercase());
    assert!(judge(upper.as_bytes(), &chain, &pki.issuers(), None).is_ok());
}

#[test]
fn another_signature_over_the_same_body_is_the_same_artefact() {
    let pki = Pki::new();
    let chain = [pki.tcb.clone()];
    let first = judge(
        &pki.signed("tcbInfo", TCB_INFO_V3),
        &chain,
        &pki.issuers(),
        None,
    )
    .expect("verifies");
    let second = judge(
        &pki.signed("tcbInfo", TCB_INFO_V3),
        &chain,
        &pki.issuers(),
        None,
    )
    .expect("verifies");
    assert_ne!(first.signature(), second.signature());
    assert_eq!(first.id(), second.id());
}

#[test]
fn re_dumped_json_verifies_in_its_compact_form_only() {
    let pki = Pki::new();
    let chain = [pki.tcb.clone()];
    let signature = raw_signature(&pki.tcb_key, TCB_INFO_V3.as_bytes());
    let dumped = envelope("tcbInfo", &TCB_INFO_V3.replace(',', ", "), &signature);
    let parsed = parse(dumped.as_bytes()).expect("parses");
    let compact = compacted(&parsed).expect("there is white space");
    assert_eq!(
        reason(verify(parsed, &chain, &pki.issuers(), None, now())),
        "signature-invalid"
    );
    let artefact = verify(compact, &chain, &pki.issuers(), None, now()).expect("verifies");
    assert_eq!(
        artefact.signed(),
        TCB_INFO_V3.as_bytes(),
        "what the signature covers is what is kept"
    );
}

#[test]
fn time_of_the_object() {
    let pki = Pki::new();
    let document = pki.signed("tcbInfo", TCB_INFO_V3);
    let issued = at("2026-03-01T00:00:00Z");
    let at_time = |now| {
        verify(
            parse(&document).expect("parses"),
            std::slice::from_ref(&pki.tcb),
            &pki.issuers(),
            None,
            now,
        )
    };
    assert!(at_time(issued).is_ok());
    let before = issued.plus_secs(-1);
    assert_eq!(
        at_time(before),
        Err(Error::NotYetIssued {
            now: before,
            issued
        })
    );
    // Long expired, object and chain: history, not an error.
    let artefact = at_time(UnixTime::MAX).expect("verifies");
    assert!(artefact.next_update() < UnixTime::MAX);
    assert!(artefact.chain().holds_at(UnixTime::MAX).is_err());
    let tcb_info = |from: &str, to: &str| {
        let inner = TCB_INFO_V3
            .replacen("2026-03-01", from, 1)
            .replacen("2026-03-31", to, 1);
        judge(
            &pki.signed("tcbInfo", &inner),
            std::slice::from_ref(&pki.tcb),
            &pki.issuers(),
            None,
        )
    };
    assert!(tcb_info("2025-10-04", "2026-03-03").is_ok(), "150 days");
    assert_eq!(
        reason(tcb_info("2019-12-31", "2020-01-30")),
        "not-yet-valid"
    );
}

#[test]
fn the_root_is_judged_at_the_issue_date_too() {
    let pki = Pki::new();
    let document = pki.signed("tcbInfo", TCB_INFO_V3);
    let late_root = self_signed(
        &Profile {
            from: (2026, 3, 10),
            ..profile(ROOT, true)
        },
        &pki.root_key,
    );
    let anchors =
        thim_verify::TrustAnchors::from_pem(late_root.to_pem().as_bytes()).expect("a root");
    let issuers = Issuers::new(anchors);
    let chain = [pki.tcb.clone()];
    assert_eq!(
        reason(judge(&document, &chain, &issuers, None)),
        "not-yet-valid"
    );
    // A same-key root of that time came along: judged by it, served with the anchor.
    let artefact = judge(
        &document,
        &[pki.tcb.clone(), pki.root.clone()],
        &issuers,
        None,
    )
    .expect("verifies");
    assert_eq!(artefact.chain().root(), &late_root);
}

#[test]
fn revocation_by_the_roots_list() {
    let pki = Pki::new();
    let document = pki.signed("tcbInfo", TCB_INFO_V3);
    let chain = [pki.tcb.clone(), pki.root.clone()];
    let this = at("2026-03-05T00:00:00Z");
    let clean = root_crl(&pki, (2026, 3, 5), 1, &[&[1, 2], &[1, 2, 3, 4], &[2, 2, 3]]);
    let artefact = judge(&document, &chain, &pki.issuers(), Some(&clean)).expect("not named");
    assert_eq!(
        artefact.revocation(),
        Revocation::Checked {
            root_crl_this_update: this
        }
    );
    let revoking = root_crl(&pki, (2026, 3, 5), 1, &[&[1, 2, 3]]);
    assert_eq!(
        judge(&document, &chain, &pki.issuers(), Some(&revoking)),
        Err(Error::Revoked {
            serial: "010203".to_owned(),
            subject: TCB_SIGNING.to_owned(),
            root_crl_this_update: this
        })
    );
    // A re-issue with the same key is no way around it, whether the revoked one is known or delivered.
    let newer = reissue(&pki, (2025, 5, 6), (2032, 1, 1), &[9]);
    let mut issuers = pki.issuers();
    issuers.insert(pki.tcb.clone()).expect("the revoked one");
    assert_eq!(
        reason(judge(
            &document,
            std::slice::from_ref(&newer),
            &issuers,
            Some(&revoking)
        )),
        "revoked"
    );
    let both = [newer.clone(), pki.tcb.clone()];
    assert_eq!(
        reason(judge(&document, &both, &pki.issuers(), Some(&revoking))),
        "revoked"
    );
    assert!(
        judge(
            &document,
            std::slice::from_ref(&newer),
            &pki.issuers(),
            Some(&revoking)
        )
        .is_ok()
    );
    // A list of a PCK authority and the same serial number below it: the Platform CA's list is judged too.
    let list = crl(
        PLATFORM,
        &pki.platform_key,
        (2026, 3, 1),
        (2026, 3, 31),
        1,
        &[],
    );
    assert_eq!(
        reason(judge(
            &list,
            std::slice::from_ref(&pki.platform),
            &pki.issuers(),
            Some(&revoking)
        )),
        "revoked"
    );
    // The root's own list is not judged by a root's list.
    let root_list = crl(
        ROOT,
        &pki.root_key,
        (2026, 3, 6),
        (2027, 3, 1),
        1,
        &[&[1, 2, 3]],
    );
    let judged = judge(&root_list, &[], &pki.issuers(), Some(&revoking)).expect("verifies");
    assert_eq!(judged.revocation(), Revocation::Unchecked);
    // Handing over another list by mistake is an error, not a pass.
    let not_root = judge(
        &list,
        std::slice::from_ref(&pki.platform),
        &pki.issuers(),
        None,
    )
    .expect("verifies");
    assert_eq!(
        reason(judge(&document, &chain, &pki.issuers(), Some(&not_root))),
        "format"
    );
    // The list of another root says nothing.
    let other = Pki::new();
    let other_list = root_crl(&other, (2026, 3, 5), 1, &[&[1, 2, 3]]);
    let judged = judge(&document, &chain, &pki.issuers(), Some(&other_list)).expect("verifies");
    assert_eq!(judged.revocation(), Revocation::Unchecked);
}

#[test]
fn crl_numbers_carry_no_order() {
    let pki = Pki::new();
    let two = root_crl(&pki, (2026, 3, 1), 2, &[]);
    let one = root_crl(&pki, (2026, 3, 2), 1, &[]);
    assert!(one.issued() > two.issued());
    for (list, number) in [(&two, 2), (&one, 1)] {
        let Content::Crl(content) = list.content() else {
            panic!("a list")
        };
        assert_eq!(content.number.as_deref(), Some([number].as_slice()));
    }
}

#[test]
fn a_signer_needs_the_right_to_sign() {
    let pki = Pki::new();
    let document = pki.signed("tcbInfo", TCB_INFO_V3);
    let with_usages = |cn, ca, usages: &'static [KeyUsagePurpose], key| {
        let profile = Profile {
            usages,
            ..profile(cn, ca)
        };
        issued(&profile, key, ROOT, &pki.root_key)
    };
    let no_documents = with_usages(
        TCB_SIGNING,
        false,
        &[KeyUsagePurpose::KeyAgreement],
        &pki.tcb_key,
    );
    assert_eq!(
        reason(judge(&document, &[no_documents], &pki.issuers(), None)),
        "unknown-issuer"
    );
    let unrestricted = with_usages(TCB_SIGNING, false, &[], &pki.tcb_key);
    assert!(judge(&document, &[unrestricted], &pki.issuers(), None).is_ok());
    let list = crl(
        PLATFORM,
        &pki.platform_key,
        (2026, 3, 1),
        (2026, 3, 31),
        1,
        &[],
    );
    let no_lists = with_usages(
        PLATFORM,
        true,
        &[KeyUsagePurpose::KeyCertSign],
        &pki.platform_key,
    );
    assert_eq!(
        reason(judge(&list, &[no_lists], &pki.issuers(), None)),
        "unknown-issuer"
    );
    let authority = with_usages(
        TCB_SIGNING,
        true,
        &[KeyUsagePurpose::DigitalSignature],
        &pki.tcb_key,
    );
    assert_eq!(
        reason(judge(&document, &[authority], &pki.issuers(), None)),
        "wrong-issuer"
    );
}

#[test]
fn chains_as_text() {
    let pki = Pki::new();
    let document = pki.signed("tcbInfo", TCB_INFO_V3);
    let artefact = judge(
        &document,
        std::slice::from_ref(&pki.tcb),
        &pki.issuers(),
        None,
    )
    .expect("verifies");
    let pem = artefact.chain().to_pem();
    assert_eq!(pem, format!("{}{}", pki.tcb.to_pem(), pki.root.to_pem()));
    let header = artefact.chain().to_header_value();
    assert!(
        header.starts_with("-----BEGIN%20CERTIFICATE-----%0A")
            && header.ends_with("-----END%20CERTIFICATE-----%0A")
    );
    assert!(
        header
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte))
    );
    assert_eq!(
        percent_encoding::percent_decode_str(&header)
            .decode_utf8()
            .as_deref(),
        Ok(pem.as_str())
    );
}

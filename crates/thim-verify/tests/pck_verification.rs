//! Verification of PCK certificates: the chain, the dates, both revocation lists, and each way to be refused.

mod pki;

use pki::pck::{CPU_SVN, PCE_SVN, TCBM, items, leaf, leaf_profile, leaf_with, sequence};
use pki::{
    Day, PLATFORM, PROCESSOR, Pki, Profile, ROOT, TCB_INFO_V3, at, crl, issued, key, profile,
};
use rcgen::{BasicConstraints, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use thim_verify::{
    Artefact, Certificate, Error, Issuers, PckCertificate, PckRevocation, Revocation, TrustAnchors,
    UnixTime, Verified, parse, verify, verify_pck,
};

/// Inside the validity of the test leaves and lists.
fn now() -> UnixTime {
    at("2026-03-15T00:00:00Z")
}

fn genuine(pki: &Pki) -> PckCertificate {
    let der = leaf(CPU_SVN, PCE_SVN, PLATFORM, &pki.platform_key);
    PckCertificate::from_der(&der).expect("a PCK certificate")
}

fn with_profile(profile: &Profile<'_>, issuer_cn: &str, issuer_key: &KeyPair) -> PckCertificate {
    let der = leaf_with(profile, Some(sequence(&items())), issuer_cn, issuer_key);
    PckCertificate::from_der(&der).expect("a PCK certificate")
}

/// The vendor's issuers, its Platform CA among them.
fn issuers(pki: &Pki) -> Issuers {
    let mut issuers = pki.issuers();
    issuers
        .insert(pki.platform.clone())
        .expect("the Platform CA");
    issuers
}

/// A verified list, signed with `key` under the name `cn`.
fn list(cn: &str, key: &KeyPair, issuers: &Issuers, revoked: &[&[u8]]) -> Verified<Artefact> {
    let der = crl(cn, key, (2026, 3, 1), (2026, 3, 31), 1, revoked);
    verify(parse(&der).expect("a list"), &[], issuers, None, now()).expect("a genuine list")
}

fn judge(
    pck: &PckCertificate,
    issuers: &Issuers,
    root_crl: Option<&Verified<Artefact>>,
    pck_crl: Option<&Verified<Artefact>>,
) -> Result<Verified<PckCertificate>, Error> {
    verify_pck(pck.clone(), &[], issuers, root_crl, pck_crl, now())
}

fn reason(result: Result<Verified<PckCertificate>, Error>) -> &'static str {
    result.expect_err("refused").reason()
}

#[test]
fn a_genuine_certificate_and_what_is_known_about_it() {
    let pki = Pki::new();
    let pck = genuine(&pki);
    let issuers = issuers(&pki);
    let judged = judge(&pck, &issuers, None, None).expect("verifies");
    assert_eq!(*judged, pck);
    assert_eq!(judged.tcbm().to_string(), TCBM);
    assert_eq!(judged.chain().certificates(), [&pki.platform, &pki.root]);
    assert_eq!(judged.revocation(), Revocation::Unchecked);
    assert_eq!(judged.pck_revocation(), PckRevocation::Unchecked);

    // The chain delivered instead of known, in any order; and neither.
    for delivered in [
        vec![pki.platform.clone()],
        vec![pki.root.clone(), pki.platform.clone()],
    ] {
        let judged = verify_pck(pck.clone(), &delivered, &pki.issuers(), None, None, now());
        let judged = judged.expect("verifies");
        assert_eq!(judged.chain().certificates(), [&pki.platform, &pki.root]);
    }
    assert_eq!(
        judge(&pck, &pki.issuers(), None, None),
        Err(Error::UnknownIssuer {
            wanted: PLATFORM.to_owned()
        })
    );

    let root_crl = list(ROOT, &pki.root_key, &issuers, &[]);
    let pck_crl = list(PLATFORM, &pki.platform_key, &issuers, &[]);
    let judged = judge(&pck, &issuers, Some(&root_crl), Some(&pck_crl)).expect("verifies");
    assert_eq!(
        judged.revocation(),
        Revocation::Checked {
            root_crl_this_update: root_crl.issued()
        }
    );
    assert_eq!(
        judged.pck_revocation(),
        PckRevocation::Checked {
            pck_crl_this_update: pck_crl.issued()
        }
    );
}

#[test]
fn the_leaf_must_be_valid_now() {
    let pki = Pki::new();
    let issuers = issuers(&pki);
    let pck = genuine(&pki);
    let at_time = |now| verify_pck(pck.clone(), &[], &issuers, None, None, now);
    let not_before = at("2024-06-01T00:00:00Z");
    let not_after = at("2031-06-01T00:00:00Z");
    assert!(at_time(not_before).is_ok() && at_time(not_after).is_ok());
    let subject = pki::pck::PCK.to_owned();
    let (early, late) = (not_before.plus_secs(-1), not_after.plus_secs(1));
    assert_eq!(
        at_time(early),
        Err(Error::NotYetValid {
            subject: subject.clone(),
            now: early,
            not_before
        })
    );
    assert_eq!(
        at_time(late),
        Err(Error::Expired {
            subject,
            now: late,
            not_after
        })
    );
    // A forgery does not pass for an expired certificate.
    let forged = with_profile(&leaf_profile(), PLATFORM, &key());
    assert_eq!(
        reason(verify_pck(forged, &[], &issuers, None, None, late)),
        "signature-invalid"
    );
}

#[test]
fn the_chain_is_that_of_the_time_the_leaf_was_made() {
    let pki = Pki::new();
    let pck = genuine(&pki);
    let reissue = |from: Day, to: Day, serial: &[u8]| {
        let profile = Profile {
            from,
            to,
            serial,
            ..profile(PLATFORM, true)
        };
        issued(&profile, &pki.platform_key, ROOT, &pki.root_key)
    };
    // Ends before the leaf does and before now, as an authority may.
    let ended = reissue((2018, 5, 21), (2025, 5, 21), &[1]);
    let later = reissue((2025, 5, 6), (2033, 5, 21), &[2]);
    let mut issuers = pki.issuers();
    issuers.insert(later.clone()).expect("an issuer");
    assert_eq!(reason(judge(&pck, &issuers, None, None)), "not-yet-valid");
    issuers.insert(ended.clone()).expect("an issuer");
    let judged = judge(&pck, &issuers, None, None).expect("verifies");
    assert_eq!(judged.chain().issuer(), Some(&ended));
    assert!(judged.chain().holds_at(now()).is_err());
    let today = judged.chain().reissue_valid_at(&issuers, now());
    assert_eq!(today.expect("a re-issue").issuer(), Some(&later));
    let mut issuers = pki.issuers();
    let before = reissue((2018, 5, 21), (2024, 5, 31), &[3]);
    issuers.insert(before).expect("an issuer");
    assert_eq!(reason(judge(&pck, &issuers, None, None)), "expired");
}

#[test]
fn a_revoked_leaf() {
    let pki = Pki::new();
    let issuers = issuers(&pki);
    let pck = genuine(&pki);
    let serial = leaf_profile().serial.to_vec();
    assert_eq!(serial, [0x51, 1, 2]);
    let neighbours: [&[u8]; 4] = [&[0x51, 1], &[0x51, 1, 1], &[0x51, 1, 3], &[0x51, 1, 2, 0]];
    let clean = list(PLATFORM, &pki.platform_key, &issuers, &neighbours);
    assert!(judge(&pck, &issuers, None, Some(&clean)).is_ok());
    let revoking = list(PLATFORM, &pki.platform_key, &issuers, &[&serial]);
    let refused = judge(&pck, &issuers, None, Some(&revoking)).expect_err("revoked");
    assert_eq!(
        refused,
        Error::PckRevoked {
            serial: "510102".to_owned(),
            pck_crl_this_update: at("2026-03-01T00:00:00Z"),
        }
    );
    assert_eq!(refused.reason(), "pck-revoked");
    // The same serial number on the root's list is another certificate.
    let root_crl = list(ROOT, &pki.root_key, &issuers, &[&serial]);
    assert!(judge(&pck, &issuers, Some(&root_crl), None).is_ok());
}

#[test]
fn a_revoked_authority() {
    let pki = Pki::new();
    let issuers = issuers(&pki);
    let pck = genuine(&pki);
    let root_crl = list(ROOT, &pki.root_key, &issuers, &[pki.platform.serial()]);
    assert_eq!(
        judge(&pck, &issuers, Some(&root_crl), None),
        Err(Error::Revoked {
            serial: "010203".to_owned(),
            subject: PLATFORM.to_owned(),
            root_crl_this_update: root_crl.issued(),
        })
    );
    // A re-issue with the same key is no way around it.
    let newer = Profile {
        serial: &[9],
        from: (2021, 1, 1),
        ..profile(PLATFORM, true)
    };
    let newer = issued(&newer, &pki.platform_key, ROOT, &pki.root_key);
    let delivered = verify_pck(
        pck,
        std::slice::from_ref(&newer),
        &issuers,
        Some(&root_crl),
        None,
        now(),
    );
    assert_eq!(reason(delivered), "revoked");
}

#[test]
fn lists_of_others() {
    let pki = Pki::new();
    let processor_key = key();
    let processor = issued(
        &profile(PROCESSOR, true),
        &processor_key,
        ROOT,
        &pki.root_key,
    );
    let mut issuers = issuers(&pki);
    issuers.insert(processor).expect("the Processor CA");
    issuers.insert(pki.tcb.clone()).expect("the TCB signer");
    let pck = genuine(&pki);
    let of_platform = list(PLATFORM, &pki.platform_key, &issuers, &[]);
    let of_processor = list(PROCESSOR, &processor_key, &issuers, &[]);
    let of_root = list(ROOT, &pki.root_key, &issuers, &[]);
    let no_list = pki.signed("tcbInfo", TCB_INFO_V3);
    let no_list = parse(&no_list).and_then(|parsed| verify(parsed, &[], &issuers, None, now()));
    let no_list = no_list.expect("a TCB info");
    assert!(judge(&pck, &issuers, Some(&of_root), Some(&of_platform)).is_ok());
    for wrong in [&of_processor, &of_root, &no_list] {
        assert_eq!(reason(judge(&pck, &issuers, None, Some(wrong))), "format");
    }
    for wrong in [&of_platform, &no_list] {
        assert_eq!(reason(judge(&pck, &issuers, Some(wrong), None)), "format");
    }
    let by_processor = with_profile(&leaf_profile(), PROCESSOR, &processor_key);
    assert!(judge(&by_processor, &issuers, None, Some(&of_processor)).is_ok());
    assert_eq!(
        reason(judge(&by_processor, &issuers, None, Some(&of_platform))),
        "format"
    );
}

#[test]
fn lists_below_another_root_say_nothing() {
    let (pki, other) = (Pki::new(), Pki::new());
    let both = format!("{}{}", pki.root.to_pem(), other.root.to_pem());
    let mut issuers = Issuers::new(TrustAnchors::from_pem(both.as_bytes()).expect("two roots"));
    for platform in [&pki.platform, &other.platform] {
        issuers.insert(platform.clone()).expect("a Platform CA");
    }
    let serial = leaf_profile().serial;
    let pck = genuine(&pki);
    let pck_crl = list(PLATFORM, &other.platform_key, &issuers, &[serial]);
    let root_crl = list(ROOT, &other.root_key, &issuers, &[pki.platform.serial()]);
    let judged = judge(&pck, &issuers, Some(&root_crl), Some(&pck_crl)).expect("verifies");
    assert_eq!(judged.revocation(), Revocation::Unchecked);
    assert_eq!(judged.pck_revocation(), PckRevocation::Unchecked);
    // What they do revoke, they revoke.
    let of_other = genuine(&other);
    assert_eq!(
        reason(judge(&of_other, &issuers, None, Some(&pck_crl))),
        "pck-revoked"
    );
}

#[test]
fn a_list_of_an_authority_with_the_same_common_name_only() {
    let pki = Pki::new();
    let namesake_key = key();
    let mut namesake_params = pki::params(&profile(PLATFORM, true));
    namesake_params.distinguished_name = DistinguishedName::new();
    namesake_params
        .distinguished_name
        .push(DnType::CommonName, PLATFORM);
    namesake_params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root_params = pki::params(&profile(ROOT, true));
    let namesake = namesake_params
        .signed_by(
            &namesake_key,
            &Issuer::from_params(&root_params, &pki.root_key),
        )
        .expect("a certificate");
    let namesake = Certificate::from_der(namesake.der()).expect("a certificate");
    let mut issuers = issuers(&pki);
    issuers.insert(namesake).expect("by the root's word");
    let der = pki::crl_of(
        &namesake_params,
        &namesake_key,
        (2026, 3, 1),
        (2026, 3, 31),
        1,
        &[],
    );
    let list = verify(parse(&der).expect("a list"), &[], &issuers, None, now());
    let list = list.expect("a genuine list");
    let pck = genuine(&pki);
    assert_eq!(reason(judge(&pck, &issuers, None, Some(&list))), "format");
}

#[test]
fn impostors() {
    let (pki, impostor) = (Pki::new(), Pki::new());
    let issuers = issuers(&pki);
    let forged = genuine(&impostor);
    let chain = [impostor.platform.clone(), impostor.root.clone()];
    let with = |delivered: &[Certificate], issuers: &Issuers| {
        verify_pck(forged.clone(), delivered, issuers, None, None, now())
    };
    let untrusted = Err(Error::UntrustedRoot {
        found_spki: impostor.root.spki_digest(),
    });
    // Its whole hierarchy has the genuine names.
    assert_eq!(with(&chain, &issuers), untrusted);
    assert_eq!(with(&chain, &pki.issuers()), untrusted);
    assert_eq!(reason(with(&chain[..1], &issuers)), "signature-invalid");
    assert_eq!(reason(with(&[], &issuers)), "signature-invalid");
    assert_eq!(reason(with(&[], &pki.issuers())), "unknown-issuer");
    assert!(with(&chain, &impostor.issuers()).is_ok());
    // The genuine leaf with the impostor's chain beside it is still genuine.
    let pck = genuine(&pki);
    let judged = verify_pck(pck.clone(), &chain, &issuers, None, None, now()).expect("verifies");
    assert_eq!(judged.chain().certificates(), [&pki.platform, &pki.root]);

    // The right key under the other authority's name, and the other way round.
    let processor = issued(&profile(PROCESSOR, true), &key(), ROOT, &pki.root_key);
    let mut issuers = issuers;
    issuers.insert(processor).expect("the Processor CA");
    let crossed = with_profile(&leaf_profile(), PROCESSOR, &pki.platform_key);
    assert_eq!(
        reason(judge(&crossed, &issuers, None, None)),
        "signature-invalid"
    );
    // Signed by the root itself, or by the TCB signer's key: neither is a PCK authority.
    for key in [&pki.root_key, &pki.tcb_key] {
        let wrong = with_profile(&leaf_profile(), PLATFORM, key);
        assert_eq!(
            reason(judge(&wrong, &issuers, None, None)),
            "signature-invalid"
        );
    }
}

#[test]
fn an_authority_needs_the_right_to_sign_certificates() {
    let pki = Pki::new();
    let pck = genuine(&pki);
    let with_usages = |usages: &'static [KeyUsagePurpose]| {
        let profile = Profile {
            usages,
            ..profile(PLATFORM, true)
        };
        let platform = issued(&profile, &pki.platform_key, ROOT, &pki.root_key);
        verify_pck(pck.clone(), &[platform], &pki.issuers(), None, None, now())
    };
    assert!(with_usages(&[KeyUsagePurpose::KeyCertSign]).is_ok());
    assert!(with_usages(&[]).is_ok());
    assert_eq!(
        reason(with_usages(&[KeyUsagePurpose::CrlSign])),
        "unknown-issuer"
    );
}

#[test]
fn one_bit_of_a_leaf() {
    let pki = Pki::new();
    let issuers = issuers(&pki);
    let der = leaf(CPU_SVN, PCE_SVN, PLATFORM, &pki.platform_key);
    for at in 0..der.len() {
        let mut flipped = der.clone();
        flipped[at] ^= 1;
        let result = PckCertificate::from_der(&flipped)
            .and_then(|pck| verify_pck(pck, &[], &issuers, None, None, now()));
        assert!(result.is_err(), "byte {at}");
    }
}

//! PCK certificates: the SGX extension in every form it may and may not have, and who may have issued them.

mod pki;

use data_encoding::HEXLOWER;
use pki::pck::{
    BOOLEAN, CPU_SVN, ENUMERATED, FMSPC, INSTANCE_ID, INTEGER, OCTETS, PCE_SVN, PCK, PPID,
    SEQUENCE, SGX_OID, TCBM, configuration, der, integer, item, items, items_with, leaf_profile,
    leaf_with, sequence, tcb_items,
};
use pki::{PLATFORM, PROCESSOR, Profile, ROOT, TCB_SIGNING, at, key};
use rcgen::{CustomExtension, Issuer};
use thim_verify::{
    Error, Fmspc, PceId, PckCa, PckCertificate, PckConfiguration, PlatformInstanceId, Ppid, SgxType,
};

fn with_extension(extension: Vec<u8>) -> Result<PckCertificate, Error> {
    PckCertificate::from_der(&leaf_with(
        &leaf_profile(),
        Some(extension),
        PLATFORM,
        &key(),
    ))
}

fn with_items(items: &[Vec<u8>]) -> Result<PckCertificate, Error> {
    with_extension(sequence(items))
}

fn with_tcb(tcb: &[Vec<u8>]) -> Result<PckCertificate, Error> {
    with_items(&items_with(tcb))
}

/// The genuine items with one of them replaced.
fn replaced(at: usize, with: Vec<u8>) -> Vec<Vec<u8>> {
    let mut items = items();
    items[at] = with;
    items
}

/// The genuine TCB with one item replaced.
fn replaced_in_tcb(at: usize, with: Vec<u8>) -> Vec<Vec<u8>> {
    let mut tcb = tcb_items(CPU_SVN, PCE_SVN);
    tcb[at] = with;
    tcb
}

fn refused(result: Result<PckCertificate, Error>, case: &str) {
    match result {
        Err(Error::Format { what, why }) => {
            assert_eq!(what, "PCK certificate", "{case}: {why}");
            for secret in [PPID, INSTANCE_ID] {
                assert!(
                    !why.to_lowercase().contains(&HEXLOWER.encode(&secret)),
                    "{case}"
                );
            }
        }
        other => panic!("{case}: {other:?}"),
    }
}

#[test]
fn what_a_certificate_says() {
    let pck = with_items(&items()).expect("a PCK certificate");
    assert_eq!(pck.ca(), PckCa::Platform);
    assert_eq!(pck.ppid(), &Ppid(PPID));
    assert_eq!(pck.tcbm().to_string(), TCBM);
    assert_eq!(pck.components(), CPU_SVN);
    assert_eq!(pck.pce_id(), PceId([0, 0]));
    assert_eq!(pck.fmspc(), Fmspc(FMSPC));
    assert_eq!(pck.sgx_type(), SgxType::Scalable);
    assert_eq!(
        pck.platform_instance_id(),
        Some(&PlatformInstanceId(INSTANCE_ID))
    );
    assert_eq!(
        pck.configuration(),
        Some(PckConfiguration {
            dynamic_platform: Some(true),
            cached_keys: Some(false),
            smt_enabled: Some(true),
        })
    );
    assert_eq!(pck.certificate().not_before(), at("2024-06-01T00:00:00Z"));
    assert_eq!(
        PckCertificate::from_certificate(pck.certificate().clone()),
        Ok(pck)
    );
}

#[test]
fn the_platform_is_never_shown() {
    let pck = with_items(&items()).expect("a PCK certificate");
    let shown = format!(
        "{pck:?} {:#?} {:?} {:?} {:?}",
        Some(&pck),
        pck.ppid(),
        pck.platform_instance_id(),
        pck.certificate()
    );
    assert!(shown.contains("Ppid(..)") && shown.contains("PlatformInstanceId(..)"));
    for secret in [PPID, INSTANCE_ID] {
        assert!(!shown.to_lowercase().contains(&HEXLOWER.encode(&secret)));
        // Nor as a list of numbers.
        assert!(!shown.contains(&format!("{0}, {0}", secret[0])));
    }
}

#[test]
fn items_are_found_by_their_oid_in_any_order() {
    let expected = with_items(&items()).expect("a PCK certificate");
    let mut tcb = tcb_items(CPU_SVN, PCE_SVN);
    let mut mixed = items();
    for _ in 0..7 {
        tcb.rotate_left(5);
        mixed.rotate_left(1);
        let mut all = mixed.clone();
        all.retain(|one| *one != items()[1]);
        all.insert(3, item(&[2], sequence(&tcb)));
        all.reverse();
        let pck = with_items(&all).expect("in another order");
        assert_eq!(pck.tcbm(), expected.tcbm());
        assert_eq!(pck.components(), expected.components());
        assert_eq!(pck.ppid(), expected.ppid());
        assert_eq!(pck.configuration(), expected.configuration());
    }
}

#[test]
fn what_only_some_certificates_have_is_optional() {
    let mandatory = items_with(&tcb_items(CPU_SVN, PCE_SVN));
    let pck = with_items(&mandatory).expect("without the Platform CA's own items");
    assert_eq!(
        (pck.platform_instance_id(), pck.configuration()),
        (None, None)
    );

    let flag = |number, value| item(&[7, number], der(BOOLEAN, &[value]));
    for (flags, expected) in [
        (vec![], (None, None, None)),
        (vec![flag(3, 0)], (None, None, Some(false))),
        (
            vec![flag(2, 0xff), flag(1, 0)],
            (Some(false), Some(true), None),
        ),
        // A flag of later years.
        (vec![flag(4, 0xff)], (None, None, None)),
    ] {
        let pck = with_items(&replaced(6, configuration(&flags))).expect("a configuration");
        let (dynamic_platform, cached_keys, smt_enabled) = expected;
        let expected = PckConfiguration {
            dynamic_platform,
            cached_keys,
            smt_enabled,
        };
        assert_eq!(pck.configuration(), Some(expected));
    }
    // Items that we do not know: of Intel's arc, of another, deeper than ours, twice, in the TCB.
    let mut more = items();
    let name = sequence(&[der(pki::pck::OID, &[0x55, 4, 3]), integer(1)]);
    more.extend([
        item(&[8], integer(1)),
        item(&[8], integer(1)),
        item(&[1, 1], integer(1)),
        item(&[0], integer(1)),
        item(&[], integer(1)),
        name,
    ]);
    let mut tcb = tcb_items(CPU_SVN, PCE_SVN);
    tcb.push(item(&[2, 19], integer(1)));
    more[1] = item(&[2], sequence(&tcb));
    assert_eq!(
        with_items(&more).map(|pck| pck.tcbm().to_string()),
        Ok(TCBM.to_owned())
    );
    // CPUSVN and the components are two things.
    let differ = replaced_in_tcb(0, item(&[2, 1], integer(12)));
    let pck = with_tcb(&differ).expect("components of their own");
    assert_eq!(pck.tcbm().to_string(), TCBM);
    assert_eq!(pck.components()[..2], [12, 11]);
}

#[test]
fn a_missing_item_is_refused() {
    for at in 0..5 {
        let mut fewer = items();
        fewer.remove(at);
        refused(with_items(&fewer), &format!("item {at}"));
    }
    for at in 0..18 {
        let mut fewer = tcb_items(CPU_SVN, PCE_SVN);
        fewer.remove(at);
        refused(with_tcb(&fewer), &format!("TCB item {at}"));
    }
    refused(with_items(&[]), "nothing");
}

#[test]
fn an_item_that_stands_twice_is_refused() {
    for at in 0..7 {
        let mut more = items();
        more.push(more[at].clone());
        refused(with_items(&more), &format!("item {at}"));
    }
    // Among them a 17th component version.
    for at in 0..18 {
        let mut more = tcb_items(CPU_SVN, PCE_SVN);
        more.push(more[at].clone());
        refused(with_tcb(&more), &format!("TCB item {at}"));
    }
    let flag = item(&[7, 1], der(BOOLEAN, &[0xff]));
    refused(
        with_items(&replaced(6, configuration(&[flag.clone(), flag]))),
        "a flag",
    );
}

#[test]
fn lengths_are_exact() {
    for (at, arc, right) in [(0, 1, 16), (2, 3, 2), (3, 4, 6), (5, 6, 16)] {
        let octets =
            |length: usize| with_items(&replaced(at, item(&[arc], der(OCTETS, &vec![7; length]))));
        assert!(octets(right).is_ok(), "{arc}");
        for wrong in [0, right - 1, right + 1] {
            refused(octets(wrong), &format!("{wrong} bytes of .{arc}"));
        }
    }
    let cpu_svn = |length: usize| {
        with_tcb(&replaced_in_tcb(
            17,
            item(&[2, 18], der(OCTETS, &vec![7; length])),
        ))
    };
    assert!(cpu_svn(16).is_ok());
    for wrong in [0, 15, 17] {
        refused(cpu_svn(wrong), &format!("CPUSVN of {wrong} bytes"));
    }
}

#[test]
fn numbers_have_a_range() {
    for (at, arc, largest) in [(0, 1, 0xff), (15, 16, 0xff), (16, 17, 0xffff)] {
        let number = |value| with_tcb(&replaced_in_tcb(at, item(&[2, arc], value)));
        assert!(number(integer(0)).is_ok());
        let most = number(integer(largest)).expect("the largest");
        match arc {
            17 => assert_eq!(most.tcbm().pce_svn.0, 0xffff),
            _ => assert_eq!(most.components()[at], 0xff),
        }
        for (case, value) in [
            ("too large", integer(largest + 1)),
            ("negative", der(INTEGER, &[0xff])),
            ("not minimal", der(INTEGER, &[0, 1])),
            ("empty", der(INTEGER, &[])),
            ("octets", der(OCTETS, &[1])),
        ] {
            refused(number(value), &format!("{case} at {arc}"));
        }
    }
    let sgx_type = |value| with_items(&replaced(4, item(&[5], value)));
    for (value, expected) in [
        (0, SgxType::Standard),
        (1, SgxType::Scalable),
        (2, SgxType::ScalableWithIntegrity),
    ] {
        let pck = sgx_type(der(ENUMERATED, &[value])).expect("a type");
        assert_eq!(pck.sgx_type(), expected);
    }
    for value in [
        der(ENUMERATED, &[3]),
        der(ENUMERATED, &[0xff]),
        der(ENUMERATED, &[]),
        der(ENUMERATED, &[0, 1]),
        integer(1),
    ] {
        refused(sgx_type(value.clone()), &format!("SGX type {value:x?}"));
    }
}

#[test]
fn flags_are_booleans_of_der() {
    for number in 1..=3 {
        for value in [
            der(BOOLEAN, &[1]),
            der(BOOLEAN, &[0xfe]),
            der(BOOLEAN, &[]),
            der(BOOLEAN, &[0, 0]),
            integer(1),
            der(ENUMERATED, &[0]),
        ] {
            let case = format!("flag {number} {value:x?}");
            let flag = item(&[7, number], value);
            refused(with_items(&replaced(6, configuration(&[flag]))), &case);
        }
    }
    refused(
        with_items(&replaced(6, item(&[7], der(BOOLEAN, &[0xff])))),
        "a flag alone",
    );
}

#[test]
fn values_have_their_type_and_nothing_follows() {
    for (at, arc) in [(0, 1), (1, 2), (2, 3), (3, 4), (5, 6)] {
        let mut value = items()[at].clone();
        // The value of an item of less than 128 bytes starts after both headers and the OID of 12 octets.
        let tag = if arc == 2 { 8 + 12 } else { 2 + 12 };
        assert!([OCTETS, SEQUENCE].contains(&value[tag]), "{arc}");
        value[tag] = if arc == 2 { 0x31 } else { 0x0c };
        refused(
            with_items(&replaced(at, value)),
            &format!("another tag at {arc}"),
        );
    }
    let genuine = sequence(&items());
    assert!(with_extension(genuine.clone()).is_ok());
    refused(
        with_extension([genuine.as_slice(), &[0]].concat()),
        "a byte more",
    );
    refused(
        with_extension(genuine[..genuine.len() - 1].to_vec()),
        "a byte less",
    );
    refused(with_extension(Vec::new()), "empty");
    refused(with_extension(der(OCTETS, &genuine)), "wrapped");
    let mut set = genuine;
    set[0] = 0x31;
    refused(with_extension(set), "a set");
    let oid = der(
        pki::pck::OID,
        &[0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 1, 13, 1, 9],
    );
    for (case, odd) in [
        (
            "an item without a value",
            sequence(std::slice::from_ref(&oid)),
        ),
        (
            "an item of three",
            sequence(&[oid.clone(), integer(1), integer(1)]),
        ),
        (
            "an item without an OID",
            sequence(&[integer(1), integer(1)]),
        ),
        ("no item", integer(1)),
    ] {
        let mut more = items();
        more.push(odd);
        refused(with_items(&more), case);
    }
}

#[test]
fn names_and_roles() {
    let extension = || Some(sequence(&items()));
    let issued_as = |profile: &Profile<'_>, issuer: &str| {
        PckCertificate::from_der(&leaf_with(profile, extension(), issuer, &key()))
    };
    for (issuer, ca) in [(PLATFORM, PckCa::Platform), (PROCESSOR, PckCa::Processor)] {
        assert_eq!(
            issued_as(&leaf_profile(), issuer).map(|pck| pck.ca()),
            Ok(ca)
        );
    }
    let reason = |result: Result<PckCertificate, Error>| result.expect_err("refused").reason();
    for issuer in [
        ROOT,
        TCB_SIGNING,
        "Intel SGX PCK Platform CA 2",
        "Intel SGX PCK platform CA",
        "Platform",
        "",
    ] {
        assert_eq!(reason(issued_as(&leaf_profile(), issuer)), "wrong-issuer");
    }
    let named = |cn| Profile {
        cn,
        ..leaf_profile()
    };
    for cn in ["Intel SGX PCK Certificate 2", PLATFORM, ""] {
        assert_eq!(reason(issued_as(&named(cn), PLATFORM)), "wrong-issuer");
    }
    let authority = Profile {
        ca: true,
        ..named(PCK)
    };
    assert_eq!(reason(issued_as(&authority, PLATFORM)), "wrong-issuer");
    // Critical or not, the extension is understood; certificates.rs refuses the critical ones that are not.
    let mut params = pki::params(&leaf_profile());
    let mut critical = CustomExtension::from_oid_content(SGX_OID, sequence(&items()));
    critical.set_criticality(true);
    params.custom_extensions = vec![critical];
    let issuer = pki::params(&pki::profile(PLATFORM, true));
    let der = params.signed_by(&key(), &Issuer::from_params(&issuer, key()));
    let pck = PckCertificate::from_der(der.expect("a certificate").der());
    assert_eq!(pck.map(|pck| pck.ca()), Ok(PckCa::Platform));
    let none = leaf_with(&leaf_profile(), None, PLATFORM, &key());
    refused(PckCertificate::from_der(&none), "no extension");
    assert_eq!(
        PckCertificate::from_der(&[0x30, 0]).map_err(|error| error.reason()),
        Err("format")
    );
}

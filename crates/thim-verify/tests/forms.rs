//! What the parsers take, and beside each thing its nearest miss.

mod pki;

use data_encoding::{BASE64, HEXLOWER, HEXUPPER};
use pki::{
    IDENTITY, NUMBERS, PLATFORM, Pki, ROOT, TCB_INFO_V3, envelope, tcb_info_tdx, tcb_info_v2,
};
use thim_verify::{
    ArtefactKey, Content, Enclave, Error, Fmspc, PceId, PckCa, SignedMember, TcbStatus, Tee,
    compacted, parse, parse_detached,
};

fn sig() -> String {
    "5a".repeat(64)
}

fn reason(document: impl AsRef<[u8]>) -> &'static str {
    match parse(document.as_ref()) {
        Ok(parsed) => panic!("parsed as {}", parsed.key()),
        Err(error) => error.reason(),
    }
}

fn wrap(inner: &str) -> Vec<u8> {
    envelope("tcbInfo", inner, &sig()).into_bytes()
}

/// Each edit of a document that parses makes one that does not.
fn refused(member: &str, inner: &str, edits: &[(&str, &str)]) {
    assert!(
        parse(envelope(member, inner, &sig()).as_bytes()).is_ok(),
        "{inner}"
    );
    for (from, to) in edits {
        assert!(inner.contains(from), "{from}");
        let edited = inner.replacen(from, to, 1);
        let result = parse(envelope(member, &edited, &sig()).as_bytes());
        assert!(result.is_err(), "{from} -> {to}: {result:?}");
    }
}

#[test]
fn tcb_info_of_version_3() {
    let parsed = parse(&wrap(TCB_INFO_V3)).expect("parses");
    assert_eq!(
        parsed.key().to_string(),
        "intel/tcb-info/sgx/v3/00606A000000/18"
    );
    let Content::TcbInfo(info) = parsed.unverified().content() else {
        panic!("a TCB info")
    };
    assert_eq!((info.tee, info.version, info.tcb_type), (Tee::Sgx, 3, 0));
    assert_eq!(
        (info.fmspc, info.pce_id),
        (Fmspc([0, 0x60, 0x6a, 0, 0, 0]), PceId([0, 0]))
    );
    let level = &info.levels[0];
    assert_eq!((level.pce_svn, level.status), (11, TcbStatus::UpToDate));
    assert_eq!(
        level.sgx_components[0].kind.as_deref(),
        Some("Early Microcode Update")
    );
    assert_eq!(level.sgx_components[1].svn, 255);
    assert_eq!(level.advisory_ids, ["INTEL-SA-00001"]);
    assert!(level.tdx_components.is_none() && info.tdx_module.is_none());
}

#[test]
fn tcb_info_near_misses() {
    refused(
        "tcbInfo",
        TCB_INFO_V3,
        &[
            ("\"id\":\"SGX\"", "\"id\":\"TDX\""),
            ("\"id\":\"SGX\"", "\"id\":\"sgx\""),
            ("\"id\":\"SGX\",", ""),
            ("\"id\":\"SGX\"", "\"id\":[\"SGX\"]"),
            ("\"version\":3", "\"version\":2"),
            ("\"version\":3", "\"version\":4"),
            ("\"version\":3", "\"version\":\"3\""),
            ("\"version\":3", "\"version\":3.0"),
            (
                "\"version\":3",
                "\"version\":10000000000000000000000000000000000",
            ),
            ("\"version\":3", "\"version\":3,\"version\":3"),
            ("\"version\":3,", ""),
            ("00606a000000", "00606a00000"),
            ("00606a000000", "00606a0000000"),
            ("00606a000000", "00606g000000"),
            ("\"pceId\":\"0000\"", "\"pceId\":\"000\""),
            ("\"tcbType\":0", "\"tcbType\":1"),
            ("\"tcbType\":0", "\"tcbType\":-0"),
            ("Number\":18", "Number\":-18"),
            ("Number\":18", "Number\":4294967296"),
            ("Number\":18", "Number\":018"),
            ("2026-03-01T00:00:00Z", "2026-03-01"),
            ("2026-03-01T00:00:00Z", "2026-03-31T00:00:00Z"),
            ("2026-03-31T00:00:00Z", "2018-16-06T10:12:17.085Z"),
            ("\"svn\":255", "\"svn\":256"),
            ("\"svn\":255", "\"svn\":1,\"svn\":1"),
            ("{\"svn\":255},", ""),
            ("{\"svn\":255}", "{\"svn\":255},{\"svn\":1}"),
            ("{\"svn\":255}", "[255]"),
            ("{\"svn\":255}", "{}"),
            ("\"category\":\"BIOS\"", "\"category\":null"),
            ("\"category\":\"BIOS\"", "\"category\":1"),
            ("\"pcesvn\":11", "\"pcesvn\":65536"),
            ("\"pcesvn\":11", "\"pcesvn\":11,\"pcesvn\":11"),
            ("\"pcesvn\":11", "\"pceSvn\":11"),
            ("\"pcesvn\":11", "\"pcesvn\":11,\"sgxtcbcomp01svn\":1"),
            ("UpToDate", "uptodate"),
            ("UpToDate", "TDRelaunchAdvised"),
            (
                "\"advisoryIDs\":[\"INTEL-SA-00001\"]",
                "\"advisoryIDs\":\"INTEL-SA-00001\"",
            ),
            (
                "\"advisoryIDs\":[\"INTEL-SA-00001\"]",
                "\"advisoryIDs\":[\"a\"],\"advisoryIDs\":[\"a\"]",
            ),
            ("\"tcbLevels\":[", "\"tcbLevels\":[],\"more\":["),
            ("\"tcbLevels\":[", "\"tcbLevels\":[1,"),
        ],
    );
    // What Intel may add within a version is left alone.
    let extended = TCB_INFO_V3.replacen("\"tcbType\"", "\"new\":{\"a\":[1,\"x\"]},\"tcbType\"", 1);
    assert!(parse(&wrap(&extended)).is_ok());
}

#[test]
fn lists_are_bounded() {
    let level_at = TCB_INFO_V3.find("{\"tcb\":").expect("a level");
    let (head, level) = TCB_INFO_V3.split_at(level_at);
    let level = level.strip_suffix("]}").expect("the end");
    let of = |levels: usize| format!("{head}{}]}}", vec![level; levels].join(","));
    assert!(parse(&wrap(&of(256))).is_ok());
    assert_eq!(reason(wrap(&of(257))), "format");
    let advised =
        |n: usize| TCB_INFO_V3.replacen("\"INTEL-SA-00001\"", &vec!["\"A\""; n].join(","), 1);
    assert!(parse(&wrap(&advised(256))).is_ok());
    assert_eq!(reason(wrap(&advised(257))), "format");
}

#[test]
fn tcb_info_of_version_2_is_sgx_and_has_flat_keys() {
    let v2 = tcb_info_v2();
    let parsed = parse(&wrap(&v2)).expect("parses");
    assert_eq!(
        parsed.key().to_string(),
        "intel/tcb-info/sgx/v2/00906EA10000/12"
    );
    let Content::TcbInfo(info) = parsed.unverified().content() else {
        panic!("a TCB info")
    };
    let svns: Vec<u8> = info.levels[0]
        .sgx_components
        .iter()
        .map(|one| one.svn)
        .collect();
    assert_eq!(svns, (1..=16).collect::<Vec<u8>>());
    // 150 days, as Intel once signed: no length of validity is assumed.
    assert_eq!(parsed.next_update().since(parsed.issued()), 150 * 86_400);
    refused(
        "tcbInfo",
        &v2,
        &[
            ("\"version\":2", "\"version\":2,\"id\":\"TDX\""),
            ("\"version\":2", "\"version\":2,\"id\":\"SGX\""),
            ("\"version\":2", "\"version\":3,\"id\":\"SGX\""),
            ("\"sgxtcbcomp16svn\":16,", ""),
            (
                "\"sgxtcbcomp16svn\":16",
                "\"sgxtcbcomp16svn\":16,\"sgxtcbcomp16svn\":16",
            ),
            ("\"sgxtcbcomp16svn\":16", "\"sgxtcbcomp17svn\":16"),
            ("\"sgxtcbcomp16svn\":16", "\"sgxtcbcomp00svn\":16"),
            ("\"sgxtcbcomp16svn\":16", "\"sgxtcbcomp16svn\":256"),
        ],
    );
}

#[test]
fn version_1_is_told_from_garbage() {
    let v1 = r#"{"version":1,"issueDate":"2018-06-06T10:12:17.085Z","fmspc":"00906EA10000","tcbLevels":[]}"#;
    assert_eq!(
        parse(&wrap(v1)),
        Err(Error::Unsupported {
            what: "TCB info version 1".to_owned()
        })
    );
    for (member, inner) in [
        ("enclaveIdentity", IDENTITY),
        ("tcbEvaluationDataNumbers", NUMBERS),
    ] {
        let next = inner.replacen("\"version\":", "\"version\":7", 1);
        assert_eq!(
            reason(envelope(member, &next, &sig())),
            "unsupported",
            "{member}"
        );
    }
}

#[test]
fn tcb_info_of_tdx() {
    let tdx = tcb_info_tdx();
    let parsed = parse(&wrap(&tdx)).expect("parses");
    assert_eq!(
        parsed.key().to_string(),
        "intel/tcb-info/tdx/v3/00606A000000/18"
    );
    let Content::TcbInfo(info) = parsed.unverified().content() else {
        panic!("a TCB info")
    };
    assert_eq!(info.tdx_module_identities[0].major_version, 0x0a);
    assert_eq!(info.tdx_module_identities[0].levels[0].isv_svn, 6);
    assert_eq!(
        info.levels[0]
            .tdx_components
            .as_ref()
            .map(|tdx| tdx[15].svn),
        Some(5)
    );
    refused(
        "tcbInfo",
        &tdx,
        &[
            ("\"id\":\"TDX\"", "\"id\":\"SGX\""),
            ("\"tdxtcbcomponents\"", "\"tdxtcbcomponent\""),
            ("\"tdxModule\":", "\"tdxmodule\":"),
            ("TDX_0a", "TDX-0a"),
            ("TDX_0a", "TDX_0"),
            ("TDX_0a", "TDX_00a"),
            ("\"isvsvn\":6", "\"isvsvn\":65536"),
            ("{\"isvsvn\":6}", "[6]"),
            (
                "\"attributesMask\":\"FFFFFFFFFFFFFFFF\"",
                "\"attributesMask\":\"FFFFFFFFFFFFFFF\"",
            ),
        ],
    );
    // The list of modules may be absent; TDX of major version 0 has only tdxModule.
    let start = tdx.find("\"tdxModuleIdentities\"").expect("the list");
    let end = tdx
        .find("\"tcbLevels\":[{\"tcb\":{\"sgx")
        .expect("the levels");
    let without = format!("{}{}", &tdx[..start], &tdx[end..]);
    assert!(parse(&wrap(&without)).is_ok());
}

#[test]
fn enclave_identities() {
    for (id, enclave) in [
        ("QAE", Enclave::Qae),
        ("QE", Enclave::Qe),
        ("QVE", Enclave::Qve),
        ("TD_QE", Enclave::TdQe),
    ] {
        let inner = IDENTITY.replacen("TD_QE", id, 1);
        let parsed = parse(envelope("enclaveIdentity", &inner, &sig()).as_bytes()).expect(id);
        assert_eq!(
            parsed.key(),
            ArtefactKey::EnclaveIdentity {
                enclave,
                version: 2,
                number: 18
            }
        );
    }
    refused(
        "enclaveIdentity",
        IDENTITY,
        &[
            ("TD_QE", "TDQE"),
            ("TD_QE", "td_qe"),
            ("\"version\":2", "\"version\":1"),
            ("\"miscselect\":\"00000000\"", "\"miscselect\":\"0000000\""),
            ("\"miscselect\":\"00000000\"", "\"miscselect\":0"),
            ("\"isvprodid\":2", "\"isvprodid\":65536"),
            ("DC9E2A7C", "DC9E2A7"),
            ("\"mrsigner\"", "\"mrSigner\""),
            ("\"tcbLevels\":[", "\"tcbLevels\":[],\"more\":["),
            (
                "\"attributes\"",
                "\"attributes\":\"11000000000000000000000000000000\",\"attributes\"",
            ),
        ],
    );
}

#[test]
fn evaluation_numbers() {
    for name in ["tcbEvalNumbers", "tcbNumbers"] {
        let inner = NUMBERS.replacen("tcbEvalNumbers", name, 1);
        let parsed =
            parse(envelope("tcbEvaluationDataNumbers", &inner, &sig()).as_bytes()).expect(name);
        let Content::EvaluationNumbers(list) = parsed.unverified().content() else {
            panic!("a list")
        };
        assert_eq!((list.highest(), list.lowest()), (Some(19), Some(18)));
        for (now, standard) in [
            ("2025-11-11T23:59:59Z", None),
            ("2025-11-12T00:00:00Z", Some(18)),
            ("2026-05-12T23:59:59Z", Some(18)),
            ("2026-05-13T00:00:00Z", Some(19)),
        ] {
            assert_eq!(list.standard_at(pki::at(now)), standard, "{now}");
        }
    }
    let entry = &NUMBERS[NUMBERS.find('[').expect("a list")..NUMBERS.len() - 1];
    refused(
        "tcbEvaluationDataNumbers",
        NUMBERS,
        &[
            ("\"id\":\"TDX\"", "\"id\":\"QE\""),
            ("\"version\":1", "\"version\":2"),
            ("tcbEvalNumbers", "tcbEvalNumber"),
            (
                "\"tcbEvalNumbers\"",
                &format!("\"tcbNumbers\":{entry},\"tcbEvalNumbers\""),
            ),
            (
                "\"tcbEvalNumbers\"",
                &format!("\"tcbEvalNumbers\":{entry},\"tcbEvalNumbers\""),
            ),
            (entry, "[]"),
            (entry, "{}"),
            ("Number\":19", "Number\":18"),
            ("\"tcbDate\"", "\"tcbdate\""),
        ],
    );
}

#[test]
fn the_envelope() {
    let good = envelope("tcbInfo", TCB_INFO_V3, &sig());
    let spaced = format!(
        " \r\n{{ \"signature\" :\t\"{}\" ,\n \"tcbInfo\" : {TCB_INFO_V3} }}\n",
        sig()
    );
    let from_spaced = parse(spaced.as_bytes()).expect("white space and order do not matter");
    assert_eq!(from_spaced.unverified().document(), good.as_bytes());
    let parsed = parse(good.as_bytes()).expect("parses");
    assert_eq!(parsed, from_spaced);
    assert_eq!(parsed.unverified().document(), good.as_bytes());
    assert_eq!(parsed.unverified().signed(), TCB_INFO_V3.as_bytes());
    assert_eq!(parsed.unverified().signature_text(), Some(sig().as_str()));
    let upper = envelope("tcbInfo", TCB_INFO_V3, &sig().to_uppercase());
    assert_eq!(
        parse(upper.as_bytes())
            .expect("either case")
            .unverified()
            .document(),
        upper.as_bytes()
    );

    for bad in [
        String::new(),
        "{}".to_owned(),
        "[]".to_owned(),
        "null".to_owned(),
        format!("{good}x"),
        format!("{good}{good}"),
        format!("{good}\0"),
        format!("\u{feff}{good}"),
        format!("[{good}]"),
        good.replacen("tcbInfo", "TcbInfo", 1),
        good.replacen("tcbInfo", "tcb\\u0049nfo", 1),
        good.replacen("\"signature\"", "\"Signature\"", 1),
        good.replacen("\"signature\"", "\"extra\":1,\"signature\"", 1),
        good.replacen(
            "\"signature\"",
            &format!("\"signature\":\"{}\",\"signature\"", sig()),
            1,
        ),
        good.replacen(
            "\"signature\"",
            &format!("\"tcbInfo\":{TCB_INFO_V3},\"signature\""),
            1,
        ),
        good.replacen(
            "\"signature\"",
            &format!("\"enclaveIdentity\":{IDENTITY},\"signature\""),
            1,
        ),
        good.replacen(",\"signature\"", ",,\"signature\"", 1),
        good.replacen(&format!("\"{}\"", sig()), "null", 1),
        good.replacen(&format!("\"{}\"", sig()), &format!("\"{}\",", sig()), 1),
        format!("{{\"signature\":\"{}\"}}", sig()),
        format!("{{\"tcbInfo\":{TCB_INFO_V3}}}"),
        format!(
            "{{\"tcbInfo\":\"{}\",\"signature\":\"{}\"}}",
            TCB_INFO_V3.replace('"', "\\\""),
            sig()
        ),
        envelope("tcbInfo", "null", &sig()),
        envelope("tcbInfo", "[]", &sig()),
        envelope("tcbInfo", TCB_INFO_V3, &sig()[..126]),
        envelope("tcbInfo", TCB_INFO_V3, &format!("{}5a", sig())),
        envelope("tcbInfo", TCB_INFO_V3, &sig().replacen('5', "g", 1)),
        envelope("tcbInfo", TCB_INFO_V3, &sig().replacen("5a", "5\\u0061", 1)),
        TCB_INFO_V3.to_owned(),
    ] {
        assert_eq!(reason(&bad), "format", "{}", &bad[..bad.len().min(200)]);
    }
    // Another member's object: told by its version before its members are.
    assert_eq!(
        reason(good.replacen("tcbInfo", "enclaveIdentity", 1)),
        "unsupported"
    );
    let not_utf8 = [good.as_bytes(), b"\xff"].concat();
    assert_eq!(reason(not_utf8), "format");
    let inside = good.replacen("BIOS", "BI\u{1}S", 1);
    assert_eq!(reason(inside), "format");
    let mut bytes = good.replacen("INTEL-SA", "INTEL_SA", 1).into_bytes();
    if let Some(at) = bytes.iter().position(|byte| *byte == b'_') {
        bytes[at] = 0xff;
    }
    assert_eq!(reason(bytes), "format");
}

#[test]
fn every_truncation_is_refused() {
    let pki = Pki::new();
    let list = pki::crl(
        PLATFORM,
        &pki.platform_key,
        (2026, 1, 1),
        (2026, 2, 1),
        1,
        &[&[9]],
    );
    let pem = pem_of(&list);
    for document in [
        envelope("tcbInfo", &tcb_info_tdx(), &sig()).into_bytes(),
        envelope("tcbInfo", &tcb_info_v2(), &sig()).into_bytes(),
        envelope("enclaveIdentity", IDENTITY, &sig()).into_bytes(),
        envelope("tcbEvaluationDataNumbers", NUMBERS, &sig()).into_bytes(),
        HEXLOWER.encode(&list).into_bytes(),
        list,
    ] {
        assert!(parse(&document).is_ok());
        for end in 0..document.len() {
            assert!(
                parse(&document[..end]).is_err(),
                "{end} of {}",
                document.len()
            );
        }
    }
    for end in 0..pem.trim_end().len() {
        assert!(parse(&pem.as_bytes()[..end]).is_err(), "{end} of the PEM");
    }
    for end in 0..pki.tcb.der().len() {
        assert!(
            thim_verify::Certificate::from_der(&pki.tcb.der()[..end]).is_err(),
            "{end}"
        );
    }
}

#[test]
fn hostile_sizes_and_depths() {
    for deep in [
        "[",
        "{\"a\":",
        "{\"tcbInfo\":",
        "{\"tcbInfo\":{\"tcbLevels\":[",
    ] {
        assert_eq!(reason(deep.repeat(10_000)), "format", "{deep}");
    }
    let nested = TCB_INFO_V3.replacen(
        "\"tcbType\"",
        &format!("\"new\":{},\"tcbType\"", "[".repeat(10_000)),
        1,
    );
    assert_eq!(reason(wrap(&nested)), "format");
    assert_eq!(reason(vec![b' '; 1024 * 1024 + 1]), "format");
    let padded = [wrap(TCB_INFO_V3), vec![b' '; 1024 * 1024]].concat();
    assert_eq!(reason(padded), "too-large");
    assert_eq!(reason(vec![b'3'; 9 * 1024 * 1024]), "too-large");
    assert_eq!(reason(vec![0x30; 5 * 1024 * 1024]), "too-large");
    assert_eq!(reason(vec![0; 1000]), "format");
    // SEQUENCE headers that promise more than there is, and nest.
    assert_eq!(reason(b"\x30\x84\xff\xff\xff\xff"), "format");
    assert_eq!(reason(b"\x30\x80".repeat(10_000)), "format");
}

fn pem_of(der: &[u8]) -> String {
    format!(
        "-----BEGIN X509 CRL-----\n{}\n-----END X509 CRL-----\n",
        BASE64.encode(der)
    )
}

#[test]
fn revocation_lists_come_in_four_forms() {
    let pki = Pki::new();
    let high = [0x8f; 20];
    let der = pki::crl(
        PLATFORM,
        &pki.platform_key,
        (2026, 1, 1),
        (2026, 2, 1),
        1,
        &[&[7, 1], &high, &[1]],
    );
    let parsed = parse(&der).expect("DER");
    assert_eq!(
        parsed.key(),
        ArtefactKey::PckCrl {
            ca: PckCa::Platform
        }
    );
    assert_eq!(parsed.unverified().document(), &der);
    let Content::Crl(list) = parsed.unverified().content() else {
        panic!("a list")
    };
    assert!(list.revokes(&high) && list.revokes(&[7, 1]) && list.revokes(&[1]));
    assert!(!list.revokes(&[7]) && !list.revokes(&[]) && !list.revokes(&[0, 1]));
    assert_eq!(
        list.serials().collect::<Vec<_>>(),
        [[1].as_slice(), &[7, 1], &high]
    );
    assert_eq!(list.revoked()[0].reason, Some(1));
    assert_eq!(list.number.as_deref(), Some([1].as_slice()));

    let hex = HEXLOWER.encode(&der);
    for text in [
        hex.clone(),
        HEXUPPER.encode(&der),
        format!("\n{hex}\r\n"),
        pem_of(&der),
        format!(" \n{}", pem_of(&der)),
    ] {
        assert_eq!(parse(text.as_bytes()).as_ref(), Ok(&parsed), "{text}");
    }
    for bad in [
        format!("{hex}0"),
        format!("{hex}00"),
        format!("0x{hex}"),
        hex.replacen('3', "z", 1),
        format!("{} {}", &hex[..10], &hex[10..]),
        pem_of(&der).replace("X509 CRL", "CERTIFICATE"),
        pem_of(&der).repeat(2),
        pem_of(&der).replacen("END X509", "ENDX509", 1),
    ] {
        assert!(parse(bad.as_bytes()).is_err(), "{bad}");
    }
    assert!(
        parse(&[der.as_slice(), &[0]].concat()).is_err(),
        "a byte after the list"
    );
    assert!(
        parse(&[b"\n".as_slice(), der.as_slice()].concat()).is_err(),
        "a byte before the list"
    );
    assert!(compacted(&parsed).is_none());

    let root = parse(&pki::crl(
        ROOT,
        &pki.root_key,
        (2026, 1, 1),
        (2027, 1, 1),
        2,
        &[],
    ))
    .expect("a root's list");
    assert_eq!(root.key(), ArtefactKey::RootCrl);
    let other = pki::crl(
        "Intel SGX PCK Other CA",
        &pki.root_key,
        (2026, 1, 1),
        (2027, 1, 1),
        2,
        &[],
    );
    assert_eq!(reason(other), "wrong-issuer");
    let backwards = patch(&der, b"260201000000Z", b"260101000000Z");
    assert_eq!(reason(backwards), "format");
}

/// Replaces the first occurrence of some bytes by as many others.
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
fn revocation_list_near_misses() {
    let pki = Pki::new();
    let der = pki::crl(
        PLATFORM,
        &pki.platform_key,
        (2026, 1, 1),
        (2026, 2, 1),
        1,
        &[&[9, 9, 9]],
    );
    assert!(parse(&der).is_ok());
    // ecdsa-with-SHA256 becomes ecdsa-with-SHA384, inside only.
    let oid = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
    let mut sha384 = oid;
    sha384[7] = 3;
    let inside = patch(&der, &oid, &sha384);
    assert!(matches!(parse(&inside), Err(Error::Format { why, .. }) if why.contains("differ")));
    let both = patch(&inside, &oid, &sha384);
    assert_eq!(reason(both), "unsupported");
    // Version 1 and 3.
    for version in [0, 2] {
        assert_eq!(
            reason(patch(
                &der,
                &[0x02, 0x01, 0x01, 0x30],
                &[0x02, 0x01, version, 0x30]
            )),
            "unsupported"
        );
    }
    // The CRL number becomes a delta indicator, an issuing distribution point, or something unknown but harmless.
    let number = [0x55, 0x1d, 20];
    assert_eq!(
        reason(patch(&der, &number, &[0x55, 0x1d, 27])),
        "unsupported"
    );
    assert_eq!(
        reason(patch(&der, &number, &[0x55, 0x1d, 28])),
        "unsupported"
    );
    assert!(parse(&patch(&der, &number, &[0x55, 0x1d, 99])).is_ok());
    // Twice the same extension.
    assert_eq!(reason(patch(&der, &number, &[0x55, 0x1d, 35])), "format");
    // The reason code becomes certificateIssuer: an indirect list.
    let reason_code = [0x55, 0x1d, 21];
    assert_eq!(
        reason(patch(&der, &reason_code, &[0x55, 0x1d, 29])),
        "unsupported"
    );
    // removeFromCRL, and the code that RFC 5280 leaves unused.
    for code in [7, 8, 11] {
        assert_eq!(
            reason(patch(&der, &[0x0a, 0x01, 0x01], &[0x0a, 0x01, code])),
            "format"
        );
    }
    // A negative serial number, and one that is not minimal.
    assert_eq!(reason(patch(&der, &[9, 9, 9], &[0x89, 9, 9])), "format");
    assert_eq!(reason(patch(&der, &[9, 9, 9], &[0, 9, 9])), "format");
    // Not a date.
    assert_eq!(
        reason(patch(&der, b"260201000000Z", b"260231000000Z")),
        "format"
    );
}

#[test]
fn detached_objects_and_compaction() {
    let whole = parse(&wrap(TCB_INFO_V3)).expect("parses");
    let apart =
        parse_detached(SignedMember::TcbInfo, TCB_INFO_V3.as_bytes(), &sig()).expect("parses");
    assert_eq!(apart, whole);
    assert!(compacted(&apart).is_none());
    for (member, text, signature) in [
        (SignedMember::EnclaveIdentity, TCB_INFO_V3.to_owned(), sig()),
        (SignedMember::TcbInfo, format!(" {TCB_INFO_V3}"), sig()),
        (SignedMember::TcbInfo, format!("{TCB_INFO_V3} "), sig()),
        (
            SignedMember::TcbInfo,
            format!("{TCB_INFO_V3},\"x\":1"),
            sig(),
        ),
        (
            SignedMember::TcbInfo,
            TCB_INFO_V3.to_owned(),
            format!("{} ", sig()),
        ),
        (SignedMember::TcbInfo, wrap_text(), sig()),
    ] {
        assert!(
            parse_detached(member, text.as_bytes(), &signature).is_err(),
            "{text} {signature}"
        );
    }

    let dumped = TCB_INFO_V3
        .replace(',', ",\n    ")
        .replace("Early Microcode", "Early  Micro\\\" , code");
    let parsed = parse_detached(SignedMember::TcbInfo, dumped.as_bytes(), &sig()).expect("parses");
    let compact = compacted(&parsed).expect("there is white space");
    let expected = TCB_INFO_V3.replace("Early Microcode", "Early  Micro\\\" , code");
    assert_eq!(compact.unverified().signed(), expected.as_bytes());
    assert_ne!(compact.signed_digest(), parsed.signed_digest());
    for member in SignedMember::ALL {
        assert_eq!(SignedMember::from_name(member.name()), Some(member));
    }
    assert_eq!(SignedMember::from_name("tcbinfo"), None);
}

fn wrap_text() -> String {
    envelope("tcbInfo", TCB_INFO_V3, &sig())
}

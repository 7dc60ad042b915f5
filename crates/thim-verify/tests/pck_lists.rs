//! PCS's list of a platform's PCK certificates: both forms of `tcb`, both of `cert`, and what is wrong with a list or
//! with one of its entries.

mod pki;

use data_encoding::BASE64;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use pki::pck::{CPU_SVN, PCE_SVN, PPID, TCBM, leaf};
use pki::{PLATFORM, TCB_SIGNING, issued_der, key, profile};
use thim_verify::{Certificate, Error, Listed, PckCertificate, PckList, parse_pck_list};

fn pem(der: &[u8]) -> String {
    Certificate::from_der(der).expect("a certificate").to_pem()
}

fn genuine() -> Vec<u8> {
    leaf(CPU_SVN, PCE_SVN, PLATFORM, &key())
}

fn encoded(pem: &str) -> String {
    utf8_percent_encode(pem, NON_ALPHANUMERIC).to_string()
}

/// `{"sgxtcbcomp01svn":11,...,"pcesvn":13}`.
fn flat() -> String {
    let components: String = (1..)
        .zip(CPU_SVN)
        .map(|(number, svn)| format!("\"sgxtcbcomp{number:02}svn\":{svn},"))
        .collect();
    format!("{{{components}\"pcesvn\":{PCE_SVN}}}")
}

/// `{"sgxtcbcomponents":[{"svn":11,"category":"","type":""},...],"pcesvn":13}`.
fn nested() -> String {
    let components =
        CPU_SVN.map(|svn| format!("{{\"svn\":{svn},\"category\":\"\",\"type\":\"\"}}"));
    format!(
        "{{\"sgxtcbcomponents\":[{}],\"pcesvn\":{PCE_SVN}}}",
        components.join(",")
    )
}

fn entry(tcb: &str, tcbm: &str, cert: &str) -> String {
    let cert = serde_json::to_string(cert).expect("a string");
    format!("{{\"tcb\":{tcb},\"tcbm\":\"{tcbm}\",\"cert\":{cert}}}")
}

fn list(entries: &[String]) -> Result<PckList, Error> {
    parse_pck_list(format!("[{}]", entries.join(",")).as_bytes())
}

/// What the only entry of a list holds.
fn only(entry: String) -> Listed {
    let mut list = list(&[entry]).expect("a list").entries;
    assert_eq!(list.len(), 1);
    list.remove(0).listed
}

fn why(listed: Listed) -> Error {
    match listed {
        Listed::Unreadable(error) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn both_forms_of_both_members() {
    let der = genuine();
    let expected = PckCertificate::from_der(&der).expect("a PCK certificate");
    let pem = pem(&der);
    for tcb in [flat(), nested()] {
        // PCS encodes all but the unreserved characters, with digits in upper case; others are as good.
        for cert in [
            pem.clone(),
            encoded(&pem),
            pem.replace('\n', "%0a").replace(' ', "%20"),
        ] {
            for tcbm in [TCBM.to_owned(), TCBM.to_lowercase()] {
                let list = list(&[entry(&tcb, &tcbm, &cert)]).expect("a list");
                let [entry] = list.entries.as_slice() else {
                    panic!("one entry")
                };
                assert_eq!(entry.tcbm.to_string(), TCBM);
                assert_eq!(entry.listed, Listed::Certificate(expected.clone()));
            }
        }
    }
    assert_eq!(parse_pck_list(b" [ ] "), Ok(PckList { entries: vec![] }));
}

#[test]
fn not_available() {
    for cert in ["Not available", "not available", "NOT AVAILABLE"] {
        assert_eq!(only(entry(&flat(), TCBM, cert)), Listed::NotAvailable);
    }
    for cert in [
        "",
        "Not available ",
        "Notavailable",
        "N/A",
        "Not%20available",
        "null",
    ] {
        let error = why(only(entry(&flat(), TCBM, cert)));
        assert_eq!(error.reason(), "format", "{cert:?}");
    }
}

#[test]
fn one_bad_entry_spoils_itself_only() {
    let der = genuine();
    let pem = pem(&der);
    let other_tcbm = TCBM.replacen("0B", "0A", 1);
    let mut other = CPU_SVN;
    other[0] = 10;
    let other_pem = self::pem(&leaf(other, PCE_SVN, PLATFORM, &key()));
    let list = list(&[
        entry(&flat(), TCBM, &pem.replacen("MII", "MI!", 1)),
        entry(&flat(), &other_tcbm, &other_pem),
        entry(&flat(), &TCBM.replacen("0B0B", "0A0A", 1), "Not available"),
    ])
    .expect("a list");
    let [bad, good, none] = list.entries.as_slice() else {
        panic!("three entries")
    };
    assert!(matches!(
        bad.listed,
        Listed::Unreadable(Error::Format { .. })
    ));
    assert!(matches!(good.listed, Listed::Certificate(_)));
    assert_eq!(none.listed, Listed::NotAvailable);

    // The certificate of another TCB, though the entry's own is well-formed.
    for tcbm in [&other_tcbm, &TCBM.replace("0D00", "0C00")] {
        let tcb = flat().replace(
            "\"pcesvn\":13",
            &format!(
                "\"pcesvn\":{}",
                if tcbm.ends_with("0C00") { 12 } else { 13 }
            ),
        );
        let error = why(only(entry(&tcb, tcbm, &pem)));
        let Error::Format { why, .. } = &error else {
            panic!("{error:?}")
        };
        assert!(why.contains(TCBM) && why.contains(tcbm.as_str()), "{why}");
    }
    // Two certificates, none, one that is no PCK certificate, and text cut off.
    let two = format!("{pem}{pem}");
    let signer = self::pem(&issued_der(
        &profile(TCB_SIGNING, false),
        &key(),
        PLATFORM,
        &key(),
    ));
    let cut = &pem[..pem.len() - 30];
    for (cert, reason) in [
        (two.as_str(), "too-many"),
        ("-----BEGIN CERTIFICATE-----", "format"),
        (&signer, "wrong-issuer"),
        (cut, "format"),
        (&pem.replace("CERTIFICATE", "X509 CRL"), "format"),
        (&encoded(&encoded(&pem)), "format"),
    ] {
        assert_eq!(why(only(entry(&flat(), TCBM, cert))).reason(), reason);
    }
}

#[test]
fn tcb_must_agree_with_tcbm() {
    let pem = pem(&genuine());
    let both = format!("{},{}", &flat()[..flat().len() - 1], &nested()[1..]).replacen(
        ",\"pcesvn\":13",
        "",
        1,
    );
    for (case, tcb) in [
        ("another PCESVN", flat().replace(":13}", ":12}")),
        ("no PCESVN", flat().replace(",\"pcesvn\":13", "")),
        ("PCESVN out of range", flat().replace(":13}", ":65549}")),
        (
            "a component too few",
            flat().replace("\"sgxtcbcomp16svn\":0,", ""),
        ),
        (
            "a component out of range",
            flat().replace("svn\":255", "svn\":256"),
        ),
        (
            "fifteen components",
            nested().replacen("{\"svn\":11,\"category\":\"\",\"type\":\"\"},", "", 1),
        ),
        ("both forms", both),
        ("neither form", "{\"pcesvn\":13}".to_owned()),
        ("an empty object", "{}".to_owned()),
        ("no object", "13".to_owned()),
    ] {
        for cert in [pem.as_str(), "Not available"] {
            let error = why(only(entry(&tcb, TCBM, cert)));
            assert_eq!(error.reason(), "format", "{case}: {tcb}");
        }
    }
    // Components may differ from CPUSVN, and members may be added.
    for tcb in [
        flat().replace("\"sgxtcbcomp01svn\":11", "\"sgxtcbcomp01svn\":12"),
        flat().replace("{", "{\"new\":[],"),
    ] {
        assert!(matches!(
            only(entry(&tcb, TCBM, &pem)),
            Listed::Certificate(_)
        ));
    }
}

#[test]
fn the_second_entry_for_a_tcb_does_not_count() {
    let pem = pem(&genuine());
    for (first, second) in [
        ("Not available", pem.as_str()),
        (&pem, &pem),
        (&pem, "Not available"),
    ] {
        let list = list(&[
            entry(&flat(), TCBM, first),
            entry(&nested(), &TCBM.to_lowercase(), second),
        ])
        .expect("a list");
        assert!(!matches!(list.entries[0].listed, Listed::Unreadable(_)));
        assert_eq!(why(list.entries[1].listed.clone()).reason(), "format");
    }
}

#[test]
fn what_is_no_list() {
    let good = entry(&flat(), TCBM, "Not available");
    assert!(list(std::slice::from_ref(&good)).is_ok());
    let with_more = good.replacen('{', "{\"new\":{},", 1);
    assert!(list(&[with_more]).is_ok());
    for (case, body) in [
        ("nothing", String::new()),
        ("an object", good.clone()),
        ("text", "\"Not available\"".to_owned()),
        ("not ended", format!("[{good}")),
        ("a comma more", format!("[{good},]")),
        ("followed by text", format!("[{good}] x")),
        (
            "no tcb",
            format!("[{}]", good.replacen("\"tcb\"", "\"tcb2\"", 1)),
        ),
        (
            "no tcbm",
            format!("[{}]", good.replace("\"tcbm\"", "\"tcbm2\"")),
        ),
        (
            "no cert",
            format!("[{}]", good.replace("\"cert\"", "\"cert2\"")),
        ),
        (
            "null for cert",
            format!("[{}]", good.replace("\"Not available\"", "null")),
        ),
        (
            "tcbm twice",
            format!(
                "[{}]",
                good.replacen('{', &format!("{{\"tcbm\":\"{TCBM}\","), 1)
            ),
        ),
        (
            "a short tcbm",
            format!("[{}]", good.replace(TCBM, &TCBM[1..])),
        ),
        (
            "a long tcbm",
            format!("[{}]", good.replace(TCBM, &format!("{TCBM}0"))),
        ),
        (
            "a tcbm that is not hex",
            format!("[{}]", good.replace(TCBM, &TCBM.replace("0D00", "0DxX"))),
        ),
        (
            "an array for an entry",
            format!("[[{},\"{TCBM}\",\"Not available\"]]", flat()),
        ),
    ] {
        assert_eq!(
            parse_pck_list(body.as_bytes()).map_err(|error| error.reason()),
            Err("format"),
            "{case}"
        );
    }
    let mut not_utf8 = format!("[{good}]").into_bytes();
    let at = not_utf8
        .windows(3)
        .position(|three| three == b"Not")
        .expect("there");
    not_utf8[at] = 0xff;
    assert!(parse_pck_list(&not_utf8).is_err());
}

#[test]
fn limits() {
    let many = |count: u32| {
        let entries = (0..count).map(|n| {
            let tcbm = format!("{n:032X}0D00");
            entry(&flat(), &tcbm, "Not available")
        });
        list(&entries.collect::<Vec<_>>())
    };
    assert_eq!(many(128).map(|list| list.entries.len()), Ok(128));
    assert_eq!(many(129).map_err(|error| error.reason()), Err("format"));
    let mut body = format!("[{}]", entry(&flat(), TCBM, "Not available")).into_bytes();
    body.resize(1024 * 1024, b' ');
    assert!(parse_pck_list(&body).is_ok());
    body.push(b' ');
    assert_eq!(
        parse_pck_list(&body).map_err(|error| error.reason()),
        Err("too-large")
    );
}

#[test]
fn errors_do_not_quote_the_certificate() {
    let der = genuine();
    let base64 = BASE64.encode(&der);
    let at = der
        .windows(PPID.len())
        .position(|window| window == PPID)
        .expect("the PPID");
    // Twelve digits of Base64 that stand for bytes inside the PPID.
    let secret = &base64[at.div_ceil(3) * 4..][..12];
    let pem = pem(&der);
    let quoted = serde_json::to_string(&base64).expect("a string");
    let bodies = [
        quoted.clone(),
        format!("[{quoted}]"),
        format!("[{{\"tcb\":{{}},\"tcbm\":{quoted},\"cert\":\"\"}}]"),
        format!("[{{\"tcb\":{quoted},\"tcbm\":\"{TCBM}\",\"cert\":{quoted}}}]"),
        format!("[{}]", entry(&flat(), &TCBM.replacen("0B", "0C", 1), &pem)),
        format!(
            "[{}]",
            entry(&format!("{{\"pcesvn\":{quoted}}}"), TCBM, &pem)
        ),
        format!("[{}]", entry(&flat(), TCBM, &base64)),
    ];
    for body in bodies {
        let shown = format!("{0:?} {0:#?}", parse_pck_list(body.as_bytes()));
        assert!(!shown.contains(secret), "{shown}");
        assert!(shown.contains("Format"), "{shown}");
    }
}

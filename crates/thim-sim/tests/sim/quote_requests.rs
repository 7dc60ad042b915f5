//! Asking for quotes: what is refused, and the same over HTTP.

use crate::client::*;
use crate::quote_proof::*;
use thim_sim::*;

#[tokio::test]
async fn what_no_platform_could_quote_is_refused() {
    let s = Simulated::start().await;
    let m = s.management();
    let refusal = |name: &str, spec: &QuoteSpec| match m.quote(name, spec) {
        Err(SimError::InvalidRequest(text)) => text,
        other => panic!("{:?}", other.map(|quote| quote.len())),
    };
    let tdx = s.platform_of(TDX_FMSPC).name;
    let sgx = s.platform_of(SGX_FMSPC).name;
    for (version, body) in [
        (QuoteVersion::V3, QuoteBody::Td10),
        (QuoteVersion::V3, QuoteBody::Td15),
        (QuoteVersion::V4, QuoteBody::Td15),
        (QuoteVersion::V4, QuoteBody::Td15Extended),
    ] {
        assert!(refusal(&tdx, &QuoteSpec::new(version, body)).starts_with("body: version"));
    }
    // Refused before anything happened.
    assert_eq!(s.platform_of(TDX_FMSPC).cached_keys, None);
    let td = QuoteSpec::new(QuoteVersion::V4, QuoteBody::Td10);
    assert_eq!(refusal(&sgx, &td), "body: this family has no TDX");
    let usual = QuoteSpec::default();
    let manifest = CertificationSpec {
        kind: CertificationKind::PlatformManifest,
        ..CertificationSpec::default()
    };
    let spec = QuoteSpec {
        certification: manifest,
        ..usual.clone()
    };
    assert!(refusal(&sgx, &spec).starts_with("kind: "));
    let spec = QuoteSpec {
        level: Some("00".repeat(18)),
        ..usual.clone()
    };
    assert!(refusal(&sgx, &spec).starts_with("level: "));
    let qe = QeSpec {
        auth_data: vec![0; 65_536],
        ..QeSpec::default()
    };
    let spec = QuoteSpec {
        qe,
        ..usual.clone()
    };
    assert_eq!(refusal(&sgx, &spec), "qe.auth_data: 65535 bytes at most");
    let qe = QeSpec {
        auth_data: vec![0; 65_535],
        ..QeSpec::default()
    };
    let spec = QuoteSpec {
        qe,
        ..usual.clone()
    };
    let quote = m.quote(&sgx, &spec).unwrap();
    assert_eq!(parts(&quote).auth_data.len(), 65_535);
    let spec = QuoteSpec {
        trailing: vec![0; 65_537],
        ..usual.clone()
    };
    assert_eq!(refusal(&sgx, &spec), "trailing: 65536 bytes at most");

    let early = PlatformSpec::new(TDX_FMSPC, 1).pre_production();
    let early = m.add_platform(early).unwrap().name;
    assert!(refusal(&early, &usual).contains("pre-production"));
    m.downgrade(&sgx).unwrap();
    assert!(refusal(&sgx, &usual).contains("reaches no level"));
    let unknown = m.quote("platform-99", &usual);
    assert!(matches!(unknown, Err(SimError::UnknownPlatform(_))));
}

#[tokio::test]
async fn the_management_port_answers_quotes() {
    let s = Simulated::start().await;
    let post = async |name: &str, body: &str| {
        let url = s.sim.management_url();
        let path = format!("/platforms/{name}/quote");
        exchange(&url, "POST", &path, &[], body).await.unwrap()
    };
    let name = s.platform_of(TDX_FMSPC).name;
    let wishes = r#"{"version": 5, "body": "td-1.5", "report_data": "0a0B", "debug": true,
        "td": {"mrservicetd": "07", "rtmrs": ["01", "02"], "tee_tcb_svn": "0301"},
        "qe": {"isv_svn": 2, "auth_data": "ff"}, "trailing": "0000",
        "certification": {"kind": 5, "root_before_ca": true, "trailing_nul": true},
        "faults": ["wrong-quote-signature"]}"#;
    let answer = post(&name, wishes).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some(OCTETS));
    let parts_of_it = parts(&answer.body);
    let body = parts_of_it.body;
    assert_eq!(body.len(), 648);
    assert_eq!(body[520..524], [0x0a, 0x0b, 0, 0]);
    assert_eq!(
        (body[120], body[600], body[328], body[376], body[424]),
        (1, 7, 1, 2, 0)
    );
    assert_eq!(body[..3], [3, 1, 0]);
    assert_eq!(
        (parts_of_it.auth_data, parts_of_it.trailing),
        (&[0xff][..], &[0, 0][..])
    );
    let leaf = parts_of_it.leaf_under(s.sim.root_pem());
    let expected = Holds {
        quote_signature: false,
        ..ALL_HOLDS
    };
    assert_eq!(parts_of_it.under(&leaf), expected);

    // No body: the usual quote.
    let answer = post(&name, "").await;
    assert_eq!(u16_at(&answer.body, 0), 3);
    for (name, body, status) in [
        ("platform-99", "{}", 404),
        (&*name, r#"{"version": 6}"#, 400),
        (&*name, r#"{"version": 4, "body": "td-1.5"}"#, 400),
        (&*name, r#"{"body": "td-2.0"}"#, 400),
        (&*name, r#"{"report_dat": ""}"#, 400),
        (
            &*name,
            r#"{"user_data": "000102030405060708090a0b0c0d0e0f1011121314"}"#,
            400,
        ),
        (&*name, r#"{"td": {"rtmrs": ["", "", "", "", ""]}}"#, 400),
        (&*name, r#"{"certification": {"kind": 6}}"#, 400),
        (&*name, r#"{"faults": ["late"]}"#, 400),
    ] {
        let answer = post(name, body).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
    }
}

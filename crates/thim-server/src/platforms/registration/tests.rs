//! Every field's accepted form beside the nearest that is refused.

use serde_json::{Value, json};

use super::*;

fn enc_ppid() -> String {
    "5a".repeat(384)
}

fn plain() -> Value {
    json!({
        "qe_id": "a0b1c2d3e4f5061728394a5b6c7d8e9f",
        "pce_id": "0a00",
        "cpu_svn": "0b0b0303ffff01000000000000000000",
        "pce_svn": "0d01",
        "enc_ppid": enc_ppid(),
    })
}

fn read(body: &Value) -> Result<Registration, Invalid> {
    Registration::from_json(body.to_string().as_bytes())
}

#[test]
fn a_host_without_manifest() {
    let registration = read(&plain()).expect("complete");
    assert_eq!(
        registration.qe_id.as_str(),
        "A0B1C2D3E4F5061728394A5B6C7D8E9F"
    );
    assert_eq!(registration.pce_id, PceId([0x0a, 0]));
    assert_eq!(
        registration.raw_tcb.map(|raw| raw.to_string()).as_deref(),
        Some("0B0B0303FFFF010000000000000000000D01")
    );
    assert_eq!(
        registration
            .encrypted_ppid
            .as_ref()
            .map(EncryptedPpid::to_hex_lower),
        Some(enc_ppid())
    );
    assert_eq!(registration.manifest, None);
    let mut upper = plain();
    for value in upper.as_object_mut().expect("an object").values_mut() {
        *value = json!(value.as_str().expect("a string").to_uppercase());
    }
    assert_eq!(read(&upper), Ok(registration));
}

/// PCCS's schema and what it asks for beside it, a field a line.
#[test]
fn each_field_and_its_nearest_miss() {
    let digits = |count: usize| "0".repeat(count);
    let cases: Vec<(&str, Value, bool)> = vec![
        ("qe_id", json!("x"), true),
        ("qe_id", json!(""), false),
        ("qe_id", json!("x".repeat(260)), true),
        ("qe_id", json!("x".repeat(261)), false),
        ("qe_id", json!("x\u{0}"), false),
        ("qe_id", json!(7), false),
        ("qe_id", json!(null), false),
        ("pce_id", json!(digits(4)), true),
        ("pce_id", json!(digits(3)), false),
        ("pce_id", json!(digits(5)), false),
        ("pce_id", json!("00g0"), false),
        ("pce_id", json!(""), false),
        ("pce_id", json!(null), false),
        ("cpu_svn", json!(digits(32)), true),
        ("cpu_svn", json!(digits(31)), false),
        ("cpu_svn", json!(digits(33)), false),
        ("cpu_svn", json!(""), false),
        ("cpu_svn", json!(null), false),
        ("cpu_svn", json!(["0"]), false),
        ("pce_svn", json!("ffff"), true),
        ("pce_svn", json!("fffff"), false),
        ("pce_svn", json!("fff"), false),
        ("pce_svn", json!(""), false),
        ("pce_svn", json!(null), false),
        ("enc_ppid", json!(digits(768)), true),
        ("enc_ppid", json!(digits(766)), false),
        ("enc_ppid", json!(digits(770)), false),
        ("enc_ppid", json!(""), false),
        ("enc_ppid", json!(null), false),
        ("platform_manifest", json!(null), true),
        ("platform_manifest", json!(""), true),
        ("platform_manifest", json!("aAbB"), true),
        ("platform_manifest", json!("aab"), false),
        ("platform_manifest", json!("zz"), false),
        ("platform_manifest", json!(false), false),
        ("platform_manifest", json!({"a": "aabb"}), false),
        ("something_else", json!({"a": [1, 2, {}]}), true),
    ];
    for (name, value, accepted) in cases {
        let mut body = plain();
        body[name] = value.clone();
        let shown = value.to_string();
        let shown = &shown[..shown.len().min(20)];
        match read(&body) {
            Ok(_) => assert!(accepted, "{name} = {shown} was accepted"),
            Err(fault) => {
                assert!(!accepted, "{name} = {shown}: {fault}");
                assert_eq!(fault.field, name);
            }
        }
    }
}

#[test]
fn without_a_manifest_all_three_are_needed_and_with_one_none() {
    for name in ["cpu_svn", "pce_svn", "enc_ppid"] {
        let mut body = plain();
        body.as_object_mut().expect("an object").remove(name);
        let fault = read(&body).expect_err("incomplete");
        assert_eq!(fault.field, name);
        assert!(fault.why.starts_with("missing; without platform_manifest"));
        body["platform_manifest"] = json!("");
        assert_eq!(read(&body).expect_err("still incomplete").field, name);
        body["platform_manifest"] = json!("aabb");
        let registration = read(&body).expect("a manifest is enough");
        assert!(registration.manifest.is_some());
        // What is left beside it is kept: it helps to recognise the platform.
        assert_eq!(registration.raw_tcb.is_some(), name == "enc_ppid");
        assert_eq!(registration.encrypted_ppid.is_some(), name != "enc_ppid");
    }
    for name in ["qe_id", "pce_id"] {
        let mut body = plain();
        body.as_object_mut().expect("an object").remove(name);
        body["platform_manifest"] = json!("aabb");
        assert_eq!(read(&body), Err(Invalid::new(name, "missing")));
    }
}

/// `conformance/pccs-1.27.json`, cases 43 to 48, as PCCS answered them.
#[test]
fn as_pccs_answers() {
    for (body, accepted) in [
        (
            r#"{"qe_id":"zz","pce_id":"0000","cpu_svn":"","pce_svn":"","enc_ppid":"","platform_manifest":"aabb"}"#,
            false,
        ),
        (
            r#"{"qe_id":"zz","pce_id":"0000" ,"platform_manifest":"aabb"}"#,
            true,
        ),
        (r#"{"qe_id":"zz","pce_id":"0000" }"#, false),
        ("{bad", false),
        ("{}", false),
        ("", false),
        ("[]", false),
        // The last of two counts.
        (
            r#"{"qe_id":"","qe_id":"zz","pce_id":"0000","platform_manifest":"aabb"}"#,
            true,
        ),
        (
            r#"{"qe_id":"zz","qe_id":"","pce_id":"0000","platform_manifest":"aabb"}"#,
            false,
        ),
    ] {
        assert_eq!(
            Registration::from_json(body.as_bytes()).is_ok(),
            accepted,
            "{body}"
        );
    }
}

#[test]
fn nothing_secret_is_printed() {
    let mut body = plain();
    body["platform_manifest"] = json!("c3".repeat(40));
    let registration = read(&body).expect("complete");
    let printed = format!("{registration:?}");
    assert!(!printed.to_lowercase().contains("5a5a") && !printed.contains("c3c3"));
    assert!(printed.contains("EncryptedPpid(..)") && printed.contains("Manifest(..)"));
    for (name, value) in [
        ("enc_ppid", json!(format!("{}x", "5a".repeat(384)))),
        ("enc_ppid", json!(["5a5a5a"])),
        ("platform_manifest", json!("c3".repeat(40) + "x")),
        ("platform_manifest", json!({"c3c3": "c3c3"})),
    ] {
        let mut body = plain();
        body[name] = value;
        let printed = format!("{:?}", read(&body).expect_err("refused"));
        assert!(
            !printed.contains("5a5a") && !printed.contains("c3c3"),
            "{printed}"
        );
    }
    let cut = Registration::from_json(b"{\"enc_ppid\":\"5a5a5a").expect_err("refused");
    assert!(!format!("{cut:?}").contains("5a5a"));
}

#[test]
fn a_form_is_read_as_the_same_json() {
    let form = format!(
        "enc_ppid={}&pce_id=0a00&cpu_svn=0b0b0303ffff01000000000000000000&pce_svn=0d01\
         &qe_id=a0b1c2d3e4f5061728394a5b6c7d8e9f&platform_manifest=&more[a]=1",
        enc_ppid()
    );
    assert_eq!(Registration::from_form(form.as_bytes()), read(&plain()));
    let named =
        Registration::from_form(b"qe_id=rack+7%2f%c3%a9&pce_id=0000&platform_manifest=aabb")
            .expect("complete");
    assert_eq!(named.qe_id.as_str(), "RACK 7/É");
    for (form, field) in [
        (
            "qe_id=a&qe_id=a&pce_id=0000&platform_manifest=aabb",
            "qe_id",
        ),
        ("qe_id[a]=a&pce_id=0000&platform_manifest=aabb", "qe_id"),
        ("qe_id=%ff&pce_id=0000&platform_manifest=aabb", "qe_id"),
        (
            "qe_id=a&pce_id=0000&cpu_svn=&platform_manifest=aabb",
            "cpu_svn",
        ),
        ("%ff=a", "body"),
        ("", "qe_id"),
    ] {
        let fault = Registration::from_form(form.as_bytes()).expect_err(form);
        assert_eq!(fault.field, field, "{form}");
    }
    assert!(Registration::from_form(b"\xff").is_err());
}

#[test]
fn the_tool_writes_a_line_a_platform() {
    let host = format!(
        "{},0000,0b0b0303ffff01000000000000000000,0d00,a0b1c2d3e4f5061728394a5b6c7d8e9f",
        enc_ppid()
    );
    let large = format!("{host},aabbcc");
    let text = format!("\u{feff}{host}\r\n\r\n{large}\n,0000,,,7261636b2d37,aabb");
    let registrations = Registration::from_csv(&text).expect("three platforms");
    let [one, two, three] = registrations.as_slice() else {
        panic!("three platforms");
    };
    assert_eq!(one.raw_tcb, two.raw_tcb);
    assert_eq!(one.manifest, None);
    assert_eq!(
        two.manifest.as_ref().map(Manifest::to_hex_lower).as_deref(),
        Some("aabbcc")
    );
    assert_eq!(three.qe_id.as_str(), "7261636B2D37");
    assert_eq!((three.raw_tcb, &three.encrypted_ppid), (None, &None));

    let header = "enc_ppid,pce_id,cpu_svn,pce_svn,qe_id";
    for text in [
        format!("{host}\n"),
        format!("{host},\n"),
        format!("{header}\n{host}\n"),
        format!("{header},Platform_Manifest\r\n {host} \r\n"),
    ] {
        assert_eq!(
            Registration::from_csv(&text).as_deref(),
            Ok(&registrations[..1])
        );
    }
}

#[test]
fn a_line_that_is_wrong_is_named() {
    let host = format!(
        "{},0000,0b0b0303ffff01000000000000000000,0d00,a0b1",
        enc_ppid()
    );
    let header = "enc_ppid,pce_id,cpu_svn,pce_svn,qe_id";
    for (text, field) in [
        (String::new(), "file"),
        (format!("{header}\n"), "file"),
        // A second header is no platform, nor is one in another order.
        (format!("{host}\n{header}\n"), "line 2: pce_id"),
        (
            format!("pce_id,enc_ppid,cpu_svn,pce_svn,qe_id\n{host}"),
            "line 1: pce_id",
        ),
        (format!("\n{host}\n{}", &host[2..]), "line 3: enc_ppid"),
        (format!("{host},aab"), "line 1: platform_manifest"),
        (format!("{host},aabb,x"), "line 1: columns"),
        (
            host.rsplit_once(',').expect("commas").0.to_owned(),
            "line 1: columns",
        ),
        // Without enclaves there must be a manifest.
        (",0000,,,a0b1".to_owned(), "line 1: cpu_svn"),
        (",0000,,,,aabb".to_owned(), "line 1: qe_id"),
        (",,,,a0b1,aabb".to_owned(), "line 1: pce_id"),
    ] {
        let fault = Registration::from_csv(&text).expect_err("refused");
        assert_eq!(fault.field, field);
        assert!(!fault.to_string().contains("5a5a"));
    }
}

#[test]
fn a_text_of_too_many_platforms_is_refused() {
    let line = ",0000,,,a0b1,aabb\n";
    let most = line.repeat(MAX_CSV_PLATFORMS);
    assert_eq!(
        Registration::from_csv(&most).map(|all| all.len()),
        Ok(MAX_CSV_PLATFORMS)
    );
    let fault = Registration::from_csv(&format!("{most}{line}")).expect_err("too many");
    assert_eq!(fault.field, "line 10001");
}

#[test]
fn in_a_collateral_file_blanks_are_nothing_and_little_is_needed() {
    let element = |text: &str| {
        Fields::read(text, "platforms[3]").and_then(|fields| Registration::from_element(&fields))
    };
    let blank = element(
        r#"{"qe_id":"a","pce_id":"0000","cpu_svn":"","pce_svn":"","enc_ppid":"","platform_manifest":""}"#,
    )
    .expect("blanks");
    assert_eq!(
        blank,
        element(r#"{"qe_id":"A","pce_id":"0000"}"#).expect("ids alone")
    );
    assert_eq!((blank.raw_tcb, blank.manifest), (None, None));
    for (text, field) in [
        (r#"{"qe_id":"","pce_id":"0000"}"#, "platforms[3].qe_id"),
        (r#"{"qe_id":"a","pce_id":""}"#, "platforms[3].pce_id"),
        (
            r#"{"qe_id":"a","pce_id":"0000","cpu_svn":"0"}"#,
            "platforms[3].cpu_svn",
        ),
        (
            r#"{"qe_id":"a","pce_id":"0000","enc_ppid":null}"#,
            "platforms[3].enc_ppid",
        ),
        (
            r#"{"qe_id":"a","pce_id":"0000","platform_manifest":"x"}"#,
            "platforms[3].platform_manifest",
        ),
        ("7", "platforms[3]"),
    ] {
        assert_eq!(element(text).expect_err(text).field, field);
    }
}

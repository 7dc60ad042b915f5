//! Intel's file as it is shipped, each key beside its nearest miss, and nothing secret in the result.

use super::*;
use crate::config::Config;

/// PCCS 1.27, `service/config/default.json`, its commented-out part shortened.
const SHIPPED: &str = r#"{
    "HTTPS_PORT" : 8081,
    "hosts" : "127.0.0.1",
    "uri": "https://api.trustedservices.intel.com/sgx/certification/v4/",
    "ApiKey": "",
    "proxy" : "",
    "RefreshSchedule": "0 0 1 * * *",
    "UserTokenHash" : "",
    "AdminTokenHash" : "",
    "MaxRequestBodySize": "2MB",
    "HeadersTimeoutSeconds": 10,
    "RequestTimeoutSeconds": 15,
    "KeepAliveTimeoutSeconds": 60,
    "CachingFillMode" : "LAZY",
    "OPENSSL_FIPS_MODE" : false,
    "LogLevel" : "info",
    "DB_CONFIG" : "sqlite",
    "sqlite" : {
        "options" : {
            "dialect": "sqlite",
            "define": {
                "freezeTableName": true
            },
            "logging" : false,
            "storage": "pckcache.db"
        }
    },
    //"mysql" : {   // This config section is used only if DB_CONFIG == "mysql".
    //    "database" : "pckcache",
    //    "options" : {
    //        "host": "localhost",
    //    }
    //}
}
"#;

fn around() -> Around {
    Around {
        certificate: None,
        api_key_file: "pcs-api-key".into(),
    }
}

fn one(key: &str, value: &Value) -> (Converted, Note) {
    let text = serde_json::json!({"DB_CONFIG": "sqlite", key: value}).to_string();
    let converted = convert(&text, &around()).expect("PCCS's");
    toml::from_str::<Config>(&converted.toml).expect("a configuration");
    let note = converted.notes.iter().find(|note| note.key == key);
    let note = note.expect("a note").clone();
    (converted, note)
}

#[test]
fn the_file_as_shipped() {
    let converted = convert(SHIPPED, &around()).expect("PCCS's");
    assert!(converted.is_whole(), "{:?}", converted.notes);
    assert_eq!(
        converted.toml,
        r#"# Made by `thim config convert` from the default.json of Intel's PCCS.
# PCCS has no plain HTTP, so that is off; everything else that is not here has its default.

[http]
listen = "off"

[https]
listen = "127.0.0.1:8081"

[limits]
idle_timeout = "60s"
body_bytes = 2097152
request_timeout = "15s"

[intel]
fill = "lazy"
upstream = ["https://api.trustedservices.intel.com"]
"#
    );
    let config: Config = toml::from_str(&converted.toml).expect("a configuration");
    let mut expected = Config::default();
    expected.http.listen = "off".to_owned();
    assert_eq!(config, expected, "PCCS's defaults are ours");
    // Each key of the file has a note, and the certificate has one.
    assert_eq!(converted.notes.len(), 18);
}

#[test]
fn each_key_and_its_nearest_miss() {
    use Fate::{Mapped, NotNeeded, NotPossible, Unknown};
    use serde_json::json;
    let hash = "ab".repeat(64);
    for (key, value, fate, line) in [
        (
            "HTTPS_PORT",
            json!(18081),
            Mapped,
            "listen = \"127.0.0.1:18081\"",
        ),
        (
            "HTTPS_PORT",
            json!("18081"),
            Mapped,
            "listen = \"127.0.0.1:18081\"",
        ),
        ("HTTPS_PORT", json!(65536), NotPossible, ""),
        (
            "hosts",
            json!("0.0.0.0"),
            Mapped,
            "listen = \"0.0.0.0:8081\"",
        ),
        ("hosts", json!("::"), Mapped, "listen = \"[::]:8081\""),
        (
            "hosts",
            json!("localhost"),
            Mapped,
            "listen = \"localhost:8081\"",
        ),
        ("hosts", json!("a b"), NotPossible, ""),
        (
            "uri",
            json!("http://pccs.example:18090/sgx/certification/v4"),
            Mapped,
            "upstream = [\"http://pccs.example:18090\"]",
        ),
        (
            "uri",
            json!("https://api.trustedservices.intel.com/sgx/certification/v3/"),
            Mapped,
            "upstream = [\"https://api.trustedservices.intel.com\"]",
        ),
        (
            "uri",
            json!("https://proxy.example/intel/sgx/certification/v4/"),
            NotPossible,
            "",
        ),
        (
            "uri",
            json!("api.trustedservices.intel.com"),
            NotPossible,
            "",
        ),
        (
            "uri",
            json!("https://me:secret@a.example/sgx/certification/v4/"),
            NotPossible,
            "",
        ),
        (
            "ApiKey",
            json!("0123456789abcdef"),
            Mapped,
            "api_key_file = \"pcs-api-key\"",
        ),
        ("ApiKey", json!("01 23"), NotPossible, ""),
        ("ApiKey", json!("x".repeat(257)), NotPossible, ""),
        (
            "proxy",
            json!("http://192.168.1.1:80"),
            Mapped,
            "proxy = \"http://192.168.1.1:80\"",
        ),
        (
            "proxy",
            json!("proxy.example:3128"),
            Mapped,
            "proxy = \"http://proxy.example:3128\"",
        ),
        (
            "proxy",
            json!("http://me:secret@proxy.example"),
            NotPossible,
            "",
        ),
        ("proxy", json!("ftp://proxy.example"), NotPossible, ""),
        ("RefreshSchedule", json!("0 0 1 * * *"), NotNeeded, ""),
        ("UserTokenHash", json!(hash), Mapped, "user_token_hash = "),
        ("UserTokenHash", json!(hash[1..]), NotPossible, ""),
        (
            "AdminTokenHash",
            json!(hash.to_uppercase()),
            Mapped,
            "admin_token_hash = ",
        ),
        (
            "AdminTokenHash",
            json!(hash.replace('a', "g")),
            NotPossible,
            "",
        ),
        (
            "UserToken",
            json!("abc"),
            Mapped,
            "user_token_hash = \"ddaf35a193617aba",
        ),
        ("UserToken", json!(""), NotNeeded, ""),
        ("CachingFillMode", json!("REQ"), Mapped, "fill = \"req\""),
        (
            "CachingFillMode",
            json!("OFFLINE"),
            Mapped,
            "fill = \"offline\"",
        ),
        ("CachingFillMode", json!("EAGER"), NotPossible, ""),
        (
            "MaxRequestBodySize",
            json!("512kb"),
            Mapped,
            "body_bytes = 524288",
        ),
        (
            "MaxRequestBodySize",
            json!("1.5 MB"),
            Mapped,
            "body_bytes = 1572864",
        ),
        (
            "MaxRequestBodySize",
            json!(4096),
            Mapped,
            "body_bytes = 4096",
        ),
        ("MaxRequestBodySize", json!("2 bananas"), NotPossible, ""),
        ("MaxRequestBodySize", json!(0), NotPossible, ""),
        (
            "KeepAliveTimeoutSeconds",
            json!(5),
            Mapped,
            "idle_timeout = \"5s\"",
        ),
        (
            "RequestTimeoutSeconds",
            json!(2.5),
            Mapped,
            "request_timeout = \"2500ms\"",
        ),
        ("RequestTimeoutSeconds", json!(0), NotPossible, ""),
        ("RequestTimeoutSeconds", json!("15"), NotPossible, ""),
        ("OPENSSL_FIPS_MODE", json!(true), NotPossible, ""),
        ("LogLevel", json!("silly"), NotNeeded, ""),
        ("DB_CONFIG", json!("mysql"), NotPossible, ""),
        ("DB_CONFIG", json!("sqlite"), NotNeeded, ""),
        ("Cluster", json!({"size": 3}), Unknown, ""),
    ] {
        let (converted, note) = one(key, &value);
        assert_eq!(note.fate, fate, "{key} = {value}: {}", note.text);
        assert!(
            converted.toml.contains(line),
            "{key} = {value}: {}",
            converted.toml
        );
        assert_eq!(
            converted.is_whole(),
            matches!(fate, Mapped | NotNeeded),
            "{key} = {value}"
        );
        let lost = converted.toml.contains("# Not taken over:");
        assert_eq!(lost, !converted.is_whole(), "{key} = {value}");
    }
}

#[test]
fn words_that_a_reader_needs() {
    use serde_json::json;
    let (_, note) = one("LogLevel", &json!("silly"));
    assert!(note.text.contains("THIM_LOG=trace"), "{}", note.text);
    let (_, note) = one(
        "uri",
        &json!("https://sbx.api.trustedservices.intel.com/sgx/certification/v4/"),
    );
    assert!(note.text.contains("[trust] intel_roots"), "{}", note.text);
    let text =
        r#"{"DB_CONFIG": "sqlite", "sqlite": {"options": {"storage": "/var/pccs/cache.db"}}}"#;
    let converted = convert(text, &around()).expect("PCCS's");
    assert!(
        converted.notes[0]
            .text
            .contains("import-pccs /var/pccs/cache.db"),
        "{:?}",
        converted.notes
    );
}

#[test]
fn secrets_stand_in_no_result() {
    let text = serde_json::json!({
        "DB_CONFIG": "mysql",
        "ApiKey": "key-secret-1",
        "proxy": "http://me:key-secret-2@proxy.example",
        "UserToken": "key-secret-3",
        "uri": "https://me:key-secret-4@a.example/sgx/certification/v4/",
        "mysql": {"password": "key-secret-5"},
        "other": "key-secret-6",
    });
    let converted = convert(&text.to_string(), &around()).expect("PCCS's");
    assert_eq!(converted.api_key.as_deref(), Some("key-secret-1"));
    assert!(!format!("{converted:?}").contains("key-secret"));
    assert!(!converted.toml.contains("key-secret"));
    let cut = convert("{\"ApiKey\": key-secret-7}", &around()).expect_err("no JSON");
    assert!(!format!("{cut} {cut:?}").contains("key-secret"));
}

#[test]
fn what_is_none_of_pccs() {
    for (text, wanted) in [
        ("[]", NotPccs::Foreign),
        ("{}", NotPccs::Foreign),
        (r#"{"pccs_url": "https://a"}"#, NotPccs::Foreign),
        ("{\n \"uri\": 'a'}", NotPccs::Json { line: 2, column: 9 }),
        ("", NotPccs::Json { line: 1, column: 0 }),
    ] {
        assert_eq!(convert(text, &around()).expect_err(text), wanted, "{text}");
    }
}

#[test]
fn control_characters_of_a_foreign_key_do_not_end_the_comment() {
    let text = "{\"DB_CONFIG\": \"sqlite\", \"a\\n[trust]\\nintel_roots = []\\n\": 1}";
    let converted = convert(text, &around()).expect("PCCS's");
    let config: Config = toml::from_str(&converted.toml).expect("a configuration");
    assert!(config.trust.intel_roots.is_empty());
    assert!(!converted.toml.contains("\n[trust]"));
}

#[test]
fn the_certificate_stays_where_it_is() {
    let around = Around {
        certificate: Some((
            "/opt/pccs/ssl_key/file.crt".into(),
            "../ssl_key/private.pem".into(),
        )),
        ..around()
    };
    let converted = convert(SHIPPED, &around).expect("PCCS's");
    let config: Config = toml::from_str(&converted.toml).expect("a configuration");
    assert_eq!(
        config.https.certificate,
        Some("/opt/pccs/ssl_key/file.crt".into())
    );
    assert_eq!(config.https.key, Some("../ssl_key/private.pem".into()));
}

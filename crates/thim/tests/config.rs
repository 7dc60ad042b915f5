//! `thim config`: the real program on files, and a service that starts with what a conversion made.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn thim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_thim"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the program starts")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it ended by itself")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

#[test]
fn a_configuration_is_checked_with_every_file_it_names() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("thim.toml");
    let check = |content: &str| {
        std::fs::write(&file, content).expect("written");
        thim(&["config", "check", text(&file)])
    };
    let sound = check("data = \"/var/lib/thim\"\n[intel]\nfill = \"req\"\n");
    assert_eq!(code(&sound), 0, "{}", said(&sound));
    let shown = String::from_utf8_lossy(&sound.stdout);
    assert!(
        shown.contains("/var/lib/thim") && shown.contains("req"),
        "{shown}"
    );
    let json = thim(&["config", "check", text(&file), "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(
        (&json["sound"], &json["understood"]["fill"]),
        (&true.into(), &"req".into())
    );

    for (content, named) in [
        ("[intel]\nfil = \"req\"\n", "fil"),
        ("[sentinel]\nhold = \"3 fortnights\"\n", "no duration"),
        (
            "[api]\nuser_token_hash = \"abc\"\n",
            "[api] user_token_hash",
        ),
        ("[intel]\napi_key_file = \"absent.key\"\n", "absent.key"),
        ("[trust]\nintel_roots = [\"thim.toml\"]\n", "thim.toml"),
        (
            "[https]\ncertificate = \"absent.pem\"\nkey = \"absent.key\"\n",
            "absent.pem",
        ),
        ("[http\n", "thim.toml"),
    ] {
        let wrong = check(content);
        assert_eq!(code(&wrong), 1, "{content}: {}", said(&wrong));
        assert!(said(&wrong).contains(named), "{content}: {}", said(&wrong));
    }
    let absent = thim(&["config", "check", "/no/such.toml"]);
    assert_eq!(code(&absent), 1);
    assert!(said(&absent).contains("/no/such.toml"), "{}", said(&absent));

    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/samples/thim.toml");
    let sample = thim(&["config", "check", text(&sample)]);
    assert_eq!(code(&sample), 0, "{}", said(&sample));
}

/// As Intel ships it, with what an operator fills in.
const OPERATED: &str = r#"{
    "HTTPS_PORT" : 0,
    "hosts" : "127.0.0.1",   // only this machine
    "uri": "https://api.trustedservices.intel.com/sgx/certification/v4/",
    "ApiKey": "0123456789abcdef0123456789abcdef",
    "proxy" : "",
    "RefreshSchedule": "0 0 1 * * *",
    "UserTokenHash" : "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
    "AdminTokenHash" : "",
    "CachingFillMode" : "OFFLINE",
    "LogLevel" : "debug",
    "DB_CONFIG" : "sqlite",
    "sqlite" : { "options" : { "storage": "pckcache.db" } },
}"#;

#[test]
fn what_is_converted_passes_the_check_and_starts() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("config")).expect("made");
    std::fs::write(at("config/default.json"), OPERATED).expect("written");
    let (from, out) = (at("config/default.json"), at("thim.toml"));
    let convert = || {
        thim(&[
            "config",
            "convert",
            text(&from),
            "--out",
            text(&out),
            "--json",
        ])
    };
    let converted = convert();
    assert_eq!(code(&converted), 0, "{}", said(&converted));
    let notes: serde_json::Value = serde_json::from_slice(&converted.stdout).expect("JSON");
    let keys: Vec<&str> = notes
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|note| note["key"].as_str())
        .collect();
    for key in [
        "ApiKey",
        "CachingFillMode",
        "DB_CONFIG",
        "HTTPS_PORT",
        "RefreshSchedule",
        "sqlite",
    ] {
        assert!(keys.contains(&key), "{key}");
    }
    let toml = std::fs::read_to_string(&out).expect("the configuration");
    assert!(!toml.contains("0123456789abcdef"), "{toml}");
    let key = at("pcs-api-key");
    assert_eq!(
        std::fs::read_to_string(&key).expect("the key").trim(),
        "0123456789abcdef0123456789abcdef"
    );
    let mode = std::fs::metadata(&key)
        .expect("the key")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    let checked = thim(&["config", "check", text(&out)]);
    assert_eq!(code(&checked), 0, "{}", said(&checked));
    let mut child = Command::new(env!("CARGO_BIN_EXE_thim"))
        .args(["serve", "--config", text(&out), "--data", text(&at("data"))])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let listens = lines
        .map_while(Result::ok)
        .find(|line| line.trim().starts_with("http"));
    child.kill().expect("killed");
    child.wait().expect("ended");
    let listens = listens.expect("it says where it listens");
    assert!(
        listens.trim().starts_with("https://127.0.0.1:"),
        "{listens}"
    );

    // Nothing that is there is written over.
    let again = convert();
    assert_eq!(code(&again), 2);
    assert!(
        said(&again).contains("it is there already"),
        "{}",
        said(&again)
    );
}

#[test]
fn pccs_certificate_is_taken_over_where_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    for name in ["config", "ssl_key"] {
        std::fs::create_dir(at(name)).expect("made");
    }
    for name in ["ssl_key/file.crt", "ssl_key/private.pem"] {
        std::fs::write(at(name), "").expect("written");
    }
    std::fs::write(at("config/default.json"), "{\"HTTPS_PORT\": 8081}").expect("written");
    let converted = thim(&["config", "convert", text(&at("config/default.json"))]);
    assert_eq!(code(&converted), 0, "{}", said(&converted));
    let toml = String::from_utf8_lossy(&converted.stdout).into_owned();
    assert!(
        toml.contains("ssl_key/file.crt\"") && toml.contains("ssl_key/private.pem\""),
        "{toml}"
    );
}

#[test]
fn what_is_not_taken_over_is_told_and_the_exit_code_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let from = folder.path().join("default.json");
    for (content, expected, told) in [
        ("{\"uri\": 7}", 1, "uri"),
        ("{\"HTTPS_PORT\": 8081, \"Colour\": \"blue\"}", 1, "Colour"),
        (
            "{\"DB_CONFIG\": \"mysql\", \"mysql\": {\"password\": \"geheim\"}}",
            1,
            "reads SQLite alone",
        ),
        ("{\"DB_CONFIG\": \"sqlite\"}", 0, "import-pccs pckcache.db"),
        ("{\"colour\": \"blue\"}", 2, "none of PCCS's keys"),
        ("colour = blue", 2, "not JSON at line 1"),
    ] {
        std::fs::write(&from, content).expect("written");
        let converted = thim(&["config", "convert", text(&from)]);
        assert_eq!(
            code(&converted),
            expected,
            "{content}: {}",
            said(&converted)
        );
        assert!(
            said(&converted).contains(told),
            "{content}: {}",
            said(&converted)
        );
        let all = format!(
            "{}{}",
            said(&converted),
            String::from_utf8_lossy(&converted.stdout)
        );
        assert!(!all.contains("geheim"), "{all}");
    }
}

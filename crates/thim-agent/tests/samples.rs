//! The configuration sample of the documents is one the agent takes, and it says what the defaults are.

use std::path::Path;

use thim_agent::config::Config;

#[test]
fn the_sample_is_the_default() {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/samples/agent.toml");
    let mut read = Config::load(Some(&sample)).expect("the sample parses");
    read.check().expect("the sample can be used");
    assert_eq!(read.service.url, "https://thim.example:8081");
    // The one key without a default.
    read.service.url = String::new();
    assert_eq!(read, Config::default());
}

#[test]
fn unknown_keys_and_wrong_values_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("agent.toml");
    for (text, named) in [
        ("colour = 1", "colour"),
        ("[service]\nurls = \"http://thim\"", "urls"),
        ("[service]\nurl = \"thim\"", "[service] url"),
        (
            "[service]\nurl = \"http://thim\"\ntoken_file = \"t\"",
            "token_file",
        ),
        ("[http]\nlisten = \"169.254.169.254\"", "socket address"),
        ("[http]\nhosts = [\"a b\"]", "hosts"),
        ("[http]\nrequests_per_second = 0", "requests_per_second"),
        ("[http]\nidle_timeout = \"10\"", "10"),
        (
            "[http]\nidle_timeout = \"10s\"\nconnection_timeout = \"9s\"",
            "connection_timeout",
        ),
        ("[http]\nconnections = 0", "connections"),
        ("[http]\nconnections_per_peer = 0", "connections_per_peer"),
        ("[health]\nlisten = \"no\"", "off"),
        ("[host]\nsource = \"guess\"", "guess"),
        ("[host]\nsource = \"file\"", "[host] file"),
        ("[host]\nsource = \"config\"", "chip_id"),
        ("[host]\nlook_every = \"500ms\"", "look_every"),
        ("[instance]\nlocation = \"a/b\"", "location"),
        ("[log]\nformat = \"xml\"", "xml"),
        ("[http", "line 1"),
    ] {
        let whole = if text.contains("[service]") {
            text.to_owned()
        } else {
            format!("{text}\n[service]\nurl = \"http://thim:8080\"\n")
        };
        std::fs::write(&file, whole).expect("written");
        let error = match Config::load(Some(&file)) {
            Err(error) => error.to_string(),
            Ok(read) => read.check().expect_err(text).to_string(),
        };
        assert!(error.contains(named), "{text}: {error}");
    }
    assert!(Config::load(Some(&folder.path().join("absent.toml"))).is_err());
    std::fs::write(&file, " ".repeat(300_000)).expect("written");
    assert!(
        Config::load(Some(&file))
            .expect_err("too long")
            .to_string()
            .contains("limit")
    );
}

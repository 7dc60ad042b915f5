//! The configuration sample of the documents is one the program takes, and it says what the defaults are.

use thim_server::baseline::declared;
use thim_server::config::Config;

#[test]
fn the_sample_is_the_default() {
    let sample =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/samples/thim.toml");
    let mut read = Config::load(Some(&sample)).expect("the sample parses");
    let defaults = Config::default();
    // What the kinds' defaults are is said in words by `None`; the sample spells them out.
    for kind in thim_verify::Kind::ALL {
        assert_eq!(
            read.freshness.of(kind),
            defaults.freshness.of(kind),
            "{kind}"
        );
    }
    read.freshness = defaults.freshness.clone();
    assert_eq!(read, defaults);
}

#[test]
fn the_sample_of_baselines_is_one_the_program_takes() {
    let sample =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/samples/baselines.toml");
    let text = std::fs::read_to_string(sample).expect("the sample");
    let declared = declared::read(&text).expect("the sample parses");
    let names: Vec<String> = declared
        .iter()
        .map(|one| format!("{} {}", one.scope, one.tee))
        .collect();
    let wanted = [
        "default tdx",
        "default sgx",
        "acme tdx",
        "floor tdx",
        "default sev-snp",
    ];
    assert_eq!(names, wanted);
}

#[test]
fn unknown_keys_and_wrong_values_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("thim.toml");
    for (text, named) in [
        ("colour = 1", "colour"),
        ("[intel]\nupstreams = []", "upstreams"),
        ("[sentinel]\nhold = \"72\"", "72"),
        ("[sentinel]\nhold = 72", "hold"),
        ("[intel]\nfill = \"eager\"", "eager"),
        (
            "[freshness.crl]\nserve_expired = \"sometimes\"",
            "sometimes",
        ),
        ("[http", "http"),
    ] {
        std::fs::write(&file, text).expect("written");
        let error = Config::load(Some(&file)).expect_err(text).to_string();
        assert!(
            error.contains(named) && error.contains("thim.toml"),
            "{text}: {error}"
        );
    }
    assert!(Config::load(Some(&folder.path().join("absent.toml"))).is_err());
}

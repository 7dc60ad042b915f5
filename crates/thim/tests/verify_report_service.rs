//! `thim verify report` and the service tell the same about the same report: the command judges by what it asks the
//! service for, the service by its own store.

mod judging;
mod program;
mod snp;

use judging::{verify, written};
use program::{code, json, said, start, text, thim};
use serde_json::Value;
use snp::SimulatedKds;
use thim_client::Client;
use thim_server::clock::Clock;
use thim_sim::{AmdProduct, ChipSpec, ReportSpec, ReportVersion};

/// But for where things came from: the command had them from the service.
fn without_sources(mut told: Value) -> Value {
    for part in ["endorsement", "chain", "crl"] {
        if let Some(Value::Object(part)) = told["facts"].get_mut(part) {
            assert!(part.remove("source").is_some());
        }
    }
    told
}

#[test]
fn the_command_and_the_service_tell_the_same() {
    let sim = SimulatedKds::start_today();
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, bytes: &[u8]| written(folder.path(), name, bytes);
    file("amd.pem", sim.kds().roots_pem().as_bytes());
    let upstream = sim.kds().url();
    let config = format!(
        "[http]\nlisten = \"127.0.0.1:0\"\n[https]\nlisten = \"off\"\n[intel]\nupstream = []\n\
         [amd]\nupstream = [\"{upstream}\"]\n[trust]\namd_roots = [\"amd.pem\"]\n",
    );
    let config = file("thim.toml", config.as_bytes());
    let data = folder.path().join("data");
    let (running, url) = start(&["serve", "--config", &config, "--data", text(&data)]);
    let client = Client::new(&url, None, None).expect("a client");
    let explain = |query: &str, bytes: &[u8]| -> Value {
        let path = format!("/thim/v1/evidence/explain{query}");
        client.post_bytes(&path, bytes).expect("an answer")
    };
    let management = sim.kds().management();
    let known = management
        .chip_of(AmdProduct::Milan)
        .report(&ReportSpec::default());
    let stranger = management
        .add_chip(&ChipSpec::new(AmdProduct::Milan))
        .expect("a chip");
    let stranger = stranger.report(&ReportSpec::default());
    for (product, version) in [
        (AmdProduct::Milan, ReportVersion::V2),
        (AmdProduct::Milan, ReportVersion::V3),
        (AmdProduct::Genoa, ReportVersion::V3),
        (AmdProduct::Turin, ReportVersion::V5),
    ] {
        let chip = sim.kds().management().chip_of(product);
        let report = |debug| {
            chip.report(&ReportSpec {
                version,
                debug,
                ..ReportSpec::default()
            })
        };
        let mut forged = report(false);
        forged[0x90] ^= 1;
        // All that is needed is fetched by the first, and then judged at one instant.
        let first = explain("", &report(false));
        assert_eq!(first["verdict"], "accepted", "{product}: {first:#}");
        let at = Clock::system().now().to_string();
        for (bytes, allow, verdict) in [
            (&report(false)[..], "expired", "accepted"),
            (&report(true), "expired", "not-accepted"),
            (&report(true), "debug", "accepted"),
            (&forged, "expired", "not-accepted"),
            (&forged[1..], "expired", "not-accepted"),
        ] {
            let path = file("report.bin", bytes);
            let arguments = [
                path.as_str(),
                "--service",
                &url,
                "--config",
                &config,
                "--at",
                &at,
                "--allow",
                allow,
                "--json",
            ];
            let ours = json(&verify(&arguments));
            let theirs = explain(&format!("?at={at}&allow={allow}"), bytes);
            assert_eq!(theirs["verdict"], verdict, "{theirs:#}");
            assert_eq!(without_sources(ours), without_sources(theirs));
        }
        // A report is no quote, whoever is asked.
        let path = file("report.bin", &report(false));
        let output = thim(&["verify", "quote", &path, "--service", &url]);
        assert_eq!(code(&output), 2);
        assert!(said(&output).contains("no quote"), "{}", said(&output));
    }
    // Without the service, by its store alone; another chip's certificate is not there, and is not fetched.
    drop(running);
    drop(sim);
    let by_store = ["--data", text(&data), "--config", &config, "--json"];
    let path = file("report.bin", &known);
    let told = verify(&[&[path.as_str()], &by_store[..]].concat());
    assert_eq!(code(&told), 0, "{}", said(&told));
    assert_eq!(json(&told)["facts"]["endorsement"]["source"], "store");
    let path = file("stranger.bin", &stranger);
    let told = verify(&[&[path.as_str()], &by_store[..]].concat());
    assert_eq!(
        (code(&told), &json(&told)["verdict"]),
        (2, &Value::from("unknown"))
    );
    let nowhere = text(&folder.path().join("nowhere")).to_owned();
    let none = verify(&[&path, "--data", &nowhere, "--config", &config]);
    assert_eq!(code(&none), 2);
    assert!(!folder.path().join("nowhere").exists());
}

//! The configuration files of `deploy/kubernetes` are ones the program takes. What they say beside the manifests
//! (ports, paths, volumes) is `deploy/kubernetes/validate`'s to see; only the program knows its keys.
//!
use std::path::{Path, PathBuf};

use thim_server::config::{Config, check::check};
use thim_verify::UnixTime;

/// A file that kustomization.yaml makes a ConfigMap of.
fn deployed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../deploy/kubernetes")
        .join(name)
}

#[test]
fn the_service_takes_its_configuration() {
    let read = Config::load(Some(&deployed("thim.toml"))).expect("the deployed file parses");
    // No loopback: the Service and the kubelet come from outside the pod.
    assert_eq!(read.http.listen, "0.0.0.0:8080");
    assert_eq!(read.https.listen, "0.0.0.0:8081");
    assert_eq!(read.data, Path::new("/var/lib/thim"));
    // What it does not name is the default, the vendor's pinned root above all.
    assert!(read.trust.intel_roots.is_empty());
    // The instant is for the certificate of HTTPS alone, and none is named.
    assert_eq!(
        check(&read, UnixTime::from_secs(0)).faults,
        Vec::<String>::new()
    );
}

#[test]
fn the_agent_takes_its_configurations() {
    use thim_agent::config::Config;
    use thim_agent::host::Source;
    for (name, source) in [
        ("agent.toml", Source::File),
        ("agent-device.toml", Source::Device),
    ] {
        let read = Config::load(Some(&deployed(name))).expect(name);
        assert_eq!(read.host.source, source, "{name}");
        assert_eq!(read.http.listen.to_string(), "169.254.169.254:80", "{name}");
        assert!(read.trust.amd_roots.is_empty(), "{name}");
        assert!(read.service.url.starts_with("http"), "{name}");
    }
}

#[test]
fn a_key_that_does_not_exist_is_refused_by_name() {
    let text = std::fs::read_to_string(deployed("thim.toml")).expect("the deployed file");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("thim.toml");
    std::fs::write(&file, text.replace("listen = ", "listens = ")).expect("written");
    let error = Config::load(Some(&file)).expect_err("an unknown key");
    assert!(error.to_string().contains("listens"), "{error}");
}

//! TLS: the development certificate, a given one, and one that changes while the server runs.

mod harness;

use harness::{Fleet, SGX_ONLY, tcb};
use thim_server::tls::{Certificate, Config};

fn pair(folder: &std::path::Path, name: &str) -> (String, String) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = rcgen::CertificateParams::new(vec![name.to_owned(), "127.0.0.1".to_owned()])
        .and_then(|params| params.self_signed(&key))
        .expect("a certificate");
    std::fs::write(folder.join("server.pem"), certificate.pem()).expect("written");
    std::fs::write(folder.join("server.key"), key.serialize_pem()).expect("written");
    (certificate.pem(), key.serialize_pem())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_development_certificate_serves_http_1_and_2() {
    let fleet = Fleet::start_with(|config| config.https.listen = "127.0.0.1:0".to_owned()).await;
    let address = fleet.server().https.expect("HTTPS is on");
    assert!(fleet.server().development_certificate);
    let ca = std::fs::read(fleet.data().join("tls/ca.pem")).expect("a CA");
    let ca = reqwest::Certificate::from_pem(&ca).expect("a certificate");
    for (http1, version) in [
        (true, reqwest::Version::HTTP_11),
        (false, reqwest::Version::HTTP_2),
    ] {
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([ca.clone()]);
        if http1 {
            builder = builder.http1_only();
        }
        let client = builder.build().expect("a client");
        let response = client
            .get(format!("https://{address}{}", tcb("sgx", SGX_ONLY)))
            .send()
            .await
            .expect("an answer");
        assert_eq!(
            (response.status().as_u16(), response.version()),
            (200, version)
        );
    }
    let stranger = reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("a client");
    assert!(
        stranger
            .get(format!("https://{address}/"))
            .send()
            .await
            .is_err(),
        "nobody else trusts it"
    );
    use std::os::unix::fs::PermissionsExt;
    for secret in ["tls/server.key", "admin.token"] {
        let mode = std::fs::metadata(fleet.data().join(secret))
            .expect("a file")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{secret}");
    }
    fleet.stop().await;
}

#[test]
fn a_changed_pair_is_read_anew_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    pair(folder.path(), "one.example");
    let config = Config {
        certificate: Some(folder.path().join("server.pem")),
        key: Some(folder.path().join("server.key")),
        ..Config::default()
    };
    let certificate =
        Certificate::load(&config, folder.path(), harness::at(harness::START)).expect("loads");
    assert!(!certificate.development);
    assert!(!certificate.reload().expect("nothing changed"));
    let touch = |secs: u64| {
        let file = std::fs::File::options()
            .append(true)
            .open(folder.path().join("server.pem"))
            .expect("open");
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(secs))
            .expect("touched");
    };
    pair(folder.path(), "two.example");
    touch(2_000_000_000);
    assert!(certificate.reload().expect("reads the new pair"));
    let (_, key) = pair(folder.path(), "three.example");
    pair(folder.path(), "four.example");
    std::fs::write(folder.path().join("server.key"), key).expect("written");
    touch(2_000_000_001);
    assert!(
        certificate.reload().is_err(),
        "certificate and key do not fit"
    );
    let half = Config {
        key: None,
        ..config
    };
    assert!(Certificate::load(&half, folder.path(), harness::at(harness::START)).is_err());
}

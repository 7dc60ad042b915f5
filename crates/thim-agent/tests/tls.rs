//! The connection to the service: whom the agent trusts, what it shows of itself, and files that change.

#![allow(clippy::unwrap_used, reason = "a panic is the report")]

mod harness;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use harness::{Bench, issue};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use thim_agent::config::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A CA, and what it signs.
struct Ca {
    pem: String,
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self {
            pem: certificate.pem(),
            der: certificate.der().clone(),
            issuer: Issuer::new(params, key),
        }
    }

    fn sign(&self, usage: ExtendedKeyUsagePurpose) -> (rcgen::Certificate, KeyPair) {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// Writes a client's pair as `agent.pem` and `agent.key`.
    fn client(&self, folder: &Path) {
        let (certificate, key) = self.sign(ExtendedKeyUsagePurpose::ClientAuth);
        std::fs::write(folder.join("agent.pem"), certificate.pem()).unwrap();
        std::fs::write(folder.join("agent.key"), key.serialize_pem()).unwrap();
    }
}

/// A service that demands a client's certificate of `ca`, and always gives the same answer; the heads it read.
async fn service(ca: &Ca, body: String) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca.der.clone()).unwrap();
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let (certificate, key) = ca.sign(ExtendedKeyUsagePurpose::ServerAuth);
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients.build().unwrap())
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let read = Arc::clone(&heads);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut head = vec![0; 16 * 1024];
            let Ok(length) = stream.read(&mut head).await else {
                continue;
            };
            read.lock()
                .unwrap()
                .push(String::from_utf8_lossy(&head[..length]).into_owned());
            let text = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(text.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    (at, heads)
}

#[tokio::test]
async fn mutual_tls_with_a_token_and_what_is_refused() {
    let bench = Bench::new().await;
    let chip = bench.milan();
    bench.provision(&chip, &chip.reported);
    let body = issue(&bench.kds, &chip, &chip.reported)
        .await
        .unwrap()
        .to_json();
    let (ca, stranger) = (Ca::new(), Ca::new());
    let (at, heads) = service(&ca, body).await;
    std::fs::write(bench.path("ca.pem"), &ca.pem).unwrap();
    std::fs::write(bench.path("stranger.pem"), &stranger.pem).unwrap();
    std::fs::write(bench.path("token"), "thim_first\n").unwrap();
    ca.client(bench.folder.path());
    let mut config = bench.config();
    config.service.url = format!("https://{at}");
    config.service.ca_file = Some(bench.path("ca.pem"));
    config.service.client_certificate = Some(bench.path("agent.pem"));
    config.service.client_key = Some(bench.path("agent.key"));
    config.service.token_file = Some(bench.path("token"));

    // The service is not who it should be, or does not know the agent.
    let refused = |change: &dyn Fn(&mut Config)| {
        let mut config = config.clone();
        change(&mut config);
        config
    };
    for wrong in [
        refused(&|config| config.service.ca_file = Some(bench.path("stranger.pem"))),
        refused(&|config| config.service.ca_file = None),
        refused(&|config| config.service.url = format!("https://localhost:{}", at.port())),
        refused(&|config| {
            config.service.client_certificate = None;
            config.service.client_key = None;
        }),
        refused(&|config| {
            config.service.url = format!("http://{at}");
            config.service.ca_file = None;
            config.service.client_certificate = None;
            config.service.client_key = None;
        }),
    ] {
        let agent = bench.agent(&wrong);
        agent.look().await;
        let cause = agent.unready().expect("nothing is served");
        assert_eq!(cause.token, "service-unreachable");
    }
    assert!(
        heads.lock().unwrap().is_empty(),
        "nobody else has seen the token"
    );

    let agent = bench.agent(&config);
    agent.look().await;
    assert_eq!(agent.unready(), None);
    let head = heads.lock().unwrap().pop().unwrap();
    assert!(
        head.contains("authorization: Bearer thim_first\r\n"),
        "{head}"
    );

    // A token that was exchanged is in the next question.
    std::fs::write(bench.path("token"), "thim_second").unwrap();
    bench.advance(86_400);
    agent.look().await;
    let head = heads.lock().unwrap().pop().unwrap();
    assert!(
        head.contains("authorization: Bearer thim_second\r\n"),
        "{head}"
    );

    // A pair that does not fit is told, and the old one stays; one that nobody signed whom the service knows is no use.
    std::fs::write(bench.path("agent.key"), "no key").unwrap();
    bench.advance(86_400);
    agent.look().await;
    assert!(heads.lock().unwrap().pop().is_some());
    stranger.client(bench.folder.path());
    bench.advance(86_400);
    agent.look().await;
    assert!(heads.lock().unwrap().is_empty());
    assert_eq!(agent.unready(), None, "what verified is served on");
    ca.client(bench.folder.path());
    bench.advance(86_400);
    agent.look().await;
    assert!(heads.lock().unwrap().pop().is_some());
}

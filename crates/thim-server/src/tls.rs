//! TLS: rustls with the operator's certificate, or a development CA and certificate made at first start.
//! Files are read again when they change; a pair that does not fit is refused and the old one stays.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use serde::Deserialize;
use thim_verify::UnixTime;

/// `[https]`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address and port, or `"off"`. Default `127.0.0.1:8081`, PCCS's port.
    pub listen: String,
    /// PEM file with the certificate chain, leaf first. Without it a development certificate is made in the data directory.
    pub certificate: Option<PathBuf>,
    /// PEM file with the private key.
    pub key: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8081".to_owned(),
            certificate: None,
            key: None,
        }
    }
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be used.
    #[error("{path}: {why}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Only one of the two files is named.
    #[error("[https] needs both certificate and key, or neither")]
    Half,
    /// rustls or rcgen refused.
    #[error("TLS: {0}")]
    Setup(String),
}

/// The certificate in use, and the files it came from.
#[derive(Debug)]
pub struct Certificate {
    current: ArcSwap<CertifiedKey>,
    certificate: PathBuf,
    key: PathBuf,
    seen: std::sync::Mutex<Option<(SystemTime, SystemTime)>>,
    /// True where it was made for development.
    pub development: bool,
}

impl Certificate {
    /// Loads the configured pair, or the development pair of `data`, made if missing or about to expire.
    /// `today` is the system's time: clients judge TLS by theirs, also where the service's clock is simulated.
    pub fn load(config: &Config, data: &Path, today: UnixTime) -> Result<Arc<Self>, TlsError> {
        let (certificate, key, development) = match (&config.certificate, &config.key) {
            (Some(certificate), Some(key)) => (certificate.clone(), key.clone(), false),
            (None, None) => {
                let (certificate, key) = development_pair(&data.join("tls"), today)?;
                (certificate, key, true)
            }
            _ => return Err(TlsError::Half),
        };
        let current = ArcSwap::from(read_pair(&certificate, &key)?);
        let seen = std::sync::Mutex::new(modified(&certificate, &key));
        Ok(Arc::new(Self {
            current,
            certificate,
            key,
            seen,
            development,
        }))
    }

    /// Reads the files again if they changed. `Ok(true)` where a new pair is in use.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let now = modified(&self.certificate, &self.key);
        {
            let mut seen = self
                .seen
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            if *seen == now {
                return Ok(false);
            }
            *seen = now;
        }
        self.current.store(read_pair(&self.certificate, &self.key)?);
        Ok(true)
    }

    /// The server side: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1.
    pub fn server_config(self: &Arc<Self>) -> Result<Arc<rustls::ServerConfig>, TlsError> {
        let setup = |error: rustls::Error| TlsError::Setup(error.to_string());
        let mut config = rustls::ServerConfig::builder_with_provider(
            rustls::crypto::aws_lc_rs::default_provider().into(),
        )
        .with_safe_default_protocol_versions()
        .map_err(setup)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(setup)?;
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

fn read_pair(certificate: &Path, key: &Path) -> Result<Arc<CertifiedKey>, TlsError> {
    let failed = |path: &Path, why: String| TlsError::File {
        path: path.to_owned(),
        why,
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| failed(certificate, error.to_string()))?;
    if chain.is_empty() {
        return Err(failed(certificate, "no certificate in it".to_owned()));
    }
    let private =
        PrivateKeyDer::from_pem_file(key).map_err(|error| failed(key, error.to_string()))?;
    let pair = CertifiedKey::from_der(
        chain,
        private,
        &rustls::crypto::aws_lc_rs::default_provider(),
    )
    .map_err(|error| failed(key, error.to_string()))?;
    Ok(Arc::new(pair))
}

fn modified(certificate: &Path, key: &Path) -> Option<(SystemTime, SystemTime)> {
    let of = |path: &Path| {
        std::fs::metadata(path)
            .and_then(|metadata| metadata.modified())
            .ok()
    };
    Some((of(certificate)?, of(key)?))
}

/// Makes `ca.pem`, `server.pem` and `server.key` in `directory`, unless a pair is there that lasts 30 days
/// more. The CA's key is not kept: nobody can sign with it later.
fn development_pair(directory: &Path, today: UnixTime) -> Result<(PathBuf, PathBuf), TlsError> {
    let (certificate, key) = (directory.join("server.pem"), directory.join("server.key"));
    let setup = |error: rcgen::Error| TlsError::Setup(error.to_string());
    let failed = |path: &Path, error: std::io::Error| TlsError::File {
        path: path.to_owned(),
        why: error.to_string(),
    };
    let until = std::fs::read_to_string(directory.join("until"))
        .ok()
        .and_then(|text| text.trim().parse::<UnixTime>().ok());
    if certificate.exists()
        && key.exists()
        && until.is_some_and(|until| until > today.plus_secs(30 * DAY))
    {
        return Ok((certificate, key));
    }
    std::fs::create_dir_all(directory).map_err(|error| failed(directory, error))?;
    let until = today.plus_secs(LIFETIME_DAYS * DAY);
    let dated = |params: &mut rcgen::CertificateParams| {
        params.not_before = date(today.plus_secs(-DAY));
        params.not_after = date(until);
    };
    let mut ca = rcgen::CertificateParams::default();
    ca.distinguished_name
        .push(rcgen::DnType::CommonName, "THIM development CA");
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    ca.key_usages = vec![
        rcgen::KeyUsagePurpose::KeyCertSign,
        rcgen::KeyUsagePurpose::CrlSign,
    ];
    dated(&mut ca);
    let ca_key = rcgen::KeyPair::generate().map_err(setup)?;
    let ca_certificate = ca.self_signed(&ca_key).map_err(setup)?;
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let mut server = rcgen::CertificateParams::new(names).map_err(setup)?;
    server
        .distinguished_name
        .push(rcgen::DnType::CommonName, "THIM development server");
    server.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    dated(&mut server);
    let server_key = rcgen::KeyPair::generate().map_err(setup)?;
    let issuer = rcgen::Issuer::from_params(&ca, &ca_key);
    let server_certificate = server.signed_by(&server_key, &issuer).map_err(setup)?;
    let write = |path: &Path, text: &str| {
        crate::secret::write(path, text.as_bytes()).map_err(|error| failed(path, error))
    };
    write(&directory.join("ca.pem"), &ca_certificate.pem())?;
    write(&key, &server_key.serialize_pem())?;
    write(
        &certificate,
        &format!("{}{}", server_certificate.pem(), ca_certificate.pem()),
    )?;
    write(&directory.join("until"), &until.to_string())?;
    Ok((certificate, key))
}

fn date(at: UnixTime) -> time::OffsetDateTime {
    time::OffsetDateTime::from_unix_timestamp(at.secs()).unwrap_or(time::OffsetDateTime::UNIX_EPOCH)
}

const DAY: i64 = 86_400;
/// What browsers and curl accept of a private CA's leaf.
const LIFETIME_DAYS: i64 = 397;

//! The service that is asked: one connection kept, TLS by rustls, every wait and body limited, redirects never followed.
//!
//! No proxy is used: the service is the operator's own, and a variable of the environment should not lead a node's
//! questions elsewhere. With `ca_file` its certificates are the only ones trusted, else the system's. Files are read
//! again when they change; the token at each question, so that it may be exchanged at any time.

use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{AUTHORIZATION, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;

use crate::cause::Cause;
use crate::config::{ConfigError, read_limited};
use crate::span::Span;

/// `[service]`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Its base, `http://` or `https://`. No default: the agent refuses to start without.
    pub url: String,
    /// PEM file of the certificates that are trusted instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM file of the agent's certificate for mutual TLS, leaf first.
    pub client_certificate: Option<PathBuf>,
    /// PEM file of its private key.
    pub client_key: Option<PathBuf>,
    /// A file with a bearer token; sent over https or to loopback only.
    pub token_file: Option<PathBuf>,
    /// Time for a fetch in the background: the service may have to ask AMD first. Default 15 s. Guests wait 1 s at most.
    pub timeout: Span,
    /// Whether a certificate of a TCB that the service says is below the operator's floor (`THIM-Baseline`) is refused. Default
    /// false.
    pub refuse_below_floor: bool,
}

/// A service, asked over a connection that is kept.
#[derive(Debug)]
pub struct Service {
    config: Config,
    base: String,
    client: Mutex<Arc<HttpsClient>>,
    seen: Mutex<Vec<Option<SystemTime>>>,
}

/// What it answered, whatever the status.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// All its headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// Why it did not help.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ServiceError {
    /// It said no.
    #[error("the service answered {status}{}", said(cause.as_ref()))]
    Answered {
        /// With which status.
        status: StatusCode,
        /// Why, in its own words.
        cause: Option<Cause>,
        /// When to come again, seconds.
        retry_after: Option<u64>,
    },
    /// Its answer is larger than any genuine one.
    #[error("the service's answer has more than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// It did not answer in time.
    #[error("the service did not answer within {} ms", after.as_millis())]
    TimedOut {
        /// The time it had.
        after: Duration,
    },
    /// No answer came.
    #[error("the service cannot be reached: {why}")]
    Unreachable {
        /// Why.
        why: String,
    },
}

fn said(cause: Option<&Cause>) -> String {
    cause.map_or_else(String::new, |cause| {
        format!(" ({}: {})", cause.token, cause.detail)
    })
}

impl ServiceError {
    /// The status that says no, with what it says beside.
    pub fn of(answer: &Answer) -> Self {
        let retry_after = answer.headers.get(RETRY_AFTER);
        Self::Answered {
            status: answer.status,
            cause: Cause::from_headers(&answer.headers),
            retry_after: retry_after
                .and_then(|value| value.to_str().ok())
                .and_then(|text| text.parse().ok()),
        }
    }

    /// When the service wants to be asked again, seconds.
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Answered { retry_after, .. } => *retry_after,
            Self::TimedOut { .. } | Self::TooLarge { .. } | Self::Unreachable { .. } => None,
        }
    }
}

type HttpsClient = Client<HttpsConnector<HttpConnector>, Empty<Bytes>>;

impl Default for Config {
    fn default() -> Self {
        Self {
            url: String::new(),
            ca_file: None,
            client_certificate: None,
            client_key: None,
            token_file: None,
            timeout: Span::from_secs(15),
            refuse_below_floor: false,
        }
    }
}

impl Config {
    /// Whether the keys fit each other.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let wrong = |key, why: &str| {
            Err(ConfigError::Key {
                key,
                why: why.to_owned(),
            })
        };
        let Some((https, host)) = self.place() else {
            return wrong(
                "[service] url",
                "wanted http:// or https:// with a host, a port and a path if need be, and nothing else",
            );
        };
        if self.client_certificate.is_some() != self.client_key.is_some() {
            return wrong(
                "[service]",
                "client_certificate and client_key: both or neither",
            );
        }
        if self.client_certificate.is_some() && !https {
            return wrong("[service] client_certificate", "wanted an https:// url");
        }
        if self.ca_file.is_some() && !https {
            return wrong("[service] ca_file", "wanted an https:// url");
        }
        if self.token_file.is_some() && !https && !is_loopback(&host) {
            return wrong(
                "[service] token_file",
                "a token is sent over https or to loopback only",
            );
        }
        if self.timeout < Span::from_secs(1) {
            return wrong("[service] timeout", "less than 1s");
        }
        Ok(())
    }

    /// Whether it is https, and its host; none where the URL cannot be used.
    fn place(&self) -> Option<(bool, String)> {
        let uri: Uri = self.url.parse().ok()?;
        let https = match uri.scheme_str()? {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let plain = uri.query().is_none() && !uri.authority()?.as_str().contains('@');
        let host = uri.host().filter(|host| !host.is_empty())?;
        plain.then(|| (https, host.to_owned()))
    }

    fn files(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.ca_file, &self.client_certificate, &self.client_key]
            .into_iter()
            .flatten()
    }
}

impl Service {
    /// Reads the files; nothing is sent.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self {
            base: config.url.trim_end_matches('/').to_owned(),
            client: Mutex::new(Arc::new(client(config)?)),
            seen: Mutex::new(changes(config)),
            config: config.clone(),
        })
    }

    /// Reads changed files again; what does not fit leaves the old ones in use. `Ok(true)` where new ones are.
    ///
    /// # Errors
    /// [`ConfigError`]; told once for each change.
    pub fn reload(&self) -> Result<bool, ConfigError> {
        let now = changes(&self.config);
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if *seen == now {
                return Ok(false);
            }
            *seen = now;
        }
        let made = Arc::new(client(&self.config)?);
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = made;
        Ok(true)
    }

    /// How long a fetch in the background may take.
    pub fn timeout(&self) -> Duration {
        self.config.timeout.duration()
    }

    /// Asks `GET` or `HEAD` for a path and query, within `budget` in all.
    ///
    /// # Errors
    /// [`ServiceError`], but for a status that says no, which is an [`Answer`].
    pub async fn ask(
        &self,
        method: Method,
        target: &str,
        accept: Option<&HeaderValue>,
        limit: usize,
        budget: Duration,
    ) -> Result<Answer, ServiceError> {
        let asked = self.exchange(method, target, accept, limit);
        let answer = tokio::time::timeout(budget, asked).await;
        answer.unwrap_or(Err(ServiceError::TimedOut { after: budget }))
    }

    async fn exchange(
        &self,
        method: Method,
        target: &str,
        accept: Option<&HeaderValue>,
        limit: usize,
    ) -> Result<Answer, ServiceError> {
        let unreachable = |why: String| ServiceError::Unreachable { why };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{target}", self.base))
            .header("metadata", "true");
        if let Some(accept) = accept {
            request = request.header(http::header::ACCEPT, accept);
        }
        if let Some(token) = self.token().await? {
            request = request.header(AUTHORIZATION, token);
        }
        let request = request
            .body(Empty::new())
            .map_err(|_| unreachable("the path makes no URL".to_owned()))?;
        let client = Arc::clone(&self.client.lock().unwrap_or_else(PoisonError::into_inner));
        let response = client
            .request(request)
            .await
            .map_err(|error| unreachable(causes(&error)))?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, limit).collect().await.map_err(|error| {
            if error.is::<http_body_util::LengthLimitError>() {
                ServiceError::TooLarge { limit }
            } else {
                unreachable("the answer broke off".to_owned())
            }
        })?;
        Ok(Answer {
            status: parts.status,
            headers: parts.headers,
            body: body.to_bytes(),
        })
    }

    async fn token(&self) -> Result<Option<HeaderValue>, ServiceError> {
        let Some(path) = self.config.token_file.clone() else {
            return Ok(None);
        };
        let unreachable = |why: String| ServiceError::Unreachable { why };
        let read = crate::output::on_disk(move || {
            read_limited(&path, TOKEN_LIMIT_BYTES)
                .map_err(|why| format!("{}: {why}", path.display()))
        });
        let bytes = read.await.map_err(unreachable)?;
        let text = String::from_utf8_lossy(&bytes);
        let mut value = HeaderValue::try_from(format!("Bearer {}", text.trim()))
            .map_err(|_| unreachable("[service] token_file: no token in it".to_owned()))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

fn client(config: &Config) -> Result<HttpsClient, ConfigError> {
    let tls = tls(config)?;
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(CONNECT_LIMIT));
    http.set_keepalive(Some(KEEP_ALIVE));
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(http);
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_CONNECTION)
        .pool_max_idle_per_host(1)
        .http1_max_buf_size(HEAD_LIMIT_BYTES)
        .build(connector))
}

fn tls(config: &Config) -> Result<rustls::ClientConfig, ConfigError> {
    let failed = |path: &Path, why: String| ConfigError::File {
        path: path.to_owned(),
        why,
    };
    let setup = |error: rustls::Error| ConfigError::Key {
        key: "[service]",
        why: format!("TLS: {error}"),
    };
    let mut roots = rustls::RootCertStore::empty();
    let https = config.place().is_some_and(|(https, _)| https);
    match &config.ca_file {
        Some(path) => {
            for certificate in certificates(path)? {
                roots
                    .add(certificate)
                    .map_err(|error| failed(path, error.to_string()))?;
            }
        }
        // The system's are some hundred; without TLS they would be memory for nothing.
        None if https => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
        }
        None => {}
    }
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let builder = rustls::ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .map_err(setup)?
        .with_root_certificates(roots);
    match (&config.client_certificate, &config.client_key) {
        (Some(certificate), Some(key)) => {
            let private = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| failed(key, error.to_string()))?;
            builder
                .with_client_auth_cert(certificates(certificate)?, private)
                .map_err(|error| failed(certificate, error.to_string()))
        }
        (None, None) | (Some(_), None) | (None, Some(_)) => Ok(builder.with_no_client_auth()),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let failed = |why: String| ConfigError::File {
        path: path.to_owned(),
        why,
    };
    let pem = read_limited(path, PEM_LIMIT_BYTES).map_err(failed)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(failed("no certificate in it".to_owned())),
        Err(error) => Err(failed(error.to_string())),
    }
}

fn changes(config: &Config) -> Vec<Option<SystemTime>> {
    let modified = |path: &PathBuf| {
        std::fs::metadata(path)
            .and_then(|data| data.modified())
            .ok()
    };
    config.files().map(modified).collect()
}

fn is_loopback(host: &str) -> bool {
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || literal
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

/// An error and what caused it; hyper names no URL in them.
fn causes(error: &hyper_util::client::legacy::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    text.chars().take(MAX_WORDS).collect()
}

/// A token has at most 256 bytes.
const TOKEN_LIMIT_BYTES: u64 = 4096;
/// A bundle of the system has 250 KiB.
const PEM_LIMIT_BYTES: u64 = 1024 * 1024;
/// The answer's head: issuer chains of Intel's are in headers, some 5 KiB.
const HEAD_LIMIT_BYTES: usize = 32 * 1024;
/// Part of the budget of whoever asks.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Longer than the pause between two fetches of a fleet's ordinary day is not worth a socket at the service.
const IDLE_CONNECTION: Duration = Duration::from_secs(90);
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Of a library's error.
const MAX_WORDS: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_keys_that_go_together() {
        let at = |url: &str| Config {
            url: url.to_owned(),
            ..Config::default()
        };
        for url in [
            "http://thim:8080",
            "https://thim.example/",
            "https://[::1]:8081/below",
        ] {
            assert!(at(url).check().is_ok(), "{url}");
        }
        for url in [
            "",
            "thim:8080",
            "/metadata",
            "ftp://thim/",
            "https://thim/?a=b",
            "https://user:word@thim/",
            "https:///path",
        ] {
            assert!(at(url).check().is_err(), "{url}");
        }
        let file = || Some(PathBuf::from("x"));
        let https = || at("https://thim");
        assert!(
            Config {
                token_file: file(),
                ..https()
            }
            .check()
            .is_ok()
        );
        assert!(
            Config {
                token_file: file(),
                ..at("http://127.0.0.1:1")
            }
            .check()
            .is_ok()
        );
        for wrong in [
            Config {
                token_file: file(),
                ..at("http://thim")
            },
            Config {
                token_file: file(),
                ..at("http://localhost.example")
            },
            Config {
                ca_file: file(),
                ..at("http://thim")
            },
            Config {
                client_certificate: file(),
                ..https()
            },
            Config {
                client_key: file(),
                ..https()
            },
            Config {
                client_certificate: file(),
                client_key: file(),
                ..at("http://127.0.0.1")
            },
            Config {
                timeout: Span::from_millis(999),
                ..https()
            },
        ] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
    }
}

//! Webhooks: where news is posted to. One attempt at a time, from the first byte to the last; when to try again is decided in
//! [`news`](crate::news).
//!
//! What a receiver answers is counted and not believed: no redirect is followed, a body is read up to a limit and thrown away,
//! and a status is all that matters. Of a URL only scheme, host and port are ever shown, since path and query may be secrets.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use thim_verify::{Digest, UnixTime};

use super::source::{Clients, cause_of, retry_after};
use super::{ConfigError, Transport};
use crate::duration::Span;
use crate::news::NewsKind;
use crate::news::message::{CONTENT_TYPE, Secrets};

/// `[[webhook]]` of the configuration.
#[derive(Clone, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// Its name in events and metrics: 1 to 63 of `a-z0-9-`. News waits under it: another name begins anew.
    pub name: String,
    /// Where to post to, `https://`; `http://` on this machine, or with `allow_http`.
    pub url: String,
    /// A file with one secret, or with the new and the old one: `whsec_` and base64 of 24 to 64 bytes, a line each.
    pub secret_file: PathBuf,
    /// Which kinds of news, by their names; all where absent.
    #[serde(default)]
    pub events: Vec<String>,
    /// Allows `http://` to other machines: whoever listens on the way reads the news. Default false.
    #[serde(default)]
    pub allow_http: bool,
    /// PEM certificates to trust beside the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// An HTTP proxy; without it the environment's `HTTPS_PROXY` and friends count.
    #[serde(default)]
    pub proxy: Option<String>,
    /// Time limit of one attempt. Default 10 s, at most 60 s.
    #[serde(default = "default_timeout")]
    pub timeout: Span,
}

/// Without the URL's path and query, and without the proxy, which may be named with a password.
impl std::fmt::Debug for WebhookConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookConfig")
            .field("name", &self.name)
            .field("url", &self.shown().unwrap_or_default())
            .finish_non_exhaustive()
    }
}

const fn default_timeout() -> Span {
    Span::from_secs(10)
}

impl WebhookConfig {
    /// Scheme, host and port: what may be shown.
    pub fn shown(&self) -> Option<String> {
        reqwest::Url::parse(&self.url).ok().map(|url| shown(&url))
    }

    /// Whether webhooks can be made of these: reads the files that they name, asks nobody.
    pub fn check(all: &[Self]) -> Result<(), ConfigError> {
        Webhook::all(all).map(|_| ())
    }

    fn parsed(&self) -> Result<reqwest::Url, String> {
        // The text is not repeated: it may have a secret in it.
        let url = reqwest::Url::parse(&self.url).map_err(|error| error.to_string())?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err("it is no http:// or https:// URL".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a name and a password have no place in it".to_owned());
        }
        if url.scheme() == "http" && !self.allow_http && !is_loopback(&url) {
            return Err(format!(
                "{}: http:// is for this machine alone, unless allow_http = true",
                shown(&url)
            ));
        }
        Ok(url)
    }
}

/// A receiver.
pub struct Webhook {
    name: String,
    url: reqwest::Url,
    secrets: Secrets,
    kinds: Vec<NewsKind>,
    client: reqwest::Client,
}

/// What became of one attempt.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Posted {
    /// Taken (2xx).
    Done,
    /// The receiver wants nothing more (410).
    Gone,
    /// It says no; wants to be left alone for so many seconds, where it says so.
    Refused {
        /// The status.
        status: u16,
        /// `Retry-After`.
        retry_after_secs: Option<i64>,
    },
    /// No connection, or no answer in time.
    Unavailable {
        /// What happened, without the URL.
        why: String,
    },
}

impl Webhook {
    /// All of a configuration. Reads the files that they name.
    pub fn all(configs: &[WebhookConfig]) -> Result<Vec<Self>, ConfigError> {
        if configs.len() > WEBHOOKS {
            let why = format!("{} of them; at most {WEBHOOKS}", configs.len());
            return Err(invalid("name", why));
        }
        let mut all: Vec<Self> = Vec::with_capacity(configs.len());
        for config in configs {
            let webhook = Self::new(config)?;
            if all.iter().any(|other| other.name == webhook.name) {
                return Err(invalid(
                    "name",
                    format!("{}: it is there twice", config.name),
                ));
            }
            all.push(webhook);
        }
        Ok(all)
    }

    fn new(config: &WebhookConfig) -> Result<Self, ConfigError> {
        let name = &config.name;
        let named = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !(1..=NAME_BYTES).contains(&name.len()) || !name.bytes().all(named) {
            let why = format!("wanted 1 to {NAME_BYTES} of a-z, 0-9 and -");
            return Err(invalid("name", why));
        }
        let wrong = |key, why: String| invalid(key, format!("{name}: {why}"));
        let url = config.parsed().map_err(|why| wrong("url", why))?;
        let path = &config.secret_file;
        let secrets = crate::secret::read(path).map_err(|error| error.to_string());
        let secrets = secrets
            .and_then(|text| Secrets::read(&text))
            .map_err(|why| wrong("secret_file", format!("{}: {why}", path.display())))?;
        let kinds = config.events.iter().map(|name| name.parse());
        let kinds = kinds
            .collect::<Result<Vec<NewsKind>, _>>()
            .map_err(|error| wrong("events", error.to_string()))?;
        let timeout = config.timeout.duration();
        if timeout.is_zero() || timeout > TIMEOUT_LIMIT {
            let why = format!(
                "wanted more than 0 and at most {} s",
                TIMEOUT_LIMIT.as_secs()
            );
            return Err(wrong("timeout", why));
        }
        let clients = Clients::new(&Transport {
            proxy: config.proxy.as_deref(),
            ca_file: config.ca_file.as_deref(),
            attempt_timeout: timeout,
        })
        .map_err(|(key, why)| wrong(key, why))?;
        Ok(Self {
            name: name.clone(),
            client: clients.to(is_loopback(&url)),
            url,
            secrets,
            kinds,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Scheme, host and port.
    pub fn shown(&self) -> String {
        shown(&self.url)
    }

    /// What tells this URL from another, without saying it.
    pub fn url_digest(&self) -> Digest {
        Digest::of(self.url.as_str().as_bytes())
    }

    /// Whether it is to be told this kind.
    pub fn wants(&self, kind: NewsKind) -> bool {
        self.kinds.is_empty() || self.kinds.contains(&kind)
    }

    /// Posts a message once.
    pub async fn post(&self, id: &str, body: Bytes, now: UnixTime) -> Posted {
        let timestamp = now.secs();
        let signature = self.secrets.sign(id, timestamp, &body);
        let outgoing = self
            .client
            .post(self.url.clone())
            .header("Content-Type", CONTENT_TYPE)
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(body);
        let mut response = match outgoing.send().await {
            Ok(response) => response,
            Err(error) => {
                return Posted::Unavailable {
                    why: cause_of(&error),
                };
            }
        };
        let status = response.status().as_u16();
        let retry_after_secs = retry_after(response.headers(), now);
        // A short answer is read to its end, so that the connection can be used again; a long one is left.
        let mut read = 0;
        while read <= ANSWER_BYTES {
            match response.chunk().await {
                Ok(Some(piece)) => read += piece.len(),
                Ok(None) | Err(_) => break,
            }
        }
        match status {
            200..=299 => Posted::Done,
            410 => Posted::Gone,
            status => Posted::Refused {
                status,
                retry_after_secs,
            },
        }
    }
}

fn shown(url: &reqwest::Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        None => format!("{}://{host}", url.scheme()),
        Some(port) => format!("{}://{host}:{port}", url.scheme()),
    }
}

fn is_loopback(url: &reqwest::Url) -> bool {
    matches!(url.host_str(), Some("127.0.0.1" | "[::1]" | "localhost"))
}

const fn invalid(key: &'static str, why: String) -> ConfigError {
    ConfigError {
        section: "[webhook]",
        key,
        why,
    }
}

/// Each has a task and a line of its own.
const WEBHOOKS: usize = 16;
/// A label of a metric; as a tenant's name.
const NAME_BYTES: usize = 63;
/// Receivers answer at once and work later.
const TIMEOUT_LIMIT: Duration = Duration::from_secs(60);
/// Nothing that a receiver says is of use here.
const ANSWER_BYTES: usize = 16 * 1024;

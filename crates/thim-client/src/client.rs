//! A blocking client of the own API: one request, one answer, a time limit, no retries.
//! The command line uses it for `--service`; it never follows redirects and never sends the token
//! anywhere but to the base URL it was given.

use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::Problem;

/// Talks to one THIM service.
pub struct Client {
    agent: ureq::Agent,
    base: String,
    token: Option<String>,
}

/// What a service says on one of PCCS's paths.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PccsAnswer {
    /// 200, or why not.
    pub status: u16,
    /// `THIM-Cause`, where the service is a THIM.
    pub cause: Option<String>,
    /// `Retry-After`.
    pub retry_after: Option<String>,
    /// PCCS's text.
    pub text: String,
}

/// What stands on a vendor's path, in bytes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RawAnswer {
    /// 200, or why not; a redirect is not followed.
    pub status: u16,
    /// `Retry-After`: seconds, as AMD's key server and a THIM send it.
    pub retry_after: Option<String>,
    /// `THIM-Cause`, where the service is a THIM.
    pub cause: Option<String>,
    /// The body, as long as it is within the limit.
    pub body: Vec<u8>,
}

/// Why a call gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The answer is not what the API promises.
    #[error("{url}: unexpected answer: {why}")]
    Answer {
        /// The URL asked.
        url: String,
        /// What was wrong with it.
        why: String,
    },
    /// The service refused, and says why.
    #[error("{} ({}){}", .0.title, .0.status, .0.detail.as_deref().map(|d| format!(": {d}")).unwrap_or_default())]
    Problem(Problem),
    /// The service could not be reached.
    #[error("{url}: {why}")]
    Unreachable {
        /// The URL asked.
        url: String,
        /// The transport's words.
        why: String,
    },
}

impl Client {
    /// A client of the service at `base` (scheme, host and port), with the bearer `token` for acts
    /// that change something. `extra_roots` are PEM certificates to trust beside the system's.
    pub fn new(
        base: &str,
        token: Option<String>,
        extra_roots: Option<&[u8]>,
    ) -> Result<Self, ClientError> {
        let mut tls = ureq::tls::TlsConfig::builder().unversioned_rustls_crypto_provider(
            rustls::crypto::aws_lc_rs::default_provider().into(),
        );
        tls = match extra_roots {
            None => tls.root_certs(ureq::tls::RootCerts::PlatformVerifier),
            Some(pem) => {
                let roots: Vec<ureq::tls::Certificate<'static>> = ureq::tls::parse_pem(pem)
                    .filter_map(|item| match item {
                        Ok(ureq::tls::PemItem::Certificate(certificate)) => Some(certificate),
                        _ => None,
                    })
                    .collect();
                if roots.is_empty() {
                    return Err(ClientError::Answer {
                        url: base.to_owned(),
                        why: "no certificate in the CA file".to_owned(),
                    });
                }
                tls.root_certs(ureq::tls::RootCerts::new_with_certs(&roots))
            }
        };
        let config = ureq::Agent::config_builder()
            .tls_config(tls.build())
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("thim/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self {
            agent: config.into(),
            base: base.trim_end_matches('/').to_owned(),
            token,
        })
    }

    /// GET `path`, an own-API path with query.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let url = format!("{}{path}", self.base);
        read(&url, self.with_token(self.agent.get(&url)).call())
    }

    /// POST `body` as JSON to `path`.
    pub fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl serde::Serialize,
    ) -> Result<T, ClientError> {
        let url = format!("{}{path}", self.base);
        let request = self.with_token(self.agent.post(&url));
        read(&url, request.send_json(body))
    }

    /// POST bytes as they are to `path`.
    pub fn post_bytes<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &[u8],
    ) -> Result<T, ClientError> {
        let url = format!("{}{path}", self.base);
        let request = self
            .with_token(self.agent.post(&url))
            .header("Content-Type", "application/octet-stream");
        read(&url, request.send(body))
    }

    /// PUT `body` as JSON to a path of PCCS's: its answers are short texts, and its refusals too.
    pub fn put_pccs(&self, path: &str, body: &[u8]) -> Result<PccsAnswer, ClientError> {
        let url = format!("{}{path}", self.base);
        let request = self
            .with_token(self.agent.put(&url))
            .header("Content-Type", "application/json");
        let unreachable = |error: ureq::Error| ClientError::Unreachable {
            url: url.clone(),
            why: error.to_string(),
        };
        let mut response = request.send(body).map_err(unreachable)?;
        let header = |name: &str| {
            let value = response.headers().get(name)?;
            value.to_str().ok().map(str::to_owned)
        };
        Ok(PccsAnswer {
            status: response.status().as_u16(),
            cause: header("thim-cause"),
            retry_after: header("retry-after"),
            text: response
                .body_mut()
                .with_config()
                .limit(TEXT_LIMIT_BYTES)
                .read_to_string()
                .map_err(unreachable)?,
        })
    }

    /// GET a vendor's path: the body, and one header where it is there. None where the answer is not 200.
    pub fn get_vendor(
        &self,
        path: &str,
        header: &str,
    ) -> Result<Option<(String, Option<String>)>, ClientError> {
        let url = format!("{}{path}", self.base);
        let unreachable = |error: ureq::Error| ClientError::Unreachable {
            url: url.clone(),
            why: error.to_string(),
        };
        let mut response = self.agent.get(&url).call().map_err(unreachable)?;
        if response.status().as_u16() != 200 {
            return Ok(None);
        }
        let header = response.headers().get(header);
        let header = header.and_then(|value| value.to_str().ok().map(str::to_owned));
        let body = response
            .body_mut()
            .with_config()
            .limit(ANSWER_LIMIT_BYTES)
            .read_to_string()
            .map_err(unreachable)?;
        Ok(Some((body, header)))
    }

    /// GET a vendor's path, of a THIM or of the vendor: whatever status and bytes there are, `limit_bytes` at most.
    /// The path may name a chip, so errors name the service alone.
    pub fn get_raw(&self, path: &str, limit_bytes: u64) -> Result<RawAnswer, ClientError> {
        let unreachable = |error: ureq::Error| ClientError::Unreachable {
            url: self.base.clone(),
            why: error.to_string(),
        };
        let request = self.agent.get(format!("{}{path}", self.base));
        let mut response = request.call().map_err(unreachable)?;
        let header = |name: &str| {
            let value = response.headers().get(name)?;
            value.to_str().ok().map(str::to_owned)
        };
        Ok(RawAnswer {
            status: response.status().as_u16(),
            retry_after: header("retry-after"),
            cause: header("thim-cause"),
            body: response
                .body_mut()
                .with_config()
                .limit(limit_bytes)
                .read_to_vec()
                .map_err(unreachable)?,
        })
    }

    /// The request with the token, where there is one.
    fn with_token<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        match &self.token {
            Some(token) => request.header("Authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    /// DELETE `path`.
    pub fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let url = format!("{}{path}", self.base);
        read(&url, self.with_token(self.agent.delete(&url)).call())
    }
}

fn read<T: DeserializeOwned>(
    url: &str,
    result: Result<http::Response<ureq::Body>, ureq::Error>,
) -> Result<T, ClientError> {
    let mut response = result.map_err(|error| ClientError::Unreachable {
        url: url.to_owned(),
        why: error.to_string(),
    })?;
    let status = response.status();
    let text = response
        .body_mut()
        .with_config()
        .limit(ANSWER_LIMIT_BYTES)
        .read_to_string()
        .map_err(|error| ClientError::Answer {
            url: url.to_owned(),
            why: error.to_string(),
        })?;
    if !status.is_success() {
        return Err(match serde_json::from_str::<Problem>(&text) {
            Ok(problem) => ClientError::Problem(problem),
            Err(_) => ClientError::Answer {
                url: url.to_owned(),
                why: format!("status {status}"),
            },
        });
    }
    serde_json::from_str(&text).map_err(|error| ClientError::Answer {
        url: url.to_owned(),
        why: error.to_string(),
    })
}

/// An operator waits no longer than this; a refresh of a large fleet is paced by budgets and may take minutes.
const TIMEOUT: Duration = Duration::from_secs(300);
/// PCCS's texts are a line; an error page of something between is longer, and of no use.
const TEXT_LIMIT_BYTES: u64 = 64 * 1024;
/// Listings are paged well below this.
const ANSWER_LIMIT_BYTES: u64 = 64 * 1024 * 1024;

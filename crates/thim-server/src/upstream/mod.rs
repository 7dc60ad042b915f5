//! The only place that opens outward connections: an ordered list of sources, each with a budget, a breaker,
//! limits and time-outs. What comes back is bytes and headers; nothing here believes them.

mod amd;
mod breaker;
pub(crate) mod budget;
mod intel;
mod pck;
mod source;
mod webhook;

pub use amd::{AmdConfig, Kds, VcekRequest};
pub use breaker::Turn;
pub use intel::{Request, Wanted};
pub use pck::{PckBy, PckRequest};
pub use source::{FetchError, Fetched, Lane, Source};
pub use webhook::{Posted, Webhook, WebhookConfig};

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use crate::clock::Clock;
use crate::duration::Span;
use crate::store::Store;

/// `[intel]` of the configuration.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Base URLs, asked in this order: Intel's PCS, another THIM or a PCCS. Scheme, host and port; paths are appended. `[]` asks nobody.
    pub upstream: Vec<String>,
    /// Where the root CRL is. Tried before the bases' own `rootcacrl`.
    pub root_crl_url: String,
    /// A file with the subscription key (`Ocp-Apim-Subscription-Key`), sent over https or loopback only.
    pub api_key_file: Option<PathBuf>,
    /// `"lazy"` fetches what is missed, `"req"` and `"offline"` answer from the store alone.
    pub fill: Fill,
    /// An HTTP proxy for all upstreams; without it the environment's `HTTPS_PROXY` and friends count.
    pub proxy: Option<String>,
    /// PEM certificates to trust for upstreams beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Calls per second to one upstream, misses and refresh together. Default 5.
    pub requests_per_second: u32,
    /// Calls at once after a pause. Default 10.
    pub burst: u32,
    /// Calls in flight to one upstream. Default 8.
    pub concurrency: usize,
    /// Time limit of one attempt. Default 4 s.
    pub attempt_timeout: Span,
}

/// What happens on a miss.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Fill {
    /// Fetch it.
    #[default]
    Lazy,
    /// Nothing is fetched, neither on a miss nor in the background.
    Offline,
    /// Fetch on request of an operator and in the background only.
    Req,
}

impl Fill {
    /// The word of the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lazy => "lazy",
            Self::Offline => "offline",
            Self::Req => "req",
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            upstream: vec!["https://api.trustedservices.intel.com".to_owned()],
            root_crl_url: "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
                .to_owned(),
            api_key_file: None,
            fill: Fill::Lazy,
            proxy: None,
            ca_file: None,
            requests_per_second: 5,
            burst: 10,
            concurrency: 8,
            attempt_timeout: Span::from_secs(4),
        }
    }
}

/// How a vendor is reached.
struct Transport<'a> {
    proxy: Option<&'a str>,
    ca_file: Option<&'a Path>,
    attempt_timeout: Duration,
}

impl Config {
    /// Whether an [`Intel`] can be made of it: reads the files that it names, asks nobody.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.read()?;
        let parsed = |key, text: &str, whole| {
            source::parsed(text, whole).map_err(|why| ConfigError::intel(key, why))
        };
        for base in &self.upstream {
            parsed("upstream", base, false)?;
        }
        if !self.upstream.is_empty() && !self.root_crl_url.is_empty() {
            parsed("root_crl_url", &self.root_crl_url, true)?;
        }
        Ok(())
    }

    /// The subscription key, and clients with the proxy and the certificates.
    fn read(&self) -> Result<(Option<String>, source::Clients), ConfigError> {
        let invalid = |key, why: String| ConfigError::intel(key, why);
        if self.upstream.len() > SOURCES {
            return Err(invalid(
                "upstream",
                format!("{} URLs; at most {SOURCES}", self.upstream.len()),
            ));
        }
        let api_key = match &self.api_key_file {
            None => None,
            Some(path) => Some(
                read_key(path)
                    .map_err(|why| invalid("api_key_file", format!("{}: {why}", path.display())))?,
            ),
        };
        let clients = source::Clients::new(&Transport {
            proxy: self.proxy.as_deref(),
            ca_file: self.ca_file.as_deref(),
            attempt_timeout: self.attempt_timeout.duration(),
        })
        .map_err(|(key, why)| invalid(key, why))?;
        Ok((api_key, clients))
    }
}

impl Config {
    /// A fifth of the rate is the refresh's, the rest belongs to misses. Together the two make what the configuration
    /// says, and each has one at least.
    fn lanes(&self) -> [source::LaneSettings; 2] {
        let total = f64::from(self.requests_per_second.max(1));
        let concurrency = self.concurrency.clamp(1, 256);
        let background = source::LaneSettings {
            per_second: total * 0.2,
            burst: (self.burst / 5).max(1),
            in_flight: (concurrency / 4).max(1),
        };
        let miss = source::LaneSettings {
            per_second: total * 0.8,
            burst: self.burst.saturating_sub(background.burst).max(1),
            in_flight: concurrency.saturating_sub(background.in_flight).max(1),
        };
        [background, miss]
    }
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("[{section}] {key}: {why}")]
pub struct ConfigError {
    section: &'static str,
    key: &'static str,
    why: String,
}

impl ConfigError {
    const fn intel(key: &'static str, why: String) -> Self {
        Self {
            section: "intel",
            key,
            why,
        }
    }
}

/// The sources of Intel's collateral, in order.
pub struct Intel {
    sources: Vec<Source>,
    root_crl: Option<Source>,
}

impl Intel {
    /// Makes the sources. Reads the key and CA files.
    pub fn new(config: &Config, store: &Arc<Store>, clock: &Clock) -> Result<Self, ConfigError> {
        let (api_key, clients) = config.read()?;
        let settings = source::SourceSettings {
            lanes: config.lanes(),
            attempt_timeout: config.attempt_timeout.duration(),
        };
        let make = |key: &'static str, text: &str, whole: bool| {
            Source::new(
                text,
                whole,
                &clients,
                api_key.as_deref(),
                settings,
                store,
                clock,
            )
            .map_err(|why| ConfigError::intel(key, why))
        };
        let sources = config
            .upstream
            .iter()
            .map(|base| make("upstream", base, false))
            .collect::<Result<Vec<_>, _>>()?;
        let root_crl = if config.upstream.is_empty() || config.root_crl_url.is_empty() {
            None
        } else {
            Some(make("root_crl_url", &config.root_crl_url, true)?)
        };
        Ok(Self { sources, root_crl })
    }

    /// The sources to ask for `request`, in order.
    pub fn sources_for<'a>(
        &'a self,
        request: &Request,
    ) -> impl Iterator<Item = &'a Source> + use<'a> {
        let first = if request.wanted == Wanted::RootCrl {
            self.root_crl.as_ref()
        } else {
            None
        };
        first.into_iter().chain(&self.sources)
    }

    /// The sources that answer any question, in order: all but the one of the root CRL.
    pub fn bases(&self) -> impl Iterator<Item = &Source> {
        self.sources.iter()
    }

    /// True where nobody is to be asked.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// Every source, for gauges.
    pub fn all(&self) -> impl Iterator<Item = &Source> {
        self.root_crl.iter().chain(&self.sources)
    }
}

fn read_key(path: &std::path::Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let key = text.trim();
    if key.is_empty() || key.len() > 256 || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("no key of 1 to 256 printable characters".to_owned());
    }
    Ok(key.to_owned())
}

impl Request {
    /// Whether it is for AMD's key server.
    pub const fn is_amd(&self) -> bool {
        matches!(
            self.wanted,
            Wanted::AmdCertChain { .. } | Wanted::AmdCrl { .. }
        )
    }
}

/// A list longer than this is a mistake: each is waited for in turn.
const SOURCES: usize = 8;

//! AMD's key server, or another THIM in its place: what it may be asked, and how a chip's certificate is asked for.
//!
//! It throttles: one request in ten seconds for one chip and TCB, by its own word, and by report as much for one client
//! address (`spec/amd-kds-and-thim.md` 1.6). The first rule is the register's (`chips`); the second is the budget here.
//! Lists and chains have a small budget of their own, so that neither keeps the other waiting. A chip id is a secret:
//! it goes into the call and nowhere else.

use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;
use thim_verify::amd::{Products, VcekKey};

use super::source::{Call, Clients, LaneSettings, Source, SourceSettings, parsed};
use super::{ConfigError, Fill, SOURCES, Transport};
use crate::clock::Clock;
use crate::duration::Span;
use crate::store::Store;

/// `[amd]` of the configuration.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct AmdConfig {
    /// Base URLs, asked in this order: AMD's key server, or another THIM. Scheme, host and port; paths are appended. `[]` asks nobody.
    pub upstream: Vec<String>,
    /// `"lazy"` fetches what is missed, `"req"` and `"offline"` answer from the store alone.
    pub fill: Fill,
    /// Certificates of chips that one upstream is asked for in a minute. Default 6 of AMD's own server, which throttles, and 600 of any other.
    pub vceks_per_minute: Option<u32>,
    /// How many of them at once after a pause. Default 1 of AMD's own server, 20 of any other.
    pub burst: Option<u32>,
    /// Time limit of one attempt. Default 8 s.
    pub attempt_timeout: Span,
    /// An HTTP proxy for all upstreams; without it the environment's `HTTPS_PROXY` and friends count.
    pub proxy: Option<String>,
    /// PEM certificates to trust for upstreams beside the system's.
    pub ca_file: Option<PathBuf>,
    /// A file with facts about products (models, layouts), in place of those built in; see docs/amd.md. It adds no trust.
    pub products_file: Option<PathBuf>,
    /// Value of `Access-Control-Allow-Origin` on the key server's paths, for verifiers in browsers. Default: no such header.
    pub allow_origin: Option<String>,
    /// How long clients may keep a certificate of a chip, 24 h at most. Default 24 h.
    pub max_age: Span,
    /// Certificates of chips kept ready in memory, some 3 KB each (20 KB of those asked for in every form). Default 20000.
    pub ready: usize,
}

impl Default for AmdConfig {
    fn default() -> Self {
        Self {
            upstream: vec![format!("https://{KDS}")],
            fill: Fill::Lazy,
            vceks_per_minute: None,
            burst: None,
            attempt_timeout: Span::from_secs(8),
            proxy: None,
            ca_file: None,
            products_file: None,
            allow_origin: None,
            max_age: Span::from_secs(24 * 3600),
            ready: 20_000,
        }
    }
}

impl AmdConfig {
    /// Whether a [`Kds`] can be made of it: reads the files that it names, asks nobody.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.clients()?;
        self.products()?;
        if let Some(origin) = &self.allow_origin {
            let printable = origin.bytes().all(|byte| byte.is_ascii_graphic());
            if !printable || !(1..=ORIGIN_BYTES).contains(&origin.len()) {
                let why = format!("wanted 1 to {ORIGIN_BYTES} printable characters");
                return Err(invalid("allow_origin", why));
            }
        }
        if self.vceks_per_minute == Some(0) {
            return Err(invalid("vceks_per_minute", "wanted 1 or more".to_owned()));
        }
        for base in &self.upstream {
            parsed(base, false).map_err(|why| invalid("upstream", why))?;
        }
        Ok(())
    }

    /// The facts about products: built in, with those of the file in place of their namesakes.
    pub fn products(&self) -> Result<Products, ConfigError> {
        let Some(path) = &self.products_file else {
            return Ok(Products::builtin());
        };
        let wrong = |why: String| invalid("products_file", format!("{}: {why}", path.display()));
        let length = std::fs::metadata(path)
            .map_err(|error| wrong(error.to_string()))?
            .len();
        if length > PRODUCTS_BYTES {
            return Err(wrong(format!(
                "{length} bytes; the limit is {PRODUCTS_BYTES}"
            )));
        }
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        Products::from_json(&text).map_err(|error| wrong(error.to_string()))
    }

    fn clients(&self) -> Result<Clients, ConfigError> {
        if self.upstream.len() > SOURCES {
            let why = format!("{} URLs; at most {SOURCES}", self.upstream.len());
            return Err(invalid("upstream", why));
        }
        Clients::new(&Transport {
            proxy: self.proxy.as_deref(),
            ca_file: self.ca_file.as_deref(),
            attempt_timeout: self.attempt_timeout.duration(),
        })
        .map_err(|(key, why)| invalid(key, why))
    }

    /// What an upstream may be asked.
    fn lanes(&self, base: &str) -> [LaneSettings; 2] {
        let is_kds = parsed(base, false).is_ok_and(|url| url.host_str() == Some(KDS));
        let (per_minute, burst) = if is_kds { (6, 1) } else { (600, 20) };
        let vceks = LaneSettings {
            per_second: f64::from(self.vceks_per_minute.unwrap_or(per_minute).max(1)) / 60.0,
            burst: self.burst.unwrap_or(burst).max(1),
            in_flight: if is_kds { 1 } else { IN_FLIGHT },
        };
        let lists = LaneSettings {
            per_second: 0.1,
            burst: LISTS,
            in_flight: 2,
        };
        [lists, vceks]
    }
}

/// The sources of AMD's collateral, in order.
pub struct Kds {
    sources: Vec<Source>,
}

impl Kds {
    /// Makes the sources. Reads the CA file.
    pub fn new(config: &AmdConfig, store: &Arc<Store>, clock: &Clock) -> Result<Self, ConfigError> {
        let clients = config.clients()?;
        let make = |base: &String| {
            Source::new(
                base,
                false,
                &clients,
                None,
                SourceSettings {
                    lanes: config.lanes(base),
                    attempt_timeout: config.attempt_timeout.duration(),
                },
                store,
                clock,
            )
            .map_err(|why| invalid("upstream", why))
        };
        Ok(Self {
            sources: config.upstream.iter().map(make).collect::<Result<_, _>>()?,
        })
    }

    /// In order.
    pub fn sources(&self) -> impl Iterator<Item = &Source> {
        self.sources.iter()
    }

    /// True where nobody is to be asked.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }
}

/// The call for one chip's certificate.
#[derive(Clone, Copy)]
pub struct VcekRequest<'a> {
    /// Whose, at which TCB.
    pub key: &'a VcekKey,
    /// What the key server's paths call the product.
    pub line: &'a str,
}

impl VcekRequest<'_> {
    /// The call to a source with this base URL.
    pub(super) fn call(&self, base: &str) -> Call {
        let (line, query) = (self.line, self.key.tcb.to_query());
        let chip = self.key.hw_id.to_hex_lower();
        Call {
            shown: format!("{base}/vcek/v1/{line}/...?{query}"),
            url: format!("{base}/vcek/v1/{line}/{chip}?{query}"),
            post: None,
            chain_header: None,
            body_limit_bytes: VCEK_LIMIT_BYTES,
        }
    }
}

const fn invalid(key: &'static str, why: String) -> ConfigError {
    ConfigError {
        section: "amd",
        key,
        why,
    }
}

/// AMD's own server.
const KDS: &str = "kdsintf.amd.com";
/// Real ones have 1,289 to 1,360 bytes; what is parsed has 8 KiB at most.
const VCEK_LIMIT_BYTES: usize = 16 * 1024;
/// Certificates of chips in flight to a server that does not throttle.
const IN_FLIGHT: usize = 8;
/// Three products' chains and lists of two kinds, and a repetition.
const LISTS: u32 = 15;
/// The table has 2 KB; what is parsed has 64 KiB at most.
const PRODUCTS_BYTES: u64 = 64 * 1024;
/// A URL's scheme, host and port, or `*`.
const ORIGIN_BYTES: usize = 300;

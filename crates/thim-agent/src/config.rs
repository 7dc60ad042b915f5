//! The configuration of the agent: one TOML file, every key optional but `[service] url` and what tells the chip,
//! unknown keys refused. Files that it names count from where it is; `data` counts from the working directory.
//! Secrets are named by path. `docs/samples/agent.toml` has every key and is parsed by a test.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use thim_verify::amd::Anchors;

use crate::host;
use crate::output;
use crate::service;
use crate::span::Span;

/// The whole file.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The directory of what is kept: one file of public certificates. Default `./thim-agent-data`.
    pub data: PathBuf,
    /// The service that is asked.
    pub service: service::Config,
    /// The metadata service.
    pub http: Http,
    /// Probes and metrics.
    pub health: Health,
    /// Which chip this is.
    pub host: host::Config,
    /// Trusted roots.
    pub trust: Trust,
    /// Files for hypervisors and guests.
    pub output: output::Config,
    /// What `/metadata/instance` tells.
    pub instance: Instance,
    /// Logs.
    pub log: Log,
}

/// `[http]`: the metadata service.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Address and port. Default `169.254.169.254:80`.
    pub listen: SocketAddr,
    /// Names and addresses a client may put into `Host` beside the address it connected to and 169.254.169.254;
    /// without port. Default none; at most 16.
    pub hosts: Vec<String>,
    /// Requests of one peer in a second; as many may come at once. Default 5, as Azure documents for a machine.
    pub requests_per_second: u32,
    /// Open connections. Default 256.
    pub connections: usize,
    /// Open connections of one peer. Default 32.
    pub connections_per_peer: usize,
    /// Time for a request's head, and how long an idle connection is kept. Default 10 s.
    pub idle_timeout: Span,
    /// How long a connection is kept however busy it is; one request more may end then. Default 2 min.
    pub connection_timeout: Span,
}

/// `[health]`: `/healthz/live`, `/healthz/ready`, `/metrics`; no header is demanded there.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Health {
    /// Address and port, or `"off"`. Default `127.0.0.1:8170`.
    pub listen: Listen,
}

/// An address, or nothing.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(try_from = "String")]
pub enum Listen {
    /// There.
    At(SocketAddr),
    /// Nowhere.
    Off,
}

/// `[trust]`: replaces the pinned roots, for tests and for simulated vendors. The start says so loudly.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Trust {
    /// PEM files with self-signed ARKs that replace AMD's. Default none: AMD's own.
    pub amd_roots: Vec<PathBuf>,
}

/// `[instance]`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Instance {
    /// The region that `/metadata/instance` tells as `compute.location`. Default none: the path is 404 then, since
    /// a region made up would send Azure's client to a host that does not exist.
    pub location: Option<String>,
}

/// `[log]`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `"human"` or `"json"`. Default `"human"`.
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read, or not understood.
    #[error("{}: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's or the parser's words.
        why: String,
    },
    /// A key has a value that cannot be meant.
    #[error("{key}: {why}")]
    Key {
        /// The key with its table.
        key: &'static str,
        /// What is wrong with the value; never the value of a chip id.
        why: String,
    },
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: "./thim-agent-data".into(),
            service: service::Config::default(),
            http: Http::default(),
            health: Health::default(),
            host: host::Config::default(),
            trust: Trust::default(),
            output: output::Config::default(),
            instance: Instance::default(),
            log: Log::default(),
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((crate::LINK_LOCAL, 80)),
            hosts: Vec::new(),
            requests_per_second: 5,
            connections: 256,
            connections_per_peer: 32,
            idle_timeout: Span::from_secs(10),
            connection_timeout: Span::from_secs(120),
        }
    }
}

impl Default for Health {
    fn default() -> Self {
        Self {
            listen: Listen::At(SocketAddr::from(([127, 0, 0, 1], 8170))),
        }
    }
}

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let address = text.parse().map(Self::At);
        address.map_err(|_| format!("{text:?} is neither an address with a port nor \"off\""))
    }
}

impl Config {
    /// Reads a file, or gives the defaults where none is named. What it says is checked at the start, not here.
    ///
    /// # Errors
    /// [`ConfigError::File`].
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let Some(path) = path else {
            return Ok(Self::default());
        };
        let failed = |why: String| ConfigError::File {
            path: path.to_owned(),
            why,
        };
        let text = read_limited(path, FILE_LIMIT_BYTES).map_err(failed)?;
        let text = String::from_utf8(text).map_err(|_| failed("not UTF-8".to_owned()))?;
        // The parser's message quotes the line, and a line may hold the chip's id.
        let mut config: Self = toml::from_str(&text).map_err(|error| {
            let line = error.span().map_or(0, |span| {
                text.get(..span.start)
                    .unwrap_or_default()
                    .lines()
                    .count()
                    .max(1)
            });
            failed(format!("line {line}: {}", error.message()))
        })?;
        let base = path.parent().unwrap_or_else(|| Path::new("."));
        let named = [
            &mut config.service.ca_file,
            &mut config.service.client_certificate,
            &mut config.service.client_key,
            &mut config.service.token_file,
            &mut config.host.file,
            &mut config.output.certificate_table,
            &mut config.output.host_amd_cert,
        ];
        for file in named.into_iter().flatten() {
            *file = base.join(&*file);
        }
        for root in &mut config.trust.amd_roots {
            *root = base.join(&*root);
        }
        Ok(config)
    }

    /// What no type says: limits, and keys that go together.
    ///
    /// # Errors
    /// [`ConfigError::Key`] with the first key that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        let wrong = |key, why: &str| {
            Err(ConfigError::Key {
                key,
                why: why.to_owned(),
            })
        };
        let http = &self.http;
        if http.hosts.len() > MAX_HOSTS {
            return wrong("[http] hosts", "more than 16");
        }
        let plain = |name: &String| {
            (1..=255).contains(&name.len())
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-._:".contains(&b))
        };
        if !http.hosts.iter().all(plain) {
            return wrong("[http] hosts", "wanted names or addresses without port");
        }
        if !(1..=MAX_RATE).contains(&http.requests_per_second) {
            return wrong("[http] requests_per_second", "wanted 1 to 1000000");
        }
        if !(1..=MAX_CONNECTIONS).contains(&http.connections) {
            return wrong("[http] connections", "wanted 1 to 10000");
        }
        if http.connections_per_peer == 0 {
            return wrong("[http] connections_per_peer", "wanted 1 or more");
        }
        if http.idle_timeout.duration().is_zero() {
            return wrong("[http] idle_timeout", "wanted more than 0");
        }
        if http.connection_timeout < http.idle_timeout {
            return wrong("[http] connection_timeout", "shorter than idle_timeout");
        }
        if let Some(location) = &self.instance.location
            && !((1..=64).contains(&location.len())
                && location
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-'))
        {
            return wrong(
                "[instance] location",
                "wanted 1 to 64 letters, digits or hyphens",
            );
        }
        self.service.check()?;
        self.host.check()
    }

    /// The roots to trust: AMD's pinned keys, or the files of `[trust]`.
    ///
    /// # Errors
    /// [`ConfigError::File`].
    pub fn anchors(&self) -> Result<Anchors, ConfigError> {
        if self.trust.amd_roots.is_empty() {
            return Ok(Anchors::builtin());
        }
        let mut pem = Vec::new();
        for path in self.trust.amd_roots.iter().take(MAX_ROOT_FILES) {
            let failed = |why: String| ConfigError::File {
                path: path.clone(),
                why,
            };
            pem.extend(read_limited(path, FILE_LIMIT_BYTES).map_err(failed)?);
            pem.push(b'\n');
            if let Err(error) = Anchors::from_pem(&pem) {
                return Err(failed(error.to_string()));
            }
        }
        Anchors::from_pem(&pem).map_err(|error| ConfigError::Key {
            key: "[trust] amd_roots",
            why: error.to_string(),
        })
    }
}

/// Reads a file of at most `limit` bytes.
pub(crate) fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > limit {
        return Err(format!("longer than the limit of {limit} bytes"));
    }
    Ok(bytes)
}

/// A configuration has some 2 KiB, a file of roots 2.3 KiB a root.
const FILE_LIMIT_BYTES: u64 = 256 * 1024;
/// A node has few names.
const MAX_HOSTS: usize = 16;
/// As many as [`Anchors`] takes roots.
const MAX_ROOT_FILES: usize = 16;
/// Beyond what one core answers: no limit, in effect.
const MAX_RATE: u32 = 1_000_000;
/// A place costs some 10 KiB while it is used.
const MAX_CONNECTIONS: usize = 10_000;

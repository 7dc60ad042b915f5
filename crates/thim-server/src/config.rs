//! The configuration: one TOML file, every key optional, unknown keys refused. Each part's settings sit
//! beside the part; this file gathers them. Files that it names count from where it is; `data` counts from
//! the working directory. Secrets are named by path and never stand here.

pub mod check;
pub mod convert;

use std::path::{Path, PathBuf};

use serde::Deserialize;
use thim_verify::TrustAnchors;
use thim_verify::amd::Anchors;

use crate::access::PccsHash;
use crate::baselines::statement;
use crate::{evidence, freshness, listen, news, platforms, sentinel, tls, upstream};

/// The whole file.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The directory of the store, the keys and the tokens. Default `./thim-data`.
    pub data: PathBuf,
    /// Plain HTTP.
    pub http: Http,
    /// HTTPS.
    pub https: tls::Config,
    /// Limits of both listeners.
    pub limits: listen::Limits,
    /// Intel's upstreams.
    pub intel: upstream::Config,
    /// AMD's upstreams.
    pub amd: upstream::AmdConfig,
    /// The register of platforms.
    pub platforms: platforms::Config,
    /// What quotes say of platforms.
    pub evidence: evidence::Config,
    /// Statements of baselines.
    pub baselines: statement::Config,
    /// Polls, ages and graces.
    pub freshness: freshness::Config,
    /// Holds.
    pub sentinel: sentinel::Config,
    /// Trusted roots.
    pub trust: Trust,
    /// The own API.
    pub api: Api,
    /// Logs.
    pub log: Log,
    /// What news is told as.
    pub news: news::Config,
    /// Where news is posted to.
    pub webhook: Vec<upstream::WebhookConfig>,
}

/// `[http]`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Address and port, or `"off"`. Default `127.0.0.1:8080`.
    pub listen: String,
}

/// `[trust]`: replaces the pinned roots, for pre-production CPUs and tests. Start-up and the status say so loudly.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Trust {
    /// PEM files with self-signed roots that replace Intel's. Relative paths count from the configuration file.
    pub intel_roots: Vec<PathBuf>,
    /// PEM files with self-signed ARKs that replace AMD's, of all products. Relative paths count from the configuration file.
    pub amd_roots: Vec<PathBuf>,
}

/// `[api]`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Api {
    /// A file with the bearer token for acts that change something. Default: `admin.token` in the data directory, made at first start.
    pub token_file: Option<PathBuf>,
    /// PCCS's `UserTokenHash`: the SHA-512, 128 hex digits, of a token that registers platforms in the header `user-token`. For migration; no default.
    pub user_token_hash: Option<PccsHash>,
    /// PCCS's `AdminTokenHash`, likewise of the token that PCCS's administrators send in the header `admin-token`.
    pub admin_token_hash: Option<PccsHash>,
}

/// `[log]`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `"human"` or `"json"`.
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
    /// A file it names cannot be read.
    #[error("{path}: {why}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's or the parser's words.
        why: String,
    },
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: "./thim-data".into(),
            http: Http::default(),
            https: tls::Config::default(),
            limits: listen::Limits::default(),
            intel: upstream::Config::default(),
            amd: upstream::AmdConfig::default(),
            platforms: platforms::Config::default(),
            evidence: evidence::Config::default(),
            baselines: statement::Config::default(),
            freshness: freshness::Config::default(),
            sentinel: sentinel::Config::default(),
            trust: Trust::default(),
            api: Api::default(),
            log: Log::default(),
            news: news::Config::default(),
            webhook: Vec::new(),
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".to_owned(),
        }
    }
}

impl Config {
    /// Reads a file, or gives the defaults where none is named.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let Some(path) = path else {
            return Ok(Self::default());
        };
        let failed = |why: String| ConfigError::File {
            path: path.to_owned(),
            why,
        };
        let length = std::fs::metadata(path)
            .map_err(|error| failed(error.to_string()))?
            .len();
        if length > FILE_LIMIT_BYTES {
            return Err(failed(format!(
                "{length} bytes; the limit is {FILE_LIMIT_BYTES}"
            )));
        }
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        let mut config: Self = toml::from_str(&text).map_err(|error| failed(error.to_string()))?;
        let base = path.parent().unwrap_or_else(|| Path::new("."));
        let named = [
            &mut config.api.token_file,
            &mut config.https.certificate,
            &mut config.https.key,
            &mut config.intel.api_key_file,
            &mut config.intel.ca_file,
            &mut config.amd.ca_file,
            &mut config.amd.products_file,
            &mut config.baselines.signing_key,
        ];
        for file in named.into_iter().flatten() {
            *file = base.join(&*file);
        }
        for webhook in &mut config.webhook {
            webhook.secret_file = base.join(&webhook.secret_file);
            if let Some(file) = &mut webhook.ca_file {
                *file = base.join(&*file);
            }
        }
        let trust = &mut config.trust;
        for root in trust.intel_roots.iter_mut().chain(&mut trust.amd_roots) {
            *root = base.join(&*root);
        }
        Ok(config)
    }

    /// Intel's roots to trust: the pinned key, or the files of `[trust]`.
    pub fn anchors(&self) -> Result<TrustAnchors, ConfigError> {
        if self.trust.intel_roots.is_empty() {
            return Ok(TrustAnchors::intel());
        }
        roots(&self.trust.intel_roots, TrustAnchors::from_pem)
    }

    /// AMD's roots to trust: the pinned keys, or the files of `[trust]`.
    pub fn amd_anchors(&self) -> Result<Anchors, ConfigError> {
        if self.trust.amd_roots.is_empty() {
            return Ok(Anchors::builtin());
        }
        roots(&self.trust.amd_roots, Anchors::from_pem)
    }
}

/// The roots of all files, each of which is judged with those before it, so that an error names its file.
fn roots<T>(
    files: &[PathBuf],
    read: impl Fn(&[u8]) -> Result<T, thim_verify::Error>,
) -> Result<T, ConfigError> {
    let mut pem = Vec::new();
    for path in files {
        let failed = |why: String| ConfigError::File {
            path: path.clone(),
            why,
        };
        pem.extend(std::fs::read(path).map_err(|error| failed(error.to_string()))?);
        pem.push(b'\n');
        if let Err(error) = read(&pem) {
            return Err(failed(error.to_string()));
        }
    }
    read(&pem).map_err(|error| ConfigError::File {
        path: PathBuf::from("[trust]"),
        why: error.to_string(),
    })
}

const FILE_LIMIT_BYTES: u64 = 1024 * 1024;

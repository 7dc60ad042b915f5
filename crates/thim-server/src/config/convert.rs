//! The configuration of Intel's PCCS, `config/default.json`, as one of ours.
//!
//! What it promises. Each key of the file is told of: what it became, that it is not needed, that it is not possible,
//! or that it is not known. The result is accepted by [`Config::load`](super::Config::load). A secret never stands in
//! it: the subscription key comes apart, to be put into a file of its own.
//!
//! Rules: PCCS 1.27, `config/default.json` and its README, and the keys of earlier ones (`spec/intel-pcs-and-pccs.md`
//! sections 1, 1.2, 5.1 and 5.2).

mod relaxed;

use std::fmt;
use std::path::PathBuf;

use data_encoding::HEXLOWER;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::duration::Span;

/// What a key of PCCS's became.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Note {
    /// The key.
    pub key: String,
    /// In a word.
    pub fate: Fate,
    /// In a sentence.
    pub text: String,
}

/// In a word.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It stands in the new configuration.
    Mapped,
    /// THIM does it otherwise, or always.
    NotNeeded,
    /// THIM cannot do it, or the value makes no sense.
    NotPossible,
    /// It is none of PCCS's.
    Unknown,
}

/// What the file's surroundings tell.
#[derive(Clone, Debug, Default)]
pub struct Around {
    /// PCCS's certificate and key, where they were found: it reads them from where it runs.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// What the new configuration is to call the file with the subscription key.
    pub api_key_file: PathBuf,
}

/// A new configuration.
pub struct Converted {
    /// The file.
    pub toml: String,
    /// The subscription key, to be put into [`Around::api_key_file`], readable by its owner alone.
    pub api_key: Option<String>,
    /// A note a key, by key.
    pub notes: Vec<Note>,
}

impl Converted {
    /// True where nothing of the old configuration is lost.
    pub fn is_whole(&self) -> bool {
        self.notes
            .iter()
            .all(|note| matches!(note.fate, Fate::Mapped | Fate::NotNeeded))
    }
}

impl fmt::Debug for Converted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Converted")
            .field("toml", &self.toml)
            .field("notes", &self.notes)
            .finish_non_exhaustive()
    }
}

/// A file that is no configuration of PCCS. Tells a place, and nothing that stands there.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotPccs {
    /// JSON, and no object, or with none of PCCS's keys.
    #[error("none of PCCS's keys is in it")]
    Foreign,
    /// Not JSON, not even with comments.
    #[error("not JSON at line {line}, column {column}")]
    Json {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
}

/// Converts the text of a `default.json`.
///
/// # Errors
/// [`NotPccs`].
pub fn convert(text: &str, around: &Around) -> Result<Converted, NotPccs> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let value: Value =
        serde_json::from_str(&relaxed::plain(text)).map_err(|error| NotPccs::Json {
            line: error.line(),
            column: error.column(),
        })?;
    let Value::Object(keys) = value else {
        return Err(NotPccs::Foreign);
    };
    if !keys.keys().any(|key| TELLING.contains(&key.as_str())) {
        return Err(NotPccs::Foreign);
    }
    let mut conversion = Conversion::default();
    conversion.listener(&keys, around);
    for (key, value) in &keys {
        conversion.key(key, value, &keys, around);
    }
    conversion
        .notes
        .sort_by(|one, other| one.key.cmp(&other.key));
    Ok(Converted {
        toml: conversion.toml(),
        api_key: conversion.api_key,
        notes: conversion.notes,
    })
}

#[derive(Default)]
struct Conversion {
    /// Section, key, value.
    lines: Vec<(&'static str, &'static str, toml::Value)>,
    api_key: Option<String>,
    notes: Vec<Note>,
}

impl Conversion {
    fn note(&mut self, key: &str, fate: Fate, text: impl Into<String>) {
        let key = key.chars().filter(|c| !c.is_control()).take(KEY_CHARS);
        self.notes.push(Note {
            key: key.collect(),
            fate,
            text: text.into(),
        });
    }

    fn set(
        &mut self,
        section: &'static str,
        name: &'static str,
        value: impl Into<toml::Value>,
        from: &str,
    ) {
        self.lines.push((section, name, value.into()));
        self.note(from, Fate::Mapped, format!("[{section}] {name}"));
    }

    /// Host and port together make one key here; PCCS has no plain HTTP and reads its certificate from a fixed place.
    fn listener(&mut self, keys: &Map<String, Value>, around: &Around) {
        self.lines.push(("http", "listen", "off".into()));
        let host = keys.get("hosts").map_or(Some("127.0.0.1"), |value| {
            value.as_str().filter(|host| is_host(host))
        });
        let port = keys.get("HTTPS_PORT").map_or(Some(8081), whole);
        let port = port.and_then(|port| u16::try_from(port).ok());
        match (host, port) {
            (Some(host), Some(port)) => {
                let listen = if host.contains(':') {
                    format!("[{host}]:{port}")
                } else {
                    format!("{host}:{port}")
                };
                self.lines.push(("https", "listen", listen.into()));
                for key in ["HTTPS_PORT", "hosts"] {
                    if keys.contains_key(key) {
                        self.note(key, Fate::Mapped, "[https] listen");
                    }
                }
            }
            (host, port) => {
                for (key, right, wanted) in [
                    ("HTTPS_PORT", port.is_some(), "a port, 0 to 65535"),
                    ("hosts", host.is_some(), "a host name or an address"),
                ] {
                    if keys.contains_key(key) {
                        let text = if right {
                            "the other half of the address is wrong; [https] listen keeps its default"
                                .to_owned()
                        } else {
                            format!("wanted {wanted}; [https] listen keeps its default")
                        };
                        self.note(key, Fate::NotPossible, text);
                    }
                }
            }
        }
        if let Some((certificate, key)) = &around.certificate {
            for (name, path) in [("certificate", certificate), ("key", key)] {
                let path = path.display().to_string();
                self.lines.push(("https", name, path.into()));
            }
            self.note(
                "ssl_key",
                Fate::Mapped,
                "PCCS's certificate and key stay where they are: [https] certificate, key",
            );
        } else {
            self.note(
                "ssl_key",
                Fate::NotNeeded,
                "no ssl_key/file.crt and private.pem beside the file: a certificate is made for development unless [https] certificate and key name one",
            );
        }
    }

    fn key(&mut self, key: &str, value: &Value, keys: &Map<String, Value>, around: &Around) {
        match key {
            // Told of above.
            "HTTPS_PORT" | "hosts" => {}
            "AdminTokenHash" => self.hash(key, value, "admin_token_hash"),
            "UserTokenHash" => self.hash(key, value, "user_token_hash"),
            "AdminToken" => self.token(key, value, "AdminTokenHash", keys, "admin_token_hash"),
            "UserToken" => self.token(key, value, "UserTokenHash", keys, "user_token_hash"),
            "ApiKey" => self.api_key(value, around),
            "CachingFillMode" => match value.as_str() {
                Some("LAZY") => self.set("intel", "fill", "lazy", key),
                Some("REQ") => self.set("intel", "fill", "req", key),
                Some("OFFLINE") => self.set("intel", "fill", "offline", key),
                _ => self.note(
                    key,
                    Fate::NotPossible,
                    "wanted LAZY, REQ or OFFLINE; the default, lazy, stays",
                ),
            },
            "DB_CONFIG" => self.database(value, keys),
            "mysql" | "sqlite" => self.note(
                key,
                Fate::NotNeeded,
                "THIM keeps its own store in `data`; nothing is configured. See DB_CONFIG",
            ),
            "HeadersTimeoutSeconds" => self.note(
                key,
                Fate::NotNeeded,
                "a request's head has as long as an idle connection: [limits] idle_timeout",
            ),
            "KeepAliveTimeoutSeconds" => self.seconds(key, value, "idle_timeout"),
            "RequestTimeoutSeconds" => self.seconds(key, value, "request_timeout"),
            "LogLevel" => self.note(
                key,
                Fate::NotNeeded,
                format!(
                    "logs go to stderr; for this level start the service with THIM_LOG={}",
                    level(value)
                ),
            ),
            "MaxRequestBodySize" => match size_bytes(value) {
                Some(bytes) => self.set("limits", "body_bytes", bytes, key),
                None => self.note(
                    key,
                    Fate::NotPossible,
                    "wanted a size such as 2MB; the default, 2 MiB, stays",
                ),
            },
            "OPENSSL_FIPS_MODE" if value.as_bool() == Some(true) => self.note(
                key,
                Fate::NotPossible,
                "THIM's cryptography is built without FIPS mode",
            ),
            "OPENSSL_FIPS_MODE" => self.note(key, Fate::NotNeeded, "it is off, and THIM has none"),
            "RefreshSchedule" => self.note(
                key,
                Fate::NotNeeded,
                "THIM polls all day, hourly to six-hourly by kind and ahead of next update: [freshness]. PCK certificates too: [platforms] refetch",
            ),
            "init_db" => self.note(key, Fate::NotNeeded, "the store is made at first start"),
            "proxy" => self.proxy(value),
            "uri" => self.uri(value),
            _ => self.note(key, Fate::Unknown, "PCCS has no such key; it is left out"),
        }
    }

    fn hash(&mut self, key: &str, value: &Value, name: &'static str) {
        match value.as_str() {
            Some("") | None if value.is_null() || value.as_str() == Some("") => self.note(
                key,
                Fate::NotNeeded,
                "there is none; `thim token create` makes tokens",
            ),
            Some(hash) if hash.len() == 128 && hash.bytes().all(|b| b.is_ascii_hexdigit()) => {
                self.set("api", name, hash, key);
            }
            _ => self.note(
                key,
                Fate::NotPossible,
                "it is not the SHA-512 of a token in 128 hex digits; PCCS refuses every token under it, and so would THIM",
            ),
        }
    }

    /// The first PCCS had tokens in clear; what is kept here is a hash, as the later ones do it.
    fn token(
        &mut self,
        key: &str,
        value: &Value,
        hashed: &str,
        keys: &Map<String, Value>,
        name: &'static str,
    ) {
        let token = value.as_str().filter(|token| !token.is_empty());
        match token {
            Some(token) if !keys.contains_key(hashed) => {
                let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA512, token.as_bytes());
                self.set("api", name, HEXLOWER.encode(hash.as_ref()), key);
            }
            Some(_) => self.note(key, Fate::NotNeeded, format!("{hashed} stands beside it")),
            None => self.note(
                key,
                Fate::NotNeeded,
                "there is none; `thim token create` makes tokens",
            ),
        }
    }

    fn api_key(&mut self, value: &Value, around: &Around) {
        let key = "ApiKey";
        match value.as_str().map(str::trim) {
            None | Some("") => self.note(
                key,
                Fate::NotNeeded,
                "there is none; Intel answers without one, fewer times a minute",
            ),
            // As `[intel] api_key_file` is read.
            Some(text) if text.len() <= 256 && text.bytes().all(|b| b.is_ascii_graphic()) => {
                let path = around.api_key_file.display().to_string();
                self.set("intel", "api_key_file", path, key);
                self.api_key = Some(text.to_owned());
            }
            Some(_) => self.note(
                key,
                Fate::NotPossible,
                "it is not 1 to 256 printable characters",
            ),
        }
    }

    fn seconds(&mut self, key: &str, value: &Value, name: &'static str) {
        let millis = value
            .as_f64()
            .map(|secs| (secs * 1000.0).round())
            .filter(|millis| (1.0..=86_400_000.0).contains(millis));
        // Within a day, so nothing is lost.
        #[allow(clippy::cast_possible_truncation, reason = "1 to 86,400,000")]
        match millis.map(|millis| millis as i64) {
            Some(millis) => {
                let span = if millis % 1000 == 0 {
                    format!("{}s", millis / 1000)
                } else {
                    format!("{millis}ms")
                };
                debug_assert!(span.parse::<Span>().is_ok());
                self.set("limits", name, span, key);
            }
            None => self.note(
                key,
                Fate::NotPossible,
                format!("wanted seconds, a day at most; [limits] {name} keeps its default"),
            ),
        }
    }

    fn database(&mut self, value: &Value, keys: &Map<String, Value>) {
        let key = "DB_CONFIG";
        let kind = value.as_str().unwrap_or_default();
        let section = keys.get(kind).and_then(Value::as_object);
        let storage = section
            .and_then(|section| section.get("options"))
            .and_then(|options| options.get("storage"))
            .and_then(Value::as_str)
            .unwrap_or("pckcache.db");
        let storage: String = storage.chars().filter(|c| !c.is_control()).collect();
        if kind == "sqlite" {
            let text = format!(
                "THIM keeps its own store; to take over what PCCS has: `thim platform import-pccs {storage}` (from where PCCS runs)"
            );
            self.note(key, Fate::NotNeeded, text);
        } else {
            self.note(
                key,
                Fate::NotPossible,
                "`thim platform import-pccs` reads SQLite alone. Register the hosts again, or collect a platform list with pccsadmin get and put what PcsClientTool fetches for it",
            );
        }
    }

    fn proxy(&mut self, value: &Value) {
        let key = "proxy";
        let text = match value.as_str().map(str::trim) {
            None | Some("") => {
                return self.note(
                    key,
                    Fate::NotNeeded,
                    "there is none; the environment's HTTPS_PROXY counts, as with PCCS",
                );
            }
            Some(text) => text,
        };
        let with_scheme = if text.contains("://") {
            text.to_owned()
        } else {
            format!("http://{text}")
        };
        match reqwest::Url::parse(&with_scheme) {
            Ok(url) if !url.username().is_empty() || url.password().is_some() => self.note(
                key,
                Fate::NotPossible,
                "it has a user or a password in it, which do not belong into a configuration: start the service with HTTPS_PROXY",
            ),
            Ok(url)
                if matches!(url.scheme(), "http" | "https")
                    && url.host_str().is_some()
                    && reqwest::Proxy::all(&with_scheme).is_ok() =>
            {
                self.set("intel", "proxy", with_scheme, key);
            }
            _ => self.note(
                key,
                Fate::NotPossible,
                "wanted the URL of an HTTP proxy; none is used but the environment's",
            ),
        }
    }

    fn uri(&mut self, value: &Value) {
        let key = "uri";
        let url = value.as_str().and_then(|text| {
            let url = reqwest::Url::parse(text).ok()?;
            let plain = url.username().is_empty() && url.password().is_none();
            (matches!(url.scheme(), "http" | "https") && plain).then_some(url)
        });
        let Some((url, host)) = url
            .as_ref()
            .and_then(|url| Some((url, url.host_str()?.to_owned())))
        else {
            return self.note(
                key,
                Fate::NotPossible,
                "wanted an http:// or https:// URL; Intel's service stays",
            );
        };
        let version = url
            .path()
            .trim_end_matches('/')
            .strip_prefix("/sgx/certification/v");
        let Some(version) = version.filter(|version| matches!(*version, "2" | "3" | "4")) else {
            return self.note(
                key,
                Fate::NotPossible,
                "its path is not /sgx/certification/v4/, and an upstream has none of its own; Intel's service stays",
            );
        };
        let origin = url.origin().ascii_serialization();
        let upstream = toml::Value::Array(vec![origin.into()]);
        self.lines.push(("intel", "upstream", upstream));
        let mut text = "[intel] upstream".to_owned();
        if version != "4" {
            text.push_str("; version 4 of the API is asked, the earlier ones have ended");
        }
        if host.ends_with(INTEL) && host != format!("api{INTEL}") {
            text.push_str(
                "; this is not Intel's production service: what it signs needs [trust] intel_roots, and its root CRL [intel] root_crl_url",
            );
        }
        self.note(key, Fate::Mapped, text);
    }

    fn toml(&self) -> String {
        let mut text = "# Made by `thim config convert` from the default.json of Intel's PCCS.\n\
            # PCCS has no plain HTTP, so that is off; everything else that is not here has its default.\n"
            .to_owned();
        for section in SECTIONS {
            let mut lines = self
                .lines
                .iter()
                .filter(|line| line.0 == section)
                .peekable();
            if lines.peek().is_some() {
                text.push_str(&format!("\n[{section}]\n"));
            }
            for (_, name, value) in lines {
                text.push_str(&format!("{name} = {value}\n"));
            }
        }
        let lost: Vec<&Note> = self
            .notes
            .iter()
            .filter(|note| matches!(note.fate, Fate::NotPossible | Fate::Unknown))
            .collect();
        if !lost.is_empty() {
            text.push_str("\n# Not taken over:\n");
            for note in lost {
                text.push_str(&format!("#   {}: {}\n", note.key, note.text));
            }
        }
        text
    }
}

fn is_host(text: &str) -> bool {
    text.parse::<std::net::IpAddr>().is_ok()
        || (!text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_')))
}

/// A whole number, or a text of one, as JavaScript takes both for a port.
fn whole(value: &Value) -> Option<u64> {
    value
        .as_u64()
        .or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()))
}

/// The sizes of the `bytes` package, which Express reads limits with: a number, or one with a unit of powers of 1024.
fn size_bytes(value: &Value) -> Option<i64> {
    if let Some(bytes) = value.as_i64() {
        return (bytes > 0).then_some(bytes);
    }
    let text = value.as_str()?.trim().to_ascii_lowercase();
    let digits = text
        .bytes()
        .take_while(|b| b.is_ascii_digit() || *b == b'.')
        .count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim() {
        "" | "b" => 1.0,
        "kb" => 1024.0,
        "mb" => 1024.0 * 1024.0,
        "gb" => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    let bytes = number.parse::<f64>().ok()? * factor;
    // Far below where whole numbers end in a float.
    #[allow(clippy::cast_possible_truncation, reason = "1 to 2^40")]
    (1.0..=MAX_SIZE_BYTES)
        .contains(&bytes)
        .then_some(bytes as i64)
}

/// npm's levels in ours.
fn level(value: &Value) -> &'static str {
    match value.as_str() {
        Some("error") => "error",
        Some("warn") => "warn",
        Some("verbose" | "debug") => "debug",
        Some("silly") => "trace",
        _ => "info",
    }
}

const SECTIONS: [&str; 5] = ["http", "https", "limits", "intel", "api"];
/// One of these is in every `default.json` that PCCS starts with.
const TELLING: [&str; 4] = ["CachingFillMode", "DB_CONFIG", "HTTPS_PORT", "uri"];
const INTEL: &str = ".trustedservices.intel.com";
/// A foreign key is told of, and no more of it than this.
const KEY_CHARS: usize = 64;
/// 1 TiB: no body has it, and it is no slip of a unit.
const MAX_SIZE_BYTES: f64 = 1_099_511_627_776.0;

#[cfg(test)]
mod tests;

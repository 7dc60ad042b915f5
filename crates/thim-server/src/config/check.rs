//! Whether a service can start with a configuration, told without starting one: every file that it names is read,
//! every address, URL and hash is looked at. Nothing is made, bound or asked.
//!
//! What is left for the start to find out: whether ports are free and the data directory can be used.

use thim_verify::{Kind, UnixTime};

use super::{Config, LogFormat};
use crate::access::{Access, admin_token};
use crate::freshness::ServeExpired;
use crate::metrics::Metrics;
use crate::server::OFF;
use crate::tls;
use crate::upstream::WebhookConfig;

/// What was found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Checked {
    /// What the configuration means: (what, how).
    pub understood: Vec<(String, String)>,
    /// What is allowed and may not be meant.
    pub remarks: Vec<String>,
    /// What keeps the service from starting.
    pub faults: Vec<String>,
}

/// Looks at a configuration. `today` is the system's time, for nothing but the certificate of HTTPS.
pub fn check(config: &Config, today: UnixTime) -> Checked {
    let mut checked = Checked::default();
    checked.listeners(config, today);
    checked.intel(config);
    checked.amd(config);
    checked.trust(config);
    checked.access(config);
    checked.times(config);
    checked.news(config);
    let format = match config.log.format {
        LogFormat::Human => "for people",
        LogFormat::Json => "JSON",
    };
    checked.knows("log", format);
    checked
}

impl Checked {
    fn knows(&mut self, what: &str, how: impl Into<String>) {
        self.understood.push((what.to_owned(), how.into()));
    }

    fn listeners(&mut self, config: &Config, today: UnixTime) {
        self.knows("data", config.data.display().to_string());
        for (name, listen) in [
            ("http", &config.http.listen),
            ("https", &config.https.listen),
        ] {
            self.knows(name, listen.as_str());
            if listen != OFF && !is_address(listen) {
                self.faults.push(format!(
                    "[{name}] listen: {listen:?} is no address and port, such as 127.0.0.1:8081, and not \"off\""
                ));
            }
        }
        if config.http.listen == OFF && config.https.listen == OFF {
            self.faults
                .push("both listeners are off: there is nothing to serve".to_owned());
        }
        if is_open(&config.http.listen) {
            self.remarks.push(
                "[http] listen: not only this machine is served, and tokens travel in clear"
                    .to_owned(),
            );
        }
        match (&config.https.certificate, &config.https.key) {
            (None, None) if config.https.listen == OFF => {}
            (None, None) => self.knows("certificate", "made for development in the data directory"),
            (certificate, key) => {
                // With both named it reads; with one it says so. Nothing is made in either case.
                if let Err(error) = tls::Certificate::load(&config.https, &config.data, today) {
                    self.faults.push(error.to_string());
                }
                for (name, path) in [("certificate", certificate), ("key", key)] {
                    if let Some(path) = path {
                        self.knows(name, path.display().to_string());
                    }
                }
            }
        }
        self.knows("body limit", format!("{} bytes", config.limits.body_bytes));
    }

    fn intel(&mut self, config: &Config) {
        let intel = &config.intel;
        let upstream = if intel.upstream.is_empty() {
            "nobody".to_owned()
        } else {
            intel.upstream.join(", then ")
        };
        self.knows("upstream", upstream);
        self.knows("fill", intel.fill.name());
        self.knows(
            "api key",
            intel
                .api_key_file
                .as_ref()
                .map_or("none".to_owned(), |path| format!("in {}", path.display())),
        );
        if let Some(proxy) = &intel.proxy {
            // A proxy may be named with a password in it.
            let shown = proxy
                .rsplit_once('@')
                .map_or(proxy.as_str(), |(_, host)| host);
            self.knows("proxy", shown);
        }
        if let Err(error) = intel.check() {
            self.faults.push(error.to_string());
        }
        if intel.api_key_file.is_some()
            && intel
                .upstream
                .iter()
                .any(|base| base.starts_with("http://") && !is_loopback(base))
        {
            self.remarks
                .push("[intel] api_key_file: the key is not sent over plain http".to_owned());
        }
    }

    fn amd(&mut self, config: &Config) {
        let amd = &config.amd;
        let upstream = if amd.upstream.is_empty() {
            "nobody".to_owned()
        } else {
            amd.upstream.join(", then ")
        };
        self.knows("amd upstream", upstream);
        self.knows("amd fill", amd.fill.name());
        if let Some(path) = &amd.products_file {
            self.knows("amd products", format!("those of {}", path.display()));
        }
        if let Err(error) = amd.check() {
            self.faults.push(error.to_string());
        }
        match config.amd_anchors() {
            Ok(anchors) if anchors.is_builtin() => self.knows("amd trust", "AMD's pinned roots"),
            Ok(anchors) => {
                let fingerprint = anchors.fingerprint().to_string();
                self.knows("amd trust", format!("replaced, {fingerprint}"));
                self.remarks.push(
                    "[trust] amd_roots: AMD's pinned roots are replaced, for all that is served"
                        .to_owned(),
                );
            }
            Err(error) => self.faults.push(error.to_string()),
        }
    }

    fn trust(&mut self, config: &Config) {
        match config.anchors() {
            Ok(anchors) if anchors.is_builtin() => self.knows("trust", "Intel's pinned root"),
            Ok(anchors) => {
                let fingerprint = anchors.fingerprint().to_string();
                self.knows("trust", format!("replaced, {fingerprint}"));
                self.remarks.push(
                    "[trust] intel_roots: Intel's pinned root is replaced, for all that is served"
                        .to_owned(),
                );
            }
            Err(error) => self.faults.push(error.to_string()),
        }
    }

    fn access(&mut self, config: &Config) {
        let api = &config.api;
        let place = match &api.token_file {
            None => format!("{}/admin.token", config.data.display()),
            Some(path) => path.display().to_string(),
        };
        self.knows("admin token", format!("in {place}"));
        if api.token_file.is_some()
            && let Err(error) = admin_token(api.token_file.as_deref(), &config.data, no_entropy)
        {
            self.faults.push(error.to_string());
        }
        // The judge is made as at a start, for what it says of the hashes.
        if let Err(error) = Access::new("", api, Vec::new(), &Metrics::new(&[])) {
            self.faults.push(error.to_string());
        }
        let accepted = |hash: bool| {
            if hash {
                "its SHA-512 is configured"
            } else {
                "not accepted"
            }
        };
        self.knows("user-token", accepted(api.user_token_hash.is_some()));
        self.knows("admin-token", accepted(api.admin_token_hash.is_some()));
    }

    fn news(&mut self, config: &Config) {
        self.knows("news source", config.news.source.as_str());
        if let Err(error) = config.news.check() {
            self.faults.push(error);
        }
        for webhook in &config.webhook {
            let shown = webhook.shown().unwrap_or_default();
            self.knows("webhook", format!("{} at {shown}", webhook.name));
            if webhook.allow_http {
                self.remarks.push(format!(
                    "[[webhook]] {}: news may travel in clear",
                    webhook.name
                ));
            }
        }
        if let Err(error) = WebhookConfig::check(&config.webhook) {
            self.faults.push(error.to_string());
        }
    }

    fn times(&mut self, config: &Config) {
        for kind in Kind::ALL {
            let policy = config.freshness.of(kind);
            let expired = match policy.serve_expired {
                ServeExpired::Always => "served for ever past next update".to_owned(),
                ServeExpired::For(secs) => format!("served {secs} s past next update"),
                ServeExpired::Never => "not served past next update".to_owned(),
            };
            self.knows(
                kind.name(),
                format!(
                    "polled every {} s, {expired}, max-age {} s",
                    policy.poll_secs, policy.max_age_secs
                ),
            );
        }
        self.knows("hold", format!("{} s", config.sentinel.hold.secs()));
        self.knows(
            "platforms",
            format!(
                "fetched again every {} s, {} kept ready, max-age {} s",
                config.platforms.refetch.secs(),
                config.platforms.ready,
                config.platforms.max_age.secs()
            ),
        );
    }
}

/// Nothing is made here, so nothing random is needed.
fn no_entropy(_bytes: &mut [u8]) -> std::io::Result<()> {
    Err(std::io::Error::other("nothing is made by a check"))
}

/// A host or an address, and a port.
fn is_address(text: &str) -> bool {
    if text.parse::<std::net::SocketAddr>().is_ok() {
        return true;
    }
    let is_name = |host: &str| {
        let letters = host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
        // What has digits and dots alone was meant to be an address, and is none.
        letters && host.bytes().any(|byte| byte.is_ascii_alphabetic())
    };
    text.rsplit_once(':')
        .is_some_and(|(host, port)| is_name(host) && port.parse::<u16>().is_ok())
}

fn is_open(listen: &str) -> bool {
    listen
        .parse::<std::net::SocketAddr>()
        .is_ok_and(|address| !address.ip().is_loopback())
}

fn is_loopback(base: &str) -> bool {
    let host = base.trim_start_matches("http://");
    ["127.0.0.1", "localhost", "[::1]"].iter().any(|loopback| {
        host.strip_prefix(loopback)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/']))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::PccsHash;

    fn faults(change: impl FnOnce(&mut Config)) -> Vec<String> {
        let mut config = Config::default();
        change(&mut config);
        check(&config, UnixTime::from_secs(1_795_521_600)).faults
    }

    #[test]
    fn the_defaults_are_sound_and_nothing_is_made() {
        let directory = tempfile::tempdir().expect("a directory");
        let data = directory.path().join("data");
        assert_eq!(faults(|config| config.data.clone_from(&data)), [""; 0]);
        assert!(!data.exists());
    }

    #[test]
    fn each_fault_is_named_by_its_key() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let path = || Some(file.path().to_owned());
        type Change<'a> = Box<dyn FnOnce(&mut Config) + 'a>;
        let cases: Vec<(Change<'_>, &str)> = vec![
            (
                Box::new(|config| config.http.listen = "8080".to_owned()),
                "[http] listen",
            ),
            (
                Box::new(|config| config.https.listen = "300.0.0.1:8081".to_owned()),
                "[https] listen",
            ),
            (
                Box::new(|config| config.https.listen = "host:70000".to_owned()),
                "[https] listen",
            ),
            (
                Box::new(|config| {
                    config.http.listen = OFF.to_owned();
                    config.https.listen = OFF.to_owned();
                }),
                "both listeners are off",
            ),
            (
                Box::new(|config| config.https.key = path()),
                "both certificate and key",
            ),
            (
                Box::new(|config| {
                    config.https.key = path();
                    config.https.certificate = path();
                }),
                "no certificate in it",
            ),
            (
                Box::new(|config| config.intel.upstream = vec!["https://a/b/".to_owned()]),
                "[intel] upstream",
            ),
            (
                Box::new(|config| config.intel.root_crl_url = "ftp://a/b".to_owned()),
                "[intel] root_crl_url",
            ),
            (
                Box::new(|config| config.intel.api_key_file = path()),
                "[intel] api_key_file",
            ),
            (
                Box::new(|config| config.trust.intel_roots = vec![file.path().to_owned()]),
                "certificate",
            ),
            (
                Box::new(|config| config.api.token_file = path()),
                "a token has",
            ),
            (
                Box::new(|config| config.api.user_token_hash = Some(PccsHash::new("ab"))),
                "[api] user_token_hash",
            ),
            (
                Box::new(|config| config.api.admin_token_hash = Some(PccsHash::new(""))),
                "[api] admin_token_hash",
            ),
        ];
        for (change, named) in cases {
            let found = faults(change);
            assert_eq!(found.len(), 1, "{named}: {found:?}");
            assert!(found[0].contains(named), "{named}: {found:?}");
        }
    }

    #[test]
    fn addresses_and_their_nearest_misses() {
        for text in [
            "127.0.0.1:0",
            "[::]:8081",
            "localhost:8081",
            "a-b.example:1",
        ] {
            assert!(is_address(text), "{text}");
        }
        for text in [
            "127.0.0.1",
            "127.0.0:1",
            ":1",
            "::1:8081",
            "a b:1",
            "a:-1",
            "a:65536",
            "",
        ] {
            assert!(!is_address(text), "{text}");
        }
        assert!(is_loopback("http://localhost:1") && is_loopback("http://127.0.0.1"));
        assert!(!is_loopback("http://localhost.example"));
    }

    #[test]
    fn a_password_in_a_proxy_is_not_shown() {
        let mut config = Config::default();
        config.intel.proxy = Some("http://me:geheim@proxy.example:3128".to_owned());
        let checked = check(&config, UnixTime::from_secs(0));
        assert_eq!(checked.faults, [""; 0]);
        assert!(
            checked
                .understood
                .contains(&("proxy".to_owned(), "proxy.example:3128".to_owned()))
        );
        assert!(!format!("{checked:?}").contains("geheim"));
    }
}

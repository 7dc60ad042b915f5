//! What a client must do to be heard, as at Azure's instance metadata service (IMDS), and what it asks for.
//!
//! The header `Metadata: true` keeps out whatever can only be made to follow a link, `X-Forwarded-For` whatever came
//! through a proxy, and a foreign `Host` a browser that was led here by a name that changed its address. Probing
//! clients send no header and take the 400 as "it is there", so that is judged before the path. Pure.
//! Source: spec/amd-kds-and-thim.md, 6.1 and 6.2.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use http::header::HOST;
use http::{HeaderMap, Method, Uri, Version};
use percent_encoding::percent_decode_str;
use thim_verify::amd::TcbVersion;

/// A request as far as manners go.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// The method.
    pub method: &'a Method,
    /// The target.
    pub uri: &'a Uri,
    /// The version.
    pub version: Version,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The address that the client connected to.
    pub local: SocketAddr,
}

/// What is asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Asked {
    /// `/metadata/THIM/amd/certification`.
    Certification(Certificates),
    /// `/metadata/instance`.
    Instance,
    /// Something below `/metadata/THIM/sgx/`, which the service answers.
    Passed,
}

/// Whose certificates, where the client says so.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Certificates {
    /// `platformId`.
    pub platform_id: Option<String>,
    /// `tcbVersion`.
    pub tcb: Option<TcbVersion>,
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates")
            .field("tcb", &self.tcb.map(TcbVersion::to_tcbm_hex))
            .finish_non_exhaustive()
    }
}

/// Why a client is not heard.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ill {
    /// A name given twice in the query.
    DoubledParameter,
    /// It came through a proxy.
    Forwarded,
    /// The header `Metadata: true` is missing.
    NoMetadataHeader,
    /// Nothing is there.
    NotFound,
    /// A query that cannot be read, or that is too long.
    Query,
    /// `tcbVersion` is not 1 to 16 hex digits.
    TcbVersion,
    /// A path that could lead elsewhere at the service.
    WindingPath,
    /// Another host was meant.
    WrongHost,
    /// Another method; these are allowed.
    WrongMethod(&'static str),
}

/// Judges a request.
///
/// # Errors
/// [`Ill`], the first that holds.
pub fn judge(asking: &Asking<'_>, hosts: &[String]) -> Result<Asked, Ill> {
    host(asking, hosts)?;
    if asking.headers.contains_key(FORWARDED_FOR) {
        return Err(Ill::Forwarded);
    }
    let mut metadata = asking.headers.get_all(METADATA).iter();
    let said = metadata.next().map(|value| value.as_bytes().trim_ascii());
    let willing = said.is_some_and(|value| value.eq_ignore_ascii_case(b"true"));
    if !willing || metadata.next().is_some() {
        return Err(Ill::NoMetadataHeader);
    }
    let path = asking.uri.path();
    let passed = path.starts_with(PASSED);
    let only = |methods: &[&Method], names| {
        if methods.contains(&asking.method) {
            Ok(())
        } else {
            Err(Ill::WrongMethod(names))
        }
    };
    if !passed && ![CERTIFICATION, INSTANCE].contains(&path) {
        return Err(Ill::NotFound);
    }
    if passed {
        only(&[&Method::GET, &Method::HEAD], "GET, HEAD")?;
    } else {
        only(&[&Method::GET], "GET")?;
    }
    let pairs = pairs(asking.uri.query().unwrap_or_default())?;
    if passed {
        straight(path)?;
        return Ok(Asked::Passed);
    }
    if path == INSTANCE {
        return Ok(Asked::Instance);
    }
    let value = |name: &str| {
        pairs
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_ref())
    };
    let tcb = match value("tcbVersion") {
        None => None,
        Some(text) => Some(TcbVersion::from_hex_be(text).map_err(|_| Ill::TcbVersion)?),
    };
    Ok(Asked::Certification(Certificates {
        platform_id: value("platformId").map(str::to_owned),
        tcb,
    }))
}

/// The address that was connected to, with or without its port, or 169.254.169.254 as if at port 80, or a name of the
/// configuration. Nothing at all is heard from HTTP/1.0 alone.
fn host(asking: &Asking<'_>, hosts: &[String]) -> Result<(), Ill> {
    let mut values = asking.headers.get_all(HOST).iter();
    let (value, more) = (values.next(), values.next());
    if more.is_some() {
        return Err(Ill::WrongHost);
    }
    let known = |text: &str| is_known(text, asking.local, hosts);
    // The form of a request to a proxy names a host too.
    if let Some(authority) = asking.uri.authority()
        && !known(authority.as_str())
    {
        return Err(Ill::WrongHost);
    }
    match value.map(|value| value.to_str()) {
        None if asking.version <= Version::HTTP_10 => Ok(()),
        Some(Ok(text)) if known(text) => Ok(()),
        None | Some(_) => Err(Ill::WrongHost),
    }
}

fn is_known(text: &str, local: SocketAddr, hosts: &[String]) -> bool {
    let (name, port) = match text.rsplit_once(':') {
        // The colons of an IPv6 address without port are inside brackets.
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        Some(_) | None => (text, None),
    };
    let port = match port.map(str::parse::<u16>) {
        None => None,
        Some(Ok(port)) => Some(port),
        Some(Err(_)) => return false,
    };
    let literal = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    let address = literal.unwrap_or(name).parse::<IpAddr>().ok();
    let own_port = port.is_none_or(|port| port == local.port());
    if address == Some(local.ip().to_canonical()) {
        return own_port;
    }
    // Before a translation of addresses the client saw port 80, or none.
    if address == Some(IpAddr::V4(crate::LINK_LOCAL)) {
        return own_port || port == Some(80);
    }
    let listed = |host: &String| host.eq_ignore_ascii_case(literal.unwrap_or(name));
    (own_port || port == Some(80)) && hosts.iter().any(listed)
}

type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// Decoded names and values; doubled names, endless queries and what is no UTF-8 are refused.
fn pairs(query: &str) -> Result<Vec<Pair<'_>>, Ill> {
    if query.len() > MAX_QUERY {
        return Err(Ill::Query);
    }
    let mut pairs: Vec<Pair<'_>> = Vec::new();
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let decoded = |text| {
            percent_decode_str(text)
                .decode_utf8()
                .map_err(|_| Ill::Query)
        };
        let (name, value) = (decoded(name)?, decoded(value)?);
        if pairs.len() >= MAX_PAIRS {
            return Err(Ill::Query);
        }
        if pairs.iter().any(|(there, _)| *there == name) {
            return Err(Ill::DoubledParameter);
        }
        pairs.push((name, value));
    }
    Ok(pairs)
}

/// No dots, empty parts or escapes: what is passed on goes with the agent's own token, and to this corner only.
fn straight(path: &str) -> Result<(), Ill> {
    let plain = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.~".contains(&b))
    };
    let rest = path.strip_prefix('/').unwrap_or(path);
    if rest.split('/').all(plain) {
        Ok(())
    } else {
        Err(Ill::WindingPath)
    }
}

/// The path of the certificates.
pub const CERTIFICATION: &str = "/metadata/THIM/amd/certification";
/// The path of the machine's own facts.
pub const INSTANCE: &str = "/metadata/instance";
/// What is passed on to the service.
pub const PASSED: &str = "/metadata/THIM/sgx/";
const METADATA: &str = "metadata";
const FORWARDED_FOR: &str = "x-forwarded-for";
/// An encrypted PPID has 768 digits; nothing asked for here is longer.
const MAX_QUERY: usize = 4096;
/// PCCS's paths have six.
const MAX_PAIRS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    /// Judges `METHOD target` with headers, as if 169.254.169.254:80 had been connected to.
    fn said(line: &str, headers: &[(&str, &str)]) -> Result<Asked, Ill> {
        at("169.254.169.254:80", Version::HTTP_11, line, headers)
    }

    fn at(
        local: &str,
        version: Version,
        line: &str,
        headers: &[(&str, &str)],
    ) -> Result<Asked, Ill> {
        let (method, target) = line.split_once(' ').expect("a line");
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .version(version);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        let asking = Asking {
            method: &parts.method,
            uri: &parts.uri,
            version: parts.version,
            headers: &parts.headers,
            local: local.parse().expect("an address"),
        };
        judge(
            &asking,
            &["imds.internal".to_owned(), "192.0.2.7".to_owned()],
        )
    }

    const OURS: (&str, &str) = ("host", "169.254.169.254");
    const TRUE: (&str, &str) = ("metadata", "true");
    const GET: &str = "GET /metadata/THIM/amd/certification";

    #[test]
    fn the_header_in_any_case_and_once() {
        for value in ["true", "True", "TRUE", " true"] {
            assert!(said(GET, &[OURS, ("Metadata", value)]).is_ok(), "{value}");
        }
        let none: &[(&str, &str)] = &[OURS];
        for headers in [
            none,
            &[OURS, ("metadata", "false")],
            &[OURS, ("metadata", "")],
            &[OURS, ("metadata", "true,true")],
            &[OURS, ("metadata", "1")],
            &[OURS, ("x-metadata", "true")],
            &[OURS, TRUE, TRUE],
        ] {
            assert_eq!(
                said(GET, headers),
                Err(Ill::NoMetadataHeader),
                "{headers:?}"
            );
        }
        // Probing clients see that something is there, whatever the path.
        assert_eq!(
            said("GET /metadata/other", none),
            Err(Ill::NoMetadataHeader)
        );
    }

    #[test]
    fn nothing_through_a_proxy() {
        for value in ["10.0.0.1", "", "169.254.169.254"] {
            let headers = [OURS, TRUE, ("X-Forwarded-For", value)];
            assert_eq!(said(GET, &headers), Err(Ill::Forwarded));
        }
        assert!(said(GET, &[OURS, TRUE, ("x-forwarded", "10.0.0.1")]).is_ok());
    }

    #[test]
    fn hosts_of_our_own_and_others() {
        let host =
            |local: &str, host: &str| at(local, Version::HTTP_11, GET, &[("host", host), TRUE]);
        let here = "169.254.169.254:80";
        for name in [
            "169.254.169.254",
            "169.254.169.254:80",
            "imds.internal",
            "IMDS.Internal:80",
            "192.0.2.7",
        ] {
            assert!(host(here, name).is_ok(), "{name}");
        }
        for name in [
            "",
            "169.254.169.254.evil.example",
            "evil.example",
            "169.254.169.254:8080",
            "169.254.169.254:",
            "169.254.169.254:80:80",
            "169.254.169.25",
            "imds.internal.",
            "127.0.0.1",
            "localhost",
            "user@169.254.169.254",
        ] {
            assert_eq!(host(here, name), Err(Ill::WrongHost), "{name}");
        }
        // Behind a translation of addresses: both the address seen and the one behind it.
        for name in [
            "10.1.2.3:8080",
            "10.1.2.3",
            "169.254.169.254",
            "169.254.169.254:80",
        ] {
            assert!(host("10.1.2.3:8080", name).is_ok(), "{name}");
        }
        assert_eq!(host("10.1.2.3:8080", "10.1.2.3:80"), Err(Ill::WrongHost));
        assert!(
            host("[fd00::1]:80", "[fd00::1]").is_ok()
                && host("[fd00::1]:80", "[fd00::1]:80").is_ok()
        );
        assert_eq!(host("[fd00::1]:80", "[fd00::2]"), Err(Ill::WrongHost));

        assert_eq!(said(GET, &[OURS, OURS, TRUE]), Err(Ill::WrongHost));
        assert_eq!(said(GET, &[TRUE]), Err(Ill::WrongHost));
        assert!(at(here, Version::HTTP_10, GET, &[TRUE]).is_ok());
        let proxied = "GET http://evil.example/metadata/THIM/amd/certification";
        assert_eq!(said(proxied, &[OURS, TRUE]), Err(Ill::WrongHost));
        let absolute = "GET http://169.254.169.254/metadata/THIM/amd/certification";
        assert!(said(absolute, &[OURS, TRUE]).is_ok());
    }

    #[test]
    fn paths_and_methods() {
        let of = |line: &str| said(line, &[OURS, TRUE]);
        assert_eq!(
            of("GET /metadata/instance?api-version=2021-02-01"),
            Ok(Asked::Instance)
        );
        let pck = "/metadata/THIM/sgx/certification/v4/pckcert?qeid=0a&api-version=x";
        assert_eq!(of(&format!("GET {pck}")), Ok(Asked::Passed));
        assert_eq!(of(&format!("HEAD {pck}")), Ok(Asked::Passed));
        for path in [
            "/",
            "/metadata",
            "/metadata/",
            "/metadata/THIM/amd/certification/",
            "/metadata/thim/amd/certification",
            "/metadata/THIM/sgx",
            "/metadata/instance/compute",
            "/metadata/identity/oauth2/token",
            "/thim/v1/status",
            "//metadata/instance",
        ] {
            assert_eq!(of(&format!("GET {path}")), Err(Ill::NotFound), "{path}");
        }
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE"] {
            assert_eq!(
                of(&GET.replace("GET", method)),
                Err(Ill::WrongMethod("GET")),
                "{method}"
            );
        }
        assert_eq!(
            of(&format!("POST {pck}")),
            Err(Ill::WrongMethod("GET, HEAD"))
        );
        for path in [
            "/metadata/THIM/sgx/../../thim/v1/tokens",
            "/metadata/THIM/sgx/%2e%2e/x",
            "/metadata/THIM/sgx//x",
            "/metadata/THIM/sgx/",
            "/metadata/THIM/sgx/./x",
            "/metadata/THIM/sgx/a%2fb",
        ] {
            assert_eq!(of(&format!("GET {path}")), Err(Ill::WindingPath), "{path}");
        }
    }

    #[test]
    fn queries() {
        let of = |query: &str| said(&format!("{GET}?{query}"), &[OURS, TRUE]);
        let asked = |platform_id: Option<&str>, tcb: Option<u64>| {
            Ok(Asked::Certification(Certificates {
                platform_id: platform_id.map(str::to_owned),
                tcb: tcb.map(TcbVersion),
            }))
        };
        assert_eq!(of(""), asked(None, None));
        assert_eq!(of("api-version=2018-10-01&colour=red"), asked(None, None));
        assert_eq!(
            of("platformId=0A&tcbVersion=db18"),
            asked(Some("0A"), Some(0xdb18))
        );
        assert_eq!(of("tcbVersion=00000000000000DB"), asked(None, Some(0xdb)));
        assert_eq!(of("tcb%56ersion=1"), asked(None, Some(1)));
        for query in [
            "tcbVersion=",
            "tcbVersion",
            "tcbVersion=0x1",
            "tcbVersion=g",
            "tcbVersion=00000000000000001",
        ] {
            assert_eq!(of(query), Err(Ill::TcbVersion), "{query}");
        }
        for query in ["a=1&a=1", "platformId=1&platform%49d=2", "a&a="] {
            assert_eq!(of(query), Err(Ill::DoubledParameter), "{query}");
        }
        let many: Vec<String> = (0..33).map(|n| format!("n{n}=1")).collect();
        assert!(of(&many[..32].join("&")).is_ok());
        for query in [&many.join("&"), "a=%ff", &format!("a={}", "b".repeat(4096))] {
            assert_eq!(of(query), Err(Ill::Query));
        }
    }
}

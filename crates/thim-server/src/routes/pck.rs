//! PCK certificates for clients: PCCS's `pckcert`, the same path in the dialect of Azure's client, the metadata
//! service's path, the path form that Azure's client used up to version 1.10, and PCS's own `pckcerts`
//! (`spec/intel-pcs-and-pccs.md` section 2.1, `spec/quote-provider-clients.md` sections 4 and 5).

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use serde::Deserialize;
use thim_verify::{CpuSvn, PceId, PceSvn, RawTcb, UnixTime};

use super::answer;
use super::front::Body;
use super::own::Service;
use super::query::{Invalid, Name, Query};
use super::receive;
use crate::access::{Act, Dialect};
use crate::metrics::{Result as Counted, Route};
use crate::platforms::registration::{EncryptedPpid, Manifest};
use crate::platforms::{Cause, Found, Listed, PckAsk, PckShape, PlatformRefusal};

/// A path that has PCK certificates.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Target<'a> {
    version_3: bool,
    endpoint: Endpoint<'a>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Endpoint<'a> {
    /// `pckcert`.
    Certificate,
    /// `{qeid}/{cpusvn}/{pcesvn}/{pceid}`.
    InPath([&'a str; 4]),
    /// `pckcerts`.
    List,
    /// `/metadata/THIM/...`.
    Metadata,
}

/// Reads a path. `None`: nothing here has it.
pub fn target(path: &str) -> Option<Target<'_>> {
    let path = path.strip_prefix('/')?;
    let mut segments = path.strip_suffix('/').unwrap_or(path).split('/');
    let mut first = segments.next()?;
    let metadata = first.eq_ignore_ascii_case("metadata");
    if metadata {
        if !segments.next()?.eq_ignore_ascii_case("thim") {
            return None;
        }
        first = segments.next()?;
    }
    if !first.eq_ignore_ascii_case("sgx") || !segments.next()?.eq_ignore_ascii_case("certification")
    {
        return None;
    }
    let version = match segments.next()?.as_bytes() {
        [b'v' | b'V', digit @ b'2'..=b'4'] => digit - b'0',
        _ => return None,
    };
    let mut rest = [""; 5];
    let mut count = 0;
    for segment in segments {
        *rest.get_mut(count)? = segment;
        count += 1;
    }
    let endpoint = match (count, rest) {
        (1, [name, ..]) if name.eq_ignore_ascii_case("pckcert") && metadata => Endpoint::Metadata,
        (1, [name, ..]) if name.eq_ignore_ascii_case("pckcert") => Endpoint::Certificate,
        (1, [name, ..]) if name.eq_ignore_ascii_case("pckcerts") && !metadata && version == 4 => {
            Endpoint::List
        }
        (4, [qe_id, cpu_svn, pce_svn, pce_id, _])
            if !metadata
                && version < 4
                && is_hex(cpu_svn, 32)
                && is_hex(pce_svn, 4)
                && is_hex(pce_id, 4) =>
        {
            Endpoint::InPath([qe_id, cpu_svn, pce_svn, pce_id])
        }
        _ => return None,
    };
    Some(Target {
        version_3: version < 4 && !metadata,
        endpoint,
    })
}

impl Target<'_> {
    /// The route it is counted under.
    pub const fn route(&self) -> Route {
        match self.endpoint {
            Endpoint::Certificate | Endpoint::InPath(_) | Endpoint::Metadata => Route::PckCert,
            Endpoint::List => Route::PckCerts,
        }
    }

    /// True below `/sgx/certification/v3` and older.
    pub const fn is_version_3(&self) -> bool {
        self.version_3
    }

    /// True where there is a body to read.
    pub const fn takes(&self, method: &Method) -> bool {
        match self.endpoint {
            Endpoint::Certificate | Endpoint::InPath(_) | Endpoint::Metadata => {
                matches!(*method, Method::GET | Method::HEAD)
            }
            Endpoint::List => matches!(*method, Method::GET | Method::HEAD | Method::POST),
        }
    }

    /// What is asked, and in which shape; an encrypted PPID in the body comes later.
    fn ask(&self, query: &Query<'_>) -> Result<(PckAsk, PckShape), Invalid> {
        let azure = query.get(Name::ApiVersion)?.is_some() || query.get(Name::ClientId)?.is_some();
        let shape = match self.endpoint {
            Endpoint::Metadata => PckShape::Json,
            Endpoint::Certificate if azure => PckShape::Json,
            Endpoint::Certificate | Endpoint::InPath(_) | Endpoint::List => PckShape::Pem,
        };
        let given = |name| query.get(name).map(Option::unwrap_or_default);
        let [qe_id, cpu_svn, pce_svn, pce_id] = match self.endpoint {
            Endpoint::InPath(parts) => parts,
            Endpoint::Certificate | Endpoint::List | Endpoint::Metadata => [
                given(Name::QeId)?,
                given(Name::CpuSvn)?,
                given(Name::PceSvn)?,
                given(Name::PceId)?,
            ],
        };
        let encrypted_ppid = match query.get(Name::EncryptedPpid)? {
            None => None,
            // Clients that have none send nothing, an empty value or zeros; PCCS refuses the empty one.
            Some("") => None,
            Some(text) => Some(encrypted_ppid(text)?),
        };
        Ok((
            PckAsk {
                qe_id: qe_id.parse().map_err(|_| Invalid {
                    name: "qeid",
                    why: "wanted 1 to 260 characters".to_owned(),
                })?,
                pce_id: parsed::<PceId>("pceid", pce_id, 4)?,
                raw_tcb: RawTcb {
                    cpu_svn: parsed::<CpuSvn>("cpusvn", cpu_svn, 32)?,
                    pce_svn: parsed::<PceSvn>("pcesvn", pce_svn, 4)?,
                },
                encrypted_ppid,
            },
            shape,
        ))
    }
}

fn encrypted_ppid(text: &str) -> Result<EncryptedPpid, Invalid> {
    EncryptedPpid::from_hex(text).map_err(|_| Invalid {
        name: "encrypted_ppid",
        why: "wanted 768 hex digits".to_owned(),
    })
}

fn parsed<T: std::str::FromStr>(
    name: &'static str,
    text: &str,
    digits: usize,
) -> Result<T, Invalid> {
    text.parse().map_err(|_| Invalid {
        name,
        why: format!(
            "wanted {digits} hex digits, found {} characters",
            text.chars().count()
        ),
    })
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Answers from memory, without waiting; `None` where that needs more.
pub fn at_once(
    service: &Service,
    target: &Target<'_>,
    query: &Query<'_>,
    headers: &HeaderMap,
    now: UnixTime,
) -> Option<Response<Body>> {
    if target.endpoint == Endpoint::List || metadata_fault(target, headers).is_some() {
        return None;
    }
    let (ask, shape) = target.ask(query).ok()?;
    let found = service.platforms.peek(&ask, now)?;
    let response = certificate(&found, shape, headers, now);
    let counted = if response.status() == StatusCode::OK {
        Counted::Hit
    } else {
        Counted::NotModified
    };
    service
        .collateral
        .metrics()
        .request(target.route(), counted);
    Some(response)
}

/// Answers from wherever it is to be had.
pub async fn in_time<B>(
    service: &Service,
    target: &Target<'_>,
    request: Request<B>,
    peer: IpAddr,
    now: UnixTime,
    request_id: &HeaderValue,
) -> Response<Body>
where
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let outcome = if let Some(fault) = metadata_fault(target, request.headers()) {
        Err(Failure::Metadata(fault))
    } else if target.endpoint == Endpoint::List {
        list(service, request, peer, now).await
    } else {
        one(service, target, request, now).await
    };
    let response = match outcome {
        Ok(response) => response,
        Err(Failure::Invalid(invalid)) => answer::invalid(&invalid),
        Err(Failure::Metadata(why)) => {
            let body = serde_json::json!({ "error": why }).to_string();
            let mut response = answer::json(body.into(), 1);
            *response.status_mut() = StatusCode::BAD_REQUEST;
            response.headers_mut().remove(CACHE_CONTROL);
            response
        }
        Err(Failure::Refused(refused)) => {
            if refused.retry_after_secs.is_some() {
                tracing::info!(request.id = ?request_id, http.route = ?target.route(), cause = %refused, "no PCK certificate to serve");
            } else {
                tracing::debug!(request.id = ?request_id, http.route = ?target.route(), cause = %refused, "no PCK certificate to serve");
            }
            refusal(&refused)
        }
        Err(Failure::Answered(response)) => response,
    };
    let counted = if response.status().is_server_error() {
        Counted::Server
    } else if response.status().is_client_error() {
        Counted::Client
    } else {
        Counted::Miss
    };
    service
        .collateral
        .metrics()
        .request(target.route(), counted);
    response
}

enum Failure {
    Answered(Response<Body>),
    Invalid(Invalid),
    Metadata(&'static str),
    Refused(PlatformRefusal),
}

async fn one<B>(
    service: &Service,
    target: &Target<'_>,
    request: Request<B>,
    now: UnixTime,
) -> Result<Response<Body>, Failure>
where
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (mut ask, shape) = {
        let query = Query::parse(request.uri().query());
        target.ask(&query).map_err(Failure::Invalid)?
    };
    let (head, body) = request.into_parts();
    if matches!(target.endpoint, Endpoint::InPath(_)) && ask.encrypted_ppid.is_none() {
        let body = receive::whole(body, EPPID_BODY_BYTES, receive::BODY_TIME)
            .await
            .map_err(|error| Failure::Answered(error.render()))?;
        ask.encrypted_ppid = eppid(&body).map_err(Failure::Invalid)?;
    }
    let found = service
        .platforms
        .answer(&ask, now)
        .await
        .map_err(Failure::Refused)?;
    Ok(certificate(&found, shape, &head.headers, now))
}

/// The body of old Azure clients: `{"eppid":"hex"}`, or nothing.
fn eppid(body: &[u8]) -> Result<Option<EncryptedPpid>, Invalid> {
    #[derive(Deserialize)]
    struct Old {
        eppid: Option<String>,
    }
    if body.is_empty() {
        return Ok(None);
    }
    let old: Old = serde_json::from_slice(body).map_err(|_| Invalid {
        name: "eppid",
        why: "wanted a JSON object with eppid, or no body".to_owned(),
    })?;
    match old.eppid.as_deref() {
        None | Some("") => Ok(None),
        Some(text) => encrypted_ppid(text).map(Some),
    }
}

/// PCS's `pckcerts`: GET by encrypted PPID, POST by manifest with a registrar's token.
async fn list<B>(
    service: &Service,
    request: Request<B>,
    peer: IpAddr,
    now: UnixTime,
) -> Result<Response<Body>, Failure>
where
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Wanted {
        platform_manifest: String,
        pceid: String,
    }
    let platforms = &service.platforms;
    let found: Result<Listed, PlatformRefusal> = if *request.method() == Method::POST {
        service
            .access
            .admit(
                request.headers(),
                peer,
                Act::RegisterPlatforms,
                Dialect::PccsUser,
                service.clock.now_millis(),
            )
            .map_err(|denied| Failure::Answered(answer::denied(&denied)))?;
        let body = receive::whole(
            request.into_body(),
            service.body_limit_bytes,
            receive::BODY_TIME,
        )
        .await
        .map_err(|error| Failure::Answered(error.render()))?;
        let wanted: Wanted = serde_json::from_slice(&body).map_err(|_| {
            Failure::Invalid(Invalid {
                name: "body",
                why: "wanted {\"platformManifest\", \"pceid\"}".to_owned(),
            })
        })?;
        let manifest = Manifest::from_hex(&wanted.platform_manifest).map_err(|error| {
            Failure::Invalid(Invalid {
                name: "platformManifest",
                why: error.why,
            })
        })?;
        let pce_id = parsed::<PceId>("pceid", &wanted.pceid, 4).map_err(Failure::Invalid)?;
        platforms.list_by_manifest(manifest, pce_id, now).await
    } else {
        let query = Query::parse(request.uri().query());
        let text = query
            .get(Name::EncryptedPpid)
            .map_err(Failure::Invalid)?
            .unwrap_or_default();
        let encrypted = encrypted_ppid(text).map_err(Failure::Invalid)?;
        let text = query
            .get(Name::PceId)
            .map_err(Failure::Invalid)?
            .unwrap_or_default();
        let pce_id = parsed::<PceId>("pceid", text, 4).map_err(Failure::Invalid)?;
        platforms
            .list_by_encrypted_ppid(encrypted, pce_id, now)
            .await
    };
    let listed = found.map_err(Failure::Refused)?;
    let mut response = answer::json(listed.body, listed.max_age_secs);
    for (name, value) in listed.headers {
        response.headers_mut().insert(name, value);
    }
    Ok(response)
}

fn metadata_fault(target: &Target<'_>, headers: &HeaderMap) -> Option<&'static str> {
    if target.endpoint != Endpoint::Metadata {
        return None;
    }
    manners_fault(headers)
}

/// The manners of a metadata service: no proxy in between, and a header no browser sends by itself.
pub(super) fn manners_fault(headers: &HeaderMap) -> Option<&'static str> {
    if headers.contains_key("x-forwarded-for") {
        return Some("Bad request. Requests with X-Forwarded-For are not answered");
    }
    let said = headers
        .get("metadata")
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"));
    (!said).then_some("Bad request. The header Metadata: true is required")
}

fn certificate(found: &Found, shape: PckShape, asked: &HeaderMap, now: UnixTime) -> Response<Body> {
    let served = found.ready.serve(shape, now);
    answer::prepared(
        served.headers,
        served.body,
        &served.etag,
        None,
        found.hit,
        asked,
    )
}

/// Why there is nothing, in PCCS's statuses and texts (section 1.1), with the cause beside them.
pub fn refusal(refused: &PlatformRefusal) -> Response<Body> {
    let (status, text) = match refused.cause {
        Cause::QeIdUnknown => (answer::PLATFORM_UNKNOWN, answer::NOT_FOUND_IN_CACHE),
        Cause::EncryptedPpidMissing => (StatusCode::BAD_REQUEST, answer::INVALID),
        Cause::QeIdTaken => (StatusCode::UNAUTHORIZED, answer::UNAUTHENTICATED),
        Cause::ApiKeyRefused
        | Cause::Busy
        | Cause::Storage
        | Cause::Untrusted
        | Cause::VendorThrottled
        | Cause::VendorUnavailable => (StatusCode::SERVICE_UNAVAILABLE, answer::BUSY),
        Cause::CollateralMissing if refused.retry_after_secs.is_some() => {
            (StatusCode::SERVICE_UNAVAILABLE, answer::BUSY)
        }
        Cause::AllNotAvailable
        | Cause::CachedKeysPolicy
        | Cause::CertificateRevoked
        | Cause::CollateralMissing
        | Cause::EncryptedPpidZero
        | Cause::GuestNotHost
        | Cause::ManifestMalformed
        | Cause::ManifestStale
        | Cause::NeedsManifest
        | Cause::None
        | Cause::PackageRefused
        | Cause::PreProduction
        | Cause::QeIdZero
        | Cause::Queued
        | Cause::TcbTooLow
        | Cause::VendorRefused => (StatusCode::NOT_FOUND, answer::NO_DATA),
    };
    let mut response = answer::plain(
        status,
        text,
        Some(answer::cause(refused.cause.name(), &refused.detail)),
    );
    let retry = refused
        .retry_after_secs
        .or((status == StatusCode::SERVICE_UNAVAILABLE).then_some(answer::RETRY_SECS));
    if let Some(seconds) = retry.filter(|_| status == StatusCode::SERVICE_UNAVAILABLE) {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    }
    response
}

/// `{"eppid":"..."}` has 780 bytes.
const EPPID_BODY_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_their_near_misses() {
        let in_path = "/sgx/certification/v3/A0/00000000000000000000000000000000/0000/0000";
        for (path, route, version_3) in [
            ("/sgx/certification/v4/pckcert", Route::PckCert, false),
            ("/SGX/Certification/V3/PckCert/", Route::PckCert, true),
            (
                "/metadata/THIM/sgx/certification/v4/pckcert",
                Route::PckCert,
                false,
            ),
            (
                "/metadata/thim/sgx/certification/v3/pckcert",
                Route::PckCert,
                false,
            ),
            ("/sgx/certification/v4/pckcerts", Route::PckCerts, false),
            (in_path, Route::PckCert, true),
        ] {
            let found = target(path).map(|target| (target.route(), target.is_version_3()));
            assert_eq!(found, Some((route, version_3)), "{path}");
        }
        for path in [
            "/tdx/certification/v4/pckcert",
            "/sgx/certification/v5/pckcert",
            "/sgx/certification/v3/pckcerts",
            "/sgx/certification/v4/pckcert/x",
            "/metadata/sgx/certification/v4/pckcert",
            "/metadata/THIM/sgx/certification/v4/pckcerts",
            "/metadata/THIM/sgx/certification/v4/tcb",
            "/sgx/certification/v4/A0/00000000000000000000000000000000/0000/0000",
            "/sgx/certification/v3/A0/0000000000000000000000000000000/0000/0000",
            "/sgx/certification/v3/A0/00000000000000000000000000000000/0000/000g",
            "/sgx/certification/v3/A0/00000000000000000000000000000000/0000/0000/1",
        ] {
            assert_eq!(target(path), None, "{path}");
        }
    }

    #[test]
    fn the_body_of_old_clients() {
        let good = format!("{{\"eppid\":\"{}\"}}", "ab".repeat(384));
        assert!(matches!(eppid(good.as_bytes()), Ok(Some(_))));
        assert!(matches!(eppid(b""), Ok(None)));
        assert!(matches!(eppid(b"{}"), Ok(None)));
        for bad in ["[]", "{\"eppid\":\"ab\"}", "{\"eppid\":7}", "x"] {
            assert!(eppid(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}

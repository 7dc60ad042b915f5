//! From outcomes to responses: statuses, PCCS's own texts, causes.
//!
//! Texts and statuses are PCCS's (`spec/intel-pcs-and-pccs.md` section 1.1), so that clients written for it
//! understand; what PCCS cannot say stands in `THIM-Cause`, a structured field (RFC 9651): a token and parameters.

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, RETRY_AFTER, WARNING, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::{Either, Full};
use thim_verify::UnixTime;

use super::front::Body;
use super::query::Invalid;
use crate::access::Denied;
use crate::baseline::NotSelected;
use crate::baselines::serving::{Decided, NotServed};
use crate::collateral::{Answer, Refusal};
use crate::freshness::Freshness;
use crate::ready::{CACHE_STATUS, Ready, Served, Shape};
use crate::view::Subject;

/// A 200 or 304 from a prepared edition; `decided`: by which baseline.
pub fn artefact(
    answer: &Answer,
    shape: Shape,
    asked: &HeaderMap,
    decided: Option<&Decided<'_>>,
    now: UnixTime,
) -> Response<Body> {
    let Served {
        mut headers,
        body,
        etag,
    } = match answer.ready.serve(shape, answer.freshness, now) {
        Ok(served) => served,
        Err(error) => {
            return plain(
                StatusCode::SERVICE_UNAVAILABLE,
                BUSY,
                Some(cause("too-large", &error.to_string())),
            );
        }
    };
    if let Some(resolved) = answer.resolved {
        let list = if resolved.without_list {
            "; list=none"
        } else if resolved.from_expired_list {
            "; list=expired"
        } else {
            ""
        };
        let (scope, version) = decided.map_or(("default", 0), |one| (one.scope, one.version));
        // Nobody acted, and a list in force tells the number: there is nothing to say.
        if version > 0 || !list.is_empty() {
            let number = resolved.number;
            let version = if version > 0 {
                format!("; version={version}")
            } else {
                String::new()
            };
            // The caller's own word is not the baseline's.
            let asked = match decided {
                Some(one) if !one.by_baseline && one.version > 0 => "; asked",
                Some(_) | None => "",
            };
            headers.insert(
                THIM_BASELINE,
                text(&format!("{scope}; number={number}{version}{asked}{list}")),
            );
        }
    }
    prepared(
        headers,
        body,
        &etag,
        Some(answer.ready.issued),
        answer.hit,
        asked,
    )
}

/// A 200 or 304 from an edition past its time, for a baseline that wants it all the same: marked, and good for a second.
pub fn archived(
    ready: &Ready,
    shape: Shape,
    asked: &HeaderMap,
    decided: &Decided<'_>,
    now: UnixTime,
) -> Response<Body> {
    let Served {
        mut headers,
        body,
        etag,
    } = match ready.serve(shape, Freshness::Expired, now) {
        Ok(served) => served,
        Err(error) => {
            return plain(
                StatusCode::SERVICE_UNAVAILABLE,
                BUSY,
                Some(cause("too-large", &error.to_string())),
            );
        }
    };
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=1"));
    let number = Subject::of(&ready.key).map_or(0, |(_, number)| number);
    headers.insert(
        THIM_BASELINE,
        text(&format!(
            "{}; number={number}; version={}; archived",
            decided.scope, decided.version
        )),
    );
    prepared(headers, body, &etag, Some(ready.issued), false, asked)
}

/// Why a baseline has no answer: 404 with the cause, since Intel's client takes 403 for a fault of the network.
pub fn not_served(why: NotServed) -> Response<Body> {
    let cause = match why {
        NotServed::BelowFloor { number, floor } => cause(
            "below-floor",
            &format!("evaluation number {number} is below the operator's floor, {floor}"),
        ),
        NotServed::NoNumber(why) => {
            let token = match why {
                NotSelected::NoList | NotSelected::NoneOldEnough { .. } => "no-number",
                NotSelected::Retired { .. } => "number-retired",
            };
            cause(token, &why.to_string())
        }
        NotServed::UnknownTenant => return unknown_tenant(),
    };
    plain(StatusCode::NOT_FOUND, NO_DATA, Some(cause))
}

/// A path below a tenant that no act ever named: a typing error must not quietly get what everybody gets.
pub fn unknown_tenant() -> Response<Body> {
    let cause = cause("unknown-tenant", "no act on a baseline ever named it");
    plain(StatusCode::NOT_FOUND, NO_DATA, Some(cause))
}

/// A 200 or 304 from prepared headers and a shared body. Without `issued` only an entity tag makes a 304.
pub(super) fn prepared(
    mut headers: HeaderMap,
    body: Bytes,
    etag: &HeaderValue,
    issued: Option<UnixTime>,
    hit: bool,
    asked: &HeaderMap,
) -> Response<Body> {
    if !hit {
        headers.insert(
            CACHE_STATUS,
            HeaderValue::from_static("THIM; fwd=miss; stored"),
        );
    }
    let unchanged = if asked.contains_key(IF_NONE_MATCH) {
        matches(asked, etag)
    } else {
        issued.is_some_and(|issued| is_of(asked, issued))
    };
    let (status, body) = if unchanged {
        headers.remove(CONTENT_TYPE);
        (StatusCode::NOT_MODIFIED, Bytes::new())
    } else {
        (StatusCode::OK, body)
    };
    let mut response = Response::new(Either::Left(Full::new(body)));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// `If-None-Match` (RFC 9110 section 13.1.2): weak comparison, so a client's `W/` does not matter.
pub(super) fn matches(asked: &HeaderMap, etag: &HeaderValue) -> bool {
    let same = |one: &[u8]| {
        let one = one.trim_ascii();
        one == b"*" || one.strip_prefix(b"W/").unwrap_or(one) == etag.as_bytes()
    };
    asked
        .get_all(IF_NONE_MATCH)
        .iter()
        .any(|value| value.as_bytes().split(|byte| *byte == b',').any(same))
}

/// `If-Modified-Since` (RFC 9110 section 13.1.3), for clients that know no entity tags; a date that cannot be read is ignored. Only
/// the very date that was told counts: dates of two evaluation numbers interleave, and a baseline that moves, or goes back, may
/// bring an older one.
fn is_of(asked: &HeaderMap, issued: UnixTime) -> bool {
    let since = asked
        .get(IF_MODIFIED_SINCE)
        .and_then(|value| value.to_str().ok());
    let since = since.and_then(|text| jiff::fmt::rfc2822::parse(text).ok());
    since.is_some_and(|since| since.timestamp().as_second() == issued.secs())
}

/// A wrong parameter: PCCS's 400, with the parameter and what was wanted in the cause.
pub fn invalid(invalid: &Invalid) -> Response<Body> {
    let detail = format!("{}: {}", invalid.name, invalid.why);
    plain(
        StatusCode::BAD_REQUEST,
        INVALID,
        Some(cause("invalid-parameter", &detail)),
    )
}

/// Why there is nothing to serve. Details that name upstreams or files stay in the log.
pub fn refusal(refusal: &Refusal) -> Response<Body> {
    let detail = refusal.to_string();
    let (status, body, token, retry) = match refusal {
        Refusal::Absent { .. } => (StatusCode::NOT_FOUND, NO_DATA, "absent", None),
        Refusal::Busy { retry_after_secs } => (
            StatusCode::SERVICE_UNAVAILABLE,
            BUSY,
            "busy",
            Some(*retry_after_secs),
        ),
        Refusal::Expired { offline: true, .. } => (StatusCode::NOT_FOUND, NO_DATA, "expired", None),
        Refusal::Expired { offline: false, .. } => (
            StatusCode::SERVICE_UNAVAILABLE,
            BUSY,
            "expired",
            Some(RETRY_SECS),
        ),
        Refusal::NotHeld { .. } => (StatusCode::NOT_FOUND, NO_DATA, "not-held", None),
        Refusal::Retired { .. } => (StatusCode::GONE, RETIRED, "retired", None),
        Refusal::Storage => (
            StatusCode::SERVICE_UNAVAILABLE,
            BUSY,
            "storage",
            Some(RETRY_SECS),
        ),
        Refusal::Throttled {
            retry_after_secs, ..
        } => (
            StatusCode::SERVICE_UNAVAILABLE,
            BUSY,
            "throttled",
            Some(*retry_after_secs),
        ),
        Refusal::Unavailable { .. } => (
            StatusCode::SERVICE_UNAVAILABLE,
            BUSY,
            "unavailable",
            Some(RETRY_SECS),
        ),
        Refusal::Untrusted { .. } => (
            StatusCode::SERVICE_UNAVAILABLE,
            BUSY,
            "untrusted",
            Some(RETRY_SECS),
        ),
        Refusal::Version3 { .. } => (StatusCode::GONE, VERSION_3, "version-3-ended", None),
    };
    let mut response = plain(status, body, Some(cause(token, &detail)));
    if let Some(seconds) = retry {
        response
            .headers_mut()
            .insert(RETRY_AFTER, text(&seconds.max(1).to_string()));
    }
    response
}

/// Express's page for unknown paths and methods, which PCCS's users know.
pub fn unknown(method: &http::Method, path: &str) -> Response<Body> {
    let mut shown = String::with_capacity(path.len());
    for character in path.chars() {
        match character {
            '&' => shown.push_str("&amp;"),
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            '"' => shown.push_str("&quot;"),
            '\'' => shown.push_str("&#39;"),
            other => shown.push(other),
        }
    }
    let page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>Error</title>\n</head>\n<body>\n\
         <pre>Cannot {method} {shown}</pre>\n</body>\n</html>\n"
    );
    let mut response = plain(StatusCode::NOT_FOUND, "", None);
    response.headers_mut().insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'"),
    );
    response
        .headers_mut()
        .insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    *response.body_mut() = Either::Left(Full::new(page.into()));
    response
}

/// `OPTIONS` as Express answers it.
pub fn options() -> Response<Body> {
    let mut response = plain(StatusCode::OK, "GET,HEAD", None);
    response
        .headers_mut()
        .insert(http::header::ALLOW, HeaderValue::from_static("GET,HEAD"));
    response
}

/// An unsigned JSON document of the vendor's.
pub fn json(body: Bytes, max_age_secs: i64) -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::new(body)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(
        CACHE_CONTROL,
        text(&format!("max-age={}", max_age_secs.clamp(1, 86_400))),
    );
    response
}

/// A token is missing or wrong, in PCCS's words.
pub fn denied(denied: &Denied) -> Response<Body> {
    let (status, token, retry) = match denied {
        Denied::Missing => (StatusCode::UNAUTHORIZED, "token-missing", None),
        Denied::NotAllowed { .. } => (StatusCode::UNAUTHORIZED, "not-allowed", None),
        Denied::TooManyFailures { retry_after_secs } => (
            StatusCode::TOO_MANY_REQUESTS,
            "too-many-failures",
            Some(*retry_after_secs),
        ),
        Denied::Wrong => (StatusCode::UNAUTHORIZED, "token-wrong", None),
    };
    let mut response = plain(
        status,
        UNAUTHENTICATED,
        Some(cause(token, &denied.to_string())),
    );
    if let Some(seconds) = retry {
        response
            .headers_mut()
            .insert(RETRY_AFTER, text(&seconds.max(1).to_string()));
    }
    response
}

/// A short text, labelled as PCCS labels its texts.
pub fn plain(status: StatusCode, body: &'static str, cause: Option<HeaderValue>) -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::new(Bytes::from_static(body.as_bytes()))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    if let Some(cause) = cause {
        headers.insert(THIM_CAUSE, cause);
    }
    response
}

/// PCCS's warning on everything below `/sgx/certification/v3`.
pub fn add_version_3_warning(response: &mut Response<Body>) {
    response
        .headers_mut()
        .append(WARNING, HeaderValue::from_static(VERSION_3_WARNING));
}

/// A body that a HEAD request does not get; its length is told.
pub fn without_body(mut response: Response<Body>) -> Response<Body> {
    use hyper::body::Body as _;
    if let Some(length) = response.body().size_hint().exact() {
        response
            .headers_mut()
            .insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    *response.body_mut() = Either::Left(Full::new(Bytes::new()));
    response
}

/// `token; detail="..."`, the detail cut and cleaned to what a structured string may hold.
pub(super) fn cause(token: &str, detail: &str) -> HeaderValue {
    let clean: String = detail
        .chars()
        .filter(|character| matches!(character, ' '..='~') && !matches!(character, '"' | '\\'))
        .take(DETAIL_CHARS)
        .collect();
    text(&format!("{token}; detail=\"{clean}\""))
}

fn text(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("invalid"))
}

/// Why there is nothing.
pub const THIM_CAUSE: HeaderName = HeaderName::from_static("thim-cause");
/// Whose baseline answered, its version and the number; of a chip's certificate, the verdict of its TCB. Absent where nobody ever acted and a
/// list in force told the number.
pub const THIM_BASELINE: HeaderName = HeaderName::from_static("thim-baseline");

/// PCCS's texts (section 1.1).
pub(super) const INVALID: &str = "Invalid request parameters.";
pub(super) const NOT_FOUND_IN_CACHE: &str = "The platform was not found in the cache.";
pub(super) const NO_DATA: &str = "No cache data for this platform.";
pub(super) const BUSY: &str = "Server is currently unable to process the request.";
pub(super) const UNAUTHENTICATED: &str = "Authentication failed.";
/// PCCS's own statuses, which have no reason phrase.
pub(super) const PLATFORM_UNKNOWN: StatusCode = match StatusCode::from_u16(461) {
    Ok(status) => status,
    Err(_) => StatusCode::NOT_FOUND,
};
const RETIRED: &str = "The requested TCB evaluation data number was withdrawn by the vendor.";
const VERSION_3: &str = "The Intel PCS API version 3 reached planned EOL. Accordingly, collateral from this API version cannot be retrieved any longer.";
const VERSION_3_WARNING: &str = "299 - \"PCS API version 3 is no longer available. Cached collateral downloaded from API version 3 is deprecated, will not be refreshed, and may expire. Please migrate to API version 4.\"";
/// A vendor that is down is asked again after this many seconds.
pub(super) const RETRY_SECS: i64 = 5;
/// Long enough for a key and a date, short enough for a header.
const DETAIL_CHARS: usize = 300;

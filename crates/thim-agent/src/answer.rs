//! From outcomes to responses, in the shapes of Azure's instance metadata service: one JSON object, `error` in it.
//!
//! **Statuses.** IMDS documents 410 for data that is unavailable for a while, with a retry within 70 s. None of the
//! clients of this path knows that: SKR ends at any status but 408, 429 and 5xx, az-snp-vtpm and attestation-rs take
//! any status that is not 2xx for an error, CCF goes on to its next server, and Contrast's test of this path expects a
//! 5xx where it is broken. So what may come later is 503 with `Retry-After`, and 500 is a fault of our own. What will
//! not come by waiting (another chip, a TCB that the service does not know) is 404. `THIM-Cause` says why, each time.
//! Source: spec/amd-kds-and-thim.md, 6.2 and 6.4.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, SERVER};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use uuid::Uuid;

use crate::agent::{Ready, Refusal};
use crate::cause::{self, Cause};
use crate::manners::Ill;
use crate::service::Answer;

/// Every answer.
pub type Reply = Response<Full<Bytes>>;

/// The certificates: bytes that are ready.
pub fn certification(ready: &Ready) -> Reply {
    let mut reply = json(StatusCode::OK, ready.body.clone());
    reply
        .headers_mut()
        .insert(CACHE_CONTROL, ready.cache_control.clone());
    reply
}

/// `/metadata/instance`.
pub fn instance(location: Option<&str>) -> Reply {
    match location {
        Some(location) => {
            let body = serde_json::json!({ "compute": { "location": location } }).to_string();
            json(StatusCode::OK, body.into())
        }
        None => error(
            StatusCode::NOT_FOUND,
            "Not found. This node's location is not configured",
            Some(&Cause::new(
                "not-configured",
                "[instance] location is not set on this node",
            )),
        ),
    }
}

/// What the service said, with the headers that belong to it.
pub fn passed(answer: Answer) -> Reply {
    let bodiless = answer.body.is_empty();
    let mut reply = Response::new(Full::new(answer.body));
    *reply.status_mut() = answer.status;
    // An answer to HEAD tells how long the body would be.
    if bodiless && let Some(length) = answer.headers.get(CONTENT_LENGTH) {
        reply.headers_mut().insert(CONTENT_LENGTH, length.clone());
    }
    for (name, value) in &answer.headers {
        if is_passed(name) {
            reply.headers_mut().append(name.clone(), value.clone());
        }
    }
    // The service promises to name no chip there; what could be one is not handed on all the same.
    if let Some(said) = reply.headers().get(cause::HEADER)
        && !cause::is_harmless(said)
    {
        match Cause::from_headers(reply.headers()) {
            Some(cause) => reply.headers_mut().insert(cause::HEADER, cause.header()),
            None => reply.headers_mut().remove(cause::HEADER),
        };
    }
    reply
}

fn is_passed(name: &HeaderName) -> bool {
    let name = name.as_str();
    PASSED.contains(&name)
        || PASSED_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

/// Why there are no certificates.
pub fn refusal(refusal: &Refusal) -> Reply {
    let again = |mut reply: Reply, secs: u64| {
        reply
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(secs));
        reply
    };
    match refusal {
        Refusal::AnotherChip => error(
            StatusCode::NOT_FOUND,
            "Not found. This node answers for its own chip only",
            Some(&Cause::new(
                "another-chip",
                "platformId is not this node's chip",
            )),
        ),
        Refusal::Busy => again(
            error(
                StatusCode::SERVICE_UNAVAILABLE,
                "Service unavailable. Too many such requests are open",
                Some(&Cause::new(
                    "busy",
                    "the node asks its service for others already",
                )),
            ),
            1,
        ),
        Refusal::TcbLayout => error(
            StatusCode::BAD_REQUEST,
            "Bad request. tcbVersion is no TCB of this node's product",
            Some(&Cause::new(
                "invalid-parameter",
                "tcbVersion: the hex of the number, most significant byte first",
            )),
        ),
        Refusal::Unavailable { cause, retry_after } => again(
            error(
                StatusCode::SERVICE_UNAVAILABLE,
                "Service unavailable. The data is temporarily unavailable, retry later",
                Some(cause),
            ),
            *retry_after,
        ),
        Refusal::UnknownTcb { cause } => error(
            StatusCode::NOT_FOUND,
            "Not found. No certificate is known for this chip and tcbVersion",
            Some(cause),
        ),
    }
}

/// Why a client is not heard.
pub fn ill(ill: Ill) -> Reply {
    let bad = |text| error(StatusCode::BAD_REQUEST, text, None);
    match ill {
        Ill::DoubledParameter => bad("Bad request. A query parameter is given twice"),
        Ill::Forwarded => bad("Bad request. Requests with X-Forwarded-For are not answered"),
        // The words that Azure's clients know.
        Ill::NoMetadataHeader => bad("Bad request. Required metadata header not specified"),
        Ill::NotFound => error(StatusCode::NOT_FOUND, "Not found", None),
        Ill::Query => bad("Bad request. The query is too long, or cannot be read"),
        Ill::TcbVersion => bad("Bad request. tcbVersion: wanted 1 to 16 hex digits"),
        Ill::WindingPath => bad("Bad request. The path may have no dots, escapes or empty parts"),
        Ill::WrongHost => bad("Bad request. The Host header names another host"),
        Ill::WrongMethod(allowed) => {
            let mut reply = error(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed", None);
            reply
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static(allowed));
            reply
        }
    }
}

/// A peer that asks too often.
pub fn too_many() -> Reply {
    let text = "Too many requests. A peer may make a few requests in a second";
    let mut reply = error(StatusCode::TOO_MANY_REQUESTS, text, None);
    reply
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from_static("1"));
    reply
}

/// A fault of our own; what it was is in the log.
pub fn fault() -> Reply {
    let text = "Internal server error. Retry later";
    let mut reply = error(StatusCode::INTERNAL_SERVER_ERROR, text, None);
    reply
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from_static("1"));
    reply
}

/// Plain text, for probes and metrics.
pub fn plain(status: StatusCode, body: String) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    reply.headers_mut().insert(CONTENT_TYPE, text);
    reply
}

/// What every answer has.
pub fn signed(mut reply: Reply, request_id: HeaderValue) -> Reply {
    let headers = reply.headers_mut();
    headers.insert(
        SERVER,
        HeaderValue::from_static(concat!("THIM/", env!("CARGO_PKG_VERSION"))),
    );
    headers.insert(REQUEST_ID, request_id);
    reply
}

fn json(status: StatusCode, body: Bytes) -> Reply {
    let mut reply = Response::new(Full::new(body));
    *reply.status_mut() = status;
    let json = HeaderValue::from_static("application/json; charset=utf-8");
    reply.headers_mut().insert(CONTENT_TYPE, json);
    reply
}

fn error(status: StatusCode, text: &str, cause: Option<&Cause>) -> Reply {
    let body = serde_json::json!({ "error": text }).to_string();
    let mut reply = json(status, body.into());
    let headers = reply.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(cause) = cause {
        headers.insert(cause::HEADER, cause.header());
    }
    reply
}

/// Ids of requests: a random start, counted on and stirred, so that they differ between requests and agents.
#[derive(Debug)]
pub struct RequestIds {
    start: u128,
    next: AtomicU64,
}

impl RequestIds {
    /// From random bytes.
    pub const fn new(seed: [u8; 16]) -> Self {
        Self {
            start: u128::from_be_bytes(seed),
            next: AtomicU64::new(1),
        }
    }

    /// A UUID, as `x-ms-request-id` has it.
    pub fn next(&self) -> HeaderValue {
        let count = u128::from(self.next.fetch_add(1, Ordering::Relaxed));
        // An odd factor leads no two counts to one value.
        let stirred = self.start.wrapping_add(count.wrapping_mul(GOLDEN));
        let id = uuid::Builder::from_random_bytes(stirred.to_be_bytes()).into_uuid();
        let mut text = Uuid::encode_buffer();
        let text = id.hyphenated().encode_lower(&mut text);
        HeaderValue::from_str(text).expect("hex and hyphens")
    }
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");
/// 2^128 divided by the golden ratio, made odd.
const GOLDEN: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;
/// What a quote provider reads of an answer for SGX; spec/quote-provider-clients.md, 3 to 5.
const PASSED: [&str; 8] = [
    "cache-control",
    "content-type",
    "etag",
    "last-modified",
    "request-id",
    "retry-after",
    "tcbm",
    "warning",
];
const PASSED_PREFIXES: [&str; 2] = ["sgx-", "thim-"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_uuids_and_differ() {
        let ids = RequestIds::new([7; 16]);
        let made: std::collections::HashSet<String> = (0..1000)
            .map(|_| ids.next().to_str().expect("text").to_owned())
            .collect();
        assert_eq!(made.len(), 1000);
        assert!(
            made.iter()
                .all(|id| Uuid::parse_str(id).is_ok_and(|id| id.get_version_num() == 4))
        );
    }

    #[test]
    fn headers_that_belong_to_an_answer() {
        for name in [
            "SGX-PCK-Certificate-Issuer-Chain",
            "Request-ID",
            "TCBm",
            "THIM-Cause",
            "Retry-After",
        ] {
            assert!(is_passed(&name.parse().expect("a name")), "{name}");
        }
        for name in [
            "Location",
            "Set-Cookie",
            "Server",
            "Connection",
            "Transfer-Encoding",
            "x-sgx-",
        ] {
            assert!(!is_passed(&name.parse().expect("a name")), "{name}");
        }
    }
}

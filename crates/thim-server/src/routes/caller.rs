//! Who asks, and then what: in the own API a token is judged before a byte of the body is read.

use axum::extract::Request;
use bytes::Bytes;
use http::StatusCode;
use http::header::AUTHORIZATION;

use super::front::Peer;
use super::own::Service;
use super::problem::{ProblemResponse, problem};
use super::receive::{self, Unread};
use crate::access::{Act, Caller, Denied, Dialect};
use crate::platforms::Authority;

/// Who asks, if they may.
pub fn admit(service: &Service, request: &Request, act: Act) -> Result<Caller, ProblemResponse> {
    Ok(judge(service, request, act)?)
}

/// As [`admit`], for what is open in part: a wrong token is refused, and where there is none, or one that is not good
/// for this, the refusal is inside, for the part that wants one.
pub fn admit_in_part(
    service: &Service,
    request: &Request,
    act: Act,
) -> Result<Result<Caller, Denied>, ProblemResponse> {
    if !request.headers().contains_key(AUTHORIZATION) {
        return Ok(Err(Denied::Missing));
    }
    match judge(service, request, act) {
        Ok(caller) => Ok(Ok(caller)),
        Err(denied @ (Denied::Missing | Denied::NotAllowed { .. })) => Ok(Err(denied)),
        Err(denied @ (Denied::TooManyFailures { .. } | Denied::Wrong)) => Err(denied.into()),
    }
}

fn judge(service: &Service, request: &Request, act: Act) -> Result<Caller, Denied> {
    let Peer(peer) = *request
        .extensions()
        .get::<Peer>()
        .expect("the front door says of each request where it came from");
    service.access.admit(
        request.headers(),
        peer,
        act,
        Dialect::Bearer,
        service.clock.now_millis(),
    )
}

/// Whose word it is. Giving one platform's name to another is a right of its own.
pub fn authority(caller: &Caller) -> Authority {
    Authority {
        name: caller.name.clone(),
        may_move: caller.may(Act::ManagePlatforms),
    }
}

/// The whole body, if it is no longer than `limit_bytes`.
pub async fn body(request: Request, limit_bytes: usize) -> Result<Bytes, ProblemResponse> {
    receive::whole(request.into_body(), limit_bytes, receive::BODY_TIME)
        .await
        .map_err(|unread| match unread {
            Unread::Broken => problem(
                StatusCode::BAD_REQUEST,
                "The body did not arrive",
                "it broke off",
            ),
            Unread::TooLong { limit_bytes } => problem(
                StatusCode::PAYLOAD_TOO_LARGE,
                "The body is too long",
                format!("the limit is {limit_bytes} bytes"),
            ),
            Unread::TooSlow => problem(
                StatusCode::REQUEST_TIMEOUT,
                "The body did not arrive",
                "it took too long",
            ),
        })
}

/// A JSON body of at most `limit_bytes`, whatever its content type says.
pub async fn json<T: serde::de::DeserializeOwned>(
    request: Request,
    limit_bytes: usize,
) -> Result<T, ProblemResponse> {
    parsed(&body(request, limit_bytes).await?)
}

/// What a JSON body says.
pub fn parsed<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, ProblemResponse> {
    serde_json::from_slice(body).map_err(|error| {
        problem(
            StatusCode::BAD_REQUEST,
            "The body is not what this takes",
            error.to_string(),
        )
    })
}

/// What a request that is no import has to say.
pub const SMALL_BODY_BYTES: usize = 64 * 1024;

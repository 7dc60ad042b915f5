//! Reading a request's body whole, up to a limit, with PCCS's answer where it is too long.

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::answer;
use super::front::Body;

/// Why a body was not read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unread {
    /// It broke off.
    Broken,
    /// It has more bytes than are taken.
    TooLong {
        /// The limit.
        limit_bytes: usize,
    },
}

/// The whole body, at most `limit_bytes` of it.
pub async fn whole<B>(body: B, limit_bytes: usize) -> Result<Bytes, Unread>
where
    B: hyper::body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    // A body that says it is too long is not read at all.
    if body.size_hint().lower() > limit_bytes as u64 {
        return Err(Unread::TooLong { limit_bytes });
    }
    match Limited::new(body, limit_bytes).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Unread::TooLong { limit_bytes }),
        Err(_) => Err(Unread::Broken),
    }
}

impl Unread {
    /// PCCS's 413, or 400 for a body that broke off.
    pub fn render(self) -> Response<Body> {
        match self {
            Self::Broken => answer::plain(
                StatusCode::BAD_REQUEST,
                answer::INVALID,
                Some(answer::cause("invalid-body", "the body broke off")),
            ),
            Self::TooLong { limit_bytes } => answer::plain(
                StatusCode::PAYLOAD_TOO_LARGE,
                "Content too large.",
                Some(answer::cause(
                    "too-large",
                    &format!("the body may have {limit_bytes} bytes"),
                )),
            ),
        }
    }
}

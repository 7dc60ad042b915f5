//! Reading a request's body whole, up to a limit, with PCCS's answer where it is too long; and letting a body go that
//! nobody reads, so that its sender gets to see why.

use std::time::Duration;

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
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    // A body that says it is too long is not read at all.
    if body.size_hint().lower() > limit_bytes as u64 {
        leave(body);
        return Err(Unread::TooLong { limit_bytes });
    }
    let mut body = Box::pin(body);
    match Limited::new(body.as_mut(), limit_bytes).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            leave(body);
            Err(Unread::TooLong { limit_bytes })
        }
        Err(_) => Err(Unread::Broken),
    }
}

/// Lets a body that is not wanted run out, to nowhere, while the answer is on its way. A connection that is closed with
/// bytes of the client's unread is reset, and the client, still sending, sees that in place of the answer.
pub fn leave<B>(body: B)
where
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if body.is_end_stream() {
        return;
    }
    tokio::spawn(async move {
        let mut body = Box::pin(body);
        let run_out = async {
            let mut left = LEFT_BYTES;
            while let Some(Ok(frame)) = body.frame().await {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                match left.checked_sub(bytes) {
                    Some(fewer) => left = fewer,
                    None => return,
                }
            }
        };
        // Whoever sends more, or more slowly, is cut off.
        let _ = tokio::time::timeout(LEFT_TIME, run_out).await;
    });
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

/// Some times the longest body that is taken: who is a little over the limit hears so.
const LEFT_BYTES: usize = 16 * 1024 * 1024;
/// 16 MiB at 30 Mbit/s.
const LEFT_TIME: Duration = Duration::from_secs(5);

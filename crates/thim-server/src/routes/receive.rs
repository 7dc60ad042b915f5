//! Reading a request's body whole, up to a limit and within a time, with PCCS's answer where it is too long or too slow;
//! and letting a body go that nobody reads, so that its sender gets to see why.

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
    /// It did not arrive in time.
    TooSlow,
}

/// The whole body, at most `limit_bytes` of it, which has `limit_time` to arrive: mostly [`BODY_TIME`].
pub async fn whole<B>(body: B, limit_bytes: usize, limit_time: Duration) -> Result<Bytes, Unread>
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
    let read = Limited::new(body.as_mut(), limit_bytes).collect();
    match tokio::time::timeout(limit_time, read).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            leave(body);
            Err(Unread::TooLong { limit_bytes })
        }
        Ok(Err(_)) => Err(Unread::Broken),
        // Whoever has sent nothing for so long gets no more time: the connection ends with the answer.
        Err(_) => Err(Unread::TooSlow),
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
    /// PCCS's 413, 400 for a body that broke off, or 408.
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
            Self::TooSlow => answer::plain(
                StatusCode::REQUEST_TIMEOUT,
                "Request Timeout",
                Some(answer::cause("too-slow", "the body did not arrive in time")),
            ),
        }
    }
}

/// For a body, all of it. PCCS gives a whole request 15 s; 2 MiB over a line of 1 Mbit/s take 17. Whoever sends nothing
/// holds a connection for no longer.
pub const BODY_TIME: Duration = Duration::from_secs(30);
/// Some times the longest body that is taken: who is a little over the limit hears so.
const LEFT_BYTES: usize = 16 * 1024 * 1024;
/// 16 MiB at 30 Mbit/s.
const LEFT_TIME: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream::{self, Stream, StreamExt};
    use http_body_util::StreamBody;
    use hyper::body::Frame;

    use super::*;

    type Piece = Result<Frame<Bytes>, Infallible>;

    fn piece(text: &'static str) -> Piece {
        Ok(Frame::data(Bytes::from_static(text.as_bytes())))
    }

    async fn read(
        pieces: impl Stream<Item = Piece> + Send + 'static,
        limit_time: Duration,
    ) -> Result<Bytes, Unread> {
        let read = whole(StreamBody::new(pieces), 8, limit_time);
        // Without a limit of its own it would go on for ever.
        let ended = tokio::time::timeout(Duration::from_secs(10), read).await;
        ended.expect("it ends by itself")
    }

    #[tokio::test]
    async fn a_body_has_a_length_and_a_time() {
        let eight = || stream::iter([piece("four"), piece("more")]);
        let silent = || stream::pending::<Piece>();
        for limit_time in [Duration::ZERO, BODY_TIME] {
            let nine = eight().chain(stream::iter([piece("x")]));
            assert_eq!(read(eight(), limit_time).await, Ok("fourmore".into()));
            assert_eq!(
                read(nine, limit_time).await,
                Err(Unread::TooLong { limit_bytes: 8 })
            );
        }
        assert_eq!(read(silent(), Duration::ZERO).await, Err(Unread::TooSlow));
        let cut_short = eight().chain(silent());
        assert_eq!(read(cut_short, Duration::ZERO).await, Err(Unread::TooSlow));
        // The whole body has a time, not each piece of it.
        let trickle = stream::repeat(()).then(|()| async {
            tokio::task::yield_now().await;
            piece("")
        });
        let short = Duration::from_millis(5);
        assert_eq!(read(trickle, short).await, Err(Unread::TooSlow));
        let statuses = [
            Unread::TooLong { limit_bytes: 8 },
            Unread::Broken,
            Unread::TooSlow,
        ]
        .map(|why| why.render().status().as_u16());
        assert_eq!(statuses, [413, 400, 408]);
    }
}

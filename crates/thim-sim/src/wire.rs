//! HTTP/1.1 by hand, for the simulated vendors.
//!
//! A framework would refuse to send what the faults need: half a body, an RST in the middle of a header, a silent
//! close. So this file reads requests with `httparse` and writes answers byte by byte. It promises correct HTTP/1.1
//! (RFC 9112) for everything else: keep-alive, HEAD, pipelined requests, bodies up to a limit. It knows nothing of
//! Intel or AMD.

use axum::http::StatusCode;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// A request. No `Debug` beyond its first line: bodies are manifests.
pub(crate) struct Request {
    /// Who asks; `None` for a connection that was gone before it could be seen.
    pub(crate) client: Option<IpAddr>,
    pub(crate) method: String,
    /// `path?query` as received.
    pub(crate) target: String,
    /// `Ocp-Apim-Subscription-Key`.
    pub(crate) api_key: Option<String>,
    /// `PPID-Encryption-Key`.
    pub(crate) ppid_encryption_key: Option<String>,
    pub(crate) body: Vec<u8>,
    content_type: Option<String>,
    body_bytes: usize,
    keep_alive: bool,
    /// The client waits for a 100 before it sends the body.
    expects_continue: bool,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("path", &self.path())
            .finish_non_exhaustive()
    }
}

impl Request {
    pub(crate) fn path(&self) -> &str {
        self.target
            .split_once('?')
            .map_or(&*self.target, |(path, _)| path)
    }

    pub(crate) fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// Whether the body's media type is this one; parameters such as `charset` may follow it.
    pub(crate) fn has_content_type(&self, media_type: &str) -> bool {
        let given = self.content_type.as_deref().unwrap_or_default();
        let given = given.split_once(';').map_or(given, |(given, _)| given);
        given.trim().eq_ignore_ascii_case(media_type)
    }
}

/// An answer and how it leaves.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Arc<[u8]>,
    pub(crate) delivery: Delivery,
}

/// How an answer leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// A body of so many bytes in chunks, instead of the reply's own.
    Chunked(u64),
    /// Nothing, then the end of the connection.
    Close,
    /// Half a header, then RST.
    Reset,
    /// Half of the body that `Content-Length` promises, then the end of the connection.
    Truncated,
    /// As it should.
    Whole,
}

/// Accepts connections until dropped, and answers their requests by `respond`; dropping ends the connections too.
pub(crate) async fn serve<R, A>(listener: TcpListener, respond: R)
where
    R: Fn(Request) -> A + Clone + Send + 'static,
    A: Future<Output = Reply> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                // A connection's end, however abrupt, concerns its client alone.
                Ok((stream, _)) => { connections.spawn(converse(stream, respond.clone())); }
                // Out of file descriptors, most likely: give the open connections time to end.
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn converse<R, A>(mut stream: TcpStream, respond: R) -> io::Result<()>
where
    R: Fn(Request) -> A,
    A: Future<Output = Reply>,
{
    stream.set_nodelay(true)?;
    let client = stream.peer_addr().ok().map(|address| address.ip());
    let mut received = Vec::new();
    loop {
        let mut request = match timeout(IDLE, read_request(&mut stream, &mut received)).await {
            Ok(Ok(Some(request))) => request,
            Ok(Ok(None)) | Err(_) => return Ok(()),
            Ok(Err(status)) => {
                let reply = Reply::text(status, "This is not a request.");
                let sent = send(&mut stream, &reply, false, false).await;
                return sent.map(|_| ());
            }
        };
        request.client = client;
        let (head_only, keep_alive) = (request.method == "HEAD", request.keep_alive);
        let reply = respond(request).await;
        if !send(&mut stream, &reply, head_only, keep_alive).await? {
            return Ok(());
        }
    }
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Arc<[u8]>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
            delivery: Delivery::Whole,
        }
    }

    pub(crate) fn text(status: u16, text: &str) -> Self {
        Self::new(status, text.as_bytes()).with("Content-Type", "text/plain")
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn delivered(mut self, delivery: Delivery) -> Self {
        self.delivery = delivery;
        self
    }
}

/// The next request; `None` at the end of the connection; an error is the status to end it with.
async fn read_request(
    stream: &mut TcpStream,
    received: &mut Vec<u8>,
) -> Result<Option<Request>, u16> {
    let mut request = loop {
        if let Some((request, head_bytes)) = parse_head(received)? {
            received.drain(..head_bytes);
            break request;
        }
        if received.len() > MAX_HEAD_BYTES {
            return Err(431);
        }
        // A connection that breaks before a whole head has asked nothing.
        if !matches!(stream.read_buf(received).await, Ok(1..)) {
            return Ok(None);
        }
    };
    if request.body_bytes > MAX_BODY_BYTES {
        return Err(413);
    }
    if request.expects_continue && received.len() < request.body_bytes {
        let sent = stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await;
        if sent.is_err() {
            return Ok(None);
        }
    }
    while received.len() < request.body_bytes {
        if !matches!(stream.read_buf(received).await, Ok(1..)) {
            return Ok(None);
        }
    }
    request.body = received.drain(..request.body_bytes).collect();
    Ok(Some(request))
}

/// A whole head and its length, `None` if there is more to come.
fn parse_head(received: &[u8]) -> Result<Option<(Request, usize)>, u16> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let head_bytes = match parsed.parse(received) {
        Ok(httparse::Status::Complete(head_bytes)) => head_bytes,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(431),
        Err(_) => return Err(400),
    };
    let header = |name: &str| {
        parsed
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name))
            .map(|header| String::from_utf8_lossy(header.value).into_owned())
    };
    if header("transfer-encoding").is_some() {
        return Err(411);
    }
    let body_bytes = match header("content-length") {
        Some(length) => length.trim().parse().map_err(|_| 400_u16)?,
        None => 0,
    };
    let connection = header("connection").map(|value| value.to_ascii_lowercase());
    let keep_alive = parsed.version == Some(1) && connection.as_deref() != Some("close");
    let request = Request {
        client: None,
        method: parsed.method.unwrap_or_default().to_owned(),
        target: parsed.path.unwrap_or_default().to_owned(),
        api_key: header("ocp-apim-subscription-key"),
        ppid_encryption_key: header("ppid-encryption-key"),
        body: Vec::new(),
        content_type: header("content-type"),
        body_bytes,
        keep_alive,
        expects_continue: header("expect")
            .is_some_and(|value| value.eq_ignore_ascii_case("100-continue")),
    };
    Ok(Some((request, head_bytes)))
}

/// Sends a reply; `false` ends the connection.
async fn send(
    stream: &mut TcpStream,
    reply: &Reply,
    head_only: bool,
    keep_alive: bool,
) -> io::Result<bool> {
    let head = head(reply, keep_alive);
    match reply.delivery {
        Delivery::Chunked(bytes) => {
            stream.write_all(head.as_bytes()).await?;
            if !head_only {
                send_chunks(stream, bytes).await?;
            }
            Ok(keep_alive)
        }
        Delivery::Close => Ok(false),
        Delivery::Reset => {
            stream.write_all(&head.as_bytes()[..head.len() / 2]).await?;
            // Closing with zero linger makes the kernel send RST.
            stream.set_zero_linger()?;
            Ok(false)
        }
        Delivery::Truncated => {
            stream.write_all(head.as_bytes()).await?;
            if !head_only {
                stream
                    .write_all(&reply.body[..reply.body.len() / 2])
                    .await?;
            }
            stream.shutdown().await?;
            Ok(false)
        }
        Delivery::Whole => {
            let mut bytes = head.into_bytes();
            if !head_only && may_have_body(reply.status) {
                bytes.extend_from_slice(&reply.body);
            }
            stream.write_all(&bytes).await?;
            if !keep_alive {
                stream.shutdown().await?;
            }
            Ok(keep_alive)
        }
    }
}

fn head(reply: &Reply, keep_alive: bool) -> String {
    let reason = StatusCode::from_u16(reply.status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("unknown");
    let mut head = format!("HTTP/1.1 {} {reason}\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    match reply.delivery {
        Delivery::Chunked(_) => head.push_str("Transfer-Encoding: chunked\r\n"),
        Delivery::Close | Delivery::Reset | Delivery::Truncated | Delivery::Whole => {
            if may_have_body(reply.status) {
                head.push_str(&format!("Content-Length: {}\r\n", reply.body.len()));
            }
        }
    }
    if !keep_alive {
        head.push_str("Connection: close\r\n");
    }
    head.push_str("\r\n");
    head
}

/// RFC 9110, sections 15.3.5 and 15.4.5: these end after the head.
fn may_have_body(status: u16) -> bool {
    !matches!(status, 204 | 304)
}

async fn send_chunks(stream: &mut TcpStream, bytes: u64) -> io::Result<()> {
    let filler = vec![b'A'; CHUNK_BYTES];
    let mut left = bytes;
    while left > 0 {
        let size = usize::try_from(left).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
        stream.write_all(format!("{size:x}\r\n").as_bytes()).await?;
        stream.write_all(&filler[..size]).await?;
        stream.write_all(b"\r\n").await?;
        left -= size as u64;
    }
    stream.write_all(b"0\r\n\r\n").await
}

/// A client of the simulator has a budget of a few; the rest wait to be accepted.
const MAX_CONNECTIONS: usize = 1024;
/// PCS requests carry 768 hex digits of encrypted PPID at most.
const MAX_HEAD_BYTES: usize = 64 * 1024;
const MAX_HEADERS: usize = 100;
/// The largest body PCS takes is a platform manifest of 112,884 hex digits.
const MAX_BODY_BYTES: usize = 1024 * 1024;
/// How long a connection may stay without a whole request.
const IDLE: Duration = Duration::from_secs(60);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const CHUNK_BYTES: usize = 64 * 1024;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is the report")]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_whole_or_not_at_all() {
        let bytes = b"GET /a?b=c HTTP/1.1\r\nOCP-APIM-SUBSCRIPTION-KEY: k\r\n\r\nrest";
        let (request, head_bytes) = parse_head(bytes).unwrap().unwrap();
        assert_eq!((request.path(), request.query()), ("/a", "b=c"));
        assert_eq!(request.api_key.as_deref(), Some("k"));
        assert!(request.keep_alive);
        assert_eq!(&bytes[head_bytes..], b"rest");
        assert!(parse_head(&bytes[..head_bytes - 1]).unwrap().is_none());
    }

    #[test]
    fn bad_heads_name_their_status() {
        assert_eq!(parse_head(b"\0\r\n\r\n").unwrap_err(), 400);
        let chunked = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(parse_head(chunked).unwrap_err(), 411);
        let length = b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n";
        assert_eq!(parse_head(length).unwrap_err(), 400);
    }
}

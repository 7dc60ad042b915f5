//! Listeners: connections, their limits, and a graceful end.
//!
//! HTTP/1.1, and under TLS HTTP/2 by ALPN. Every wait and every buffer has a limit;
//! at the limit of connections no more are accepted, and the kernel's queue holds the rest.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use crate::duration::Span;
use crate::routes::Front;

/// `[limits]`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Open connections of both listeners. Default 4096.
    pub connections: usize,
    /// Bytes of a request's head, 8192 at least. Default 32 KiB; more is answered with 431.
    pub header_bytes: usize,
    /// Bytes of a request's body, imports of the own API apart. Default 2 MiB, as PCCS.
    pub body_bytes: usize,
    /// Time for a TLS handshake. Default 10 s.
    pub handshake_timeout: Span,
    /// Time for a request's head, and how long an idle connection is kept. Default 60 s.
    pub idle_timeout: Span,
    /// Time for an answer of the own API. Default 15 s.
    pub request_timeout: Span,
    /// Time for open requests to end at a stop. Default 10 s.
    pub stop_timeout: Span,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            header_bytes: 32 * 1024,
            body_bytes: 2 * 1024 * 1024,
            handshake_timeout: Span::from_secs(10),
            idle_timeout: Span::from_secs(60),
            request_timeout: Span::from_secs(15),
            stop_timeout: Span::from_secs(10),
        }
    }
}

/// What a listener needs.
#[derive(Clone)]
pub struct Listening {
    /// The front door.
    pub front: Arc<Front>,
    /// The limits.
    pub limits: Limits,
    /// Shared by all listeners.
    pub places: Arc<Semaphore>,
    /// Counts open connections.
    pub open: prometheus_client::metrics::gauge::Gauge,
}

/// Binds an address; the error names it.
pub async fn bind(address: &str) -> std::io::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .map_err(|error| std::io::Error::new(error.kind(), format!("{address}: {error}")))
}

/// Serves a listener until `stop` says so, then lets open requests end.
pub async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    listening: Listening,
    mut stop: watch::Receiver<bool>,
) {
    let graceful = Arc::new(GracefulShutdown::new());
    loop {
        let place = tokio::select! {
            place = Arc::clone(&listening.places).acquire_owned() => place,
            () = told(&mut stop) => break,
        };
        let Ok(place) = place else { break };
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, mostly: wait for some to be freed.
                    tracing::warn!(error = %error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            () = told(&mut stop) => break,
        };
        let (tls, listening, watcher) = (tls.clone(), listening.clone(), graceful.watcher());
        tokio::spawn(async move {
            listening.open.inc();
            connection(stream, peer, tls, &listening, watcher).await;
            listening.open.dec();
            drop(place);
        });
    }
    drop(listener);
    if let Some(graceful) = Arc::into_inner(graceful)
        && tokio::time::timeout(
            listening.limits.stop_timeout.duration(),
            graceful.shutdown(),
        )
        .await
        .is_err()
    {
        tracing::warn!("some connections did not end in time");
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    listening: &Listening,
    watcher: hyper_util::server::graceful::Watcher,
) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let limits = &listening.limits;
    let front = Arc::clone(&listening.front);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let front = Arc::clone(&front);
        async move { Ok::<_, Infallible>(front.answer(request, peer.ip()).await) }
    });
    let result = match tls {
        None => speak(stream, false, service, limits, watcher).await,
        Some(acceptor) => {
            let handshake = acceptor.accept(stream);
            let stream =
                match tokio::time::timeout(limits.handshake_timeout.duration(), handshake).await {
                    Ok(Ok(stream)) => stream,
                    Ok(Err(error)) => {
                        tracing::debug!(peer = %peer, error = %error, "a TLS handshake failed");
                        return;
                    }
                    Err(_) => return,
                };
            let http_2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            speak(stream, http_2, service, limits, watcher).await
        }
    };
    if let Err(error) = result {
        tracing::debug!(peer = %peer, error, "a connection ended badly");
    }
}

/// Speaks HTTP over a stream until it ends, a limit is reached, or the server stops.
async fn speak<T, S>(
    stream: T,
    http_2: bool,
    service: S,
    limits: &Limits,
    watcher: hyper_util::server::graceful::Watcher,
) -> Result<(), String>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: hyper::service::HttpService<
            Incoming,
            ResBody = crate::routes::Body,
            Error = Infallible,
            Future: Send + 'static,
        > + Send
        + 'static,
{
    let result = if http_2 {
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(header_list(limits))
            .keep_alive_interval(limits.idle_timeout.duration())
            .keep_alive_timeout(limits.handshake_timeout.duration())
            .serve_connection(TokioIo::new(stream), service);
        watcher.watch(connection).await
    } else {
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.idle_timeout.duration())
            .max_buf_size(limits.header_bytes.max(MIN_HEADER_BYTES))
            .serve_connection(TokioIo::new(stream), service);
        watcher.watch(connection).await
    };
    result.map_err(|error| error.to_string())
}

/// Waits for the word to stop; a server that is gone has said it.
async fn told(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

fn header_list(limits: &Limits) -> u32 {
    u32::try_from(limits.header_bytes.max(MIN_HEADER_BYTES)).unwrap_or(u32::MAX)
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// hyper takes no less.
const MIN_HEADER_BYTES: usize = 8192;
const STREAMS: u32 = 100;

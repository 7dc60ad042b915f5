//! Listeners: where the agent may listen, connections and their limits, and a graceful end.
//!
//! A cloud's own metadata service must not be shadowed: where 169.254.169.254 is to be listened on, the agent first
//! tries to reach it, and does not start where something answers. There is no way round that but another address.
//! Connections have a number, a number for each peer, a time for each head and a time in all, so that no peer, idle,
//! slow or many, keeps others out for long.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::LINK_LOCAL;
use crate::answer::Reply;
use crate::rate::machine;

/// Why the agent does not listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address is on no interface.
    #[error(
        "{address} is on no interface of this machine; add it first, e.g. `ip addr add {}/{} dev lo`, or choose another address",
        address.ip(),
        if address.is_ipv4() { 32 } else { 128 }
    )]
    NoSuchAddress {
        /// The address.
        address: SocketAddr,
    },
    /// Something answers there.
    #[error(
        "{found} already answers: a cloud's own metadata service, or another agent. It must not be shadowed, so this agent does not start; choose another address with [http] listen"
    )]
    Occupied {
        /// Where it answers.
        found: SocketAddr,
    },
    /// The system refused otherwise.
    #[error("{address}: {error}")]
    Refused {
        /// The address.
        address: SocketAddr,
        /// Its words.
        error: std::io::Error,
    },
}

/// Limits of a listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections.
    pub connections: usize,
    /// Open connections of one peer.
    pub per_peer: usize,
    /// For a request's head, and an idle connection.
    pub idle: Duration,
    /// For a connection in all.
    pub whole: Duration,
}

/// Whether anybody is at 169.254.169.254 already, where that is the address to listen on.
///
/// # Errors
/// [`ListenError::Occupied`].
pub async fn free(address: SocketAddr) -> Result<(), ListenError> {
    if address.ip().to_canonical() != IpAddr::V4(LINK_LOCAL) {
        return Ok(());
    }
    nobody_at(address.ip(), &[80, address.port()]).await
}

/// Tries the ports of an address, each for a short time.
async fn nobody_at(ip: IpAddr, ports: &[u16]) -> Result<(), ListenError> {
    for port in ports.iter().filter(|port| **port != 0) {
        let found = SocketAddr::new(ip, *port);
        let tried = tokio::time::timeout(PROBE_LIMIT, TcpStream::connect(found)).await;
        if matches!(tried, Ok(Ok(_))) {
            return Err(ListenError::Occupied { found });
        }
    }
    Ok(())
}

/// Binds an address.
///
/// # Errors
/// [`ListenError`].
pub async fn bind(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address)
        .await
        .map_err(|error| match error.kind() {
            ErrorKind::AddrInUse => ListenError::Occupied { found: address },
            ErrorKind::AddrNotAvailable => ListenError::NoSuchAddress { address },
            _ => ListenError::Refused { address, error },
        })
}

/// What a listener counts.
pub trait Counted {
    /// A connection was opened (1) or closed (-1).
    fn open(&self, by: i64);
    /// A connection was closed at a limit.
    fn turned_away(&self);
}

/// Serves until `stop` says so, then lets open requests end.
pub async fn serve<A, F, C>(
    listener: TcpListener,
    limits: Limits,
    answer: A,
    counted: C,
    mut stop: watch::Receiver<bool>,
) where
    A: Fn(Request<Incoming>, SocketAddr, SocketAddr) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Reply> + Send + 'static,
    C: Counted,
{
    let mut open = JoinSet::new();
    let peers = Arc::new(Mutex::new(HashMap::new()));
    loop {
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
            Some(_) = open.join_next() => {
                counted.open(-1);
                continue;
            }
            () = told(&mut stop) => break,
        };
        // Closed rather than left waiting: who is turned away may come again, and nobody waits behind them.
        let place = (open.len() < limits.connections)
            .then(|| Place::take(&peers, machine(peer.ip()), limits.per_peer))
            .flatten();
        let (Some(place), Ok(local)) = (place, stream.local_addr()) else {
            counted.turned_away();
            continue;
        };
        counted.open(1);
        let (answer, stop) = (answer.clone(), stop.clone());
        open.spawn(async move {
            let service = service_fn(move |request| {
                let answered = answer(request, peer, local);
                async move { Ok::<_, Infallible>(answered.await) }
            });
            connection(stream, limits, service, stop).await;
            drop(place);
        });
    }
    drop(listener);
    let ended = async { while open.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_LIMIT, ended).await.is_err() {
        tracing::warn!("some connections did not end in time");
    }
}

async fn connection<S>(
    stream: TcpStream,
    limits: Limits,
    service: S,
    mut stop: watch::Receiver<bool>,
) where
    S: hyper::service::HttpService<
            Incoming,
            ResBody = http_body_util::Full<bytes::Bytes>,
            Error = Infallible,
        >,
{
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle)
        .max_buf_size(HEAD_LIMIT_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let whole = tokio::time::sleep(limits.whole);
    tokio::select! {
        // Peers that break off are everyday, and tell nothing.
        _ = connection.as_mut() => return,
        () = whole => {}
        () = told(&mut stop) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(LAST_REQUEST_LIMIT, connection).await;
}

/// A peer's place; given back when dropped.
struct Place {
    peers: Arc<Mutex<HashMap<IpAddr, usize>>>,
    peer: IpAddr,
}

impl Place {
    fn take(peers: &Arc<Mutex<HashMap<IpAddr, usize>>>, peer: IpAddr, most: usize) -> Option<Self> {
        let mut counts = peers.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(peer).or_insert(0);
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Self {
            peers: Arc::clone(peers),
            peer,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.peer);
            }
        }
    }
}

/// Waits for the word to stop; a server that is gone has said it.
async fn told(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// A metadata service on the same machine, or one hop away, answers at once.
const PROBE_LIMIT: Duration = Duration::from_secs(1);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// For open requests at a stop; each has one second.
const STOP_LIMIT: Duration = Duration::from_secs(3);
/// For the request that is open when a connection's time is up.
const LAST_REQUEST_LIMIT: Duration = Duration::from_secs(2);
/// hyper takes no less; a request here has some 300 bytes, one that is passed on 2 KiB.
const HEAD_LIMIT_BYTES: usize = 8192;
const MAX_HEADERS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn somebody_there_and_nobody() {
        let there = bind(([127, 0, 0, 1], 0).into()).await.expect("a port");
        let address = there.local_addr().expect("an address");
        let found = nobody_at(address.ip(), &[0, address.port()]).await;
        assert!(matches!(found, Err(ListenError::Occupied { found }) if found == address));
        assert!(matches!(
            bind(address).await,
            Err(ListenError::Occupied { .. })
        ));
        // Other addresses are not asked: nobody is shadowed there.
        assert!(free(address).await.is_ok());
        drop(there);
        assert!(nobody_at(address.ip(), &[address.port()]).await.is_ok());
    }

    #[tokio::test]
    async fn an_address_of_nobody() {
        let address: SocketAddr = "203.0.113.77:0".parse().expect("an address");
        let refused = bind(address).await.expect_err("a documentation address");
        assert!(matches!(refused, ListenError::NoSuchAddress { .. }));
        assert!(
            refused
                .to_string()
                .contains("ip addr add 203.0.113.77/32 dev lo")
        );
    }

    #[test]
    fn places_are_given_back() {
        let peers = Arc::new(Mutex::new(HashMap::new()));
        let peer = IpAddr::from([10, 0, 0, 1]);
        let one = Place::take(&peers, peer, 2);
        let two = Place::take(&peers, peer, 2);
        assert!(one.is_some() && two.is_some() && Place::take(&peers, peer, 2).is_none());
        assert!(Place::take(&peers, IpAddr::from([10, 0, 0, 2]), 2).is_some());
        drop(one);
        assert!(Place::take(&peers, peer, 2).is_some());
        drop(two);
        assert!(peers.lock().expect("no panic").is_empty());
    }
}

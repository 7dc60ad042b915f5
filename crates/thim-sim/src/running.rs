//! What every simulator consists of while it runs: a vendor's port served by hand and a management port served by axum,
//! both ended when dropped.

use crate::SimError;
use axum::Router;
use std::future::{Future, IntoFuture};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The two listeners at work.
pub(crate) struct Running {
    vendor: JoinHandle<()>,
    management: Option<JoinHandle<io::Result<()>>>,
    /// Dropped to tell the management port to end; its connections are axum's, an abort would not reach them.
    ending: Option<oneshot::Sender<()>>,
}

impl Running {
    /// Starts both on the current tokio runtime.
    pub(crate) fn start(
        vendor: impl Future<Output = ()> + Send + 'static,
        management: TcpListener,
        router: Router,
    ) -> Self {
        let (ending, ended) = oneshot::channel::<()>();
        let serve = axum::serve(management, router).with_graceful_shutdown(async {
            // Ends on the message as on the sender's drop.
            let _ = ended.await;
        });
        Self {
            vendor: tokio::spawn(vendor),
            management: Some(tokio::spawn(serve.into_future())),
            ending: Some(ending),
        }
    }

    /// Ends listeners and connections and waits until they have ended.
    pub(crate) async fn shutdown(mut self) {
        self.vendor.abort();
        // An aborted task ends with an error that says so.
        let _ = (&mut self.vendor).await;
        self.ending.take();
        if let Some(management) = self.management.take() {
            // Idle connections close at once; one with half a request is not waited for longer than this.
            let _ = timeout(GRACE, management).await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.vendor.abort();
        self.ending.take();
    }
}

/// A listener and the URL that leads to it.
pub(crate) async fn bind(address: SocketAddr) -> Result<(TcpListener, String), SimError> {
    let failed = |source| SimError::Bind { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let mut bound = listener.local_addr().map_err(failed)?;
    // The URL has to lead somewhere: a listener on all addresses is reached on the loopback one.
    match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => bound.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => bound.set_ip(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    Ok((listener, format!("http://{bound}")))
}

/// How long a shutdown waits for the management port's connections.
const GRACE: Duration = Duration::from_secs(2);

//! The one place where the parts meet: store, upstreams, routes, listeners and the tasks in between.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use thim_verify::UnixTime;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::clock::Clock;
use crate::collateral::{Collateral, OpenError, Settings};
use crate::config::{Config, ConfigError};
use crate::listen::{self, Listening};
use crate::metrics::{Metrics, RequestIds};
use crate::routes::{AdminToken, Front, Service};
use crate::sentinel::{Remark, Severity};
use crate::tls;
use crate::upstream::Fill;
use crate::{refresh, secret};

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A wrong configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A port or file that cannot be had.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The store or an upstream.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The certificate.
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
}

/// What only `main` may read of the world.
pub struct World {
    /// The service's clock.
    pub clock: Clock,
    /// True where that clock was chosen by hand.
    pub clock_chosen: bool,
    /// The system's time, for the server's own certificate.
    pub today: UnixTime,
    /// 48 random bytes: the token to make, if one is to be made, and the seed of request ids.
    pub random: [u8; 48],
}

/// A running server.
pub struct Server {
    /// Where plain HTTP listens.
    pub http: Option<SocketAddr>,
    /// Where HTTPS listens.
    pub https: Option<SocketAddr>,
    /// True where the TLS certificate was made for development.
    pub development_certificate: bool,
    /// The keeper of collateral.
    pub collateral: Arc<Collateral>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Server {
    /// Starts everything that `config` says. The listeners open last: a port that answers can serve.
    pub async fn start(config: &Config, world: World) -> Result<Self, StartError> {
        let anchors = config.anchors()?;
        let replaced = !anchors.is_builtin();
        let clock = world.clock;
        let collateral = Collateral::open(
            Settings {
                data: &config.data,
                anchors,
                intel: &config.intel,
                freshness: config.freshness.clone(),
                sentinel: config.sentinel.clone(),
                clock: clock.clone(),
                view_past: world.clock_chosen,
            },
            Metrics::new,
        )
        .await?;
        if replaced && !collateral.is_read_only() {
            let text = "the pinned roots are replaced by configuration ([trust] intel_roots)";
            tell(
                &collateral,
                Remark::new("trust.replaced", Severity::Alarm, text),
                clock.now(),
            )
            .await?;
        }
        let token = admin_token(config, &world.random)?;
        let service = Arc::new(Service {
            collateral: Arc::clone(&collateral),
            clock: clock.clone(),
            token,
        });
        let mut seed = [0; 16];
        seed.copy_from_slice(&world.random[32..]);
        let front = Arc::new(Front::new(
            service,
            RequestIds::new(seed),
            config.limits.request_timeout.duration(),
            config.limits.body_bytes,
        ));
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let listening = Listening {
            front,
            limits: config.limits.clone(),
            places: Arc::new(Semaphore::new(config.limits.connections.max(1))),
            open: collateral.metrics().connections().clone(),
        };
        let mut http = None;
        if config.http.listen != OFF {
            let listener = listen::bind(&config.http.listen).await?;
            http = Some(listener.local_addr()?);
            tasks.spawn(listen::serve(
                listener,
                None,
                listening.clone(),
                stopped.clone(),
            ));
        }
        let mut https = None;
        let mut development_certificate = false;
        if config.https.listen != OFF {
            let certificate = tls::Certificate::load(&config.https, &config.data, world.today)?;
            development_certificate = certificate.development;
            let acceptor = TlsAcceptor::from(certificate.server_config()?);
            let listener = listen::bind(&config.https.listen).await?;
            https = Some(listener.local_addr()?);
            tasks.spawn(listen::serve(
                listener,
                Some(acceptor),
                listening,
                stopped.clone(),
            ));
            tasks.spawn(watch_certificate(certificate, stopped.clone()));
        }
        tasks.spawn(watch_time(
            Arc::clone(&collateral),
            clock.clone(),
            stopped.clone(),
        ));
        let fetches = collateral.fill() != Fill::Offline
            && !collateral.intel().is_empty()
            && !collateral.is_read_only();
        if fetches {
            tasks.spawn(keep_fresh(Arc::clone(&collateral), clock, stopped));
        }
        Ok(Self {
            http,
            https,
            development_certificate,
            collateral,
            stop,
            tasks,
        })
    }

    /// Stops: no new connections, open requests end, the store is closed.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
        self.collateral.store().close().await;
    }
}

/// The token of `[api] token_file`, or `admin.token` of the data directory, made at first start.
fn admin_token(config: &Config, random: &[u8; 48]) -> std::io::Result<AdminToken> {
    let named = |path: &Path, error: std::io::Error| {
        std::io::Error::new(error.kind(), format!("{}: {error}", path.display()))
    };
    let (path, may_make) = match &config.api.token_file {
        Some(path) => (path.clone(), false),
        None => (config.data.join("admin.token"), true),
    };
    let text = match secret::read(&path) {
        Ok(text) => text,
        Err(error) if may_make && error.kind() == std::io::ErrorKind::NotFound => {
            let text = data_encoding::HEXLOWER.encode(&random[..32]);
            secret::write(&path, format!("{text}\n").as_bytes())
                .map_err(|error| named(&path, error))?;
            text
        }
        Err(error) => return Err(named(&path, error)),
    };
    if text.len() < MIN_TOKEN_CHARS {
        return Err(std::io::Error::other(format!(
            "{}: a token has at least {MIN_TOKEN_CHARS} characters",
            path.display()
        )));
    }
    Ok(AdminToken::new(&text))
}

async fn tell(collateral: &Collateral, remark: Remark, now: UnixTime) -> Result<(), OpenError> {
    collateral
        .record(vec![crate::admission::event(now, remark, None, None)])
        .await
        .map_err(OpenError::Store)
}

/// Lets time decide what time decides.
async fn watch_time(collateral: Arc<Collateral>, clock: Clock, mut stop: watch::Receiver<bool>) {
    loop {
        if let Err(error) = collateral.tick(clock.now()).await {
            tracing::error!(error = %error, "what was due could not be written; it is tried again");
        }
        if pause(TICK, &mut stop).await {
            return;
        }
    }
}

/// Polls what is due.
async fn keep_fresh(collateral: Arc<Collateral>, clock: Clock, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            result = refresh::run(&collateral, &clock, false, false) => {
                if let Err(error) = result {
                    tracing::error!(error = %error, "the refresh could not read the store; it is tried again");
                }
            }
            _ = stop.wait_for(|stop| *stop) => return,
        }
        if pause(PLAN_EVERY, &mut stop).await {
            return;
        }
    }
}

async fn watch_certificate(certificate: Arc<tls::Certificate>, mut stop: watch::Receiver<bool>) {
    while !pause(RELOAD_EVERY, &mut stop).await {
        match certificate.reload() {
            Ok(true) => tracing::info!("the TLS certificate was read anew"),
            Ok(false) => {}
            Err(error) => {
                tracing::error!(error = %error, "the new TLS certificate is refused; the old one stays")
            }
        }
    }
}

/// Waits; true where the server stops meanwhile.
async fn pause(time: Duration, stop: &mut watch::Receiver<bool>) -> bool {
    tokio::select! {
        () = tokio::time::sleep(time) => false,
        _ = stop.wait_for(|stop| *stop) => true,
    }
}

/// The word that turns a listener off.
pub const OFF: &str = "off";
const TICK: Duration = Duration::from_secs(1);
const PLAN_EVERY: Duration = Duration::from_secs(15);
const RELOAD_EVERY: Duration = Duration::from_secs(10);
const MIN_TOKEN_CHARS: usize = 32;

//! The one place where the parts meet: store, upstreams, routes, listeners and the tasks in between.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use thim_verify::UnixTime;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::access::{Access, AccessError, admin_token};
use crate::baselines::statement::{KeyError, Signer};
use crate::baselines::{self, Baselines};
use crate::chips::{Chips, Step};
use crate::clock::Clock;
use crate::collateral::{Collateral, OpenError, Settings};
use crate::config::{Config, ConfigError};
use crate::evidence::{Explainer, ReportExplainer};
use crate::listen::{self, Listening};
use crate::metrics::{Metrics, RequestIds};
use crate::news::{self, Delivered, News};
use crate::platforms::Platforms;
use crate::refresh;
use crate::routes::{FORECASTS, Front, Service};
use crate::sealing::{self, Entropy, IdentityKey, Sealer, SealingError};
use crate::sentinel::{Remark, Severity};
use crate::tls;

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
    /// PCCS's token hashes.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The acts on baselines.
    #[error(transparent)]
    Baselines(#[from] baselines::OpenError),
    /// Webhooks, and what was told.
    #[error(transparent)]
    News(#[from] news::OpenError),
    /// The sealing key.
    #[error(transparent)]
    Sealing(#[from] SealingError),
    /// The key of statements.
    #[error(transparent)]
    Statement(#[from] KeyError),
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
    /// Fills bytes with randomness: keys and tokens that are made at first start, new keys at a rotation, and the
    /// seed of request ids. How much is wanted, and when, is known inside alone, so it is no array.
    pub entropy: Entropy,
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
    /// The register of platforms.
    pub platforms: Arc<Platforms>,
    /// The keeper of certificates of AMD's chips.
    pub chips: Arc<Chips>,
    /// The keeper of baselines.
    pub baselines: Arc<Baselines>,
    /// The keeper of news.
    pub news: Arc<News>,
    /// What secrets are sealed with.
    pub sealer: Arc<Sealer>,
    /// What tells platforms apart.
    pub identity: Arc<IdentityKey>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Server {
    /// Starts everything that `config` says. The listeners open last: a port that answers can serve.
    pub async fn start(config: &Config, world: World) -> Result<Self, StartError> {
        let (anchors, amd_anchors) = (config.anchors()?, config.amd_anchors()?);
        let replaced = [
            (!anchors.is_builtin(), "intel_roots"),
            (!amd_anchors.is_builtin(), "amd_roots"),
        ];
        let clock = world.clock;
        let collateral = Collateral::open(
            Settings {
                data: &config.data,
                anchors,
                amd_anchors,
                intel: &config.intel,
                amd: &config.amd,
                freshness: config.freshness.clone(),
                sentinel: config.sentinel.clone(),
                clock: clock.clone(),
                view_past: world.clock_chosen,
            },
            Metrics::new,
        )
        .await?;
        for (_, key) in replaced.iter().filter(|(replaced, _)| *replaced) {
            if collateral.is_read_only() {
                break;
            }
            let text = format!("the pinned roots are replaced by configuration ([trust] {key})");
            tell(
                &collateral,
                Remark::new("trust.replaced", Severity::Alarm, text),
                clock.now(),
            )
            .await?;
        }
        let (sealer, identity) =
            secrets(&collateral, &config.data, world.entropy, clock.now()).await?;
        let token_file = config.api.token_file.as_deref();
        let token = admin_token(token_file, &config.data, world.entropy)?;
        let tokens = collateral
            .store()
            .tokens()
            .await
            .map_err(OpenError::Store)?;
        let access = Access::new(&token, &config.api, tokens, collateral.metrics())?;
        let platforms = Platforms::new(
            Arc::clone(&collateral),
            Arc::clone(&sealer),
            Arc::clone(&identity),
            config.platforms.clone(),
        );
        let chips = Chips::new(
            Arc::clone(&collateral),
            Arc::clone(&identity),
            config.amd.clone(),
        )
        .map_err(OpenError::Config)?;
        let products = config.amd.products().map_err(OpenError::Config)?;
        let (one, two) = (Arc::clone(&collateral), Arc::clone(&platforms));
        let baselines = Baselines::open(one, two, products).await?;
        let news = News::open(
            Arc::clone(&collateral),
            &config.news,
            &config.webhook,
            clock.now(),
        )
        .await?;
        let service = Arc::new(Service {
            collateral: Arc::clone(&collateral),
            clock: clock.clone(),
            access: Arc::new(access),
            sealer: Arc::clone(&sealer),
            platforms: Arc::clone(&platforms),
            chips: Arc::clone(&chips),
            baselines: Arc::clone(&baselines),
            forecasts: Arc::new(tokio::sync::Semaphore::new(FORECASTS)),
            signer: Arc::new(Signer::open(&config.data, config.baselines.clone())?),
            news: Arc::clone(&news),
            explainer: Explainer::new(Arc::clone(&platforms), config.evidence),
            reports: ReportExplainer::new(Arc::clone(&chips)),
            body_limit_bytes: config.limits.body_bytes,
        });
        let mut seed = [0; 16];
        (world.entropy)(&mut seed)?;
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
            Arc::clone(&baselines),
            Arc::clone(&platforms),
            Arc::clone(&chips),
            clock.clone(),
            stopped.clone(),
        ));
        // What looks round on its own would act at an instant that nobody chose.
        let on_its_own = !clock.is_by_hand();
        if on_its_own && (collateral.may_ask() || collateral.may_ask_amd()) {
            tasks.spawn(keep_fresh(
                Arc::clone(&collateral),
                clock.clone(),
                stopped.clone(),
            ));
        }
        if collateral.may_ask_amd() {
            tasks.spawn(keep_chips(
                Arc::clone(&chips),
                clock.clone(),
                stopped.clone(),
            ));
        }
        if on_its_own && !collateral.is_read_only() {
            tasks.spawn(look_for_news(
                Arc::clone(&news),
                clock.clone(),
                stopped.clone(),
            ));
            for webhook in 0..news.webhooks() {
                tasks.spawn(tell_news(
                    Arc::clone(&news),
                    webhook,
                    clock.clone(),
                    stopped.clone(),
                ));
            }
        }
        if on_its_own {
            tasks.spawn(count_below(
                Arc::clone(&baselines),
                Arc::clone(&news),
                clock.clone(),
                stopped.clone(),
            ));
        }
        if collateral.may_ask() {
            tasks.spawn(keep_platforms(Arc::clone(&platforms), clock, stopped));
        }
        Ok(Self {
            http,
            https,
            development_certificate,
            collateral,
            platforms,
            chips,
            baselines,
            news,
            sealer,
            identity,
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

/// What is secret at rest, and what tells platforms apart. A sealing key that is gone is told of as loudly as can be.
async fn secrets(
    collateral: &Collateral,
    data: &Path,
    entropy: Entropy,
    now: UnixTime,
) -> Result<(Arc<Sealer>, Arc<IdentityKey>), StartError> {
    let (sealer, fresh) = Sealer::open(data, entropy)?;
    let mut random = [0; 32];
    entropy(&mut random)?;
    let store = collateral.store();
    let identity = store.identity_key(random).await.map_err(OpenError::Store)?;
    if fresh && store.has_sealed().await.map_err(OpenError::Store)? {
        let text = format!(
            "{} is gone, and a new one is made: the manifests and encrypted PPIDs of the platforms here are lost until the platforms register again. Stop, and put the old file back, if you have it",
            sealing::KEY_FILE
        );
        let remark = Remark::new("keys.lost", Severity::Alarm, text);
        tell(collateral, remark, now).await?;
    }
    Ok((Arc::new(sealer), Arc::new(identity)))
}

async fn tell(collateral: &Collateral, remark: Remark, now: UnixTime) -> Result<(), OpenError> {
    collateral
        .record(vec![crate::admission::event(now, remark, None, None)])
        .await
        .map_err(OpenError::Store)
}

/// Lets time decide what time decides.
async fn watch_time(
    baselines: Arc<Baselines>,
    platforms: Arc<Platforms>,
    chips: Arc<Chips>,
    clock: Clock,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let ticked = async {
            platforms.collateral().tick(clock.now()).await?;
            baselines.tick(clock.now()).await?;
            platforms.tick(clock.now()).await?;
            chips.tick(clock.now()).await
        }
        .await;
        if let Err(error) = ticked {
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

/// Fetches platforms that are due.
async fn keep_platforms(platforms: Arc<Platforms>, clock: Clock, mut stop: watch::Receiver<bool>) {
    loop {
        let more = tokio::select! {
            result = platforms.fetch_due(&clock) => match result {
                Ok(round) => round.more && round.failed.is_empty(),
                Err(error) => {
                    tracing::error!(error = %error, "due platforms could not be read or written; it is tried again");
                    false
                }
            },
            _ = stop.wait_for(|stop| *stop) => return,
        };
        if pause(if more { TICK } else { PLAN_EVERY }, &mut stop).await {
            return;
        }
    }
}

/// Asks AMD's key server for whoever is next in line.
async fn keep_chips(chips: Arc<Chips>, clock: Clock, mut stop: watch::Receiver<bool>) {
    loop {
        let wait = match chips.step(&clock).await {
            Ok(Step::Done) => Duration::ZERO,
            Ok(Step::Idle) => PLAN_EVERY,
            Ok(Step::Wait(wait)) => wait,
            Err(error) => {
                tracing::error!(error = %error, "the line before the key server could not be read or written; it is tried again");
                PLAN_EVERY
            }
        };
        let woken = async {
            // Whoever joins an empty line is asked for at once; a budget is not hurried.
            if wait == PLAN_EVERY {
                chips.wanted().await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = woken => {}
            stopped = pause(wait, &mut stop) => if stopped { return },
        }
    }
}

/// Looks for news.
async fn look_for_news(news: Arc<News>, clock: Clock, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            looked = async {
                news.ask_for_standard(&clock).await;
                news.look(clock.now()).await
            } => if let Err(error) = looked {
                tracing::error!(error = %error, "news could not be read or written; it is tried again");
            },
            _ = stop.wait_for(|stop| *stop) => return,
        }
        if pause(LOOK_EVERY, &mut stop).await {
            return;
        }
    }
}

/// Delivers what is in line before a webhook.
async fn tell_news(news: Arc<News>, webhook: usize, clock: Clock, mut stop: watch::Receiver<bool>) {
    loop {
        let delivered = tokio::select! {
            delivered = news.deliver(webhook, &clock) => delivered,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let wait = match delivered {
            Ok(Delivered::Done) => Duration::ZERO,
            Ok(Delivered::Failed) => TICK,
            Ok(Delivered::Gone) => return,
            Ok(Delivered::Idle) => PLAN_EVERY,
            Ok(Delivered::Wait { secs }) => {
                Duration::from_secs(u64::try_from(secs).unwrap_or(0)).min(PLAN_EVERY)
            }
            Err(error) => {
                tracing::error!(error = %error, "news in line could not be read or written; it is tried again");
                PLAN_EVERY
            }
        };
        tokio::select! {
            () = news.told() => {}
            stopped = pause(wait, &mut stop) => if stopped { return },
        }
    }
}

/// Looks how many platforms are below their baselines, and tells where that has changed.
async fn count_below(
    baselines: Arc<Baselines>,
    news: Arc<News>,
    clock: Clock,
    mut stop: watch::Receiver<bool>,
) {
    while !pause(COUNT_EVERY, &mut stop).await {
        let counted = async {
            let now = clock.now();
            let counts = baselines.counts(now).await?;
            news.below(&counts, now).await
        };
        tokio::select! {
            counted = counted => if let Err(error) = counted {
                tracing::error!(error = %error, "platforms below their baselines could not be counted; it is tried again");
            },
            _ = stop.wait_for(|stop| *stop) => return,
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
/// Lists come once an hour at most, and machine types are read out of a table of all platforms.
const LOOK_EVERY: Duration = Duration::from_secs(60);
const RELOAD_EVERY: Duration = Duration::from_secs(10);
/// A look at the whole fleet for each baseline; who wants to know at once makes a forecast.
const COUNT_EVERY: Duration = Duration::from_secs(900);

//! Where the parts meet: start, stop, and a request from its first byte to its answer.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use http::{Method, StatusCode};
use hyper::Request;
use hyper::body::Incoming;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::World;
use crate::agent::Agent;
use crate::answer::{self, Reply, RequestIds};
use crate::config::{Config, ConfigError, Listen};
use crate::listen::{self, Counted, Limits, ListenError};
use crate::manners::{self, Asked, Asking};
use crate::rate::Rate;

/// A running agent; dropping it leaves its tasks to the runtime.
#[derive(Debug)]
pub struct Server {
    /// Where the metadata service listens.
    pub http: SocketAddr,
    /// Where probes and metrics are, if anywhere.
    pub health: Option<SocketAddr>,
    /// What is served.
    pub agent: Arc<Agent>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

/// Why an agent does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The system has no randomness.
    #[error("no randomness: {0}")]
    Entropy(std::io::Error),
    /// An address.
    #[error(transparent)]
    Listen(#[from] ListenError),
}

impl Server {
    /// Starts listening, looking and fetching. What the service or the host say comes later: an agent starts without.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(config: &Config, world: World) -> Result<Self, StartError> {
        let mut seed = [0; 16];
        (world.entropy)(&mut seed).map_err(StartError::Entropy)?;
        let agent = Arc::new(Agent::new(config, world)?);
        listen::free(config.http.listen).await?;
        let metadata = listen::bind(config.http.listen).await?;
        let probes = match config.health.listen {
            Listen::At(address) => Some(listen::bind(address).await?),
            Listen::Off => None,
        };
        let address =
            |listener: &tokio::net::TcpListener, wanted| listener.local_addr().unwrap_or(wanted);
        let http = address(&metadata, config.http.listen);
        let health = probes
            .as_ref()
            .and_then(|listener| listener.local_addr().ok());

        let (stop, stopped) = watch::channel(false);
        let front = Arc::new(Front {
            agent: Arc::clone(&agent),
            rate: Rate::per_second(config.http.requests_per_second),
            hosts: config.http.hosts.clone(),
            location: config.instance.location.clone(),
            request_ids: RequestIds::new(seed),
        });
        let limits = Limits {
            connections: config.http.connections,
            per_peer: config.http.connections_per_peer,
            idle: config.http.idle_timeout.duration(),
            whole: config.http.connection_timeout.duration(),
        };
        let mut tasks = vec![
            tokio::spawn(keep_looking(Arc::clone(&agent), stopped.clone())),
            tokio::spawn(listen::serve(
                metadata,
                limits,
                move |request, peer, local| {
                    let front = Arc::clone(&front);
                    async move { front.answer(request, peer, local).await }
                },
                Counters(Arc::clone(&agent)),
                stopped.clone(),
            )),
        ];
        if let Some(listener) = probes {
            let agent = Arc::clone(&agent);
            let answer = move |request, _, _| std::future::ready(probe(&agent, &request));
            tasks.push(tokio::spawn(listen::serve(
                listener, PROBES, answer, Uncounted, stopped,
            )));
        }
        Ok(Self {
            http,
            health,
            agent,
            stop,
            tasks,
        })
    }

    /// Ends it: open requests get their answer, within some seconds.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        for task in self.tasks {
            // A task that panicked has said so.
            let _ = task.await;
        }
    }
}

async fn keep_looking(agent: Arc<Agent>, mut stop: watch::Receiver<bool>) {
    loop {
        // A look may wait for the service for some seconds; a stop does not.
        let pause = tokio::select! {
            pause = agent.look() => pause,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// The front door of the metadata service.
struct Front {
    agent: Arc<Agent>,
    rate: Rate,
    hosts: Vec<String>,
    location: Option<String>,
    request_ids: RequestIds,
}

impl Front {
    /// Answers whatever comes; a panic on the way is a 500.
    async fn answer(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
        local: SocketAddr,
    ) -> Reply {
        let request_id = self.request_ids.next();
        let answered = AssertUnwindSafe(self.judged(&request, peer, local))
            .catch_unwind()
            .await;
        let reply = answered.unwrap_or_else(|_| {
            tracing::error!(request.id = ?request_id, "a request was not answered because of a fault of this program");
            answer::fault()
        });
        self.agent.metrics().answered(reply.status());
        // The query may name a chip.
        tracing::debug!(
            request.id = ?request_id,
            peer = %peer.ip(),
            method = %request.method(),
            path = request.uri().path(),
            status = reply.status().as_u16(),
            "answered"
        );
        answer::signed(reply, request_id)
    }

    async fn judged(
        &self,
        request: &Request<Incoming>,
        peer: SocketAddr,
        local: SocketAddr,
    ) -> Reply {
        if !self.rate.allows(peer.ip()) {
            return answer::too_many();
        }
        let asking = Asking {
            method: request.method(),
            uri: request.uri(),
            version: request.version(),
            headers: request.headers(),
            local,
        };
        match manners::judge(&asking, &self.hosts) {
            Err(ill) => answer::ill(ill),
            Ok(Asked::Certification(asked)) => match self.agent.certification(&asked).await {
                Ok(ready) => answer::certification(&ready),
                Err(refusal) => answer::refusal(&refusal),
            },
            Ok(Asked::Instance) => answer::instance(self.location.as_deref()),
            Ok(Asked::Passed) => {
                let target = request
                    .uri()
                    .path_and_query()
                    .map_or("/", |target| target.as_str());
                let accept = request.headers().get(http::header::ACCEPT);
                match self
                    .agent
                    .pass(request.method().clone(), target, accept)
                    .await
                {
                    Ok(answer) => answer::passed(answer),
                    Err(refusal) => answer::refusal(&refusal),
                }
            }
        }
    }
}

/// `/healthz/live`, `/healthz/ready`, `/metrics`.
fn probe(agent: &Agent, request: &Request<Incoming>) -> Reply {
    if request.method() != Method::GET {
        return answer::ill(manners::Ill::WrongMethod("GET"));
    }
    match request.uri().path() {
        "/healthz/live" => answer::plain(StatusCode::OK, "live\n".to_owned()),
        "/healthz/ready" => match agent.unready() {
            None => answer::plain(StatusCode::OK, "ready\n".to_owned()),
            Some(cause) => {
                let text = format!("{}: {}\n", cause.token, cause.detail);
                answer::plain(StatusCode::SERVICE_UNAVAILABLE, text)
            }
        },
        "/metrics" => answer::plain(StatusCode::OK, agent.metrics().text()),
        _ => answer::plain(StatusCode::NOT_FOUND, "not found\n".to_owned()),
    }
}

struct Counters(Arc<Agent>);

impl Counted for Counters {
    fn open(&self, by: i64) {
        self.0.metrics().connections.inc_by(by);
    }

    fn turned_away(&self) {
        self.0.metrics().turned_away.inc();
    }
}

struct Uncounted;

impl Counted for Uncounted {
    fn open(&self, _by: i64) {}

    fn turned_away(&self) {}
}

/// One kubelet and one Prometheus ask there.
const PROBES: Limits = Limits {
    connections: 32,
    per_peer: 32,
    idle: std::time::Duration::from_secs(30),
    whole: std::time::Duration::from_secs(300),
};

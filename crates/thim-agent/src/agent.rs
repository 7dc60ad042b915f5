//! The story: look at the host, ask the service ahead of time, keep what verified, answer from memory.
//!
//! [`Agent::look`] does all that takes time, in one task; answering a guest reads what it published. Only what is for
//! the TCB that the host reports now is published, so a firmware update takes the old certificate out of service at the
//! next look, before the new one is there. A certificate is good until its `notAfter`, however long the service is away.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use governor::clock::DefaultClock;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use http::{HeaderValue, Method, StatusCode};
use thim_verify::UnixTime;
use thim_verify::amd::{Product, Products, TcbVersion};
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::time::Instant;

use crate::World;
use crate::cause::Cause;
use crate::certification::{BODY_LIMIT_BYTES, Certification, Trust, Untrusted};
use crate::config::{Config, ConfigError};
use crate::host::{self, Host};
use crate::manners::{CERTIFICATION, Certificates};
use crate::metrics::Metrics;
use crate::output::{self, OutputError, Written, on_disk};
use crate::plan;
use crate::service::{Answer, Service, ServiceError};
use crate::state::{Kept, State};

/// The agent without its listeners.
#[derive(Debug)]
pub struct Agent {
    host: host::Config,
    output: output::Config,
    trust: Trust,
    service: Service,
    refuse_below_floor: bool,
    state: State,
    /// One place for what is served: readers take a short read lock and an `Arc`; whoever waits for the first answer is
    /// woken by it. (A second copy in an `ArcSwap` would save nanoseconds and could disagree.)
    serving: watch::Sender<Arc<Serving>>,
    memory: Mutex<Memory>,
    passing: Semaphore,
    asking: Semaphore,
    ask_rate: RateLimiter<NotKeyed, InMemoryState, DefaultClock>,
    metrics: Metrics,
    world: World,
}

/// A certification as it is sent.
#[derive(Clone, Debug)]
pub struct Ready {
    /// The JSON.
    pub body: Bytes,
    /// For how long it may be kept.
    pub cache_control: HeaderValue,
    /// The last instant at which it may be served.
    pub not_after: UnixTime,
}

/// Why there is none.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// This node is another chip.
    AnotherChip,
    /// Too many such questions are open.
    Busy,
    /// The TCB asked for is none of the product's.
    TcbLayout,
    /// Not now.
    Unavailable {
        /// Why.
        cause: Cause,
        /// When to come again, seconds.
        retry_after: u64,
    },
    /// The service knows none for this TCB.
    UnknownTcb {
        /// In its words.
        cause: Cause,
    },
}

/// What is published.
#[derive(Clone, Debug)]
struct Serving {
    host: Option<Host>,
    ready: Option<Ready>,
    /// Why nothing is ready, or what is wrong although something is.
    cause: Cause,
    /// When the service is asked next.
    due: UnixTime,
    /// True until the first fetch for this chip and TCB has ended.
    pending: bool,
}

/// What the looking task knows.
#[derive(Debug, Default)]
struct Memory {
    host: Option<Host>,
    kept: Option<Kept>,
    due: Option<UnixTime>,
    failures: u32,
    cause: Option<Cause>,
    /// What was last said about each thing that fails, so that it is said once.
    told: [Option<String>; 3],
}

/// What failures are told of.
#[derive(Clone, Copy, Debug)]
enum Matter {
    Fetching,
    Host,
    Writing,
}

impl Agent {
    /// Reads files, asks nobody.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn new(config: &Config, world: World) -> Result<Self, ConfigError> {
        config.check()?;
        let (serving, _) = watch::channel(Arc::new(Serving {
            host: None,
            ready: None,
            cause: Cause::new("starting", "the agent has just started"),
            due: (world.now)(),
            pending: true,
        }));
        Ok(Self {
            host: config.host.clone(),
            output: config.output.clone(),
            trust: Trust {
                anchors: config.anchors()?,
                products: Products::builtin(),
            },
            service: Service::new(&config.service)?,
            refuse_below_floor: config.service.refuse_below_floor,
            state: State::in_directory(&config.data),
            serving,
            memory: Mutex::new(Memory::default()),
            passing: Semaphore::new(MAX_PASSING),
            asking: Semaphore::new(MAX_ASKING),
            ask_rate: RateLimiter::direct(Quota::per_second(ASKS_PER_SECOND)),
            metrics: Metrics::default(),
            world,
        })
    }

    /// What is counted.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Why the agent is not ready; none where it serves.
    pub fn unready(&self) -> Option<Cause> {
        let serving = Arc::clone(&self.serving.borrow());
        let now = (self.world.now)();
        let ready = serving
            .ready
            .as_ref()
            .is_some_and(|ready| now <= ready.not_after);
        (!ready).then(|| serving.cause.clone())
    }

    /// Certificates for a guest, within [`ANSWER_BUDGET`].
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn certification(&self, asked: &Certificates) -> Result<Ready, Refusal> {
        let deadline = Instant::now() + ANSWER_BUDGET;
        let serving = self.settled(deadline).await;
        let Some(host) = &serving.host else {
            return Err(self.unavailable(&serving));
        };
        if let Some(id) = &asked.platform_id
            && !host.is_named(&self.trust.products, id)
        {
            return Err(Refusal::AnotherChip);
        }
        match asked.tcb {
            Some(tcb) if tcb != host.tcb => self.another_tcb(*host, tcb, deadline).await,
            Some(_) | None => match &serving.ready {
                Some(ready) if (self.world.now)() <= ready.not_after => Ok(ready.clone()),
                Some(_) | None => Err(self.unavailable(&serving)),
            },
        }
    }

    /// Hands a question on to the service, within [`ANSWER_BUDGET`].
    ///
    /// # Errors
    /// [`Refusal::Busy`], [`Refusal::Unavailable`]; a status of the service is an answer, but for a redirect.
    pub async fn pass(
        &self,
        method: Method,
        target: &str,
        accept: Option<&HeaderValue>,
    ) -> Result<Answer, Refusal> {
        let Ok(_place) = self.passing.try_acquire() else {
            return Err(Refusal::Busy);
        };
        let asked = self
            .service
            .ask(method, target, accept, PASSED_LIMIT_BYTES, ANSWER_BUDGET);
        let answer = asked.await.map_err(|error| {
            tracing::debug!(error = %error, "a question could not be handed on");
            refused(&error)
        })?;
        if answer.status.is_redirection() && answer.status != StatusCode::NOT_MODIFIED {
            return Err(refused(&ServiceError::of(&answer)));
        }
        Ok(answer)
    }

    /// Looks at the host, fetches what is due, writes what changed. Returns when to look again.
    pub async fn look(&self) -> Duration {
        let mut memory = self.memory.lock().await;
        let (config, products) = (self.host.clone(), self.trust.products.clone());
        match on_disk(move || config.look(&products)).await {
            Ok(host) => {
                memory.recovered(Matter::Host);
                self.metrics.host_known.set(1);
                if memory.host != Some(host) {
                    self.meet(&mut memory, host).await;
                }
            }
            Err(error) => {
                self.metrics.host_known.set(0);
                if memory.news(Matter::Host, error.to_string()) {
                    let known = memory.host.is_some();
                    tracing::warn!(
                        host.known = known,
                        "the chip and its TCB cannot be told: {error}"
                    );
                }
            }
        }
        let Some(host) = memory.host else {
            let cause = Cause::new("host-unknown", "the node cannot tell which chip it is");
            self.publish(&memory, cause, false);
            return NO_HOST_PAUSE.min(self.host.look_every.duration());
        };
        self.end_of_life(&mut memory);
        match self.service.reload() {
            Ok(true) => tracing::info!("the certificates for the service were read again"),
            Ok(false) => {}
            Err(error) => tracing::warn!("{error}; those read before stay in use"),
        }
        if memory.due.is_none_or(|due| (self.world.now)() >= due) {
            self.fetch(&mut memory, &host).await;
        }
        self.write_files(&mut memory).await;
        let until = memory.due.map_or(0, |due| due.since((self.world.now)()));
        let until = Duration::from_secs(u64::try_from(until).unwrap_or(0));
        until.clamp(LEAST_PAUSE, self.host.look_every.duration())
    }

    /// A chip or a TCB that was not there at the last look: from the disk if it is there, else to be fetched at once.
    async fn meet(&self, memory: &mut Memory, host: Host) {
        let before = memory.host.replace(host);
        memory.kept = None;
        memory.due = None;
        memory.failures = 0;
        memory.cause = None;
        memory.recovered(Matter::Fetching);
        let changed = before.is_some_and(|before| before.hw_id == host.hw_id);
        tracing::info!(tcbm = %host.tcb.to_tcbm_hex(), tcb.changed = changed, "the host reports this TCB");
        let now = (self.world.now)();
        let (state, trust) = (self.state.clone(), self.trust.clone());
        match on_disk(move || state.read(&host, &trust, now)).await {
            Ok(Some(kept)) => {
                tracing::info!(obtained = %kept.obtained, "what is on disk verifies and is served");
                memory.due = Some(self.refresh_at(&kept));
                memory.kept = Some(kept);
            }
            Ok(None) => {}
            Err(error) => tracing::warn!("what is on disk is not used: {error}"),
        }
        let cause = Cause::new("fetching", "the service is being asked");
        self.publish(memory, cause, true);
    }

    /// A certificate past its end is served no longer, and asked for at once, unless that has just failed.
    fn end_of_life(&self, memory: &mut Memory) {
        let now = (self.world.now)();
        let ended = memory
            .kept
            .as_ref()
            .is_some_and(|kept| now > kept.certification.not_after());
        if ended {
            memory.kept = None;
            if memory.failures == 0 {
                memory.due = None;
            }
            let cause = Cause::new(
                "expired",
                "the certificate has ended, and no new one has come",
            );
            memory.cause = Some(cause.clone());
            tracing::warn!("the certificate has ended");
            self.publish(memory, cause, false);
        }
    }

    /// Asks the service for what the host reports.
    async fn fetch(&self, memory: &mut Memory, host: &Host) {
        let now = (self.world.now)();
        match self.ask(host, self.service.timeout()).await {
            Ok(certification) => {
                let changed = memory
                    .kept
                    .as_ref()
                    .is_none_or(|kept| !kept.certification.is_same_issue(&certification));
                tracing::info!(
                    changed,
                    not_after = %certification.not_after(),
                    "the service gave certificates that verify"
                );
                memory.recovered(Matter::Fetching);
                let kept = Kept {
                    certification,
                    obtained: now,
                };
                memory.due = Some(self.refresh_at(&kept));
                memory.failures = 0;
                memory.cause = None;
                memory.kept = Some(kept.clone());
                self.publish(memory, Cause::new("none", ""), false);
                let state = self.state.clone();
                if let Err(error) = on_disk(move || state.write(&kept)).await {
                    self.metrics.write_failures.inc();
                    if memory.news(Matter::Writing, error.to_string()) {
                        tracing::warn!("what is served cannot be kept on disk: {error}");
                    }
                }
            }
            Err(failure) => {
                memory.failures = memory.failures.saturating_add(1);
                let now = (self.world.now)();
                let due =
                    plan::retry_at(now, memory.failures, failure.retry_after(), self.chance());
                memory.due = Some(due);
                if memory.news(Matter::Fetching, failure.to_string()) {
                    let serving = memory.kept.is_some();
                    tracing::warn!(again = %due, serving, "no certificates from the service: {failure}");
                }
                if matches!(failure, Failure::BelowFloor) {
                    // What was kept is of the same TCB: it goes too, and is not there after a start.
                    memory.kept = None;
                    let state = self.state.clone();
                    if let Err(error) = on_disk(move || state.forget()).await {
                        self.metrics.write_failures.inc();
                        tracing::warn!("what is refused cannot be removed from disk: {error}");
                    }
                }
                // Once expired, that is why; what the service said stands in the log.
                let cause = failure.cause();
                memory.cause = Some(cause.clone());
                self.publish(memory, cause, false);
            }
        }
    }

    /// Asks the service for one chip at one TCB, and verifies what it says.
    async fn ask(&self, host: &Host, budget: Duration) -> Result<Certification, Failure> {
        let target = format!(
            "{CERTIFICATION}?platformId={}&tcbVersion={}",
            host.hw_id.to_hex_lower(),
            host.tcb.to_tcbm_hex()
        );
        let asked = self
            .service
            .ask(Method::GET, &target, None, BODY_LIMIT_BYTES, budget);
        let answer = asked
            .await
            .inspect_err(|_| self.metrics.fetched("failed"))?;
        if answer.status != StatusCode::OK {
            self.metrics.fetched("refused");
            return Err(ServiceError::of(&answer).into());
        }
        if self.refuse_below_floor && is_below_floor(&answer) {
            self.metrics.fetched("refused");
            return Err(Failure::BelowFloor);
        }
        let now = (self.world.now)();
        let verified = Certification::verify(&answer.body, host, &self.trust, now);
        let verified = verified.inspect_err(|_| self.metrics.fetched("untrusted"))?;
        self.metrics.fetched("obtained");
        Ok(verified)
    }

    /// The own chip at another TCB: asked for each time, few at once, since guests rarely want it.
    async fn another_tcb(
        &self,
        host: Host,
        tcb: TcbVersion,
        deadline: Instant,
    ) -> Result<Ready, Refusal> {
        let other = Host { tcb, ..host };
        let laid_out = Product::ALL
            .into_iter()
            .any(|product| other.key(&self.trust.products, product).is_some());
        if !laid_out {
            return Err(Refusal::TcbLayout);
        }
        let Ok(_place) = self.asking.try_acquire() else {
            return Err(Refusal::Busy);
        };
        if self.ask_rate.check().is_err() {
            return Err(Refusal::Busy);
        }
        let budget = deadline.saturating_duration_since(Instant::now());
        match self.ask(&other, budget).await {
            Ok(certification) => Ok(ready(&certification)),
            Err(failure) => {
                tracing::debug!("no certificates of another TCB: {failure}");
                Err(match &failure {
                    Failure::Service(ServiceError::Answered { status, .. })
                        if *status == StatusCode::NOT_FOUND =>
                    {
                        Refusal::UnknownTcb {
                            cause: failure.cause(),
                        }
                    }
                    Failure::Service(error) => refused(error),
                    Failure::BelowFloor | Failure::Untrusted(_) => Refusal::Unavailable {
                        cause: failure.cause(),
                        retry_after: RETRY_SECS,
                    },
                })
            }
        }
    }

    /// Makes the files fit what is served.
    async fn write_files(&self, memory: &mut Memory) {
        let held = memory.kept.as_ref().map(|kept| &kept.certification);
        let outcomes = self.output.write(held).await;
        let mut failures = Vec::new();
        for outcome in &outcomes {
            match outcome {
                Ok(Written::Written) => {
                    tracing::info!("a file for hypervisors or guests was written")
                }
                Ok(Written::Unchanged) => {}
                Err(
                    error @ (OutputError::Io { .. }
                    | OutputError::Locked { .. }
                    | OutputError::TooLarge(_)),
                ) => {
                    self.metrics.write_failures.inc();
                    failures.push(error.to_string());
                }
            }
        }
        if failures.is_empty() {
            if !outcomes.is_empty() {
                memory.recovered(Matter::Writing);
            }
        } else {
            let text = failures.join("; ");
            if memory.news(Matter::Writing, text.clone()) {
                tracing::warn!("a file cannot be written: {text}");
            }
        }
    }

    /// What is served, once that is known or the time is up.
    async fn settled(&self, deadline: Instant) -> Arc<Serving> {
        let serving = Arc::clone(&self.serving.borrow());
        if serving.ready.is_some() || !serving.pending {
            return serving;
        }
        let mut changes = self.serving.subscribe();
        let waited = changes.wait_for(|serving| serving.ready.is_some() || !serving.pending);
        match tokio::time::timeout_at(deadline, waited).await {
            Ok(Ok(serving)) => Arc::clone(&serving),
            // The time is up, or the agent ends: what is known until now.
            Ok(Err(_)) | Err(_) => Arc::clone(&self.serving.borrow()),
        }
    }

    fn unavailable(&self, serving: &Serving) -> Refusal {
        let until = serving.due.since((self.world.now)());
        Refusal::Unavailable {
            cause: serving.cause.clone(),
            retry_after: u64::try_from(until).unwrap_or(0).clamp(1, MOST_RETRY_SECS),
        }
    }

    fn publish(&self, memory: &Memory, cause: Cause, pending: bool) {
        let now = (self.world.now)();
        let certification = memory.kept.as_ref().map(|kept| &kept.certification);
        self.metrics.serving.set(i64::from(certification.is_some()));
        let obtained = memory.kept.as_ref().map_or(0, |kept| kept.obtained.secs());
        self.metrics.obtained.set(obtained);
        let not_after = certification.map_or(0, |held| held.not_after().secs());
        self.metrics.not_after.set(not_after);
        self.serving.send_replace(Arc::new(Serving {
            host: memory.host,
            ready: certification.map(ready),
            cause,
            due: memory.due.unwrap_or(now),
            pending,
        }));
    }

    fn refresh_at(&self, kept: &Kept) -> UnixTime {
        let held = &kept.certification;
        plan::refresh_at(
            kept.obtained,
            held.cache_seconds(),
            held.not_after(),
            self.chance(),
        )
    }

    /// Spreads fetches; where there is no randomness they are not spread.
    fn chance(&self) -> u64 {
        let mut bytes = [0; 8];
        let filled = (self.world.entropy)(&mut bytes);
        filled.map_or(0, |()| u64::from_be_bytes(bytes))
    }
}

fn ready(held: &Certification) -> Ready {
    let max_age = format!("max-age={}", held.cache_seconds());
    Ready {
        body: held.json().clone(),
        cache_control: HeaderValue::try_from(max_age).expect("letters and digits"),
        not_after: held.not_after(),
    }
}

/// Whether the service says so of the TCB it was asked for: `THIM-Baseline: default; version=1; verdict=below-floor; ...`.
fn is_below_floor(answer: &Answer) -> bool {
    let told = answer.headers.get("thim-baseline");
    let told = told
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let mut parts = told.split(';').map(str::trim);
    parts.any(|part| part == "verdict=below-floor")
}

/// Why a fetch brought nothing.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the service says that the TCB is below the operator's floor")]
    BelowFloor,
    #[error(transparent)]
    Service(#[from] ServiceError),
    #[error("what the service gave is not served: {0}")]
    Untrusted(#[from] Untrusted),
}

impl Failure {
    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Service(error) => error.retry_after(),
            Self::BelowFloor | Self::Untrusted(_) => None,
        }
    }

    fn cause(&self) -> Cause {
        match self {
            Self::BelowFloor => Cause::new(
                "below-floor",
                "the TCB that the host reports is below the operator's floor; firmware is to be updated",
            ),
            Self::Service(error) => cause(error),
            Self::Untrusted(error) => Cause::new("untrusted", error.to_string()),
        }
    }
}

/// For guests: what the service said, or that it did not; names and addresses are in the log.
fn cause(error: &ServiceError) -> Cause {
    match error {
        ServiceError::Answered {
            cause: Some(cause), ..
        } => cause.clone(),
        ServiceError::Answered { status, .. } => Cause::new(
            "service-refused",
            format!("the service answered {}", status.as_u16()),
        ),
        ServiceError::TooLarge { .. } => Cause::new(
            "untrusted",
            "the service's answer is larger than any genuine one",
        ),
        ServiceError::TimedOut { .. } => {
            Cause::new("service-timeout", "the service did not answer in time")
        }
        ServiceError::Unreachable { .. } => {
            Cause::new("service-unreachable", "the service cannot be reached")
        }
    }
}

fn refused(error: &ServiceError) -> Refusal {
    Refusal::Unavailable {
        cause: cause(error),
        retry_after: error
            .retry_after()
            .unwrap_or(RETRY_SECS)
            .clamp(1, MOST_RETRY_SECS),
    }
}

impl Memory {
    /// Whether this was not said yet.
    fn news(&mut self, matter: Matter, text: String) -> bool {
        let Some(told) = self.told.get_mut(matter as usize) else {
            return true;
        };
        let news = told.as_ref() != Some(&text);
        *told = Some(text);
        news
    }

    fn recovered(&mut self, matter: Matter) {
        if let Some(told) = self.told.get_mut(matter as usize) {
            *told = None;
        }
    }
}

/// A second is promised; what is left is for the way there and back.
pub const ANSWER_BUDGET: Duration = Duration::from_millis(900);
/// Chains and lists of Intel's have some 30 KiB, TCB infos 20 KiB.
const PASSED_LIMIT_BYTES: usize = 1024 * 1024;
/// Each may hold a body; one node's guests rarely ask together.
const MAX_PASSING: usize = 16;
/// The service may have to ask AMD for each.
const MAX_ASKING: usize = 2;
const ASKS_PER_SECOND: std::num::NonZeroU32 = std::num::NonZeroU32::new(2).expect("2 is not 0");
/// Where nobody said when to come again.
const RETRY_SECS: u64 = 5;
/// Guests need not wait longer than the agent itself would.
const MOST_RETRY_SECS: u64 = 3600;
/// A provisioning system writes the file soon after the start.
const NO_HOST_PAUSE: Duration = Duration::from_secs(5);
const LEAST_PAUSE: Duration = Duration::from_secs(1);

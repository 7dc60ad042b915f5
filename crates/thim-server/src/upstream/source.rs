//! One upstream: its budget, its breaker, its limits, and one call told from the first byte to the last.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::{Bytes, BytesMut};
use thim_verify::UnixTime;
use tokio::sync::{Mutex, Semaphore};

use super::breaker::{Breaker, Turn};
use super::budget::{self, Rate};
use super::{PckRequest, Request, Transport, VcekRequest};
use crate::clock::Clock;
use crate::store::Store;

/// Who is asking: somebody who waits, or the refresh.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lane {
    /// Refresh; may wait long.
    Background,
    /// A client waits.
    Miss,
}

/// One call, whatever it is about.
pub(super) struct Call {
    /// What is asked.
    pub url: String,
    /// The same without secrets, for logs and events.
    pub shown: String,
    /// Content type and body, where something is posted.
    pub post: Option<(&'static str, Bytes)>,
    /// The header that carries the issuer chain.
    pub chain_header: Option<&'static str>,
    /// The most bytes an answer may have.
    pub body_limit_bytes: usize,
}

/// An answer's bytes, believed by nobody yet.
#[derive(Debug)]
pub struct Fetched {
    /// The body, exactly.
    pub body: Bytes,
    /// The issuer chain header, percent-decoded.
    pub chain: Option<Vec<u8>>,
    /// When the last byte came.
    pub at: UnixTime,
    /// The URL asked, without secrets.
    pub url: String,
}

/// Why a source gave nothing.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FetchError {
    /// It has no such thing (404).
    #[error("the upstream has none (404)")]
    Absent,
    /// The budget is used up for longer than the caller waits.
    #[error("the upstream's budget is used up for {retry_after_secs} s")]
    Budget {
        /// Seconds until it is worth asking again.
        retry_after_secs: i64,
    },
    /// The vendor has withdrawn this number (410).
    #[error("withdrawn by the vendor (410)")]
    Retired,
    /// Our subscription key is refused, or one is wanted (401, 403).
    #[error("status {status}: the upstream refuses our key, or wants one")]
    KeyRefused {
        /// The status.
        status: u16,
    },
    /// It understood and says no (400, 415), in its own words.
    #[error("status {status}{}", .code.as_deref().map(|code| format!(" ({code})")).unwrap_or_default())]
    Refused {
        /// The status.
        status: u16,
        /// `Error-Code`, where one came: letters alone.
        code: Option<String>,
    },
    /// The store could not keep the budget, so nothing may be asked.
    #[error("the store cannot be written")]
    Storage,
    /// It asked to be left alone (429, or 503 with Retry-After).
    #[error("throttled by the upstream for {retry_after_secs} s")]
    Throttled {
        /// Seconds.
        retry_after_secs: i64,
    },
    /// No connection, no answer in time, or one that is no answer.
    #[error("{why}")]
    Unavailable {
        /// What happened.
        why: String,
    },
}

/// One upstream.
pub struct Source {
    base: String,
    // True where `base` is the whole URL of the one document it has.
    whole: bool,
    client: reqwest::Client,
    api_key: Option<reqwest::header::HeaderValue>,
    attempt_timeout: Duration,
    state: Mutex<State>,
    breaker: std::sync::Mutex<Breaker>,
    lanes: [LaneLimits; 2],
    store: Arc<Store>,
    clock: Clock,
}

struct LaneLimits {
    name: String,
    rate: Rate,
    in_flight: Semaphore,
    patience: Duration,
}

#[derive(Default)]
struct State {
    loaded: bool,
    lanes: [budget::Lane; 2],
    not_before_millis: i64,
}

/// Clients that follow nothing, decode nothing, and trust the system's certificates.
pub(super) struct Clients {
    /// Through the proxy, where there is one.
    out: reqwest::Client,
    /// For upstreams on this very machine, which no proxy reaches.
    loopback: reqwest::Client,
}

/// What one lane of a source may do.
#[derive(Clone, Copy, Debug)]
pub(super) struct LaneSettings {
    /// Calls a second.
    pub per_second: f64,
    /// Calls at once after a pause.
    pub burst: u32,
    /// Calls in flight.
    pub in_flight: usize,
}

/// What a source may do.
#[derive(Clone, Copy, Debug)]
pub(super) struct SourceSettings {
    /// In the background, and for somebody who waits.
    pub lanes: [LaneSettings; 2],
    /// Time limit of one attempt.
    pub attempt_timeout: Duration,
}

impl Clients {
    pub(super) fn new(transport: &Transport<'_>) -> Result<Self, (&'static str, String)> {
        let mut builder = base_client(transport)?;
        if let Some(proxy) = transport.proxy {
            builder = builder
                .proxy(reqwest::Proxy::all(proxy).map_err(|error| ("proxy", error.to_string()))?);
        }
        let built = |builder: reqwest::ClientBuilder| {
            builder
                .build()
                .map_err(|error| ("upstream", error.to_string()))
        };
        Ok(Self {
            out: built(builder)?,
            loopback: built(base_client(transport)?.no_proxy())?,
        })
    }

    /// The one for this machine, or the one for others.
    pub(super) fn to(&self, loopback: bool) -> reqwest::Client {
        if loopback { &self.loopback } else { &self.out }.clone()
    }
}

fn base_client(
    transport: &Transport<'_>,
) -> Result<reqwest::ClientBuilder, (&'static str, String)> {
    let mut builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT.min(transport.attempt_timeout))
        .timeout(transport.attempt_timeout)
        .pool_idle_timeout(Duration::from_secs(60))
        .user_agent(concat!("thim/", env!("CARGO_PKG_VERSION")));
    if let Some(path) = transport.ca_file {
        let pem = std::fs::read(path)
            .map_err(|error| ("ca_file", format!("{}: {error}", path.display())))?;
        let certificates = reqwest::Certificate::from_pem_bundle(&pem)
            .map_err(|error| ("ca_file", error.to_string()))?;
        builder = builder.tls_certs_merge(certificates);
    }
    Ok(builder)
}

/// The URL of an upstream: one that is asked for everything, or the `whole` URL of one thing.
pub(super) fn parsed(text: &str, whole: bool) -> Result<reqwest::Url, String> {
    let url = reqwest::Url::parse(text).map_err(|error| format!("{text:?}: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(format!("{text:?} is no http:// or https:// URL"));
    }
    if !url.username().is_empty()
        || url.password().is_some()
        || (!whole && (url.path() != "/" || url.query().is_some()))
    {
        return Err(format!("{text:?}: wanted scheme, host and port only"));
    }
    Ok(url)
}

impl Source {
    pub(super) fn new(
        base: &str,
        whole: bool,
        clients: &Clients,
        api_key: Option<&str>,
        settings: SourceSettings,
        store: &Arc<Store>,
        clock: &Clock,
    ) -> Result<Self, String> {
        let url = parsed(base, whole)?;
        let SourceSettings {
            lanes: [background, miss],
            attempt_timeout,
        } = settings;
        let loopback = matches!(url.host_str(), Some("127.0.0.1" | "[::1]" | "localhost"));
        let api_key = match api_key {
            Some(key) if !whole && (url.scheme() == "https" || loopback) => {
                let mut value = reqwest::header::HeaderValue::from_str(key)
                    .map_err(|error| error.to_string())?;
                value.set_sensitive(true);
                Some(value)
            }
            _ => None,
        };
        let base = base.trim_end_matches('/').to_owned();
        let lane = |suffix: &str, settings: LaneSettings, patience: Duration| LaneLimits {
            name: format!("{base}{suffix}"),
            rate: Rate::per_second(settings.per_second, settings.burst),
            in_flight: Semaphore::new(settings.in_flight.max(1)),
            patience,
        };
        let lanes = [
            lane("#background", background, BACKGROUND_PATIENCE),
            lane("#miss", miss, MISS_PATIENCE),
        ];
        Ok(Self {
            base,
            whole,
            client: clients.to(loopback),
            api_key,
            attempt_timeout,
            state: Mutex::default(),
            breaker: std::sync::Mutex::default(),
            lanes,
            store: Arc::clone(store),
            clock: clock.clone(),
        })
    }

    /// Scheme, host and port, or the whole URL of the root CRL: its name in metrics and events.
    pub fn name(&self) -> &str {
        &self.base
    }

    /// The instant now, at this edge.
    pub fn now(&self) -> UnixTime {
        self.clock.now()
    }

    /// False while the breaker is open.
    pub fn is_up(&self) -> bool {
        !self.breaker().is_open()
    }

    /// Asks for `request`. The `last` source of a list retries what is worth it within the caller's patience; before
    /// the others fail twice, the next one is asked.
    /// The second value says whether the breaker has just turned.
    pub async fn get(
        &self,
        request: &Request,
        lane: Lane,
        last: bool,
    ) -> (Result<Fetched, FetchError>, Turn) {
        let url = if self.whole {
            self.base.clone()
        } else {
            format!("{}{}", self.base, request.path())
        };
        let call = Call {
            shown: url.clone(),
            url,
            post: None,
            chain_header: request.chain_header(),
            body_limit_bytes: request.body_limit_bytes(),
        };
        self.make(&call, lane, last, false).await
    }

    /// Asks for what concerns one platform; as [`Source::get`].
    pub async fn platform(
        &self,
        request: &PckRequest<'_>,
        lane: Lane,
        last: bool,
    ) -> (Result<Fetched, FetchError>, Turn) {
        self.make(&request.call(&self.base), lane, last, false)
            .await
    }

    /// Asks for the certificate of a chip. Once: a certificate that was asked for in vain is not to be asked for again
    /// at once. `reserved` where [`Source::reserve`] has taken the call from the budget already.
    pub async fn vcek(
        &self,
        request: &VcekRequest<'_>,
        reserved: bool,
    ) -> (Result<Fetched, FetchError>, Turn) {
        self.make(&request.call(&self.base), Lane::Miss, false, reserved)
            .await
    }

    /// Takes one call for somebody who waits from the budget, now or not at all.
    pub async fn reserve(&self) -> Result<(), FetchError> {
        self.allow(Lane::Miss, Duration::ZERO).await
    }

    /// Milliseconds between two calls for somebody who waits, at the steady rate.
    pub fn interval_millis(&self) -> i64 {
        self.limits(Lane::Miss).rate.interval_millis
    }

    /// In how many milliseconds a call of this lane may be made; 0 now. Takes nothing.
    pub async fn wait_millis(&self, lane: Lane) -> Result<i64, FetchError> {
        let now = self.clock.now_millis();
        let mut state = self.state.lock().await;
        if !state.loaded {
            self.load(&mut state).await?;
        }
        let own = state.lanes[lane as usize].take(self.limits(lane).rate, now);
        let breaker = self.breaker().wait_millis(now);
        let wait = own.err().unwrap_or(0).max(breaker);
        Ok(wait.max(state.not_before_millis - now))
    }

    async fn make(
        &self,
        call: &Call,
        lane: Lane,
        last: bool,
        mut reserved: bool,
    ) -> (Result<Fetched, FetchError>, Turn) {
        let started = self.clock.now_millis();
        let mut turned = Turn::Same;
        let mut waits = ExponentialBuilder::new()
            .with_min_delay(Duration::from_millis(200))
            .with_max_delay(Duration::from_secs(1))
            .with_max_times(if last { RETRIES } else { 0 })
            .with_jitter()
            .build();
        loop {
            // A call that was reserved is made once; a retry has to be allowed as any other.
            if !std::mem::take(&mut reserved)
                && let Err(error) = self.allow(lane, self.limits(lane).patience).await
            {
                return (Err(error), turned);
            }
            let result = self.attempt(call, lane).await;
            let turn = match &result {
                Ok(_)
                | Err(
                    // One that refuses our key answers, and has the rest for us all the same.
                    FetchError::Absent
                    | FetchError::KeyRefused { .. }
                    | FetchError::Refused { .. }
                    | FetchError::Retired
                    | FetchError::Throttled { .. },
                ) => self.breaker().succeeded(),
                Err(FetchError::Unavailable { .. }) => {
                    self.breaker().failed(self.clock.now_millis())
                }
                Err(FetchError::Budget { .. } | FetchError::Storage) => Turn::Same,
            };
            if turn != Turn::Same {
                turned = turn;
            }
            let Err(FetchError::Unavailable { .. }) = &result else {
                return (result, turned);
            };
            let spent = Duration::from_millis(
                u64::try_from(self.clock.now_millis() - started).unwrap_or(0),
            );
            match waits.next() {
                Some(wait) if spent + wait + self.attempt_timeout <= TOTAL_PATIENCE => {
                    tokio::time::sleep(wait).await
                }
                _ => return (result, turned),
            }
        }
    }

    /// Waits until the lane's budget has a call, without taking it: the refresh waits here and not in a flight
    /// that somebody may want to join.
    pub async fn pace(&self, lane: Lane) {
        let limits = self.limits(lane);
        let mut patience = i64::try_from(limits.patience.as_millis()).unwrap_or(i64::MAX);
        while patience > 0 {
            let wait = {
                let mut state = self.state.lock().await;
                if !state.loaded && self.load(&mut state).await.is_err() {
                    return;
                }
                state.lanes[lane as usize]
                    .take(limits.rate, self.clock.now_millis())
                    .err()
            };
            let Some(wait) = wait else { return };
            patience -= wait;
            tokio::time::sleep(Duration::from_millis(u64::try_from(wait).unwrap_or(0))).await;
        }
    }

    /// Takes one call from the budget, waiting for it as long as `patience` lasts. Written down
    /// before the call is made: a crash in between costs a call and exceeds nothing.
    async fn allow(&self, lane: Lane, patience: Duration) -> Result<(), FetchError> {
        let limits = self.limits(lane);
        let mut waited = 0;
        loop {
            let now = self.clock.now_millis();
            let wait = {
                let mut state = self.state.lock().await;
                if !state.loaded {
                    self.load(&mut state).await?;
                }
                if state.not_before_millis > now {
                    return Err(FetchError::Throttled {
                        retry_after_secs: secs_up(state.not_before_millis - now),
                    });
                }
                if let Err(wait) = self.breaker().admit(now) {
                    return Err(FetchError::Unavailable {
                        why: format!("left alone for {} s after failing", secs_up(wait)),
                    });
                }
                match state.lanes[lane as usize].take(limits.rate, now) {
                    Ok(next) => {
                        self.store
                            .save_budget(&limits.name, next.arrival_millis, 0)
                            .await
                            .map_err(|_| FetchError::Storage)?;
                        state.lanes[lane as usize] = next;
                        return Ok(());
                    }
                    Err(wait) => wait,
                }
            };
            if waited + wait > i64::try_from(patience.as_millis()).unwrap_or(i64::MAX) {
                return Err(FetchError::Budget {
                    retry_after_secs: secs_up(wait),
                });
            }
            waited += wait;
            tokio::time::sleep(Duration::from_millis(u64::try_from(wait).unwrap_or(0))).await;
        }
    }

    async fn load(&self, state: &mut State) -> Result<(), FetchError> {
        for lane in [Lane::Background, Lane::Miss] {
            let stored = self
                .store
                .budget(&self.limits(lane).name)
                .await
                .map_err(|_| FetchError::Storage)?;
            // A clock that was ahead when this was written must not silence us for ever.
            let horizon = self.clock.now_millis() + RETRY_AFTER_LIMIT_SECS * 1000;
            state.lanes[lane as usize].arrival_millis =
                stored.map_or(0, |(arrival, _)| arrival.min(horizon));
        }
        let stored = self
            .store
            .budget(&self.base)
            .await
            .map_err(|_| FetchError::Storage)?;
        let horizon = self.clock.now_millis() + RETRY_AFTER_LIMIT_SECS * 1000;
        state.not_before_millis = stored.map_or(0, |(_, not_before)| not_before.min(horizon));
        state.loaded = true;
        Ok(())
    }

    async fn attempt(&self, call: &Call, lane: Lane) -> Result<Fetched, FetchError> {
        let Ok(_permit) =
            tokio::time::timeout(self.attempt_timeout, self.limits(lane).in_flight.acquire()).await
        else {
            return Err(FetchError::Budget {
                retry_after_secs: 1,
            });
        };
        let mut outgoing = match &call.post {
            None => self.client.get(&call.url),
            Some((kind, body)) => self
                .client
                .post(&call.url)
                .header("Content-Type", *kind)
                .body(body.clone()),
        };
        if let Some(key) = &self.api_key {
            outgoing = outgoing.header("Ocp-Apim-Subscription-Key", key.clone());
        }
        let mut response = outgoing.send().await.map_err(|error| unavailable(&error))?;
        let status = response.status().as_u16();
        match status {
            200 => {}
            201 if call.post.is_some() => {}
            400 | 415 => {
                let code = response.headers().get("error-code");
                return Err(FetchError::Refused {
                    status,
                    code: code
                        .and_then(|code| code.to_str().ok())
                        .filter(|code| is_error_code(code))
                        .map(ToOwned::to_owned),
                });
            }
            404 => return Err(FetchError::Absent),
            410 => return Err(FetchError::Retired),
            429 | 503 => {
                let seconds = retry_after(response.headers(), self.clock.now());
                // A peer of ours speaks of the one thing that was asked for, not of itself.
                if let Some(seconds) = seconds.filter(|_| is_of_a_peer(response.headers())) {
                    return Err(FetchError::Throttled {
                        retry_after_secs: seconds.clamp(1, RETRY_AFTER_LIMIT_SECS),
                    });
                }
                return match (status, seconds) {
                    (503, None) => Err(FetchError::Unavailable {
                        why: "status 503".to_owned(),
                    }),
                    (_, seconds) => Err(self
                        .throttled(seconds.unwrap_or(DEFAULT_RETRY_AFTER_SECS))
                        .await),
                };
            }
            401 | 403 => return Err(FetchError::KeyRefused { status }),
            other => {
                return Err(FetchError::Unavailable {
                    why: format!("status {other}"),
                });
            }
        }
        let chain = match call
            .chain_header
            .and_then(|name| chain_value(response.headers(), name))
        {
            Some(text) if text.len() > CHAIN_LIMIT_BYTES => {
                return Err(FetchError::Unavailable {
                    why: format!("an issuer chain over {CHAIN_LIMIT_BYTES} bytes"),
                });
            }
            Some(text) => Some(percent_encoding::percent_decode(text.as_bytes()).collect()),
            None => None,
        };
        let limit = call.body_limit_bytes;
        let mut body = BytesMut::new();
        while let Some(piece) = response
            .chunk()
            .await
            .map_err(|error| unavailable(&error))?
        {
            if body.len() + piece.len() > limit {
                return Err(FetchError::Unavailable {
                    why: format!("an answer over the limit of {limit} bytes"),
                });
            }
            body.extend_from_slice(&piece);
        }
        Ok(Fetched {
            body: body.freeze(),
            chain,
            at: self.clock.now(),
            url: call.shown.clone(),
        })
    }

    /// Remembers the upstream's wish across restarts.
    async fn throttled(&self, seconds: i64) -> FetchError {
        let seconds = seconds.clamp(1, RETRY_AFTER_LIMIT_SECS);
        let mut state = self.state.lock().await;
        state.not_before_millis = state
            .not_before_millis
            .max(self.clock.now_millis() + seconds * 1000);
        match self
            .store
            .save_budget(&self.base, 0, state.not_before_millis)
            .await
        {
            Ok(()) => FetchError::Throttled {
                retry_after_secs: seconds,
            },
            Err(_) => FetchError::Storage,
        }
    }

    const fn limits(&self, lane: Lane) -> &LaneLimits {
        &self.lanes[lane as usize]
    }

    fn breaker(&self) -> std::sync::MutexGuard<'_, Breaker> {
        self.breaker
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Whether another THIM answered, and not because it is overloaded.
fn is_of_a_peer(headers: &reqwest::header::HeaderMap) -> bool {
    headers
        .get("thim-cause")
        .is_some_and(|cause| !cause.as_bytes().starts_with(b"busy"))
}

/// The vendor's codes are words; anything else is not repeated.
fn is_error_code(code: &str) -> bool {
    (1..=64).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// `TCB-Info-Issuer-Chain` has an older name with `SGX-` in front.
fn chain_value(headers: &reqwest::header::HeaderMap, name: &str) -> Option<String> {
    let value = headers
        .get(name)
        .or_else(|| headers.get(format!("sgx-{name}")))?;
    value.to_str().ok().map(ToOwned::to_owned)
}

/// `Retry-After` in seconds: a number, or an HTTP date (RFC 9110 section 10.2.3).
pub(super) fn retry_after(headers: &reqwest::header::HeaderMap, now: UnixTime) -> Option<i64> {
    let text = headers.get("retry-after")?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<i64>() {
        return Some(seconds);
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(UnixTime::from_secs(date.timestamp().as_second()).since(now))
}

/// The transport's words without the URL, which the caller names, and with the deepest cause.
fn unavailable(error: &reqwest::Error) -> FetchError {
    FetchError::Unavailable {
        why: cause_of(error),
    }
}

/// What went wrong on the way, without the URL.
pub(super) fn cause_of(error: &reqwest::Error) -> String {
    let what = if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection"
    } else {
        "a broken answer"
    };
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    format!("{what}: {cause}")
}

const fn secs_up(millis: i64) -> i64 {
    (millis + 999).div_euclid(1000)
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A miss answers within 10 s; two attempts of 4 s and a wait fit.
const TOTAL_PATIENCE: Duration = Duration::from_millis(9_000);
const RETRIES: usize = 1;
const MISS_PATIENCE: Duration = Duration::from_secs(2);
const BACKGROUND_PATIENCE: Duration = Duration::from_secs(60);
const CHAIN_LIMIT_BYTES: usize = 32 * 1024;
/// PCS says how long; a lying upstream must not silence us for longer.
const RETRY_AFTER_LIMIT_SECS: i64 = 24 * 3600;
const DEFAULT_RETRY_AFTER_SECS: i64 = 10;

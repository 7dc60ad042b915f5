//! What operators watch. Every series exists at 0 from the start, so that an alert on a rate never misses
//! the first occurrence. No label carries anything a caller made up: routes, results, kinds and configured
//! upstreams only.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::platforms::PlatformState;
use crate::sentinel::EVENT_NAMES;

/// All series.
pub struct Metrics {
    registry: Registry,
    requests: Vec<Vec<Counter>>,
    upstream: Family<UpstreamResult, Counter>,
    upstream_up: Family<UpstreamName, Gauge>,
    events: Family<EventName, Counter>,
    expires: Family<KeyLabel, Gauge>,
    revoked: Family<KeyLabel, Gauge>,
    connections: Gauge,
    held: Gauge,
    waiting: Gauge,
    platforms: Family<StateLabel, Gauge>,
    store_failures: Counter,
    served_archived: Counter,
    denials: Denials,
}

/// The routes that are counted apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Route {
    /// AMD's certificate chains.
    AmdCertChain,
    /// AMD's CRLs.
    AmdCrl,
    /// The metadata service's answer about a chip.
    Certification,
    /// `crl?uri=`.
    Crl,
    /// TCB info.
    Tcb,
    /// Enclave identities.
    Identity,
    /// Lists of evaluation numbers.
    EvaluationNumbers,
    /// FMSPC list.
    Fmspcs,
    /// Unknown paths and methods.
    None,
    /// The own API.
    Own,
    /// Health and metrics.
    Operations,
    /// PCCS's registration, deliveries, refresh and policies.
    Pccs,
    /// PCK certificates.
    PckCert,
    /// Lists of PCK certificates.
    PckCerts,
    /// PCK CRLs.
    PckCrl,
    /// Root CRL.
    RootCrl,
    /// The central cache's answer about a chip.
    SevSnpVm,
    /// Certificates of chips.
    Vcek,
    /// Certificates of clouds.
    Vlek,
}

impl Route {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 19] = [
        Self::AmdCertChain,
        Self::AmdCrl,
        Self::Certification,
        Self::Crl,
        Self::Tcb,
        Self::Identity,
        Self::EvaluationNumbers,
        Self::Fmspcs,
        Self::None,
        Self::Own,
        Self::Operations,
        Self::Pccs,
        Self::PckCert,
        Self::PckCerts,
        Self::PckCrl,
        Self::RootCrl,
        Self::SevSnpVm,
        Self::Vcek,
        Self::Vlek,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::AmdCertChain => "cert_chain",
            Self::AmdCrl => "amd-crl",
            Self::Certification => "certification",
            Self::Crl => "crl",
            Self::Tcb => "tcb",
            Self::Identity => "identity",
            Self::EvaluationNumbers => "tcbevaluationdatanumbers",
            Self::Fmspcs => "fmspcs",
            Self::None => "none",
            Self::Own => "thim",
            Self::Operations => "operations",
            Self::Pccs => "pccs",
            Self::PckCert => "pckcert",
            Self::PckCerts => "pckcerts",
            Self::PckCrl => "pckcrl",
            Self::RootCrl => "rootcacrl",
            Self::SevSnpVm => "SevSnpVM",
            Self::Vcek => "vcek",
            Self::Vlek => "vlek",
        }
    }
}

/// How an answer came about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Result {
    /// The caller's fault (4xx).
    Client,
    /// From memory.
    Hit,
    /// From the store or an upstream.
    Miss,
    /// Not modified (304).
    NotModified,
    /// Anything else that worked.
    Ok,
    /// Ours or the vendor's fault (5xx).
    Server,
}

impl Result {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::Client,
        Self::Hit,
        Self::Miss,
        Self::NotModified,
        Self::Ok,
        Self::Server,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Client => "client-error",
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::NotModified => "not-modified",
            Self::Ok => "ok",
            Self::Server => "server-error",
        }
    }
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct RequestLabels {
    route: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct UpstreamResult {
    upstream: String,
    result: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct UpstreamName {
    upstream: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct EventName {
    event: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct DenialReason {
    reason: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct StateLabel {
    state: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct KeyLabel {
    key: String,
}

/// Why somebody was not admitted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Denial {
    /// No token.
    Missing,
    /// A token that is not good for this.
    NotAllowed,
    /// Too many wrong tokens before.
    TooManyFailures,
    /// A wrong token.
    Wrong,
}

impl Denial {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 4] = [
        Self::Missing,
        Self::NotAllowed,
        Self::TooManyFailures,
        Self::Wrong,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::NotAllowed => "not-allowed",
            Self::TooManyFailures => "too-many-failures",
            Self::Wrong => "wrong",
        }
    }
}

/// Counts who was not admitted.
#[derive(Clone, Debug)]
pub struct Denials([Counter; Denial::ALL.len()]);

impl Denials {
    fn new(registry: &mut Registry) -> Self {
        let denied: Family<DenialReason, Counter> = Family::default();
        registry.register(
            "thim_access_denied",
            "Requests that were not admitted, by reason",
            denied.clone(),
        );
        Self(Denial::ALL.map(|denial| {
            let reason = denial.name();
            denied.get_or_create(&DenialReason { reason }).clone()
        }))
    }

    /// One more: an atomic addition, since a flood of wrong tokens calls this.
    pub fn count(&self, denial: Denial) {
        self.0[denial as usize].inc();
    }
}

/// What an upstream's answer is counted as.
pub const UPSTREAM_RESULTS: [&str; 9] = [
    "absent",
    "budget",
    "key-refused",
    "ok",
    "refused",
    "retired",
    "storage",
    "throttled",
    "unavailable",
];

impl Metrics {
    /// All series at 0, for these upstreams.
    pub fn new(upstreams: &[String]) -> Self {
        let mut registry = Registry::default();
        let requests: Family<RequestLabels, Counter> = Family::default();
        registry.register(
            "thim_requests",
            "Requests answered, by route and result",
            requests.clone(),
        );
        let counters = Route::ALL
            .iter()
            .map(|route| {
                Result::ALL
                    .iter()
                    .map(|result| {
                        requests
                            .get_or_create(&RequestLabels {
                                route: route.name(),
                                result: result.name(),
                            })
                            .clone()
                    })
                    .collect()
            })
            .collect();
        let upstream: Family<UpstreamResult, Counter> = Family::default();
        registry.register(
            "thim_upstream_requests",
            "Calls to upstreams, by result",
            upstream.clone(),
        );
        let upstream_up: Family<UpstreamName, Gauge> = Family::default();
        registry.register(
            "thim_upstream_up",
            "1 while an upstream answers, 0 while its breaker is open",
            upstream_up.clone(),
        );
        for name in upstreams {
            upstream_up
                .get_or_create(&UpstreamName {
                    upstream: name.clone(),
                })
                .set(1);
            for result in UPSTREAM_RESULTS {
                drop(upstream.get_or_create(&UpstreamResult {
                    upstream: name.clone(),
                    result,
                }));
            }
        }
        let events: Family<EventName, Counter> = Family::default();
        registry.register("thim_events", "Events recorded, by name", events.clone());
        for event in EVENT_NAMES {
            drop(events.get_or_create(&EventName { event }));
        }
        let expires: Family<KeyLabel, Gauge> = Family::default();
        registry.register(
            "thim_artifact_expires_seconds",
            "Unix time of the next update of each published artefact",
            expires.clone(),
        );
        let revoked: Family<KeyLabel, Gauge> = Family::default();
        registry.register(
            "thim_crl_revoked_entries",
            "Revoked serials of each published CRL",
            revoked.clone(),
        );
        for key in [
            "intel/pck-crl/platform",
            "intel/pck-crl/processor",
            "intel/root-crl",
        ] {
            drop(revoked.get_or_create(&KeyLabel {
                key: key.to_owned(),
            }));
        }
        let connections = Gauge::default();
        registry.register(
            "thim_connections",
            "Open client connections",
            connections.clone(),
        );
        let waiting = Gauge::default();
        registry.register(
            "thim_vceks_waited_for",
            "Certificates of AMD's chips that somebody is in line for",
            waiting.clone(),
        );
        let held = Gauge::default();
        registry.register(
            "thim_held_editions",
            "Editions held back by the sentinel",
            held.clone(),
        );
        let platforms: Family<StateLabel, Gauge> = Family::default();
        registry.register(
            "thim_platforms",
            "Platforms in the register, by state",
            platforms.clone(),
        );
        for state in PlatformState::ALL {
            drop(platforms.get_or_create(&StateLabel {
                state: state.name(),
            }));
        }
        let served_archived = Counter::default();
        registry.register(
            "thim_served_archived",
            "Answers with an edition past its time, for baselines that want these",
            served_archived.clone(),
        );
        let store_failures = Counter::default();
        registry.register(
            "thim_store_failures",
            "Writes that the store refused",
            store_failures.clone(),
        );
        let denials = Denials::new(&mut registry);
        Self {
            registry,
            requests: counters,
            upstream,
            upstream_up,
            events,
            expires,
            revoked,
            connections,
            held,
            waiting,
            platforms,
            store_failures,
            served_archived,
            denials,
        }
    }

    /// Counts an answer. Two array look-ups and an atomic addition: the hit path calls this.
    pub fn request(&self, route: Route, result: Result) {
        if let Some(counter) = self
            .requests
            .get(route as usize)
            .and_then(|row| row.get(result as usize))
        {
            counter.inc();
        }
    }

    /// How many platforms stand where; a state that is not named has none.
    pub fn platforms(&self, counts: &[(PlatformState, u64)]) {
        for state in PlatformState::ALL {
            let count = counts
                .iter()
                .find(|(known, _)| *known == state)
                .map_or(0, |(_, count)| *count);
            self.platforms
                .get_or_create(&StateLabel {
                    state: state.name(),
                })
                .set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Counts an upstream's answer; `result` is one of [`UPSTREAM_RESULTS`].
    pub fn upstream(&self, upstream: &str, result: &'static str) {
        self.upstream
            .get_or_create(&UpstreamResult {
                upstream: upstream.to_owned(),
                result,
            })
            .inc();
    }

    /// Says whether an upstream answers.
    pub fn upstream_up(&self, upstream: &str, up: bool) {
        self.upstream_up
            .get_or_create(&UpstreamName {
                upstream: upstream.to_owned(),
            })
            .set(i64::from(up));
    }

    /// Counts an event.
    pub fn event(&self, event: &'static str) {
        self.events.get_or_create(&EventName { event }).inc();
    }

    /// A published artefact's next update, and its revoked serials where it is a CRL.
    pub fn published(&self, key: &str, next_update: i64, revoked: Option<usize>) {
        self.expires
            .get_or_create(&KeyLabel {
                key: key.to_owned(),
            })
            .set(next_update);
        if let Some(revoked) = revoked {
            let revoked = i64::try_from(revoked).unwrap_or(i64::MAX);
            self.revoked
                .get_or_create(&KeyLabel {
                    key: key.to_owned(),
                })
                .set(revoked);
        }
    }

    /// An artefact is no longer published.
    pub fn withdrawn(&self, key: &str) {
        self.expires.remove(&KeyLabel {
            key: key.to_owned(),
        });
    }

    /// Open connections.
    pub fn connections(&self) -> &Gauge {
        &self.connections
    }

    /// Certificates of chips that somebody is in line for.
    pub fn waiting(&self, count: usize) {
        self.waiting.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Editions held back.
    pub fn held(&self, count: u64) {
        self.held.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Counts who was not admitted.
    pub fn denials(&self) -> &Denials {
        &self.denials
    }

    /// A write that failed.
    pub fn store_failed(&self) {
        self.store_failures.inc();
    }

    /// An edition past its time was served, for a baseline that wants it.
    pub fn served_archived(&self) {
        self.served_archived.inc();
    }

    /// The text exposition (OpenMetrics 1.0).
    pub fn render(&self) -> String {
        let mut text = String::new();
        if text::encode(&mut text, &self.registry).is_err() {
            // Writing to a String does not fail; say so rather than show half a page.
            text.clear();
            let _ = writeln!(text, "# encoding failed\n# EOF");
        }
        text
    }
}

/// Makes `Request-ID`s: 32 hex digits, different for 2^64 answers of a process, without a lock.
pub struct RequestIds {
    seed: u64,
    next: AtomicU64,
}

impl RequestIds {
    /// From 16 random bytes.
    pub fn new(random: [u8; 16]) -> Self {
        let half = |range: std::ops::Range<usize>| {
            random[range]
                .iter()
                .fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
        };
        Self {
            seed: half(0..8),
            next: AtomicU64::new(half(8..16)),
        }
    }

    /// The next one.
    pub fn next(&self) -> http::HeaderValue {
        // An odd factor visits every number once before it repeats, and spreads neighbours.
        let number = self
            .next
            .fetch_add(1, Ordering::Relaxed)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&(self.seed ^ number).to_be_bytes());
        bytes[8..].copy_from_slice(&number.to_be_bytes());
        let text = data_encoding::HEXLOWER.encode(&bytes);
        http::HeaderValue::from_maybe_shared(bytes::Bytes::from(text))
            .unwrap_or_else(|_| http::HeaderValue::from_static("0"))
    }
}

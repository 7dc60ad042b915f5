//! What is counted. Nothing here tells one chip from another.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// The counters and their registry.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<Status, Counter>,
    /// Fetches from the service by outcome.
    pub(crate) fetches: Family<Outcome, Counter>,
    /// Whether certificates are served.
    pub(crate) serving: Gauge,
    /// When the service last gave what is served, seconds since 1970.
    pub(crate) obtained: Gauge,
    /// When what is served ends, seconds since 1970.
    pub(crate) not_after: Gauge,
    /// Whether the last look at the host succeeded.
    pub(crate) host_known: Gauge,
    /// Files that could not be written.
    pub(crate) write_failures: Counter,
    /// Open connections.
    pub(crate) connections: Gauge,
    /// Connections that were closed at a limit.
    pub(crate) turned_away: Counter,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Status {
    status: u16,
}

/// How a fetch ended.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(crate) struct Outcome {
    /// `failed`, `obtained`, `refused` or `untrusted`.
    pub(crate) outcome: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("thim_agent");
        let metrics =
            |registry: &mut Registry| -> (Family<Status, Counter>, Family<Outcome, Counter>) {
                let (requests, fetches) = (Family::default(), Family::default());
                registry.register("requests", "Requests by status", Family::clone(&requests));
                registry.register(
                    "fetches",
                    "Fetches from the service by outcome",
                    Family::clone(&fetches),
                );
                (requests, fetches)
            };
        let (requests, fetches) = metrics(&mut registry);
        let mut gauge = |name: &str, help: &str, unit: Option<Unit>| {
            let gauge = Gauge::default();
            match unit {
                Some(unit) => registry.register_with_unit(name, help, unit, Gauge::clone(&gauge)),
                None => registry.register(name, help, Gauge::clone(&gauge)),
            }
            gauge
        };
        let serving = gauge(
            "serving",
            "1 while certificates for the reported TCB are served",
            None,
        );
        let host_known = gauge(
            "host_known",
            "1 where the last look at the host succeeded",
            None,
        );
        let connections = gauge(
            "connections",
            "Open connections of the metadata service",
            None,
        );
        let obtained = gauge(
            "obtained",
            "When the service gave what is served",
            Some(Unit::Seconds),
        );
        let not_after = gauge("not_after", "When what is served ends", Some(Unit::Seconds));
        let mut counter = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, Counter::clone(&counter));
            counter
        };
        let write_failures = counter("write_failures", "Files that could not be written");
        let turned_away = counter("turned_away_connections", "Connections closed at a limit");
        Self {
            registry,
            requests,
            fetches,
            serving,
            obtained,
            not_after,
            host_known,
            write_failures,
            connections,
            turned_away,
        }
    }
}

impl Metrics {
    /// Counts an answer.
    pub fn answered(&self, status: http::StatusCode) {
        let status = status.as_u16();
        self.requests.get_or_create(&Status { status }).inc();
    }

    /// Counts a fetch.
    pub(crate) fn fetched(&self, outcome: &'static str) {
        self.fetches.get_or_create(&Outcome { outcome }).inc();
    }

    /// The text that Prometheus reads.
    pub fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a string takes everything");
        text
    }
}

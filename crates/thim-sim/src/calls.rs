//! The count of what was asked of the simulated PCS.
//!
//! Every request whose head was read is counted before any fault applies, so a client's budget can be measured against
//! a vendor that is down.

use serde::Serialize;
use std::collections::BTreeMap;

/// How often one thing was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Call {
    /// `GET`, `HEAD` or what came.
    pub method: String,
    /// The path as received.
    pub path: String,
    /// The query as received, without `?`; empty if there was none.
    pub query: String,
    /// How often.
    pub count: u64,
}

/// Every call since the start or the last reset, sorted by path, query and method.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Calls {
    /// All calls together.
    pub total: u64,
    /// The calls by target.
    pub calls: Vec<Call>,
}

impl Calls {
    /// How many calls there were whose `path?query` contains this.
    pub fn containing(&self, part: &str) -> u64 {
        self.calls
            .iter()
            .filter(|call| format!("{}?{}", call.path, call.query).contains(part))
            .map(|call| call.count)
            .sum()
    }
}

/// The counters.
#[derive(Debug, Default)]
pub(crate) struct CallLog {
    total: u64,
    by_target: BTreeMap<(String, String, String), u64>,
}

impl CallLog {
    pub(crate) fn record(&mut self, method: &str, path: &str, query: &str) {
        self.total += 1;
        let key = (path.to_owned(), query.to_owned(), method.to_owned());
        if self.by_target.len() < MAX_TARGETS || self.by_target.contains_key(&key) {
            *self.by_target.entry(key).or_default() += 1;
        }
    }

    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    pub(crate) fn report(&self) -> Calls {
        let calls = self
            .by_target
            .iter()
            .map(|((path, query, method), &count)| Call {
                method: method.clone(),
                path: path.clone(),
                query: query.clone(),
                count,
            })
            .collect();
        Calls {
            total: self.total,
            calls,
        }
    }
}

/// A fuzzing client must not fill the memory; later targets count in the total alone.
const MAX_TARGETS: usize = 20_000;

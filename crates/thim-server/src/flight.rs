//! One flight per key: any number of callers who miss the same thing share one fetch, and what came of a
//! failed one is remembered briefly, so that the next thousand callers cost nothing.
//!
//! A fetch runs in a task of its own: a caller who goes away takes nothing with them.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use quick_cache::sync::Cache;
use thim_verify::UnixTime;
use tokio::sync::watch;

/// Flights by key. `E` is what a failed flight says.
pub struct Flights<K, E> {
    flying: Arc<Flying<K, E>>,
    failed: Cache<K, (E, UnixTime)>,
}

/// Who is flying: each with the place where its result will stand.
type Flying<K, E> = Mutex<HashMap<K, watch::Receiver<Option<Result<(), E>>>>>;

/// Too many different things are being fetched at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Crowded;

impl<K, E> Default for Flights<K, E>
where
    K: Clone + Eq + Hash,
    E: Clone,
{
    fn default() -> Self {
        Self {
            flying: Arc::default(),
            failed: Cache::new(REMEMBERED),
        }
    }
}

impl<K, E> Flights<K, E>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    E: Clone + Send + Sync + 'static,
{
    /// A failure of this key that is still to be believed at `now`.
    pub fn recent_failure(&self, key: &K, now: UnixTime) -> Option<E> {
        let (failure, until) = self.failed.get(key)?;
        (now < until).then_some(failure)
    }

    /// Remembers that `key` failed, until an instant.
    pub fn remember(&self, key: K, failure: E, until: UnixTime) {
        self.failed.insert(key, (failure, until));
    }

    /// Forgets that `key` failed: it has been published meanwhile.
    pub fn forget(&self, key: &K) {
        self.failed.remove(key);
    }

    /// Forgets every failure: what the keys mean has changed.
    pub fn forget_all(&self) {
        self.failed.clear();
    }

    /// Joins the flight for `key`, or starts `fetch`. `Err(Crowded)` where too many are flying.
    pub async fn join<F>(&self, key: K, fetch: impl FnOnce() -> F) -> Result<Result<(), E>, Crowded>
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        let mut landing = {
            let mut flying = self.flying.lock().unwrap_or_else(PoisonError::into_inner);
            match flying.get(&key) {
                Some(landing) => landing.clone(),
                None if flying.len() >= FLYING => return Err(Crowded),
                None => {
                    let (report, landing) = watch::channel(None);
                    flying.insert(key.clone(), landing.clone());
                    let fetch = fetch();
                    let landed = Landed {
                        flying: Arc::clone(&self.flying),
                        key,
                    };
                    tokio::spawn(async move {
                        let result = fetch.await;
                        // Out of the map first: a caller who comes now finds what was published, or asks anew.
                        drop(landed);
                        report.send_replace(Some(result));
                    });
                    landing
                }
            }
        };
        let landed = match landing.wait_for(Option::is_some).await {
            Ok(result) => result.clone(),
            // The task ended without a report: it panicked, and there is nobody left to wait for.
            Err(_) => None,
        };
        landed.ok_or(Crowded)
    }
}

/// Takes the flight off the map, also when its task panics.
struct Landed<K: Eq + Hash, E> {
    flying: Arc<Flying<K, E>>,
    key: K,
}

impl<K: Eq + Hash, E> Drop for Landed<K, E> {
    fn drop(&mut self) {
        self.flying
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.key);
    }
}

/// Different keys in flight at once; the upstream's budget lets far fewer through at a time.
const FLYING: usize = 256;
/// Failures remembered; a flood of made-up FMSPCs pushes out only its own.
const REMEMBERED: usize = 4096;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn many_callers_one_fetch() {
        let flights: Arc<Flights<u8, String>> = Arc::new(Flights::default());
        let fetches = Arc::new(AtomicUsize::new(0));
        let gate = Arc::new(tokio::sync::Notify::new());
        let callers: Vec<_> = (0..50)
            .map(|_| {
                let (flights, fetches, gate) = (
                    Arc::clone(&flights),
                    Arc::clone(&fetches),
                    Arc::clone(&gate),
                );
                tokio::spawn(async move {
                    flights
                        .join(1, || async move {
                            fetches.fetch_add(1, Ordering::SeqCst);
                            gate.notified().await;
                            Err("no".to_owned())
                        })
                        .await
                })
            })
            .collect();
        while fetches.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        // Everybody is aboard once every caller has been polled; then let it land.
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
        gate.notify_one();
        for caller in callers {
            assert_eq!(caller.await.expect("no panic"), Ok(Err("no".to_owned())));
        }
        assert_eq!(fetches.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_panicking_fetch_strands_nobody_and_the_next_one_flies() {
        let flights: Flights<u8, ()> = Flights::default();
        assert_eq!(
            flights.join(1, || async { panic!("on purpose") }).await,
            Err(Crowded)
        );
        assert_eq!(flights.join(1, || async { Ok(()) }).await, Ok(Ok(())));
    }

    #[test]
    fn failures_are_forgotten_in_time() {
        let flights: Flights<u8, &str> = Flights::default();
        flights.remember(1, "absent", UnixTime::from_secs(60));
        assert_eq!(
            flights.recent_failure(&1, UnixTime::from_secs(59)),
            Some("absent")
        );
        assert_eq!(flights.recent_failure(&1, UnixTime::from_secs(60)), None);
        assert_eq!(flights.recent_failure(&2, UnixTime::from_secs(0)), None);
    }
}

//! The service's clock: read at the edge, handed inward as an argument.
//!
//! A system clock, a clock started at an instant that then runs on (`--clock`, for recorded
//! collateral), one that stands still (a command's single judgement), or one that a test moves by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use thim_verify::UnixTime;

/// Where `now` comes from. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    Hand(Arc<AtomicI64>),
    Offset { millis: i64, simulated: bool },
}

impl Clock {
    /// The system's clock.
    pub const fn system() -> Self {
        Self(Source::Offset {
            millis: 0,
            simulated: false,
        })
    }

    /// A clock that shows `start` now and runs on from there.
    pub fn running_from(start: UnixTime) -> Self {
        Self(Source::Offset {
            millis: start.secs().saturating_mul(1000) - system_millis(),
            simulated: true,
        })
    }

    /// A clock that moves only when told.
    pub fn by_hand(start: UnixTime) -> Self {
        Self(Source::Hand(Arc::new(AtomicI64::new(
            start.secs().saturating_mul(1000),
        ))))
    }

    /// The instant shown, in whole seconds.
    pub fn now(&self) -> UnixTime {
        UnixTime::from_secs(self.now_millis().div_euclid(1000))
    }

    /// The instant shown, in milliseconds since 1970.
    pub fn now_millis(&self) -> i64 {
        match &self.0 {
            Source::Hand(millis) => millis.load(Ordering::SeqCst),
            Source::Offset { millis, .. } => system_millis().saturating_add(*millis),
        }
    }

    /// Moves a clock made by [`Clock::by_hand`]; others stay as they are.
    pub fn advance_millis(&self, by: i64) {
        if let Source::Hand(millis) = &self.0 {
            millis.fetch_add(by, Ordering::SeqCst);
        }
    }

    /// True for a clock that moves only when told: whoever moves it also says when to look round, so that nothing happens between.
    pub const fn is_by_hand(&self) -> bool {
        matches!(self.0, Source::Hand(_))
    }

    /// True where the clock does not show the system's time.
    pub const fn is_simulated(&self) -> bool {
        match &self.0 {
            Source::Hand(_) => true,
            Source::Offset { simulated, .. } => *simulated,
        }
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "the one place of this crate where the system's clock is read"
)]
fn system_millis() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
    }
}

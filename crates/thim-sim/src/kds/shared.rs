//! What the two listeners of a simulated KDS share.

use crate::kds::keys::Secret;
use crate::kds::pki::Pki;
use crate::kds::state::State;
use crate::shared::Clock;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub(crate) struct Shared {
    pub(crate) kds_url: String,
    pub(crate) management_url: String,
    pub(crate) clock: Clock,
    pub(crate) secret: Secret,
    pub(crate) genuine: Pki,
    pub(crate) impostor: Pki,
    pub(crate) state: Mutex<State>,
}

impl Shared {
    pub(crate) fn now(&self) -> i64 {
        (self.clock)()
    }

    /// A panic while the lock was held leaves at worst one CRL unsigned, so the state is used on.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

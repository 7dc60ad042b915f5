//! What the two listeners share: the vendor behind one lock, the caller's clock, the addresses, the API key.
//!
//! The lock is held while an answer is made (a signature takes well under a millisecond) and never across a pause or a
//! write.

use crate::management::Ca;
use crate::vendor::Vendor;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The caller's clock, in unix seconds.
pub(crate) type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

pub(crate) struct Shared {
    pub(crate) pcs_url: String,
    pub(crate) management_url: String,
    pub(crate) api_key: Option<String>,
    pub(crate) clock: Clock,
    pub(crate) vendor: Mutex<Vendor>,
}

impl Shared {
    pub(crate) fn now(&self) -> i64 {
        (self.clock)()
    }

    /// A panic while the lock was held leaves at worst one edition unsigned, so the state is used on.
    pub(crate) fn vendor(&self) -> MutexGuard<'_, Vendor> {
        self.vendor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn root_crl_url(&self) -> String {
        root_crl_url(&self.pcs_url)
    }
}

/// The address that CA and TCB signing certificates' CRL distribution point names.
pub(crate) fn root_crl_url(pcs_url: &str) -> String {
    format!("{pcs_url}{ROOT_CRL_PATH}")
}

/// The address that PCK certificates' CRL distribution point names, as Intel's do.
pub(crate) fn pck_crl_url(pcs_url: &str, ca: Ca) -> String {
    let name = match ca {
        Ca::Platform => "platform",
        Ca::Processor => "processor",
        // No PCK certificate is the root's; its CRL is elsewhere.
        Ca::Root => return root_crl_url(pcs_url),
    };
    format!("{pcs_url}/sgx/certification/v4/pckcrl?ca={name}&encoding=der")
}

/// The path of Intel's certificate host (spec/intel-pcs-and-pccs.md section 4).
pub(crate) const ROOT_CRL_PATH: &str = "/IntelSGXRootCA.der";

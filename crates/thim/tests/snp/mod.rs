//! AMD's recorded data where it is at hand, and a simulated AMD where it is not.

#![allow(clippy::disallowed_methods, reason = "a test of the world may read it")]
#![allow(dead_code, reason = "each test file uses its part")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use thim_client::Client;
use thim_server::clock::Clock;
use thim_sim::{FaultRule, Kds, KdsConfig, KdsFault, RateLimits, RsaBits, start_kds};
use tokio::runtime::Runtime;

/// What the simulated AMD's clock shows; [`AT`] as text.
pub const NOW: i64 = 1_780_272_000;
pub const AT: &str = "2026-06-01T00:00:00Z";

pub fn vectors() -> Option<PathBuf> {
    let root = std::env::var_os("THIM_VECTORS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    let found = root.join("amd/PROVENANCE.md").is_file();
    if !found {
        println!("skipped: no vectors");
    }
    found.then(|| root.join("amd"))
}

pub fn read(amd: &Path, path: &str) -> Vec<u8> {
    std::fs::read(amd.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A simulated key server on a runtime of its own, without limits, with small keys.
pub struct SimulatedKds {
    kds: Kds,
    runtime: Runtime,
}

impl SimulatedKds {
    /// Its clock stands still at [`NOW`].
    pub fn start() -> Self {
        Self::start_with(Arc::new(|| NOW))
    }

    /// Its clock is the system's, as that of a service which asks it.
    pub fn start_today() -> Self {
        let clock = Clock::system();
        Self::start_with(Arc::new(move || clock.now().secs()))
    }

    fn start_with(now: Arc<dyn Fn() -> i64 + Send + Sync>) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let config = KdsConfig::new(now).rsa_bits(RsaBits::B2048);
        let kds = runtime.block_on(start_kds(config)).expect("it starts");
        kds.management().set_rate_limits(RateLimits {
            per_certificate_seconds: 0,
            per_client_seconds: 0,
        });
        Self { kds, runtime }
    }

    pub fn kds(&self) -> &Kds {
        &self.kds
    }

    /// So many answers go wrong.
    pub fn fault(&self, fault: KdsFault, times: u32) {
        let rule = FaultRule::new(fault).times(times);
        self.kds.management().set_fault(rule).expect("a fault");
    }

    /// The body of an answer that must be 200.
    pub fn get(&self, target: &str) -> Vec<u8> {
        let client = Client::new(&self.kds.url(), None, None).expect("a client");
        let answer = client.get_raw(target, 1 << 20).expect("an answer");
        assert_eq!(answer.status, 200, "{target}");
        answer.body
    }
}

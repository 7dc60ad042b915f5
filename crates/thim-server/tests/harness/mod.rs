//! A real server on port 0, a simulator on port 0, and a clock that a test moves by hand.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use thim_server::clock::Clock;
use thim_server::config::Config;
use thim_server::server::{Server, World};
use thim_sim::{
    Fault, FaultRule, Kds, KdsConfig, KdsFault, KdsManagement, Management, RsaBits, Sim, SimConfig,
    start_kds,
};
use thim_verify::UnixTime;

/// When the tests' days begin.
pub const START: &str = "2026-11-24T12:00:00Z";

/// A simulator and a server that has it as upstream.
pub struct Fleet {
    pub sim: Sim,
    /// AMD's key server, where a test wants one.
    pub kds: Option<Kds>,
    pub server: Option<Server>,
    pub clock: Clock,
    pub config: Config,
    pub client: reqwest::Client,
    _directory: tempfile::TempDir,
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().expect("text"))
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    /// The number in a TCB info or identity.
    pub fn number(&self) -> u64 {
        let document: serde_json::Value = serde_json::from_slice(&self.body).expect("JSON");
        let inner = document
            .as_object()
            .and_then(|members| members.values().find(|value| value.is_object()));
        inner
            .and_then(|inner| inner["tcbEvaluationDataNumber"].as_u64())
            .expect("a number")
    }
}

pub fn at(text: &str) -> UnixTime {
    text.parse().expect("a time in a test")
}

/// An FMSPC of the simulator with SGX and TDX, and one with SGX alone.
pub const BOTH: &str = "50806F53494D";
pub const SGX_ONLY: &str = "00906E53494D";

impl Fleet {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(adjust: impl FnOnce(&mut Config)) -> Self {
        let mut fleet = Self::sim_only(adjust).await;
        fleet.serve().await;
        fleet
    }

    /// The simulator and a configuration for it; the server does not run yet.
    pub async fn sim_only(adjust: impl FnOnce(&mut Config)) -> Self {
        Self::sim_with_key(None, adjust).await
    }

    /// As [`Fleet::sim_only`], of a simulator that wants a subscription key.
    pub async fn sim_with_key(api_key: Option<String>, adjust: impl FnOnce(&mut Config)) -> Self {
        let clock = Clock::by_hand(at(START));
        let sim_clock = clock.clone();
        let sim = thim_sim::start(SimConfig {
            pcs_listen: ([127, 0, 0, 1], 0).into(),
            management_listen: ([127, 0, 0, 1], 0).into(),
            now: Arc::new(move || sim_clock.now().secs()),
            api_key,
        })
        .await
        .expect("the simulator starts");
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().join("root.pem");
        std::fs::write(&root, sim.root_pem()).expect("written");
        let mut config = Config {
            data: directory.path().join("data"),
            ..Config::default()
        };
        config.http.listen = "127.0.0.1:0".to_owned();
        config.https.listen = "off".to_owned();
        config.trust.intel_roots = vec![root];
        config.intel.upstream = vec![sim.pcs_url()];
        config.intel.root_crl_url = sim.root_crl_url();
        // Nobody of AMD's, unless a test says who.
        config.amd.upstream = Vec::new();
        // Tests start and stop the background refresh by themselves.
        config.intel.requests_per_second = 1000;
        config.intel.burst = 1000;
        adjust(&mut config);
        let client = reqwest::Client::builder()
            .no_proxy()
            .build()
            .expect("a client");
        Self {
            sim,
            kds: None,
            server: None,
            clock,
            config,
            client,
            _directory: directory,
        }
    }

    /// As [`Fleet::start_with`], with AMD's key server beside Intel's, on the same clock.
    pub async fn with_kds(adjust: impl FnOnce(&mut Config)) -> Self {
        let mut fleet = Self::kds_only(adjust).await;
        fleet.serve().await;
        fleet
    }

    /// As [`Fleet::with_kds`]; the server does not run yet.
    pub async fn kds_only(adjust: impl FnOnce(&mut Config)) -> Self {
        let mut fleet = Self::sim_only(|_| {}).await;
        let clock = fleet.clock.clone();
        let config = KdsConfig::new(Arc::new(move || clock.now().secs())).rsa_bits(RsaBits::B2048);
        let kds = start_kds(config).await.expect("the key server starts");
        let roots = fleet.data().with_file_name("amd-roots.pem");
        std::fs::write(&roots, kds.roots_pem()).expect("written");
        fleet.config.trust.amd_roots = vec![roots];
        fleet.config.amd.upstream = vec![kds.url()];
        fleet.kds = Some(kds);
        adjust(&mut fleet.config);
        fleet
    }

    /// The acts of AMD's key server.
    pub fn kds(&self) -> KdsManagement {
        self.kds.as_ref().expect("there is a KDS").management()
    }

    /// How often certificates of chips were asked for at AMD's key server.
    pub fn vcek_calls(&self) -> u64 {
        self.kds().calls().containing("SPL=")
    }

    /// One way AMD's key server goes wrong with what contains `part`, until told otherwise.
    pub fn kds_fault(&self, fault: KdsFault, part: &str) {
        self.kds()
            .set_fault(FaultRule::new(fault).matching(part))
            .expect("a fault");
    }

    pub async fn serve(&mut self) {
        self.try_serve().await.expect("the server starts");
    }

    pub async fn try_serve(&mut self) -> Result<(), thim_server::server::StartError> {
        let world = World {
            clock: self.clock.clone(),
            clock_chosen: false,
            today: at(START),
            entropy,
        };
        self.server = Some(Server::start(&self.config, world).await?);
        Ok(())
    }

    /// Stops the server and starts it on the same data.
    pub async fn restart(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop().await;
        }
        self.serve().await;
    }

    pub fn management(&self) -> Management {
        self.sim.management()
    }

    pub fn fault(&self, fault: Fault) {
        self.management()
            .set_fault(FaultRule::new(fault))
            .expect("a fault");
    }

    pub fn server(&self) -> &Server {
        self.server.as_ref().expect("the server runs")
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server().http.expect("HTTP is on"))
    }

    pub fn data(&self) -> &Path {
        &self.config.data
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.client.get(self.url(path))).await
    }

    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.expect("an answer");
        Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.bytes().await.expect("a whole body").to_vec(),
        }
    }

    /// Moves the clock, lets time decide, and polls everything that is kept fresh.
    pub async fn advance(&self, secs: i64) {
        self.clock.advance_millis(secs * 1000);
        self.tick().await;
    }

    /// Lets time decide now what it decides each second.
    pub async fn tick(&self) {
        let now = self.clock.now();
        let server = self.server();
        server.collateral.tick(now).await.expect("the store works");
        server.baselines.tick(now).await.expect("the store works");
    }

    /// Asks the upstream for everything that is kept fresh; what each step said.
    pub async fn refresh(&self) -> Vec<String> {
        let report = thim_server::refresh::run(&self.server().collateral, &self.clock, true, false)
            .await
            .expect("the store works");
        report
            .steps
            .into_iter()
            .map(|step| format!("{}: {}", step.key, step.outcome.unwrap_or_default()))
            .collect()
    }

    /// Names of all events so far.
    pub async fn events(&self) -> Vec<String> {
        let events = self
            .server()
            .collateral
            .store()
            .events(0, None, 1000)
            .await
            .expect("the store works");
        events.into_iter().map(|event| event.name).collect()
    }

    pub async fn stop(mut self) {
        if let Some(server) = self.server.take() {
            server.stop().await;
        }
    }
}

/// Bytes that are never the same twice in a process; nothing here has to be hard to guess.
pub fn entropy(bytes: &mut [u8]) -> std::io::Result<()> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    for chunk in bytes.chunks_mut(8) {
        let next = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        chunk.copy_from_slice(&next[..chunk.len()]);
    }
    Ok(())
}

/// The path of a TCB info.
pub fn tcb(tee: &str, fmspc: &str) -> String {
    format!("/{tee}/certification/v4/tcb?fmspc={fmspc}")
}

/// The vectors, or `None` with the reason printed.
#[allow(
    clippy::disallowed_methods,
    reason = "where the vectors are is the tester's word"
)]
pub fn vectors() -> Option<PathBuf> {
    let folder = std::env::var_os("THIM_VECTORS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    if folder.join("intel/index.csv").exists() {
        return Some(folder);
    }
    println!("skipped: no vectors");
    None
}

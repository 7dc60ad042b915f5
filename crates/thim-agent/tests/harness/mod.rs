//! A simulated key server that signs, a service that answers as told, and an agent before it, all on port 0, with a
//! clock that a test moves.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use thim_agent::World;
use thim_agent::agent::Agent;
use thim_agent::config::{Config, Listen};
use thim_agent::host::Source;
use thim_agent::server::Server;
use thim_agent::span::Span;
use thim_client::ThimCertification;
use thim_sim::kds::{AmdProduct, Kds, KdsConfig, RsaBits, SimChip, SimTcb, start_kds};
use thim_verify::UnixTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub const NOW: i64 = 1_795_000_000;
pub const PATH: &str = "/metadata/THIM/amd/certification";

/// What the service does with a question.
#[derive(Clone, Debug)]
pub enum Does {
    /// Answers for whatever chip and TCB the simulator knows.
    Answers,
    /// As it would, and says this of the TCB in `THIM-Baseline`.
    AnswersOf(&'static str),
    /// This status, these headers, this body.
    Says(u16, Vec<(&'static str, String)>, String),
    /// Accepts, reads and never answers.
    Hangs,
    /// Closes at once.
    Closes,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HashMap<String, String>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The word of `THIM-Cause`.
    pub fn cause(&self) -> &str {
        self.header("thim-cause")
            .split(';')
            .next()
            .unwrap_or_default()
    }

    pub fn wire(&self) -> ThimCertification {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// The pieces of a test.
pub struct Bench {
    pub kds: Arc<Kds>,
    pub service: SocketAddr,
    pub does: Arc<Mutex<Does>>,
    pub calls: Arc<AtomicUsize>,
    pub targets: Arc<Mutex<Vec<String>>>,
    pub folder: tempfile::TempDir,
    clock: Arc<AtomicI64>,
    service_task: tokio::task::JoinHandle<()>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.service_task.abort();
    }
}

impl Bench {
    pub async fn new() -> Self {
        let clock = Arc::new(AtomicI64::new(NOW));
        let read = Arc::clone(&clock);
        let config = KdsConfig::new(Arc::new(move || read.load(Ordering::SeqCst)));
        let kds = start_kds(config.rsa_bits(RsaBits::B2048)).await.unwrap();
        let unlimited = thim_sim::kds::RateLimits {
            per_certificate_seconds: 0,
            per_client_seconds: 0,
        };
        kds.management().set_rate_limits(unlimited);
        let kds = Arc::new(kds);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("roots.pem"), kds.roots_pem()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let service = listener.local_addr().unwrap();
        let does = Arc::new(Mutex::new(Does::Answers));
        let calls = Arc::new(AtomicUsize::new(0));
        let targets = Arc::new(Mutex::new(Vec::new()));
        let service_task = tokio::spawn(fake_service(
            listener,
            Arc::clone(&kds),
            Arc::clone(&does),
            Arc::clone(&calls),
            Arc::clone(&targets),
        ));
        Self {
            kds,
            service,
            does,
            calls,
            targets,
            folder,
            clock,
            service_task,
        }
    }

    pub fn service_does(&self, does: Does) {
        *self.does.lock().unwrap() = does;
    }

    pub fn advance(&self, secs: i64) {
        self.clock.fetch_add(secs, Ordering::SeqCst);
    }

    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    pub fn milan(&self) -> SimChip {
        self.kds.management().chip_of(AmdProduct::Milan)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the host file, as a provisioning system would.
    pub fn provision(&self, chip: &SimChip, tcb: &SimTcb) {
        let json = format!(
            r#"{{"chipId":"{}","reportedTcb":"{}"}}"#,
            chip.hwid_hex(),
            tcb.tcbm(chip.product)
        );
        std::fs::write(self.path("host.json"), json).unwrap();
    }

    /// A configuration for the Milan chip, with no limit on the rate and looks only when told.
    pub fn config(&self) -> Config {
        let mut config = Config {
            data: self.path("data"),
            ..Config::default()
        };
        config.service.url = format!("http://{}", self.service);
        config.http.listen = "127.0.0.1:0".parse().unwrap();
        config.http.requests_per_second = 1_000_000;
        config.health.listen = Listen::Off;
        config.host.source = Source::File;
        config.host.file = Some(self.path("host.json"));
        config.host.look_every = Span::from_secs(3600);
        config.trust.amd_roots = vec![self.path("roots.pem")];
        config
    }

    pub fn world(&self) -> World {
        let clock = Arc::clone(&self.clock);
        World {
            now: Arc::new(move || UnixTime::from_secs(clock.load(Ordering::SeqCst))),
            entropy: |bytes| {
                bytes.fill(7);
                Ok(())
            },
        }
    }

    /// An agent without listeners, for a test that looks by hand.
    pub fn agent(&self, config: &Config) -> Agent {
        Agent::new(config, self.world()).unwrap()
    }

    pub async fn start(&self, config: &Config) -> Server {
        Server::start(config, self.world()).await.unwrap()
    }

    /// The Milan chip is provisioned, and the agent has had its first look.
    pub async fn ready(&self) -> Server {
        let chip = self.milan();
        self.provision(&chip, &chip.reported);
        let server = self.start(&self.config()).await;
        let answer = get(server.http, PATH).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        // One look at a time: the first has ended then, and what it brought is on disk.
        server.agent.look().await;
        server
    }
}

/// `GET` with the header that is demanded.
pub async fn get(at: SocketAddr, target: &str) -> Answer {
    ask(at, "GET", target, &[("Metadata", "true")]).await
}

pub async fn ask(at: SocketAddr, method: &str, target: &str, headers: &[(&str, &str)]) -> Answer {
    let host = [("Host", at.to_string())];
    let mut head = format!("{method} {target} HTTP/1.1\r\n");
    let given = headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("host"));
    if !given {
        head.push_str(&format!("{}: {}\r\n", host[0].0, host[0].1));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("Connection: close\r\n\r\n");
    raw(at, head.as_bytes()).await
}

/// Sends bytes, reads until the other side closes.
pub async fn raw(at: SocketAddr, bytes: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut text = Vec::new();
    let read = stream.read_to_end(&mut text);
    tokio::time::timeout(Duration::from_secs(20), read)
        .await
        .unwrap()
        .unwrap();
    let text = String::from_utf8(text).unwrap();
    let (head, body) = text
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no head: {text:?}"));
    let mut lines = head.lines();
    let status = lines
        .next()
        .unwrap()
        .split(' ')
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    let headers = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    Answer {
        status,
        headers,
        body: body.to_owned(),
    }
}

/// The service: one question a connection.
async fn fake_service(
    listener: TcpListener,
    kds: Arc<Kds>,
    does: Arc<Mutex<Does>>,
    calls: Arc<AtomicUsize>,
    targets: Arc<Mutex<Vec<String>>>,
) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (kds, does, calls) = (Arc::clone(&kds), Arc::clone(&does), Arc::clone(&calls));
        let targets = Arc::clone(&targets);
        tokio::spawn(async move {
            let mut head = Vec::new();
            let mut byte = [0; 1024];
            while !head.windows(4).any(|window| window == b"\r\n\r\n") {
                match stream.read(&mut byte).await {
                    Ok(read) if read > 0 => head.extend_from_slice(&byte[..read]),
                    _ => return,
                }
            }
            calls.fetch_add(1, Ordering::SeqCst);
            let head = String::from_utf8(head).unwrap();
            targets.lock().unwrap().push(head.clone());
            assert!(
                head.to_lowercase().contains("\r\nmetadata: true\r\n"),
                "{head}"
            );
            let target = head.split(' ').nth(1).unwrap().to_owned();
            let now = does.lock().unwrap().clone();
            let (status, headers, body) = match now {
                Does::Answers => certification(&kds, &target).await,
                Does::AnswersOf(verdict) => {
                    let mut answer = certification(&kds, &target).await;
                    answer.1.push(("THIM-Baseline", verdict.to_owned()));
                    answer
                }
                Does::Says(status, headers, body) => (status, headers, body),
                Does::Hangs => {
                    // Until the other side gives up.
                    while matches!(stream.read(&mut byte).await, Ok(read) if read > 0) {}
                    return;
                }
                Does::Closes => return,
            };
            let mut text = format!(
                "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n",
                body.len()
            );
            for (name, value) in headers {
                text.push_str(&format!("{name}: {value}\r\n"));
            }
            text.push_str("\r\n");
            if !head.starts_with("HEAD") {
                text.push_str(&body);
            }
            let _ = stream.write_all(text.as_bytes()).await;
        });
    }
}

/// What the service answers for a chip of the simulator, asked by `platformId` and `tcbVersion`.
async fn certification(kds: &Kds, target: &str) -> (u16, Vec<(&'static str, String)>, String) {
    let query = target.split_once('?').unwrap().1;
    let value = |name: &str| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .clone()
            .find(|(n, _)| *n == name)
            .unwrap()
            .1
            .to_owned()
    };
    let chips = kds.management().chips();
    let unknown = || {
        let cause = vec![("THIM-Cause", "absent; detail=\"no such chip\"".to_owned())];
        (404, cause, String::new())
    };
    let Some(chip) = chips
        .into_iter()
        .find(|chip| chip.hwid_hex() == value("platformId"))
    else {
        return unknown();
    };
    let tcbm = u64::from_str_radix(&value("tcbVersion"), 16).unwrap();
    match issue(kds, &chip, &sim_tcb(&chip, tcbm)).await {
        Some(wire) => (
            200,
            vec![("Content-Type", "application/json".to_owned())],
            wire.to_json(),
        ),
        None => unknown(),
    }
}

/// The levels of a number, as products before and from Turin lay them out.
fn sim_tcb(chip: &SimChip, tcbm: u64) -> SimTcb {
    let b = tcbm.to_le_bytes();
    match chip.product {
        AmdProduct::Turin => SimTcb::new(b[1], b[2], b[3], b[7]).with_fmc(b[0]),
        AmdProduct::Milan | AmdProduct::Genoa => SimTcb::new(b[0], b[1], b[6], b[7]),
    }
}

/// A fresh certificate of a chip, and the chain, from the key server.
pub async fn issue(kds: &Kds, chip: &SimChip, tcb: &SimTcb) -> Option<ThimCertification> {
    let vcek = bytes(&kds.url(), &chip.target_for(tcb)).await?;
    let chain = bytes(&kds.url(), &format!("/vcek/v1/{}/cert_chain", chip.product)).await?;
    let vcek = thim_verify::amd::Vcek::from_der(&vcek).unwrap();
    let chain = String::from_utf8(chain).unwrap();
    Some(ThimCertification::new(
        &vcek.to_pem(),
        &tcb.tcbm(chip.product),
        &chain,
        86_400,
    ))
}

/// The body of a 200.
async fn bytes(url: &str, target: &str) -> Option<Vec<u8>> {
    let at: SocketAddr = url.strip_prefix("http://").unwrap().parse().unwrap();
    let mut stream = TcpStream::connect(at).await.unwrap();
    let head = format!("GET {target} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut text = Vec::new();
    stream.read_to_end(&mut text).await.unwrap();
    let end = text
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .unwrap();
    let ok = String::from_utf8_lossy(&text[..end]).contains(" 200 ");
    ok.then(|| text[end + 4..].to_vec())
}

/// Where recorded data is, if it is there.
#[allow(clippy::disallowed_methods, reason = "a test of the world may read it")]
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

//! `kill -9` between the vendor's answer and ours, a hundred times, of the real program that registers platforms: what
//! was acknowledged is there, nothing is half registered, and no manifest is in clear anywhere on disk.

#![allow(clippy::disallowed_methods, reason = "a test of the world may read it")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use thim_sim::{Fault, FaultRule, PlatformSpec, SimPlatform};

const KILLS: u32 = 100;
/// An FMSPC of the simulator whose platforms have several packages, and so a manifest.
const FMSPC: &str = "50806F53494D";

struct Service {
    child: Child,
    address: String,
    // Held open: what is printed after the address goes nowhere else.
    _output: BufReader<ChildStdout>,
}

/// Starts the program and waits for the line that says where it listens.
fn serve(folder: &Path, log: &Path) -> Service {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .expect("a log");
    let mut child = Command::new(env!("CARGO_BIN_EXE_thim"))
        .args([
            "serve",
            "--http",
            "127.0.0.1:0",
            "--https",
            "off",
            "--config",
        ])
        .arg(folder.join("thim.toml"))
        .arg("--data")
        .arg(folder.join("data"))
        .env("THIM_LOG", "debug")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .expect("the program starts");
    let mut output = BufReader::new(child.stdout.take().expect("piped"));
    let address = output
        .by_ref()
        .lines()
        .map_while(Result::ok)
        .find_map(|line| line.trim().strip_prefix("http://").map(ToOwned::to_owned))
        .expect("it says where it listens");
    Service {
        child,
        address,
        _output: output,
    }
}

impl Service {
    fn kill(mut self) {
        let _ = self.child.kill();
        self.child.wait().expect("it ends");
    }

    fn send(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a time-out");
        stream.write_all(request.as_bytes()).expect("sent");
        stream
    }

    fn get(&self, path: &str, token: &str) -> (u16, String) {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        );
        let text = read(self.send(&request));
        let status = text
            .get(9..12)
            .and_then(|status| status.parse().ok())
            .expect("a status");
        let body = text.split_once("\r\n\r\n").expect("a head").1.to_owned();
        (status, body)
    }
}

/// All that comes until the end, which a killed peer brings about too.
fn read(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut part) {
        bytes.extend_from_slice(&part[..count]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXUPPER.encode(bytes)
}

/// Pieces of text to look for, by their first eight bytes: one walk through a file for all of them.
#[derive(Default)]
struct Needles(HashMap<[u8; 8], Vec<(Vec<u8>, String)>>);

impl Needles {
    fn add(&mut self, needle: &[u8], whose: &str) {
        let start: [u8; 8] = needle[..8].try_into().expect("eight bytes");
        self.0
            .entry(start)
            .or_default()
            .push((needle.to_vec(), whose.to_owned()));
    }

    fn found_in(&self, bytes: &[u8]) -> Option<&str> {
        bytes.windows(8).enumerate().find_map(|(at, start)| {
            let start: &[u8; 8] = start.try_into().expect("eight bytes");
            let near = self.0.get(start)?;
            let hit = near
                .iter()
                .find(|(needle, _)| bytes[at..].starts_with(needle));
            hit.map(|(_, whose)| whose.as_str())
        })
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// The end of a log, for whoever wonders why.
fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

fn pckcert(platform: &SimPlatform) -> String {
    format!(
        "/sgx/certification/v4/pckcert?qeid={}&cpusvn={}&pcesvn={}&pceid={}",
        hex(&platform.qe_id),
        hex(&platform.cpu_svn),
        hex(&platform.pce_svn.to_le_bytes()),
        hex(&platform.pce_id)
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_registering() {
    let now = || {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        i64::try_from(since.expect("after 1970").as_secs()).expect("not yet 2262")
    };
    let sim = thim_sim::start(thim_sim::SimConfig {
        pcs_listen: ([127, 0, 0, 1], 0).into(),
        management_listen: ([127, 0, 0, 1], 0).into(),
        now: Arc::new(now),
        api_key: None,
    })
    .await
    .expect("the simulator starts");
    let management = sim.management();
    let temporary = tempfile::tempdir().expect("a folder");
    let folder = temporary.path();
    std::fs::write(folder.join("root.pem"), sim.root_pem()).expect("written");
    let config = format!(
        "[intel]\nupstream = [\"{}\"]\nroot_crl_url = \"{}\"\nrequests_per_second = 1000\nburst = 1000\n[trust]\nintel_roots = [\"root.pem\"]\n",
        sim.pcs_url(),
        sim.root_crl_url()
    );
    std::fs::write(folder.join("thim.toml"), config).expect("written");
    let log = folder.join("log");
    let token = || {
        std::fs::read_to_string(folder.join("data/admin.token"))
            .expect("a token")
            .trim()
            .to_owned()
    };
    let mut asked: Vec<(SimPlatform, bool)> = Vec::new();
    let mut service = serve(folder, &log);
    for kill in 0..KILLS {
        let platform = management
            .add_platform(PlatformSpec::new(FMSPC, 2))
            .expect("a platform");
        let before = management.calls().containing("pckcerts");
        let body = platform.retrieval_request();
        let stream = service.send(&format!(
            "POST /sgx/certification/v4/platforms HTTP/1.1\r\nHost: x\r\nuser-token: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            token(),
            body.len()
        ));
        let begun = Instant::now();
        while management.calls().containing("pckcerts") == before {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "kill {kill}: the vendor is asked; {}",
                tail(&log)
            );
            std::thread::yield_now();
        }
        // Sweeps what lies between the vendor's answer and ours, without being random: a failure repeats.
        let delay = Duration::from_micros(u64::from((kill * 731) % 40_000));
        let asked_at = Instant::now();
        while asked_at.elapsed() < delay {
            std::thread::yield_now();
        }
        service.kill();
        let acknowledged = read(stream).starts_with("HTTP/1.1 200");
        asked.push((platform, acknowledged));
        service = serve(folder, &log);
    }
    let acknowledged = asked.iter().filter(|(_, yes)| *yes).count();

    // With the vendor dead, so that what is served is what was stored.
    management
        .set_fault(FaultRule::new(Fault::Down))
        .expect("a fault");
    let token = token();
    let (status, body) = service.get("/thim/v1/platforms?limit=1000", &token);
    assert_eq!(status, 200, "{body}");
    let listed: Vec<serde_json::Value> = serde_json::from_str(&body).expect("a list");
    assert!(listed.len() >= acknowledged && listed.len() <= asked.len());
    for row in &listed {
        let id = row["id"].as_str().expect("an id");
        let (_, body) = service.get(&format!("/thim/v1/platforms/{id}"), &token);
        let record: serde_json::Value = serde_json::from_str(&body).expect("a record");
        assert_eq!(record["state"], "ready", "{body}");
        let names = record["names"].as_array().expect("names").len();
        let served = record["levels"]
            .as_array()
            .expect("levels")
            .iter()
            .filter(|level| level["state"] == "served")
            .count();
        assert!(
            names == 1 && served > 0 && record["manifest"] == true,
            "half a platform: {body}"
        );
    }
    let mut served = 0;
    for (platform, acknowledged) in &asked {
        let (status, body) = service.get(&pckcert(platform), &token);
        if *acknowledged {
            assert_eq!(status, 200, "what was acknowledged is there: {body}");
        }
        served += usize::from(status == 200);
    }
    println!("{KILLS} kills: {acknowledged} acknowledged, {served} served afterwards");
    assert_eq!(served, listed.len(), "whoever is in the register is served");
    assert!(
        served > 0 && acknowledged < asked.len(),
        "the kills fell on both sides of the answer"
    );
    service.kill();

    // No manifest in clear: not as bytes, not as hex, whole or from its middle.
    let mut needles = Needles::default();
    for (platform, _) in &asked {
        let manifest = platform.manifest.as_ref().expect("a manifest");
        for part in [&manifest[..32], &manifest[1000..1032]] {
            needles.add(part, &platform.name);
            needles.add(hex(part).as_bytes(), &platform.name);
            needles.add(hex(part).to_lowercase().as_bytes(), &platform.name);
        }
    }
    assert_eq!(
        needles.found_in(&asked[0].0.manifest.clone().expect("a manifest")),
        Some(asked[0].0.name.as_str()),
        "the search finds what is there"
    );
    for path in files(folder) {
        let bytes = std::fs::read(&path).expect("read");
        let whose = needles.found_in(&bytes);
        assert_eq!(whose, None, "{} has a manifest", path.display());
    }
    sim.shutdown().await;
}

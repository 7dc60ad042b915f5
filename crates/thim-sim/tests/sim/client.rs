//! A client that hides nothing: it writes a request, reads until the end, and says what came.

use data_encoding::HEXUPPER;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use thim_sim::{Management, Sim, SimConfig, SimPlatform};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub const NOW: i64 = 1_795_000_000;
pub const HOUR: i64 = 3600;
pub const DAY: i64 = 24 * HOUR;
pub const SGX_FMSPC: &str = "20606C53494D";
pub const TDX_FMSPC: &str = "B0C06F53494D";
pub const SGX_TCB: &str = "/sgx/certification/v4/tcb?fmspc=B0C06F53494D";
pub const TDX_TCB: &str = "/tdx/certification/v4/tcb?fmspc=B0C06F53494D";
pub const QE: &str = "/sgx/certification/v4/qe/identity";
pub const PLATFORM_CRL: &str = "/sgx/certification/v4/pckcrl?ca=platform&encoding=der";
pub const ROOT_CRL: &str = "/IntelSGXRootCA.der";

pub const PCKCERT: &str = "/sgx/certification/v4/pckcert";
pub const PCKCERTS: &str = "/sgx/certification/v4/pckcerts";
pub const PCKCERTS_CONFIG: &str = "/sgx/certification/v4/pckcerts/config";
pub const REGISTER: &str = "/sgx/registration/v1/platform";
pub const ADD_PACKAGE: &str = "/sgx/registration/v1/package";
pub const JSON: &str = "application/json";
pub const OCTETS: &str = "application/octet-stream";

/// A simulator and its clock.
pub struct Simulated {
    pub sim: Sim,
    clock: Arc<AtomicI64>,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Simulated {
    pub async fn start() -> Self {
        Self::start_with_key(None).await
    }

    pub async fn start_with_key(api_key: Option<&str>) -> Self {
        let clock = Arc::new(AtomicI64::new(NOW));
        let read = Arc::clone(&clock);
        let any_port = "127.0.0.1:0".parse().unwrap();
        let config = SimConfig {
            pcs_listen: any_port,
            management_listen: any_port,
            now: Arc::new(move || read.load(Ordering::SeqCst)),
            api_key: api_key.map(str::to_owned),
        };
        let sim = thim_sim::start(config).await.unwrap();
        Self { sim, clock }
    }

    pub fn advance(&self, seconds: i64) {
        self.clock.fetch_add(seconds, Ordering::SeqCst);
    }

    pub fn now(&self) -> i64 {
        self.clock.load(Ordering::SeqCst)
    }

    pub fn management(&self) -> Management {
        self.sim.management()
    }

    pub async fn get(&self, target: &str) -> Answer {
        self.try_get(target).await.unwrap()
    }

    pub async fn try_get(&self, target: &str) -> io::Result<Answer> {
        let url = self.sim.pcs_url();
        exchange(&url, "GET", target, &[], "").await
    }

    /// A POST to the PCS port.
    pub async fn post(&self, target: &str, content_type: &str, body: impl AsRef<[u8]>) -> Answer {
        let headers = [("Content-Type", content_type)];
        let url = self.sim.pcs_url();
        exchange(&url, "POST", target, &headers, body)
            .await
            .unwrap()
    }

    /// `pckcerts` by encrypted PPID.
    pub async fn certificates(&self, platform: &SimPlatform) -> Answer {
        self.get(&pckcerts_target(platform)).await
    }

    /// `pckcerts` by manifest.
    pub async fn certificates_by_manifest(&self, manifest: &[u8]) -> Answer {
        let body = manifest_body(manifest, "");
        self.post(PCKCERTS, JSON, body).await
    }

    /// Direct registration.
    pub async fn register(&self, manifest: &[u8]) -> Answer {
        self.post(REGISTER, OCTETS, manifest).await
    }

    /// The first platform of a family: those of the start come first.
    pub fn platform_of(&self, fmspc: &str) -> SimPlatform {
        let platforms = self.management().platforms();
        platforms.into_iter().find(|p| p.fmspc == fmspc).unwrap()
    }

    /// A request to the management port; the JSON that came, after its status.
    pub async fn manage(&self, method: &str, path: &str, body: &str) -> (u16, serde_json::Value) {
        let url = self.sim.management_url();
        let answer = exchange(&url, method, path, &[], body).await.unwrap();
        (answer.status, serde_json::from_slice(&answer.body).unwrap())
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// `pckcerts` by encrypted PPID.
pub fn pckcerts_target(platform: &SimPlatform) -> String {
    let ppid = HEXUPPER.encode(&platform.encrypted_ppid);
    format!("{PCKCERTS}?encrypted_ppid={ppid}&pceid=0000")
}

/// `pckcert` by encrypted PPID, for the raw TCB the platform has.
pub fn pckcert_target(platform: &SimPlatform) -> String {
    let ppid = HEXUPPER.encode(&platform.encrypted_ppid);
    let [cpusvn, pcesvn] = raw_tcb(platform);
    format!("{PCKCERT}?encrypted_ppid={ppid}&cpusvn={cpusvn}&pcesvn={pcesvn}&pceid=0000")
}

/// The body of the POST calls; `more` are members behind a comma.
pub fn manifest_body(manifest: &[u8], more: &str) -> String {
    let manifest = HEXUPPER.encode(manifest);
    format!(r#"{{"platformManifest":"{manifest}","pceid":"0000"{more}}}"#)
}

/// CPUSVN and PCESVN as requests write them.
pub fn raw_tcb(platform: &SimPlatform) -> [String; 2] {
    let pcesvn = platform.pce_svn.to_le_bytes();
    [HEXUPPER.encode(&platform.cpu_svn), HEXUPPER.encode(&pcesvn)]
}

pub async fn exchange(
    url: &str,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: impl AsRef<[u8]>,
) -> io::Result<Answer> {
    let body = body.as_ref();
    let mut request = format!("{method} {target} HTTP/1.1\r\nHost: sim\r\nConnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    let request = [request.as_bytes(), body].concat();
    read_answer(&raw(url, &request).await?)
}

/// Everything the server sends to these bytes until it closes.
pub async fn raw(url: &str, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).await?;
    stream.write_all(request).await?;
    let mut received = Vec::new();
    stream.read_to_end(&mut received).await?;
    Ok(received)
}

/// Splits one answer; an end before the promised length is `UnexpectedEof`.
pub fn read_answer(received: &[u8]) -> io::Result<Answer> {
    let ended = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let head_bytes = received
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .ok_or_else(ended)?;
    let head = std::str::from_utf8(&received[..head_bytes]).unwrap();
    let body = &received[head_bytes + 4..];
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap();
    let answer = Answer {
        status: status.parse().unwrap(),
        headers: lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        body: body.to_vec(),
    };
    match answer.header("content-length") {
        Some(length) if length.parse::<usize>().unwrap() > body.len() => Err(ended()),
        Some(_) | None => Ok(answer),
    }
}

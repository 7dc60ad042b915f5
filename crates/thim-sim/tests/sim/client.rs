//! A client that hides nothing: it writes a request, reads until the end, and says what came.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use thim_sim::{Management, Sim, SimConfig};
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

pub async fn exchange(
    url: &str,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> io::Result<Answer> {
    let mut request = format!("{method} {target} HTTP/1.1\r\nHost: sim\r\nConnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    read_answer(&raw(url, request.as_bytes()).await?)
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

//! Peers that are idle, slow, many or large keep nobody else out.

#![allow(clippy::unwrap_used, reason = "a panic is the report")]

mod harness;

use std::time::{Duration, Instant};

use harness::{Bench, PATH, get, raw};
use thim_agent::config::Config;
use thim_agent::span::Span;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn started(change: impl Fn(&mut Config)) -> (Bench, thim_agent::server::Server) {
    let bench = Bench::new().await;
    let chip = bench.milan();
    bench.provision(&chip, &chip.reported);
    let mut config = bench.config();
    change(&mut config);
    let server = bench.start(&config).await;
    (bench, server)
}

/// Reads until the other side closes; what came, and how long it took.
async fn until_closed(mut stream: TcpStream) -> (Vec<u8>, Duration) {
    let begun = Instant::now();
    let mut text = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut text));
    // A reset closes too.
    let _ = read.await.expect("it is closed in time");
    (text, begun.elapsed())
}

#[tokio::test]
async fn idle_and_slow_peers_lose_their_place() {
    let (_bench, server) = started(|config| {
        config.http.idle_timeout = Span::from_millis(150);
        config.http.connection_timeout = Span::from_millis(600);
    })
    .await;
    // Says nothing; says half; said something once and stays; sends a byte now and then.
    let silent = TcpStream::connect(server.http).await.unwrap();
    assert!(until_closed(silent).await.1 < Duration::from_secs(2));
    let mut half = TcpStream::connect(server.http).await.unwrap();
    half.write_all(b"GET /metadata HTTP/1.1\r\nHost: ")
        .await
        .unwrap();
    assert!(until_closed(half).await.1 < Duration::from_secs(2));
    let mut stays = TcpStream::connect(server.http).await.unwrap();
    let request = format!(
        "GET {PATH} HTTP/1.1\r\nHost: {}\r\nMetadata: true\r\n\r\n",
        server.http
    );
    stays.write_all(request.as_bytes()).await.unwrap();
    let (text, took) = until_closed(stays).await;
    assert!(text.starts_with(b"HTTP/1.1 200") && took < Duration::from_secs(2));
    // Busy all the time: the whole has an end too.
    let mut busy = TcpStream::connect(server.http).await.unwrap();
    let begun = Instant::now();
    let mut answers = 0;
    let mut bytes = vec![0; 64 * 1024];
    while busy.write_all(request.as_bytes()).await.is_ok() {
        match busy.read(&mut bytes).await {
            Ok(read) if read > 0 => answers += 1,
            _ => break,
        }
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{answers} answers"
        );
    }
    assert!(answers > 0);
    server.stop().await;
}

#[tokio::test]
async fn places_are_counted() {
    let (_bench, server) = started(|config| {
        config.http.connections = 3;
        config.http.connections_per_peer = 2;
    })
    .await;
    let open = |n: usize| async move {
        let mut streams = Vec::new();
        for _ in 0..n {
            streams.push(TcpStream::connect(server.http).await.unwrap());
        }
        streams
    };
    let held = open(2).await;
    let mut third = open(1).await;
    let (text, took) = until_closed(third.pop().unwrap()).await;
    assert!(
        text.is_empty() && took < Duration::from_secs(2),
        "one peer has two places"
    );
    drop(held);
    // The places are given back as the connections end.
    let begun = Instant::now();
    loop {
        let mut stream = TcpStream::connect(server.http).await.unwrap();
        let request = format!(
            "GET {PATH} HTTP/1.1\r\nHost: {}\r\nMetadata: true\r\nConnection: close\r\n\r\n",
            server.http
        );
        let sent = stream.write_all(request.as_bytes()).await;
        if sent.is_ok() && until_closed(stream).await.0.starts_with(b"HTTP/1.1 200") {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
    server.stop().await;
}

#[tokio::test]
async fn heads_have_a_limit() {
    let (_bench, server) = started(|_| {}).await;
    let head = |padding: usize| {
        format!(
            "GET {PATH} HTTP/1.1\r\nHost: {}\r\nMetadata: true\r\nConnection: close\r\nPadding: {}\r\n\r\n",
            server.http,
            "x".repeat(padding)
        )
    };
    assert_eq!(raw(server.http, head(7000).as_bytes()).await.status, 200);
    assert_eq!(raw(server.http, head(9000).as_bytes()).await.status, 431);
    let many: String = (0..70).map(|n| format!("h{n}: 1\r\n")).collect();
    let many = head(1).replace("Padding", &format!("{many}Padding"));
    assert_eq!(raw(server.http, many.as_bytes()).await.status, 431);
    assert_eq!(raw(server.http, b"NONSENSE\r\n\r\n").await.status, 400);
    assert_eq!(get(server.http, PATH).await.status, 200);
    server.stop().await;
}

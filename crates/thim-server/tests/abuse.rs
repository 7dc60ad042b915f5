//! Rude clients: made-up raw TCBs, wrong tokens, long bodies, forms and path tricks. Each is answered as it deserves, what
//! it leaves behind has a limit, and an honest client is answered all along. `bench/abuse` measures what it costs.

mod harness;
mod pccs_support;

use harness::Fleet;
use pccs_support::{pckcert, platform, post, single, with_pccs_tokens};
use thim_client::{Diagnosis, PlatformRecord, PlatformSummary};
use thim_sim::SimPlatform;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PLATFORMS: &str = "/sgx/certification/v4/platforms";

/// A service with a platform, whose host is the honest client.
async fn start() -> (Fleet, SimPlatform) {
    let fleet = Fleet::start_with(with_pccs_tokens).await;
    let honest = platform(&fleet, single());
    assert_eq!(post(&fleet, &honest).await.status, 200);
    (fleet, honest)
}

async fn is_served(fleet: &Fleet, honest: &SimPlatform) {
    let answer = fleet.get(&pckcert(honest)).await;
    assert_eq!(answer.status, 200, "{:?}", answer.headers);
}

async fn own<T: serde::de::DeserializeOwned>(fleet: &Fleet, path: &str) -> T {
    let token = std::fs::read_to_string(fleet.data().join("admin.token")).expect("a token");
    let get = fleet.client.get(fleet.url(path)).bearer_auth(token.trim());
    let answer = fleet.send(get).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_slice(&answer.body).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_made_up_raw_tcbs_leave_32_rows_and_a_healthy_platform() {
    let (mut fleet, honest) = start().await;
    let svn = data_encoding::HEXUPPER.encode(&honest.cpu_svn);
    let pce_svn = data_encoding::HEXUPPER.encode(&honest.pce_svn.to_le_bytes());
    let real = format!("&cpusvn={svn}&pcesvn={pce_svn}");
    let request = pckcert(&honest);
    assert!(request.contains(&real));
    // What a service remembers of one platform's choices is gone with a restart: four times as much may be noted.
    for round in 0..4 {
        for number in 0..500 {
            let last = format!("{:06X}", round * 500 + number);
            // Newer than anything, and older: some get a certificate, some none.
            let made_up = match number % 2 {
                0 => format!("&cpusvn={}{last}&pcesvn=FFFF", &svn[..26]),
                _ => format!("&cpusvn={}{last}&pcesvn=0000", "0".repeat(26)),
            };
            let answer = fleet.get(&request.replace(&real, &made_up)).await;
            let expected = if number % 2 == 0 { 200 } else { 404 };
            assert_eq!(answer.status, expected, "{made_up}: {:?}", answer.headers);
            if number % 100 == 99 {
                is_served(&fleet, &honest).await;
            }
        }
        fleet.advance(60).await;
        fleet.restart().await;
    }
    let name = format!(
        "{}:{}",
        data_encoding::HEXUPPER.encode(&honest.qe_id),
        data_encoding::HEXUPPER.encode(&honest.pce_id)
    );
    let record: PlatformRecord = own(&fleet, &format!("/thim/v1/platforms/{name}")).await;
    assert_eq!(record.raw_tcbs.len(), 32, "as many as are kept");
    let registered = format!("{svn}{pce_svn}");
    assert!(
        record.raw_tcbs.iter().any(|seen| seen.tcb == registered),
        "what was registered is pushed out by nobody: {registered} {:#?}",
        record.raw_tcbs
    );
    assert_eq!(record.names.len(), 1);
    let all: Vec<PlatformSummary> = own(&fleet, "/thim/v1/platforms").await;
    assert_eq!(all.len(), 1);
    let found: Diagnosis = own(&fleet, &format!("/thim/v1/platforms/{name}/doctor")).await;
    assert!(found.healthy, "{found:#?}");
    is_served(&fleet, &honest).await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_wrong_tokens_and_then_none_is_looked_at_for_a_while() {
    let (fleet, honest) = start().await;
    let ask = |token: String| {
        let get = fleet.client.get(fleet.url(PLATFORMS));
        fleet.send(get.header("admin-token", token))
    };
    for number in 0..60 {
        let answer = ask(format!("wrong-{number}")).await;
        let (expected, cause) = if number < 20 {
            (401, "token-wrong;")
        } else {
            (429, "too-many-failures;")
        };
        assert_eq!(answer.status, expected, "{number}");
        assert!(answer.header("thim-cause").starts_with(cause), "{number}");
        assert_eq!(answer.header("retry-after").is_empty(), number < 20);
        is_served(&fleet, &honest).await;
    }
    assert_eq!(ask("adminpw".to_owned()).await.status, 429);
    // One guess each three seconds; a right token is none.
    fleet.clock.advance_millis(3_000);
    for _ in 0..3 {
        assert_eq!(ask("adminpw".to_owned()).await.status, 200);
    }
    assert_eq!(ask("wrong".to_owned()).await.status, 401);
    assert_eq!(ask("adminpw".to_owned()).await.status, 429);
    is_served(&fleet, &honest).await;
    fleet.stop().await;
}

/// A connection of its own, which sends exactly what it is told.
struct Raw(TcpStream);

impl Raw {
    async fn connect(fleet: &Fleet) -> Self {
        let http = fleet.server().http.expect("HTTP is on");
        Self(TcpStream::connect(http).await.expect("connected"))
    }

    /// The status of the answer to a request, read whole; `None` where the connection was closed before it, in order.
    async fn ask(&mut self, request: &[u8]) -> Option<u16> {
        if self.0.write_all(request).await.is_err() {
            return None;
        }
        let mut answer = Vec::new();
        let end = loop {
            if let Some(end) = answer.windows(4).position(|part| part == b"\r\n\r\n") {
                break end + 4;
            }
            // A reset is an error here; an end is 0.
            if self.0.read_buf(&mut answer).await.expect("no reset") == 0 {
                assert!(answer.is_empty(), "it broke off");
                return None;
            }
        };
        let head = std::str::from_utf8(&answer[..end]).expect("text");
        let head = head.to_ascii_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().expect("a number"));
        let status = head[9..12].parse().expect("a status");
        while answer.len() < end + length {
            let read = self.0.read_buf(&mut answer).await.expect("no reset");
            assert_ne!(read, 0, "it broke off");
        }
        Some(status)
    }
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes()
}

fn post_of(path: &str, head: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{head}\r\n");
    [head.as_bytes(), body].concat()
}

const JSON: &str = "Content-Type: application/json\r\n";
const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn long_bodies_are_answered_and_their_connections_go_on_or_end_in_order() {
    let (fleet, honest) = start().await;
    let limit = fleet.config.limits.body_bytes;
    let with_token = format!("{JSON}user-token: userpw\r\n");
    for (what, head, length, expected) in [
        ("without a token", JSON, 2_000_000, 401),
        (
            "longer than is taken, without a token",
            JSON,
            limit + 1,
            401,
        ),
        ("not JSON", &*with_token, limit, 400),
        ("longer than is taken", &*with_token, limit + 1, 413),
    ] {
        for _ in 0..5 {
            let mut raw = Raw::connect(&fleet).await;
            let request = post_of(PLATFORMS, head, &vec![b'x'; length]);
            assert_eq!(raw.ask(&request).await, Some(expected), "{what}");
            let next = raw.ask(&get(&pckcert(&honest))).await;
            assert!(matches!(next, None | Some(200)), "{what}: {next:?}");
            is_served(&fleet, &honest).await;
        }
    }
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_and_path_tricks_get_their_exact_statuses() {
    let (fleet, honest) = start().await;
    let mut raw = Raw::connect(&fleet).await;
    let with_token = format!("{FORM}user-token: userpw\r\n");
    for (head, body, expected) in [
        (FORM, "qe_id=x&pce_id=0000", 401),
        (&*with_token, "qe_id=x&pce_id=0000", 400),
        (&*with_token, "qe_id[a]=x&pce_id=0000", 400),
        (&*with_token, "", 400),
        (&*with_token, "%ff%00=&&&=&", 400),
    ] {
        let request = post_of(PLATFORMS, head, body.as_bytes());
        assert_eq!(raw.ask(&request).await, Some(expected), "{body}");
    }
    for (path, expected) in [
        ("/sgx/certification/v4/../v4/platforms", 404),
        ("/sgx/certification/v4/pckcert/../platforms", 404),
        ("/sgx/certification/v4/pckcert/..", 404),
        ("/sgx%2Fcertification/v4/pckcert", 404),
        ("/sgx/certification/v4/%70latforms", 404),
        ("//sgx/certification/v4/pckcert", 404),
        ("/sgx/certification/v4//pckcert", 404),
        ("/sgx/certification/v4/pckcert%00", 404),
        ("/sgx/certification/v4/platforms/..%2f..%2fthim.db", 404),
        ("/sgx/certification/v4/platforms;x=1", 404),
        ("/sgx/certification/v4/pckcert?qeid[a]=1", 400),
        ("/sgx/certification/v4/pckcert?qeid=%00", 400),
        ("/sgx/certification/v4/pckcert?qeid=%ff", 400),
        ("/metadata/THIM/sgx/certification/v4/pckcert", 400),
        // These two are lists with secrets in them, and want a token however they are written.
        ("/sgx/certification/v4/platforms", 401),
        ("/SGX/Certification/V4/PLATFORMS/", 401),
        ("/sgx/certification/v4/platformcollateral/../platforms", 401),
        ("/thim/v1/platforms/../../etc/passwd", 404),
        ("/thim/v1/platforms/%2e%2e%2f%2e%2e%2fetc%2fpasswd", 401),
        ("/thim/v1/platforms/%00", 401),
        ("/thim/v1/platforms/", 404),
        ("/thim/../etc/passwd", 404),
        ("/admin.token", 404),
        ("/%2e%2e/data/admin.token", 404),
    ] {
        assert_eq!(raw.ask(&get(path)).await, Some(expected), "{path}");
        is_served(&fleet, &honest).await;
    }
    // All on one connection, which is still good.
    assert_eq!(raw.ask(&get(&pckcert(&honest))).await, Some(200));
    fleet.stop().await;
}

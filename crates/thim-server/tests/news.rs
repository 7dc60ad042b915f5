//! News, from the simulator's acts to a webhook's door, the API and the feed: told once, in order, restarts included.

mod harness;

use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use harness::Fleet;
use serde_json::Value;
use thim_server::news::Delivered;
use thim_server::upstream::WebhookConfig;
use thim_sim::{Fault, FaultRule};

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const OLD_SECRET: &str = "whsec_AAAAsBQIhrscChlQIMV+b5sSYspob7oD";
const TOKEN: &str = "a-path-that-nobody-else-may-see";
const DAY: i64 = 86_400;

/// How a receiver answers next.
#[derive(Clone, Copy, Debug)]
enum How {
    Gone,
    Huge,
    Later,
    Redirect,
    Status(u16),
    Take,
}

/// A receiver on port 0 that keeps what it took.
#[derive(Clone, Default)]
struct Receiver {
    how: Arc<Mutex<Vec<How>>>,
    seen: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Receiver {
    async fn start(&self) -> u16 {
        let router = axum::Router::new()
            .fallback(receive)
            .with_state(self.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let port = listener.local_addr().expect("an address").port();
        tokio::spawn(async move { axum::serve(listener, router).await });
        port
    }

    /// The next answers, first one first; after them everything is taken.
    fn answers(&self, how: &[How]) {
        *self.how.lock().expect("a lock") = how.iter().rev().copied().collect();
    }

    /// What was taken since the last look: types and subjects.
    fn taken(&self) -> Vec<String> {
        let seen = std::mem::take(&mut *self.seen.lock().expect("a lock"));
        let name = |event: &Value| event["subject"].as_str().expect("text").to_owned();
        seen.iter().map(|(_, event)| name(event)).collect()
    }
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> Response {
    let header = |name: &str| headers[name].to_str().expect("text").to_owned();
    let (id, signature) = (header("webhook-id"), header("webhook-signature"));
    let timestamp: i64 = header("webhook-timestamp").parse().expect("a number");
    assert_eq!(header("content-type"), "application/cloudevents+json");
    // Judged by another implementation, by either secret.
    let wanted: Vec<String> = [SECRET, OLD_SECRET]
        .iter()
        .map(|secret| {
            let webhook = standardwebhooks::Webhook::new(secret).expect("a secret");
            webhook.sign(&id, timestamp, &body).expect("a signature")
        })
        .collect();
    assert_eq!(signature, wanted.join(" "));
    let event: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(event["specversion"], "1.0");
    assert_eq!(event["id"], id);
    assert_eq!(event["source"], "https://thim.example");
    assert!(event["data"]["text"].is_string());
    let how = receiver.how.lock().expect("a lock").pop();
    match how.unwrap_or(How::Take) {
        How::Gone => StatusCode::GONE.into_response(),
        How::Later => (
            StatusCode::TOO_MANY_REQUESTS,
            [(header::RETRY_AFTER, "300")],
        )
            .into_response(),
        How::Redirect => (StatusCode::FOUND, [(header::LOCATION, "/elsewhere")]).into_response(),
        How::Status(status) => StatusCode::from_u16(status).expect("one").into_response(),
        how @ (How::Huge | How::Take) => {
            receiver.seen.lock().expect("a lock").push((id, event));
            match how {
                How::Huge => vec![b'x'; 8 * 1024 * 1024].into_response(),
                _ => StatusCode::NO_CONTENT.into_response(),
            }
        }
    }
}

/// A fleet whose lists are known, and a webhook. The server runs; what was there is no news.
async fn fleet(receiver: &Receiver) -> Fleet {
    let port = receiver.start().await;
    let mut fleet = Fleet::sim_only(|_| {}).await;
    let secrets = fleet.data().with_file_name("secrets");
    std::fs::write(&secrets, format!("{SECRET}\n{OLD_SECRET}\n")).expect("written");
    fleet.config.news.source = "https://thim.example".to_owned();
    fleet.config.webhook = vec![WebhookConfig {
        name: "ops".to_owned(),
        url: format!("http://127.0.0.1:{port}/{TOKEN}?key={TOKEN}"),
        secret_file: secrets,
        events: Vec::new(),
        allow_http: false,
        ca_file: None,
        proxy: None,
        timeout: "10s".parse().expect("a span"),
    }];
    fleet.serve().await;
    fleet.refresh().await;
    look(&fleet).await;
    deliver(&fleet).await;
    receiver.taken();
    fleet
}

async fn look(fleet: &Fleet) {
    fleet
        .server()
        .news
        .look(fleet.clock.now())
        .await
        .expect("the store works");
}

/// Delivers until there is nothing due.
async fn deliver(fleet: &Fleet) -> Delivered {
    loop {
        let delivered = fleet.server().news.deliver(0, &fleet.clock).await;
        match delivered.expect("the store works") {
            Delivered::Done | Delivered::Failed => {}
            other => return other,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_that_moves_is_told_at_60_30_and_7_days_once_each_restart_included() {
    let receiver = Receiver::default();
    let mut fleet = fleet(&receiver).await;
    // Whatever of this was near at the start is told by now.
    let moves = {
        let view = fleet.server().collateral.view();
        view.lists.standard_moves(fleet.clock.now(), 400)
    };
    let (at, number) = *moves
        .iter()
        .find(|(at, _)| at.since(fleet.clock.now()) > 61 * DAY)
        .expect("a move that is far off");
    let subject = format!("intel/standard/{number}");
    for days in [60, 30, 7] {
        let to = at.plus_secs(-days * DAY);
        let before = to.since(fleet.clock.now()) - 1;
        fleet.clock.advance_millis(before * 1000);
        look(&fleet).await;
        deliver(&fleet).await;
        assert!(
            !receiver.taken().contains(&subject),
            "{days} days and a second before"
        );
        fleet.clock.advance_millis(1000);
        look(&fleet).await;
        fleet.restart().await;
        look(&fleet).await;
        look(&fleet).await;
        deliver(&fleet).await;
        let told = receiver.taken();
        let told = told.iter().filter(|told| **told == subject).count();
        assert_eq!(told, 1, "{days} days before");
    }
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_number_is_told_in_order_to_a_receiver_that_fails_first() {
    let receiver = Receiver::default();
    let mut fleet = fleet(&receiver).await;
    receiver.answers(&[How::Status(500), How::Redirect, How::Later, How::Huge]);
    fleet.clock.advance_millis(7200 * 1000);
    fleet.management().recovery(0).expect("a number");
    fleet.refresh().await;
    look(&fleet).await;
    assert_eq!(deliver(&fleet).await, Delivered::Wait { secs: 10 });
    fleet.clock.advance_millis(10_000);
    fleet.management().recovery(0).expect("another");
    assert_eq!(
        deliver(&fleet).await,
        Delivered::Wait { secs: 20 },
        "no redirect is followed"
    );
    // Killed here, what is in line is in line; the second number comes behind the first.
    fleet.restart().await;
    fleet.clock.advance_millis(20_000);
    assert_eq!(
        deliver(&fleet).await,
        Delivered::Wait { secs: 300 },
        "Retry-After"
    );
    fleet.refresh().await;
    look(&fleet).await;
    assert_eq!(receiver.taken(), [""; 0]);
    fleet.clock.advance_millis(300_000);
    assert_eq!(deliver(&fleet).await, Delivered::Idle);
    let taken = receiver.taken();
    assert_eq!(
        taken,
        ["intel/evaluation-number/21", "intel/evaluation-number/22"]
    );
    look(&fleet).await;
    assert_eq!(deliver(&fleet).await, Delivered::Idle);
    assert_eq!(receiver.taken(), [""; 0]);

    // The API and the feed have both, as another reader of Atom reads it.
    let news = fleet.get("/thim/v1/news?limit=1000").await;
    let news: Value = serde_json::from_slice(&news.body).expect("JSON");
    let last = news.as_array().expect("a list").last().expect("news");
    assert_eq!(last["subject"], "intel/evaluation-number/22");
    let feed = fleet.get("/thim/v1/news.atom").await;
    assert_eq!(feed.status, 200, "{}", feed.text());
    let read: atom_syndication::Feed = feed.text().parse().expect("Atom");
    assert!(read.id().starts_with("urn:uuid:"), "{}", read.id());
    let id = last["id"].as_str().expect("text");
    assert_eq!(read.entries()[0].id(), format!("urn:uuid:{id}"));
    assert!(!feed.text().contains(TOKEN));
    let again = fleet.client.get(fleet.url("/thim/v1/news.atom"));
    let again = again.header("If-None-Match", feed.header("etag"));
    assert_eq!(fleet.send(again).await.status, 304);
    assert_eq!(fleet.get("/thim/v1/news?limit=0").await.status, 400);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_gone_is_told_nothing_more() {
    let receiver = Receiver::default();
    let mut fleet = fleet(&receiver).await;
    receiver.answers(&[How::Gone]);
    for _ in 0..2 {
        fleet.clock.advance_millis(7200 * 1000);
        fleet.management().recovery(0).expect("a number");
        fleet.refresh().await;
        look(&fleet).await;
        assert_eq!(deliver(&fleet).await, Delivered::Gone);
        fleet.restart().await;
    }
    assert_eq!(receiver.taken(), [""; 0]);
    let told = fleet.events().await;
    let told = told
        .iter()
        .filter(|name| *name == "webhook.disabled")
        .count();
    assert_eq!(told, 1);
    let events = fleet.get("/thim/v1/events?limit=1000").await;
    assert!(
        !events.text().contains(TOKEN),
        "a URL's path and query are not told"
    );
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_source_calls_standard_is_compared_with_the_lists() {
    let receiver = Receiver::default();
    let fleet = fleet(&receiver).await;
    let server = fleet.server();
    fleet.clock.advance_millis(7 * 3600 * 1000);
    server.news.ask_for_standard(&fleet.clock).await;
    look(&fleet).await;
    let differs = |events: Vec<String>| events.iter().any(|name| name == "standard.differs");
    assert!(!differs(fleet.events().await), "they agree");
    let rule = FaultRule::new(Fault::WrongNumber).matching("update=standard");
    fleet.management().set_fault(rule).expect("a fault");
    fleet.clock.advance_millis(7 * 3600 * 1000);
    server.news.ask_for_standard(&fleet.clock).await;
    look(&fleet).await;
    deliver(&fleet).await;
    assert!(differs(fleet.events().await));
    assert_eq!(receiver.taken(), ["intel/standard"]);
    fleet.stop().await;
}

/// What was logged, by whomever.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("the log").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_receiver_is_tried_again_and_neither_its_url_nor_its_secret_is_told() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .try_init()
        .expect("the only subscriber");
    let receiver = Receiver::default();
    let mut fleet = fleet(&receiver).await;
    let alive = fleet.config.webhook[0].url.clone();
    // A port that nobody listens on: it was somebody's a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free.local_addr().expect("an address").port();
    drop(free);
    fleet.config.webhook[0].url = format!("http://127.0.0.1:{port}/{TOKEN}?key={TOKEN}");
    fleet.restart().await;
    fleet.clock.advance_millis(7200 * 1000);
    fleet.management().recovery(0).expect("a number");
    fleet.refresh().await;
    look(&fleet).await;
    assert_eq!(deliver(&fleet).await, Delivered::Wait { secs: 10 });
    let metrics = fleet.get("/metrics").await;
    let waiting = "thim_webhook_waiting{webhook=\"ops\"} 1";
    assert!(metrics.text().contains(waiting), "{}", metrics.text());
    let shown = format!("{:?}", fleet.config.webhook);
    fleet.config.webhook[0].url = alive;
    fleet.restart().await;
    fleet.clock.advance_millis(10_000);
    assert_eq!(deliver(&fleet).await, Delivered::Idle);
    assert_eq!(receiver.taken(), ["intel/evaluation-number/21"]);
    fleet.stop().await;

    let logged = log.0.lock().expect("the log").clone();
    let logged = String::from_utf8_lossy(&logged).into_owned();
    let own = logged.lines().filter(|line| line.contains("thim_server"));
    let own: Vec<&str> = own.collect();
    assert!(
        own.iter()
            .any(|line| line.contains("news was not delivered"))
    );
    for text in own.into_iter().chain([shown.as_str(), metrics.text()]) {
        assert!(!text.contains(TOKEN) && !text.contains("C2FVsBQ"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_refusal_after_a_long_outage_loses_nothing_and_ten_refusals_do() {
    let receiver = Receiver::default();
    let fleet = fleet(&receiver).await;
    let given_up = async || {
        let events = fleet.events().await;
        events
            .iter()
            .filter(|name| *name == "webhook.given-up")
            .count()
    };
    let tried = async |how: How| {
        receiver.answers(&[how]);
        fleet.clock.advance_millis(3_700_000);
        deliver(&fleet).await;
    };
    let something_new = async || {
        fleet.clock.advance_millis(60_000);
        fleet.management().recovery(0).expect("a number");
        fleet.clock.advance_millis(3_700_000);
        fleet.refresh().await;
        look(&fleet).await;
    };
    something_new().await;
    for _ in 0..12 {
        tried(How::Status(503)).await;
    }
    tried(How::Status(404)).await;
    assert_eq!((receiver.taken().len(), given_up().await), (0, 0));
    // It is well again.
    fleet.clock.advance_millis(3_700_000);
    deliver(&fleet).await;
    assert!(!receiver.taken().is_empty());

    something_new().await;
    for _ in 0..9 {
        tried(How::Status(404)).await;
    }
    assert_eq!(given_up().await, 0);
    tried(How::Status(404)).await;
    assert_eq!(given_up().await, 1);
    fleet.stop().await;
}

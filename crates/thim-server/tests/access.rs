//! Tokens and the sealing key over HTTP: who is admitted, what is judged before a body is read, and what is told.

mod harness;

use std::path::Path;

use harness::{Answer, Fleet, START, at};
use serde_json::{Value, json};
use thim_server::access::PccsHash;
use thim_server::server::{Server, World};
use thim_verify::Digest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const TOKENS: &str = "/thim/v1/tokens";

fn admin_token(fleet: &Fleet) -> String {
    let text = std::fs::read_to_string(fleet.data().join("admin.token")).expect("a token");
    text.trim().to_owned()
}

fn sha256(token: &str) -> String {
    Digest::of(token.as_bytes()).to_string()
}

fn new(token: &str, role: &str) -> Value {
    json!({"name": format!("a {role}"), "role": role, "sha256": sha256(token)})
}

async fn create(fleet: &Fleet, by: &str, body: &Value) -> Answer {
    let post = fleet.client.post(fleet.url(TOKENS)).bearer_auth(by);
    fleet.send(post.json(body)).await
}

async fn list(fleet: &Fleet, by: &str) -> Answer {
    fleet
        .send(fleet.client.get(fleet.url(TOKENS)).bearer_auth(by))
        .await
}

async fn revoke(fleet: &Fleet, by: &str, id: &str) -> Answer {
    let url = fleet.url(&format!("{TOKENS}/{id}"));
    fleet.send(fleet.client.delete(url).bearer_auth(by)).await
}

async fn rotate(fleet: &Fleet, by: &str) -> Answer {
    let post = fleet.client.post(fleet.url("/thim/v1/keys/rotate"));
    fleet.send(post.bearer_auth(by)).await
}

fn value(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

fn id(answer: &Answer) -> String {
    value(answer)["id"].as_str().expect("an id").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_lives_from_its_creation_to_its_end_across_restarts() {
    let mut fleet = Fleet::start().await;
    let admin = admin_token(&fleet);
    assert_eq!(value(&list(&fleet, &admin).await), json!([]));
    assert_eq!(list(&fleet, "word two").await.status, 401, "not yet");
    let mut second = new("word two", "admin");
    second["expires"] = json!("2026-11-24T13:00:00Z");
    let made = create(&fleet, &admin, &second).await;
    assert_eq!(made.status, 200, "{made:?}");
    assert_eq!(
        value(&made),
        json!({
            "id": &sha256("word two")[..16], "name": "a admin", "role": "admin", "scopes": [], "state": "live",
            "created": START, "expires": "2026-11-24T13:00:00Z",
        })
    );
    let third = create(&fleet, "word two", &new("word three", "admin")).await;
    assert_eq!(third.status, 200, "{third:?}");
    assert_eq!(list(&fleet, "word three").await.status, 200);

    fleet.restart().await;
    assert_eq!(list(&fleet, "word two").await.status, 200);
    fleet.advance(3599).await;
    assert_eq!(list(&fleet, "word two").await.status, 200);
    fleet.advance(1).await;
    assert_eq!(list(&fleet, "word two").await.status, 401);

    let ended = revoke(&fleet, &admin, &id(&third)).await;
    assert_eq!(
        (ended.status, &value(&ended)["state"]),
        (200, &json!("revoked"))
    );
    assert_eq!(list(&fleet, "word three").await.status, 401);
    assert_eq!(revoke(&fleet, &admin, &id(&third)).await.status, 409);
    for none in ["0123456789abcdef", &id(&third)[..15], "x"] {
        assert_eq!(revoke(&fleet, &admin, none).await.status, 404, "{none}");
    }
    fleet.restart().await;
    assert_eq!(list(&fleet, "word three").await.status, 401);
    let all = value(&list(&fleet, &admin).await);
    let states: Vec<&Value> = all
        .as_array()
        .expect("a list")
        .iter()
        .map(|token| &token["state"])
        .collect();
    assert_eq!(states.len(), 2);
    assert!(states.contains(&&json!("expired")) && states.contains(&&json!("revoked")));

    // What is told of it names it and shows nothing that would let anyone use it.
    let events = fleet.get("/thim/v1/events?limit=1000").await;
    for line in [
        "token a admin (admin) is created, by the admin token",
        "token a admin (admin) is created, by a admin",
        "token a admin (admin) is revoked, by the admin token",
    ] {
        assert!(events.text().contains(line), "{}", events.text());
    }
    let metrics = fleet.get("/metrics").await;
    for line in [
        "thim_events_total{event=\"token.created\"}",
        "thim_access_denied_total{reason=\"wrong\"} 1\n",
    ] {
        assert!(metrics.text().contains(line), "{}", metrics.text());
    }
    for shown in [events.text(), metrics.text(), &all.to_string()] {
        for secret in [admin.as_str(), "word two", "word three"] {
            assert!(
                !shown.contains(secret) && !shown.contains(&sha256(secret)),
                "{shown}"
            );
        }
    }
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_and_scopes_hold_on_every_route_and_nobody_makes_more_than_they_are() {
    let fleet = Fleet::start().await;
    let admin = admin_token(&fleet);
    let narrow = |token: &str, scopes: Value| {
        let mut body = new(token, "admin");
        body["scopes"] = scopes;
        body
    };
    for body in [
        new("reader", "reader"),
        new("registrar", "registrar"),
        narrow(
            "clerk",
            json!(["tokens", "platforms:read", "baselines:read"]),
        ),
        narrow("smith", json!(["keys"])),
        narrow("curator", json!(["collateral"])),
    ] {
        let made = create(&fleet, &admin, &body).await;
        assert_eq!(made.status, 200, "{made:?}");
    }
    for (token, tokens, keys, collateral) in [
        ("reader", 403, 403, 403),
        ("registrar", 403, 403, 403),
        ("clerk", 200, 403, 403),
        ("smith", 403, 200, 403),
        ("curator", 403, 403, 200),
        (admin.as_str(), 200, 200, 200),
    ] {
        assert_eq!(list(&fleet, token).await.status, tokens, "{token}");
        assert_eq!(rotate(&fleet, token).await.status, keys, "{token}");
        let import = fleet.client.post(fleet.url("/thim/v1/import"));
        let imported = fleet
            .send(import.bearer_auth(token).body(r#"{"files":[]}"#))
            .await;
        assert_eq!(imported.status, collateral, "{token}");
        let refresh = fleet.client.post(fleet.url("/thim/v1/refresh"));
        let refreshed = fleet.send(refresh.bearer_auth(token).body("{}")).await;
        assert_eq!(refreshed.status, collateral, "{token}");
        let plan = fleet.client.post(fleet.url("/thim/v1/refresh"));
        let planned = fleet
            .send(plan.bearer_auth(token).body(r#"{"dry_run":true}"#))
            .await;
        assert_eq!(planned.status, 200, "a plan is open to everybody: {token}");
    }
    // The clerk may read platforms and baselines and manage tokens, and so may those it makes.
    for (body, status) in [
        (new("a", "reader"), 200),
        (narrow("b", json!(["tokens"])), 200),
        (new("c", "registrar"), 403),
        (new("d", "admin"), 403),
        (narrow("e", json!(["tokens", "keys"])), 403),
    ] {
        let made = create(&fleet, "clerk", &body).await;
        assert_eq!(made.status, status, "{body} {made:?}");
    }
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_token_is_refused_and_says_which_part() {
    let fleet = Fleet::start().await;
    let admin = admin_token(&fleet);
    let with = |name: &str, value: Value| {
        let mut body = new("a token", "registrar");
        body[name] = value;
        body
    };
    for (name, good, bad) in [
        ("name", json!("n".repeat(64)), json!("n".repeat(65))),
        ("name", json!("ü"), json!("")),
        ("name", json!("two words"), json!("two\nlines")),
        ("role", json!("reader"), json!("root")),
        ("scopes", json!(["platforms:read"]), json!(["platforms"])),
        ("scopes", json!(["platforms:register"]), json!(["keys"])),
        ("expires", json!("2026-11-24T12:00:01Z"), json!(START)),
        ("expires", json!(null), json!("tomorrow")),
        ("sha256", json!(sha256("x")), json!(&sha256("x")[1..])),
    ] {
        let refused = create(&fleet, &admin, &with(name, bad.clone())).await;
        assert_eq!(refused.status, 400, "{name} {bad}: {refused:?}");
        assert!(refused.text().contains(name), "{name}: {}", refused.text());
        let mut body = with(name, good);
        if name != "sha256" {
            body["sha256"] = json!(sha256(&body.to_string()));
        }
        let made = create(&fleet, &admin, &body).await;
        assert_eq!(made.status, 200, "{body}: {made:?}");
        let again = create(&fleet, &admin, &body).await;
        assert_eq!(again.status, 409, "{body}: {again:?}");
    }
    let unknown = create(&fleet, &admin, &with("token", json!("a token"))).await;
    assert_eq!(
        unknown.status, 400,
        "the token itself is not wanted: {unknown:?}"
    );
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_an_end_of_tokens_and_ended_ones_make_room() {
    let mut fleet = Fleet::start().await;
    let admin = admin_token(&fleet);
    if let Some(server) = fleet.server.take() {
        server.stop().await;
    }
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(fleet.data().join("thim.db"));
    let mut connection = <sqlx::SqliteConnection as sqlx::Connection>::connect_with(&options)
        .await
        .expect("opens");
    let mut tx = sqlx::Connection::begin(&mut connection)
        .await
        .expect("begins");
    for number in 0..9_999 {
        let hash = sha256(&format!("token {number}"));
        sqlx::query("INSERT INTO token (id, hash, name, role, scopes, created) VALUES ($1, $2, 'n', 'reader', '', $3)")
            .bind(&hash[..16])
            .bind(&hash)
            .bind(number)
            .execute(&mut *tx)
            .await
            .expect("inserted");
    }
    tx.commit().await.expect("committed");
    sqlx::Connection::close(connection).await.expect("closed");
    fleet.serve().await;
    assert_eq!(
        create(&fleet, &admin, &new("the last", "reader"))
            .await
            .status,
        200
    );
    let full = create(&fleet, &admin, &new("one more", "reader")).await;
    assert_eq!(full.status, 409, "{full:?}");
    assert!(full.text().contains("too many"), "{}", full.text());
    let ended = revoke(&fleet, &admin, &sha256("token 5000")[..16]).await;
    assert_eq!(ended.status, 200, "{ended:?}");
    assert_eq!(
        create(&fleet, &admin, &new("one more", "reader"))
            .await
            .status,
        200
    );
    let rows = value(&list(&fleet, &admin).await);
    let rows = rows.as_array().expect("a list");
    assert_eq!(rows.len(), 10_000);
    assert!(
        rows.iter().all(|row| row["state"] == "live"),
        "the one that ended has gone"
    );
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_say_what_is_wanted_and_a_guesser_waits_with_everybody_at_its_address() {
    let fleet = Fleet::start().await;
    let admin = admin_token(&fleet);
    let missing = fleet.get(TOKENS).await;
    assert_eq!(
        (missing.status, missing.header("www-authenticate")),
        (401, "Bearer")
    );
    assert_eq!(missing.header("content-type"), "application/problem+json");
    let reader = create(&fleet, &admin, &new("reader", "reader")).await;
    assert_eq!(reader.status, 200);
    let refused = list(&fleet, "reader").await;
    assert_eq!(
        (refused.status, refused.header("www-authenticate")),
        (403, "")
    );
    for guess in 0..20 {
        let wrong = list(&fleet, &format!("guess {guess}")).await;
        assert_eq!(
            (wrong.status, wrong.header("www-authenticate")),
            (401, "Bearer")
        );
    }
    for token in ["one more", &admin, "reader"] {
        let over = list(&fleet, token).await;
        assert_eq!(
            (over.status, over.header("retry-after")),
            (429, "3"),
            "{token}"
        );
    }
    // Nothing a caller says of where it comes from is believed.
    let elsewhere = fleet
        .client
        .get(fleet.url(TOKENS))
        .bearer_auth(&admin)
        .header("x-forwarded-for", "198.51.100.1")
        .header("forwarded", "for=198.51.100.1");
    assert_eq!(fleet.send(elsewhere).await.status, 429);
    // What is open stays open.
    assert_eq!(fleet.get("/thim/v1/status").await.status, 200);
    assert_eq!(
        fleet.get("/sgx/certification/v4/rootcacrl").await.status,
        200
    );
    fleet.clock.advance_millis(2_999);
    assert_eq!(list(&fleet, &admin).await.status, 429);
    fleet.clock.advance_millis(1);
    assert_eq!(list(&fleet, &admin).await.status, 200);
    fleet.stop().await;
}

/// Sends a head that announces a body, and nothing of the body; the status of what comes back.
async fn status_before_the_body(
    fleet: &Fleet,
    path: &str,
    token: Option<&str>,
    bytes: usize,
) -> u16 {
    let address = fleet.server().http.expect("HTTP is on");
    let mut stream = tokio::net::TcpStream::connect(address)
        .await
        .expect("connects");
    let authorization = token.map_or_else(String::new, |token| {
        format!("authorization: Bearer {token}\r\n")
    });
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: thim\r\n{authorization}content-type: application/json\r\ncontent-length: {bytes}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut start = [0; 12];
    let read = stream.read_exact(&mut start);
    tokio::time::timeout(std::time::Duration::from_secs(20), read)
        .await
        .expect("an answer before the body")
        .expect("read");
    let text = std::str::from_utf8(&start).expect("text");
    text[9..].parse().expect("a status")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_judged_before_a_body_is_read() {
    let fleet = Fleet::start().await;
    let admin = admin_token(&fleet);
    assert_eq!(
        create(&fleet, &admin, &new("reader", "reader"))
            .await
            .status,
        200
    );
    const LONG: usize = 2 * 1024 * 1024;
    for path in [
        "/thim/v1/import",
        TOKENS,
        "/thim/v1/keys/rotate",
        "/thim/v1/editions/0123456789abcdef/release",
    ] {
        for (token, status) in [(None, 401), (Some("wrong"), 401), (Some("reader"), 403)] {
            let found = status_before_the_body(&fleet, path, token, LONG).await;
            assert_eq!(found, status, "{path} {token:?}");
        }
    }
    let refresh = "/thim/v1/refresh";
    assert_eq!(
        status_before_the_body(&fleet, refresh, Some("wrong"), LONG).await,
        401
    );
    // Without one it may be a plan that is wanted; that is short.
    assert_eq!(
        status_before_the_body(&fleet, refresh, None, 64 * 1024 + 1).await,
        413
    );
    let long_plan = fleet.client.post(fleet.url(refresh));
    let spaces = " ".repeat(64 * 1024 - 16);
    let planned = fleet
        .send(long_plan.body(format!("{spaces}{{\"dry_run\":true}}")))
        .await;
    assert_eq!(planned.status, 200, "{planned:?}");
    let act = fleet.client.post(fleet.url(refresh));
    assert_eq!(fleet.send(act.body("{}")).await.status, 401);
    // With a token, the limit on what is sent is the next thing.
    assert_eq!(
        status_before_the_body(&fleet, TOKENS, Some(&admin), 64 * 1024 + 1).await,
        413
    );
    assert_eq!(
        status_before_the_body(
            &fleet,
            "/thim/v1/import",
            Some(&admin),
            48 * 1024 * 1024 + 1
        )
        .await,
        413
    );
    fleet.stop().await;
}

fn key_file(data: &Path) -> String {
    std::fs::read_to_string(data.join("sealing.key")).expect("a key")
}

/// Puts something sealed into the store of a fleet that does not run.
async fn put_sealed(data: &Path, sealed: &[u8]) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(data.join("thim.db"));
    let mut connection = <sqlx::SqliteConnection as sqlx::Connection>::connect_with(&options)
        .await
        .expect("opens");
    sqlx::query(
        "INSERT INTO registration (qe_id, pce_id, cpu_svn, pce_svn, manifest, state, at) \
         VALUES ('AA', '0000', '00', '00', $1, 'new', 0)",
    )
    .bind(sealed)
    .execute(&mut connection)
    .await
    .expect("inserted");
    sqlx::Connection::close(connection).await.expect("closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_rotate_and_a_lost_key_is_told_of_once() {
    let mut fleet = Fleet::start().await;
    let admin = admin_token(&fleet);
    let first = key_file(fleet.data());
    let sealed = fleet
        .server()
        .sealer
        .seal(thim_server::sealing::Purpose::Manifest, b"a manifest");
    let identity = fleet
        .server()
        .identity
        .keyed(thim_server::sealing::Purpose::Ppid, b"ppid");
    fleet.server.take().expect("it runs").stop().await;
    // A key that is gone while nothing is sealed is no news.
    std::fs::remove_file(fleet.data().join("sealing.key")).expect("gone");
    fleet.serve().await;
    assert!(!fleet.events().await.contains(&"keys.lost".to_owned()));
    fleet.server.take().expect("it runs").stop().await;
    std::fs::write(fleet.data().join("sealing.key"), &first).expect("put back");
    put_sealed(fleet.data(), &sealed).await;
    fleet.serve().await;

    let rotated = rotate(&fleet, &admin).await;
    assert_eq!(
        (rotated.status, value(&rotated)),
        (200, json!({"resealed": 1, "lost": 0}))
    );
    let second = key_file(fleet.data());
    assert_eq!(second.lines().count(), 1);
    assert_ne!(first, second);
    let events = fleet.get("/thim/v1/events?limit=1000").await;
    assert!(
        events
            .text()
            .contains("the sealing key is new, by the admin token: 1 secrets are sealed anew"),
        "{}",
        events.text()
    );
    for secret in first.split_whitespace().chain(second.split_whitespace()) {
        assert!(!events.text().contains(secret));
    }

    fleet.server.take().expect("it runs").stop().await;
    std::fs::remove_file(fleet.data().join("sealing.key")).expect("gone");
    fleet.serve().await;
    fleet.restart().await;
    let lost = fleet
        .events()
        .await
        .into_iter()
        .filter(|name| name == "keys.lost");
    assert_eq!(lost.count(), 1);
    let rotated = value(&rotate(&fleet, &admin).await);
    assert_eq!(rotated, json!({"resealed": 0, "lost": 1}));
    assert_eq!(
        fleet
            .server()
            .identity
            .keyed(thim_server::sealing::Purpose::Ppid, b"ppid"),
        identity,
        "platforms are still told apart"
    );
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_with_a_wrong_secret_names_it_and_does_not_show_it() {
    let mut fleet = Fleet::sim_only(|_| {}).await;
    let world = |fleet: &Fleet| World {
        clock: fleet.clock.clone(),
        clock_chosen: false,
        today: at(START),
        entropy: harness::entropy,
    };
    let refused = async |fleet: &Fleet| match Server::start(&fleet.config, world(fleet)).await {
        Ok(_) => panic!("it started"),
        Err(error) => format!("{error} {error:?} {:?}", fleet.config),
    };
    let near = "ab".repeat(63);
    fleet.config.api.user_token_hash = Some(PccsHash::new(&near));
    let told = refused(&fleet).await;
    assert!(
        told.contains("[api] user_token_hash") && !told.contains(&near),
        "{told}"
    );
    fleet.config.api.user_token_hash = Some(PccsHash::new("ab".repeat(64)));
    fleet.config.api.admin_token_hash = Some(PccsHash::new(&near));
    let told = refused(&fleet).await;
    assert!(
        told.contains("[api] admin_token_hash") && !told.contains(&near),
        "{told}"
    );
    fleet.config.api.admin_token_hash = None;
    fleet.serve().await;
    fleet.server.take().expect("it runs").stop().await;

    let token = fleet.data().join("admin.token");
    for wrong in ["s".repeat(31), "s".repeat(257)] {
        std::fs::write(&token, &wrong).expect("written");
        let told = refused(&fleet).await;
        assert!(
            told.contains("admin.token") && !told.contains("ssss"),
            "{told}"
        );
    }
    std::fs::write(&token, "s".repeat(256)).expect("written");
    fleet.serve().await;
    assert_eq!(list(&fleet, &"s".repeat(256)).await.status, 200);
    fleet.server.take().expect("it runs").stop().await;

    let key = fleet.data().join("sealing.key");
    let good = std::fs::read_to_string(&key).expect("a key");
    std::fs::write(&key, &good[..good.len() - 4]).expect("written");
    let told = refused(&fleet).await;
    assert!(told.contains("sealing.key: line 1"), "{told}");
    assert!(!told.contains(&good[9..25]), "{told}");
    std::fs::write(&key, &good).expect("written");
    fleet.serve().await;
    fleet.stop().await;
}

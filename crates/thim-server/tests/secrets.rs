//! The vendor's subscription key and the admin token are in their files, and nowhere a stranger or a log reader
//! looks: not in an answer, a header, a metric, an error, the store, or a log line of the most talkative level.

mod harness;
mod talkative_log;

use std::sync::Arc;

use harness::{Answer, BOTH, Fleet, START, at, tcb};
use talkative_log::Log;
use thim_server::server::{Server, World};
use thim_sim::{Fault, FaultRule, SimConfig};

const KEY: &str = "4a6f7572-subscription-key-6e616c31";
const TOKEN: &str = "an-admin-token-that-nobody-else-may-ever-see-0123456789";
/// One that is created on the way.
const SECOND_TOKEN: &str = "another-token-that-nobody-else-may-ever-see-9876543210";
/// A key that a header cannot carry: the refusal of it is no place for it either.
const WRONG_KEY: &str = "a key with spaces in it";

fn clean(what: &str, text: &[u8]) {
    for (name, secret) in [
        ("token", TOKEN),
        ("second token", SECOND_TOKEN),
        ("key", KEY),
        ("wrong key", WRONG_KEY),
    ] {
        let found = text
            .windows(secret.len())
            .position(|window| window == secret.as_bytes());
        assert!(
            found.is_none(),
            "{what} tells the {name}: {}",
            String::from_utf8_lossy(&text[found.unwrap_or(0).saturating_sub(200)..])
        );
    }
}

fn clean_answer(what: &str, answer: &Answer) {
    for (name, value) in &answer.headers {
        clean(&format!("{what}, header {name}"), value.as_bytes());
    }
    clean(what, &answer.body);
}

/// The keys of `sealing.key` now, in hex.
fn sealing_keys_of(fleet: &Fleet) -> Vec<String> {
    let text = std::fs::read_to_string(fleet.data().join("sealing.key")).expect("a key");
    text.lines()
        .map(|line| line.split_once(' ').expect("two words").1.to_owned())
        .collect()
}

/// A simulator that demands the key, and a configuration that has it.
async fn fleet() -> Fleet {
    let mut fleet = Fleet::sim_only(|_| {}).await;
    let clock = fleet.clock.clone();
    let sim = thim_sim::start(SimConfig {
        pcs_listen: ([127, 0, 0, 1], 0).into(),
        management_listen: ([127, 0, 0, 1], 0).into(),
        now: Arc::new(move || clock.now().secs()),
        api_key: Some(KEY.to_owned()),
    })
    .await
    .expect("the simulator starts");
    let folder = fleet.data().parent().expect("a folder").to_owned();
    std::fs::write(folder.join("root.pem"), sim.root_pem()).expect("written");
    std::fs::write(folder.join("key"), format!("{KEY}\n")).expect("written");
    std::fs::write(folder.join("token"), format!("{TOKEN}\n")).expect("written");
    fleet.config.intel.upstream = vec![sim.pcs_url()];
    fleet.config.intel.root_crl_url = sim.root_crl_url();
    fleet.config.intel.api_key_file = Some(folder.join("key"));
    fleet.config.api.token_file = Some(folder.join("token"));
    fleet.sim = sim;
    fleet
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_the_key_nor_the_token_is_told_to_anyone() {
    let log = Log::begin();
    let mut fleet = fleet().await;
    fleet.serve().await;

    // Misses and hits.
    let unheld = format!("{}&tcbEvaluationDataNumber=99", tcb("tdx", BOTH));
    for (path, status) in [
        (tcb("sgx", BOTH), 200),
        (tcb("sgx", BOTH), 200),
        ("/sgx/certification/v4/qe/identity".to_owned(), 200),
        ("/sgx/certification/v4/pckcrl?ca=platform".to_owned(), 200),
        ("/sgx/certification/v4/rootcacrl".to_owned(), 200),
        // Refusals.
        (tcb("sgx", "12"), 400),
        (tcb("sgx", "FFFFFFFFFFFF"), 404),
        (unheld, 404),
        ("/sgx/certification/v3/tcb?fmspc=zz".to_owned(), 400),
        ("/nowhere".to_owned(), 404),
    ] {
        let answer = fleet.get(&path).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        clean_answer(&path, &answer);
    }
    // The vendor was asked with the key, or would have answered 401; the log was listening.
    assert!(String::from_utf8_lossy(&log.bytes()).contains("thim_server"));

    // Acts: without, with a wrong and with the right token.
    let release = fleet.url("/thim/v1/editions/0123456789abcdef/release");
    let refresh = fleet.url("/thim/v1/refresh");
    let import = fleet.url("/thim/v1/import");
    for (url, body, expected) in [
        (&release, "{}", 404),
        (&refresh, r#"{"all":true}"#, 200),
        (&refresh, r#"{"all":"no boolean"}"#, 400),
        (
            &import,
            r#"{"files":[{"path":"words","content":"d29yZHM="}]}"#,
            200,
        ),
        (
            &import,
            r#"{"files":[{"path":"words","content":"&&&"}]}"#,
            400,
        ),
        (&import, "no json", 400),
    ] {
        let post = || {
            fleet
                .client
                .post(url)
                .header("content-type", "application/json")
                .body(body)
        };
        let near = &TOKEN[..TOKEN.len() - 1];
        // A plan needs no token, so without one what is asked for is read before it is refused.
        let untold = if url == &refresh && expected == 400 {
            400
        } else {
            401
        };
        let basic = post().header("authorization", format!("Basic {TOKEN}"));
        let refused = [
            (untold, fleet.send(post()).await),
            (401, fleet.send(post().bearer_auth(near)).await),
            (401, fleet.send(post().bearer_auth(KEY)).await),
            (untold, fleet.send(basic).await),
        ];
        for (refusal, answer) in refused {
            assert_eq!(answer.status, refusal, "{url}: {}", answer.text());
            clean_answer(url, &answer);
        }
        let answer = fleet.send(post().bearer_auth(TOKEN)).await;
        assert_eq!(answer.status, expected, "{url} {body}: {}", answer.text());
        clean_answer(url, &answer);
    }

    // A second token, and a new sealing key in its name.
    let mut sealing_keys = sealing_keys_of(&fleet);
    let hash = thim_verify::Digest::of(SECOND_TOKEN.as_bytes());
    let new = fleet
        .client
        .post(fleet.url("/thim/v1/tokens"))
        .bearer_auth(TOKEN)
        .json(&serde_json::json!({"name": "second", "role": "admin", "sha256": hash.to_string()}));
    let created = fleet.send(new).await;
    assert_eq!(created.status, 200, "{}", created.text());
    clean_answer("a new token", &created);
    let rotate = fleet.client.post(fleet.url("/thim/v1/keys/rotate"));
    let rotated = fleet.send(rotate.bearer_auth(SECOND_TOKEN)).await;
    assert_eq!(rotated.status, 200, "{}", rotated.text());
    clean_answer("a rotation", &rotated);
    sealing_keys.extend(sealing_keys_of(&fleet));
    assert_eq!(sealing_keys.len(), 2);

    // Failures of the vendor, one after the other, each met by a miss and by a poll.
    let faults = [
        Fault::Down,
        Fault::Garbage,
        Fault::Reset,
        Fault::Status { code: 401 },
        Fault::Status { code: 500 },
        Fault::Redirect {
            location: "http://elsewhere.invalid/".to_owned(),
        },
        Fault::Truncated,
        Fault::WrongSignature,
        Fault::Unavailable { retry_after: 1 },
    ];
    for fault in faults {
        fleet.advance(3600).await;
        let name = format!("{fault:?}");
        fleet
            .management()
            .set_fault(FaultRule::new(fault))
            .expect("a fault");
        let answer = fleet.get(&tcb("sgx", "20606C53494D")).await;
        assert!(answer.status >= 500, "{name}: {}", answer.text());
        clean_answer(&name, &answer);
        for step in fleet.refresh().await {
            clean(&name, step.as_bytes());
        }
        fleet.management().clear_faults();
    }

    // Whatever can be read of it all.
    for path in [
        "/metrics",
        "/healthz/ready",
        "/thim/v1/openapi.json",
        "/thim/v1/status",
        "/thim/v1/collateral?limit=1000",
        "/thim/v1/collateral/show?key=intel/root-crl",
        "/thim/v1/collateral/history?key=intel/root-crl",
        "/thim/v1/events?limit=1000",
    ] {
        let answer = fleet.get(path).await;
        assert_eq!(answer.status, 200, "{path}");
        clean_answer(path, &answer);
    }

    // A restart reads both anew; a key that is none is refused without being repeated.
    fleet.restart().await;
    if let Some(server) = fleet.server.take() {
        server.stop().await;
    }
    let key_file = fleet.config.intel.api_key_file.clone().expect("a file");
    std::fs::write(&key_file, WRONG_KEY).expect("written");
    let world = World {
        clock: fleet.clock.clone(),
        clock_chosen: false,
        today: at(START),
        entropy: harness::entropy,
    };
    let Err(error) = Server::start(&fleet.config, world).await else {
        panic!("a key with spaces is accepted");
    };
    let told = format!("{error} {error:?} {:?}", fleet.config);
    assert!(told.contains("api_key_file"), "{told}");
    clean("the refusal", told.as_bytes());

    // The log of everything above, at its most talkative, and the files of the store.
    let log = String::from_utf8_lossy(&log.bytes()).into_owned();
    assert!(log.contains("TRACE") && log.contains("edition.unverified"));
    clean("the log", log.as_bytes());
    for key in sealing_keys {
        assert!(!log.contains(&key), "the log tells a sealing key");
    }
    let mut files = 0;
    for entry in std::fs::read_dir(fleet.data()).expect("the data") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            clean(
                &path.display().to_string(),
                &std::fs::read(&path).expect("read"),
            );
            files += 1;
        }
    }
    assert!(files > 0);
}

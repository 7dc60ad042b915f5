//! `kill -9` in the middle of promotions, of the real program: what was acknowledged is in force, what was not is in force
//! whole or not at all, and the chain of acts holds each time.

#![allow(clippy::disallowed_methods, reason = "a test of the world may read it")]

mod program;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use program::{code, json, said, start, text, thim};
use serde_json::{Value, json};

const KILLS: u64 = 30;

/// POSTs and reads the answer, if one comes whole: status and body.
fn post(base: &str, token: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
    let address = base.strip_prefix("http://").expect("plain HTTP");
    let mut stream = TcpStream::connect(address).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a time-out");
    let body = body.to_string();
    let request = format!(
        "POST /thim/v1/baselines/{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.get(9..12)?.parse().ok()?;
    let body = answer.split_once("\r\n\r\n")?.1;
    Some((status, serde_json::from_str(body).ok()?))
}

#[test]
fn what_was_acknowledged_is_in_force_and_the_chain_holds() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let config = folder.path().join("thim.toml");
    std::fs::write(&config, "[intel]\nupstream = []\n[amd]\nupstream = []\n").expect("written");
    let serve = || {
        start(&[
            "serve",
            "--http",
            "127.0.0.1:0",
            "--https",
            "off",
            "--config",
            text(&config),
            "--data",
            text(&data),
        ])
    };
    let show = || {
        let told = thim(&[
            "baseline",
            "show",
            "--tee",
            "tdx",
            "--data",
            text(&data),
            "--json",
        ]);
        json(&told)
    };
    let mut in_force = 0;
    let mut acknowledged = 0;
    for round in 0..KILLS {
        let (running, base) = serve();
        let token = std::fs::read_to_string(data.join("admin.token")).expect("a token");
        let token = token.trim().to_owned();
        let file = format!(
            "[[baseline]]\ntee = \"tdx\"\nselector = {{ number = {} }}\n",
            100 + round
        );
        let (status, told) =
            post(&base, &token, "apply", &json!({ "toml": file })).expect("an answer");
        assert_eq!(status, 200, "{told}");
        let version = told[0]["version"].as_u64().expect("a version");
        let (status, told) = post(
            &base,
            &token,
            "forecast",
            &json!({"tee": "tdx", "to": "draft"}),
        )
        .expect("an answer");
        assert_eq!(status, 200, "{told}");
        let promotion = json!({ "forecast": told["digest"], "reason": "round" });
        let asking = std::thread::spawn(move || post(&base, &token, "tdx/promote", &promotion));
        // Between nothing and more than the whole takes.
        let until = std::time::Instant::now() + Duration::from_micros(round * 700);
        while std::time::Instant::now() < until {
            std::hint::spin_loop();
        }
        // SIGKILL, and the wait for the end.
        drop(running);
        let answer = asking.join().expect("it asked");
        let yes = matches!(answer, Some((200, _)));
        let followed = thim(&["baseline", "log", "--verify", "--data", text(&data)]);
        assert_eq!(code(&followed), 0, "round {round}: {}", said(&followed));
        let found = show();
        let now = found["version"].as_u64().expect("a version");
        if yes {
            acknowledged += 1;
            assert_eq!(
                now, version,
                "round {round}: what was acknowledged is lost: {found}"
            );
        } else {
            assert!(now == version || now == in_force, "round {round}: {found}");
        }
        if now > 0 {
            let selected = found["rule"]["selector"]["number"]
                .as_u64()
                .expect("a number");
            let own = found["versions"].as_array().expect("a list").iter();
            let mut own = own.filter(|one| one["version"] == now);
            let rule = &own.next().expect("it is there")["rule"];
            assert_eq!(rule["selector"]["number"], selected);
        }
        in_force = now;
    }
    println!("{acknowledged} of {KILLS} were acknowledged before the kill");
    assert!(in_force > 0, "none was ever promoted");
}

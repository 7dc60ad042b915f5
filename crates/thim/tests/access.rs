//! `thim token` and `thim keys` as a user meets them: on a store, on a running service, and refused.

mod program;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use program::{code, json, out, said, serve, text, thim};

#[test]
fn tokens_are_made_listed_and_ended_on_a_store() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let data = text(&data);
    let made = thim(&[
        "token",
        "create",
        "--name",
        "rack 7",
        "--role",
        "registrar",
        "--data",
        data,
    ]);
    assert_eq!(code(&made), 0, "{}", said(&made));
    let token = out(&made).trim().to_owned();
    assert_eq!(token.len(), 64, "{token}");
    assert!(token.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert!(!said(&made).contains(&token), "once");
    let other = thim(&[
        "token",
        "create",
        "--name",
        "rack 7",
        "--role",
        "registrar",
        "--data",
        data,
    ]);
    assert_ne!(out(&other).trim(), token, "never the same");

    let file = folder.path().join("token");
    let filed = thim(&[
        "token",
        "create",
        "--name",
        "a reader",
        "--role",
        "reader",
        "--scope",
        "platforms:read",
        "--expires",
        "2999-01-01T00:00:00Z",
        "--out",
        text(&file),
        "--data",
        data,
    ]);
    assert_eq!(
        (code(&filed), out(&filed).as_str()),
        (0, ""),
        "{}",
        said(&filed)
    );
    let kept = std::fs::read_to_string(&file).expect("a token");
    assert_eq!(kept.trim().len(), 64);
    assert!(!said(&filed).contains(kept.trim()));
    let mode = std::fs::metadata(&file)
        .expect("a file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = thim(&[
        "token",
        "create",
        "--name",
        "a reader",
        "--role",
        "reader",
        "--out",
        text(&file),
        "--data",
        data,
    ]);
    assert_eq!(code(&again), 2, "it may be a token in use");
    assert_eq!(std::fs::read_to_string(&file).expect("a token"), kept);

    let listed = thim(&["token", "list", "--json", "--data", data]);
    assert_eq!(code(&listed), 0, "{}", said(&listed));
    let tokens = json(&listed);
    let tokens = tokens.as_array().expect("a list");
    assert_eq!(tokens.len(), 3);
    assert!(!out(&listed).contains(&token) && !out(&listed).contains(kept.trim()));
    let reader = tokens
        .iter()
        .find(|token| token["name"] == "a reader")
        .expect("the reader");
    assert_eq!(
        (
            &reader["role"],
            &reader["scopes"],
            &reader["state"],
            &reader["expires"]
        ),
        (
            &serde_json::json!("reader"),
            &serde_json::json!(["platforms:read"]),
            &serde_json::json!("live"),
            &serde_json::json!("2999-01-01T00:00:00Z")
        )
    );
    let id = reader["id"].as_str().expect("an id");
    let ended = thim(&["token", "revoke", id, "--data", data]);
    assert_eq!(code(&ended), 0, "{}", said(&ended));
    let twice = thim(&["token", "revoke", id, "--data", data]);
    assert_eq!(code(&twice), 1, "{}", said(&twice));
    let unknown = thim(&["token", "revoke", "0123456789abcdef", "--data", data]);
    assert_eq!(code(&unknown), 1, "{}", said(&unknown));
    let table = thim(&["token", "list", "--data", data]);
    let line = out(&table)
        .lines()
        .find(|line| line.starts_with(id))
        .expect("its line")
        .to_owned();
    assert!(
        line.contains("revoked") && line.contains("a reader"),
        "{line}"
    );
}

#[test]
fn what_is_no_token_is_refused_and_leaves_no_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let file = folder.path().join("token");
    let create = |more: &[&str]| {
        let mut arguments = vec![
            "token",
            "create",
            "--out",
            text(&file),
            "--data",
            text(&data),
        ];
        arguments.extend(more);
        thim(&arguments)
    };
    for (more, expected, why) in [
        (
            ["--name", "n", "--role", "root"].as_slice(),
            2,
            "reader, registrar or admin",
        ),
        (
            &["--name", "n", "--role", "reader", "--scope", "platforms"],
            2,
            "platforms:read",
        ),
        (
            &["--name", "n", "--role", "reader", "--scope", "keys"],
            1,
            "a reader may not keys",
        ),
        (
            &[
                "--name",
                "n",
                "--role",
                "reader",
                "--expires",
                "1999-01-01T00:00:00Z",
            ],
            1,
            "is not after",
        ),
        (
            &["--name", "n", "--role", "reader", "--expires", "tomorrow"],
            2,
            "expires",
        ),
        (&["--name", "", "--role", "reader"], 1, "name"),
        (&["--role", "reader"], 2, "--name"),
    ] {
        let refused = create(more);
        assert_eq!(code(&refused), expected, "{more:?} {}", said(&refused));
        assert!(said(&refused).contains(why), "{more:?} {}", said(&refused));
        assert!(!file.exists(), "{more:?}");
    }
    let short = thim(&["token", "revoke", "0123", "--data", text(&data)]);
    assert_eq!(code(&short), 2, "{}", said(&short));
}

#[test]
fn keys_rotate_on_a_store() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let key = || std::fs::read_to_string(data.join("sealing.key")).expect("a key");
    let first = thim(&["keys", "rotate", "--json", "--data", text(&data)]);
    assert_eq!(code(&first), 0, "{}", said(&first));
    assert_eq!(json(&first), serde_json::json!({"resealed": 0, "lost": 0}));
    let before = key();
    let second = thim(&["keys", "rotate", "--data", text(&data)]);
    assert_eq!(code(&second), 0, "{}", said(&second));
    assert_eq!(out(&second), "resealed  0\nlost      0\n");
    assert_ne!(key(), before);
    assert_eq!(key().lines().count(), 1);
    let events = thim(&["collateral", "events", "--json", "--data", text(&data)]);
    assert!(
        out(&events).contains("by the command line"),
        "{}",
        out(&events)
    );
    std::fs::write(data.join("sealing.key"), "no key\n").expect("written");
    let damaged = thim(&["keys", "rotate", "--data", text(&data)]);
    assert_eq!(code(&damaged), 2, "{}", said(&damaged));
    assert!(
        said(&damaged).contains("sealing.key: line 1"),
        "{}",
        said(&damaged)
    );
}

#[test]
fn a_running_service_takes_tokens_and_keys_from_who_may() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_running, url, data) = serve(folder.path());
    let admin = data.join("admin.token");
    let admin = text(&admin);
    let with = |arguments: &[&str], token: Option<&str>| {
        let mut all = arguments.to_vec();
        all.extend(["--service", &url]);
        if let Some(token) = token {
            all.extend(["--token-file", token]);
        }
        thim(&all)
    };
    let clerk = folder.path().join("clerk");
    let clerk = text(&clerk);
    let create = [
        "token", "create", "--name", "clerk", "--role", "admin", "--scope", "tokens", "--out",
        clerk,
    ];
    let refused = with(&create, None);
    assert_eq!(code(&refused), 2, "no token");
    assert!(
        said(&refused).contains("bearer token"),
        "{}",
        said(&refused)
    );
    assert!(!Path::new(clerk).exists());
    let made = with(&create, Some(admin));
    assert_eq!(code(&made), 0, "{}", said(&made));

    let listed = with(&["token", "list", "--json"], Some(clerk));
    assert_eq!(code(&listed), 0, "{}", said(&listed));
    let id = json(&listed)[0]["id"].as_str().expect("an id").to_owned();
    let more = with(
        &["token", "create", "--name", "more", "--role", "admin"],
        Some(clerk),
    );
    assert_eq!(
        (code(&more), out(&more).as_str()),
        (2, ""),
        "more than itself"
    );
    assert!(said(&more).contains("403"), "{}", said(&more));
    let rotation = with(&["keys", "rotate"], Some(clerk));
    assert_eq!(code(&rotation), 2, "its scope is another");
    assert!(
        said(&rotation).contains("not good for"),
        "{}",
        said(&rotation)
    );
    let rotation = with(&["keys", "rotate", "--json"], Some(admin));
    assert_eq!(code(&rotation), 0, "{}", said(&rotation));
    assert_eq!(json(&rotation)["lost"], 0);

    let ended = with(&["token", "revoke", &id], Some(admin));
    assert_eq!(code(&ended), 0, "{}", said(&ended));
    let twice = with(&["token", "revoke", &id], Some(admin));
    assert_eq!(code(&twice), 1, "{}", said(&twice));
    let listed = with(&["token", "list"], Some(clerk));
    assert_eq!(code(&listed), 2, "it is good no longer");
    let wrong = with(
        &["token", "create", "--name", "", "--role", "reader"],
        Some(admin),
    );
    assert_eq!(
        (code(&wrong), out(&wrong).as_str()),
        (1, ""),
        "{}",
        said(&wrong)
    );
}

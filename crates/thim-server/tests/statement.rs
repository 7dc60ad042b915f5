//! Statements of baselines: verified by a published JOSE library, refused when older than one that was seen, through a rotation of
//! the key, and without the key anywhere it does not belong.

mod baseline_support;
mod harness;

use baseline_support::promote;
use harness::{BOTH, Fleet, tcb};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};
use thim_server::baseline::BaselineTee;
use thim_server::baselines::statement::{Claims, Jwks, NotAccepted, Seen, accept};
use thim_verify::Digest;

const TDX: BaselineTee = BaselineTee::Tdx;

async fn statement(fleet: &Fleet, query: &str) -> String {
    let answer = fleet
        .get(&format!("/thim/v1/baselines/tdx/statement{query}"))
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/jwt");
    answer.text().to_owned()
}

async fn keys(fleet: &Fleet) -> String {
    fleet.get("/.well-known/jwks.json").await.text().to_owned()
}

/// What the published library makes of a statement.
fn foreign(text: &str, jwks: &str, now: i64) -> Result<Value, String> {
    let header = jsonwebtoken::decode_header(text).map_err(|error| error.to_string())?;
    let jwks: JwkSet = serde_json::from_str(jwks).map_err(|error| error.to_string())?;
    let kid = header.kid.ok_or("no kid")?;
    let key = jwks.find(&kid).ok_or("unknown key")?;
    // The library computes the thumbprint of RFC 7638 itself.
    assert_eq!(
        key.thumbprint(jsonwebtoken::jwk::ThumbprintHash::SHA256),
        Ok(kid.clone())
    );
    let mut rules = Validation::new(Algorithm::ES256);
    rules.set_issuer(&["thim"]);
    rules.set_audience(&["default", "acme"]);
    // Its clock is the system's; ours is by hand.
    rules.validate_exp = false;
    let key = DecodingKey::from_jwk(key).map_err(|error| error.to_string())?;
    let decoded =
        jsonwebtoken::decode::<Value>(text, &key, &rules).map_err(|error| error.to_string())?;
    let claims = decoded.claims;
    assert!(
        claims["iat"].as_i64() <= Some(now) && claims["exp"].as_i64() > Some(now),
        "{claims}"
    );
    Ok(claims)
}

fn accepted(
    fleet: &Fleet,
    text: &str,
    jwks: &str,
    seen: Option<u32>,
) -> Result<Claims, NotAccepted> {
    let jwks: Jwks = serde_json::from_str(jwks).expect("keys");
    let seen = seen.map(Seen::Version);
    accept(text, &jwks, "default", TDX, seen, fleet.clock.now())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_published_library_verifies_it_and_what_it_says_is_so() {
    let fleet = Fleet::start().await;
    assert_eq!(fleet.get(&tcb("tdx", BOTH)).await.status, 200);
    fleet.refresh().await;
    fleet.tick().await;
    promote(&fleet, "floor", "tdx", "{ number = 18 }").await;
    promote(&fleet, "default", "tdx", "{ number = 19 }").await;
    fleet.tick().await;
    fleet.refresh().await;
    let now = fleet.clock.now();
    let (text, jwks) = (statement(&fleet, "").await, keys(&fleet).await);
    let claims = foreign(&text, &jwks, now.secs()).expect("it verifies");
    let stated = &claims["baseline"];
    assert_eq!(
        (&stated["tenant"], &stated["tee"], &stated["version"]),
        (&json!("default"), &json!("tdx"), &json!(1))
    );
    assert_eq!(
        (&stated["number"], &stated["since"]),
        (&json!(19), &json!(now.to_string()))
    );
    assert_eq!(stated["rule"]["selector"], json!({"number": 19}));
    assert_eq!(stated["floor"]["selector"], json!({"number": 18}));
    let books = fleet.server().baselines.books();
    assert_eq!(stated["audit"], json!({"acts": 4, "head": books.head()}));
    // The digests are those of what is served.
    let served = fleet.get(&tcb("tdx", BOTH)).await;
    let signed: Value = serde_json::from_slice(&served.body).expect("JSON");
    assert_eq!(signed["tcbInfo"]["tcbEvaluationDataNumber"], 19);
    let collateral = stated["collateral"].as_array().expect("a list");
    let key = format!("intel/tcb-info/tdx/v3/{BOTH}/19");
    let one = collateral
        .iter()
        .find(|one| one["key"] == key.as_str())
        .expect("it is there");
    let text_of = std::str::from_utf8(&served.body).expect("text");
    let inner = text_of
        .strip_prefix("{\"tcbInfo\":")
        .expect("a TCB info")
        .rsplit_once(",\"signature\"")
        .expect("signed")
        .0;
    assert_eq!(one["sha256"], Digest::of(inner.as_bytes()).to_string());
    assert!(
        collateral
            .iter()
            .all(|one| one["key"].as_str().expect("a key").ends_with("/19")),
        "{collateral:?}"
    );
    assert!(collateral.iter().any(|one| {
        one["key"]
            .as_str()
            .expect("a key")
            .contains("enclave-identity")
    }));

    // Our own verifier takes it too, and any change of it by nobody.
    accepted(&fleet, &text, &jwks, None).expect("it is accepted");
    let middle = text.len() / 2;
    for at in [10, middle, text.len() - 5] {
        let mut bytes = text.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).expect("text");
        assert!(accepted(&fleet, &changed, &jwks, None).is_err(), "{at}");
        assert!(foreign(&changed, &jwks, now.secs()).is_err(), "{at}");
    }
    for wrong in ["", "a.b", "a.b.c", "....", &text.replace('.', "")] {
        assert!(
            matches!(
                accepted(&fleet, wrong, &jwks, None),
                Err(NotAccepted::Form(_))
            ),
            "{wrong}"
        );
    }
    // Unchanged: 304 for who has it.
    let etag = fleet
        .get("/thim/v1/baselines/tdx/statement")
        .await
        .header("etag")
        .to_owned();
    let again = fleet
        .client
        .get(fleet.url("/thim/v1/baselines/tdx/statement"))
        .header("if-none-match", &etag);
    assert_eq!(fleet.send(again).await.status, 304);

    for (path, status) in [
        ("/thim/v1/baselines/tdx/statement?tenant=nobody", 404),
        ("/thim/v1/baselines/tdx/statement?tenant=floor", 404),
        ("/thim/v1/baselines/tdx/statement?tenant=A", 400),
        ("/thim/v1/baselines/amd/statement", 400),
    ] {
        assert_eq!(fleet.get(path).await.status, status, "{path}");
    }
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_holds_version_7_refuses_6_also_after_a_rollback() {
    let fleet = Fleet::start().await;
    for version in 1..=6 {
        promote(
            &fleet,
            "default",
            "tdx",
            &format!("{{ lag_days = {version} }}"),
        )
        .await;
    }
    let (six, jwks) = (statement(&fleet, "").await, keys(&fleet).await);
    promote(&fleet, "default", "tdx", "{ lag_days = 7 }").await;
    let seven = statement(&fleet, "").await;
    let seen = accepted(&fleet, &seven, &jwks, Some(6))
        .expect("a later one")
        .baseline
        .version;
    assert_eq!(seen, 7);
    let refused = accepted(&fleet, &six, &jwks, Some(seen)).expect_err("an older one");
    assert_eq!(refused, NotAccepted::Older { found: 6, seen: 7 });
    accepted(&fleet, &seven, &jwks, Some(seen)).expect("the same again");
    accepted(&fleet, &six, &jwks, None).expect("whoever has seen none cannot tell");
    let other = accept(
        &seven,
        &serde_json::from_str(&jwks).expect("keys"),
        "default",
        BaselineTee::Sgx,
        None,
        fleet.clock.now(),
    );
    assert!(
        matches!(other, Err(NotAccepted::AboutSomethingElse { .. })),
        "{other:?}"
    );
    // It ends.
    fleet.clock.advance_millis(86_400_000);
    let ended = accepted(&fleet, &seven, &jwks, None).expect_err("it ended");
    assert!(matches!(ended, NotAccepted::Expired { .. }), "{ended:?}");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_is_replaced_with_an_overlap_and_told_to_nobody() {
    let mut fleet = Fleet::start().await;
    let now = fleet.clock.now().secs();
    let (old, first) = (statement(&fleet, "").await, keys(&fleet).await);
    let key_file = fleet.data().join("statement.key");
    let secret = std::fs::read_to_string(&key_file).expect("a key");
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(&key_file)
        .expect("a file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let rotate = |token: Option<String>| {
        let request = fleet
            .client
            .post(fleet.url("/thim/v1/baselines/rotate-key"));
        match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    };
    let token = std::fs::read_to_string(fleet.data().join("admin.token")).expect("a token");
    assert_eq!(fleet.send(rotate(None)).await.status, 401);
    assert_eq!(
        fleet
            .send(rotate(Some(token.trim().to_owned())))
            .await
            .status,
        200
    );
    let second = keys(&fleet).await;
    assert_ne!(first, second);
    // Who has the new keys verifies the old statement, and the new one; who has the old keys alone the old one.
    foreign(&old, &second, now).expect("the overlap");
    let new = statement(&fleet, "").await;
    foreign(&new, &second, now).expect("the new key");
    assert_eq!(foreign(&new, &first, now), Err("unknown key".to_owned()));
    assert!(matches!(
        accepted(&fleet, &new, &first, None),
        Err(NotAccepted::UnknownKey(_))
    ));
    fleet.restart().await;
    assert_eq!(keys(&fleet).await, second);
    // When the last that it signed has ended, the old key goes.
    fleet.clock.advance_millis(86_400_000);
    let jwks: Value = serde_json::from_str(&keys(&fleet).await).expect("JSON");
    assert_eq!(jwks["keys"].as_array().map(Vec::len), Some(1));
    // The private part is in its file and nowhere else.
    let body: Vec<&str> = secret
        .lines()
        .filter(|line| !line.starts_with("---"))
        .collect();
    assert!(!body.is_empty());
    for path in [
        "/thim/v1/status",
        "/metrics",
        "/.well-known/jwks.json",
        "/thim/v1/events",
        "/thim/v1/baselines/tdx/statement",
    ] {
        let answer = fleet.get(path).await;
        assert!(
            !body.iter().any(|line| answer.text().contains(line)),
            "{path}"
        );
        assert!(!answer.text().contains("\"d\""), "{path}");
    }
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_statement_is_for_the_tenant_and_order_holds_when_it_gets_its_own_baseline() {
    let fleet = Fleet::start().await;
    assert_eq!(fleet.get(&tcb("tdx", BOTH)).await.status, 200);
    promote(&fleet, "default", "tdx", "{ number = 19 }").await;
    promote(&fleet, "default", "tdx", "\"early\"").await;
    promote(&fleet, "acme", "sgx", "\"early\"").await;
    let jwks: Jwks = serde_json::from_str(&keys(&fleet).await).expect("keys");
    let now = fleet.clock.now();
    let accepted = |text: &str, seen: Option<Seen<'_>>| {
        accept(text, &jwks, "acme", TDX, seen, now).map(|claims| claims.baseline)
    };
    let everybodys = statement(&fleet, "").await;
    assert!(matches!(
        accepted(&everybodys, None),
        Err(NotAccepted::AboutSomethingElse { .. })
    ));
    let first = statement(&fleet, "?tenant=acme").await;
    let held = accepted(&first, None).expect("it is for acme");
    assert_eq!((held.tenant.as_str(), held.version), ("default", 2));
    promote(&fleet, "acme", "tdx", "{ number = 19 }").await;
    let own = statement(&fleet, "?tenant=acme").await;
    let newer = accepted(&own, Some(Seen::Statement(&held))).expect("a later one");
    assert_eq!((newer.tenant.as_str(), newer.version), ("acme", 1));
    let refused = accepted(&first, Some(Seen::Statement(&newer))).expect_err("it is older");
    assert!(
        matches!(refused, NotAccepted::OlderRecord { .. }),
        "{refused}"
    );
    accepted(&own, Some(Seen::Statement(&newer))).expect("the same again");
    fleet.stop().await;
}

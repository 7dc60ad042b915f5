//! Who is admitted, and the nearest who is not.

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;
use thim_verify::UnixTime;

use super::*;

const NOW: i64 = 1_800_000_000_000;
const BOOTSTRAP: &str = "0123456789abcdef0123456789abcdef";
const PCCS_USER: &str = "user word";
const PCCS_ADMIN: &str = "admin word";

fn peer() -> IpAddr {
    IpAddr::from([192, 0, 2, 7])
}

fn sha512(text: &str) -> PccsHash {
    let hash = digest::digest(&digest::SHA512, text.as_bytes());
    PccsHash::new(HEXLOWER.encode(hash.as_ref()))
}

fn api() -> config::Api {
    config::Api {
        user_token_hash: Some(sha512(PCCS_USER)),
        admin_token_hash: Some(sha512(PCCS_ADMIN)),
        ..config::Api::default()
    }
}

fn token(text: &str, role: Role, scopes: &[Act]) -> TokenRow {
    TokenRow {
        hash: Digest::of(text.as_bytes()),
        name: format!("the {text}"),
        role,
        scopes: Acts::of(scopes),
        created: UnixTime::from_secs(0),
        expires: None,
        revoked: None,
    }
}

fn access(tokens: Vec<TokenRow>) -> Access {
    Access::new(BOOTSTRAP, &api(), tokens, &Metrics::new(&[])).expect("an access")
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, value.parse().expect("a value"));
    }
    headers
}

fn bearer(token: &str) -> HeaderMap {
    headers(&[("authorization", &format!("Bearer {token}"))])
}

fn admit(access: &Access, headers: &HeaderMap, act: Act, dialect: Dialect) -> Result<Role, Denied> {
    access
        .admit(headers, peer(), act, dialect, NOW)
        .map(|caller| caller.role)
}

/// The acts that `headers` are good for; every other one is refused with `otherwise`.
fn acts(access: &Access, headers: &HeaderMap, dialect: Dialect) -> String {
    let good = Act::ALL.into_iter().filter(|act| {
        match access.admit(headers, peer(), *act, dialect, NOW) {
            Ok(caller) => {
                assert!(caller.may(*act));
                true
            }
            Err(Denied::NotAllowed { act: refused, .. }) => {
                assert_eq!(refused, *act);
                false
            }
            Err(other @ (Denied::Missing | Denied::TooManyFailures { .. } | Denied::Wrong)) => {
                panic!("{other}")
            }
        }
    });
    Acts::of(&good.collect::<Vec<_>>()).to_string()
}

#[test]
fn roles_and_scopes_say_what_a_token_is_good_for() {
    let access = access(vec![
        token("reader", Role::Reader, &[]),
        token("registrar", Role::Registrar, &[]),
        token("admin", Role::Admin, &[]),
        token("narrow", Role::Registrar, &[Act::RegisterPlatforms]),
        // No command makes this one: a scope never widens a role.
        token("wide", Role::Reader, &[Act::RotateKeys]),
    ]);
    let good = |text: &str| acts(&access, &bearer(text), Dialect::Bearer);
    assert_eq!(good("reader"), "baselines:read platforms:read");
    assert_eq!(
        good("registrar"),
        "baselines:read platforms:read platforms:register"
    );
    assert_eq!(good("admin"), Acts::of_role(Role::Admin).to_string());
    assert_eq!(good(BOOTSTRAP), Acts::of_role(Role::Admin).to_string());
    assert_eq!(good("narrow"), "platforms:register");
    assert_eq!(good("wide"), "");
}

#[test]
fn ends_are_judged_to_the_second_and_revocation_at_once() {
    let at = |secs| Some(UnixTime::from_secs(NOW / 1000 + secs));
    let with = |text: &str, expires, revoked| TokenRow {
        expires,
        revoked,
        ..token(text, Role::Reader, &[])
    };
    let access = access(vec![
        with("later", at(1), None),
        with("now", at(0), None),
        with("revoked", None, at(-1)),
    ]);
    let read = |text: &str| admit(&access, &bearer(text), Act::ReadPlatforms, Dialect::Bearer);
    assert_eq!(read("later"), Ok(Role::Reader));
    assert_eq!(read("now"), Err(Denied::Wrong));
    assert_eq!(read("revoked"), Err(Denied::Wrong));
    let a_second_later = access.admit(
        &bearer("later"),
        peer(),
        Act::ReadPlatforms,
        Dialect::Bearer,
        NOW + 1000,
    );
    assert_eq!(a_second_later, Err(Denied::Wrong));

    access.learn(token("new", Role::Reader, &[]), NOW);
    assert_eq!(read("new"), Ok(Role::Reader));
    assert_eq!(access.tokens.load().len(), 2, "what has ended makes room");
    access.forget(&token("new", Role::Reader, &[]).id());
    assert_eq!(read("new"), Err(Denied::Wrong));
    assert_eq!(read("later"), Ok(Role::Reader));
}

#[test]
fn tokens_stand_where_the_dialect_says_and_nowhere_else() {
    let access = access(vec![token("registrar", Role::Registrar, &[])]);
    let register =
        |headers: &HeaderMap, dialect| admit(&access, headers, Act::RegisterPlatforms, dialect);
    let user = headers(&[("user-token", "registrar")]);
    let admin = headers(&[("admin-token", "registrar")]);
    for (headers, dialect, expected) in [
        (bearer("registrar"), Dialect::Bearer, Ok(Role::Registrar)),
        (bearer("registrar"), Dialect::PccsUser, Ok(Role::Registrar)),
        (bearer("registrar"), Dialect::PccsAdmin, Ok(Role::Registrar)),
        (user.clone(), Dialect::PccsUser, Ok(Role::Registrar)),
        (user.clone(), Dialect::PccsAdmin, Err(Denied::Missing)),
        (user, Dialect::Bearer, Err(Denied::Missing)),
        (admin.clone(), Dialect::PccsAdmin, Ok(Role::Registrar)),
        (admin.clone(), Dialect::PccsUser, Err(Denied::Missing)),
        (admin, Dialect::Bearer, Err(Denied::Missing)),
    ] {
        assert_eq!(
            register(&headers, dialect),
            expected,
            "{headers:?} {dialect:?}"
        );
    }
    let authorization = |text: &str| headers(&[("authorization", text)]);
    for (text, expected) in [
        ("bearer registrar", Ok(Role::Registrar)),
        ("Basic registrar", Err(Denied::Missing)),
        ("Bearer", Err(Denied::Missing)),
        ("registrar", Err(Denied::Missing)),
        ("", Err(Denied::Missing)),
        ("Bearer  registrar", Err(Denied::Wrong)),
        ("Bearer registra", Err(Denied::Wrong)),
        ("Bearer Registrar", Err(Denied::Wrong)),
    ] {
        assert_eq!(
            register(&authorization(text), Dialect::Bearer),
            expected,
            "{text}"
        );
    }
    // PCCS's header is the one that counts, and none counts twice.
    let both = headers(&[
        ("user-token", "wrong"),
        ("authorization", "Bearer registrar"),
    ]);
    assert_eq!(register(&both, Dialect::PccsUser), Err(Denied::Wrong));
    assert_eq!(register(&both, Dialect::Bearer), Ok(Role::Registrar));
    for name in ["user-token", "authorization"] {
        let text = if name == "user-token" {
            "registrar"
        } else {
            "Bearer registrar"
        };
        let twice = headers(&[(name, text), (name, text)]);
        assert_eq!(register(&twice, Dialect::PccsUser), Err(Denied::Wrong));
    }
    let empty = headers(&[("user-token", "")]);
    assert_eq!(register(&empty, Dialect::PccsUser), Err(Denied::Missing));
}

#[test]
fn pccs_s_hashes_are_good_for_what_pccs_makes_of_them() {
    let access = access(Vec::new());
    let user = headers(&[("user-token", PCCS_USER)]);
    let admin = headers(&[("admin-token", PCCS_ADMIN)]);
    assert_eq!(
        acts(&access, &user, Dialect::PccsUser),
        "platforms:register"
    );
    assert_eq!(
        acts(&access, &admin, Dialect::PccsAdmin),
        "collateral platforms:manage policies platforms:read"
    );
    // Neither stands for the other, and neither is a bearer token.
    for (headers, dialect) in [
        (headers(&[("user-token", PCCS_ADMIN)]), Dialect::PccsUser),
        (headers(&[("admin-token", PCCS_USER)]), Dialect::PccsAdmin),
        (bearer(PCCS_USER), Dialect::PccsUser),
        (bearer(PCCS_ADMIN), Dialect::PccsAdmin),
        (bearer(PCCS_ADMIN), Dialect::Bearer),
    ] {
        for act in [Act::RegisterPlatforms, Act::ReadPlatforms] {
            assert_eq!(
                admit(&access, &headers, act, dialect),
                Err(Denied::Wrong),
                "{headers:?} {dialect:?}"
            );
        }
    }
    // Without a hash in the configuration there is no such token.
    let without = Access::new(
        BOOTSTRAP,
        &config::Api::default(),
        Vec::new(),
        &Metrics::new(&[]),
    )
    .expect("an access");
    let refused = admit(&without, &user, Act::RegisterPlatforms, Dialect::PccsUser);
    assert_eq!(refused, Err(Denied::Wrong));
}

#[test]
fn a_hash_that_is_none_stops_the_start_and_is_named() {
    for key in ["user_token_hash", "admin_token_hash"] {
        let short = PccsHash::new("ab".repeat(63));
        let mut api = api();
        if key == "user_token_hash" {
            api.user_token_hash = Some(short);
        } else {
            api.admin_token_hash = Some(short);
        }
        let refused = Access::new(BOOTSTRAP, &api, Vec::new(), &Metrics::new(&[]));
        let told = refused.expect_err("refused").to_string();
        assert!(told.contains(key) && !told.contains("abab"), "{told}");
    }
}

#[test]
fn a_token_of_256_bytes_may_be_one_and_a_longer_one_is_none() {
    let longest = "t".repeat(TOKEN_BYTES);
    let longer = "t".repeat(TOKEN_BYTES + 1);
    let access = access(vec![
        token(&longest, Role::Reader, &[]),
        token(&longer, Role::Reader, &[]),
    ]);
    let read = |text: &str| admit(&access, &bearer(text), Act::ReadPlatforms, Dialect::Bearer);
    assert_eq!(read(&longest), Ok(Role::Reader));
    assert_eq!(read(&longer), Err(Denied::Wrong));
}

#[test]
fn after_too_many_wrong_tokens_the_right_one_waits_too() {
    let metrics = Metrics::new(&[]);
    let access = Access::new(BOOTSTRAP, &api(), Vec::new(), &metrics).expect("an access");
    let ask = |text: &str, peer, now| {
        let headers = bearer(text);
        access.admit(&headers, peer, Act::ManageTokens, Dialect::Bearer, now)
    };
    // A right token, none at all, and one that is not good for this are no failures.
    for _ in 0..50 {
        assert!(ask(BOOTSTRAP, peer(), NOW).is_ok());
        let none = admit(
            &access,
            &HeaderMap::new(),
            Act::ManageTokens,
            Dialect::Bearer,
        );
        assert_eq!(none, Err(Denied::Missing));
        let user = headers(&[("user-token", PCCS_USER)]);
        let other = admit(&access, &user, Act::ManageTokens, Dialect::PccsUser);
        assert!(matches!(other, Err(Denied::NotAllowed { .. })));
    }
    for guess in 0..20 {
        // In between it is known as the right one, and that clears nothing.
        assert!(ask(BOOTSTRAP, peer(), NOW).is_ok());
        assert_eq!(
            ask(&format!("guess {guess}"), peer(), NOW),
            Err(Denied::Wrong)
        );
    }
    let over = Err(Denied::TooManyFailures {
        retry_after_secs: 3,
    });
    assert_eq!(ask("one more", peer(), NOW), over);
    assert_eq!(ask(BOOTSTRAP, peer(), NOW), over);
    assert!(ask(BOOTSTRAP, IpAddr::from([192, 0, 2, 8]), NOW).is_ok());
    assert!(ask(BOOTSTRAP, peer(), NOW + 3000).is_ok());
    assert_eq!(ask("again", peer(), NOW + 3000), Err(Denied::Wrong));
    assert_eq!(ask(BOOTSTRAP, peer(), NOW + 3000), over);
    let text = metrics.render();
    for (reason, count) in [
        ("missing", 50),
        ("not-allowed", 50),
        ("too-many-failures", 3),
        ("wrong", 21),
    ] {
        let line = format!("thim_access_denied_total{{reason=\"{reason}\"}} {count}\n");
        assert!(text.contains(&line), "{line}{text}");
    }
}

#[test]
fn nothing_of_a_token_is_in_what_is_shown() {
    let access = access(vec![token("secret-word", Role::Reader, &[])]);
    let headers = bearer("secret-words");
    let denied = access.admit(&headers, peer(), Act::RotateKeys, Dialect::Bearer, NOW);
    let denied = denied.expect_err("refused");
    let told = format!("{access:?} {denied:?} {denied}");
    for secret in ["secret-word", BOOTSTRAP, PCCS_USER] {
        assert!(!told.contains(secret), "{told}");
    }
}

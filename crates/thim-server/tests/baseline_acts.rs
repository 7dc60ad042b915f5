//! Acts on baselines against a real server and store: one outcome of two operators, of a clock that is set back, of restarts;
//! a chain in which any change of any row is found; and limits that are named.

mod harness;

use harness::{Fleet, at};
use serde_json::{Value, json};
use sqlx::Connection;
use thim_server::baseline::{ActRow, BaselineTee, Scope, Selector, declared, verify_chain};
use thim_server::baselines::acting::{Drafted, NotDone, TakeBack, Unwish, Wish};
use thim_server::baselines::forecasting::Candidate;
use thim_server::server::StartError;
use thim_verify::{Digest, UnixTime};

const TDX: BaselineTee = BaselineTee::Tdx;

async fn draft(fleet: &Fleet, tenant: &str, selector: &str) -> u32 {
    let text =
        format!("[[baseline]]\ntenant = \"{tenant}\"\ntee = \"tdx\"\nselector = {selector}\n");
    let declared = declared::read(&text).expect("a good file");
    let baselines = &fleet.server().baselines;
    let drafted = baselines.draft(declared, "ops", fleet.clock.now()).await;
    match drafted.expect("drafted").as_slice() {
        [Drafted::New(row)] => row.act.version,
        other => panic!("{other:?}"),
    }
}

/// A wish with the digest of a forecast that was made just now.
async fn wish(fleet: &Fleet, tenant: &str, version: u32) -> Wish {
    let baselines = &fleet.server().baselines;
    let scope: Scope = tenant.parse().expect("a scope");
    let books = baselines.books();
    let ledger = books.ledger(&scope, TDX).expect("a draft");
    let rule = ledger.version(version).expect("this one").rule.clone();
    let candidate = Candidate {
        scope: scope.clone(),
        tee: TDX,
        rule,
        effective: None,
    };
    let foreseen = baselines.foresee(&candidate, fleet.clock.now()).await;
    Wish {
        scope,
        tee: TDX,
        version: Some(version),
        forecast: foreseen.expect("a forecast").digest,
        accept: 0,
        effective: None,
        reason: "because".to_owned(),
    }
}

async fn promote(fleet: &Fleet, tenant: &str, version: u32) -> ActRow {
    let wish = wish(fleet, tenant, version).await;
    let baselines = &fleet.server().baselines;
    let done = baselines.promote(&wish, "ops", fleet.clock.now()).await;
    done.expect("promoted")
}

fn in_force(fleet: &Fleet, tenant: &str, now: UnixTime) -> (u32, Option<Selector>) {
    let scope: Scope = tenant.parse().expect("a scope");
    let applied = fleet.server().baselines.applied(&scope, TDX, now);
    let selector = applied.rule.intel().map(|rule| rule.selector);
    (applied.version, selector)
}

/// The chain holds; its rows.
async fn chain(fleet: &Fleet) -> Vec<ActRow> {
    let (rows, head) = fleet.server().baselines.acts().await.expect("the store");
    verify_chain(&rows, Some(head)).expect("the chain holds");
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_drafted_promoted_for_a_date_withdrawn_and_rolled_back() {
    let mut fleet = Fleet::start().await;
    let baselines = fleet.server().baselines.clone();
    let now = fleet.clock.now();
    assert_eq!(
        in_force(&fleet, "default", now),
        (0, Some(Selector::Standard))
    );
    assert_eq!(draft(&fleet, "default", "{ number = 19 }").await, 1);
    assert_eq!(
        in_force(&fleet, "default", now).0,
        0,
        "a draft is not in force"
    );
    promote(&fleet, "default", 1).await;
    assert_eq!(
        in_force(&fleet, "default", now),
        (1, Some(Selector::Number(19)))
    );

    // The next one takes effect at a date, and not a second before.
    assert_eq!(draft(&fleet, "default", "\"early\"").await, 2);
    let effective = now.plus_secs(1000);
    let later = Wish {
        effective: Some(effective),
        ..wish(&fleet, "default", 2).await
    };
    baselines
        .promote(&later, "ops", now)
        .await
        .expect("promoted");
    for (instant, version) in [(999, 1), (1000, 2), (5000, 2)] {
        let instant = now.plus_secs(instant);
        assert_eq!(in_force(&fleet, "default", instant).0, version);
    }
    // It is taken back, and cannot be twice; a draft again, it can be thrown away, and not twice.
    let unwish = Unwish {
        scope: Scope::Default,
        tee: TDX,
        version: 2,
        reason: String::new(),
    };
    let take_back = |kind| baselines.take_back(kind, &unwish, "ops", now);
    take_back(TakeBack::Promotion).await.expect("withdrawn");
    let again = take_back(TakeBack::Promotion).await;
    assert!(matches!(again, Err(NotDone::NoVersion(_))), "{again:?}");
    assert_eq!(in_force(&fleet, "default", effective).0, 1);
    take_back(TakeBack::Draft).await.expect("thrown away");
    let again = take_back(TakeBack::Draft).await;
    assert!(matches!(again, Err(NotDone::NoVersion(_))), "{again:?}");

    // A version in force is left, and one that waits too: a rollback lasts.
    assert_eq!(draft(&fleet, "default", "\"early\"").await, 3);
    fleet.advance(10).await;
    promote(&fleet, "default", 3).await;
    assert_eq!(draft(&fleet, "default", "\"standard\"").await, 4);
    let waits = Wish {
        effective: Some(now.plus_secs(9000)),
        ..wish(&fleet, "default", 4).await
    };
    let at_now = fleet.clock.now();
    baselines
        .promote(&waits, "ops", at_now)
        .await
        .expect("promoted");
    fleet.advance(10).await;
    let mut back = Wish {
        version: None,
        reason: String::new(),
        ..wish(&fleet, "default", 1).await
    };
    let now = fleet.clock.now();
    let silent = baselines.roll_back(&back, "ops", now).await;
    assert!(matches!(silent, Err(NotDone::Wrong(_))), "{silent:?}");
    back.reason = "7 of 22 dropped".to_owned();
    let row = baselines.roll_back(&back, "ops", now).await.expect("back");
    assert_eq!((row.act.version, row.act.from_version), (5, Some(1)));
    for instant in [0, 20_000] {
        let instant = now.plus_secs(instant);
        assert_eq!(
            in_force(&fleet, "default", instant),
            (5, Some(Selector::Number(19)))
        );
    }
    let same = Wish {
        version: Some(5),
        ..back.clone()
    };
    for wrong in [
        same,
        Wish {
            version: Some(2),
            ..back.clone()
        },
        Wish {
            version: Some(9),
            ..back
        },
    ] {
        let refused = baselines.roll_back(&wrong, "ops", now).await;
        assert!(matches!(refused, Err(NotDone::NoVersion(_))), "{refused:?}");
    }

    let before = chain(&fleet).await;
    fleet.restart().await;
    assert_eq!(chain(&fleet).await, before);
    assert_eq!(in_force(&fleet, "default", now).0, 5);
    let names = fleet.events().await;
    for name in [
        "drafted",
        "promoted",
        "withdrawn",
        "discarded",
        "rolled-back",
    ] {
        assert!(names.contains(&format!("baseline.{name}")), "{name}");
    }
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_operators_at_once_one_promotes_and_the_other_is_told_to_look_again() {
    let fleet = Fleet::start().await;
    let baselines = fleet.server().baselines.clone();
    let now = fleet.clock.now();
    // The same draft twice.
    let version = draft(&fleet, "default", "{ number = 19 }").await;
    let wanted = wish(&fleet, "default", version).await;
    let (one, two) = tokio::join!(
        baselines.promote(&wanted, "alice", now),
        baselines.promote(&wanted, "bob", now)
    );
    assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
    let lost = one.err().or(two.err()).expect("one of them");
    assert!(matches!(lost, NotDone::NoVersion(_)), "{lost:?}");

    // Two drafts: what was looked at is not how it is any more.
    let first = draft(&fleet, "default", "\"early\"").await;
    let wish_one = wish(&fleet, "default", first).await;
    let second = draft(&fleet, "default", "\"standard\"").await;
    let stale = baselines.promote(&wish_one, "alice", now).await;
    assert!(
        matches!(stale, Err(NotDone::Stale)),
        "a draft came between: {stale:?}"
    );
    let wish_one = wish(&fleet, "default", first).await;
    let wish_two = wish(&fleet, "default", second).await;
    let (one, two) = tokio::join!(
        baselines.promote(&wish_one, "alice", now),
        baselines.promote(&wish_two, "bob", now)
    );
    assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
    let lost = one.as_ref().err().or(two.as_ref().err());
    assert!(matches!(lost, Some(NotDone::Stale)), "{lost:?}");
    let won = one.or(two).expect("one of them").act.version;
    assert_eq!(in_force(&fleet, "default", now).0, won);

    // Of another scope, nothing is stale by that.
    let theirs = draft(&fleet, "acme", "{ number = 20 }").await;
    let wanted = wish(&fleet, "acme", theirs).await;
    draft(&fleet, "default", "{ number = 18 }").await;
    let done = baselines.promote(&wanted, "acme's", now).await;
    assert!(done.is_ok(), "{done:?}");
    let acts = chain(&fleet).await;
    let promoted = acts.iter().filter(|row| row.act.kind.name() == "promote");
    assert_eq!(promoted.count(), 3);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_back_brings_nothing_back() {
    let mut fleet = Fleet::start().await;
    draft(&fleet, "default", "{ number = 19 }").await;
    promote(&fleet, "default", 1).await;
    fleet.advance(3600).await;
    draft(&fleet, "default", "\"early\"").await;
    promote(&fleet, "default", 2).await;
    let early = fleet.clock.now().plus_secs(-7200);
    assert_eq!(in_force(&fleet, "default", early).0, 2);
    fleet.clock.advance_millis(-7_200_000);
    fleet.restart().await;
    let now = fleet.clock.now();
    assert_eq!(now, early);
    assert_eq!(in_force(&fleet, "default", now).0, 2);
    // Acts go on, in order, at the instant of the last one.
    draft(&fleet, "default", "{ number = 20 }").await;
    promote(&fleet, "default", 3).await;
    assert_eq!(in_force(&fleet, "default", now).0, 3);
    let acts = chain(&fleet).await;
    let times: Vec<UnixTime> = acts.iter().map(|row| row.act.at).collect();
    assert!(times.is_sorted(), "{times:?}");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_was_tampered_with_is_found_and_such_a_store_is_not_served_from() {
    let mut fleet = Fleet::start().await;
    draft(&fleet, "default", "{ number = 19 }").await;
    promote(&fleet, "default", 1).await;
    draft(&fleet, "acme", "\"early\"").await;
    promote(&fleet, "acme", 1).await;
    let rows = chain(&fleet).await.len();
    assert_eq!(rows, 4);
    if let Some(server) = fleet.server.take() {
        server.stop().await;
    }
    let path = fleet.data().join("thim.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    let mut changes: Vec<String> = (1..=rows)
        .flat_map(|seq| {
            [
                "reason = 'another'",
                "who = 'another'",
                "version = version + 1",
                "at = at + 1",
                "effective = 5",
                "scope = 'floor'",
                "hash = previous",
                "rule = REPLACE(COALESCE(rule, '{}'), '19', '18') || ' '",
            ]
            .map(|change| format!("UPDATE baseline_act SET {change} WHERE seq = {seq}"))
        })
        .collect();
    changes.extend((1..=rows).map(|seq| format!("DELETE FROM baseline_act WHERE seq = {seq}")));
    changes.push("UPDATE meta SET value = '00' WHERE name = 'baseline_head'".to_owned());
    changes.push("DELETE FROM baseline_act".to_owned());
    for change in &changes {
        let mut connection = sqlx::SqliteConnection::connect_with(&options)
            .await
            .expect("opens");
        for table in ["baseline_act", "meta"] {
            let copy = format!("CREATE TEMP TABLE kept_{table} AS SELECT * FROM {table}");
            sqlx::raw_sql(sqlx::AssertSqlSafe(copy))
                .execute(&mut connection)
                .await
                .expect("kept");
        }
        let done = sqlx::raw_sql(sqlx::AssertSqlSafe(change.clone()))
            .execute(&mut connection)
            .await
            .expect("altered");
        assert!(done.rows_affected() > 0, "{change}");
        let opened = fleet.try_serve().await;
        assert!(
            matches!(opened, Err(StartError::Baselines(_))),
            "{change}: {opened:?}"
        );
        for table in ["baseline_act", "meta"] {
            let back =
                format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM kept_{table}");
            sqlx::raw_sql(sqlx::AssertSqlSafe(back))
                .execute(&mut connection)
                .await
                .expect("put back");
        }
        connection.close().await.expect("closed");
    }
    fleet.serve().await;
    assert_eq!(chain(&fleet).await.len(), rows, "as it was");
    fleet.stop().await;
}

async fn post(fleet: &Fleet, path: &str, body: &Value) -> (u16, Value) {
    let token = std::fs::read_to_string(fleet.data().join("admin.token")).expect("a token");
    let request = fleet
        .client
        .post(fleet.url(path))
        .bearer_auth(token.trim())
        .json(body);
    let answer = fleet.send(request).await;
    let value = serde_json::from_slice(&answer.body).expect("JSON");
    (answer.status, value)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_wants_a_token_and_names_the_field_and_the_limit() {
    let fleet = Fleet::start().await;
    for path in ["", "/tdx", "/log"] {
        let answer = fleet.get(&format!("/thim/v1/baselines{path}")).await;
        assert_eq!(answer.status, 401, "{path}");
    }
    let open = fleet.client.post(fleet.url("/thim/v1/baselines/apply"));
    assert_eq!(
        fleet.send(open.json(&json!({"toml": ""}))).await.status,
        401
    );
    let apply = |toml: &str| json!({ "toml": toml });
    let zeros = Digest([0; 32]).to_string();
    let promotion = json!({ "forecast": zeros });
    let long = "x".repeat(1001);
    for (path, body, status, detail) in [
        ("apply", apply("x"), 400, "file: "),
        (
            "apply",
            apply("[[baseline]]\ntee = \"tdx\"\ntenant = \"sgx\""),
            400,
            "baseline 1: tenant: ",
        ),
        ("apply", json!({}), 400, "missing field `toml`"),
        ("diff", apply(""), 400, "baseline: the file has none"),
        ("tdx/promote", json!({}), 400, "missing field `forecast`"),
        (
            "tdx/promote",
            json!({ "forecast": "00" }),
            400,
            "forecast: ",
        ),
        (
            "tdx/promote",
            json!({ "forecast": zeros, "effective": "soon" }),
            400,
            "effective: ",
        ),
        (
            "tdx/promote",
            json!({ "forecast": zeros, "tenant": "A" }),
            400,
            "tenant: ",
        ),
        (
            "tdx/promote",
            json!({ "forecast": zeros, "reason": long }),
            400,
            "reason: longer than 1000 characters",
        ),
        (
            "amd/promote",
            promotion.clone(),
            400,
            "tee: wanted sgx, tdx or sev-snp",
        ),
        (
            "tdx/promote",
            promotion.clone(),
            404,
            "baseline default for tdx has no draft",
        ),
        (
            "tdx/rollback",
            json!({ "forecast": zeros, "reason": "r" }),
            404,
            "baseline default for tdx has no version in force",
        ),
        (
            "tdx/discard",
            json!({ "version": 1 }),
            404,
            "version 1 of baseline default for tdx is no draft",
        ),
        (
            "tdx/withdraw",
            json!({ "version": 1 }),
            404,
            "version 1 of baseline default for tdx waits for no effective date",
        ),
    ] {
        let (got, problem) = post(&fleet, &format!("/thim/v1/baselines/{path}"), &body).await;
        let text = problem["detail"].as_str().unwrap_or_default();
        assert!(
            got == status && text.contains(detail),
            "{path} {body}: {got} {problem}"
        );
    }
    let (status, _) = post(
        &fleet,
        "/thim/v1/baselines/apply",
        &apply("[[baseline]]\ntee = \"tdx\"\nselector = { number = 20 }"),
    )
    .await;
    assert_eq!(status, 200);
    let (status, problem) = post(&fleet, "/thim/v1/baselines/tdx/promote", &promotion).await;
    assert_eq!(status, 409, "{problem}");
    assert_eq!(
        chain(&fleet).await.len(),
        1,
        "nothing was changed by what was refused"
    );
    assert_eq!(at("2026-11-24T12:00:00Z"), fleet.clock.now());
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forecast_of_a_floor_ends_with_what_any_tenant_does() {
    let fleet = Fleet::start().await;
    let baselines = fleet.server().baselines.clone();
    let now = fleet.clock.now();
    let floor = draft(&fleet, "floor", "{ number = 20 }").await;
    let wanted = wish(&fleet, "floor", floor).await;
    let theirs = draft(&fleet, "acme", "{ number = 19 }").await;
    promote(&fleet, "acme", theirs).await;
    let stale = baselines.promote(&wanted, "ops", now).await;
    assert!(matches!(stale, Err(NotDone::Stale)), "{stale:?}");
    let wanted = wish(&fleet, "floor", floor).await;
    baselines
        .promote(&wanted, "ops", now)
        .await
        .expect("looked at again");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_effect_later_is_judged_as_of_then_and_versions_take_effect_in_order() {
    let fleet = Fleet::start().await;
    let baselines = fleet.server().baselines.clone();
    let now = fleet.clock.now();
    let later = now.plus_secs(30 * 86_400);
    let first = draft(&fleet, "default", "{ number = 19 }").await;
    let mut wanted = wish(&fleet, "default", first).await;
    wanted.effective = Some(later);
    baselines
        .promote(&wanted, "ops", now)
        .await
        .expect("promoted");
    let second = draft(&fleet, "default", "\"early\"").await;
    let wanted = wish(&fleet, "default", second).await;
    let refused = baselines.promote(&wanted, "ops", now).await;
    let why = refused
        .expect_err("the older one comes after it")
        .to_string();
    assert!(why.contains("withdraw it first"), "{why}");
    // A version that never was in force is none to go back to.
    let mut back = wish(&fleet, "default", first).await;
    let refused = baselines.roll_back(&back, "ops", now).await;
    assert!(matches!(refused, Err(NotDone::NoVersion(_))), "{refused:?}");
    let unwish = Unwish {
        scope: Scope::Default,
        tee: TDX,
        version: first,
        reason: String::new(),
    };
    baselines
        .take_back(TakeBack::Promotion, &unwish, "ops", now)
        .await
        .expect("withdrawn");
    promote(&fleet, "default", second).await;
    assert_eq!(in_force(&fleet, "default", later).0, second);
    back.version = None;
    let refused = baselines.roll_back(&back, "ops", now).await;
    assert!(matches!(refused, Err(NotDone::NoVersion(_))), "{refused:?}");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn open_events_say_that_somebody_acted_and_not_who_or_for_whom() {
    let fleet = Fleet::start().await;
    let version = draft(&fleet, "acme", "\"early\"").await;
    promote(&fleet, "acme", version).await;
    let open = fleet.get("/thim/v1/events?limit=1000").await;
    assert!(open.text().contains("baseline.promoted"), "{}", open.text());
    for secret in ["acme", "by ops", "drop out"] {
        assert!(!open.text().contains(secret), "{secret}: {}", open.text());
    }
    let token = std::fs::read_to_string(fleet.data().join("admin.token")).expect("a token");
    let request = fleet.client.get(fleet.url("/thim/v1/events?limit=1000"));
    let told = fleet.send(request.bearer_auth(token.trim())).await;
    assert!(told.text().contains("acme"), "{}", told.text());
    fleet.stop().await;
}

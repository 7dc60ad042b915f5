//! The story of August 2026 on the simulator: a fleet of 22 trust-domain hosts, of which 15 got the new firmware, and the day on which
//! the vendor's standard moves from 19 to 20. Told 60, 30 and 7 days before, by name; and what staying on 19 does about it.

mod baseline_support;
mod harness;
mod platform_support;

use std::collections::BTreeSet;

use baseline_support::promote;
use harness::{BOTH, Fleet, SGX_ONLY};
use platform_support::{admin, hex, pckcert, register, row};
use serde_json::{Value, json};
use thim_sim::{PlatformSpec, QuoteBody, QuoteSpec, QuoteVersion};

const DAY: i64 = 86_400;

async fn forecast(fleet: &Fleet, body: &Value) -> (u16, Value) {
    let url = fleet.url("/thim/v1/baselines/forecast");
    let request = fleet.client.post(url).bearer_auth(admin(fleet)).json(body);
    let answer = fleet.send(request).await;
    let told = serde_json::from_slice(&answer.body).expect("JSON");
    (answer.status, told)
}

async fn foretold(fleet: &Fleet, to: &Value) -> Value {
    let (status, told) = forecast(fleet, &json!({"tee": "tdx", "to": to, "limit": 100})).await;
    assert_eq!(status, 200, "{told}");
    told
}

/// Ids of all platforms that drop out by these causes.
fn dropping(causes: &Value) -> BTreeSet<String> {
    let all = causes.as_array().expect("a list").iter();
    all.filter(|cause| cause["drops"] == true)
        .flat_map(|cause| cause["platforms"].as_array().expect("ids").clone())
        .map(|id| id.as_str().expect("text").to_owned())
        .collect()
}

fn column<'a>(told: &'a Value, name: &str) -> &'a Value {
    let mut all = told["columns"].as_array().expect("a list").iter();
    all.find(|column| column["name"] == name)
        .expect("this column")
}

/// Ten days at a time, so that nothing kept fresh ends.
async fn live(fleet: &Fleet, days: i64) {
    for _ in 0..days / 10 {
        fleet.clock.advance_millis(1_000 * DAY * 10);
        fleet.refresh().await;
        fleet.tick().await;
    }
    fleet.clock.advance_millis(1_000 * DAY * (days % 10));
    fleet.refresh().await;
    fleet.tick().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_seven_of_twenty_two_are_named_before_standard_moves() {
    let fleet = Fleet::start_with(|config| config.evidence.record = true).await;
    fleet.management().keep_numbers_from(Some(18));
    let spec = QuoteSpec::new(QuoteVersion::V5, QuoteBody::Td15);
    let mut old = BTreeSet::new();
    for at in 0..22 {
        let platform = fleet
            .management()
            .add_platform(PlatformSpec::new(BOTH, 1))
            .expect("a platform");
        assert!(register(&fleet, &platform).await.status < 300);
        if at >= 7 {
            fleet
                .management()
                .upgrade(&platform.name)
                .expect("upgraded");
        }
        let quote = fleet
            .management()
            .quote(&platform.name, &spec)
            .expect("a quote");
        let request = fleet
            .client
            .post(fleet.url("/thim/v1/evidence/explain"))
            .body(quote);
        let told: Value = serde_json::from_slice(&fleet.send(request).await.body).expect("JSON");
        assert_eq!(told["recorded"], true, "{told}");
        if at < 7 {
            old.insert(row(&fleet, &platform).await.id);
        }
    }
    // One whose trust domains nobody ever saw, and one that has none.
    let unseen = fleet
        .management()
        .add_platform(PlatformSpec::new(BOTH, 1))
        .expect("a platform");
    assert!(register(&fleet, &unseen).await.status < 300);
    let other = fleet
        .management()
        .add_platform(PlatformSpec::new(SGX_ONLY, 1))
        .expect("a platform");
    assert!(register(&fleet, &other).await.status < 300);
    fleet.refresh().await;
    fleet.tick().await;

    // 19 is standard in about three months, 20 in about nine: go to when 19 is.
    let to_20 = |told: &Value| -> Value {
        let mut moves = told["moves"].as_array().expect("a list").iter();
        moves
            .find(|one| one["number"] == 20)
            .expect("it comes")
            .clone()
    };
    let told = foretold(&fleet, &json!("standard")).await;
    assert_eq!(column(&told, "current")["number"], 18);
    assert_eq!(
        (&told["platforms"], &told["not_applicable"]),
        (&json!(23), &json!(1))
    );
    let days = to_20(&told)["days"].as_i64().expect("days");
    live(&fleet, days - 60).await;
    for before in [60, 30, 7] {
        let told = foretold(&fleet, &json!("standard")).await;
        assert_eq!(column(&told, "current")["number"], 19);
        let verdicts = json!({"met": 22, "unknown": 1});
        assert_eq!(
            column(&told, "current")["verdicts"],
            verdicts,
            "unknown is not UpToDate"
        );
        assert_eq!(
            column(&told, "current")["unknown"],
            json!({"no-tee-tcb-svn": 1})
        );
        assert_eq!(
            column(&told, "early")["verdicts"],
            json!({"below": 7, "met": 15, "unknown": 1})
        );
        assert_eq!(
            (&told["dropped"], &told["causes"]),
            (&json!(0), &json!([])),
            "nothing changes today"
        );
        let moves = to_20(&told);
        assert_eq!(moves["days"], before);
        assert_eq!(
            (&moves["followed"], &moves["dropped"]),
            (&json!(true), &json!(7)),
            "{moves}"
        );
        assert_eq!(dropping(&moves["causes"]), old);
        let cause = &moves["causes"][0];
        assert_eq!(
            (&cause["from"]["status"], &cause["to"]["status"]),
            (&json!("UpToDate"), &json!("OutOfDate"))
        );
        let short = &cause["short"][0];
        assert!(
            short["have"].as_u64() < short["need"].as_u64()
                && short["who"].is_string()
                && short["action"].is_string(),
            "{cause}"
        );

        // Who stays on 19 loses nobody, neither now nor then.
        let stay = foretold(&fleet, &json!(19)).await;
        assert_eq!(stay["dropped"], 0);
        assert_eq!(
            (&to_20(&stay)["followed"], &to_20(&stay)["dropped"]),
            (&json!(false), &json!(0))
        );
        // And who would go to 20 today loses the seven.
        let go = foretold(&fleet, &json!(20)).await;
        assert_eq!(
            (&go["dropped"], dropping(&go["causes"])),
            (&json!(7), old.clone())
        );
        live(
            &fleet,
            match before {
                60 => 30,
                30 => 23,
                _ => 0,
            },
        )
        .await;
    }

    // `acme` stays, everybody else goes along; the day comes.
    promote(&fleet, "acme", "tdx", "{ number = 19 }").await;
    live(&fleet, 10).await;
    let told = foretold(&fleet, &json!("standard")).await;
    assert_eq!(column(&told, "current")["number"], 20);
    assert_eq!(
        column(&told, "current")["verdicts"],
        json!({"below": 7, "met": 15, "unknown": 1})
    );
    let (_, acme) = forecast(
        &fleet,
        &json!({"tee": "tdx", "tenant": "acme", "to": "standard"}),
    )
    .await;
    assert_eq!(
        column(&acme, "current")["verdicts"],
        json!({"met": 22, "unknown": 1})
    );
    assert_eq!(acme["dropped"], 7);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_that_drops_platforms_wants_to_be_told_how_many_and_what_changes_meanwhile_makes_it_stale()
 {
    let fleet = Fleet::start_with(|config| config.evidence.record = true).await;
    let spec = QuoteSpec::new(QuoteVersion::V5, QuoteBody::Td15);
    let known = fleet
        .management()
        .add_platform(PlatformSpec::new(BOTH, 1))
        .expect("a platform");
    for at in 0..3 {
        let platform = match at {
            0 => known.clone(),
            _ => fleet
                .management()
                .add_platform(PlatformSpec::new(BOTH, 1))
                .expect("a platform"),
        };
        assert!(register(&fleet, &platform).await.status < 300);
        let quote = fleet
            .management()
            .quote(&platform.name, &spec)
            .expect("a quote");
        let request = fleet
            .client
            .post(fleet.url("/thim/v1/evidence/explain"))
            .body(quote);
        assert_eq!(fleet.send(request).await.status, 200);
    }
    let post = async |path: &str, body: Value| -> (u16, Value) {
        let url = fleet.url(&format!("/thim/v1/baselines/{path}"));
        let request = fleet
            .client
            .post(url)
            .bearer_auth(admin(&fleet))
            .json(&body);
        let answer = fleet.send(request).await;
        (
            answer.status,
            serde_json::from_slice(&answer.body).expect("JSON"),
        )
    };
    let file = "[[baseline]]\ntee = \"tdx\"\nselector = { number = 20 }\n";
    assert_eq!(post("apply", json!({ "toml": file })).await.0, 200);
    let told = foretold(&fleet, &json!("draft")).await;
    assert_eq!(told["dropped"], 3);
    // Put up with for a month: nobody drops out now, and it is told who will then.
    let until = fleet.clock.now().plus_secs(30 * DAY);
    let advisories: Vec<Value> = told["causes"][0]["advisories"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|id| json!({"id": id, "until": until.to_string()}))
        .collect();
    let rule = json!({"selector": {"number": 20}, "tolerated_advisories": advisories});
    let tolerant = foretold(&fleet, &rule).await;
    assert_eq!(
        (&tolerant["dropped"], &tolerant["columns"][1]["verdicts"]),
        (&json!(0), &json!({"tolerated": 3})),
        "{tolerant}"
    );
    let note = format!("When advisories are tolerated no longer, at {until}, 3 more drop out.");
    assert!(tolerant["notes"].to_string().contains(&note), "{tolerant}");
    let later = json!({"tee": "tdx", "to": rule, "effective": until.to_string()});
    let (_, later) = forecast(&fleet, &later).await;
    assert_eq!(later["dropped"], 3, "as of then: {later}");

    let digest = told["digest"].clone();
    let (status, problem) = post("tdx/promote", json!({"forecast": digest})).await;
    assert_eq!(
        (status, problem["detail"].as_str()),
        (422, Some("3 platforms would drop out, and 0 are accepted"))
    );
    let (status, _) = post("tdx/promote", json!({"forecast": digest, "accept": 2})).await;
    assert_eq!(status, 422);
    // The same again is the same, whatever an open request makes up; another platform is not.
    assert_eq!(foretold(&fleet, &json!("draft")).await["digest"], digest);
    let asked = pckcert(&known).replace(&hex(&known.cpu_svn), &"FF".repeat(16));
    assert_eq!(fleet.get(&asked).await.status, 200);
    let again = foretold(&fleet, &json!("draft")).await;
    assert_eq!((&again["digest"], &again["dropped"]), (&digest, &json!(3)));
    assert_eq!(again["known_by"], json!({"quote": 3}));
    let platform = fleet
        .management()
        .add_platform(PlatformSpec::new(BOTH, 1))
        .expect("a platform");
    assert!(register(&fleet, &platform).await.status < 300);
    let (status, problem) = post("tdx/promote", json!({"forecast": digest, "accept": 3})).await;
    assert_eq!(
        (status, &problem["title"]),
        (409, &json!("The forecast is stale"))
    );
    let digest = foretold(&fleet, &json!("draft")).await["digest"].clone();
    let (status, act) = post(
        "tdx/promote",
        json!({"forecast": digest, "accept": 3, "reason": "go"}),
    )
    .await;
    assert_eq!(
        (status, &act["dropped"], &act["forecast"]),
        (200, &json!(3), &digest),
        "{act}"
    );

    for (body, wanted, detail) in [
        (
            json!({"tee": "tdx", "to": "soon"}),
            400,
            "to: wanted standard, early, draft",
        ),
        (
            json!({"tee": "tdx", "to": 0}),
            400,
            "to: wanted a number of 1 or more",
        ),
        (
            json!({"tee": "tdx", "to": {"selector": "newest"}}),
            400,
            "to.rule: ",
        ),
        (
            json!({"tee": "tdx", "to": "early", "limit": 1001}),
            400,
            "limit: 1001; the limit is 1000",
        ),
        (json!({"tee": "amd", "to": "early"}), 400, "tee: "),
        (
            json!({"tee": "sev-snp", "to": "early"}),
            404,
            "no evaluation numbers",
        ),
        (json!({"tee": "tdx", "to": "draft"}), 404, "has no draft"),
        (
            json!({"tee": "tdx", "to": {"version": 9}}),
            404,
            "no version 9",
        ),
    ] {
        let (status, problem) = forecast(&fleet, &body).await;
        let text = problem["detail"].as_str().unwrap_or_default();
        assert!(
            status == wanted && text.contains(detail),
            "{body}: {status} {problem}"
        );
    }
    let open = fleet
        .client
        .post(fleet.url("/thim/v1/baselines/forecast"))
        .json(&json!({"tee": "tdx", "to": "early"}));
    assert_eq!(fleet.send(open).await.status, 401);
    fleet.stop().await;
}

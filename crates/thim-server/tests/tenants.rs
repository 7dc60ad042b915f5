//! Three tenants on three numbers, through Intel's and Azure's request forms: each gets its own in TCB infos and identities,
//! none goes under the floor, and a revocation reaches all of them at once. Then what becomes of a number that moves, or that
//! the vendor retires.

mod baseline_support;
mod harness;
mod platform_support;

use baseline_support::{promote, promote_for};
use harness::{Answer, BOTH, Fleet, SGX_ONLY};
use platform_support::register;
use thim_server::baseline::declared;
use thim_server::upstream::Fill;
use thim_sim::{Ca, Fault, FaultRule, PlatformSpec, Revocation};

const DAY: i64 = 86_400;

/// What a TCB info or an identity says of its number.
fn number(answer: &Answer) -> u64 {
    assert_eq!(answer.status, 200, "{answer:?}");
    let document: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
    let inner = document.get("tcbInfo").or(document.get("enclaveIdentity"));
    let inner = inner.expect("a TCB info or an identity");
    inner["tcbEvaluationDataNumber"].as_u64().expect("a number")
}

fn cause(answer: &Answer) -> &str {
    answer
        .header("thim-cause")
        .split(';')
        .next()
        .unwrap_or_default()
}

/// Everything that a verifier of a trust domain's quote gathers.
fn tdx_set(tenant: &str) -> [String; 2] {
    [
        format!("{tenant}/tdx/certification/v4/tcb?fmspc={BOTH}"),
        format!("{tenant}/tdx/certification/v4/qe/identity"),
    ]
}

async fn numbers(fleet: &Fleet, paths: &[String]) -> Vec<u64> {
    let mut all = Vec::new();
    for path in paths {
        all.push(number(&fleet.get(path).await));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn three_tenants_get_their_numbers_and_none_goes_under_the_floor() {
    let fleet = Fleet::start().await;
    fleet.refresh().await;
    let azure = "clientid=x&api-version=2020-02-12-preview";
    for (tenant, selector) in [
        ("one", "{ number = 19 }"),
        ("two", "{ number = 20 }"),
        ("three", "\"early\""),
    ] {
        promote(&fleet, tenant, "tdx", selector).await;
        promote(&fleet, tenant, "sgx", selector).await;
    }
    fleet.advance(60).await;
    fleet.management().recovery(0).expect("number 21");
    fleet.advance(3600).await;
    fleet.refresh().await;
    fleet.tick().await;
    fleet.refresh().await;
    fleet.tick().await;
    for (tenant, wanted) in [("one", 19), ("two", 20), ("three", 21), ("default", 18)] {
        let base = format!("/tenants/{tenant}");
        let paths = [
            format!("{base}/tdx/certification/v4/tcb?fmspc={BOTH}"),
            format!("{base}/tdx/certification/v4/tcb?fmspc={BOTH}&{azure}"),
            format!("{base}/tdx/certification/v4/qe/identity"),
            format!("{base}/tdx/certification/v4/qe/identity?{azure}"),
            format!("{base}/sgx/certification/v4/tcb?fmspc={SGX_ONLY}"),
            format!("{base}/sgx/certification/v4/tcb?fmspc={SGX_ONLY}&{azure}"),
            format!("{base}/sgx/certification/v4/qe/identity"),
            format!("{base}/sgx/certification/v4/qve/identity"),
        ];
        let found = numbers(&fleet, &paths).await;
        assert_eq!(found, [wanted; 8], "{tenant}");
        let answer = fleet.get(&paths[0]).await;
        let expected = if tenant == "default" {
            String::new()
        } else {
            format!("{tenant}; number={wanted}; version=1")
        };
        let told = answer
            .headers
            .get("thim-baseline")
            .map_or("", |value| value.to_str().expect("text"));
        assert_eq!(told, expected);
    }
    assert_eq!(
        numbers(&fleet, &tdx_set("")).await,
        [18, 18],
        "everybody else"
    );
    // The caller's own word still counts.
    let path = format!("/tenants/one/tdx/certification/v4/tcb?fmspc={BOTH}&update=early");
    let early = fleet.get(&path).await;
    assert_eq!(number(&early), 21);
    assert_eq!(
        early.header("thim-baseline"),
        "one; number=21; version=1; asked"
    );

    promote(&fleet, "floor", "tdx", "{ number = 20 }").await;
    for path in [
        format!("/tenants/one/tdx/certification/v4/tcb?fmspc={BOTH}"),
        "/tenants/one/tdx/certification/v4/qe/identity".to_owned(),
        format!("/tenants/two/tdx/certification/v4/tcb?fmspc={BOTH}&tcbEvaluationDataNumber=19"),
        format!("/tdx/certification/v4/tcb?fmspc={BOTH}"),
        format!("/tdx/certification/v4/tcb?fmspc={BOTH}&update=standard"),
        format!("/tdx/certification/v4/tcb?fmspc={BOTH}&tcbEvaluationDataNumber=19&{azure}"),
    ] {
        let refused = fleet.get(&path).await;
        assert_eq!(
            (refused.status, cause(&refused)),
            (404, "below-floor"),
            "{path}"
        );
    }
    assert_eq!(numbers(&fleet, &tdx_set("/tenants/two")).await, [20, 20]);
    // The floor is TDX's alone.
    let path = format!("/tenants/one/sgx/certification/v4/tcb?fmspc={BOTH}");
    assert_eq!(number(&fleet.get(&path).await), 19);
    // Nor can anybody promote below it.
    let refused = baseline_support::try_promote(&fleet, "four", "tdx", "{ number = 19 }").await;
    let why = refused.expect_err("it is below").to_string();
    assert_eq!(
        why,
        "evaluation number 19 is below the operator's floor, 20"
    );

    for path in [
        "/tenants/nobody/sgx/certification/v4/rootcacrl",
        "/tenants/One/sgx/certification/v4/rootcacrl",
        "/tenants/sgx/sgx/certification/v4/rootcacrl",
        "/tenants/one",
        "/tenants/floor/sgx/certification/v4/rootcacrl",
    ] {
        let refused = fleet.get(path).await;
        assert_eq!(
            (refused.status, cause(&refused)),
            (404, "unknown-tenant"),
            "{path}"
        );
    }
    for path in [
        "/tenants/one/metrics",
        "/tenants/one/thim/v1/status",
        "/tenants/one/healthz/live",
        "/tenants/one/tenants/two/sgx/certification/v4/rootcacrl",
    ] {
        assert_eq!(fleet.get(path).await.status, 404, "{path}");
    }
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_reaches_every_tenant_at_once() {
    let fleet = Fleet::start().await;
    promote(&fleet, "one", "tdx", "{ number = 19 }").await;
    promote(&fleet, "two", "tdx", "\"early\"").await;
    let crl =
        |tenant: &str| format!("{tenant}/sgx/certification/v4/pckcrl?ca=platform&encoding=der");
    let before = fleet.get(&crl("")).await;
    for tenant in ["/tenants/one", "/tenants/two", "/tenants/default"] {
        assert_eq!(fleet.get(&crl(tenant)).await.body, before.body, "{tenant}");
    }
    fleet.advance(60).await;
    fleet
        .management()
        .revoke(&Revocation::random(Ca::Platform, 3))
        .expect("revoked");
    fleet.refresh().await;
    let after = fleet.get(&crl("")).await;
    assert_ne!(after.body, before.body);
    for tenant in ["/tenants/one", "/tenants/two", "/tenants/default"] {
        assert_eq!(fleet.get(&crl(tenant)).await.body, after.body, "{tenant}");
    }
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_moves_for_all_of_a_set_at_once_and_never_back() {
    let mut fleet = Fleet::start().await;
    fleet.management().keep_numbers_from(Some(18));
    fleet.get(&tdx_set("")[0]).await;
    fleet.refresh().await;
    fleet.tick().await;
    assert_eq!(numbers(&fleet, &tdx_set("")).await, [18, 18]);
    // What comes is fetched ahead: but for one document, that the vendor does not give.
    let one = format!("{BOTH}&tcbEvaluationDataNumber=19");
    fleet
        .management()
        .set_fault(FaultRule::new(Fault::Down).matching(&one))
        .expect("a fault");
    // 19 is standard a year after its event, which was nine months ago.
    for _ in 0..11 {
        fleet.clock.advance_millis(1_000 * DAY * 10);
        fleet.refresh().await;
        fleet.tick().await;
    }
    let named = "/tdx/certification/v4/qe/identity?tcbEvaluationDataNumber=19";
    assert_eq!(number(&fleet.get(named).await), 19, "it is here");
    let word = "/tdx/certification/v4/qe/identity?update=standard";
    assert_eq!(number(&fleet.get(word).await), 19, "it is standard");
    fleet.refresh().await;
    fleet.tick().await;
    assert_eq!(numbers(&fleet, &tdx_set("")).await, [18, 18], "it stays");
    fleet.management().clear_faults();
    fleet.refresh().await;
    fleet.tick().await;
    assert_eq!(
        numbers(&fleet, &tdx_set("")).await,
        [19, 19],
        "it has moved"
    );
    let standard: serde_json::Value =
        serde_json::from_str(fleet.get("/thim/v1/status").await.text()).expect("JSON");
    assert!(standard.is_object());
    // A restart, and a clock that is set back, bring nothing back.
    fleet.clock.advance_millis(1_000 * DAY * 2);
    fleet.restart().await;
    assert_eq!(numbers(&fleet, &tdx_set("")).await, [19, 19]);
    fleet.clock.advance_millis(-1_000 * DAY);
    fleet.restart().await;
    assert_eq!(numbers(&fleet, &tdx_set("")).await, [19, 19]);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_vendor_retires_a_number_each_choice_does_what_it_says() {
    let fleet = Fleet::start().await;
    fleet.management().keep_numbers_from(Some(18));
    for (tenant, rest) in [
        ("forward", "on_retired = \"roll-forward\""),
        ("archive", "on_retired = \"archive\"\nserve_archived = true"),
        ("refuse", "on_retired = \"refuse\""),
    ] {
        promote_for(&fleet, tenant, "tdx", "{ number = 18 }", rest).await;
    }
    fleet.get(&tdx_set("")[0]).await;
    fleet.refresh().await;
    fleet.tick().await;
    let all = ["forward", "archive", "refuse"].map(|tenant| tdx_set(&format!("/tenants/{tenant}")));
    // Standard is 19 in the end, and 18 is signed all the same: nobody moves.
    for _ in 0..12 {
        fleet.clock.advance_millis(1_000 * DAY * 10);
        fleet.refresh().await;
        fleet.tick().await;
    }
    assert_eq!(numbers(&fleet, &tdx_set("")).await, [19, 19]);
    for set in &all {
        assert_eq!(numbers(&fleet, set).await, [18, 18], "{set:?}");
    }
    // Now it is retired.
    fleet.management().keep_numbers_from(None);
    fleet.clock.advance_millis(1_000 * DAY);
    fleet.refresh().await;
    fleet.tick().await;
    let [forward, archive, refuse] = all;
    assert_eq!(numbers(&fleet, &forward).await, [19, 19]);
    for path in &refuse {
        let refused = fleet.get(path).await;
        assert_eq!(
            (refused.status, cause(&refused)),
            (404, "number-retired"),
            "{path}"
        );
    }
    assert_eq!(numbers(&fleet, &archive).await, [18, 18]);
    // Past its next update and its grace it is served still, and marked.
    fleet.clock.advance_millis(1_000 * DAY * 45);
    fleet.refresh().await;
    fleet.tick().await;
    for path in &archive {
        let answer = fleet.get(path).await;
        assert_eq!(number(&answer), 18);
        assert_eq!(answer.header("cache-control"), "max-age=1");
        assert_eq!(answer.header("warning"), "110 - \"Response is Stale\"");
        assert!(
            answer.header("thim-freshness").contains("state=expired"),
            "{answer:?}"
        );
        assert_eq!(
            answer.header("thim-baseline"),
            "archive; number=18; version=1; archived"
        );
    }
    assert_eq!(numbers(&fleet, &forward).await, [19, 19]);
    let metrics = fleet.get("/metrics").await;
    assert!(
        metrics.text().contains("thim_served_archived_total 2"),
        "{}",
        metrics.text()
    );
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_draft_needs_is_fetched_before_anybody_promotes_it() {
    // Misses are not fetched here: what is there, the refresh brought.
    let fleet = Fleet::start_with(|config| config.intel.fill = Fill::Req).await;
    fleet.management().keep_numbers_from(Some(17));
    let platform = fleet
        .management()
        .add_platform(PlatformSpec::new(BOTH, 1))
        .expect("a platform");
    let registered = register(&fleet, &platform).await;
    assert!(registered.status < 300, "{registered:?}");
    fleet.refresh().await;
    fleet.tick().await;
    let seventeen = format!("/tdx/certification/v4/tcb?fmspc={BOTH}&tcbEvaluationDataNumber=17");
    let before = fleet.get(&seventeen).await;
    assert_eq!((before.status, cause(&before)), (404, "not-held"));
    let text = "[[baseline]]\ntenant = \"old\"\ntee = \"tdx\"\nselector = { number = 17 }\n";
    let declared = declared::read(text).expect("a good file");
    let baselines = &fleet.server().baselines;
    let drafted = baselines.draft(declared, "ops", fleet.clock.now()).await;
    drafted.expect("drafted");
    fleet.tick().await;
    fleet.advance(60).await;
    fleet.refresh().await;
    assert_eq!(number(&fleet.get(&seventeen).await), 17);
    let identity = "/tdx/certification/v4/qe/identity?tcbEvaluationDataNumber=17";
    assert_eq!(number(&fleet.get(identity).await), 17);
    // What nobody needs is not fetched.
    let other = fleet.get(&seventeen.replace("=17", "=16")).await;
    assert_ne!(other.status, 200);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_floor_holds_where_its_own_number_is_retired() {
    let fleet = Fleet::start().await;
    fleet.management().keep_numbers_from(Some(17));
    fleet.get(&tdx_set("")[0]).await;
    fleet.refresh().await;
    fleet.tick().await;
    promote_for(
        &fleet,
        "old",
        "tdx",
        "{ number = 17 }",
        "on_retired = \"archive\"\nserve_archived = true",
    )
    .await;
    fleet.tick().await;
    fleet.refresh().await;
    assert_eq!(numbers(&fleet, &tdx_set("/tenants/old")).await, [17, 17]);
    promote_for(
        &fleet,
        "floor",
        "tdx",
        "{ number = 18 }",
        "on_retired = \"refuse\"",
    )
    .await;
    let paths = [
        tdx_set("/tenants/old")[0].clone(),
        format!("/tdx/certification/v4/tcb?fmspc={BOTH}&tcbEvaluationDataNumber=17"),
    ];
    let refused = async |when: &str| {
        for path in &paths {
            let answer = fleet.get(path).await;
            assert_eq!(
                (answer.status, cause(&answer)),
                (404, "below-floor"),
                "{when}: {path}"
            );
        }
    };
    refused("18 is standard").await;
    // A year on 19 is standard, and the vendor signs 17 and 18 no longer.
    for _ in 0..11 {
        fleet.clock.advance_millis(1_000 * DAY * 10);
        fleet.refresh().await;
        fleet.tick().await;
    }
    fleet.management().keep_numbers_from(None);
    fleet.clock.advance_millis(1_000 * DAY);
    fleet.refresh().await;
    fleet.tick().await;
    refused("18 is retired").await;
    assert_eq!(numbers(&fleet, &tdx_set("")).await, [19, 19]);
    // Who goes by dates gets no older number for a newer one, and none for one that it never had.
    let later = "Fri, 01 Jan 2100 00:00:00 GMT";
    let request = fleet.client.get(fleet.url(&tdx_set("")[0]));
    let answer = fleet.send(request.header("If-Modified-Since", later)).await;
    assert_eq!(number(&answer), 19);
    let request = fleet.client.get(fleet.url(&tdx_set("")[0]));
    let same = request.header("If-Modified-Since", answer.header("last-modified"));
    assert_eq!(fleet.send(same).await.status, 304);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_floor_holds_where_no_list_can_be_had() {
    let fleet = Fleet::start().await;
    fleet
        .management()
        .set_fault(FaultRule::new(Fault::Down).matching("tcbevaluationdatanumbers"))
        .expect("a fault");
    promote(&fleet, "floor", "tdx", "{ number = 19 }").await;
    let path = format!("/tdx/certification/v4/tcb?fmspc={BOTH}");
    for word in ["", "&update=standard"] {
        let answer = fleet.get(&format!("{path}{word}")).await;
        assert_eq!(
            (answer.status, cause(&answer)),
            (404, "below-floor"),
            "{word}"
        );
    }
    let early = fleet.get(&format!("{path}&update=early")).await;
    assert_eq!(number(&early), 20);
    // A floor that nobody can tell is not taken for none.
    promote(&fleet, "floor", "tdx", "\"standard\"").await;
    fleet.advance(60).await;
    let answer = fleet.get(&path).await;
    assert_eq!((answer.status, cause(&answer)), (404, "no-number"));
    fleet.management().clear_faults();
    fleet.advance(600).await;
    assert_eq!(number(&fleet.get(&path).await), 18);
    fleet.stop().await;
}

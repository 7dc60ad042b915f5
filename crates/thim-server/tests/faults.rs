//! Vendor dead, lying and slow: each of the simulator's faults against a cold and a known key.

mod harness;

use harness::{BOTH, Fleet, SGX_ONLY, tcb};
use thim_sim::{Fault, FaultRule};

/// A fault; how a cold request ends (status, cause); and what a refresh of a known key records.
fn table() -> Vec<(Fault, u16, &'static str, Option<&'static str>)> {
    vec![
        (Fault::Down, 503, "unavailable", None),
        (Fault::Reset, 503, "unavailable", None),
        (Fault::Truncated, 503, "unavailable", None),
        (Fault::Status { code: 500 }, 503, "unavailable", None),
        (Fault::Status { code: 401 }, 503, "unavailable", None),
        (Fault::Status { code: 204 }, 503, "unavailable", None),
        (Fault::Status { code: 404 }, 404, "absent", None),
        (
            Fault::Status { code: 410 },
            410,
            "retired",
            Some("edition.retired"),
        ),
        (
            Fault::Redirect {
                location: "http://elsewhere.invalid/".to_owned(),
            },
            503,
            "unavailable",
            None,
        ),
        (
            Fault::Huge {
                bytes: 100 * 1024 * 1024,
            },
            503,
            "unavailable",
            None,
        ),
        (Fault::Throttle { retry_after: 30 }, 503, "throttled", None),
        (
            Fault::Unavailable { retry_after: 30 },
            503,
            "throttled",
            None,
        ),
        (Fault::Garbage, 503, "untrusted", Some("edition.unverified")),
        (Fault::Html, 503, "untrusted", Some("edition.unverified")),
        (
            Fault::WrongSignature,
            503,
            "untrusted",
            Some("edition.unverified"),
        ),
        (
            Fault::WrongKey,
            503,
            "untrusted",
            Some("edition.unverified"),
        ),
        (
            Fault::WrongFmspc,
            503,
            "untrusted",
            Some("edition.unverified"),
        ),
        (
            Fault::WrongNumber,
            503,
            "untrusted",
            Some("edition.unverified"),
        ),
        (Fault::Future, 503, "untrusted", Some("edition.future")),
        (Fault::Expired, 503, "untrusted", Some("edition.older")),
        (Fault::Stale { days: 10 }, 200, "", Some("edition.older")),
        (Fault::Conflict, 200, "", Some("edition.conflict")),
        (Fault::NoChain, 200, "", None),
        (Fault::ChainReversed, 200, "", None),
        (Fault::Slow { ms: 50 }, 200, "", None),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_is_met() {
    let mut meetings = tokio::task::JoinSet::new();
    for (fault, status, cause, event) in table() {
        meetings.spawn(meet(fault, status, cause, event));
    }
    while let Some(met) = meetings.join_next().await {
        met.expect("the fault is met");
    }
}

/// One fault against a fleet of its own.
async fn meet(fault: Fault, status: u16, cause: &'static str, event: Option<&'static str>) {
    let fleet = Fleet::start().await;
    let known = fleet.get(&tcb("sgx", SGX_ONLY)).await;
    assert_eq!(known.status, 200, "{fault:?}");
    // So that an answer signed under the fault would be news, were it taken.
    fleet.advance(60).await;
    fleet
        .management()
        .set_fault(FaultRule::new(fault.clone()).matching("/tcb?"))
        .expect("a fault");

    let before = fleet.events().await.len();
    let steps = fleet.refresh().await;
    let events = fleet.events().await.split_off(before);
    match event {
        Some(event) => assert!(
            events.iter().any(|name| name == event),
            "{fault:?}: {events:?} {steps:?}"
        ),
        None => assert!(
            !events.iter().any(|name| name.starts_with("edition.")),
            "{fault:?}: {events:?}"
        ),
    }
    let after = fleet.get(&tcb("sgx", SGX_ONLY)).await;
    assert_eq!(
        (after.status, &after.body),
        (200, &known.body),
        "{fault:?}: a hit is unchanged"
    );

    // A retry-after that the refresh met holds for the miss as well, and so does an open breaker.
    fleet.advance(120).await;
    let started = std::time::Instant::now();
    let cold = fleet.get(&tcb("tdx", BOTH)).await;
    assert_eq!(cold.status, status, "{fault:?}: {cold:?}");
    assert!(
        cold.header("thim-cause").starts_with(cause),
        "{fault:?}: {}",
        cold.header("thim-cause")
    );
    if fault == Fault::Expired {
        assert!(
            fleet.events().await.contains(&"edition.expired".to_owned()),
            "{cold:?}"
        );
    }
    if status == 503 {
        assert!(
            cold.header("retry-after")
                .parse::<u32>()
                .is_ok_and(|secs| (1..=60).contains(&secs)),
            "{fault:?}"
        );
        assert_eq!(
            cold.text(),
            "Server is currently unable to process the request."
        );
    }
    assert!(started.elapsed().as_secs() < 10, "{fault:?}: bounded");
    let held = fleet
        .server()
        .collateral
        .store()
        .keys()
        .await
        .expect("the store works");
    assert_eq!(
        held.iter()
            .any(|row| row.key.to_string().contains("/tdx/v3/")),
        status == 200,
        "{fault:?}"
    );

    fleet.management().clear_faults();
    fleet.advance(120).await;
    assert_eq!(
        fleet.get(&tcb("tdx", BOTH)).await.status,
        200,
        "{fault:?}: it heals"
    );
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_concurrent_misses_of_a_slow_vendor_are_one_call() {
    let fleet =
        std::sync::Arc::new(Fleet::start_with(|config| config.intel.concurrency = 32).await);
    fleet.fault(Fault::Slow { ms: 500 });
    let started = std::time::Instant::now();
    let callers: Vec<_> = (0..20)
        .map(|_| {
            let fleet = std::sync::Arc::clone(&fleet);
            tokio::spawn(async move { fleet.get(&tcb("tdx", BOTH)).await.status })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await.expect("no panic"), 200);
    }
    println!("20 answers in {:?}", started.elapsed());
    for call in fleet.management().calls().calls {
        assert_eq!(call.count, 1, "{call:?}");
    }
    assert_eq!(
        fleet
            .management()
            .calls()
            .containing("/tdx/certification/v4/tcb?"),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_vendor_down_hits_go_on_and_misses_say_why_also_after_a_restart() {
    let mut fleet = Fleet::start().await;
    let known = fleet.get(&tcb("sgx", SGX_ONLY)).await;
    fleet.fault(Fault::Down);
    for round in 0..2 {
        let hit = fleet.get(&tcb("sgx", SGX_ONLY)).await;
        assert_eq!((hit.status, &hit.body), (200, &known.body), "round {round}");
        let miss = fleet.get(&tcb("sgx", "0123456789AB")).await;
        assert_eq!(miss.status, 503);
        assert!(
            miss.header("thim-cause")
                .starts_with("unavailable; detail="),
            "{}",
            miss.header("thim-cause")
        );
        assert!(!miss.header("retry-after").is_empty());
        fleet.restart().await;
    }
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vendors_retry_after_survives_a_restart_and_costs_no_call() {
    let mut fleet = Fleet::start().await;
    assert_eq!(fleet.get(&tcb("sgx", SGX_ONLY)).await.status, 200);
    fleet
        .management()
        .set_fault(FaultRule::new(Fault::Throttle { retry_after: 40 }).matching("/tcb?"))
        .expect("a fault");
    let first = fleet.get(&tcb("tdx", BOTH)).await;
    assert_eq!((first.status, first.header("retry-after")), (503, "40"));
    fleet.management().clear_faults();
    fleet.clock.advance_millis(10_000);
    fleet.restart().await;
    fleet.management().reset_calls();
    let second = fleet.get(&tcb("tdx", BOTH)).await;
    assert_eq!((second.status, second.header("retry-after")), (503, "30"));
    assert!(second.header("thim-cause").starts_with("throttled"));
    assert_eq!(
        fleet
            .management()
            .calls()
            .containing("/tdx/certification/v4/tcb?"),
        0
    );
    fleet.clock.advance_millis(31_000);
    assert_eq!(fleet.get(&tcb("tdx", BOTH)).await.status, 200);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_survives_a_restart() {
    let mut fleet = Fleet::sim_only(|config| {
        // One call a second for both lanes together; a burst of 4 for misses.
        config.intel.requests_per_second = 1;
        config.intel.burst = 4;
        config.intel.root_crl_url = String::new();
    })
    .await;
    fleet.serve().await;
    let mut refused = 0;
    for index in 0..5 {
        let answer = fleet
            .get(&tcb("sgx", &format!("0000000000{index:02}")))
            .await;
        match answer.status {
            404 => {}
            503 => {
                assert!(
                    answer.header("thim-cause").starts_with("throttled"),
                    "{answer:?}"
                );
                refused += 1;
            }
            other => panic!("{other}"),
        }
        if index % 3 == 0 {
            fleet.restart().await;
        }
    }
    let asked = fleet.management().calls().containing("/tcb?");
    println!("{asked} calls, {refused} refused");
    assert!(
        asked <= 4,
        "{asked} calls with a standing clock and a burst of 4"
    );
    assert!(refused >= 1);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_upstream_answers_when_the_first_lies_or_is_down() {
    for fault in [
        Fault::Down,
        Fault::WrongSignature,
        Fault::Status { code: 404 },
    ] {
        let mut fleet = Fleet::sim_only(|_| {}).await;
        let peer = Fleet::sim_only(|_| {}).await;
        // The first upstream's root is not even ours where it lies; the second is the one we trust.
        let liar = if fault == Fault::WrongSignature {
            peer.sim.pcs_url()
        } else {
            "http://127.0.0.1:9".to_owned()
        };
        if fault == (Fault::Status { code: 404 }) {
            peer.fault(fault.clone());
        }
        let first = if fault == (Fault::Status { code: 404 }) {
            peer.sim.pcs_url()
        } else {
            liar
        };
        fleet.config.intel.upstream.insert(0, first);
        fleet.serve().await;
        let answer = fleet.get(&tcb("sgx", SGX_ONLY)).await;
        assert_eq!(answer.status, 200, "{fault:?}: {answer:?}");
        fleet.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_fmspc_is_absent_and_asked_about_once() {
    let fleet = Fleet::start().await;
    // A list that comes later may mean other numbers, and failures are forgotten then.
    fleet.refresh().await;
    for _ in 0..5 {
        let answer = fleet.get(&tcb("sgx", "0123456789AB")).await;
        assert_eq!(
            (answer.status, answer.text()),
            (404, "No cache data for this platform.")
        );
        assert!(answer.header("thim-cause").starts_with("absent; detail="));
    }
    assert_eq!(
        fleet.management().calls().containing("fmspc=0123456789AB"),
        1
    );
    fleet.stop().await;
}

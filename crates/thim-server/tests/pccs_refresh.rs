//! PCCS's `refresh` against the simulator: of everything, of certificates, offline, and cut short.

mod harness;
mod pccs_support;

use std::time::Duration;

use harness::{BOTH, SGX_ONLY};
use pccs_support::{
    BUSY, INVALID, NO_DATA, SUCCESSFUL, admin, assert_is, fleet, lists, multi, pckcert, platform,
    post, single,
};
use thim_server::platforms::RefreshRefused;
use thim_server::upstream::Fill;
use thim_sim::{Fault, FaultRule};

const REFRESH: &str = "/sgx/certification/v4/refresh";

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_asks_for_everything_again() {
    let fleet = fleet(Fill::Lazy).await;
    let one = platform(&fleet, single());
    assert_eq!(post(&fleet, &one).await.status, 200);
    for method in ["GET", "POST"] {
        fleet.management().reset_calls();
        assert_is(&admin(&fleet, method, REFRESH).await, 200, SUCCESSFUL, "");
        let calls = fleet.management().calls();
        for part in [
            "tcb?",
            "pckcrl?ca=processor",
            "pckcrl?ca=platform",
            "qve/identity",
            "IntelSGXRootCA",
        ] {
            assert!(calls.containing(part) > 0, "{method}: {part}");
        }
        assert_eq!(lists(&fleet), 0, "certificates are another type");
    }
    fleet
        .management()
        .set_fault(FaultRule::new(Fault::Status { code: 500 }).matching("pckcrl?ca=platform"))
        .expect("a fault");
    let answer = admin(&fleet, "POST", REFRESH).await;
    assert_is(&answer, 503, BUSY, "unavailable");
    assert!(
        answer
            .header("thim-cause")
            .contains("intel/pck-crl/platform"),
        "it names what failed: {}",
        answer.header("thim-cause")
    );
    assert!(!answer.header("retry-after").is_empty());
    fleet.management().clear_faults();
    for bad in [
        "type=foo",
        "type=",
        "type=CERTS",
        "type=certs",
        "type[a]=certs",
    ] {
        let answer = admin(&fleet, "POST", &format!("{REFRESH}?{bad}")).await;
        assert_is(&answer, 400, INVALID, "invalid-parameter");
    }
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_of_certificates_spares_nobody_for_anothers_fault() {
    let fleet = fleet(Fill::Lazy).await;
    let management = fleet.management();
    let one = platform(&fleet, single());
    let other = platform(&fleet, single());
    let two = platform(&fleet, multi());
    for platform in [&one, &other, &two] {
        assert_eq!(post(&fleet, platform).await.status, 200);
    }
    let certs = |fmspc: &str| format!("{REFRESH}?type=certs&fmspc={fmspc}");
    for (fmspc, expected) in [
        (SGX_ONLY.to_owned(), 2),
        (BOTH.to_lowercase(), 1),
        (format!("{SGX_ONLY},{BOTH},{BOTH}"), 3),
        (String::new(), 3),
        ("000000000000".to_owned(), 0),
    ] {
        management.reset_calls();
        let answer = admin(&fleet, "POST", &certs(&fmspc)).await;
        assert_is(&answer, 200, SUCCESSFUL, "");
        assert_eq!(lists(&fleet), expected, "{fmspc}");
        fleet.clock.advance_millis(1_000);
    }
    for bad in [
        "zz",
        "00906ED5000",
        "00906ED50000,",
        "00906ED50000,%2000806F050000",
    ] {
        let answer = admin(&fleet, "POST", &certs(bad)).await;
        assert_is(&answer, 400, INVALID, "invalid-parameter");
    }

    // New certificates, one level that is not there, and one platform whose manifest is stale.
    management.reissue(&one.name).expect("made anew");
    let before = fleet.get(&pckcert(&one)).await;
    management.consume_manifest(&two.name).expect("consumed");
    management
        .set_fault(FaultRule::new(Fault::Partial { levels: 1 }).matching("pckcerts"))
        .expect("a fault");
    fleet.clock.advance_millis(60_000);
    let answer = admin(&fleet, "POST", &certs("")).await;
    assert_is(&answer, 404, NO_DATA, "manifest-stale");
    assert!(
        answer.header("thim-cause").contains("1 of 3 platforms"),
        "{}",
        answer.header("thim-cause")
    );
    let after = fleet.get(&pckcert(&one)).await;
    assert_eq!(after.status, 200);
    assert_ne!(after.text(), before.text(), "the others are refreshed");
    assert_eq!(
        fleet.get(&pckcert(&two)).await.status,
        200,
        "it serves what it has"
    );
    management.clear_faults();

    // Time is over before anything is done; what is left goes on by itself.
    fleet.clock.advance_millis(600_000);
    let fmspcs = [SGX_ONLY.parse().expect("an FMSPC")];
    let refused = fleet
        .server()
        .platforms
        .refresh_certificates(&fmspcs, &fleet.clock, Duration::ZERO)
        .await;
    assert_eq!(
        refused,
        Err(RefreshRefused::Busy {
            done: 0,
            total: 2,
            what: "platforms"
        })
    );
    let round = fleet
        .server()
        .platforms
        .fetch_due(&fleet.clock)
        .await
        .expect("the store works");
    assert!(round.fetched >= 2, "{round:?}");

    // A vendor that is down is asked once, not once a platform.
    fleet.clock.advance_millis(60_000);
    fleet.fault(Fault::Down);
    let answer = admin(&fleet, "POST", &certs(SGX_ONLY)).await;
    assert_is(&answer, 503, BUSY, "vendor-unavailable");
    assert!(!answer.header("retry-after").is_empty());
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_offline_is_refused_after_its_parameters() {
    let fleet = fleet(Fill::Offline).await;
    for (query, status, text, cause) in [
        ("", 503, BUSY, "not-fetching"),
        ("?type=certs&fmspc=00906ED50000", 503, BUSY, "not-fetching"),
        ("?type=certs&fmspc=", 503, BUSY, "not-fetching"),
        ("?type=certs&fmspc=zz", 400, INVALID, "invalid-parameter"),
        ("?type=foo", 400, INVALID, "invalid-parameter"),
    ] {
        let answer = admin(&fleet, "POST", &format!("{REFRESH}{query}")).await;
        assert_is(&answer, status, text, cause);
    }
    fleet.stop().await;
}

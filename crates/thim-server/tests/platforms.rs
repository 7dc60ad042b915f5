//! Platforms against the simulator: registered as PCKIDRetrievalTool does, asked for as Intel's QCNL, Azure's client and
//! the metadata service's clients do, fetched again after a TCB recovery, and never taken over.

mod harness;
mod platform_support;

use harness::{BOTH, Fleet, SGX_ONLY, at};
use platform_support::{REGISTER, admin, hex, pckcert, raw, register, row, verified};
use thim_sim::{Fault, FaultRule, PlatformSpec, SimPlatform};
use thim_verify::{RawTcb, select_pck};

/// The level that selection demands over what the vendor lists.
async fn demanded(fleet: &Fleet, platform: &SimPlatform) -> RawTcb {
    let levels: Vec<RawTcb> = platform
        .levels
        .iter()
        .filter(|level| !platform.not_available.contains(level))
        .map(|level| level.parse().expect("a TCBm"))
        .collect();
    let early = fleet
        .get(&format!(
            "/sgx/certification/v4/tcb?fmspc={}&update=early",
            platform.fmspc
        ))
        .await;
    let unverified = thim_verify::parse(&early.body).expect("a TCB info");
    let thim_verify::Content::TcbInfo(tcb_info) = unverified.unverified().content() else {
        panic!("a TCB info")
    };
    let pce_id = hex(&platform.pce_id).parse().expect("a PCE id");
    levels[select_pck(&raw(platform), pce_id, &levels, tcb_info).expect("one suits")]
}

/// Calls about platforms and what certificates are chosen by; the background asks for other things when it likes.
fn asked_vendor(fleet: &Fleet) -> u64 {
    let calls = fleet.management().calls();
    calls.containing("pckcert") + calls.containing("update=")
}

#[tokio::test(flavor = "multi_thread")]
async fn registered_and_asked_for_by_all_three_kinds_of_clients() {
    let fleet = Fleet::start().await;
    for (fmspc, packages) in [(SGX_ONLY, 1), (BOTH, 2)] {
        let platform = fleet
            .management()
            .add_platform(PlatformSpec::new(fmspc, packages))
            .expect("a platform");
        let answer = register(&fleet, &platform).await;
        assert_eq!(
            (answer.status, answer.text()),
            (200, "Operation successful."),
            "{:?}",
            answer.headers
        );
        let calls = asked_vendor(&fleet);
        let qcnl = fleet.get(&pckcert(&platform)).await;
        assert_eq!(qcnl.status, 200, "{:?}", qcnl.headers);
        assert_eq!(qcnl.header("content-type"), "application/x-pem-file");
        assert_eq!(qcnl.header("sgx-fmspc"), fmspc);
        let ca = if packages == 1 {
            "PROCESSOR"
        } else {
            "PLATFORM"
        };
        assert_eq!(qcnl.header("sgx-pck-certificate-ca-type"), ca);
        let leaf = verified(&fleet, &qcnl, qcnl.text());
        let wanted = demanded(&fleet, &platform).await;
        assert_eq!(qcnl.header("sgx-tcbm"), wanted.to_string());
        assert_eq!(leaf.tcbm(), wanted);
        assert_eq!(leaf.ppid().0, platform.ppid);
        if packages == 2 {
            let flags = leaf.configuration().expect("flags");
            assert_eq!(flags.cached_keys, Some(false), "indirect registration");
        }

        // Azure's client: lower case, other order, JSON.
        let azure = format!(
            "qeid={}&cpusvn={}&pcesvn={}&pceid={}&encrypted_ppid={}&clientid=x&api-version=2021-07-22-preview",
            hex(&platform.qe_id).to_lowercase(),
            hex(&platform.cpu_svn).to_lowercase(),
            hex(&platform.pce_svn.to_le_bytes()).to_lowercase(),
            hex(&platform.pce_id).to_lowercase(),
            hex(&platform.encrypted_ppid).to_lowercase(),
        );
        let secondary = fleet
            .get(&format!("/sgx/certification/v4/pckcert?{azure}"))
            .await;
        let metadata = format!("/metadata/THIM/sgx/certification/v4/pckcert?{azure}");
        let primary = fleet
            .send(
                fleet
                    .client
                    .get(fleet.url(&metadata))
                    .header("metadata", "true"),
            )
            .await;
        for answer in [secondary, primary] {
            assert_eq!(answer.status, 200);
            let object: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
            assert_eq!(object["sgx-Tcbm"], wanted.to_string());
            assert_eq!(object["pckCert"], qcnl.text());
            assert_eq!(
                object["sgx-Pck-Certificate-Issuer-Chain"],
                qcnl.header("sgx-pck-certificate-issuer-chain")
            );
            let age: i64 = object["cacheMaxAge"]
                .as_str()
                .and_then(|age| age.parse().ok())
                .expect("seconds");
            assert!((1..=86_400).contains(&age));
        }
        assert_eq!(
            fleet.get(&metadata).await.status,
            400,
            "Metadata: true is required"
        );
        let forwarded = fleet
            .send(
                fleet
                    .client
                    .get(fleet.url(&metadata))
                    .header("metadata", "true")
                    .header("x-forwarded-for", "10.0.0.1"),
            )
            .await;
        assert_eq!(forwarded.status, 400, "a proxy stands in between");

        // The path of old Azure clients, with a body on a GET.
        let old = format!(
            "/sgx/certification/v3/{}/{}/{}/{}?clientid=x&api-version=2018-10-01-preview",
            hex(&platform.qe_id),
            hex(&platform.cpu_svn),
            hex(&platform.pce_svn.to_le_bytes()),
            hex(&platform.pce_id)
        );
        let body = format!("{{\"eppid\":\"{}\"}}", hex(&platform.encrypted_ppid));
        let old = fleet
            .send(fleet.client.get(fleet.url(&old)).body(body))
            .await;
        assert_eq!((old.status, old.text()), (200, qcnl.text()));
        assert!(old.header("warning").contains("version 3"));
        assert_eq!(asked_vendor(&fleet), calls, "nobody asked the vendor again");
    }
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_renews_every_certificate_without_a_host() {
    let fleet = Fleet::start().await;
    let mut before = Vec::new();
    for (fmspc, packages) in [(SGX_ONLY, 1), (BOTH, 2)] {
        let platform = fleet
            .management()
            .add_platform(PlatformSpec::new(fmspc, packages))
            .expect("a platform");
        assert_eq!(register(&fleet, &platform).await.status, 200);
        before.push((platform.clone(), fleet.get(&pckcert(&platform)).await));
    }
    fleet.clock.advance_millis(3_600_000);
    fleet.management().recovery(0).expect("a recovery");
    fleet.refresh().await;
    let now = fleet.clock.now();
    let platforms = &fleet.server().platforms;
    platforms.tick(now).await.expect("the store works");
    let round = platforms
        .fetch_due(&fleet.clock)
        .await
        .expect("the store works");
    assert_eq!((round.fetched, round.failed.len()), (2, 0), "{round:?}");
    assert!(
        fleet
            .events()
            .await
            .contains(&"platform.recovery".to_owned())
    );
    let calls = asked_vendor(&fleet);
    for (platform, old) in before {
        let new = fleet.get(&pckcert(&platform)).await;
        assert_eq!(new.status, 200);
        assert_ne!(new.text(), old.text(), "a new certificate");
        let leaf = verified(&fleet, &new, new.text());
        assert!(leaf.certificate().not_before() > at(harness::START));
        let id = platforms
            .store()
            .platform_by_alias(&hex(&platform.qe_id), leaf.pce_id())
            .await
            .expect("the store works")
            .expect("it is there")
            .id;
        let history = platforms
            .store()
            .pck_certificates(&id, true)
            .await
            .expect("the store works");
        let served = history.iter().filter(|row| row.retired.is_none());
        assert!(served.clone().all(|row| row.admitted == now), "all are new");
        assert!(served.count() < history.len(), "the old ones are history");
    }
    assert_eq!(asked_vendor(&fleet), calls, "before anyone asked");
    // Nothing more is due.
    platforms.tick(now).await.expect("the store works");
    let round = platforms
        .fetch_due(&fleet.clock)
        .await
        .expect("the store works");
    assert_eq!(round.fetched, 0);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_cold_requests_call_each_url_once() {
    let fleet = Fleet::start().await;
    let platform = fleet
        .management()
        .add_platform(PlatformSpec::new(SGX_ONLY, 1))
        .expect("a platform");
    // What the background asks for at its start is not this test's business.
    fleet.refresh().await;
    fleet.management().reset_calls();
    fleet.fault(Fault::Slow { ms: 500 });
    let request = pckcert(&platform);
    let answers = futures_util::future::join_all((0..20).map(|_| fleet.get(&request))).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    let calls = fleet.management().calls();
    assert!(
        calls.calls.iter().all(|call| call.count == 1),
        "each URL once: {calls:?}"
    );
    assert!(
        calls
            .calls
            .iter()
            .any(|call| call.path.contains("pckcerts")),
        "{calls:?}"
    );
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_and_missing_entries_spoil_nothing_else() {
    let fleet = Fleet::start().await;
    let management = fleet.management();
    let platform = management
        .add_platform(PlatformSpec::new(SGX_ONLY, 1).not_available(1))
        .expect("a platform");
    management
        .set_fault(FaultRule::new(Fault::OneForged))
        .expect("a fault");
    assert_eq!(register(&fleet, &platform).await.status, 200);
    let store = fleet.server().platforms.store();
    let row = store
        .platform_by_alias(
            &hex(&platform.qe_id),
            hex(&platform.pce_id).parse().expect("hex"),
        )
        .await
        .expect("the store works")
        .expect("it is there");
    assert_eq!(row.state.name(), "partial");
    let gaps = store.pck_gaps(&row.id).await.expect("the store works");
    let kinds: Vec<&str> = gaps.iter().map(|gap| gap.gap.name()).collect();
    assert_eq!(kinds.len(), 2, "{gaps:?}");
    assert!(kinds.contains(&"not-available") && kinds.contains(&"quarantined"));
    assert!(
        fleet
            .events()
            .await
            .contains(&"platform.partial".to_owned())
    );
    assert_eq!(fleet.get(&pckcert(&platform)).await.status, 200);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_certificate_is_an_event_and_is_not_served() {
    let fleet = Fleet::start().await;
    let management = fleet.management();
    let platform = management
        .add_platform(PlatformSpec::new(SGX_ONLY, 1))
        .expect("a platform");
    assert_eq!(register(&fleet, &platform).await.status, 200);
    assert_eq!(fleet.get(&pckcert(&platform)).await.status, 200);
    fleet.clock.advance_millis(60_000);
    management.revoke_platform(&platform.name).expect("revoked");
    fleet.refresh().await;
    fleet
        .server()
        .platforms
        .tick(fleet.clock.now())
        .await
        .expect("the store works");
    assert!(fleet.events().await.contains(&"pck.revoked".to_owned()));
    let refused = fleet.get(&pckcert(&platform)).await;
    assert_eq!(refused.status, 404);
    assert!(
        refused
            .header("thim-cause")
            .starts_with("certificate-revoked"),
        "{:?}",
        refused.headers
    );
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_vendor_takes_nothing_away_and_a_registration_waits_for_it() {
    let mut fleet = Fleet::start().await;
    let management = fleet.management();
    let known = management
        .add_platform(PlatformSpec::new(BOTH, 2))
        .expect("a platform");
    assert_eq!(register(&fleet, &known).await.status, 200);
    fleet.fault(Fault::Down);
    let newcomer = management
        .add_platform(PlatformSpec::new(BOTH, 2))
        .expect("another");
    let answer = register(&fleet, &newcomer).await;
    assert_eq!(answer.status, 503);
    assert!(
        answer
            .header("thim-cause")
            .starts_with("vendor-unavailable")
    );
    assert!(!answer.header("retry-after").is_empty());
    assert_eq!(fleet.get(&pckcert(&known)).await.status, 200);
    // A host that starts again meanwhile encrypts its PPID anew; nobody can prove anything, and nothing changes hands.
    let mut single = management
        .add_platform(PlatformSpec::new(SGX_ONLY, 1))
        .expect("a platform");
    management.clear_faults();
    fleet.clock.advance_millis(60_000);
    assert_eq!(register(&fleet, &single).await.status, 200);
    fleet.fault(Fault::Down);
    single = management
        .encrypt_ppid(&single.name)
        .expect("encrypted anew");
    assert_eq!(register(&fleet, &single).await.status, 200);
    // The newcomer is kept over a restart, and fetched without the host when the vendor is back.
    management.clear_faults();
    fleet.clock.advance_millis(600_000);
    fleet.restart().await;
    let round = fleet
        .server()
        .platforms
        .fetch_due(&fleet.clock)
        .await
        .expect("the store works");
    assert!(round.failed.is_empty(), "{round:?}");
    let calls = asked_vendor(&fleet);
    assert_eq!(fleet.get(&pckcert(&newcomer)).await.status, 200);
    assert!(asked_vendor(&fleet) <= calls + 8, "TCB info at most");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn made_up_raw_tcbs_do_not_grow_the_store() {
    let fleet = Fleet::start().await;
    let platform = fleet
        .management()
        .add_platform(PlatformSpec::new(SGX_ONLY, 1))
        .expect("a platform");
    assert_eq!(register(&fleet, &platform).await.status, 200);
    let ask = |pce_svn: u16| {
        pckcert(&platform).replace(
            &format!("pcesvn={}", hex(&platform.pce_svn.to_le_bytes())),
            &format!("pcesvn={}", hex(&pce_svn.to_le_bytes())),
        )
    };
    for pce_svn in 1000..1200_u16 {
        assert_eq!(fleet.get(&ask(pce_svn)).await.status, 200);
    }
    let store = fleet.server().platforms.store();
    let row = store
        .platform_by_alias(
            &hex(&platform.qe_id),
            hex(&platform.pce_id).parse().expect("hex"),
        )
        .await
        .expect("the store works")
        .expect("it is there");
    let seen = store.raw_tcbs(&row.id).await.expect("the store works");
    assert!(seen.len() <= 32, "{} raw TCBs", seen.len());
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_thim_is_an_upstream_for_platforms() {
    let fleet = Fleet::start().await;
    let platform = fleet
        .management()
        .add_platform(PlatformSpec::new(SGX_ONLY, 1).not_available(1))
        .expect("a platform");
    let list = format!(
        "/sgx/certification/v4/pckcerts?encrypted_ppid={}&pceid={}",
        hex(&platform.encrypted_ppid),
        hex(&platform.pce_id)
    );
    let first = fleet.get(&list).await;
    assert_eq!(first.status, 200, "{:?}", first.headers);
    assert_eq!(first.header("content-type"), "application/json");
    assert_eq!(first.header("sgx-fmspc"), SGX_ONLY);
    assert_eq!(first.header("sgx-pck-certificate-ca-type"), "processor");
    let parsed = thim_verify::parse_pck_list(&first.body).expect("a list");
    assert_eq!(parsed.entries.len(), platform.levels.len());
    let missing = parsed
        .entries
        .iter()
        .filter(|entry| matches!(entry.listed, thim_verify::Listed::NotAvailable))
        .count();
    assert_eq!(missing, 1, "Not available is a fact, and told");
    let posted = fleet
        .send(
            fleet
                .client
                .post(fleet.url("/sgx/certification/v4/pckcerts"))
                .body("{}"),
        )
        .await;
    assert_eq!(posted.status, 401, "a manifest wants a registrar's token");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_manifest_is_not_acknowledged_before_the_vendor_has_seen_it() {
    let fleet = Fleet::start().await;
    let management = fleet.management();
    let platform = management
        .add_platform(PlatformSpec::new(BOTH, 2))
        .expect("a platform");
    assert_eq!(register(&fleet, &platform).await.status, 200);
    let upgraded = management.upgrade(&platform.name).expect("a BIOS update");
    let same_tcb = SimPlatform {
        cpu_svn: platform.cpu_svn,
        pce_svn: platform.pce_svn,
        ..upgraded
    };
    fleet.fault(Fault::Down);
    assert_eq!(register(&fleet, &same_tcb).await.status, 503);
    assert_eq!(fleet.get(&pckcert(&platform)).await.status, 200);
    management.clear_faults();
    fleet.clock.advance_millis(60_000);
    let before = row(&fleet, &platform).await.manifest_hash;
    assert_eq!(register(&fleet, &same_tcb).await.status, 200);
    assert_ne!(row(&fleet, &platform).await.manifest_hash, before);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_machines_without_a_qe_id_are_two_in_the_queue() {
    let fleet = Fleet::start_with(|config| {
        config.intel.fill = thim_server::upstream::Fill::Offline;
    })
    .await;
    for _ in 0..2 {
        let platform = fleet
            .management()
            .add_platform(PlatformSpec::new(BOTH, 2).zero_qe_id())
            .expect("a platform");
        for _ in 0..2 {
            assert_eq!(register(&fleet, &platform).await.status, 200);
        }
    }
    let listed = fleet
        .send(
            fleet
                .client
                .get(fleet.url(REGISTER))
                .header("admin-token", admin(&fleet)),
        )
        .await;
    assert_eq!(listed.header("platform-count"), "2", "{}", listed.text());
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_key_stops_nothing_that_needs_none() {
    let mut fleet = Fleet::sim_with_key(Some("a-key-that-is-not-given".to_owned()), |_| {}).await;
    fleet.serve().await;
    let platform = fleet
        .management()
        .add_platform(PlatformSpec::new(SGX_ONLY, 1))
        .expect("a platform");
    for turn in 0..8 {
        let refused = fleet.get(&pckcert(&platform)).await;
        assert_eq!(refused.status, 503);
        assert!(refused.header("thim-cause").starts_with("api-key-refused"));
        // Past what is remembered of a refusal.
        fleet.clock.advance_millis(10_000 + turn);
    }
    assert!(!fleet.events().await.contains(&"upstream.down".to_owned()));
    let list = fleet
        .get("/sgx/certification/v4/tcbevaluationdatanumbers")
        .await;
    assert_eq!(list.status, 200, "{:?}", list.headers);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_forgotten_is_not_served_from_memory() {
    let fleet = Fleet::start().await;
    let platform = fleet
        .management()
        .add_platform(PlatformSpec::new(SGX_ONLY, 1))
        .expect("a platform");
    assert_eq!(register(&fleet, &platform).await.status, 200);
    // Asked for under a name that is none of its own, by what it brings.
    let stranger = pckcert(&platform).replace(&hex(&platform.qe_id), &"C".repeat(32));
    for _ in 0..2 {
        assert_eq!(fleet.get(&pckcert(&platform)).await.status, 200);
        assert_eq!(fleet.get(&stranger).await.status, 200);
    }
    let id = row(&fleet, &platform).await.id;
    let gone = fleet
        .server()
        .platforms
        .forget(&id, "a test", fleet.clock.now())
        .await;
    assert!(gone.expect("the store works"));
    fleet.fault(Fault::Down);
    for path in [pckcert(&platform), stranger] {
        assert_eq!(
            fleet.get(&path).await.status,
            503,
            "the vendor is asked, and silent"
        );
    }
    fleet.stop().await;
}

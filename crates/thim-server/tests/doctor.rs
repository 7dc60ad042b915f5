//! The doctor on the simulator: each cause is made to happen, and named in `THIM-Cause` of an error that is PCCS's to
//! the letter, and by the doctor, with its next step.

mod harness;

use std::collections::BTreeSet;

use harness::{Answer, BOTH, Fleet, SGX_ONLY};
use thim_client::{Diagnosis, PlatformRecord};
use thim_server::platforms::Cause;
use thim_server::platforms::doctor::words;
use thim_server::upstream::Fill;
use thim_sim::{Fault, FaultRule, PlatformSpec, SimPlatform};

const HEALTHY: &str = "none";
/// How often a host that was told to come back comes back.
const MOST_RETURNS: usize = 3;

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXUPPER.encode(bytes)
}

fn admin(fleet: &Fleet) -> String {
    let text = std::fs::read_to_string(fleet.data().join("admin.token")).expect("a token");
    text.trim().to_owned()
}

/// QCNL's request.
fn request(platform: &SimPlatform) -> String {
    format!(
        "/sgx/certification/v4/pckcert?qeid={}&encrypted_ppid={}&cpusvn={}&pcesvn={}&pceid={}",
        hex(&platform.qe_id),
        hex(&platform.encrypted_ppid),
        hex(&platform.cpu_svn),
        hex(&platform.pce_svn.to_le_bytes()),
        hex(&platform.pce_id)
    )
}

async fn ask(fleet: &Fleet, platform: &SimPlatform) -> Answer {
    fleet.get(&request(platform)).await
}

async fn register_by(fleet: &Fleet, token: &str, body: String) -> Answer {
    let post = fleet
        .client
        .post(fleet.url("/sgx/certification/v4/platforms"))
        .header("Content-Type", "application/json")
        .header("user-token", token);
    fleet.send(post.body(body)).await
}

async fn register(fleet: &Fleet, platform: &SimPlatform) -> Answer {
    register_by(fleet, &admin(fleet), platform.retrieval_request()).await
}

/// The own API's registration, directly.
async fn register_directly(fleet: &Fleet, platform: &SimPlatform) -> Answer {
    let mut body: serde_json::Value =
        serde_json::from_str(&platform.retrieval_request()).expect("JSON");
    body["direct"] = true.into();
    let post = fleet.client.post(fleet.url("/thim/v1/platforms"));
    fleet.send(post.bearer_auth(admin(fleet)).json(&body)).await
}

fn name(platform: &SimPlatform) -> String {
    format!("{}:{}", hex(&platform.qe_id), hex(&platform.pce_id))
}

async fn own(fleet: &Fleet, path: &str) -> Answer {
    let get = fleet
        .client
        .get(fleet.url(&format!("/thim/v1/platforms/{path}")));
    fleet.send(get.bearer_auth(admin(fleet))).await
}

async fn diagnose(fleet: &Fleet, which: &str) -> Diagnosis {
    let answer = own(fleet, &format!("{which}/doctor")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_slice(&answer.body).expect("a diagnosis")
}

async fn record(fleet: &Fleet, which: &str) -> PlatformRecord {
    let answer = own(fleet, which).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_slice(&answer.body).expect("a record")
}

async fn refetch(fleet: &Fleet, which: &str) -> PlatformRecord {
    let url = fleet.url(&format!("/thim/v1/platforms/{which}/refetch"));
    let post = fleet.client.post(url).bearer_auth(admin(fleet));
    let answer = fleet.send(post).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_slice(&answer.body).expect("a record")
}

/// PCCS's error to the letter, and beside it the cause.
#[track_caller]
fn says(answer: &Answer, status: u16, cause: &str) {
    let text = match status {
        400 => "Invalid request parameters.",
        401 => "Authentication failed.",
        404 => "No cache data for this platform.",
        461 => "The platform was not found in the cache.",
        503 => "Server is currently unable to process the request.",
        other => panic!("no error of PCCS: {other}"),
    };
    assert_eq!((answer.status, answer.text()), (status, text), "{answer:?}");
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    let told = answer.header("thim-cause");
    assert!(
        told.starts_with(&format!("{cause}; detail=\"")),
        "wanted {cause}: {told}"
    );
    assert_eq!(
        answer.header("retry-after").is_empty(),
        status != 503,
        "only 503 is worth another try"
    );
}

/// The doctor names this cause, with its words, and gives evidence.
async fn finds(fleet: &Fleet, which: &str, cause: &str) -> Diagnosis {
    let found = diagnose(fleet, which).await;
    assert_eq!(found.cause, cause, "{found:#?}");
    let cause: Cause = cause.parse().expect("a cause");
    let words = words(cause);
    assert_eq!(
        (found.summary.as_str(), found.next_step.as_str()),
        (words.what, words.next)
    );
    assert_eq!(found.healthy, cause == Cause::None);
    assert!(!found.evidence.is_empty(), "{found:#?}");
    found
}

fn made(fleet: &Fleet, spec: PlatformSpec) -> SimPlatform {
    fleet.management().add_platform(spec).expect("a platform")
}

#[track_caller]
fn mentions(found: &Diagnosis, what: &str) {
    assert!(
        found.evidence.iter().any(|line| line.contains(what)),
        "{what}: {found:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registered_platform_is_healthy_whichever_way_it_is_asked_about() {
    let fleet = Fleet::start().await;
    for spec in [PlatformSpec::new(SGX_ONLY, 1), PlatformSpec::new(BOTH, 2)] {
        let platform = made(&fleet, spec);
        assert_eq!(register(&fleet, &platform).await.status, 200);
        let found = finds(&fleet, &name(&platform), HEALTHY).await;
        let id = found.platform.expect("it is known");
        finds(&fleet, &id, HEALTHY).await;
        assert_eq!(ask(&fleet, &platform).await.status, 200);
        finds(&fleet, &id, HEALTHY).await;
    }
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_ppid_of_zeros_at_a_host() {
    let fleet = Fleet::start().await;
    let platform = made(&fleet, PlatformSpec::new(SGX_ONLY, 1).zero_encrypted_ppid());
    says(
        &register(&fleet, &platform).await,
        404,
        "encrypted-ppid-zero",
    );
    says(&ask(&fleet, &platform).await, 404, "encrypted-ppid-zero");
    let found = finds(&fleet, &name(&platform), "encrypted-ppid-zero").await;
    mentions(&found, "with an encrypted PPID of zeros");
    assert_eq!(found.platform, None);
    // Its like that can be read is fine.
    let like = made(&fleet, PlatformSpec::new(SGX_ONLY, 1));
    assert_eq!(register(&fleet, &like).await.status, 200);
    finds(&fleet, &name(&like), HEALTHY).await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_asks_in_place_of_its_host() {
    let fleet = Fleet::start().await;
    let host = made(&fleet, PlatformSpec::new(SGX_ONLY, 1));
    let encrypted = hex(&host.encrypted_ppid);
    let zeros = request(&host).replace(&encrypted, &"0".repeat(768));
    let absent = request(&host).replace(&format!("&encrypted_ppid={encrypted}"), "");
    says(&fleet.get(&zeros).await, 404, "encrypted-ppid-zero");
    finds(&fleet, &name(&host), "guest-not-host").await;
    says(&fleet.get(&absent).await, 400, "encrypted-ppid-missing");
    let found = finds(&fleet, &name(&host), "guest-not-host").await;
    mentions(&found, "without an encrypted PPID");
    // What cannot tell its TCB either is broken otherwise.
    let nothing = absent
        .replace(&hex(&host.cpu_svn), &"0".repeat(32))
        .replace(
            &format!("pcesvn={}", hex(&host.pce_svn.to_le_bytes())),
            "pcesvn=0000",
        );
    says(&fleet.get(&nothing).await, 400, "encrypted-ppid-missing");
    finds(&fleet, &name(&host), "encrypted-ppid-missing").await;
    // The next step helps, and then the guest is served as it is.
    assert_eq!(register(&fleet, &host).await.status, 200);
    for guest in [&zeros, &absent] {
        assert_eq!(fleet.get(guest).await.status, 200);
    }
    finds(&fleet, &name(&host), HEALTHY).await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_unknown_and_names_that_are_none() {
    let fleet = Fleet::start_with(|config| config.intel.fill = Fill::Req).await;
    let platform = made(&fleet, PlatformSpec::new(SGX_ONLY, 1));
    finds(&fleet, &name(&platform), "qe-id-unknown").await;
    says(&ask(&fleet, &platform).await, 461, "qe-id-unknown");
    let found = finds(&fleet, &name(&platform), "qe-id-unknown").await;
    mentions(&found, "asked for in vain");
    let nameless = made(&fleet, PlatformSpec::new(SGX_ONLY, 1).zero_qe_id());
    let encrypted = format!("&encrypted_ppid={}", hex(&nameless.encrypted_ppid));
    let unnamed = request(&nameless).replace(&encrypted, "");
    says(&fleet.get(&unnamed).await, 404, "qe-id-zero");
    finds(&fleet, &name(&nameless), "qe-id-zero").await;
    let near = format!("1{}", &name(&nameless)[1..]);
    finds(&fleet, &near, "qe-id-unknown").await;
    assert_eq!(own(&fleet, "0123456789abcdef/doctor").await.status, 404);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_was_used_up() {
    let fleet = Fleet::start().await;
    let platform = made(&fleet, PlatformSpec::new(BOTH, 2));
    fleet
        .management()
        .consume_manifest(&platform.name)
        .expect("consumed");
    says(&register(&fleet, &platform).await, 404, "manifest-stale");
    says(&ask(&fleet, &platform).await, 404, "manifest-stale");
    let found = finds(&fleet, &name(&platform), "manifest-stale").await;
    let state = record(&fleet, &found.platform.expect("it is kept")).await;
    assert_eq!(state.summary.state, "needs-manifest");
    // The next step helps.
    let anew = fleet
        .management()
        .upgrade(&platform.name)
        .expect("a new manifest");
    fleet.clock.advance_millis(60_000);
    assert_eq!(register(&fleet, &anew).await.status, 200);
    finds(&fleet, &name(&platform), HEALTHY).await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_from_before_a_bios_update_is_stale_and_what_it_gave_goes_on() {
    let fleet = Fleet::start().await;
    let platform = made(&fleet, PlatformSpec::new(BOTH, 2));
    assert_eq!(register(&fleet, &platform).await.status, 200);
    let before = refetch(&fleet, &name(&platform)).await;
    assert_eq!(before.summary.cause, HEALTHY);
    let anew = fleet
        .management()
        .upgrade(&platform.name)
        .expect("upgraded");
    fleet.clock.advance_millis(60_000);
    let after = refetch(&fleet, &name(&platform)).await;
    assert_eq!(after.summary.cause, "manifest-stale");
    assert_eq!(ask(&fleet, &platform).await.status, 200);
    let found = finds(&fleet, &name(&platform), "manifest-stale").await;
    mentions(&found, "what it has goes on being served");
    fleet.clock.advance_millis(60_000);
    assert_eq!(register(&fleet, &anew).await.status, 200);
    finds(&fleet, &name(&platform), HEALTHY).await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_is_none_and_one_that_is_missing() {
    let fleet = Fleet::start().await;
    let platform = made(&fleet, PlatformSpec::new(BOTH, 2));
    // Without registration the vendor has no keys of several packages.
    says(&ask(&fleet, &platform).await, 404, "needs-manifest");
    finds(&fleet, &name(&platform), "needs-manifest").await;
    let mut garbled = platform.clone();
    garbled.manifest = garbled.manifest.map(|mut manifest| {
        for byte in &mut manifest {
            *byte ^= 0x5a;
        }
        manifest
    });
    says(&register(&fleet, &garbled).await, 404, "manifest-malformed");
    says(&ask(&fleet, &platform).await, 404, "manifest-malformed");
    finds(&fleet, &name(&platform), "manifest-malformed").await;
    fleet.clock.advance_millis(60_000);
    assert_eq!(register(&fleet, &platform).await.status, 200);
    finds(&fleet, &name(&platform), HEALTHY).await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_direct_registration_keeps_no_manifest_and_one_after_an_indirect_is_refused() {
    let fleet = Fleet::start().await;
    let direct = made(&fleet, PlatformSpec::new(BOTH, 2));
    let answer = register_directly(&fleet, &direct).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let kept = record(&fleet, &name(&direct)).await.summary;
    assert_eq!(kept.cached_keys, Some(true));
    assert!(kept.encrypted_ppid && !kept.manifest);
    assert_eq!(ask(&fleet, &direct).await.status, 200);
    finds(&fleet, &name(&direct), HEALTHY).await;
    assert_eq!(refetch(&fleet, &name(&direct)).await.summary.cause, HEALTHY);

    // Registered here before, by manifest: the wish is refused, and takes nothing away.
    let indirect = made(&fleet, PlatformSpec::new(BOTH, 2));
    assert_eq!(register(&fleet, &indirect).await.status, 200);
    let refused = register_directly(&fleet, &indirect).await;
    assert_eq!(refused.status, 409, "{refused:?}");
    assert!(
        refused
            .header("thim-cause")
            .starts_with("cached-keys-policy")
    );
    assert_eq!(ask(&fleet, &indirect).await.status, 200);
    finds(&fleet, &name(&indirect), "cached-keys-policy").await;
    assert_eq!(
        record(&fleet, &name(&indirect)).await.summary.state,
        "ready"
    );

    // Registered by another service: nothing is to be had directly, and the manifest is not kept to try otherwise.
    let elsewhere = made(&fleet, PlatformSpec::new(BOTH, 2));
    let manifest = elsewhere.manifest.as_ref().expect("several packages");
    let body = serde_json::json!({
        "platformManifest": hex(manifest), "pceid": hex(&elsewhere.pce_id)
    });
    let url = format!("{}/sgx/certification/v4/pckcerts", fleet.sim.pcs_url());
    let first = fleet.send(fleet.client.post(url).json(&body)).await;
    assert_eq!(first.status, 200, "{first:?}");
    assert_eq!(register_directly(&fleet, &elsewhere).await.status, 409);
    says(&ask(&fleet, &elsewhere).await, 404, "cached-keys-policy");
    finds(&fleet, &name(&elsewhere), "cached-keys-policy").await;
    let kept = record(&fleet, &name(&elsewhere)).await;
    assert_eq!(kept.summary.state, "refused");
    assert!(!kept.summary.manifest);
    let told = kept.timeline.iter().map(|line| line.cause.as_str());
    assert_eq!(told.collect::<Vec<_>>(), ["cached-keys-policy"]);
    // The next step helps.
    assert_eq!(register(&fleet, &elsewhere).await.status, 200);
    finds(&fleet, &name(&elsewhere), HEALTHY).await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_direct_registration_that_fails_for_now_leaves_nothing_that_would_make_it_indirect() {
    let fleet = Fleet::start().await;
    let platform = made(&fleet, PlatformSpec::new(BOTH, 2));
    fleet.fault(Fault::Down);
    let refused = register_directly(&fleet, &platform).await;
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(!refused.header("retry-after").is_empty());
    finds(&fleet, &name(&platform), "vendor-unavailable").await;
    fleet.management().clear_faults();
    fleet.clock.advance_millis(600_000);
    let platforms = &fleet.server().platforms;
    let round = platforms
        .fetch_due(&fleet.clock)
        .await
        .expect("the store works");
    assert_eq!((round.fetched, round.failed.len()), (0, 0));
    // What the first registration left under way (the collateral beside it) may hold the one call that is
    // let through after an outage: then the host comes again when it was told to.
    let mut answer = register_directly(&fleet, &platform).await;
    for _ in 0..MOST_RETURNS {
        let Ok(seconds) = answer.header("retry-after").parse::<i64>() else {
            break;
        };
        fleet.clock.advance_millis(seconds * 1_000 + 10_000);
        answer = register_directly(&fleet, &platform).await;
    }
    assert_eq!(answer.status, 200, "{answer:?}");
    let kept = record(&fleet, &name(&platform)).await.summary;
    assert_eq!(kept.cached_keys, Some(true));
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pre_production_processor() {
    let fleet = Fleet::start().await;
    let platform = made(&fleet, PlatformSpec::new(BOTH, 2).pre_production());
    says(&register(&fleet, &platform).await, 404, "pre-production");
    says(&ask(&fleet, &platform).await, 404, "pre-production");
    let found = finds(&fleet, &name(&platform), "pre-production").await;
    mentions(&found, "InvalidRegistrationServer");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bios_that_is_too_old() {
    let fleet = Fleet::start().await;
    let management = fleet.management();
    let platform = made(&fleet, PlatformSpec::new(SGX_ONLY, 1));
    assert_eq!(register(&fleet, &platform).await.status, 200);
    assert_eq!(ask(&fleet, &platform).await.status, 200);
    let old = management.downgrade(&platform.name).expect("downgraded");
    fleet.clock.advance_millis(60_000);
    says(&ask(&fleet, &old).await, 404, "tcb-too-low");
    // Anybody may have asked that: it is told, and believed when the host says so.
    let found = finds(&fleet, &name(&platform), HEALTHY).await;
    mentions(&found, &hex(&old.cpu_svn));
    assert_eq!(register(&fleet, &old).await.status, 200);
    let found = finds(&fleet, &name(&platform), "tcb-too-low").await;
    mentions(&found, &hex(&old.cpu_svn));
    // Nor does an open request make it healthy.
    fleet.clock.advance_millis(60_000);
    assert_eq!(ask(&fleet, &platform).await.status, 200);
    finds(&fleet, &name(&platform), "tcb-too-low").await;
    // The next step helps.
    let new = management.upgrade(&platform.name).expect("upgraded");
    fleet.clock.advance_millis(60_000);
    assert_eq!(register(&fleet, &new).await.status, 200);
    assert_eq!(ask(&fleet, &new).await.status, 200);
    finds(&fleet, &name(&platform), HEALTHY).await;

    // Registered as it is, nobody has to ask first.
    let born_old = made(&fleet, PlatformSpec::new(SGX_ONLY, 1));
    let born_old = management.downgrade(&born_old.name).expect("downgraded");
    assert_eq!(register(&fleet, &born_old).await.status, 200);
    finds(&fleet, &name(&born_old), "tcb-too-low").await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_without_the_collateral_that_goes_with_them() {
    let fleet = Fleet::start().await;
    let management = fleet.management();
    let rule = FaultRule::new(Fault::Status { code: 404 }).matching("/sgx/certification/v4/tcb?");
    management.set_fault(rule).expect("a fault");
    let platform = made(&fleet, PlatformSpec::new(SGX_ONLY, 1));
    says(
        &register(&fleet, &platform).await,
        404,
        "collateral-missing",
    );
    says(&ask(&fleet, &platform).await, 404, "collateral-missing");
    let found = finds(&fleet, &name(&platform), "collateral-missing").await;
    mentions(&found, SGX_ONLY);
    assert_eq!(
        record(&fleet, &name(&platform)).await.summary.state,
        "ready"
    );
    management.clear_faults();
    fleet.clock.advance_millis(120_000);
    assert_eq!(register(&fleet, &platform).await.status, 200);
    finds(&fleet, &name(&platform), HEALTHY).await;

    // What is past its next update is served for a while, and is nothing to rely on.
    fleet.fault(Fault::Down);
    fleet.advance(31 * 24 * 3600).await;
    let found = finds(&fleet, &name(&platform), "collateral-missing").await;
    mentions(&found, "is expired since");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_certificate() {
    let fleet = Fleet::start().await;
    let platform = made(&fleet, PlatformSpec::new(SGX_ONLY, 1));
    let other = made(&fleet, PlatformSpec::new(SGX_ONLY, 1));
    for one in [&platform, &other] {
        assert_eq!(register(&fleet, one).await.status, 200);
        assert_eq!(ask(&fleet, one).await.status, 200);
    }
    fleet.clock.advance_millis(60_000);
    fleet
        .management()
        .revoke_platform(&platform.name)
        .expect("revoked");
    fleet.refresh().await;
    let platforms = &fleet.server().platforms;
    platforms
        .tick(fleet.clock.now())
        .await
        .expect("the store works");
    says(&ask(&fleet, &platform).await, 404, "certificate-revoked");
    finds(&fleet, &name(&platform), "certificate-revoked").await;
    let levels = record(&fleet, &name(&platform)).await.levels;
    assert!(
        levels.iter().all(|level| level.state == "revoked"),
        "{levels:?}"
    );
    assert_eq!(ask(&fleet, &other).await.status, 200);
    finds(&fleet, &name(&other), HEALTHY).await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vendor_that_is_down_and_one_that_asks_for_patience() {
    for (fault, cause) in [
        (Fault::Down, "vendor-unavailable"),
        (Fault::Throttle { retry_after: 30 }, "vendor-throttled"),
        (Fault::Status { code: 500 }, "vendor-unavailable"),
    ] {
        let fleet = Fleet::start().await;
        let known = made(&fleet, PlatformSpec::new(BOTH, 2));
        assert_eq!(register(&fleet, &known).await.status, 200);
        fleet.fault(fault);
        let platform = made(&fleet, PlatformSpec::new(BOTH, 2));
        says(&register(&fleet, &platform).await, 503, cause);
        says(&ask(&fleet, &platform).await, 503, cause);
        let found = finds(&fleet, &name(&platform), cause).await;
        mentions(&found, "the vendor is asked again at");
        // Nobody who is known notices.
        finds(&fleet, &name(&known), HEALTHY).await;
        fleet.management().clear_faults();
        fleet.clock.advance_millis(900_000);
        let platforms = &fleet.server().platforms;
        let round = platforms
            .fetch_due(&fleet.clock)
            .await
            .expect("the store works");
        assert!(round.failed.is_empty(), "{round:?}");
        finds(&fleet, &name(&platform), HEALTHY).await;
        fleet.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_subscription_key() {
    for (key, right) in [("the right one", true), ("another", false)] {
        let mut fleet = Fleet::sim_with_key(Some("the-right-one".to_owned()), |_| {}).await;
        std::fs::create_dir_all(fleet.data()).expect("a directory");
        let file = fleet.data().join("key");
        std::fs::write(&file, key.replace(' ', "-")).expect("written");
        fleet.config.intel.api_key_file = Some(file);
        fleet.serve().await;
        let platform = made(&fleet, PlatformSpec::new(SGX_ONLY, 1));
        let answer = register(&fleet, &platform).await;
        if right {
            assert_eq!(answer.status, 200, "{answer:?}");
            finds(&fleet, &name(&platform), HEALTHY).await;
        } else {
            says(&answer, 503, "api-key-refused");
            says(&ask(&fleet, &platform).await, 503, "api-key-refused");
            let found = finds(&fleet, &name(&platform), "api-key-refused").await;
            assert!(!format!("{found:?}").contains("another"), "{found:?}");
        }
        fleet.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_without_any_certificate() {
    let fleet = Fleet::start().await;
    let none = made(
        &fleet,
        PlatformSpec::new(SGX_ONLY, 1).levels(2).not_available(2),
    );
    let some = made(
        &fleet,
        PlatformSpec::new(SGX_ONLY, 1).levels(2).not_available(1),
    );
    says(&register(&fleet, &none).await, 404, "all-not-available");
    says(&ask(&fleet, &none).await, 404, "all-not-available");
    finds(&fleet, &name(&none), "all-not-available").await;
    assert_eq!(register(&fleet, &some).await.status, 200);
    let found = finds(&fleet, &name(&some), HEALTHY).await;
    mentions(&found, "1 levels are Not available");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_anothers() {
    let fleet = Fleet::start().await;
    let owner = made(&fleet, PlatformSpec::new(SGX_ONLY, 1));
    let other = made(&fleet, PlatformSpec::new(SGX_ONLY, 1));
    assert_eq!(register(&fleet, &owner).await.status, 200);
    let token = "r".repeat(64);
    let made = fleet
        .client
        .post(fleet.url("/thim/v1/tokens"))
        .bearer_auth(admin(&fleet))
        .json(&serde_json::json!({
            "name": "rack 7", "role": "registrar",
            "sha256": thim_verify::Digest::of(token.as_bytes()).to_string()
        }));
    assert_eq!(fleet.send(made).await.status, 200);
    let thief = SimPlatform {
        qe_id: owner.qe_id,
        ..other.clone()
    };
    let refused = register_by(&fleet, &token, thief.retrieval_request()).await;
    says(&refused, 401, "qe-id-taken");
    // Whoever looks under the name, and whoever looks at the platform that did not get it.
    let found = finds(&fleet, &name(&owner), "qe-id-taken").await;
    let owners = found.platform.expect("the owner's");
    let get = fleet
        .client
        .get(fleet.url("/thim/v1/platforms?state=ready"));
    let list = fleet.send(get.bearer_auth(admin(&fleet))).await;
    let rows: Vec<thim_client::PlatformSummary> =
        serde_json::from_slice(&list.body).expect("a list");
    let newcomer = rows.iter().find(|row| row.id != owners).expect("the other");
    let found = finds(&fleet, &newcomer.id, "qe-id-taken").await;
    mentions(&found, "rack 7");
    // Under its own name it is welcome, and then nothing is wrong with either.
    fleet.clock.advance_millis(60_000);
    let own_name = register_by(&fleet, &token, other.retrieval_request()).await;
    assert_eq!(own_name.status, 200);
    finds(&fleet, &newcomer.id, HEALTHY).await;
    assert_eq!(register(&fleet, &owner).await.status, 200);
    finds(&fleet, &owners, HEALTHY).await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_waits_to_be_collected() {
    let fleet = Fleet::start_with(|config| config.intel.fill = Fill::Offline).await;
    let platform = made(&fleet, PlatformSpec::new(BOTH, 2));
    assert_eq!(register(&fleet, &platform).await.status, 200);
    says(&ask(&fleet, &platform).await, 404, "queued");
    let found = finds(&fleet, &name(&platform), "queued").await;
    mentions(&found, "the vendor is not asked");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_do_not_verify() {
    let fleet = Fleet::start().await;
    let management = fleet.management();
    // So that only the list is another's.
    fleet.refresh().await;
    let platform = made(&fleet, PlatformSpec::new(SGX_ONLY, 1));
    let rule = FaultRule::new(Fault::WrongKey).matching("pckcerts");
    management.set_fault(rule).expect("a fault");
    says(&register(&fleet, &platform).await, 503, "untrusted");
    says(&ask(&fleet, &platform).await, 503, "untrusted");
    finds(&fleet, &name(&platform), "untrusted").await;
    management.clear_faults();
    fleet.clock.advance_millis(600_000);
    assert_eq!(register(&fleet, &platform).await.status, 200);
    finds(&fleet, &name(&platform), HEALTHY).await;

    management
        .set_fault(FaultRule::new(Fault::OneForged))
        .expect("a fault");
    let partly = made(&fleet, PlatformSpec::new(SGX_ONLY, 1));
    assert_eq!(register(&fleet, &partly).await.status, 200);
    assert_eq!(ask(&fleet, &partly).await.status, 200);
    let found = finds(&fleet, &name(&partly), "untrusted").await;
    mentions(&found, "the others are served");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_no_that_nobody_knows() {
    let fleet = Fleet::start().await;
    let rule = FaultRule::new(Fault::Status { code: 415 }).matching("pckcerts");
    fleet.management().set_fault(rule).expect("a fault");
    let platform = made(&fleet, PlatformSpec::new(SGX_ONLY, 1));
    says(&register(&fleet, &platform).await, 404, "vendor-refused");
    says(&ask(&fleet, &platform).await, 404, "vendor-refused");
    let found = finds(&fleet, &name(&platform), "vendor-refused").await;
    mentions(&found, "status 415");
    fleet.stop().await;
}

/// docs/doctor.md has a paragraph for each cause, with the words that the doctor has, and none for what is no cause.
#[test]
fn every_cause_has_its_paragraph() {
    let page = include_str!("../../../docs/doctor.md");
    let mut sections = page.split("\n## ");
    let opening = sections.next().expect("what comes first");
    assert!(opening.contains("THIM-Cause") && opening.contains("No cache data for this platform."));
    let mut found = BTreeSet::new();
    for section in sections {
        let (heading, text) = section.split_once('\n').expect("a paragraph");
        let cause: Cause = heading
            .parse()
            .unwrap_or_else(|_| panic!("no cause: {heading}"));
        let words = words(cause);
        for words in [words.what, words.next] {
            assert!(text.contains(words), "{heading} lacks: {words}");
        }
        assert!(found.insert(heading), "{heading} stands twice");
    }
    let all: BTreeSet<&str> = Cause::ALL.into_iter().map(Cause::name).collect();
    assert_eq!(found, all);
}

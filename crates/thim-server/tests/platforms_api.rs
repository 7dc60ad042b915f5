//! The own API of platforms against a real server: pages and filters, who may do what, registrations and their
//! refusals, forgetting, fetching again, handing a platform on to another service; and nowhere a secret.

mod harness;
mod talkative_log;

use harness::{Answer, BOTH, Fleet, SGX_ONLY, tcb};
use serde_json::{Value, json};
use talkative_log::Log;
use thim_client::{Diagnosis, PlatformRecord, PlatformSummary, RegisterReport};
use thim_server::upstream::Fill;
use thim_sim::{Fault, PlatformSpec, SimPlatform};

const PLATFORMS: &str = "/thim/v1/platforms";

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXUPPER.encode(bytes)
}

fn admin(fleet: &Fleet) -> String {
    let text = std::fs::read_to_string(fleet.data().join("admin.token")).expect("a token");
    text.trim().to_owned()
}

/// A token of this role; its text is the role's name.
async fn token(fleet: &Fleet, role: &str) -> String {
    let text = format!("a {role} of platforms");
    let post = fleet.client.post(fleet.url("/thim/v1/tokens"));
    let body = json!({
        "name": role, "role": role,
        "sha256": thim_verify::Digest::of(text.as_bytes()).to_string()
    });
    let made = fleet.send(post.bearer_auth(admin(fleet)).json(&body)).await;
    assert_eq!(made.status, 200, "{made:?}");
    text
}

async fn send(fleet: &Fleet, method: &str, path: &str, token: Option<&str>, body: Value) -> Answer {
    let method = method.parse().expect("a method");
    let mut request = fleet
        .client
        .request(method, fleet.url(&format!("{PLATFORMS}{path}")));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    if !body.is_null() {
        request = request.json(&body);
    }
    fleet.send(request).await
}

async fn get(fleet: &Fleet, path: &str) -> Answer {
    send(fleet, "GET", path, Some(&admin(fleet)), Value::Null).await
}

#[track_caller]
fn read<T: serde::de::DeserializeOwned>(answer: &Answer) -> T {
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_slice(&answer.body)
        .unwrap_or_else(|error| panic!("{error}: {}", answer.text()))
}

fn made(fleet: &Fleet, spec: PlatformSpec) -> SimPlatform {
    fleet.management().add_platform(spec).expect("a platform")
}

/// The own API's registration of a platform.
fn registration(platform: &SimPlatform) -> Value {
    serde_json::from_str(&platform.retrieval_request()).expect("JSON")
}

async fn register(fleet: &Fleet, platform: &SimPlatform) -> RegisterReport {
    let body = registration(platform);
    read(&send(fleet, "POST", "", Some(&admin(fleet)), body).await)
}

fn name(platform: &SimPlatform) -> String {
    format!("{}:{}", hex(&platform.qe_id), hex(&platform.pce_id))
}

/// QCNL's request.
fn pckcert(platform: &SimPlatform) -> String {
    format!(
        "/sgx/certification/v4/pckcert?qeid={}&encrypted_ppid={}&cpusvn={}&pcesvn={}&pceid={}",
        hex(&platform.qe_id),
        hex(&platform.encrypted_ppid),
        hex(&platform.cpu_svn),
        hex(&platform.pce_svn.to_le_bytes()),
        hex(&platform.pce_id)
    )
}

/// A problem document with this status; its detail.
#[track_caller]
fn problem(answer: &Answer, status: u16) -> String {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let document: Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(document["status"], status);
    document["detail"].as_str().expect("a detail").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_and_filters_and_their_near_misses() {
    let fleet = Fleet::start().await;
    let mut ids = Vec::new();
    for spec in [
        PlatformSpec::new(SGX_ONLY, 1),
        PlatformSpec::new(BOTH, 2),
        PlatformSpec::new(SGX_ONLY, 1),
        PlatformSpec::new(SGX_ONLY, 1),
        PlatformSpec::new(BOTH, 2),
    ] {
        let platform = made(&fleet, spec);
        let report = register(&fleet, &platform).await;
        assert_eq!((report.state.as_str(), report.fetched), ("ready", true));
        ids.push(report.platform);
    }
    let stale = made(&fleet, PlatformSpec::new(BOTH, 2));
    fleet
        .management()
        .consume_manifest(&stale.name)
        .expect("consumed");
    let refused = send(
        &fleet,
        "POST",
        "",
        Some(&admin(&fleet)),
        registration(&stale),
    )
    .await;
    assert!(problem(&refused, 404).starts_with("manifest-stale: "));
    assert!(
        refused
            .header("thim-cause")
            .starts_with("manifest-stale; detail=")
    );
    ids.sort();

    let page = async |query: &str| -> Vec<PlatformSummary> { read(&get(&fleet, query).await) };
    let listed =
        |rows: &[PlatformSummary]| rows.iter().map(|row| row.id.clone()).collect::<Vec<_>>();
    let all = page("").await;
    assert_eq!(all.len(), 6);
    let ready = page("?state=ready").await;
    assert_eq!(listed(&ready), ids, "by id");
    assert_eq!(page("?state=needs-manifest").await.len(), 1);
    assert_eq!(page("?state=partial").await, []);
    assert_eq!(page(&format!("?fmspc={SGX_ONLY}")).await.len(), 3);
    let lower = SGX_ONLY.to_lowercase();
    assert_eq!(page(&format!("?fmspc={lower}&state=ready")).await.len(), 3);
    assert_eq!(page("?fmspc=000000000000").await, []);
    // From page to page, each once.
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let rows = page(&format!("?limit=2&after={after}")).await;
        assert!(rows.len() <= 2);
        let Some(last) = rows.last() else { break };
        after = last.id.clone();
        seen.extend(rows);
    }
    assert_eq!(listed(&seen), listed(&all));
    let upper = ids[1].to_uppercase();
    assert_eq!(
        listed(&page(&format!("?state=ready&after={upper}")).await),
        &ids[2..]
    );

    for (good, bad) in [
        ("limit=1", "limit=0"),
        ("limit=1000", "limit=1001"),
        ("limit=7", "limit=-1"),
        ("state=ready", "state=Ready"),
        ("state=waiting", "state="),
        ("fmspc=00906E53494D", "fmspc=00906E53494"),
        ("after=0123456789abcdef", "after=0123456789abcde"),
        ("after=", "after=0123456789abcdeg"),
    ] {
        assert_eq!(get(&fleet, &format!("?{good}")).await.status, 200, "{good}");
        problem(&get(&fleet, &format!("?{bad}")).await, 400);
    }
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_has_names_levels_raw_tcbs_and_the_story() {
    let fleet = Fleet::start().await;
    let platform = made(&fleet, PlatformSpec::new(SGX_ONLY, 1).not_available(1));
    let id = register(&fleet, &platform).await.platform;
    let by_id: PlatformRecord = read(&get(&fleet, &format!("/{id}")).await);
    let by_name: PlatformRecord = read(&get(&fleet, &format!("/{}", name(&platform))).await);
    assert_eq!(by_id, by_name);
    let lower: PlatformRecord =
        read(&get(&fleet, &format!("/{}", name(&platform).to_lowercase())).await);
    assert_eq!(by_id, lower);
    let summary = &by_id.summary;
    assert_eq!(
        (
            summary.state.as_str(),
            summary.cause.as_str(),
            summary.origin.as_str()
        ),
        ("ready", "none", "registered")
    );
    assert_eq!(summary.fmspc.as_deref(), Some(SGX_ONLY));
    assert_eq!(summary.ca.as_deref(), Some("processor"));
    assert!(summary.encrypted_ppid && !summary.manifest && !summary.fetching);
    assert_eq!(summary.fetched.as_deref(), Some(harness::START));
    assert_eq!(by_id.names.len(), 1);
    assert_eq!(by_id.names[0].qe_id, hex(&platform.qe_id));
    assert!(by_id.names[0].strong);
    assert_eq!(by_id.levels.len(), platform.levels.len());
    let states = |state: &str| by_id.levels.iter().filter(|one| one.state == state).count();
    assert_eq!(states("served"), platform.levels.len() - 1);
    assert_eq!(states("not-available"), 1);
    let served = fleet.get(&pckcert(&platform)).await;
    assert_eq!(by_id.raw_tcbs.len(), 1);
    assert_eq!(
        by_id.raw_tcbs[0].tcbm.as_deref(),
        Some(served.header("sgx-tcbm"))
    );
    assert!(
        by_id
            .timeline
            .iter()
            .any(|line| line.text.contains("registered by"))
    );

    let near = format!("{:x}{}", (id.as_bytes()[0] ^ 1) & 0xf, &id[1..]);
    for (unknown, status) in [
        (near.as_str(), 404),
        ("A0:0000", 404),
        (&id[1..], 400),
        ("A0", 400),
        ("A0:00", 400),
    ] {
        for path in ["", "/refetch", "/collateral", "/doctor"] {
            let method = if path == "/refetch" { "POST" } else { "GET" };
            let path = format!("/{unknown}{path}");
            let answer = send(&fleet, method, &path, Some(&admin(&fleet)), Value::Null).await;
            if path == "/A0:0000/doctor" {
                let found: Diagnosis = read(&answer);
                assert_eq!(found.cause, "qe-id-unknown", "a diagnosis, not an error");
            } else {
                problem(&answer, status);
            }
        }
        let path = format!("/{unknown}");
        let answer = send(&fleet, "DELETE", &path, Some(&admin(&fleet)), Value::Null).await;
        problem(&answer, status);
    }
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_may_do_its_own_and_nothing_is_open() {
    let fleet = Fleet::start().await;
    let platform = made(&fleet, PlatformSpec::new(SGX_ONLY, 1));
    let id = register(&fleet, &platform).await.platform;
    let tokens = [
        token(&fleet, "reader").await,
        token(&fleet, "registrar").await,
        admin(&fleet),
    ];
    let body = registration(&platform);
    for (method, path, body, allowed) in [
        ("GET", String::new(), Value::Null, [200, 200, 200]),
        ("GET", format!("/{id}"), Value::Null, [200, 200, 200]),
        ("GET", format!("/{id}/doctor"), Value::Null, [200, 200, 200]),
        ("POST", String::new(), body, [403, 200, 200]),
        (
            "GET",
            format!("/{id}/collateral"),
            Value::Null,
            [403, 403, 200],
        ),
        (
            "POST",
            format!("/{id}/refetch"),
            Value::Null,
            [403, 403, 200],
        ),
        ("DELETE", format!("/{id}"), Value::Null, [403, 403, 200]),
    ] {
        problem(&send(&fleet, method, &path, None, body.clone()).await, 401);
        for (token, status) in tokens.iter().zip(allowed) {
            let answer = send(&fleet, method, &path, Some(token), body.clone()).await;
            assert_eq!(
                answer.status,
                status,
                "{method} {path} {token}: {}",
                answer.text()
            );
        }
    }
    // A wrong token, and a right one in a header of another dialect.
    let wrong = send(&fleet, "GET", "", Some("wrong"), Value::Null).await;
    problem(&wrong, 401);
    let dialect = fleet
        .client
        .get(fleet.url(PLATFORMS))
        .header("admin-token", admin(&fleet));
    problem(&fleet.send(dialect).await, 401);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn registrations_that_are_refused_name_the_field_or_the_cause() {
    let fleet = Fleet::start().await;
    let platform = made(&fleet, PlatformSpec::new(BOTH, 2));
    let with = |field: &str, value: Value| {
        let mut body = registration(&platform);
        body[field] = value;
        body
    };
    for (body, field) in [
        (with("qe_id", json!("")), "qe_id"),
        (with("pce_id", json!("000")), "pce_id"),
        (with("enc_ppid", json!("5EC2E7")), "enc_ppid"),
        (
            with("platform_manifest", json!("5EC2E7x")),
            "platform_manifest",
        ),
        (with("cpu_svn", json!("5EC2E7")), "cpu_svn"),
        (with("update", json!("5EC2E7")), "update"),
        (with("direct", json!("5EC2E7")), "direct"),
        (with("keep_names", json!("5EC2E7")), "keep_names"),
        (with("manifest", json!("5EC2E7")), "body"),
        (json!(["5EC2E7"]), "body"),
    ] {
        let refused = send(&fleet, "POST", "", Some(&admin(&fleet)), body).await;
        let detail = problem(&refused, 400);
        assert!(
            detail.starts_with(&format!("{field}: ")),
            "{field}: {detail}"
        );
        assert!(!refused.text().contains("5EC2E7"), "{}", refused.text());
    }
    let single = made(&fleet, PlatformSpec::new(SGX_ONLY, 1));
    let mut direct = registration(&single);
    direct["direct"] = json!(true);
    let refused = send(&fleet, "POST", "", Some(&admin(&fleet)), direct).await;
    assert!(problem(&refused, 400).starts_with("platform_manifest: "));
    let long = with("platform_manifest", json!("00".repeat(1_100_000)));
    problem(
        &send(&fleet, "POST", "", Some(&admin(&fleet)), long).await,
        413,
    );

    // What is there already is registered at no cost.
    let first = register(&fleet, &platform).await;
    let calls = fleet.management().calls().containing("pckcert");
    let again = register(&fleet, &platform).await;
    assert_eq!((first.fetched, again.fetched), (true, false));
    assert_eq!(first.platform, again.platform);
    assert_eq!(fleet.management().calls().containing("pckcert"), calls);

    // Somebody else's name.
    let registrar = token(&fleet, "registrar").await;
    let thief = SimPlatform {
        qe_id: platform.qe_id,
        pce_id: platform.pce_id,
        ..single.clone()
    };
    let refused = send(&fleet, "POST", "", Some(&registrar), registration(&thief)).await;
    assert!(problem(&refused, 409).starts_with("qe-id-taken: "));
    assert!(refused.header("thim-cause").starts_with("qe-id-taken;"));
    // Nor by an administrator who lets names be.
    let mut kept = registration(&thief);
    kept["keep_names"] = json!(true);
    let refused = send(&fleet, "POST", "", Some(&admin(&fleet)), kept).await;
    assert!(problem(&refused, 409).starts_with("qe-id-taken: "));
    assert_eq!(refused.header("retry-after"), "");
    // What is no use at all.
    let zero = made(&fleet, PlatformSpec::new(SGX_ONLY, 1).zero_encrypted_ppid());
    let refused = send(&fleet, "POST", "", Some(&registrar), registration(&zero)).await;
    assert!(problem(&refused, 400).starts_with("encrypted-ppid-zero: "));
    // A vendor that is down; the registration is kept.
    fleet.fault(Fault::Down);
    let later = made(&fleet, PlatformSpec::new(BOTH, 2));
    let refused = send(&fleet, "POST", "", Some(&registrar), registration(&later)).await;
    assert!(problem(&refused, 503).starts_with("vendor-unavailable: "));
    assert!(
        refused
            .header("retry-after")
            .parse::<u32>()
            .expect("seconds")
            > 0
    );
    let kept: PlatformRecord = read(&get(&fleet, &format!("/{}", name(&later))).await);
    assert_eq!(kept.summary.state, "waiting");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forgetting_forgets_names_certificates_and_secrets() {
    let fleet = Fleet::start().await;
    let platform = made(&fleet, PlatformSpec::new(BOTH, 2));
    let id = register(&fleet, &platform).await.platform;
    let path = format!("/{}", name(&platform));
    assert_eq!(fleet.get(&pckcert(&platform)).await.status, 200);
    let gone: PlatformSummary =
        read(&send(&fleet, "DELETE", &path, Some(&admin(&fleet)), Value::Null).await);
    assert_eq!(
        (gone.id.as_str(), gone.state.as_str()),
        (id.as_str(), "ready")
    );
    problem(&get(&fleet, &path).await, 404);
    problem(&get(&fleet, &format!("/{id}")).await, 404);
    problem(
        &send(
            &fleet,
            "DELETE",
            &format!("/{id}"),
            Some(&admin(&fleet)),
            Value::Null,
        )
        .await,
        404,
    );
    assert_eq!(
        fleet.get(&pckcert(&platform)).await.status,
        404,
        "nor from memory"
    );
    assert!(
        fleet
            .events()
            .await
            .contains(&"platform.forgotten".to_owned())
    );
    assert!(
        !fleet
            .server()
            .platforms
            .store()
            .has_sealed()
            .await
            .expect("the store works")
    );
    // It may come again.
    assert_eq!(register(&fleet, &platform).await.state, "ready");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_vendor_is_asked_again_when_an_administrator_says_so() {
    let mut fleet = Fleet::start().await;
    let platform = made(&fleet, PlatformSpec::new(BOTH, 2));
    let id = register(&fleet, &platform).await.platform;
    let refetch = format!("/{id}/refetch");
    fleet.clock.advance_millis(60_000);
    fleet
        .management()
        .reissue(&platform.name)
        .expect("reissued");
    let before = fleet.get(&pckcert(&platform)).await;
    let record: PlatformRecord =
        read(&send(&fleet, "POST", &refetch, Some(&admin(&fleet)), Value::Null).await);
    assert_eq!(
        record.summary.fetched.as_deref(),
        Some("2026-11-24T12:01:00Z")
    );
    let after = fleet.get(&pckcert(&platform)).await;
    assert_eq!((before.status, after.status), (200, 200));
    assert_ne!(before.text(), after.text(), "a new certificate");

    // A vendor that says nothing leaves everything as it is, and the record says so.
    fleet.fault(Fault::Down);
    fleet.clock.advance_millis(60_000);
    let record: PlatformRecord =
        read(&send(&fleet, "POST", &refetch, Some(&admin(&fleet)), Value::Null).await);
    assert_eq!(
        (record.summary.state.as_str(), record.summary.cause.as_str()),
        ("ready", "vendor-unavailable")
    );
    assert_eq!(fleet.get(&pckcert(&platform)).await.text(), after.text());
    fleet.management().clear_faults();

    // Offline nobody is asked, whoever says so; reading goes on.
    fleet.config.intel.fill = Fill::Offline;
    fleet.restart().await;
    let calls = fleet.management().calls().total;
    problem(
        &send(&fleet, "POST", &refetch, Some(&admin(&fleet)), Value::Null).await,
        409,
    );
    let mut direct = registration(&platform);
    direct["direct"] = json!(true);
    problem(
        &send(&fleet, "POST", "", Some(&admin(&fleet)), direct).await,
        409,
    );
    assert_eq!(fleet.management().calls().total, calls);
    assert_eq!(get(&fleet, &format!("/{id}")).await.status, 200);
    fleet.stop().await;
}

/// An offline service that trusts the first one's vendor.
async fn island(first: &Fleet) -> Fleet {
    let roots = first.config.trust.intel_roots.clone();
    Fleet::start_with(|config| {
        config.trust.intel_roots = roots;
        config.intel.upstream = Vec::new();
        config.intel.fill = Fill::Offline;
    })
    .await
}

async fn deliver(fleet: &Fleet, body: Vec<u8>) -> Answer {
    let put = fleet
        .client
        .put(fleet.url("/sgx/certification/v4/platformcollateral"))
        .header("content-type", "application/json")
        .header("admin-token", admin(fleet));
    fleet.send(put.body(body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_that_is_handed_on_is_served_elsewhere_byte_for_byte() {
    let first = Fleet::start().await;
    let second = island(&first).await;
    for spec in [PlatformSpec::new(SGX_ONLY, 1), PlatformSpec::new(BOTH, 2)] {
        let fmspc = spec.fmspc.clone();
        let platform = made(&first, spec);
        let id = register(&first, &platform).await.platform;
        let body = get(&first, &format!("/{id}/collateral")).await;
        assert_eq!(body.status, 200, "{}", body.text());
        assert_eq!(body.header("content-type"), "application/json");
        assert_eq!(body.header("cache-control"), "no-store");
        let taken = deliver(&second, body.body.clone()).await;
        assert_eq!(
            (taken.status, taken.text()),
            (200, "Operation successful."),
            "{:?}",
            taken.headers
        );
        let served = (
            first.get(&pckcert(&platform)).await,
            second.get(&pckcert(&platform)).await,
        );
        assert_eq!(
            (served.0.status, served.1.status),
            (200, 200),
            "{:?}",
            served.1.headers
        );
        assert_eq!(served.0.text(), served.1.text());
        for header in ["sgx-tcbm", "sgx-fmspc", "sgx-pck-certificate-issuer-chain"] {
            assert_eq!(served.0.header(header), served.1.header(header), "{header}");
        }
        let mut paths = vec![
            tcb("sgx", &fmspc),
            "/sgx/certification/v4/qe/identity".to_owned(),
            "/sgx/certification/v4/rootcacrl".to_owned(),
            "/sgx/certification/v4/pckcrl?ca=processor".to_owned(),
            "/sgx/certification/v4/pckcrl?ca=platform".to_owned(),
        ];
        if fmspc == BOTH {
            paths.push(tcb("tdx", &fmspc));
        }
        for path in paths {
            let (here, there) = (first.get(&path).await, second.get(&path).await);
            assert_eq!((here.status, there.status), (200, 200), "{path}");
            assert_eq!(here.body, there.body, "{path}");
        }
        // With all that it was registered with, and from there on to a third.
        let there: PlatformRecord = read(&get(&second, &format!("/{}", name(&platform))).await);
        assert_eq!(there.summary.origin, "imported");
        let here: PlatformRecord = read(&get(&first, &format!("/{id}")).await);
        assert_eq!(
            (there.summary.manifest, there.summary.encrypted_ppid),
            (here.summary.manifest, here.summary.encrypted_ppid)
        );
        assert_eq!(there.summary.manifest, fmspc == BOTH);
        let found: Diagnosis = read(&get(&second, &format!("/{}/doctor", name(&platform))).await);
        assert_eq!(found.cause, "none", "{found:#?}");
        let onward = get(&second, &format!("/{}/collateral", name(&platform))).await;
        let (here, there): (Value, Value) = (read(&body), read(&onward));
        assert_eq!(here["platforms"], there["platforms"]);
        assert_eq!(
            here["collaterals"]["pck_certs"],
            there["collaterals"]["pck_certs"]
        );
    }
    // Nothing half: what has no certificates is not handed on.
    let stale = made(&first, PlatformSpec::new(BOTH, 2));
    first
        .management()
        .consume_manifest(&stale.name)
        .expect("consumed");
    let refused = send(
        &first,
        "POST",
        "",
        Some(&admin(&first)),
        registration(&stale),
    )
    .await;
    problem(&refused, 404);
    let refused = get(&first, &format!("/{}/collateral", name(&stale))).await;
    assert!(problem(&refused, 409).starts_with("manifest-stale: "));
    second.stop().await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_without_a_name_is_handed_on_too() {
    let first = Fleet::start().await;
    let second = island(&first).await;
    let platform = made(&first, PlatformSpec::new(SGX_ONLY, 1).zero_qe_id());
    let id = register(&first, &platform).await.platform;
    let body = get(&first, &format!("/{id}/collateral")).await;
    assert_eq!(body.status, 200, "{}", body.text());
    let taken = deliver(&second, body.body).await;
    assert_eq!(taken.status, 200, "{:?}", taken.headers);
    let served = second.get(&pckcert(&platform)).await;
    assert_eq!(
        served.status, 200,
        "by what it brings: {:?}",
        served.headers
    );
    second.stop().await;
    first.stop().await;
}

/// Pieces of a secret as text: a log that cuts it tells enough.
fn pieces(secret: &[u8]) -> Vec<String> {
    let whole = secret.len().min(16);
    [&secret[..whole], &secret[secret.len() - whole..]]
        .into_iter()
        .flat_map(|piece| {
            [
                data_encoding::HEXUPPER.encode(piece),
                data_encoding::HEXLOWER.encode(piece),
            ]
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_of_a_platform_is_in_an_answer_a_metric_an_event_or_the_log() {
    let log = Log::begin();
    let fleet = Fleet::start().await;
    let one = made(&fleet, PlatformSpec::new(SGX_ONLY, 1));
    let two = made(&fleet, PlatformSpec::new(BOTH, 2));
    let stale = made(&fleet, PlatformSpec::new(BOTH, 2));
    fleet
        .management()
        .consume_manifest(&stale.name)
        .expect("consumed");
    let direct = made(&fleet, PlatformSpec::new(BOTH, 2));
    let all = [&one, &two, &stale, &direct];
    let mut secrets = Vec::new();
    for platform in all {
        secrets.extend(pieces(&platform.ppid));
        secrets.extend(pieces(&platform.encrypted_ppid));
        secrets.extend(
            platform
                .manifest
                .iter()
                .flat_map(|manifest| pieces(manifest)),
        );
    }
    let clean = |what: &str, text: &str| {
        for secret in &secrets {
            assert!(
                !text.contains(secret.as_str()),
                "{what} tells a secret: {text}"
            );
        }
    };
    let mut answers = Vec::new();
    for platform in all {
        let mut body = registration(platform);
        if platform.name == direct.name {
            body["direct"] = json!(true);
        }
        answers.push(send(&fleet, "POST", "", Some(&admin(&fleet)), body).await);
        // And once more the other way, which the vendor refuses.
        let mut body = registration(platform);
        body["direct"] = json!(platform.manifest.is_some());
        answers.push(send(&fleet, "POST", "", Some(&admin(&fleet)), body).await);
        let path = format!("/{}", name(platform));
        answers.push(get(&fleet, &path).await);
        answers.push(get(&fleet, &format!("{path}/doctor")).await);
        let refetch = format!("{path}/refetch");
        answers.push(send(&fleet, "POST", &refetch, Some(&admin(&fleet)), Value::Null).await);
    }
    fleet.fault(Fault::Down);
    let late = made(&fleet, PlatformSpec::new(BOTH, 2));
    answers.push(
        send(
            &fleet,
            "POST",
            "",
            Some(&admin(&fleet)),
            registration(&late),
        )
        .await,
    );
    answers.push(get(&fleet, "?limit=1000").await);
    for path in ["/metrics", "/thim/v1/events?limit=1000", "/thim/v1/status"] {
        answers.push(fleet.get(path).await);
    }
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert!(
        statuses.contains(&409) && statuses.contains(&404) && statuses.contains(&503),
        "{statuses:?}"
    );
    for answer in &answers {
        clean(
            "an answer",
            &format!("{:?} {}", answer.headers, answer.text()),
        );
    }
    // The one that does tell, to an administrator.
    let path = format!("/{}/collateral", name(&two));
    let told = get(&fleet, &path).await;
    assert!(
        secrets
            .iter()
            .any(|secret| told.text().contains(secret.as_str()))
    );
    fleet.stop().await;
    let log = String::from_utf8_lossy(&log.bytes()).into_owned();
    assert!(
        log.contains("a platform is handed out"),
        "the log was listening"
    );
    clean("the log", &log);
}

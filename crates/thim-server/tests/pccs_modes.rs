//! PCCS's endpoints about platforms in its three fill modes, against the simulator: the table of
//! `spec/intel-pcs-and-pccs.md` section 5.2, lists, policies, methods and refusals.

mod harness;
mod pccs_support;

use data_encoding::{HEXLOWER, HEXUPPER};
use futures_util::StreamExt;
use harness::{Answer, BOTH, SGX_ONLY, tcb};
use pccs_support::{
    BUSY, INVALID, NO_DATA, SUCCESSFUL, admin, assert_is, fleet, lists, multi, pckcert, platform,
    policy, post, register, single,
};
use thim_server::platforms::Handover;
use thim_server::upstream::Fill;
use thim_sim::Fault;

const PLATFORMS: &str = "/sgx/certification/v4/platforms";
const REFRESH: &str = "/sgx/certification/v4/refresh";
const POLICY: &str = "/sgx/certification/v4/appraisalpolicy";
const UNAUTHENTICATED: &str = "Authentication failed.";
const NOT_FOUND: &str = "The platform was not found in the cache.";

fn count(answer: &Answer) -> &str {
    assert_eq!(answer.status, 200, "{}", answer.header("thim-cause"));
    assert_eq!(
        answer.header("content-type"),
        "application/json; charset=utf-8"
    );
    let elements: Vec<serde_json::Value> =
        serde_json::from_slice(&answer.body).expect("a JSON array");
    let told = answer.header("platform-count");
    assert_eq!(told, elements.len().to_string());
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn lazy_fetches_whatever_is_missed() {
    let fleet = fleet(Fill::Lazy).await;
    assert_eq!(fleet.get(&tcb("sgx", SGX_ONLY)).await.status, 200);
    let asked = platform(&fleet, single());
    assert_eq!(fleet.get(&pckcert(&asked)).await.status, 200);

    let missing = platform(&fleet, single());
    let ppid = HEXUPPER.encode(&missing.encrypted_ppid);
    let ask = pckcert(&missing);
    let without = ask.replace(&format!("&encrypted_ppid={ppid}"), "");
    assert_is(
        &fleet.get(&without).await,
        400,
        INVALID,
        "encrypted-ppid-missing",
    );
    let calls = fleet.management().calls().total;
    let zeros = ask.replace(&ppid, &"0".repeat(768));
    assert_is(
        &fleet.get(&zeros).await,
        404,
        NO_DATA,
        "encrypted-ppid-zero",
    );
    assert_eq!(fleet.management().calls().total, calls, "nobody is asked");

    for (index, update) in ["", "?update=early", "?update=STANDARD", "?update=All"]
        .into_iter()
        .enumerate()
    {
        let spec = if index % 2 == 0 { single() } else { multi() };
        let new = platform(&fleet, spec);
        let answer = register(&fleet, update, new.retrieval_request()).await;
        assert_is(&answer, 200, SUCCESSFUL, "");
        assert_eq!(fleet.get(&pckcert(&new)).await.status, 200);
        // The same again, and in lower case, is known.
        let asked = lists(&fleet);
        let body = new.retrieval_request();
        let lower = body.replace(
            &HEXUPPER.encode(new.manifest.as_deref().unwrap_or_default()),
            &HEXLOWER.encode(new.manifest.as_deref().unwrap_or_default()),
        );
        for body in [body, lower] {
            assert_is(&register(&fleet, update, body).await, 200, SUCCESSFUL, "");
        }
        assert_eq!(lists(&fleet), asked, "{update}");
    }
    let early = "/sgx/certification/v4/qe/identity?update=early";
    let calls = fleet.management().calls().total;
    assert_eq!(fleet.get(early).await.status, 200);
    assert_eq!(
        fleet.management().calls().total,
        calls,
        "update= has fetched it"
    );

    // Nothing waits to be collected, and what is known is listed in upper case.
    assert_eq!(count(&admin(&fleet, "GET", PLATFORMS).await), "0");
    let listed = admin(&fleet, "GET", &format!("{PLATFORMS}?source=[{SGX_ONLY}]")).await;
    assert_eq!(count(&listed), "3");
    let ppid = HEXUPPER.encode(&asked.encrypted_ppid);
    let element = format!(
        "{{\"qe_id\":\"{}\",\"pce_id\":\"{}\",\"cpu_svn\":\"{}\",\"pce_svn\":\"{}\",\"enc_ppid\":\"{ppid}\",\"platform_manifest\":\"\"}}",
        HEXUPPER.encode(&asked.qe_id),
        HEXUPPER.encode(&asked.pce_id),
        HEXUPPER.encode(&asked.cpu_svn),
        HEXUPPER.encode(&asked.pce_svn.to_le_bytes()),
    );
    assert!(listed.text().contains(&element), "its order and case");
    let both = format!("{PLATFORMS}?source=[{SGX_ONLY},{}]", BOTH.to_lowercase());
    assert_eq!(count(&admin(&fleet, "GET", &both).await), "5");
    assert_eq!(
        count(&admin(&fleet, "GET", &format!("{PLATFORMS}?source=[]")).await),
        "5"
    );
    let none = format!("{PLATFORMS}?source=[000000000000]");
    assert_eq!(count(&admin(&fleet, "GET", &none).await), "0");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn req_fetches_on_somebodys_word_alone() {
    let fleet = fleet(Fill::Req).await;
    let missing = fleet.get(&tcb("sgx", SGX_ONLY)).await;
    assert_is(&missing, 404, NO_DATA, "not-held");
    let one = platform(&fleet, single());
    assert_is(
        &fleet.get(&pckcert(&one)).await,
        461,
        NOT_FOUND,
        "qe-id-unknown",
    );
    assert_is(&post(&fleet, &one).await, 200, SUCCESSFUL, "");
    assert_eq!(fleet.get(&pckcert(&one)).await.status, 200);
    assert_eq!(fleet.get(&tcb("sgx", SGX_ONLY)).await.status, 200);
    assert_eq!(count(&admin(&fleet, "GET", PLATFORMS).await), "0");

    // A level that the vendor has not is one for the tool.
    let partial = platform(&fleet, single().not_available(1));
    assert_is(&post(&fleet, &partial).await, 200, SUCCESSFUL, "");
    assert_eq!(fleet.get(&pckcert(&partial)).await.status, 200);
    assert_eq!(count(&admin(&fleet, "GET", PLATFORMS).await), "0");
    let na = format!("{PLATFORMS}?source=reg_na");
    let kept = admin(&fleet, "GET", &format!("{na}&keep=1")).await;
    assert_eq!(count(&kept), "1");
    let taken = admin(&fleet, "GET", &na).await;
    assert_eq!(taken.text(), kept.text());
    assert_eq!(count(&admin(&fleet, "GET", &na).await), "0");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn offline_queues_for_a_tool_that_collects_once() {
    let fleet = fleet(Fill::Offline).await;
    let one = platform(&fleet, single());
    let two = platform(&fleet, multi());
    assert_is(
        &fleet.get(&pckcert(&one)).await,
        461,
        NOT_FOUND,
        "qe-id-unknown",
    );
    for platform in [&one, &two, &one] {
        assert_is(&post(&fleet, platform).await, 200, SUCCESSFUL, "");
    }
    assert_eq!(fleet.management().calls().total, 0, "nobody is asked");
    let head = admin(&fleet, "HEAD", PLATFORMS).await;
    assert_eq!((head.status, head.header("platform-count")), (200, "2"));
    assert!(head.body.is_empty());
    let kept = admin(&fleet, "GET", &format!("{PLATFORMS}?source=reg&keep=1")).await;
    assert_eq!(count(&kept), "2");
    let upper = HEXUPPER.encode(&one.qe_id);
    let expected = format!(
        "[{{\"enc_ppid\":\"{}\",\"platform_manifest\":\"\",\"qe_id\":\"{upper}\",\"pce_id\":\"{}\",\"cpu_svn\":\"{}\",\"pce_svn\":\"{}\"}},\
         {{\"enc_ppid\":\"\",\"platform_manifest\":\"{}\",\"qe_id\":\"{}\",\"pce_id\":\"{}\",\"cpu_svn\":\"\",\"pce_svn\":\"\"}}]",
        HEXLOWER.encode(&one.encrypted_ppid),
        HEXUPPER.encode(&one.pce_id),
        HEXUPPER.encode(&one.cpu_svn),
        HEXUPPER.encode(&one.pce_svn.to_le_bytes()),
        HEXLOWER.encode(two.manifest.as_deref().expect("a manifest")),
        HEXUPPER.encode(&two.qe_id),
        HEXUPPER.encode(&two.pce_id),
    );
    assert_eq!(kept.text(), expected);
    assert_eq!(admin(&fleet, "GET", PLATFORMS).await.text(), expected);
    for source in ["", "?source=", "?source=reg", "?source=reg_na"] {
        let empty = admin(&fleet, "GET", &format!("{PLATFORMS}{source}")).await;
        assert_eq!((count(&empty), empty.text()), ("0", "[]"), "{source}");
    }
    // Registered again, it is new again.
    assert_is(&post(&fleet, &one).await, 200, SUCCESSFUL, "");
    assert_eq!(count(&admin(&fleet, "GET", PLATFORMS).await), "1");
    // Known to nobody yet.
    let cached = admin(&fleet, "GET", &format!("{PLATFORMS}?source=[]")).await;
    assert_eq!(count(&cached), "0");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_list_comes_page_by_page_and_is_whole() {
    let fleet = fleet(Fill::Offline).await;
    // Twice a page and a few.
    let total = 131;
    for index in 0..total {
        let body = format!(
            "{{\"qe_id\":\"host-{index:03}\",\"pce_id\":\"0000\",\"platform_manifest\":\"aa{index:04}\"}}"
        );
        assert_eq!(register(&fleet, "", body).await.status, 200);
    }
    let keep = admin(&fleet, "GET", &format!("{PLATFORMS}?keep=1")).await;
    assert_eq!(count(&keep), "131");
    let taken = admin(&fleet, "GET", PLATFORMS).await;
    assert_eq!(taken.text(), keep.text());
    for index in 0..total {
        let name = format!("\"HOST-{index:03}\"");
        assert_eq!(taken.text().matches(&name).count(), 1, "{name}");
    }
    assert_eq!(count(&admin(&fleet, "GET", PLATFORMS).await), "0");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_breaks_off_loses_nothing() {
    let fleet = fleet(Fill::Offline).await;
    // Two pages of the longest manifests are more than the buffers of a connection hold.
    let manifest = "ab".repeat(56_442);
    let body = |index: u32, manifest: &str| {
        format!(
            "{{\"qe_id\":\"host-{index}\",\"pce_id\":\"0000\",\"platform_manifest\":\"{manifest}\"}}"
        )
    };
    for index in 0..130 {
        let answer = register(&fleet, "", body(index, &manifest)).await;
        assert_eq!(answer.status, 200);
    }
    // One digit pair more is none that Intel would read.
    let longer = register(&fleet, "", body(0, &format!("{manifest}ab"))).await;
    assert_is(&longer, 400, INVALID, "invalid-body");
    let request = fleet
        .client
        .get(fleet.url(PLATFORMS))
        .header("admin-token", "adminpw");
    let mut broken = request.send().await.expect("an answer");
    let first = broken.chunk().await.expect("a chunk").expect("a beginning");
    assert_eq!(first[0], b'[');
    drop(broken);
    let whole = admin(&fleet, "GET", PLATFORMS).await;
    assert_eq!(count(&whole), "130");
    assert_eq!(count(&admin(&fleet, "GET", PLATFORMS).await), "0");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_handed_over_when_its_last_row_was_taken() {
    let fleet = fleet(Fill::Offline).await;
    // A short list, and one that fills its pages to the last row.
    for (total, pieces) in [(3_u64, 2), (64, 2), (128, 3)] {
        for index in 0..total {
            let body = format!(
                "{{\"qe_id\":\"host-{total}-{index}\",\"pce_id\":\"0000\",\"platform_manifest\":\"aabb\"}}"
            );
            assert_eq!(register(&fleet, "", body).await.status, 200);
        }
        let hand_over = |keep| {
            let which = Handover::Registered { state: "new", keep };
            let platforms = &fleet.server().platforms;
            platforms.hand_over(which, fleet.clock.now())
        };
        // However much of it somebody took, short of the end: as a connection does that breaks off.
        for taken in 0..pieces {
            let handed = hand_over(false).await.expect("a list");
            assert_eq!(handed.count, total, "after {taken} pieces");
            let begun: Vec<_> = handed.body.take(taken).collect().await;
            assert_eq!(begun.len(), taken);
        }
        let kept: Vec<_> = hand_over(true).await.expect("a list").body.collect().await;
        let handed = hand_over(false).await.expect("a list");
        let mut text = Vec::new();
        for piece in handed.body.collect::<Vec<_>>().await {
            text.extend(piece.expect("a piece"));
        }
        let rows: Vec<serde_json::Value> = serde_json::from_slice(&text).expect("JSON");
        assert_eq!(rows.len() as u64, total);
        let kept: Vec<_> = kept
            .into_iter()
            .flat_map(|piece| piece.expect("a piece"))
            .collect();
        assert_eq!(kept, text);
        let left = hand_over(false).await.expect("a list");
        assert_eq!(left.count, 0);
        let end: Vec<_> = left
            .body
            .map(|piece| piece.expect("a piece"))
            .collect()
            .await;
        assert_eq!(end, ["[]"]);
    }
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_of_the_past_stores_nothing() {
    let mut fleet = fleet(Fill::Offline).await;
    let one = platform(&fleet, single());
    let file = pccs_support::Collaterals::of(&fleet, &[&one]).await;
    assert_eq!(file.put(&fleet).await.status, 200);
    assert_eq!(post(&fleet, &platform(&fleet, single())).await.status, 200);
    fleet.server.take().expect("it runs").stop().await;
    let world = thim_server::server::World {
        clock: thim_server::clock::Clock::by_hand(harness::at("2026-11-24T11:00:00Z")),
        clock_chosen: true,
        today: harness::at(harness::START),
        entropy: harness::entropy,
    };
    let server = thim_server::server::Server::start(&fleet.config, world).await;
    fleet.server = Some(server.expect("the server starts"));
    let put_policy = fleet
        .client
        .put(fleet.url(POLICY))
        .header("admin-token", "adminpw")
        .body("{}");
    for answer in [
        post(&fleet, &one).await,
        file.put(&fleet).await,
        fleet.send(put_policy).await,
    ] {
        assert_is(&answer, 503, BUSY, "read-only");
    }
    assert_is(
        &admin(&fleet, "POST", REFRESH).await,
        503,
        BUSY,
        "not-fetching",
    );
    // Looked at, and not taken away.
    for _ in 0..2 {
        assert_eq!(count(&admin(&fleet, "GET", PLATFORMS).await), "1");
    }
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_fails_says_why() {
    let fleet = fleet(Fill::Lazy).await;
    let management = fleet.management();
    let zero = platform(&fleet, single().zero_encrypted_ppid());
    assert_is(
        &post(&fleet, &zero).await,
        404,
        NO_DATA,
        "encrypted-ppid-zero",
    );
    let unborn = platform(&fleet, single().pre_production());
    assert_is(&post(&fleet, &unborn).await, 404, NO_DATA, "needs-manifest");
    let stale = platform(&fleet, multi());
    management.consume_manifest(&stale.name).expect("consumed");
    assert_is(&post(&fleet, &stale).await, 404, NO_DATA, "manifest-stale");
    let none = platform(&fleet, single().levels(1).not_available(1));
    assert_is(
        &post(&fleet, &none).await,
        404,
        NO_DATA,
        "all-not-available",
    );
    let short = "{\"qe_id\":\"aa\",\"pce_id\":\"0000\",\"platform_manifest\":\"aabb\"}";
    assert_is(
        &register(&fleet, "", short).await,
        404,
        NO_DATA,
        "manifest-malformed",
    );
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_the_vendor_does_not_answer_is_worth_trying_again() {
    for (fault, cause) in [
        (Fault::Down, "vendor-unavailable"),
        (Fault::Throttle { retry_after: 7 }, "vendor-throttled"),
    ] {
        let fleet = fleet(Fill::Lazy).await;
        let new = platform(&fleet, single());
        fleet.fault(fault);
        let answer = post(&fleet, &new).await;
        assert_is(&answer, 503, BUSY, cause);
        assert!(!answer.header("retry-after").is_empty());
        fleet.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_and_their_nearest_right_ones() {
    let fleet = fleet(Fill::Offline).await;
    let one = platform(&fleet, multi());
    let good = one.retrieval_request();
    let manifest = "{\"qe_id\":\"zz\",\"pce_id\":\"0000\",\"platform_manifest\":\"aabb\"}";
    let form = "application/x-www-form-urlencoded";
    let json = "application/json";
    let large = format!("{{\"qe_id\":\"{}\"}}", "a".repeat(2_200_000));
    let rows: Vec<(&str, &str, &str, &str, u16)> = vec![
        ("", json, &good, SUCCESSFUL, 200),
        (
            "",
            "Application/JSON; charset=utf-8",
            &good,
            SUCCESSFUL,
            200,
        ),
        (
            "",
            form,
            "qe_id=a+b&pce_id=0000&platform_manifest=aabb",
            SUCCESSFUL,
            200,
        ),
        ("", form, "qe_id=a&pce_id=0000", INVALID, 400),
        (
            "",
            json,
            "qe_id=a&pce_id=0000&platform_manifest=aabb",
            INVALID,
            400,
        ),
        ("", form, manifest, INVALID, 400),
        ("", "text/plain", manifest, INVALID, 400),
        ("", "", manifest, INVALID, 400),
        ("", json, manifest, SUCCESSFUL, 200),
        ("", json, "", INVALID, 400),
        ("", json, "{}", INVALID, 400),
        ("", json, "[]", INVALID, 400),
        (
            "",
            json,
            "{\"qe_id\":\"\",\"pce_id\":\"0000\",\"platform_manifest\":\"aabb\"}",
            INVALID,
            400,
        ),
        (
            "",
            json,
            "{\"qe_id\":\"zz\",\"pce_id\":\"000\",\"platform_manifest\":\"aabb\"}",
            INVALID,
            400,
        ),
        (
            "",
            json,
            "{\"qe_id\":\"zz\",\"pce_id\":\"0000\",\"platform_manifest\":\"xy\"}",
            INVALID,
            400,
        ),
        (
            "",
            json,
            "{\"qe_id\":\"zz\",\"pce_id\":\"0000\",\"platform_manifest\":null}",
            INVALID,
            400,
        ),
        ("?update=early", json, manifest, SUCCESSFUL, 200),
        ("?update=", json, manifest, INVALID, 400),
        ("?update=both", json, manifest, INVALID, 400),
        ("?update[a]=all", json, manifest, INVALID, 400),
        ("", json, &large, "Content too large.", 413),
    ];
    for (query, kind, body, text, status) in rows {
        let mut request = fleet
            .client
            .post(fleet.url(&format!("{PLATFORMS}{query}")))
            .header("user-token", "userpw")
            .body(body.to_owned());
        if !kind.is_empty() {
            request = request.header("Content-Type", kind);
        }
        let answer = fleet.send(request).await;
        let what = format!("{query} {kind} {}", body.get(..60).unwrap_or(body));
        assert_eq!((answer.status, answer.text()), (status, text), "{what}");
        assert_eq!(
            answer.header("thim-cause").is_empty(),
            status == 200,
            "{what}"
        );
    }
    for source in [
        "foo",
        "REG",
        "[",
        "[00906ED5000]",
        "[00906ED50000,%2000806F050000]",
        "reg&source[a]=1",
    ] {
        let answer = admin(&fleet, "GET", &format!("{PLATFORMS}?source={source}")).await;
        assert_is(&answer, 400, INVALID, "invalid-parameter");
    }
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_come_before_bodies_and_methods_are_those_of_express() {
    let fleet = fleet(Fill::Offline).await;
    let collateral = "/sgx/certification/v4/platformcollateral";
    let v3 = |path: &str| path.replace("/v4/", "/V3/") + "/";
    // Method, path, token's header, and what comes of no token, the other one's, a wrong one and the right one.
    let unknown = "<!DOCTYPE html>";
    let rows: &[(&str, &str, &str, u16, &str)] = &[
        ("POST", PLATFORMS, "user-token", 400, INVALID),
        ("GET", PLATFORMS, "admin-token", 200, "[]"),
        ("PUT", collateral, "admin-token", 400, INVALID),
        ("POST", collateral, "admin-token", 404, unknown),
        ("GET", collateral, "admin-token", 404, unknown),
        ("OPTIONS", collateral, "admin-token", 200, "PUT"),
        (
            "PUT",
            "/sgx/certification/v4/platformcollateral/x",
            "admin-token",
            404,
            unknown,
        ),
        ("GET", REFRESH, "admin-token", 503, BUSY),
        ("POST", REFRESH, "admin-token", 503, BUSY),
        ("DELETE", REFRESH, "admin-token", 404, unknown),
        ("OPTIONS", REFRESH, "admin-token", 200, "GET,HEAD,POST"),
        (
            "GET",
            "/sgx/certification/v4/refresh/x",
            "admin-token",
            404,
            unknown,
        ),
        ("PUT", POLICY, "admin-token", 400, INVALID),
    ];
    for (method, path, header, status, text) in rows {
        let other = if *header == "user-token" {
            "admin-token"
        } else {
            "user-token"
        };
        let right = if *header == "user-token" {
            "userpw"
        } else {
            "adminpw"
        };
        let wrong = if *header == "user-token" {
            "adminpw"
        } else {
            "userpw"
        };
        for path in [(*path).to_owned(), v3(path)] {
            let what = format!("{method} {path}");
            let ask = |token: Option<(&str, &str)>| {
                let method = method.parse().expect("a method");
                let mut request = fleet.client.request(method, fleet.url(&path));
                if let Some((name, value)) = token {
                    request = request.header(name, value);
                }
                fleet.send(request)
            };
            for token in [None, Some((other, right))] {
                let answer = ask(token).await;
                assert_eq!(
                    (answer.status, answer.text()),
                    (401, UNAUTHENTICATED),
                    "{what}"
                );
                assert!(
                    answer.header("thim-cause").starts_with("token-missing"),
                    "{what}"
                );
            }
            let answer = ask(Some((header, right))).await;
            let found = answer.text().get(..text.len());
            assert_eq!((answer.status, found), (*status, Some(*text)), "{what}");
            let warned = answer.header("warning").contains("version 3");
            assert_eq!(warned, path.contains("/V3/"), "{what}");
            // Few of these, or the peer is shut out.
            if path.contains("/v4/") && *method == "GET" {
                let answer = ask(Some((header, wrong))).await;
                assert_eq!(
                    (answer.status, answer.text()),
                    (401, UNAUTHENTICATED),
                    "{what}"
                );
            }
        }
    }
    // These want no token.
    for (method, path, status, text) in [
        ("OPTIONS", PLATFORMS, 200, "GET,HEAD,POST"),
        ("OPTIONS", POLICY, 200, "GET,HEAD,PUT"),
        ("DELETE", PLATFORMS, 404, unknown),
        ("POST", POLICY, 404, unknown),
        ("GET", "/sgx/certification/v4/platforms/x", 404, unknown),
        ("GET", "/tdx/certification/v4/platforms", 404, unknown),
        ("GET", "/sgx/certification/v2/platforms", 404, unknown),
        ("GET", POLICY, 400, INVALID),
    ] {
        let method_name = method;
        let method = method.parse().expect("a method");
        let answer = fleet
            .send(fleet.client.request(method, fleet.url(path)))
            .await;
        let found = answer.text().get(..text.len());
        assert_eq!(
            (answer.status, found),
            (status, Some(text)),
            "{method_name} {path}"
        );
    }
    // The body of somebody without a token is not waited for.
    let request = fleet
        .client
        .put(fleet.url(collateral))
        .header("Content-Type", "application/json")
        .body("{\"platforms\":[]}");
    assert_eq!(fleet.send(request).await.status, 401);
    // Of a long one, the sender hears why all the same, and not of a broken connection.
    for token in ["", "adminpw"] {
        let request = fleet
            .client
            .put(fleet.url(collateral))
            .header("Content-Type", "application/json")
            .header("admin-token", token)
            .body(vec![b' '; 6_000_000]);
        let answer = fleet.send(request).await;
        let expected = if token.is_empty() { 401 } else { 413 };
        assert_eq!(answer.status, expected);
    }
    let metrics = fleet.get("/metrics").await;
    assert!(
        metrics.text().contains("route=\"pccs\""),
        "they are counted"
    );
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_are_kept_and_handed_to_everybody() {
    let fleet = fleet(Fill::Offline).await;
    let policy = policy();
    let put = |body: String| {
        let request = fleet
            .client
            .put(fleet.url(POLICY))
            .header("admin-token", "adminpw")
            .header("Content-Type", "application/json")
            .body(body);
        fleet.send(request)
    };
    let body = |policy: &str, is_default: bool, fmspc: &str| {
        format!("{{\"policy\":\"{policy}\",\"is_default\":{is_default},\"fmspc\":\"{fmspc}\"}}")
    };
    let get = |fmspc: &str| format!("{POLICY}?fmspc={fmspc}");
    assert_is(&fleet.get(&get(SGX_ONLY)).await, 404, NO_DATA, "not-held");
    let id = pccs_support::hex_sha384(policy.as_bytes());
    assert_is(&put(body(&policy, true, SGX_ONLY)).await, 200, &id, "");
    assert_is(
        &fleet.get(&get(&SGX_ONLY.to_lowercase())).await,
        200,
        &policy,
        "",
    );
    // Another default takes its place; one that is none does not.
    let other = format!("{policy}x");
    assert_eq!(put(body(&other, false, SGX_ONLY)).await.status, 200);
    assert_is(&fleet.get(&get(SGX_ONLY)).await, 200, &policy, "");
    assert_eq!(put(body(&other, true, SGX_ONLY)).await.status, 200);
    assert_is(&fleet.get(&get(SGX_ONLY)).await, 200, &other, "");
    assert_is(&fleet.get(&get(BOTH)).await, 404, NO_DATA, "not-held");
    for bad in [
        body("nodot", true, SGX_ONLY),
        body("a.b.c", true, SGX_ONLY),
        body(&policy, true, "00906ED5000"),
        body(&policy, true, SGX_ONLY).replace("true", "\"true\""),
        "{}".to_owned(),
        String::new(),
    ] {
        assert_is(&put(bad.clone()).await, 400, INVALID, "invalid-body");
    }
    for bad in ["", "zz", "00906ED5000"] {
        assert_is(
            &fleet.get(&get(bad)).await,
            400,
            INVALID,
            "invalid-parameter",
        );
    }
    // HEAD as on every GET.
    let head = fleet
        .send(fleet.client.head(fleet.url(&get(SGX_ONLY))))
        .await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), other.len().to_string());
    fleet.stop().await;
}

//! `PUT platformcollateral` against a service that fetches nothing: what is genuine is served; what is forged, expired,
//! older or another's is refused with its cause, and changes nothing.

mod harness;
mod pccs_support;

use data_encoding::HEXLOWER;
use harness::{Fleet, SGX_ONLY, at, tcb};
use pccs_support::{Collaterals, entry, list, pckcert, put, tcb_info, with_pccs_tokens};
use sqlx::Connection;
use thim_server::intake;
use thim_server::upstream::Fill;
use thim_sim::{Ca, Fault, FaultRule, PlatformSpec, SimPlatform};

const INVALID: &str = "Invalid request parameters.";
const INTEGRITY: &str = "The integrity of the data can't be verified.";

async fn offline() -> Fleet {
    Fleet::start_with(|config| {
        config.intel.fill = Fill::Offline;
        with_pccs_tokens(config);
    })
    .await
}

fn platform(fleet: &Fleet) -> SimPlatform {
    fleet
        .management()
        .add_platform(PlatformSpec::new(SGX_ONLY, 1))
        .expect("a platform")
}

/// Nothing of a delivery for this platform is there.
async fn nothing_of(fleet: &Fleet, platform: &SimPlatform, why: &str) {
    let tcb = fleet.get(&tcb("sgx", SGX_ONLY)).await;
    assert_eq!(tcb.status, 404, "{why}");
    let crl = fleet.get("/sgx/certification/v4/pckcrl?ca=processor").await;
    assert_eq!(crl.status, 404, "{why}");
    assert_eq!(fleet.get(&pckcert(platform)).await.status, 461, "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_genuine_delivery_is_served_and_may_come_again() {
    let fleet = offline().await;
    let single = platform(&fleet);
    let multi = fleet
        .management()
        .add_platform(PlatformSpec::new(harness::BOTH, 2))
        .expect("a platform");
    let file = Collaterals::of(&fleet, &[&single, &multi]).await;
    nothing_of(&fleet, &single, "before").await;
    let calls = fleet.management().calls().total;
    for _ in 0..2 {
        let answer = file.put(&fleet).await;
        assert_eq!(
            (answer.status, answer.text(), answer.header("content-type")),
            (200, "Operation successful.", "text/html; charset=utf-8"),
            "{:?}",
            answer.headers
        );
        for platform in [&single, &multi] {
            let served = fleet.get(&pckcert(platform)).await;
            assert_eq!(served.status, 200, "{:?}", served.headers);
            assert_eq!(served.header("sgx-fmspc"), platform.fmspc);
        }
        assert_eq!(fleet.get(&tcb("sgx", SGX_ONLY)).await.status, 200);
        assert_eq!(
            fleet.get("/sgx/certification/v4/rootcacrl").await.status,
            200
        );
    }
    assert_eq!(
        fleet.management().calls().total,
        calls,
        "nothing is fetched"
    );
    let listed =
        pccs_support::admin(&fleet, "GET", "/sgx/certification/v4/platforms?source=[]").await;
    assert_eq!(listed.header("platform-count"), "2");
    // Collateral alone is a delivery too.
    let alone = Collaterals {
        platforms: Vec::new(),
        pck_certs: Vec::new(),
        ..file
    };
    assert_eq!(alone.put(&fleet).await.status, 200);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_refused_with_its_cause_and_changes_nothing() {
    let fleet = offline().await;
    let platform = platform(&fleet);
    let file = Collaterals::of(&fleet, &[&platform]).await;
    let management = fleet.management();
    let forged_list = {
        management
            .set_fault(FaultRule::new(Fault::OneForged))
            .expect("a fault");
        let list = list(&fleet, &platform).await;
        management.clear_faults();
        entry(&platform, &list)
    };
    let missing_level = {
        management
            .set_fault(FaultRule::new(Fault::Partial { levels: 1 }))
            .expect("a fault");
        let list = list(&fleet, &platform).await;
        management.clear_faults();
        assert!(list.contains("Not available"));
        entry(&platform, &list)
    };
    let future = {
        management
            .set_fault(FaultRule::new(Fault::Future))
            .expect("a fault");
        let url = format!("{}{}", fleet.sim.pcs_url(), tcb("sgx", SGX_ONLY));
        let answer = fleet.send(fleet.client.get(url)).await;
        management.clear_faults();
        tcb_info(SGX_ONLY, answer.text())
    };
    let expired = {
        management
            .set_fault(FaultRule::new(Fault::Expired))
            .expect("a fault");
        let url = format!("{}{}", fleet.sim.pcs_url(), tcb("sgx", SGX_ONLY));
        let answer = fleet.send(fleet.client.get(url)).await;
        management.clear_faults();
        tcb_info(SGX_ONLY, answer.text())
    };
    // Of the signature, so that all stays well-formed.
    let flipped = |text: &str| {
        let place = text.rfind("\"signature\":\"").expect("a signature") + 13;
        let mut flipped = text.to_owned();
        let other = if flipped[place..].starts_with('0') {
            "1"
        } else {
            "0"
        };
        flipped.replace_range(place..=place, other);
        flipped
    };
    let other_sim = thim_sim::start(thim_sim::SimConfig {
        pcs_listen: ([127, 0, 0, 1], 0).into(),
        management_listen: ([127, 0, 0, 1], 0).into(),
        now: std::sync::Arc::new(|| at(harness::START).secs()),
        api_key: None,
    })
    .await
    .expect("another hierarchy");
    let other_root: String = percent_encoding::utf8_percent_encode(
        other_sim.root_pem(),
        percent_encoding::NON_ALPHANUMERIC,
    )
    .to_string()
    .replace("%2D", "-");
    let root_at = file
        .tcb_chain
        .rfind("-----BEGIN%20CERTIFICATE-----")
        .expect("a root");
    let with_root = format!("{}{other_root}", &file.tcb_chain[..root_at]);
    let low = {
        let body = platform.retrieval_request();
        let svn = data_encoding::HEXUPPER.encode(&platform.cpu_svn);
        body.replace(&svn, &"0".repeat(32))
    };
    let cases: Vec<(&str, String, u16, &str, &str)> = vec![
        (
            "a forged TCB info",
            Collaterals {
                tcb_infos: vec![flipped(&file.tcb_infos[0])],
                ..file.clone()
            }
            .json(),
            460,
            INTEGRITY,
            "unverified",
        ),
        (
            "a forged identity",
            Collaterals {
                identities: vec![(file.identities[0].0, flipped(&file.identities[0].1))],
                ..file.clone()
            }
            .json(),
            460,
            INTEGRITY,
            "unverified",
        ),
        (
            "a forged CRL",
            Collaterals {
                processor_crl: {
                    let mut crl = file.processor_crl.clone();
                    let last = crl.pop().expect("a digit");
                    crl.push(if last == '0' { '1' } else { '0' });
                    crl
                },
                ..file.clone()
            }
            .json(),
            460,
            INTEGRITY,
            "unverified",
        ),
        (
            "one forged PCK certificate",
            Collaterals {
                pck_certs: vec![forged_list],
                ..file.clone()
            }
            .json(),
            460,
            INTEGRITY,
            "unverified",
        ),
        (
            "another root in one chain",
            Collaterals {
                tcb_chain: with_root,
                ..file.clone()
            }
            .json(),
            460,
            INTEGRITY,
            "unverified",
        ),
        (
            "a chain without marker",
            Collaterals {
                tcb_chain: "nothing".to_owned(),
                ..file.clone()
            }
            .json(),
            400,
            INVALID,
            "invalid-body",
        ),
        (
            "a level without certificate",
            Collaterals {
                pck_certs: vec![missing_level],
                ..file.clone()
            }
            .json(),
            400,
            INVALID,
            "invalid-body",
        ),
        (
            "no certificates",
            Collaterals {
                pck_certs: vec![entry(&platform, "[]")],
                ..file.clone()
            }
            .json(),
            400,
            INVALID,
            "invalid-body",
        ),
        (
            "no TCB info for the family",
            Collaterals {
                tcb_infos: vec![],
                ..file.clone()
            }
            .json(),
            400,
            INVALID,
            "invalid-body",
        ),
        (
            "a raw TCB below every certificate",
            Collaterals {
                platforms: vec![low],
                ..file.clone()
            }
            .json(),
            400,
            INVALID,
            "tcb-too-low",
        ),
        (
            "dated tomorrow",
            Collaterals {
                tcb_infos: vec![future],
                ..file.clone()
            }
            .json(),
            400,
            INVALID,
            "future",
        ),
        (
            "expired",
            Collaterals {
                tcb_infos: vec![expired],
                ..file.clone()
            }
            .json(),
            400,
            INVALID,
            "expired",
        ),
        (
            "another version",
            Collaterals {
                version: "3",
                ..file.clone()
            }
            .json(),
            400,
            INVALID,
            "invalid-body",
        ),
        (
            "no JSON",
            file.json().replacen('{', "", 1),
            400,
            INVALID,
            "invalid-body",
        ),
    ];
    for (what, body, status, text, cause) in cases {
        let answer = put(&fleet, "adminpw", body).await;
        assert_eq!(
            (answer.status, answer.text()),
            (status, text),
            "{what}: {}",
            answer.header("thim-cause")
        );
        let found = answer.header("thim-cause");
        assert!(found.starts_with(&format!("{cause};")), "{what}: {found}");
        nothing_of(&fleet, &platform, what).await;
    }
    assert!(
        fleet
            .events()
            .await
            .contains(&"edition.unverified".to_owned())
    );
    // What each of them was made of is a good delivery.
    assert_eq!(file.put(&fleet).await.status, 200);
    other_sim.shutdown().await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_may_have_written_it_anew_with_spaces() {
    let fleet = offline().await;
    let platform = platform(&fleet);
    let mut file = Collaterals::of(&fleet, &[&platform]).await;
    file.tcb_infos = vec![
        file.tcb_infos[0]
            .replace("\":", "\": ")
            .replace(",\"", ", \""),
    ];
    let answer = file.put(&fleet).await;
    assert_eq!(answer.status, 200, "{:?}", answer.headers);
    let served = fleet.get(&tcb("sgx", SGX_ONLY)).await;
    assert!(served.text().starts_with("{\"tcbInfo\":{\"id\":\"SGX\""));
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_never_replaced_by_something_older() {
    let fleet = offline().await;
    let platform = platform(&fleet);
    let old = Collaterals::of(&fleet, &[&platform]).await;
    fleet.clock.advance_millis(3_600_000);
    fleet.management().resign().expect("signed again");
    let new = Collaterals::of(&fleet, &[&platform]).await;
    assert_eq!(new.put(&fleet).await.status, 200);
    let served = fleet.get(&tcb("sgx", SGX_ONLY)).await;
    let mixed = Collaterals {
        tcb_infos: old.tcb_infos.clone(),
        ..new.clone()
    };
    for file in [&old, &mixed] {
        let answer = file.put(&fleet).await;
        assert_eq!((answer.status, answer.text()), (400, INVALID));
        assert!(
            answer.header("thim-cause").starts_with("older;"),
            "{:?}",
            answer.headers
        );
    }
    assert_eq!(fleet.get(&tcb("sgx", SGX_ONLY)).await.text(), served.text());

    // Another body with the date of one that is known.
    let conflict = {
        fleet.fault(Fault::Conflict);
        let url = format!("{}{}", fleet.sim.pcs_url(), tcb("sgx", SGX_ONLY));
        let answer = fleet.send(fleet.client.get(url)).await;
        fleet.management().clear_faults();
        tcb_info(SGX_ONLY, answer.text())
    };
    let conflict = Collaterals {
        tcb_infos: vec![conflict],
        ..new.clone()
    };
    let answer = conflict.put(&fleet).await;
    assert_eq!((answer.status, answer.text()), (400, INVALID));
    assert!(
        answer.header("thim-cause").starts_with("conflict;"),
        "{:?}",
        answer.headers
    );
    assert_eq!(fleet.get(&tcb("sgx", SGX_ONLY)).await.text(), served.text());

    // A number that was promoted does not fall again under the same name.
    let early = {
        let url = format!(
            "{}{}&update=early",
            fleet.sim.pcs_url(),
            tcb("sgx", SGX_ONLY)
        );
        fleet.send(fleet.client.get(url)).await
    };
    assert!(early.number() > served.number());
    let promoted = Collaterals {
        tcb_infos: vec![tcb_info(SGX_ONLY, early.text())],
        ..new.clone()
    };
    assert_eq!(promoted.put(&fleet).await.status, 200);
    let answer = new.put(&fleet).await;
    assert!(
        answer.status == 400 && answer.header("thim-cause").starts_with("older;"),
        "{:?}",
        answer.headers
    );
    assert_eq!(
        fleet.get(&tcb("sgx", SGX_ONLY)).await.number(),
        early.number()
    );

    // The next is newer than all of it, and comes in.
    fleet.clock.advance_millis(3_600_000);
    fleet.management().resign().expect("signed again");
    let mut newest = Collaterals::of(&fleet, &[&platform]).await;
    newest.tcb_infos = promoted.tcb_infos.clone();
    assert_eq!(newest.put(&fleet).await.status, 200);

    // All of it ends.
    fleet.clock.advance_millis(40 * 24 * 3_600_000);
    let answer = newest.put(&fleet).await;
    assert_eq!((answer.status, answer.text()), (400, INVALID));
    assert!(
        answer.header("thim-cause").starts_with("expired;"),
        "{:?}",
        answer.headers
    );
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_takes_over_a_name_by_a_delivery_but_who_may() {
    let fleet = offline().await;
    let owner = platform(&fleet);
    let other = platform(&fleet);
    let file = Collaterals::of(&fleet, &[&owner]).await;
    assert_eq!(file.put(&fleet).await.status, 200);
    let served = fleet.get(&pckcert(&owner)).await;
    let thief = SimPlatform {
        qe_id: owner.qe_id,
        ..other
    };
    // Its collateral is newer than what is there, and would be taken.
    fleet.clock.advance_millis(3_600_000);
    fleet.management().resign().expect("signed again");
    let theft = Collaterals::of(&fleet, &[&thief]).await.json();

    // A token for collateral alone.
    let token = "c".repeat(64);
    let admin = std::fs::read_to_string(fleet.data().join("admin.token")).expect("a token");
    let created = fleet
        .send(
            fleet
                .client
                .post(fleet.url("/thim/v1/tokens"))
                .bearer_auth(admin.trim())
                .json(&serde_json::json!({
                    "name": "courier", "role": "admin", "scopes": ["collateral"],
                    "sha256": thim_verify::Digest::of(token.as_bytes()).to_string()
                })),
        )
        .await;
    assert!(created.status < 300, "{}", created.text());
    let refused = put(&fleet, &token, theft.clone()).await;
    assert_eq!(
        (refused.status, refused.text()),
        (401, "Authentication failed.")
    );
    assert!(refused.header("thim-cause").starts_with("qe-id-taken;"));
    assert_eq!(fleet.get(&pckcert(&owner)).await.text(), served.text());
    assert!(
        fleet
            .events()
            .await
            .contains(&"platform.takeover-refused".to_owned())
    );
    // It is good for its own platform, and nothing of what was refused makes that one older.
    assert_eq!(put(&fleet, &token, file.json()).await.status, 200);

    // Nor does one who may, where names are to stay.
    for (query, cause) in [
        ("names=keep", "qe-id-taken;"),
        ("names=Keep", "invalid-parameter;"),
    ] {
        let kept = put_with(&fleet, query, theft.clone()).await;
        assert_eq!((kept.status, kept.text()), (400, INVALID), "{query}");
        let found = kept.header("thim-cause");
        assert!(found.starts_with(cause), "{query}: {found}");
        assert_eq!(fleet.get(&pckcert(&owner)).await.text(), served.text());
    }
    let own = put_with(&fleet, "names=keep", file.json()).await;
    assert_eq!(own.status, 200, "{:?}", own.headers);

    assert_eq!(put(&fleet, "adminpw", theft).await.status, 200);
    assert!(
        fleet
            .events()
            .await
            .contains(&"platform.alias-moved".to_owned())
    );
    assert_ne!(fleet.get(&pckcert(&owner)).await.text(), served.text());
    fleet.stop().await;
}

async fn put_with(fleet: &Fleet, query: &str, body: String) -> harness::Answer {
    let path = format!("/sgx/certification/v4/platformcollateral?{query}");
    let request = fleet
        .client
        .put(fleet.url(&path))
        .header("admin-token", "adminpw")
        .header("Content-Type", "application/json");
    fleet.send(request.body(body)).await
}

/// The processors' list as it is served.
async fn processor_crl(fleet: &Fleet) -> harness::Answer {
    let crl = fleet.get("/sgx/certification/v4/pckcrl?ca=processor").await;
    assert_eq!(crl.status, 200, "{:?}", crl.headers);
    crl
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_unrevokes_is_refused_as_long_as_what_it_drops_has_not_ended() {
    let mut fleet = offline().await;
    let platform = platform(&fleet);
    let file = Collaterals::of(&fleet, &[&platform]).await;
    assert_eq!(file.put(&fleet).await.status, 200);
    let management = fleet.management();
    let crl = async |fleet: &Fleet| Collaterals {
        platforms: Vec::new(),
        pck_certs: Vec::new(),
        ..Collaterals::of(fleet, &[&platform]).await
    };
    fleet.advance(60).await;
    let revoked = management.revoke_platform(&platform.name).expect("revoked");
    assert_eq!(crl(&fleet).await.put(&fleet).await.status, 200);
    let platforms = &fleet.server().platforms;
    let marked = platforms.tick(fleet.clock.now()).await;
    marked.expect("the store works");
    let before = processor_crl(&fleet).await;

    fleet.advance(60).await;
    let dropped = u32::try_from(revoked.changed.len()).expect("a few");
    management.shrink(Ca::Processor, dropped).expect("shrunk");
    let shrunk = crl(&fleet).await;
    let events = fleet.events().await;
    for _ in 0..2 {
        let answer = shrunk.put(&fleet).await;
        assert_eq!((answer.status, answer.text()), (400, INVALID));
        let cause = answer.header("thim-cause");
        assert!(cause.starts_with("held;"), "{cause}");
        assert_eq!(processor_crl(&fleet).await.body, before.body);
        assert_eq!(fleet.events().await, events, "nothing is changed");
    }
    // An import keeps it, held back; that makes it no better.
    let body = HEXLOWER.decode(shrunk.processor_crl.as_bytes());
    let files = vec![intake::File {
        path: "crl.der".to_owned(),
        bytes: body.expect("hex").into(),
    }];
    let now = fleet.clock.now();
    let report = intake::import(&fleet.server().collateral, files, now, &mut |_, _| {}).await;
    assert_eq!(report.expect("the store works").held, 1);
    let answer = shrunk.put(&fleet).await;
    assert!(answer.header("thim-cause").starts_with("held;"));
    assert_eq!(processor_crl(&fleet).await.body, before.body);

    // Of certificates that have ended, a list may be silent (RFC 5280, section 3.3).
    fleet.advance(60).await;
    management.resign().expect("signed again");
    let silent = crl(&fleet).await;
    assert_eq!(silent.put(&fleet).await.status, 400);
    end_revoked(&mut fleet).await;
    let answer = silent.put(&fleet).await;
    assert_eq!(answer.status, 200, "{:?}", answer.headers);
    assert_ne!(processor_crl(&fleet).await.body, before.body);
    fleet.stop().await;
}

/// As though the revoked certificates had ended a year ago.
async fn end_revoked(fleet: &mut Fleet) {
    if let Some(server) = fleet.server.take() {
        server.stop().await;
    }
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(fleet.data().join("thim.db"));
    let mut store = sqlx::SqliteConnection::connect_with(&options)
        .await
        .expect("the store");
    let ended = fleet.clock.now().plus_secs(-31_536_000).secs();
    let done = sqlx::query("UPDATE pck_certificate SET not_after = $1 WHERE revoked IS NOT NULL")
        .bind(ended)
        .execute(&mut store)
        .await
        .expect("written");
    assert!(done.rows_affected() > 0, "some are revoked");
    store.close().await.expect("closed");
    fleet.serve().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn version_3_has_names_of_its_own() {
    let fleet = offline().await;
    let platform = platform(&fleet);
    let version_4 = Collaterals::of(&fleet, &[&platform]).await.json();
    let version_3 = version_4
        .replace("\"version\":4,", "")
        .replace("\"sgx_tcbinfo\"", "\"tcbinfo\"")
        .replace("\"TCB-Info-Issuer-Chain\"", "\"SGX-TCB-Info-Issuer-Chain\"");
    let to_version_3 = |body: String| {
        let request = fleet
            .client
            .put(fleet.url("/sgx/certification/v3/platformcollateral"))
            .header("admin-token", "adminpw")
            .header("Content-Type", "application/json")
            .body(body);
        fleet.send(request)
    };
    for refused in [
        put(&fleet, "adminpw", version_3.clone()).await,
        to_version_3(version_4).await,
    ] {
        assert_eq!((refused.status, refused.text()), (400, INVALID));
    }
    nothing_of(&fleet, &platform, "of the other version").await;
    let answer = to_version_3(version_3).await;
    assert_eq!(answer.status, 200, "{:?}", answer.headers);
    assert!(answer.header("warning").contains("version 3"));
    assert_eq!(fleet.get(&pckcert(&platform)).await.status, 200);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_name_for_two_platforms_of_one_file_is_a_contradiction() {
    let fleet = offline().await;
    let one = platform(&fleet);
    let two = SimPlatform {
        qe_id: one.qe_id,
        ..platform(&fleet)
    };
    let file = Collaterals::of(&fleet, &[&one, &two]).await;
    let answer = file.put(&fleet).await;
    assert_eq!((answer.status, answer.text()), (400, INVALID));
    assert!(answer.header("thim-cause").contains("pck_certs[1]"));
    nothing_of(&fleet, &one, "two under one name").await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_of_a_delivery_are_in_no_answer_and_no_event() {
    let fleet = offline().await;
    let platform = platform(&fleet);
    let file = Collaterals::of(&fleet, &[&platform]).await;
    let secret = data_encoding::HEXLOWER.encode(&platform.encrypted_ppid[..16]);
    let bad = file.json().replace(
        &data_encoding::HEXLOWER.encode(&platform.encrypted_ppid),
        &format!("{secret}zz"),
    );
    let answer = put(&fleet, "adminpw", bad).await;
    assert_eq!(answer.status, 400);
    assert!(!format!("{:?}", answer.headers).contains(&secret));
    assert_eq!(file.put(&fleet).await.status, 200);
    let events = fleet.get("/thim/v1/events").await;
    assert!(!events.text().to_lowercase().contains(&secret));
    assert!(!fleet.get("/metrics").await.text().contains(&secret));
    fleet.stop().await;
}

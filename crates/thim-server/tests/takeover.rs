//! Names of platforms: who may have one, who may not take one over, and what is none.

mod harness;
mod platform_support;

use harness::{BOTH, Fleet, SGX_ONLY};
use platform_support::{
    REGISTER, admin, hex, pckcert, register, register_as, registrar, row, verified,
};
use thim_sim::{Fault, PlatformSpec, SimPlatform};

#[tokio::test(flavor = "multi_thread")]
async fn nobody_takes_over_another_platforms_name() {
    let fleet = Fleet::start().await;
    let management = fleet.management();
    let spec = || PlatformSpec::new(SGX_ONLY, 1);
    let owner = management.add_platform(spec()).expect("a platform");
    let other = management.add_platform(spec()).expect("another");
    assert_eq!(register(&fleet, &owner).await.status, 200);
    // A registrar who is no administrator.
    let token = "r".repeat(64);
    let created = fleet
        .send(
            fleet
                .client
                .post(fleet.url("/thim/v1/tokens"))
                .bearer_auth(admin(&fleet))
                .json(&serde_json::json!({
                    "name": "rack 7", "role": "registrar",
                    "sha256": thim_verify::Digest::of(token.as_bytes()).to_string()
                })),
        )
        .await;
    assert!(
        created.status < 300,
        "{} {}",
        created.status,
        created.text()
    );
    let thief = SimPlatform {
        qe_id: owner.qe_id,
        ..other.clone()
    };
    let send = |token: String, body: String| {
        fleet.send(
            fleet
                .client
                .post(fleet.url(REGISTER))
                .header("Content-Type", "application/json")
                .header("user-token", token)
                .body(body),
        )
    };
    let refused = send(token.clone(), thief.retrieval_request()).await;
    assert_eq!(
        (refused.status, refused.text()),
        (401, "Authentication failed.")
    );
    assert!(refused.header("thim-cause").starts_with("qe-id-taken"));
    assert!(
        fleet
            .events()
            .await
            .contains(&"platform.takeover-refused".to_owned())
    );
    let served = fleet.get(&pckcert(&owner)).await;
    assert_eq!(
        verified(&fleet, &served, served.text()).ppid().0,
        owner.ppid
    );

    // The same machine with a new encryption of its PPID is itself.
    let again = management
        .encrypt_ppid(&owner.name)
        .expect("encrypted anew");
    assert_ne!(again.encrypted_ppid, owner.encrypted_ppid);
    assert_eq!(send(token, again.retrieval_request()).await.status, 200);

    // An administrator may.
    assert_eq!(register(&fleet, &thief).await.status, 200);
    assert!(
        fleet
            .events()
            .await
            .contains(&"platform.alias-moved".to_owned())
    );
    let served = fleet.get(&pckcert(&owner)).await;
    assert_eq!(
        verified(&fleet, &served, served.text()).ppid().0,
        other.ppid
    );
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_request_gives_a_weak_name_that_yields_to_a_registration() {
    let fleet = Fleet::start().await;
    let management = fleet.management();
    let spec = || PlatformSpec::new(SGX_ONLY, 1);
    let owner = management.add_platform(spec()).expect("a platform");
    let squatter = management.add_platform(spec()).expect("another");
    let squat = SimPlatform {
        qe_id: owner.qe_id,
        ..squatter.clone()
    };
    let squatted = fleet.get(&pckcert(&squat)).await;
    assert_eq!(squatted.status, 200, "lazy fill");
    assert_eq!(register(&fleet, &owner).await.status, 200);
    let served = fleet.get(&pckcert(&owner)).await;
    assert_eq!(
        verified(&fleet, &served, served.text()).ppid().0,
        owner.ppid
    );
    // And it stays there.
    assert_eq!(fleet.get(&pckcert(&squat)).await.text(), served.text());
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_all_zero_qe_id_is_no_name() {
    let fleet = Fleet::start().await;
    let management = fleet.management();
    let spec = || PlatformSpec::new(SGX_ONLY, 1).zero_qe_id();
    let one = management.add_platform(spec()).expect("a platform");
    let two = management.add_platform(spec()).expect("another");
    assert_eq!(one.qe_id, two.qe_id);
    for platform in [&one, &two, &one] {
        assert_eq!(register(&fleet, platform).await.status, 200);
        let served = fleet.get(&pckcert(platform)).await;
        assert_eq!(served.status, 200, "{:?}", served.headers);
        assert_eq!(
            verified(&fleet, &served, served.text()).ppid().0,
            platform.ppid,
            "by what it brings"
        );
    }
    // Registered by its manifest, found by the encrypted PPID that came beside it.
    let many = management
        .add_platform(PlatformSpec::new(BOTH, 2).zero_qe_id())
        .expect("a platform");
    assert_eq!(register(&fleet, &many).await.status, 200);
    let served = fleet.get(&pckcert(&many)).await;
    assert_eq!(verified(&fleet, &served, served.text()).ppid().0, many.ppid);
    let nameless = pckcert(&one).replace(&hex(&one.encrypted_ppid), &"0".repeat(768));
    let refused = fleet.get(&nameless).await;
    assert_eq!(refused.status, 404);
    assert_eq!(refused.text(), "No cache data for this platform.");
    assert!(refused.header("thim-cause").starts_with("qe-id-zero"));
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_that_waits_keeps_its_name_and_its_manifest() {
    let fleet = Fleet::start().await;
    let management = fleet.management();
    let spec = || PlatformSpec::new(BOTH, 2);
    let owner = management.add_platform(spec()).expect("a platform");
    let other = management.add_platform(spec()).expect("another");
    let token = registrar(&fleet).await;
    fleet.fault(Fault::Down);
    assert_eq!(register_as(&fleet, &owner, &token).await.status, 503);
    let before = row(&fleet, &owner).await;
    let thief = SimPlatform {
        qe_id: owner.qe_id,
        ..other.clone()
    };
    // Nobody can be asked: what the newcomer brings is not put in the owner's place.
    assert_eq!(register_as(&fleet, &thief, &token).await.status, 503);
    assert_eq!(
        row(&fleet, &owner).await.manifest_hash,
        before.manifest_hash
    );
    // The vendor is back, and the newcomer is genuine; the name is taken all the same.
    management.clear_faults();
    fleet.clock.advance_millis(60_000);
    let refused = register_as(&fleet, &thief, &token).await;
    assert_eq!(refused.status, 401);
    assert!(refused.header("thim-cause").starts_with("qe-id-taken"));
    assert_eq!(
        row(&fleet, &owner).await.manifest_hash,
        before.manifest_hash
    );
    assert_eq!(register_as(&fleet, &owner, &token).await.status, 200);
    let served = fleet.get(&pckcert(&owner)).await;
    assert_eq!(
        verified(&fleet, &served, served.text()).ppid().0,
        owner.ppid
    );
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_direct_registration_takes_nobody_elses_manifest() {
    let fleet = Fleet::start().await;
    let management = fleet.management();
    let spec = || PlatformSpec::new(BOTH, 2);
    let owner = management.add_platform(spec()).expect("a platform");
    let other = management.add_platform(spec()).expect("another");
    let token = registrar(&fleet).await;
    assert_eq!(register_as(&fleet, &owner, &token).await.status, 200);
    let mut body: serde_json::Value =
        serde_json::from_str(&other.retrieval_request()).expect("JSON");
    body["qe_id"] = hex(&owner.qe_id).into();
    body["direct"] = true.into();
    let answer = fleet
        .send(
            fleet
                .client
                .post(fleet.url("/thim/v1/platforms"))
                .bearer_auth(&token)
                .json(&body),
        )
        .await;
    assert_eq!(answer.status, 409, "{}", answer.text());
    assert!(row(&fleet, &owner).await.manifest.is_some());
    fleet.stop().await;
}

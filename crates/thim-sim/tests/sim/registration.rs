//! The registration service, and what direct and indirect registration mean for PCK certificates afterwards.

use crate::client::*;
use crate::proof::*;
use data_encoding::HEXUPPER;
use thim_sim::{PlatformSpec, Recovery};

const CACHED_KEYS: [u8; 2] = [7, 2];

#[tokio::test]
async fn direct_registration_keeps_keys() {
    let s = Simulated::start().await;
    let platform = s.platform_of(TDX_FMSPC);
    let manifest = platform.manifest.as_deref().unwrap();
    assert_eq!(platform.cached_keys, None);
    assert_eq!(s.certificates(&platform).await.status, 404);
    assert_eq!(s.get(&pckcert_target(&platform)).await.status, 404);

    let answer = s.register(manifest).await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.text(), HEXUPPER.encode(&platform.ppid));
    assert!(answer.header("request-id").is_some());
    let cached_keys = || s.platform_of(TDX_FMSPC).cached_keys;
    assert_eq!(cached_keys(), Some(true));
    let by_ppid = s.certificates(&platform).await;
    let certificates = pck_certificates(&by_ppid, s.sim.root_pem());
    for certificate in &certificates {
        assert_eq!(sgx_item(certificate, &CACHED_KEYS), Some(vec![0xff]));
    }
    // The manifest answers the same, and changes nothing.
    assert_eq!(
        s.certificates_by_manifest(manifest).await.body,
        by_ppid.body
    );
    assert_eq!(s.register(manifest).await.status, 201);
    assert_eq!(cached_keys(), Some(true));
}

#[tokio::test]
async fn indirect_registration_never_keeps_keys() {
    let s = Simulated::start().await;
    let platform = s.platform_of(TDX_FMSPC);
    let manifest = platform.manifest.as_deref().unwrap();
    let answer = s.certificates_by_manifest(manifest).await;
    for certificate in pck_certificates(&answer, s.sim.root_pem()) {
        assert_eq!(sgx_item(&certificate, &CACHED_KEYS), Some(vec![0]));
    }
    assert_eq!(s.platform_of(TDX_FMSPC).cached_keys, Some(false));
    let refused = s.register(manifest).await;
    assert_eq!(refused.status, 400);
    let code = refused.header("error-code");
    assert_eq!(code, Some("CachedKeysPolicyViolation"));
    assert!(refused.header("error-message").is_some());
    assert_eq!(s.certificates(&platform).await.status, 404);
    // Neither does a new manifest of the same instance.
    let upgraded = s.management().upgrade(&platform.name).unwrap();
    let refused = s.register(upgraded.manifest.as_deref().unwrap()).await;
    let code = refused.header("error-code");
    assert_eq!(code, Some("CachedKeysPolicyViolation"));
    let again = s.certificates_by_manifest(upgraded.manifest.as_deref().unwrap());
    assert_eq!(again.await.body, answer.body);
}

#[tokio::test]
async fn an_upgrade_makes_the_old_manifest_stale_and_registration_due_again() {
    let s = Simulated::start().await;
    let platform = s.platform_of(TDX_FMSPC);
    let old = platform.manifest.as_deref().unwrap();
    assert_eq!(s.register(old).await.status, 201);
    let upgraded = s.management().upgrade(&platform.name).unwrap();
    let new = upgraded.manifest.as_deref().unwrap();
    assert_ne!(new, old);
    assert_eq!(upgraded.platform_instance_id, platform.platform_instance_id);
    assert_eq!(s.certificates_by_manifest(old).await.status, 404);
    assert_eq!(s.certificates(&platform).await.status, 404);
    let refused = s.register(old).await;
    let code = refused.header("error-code");
    assert_eq!(code, Some("InvalidPlatformManifest"));
    assert_eq!(s.certificates_by_manifest(new).await.status, 200);
    assert_eq!(s.register(new).await.status, 201);
    assert_eq!(s.certificates(&platform).await.status, 200);
}

#[tokio::test]
async fn a_consumed_manifest_is_refused_until_there_is_a_new_one() {
    let s = Simulated::start().await;
    let platform = s.platform_of(TDX_FMSPC);
    let manifest = platform.manifest.as_deref().unwrap();
    let path = format!("/platforms/{}/consume-manifest", platform.name);
    assert_eq!(s.manage("POST", &path, "").await.0, 200);
    assert_eq!(s.certificates_by_manifest(manifest).await.status, 404);
    let refused = s.register(manifest).await;
    let code = refused.header("error-code");
    assert_eq!(code, Some("InvalidPlatformManifest"));
    // The refusals were no first contact.
    assert_eq!(s.platform_of(TDX_FMSPC).cached_keys, None);
    let renewed = s.management().upgrade(&platform.name).unwrap();
    let renewed = renewed.manifest.as_deref().unwrap();
    assert_eq!(s.certificates_by_manifest(renewed).await.status, 200);
}

#[tokio::test]
async fn manifests_nobody_made_are_invalid() {
    let s = Simulated::start().await;
    let other = Simulated::start().await;
    let mut garbled = s.platform_of(TDX_FMSPC).manifest.unwrap();
    garbled[5_000] ^= 1;
    let foreign = other.platform_of(TDX_FMSPC).manifest.unwrap();
    let random = vec![0xa7; 8_431];
    for manifest in [garbled, foreign, random] {
        for answer in [
            s.register(&manifest).await,
            s.certificates_by_manifest(&manifest).await,
        ] {
            assert_eq!(answer.status, 400);
            let code = answer.header("error-code");
            assert_eq!(code, Some("InvalidPlatformManifest"));
        }
    }
    for bytes in [0, 8_430, 56_443] {
        let answer = s.register(&vec![0xa7; bytes]).await;
        assert_eq!(answer.status, 400);
        assert_eq!(answer.header("error-code"), Some("InvalidRequestSyntax"));
    }
}

#[tokio::test]
async fn a_pre_production_platform_belongs_elsewhere() {
    let s = Simulated::start().await;
    let spec = PlatformSpec::new(TDX_FMSPC, 2).pre_production();
    let double = s.management().add_platform(spec).unwrap();
    let spec = PlatformSpec::new(SGX_FMSPC, 1).pre_production();
    let single = s.management().add_platform(spec).unwrap();
    let manifest = double.manifest.as_deref().unwrap();
    for answer in [
        s.register(manifest).await,
        s.certificates_by_manifest(manifest).await,
    ] {
        assert_eq!(answer.status, 400);
        let code = answer.header("error-code");
        assert_eq!(code, Some("InvalidRegistrationServer"));
    }
    for platform in [single, double] {
        assert_eq!(s.certificates(&platform).await.status, 404);
        let revoked = s.management().revoke_platform(&platform.name);
        assert!(revoked.is_err(), "it has no certificates");
    }
}

#[tokio::test]
async fn a_package_joins_a_platform_whose_keys_are_kept() {
    let s = Simulated::start_with_key(Some("right")).await;
    let platform = s.platform_of(TDX_FMSPC);
    let request = platform.add_request();
    let url = s.sim.pcs_url();
    let send = async |body: Vec<u8>, key: &str, content_type: &str| {
        let headers = [
            ("Content-Type", content_type),
            ("Ocp-Apim-Subscription-Key", key),
        ];
        exchange(&url, "POST", ADD_PACKAGE, &headers, body)
            .await
            .unwrap()
    };
    let answer = send(request.clone(), "right", OCTETS).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.header("error-code"), Some("PlatformNotFound"));
    let single = s.platform_of(SGX_FMSPC).add_request();
    let answer = send(single, "right", OCTETS).await;
    assert_eq!(answer.header("error-code"), Some("PlatformNotFound"));

    // Registration itself takes no key.
    let manifest = platform.manifest.as_deref().unwrap();
    assert_eq!(s.register(manifest).await.status, 201);
    assert_eq!(send(request.clone(), "wrong", OCTETS).await.status, 401);
    assert_eq!(send(request.clone(), "right", JSON).await.status, 415);
    let answer = send(request.clone(), "right", OCTETS).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some(OCTETS));
    assert_eq!(answer.header("certificate-count"), Some("1"));
    assert_eq!(answer.body.len() % 8, 0);
    let (first, rest) = answer.body.split_at(answer.body.len() / 8);
    assert!(first.iter().any(|byte| *byte != 0));
    assert!(rest.iter().all(|byte| *byte == 0));
    assert_eq!(
        send(request.clone(), "right", OCTETS).await.body,
        answer.body
    );

    let mut garbled = request;
    garbled[100] ^= 1;
    for body in [garbled, b"add".to_vec()] {
        let answer = send(body, "right", OCTETS).await;
        assert_eq!(answer.status, 400);
        assert_eq!(answer.header("error-code"), Some("InvalidAddRequest"));
    }
    let answer = send(Vec::new(), "right", OCTETS).await;
    assert_eq!(answer.header("error-code"), Some("InvalidRequestSyntax"));
}

#[tokio::test]
async fn the_registration_service_takes_post_and_octets_alone() {
    let s = Simulated::start().await;
    let manifest = s.platform_of(TDX_FMSPC).manifest.unwrap();
    for content_type in [JSON, "text/plain"] {
        let answer = s.post(REGISTER, content_type, &manifest).await;
        assert_eq!(answer.status, 415);
    }
    for target in [REGISTER, ADD_PACKAGE] {
        let answer = s.get(target).await;
        assert_eq!(answer.status, 405);
        assert_eq!(answer.header("allow"), Some("POST"));
    }
    for target in ["/sgx/registration/v2/platform", "/sgx/registration/v1/x"] {
        let answer = s.post(target, OCTETS, &manifest).await;
        assert_eq!(answer.status, 404);
    }
    assert_eq!(s.platform_of(TDX_FMSPC).cached_keys, None);
}

#[tokio::test]
async fn manifests_outlive_a_recovery_unless_it_says_otherwise() {
    let s = Simulated::start().await;
    let platform = s.platform_of(TDX_FMSPC);
    let manifest = platform.manifest.as_deref().unwrap();
    assert_eq!(s.register(manifest).await.status, 201);
    s.management().recovery(0).unwrap();
    assert_eq!(s.certificates_by_manifest(manifest).await.status, 200);
    assert_eq!(s.certificates(&platform).await.status, 200);

    let recovery = Recovery {
        event_days_ago: 0,
        stale_manifests: true,
    };
    assert_eq!(s.management().recover(&recovery).unwrap(), 22);
    assert_eq!(s.certificates_by_manifest(manifest).await.status, 404);
    assert_eq!(s.certificates(&platform).await.status, 404);
    let renewed = s.platform_of(TDX_FMSPC).manifest.unwrap();
    assert_eq!(s.register(&renewed).await.status, 201);
    assert_eq!(s.certificates(&platform).await.status, 200);
    // A single package has no manifest to go stale.
    let single = s.platform_of(SGX_FMSPC);
    assert_eq!(s.certificates(&single).await.status, 200);
}
